# SPDX-License-Identifier: Apache-2.0
"""Strict JSON (RFC 8259; RFC 7951)."""

import pytest

from xpu_agent import limits
from xpu_agent.artifacts.strict_json import parse_json
from xpu_agent.errors import MalformedError, Reason


@pytest.mark.requirement("RC-5.2-04")
def test_values() -> None:
    text = ' {"a": [null, true, false, -1, 1.5, 2e2], "b": {"c": "\\u00e9\\ud83d\\ude00\\"é"}}\r\n'
    assert parse_json(text.encode(), "it") == {
        "a": [None, True, False, -1, 1.5, 200.0],
        "b": {"c": 'é\U0001f600"é'},
    }


@pytest.mark.parametrize(
    ("octets", "message"),
    [
        (b"", "not JSON at character 0"),
        (b"{} {}", "not JSON at character 3"),
        (b"{}\x00", "not JSON"),
        (b"{'a': 1}", "not JSON"),
        (b'{"a": 1,}', "not JSON"),
        (b'{"a"', "not JSON"),
        (b'"a', "not JSON"),
        (b'"a\\', "not JSON"),
        (b'"a\nb"', "not JSON"),
        (b"[01]", "not JSON"),
        (b"[\xc2\xa01]", "not JSON"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b'"\xff"', "not UTF-8 at octet 1"),
        ('{"a": 1}'.encode("utf-16"), "not UTF-8"),
        (b'{"a": 1, "a": 1}', "member twice"),
        (b'{"a": 1, "\\u0061": 1}', "member twice"),
        (b'[{"b": {"a": 1, "a": 2}}]', "member twice"),
        (b"[NaN]", "NaN"),
        (b"[-Infinity]", "Infinity"),
        (b"[1e999]", "out of range"),
        (b"[1." + b"0" * 40 + b"]", "out of range"),
        (b"[" + b"1" * 5000 + b"]", "number of 5000 digits"),
        (b'["\\ud800"]', "half a surrogate"),
        (b'{"\\udc00": 1}', "half a surrogate"),
    ],
)
@pytest.mark.refuses("RC-5.2-04")
def test_anything_else_is_refused(octets: bytes, message: str) -> None:
    with pytest.raises(MalformedError, match=message):
        parse_json(octets, "it")


def test_depth_is_bounded() -> None:
    most = limits.JSON_DEPTH
    parse_json(b"[" * most + b"]" * most, "it")
    with pytest.raises(MalformedError, match="nested deeper"):
        parse_json(b"[" * (most + 1) + b"]" * (most + 1), "it")
    with pytest.raises(MalformedError, match="nested deeper"):
        parse_json(b'{"a":' * 100_000, "it")
    assert parse_json(b'["' + b"[" * 100 + b'"]', "it") == ["[" * 100]


def test_members_are_bounded() -> None:
    most = limits.DOCUMENT_NODES
    parse_json(b"[" + b"0," * (most - 1) + b"0]", "it")
    with pytest.raises(MalformedError) as caught:
        parse_json(b"[" + b"0," * most + b"0]", "it")
    assert caught.value.reason is Reason.TOO_LARGE
    with pytest.raises(MalformedError) as caught:
        parse_json(b'""' * 6 * most, "it")
    assert caught.value.reason is Reason.TOO_LARGE


def test_numbers_up_to_the_bound() -> None:
    assert parse_json(b"[" + b"1" * 32 + b"]", "it") == [int("1" * 32)]
    assert parse_json(b"[1." + b"0" * 30 + b"]", "it") == [1.0]


def test_hostile_strings_take_linear_time() -> None:
    for octets in (b'"' + b'\\"' * 2_000_000, b'\\"' * 2_000_000):
        with pytest.raises(MalformedError, match="not JSON"):
            parse_json(octets, "it")
