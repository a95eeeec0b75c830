# SPDX-License-Identifier: Apache-2.0
import ipaddress
import socket
import sys

import pytest

from xpu_agent.links.interfaces import interfaces


def test_interfaces_are_those_of_the_kernel_without_loopback() -> None:
    names = {name for _, name in socket.if_nameindex()} - {"lo"}
    found = interfaces()
    assert {interface.name for interface in found} == names
    for interface in found:
        for address in interface.addresses:
            parsed = ipaddress.ip_address(address)
            assert (
                not parsed.is_link_local or parsed.version == 4 or f"%{interface.name}" in address
            )


def test_without_netifaces_there_are_names_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "netifaces", None)
    assert all(interface.addresses == () for interface in interfaces())
    assert {i.name for i in interfaces()} == {n for _, n in socket.if_nameindex()} - {"lo"}
