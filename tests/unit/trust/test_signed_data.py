# SPDX-License-Identifier: Apache-2.0
"""Each check of signed data fails alone: its reason, and nothing after it (RFC 8572, 5.4)."""

from dataclasses import replace
from datetime import timedelta

import pytest
from tests.unit.trust import bundles
from tests.unit.trust.bundles import (
    CLOCK,
    DAY,
    NO_CLOCK,
    NONCE,
    NOW,
    SERIAL,
    accepted,
    authorities,
    judged,
    make_voucher,
    refused,
)

from xpu_agent.artifacts.certificate import parse_certificate
from xpu_agent.device import Assertion
from xpu_agent.errors import MalformedError, Reason
from xpu_agent.trust.signed_data import Judgement, Step, StepResult
from xpu_emulator.artifacts import (
    ContentType,
    Signer,
    Wrong,
    certificates_only,
    conveyed_json,
    signed_by,
)


def _with_voucher(voucher: bytes) -> Judgement:
    return judged(bundles.bundle(ownership_voucher=voucher))


def _step(judgement: Judgement, step: Step) -> StepResult:
    return next(each.result for each in judgement.steps if each.step is step)


# --- the voucher's signature ------------------------------------------------------------------


@pytest.mark.requirement("SZTP-5.4-02", "VCH-5.4-02")
def test_voucher_through_an_intermediate_inside_it() -> None:
    accepted(_with_voucher(make_voucher()))


@pytest.mark.refuses("SZTP-5.4-02", "SZTP-5.4-11")
def test_voucher_without_its_intermediate() -> None:
    voucher = make_voucher(certificates=[authorities().voucher_signer])
    message = refused(_with_voucher(voucher), Step.VOUCHER_SIGNATURE, Reason.VOUCHER_UNTRUSTED)
    assert "no path leads to a trust anchor" in message


@pytest.mark.refuses("SZTP-5.4-02")
def test_an_intermediate_elsewhere_in_the_bundle_does_not_help_the_voucher() -> None:
    who = authorities()
    what = bundles.bundle(
        bundles.make_conveyed(certificates=[who.voucher_ca]),
        bundles.owner_bag(who.owner, who.owner_ca, who.voucher_ca),
        make_voucher(certificates=[who.voucher_signer]),
    )
    refused(judged(what), Step.VOUCHER_SIGNATURE, Reason.VOUCHER_UNTRUSTED)


@pytest.mark.requirement("SZTP-5.4-02")
@pytest.mark.parametrize("inside", [True, False])
def test_the_anchor_may_be_an_intermediate_or_the_signer_itself(inside: bool) -> None:
    who = authorities()
    for anchor in (who.voucher_ca, who.voucher_signer):
        certificates = [who.voucher_signer] if inside or anchor is who.voucher_ca else []
        device = bundles.facts(voucher_anchors=(anchor.der,))
        what = bundles.bundle(ownership_voucher=make_voucher(certificates=certificates))
        accepted(judged(what, device=device))


@pytest.mark.refuses("SZTP-5.4-02")
@pytest.mark.parametrize(
    "wrong",
    [
        Wrong.TAMPERED_CONTENT,
        Wrong.TAMPERED_SIGNATURE,
        Wrong.TAMPERED_SIGNED_ATTRIBUTES,
        Wrong.OTHER_KEY,
        Wrong.EMPTY_SIGNATURE,
        Wrong.WRONG_MESSAGE_DIGEST,
        Wrong.UNKNOWN_SIGNER,
        Wrong.SIGNED_WITH_IMPLICIT_TAG,
        Wrong.SHA1_DIGEST,
        Wrong.MD5_DIGEST,
        Wrong.DIGEST_MISMATCH,
        Wrong.UNKNOWN_SIGNATURE_ALGORITHM,
    ],
)
def test_voucher_with_a_signature_that_does_not_hold(wrong: Wrong) -> None:
    refused(
        _with_voucher(make_voucher(wrong=wrong)),
        Step.VOUCHER_SIGNATURE,
        Reason.VOUCHER_UNTRUSTED,
    )


