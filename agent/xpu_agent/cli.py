# SPDX-License-Identifier: Apache-2.0
"""The command line: arguments in, exit status out; each command is a few lines over the library.

Nothing heavy is imported until a command needs it: `--help` and `status` start as fast as Python.
"""

import argparse
import contextlib
import errno
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from xpu_agent import __version__
from xpu_agent.errors import ExitCode, UsageError, XpuAgentError, exit_code

if TYPE_CHECKING:
    from xpu_agent.wiring import Options

DEFAULT_CONFIG = "/etc/xpu-agent/agent.yaml"
_OUTPUT_LOST = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)

_EPILOG = """\
exit status:
  0 bootstrapped, or nothing to do    1 internal error, or state unreadable
  2 usage or configuration            10 nothing reachable      11 nothing trusted
  12 execution failed, undone         13 undo failed            14 identity problem
  15 stopped by a signal              16 another agent runs     20 reboot asked for

example:
  xpu-agent run --media /media/usb && xpu-agent status
"""


class _Parser(argparse.ArgumentParser):
    """argparse, with an error that is one line and says what to do next.

    Options are written in full: one that is added later must not change what a script means.
    """

    def __init__(self, **more: Any) -> None:
        super().__init__(allow_abbrev=False, **more)

    def error(self, message: str) -> NoReturn:
        line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in message)
        raise UsageError(line, next_action=f"see {self.prog} --help")


def _common(parser: argparse.ArgumentParser) -> None:
    """Options every command takes, before it or after it."""
    group = parser.add_argument_group("common")
    group.add_argument(
        "--config",
        metavar="FILE",
        default=argparse.SUPPRESS,
        help=f"configuration (default {DEFAULT_CONFIG} and what lies around it)",
    )
    group.add_argument(
        "--root",
        metavar="DIR",
        default=argparse.SUPPRESS,
        help="every absolute path is looked for below DIR",
    )
    group.add_argument(
        "--log-format",
        choices=("text", "kmsg", "json"),
        default=argparse.SUPPRESS,
        help="form of log lines on standard error",
    )
    group.add_argument(
        "-v", "--verbose", action="count", default=argparse.SUPPRESS, help="log more"
    )


