# SPDX-License-Identifier: Apache-2.0
"""Certificates with their keys and issuers (RFC 5280, 4; IEEE 802.1AR for IDevIDs).

The TBSCertificate is put together field by field, so that every field can also be left out or
be wrong. The defaults make certificates any verifier accepts.
"""

import ipaddress
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias, cast

from asn1crypto import core
from asn1crypto import keys as asn1_keys
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from xpu_emulator.keys import (
    KeyKind,
    PrivateKey,
    PublicKey,
    key_identifier,
    new_key,
    sign_octets,
    signature_algorithm,
    spki,
)

NO_EXPIRY: Final = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
"""What IEEE 802.1AR asks of an IDevID that doesn't expire (RFC 5280, 4.1.2.5)."""

CertificateExtension: TypeAlias = x509.Extension[x509.ExtensionType]


class _Sensible:
    """Marks "a sensible default" where None means "absent"."""


SENSIBLE: Final = _Sensible()
_PRINTABLE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 '()+,-./:=?")
_VALIDITY = timedelta(days=3650)
_BACKDATED = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate, its private key, and who issued it (None: self-signed)."""

    certificate: x509.Certificate
    key: PrivateKey
    issuer: "Identity | None" = None

    @property
    def der(self) -> bytes:
        """The certificate in DER."""
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pem(self) -> bytes:
        """The certificate in PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """The private key in PEM, PKCS#8, unencrypted."""
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    @property
    def chain(self) -> "tuple[Identity, ...]":
        """This identity, then its issuers up to and with the root."""
        return (self, *self.issuer.chain) if self.issuer else (self,)

    @property
    def root(self) -> "Identity":
        """The last of the chain."""
        return self.chain[-1]

    @property
    def chain_pem(self) -> bytes:
        """This certificate and its issuers without the root: what a TLS server presents."""
        return b"".join(each.pem for each in self.chain if each.issuer or each is self)

    @property
    def serial_number(self) -> int:
        """The certificate's serial number."""
        return self.certificate.serial_number

    @property
    def ski(self) -> bytes:
        """The subjectKeyIdentifier, calculated where the certificate has none."""
        return _subject_key_identifier(self)

    def issue(
        self,
        common_name: str,
        *,
        key: KeyKind | PrivateKey = KeyKind.P256,
        ca: bool = False,
        path_length: int | None = None,
        subject_serial: str | None = None,
        dns_names: Sequence[str] = (),
        ip_addresses: Sequence[str] = (),
        key_usage: Iterable[str] | _Sensible | None = SENSIBLE,
        extended_key_usage: Iterable[str] = (),
        not_before: datetime | None = None,
        not_after: datetime | None = None,
        hash_name: str = "sha256",
        pss: bool = False,
        serial: int | None = None,
        name_constraints: x509.NameConstraints | None = None,
        empty_subject: bool = False,
        extensions: Iterable[CertificateExtension] = (),
        without_ski: bool = False,
        without_aki: bool = False,
    ) -> "Identity":
        """Issue a certificate for a new or an existing key.

        Key usages are RFC 5280's bit names in snake case (`digital_signature`), extended ones
        names such as `server_auth` or dotted OIDs. `extensions` are added as they are, also a
        second time. Hash and padding are those of this issuer's signature.
        """
        private_key = new_key(key) if isinstance(key, KeyKind) else key
        der = self.certify(
            private_key.public_key(),
            common_name,
            ca=ca,
            path_length=path_length,
            subject_serial=subject_serial,
            dns_names=dns_names,
            ip_addresses=ip_addresses,
            key_usage=key_usage,
            extended_key_usage=extended_key_usage,
            not_before=not_before,
            not_after=not_after,
            hash_name=hash_name,
            pss=pss,
            serial=serial,
            name_constraints=name_constraints,
            empty_subject=empty_subject,
            extensions=extensions,
            without_ski=without_ski,
            without_aki=without_aki,
        )
        return Identity(x509.load_der_x509_certificate(der), private_key, self)

    def certify(
        self,
        public_key: PublicKey,
        common_name: str,
        *,
        ca: bool = False,
        path_length: int | None = None,
        subject_serial: str | None = None,
        dns_names: Sequence[str] = (),
        ip_addresses: Sequence[str] = (),
        key_usage: Iterable[str] | _Sensible | None = SENSIBLE,
        extended_key_usage: Iterable[str] = (),
        not_before: datetime | None = None,
        not_after: datetime | None = None,
        hash_name: str = "sha256",
        pss: bool = False,
        serial: int | None = None,
        name_constraints: x509.NameConstraints | None = None,
        empty_subject: bool = False,
        extensions: Iterable[CertificateExtension] = (),
        without_ski: bool = False,
        without_aki: bool = False,
    ) -> bytes:
        """As `issue`, for a public key whose private half is elsewhere; the DER certificate."""
        start, end = _validity(not_before, not_after)
        own = _extensions(
            public_key,
            ca=ca,
            path_length=path_length,
            dns_names=dns_names,
            ip_addresses=ip_addresses,
            key_usage=key_usage,
            extended_key_usage=extended_key_usage,
            name_constraints=name_constraints,
            without_ski=without_ski,
            authority=None if without_aki else _subject_key_identifier(self),
            san_critical=empty_subject,
        )
        return _certificate(
            subject=distinguished_name()
            if empty_subject
            else distinguished_name(common_name, subject_serial),
            issuer=asn1_x509.Certificate.load(self.der).subject,
            public_key=public_key,
            signing_key=self.key,
            not_before=start,
            not_after=end,
            serial=serial,
            extensions=own + _given(extensions),
            hash_name=hash_name,
            pss=pss,
        )