@pytest.mark.refuses("VCH-5.4-02")
def test_a_root_inside_the_voucher_is_no_anchor() -> None:
    stranger = bundles.root("Stranger")
    signer = bundles.issue(stranger, "Voucher signer")
    for certificates in ([signer, stranger], [stranger, authorities().manufacturer, signer]):
        voucher = make_voucher(signer=signer, certificates=certificates)
        refused(_with_voucher(voucher), Step.VOUCHER_SIGNATURE, Reason.VOUCHER_UNTRUSTED)


@pytest.mark.refuses("SZTP-5.1-09")
def test_server_anchors_are_no_voucher_anchors() -> None:
    servers = bundles.root("Servers")
    signer = bundles.issue(servers, "Voucher signer")
    voucher = make_voucher(signer=signer, certificates=[signer, servers])
    device = bundles.facts(server_anchors=(servers.der,))
    what = bundles.bundle(ownership_voucher=voucher)
    refused(judged(what, device=device), Step.VOUCHER_SIGNATURE, Reason.VOUCHER_UNTRUSTED)
    both = bundles.facts(voucher_anchors=(servers.der,))
    accepted(judged(what, device=both))


@pytest.mark.refuses("SZTP-5.4-02")
def test_without_anchors_no_voucher_is_believed() -> None:
    device = bundles.facts(voucher_anchors=())
    refused(
        judged(bundles.bundle(), device=device),
        Step.VOUCHER_SIGNATURE,
        Reason.VOUCHER_UNTRUSTED,
    )


@pytest.mark.refuses("VCH-5.4-01")
def test_voucher_without_signer_or_companions_missing() -> None:
    with pytest.raises(MalformedError):
        bundles.bundle(ownership_voucher=make_voucher(wrong=Wrong.NO_SIGNERS))
    with pytest.raises(MalformedError):
        bundles.bundle(ownership_voucher=certificates_only([authorities().voucher_signer]))


@pytest.mark.refuses("CMS-06")
def test_voucher_signer_that_may_not_sign_data() -> None:
    who = authorities()
    signer = bundles.issue(who.voucher_ca, "CA only", key_usage={"key_agreement"})
    message = refused(
        _with_voucher(make_voucher(signer=signer)),
        Step.VOUCHER_SIGNATURE,
        Reason.VOUCHER_UNTRUSTED,
    )
    assert message.endswith(": CN=CA only may not sign data (key usage)")


@pytest.mark.requirement("CMS-06")
def test_voucher_signer_without_key_usage() -> None:
    signer = bundles.issue(authorities().voucher_ca, "Any use", key_usage=None)
    accepted(_with_voucher(make_voucher(signer=signer)))


@pytest.mark.refuses("SZTP-9.1-02")
def test_voucher_signer_expired() -> None:
    signer = bundles.issue(authorities().voucher_ca, "Signer", not_after=NOW - DAY)
    what = bundles.bundle(ownership_voucher=make_voucher(signer=signer))
    refused(judged(what), Step.VOUCHER_SIGNATURE, Reason.VOUCHER_UNTRUSTED)
    accepted(judged(what, clock=NO_CLOCK))


# --- the voucher's content --------------------------------------------------------------------


@pytest.mark.refuses("SZTP-5.4-03")
@pytest.mark.parametrize(
    "created", [NOW + DAY, NOW + timedelta(seconds=1), "2026-06-01T00:00:00.000001Z"]
)
def test_voucher_created_in_the_future(created: str) -> None:
    voucher = make_voucher(created_on=created, expires_on=NOW + 2 * DAY)
    refused(_with_voucher(voucher), Step.VOUCHER_DATES, Reason.VOUCHER_NOT_YET_VALID)


