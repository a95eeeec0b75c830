# SPDX-License-Identifier: Apache-2.0
"""Envelopes made by openssl and by the emulator, opened with keys from files."""

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from xpu_agent.artifacts.certificate import AlgorithmIdentifier
from xpu_agent.artifacts.cms import (
    EnvelopedData,
    KeyAgreeRecipient,
    KeyTransRecipient,
    parse_content_info,
)
from xpu_agent.errors import DecryptionError
from xpu_agent.keys.file import FileKeys, load_keys
from xpu_emulator.envelope import CIPHERS, RecipientIdentifier, RsaTransport, enveloped
from xpu_emulator.pki import Identity, KeyKind, make_root
from xpu_emulator.wrong import Wrong

CONTENT = b"conveyed information " * 50
DATA = "1.2.840.113549.1.7.1"

openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")


@pytest.fixture(scope="module")
def root() -> Identity:
    return make_root("Manufacturer")


@pytest.fixture(scope="module")
def devices(root: Identity) -> dict[KeyKind, Identity]:
    return {kind: root.issue(f"Device {kind}", key=kind, subject_serial="SN-1") for kind in KeyKind}


def keys_of(identity: Identity) -> FileKeys:
    return load_keys([identity.der], identity.key_pem)


def parsed(der: bytes) -> EnvelopedData:
    value = parse_content_info(der)
    assert isinstance(value, EnvelopedData)
    return value


def by_openssl(recipients: Sequence[Identity], folder: Path, *options: str) -> EnvelopedData:
    content, result = folder / "content", folder / "result"
    content.write_bytes(CONTENT)
    command = ["openssl", "cms", "-encrypt", "-binary", "-outform", "DER"]
    command += ["-in", str(content), "-out", str(result)]
    for option in options:
        if not option.startswith("-keyopt"):
            command.append(option)
    for number, recipient in enumerate(recipients):
        path = folder / f"{number}.pem"
        path.write_bytes(recipient.pem)
        command += ["-recip", str(path)]
        command += [part for o in options if o.startswith("-keyopt") for part in o.split(" ")]
    subprocess.run(command, check=True, capture_output=True)
    return parsed(result.read_bytes())


@openssl
@pytest.mark.requirement("SZTP-3.4-01", "SZTP-3.4-02")
@pytest.mark.parametrize("cipher", ["-aes-128-cbc", "-aes-192-cbc", "-aes-256-cbc", "-aes-256-gcm"])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (KeyKind.RSA2048, []),
        (KeyKind.RSA3072, ["-keyid"]),
        (KeyKind.RSA2048, ["-keyopt rsa_padding_mode:oaep"]),
        (
            KeyKind.RSA2048,
            ["-keyopt rsa_padding_mode:oaep", "-keyopt rsa_oaep_md:sha256"],
        ),
        (
            KeyKind.RSA2048,
            [
                "-keyopt rsa_padding_mode:oaep",
                "-keyopt rsa_oaep_md:sha512",
                "-keyopt rsa_mgf1_md:sha384",
            ],
        ),
        (KeyKind.P256, []),
        (KeyKind.P384, ["-keyid"]),
        (KeyKind.P521, ["-keyopt ecdh_kdf_md:sha256"]),
        (KeyKind.P256, ["-keyopt ecdh_kdf_md:sha512"]),
    ],
)
def test_envelopes_of_openssl(
    devices: dict[KeyKind, Identity],
    tmp_path: Path,
    cipher: str,
    kind: KeyKind,
    options: list[str],
) -> None:
    envelope = by_openssl([devices[kind]], tmp_path, cipher, *options)
    assert keys_of(devices[kind]).decrypt(envelope) == CONTENT


@openssl
@pytest.mark.requirement("SZTP-3.4-02")
@pytest.mark.parametrize("kind", [KeyKind.RSA2048, KeyKind.P256])
def test_several_recipients_ours_last(
    root: Identity, devices: dict[KeyKind, Identity], tmp_path: Path, kind: KeyKind
) -> None:
    others = [root.issue(f"Other {each}", key=each) for each in (KeyKind.RSA2048, KeyKind.P256)]
    envelope = by_openssl([*others, devices[kind]], tmp_path, "-aes-256-cbc")
    assert len(envelope.recipients) == 3
    assert keys_of(devices[kind]).decrypt(envelope) == CONTENT


