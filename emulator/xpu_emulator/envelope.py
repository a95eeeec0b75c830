# SPDX-License-Identifier: Apache-2.0
"""EnvelopedData and AuthEnvelopedData (RFC 5652, 6; RFC 5083; RFC 5084; RFC 5753; RFC 4055)."""

import os
from collections.abc import Sequence
from typing import Literal

from cryptography.hazmat.primitives import hashes, keywrap, padding, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric import padding as rsa_padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.x963kdf import X963KDF

from xpu_emulator import der
from xpu_emulator.cms import ContentType, content_info, issuer_and_serial
from xpu_emulator.identity import Identity
from xpu_emulator.keys import hash_algorithm
from xpu_emulator.wrong import Wrong, flip_last_bit, require_scope, spoil_encoding

RsaTransport = Literal["oaep", "oaep-sha256", "pkcs1v15"]
WrapAs = Literal["signed-data", "content-info", "signed-content-info"]
RecipientIdentifier = Literal["issuer-serial", "ski"]

_AES = "2.16.840.1.101.3.4.1"
_CBC = {"aes-128-cbc": (16, 2), "aes-192-cbc": (24, 22), "aes-256-cbc": (32, 42)}
_GCM = {"aes-128-gcm": (16, 6), "aes-192-gcm": (24, 26), "aes-256-gcm": (32, 46)}
_KEY_WRAPS = {16: f"{_AES}.5", 24: f"{_AES}.25", 32: f"{_AES}.45"}
_STD_DH = {
    "sha1": "1.3.133.16.840.63.0.2",
    "sha224": "1.3.132.1.11.0",
    "sha256": "1.3.132.1.11.1",
    "sha384": "1.3.132.1.11.2",
    "sha512": "1.3.132.1.11.3",
}
_ATTRIBUTE_CONTENT_TYPE = "1.2.840.113549.1.9.3"
CIPHERS = (*_CBC, *_GCM)


def enveloped(
    content: bytes,
    content_type: str | None = None,
    *,
    recipients: Sequence[Identity],
    cipher: str = "aes-256-cbc",
    rsa: RsaTransport = "oaep",
    kdf: str = "sha256",
    rid: RecipientIdentifier = "issuer-serial",
    ukm: bytes | None = None,
    wrap_as: WrapAs = "signed-data",
    wrong: Wrong | None = None,
) -> bytes:
    """Encrypt for the holders of the recipients' private keys.

    With `content_type` the content is encrypted as it is, under that type. Without, `content`
    is a ContentInfo in DER, and `wrap_as` says how it goes in: `signed-data` puts its inner
    content under its own type (RFC 8572, 3.1), `content-info` the whole under id-data as
    `openssl cms -encrypt` does, `signed-content-info` the whole under id-signedData.
    GCM makes an AuthEnvelopedData. RSA recipients get a transported key, EC recipients an
    agreed one (ephemeral-static, standard DH, `kdf` the hash of its key derivation).
    """
    require_scope(wrong, "encoding", "envelope")
    if wrong in {Wrong.TAMPERED_MAC, Wrong.SHORT_MAC} and cipher not in _GCM:
        raise ValueError(f"the defect {wrong} needs an authenticating cipher, one with gcm")
    if content_type is None:
        content_type, content = _unwrap(content, wrap_as)
    if wrong is Wrong.NESTED_ENVELOPE:
        inner = enveloped(
            content, content_type, recipients=recipients, cipher=cipher, rsa=rsa, kdf=kdf
        )
        content_type, content = _unwrap(inner, "signed-data")
    key_length, arc = {**_CBC, **_GCM}[cipher]
    key = os.urandom(key_length)
    infos = [
        _recipient_info(
            each,
            key,
            transport=rsa,
            kdf=kdf,
            rid=rid,
            ukm=ukm,
            wrong=wrong if index == 0 or wrong is Wrong.UNKNOWN_RECIPIENT else None,
        )
        for index, each in enumerate(recipients)
    ]
    if wrong is Wrong.NO_RECIPIENTS:
        infos = []
    algorithm_oid = "2.999.3" if wrong is Wrong.UNKNOWN_CIPHER else f"{_AES}.{arc}"
    recipient_infos = der.set_of(infos)
    if cipher in _GCM:
        body = _auth_enveloped(
            recipient_infos,
            content,
            content_type,
            key=key,
            algorithm_oid=algorithm_oid,
            wrong=wrong,
        )
        outer = content_info(ContentType.AUTH_ENVELOPED_DATA, body)
    else:
        # RFC 5652, 6.1: version 0 if every recipient info has version 0.
        zero = all(info[0] == 0x30 and der.children(info)[0] == der.integer(0) for info in infos)
        body = der.sequence(
            der.integer(0 if zero else 2),
            recipient_infos,
            _cbc_content(content, content_type, key, algorithm_oid, wrong),
        )
        outer = content_info(ContentType.ENVELOPED_DATA, body)
    return spoil_encoding(outer, wrong)