@pytest.mark.refuses("SZTP-5.4-04")
@pytest.mark.parametrize(
    "expires",
    [NOW, NOW - DAY, "2026-06-01T01:59:59+02:00", "2026-05-31T23:59:59.999999Z"],
)
def test_voucher_expired(expires: str) -> None:
    voucher = make_voucher(created_on=NOW - 2 * DAY, expires_on=expires)
    refused(_with_voucher(voucher), Step.VOUCHER_DATES, Reason.VOUCHER_EXPIRED)


@pytest.mark.requirement("SZTP-5.4-03", "SZTP-5.4-04")
@pytest.mark.parametrize(
    ("created", "expires"),
    [
        (NOW, NOW + timedelta(seconds=1)),
        (NOW - DAY, None),
        ("2026-06-01T02:00:00+02:00", "2026-06-01T02:00:00.000001+02:00"),
    ],
)
def test_voucher_within_its_dates(created: str, expires: str | None) -> None:
    judgement = accepted(_with_voucher(make_voucher(created_on=created, expires_on=expires)))
    assert _step(judgement, Step.VOUCHER_DATES) is StepResult.OK


@pytest.mark.requirement("VCH-5.3-08", "SZTP-9.1-02")
def test_dates_are_not_judged_by_a_clock_that_is_not_accurate() -> None:
    voucher = make_voucher(created_on=NOW - 2 * DAY, expires_on=NOW - DAY)
    judgement = accepted(judged(bundles.bundle(ownership_voucher=voucher), clock=NO_CLOCK))
    assert _step(judgement, Step.VOUCHER_DATES) is StepResult.SKIPPED


@pytest.mark.requirement("VCH-5.3-05")
def test_last_renewal_date_is_not_acted_on() -> None:
    accepted(_with_voucher(make_voucher(last_renewal=NOW - 90 * DAY)))


@pytest.mark.refuses("SZTP-5.4-05")
@pytest.mark.parametrize("assertion", ["logged", "proximity"])
def test_assertion_not_accepted_here(assertion: str) -> None:
    what = bundles.bundle(ownership_voucher=make_voucher(assertion=assertion))
    refused(judged(what), Step.VOUCHER_ASSERTION, Reason.VOUCHER_ASSERTION)
    device = bundles.facts(assertions=frozenset({Assertion(assertion)}))
    accepted(judged(what, device=device))


@pytest.mark.requirement("SZTP-5.4-05")
def test_assertion_policy_may_leave_out_verified() -> None:
    device = bundles.facts(assertions=frozenset({Assertion.LOGGED}))
    refused(
        judged(bundles.bundle(), device=device), Step.VOUCHER_ASSERTION, Reason.VOUCHER_ASSERTION
    )


@pytest.mark.refuses("SZTP-5.4-06")
@pytest.mark.parametrize("serial", ["SN124", "SN12", "SN1234", "sn123", " SN123", "SN123 "])
def test_voucher_for_another_device(serial: str) -> None:
    voucher = make_voucher(serial=serial)
    refused(_with_voucher(voucher), Step.VOUCHER_SERIAL_NUMBER, Reason.VOUCHER_SERIAL_MISMATCH)


@pytest.mark.requirement("SZTP-5.4-06")
def test_voucher_for_this_device() -> None:
    judgement = accepted(_with_voucher(make_voucher(serial=SERIAL)))
    assert _step(judgement, Step.VOUCHER_SERIAL_NUMBER) is StepResult.OK


def test_a_serial_number_of_the_peer_is_shown_escaped_and_short() -> None:
    message = refused(
        _with_voucher(make_voucher(serial="\u202e\u00e9" + "x" * 500)),
        Step.VOUCHER_SERIAL_NUMBER,
        Reason.VOUCHER_SERIAL_MISMATCH,
    )
    assert message.isascii()
    assert message.isprintable()
    assert len(message) < 300


