# SPDX-License-Identifier: Apache-2.0
"""A document as unsigned conveyed information (RFC 8572, 3.1; RFC 5652, 3).

Media may hold it bare, and answers of DHCP and DNS are turned into one; the rest of the agent
knows CMS alone. ContentInfo is two levels of DER, hence written by hand.
"""


def plain_content_info(content_type: str, document: bytes) -> bytes:
    """DER ContentInfo with `content_type` (dotted) around an OCTET STRING."""
    octet_string = _tlv(0x04, document)
    return _tlv(0x30, _tlv(0x06, _arcs(content_type)) + _tlv(0xA0, octet_string))


def _tlv(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    size = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(size))) + size + content


def _arcs(dotted: str) -> bytes:
    first, second, *rest = (int(arc) for arc in dotted.split("."))
    encoded = bytearray()
    for arc in (first * 40 + second, *rest):
        groups = [arc & 0x7F]
        while arc := arc >> 7:
            groups.append(0x80 | arc & 0x7F)
        encoded += bytes(reversed(groups))
    return bytes(encoded)
