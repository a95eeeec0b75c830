# SPDX-License-Identifier: Apache-2.0
"""`xpu-agent check-config`: every problem of the configuration, with file, line and key."""

import sys

from xpu_agent.config import ConfigurationProblemsError, missing_files
from xpu_agent.errors import ExitCode, XpuAgentError
from xpu_agent.facts import read_anchors, read_identity, read_keys, readable_keys
from xpu_agent.wiring import Options, load_settings


def run(options: Options, *, show: bool) -> int:
    """Print the problems, one a line, or the settings; exit 0 only when there is no problem."""
    try:
        loaded = load_settings(options)
    except ConfigurationProblemsError as error:
        sys.stderr.writelines(f"{problem}\n" for problem in error.problems)
        return ExitCode.USAGE
    problems = [str(problem) for problem in missing_files(loaded)]
    warnings = [*loaded.notices, *readable_keys(loaded.config)]
    if not problems:
        try:
            identity = read_identity(loaded.config)
            read_keys(loaded.config, identity)
            anchors = read_anchors(loaded.config.trust.voucher_anchors)
            read_anchors(loaded.config.trust.server_anchors)
        except XpuAgentError as error:
            problems.append(str(error))
        else:
            # AMB-29: then every device's own key could sign vouchers for the others.
            issuer = identity.issuer_of_leaf() if identity else None
            if issuer is not None and issuer in anchors:
                warnings.append(
                    "trust.voucher-anchors holds the CA that issued this device's own certificate: "
                    "any device's key below it could sign vouchers"
                )
            if not anchors:
                warnings.append(
                    "trust.voucher-anchors is empty: no signed data can ever be accepted"
                )
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
