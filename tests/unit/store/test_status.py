# SPDX-License-Identifier: Apache-2.0
"""The public status file: built from events, whole at every moment, without secrets."""

import json
import logging
import threading
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from xpu_agent.device import RunningImage
from xpu_agent.errors import Reason, StateError
from xpu_agent.lifecycle import AgentState, State, TrialImage
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
from xpu_agent.store.status import DhcpStatus, InterfaceStatus, StatusListener, read_status
from xpu_agent.trust.signed_data import CheckedStep, Step, StepResult

NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)


class Ticks:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def listener(run: Path, ticks: Ticks | None = None, *, on: bool = True) -> StatusListener:
    return StatusListener(
        run,
        version="1.0",
        serial_number="SN1",
        pid=42,
        now=lambda: NOW,
        monotonic=ticks or Ticks(),
        running=RunningImage("os", "1", b"\x01" * 32),
        switched_on=lambda: on,
    )


def status(run: Path) -> dict[str, Any]:
    document = read_status(run)
    assert document is not None
    schema = json.loads(
        resources.files("xpu_agent").joinpath("schemas/status.schema.json").read_text()
    )
    jsonschema.validate(document, schema)
    return dict(document)


def state(state: State, attempt: int = 1, **more: Any) -> StateChanged:
    return StateChanged(AgentState(state=state, since=NOW, attempt=attempt, **more))


def test_the_course_of_an_attempt(tmp_path: Path) -> None:
    run = tmp_path / "run"
    listens = listener(run)
    listens.emit(state(State.DISCOVERING))
    first = status(run)
    assert (first["state"], first["attempt"], first["since"]) == (
        "discovering",
        1,
        "2026-11-27T12:00:00+00:00",
    )
    assert (first["version"], first["serial-number"], first["pid"]) == ("1.0", "SN1", 42)
    assert first["image"]["running"] == {"os-name": "os", "os-version": "1", "sha256": "01" * 32}

    listens.emit(SourceTried("bootstrap-servers", "https://a.example:443"))
    listens.emit(StageStarted(Stage.CONTACT, "a.example:443"))
    assert status(run)["steps"][-1]["result"] == "running"
    listens.emit(ServerContacted("a.example", 443, "192.0.2.1", trusted=False, depth=2))
    listens.emit(StageFinished(Stage.CONTACT, StageResult.COMPLETE, 0.25))
    listens.emit(
        Judged(
            (
                CheckedStep(Step.VOUCHER_SIGNATURE, StepResult.OK),
                CheckedStep(Step.VOUCHER_NONCE, StepResult.SKIPPED),
                CheckedStep(
                    Step.OWNER_CERTIFICATE_PATH, StepResult.FAILED, Reason.OWNER_CERT_EXPIRED
                ),
            ),
            "refused",
            Reason.OWNER_CERT_EXPIRED,
            "too old",
        )
    )
    seen = status(run)
    assert seen["source"] == "bootstrap-servers"
    assert seen["server"] == {
        "host": "a.example",
        "port": 443,
        "address": "192.0.2.1",
        "redirects": 2,
    }
    assert seen["trust"] == {"server": "provisional", "voucher": "ok", "owner": "failed"}
    assert seen["checks"][-1] == {
        "step": "owner-certificate-path",
        "result": "failed",
        "reason": "owner-cert-expired",
    }
    assert (seen["last-reason"], seen["last-message"]) == ("owner-cert-expired", "too old")
    assert seen["steps"] == [
        {
            "stage": "contact",
            "detail": "a.example:443",
            "result": "complete",
            "since": "2026-11-27T12:00:00+00:00",
            "seconds": 0.25,
            "reason": None,
            "message": None,
        }
    ]

    listens.emit(state(State.WAITING, last_reason=Reason.OWNER_CERT_EXPIRED))
    listens.emit(Waiting(90.0, Reason.OWNER_CERT_EXPIRED, "too old"))
    assert status(run)["next-retry"] == "2026-11-27T12:01:30+00:00"

    listens.emit(state(State.DISCOVERING, attempt=2))
    fresh = status(run)
    assert (fresh["steps"], fresh["checks"], fresh["next-retry"]) == ([], [], None)
    assert fresh["trust"] == {"server": None, "voucher": None, "owner": None}

    listens.emit(RunEnded(Outcome(OutcomeKind.COMPLETED, message="done")))
    assert status(run)["outcome"] == {"kind": "completed", "reason": None, "message": "done"}


