# SPDX-License-Identifier: Apache-2.0
"""The oldest supported dependencies: what touches them, tested with them (`make floors`)."""

import os
import re
import subprocess
import sys

import pytest
from tests.suites import TESTS

ROOT = TESTS.parent
# The folders whose code calls the libraries that have a floor.
TOUCHED = (
    *(f"tests/unit/{p}" for p in ("artifacts", "trust", "net", "keys", "emulator", "config")),
    "tests/scenario",
)
UNREACHABLE = re.compile(
    r"ConnectionError|Max retries|No matching distribution|timed out", re.IGNORECASE
)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the oldest PyYAML has 3.11 wheels")
def test_with_the_oldest_dependencies() -> None:
    done = subprocess.run(
        ["sh", "tests/floors.sh", *TOUCHED],
        cwd=ROOT,
        env={**os.environ, "PYTHON": sys.executable},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    began = "--- unit" in done.stdout
    if done.returncode != 0 and not began and UNREACHABLE.search(done.stdout):
        pytest.skip("the oldest packages can't be fetched here: no network")
    assert done.returncode == 0, done.stdout[-4000:]
    assert "passed" in done.stdout
