# SPDX-License-Identifier: Apache-2.0
"""RFC 8572, 5.5 and 6.3: redirect information, from list order to the anchors of each entry."""

import socket
from collections.abc import Sequence

import pytest
from tests.harness import CONFIGURATION, SERIAL, Lab, Served
from tests.scenario.test_section_5_3_trust import tls_identity

from xpu_emulator.artifacts import (
    Document,
    bootstrap_server,
    certificates_only,
    redirect_document,
)
from xpu_emulator.pki import Identity, make_root
from xpu_emulator.server import ServerPolicy


def entry(served: Served, *anchors: Identity) -> Document:
    """An entry of redirect information, with this chain as its anchor if there is one."""
    bag = certificates_only(anchors) if anchors else None
    return bootstrap_server(served.address, served.port, bag)


def redirecting(lab: Lab, entries: Sequence[Document], *, signed: bool = True) -> Served:
    """A trusted server that redirects there."""
    first = lab.server("first")
    document = redirect_document(entries)
    first.server.set_answer(SERIAL, lab.signed(document) if signed else lab.unsigned(document))
    return first


def other_authority(lab: Lab, name: str, address: str = "127.0.0.2") -> tuple[Identity, Served]:
    """A server below an authority of its own."""
    root = make_root(f"{name} CA")
    return root, lab.server(name, identity=tls_identity(root), address=address)


def disobedient(lab: Lab, name: str, identity: Identity | None = None) -> Served:
    """A server that hands out unsigned onboarding information whatever it is asked for."""
    served = lab.server(
        name, identity=identity, policy=ServerPolicy(obeys_signed_data_preferred=False)
    )
    served.server.set_answer(SERIAL, lab.unsigned(lab.onboarding()))
    return served


@pytest.mark.requirement("SZTP-5.5-01", "SZTP-5.3-08", "SZTP-6.3-03")
def test_5_5_servers_are_tried_in_list_order(lab: Lab) -> None:
    with socket.socket() as dead:
        dead.bind(("127.0.0.2", 0))  # bound, not listening: connections are refused
        unknown = lab.server("unknown", address="127.0.0.3")
        owner = lab.server("owner", address="127.0.0.4")
        last = lab.server("last", address="127.0.0.5")
        owner.server.set_answer(SERIAL, lab.unsigned(lab.onboarding()))
        last.server.set_answer(SERIAL, lab.unsigned(lab.onboarding(configuration=b"no")))
        ca = lab.pki.bootstrap_server_ca
        first = redirecting(
            lab,
            [
                bootstrap_server("127.0.0.2", dead.getsockname()[1], certificates_only([ca])),
                entry(unknown, ca),
                entry(owner, ca),
                entry(last, ca),
            ],
        )
        device = lab.device(servers=[first], server_anchors=False)
        assert device.run() == 0
    assert device.running_config == CONFIGURATION
    assert unknown.server.exchanges[0].at < owner.server.exchanges[0].at
    assert len(unknown.inputs()) == 1
    assert last.server.exchanges == ()
    assert all(s.server.violations == () for s in (first, unknown, owner))


@pytest.mark.requirement("SZTP-5.5-04")
@pytest.mark.refuses("SZTP-5.5-04")
def test_5_5_another_authority_than_the_entrys_gets_no_http_request(lab: Lab) -> None:
    """Not even provisionally, and not with signed data to offer."""
    _, impostor = other_authority(lab, "impostor")
    impostor.server.set_answer(SERIAL, lab.signed(lab.onboarding(configuration=b"no")))
    owner = lab.server("owner")
    owner.server.set_answer(SERIAL, lab.unsigned(lab.onboarding()))
    ca = lab.pki.bootstrap_server_ca
    first = redirecting(lab, [entry(impostor, ca), entry(owner, ca)])
    device = lab.device(servers=[first], server_anchors=False)
    assert device.run() == 0
    assert impostor.server.exchanges == ()
    assert device.running_config == CONFIGURATION


@pytest.mark.requirement("SZTP-5.5-05", "SZTP-7.3-10")
@pytest.mark.refuses("SZTP-5.5-05")
def test_5_5_a_trusted_entry_without_anchor_is_asked_provisionally(lab: Lab) -> None:
    owner = disobedient(lab, "owner")
    first = redirecting(lab, [entry(owner)])
    # The server anchors of the device vouch for pre-configured servers and for nobody else.
    device = lab.device(servers=[first], server_anchors=True)
    assert device.run() == 11
    assert device.last_reason == "unsigned-not-allowed"
    assert owner.inputs()[0].signed_data_preferred
    assert owner.server.reports == ()

    owner.server.set_answer(SERIAL, lab.signed(lab.onboarding()))
    assert device.run() == 0
    assert owner.server.reports == ()


