# SPDX-License-Identifier: Apache-2.0
"""What stapled status does, by what the voucher asks for (RFC 8366, 5.3; AMB-26)."""

from collections.abc import Sequence
from datetime import datetime, timedelta
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
    issue,
    judged,
    make_voucher,
    refused,
    root,
)

from xpu_agent.artifacts.certificate import parse_certificate
from xpu_agent.artifacts.cms import CertificateBag, parse_content_info
from xpu_agent.device import ClockReading
from xpu_agent.errors import Reason, TrustError
from xpu_agent.trust.path import find_path
from xpu_agent.trust.revocation import Status, check_revocation, status_of
from xpu_agent.trust.signature import Budget, BudgetSpentError
from xpu_agent.trust.signed_data import Judgement, Step, StepResult
from xpu_emulator.artifacts import certificates_only
from xpu_emulator.pki import Identity, make_crl, make_ocsp

CURRENT: dict[str, Any] = {"this_update": NOW - DAY, "next_update": NOW + DAY}
STALE: dict[str, Any] = {"this_update": NOW - 3 * DAY, "next_update": NOW - timedelta(seconds=1)}
EARLY: dict[str, Any] = {
    "this_update": NOW + timedelta(seconds=1),
    "next_update": NOW + 2 * DAY,
}


def staple(
    form: str,
    certificate: Identity,
    *,
    revoked: bool = False,
    dates: dict[str, Any] = CURRENT,
    signer: Identity | None = None,
) -> dict[str, list[bytes]]:
    """One status of one certificate, in the name of its issuer."""
    issuer = certificate.issuer
    assert issuer is not None
    if form == "crl":
        listed = [certificate.serial_number] if revoked else [1]
        return {"crls": [make_crl(issuer, listed, signer=signer, **dates)], "ocsps": []}
    status: Any = "revoked" if revoked else "good"
    return {
        "crls": [],
        "ocsps": [make_ocsp(issuer, certificate, status, signer=signer, **dates)],
    }


def both(*staples: dict[str, list[bytes]]) -> dict[str, list[bytes]]:
    return {kind: [each for one in staples for each in one[kind]] for kind in ("crls", "ocsps")}


def judgement(
    staples: dict[str, list[bytes]],
    required: bool | None,
    clock: ClockReading = CLOCK,
    where: str = "owner-certificate",
) -> Judgement:
    here: dict[str, Any] = dict(staples) if where == "owner-certificate" else {}
    there: dict[str, Any] = {} if here else dict(staples)
    return judged(
        bundles.bundle(
            owner_certificate=bundles.owner_bag(**here),
            ownership_voucher=make_voucher(revocation_checks=required, **there),
        ),
        clock=clock,
    )


def _owner() -> Identity:
    return authorities().owner


def _ca() -> Identity:
    return authorities().owner_ca


FORMS = ["crl", "ocsp"]


def _staples(form: str, state: str) -> dict[str, list[bytes]]:
    good_ca = staple(form, _ca())
    match state:
        case "good":
            return both(staple(form, _owner()), good_ca)
        case "revoked":
            return both(staple(form, _owner(), revoked=True), good_ca)
        case "stale":
            return both(staple(form, _owner(), dates=STALE), good_ca)
        case "early":
            return both(staple(form, _owner(), dates=EARLY), good_ca)
        case "none":
            return both()
        case "partial":
            return staple(form, _owner())
        case "issuer only":
            return good_ca
        case "wrong signer":
            return both(staple(form, _owner(), signer=authorities().owner_root), good_ca)
        case "revoked by a wrong signer":
            return both(
                staple(form, _owner(), revoked=True, signer=root("Stranger")),
                staple(form, _owner()),
                good_ca,
            )
        case "issuer revoked":
            return both(staple(form, _owner()), staple(form, _ca(), revoked=True))
        case "revoked long ago":
            return both(staple(form, _owner(), revoked=True, dates=STALE), good_ca)
        case _:
            # An older list beside a newer one that lists it: revoked is revoked.
            return both(staple(form, _owner()), staple(form, _owner(), revoked=True), good_ca)


