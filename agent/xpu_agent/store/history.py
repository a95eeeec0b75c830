# SPDX-License-Identifier: Apache-2.0
"""The last attempts, one JSON object a line: `history.jsonl`, format `xpu-agent-history/1`.

A line is appended and on disk when an attempt or a run ends. Where that pushes the file over its
bounds, the newest records are written anew. A line cut by a power failure is skipped when reading
and closed before the next one is written, so one loss never costs a second record.
"""

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xpu_agent import limits
from xpu_agent.atomic_write import make_folder, sync_directory, write_atomically

if TYPE_CHECKING:
    from xpu_agent.ports import Event

FORMAT = "xpu-agent-history/1"

_KEPT_RECORDS = limits.HISTORY_RECORDS * 3 // 4  # after a rewrite, so that not each append is one
_KEPT_BYTES = limits.HISTORY_BYTES * 3 // 4
_REFUSALS = 32  # in one record
_MESSAGE_CHARS = 512
_ORIGIN_CHARS = 255
_log = logging.getLogger(__name__)


class HistoryFile:
    """The file; `path` need not exist."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, record: Mapping[str, object]) -> None:
        """Add one record, durably, within the bounds. Raises OSError."""
        line = json.dumps({"format": FORMAT, **record}, ensure_ascii=True).encode("ascii") + b"\n"
        make_folder(self._path.parent, 0o700)
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self._path, flags, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            cut = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            os.write(descriptor, b"\n" + line if cut else line)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if size == 0:
            sync_directory(self._path.parent)
        self._keep_bounds()

    def read(self) -> Iterator[Mapping[str, Any]]:
        """The records, oldest first; lines that are none are passed over. Raises OSError."""
        for line in self._lines():
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(record, dict) and record.get("format") == FORMAT:
                yield record

    def _lines(self) -> list[bytes]:
        try:
            with self._path.open("rb") as file:
                # Never larger than its bound and one record, but what is on disk may not be ours.
                file.seek(max(0, os.fstat(file.fileno()).st_size - 2 * limits.HISTORY_BYTES))
                content = file.read(2 * limits.HISTORY_BYTES)
        except FileNotFoundError:
            return []
        return [line for line in content.split(b"\n") if line]

    def _keep_bounds(self) -> None:
        lines = self._lines()
        if (
            len(lines) <= limits.HISTORY_RECORDS
            and self._path.stat().st_size <= limits.HISTORY_BYTES
        ):
            return
        kept: list[bytes] = []
        size = 0
        for line in reversed(lines[-_KEPT_RECORDS:]):
            size += len(line) + 1
            if size > _KEPT_BYTES:
                break
            kept.insert(0, line + b"\n")
        write_atomically(self._path, b"".join(kept))


class HistoryListener:
    """`ports.Events`: one record when an attempt ends (it waits) and one when the run does.

    A run that finds nothing to do leaves no record: a provisioned device boots every day.
    """

    def __init__(
        self,
        file: HistoryFile,
        *,
        version: str,
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
    ) -> None:
        self._file = file
        self._version = version
        self._now = now
        self._monotonic = monotonic
        self._began = monotonic()
        self._attempt = 0
        self._open = False  # an attempt has begun and not ended
        self._facts: dict[str, object] = {}
        self._refusals: list[dict[str, object]] = []
        self._failed = False

    def emit(self, event: "Event") -> None:
        """See `ports.Events`."""
        try:
            self._take(event)
        except OSError as error:
            if not self._failed:  # once: each further attempt would say the same
                _log.warning("the history can't be written: %s", error.strerror)
            self._failed = True

    def _take(self, event: "Event") -> None:
        from xpu_agent import ports

        match event:
            case ports.StateChanged(state=state):
                if state.attempt != self._attempt:
                    self._start(state.attempt)
                self._facts["state"] = str(state.state)
                self._facts["method"] = state.method
            case ports.SourceTried(reason=None):
                self._facts["source"] = event.source
                self._facts["origin"] = event.origin[:_ORIGIN_CHARS]
            case ports.SourceTried(reason=reason):
                self._refuse(source=event.source, reason=str(reason), message=event.message)
            case ports.ServerContacted():
                host = f"[{event.host}]" if ":" in event.host else event.host
                self._facts["server"] = f"{host}:{event.port}"
                self._facts["server-trusted"] = event.trusted
            case ports.Judged():
                self._facts["verdict"] = event.verdict
                if event.reason is not None:
                    self._refuse(reason=str(event.reason), message=event.message)
            case ports.StageFinished(reason=reason) if reason is not None:
                self._facts["failed-stage"] = str(event.stage)
            case ports.Waiting() if self._open:
                # It is said again and again while waiting; the attempt ended once.
                self._write("attempt", "waiting", event.reason, event.message)
                self._start(self._attempt)
                self._open = False
            case ports.RunEnded(outcome=outcome):
                if outcome.kind is not ports.OutcomeKind.NOTHING_TO_DO:
                    self._write("run", str(outcome.kind), outcome.reason, outcome.message)
            case _:
                pass

    def _start(self, attempt: int) -> None:
        self._attempt = attempt
        self._open = True
        self._began = self._monotonic()
        self._facts = {}
        self._refusals = []

    def _refuse(self, **fields: str) -> None:
        last = self._refusals[-1] if self._refusals else {}
        cut = {k: v[:_MESSAGE_CHARS] for k, v in fields.items()}
        if all(last.get(k) == cut[k] for k in ("reason", "message")):
            last.update(cut)  # told by the judgement first, then by the source
        elif len(self._refusals) < _REFUSALS:
            self._refusals.append({**cut})

    def _write(self, ended: str, outcome: str, reason: str | None, message: str | None) -> None:
        record: dict[str, object] = {
            "time": self._now().isoformat(timespec="seconds"),
            "version": self._version,
            "ended": ended,
            "attempt": self._attempt,
            "seconds": round(self._monotonic() - self._began, 3),
            "outcome": outcome,
            "reason": None if reason is None else str(reason),
            "message": None if message is None else message[:_MESSAGE_CHARS],
            **self._facts,
            "refusals": self._refusals,
        }
        self._file.append(record)
