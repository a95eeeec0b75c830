# SPDX-License-Identifier: Apache-2.0
"""Plain lines: ASCII, bounded, one for each stage, and a failure that says what to do."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.console.events import CHECKS, EVERY, MIB, Ticks

from xpu_agent.console import PlainView, next_action
from xpu_agent.errors import Reason
from xpu_agent.lifecycle import AgentState, State
from xpu_agent.ports import (
    Event,
    ImageProgress,
    Judged,
    Note,
    Outcome,
    OutcomeKind,
    RunEnded,
    ServerContacted,
    StageFinished,
    StageStarted,
    StateChanged,
    Waiting,
)
from xpu_agent.progress import Stage, StageResult


def lines(*events: Event, ticks: Ticks | None = None) -> list[str]:
    stream = io.StringIO()
    view = PlainView(stream, monotonic=ticks or Ticks())
    for event in events:
        view.emit(event)
    view.close()
    assert stream.getvalue() == "" or stream.getvalue().endswith("\n")
    return stream.getvalue().splitlines()


def test_a_course_in_lines() -> None:
    assert lines(
        StateChanged(AgentState(state=State.DISCOVERING, attempt=1)),
        StageStarted(Stage.DISCOVER, "dhcp"),
        StageFinished(Stage.DISCOVER, StageResult.COMPLETE, 1.5),
        ServerContacted("a.example", 443, "192.0.2.1", trusted=False, depth=0),
        Judged(CHECKS, "trusted-onboarding"),
        StageStarted(Stage.CONFIGURATION, ""),
        StageFinished(Stage.CONFIGURATION, StageResult.WARNING, 0.1, None, "odd"),
        StateChanged(AgentState(state=State.DISCOVERING, attempt=2)),
        Waiting(5.0, Reason.TOO_LARGE, "x"),
        Note("quiet", "x"),
        Note("loud", "x", warning=True),
        RunEnded(Outcome(OutcomeKind.COMPLETED)),
    ) == [
        "discover dhcp: ok (1.5 s)",
        "server a.example:443 (not authenticated yet)",
        "data judged: trusted onboarding",
        "configuration: warning (0.1 s): odd",
        "attempt 2",
        "waiting 5.0 s: too-large (to skip: xpu-agent disable) -> make the data smaller",
        "loud: x",
        "completed: done",
    ]


def test_a_download_has_a_line_every_ten_percent() -> None:
    ticks = Ticks()
    stream = io.StringIO()
    view = PlainView(stream, monotonic=ticks)
    view.emit(StageStarted(Stage.BOOT_IMAGE))
    for done in range(1001):
        ticks.now += 0.01
        view.emit(ImageProgress(done * MIB // 4, 250 * MIB))
    found = stream.getvalue().splitlines()
    assert [line.split(",")[0] for line in found] == [
        f"boot image: {p} %" for p in range(10, 101, 10)
    ]
    assert found[4] == "boot image: 50 %, 125.0 MiB of 250.0 MiB, 25.0 MiB/s, 5.0 s left"


def test_a_slow_download_has_a_line_every_thirty_seconds() -> None:
    ticks = Ticks()
    stream = io.StringIO()
    view = PlainView(stream, monotonic=ticks)
    view.emit(StageStarted(Stage.BOOT_IMAGE))
    for second in range(121):
        ticks.now = float(second)
        view.emit(ImageProgress(second * 1024, None))
    assert len(stream.getvalue().splitlines()) == 4


def test_a_download_begun_again_counts_from_the_start() -> None:
    shown = lines(
        StageStarted(Stage.BOOT_IMAGE),
        ImageProgress(95, 100),
        ImageProgress(0, 100),
        ImageProgress(15, 100),
    )
    assert [line.split(",")[0] for line in shown] == ["boot image: 95 %", "boot image: 15 %"]


@pytest.mark.parametrize("reason", list(Reason))
@pytest.mark.parametrize("length", [0, 20, 5000])
def test_reason_and_next_action_always_fit_on_one_line(reason: Reason, length: int) -> None:
    for stage in Stage:
        (line,) = lines(StageFinished(stage, StageResult.ERROR, 1.0, reason, "m" * length))
        assert len(line) <= 120
        assert f"FAILED {reason}" in line
        assert line.endswith(f"-> {next_action(reason)}")


def test_what_was_said_is_not_said_again() -> None:
    shown = lines(
        Judged((), "refused", Reason.VOUCHER_EXPIRED, "expired"),
        StageFinished(Stage.PARSING, StageResult.ERROR, 1.0, Reason.VOUCHER_EXPIRED, "expired"),
        RunEnded(Outcome(OutcomeKind.REFUSED, Reason.VOUCHER_EXPIRED, "expired")),
    )
    assert shown == [
        "data refused: FAILED voucher-expired: expired -> have the voucher renewed",
        "read data: FAILED voucher-expired",
        "refused: FAILED voucher-expired",
    ]


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=400))
def test_lines_are_ascii_and_bounded_whatever_a_peer_sent(text: str) -> None:
    stream = io.StringIO()
    view = PlainView(stream, monotonic=Ticks())
    view.banner("1.0", text)
    for event in (
        StageStarted(Stage.CONTACT, text),
        StageFinished(Stage.CONTACT, StageResult.ERROR, 1.0, Reason.TIMEOUT, text),
        StageFinished(Stage.CONTACT, StageResult.WARNING, 1.0, None, text),
        ServerContacted(text, 443, text, trusted=True, depth=0),
        Judged((), text),
        Note(text, text, warning=True),
        RunEnded(Outcome(OutcomeKind.COMPLETED, None, text)),
    ):
        view.emit(event)
    for line in stream.getvalue().split("\n"):
        assert len(line) <= 120
        assert line.isascii()
        assert line.isprintable()
    assert stream.getvalue().count("\n") == 7


def test_every_event_is_taken() -> None:
    assert all(len(line) <= 120 for line in lines(*EVERY))


def test_every_reason_has_a_next_action() -> None:
    for reason in Reason:
        assert next_action(reason).isascii()
        assert 10 <= len(next_action(reason)) <= 48


def test_a_stream_that_is_gone_is_no_reason_to_fail() -> None:
    stream = io.StringIO()
    view = PlainView(stream, monotonic=Ticks())
    stream.close()
    for event in EVERY:
        view.emit(event)


@pytest.mark.parametrize("reason", list(Reason))
def test_waiting_tells_what_is_missing_and_how_to_skip(reason: Reason) -> None:
    (line,) = lines(Waiting(300.0, reason, "m" * 500))
    assert line.startswith(f"waiting 5 min 00 s: {reason} (to skip: xpu-agent disable)")
    assert not line.endswith("...")
