# SPDX-License-Identifier: Apache-2.0
"""`xpu-emulator serve`: a scenario's servers in the foreground, readable by people and machines.

Standard output has one line for each request and each failed connection; `--events` the same as
JSON lines. The ready file is written when everything listens. Exit status: 0 when what `--until`
waits for has happened (or, without it, after a signal), 1 when time ran out before, 2 for bad
input; a signal while waiting ends with 128 and its number, as shells say it.
"""

import argparse
import json
import os
import queue
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, TextIO, TypeAlias

from xpu_emulator.errors import EmulatorError
from xpu_emulator.https import Connection, FileRequest
from xpu_emulator.rpc import GetBootstrappingData, ProgressType, ReportProgress
from xpu_emulator.scenario import load_scenario
from xpu_emulator.scenario_run import RunningScenario
from xpu_emulator.server import Exchange

EXIT_REACHED = 0
EXIT_TIMEOUT = 1
EVENTS_FORMAT = "xpu-emulator-event/1"
_LONGEST_TEXT = 300


_News: TypeAlias = "Exchange | FileRequest | tuple[str, Connection] | int"


@dataclass(frozen=True, slots=True)
class Until:
    """Ends the run: a report of this type by this device, acknowledged with 204."""

    progress_type: ProgressType
    serial_number: str

    def reached(self, exchange: Exchange) -> bool:
        """Whether this exchange is it."""
        return (
            isinstance(exchange.input, ReportProgress)
            and exchange.input.progress_type is self.progress_type
            and exchange.serial_number == self.serial_number
            and exchange.response.status == 204
        )


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's arguments."""
    parser = subparsers.add_parser(
        "serve",
        help="bootstrap and file server from a scenario file",
        description="Run the servers of a scenario until a signal, a report or a time.",
    )
    parser.add_argument("scenario", type=Path, help="the scenario file (YAML)")
    parser.add_argument("--pki", type=Path, metavar="FOLDER", help="PKI folder to use, or to make")
    parser.add_argument(
        "--ready-file", type=Path, metavar="F", help="write URLs and anchors here, when all listen"
    )
    parser.add_argument(
        "--events", type=Path, metavar="F.jsonl", help="append each request as a JSON line"
    )
    parser.add_argument(
        "--until",
        type=_until,
        metavar="TYPE=SERIAL",
        action="append",
        default=[],
        help="end with status 0 after this report, e.g. bootstrap-complete=XPU-0001; "
        "given several times: after all of them",
    )
    parser.add_argument(
        "--timeout", type=_seconds, metavar="S", help="end with status 1 after so many seconds"
    )
    parser.set_defaults(handler=run)


def _until(text: str) -> Until:
    name, equals, serial_number = text.partition("=")
    names = {member.value: member for member in ProgressType}
    if not equals or not serial_number or name not in names:
        raise argparse.ArgumentTypeError(f"{text!r} is not PROGRESS-TYPE=SERIAL-NUMBER")
    return Until(names[name], serial_number)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return seconds


def run(arguments: argparse.Namespace) -> int:
    """Serve; returns the exit status."""
    scenario = load_scenario(arguments.scenario)
    waiting: list[Until] = list(arguments.until)
    known = {device.serial_number for device in scenario.devices}
    for until in waiting:
        if until.serial_number not in known:
            raise EmulatorError(f"--until: the scenario has no device {until.serial_number!r}")
    inbox: queue.SimpleQueue[_News] = queue.SimpleQueue()
    with ExitStack() as owned:
        if arguments.ready_file is not None:
            # One that a run before left behind would be taken for ours.
            arguments.ready_file.unlink(missing_ok=True)
        events = None if arguments.events is None else owned.enter_context(_log(arguments.events))
        owned.enter_context(_signals(inbox))
        running = owned.enter_context(
            RunningScenario(
                scenario,
                pki_folder=arguments.pki,
                on_exchange=inbox.put,
                on_connection=lambda server, made: inbox.put((server, made)),
                on_file_request=inbox.put,
            )
        )
        ready = running.ready()
        _announce(ready)
        if arguments.ready_file is not None:
            _write_atomically(arguments.ready_file, json.dumps(ready, indent=2) + "\n")
            owned.callback(arguments.ready_file.unlink, missing_ok=True)
        return _follow(inbox, waiting, arguments.timeout, events)


def _follow(
    inbox: "queue.SimpleQueue[_News]",
    waiting: list[Until],
    timeout: float | None,
    events: TextIO | None,
) -> int:
    """Print what happens until the end is reached."""
    end = None if timeout is None else time.monotonic() + timeout
    unlimited = not waiting
    while True:
        left = None if end is None else end - time.monotonic()
        try:
            # A time of zero or less can't be waited for, but what is there already counts.
            news = inbox.get(timeout=left) if left is None or left > 0 else inbox.get_nowait()
        except queue.Empty:
            return EXIT_TIMEOUT
        match news:
            case int():
                return EXIT_REACHED if unlimited else 128 + news
            case Exchange():
                print(exchange_line(news), flush=True)
                _append(events, exchange_event(news))
                waiting = [until for until in waiting if not until.reached(news)]
                if not waiting and not unlimited:
                    return EXIT_REACHED
            case FileRequest():
                print(file_line(news), flush=True)
                _append(events, file_event(news))
            case (server, connection):
                if connection.problem is not None:
                    print(f"{server}: {connection.peer} {_plain(connection.problem)}", flush=True)
                _append(events, connection_event(server, connection))


