# SPDX-License-Identifier: Apache-2.0
"""Cryptographic Message Syntax (RFC 5652) as values: structure only, no trust."""

from dataclasses import dataclass
from datetime import datetime

from xpu_agent.artifacts.certificate import AlgorithmIdentifier, Certificate

OID_DATA = "1.2.840.113549.1.7.1"
OID_SIGNED_DATA = "1.2.840.113549.1.7.2"
OID_ENVELOPED_DATA = "1.2.840.113549.1.7.3"
OID_AUTH_ENVELOPED_DATA = "1.2.840.113549.1.9.16.1.23"
OID_VOUCHER_JSON = "1.2.840.113549.1.9.16.1.40"
OID_CONVEYED_XML = "1.2.840.113549.1.9.16.1.42"
OID_CONVEYED_JSON = "1.2.840.113549.1.9.16.1.43"


@dataclass(frozen=True, slots=True)
class IssuerAndSerialNumber:
    """Names a signer or recipient by the issuer's DER Name and the serial number."""

    issuer: bytes
    serial_number: int


@dataclass(frozen=True, slots=True)
class SubjectKeyIdentifier:
    """Names a signer or recipient by its subjectKeyIdentifier extension."""

    value: bytes


@dataclass(frozen=True, slots=True)
class SignerInfo:
    """RFC 5652, 5.3.

    `signed_attributes` is the DER SET OF (tag 0x31) the signature covers, or None where there
    are none; then the two attribute fields are None too. Where there are some, exactly one
    content-type and one message-digest with one value each were found.
    """

    sid: IssuerAndSerialNumber | SubjectKeyIdentifier
    digest_algorithm: AlgorithmIdentifier
    signature_algorithm: AlgorithmIdentifier
    signed_attributes: bytes | None
    content_type_attribute: str | None
    message_digest_attribute: bytes | None
    signature: bytes


@dataclass(frozen=True, slots=True)
class RevokedCertificate:
    """One entry of a CRL."""

    serial_number: int
    revocation_date: datetime
    reason: str | None  # asn1crypto's name; `remove_from_crl` un-revokes in a delta only


@dataclass(frozen=True, slots=True)
class CertificateList:
    """A CRL (RFC 5280, 5), parsed and unverified.

    `critical_extensions` lists dotted OIDs of critical CRL and entry extensions not understood
    here; a CRL with any is of no use. Indirect and delta CRLs are marked, not interpreted.
    """

    der: bytes
    tbs: bytes
    signature_algorithm: AlgorithmIdentifier
    signature: bytes
    issuer: bytes
    this_update: datetime
    next_update: datetime | None
    revoked: tuple[RevokedCertificate, ...]
    critical_extensions: tuple[str, ...]
    authority_key_identifier: bytes | None
    is_delta: bool
    is_indirect: bool
    issuing_distribution_point: bool  # the extension is there: the CRL may be partial


@dataclass(frozen=True, slots=True)
class OcspSingleResponse:
    """Status of one certificate (RFC 6960, 4.2.1)."""

    hash_algorithm: str  # dotted OID
    issuer_name_hash: bytes
    issuer_key_hash: bytes
    serial_number: int
    status: str  # good | revoked | unknown
    this_update: datetime
    next_update: datetime | None


@dataclass(frozen=True, slots=True)
class OcspResponse:
    """A successful basic OCSP response, parsed and unverified.

    The responder is named by `responder_name` (DER Name) or `responder_key_hash` (SHA-1 of the
    public key bits), the other being None. `critical_extensions` as in `CertificateList`.
    """

    der: bytes
    tbs: bytes
    signature_algorithm: AlgorithmIdentifier
    signature: bytes
    responder_name: bytes | None
    responder_key_hash: bytes | None
    produced_at: datetime
    responses: tuple[OcspSingleResponse, ...]
    certificates: tuple[Certificate, ...]
    critical_extensions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CertificateBag:
    """A degenerate SignedData: certificates and revocation objects, in no order (AMB-06)."""

    certificates: tuple[Certificate, ...]
    crls: tuple[CertificateList, ...]
    ocsp_responses: tuple[OcspResponse, ...]


@dataclass(frozen=True, slots=True)
class SignedData:
    """RFC 5652, 5.1, with at least one signer and content inside."""

    content_type: str  # dotted eContentType
    content: bytes
    bag: CertificateBag
    signers: tuple[SignerInfo, ...]


@dataclass(frozen=True, slots=True)
class KeyTransRecipient:
    """RFC 5652, 6.2.1."""

    rid: IssuerAndSerialNumber | SubjectKeyIdentifier
    key_encryption_algorithm: AlgorithmIdentifier
    encrypted_key: bytes


@dataclass(frozen=True, slots=True)
class KeyAgreeRecipient:
    """One recipient of a KeyAgreeRecipientInfo (RFC 5652, 6.2.2; RFC 5753).

    `originator_key` is the originator's public key point (the BIT STRING's octets) of the
    recipient's own curve. `rid` with a `SubjectKeyIdentifier` stands for rKeyId.
    """

    rid: IssuerAndSerialNumber | SubjectKeyIdentifier
    originator_key: bytes
    user_keying_material: bytes | None
    key_encryption_algorithm: AlgorithmIdentifier  # its parameters name the key wrap
    encrypted_key: bytes


@dataclass(frozen=True, slots=True)
class EnvelopedData:
    """RFC 5652, 6.1, or RFC 5083 AuthEnvelopedData; what `DeviceKeys.decrypt` opens.

    `content_type` is the encrypted content's dotted type; `authenticated_attributes` the DER
    SET OF that is additional data of an AEAD cipher, `mac` its tag; both None for EnvelopedData.
    """

    content_type: str
    recipients: tuple[KeyTransRecipient | KeyAgreeRecipient, ...]
    content_encryption_algorithm: AlgorithmIdentifier
    encrypted_content: bytes
    authenticated_attributes: bytes | None
    mac: bytes | None


@dataclass(frozen=True, slots=True)
class PlainContent:
    """A content type that is itself an OCTET STRING: 42, 43 or id-data."""

    content_type: str
    content: bytes


def parse_content_info(
    der: bytes,
) -> PlainContent | CertificateBag | SignedData | EnvelopedData:
    """Read one DER ContentInfo of a kind SZTP uses (RFC 8572, 3).

    Raises:
        MalformedError: BER or other non-DER octets, trailing bytes, another content type,
            a SignedData that is neither degenerate nor signed with content, bounds exceeded.
    """
    raise NotImplementedError


def parse_signed_data(der: bytes) -> CertificateBag | SignedData:
    """Read a bare DER SignedData, without ContentInfo (AMB-27). Raises as above."""
    raise NotImplementedError
