# SPDX-License-Identifier: Apache-2.0
"""One agent at a time: a lock in `paths.run`, gone with its holder however that ends.

The kernel holds the lock for the open file, so a crash leaves nothing stale; the file itself is
never removed, since whoever waits for it could then hold a lock on a file nobody else sees.
"""

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from xpu_agent.errors import LockedError
from xpu_agent.store.file_store import make_run_folder, unwritable

NAME = "lock"


class AgentLock:
    """A context manager that holds the lock in the folder `run`.

    Raises, on entering:
        LockedError: another agent holds it; the message names its process.
        StateError: `state-unwritable`: there can be no lock.
    """

    def __init__(self, run: Path) -> None:
        self._path = run / NAME
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        make_run_folder(self._path.parent)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            descriptor = os.open(self._path, flags, 0o644)
        except OSError as error:
            raise unwritable(self._path, error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
        except BlockingIOError as error:
            holder = _holder(descriptor)
            os.close(descriptor)
            raise LockedError(f"{holder} is at work on this device (lock {self._path})") from error
        except OSError as error:
            os.close(descriptor)
            raise unwritable(self._path, error) from error
        self._descriptor = descriptor
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._descriptor is not None:
            # Said outright: a child between fork and exec may still share the open file.
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            os.close(self._descriptor)
            self._descriptor = None


def _holder(descriptor: int) -> str:
    """Who holds the lock, as far as the file tells: it may not have written yet."""
    try:
        text = os.pread(descriptor, 16, 0).decode("ascii").strip()
    except (OSError, UnicodeDecodeError):
        text = ""
    return f"another xpu-agent (process {text})" if text.isdecimal() else "another xpu-agent"
