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


# --- the budget -------------------------------------------------------------------------------


@pytest.mark.refuses("CMS-07")
def test_each_check_is_paid_for_even_if_it_fails_early() -> None:
    budget = Budget(checks=2)
    key, algorithm = KEYS[KeyKind.P256], AlgorithmIdentifier("2.999.1", None)
    for _ in range(2):
        with pytest.raises(TrustError):
            verify_signature(spki(key.public_key()), algorithm, DATA, b"", budget=budget)
    with pytest.raises(BudgetSpentError):
        verify_signature(spki(key.public_key()), algorithm, DATA, b"", budget=budget)
    assert Budget().checks == limits.SIGNATURE_CHECKS
    assert Budget().steps == limits.PATH_STEPS
    assert Budget().name_octets == limits.NAME_OCTETS


# --- whole bundles ----------------------------------------------------------------------------


@pytest.mark.requirement("CMS-04", "SZTP-5.4-10", "SZTP-5.4-02")
@pytest.mark.parametrize("sid", ["issuer-serial", "ski"])
@pytest.mark.parametrize(
    ("kind", "hash_name", "pss"),
    [
        (KeyKind.RSA2048, "sha256", False),
        (KeyKind.RSA2048, "sha512", True),
        (KeyKind.P256, "sha256", False),
        (KeyKind.P384, "sha384", False),
        (KeyKind.P521, "sha512", False),
        (KeyKind.ED25519, "sha512", False),
    ],
)
def test_bundles_of_every_kind(kind: KeyKind, hash_name: str, pss: bool, sid: Any) -> None:
    who = authorities(kind)
    signer = Signer(who.owner, sid=sid, hash_name=hash_name, pss=pss)
    what = bundles.bundle(
        bundles.make_conveyed(signer),
        bundles.owner_bag(who.owner, who.owner_ca),
        make_voucher(
            signer=who.voucher_signer,
            pinned=who.owner_root,
            sid=sid,
            hash_name=hash_name,
            pss=pss,
        ),
    )
    accepted(judged(what, device=bundles.facts(voucher_anchors=(who.manufacturer.der,))))


@pytest.mark.requirement("CMS-03")
def test_one_good_signer_among_several_is_enough() -> None:
    who = authorities()
    stranger = issue(root("Stranger"), "Stranger")
    sibling = issue(who.owner_ca, "Sibling")
    bad = Signer(who.owner, wrong=Wrong.TAMPERED_SIGNATURE)
    others: list[Identity | Signer] = [stranger, sibling, bad]
    for signers in ([who.owner, *others], [*others, who.owner], [bad, who.owner]):
        accepted(judged(bundles.bundle(bundles.make_conveyed(*signers))))
    sid = Signer(who.owner, sid="ski")
    accepted(judged(bundles.bundle(bundles.make_conveyed(sid, bad))))


@pytest.mark.refuses("CMS-03")
def test_of_several_signers_none_is_good() -> None:
    who = authorities()
    signers = (
        issue(root("Stranger"), "Stranger"),
        issue(who.owner_ca, "Sibling"),
        Signer(who.owner, wrong=Wrong.TAMPERED_SIGNATURE),
        Signer(who.owner, sid="ski", wrong=Wrong.OTHER_KEY),
    )
    refused(
        judged(bundles.bundle(bundles.make_conveyed(*signers))),
        Step.CONVEYED_INFORMATION_SIGNATURE,
        Reason.SIGNATURE_INVALID,
    )


def _voucher_by(*signers: Signer | Identity, certificates: Sequence[Identity] = ()) -> bytes:
    who = authorities()
    document = voucher_document(
        bundles.SERIAL, who.owner_root, bundles.NOW - bundles.DAY, bundles.NOW + bundles.DAY
    )
    inside = [who.voucher_signer, who.voucher_ca, *certificates]
    return signed_by(
        conveyed_json(document), ContentType.VOUCHER_JSON, signers, certificates=inside
    )