REVOKED, UNKNOWN, OK = Reason.OWNER_CERT_REVOKED, Reason.REVOCATION_UNKNOWN, None
# state: what comes of it if the voucher says true, and if it says nothing; then the same by a
# clock that is not accurate.
MATRIX = {
    "good": (OK, OK, OK, OK),
    "revoked": (REVOKED, REVOKED, REVOKED, REVOKED),
    "stale": (UNKNOWN, OK, OK, OK),
    "early": (UNKNOWN, OK, OK, OK),
    "none": (UNKNOWN, OK, UNKNOWN, OK),
    "partial": (UNKNOWN, OK, UNKNOWN, OK),
    "issuer only": (UNKNOWN, OK, UNKNOWN, OK),
    "wrong signer": (UNKNOWN, OK, UNKNOWN, OK),
    "revoked by a wrong signer": (OK, OK, OK, OK),
    "issuer revoked": (REVOKED, REVOKED, REVOKED, REVOKED),
    "revoked long ago": (REVOKED, REVOKED, REVOKED, REVOKED),
    "good and revoked": (REVOKED, REVOKED, REVOKED, REVOKED),
}


@pytest.mark.requirement("SZTP-5.4-09", "SZTP-3.2-05", "VCH-5.3-07")
@pytest.mark.refuses("SZTP-5.4-09")
@pytest.mark.parametrize("clock", [CLOCK, NO_CLOCK])
@pytest.mark.parametrize("required", [True, None])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("state", MATRIX)
def test_matrix(state: str, form: str, required: bool | None, clock: ClockReading) -> None:
    reason = MATRIX[state][2 * (clock is NO_CLOCK) + (required is None)]
    result = judgement(_staples(form, state), required, clock)
    if reason is None:
        steps = {each.step: each for each in accepted(result).steps}
        assert steps[Step.OWNER_CERTIFICATE_REVOCATION].result is StepResult.OK
    else:
        refused(result, Step.OWNER_CERTIFICATE_REVOCATION, reason)


@pytest.mark.requirement("VCH-5.3-06")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("state", MATRIX)
def test_false_looks_at_nothing(state: str, form: str) -> None:
    steps = {each.step: each for each in accepted(judgement(_staples(form, state), False)).steps}
    assert steps[Step.OWNER_CERTIFICATE_REVOCATION].result is StepResult.SKIPPED
    assert steps[Step.OWNER_CERTIFICATE_REVOCATION].note == "the voucher says not to"


@pytest.mark.requirement("SZTP-5.4-09", "VCH-5.4-03")
@pytest.mark.parametrize("form", FORMS)
def test_status_may_ride_along_in_the_voucher(form: str) -> None:
    accepted(judgement(_staples(form, "good"), True, where="ownership-voucher"))
    refused(
        judgement(_staples(form, "revoked"), None, where="ownership-voucher"),
        Step.OWNER_CERTIFICATE_REVOCATION,
        REVOKED,
    )


@pytest.mark.requirement("SZTP-5.4-09")
def test_a_pinned_owner_certificate_has_nothing_to_check() -> None:
    what = bundles.bundle(
        owner_certificate=bundles.owner_bag(_owner()),
        ownership_voucher=make_voucher(pinned=_owner(), revocation_checks=True),
    )
    accepted(judged(what))


@pytest.mark.requirement("SZTP-5.4-09")
def test_only_what_is_below_the_pinned_certificate_is_checked() -> None:
    what = bundles.bundle(
        owner_certificate=bundles.owner_bag(
            _owner(), **both(staple("crl", _owner()), staple("crl", _ca(), revoked=True))
        ),
        ownership_voucher=make_voucher(pinned=_ca(), revocation_checks=True),
    )
    accepted(judged(what))


@pytest.mark.refuses("SZTP-5.4-09", "CMS-07")
def test_more_status_than_the_budget_allows_is_refused() -> None:
    # Every certificate of a response may be its responder by name: each costs a check.
    who = authorities()
    name = [issue(who.owner_ca, "R", extended_key_usage=["ocsp_signing"]) for _ in range(16)]
    other = root("Other")
    flood = [
        make_ocsp(
            who.owner_ca,
            number,
            responder=name[0],
            certificates=name,
            signer=other,
            **CURRENT,
        )
        for number in range(1, 9)
    ]
    refused(
        judgement({"crls": [], "ocsps": flood}, None), Step.OWNER_CERTIFICATE_REVOCATION, UNKNOWN
    )


