# SPDX-License-Identifier: Apache-2.0
"""Stapled CRLs and OCSP responses (RFC 5280, 5; RFC 6960; RFC 5940)."""

from datetime import UTC, datetime

import pytest
from tests.unit.artifacts.der_writer import (
    ECDSA,
    NAME,
    SHA256,
    bits,
    boolean,
    certificate,
    ctx,
    degenerate,
    enum,
    extension,
    integer,
    octets,
    oid,
    prim,
    seq,
    signed,
    tlv,
    utc,
)
from tests.unit.artifacts.der_writer import generalized as general

from xpu_agent import limits
from xpu_agent.artifacts import cms
from xpu_agent.errors import MalformedError

CRL_NUMBER, REASON, DELTA, IDP, ISSUER, AKI = (
    f"2.5.29.{number}" for number in (20, 21, 27, 28, 29, 35)
)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = datetime(2026, 2, 1, tzinfo=UTC)
TRUE = boolean(True)


def entry(serial: int, *extensions: bytes, tail: bytes = b"") -> bytes:
    return seq(integer(serial), utc(), seq(*extensions) if extensions else b"", tail)


def crl(*extensions: bytes, **changes: bytes) -> bytes:
    fields = {
        "version": integer(1),
        "algorithm": ECDSA,
        "issuer": NAME,
        "this": utc(),
        "next": utc("260201000000Z"),
        "revoked": b"",
        "extensions": ctx(0, seq(*extensions)) if extensions else b"",
        "tail": b"",
        "outer": ECDSA,
        "signature": bits(b"signature"),
        "end": b"",
    }
    fields.update(changes)
    outer = [fields.pop(name) for name in ("outer", "signature", "end")]
    return seq(seq(*fields.values()), *outer)


def parse_crl(octets_: bytes) -> cms.CertificateList:
    bag = cms.parse_content_info(degenerate(crls=ctx(1, octets_)))
    assert isinstance(bag, cms.CertificateBag)
    (found,) = bag.crls
    return found


@pytest.mark.requirement("SZTP-3.2-05", "SZTP-6.3-01")
def test_crl() -> None:
    octets_ = crl(
        extension(CRL_NUMBER, integer(5)),
        extension(AKI, seq(prim(0, b"kid"))),
        revoked=seq(entry(7), entry(8, extension(REASON, enum(1)))),
    )
    found = parse_crl(octets_)
    assert found.der == octets_
    assert found.tbs in octets_
    assert (found.issuer, found.this_update, found.next_update) == (NAME, NOW, LATER)
    assert found.revoked == (
        cms.RevokedCertificate(7, NOW, None),
        cms.RevokedCertificate(8, NOW, "key_compromise"),
    )
    assert found.authority_key_identifier == b"kid"
    assert found.critical_extensions == ()
    marks = (found.is_delta, found.is_indirect, found.issuing_distribution_point)
    assert marks == (False, False, False)
    assert found.signature == b"signature"


@pytest.mark.requirement("VCH-5.4-03")
def test_crl_beside_signed_content() -> None:
    found = cms.parse_content_info(signed(crls=ctx(1, crl())))
    assert isinstance(found, cms.SignedData)
    assert len(found.bag.crls) == 1


def test_crl_of_version_1() -> None:
    found = parse_crl(crl(version=b"", next=b"", revoked=seq(entry(7))))
    assert found.next_update is None
    assert found.authority_key_identifier is None
    assert found.revoked[0].serial_number == 7


def test_marks_of_partial_crls() -> None:
    found = parse_crl(crl(extension(DELTA, integer(1), TRUE), extension(IDP, seq(), TRUE)))
    assert found.is_delta
    assert found.issuing_distribution_point
    assert not found.is_indirect
    assert parse_crl(crl(extension(IDP, seq(prim(4, b"\xff")), TRUE))).is_indirect
    assert not parse_crl(crl(extension(IDP, seq(prim(4, b"\x00")), TRUE))).is_indirect