@pytest.mark.requirement("SZTP-5.4-07")
def test_idevid_issuer_in_both_forms() -> None:
    idevid = parse_certificate(authorities().device.der)
    bare, whole = idevid.authority_key_identifier, idevid.authority_key_identifier_extension
    assert bare is not None
    assert whole is not None
    assert bare != whole
    for form in (bare, whole):
        judgement = accepted(_with_voucher(make_voucher(idevid_issuer=form)))
        assert _step(judgement, Step.VOUCHER_IDEVID_ISSUER) is StepResult.OK
    judgement = accepted(_with_voucher(make_voucher(idevid_issuer=None)))
    assert _step(judgement, Step.VOUCHER_IDEVID_ISSUER) is StepResult.SKIPPED


@pytest.mark.refuses("SZTP-5.4-07")
def test_idevid_issuer_of_another_device() -> None:
    ours = parse_certificate(authorities().device.der).authority_key_identifier
    assert ours is not None
    for other in (b"\x00" * 20, ours[:-1], ours + b"\x00", b"\x04\x14" + ours, b"\x00"):
        voucher = make_voucher(idevid_issuer=other)
        refused(_with_voucher(voucher), Step.VOUCHER_IDEVID_ISSUER, Reason.VOUCHER_ISSUER_MISMATCH)


@pytest.mark.refuses("SZTP-5.4-07")
def test_idevid_issuer_where_the_device_has_none_to_compare() -> None:
    who = authorities()
    what = bundles.bundle(ownership_voucher=make_voucher(idevid_issuer=who.device_ca.ski))
    bare = bundles.issue(who.device_ca, "Device", subject_serial=SERIAL, without_aki=True)
    for chain in ((), (bare.der,)):
        refused(
            judged(what, device=bundles.facts(idevid_chain=chain)),
            Step.VOUCHER_IDEVID_ISSUER,
            Reason.VOUCHER_ISSUER_MISMATCH,
        )


@pytest.mark.refuses("VCH-5.3-03")
@pytest.mark.parametrize("sent", [(), (b"m" * 32,), (NONCE[:-1],), (NONCE + b"n",)])
def test_nonce_that_was_not_sent_in_this_attempt(sent: tuple[bytes, ...]) -> None:
    what = bundles.bundle(ownership_voucher=make_voucher(nonce=NONCE))
    refused(judged(what, nonces=sent), Step.VOUCHER_NONCE, Reason.VOUCHER_NONCE_MISMATCH)


@pytest.mark.requirement("VCH-5.3-03")
@pytest.mark.parametrize("sent", [(NONCE,), (b"m" * 32, NONCE)])
def test_nonce_that_was_sent(sent: tuple[bytes, ...]) -> None:
    what = bundles.bundle(ownership_voucher=make_voucher(nonce=NONCE))
    judgement = accepted(judged(what, nonces=sent))
    assert _step(judgement, Step.VOUCHER_NONCE) is StepResult.OK
    without = accepted(judged(bundles.bundle(), nonces=sent))
    assert _step(without, Step.VOUCHER_NONCE) is StepResult.SKIPPED


# --- the owner certificate and who signed -----------------------------------------------------


@pytest.mark.requirement("SZTP-5.4-08")
@pytest.mark.parametrize("shape", ["root", "intermediate", "owner", "self-signed owner"])
def test_what_the_pinned_certificate_may_be(shape: str) -> None:
    who = authorities()
    shapes = {
        "root": (who.owner_root, who.owner, (who.owner, who.owner_ca)),
        "intermediate": (who.owner_ca, who.owner, (who.owner,)),
        "owner": (who.owner, who.owner, (who.owner,)),
        "self-signed owner": (_SELF_SIGNED, _SELF_SIGNED, (_SELF_SIGNED,)),
    }
    pinned, owner, bag = shapes[shape]
    for also in ((), (pinned,)):
        what = bundles.bundle(
            bundles.make_conveyed(owner),
            bundles.owner_bag(*dict.fromkeys((*bag, *also))),
            make_voucher(pinned=pinned),
        )
        judgement = accepted(judged(what))
        assert judgement.owner is not None
        assert judgement.owner.der == owner.der


