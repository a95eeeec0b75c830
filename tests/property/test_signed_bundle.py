# SPDX-License-Identifier: Apache-2.0
"""Whatever is done to the octets of a signed bundle, no other content is ever accepted."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.unit.trust import bundles

from xpu_agent.artifacts.bundle import Artifacts, SignedConveyedInformation, UnverifiedBundle
from xpu_agent.artifacts.certificate import AlgorithmIdentifier
from xpu_agent.artifacts.cms import IssuerAndSerialNumber, SignedData, SubjectKeyIdentifier
from xpu_agent.device import ClockReading
from xpu_agent.errors import MalformedError, Reason
from xpu_agent.trust.signed_data import Step, Verdict, judge
from xpu_agent.trust.state import TrustState
from xpu_emulator.pki import KeyKind, make_crl, make_ocsp

PARTS = ("conveyed_information", "owner_certificate", "ownership_voucher")
KINDS = (KeyKind.P256, KeyKind.RSA2048, KeyKind.ED25519)
UNTRUSTED, TRUSTED = TrustState.FALSE, TrustState.TRUE


@cache
def good(kind: KeyKind) -> Artifacts:
    who = bundles.authorities(kind)
    start, end = bundles.NOW - bundles.DAY, bundles.NOW + bundles.DAY
    crl = make_crl(who.owner_ca, [1], this_update=start, next_update=None)
    ocsp = make_ocsp(who.owner_root, who.owner_ca, this_update=start, next_update=end)
    return Artifacts(
        bundles.make_conveyed(who.owner),
        bundles.owner_bag(who.owner, who.owner_ca, crls=[crl], ocsps=[ocsp]),
        bundles.make_voucher(
            signer=who.voucher_signer,
            pinned=who.owner_root,
            expires_on=bundles.NOW + timedelta(days=365),
        ),
    )


def verdict_of(bundle: UnverifiedBundle, kind: KeyKind, trust: TrustState) -> Verdict | None:
    """What `judge` says; it may not raise, and its record has to be whole."""
    device = bundles.facts(voucher_anchors=(bundles.authorities(kind).manufacturer.der,))
    judgement = judge(bundle, trust=trust, facts=device, clock=bundles.CLOCK, nonces=())
    assert (judgement.verdict is None) != (judgement.refusal is None)
    assert [each.step for each in judgement.steps] == list(Step)
    if judgement.refusal is not None:
        assert judgement.refusal.message.isprintable()
    return judgement.verdict


@cache
def right(kind: KeyKind) -> Verdict:
    verdict = verdict_of(bundles.parsed(good(kind)), kind, UNTRUSTED)
    assert verdict is not None
    return verdict


def check(artifacts: Artifacts, kind: KeyKind) -> None:
    try:
        bundle = bundles.parsed(artifacts)
    except MalformedError:
        return
    verdict = verdict_of(bundle, kind, UNTRUSTED)
    if verdict is not None:
        # What no signature covers may differ (a signer identifier no longer pointing at a second
        # certificate, say), but not a thing that was conveyed.
        assert verdict.information == right(kind).information
        assert verdict.evidence.sha256 == right(kind).evidence.sha256


changes = st.one_of(
    st.tuples(st.just("flip"), st.integers(1, 255)),
    st.tuples(st.just("cut"), st.integers(1, 8)),
    st.tuples(st.just("insert"), st.integers(0, 255)),
    st.tuples(st.just("double"), st.integers(1, 40)),
)


def changed(octets: bytes, place: float, change: tuple[str, int]) -> bytes:
    index = min(int(place * len(octets)), len(octets) - 1)
    what, number = change
    match what:
        case "flip":
            return octets[:index] + bytes([octets[index] ^ number]) + octets[index + 1 :]
        case "cut":
            return octets[:index] + octets[index + number :]
        case "insert":
            return octets[:index] + bytes([number]) + octets[index:]
        case _:
            return octets[: index + number] + octets[index:]


places = st.floats(0, 1, exclude_max=True)


@pytest.mark.refuses("SZTP-5.4-02", "SZTP-5.4-10")
@settings(max_examples=150, deadline=None)
@given(st.sampled_from(KINDS), st.sampled_from(PARTS), places, changes)
@example(KeyKind.P256, "ownership_voucher", 0.5, ("flip", 1))
def test_changed_octets(kind: KeyKind, part: str, place: float, change: tuple[str, int]) -> None:
    artifacts = good(kind)
    check(replace(artifacts, **{part: changed(getattr(artifacts, part), place, change)}), kind)


@pytest.mark.slow
@pytest.mark.refuses("SZTP-5.4-02", "SZTP-5.4-10")
@pytest.mark.parametrize("part", PARTS)
def test_every_octet(part: str) -> None:
    artifacts = good(KeyKind.P256)
    octets = getattr(artifacts, part)
    for index in range(len(octets)):
        for mask in (0x01, 0x80):
            flipped = octets[:index] + bytes([octets[index] ^ mask]) + octets[index + 1 :]
            check(replace(artifacts, **{part: flipped}), KeyKind.P256)


@pytest.mark.refuses("SZTP-5.4-02", "SZTP-5.4-08", "SZTP-5.4-10")
@settings(max_examples=40, deadline=None)
@given(st.permutations(PARTS), st.sampled_from(KINDS), st.sampled_from(KINDS))
def test_artifacts_of_different_bundles(places: list[str], one: KeyKind, other: KeyKind) -> None:
    # Each artifact in another's place, or all but one of somebody else's bundle.
    mine, theirs = good(one), good(other)
    values = [getattr(mine, place) for place in places]
    check(Artifacts(*values), one)
    mixed = replace(mine, **{places[0]: getattr(theirs, places[0])})
    try:
        bundle = bundles.parsed(mixed)
    except MalformedError:
        return
    accepted = verdict_of(bundle, one, UNTRUSTED)
    assert (accepted is not None) == (one is other)


# --- values no parser would give ---------------------------------------------------------------

algorithms = st.builds(
    AlgorithmIdentifier,
    st.sampled_from(
        [
            "1.2.840.113549.1.1.1",
            "1.2.840.113549.1.1.10",
            "1.2.840.113549.1.1.11",
            "1.2.840.10045.4.3.2",
            "1.3.101.112",
            "2.16.840.1.101.3.4.2.1",
            "2.16.840.1.101.3.4.2.3",
            "1.3.14.3.2.26",
            "2.999.1",
        ]
    ),
    st.one_of(st.none(), st.just(b"\x05\x00"), st.binary(max_size=60)),
)
sids = st.one_of(
    st.none(),
    st.builds(SubjectKeyIdentifier, st.binary(max_size=24)),
    st.builds(IssuerAndSerialNumber, st.just(b"\x30\x00"), st.integers(-5, 5)),
)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(KINDS),
    st.sampled_from(["conveyed", "voucher"]),
    st.one_of(st.none(), algorithms),
    st.one_of(st.none(), algorithms),
    st.one_of(st.none(), st.binary(max_size=600)),
    sids,
    st.sampled_from([UNTRUSTED, TRUSTED]),
)
def test_judge_never_raises_whatever_a_signer_says(
    kind: KeyKind,
    where: str,
    signature_algorithm: AlgorithmIdentifier | None,
    digest_algorithm: AlgorithmIdentifier | None,
    signature: bytes | None,
    sid: IssuerAndSerialNumber | SubjectKeyIdentifier | None,
    trust: TrustState,
) -> None:
    bundle = bundles.parsed(good(kind))

    def bent(signed: SignedData) -> SignedData:
        bends: dict[str, Any] = {
            "signature_algorithm": signature_algorithm,
            "digest_algorithm": digest_algorithm,
            "signature": signature,
            "sid": sid,
        }
        values = {name: value for name, value in bends.items() if value is not None}
        return replace(signed, signers=(replace(signed.signers[0], **values),))

    if where == "conveyed":
        conveyed = bundle.conveyed_information
        assert isinstance(conveyed, SignedConveyedInformation)
        conveyed = SignedConveyedInformation(bent(conveyed.signed_data))
        bundle = replace(bundle, conveyed_information=conveyed)
    else:
        voucher = bundle.ownership_voucher
        assert voucher is not None
        bundle = replace(
            bundle, ownership_voucher=replace(voucher, signed_data=bent(voucher.signed_data))
        )
    verdict = verdict_of(bundle, kind, trust)
    if verdict is not None:
        assert verdict.information == right(kind).information


@settings(max_examples=30, deadline=None)
@given(
    st.datetimes(
        min_value=bundles.NOW.replace(tzinfo=None, year=1),
        max_value=bundles.NOW.replace(tzinfo=None, year=9998),
    ),
    st.booleans(),
)
def test_judge_never_raises_whatever_time_it_is(moment: datetime, accurate: bool) -> None:
    clock = ClockReading(moment.replace(tzinfo=UTC), accurate=accurate)
    who = bundles.authorities()
    judgement = judge(
        bundles.parsed(good(KeyKind.P256)),
        trust=UNTRUSTED,
        facts=bundles.facts(voucher_anchors=(who.manufacturer.der,)),
        clock=clock,
        nonces=(),
    )
    if not accurate:
        assert judgement.refusal is None
    elif judgement.refusal is not None:
        assert judgement.refusal.reason in {
            Reason.VOUCHER_EXPIRED,
            Reason.VOUCHER_NOT_YET_VALID,
            Reason.VOUCHER_UNTRUSTED,
        }
