# SPDX-License-Identifier: Apache-2.0
"""Every defect the emulator can make is one the agent refuses, for the right reason."""

from datetime import UTC, datetime, timedelta

import pytest
from tests.unit.emulator.second_opinion import Authority

from xpu_agent.artifacts.bundle import Artifacts, assemble_bundle, open_artifacts
from xpu_agent.device import Assertion, ClockReading, DeviceFacts, RunningImage
from xpu_agent.errors import MalformedError, Reason
from xpu_agent.trust.signed_data import judge
from xpu_agent.trust.state import TrustState
from xpu_emulator.artifacts import (
    CONVEYED_DEFECTS,
    ENCODING_DEFECTS,
    SIGNATURE_DEFECTS,
    VOUCHER_DEFECTS,
    ContentType,
    Document,
    Wrong,
    bootstrap_server,
    certificates_only,
    conveyed_json,
    onboarding_document,
    owner_certificate,
    redirect_document,
    signed,
    voucher,
    voucher_document,
    wrong_document,
)
from xpu_emulator.pki import NO_EXPIRY, Identity, make_root

NOW = datetime.now(UTC)
SERIAL = "SN-1"

# Not for the judge: the image comes later, and the order in a SET OF carries no meaning.
ACCEPTED = {Wrong.OTHER_IMAGE_HASH, Wrong.CERTIFICATES_OUT_OF_ORDER}
# RFC 5652 lets a reader take these or not (5.1, 5.4).
EITHER = {Wrong.UNLISTED_DIGEST_ALGORITHM, Wrong.UNSORTED_SIGNED_ATTRIBUTES}
TOLERABLE = ACCEPTED | EITHER

VOUCHER_REASONS = {
    Wrong.OTHER_SERIAL_NUMBER: Reason.VOUCHER_SERIAL_MISMATCH,
    Wrong.OTHER_PINNED_CERT: Reason.OWNER_CERT_UNTRUSTED,
    Wrong.OTHER_IDEVID_ISSUER: Reason.VOUCHER_ISSUER_MISMATCH,
    Wrong.CREATED_IN_FUTURE: Reason.VOUCHER_NOT_YET_VALID,
    Wrong.EXPIRED: Reason.VOUCHER_EXPIRED,
    Wrong.OTHER_NONCE: Reason.VOUCHER_NONCE_MISMATCH,
}


class World:
    """Manufacturer, owner and device, and what the device makes of three artifacts."""

    def __init__(self) -> None:
        self.maker = make_root("Maker")
        self.signer = self.maker.issue("Voucher Signer")
        self.idevid_ca = self.maker.issue("IDevID CA", ca=True)
        self.device = self.idevid_ca.issue("Device", subject_serial=SERIAL, not_after=NO_EXPIRY)
        self.owner_root = make_root("Owner")
        self.owner = self.owner_root.issue("Owner CA", ca=True).issue("Owner Certificate")

    def voucher_document(self) -> Document:
        return voucher_document(
            SERIAL,
            self.owner_root,
            NOW - timedelta(days=1),
            NOW + timedelta(days=1),
            idevid_issuer=self.idevid_ca.ski,
        )

    def voucher(self, wrong: Wrong | None = None) -> bytes:
        certificates = [self.signer, self.maker]
        return voucher(self.voucher_document(), self.signer, certificates=certificates, wrong=wrong)

    def conveyed(self, content: bytes, wrong: Wrong | None = None) -> bytes:
        return signed(
            content,
            ContentType.CONVEYED_JSON,
            self.owner,
            certificates=self.owner.chain[:-1],
            wrong=wrong,
        )

    def refusal(self, conveyed: bytes, ownership_voucher: bytes) -> Reason | None:
        try:
            artifacts = Artifacts(conveyed, owner_certificate(self.owner), ownership_voucher)
            bundle = assemble_bundle(open_artifacts(artifacts), {})
        except MalformedError as error:
            return error.reason
        facts = DeviceFacts(
            serial_number=SERIAL,
            hw_model=None,
            running=RunningImage(None, None, None),
            idevid_chain=ders(*self.device.chain),
            voucher_anchors=ders(self.maker),
            server_anchors=(),
            assertions=frozenset({Assertion.VERIFIED}),
        )
        judgement = judge(
            bundle,
            trust=TrustState.FALSE,
            facts=facts,
            clock=ClockReading(NOW, accurate=True),
            nonces=(),
        )
        assert (judgement.verdict is None) is not (judgement.refusal is None)
        return judgement.refusal.reason if judgement.refusal else None


def ders(*identities: Identity) -> tuple[bytes, ...]:
    return tuple(each.der for each in identities)


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def documents(p256: Authority) -> list[Document]:
    return [
        onboarding_document(
            configuration=b"x", image_sha256=bytes(32), download_uris=["https://a.example/i"]
        ),
        redirect_document([bootstrap_server("a.example", 1, certificates_only([p256.root]))]),
    ]


@pytest.mark.parametrize("index", [0, 1])
def test_what_is_right_is_accepted(index: int, world: World, p256: Authority) -> None:
    conveyed = world.conveyed(conveyed_json(documents(p256)[index]))

    assert world.refusal(conveyed, world.voucher()) is None


@pytest.mark.refuses("SZTP-3.1-07")
@pytest.mark.parametrize("wrong", ENCODING_DEFECTS)
def test_wrong_encodings_are_refused(wrong: Wrong, world: World, p256: Authority) -> None:
    content = conveyed_json(documents(p256)[0])

    assert world.refusal(world.conveyed(content, wrong), world.voucher()) is Reason.MALFORMED
    assert world.refusal(world.conveyed(content), world.voucher(wrong)) is Reason.MALFORMED


@pytest.mark.parametrize("wrong", [each for each in SIGNATURE_DEFECTS if each not in TOLERABLE])
def test_wrong_signatures_are_refused(wrong: Wrong, world: World, p256: Authority) -> None:
    content = conveyed_json(documents(p256)[0])

    of_conveyed = world.refusal(world.conveyed(content, wrong), world.voucher())
    of_voucher = world.refusal(world.conveyed(content), world.voucher(wrong))

    assert of_conveyed in {Reason.MALFORMED, Reason.SIGNATURE_INVALID}
    assert of_voucher in {Reason.MALFORMED, Reason.VOUCHER_UNTRUSTED}


@pytest.mark.parametrize("wrong", VOUCHER_DEFECTS)
def test_wrong_vouchers_are_refused(wrong: Wrong, world: World, p256: Authority) -> None:
    content = conveyed_json(documents(p256)[0])

    reason = world.refusal(world.conveyed(content), world.voucher(wrong))

    assert reason is VOUCHER_REASONS.get(wrong, Reason.MALFORMED)


@pytest.mark.parametrize("wrong", [each for each in CONVEYED_DEFECTS if each not in TOLERABLE])
def test_wrong_documents_are_refused(wrong: Wrong, world: World, p256: Authority) -> None:
    tried = 0
    for document in documents(p256):
        try:
            content = wrong_document(document, wrong)
        except ValueError:  # redirects have no image, and so on
            continue
        tried += 1
        assert world.refusal(world.conveyed(content), world.voucher()) is not None
    assert tried


@pytest.mark.parametrize("wrong", sorted(ACCEPTED))
def test_what_is_tolerable_is_accepted(wrong: Wrong, world: World, p256: Authority) -> None:
    content = conveyed_json(documents(p256)[0])
    if wrong in CONVEYED_DEFECTS:
        conveyed = world.conveyed(wrong_document(content, wrong))
    else:
        conveyed = world.conveyed(content, wrong)

    assert world.refusal(conveyed, world.voucher()) is None
