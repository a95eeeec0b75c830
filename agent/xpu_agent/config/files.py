# SPDX-License-Identifier: Apache-2.0
"""Which files count, where they are below `--root`, and who may write them (RFC 8572, 9.3).

    Trust anchors need to be protected: who can change them, or the file that names them, is
    whom the device believes.

So a configuration file or an anchor that anybody but root can write (or, for an agent without
privileges, anybody but its own user) is not read, and neither is one in a folder where others
could put another in its place.
"""

import os
import stat
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from xpu_agent import limits
from xpu_agent.errors import ConfigurationError

VENDOR_FOLDER = Path("/usr/lib/xpu-agent/agent.yaml.d")
MAIN_FILE = Path("/etc/xpu-agent/agent.yaml")
FOLDER_SUFFIX = ".d"
_PATTERN = "*.yaml"

_LINKS = 40  # as the kernel


def below_root(root: Path | None, path: Path) -> Path:
    """Where `path` is when `root` is the root folder, every symbolic link resolved inside it.

    Neither `..` nor a link leads out: an absolute link begins again at `root`, and `..` of `root`
    is `root`. What does not exist is taken as it is written. Without a root the path comes back
    unchanged. The answer holds for a tree nobody else changes meanwhile.

    Raises:
        ConfigurationError: more links than a kernel follows.
    """
    if root is None:
        return path
    todo = deque(path.parts)
    done: list[str] = []
    links = 0
    while todo:
        part = todo.popleft()
        if part in {"/", "//", "."}:
            continue
        if part == "..":
            del done[-1:]
            continue
        done.append(part)
        try:
            target = root.joinpath(*done).readlink()
        except OSError:
            continue  # no link, or nothing there
        links += 1
        if links > _LINKS:
            raise ConfigurationError(f"{path}: too many symbolic links below {root}")
        del done[-1:]
        if target.is_absolute():
            done.clear()
        todo.extendleft(reversed(target.parts))
    return root.joinpath(*done)


@dataclass(frozen=True, slots=True)
class FileLocation:
    """A configuration file: where it is, and what a relative path in it is relative to.

    `logical` is its path below the root folder, None for a file named as the caller sees it.
    `masked`: a link to /dev/null, the way to say "as if it were empty".
    """

    real: Path
    logical: Path | None
    masked: bool = False

    def resolve(self, root: Path | None, written: str) -> Path:
        """The path to open for one written in this file."""
        path = Path(written)
        if path.is_absolute():
            return below_root(root, path)
        if self.logical is None:
            return self.real.parent / path
        return below_root(root, self.logical.parent / path)


def configuration_files(named: Path | None, root: Path | None) -> Iterator[FileLocation]:
    """The files to read, later ones win: vendor's folder, main file, its folder.

    A file of the same name in /etc masks the vendor's. A file named by the caller counts alone,
    with its own folder beside it. Whether they exist is for the reader to find out, but folders
    are listed here.

    Raises:
        ConfigurationError: a folder can't be listed.
    """
    if named is None:
        ours = list(_folder(MAIN_FILE.with_name(MAIN_FILE.name + FOLDER_SUFFIX), root))
        masked = {f.logical.name for f in ours if f.logical}
        yield from (
            f for f in _folder(VENDOR_FOLDER, root) if f.logical and f.logical.name not in masked
        )
        yield FileLocation(below_root(root, MAIN_FILE), MAIN_FILE)
        yield from ours
        return
    folder = named.with_name(named.name + FOLDER_SUFFIX)
    if named.is_absolute():
        yield FileLocation(below_root(root, named), named)
        yield from _folder(folder, root)
    else:
        here = Path.cwd()
        yield FileLocation(here / named, None)
        yield from (replace(f, logical=None) for f in _folder(here / folder, None))


def _folder(logical: Path, root: Path | None) -> Iterator[FileLocation]:
    real = below_root(root, logical)
    try:
        entries = sorted(e for e in real.iterdir() if e.match(_PATTERN) and e.name[0] != ".")
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise ConfigurationError(f"{real} can't be listed: {error.strerror}") from error
    for entry in entries:
        name = logical / entry.name
        masked = entry.is_symlink() and entry.readlink() == Path("/dev/null")
        yield FileLocation(below_root(root, name), name, masked)


def read_protected(path: Path, max_bytes: int = limits.CONFIG_FILE_BYTES) -> bytes:
    """The content of a configuration file or anchor that nobody but root (or we) can write.

    Raises:
        ConfigurationError: it can't be read, is no regular file, is too large, or could be
            changed by others.
        FileNotFoundError: there is none.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(str(path)) from error
    except OSError as error:
        raise ConfigurationError(f"{path} can't be read: {error.strerror}") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ConfigurationError(f"{path} is no regular file")
        problem = exposure(path, status)
        if problem is not None:
            raise ConfigurationError(f"{path} {problem[0]}", next_action=problem[1])
        with open(descriptor, "rb", closefd=False) as file:  # a descriptor
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise ConfigurationError(f"{path} can't be read: {error.strerror}") from error
    finally:
        os.close(descriptor)
    if len(content) > max_bytes:
        raise ConfigurationError(f"{path} is larger than {max_bytes} bytes")
    return content


def exposure(path: Path, status: os.stat_result | None = None) -> tuple[str, str] | None:
    """How others could change the file's content, with the remedy; None where they can't.

    Judged are the file and the folders it stands in: that of the link where it is one, and that
    of the file itself. A folder others write to is fine with the sticky bit, where they can't
    replace what isn't theirs. A file that is not there is nobody's.
    """
    try:
        status = status or path.stat()
        folders = {path.parent: path.parent.stat()}
        real = path.resolve()
        folders[real.parent] = real.parent.stat()
    except OSError:
        return None
    problem = _writable(status)
    if problem is not None:
        return problem[0], f"{problem[1]} {path}"
    for folder, folder_status in folders.items():
        problem = _writable(folder_status)
        if problem is not None:
            return f"is in the folder {folder}, which {problem[0]}", f"{problem[1]} {folder}"
    return None


def _writable(status: os.stat_result) -> tuple[str, str] | None:
    """Who else could write, and the command that ends it."""
    us = os.geteuid()
    owner = "root" if us == 0 else f"root or user {us}"
    if status.st_uid not in {0, us}:
        return f"belongs to user {status.st_uid}, not to {owner}", "run: chown root"
    if stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX:
        return None
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        who = "everybody" if status.st_mode & stat.S_IWOTH else "its group"
        return f"can be written by {who}", "run: chmod go-w"
    return None
