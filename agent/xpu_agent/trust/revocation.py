# SPDX-License-Identifier: Apache-2.0
"""Revocation status from stapled CRLs and OCSP responses (RFC 5280, 6.3; RFC 6960; AMB-26).

Nothing is fetched: an address in a certificate is not to be followed before that certificate is
trusted. What a voucher's `domain-cert-revocation-checks` says decides (RFC 8366, 5.3):

- true: each certificate below the pinned one needs a current status that says good;
- absent: a stapled revocation is obeyed, missing status is not missed;
- false: nothing is looked at.

Whether a status is current is judged by an accurate clock alone; that a certificate is listed
counts whatever the clock says, and however old the list is.
"""

import hashlib
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Final

from xpu_agent.artifacts import der
from xpu_agent.artifacts.certificate import Certificate
from xpu_agent.artifacts.cms import CertificateBag
from xpu_agent.artifacts.revocation import CertificateList, OcspResponse, OcspSingleResponse
from xpu_agent.device import ClockReading
from xpu_agent.errors import Reason, TrustError
from xpu_agent.trust.cms_signature import may_sign
from xpu_agent.trust.names import same_name
from xpu_agent.trust.path import PathError, ValidatedPath, find_path
from xpu_agent.trust.signature import Budget, BudgetSpentError, verify_signature

_OCSP_SIGNING: Final = "1.3.6.1.5.5.7.3.9"
# For finding the certificate a response is about, not for a signature; SHA-1 is the usual one.
_ID_HASHES: Final = {
    "1.3.14.3.2.26": "sha1",
    "2.16.840.1.101.3.4.2.1": "sha256",
    "2.16.840.1.101.3.4.2.2": "sha384",
    "2.16.840.1.101.3.4.2.3": "sha512",
}


class Status(Enum):
    """What the stapled objects say of one certificate."""

    GOOD = "good"
    REVOKED = "revoked"
    UNKNOWN = "unknown"


def check_revocation(
    path: ValidatedPath,
    bags: Sequence[CertificateBag],
    *,
    required: bool | None,
    clock: ClockReading,
    budget: Budget,
) -> None:
    """Return if no certificate below the anchor of `path` is revoked, as far as `required` asks.

    `bags` hold the stapled objects; `required` is `domain-cert-revocation-checks`.

    Raises:
        TrustError: `owner-cert-revoked`; `revocation-unknown` where status is required and
            there is none, or none that is current.
    """
    if required is False:
        return
    for certificate, issuer in zip(path.certificates, path.issuers, strict=False):
        who = certificate.subject_text or "a certificate without subject"
        match status_of(certificate, issuer, bags, clock=clock, budget=budget):
            case Status.REVOKED:
                raise TrustError(Reason.OWNER_CERT_REVOKED, f"{who} is revoked")
            case Status.UNKNOWN if required:
                raise TrustError(
                    Reason.REVOCATION_UNKNOWN,
                    f"the voucher asks for the revocation status of {who}, and no current one came",
                )
            case _:
                pass


def status_of(
    certificate: Certificate,
    issuer: Certificate,
    bags: Iterable[CertificateBag],
    *,
    clock: ClockReading,
    budget: Budget,
) -> Status:
    """What all stapled objects together say; one that says revoked is enough."""
    found: set[Status] = set()
    for bag in bags:
        for crl in bag.crls:
            found.add(_by_crl(certificate, issuer, crl, clock, budget))
        for response in bag.ocsp_responses:
            responders = (issuer, *response.certificates, *bag.certificates)
            if any(_may_answer(r, issuer, response, clock, budget) for r in responders):
                found.add(_by_ocsp(certificate, issuer, response, clock))
    for status in (Status.REVOKED, Status.GOOD):
        if status in found:
            return status
    return Status.UNKNOWN


