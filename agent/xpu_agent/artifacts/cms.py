# SPDX-License-Identifier: Apache-2.0
"""Cryptographic Message Syntax (RFC 5652) as values: structure only, no trust."""

from dataclasses import dataclass
from typing import Final

from xpu_agent import limits
from xpu_agent.artifacts import der
from xpu_agent.artifacts.certificate import (
    AlgorithmIdentifier,
    Certificate,
    read_algorithm,
    read_certificate,
)
from xpu_agent.artifacts.enveloped import (
    EnvelopedData,
    IssuerAndSerialNumber,
    KeyAgreeRecipient,
    KeyTransRecipient,
    SubjectKeyIdentifier,
    read_auth_enveloped_data,
    read_enveloped_data,
    read_recipient_name,
)
from xpu_agent.artifacts.revocation import (
    CertificateList,
    OcspResponse,
    OcspSingleResponse,
    RevokedCertificate,
    read_crl,
    read_ocsp_response,
)
from xpu_agent.errors import MalformedError, Reason

__all__ = [
    "OID_AUTH_ENVELOPED_DATA",
    "OID_CONVEYED_JSON",
    "OID_CONVEYED_XML",
    "OID_DATA",
    "OID_ENVELOPED_DATA",
    "OID_SIGNED_DATA",
    "OID_VOUCHER_JSON",
    "CertificateBag",
    "CertificateList",
    "EnvelopedData",
    "IssuerAndSerialNumber",
    "KeyAgreeRecipient",
    "KeyTransRecipient",
    "OcspResponse",
    "OcspSingleResponse",
    "PlainContent",
    "RevokedCertificate",
    "SignedData",
    "SignerInfo",
    "SubjectKeyIdentifier",
    "parse_content_info",
    "parse_signed_data",
]

OID_DATA = "1.2.840.113549.1.7.1"
OID_SIGNED_DATA = "1.2.840.113549.1.7.2"
OID_ENVELOPED_DATA = "1.2.840.113549.1.7.3"
OID_AUTH_ENVELOPED_DATA = "1.2.840.113549.1.9.16.1.23"
OID_VOUCHER_JSON = "1.2.840.113549.1.9.16.1.40"
OID_CONVEYED_XML = "1.2.840.113549.1.9.16.1.42"
OID_CONVEYED_JSON = "1.2.840.113549.1.9.16.1.43"


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
class PlainContent:
    """A content type that is itself an OCTET STRING: 42, 43 or id-data."""

    content_type: str
    content: bytes


_OID_CONTENT_TYPE: Final = "1.2.840.113549.1.9.3"
_OID_MESSAGE_DIGEST: Final = "1.2.840.113549.1.9.4"
_OID_OCSP_RESPONSE: Final = "1.3.6.1.5.5.7.16.2"  # id-ri-ocsp-response (RFC 5940)

_ATTRIBUTES: Final = 32  # signed attributes of one signer

_PLAIN_TYPES: Final = {OID_DATA, OID_CONVEYED_XML, OID_CONVEYED_JSON}
_SIGNED_TYPES: Final = {OID_DATA, OID_VOUCHER_JSON, OID_CONVEYED_XML, OID_CONVEYED_JSON}


def parse_content_info(
    octets: bytes,
) -> PlainContent | CertificateBag | SignedData | EnvelopedData:
    """Read one DER ContentInfo of a kind SZTP uses (RFC 8572, 3).

    Raises:
        MalformedError: BER or other non-DER octets, trailing bytes, another content type,
            a SignedData that is neither degenerate nor signed with content, bounds exceeded.
    """
    where = "CMS ContentInfo"
    fields = der.Fields(_parse(octets, where), der.SEQUENCE, where)
    content_type = der.object_identifier(fields.take(der.OBJECT_IDENTIFIER, "contentType"))
    content = der.explicit(fields.take(der.context(0), "content"), where)
    fields.end()
    if content_type == OID_SIGNED_DATA:
        return _signed_data(content)
    if content_type == OID_ENVELOPED_DATA:
        return read_enveloped_data(content)
    if content_type == OID_AUTH_ENVELOPED_DATA:
        return read_auth_enveloped_data(content)
    if content_type not in _PLAIN_TYPES:
        raise MalformedError(f"{where} has the content type {content_type}, of no use here")
    if content.tag != der.OCTET_STRING:
        raise MalformedError(f"{where} of type {content_type} holds no OCTET STRING")
    return PlainContent(content_type, content.content)


