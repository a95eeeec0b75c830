# SPDX-License-Identifier: Apache-2.0
"""DER by hand (X.690): what is put together octet by octet can also be wrong octet by octet."""

from collections.abc import Iterable

from asn1crypto import core

NULL = b"\x05\x00"


def tlv(tag: int, content: bytes) -> bytes:
    """One element with a single-octet tag and the shortest definite length."""
    length = len(content)
    if length < 0x80:
        return bytes([tag, length]) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(octets)]) + octets + content


def sequence(*elements: bytes) -> bytes:
    """SEQUENCE of encoded elements."""
    return tlv(0x30, b"".join(elements))


def set_of(elements: Iterable[bytes], *, tag: int = 0x31) -> bytes:
    """SET OF encoded elements in DER's order (X.690, 11.6)."""
    return tlv(tag, b"".join(sorted(elements)))


def octet_string(content: bytes) -> bytes:
    """OCTET STRING."""
    return tlv(0x04, content)


def bit_string(content: bytes) -> bytes:
    """BIT STRING of whole octets."""
    return tlv(0x03, b"\x00" + content)


def integer(value: int) -> bytes:
    """INTEGER."""
    return bytes(core.Integer(value).dump())


def oid(dotted: str) -> bytes:
    """OBJECT IDENTIFIER."""
    return bytes(core.ObjectIdentifier(dotted).dump())


def explicit(number: int, element: bytes) -> bytes:
    """An element inside an EXPLICIT context tag."""
    return tlv(0xA0 | number, element)


def implicit(number: int, element: bytes) -> bytes:
    """An element whose own tag is replaced by an IMPLICIT context tag."""
    return bytes([0x80 | number | (element[0] & 0x20)]) + element[1:]


def split(element: bytes) -> tuple[int, bytes, bytes]:
    """Tag, content and what follows, of the first element with a definite length.

    Raises:
        ValueError: cut short, or a form this reader does not know.
    """
    if len(element) < 2 or element[0] & 0x1F == 0x1F or element[1] == 0x80:
        raise ValueError("not a DER element")
    start, length = 2, element[1]
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(element[2:start], "big")
    if len(element) < start + length:
        raise ValueError("a DER element is cut short")
    return element[0], element[start : start + length], element[start + length :]


def children(element: bytes) -> list[bytes]:
    """The encoded elements inside a constructed one."""
    _, rest, _ = split(element)
    found = []
    while rest:
        _, _, after = split(rest)
        found.append(rest[: len(rest) - len(after)])
        rest = after
    return found
