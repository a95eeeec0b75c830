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
    TAMPERED_CONTENT = "tampered-content", "signature", "one octet changed after signing"
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


ENCODING_DEFECTS = tuple(each for each in Wrong if each.scope == "encoding")
SIGNATURE_DEFECTS = tuple(each for each in Wrong if each.scope == "signature")
ENVELOPE_DEFECTS = tuple(each for each in Wrong if each.scope == "envelope")


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
