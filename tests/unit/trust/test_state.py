# SPDX-License-Identifier: Apache-2.0
"""Where to go next, whom to trust there, and what to tell (RFC 8572, 5.3, 5.5 and 9.6)."""

import itertools
from collections.abc import Sequence
from typing import Any

import pytest
from tests.unit.trust import bundles
from tests.unit.trust.bundles import NONCE, NOW, certificates, issue, judged, root

from xpu_agent.artifacts.cms import CertificateBag, parse_content_info
from xpu_agent.artifacts.conveyed_info import RedirectInformation, parse_conveyed_document
from xpu_agent.trust.signed_data import TrustedRedirect, UntrustedRedirect
from xpu_agent.trust.state import (
    ProvisionalHop,
    TrustedHop,
    TrustState,
    bootstrapping_request,
    chain_end,
    preconfigured_hop,
    provisional_hop,
    redirect_hops,
)
from xpu_emulator.artifacts import (
    ContentType,
    bootstrap_server,
    certificates_only,
    conveyed_json,
    redirect_document,
)
from xpu_emulator.pki import Identity, make_crl


def bag(*identities: Identity, crls: Sequence[bytes] = ()) -> CertificateBag:
    found = parse_content_info(certificates_only(identities, crls))
    assert isinstance(found, CertificateBag)
    return found


def shuffled(*identities: Identity) -> list[CertificateBag]:
    """The same certificates in every order; on the wire they have none."""
    orders = itertools.permutations(certificates(identities))
    return [CertificateBag(tuple(order), (), ()) for order in orders]


def end_of(*identities: Identity) -> bytes | None:
    """What every order of them says, which has to be the same."""
    ends = {None if (end := chain_end(each)) is None else end.der for each in shuffled(*identities)}
    assert len(ends) == 1
    return ends.pop()


# --- trust-anchor -----------------------------------------------------------------------------


@pytest.mark.requirement("SZTP-6.3-01")
def test_the_anchor_is_the_last_ca_of_the_chain() -> None:
    top = root("Root")
    one = issue(top, "One", ca=True)
    two = issue(one, "Two", ca=True)
    assert end_of(top) == top.der
    assert end_of(top, one) == one.der
    assert end_of(top, one, two) == two.der
    crl = make_crl(top, this_update=NOW, next_update=None)
    with_crl = chain_end(bag(top, one, crls=[crl]))
    assert with_crl is not None
    assert with_crl.der == one.der


@pytest.mark.refuses("SZTP-6.3-01")
def test_what_is_no_single_chain_with_its_root() -> None:
    top, other = root("Root"), root("Other")
    one = issue(top, "One", ca=True)
    two = issue(one, "Two", ca=True)
    branch = issue(top, "Branch", ca=True)
    assert end_of(top, other) is None
    assert end_of(top, root("Root", key=top.key)) is None  # each seems to have issued the other
    assert end_of(top, one, other) is None
    assert end_of(one) is None
    assert end_of(one, two) is None
    assert end_of(top, two) is None
    assert end_of(top, one, branch) is None
    assert end_of(top, one, issue(other, "Stray", ca=True)) is None
    assert chain_end(CertificateBag((), (), ())) is None


@pytest.mark.requirement("SZTP-6.3-01")
def test_a_certificate_that_stands_there_twice_counts_once() -> None:
    top = root("Root")
    one = issue(top, "One", ca=True)
    twice = CertificateBag(certificates([top, one, top, one]), (), ())
    end = chain_end(twice)
    assert end is not None
    assert end.der == one.der


@pytest.mark.refuses("SZTP-6.3-01")
def test_a_chain_that_does_not_end_in_a_ca() -> None:
    top = root("Root")
    one = issue(top, "One", ca=True)
    assert end_of(top, issue(top, "Server", dns_names=["a.example"])) is None
    assert end_of(top, one, issue(one, "Server", dns_names=["a.example"])) is None
    assert end_of(top, issue(top, "CA", ca=True, key_usage={"crl_sign"})) is None


@pytest.mark.requirement("CMS-04")
@pytest.mark.refuses("CMS-04")
def test_a_root_may_be_signed_with_sha1_but_not_an_intermediate() -> None:
    old = root("Root", hash_name="sha1")
    assert end_of(old) == old.der
    one = issue(old, "One", ca=True)
    assert end_of(old, one) == one.der
    assert end_of(old, issue(old, "One", ca=True, hash_name="sha1")) is None
    assert end_of(issue(old, "One", ca=True, hash_name="sha1")) is None


@pytest.mark.refuses("SZTP-6.3-01")
def test_a_root_whose_signature_does_not_hold() -> None:
    top = root("Root")
    forged = issue(top, "Root", ca=True)
    assert end_of(forged) is None


