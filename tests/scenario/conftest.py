# SPDX-License-Identifier: Apache-2.0
"""The lab of each scenario: at its end no server has anything to say against our requests,
but for what the scenario names (`Lab.expected_violations`)."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.harness import Lab, lab


@pytest.fixture(name="lab")
def _lab(tmp_path: Path) -> Iterator[Lab]:
    with lab(tmp_path) as it:
        yield it
        violations = [v for each in it.servers for v in each.server.violations]
        assert {i for v in violations for i in v.requirement_ids} == it.expected_violations, (
            violations
        )
