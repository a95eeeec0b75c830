# SPDX-License-Identifier: Apache-2.0
"""Looks into the DER a device sends, and into the artifacts a server is about to send.

Each `problem_with_*` says in a few words what is wrong, or None. Structure only, except that a
PKCS#10 request must verify with its own key (RFC 2986, 3).
"""

from enum import Enum

from asn1crypto import algos, cms, core
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

_JSON_CONTENT = "1.2.840.113549.1.9.16.1.43"
_XML_CONTENT = "1.2.840.113549.1.9.16.1.42"
_DATA = "1.2.840.113549.1.7.1"
_SIGNED_DATA = "1.2.840.113549.1.7.2"
_ENVELOPES = {"1.2.840.113549.1.7.3", "1.2.840.113549.1.9.16.1.23"}
# What asn1crypto raises, early or late, on bytes that aren't what they were taken for.
_ASN1_ERRORS = (ValueError, TypeError, KeyError, AttributeError)


class ConveyedKind(Enum):
    """What conveyed information is, as far as a server can tell without keys."""

    SIGNED = "signed"
    UNSIGNED_REDIRECT = "unsigned redirect information"
    UNSIGNED_ONBOARDING = "unsigned onboarding information"
    ENCRYPTED = "encrypted"
    UNKNOWN = "unknown"


def conveyed_kind(der: bytes) -> ConveyedKind:
    """Tell what kind of conveyed information this is, by its outermost layer."""
    try:
        content_type = str(cms.ContentInfo.load(der)["content_type"].dotted)
        if content_type == _SIGNED_DATA:
            return ConveyedKind.SIGNED
        if content_type in _ENVELOPES:
            return ConveyedKind.ENCRYPTED
        if content_type not in {_DATA, _JSON_CONTENT, _XML_CONTENT}:
            return ConveyedKind.UNKNOWN
    except _ASN1_ERRORS:
        return ConveyedKind.UNKNOWN
    # The names stand as plain text in both encodings, and an octet string doesn't change them.
    if b"onboarding-information" in der:
        return ConveyedKind.UNSIGNED_ONBOARDING
    if b"redirect-information" in der:
        return ConveyedKind.UNSIGNED_REDIRECT
    return ConveyedKind.UNKNOWN


def is_algorithm_identifier(der: bytes) -> bool:
    """Whether these octets are one DER AlgorithmIdentifier."""
    try:
        identifier = algos.AlgorithmIdentifier.load(der, strict=True)
        return len(identifier) in {1, 2} and isinstance(identifier[0], core.ObjectIdentifier)
    except _ASN1_ERRORS:
        return False


def problem_with_csr(form: str, der: bytes) -> str | None:
    """What is wrong with a `p10-csr` (in full), `cmc-csr` or `cmp-csr` (outer form only)."""
    if form == "p10-csr":
        try:
            valid = x509.load_der_x509_csr(der).is_signature_valid
        except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
            return f"not a PKCS#10 request in DER ({error})"
        return None if valid else "its signature does not verify with its own key"
    try:
        if form == "cmc-csr":
            info = cms.ContentInfo.load(der, strict=True)
            if info["content_type"].dotted != _SIGNED_DATA:
                return "not a SignedData"
        else:
            message = core.SequenceOf.load(der, strict=True, spec=core.Any)
            if len(message) < 2:
                return "not a PKIMessage"
    except _ASN1_ERRORS:
        return "not a DER structure of that kind"
    return None


def problem_with_anchor_chain(der: bytes) -> str | None:
    """What is wrong with a `trust-anchor-cert`: one chain with its root, nobody's signature.

    Order inside a SET OF carries no meaning, so the chain is found by names.
    """
    try:
        info = cms.ContentInfo.load(der, strict=True)
        if info["content_type"].dotted != _SIGNED_DATA:
            return "is not a SignedData"
        signed = info["content"]
        if len(signed["signer_infos"]):
            return "is signed; the degenerate form has no signer"
        certificates = [choice.chosen for choice in signed["certificates"]]
        if not certificates:
            return "has no certificate"
        names = [(c.subject.dump(), c.issuer.dump()) for c in certificates]
    except _ASN1_ERRORS:
        return "is not a ContentInfo in DER with X.509 certificates"
    roots = [subject for subject, issuer in names if subject == issuer]
    if len(roots) != 1:
        return f"has {len(roots)} self-signed roots, not one"
    children = {issuer: subject for subject, issuer in names if subject != issuer}
    length, subject = 1, roots[0]
    while subject in children and length <= len(names):
        subject = children[subject]
        length += 1
    if length != len(names):
        return "is not one single chain of certificates"
    return None
