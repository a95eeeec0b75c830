# SPDX-License-Identifier: Apache-2.0
"""The public SSH host keys a device presents (RFC 8572, 7.3; RFC 4253, 6.6)."""

import base64
import binascii
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from xpu_agent.progress import SshHostKey

_MAX_KEYS = 16
_MAX_FILE_BYTES = 16 * 1024


def read_host_keys(folder: Path, pattern: str) -> Sequence[SshHostKey]:
    """The keys in the `.pub` files of `folder`, in order of name; unreadable ones are left out.

    A key counts only if the name inside its blob is the one beside it: a server would refuse the
    whole report otherwise. Certificates are no host keys.
    """
    keys = []
    for path in sorted(folder.glob(pattern)):
        key = _parse(_read(path))
        if key is not None:
            keys.append(key)
    return tuple(keys[:_MAX_KEYS])


def _read(path: Path) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
        return os.read(descriptor, _MAX_FILE_BYTES) if regular else b""
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def _parse(line: bytes) -> SshHostKey | None:
    fields = line.split()
    if len(fields) < 2:
        return None
    try:
        algorithm = fields[0].decode("ascii")
        blob = base64.b64decode(fields[1], validate=True)
    except (UnicodeDecodeError, binascii.Error):
        return None
    if "-cert-v" in algorithm or blob[4 : 4 + int.from_bytes(blob[:4], "big")] != fields[0]:
        return None
    return SshHostKey(algorithm, blob)
