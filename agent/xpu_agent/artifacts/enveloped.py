# SPDX-License-Identifier: Apache-2.0
"""CMS EnvelopedData (RFC 5652, 6) and AuthEnvelopedData (RFC 5083) as values.

Recipients are named here too, since signers (RFC 5652, 5.3) are named in the same two ways.
"""

from dataclasses import dataclass
from typing import Final

from xpu_agent import limits
from xpu_agent.artifacts import der
from xpu_agent.artifacts.certificate import AlgorithmIdentifier, read_algorithm, read_name
from xpu_agent.errors import MalformedError


@dataclass(frozen=True, slots=True)
class IssuerAndSerialNumber:
    """Names a signer or recipient by the issuer's DER Name and the serial number."""

    issuer: bytes
    serial_number: int


@dataclass(frozen=True, slots=True)
class SubjectKeyIdentifier:
    """Names a signer or recipient by its subjectKeyIdentifier extension."""

    value: bytes


@dataclass(frozen=True, slots=True)
class KeyTransRecipient:
    """RFC 5652, 6.2.1."""

    rid: IssuerAndSerialNumber | SubjectKeyIdentifier
    key_encryption_algorithm: AlgorithmIdentifier
    encrypted_key: bytes


@dataclass(frozen=True, slots=True)
class KeyAgreeRecipient:
    """One recipient of a KeyAgreeRecipientInfo (RFC 5652, 6.2.2; RFC 5753).

    `originator_key` is the originator's public key point (the BIT STRING's octets) of the
    recipient's own curve. `rid` with a `SubjectKeyIdentifier` stands for rKeyId.
    """

    rid: IssuerAndSerialNumber | SubjectKeyIdentifier
    originator_key: bytes
    user_keying_material: bytes | None
    key_encryption_algorithm: AlgorithmIdentifier  # its parameters name the key wrap
    encrypted_key: bytes


@dataclass(frozen=True, slots=True)
class EnvelopedData:
    """RFC 5652, 6.1, or RFC 5083 AuthEnvelopedData; what `DeviceKeys.decrypt` opens.

    `content_type` is the encrypted content's dotted type; `authenticated_attributes` the DER
    SET OF that is additional data of an AEAD cipher, `mac` its tag; both None for EnvelopedData.
    """

    content_type: str
    recipients: tuple[KeyTransRecipient | KeyAgreeRecipient, ...]
    content_encryption_algorithm: AlgorithmIdentifier
    encrypted_content: bytes
    authenticated_attributes: bytes | None
    mac: bytes | None


_SKI: Final = der.context(0, constructed=False)


def read_enveloped_data(element: der.Element) -> EnvelopedData:
    """Read an EnvelopedData out of a structure that was checked to be DER."""
    where = "EnvelopedData"
    fields = der.Fields(element, der.SEQUENCE, where)
    if der.integer(fields.take(der.INTEGER, "version"), where) not in {0, 2, 3, 4}:
        raise MalformedError("EnvelopedData has an unknown version")
    fields.take_if(der.context(0))  # originatorInfo
    recipients = _recipients(fields.take(der.SET, "recipientInfos"))
    content_type, algorithm, content = _encrypted_content(
        fields.take(der.SEQUENCE, "encryptedContentInfo")
    )
    fields.take_if(der.context(1))  # unprotectedAttrs
    fields.end()
    return EnvelopedData(content_type, recipients, algorithm, content, None, None)


def read_auth_enveloped_data(element: der.Element) -> EnvelopedData:
    """Read an AuthEnvelopedData (RFC 5083, 2.1) out of checked DER."""
    where = "AuthEnvelopedData"
    fields = der.Fields(element, der.SEQUENCE, where)
    if der.integer(fields.take(der.INTEGER, "version"), where) != 0:
        raise MalformedError("AuthEnvelopedData has an unknown version")
    fields.take_if(der.context(0))  # originatorInfo
    recipients = _recipients(fields.take(der.SET, "recipientInfos"))
    content_type, algorithm, content = _encrypted_content(
        fields.take(der.SEQUENCE, "authEncryptedContentInfo")
    )
    attributes = fields.take_if(der.context(1))
    mac = fields.take(der.OCTET_STRING, "mac").content
    fields.take_if(der.context(2))  # unauthAttrs
    fields.end()
    return EnvelopedData(
        content_type,
        recipients,
        algorithm,
        content,
        # RFC 5083, 2.2: additional data is the SET OF, not the implicit tag it travels under.
        None if attributes is None else b"\x31" + attributes.der[1:],
        mac,
    )


def read_recipient_name(
    element: der.Element, where: str
) -> IssuerAndSerialNumber | SubjectKeyIdentifier:
    """Read a SignerIdentifier or RecipientIdentifier."""
    if element.tag == _SKI:
        return SubjectKeyIdentifier(element.content)
    fields = der.Fields(element, der.SEQUENCE, where)
    issuer = fields.take(der.SEQUENCE, "issuer")
    read_name(issuer, where)
    serial_number = der.integer(fields.take(der.INTEGER, "serialNumber"), where)
    fields.end()
    return IssuerAndSerialNumber(issuer.der, serial_number)


