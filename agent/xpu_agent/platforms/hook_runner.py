# SPDX-License-Identifier: Apache-2.0
"""Runs one executable hook: JSON in, JSON out, payload on descriptor 3, exit status the verdict.

The wire format of vendor hooks, apart from what any verb means (that is `hooks`):

- argv `[hook]`; one JSON object on standard input with `"api": 1`, `"verb"`, `"serial-number"`,
  `"attempt"`; at most one JSON object of 64 KiB on standard output; standard error to the log;
- exit 0 done, 64 not supported, 75 try later, else failed with the reason in `{"message"}`;
- own session and time limit. What a hook leaves running in the background after a normal end
  stays: a delayed reboot is a fair thing to do.

A hook others than root (or the caller) may write is refused: it runs with our rights.
"""

import json
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from xpu_agent import limits
from xpu_agent.errors import ConfigurationError
from xpu_agent.platforms.context import PlatformContext
from xpu_agent.platforms.processes import Capture, Child, Ending, printable
from xpu_agent.platforms.script_runner import environment
from xpu_agent.ports import Note

API = 1
# A stop request ends these at once. All others change the device: the agent waits for them, since
# half a change, undone at the next start, is worse than a late end.
_STOPPABLE = frozenset({"facts", "image-write", "reset-requested", "run-script", "source"})
PAYLOAD = 3
EXIT_NOT_SUPPORTED = os.EX_USAGE
EXIT_TRY_LATER = os.EX_TEMPFAIL
_LOG_LINES = 64  # of one run
_LOG_CHARS = 512  # of one line
_MESSAGE_CHARS = 512
_FIRST_WAIT_SECONDS = 2.0


class HookVerdict(Enum):
    """What the exit status of a hook says."""

    DONE = "done"
    NOT_SUPPORTED = "not supported"
    TRY_LATER = "try later"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class HookAnswer:
    """How a hook ended: `members` of its answer, `message` for people where it failed."""

    verdict: HookVerdict
    members: Mapping[str, object]
    message: str = ""
    timed_out: bool = False

    def text(self, name: str, limit: int) -> str | None:
        """A text member, None where it is absent, null, of another type or too long."""
        value = self.members.get(name)
        return value if isinstance(value, str) and len(value) <= limit else None


class HookRunner:
    """The executables in one folder, by verb."""

    def __init__(self, context: PlatformContext) -> None:
        self.context = context

    def provides(self, verb: str) -> bool:
        """Whether an executable of this name is in the folder.

        Raises:
            ConfigurationError: there is one that others may write.
        """
        path = self._path(verb)
        if path is None:
            return False
        try:
            status = path.stat()
        except OSError:
            return False
        if not (stat.S_ISREG(status.st_mode) and status.st_mode & 0o111):
            return False
        for checked in (path.parent, path.resolve()):
            _refuse_foreign(checked)
        return True

    def ask(
        self,
        verb: str,
        members: Mapping[str, object] | None = None,
        *,
        payload: bytes | None = None,
        seconds: float = limits.HOOK_SECONDS,
        tries: int = limits.HOOK_TRIES,
        stage: str = "",
    ) -> HookAnswer:
        """Run the hook to its end; one that says "try later" is run again, `tries` times at most.

        Never raises for what the hook does.
        """
        wait = _FIRST_WAIT_SECONDS
        while True:
            answer = self._once(verb, members or {}, payload, seconds, stage)
            tries -= 1
            if answer.verdict is not HookVerdict.TRY_LATER or tries < 1:
                return answer
            self.context.wait(wait)
            wait *= 2

    def start(self, verb: str, members: Mapping[str, object]) -> "HookStream":
        """Start a hook whose payload is still to come."""
        return HookStream(lambda run: self._child(verb, members, run, stream=True), self, verb)

    # --- one run ---

    def _once(
        self,
        verb: str,
        members: Mapping[str, object],
        payload: bytes | None,
        seconds: float,
        stage: str,
    ) -> HookAnswer:
        run = HookOutput()
        try:
            child = self._child(verb, members, run, payload=payload, stage=stage)
        except (OSError, ValueError) as error:
            return not_started(error)
        try:
            ending = child.wait(seconds)
        finally:
            child.close()
        return self.answer(verb, run, ending, seconds)

    def _child(
        self,
        verb: str,
        members: Mapping[str, object],
        run: "HookOutput",
        *,
        payload: bytes | None = None,
        stream: bool = False,
        stage: str = "",
    ) -> Child:
        context = self.context
        path = self._path(verb)
        if path is None:
            raise FileNotFoundError(2, "no hooks folder")
        serial_number = context.serial_number()
        request = {
            "api": API,
            "verb": verb,
            "serial-number": serial_number,
            "attempt": context.attempt(),
            **members,
        }
        feeds = {0: (json.dumps(request) + "\n").encode()}
        if payload is not None:
            feeds[PAYLOAD] = payload
        return Child(
            [str(path)],
            environment(
                stage=stage or verb,
                serial_number=serial_number or "",
                state_dir=context.state_dir,
            ),
            captures=[((1,), run.stdout), ((2,), run.stderr)],
            feeds=feeds,
            streams=(PAYLOAD,) if stream else (),
            check_stopped=context.check_stopped if verb in _STOPPABLE else _never_stopped,
        )

    def answer(self, verb: str, run: "HookOutput", ending: Ending, seconds: float) -> HookAnswer:
        """Judge a finished run and put what it said on standard error in the log."""
        lines = [line for line in run.stderr.text().splitlines() if line.strip()]
        for line in lines[:_LOG_LINES]:
            self.context.emit(
                Note("hook-output", line[:_LOG_CHARS], fields=(("verb", verb),)),
            )
        if ending.timed_out:
            return HookAnswer(
                HookVerdict.FAILED, {}, f"time limit of {seconds:g} s", timed_out=True
            )
        members = _members(run.stdout)
        match ending.status:
            case 0 if members is None:
                message = f"its answer is not one JSON object of {limits.HOOK_ANSWER_BYTES} octets"
                return HookAnswer(HookVerdict.FAILED, {}, message)
            case 0:
                return HookAnswer(HookVerdict.DONE, members or {})
            case 64:
                return HookAnswer(HookVerdict.NOT_SUPPORTED, {})
            case 75:
                verdict = HookVerdict.TRY_LATER
            case _:
                verdict = HookVerdict.FAILED
        said = (members or {}).get("message")
        message = ending.detail
        if isinstance(said, str) and said.strip():
            one_line = " ".join(printable(said.encode("utf-8", "replace")).split())
            message = f"{one_line[:_MESSAGE_CHARS]} ({ending.detail})"
        return HookAnswer(verdict, members or {}, message)

    def _path(self, verb: str) -> Path | None:
        folder = self.context.hooks_dir
        return None if folder is None else folder / verb


