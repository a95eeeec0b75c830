# SPDX-License-Identifier: Apache-2.0
"""What one value of the configuration may be: each kind turns a node into a value, or objects.

A kind raises `WrongValueError` with half a sentence ("is ..."); the key and the line are added by
its caller. Nothing is guessed: a boolean is `true` or `false`, a number decimal digits.
"""

import re
from collections.abc import Callable, Iterable
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from xpu_agent import limits
from xpu_agent.config.document import Mapping, Node, Scalar, Sequence
from xpu_agent.config.model import (
    FileKey,
    KeyLocation,
    Pkcs11Key,
    ServerAddress,
    StaticAddress,
    TpmKey,
)
from xpu_agent.config.problems import Place, shown
from xpu_agent.errors import ConfigurationError

Resolve = Callable[[str], Path]  # a path as written to the one to open
Kind = Callable[[Node, Resolve], object]

_Choice = TypeVar("_Choice", bound=StrEnum)

_TEXT_CHARS = 255
_LIST_ITEMS = 64
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\Z")
_INTERFACE = re.compile(r"[^\s/:]{1,15}\Z")
_PERSISTENT_HANDLE = re.compile(r"0x81[0-9a-fA-F]{6}\Z")
_FILE_SYSTEM = re.compile(r"(LABEL|PARTLABEL|UUID|PARTUUID)=")


