# SPDX-License-Identifier: Apache-2.0
"""RFC 8572, 5.3: whom the device believes, seen from the wire."""

import base64
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from tests.harness import ADDRESSES, CONFIGURATION, SERIAL, Device, Lab, Served

from xpu_emulator.https import Demand
from xpu_emulator.pki import Identity, make_root


def tls_identity(issuer: Identity, **changes: object) -> Identity:
    """A server certificate for each of `ADDRESSES`, unless changed."""
    values: dict[str, object] = {
        "ip_addresses": ADDRESSES,
        "extended_key_usage": ["server_auth"],
        **changes,
    }
    return issuer.issue("bootstrap server", **values)  # type: ignore[arg-type]  # by name


def expired(issuer: Identity) -> Identity:
    """One that ended yesterday."""
    now = datetime.now(UTC)
    return tls_identity(
        issuer, not_before=now - timedelta(days=9), not_after=now - timedelta(days=1)
    )


def stranger() -> Identity:
    """An owner certificate below an authority no voucher pins."""
    return make_root("Stranger root").issue("Stranger", key_usage={"digital_signature"})


def wrong_server(lab: Lab, kind: str) -> Served:
    """A bootstrap server that the configured anchors don't vouch for."""
    ca = lab.pki.bootstrap_server_ca
    identity = {
        "other-name": lambda: tls_identity(ca, ip_addresses=[], dns_names=["other.example"]),
        "other-ca": lambda: tls_identity(make_root("Other CA")),
        "expired": lambda: expired(ca),
    }[kind]()
    return lab.server(kind, identity=identity)


KINDS = {
    "other-name": "server-cert-name-mismatch",
    "other-ca": "server-cert-unknown-issuer",
    "expired": "server-cert-expired",
}


@pytest.mark.requirement("SZTP-5.3-02", "SZTP-5.3-11", "SZTP-7.3-02")
def test_5_3_a_server_under_the_configured_anchor_is_trusted(lab: Lab) -> None:
    owner = lab.server("owner")
    owner.server.set_answer(SERIAL, lab.unsigned(lab.onboarding()))
    device = lab.device(servers=[owner])
    assert device.run() == 0
    assert device.running_config == CONFIGURATION
    assert not owner.inputs()[0].signed_data_preferred
    assert owner.progress() == ["bootstrap-initiated", "bootstrap-complete"]
    assert owner.server.violations == ()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.requirement("SZTP-5.3-10", "SZTP-7.3-10")
@pytest.mark.refuses("SZTP-5.3-02", "SZTP-5.3-10", "SZTP-7.3-01")
def test_5_3_a_wrong_certificate_makes_unsigned_onboarding_refused(lab: Lab, kind: str) -> None:
    server, second = wrong_server(lab, kind), lab.server("second")
    answer = lab.unsigned(lab.onboarding())
    # The server's duty to withhold unsigned data must not be what protects the device.
    server.server.policy = replace(server.server.policy, obeys_signed_data_preferred=False)
    server.server.set_answer(SERIAL, answer)
    device = lab.device(servers=[server, second])
    assert device.run() == 11
    assert not device.running_config
    assert [i.signed_data_preferred for i in server.inputs()] == [True]
    assert server.progress() == []
    assert len(second.inputs()) == 1  # the next candidate had its turn
    assert device.last_reason == KINDS[kind]
    assert server.server.violations == ()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.requirement("SZTP-5.3-03", "SZTP-7.3-01")
def test_5_3_signed_onboarding_from_such_a_server_is_used_and_not_reported(
    lab: Lab, kind: str
) -> None:
    server = wrong_server(lab, kind)
    server.server.set_answer(SERIAL, lab.signed(lab.onboarding(), level="verbose"))
    device = lab.device(servers=[server])
    assert device.run() == 0
    assert device.running_config == CONFIGURATION
    assert server.server.reports == ()
    assert server.server.violations == ()


@pytest.mark.requirement("SZTP-5.3-07", "SZTP-5.4-01", "SZTP-5.6-03")
@pytest.mark.refuses("SZTP-5.3-07", "SZTP-5.3-11")
def test_5_3_signed_data_that_fails_is_refused_from_a_trusted_server_too(lab: Lab) -> None:
    owner = lab.server("owner")
    owner.server.set_answer(SERIAL, lab.signed(lab.onboarding(), owner=stranger()))
    device = lab.device(servers=[owner])
    assert device.run() == 11
    assert not device.running_config
    assert device.last_reason == "owner-cert-untrusted"
    assert owner.progress() == ["bootstrap-initiated", "parsing-error"]
    assert "owner-cert-untrusted" in (owner.server.reports[-1].report.message or "")
    assert owner.server.violations == ()


