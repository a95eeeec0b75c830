# SPDX-License-Identifier: Apache-2.0
"""Platform `directory`: a pretend device in a folder, with two slots and a boot counter.

    boot.json              {"active": "a", "pending": null, "attempts-left": 0}; absent: factory
    booted                 the slot that runs since the last power-on, and a name for this boot
    slots/a, slots/b       images as published; slots/X.json names an image this agent installed
    running-config         and beside it `checkpoint`, the bytes (or absence) an undo brings back
    ssh/*.pub              host keys the device presents

The rules, each for a cut at any point:

- image bytes go to the slot that does not run; while they do, nothing boots from it, because
  `boot.json` was made to say so first;
- only `commit` writes, in this order, the file, its record, `boot.json`; the last one counts;
- `pending` boots while `attempts-left` is above 0, and costs one attempt *before* it boots;
- `running-config` is replaced as a whole or not at all.
"""

import contextlib
import errno
import hashlib
import json
import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from xpu_agent.atomic_write import remove_durably, sync_directory, write_atomically
from xpu_agent.errors import ExecutionError, Reason, UndoError
from xpu_agent.lifecycle import ResetLevel
from xpu_agent.platforms.configuration import merged
from xpu_agent.platforms.script_runner import ScriptRunner
from xpu_agent.platforms.ssh_host_keys import read_host_keys
from xpu_agent.ports import (
    ExpectedImage,
    ImageSink,
    PlatformFacts,
    ScriptResult,
    ScriptStage,
    VerifiedImage,
)
from xpu_agent.progress import SshHostKey

BOOT_ATTEMPTS = 3
_SLOTS = ("a", "b")
_SMALL_FILE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class _Boot:
    """What boots next: `pending` while it has attempts, else `active`."""

    active: str = "a"
    pending: str | None = None
    attempts_left: int = 0

    def encode(self) -> bytes:
        members = {
            "active": self.active,
            "pending": self.pending,
            "attempts-left": self.attempts_left,
        }
        return (json.dumps(members) + "\n").encode()


@dataclass(frozen=True, slots=True)
class _Record:
    """An image this agent installed in a slot."""

    sha256: bytes
    os_name: str | None
    os_version: str | None
    size: int

    def encode(self) -> bytes:
        members = {
            "sha256": self.sha256.hex(),
            "os-name": self.os_name,
            "os-version": self.os_version,
            "size": self.size,
        }
        return (json.dumps(members) + "\n").encode()


