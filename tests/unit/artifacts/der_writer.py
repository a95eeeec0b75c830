# SPDX-License-Identifier: Apache-2.0
"""Writes DER by hand, right or wrong on purpose; it shares no code with the reader under test."""

Fields = dict[str, bytes]


def tlv(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    length = len(content)
    if length < 0x80:
        return bytes([tag, length]) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(octets)]) + octets + content


def seq(*parts: bytes) -> bytes:
    return tlv(0x30, *parts)


def set_of(*parts: bytes) -> bytes:
    return tlv(0x31, *parts)


def ctx(number: int, *parts: bytes) -> bytes:
    return tlv(0xA0 | number, *parts)


def prim(number: int, content: bytes) -> bytes:
    return tlv(0x80 | number, content)


def integer(value: int) -> bytes:
    return tlv(2, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def octets(content: bytes) -> bytes:
    return tlv(4, content)


def bits(content: bytes, unused: int = 0) -> bytes:
    return tlv(3, bytes([unused]) + content)


def enum(value: int) -> bytes:
    return tlv(10, bytes([value]))


def boolean(value: bool) -> bytes:
    return tlv(1, b"\xff" if value else b"\x00")


def utc(text: str = "260101000000Z") -> bytes:
    return tlv(0x17, text.encode())


def generalized(text: str) -> bytes:
    return tlv(0x18, text.encode())


def oid(dotted: str) -> bytes:
    first, second, *rest = (int(arc) for arc in dotted.split("."))
    content = b""
    for arc in (40 * first + second, *rest):
        septets = [arc & 0x7F]
        while arc := arc >> 7:
            septets.insert(0, 0x80 | arc & 0x7F)
        content += bytes(septets)
    return tlv(6, content)


DATA = "1.2.840.113549.1.7.1"
SIGNED = "1.2.840.113549.1.7.2"
ENVELOPED = "1.2.840.113549.1.7.3"
AUTH_ENVELOPED = "1.2.840.113549.1.9.16.1.23"
VOUCHER = "1.2.840.113549.1.9.16.1.40"
XML = "1.2.840.113549.1.9.16.1.42"
JSON = "1.2.840.113549.1.9.16.1.43"
CONTENT_TYPE = "1.2.840.113549.1.9.3"
MESSAGE_DIGEST = "1.2.840.113549.1.9.4"
SIGNING_TIME = "1.2.840.113549.1.9.5"

SHA256 = seq(oid("2.16.840.1.101.3.4.2.1"))
ECDSA = seq(oid("1.2.840.10045.4.3.2"))
NAME = seq(set_of(seq(oid("2.5.4.3"), tlv(12, b"Test"))))


def extension(dotted: str, value: bytes, critical: bytes = b"") -> bytes:
    return seq(oid(dotted), critical, octets(value))


def certificate(*extensions: bytes, **changes: bytes) -> bytes:
    """A certificate with a made-up key and signature; each field may be replaced."""
    fields: Fields = {
        "version": ctx(0, integer(2)),
        "serial": integer(7),
        "inner": ECDSA,
        "issuer": NAME,
        "validity": seq(utc(), generalized("99991231235959Z")),
        "subject": NAME,
        "key": seq(seq(oid("1.2.840.10045.2.1")), bits(b"\x04key")),
        "unique": b"",
        "extensions": ctx(3, seq(*extensions)) if extensions else b"",
        "outer": ECDSA,
        "signature": bits(b"signature"),
        "tail": b"",
    }
    fields.update(changes)
    outer = [fields.pop(name) for name in ("outer", "signature", "tail")]
    return seq(seq(*fields.values()), *outer)


def attribute(dotted: str, *values: bytes) -> bytes:
    return seq(oid(dotted), set_of(*values))


def attributes(content_type: str = JSON, digest: bytes = bytes(32)) -> bytes:
    return ctx(
        0,
        attribute(CONTENT_TYPE, oid(content_type)),
        attribute(MESSAGE_DIGEST, octets(digest)),
    )


SIGNER_NAME = seq(NAME, integer(7))


def signer(**changes: bytes) -> bytes:
    fields: Fields = {
        "version": integer(1),
        "sid": SIGNER_NAME,
        "digest": SHA256,
        "attributes": attributes(),
        "algorithm": ECDSA,
        "signature": octets(b"signature"),
        "unsigned": b"",
        "tail": b"",
    }
    fields.update(changes)
    return seq(*fields.values())


def signed_data(content: bytes | None = b"{}", content_type: str = JSON, **changes: bytes) -> bytes:
    """A bare SignedData with one signer and one certificate; fields may be replaced."""
    inner = b"" if content is None else ctx(0, octets(content))
    fields: Fields = {
        "version": integer(3),
        "digests": set_of(SHA256),
        "encapsulated": seq(oid(content_type), inner),
        "certificates": ctx(0, certificate()),
        "crls": b"",
        "signers": set_of(signer(attributes=attributes(content_type))),
        "tail": b"",
    }
    fields.update(changes)
    return seq(*fields.values())


def content_info(content_type: str, content: bytes) -> bytes:
    return seq(oid(content_type), ctx(0, content))


def signed(content: bytes | None = b"{}", content_type: str = JSON, **changes: bytes) -> bytes:
    return content_info(SIGNED, signed_data(content, content_type, **changes))


def degenerate(**changes: bytes) -> bytes:
    fields: Fields = {"version": integer(1), "digests": set_of(), "signers": set_of()}
    fields.update(changes)
    return signed(None, DATA, **fields)


AES_CBC = seq(oid("2.16.840.1.101.3.4.1.42"), octets(bytes(16)))
RSA = seq(oid("1.2.840.113549.1.1.1"), tlv(5))
ECDH = seq(oid("1.3.132.1.11.1"), seq(oid("2.16.840.1.101.3.4.1.45")))


def key_trans(**changes: bytes) -> bytes:
    fields: Fields = {
        "version": integer(0),
        "rid": SIGNER_NAME,
        "algorithm": RSA,
        "key": octets(b"encrypted key"),
        "tail": b"",
    }
    fields.update(changes)
    return seq(*fields.values())


def key_agree(**changes: bytes) -> bytes:
    fields: Fields = {
        "version": integer(3),
        "originator": ctx(0, ctx(1, seq(oid("1.2.840.10045.2.1")), bits(b"\x04point"))),
        "ukm": b"",
        "algorithm": ECDH,
        "keys": seq(seq(SIGNER_NAME, octets(b"wrapped"))),
        "tail": b"",
    }
    fields.update(changes)
    return ctx(1, *fields.values())


def enveloped_data(*recipients: bytes, content_type: str = SIGNED, **changes: bytes) -> bytes:
    fields: Fields = {
        "version": integer(0),
        "originator": b"",
        "recipients": set_of(*(recipients or (key_trans(),))),
        "content": seq(oid(content_type), AES_CBC, prim(0, b"ciphertext")),
        "unprotected": b"",
        "tail": b"",
    }
    fields.update(changes)
    return seq(*fields.values())


def enveloped(*recipients: bytes, content_type: str = SIGNED, **changes: bytes) -> bytes:
    return content_info(
        ENVELOPED, enveloped_data(*recipients, content_type=content_type, **changes)
    )
