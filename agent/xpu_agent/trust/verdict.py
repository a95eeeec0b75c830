# SPDX-License-Identifier: Apache-2.0
"""What judging leads to: the checks by name, and one verdict or refusal (RFC 8572, 5.3).

The types carry the evidence: a plan is made from `TrustedOnboarding` and from nothing else, and
anchors of a redirect count only in a `TrustedRedirect`. `signed_data.judge` alone makes them.
"""

from dataclasses import dataclass
from enum import StrEnum

from xpu_agent.artifacts.certificate import Certificate
from xpu_agent.artifacts.conveyed_info import (
    Encoding,
    OnboardingInformation,
    RedirectInformation,
)
from xpu_agent.errors import Reason, TrustError


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
        if self.refusal is not None:
            raise TrustError(self.refusal.reason, self.refusal.message)
        if self.verdict is None:
            raise RuntimeError("a judgement has a verdict or a refusal")
        return self.verdict


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a bundle is not believed: stable reason and one sentence."""

    reason: Reason
    message: str
