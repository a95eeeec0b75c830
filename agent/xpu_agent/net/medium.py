# SPDX-License-Identifier: Apache-2.0
"""Files on a removable medium, by `file:` URIs relative to its root (RFC 8572, 4.1 and 6.3).

A medium is anybody's work: names in it are followed below one directory descriptor, component by
component, symbolic links and `..` refused, and only regular files are read.
"""

import os
import stat
from pathlib import Path
from urllib.parse import unquote_to_bytes

from xpu_agent.errors import ExecutionError, Reason
from xpu_agent.net.tls import describe

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a FIFO must not block


def open_file(medium: Path, path: str) -> tuple[int, int]:
    """A descriptor of the regular file at a URI's `path` below `medium`, and its size.

    Raises:
        ExecutionError: `image-unreachable`.
    """
    parts = [part for part in unquote_to_bytes(path).split(b"/") if part not in {b"", b"."}]
    if not parts or any(part == b".." or b"\0" in part for part in parts):
        raise _unreachable(path, "it does not name a file below the medium's root")
    try:
        descriptor = os.open(medium, _DIRECTORY)
        for part in parts[:-1]:
            descriptor = _step(descriptor, part, _DIRECTORY | os.O_NOFOLLOW)
        descriptor = _step(descriptor, parts[-1], _FILE)
    except OSError as error:
        raise _unreachable(path, describe(error)) from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise _unreachable(path, "not a regular file")
    return descriptor, status.st_size


def _step(folder: int, name: bytes, flags: int) -> int:
    try:
        return os.open(name, flags, dir_fd=folder)
    finally:
        os.close(folder)


def _unreachable(path: str, why: str) -> ExecutionError:
    shown = ascii(path[:200])[1:-1]
    return ExecutionError(
        Reason.IMAGE_UNREACHABLE, f"the image file {shown} on the medium can't be read: {why}"
    )
