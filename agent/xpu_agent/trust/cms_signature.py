# SPDX-License-Identifier: Apache-2.0
"""Signatures in SignedData (RFC 5652, 5.4 and 5.6): who signed this.

Several signers may have signed. One whose certificate is wanted and whose signature holds is
enough; the others count for nothing (CMS-03). Certificates inside help to find the signer's and
never become trusted by being there.
"""

from collections.abc import Iterable, Iterator
from typing import assert_never

from xpu_agent.artifacts.certificate import Certificate
from xpu_agent.artifacts.cms import (
    IssuerAndSerialNumber,
    SignedData,
    SignerInfo,
    SubjectKeyIdentifier,
)
from xpu_agent.errors import Reason, TrustError
from xpu_agent.trust.signature import Budget, digest_of, verify_signature


def candidates(signer: SignerInfo, certificates: Iterable[Certificate]) -> Iterator[Certificate]:
    """The certificates a signer identifier names; a name proves nothing yet."""
    seen: set[bytes] = set()
    for certificate in certificates:
        if certificate.der not in seen and is_named(signer, certificate):
            seen.add(certificate.der)
            yield certificate


def is_named(signer: SignerInfo, certificate: Certificate) -> bool:
    """Whether the signer identifier fits this certificate (RFC 5652, 5.3)."""
    match signer.sid:
        case IssuerAndSerialNumber(issuer=issuer, serial_number=serial_number):
            return certificate.issuer == issuer and certificate.serial_number == serial_number
        case SubjectKeyIdentifier(value=value):
            return certificate.subject_key_identifier == value
        case _:
            assert_never(signer.sid)


def verify_signer(
    signed: SignedData, signer: SignerInfo, certificate: Certificate, budget: Budget
) -> None:
    """Return if the holder of `certificate` made this signature over the content.

    Raises:
        TrustError: `signature-invalid`.
    """
    digest = digest_of(signer.digest_algorithm, signed.content)
    if signer.signed_attributes is None:
        covered = signed.content
    else:
        # CMS-01: the attributes bind content and its type; CMS-02: the signature covers them.
        if signer.content_type_attribute != signed.content_type:
            raise TrustError(
                Reason.SIGNATURE_INVALID, "the signed content type is not that of the content"
            )
        if signer.message_digest_attribute != digest:
            raise TrustError(
                Reason.SIGNATURE_INVALID, "the signed digest is not that of the content"
            )
        covered = signer.signed_attributes
    verify_signature(
        certificate.public_key,
        signer.signature_algorithm,
        covered,
        signer.signature,
        budget=budget,
        digest_algorithm=signer.digest_algorithm,
    )


def may_sign(certificate: Certificate) -> bool:
    """Key usage absent, or with digitalSignature (RFC 8572, 3.2)."""
    return certificate.key_usage is None or "digital_signature" in certificate.key_usage