@contextmanager
def _signals(inbox: "queue.SimpleQueue[Any]") -> Iterator[None]:
    """Turn SIGINT and SIGTERM into news."""

    def note(number: int, _frame: FrameType | None) -> None:
        inbox.put(number)  # SimpleQueue may be used in signal handlers

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _log(path: Path) -> Iterator[TextIO]:
    try:
        file = path.open("a", encoding="utf-8", buffering=1)
    except OSError as error:
        raise EmulatorError(f"can't write {path}: {error.strerror}") from error
    with file:
        yield file


def _append(events: TextIO | None, event: dict[str, Any]) -> None:
    if events is not None:
        events.write(json.dumps(event, ensure_ascii=False) + "\n")


def _write_atomically(path: Path, text: str) -> None:
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except OSError as error:
        raise EmulatorError(f"can't write {path}: {error.strerror}") from error


def _announce(ready: dict[str, Any]) -> None:
    for name, url in ready["servers"].items():
        print(f"{name} listens on {url}")
    if ready["file-server"] is not None:
        print(f"files are at {ready['file-server']}")
    print(f"anchors: {ready['anchors']['servers']} {ready['anchors']['vouchers']}")
    sys.stdout.flush()


# Lines and events


def _plain(text: str) -> str:
    """A peer's text, printable and bounded."""
    escaped = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return escaped if len(escaped) <= _LONGEST_TEXT else f"{escaped[:_LONGEST_TEXT]}..."


def exchange_line(exchange: Exchange) -> str:
    """One exchange for people: who, what, the answer, and each finding on a line of its own."""
    what = f"{exchange.request.method} {_plain(exchange.request.target)}"
    match exchange.input:
        case ReportProgress(progress_type, message):
            what = f"report {progress_type}" + (f": {_plain(message)}" if message else "")
        case GetBootstrappingData():
            what = f"get-bootstrapping-data {_input_text(exchange.input)}".rstrip()
        case None if exchange.operation is not None:
            what = f"{exchange.request.method} {exchange.operation.value.partition(':')[2]}"
        case None:
            pass
    who = _plain(exchange.serial_number or exchange.request.peer or "somebody")
    answer = exchange.response.status or "no answer"
    lines = [f"{exchange.server}: {who} {what} -> {answer}"]
    lines += [f"  ! {_plain(v.text)} ({', '.join(v.requirement_ids)})" for v in exchange.violations]
    return "\n".join(lines)


def _input_text(data: GetBootstrappingData) -> str:
    words = [
        *(["signed-data-preferred"] if data.signed_data_preferred else []),
        *(
            f"{name}={_plain(value)}"
            for name, value in (
                ("hw-model", data.hw_model),
                ("os-name", data.os_name),
                ("os-version", data.os_version),
            )
            if value is not None
        ),
        *(["nonce"] if data.nonce is not None else []),
        *(["csr"] if data.csr is not None else []),
    ]
    return " ".join(words)


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")


def exchange_event(exchange: Exchange) -> dict[str, Any]:
    """One exchange for machines."""
    event: dict[str, Any] = {
        "format": EVENTS_FORMAT,
        "event": "request",
        "at": _moment(exchange.at),
        "server": exchange.server,
        "number": exchange.number,
        "peer": exchange.request.peer,
        "sni": exchange.request.sni,
        "serial-number": exchange.serial_number,
        "method": exchange.request.method,
        "target": exchange.request.target,
        "operation": exchange.operation.value if exchange.operation else None,
        "status": exchange.response.status,
        "violations": [
            {"requirements": list(violation.requirement_ids), "text": violation.text}
            for violation in exchange.violations
        ],
    }
    match exchange.input:
        case ReportProgress():
            event |= {
                "event": "report",
                "progress-type": exchange.input.progress_type.value,
                "message": exchange.input.message,
                "ssh-host-keys": [key.algorithm for key in exchange.input.ssh_host_keys],
                "trust-anchor-certs": len(exchange.input.trust_anchor_certs),
            }
        case GetBootstrappingData():
            event["input"] = {
                "signed-data-preferred": exchange.input.signed_data_preferred,
                "hw-model": exchange.input.hw_model,
                "os-name": exchange.input.os_name,
                "os-version": exchange.input.os_version,
                "nonce": exchange.input.nonce.hex() if exchange.input.nonce is not None else None,
                "csr": exchange.input.csr is not None,
            }
        case None:
            pass
    return event


def file_line(request: FileRequest) -> str:
    """One request to the file server for people."""
    what = f"{request.request.method} {_plain(request.request.target)}"
    start = f" from octet {request.first_octet}" if request.first_octet else ""
    return f"files: {request.request.peer} {what}{start} -> {request.status or 'no answer'}"


def file_event(request: FileRequest) -> dict[str, Any]:
    """One request to the file server for machines."""
    return {
        "format": EVENTS_FORMAT,
        "event": "file",
        "at": _moment(time.time()),
        "peer": request.request.peer,
        "method": request.request.method,
        "target": request.request.target,
        "range": request.request.header("Range"),
        "status": request.status,
    }


def connection_event(server: str, connection: Connection) -> dict[str, Any]:
    """One connection for machines."""
    return {
        "format": EVENTS_FORMAT,
        "event": "connection",
        "at": _moment(time.time()),
        "server": server,
        "peer": connection.peer,
        "sni": connection.sni,
        "tls": connection.tls_version,
        "client-chain": len(connection.client_chain),
        "problem": connection.problem,
    }
