# SPDX-License-Identifier: Apache-2.0
"""Judge a bundle (RFC 8572, 5.3 and 5.4): voucher, then owner certificate, then conveyed info.

Signed data, in this order; what fails ends it, and nothing after it is looked at:

1. The voucher's signature leads to one of the manufacturer's anchors, by certificates in it.
2. Its dates (accurate clock only), assertion, serial number, IDevID issuer and nonce are ours.
3. The owner certificate leads to the certificate the voucher pins.
4. Nothing on that way is revoked, as far as the voucher asks.
5. The conveyed information is signed by that very owner certificate.
6. Its document is well-formed.

The caller owes the nonces it sent in this attempt, the anchors, and a clock reading that says
whether it may be believed. Owner certificate: the one the signature points to, since a SET OF has
no order (AMB-06). Signed data is judged like this wherever it came from: being trusted does not
excuse a server from a signature that fails.
"""

import hashlib
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import assert_never

from xpu_agent.artifacts.bundle import (
    SignedConveyedInformation,
    UnsignedConveyedInformation,
    UnverifiedBundle,
)
from xpu_agent.artifacts.certificate import Certificate, parse_certificate
from xpu_agent.artifacts.cms import CertificateBag, SignedData, SignerInfo
from xpu_agent.artifacts.conveyed_info import (
    ConveyedDocument,
    OnboardingInformation,
    RedirectInformation,
    parse_conveyed_document,
)
from xpu_agent.artifacts.voucher import UnverifiedVoucher
from xpu_agent.device import ClockReading, DeviceFacts
from xpu_agent.errors import MalformedError, Reason, TrustError
from xpu_agent.trust.cms_signature import candidates, is_named, may_sign, verify_signer
from xpu_agent.trust.path import PathError, PathFault, ValidatedPath, find_path
from xpu_agent.trust.revocation import check_revocation
from xpu_agent.trust.signature import Budget, BudgetSpentError
from xpu_agent.trust.state import TrustState
from xpu_agent.trust.verdict import (
    CheckedStep,
    ConveyedEvidence,
    Judgement,
    Refusal,
    Step,
    StepResult,
    TrustedBy,
    TrustedOnboarding,
    TrustedRedirect,
    UntrustedRedirect,
    Verdict,
)

__all__ = [
    "CheckedStep",
    "ConveyedEvidence",
    "Judgement",
    "Refusal",
    "Step",
    "StepResult",
    "TrustedBy",
    "TrustedOnboarding",
    "TrustedRedirect",
    "UntrustedRedirect",
    "Verdict",
    "judge",
]


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
    trial = _Trial(trust, facts, clock, frozenset(nonces))
    trial.done(Step.PARSE)
    trial.settle(Step.DECRYPT, StepResult.OK if decrypted else StepResult.SKIPPED)
    owner: Certificate | None = None
    try:
        match bundle.conveyed_information:
            case SignedConveyedInformation(signed_data=signed):
                verdict, owner = trial.judge_signed(signed, bundle)
            case UnsignedConveyedInformation(content_type=content_type, document=document):
                verdict = trial.judge_unsigned(content_type, document)
            case _:
                assert_never(bundle.conveyed_information)
    except _RefusedError as refused:
        return Judgement(trial.all_steps(), None, refused.refusal)
    return Judgement(trial.all_steps(), verdict, None, owner)


