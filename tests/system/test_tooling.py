# SPDX-License-Identifier: Apache-2.0
"""The tree is clean by the tools its settings are for: `make lint`, and the requirements table."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests import requirements
from tests.suites import TESTS

ROOT = TESTS.parent
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def _run(*command: str) -> None:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'agent'}:{ROOT / 'emulator'}"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]


def test_types_are_strict_and_clean() -> None:
    pytest.importorskip("mypy", reason="mypy is not installed (make lint installs it)")
    _run(sys.executable, "-m", "mypy")


@pytest.mark.parametrize("arguments", [("check",), ("format", "--check")])
def test_style_is_clean(arguments: tuple[str, ...]) -> None:
    pytest.importorskip("ruff", reason="ruff is not installed (make lint installs it)")
    _run(sys.executable, "-m", "ruff", *arguments, "agent", "emulator", "tests")


def test_layers_hold() -> None:
    pytest.importorskip("importlinter", reason="import-linter is not installed")
    _run(str(Path(sys.executable).with_name("lint-imports")), "--no-cache")


def test_every_requirement_has_its_tests_or_an_argument() -> None:
    assert requirements.missing() == []


def test_the_table_has_a_row_for_every_requirement() -> None:
    # Which tests it names follows the marks and is brought up to date with a release.
    table = requirements.TABLE.read_text("utf-8")
    assert [i for i in requirements.catalogue() if f"| {i} |" not in table] == []