def build_parser() -> argparse.ArgumentParser:
    """All commands and options."""
    parser = _Parser(
        prog="xpu-agent",
        description="Onboards this device securely (RFC 8572): finds its bootstrap server, "
        "verifies who may own it, installs what the owner signed.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"xpu-agent {__version__}")
    _common(parser)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)

    def command(
        name: str, summary: str, example: str, handler: Callable[[argparse.Namespace], int]
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            epilog=f"example:\n  {example}\n",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        _common(sub)
        sub.set_defaults(handler=handler)
        return sub

    def by_hand(sub: argparse.ArgumentParser) -> None:
        only = sub.add_argument_group("by hand", "use this one source only")
        choice = only.add_mutually_exclusive_group()
        choice.add_argument("--bootstrap-server", metavar="URL", help="https://HOST[:PORT]")
        choice.add_argument("--media", metavar="DIR", help="a medium's root folder")
        only.add_argument(
            "--trust-anchor",
            metavar="FILE",
            help="PEM the server must validate to; without it the connection is provisional",
        )

    by_hand(
        command(
            "run",
            "one bootstrapping attempt over all sources, then exit",
            "xpu-agent run --bootstrap-server https://bootstrap.example --trust-anchor ca.pem",
            _run,
        )
    )
    command("daemon", "repeat with back-off until bootstrapped", "xpu-agent daemon -v", _daemon)
    status = command("status", "show where onboarding stands", "xpu-agent status --watch", _status)
    status.add_argument("--json", action="store_true", help="print the status file as it is")
    status.add_argument("--watch", action="store_true", help="follow it until interrupted")
    plan = command(
        "plan",
        "discover and judge, show what would be done, touch nothing",
        "xpu-agent plan --media /media/usb --json",
        _plan,
    )
    by_hand(plan)
    plan.add_argument("--json", action="store_true", help="print one JSON object")
    inspect = command(
        "inspect",
        "judge artifacts offline",
        "xpu-agent inspect --conveyed-information ci.cms --owner-certificate oc.cms "
        "--ownership-voucher ov.vcj",
        _inspect,
    )
    inspect.add_argument("--conveyed-information", metavar="FILE", required=True)
    inspect.add_argument("--owner-certificate", metavar="FILE")
    inspect.add_argument("--ownership-voucher", metavar="FILE")
    inspect.add_argument(
        "--from-trusted-server",
        action="store_true",
        help="judge as if an authenticated server had sent it; signed data must still validate",
    )
    inspect.add_argument(
        "--nonce", metavar="B64", help="the nonce the device is taken to have sent"
    )
    when = inspect.add_mutually_exclusive_group()
    when.add_argument("--at", metavar="TIME", help="judge dates at this RFC 3339 time")
    when.add_argument("--clock-inaccurate", action="store_true", help="judge no dates")
    inspect.add_argument("--json", action="store_true", help="print one JSON object")
    command("enable", "switch SZTP on", "xpu-agent enable", _enable)
    command("disable", "switch SZTP off", "xpu-agent disable", _disable)
    command("mark-good", "the trial image is healthy", "xpu-agent mark-good", _mark_good)
    command(
        "reprovision",
        "forget progress and configuration and onboard again; the owner stays",
        "xpu-agent reprovision && xpu-agent run",
        _reprovision,
    )
    check = command(
        "check-config",
        "validate the configuration, every problem with file, line and key",
        "xpu-agent check-config --show",
        _check_config,
    )
    check.add_argument(
        "--show", action="store_true", help="print the result, each value with its file"
    )
    return parser


# --- commands --------------------------------------------------------------------------------


def _run(arguments: argparse.Namespace) -> int:
    from xpu_agent.commands import onboard

    return onboard.run(_options(arguments))


def _daemon(arguments: argparse.Namespace) -> int:
    from xpu_agent.commands import onboard

    return onboard.daemon(_options(arguments))


def _plan(arguments: argparse.Namespace) -> int:
    from xpu_agent.commands import plan

    return plan.run(_options(arguments), json_output=arguments.json)


def _status(arguments: argparse.Namespace) -> int:
    from xpu_agent.commands import status

    return status.run(_options(arguments), json_output=arguments.json, watch=arguments.watch)


def _inspect(arguments: argparse.Namespace) -> int:
    from xpu_agent.commands import inspection

    return inspection.run(
        _options(arguments),
        conveyed_information=arguments.conveyed_information,
        owner_certificate=arguments.owner_certificate,
        ownership_voucher=arguments.ownership_voucher,
        from_trusted_server=arguments.from_trusted_server,
        nonce=arguments.nonce,
        at=arguments.at,
        clock_inaccurate=arguments.clock_inaccurate,
        json_output=arguments.json,
    )


def _enable(arguments: argparse.Namespace) -> int:
    from xpu_agent.commands import switch

    return switch.enable(_options(arguments))


def _disable(arguments: argparse.Namespace) -> int:
    from xpu_agent.commands import switch

    return switch.disable(_options(arguments))


def _mark_good(arguments: argparse.Namespace) -> int:
    from xpu_agent.commands import switch

    return switch.mark_good(_options(arguments))


def _reprovision(arguments: argparse.Namespace) -> int:
    from xpu_agent.commands import switch

    return switch.reprovision(_options(arguments))


def _check_config(arguments: argparse.Namespace) -> int:
    from xpu_agent.commands import check_config

    return check_config.run(_options(arguments), show=arguments.show)


def _options(arguments: argparse.Namespace) -> "Options":
    from xpu_agent.wiring import Options

    given = vars(arguments)
    for name in ("config", "root", "trust_anchor", "media"):
        if given.get(name) == "":
            raise UsageError(f"--{name.replace('_', '-')} names nothing")
    if given.get("trust_anchor") is not None and given["bootstrap_server"] is None:
        raise UsageError("--trust-anchor belongs to --bootstrap-server")
    start = _working_directory()
    root = None if given.get("root") is None else start / given["root"]
    if root is not None and not root.is_dir():
        raise UsageError(f"--root {root} is no folder")
    return Options(
        config=None if given.get("config") is None else Path(given["config"]),
        root=root,
        start=start,
        log_format=given.get("log_format"),
        verbosity=given.get("verbose") or 0,
        bootstrap_server=given.get("bootstrap_server"),
        trust_anchor=given.get("trust_anchor"),
        media=given.get("media"),
    )


def _working_directory() -> Path:
    """Where relative paths of the command line begin; a folder that is gone holds none."""
    try:
        return Path.cwd()
    except OSError:
        return Path()


# --- the outermost line ----------------------------------------------------------------------


def _open_missing_streams() -> None:
    """Put /dev/null where a standard stream was closed.

    Else the next file opened takes its number, and a stray line goes into it. The lowest free
    number is the one that is missing, as they are looked at in order.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115  # for good


def _say(text: str) -> None:
    """A line on standard error; an encoding that lacks a character loses no output."""
    encoding = sys.stderr.encoding or "ascii"
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
        sys.stderr.flush()


def _internal(error: Exception) -> int:
    """Tell a bug of ours in one line; all of it where XPU_AGENT_DEBUG is set."""
    import traceback

    last = traceback.extract_tb(error.__traceback__)[-1]
    _say(
        f"xpu-agent: internal: {type(error).__name__}: {str(error)[:200]!r} at "
        f"{Path(last.filename).name}:{last.lineno}; please report this line"
    )
    if os.environ.get("XPU_AGENT_DEBUG"):
        traceback.print_exception(error)
    return ExitCode.INTERNAL


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; never a traceback."""
    _open_missing_streams()
    try:
        arguments = build_parser().parse_args(argv)
        if arguments.command is None:
            build_parser().print_help(sys.stderr)
            return ExitCode.USAGE
        handler: Callable[[argparse.Namespace], int] = arguments.handler
        status = int(handler(arguments))
        sys.stdout.flush()
    except XpuAgentError as error:
        _say(f"xpu-agent: {error}")
        return int(exit_code(error.reason))
    except KeyboardInterrupt:
        _say("xpu-agent: stopped; state is kept, the next run goes on")
        return ExitCode.STOPPED
    except BrokenPipeError:
        # The reader of our output is gone; there is nobody left to tell.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return ExitCode.OK
    except OSError as error:
        if error.errno not in _OUTPUT_LOST:
            return _internal(error)
        # Files of ours that can't be written have reasons of their own; this was the output.
        _say(f"xpu-agent: the output is not complete: {error.strerror}")
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return ExitCode.INTERNAL
    except Exception as error:  # noqa: BLE001  # a bug of ours: one line, as the contract says
        return _internal(error)
    return status


if __name__ == "__main__":
    sys.exit(main())
