# SPDX-License-Identifier: Apache-2.0
"""Opening CMS envelopes with a private key (RFC 8572, 3.4; RFC 5652, 6; RFC 5083; RFC 5753).

Recipients: RSA key transport (OAEP, PKCS#1 v1.5) and ephemeral-static ECDH with the X9.63 key
derivation and AES key wrap. Contents: AES-CBC, and AES-GCM in AuthEnvelopedData. No 3DES, no RC2.

Whoever sends an envelope may watch what becomes of it, so a wrong PKCS#1 v1.5 padding must look
like a wrong content (RFC 3218): a random key takes the place of the one that was not there.
All failures after a recipient was found are one and the same error.
"""

import secrets
from dataclasses import dataclass

from asn1crypto import algos, cms, core
from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.x963kdf import X963KDF
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap
from cryptography.hazmat.primitives.padding import PKCS7

from xpu_agent.artifacts.certificate import AlgorithmIdentifier
from xpu_agent.artifacts.cms import (
    EnvelopedData,
    IssuerAndSerialNumber,
    KeyAgreeRecipient,
    KeyTransRecipient,
    SubjectKeyIdentifier,
)
from xpu_agent.errors import DecryptionError

_RSA_PKCS1 = "1.2.840.113549.1.1.1"
_RSA_OAEP = "1.2.840.113549.1.1.7"

_HASHES: dict[str, type[hashes.HashAlgorithm]] = {
    "sha1": hashes.SHA1,
    "sha224": hashes.SHA224,
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
}

# dhSinglePass-stdDH-*kdf-scheme (RFC 5753, 7.1.4). SHA-1 is what openssl writes unless told
# otherwise; in a key derivation nothing rests on collisions.
_KDF_HASHES: dict[str, type[hashes.HashAlgorithm]] = {
    "1.3.133.16.840.63.0.2": hashes.SHA1,
    "1.3.132.1.11.0": hashes.SHA224,
    "1.3.132.1.11.1": hashes.SHA256,
    "1.3.132.1.11.2": hashes.SHA384,
    "1.3.132.1.11.3": hashes.SHA512,
}

# AES key wrap (RFC 3565) and contents (RFC 3565, RFC 5084): octets of the key.
_KEY_WRAPS = {
    "2.16.840.1.101.3.4.1.5": 16,
    "2.16.840.1.101.3.4.1.25": 24,
    "2.16.840.1.101.3.4.1.45": 32,
}
_CBC = {
    "2.16.840.1.101.3.4.1.2": 16,
    "2.16.840.1.101.3.4.1.22": 24,
    "2.16.840.1.101.3.4.1.42": 32,
}
_GCM = {
    "2.16.840.1.101.3.4.1.6": 16,
    "2.16.840.1.101.3.4.1.26": 24,
    "2.16.840.1.101.3.4.1.46": 32,
}
_BLOCK = 16
_TAG_MIN = 12  # octets; RFC 5084, 3.2


class _GcmParameters(core.Sequence):  # type: ignore[misc]  # asn1crypto is untyped
    """GCMParameters (RFC 5084, 3.2)."""

    _fields = [  # noqa: RUF012  # asn1crypto's way to name fields
        ("nonce", core.OctetString),
        ("icv_octets", core.Integer, {"default": 12}),
    ]


class _SharedInfo(core.Sequence):  # type: ignore[misc]  # asn1crypto is untyped
    """ECC-CMS-SharedInfo (RFC 5753, 7.2)."""

    _fields = [  # noqa: RUF012  # asn1crypto's way to name fields
        ("key_info", core.Any),
        ("entity_u_info", core.OctetString, {"explicit": 0, "optional": True}),
        ("supp_pub_info", core.OctetString, {"explicit": 2}),
    ]


PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True)
class RecipientNames:
    """How senders may name us: by certificate, by its subjectKeyIdentifier."""

    certificate: IssuerAndSerialNumber | None
    subject_key_identifier: bytes | None

    def include(self, rid: IssuerAndSerialNumber | SubjectKeyIdentifier) -> bool:
        """Whether `rid` is one of our names."""
        match rid:
            case IssuerAndSerialNumber():
                return rid == self.certificate
            case SubjectKeyIdentifier():
                return rid.value == self.subject_key_identifier


def open_envelope(enveloped: EnvelopedData, key: PrivateKey, names: RecipientNames) -> bytes:
    """The content of an envelope that has us among its recipients.

    Raises:
        DecryptionError: none of the recipients is us, an algorithm isn't supported, or the
            key does not open it.
    """
    ours = [recipient for recipient in enveloped.recipients if names.include(recipient.rid)]
    if not ours:
        raise DecryptionError("the artifact is encrypted, but not to this device's certificate")
    cipher = _content_cipher(enveloped)
    for recipient in ours:
        content_key = _content_key(recipient, key, cipher.key_octets)
        content = _decrypt_content(enveloped, cipher, content_key)
        if content is not None:
            return content
    raise DecryptionError("the artifact can't be decrypted with this device's key")


@dataclass(frozen=True, slots=True)
class _ContentCipher:
    """How the content is encrypted; `nonce` is the IV of CBC."""

    key_octets: int
    nonce: bytes
    authenticated: bool


def _content_cipher(enveloped: EnvelopedData) -> _ContentCipher:
    algorithm = enveloped.content_encryption_algorithm
    authenticated = enveloped.mac is not None
    table = _GCM if authenticated else _CBC
    if algorithm.oid not in table:
        # GCM without its tag, or CBC where a tag is due, is as unusable as an unknown cipher.
        raise DecryptionError(
            f"the artifact is encrypted by an algorithm that is not supported: {algorithm.oid}"
        )
    read = _gcm_nonce if authenticated else _cbc_vector
    try:
        nonce = read(_parameters(algorithm), enveloped.mac or b"")
    except (ValueError, TypeError, KeyError) as error:
        raise DecryptionError(
            "the encrypted artifact has no usable parameters of its cipher"
        ) from error
    return _ContentCipher(table[algorithm.oid], nonce, authenticated)


def _gcm_nonce(der: bytes, tag: bytes) -> bytes:
    parameters = _GcmParameters.load(der, strict=True)
    octets = int(parameters["icv_octets"].native)
    if not _TAG_MIN <= octets <= _BLOCK or octets != len(tag):
        raise ValueError("the tag has another length than the parameters say")
    return bytes(parameters["nonce"].native)


def _cbc_vector(der: bytes, _tag: bytes) -> bytes:
    vector = bytes(core.OctetString.load(der, strict=True).native)
    if len(vector) != _BLOCK:
        raise ValueError("the initialization vector is not one block long")
    return vector


def _parameters(algorithm: AlgorithmIdentifier) -> bytes:
    if algorithm.parameters is None:
        raise ValueError("parameters are missing")
    return algorithm.parameters


def _content_key(
    recipient: KeyTransRecipient | KeyAgreeRecipient, key: PrivateKey, octets: int
) -> bytes:
    """The content encryption key; a random one where the recipient's value holds none."""
    match recipient, key:
        case KeyTransRecipient(), rsa.RSAPrivateKey():
            found = _transported(recipient, key)
        case KeyAgreeRecipient(), ec.EllipticCurvePrivateKey():
            found = _agreed(recipient, key)
        case _:
            raise DecryptionError("the artifact is encrypted to a key of another kind than ours")
    substitute = secrets.token_bytes(octets)
    return found if found is not None and len(found) == octets else substitute


def _transported(recipient: KeyTransRecipient, key: rsa.RSAPrivateKey) -> bytes | None:
    algorithm = recipient.key_encryption_algorithm
    scheme: padding.AsymmetricPadding
    if algorithm.oid == _RSA_PKCS1:
        scheme = padding.PKCS1v15()
    elif algorithm.oid == _RSA_OAEP:
        scheme = _oaep(algorithm)
    else:
        raise DecryptionError(
            f"the artifact's key is encrypted by an unsupported algorithm: {algorithm.oid}"
        )
    try:
        return key.decrypt(recipient.encrypted_key, scheme)
    except ValueError:
        return None


