# SPDX-License-Identifier: Apache-2.0
"""Strict reading of RPC input in both encodings of RESTCONF (RFC 7951; RFC 7950, 7 and 9).

A small schema says what may stand where; JSON and XML are read by it into the same tree of
containers, tuples, text, octets and `True` (a leaf of type empty). Reading goes on after a
finding where it can, so that a device learns everything that is wrong at once:

1. What isn't JSON or XML at all (duplicate members, DTDs and trailing octets included) is
   `malformed-message`.
2. A member that the schema doesn't know, or that has the wrong module, is `unknown-element`.
3. A value of the wrong type is `invalid-value`; one that is missing is `missing-element`.
"""

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import NoReturn, TypeAlias
from xml.parsers import expat  # DTDs, and with them entities, are refused below

NAMESPACE_PREFIX = "urn:ietf:params:xml:ns:yang:"
_DEPTH = 16
_FORBIDDEN_TEXT = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SCHEMA_RULES = "RC-3.6-01"
_ENCODING_RULES = "RC-5.2-04"


class Encoding(Enum):
    """The two encodings of RESTCONF messages; the value is the registered media type."""

    JSON = "application/yang-data+json"
    XML = "application/yang-data+xml"


class ErrorTag(StrEnum):
    """`error-tag` values this emulator answers with (RFC 8040, 7)."""

    ACCESS_DENIED = "access-denied"
    INVALID_VALUE = "invalid-value"
    MALFORMED_MESSAGE = "malformed-message"
    MISSING_ATTRIBUTE = "missing-attribute"
    MISSING_ELEMENT = "missing-element"
    OPERATION_FAILED = "operation-failed"
    OPERATION_NOT_SUPPORTED = "operation-not-supported"
    TOO_BIG = "too-big"
    UNKNOWN_ATTRIBUTE = "unknown-attribute"
    UNKNOWN_ELEMENT = "unknown-element"


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing a device did that it must or should not, and the requirements that say so."""

    requirement_ids: tuple[str, ...]
    text: str


class InputError(Exception):
    """The request body is refused; `tag` is for the answer, `violations` tell everything."""

    def __init__(self, tag: ErrorTag, violations: tuple[Violation, ...]) -> None:
        super().__init__("; ".join(violation.text for violation in violations))
        self.tag = tag
        self.violations = violations


class Kind(Enum):
    """What a schema node holds."""

    CONTAINER = "container"
    EMPTY = "empty"
    STRING = "string"
    BINARY = "binary"
    IDENTITY = "identity"


@dataclass(frozen=True, slots=True)
class SchemaNode:
    """A node of the schema; `many` makes it a list or leaf-list of at least one entry."""

    name: str
    module: str
    kind: Kind
    children: tuple["SchemaNode", ...] = ()
    many: bool = False
    mandatory: bool = False
    requirement_ids: tuple[str, ...] = (_SCHEMA_RULES,)


Value: TypeAlias = "Container | tuple[Value, ...] | str | bytes | bool"


@dataclass(frozen=True, slots=True)
class Container:
    """A container or list entry as read; the accessors return None for what isn't there."""

    members: Mapping[str, Value]

    def has(self, name: str) -> bool:
        """Whether the node is present."""
        return name in self.members

    def text(self, name: str) -> str | None:
        """A string or identity leaf."""
        value = self.members.get(name)
        return value if isinstance(value, str) else None

    def octets(self, name: str) -> bytes | None:
        """A binary leaf."""
        value = self.members.get(name)
        return value if isinstance(value, bytes) else None

    def container(self, name: str) -> "Container | None":
        """A container."""
        value = self.members.get(name)
        return value if isinstance(value, Container) else None

    def entries(self, name: str) -> tuple[Value, ...]:
        """The entries of a list or leaf-list."""
        value = self.members.get(name)
        return value if isinstance(value, tuple) else ()


