# SPDX-License-Identifier: Apache-2.0
"""Conveyed information (RFC 8572, 3.1 and 6): the document inside, in JSON or XML."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from xpu_agent.artifacts.cms import CertificateBag
from xpu_agent.device import Leniency


class Encoding(StrEnum):
    """How a document is written down."""

    JSON = "json"
    XML = "xml"


class HashAlgorithm(StrEnum):
    """Image hash identities this agent can use (RFC 8572, 6.3)."""

    SHA_256 = "sha-256"


class ConfigurationHandling(StrEnum):
    """Merge into, or replace, the running configuration."""

    MERGE = "merge"
    REPLACE = "replace"


@dataclass(frozen=True, slots=True)
class BootstrapServer:
    """One entry of redirect information. `address` is a name or an IP literal, no brackets."""

    address: str
    port: int
    trust_anchor: CertificateBag | None


@dataclass(frozen=True, slots=True)
class RedirectInformation:
    """RFC 8572, 2.1: servers in the order to try them; addresses unique (AMB-17)."""

    servers: tuple[BootstrapServer, ...]


@dataclass(frozen=True, slots=True)
class ImageVerification:
    """One fingerprint of the boot image."""

    algorithm: HashAlgorithm
    value: bytes


@dataclass(frozen=True, slots=True)
class BootImage:
    """What the device must be running and where to get it (RFC 8572, 6.3).

    `download_uris` in the order given. `verifications` holds those with a usable algorithm;
    `unusable_verifications` counts identities of other modules that were skipped.
    """

    os_name: str | None
    os_version: str | None
    download_uris: tuple[str, ...]
    verifications: tuple[ImageVerification, ...]
    unusable_verifications: int = 0


@dataclass(frozen=True, slots=True)
class OnboardingInformation:
    """RFC 8572, 2.2. Configuration and handling are there together or not at all."""

    boot_image: BootImage | None
    pre_configuration_script: bytes | None
    configuration: bytes | None
    configuration_handling: ConfigurationHandling | None
    post_configuration_script: bytes | None


@dataclass(frozen=True, slots=True)
class ConveyedDocument:
    """A parsed document, its encoding, and the octets it was parsed from."""

    information: RedirectInformation | OnboardingInformation
    encoding: Encoding
    octets: bytes
    warnings: tuple[str, ...] = ()  # leniencies used, fingerprints skipped: `parsing-warning`


def parse_conveyed_document(
    octets: bytes, content_type: str, leniencies: Collection[Leniency] = ()
) -> ConveyedDocument:
    """Read the document of conveyed information; `content_type` is its CMS type (AMB-05).

    Raises:
        MalformedError: breaks the YANG module, the encoding's rules or a bound; or the content
            type names one encoding and the octets are the other.
    """
    raise NotImplementedError