# A certificate signed by its own key that is no CA: issued by a CA of that name and key.
_PARENT = bundles.root("Owner itself")
_SELF_SIGNED = bundles.issue(_PARENT, "Owner itself", key=_PARENT.key, without_aki=True)


@pytest.mark.refuses("SZTP-5.4-08", "SZTP-3.2-04")
def test_owner_certificate_that_does_not_lead_to_the_pinned_one() -> None:
    who = authorities()
    other = bundles.issue(bundles.root("Other owner"), "Owner certificate")
    cases = {
        "missing intermediate": (who.owner, [who.owner], None),
        "another root": (other, [other, other.root], None),
        "a voucher anchor": (
            signer := bundles.issue(who.manufacturer, "Owner"),
            [signer, who.manufacturer],
            None,
        ),
        "above the pinned": (who.owner_ca, [who.owner_ca, who.owner_root], who.owner),
    }
    for owner, bag, pinned in cases.values():
        what = bundles.bundle(
            bundles.make_conveyed(owner), bundles.owner_bag(*bag), make_voucher(pinned=pinned)
        )
        refused(judged(what), Step.OWNER_CERTIFICATE_PATH, Reason.OWNER_CERT_UNTRUSTED)


@pytest.mark.refuses("SZTP-5.4-08")
def test_intermediates_come_from_the_owner_certificate_alone() -> None:
    who = authorities()
    what = bundles.bundle(
        bundles.make_conveyed(certificates=[who.owner, who.owner_ca]),
        bundles.owner_bag(who.owner),
        make_voucher(certificates=[who.voucher_signer, who.voucher_ca, who.owner_ca]),
    )
    refused(judged(what), Step.OWNER_CERTIFICATE_PATH, Reason.OWNER_CERT_UNTRUSTED)


@pytest.mark.refuses("SZTP-5.4-08", "SZTP-9.1-02")
def test_owner_certificates_dates() -> None:
    who = authorities()
    late = bundles.issue(who.owner_ca, "Owner", not_before=NOW + DAY)
    old = bundles.issue(who.owner_ca, "Owner", not_after=NOW - DAY)
    for owner in (late, old):
        what = bundles.bundle(bundles.make_conveyed(owner), bundles.owner_bag(owner, who.owner_ca))
        refused(judged(what), Step.OWNER_CERTIFICATE_PATH, Reason.OWNER_CERT_EXPIRED)
        accepted(judged(what, clock=NO_CLOCK))
    exact = bundles.issue(who.owner_ca, "Owner", not_before=NOW, not_after=NOW)
    accepted(
        judged(bundles.bundle(bundles.make_conveyed(exact), bundles.owner_bag(exact, who.owner_ca)))
    )


@pytest.mark.refuses("SZTP-5.4-08")
def test_the_pinned_certificates_dates_count() -> None:
    pinned = bundles.root("Old root", not_after=NOW - DAY)
    owner = bundles.issue(pinned, "Owner")
    what = bundles.bundle(
        bundles.make_conveyed(owner), bundles.owner_bag(owner), make_voucher(pinned=pinned)
    )
    refused(judged(what), Step.OWNER_CERTIFICATE_PATH, Reason.OWNER_CERT_EXPIRED)
    accepted(judged(what, clock=NO_CLOCK))


@pytest.mark.requirement("SZTP-9.1-02")
def test_a_configured_anchors_dates_do_not_count() -> None:
    anchor = bundles.root("Old manufacturer", not_after=NOW - DAY)
    signer = bundles.issue(anchor, "Voucher signer")
    device = bundles.facts(voucher_anchors=(anchor.der,))
    accepted(judged(bundles.bundle(ownership_voucher=make_voucher(signer=signer)), device=device))