def parse_signed_data(octets: bytes) -> CertificateBag | SignedData:
    """Read a bare DER SignedData, without ContentInfo (AMB-27). Raises as above."""
    return _signed_data(_parse(octets, "SignedData"))


def _parse(octets: bytes, where: str) -> der.Element:
    if len(octets) > limits.ARTIFACT_BYTES:
        raise MalformedError(
            f"{where} has more than {limits.ARTIFACT_BYTES} octets", reason=Reason.TOO_LARGE
        )
    return der.parse_der(octets, where)


def _signed_data(element: der.Element) -> CertificateBag | SignedData:
    where = "SignedData"
    fields = der.Fields(element, der.SEQUENCE, where)
    if der.integer(fields.take(der.INTEGER, "version"), where) not in {1, 3, 4, 5}:
        raise MalformedError("SignedData has an unknown version")
    for algorithm in der.elements(
        fields.take(der.SET, "digestAlgorithms"), der.SET, "digestAlgorithms", most=limits.SIGNERS
    ):
        read_algorithm(algorithm, "digest algorithm")
    content_type, content = _encapsulated(fields.take(der.SEQUENCE, "encapContentInfo"))
    certificates = _certificates(fields.take_if(der.context(0)))
    crls, ocsp_responses = _revocation_objects(fields.take_if(der.context(1)))
    bag = CertificateBag(certificates, crls, ocsp_responses)
    entries = der.elements(
        fields.take(der.SET, "signerInfos"), der.SET, "signerInfos", most=limits.SIGNERS
    )
    fields.end()

    if not entries:
        if content is not None or content_type != OID_DATA:
            # RFC 8572, 5.4 and RFC 5652, 5.2: without signer it is certificates and nothing else.
            raise MalformedError("SignedData has content, but nobody signed it")
        return bag
    if content_type not in _SIGNED_TYPES:
        raise MalformedError(f"SignedData has the content type {content_type}, of no use here")
    if content is None:
        raise MalformedError("SignedData is signed, but its content is not in it")
    signers = tuple(_signer_info(entry, content_type, content) for entry in entries)
    return SignedData(content_type, content, bag, signers)


def _encapsulated(element: der.Element) -> tuple[str, bytes | None]:
    where = "encapContentInfo"
    fields = der.Fields(element, der.SEQUENCE, where)
    content_type = der.object_identifier(fields.take(der.OBJECT_IDENTIFIER, "eContentType"))
    if content_type in {OID_ENVELOPED_DATA, OID_AUTH_ENVELOPED_DATA}:
        # RFC 8572, 3.4: sign, then encrypt.
        raise MalformedError("SignedData is around EnvelopedData; it belongs inside")
    content = None
    if (tagged := fields.take_if(der.context(0))) is not None:
        inner = der.explicit(tagged, where)
        if inner.tag != der.OCTET_STRING:
            raise MalformedError("SignedData holds no OCTET STRING")
        content = inner.content
    fields.end()
    return content_type, content


def _certificates(element: der.Element | None) -> tuple[Certificate, ...]:
    if element is None:
        return ()
    entries = der.elements(
        element, der.context(0), "certificates of SignedData", most=limits.CERTIFICATES
    )
    if any(entry.tag != der.SEQUENCE for entry in entries):
        raise MalformedError("SignedData has certificates that are not X.509 certificates")
    return tuple(read_certificate(entry) for entry in entries)