@pytest.mark.requirement("CMS-03", "SZTP-5.4-09")
@pytest.mark.refuses("SZTP-5.4-09")
@pytest.mark.parametrize("required", [True, None])
@pytest.mark.parametrize("first", [True, False])
def test_of_several_owners_one_that_is_not_revoked_suffices(
    required: bool | None, first: bool
) -> None:
    # Which of them stands first in a SET OF means nothing.
    pair = sorted((_owner(), issue(_ca(), "Second owner")), key=lambda each: each.der)
    bad, good = pair if first else pair[::-1]

    def result(*revoked: Identity) -> Judgement:
        crl = make_crl(_ca(), [each.serial_number for each in revoked], **CURRENT)
        staples = both({"crls": [crl], "ocsps": []}, staple("crl", _ca()))
        return judged(
            bundles.bundle(
                bundles.make_conveyed(bad, good),
                bundles.owner_bag(bad, good, _ca(), **staples),
                make_voucher(revocation_checks=required),
            )
        )

    judgement = accepted(result(bad))
    assert judgement.owner is not None
    assert judgement.owner.der == good.der
    refused(result(bad, good), Step.OWNER_CERTIFICATE_REVOCATION, REVOKED)


# --- pieces -----------------------------------------------------------------------------------


def status(
    crls: Sequence[bytes] = (),
    ocsps: Sequence[bytes] = (),
    *,
    bag: Sequence[Identity] = (),
    certificate: Identity | None = None,
    issuer: Identity | None = None,
    clock: ClockReading = CLOCK,
    budget: Budget | None = None,
) -> Status:
    found = parse_content_info(certificates_only(bag, crls, ocsps))
    assert isinstance(found, CertificateBag)
    which = certificate or _owner()
    return status_of(
        parse_certificate(which.der),
        parse_certificate((issuer or which.issuer or which).der),
        [found],
        clock=clock,
        budget=budget or Budget(),
    )


def _crl(*, revoked: bool = False, issuer: Identity | None = None, **more: Any) -> bytes:
    listed = more.pop("listed", [_owner().serial_number] if revoked else [])
    return make_crl(issuer or _ca(), listed, **{**CURRENT, **more})


def _ocsp(state: Any = "good", **more: Any) -> bytes:
    return make_ocsp(
        more.pop("issuer", _ca()), more.pop("certificate", _owner()), state, **{**CURRENT, **more}
    )


def test_plain_cases() -> None:
    assert status() is Status.UNKNOWN
    assert status([_crl()]) is Status.GOOD
    assert status([_crl(revoked=True)]) is Status.REVOKED
    assert status(ocsps=[_ocsp()]) is Status.GOOD
    assert status(ocsps=[_ocsp("revoked")]) is Status.REVOKED
    assert status(ocsps=[_ocsp("unknown")]) is Status.UNKNOWN
    assert status([_crl(pss=True)]) is Status.GOOD


@pytest.mark.requirement("SZTP-5.4-09")
@pytest.mark.parametrize("form", FORMS)
def test_edges_of_currency(form: str) -> None:
    def at(start: datetime, end: datetime | None, clock: ClockReading = CLOCK) -> Status:
        dates: dict[str, Any] = {"this_update": start, "next_update": end}
        if form == "crl":
            return status([_crl(**dates)], clock=clock)
        return status(ocsps=[_ocsp(**dates)], clock=clock)

    second = timedelta(seconds=1)
    assert at(NOW, NOW) is Status.GOOD
    assert at(NOW - DAY, NOW - second) is Status.UNKNOWN
    assert at(NOW + second, NOW + DAY) is Status.UNKNOWN
    assert at(NOW - DAY, None) is Status.UNKNOWN
    assert at(NOW - DAY, None, NO_CLOCK) is Status.GOOD


def _extension(value: x509.ExtensionType, *, critical: bool = True) -> Any:
    return x509.Extension(value.oid, critical, value)


def _point(**more: Any) -> Any:
    settings: dict[str, Any] = {
        "full_name": None,
        "relative_name": None,
        "only_contains_user_certs": False,
        "only_contains_ca_certs": False,
        "only_some_reasons": None,
        "indirect_crl": False,
        "only_contains_attribute_certs": False,
    }
    return _extension(x509.IssuingDistributionPoint(**{**settings, **more}))


