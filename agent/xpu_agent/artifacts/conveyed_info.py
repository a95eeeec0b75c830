# SPDX-License-Identifier: Apache-2.0
"""Conveyed information (RFC 8572, 3.1 and 6): the document inside, in JSON or XML."""

import ipaddress
import re
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from xpu_agent import limits
from xpu_agent.artifacts.cms import (
    OID_CONVEYED_JSON,
    OID_CONVEYED_XML,
    OID_DATA,
    CertificateBag,
    parse_content_info,
)
from xpu_agent.artifacts.yang_data import Encoding, Identity, Node, read_document
from xpu_agent.device import Leniency
from xpu_agent.errors import MalformedError, Reason

__all__ = [
    "BootImage",
    "BootstrapServer",
    "ConfigurationHandling",
    "ConveyedDocument",
    "Encoding",
    "HashAlgorithm",
    "ImageVerification",
    "OnboardingInformation",
    "RedirectInformation",
    "apparent_encoding",
    "parse_conveyed_document",
]


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


_MODULE: Final = "ietf-sztp-conveyed-info"
_REDIRECT: Final = "redirect-information"
_ONBOARDING: Final = "onboarding-information"
_DEFAULT_PORT: Final = 443
_DIGEST_OCTETS: Final = {HashAlgorithm.SHA_256: 32}

_ENCODINGS: Final = {OID_CONVEYED_JSON: Encoding.JSON, OID_CONVEYED_XML: Encoding.XML}

# inet:domain-name without the root alone (RFC 6991, 4), and yang:hex-string (RFC 6991, 3).
_DOMAIN_NAME: Final = re.compile(
    r"(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?\.)*"
    r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?\.?"
)
_ZONE: Final = re.compile(r"[A-Za-z0-9._-]{1,15}")
_HEX_STRING: Final = re.compile(r"[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2})*")
_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]+")


def parse_conveyed_document(
    octets: bytes, content_type: str, leniencies: Collection[Leniency] = ()
) -> ConveyedDocument:
    """Read the document of conveyed information; `content_type` is its CMS type (AMB-05).

    Raises:
        MalformedError: breaks the YANG module, the encoding's rules or a bound; or the content
            type names one encoding and the octets are the other.
    """
    if len(octets) > limits.ARTIFACT_BYTES:
        raise MalformedError(
            f"conveyed information has more than {limits.ARTIFACT_BYTES} octets",
            reason=Reason.TOO_LARGE,
        )
    warnings: list[str] = []
    encoding = _encoding(octets, content_type, leniencies, warnings)
    name, node = read_document(
        octets, encoding, _MODULE, (_REDIRECT, _ONBOARDING), "conveyed information"
    )
    information: RedirectInformation | OnboardingInformation
    if name == _REDIRECT:
        information = _redirect_information(node)
    else:
        information = _onboarding_information(node, warnings)
    return ConveyedDocument(information, encoding, octets, tuple(warnings))


def apparent_encoding(octets: bytes) -> Encoding | None:
    """What a document is written in, by its first octet that is not space (AMB-05)."""
    start = octets.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n")[:1]
    return {b"{": Encoding.JSON, b"<": Encoding.XML}.get(start)


def _encoding(
    octets: bytes, content_type: str, leniencies: Collection[Leniency], warnings: list[str]
) -> Encoding:
    """What the octets are, if the content type agrees (AMB-05)."""
    found = apparent_encoding(octets)
    if found is None:
        raise MalformedError("conveyed information is neither a JSON object nor XML")
    if content_type == OID_DATA:
        return found
    named = _ENCODINGS.get(content_type)
    if named is None:
        raise MalformedError(f"conveyed information has the content type {content_type}")
    if named is not found:
        if Leniency.MISLABELLED_ENCODING not in leniencies:
            raise MalformedError(f"conveyed information is called {named}, but is {found}")
        warnings.append(f"conveyed information is called {named}, but is {found}")
    return found


# --- redirect information ---------------------------------------------------------------------


def _redirect_information(node: Node) -> RedirectInformation:
    entries = node.entries("bootstrap-server", most=limits.SERVERS_PER_LIST)
    node.finish()
    if not entries:
        raise MalformedError("redirect-information has no bootstrap-server")
    servers = tuple(_bootstrap_server(entry) for entry in entries)
    if len({server.address for server in servers}) != len(servers):
        raise MalformedError("redirect-information has two servers of one address")
    return RedirectInformation(servers)


def _bootstrap_server(node: Node) -> BootstrapServer:
    address = node.word("address")
    port = node.integer("port")
    anchor = node.binary("trust-anchor", most=limits.ARTIFACT_BYTES)
    node.finish()
    if address is None:
        raise MalformedError(f"{node.where} has no address")
    if port is None:
        port = _DEFAULT_PORT
    elif not 1 <= port <= 65535:
        # The type allows 0, but nothing can be reached there.
        raise MalformedError(f"{node.path('port')} is not a port number")
    return BootstrapServer(_host(address, node.path("address")), port, _trust_anchor(anchor, node))