def _encrypted_content(element: der.Element) -> tuple[str, AlgorithmIdentifier, bytes]:
    where = "encryptedContentInfo"
    fields = der.Fields(element, der.SEQUENCE, where)
    content_type = der.object_identifier(fields.take(der.OBJECT_IDENTIFIER, "contentType"))
    algorithm = read_algorithm(
        fields.take(der.SEQUENCE, "contentEncryptionAlgorithm"), "content encryption algorithm"
    )
    if fields.peek() == der.context(0):
        raise MalformedError(f"{where} is BER, not DER: its content is a string in pieces")
    content = fields.take(der.context(0, constructed=False), "encryptedContent").content
    fields.end()
    return content_type, algorithm, content


def _recipients(element: der.Element) -> tuple[KeyTransRecipient | KeyAgreeRecipient, ...]:
    """Recipients of the two kinds a device key can serve; others are passed over."""
    entries = der.elements(element, der.SET, "recipientInfos", most=limits.RECIPIENTS)
    if not entries:
        raise MalformedError("EnvelopedData has no recipient")
    found: list[KeyTransRecipient | KeyAgreeRecipient] = []
    for entry in entries:
        if entry.tag == der.SEQUENCE:
            found.append(_key_trans_recipient(entry))
        elif entry.tag == der.context(1):
            found.extend(_key_agree_recipients(entry))
        elif entry.tag not in {der.context(2), der.context(3), der.context(4)}:
            raise MalformedError("EnvelopedData has a recipient of an unknown kind")
    if len(found) > limits.RECIPIENTS:
        raise MalformedError(f"EnvelopedData has more than {limits.RECIPIENTS} recipients")
    return tuple(found)


def _key_trans_recipient(element: der.Element) -> KeyTransRecipient:
    where = "KeyTransRecipientInfo"
    fields = der.Fields(element, der.SEQUENCE, where)
    version = der.integer(fields.take(der.INTEGER, "version"), where)
    rid = read_recipient_name(fields.take_any("rid"), where)
    if version != (0 if isinstance(rid, IssuerAndSerialNumber) else 2):
        raise MalformedError(f"{where} has a version that does not fit its recipient")
    algorithm = read_algorithm(
        fields.take(der.SEQUENCE, "keyEncryptionAlgorithm"), "key encryption algorithm"
    )
    encrypted_key = fields.take(der.OCTET_STRING, "encryptedKey").content
    fields.end()
    return KeyTransRecipient(rid, algorithm, encrypted_key)


def _key_agree_recipients(element: der.Element) -> list[KeyAgreeRecipient]:
    where = "KeyAgreeRecipientInfo"
    fields = der.Fields(element, der.context(1), where)
    if der.integer(fields.take(der.INTEGER, "version"), where) != 3:
        raise MalformedError(f"{where} has an unknown version")
    originator = der.explicit(fields.take(der.context(0), "originator"), where)
    material = None
    if (tagged := fields.take_if(der.context(1))) is not None:
        ukm = der.explicit(tagged, where)
        if ukm.tag != der.OCTET_STRING:
            raise MalformedError(f"{where} has keying material that is no OCTET STRING")
        material = ukm.content
    algorithm = read_algorithm(
        fields.take(der.SEQUENCE, "keyEncryptionAlgorithm"), "key encryption algorithm"
    )
    keys = der.elements(
        fields.take(der.SEQUENCE, "recipientEncryptedKeys"),
        der.SEQUENCE,
        where,
        most=limits.RECIPIENTS,
    )
    fields.end()
    recipients = [_recipient_encrypted_key(entry) for entry in keys]
    if originator.tag != der.context(1):
        # A static originator key would have to be looked up; only ephemeral ones are carried.
        return []
    point = _originator_key(originator)
    return [
        KeyAgreeRecipient(rid, point, material, algorithm, encrypted_key)
        for rid, encrypted_key in recipients
    ]


def _originator_key(element: der.Element) -> bytes:
    where = "originatorKey"
    fields = der.Fields(element, der.context(1), where)
    read_algorithm(fields.take(der.SEQUENCE, "algorithm"), where)
    point = der.bit_string_octets(fields.take(der.BIT_STRING, "publicKey"), where)
    fields.end()
    return point


def _recipient_encrypted_key(
    element: der.Element,
) -> tuple[IssuerAndSerialNumber | SubjectKeyIdentifier, bytes]:
    where = "RecipientEncryptedKey"
    fields = der.Fields(element, der.SEQUENCE, where)
    name = fields.take_any("rid")
    rid: IssuerAndSerialNumber | SubjectKeyIdentifier
    if name.tag == der.context(0):
        # rKeyId is a SEQUENCE here, unlike everywhere else; its date and other key attribute
        # choose among keys of one identifier, and a device has one.
        key_id = der.Fields(name, der.context(0), where)
        rid = SubjectKeyIdentifier(key_id.take(der.OCTET_STRING, "subjectKeyIdentifier").content)
        key_id.take_if(der.GENERALIZED_TIME)
        key_id.take_if(der.SEQUENCE)
        key_id.end()
    else:
        rid = read_recipient_name(name, where)
    encrypted_key = fields.take(der.OCTET_STRING, "encryptedKey").content
    fields.end()
    return rid, encrypted_key
