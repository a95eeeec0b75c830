# SPDX-License-Identifier: Apache-2.0
"""X.509 certificates as values: everything parsed at once, nothing believed (RFC 5280, 4).

Structure only. A `Certificate` says what the octets say; `trust.path` decides what they are
worth. The octets are first checked to be DER, then every field this agent looks at is read here,
once, where a fault is still `malformed`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeVar

from xpu_agent import limits
from xpu_agent.artifacts import der
from xpu_agent.errors import MalformedError, Reason


@dataclass(frozen=True, slots=True)
class AlgorithmIdentifier:
    """RFC 5280, 4.1.1.2: dotted OID and the DER of the parameters, None where absent."""

    oid: str
    parameters: bytes | None


@dataclass(frozen=True, slots=True)
class Extension:
    """One extension as it stands: dotted OID, criticality, the octets inside `extnValue`."""

    oid: str
    critical: bool
    value: bytes


@dataclass(frozen=True, slots=True)
class BasicConstraints:
    """RFC 5280, 4.2.1.9."""

    is_ca: bool
    path_length: int | None


@dataclass(frozen=True, slots=True)
class GeneralName:
    """One name of a name constraint or subjectAltName.

    `kind` is asn1crypto's name of the choice (`dns_name`, `directory_name`, `ip_address`,
    `rfc822_name`, `uniform_resource_identifier`, ...), `value` the DER content octets; for
    `directory_name` the DER of the whole Name.
    """

    kind: str
    value: bytes


@dataclass(frozen=True, slots=True)
class NameConstraints:
    """RFC 5280, 4.2.1.10; `minimum` other than 0 and any `maximum` are malformed."""

    permitted: tuple[GeneralName, ...]
    excluded: tuple[GeneralName, ...]


@dataclass(frozen=True, slots=True)
class Certificate:
    """An X.509 certificate, parsed and unverified.

    Names are DER of the whole Name, `public_key` the DER SubjectPublicKeyInfo. `key_usage` is
    the set of RFC 5280 bit names in snake case (`digital_signature`, `key_cert_sign`,
    `crl_sign`, ...) or None where the extension is absent. Times are timezone-aware UTC.
    """

    der: bytes
    tbs: bytes
    signature_algorithm: AlgorithmIdentifier
    signature: bytes
    version: int  # 1, 2 or 3
    serial_number: int
    issuer: bytes
    subject: bytes
    subject_text: str  # for people: printable ASCII, bounded
    not_before: datetime
    not_after: datetime
    public_key: bytes
    extensions: tuple[Extension, ...]
    basic_constraints: BasicConstraints | None
    key_usage: frozenset[str] | None
    extended_key_usage: frozenset[str] | None  # dotted OIDs
    subject_key_identifier: bytes | None
    authority_key_identifier: bytes | None  # keyIdentifier alone
    authority_key_identifier_extension: bytes | None  # the whole extension value (AMB-07)
    name_constraints: NameConstraints | None
    subject_alternative_names: tuple[GeneralName, ...]
    subject_serial_number: str | None  # X.520 serialNumber of the subject (2.5.4.5)

    @property
    def self_issued(self) -> bool:
        """Subject and issuer are the same name; says nothing about who signed."""
        return self.subject == self.issuer


def parse_certificate(octets: bytes) -> Certificate:
    """Read one DER certificate.

    Raises:
        MalformedError: not DER, trailing bytes, not a certificate, inner and outer signature
            algorithm differ, an extension twice, or a bound exceeded.
    """
    return read_certificate(der.parse_der(octets, "certificate"))


def read_certificate(element: der.Element) -> Certificate:
    """Read a certificate out of a larger structure that was checked to be DER."""
    outer = der.Fields(element, der.SEQUENCE, "certificate")
    tbs = outer.take(der.SEQUENCE, "tbsCertificate")
    signature_algorithm = outer.take(der.SEQUENCE, "signatureAlgorithm")
    signature = outer.take(der.BIT_STRING, "signature")
    outer.end()

    fields = der.Fields(tbs, der.SEQUENCE, "certificate")
    version = 1
    if (tagged := fields.take_if(der.context(0))) is not None:
        number = der.explicit(tagged, "certificate version")
        if number.tag != der.INTEGER or number.content not in {b"\x00", b"\x01", b"\x02"}:
            raise MalformedError("certificate has an unknown version")
        version = number.content[0] + 1
    serial_number = fields.take(der.INTEGER, "serialNumber")
    inner_algorithm = fields.take(der.SEQUENCE, "signature algorithm")
    if inner_algorithm.der != signature_algorithm.der:
        # RFC 5280, 4.1.1.2: what is signed has to say how it is signed.
        raise MalformedError("certificate names two different signature algorithms")
    issuer = fields.take(der.SEQUENCE, "issuer")
    read_name(issuer, "certificate issuer")
    validity = der.Fields(fields.take(der.SEQUENCE, "validity"), der.SEQUENCE, "validity")
    not_before = der.time(validity.take_any("notBefore"), "certificate notBefore")
    not_after = der.time(validity.take_any("notAfter"), "certificate notAfter")
    validity.end()
    subject = fields.take(der.SEQUENCE, "subject")
    attributes = read_name(subject, "certificate subject")
    public_key = fields.take(der.SEQUENCE, "subjectPublicKeyInfo")
    _check_public_key(public_key)
    for unique_id in (1, 2):
        fields.take_if(der.context(unique_id, constructed=False))
    extensions: tuple[Extension, ...] = ()
    if (tagged := fields.take_if(der.context(3))) is not None:
        if version != 3:
            raise MalformedError(f"certificate of version {version} has extensions")
        extensions = read_extensions(der.explicit(tagged, "certificate extensions"), "certificate")
    fields.end()

    values = {extension.oid: extension.value for extension in extensions}
    authority = values.get(_OID_AUTHORITY_KEY_IDENTIFIER)
    return Certificate(
        der=element.der,
        tbs=tbs.der,
        signature_algorithm=read_algorithm(signature_algorithm, "certificate signature algorithm"),
        signature=der.bit_string_octets(signature, "certificate signature"),
        version=version,
        serial_number=der.integer(serial_number, "certificate serial number"),
        issuer=issuer.der,
        subject=subject.der,
        subject_text=_name_text(attributes),
        not_before=not_before,
        not_after=not_after,
        public_key=public_key.der,
        extensions=extensions,
        basic_constraints=_optional(values, _OID_BASIC_CONSTRAINTS, _basic_constraints),
        key_usage=_optional(values, _OID_KEY_USAGE, _key_usage),
        extended_key_usage=_optional(values, _OID_EXTENDED_KEY_USAGE, _extended_key_usage),
        subject_key_identifier=_optional(
            values, _OID_SUBJECT_KEY_IDENTIFIER, _subject_key_identifier
        ),
        authority_key_identifier=_optional(
            values, _OID_AUTHORITY_KEY_IDENTIFIER, read_authority_key_identifier
        ),
        authority_key_identifier_extension=authority,
        name_constraints=_optional(values, _OID_NAME_CONSTRAINTS, _name_constraints),
        subject_alternative_names=_optional(values, _OID_SUBJECT_ALT_NAME, _alternative_names)
        or (),
        subject_serial_number=_single_attribute(attributes, _OID_SERIAL_NUMBER),
    )


# --- parts shared with CMS and revocation objects ---------------------------------------------


def read_algorithm(element: der.Element, where: str) -> AlgorithmIdentifier:
    """Read an AlgorithmIdentifier; `where` names it in errors."""
    fields = der.Fields(element, der.SEQUENCE, where)
    oid = der.object_identifier(fields.take(der.OBJECT_IDENTIFIER, "algorithm"))
    parameters = fields.take_any("parameters").der if fields.peek() is not None else None
    fields.end()
    return AlgorithmIdentifier(oid, parameters)


def read_name(element: der.Element, where: str) -> list[tuple[str, der.Element]]:
    """Read a Name: its attributes in order, by dotted OID."""
    attributes = []
    for rdn in der.elements(element, der.SEQUENCE, where, most=_NAME_PARTS):
        pairs = der.elements(rdn, der.SET, where, most=_NAME_PARTS)
        if not pairs:
            raise MalformedError(f"{where} has an empty relative distinguished name")
        for pair in pairs:
            fields = der.Fields(pair, der.SEQUENCE, where)
            oid = der.object_identifier(fields.take(der.OBJECT_IDENTIFIER, "attribute type"))
            attributes.append((oid, fields.take_any("attribute value")))
            fields.end()
    return attributes


def read_extensions(element: der.Element, where: str) -> tuple[Extension, ...]:
    """Read Extensions: at least one, none of them twice (RFC 5280, 4.2)."""
    found: dict[str, Extension] = {}
    name = f"{where} extension"
    for entry in der.elements(element, der.SEQUENCE, f"{where} extensions", most=limits.EXTENSIONS):
        fields = der.Fields(entry, der.SEQUENCE, name)
        oid = der.object_identifier(fields.take(der.OBJECT_IDENTIFIER, "extnID"))
        flag = fields.take_if(der.BOOLEAN)
        critical = flag is not None and flag.content == b"\xff"
        value = fields.take(der.OCTET_STRING, "extnValue").content
        fields.end()
        if oid in found:
            raise MalformedError(f"{where} has the extension {oid} twice")
        found[oid] = Extension(oid, critical, value)
    if not found:
        raise MalformedError(f"{where} has a list of extensions without any")
    return tuple(found.values())


def read_authority_key_identifier(value: bytes) -> bytes | None:
    """The keyIdentifier of an authorityKeyIdentifier extension, None where it has none."""
    where = "authorityKeyIdentifier"
    fields = der.Fields(der.parse_der(value, where), der.SEQUENCE, where)
    identifier = fields.take_if(der.context(0, constructed=False))
    fields.take_if(der.context(1))
    fields.take_if(der.context(2, constructed=False))
    fields.end()
    return None if identifier is None else identifier.content


# --- helpers ----------------------------------------------------------------------------------

_OID_SUBJECT_KEY_IDENTIFIER: Final = "2.5.29.14"
_OID_KEY_USAGE: Final = "2.5.29.15"
_OID_SUBJECT_ALT_NAME: Final = "2.5.29.17"
_OID_BASIC_CONSTRAINTS: Final = "2.5.29.19"
_OID_NAME_CONSTRAINTS: Final = "2.5.29.30"
_OID_AUTHORITY_KEY_IDENTIFIER: Final = "2.5.29.35"
_OID_EXTENDED_KEY_USAGE: Final = "2.5.29.37"
_OID_SERIAL_NUMBER: Final = "2.5.4.5"

_T = TypeVar("_T")

_NAME_PARTS: Final = 32  # relative distinguished names of one Name, attributes of one of them
_GENERAL_NAMES: Final = 256  # of one subjectAltName; content networks fill a hundred and more
_PURPOSES: Final = 64
_SUBJECT_TEXT_CHARS: Final = 256

_KEY_USAGE_BITS: Final = (
    "digital_signature",
    "non_repudiation",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)

# GeneralName by identifier octet (RFC 5280, 4.2.1.6).
_GENERAL_NAME_KINDS: Final = {
    der.context(0): "other_name",
    der.context(1, constructed=False): "rfc822_name",
    der.context(2, constructed=False): "dns_name",
    der.context(3): "x400_address",
    der.context(4): "directory_name",
    der.context(5): "edi_party_name",
    der.context(6, constructed=False): "uniform_resource_identifier",
    der.context(7, constructed=False): "ip_address",
    der.context(8, constructed=False): "registered_id",
}

_ASCII_KINDS: Final = {"rfc822_name", "dns_name", "uniform_resource_identifier"}

# What stands for an attribute type in text; others show as their OID.
_ATTRIBUTE_NAMES: Final = {
    "2.5.4.3": "CN",
    "2.5.4.5": "serialNumber",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
}


def _optional(values: dict[str, bytes], oid: str, read: Callable[[bytes], _T]) -> _T | None:
    value = values.get(oid)
    return None if value is None else read(value)


def _check_public_key(element: der.Element) -> None:
    fields = der.Fields(element, der.SEQUENCE, "subjectPublicKeyInfo")
    read_algorithm(fields.take(der.SEQUENCE, "algorithm"), "public key algorithm")
    der.bit_string_octets(fields.take(der.BIT_STRING, "subjectPublicKey"), "public key")
    fields.end()


def _basic_constraints(value: bytes) -> BasicConstraints:
    where = "basicConstraints"
    fields = der.Fields(der.parse_der(value, where), der.SEQUENCE, where)
    flag = fields.take_if(der.BOOLEAN)
    is_ca = flag is not None and flag.content == b"\xff"
    path_length = None
    if (length := fields.take_if(der.INTEGER)) is not None:
        path_length = der.integer(length, "pathLenConstraint")
        if path_length < 0:
            raise MalformedError("basicConstraints has a negative pathLenConstraint")
    fields.end()
    return BasicConstraints(is_ca, path_length)


def _key_usage(value: bytes) -> frozenset[str]:
    element = der.parse_der(value, "keyUsage")
    if element.tag != der.BIT_STRING or len(element.content) > 3:
        raise MalformedError("keyUsage is not a short BIT STRING")
    bits = "".join(f"{octet:08b}" for octet in element.content[1:])
    return frozenset(name for name, bit in zip(_KEY_USAGE_BITS, bits, strict=False) if bit == "1")


def _extended_key_usage(value: bytes) -> frozenset[str]:
    where = "extendedKeyUsage"
    purposes = der.elements(der.parse_der(value, where), der.SEQUENCE, where, most=_PURPOSES)
    if not purposes or any(purpose.tag != der.OBJECT_IDENTIFIER for purpose in purposes):
        raise MalformedError("extendedKeyUsage is not a list of purposes")
    return frozenset(der.object_identifier(purpose) for purpose in purposes)


def _subject_key_identifier(value: bytes) -> bytes:
    element = der.parse_der(value, "subjectKeyIdentifier")
    if element.tag != der.OCTET_STRING:
        raise MalformedError("subjectKeyIdentifier is not an OCTET STRING")
    return element.content


def _name_constraints(value: bytes) -> NameConstraints:
    where = "nameConstraints"
    fields = der.Fields(der.parse_der(value, where), der.SEQUENCE, where)
    subtrees = [_subtrees(fields.take_if(der.context(number)), where) for number in (0, 1)]
    fields.end()
    if not any(subtrees):
        raise MalformedError("nameConstraints has no subtree")
    if sum(map(len, subtrees)) > limits.NAME_CONSTRAINTS:
        raise MalformedError(
            f"nameConstraints has more than {limits.NAME_CONSTRAINTS} subtrees",
            reason=Reason.TOO_LARGE,
        )
    return NameConstraints(permitted=subtrees[0], excluded=subtrees[1])


def _subtrees(element: der.Element | None, where: str) -> tuple[GeneralName, ...]:
    if element is None:
        return ()
    names = []
    for entry in element.children():
        fields = der.Fields(entry, der.SEQUENCE, where)
        names.append(_general_name(fields.take_any("base"), where, address_octets=(8, 32)))
        minimum = fields.take_if(der.context(0, constructed=False))
        if minimum is not None and minimum.content != b"\x00":
            raise MalformedError("nameConstraints has a minimum other than 0")
        # Also refuses a maximum (RFC 5280, 4.2.1.10).
        fields.end()
    if not names:
        raise MalformedError("nameConstraints has an empty list of subtrees")
    return tuple(names)


def _alternative_names(value: bytes) -> tuple[GeneralName, ...]:
    where = "subjectAltName"
    entries = der.elements(der.parse_der(value, where), der.SEQUENCE, where, most=_GENERAL_NAMES)
    if not entries:
        raise MalformedError("subjectAltName is empty")
    return tuple(_general_name(entry, where, address_octets=(4, 16)) for entry in entries)


def _general_name(
    element: der.Element, where: str, *, address_octets: tuple[int, int]
) -> GeneralName:
    kind = _GENERAL_NAME_KINDS.get(element.tag)
    if kind is None:
        raise MalformedError(f"{where} has a name of an unknown kind")
    value = element.content
    if kind == "directory_name":
        name = der.explicit(element, where)
        read_name(name, where)
        value = name.der
    elif kind == "ip_address":
        if len(value) not in address_octets:
            raise MalformedError(f"{where} has an address of {len(value)} octets")
    elif kind in _ASCII_KINDS and not value.isascii():
        raise MalformedError(f"{where} has a name that is not ASCII")
    return GeneralName(kind, value)


def _single_attribute(attributes: list[tuple[str, der.Element]], wanted: str) -> str | None:
    """The text of an attribute; None where it is missing, not text, or there more than once."""
    values = [value for oid, value in attributes if oid == wanted]
    return der.text(values[0]) if len(values) == 1 else None


def _name_text(attributes: list[tuple[str, der.Element]]) -> str:
    parts = []
    for oid, value in attributes:
        shown = der.text(value)
        if shown is None:
            shown = "#" + value.content[:32].hex()
        parts.append(f"{_ATTRIBUTE_NAMES.get(oid, oid)}={shown[:_SUBJECT_TEXT_CHARS]}")
    whole = ", ".join(parts)
    escaped = "".join(
        char if " " <= char <= "~" and char != "\\" else f"\\u{{{ord(char):x}}}"
        for char in whole[:_SUBJECT_TEXT_CHARS]
    )
    return escaped[:_SUBJECT_TEXT_CHARS]
