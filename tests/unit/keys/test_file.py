# SPDX-License-Identifier: Apache-2.0
"""Keys from PEM files: which fit, which don't, what they sign."""

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa

from xpu_agent.artifacts.cms import EnvelopedData, parse_content_info
from xpu_agent.errors import DecryptionError, IdentityError, Reason
from xpu_agent.keys.file import load_keys
from xpu_emulator.envelope import RecipientIdentifier, enveloped
from xpu_emulator.pki import Identity, KeyKind, make_root

DATA = "1.2.840.113549.1.7.1"
PEM = serialization.Encoding.PEM


@pytest.fixture(scope="module")
def root() -> Identity:
    return make_root("Manufacturer")


def envelope(recipient: Identity, rid: RecipientIdentifier = "issuer-serial") -> EnvelopedData:
    value = parse_content_info(enveloped(b"secret", DATA, recipients=[recipient], rid=rid))
    assert isinstance(value, EnvelopedData)
    return value


@pytest.mark.parametrize("kind", list(KeyKind))
def test_signatures_verify(root: Identity, kind: KeyKind) -> None:
    device = root.issue("Device", key=kind)
    signature = load_keys([device.der, root.der], device.key_pem).sign(b"data")
    match device.key.public_key():
        case rsa.RSAPublicKey() as public:
            public.verify(signature, b"data", padding.PKCS1v15(), hashes.SHA256())
        case ec.EllipticCurvePublicKey() as curve:
            curve.verify(signature, b"data", ec.ECDSA(hashes.SHA256()))
        case ed25519.Ed25519PublicKey() as edwards:
            edwards.verify(signature, b"data")
            with pytest.raises(InvalidSignature):
                edwards.verify(signature, b"other")


@pytest.mark.parametrize(
    "form", [serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL]
)
def test_forms_of_the_key_file(root: Identity, form: serialization.PrivateFormat) -> None:
    device = root.issue("Device")
    pem = device.key.private_bytes(PEM, form, serialization.NoEncryption())
    parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    assert load_keys([device.der], parameters + device.pem + pem).sign(b"x")


@pytest.mark.parametrize("form", ["encrypted", "traditional", "public", "empty", "noise", "ed448"])
def test_files_that_hold_no_usable_key(root: Identity, form: str) -> None:
    device = root.issue("Device")
    secret = serialization.BestAvailableEncryption(b"secret")
    match form:
        case "encrypted":
            pem = device.key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, secret)
        case "traditional":
            traditional = serialization.PrivateFormat.TraditionalOpenSSL
            pem = device.key.private_bytes(PEM, traditional, secret)
        case "public":
            public = serialization.PublicFormat.SubjectPublicKeyInfo
            pem = device.key.public_key().public_bytes(PEM, public)
        case "ed448":
            pem = ed448.Ed448PrivateKey.generate().private_bytes(
                PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        case "noise":
            pem = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
        case _:
            pem = b""
    with pytest.raises(IdentityError) as caught:
        load_keys([device.der], pem)
    assert caught.value.reason is Reason.IDEVID_MISSING
    assert ("passphrase" in caught.value.message) == (form in {"encrypted", "traditional"})


def test_key_of_another_certificate_is_refused(root: Identity) -> None:
    device, other = root.issue("Device"), root.issue("Other")
    with pytest.raises(IdentityError, match="not that of the IDevID"):
        load_keys([device.der], other.key_pem)


def test_certificate_missing_or_unreadable(root: Identity) -> None:
    device = root.issue("Device")
    for chain in ([], [b"\x30\x00"]):
        with pytest.raises(IdentityError) as caught:
            load_keys(chain, device.key_pem)
        assert caught.value.reason is Reason.IDEVID_MISSING


@pytest.mark.requirement("SZTP-3.4-02", "SZTP-5.1-11")
def test_decryption_key_with_its_own_certificate(root: Identity) -> None:
    signer = root.issue("Device", key=KeyKind.ED25519)
    receiver = root.issue("Device", key=KeyKind.P384)
    keys = load_keys([signer.der], signer.key_pem, receiver.key_pem + receiver.pem)
    assert keys.decrypt(envelope(receiver)) == b"secret"
    assert keys.decrypt(envelope(receiver, "ski")) == b"secret"


def test_decryption_key_without_a_certificate_is_known_by_its_identifier(root: Identity) -> None:
    signer, receiver = root.issue("Device"), root.issue("Device", key=KeyKind.RSA2048)
    keys = load_keys([signer.der], signer.key_pem, receiver.key_pem)
    assert keys.decrypt(envelope(receiver, "ski")) == b"secret"
    with pytest.raises(DecryptionError):
        keys.decrypt(envelope(receiver))
    same = load_keys([signer.der], signer.key_pem, signer.key_pem)
    assert same.decrypt(envelope(signer)) == b"secret"


def test_decryption_key_of_another_certificate_is_refused(root: Identity) -> None:
    device, other = root.issue("Device"), root.issue("Other")
    with pytest.raises(IdentityError, match="in its file"):
        load_keys([device.der], device.key_pem, other.key_pem + device.pem)
    broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    with pytest.raises(IdentityError, match="can't be read"):
        load_keys([device.der], device.key_pem, device.key_pem + broken)


def test_ed25519_cannot_decrypt(root: Identity) -> None:
    device, other = root.issue("Device", key=KeyKind.ED25519), root.issue("Other")
    with pytest.raises(DecryptionError, match="Ed25519"):
        load_keys([device.der], device.key_pem).decrypt(envelope(other))
