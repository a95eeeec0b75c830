# SPDX-License-Identifier: Apache-2.0
"""The live view, drawn on a real pseudo-terminal and read back as a terminal would show it."""

import fcntl
import io
import os
import pty
import re
import struct
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.console.events import CHECKS, EVERY, EXPIRED, MIB, Ticks

from xpu_agent.console import LiveView, PlainView, can_encode, is_live, make_console, wants_color
from xpu_agent.console.words import Look
from xpu_agent.errors import Reason
from xpu_agent.ports import (
    Event,
    ImageProgress,
    Judged,
    Outcome,
    OutcomeKind,
    RunEnded,
    ServerContacted,
    StageFinished,
    StageStarted,
    Waiting,
)
from xpu_agent.progress import Stage, StageResult

SGR = re.compile(r"\x1b\[[0-9;]*m")


class Screen:
    """As much of a terminal as the view uses: lines, carriage return, erase to the end."""

    def __init__(self) -> None:
        self.lines = [""]
        self._column = 0
        self.drawn: set[str] = set()  # every state of the last line

    def take(self, text: str) -> None:
        for part in re.findall(r"\x1b\[K|\r\n|\n|\r|[^\x1b\r\n]+|\x1b", SGR.sub("", text)):
            match part:
                case "\r\n" | "\n":
                    self.lines.append("")
                    self._column = 0
                case "\r":
                    self.drawn.add(self.lines[-1])
                    self._column = 0
                case "\x1b[K":
                    self.lines[-1] = self.lines[-1][: self._column]
                case "\x1b":
                    raise AssertionError("an escape sequence the view does not use")
                case _:
                    line = self.lines[-1].ljust(self._column)
                    self.lines[-1] = line[: self._column] + part + line[self._column + len(part) :]
                    self._column += len(part)


class Terminal:
    """A pseudo-terminal of a size, and what was written to it."""

    def __init__(self, columns: int, rows: int = 30) -> None:
        self._master, slave = pty.openpty()
        self.resize(columns, rows)
        self.stream = os.fdopen(slave, "w", encoding="utf-8", buffering=1)
        self.stdin = os.fdopen(os.dup(slave), encoding="utf-8")
        self._written = b""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def resize(self, columns: int, rows: int = 30) -> None:
        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)

    def _read(self) -> None:
        try:
            while chunk := os.read(self._master, 65536):
                self._written += chunk
        except OSError:  # the other end is closed
            pass

    def text(self) -> str:
        """Everything written; ends the terminal."""
        self.stdin.close()
        self.stream.close()
        self._reader.join(5)
        os.close(self._master)
        return self._written.decode("utf-8")


@contextmanager
def terminal(columns: int = 100) -> Iterator[Terminal]:
    opened = Terminal(columns)
    try:
        yield opened
    finally:
        if not opened.stream.closed:
            opened.text()


def draw(
    *events: Event,
    columns: int = 100,
    ticks: Ticks | None = None,
    look: Look | None = None,
) -> tuple[Screen, str]:
    with terminal(columns) as where:
        view = make_console(
            stdin=where.stdin,
            stream=where.stream,
            stdout=where.stream,
            environment={"TERM": "xterm"},
            monotonic=ticks or Ticks(),
        )
        assert isinstance(view, LiveView)
        if look is not None:
            view = LiveView(where.stream, columns=lambda: columns, monotonic=Ticks(), look=look)
        view.banner("1.0", "SN1")
        for event in events:
            view.emit(event)
        view.close()
        text = where.text()
    screen = Screen()
    screen.take(text)
    return screen, text


def stage(name: Stage, detail: str = "") -> tuple[Event, Event]:
    return StageStarted(name, detail), StageFinished(name, StageResult.COMPLETE, 0.25)


def test_finished_stages_stay_with_a_tick() -> None:
    screen, _ = draw(*stage(Stage.FACTS), *stage(Stage.CONTACT, "a.example:443"))
    assert screen.lines == [
        "xpu-agent 1.0 · SN1",
        " ✓ device facts      0.2 s",
        " ✓ contact server    0.2 s  a.example:443",
        "",
    ]
    assert " ▸ contact server  a.example:443" in screen.drawn


def test_the_checks_of_the_voucher_chain_are_named() -> None:
    screen, _ = draw(Judged(CHECKS, "trusted-onboarding"))
    shown = "\n".join(screen.lines)
    assert "voucher               ✓ signature  ✓ dates" in shown
    assert screen.lines[3] == " " * 23 + "  – nonce"  # noqa: RUF001  # a dash
    assert "owner certificate     ✓ path  ✓ revocation" in shown
    assert "conveyed information  ✓ signature  ✓ content" in shown
    assert "trusted onboarding" in shown


def test_a_failure_is_one_line_with_what_to_do() -> None:
    failed = StageFinished(Stage.PARSING, StageResult.ERROR, 1, Reason.VOUCHER_EXPIRED, "expired")
    screen, text = draw(
        StageStarted(Stage.PARSING),
        failed,
        RunEnded(Outcome(OutcomeKind.REFUSED, Reason.VOUCHER_EXPIRED, "expired")),
    )
    assert (
        screen.lines[1] == " ✗ read data       voucher-expired: expired → have the voucher renewed"
    )
    assert screen.lines[2] == " ✗ refused         voucher-expired"  # not the same again
    assert "\x1b[31m" in text