class _RefusedError(Exception):
    """Ends a trial; the failed step is on record."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


@dataclass(slots=True)
class _Trial:
    """One bundle being judged: what was checked so far, and what may still be spent on it."""

    trust: TrustState
    facts: DeviceFacts
    clock: ClockReading
    nonces: frozenset[bytes]
    budget: Budget = field(default_factory=Budget)
    _steps: dict[Step, CheckedStep] = field(default_factory=dict)

    # --- the record --------------------------------------------------------------------------

    def done(self, step: Step) -> None:
        """The check was made and passed."""
        self.settle(step, StepResult.OK)

    def settle(self, step: Step, result: StepResult, note: str | None = None) -> None:
        """The check ended so."""
        self._steps[step] = CheckedStep(step, result, None, note)

    def refuse(self, step: Step, reason: Reason, message: str) -> _RefusedError:
        """The check failed: put it on record and make the exception that ends the trial."""
        self._steps[step] = CheckedStep(step, StepResult.FAILED, reason, message)
        return _RefusedError(Refusal(reason, message))

    def all_steps(self) -> tuple[CheckedStep, ...]:
        """Every step in its order; those not reached are skipped."""
        return tuple(self._steps.get(step, CheckedStep(step, StepResult.SKIPPED)) for step in Step)

    # --- unsigned (5.3) ----------------------------------------------------------------------

    def judge_unsigned(self, content_type: str, octets: bytes) -> Verdict:
        """Unsigned data is worth what its server is; a redirect may be followed untrusted."""
        document = self._document(octets, content_type)
        evidence = _evidence(document)
        trusted = self.trust is TrustState.TRUE
        match document.information:
            case RedirectInformation() as redirect:
                if trusted:
                    return TrustedRedirect(redirect, TrustedBy.SERVER, evidence)
                return UntrustedRedirect(redirect, evidence)
            case OnboardingInformation() as onboarding:
                if trusted:
                    return TrustedOnboarding(onboarding, TrustedBy.SERVER, evidence)
                raise self.refuse(
                    Step.CONVEYED_INFORMATION_SIGNATURE,
                    Reason.UNSIGNED_NOT_ALLOWED,
                    "onboarding information that nobody signed, from a source nobody authenticated",
                )
            case _:
                assert_never(document.information)

    # --- signed (5.4) ------------------------------------------------------------------------

    def judge_signed(
        self, signed: SignedData, bundle: UnverifiedBundle
    ) -> tuple[Verdict, Certificate]:
        """Signed data is judged whatever the trust state says."""
        voucher, bag = bundle.ownership_voucher, bundle.owner_certificate
        if voucher is None or bag is None:
            raise RuntimeError("a signed bundle has owner certificate and voucher")
        self._voucher_signature(voucher)  # 1
        self._voucher_content(voucher)  # 2
        paths, signature = self._owner(signed, bag, voucher)  # 3, and 5 made ready
        path = self._revocation(paths, bag, voucher)  # 4
        signature()  # 5
        document = self._document(signed.content, signed.content_type)  # 6
        evidence = _evidence(document, voucher.warnings)
        owner = path.certificates[0]
        match document.information:
            case RedirectInformation() as redirect:
                return TrustedRedirect(redirect, TrustedBy.SIGNATURE, evidence), owner
            case OnboardingInformation() as onboarding:
                return TrustedOnboarding(onboarding, TrustedBy.SIGNATURE, evidence), owner
            case _:
                assert_never(document.information)

    def _voucher_signature(self, voucher: UnverifiedVoucher) -> None:
        """1. Signed by somebody the manufacturer's anchors lead to (VCH-5.4-02, AMB-29)."""
        anchors = tuple(parse_certificate(octets) for octets in self.facts.voucher_anchors)
        inside = voucher.signed_data.bag.certificates
        fault = "its signer's certificate is neither in it nor an anchor"
        try:
            for signer in voucher.signed_data.signers:
                for certificate in candidates(signer, (*inside, *anchors)):
                    try:
                        self._signs(voucher.signed_data, signer, certificate)
                        find_path(
                            certificate,
                            anchors=anchors,
                            intermediates=inside,
                            clock=self.clock,
                            budget=self.budget,
                            barred=self._idevid(),
                        )
                    except BudgetSpentError:
                        raise
                    except (TrustError, PathError) as error:
                        fault = error.message
                    else:
                        self.done(Step.VOUCHER_SIGNATURE)
                        return
        except BudgetSpentError as error:
            fault = error.message
        raise self.refuse(
            Step.VOUCHER_SIGNATURE,
            Reason.VOUCHER_UNTRUSTED,
            f"the ownership voucher is not signed by the manufacturer: {fault}",
        )

    def _signs(self, signed: SignedData, signer: SignerInfo, certificate: Certificate) -> None:
        verify_signer(signed, signer, certificate, self.budget)
        if not may_sign(certificate):
            who = certificate.subject_text or "the signer"
            raise TrustError(Reason.SIGNATURE_INVALID, f"{who} may not sign data (key usage)")

    def _voucher_content(self, voucher: UnverifiedVoucher) -> None:
        """2. For this device, now, on terms it accepts."""
        self._voucher_dates(voucher)
        if voucher.assertion not in self.facts.assertions:
            raise self.refuse(
                Step.VOUCHER_ASSERTION,
                Reason.VOUCHER_ASSERTION,
                f"the voucher's assertion is {voucher.assertion}, which is not accepted here",
            )
        self.done(Step.VOUCHER_ASSERTION)
        if voucher.serial_number != self.facts.serial_number:
            raise self.refuse(
                Step.VOUCHER_SERIAL_NUMBER,
                Reason.VOUCHER_SERIAL_MISMATCH,
                f"the voucher is for serial number {ascii(voucher.serial_number)[:80]}, "
                f"this device is {ascii(self.facts.serial_number)[:80]}",
            )
        self.done(Step.VOUCHER_SERIAL_NUMBER)
        self._idevid_issuer(voucher)
        self._nonce(voucher)

    def _voucher_dates(self, voucher: UnverifiedVoucher) -> None:
        if not self.clock.accurate:
            note = "the clock is not accurate, so no date is judged (RFC 8572, 9.1)"
            self.settle(Step.VOUCHER_DATES, StepResult.SKIPPED, note)
            return
        if voucher.created_on > self.clock.utc:
            raise self.refuse(
                Step.VOUCHER_DATES,
                Reason.VOUCHER_NOT_YET_VALID,
                f"the voucher was created at {voucher.created_on:%F %T%z}, which is yet to come",
            )
        if voucher.expires_on is not None and voucher.expires_on <= self.clock.utc:
            raise self.refuse(
                Step.VOUCHER_DATES,
                Reason.VOUCHER_EXPIRED,
                f"the voucher expired at {voucher.expires_on:%F %T%z}",
            )
        self.done(Step.VOUCHER_DATES)

    def _idevid_issuer(self, voucher: UnverifiedVoucher) -> None:
        """The bare key identifier, or the extension's whole value: both readings (AMB-07)."""
        if voucher.idevid_issuer is None:
            self.settle(Step.VOUCHER_IDEVID_ISSUER, StepResult.SKIPPED, "the voucher names none")
            return
        idevid = self._idevid()
        ours = (
            ()
            if idevid is None
            else (idevid.authority_key_identifier, idevid.authority_key_identifier_extension)
        )
        if voucher.idevid_issuer not in ours:
            raise self.refuse(
                Step.VOUCHER_IDEVID_ISSUER,
                Reason.VOUCHER_ISSUER_MISMATCH,
                "the voucher is for a device whose IDevID has another issuer",
            )
        self.done(Step.VOUCHER_IDEVID_ISSUER)

    def _nonce(self, voucher: UnverifiedVoucher) -> None:
        """Only one sent in this attempt will do (RFC 8366, 5.3); none is accepted too (AMB-18)."""
        if voucher.nonce is None:
            self.settle(Step.VOUCHER_NONCE, StepResult.SKIPPED, "the voucher has none")
            return
        if voucher.nonce not in self.nonces:
            raise self.refuse(
                Step.VOUCHER_NONCE,
                Reason.VOUCHER_NONCE_MISMATCH,
                "the voucher's nonce is none that this device sent in this attempt",
            )
        self.done(Step.VOUCHER_NONCE)

    def _idevid(self) -> Certificate | None:
        chain = self.facts.idevid_chain
        return parse_certificate(chain[0]) if chain else None

    def _owner(
        self, signed: SignedData, bag: CertificateBag, voucher: UnverifiedVoucher
    ) -> tuple[list[ValidatedPath], Callable[[], None]]:
        """3. The owner certificate's path to the pinned one, and what is left to say of 5.

        Which certificate is the owner's only the signature can tell, so it is checked here and
        put on record in its turn. Several paths: as many owners signed (CMS-03).
        """
        pool = self._owner_candidates(signed, bag, voucher)
        paths: list[ValidatedPath] = []
        worst: PathError | None = None
        try:
            for certificate in pool:
                try:
                    paths.append(self._owner_path(certificate, bag, voucher))
                except PathError as error:
                    worst = worst if worst and _says_more(worst, error) else error
            if not paths:
                raise self._untrusted_owner(worst)
            self.done(Step.OWNER_CERTIFICATE_PATH)
            return self._signing_paths(signed, paths)
        except BudgetSpentError as error:
            raise self.refuse(
                Step.OWNER_CERTIFICATE_PATH, Reason.OWNER_CERT_UNTRUSTED, error.message
            ) from error

    def _owner_candidates(
        self, signed: SignedData, bag: CertificateBag, voucher: UnverifiedVoucher
    ) -> list[Certificate]:
        """Those the signature names; if it names none, whoever could be meant."""
        pinned = voucher.pinned_domain_cert
        every = list({c.der: c for c in (*bag.certificates, pinned)}.values())
        named = [c for c in every if any(is_named(s, c) for s in signed.signers)]
        if named:
            return named
        ends = [c for c in bag.certificates if not _is_ca(c)]
        return ends or list(bag.certificates)

    def _owner_path(
        self, certificate: Certificate, bag: CertificateBag, voucher: UnverifiedVoucher
    ) -> ValidatedPath:
        if not may_sign(certificate):
            who = certificate.subject_text or "the owner certificate"
            raise PathError(PathFault.UNTRUSTED, f"{who} may not sign data (key usage)")
        return find_path(
            certificate,
            anchors=(voucher.pinned_domain_cert,),
            intermediates=bag.certificates,
            clock=self.clock,
            budget=self.budget,
            judge_anchor_dates=True,
        )

    def _untrusted_owner(self, fault: PathError | None) -> _RefusedError:
        dated = fault is not None and fault.fault is not PathFault.UNTRUSTED
        return self.refuse(
            Step.OWNER_CERTIFICATE_PATH,
            Reason.OWNER_CERT_EXPIRED if dated else Reason.OWNER_CERT_UNTRUSTED,
            "the owner certificate does not lead to the one the voucher pins: "
            + (fault.message if fault else "there is none"),
        )

    def _signing_paths(
        self, signed: SignedData, paths: list[ValidatedPath]
    ) -> tuple[list[ValidatedPath], Callable[[], None]]:
        """The paths of the certificates that signed; if none did, the first and a refusal."""
        fault = "its signer is not the owner certificate"
        signing: list[ValidatedPath] = []
        for path in paths:
            for signer in signed.signers:
                if not is_named(signer, path.certificates[0]):
                    continue
                try:
                    verify_signer(signed, signer, path.certificates[0], self.budget)
                except TrustError as error:
                    fault = error.message
                else:
                    signing.append(path)
                    break
        if signing:
            return signing, lambda: self.done(Step.CONVEYED_INFORMATION_SIGNATURE)

        def fail() -> None:
            raise self.refuse(
                Step.CONVEYED_INFORMATION_SIGNATURE,
                Reason.SIGNATURE_INVALID,
                f"the conveyed information is not signed by the owner: {fault}",
            )

        return paths[:1], fail

    def _revocation(
        self, paths: list[ValidatedPath], bag: CertificateBag, voucher: UnverifiedVoucher
    ) -> ValidatedPath:
        """4. As far as the voucher asks (AMB-26); the first path that nothing is revoked on."""
        required = voucher.domain_cert_revocation_checks
        faults: list[TrustError] = []
        try:
            for path in paths:
                try:
                    check_revocation(
                        path,
                        (bag, voucher.signed_data.bag),
                        required=required,
                        clock=self.clock,
                        budget=self.budget,
                    )
                except BudgetSpentError:
                    raise
                except TrustError as error:
                    faults.append(error)
                    continue
                if required is False:
                    note = "the voucher says not to"
                    self.settle(Step.OWNER_CERTIFICATE_REVOCATION, StepResult.SKIPPED, note)
                else:
                    self.done(Step.OWNER_CERTIFICATE_REVOCATION)
                return path
        except BudgetSpentError as error:
            faults = [TrustError(Reason.REVOCATION_UNKNOWN, error.message)]
        fault = faults[0]
        raise self.refuse(Step.OWNER_CERTIFICATE_REVOCATION, fault.reason, fault.message)

    def _document(self, octets: bytes, content_type: str) -> ConveyedDocument:
        """6. Parsed only now: whoever is not trusted does not get as far as the parser."""
        try:
            document = parse_conveyed_document(octets, content_type, self.facts.leniencies)
        except MalformedError as error:
            raise self.refuse(
                Step.CONVEYED_INFORMATION_CONTENT, error.reason, error.message
            ) from error
        self.done(Step.CONVEYED_INFORMATION_CONTENT)
        return document


def _says_more(one: PathError, other: PathError) -> bool:
    order = list(PathFault)
    return order.index(one.fault) <= order.index(other.fault)


def _is_ca(certificate: Certificate) -> bool:
    return certificate.basic_constraints is not None and certificate.basic_constraints.is_ca


def _evidence(document: ConveyedDocument, warnings: tuple[str, ...] = ()) -> ConveyedEvidence:
    return ConveyedEvidence(
        encoding=document.encoding,
        sha256=hashlib.sha256(document.octets).digest(),
        warnings=(*warnings, *document.warnings),
    )
