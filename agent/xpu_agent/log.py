# SPDX-License-Identifier: Apache-2.0
"""Log lines for journal, kmsg and serial consoles: one event a line, `event key=value ...`.

A line is printable ASCII and fits one kmsg record, whatever a peer put into a name or message.
`text` goes to people (with `<3>`..`<7>` in front where the journal reads it), `kmsg` to the kernel
ring, `json` to machines. At level info a boot tells its story in some thirty lines. No key,
credential, configuration or script body is ever in an event, so none can be logged.
"""

import json
import logging
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, TextIO

from xpu_agent import limits
from xpu_agent.errors import XpuAgentError

if TYPE_CHECKING:
    from xpu_agent.lifecycle import State
    from xpu_agent.ports import Event

# Every event there is; stable, for people who filter.
EVENTS: Mapping[str, str] = {
    "stage-started": "a stage of an attempt begins",
    "stage-finished": "a stage of an attempt ended: result, duration, reason if it failed",
    "state-changed": "the durable state is another one",
    "source-tried": "a source, or one offer of it, is tried",
    "source-failed": "a source, or one offer of it, was of no use: reason",
    "server-contacted": "a bootstrap server answered: trusted or provisional",
    "redirect-followed": "redirect information leads to other servers",
    "bundle-judged": "what bootstrapping data is worth: verdict",
    "bundle-checks": "each check of the bundle by name (debug)",
    "image-progress": "octets of the boot image written so far",
    "report-sent": "a progress report was acknowledged (debug)",
    "report-failed": "a progress report was not acknowledged",
    "waiting": "nothing worked; the next attempt is in some seconds",
    "run-ended": "how the run ended",
    # Notes of the workflow:
    "configuration-notice": "the configuration was read, and something in it was left out",
    "source-not-available": "a configured source that this version does not have",
    "state-discarded": "a reset gave up a durable document that could not be read",
    "confirming-resumed": "everything is applied, only the final report is missing",
    "content-changed": "other content than what was applied and never confirmed: undone",
    "final-report-lost": "everything is applied and no report can follow any more",
    "image-wanted": "the image the onboarding information asks for",
    "image-uri-failed": "one URI of the boot image was of no use",
    "image-rolled-back": "the image that was installed did not come up",
    "mark-good-failed": "the running image could not be marked as good",
    "reboot-failed": "the platform could not be asked to reboot",
    "reset-requested": "the hook says that the device is to be reset; done before anything else",
    "hook-output": "a line a hook wrote to standard error",
    "gave-up": "the time of give-up is over",
    "note": "a note whose own name is no event name",
    "log-message": "a line from a library or from a place without an event of its own",
    "listener-failed": "one that follows the run (console, status, history, hook) failed; our bug",
    "log-failed": "an event could not be made a line; our own bug",
}

_LOGGER = "xpu_agent"
_SEVERITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3}
_LEVEL_NAMES = {
    logging.DEBUG: "debug",
    logging.INFO: "info",
    logging.WARNING: "warning",
    logging.ERROR: "error",
    logging.CRITICAL: "error",
}
_VALUE_CHARS = (512, 256, 128, 64, 32, 16)  # tried in turn until the line fits
_FIELDS = 24
_BARE = re.compile(r"[A-Za-z0-9_.,:;/@%+~\[\]-]+\Z")
_NAME = re.compile(r"[a-z][a-z0-9-]{0,47}\Z")
_PROGRESS_SECONDS = 30.0

Field = tuple[str, object]


class LogFormat(StrEnum):
    """`--log-format`."""

    TEXT = "text"
    KMSG = "kmsg"
    JSON = "json"


