# SPDX-License-Identifier: Apache-2.0
"""Folders and files the commands make: names from serial numbers, modes, and clear refusals."""

import os
import string
from pathlib import Path

from xpu_emulator.errors import EmulatorError

_KEPT = frozenset((string.ascii_letters + string.digits + "._-").encode())
_LONGEST_NAME = 255  # octets, on every file system in question


def path_component(name: str) -> str:
    """A serial number or manufacturer's name as the name of one folder or file.

    Octets of its UTF-8 outside `[A-Za-z0-9._-]` are percent-encoded, so that no name escapes its
    folder.

    Raises:
        EmulatorError: empty, `.`, `..`, no UTF-8, or too long for a file name.
    """
    if name in {"", ".", ".."}:
        raise EmulatorError(f"{name!r} can't be a serial number: it is no file name")
    try:
        octets = name.encode()
    except UnicodeEncodeError as error:
        raise EmulatorError(f"{name!r} can't be a serial number: it is no UTF-8") from error
    encoded = "".join(chr(octet) if octet in _KEPT else f"%{octet:02X}" for octet in octets)
    if len(encoded) > _LONGEST_NAME:
        raise EmulatorError(f"a serial number of {len(encoded)} octets is too long for a file name")
    return encoded


def make_folder(folder: Path) -> None:
    """Make a folder and those above it; one that is there already will do."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EmulatorError(f"can't make the folder {folder}: {error.strerror}") from error


def make_new_folder(folder: Path) -> None:
    """Make a folder that must not hold anything yet."""
    make_folder(folder)
    try:
        occupied = any(folder.iterdir())
    except OSError as error:
        raise EmulatorError(f"can't read the folder {folder}: {error.strerror}") from error
    if occupied:
        raise EmulatorError(f"{folder} exists already and isn't empty")


def write_file(path: Path, octets: bytes, *, secret: bool = False, replace: bool = False) -> None:
    """Write a file and the folders above it; a secret one is for its owner only (0600).

    Raises:
        EmulatorError: it exists and may not be replaced, or can't be written.
    """
    make_folder(path.parent)
    mode = 0o600 if secret else 0o644
    temporary = path.with_name(f".{path.name[:200]}.new")
    try:
        if not replace and os.path.lexists(path):
            raise EmulatorError(f"{path} exists already")
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(octets)
        temporary.replace(path)
    except OSError as error:
        raise EmulatorError(f"can't write {path}: {error.strerror}") from error


def read_file(path: Path, *, limit: int = 64 << 20) -> bytes:
    """Read a file of at most `limit` octets.

    Raises:
        EmulatorError: missing, unreadable, or larger.
    """
    try:
        with path.open("rb") as file:
            octets = file.read(limit + 1)
    except OSError as error:
        raise EmulatorError(f"can't read {path}: {error.strerror}") from error
    if len(octets) > limit:
        raise EmulatorError(f"{path} is larger than {limit} octets")
    return octets