@pytest.mark.requirement("CMS-03")
@pytest.mark.refuses("CMS-03")
def test_several_signers_of_a_voucher() -> None:
    who = authorities()
    stranger = issue(root("Stranger"), "Stranger")
    for signers in ([stranger, who.voucher_signer], [who.voucher_signer, stranger]):
        voucher = _voucher_by(*signers, certificates=[stranger, stranger.root])
        accepted(judged(bundles.bundle(ownership_voucher=voucher)))
    bad = Signer(who.voucher_signer, wrong=Wrong.OTHER_KEY)
    voucher = _voucher_by(stranger, bad, certificates=[stranger, stranger.root])
    refused(
        judged(bundles.bundle(ownership_voucher=voucher)),
        Step.VOUCHER_SIGNATURE,
        Reason.VOUCHER_UNTRUSTED,
    )


@pytest.mark.requirement("CMS-06")
def test_certificates_of_one_issuer_and_serial_number_are_told_apart_by_the_signature() -> None:
    who = authorities()
    double = issue(who.owner_ca, "Double", serial=who.owner.serial_number)
    for bag in ((who.owner, double), (double, who.owner)):
        accepted(judged(bundles.bundle(owner_certificate=bundles.owner_bag(*bag, who.owner_ca))))
    voucher_double = issue(who.voucher_ca, "Double", serial=who.voucher_signer.serial_number)
    voucher = _voucher_by(who.voucher_signer, certificates=[voucher_double])
    accepted(judged(bundles.bundle(ownership_voucher=voucher)))


# --- CMS --------------------------------------------------------------------------------------


def _made(*signers: Signer | Identity, **more: Any) -> SignedData:
    octets = signed_by(
        conveyed_json(bundles.ONBOARDING), ContentType.CONVEYED_JSON, signers, **more
    )
    found = parse_content_info(octets)
    assert isinstance(found, SignedData)
    return found


@pytest.mark.refuses("CMS-01")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"content_type_attribute": ContentType.DATA.value}, "content type"),
        ({"message_digest_attribute": b"\x00" * 32}, "digest"),
        ({"message_digest_attribute": b""}, "digest"),
    ],
)
def test_attributes_bind_content_and_type(change: dict[str, Any], words: str) -> None:
    message = _made(authorities().owner)
    certificate = parse_certificate(authorities().owner.der)
    signer = replace(message.signers[0], **change)
    with pytest.raises(TrustError, match=words):
        verify_signer(message, signer, certificate, Budget())
    verify_signer(message, message.signers[0], certificate, Budget())


@pytest.mark.refuses("CMS-01")
@pytest.mark.parametrize(
    "wrong",
    [
        Wrong.MISSING_CONTENT_TYPE_ATTRIBUTE,
        Wrong.TWO_CONTENT_TYPE_ATTRIBUTES,
        Wrong.MISSING_MESSAGE_DIGEST,
        Wrong.TWO_MESSAGE_DIGESTS,
        Wrong.TWO_MESSAGE_DIGEST_VALUES,
    ],
)
def test_attributes_that_are_not_one_each(wrong: Wrong) -> None:
    with pytest.raises(MalformedError):
        bundles.bundle(bundles.make_conveyed(Signer(authorities().owner, wrong=wrong)))


@pytest.mark.requirement("CMS-01")
def test_without_attributes_id_data_only() -> None:
    signer = Signer(authorities().owner, signed_attributes=False)
    accepted(judged(bundles.bundle(bundles.make_conveyed(signer, content_type=ContentType.DATA))))
    with pytest.raises(MalformedError):
        bundles.bundle(bundles.make_conveyed(signer))


