# SPDX-License-Identifier: Apache-2.0
"""Device keys in files: `ports.DeviceKeys` over unencrypted PEM (RFC 8572, 5.1 and 9.7).

One key for everything, or a second one for decryption alone (5.1: "MAY be the same key"). TLS
does not go through here: OpenSSL reads the same files itself.
"""

import base64
import re
from collections.abc import Sequence

from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509 import SubjectKeyIdentifier as _SubjectKeyIdentifier

from xpu_agent.artifacts.certificate import Certificate, parse_certificate
from xpu_agent.artifacts.cms import EnvelopedData, IssuerAndSerialNumber
from xpu_agent.errors import DecryptionError, IdentityError, MalformedError, Reason
from xpu_agent.keys.enveloped import RecipientNames, open_envelope

_Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


class FileKeys:
    """`ports.DeviceKeys` with keys in memory; made by `load_keys`."""

    def __init__(self, signing: _Key, decryption: _Key, names: RecipientNames) -> None:
        self._signing = signing
        self._decryption = decryption
        self._names = names

    def sign(self, data: bytes) -> bytes:
        """See `ports.DeviceKeys`."""
        match self._signing:
            case rsa.RSAPrivateKey():
                return self._signing.sign(data, padding.PKCS1v15(), hashes.SHA256())
            case ec.EllipticCurvePrivateKey():
                return self._signing.sign(data, ec.ECDSA(hashes.SHA256()))
            case ed25519.Ed25519PrivateKey():
                return self._signing.sign(data)

    def decrypt(self, enveloped: EnvelopedData) -> bytes:
        """See `ports.DeviceKeys`."""
        if isinstance(self._decryption, ed25519.Ed25519PrivateKey):
            raise DecryptionError("an Ed25519 key can sign, not decrypt; the artifact is encrypted")
        return open_envelope(enveloped, self._decryption, self._names)


def load_keys(
    chain: Sequence[bytes], key_pem: bytes, decryption_key_pem: bytes | None = None
) -> FileKeys:
    """Keys that fit the device's certificate.

    `chain` is DER, leaf first. `decryption_key_pem` may hold the certificate that belongs to
    that key beside it; else senders name the key by the leaf, if it is the leaf's, or by its
    subjectKeyIdentifier of RFC 5280, 4.2.1.2 (1).

    Raises:
        IdentityError: `idevid-missing`: no certificate, no usable key, or they don't fit.
    """
    if not chain:
        raise _unusable("there is no IDevID certificate")
    try:
        leaf = parse_certificate(chain[0])
    except MalformedError as error:
        raise _unusable(f"the IDevID certificate can't be read: {error.message}") from error
    signing = _private_key(key_pem, "the IDevID private key")
    if not _fits(signing, leaf):
        raise _unusable("the private key is not that of the IDevID certificate")
    if decryption_key_pem is None:
        return FileKeys(signing, signing, _names(signing, leaf))
    decryption = _private_key(decryption_key_pem, "the decryption key")
    beside = _certificate_in(decryption_key_pem)
    if beside is not None and not _fits(decryption, beside):
        raise _unusable("the decryption key is not that of the certificate in its file")
    if beside is None and _fits(decryption, leaf):
        beside = leaf
    return FileKeys(signing, decryption, _names(decryption, beside))


def _private_key(pem: bytes, what: str) -> _Key:
    try:
        key = serialization.load_pem_private_key(_key_block(pem), password=None)
    except TypeError as error:
        raise _unusable(f"{what} is encrypted; it has to be stored without a passphrase") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _unusable(f"{what} is not a private key in PEM") from error
    if isinstance(key, _Key):
        return key
    raise _unusable(f"{what} is neither RSA, nor EC, nor Ed25519")


def _names(key: _Key, certificate: Certificate | None) -> RecipientNames:
    public = key.public_key()
    computed = _SubjectKeyIdentifier.from_public_key(public).digest
    if certificate is None:
        return RecipientNames(None, computed)
    return RecipientNames(
        IssuerAndSerialNumber(certificate.issuer, certificate.serial_number),
        certificate.subject_key_identifier or computed,
    )


def _fits(key: _Key, certificate: Certificate) -> bool:
    try:
        certified = serialization.load_der_public_key(certificate.public_key)
    except (ValueError, UnsupportedAlgorithm, InternalError):
        return False
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return certified.public_bytes(*form) == key.public_key().public_bytes(*form)


_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----\s.*?-----END \1-----", re.DOTALL)


def _key_block(pem: bytes) -> bytes:
    """The first private key of a file that may hold curve parameters or certificates too."""
    for block in _BLOCK.finditer(pem):
        if block[1].endswith(b"PRIVATE KEY"):
            return block[0] + b"\n"
    return b""


def _certificate_in(pem: bytes) -> Certificate | None:
    for block in _BLOCK.finditer(pem):
        if block[1] == b"CERTIFICATE":
            try:
                return parse_certificate(_body(block[0]))
            except (MalformedError, ValueError) as error:
                raise _unusable(
                    "the certificate beside the decryption key can't be read"
                ) from error
    return None


def _body(block: bytes) -> bytes:
    """DER of one PEM block. Raises ValueError."""
    return base64.b64decode(b"".join(block.split(b"-----")[2].split()), validate=True)


def _unusable(message: str) -> IdentityError:
    return IdentityError(
        Reason.IDEVID_MISSING,
        message,
        next_action="check the certificate and keys under `identity` in the configuration",
    )