def test_a_failed_check_is_seen_where_it_failed() -> None:
    screen, _ = draw(Judged(EXPIRED, "refused", Reason.VOUCHER_EXPIRED, "expired"))
    assert "✓ signature  ✗ dates" in screen.lines[1]
    assert screen.lines[2].endswith("→ have the voucher renewed")


def test_an_image_has_a_bar_a_speed_and_an_end() -> None:
    ticks = Ticks()
    with terminal() as where:
        view = make_console(
            stdin=where.stdin,
            stream=where.stream,
            stdout=where.stream,
            environment={"TERM": "xterm"},
            monotonic=ticks,
        )
        view.emit(StageStarted(Stage.BOOT_IMAGE))
        for done in range(0, 101, 10):
            view.emit(ImageProgress(done * MIB, 100 * MIB))
            ticks.now += 0.5
        view.emit(StageFinished(Stage.BOOT_IMAGE, StageResult.COMPLETE, 5.0))
        view.close()
        text = where.text()
    screen = Screen()
    screen.take(text)
    half = next(line for line in screen.drawn if " 50%" in line)
    assert "█" * 12 + "░" * 12 in half
    assert "50.0 MiB of 100.0 MiB" in half
    assert "20.0 MiB/s, 2.5 s left" in half
    assert screen.lines[0] == " ✓ boot image        5.0 s  100.0 MiB, 20 MiB/s"


def test_progress_is_drawn_ten_times_a_second_at_most() -> None:
    events = [ImageProgress(n, 10_000) for n in range(5000)]
    _, text = draw(StageStarted(Stage.BOOT_IMAGE), *events)
    assert text.count("\r\x1b[K") < 10


def test_a_size_nobody_told_has_no_bar() -> None:
    ticks = Ticks()
    screen, _ = draw(StageStarted(Stage.BOOT_IMAGE), ImageProgress(MIB, None), ticks=ticks)
    assert "%" not in "".join(screen.drawn)


def test_waiting_is_told_and_goes_away() -> None:
    screen, _ = draw(Waiting(42.0, Reason.TIMEOUT, "late"), *stage(Stage.FACTS))
    assert " ▸ waiting 42 s to the next attempt · to skip: xpu-agent disable" in screen.drawn
    assert screen.lines[1:] == [" ✓ device facts      0.2 s", ""]


def test_nothing_wider_than_the_window_is_redrawn() -> None:
    for columns in (20, 40, 80):
        screen, _ = draw(
            StageStarted(Stage.CONTACT, "x" * 200),
            ServerContacted("h" * 200, 443, "192.0.2.1", trusted=True, depth=0),
            ImageProgress(MIB, 2 * MIB),
            *stage(Stage.FACTS, "y" * 200),
            columns=columns,
        )
        assert max(map(len, screen.drawn)) < columns
        assert max(map(len, screen.lines)) < columns


def test_the_window_may_change_its_size() -> None:
    with terminal(100) as where:
        view = make_console(
            stdin=where.stdin,
            stream=where.stream,
            stdout=where.stream,
            environment={"TERM": "xterm"},
            monotonic=Ticks(),
        )
        where.resize(30)
        view.emit(StageStarted(Stage.CONTACT, "x" * 80))
        view.close()
        screen = Screen()
        screen.take(where.text())
    assert max(map(len, screen.drawn)) < 30


def test_every_event_can_be_drawn_in_every_look() -> None:
    for look in (Look(color=c, unicode=u) for c in (True, False) for u in (True, False)):
        screen, text = draw(*EVERY, look=look)
        assert screen.lines[-1] == ""
        assert ("\x1b[3" in text) is look.color
        assert text.isascii() is not look.unicode


@settings(max_examples=40, deadline=None)
@given(text=st.text(max_size=300))
def test_text_of_others_never_reaches_the_terminal_raw(text: str) -> None:
    stream = io.StringIO()
    view = LiveView(
        stream, columns=lambda: 80, monotonic=Ticks(), look=Look(color=False, unicode=False)
    )
    view.banner("1.0", text)
    for event in (
        StageStarted(Stage.CONTACT, text),
        StageFinished(Stage.CONTACT, StageResult.ERROR, 1.0, Reason.TIMEOUT, text),
        StageFinished(Stage.CONTACT, StageResult.WARNING, 1.0, None, text),
        Judged((), text, Reason.MALFORMED, text),
        Judged((), text),
        RunEnded(Outcome(OutcomeKind.FAILED, Reason.INTERNAL, text)),
        RunEnded(Outcome(OutcomeKind.COMPLETED, None, text)),
    ):
        view.emit(event)
    view.close()
    shown = stream.getvalue().replace("\r\x1b[K", "").replace("\n", "")
    assert shown.isascii()
    assert shown.isprintable()