@pytest.mark.requirement("SZTP-3.4-01", "SZTP-3.4-02")
@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("kind", [KeyKind.RSA2048, KeyKind.P256])
@pytest.mark.parametrize("rid", ["issuer-serial", "ski"])
def test_envelopes_of_the_emulator(
    devices: dict[KeyKind, Identity], cipher: str, kind: KeyKind, rid: RecipientIdentifier
) -> None:
    transports: tuple[RsaTransport, ...] = ("oaep", "oaep-sha256", "pkcs1v15")
    for transport in transports:
        for kdf, ukm in (("sha1", None), ("sha224", b"u"), ("sha384", b"material")):
            der = enveloped(
                CONTENT,
                DATA,
                recipients=[devices[kind]],
                cipher=cipher,
                rsa=transport,
                kdf=kdf,
                ukm=ukm,
                rid=rid,
            )
            assert keys_of(devices[kind]).decrypt(parsed(der)) == CONTENT


@pytest.mark.refuses("SZTP-3.4-01")
@pytest.mark.parametrize("kind", [KeyKind.RSA2048, KeyKind.P256])
def test_envelope_to_a_stranger_is_refused(
    root: Identity, devices: dict[KeyKind, Identity], kind: KeyKind
) -> None:
    stranger = root.issue("Stranger", key=kind)
    envelope = parsed(enveloped(CONTENT, DATA, recipients=[stranger]))
    with pytest.raises(DecryptionError, match="not to this device"):
        keys_of(devices[kind]).decrypt(envelope)


@pytest.mark.refuses("SZTP-3.4-01")
@pytest.mark.parametrize("kind", [KeyKind.RSA2048, KeyKind.P256])
@pytest.mark.parametrize(
    ("wrong", "cipher"),
    [
        (Wrong.TAMPERED_CIPHERTEXT, "aes-256-cbc"),
        (Wrong.TAMPERED_CIPHERTEXT, "aes-256-gcm"),
        (Wrong.TAMPERED_MAC, "aes-256-gcm"),
        (Wrong.SHORT_MAC, "aes-256-gcm"),
        (Wrong.TAMPERED_ENCRYPTED_KEY, "aes-256-gcm"),
        (Wrong.UNKNOWN_CIPHER, "aes-256-cbc"),
        (Wrong.UNKNOWN_RECIPIENT, "aes-256-cbc"),
    ],
)
def test_spoilt_envelopes_are_refused(
    devices: dict[KeyKind, Identity], kind: KeyKind, wrong: Wrong, cipher: str
) -> None:
    der = enveloped(CONTENT, DATA, recipients=[devices[kind]], cipher=cipher, wrong=wrong)
    with pytest.raises(DecryptionError):
        keys_of(devices[kind]).decrypt(parsed(der))


def test_additional_data_is_authenticated(devices: dict[KeyKind, Identity]) -> None:
    signed = "1.2.840.113549.1.7.2"
    der = enveloped(CONTENT, signed, recipients=[devices[KeyKind.P256]], cipher="aes-128-gcm")
    envelope = parsed(der)
    keys = keys_of(devices[KeyKind.P256])
    assert envelope.authenticated_attributes
    assert keys.decrypt(envelope) == CONTENT
    with pytest.raises(DecryptionError):
        keys.decrypt(replace(envelope, authenticated_attributes=None))


def test_gcm_is_never_taken_without_its_tag(devices: dict[KeyKind, Identity]) -> None:
    der = enveloped(CONTENT, DATA, recipients=[devices[KeyKind.P256]], cipher="aes-128-gcm")
    envelope = parsed(der)
    with pytest.raises(DecryptionError):
        keys_of(devices[KeyKind.P256]).decrypt(replace(envelope, mac=None))
    with pytest.raises(DecryptionError):
        keys_of(devices[KeyKind.P256]).decrypt(replace(envelope, mac=(envelope.mac or b"")[:12]))