@pytest.mark.refuses("SZTP-5.3-01")
def test_5_3_trust_is_not_carried_over_to_the_next_source(lab: Lab) -> None:
    owner = lab.server("owner")
    owner.server.set_answer(
        SERIAL, lab.unsigned(lab.onboarding(post_script=b"#!/bin/sh\nexit 1\n"))
    )
    medium = lab.medium("a", lab.unsigned(lab.onboarding(configuration=b"from the medium")))
    device = lab.device(
        servers=[owner],
        sources=["bootstrap-servers", "removable-storage"],
        media={"devices": [str(medium)]},
    )
    assert device.run() == 12
    assert not device.running_config
    assert device.state["earlier-refusals"] == {"unsigned-not-allowed": 1}


@pytest.mark.requirement("SZTP-5.3-04", "SZTP-5.1-10", "SZTP-9.2-01")
def test_5_3_the_chain_that_is_sent_leads_to_the_root_alone(lab: Lab) -> None:
    """The server knows the manufacturer's root and nothing else."""
    owner = lab.server("owner", demand=Demand.REQUIRED)
    owner.server.set_answer(SERIAL, lab.unsigned(lab.onboarding()))
    device = lab.device(servers=[owner])
    assert device.run() == 0
    sent = owner.server.exchanges[0].request.client_chain
    identity = lab.pki.device(SERIAL)
    assert sent[: len(identity.chain) - 1] == tuple(
        each.der for each in identity.chain if each.issuer is not None
    )


@pytest.mark.refuses("SZTP-5.3-04")
def test_5_3_without_intermediates_no_server_takes_us(lab: Lab) -> None:
    """What leaving them out would do, shown with a chain file that lacks them."""
    owner = lab.server("owner", demand=Demand.REQUIRED)
    owner.server.set_answer(SERIAL, lab.unsigned(lab.onboarding()))
    device = lab.device(servers=[owner])
    identity = lab.pki.device(SERIAL)
    assert len(identity.chain) > 2
    (device.folder / "idevid" / "chain.pem").write_bytes(identity.pem)
    assert device.run() == 14
    assert device.last_reason == "client-cert-refused"
    assert owner.server.exchanges == ()
    assert not device.running_config


@pytest.mark.refuses("SZTP-5.1-10")
@pytest.mark.parametrize("key", ["missing", "another"])
def test_5_3_without_the_certificates_own_key_nobody_is_contacted(lab: Lab, key: str) -> None:
    owner = lab.server("owner")
    owner.server.set_answer(SERIAL, lab.unsigned(lab.onboarding()))
    device = lab.device(servers=[owner])
    path = device.folder / "idevid" / "key.pem"
    if key == "missing":
        path.unlink()
    else:
        path.write_bytes(make_root("Another").key_pem)
    assert device.run() == 14
    assert owner.https.connections == ()
    assert not device.running_config


def with_credentials(lab: Lab, owner: Served, username: str = SERIAL) -> Device:
    """A device with HTTP credentials besides its certificate."""
    device = lab.device(
        servers=[owner],
        identity={"username": username, "password-file": "idevid/password"},
    )
    password = device.folder / "idevid" / "password"
    password.touch(mode=0o600)
    password.write_text("secret\n")
    return device


def authorizations(served: Served) -> set[str | None]:
    """The Authorization fields seen."""
    return {e.request.header("Authorization") for e in served.server.exchanges}


@pytest.mark.requirement("SZTP-5.3-05", "SZTP-5.1-05")
def test_5_3_certificate_and_credentials_name_the_same_serial_number(lab: Lab) -> None:
    owner = lab.server("owner")
    owner.server.policy = replace(owner.server.policy, basic_passwords={SERIAL: "secret"})
    owner.server.set_answer(SERIAL, lab.unsigned(lab.onboarding()))
    device = with_credentials(lab, owner)
    assert device.run() == 0
    assert authorizations(owner) == {"Basic " + base64.b64encode(b"SN-0001:secret").decode()}
    assert owner.server.violations == ()


@pytest.mark.refuses("SZTP-5.3-05")
def test_5_3_other_credentials_than_the_certificates_are_never_sent(lab: Lab) -> None:
    owner = lab.server("owner")
    owner.server.policy = replace(owner.server.policy, basic_passwords={"SN-0002": "secret"})
    owner.server.set_answer(None, lab.unsigned(lab.onboarding()))
    device = with_credentials(lab, owner, "SN-0002")
    assert device.run() == 2
    assert owner.server.exchanges == ()
    assert not device.running_config


@pytest.mark.requirement("SZTP-9.6-01")
@pytest.mark.refuses("SZTP-9.6-01")
def test_5_3_an_untrusted_server_sees_no_credentials(lab: Lab) -> None:
    server = wrong_server(lab, "other-ca")
    server.server.set_answer(SERIAL, lab.signed(lab.onboarding()))
    device = with_credentials(lab, server)
    assert device.run() == 0
    assert authorizations(server) == {None}