def test_a_terminal_that_hung_up_is_no_reason_to_fail() -> None:
    stream = io.StringIO()
    view = LiveView(
        stream, columns=lambda: 80, monotonic=Ticks(), look=Look(color=True, unicode=True)
    )
    stream.close()
    for event in EVERY:
        view.emit(event)
    view.close()


# --- where it is drawn -----------------------------------------------------------------------


def test_only_a_whole_terminal_gets_the_live_view() -> None:
    with terminal() as where, Path("/dev/null").open(encoding="utf-8") as null:
        good = {"TERM": "xterm"}
        assert is_live(where.stdin, where.stream, where.stream, good)
        assert is_live(where.stdin, where.stream, null, good)  # standard output in a file
        assert not is_live(where.stdin, where.stream, where.stream, {"TERM": "dumb"})
        assert not is_live(where.stdin, where.stream, where.stream, {"TERM": ""})
        assert not is_live(where.stdin, where.stream, where.stream, {})
        assert not is_live(null, where.stream, where.stream, good)
        assert not is_live(where.stdin, io.StringIO(), where.stream, good)
        where.resize(0, 0)
        assert not is_live(where.stdin, where.stream, where.stream, good)


@pytest.mark.skipif(not os.access("/dev/console", os.W_OK), reason="no /dev/console here")
def test_the_system_console_gets_plain_lines() -> None:
    try:
        console = open("/dev/console", "w", encoding="utf-8")  # noqa: PTH123, SIM115  # a device
    except OSError:
        pytest.skip("/dev/console can't be opened here")
    with console, terminal() as where:
        assert not is_live(where.stdin, where.stream, console, {"TERM": "xterm"})


def test_elsewhere_plain_lines_are_made() -> None:
    view = make_console(
        stdin=io.StringIO(),
        stream=io.StringIO(),
        stdout=io.StringIO(),
        environment={"TERM": "xterm"},
        monotonic=Ticks(),
    )
    assert isinstance(view, PlainView)


def test_no_color_is_honoured() -> None:
    with terminal() as where:
        assert wants_color(where.stream, {"TERM": "xterm"})
        assert wants_color(where.stream, {"TERM": "xterm", "NO_COLOR": ""})
        assert not wants_color(where.stream, {"TERM": "xterm", "NO_COLOR": "1"})
        assert not wants_color(where.stream, {"TERM": "dumb"})
        view = make_console(
            stdin=where.stdin,
            stream=where.stream,
            stdout=where.stream,
            environment={"TERM": "xterm", "NO_COLOR": "1"},
            monotonic=Ticks(),
        )
        for event in EVERY:
            view.emit(event)
        view.close()
        assert SGR.search(where.text()) is None


@pytest.mark.parametrize(
    ("encoding", "fancy"),
    [("utf-8", True), ("ascii", False), ("latin-1", False), ("iso8859-15", False)],
)
def test_the_terminals_encoding_is_respected(encoding: str, *, fancy: bool) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding)
    assert can_encode(stream) is fancy
    view = LiveView(
        stream,
        columns=lambda: 80,
        monotonic=Ticks(),
        look=Look(color=False, unicode=can_encode(stream)),
    )
    view.emit(Judged(CHECKS, "trusted-onboarding"))
    view.emit(StageFinished(Stage.FACTS, StageResult.ERROR, 1.0, Reason.IDEVID_MISSING, "näh"))
    stream.flush()
    shown = raw.getvalue().decode(encoding)
    assert "signature" in shown
    assert "idevid-missing: n\\xe4h" in shown
    assert shown.isascii() is not fancy


def test_a_whole_process_on_a_terminal(tmp_path: Path) -> None:
    program = tmp_path / "draw.py"
    program.write_text(
        "import os, sys, time\n"
        "from xpu_agent.console import make_console\n"
        "from xpu_agent.ports import StageStarted, StageFinished\n"
        "from xpu_agent.progress import Stage, StageResult\n"
        "view = make_console(stdin=sys.stdin, stream=sys.stderr, stdout=sys.stdout,\n"
        "                    environment=os.environ, monotonic=time.monotonic)\n"
        "view.emit(StageStarted(Stage.FACTS))\n"
        "view.emit(StageFinished(Stage.FACTS, StageResult.COMPLETE, 0.1))\n"
        "view.close()\n"
    )
    text = _on_a_terminal([sys.executable, str(program)])
    assert re.search(r"(✓|ok) .*device facts", text)
    assert "\r\x1b[K" in text


def _on_a_terminal(command: list[str]) -> str:
    import subprocess

    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    agent = Path(__file__).parents[3] / "agent"
    with subprocess.Popen(
        command,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        env={"TERM": "xterm", "PYTHONPATH": str(agent), "PYTHONUTF8": "1"},
    ) as process:
        os.close(slave)
        written = b""
        try:
            while chunk := os.read(master, 65536):
                written += chunk
        except OSError:  # the last writer is gone
            pass
        assert process.wait(20) == 0
    os.close(master)
    return written.decode("utf-8")
