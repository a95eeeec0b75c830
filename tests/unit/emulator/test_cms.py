# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asn1crypto import cms as asn1_cms
from cryptography.hazmat.primitives.asymmetric import ed25519
from tests.unit.emulator.second_opinion import Authority, OpenSsl

from xpu_emulator.artifacts import (
    ENCODING_DEFECTS,
    ENVELOPE_DEFECTS,
    SIGNATURE_DEFECTS,
    ContentType,
    Signer,
    Wrong,
    certificates_only,
    owner_certificate,
    plain,
    signed,
    signed_by,
)
from xpu_emulator.cms import SignerIdentifier
from xpu_emulator.pki import KeyKind, make_crl, make_ocsp

CONTENT = b'{"ietf-sztp-conveyed-info:onboarding-information":{}}'
NOW = datetime.now(UTC)

# OpenSSL reads BER, ignores what follows, doesn't compare the content-type attribute, and takes
# the signature algorithm from the key: these it lets pass. Each is looked at below instead.
TOLERATED = {
    Wrong.TRAILING_BYTES,
    Wrong.BER_INDEFINITE_LENGTH,
    Wrong.BER_LONG_LENGTH,
    Wrong.WRONG_CONTENT_TYPE_ATTRIBUTE,
    Wrong.UNSORTED_SIGNED_ATTRIBUTES,
    Wrong.ATTRIBUTES_AS_CONTENT,
    Wrong.SHA1_DIGEST,
    Wrong.MD5_DIGEST,
    Wrong.UNKNOWN_SIGNATURE_ALGORITHM,
    Wrong.CONSTRUCTED_CONTENT,
    Wrong.UNKNOWN_VERSION,
    Wrong.CERTIFICATES_OUT_OF_ORDER,
}


def signer_info(der: bytes) -> Any:
    return asn1_cms.ContentInfo.load(der, strict=True)["content"]["signer_infos"][0]


@pytest.mark.parametrize("kind", [each for each in KeyKind if each is not KeyKind.ED25519])
@pytest.mark.parametrize("sid", ["issuer-serial", "ski"])
@pytest.mark.parametrize("attributes", [True, False])
@pytest.mark.parametrize("pss", [True, False])
def test_signed_data_verifies(
    kind: KeyKind,
    sid: SignerIdentifier,
    attributes: bool,
    pss: bool,
    openssl: OpenSsl,
    authority: Callable[[KeyKind], Authority],
) -> None:
    made = authority(kind)
    der = signed(
        CONTENT,
        ContentType.CONVEYED_JSON,
        made.leaf,
        certificates=made.leaf.chain,
        sid=sid,
        signed_attributes=attributes,
        pss=pss,
        signing_time=NOW if attributes else None,
    )

    done = openssl.verify_cms(der, made.root)

    assert done.returncode == 0, done.stderr
    assert done.stdout == CONTENT


def test_ed25519_signs_the_attributes_with_sha512_digest(
    authority: Callable[[KeyKind], Authority],
) -> None:
    leaf = authority(KeyKind.ED25519).leaf
    info = signer_info(signed(CONTENT, ContentType.CONVEYED_JSON, leaf))

    covered = b"\x31" + info["signed_attrs"].dump()[1:]
    public_key = leaf.certificate.public_key()
    assert isinstance(public_key, ed25519.Ed25519PublicKey)
    public_key.verify(info["signature"].native, covered)
    assert info["digest_algorithm"]["algorithm"].native == "sha512"


@pytest.mark.parametrize("hash_name", ["sha224", "sha256", "sha384", "sha512"])
def test_hashes(hash_name: str, openssl: OpenSsl, p256: Authority) -> None:
    der = signed(
        CONTENT, ContentType.DATA, p256.leaf, certificates=p256.leaf.chain, hash_name=hash_name
    )

    assert openssl.verify_cms(der, p256.root).returncode == 0
    assert signer_info(der)["digest_algorithm"]["algorithm"].native == hash_name


def test_versions(p256: Authority) -> None:
    """RFC 5652, 5.1 and 5.3."""

    def versions(der: bytes) -> tuple[str, str]:
        info = asn1_cms.ContentInfo.load(der, strict=True)["content"]
        return info["version"].native, info["signer_infos"][0]["version"].native

    ocsp = make_ocsp(p256.ca, p256.leaf, this_update=NOW)
    assert versions(signed(CONTENT, ContentType.DATA, p256.leaf)) == ("v1", "v1")
    assert versions(signed(CONTENT, ContentType.CONVEYED_XML, p256.leaf)) == ("v3", "v1")
    assert versions(signed(CONTENT, ContentType.DATA, p256.leaf, sid="ski")) == ("v3", "v3")
    assert versions(signed(CONTENT, ContentType.DATA, p256.leaf, ocsps=[ocsp])) == ("v5", "v1")


