# SPDX-License-Identifier: Apache-2.0
"""The configuration as values; defaults are those of a device without any file.

Paths are absolute and lie below `--root` where one is given, symbolic links resolved inside it.
Field names are the keys with underscores.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from xpu_agent import limits as bounds
from xpu_agent.device import Assertion, Leniency


class SerialNumberFrom(StrEnum):
    """Where the serial number comes from if it isn't configured (AMB-23)."""

    SUBJECT = "subject"  # subject serialNumber of the IDevID certificate
    PLATFORM = "platform"


class ClockChoice(StrEnum):
    """How far the clock is believed; `clock.ClockMode` has the same values."""

    AUTO = "auto"
    ACCURATE = "accurate"
    INACCURATE = "inaccurate"


class SourceName(StrEnum):
    """The sources of RFC 8572, 4, by the names they have here."""

    REMOVABLE_STORAGE = "removable-storage"
    DHCP = "dhcp"
    DNS = "dns"
    BOOTSTRAP_SERVERS = "bootstrap-servers"


class PlatformName(StrEnum):
    """The platforms of this version."""

    DIRECTORY = "directory"
    HOOKS = "hooks"


class GiveUpAction(StrEnum):
    """What happens when the agent gives up waiting."""

    BOOT = "boot"
    SHELL = "shell"
    REBOOT = "reboot"
    NEXT = "next"


class SshHostKeys(StrEnum):
    """Whether `bootstrap-complete` carries the device's SSH host keys."""

    AUTO = "auto"
    NONE = "none"


class LogLevel(StrEnum):
    """The least severe lines that are logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class FileKey:
    """A private key in a file."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True)
class TpmKey:
    """A private key in a TPM 2.0: a persistent handle, or a file the TPM can load."""

    handle: int | None = None
    path: Path | None = None

    def __str__(self) -> str:
        return f"tpm2:{self.path}" if self.handle is None else f"tpm2:{self.handle:#x}"


@dataclass(frozen=True, slots=True)
class Pkcs11Key:
    """A private key behind PKCS#11 (RFC 7512). A PIN is never part of the URI."""

    uri: str

    def __str__(self) -> str:
        return self.uri


KeyLocation = FileKey | TpmKey | Pkcs11Key


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """A bootstrap server (RFC 8572, 5.1): host name or IP literal, and port.

    `provisional`: named by a place others can write (kernel command line), so the server anchors
    don't count for it.
    """

    host: str
    port: int = 443
    provisional: bool = False

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"https://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class StaticAddress:
    """What an interface gets where there is no DHCP: addresses with prefix length."""

    interface: str
    addresses: tuple[str, ...]
    gateway: str | None = None
    resolvers: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.interface}={'+'.join(self.addresses)}"


@dataclass(frozen=True, slots=True)
class DeviceConfig:
    """`device`: overrides of what the platform says."""

    serial_number: str | None = None
    serial_number_from: SerialNumberFrom = SerialNumberFrom.SUBJECT
    hw_model: str | None = None
    os_name: str | None = None
    os_version: str | None = None


@dataclass(frozen=True, slots=True)
class IdentityConfig:
    """`identity`: certificate chain and key; HTTP credentials for trusted servers only."""

    certificate: Path | None = None
    private_key: KeyLocation | None = None
    decryption_key: KeyLocation | None = None  # None: the private key
    username: str | None = None
    password_file: Path | None = None


@dataclass(frozen=True, slots=True)
class TrustConfig:
    """`trust`: voucher anchors and server anchors are separate lists (SZTP-5.1-09)."""

    voucher_anchors: tuple[Path, ...] = ()
    server_anchors: tuple[Path, ...] = ()
    clock: ClockChoice = ClockChoice.AUTO
    assertions: frozenset[Assertion] = frozenset({Assertion.VERIFIED})


@dataclass(frozen=True, slots=True)
class DnsConfig:
    """`dns`: which kinds of DNS are asked."""

    multicast: bool = True
    unicast: bool = True


@dataclass(frozen=True, slots=True)
class MediaConfig:
    """`media`: `devices` None means auto."""

    devices: tuple[str, ...] | None = None
    filesystems: tuple[str, ...] = ("vfat", "iso9660")
    manufacturer: str | None = None
    settle_seconds: int = 10


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """`network`: `interfaces` None means auto."""

    interfaces: tuple[str, ...] | None = None
    configure: bool = False
    release: bool = False
    static: tuple[StaticAddress, ...] = ()
    proxy: str | None = None


@dataclass(frozen=True, slots=True)
class ReportConfig:
    """`report`: what goes with `bootstrap-complete`."""

    ssh_host_keys: SshHostKeys = SshHostKeys.AUTO
    trust_anchor_certs: tuple[Path, ...] = ()
    inventory: bool = False


@dataclass(frozen=True, slots=True)
class PlatformConfig:
    """`platform`: None is no platform named, which is enough to inspect, not to onboard.

    `path` belongs to `directory`.
    """

    name: PlatformName | None = None
    path: Path | None = None


@dataclass(frozen=True, slots=True)
class GiveUpConfig:
    """`give-up`: 0 seconds is never."""

    after_seconds: int = 0
    then: GiveUpAction = GiveUpAction.BOOT


@dataclass(frozen=True, slots=True)
class LimitsConfig:
    """`limits`: the bounds an operator may change."""

    script_seconds: int = bounds.DEFAULT_SCRIPT_SECONDS
    image_bytes: int = bounds.DEFAULT_IMAGE_BYTES
    attempt_seconds: int = bounds.DEFAULT_ATTEMPT_SECONDS
    source_seconds: int = bounds.DEFAULT_SOURCE_SECONDS


@dataclass(frozen=True, slots=True)
class PathsConfig:
    """`paths`: durable state, and what vanishes with a boot."""

    state: Path = Path("/var/lib/xpu-agent")
    run: Path = Path("/run/xpu-agent")


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """Everything an operator may set."""

    device: DeviceConfig = field(default_factory=DeviceConfig)
    identity: IdentityConfig = field(default_factory=IdentityConfig)
    trust: TrustConfig = field(default_factory=TrustConfig)
    accept: frozenset[Leniency] = frozenset()
    bootstrap_servers: tuple[ServerAddress, ...] = ()
    sources: tuple[SourceName, ...] = tuple(SourceName)
    dns: DnsConfig = field(default_factory=DnsConfig)
    media: MediaConfig = field(default_factory=MediaConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    report: ReportConfig = field(default_factory=ReportConfig)
    platform: PlatformConfig = field(default_factory=PlatformConfig)
    hooks: Path = Path("/usr/lib/xpu-agent/hooks")
    give_up: GiveUpConfig = field(default_factory=GiveUpConfig)
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    paths: PathsConfig = field(default_factory=PathsConfig)
    log_level: LogLevel = LogLevel.INFO
