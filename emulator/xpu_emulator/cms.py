# SPDX-License-Identifier: Apache-2.0
"""SignedData and plain ContentInfos (RFC 5652; RFC 5940 for OCSP; RFC 8419 for Ed25519)."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal

from asn1crypto import core
from asn1crypto import x509 as asn1_x509
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from xpu_emulator import der
from xpu_emulator.identity import Identity
from xpu_emulator.keys import (
    KeyKind,
    PrivateKey,
    digest,
    new_key,
    sign_octets,
    signature_algorithm,
)
from xpu_emulator.wrong import Wrong, flip_last_bit, require_scope, spoil_encoding

SignerIdentifier = Literal["issuer-serial", "ski"]

_ATTRIBUTE_CONTENT_TYPE = "1.2.840.113549.1.9.3"
_ATTRIBUTE_MESSAGE_DIGEST = "1.2.840.113549.1.9.4"
_ATTRIBUTE_SIGNING_TIME = "1.2.840.113549.1.9.5"
_RI_OCSP_RESPONSE = "1.3.6.1.5.5.7.16.2"
_DIGEST_OIDS = {
    "md5": "1.2.840.113549.2.5",
    "sha1": "1.3.14.3.2.26",
    "sha224": "2.16.840.1.101.3.4.2.4",
    "sha256": "2.16.840.1.101.3.4.2.1",
    "sha384": "2.16.840.1.101.3.4.2.2",
    "sha512": "2.16.840.1.101.3.4.2.3",
}
_WORTH_CHANGING = (
    b"serial-number",
    b"configuration",
    b"hash-value",
    b"os-version",
    b"address",
)
_CERTIFICATE_DEFECTS = (Wrong.CERTIFICATE_NOT_X509, Wrong.CERTIFICATES_OUT_OF_ORDER)
_ATTRIBUTE_DEFECTS = frozenset(
    {
        Wrong.TAMPERED_SIGNED_ATTRIBUTES,
        Wrong.WRONG_MESSAGE_DIGEST,
        Wrong.MISSING_MESSAGE_DIGEST,
        Wrong.TWO_MESSAGE_DIGESTS,
        Wrong.TWO_MESSAGE_DIGEST_VALUES,
        Wrong.WRONG_CONTENT_TYPE_ATTRIBUTE,
        Wrong.MISSING_CONTENT_TYPE_ATTRIBUTE,
        Wrong.TWO_CONTENT_TYPE_ATTRIBUTES,
        Wrong.UNSORTED_SIGNED_ATTRIBUTES,
        Wrong.SIGNED_WITH_IMPLICIT_TAG,
    }
)


class ContentType(StrEnum):
    """Content types of SZTP's artifacts, as dotted OIDs."""

    DATA = "1.2.840.113549.1.7.1"
    SIGNED_DATA = "1.2.840.113549.1.7.2"
    ENVELOPED_DATA = "1.2.840.113549.1.7.3"
    AUTH_ENVELOPED_DATA = "1.2.840.113549.1.9.16.1.23"
    VOUCHER_JSON = "1.2.840.113549.1.9.16.1.40"
    CONVEYED_XML = "1.2.840.113549.1.9.16.1.42"
    CONVEYED_JSON = "1.2.840.113549.1.9.16.1.43"


@dataclass(frozen=True, slots=True)
class Signer:
    """One signer of a SignedData and how it signs."""

    identity: Identity
    sid: SignerIdentifier = "issuer-serial"
    hash_name: str = "sha256"
    pss: bool = False
    signed_attributes: bool = True
    signing_time: datetime | None = None
    wrong: Wrong | None = None

    def __post_init__(self) -> None:
        """Refuse defects of attributes that aren't there."""
        if self.wrong in _ATTRIBUTE_DEFECTS and not self.signed_attributes:
            raise ValueError(f"the defect {self.wrong} needs signed attributes")


def plain(content: bytes, content_type: str, *, wrong: Wrong | None = None) -> bytes:
    """An unsigned ContentInfo: content type 42, 43 or id-data around the octets."""
    require_scope(wrong, "encoding")
    return spoil_encoding(content_info(content_type, der.octet_string(content)), wrong)


