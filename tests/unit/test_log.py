# SPDX-License-Identifier: Apache-2.0
"""Log lines: one event, one line, one kmsg record, whatever a peer sent."""

import ast
import io
import json
import logging
import os
import re
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xpu_agent import limits
from xpu_agent.errors import Reason, StoppedError
from xpu_agent.lifecycle import AgentState, State
from xpu_agent.log import EVENTS, LineFormatter, LogFormat, LogListener, set_up_logging
from xpu_agent.ports import (
    Event,
    ImageProgress,
    Judged,
    Note,
    Outcome,
    OutcomeKind,
    RedirectFollowed,
    ReportSent,
    RunEnded,
    ServerContacted,
    SourceTried,
    StageFinished,
    StageStarted,
    StateChanged,
    Waiting,
)
from xpu_agent.progress import ProgressType, Stage, StageResult
from xpu_agent.trust.signed_data import CheckedStep, Step, StepResult

NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("xpu_agent")
    before = (root.level, list(root.handlers), ours.level)
    yield
    root.setLevel(before[0])
    root.handlers[:] = before[1]
    ours.setLevel(before[2])


class Ticks:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def logged(
    *events: Event,
    style: LogFormat = LogFormat.TEXT,
    level: str = "debug",
    environment: dict[str, str] | None = None,
) -> list[str]:
    stream = io.StringIO()
    set_up_logging(style, level, stream=stream, environment=environment or {}, now=lambda: NOW)
    listener = LogListener(Ticks())
    for event in events:
        listener.emit(event)
    return stream.getvalue().splitlines()


def state(state: State) -> StateChanged:
    return StateChanged(AgentState(state=state, attempt=1))


ALL: list[tuple[Event, str]] = [
    (StageStarted(Stage.CONTACT, "a b"), 'stage-started stage=contact detail="a b"'),
    (
        StageFinished(Stage.CONTACT, StageResult.COMPLETE, 0.12345),
        "stage-finished stage=contact result=complete seconds=0.123",
    ),
    (
        StageFinished(Stage.UNDO, StageResult.ERROR, 1.0, Reason.TIMEOUT),
        "stage-finished level=warning stage=undo result=error seconds=1.000 reason=timeout",
    ),
    (state(State.DISCOVERING), "state-changed state=discovering attempt=1"),
    (SourceTried("dhcp", "eth0"), "source-tried source=dhcp origin=eth0"),
    (
        SourceTried("dhcp", "eth0", Reason.NO_SOURCE, "nobody"),
        "source-failed level=warning source=dhcp origin=eth0 reason=no-source message=nobody",
    ),
    (
        ServerContacted("a.example", 443, "2001:db8::1", trusted=False, depth=1),
        "server-contacted host=a.example port=443 address=2001:db8::1 trusted=false redirects=1",
    ),
    (
        RedirectFollowed(2, trusted=True, depth=1),
        "redirect-followed servers=2 trusted=true depth=1",
    ),
    (ImageProgress(5, 10), "image-progress done=5 total=10"),
    (ImageProgress(5, None), "image-progress done=5"),
    (
        ReportSent(ProgressType.BOOTSTRAP_COMPLETE, acknowledged=True),
        "report-sent type=bootstrap-complete",
    ),
    (
        ReportSent(ProgressType.BOOTSTRAP_COMPLETE, acknowledged=False),
        "report-failed level=warning type=bootstrap-complete",
    ),
    (Waiting(4.96, Reason.TIMEOUT, "late"), "waiting seconds=5.000 reason=timeout message=late"),
    (RunEnded(Outcome(OutcomeKind.COMPLETED)), "run-ended outcome=completed"),
    (
        RunEnded(Outcome(OutcomeKind.FAILED, Reason.INTERNAL, "x y")),
        'run-ended level=error outcome=failed reason=internal message="x y"',
    ),
    (
        Note("image-uri-failed", "gone", warning=True, fields=(("uri", "http://a/?b=c"),)),
        'image-uri-failed level=warning message=gone uri="http://a/?b=c"',
    ),
    (Note("Odd Name\n", "m"), 'note name="Odd Name\\n" message=m'),
]


@pytest.mark.parametrize(("event", "line"), ALL, ids=[line.split()[0] for _, line in ALL])
def test_each_event_is_one_line(event: Event, line: str) -> None:
    assert logged(event) == [line]


@pytest.mark.parametrize("event", [e for e, _ in ALL if not isinstance(e, Note)])
def test_each_event_name_is_listed(event: Event) -> None:
    (line,) = logged(event)
    assert line.split()[0] in EVENTS


def test_each_note_of_the_agent_is_listed() -> None:
    names = set()
    for path in (Path(__file__).parents[2] / "agent/xpu_agent").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Name(id="Note") | ast.Attribute(attr="Note" | "_note"),
                    args=[ast.Constant(value=str(name)), *_],
                ):
                    names.add(name)
    assert names >= {"image-uri-failed", "gave-up"}  # found at all
    assert names <= set(EVENTS)