def _oaep(algorithm: AlgorithmIdentifier) -> padding.OAEP:
    try:
        return _read_oaep(algorithm.parameters or b"\x30\x00")
    except (ValueError, TypeError, KeyError) as error:
        raise DecryptionError("the artifact's key has unsupported OAEP parameters") from error


def _read_oaep(der: bytes) -> padding.OAEP:
    """RFC 4055, 4.1; what is absent means SHA-1 and an empty label."""
    parameters = algos.RSAESOAEPParams.load(der, strict=True)
    digest = _HASHES[parameters["hash_algorithm"]["algorithm"].native]()
    mask = parameters["mask_gen_algorithm"]
    source = parameters["p_source_algorithm"]
    if mask["algorithm"].native != "mgf1" or source["algorithm"].native != "p_specified":
        raise ValueError("another mask or label than RFC 4055 knows")
    mask_digest = _HASHES[mask["parameters"]["algorithm"].native]()
    label = bytes(source["parameters"].native)
    return padding.OAEP(mgf=padding.MGF1(mask_digest), algorithm=digest, label=label or None)


def _agreed(recipient: KeyAgreeRecipient, key: ec.EllipticCurvePrivateKey) -> bytes | None:
    algorithm = recipient.key_encryption_algorithm
    digest = _KDF_HASHES.get(algorithm.oid)
    try:
        wrap_der = _parameters(algorithm)
        wrap = cms.KeyEncryptionAlgorithm.load(wrap_der, strict=True)
        octets = _KEY_WRAPS.get(wrap["algorithm"].dotted)
    except (ValueError, TypeError, KeyError):
        octets = None
    if digest is None or octets is None:
        raise DecryptionError(
            f"the artifact's key is encrypted by an unsupported algorithm: {algorithm.oid}"
        )
    shared_info = {
        # The very octets received: the sender derived its key from them (absent parameters and
        # NULL are both seen in the wild).
        "key_info": core.Any.load(wrap_der),
        "supp_pub_info": (octets * 8).to_bytes(4, "big"),
    }
    if recipient.user_keying_material is not None:
        shared_info["entity_u_info"] = recipient.user_keying_material
    try:
        # from_encoded_point refuses points off the curve, which would leak our key bit by bit.
        originator = ec.EllipticCurvePublicKey.from_encoded_point(
            key.curve, recipient.originator_key
        )
        secret = key.exchange(ec.ECDH(), originator)
        kdf = X963KDF(algorithm=digest(), length=octets, sharedinfo=_SharedInfo(shared_info).dump())
        return aes_key_unwrap(kdf.derive(secret), recipient.encrypted_key)
    except (ValueError, InvalidUnwrap, UnsupportedAlgorithm):
        return None


def _decrypt_content(
    enveloped: EnvelopedData, cipher: _ContentCipher, content_key: bytes
) -> bytes | None:
    algorithm = algorithms.AES(content_key)
    try:
        if cipher.authenticated:
            mode = modes.GCM(cipher.nonce, enveloped.mac, min_tag_length=_TAG_MIN)
            opened = Cipher(algorithm, mode).decryptor()
            opened.authenticate_additional_data(enveloped.authenticated_attributes or b"")
            return opened.update(enveloped.encrypted_content) + opened.finalize()
        decryptor = Cipher(algorithm, modes.CBC(cipher.nonce)).decryptor()
        padded = decryptor.update(enveloped.encrypted_content) + decryptor.finalize()
        unpadder = PKCS7(_BLOCK * 8).unpadder()
        return unpadder.update(padded) + unpadder.finalize()
    except (ValueError, InvalidTag):
        return None
