# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: D102  # the methods of both encodings are described once, in Node
"""YANG data in JSON (RFC 7951) or XML (RFC 7950), read leaf by leaf against one module.

A `Node` is one container or list entry. Whoever reads it asks for the members the module has,
by name and type, and calls `finish` at the end: members nobody asked for are refused there. The
two encodings differ in how a member is found and how a value is spelled, and in nothing else.

In JSON a member of the same module has the plain name, one of another module a qualified one; in
XML the namespace tells.
"""

import base64
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Final, TypeVar, assert_never

from xpu_agent import limits
from xpu_agent.artifacts.strict_json import JsonValue, parse_json
from xpu_agent.artifacts.strict_xml import XmlElement, parse_xml
from xpu_agent.errors import MalformedError, Reason

_NAMESPACE: Final = "urn:ietf:params:xml:ns:yang:"
_E = TypeVar("_E", bound=StrEnum)

# What YANG strings must not have (RFC 7950, 9.4): control characters but tab and line ends, and
# the noncharacters of each plane.
_BAD_CHARS: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufdd0-\ufdef\ufffe\uffff]")
_MODULE_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}")


class Encoding(StrEnum):
    """How a document is written down."""

    JSON = "json"
    XML = "xml"


@dataclass(frozen=True, slots=True)
class Identity:
    """A value of type identityref: `module` is a name in JSON and a namespace in XML.

    `ours` tells whether it is of the module being read.
    """

    module: str
    name: str
    ours: bool


class Node(ABC):
    """One container or list entry of a module, named in errors by `where`."""

    # Whether white space around values and within base64 means nothing (pretty printers put it
    # there in XML; in JSON nothing does).
    _spacious: ClassVar[bool]

    def __init__(self, module: str, where: str) -> None:
        self._module = module
        self.where = where

    # --- found by encoding ---

    @abstractmethod
    def container(self, name: str) -> "Node | None":
        """The container of this name."""

    @abstractmethod
    def entries(self, name: str, *, most: int) -> "list[Node] | None":
        """The entries of a list, None where there is no such member; an empty array is []."""

    @abstractmethod
    def texts(self, name: str, *, most: int) -> list[str]:
        """The values of a leaf-list of strings."""

    @abstractmethod
    def finish(self, *, pass_over_foreign: bool = False) -> None:
        """Refuse members nobody asked for; those of other modules may be passed over."""

    @abstractmethod
    def integer(self, name: str) -> int | None:
        """A leaf of an integer type of 32 bits or less."""

    @abstractmethod
    def identity(self, name: str) -> Identity | None:
        """A leaf of type identityref."""

    @abstractmethod
    def _raw(self, name: str) -> str | None:
        """The text of a leaf as it stands."""

    # --- made from those ---

    def text(self, name: str) -> str | None:
        """A leaf of type string, `STRING_CHARS` at most."""
        value = self._raw(name)
        return None if value is None else self._checked_text(value, name)

    def word(self, name: str) -> str | None:
        """A leaf whose type allows no white space: dates, numbers in hex, hosts."""
        value = self._raw(name)
        if value is None:
            return None
        return self._checked_text(value.strip() if self._spacious else value, name)

    def enumeration(self, name: str, values: type[_E]) -> _E | None:
        """A leaf of type enumeration."""
        value = self.word(name)
        if value is None:
            return None
        try:
            return values(value)
        except ValueError as error:
            raise MalformedError(f"{self.path(name)} has a value that is not defined") from error

    def binary(self, name: str, *, most: int) -> bytes | None:
        """A leaf of type binary: base64 of RFC 4648, 4, in its one canonical spelling."""
        value = self._raw(name)
        if value is None:
            return None
        if self._spacious:
            value = "".join(value.split())
        try:
            octets = base64.b64decode(value, validate=True)
        except ValueError as error:
            raise MalformedError(f"{self.path(name)} is not base64") from error
        if base64.b64encode(octets).decode("ascii") != value:
            raise MalformedError(f"{self.path(name)} is not base64 in canonical form")
        if len(octets) > most:
            raise MalformedError(
                f"{self.path(name)} has more than {most} octets", reason=Reason.TOO_LARGE
            )
        return octets

    def path(self, name: str) -> str:
        """How errors name a member."""
        return f"{self.where}/{name}"

    def _checked_text(self, value: str, name: str) -> str:
        if len(value) > limits.STRING_CHARS:
            raise MalformedError(
                f"{self.path(name)} has more than {limits.STRING_CHARS} characters",
                reason=Reason.TOO_LARGE,
            )
        if _BAD_CHARS.search(value):
            raise MalformedError(f"{self.path(name)} has a character that text must not have")
        return value

    def _bounded(self, count: int, name: str, most: int) -> None:
        if count > most:
            raise MalformedError(
                f"{self.path(name)} has more than {most} entries", reason=Reason.TOO_LARGE
            )


