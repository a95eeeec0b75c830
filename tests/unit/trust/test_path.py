# SPDX-License-Identifier: Apache-2.0
"""Paths, piece by piece: constraints of issuers, names, the bar of AMB-29, the budget."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from tests.unit.trust import bundles
from tests.unit.trust.bundles import (
    CLOCK,
    DAY,
    NO_CLOCK,
    NOW,
    accepted,
    authorities,
    certificates,
    issue,
    judged,
    make_voucher,
    refused,
    root,
)

from xpu_agent import limits
from xpu_agent.artifacts.certificate import parse_certificate
from xpu_agent.device import ClockReading
from xpu_agent.errors import Reason
from xpu_agent.trust.path import PathError, PathFault, ValidatedPath, find_path, issued_by
from xpu_agent.trust.signature import Budget, BudgetSpentError
from xpu_agent.trust.signed_data import Step
from xpu_emulator.pki import Identity


def path(
    leaf: Identity,
    anchors: Sequence[Identity],
    intermediates: Sequence[Identity] = (),
    *,
    clock: ClockReading = CLOCK,
    budget: Budget | None = None,
    judge_anchor_dates: bool = False,
) -> ValidatedPath:
    return find_path(
        parse_certificate(leaf.der),
        anchors=certificates(anchors),
        intermediates=certificates(intermediates),
        clock=clock,
        budget=budget or Budget(),
        judge_anchor_dates=judge_anchor_dates,
    )


def no_path(
    leaf: Identity, anchors: Sequence[Identity], intermediates: Sequence[Identity] = (), **more: Any
) -> PathError:
    with pytest.raises(PathError) as caught:
        path(leaf, anchors, intermediates, **more)
    return caught.value


@dataclass(frozen=True)
class Critical:
    """An extension of any OID."""

    oid: x509.ObjectIdentifier
    critical: bool
    value: x509.UnrecognizedExtension


def extension(oid: str, *, critical: bool, value: bytes = b"\x05\x00") -> Any:
    identifier = x509.ObjectIdentifier(oid)
    return Critical(identifier, critical, x509.UnrecognizedExtension(identifier, value))


@pytest.mark.requirement("CMS-06", "SZTP-5.4-08")
def test_a_path_has_its_certificates_from_the_leaf_to_the_anchor() -> None:
    who = authorities()
    found = path(who.owner, [who.owner_root], [who.owner_ca])
    assert [c.der for c in found.certificates] == [i.der for i in who.owner.chain]
    assert found.anchor.der == who.owner_root.der
    assert [c.der for c in found.issuers] == [who.owner_ca.der, who.owner_root.der]
    alone = path(who.owner, [who.owner])
    assert alone.issuers == ()
    assert alone.anchor.der == who.owner.der


@pytest.mark.refuses("CMS-06")
@pytest.mark.parametrize("place", ["anchor", "intermediate"])
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"ca": False, "key_usage": {"key_cert_sign"}}, "is no CA"),
        ({"ca": True, "key_usage": {"digital_signature", "crl_sign"}}, "may not sign certificates"),
    ],
)
def test_issuers_that_are_none(place: str, settings: dict[str, Any], words: str) -> None:
    top = root("Root")
    middle = issue(top, "Middle", **settings)
    leaf = issue(middle, "Leaf")
    fault = no_path(leaf, [middle]) if place == "anchor" else no_path(leaf, [top], [middle])
    assert fault.fault is PathFault.UNTRUSTED
    assert words in fault.message


@pytest.mark.requirement("CMS-06")
def test_an_issuer_without_key_usage() -> None:
    top = root("Root")
    middle = issue(top, "Middle", ca=True, key_usage=None)
    path(issue(middle, "Leaf"), [top], [middle])


@pytest.mark.refuses("CMS-06")
def test_basic_constraints_that_say_no_ca() -> None:
    top = root("Root")
    constraints = x509.Extension(
        x509.BasicConstraints.oid,
        True,
        x509.BasicConstraints(ca=False, path_length=None),
    )
    middle = issue(top, "Middle", extensions=[constraints], key_usage={"key_cert_sign"})
    assert "is no CA" in no_path(issue(middle, "Leaf"), [top], [middle]).message


@pytest.mark.refuses("CMS-06")
def test_path_length() -> None:
    for length, refuse in ((0, True), (1, False), (2, False)):
        top = root("Root", path_length=length)
        one = issue(top, "One", ca=True)
        leaf = issue(one, "Leaf")
        if refuse:
            assert "longer than it allows" in no_path(leaf, [top], [one]).message
        else:
            path(leaf, [top], [one])
    zero = root("Zero", path_length=0)
    path(issue(zero, "Leaf"), [zero])
    # The certificate in question is not counted, though it is a CA (RFC 5280, 4.2.1.9).
    path(issue(zero, "CA", ca=True), [zero])


@pytest.mark.requirement("CMS-06")
def test_key_roll_over_counts_for_no_path_length() -> None:
    top = root("Root", path_length=0)
    rolled = issue(top, "Root", ca=True)
    path(issue(rolled, "Leaf"), [top], [rolled])


@pytest.mark.refuses("CMS-06")
@pytest.mark.parametrize("place", ["leaf", "intermediate", "leaf that is the anchor"])
@pytest.mark.parametrize(
    ("oid", "value"),
    [
        ("2.999.1", b"\x05\x00"),
        ("2.5.29.36", b"\x30\x03\x80\x01\x00"),  # policyConstraints
        ("2.5.29.31", b"\x30\x00"),  # cRLDistributionPoints
    ],
)
def test_critical_extensions_not_understood(place: str, oid: str, value: bytes) -> None:
    for critical in (True, False):
        more = {"extensions": [extension(oid, critical=critical, value=value)]}
        top = root("Root")
        middle = issue(top, "Middle", ca=True, **(more if place == "intermediate" else {}))
        leaf = issue(middle, "Leaf", **({} if place == "intermediate" else more))
        anchors = [leaf] if place == "leaf that is the anchor" else [top]
        if critical:
            assert f"critical extension {oid}" in no_path(leaf, anchors, [middle]).message
        else:
            path(leaf, anchors, [middle])


@pytest.mark.requirement("CMS-06")
def test_critical_extensions_that_are_understood() -> None:
    policy = "\x30\x08\x30\x06\x06\x04\x2a\x03\x04\x05".encode("latin-1")
    known = [
        extension("2.5.29.32", critical=True, value=policy),
        extension("2.5.29.54", critical=True, value=b"\x02\x01\x00"),
    ]
    top = root("Root")
    middle = issue(top, "Middle", ca=True, extensions=known)
    leaf = issue(middle, "", empty_subject=True, dns_names=["a.example"])
    path(leaf, [top], [middle])


@pytest.mark.refuses("CMS-06")
def test_an_issuer_is_one_by_its_signature() -> None:
    # Same names, same serial numbers, same key identifiers as claimed; another key.
    top = root("Root")
    real = issue(top, "Middle", ca=True, serial=7, without_ski=True)
    other = issue(top, "Middle", ca=True, serial=7, without_ski=True)
    leaf = issue(real, "Leaf", without_aki=True)
    assert no_path(leaf, [top], [other]).fault is PathFault.UNTRUSTED
    for order in ([real, other], [other, real]):
        found = path(leaf, [top], order)
        assert found.certificates[1].der == real.der
    impostor = root("Root")
    assert no_path(leaf, [impostor], [real]).fault is PathFault.UNTRUSTED


@pytest.mark.refuses("CMS-06")
def test_an_issuer_is_one_by_its_name_too() -> None:
    top = root("Root")
    namesake = issue(top, "Other name", ca=True, key=top.key)
    leaf = parse_certificate(issue(top, "Leaf").der)
    assert not issued_by(leaf, parse_certificate(namesake.der), Budget())
    assert issued_by(leaf, parse_certificate(top.der), Budget())


@pytest.mark.requirement("CMS-06")
def test_key_identifiers_only_order_the_search() -> None:
    top = root("Root")
    real = issue(top, "Middle", ca=True)
    others = [issue(top, "Middle", ca=True) for _ in range(10)]
    leaf = issue(real, "Leaf")
    budget = Budget()
    path(leaf, [top], [*others, real], budget=budget)
    assert limits.SIGNATURE_CHECKS - budget.checks <= 3
    hidden = issue(top, "Middle", ca=True, without_ski=True)
    path(issue(hidden, "Leaf"), [top], [*others, hidden])


@pytest.mark.requirement("SZTP-9.1-02")
def test_dates_count_below_the_anchor_and_where_it_was_conveyed() -> None:
    second = timedelta(seconds=1)
    top = root("Root", not_before=NOW - DAY, not_after=NOW - second)
    middle = issue(top, "Middle", ca=True)
    leaf = issue(middle, "Leaf")
    path(leaf, [top], [middle])
    fault = no_path(leaf, [top], [middle], judge_anchor_dates=True)
    assert fault.fault is PathFault.EXPIRED
    path(leaf, [top], [middle], judge_anchor_dates=True, clock=NO_CLOCK)
    old = issue(root("R"), "Leaf", not_after=NOW - second)
    assert no_path(old, [old]).fault is PathFault.EXPIRED
    assert no_path(old, [old.root]).fault is PathFault.EXPIRED
    new = issue(root("R"), "", not_before=NOW + second, empty_subject=True, dns_names=["a"])
    fault = no_path(new, [new.root])
    assert fault.fault is PathFault.NOT_YET_VALID
    assert fault.message.startswith("a certificate without subject")


@pytest.mark.refuses("SZTP-9.1-02")
def test_dates_of_intermediates_count() -> None:
    top = root("Root")
    middle = issue(top, "Middle", ca=True, not_after=NOW - DAY)
    leaf = issue(middle, "Leaf")
    assert no_path(leaf, [top], [middle]).fault is PathFault.EXPIRED
    path(leaf, [top], [middle], clock=NO_CLOCK)


@pytest.mark.requirement("CMS-06")
def test_another_valid_path_is_found_beside_an_invalid_one() -> None:
    top = root("Root")
    old = issue(top, "Middle", ca=True, not_after=NOW - DAY)
    new = issue(top, "Middle", ca=True, key=old.key)
    leaf = issue(old, "Leaf")
    for order in ([old, new], [new, old]):
        assert path(leaf, [top], order).certificates[1].der == new.der


def test_the_fault_that_says_most_is_raised() -> None:
    top = root("Root")
    old = issue(top, "Middle", ca=True, not_after=NOW - DAY)
    none = issue(top, "Middle", key=old.key)
    new = issue(top, "Middle", ca=True, key=old.key, not_before=NOW + DAY)
    leaf = issue(old, "Leaf")
    for order in ([old, none, new], [new, none, old], [none, new, old]):
        assert no_path(leaf, [top], order).fault is PathFault.EXPIRED
    for order in ([none, new], [new, none]):
        assert no_path(leaf, [top], order).fault is PathFault.NOT_YET_VALID


@pytest.mark.requirement("CMS-07")
@pytest.mark.refuses("CMS-07")
def test_depth_of_a_path() -> None:
    chain = [root("Root")]
    for number in range(limits.PATH_DEPTH):
        chain.append(issue(chain[-1], f"CA {number}", ca=True))
    path(chain[limits.PATH_DEPTH - 1], [chain[0]], chain[1:])
    assert no_path(chain[limits.PATH_DEPTH], [chain[0]], chain[1:]).fault is PathFault.UNTRUSTED


def _many_keys() -> list[Identity]:
    """CAs of one name: every one has to be tried as issuer of every other."""
    tops = [root("Tangle") for _ in range(limits.CERTIFICATES - 1)]
    return [issue(tops[i - 1], "Tangle", ca=True, key=top.key) for i, top in enumerate(tops)]


def _many_names() -> list[Identity]:
    """CAs of one key, their names the same to all but octets: each issued each."""
    top = root("tangle")
    names = [a + b + c + "le" for a in ("ta", "Ta", "tA") for b in "nN" for c in "gG"]
    return [issue(top, name, ca=True, key=top.key) for name in names]


@pytest.mark.refuses("CMS-07")
@pytest.mark.parametrize(
    ("tangle", "words"),
    [(_many_keys, "signatures to check"), (_many_names, "steps in search of a path")],
)
def test_a_tangle_of_certificates_is_refused_early(
    tangle: Callable[[], list[Identity]], words: str
) -> None:
    hostile = tangle()
    owner = issue(hostile[0], "Owner")
    what = bundles.bundle(
        bundles.make_conveyed(owner), bundles.owner_bag(owner, *hostile), make_voucher()
    )
    began = time.monotonic()
    message = refused(judged(what), Step.OWNER_CERTIFICATE_PATH, Reason.OWNER_CERT_UNTRUSTED)
    assert words in message
    signer = issue(hostile[0], "Voucher signer")
    voucher = make_voucher(signer=signer, certificates=[signer, *hostile])
    message = refused(
        judged(bundles.bundle(ownership_voucher=voucher)),
        Step.VOUCHER_SIGNATURE,
        Reason.VOUCHER_UNTRUSTED,
    )
    assert words in message
    assert time.monotonic() - began < 2


@pytest.mark.requirement("CMS-07")
@pytest.mark.refuses("CMS-07")
def test_both_budgets_end_a_search() -> None:
    who = authorities()
    for budget in (Budget(checks=1), Budget(steps=2), Budget(checks=0), Budget(steps=0)):
        with pytest.raises(BudgetSpentError) as caught:
            path(who.owner, [who.owner_root], [who.owner_ca], budget=budget)
        assert caught.value.reason is Reason.SIGNATURE_INVALID
    budget = Budget(checks=2, steps=3)
    path(who.owner, [who.owner_root], [who.owner_ca], budget=budget)
    assert (budget.checks, budget.steps) == (0, 0)
    # What was found of an edge is remembered: the same again costs steps, but no check.
    budget.steps = 3
    path(who.owner, [who.owner_root], [who.owner_ca], budget=budget)


@pytest.mark.refuses("CMS-07")
def test_name_constraints_spend_steps() -> None:
    permitted = x509.NameConstraints([x509.DNSName("example")], None)
    top = root("Root")
    middle = issue(top, "Middle", ca=True, name_constraints=permitted)
    leaf = issue(middle, "Leaf", dns_names=["a.example"])
    budget = Budget()
    path(leaf, [top], [middle], budget=budget)
    assert limits.PATH_STEPS - budget.steps == 4


def _long_names(first: int, count: int) -> list[x509.GeneralName]:
    """Names that take long to compare: many relative distinguished names of many attributes."""
    return [
        x509.DirectoryName(
            x509.Name(
                x509.RelativeDistinguishedName(
                    x509.NameAttribute(x509.NameOID.COMMON_NAME, f"{name} {rdn} {attribute}")
                    for attribute in range(8)
                )
                for rdn in range(8)
            )
        )
        for name in range(first, first + count)
    ]


def _many_names_to_compare(issuer: Identity) -> tuple[Identity, Identity]:
    """A CA that excludes all it can, and below it a certificate with all the names it can have."""
    excluded = x509.NameConstraints(None, _long_names(0, limits.NAME_CONSTRAINTS))
    names = x509.SubjectAlternativeName(_long_names(1000, 200))
    ca = issue(issuer, "Many constraints", ca=True, name_constraints=excluded)
    return ca, issue(ca, "Many names", extensions=[x509.Extension(names.oid, False, names)])


@pytest.mark.refuses("CMS-07")
def test_comparing_names_has_a_budget() -> None:
    top = root("Root")
    ca, leaf = _many_names_to_compare(top)
    with pytest.raises(BudgetSpentError, match="octets of names to compare"):
        path(leaf, [top], [ca])


@pytest.mark.requirement("CMS-07")
@pytest.mark.refuses("CMS-07")
def test_each_comparison_of_names_is_paid_for() -> None:
    constraints = x509.NameConstraints([x509.DNSName("example")], [x509.DNSName("b.example")])
    ca = issue(root("Root"), "CA", ca=True, name_constraints=constraints)
    leaf = issue(ca, "Leaf", dns_names=["a.example"])
    subject = len(parse_certificate(leaf.der).subject)
    price = subject + 2 * (32 + len("a.example")) + len("example") + len("b.example")
    budget = Budget(name_octets=price)
    path(leaf, [ca], budget=budget)
    assert budget.name_octets == 0
    with pytest.raises(BudgetSpentError):
        path(leaf, [ca], budget=Budget(name_octets=price - 1))


@pytest.mark.refuses("CMS-07")
def test_a_stolen_device_key_makes_nobody_compare_names() -> None:
    # No CA stands above these names, so nobody has to look at them.
    who = authorities()
    ca, signer = _many_names_to_compare(who.device)
    budget = Budget()
    between = [ca, who.device, who.device_ca]
    assert "is no CA" in no_path(signer, [who.manufacturer], between, budget=budget).message
    assert budget.name_octets == limits.NAME_OCTETS


# --- AMB-29 -----------------------------------------------------------------------------------


def _by_device_ca(**more: Any) -> tuple[Identity, bytes]:
    who = authorities()
    signer = issue(who.device_ca, "Another device", **more)
    return signer, make_voucher(signer=signer)


@pytest.mark.refuses("SZTP-5.4-02")
def test_a_device_of_the_same_ca_signs_no_vouchers() -> None:
    _, voucher = _by_device_ca()
    what = bundles.bundle(ownership_voucher=voucher)
    message = refused(judged(what), Step.VOUCHER_SIGNATURE, Reason.VOUCHER_UNTRUSTED)
    assert "Device CA issues device identities" in message
    # Without an IDevID there is nothing to compare.
    accepted(judged(what, device=bundles.facts(idevid_chain=())))


@pytest.mark.refuses("SZTP-5.4-02")
def test_nor_does_this_device_itself() -> None:
    voucher = make_voucher(signer=authorities().device)
    refused(
        judged(bundles.bundle(ownership_voucher=voucher)),
        Step.VOUCHER_SIGNATURE,
        Reason.VOUCHER_UNTRUSTED,
    )


@pytest.mark.refuses("SZTP-5.4-02")
def test_nor_a_device_under_another_key_of_that_ca_or_below_it() -> None:
    who = authorities()
    rolled = issue(who.manufacturer, "Device CA", ca=True)
    below = issue(who.device_ca, "Sub CA", ca=True)
    for issuer in (rolled, below):
        signer = issue(issuer, "Another device")
        what = bundles.bundle(ownership_voucher=make_voucher(signer=signer))
        refused(judged(what), Step.VOUCHER_SIGNATURE, Reason.VOUCHER_UNTRUSTED)


@pytest.mark.requirement("SZTP-5.4-02")
def test_unless_that_ca_is_itself_an_anchor() -> None:
    who = authorities()
    _, voucher = _by_device_ca()
    device = bundles.facts(voucher_anchors=(who.device_ca.der,))
    accepted(judged(bundles.bundle(ownership_voucher=voucher), device=device))


# --- words ------------------------------------------------------------------------------------


@pytest.mark.requirement("CMS-06")
def test_faults_name_who_is_at_fault_or_say_that_it_has_no_name() -> None:
    def chain(name: str, **more: Any) -> str:
        nameless = {"empty_subject": True, "dns_names": ["ca.example"]} if not name else {}
        middle = issue(root("Root"), name, ca=True, **nameless, **more)
        below = issue(middle, "Below", ca=True)
        leaf = issue(below, "Leaf", dns_names=["a.example"])
        assert middle.issuer is not None
        return no_path(leaf, [middle.issuer], [middle, below]).message

    excluded = x509.NameConstraints(None, [x509.DNSName("a.example")])
    odd = extension("2.999.1", critical=True)
    for name, who, issuer in (
        ("M", "CN=M", "CN=M"),
        ("", "a certificate without subject", "an issuer"),
    ):
        assert chain(name, key_usage={"crl_sign"}) == f"{who} may not sign certificates"
        assert chain(name, path_length=0) == f"the path below {issuer} is longer than it allows"
        assert chain(name, name_constraints=excluded).startswith(f"name constraints of {issuer}: ")
        assert chain(name, extensions=[odd]).startswith(f"{who} has the critical extension 2.999.1")
        assert chain(name, not_after=NOW - DAY).startswith(f"{who} expired at 2026-05-31 00:00:00Z")
        late = chain(name, not_before=NOW + DAY)
        assert late == f"{who} is not valid before 2026-06-02 00:00:00Z"
