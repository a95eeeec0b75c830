# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable
from typing import Any, Literal

import pytest
from asn1crypto import cms as asn1_cms
from tests.unit.emulator.second_opinion import Authority, OpenSsl

from xpu_emulator.artifacts import (
    CIPHERS,
    ENVELOPE_DEFECTS,
    ContentType,
    Wrong,
    enveloped,
    plain,
    signed,
)
from xpu_emulator.pki import Identity, KeyKind

CONTENT = b'{"ietf-sztp-conveyed-info:onboarding-information":{}}'


@pytest.fixture
def artifact(p256: Authority) -> bytes:
    return signed(CONTENT, ContentType.CONVEYED_JSON, p256.leaf)


def assert_opens(openssl: OpenSsl, der: bytes, recipient: Identity, expected: bytes) -> None:
    done = openssl.decrypt(der, recipient)
    assert done.returncode == 0, done.stderr
    assert done.stdout == expected


@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("kind", [KeyKind.RSA2048, KeyKind.P256])
@pytest.mark.parametrize("rid", ["issuer-serial", "ski"])
def test_opens_with_each_cipher(
    cipher: str,
    kind: KeyKind,
    rid: Literal["issuer-serial", "ski"],
    artifact: bytes,
    openssl: OpenSsl,
    authority: Callable[[KeyKind], Authority],
) -> None:
    recipient = authority(kind).leaf
    der = enveloped(
        artifact, recipients=[recipient], cipher=cipher, rid=rid, wrap_as="content-info"
    )

    assert_opens(openssl, der, recipient, artifact)


@pytest.mark.parametrize("transport", ["oaep", "oaep-sha256", "pkcs1v15"])
def test_opens_with_each_key_transport(
    transport: Literal["oaep", "oaep-sha256", "pkcs1v15"],
    artifact: bytes,
    openssl: OpenSsl,
    authority: Callable[[KeyKind], Authority],
) -> None:
    recipient = authority(KeyKind.RSA2048).leaf
    der = enveloped(artifact, recipients=[recipient], rsa=transport, wrap_as="content-info")

    assert_opens(openssl, der, recipient, artifact)


@pytest.mark.parametrize("kind", [KeyKind.P256, KeyKind.P384, KeyKind.P521])
@pytest.mark.parametrize("kdf", ["sha1", "sha224", "sha256", "sha384", "sha512"])
@pytest.mark.parametrize("ukm", [None, b"user keying material"])
def test_opens_with_each_key_agreement(
    kind: KeyKind,
    kdf: str,
    ukm: bytes | None,
    artifact: bytes,
    openssl: OpenSsl,
    authority: Callable[[KeyKind], Authority],
) -> None:
    recipient = authority(kind).leaf
    der = enveloped(artifact, recipients=[recipient], kdf=kdf, ukm=ukm, wrap_as="content-info")

    assert_opens(openssl, der, recipient, artifact)


@pytest.mark.parametrize("kind", [KeyKind.RSA2048, KeyKind.P384])
def test_each_recipient_opens(
    kind: KeyKind,
    artifact: bytes,
    openssl: OpenSsl,
    authority: Callable[[KeyKind], Authority],
) -> None:
    both = [authority(each).leaf for each in (KeyKind.RSA2048, KeyKind.P384)]
    der = enveloped(artifact, recipients=both, wrap_as="content-info")

    assert_opens(openssl, der, authority(kind).leaf, artifact)


def encrypted_content_info(der: bytes) -> Any:
    info = asn1_cms.ContentInfo.load(der, strict=True)
    authenticated = info["content_type"].dotted == ContentType.AUTH_ENVELOPED_DATA
    name = "auth_encrypted_content_info" if authenticated else "encrypted_content_info"
    return info["content"][name]


def inner_content(info: bytes) -> bytes:
    return bytes(asn1_cms.ContentInfo.load(info)["content"].untag().dump())