def signed(
    content: bytes,
    content_type: str,
    signer: Identity,
    *,
    certificates: Iterable[Identity] = (),
    crls: Iterable[bytes] = (),
    ocsps: Iterable[bytes] = (),
    sid: SignerIdentifier = "issuer-serial",
    hash_name: str = "sha256",
    pss: bool = False,
    signed_attributes: bool = True,
    signing_time: datetime | None = None,
    wrong: Wrong | None = None,
) -> bytes:
    """A ContentInfo of SignedData with one signer.

    `certificates` are put inside; the signer's own only if it is among them. `crls` and
    `ocsps` are DER. Ed25519 digests with SHA-512 whatever `hash_name` says (RFC 8419, 3.1).
    """
    one = Signer(signer, sid, hash_name, pss, signed_attributes, signing_time, wrong)
    return signed_by(
        content,
        content_type,
        [one],
        certificates=certificates,
        crls=crls,
        ocsps=ocsps,
        wrong=wrong,
    )


def signed_by(
    content: bytes,
    content_type: str,
    signers: Sequence[Signer | Identity],
    *,
    certificates: Iterable[Identity] = (),
    crls: Iterable[bytes] = (),
    ocsps: Iterable[bytes] = (),
    wrong: Wrong | None = None,
) -> bytes:
    """A ContentInfo of SignedData with any number of signers, each with its own settings.

    `wrong` here is what's wrong with the whole; what's wrong with one signature is that
    signer's own `wrong`.
    """
    require_scope(wrong, "encoding", "signature")
    parties = [each if isinstance(each, Signer) else Signer(each) for each in signers]
    if wrong is Wrong.ATTRIBUTES_AS_CONTENT:
        content = _signed_attributes(content, content_type, parties[0])
    infos = [_signer_info(content, content_type, each) for each in parties]
    if wrong is Wrong.NO_SIGNERS:
        infos = []
    if wrong is Wrong.TAMPERED_CONTENT:
        content = _tamper(content)
    bag = list(certificates)
    listed = {_DIGEST_OIDS[_hash_name(each)] for each in parties}
    if wrong is Wrong.UNLISTED_DIGEST_ALGORITHM:
        listed = set()
    status = list(ocsps)
    # RFC 5652, 5.1: 5 with other revocation formats, 3 with other content or key identifiers.
    version = 3 if content_type != ContentType.DATA or any(e.sid == "ski" for e in parties) else 1
    version = 5 if status else version
    encapsulated = _encapsulated(content, content_type, wrong)
    body = _signed_data(
        version=9 if wrong is Wrong.UNKNOWN_VERSION else version,
        digest_oids=listed,
        encapsulated=encapsulated,
        certificates=[each.der for each in bag],
        revocation=_revocation(crls, status),
        signer_infos=infos,
        wrong=wrong,
    )
    return spoil_encoding(content_info(ContentType.SIGNED_DATA, body), wrong)


def certificates_only(
    identities: Iterable[Identity],
    crls: Iterable[bytes] = (),
    ocsps: Iterable[bytes] = (),
    *,
    wrong: Wrong | None = None,
) -> bytes:
    """A degenerate SignedData: certificates and their status, no content, nobody signs.

    The form of the owner certificate (RFC 8572, 3.2) and of trust anchors.
    """
    if wrong not in _CERTIFICATE_DEFECTS:
        require_scope(wrong, "encoding")
    status = list(ocsps)
    body = _signed_data(
        version=5 if status else 1,
        digest_oids=set(),
        encapsulated=der.sequence(der.oid(ContentType.DATA)),
        certificates=[each.der for each in identities],
        revocation=_revocation(crls, status),
        signer_infos=[],
        wrong=wrong,
    )
    return spoil_encoding(content_info(ContentType.SIGNED_DATA, body), wrong)


def content_info(content_type: str, content: bytes) -> bytes:
    """A ContentInfo (RFC 5652, 3) around an encoded element."""
    return der.sequence(der.oid(content_type), der.explicit(0, content))


def issuer_and_serial(identity: Identity, *, unknown: bool = False) -> bytes:
    """IssuerAndSerialNumber of a certificate, or one nobody has."""
    certificate = asn1_x509.Certificate.load(identity.der)
    serial = 0x7FFFFFFF if unknown else int(certificate.serial_number)
    return der.sequence(bytes(certificate.issuer.dump()), der.integer(serial))