def test_a_new_source_starts_without_trust(tmp_path: Path) -> None:
    listens = listener(tmp_path)
    listens.emit(ServerContacted("a", 443, "192.0.2.1", trusted=True, depth=0))
    assert status(tmp_path)["trust"]["server"] == "trusted"
    listens.emit(SourceTried("dns", "local"))
    assert status(tmp_path)["trust"]["server"] is None


@pytest.mark.parametrize("kind", list(OutcomeKind))
def test_every_outcome_fits_the_schema(tmp_path: Path, kind: OutcomeKind) -> None:
    listener(tmp_path).emit(RunEnded(Outcome(kind, Reason.TIMEOUT, "late")))
    assert status(tmp_path)["outcome"]["kind"] == kind


@pytest.mark.parametrize("each", list(State))
def test_every_state_fits_the_schema(tmp_path: Path, each: State) -> None:
    listener(tmp_path).emit(state(each))
    assert status(tmp_path)["state"] == each


@pytest.mark.parametrize("result", list(StageResult))
@pytest.mark.parametrize("stage", list(Stage))
def test_every_stage_fits_the_schema(tmp_path: Path, stage: Stage, result: StageResult) -> None:
    listens = listener(tmp_path)
    listens.emit(StageStarted(stage))
    listens.emit(StageFinished(stage, result, 1.0, None, "said"))
    assert status(tmp_path)["steps"][0]["result"] == result.value


def test_a_switched_off_device_is_disabled(tmp_path: Path) -> None:
    ended = RunEnded(Outcome(OutcomeKind.NOTHING_TO_DO))
    listener(tmp_path, on=False).emit(ended)
    assert status(tmp_path)["state"] == "disabled"
    listener(tmp_path, on=True).emit(ended)
    assert status(tmp_path)["state"] == "factory"


def test_the_state_before_anything_happens_is_shown(tmp_path: Path) -> None:
    def corrupt() -> AgentState:
        raise StateError(Reason.STATE_CORRUPT, "x")

    def provisioned() -> AgentState:
        return AgentState(state=State.PROVISIONED, since=NOW, attempt=3, source="dhcp")

    for load, shown in ((provisioned, "provisioned"), (corrupt, "factory")):
        listens = StatusListener(
            tmp_path,
            version="1",
            serial_number="SN1",
            pid=1,
            now=lambda: NOW,
            monotonic=Ticks(),
            load_state=load,
        )
        listens.emit(RunEnded(Outcome(OutcomeKind.NOTHING_TO_DO)))
        assert status(tmp_path)["state"] == shown


def test_a_switch_that_cannot_be_read_disturbs_nothing(tmp_path: Path) -> None:
    def unreadable() -> bool:
        raise StateError(Reason.STATE_CORRUPT, "x")

    listens = StatusListener(
        tmp_path,
        version="1",
        serial_number=None,
        pid=1,
        now=lambda: NOW,
        monotonic=Ticks(),
        switched_on=unreadable,
    )
    listens.emit(RunEnded(Outcome(OutcomeKind.NOTHING_TO_DO)))
    assert status(tmp_path)["state"] == "factory"


