# SPDX-License-Identifier: Apache-2.0
"""Order of the tests: units first, so that the nearest cause is the first to be seen."""

from pathlib import Path

import pytest
from tests import suites


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: suites.rank(Path(item.path)))