@pytest.mark.refuses("CMS-01", "SZTP-5.4-10")
def test_without_attributes_the_content_itself_is_covered() -> None:
    who = authorities()
    octets = signed_by(
        conveyed_json(bundles.ONBOARDING),
        ContentType.DATA,
        [Signer(who.owner, signed_attributes=False)],
        wrong=Wrong.TAMPERED_CONTENT,
    )
    refused(
        judged(bundles.bundle(octets)),
        Step.CONVEYED_INFORMATION_SIGNATURE,
        Reason.SIGNATURE_INVALID,
    )


@pytest.mark.refuses("CMS-02")
def test_attributes_shown_as_content() -> None:
    octets = signed(
        conveyed_json(bundles.ONBOARDING),
        ContentType.DATA,
        authorities().owner,
        wrong=Wrong.ATTRIBUTES_AS_CONTENT,
    )
    with pytest.raises(MalformedError):
        bundles.bundle(octets)
    # Even if it came as far as this: the signature is checked over the octets in question.
    message = _made(authorities().owner)
    attributes = message.signers[0].signed_attributes
    assert attributes is not None
    replayed = replace(message, content_type=ContentType.DATA.value, content=attributes)
    bare = replace(message.signers[0], message_digest_attribute=hashlib.sha256(attributes).digest())
    with pytest.raises(TrustError):
        verify_signer(replayed, bare, parse_certificate(authorities().owner.der), Budget())


@pytest.mark.requirement("CMS-02")
def test_the_signature_covers_the_set_of_attributes() -> None:
    message = _made(Signer(authorities().owner, signing_time=bundles.NOW))
    attributes = message.signers[0].signed_attributes
    assert attributes is not None
    assert attributes[0] == 0x31
    who = authorities()
    accepted(
        judged(bundles.bundle(bundles.make_conveyed(Signer(who.owner, signing_time=bundles.NOW))))
    )


def test_candidates_are_those_named_each_once() -> None:
    who = authorities()
    certificates = bundles.certificates([who.owner, who.owner_ca, who.owner, who.voucher_signer])
    for sid in ("issuer-serial", "ski"):
        signer = _made(Signer(who.owner, sid=sid)).signers[0]
        assert [c.der for c in candidates(signer, certificates)] == [who.owner.der]
    bare = parse_certificate(issue(who.owner_ca, "Bare", without_ski=True).der)
    assert not is_named(signer, bare)
    other_serial = _made(issue(who.owner_ca, "Other")).signers[0]
    other_issuer = _made(issue(who.owner_root, "Other", serial=who.owner.serial_number)).signers[0]
    for stranger in (other_serial, other_issuer):
        assert list(candidates(stranger, certificates)) == []


@pytest.mark.requirement("SZTP-3.2-02")
def test_who_may_sign_data() -> None:
    ca = authorities().owner_ca
    for usage, wanted in (
        (None, True),
        ({"digital_signature"}, True),
        ({"digital_signature", "key_cert_sign"}, True),
        ({"key_cert_sign"}, False),
        ({"non_repudiation"}, False),
    ):
        certificate = parse_certificate(issue(ca, "Leaf", key_usage=usage).der)
        assert may_sign(certificate) is wanted


@pytest.mark.refuses("CMS-04")
def test_certificates_signed_with_sha1_lead_nowhere() -> None:
    who = authorities()
    owner = issue(who.owner_ca, "Owner", hash_name="sha1")
    what = bundles.bundle(bundles.make_conveyed(owner), bundles.owner_bag(owner, who.owner_ca))
    refused(judged(what), Step.OWNER_CERTIFICATE_PATH, Reason.OWNER_CERT_UNTRUSTED)


@pytest.mark.requirement("CMS-04")
def test_an_anchors_own_signature_may_be_sha1() -> None:
    pinned = root("Old root", hash_name="sha1")
    owner = issue(pinned, "Owner")
    what = bundles.bundle(
        bundles.make_conveyed(owner), bundles.owner_bag(owner), make_voucher(pinned=pinned)
    )
    accepted(judged(what))