def _signed_data(
    *,
    version: int,
    digest_oids: set[str],
    encapsulated: bytes,
    certificates: list[bytes],
    revocation: list[bytes],
    signer_infos: list[bytes],
    wrong: Wrong | None,
) -> bytes:
    parts = [
        der.integer(version),
        der.set_of(der.sequence(der.oid(each)) for each in digest_oids),
        encapsulated,
    ]
    if wrong is Wrong.CERTIFICATE_NOT_X509:
        certificates = [*certificates, der.octet_string(b"certificate")]
    if wrong is Wrong.CERTIFICATES_OUT_OF_ORDER and len(set(certificates)) < 2:
        raise ValueError(f"the defect {wrong} needs two certificates")
    if certificates:
        # A certificate listed twice stands once in a set.
        ordered = sorted(set(certificates), reverse=wrong is Wrong.CERTIFICATES_OUT_OF_ORDER)
        parts.append(der.tlv(0xA0, b"".join(ordered)))
    if revocation:
        parts.append(der.set_of(revocation, tag=0xA1))
    parts.append(der.set_of(signer_infos))
    return der.sequence(*parts)


def _encapsulated(content: bytes, content_type: str, wrong: Wrong | None) -> bytes:
    match wrong:
        case Wrong.DETACHED:
            return der.sequence(der.oid(content_type))
        case Wrong.CONSTRUCTED_CONTENT:
            half = len(content) // 2
            inner = der.octet_string(content[:half]) + der.octet_string(content[half:])
            element = der.tlv(0x24, inner)
        case Wrong.CONTENT_WITHOUT_OCTET_STRING:
            element = der.tlv(0x0C, content)
        case _:
            element = der.octet_string(content)
    return der.sequence(der.oid(content_type), der.explicit(0, element))


def _revocation(crls: Iterable[bytes], ocsps: Iterable[bytes]) -> list[bytes]:
    # OtherRevocationInfoFormat is [1] IMPLICIT (RFC 5652, 10.2.1).
    others = [der.tlv(0xA1, der.oid(_RI_OCSP_RESPONSE) + response) for response in ocsps]
    return [*crls, *others]


def _hash_name(signer: Signer) -> str:
    match signer.wrong:
        case Wrong.SHA1_DIGEST:
            return "sha1"
        case Wrong.MD5_DIGEST:
            return "md5"
        case _:
            is_edwards = isinstance(signer.identity.key, ed25519.Ed25519PrivateKey)
            return "sha512" if is_edwards else signer.hash_name


def _attribute(oid: str, *values: bytes) -> bytes:
    return der.sequence(der.oid(oid), der.set_of(values))


def _signed_attributes(content: bytes, content_type: str, signer: Signer) -> bytes:
    wrong = signer.wrong
    value = der.octet_string(digest(_hash_name(signer), content))
    other = der.octet_string(digest(_hash_name(signer), content + b"\n"))
    attributes = []
    match wrong:
        case Wrong.MISSING_CONTENT_TYPE_ATTRIBUTE:
            pass
        case Wrong.WRONG_CONTENT_TYPE_ATTRIBUTE:
            stated = (
                ContentType.VOUCHER_JSON if content_type == ContentType.DATA else ContentType.DATA
            )
            attributes.append(_attribute(_ATTRIBUTE_CONTENT_TYPE, der.oid(stated)))
        case Wrong.TWO_CONTENT_TYPE_ATTRIBUTES:
            attributes += [_attribute(_ATTRIBUTE_CONTENT_TYPE, der.oid(content_type))] * 2
        case _:
            attributes.append(_attribute(_ATTRIBUTE_CONTENT_TYPE, der.oid(content_type)))
    match wrong:
        case Wrong.MISSING_MESSAGE_DIGEST:
            pass
        case Wrong.WRONG_MESSAGE_DIGEST:
            attributes.append(_attribute(_ATTRIBUTE_MESSAGE_DIGEST, other))
        case Wrong.TWO_MESSAGE_DIGESTS:
            attributes += [_attribute(_ATTRIBUTE_MESSAGE_DIGEST, each) for each in (value, other)]
        case Wrong.TWO_MESSAGE_DIGEST_VALUES:
            attributes.append(_attribute(_ATTRIBUTE_MESSAGE_DIGEST, value, other))
        case _:
            attributes.append(_attribute(_ATTRIBUTE_MESSAGE_DIGEST, value))
    if signer.signing_time is not None:
        moment = core.UTCTime(signer.signing_time.replace(microsecond=0))
        attributes.append(_attribute(_ATTRIBUTE_SIGNING_TIME, bytes(moment.dump())))
    if wrong is Wrong.UNSORTED_SIGNED_ATTRIBUTES:
        return der.tlv(0x31, b"".join(sorted(attributes, reverse=True)))
    return der.set_of(attributes)