def _inner(info: bytes) -> bytes:
    return der.children(der.children(info)[1])[0]


def _unwrap(info: bytes, wrap_as: WrapAs) -> tuple[str, bytes]:
    if wrap_as == "content-info":
        return ContentType.DATA, info
    if wrap_as == "signed-content-info":
        return ContentType.SIGNED_DATA, info
    inner = _inner(info)
    stated = der.children(info)[0]
    for known in ContentType:
        if stated == der.oid(known):
            # The octets of an OCTET STRING are the content itself; a structure stays one.
            return known, der.split(inner)[1] if inner[0] == 0x04 else inner
    raise ValueError("a ContentInfo of an unknown content type can't be wrapped")


def _cbc_content(
    content: bytes, content_type: str, key: bytes, algorithm_oid: str, wrong: Wrong | None
) -> bytes:
    iv = os.urandom(16)
    padder = padding.PKCS7(128).padder()
    encryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor()
    ciphertext = encryptor.update(padder.update(content) + padder.finalize())
    ciphertext += encryptor.finalize()
    return _encrypted_content_info(
        content_type, der.sequence(der.oid(algorithm_oid), der.octet_string(iv)), ciphertext, wrong
    )


def _auth_enveloped(
    recipient_infos: bytes,
    content: bytes,
    content_type: str,
    *,
    key: bytes,
    algorithm_oid: str,
    wrong: Wrong | None,
) -> bytes:
    nonce = os.urandom(12)
    attributes = None
    if content_type != ContentType.DATA:
        # RFC 5083, 2.1: the content-type attribute is due unless the content is id-data.
        value = der.set_of([der.oid(content_type)])
        attributes = der.set_of([der.sequence(der.oid(_ATTRIBUTE_CONTENT_TYPE), value)])
    both = AESGCM(key).encrypt(nonce, content, attributes)
    ciphertext, tag = both[:-16], both[-16:]
    if wrong is Wrong.SHORT_MAC:
        tag = tag[:4]
    parameters = der.sequence(der.octet_string(nonce), der.integer(len(tag)))
    parts = [
        der.integer(0),
        recipient_infos,
        _encrypted_content_info(
            content_type, der.sequence(der.oid(algorithm_oid), parameters), ciphertext, wrong
        ),
    ]
    if attributes is not None:
        parts.append(der.implicit(1, attributes))
    if wrong is Wrong.TAMPERED_MAC:
        tag = flip_last_bit(tag)
    return der.sequence(*parts, der.octet_string(tag))


def _encrypted_content_info(
    content_type: str, algorithm: bytes, ciphertext: bytes, wrong: Wrong | None
) -> bytes:
    if wrong is Wrong.TAMPERED_CIPHERTEXT:
        # In CBC this bit comes back in the last octet of padding, which is then never right.
        last = min(16, len(ciphertext) - 1)
        ciphertext = flip_last_bit(ciphertext[:-last]) + ciphertext[-last:]
    return der.sequence(der.oid(content_type), algorithm, der.tlv(0x80, ciphertext))