@dataclass(slots=True)
class Findings:
    """What was found wrong so far; the first tag is the one answered with."""

    tag: ErrorTag | None = None
    violations: list[Violation] = field(default_factory=list)

    def add(self, tag: ErrorTag, requirement_ids: tuple[str, ...], text: str) -> None:
        """Note one finding and go on."""
        if self.tag is None:
            self.tag = tag
        self.violations.append(Violation(requirement_ids, text))

    def raise_if_any(self) -> None:
        """Refuse the input if anything was found.

        Raises:
            InputError: there was a finding.
        """
        if self.tag is not None:
            raise InputError(self.tag, tuple(self.violations))


def read_input(
    body: bytes, encoding: Encoding, schema: SchemaNode, findings: Findings
) -> Container:
    """Read the `input` document that `schema` describes.

    Findings that don't hinder reading go to `findings`; the caller adds its own and raises.

    Raises:
        InputError: the body can't be read at all.
    """
    match encoding:
        case Encoding.JSON:
            return _read_json(body, schema, findings)
        case Encoding.XML:
            return _read_xml(body, schema, findings)


def _malformed(text: str) -> NoReturn:
    raise InputError(ErrorTag.MALFORMED_MESSAGE, (Violation((_ENCODING_RULES,), text),))


def _require(
    schema: SchemaNode, members: Mapping[str, Value], path: str, findings: Findings
) -> None:
    for child in schema.children:
        if child.mandatory and child.name not in members:
            findings.add(
                ErrorTag.MISSING_ELEMENT,
                child.requirement_ids,
                f"{path}/{child.name} is mandatory and missing",
            )


def _check_text(value: str, node: SchemaNode, path: str, findings: Findings) -> str:
    if _FORBIDDEN_TEXT.search(value):
        findings.add(
            ErrorTag.INVALID_VALUE,
            node.requirement_ids,
            f"{path} has a character that no YANG string may have",
        )
    return value


def _decode_base64(value: str, node: SchemaNode, path: str, findings: Findings) -> bytes:
    try:
        return base64.b64decode(value.encode("ascii"), validate=True)
    except (binascii.Error, ValueError):
        findings.add(
            ErrorTag.INVALID_VALUE,
            (*node.requirement_ids, _ENCODING_RULES),
            f"{path} is not base64 with its padding and nothing else",
        )
        return b""


# JSON (RFC 7951)


def _unique_members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        _malformed(f"JSON member {twice!r} stands twice in one object")
    return members


def _no_constant(name: str) -> NoReturn:
    _malformed(f"{name} is not JSON")


def _read_json(body: bytes, schema: SchemaNode, findings: Findings) -> Container:
    try:
        text = body.decode("utf-8")
        document: object = json.loads(
            text, object_pairs_hook=_unique_members, parse_constant=_no_constant
        )
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        _malformed(f"the body is not JSON in UTF-8: {error}")
    wanted = f"{schema.module}:{schema.name}"
    members = document if isinstance(document, dict) else {}
    if list(members) != [wanted]:
        found = ", ".join(map(repr, members)) or "none"
        findings.add(
            ErrorTag.UNKNOWN_ELEMENT,
            (_SCHEMA_RULES, _ENCODING_RULES),
            f"the body must be an object with the one member {wanted!r}; found {found}",
        )
        findings.raise_if_any()
    return _json_container(members[wanted], schema, "/input", findings)


def _json_container(value: object, schema: SchemaNode, path: str, findings: Findings) -> Container:
    if not isinstance(value, dict):
        findings.add(ErrorTag.INVALID_VALUE, schema.requirement_ids, f"{path} must be an object")
        return Container({})
    # The simple name where the module is the parent's, the qualified one where it changes.
    known = {
        child.name if child.module == schema.module else f"{child.module}:{child.name}": child
        for child in schema.children
    }
    members: dict[str, Value] = {}
    for name, member in value.items():
        child = known.get(name)
        if child is None:
            hint = next((k for k in known if k.split(":")[-1] == name.split(":")[-1]), None)
            tail = f"; it is written {hint!r} here" if hint else ""
            findings.add(
                ErrorTag.UNKNOWN_ELEMENT,
                (_SCHEMA_RULES, _ENCODING_RULES) if hint else (_SCHEMA_RULES,),
                f"{path} has no member {name!r}{tail}",
            )
            continue
        members[child.name] = _json_member(member, child, f"{path}/{child.name}", findings)
    _require(schema, members, path, findings)
    return Container(members)


