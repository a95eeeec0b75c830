# SPDX-License-Identifier: Apache-2.0
"""Certificates: fields as they stand, structure enforced."""

from datetime import UTC, datetime

import pytest
from tests.unit.artifacts import vectors
from tests.unit.artifacts.der_writer import (
    NAME,
    SHA256,
    bits,
    boolean,
    certificate,
    ctx,
    extension,
    generalized,
    integer,
    octets,
    oid,
    prim,
    seq,
    set_of,
    tlv,
    utc,
)

from xpu_agent import limits
from xpu_agent.artifacts.certificate import (
    BasicConstraints,
    GeneralName,
    NameConstraints,
    parse_certificate,
)
from xpu_agent.errors import MalformedError

SKI, KU, SAN, BC = "2.5.29.14", "2.5.29.15", "2.5.29.17", "2.5.29.19"
NC, AKI, EKU = "2.5.29.30", "2.5.29.35", "2.5.29.37"


def test_example_identity() -> None:
    found = parse_certificate(vectors.certificate("idevid"))
    assert found.version == 3
    assert found.subject_serial_number == "XPU-0001-EXAMPLE"
    assert found.subject_text == "O=Example, CN=xpu, serialNumber=XPU-0001-EXAMPLE"
    assert found.key_usage == frozenset({"digital_signature"})
    assert found.basic_constraints == BasicConstraints(is_ca=False, path_length=None)
    assert found.not_after == datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert not found.self_issued
    issuer = parse_certificate(vectors.certificate("idevid-ca"))
    assert found.issuer == issuer.subject
    assert found.authority_key_identifier == issuer.subject_key_identifier
    assert found.authority_key_identifier_extension == seq(
        prim(0, issuer.subject_key_identifier or b"")
    )


def test_octets_are_kept_for_checking_the_signature() -> None:
    der = vectors.certificate("owner-domain-ca")
    found = parse_certificate(der)
    assert found.der == der
    assert found.tbs in der
    assert found.signature in der
    assert found.public_key in found.tbs
    assert found.self_issued
    assert found.signature_algorithm.oid == "1.2.840.10045.4.3.2"
    assert found.signature_algorithm.parameters is None


def test_old_versions_have_no_extensions() -> None:
    found = parse_certificate(
        certificate(version=b"", subject=seq(), unique=prim(1, b"\x00a") + prim(2, b"\x00b"))
    )
    assert (found.version, found.extensions, found.subject_text) == (1, (), "")
    assert found.key_usage is None
    assert found.subject_alternative_names == ()


def full_certificate() -> bytes:
    """One with every extension this agent reads."""
    directory = prim(0, b"\x00")
    subtree_name = ctx(4, NAME)
    return certificate(
        extension(SKI, octets(b"id")),
        extension(KU, bits(b"\x06\x80", 7), boolean(True)),
        extension(BC, seq(boolean(True), integer(2)), boolean(True)),
        extension(EKU, seq(oid("1.3.6.1.5.5.7.3.1"))),
        extension(AKI, seq(prim(0, b"kid"), ctx(1, ctx(4, NAME)), prim(2, b"\x01"))),
        extension(
            SAN,
            seq(
                prim(2, b"a.example"),
                prim(7, bytes(4)),
                prim(7, bytes(16)),
                ctx(4, NAME),
                ctx(0, oid("1.2.3"), ctx(0, tlv(5))),
                prim(6, b"https://a.example"),
            ),
        ),
        extension(
            NC,
            seq(
                ctx(0, seq(prim(2, b"example"), directory), seq(subtree_name)),
                ctx(1, seq(prim(7, bytes(8)))),
            ),
        ),
        extension("1.2.3.4", b"anything", boolean(False)),
    )


def test_extensions() -> None:
    found = parse_certificate(full_certificate())
    assert found.subject_key_identifier == b"id"
    assert found.key_usage == frozenset({"key_cert_sign", "crl_sign", "decipher_only"})
    assert found.basic_constraints == BasicConstraints(is_ca=True, path_length=2)
    assert found.extended_key_usage == frozenset({"1.3.6.1.5.5.7.3.1"})
    assert found.authority_key_identifier == b"kid"
    assert found.subject_alternative_names[0] == GeneralName("dns_name", b"a.example")
    assert found.subject_alternative_names[3] == GeneralName("directory_name", NAME)
    assert found.name_constraints == NameConstraints(
        permitted=(GeneralName("dns_name", b"example"), GeneralName("directory_name", NAME)),
        excluded=(GeneralName("ip_address", bytes(8)),),
    )
    assert found.extensions[-1].oid == "1.2.3.4"
    assert not found.extensions[-1].critical
    assert found.extensions[1].critical