def make_root(
    common_name: str,
    *,
    key: KeyKind | PrivateKey = KeyKind.P256,
    not_before: datetime | None = None,
    not_after: datetime | None = None,
    path_length: int | None = None,
    hash_name: str = "sha256",
    pss: bool = False,
    extensions: Iterable[CertificateExtension] = (),
) -> Identity:
    """A self-signed certificate authority."""
    private_key = new_key(key) if isinstance(key, KeyKind) else key
    public_key = private_key.public_key()
    start, end = _validity(not_before, not_after)
    subject = distinguished_name(common_name)
    own = _extensions(
        public_key, ca=True, path_length=path_length, authority=key_identifier(public_key)
    )
    der = _certificate(
        subject=subject,
        issuer=subject,
        public_key=public_key,
        signing_key=private_key,
        not_before=start,
        not_after=end,
        serial=None,
        extensions=own + _given(extensions),
        hash_name=hash_name,
        pss=pss,
    )
    return Identity(x509.load_der_x509_certificate(der), private_key)


def identity_from_pem(certificate: bytes, key: bytes, issuer: Identity | None) -> Identity:
    """Put together what was stored; `certificate` may be a chain, its first one counts.

    Raises:
        ValueError: not PEM, or the key isn't the certificate's.
    """
    loaded = x509.load_pem_x509_certificate(certificate)
    private_key = cast("PrivateKey", serialization.load_pem_private_key(key, password=None))
    if spki(private_key.public_key()) != spki(cast("PublicKey", loaded.public_key())):
        raise ValueError("certificate and private key do not belong together")
    return Identity(loaded, private_key, issuer)


def distinguished_name(
    common_name: str | None = None, serial_number: str | None = None
) -> asn1_x509.Name:
    """A Name with these attributes, each an RDN of its own, as IEEE 802.1AR devices have it."""
    attributes = [("common_name", common_name), ("serial_number", serial_number)]
    rdns = [
        asn1_x509.RelativeDistinguishedName(
            [asn1_x509.NameTypeAndValue({"type": kind, "value": _directory_string(kind, text)})]
        )
        for kind, text in attributes
        if text is not None
    ]
    return asn1_x509.Name(name="", value=asn1_x509.RDNSequence(rdns))


def asn1_time(moment: datetime) -> asn1_x509.Time:
    """UTCTime through 2049, GeneralizedTime from 2050 (RFC 5280, 4.1.2.5)."""
    name = "utc_time" if 1950 <= moment.year < 2050 else "general_time"
    return asn1_x509.Time(name=name, value=moment.astimezone(UTC).replace(microsecond=0))


def _directory_string(kind: str, text: str) -> asn1_x509.DirectoryString:
    # X.520's serialNumber is a PrintableString; one with other characters can't be.
    printable = kind == "serial_number" and set(text) <= _PRINTABLE
    return asn1_x509.DirectoryString(
        name="printable_string" if printable else "utf8_string", value=text
    )


def _subject_key_identifier(identity: Identity) -> bytes:
    found = asn1_x509.Certificate.load(identity.der).key_identifier
    return key_identifier(identity.key.public_key()) if found is None else bytes(found)


