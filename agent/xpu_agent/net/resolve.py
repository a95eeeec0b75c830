# SPDX-License-Identifier: Apache-2.0
"""Hosts of servers: which texts are one, and the addresses they have (RFC 8572, 5.5 and 6.3).

A host is an IPv4 or IPv6 literal, link-local ones with their scope, or a DNS name in A-labels, as
`inet:host` of RFC 6991 has it. The legacy spellings of IPv4 addresses that system resolvers take
(`127.1`, `0x7f000001`) are none of these and refused.
"""

import ipaddress
import re
import socket
import threading

from xpu_agent import limits
from xpu_agent.errors import Reason, SourceUnavailableError
from xpu_agent.net.tls import describe
from xpu_agent.ports import Address

_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
_NAME_CHARS = 253
_SCOPE = re.compile(r"[A-Za-z0-9._-]{1,15}")

# The system's resolver has its own retries; this is only the end of our patience (seconds).
RESOLVE_SECONDS = 30.0


def server_name(host: str) -> str:
    """What a server's certificate must name for `host`: no scope, no final dot.

    Raises:
        SourceUnavailableError: `dns-failed`: it is not a host.
    """
    literal = _literal(host)
    if literal is not None:
        return str(literal).partition("%")[0]
    name = host.removesuffix(".")
    labels = name.split(".")
    if (
        not name
        or len(name) > _NAME_CHARS
        or not all(_LABEL.fullmatch(label) for label in labels)
        # A number as the last label would be read as an IPv4 address (WHATWG URL, 3.5 too).
        or re.fullmatch(r"[0-9]+|0[xX][0-9A-Fa-f]*", labels[-1])
    ):
        raise SourceUnavailableError(
            Reason.DNS_FAILED, f"{host[:80]!a} is not a host name or address"
        )
    return name


def display(host: str, port: int) -> str:
    """Host and port for people; escaped, bounded."""
    text = ascii(host[: _NAME_CHARS + 1])[1:-1]
    return f"[{text}]:{port}" if ":" in text else f"{text}:{port}"


def resolve(host: str, port: int) -> tuple[Address, ...]:
    """The addresses of a host in the system's order of preference, each once, bounded.

    Raises:
        SourceUnavailableError: `dns-failed`.
    """
    name = server_name(host)
    literal = _literal(host)
    if literal is not None:
        return (Address(str(literal), port),)
    # With the final dot no search list is tried: the name is complete.
    answers = _lookup(host if host.endswith(".") else name, port, display(host, port))
    found: dict[Address, None] = {}
    for family, address in answers:
        if family not in {socket.AF_INET, socket.AF_INET6}:
            continue
        ip = address[0]
        if not isinstance(ip, str):
            continue  # Python without IPv6
        if len(address) == 4 and address[3] and "%" not in ip:
            ip = f"{ip}%{address[3]!s}"
        found.setdefault(Address(ip, port))
    if not found:
        raise SourceUnavailableError(
            Reason.DNS_FAILED, f"{display(host, port)} has no address of a usable kind"
        )
    return tuple(found)[: limits.ADDRESSES_PER_SERVER]


_FamilyAndAddress = tuple[int, tuple[str | int | bytes, ...]]


def _lookup(name: str, port: int, where: str) -> list[_FamilyAndAddress]:
    """`getaddrinfo` with an end: it knows no time limit and can't be interrupted itself."""
    result: list[list[_FamilyAndAddress] | Exception] = []

    def ask() -> None:
        try:
            answers = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
            result.append([(family, address) for family, _, _, _, address in answers])
        except (OSError, UnicodeError) as error:
            result.append(error)

    thread = threading.Thread(target=ask, name="resolve", daemon=True)
    thread.start()
    thread.join(RESOLVE_SECONDS)
    match result:
        case [list() as answers]:
            return answers
        case [Exception() as error]:
            raise SourceUnavailableError(
                Reason.DNS_FAILED, f"the name of {where} was not resolved: {describe(error)}"
            ) from error
        case _:
            raise SourceUnavailableError(
                Reason.DNS_FAILED, f"the name of {where} was not resolved in time"
            )


def _literal(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    address, percent, scope = host.partition("%")
    try:
        literal = ipaddress.ip_address(address)
        # A scope says which link; only addresses that are no use without one may have it.
        if percent and not (literal.is_link_local and _SCOPE.fullmatch(scope)):
            return None
        return ipaddress.ip_address(host)
    except ValueError:
        return None