def test_an_authority_key_identifier_may_be_without_key_identifier() -> None:
    found = parse_certificate(certificate(extension(AKI, seq())))
    assert found.authority_key_identifier is None
    assert found.authority_key_identifier_extension == seq()


def attribute(dotted: str, value: bytes) -> bytes:
    return set_of(seq(oid(dotted), value))


@pytest.mark.parametrize(
    ("subject", "serial", "text"),
    [
        (attribute("2.5.4.5", tlv(0x13, b"A1")), "A1", "serialNumber=A1"),
        (attribute("2.5.4.5", tlv(0x13, b"A1")) * 2, None, "serialNumber=A1, serialNumber=A1"),
        (attribute("2.5.4.5", integer(5)), None, "serialNumber=#05"),
        (attribute("1.2.3", tlv(12, "é\n\\ ~".encode())), None, "1.2.3=\\u{e9}\\u{a}\\u{5c} ~"),
    ],
)
def test_subjects(subject: bytes, serial: str | None, text: str) -> None:
    found = parse_certificate(certificate(subject=seq(subject)))
    assert found.subject_serial_number == serial
    assert found.subject_text == text


def test_every_kind_of_name() -> None:
    tagged = [
        (ctx(0, oid("1.2.3"), ctx(0, tlv(5))), "other_name"),
        (prim(1, b"a@a.example"), "rfc822_name"),
        (prim(2, b"a.example"), "dns_name"),
        (ctx(3, tlv(5)), "x400_address"),
        (ctx(4, NAME), "directory_name"),
        (ctx(5, tlv(5)), "edi_party_name"),
        (prim(6, b"https://a.example"), "uniform_resource_identifier"),
        (prim(7, bytes(4)), "ip_address"),
        (prim(8, b"\x2a"), "registered_id"),
    ]
    found = parse_certificate(certificate(extension(SAN, seq(*[name for name, _ in tagged]))))
    assert [name.kind for name in found.subject_alternative_names] == [kind for _, kind in tagged]


def test_a_path_length_may_be_zero() -> None:
    found = parse_certificate(certificate(extension(BC, seq(boolean(True), integer(0)))))
    assert found.basic_constraints == BasicConstraints(is_ca=True, path_length=0)