class HookOutput:
    """What one run of a hook writes."""

    def __init__(self) -> None:
        self.stdout = Capture(limits.HOOK_ANSWER_BYTES)
        self.stderr = Capture(limits.SCRIPT_OUTPUT_BYTES)


class HookStream:
    """A running hook that is fed on descriptor 3; `finish` or `kill` it."""

    def __init__(self, start: Callable[[HookOutput], Child], runner: HookRunner, verb: str) -> None:
        self._output = HookOutput()
        self._runner = runner
        self._verb = verb
        self._child: Child | None = None
        self._failed: HookAnswer | None = None
        try:
            self._child = start(self._output)
        except (OSError, ValueError) as error:
            self._failed = not_started(error)

    def write(self, data: memoryview) -> HookAnswer | None:
        """Feed octets; an answer instead of None if the hook ended before it took them all."""
        if self._child is None:
            return self._failed
        try:
            if self._child.write(PAYLOAD, data, stall_seconds=limits.HOOK_STALL_SECONDS):
                return None
        except TimeoutError as error:
            self.kill()
            self._failed = HookAnswer(HookVerdict.FAILED, {}, str(error))
            return self._failed
        answer = self.finish(limits.HOOK_QUESTION_SECONDS)
        if answer.verdict is HookVerdict.DONE:
            answer = HookAnswer(HookVerdict.FAILED, {}, "it ended before the end of the image")
        self._failed = answer
        return answer

    def finish(self, seconds: float) -> HookAnswer:
        """End of the payload; wait for the answer."""
        if self._child is None:
            return self._failed or HookAnswer(HookVerdict.FAILED, {}, "it was ended")
        child, self._child = self._child, None
        try:
            child.end_stream(PAYLOAD)
            ending = child.wait(seconds)
        finally:
            child.close()
        return self._runner.answer(self._verb, self._output, ending, seconds)

    def kill(self) -> None:
        """End it now; safe to call twice."""
        if self._child is not None:
            child, self._child = self._child, None
            child.close()


def not_started(error: OSError | ValueError) -> HookAnswer:
    """The answer of a hook that could not even be started."""
    why = error.strerror if isinstance(error, OSError) else str(error)
    return HookAnswer(HookVerdict.FAILED, {}, f"it can't be started: {why}")


def _never_stopped() -> None:
    """No stop request counts."""


def _members(output: Capture) -> Mapping[str, object] | None:
    """The answer's members; empty where nothing was said, None where it is no JSON object."""
    if output.dropped:
        return None
    text = output.octets().strip()
    if not text:
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _refuse_foreign(path: Path) -> None:
    status = path.stat()
    mine = status.st_uid in {0, os.geteuid()}
    if not mine or status.st_mode & 0o022:
        raise ConfigurationError(
            f"the hook {path} can be changed by others than root",
            next_action="make root its owner and remove write permission for group and others",
        )
