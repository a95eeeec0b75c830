# SPDX-License-Identifier: Apache-2.0
"""YAML or JSON text into nodes that know their line; nothing is interpreted.

A scalar stays the text that was written: what it means is the schema's business, so `24.10` is
no number and `no` no boolean unless the schema asks for one. Duplicate keys, anchors, aliases
and tags are problems. JSON is read without importing YAML.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from xpu_agent import limits
from xpu_agent.config.problems import Place, Problems, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from yaml.events import Event


@dataclass(frozen=True, slots=True)
class Scalar:
    """Text as written; `quoted` text is never a number or a boolean."""

    place: Place
    text: str
    quoted: bool


@dataclass(frozen=True, slots=True)
class Sequence:
    """A list."""

    place: Place
    items: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Entry:
    """One key and its value."""

    place: Place
    key: str
    value: "Node"


@dataclass(frozen=True, slots=True)
class Mapping:
    """Entries in the order written; no key twice."""

    place: Place
    entries: tuple[Entry, ...]


Node = Scalar | Sequence | Mapping


class _SyntaxProblem(Exception):  # noqa: N818  # never leaves this module
    """The text can't be read any further."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(text)
        self.line = line
        self.text = text


def read_document(text: str, file: Path, problems: Problems) -> Node | None:
    """The document in `text`; None where it is empty, or unreadable (then a problem is added)."""
    if text.lstrip().startswith("{"):
        found = Problems()
        try:
            node: Node | None = _JsonReader(text, file, found).read()
        except _SyntaxProblem:
            pass  # YAML's flow style begins like JSON; its reader has the last word
        else:
            problems.found += found.found
            return node
    try:
        return _YamlReader(text, file, problems).read()
    except _SyntaxProblem as syntax:
        problems.add(Place(file, syntax.line), "", syntax.text)
        return None


def _unique(entries: list[Entry], problems: Problems) -> tuple[Entry, ...]:
    """The entries with a key of their own; each repeated key is a problem."""
    first: dict[str, Entry] = {}
    for entry in entries:
        if entry.key in first:
            earlier = first[entry.key].place.line
            problems.add(entry.place, entry.key, f"is there twice (first in line {earlier})")
        else:
            first[entry.key] = entry
    return tuple(first.values())


_JSON_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n]+)
    |(?P<string>"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*")
    |(?P<number>-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)(?![0-9A-Za-z.+-])
    |(?P<word>true|false|null)(?![0-9A-Za-z_])
    |(?P<mark>[{}\[\]:,])""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    line: int


class _JsonReader:
    """RFC 8259, with lines."""

    def __init__(self, text: str, file: Path, problems: Problems) -> None:
        self._tokens = self._split(text)
        self._file = file
        self._problems = problems
        self._token = next(self._tokens)

    @staticmethod
    def _split(text: str) -> "Iterator[_Token]":
        at, line = 0, 1
        while at < len(text):
            match = _JSON_TOKEN.match(text, at)
            if match is None or match.lastgroup is None:
                raise _SyntaxProblem(line, "is no JSON here")
            if match.lastgroup != "space":
                yield _Token(match.lastgroup, match.group(), line)
            line += match.group().count("\n")
            at = match.end()
        yield _Token("end", "", line)

    def read(self) -> Node:
        node = self._value(1)
        if self._token.kind != "end":
            raise _SyntaxProblem(self._token.line, "something follows the document")
        return node

    def _take(self) -> _Token:
        token = self._token
        if token.kind != "end":
            self._token = next(self._tokens)
        return token

    def _expect(self, mark: str) -> None:
        token = self._take()
        if token.text != mark or token.kind != "mark":
            raise _SyntaxProblem(token.line, f"{mark} expected")

    def _value(self, depth: int) -> Node:
        if depth > limits.CONFIG_DEPTH:
            raise _SyntaxProblem(self._token.line, "is nested too deep")
        token = self._take()
        place = Place(self._file, token.line)
        match token.kind, token.text:
            case "string", text:
                return Scalar(place, self._string(token, text), quoted=True)
            case "number", text:
                return Scalar(place, text, quoted=False)
            case "word", text:
                return Scalar(place, "" if text == "null" else text, quoted=False)
            case "mark", "[":
                return Sequence(place, tuple(self._items(depth)))
            case "mark", "{":
                return Mapping(place, _unique(self._entries(depth), self._problems))
        raise _SyntaxProblem(token.line, "a value expected")

    @staticmethod
    def _string(token: _Token, text: str) -> str:
        import json

        value = json.loads(text)
        if not isinstance(value, str) or any("\ud800" <= c <= "\udfff" for c in value):
            raise _SyntaxProblem(token.line, "has half of a surrogate pair")
        return value

    def _items(self, depth: int) -> list[Node]:
        items: list[Node] = []
        if self._ends("]"):
            return items
        while True:
            items.append(self._value(depth + 1))
            if self._ends("]"):
                return items
            self._expect(",")

    def _entries(self, depth: int) -> list[Entry]:
        entries: list[Entry] = []
        if self._ends("}"):
            return entries
        while True:
            token = self._take()
            if token.kind != "string":
                raise _SyntaxProblem(token.line, "a key in quotes expected")
            key = self._string(token, token.text)
            self._expect(":")
            entries.append(Entry(Place(self._file, token.line), key, self._value(depth + 1)))
            if self._ends("}"):
                return entries
            self._expect(",")

    def _ends(self, mark: str) -> bool:
        if self._token.kind == "mark" and self._token.text == mark:
            self._take()
            return True
        return False