def _json_member(value: object, node: SchemaNode, path: str, findings: Findings) -> Value:
    if not node.many:
        return _json_value(value, node, path, findings)
    if not isinstance(value, list):
        findings.add(
            ErrorTag.INVALID_VALUE,
            (*node.requirement_ids, _ENCODING_RULES),
            f"{path} must be an array, also with one entry",
        )
        return ()
    if not value:
        findings.add(ErrorTag.INVALID_VALUE, node.requirement_ids, f"{path} has no entry")
    return tuple(
        _json_value(entry, node, f"{path}[{index}]", findings)
        for index, entry in enumerate(value, start=1)
    )


def _json_value(value: object, node: SchemaNode, path: str, findings: Findings) -> Value:
    if node.kind is Kind.CONTAINER:
        return _json_container(value, node, path, findings)
    if node.kind is Kind.EMPTY:
        if value != [None]:
            findings.add(
                ErrorTag.INVALID_VALUE,
                (*node.requirement_ids, _ENCODING_RULES),
                f"{path} is a leaf of type empty and must be [null]",
            )
        return True
    if not isinstance(value, str):
        findings.add(ErrorTag.INVALID_VALUE, node.requirement_ids, f"{path} must be a string")
        return b"" if node.kind is Kind.BINARY else ""
    if node.kind is Kind.BINARY:
        return _decode_base64(value, node, path, findings)
    return _check_text(value, node, path, findings)


# XML


@dataclass(slots=True)
class _Element:
    namespace: str
    name: str
    scope: Mapping[str, str]
    attributes: tuple[str, ...]
    text: list[str] = field(default_factory=list)
    children: list["_Element"] = field(default_factory=list)

    def all_text(self) -> str:
        return "".join(self.text)


class _TreeBuilder:
    """Collects elements and the prefixes in scope; refuses document types as they begin."""

    def __init__(self) -> None:
        self.root: _Element | None = None
        self._open: list[_Element] = []
        self._pending: dict[str, str] = {}

    def prefix(self, prefix: str | None, uri: str | None) -> None:
        self._pending[prefix or ""] = uri or ""

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if len(self._open) >= _DEPTH:
            _malformed(f"elements are nested deeper than {_DEPTH}")
        namespace, _, local = name.rpartition(" ")
        outer = self._open[-1].scope if self._open else {}
        element = _Element(namespace, local, {**outer, **self._pending}, tuple(attributes))
        self._pending = {}
        if self._open:
            self._open[-1].children.append(element)
        else:
            self.root = element
        self._open.append(element)

    def end(self, _name: str) -> None:
        self._open.pop()

    def data(self, text: str) -> None:
        self._open[-1].text.append(text)


def _refuse_doctype(*_: object) -> NoReturn:
    _malformed("a document type declaration has no place in a message")


def _parse_xml(body: bytes) -> _Element:
    builder = _TreeBuilder()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = _refuse_doctype
    parser.StartNamespaceDeclHandler = builder.prefix
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(body, True)  # noqa: FBT003  # expat takes no keyword
    except (expat.ExpatError, ValueError, LookupError) as error:
        _malformed(f"the body is not well-formed XML: {error}")
    if builder.root is None:
        _malformed("the body has no element")
    return builder.root


def _namespace(module: str) -> str:
    return NAMESPACE_PREFIX + module


