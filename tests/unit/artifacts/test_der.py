# SPDX-License-Identifier: Apache-2.0
"""Strict DER: what is accepted, what is refused and why."""

from datetime import UTC, datetime

import pytest
from tests.unit.artifacts.der_writer import (
    bits,
    boolean,
    ctx,
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
from xpu_agent.artifacts import der
from xpu_agent.errors import MalformedError, Reason


@pytest.mark.parametrize(
    "octets_",
    [
        seq(),
        seq(boolean(True), boolean(False), tlv(5), integer(0), integer(-1), integer(128)),
        seq(integer(2**200), octets(b""), bits(b""), bits(b"\xf0", 4), oid("2.999.3")),
        seq(utc(), generalized("20260101000000Z"), generalized("20260101000000.5Z")),
        seq(tlv(12, "é".encode()), tlv(0x13, b"a"), tlv(0x1E, b"\x00a")),
        set_of(integer(2), integer(1)),  # order within a SET OF is tolerated
        seq(prim(0, b"\xff"), ctx(1, integer(1)), tlv(0x28), tlv(0x2B)),
        seq(b"\x9f\x1f\x01x", b"\xbf\x81\x00\x02\x05\x00"),  # tag numbers above 30
        seq(octets(bytes(300))),
        integer(5),
        seq(tlv(6, b"\x2a" * 64)),
    ],
)
@pytest.mark.requirement("SZTP-3.1-07")
def test_der_is_accepted(octets_: bytes) -> None:
    assert der.parse_der(octets_, "it").der == octets_


@pytest.mark.parametrize(
    ("octets_", "message"),
    [
        (b"", "cut short"),
        (b"\x30", "cut short"),
        (b"\x30\x03\x05\x00", "cut short"),
        (seq(b"\x04\x05abc"), "cut short"),
        (b"\x30\x82\x01", "cut short"),
        (seq(b"\x9f\x81"), "cut short"),
        (seq(b"\x9f\x1f"), "cut short"),
        (seq() + b"\x00", "1 octets after its end"),
        (b"\x30\x80\x05\x00\x00\x00", "BER, not DER: an indefinite length"),
        (b"\x30\x81\x02\x05\x00", "BER, not DER: a length that is not minimal"),
        (b"\x30\x82\x00\x80" + bytes(128), "BER, not DER: a length that is not minimal"),
        (b"\x30\x85\x00\x00\x00\x00\x02\x05\x00", "more than four octets"),
        (seq(tlv(0x24, octets(b"a"))), "BER, not DER: a string in pieces"),
        (seq(tlv(0x23, bits(b"a"))), "BER, not DER: a string in pieces"),
        (seq(b"\x00\x00"), "BER, not DER: an end-of-contents mark"),
        (seq(tlv(0x22, integer(1))), "constructed element of a primitive type"),
        (seq(tlv(0x10)), "no place here"),
        (seq(b"\x9f\x05\x00"), "shorter one"),
        (seq(b"\x9f\x80\x1f\x00"), "shorter one"),
        (seq(tlv(1, b"\x01")), "BOOLEAN"),
        (seq(tlv(1)), "BOOLEAN"),
        (seq(tlv(2)), "INTEGER without octets"),
        (seq(tlv(2, b"\x00\x7f")), "INTEGER that is not minimal"),
        (seq(tlv(2, b"\xff\x80")), "INTEGER that is not minimal"),
        (seq(tlv(10, b"\x00\x01")), "INTEGER that is not minimal"),
        (seq(tlv(3)), "unused bits"),
        (seq(tlv(3, b"\x08a")), "unused bits"),
        (seq(tlv(3, b"\x01")), "unused bits"),
        (seq(bits(b"\x01", 1)), "unused bits set"),
        (seq(tlv(5, b"a")), "NULL"),
        (seq(tlv(6)), "OBJECT IDENTIFIER that ends"),
        (seq(tlv(6, b"\x2a\x80")), "OBJECT IDENTIFIER that ends"),
        (b"\x30\x84\x00\x00\x00\x02\x05\x00", "BER, not DER: a length that is not minimal"),
        (seq(tlv(6, b"\x80\x01")), "OBJECT IDENTIFIER that is not minimal"),
        (seq(tlv(6, b"\x2a\x80\x01")), "OBJECT IDENTIFIER that is not minimal"),
        (seq(tlv(6, b"\x2a" * 65)), "OBJECT IDENTIFIER of more than 64"),
        (seq(tlv(12, b"\xff")), "UTF8String"),
        (seq(utc("2601010000Z")), "UTCTime"),
        (seq(utc("260101000000+0000")), "UTCTime"),
        (seq(utc("26010100000aZ")), "UTCTime"),
        (seq(utc("2601010000000")), "UTCTime"),
        (seq(generalized("20260101000000")), "GeneralizedTime"),
        (seq(generalized("202601010000Z")), "GeneralizedTime"),
        (seq(generalized("2026010100000aZ")), "GeneralizedTime"),
        (seq(generalized("20260101000000.50Z")), "fraction"),
        (seq(generalized("20260101000000.Z")), "fraction"),
    ],
)
@pytest.mark.refuses("SZTP-3.1-07")
def test_anything_else_is_refused(octets_: bytes, message: str) -> None:
    with pytest.raises(MalformedError, match=message):
        der.parse_der(octets_, "it")


def test_depth_is_bounded() -> None:
    nested = b""
    for _ in range(limits.DER_DEPTH):
        nested = seq(nested)
    der.parse_der(nested, "it")
    with pytest.raises(MalformedError, match="nested deeper"):
        der.parse_der(seq(nested), "it")


def test_number_of_elements_is_bounded() -> None:
    with pytest.raises(MalformedError, match="elements") as caught:
        der.parse_der(seq(tlv(5) * limits.DER_NODES), "it")
    assert caught.value.reason is Reason.TOO_LARGE


@pytest.mark.slow
def test_number_of_elements_up_to_the_bound() -> None:
    der.parse_der(seq(tlv(5) * (limits.DER_NODES - 1)), "it")


def test_fields_are_taken_in_order() -> None:
    fields = der.Fields(der.parse_der(seq(integer(1), tlv(5)), "it"), der.SEQUENCE, "it")
    assert fields.take_if(der.NULL) is None
    assert der.integer(fields.take(der.INTEGER, "number"), "it") == 1
    with pytest.raises(MalformedError, match="no place"):
        fields.end()
    with pytest.raises(MalformedError, match="it has no name where"):
        fields.take(der.SEQUENCE, "name")
    assert [child.tag for child in fields.rest()] == [der.NULL]
    assert fields.peek() is None
    with pytest.raises(MalformedError, match="it has no name where"):
        fields.take_any("name")
    fields.end()


def test_types_are_checked() -> None:
    element = der.parse_der(seq(integer(1), integer(2)), "it")
    with pytest.raises(MalformedError, match="expected type"):
        der.Fields(element, der.SET, "it")
    with pytest.raises(MalformedError, match="expected type"):
        der.elements(element, der.SET, "it", most=9)
    assert len(der.elements(element, der.SEQUENCE, "it", most=2)) == 2
    with pytest.raises(MalformedError, match="more than 1 entries"):
        der.elements(element, der.SEQUENCE, "it", most=1)
    with pytest.raises(MalformedError, match="exactly one"):
        der.explicit(element, "it")


def test_integers_are_signed_and_bounded() -> None:
    assert der.integer(der.parse_der(integer(-5), "it"), "it") == -5
    assert der.integer(der.parse_der(integer(2**250), "it"), "it") == 2**250
    with pytest.raises(MalformedError, match="33 octets"):
        der.integer(der.parse_der(integer(2**260), "it"), "it")
    with pytest.raises(MalformedError, match="0 octets"):
        der.integer(der.parse_der(prim(0, b""), "it"), "it")


@pytest.mark.parametrize("dotted", ["0.9", "1.2.840.113549.1.7.1", "2.5.29.15", "2.999.3"])
def test_object_identifiers(dotted: str) -> None:
    assert der.object_identifier(der.parse_der(oid(dotted), "it")) == dotted


def test_bit_strings_of_octets() -> None:
    assert der.bit_string_octets(der.parse_der(bits(b"ab"), "it"), "it") == b"ab"
    with pytest.raises(MalformedError, match="whole number"):
        der.bit_string_octets(der.parse_der(bits(b"\xf0", 4), "it"), "it")


@pytest.mark.parametrize(
    ("octets_", "year"),
    [
        (utc("490101000000Z"), 2049),
        (utc("500101000000Z"), 1950),
        (generalized("20500101000000Z"), 2050),
    ],
)
def test_times(octets_: bytes, year: int) -> None:
    assert der.time(der.parse_der(octets_, "it"), "it") == datetime(year, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("octets_", "message"),
    [
        (utc("260229000000Z"), "does not exist"),
        (generalized("00000101000000Z"), "does not exist"),
        (generalized("20260101000000.5Z"), "fraction"),
        (integer(1), "not a time"),
    ],
)
def test_times_that_are_refused(octets_: bytes, message: str) -> None:
    with pytest.raises(MalformedError, match=message):
        der.time(der.parse_der(octets_, "it"), "it")


@pytest.mark.parametrize(
    ("octets_", "text"),
    [
        (tlv(12, "é".encode()), "é"),
        (tlv(0x13, b"a"), "a"),
        (tlv(0x13, b"\xe9"), None),
        (tlv(0x14, b"\xe9"), "é"),
        (tlv(0x1E, b"\x00a"), "a"),
        (tlv(0x1E, b"a"), None),
        (integer(1), None),
    ],
)
def test_text(octets_: bytes, text: str | None) -> None:
    assert der.text(der.parse_der(octets_, "it")) == text
