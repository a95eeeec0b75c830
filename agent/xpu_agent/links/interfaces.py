# SPDX-License-Identifier: Apache-2.0
"""Network interfaces and their addresses, as the status file shows them."""

import socket
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Interface:
    """One interface; `addresses` are IP literals, link-local ones with their %scope."""

    name: str
    mac: str | None
    addresses: tuple[str, ...]


def interfaces() -> tuple[Interface, ...]:
    """All interfaces but the loopback, by name; names alone where `netifaces` is missing.

    Never raises: it feeds a status file.
    """
    try:
        import netifaces
    except ImportError:
        return _names_alone()
    found = []
    try:
        for name in netifaces.interfaces():
            families = {int(f): entries for f, entries in netifaces.ifaddresses(name).items()}
            addresses = tuple(
                _scoped(entry["addr"], name)
                for family in (socket.AF_INET, socket.AF_INET6)
                for entry in families.get(family, ())
            )
            macs = [entry["addr"] for entry in families.get(socket.AF_PACKET, ())]
            found.append(Interface(name, macs[0] if macs else None, addresses))
    except (OSError, ValueError, KeyError):
        return _names_alone()
    return tuple(sorted((i for i in found if i.name != "lo"), key=lambda i: i.name))


def _names_alone() -> tuple[Interface, ...]:
    try:
        names = sorted(name for _, name in socket.if_nameindex())
    except OSError:
        return ()
    return tuple(Interface(name, None, ()) for name in names if name != "lo")


def _scoped(address: str, name: str) -> str:
    """A link-local IPv6 address means nothing without its interface."""
    return f"{address}%{name}" if address.startswith("fe80:") and "%" not in address else address
