# SPDX-License-Identifier: Apache-2.0
"""The public status file: `status.json`, format `xpu-agent-status/1`, readable by everybody.

It mirrors the state machine and says what is going on now, without secrets and payloads. It is
built from events alone and replaced as a whole, so a reader never needs the agent, nor waits for
it, and never sees half of it. It vanishes with the boot, so nothing is forced to disk.
"""

import contextlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xpu_agent import limits
from xpu_agent.atomic_write import write_atomically
from xpu_agent.device import RunningImage
from xpu_agent.errors import Reason, StateError, XpuAgentError
from xpu_agent.store.file_store import make_run_folder

if TYPE_CHECKING:
    from xpu_agent.lifecycle import AgentState, TrialImage
    from xpu_agent.ports import Event
    from xpu_agent.trust.signed_data import CheckedStep

FORMAT = "xpu-agent-status/1"
NAME = "status.json"

_MODE = 0o644
_STEPS = 64  # of one attempt; a hostile source makes no more
_MESSAGE_CHARS = 512
_PROGRESS_SECONDS = 1.0  # between two writes for the sake of image progress alone
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class InterfaceStatus:
    """One link as the status file shows it."""

    name: str
    state: str
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DhcpStatus:
    """One DHCP answer as the status file shows it."""

    interface: str
    server: str
    offered: str


class StatusListener:
    """`ports.Events`: keeps the status file current.

    `running` is the image that runs, where known. `load_state` gives the state the device is in
    before anything happens: a provisioned device is shown as such. A file that can't be written
    is said once and never disturbs the run.
    """

    def __init__(
        self,
        run: Path,
        *,
        version: str,
        serial_number: str | None,
        pid: int,
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
        running: RunningImage | None = None,
        switched_on: Callable[[], bool] = lambda: True,
        load_state: "Callable[[], AgentState] | None" = None,
    ) -> None:
        self._path = run / NAME
        self._now = now
        self._monotonic = monotonic
        self._switched_on = switched_on
        self._written = float("-inf")
        self._failed = False
        self._attempt = 0
        self._document: dict[str, Any] = {
            "format": FORMAT,
            "version": version,
            "pid": pid,
            "serial-number": serial_number,
            "updated": None,
            "state": "factory",
            "method": "sztp",
            "attempt": 0,
            "since": None,
            "source": None,
            "last-reason": None,
            "last-message": None,
            "next-retry": None,
            "server": None,
            "trust": _no_trust(),
            "checks": [],
            "steps": [],
            "network": {"interfaces": [], "dhcp": []},
            "image": {"wanted": None, "running": _running(running), "written": None, "size": None},
            "outcome": None,
        }
        if load_state is not None:
            # A document that can't be read is told by the run itself.
            with contextlib.suppress(StateError):
                self._change(load_state())

    def identify(self, serial_number: str, running: RunningImage) -> None:
        """Who the device is and what it runs, once that was read."""
        self._document["serial-number"] = serial_number
        self._document["image"]["running"] = _running(running)

    def network(
        self, interfaces: Sequence[InterfaceStatus], dhcp: Sequence[DhcpStatus] = ()
    ) -> None:
        """Show these links and DHCP answers from now on."""
        self._document["network"] = {
            "interfaces": [
                {"name": i.name, "state": i.state, "addresses": list(i.addresses)}
                for i in interfaces
            ],
            "dhcp": [
                {"interface": d.interface, "server": d.server, "offered": _cut(d.offered)}
                for d in dhcp
            ],
        }
        self._write()

    def emit(self, event: "Event") -> None:
        """See `ports.Events`."""
        from xpu_agent import ports

        self._take(event)
        if isinstance(event, ports.ImageProgress):
            complete = event.done == event.total
            if not complete and self._monotonic() - self._written < _PROGRESS_SECONDS:
                return
        self._write()

    def _take(self, event: "Event") -> None:
        from xpu_agent import ports

        document = self._document
        match event:
            case ports.StateChanged(state=state):
                self._change(state)
            case ports.StageStarted():
                self._start_step(str(event.stage), event.detail)
            case ports.StageFinished():
                self._finish_step(event)
                if event.reason is not None:
                    self._blame(event.reason, event.message)
            case ports.SourceTried(source=source, reason=None):
                document["source"] = source
                document["server"], document["trust"] = None, _no_trust()
                document["checks"] = []
            case ports.SourceTried(reason=Reason() as reason):
                self._blame(reason, event.message)
            case ports.ServerContacted():
                document["server"] = {
                    "host": event.host,
                    "port": event.port,
                    "address": event.ip,
                    "redirects": event.depth,
                }
                document["trust"] = _no_trust()
                document["trust"]["server"] = "trusted" if event.trusted else "provisional"
            case ports.Judged(steps=steps):
                self._judged(steps)
                if event.reason is not None:
                    self._blame(event.reason, event.message)
            case ports.ImageProgress(done=done, total=total):
                document["image"]["written"], document["image"]["size"] = done, total
            case ports.Waiting(seconds=seconds):
                document["next-retry"] = _when(self._now() + timedelta(seconds=seconds))
                if event.reason is not None:
                    self._blame(event.reason, event.message)
            case ports.RunEnded(outcome=outcome):
                document["next-retry"] = None
                document["outcome"] = {
                    "kind": str(outcome.kind),
                    "reason": None if outcome.reason is None else str(outcome.reason),
                    "message": None if outcome.message is None else _cut(outcome.message),
                }
                if outcome.reason is not None:
                    self._blame(outcome.reason, outcome.message or "")
                # Onboarding itself turns the switch off: that device is provisioned, not disabled.
                off = outcome.kind is ports.OutcomeKind.NOTHING_TO_DO and self._is_off()
                if off and document["state"] != "provisioned":
                    document["state"] = "disabled"
            case ports.Note(event="image-wanted", fields=fields):
                document["image"]["wanted"] = _image(dict(fields))
            case ports.RedirectFollowed() | ports.ReportSent() | ports.Note():
                pass

    def _change(self, state: "AgentState") -> None:
        document = self._document
        if state.attempt != self._attempt:
            self._attempt = state.attempt
            document["steps"], document["checks"] = [], []
            document["server"], document["trust"] = None, _no_trust()
            document["next-retry"] = None
        document["state"] = str(state.state)
        document["method"] = state.method
        document["attempt"] = state.attempt
        document["since"] = None if state.since is None else _when(state.since)
        if state.source is not None:
            document["source"] = state.source
        if state.last_reason is not None:
            document["last-reason"] = str(state.last_reason)
        if state.trial is not None:
            document["image"]["wanted"] = _trial(state.trial)

    def _start_step(self, stage: str, detail: str) -> None:
        steps = self._document["steps"]
        if len(steps) >= _STEPS:
            del steps[0]
        steps.append(
            {
                "stage": stage,
                "detail": _cut(detail),
                "result": "running",
                "since": _when(self._now()),
                "seconds": None,
                "reason": None,
                "message": None,
            }
        )

    def _finish_step(self, event: Any) -> None:
        for step in reversed(self._document["steps"]):
            if step["stage"] == event.stage and step["result"] == "running":
                step["result"] = event.result.value
                step["seconds"] = round(event.seconds, 3)
                step["reason"] = None if event.reason is None else str(event.reason)
                step["message"] = _cut(event.message) or None
                return

    def _judged(self, steps: "Sequence[CheckedStep]") -> None:
        self._document["checks"] = [
            {
                "step": str(s.step),
                "result": str(s.result),
                "reason": None if s.reason is None else str(s.reason),
            }
            for s in steps
        ]
        trust = self._document["trust"]
        trust["voucher"] = _together(steps, "voucher-")
        trust["owner"] = _together(steps, "owner-certificate-", "conveyed-information-signature")

    def _blame(self, reason: Reason, message: str) -> None:
        self._document["last-reason"] = str(reason)
        self._document["last-message"] = _cut(message) or None

    def _is_off(self) -> bool:
        try:
            return not self._switched_on()
        except XpuAgentError:
            return False

    def _write(self) -> None:
        self._document["updated"] = _when(self._now())
        content = json.dumps(self._document, indent=2, ensure_ascii=True).encode("ascii") + b"\n"
        try:
            make_run_folder(self._path.parent)
            write_atomically(self._path, content, mode=_MODE, durable=False)
        except (OSError, StateError) as error:
            if not self._failed:
                _log.warning("the status file can't be written: %s", error)
            self._failed = True
        self._written = self._monotonic()