def _validity(start: datetime | None, end: datetime | None) -> tuple[datetime, datetime]:
    if start is None:
        start = datetime.now(UTC).replace(microsecond=0) - _BACKDATED
        if end is not None and end <= start:
            start = end - _BACKDATED
    return start, end or start + _VALIDITY


def _default_key_usage(public_key: PublicKey, *, ca: bool) -> set[str]:
    if ca:
        return {"key_cert_sign", "crl_sign"}
    kind = str(asn1_keys.PublicKeyInfo.load(spki(public_key)).algorithm)
    # The second usage lets others encrypt for this certificate (RFC 8572, 3.4).
    more = {"rsa": {"key_encipherment"}, "ec": {"key_agreement"}}
    return {"digital_signature"} | more.get(kind, set())


def _extension(kind: str, *, critical: bool, value: object) -> asn1_x509.Extension:
    return asn1_x509.Extension({"extn_id": kind, "critical": critical, "extn_value": value})


def _given(extensions: Iterable[CertificateExtension]) -> list[asn1_x509.Extension]:
    return [
        asn1_x509.Extension(
            {
                "extn_id": extension.oid.dotted_string,
                "critical": extension.critical,
                "extn_value": core.ParsableOctetString(extension.value.public_bytes()),
            }
        )
        for extension in extensions
    ]


def _extensions(
    public_key: PublicKey,
    *,
    ca: bool,
    path_length: int | None = None,
    dns_names: Sequence[str] = (),
    ip_addresses: Sequence[str] = (),
    key_usage: Iterable[str] | _Sensible | None = SENSIBLE,
    extended_key_usage: Iterable[str] = (),
    name_constraints: x509.NameConstraints | None = None,
    without_ski: bool = False,
    authority: bytes | None = None,
    san_critical: bool = False,
) -> list[asn1_x509.Extension]:
    made: list[asn1_x509.Extension] = []
    if ca:
        constraints: dict[str, Any] = {"ca": True}
        if path_length is not None:
            constraints["path_len_constraint"] = path_length
        made.append(_extension("basic_constraints", critical=True, value=constraints))
    usages = (
        _default_key_usage(public_key, ca=ca)
        if isinstance(key_usage, _Sensible)
        else None
        if key_usage is None
        else set(key_usage)
    )
    if usages is not None:
        made.append(_extension("key_usage", critical=True, value=usages))
    purposes = list(extended_key_usage)
    if purposes:
        made.append(_extension("extended_key_usage", critical=False, value=purposes))
    names = [asn1_x509.GeneralName(name="dns_name", value=name) for name in dns_names] + [
        asn1_x509.GeneralName(name="ip_address", value=str(ipaddress.ip_address(address)))
        for address in ip_addresses
    ]
    if names:
        made.append(_extension("subject_alt_name", critical=san_critical, value=names))
    if not without_ski:
        made.append(_extension("key_identifier", critical=False, value=key_identifier(public_key)))
    if authority is not None:
        made.append(
            _extension(
                "authority_key_identifier", critical=False, value={"key_identifier": authority}
            )
        )
    if name_constraints is not None:
        oid = x509.NameConstraints.oid
        made += _given([x509.Extension(oid, True, name_constraints)])  # noqa: FBT003  # positional only in old releases
    return made


def _certificate(
    *,
    subject: asn1_x509.Name,
    issuer: asn1_x509.Name,
    public_key: PublicKey,
    signing_key: PrivateKey,
    not_before: datetime,
    not_after: datetime,
    serial: int | None,
    extensions: list[asn1_x509.Extension],
    hash_name: str,
    pss: bool,
) -> bytes:
    algorithm = signature_algorithm(signing_key, hash_name, pss=pss)
    fields: dict[str, Any] = {
        "version": "v3",
        # Positive and at most 20 octets (RFC 5280, 4.1.2.2).
        "serial_number": secrets.randbits(126) + 1 if serial is None else serial,
        "signature": algorithm,
        "issuer": issuer,
        "validity": {"not_before": asn1_time(not_before), "not_after": asn1_time(not_after)},
        "subject": subject,
        "subject_public_key_info": asn1_keys.PublicKeyInfo.load(spki(public_key)),
    }
    if extensions:
        fields["extensions"] = extensions
    body = asn1_x509.TbsCertificate(fields)
    return bytes(
        asn1_x509.Certificate(
            {
                "tbs_certificate": body,
                "signature_algorithm": algorithm,
                "signature_value": sign_octets(signing_key, body.dump(), hash_name, pss=pss),
            }
        ).dump()
    )