def test_several_signers_verify(
    openssl: OpenSsl, authority: Callable[[KeyKind], Authority], p256: Authority
) -> None:
    other = p256.root.issue("Other", key=authority(KeyKind.RSA2048).leaf.key)
    der = signed_by(
        CONTENT,
        ContentType.CONVEYED_JSON,
        [p256.leaf, Signer(other, sid="ski", hash_name="sha384", pss=True)],
        certificates=[*p256.leaf.chain, other],
    )

    assert openssl.verify_cms(der, p256.root).returncode == 0


def test_one_of_two_signers_is_wrong(openssl: OpenSsl, p256: Authority) -> None:
    other = p256.root.issue("Other")
    der = signed_by(
        CONTENT,
        ContentType.CONVEYED_JSON,
        [p256.leaf, Signer(other, wrong=Wrong.TAMPERED_SIGNATURE)],
        certificates=[*p256.leaf.chain, other],
    )

    assert openssl.verify_cms(der, p256.root).returncode != 0


def test_plain_is_an_octet_string_under_its_type() -> None:
    info = asn1_cms.ContentInfo.load(plain(CONTENT, ContentType.DATA), strict=True)

    assert info["content_type"].dotted == ContentType.DATA
    assert info["content"].contents == CONTENT


def test_certificates_only_is_degenerate_and_carries_status(
    openssl: OpenSsl, p256: Authority
) -> None:
    crl = make_crl(p256.ca, this_update=NOW, next_update=NOW + timedelta(days=1))
    ocsp = make_ocsp(p256.ca, p256.leaf, this_update=NOW)
    der = certificates_only(p256.leaf.chain, [crl], [ocsp])

    body = asn1_cms.ContentInfo.load(der, strict=True)["content"]
    assert len(body["signer_infos"]) == 0
    assert body["encap_content_info"]["content"].native is None
    assert {each.chosen.dump() for each in body["certificates"]} == {
        each.der for each in p256.leaf.chain
    }
    assert [each.name for each in body["crls"]].count("crl") == 1
    assert ocsp in body["crls"].dump()
    printed = openssl.run(
        "cms", "-cmsout", "-print", "-noout", "-inform", "DER", "-in", openssl.file("c", der)
    )
    assert printed.returncode == 0, printed.stderr


def test_owner_certificate_leaves_the_pinned_root_out(p256: Authority) -> None:
    body = asn1_cms.ContentInfo.load(owner_certificate(p256.leaf), strict=True)["content"]

    assert {each.chosen.dump() for each in body["certificates"]} == {p256.leaf.der, p256.ca.der}


@pytest.mark.parametrize("wrong", [*ENCODING_DEFECTS, *SIGNATURE_DEFECTS])
@pytest.mark.parametrize("kind", [KeyKind.P256, KeyKind.RSA2048])
def test_defects_are_noticed(
    wrong: Wrong,
    kind: KeyKind,
    openssl: OpenSsl,
    authority: Callable[[KeyKind], Authority],
) -> None:
    made = authority(kind)
    der = signed(
        CONTENT,
        ContentType.CONVEYED_JSON,
        made.leaf,
        certificates=made.leaf.chain,
        wrong=wrong,
    )

    if wrong not in TOLERATED:
        assert openssl.verify_cms(der, made.root).returncode != 0


@pytest.mark.parametrize(
    ("content", "changed"),
    [
        (b'{"serial-number":"SN9z"}', b'{"serial-number":"TN9z"}'),
        (b'{"configuration": "9A=="}', b'{"configuration": "0A=="}'),
        (b"<r><hash-value>ff:00</hash-value></r>", b"<r><hash-value>af:00</hash-value></r>"),
        (b"{}", b"{} "),
    ],
)
def test_tampered_content_stays_well_formed(
    content: bytes, changed: bytes, p256: Authority
) -> None:
    der = signed(content, ContentType.DATA, p256.leaf, wrong=Wrong.TAMPERED_CONTENT)

    info = asn1_cms.ContentInfo.load(der, strict=True)["content"]["encap_content_info"]
    assert info["content"].contents == changed


