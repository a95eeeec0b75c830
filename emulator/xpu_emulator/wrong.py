# SPDX-License-Identifier: Apache-2.0
"""Defects of artifacts, by name: each is one thing wrong with an otherwise right artifact."""

import base64
from enum import StrEnum
from typing import Self

from xpu_emulator import der


class Wrong(StrEnum):
    """A defect; its `explanation` is one line for people, its `scope` says where it applies."""

    explanation: str
    scope: str

    def __new__(cls, value: str, scope: str, explanation: str) -> Self:
        """Carry scope and explanation beside the name."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.scope = scope
        member.explanation = explanation
        return member

    # Encoding: any artifact.
    EMPTY = "empty", "encoding", "no octets at all"
    TRUNCATED = "truncated", "encoding", "the last octets are missing"
    TRAILING_BYTES = "trailing-bytes", "encoding", "octets follow the outermost element"
    BER_INDEFINITE_LENGTH = (
        "ber-indefinite-length",
        "encoding",
        "the outermost element has an indefinite length, which is BER and not DER",
    )
    BER_LONG_LENGTH = (
        "ber-long-length",
        "encoding",
        "the outermost length has a needless leading zero octet",
    )
    PEM_ARMOUR = "pem-armour", "encoding", "PEM instead of DER"
    NOT_ASN1 = "not-asn1", "encoding", "text that is no ASN.1 at all"
    WRONG_CONTENT_INFO_TYPE = (
        "wrong-content-info-type",
        "encoding",
        "the ContentInfo says id-digestedData around the same content",
    )
    BARE_CONTENT = "bare-content", "encoding", "the content stands there without a ContentInfo"

    # Signature: SignedData with signers.
    TAMPERED_CONTENT = (
        "tampered-content",
        "signature",
        "one character of a value changed after signing",
    )
    TAMPERED_SIGNATURE = "tampered-signature", "signature", "one bit of the signature flipped"
    TAMPERED_SIGNED_ATTRIBUTES = (
        "tampered-signed-attributes",
        "signature",
        "an attribute added after signing",
    )
    EMPTY_SIGNATURE = "empty-signature", "signature", "the signature has no octets"
    OTHER_KEY = "other-key", "signature", "signed by a key that is not the certificate's"
    WRONG_MESSAGE_DIGEST = (
        "wrong-message-digest",
        "signature",
        "the signed message-digest is that of other content",
    )
    MISSING_MESSAGE_DIGEST = (
        "missing-message-digest",
        "signature",
        "signed attributes without message-digest",
    )
    TWO_MESSAGE_DIGESTS = (
        "two-message-digests",
        "signature",
        "the message-digest attribute stands twice, right and wrong",
    )
    TWO_MESSAGE_DIGEST_VALUES = (
        "two-message-digest-values",
        "signature",
        "one message-digest attribute with two values",
    )
    WRONG_CONTENT_TYPE_ATTRIBUTE = (
        "wrong-content-type-attribute",
        "signature",
        "the signed content-type is not the content's",
    )
    MISSING_CONTENT_TYPE_ATTRIBUTE = (
        "missing-content-type-attribute",
        "signature",
        "signed attributes without content-type",
    )
    TWO_CONTENT_TYPE_ATTRIBUTES = (
        "two-content-type-attributes",
        "signature",
        "the content-type attribute stands twice",
    )
    UNSORTED_SIGNED_ATTRIBUTES = (
        "unsorted-signed-attributes",
        "signature",
        "signed attributes encoded and signed out of DER's order",
    )
    SIGNED_WITH_IMPLICIT_TAG = (
        "signed-with-implicit-tag",
        "signature",
        "the signature covers the attributes with their context tag instead of SET OF",
    )
    ATTRIBUTES_AS_CONTENT = (
        "attributes-as-content",
        "signature",
        "the signed attributes of a right message, shown as content without attributes",
    )
    NO_SIGNERS = "no-signers", "signature", "content is there, signer infos are not"
    UNKNOWN_SIGNER = "unknown-signer", "signature", "the signer identifier names no certificate"
    SHA1_DIGEST = "sha1-digest", "signature", "digest and signature use SHA-1"
    MD5_DIGEST = "md5-digest", "signature", "the digest uses MD5, with RSA the signature too"
    DIGEST_MISMATCH = (
        "digest-mismatch",
        "signature",
        "digest algorithm and signature algorithm name different hashes",
    )
    UNLISTED_DIGEST_ALGORITHM = (
        "unlisted-digest-algorithm",
        "signature",
        "the signer's digest algorithm is missing from the list in front",
    )
    UNKNOWN_SIGNATURE_ALGORITHM = (
        "unknown-signature-algorithm",
        "signature",
        "a signature algorithm nobody knows",
    )
    DETACHED = "detached", "signature", "the content was left out"
    CONSTRUCTED_CONTENT = (
        "constructed-content",
        "signature",
        "the content is a constructed octet string, which is BER and not DER",
    )
    CONTENT_WITHOUT_OCTET_STRING = (
        "content-without-octet-string",
        "signature",
        "the content stands there without its octet string, as in PKCS #7",
    )
    UNKNOWN_VERSION = "unknown-version", "signature", "the SignedData has version 9"
    CERTIFICATE_NOT_X509 = (
        "certificate-not-x509",
        "signature",
        "one of the certificates is a string",
    )
    CERTIFICATES_OUT_OF_ORDER = (
        "certificates-out-of-order",
        "signature",
        "certificates against DER's order of a SET OF; readers may tolerate this one",
    )

    # Envelope: EnvelopedData and AuthEnvelopedData.
    TAMPERED_CIPHERTEXT = "tampered-ciphertext", "envelope", "one bit of the ciphertext flipped"
    TAMPERED_MAC = "tampered-mac", "envelope", "one bit of the authentication tag flipped"
    SHORT_MAC = "short-mac", "envelope", "an authentication tag of four octets"
    TAMPERED_ENCRYPTED_KEY = (
        "tampered-encrypted-key",
        "envelope",
        "one bit of the first recipient's encrypted key flipped",
    )
    NO_RECIPIENTS = "no-recipients", "envelope", "an envelope for nobody"
    UNKNOWN_RECIPIENT = (
        "unknown-recipient",
        "envelope",
        "recipient identifiers name a certificate nobody has",
    )
    NESTED_ENVELOPE = "nested-envelope", "envelope", "an envelope in the envelope"
    UNKNOWN_CIPHER = "unknown-cipher", "envelope", "a content encryption nobody knows"

    # Conveyed information's document.
    BOTH_KINDS = "both-kinds", "conveyed", "redirect and onboarding information at once"
    NEITHER_KIND = "neither-kind", "conveyed", "an object without any member"
    UNQUALIFIED_NAME = "unqualified-name", "conveyed", "the top member lacks its module's name"
    CONFIGURATION_WITHOUT_HANDLING = (
        "configuration-without-handling",
        "conveyed",
        "a configuration, and nothing says whether to merge or replace",
    )
    HANDLING_WITHOUT_CONFIGURATION = (
        "handling-without-configuration",
        "conveyed",
        "how to apply a configuration that isn't there",
    )
    UNKNOWN_HANDLING = "unknown-handling", "conveyed", "a handling that is no enum value"
    HASH_WITHOUT_COLONS = "hash-without-colons", "conveyed", "a hash value without its colons"
    HASH_WITHOUT_URI = "hash-without-uri", "conveyed", "an image hash, but nowhere to load it from"
    OTHER_IMAGE_HASH = "other-image-hash", "conveyed", "the hash of another image"
    UNKNOWN_HASH_ALGORITHM = (
        "unknown-hash-algorithm",
        "conveyed",
        "a hash algorithm of this module that the module doesn't define",
    )
    EMPTY_SERVER_LIST = "empty-server-list", "conveyed", "a redirect to nowhere"
    SERVER_TWICE = "server-twice", "conveyed", "the same address twice in a redirect"
    PORT_ZERO = "port-zero", "conveyed", "a redirect to port 0"
    PORT_AS_TEXT = "port-as-text", "conveyed", "a port in quotation marks"
    URL_AS_ADDRESS = "url-as-address", "conveyed", "a URL where a name or address belongs"

    # A voucher's document.
    OTHER_SERIAL_NUMBER = "other-serial-number", "voucher", "for another device"
    MISSING_SERIAL_NUMBER = "missing-serial-number", "voucher", "for no device in particular"
    OTHER_PINNED_CERT = "other-pinned-cert", "voucher", "pins a certificate of somebody else"
    BROKEN_PINNED_CERT = "broken-pinned-cert", "voucher", "pins octets that are no certificate"
    MISSING_PINNED_CERT = "missing-pinned-cert", "voucher", "pins nothing"
    OTHER_IDEVID_ISSUER = "other-idevid-issuer", "voucher", "names another issuer of the IDevID"
    MISSING_CREATED_ON = "missing-created-on", "voucher", "no date of creation"
    CREATED_IN_FUTURE = "created-in-future", "voucher", "created in the year 2999"
    EXPIRED = "expired", "voucher", "expired in the year 2001"
    NONCE_AND_EXPIRY = "nonce-and-expiry", "voucher", "a nonce and an expiry date at once"
    OTHER_NONCE = "other-nonce", "voucher", "a nonce the device never sent"
    MISSING_ASSERTION = "missing-assertion", "voucher", "no assertion"
    UNKNOWN_ASSERTION = "unknown-assertion", "voucher", "an assertion that is no enum value"
    BOOLEAN_AS_TEXT = "boolean-as-text", "voucher", 'revocation checks as the text "true"'

    # Any document.
    UNKNOWN_MEMBER = "unknown-member", "document", "a member the YANG module doesn't define"
    MEMBER_TWICE = "member-twice", "document", "the top member stands twice"
    NOT_UTF8 = "not-utf8", "document", "octets that are not UTF-8"
    BYTE_ORDER_MARK = "byte-order-mark", "document", "a byte order mark in front"
    CUT_SHORT = "cut-short", "document", "the document's closing brackets are missing"
    NESTED_TOO_DEEP = "nested-too-deep", "document", "a thousand lists in each other"
    TEXT_BEHIND = "text-behind", "document", "text behind the document's end"
    BROKEN_BASE64 = "broken-base64", "document", "a binary with characters base64 doesn't have"


ENCODING_DEFECTS = tuple(each for each in Wrong if each.scope == "encoding")
SIGNATURE_DEFECTS = tuple(each for each in Wrong if each.scope == "signature")
ENVELOPE_DEFECTS = tuple(each for each in Wrong if each.scope == "envelope")
CONVEYED_DEFECTS = tuple(each for each in Wrong if each.scope in {"conveyed", "document"})
VOUCHER_DEFECTS = tuple(each for each in Wrong if each.scope in {"voucher", "document"})


def require_scope(wrong: Wrong | None, *scopes: str) -> None:
    """Refuse a defect that would do nothing here: a test that uses it would prove nothing.

    Raises:
        ValueError: the defect belongs to another kind of artifact.
    """
    if wrong is not None and wrong.scope not in scopes:
        raise ValueError(
            f"the defect {wrong} is one of {wrong.scope}, not of {' or '.join(scopes)}"
        )


def spoil_encoding(content_info: bytes, wrong: Wrong | None) -> bytes:
    """Apply an encoding defect to a right ContentInfo; other defects leave it alone."""
    match wrong:
        case Wrong.EMPTY:
            return b""
        case Wrong.TRUNCATED:
            return content_info[: len(content_info) * 3 // 4]
        case Wrong.TRAILING_BYTES:
            return content_info + b"\x00\x00"
        case Wrong.BER_INDEFINITE_LENGTH:
            tag, content, _ = der.split(content_info)
            return bytes([tag, 0x80]) + content + b"\x00\x00"
        case Wrong.BER_LONG_LENGTH:
            tag, content, _ = der.split(content_info)
            return bytes([tag, 0x84]) + len(content).to_bytes(4, "big") + content
        case Wrong.PEM_ARMOUR:
            lines = base64.encodebytes(content_info).replace(b"\n\n", b"\n")
            return b"-----BEGIN CMS-----\n" + lines + b"-----END CMS-----\n"
        case Wrong.NOT_ASN1:
            return b"This is not the artifact you are looking for.\n"
        case Wrong.WRONG_CONTENT_INFO_TYPE:
            return der.sequence(der.oid("1.2.840.113549.1.7.5"), der.children(content_info)[1])
        case Wrong.BARE_CONTENT:
            return der.children(der.children(content_info)[1])[0]
        case _:
            return content_info


def flip_last_bit(octets: bytes) -> bytes:
    """The same octets but for the lowest bit of the last one."""
    return octets[:-1] + bytes([octets[-1] ^ 1])
