# SPDX-License-Identifier: Apache-2.0
"""ContentInfo, plain content and SignedData (RFC 5652; RFC 8572, 3)."""

import pytest
from tests.unit.artifacts import vectors
from tests.unit.artifacts.der_writer import (
    AUTH_ENVELOPED,
    CONTENT_TYPE,
    DATA,
    ECDSA,
    ENVELOPED,
    JSON,
    MESSAGE_DIGEST,
    NAME,
    SHA256,
    SIGNED,
    SIGNING_TIME,
    VOUCHER,
    XML,
    attribute,
    attributes,
    certificate,
    content_info,
    ctx,
    degenerate,
    enveloped_data,
    integer,
    octets,
    oid,
    prim,
    seq,
    set_of,
    signed,
    signed_data,
    signer,
    tlv,
    utc,
)

from xpu_agent import limits
from xpu_agent.artifacts import cms
from xpu_agent.errors import MalformedError, Reason


@pytest.mark.parametrize("content_type", [DATA, JSON, XML])
@pytest.mark.requirement("SZTP-3.1-01")
def test_plain_content(content_type: str) -> None:
    found = cms.parse_content_info(content_info(content_type, octets(b"{}")))
    assert found == cms.PlainContent(content_type, b"{}")


@pytest.mark.parametrize("content_type", [VOUCHER, AUTH_ENVELOPED[:-3], "1.2.3", SIGNED + ".1"])
@pytest.mark.refuses("SZTP-3.1-01", "SZTP-3.1-07")
def test_other_content_types_are_refused(content_type: str) -> None:
    with pytest.raises(MalformedError, match="of no use here"):
        cms.parse_content_info(content_info(content_type, octets(b"{}")))


@pytest.mark.parametrize(
    ("octets_", "message"),
    [
        (content_info(JSON, integer(1)), "no OCTET STRING"),
        (seq(oid(JSON)), "no content"),
        (seq(oid(JSON), ctx(0, octets(b""), octets(b""))), "exactly one"),
        (seq(oid(JSON), ctx(0, octets(b"")), tlv(5)), "no place"),
        (content_info(JSON, octets(b"{}")) + b"\x00", "after its end"),
        (content_info(JSON, octets(b"{}"))[:-1], "cut short"),
        (content_info(JSON, tlv(0x24, octets(b"{}"))), "BER, not DER"),
        (b"-----BEGIN CMS-----", "CMS ContentInfo is"),
        (vectors.certificate("owner-signer"), "no contentType"),
    ],
)
@pytest.mark.refuses("SZTP-3.1-07", "SZTP-3.2-01")
def test_what_is_no_content_info_is_refused(octets_: bytes, message: str) -> None:
    with pytest.raises(MalformedError, match=message):
        cms.parse_content_info(octets_)


def test_size_is_bounded() -> None:
    overhead = len(content_info(JSON, octets(bytes(limits.ARTIFACT_BYTES - 100)))) + 100
    filled = content_info(JSON, octets(bytes(2 * limits.ARTIFACT_BYTES - overhead)))
    assert len(filled) == limits.ARTIFACT_BYTES
    cms.parse_content_info(filled)
    with pytest.raises(MalformedError) as caught:
        cms.parse_content_info(bytes(limits.ARTIFACT_BYTES + 1))
    assert caught.value.reason is Reason.TOO_LARGE


@pytest.mark.requirement("SZTP-3.2-01")
def test_example_owner_certificate() -> None:
    found = cms.parse_content_info(vectors.artifact("owner-certificate"))
    assert isinstance(found, cms.CertificateBag)
    wanted = {vectors.certificate("owner-signer"), vectors.certificate("owner-domain-ca")}
    assert {certificate.der for certificate in found.certificates} == wanted


@pytest.mark.requirement("SZTP-3.1-04", "SZTP-3.3-01", "VCH-5.4-01")
def test_example_signed_artifacts() -> None:
    voucher = cms.parse_content_info(vectors.artifact("ownership-voucher"))
    assert isinstance(voucher, cms.SignedData)
    assert voucher.content_type == cms.OID_VOUCHER_JSON
    conveyed = cms.parse_content_info(vectors.artifact("conveyed-information-signed-json"))
    assert isinstance(conveyed, cms.SignedData)
    assert conveyed.content_type == cms.OID_CONVEYED_JSON
    assert conveyed.content.startswith(b'{"ietf-sztp-conveyed-info:')
    (found,) = conveyed.signers
    assert isinstance(found.sid, cms.IssuerAndSerialNumber)
    assert found.content_type_attribute == cms.OID_CONVEYED_JSON
    assert found.signed_attributes is not None
    assert found.signed_attributes[0] == 0x31


