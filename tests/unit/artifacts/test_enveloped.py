# SPDX-License-Identifier: Apache-2.0
"""EnvelopedData and AuthEnvelopedData (RFC 5652, 6; RFC 5083; RFC 5753)."""

import pytest
from tests.unit.artifacts.der_writer import (
    AES_CBC,
    AUTH_ENVELOPED,
    DATA,
    JSON,
    NAME,
    SIGNED,
    SIGNER_NAME,
    bits,
    content_info,
    ctx,
    enveloped,
    generalized,
    integer,
    key_agree,
    key_trans,
    octets,
    oid,
    prim,
    seq,
    set_of,
    tlv,
)

from xpu_agent.artifacts import cms
from xpu_agent.errors import MalformedError


def auth_enveloped(**changes: bytes) -> bytes:
    fields = {
        "version": integer(0),
        "originator": ctx(0),
        "recipients": set_of(key_trans()),
        "content": seq(oid(DATA), AES_CBC, prim(0, b"ciphertext")),
        "attributes": ctx(1, seq()),
        "mac": octets(b"tag"),
        "unauthenticated": ctx(2, seq()),
        "tail": b"",
    }
    fields.update(changes)
    return content_info(AUTH_ENVELOPED, seq(*fields.values()))


def parse(octets_: bytes) -> cms.EnvelopedData:
    found = cms.parse_content_info(octets_)
    assert isinstance(found, cms.EnvelopedData)
    return found


@pytest.mark.parametrize("content_type", [SIGNED, DATA, JSON])
@pytest.mark.requirement("SZTP-3.1-03", "SZTP-3.4-02")
def test_key_transport(content_type: str) -> None:
    found = parse(enveloped(content_type=content_type))
    assert found.content_type == content_type
    assert found.encrypted_content == b"ciphertext"
    assert found.content_encryption_algorithm.oid == "2.16.840.1.101.3.4.1.42"
    assert (found.mac, found.authenticated_attributes) == (None, None)
    (recipient,) = found.recipients
    assert isinstance(recipient, cms.KeyTransRecipient)
    assert recipient.rid == cms.IssuerAndSerialNumber(NAME, 7)
    assert recipient.encrypted_key == b"encrypted key"


@pytest.mark.requirement("SZTP-3.4-02")
def test_key_agreement() -> None:
    by_key_id = seq(
        ctx(0, octets(b"ski"), generalized("20260101000000Z"), seq(oid("1.2.3"))), octets(b"other")
    )
    found = parse(
        enveloped(
            key_agree(
                keys=seq(seq(SIGNER_NAME, octets(b"wrapped")), by_key_id),
                ukm=ctx(1, octets(b"ukm")),
            )
        )
    )
    first, second = found.recipients
    assert isinstance(first, cms.KeyAgreeRecipient)
    assert isinstance(second, cms.KeyAgreeRecipient)
    assert first.originator_key == b"\x04point"
    assert first.user_keying_material == b"ukm"
    assert first.encrypted_key == b"wrapped"
    assert first.key_encryption_algorithm.parameters is not None
    assert second.rid == cms.SubjectKeyIdentifier(b"ski")
    assert second.encrypted_key == b"other"


def test_recipients_of_other_kinds_are_passed_over() -> None:
    static = key_agree(originator=ctx(0, SIGNER_NAME))
    by_key_id = key_trans(version=integer(2), rid=prim(0, b"ski"))
    found = parse(enveloped(ctx(2), ctx(3), ctx(4), static, by_key_id, key_agree()))
    assert [type(recipient) for recipient in found.recipients] == [
        cms.KeyTransRecipient,
        cms.KeyAgreeRecipient,
    ]


def test_recipients_up_to_the_bound() -> None:
    keys = seq(*[seq(SIGNER_NAME, octets(b""))] * 16)
    assert len(parse(enveloped(*[key_agree(keys=keys)] * 2)).recipients) == 32


def test_optional_parts_are_passed_over() -> None:
    found = parse(enveloped(version=integer(2), originator=ctx(0), unprotected=ctx(1, seq())))
    assert found.encrypted_content == b"ciphertext"


@pytest.mark.requirement("SZTP-3.4-01")
def test_authenticated() -> None:
    found = parse(auth_enveloped())
    assert found.mac == b"tag"
    assert found.authenticated_attributes == set_of(seq())
    found = parse(auth_enveloped(originator=b"", attributes=b"", unauthenticated=b""))
    assert found.authenticated_attributes is None


@pytest.mark.parametrize(
    ("octets_", "message"),
    [
        (enveloped(version=integer(1)), "unknown version"),
        (enveloped(recipients=set_of()), "no recipient"),
        (enveloped(recipients=set_of(*[key_trans()] * 33)), "more than 32"),
        (enveloped(key_agree(keys=seq(*[seq(SIGNER_NAME, octets(b""))] * 33))), "more than 32"),
        (
            enveloped(*[key_agree(keys=seq(*[seq(SIGNER_NAME, octets(b""))] * 20))] * 2),
            "more than 32 recipients",
        ),
        (enveloped(recipients=set_of(ctx(5))), "unknown kind"),
        (enveloped(tail=tlv(5)), "no place"),
        (enveloped(content=seq(oid(DATA), AES_CBC)), "no encryptedContent"),
        (enveloped(content=seq(oid(DATA), AES_CBC, prim(0, b""), tlv(5))), "no place"),
        (enveloped(content=seq(oid(DATA), AES_CBC, ctx(0, octets(b"")))), "BER, not DER"),
        (enveloped(key_trans(version=integer(2))), "version that does not fit"),
        (enveloped(key_trans(rid=prim(0, b"ski"))), "version that does not fit"),
        (enveloped(key_trans(tail=tlv(5))), "no place"),
        (enveloped(key_agree(version=integer(2))), "unknown version"),
        (enveloped(key_agree(ukm=ctx(1, tlv(5)))), "keying material"),
        (enveloped(key_agree(tail=tlv(5))), "no place"),
        (enveloped(key_agree(originator=ctx(0))), "exactly one"),
        (
            enveloped(key_agree(originator=ctx(0, ctx(1, seq(oid("1.2.3")), bits(b""), tlv(5))))),
            "no place",
        ),
        (enveloped(key_agree(keys=seq(seq(SIGNER_NAME, octets(b""), tlv(5))))), "no place"),
        (enveloped(key_agree(keys=seq(seq(ctx(0, octets(b""), tlv(5)), octets(b""))))), "no place"),
        (auth_enveloped(version=integer(1)), "unknown version"),
        (auth_enveloped(mac=b""), "no mac"),
        (auth_enveloped(tail=tlv(5)), "no place"),
    ],
)
@pytest.mark.refuses("SZTP-3.1-07", "SZTP-3.1-03")
def test_structure_is_enforced(octets_: bytes, message: str) -> None:
    with pytest.raises(MalformedError, match=message):
        cms.parse_content_info(octets_)
