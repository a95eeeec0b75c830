# SPDX-License-Identifier: Apache-2.0
"""The three artifacts and which go together (RFC 8572, 3.4 and 3.5).

Reading is two pure steps with decryption between them, since private keys live behind a port:
`open_artifacts` tells which artifacts are enveloped, `assemble_bundle` takes the plaintexts.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

from xpu_agent.artifacts.cms import CertificateBag, EnvelopedData, SignedData
from xpu_agent.artifacts.voucher import UnverifiedVoucher
from xpu_agent.device import Leniency


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

    Raises:
        MalformedError: see `cms.parse_content_info`.
    """
    raise NotImplementedError


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
    raise NotImplementedError
