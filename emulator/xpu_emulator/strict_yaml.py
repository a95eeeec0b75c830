# SPDX-License-Identifier: Apache-2.0
"""YAML read strictly: no tags, anchors or duplicate keys, and every problem with its line.

Scalars are text as written (`24.10` stays 24.10); numbers and switches are taken only where they
are asked for. An unknown key is refused with the nearest known one.
"""

import difflib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import NoReturn, TypeVar

import yaml

from xpu_emulator.errors import EmulatorError

_E = TypeVar("_E", bound=Enum)
_T = TypeVar("_T")
_D = TypeVar("_D")
_SWITCHES = {"true": True, "false": False}


class ScenarioError(EmulatorError):
    """The scenario can't be used; the message begins with file and line where there is one."""


@dataclass(frozen=True, slots=True)
class Item:
    """A value in the file, with its place."""

    file: str
    name: str
    node: yaml.Node

    def fail(self, text: str) -> NoReturn:
        """Refuse this value.

        Raises:
            ScenarioError: always.
        """
        place = f"{self.file}:{self.node.start_mark.line + 1}: "
        raise ScenarioError(place + (f"{self.name}: {text}" if self.name else text))

    @property
    def is_mapping(self) -> bool:
        """Whether it is a mapping."""
        return isinstance(self.node, yaml.MappingNode)

    def text(self) -> str:
        """A scalar as it is written."""
        if not isinstance(self.node, yaml.ScalarNode):
            self.fail("a text was expected")
        return str(self.node.value)

    def integer(self, least: int = 0, most: int = 2**40) -> int:
        """A whole number in these bounds."""
        text = self.text()
        try:
            number = int(text)
        except ValueError:
            self.fail(f"{text!r} is no whole number")
        if not least <= number <= most:
            self.fail(f"{number} is not between {least} and {most}")
        return number

    def seconds(self) -> float:
        """A number of seconds, zero or more."""
        text = self.text()
        try:
            number = float(text)
        except ValueError:
            self.fail(f"{text!r} is no number")
        if not 0 <= number < 1e6:
            self.fail(f"{text!r} is no time")
        return number

    def switch(self) -> bool:
        """`true` or `false`."""
        if self.text() not in _SWITCHES:
            self.fail(f"{self.text()!r} is neither true nor false")
        return _SWITCHES[self.text()]

    def choice(self, kind: type[_E]) -> _E:
        """A member of an enumeration, by its value."""
        members = {str(member.value): member for member in kind}
        if self.text() not in members:
            self.fail(_unknown("value", self.text(), members))
        return members[self.text()]

    def one_of(self, values: Collection[str]) -> str:
        """One of these words."""
        if self.text() not in values:
            self.fail(_unknown("value", self.text(), values))
        return self.text()

    def items(self) -> list["Item"]:
        """The entries of a list."""
        if not isinstance(self.node, yaml.SequenceNode):
            self.fail("a list was expected")
        return [
            Item(self.file, f"{self.name}[{number}]", entry)
            for number, entry in enumerate(self.node.value, start=1)
        ]

    def pairs(self) -> Iterator[tuple[str, "Item"]]:
        """Keys and values of a mapping whose keys are free."""
        if not isinstance(self.node, yaml.MappingNode):
            self.fail("a mapping was expected")
        seen: set[str] = set()
        for key_node, value in self.node.value:
            key = Item(self.file, self.name, key_node).text()
            if key in seen:
                Item(self.file, self.name, key_node).fail(f"key {key!r} stands twice")
            seen.add(key)
            yield key, Item(self.file, f"{self.name}.{key}" if self.name else key, value)

    def section(self, *known: str) -> "Section":
        """A mapping with these keys and no others."""
        values = dict(self.pairs())
        for key, item in values.items():
            if key not in known:
                item.fail(_unknown("key", key, known))
        return Section(self, values)


@dataclass(frozen=True, slots=True)
class Section:
    """A mapping with known keys."""

    item: Item
    values: dict[str, Item]

    def get(self, key: str, read: Callable[[Item], _T], default: _D) -> _T | _D:
        """The value of a key, or the default where it is absent."""
        found = self.values.get(key)
        return default if found is None else read(found)

    def require(self, key: str) -> Item:
        """The value of a key that must be there."""
        found = self.values.get(key)
        if found is None:
            self.item.fail(f"{key!r} is missing")
        return found

    def optional(self, key: str) -> Item | None:
        """The value of a key, if it is there."""
        return self.values.get(key)


def _unknown(what: str, word: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(word, list(known), 1, 0.5)
    if near:
        return f"unknown {what} {word!r}; did you mean {near[0]!r}?"
    return f"unknown {what} {word!r}; known are {', '.join(sorted(known))}"


def read_yaml(path: Path) -> Item:
    """The document in a file.

    Raises:
        ScenarioError: it can't be read, isn't YAML, or uses what is refused here.
    """
    try:
        text = path.read_text("utf-8")
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if getattr(event, "anchor", None) is not None:
                _refuse(path, event, "anchors and aliases are not used here")
            if getattr(event, "tag", None) is not None:
                _refuse(path, event, "tags are not used here")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{path.name}: cannot be read: {error}") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark is not None else 1
        raise ScenarioError(f"{path.name}:{line}: not YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise ScenarioError(f"{path.name}: not YAML: {error}") from error
    if node is None:
        raise ScenarioError(f"{path.name}: the file is empty")
    return Item(path.name, "", node)


def _refuse(path: Path, event: yaml.Event, text: str) -> NoReturn:
    line = event.start_mark.line + 1 if event.start_mark is not None else 1
    raise ScenarioError(f"{path.name}:{line}: {text}")
