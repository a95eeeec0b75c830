# SPDX-License-Identifier: Apache-2.0
"""X.509 certificates as values: everything parsed at once, nothing believed (RFC 5280, 4).

Structure only. A `Certificate` says what the octets say; `trust.path` decides what they are
worth. asn1crypto parses lazily and leniently, so the octets are first checked to be DER and
every field this agent looks at is read here, once, where a fault is still `malformed`.
"""

from dataclasses import dataclass
from datetime import datetime


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


def parse_certificate(der: bytes) -> Certificate:
    """Read one DER certificate.

    Raises:
        MalformedError: not DER, trailing bytes, not a certificate, inner and outer signature
            algorithm differ, an extension twice, or a bound exceeded.
    """
    raise NotImplementedError