def _trust_anchor(octets: bytes | None, node: Node) -> CertificateBag | None:
    if octets is None:
        return None
    bag = parse_content_info(octets)
    if not isinstance(bag, CertificateBag):
        raise MalformedError(f"{node.path('trust-anchor')} is not a bag of certificates")
    return bag


def _host(text: str, where: str) -> str:
    """An inet:host in canonical form: lower case, IPv6 compressed, no dot at the end."""
    literal, percent, zone = text.partition("%")
    if percent and not _ZONE.fullmatch(zone):
        raise MalformedError(f"{where} has a zone that is no name of an interface")
    try:
        address = ipaddress.ip_address(literal)
    except ValueError:
        pass
    else:
        return f"{address}{percent}{zone}"
    last_label = text.rstrip(".").rpartition(".")[2]
    if (
        not _DOMAIN_NAME.fullmatch(text)
        or len(text) > 253
        # Resolvers take such names for IPv4 addresses in old spellings.
        or re.fullmatch(r"[0-9]+|0[xX][0-9A-Fa-f]*", last_label)
    ):
        raise MalformedError(f"{where} is neither a host name nor an IP address")
    return text.removesuffix(".").lower()


# --- onboarding information -------------------------------------------------------------------


def _onboarding_information(node: Node, warnings: list[str]) -> OnboardingInformation:
    image = node.container("boot-image")
    boot_image = None if image is None else _boot_image(image, warnings)
    handling = node.enumeration("configuration-handling", ConfigurationHandling)
    pre_script = node.binary("pre-configuration-script", most=limits.SCRIPT_BYTES)
    configuration = node.binary("configuration", most=limits.CONFIGURATION_BYTES)
    post_script = node.binary("post-configuration-script", most=limits.SCRIPT_BYTES)
    node.finish()
    if (handling is None) != (configuration is None):
        raise MalformedError("configuration and configuration-handling belong together")
    if boot_image is None and pre_script is None and configuration is None and post_script is None:
        # AMB-16: nothing to do is nothing that was chosen.
        raise MalformedError("onboarding-information is empty")
    return OnboardingInformation(boot_image, pre_script, configuration, handling, post_script)


def _boot_image(node: Node, warnings: list[str]) -> BootImage | None:
    os_name = node.text("os-name")
    os_version = node.text("os-version")
    uris = tuple(
        _uri(text, node.path("download-uri"))
        for text in node.texts("download-uri", most=limits.DOWNLOAD_URIS)
    )
    entries = node.entries("image-verification", most=limits.IMAGE_VERIFICATIONS) or []
    node.finish()
    if entries and not uris:
        raise MalformedError("image-verification needs a download-uri")
    seen: set[tuple[str, str]] = set()
    verifications: list[ImageVerification] = []
    for entry in entries:
        identity, value = _image_verification(entry)
        if (identity.module, identity.name) in seen:
            raise MalformedError("image-verification has one hash-algorithm twice")
        seen.add((identity.module, identity.name))
        if not identity.ours:
            warnings.append(f"{entry.where} has a hash-algorithm of another module: skipped")
            continue
        verifications.append(_usable_verification(identity, value, entry))
    if os_name is None and os_version is None and not uris:
        return None  # An empty container is as good as none (RFC 7950, 7.5.1).
    return BootImage(
        os_name, os_version, uris, tuple(verifications), len(entries) - len(verifications)
    )


def _uri(text: str, where: str) -> str:
    if len(text) > limits.URI_CHARS or not _URI.fullmatch(text):
        raise MalformedError(f"{where} is not a URI, or too long")
    return text


def _image_verification(node: Node) -> tuple[Identity, bytes]:
    identity = node.identity("hash-algorithm")
    value = node.word("hash-value")
    node.finish()
    if identity is None or value is None:
        raise MalformedError(f"{node.where} has no hash-algorithm or no hash-value")
    if value and not _HEX_STRING.fullmatch(value):
        raise MalformedError(f"{node.path('hash-value')} is not hexadecimal with colons")
    return identity, bytes.fromhex(value.replace(":", ""))


def _usable_verification(identity: Identity, value: bytes, node: Node) -> ImageVerification:
    try:
        algorithm = HashAlgorithm(identity.name)
    except ValueError as error:
        raise MalformedError(f"{node.path('hash-algorithm')} is not defined") from error
    if len(value) != _DIGEST_OCTETS[algorithm]:
        raise MalformedError(f"{node.path('hash-value')} has the wrong length for {algorithm}")
    return ImageVerification(algorithm, value)
