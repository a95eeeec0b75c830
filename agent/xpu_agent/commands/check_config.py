# SPDX-License-Identifier: Apache-2.0
"""`xpu-agent check-config`: every problem of the configuration, with file, line and key."""

import sys
from collections.abc import Callable
from typing import TypeVar

from xpu_agent.config import (
    AgentConfig,
    ConfigurationProblemsError,
    LoadedConfig,
    missing_files,
)
from xpu_agent.errors import ExitCode, XpuAgentError
from xpu_agent.facts import Identity, read_anchors, read_identity, read_keys, readable_keys
from xpu_agent.wiring import Options, load_settings, read_password, trust_anchor_certs

_T = TypeVar("_T")
_OWN_ISSUER = (
    "trust.voucher-anchors holds the CA that issued this device's own certificate: "
    "any device's key below it could sign vouchers"
)


def run(options: Options, *, show: bool) -> int:
    """Print the problems, one a line, or the settings; exit 0 only when there is no problem."""
    try:
        loaded = load_settings(options)
    except ConfigurationProblemsError as error:
        sys.stderr.writelines(f"{problem}\n" for problem in error.problems)
        return ExitCode.USAGE
    problems, warnings = _findings(loaded)
    sys.stderr.writelines(f"{problem}\n" for problem in problems)
    sys.stderr.writelines(f"warning: {warning}\n" for warning in warnings)
    if problems:
        return ExitCode.USAGE
    if show:
        settings = loaded.settings()
        width = max(len(s.key) for s in settings)
        for setting in settings:
            sys.stdout.write(f"{setting.key:<{width}}  {setting.text}  ({setting.origin})\n")
    else:
        files = ", ".join(str(file) for file in loaded.files) or "defaults only"
        sys.stdout.write(f"configuration is valid: {files}\n")
    return ExitCode.OK


def _findings(loaded: LoadedConfig) -> tuple[list[str], list[str]]:
    """Problems and warnings of the files the configuration names, each file for itself."""
    config = loaded.config
    problems = [str(problem) for problem in missing_files(loaded)]
    warnings = [*loaded.notices, *readable_keys(config)]
    missing = bool(problems)

    def tried(read: Callable[[], _T]) -> _T | None:
        try:
            return read()
        except XpuAgentError as error:
            # What is missing was named already, with the line that asks for it.
            if not (missing and _is_missing(error)):
                problems.append(str(error))
            return None

    identity = tried(lambda: read_identity(config))
    if identity is not None:
        tried(lambda: read_keys(config, identity))
    password = config.identity.password_file
    if password is not None:
        tried(lambda: read_password(password))
    anchors = tried(lambda: read_anchors(config.trust.voucher_anchors))
    tried(lambda: read_anchors(config.trust.server_anchors))
    tried(lambda: trust_anchor_certs(config.report.trust_anchor_certs))
    if anchors is not None:
        warnings += _of_anchors(config, identity, anchors)
    if config.platform.name is None:
        warnings.append("platform.name is not set: `run` and `daemon` will refuse to start")
    return problems, warnings


def _is_missing(error: BaseException) -> bool:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, FileNotFoundError):
        cause = cause.__cause__
    return cause is not None


def _of_anchors(
    config: AgentConfig, identity: Identity | None, anchors: tuple[bytes, ...]
) -> list[str]:
    if not config.trust.voucher_anchors:
        return ["trust.voucher-anchors is empty: no signed data can ever be accepted"]
    if identity is not None and identity.issued_by_one_of(anchors):
        # AMB-29: then every device's own key could sign vouchers for the others.
        return [_OWN_ISSUER]
    return []