@pytest.mark.refuses("CMS-07")
def test_too_many_certificates_of_one_name_are_no_chain() -> None:
    chain = [root("Root")]
    for _ in range(15):
        chain.append(issue(chain[-1], "Root", ca=True))
    backwards = CertificateBag(tuple(reversed(certificates(chain))), (), ())
    assert chain_end(backwards) is None


# --- hops -------------------------------------------------------------------------------------


def redirect(*servers: dict[str, Any]) -> RedirectInformation:
    octets = conveyed_json(redirect_document(servers))
    document = parse_conveyed_document(octets, ContentType.CONVEYED_JSON.value, frozenset())
    assert isinstance(document.information, RedirectInformation)
    return document.information


@pytest.mark.requirement("SZTP-5.5-04", "SZTP-2.1-01")
def test_trusted_redirect_each_server_has_its_own_anchor() -> None:
    a, b = root("A"), root("B")
    sub = issue(b, "B sub", ca=True)
    information = redirect(
        bootstrap_server("a.example", trust_anchor=certificates_only([a])),
        bootstrap_server("b.example", 8443, certificates_only([sub, b])),
    )
    first, second = redirect_hops(information, trusted=True)
    assert first == TrustedHop("a.example", 443, certificates([a]), fallback=None)
    assert second == TrustedHop("b.example", 8443, certificates([sub]), fallback=None)


@pytest.mark.requirement("SZTP-5.5-05", "SZTP-5.5-06")
def test_without_anchor_or_trust_a_server_is_provisional() -> None:
    a = certificates_only([root("A")])
    information = redirect(
        bootstrap_server("a.example", trust_anchor=a), bootstrap_server("192.0.2.1", 444)
    )
    trusted = redirect_hops(information, trusted=True)
    assert isinstance(trusted[0], TrustedHop)
    assert trusted[1] == ProvisionalHop("192.0.2.1", 444)
    assert redirect_hops(information, trusted=False) == (
        ProvisionalHop("a.example", 443),
        ProvisionalHop("192.0.2.1", 444),
    )


@pytest.mark.refuses("SZTP-6.3-01", "SZTP-5.5-04")
def test_an_entry_with_an_unusable_anchor_is_left_out_not_weakened() -> None:
    a, b = root("A"), root("B")
    information = redirect(
        bootstrap_server("two.example", trust_anchor=certificates_only([a, b])),
        bootstrap_server("good.example", trust_anchor=certificates_only([a])),
        bootstrap_server("none.example", trust_anchor=certificates_only([])),
    )
    hops = redirect_hops(information, trusted=True)
    assert [hop.host for hop in hops] == ["good.example"]
    assert len(redirect_hops(information, trusted=False)) == 3


@pytest.mark.requirement("SZTP-5.5-06")
@pytest.mark.refuses("SZTP-5.5-06")
def test_only_judging_makes_a_redirects_anchors_count() -> None:
    document = redirect_document(
        [bootstrap_server("a.example", trust_anchor=certificates_only([root("A")]))]
    )
    untrusted = judged(bundles.unsigned(document), trust=TrustState.FALSE).require()
    assert isinstance(untrusted, UntrustedRedirect)
    trusted = judged(bundles.bundle(bundles.make_conveyed(document=document))).require()
    assert isinstance(trusted, TrustedRedirect)
    # What SZTP-B-01 promises: the same server again, now trusted.
    (hop,) = redirect_hops(trusted.information, trusted=True)
    assert isinstance(hop, TrustedHop)


def test_preconfigured_servers_fall_back_to_provisional() -> None:
    anchors = certificates([root("A")])
    hop = preconfigured_hop("a.example", 443, anchors)
    assert hop == TrustedHop("a.example", 443, anchors, fallback=ProvisionalHop("a.example", 443))
    assert preconfigured_hop("a.example", 443, ()) == provisional_hop("a.example", 443)


# --- what a server is told --------------------------------------------------------------------


@pytest.mark.requirement("SZTP-9.6-02")
@pytest.mark.refuses("SZTP-9.6-02")
def test_a_provisional_server_learns_the_nonce_only() -> None:
    request = bootstrapping_request(TrustState.FALSE, bundles.facts(), NONCE)
    assert request.signed_data_preferred
    assert (request.hw_model, request.os_name, request.os_version) == (None, None, None)
    assert request.nonce == NONCE


@pytest.mark.requirement("SZTP-9.6-02")
def test_a_trusted_server_learns_what_the_device_is() -> None:
    request = bootstrapping_request(TrustState.TRUE, bundles.facts(), NONCE)
    assert not request.signed_data_preferred
    assert (request.hw_model, request.os_name, request.os_version) == ("model", "os", "1.0")
    assert request.nonce == NONCE
