# SPDX-License-Identifier: Apache-2.0
"""Checks one signature with one public key, under a budget (CMS-04, CMS-07).

Taken are RSA of 2048 bits or more (PKCS#1 v1.5; PSS with explicit parameters), ECDSA on P-256,
P-384 and P-521, and Ed25519, with SHA-256, SHA-384 or SHA-512. MD5, SHA-1, DSA and small keys are
refused whoever signed. What the signature algorithm says about the digest, what the digest
algorithm says, and what kind the key is have to agree.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, assert_never

from cryptography.exceptions import InternalError, InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from xpu_agent import limits
from xpu_agent.artifacts import der
from xpu_agent.artifacts.certificate import AlgorithmIdentifier
from xpu_agent.errors import MalformedError, Reason, TrustError

_SHA256: Final = "2.16.840.1.101.3.4.2.1"
_SHA384: Final = "2.16.840.1.101.3.4.2.2"
_SHA512: Final = "2.16.840.1.101.3.4.2.3"
_HASHES: Final[dict[str, Callable[[], hashes.HashAlgorithm]]] = {
    _SHA256: hashes.SHA256,
    _SHA384: hashes.SHA384,
    _SHA512: hashes.SHA512,
}
_RSA_ENCRYPTION: Final = "1.2.840.113549.1.1.1"  # in CMS the digest algorithm names the hash
_RSA_PSS: Final = "1.2.840.113549.1.1.10"
_MGF1: Final = "1.2.840.113549.1.1.8"
_RSA_WITH: Final = {
    "1.2.840.113549.1.1.11": _SHA256,
    "1.2.840.113549.1.1.12": _SHA384,
    "1.2.840.113549.1.1.13": _SHA512,
}
_ECDSA_WITH: Final = {
    "1.2.840.10045.4.3.2": _SHA256,
    "1.2.840.10045.4.3.3": _SHA384,
    "1.2.840.10045.4.3.4": _SHA512,
}
_ED25519: Final = "1.3.101.112"
_CURVES: Final = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_RSA_BITS: Final = (2048, 8192)  # the upper bound is one of time, not of strength
_RSA_EXPONENT_BITS: Final = 33
_NULL: Final = b"\x05\x00"

_PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey


class BudgetSpentError(TrustError):
    """Judging took more public key operations or steps than any honest bundle needs (CMS-07)."""

    def __init__(self, message: str) -> None:
        super().__init__(Reason.SIGNATURE_INVALID, message)


@dataclass(slots=True)
class Budget:
    """What one judgement may spend; shared by all its parts, never refilled.

    It also remembers which certificate was found to have signed which, since paths share edges.
    """

    checks: int = limits.SIGNATURE_CHECKS
    steps: int = limits.PATH_STEPS
    name_octets: int = limits.NAME_OCTETS
    edges: dict[tuple[bytes, bytes], bool] = field(default_factory=dict)

    def spend_check(self) -> None:
        """One public key operation. Raises BudgetSpentError."""
        if self.checks <= 0:
            raise BudgetSpentError(f"more than {limits.SIGNATURE_CHECKS} signatures to check")
        self.checks -= 1

    def spend_step(self) -> None:
        """One step of a path search. Raises BudgetSpentError."""
        if self.steps <= 0:
            raise BudgetSpentError(f"more than {limits.PATH_STEPS} steps in search of a path")
        self.steps -= 1

    def spend_name_octets(self, octets: int) -> None:
        """One comparison of names of so many octets together. Raises BudgetSpentError."""
        self.name_octets -= octets
        if self.name_octets < 0:
            raise BudgetSpentError(f"more than {limits.NAME_OCTETS} octets of names to compare")


def verify_signature(
    public_key: bytes,
    algorithm: AlgorithmIdentifier,
    data: bytes,
    signature: bytes,
    *,
    budget: Budget,
    digest_algorithm: AlgorithmIdentifier | None = None,
) -> None:
    """Return if `signature` over `data` is by the holder of `public_key` (DER).

    `digest_algorithm` is that of a CMS SignerInfo, None elsewhere; it has to agree.

    Raises:
        TrustError: `signature-invalid`: it is not, or by means that are not taken.
    """
    budget.spend_check()
    digest = None if digest_algorithm is None else _digest_oid(digest_algorithm)
    restriction = _pss_restriction(public_key)
    key = _load(public_key)
    try:
        match key:
            case rsa.RSAPublicKey():
                _verify_rsa(key, algorithm, data, signature, digest=digest, restriction=restriction)
            case ec.EllipticCurvePublicKey():
                named = _named_digest(_ECDSA_WITH, algorithm, "ECDSA", {None})
                _agree(named, digest)
                key.verify(signature, data, ec.ECDSA(_HASHES[named]()))
            case ed25519.Ed25519PublicKey():
                if algorithm.oid != _ED25519 or algorithm.parameters is not None:
                    raise _refused("the signature algorithm does not fit an Ed25519 key")
                if digest is not None and digest != _SHA512:
                    raise _refused("Ed25519 in CMS goes with SHA-512 (RFC 8419)")
                key.verify(signature, data)
            case _:
                assert_never(key)
    except InvalidSignature as error:
        raise _refused("the signature does not verify") from error


def digest_of(algorithm: AlgorithmIdentifier, data: bytes) -> bytes:
    """The digest of `data` by a digest algorithm that is taken.

    Raises:
        TrustError: `signature-invalid`: MD5, SHA-1 or another that is not taken.
    """
    names = {_SHA256: "sha256", _SHA384: "sha384", _SHA512: "sha512"}
    return hashlib.new(names[_digest_oid(algorithm)], data).digest()


def _verify_rsa(
    key: rsa.RSAPublicKey,
    algorithm: AlgorithmIdentifier,
    data: bytes,
    signature: bytes,
    *,
    digest: str | None,
    restriction: AlgorithmIdentifier | None,
) -> None:
    if algorithm.oid == _RSA_PSS:
        named, salt = _pss_parameters(algorithm)
        _agree(named, digest)
        if restriction is not None and restriction.parameters is not None:
            allowed, least = _pss_parameters(restriction)
            if named != allowed or salt < least:
                raise _refused("the signature has PSS parameters the key does not allow")
        scheme: padding.AsymmetricPadding = padding.PSS(padding.MGF1(_HASHES[named]()), salt)
    elif restriction is not None:
        raise _refused("the signer's key is for PSS alone, and the signature is another")
    else:
        if algorithm.oid == _RSA_ENCRYPTION and digest is not None:
            if algorithm.parameters not in {None, _NULL}:
                raise _refused("an RSA signature has parameters it can't have")
            named = digest
        else:
            named = _named_digest(_RSA_WITH, algorithm, "RSA", {None, _NULL})
        _agree(named, digest)
        scheme = padding.PKCS1v15()
    key.verify(signature, data, scheme, _HASHES[named]())


def _pss_restriction(public_key: bytes) -> AlgorithmIdentifier | None:
    """The key's own algorithm if it is an RSA key for PSS alone (RFC 4055, 1.2); else None.

    `cryptography` loads it as any RSA key and forgets that it said so.
    """
    where = "public key"
    try:
        fields = der.Fields(der.parse_der(public_key, where), der.SEQUENCE, where)
        algorithm = _algorithm(fields.take(der.SEQUENCE, "algorithm"), where)
    except MalformedError as error:
        raise _refused("the signer's public key can't be used") from error
    return algorithm if algorithm.oid == _RSA_PSS else None


def _pss_parameters(algorithm: AlgorithmIdentifier) -> tuple[str, int]:
    """Hash and salt length; all explicit, for the defaults are SHA-1 (RFC 4055, 3.1)."""
    if algorithm.parameters is None:
        raise _refused("PSS parameters are left to their defaults, which are SHA-1")
    where = "PSS parameters"
    try:
        fields = der.Fields(der.parse_der(algorithm.parameters, where), der.SEQUENCE, where)
        hash_algorithm = _inner(fields.take(der.context(0), "hashAlgorithm"), where)
        mask = der.Fields(
            der.explicit(fields.take(der.context(1), "maskGenAlgorithm"), where),
            der.SEQUENCE,
            where,
        )
        mask_oid = der.object_identifier(mask.take(der.OBJECT_IDENTIFIER, "maskGenAlgorithm"))
        mask_hash = _algorithm(mask.take(der.SEQUENCE, "mask hash"), where)
        salt = der.integer(
            der.explicit(fields.take(der.context(2), "saltLength"), where), "saltLength"
        )
        fields.end()  # a trailerField other than the default is no trailer there is
    except MalformedError as error:
        raise _refused(f"PSS parameters can't be used: {error.message}") from error
    named = _digest_oid(hash_algorithm)
    if mask_oid != _MGF1 or _digest_oid(mask_hash) != named:
        raise _refused("PSS uses two different digests")
    if not 0 <= salt <= 512:
        raise _refused("PSS has an impossible salt length")
    return named, salt


def _inner(element: der.Element, where: str) -> AlgorithmIdentifier:
    return _algorithm(der.explicit(element, where), where)


def _algorithm(element: der.Element, where: str) -> AlgorithmIdentifier:
    fields = der.Fields(element, der.SEQUENCE, where)
    oid = der.object_identifier(fields.take(der.OBJECT_IDENTIFIER, "algorithm"))
    rest = fields.rest()
    return AlgorithmIdentifier(oid, rest[0].der if rest else None)


def _digest_oid(algorithm: AlgorithmIdentifier) -> str:
    if algorithm.oid not in _HASHES or algorithm.parameters not in {None, _NULL}:
        raise _refused(f"the digest algorithm {algorithm.oid} is not taken")
    return algorithm.oid


def _named_digest(
    table: dict[str, str],
    algorithm: AlgorithmIdentifier,
    kind: str,
    parameters: set[bytes | None],
) -> str:
    """The digest a signature algorithm of this kind names."""
    if algorithm.oid not in table:
        raise _refused(f"the signature algorithm {algorithm.oid} is not taken with a {kind} key")
    if algorithm.parameters not in parameters:
        raise _refused(f"an {kind} signature has parameters it can't have")
    return table[algorithm.oid]


def _agree(named: str, digest: str | None) -> None:
    if digest is not None and digest != named:
        raise _refused("signature algorithm and digest algorithm name different digests")


def _load(public_key: bytes) -> _PublicKey:
    try:
        key = serialization.load_der_public_key(public_key)
    except (ValueError, TypeError, UnsupportedAlgorithm, InternalError) as error:
        # Older releases of cryptography let OpenSSL's own complaint through: a DSA key that
        # leaves its parameters to its issuer, for one.
        raise _refused("the signer's public key can't be used") from error
    match key:
        case rsa.RSAPublicKey():
            least, most = _RSA_BITS
            if not least <= key.key_size <= most:
                raise _refused(f"an RSA key of {key.key_size} bits is not taken")
            if key.public_numbers().e.bit_length() > _RSA_EXPONENT_BITS:
                raise _refused("an RSA key has an exponent that is not taken")
            return key
        case ec.EllipticCurvePublicKey() if isinstance(key.curve, _CURVES):
            return key
        case ed25519.Ed25519PublicKey():
            return key
        case _:
            raise _refused("the signer's kind of key is not taken")


def _refused(message: str) -> TrustError:
    return TrustError(Reason.SIGNATURE_INVALID, message)