def test_forms_of_wrapping(artifact: bytes, openssl: OpenSsl, p256: Authority) -> None:
    recipient = p256.leaf
    expected = {
        "signed-data": (ContentType.SIGNED_DATA, inner_content(artifact)),
        "signed-content-info": (ContentType.SIGNED_DATA, artifact),
        "content-info": (ContentType.DATA, artifact),
    }
    for wrap_as, (content_type, content) in expected.items():
        der = enveloped(artifact, recipients=[recipient], wrap_as=wrap_as)  # type: ignore[arg-type]  # keys of the table
        assert encrypted_content_info(der)["content_type"].dotted == content_type
        assert_opens(openssl, der, recipient, content)


def test_unsigned_content_goes_in_without_its_octet_string(
    openssl: OpenSsl, p256: Authority
) -> None:
    der = enveloped(plain(CONTENT, ContentType.CONVEYED_JSON), recipients=[p256.leaf])
    same = enveloped(CONTENT, ContentType.CONVEYED_JSON, recipients=[p256.leaf])

    for each in (der, same):
        found = encrypted_content_info(each)["content_type"].dotted
        assert found == ContentType.CONVEYED_JSON
        assert_opens(openssl, each, p256.leaf, CONTENT)


def test_gcm_authenticates_the_content_type(artifact: bytes, p256: Authority) -> None:
    """RFC 5083, 2.1: the attribute is there unless the content is id-data."""
    for wrap_as, expected in (("signed-data", 1), ("content-info", 0)):
        der = enveloped(
            artifact,
            recipients=[p256.leaf],
            cipher="aes-256-gcm",
            wrap_as=wrap_as,  # type: ignore[arg-type]  # entries of the table
        )
        info = asn1_cms.ContentInfo.load(der, strict=True)
        assert info["content_type"].dotted == ContentType.AUTH_ENVELOPED_DATA
        assert len(info["content"]["auth_attrs"].native or []) == expected


@pytest.mark.parametrize("cipher", ["aes-256-cbc", "aes-256-gcm"])
@pytest.mark.parametrize("kind", [KeyKind.RSA2048, KeyKind.P256])
@pytest.mark.parametrize("wrong", ENVELOPE_DEFECTS)
def test_defects_are_noticed(
    wrong: Wrong,
    cipher: str,
    kind: KeyKind,
    artifact: bytes,
    openssl: OpenSsl,
    authority: Callable[[KeyKind], Authority],
) -> None:
    recipient = authority(kind).leaf
    if wrong in {Wrong.TAMPERED_MAC, Wrong.SHORT_MAC} and cipher == "aes-256-cbc":
        with pytest.raises(ValueError, match="gcm"):
            enveloped(artifact, recipients=[recipient], cipher=cipher, wrong=wrong)
        return
    der = enveloped(
        artifact, recipients=[recipient], cipher=cipher, wrap_as="content-info", wrong=wrong
    )
    done = openssl.decrypt(der, recipient)

    match wrong:
        case Wrong.SHORT_MAC:  # OpenSSL 3.0 is content with four octets
            tag = asn1_cms.ContentInfo.load(der, strict=True)["content"]["mac"].native
            assert len(tag) == 4
        case Wrong.NESTED_ENVELOPE:
            outer = asn1_cms.ContentInfo.load(der)["content_type"].dotted
            assert encrypted_content_info(der)["content_type"].dotted == outer
        case Wrong.TAMPERED_ENCRYPTED_KEY if kind is KeyKind.RSA2048:
            # OpenSSL goes on with a random key, so as not to be an oracle.
            assert done.stdout != artifact
        case _:
            assert done.returncode != 0


def test_ed25519_cannot_receive(authority: Callable[[KeyKind], Authority]) -> None:
    with pytest.raises(ValueError, match="Ed25519"):
        enveloped(CONTENT, ContentType.DATA, recipients=[authority(KeyKind.ED25519).leaf])


def test_a_short_content_can_be_tampered_with_too(openssl: OpenSsl, p256: Authority) -> None:
    for cipher in ("aes-256-cbc", "aes-256-gcm"):
        der = enveloped(
            b"ab",
            ContentType.DATA,
            recipients=[p256.leaf],
            cipher=cipher,
            wrong=Wrong.TAMPERED_CIPHERTEXT,
        )
        assert openssl.decrypt(der, p256.leaf).stdout != b"ab"
