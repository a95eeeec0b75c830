# SPDX-License-Identifier: Apache-2.0
"""Authorities, devices and real TLS servers for the tests of `net`."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from xpu_agent.net.tls import ClientIdentity
from xpu_emulator.http_wire import WireAnswer
from xpu_emulator.listener import ClientCertificates, Demand, HttpListener, ServerIdentity
from xpu_emulator.messages import Request
from xpu_emulator.pki import Identity, make_root

HOST = "bootstrap.example"
NOW = datetime.now(UTC)


def server_identity(identity: Identity) -> ServerIdentity:
    return ServerIdentity(identity.chain_pem, identity.key_pem)


@dataclass
class Authorities:
    """One root with two sibling CAs, a foreign root, the device's own."""

    root: Identity = field(default_factory=lambda: make_root("Servers"))
    foreign: Identity = field(default_factory=lambda: make_root("Foreign"))
    manufacturer: Identity = field(default_factory=lambda: make_root("Manufacturer"))

    def __post_init__(self) -> None:
        self.ours = self.root.issue("Our CA", ca=True)
        self.sibling = self.root.issue("Sibling CA", ca=True)
        devices = self.manufacturer.issue("Devices", ca=True)
        self.idevid = devices.issue("Device", subject_serial="SN-1")
        self.server = self.ours.issue("Bootstrap", dns_names=[HOST])
        self.expired = self.ours.issue(
            "Bootstrap",
            dns_names=[HOST],
            not_before=NOW - timedelta(days=20),
            not_after=NOW - timedelta(days=10),
        )


@pytest.fixture(scope="session")
def authorities() -> Authorities:
    return Authorities()


def write_identity(identity: Identity, folder: Path) -> ClientIdentity:
    chain, key = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(identity.chain_pem)
    key.write_bytes(identity.key_pem)
    return ClientIdentity(chain, key)


@pytest.fixture(scope="session")
def client(authorities: Authorities, tmp_path_factory: pytest.TempPathFactory) -> ClientIdentity:
    return write_identity(authorities.idevid, tmp_path_factory.mktemp("idevid"))


class Servers:
    """Starts listeners that answer every request with 404 and keep it."""

    def __init__(self, authorities: Authorities, stack: ExitStack) -> None:
        self._authorities = authorities
        self._stack = stack
        self.requests: list[Request] = []
        self.answers: dict[str, WireAnswer] = {}

    def start(
        self,
        identity: Identity,
        *,
        address: str = "127.0.0.1",
        demand: Demand = Demand.NONE,
        anchors: tuple[bytes, ...] | None = None,
    ) -> HttpListener:
        def answer(request: Request, _faults: object) -> WireAnswer:
            self.requests.append(request)
            return self.answers.get(request.path, WireAnswer(404))

        clients = ClientCertificates(demand, anchors or (self._authorities.manufacturer.der,))
        return self._stack.enter_context(
            HttpListener(
                answer,
                identity=server_identity(identity),
                client_certificates=clients,
                address=address,
            )
        )


@pytest.fixture
def servers(authorities: Authorities) -> Iterator[Servers]:
    with ExitStack() as stack:
        yield Servers(authorities, stack)
