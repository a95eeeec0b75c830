# SPDX-License-Identifier: Apache-2.0
"""Distinguished Encoding Rules, strictly (ITU-T X.690, 8 to 11).

Octets are checked once, whole, before anything is read from them: definite and minimal lengths,
primitive strings, canonical values of the universal types, no trailing octets, bounded depth and
number of elements. After that an `Element` is a window on those octets and `Fields` takes its
children one by one, by tag. Two rules of DER are not checked: the order within a SET OF
(senders get it wrong, and nothing here depends on it, AMB-06) and the absence of default values
(a generic reader can't know them; written out they mean the same).

All errors are `MalformedError` and name the structure they were found in.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from xpu_agent import limits
from xpu_agent.errors import MalformedError, Reason

BOOLEAN: Final = 0x01
INTEGER: Final = 0x02
BIT_STRING: Final = 0x03
OCTET_STRING: Final = 0x04
NULL: Final = 0x05
OBJECT_IDENTIFIER: Final = 0x06
ENUMERATED: Final = 0x0A
UTF8_STRING: Final = 0x0C
NUMERIC_STRING: Final = 0x12
PRINTABLE_STRING: Final = 0x13
TELETEX_STRING: Final = 0x14
IA5_STRING: Final = 0x16
UTC_TIME: Final = 0x17
GENERALIZED_TIME: Final = 0x18
VISIBLE_STRING: Final = 0x1A
UNIVERSAL_STRING: Final = 0x1C
BMP_STRING: Final = 0x1E
SEQUENCE: Final = 0x30
SET: Final = 0x31

_CONSTRUCTED: Final = 0x20
_HIGH_TAG: Final = 0x1F
# Universal types that are strings: constructed they are BER. 0x15, 0x19, 0x1B: Videotex, Graphic,
# General.
_STRINGS: Final = frozenset(
    {
        BIT_STRING,
        OCTET_STRING,
        UTF8_STRING,
        NUMERIC_STRING,
        PRINTABLE_STRING,
        TELETEX_STRING,
        0x15,
        IA5_STRING,
        UTC_TIME,
        GENERALIZED_TIME,
        0x19,
        VISIBLE_STRING,
        0x1B,
        UNIVERSAL_STRING,
        BMP_STRING,
    }
)
_INTEGER_OCTETS: Final = 32  # serial numbers have 20 at most (RFC 5280, 4.1.2.2); nothing else more


def context(number: int, *, constructed: bool = True) -> int:
    """The identifier octet of a context-specific tag."""
    return 0x80 | number | (_CONSTRUCTED if constructed else 0)


@dataclass(frozen=True, slots=True)
class Element:
    """One element of checked DER: a window on the octets it came from.

    `tag` is the identifier octet; tag numbers above 30 all read as 0x1F with class and form, which
    is the tag of nothing this agent looks for.
    """

    octets: bytes
    tag: int
    start: int
    content_start: int
    end: int

    @property
    def der(self) -> bytes:
        """Identifier, length and content."""
        return self.octets[self.start : self.end]

    @property
    def content(self) -> bytes:
        """The content octets."""
        return self.octets[self.content_start : self.end]

    def children(self) -> list["Element"]:
        """What a constructed element is made of; octets were checked before."""
        found = []
        position = self.content_start
        while position < self.end:
            child = _header(self.octets, position, self.end, "")
            found.append(child)
            position = child.end
        return found


def parse_der(octets: bytes, what: str) -> Element:
    """Check that `octets` are exactly one element in DER.

    Raises:
        MalformedError: they are not; the message says so where they are BER. `too-large` where
            there are more than `DER_NODES` elements.
    """
    root = _header(octets, 0, len(octets), what)
    if root.end != len(octets):
        raise MalformedError(f"{what} has {len(octets) - root.end} octets after its end")
    ends = [root.end]
    position = 0
    nodes = 0
    while position < root.end:
        element = _header(octets, position, ends[-1], what)
        nodes += 1
        if nodes > limits.DER_NODES:
            raise MalformedError(
                f"{what} has more than {limits.DER_NODES} elements", reason=Reason.TOO_LARGE
            )
        if element.tag & _CONSTRUCTED:
            if len(ends) > limits.DER_DEPTH:
                raise MalformedError(f"{what} is nested deeper than {limits.DER_DEPTH} levels")
            ends.append(element.end)
            position = element.content_start
        else:
            position = element.end
        _check_universal(element, what)
        while ends and position == ends[-1]:
            ends.pop()
    return root


def _header(octets: bytes, position: int, limit: int, what: str) -> Element:
    """Read identifier and length at `position`; the element has to end at `limit` or before."""
    start = position
    if position + 2 > limit:
        raise _truncated(what, start)
    tag = octets[position]
    position += 1
    if tag & _HIGH_TAG == _HIGH_TAG:
        if octets[position] in {0x00, 0x80} or octets[position] < _HIGH_TAG:
            raise _not_der(what, start, "a tag in long form that has a shorter one")
        while octets[position] & 0x80:
            position += 1
            if position >= limit:
                raise _truncated(what, start)
        position += 1
        if position >= limit:
            raise _truncated(what, start)
    length = octets[position]
    position += 1
    if length == 0x80:
        raise _not_der(what, start, "an indefinite length", ber=True)
    if length > 0x80:
        size = length & 0x7F
        if size > 4:
            raise _not_der(what, start, "a length of more than four octets")
        if position + size > limit:
            raise _truncated(what, start)
        length = int.from_bytes(octets[position : position + size], "big")
        if length < 0x80 or length >> (8 * (size - 1)) == 0:
            raise _not_der(what, start, "a length that is not minimal", ber=True)
        position += size
    if position + length > limit:
        raise _truncated(what, start)
    return Element(octets, tag, start, position, position + length)


def _check_universal(element: Element, what: str) -> None:
    """Check form and value of a universal type (X.690, 8 and 11)."""
    tag = element.tag
    if tag & 0xC0:
        return  # Implicit tags: whoever knows the type checks the value.
    if tag & _CONSTRUCTED:
        if tag & _HIGH_TAG in _STRINGS:
            raise _not_der(what, element.start, "a string in pieces", ber=True)
        if tag not in {SEQUENCE, SET, 0x28, 0x2B}:  # EXTERNAL, EMBEDDED PDV
            raise _not_der(what, element.start, "a constructed element of a primitive type")
        return
    content = element.content
    fault: str | None = None
    if tag == BOOLEAN:
        if content not in {b"\x00", b"\xff"}:
            fault = "a BOOLEAN that is neither 00 nor FF"
    elif tag in {INTEGER, ENUMERATED}:
        if not content:
            fault = "an INTEGER without octets"
        elif len(content) > 1 and (content[0], content[1] >> 7) in {(0x00, 0), (0xFF, 1)}:
            fault = "an INTEGER that is not minimal"
    elif tag == BIT_STRING:
        if not content or content[0] > 7 or (len(content) == 1 and content[0]):
            fault = "a BIT STRING with a wrong number of unused bits"
        elif content[-1] & ((1 << content[0]) - 1):
            fault = "a BIT STRING with unused bits set"
    elif tag == NULL:
        if content:
            fault = "a NULL with content"
    elif tag == OBJECT_IDENTIFIER:
        fault = _oid_fault(content)
    elif tag == UTF8_STRING:
        try:
            content.decode("utf-8")
        except UnicodeDecodeError:
            fault = "a UTF8String that is not UTF-8"
    elif tag == UTC_TIME:
        if len(content) != 13 or not content[:12].isdigit() or content[12:] != b"Z":
            fault = "a UTCTime that is not YYMMDDHHMMSSZ"
    elif tag == GENERALIZED_TIME:
        fault = _generalized_time_fault(content)
    elif tag == 0x00:
        raise _not_der(what, element.start, "an end-of-contents mark", ber=True)
    elif tag in {0x07, 0x08, 0x0B, 0x0E, 0x0F, 0x10, 0x11, 0x1D}:
        fault = "a universal type that has no place here"
    if fault is not None:
        raise _not_der(what, element.start, fault)


def _oid_fault(content: bytes) -> str | None:
    if not content or content[-1] & 0x80:
        return "an OBJECT IDENTIFIER that ends in the middle of an arc"
    if len(content) > 64:
        return "an OBJECT IDENTIFIER of more than 64 octets"
    begins = True
    for octet in content:
        if begins and octet == 0x80:
            return "an OBJECT IDENTIFIER that is not minimal"
        begins = not octet & 0x80
    return None


def _generalized_time_fault(content: bytes) -> str | None:
    digits, dot, fraction = content[:-1].partition(b".")
    if content[-1:] != b"Z" or len(digits) != 14 or not digits.isdigit():
        return "a GeneralizedTime that is not YYYYMMDDHHMMSSZ"
    if dot and (not fraction.isdigit() or fraction.endswith(b"0")):
        return "a GeneralizedTime with a fraction that is not minimal"
    return None


def _truncated(what: str, position: int) -> MalformedError:
    return MalformedError(f"{what} is cut short: no room for the element at octet {position}")


def _not_der(what: str, position: int, fault: str, *, ber: bool = False) -> MalformedError:
    kind = "BER, not DER" if ber else "not DER"
    return MalformedError(f"{what} is {kind}: {fault} at octet {position}")


class Fields:
    """The children of one constructed element, taken in order; `where` names it in errors."""

    def __init__(self, element: Element, tag: int, where: str) -> None:
        if element.tag != tag:
            raise MalformedError(f"{where} is not of the expected type")
        self._where = where
        self._children = element.children()
        self._next = 0

    def peek(self) -> int | None:
        """Tag of the next child, None at the end."""
        if self._next == len(self._children):
            return None
        return self._children[self._next].tag

    def take(self, tag: int, name: str) -> Element:
        """The next child, which has to have this tag."""
        found = self.take_if(tag)
        if found is None:
            raise MalformedError(f"{self._where} has no {name} where one belongs")
        return found

    def take_if(self, tag: int) -> Element | None:
        """The next child if it has this tag."""
        if self.peek() != tag:
            return None
        return self.take_any("element")

    def take_any(self, name: str) -> Element:
        """The next child, whatever it is."""
        if self._next == len(self._children):
            raise MalformedError(f"{self._where} has no {name} where one belongs")
        self._next += 1
        return self._children[self._next - 1]

    def rest(self) -> list[Element]:
        """All children that are left."""
        left = self._children[self._next :]
        self._next = len(self._children)
        return left

    def end(self) -> None:
        """Refuse children nobody took."""
        if self._next != len(self._children):
            raise MalformedError(f"{self._where} has an element that has no place there")


def explicit(element: Element, where: str) -> Element:
    """The one element inside an explicit tag."""
    children = element.children()
    if len(children) != 1:
        raise MalformedError(f"{where} is tagged, but not around exactly one element")
    return children[0]


def elements(element: Element, tag: int, where: str, *, most: int) -> list[Element]:
    """The children of a SEQUENCE OF or SET OF, `most` of them at most."""
    if element.tag != tag:
        raise MalformedError(f"{where} is not of the expected type")
    children = element.children()
    if len(children) > most:
        raise MalformedError(f"{where} has more than {most} entries", reason=Reason.TOO_LARGE)
    return children


def integer(element: Element, where: str) -> int:
    """The value of an INTEGER or ENUMERATED; 32 octets at most."""
    content = element.content
    if not 1 <= len(content) <= _INTEGER_OCTETS:
        raise MalformedError(f"{where} is a number of {len(content)} octets")
    return int.from_bytes(content, "big", signed=True)


def object_identifier(element: Element) -> str:
    """The dotted form; the element is a checked OBJECT IDENTIFIER."""
    arcs: list[int] = []
    value = 0
    for octet in element.content:
        value = value << 7 | octet & 0x7F
        if not octet & 0x80:
            arcs.append(value)
            value = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(str(arc) for arc in (first, arcs[0] - 40 * first, *arcs[1:]))


def bit_string_octets(element: Element, where: str) -> bytes:
    """The octets of a BIT STRING that has to have a whole number of them."""
    content = element.content
    if content[0]:
        raise MalformedError(f"{where} is not a whole number of octets")
    return content[1:]


def time(element: Element, where: str) -> datetime:
    """A UTCTime (years 1950 to 2049) or GeneralizedTime without fraction (RFC 5280, 4.1.2.5)."""
    text = element.content
    try:
        if element.tag == UTC_TIME:
            century = b"19" if text[:2] >= b"50" else b"20"
            text = century + text
        elif element.tag != GENERALIZED_TIME:
            raise MalformedError(f"{where} is not a time")
        if len(text) != 15:
            raise MalformedError(f"{where} has a fraction of a second")
        parts = (text[:4], text[4:6], text[6:8], text[8:10], text[10:12], text[12:14])
        year, month, day, hour, minute, second = (int(part) for part in parts)
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError as error:
        raise MalformedError(f"{where} is a time that does not exist") from error


_TEXT_CODECS: Final = {
    UTF8_STRING: "utf-8",
    NUMERIC_STRING: "ascii",
    PRINTABLE_STRING: "ascii",
    IA5_STRING: "ascii",
    VISIBLE_STRING: "ascii",
    TELETEX_STRING: "latin-1",
    BMP_STRING: "utf-16-be",
    UNIVERSAL_STRING: "utf-32-be",
}


def text(element: Element) -> str | None:
    """The value of a character string; None where it is none or breaks its character set."""
    codec = _TEXT_CODECS.get(element.tag)
    if codec is None:
        return None
    try:
        return element.content.decode(codec)
    except UnicodeDecodeError:
        return None