def _signer_info(content: bytes, content_type: str, signer: Signer) -> bytes:
    wrong = signer.wrong
    hash_name = _hash_name(signer)
    attributes: bytes | None = None
    covered = content
    if signer.signed_attributes and wrong is not Wrong.ATTRIBUTES_AS_CONTENT:
        attributes = _signed_attributes(content, content_type, signer)
        covered = attributes
        if wrong is Wrong.SIGNED_WITH_IMPLICIT_TAG:
            covered = der.implicit(0, attributes)
    key = signer.identity.key
    signature_hash = hash_name
    if wrong is Wrong.DIGEST_MISMATCH:
        signature_hash = "sha384" if hash_name == "sha512" else "sha512"
    elif hash_name == "md5" and not isinstance(key, rsa.RSAPrivateKey):
        signature_hash = "sha256"  # there is no ECDSA with MD5
    algorithm = bytes(signature_algorithm(key, signature_hash, pss=signer.pss).dump())
    signing_key = _similar_key(key) if wrong is Wrong.OTHER_KEY else key
    signature = sign_octets(signing_key, covered, signature_hash, pss=signer.pss)
    match wrong:
        case Wrong.TAMPERED_SIGNATURE:
            signature = flip_last_bit(signature)
        case Wrong.EMPTY_SIGNATURE:
            signature = b""
        case Wrong.UNKNOWN_SIGNATURE_ALGORITHM:
            algorithm = der.sequence(der.oid("2.999.1"))
        case Wrong.TAMPERED_SIGNED_ATTRIBUTES if attributes is not None:
            added = _attribute("2.999.2", der.octet_string(b"added later"))
            attributes = der.set_of([*der.children(attributes), added])
        case _:
            pass
    parts = [
        der.integer(3 if signer.sid == "ski" else 1),
        _signer_identifier(signer),
        der.sequence(der.oid(_DIGEST_OIDS[hash_name])),
    ]
    if attributes is not None:
        parts.append(der.implicit(0, attributes))
    parts += [algorithm, der.octet_string(signature)]
    return der.sequence(*parts)


def _signer_identifier(signer: Signer) -> bytes:
    unknown = signer.wrong is Wrong.UNKNOWN_SIGNER
    if signer.sid == "issuer-serial":
        return issuer_and_serial(signer.identity, unknown=unknown)
    # Not for security: an identifier no certificate has.
    other = hashlib.sha256(signer.identity.ski).digest()[:20]
    return der.tlv(0x80, other if unknown else signer.identity.ski)


def _similar_key(key: PrivateKey) -> PrivateKey:
    if isinstance(key, rsa.RSAPrivateKey):
        return new_key(KeyKind.RSA3072 if key.key_size == 3072 else KeyKind.RSA2048)
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return new_key(KeyKind.ED25519)
    return new_key(KeyKind(f"p{key.curve.key_size}"))


def _tamper(content: bytes) -> bytes:
    # What an attacker would change, within the same kind of character: the document stays well
    # formed, and only the signature gives it away.
    for name in _WORTH_CHANGING:
        pattern = rb'(?:"%b" *: *"|<%b>)([0-9A-Za-z])' % (name, name)
        if found := re.search(pattern, content):
            index = found.start(1)
            return content[:index] + _neighbour(content[index]) + content[index + 1 :]
    return content + b" "


def _neighbour(character: int) -> bytes:
    wrapped = {ord("9"): b"0", ord("f"): b"a", ord("F"): b"A", ord("z"): b"y", ord("Z"): b"Y"}
    return wrapped.get(character, bytes([character + 1]))
