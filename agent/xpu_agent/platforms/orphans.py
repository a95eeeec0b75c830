# SPDX-License-Identifier: Apache-2.0
"""What a script leaves running outside its process group (decision record 0022)."""

import contextlib
import os
import signal
import time
from collections.abc import Set as AbstractSet
from pathlib import Path

_ROUNDS = 32  # what a killed orphan leaves behind comes in the next one
_KILL_SECONDS = 5.0  # for the kernel to end a killed process


class Orphanage:
    """Catches what leaves the session: orphans become our children and are killed.

    Only processes that became our children while it was open count; `spared` are never touched.
    It needs `prctl` and /proc; without them the process group alone is killed. So it is where we
    are process 1, to whom everybody's orphans come.
    """

    _SET, _GET = 36, 37  # PR_SET_CHILD_SUBREAPER, PR_GET_CHILD_SUBREAPER

    def __init__(self, spared: AbstractSet[int]) -> None:
        self._spared = spared
        self._before: set[int] = set()
        self._restore: int | None = None

    def open(self) -> None:
        """From here on orphans come to us."""
        import ctypes

        if os.getpid() == 1 or not Path("/proc/self/stat").exists():
            return
        try:
            self._prctl = ctypes.CDLL(None, use_errno=True).prctl
        except (OSError, AttributeError):
            return
        flag = ctypes.c_int(0)
        if self._prctl(self._GET, ctypes.byref(flag), 0, 0, 0) == 0:
            self._before = children()
            self._prctl(self._SET, 1, 0, 0, 0)
            self._restore = flag.value

    def close(self) -> None:
        """Kill those that came; safe to call twice."""
        if self._restore is None:
            return
        for _ in range(_ROUNDS):
            orphans = children() - self._before - self._spared
            if not orphans:
                break
            for pid in orphans:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            deadline = time.monotonic() + _KILL_SECONDS
            for pid in orphans:
                _reap_before(pid, deadline)
        self._prctl(self._SET, self._restore, 0, 0, 0)
        self._restore = None


def _reap_before(pid: int, deadline: float) -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(pid, os.WNOHANG) == (0, 0) and time.monotonic() < deadline:
            time.sleep(0.005)


def children() -> set[int]:
    """Process numbers of our children."""
    ours, found = str(os.getpid()), set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                # The name in parentheses may hold anything; the fields follow the last one.
                fields = (folder / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
                if fields[1] == ours:
                    found.add(int(folder.name))
    return found