class _YamlReader:
    """YAML's events into nodes; its resolver of types is never asked."""

    def __init__(self, text: str, file: Path, problems: Problems) -> None:
        self._text = text
        self._file = file
        self._problems = problems
        self._events: Iterator[Event] = iter(())

    def read(self) -> Node | None:
        try:
            import yaml
        except ImportError as error:
            raise _SyntaxProblem(
                0, "is no JSON, and Python's yaml module is not installed"
            ) from error
        try:
            self._events = iter(yaml.parse(self._text, Loader=yaml.SafeLoader))
            return self._document()
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = 0 if mark is None else mark.line + 1
            raise _SyntaxProblem(line, f"is no YAML: {shown(str(error.problem))}") from error
        except yaml.YAMLError as error:
            raise _SyntaxProblem(
                0, "is no YAML: it holds characters YAML has no place for"
            ) from error

    def _document(self) -> Node | None:
        from yaml import events

        node: Node | None = None
        documents = 0
        for event in self._events:
            match event:
                case events.DocumentStartEvent(version=version, tags=tags):
                    documents += 1
                    if version or tags:
                        self._problems.add(self._at(event), "", "directives (%) are not allowed")
                case events.NodeEvent():
                    read = self._node(event, 1)
                    if documents == 1:
                        node = read
                    elif documents == 2:
                        self._problems.add(self._at(event), "", "is a second document")
                case _:
                    pass
        if isinstance(node, Scalar) and not node.text and not node.quoted:
            return None
        return node

    def _at(self, event: "Event") -> Place:
        mark = event.start_mark
        return Place(self._file, 0 if mark is None else mark.line + 1)

    def _node(self, event: "Event", depth: int) -> Node:
        from yaml import events

        place = self._at(event)
        if depth > limits.CONFIG_DEPTH:
            raise _SyntaxProblem(place.line, "is nested too deep")
        if isinstance(event, events.NodeEvent) and event.anchor is not None:
            kind = "an alias" if isinstance(event, events.AliasEvent) else "an anchor"
            self._problems.add(place, "", f"{kind} ({shown(event.anchor)}) is not allowed")
        tag = getattr(event, "tag", None)
        if tag is not None:
            self._problems.add(place, "", f"a tag ({shown(str(tag))}) is not allowed")
        match event:
            case events.AliasEvent():
                return Scalar(place, "", quoted=True)
            case events.ScalarEvent(value=text, style=style):
                return Scalar(place, text, quoted=style is not None)
            case events.SequenceStartEvent():
                return Sequence(place, tuple(self._items(depth)))
            case events.MappingStartEvent():
                return Mapping(place, _unique(self._entries(depth), self._problems))
            case _:
                raise _SyntaxProblem(place.line, "a value expected")

    def _items(self, depth: int) -> list[Node]:
        from yaml import events

        items: list[Node] = []
        while not isinstance(event := next(self._events), events.SequenceEndEvent):
            items.append(self._node(event, depth + 1))
        return items

    def _entries(self, depth: int) -> list[Entry]:
        from yaml import events

        entries: list[Entry] = []
        while not isinstance(event := next(self._events), events.MappingEndEvent):
            key = self._node(event, depth + 1)
            value = self._node(next(self._events), depth + 1)
            if isinstance(key, Scalar):
                entries.append(Entry(key.place, key.text, value))
            else:
                self._problems.add(key.place, "", "a key has to be text")
        return entries
