# SPDX-License-Identifier: Apache-2.0
"""Plain lines for serial consoles and files: ASCII, at most 120 columns, nothing redrawn.

One line for each stage that ended, one for a download every 10 % or 30 s, and a failure with its
reason and what to do on one line.
"""

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

from xpu_agent.console.advice import next_action
from xpu_agent.console.words import SKIP, STAGES, Speed, amount, clean, duration

if TYPE_CHECKING:
    from xpu_agent.errors import Reason
    from xpu_agent.ports import Event, ImageProgress, StageFinished

WIDTH = 120
_STEP_PERCENT = 10
_STEP_SECONDS = 30.0
_LEAST_MESSAGE = 16


class PlainView:
    """`ports.Events` as plain lines."""

    def __init__(self, stream: TextIO, *, monotonic: Callable[[], float]) -> None:
        self._stream = stream
        self._monotonic = monotonic
        self._attempt = 0
        self._speed = Speed()
        self._detail = ""  # of the stage under way
        self._percent = 0
        self._told_at = monotonic()
        self._said: tuple[Reason, str] | None = None  # the failure last shown

    def banner(self, version: str, serial_number: str) -> None:
        """The first line."""
        self._line(f"xpu-agent {version}: onboarding {clean(serial_number, 64)}")

    def emit(self, event: "Event") -> None:
        """See `ports.Events`."""
        with contextlib.suppress(OSError, ValueError):
            self._take(event)

    def close(self) -> None:
        """End the view: every line is complete already."""

    def _take(self, event: "Event") -> None:
        from xpu_agent import ports

        match event:
            case ports.StageStarted(detail=detail):
                self._begin(detail)
            case ports.StageFinished():
                self._finish(event)
            case ports.StateChanged(state=state):
                if state.attempt != self._attempt and state.attempt > 1:
                    self._line(f"attempt {state.attempt}")
                self._attempt = state.attempt
            case ports.ServerContacted():
                trusted = "trusted" if event.trusted else "not authenticated yet"
                self._line(f"server {clean(event.host)}:{event.port} ({trusted})")
            case ports.RedirectFollowed(count=count, trusted=trusted):
                self._line(f"{'trusted' if trusted else 'untrusted'} redirect to {count} server(s)")
            case ports.Judged(reason=None):
                self._line(f"data judged: {event.verdict.replace('-', ' ')}")
            case ports.Judged(reason=reason) if reason is not None:
                self._failure("data refused", reason, event.message)
            case ports.ImageProgress():
                self._progress(event)
            case ports.ReportSent(acknowledged=False):
                self._line(f"report {event.progress_type} was not acknowledged")
            case ports.Waiting():
                self._wait(event.seconds, event.reason)
            case ports.RunEnded(outcome=outcome):
                if outcome.reason is not None:
                    self._failure(str(outcome.kind), outcome.reason, outcome.message or "")
                else:
                    self._line(f"{outcome.kind}: {outcome.message or 'done'}")
            case ports.Note(warning=True):
                self._line(f"{event.event}: {event.message}")
            case _:
                pass

    def _begin(self, detail: str) -> None:
        self._detail = detail
        self._speed = Speed()
        self._percent = 0
        self._told_at = self._monotonic()

    def _finish(self, event: "StageFinished") -> None:
        from xpu_agent.progress import StageResult

        name, detail, self._detail = STAGES[event.stage], self._detail, ""
        if event.result is StageResult.ERROR and event.reason is not None:
            self._failure(name, event.reason, event.message)
            return
        word = "warning" if event.result is StageResult.WARNING else "ok"
        message = f": {event.message}" if event.message else ""
        name = f"{name} {detail}".rstrip()
        self._line(f"{name}: {word} ({duration(event.seconds)}){message}")

    def _progress(self, event: "ImageProgress") -> None:
        now, done, total = self._monotonic(), event.done, event.total
        self._speed.take(now, done)
        percent = done * 100 // total if total else 0
        if percent < self._percent:  # begun again
            self._percent = 0
        if percent >= self._percent + _STEP_PERCENT or now - self._told_at >= _STEP_SECONDS:
            self._percent = percent - percent % _STEP_PERCENT
            self._told_at = now
            share = f"{percent} %, " if total else ""
            of = f" of {amount(total)}" if total else ""
            words = self._speed.in_words(done, total)
            self._line(f"boot image: {share}{amount(done)}{of}{', ' if words else ''}{words}")

    def _wait(self, seconds: float, reason: "Reason | None") -> None:
        """What is missing and how to skip it; what to do about it where there is room."""
        line = f"waiting {duration(seconds)}"
        if reason is not None:
            line += f": {reason}"
        line += f" (to skip: {SKIP})"
        tail = f" -> {next_action(reason)}" if reason is not None else ""
        self._line(line + tail if len(line) + len(tail) <= WIDTH else line)

    def _failure(self, what: str, reason: "Reason", message: str) -> None:
        """Reason and next action always stand; the sentence gets what room is left.

        What the line before said already is not said again.
        """
        if self._said == (reason, message):
            self._line(f"{what}: FAILED {reason}")
            return
        self._said = (reason, message)
        head, tail = f"{what}: FAILED {reason}", f" -> {next_action(reason)}"
        room = WIDTH - len(head) - len(tail) - 2
        text = clean(message)
        if len(text) > room:
            text = text[: room - 3] + "..." if room >= _LEAST_MESSAGE else ""
        self._line(f"{head}: {text}{tail}" if text else f"{head}{tail}")

    def _line(self, text: str) -> None:
        line = clean(text)
        if len(line) > WIDTH:
            line = line[: WIDTH - 3] + "..."
        self._stream.write(line + "\n")
        self._stream.flush()