def _revocation_objects(
    element: der.Element | None,
) -> tuple[tuple[CertificateList, ...], tuple[OcspResponse, ...]]:
    """CRLs and OCSP responses; formats not known here say nothing and are passed over."""
    crls: list[CertificateList] = []
    responses: list[OcspResponse] = []
    entries = (
        ()
        if element is None
        else der.elements(
            element,
            der.context(1),
            "revocation objects of SignedData",
            most=limits.REVOCATION_OBJECTS,
        )
    )
    for entry in entries:
        if entry.tag == der.SEQUENCE:
            crls.append(read_crl(entry))
            continue
        other = der.Fields(entry, der.context(1), "revocation object")
        kind = der.object_identifier(other.take(der.OBJECT_IDENTIFIER, "otherRevInfoFormat"))
        value = other.take_any("otherRevInfo")
        other.end()
        if kind == _OID_OCSP_RESPONSE:
            response = read_ocsp_response(value)
            if response is not None:
                responses.append(response)
    return tuple(crls), tuple(responses)


def _signer_info(element: der.Element, content_type: str, content: bytes) -> SignerInfo:
    where = "SignerInfo"
    fields = der.Fields(element, der.SEQUENCE, where)
    version = der.integer(fields.take(der.INTEGER, "version"), where)
    sid = read_recipient_name(fields.take_any("sid"), where)
    if version != (1 if isinstance(sid, IssuerAndSerialNumber) else 3):
        raise MalformedError("SignerInfo has a version that does not fit its signer")
    digest_algorithm = read_algorithm(
        fields.take(der.SEQUENCE, "digestAlgorithm"), "digest algorithm"
    )
    attributes = fields.take_if(der.context(0))
    signature_algorithm = read_algorithm(
        fields.take(der.SEQUENCE, "signatureAlgorithm"), "signature algorithm"
    )
    signature = fields.take(der.OCTET_STRING, "signature").content
    fields.take_if(der.context(1))  # unsignedAttrs
    fields.end()

    signed_attributes = content_type_attribute = message_digest_attribute = None
    if attributes is not None:
        # RFC 5652, 5.4: signed is the SET OF, not the implicit tag it travels under.
        signed_attributes = b"\x31" + attributes.der[1:]
        content_type_attribute, message_digest_attribute = _signed_attributes(attributes)
    elif content_type != OID_DATA:
        # RFC 5652, 5.3: they bind the content type to the signature.
        raise MalformedError("SignedData has no signed attributes, but its type demands them")
    elif content[:1] == b"\x31":
        # AMB-22: a signature over attributes passes for one over content that is those
        # attributes. No document of SZTP begins like a SET.
        raise MalformedError("SignedData has content that could be someone's signed attributes")
    return SignerInfo(
        sid,
        digest_algorithm,
        signature_algorithm,
        signed_attributes,
        content_type_attribute,
        message_digest_attribute,
        signature,
    )


def _signed_attributes(element: der.Element) -> tuple[str, bytes]:
    """The content-type and message-digest attributes (RFC 5652, 5.3, 11.1 and 11.2)."""
    where = "signed attributes"
    values: dict[str, list[der.Element]] = {}
    for entry in der.elements(element, der.context(0), where, most=_ATTRIBUTES):
        fields = der.Fields(entry, der.SEQUENCE, where)
        oid = der.object_identifier(fields.take(der.OBJECT_IDENTIFIER, "attrType"))
        if oid in values:
            raise MalformedError(f"SignerInfo has the signed attribute {oid} twice")
        values[oid] = fields.take(der.SET, "attrValues").children()
        fields.end()
    content_type = _single_value(values, _OID_CONTENT_TYPE, der.OBJECT_IDENTIFIER, "content-type")
    digest = _single_value(values, _OID_MESSAGE_DIGEST, der.OCTET_STRING, "message-digest")
    return der.object_identifier(content_type), digest.content


def _single_value(
    values: dict[str, list[der.Element]], oid: str, tag: int, name: str
) -> der.Element:
    found = values.get(oid)
    if found is None:
        raise MalformedError(f"SignerInfo has no {name} among its signed attributes")
    if len(found) != 1 or found[0].tag != tag:
        raise MalformedError(f"SignerInfo has a {name} that is not exactly one value of its type")
    return found[0]