def test_wrong_padding_looks_like_wrong_content(devices: dict[KeyKind, Identity]) -> None:
    """No oracle for PKCS#1 v1.5 (RFC 3218): every bad key fails in the same words."""
    device = devices[KeyKind.RSA2048]
    public = device.certificate.public_key()
    assert isinstance(public, rsa.RSAPublicKey)
    good = parsed(enveloped(CONTENT, DATA, recipients=[device], rsa="pkcs1v15"))
    recipient = good.recipients[0]
    assert isinstance(recipient, KeyTransRecipient)
    keys = keys_of(device)
    messages = set()
    for encrypted_key in (
        public.encrypt(bytes(32), padding.PKCS1v15()),  # well padded, another key
        public.encrypt(bytes(16), padding.PKCS1v15()),  # well padded, another length
        public.encrypt(b"", padding.PKCS1v15()),
        bytes(255) + b"\x02",  # badly padded
        b"\xff" * 256,  # larger than the modulus
        b"short",
    ):
        bad = replace(good, recipients=(replace(recipient, encrypted_key=encrypted_key),))
        for _ in range(20):
            try:
                keys.decrypt(bad)
            except DecryptionError as error:
                messages.add(error.message)
    assert messages == {"the artifact can't be decrypted with this device's key"}


def test_point_off_the_curve_is_refused(devices: dict[KeyKind, Identity]) -> None:
    device = devices[KeyKind.P256]
    good = parsed(enveloped(CONTENT, DATA, recipients=[device], cipher="aes-128-gcm"))
    recipient = good.recipients[0]
    assert isinstance(recipient, KeyAgreeRecipient)
    for point in (b"\x04" + bytes(63) + b"\x01", b"\x00", b"", b"\x04" + bytes(96)):
        bad = replace(good, recipients=(replace(recipient, originator_key=point),))
        with pytest.raises(DecryptionError):
            keys_of(device).decrypt(bad)


@pytest.mark.parametrize(
    "algorithm",
    [
        AlgorithmIdentifier("1.2.840.113549.3.7", b"\x04\x08" + bytes(8)),  # 3DES
        AlgorithmIdentifier("2.16.840.1.101.3.4.1.42", None),
        AlgorithmIdentifier("2.16.840.1.101.3.4.1.42", b"\x04\x08" + bytes(8)),
        AlgorithmIdentifier("2.16.840.1.101.3.4.1.42", b"\x05\x00"),
        AlgorithmIdentifier("2.16.840.1.101.3.4.1.42", b"\x04\x10" + bytes(17)),
        AlgorithmIdentifier("2.16.840.1.101.3.4.1.2", b"\x04\x10" + bytes(16)),  # shorter key
    ],
)
def test_unusable_content_ciphers_are_refused(
    devices: dict[KeyKind, Identity], algorithm: AlgorithmIdentifier
) -> None:
    device = devices[KeyKind.P256]
    good = parsed(enveloped(CONTENT, DATA, recipients=[device]))
    with pytest.raises(DecryptionError):
        keys_of(device).decrypt(replace(good, content_encryption_algorithm=algorithm))


@pytest.mark.parametrize("kind", [KeyKind.RSA2048, KeyKind.P256])
@pytest.mark.parametrize("parameters", [None, b"", b"\x05\x00", b"\x30\x03abc", b"\x30\x00"])
@pytest.mark.parametrize("oid", ["1.2.840.113549.1.1.7", "1.3.132.1.11.1", "1.2.3"])
def test_unusable_key_encryption_is_refused(
    devices: dict[KeyKind, Identity], kind: KeyKind, parameters: bytes | None, oid: str
) -> None:
    device = devices[kind]
    good = parsed(enveloped(CONTENT, DATA, recipients=[device], rsa="pkcs1v15"))
    algorithm = AlgorithmIdentifier(oid, parameters)
    recipient = replace(good.recipients[0], key_encryption_algorithm=algorithm)
    with pytest.raises(DecryptionError):
        keys_of(device).decrypt(replace(good, recipients=(recipient,)))


def test_recipient_of_the_other_kind_is_refused(devices: dict[KeyKind, Identity]) -> None:
    to_ec = parsed(enveloped(CONTENT, DATA, recipients=[devices[KeyKind.P256]]))
    device = devices[KeyKind.RSA2048]
    to_rsa = parsed(enveloped(CONTENT, DATA, recipients=[device]))
    renamed = replace(to_ec.recipients[0], rid=to_rsa.recipients[0].rid)
    with pytest.raises(DecryptionError, match="another kind"):
        keys_of(device).decrypt(replace(to_ec, recipients=(renamed,)))
