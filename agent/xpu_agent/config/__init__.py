# SPDX-License-Identifier: Apache-2.0
"""The agent's configuration: strict files in, one immutable `AgentConfig` out.

`document` reads YAML or JSON into nodes that know their line, `schema` says which keys there are
and what each may hold, `files` which files count and who may write them, `load` puts it together.
Every problem of every file is found in one go. Whatever decides trust is read from here, so the
files, and the anchors they name, may be writable by nobody but root (RFC 8572, 9.3).
"""

from xpu_agent.config.files import below_root, read_protected
from xpu_agent.config.kernel_command_line import apply_kernel_command_line, boot_switch
from xpu_agent.config.load import (
    ConfigurationProblemsError,
    LoadedConfig,
    Setting,
    load_config,
    missing_files,
)
from xpu_agent.config.model import (
    AgentConfig,
    ClockChoice,
    DeviceConfig,
    DnsConfig,
    FileKey,
    GiveUpAction,
    GiveUpConfig,
    IdentityConfig,
    KeyLocation,
    LimitsConfig,
    LogLevel,
    MediaConfig,
    NetworkConfig,
    PathsConfig,
    Pkcs11Key,
    PlatformConfig,
    PlatformName,
    ReportConfig,
    SerialNumberFrom,
    ServerAddress,
    SourceName,
    SshHostKeys,
    StaticAddress,
    TpmKey,
    TrustConfig,
)
from xpu_agent.config.problems import ConfigurationProblem
from xpu_agent.config.values import parse_bootstrap_server

__all__ = [
    "AgentConfig",
    "ClockChoice",
    "ConfigurationProblem",
    "ConfigurationProblemsError",
    "DeviceConfig",
    "DnsConfig",
    "FileKey",
    "GiveUpAction",
    "GiveUpConfig",
    "IdentityConfig",
    "KeyLocation",
    "LimitsConfig",
    "LoadedConfig",
    "LogLevel",
    "MediaConfig",
    "NetworkConfig",
    "PathsConfig",
    "Pkcs11Key",
    "PlatformConfig",
    "PlatformName",
    "ReportConfig",
    "SerialNumberFrom",
    "ServerAddress",
    "Setting",
    "SourceName",
    "SshHostKeys",
    "StaticAddress",
    "TpmKey",
    "TrustConfig",
    "apply_kernel_command_line",
    "below_root",
    "boot_switch",
    "load_config",
    "missing_files",
    "parse_bootstrap_server",
    "read_protected",
]