class DirectoryPlatform:
    """The pretend device below `path`; `state_dir` is the agent's own, for scripts."""

    name = "directory"

    def __init__(
        self,
        path: Path,
        *,
        state_dir: Path,
        check_stopped: Callable[[], None] = lambda: None,
    ) -> None:
        self._path = path
        self._scripts = ScriptRunner(state_dir, check_stopped=check_stopped)

    # --- boot ---

    def power_on(self) -> None:
        """Boot `pending` if it has attempts left, else `active`; a spent `pending` is given up."""
        self._scripts.clean()
        boot = self._boot()
        runs = boot.active
        if boot.pending is not None:
            if boot.attempts_left > 0:
                runs = boot.pending
                boot = replace(boot, attempts_left=boot.attempts_left - 1)
            else:
                boot = replace(boot, pending=None)
        with _failing(Reason.INSTALL_FAILED, "the boot selector can't be written"):
            self._path.mkdir(parents=True, exist_ok=True)
            self._write_boot(boot)
            booted = f"{runs}\n{secrets.token_hex(8)}\n"
            write_atomically(self._path / "booted", booted.encode(), mode=0o644)

    def facts(self) -> PlatformFacts:
        """What runs now; the record of an installed image, None for the factory's."""
        boot, runs = self._boot(), self._booted()
        record = self._record(runs)
        return PlatformFacts(
            serial_number=None,
            hw_model=None,
            os_name=record.os_name if record else None,
            os_version=record.os_version if record else None,
            image_sha256=record.sha256 if record else None,
            on_trial=boot.pending == runs,
            boot_id=self.boot_id(),
        )

    def boot_id(self) -> str | None:
        """Another name at each power-on; None before the first."""
        _, boot_id = self._booted_lines()
        return boot_id or None

    def reboot(self, reason: str) -> None:
        """Nothing: exit code 20 is the reboot, and the next `power_on` carries it out."""

    def rearm(self) -> None:
        """Give an image on trial its attempts again."""
        boot = self._boot()
        if boot.pending is not None and boot.pending == self._booted():
            with _failing(Reason.INSTALL_FAILED, "the boot selector can't be written"):
                self._write_boot(replace(boot, attempts_left=BOOT_ATTEMPTS))

    def mark_good(self) -> None:
        """Make the slot that runs the active one; one that is only pending stays so."""
        boot = self._boot()
        if boot.pending is not None and boot.pending == self._booted():
            with _failing(Reason.INSTALL_FAILED, "the boot selector can't be written"):
                self._write_boot(_Boot(active=boot.pending))

    # --- image ---

    def image_sink(self, expected: ExpectedImage) -> ImageSink:  # noqa: ARG002  # the port's
        """Open the slot that does not run; from here on nothing boots from it.

        Where the running image is still on trial, the other slot is what the device would fall
        back to. It is given up here, and the running one made active: an empty fallback is worse.
        """
        boot, runs = self._boot(), self._booted()
        spare = next(slot for slot in _SLOTS if slot != runs)
        with _failing(Reason.SLOT_UNAVAILABLE, f"slot {spare} can't be opened"):
            if boot.active == spare or boot.pending is not None:
                self._write_boot(_Boot(active=runs))
            (self._path / "slots").mkdir(parents=True, exist_ok=True)
            remove_durably(self._record_path(spare))
            return _SlotSink(self, spare)

    def _commit(self, slot: str, record: _Record) -> None:
        """The last writes of an installation; after the second one the slot boots next."""
        write_atomically(self._record_path(slot), record.encode(), mode=0o644)
        self._write_boot(_Boot(self._boot().active, pending=slot, attempts_left=BOOT_ATTEMPTS))

    def _discard(self, slot: str) -> None:
        boot = self._boot()
        if boot.pending == slot:
            self._write_boot(_Boot(active=boot.active))
        remove_durably(self._record_path(slot))
        if (self._path / "slots").is_dir():
            remove_durably(self._slot_path(slot))

    # --- configuration ---

    def checkpoint(self) -> str:
        """Keep the bytes of `running-config`, or that there is none; replaces the one before."""
        token = secrets.token_hex(8)
        with _config_failing("the checkpoint can't be written"):
            before = self._running_config()
            header = {"token": token, "present": before is not None, "sha256": _digest(before)}
            self._path.mkdir(parents=True, exist_ok=True)
            content = json.dumps(header).encode() + b"\n" + (before or b"")
            write_atomically(self._path / "checkpoint", content)
        return token

    def apply_configuration(self, content: bytes, handling: str, checkpoint: str) -> Sequence[str]:
        """Merge into or replace `running-config`; the same call again changes nothing."""
        with _config_failing("running-config can't be read"):
            before = self._running_config()
        intent = {"checkpoint": checkpoint, "handling": handling, "content": _digest(content)}
        if _read_object(self._path / "applied") == {**intent, "result": _digest(before)}:
            return ()
        result = merged(before, content, handling)
        with _config_failing("running-config can't be written"):
            self._path.mkdir(parents=True, exist_ok=True)
            # Written first: a repeated merge after a cut is recognised by its result.
            applied = json.dumps({**intent, "result": _digest(result)}).encode()
            write_atomically(self._path / "applied", applied)
            write_atomically(self._path / "running-config", result)
        return ()

    def undo(self, checkpoint: str) -> None:
        """Put the bytes of `checkpoint` back, or remove `running-config` if there were none."""
        try:
            line, _, before = (self._path / "checkpoint").read_bytes().partition(b"\n")
            header = json.loads(line)
            known = isinstance(header, dict) and header.get("token") == checkpoint
            if not known or header.get("sha256") != _digest(before if header["present"] else None):
                raise UndoError("the checkpoint of the earlier configuration is not the one asked")
            if header["present"]:
                write_atomically(self._path / "running-config", before)
            else:
                remove_durably(self._path / "running-config")
            remove_durably(self._path / "applied")
        except (OSError, ValueError, KeyError, RecursionError) as error:
            why = error.strerror if isinstance(error, OSError) else "its record can't be read"
            raise UndoError(f"the earlier configuration can't be brought back: {why}") from error

    # --- scripts, keys, resets ---

    def run_script(
        self, content: bytes, stage: ScriptStage, *, serial_number: str, seconds: int
    ) -> ScriptResult:
        """Really run it, as whoever runs the agent."""
        return self._scripts.run(content, stage, serial_number=serial_number, seconds=seconds)

    def ssh_host_keys(self) -> Sequence[SshHostKey]:
        """The keys in `ssh/`; a pretend device makes none of its own."""
        return read_host_keys(self._path / "ssh", "*.pub")

    def wipe(self, level: ResetLevel) -> None:
        """Weak: the configuration. Deep: also the slot that does not run, and the host keys."""
        if not self._path.is_dir():
            return
        with _failing(Reason.INSTALL_FAILED, f"the {level} reset can't be finished"):
            for name in ("running-config", "checkpoint", "applied"):
                remove_durably(self._path / name)
            self._scripts.clean()
            if level is ResetLevel.DEEP:
                runs = self._booted()
                self._write_boot(_Boot(active=runs))
                for slot in _SLOTS:
                    if slot != runs:
                        self._discard(slot)
                for key in sorted((self._path / "ssh").glob("*")):
                    if not key.is_dir() or key.is_symlink():
                        remove_durably(key)

    # --- files ---

    def _slot_path(self, slot: str) -> Path:
        return self._path / "slots" / slot

    def _record_path(self, slot: str) -> Path:
        return self._path / "slots" / f"{slot}.json"

    def _write_boot(self, boot: _Boot) -> None:
        write_atomically(self._path / "boot.json", boot.encode(), mode=0o644)

    def _boot(self) -> _Boot:
        path = self._path / "boot.json"
        members = _read_object(path)
        if members is None:
            if path.exists():
                raise _unreadable(path)
            return _Boot()
        active, pending = members.get("active"), members.get("pending")
        left = members.get("attempts-left")
        if active not in _SLOTS or pending not in {None, *_SLOTS} or type(left) is not int:
            raise _unreadable(path)
        return _Boot(active, pending, left)

    def _booted(self) -> str:
        runs, _ = self._booted_lines()
        return runs if runs in _SLOTS else self._boot().active

    def _booted_lines(self) -> tuple[str, str]:
        try:
            with (self._path / "booted").open("rb") as file:
                lines = file.read(_SMALL_FILE_BYTES).decode("ascii", "replace").splitlines()
        except OSError:
            lines = []
        slot, boot_id, *_ = (*lines, "", "")
        return slot, boot_id

    def _record(self, slot: str) -> _Record | None:
        path = self._record_path(slot)
        members = _read_object(path)
        if members is None:
            if path.exists():
                raise _unreadable(path)
            return None
        try:
            digest = bytes.fromhex(cast("str", members["sha256"]))
            size = members["size"]
        except (KeyError, TypeError, ValueError) as error:
            raise _unreadable(path) from error
        name, version = members.get("os-name"), members.get("os-version")
        if not isinstance(size, int) or len(digest) != hashlib.sha256().digest_size:
            raise _unreadable(path)
        return _Record(
            digest,
            name if isinstance(name, str) else None,
            version if isinstance(version, str) else None,
            size,
        )

    def _running_config(self) -> bytes | None:
        try:
            return (self._path / "running-config").read_bytes()
        except FileNotFoundError:
            return None


