# SPDX-License-Identifier: Apache-2.0
"""Files made here belong to their owner alone, whatever the umask of the caller."""

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)