@pytest.mark.refuses("SZTP-3.2-02")
@pytest.mark.parametrize("usage", [{"key_cert_sign"}, {"non_repudiation"}, {"key_agreement"}])
def test_owner_certificate_that_may_not_sign_data(usage: set[str]) -> None:
    who = authorities()
    owner = bundles.issue(who.owner_ca, "Owner", key_usage=usage)
    what = bundles.bundle(bundles.make_conveyed(owner), bundles.owner_bag(owner, who.owner_ca))
    message = refused(judged(what), Step.OWNER_CERTIFICATE_PATH, Reason.OWNER_CERT_UNTRUSTED)
    assert "key usage" in message


@pytest.mark.requirement("SZTP-3.2-02", "SZTP-3.2-03")
def test_owner_certificates_names_and_usage_are_free() -> None:
    who = authorities()
    owners = [
        bundles.issue(who.owner_ca, "Owner", key_usage=None),
        bundles.issue(who.owner_ca, "Owner", key_usage={"digital_signature", "key_agreement"}),
        bundles.issue(who.owner_ca, "Owner", extended_key_usage=["server_auth"]),
        bundles.issue(who.owner_ca, "", empty_subject=True, dns_names=["odd.example"]),
        bundles.issue(who.owner_ca, "\u0391\u0392 \u001b[1m", ip_addresses=["192.0.2.1"]),
    ]
    for owner in owners:
        what = bundles.bundle(bundles.make_conveyed(owner), bundles.owner_bag(owner, who.owner_ca))
        accepted(judged(what))


@pytest.mark.refuses("SZTP-3.2-02")
def test_an_owner_certificate_without_names_is_refused_in_words() -> None:
    who = authorities()
    owner = bundles.issue(
        who.owner_ca, "", empty_subject=True, dns_names=["a"], key_usage={"crl_sign"}
    )
    what = bundles.bundle(bundles.make_conveyed(owner), bundles.owner_bag(owner, who.owner_ca))
    message = refused(judged(what), Step.OWNER_CERTIFICATE_PATH, Reason.OWNER_CERT_UNTRUSTED)
    assert "the owner certificate may not sign data" in message


@pytest.mark.refuses("SZTP-5.4-10")
def test_a_sibling_of_the_owner_certificate_is_not_the_owner() -> None:
    who = authorities()
    sibling = bundles.issue(who.owner_ca, "Sibling")
    for certificates in ([], [sibling], [sibling, who.owner_ca]):
        conveyed = bundles.make_conveyed(sibling, certificates=certificates)
        message = refused(
            judged(bundles.bundle(conveyed)),
            Step.CONVEYED_INFORMATION_SIGNATURE,
            Reason.SIGNATURE_INVALID,
        )
        assert "not signed by the owner" in message


@pytest.mark.requirement("SZTP-5.4-10")
def test_certificates_in_the_conveyed_information_change_nothing() -> None:
    who = authorities()
    conveyed = bundles.make_conveyed(certificates=[who.owner, who.owner_ca, who.voucher_ca])
    accepted(judged(bundles.bundle(conveyed)))


@pytest.mark.refuses("SZTP-5.4-10")
@pytest.mark.parametrize(
    "wrong",
    [
        Wrong.TAMPERED_SIGNATURE,
        Wrong.TAMPERED_SIGNED_ATTRIBUTES,
        Wrong.OTHER_KEY,
        Wrong.EMPTY_SIGNATURE,
        Wrong.WRONG_MESSAGE_DIGEST,
        Wrong.WRONG_CONTENT_TYPE_ATTRIBUTE,
        Wrong.UNKNOWN_SIGNER,
        Wrong.SIGNED_WITH_IMPLICIT_TAG,
        Wrong.SHA1_DIGEST,
        Wrong.MD5_DIGEST,
        Wrong.DIGEST_MISMATCH,
        Wrong.UNKNOWN_SIGNATURE_ALGORITHM,
    ],
)
def test_conveyed_information_with_a_signature_that_does_not_hold(wrong: Wrong) -> None:
    conveyed = bundles.make_conveyed(Signer(authorities().owner, wrong=wrong))
    refused(
        judged(bundles.bundle(conveyed)),
        Step.CONVEYED_INFORMATION_SIGNATURE,
        Reason.SIGNATURE_INVALID,
    )