def set_up_logging(
    style: LogFormat,
    level: str,
    *,
    stream: TextIO | None = None,
    environment: Mapping[str, str] | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> logging.Handler:
    """Send log lines to `stream` (standard error by default); returns the handler in charge.

    Calling it again replaces what the last call set up. Of other libraries only warnings are
    shown, unless `level` is debug.
    """
    stream = sys.stderr if stream is None else stream
    environment = os.environ if environment is None else environment
    prefixed = style is LogFormat.KMSG or (
        style is LogFormat.TEXT and _goes_to_journal(stream, environment)
    )
    handler = _LineHandler(stream)
    handler.setFormatter(LineFormatter(style, prefixed=prefixed, now=now))
    root, ours = logging.getLogger(), logging.getLogger(_LOGGER)
    for earlier in [h for h in root.handlers if isinstance(h, _LineHandler)]:
        root.removeHandler(earlier)
    root.addHandler(handler)
    number = logging.getLevelNamesMapping()[level.upper()]
    ours.setLevel(number)
    root.setLevel(logging.DEBUG if number <= logging.DEBUG else logging.WARNING)
    return handler


def _goes_to_journal(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Whether systemd says that this very stream is connected to the journal."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError, AttributeError):
        return False
    return environment.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


class _LineHandler(logging.StreamHandler[TextIO]):
    """Writes whole lines; a stream that is gone or full is no reason to fail."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802  # as declared there
        """Nothing: there is no place left to say it. A signal that came meanwhile goes on."""
        if isinstance(sys.exc_info()[1], XpuAgentError):
            raise  # noqa: PLE0704  # called from an except block


class LineFormatter(logging.Formatter):
    """A record as one line; never raises."""

    def __init__(self, style: LogFormat, *, prefixed: bool, now: Callable[[], datetime]) -> None:
        super().__init__()
        self._format = style
        self._prefixed = prefixed
        self._now = now

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        try:
            event, fields = _event_of(record)
            if self._format is LogFormat.JSON:
                return self._json(record.levelno, event, fields)
            return self._line(record.levelno, event, fields)
        except XpuAgentError:
            raise  # no failure of ours: a signal ends what is under way
        except Exception:  # noqa: BLE001  # a log line must never cost a boot
            return "log-failed"

    def _line(self, level: int, event: str, fields: list[Field]) -> str:
        prefix = ""
        if self._prefixed:
            prefix = f"<{_severity(level)}>"
        elif level >= logging.WARNING:
            fields = [("level", _LEVEL_NAMES.get(level, "error")), *fields]
        if self._format is LogFormat.KMSG:
            prefix += "xpu-agent: "
        line = event
        for chars in _VALUE_CHARS:
            line = " ".join([event, *(f"{key}={_value(text, chars)}" for key, text in fields)])
            if len(prefix) + len(line) <= limits.LOG_LINE_BYTES:
                break
        return (prefix + line)[: limits.LOG_LINE_BYTES]

    def _json(self, level: int, event: str, fields: list[Field]) -> str:
        members: dict[str, object] = {
            "time": self._now().isoformat(timespec="milliseconds"),
            "level": _LEVEL_NAMES.get(level, "info"),
            "event": event,
        }
        line = ""
        for chars in _VALUE_CHARS:
            cut = {key: _plain(text, chars) for key, text in fields}
            line = json.dumps({**members, **cut, **members}, ensure_ascii=True)
            if len(line) <= limits.LOG_LINE_BYTES:
                return line
        return json.dumps(members, ensure_ascii=True)


def _event_of(record: logging.LogRecord) -> tuple[str, list[Field]]:
    """Event name and fields of a record; other libraries' records become `log-message`."""
    event = getattr(record, "event", None)
    fields = getattr(record, "fields", ())
    if isinstance(event, str):
        return event, [(k, v) for k, v in list(fields)[:_FIELDS] if v is not None and v != ""]
    plain: list[Field] = [("logger", record.name), ("message", record.getMessage())]
    if record.exc_info and record.exc_info[1] is not None:
        plain.append(("error", repr(record.exc_info[1])))
    return "log-message", plain


def _severity(level: int) -> int:
    return next((s for least, s in sorted(_SEVERITIES.items(), reverse=True) if level >= least), 7)


def _plain(value: object, chars: int) -> object:
    if isinstance(value, bool | int | float) or value is None:
        return value
    return _cut(str(value), chars)


def _value(value: object, chars: int) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    text = _cut(f"{value:.3f}" if isinstance(value, float) else str(value), chars)
    if _BARE.match(text):
        return text
    escaped = text.encode("unicode_escape").decode("ascii").replace('"', '\\"')
    return f'"{escaped}"'


def _cut(text: str, chars: int) -> str:
    return text if len(text) <= chars else text[: chars - 3] + "..."


class LogListener:
    """`ports.Events`: what happened, as log lines."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._log = logging.getLogger(_LOGGER)
        self._monotonic = monotonic
        self._state: State | None = None
        self._progress = float("-inf")

    def emit(self, event: "Event") -> None:
        """See `ports.Events`."""
        try:
            for level, name, fields in self._lines(event):
                self._log.log(level, name, extra={"event": name, "fields": fields})
        except XpuAgentError:
            raise  # no failure of ours: a signal ends what is under way
        except Exception:  # noqa: BLE001  # a log line must never cost a boot
            self._log.error(  # the trace may hold what must not be logged
                "log-failed", extra={"event": "log-failed", "fields": ()}
            )

    def _lines(self, event: "Event") -> Iterable[tuple[int, str, tuple[Field, ...]]]:
        from xpu_agent import ports
        from xpu_agent.progress import StageResult

        match event:
            case ports.StageStarted(stage=stage, detail=detail):
                yield logging.INFO, "stage-started", (("stage", stage), ("detail", detail))
            case ports.StageFinished(stage=stage, result=result):
                failed = result in {StageResult.ERROR, StageResult.WARNING}
                yield (
                    logging.WARNING if failed else logging.INFO,
                    "stage-finished",
                    (
                        ("stage", stage),
                        ("result", result.value),
                        ("seconds", event.seconds),
                        ("reason", event.reason),
                        ("message", event.message),
                    ),
                )
            case ports.StateChanged(state=state):
                changed, self._state = state.state is not self._state, state.state
                yield (
                    logging.INFO if changed else logging.DEBUG,
                    "state-changed",
                    (("state", state.state), ("attempt", state.attempt), ("step", state.step)),
                )
            case ports.SourceTried(source=source, origin=origin, reason=None):
                yield logging.INFO, "source-tried", (("source", source), ("origin", origin))
            case ports.SourceTried(source=source, origin=origin, reason=reason):
                yield (
                    logging.WARNING,
                    "source-failed",
                    (
                        ("source", source),
                        ("origin", origin),
                        ("reason", reason),
                        ("message", event.message),
                    ),
                )
            case ports.ServerContacted():
                yield (
                    logging.INFO,
                    "server-contacted",
                    (
                        ("host", event.host),
                        ("port", event.port),
                        ("address", event.ip),
                        ("trusted", event.trusted),
                        ("redirects", event.depth),
                    ),
                )
            case ports.RedirectFollowed():
                yield (
                    logging.INFO,
                    "redirect-followed",
                    (
                        ("servers", event.count),
                        ("trusted", event.trusted),
                        ("depth", event.depth),
                    ),
                )
            case ports.Judged(steps=steps):
                checks = tuple((str(s.step), str(s.result)) for s in steps)
                yield logging.DEBUG, "bundle-checks", checks
                yield (
                    logging.WARNING if event.reason is not None else logging.INFO,
                    "bundle-judged",
                    (
                        ("verdict", event.verdict),
                        ("reason", event.reason),
                        ("message", event.message),
                    ),
                )
            case ports.ImageProgress(done=done, total=total):
                since = self._monotonic() - self._progress
                level = logging.INFO if since >= _PROGRESS_SECONDS else logging.DEBUG
                if level == logging.INFO:
                    self._progress = self._monotonic()
                yield level, "image-progress", (("done", done), ("total", total))
            case ports.ReportSent(progress_type=progress_type, acknowledged=acknowledged):
                yield (
                    logging.DEBUG if acknowledged else logging.WARNING,
                    "report-sent" if acknowledged else "report-failed",
                    (("type", progress_type),),
                )
            case ports.Waiting():
                yield (
                    logging.INFO,
                    "waiting",
                    (
                        ("seconds", round(event.seconds, 1)),
                        ("reason", event.reason),
                        ("message", event.message),
                    ),
                )
            case ports.RunEnded(outcome=outcome):
                good = {
                    ports.OutcomeKind.COMPLETED,
                    ports.OutcomeKind.REBOOTING,
                    ports.OutcomeKind.NOTHING_TO_DO,
                    ports.OutcomeKind.STOPPED,
                }
                yield (
                    logging.INFO if outcome.kind in good else logging.ERROR,
                    "run-ended",
                    (
                        ("outcome", outcome.kind),
                        ("reason", outcome.reason),
                        ("message", outcome.message),
                    ),
                )
            case ports.Note():
                named = _NAME.match(event.event) is not None
                fields: list[Field] = [] if named else [("name", event.event)]
                fields += [("message", event.message), *event.fields]
                yield (
                    logging.WARNING if event.warning else logging.INFO,
                    event.event if named else "note",
                    tuple(fields),
                )
