# SPDX-License-Identifier: Apache-2.0
"""What the device knows of itself (RFC 8572, 5.1), gathered from configuration and platform.

Configuration comes first, then what the platform says, then the files every Linux has. For a slot
the agent installed, the platform's record of that image answers for name and version instead.
"""

import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from xpu_agent import limits
from xpu_agent.config import AgentConfig, FileKey, SerialNumberFrom, below_root, read_protected
from xpu_agent.device import DeviceFacts, RunningImage
from xpu_agent.errors import ConfigurationError, IdentityError, MalformedError, Reason

if TYPE_CHECKING:
    from xpu_agent.ports import DeviceKeys, PlatformFacts

_PEM = re.compile(
    rb"-----BEGIN CERTIFICATE-----\s+([A-Za-z0-9+/=\s]+?)-----END CERTIFICATE-----", re.ASCII
)
_BEGIN = b"-----BEGIN CERTIFICATE-----"
_DMI = Path("/sys/class/dmi/id/product_name")
_DEVICE_TREE = Path("/proc/device-tree/model")
_OS_RELEASE = (Path("/etc/os-release"), Path("/usr/lib/os-release"))
# What boards say that were never given a name.
_FILLERS = frozenset({"", "unknown", "none", "default string", "system product name", "n/a"})


@dataclass(frozen=True, slots=True)
class Identity:
    """The IDevID: where its files are, and the certificates in them (DER, leaf first).

    `key_path` is None where the key is no file; `read_keys` says what that means.
    """

    chain_path: Path
    key_path: Path | None
    chain: tuple[bytes, ...]
    subject_serial_number: str | None

    def issued_by_one_of(self, authorities: Sequence[bytes]) -> bool:
        """Whether the leaf names one of these as its issuer; the chain may end before it."""
        from xpu_agent.artifacts.certificate import parse_certificate

        issuer = parse_certificate(self.chain[0]).issuer
        return any(parse_certificate(each).subject == issuer for each in authorities)


def read_identity(config: AgentConfig) -> Identity | None:
    """The device's certificate chain, None where none is configured; no key is read.

    Raises:
        IdentityError: `idevid-missing`: a file is missing, unreadable or holds something else.
    """
    from xpu_agent.artifacts.certificate import parse_certificate

    path, key = config.identity.certificate, config.identity.private_key
    if path is None:
        return None
    try:
        chain = _certificates(_read(path))
        leaf = parse_certificate(chain[0])
    except MalformedError as error:
        raise _missing(f"{path} is no certificate chain in PEM: {error.message}") from error
    key_path = key.path if isinstance(key, FileKey) else None
    return Identity(path, key_path, chain, leaf.subject_serial_number)


def read_keys(config: AgentConfig, identity: Identity | None) -> "DeviceKeys | None":
    """The private keys of the identity, None where there is none.

    Raises:
        IdentityError: `idevid-missing`: a key is missing, unreadable, or not the certificate's.
    """
    from xpu_agent.keys.file import load_keys

    if identity is None:
        return None
    own, other = config.identity.private_key, config.identity.decryption_key
    if own is None:
        raise _missing(f"{identity.chain_path} has no key: identity.private-key is not set")
    if not isinstance(own, FileKey):
        raise _missing(f"{own} is a kind of key this version can't use")
    if other is not None and not isinstance(other, FileKey):
        raise _missing(f"{other} is a kind of key this version can't use")
    key, decryption_key = _read(own.path), None if other is None else _read(other.path)
    try:
        return load_keys(identity.chain, key, decryption_key)
    except IdentityError as error:
        files = " and ".join(map(str, (own.path, *([other.path] if other else []))))
        raise IdentityError(
            error.reason, f"{error.message} ({files})", next_action=error.next_action
        ) from error


def readable_keys(config: AgentConfig) -> tuple[str, ...]:
    """Key files that others than their owner can read, in words; a key belongs to one (5.1)."""
    found = []
    for key in (config.identity.private_key, config.identity.decryption_key):
        if not isinstance(key, FileKey):
            continue
        with contextlib.suppress(OSError):
            mode = key.path.stat().st_mode
            if mode & 0o077:
                found.append(f"{key.path} can be read by others; run: chmod 600 {key.path}")
    return tuple(found)


