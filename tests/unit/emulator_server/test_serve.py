# SPDX-License-Identifier: Apache-2.0
"""The `serve` command, as a process."""

import http.client
import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import pytest
from tests.unit.emulator_server.certificates import issue
from tests.unit.emulator_server.test_https import Client
from tests.unit.emulator_server.test_server import GET, REDIRECT, REPORT, SERVER, post

from xpu_emulator.messages import Response
from xpu_emulator.rpc import ProgressType
from xpu_emulator.scenario import example_scenario
from xpu_emulator.serve import Until, exchange_line
from xpu_emulator.server import BootstrapServer, Exchange

ROOT = Path(__file__).parents[3]
SCENARIO = """
format: xpu-emulator-scenario/1
devices: [XPU-1]
servers:
  - name: a
    answers: [{onboarding: {configuration: x}}]
file-server:
  tls: false
  files: {/f: text}
"""


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    path = tmp_path / "scenario.yaml"
    path.write_text(SCENARIO)
    return path


class Served:
    def __init__(self, process: "subprocess.Popen[str]", ready: dict[str, Any]) -> None:
        self.process = process
        self.ready = ready

    def ask(self, target: str, **leaves: object) -> int:
        device = self.ready["devices"]["XPU-1"]
        context = ssl.create_default_context(cafile=self.ready["anchors"]["servers"])
        context.load_cert_chain(device["certificate"], device["private-key"])
        body = {f"{SERVER}:input": {key.replace("_", "-"): v for key, v in leaves.items()}}
        port = urlsplit(self.ready["servers"]["a"]).port
        with Client("localhost", port, context=context, timeout=5) as client:
            return client.ask(target, json.dumps(body).encode())[0]

    def download(self, path: str) -> bytes:
        url = urlsplit(self.ready["files"][path])
        client = http.client.HTTPConnection("127.0.0.1", url.port, timeout=5)
        client.request("GET", url.path)
        octets = client.getresponse().read()
        client.close()
        return octets

    def end(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=10)
        return self.process.returncode, out, err


def valid(document: dict[str, Any], schema: str) -> None:
    path = ROOT / "emulator" / "xpu_emulator" / "schemas" / f"{schema}.schema.json"
    jsonschema.validate(document, json.loads(path.read_text()), cls=jsonschema.Draft202012Validator)


def command(*arguments: str | Path) -> list[str]:
    code = "import sys; from xpu_emulator.cli import main; sys.exit(main())"
    return [sys.executable, "-c", code, "serve", *map(str, arguments)]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT / "emulator"), "PYTHONWARNINGS": "error"}


