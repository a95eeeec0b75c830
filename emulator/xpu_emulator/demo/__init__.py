# SPDX-License-Identifier: Apache-2.0
"""`xpu-emulator demo`: a whole onboarding on this machine, with the real agent and real TLS.

`world` makes the authorities, the servers and the pretend devices, `agent` runs the agent as a
process and hears what it says, `view` draws both sides, `story` tells what happens in order.
"""

import argparse
from pathlib import Path


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """`xpu-emulator demo`."""
    parser = subparsers.add_parser(
        "demo",
        help="a whole onboarding on this machine, start to end",
        description="Make a PKI, bootstrap servers, a file server and a pretend device, and let "
        "the real agent onboard it: image, reboot, scripts, configuration, reports. Then show "
        "that it stays so, and that forged data is refused. Everything is on 127.0.0.1 and in "
        "one folder. The exit status is 0 if all went as it should, else the agent's.",
        epilog="example:\n  xpu-emulator demo --folder build/demo --image-size 16\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path("xpu-demo"),
        metavar="DIR",
        help="where everything is put; an earlier demo's folder is replaced (default xpu-demo)",
    )
    parser.add_argument(
        "--image-size",
        type=_size,
        default=256,
        metavar="MIB",
        help="size of the boot image in MiB (default 256)",
    )
    parser.add_argument(
        "--agent",
        metavar="COMMAND",
        help="the agent's command (default: the xpu-agent of this installation)",
    )
    parser.set_defaults(handler=_run)


def _size(text: str) -> int:
    size = int(text)
    if not 1 <= size <= 65536:
        raise argparse.ArgumentTypeError("must be 1 to 65536")
    return size


def _run(arguments: argparse.Namespace) -> int:
    from xpu_emulator.demo.story import run

    return run(arguments.folder, arguments.image_size, arguments.agent)
