# SPDX-License-Identifier: Apache-2.0
"""Runs the agent as a process of its own and hears its log lines, one JSON object each."""

import json
import os
import queue
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from xpu_emulator.errors import EmulatorError

_STOP_SECONDS = 10.0
_END = object()

Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Usage:
    """What one run of the agent cost."""

    wall_seconds: float
    cpu_seconds: float
    peak_mib: float


@dataclass(frozen=True, slots=True)
class Run:
    """How one run ended: exit status, what it cost, and the events it logged."""

    status: int
    usage: Usage
    events: tuple[Fields, ...]
    other_lines: tuple[str, ...]

    @property
    def outcome(self) -> Fields:
        """The fields of its last event `run-ended`; empty where there is none."""
        ended = [event for event in self.events if event.get("event") == "run-ended"]
        return ended[-1] if ended else {}


def find_agent(command: str | None) -> tuple[str, ...]:
    """The agent's command line, without arguments.

    Raises:
        EmulatorError: there is no agent here.
    """
    if command is not None:
        words = tuple(shlex.split(command))
        if not words or shutil.which(words[0]) is None:
            raise EmulatorError(f"there is no command {command!r}; name the agent with --agent")
        return words
    if find_spec("xpu_agent") is not None:
        return (sys.executable, "-m", "xpu_agent")
    found = shutil.which("xpu-agent")
    if found is None:
        raise EmulatorError("xpu-agent is not installed here; install it or name it with --agent")
    return (found,)


class AgentProcess:
    """Starts the agent and hears what it says, and what servers saw, in one order."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = tuple(command)
        self._queue: queue.Queue[object] = queue.Queue()
        self._process: subprocess.Popen[bytes] | None = None

    def put(self, seen: object) -> None:
        """Something a server saw; may be called from any thread."""
        self._queue.put(seen)

    def run(self, config: Path, *arguments: str, heard: Callable[[object], None]) -> Run:
        """Run one command to its end; `heard` gets everything in the order it came in."""
        began = time.monotonic()
        command = [*self._command, "--config", str(config), "--log-format", "json", "-v"]
        process = subprocess.Popen(
            [*command, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            # Ctrl-C reaches us alone; we stop the agent and wait for it.
            start_new_session=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        self._process = process
        events: list[Fields] = []
        others: list[str] = []
        reader = threading.Thread(target=self._read, args=(process,), daemon=True)
        reader.start()
        try:
            while (item := self._queue.get()) is not _END:
                match item:
                    case dict():
                        events.append(item)
                    case str():
                        others.append(item)
                    case _:
                        pass
                heard(item)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        except BaseException:
            self.stop()
            raise
        finally:
            reader.join(_STOP_SECONDS)
            if process.stderr is not None:
                process.stderr.close()
        while not self._queue.empty():
            heard(self._queue.get())
        return Run(
            process.returncode,
            Usage(
                time.monotonic() - began,
                usage.ru_utime + usage.ru_stime,
                usage.ru_maxrss / 1024,
            ),
            tuple(events),
            tuple(others),
        )

    def stop(self) -> None:
        """End the agent if it runs, and wait for it."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stderr is not None  # noqa: S101  # asked for above
        for raw in process.stderr:
            line = raw.decode("utf-8", "replace").strip()
            try:
                value = json.loads(line)
            except ValueError:
                value = line
            if value:
                self._queue.put(value if isinstance(value, dict) else line)
        self._queue.put(_END)
