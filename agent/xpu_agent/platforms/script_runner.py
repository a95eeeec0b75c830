# SPDX-License-Identifier: Apache-2.0
"""Runs the scripts of onboarding information (RFC 8572, 5.6 and 6.3; AMB-10).

A script is an executable file of any kind: `#!` names its interpreter. It is written 0700 below
the state folder (`/run` is often mounted noexec, `/tmp` belongs to everybody) and removed
afterwards. Exit status 0 is success, 75 (EX_TEMPFAIL) a warning; all else, a signal, the time
limit or a missing interpreter is an error. Nothing it started outlives it.
"""

import contextlib
import errno
import os
import pwd
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

from xpu_agent import limits
from xpu_agent.platforms.processes import Capture, Child, Ending
from xpu_agent.ports import ScriptResult, ScriptStage, ScriptVerdict

EXIT_WARNING = os.EX_TEMPFAIL
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_FOLDER = "scripts"


def environment(*, stage: str, serial_number: str, state_dir: Path) -> dict[str, str]:
    """All the environment a script or hook gets; nothing of the agent's own passes through."""
    try:
        home = pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        home = "/"
    return {
        "PATH": _PATH,
        "HOME": home,
        "XPU_AGENT_STAGE": stage,
        "XPU_AGENT_SERIAL_NUMBER": serial_number,
        "XPU_AGENT_STATE_DIR": str(state_dir),
    }


class ScriptRunner:
    """Writes a script below `state_dir`, runs it to its end and says how that was."""

    def __init__(
        self, state_dir: Path, *, check_stopped: Callable[[], None] = lambda: None
    ) -> None:
        self._state_dir = state_dir
        self._folder = state_dir / _FOLDER
        self._check_stopped = check_stopped

    def run(
        self, content: bytes, stage: ScriptStage, *, serial_number: str, seconds: int
    ) -> ScriptResult:
        """Run `content`; after `seconds` the whole of it is killed.

        Raises:
            StoppedError: from `check_stopped`; the script is gone then.
        """
        capture = Capture(limits.SCRIPT_OUTPUT_BYTES)
        variables = environment(stage=stage, serial_number=serial_number, state_dir=self._state_dir)
        try:
            script = self._write(content, stage)
        except OSError as error:
            return _refused(f"it can't be written below {self._folder}: {error.strerror}")
        try:
            child = Child(
                [str(script)],
                variables,
                captures=[((1, 2), capture)],
                leave_nothing=True,
                check_stopped=self._check_stopped,
            )
        except (OSError, ValueError) as error:
            return _refused(_why_not_started(error, script))
        else:
            try:
                ending = child.wait(seconds)
            finally:
                child.close()
        finally:
            self.clean()
        return _result(ending, capture.text(), seconds)

    def clean(self) -> None:
        """Remove scripts, those a power cut left behind included."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _write(self, content: bytes, stage: ScriptStage) -> Path:
        self.clean()
        self._state_dir.mkdir(parents=True, exist_ok=True)
        self._folder.mkdir(mode=0o700)
        path = self._folder / f"{stage}.{secrets.token_hex(4)}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o700)
        try:
            os.fchmod(descriptor, 0o700)
            view = memoryview(content)
            while view:
                view = view[os.write(descriptor, view) :]
        except BaseException:
            with contextlib.suppress(OSError):
                path.unlink()
            raise
        finally:
            os.close(descriptor)
        return path


def _result(ending: Ending, output: str, seconds: int) -> ScriptResult:
    if ending.timed_out:
        detail = f"time limit of {seconds} s"
        return ScriptResult(ScriptVerdict.ERROR, output, detail, timed_out=True)
    return ScriptResult(verdict(ending.status), output, ending.detail)


def verdict(status: int) -> ScriptVerdict:
    """What an exit status means (AMB-10)."""
    if status == 0:
        return ScriptVerdict.OK
    return ScriptVerdict.WARNING if status == EXIT_WARNING else ScriptVerdict.ERROR


def _refused(detail: str) -> ScriptResult:
    return ScriptResult(ScriptVerdict.ERROR, "", detail)


def _why_not_started(error: OSError | ValueError, script: Path) -> str:
    if not isinstance(error, OSError):
        return "it can't be started: the serial number holds a NUL octet"
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR:
            return "it can't be started: its interpreter is missing"
        case errno.ENOEXEC:
            return "it can't be started: neither a program of this machine nor a #! line"
        case errno.EACCES:
            return (
                f"it can't be started: permission denied for it or its interpreter "
                f"(is {script.parent} mounted noexec?)"
            )
        case _:
            return f"it can't be started: {error.strerror}"
