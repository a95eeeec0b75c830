# SPDX-License-Identifier: Apache-2.0
"""One stage of onboarding: its event pair, its duration, its progress reports (RFC 8572, 5.6).

- Reports go to a trusted server and to nobody else; a `Reporter` without one stays silent.
- Which report belongs to which end of a stage is `progress.PROGRESS_TYPES`; which of them are
  sent at the server's reporting level is `progress.is_due`.
- A report that fails never hides the failure it reports, nor changes the stage's result.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from xpu_agent import limits
from xpu_agent.errors import (
    IdentityError,
    MalformedError,
    ProtocolError,
    Reason,
    SourceUnavailableError,
    StoppedError,
    XpuAgentError,
)
from xpu_agent.ports import Clock, Events, ReportSent, StageFinished, StageStarted, TrustedServer
from xpu_agent.progress import (
    PROGRESS_TYPES,
    ProgressReport,
    ProgressType,
    ReportingLevel,
    Stage,
    StageResult,
    is_due,
)

# What a report that needs its 204 may meet instead.
NOT_ACKNOWLEDGED = (ProtocolError, SourceUnavailableError, IdentityError, MalformedError)


class Reporter:
    """Where progress reports go: to the trusted server the information came from, or nowhere.

    `server` is None where no report is due: information from a medium, from DNS, or over a
    provisional connection, even if it was signed (7.3: only about information obtained from a
    trusted server).
    """

    def __init__(self, events: Events, server: TrustedServer | None, level: ReportingLevel) -> None:
        self._events = events
        self._server = server
        self._level = level

    @classmethod
    def silent(cls, events: Events) -> "Reporter":
        """A reporter that has nobody to tell."""
        return cls(events, None, ReportingLevel.MINIMAL)

    @property
    def due(self) -> bool:
        """Whether there is a trusted server to report to."""
        return self._server is not None

    def send(self, progress_type: ProgressType, message: str | None = None) -> bool:
        """Send a report best effort, if it is due; False if it was due and got lost."""
        if self._server is None or not is_due(progress_type, self._level):
            return True
        report = ProgressReport(progress_type, bounded(message))
        acknowledged = self._server.report_best_effort(report)
        self._events.emit(ReportSent(progress_type, acknowledged))
        return acknowledged

    def send_acknowledged(self, report: ProgressReport) -> None:
        """Send a report that counts only when it is answered with 204.

        Raises:
            ProtocolError, SourceUnavailableError, IdentityError, MalformedError: it was not.
        """
        if self._server is None:
            return
        try:
            self._server.report_acknowledged(report)
        except NOT_ACKNOWLEDGED:
            self._events.emit(ReportSent(report.progress_type, acknowledged=False))
            raise
        self._events.emit(ReportSent(report.progress_type, acknowledged=True))


class RunningStage:
    """What the body of a stage may say about its course."""

    def __init__(self, stage: Stage, reporter: Reporter) -> None:
        self._stage = stage
        self._reporter = reporter
        self._ending = PROGRESS_TYPES[stage, StageResult.COMPLETE]
        self.warnings: list[str] = []

    def warn(self, message: str, reason: Reason | None = None) -> None:
        """Something that does not stop the stage; reported as the stage's warning."""
        text = message if reason is None else f"{reason}: {message}"
        self.warnings.append(text)
        progress_type = PROGRESS_TYPES[self._stage, StageResult.WARNING]
        if progress_type is not None:
            self._reporter.send(progress_type, text)

    def end_with(self, progress_type: ProgressType | None) -> None:
        """Report this at the end instead of the stage's own; None: it was reported already."""
        self._ending = progress_type

    @property
    def ending(self) -> ProgressType | None:
        """What is reported when the stage succeeds."""
        return self._ending


@contextmanager
def stage(
    name: Stage, *, events: Events, clock: Clock, reporter: Reporter, detail: str = ""
) -> Iterator[RunningStage]:
    """Run the body as one stage.

    An `XpuAgentError` becomes the stage's error report, best effort, and goes on to the caller
    unchanged. A signal ends the stage without a report: nothing has failed.
    """
    events.emit(StageStarted(name, detail))
    begin = clock.monotonic()
    running = RunningStage(name, reporter)
    _report(reporter, PROGRESS_TYPES[name, StageResult.INITIATED])
    # A bug of ours is not caught here, but the pair of events is closed for it too.
    result, reason, message = StageResult.ERROR, Reason.INTERNAL, "internal error"
    try:
        yield running
        result = StageResult.WARNING if running.warnings else StageResult.COMPLETE
        message = "; ".join(running.warnings)
    except XpuAgentError as error:
        reason, message = error.reason, error.message
        if not isinstance(error, StoppedError):
            _report(reporter, PROGRESS_TYPES[name, StageResult.ERROR], failure_message(error))
        raise
    finally:
        seconds = clock.monotonic() - begin
        failed = result is StageResult.ERROR
        events.emit(StageFinished(name, result, seconds, reason if failed else None, message))
    _report(reporter, running.ending)


def failure_message(error: XpuAgentError) -> str:
    """What a server is told about a failure: stable reason, one sentence."""
    return f"{error.reason}: {error.message}"


def bounded(message: str | None) -> str | None:
    """A message fit to be sent: printable, at most `REPORT_MESSAGE_BYTES` when encoded.

    What is cut is the middle: the reason stands at the beginning, and a script's last lines say
    why it failed.
    """
    if message is None:
        return None
    text = "".join(_printable(character) for character in message)
    octets = text.encode()
    if len(octets) <= limits.REPORT_MESSAGE_BYTES:
        return text
    gap = b" [...] "
    head = limits.REPORT_MESSAGE_BYTES // 4
    tail = limits.REPORT_MESSAGE_BYTES - head - len(gap)
    kept = octets[:head] + gap + octets[-tail:]
    return kept.decode(errors="ignore")


def _printable(character: str) -> str:
    """The character, or an escape where XML or a terminal would stumble over it."""
    if character.isprintable() or character == "\n":
        return character
    return character.encode("unicode_escape").decode("ascii")


def _report(
    reporter: Reporter, progress_type: ProgressType | None, message: str | None = None
) -> None:
    """Send what the table names, if it names anything."""
    if progress_type is not None:
        reporter.send(progress_type, message)