def test_a_judgement_names_its_checks_for_debugging() -> None:
    judged = Judged(
        (
            CheckedStep(Step.VOUCHER_SIGNATURE, StepResult.OK),
            CheckedStep(Step.VOUCHER_DATES, StepResult.FAILED, Reason.VOUCHER_EXPIRED),
        ),
        "refused",
        Reason.VOUCHER_EXPIRED,
        "too old",
    )
    checks, verdict = logged(judged)
    assert checks == "bundle-checks voucher-signature=ok voucher-dates=failed"
    assert verdict == (
        'bundle-judged level=warning verdict=refused reason=voucher-expired message="too old"'
    )
    assert logged(judged, level="info") == [verdict]


def test_every_check_fits_on_its_line() -> None:
    steps = tuple(CheckedStep(step, StepResult.SKIPPED) for step in Step)
    for style in LogFormat:
        checks, _ = logged(Judged(steps, "trusted-onboarding"), style=style)
        assert all(str(step) in checks for step in Step)


def test_kmsg_lines_have_a_severity_and_a_name() -> None:
    lines = logged(
        StageStarted(Stage.FACTS),
        StageFinished(Stage.FACTS, StageResult.WARNING, 1.0),
        RunEnded(Outcome(OutcomeKind.FAILED, Reason.INTERNAL)),
        ImageProgress(1, 1),
        ImageProgress(1, 1),
        style=LogFormat.KMSG,
    )
    assert [line[:15] for line in lines] == [
        "<6>xpu-agent: s",
        "<4>xpu-agent: s",
        "<3>xpu-agent: r",
        "<6>xpu-agent: i",
        "<7>xpu-agent: i",
    ]
    assert "level=" not in "".join(lines)


def test_json_lines_are_objects() -> None:
    (line,) = logged(
        ServerContacted("a", 443, "192.0.2.1", trusted=True, depth=0), style=LogFormat.JSON
    )
    assert json.loads(line) == {
        "time": "2026-11-27T12:00:00.000+00:00",
        "level": "info",
        "event": "server-contacted",
        "host": "a",
        "port": 443,
        "address": "192.0.2.1",
        "trusted": True,
        "redirects": 0,
    }


def test_a_field_can_not_pose_as_time_level_or_event() -> None:
    note = Note("n", "m", fields=(("event", "x"), ("level", "x"), ("time", "x")))
    (line,) = logged(note, style=LogFormat.JSON)
    members = json.loads(line)
    assert (members["event"], members["level"]) == ("n", "info")
    assert members["time"].startswith("2026-")


@pytest.mark.parametrize(
    ("matches", "expected"), [(True, "<6>stage-started"), (False, "stage-started")]
)
def test_the_journal_gets_severities(*, matches: bool, expected: str) -> None:
    with tempfile.TemporaryFile("w+", encoding="utf-8") as stream:
        status = os.fstat(stream.fileno())
        inode = status.st_ino if matches else status.st_ino + 1
        environment = {"JOURNAL_STREAM": f"{status.st_dev}:{inode}"}
        set_up_logging(LogFormat.TEXT, "info", stream=stream, environment=environment)
        LogListener(Ticks()).emit(StageStarted(Stage.FACTS))
        logging.getLogger().handlers[-1].flush()
        stream.seek(0)
        assert stream.read().startswith(expected)


def test_the_level_counts_and_other_libraries_are_quiet() -> None:
    stream = io.StringIO()
    set_up_logging(LogFormat.TEXT, "info", stream=stream, environment={})
    logging.getLogger("xpu_agent.store").debug("hidden")
    logging.getLogger("xpu_agent.store").info("shown %s", 1)
    logging.getLogger("httpx").info("hidden")
    logging.getLogger("httpx").warning("odd")
    assert stream.getvalue().splitlines() == [
        'log-message logger=xpu_agent.store message="shown 1"',
        "log-message level=warning logger=httpx message=odd",
    ]


def test_setting_up_again_replaces() -> None:
    first, second = io.StringIO(), io.StringIO()
    set_up_logging(LogFormat.TEXT, "info", stream=first, environment={})
    set_up_logging(LogFormat.JSON, "debug", stream=second, environment={})
    logging.getLogger("xpu_agent").debug("x")
    assert first.getvalue() == ""
    assert len(second.getvalue().splitlines()) == 1


def test_progress_is_told_every_thirty_seconds() -> None:
    stream, ticks = io.StringIO(), Ticks()
    set_up_logging(LogFormat.TEXT, "info", stream=stream, environment={})
    listener = LogListener(ticks)
    for second in range(61):
        ticks.now = float(second)
        listener.emit(ImageProgress(second, 61))
    assert len(stream.getvalue().splitlines()) == 3


def test_a_state_written_again_is_for_debugging() -> None:
    assert len(logged(state(State.APPLYING), state(State.APPLYING), level="info")) == 1


