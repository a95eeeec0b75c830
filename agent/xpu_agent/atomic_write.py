# SPDX-License-Identifier: Apache-2.0
"""Durable replacement of small files: after a power cut there is the old content or the new."""

import contextlib
import os
from pathlib import Path


def sync_directory(folder: Path) -> None:
    """Put a folder's entries on disk; a rename or unlink in it is durable on return."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(
    path: Path, content: bytes, *, mode: int = 0o600, durable: bool = True
) -> None:
    """Replace `path` with `content`, durably: temporary file beside it, fsync, rename, fsync.

    `mode` is set exactly, whatever the umask. Without `durable` a reader still sees the old
    content or the new, but a power cut may lose both: for files that end with the boot anyway.
    Raises OSError; then the old content stands and no temporary file is left.
    """
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, mode)
    try:
        try:
            os.fchmod(descriptor, mode)
            view = memoryview(content)
            while view:
                view = view[os.write(descriptor, view) :]
            if durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    if durable:
        sync_directory(path.parent)


def make_folder(folder: Path, mode: int) -> None:
    """Make a folder, and those above it (0755), durably; what is there stays as it is.

    `mode` is set exactly, whatever the umask. Raises OSError.
    """
    if folder.is_dir():
        return
    if folder.parent != folder:
        make_folder(folder.parent, 0o755)
    try:
        folder.mkdir(mode)
    except FileExistsError:
        if folder.is_dir():
            return
        raise
    folder.chmod(mode)
    sync_directory(folder.parent)


def remove_durably(path: Path) -> None:
    """Unlink `path` if it is there and put that on disk. Raises OSError."""
    try:
        path.unlink()
    except FileNotFoundError:
        return
    sync_directory(path.parent)
