# SPDX-License-Identifier: Apache-2.0
"""The three artifacts and which go together (RFC 8572, 3.4 and 3.5).

Reading is two pure steps with decryption between them, since private keys live behind a port:
`open_artifacts` tells which artifacts are enveloped, `assemble_bundle` takes the plaintexts.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from xpu_agent.artifacts import der
from xpu_agent.artifacts.cms import (
    OID_CONVEYED_JSON,
    OID_CONVEYED_XML,
    OID_DATA,
    OID_SIGNED_DATA,
    CertificateBag,
    EnvelopedData,
    PlainContent,
    SignedData,
    parse_content_info,
    parse_signed_data,
)
from xpu_agent.artifacts.conveyed_info import apparent_encoding
from xpu_agent.artifacts.voucher import UnverifiedVoucher, parse_voucher
from xpu_agent.device import Leniency
from xpu_agent.errors import MalformedError


class ArtifactName(StrEnum):
    """The output leaves of `get-bootstrapping-data`."""

    CONVEYED_INFORMATION = "conveyed-information"
    OWNER_CERTIFICATE = "owner-certificate"
    OWNERSHIP_VOUCHER = "ownership-voucher"


@dataclass(frozen=True, slots=True)
class Artifacts:
    """Artifacts as received: DER ContentInfo octets, None where absent."""

    conveyed_information: bytes
    owner_certificate: bytes | None = None
    ownership_voucher: bytes | None = None


@dataclass(frozen=True, slots=True)
class OpenedArtifacts:
    """After the first step: the same octets, and what has to be decrypted first."""

    artifacts: Artifacts
    enveloped: Mapping[ArtifactName, EnvelopedData]


@dataclass(frozen=True, slots=True)
class UnsignedConveyedInformation:
    """Conveyed information nobody signed: the document's octets and its CMS content type."""

    content_type: str
    document: bytes


@dataclass(frozen=True, slots=True)
class SignedConveyedInformation:
    """Conveyed information with at least one signer; unverified."""

    signed_data: SignedData


@dataclass(frozen=True, slots=True)
class UnverifiedBundle:
    """Everything received, decrypted and parsed, nothing believed.

    With unsigned conveyed information owner certificate and voucher are ignored (AMB-19) and
    None here; with signed conveyed information both are present.
    """

    conveyed_information: UnsignedConveyedInformation | SignedConveyedInformation
    owner_certificate: CertificateBag | None
    ownership_voucher: UnverifiedVoucher | None


def open_artifacts(artifacts: Artifacts) -> OpenedArtifacts:
    """First step: structure of the outer layers.

    Beside conveyed information that is unsigned for sure the other two are not looked at
    (AMB-19).

    Raises:
        MalformedError: see `cms.parse_content_info`.
    """
    enveloped: dict[ArtifactName, EnvelopedData] = {}
    for name, octets in _present(artifacts):
        match _parse_outer(octets, name):
            case EnvelopedData() as envelope:
                enveloped[name] = envelope
                unsigned = envelope.content_type in {OID_CONVEYED_JSON, OID_CONVEYED_XML}
            case content:
                unsigned = isinstance(content, PlainContent)
        if unsigned and name is ArtifactName.CONVEYED_INFORMATION:
            break
    return OpenedArtifacts(artifacts, enveloped)


def assemble_bundle(
    opened: OpenedArtifacts,
    plaintexts: Mapping[ArtifactName, bytes],
    leniencies: Collection[Leniency] = (),
) -> UnverifiedBundle:
    """Second step: put the decrypted contents in place and parse all that is left.

    `plaintexts` has one entry for each of `opened.enveloped` (AMB-27 says what each may hold).

    Raises:
        MalformedError: an artifact of the wrong kind, SignedData around EnvelopedData, a
            second envelope, signed conveyed information without its two companions, or one
            of them without the other.
    """
    if plaintexts.keys() != opened.enveloped.keys():
        raise RuntimeError("plaintexts are due for the enveloped artifacts and no others")
    octets = dict(_present(opened.artifacts))

    def content(name: ArtifactName) -> _Content:
        if name in opened.enveloped:
            return _decrypted(opened.enveloped[name].content_type, plaintexts[name], name)
        return _parse_outer(octets[name], name)

    conveyed = _conveyed_information(content(ArtifactName.CONVEYED_INFORMATION))
    if isinstance(conveyed, UnsignedConveyedInformation):
        return UnverifiedBundle(conveyed, None, None)
    for name in (ArtifactName.OWNER_CERTIFICATE, ArtifactName.OWNERSHIP_VOUCHER):
        if name not in octets:
            raise MalformedError(f"conveyed information is signed, but there is no {name}")
    owner_certificate = content(ArtifactName.OWNER_CERTIFICATE)
    if not isinstance(owner_certificate, CertificateBag):
        raise MalformedError("owner certificate is not a SignedData of certificates alone")
    voucher = content(ArtifactName.OWNERSHIP_VOUCHER)
    if not isinstance(voucher, SignedData):
        raise MalformedError("ownership voucher is not signed")
    return UnverifiedBundle(conveyed, owner_certificate, parse_voucher(voucher, leniencies))