@pytest.fixture
def bad(p256: Authority) -> Callable[[Wrong], bytes]:
    def make(wrong: Wrong) -> bytes:
        return signed(
            CONTENT,
            ContentType.CONVEYED_JSON,
            p256.leaf,
            certificates=p256.leaf.chain,
            wrong=wrong,
        )

    return make


def test_encodings_openssl_takes_are_not_der(bad: Callable[[Wrong], bytes]) -> None:
    indefinite, long = bad(Wrong.BER_INDEFINITE_LENGTH), bad(Wrong.BER_LONG_LENGTH)

    assert (indefinite[1], indefinite[-2:]) == (0x80, b"\0\0")
    assert long[1:3] == b"\x84\0"
    with pytest.raises(ValueError, match="trailing"):
        asn1_cms.ContentInfo.load(bad(Wrong.TRAILING_BYTES), strict=True)


def test_attributes_openssl_does_not_look_at(bad: Callable[[Wrong], bytes]) -> None:
    info = signer_info(bad(Wrong.WRONG_CONTENT_TYPE_ATTRIBUTE))
    stated = {each["type"].native: each["values"][0] for each in info["signed_attrs"]}
    assert stated["content_type"].dotted == ContentType.DATA

    encoded = [
        each.dump() for each in signer_info(bad(Wrong.UNSORTED_SIGNED_ATTRIBUTES))["signed_attrs"]
    ]
    assert encoded == sorted(encoded, reverse=True)
    assert len(encoded) > 1


def test_attributes_as_content_verifies_on_purpose(
    bad: Callable[[Wrong], bytes], openssl: OpenSsl, p256: Authority
) -> None:
    der = bad(Wrong.ATTRIBUTES_AS_CONTENT)

    done = openssl.verify_cms(der, p256.root)
    assert done.returncode == 0
    assert done.stdout[:1] == b"\x31"
    assert signer_info(der)["signed_attrs"].native is None


@pytest.mark.parametrize(
    ("wrong", "hash_name"), [(Wrong.SHA1_DIGEST, "sha1"), (Wrong.MD5_DIGEST, "md5")]
)
def test_weak_digests(wrong: Wrong, hash_name: str, bad: Callable[[Wrong], bytes]) -> None:
    assert signer_info(bad(wrong))["digest_algorithm"]["algorithm"].native == hash_name


def test_structures_openssl_takes(bad: Callable[[Wrong], bytes]) -> None:
    unknown = signer_info(bad(Wrong.UNKNOWN_SIGNATURE_ALGORITHM))
    assert unknown["signature_algorithm"]["algorithm"].dotted == "2.999.1"
    assert b"\x02\x01\x09" in bad(Wrong.UNKNOWN_VERSION)[:40]
    assert b"\x24" in bad(Wrong.CONSTRUCTED_CONTENT).partition(b"{")[0]

    body = asn1_cms.ContentInfo.load(bad(Wrong.CERTIFICATES_OUT_OF_ORDER))["content"]
    found = [each.chosen.dump() for each in body["certificates"]]
    assert found == sorted(found, reverse=True)


def test_a_defect_that_would_do_nothing_is_refused(p256: Authority) -> None:
    with pytest.raises(ValueError, match="envelope"):
        signed(CONTENT, ContentType.DATA, p256.leaf, wrong=ENVELOPE_DEFECTS[0])
    with pytest.raises(ValueError, match="signature"):
        plain(CONTENT, ContentType.DATA, wrong=Wrong.TAMPERED_SIGNATURE)
    with pytest.raises(ValueError, match="signature"):
        certificates_only([p256.leaf], wrong=Wrong.OTHER_KEY)
    with pytest.raises(ValueError, match="attributes"):
        signed(
            CONTENT,
            ContentType.DATA,
            p256.leaf,
            signed_attributes=False,
            wrong=Wrong.TWO_MESSAGE_DIGESTS,
        )
    with pytest.raises(ValueError, match="two certificates"):
        signed(CONTENT, ContentType.DATA, p256.leaf, wrong=Wrong.CERTIFICATES_OUT_OF_ORDER)


def test_every_defect_says_what_it_is() -> None:
    assert all(each.explanation and "\n" not in each.explanation for each in Wrong)
    assert {each.scope for each in Wrong} == {
        "encoding",
        "signature",
        "envelope",
        "conveyed",
        "voucher",
        "document",
    }
