# SPDX-License-Identifier: Apache-2.0
"""The command line: `xpu-emulator COMMAND ...`.

Each command is a module with `add_parser(subparsers)`, which sets `handler`: a function from the
parsed arguments to an exit status. Only the module of the command asked for is imported.

Exit status: what the handler returns; 2 for bad usage or input, with one line on stderr.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Final

from xpu_emulator.errors import EmulatorError

# Command, module, one line for the list of commands. One whose module isn't there is left out.
COMMANDS: Final = (
    ("demo", "xpu_emulator.demo", "a whole onboarding on this machine, start to end"),
    ("serve", "xpu_emulator.serve", "bootstrap and file server from a scenario file"),
    ("pki", "xpu_emulator.pki", "make or extend a folder of authorities and device identities"),
    ("voucher", "xpu_emulator.voucher", "issue, renew and show ownership vouchers"),
    ("media", "xpu_emulator.media", "make the file tree of removable storage"),
    ("conformance", "xpu_emulator.conformance", "run the scenarios against an agent under test"),
    ("scenarios", "xpu_emulator.scenarios", "list the scenarios of the conformance run"),
)

EXIT_USAGE: Final = 2
_EXIT_INTERRUPTED = 130

_EPILOG = """\
examples:
  xpu-emulator pki create build/pki --serial SN123
  xpu-emulator voucher issue --pki build/pki SN123
  xpu-emulator media --pki build/pki --out build/usb --configuration startup.conf SN123

Everything made here is for tests: keys lie unencrypted in files.
"""


def build_parser(asked_for: str | None) -> argparse.ArgumentParser:
    """The parser, with the arguments of the one command asked for."""
    parser = argparse.ArgumentParser(
        prog="xpu-emulator",
        description="An SZTP world (RFC 8572) to test onboarding agents with.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, module, summary in COMMANDS:
        if find_spec(module) is None:
            continue
        if name == asked_for:
            import_module(module).add_parser(subparsers)
        else:
            subparsers.add_parser(name, help=summary)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    asked_for = next((each for each in arguments if not each.startswith("-")), None)
    parsed = build_parser(asked_for).parse_args(arguments)
    try:
        status = int(parsed.handler(parsed))
        sys.stdout.flush()
    except EmulatorError as error:
        return _refuse(parsed.command, str(error))
    except KeyboardInterrupt:
        return _EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader went away, as `| head` does; nothing more can be said to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        return _refuse(parsed.command, f"{error.filename or 'input or output'}: {error.strerror}")
    return status


def _refuse(command: str, message: str) -> int:
    # One line, whatever the texts of other libraries hold.
    print(f"xpu-emulator {command}: {' '.join(message.split())}", file=sys.stderr)
    return EXIT_USAGE
