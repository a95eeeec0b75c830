# SPDX-License-Identifier: Apache-2.0
"""Signatures of all kinds that are taken, and those that aren't (CMS-01 to CMS-04)."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from asn1crypto import keys as asn1_keys
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, padding, rsa
from tests.unit.trust import bundles
from tests.unit.trust.bundles import (
    accepted,
    authorities,
    issue,
    judged,
    make_voucher,
    refused,
    root,
)

from xpu_agent import limits
from xpu_agent.artifacts.certificate import AlgorithmIdentifier, parse_certificate
from xpu_agent.artifacts.cms import SignedData, parse_content_info
from xpu_agent.errors import MalformedError, Reason, TrustError
from xpu_agent.trust.cms_signature import candidates, is_named, may_sign, verify_signer
from xpu_agent.trust.signature import Budget, BudgetSpentError, digest_of, verify_signature
from xpu_agent.trust.signed_data import Step
from xpu_emulator.artifacts import (
    ContentType,
    Signer,
    Wrong,
    conveyed_json,
    signed,
    signed_by,
    voucher_document,
)
from xpu_emulator.keys import sign_octets, signature_algorithm, spki
from xpu_emulator.pki import Identity, KeyKind, PrivateKey, new_key

SHA256, SHA384, SHA512 = (f"2.16.840.1.101.3.4.2.{n}" for n in (1, 2, 3))
SHA1, MD5, SHA224 = "1.3.14.3.2.26", "1.2.840.113549.2.5", "2.16.840.1.101.3.4.2.4"
DIGESTS = {"sha256": SHA256, "sha384": SHA384, "sha512": SHA512}
RSA_ENCRYPTION, RSA_PSS = "1.2.840.113549.1.1.1", "1.2.840.113549.1.1.10"
NULL = b"\x05\x00"
DATA = b"what is signed"

KINDS = [KeyKind.RSA2048, KeyKind.P256, KeyKind.P384, KeyKind.P521, KeyKind.ED25519]
KEYS: dict[KeyKind, PrivateKey] = {kind: new_key(kind) for kind in KINDS}


def algorithm_of(key: PrivateKey, hash_name: str, *, pss: bool = False) -> AlgorithmIdentifier:
    made = signature_algorithm(key, hash_name, pss=pss)
    parameters = made["parameters"].dump() or None
    return AlgorithmIdentifier(made["algorithm"].dotted, parameters)


def verify(
    key: Any,
    algorithm: AlgorithmIdentifier,
    signature: bytes,
    *,
    data: bytes = DATA,
    digest: str | None = None,
    digest_parameters: bytes | None = None,
) -> None:
    public = key if isinstance(key, bytes) else spki(key.public_key())
    verify_signature(
        public,
        algorithm,
        data,
        signature,
        budget=Budget(),
        digest_algorithm=(digest and AlgorithmIdentifier(digest, digest_parameters)) or None,
    )


def no_signature(*arguments: Any, **more: Any) -> str:
    with pytest.raises(TrustError) as caught:
        verify(*arguments, **more)
    assert caught.value.reason is Reason.SIGNATURE_INVALID
    return caught.value.message


# --- what is taken ----------------------------------------------------------------------------


@pytest.mark.requirement("CMS-04")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("hash_name", DIGESTS)
def test_every_kind_of_key_with_every_digest(kind: KeyKind, hash_name: str) -> None:
    key = KEYS[kind]
    algorithm = algorithm_of(key, hash_name)
    signature = sign_octets(key, DATA, hash_name)
    verify(key, algorithm, signature)
    message = no_signature(key, algorithm, signature, data=DATA + b".")
    assert message == "the signature does not verify"
    digest = SHA512 if kind is KeyKind.ED25519 else DIGESTS[hash_name]
    verify(key, algorithm, signature, digest=digest)
    verify(key, algorithm, signature, digest=digest, digest_parameters=NULL)
    no_signature(key, algorithm, signature, digest=digest, digest_parameters=b"\x30\x00")
    for other in {SHA256, SHA384, SHA512, SHA1} - {digest}:
        no_signature(key, algorithm, signature, digest=other)
    same_kind = new_key(kind)
    no_signature(same_kind, algorithm, signature)


@pytest.mark.requirement("CMS-04")
@pytest.mark.parametrize("hash_name", DIGESTS)
def test_rsa_in_its_three_forms(hash_name: str) -> None:
    key, digest = KEYS[KeyKind.RSA2048], DIGESTS[hash_name]
    signature = sign_octets(key, DATA, hash_name)
    for parameters in (None, NULL):
        plain = AlgorithmIdentifier(RSA_ENCRYPTION, parameters)
        verify(key, plain, signature, digest=digest)
        # Outside of CMS nothing would say which digest it is.
        assert "is not taken with a RSA key" in no_signature(key, plain, signature)
        combined = replace(algorithm_of(key, hash_name), parameters=parameters)
        verify(key, combined, signature, digest=digest)
    for algorithm in (plain, combined):
        odd = replace(algorithm, parameters=b"\x30\x00")
        assert "parameters" in no_signature(key, odd, signature, digest=digest)
    pss = algorithm_of(key, hash_name, pss=True)
    verify(key, pss, sign_octets(key, DATA, hash_name, pss=True), digest=digest)
    no_signature(key, pss, signature)
    no_signature(key, combined, sign_octets(key, DATA, hash_name, pss=True))


@pytest.mark.refuses("CMS-04")
@pytest.mark.parametrize("hash_name", ["md5", "sha1", "sha224"])
def test_digests_that_are_not_taken(hash_name: str) -> None:
    oid = {"md5": MD5, "sha1": SHA1, "sha224": SHA224}[hash_name]
    with pytest.raises(TrustError):
        digest_of(AlgorithmIdentifier(oid, None), DATA)
    for kind in (KeyKind.RSA2048, KeyKind.P256):
        if (hash_name, kind) == ("md5", KeyKind.P256):
            continue  # there is no such algorithm
        key = KEYS[kind]
        signature = sign_octets(key, DATA, hash_name)
        no_signature(key, algorithm_of(key, hash_name), signature)
        no_signature(key, algorithm_of(key, hash_name), signature, digest=oid)
    key = KEYS[KeyKind.RSA2048]
    plain = AlgorithmIdentifier(RSA_ENCRYPTION, NULL)
    no_signature(key, plain, sign_octets(key, DATA, hash_name), digest=oid)
    pss = algorithm_of(key, hash_name, pss=True)
    no_signature(key, pss, sign_octets(key, DATA, hash_name, pss=True))


@pytest.mark.requirement("CMS-04")
def test_digests_that_are_taken() -> None:
    for name, oid in DIGESTS.items():
        for parameters in (None, NULL):
            algorithm = AlgorithmIdentifier(oid, parameters)
            assert digest_of(algorithm, DATA) == hashlib.new(name, DATA).digest()
    with pytest.raises(TrustError):
        digest_of(AlgorithmIdentifier(SHA256, b"\x02\x01\x00"), DATA)


@pytest.mark.refuses("CMS-04")
def test_algorithms_of_another_kind_of_key() -> None:
    for kind, key in KEYS.items():
        for other, other_key in KEYS.items():
            algorithm = algorithm_of(other_key, "sha256")
            if algorithm == algorithm_of(key, "sha256"):
                continue  # ECDSA is one algorithm for all curves
            signature = sign_octets(key, DATA, "sha256")
            no_signature(key, algorithm, signature)
            assert kind is not other
        odd = replace(algorithm_of(key, "sha256"), parameters=b"\x30\x00")
        no_signature(key, odd, sign_octets(key, DATA, "sha256"))


@pytest.mark.refuses("CMS-04")
def test_parameters_where_none_belong() -> None:
    for kind in (KeyKind.P256, KeyKind.ED25519):
        key = KEYS[kind]
        with_null = replace(algorithm_of(key, "sha256"), parameters=NULL)
        no_signature(key, with_null, sign_octets(key, DATA, "sha256"))


# --- keys -------------------------------------------------------------------------------------


def _public(key: Any) -> bytes:
    encoded: bytes = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return encoded


@pytest.mark.refuses("CMS-04")
def test_small_rsa_keys() -> None:
    key = rsa.generate_private_key(65537, 1024)  # noqa: S505  # the one to be refused
    signature = sign_octets(key, DATA, "sha256")
    message = no_signature(key, algorithm_of(key, "sha256"), signature)
    assert message == "an RSA key of 1024 bits is not taken"
    almost = rsa.generate_private_key(65537, 2040)  # noqa: S505  # the one to be refused
    signature = sign_octets(almost, DATA, "sha256")
    assert "2040 bits" in no_signature(almost, algorithm_of(almost, "sha256"), signature)


@pytest.mark.refuses("CMS-07")
def test_rsa_keys_that_would_take_long() -> None:
    def public(bits: int, exponent: int) -> bytes:
        numbers = asn1_keys.RSAPublicKey(
            {"modulus": (1 << bits - 1) + 1, "public_exponent": exponent}
        )
        info = {"algorithm": {"algorithm": "rsa"}, "public_key": numbers}
        return bytes(asn1_keys.PublicKeyInfo(info).dump())

    algorithm = AlgorithmIdentifier("1.2.840.113549.1.1.11", NULL)
    assert "8193 bits" in no_signature(public(8193, 65537), algorithm, b"\x01" * 1025)
    assert "does not verify" in no_signature(public(8192, 65537), algorithm, b"\x01" * 1024)
    long = no_signature(public(2048, (1 << 33) + 1), algorithm, b"\x01" * 256)
    assert "exponent" in long or "can't be used" in long
    assert "does not verify" in no_signature(public(2048, (1 << 32) + 1), algorithm, b"\x01" * 256)


@pytest.mark.refuses("CMS-04")
def test_other_kinds_of_keys() -> None:
    algorithm = AlgorithmIdentifier("1.2.840.10045.4.3.2", None)
    for curve in (ec.SECP256K1(), ec.SECP224R1(), ec.SECP192R1()):
        try:
            key = ec.generate_private_key(curve)
        except Exception:  # noqa: BLE001, S112  # a curve this OpenSSL doesn't have
            continue
        signature = key.sign(DATA, ec.ECDSA(hashes.SHA256()))
        no_signature(_public(key), algorithm, signature)
    for other in (ed448.Ed448PrivateKey.generate(), dsa.generate_private_key(2048)):
        assert "kind of key" in no_signature(_public(other), algorithm, b"")
    for octets in (b"", b"\x30\x00", _public(KEYS[KeyKind.P256])[:-1]):
        assert "can't be used" in no_signature(octets, algorithm, b"")


# --- PSS --------------------------------------------------------------------------------------


def _tlv(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return bytes([tag, len(content)]) + content


def _hash(oid: str, parameters: bytes = b"") -> bytes:
    return _tlv(0x30, bytes(asn1_keys.ObjectIdentifier(oid).dump()), parameters)


def _pss(
    *,
    digest: str = SHA256,
    mask: str = SHA256,
    mask_function: str = "1.2.840.113549.1.1.8",
    salt: bytes = b"\x20",
    extra: bytes = b"",
    leave_out: Sequence[int] = (),
) -> AlgorithmIdentifier:
    function = _tlv(0x30, bytes(asn1_keys.ObjectIdentifier(mask_function).dump()), _hash(mask))
    parts = [_tlv(0xA0, _hash(digest)), _tlv(0xA1, function), _tlv(0xA2, _tlv(2, salt))]
    kept = [part for number, part in enumerate(parts) if number not in leave_out]
    return AlgorithmIdentifier(RSA_PSS, _tlv(0x30, *kept, extra))


def _pss_signature(salt: int = 32, mask: hashes.HashAlgorithm | None = None) -> bytes:
    key = KEYS[KeyKind.RSA2048]
    assert isinstance(key, rsa.RSAPrivateKey)
    scheme = padding.PSS(padding.MGF1(mask or hashes.SHA256()), salt)
    return key.sign(DATA, scheme, hashes.SHA256())


@pytest.mark.requirement("CMS-04")
def test_pss_with_explicit_parameters() -> None:
    key = KEYS[KeyKind.RSA2048]
    verify(key, _pss(), _pss_signature())
    verify(key, _pss(), _pss_signature(), digest=SHA256)
    verify(key, _pss(salt=b"\x00"), _pss_signature(0))
    verify(key, _pss(salt=b"\x40"), _pss_signature(64))


@pytest.mark.refuses("CMS-04")
def test_pss_parameters() -> None:
    key = KEYS[KeyKind.RSA2048]
    signature = _pss_signature()
    bare = AlgorithmIdentifier(RSA_PSS, None)
    assert "defaults" in no_signature(key, bare, signature)
    for number in range(3):
        assert "can't be used" in no_signature(key, _pss(leave_out=[number]), signature)
    trailer = _tlv(0xA3, b"\x02\x01\x02")
    assert "can't be used" in no_signature(key, _pss(extra=trailer), signature)
    for octets in (NULL, b"\x30", b"\x31\x00", b"\x30\x00"):
        no_signature(key, AlgorithmIdentifier(RSA_PSS, octets), signature)
    two = _pss_signature(mask=hashes.SHA512())
    assert "two different digests" in no_signature(key, _pss(mask=SHA512), two)
    other = no_signature(key, _pss(mask_function="2.999.1"), signature)
    assert "two different digests" in other
    for salt in (b"\xff", b"\x02\x01", b"\x7f\xff"):
        assert "salt" in no_signature(key, _pss(salt=salt), signature)
    assert "does not verify" in no_signature(key, _pss(salt=b"\x02\x00"), signature)
    assert "does not verify" in no_signature(key, _pss(salt=b"\x21"), signature)
    assert "digest algorithm" in no_signature(key, _pss(digest=SHA1, mask=SHA1), signature)
    assert "different digests" in no_signature(key, _pss(), signature, digest=SHA512)


def _restricted(parameters: bytes) -> bytes:
    """The RSA key as one for PSS alone (RFC 4055, 1.2)."""
    plain = (
        KEYS[KeyKind.RSA2048]
        .public_key()
        .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    bits = plain[plain.index(RSA_KEY_ALGORITHM) + len(RSA_KEY_ALGORITHM) :]
    content = _hash(RSA_PSS, parameters) + bits
    return b"\x30\x82" + len(content).to_bytes(2, "big") + content


def _by_restricted(parameters: bytes | None, algorithm: AlgorithmIdentifier, sig: bytes) -> None:
    key = _restricted(parameters or b"")
    verify_signature(key, algorithm, DATA, sig, budget=Budget())


RSA_KEY_ALGORITHM = bytes.fromhex("300d06092a864886f70d0101010500")


@pytest.mark.requirement("CMS-04")
def test_a_key_for_pss_alone_signs_with_pss() -> None:
    for parameters in (None, _pss().parameters, _pss(salt=b"\x10").parameters):
        _by_restricted(parameters, _pss(), _pss_signature())


@pytest.mark.refuses("CMS-04")
def test_a_key_for_pss_alone_signs_with_nothing_else() -> None:
    key = KEYS[KeyKind.RSA2048]
    old = algorithm_of(key, "sha256")
    for parameters in (None, _pss().parameters):
        with pytest.raises(TrustError, match="for PSS alone"):
            _by_restricted(parameters, old, sign_octets(key, DATA, "sha256"))
    for parameters in (_pss(digest=SHA512, mask=SHA512).parameters, _pss(salt=b"\x21").parameters):
        with pytest.raises(TrustError, match="the key does not allow"):
            _by_restricted(parameters, _pss(), _pss_signature())
    with pytest.raises(TrustError):
        _by_restricted(NULL, _pss(), _pss_signature())
