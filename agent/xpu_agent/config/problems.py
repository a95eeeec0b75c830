# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a configuration: collected, so that one look finds all of it."""

from dataclasses import dataclass
from pathlib import Path

TEXT_CHARS = 80  # of a value repeated in a message


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands: file and line (from 1; 0 for the file as a whole)."""

    file: Path
    line: int


@dataclass(frozen=True, slots=True)
class ConfigurationProblem:
    """One thing that is wrong: where it stands, its key (empty: the file), a sentence."""

    file: Path
    line: int
    key: str
    text: str

    def __str__(self) -> str:
        where = f"{shown(str(self.file), 400)}:{self.line}" if self.line else str(self.file)
        return f"{where}: {self.key}: {self.text}" if self.key else f"{where}: {self.text}"


class Problems:
    """Collects problems, in the order they are met."""

    def __init__(self) -> None:
        self.found: list[ConfigurationProblem] = []

    def add(self, place: Place, key: str, text: str) -> None:
        """Take note of one problem."""
        self.found.append(ConfigurationProblem(place.file, place.line, shown(key), text))


def shown(text: str, limit: int = TEXT_CHARS) -> str:
    """A file's own text in a message: printable ASCII, bounded."""
    cut = text if len(text) <= limit else text[: limit - 3] + "..."
    return cut.encode("unicode_escape").decode("ascii")