_Content = PlainContent | CertificateBag | SignedData | EnvelopedData

_DOCUMENT_TYPES = frozenset({OID_DATA, OID_CONVEYED_JSON, OID_CONVEYED_XML})


def _present(artifacts: Artifacts) -> list[tuple[ArtifactName, bytes]]:
    """The artifacts there are, conveyed information first."""
    all_three = (
        (ArtifactName.CONVEYED_INFORMATION, artifacts.conveyed_information),
        (ArtifactName.OWNER_CERTIFICATE, artifacts.owner_certificate),
        (ArtifactName.OWNERSHIP_VOUCHER, artifacts.ownership_voucher),
    )
    return [(name, octets) for name, octets in all_three if octets is not None]


def _parse_outer(octets: bytes, name: ArtifactName) -> _Content:
    """Parse one artifact; errors say which it was."""
    try:
        return parse_content_info(octets)
    except MalformedError as error:
        raise MalformedError(f"{name}: {error.message}", reason=error.reason) from error


def _conveyed_information(
    content: _Content,
) -> UnsignedConveyedInformation | SignedConveyedInformation:
    match content:
        case PlainContent(content_type=content_type, content=document):
            return UnsignedConveyedInformation(content_type, document)
        case SignedData(content_type=content_type) if content_type in _DOCUMENT_TYPES:
            return SignedConveyedInformation(content)
        case SignedData():
            raise MalformedError("conveyed information has the content type of a voucher")
        case CertificateBag():
            # RFC 8572, 5.4: what nobody signed is not signed data.
            raise MalformedError("conveyed information is a SignedData without signer")
        case EnvelopedData():
            raise RuntimeError("an envelope has to be opened by open_artifacts first")
        case _:
            assert_never(content)


def _decrypted(content_type: str, plaintext: bytes, name: ArtifactName) -> _Content:
    """What was in an envelope, by the type its encryptedContentInfo gave (AMB-27)."""
    try:
        return _by_content_type(content_type, plaintext, name)
    except MalformedError as error:
        raise MalformedError(f"{name}, decrypted: {error.message}", reason=error.reason) from error


def _by_content_type(content_type: str, plaintext: bytes, name: ArtifactName) -> _Content:
    is_conveyed = name is ArtifactName.CONVEYED_INFORMATION
    if content_type == OID_SIGNED_DATA:
        return _signed_data_or_content_info(plaintext)
    if content_type == OID_DATA and plaintext[:1] == b"\x30":
        # What `openssl cms -encrypt` writes, whatever it was given. No document begins with 0.
        return _signed(parse_content_info(plaintext))
    if is_conveyed and (
        content_type in {OID_CONVEYED_JSON, OID_CONVEYED_XML}
        or (content_type == OID_DATA and apparent_encoding(plaintext) is not None)
    ):
        return PlainContent(content_type, plaintext)
    raise MalformedError(f"the content type {content_type} does not fit what was encrypted")


def _signed_data_or_content_info(plaintext: bytes) -> CertificateBag | SignedData:
    """A SignedData begins with its version, a ContentInfo with its type."""
    fields = der.Fields(der.parse_der(plaintext, "SignedData"), der.SEQUENCE, "SignedData")
    if fields.peek() == der.OBJECT_IDENTIFIER:
        return _signed(parse_content_info(plaintext))
    return parse_signed_data(plaintext)


def _signed(content: _Content) -> CertificateBag | SignedData:
    if isinstance(content, EnvelopedData):
        raise MalformedError("there is a second envelope inside")
    if isinstance(content, PlainContent):
        raise MalformedError("there is no SignedData inside")
    return content
