# SPDX-License-Identifier: Apache-2.0
"""A good bundle of real artifacts, and each way to make it a little different."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from xpu_agent.artifacts.bundle import (
    Artifacts,
    UnverifiedBundle,
    assemble_bundle,
    open_artifacts,
)
from xpu_agent.artifacts.certificate import Certificate, parse_certificate
from xpu_agent.device import ClockReading, DeviceFacts, RunningImage
from xpu_agent.errors import Reason
from xpu_agent.trust.signed_data import Judgement, Step, StepResult, judge
from xpu_agent.trust.state import TrustState
from xpu_emulator.artifacts import (
    ContentType,
    Signer,
    bootstrap_server,
    certificates_only,
    conveyed_json,
    onboarding_document,
    plain,
    redirect_document,
    signed_by,
    voucher,
    voucher_document,
)
from xpu_emulator.pki import Identity, KeyKind, make_root

NOW = datetime(2026, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)
START, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2036, 1, 1, tzinfo=UTC)
CLOCK = ClockReading(NOW, accurate=True)
NO_CLOCK = ClockReading(datetime(1970, 1, 1, tzinfo=UTC), accurate=False)
SERIAL = "SN123"
NONCE = b"n" * 32

ONBOARDING = onboarding_document(configuration=b"hostname one\n")
REDIRECT = redirect_document([bootstrap_server("bootstrap.example")])


@dataclass(frozen=True)
class Authorities:
    """Who vouches for whom: a manufacturer and an owner, each with root and intermediate."""

    manufacturer: Identity
    voucher_ca: Identity
    voucher_signer: Identity
    device_ca: Identity
    device: Identity
    owner_root: Identity
    owner_ca: Identity
    owner: Identity


def root(name: str, **more: Any) -> Identity:
    return make_root(name, **{"not_before": START, "not_after": END, **more})


def issue(issuer: Identity, name: str, **more: Any) -> Identity:
    return issuer.issue(name, **{"not_before": START, "not_after": END, **more})


def authorities(kind: KeyKind = KeyKind.P256) -> Authorities:
    """Those of one kind of key; always the same."""
    return _authorities(kind)


@cache
def _authorities(kind: KeyKind) -> Authorities:
    manufacturer = root("Manufacturer", key=kind)
    voucher_ca = issue(manufacturer, "Voucher CA", key=kind, ca=True)
    device_ca = issue(manufacturer, "Device CA", key=kind, ca=True)
    owner_root = root("Owner", key=kind)
    owner_ca = issue(owner_root, "Owner CA", key=kind, ca=True)
    return Authorities(
        manufacturer,
        voucher_ca,
        issue(voucher_ca, "Voucher signer", key=kind),
        device_ca,
        issue(device_ca, "Device", key=kind, subject_serial=SERIAL),
        owner_root,
        owner_ca,
        issue(owner_ca, "Owner certificate", key=kind),
    )


def facts(**more: Any) -> DeviceFacts:
    who = authorities()
    chain: dict[str, Any] = {
        "serial_number": SERIAL,
        "hw_model": "model",
        "running": RunningImage("os", "1.0"),
        "idevid_chain": (who.device.der, who.device_ca.der),
        "voucher_anchors": (who.manufacturer.der,),
        "server_anchors": (),
    }
    return DeviceFacts(**{**chain, **more})


def make_voucher(
    *,
    signer: Identity | None = None,
    pinned: Identity | bytes | None = None,
    serial: str = SERIAL,
    created_on: datetime | str = NOW - DAY,
    expires_on: datetime | str | None = NOW + DAY,
    assertion: str = "verified",
    nonce: bytes | None = None,
    idevid_issuer: bytes | None = None,
    revocation_checks: bool | None = None,
    last_renewal: datetime | None = None,
    **more: Any,
) -> bytes:
    who = authorities()
    document = voucher_document(
        serial,
        who.owner_root if pinned is None else pinned,
        created_on,
        None if nonce is not None else expires_on,
        assertion=assertion,
        nonce=nonce,
        idevid_issuer=idevid_issuer,
        revocation_checks=revocation_checks,
        last_renewal=last_renewal,
    )
    return voucher(document, signer or who.voucher_signer, **more)


def make_conveyed(
    *signers: Signer | Identity,
    document: Mapping[str, Any] | bytes = ONBOARDING,
    content_type: str = ContentType.CONVEYED_JSON,
    certificates: Iterable[Identity] = (),
    crls: Iterable[bytes] = (),
) -> bytes:
    octets = document if isinstance(document, bytes) else conveyed_json(document)
    return signed_by(
        octets,
        content_type,
        signers or (authorities().owner,),
        certificates=certificates,
        crls=crls,
    )


def owner_bag(
    *identities: Identity, crls: Iterable[bytes] = (), ocsps: Iterable[bytes] = ()
) -> bytes:
    who = authorities()
    return certificates_only(identities or (who.owner, who.owner_ca), crls, ocsps)


def bundle(
    conveyed: bytes | None = None,
    owner_certificate: bytes | None = None,
    ownership_voucher: bytes | None = None,
) -> UnverifiedBundle:
    """Signed data; what isn't given is good."""
    artifacts = Artifacts(
        make_conveyed() if conveyed is None else conveyed,
        owner_bag() if owner_certificate is None else owner_certificate,
        make_voucher() if ownership_voucher is None else ownership_voucher,
    )
    return parsed(artifacts)


def parsed(artifacts: Artifacts) -> UnverifiedBundle:
    return assemble_bundle(open_artifacts(artifacts), {})


def unsigned(document: Mapping[str, Any] = ONBOARDING) -> UnverifiedBundle:
    return parsed(Artifacts(plain(conveyed_json(document), ContentType.CONVEYED_JSON)))


def judged(
    what: UnverifiedBundle,
    *,
    trust: TrustState = TrustState.FALSE,
    clock: ClockReading = CLOCK,
    nonces: Collection[bytes] = (),
    device: DeviceFacts | None = None,
) -> Judgement:
    return judge(what, trust=trust, facts=device or facts(), clock=clock, nonces=nonces)


SETTLED_BEFORE = (Step.PARSE, Step.DECRYPT)


def refused(judgement: Judgement, step: Step, reason: Reason) -> str:
    """Check that this step failed for this reason and no later one was made; its sentence."""
    assert judgement.verdict is None
    assert judgement.owner is None
    assert judgement.refusal is not None
    assert judgement.refusal.reason is reason, judgement.refusal
    assert [each.step for each in judgement.steps] == list(Step)
    failed = [each for each in judgement.steps if each.result is StepResult.FAILED]
    assert [(each.step, each.reason) for each in failed] == [(step, reason)]
    assert failed[0].note == judgement.refusal.message
    position = list(Step).index(step)
    assert all(each.result is StepResult.SKIPPED for each in judgement.steps[position + 1 :])
    # Before it everything was made, or was left out and says why.
    for each in judgement.steps[:position]:
        assert each.result is StepResult.OK or each.note or each.step in SETTLED_BEFORE
    return judgement.refusal.message


def accepted(judgement: Judgement) -> Judgement:
    assert judgement.refusal is None, judgement.refusal
    assert judgement.verdict is not None
    assert all(each.result is not StepResult.FAILED for each in judgement.steps)
    return judgement


def certificates(identities: Sequence[Identity]) -> tuple[Certificate, ...]:
    return tuple(parse_certificate(each.der) for each in identities)