@pytest.mark.requirement("SZTP-5.5-06")
@pytest.mark.refuses("SZTP-5.5-06")
def test_5_5_anchors_of_untrusted_redirects_are_discarded(lab: Lab) -> None:
    owner = disobedient(lab, "owner")
    medium = lab.medium("a", lab.unsigned(lab.redirect(owner, anchor=True)))
    device = lab.device(sources=["removable-storage"], media={"devices": [str(medium)]})
    assert device.run() == 11
    assert device.last_reason == "unsigned-not-allowed"
    assert owner.inputs()[0].signed_data_preferred
    assert owner.server.reports == ()

    owner.server.set_answer(SERIAL, lab.signed(lab.onboarding()))
    assert device.run() == 0
    assert device.running_config == CONFIGURATION


@pytest.mark.requirement("SZTP-5.3-09")
@pytest.mark.refuses("SZTP-5.3-09")
@pytest.mark.parametrize("trusted", [True, False], ids=["trusted", "untrusted"])
def test_5_5_a_server_that_redirects_to_itself_is_asked_eleven_times(
    lab: Lab, trusted: bool
) -> None:
    circle, owner = lab.server("circle"), lab.server("owner")
    answer = lab.redirect(circle)
    circle.server.set_answer(SERIAL, lab.signed(answer) if trusted else lab.unsigned(answer))
    owner.server.set_answer(SERIAL, lab.signed(lab.onboarding()))
    device = lab.device(servers=[circle, owner], server_anchors=False)
    assert device.run() == 0  # then the next server
    assert len(circle.inputs()) == 11
    assert len({i.nonce for i in circle.inputs()}) == 11
    assert device.running_config == CONFIGURATION
    assert circle.server.violations == ()


@pytest.mark.refuses("SZTP-5.3-09")
def test_5_5_a_circle_alone_ends_as_a_refusal(lab: Lab) -> None:
    circle = lab.server("circle")
    circle.server.set_answer(SERIAL, lab.unsigned(lab.redirect(circle)))
    device = lab.device(servers=[circle])
    assert device.run() == 11
    assert device.last_reason == "redirect-depth"
    assert circle.server.reports == ()


@pytest.mark.requirement("SZTP-2.1-01")
@pytest.mark.refuses("SZTP-2.1-01")
def test_5_5_the_anchor_of_one_entry_does_not_serve_another(lab: Lab) -> None:
    root_a, server_a = other_authority(lab, "a")
    root_b = make_root("b CA")
    # Below A's anchor:
    server_b = lab.server("b", identity=tls_identity(root_a), address="127.0.0.3")
    server_b.server.set_answer(SERIAL, lab.signed(lab.onboarding()))
    first = redirecting(lab, [entry(server_a, root_a), entry(server_b, root_b)])
    device = lab.device(servers=[first], server_anchors=False)
    assert device.run() == 11  # A was asked, by its anchor, and doesn't know the device
    assert len(server_a.inputs()) == 1
    assert server_b.server.exchanges == ()
    assert device.last_reason == "server-cert-unknown-issuer"
    assert not device.running_config


@pytest.mark.requirement("SZTP-2.1-01", "SZTP-6.3-01")
def test_5_5_each_entry_is_validated_to_its_own_anchor(lab: Lab) -> None:
    root_a, server_a = other_authority(lab, "a")
    root_b = make_root("b CA")
    middle = root_b.issue("b middle CA", ca=True)
    server_b = lab.server("b", identity=tls_identity(middle), address="127.0.0.3")
    server_a.server.set_answer(SERIAL, lab.unsigned(lab.onboarding(post_script=b"#!/bin/false\n")))
    server_b.server.set_answer(SERIAL, lab.unsigned(lab.onboarding()))
    first = redirecting(lab, [entry(server_a, root_a), entry(server_b, root_b, middle)])
    device = lab.device(servers=[first], server_anchors=False)
    assert device.run() == 0
    assert server_a.progress()[-1] == "post-script-error"
    assert server_b.progress() == ["bootstrap-initiated", "bootstrap-complete"]