def _by_crl(
    certificate: Certificate,
    issuer: Certificate,
    crl: CertificateList,
    clock: ClockReading,
    budget: Budget,
) -> Status:
    if crl.critical_extensions or crl.is_indirect or not same_name(crl.issuer, issuer.subject):
        return Status.UNKNOWN
    if issuer.key_usage is not None and "crl_sign" not in issuer.key_usage:
        return Status.UNKNOWN
    if not _signed(issuer, crl, budget):
        return Status.UNKNOWN
    listed = [r for r in crl.revoked if r.serial_number == certificate.serial_number]
    # Only a delta may take an entry back (RFC 5280, 5.3.1).
    if any(entry.reason != "remove_from_crl" or not crl.is_delta for entry in listed):
        return Status.REVOKED
    # A list of part of what there is can't say that something is not revoked.
    if crl.is_delta or crl.issuing_distribution_point:
        return Status.UNKNOWN
    current = not clock.accurate or (
        crl.next_update is not None and crl.this_update <= clock.utc <= crl.next_update
    )
    return Status.GOOD if current else Status.UNKNOWN


def _by_ocsp(
    certificate: Certificate, issuer: Certificate, response: OcspResponse, clock: ClockReading
) -> Status:
    about = [s for s in response.responses if _is_about(s, certificate, issuer)]
    if response.critical_extensions:
        return Status.UNKNOWN
    if any(single.status == "revoked" for single in about):
        return Status.REVOKED
    good = any(single.status == "good" and _is_current(single, clock) for single in about)
    return Status.GOOD if good else Status.UNKNOWN


def _is_current(single: OcspSingleResponse, clock: ClockReading) -> bool:
    if not clock.accurate:
        return True
    return single.next_update is not None and single.this_update <= clock.utc <= single.next_update


def _is_about(single: OcspSingleResponse, certificate: Certificate, issuer: Certificate) -> bool:
    name = _ID_HASHES.get(single.hash_algorithm)
    if name is None or single.serial_number != certificate.serial_number:
        return False
    return single.issuer_name_hash == _id_hash(
        name, certificate.issuer
    ) and single.issuer_key_hash == _id_hash(name, _key_bits(issuer.public_key))


def _may_answer(
    responder: Certificate,
    issuer: Certificate,
    response: OcspResponse,
    clock: ClockReading,
    budget: Budget,
) -> bool:
    """Whether this responder was named, may answer for the issuer, and did (RFC 6960, 4.2.2.2)."""
    if response.responder_name is not None:
        if not same_name(responder.subject, response.responder_name):
            return False
    elif _id_hash("sha1", _key_bits(responder.public_key)) != response.responder_key_hash:
        return False
    # An issuer that answers itself needs no more than its key; a delegate has to be allowed to.
    if responder.der != issuer.der and not _is_delegated(responder, issuer, clock, budget):
        return False
    return _signed(responder, response, budget)


def _is_delegated(
    responder: Certificate, issuer: Certificate, clock: ClockReading, budget: Budget
) -> bool:
    """Whether the issuer itself issued this certificate, for answering (RFC 6960, 4.2.2.2)."""
    if _OCSP_SIGNING not in (responder.extended_key_usage or ()) or not may_sign(responder):
        return False
    try:
        find_path(responder, anchors=(issuer,), intermediates=(), clock=clock, budget=budget)
    except PathError:
        return False
    return True


def _signed(signer: Certificate, what: CertificateList | OcspResponse, budget: Budget) -> bool:
    try:
        verify_signature(
            signer.public_key, what.signature_algorithm, what.tbs, what.signature, budget=budget
        )
    except BudgetSpentError:
        raise
    except TrustError:
        return False
    return True


def _id_hash(name: str, octets: bytes) -> bytes:
    return hashlib.new(name, octets, usedforsecurity=False).digest()


def _key_bits(public_key: bytes) -> bytes:
    """The octets of subjectPublicKey, without tag, length and unused bits (RFC 6960, 4.1.1)."""
    _, bits = der.parse_der(public_key, "public key").children()
    return der.bit_string_octets(bits, "public key")
