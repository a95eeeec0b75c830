# SPDX-License-Identifier: Apache-2.0
"""Start time and a whole run, each beside the bare interpreter's.

`xpu-agent --help` and `status`, and a whole `run` against servers on loopback with a 1 MiB image,
as processes of their own: wall, processor time and peak memory, medians of several.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from tests.harness import SERIAL, Lab, file_uri, lab

TIMES = int(os.environ.get("BENCH_TIMES", "10"))
MIB = 1024 * 1024


@dataclass(frozen=True)
class Cost:
    """Of one process."""

    wall: float
    cpu: float
    peak: float  # MiB


def measure(command: Sequence[str], expected: int = 0) -> Cost:
    """Run it once."""
    began = time.monotonic()
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == expected, process.returncode
    wall = time.monotonic() - began
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def median(costs: Sequence[Cost]) -> Cost:
    """Of each figure by itself."""
    return Cost(
        *(statistics.median(getattr(c, name) for c in costs) for name in ("wall", "cpu", "peak"))
    )


def main() -> None:
    """Print a table; the last column is wall time beside the bare interpreter's."""
    bare = median([measure([sys.executable, "-c", "pass"]) for _ in range(TIMES)])
    agent = [sys.executable, "-m", "xpu_agent"]
    rows: list[tuple[str, Cost]] = [("python -c pass", bare)]
    rows.append(("xpu-agent --help", _many(lambda: measure([*agent, "--help"]))))
    with tempfile.TemporaryDirectory() as folder, lab(Path(folder)) as it:
        rows += _runs(it, agent)
    sys.stdout.write(f"{'':34}{'wall s':>8}{'cpu s':>8}{'MiB':>6}{'x bare':>8}\n")
    for name, cost in rows:
        sys.stdout.write(
            f"{name:34}{cost.wall:8.3f}{cost.cpu:8.3f}{cost.peak:6.0f}"
            f"{cost.wall / bare.wall:8.1f}\n"
        )


def _many(run: Callable[[], Cost]) -> Cost:
    return median([run() for _ in range(TIMES)])


def _runs(it: Lab, agent: Sequence[str]) -> list[tuple[str, Cost]]:
    image = os.urandom(MIB)
    owner, files = it.server(), it.files({"/image": image})
    document = it.onboarding(
        os_name="ExampleXPU",
        os_version="2.0",
        download_uris=[file_uri(files)],
        image_sha256=sha256(image).digest(),
    )
    first, second = [], []
    for number in range(TIMES):
        serial = f"{SERIAL}-{number}"
        owner.server.set_answer(serial, it.signed(document, serial=serial, level="verbose"))
        device = it.device(servers=[owner], serial=serial)
        command = [*agent, "--config", str(device.config)]
        first.append(measure([*command, "run"], expected=20))
        second.append(measure([*command, "run"]))
    status = _many(lambda: measure([*command, "status"]))
    again = _many(lambda: measure([*command, "run"]))
    return [
        ("xpu-agent status", status),
        ("run: judge, 1 MiB image, report", median(first)),
        ("run: after the reboot, to the end", median(second)),
        ("run: provisioned already", again),
    ]


if __name__ == "__main__":
    main()
