# SPDX-License-Identifier: Apache-2.0
"""Stapled revocation objects as values: CRLs (RFC 5280, 5) and OCSP responses (RFC 6960, 4.2).

Structure only; whether one is current, complete and signed by whom it should be is judged in
`trust`.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from xpu_agent import limits
from xpu_agent.artifacts import der
from xpu_agent.artifacts.certificate import (
    AlgorithmIdentifier,
    Certificate,
    Extension,
    read_algorithm,
    read_authority_key_identifier,
    read_certificate,
    read_extensions,
    read_name,
)
from xpu_agent.errors import MalformedError


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


_OID_CRL_NUMBER: Final = "2.5.29.20"
_OID_REASON_CODE: Final = "2.5.29.21"
_OID_INVALIDITY_DATE: Final = "2.5.29.24"
_OID_DELTA_CRL_INDICATOR: Final = "2.5.29.27"
_OID_ISSUING_DISTRIBUTION_POINT: Final = "2.5.29.28"
_OID_CERTIFICATE_ISSUER: Final = "2.5.29.29"
_OID_AUTHORITY_KEY_IDENTIFIER: Final = "2.5.29.35"
_OID_BASIC_OCSP_RESPONSE: Final = "1.3.6.1.5.5.7.48.1.1"

# Understood here, in the sense that the value says so by a field of its own.
_CRL_EXTENSIONS: Final = {
    _OID_CRL_NUMBER,
    _OID_DELTA_CRL_INDICATOR,
    _OID_ISSUING_DISTRIBUTION_POINT,
    _OID_AUTHORITY_KEY_IDENTIFIER,
}
_ENTRY_EXTENSIONS: Final = {_OID_REASON_CODE, _OID_INVALIDITY_DATE}

# CRLReason by number (RFC 5280, 5.3.1); 7 is not used.
_REASONS: Final = {
    0: "unspecified",
    1: "key_compromise",
    2: "ca_compromise",
    3: "affiliation_changed",
    4: "superseded",
    5: "cessation_of_operation",
    6: "certificate_hold",
    8: "remove_from_crl",
    9: "privilege_withdrawn",
    10: "aa_compromise",
}
_CERTIFICATE_STATUS: Final = {
    der.context(0, constructed=False): "good",
    der.context(1): "revoked",
    der.context(2, constructed=False): "unknown",
}
_OCSP_RESPONSES: Final = 64  # single responses in one OCSP response


def read_crl(element: der.Element) -> CertificateList:
    """Read a CertificateList out of a structure that was checked to be DER.

    Raises:
        MalformedError: not a CRL, inner and outer signature algorithm differ, or a bound
            exceeded.
    """
    outer = der.Fields(element, der.SEQUENCE, "CRL")
    tbs = outer.take(der.SEQUENCE, "tbsCertList")
    signature_algorithm = outer.take(der.SEQUENCE, "signatureAlgorithm")
    signature = outer.take(der.BIT_STRING, "signature")
    outer.end()

    fields = der.Fields(tbs, der.SEQUENCE, "CRL")
    version = fields.take_if(der.INTEGER)
    if version is not None and version.content != b"\x01":
        raise MalformedError("CRL has an unknown version")
    if fields.take(der.SEQUENCE, "signature algorithm").der != signature_algorithm.der:
        raise MalformedError("CRL names two different signature algorithms")
    issuer = fields.take(der.SEQUENCE, "issuer")
    read_name(issuer, "CRL issuer")
    this_update = der.time(fields.take_any("thisUpdate"), "CRL thisUpdate")
    next_update = None
    if fields.peek() in {der.UTC_TIME, der.GENERALIZED_TIME}:
        next_update = der.time(fields.take_any("nextUpdate"), "CRL nextUpdate")
    critical: set[str] = set()
    revoked: tuple[RevokedCertificate, ...] = ()
    if (entries := fields.take_if(der.SEQUENCE)) is not None:
        revoked = tuple(
            _revoked_certificate(entry, critical)
            for entry in der.elements(entries, der.SEQUENCE, "CRL", most=limits.REVOKED_ENTRIES)
        )
    extensions: tuple[Extension, ...] = ()
    if (tagged := fields.take_if(der.context(0))) is not None:
        extensions = read_extensions(der.explicit(tagged, "CRL extensions"), "CRL")
    fields.end()
    if version is None and (extensions or critical):
        raise MalformedError("CRL of version 1 has extensions")

    values = {extension.oid: extension for extension in extensions}
    critical |= {e.oid for e in extensions if e.critical and e.oid not in _CRL_EXTENSIONS}
    authority = values.get(_OID_AUTHORITY_KEY_IDENTIFIER)
    distribution = values.get(_OID_ISSUING_DISTRIBUTION_POINT)
    return CertificateList(
        der=element.der,
        tbs=tbs.der,
        signature_algorithm=read_algorithm(signature_algorithm, "CRL signature algorithm"),
        signature=der.bit_string_octets(signature, "CRL signature"),
        issuer=issuer.der,
        this_update=this_update,
        next_update=next_update,
        revoked=revoked,
        critical_extensions=tuple(sorted(critical)),
        authority_key_identifier=(
            None if authority is None else read_authority_key_identifier(authority.value)
        ),
        is_delta=_OID_DELTA_CRL_INDICATOR in values,
        is_indirect=distribution is not None and _is_indirect(distribution.value),
        issuing_distribution_point=distribution is not None,
    )


def _revoked_certificate(element: der.Element, critical: set[str]) -> RevokedCertificate:
    fields = der.Fields(element, der.SEQUENCE, "CRL entry")
    serial_number = der.integer(fields.take(der.INTEGER, "userCertificate"), "CRL entry")
    revocation_date = der.time(fields.take_any("revocationDate"), "CRL entry")
    reason = None
    if (entries := fields.take_if(der.SEQUENCE)) is not None:
        for extension in read_extensions(entries, "CRL entry"):
            if extension.oid == _OID_REASON_CODE:
                reason = _reason(extension.value)
            elif extension.critical and extension.oid not in _ENTRY_EXTENSIONS:
                # certificateIssuer is one of them: the entry is another issuer's certificate.
                critical.add(extension.oid)
    fields.end()
    return RevokedCertificate(serial_number, revocation_date, reason)


def _reason(value: bytes) -> str:
    element = der.parse_der(value, "CRL reason code")
    reason = _REASONS.get(der.integer(element, "CRL reason code"))
    if element.tag != der.ENUMERATED or reason is None:
        raise MalformedError("CRL entry has an unknown reason code")
    return reason


def _is_indirect(value: bytes) -> bool:
    where = "issuingDistributionPoint"
    fields = der.Fields(der.parse_der(value, where), der.SEQUENCE, where)
    return any(
        field.tag == der.context(4, constructed=False) and field.content != b"\x00"
        for field in fields.rest()
    )


def read_ocsp_response(element: der.Element) -> OcspResponse | None:
    """Read an OCSPResponse; None for one that is no answer (an error, or not of basic type).

    Raises:
        MalformedError: not an OCSP response, or a bound exceeded.
    """
    where = "OCSP response"
    outer = der.Fields(element, der.SEQUENCE, where)
    status = outer.take(der.ENUMERATED, "responseStatus")
    tagged = outer.take_if(der.context(0))
    outer.end()
    if der.integer(status, where) != 0 or tagged is None:
        return None
    envelope = der.Fields(der.explicit(tagged, where), der.SEQUENCE, where)
    kind = der.object_identifier(envelope.take(der.OBJECT_IDENTIFIER, "responseType"))
    octets = envelope.take(der.OCTET_STRING, "response").content
    envelope.end()
    if kind != _OID_BASIC_OCSP_RESPONSE:
        return None
    return _basic_ocsp_response(octets)


def _basic_ocsp_response(octets: bytes) -> OcspResponse:
    where = "OCSP response"
    basic = der.Fields(der.parse_der(octets, where), der.SEQUENCE, where)
    tbs = basic.take(der.SEQUENCE, "tbsResponseData")
    algorithm = basic.take(der.SEQUENCE, "signatureAlgorithm")
    signature = basic.take(der.BIT_STRING, "signature")
    certificates: tuple[Certificate, ...] = ()
    if (tagged := basic.take_if(der.context(0))) is not None:
        certificates = tuple(
            read_certificate(entry)
            for entry in der.elements(
                der.explicit(tagged, where), der.SEQUENCE, where, most=limits.CERTIFICATES
            )
        )
    basic.end()

    fields = der.Fields(tbs, der.SEQUENCE, where)
    version = fields.take_if(der.context(0))
    if version is not None and der.explicit(version, where).content != b"\x00":
        raise MalformedError("OCSP response has an unknown version")
    responder_name, responder_key_hash = _responder(fields.take_any("responderID"))
    produced_at = der.time(fields.take_any("producedAt"), "OCSP producedAt")
    critical: set[str] = set()
    responses = tuple(
        _single_response(entry, critical)
        for entry in der.elements(
            fields.take(der.SEQUENCE, "responses"), der.SEQUENCE, where, most=_OCSP_RESPONSES
        )
    )
    if (tagged := fields.take_if(der.context(1))) is not None:
        extensions = read_extensions(der.explicit(tagged, where), where)
        critical |= {extension.oid for extension in extensions if extension.critical}
    fields.end()
    return OcspResponse(
        der=octets,
        tbs=tbs.der,
        signature_algorithm=read_algorithm(algorithm, "OCSP signature algorithm"),
        signature=der.bit_string_octets(signature, "OCSP signature"),
        responder_name=responder_name,
        responder_key_hash=responder_key_hash,
        produced_at=produced_at,
        responses=responses,
        certificates=certificates,
        critical_extensions=tuple(sorted(critical)),
    )


def _responder(element: der.Element) -> tuple[bytes | None, bytes | None]:
    inner = der.explicit(element, "OCSP responderID") if element.tag & 0x20 else element
    if element.tag == der.context(1):
        read_name(inner, "OCSP responder")
        return inner.der, None
    if element.tag == der.context(2) and inner.tag == der.OCTET_STRING:
        return None, inner.content
    raise MalformedError("OCSP response does not name its responder")


def _single_response(element: der.Element, critical: set[str]) -> OcspSingleResponse:
    where = "OCSP single response"
    fields = der.Fields(element, der.SEQUENCE, where)
    identifier = der.Fields(fields.take(der.SEQUENCE, "certID"), der.SEQUENCE, "OCSP certID")
    hash_algorithm = read_algorithm(identifier.take(der.SEQUENCE, "hashAlgorithm"), where)
    issuer_name_hash = identifier.take(der.OCTET_STRING, "issuerNameHash").content
    issuer_key_hash = identifier.take(der.OCTET_STRING, "issuerKeyHash").content
    serial_number = der.integer(identifier.take(der.INTEGER, "serialNumber"), where)
    identifier.end()
    status = _CERTIFICATE_STATUS.get(fields.take_any("certStatus").tag)
    if status is None:
        raise MalformedError(f"{where} has an unknown status")
    this_update = der.time(fields.take_any("thisUpdate"), "OCSP thisUpdate")
    next_update = None
    if (tagged := fields.take_if(der.context(0))) is not None:
        next_update = der.time(der.explicit(tagged, where), "OCSP nextUpdate")
    if (tagged := fields.take_if(der.context(1))) is not None:
        extensions = read_extensions(der.explicit(tagged, where), where)
        critical |= {extension.oid for extension in extensions if extension.critical}
    fields.end()
    return OcspSingleResponse(
        hash_algorithm.oid,
        issuer_name_hash,
        issuer_key_hash,
        serial_number,
        status,
        this_update,
        next_update,
    )