def test_critical_extensions_not_understood_are_listed() -> None:
    issuer = extension(ISSUER, seq(ctx(4, NAME)), TRUE)
    found = parse_crl(
        crl(
            extension("1.2.4", b"", TRUE),
            extension("1.2.5", b""),
            revoked=seq(
                entry(1, issuer, extension("1.2.3", b"")),
                entry(2, extension("2.5.29.24", general("20260101000000Z"), TRUE)),
            ),
        )
    )
    assert found.critical_extensions == ("1.2.4", ISSUER)


@pytest.mark.parametrize(
    ("octets_", "message"),
    [
        (crl(version=integer(0)), "unknown version"),
        (crl(outer=SHA256), "two different signature algorithms"),
        (crl(issuer=seq(tlv(5))), "CRL issuer"),
        (crl(this=integer(1)), "not a time"),
        (crl(tail=tlv(5)), "no place"),
        (crl(end=tlv(5)), "no place"),
        (crl(signature=bits(b"\xf0", 4)), "whole number"),
        (crl(extension("1.2.3", b""), version=b""), "version 1"),
        (crl(version=b"", revoked=seq(entry(1, extension("1.2.3", b"", TRUE)))), "version 1"),
        (crl(revoked=seq(entry(1, extension(REASON, enum(7))))), "unknown reason"),
        (crl(revoked=seq(entry(1, extension(REASON, integer(1))))), "unknown reason"),
        (crl(revoked=seq(entry(1, tail=tlv(5)))), "no place"),
        (crl(extension(IDP, tlv(5))), "expected type"),
        (crl(revoked=seq(*[tlv(5)] * (limits.REVOKED_ENTRIES + 1))), "more than 65536"),
    ],
)
def test_what_is_no_crl_is_refused(octets_: bytes, message: str) -> None:
    with pytest.raises(MalformedError, match=message):
        parse_crl(octets_)


OCSP, BASIC = "1.3.6.1.5.5.7.16.2", "1.3.6.1.5.5.7.48.1.1"
CERT_ID = seq(seq(oid("1.3.14.3.2.26")), octets(b"name"), octets(b"key"), integer(7))
GOOD = prim(0, b"")


def single(**changes: bytes) -> bytes:
    fields = {
        "id": CERT_ID,
        "status": GOOD,
        "this": general("20260101000000Z"),
        "next": b"",
        "extensions": b"",
        "tail": b"",
    }
    fields.update(changes)
    return seq(*fields.values())


def basic(*singles: bytes, **changes: bytes) -> bytes:
    fields = {
        "version": b"",
        "responder": ctx(2, octets(b"hash")),
        "produced": general("20260101000000Z"),
        "responses": seq(*singles),
        "extensions": b"",
        "tail": b"",
        "algorithm": ECDSA,
        "signature": bits(b"signature"),
        "certificates": b"",
        "end": b"",
    }
    fields.update(changes)
    outer = [fields.pop(name) for name in ("algorithm", "signature", "certificates", "end")]
    return seq(seq(*fields.values()), *outer)


def ocsp(octets_: bytes, *, kind: str = BASIC, status: int = 0) -> bytes:
    return seq(enum(status), ctx(0, seq(oid(kind), octets(octets_))))


def parse_ocsp(*responses: bytes, kind: str = OCSP) -> tuple[cms.OcspResponse, ...]:
    others = [ctx(1, oid(kind), response) for response in responses]
    bag = cms.parse_content_info(degenerate(crls=ctx(1, *others)))
    assert isinstance(bag, cms.CertificateBag)
    return bag.ocsp_responses


def stapled_revocation() -> bytes:
    """A bag with a CRL and an OCSP response that have every part there is."""
    revoked = seq(entry(7), entry(8, extension(REASON, enum(1))))
    full_crl = crl(
        extension(CRL_NUMBER, integer(5)),
        extension(AKI, seq(prim(0, b"kid"))),
        extension(IDP, seq(prim(4, b"\xff")), TRUE),
        revoked=revoked,
    )
    full_single = single(next=ctx(0, general("20260201000000Z")))
    certificates = ctx(0, seq(certificate()))
    response = basic(full_single, version=ctx(0, integer(0)), certificates=certificates)
    return degenerate(crls=ctx(1, full_crl, ctx(1, oid(OCSP), ocsp(response))))


