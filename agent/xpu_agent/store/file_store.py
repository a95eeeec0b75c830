# SPDX-License-Identifier: Apache-2.0
"""`ports.StateStore` in a folder: the document, the two markers, what was refused.

The SZTP switch (RFC 8572, 5.1) is a file whose presence means *off*: the factory state, where
nothing has been written, is on, and a merge of configuration, or a script, can turn it either
way. `disabled` and `provisioned` are files of their own so that units and boot scripts test them
in shell, without starting this agent. `unfinished` is there while something is owed that a start
has to settle even so: half an attempt that turned the switch off before the power went.
"""

import contextlib
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from xpu_agent import limits
from xpu_agent.atomic_write import make_folder, remove_durably, sync_directory, write_atomically
from xpu_agent.errors import Reason, StateError
from xpu_agent.lifecycle import AgentState, ResetLevel, State
from xpu_agent.store.refused import RefusedBundles
from xpu_agent.store.state_file import decode_state, encode_state

if TYPE_CHECKING:
    from xpu_agent.artifacts.bundle import Artifacts

STATE = "state.json"
DISABLED = "disabled"
PROVISIONED = "provisioned"
UNFINISHED = "unfinished"
HISTORY = "history.jsonl"
REFUSED = "refused"

# What a start settles before it looks at the switch (`lifecycle.RECOVERY`).
_OWING = frozenset(
    {State.APPLYING, State.UNDOING, State.CONFIRMING, State.TRIAL_BOOT, State.WIPING}
)
STATE_FOLDER_MODE = 0o700
RUN_FOLDER_MODE = 0o755


def _now() -> datetime:
    return datetime.now(UTC)


class FileStore:
    """`ports.StateStore` on `paths.state`; the folder is made at the first write."""

    def __init__(self, folder: Path, *, now: Callable[[], datetime] = _now) -> None:
        self._folder = folder
        self._refused = RefusedBundles(folder / REFUSED, now=now)

    @property
    def folder(self) -> Path:
        """Where everything durable stands."""
        return self._folder

    def load(self) -> AgentState:
        """See `ports.StateStore`."""
        path = self._folder / STATE
        try:
            with path.open("rb") as file:
                content = file.read(limits.STATE_BYTES + 1)
        except FileNotFoundError:
            return AgentState()
        except OSError as error:
            raise unreadable(path, error) from error
        return decode_state(content, str(path))

    def save(self, state: AgentState) -> None:
        """See `ports.StateStore`.

        The marker `unfinished` is made before the document says that something is owed, and goes
        after it says that nothing is: a cut in between costs a start that finds nothing to do.
        """
        owing = state.state in _OWING
        if state.state is State.PROVISIONED:
            # The image may have to be marked good yet; `mark_provisioned` comes after that.
            owing = not self.provisioned()
        if owing and not self._is_there(UNFINISHED):
            self._write(UNFINISHED, b"")
        self._write(STATE, encode_state(state))
        if not owing:
            self._remove(UNFINISHED)

    def switched_on(self) -> bool:
        """See `ports.StateStore`."""
        return not self._is_there(DISABLED)

    def enable(self) -> None:
        """See `ports.StateStore`."""
        self._remove(DISABLED)

    def disable(self) -> None:
        """See `ports.StateStore`."""
        self._write(DISABLED, b"")

    def provisioned(self) -> bool:
        """See `ports.StateStore`."""
        return self._is_there(PROVISIONED)

    def mark_provisioned(self) -> None:
        """See `ports.StateStore`."""
        if not self.provisioned():
            self._write(PROVISIONED, b"")
        self._remove(UNFINISHED)

    def clear_provisioned(self) -> None:
        """See `ports.StateStore`."""
        self._remove(PROVISIONED)

    def keep_refused(self, artifacts: "Artifacts", reason: Reason, origin: str) -> None:
        """See `ports.StateStore`."""
        with contextlib.suppress(OSError):
            make_folder(self._folder, STATE_FOLDER_MODE)
        self._refused.keep(artifacts, reason, origin)

    def forget(self, level: ResetLevel) -> None:
        """See `ports.StateStore`."""
        import shutil

        if not self._folder.is_dir():
            return
        try:
            for leftover in self._folder.glob(".*.tmp"):
                leftover.unlink(missing_ok=True)
            if level is ResetLevel.DEEP:
                (self._folder / HISTORY).unlink(missing_ok=True)
                if (self._folder / REFUSED).is_dir():
                    shutil.rmtree(self._folder / REFUSED)
            sync_directory(self._folder)
        except OSError as error:
            raise unwritable(self._folder, error) from error

    def check_writable(self) -> None:
        """Write and remove a small file, for `check-device`.

        Raises:
            StateError: `state-unwritable`.
        """
        self._write(".check", b"")
        self._remove(".check")

    def _is_there(self, name: str) -> bool:
        path = self._folder / name
        try:
            os.lstat(path)  # a link that leads nowhere is there too
        except FileNotFoundError:
            return False
        except OSError as error:
            raise unreadable(path, error) from error
        return True

    def _write(self, name: str, content: bytes) -> None:
        try:
            make_folder(self._folder, STATE_FOLDER_MODE)
            write_atomically(self._folder / name, content)
        except OSError as error:
            raise unwritable(self._folder / name, error) from error

    def _remove(self, name: str) -> None:
        if not self._is_there(name):
            return
        try:
            remove_durably(self._folder / name)
        except OSError as error:
            raise unwritable(self._folder / name, error) from error


def make_run_folder(folder: Path) -> None:
    """Make `paths.run`, readable by everybody: the status file stands there.

    Raises:
        StateError: `state-unwritable`.
    """
    try:
        make_folder(folder, RUN_FOLDER_MODE)
    except OSError as error:
        raise unwritable(folder, error) from error


def unreadable(path: Path, error: OSError) -> StateError:
    """The error for state that is there and can't be read: nothing may be contacted then."""
    return StateError(
        Reason.STATE_CORRUPT,
        f"{path} can't be read: {error.strerror}",
        next_action="run as root, or mend the file system; `xpu-agent reprovision` starts over",
    )


def unwritable(path: Path, error: OSError) -> StateError:
    """The error for state that can't be written."""
    return StateError(
        Reason.STATE_UNWRITABLE,
        f"{path} can't be written: {error.strerror}",
        next_action="run as root, make room, or name a writable folder in `paths`",
    )