@contextmanager
def serving(scenario: Path, *arguments: str | Path) -> Iterator[Served]:
    ready = scenario.parent / "ready.json"
    with subprocess.Popen(
        command(scenario, "--ready-file", ready, *arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as process:
        try:
            end = time.monotonic() + 10
            while not ready.exists() and process.poll() is None and time.monotonic() < end:
                time.sleep(0.01)
            yield Served(process, json.loads(ready.read_text()))
        finally:
            process.kill()


def test_until_is_reached(scenario: Path) -> None:
    events = scenario.parent / "events.jsonl"
    with serving(
        scenario, "--events", events, "--until", "bootstrap-complete=XPU-1", "--timeout", "20"
    ) as served:
        assert served.ask(GET, os_name="a\nb", nonce="AAAA") == 400
        assert served.ask(GET, os_name="x") == 200
        assert served.download("/f") == b"text"
        assert served.ask(REPORT, progress_type="bootstrap-complete", message="done") == 204
        status, out, err = served.end()
    assert (status, err) == (0, "")
    assert "a: XPU-1 POST get-bootstrapping-data -> 400" in out
    assert "! /input/nonce has 3 octets, not 16 to 32 (SZTP-7.3-06)" in out
    assert "a: XPU-1 get-bootstrapping-data os-name=x -> 200" in out
    assert "a: XPU-1 report bootstrap-complete: done -> 204" in out
    assert "GET /f -> 200" in out
    told = [json.loads(line) for line in events.read_text().splitlines()]
    asked = [e["event"] for e in told if e["event"] in {"request", "report"}]
    assert asked == ["request", "request", "report"]
    assert told[-1]["progress-type"] == "bootstrap-complete"
    assert {e["format"] for e in told} == {"xpu-emulator-event/1"}
    assert {e["event"] for e in told} == {"connection", "request", "report", "file"}
    for event in told:
        valid(event, "event")
    valid(served.ready, "ready")
    assert not (scenario.parent / "ready.json").exists()
    assert not Path(served.ready["anchors"]["servers"]).exists()


def test_time_runs_out(scenario: Path) -> None:
    with serving(scenario, "--until", "bootstrap-complete=XPU-1", "--timeout", "0.2") as served:
        assert served.end()[0] == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_cleanly(scenario: Path, number: signal.Signals) -> None:
    pki = scenario.parent / "pki"
    with serving(scenario, "--pki", pki) as served:
        served.process.send_signal(number)
        status, out, err = served.end()
    assert (status, err) == (0, "")
    assert "a listens on https://localhost:" in out
    assert (pki / "anchors" / "servers.pem").exists()


def test_signal_while_waiting_is_no_success(scenario: Path) -> None:
    with serving(scenario, "--until", "bootstrap-complete=XPU-1") as served:
        served.process.send_signal(signal.SIGTERM)
        assert served.end()[0] == 128 + signal.SIGTERM


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("nothing.yaml",), "cannot be read"),
        ((example_scenario(), "--until", "bootstrap-complete=XPU-9"), "no device 'XPU-9'"),
        ((example_scenario(), "--until", "finished=XPU-0001"), "not PROGRESS-TYPE=SERIAL-NUMBER"),
        ((example_scenario(), "--timeout", "soon"), "no number of seconds"),
        ((example_scenario(), "--events", "/nowhere/e"), "can't write /nowhere/e"),
        ((example_scenario(), "--ready-file", "/nowhere/r"), "can't write /nowhere/r"),
    ],
)
def test_bad_input_is_status_2(arguments: tuple[str | Path, ...], text: str) -> None:
    result = subprocess.run(
        command(*arguments), capture_output=True, text=True, check=False, env=environment()
    )
    assert result.returncode == 2
    assert text in result.stderr
    assert "Traceback" not in result.stderr


def exchange(body: dict[str, object], status: int = 204, serial_number: str = "XPU-1") -> Exchange:
    server = BootstrapServer("a")
    server.set_answer(None, REDIRECT)
    for progress_type in ProgressType:
        server.answer_report(progress_type, Response(status))
    certificate = issue("device", serial_number=serial_number).der
    server.handle(post(REPORT, body, certificate=certificate))
    return server.exchanges[0]


@pytest.mark.parametrize(
    ("made", "reached"),
    [
        (exchange({"progress-type": "bootstrap-complete"}), True),
        (exchange({"progress-type": "bootstrap-complete"}, status=500), False),
        (exchange({"progress-type": "bootstrap-complete"}, serial_number="XPU-2"), False),
        (exchange({"progress-type": "bootstrap-error"}), False),
        (exchange({}), False),
    ],
)
def test_until_wants_the_acknowledged_report_of_that_device(made: Exchange, reached: bool) -> None:
    assert Until(ProgressType.BOOTSTRAP_COMPLETE, "XPU-1").reached(made) is reached


def test_text_of_a_device_is_escaped_and_bounded() -> None:
    made = exchange({"progress-type": "informational", "message": "a\nb\u202e" + "c" * 1000})
    line = exchange_line(made)
    assert line.startswith("a: XPU-1 report informational: a\\nb")
    assert line.isprintable()
    assert len(line) < 400
