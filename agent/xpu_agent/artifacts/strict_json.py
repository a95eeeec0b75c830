# SPDX-License-Identifier: Apache-2.0
"""JSON as the RFCs have it and no more (RFC 8259; RFC 7951, 6).

UTF-8 alone and without byte order mark, no member twice, no NaN or Infinity, no lone surrogates,
nothing after the value, bounded nesting, members and numbers. Two readers that disagree about a
signed document are an attack; what could be read in two ways is refused.
"""

import json
import math
import re
from typing import Final, NoReturn

from xpu_agent import limits
from xpu_agent.errors import MalformedError, Reason

JsonValue = None | bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"]

# A whole string, or one mark of structure. A string without end reaches to the end of the text: if
# it did not match, each later quote would be tried in vain, in quadratic time.
_TOKEN: Final = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[\[\]{},]', re.DOTALL)
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_NUMBER_CHARS: Final = 32


def parse_json(octets: bytes, what: str) -> JsonValue:
    """Read one JSON value; `what` names the document in errors.

    Raises:
        MalformedError: not JSON in this sense, or a bound exceeded.
    """
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedError(f"{what} is not UTF-8 at octet {error.start}") from error
    _check_structure(text, what)
    parser = _Parser(what)
    try:
        value: JsonValue = json.loads(
            text,
            object_pairs_hook=parser.members,
            parse_constant=parser.constant,
            parse_int=parser.integer,
            parse_float=parser.number,
        )
    except ValueError as error:
        place = f" at character {error.pos}" if isinstance(error, json.JSONDecodeError) else ""
        raise MalformedError(f"{what} is not JSON{place}") from error
    _check_strings(value, what)
    return value


def _check_structure(text: str, what: str) -> None:
    """Bound nesting and members before the parser, which is recursive, sees the text."""
    depth = nodes = 0
    for tokens, match in enumerate(_TOKEN.finditer(text), start=1):
        mark = match.group()
        if mark in {"[", "{"}:
            depth += 1
            nodes += 1
            if depth > limits.JSON_DEPTH:
                raise MalformedError(f"{what} is nested deeper than {limits.JSON_DEPTH} levels")
        elif mark in {"]", "}"}:
            depth -= 1
        elif mark == ",":
            nodes += 1
        # No well-formed text has more than two strings and two marks for each node.
        if nodes > limits.DOCUMENT_NODES or tokens > 5 * limits.DOCUMENT_NODES:
            raise MalformedError(
                f"{what} has more than {limits.DOCUMENT_NODES} members", reason=Reason.TOO_LARGE
            )


def _check_strings(value: JsonValue, what: str) -> None:
    """Refuse surrogates without their other half: no Unicode text has them (RFC 7951, 6.3)."""
    match value:
        case str():
            if not value.isascii() and _SURROGATE.search(value):
                raise MalformedError(f"{what} has half a surrogate pair in a string")
        case list():
            for item in value:
                _check_strings(item, what)
        case dict():
            for name, item in value.items():
                _check_strings(name, what)
                _check_strings(item, what)
        case _:
            pass


class _Parser:
    """What the standard parser asks for at each object and number."""

    def __init__(self, what: str) -> None:
        self._what = what

    def members(self, pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
        members = dict(pairs)
        if len(members) != len(pairs):
            raise MalformedError(f"{self._what} has a member twice in one object")
        return members

    def constant(self, name: str) -> NoReturn:
        raise MalformedError(f"{self._what} has {name}, which is not JSON")

    def integer(self, digits: str) -> int:
        if len(digits) > _NUMBER_CHARS:
            raise MalformedError(f"{self._what} has a number of {len(digits)} digits")
        return int(digits)

    def number(self, digits: str) -> float:
        value = float(digits)
        if len(digits) > _NUMBER_CHARS or not math.isfinite(value):
            raise MalformedError(f"{self._what} has a number out of range")
        return value