class _SlotSink:
    """Image octets, straight into the spare slot."""

    def __init__(self, platform: DirectoryPlatform, slot: str) -> None:
        self._platform = platform
        self._slot = slot
        self._size = 0
        self._committed = False
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        self._descriptor: int | None = os.open(platform._slot_path(slot), flags, 0o644)  # noqa: SLF001  # one module, two halves

    def write(self, data: memoryview) -> None:
        """Append octets; disk-full where the file system is."""
        view = data.cast("B")
        with _failing(Reason.INSTALL_FAILED, f"slot {self._slot} can't be written"):
            while view:
                done = os.write(self._open(), view)
                self._size += done
                view = view[done:]

    def restart(self) -> None:
        """Begin at the first octet again."""
        with _failing(Reason.INSTALL_FAILED, f"slot {self._slot} can't be written"):
            os.ftruncate(self._open(), 0)
            os.lseek(self._open(), 0, os.SEEK_SET)
        self._size = 0

    def commit(self, image: VerifiedImage) -> None:
        """File, folder, record, `boot.json`, each on disk before the next."""
        if self._committed:
            return
        if image.size != self._size:
            # Whoever verified it counted other octets than stand here.
            raise ExecutionError(
                Reason.INSTALL_FAILED,
                f"slot {self._slot} holds {self._size} octets, the verified image {image.size}",
            )
        expected = image.expected
        record = _Record(expected.sha256, expected.os_name, expected.os_version, image.size)
        with _failing(Reason.INSTALL_FAILED, f"slot {self._slot} can't be made durable"):
            os.fsync(self._open())
            sync_directory(self._platform._slot_path(self._slot).parent)  # noqa: SLF001  # as above
            self._close()
            self._platform._commit(self._slot, record)  # noqa: SLF001  # as above
        self._committed = True

    def abort(self) -> None:
        """Disarm the slot and remove what was written; nothing to do once committed."""
        self._close()
        if not self._committed:
            with _failing(Reason.INSTALL_FAILED, f"slot {self._slot} can't be cleared"):
                self._platform._discard(self._slot)  # noqa: SLF001  # as above

    def _open(self) -> int:
        if self._descriptor is None:
            raise RuntimeError("the sink is closed")
        return self._descriptor

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class _failing(contextlib.AbstractContextManager[None]):  # noqa: N801  # reads as a statement
    """OSError to ExecutionError, with `disk-full` told from the rest."""

    full = Reason.DISK_FULL

    def __init__(self, reason: Reason, what: str) -> None:
        self._reason, self._what = reason, what

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, OSError):
            full = error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
            reason = self.full if full else self._reason
            raise ExecutionError(reason, f"{self._what}: {error.strerror}") from error


class _config_failing(_failing):  # noqa: N801  # reads as a statement
    full = Reason.CONFIG_DISK_FULL

    def __init__(self, what: str) -> None:
        super().__init__(Reason.CONFIG_REJECTED, what)


def _digest(content: bytes | None) -> str | None:
    return None if content is None else hashlib.sha256(content).hexdigest()


def _read_object(path: Path) -> dict[str, object] | None:
    """A small JSON object; None where there is none, or none that can be read."""
    try:
        with path.open("rb") as file:
            members = json.loads(file.read(_SMALL_FILE_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    return members if isinstance(members, dict) else None


def _unreadable(path: Path) -> ExecutionError:
    return ExecutionError(
        Reason.SLOT_UNAVAILABLE,
        f"{path} can't be read",
        next_action="repair it, or remove the folder to start from the factory state",
    )
