# SPDX-License-Identifier: Apache-2.0
"""The lab of each test: a device to run commands on."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.harness import Lab, lab


@pytest.fixture(name="lab")
def _lab(tmp_path: Path) -> Iterator[Lab]:
    with lab(tmp_path) as it:
        yield it