class JsonNode(Node):
    """A JSON object."""

    _spacious = False

    def __init__(self, module: str, value: JsonValue, where: str) -> None:
        super().__init__(module, where)
        if not isinstance(value, dict):
            raise MalformedError(f"{where} is not a JSON object")
        self._members = dict(value)

    def container(self, name: str) -> Node | None:
        if name not in self._members:
            return None
        return JsonNode(self._module, self._members.pop(name), self.path(name))

    def entries(self, name: str, *, most: int) -> list[Node] | None:
        values = self._array(name, most)
        if values is None:
            return None
        return [
            JsonNode(self._module, value, f"{self.path(name)}[{index}]")
            for index, value in enumerate(values)
        ]

    def texts(self, name: str, *, most: int) -> list[str]:
        found = []
        for value in self._array(name, most) or []:
            if not isinstance(value, str):
                raise MalformedError(f"{self.path(name)} has a value that is not a string")
            found.append(self._checked_text(value, name))
        return found

    def finish(self, *, pass_over_foreign: bool = False) -> None:
        for name in self._members:
            module, colon, _ = name.partition(":")
            if not (pass_over_foreign and colon and module != self._module):
                raise MalformedError(
                    f"{self.where} has a member that is not defined: {shown(name)}"
                )

    def integer(self, name: str) -> int | None:
        if name not in self._members:
            return None
        value = self._members.pop(name)
        if not isinstance(value, int) or isinstance(value, bool):
            raise MalformedError(f"{self.path(name)} is not a number without fraction")
        return value

    def boolean(self, name: str) -> bool | str | None:
        """A leaf of type boolean; a string comes back as it is, for the caller to judge."""
        if name not in self._members:
            return None
        value = self._members.pop(name)
        if not isinstance(value, bool | str):
            raise MalformedError(f"{self.path(name)} is not a boolean")
        return value

    def identity(self, name: str) -> Identity | None:
        value = self._raw(name)
        if value is None:
            return None
        module, colon, local = value.rpartition(":")
        if not _MODULE_NAME.fullmatch(local) or (colon and not _MODULE_NAME.fullmatch(module)):
            raise MalformedError(f"{self.path(name)} is not the name of an identity")
        # RFC 7951, 6.8: without a module name it is of the leaf's own module.
        module = module or self._module
        return Identity(module, local, module == self._module)

    def _array(self, name: str, most: int) -> list[JsonValue] | None:
        if name not in self._members:
            return None
        values = self._members.pop(name)
        if not isinstance(values, list):
            raise MalformedError(f"{self.path(name)} is not a JSON array")
        self._bounded(len(values), name, most)
        return values

    def _raw(self, name: str) -> str | None:
        if name not in self._members:
            return None
        value = self._members.pop(name)
        if not isinstance(value, str):
            raise MalformedError(f"{self.path(name)} is not a JSON string")
        return value


