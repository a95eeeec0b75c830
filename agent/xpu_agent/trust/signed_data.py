# SPDX-License-Identifier: Apache-2.0
"""Judge a bundle (RFC 8572, 5.3 and 5.4): voucher, then owner certificate, then conveyed info."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from xpu_agent.artifacts.bundle import UnverifiedBundle
from xpu_agent.artifacts.certificate import Certificate
from xpu_agent.artifacts.conveyed_info import (
    Encoding,
    OnboardingInformation,
    RedirectInformation,
)
from xpu_agent.device import ClockReading, DeviceFacts
from xpu_agent.errors import Reason
from xpu_agent.trust.state import TrustState


class Step(StrEnum):
    """The checks by name, in the order they are made; stable, shown by `inspect` and the demo."""

    PARSE = "parse"
    DECRYPT = "decrypt"
    VOUCHER_SIGNATURE = "voucher-signature"
    VOUCHER_DATES = "voucher-dates"
    VOUCHER_ASSERTION = "voucher-assertion"
    VOUCHER_SERIAL_NUMBER = "voucher-serial-number"
    VOUCHER_IDEVID_ISSUER = "voucher-idevid-issuer"
    VOUCHER_NONCE = "voucher-nonce"
    OWNER_CERTIFICATE_PATH = "owner-certificate-path"
    OWNER_CERTIFICATE_REVOCATION = "owner-certificate-revocation"
    CONVEYED_INFORMATION_SIGNATURE = "conveyed-information-signature"
    CONVEYED_INFORMATION_CONTENT = "conveyed-information-content"


class StepResult(StrEnum):
    """How a check ended."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class CheckedStep:
    """One check and how it ended; `reason` for failed ones, `note` for people (why skipped...)."""

    step: Step
    result: StepResult
    reason: Reason | None = None
    note: str | None = None


class TrustedBy(StrEnum):
    """What made information trusted."""

    SIGNATURE = "signature"
    SERVER = "server"


@dataclass(frozen=True, slots=True)
class ConveyedEvidence:
    """What the accepted document was: its encoding, its octets' SHA-256, warnings found."""

    encoding: Encoding
    sha256: bytes
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TrustedOnboarding:
    """Onboarding information to act on; only `judge` makes one."""

    information: OnboardingInformation
    trusted_by: TrustedBy
    evidence: ConveyedEvidence


@dataclass(frozen=True, slots=True)
class TrustedRedirect:
    """Redirect information whose anchors count; only `judge` makes one."""

    information: RedirectInformation
    trusted_by: TrustedBy
    evidence: ConveyedEvidence


@dataclass(frozen=True, slots=True)
class UntrustedRedirect:
    """Redirect information to follow provisionally, its anchors thrown away."""

    information: RedirectInformation
    evidence: ConveyedEvidence


Verdict = TrustedOnboarding | TrustedRedirect | UntrustedRedirect


@dataclass(frozen=True, slots=True)
class Judgement:
    """What came of judging: all steps, and a verdict or the reason for none.

    Exactly one of `verdict` and `refusal` is set. `owner` is the owner certificate where signed
    data validated. A caller that wants an exception calls `require`.
    """

    steps: tuple[CheckedStep, ...]
    verdict: Verdict | None
    refusal: "Refusal | None"
    owner: Certificate | None = None

    def require(self) -> Verdict:
        """The verdict.

        Raises:
            TrustError: with the refusal's reason and sentence.
        """
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a bundle is not believed: stable reason and one sentence."""

    reason: Reason
    message: str


def judge(
    bundle: UnverifiedBundle,
    *,
    trust: TrustState,
    facts: DeviceFacts,
    clock: ClockReading,
    nonces: Collection[bytes],
    decrypted: bool = False,
) -> Judgement:
    """Decide what the bundle is worth to this device.

    `nonces` are those sent in this attempt. `decrypted` only tells the step list whether the
    caller opened an envelope. Signed data that fails is refused whatever `trust` says (5.4).
    Never raises for anything the bundle holds.
    """
    raise NotImplementedError
