# SPDX-License-Identifier: Apache-2.0
"""The live view: finished stages stay, the one under way is redrawn in place below them.

Only the last line is ever rewritten, so nothing depends on the height of the terminal, on
scrolling or on a window that changes its size. Text of others is escaped before it is drawn.
"""

import contextlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TextIO

from xpu_agent.console.advice import next_action
from xpu_agent.console.words import (
    SKIP,
    STAGE_WIDTH,
    STAGES,
    Look,
    Pieces,
    Speed,
    Tone,
    amount,
    check_lines,
    clean,
    duration,
)

if TYPE_CHECKING:
    from xpu_agent.errors import Reason
    from xpu_agent.ports import Event, Outcome, StageFinished
    from xpu_agent.progress import Stage
    from xpu_agent.trust.signed_data import CheckedStep

_REDRAW_SECONDS = 0.1
_LEAST_WIDTH = 10
_BAR_WIDTH = 24


class LiveView:
    """`ports.Events` on a terminal.

    `columns` is asked at each drawing. `close` leaves the cursor on a line of its own.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        columns: Callable[[], int],
        monotonic: Callable[[], float],
        look: Look,
    ) -> None:
        self._stream = stream
        self._columns = columns
        self._monotonic = monotonic
        self._look = look
        self._running: list[tuple[Stage, str]] = []
        self._drawn = False  # an unfinished line stands at the bottom
        self._drawn_at = float("-inf")
        self._attempt = 0
        self._speed = Speed()
        self._image: tuple[int, int | None] | None = None
        self._waiting: Pieces | None = None
        self._said: tuple[Reason, str] | None = None  # the failure last shown

    def banner(self, version: str, serial_number: str) -> None:
        """The first line."""
        dot = f" {self._look.dot} "
        self._line(
            [(f"xpu-agent {version}", Tone.BOLD), (f"{dot}{clean(serial_number, 64)}", Tone.DIM)]
        )

    def emit(self, event: "Event") -> None:
        """See `ports.Events`."""
        # A terminal that was hung up, or text it can't encode, is no reason to fail.
        with contextlib.suppress(OSError, ValueError):
            self._take(event)

    def close(self) -> None:
        """End the view."""
        with contextlib.suppress(OSError, ValueError):
            self._erase()

    def _take(self, event: "Event") -> None:
        from xpu_agent import ports

        if not isinstance(event, ports.Waiting):
            self._waiting = None
        match event:
            case ports.StageStarted(stage=stage, detail=detail):
                self._running.append((stage, clean(detail, 80)))
                self._image = None
                self._draw()
            case ports.StageFinished():
                self._finish(event)
            case ports.StateChanged(state=state):
                if state.attempt != self._attempt and state.attempt > 1:
                    self._line([(f"attempt {state.attempt}", Tone.DIM)])
                self._attempt = state.attempt
            case ports.SourceTried():
                pass  # its stages tell
            case ports.ServerContacted():
                trusted = "trusted" if event.trusted else "not authenticated yet"
                tone = Tone.GOOD if event.trusted else Tone.WARN
                self._note([("server ", Tone.DIM), (trusted, tone)])
            case ports.RedirectFollowed(count=count, trusted=trusted):
                kind = "trusted" if trusted else "untrusted"
                servers = "1 server" if count == 1 else f"{count} servers"
                self._note([(f"{kind} redirect to {servers}", Tone.DIM)])
            case ports.Judged():
                self._judged(event.steps)
                if event.reason is not None:
                    self._failure("data refused", event.reason, event.message)
                else:
                    self._note([(clean(event.verdict.replace("-", " "), 64), Tone.GOOD)])
            case ports.ImageProgress(done=done, total=total):
                self._speed.take(self._monotonic(), done)
                self._image = (done, total)
                if self._monotonic() - self._drawn_at >= _REDRAW_SECONDS or done == total:
                    self._draw()
            case ports.ReportSent(acknowledged=False):
                text = f"report {event.progress_type} was not acknowledged"
                self._note([(text, Tone.WARN)])
            case ports.ReportSent():
                pass
            case ports.Waiting(seconds=seconds):
                left = f"{duration(seconds)} to the next attempt {self._look.dot} to skip: {SKIP}"
                self._waiting = [("waiting ", Tone.BUSY), (left, Tone.DIM)]
                self._draw()
            case ports.RunEnded(outcome=outcome):
                self._end(outcome)
            case ports.Note(warning=True):
                self._note([(clean(f"{event.event}: {event.message}"), Tone.WARN)])
            case ports.Note():
                pass

    # --- lines that stay ---------------------------------------------------------------------

    def _finish(self, event: "StageFinished") -> None:
        from xpu_agent.progress import StageResult

        detail = ""
        for index in range(len(self._running) - 1, -1, -1):
            if self._running[index][0] is event.stage:
                detail = self._running.pop(index)[1]
                break
        if event.result is StageResult.ERROR and event.reason is not None:
            self._failure(STAGES[event.stage], event.reason, event.message)
        else:
            mark, tone = self._look.mark(event.result.value)
            pieces: Pieces = [
                (f" {mark} ", tone),
                (f"{STAGES[event.stage]:<{STAGE_WIDTH}}  ", Tone.PLAIN),
                (f"{duration(event.seconds):>7}", Tone.DIM),
            ]
            if self._image is not None and self._image[0] and event.seconds > 0:
                done = self._image[0]
                rate = done / event.seconds / (1024 * 1024)
                pieces.append((f"  {amount(done)}, {rate:.0f} MiB/s", Tone.DIM))
            if event.message:
                pieces.append((f"  {clean(event.message)}", Tone.WARN))
            elif detail:
                pieces.append((f"  {detail}", Tone.DIM))
            self._line(pieces)
        self._image = None
        self._speed = Speed()
        self._draw()

    def _failure(self, what: str, reason: "Reason", message: str) -> None:
        """Reason, sentence and next action; folded, never cut: it is what the reader needs.

        What the line before said already is not said again.
        """
        mark, tone = self._look.mark("error")
        if self._said == (reason, message):
            self._line(
                [(f" {mark} ", tone), (f"{what:<{STAGE_WIDTH}}  ", Tone.PLAIN), (reason, tone)]
            )
            return
        self._said = (reason, message)
        text = f"{reason}: {clean(message)}" if message else str(reason)
        head: Pieces = [
            (f" {mark} ", tone),
            (f"{what:<{STAGE_WIDTH}}  ", Tone.PLAIN),
            (text, tone),
            (f" {self._look.arrow} ", Tone.PLAIN),
            (next_action(reason), Tone.BOLD),
        ]
        self._erase()
        self._stream.write("".join(self._look.paint(t, o) for t, o in head) + "\n")
        self._stream.flush()
        self._draw()

    def _judged(self, steps: "Sequence[CheckedStep]") -> None:
        """The checks by name, one line for each artifact."""
        checks = ((str(step.step), str(step.result)) for step in steps)
        for pieces in check_lines(checks, self._look, self._width()):
            self._line(pieces)

    def _end(self, outcome: "Outcome") -> None:
        from xpu_agent.ports import OutcomeKind

        self._running.clear()
        words, tone = {
            OutcomeKind.COMPLETED: ("onboarded", Tone.GOOD),
            OutcomeKind.REBOOTING: ("rebooting into the new image", Tone.GOOD),
            OutcomeKind.NOTHING_FOUND: ("nothing found", Tone.BAD),
            OutcomeKind.REFUSED: ("refused", Tone.BAD),
            OutcomeKind.FAILED: ("failed", Tone.BAD),
            OutcomeKind.NOTHING_TO_DO: ("nothing to do", Tone.PLAIN),
            OutcomeKind.STOPPED: ("stopped, state kept", Tone.WARN),
            OutcomeKind.GAVE_UP: ("gave up waiting", Tone.WARN),
        }[outcome.kind]
        if outcome.reason is not None:
            self._failure(words, outcome.reason, outcome.message or "")
            return
        mark, _ = self._look.mark("complete")
        message = f"  {clean(outcome.message)}" if outcome.message else ""
        self._line([(f" {mark} ", tone), (words, Tone.BOLD), (message, Tone.DIM)])

    def _note(self, pieces: Pieces) -> None:
        self._line([("   ", Tone.PLAIN), *pieces])

    # --- drawing -----------------------------------------------------------------------------

    def _line(self, pieces: Pieces) -> None:
        self._erase()
        self._stream.write(self._look.line(pieces, self._width()) + "\n")
        self._stream.flush()
        self._draw()

    def _draw(self) -> None:
        """What is under way, on the last line."""
        pieces = self._under_way()
        self._erase()
        if pieces:
            self._stream.write(self._look.line(pieces, self._width()))
            self._drawn = True
        self._drawn_at = self._monotonic()
        self._stream.flush()

    def _erase(self) -> None:
        if self._drawn:
            self._stream.write("\r\x1b[K")
            self._drawn = False

    def _under_way(self) -> Pieces:
        mark, tone = self._look.mark("running")
        if self._waiting is not None:
            return [(f" {mark} ", tone), *self._waiting]
        if not self._running:
            return []
        stage, detail = self._running[-1]
        pieces: Pieces = [(f" {mark} ", tone), (f"{STAGES[stage]:<{STAGE_WIDTH}}  ", Tone.PLAIN)]
        if self._image is None:
            return [*pieces, (detail, Tone.DIM)]
        done, total = self._image
        if total:
            share = done / total
            width = max(4, min(_BAR_WIDTH, self._width() - 60))
            pieces += [(self._look.bar(share, width), Tone.BUSY), (f" {share:4.0%}", Tone.BOLD)]
            pieces.append((f"  {amount(done)} of {amount(total)}", Tone.PLAIN))
        else:
            pieces.append((amount(done), Tone.PLAIN))
        pieces.append((f"  {self._speed.in_words(done, total)}", Tone.DIM))
        return pieces

    def _width(self) -> int:
        # One column is left free: a full line would wrap and could not be redrawn.
        return max(_LEAST_WIDTH, self._columns() - 1)
