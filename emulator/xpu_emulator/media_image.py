# SPDX-License-Identifier: Apache-2.0
"""Images of removable storage, made by whatever the machine has to make them with."""

import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from xpu_emulator.errors import EmulatorError
from xpu_emulator.folders import make_folder

_TOOL_SECONDS: Final = 600
_VFAT_SPARE: Final = 4 << 20  # octets for tables and growth


def make_image(
    maker: Callable[[Path, Path], None], tree: Path, image: Path, *, replace: bool
) -> None:
    """Make an image with `make_iso` or `make_vfat`; it appears when it is complete.

    Raises:
        EmulatorError: it exists and may not be replaced, or the tree would hold it.
    """
    if image.exists() and not replace:
        raise EmulatorError(f"{image} exists already")
    if image.resolve().is_relative_to(tree.resolve()):
        raise EmulatorError(f"{image} lies in the tree it is to be an image of")
    make_folder(image.parent)
    with tempfile.TemporaryDirectory(dir=image.parent) as scratch:
        temporary = Path(scratch) / "image"
        maker(tree, temporary)
        temporary.replace(image)


def make_iso(tree: Path, image: Path) -> None:
    """An ISO 9660 image of a tree, labelled SZTP, with Joliet and Rock Ridge names.

    Raises:
        EmulatorError: neither xorriso nor genisoimage is installed, or it failed.
    """
    options = ["-quiet", "-J", "-joliet-long", "-R", "-V", "SZTP", "-o", str(image), str(tree)]
    if tool := shutil.which("xorriso"):
        _run([tool, "-as", "mkisofs", *options])
    elif tool := shutil.which("genisoimage"):
        _run([tool, *options])
    else:
        raise EmulatorError("an ISO image needs xorriso or genisoimage; install one of them")


def make_vfat(tree: Path, image: Path) -> None:
    """A FAT image of a tree, labelled SZTP, without a partition table.

    Raises:
        EmulatorError: mtools isn't installed, or failed.
    """
    formatter, copier = shutil.which("mformat"), shutil.which("mcopy")
    if formatter is None or copier is None:
        raise EmulatorError("a vfat image needs mformat and mcopy; install mtools")
    size = sum(each.stat().st_size + 32768 for each in tree.rglob("*") if each.is_file())
    # Whole tracks of 32 sectors of 512 octets, 64 heads.
    cylinders = (size + _VFAT_SPARE) // (512 * 32 * 64) + 1
    geometry = ["-t", str(cylinders), "-h", "64", "-s", "32"]
    _run([formatter, "-C", "-i", str(image), *geometry, "-v", "SZTP", "::"])
    _run([copier, "-s", "-i", str(image), *map(str, sorted(tree.iterdir())), "::/"])


def _run(command: list[str]) -> None:
    name = Path(command[0]).name
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=_TOOL_SECONDS, check=False, text=True
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EmulatorError(f"{name} failed: {error}") from error
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["no reason given"]
        raise EmulatorError(f"{name} failed: {lines[-1]}")
