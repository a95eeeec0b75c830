# SPDX-License-Identifier: Apache-2.0
"""The history: one record an attempt, bounded, and no cut costs more than its own line."""

import json
import logging
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from xpu_agent import limits
from xpu_agent.errors import Reason
from xpu_agent.lifecycle import AgentState, State
from xpu_agent.ports import (
    Event,
    Judged,
    Outcome,
    OutcomeKind,
    RunEnded,
    ServerContacted,
    SourceTried,
    StageFinished,
    StateChanged,
    Waiting,
)
from xpu_agent.progress import Stage, StageResult
from xpu_agent.store.history import HistoryFile, HistoryListener

NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)


class Ticks:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def listener(path: Path, ticks: Ticks | None = None) -> HistoryListener:
    return HistoryListener(
        HistoryFile(path), version="1.0", now=lambda: NOW, monotonic=ticks or Ticks()
    )


def records(path: Path) -> list[dict[str, Any]]:
    schema = json.loads(
        resources.files("xpu_agent").joinpath("schemas/history.schema.json").read_text()
    )
    found = [dict(r) for r in HistoryFile(path).read()]
    for record in found:
        jsonschema.validate(record, schema)
    return found


def attempt(number: int) -> list[Event]:
    return [
        StateChanged(AgentState(state=State.DISCOVERING, attempt=number)),
        SourceTried("dhcp", "eth0"),
        SourceTried("dhcp", "eth0", Reason.NO_SOURCE, "nobody answered"),
        SourceTried("bootstrap-servers", "https://a.example:443"),
        ServerContacted("a.example", 443, "192.0.2.1", trusted=True, depth=0),
        Judged((), "refused", Reason.VOUCHER_EXPIRED, "too old"),
        StageFinished(Stage.PARSING, StageResult.ERROR, 0.1, Reason.VOUCHER_EXPIRED, "too old"),
        SourceTried("bootstrap-servers", "x", Reason.VOUCHER_EXPIRED, "too old"),
        StateChanged(AgentState(state=State.WAITING, attempt=number)),
    ]


def test_an_attempt_and_a_run_leave_a_record_each(tmp_path: Path) -> None:
    path, ticks = tmp_path / "h/history.jsonl", Ticks()
    history = listener(path, ticks)
    for event in attempt(1):
        history.emit(event)
    ticks.now = 2.5
    for seconds in (60.0, 30.0, 1.0):  # said again while it waits
        history.emit(Waiting(seconds, Reason.VOUCHER_EXPIRED, "too old"))
    history.emit(StateChanged(AgentState(state=State.DISCOVERING, attempt=2)))
    ticks.now = 3.0
    history.emit(RunEnded(Outcome(OutcomeKind.COMPLETED)))
    first, second = records(path)
    assert first == {
        "format": "xpu-agent-history/1",
        "time": "2026-11-27T12:00:00+00:00",
        "version": "1.0",
        "ended": "attempt",
        "attempt": 1,
        "seconds": 2.5,
        "outcome": "waiting",
        "reason": "voucher-expired",
        "message": "too old",
        "state": "waiting",
        "method": "sztp",
        "source": "bootstrap-servers",
        "origin": "https://a.example:443",
        "server": "a.example:443",
        "server-trusted": True,
        "verdict": "refused",
        "failed-stage": "parsing",
        "refusals": [
            {"source": "dhcp", "reason": "no-source", "message": "nobody answered"},
            {
                "source": "bootstrap-servers",
                "reason": "voucher-expired",
                "message": "too old",
            },
        ],
    }
    assert (second["ended"], second["attempt"], second["outcome"]) == ("run", 2, "completed")
    assert second["seconds"] == 0.5
    assert second["refusals"] == []
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_run_with_nothing_to_do_leaves_none(tmp_path: Path) -> None:
    listener(tmp_path / "h").emit(RunEnded(Outcome(OutcomeKind.NOTHING_TO_DO)))
    assert records(tmp_path / "h") == []


@pytest.mark.parametrize("kind", list(OutcomeKind))
def test_every_outcome_fits_the_schema(tmp_path: Path, kind: OutcomeKind) -> None:
    listener(tmp_path / "h").emit(RunEnded(Outcome(kind, Reason.TIMEOUT, "late")))
    assert len(records(tmp_path / "h")) == (kind is not OutcomeKind.NOTHING_TO_DO)


def test_a_hostile_source_cannot_make_a_record_large(tmp_path: Path) -> None:
    history = listener(tmp_path / "h")
    for n in range(1000):
        history.emit(SourceTried("s" * 10_000, "o" * 10_000, Reason.MALFORMED, f"{n} " * 10_000))
    history.emit(RunEnded(Outcome(OutcomeKind.REFUSED, Reason.MALFORMED, "\x1b\u20ac" * 10_000)))
    (record,) = records(tmp_path / "h")
    assert len(record["refusals"]) == 32
    assert (tmp_path / "h").stat().st_size < 64 * limits.KIB


def test_it_is_bounded_by_number(tmp_path: Path) -> None:
    file = HistoryFile(tmp_path / "h")
    for number in range(limits.HISTORY_RECORDS + 20):
        file.append({"number": number})
    kept = [r["number"] for r in file.read()]
    assert len(kept) <= limits.HISTORY_RECORDS
    assert kept[-1] == limits.HISTORY_RECORDS + 19
    assert kept == list(range(kept[0], kept[-1] + 1))  # the newest, in order
    assert (tmp_path / "h").stat().st_mode & 0o777 == 0o600


def test_it_is_bounded_by_size(tmp_path: Path) -> None:
    file = HistoryFile(tmp_path / "h")
    for number in range(20):
        file.append({"number": number, "filler": "x" * 32 * limits.KIB})
        assert (tmp_path / "h").stat().st_size <= limits.HISTORY_BYTES
    assert [r["number"] for r in file.read()][-1] == 19


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_a_record_cut_by_a_power_failure_costs_only_itself(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "h"
    file = HistoryFile(path)
    for number in range(3):
        file.append({"number": number})
    content = path.read_bytes()
    path.write_bytes(content[:-cut])
    file.append({"number": 3})
    numbers = [r["number"] for r in file.read()]
    assert numbers == [0, 1, 2, 3] if cut == 1 else numbers == [0, 1, 3]


@pytest.mark.parametrize("rubbish", [b"\0" * 1000, b"[" * 5000 + b"\n", b"{}\n", b"\xff\n", b"5\n"])
def test_rubbish_is_passed_over(tmp_path: Path, rubbish: bytes) -> None:
    (tmp_path / "h").write_bytes(rubbish)
    file = HistoryFile(tmp_path / "h")
    assert list(file.read()) == []
    file.append({"number": 1})
    assert [r["number"] for r in file.read()] == [1]


def test_a_file_that_grew_beyond_its_bound_comes_back(tmp_path: Path) -> None:
    (tmp_path / "h").write_bytes(b"x" * (4 * limits.HISTORY_BYTES))
    file = HistoryFile(tmp_path / "h")
    file.append({"number": 1})
    assert (tmp_path / "h").stat().st_size < 1000
    assert [r["number"] for r in file.read()] == [1]


def test_a_folder_that_cannot_be_written_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    history = listener(tmp_path / "file/h")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            history.emit(RunEnded(Outcome(OutcomeKind.FAILED, Reason.INTERNAL, "x")))
    assert len(caplog.records) == 1