def test_the_image_wanted_is_known_from_a_note_or_the_trial(tmp_path: Path) -> None:
    listens = listener(tmp_path)
    listens.emit(Note("image-wanted", "x", fields=(("os-name", "n"), ("os-version", "2"))))
    wanted = {"os-name": "n", "os-version": "2", "sha256": None}
    assert status(tmp_path)["image"]["wanted"] == wanted
    listens.emit(state(State.TRIAL_BOOT, trial=TrialImage("a" * 64, "t", None)))
    wanted = {"os-name": "t", "os-version": None, "sha256": "a" * 64}
    assert status(tmp_path)["image"]["wanted"] == wanted


def test_links_are_shown(tmp_path: Path) -> None:
    listens = listener(tmp_path)
    listens.network(
        [InterfaceStatus("eth0", "up", ("192.0.2.2/24",))],
        [DhcpStatus("eth0", "192.0.2.1", "option 143")],
    )
    seen = status(tmp_path)["network"]
    assert seen["interfaces"] == [{"name": "eth0", "state": "up", "addresses": ["192.0.2.2/24"]}]
    assert seen["dhcp"][0]["server"] == "192.0.2.1"


def test_image_progress_is_written_once_a_second_and_at_the_end(tmp_path: Path) -> None:
    ticks = Ticks()
    listens = listener(tmp_path, ticks)

    def written() -> int | None:
        value = status(tmp_path)["image"]["written"]
        assert value is None or isinstance(value, int)
        return value

    listens.emit(StageStarted(Stage.BOOT_IMAGE))
    listens.emit(ImageProgress(1, 100))
    assert written() is None
    ticks.now = 1.0
    listens.emit(ImageProgress(2, 100))
    assert written() == 2
    ticks.now = 1.5
    listens.emit(ImageProgress(3, 100))
    assert written() == 2
    listens.emit(ImageProgress(100, 100))
    assert written() == 100


def test_it_stays_small(tmp_path: Path) -> None:
    listens = listener(tmp_path)
    for _ in range(300):
        listens.emit(StageStarted(Stage.CONTACT, "d" * 10_000))
        listens.emit(
            StageFinished(Stage.CONTACT, StageResult.ERROR, 1.0, Reason.TIMEOUT, "m" * 10_000)
        )
    assert len(status(tmp_path)["steps"]) == 64
    assert (tmp_path / "status.json").stat().st_size < 200_000


@pytest.mark.parametrize(
    "event",
    [
        RedirectFollowed(3, trusted=True, depth=1),
        ReportSent(ProgressType.BOOTSTRAP_COMPLETE, acknowledged=True),
        Note("else", "m", warning=True),
        StageFinished(Stage.UNDO, StageResult.COMPLETE, 1.0),
    ],
)
def test_every_other_event_is_taken(tmp_path: Path, event: Event) -> None:
    listener(tmp_path).emit(event)
    status(tmp_path)


def test_everybody_may_read_it_whatever_the_umask(tmp_path: Path) -> None:
    listener(tmp_path / "run").emit(state(State.FACTORY))
    assert (tmp_path / "run/status.json").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o755
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["status.json"]


def test_a_reader_never_sees_half_of_it(tmp_path: Path) -> None:
    listens = listener(tmp_path)
    listens.emit(state(State.FACTORY))
    done = threading.Event()
    seen: list[str] = []

    def read() -> None:
        while not done.is_set():
            seen.append(status(tmp_path)["format"])

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(200):
        listens.emit(StageStarted(Stage.CONTACT, "x" * number))
    done.set()
    reader.join()
    assert seen
    assert set(seen) == {"xpu-agent-status/1"}


def test_a_folder_that_cannot_be_written_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    listens = listener(tmp_path / "file/run")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            listens.emit(state(State.FACTORY))
    assert len(caplog.records) == 1


def test_no_file_is_no_status(tmp_path: Path) -> None:
    assert read_status(tmp_path) is None
    assert read_status(tmp_path / "no/such") is None


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"format": "x/1"}', b"\xff", b"[" * 9999])
def test_what_is_no_status_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "status.json").write_bytes(content)
    with pytest.raises(StateError):
        read_status(tmp_path)