@pytest.mark.requirement("SZTP-B-01")
def test_5_5_appendix_b_the_same_host_twice_is_trusted_the_second_time(lab: Lab) -> None:
    """Appendix B: an untrusted server redirects, signed, to itself, and is trusted from then on."""
    owner = lab.server("owner")
    redirect = lab.signed(lab.redirect(owner))
    owner.server.set_answer(SERIAL, lab.unsigned(lab.onboarding()), if_signed_preferred=redirect)
    device = lab.device(servers=[owner], server_anchors=False)
    assert device.run() == 0
    assert [i.signed_data_preferred for i in owner.inputs()] == [True, False]
    assert owner.progress() == ["bootstrap-initiated", "bootstrap-complete"]
    assert owner.server.violations == ()


@pytest.mark.requirement("SZTP-6.3-02")
def test_5_5_the_port_defaults_to_443(lab: Lab) -> None:
    first = redirecting(lab, [bootstrap_server("127.0.0.1")])
    device = lab.device(servers=[first], server_anchors=False)
    assert device.run() in {10, 11}
    contacts = [s["detail"] for s in device.status["steps"] if s["stage"] == "contact"]
    assert contacts[-1] == "127.0.0.1:443"


@pytest.mark.requirement("SZTP-6.3-03")
@pytest.mark.parametrize("kind", ["name", "ipv6"])
def test_5_5_addresses_are_names_or_literals(lab: Lab, kind: str) -> None:
    host = {"name": "localhost", "ipv6": "::1"}[kind]
    names: dict[str, object] = (
        {"ip_addresses": [], "dns_names": ["localhost"]}
        if kind == "name"
        else {"ip_addresses": ["::1"]}
    )
    ca = lab.pki.bootstrap_server_ca
    address = "127.0.0.1" if kind == "name" else "::1"
    owner = lab.server("owner", identity=tls_identity(ca, **names), address=address)
    owner.server.set_answer(SERIAL, lab.unsigned(lab.onboarding()))
    target = bootstrap_server(host, owner.port, certificates_only([ca]))
    device = lab.device(servers=[redirecting(lab, [target])], server_anchors=False)
    assert device.run() == 0
    assert owner.progress()[-1] == "bootstrap-complete"
    sni = owner.server.exchanges[0].request.sni
    assert sni == ("localhost" if kind == "name" else None)


@pytest.mark.requirement("SZTP-7.3-01")
@pytest.mark.refuses("SZTP-7.3-01")
def test_5_5_redirects_are_never_reported(lab: Lab) -> None:
    owner = lab.server("owner")
    first = redirecting(lab, [entry(owner, lab.pki.bootstrap_server_ca)], signed=False)
    device = lab.device(servers=[first])
    owner.server.set_answer(SERIAL, lab.unsigned(lab.onboarding(), level="verbose"))
    assert device.run() == 0
    assert first.server.reports == ()
    assert len(owner.progress()) > 2


@pytest.mark.requirement("SZTP-5.5-01", "SZTP-5.3-08")
def test_5_5_a_dead_end_below_leads_to_the_next_of_the_list_above(lab: Lab) -> None:
    first = lab.server("first")
    middle = lab.server("middle", address="127.0.0.2")
    dead_end = lab.server("dead-end", address="127.0.0.3")  # 403
    owner = lab.server("owner", address="127.0.0.4")
    first.server.set_answer(SERIAL, lab.unsigned(lab.redirect(middle, owner)))
    middle.server.set_answer(SERIAL, lab.unsigned(lab.redirect(dead_end)))
    owner.server.set_answer(SERIAL, lab.signed(lab.onboarding()))
    device = lab.device(servers=[first])
    assert device.run() == 0
    assert [len(s.inputs()) for s in (first, middle, dead_end, owner)] == [1, 1, 1, 1]
    assert device.running_config == CONFIGURATION


@pytest.mark.slow
@pytest.mark.refuses("SZTP-5.3-09")
def test_5_5_servers_that_multiply_are_bounded_by_their_number(lab: Lab) -> None:
    """Depth alone would allow two to the tenth of them."""
    servers = [lab.server(name, address=f"127.0.0.{n}") for n, name in ((1, "a"), (2, "b"))]
    for served in servers:
        served.server.set_answer(SERIAL, lab.unsigned(lab.redirect(*servers)))
    owner = lab.server("owner")
    owner.server.set_answer(SERIAL, lab.signed(lab.onboarding()))
    medium = lab.medium("a", lab.unsigned(lab.redirect(*servers)))
    device = lab.device(
        servers=[owner],
        sources=["removable-storage", "bootstrap-servers"],
        media={"devices": [str(medium)]},
    )
    assert device.run() == 0
    assert sum(len(s.inputs()) for s in servers) == 64
    assert owner.progress()[-1] == "bootstrap-complete"