def read_status(run: Path) -> Mapping[str, Any] | None:
    """The status document in the folder `run`; None where no agent has run since the boot.

    Raises:
        StateError: `state-corrupt`: it can't be read, or is none.
    """
    path = run / NAME
    try:
        with path.open("rb") as file:
            content = file.read(limits.STATE_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StateError(Reason.STATE_CORRUPT, f"{path} can't be read: {error.strerror}") from error
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise StateError(Reason.STATE_CORRUPT, f"{path} is no JSON document") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise StateError(Reason.STATE_CORRUPT, f"{path} is not of the format {FORMAT}")
    return document


def _no_trust() -> dict[str, str | None]:
    return {"server": None, "voucher": None, "owner": None}


def _together(steps: "Sequence[CheckedStep]", *prefixes: str) -> str | None:
    """One word for the checks whose names begin so; None where none of them was made."""
    results = {str(s.result) for s in steps if str(s.step).startswith(prefixes)}
    if "failed" in results:
        return "failed"
    return "ok" if "ok" in results else None


def _running(image: RunningImage | None) -> dict[str, str | None] | None:
    if image is None:
        return None
    digest = None if image.sha256 is None else image.sha256.hex()
    return _named(image.os_name, image.os_version, digest)


def _trial(image: "TrialImage") -> dict[str, str | None]:
    return _named(image.os_name, image.os_version, image.sha256)


def _image(fields: Mapping[str, str]) -> dict[str, str | None]:
    return _named(fields.get("os-name"), fields.get("os-version"), fields.get("sha256"))


def _named(name: str | None, version: str | None, sha256: str | None) -> dict[str, str | None]:
    return {
        "os-name": None if name is None else _cut(name),
        "os-version": None if version is None else _cut(version),
        "sha256": sha256,
    }


def _when(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")


def _cut(text: str) -> str:
    return text if len(text) <= _MESSAGE_CHARS else text[: _MESSAGE_CHARS - 3] + "..."