def _recipient_info(
    recipient: Identity,
    key: bytes,
    *,
    transport: RsaTransport,
    kdf: str,
    rid: RecipientIdentifier,
    ukm: bytes | None,
    wrong: Wrong | None,
) -> bytes:
    unknown = wrong is Wrong.UNKNOWN_RECIPIENT
    public_key = recipient.certificate.public_key()
    tampered = wrong is Wrong.TAMPERED_ENCRYPTED_KEY
    if isinstance(public_key, rsa.RSAPublicKey):
        algorithm, encrypted = _transport_key(public_key, key, transport)
        if rid == "ski":
            named = der.tlv(0x80, flip_last_bit(recipient.ski) if unknown else recipient.ski)
        else:
            named = issuer_and_serial(recipient, unknown=unknown)
        return der.sequence(
            der.integer(2 if rid == "ski" else 0),
            named,
            algorithm,
            der.octet_string(flip_last_bit(encrypted) if tampered else encrypted),
        )
    if isinstance(public_key, ec.EllipticCurvePublicKey):
        originator, algorithm, encrypted = _agree_key(public_key, key, kdf, ukm)
        if rid == "ski":
            identifier = flip_last_bit(recipient.ski) if unknown else recipient.ski
            named = der.tlv(0xA0, der.octet_string(identifier))
        else:
            named = issuer_and_serial(recipient, unknown=unknown)
        parts = [der.integer(3), der.explicit(0, originator)]
        if ukm is not None:
            parts.append(der.explicit(1, der.octet_string(ukm)))
        wrapped = der.octet_string(flip_last_bit(encrypted) if tampered else encrypted)
        parts += [algorithm, der.sequence(der.sequence(named, wrapped))]
        return der.tlv(0xA1, b"".join(parts))
    raise ValueError("an Ed25519 key can't receive an envelope; use RSA or EC")


def _transport_key(
    public_key: rsa.RSAPublicKey, key: bytes, transport: RsaTransport
) -> tuple[bytes, bytes]:
    if transport == "pkcs1v15":
        algorithm = der.sequence(der.oid("1.2.840.113549.1.1.1"), der.NULL)
        return algorithm, public_key.encrypt(key, rsa_padding.PKCS1v15())
    hash_used: hashes.HashAlgorithm = hashes.SHA1()  # noqa: S303  # OAEP's default hash
    parameters = der.sequence()
    if transport == "oaep-sha256":
        hash_used = hashes.SHA256()
        sha256 = der.sequence(der.oid("2.16.840.1.101.3.4.2.1"), der.NULL)
        mgf = der.sequence(der.oid("1.2.840.113549.1.1.8"), sha256)
        parameters = der.sequence(der.explicit(0, sha256), der.explicit(1, mgf))
    algorithm = der.sequence(der.oid("1.2.840.113549.1.1.7"), parameters)
    oaep = rsa_padding.OAEP(mgf=rsa_padding.MGF1(hash_used), algorithm=hash_used, label=None)
    return algorithm, public_key.encrypt(key, oaep)


def _agree_key(
    public_key: ec.EllipticCurvePublicKey, key: bytes, kdf: str, ukm: bytes | None
) -> tuple[bytes, bytes, bytes]:
    ephemeral = ec.generate_private_key(public_key.curve)
    shared = ephemeral.exchange(ec.ECDH(), public_key)
    wrap = der.sequence(der.oid(_KEY_WRAPS[len(key)]))
    # ECC-CMS-SharedInfo (RFC 5753, 7.2).
    info = [wrap]
    if ukm is not None:
        info.append(der.explicit(0, der.octet_string(ukm)))
    info.append(der.explicit(2, der.octet_string((len(key) * 8).to_bytes(4, "big"))))
    derivation = X963KDF(hash_algorithm(kdf), length=len(key), sharedinfo=der.sequence(*info))
    encrypted = keywrap.aes_key_wrap(derivation.derive(shared), key)
    point = ephemeral.public_key().public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )
    # OriginatorPublicKey [1] IMPLICIT; the curve is the recipient's (RFC 5753, 3.1.1).
    originator = der.tlv(0xA1, der.sequence(der.oid("1.2.840.10045.2.1")) + der.bit_string(point))
    return originator, der.sequence(der.oid(_STD_DH[kdf]), wrap), encrypted
