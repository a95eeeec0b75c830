# SPDX-License-Identifier: Apache-2.0
"""Private keys of the emulator and raw signatures (RFC 5280, 4.1.1.2; RFC 4055; RFC 8410).

Signing happens on octets, not through a certificate builder, so that any combination of key,
hash and padding can be made, also ones a careful library would not offer.
"""

from enum import StrEnum
from typing import Any, TypeAlias, assert_never

from asn1crypto import algos
from asn1crypto import keys as asn1_keys
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

PrivateKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
PublicKey: TypeAlias = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey

_HASHES: dict[str, type[hashes.HashAlgorithm]] = {
    "md5": hashes.MD5,
    "sha1": hashes.SHA1,
    "sha224": hashes.SHA224,
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
}


class KeyKind(StrEnum):
    """Kinds of key pair the emulator makes."""

    RSA2048 = "rsa2048"
    RSA3072 = "rsa3072"
    P256 = "p256"
    P384 = "p384"
    P521 = "p521"
    ED25519 = "ed25519"


def new_key(kind: KeyKind) -> PrivateKey:
    """A fresh key pair."""
    match kind:
        case KeyKind.RSA2048:
            return rsa.generate_private_key(public_exponent=65537, key_size=2048)
        case KeyKind.RSA3072:
            return rsa.generate_private_key(public_exponent=65537, key_size=3072)
        case KeyKind.P256:
            return ec.generate_private_key(ec.SECP256R1())
        case KeyKind.P384:
            return ec.generate_private_key(ec.SECP384R1())
        case KeyKind.P521:
            return ec.generate_private_key(ec.SECP521R1())
        case KeyKind.ED25519:
            return ed25519.Ed25519PrivateKey.generate()
        case _:
            assert_never(kind)


def hash_algorithm(name: str) -> hashes.HashAlgorithm:
    """The hash of this name, such as `sha256`.

    Raises:
        ValueError: no such hash.
    """
    if name not in _HASHES:
        raise ValueError(f"unknown hash {name!r}; known: {', '.join(_HASHES)}")
    return _HASHES[name]()


def digest(name: str, octets: bytes) -> bytes:
    """The hash of these octets."""
    context = hashes.Hash(hash_algorithm(name))
    context.update(octets)
    return context.finalize()


def spki(key: PublicKey) -> bytes:
    """The DER SubjectPublicKeyInfo."""
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def key_identifier(key: PublicKey) -> bytes:
    """SHA-1 of the public key's bits (RFC 5280, 4.2.1.2, method 1)."""
    return bytes(asn1_keys.PublicKeyInfo.load(spki(key)).sha1)


def signature_algorithm(
    key: PrivateKey, hash_name: str, *, pss: bool = False
) -> algos.SignedDigestAlgorithm:
    """The AlgorithmIdentifier of a signature made by `sign_octets` with the same arguments."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return algos.SignedDigestAlgorithm({"algorithm": "ed25519"})
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return algos.SignedDigestAlgorithm({"algorithm": f"{hash_name}_ecdsa"})
    if not pss:
        return algos.SignedDigestAlgorithm({"algorithm": f"{hash_name}_rsa"})
    parameters: dict[str, Any] = {
        "hash_algorithm": {"algorithm": hash_name},
        "mask_gen_algorithm": {"algorithm": "mgf1", "parameters": {"algorithm": hash_name}},
        "salt_length": hash_algorithm(hash_name).digest_size,
    }
    return algos.SignedDigestAlgorithm({"algorithm": "rsassa_pss", "parameters": parameters})


def sign_octets(key: PrivateKey, octets: bytes, hash_name: str, *, pss: bool = False) -> bytes:
    """Sign; `pss` counts for RSA keys only, `hash_name` not for Ed25519."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(octets)
    algorithm = hash_algorithm(hash_name)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(octets, ec.ECDSA(algorithm))
    if pss:
        return key.sign(
            octets,
            padding.PSS(mgf=padding.MGF1(algorithm), salt_length=algorithm.digest_size),
            algorithm,
        )
    return key.sign(octets, padding.PKCS1v15(), algorithm)