@pytest.mark.requirement("SZTP-3.2-05")
def test_ocsp_response() -> None:
    octets_ = basic(
        single(next=ctx(0, general("20260201000000Z"))),
        single(status=ctx(1, general("20260101000000Z")), extensions=ctx(1, seq(
            extension("1.2.9", b"", TRUE), extension("1.2.8", b"")))),
        single(status=prim(2, b"")),
        version=ctx(0, integer(0)),
        extensions=ctx(1, seq(extension("1.2.3", b"", TRUE))),
        certificates=ctx(0, seq(certificate())),
    )  # fmt: skip
    (found,) = parse_ocsp(ocsp(octets_))
    assert found.der == octets_
    assert found.tbs in octets_
    assert (found.responder_name, found.responder_key_hash) == (None, b"hash")
    assert found.produced_at == NOW
    assert [one.status for one in found.responses] == ["good", "revoked", "unknown"]
    assert found.responses[0].next_update == LATER
    assert found.responses[1].next_update is None
    assert found.responses[0].hash_algorithm == "1.3.14.3.2.26"
    assert found.responses[0].issuer_name_hash == b"name"
    assert found.responses[0].issuer_key_hash == b"key"
    assert found.responses[0].serial_number == 7
    assert [one.der for one in found.certificates] == [certificate()]
    assert found.critical_extensions == ("1.2.3", "1.2.9")


def test_responder_by_name() -> None:
    (found,) = parse_ocsp(ocsp(basic(single(), responder=ctx(1, NAME))))
    assert (found.responder_name, found.responder_key_hash) == (NAME, None)
    assert found.certificates == ()


def test_what_is_no_answer_is_passed_over() -> None:
    assert parse_ocsp(seq(enum(6)), ocsp(basic(), status=1), ocsp(basic(), kind="1.2.3")) == ()
    assert parse_ocsp(tlv(5), kind="1.2.3") == ()


@pytest.mark.parametrize(
    ("octets_", "message"),
    [
        (seq(tlv(5)), "no responseStatus"),
        (seq(enum(0), tlv(5)), "no place"),
        (seq(enum(0), ctx(0, seq(oid(BASIC), octets(b""), tlv(5)))), "no place"),
        (ocsp(b""), "cut short"),
        (ocsp(basic(version=ctx(0, integer(1)))), "unknown version"),
        (ocsp(basic(responder=ctx(3, NAME))), "does not name its responder"),
        (ocsp(basic(responder=ctx(2, integer(1)))), "does not name its responder"),
        (ocsp(basic(responder=prim(2, b""))), "does not name its responder"),
        (ocsp(basic(tail=tlv(5))), "no place"),
        (ocsp(basic(end=tlv(5))), "no place"),
        (ocsp(basic(certificates=ctx(0, seq(*[certificate()] * 17)))), "more than 16"),
        (ocsp(basic(*[single()] * 65)), "more than 64"),
        (ocsp(basic(single(status=prim(3, b"")))), "unknown status"),
        (ocsp(basic(single(tail=tlv(5)))), "no place"),
        (ocsp(basic(single(id=seq(SHA256, octets(b""), octets(b""), integer(1), tlv(5))))),
         "no place"),
    ],
)  # fmt: skip
def test_what_is_no_ocsp_response_is_refused(octets_: bytes, message: str) -> None:
    with pytest.raises(MalformedError, match=message):
        parse_ocsp(octets_)


def test_other_revocation_info_is_a_pair() -> None:
    with pytest.raises(MalformedError, match="no place"):
        cms.parse_content_info(degenerate(crls=ctx(1, ctx(1, oid(OCSP), tlv(5), tlv(5)))))