class WrongValueError(Exception):
    """A value is not of its kind; `place` where it isn't the whole value that is wrong."""

    def __init__(self, text: str, place: Place | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.place = place


def text(node: Node, _resolve: Resolve) -> str:
    """Text of 1 to 255 printable characters, as written."""
    value = _scalar(node)
    if len(value) > _TEXT_CHARS:
        raise WrongValueError(f"is longer than {_TEXT_CHARS} characters")
    if not value.isprintable():
        raise WrongValueError("holds characters that can't be printed")
    return value


def boolean(node: Node, _resolve: Resolve) -> bool:
    """`true` or `false`, without quotes."""
    value = _scalar(node)
    if isinstance(node, Scalar) and not node.quoted and value in {"true", "false"}:
        return value == "true"
    raise WrongValueError(f"must be true or false, not {_found(node)}")


def number(least: int, most: int) -> Kind:
    """A whole number from `least` to `most`, decimal, without quotes."""

    def kind(node: Node, _resolve: Resolve) -> int:
        value = _scalar(node)
        plain = isinstance(node, Scalar) and not node.quoted
        if not plain or re.fullmatch(r"0|[1-9][0-9]{0,17}", value) is None:
            raise WrongValueError(f"must be a whole number, not {_found(node)}")
        if not least <= int(value) <= most:
            raise WrongValueError(f"must be from {least} to {most}, not {value}")
        return int(value)

    return kind


def choice(enum: type[_Choice]) -> Kind:
    """One of the words of `enum`."""

    def kind(node: Node, _resolve: Resolve) -> _Choice:
        return _choose(enum, _scalar(node))

    return kind


def choices(enum: type[_Choice], *, least: int = 0) -> Kind:
    """Words of `enum`, each once, in the order written."""

    def kind(node: Node, _resolve: Resolve) -> tuple[_Choice, ...]:
        chosen: list[_Choice] = []
        for item in _items(node):
            value = _within(item, lambda i: _choose(enum, _scalar(i)))
            if value in chosen:
                raise WrongValueError(f"names {value} twice", item.place)
            chosen.append(value)
        if len(chosen) < least:
            raise WrongValueError("must not be empty")
        return tuple(chosen)

    return kind


def choice_set(enum: type[_Choice], *, least: int = 0) -> Kind:
    """Words of `enum`, each once, order without meaning."""
    listed = choices(enum, least=least)

    def kind(node: Node, resolve: Resolve) -> frozenset[object]:
        value = listed(node, resolve)
        assert isinstance(value, tuple)  # noqa: S101  # what `choices` returns
        return frozenset(value)

    return kind


def texts(node: Node, resolve: Resolve) -> tuple[str, ...]:
    """A list of texts."""
    return tuple(_within(item, lambda i: text(i, resolve)) for item in _items(node))


def auto_or_texts(node: Node, resolve: Resolve) -> tuple[str, ...] | None:
    """`auto` (None), or a list that isn't empty."""
    if isinstance(node, Scalar):
        if node.text == "auto":
            return None
        raise WrongValueError(f"must be auto or a list, not {_found(node)}")
    listed = texts(node, resolve)
    if not listed:
        raise WrongValueError("is an empty list; write auto, or name some")
    return listed


def path(node: Node, resolve: Resolve) -> Path:
    """A path, relative to the folder of the file it stands in."""
    return resolve(text(node, resolve))


def paths(node: Node, resolve: Resolve) -> tuple[Path, ...]:
    """A list of paths."""
    return tuple(_within(item, lambda i: path(i, resolve)) for item in _items(node))


def anchors(node: Node, resolve: Resolve) -> tuple[Path, ...]:
    """A list of paths of trust anchors."""
    listed = paths(node, resolve)
    if len(listed) > limits.ANCHORS:
        raise WrongValueError(f"names more than {limits.ANCHORS} files")
    return listed


def folder(node: Node, resolve: Resolve) -> Path:
    """A folder, not a file system by its label."""
    if _FILE_SYSTEM.match(_scalar(node)):
        raise WrongValueError(
            "names a file system, which is not available in this version: mount it and name"
            " the folder"
        )
    return path(node, resolve)


def key_location(node: Node, resolve: Resolve) -> KeyLocation:
    """A file, `tpm2:HANDLE`, `tpm2:FILE` or `pkcs11:URI`."""
    value = text(node, resolve)
    if value.startswith("pkcs11:"):
        if "pin-value" in value:
            raise WrongValueError("holds a PIN; keep it in a file and use pin-source")
        return Pkcs11Key(value)
    if value.startswith("tpm2:"):
        rest = value.removeprefix("tpm2:")
        if rest.startswith("0x"):
            if _PERSISTENT_HANDLE.match(rest) is None:
                raise WrongValueError("is no persistent handle (0x81000000 to 0x81ffffff)")
            return TpmKey(handle=int(rest, 16))
        if not rest:
            raise WrongValueError("must be tpm2:HANDLE or tpm2:FILE")
        return TpmKey(path=resolve(rest))
    return FileKey(resolve(value))


def servers(node: Node, resolve: Resolve) -> tuple[ServerAddress, ...]:
    """A list of `https://HOST[:PORT]`."""
    listed = tuple(_within(i, lambda n: _server(text(n, resolve))) for i in _items(node))
    if len(listed) > limits.SERVERS_PER_LIST:
        raise WrongValueError(f"names more than {limits.SERVERS_PER_LIST} servers")
    return listed


def parse_bootstrap_server(url: str) -> ServerAddress:
    """`https://HOST[:PORT]`, the port 443 where it isn't given (RFC 8572, 5.1).

    Raises:
        ConfigurationError: it is anything else; paths, queries and user names too.
    """
    try:
        return _server(url)
    except WrongValueError as wrong:
        raise ConfigurationError(
            f"the bootstrap server {shown(url)} {wrong.text}",
            next_action="write https://HOST or https://HOST:PORT",
        ) from wrong


def proxy(node: Node, resolve: Resolve) -> str | None:
    """`none`, or `http://HOST:PORT` of an HTTP proxy that takes CONNECT."""
    value = text(node, resolve)
    if value == "none":
        return None
    scheme, found, authority = value.partition("://")
    if not found or scheme.lower() != "http":
        raise WrongValueError("must be none or http://HOST:PORT")
    host, port = _authority(authority)
    if port is None:
        raise WrongValueError("needs a port: http://HOST:PORT")
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def static_addresses(node: Node, resolve: Resolve) -> tuple[StaticAddress, ...]:
    """A list of {interface, addresses, gateway, resolvers}."""
    return tuple(_within(item, lambda i: _static_address(i, resolve)) for item in _items(node))


def _static_address(node: Node, resolve: Resolve) -> StaticAddress:
    if not isinstance(node, Mapping):
        raise WrongValueError("must be a mapping of interface, addresses, gateway, resolvers")
    values = {entry.key: entry.value for entry in node.entries}
    for entry in node.entries:
        if entry.key not in {"interface", "addresses", "gateway", "resolvers"}:
            raise WrongValueError(
                f"has an unknown key {shown(entry.key)}; known are"
                " interface, addresses, gateway, resolvers",
                entry.place,
            )
    if "interface" not in values or "addresses" not in values:
        raise WrongValueError("needs interface and addresses")
    interface = _within(values["interface"], lambda n: text(n, resolve))
    if _INTERFACE.match(interface) is None:
        raise WrongValueError("names no interface", values["interface"].place)
    listed = tuple(_within(i, _address_with_prefix) for i in _items(values["addresses"]))
    if not listed:
        raise WrongValueError("has no address", values["addresses"].place)
    gateway = _within(values["gateway"], _ip_address) if "gateway" in values else None
    resolvers: tuple[str, ...] = ()
    if "resolvers" in values:
        resolvers = tuple(_within(i, _ip_address) for i in _items(values["resolvers"]))
    return StaticAddress(interface, listed, gateway, resolvers)


def _address_with_prefix(node: Node) -> str:
    import ipaddress

    value = _scalar(node)
    try:
        if "/" in value:
            return str(ipaddress.ip_interface(value))
    except ValueError:
        pass
    raise WrongValueError(f"must be ADDRESS/PREFIX-LENGTH, not {_found(node)}")


def _ip_address(node: Node) -> str:
    import ipaddress

    try:
        return str(ipaddress.ip_address(_scalar(node)))
    except ValueError:
        raise WrongValueError(f"must be an IP address, not {_found(node)}") from None


def _server(url: str) -> ServerAddress:
    scheme, found, authority = url.partition("://")
    if not found or scheme.lower() != "https":
        raise WrongValueError(
            "must be https://HOST[:PORT]; bootstrap servers are asked by HTTPS alone"
        )
    if "@" in authority:
        raise WrongValueError("must not hold a user name or password")
    if any(mark in authority for mark in "/?#"):
        raise WrongValueError("must be https://HOST[:PORT] and nothing behind it")
    host, port = _authority(authority)
    return ServerAddress(host, 443 if port is None else port)


def _authority(authority: str) -> tuple[str, int | None]:
    """Host and port, if there is one; IPv6 in brackets."""
    bracketed = re.fullmatch(r"\[([^\[\]]*)\](?::(.*))?", authority)
    if bracketed is not None:
        host, port = bracketed[1].replace("%25", "%"), bracketed[2]
    else:
        name, colon, rest = authority.partition(":")
        host, port = name.lower(), rest if colon else None
    if not _is_host(host, bracketed=bracketed is not None):
        raise WrongValueError(f"holds no host name or address ({shown(host) or 'nothing'})")
    if port is None:
        return host, None
    if re.fullmatch(r"[1-9][0-9]{0,4}", port) is None or int(port) > 65535:
        raise WrongValueError("has no port from 1 to 65535 behind its colon")
    return host, int(port)


def _is_host(host: str, *, bracketed: bool) -> bool:
    import ipaddress

    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        labels = host.split(".")
        # A last label of digits alone would be read as a mistyped IPv4 address.
        return (
            not bracketed
            and len(host) <= 253
            and all(_LABEL.match(label) for label in labels)
            and not labels[-1].isdigit()
        )
    return bracketed is (version == 6)


def _scalar(node: Node) -> str:
    if not isinstance(node, Scalar):
        raise WrongValueError(f"must be one value, not {_found(node)}")
    if not node.text:
        hint = "" if node.quoted else "; leave the key out, or write [] for an empty list"
        raise WrongValueError(f"has no value{hint}")
    return node.text


def _items(node: Node) -> Iterable[Node]:
    if not isinstance(node, Sequence):
        raise WrongValueError(f"must be a list, not {_found(node)}")
    if len(node.items) > _LIST_ITEMS:
        raise WrongValueError(f"has more than {_LIST_ITEMS} items")
    return node.items


_Value = TypeVar("_Value")


def _within(item: Node, kind: Callable[[Node], _Value]) -> _Value:
    """An item's value; what is wrong with it is told with the item's own line."""
    try:
        return kind(item)
    except WrongValueError as wrong:
        inner = wrong.text if wrong.place else f"has an item that {wrong.text}"
        raise WrongValueError(inner, wrong.place or item.place) from wrong


def _choose(enum: type[_Choice], value: str) -> _Choice:
    try:
        return enum(value)
    except ValueError:
        words = ", ".join(enum)
        raise WrongValueError(f"must be one of {words}, not {shown(value)}") from None


def _found(node: Node) -> str:
    match node:
        case Mapping():
            return "a mapping"
        case Sequence():
            return "a list"
        case Scalar(text="", quoted=False):
            return "nothing"
        case Scalar(text=written, quoted=True):
            return f'the text "{shown(written)}"'
        case Scalar(text=written):
            return shown(written)
