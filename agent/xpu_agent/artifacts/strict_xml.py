# SPDX-License-Identifier: Apache-2.0
"""XML 1.0 without its dangers (RFC 7950, 9; RFC 8040, 5.2).

No document type, hence no entities beyond the five built in and nothing external; UTF-8 alone;
bounded nesting, elements and attributes. Prefixes, CDATA and comments are read as what they mean.
Expat checks well-formedness; its handlers refuse the rest at the first sight of it.
"""

from dataclasses import dataclass, field
from typing import Final
from xml.parsers import expat

from xpu_agent import limits
from xpu_agent.errors import MalformedError, Reason

_SEPARATOR: Final = " "  # in no name, and namespaces with one are taken apart from the right
_ATTRIBUTES: Final = 16


@dataclass(slots=True)
class XmlElement:
    """One element: its namespace ("" for none) and local name, and what is in it.

    `prefixes` are the namespaces in scope here, the default one as "". `attributes` has plain
    ones by name; those in a namespace (annotations of RFC 7952, `xml:lang`) are left out.
    """

    namespace: str
    name: str
    prefixes: dict[str, str]
    attributes: dict[str, str]
    text: str = ""
    children: list["XmlElement"] = field(default_factory=list)


def parse_xml(octets: bytes, what: str) -> XmlElement:
    """Read one XML document; `what` names it in errors.

    Raises:
        MalformedError: not well-formed, with a document type or another encoding, or a bound
            exceeded.
    """
    try:
        octets.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedError(f"{what} is not UTF-8 at octet {error.start}") from error
    if b"\x00" in octets:
        # Expat detects UTF-16, with or without byte order mark, whatever encoding it is told.
        raise MalformedError(f"{what} has a NUL, which no XML has")
    return _Builder(what).build(octets)


class _Builder:
    """The handlers of one parse."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._roots: list[XmlElement] = []
        self._stack: list[XmlElement] = []
        self._texts: list[list[str]] = []
        self._declared: dict[str, str] = {}
        self._nodes = 0

    def build(self, octets: bytes) -> XmlElement:
        parser = expat.ParserCreate("utf-8", _SEPARATOR)
        parser.buffer_text = True
        parser.XmlDeclHandler = self._declaration
        parser.StartDoctypeDeclHandler = self._document_type
        parser.StartNamespaceDeclHandler = self._namespace
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.ProcessingInstructionHandler = self._instruction
        try:
            parser.Parse(octets, True)  # noqa: FBT003  # positional only in expat
        except expat.ExpatError as error:
            raise MalformedError(
                f"{self._what} is not well-formed XML in line {error.lineno}"
            ) from error
        (root,) = self._roots  # Expat refuses a document with none, or with two.
        return root

    def _declaration(self, version: str, encoding: str | None, _standalone: int) -> None:
        if version != "1.0" or (encoding is not None and encoding.lower() != "utf-8"):
            raise MalformedError(f"{self._what} is not XML 1.0 in UTF-8")

    def _document_type(self, *_: object) -> None:
        raise MalformedError(f"{self._what} has a document type, which is not allowed")

    def _instruction(self, *_: object) -> None:
        raise MalformedError(f"{self._what} has a processing instruction, which is not allowed")

    def _namespace(self, prefix: str | None, uri: str | None) -> None:
        self._declared[prefix or ""] = uri or ""

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._nodes += 1
        if self._nodes > limits.DOCUMENT_NODES or len(attributes) > _ATTRIBUTES:
            raise MalformedError(
                f"{self._what} has too many elements or attributes", reason=Reason.TOO_LARGE
            )
        if len(self._stack) >= limits.XML_DEPTH:
            raise MalformedError(f"{self._what} is nested deeper than {limits.XML_DEPTH} levels")
        namespace, _, name = tag.rpartition(_SEPARATOR)
        prefixes = self._stack[-1].prefixes if self._stack else {}
        if self._declared:
            prefixes = prefixes | self._declared
            self._declared = {}
            if len(prefixes) > _ATTRIBUTES:
                raise MalformedError(
                    f"{self._what} has too many namespaces", reason=Reason.TOO_LARGE
                )
        plain = {key: value for key, value in attributes.items() if _SEPARATOR not in key}
        element = XmlElement(namespace, name, prefixes, plain)
        if self._stack:
            self._stack[-1].children.append(element)
        else:
            self._roots.append(element)
        self._stack.append(element)
        self._texts.append([])

    def _end(self, _tag: str) -> None:
        self._stack.pop().text = "".join(self._texts.pop())

    def _characters(self, data: str) -> None:
        self._texts[-1].append(data)