@pytest.mark.parametrize("content_type", [DATA, JSON, XML, VOUCHER])
@pytest.mark.requirement("SZTP-3.1-04", "SZTP-3.1-08", "CMS-01")
def test_signed_data(content_type: str) -> None:
    found = cms.parse_content_info(signed(b"content", content_type))
    assert isinstance(found, cms.SignedData)
    assert (found.content_type, found.content) == (content_type, b"content")
    assert [c.der for c in found.bag.certificates] == [certificate()]
    (one,) = found.signers
    assert one.sid == cms.IssuerAndSerialNumber(NAME, 7)
    assert one.content_type_attribute == content_type
    assert one.message_digest_attribute == bytes(32)
    assert one.signed_attributes == b"\x31" + attributes(content_type)[1:]
    assert one.signature == b"signature"


def test_signers_by_key_identifier_and_more_attributes() -> None:
    more = ctx(
        0,
        attribute(SIGNING_TIME, utc()),
        attribute(MESSAGE_DIGEST, octets(b"digest")),
        attribute(CONTENT_TYPE, oid(JSON)),
    )
    found = cms.parse_signed_data(
        signed_data(
            signers=set_of(
                signer(version=integer(3), sid=prim(0, b"ski"), unsigned=ctx(1, seq())),
                signer(attributes=more),
            )
        )
    )
    assert isinstance(found, cms.SignedData)
    assert found.signers[0].sid == cms.SubjectKeyIdentifier(b"ski")
    assert found.signers[1].message_digest_attribute == b"digest"


@pytest.mark.requirement("SZTP-3.2-04", "SZTP-3.2-05")
def test_certificates_in_any_order() -> None:
    two = certificate(), certificate(serial=integer(1))
    for order in (two, two[::-1]):
        found = cms.parse_content_info(degenerate(certificates=ctx(0, *order)))
        assert isinstance(found, cms.CertificateBag)
        assert [c.der for c in found.certificates] == list(order)


def test_a_bag_may_be_empty() -> None:
    found = cms.parse_content_info(degenerate(certificates=b""))
    assert found == cms.CertificateBag((), (), ())


@pytest.mark.refuses("SZTP-3.1-08", "VCH-5.4-01", "SZTP-3.1-04")
@pytest.mark.parametrize("content_type", [DATA, JSON, VOUCHER])
def test_content_nobody_signed_is_refused(content_type: str) -> None:
    with pytest.raises(MalformedError, match="nobody signed"):
        cms.parse_content_info(signed(b"{}", content_type, signers=set_of()))


def test_an_empty_bag_of_another_type_is_refused() -> None:
    with pytest.raises(MalformedError, match="nobody signed"):
        cms.parse_content_info(signed(None, JSON, signers=set_of()))


@pytest.mark.refuses("SZTP-3.1-05")
@pytest.mark.parametrize("content_type", [ENVELOPED, AUTH_ENVELOPED])
def test_signed_data_around_enveloped_data_is_refused(content_type: str) -> None:
    with pytest.raises(MalformedError, match="around EnvelopedData"):
        cms.parse_content_info(signed(enveloped_data(), content_type))