def _read_xml(body: bytes, schema: SchemaNode, findings: Findings) -> Container:
    root = _parse_xml(body)
    if (root.namespace, root.name) != (_namespace(schema.module), schema.name):
        findings.add(
            ErrorTag.UNKNOWN_ELEMENT,
            (_SCHEMA_RULES, _ENCODING_RULES),
            f"the root must be <{schema.name}> in {_namespace(schema.module)}; "
            f"found <{root.name}> in {root.namespace or 'no namespace'}",
        )
        findings.raise_if_any()
    return _xml_container(root, schema, "/input", findings)


def _xml_container(
    element: _Element, schema: SchemaNode, path: str, findings: Findings
) -> Container:
    _check_attributes(element, path, findings)
    if element.all_text().strip():
        findings.add(ErrorTag.INVALID_VALUE, schema.requirement_ids, f"{path} has text in it")
    known = {(_namespace(child.module), child.name): child for child in schema.children}
    collected: dict[str, list[Value]] = {}
    for child_element in element.children:
        child = known.get((child_element.namespace, child_element.name))
        if child is None:
            findings.add(
                ErrorTag.UNKNOWN_ELEMENT,
                (_SCHEMA_RULES,),
                f"{path} has no element <{child_element.name}> "
                f"in {child_element.namespace or 'no namespace'}",
            )
            continue
        values = collected.setdefault(child.name, [])
        child_path = f"{path}/{child.name}"
        values.append(_xml_value(child_element, child, child_path, findings))
        if len(values) == 2 and not child.many:
            findings.add(
                ErrorTag.INVALID_VALUE, child.requirement_ids, f"{child_path} stands twice"
            )
    many = {child.name for child in schema.children if child.many}
    members: dict[str, Value] = {
        name: tuple(values) if name in many else values[0] for name, values in collected.items()
    }
    _require(schema, members, path, findings)
    return Container(members)


def _check_attributes(element: _Element, path: str, findings: Findings) -> None:
    if element.attributes:
        findings.add(
            ErrorTag.UNKNOWN_ATTRIBUTE,
            (_SCHEMA_RULES,),
            f"{path} has the attribute {element.attributes[0]!r}",
        )


def _xml_value(element: _Element, node: SchemaNode, path: str, findings: Findings) -> Value:
    if node.kind is Kind.CONTAINER:
        return _xml_container(element, node, path, findings)
    _check_attributes(element, path, findings)
    if element.children:
        findings.add(ErrorTag.INVALID_VALUE, node.requirement_ids, f"{path} is a leaf")
    readers: dict[Kind, Callable[[], Value]] = {
        Kind.EMPTY: lambda: _xml_empty(element, node, path, findings),
        # White space may stand anywhere in XML's binary values.
        Kind.BINARY: lambda: _decode_base64(
            "".join(element.all_text().split()), node, path, findings
        ),
        Kind.IDENTITY: lambda: _xml_identity(element, node, path, findings),
        Kind.STRING: lambda: _check_text(element.all_text(), node, path, findings),
    }
    return readers[node.kind]()


def _xml_empty(element: _Element, node: SchemaNode, path: str, findings: Findings) -> Value:
    if element.all_text():
        findings.add(
            ErrorTag.INVALID_VALUE,
            (*node.requirement_ids, _ENCODING_RULES),
            f"{path} is a leaf of type empty and must have no content",
        )
    return True


def _xml_identity(element: _Element, node: SchemaNode, path: str, findings: Findings) -> Value:
    """An identity as `module:name`, whatever prefix the document gave the module."""
    prefix, _, name = element.all_text().strip().rpartition(":")
    uri = element.scope.get(prefix, "")
    if not uri.startswith(NAMESPACE_PREFIX) or not name:
        findings.add(
            ErrorTag.INVALID_VALUE,
            (*node.requirement_ids, _ENCODING_RULES),
            f"{path} has a prefix that isn't bound to a YANG module",
        )
        return ""
    return f"{uri.removeprefix(NAMESPACE_PREFIX)}:{name}"