@pytest.mark.requirement("SZTP-5.4-09")
@pytest.mark.refuses("SZTP-5.4-09")
def test_lists_of_a_part_never_say_good() -> None:
    delta = _extension(x509.DeltaCRLIndicator(1))
    part = _point(only_contains_user_certs=True)
    for extension in (delta, part):
        assert status([_crl(extensions=[extension])]) is Status.UNKNOWN
        assert status([_crl(revoked=True, extensions=[extension])]) is Status.REVOKED
    indirect = _point(indirect_crl=True)
    assert status([_crl(revoked=True, extensions=[indirect])]) is Status.UNKNOWN
    assert status([_crl(extensions=[indirect])]) is Status.UNKNOWN


@pytest.mark.requirement("SZTP-5.4-09")
def test_entries_taken_back() -> None:
    serial = _owner().serial_number
    back = {serial: "remove_from_crl"}
    delta = _extension(x509.DeltaCRLIndicator(1))
    assert status([_crl(listed=back, extensions=[delta])]) is Status.UNKNOWN
    # Only a delta can take something back.
    assert status([_crl(listed=back)]) is Status.REVOKED
    assert status([_crl(listed={serial: "certificate_hold"})]) is Status.REVOKED
    assert status([_crl(listed={serial: "key_compromise"})]) is Status.REVOKED


@pytest.mark.requirement("SZTP-5.4-09")
def test_critical_extensions_not_understood_make_status_useless() -> None:
    identifier = x509.ObjectIdentifier("2.999.1")
    unknown = x509.UnrecognizedExtension(identifier, b"\x05\x00")
    for critical, wanted in ((True, Status.UNKNOWN), (False, Status.GOOD)):
        extension = x509.Extension(identifier, critical, unknown)
        assert status([_crl(extensions=[extension])]) is wanted
        assert status(ocsps=[_ocsp(extensions=[extension])]) is wanted
    critical_one = [x509.Extension(identifier, True, unknown)]
    assert status([_crl(revoked=True, extensions=critical_one)]) is Status.UNKNOWN
    assert status(ocsps=[_ocsp("revoked", extensions=critical_one)]) is Status.UNKNOWN


@pytest.mark.refuses("SZTP-5.4-09")
def test_who_may_sign_a_list() -> None:
    who = authorities()
    assert status([_crl(revoked=True, issuer=who.owner_root)]) is Status.UNKNOWN
    namesake = root("Owner CA")
    assert status([_crl(revoked=True, issuer=namesake)]) is Status.UNKNOWN
    for usage, wanted in (
        ({"key_cert_sign"}, Status.UNKNOWN),
        ({"key_cert_sign", "crl_sign"}, Status.GOOD),
        (None, Status.GOOD),
    ):
        ca = issue(who.owner_root, "CA", ca=True, key_usage=usage)
        leaf = issue(ca, "Leaf")
        assert status([_crl(issuer=ca)], certificate=leaf) is wanted


@pytest.mark.refuses("SZTP-5.4-09", "CMS-07")
def test_the_budget_ends_looking_for_signers() -> None:
    with pytest.raises(BudgetSpentError):
        status([_crl()], budget=Budget(checks=0))
    with pytest.raises(BudgetSpentError):
        status(ocsps=[_ocsp()], budget=Budget(checks=0))
    delegate = issue(_ca(), "Responder", extended_key_usage=["ocsp_signing"])
    with pytest.raises(BudgetSpentError):
        status(ocsps=[_ocsp(responder=delegate)], budget=Budget(checks=0))


@pytest.mark.requirement("SZTP-5.4-09")
@pytest.mark.parametrize("named_by", ["name", "key"])
@pytest.mark.parametrize("cert_id_hash", ["sha1", "sha256", "sha384", "sha512"])
def test_ocsp_by_the_issuer_and_by_a_delegate(named_by: Any, cert_id_hash: str) -> None:
    more: dict[str, Any] = {"responder_by": named_by, "cert_id_hash": cert_id_hash}
    assert status(ocsps=[_ocsp(**more)]) is Status.GOOD
    delegate = issue(_ca(), "Responder", extended_key_usage=["ocsp_signing"])
    assert status(ocsps=[_ocsp(responder=delegate, **more)]) is Status.GOOD
    assert status(ocsps=[_ocsp("revoked", responder=delegate, **more)]) is Status.REVOKED
    apart = _ocsp(responder=delegate, certificates=[], **more)
    assert status(ocsps=[apart]) is Status.UNKNOWN
    assert status(ocsps=[apart], bag=[delegate]) is Status.GOOD


