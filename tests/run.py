# SPDX-License-Identifier: Apache-2.0
"""`make test`: say what will run, what won't and why, and how long; then run it, units first.

python -m tests.run [all|quick|PATH...] [pytest options]
"""

import contextlib
import io
import json
import os
import sys
import time
from collections import Counter

import pytest
from tests import suites

DURATIONS = suites.TESTS / "durations.json"  # seconds per suite on two cores, as last recorded


class _Overview:
    """Collects counts and the skips that are known before a test runs."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.skips: Counter[str] = Counter()
        self.errors: list[str] = []

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        for item in session.items:
            self.counts[suites.suite_of(item.path)] += 1
            reason = _known_skip(item)
            if reason:
                self.skips[reason] += 1

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.errors.append(f"{report.nodeid}: {report.longreprtext.strip()[-400:]}")
        elif report.skipped and isinstance(report.longrepr, tuple):
            self.skips[f"{report.nodeid}: {report.longrepr[2]}"] += 1


def _known_skip(item: pytest.Item) -> str | None:
    if (mark := item.get_closest_marker("skip")) is not None:
        return str(mark.kwargs.get("reason", "no reason given"))
    for mark in item.iter_markers("skipif"):
        if mark.args and mark.args[0] is True:
            return str(mark.kwargs.get("reason", "no reason given"))
    return None


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _overview(selection: list[str]) -> _Overview:
    overview = _Overview()
    with contextlib.redirect_stdout(io.StringIO()):
        pytest.main(["--collect-only", "-qq", "-p", "no:cacheprovider", *selection], [overview])
    return overview


def main(arguments: list[str]) -> int:
    """Run the tests asked for; the exit status is pytest's, of the first part that failed."""
    quick = "quick" in arguments
    options = [a for a in arguments if a.startswith("-")]
    paths = [a for a in arguments if not a.startswith("-") and a not in {"all", "quick"}]
    selection = ["-m", "not slow"] if quick else []

    overview = _overview(selection + paths)
    for error in overview.errors:
        _say(f"cannot be collected: {error}")
    recorded = json.loads(DURATIONS.read_text("utf-8")) if DURATIONS.is_file() else {}
    seconds = sum(recorded.get("quick" if quick else "all", {}).get(s, 0) for s in overview.counts)
    listed = ", ".join(f"{overview.counts[s]} {s}" for s in suites.ORDER if overview.counts[s])
    _say(f"to run: {listed or 'nothing'}; about {max(1, round(seconds / 60))} min on two cores")
    if quick:
        _say("left out: tests marked slow (make test runs them)")
    for reason, count in sorted(overview.skips.items()):
        _say(f"skipped: {count} because {reason}")

    # Nothing of the machine's proxy settings reaches a test, a server or an agent.
    for name in [n for n in os.environ if n.lower().endswith("_proxy")]:
        del os.environ[name]

    took: dict[str, int] = {}
    status = 0
    for suite in suites.ORDER:
        folder = suites.TESTS / suite
        chosen = [p for p in paths if f"tests/{suite}" in p] if paths else [str(folder)]
        if not overview.counts[suite] or not chosen:
            continue
        _say(f"\n--- {suite}")
        began = time.monotonic()
        # A process each: a suite starts clean, and what one leaks can't help another.
        # Side by side, but for the system's tests: those look at the whole machine.
        workers = "0" if suite == "system" else "2"
        status = int(_run_suite([*selection, "-q", "-n", workers, *options, *chosen]))
        took[suite] = round(time.monotonic() - began)
        if status not in {0, 5}:
            break
    if "--record" in arguments or os.environ.get("XPU_AGENT_RECORD"):
        recorded["quick" if quick else "all"] = took
        DURATIONS.write_text(json.dumps(recorded, indent=1) + "\n", "utf-8")
    return 0 if status == 5 else status


def _run_suite(arguments: list[str]) -> int:
    import subprocess

    return subprocess.run([sys.executable, "-m", "pytest", *arguments], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