@pytest.mark.parametrize(
    ("attributes_", "message"),
    [
        (b"", "no signed attributes"),
        (ctx(0), "no content-type"),
        (ctx(0, attribute(CONTENT_TYPE, oid(JSON))), "no message-digest"),
        (ctx(0, attribute(MESSAGE_DIGEST, octets(b""))), "no content-type"),
        (attributes() + b"", None),
        (
            ctx(0, *[attribute(CONTENT_TYPE, oid(JSON))] * 2),
            "signed attribute 1.2.840.113549.1.9.3 twice",
        ),
        (ctx(0, attribute(CONTENT_TYPE)), "content-type that is not exactly one"),
        (ctx(0, attribute(CONTENT_TYPE, oid(JSON), oid(JSON))), "content-type that is not exactly"),
        (ctx(0, attribute(CONTENT_TYPE, octets(b""))), "content-type that is not exactly one"),
        (
            ctx(
                0,
                attribute(CONTENT_TYPE, oid(JSON)),
                attribute(MESSAGE_DIGEST, octets(b""), octets(b"")),
            ),
            "message-digest that is not exactly one",
        ),
        (ctx(0, seq(oid("1.2.3"), set_of(), tlv(5))), "no place"),
        (ctx(0, seq(oid("1.2.3"))), "no attrValues"),
        (ctx(0, *[attribute(f"1.2.{n}") for n in range(33)]), "more than 32"),
    ],
)
@pytest.mark.refuses("CMS-01")
def test_signed_attributes_have_to_be_there_and_in_order(
    attributes_: bytes, message: str | None
) -> None:
    octets_ = signed(signers=set_of(signer(attributes=attributes_)))
    if message is None:
        cms.parse_content_info(octets_)
        return
    with pytest.raises(MalformedError, match=message):
        cms.parse_content_info(octets_)


@pytest.mark.requirement("CMS-01")
def test_id_data_may_be_without_attributes() -> None:
    found = cms.parse_content_info(signed(b"{}", DATA, signers=set_of(signer(attributes=b""))))
    assert isinstance(found, cms.SignedData)
    assert found.signers[0].signed_attributes is None
    assert found.signers[0].content_type_attribute is None
    assert found.signers[0].message_digest_attribute is None


@pytest.mark.refuses("CMS-01", "CMS-02")
def test_attributes_do_not_pass_for_content() -> None:
    content = b"\x31" + attributes()[1:]
    with pytest.raises(MalformedError, match="could be someone's signed attributes"):
        cms.parse_content_info(signed(content, DATA, signers=set_of(signer(attributes=b""))))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": integer(2)}, "unknown version"),
        ({"digests": set_of(tlv(5))}, "digest algorithm"),
        ({"digests": set_of(*[SHA256] * 9)}, "more than 8"),
        ({"encapsulated": seq(oid(JSON), ctx(0, integer(1)))}, "no OCTET STRING"),
        ({"encapsulated": seq(oid(JSON))}, "its content is not in it"),
        ({"encapsulated": seq(oid(JSON), ctx(0, octets(b"")), tlv(5))}, "no place"),
        ({"encapsulated": seq(oid("1.2.3"), ctx(0, octets(b"")))}, "of no use here"),
        ({"certificates": ctx(0, ctx(2, tlv(5)))}, "not X.509"),
        ({"certificates": ctx(0, *[certificate()] * 17)}, "more than 16"),
        ({"crls": ctx(1, *[tlv(5)] * 17)}, "more than 16"),
        ({"crls": ctx(1, tlv(5))}, "expected type"),
        ({"signers": set_of(*[signer()] * 9)}, "more than 8"),
        ({"signers": set_of(signer(version=integer(3)))}, "version that does not fit"),
        ({"signers": set_of(signer(sid=prim(0, b"ski")))}, "version that does not fit"),
        ({"signers": set_of(signer(sid=tlv(5)))}, "expected type"),
        ({"signers": set_of(signer(sid=seq(NAME, integer(7), tlv(5))))}, "no place"),
        ({"signers": set_of(signer(digest=b""))}, "is not of the expected type|no place|no "),
        ({"signers": set_of(signer(algorithm=b""))}, "no signatureAlgorithm"),
        ({"signers": set_of(signer(algorithm=ECDSA + tlv(5)))}, "no signature"),
        ({"signers": set_of(signer(tail=tlv(5)))}, "no place"),
        ({"tail": tlv(5)}, "no place"),
    ],
)
@pytest.mark.refuses("SZTP-3.1-07")
def test_structure_is_enforced(changes: dict[str, bytes], message: str) -> None:
    with pytest.raises(MalformedError, match=message):
        cms.parse_content_info(signed(**changes))  # type: ignore[arg-type]  # bytes by name


@pytest.mark.refuses("SZTP-3.3-01")
def test_the_arc_without_its_end_is_no_voucher() -> None:
    with pytest.raises(MalformedError, match="of no use here"):
        cms.parse_content_info(signed(b"{}", "1.2.840.113549.1.9.16.1"))


def test_bare_signed_data() -> None:
    assert cms.parse_signed_data(signed_data()) == cms.parse_content_info(signed())
    with pytest.raises(MalformedError, match="no version"):
        cms.parse_signed_data(signed())