def test_a_whole_boot_is_some_thirty_lines() -> None:
    events: list[Event] = [state(State.DISCOVERING)]
    for stage in (Stage.FACTS, Stage.DISCOVER, Stage.CONTACT, Stage.BOOTSTRAP, Stage.PARSING):
        events += [StageStarted(stage), StageFinished(stage, StageResult.COMPLETE, 1.0)]
    events += [
        SourceTried("dhcp", "x"),
        ServerContacted("a", 1, "a", trusted=True, depth=0),
        Judged((), "trusted-onboarding"),
        state(State.JUDGED),
        state(State.APPLYING),
    ]
    for stage in (Stage.BOOT_IMAGE, Stage.PRE_SCRIPT, Stage.CONFIGURATION, Stage.POST_SCRIPT):
        events += [StageStarted(stage), StageFinished(stage, StageResult.COMPLETE, 1.0)]
    events += [ReportSent(t, acknowledged=True) for t in ProgressType]
    events += [ImageProgress(n, 1000) for n in range(1000)]
    events += [state(State.CONFIRMING), state(State.PROVISIONED)]
    events += [RunEnded(Outcome(OutcomeKind.COMPLETED))]
    assert len(logged(*events, level="info")) <= 35


# --- bounds and escapes ----------------------------------------------------------------------

HOSTILE = st.text(min_size=0, max_size=2000)


@settings(max_examples=100, deadline=None)
@given(text=HOSTILE, other=HOSTILE, style=st.sampled_from(list(LogFormat)))
def test_whatever_a_peer_sent_it_is_one_printable_bounded_line(
    text: str, other: str, style: LogFormat
) -> None:
    record = logging.LogRecord("xpu_agent", logging.WARNING, "", 0, "m", (), None)
    record.event = "source-failed"
    record.fields = tuple((f"f{n}", text if n % 2 else other) for n in range(8))
    line = LineFormatter(style, prefixed=True, now=lambda: NOW).format(record)
    assert len(line) <= limits.LOG_LINE_BYTES
    assert line.isascii()
    assert line.isprintable()
    if style is LogFormat.JSON:
        assert json.loads(line)["event"] == "source-failed"
    else:
        # A value can't end its quotes and begin a field of its own.
        inside = line.partition("source-failed")[2]
        assert re.fullmatch(r'(?: f\d=(?:[^\s"=]+|"(?:[^"\\]|\\.)*"))*', inside) or len(line) == 900


def test_long_values_are_cut_not_fields() -> None:
    fields = (("a", "x" * 5000), ("b", "é" * 5000), ("c", "end"))
    (line,) = logged(Note("n", "m" * 5000, fields=fields))
    assert line.endswith(" c=end")
    assert '..." c=end' in line
    assert len(line) <= limits.LOG_LINE_BYTES


def test_empty_fields_are_left_out() -> None:
    assert logged(Note("n", "", fields=(("a", ""),))) == ["n"]


class _Hostile:
    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_formatting_never_raises() -> None:
    bad = Note("n", "m", fields=(("a", _Hostile()),))  # type: ignore[arg-type]  # on purpose
    for style in LogFormat:
        assert logged(bad, style=style) == ["log-failed"]
    assert logged(object()) == []  # type: ignore[arg-type]  # on purpose
    record = logging.LogRecord("x", logging.INFO, "", 0, "%d", ("no number",), None)
    formatter = LineFormatter(LogFormat.TEXT, prefixed=False, now=lambda: NOW)
    assert formatter.format(record) == "log-failed"


class _Stopping:
    def __str__(self) -> str:
        raise StoppedError


def test_a_signal_that_comes_while_a_line_is_made_goes_on() -> None:
    stopping = Note("n", "m", fields=(("a", _Stopping()),))  # type: ignore[arg-type]  # on purpose
    with pytest.raises(StoppedError):
        logged(stopping)


class _Full(io.StringIO):
    def write(self, _text: str) -> int:
        raise OSError(28, "No space left on device")


def test_a_stream_that_is_gone_is_no_reason_to_fail() -> None:
    stream = io.StringIO()
    set_up_logging(LogFormat.TEXT, "info", stream=stream, environment={})
    stream.close()
    LogListener(Ticks()).emit(StageStarted(Stage.FACTS))
    set_up_logging(LogFormat.TEXT, "info", stream=_Full(), environment={})
    LogListener(Ticks()).emit(StageStarted(Stage.FACTS))


def test_an_exception_is_named_without_its_trace() -> None:
    stream = io.StringIO()
    set_up_logging(LogFormat.TEXT, "info", stream=stream, environment={})
    try:
        int("secret-free")
    except ValueError:
        logging.getLogger("xpu_agent").exception("failed")
    (line,) = stream.getvalue().splitlines()
    assert line.startswith("log-message level=error logger=xpu_agent message=failed error=")