@pytest.mark.refuses("SZTP-5.4-10")
def test_conveyed_information_changed_after_signing() -> None:
    conveyed = signed_by(
        conveyed_json(bundles.ONBOARDING),
        ContentType.CONVEYED_JSON,
        [authorities().owner],
        wrong=Wrong.TAMPERED_CONTENT,
    )
    refused(
        judged(bundles.bundle(conveyed)),
        Step.CONVEYED_INFORMATION_SIGNATURE,
        Reason.SIGNATURE_INVALID,
    )


@pytest.mark.refuses("SZTP-5.4-08")
def test_an_owner_certificate_without_certificates() -> None:
    empty = certificates_only([])
    message = refused(
        judged(bundles.bundle(owner_certificate=empty)),
        Step.OWNER_CERTIFICATE_PATH,
        Reason.OWNER_CERT_UNTRUSTED,
    )
    assert message.endswith("there is none")


@pytest.mark.refuses("SZTP-5.4-10")
def test_whom_the_signature_does_not_name_is_judged_all_the_same() -> None:
    # The signer is named by nothing in the bag; then whoever could be meant has to lead to the
    # pinned certificate, so that the record says which check failed first.
    who = authorities()
    stranger = bundles.root("Stranger")
    for bag in ([who.owner, who.owner_ca], [who.owner_ca]):
        what = bundles.bundle(bundles.make_conveyed(stranger), bundles.owner_bag(*bag))
        judgement = judged(what)
        assert judgement.refusal is not None
    refused(
        judged(bundles.bundle(bundles.make_conveyed(stranger))),
        Step.CONVEYED_INFORMATION_SIGNATURE,
        Reason.SIGNATURE_INVALID,
    )
    refused(
        judged(bundles.bundle(bundles.make_conveyed(stranger), bundles.owner_bag(who.owner_ca))),
        Step.OWNER_CERTIFICATE_PATH,
        Reason.OWNER_CERT_UNTRUSTED,
    )


def test_of_several_faults_the_one_that_says_most_is_told() -> None:
    who = authorities()
    old = bundles.issue(who.owner_ca, "Owner", key=who.owner.key, not_after=NOW - DAY)
    strange = bundles.issue(bundles.root("Strange"), "Owner", key=who.owner.key)
    for bag in ((old, strange), (strange, old)):
        conveyed = bundles.make_conveyed(Signer(old, sid="ski"))
        what = bundles.bundle(conveyed, bundles.owner_bag(*bag, who.owner_ca))
        refused(judged(what, clock=CLOCK), Step.OWNER_CERTIFICATE_PATH, Reason.OWNER_CERT_EXPIRED)


@pytest.mark.refuses("CMS-05")
def test_content_types_are_not_mixed_up() -> None:
    with pytest.raises(MalformedError):
        bundles.bundle(bundles.make_conveyed(content_type=ContentType.VOUCHER_JSON))
    for wrong in (ContentType.CONVEYED_JSON, ContentType.CONVEYED_XML):
        with pytest.raises(MalformedError):
            bundles.bundle(ownership_voucher=make_voucher(content_type=wrong))


@pytest.mark.requirement("CMS-05")
def test_id_data_is_taken_for_both() -> None:
    conveyed = bundles.make_conveyed(content_type=ContentType.DATA)
    voucher = make_voucher(content_type=ContentType.DATA)
    accepted(judged(bundles.bundle(conveyed, ownership_voucher=voucher)))


def test_bugs_of_ours_are_no_verdicts() -> None:
    with pytest.raises(RuntimeError):
        Judgement((), None, None).require()
    whole = bundles.bundle()
    for less in (replace(whole, owner_certificate=None), replace(whole, ownership_voucher=None)):
        with pytest.raises(RuntimeError):
            judged(less)