@pytest.mark.requirement("SZTP-5.4-09")
def test_an_issuer_without_digital_signature_may_answer_itself() -> None:
    assert "digital_signature" not in (parse_certificate(_ca().der).key_usage or ())
    assert status(ocsps=[_ocsp()]) is Status.GOOD


@pytest.mark.refuses("SZTP-5.4-09")
def test_ocsp_responders_that_may_not_answer() -> None:
    who = authorities()
    signing = ["ocsp_signing"]
    critical = x509.ObjectIdentifier("2.999.1")
    odd = x509.Extension(critical, True, x509.UnrecognizedExtension(critical, b"\x05\x00"))
    nobody = [
        issue(_ca(), "R"),
        issue(_ca(), "R", extended_key_usage=["server_auth"]),
        issue(who.owner_root, "R", extended_key_usage=signing),
        issue(root("Stranger"), "R", extended_key_usage=signing),
        issue(issue(_ca(), "Sub", ca=True), "R", extended_key_usage=signing),
        issue(_ca(), "R", extended_key_usage=signing, key_usage={"key_agreement"}),
        issue(_ca(), "R", extended_key_usage=signing, not_after=NOW - DAY),
        issue(_ca(), "R", extended_key_usage=signing, not_before=NOW + DAY),
        issue(_ca(), "R", extended_key_usage=signing, extensions=[odd]),
        who.owner,
    ]
    for responder in nobody:
        for state in ("good", "revoked"):
            assert status(ocsps=[_ocsp(state, responder=responder)]) is Status.UNKNOWN
    old = issue(_ca(), "R", extended_key_usage=signing, not_after=NOW - DAY)
    assert status(ocsps=[_ocsp(responder=old)], clock=NO_CLOCK) is Status.GOOD
    no_usage = issue(_ca(), "R", extended_key_usage=signing, key_usage=None)
    assert status(ocsps=[_ocsp(responder=no_usage)]) is Status.GOOD


@pytest.mark.refuses("SZTP-5.4-09")
def test_ocsp_named_and_signed_by_different_people() -> None:
    delegate = issue(_ca(), "Responder", extended_key_usage=["ocsp_signing"])
    other = issue(_ca(), "Other", extended_key_usage=["ocsp_signing"])
    for named_by in ("name", "key"):
        more: dict[str, Any] = {"responder_by": named_by, "certificates": [delegate, other]}
        response = _ocsp(responder=delegate, signer=other, **more)
        assert status(ocsps=[response], bag=[delegate, other]) is Status.UNKNOWN


@pytest.mark.refuses("SZTP-5.4-09")
def test_ocsp_about_another_certificate() -> None:
    who = authorities()
    sibling = issue(who.owner_ca, "Sibling")
    assert status(ocsps=[_ocsp(certificate=sibling)]) is Status.UNKNOWN
    # The same serial number of another issuer: of another name, and of another key.
    serial = who.owner.serial_number
    for issuer in (
        who.owner_root,
        root("Owner CA"),
        issue(who.owner_root, "X", key=who.owner_ca.key),
    ):
        response = _ocsp(issuer=issuer, certificate=serial, responder=None, signer=who.owner_ca)
        assert status(ocsps=[response]) is Status.UNKNOWN
        named = _ocsp(issuer=issuer, certificate=serial, responder=who.owner_ca, certificates=[])
        assert status(ocsps=[named]) is Status.UNKNOWN
    assert status(ocsps=[_ocsp(cert_id_hash="md5")]) is Status.UNKNOWN


@pytest.mark.refuses("SZTP-5.4-09")
def test_words_of_a_refusal() -> None:
    who = authorities()
    nameless = issue(who.owner_root, "", empty_subject=True, dns_names=["a.example"])
    path = find_path(
        parse_certificate(nameless.der),
        anchors=[parse_certificate(who.owner_root.der)],
        intermediates=(),
        clock=CLOCK,
        budget=Budget(),
    )
    empty = CertificateBag((), (), ())
    with pytest.raises(TrustError) as caught:
        check_revocation(path, [empty], required=True, clock=CLOCK, budget=Budget())
    assert "of a certificate without subject" in caught.value.message
    check_revocation(path, [empty], required=None, clock=CLOCK, budget=Budget())
    check_revocation(path, [], required=False, clock=CLOCK, budget=Budget(checks=0))
