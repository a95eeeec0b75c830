# SPDX-License-Identifier: Apache-2.0
"""The folders of tests, in the order they run."""

from pathlib import Path

TESTS = Path(__file__).parent
ORDER = ("unit", "contracts", "property", "scenario", "system")


def suite_of(path: Path) -> str:
    """The folder below tests/ a test file stands in."""
    return path.relative_to(TESTS).parts[0]


def rank(path: Path) -> int:
    """Place in the order; unknown folders last."""
    suite = suite_of(path)
    return ORDER.index(suite) if suite in ORDER else len(ORDER)