def read_anchors(paths: Sequence[Path]) -> tuple[bytes, ...]:
    """The certificates (DER) in these PEM files, each once.

    Raises:
        ConfigurationError: a file is missing, unreadable, writable by others, or no PEM.
    """
    from xpu_agent.artifacts.certificate import parse_certificate

    anchors: list[bytes] = []
    for path in paths:
        try:
            found = _certificates(read_protected(path, limits.ANCHORS_FILE_BYTES))
            for der in found:
                parse_certificate(der)
        except FileNotFoundError as error:
            raise ConfigurationError(f"the trust anchor {path} does not exist") from error
        except MalformedError as error:
            raise ConfigurationError(
                f"the trust anchor {path} can't be read: {error.message}",
                next_action="it must hold certificates in PEM",
            ) from error
        anchors += found
    anchors = list(dict.fromkeys(anchors))
    if len(anchors) > limits.ANCHORS:
        raise ConfigurationError(f"there are more than {limits.ANCHORS} trust anchors in one list")
    return tuple(anchors)


def gather(
    config: AgentConfig,
    identity: Identity | None,
    platform: "PlatformFacts | None",
    *,
    voucher_anchors: tuple[bytes, ...],
    server_anchors: tuple[bytes, ...],
    root: Path | None,
) -> DeviceFacts:
    """Everything together; `platform` is None where only artifacts are judged.

    Raises:
        IdentityError: the device has no serial number.
    """
    device = config.device
    installed = platform is not None and platform.image_sha256 is not None
    os_name, os_version = device.os_name, device.os_version
    if platform is not None and (installed or os_name is None):
        os_name = platform.os_name if installed else platform.os_name or os_name
    if platform is not None and (installed or os_version is None):
        os_version = platform.os_version if installed else platform.os_version or os_version
    if not installed and platform is not None:
        names = _os_release(root)
        os_name = os_name or names.get("NAME")
        os_version = os_version or names.get("VERSION_ID")
    return DeviceFacts(
        serial_number=_serial_number(config, identity, platform),
        hw_model=(
            device.hw_model
            or (platform.hw_model if platform else None)
            or _of_firmware(root, _DMI)
            or _of_firmware(root, _DEVICE_TREE)
        ),
        running=RunningImage(os_name, os_version, platform.image_sha256 if platform else None),
        idevid_chain=identity.chain if identity else (),
        voucher_anchors=voucher_anchors,
        server_anchors=server_anchors,
        assertions=config.trust.assertions,
        leniencies=config.accept,
    )


def _serial_number(
    config: AgentConfig, identity: Identity | None, platform: "PlatformFacts | None"
) -> str:
    """By configuration, else from where configuration says it stands (AMB-23)."""
    subject = identity.subject_serial_number if identity else None
    of_platform = platform.serial_number if platform else None
    found = config.device.serial_number
    if found is None:
        by_subject = config.device.serial_number_from is SerialNumberFrom.SUBJECT
        found = (subject or of_platform) if by_subject else of_platform
    if not found:
        raise IdentityError(
            Reason.IDEVID_MISSING,
            "this device has no serial number",
            next_action="set identity.certificate or device.serial-number",
        )
    return found


def _certificates(pem: bytes) -> tuple[bytes, ...]:
    import base64
    import binascii

    try:
        found = tuple(
            base64.b64decode(b"".join(match.group(1).split()), validate=True)
            for match in _PEM.finditer(pem)
        )
    except binascii.Error as error:
        raise MalformedError("its base64 does not decode") from error
    if not found:
        raise MalformedError("it holds no certificate in PEM")
    if len(found) != pem.count(_BEGIN):
        # One left out would be missed much later, and by somebody else.
        raise MalformedError("a certificate in it is cut or garbled")
    return found


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(limits.ANCHORS_FILE_BYTES + 1)
    except OSError as error:
        raise _missing(f"{path} can't be read: {error.strerror}") from error
    if len(content) > limits.ANCHORS_FILE_BYTES:
        raise _missing(f"{path} is larger than {limits.ANCHORS_FILE_BYTES} octets")
    return content


def _missing(message: str) -> IdentityError:
    return IdentityError(
        Reason.IDEVID_MISSING,
        message,
        next_action="see identity: in the configuration; `xpu-agent check-config` checks it",
    )


def _os_release(root: Path | None) -> dict[str, str]:
    """NAME and VERSION_ID of os-release(5), as far as they can be read."""
    for path in _OS_RELEASE:
        try:
            text = below_root(root, path).read_text("utf-8")[: limits.CONFIG_FILE_BYTES]
        except (OSError, UnicodeDecodeError):
            continue
        pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
        return {key.strip(): value.strip().strip("\"'") for key, _, value in pairs}
    return {}


def _of_firmware(root: Path | None, path: Path) -> str | None:
    """The model that SMBIOS or the device tree gives, None where it is a filler or not there."""
    try:
        text = below_root(root, path).read_text("ascii").strip("\0 \n")
    except (OSError, UnicodeDecodeError):
        return None
    return None if text.lower() in _FILLERS else text