def test_subtrees_up_to_the_bound() -> None:
    subtrees = [seq(prim(2, b"a"))] * (limits.NAME_CONSTRAINTS // 2)
    octets_ = certificate(extension(NC, seq(ctx(0, *subtrees), ctx(1, *subtrees))))
    found = parse_certificate(octets_).name_constraints
    assert found is not None
    assert len(found.permitted) + len(found.excluded) == limits.NAME_CONSTRAINTS


@pytest.mark.requirement("SZTP-3.2-03")
def test_a_subject_may_be_empty_and_names_odd() -> None:
    odd = extension(SAN, seq(ctx(0, oid("1.2.3"), ctx(0, tlv(5))), prim(8, b"\x2a")))
    found = parse_certificate(certificate(odd, subject=seq()))
    assert found.subject_text == ""
    assert [name.kind for name in found.subject_alternative_names] == [
        "other_name",
        "registered_id",
    ]


def test_subject_text_is_bounded() -> None:
    long = attribute("2.5.4.3", tlv(12, b"\x01" * 1000))
    assert len(parse_certificate(certificate(subject=seq(long * 5))).subject_text) == 256


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": ctx(0, integer(3))}, "unknown version"),
        ({"version": ctx(0, boolean(True))}, "unknown version"),
        ({"inner": SHA256}, "two different signature algorithms"),
        ({"serial": integer(2**260)}, "serial number"),
        ({"serial": octets(b"1")}, "no serialNumber"),
        ({"validity": seq(utc())}, "no notAfter"),
        ({"validity": seq(utc(), utc(), utc())}, "no place"),
        ({"validity": seq(utc("261301000000Z"), utc())}, "notBefore"),
        ({"validity": seq(utc(), generalized("20260101000000.5Z"))}, "notAfter"),
        ({"issuer": seq(set_of())}, "empty relative"),
        ({"issuer": seq(seq())}, "issuer is not of the expected type"),
        ({"issuer": seq(set_of(seq(oid("1.2.3"))))}, "attribute value"),
        ({"issuer": seq(set_of(seq(oid("1.2.3"), tlv(5), tlv(5))))}, "no place"),
        ({"issuer": seq(*[attribute("1.2.3", tlv(5))] * 33)}, "more than 32"),
        ({"key": seq(seq(oid("1.2.3")))}, "subjectPublicKey"),
        ({"key": seq(seq(oid("1.2.3")), bits(b"\xf0", 4))}, "whole number"),
        ({"key": seq(seq(oid("1.2.3")), bits(b""), tlv(5))}, "no place"),
        ({"outer": b"", "inner": b""}, "no signature"),
        ({"outer": seq(oid("1.2.3"), tlv(5), tlv(5)), "inner": seq(oid("1.2.3"), tlv(5), tlv(5))},
         "no place"),
        ({"signature": bits(b"\xf0", 4)}, "whole number"),
        ({"tail": tlv(5)}, "no place"),
        ({"extensions": ctx(3, seq(), seq())}, "exactly one"),
        ({"extensions": ctx(3, seq())}, "without any"),
        ({"extensions": ctx(4, seq())}, "no place"),
        ({"extensions": ctx(3, seq(extension(SKI, octets(b"")))), "version": b""}, "version 1"),
    ],
)  # fmt: skip
@pytest.mark.refuses("SZTP-3.1-07")
def test_structure_is_enforced(changes: dict[str, bytes], message: str) -> None:
    with pytest.raises(MalformedError, match=message):
        parse_certificate(certificate(**changes))


@pytest.mark.parametrize(
    ("extensions", "message"),
    [
        ([extension(SKI, octets(b""))] * 2, "extension 2.5.29.14 twice"),
        ([extension(f"1.2.{n}", b"") for n in range(limits.EXTENSIONS + 1)], "more than 32"),
        ([seq(oid(SKI), octets(b""), tlv(5))], "no place"),
        ([extension(SKI, integer(1))], "OCTET STRING"),
        ([extension(SKI, octets(b"") + b"x")], "after its end"),
        ([extension(KU, octets(b""))], "short BIT STRING"),
        ([extension(KU, bits(b"abc"))], "short BIT STRING"),
        ([extension(BC, seq(integer(-1)))], "negative"),
        ([extension(BC, seq(tlv(5)))], "no place"),
        ([extension(EKU, seq())], "list of purposes"),
        ([extension(EKU, seq(tlv(5)))], "list of purposes"),
        ([extension(AKI, seq(tlv(5)))], "no place"),
        ([extension(SAN, seq())], "empty"),
        ([extension(SAN, seq(prim(9, b"")))], "unknown kind"),
        ([extension(SAN, seq(prim(7, bytes(8))))], "address of 8"),
        ([extension(SAN, seq(prim(2, "é".encode())))], "not ASCII"),
        ([extension(SAN, seq(ctx(4, set_of())))], "expected type"),
        ([extension(NC, seq())], "no subtree"),
        ([extension(NC, seq(ctx(0)))], "empty list"),
        ([extension(NC, seq(ctx(0, seq(prim(2, b"a"), prim(0, b"\x01")))))], "minimum"),
        ([extension(NC, seq(ctx(0, seq(prim(2, b"a"), prim(1, b"\x01")))))], "no place"),
        ([extension(NC, seq(ctx(0, seq(prim(7, bytes(4))))))], "address of 4"),
        ([extension(NC, seq(ctx(0, *[seq(prim(2, b"a"))] * 65)))], "more than 64 subtrees"),
    ],
)
def test_extensions_are_read_at_once(extensions: list[bytes], message: str) -> None:
    with pytest.raises(MalformedError, match=message):
        parse_certificate(certificate(*extensions))
