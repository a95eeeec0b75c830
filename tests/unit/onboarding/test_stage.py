# SPDX-License-Identifier: Apache-2.0
"""One stage: event pairs, and the reports of the table at each level."""

import pytest
from tests.fakes import EventLog, ManualClock, MemoryConnection, MemoryServer, Power

from xpu_agent import limits
from xpu_agent.errors import ExecutionError, Reason, StoppedError
from xpu_agent.onboarding.stage import Reporter, bounded, stage
from xpu_agent.ports import StageFinished, StageStarted
from xpu_agent.progress import ProgressType, ReportingLevel, Stage, StageResult


class Desk:
    """A stage's surroundings, with a server that listens at a level."""

    def __init__(self, level: ReportingLevel) -> None:
        self.events = EventLog()
        self.clock = ManualClock(tick=1.0)
        self.server = MemoryServer([])
        connection = MemoryConnection(self.server, Power(), trusted=True)
        self.reporter = Reporter(self.events, connection, level)


@pytest.mark.requirement("SZTP-7.3-03", "SZTP-7.3-04")
def test_verbose_hears_every_report_of_the_stage() -> None:
    desk = Desk(ReportingLevel.VERBOSE)
    with stage(
        Stage.CONFIGURATION, events=desk.events, clock=desk.clock, reporter=desk.reporter
    ) as running:
        running.warn("deprecated statement")
    assert desk.server.report_types == [
        ProgressType.CONFIG_INITIATED,
        ProgressType.CONFIG_WARNING,
        ProgressType.CONFIG_COMPLETE,
    ]
    assert desk.server.reports[1].message == "deprecated statement"
    assert desk.events.of(StageStarted) == [StageStarted(Stage.CONFIGURATION)]
    (finished,) = desk.events.of(StageFinished)
    assert finished.result is StageResult.WARNING
    assert finished.message == "deprecated statement"
    assert finished.seconds == 1.0


@pytest.mark.requirement("SZTP-7.3-02")
def test_minimal_hears_the_failure_alone_and_it_goes_on() -> None:
    desk = Desk(ReportingLevel.MINIMAL)
    failure = ExecutionError(Reason.CONFIG_INVALID, "line 3")
    with (
        pytest.raises(ExecutionError) as raised,
        stage(Stage.CONFIGURATION, events=desk.events, clock=desk.clock, reporter=desk.reporter),
    ):
        raise failure
    assert raised.value is failure
    assert desk.server.report_types == [ProgressType.CONFIG_ERROR]
    assert desk.server.reports[0].message == "config-invalid: line 3"
    (finished,) = desk.events.of(StageFinished)
    assert (finished.result, finished.reason) == (StageResult.ERROR, Reason.CONFIG_INVALID)


def test_a_report_that_fails_never_hides_the_failure() -> None:
    desk = Desk(ReportingLevel.VERBOSE)
    desk.server.unreachable_for_reports = True
    with (
        pytest.raises(ExecutionError, match="line 3"),
        stage(Stage.CONFIGURATION, events=desk.events, clock=desk.clock, reporter=desk.reporter),
    ):
        raise ExecutionError(Reason.CONFIG_INVALID, "line 3")


def test_a_signal_is_no_failure_to_report() -> None:
    desk = Desk(ReportingLevel.VERBOSE)
    with (
        pytest.raises(StoppedError),
        stage(Stage.POST_SCRIPT, events=desk.events, clock=desk.clock, reporter=desk.reporter),
    ):
        raise StoppedError
    assert desk.server.report_types == [ProgressType.POST_SCRIPT_INITIATED]
    assert desk.events.of(StageFinished)[0].reason is Reason.STOPPED


def test_a_bug_of_ours_goes_through_with_its_event_pair_closed() -> None:
    desk = Desk(ReportingLevel.VERBOSE)
    with (
        pytest.raises(RuntimeError),
        stage(Stage.POST_SCRIPT, events=desk.events, clock=desk.clock, reporter=desk.reporter),
    ):
        raise RuntimeError("bug")
    assert desk.events.of(StageFinished)[0].reason is Reason.INTERNAL


def test_without_a_server_nothing_is_due() -> None:
    events = EventLog()
    silent = Reporter.silent(events)
    assert not silent.due
    assert silent.send(ProgressType.BOOTSTRAP_ERROR, "nobody hears it")
    with stage(Stage.PARSING, events=events, clock=ManualClock(), reporter=silent) as running:
        running.warn("a leniency was used", Reason.MALFORMED)
    assert running.warnings == ["malformed: a leniency was used"]


def test_messages_are_bounded_and_printable() -> None:
    assert bounded(None) is None
    assert bounded("a\x00b\x1b[1mc\nd\ud800") == "a\\x00b\\x1b[1mc\nd\\ud800"
    long = bounded("begin " + "\N{EURO SIGN}" * 2000 + " end")
    assert long is not None
    assert len(long.encode()) <= limits.REPORT_MESSAGE_BYTES
    assert long.startswith("begin ")
    assert long.endswith(" end")