class XmlNode(Node):
    """An XML element with children."""

    _spacious = True

    def __init__(self, module: str, element: XmlElement, where: str) -> None:
        super().__init__(module, where)
        if element.text.strip():
            raise MalformedError(f"{where} has text between its elements")
        if element.attributes:
            raise MalformedError(f"{where} has attributes, which are not defined")
        self._own: dict[str, list[XmlElement]] = {}
        self._foreign: list[str] = []
        for child in element.children:
            if child.namespace == _NAMESPACE + module:
                self._own.setdefault(child.name, []).append(child)
            else:
                self._foreign.append(child.name)

    def container(self, name: str) -> Node | None:
        element = self._one(name)
        return None if element is None else XmlNode(self._module, element, self.path(name))

    def entries(self, name: str, *, most: int) -> list[Node] | None:
        if name not in self._own:
            return None
        found = self._own.pop(name)
        self._bounded(len(found), name, most)
        return [
            XmlNode(self._module, element, f"{self.path(name)}[{index}]")
            for index, element in enumerate(found)
        ]

    def texts(self, name: str, *, most: int) -> list[str]:
        found = self._own.pop(name, [])
        self._bounded(len(found), name, most)
        return [self._checked_text(self._leaf(element, name), name) for element in found]

    def finish(self, *, pass_over_foreign: bool = False) -> None:
        left = list(self._own) + ([] if pass_over_foreign else self._foreign)
        if left:
            raise MalformedError(
                f"{self.where} has an element that is not defined: {shown(left[0])}"
            )

    def integer(self, name: str) -> int | None:
        value = self.word(name)
        if value is None:
            return None
        if not re.fullmatch(r"[+-]?[0-9]{1,10}", value):
            raise MalformedError(f"{self.path(name)} is not a number without fraction")
        return int(value)

    def identity(self, name: str) -> Identity | None:
        element = self._one(name)
        if element is None:
            return None
        prefix, _, local = self._leaf(element, name).strip().rpartition(":")
        namespace = element.prefixes.get(prefix)
        if not namespace or not _MODULE_NAME.fullmatch(local):
            raise MalformedError(f"{self.path(name)} is not the name of an identity in scope")
        return Identity(namespace, local, namespace == _NAMESPACE + self._module)

    def _one(self, name: str) -> XmlElement | None:
        found = self._own.pop(name, [])
        if len(found) > 1:
            raise MalformedError(f"{self.path(name)} is there more than once")
        return found[0] if found else None

    def _leaf(self, element: XmlElement, name: str) -> str:
        if element.children or element.attributes:
            raise MalformedError(f"{self.path(name)} is a leaf, but has more than text in it")
        return element.text

    def _raw(self, name: str) -> str | None:
        element = self._one(name)
        return None if element is None else self._leaf(element, name)


def read_document(
    octets: bytes, encoding: Encoding, module: str, names: tuple[str, ...], what: str
) -> tuple[str, Node]:
    """The one top-level node of a document, which has to be one of `names` of `module`.

    Raises:
        MalformedError: not the encoding, another top-level node or more than one.
    """
    match encoding:
        case Encoding.JSON:
            return read_json_document(octets, module, names, what)
        case Encoding.XML:
            root = parse_xml(octets, what)
            if root.namespace != _NAMESPACE + module or root.name not in names:
                raise MalformedError(f"{what} has the wrong root element: {shown(root.name)}")
            return root.name, XmlNode(module, root, root.name)
        case _:
            assert_never(encoding)


def read_json_document(
    octets: bytes, module: str, names: tuple[str, ...], what: str
) -> tuple[str, JsonNode]:
    """As `read_document`, for documents that are JSON and nothing else."""
    value = parse_json(octets, what)
    if not isinstance(value, dict) or len(value) != 1:
        raise MalformedError(f"{what} is not a JSON object with one member")
    ((qualified, content),) = value.items()
    top_module, _, name = qualified.rpartition(":")
    if top_module != module or name not in names:
        raise MalformedError(f"{what} has the wrong top member: {shown(qualified)}")
    return name, JsonNode(module, content, name)


def shown(name: str) -> str:
    """A peer's word, short and printable."""
    return ascii(name[:64])
