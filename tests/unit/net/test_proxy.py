# SPDX-License-Identifier: Apache-2.0
"""Servers and images behind an HTTP proxy that is named in the configuration."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

import pytest
from tests.unit.net.conftest import HOST, Authorities, Servers, server_identity
from tests.unit.net.test_download import IMAGE, ROOM, MemorySink, PatientClock

from xpu_agent.artifacts.certificate import parse_certificate
from xpu_agent.device import ClockReading
from xpu_agent.errors import ExecutionError, Reason, ServerCertificateError, SourceUnavailableError
from xpu_agent.net.download import HttpDownloader
from xpu_agent.net.proxy import Proxy
from xpu_agent.net.restconf import RestconfConnector
from xpu_agent.ports import Address
from xpu_agent.trust.state import ProvisionalHop, TrustedHop
from xpu_emulator.https import FileServer

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n"
ACCURATE = ClockReading(datetime.now(UTC), accurate=True)


class FakeProxy:
    """Passes each connection on to one port, whatever name was asked for."""

    def __init__(self, listening: socket.socket, target: int, answer: bytes) -> None:
        self.asked: list[str] = []
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        self._listening = listening
        self._target = target
        self._answer = answer

    def run(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                request = connection.recv(65536)
                self.asked.append(request.partition(b"\r\n")[0].decode())
                with socket.create_connection(("127.0.0.1", self._target)) as onward:
                    if request.startswith(b"CONNECT"):
                        connection.sendall(self._answer)
                        if self._answer != ESTABLISHED:
                            continue
                    else:
                        onward.sendall(request.replace(HOST.encode(), b"127.0.0.1", 1))
                    _pump(connection, onward)


def _pump(one: socket.socket, other: socket.socket) -> None:
    def forward(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    back = threading.Thread(target=forward, args=(other, one))
    back.start()
    forward(one, other)
    back.join()


@contextmanager
def proxying(target: int, answer: bytes = ESTABLISHED) -> Iterator[FakeProxy]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        proxy = FakeProxy(listening, target, answer)
        thread = threading.Thread(target=proxy.run)
        thread.start()
        try:
            yield proxy
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_the_name_goes_to_the_proxy_and_tls_ends_at_the_server(
    authorities: Authorities, servers: Servers
) -> None:
    server = servers.start(authorities.server)
    hop = TrustedHop(HOST, 443, (parse_certificate(authorities.root.der),), None)
    foreign = TrustedHop(HOST, 443, (parse_certificate(authorities.foreign.der),), None)
    with proxying(server.port) as proxy:
        connector = RestconfConnector(None, proxy=Proxy.at(proxy.url))
        (address,) = connector.addresses(hop)
        assert address == Address(HOST, 443)
        connector.connect(hop, address, ACCURATE).close()
        with pytest.raises(ServerCertificateError):
            connector.connect(foreign, address, ACCURATE)
        connector.connect_provisionally(ProvisionalHop(HOST, 443), address).close()
    assert proxy.asked == [f"CONNECT {HOST}:443 HTTP/1.1"] * 3
    assert {each.sni for each in server.connections} == {HOST}


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 403 No\r\n\r\n",
        b"HTTP/1.1 2\r\n\r\n",
        b"SSH-2.0\r\n\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20000 + b"\r\n",
    ],
)
def test_a_proxy_that_refuses(authorities: Authorities, servers: Servers, answer: bytes) -> None:
    server = servers.start(authorities.server)
    with proxying(server.port, answer) as proxy:
        connector = RestconfConnector(None, proxy=Proxy.at(proxy.url))
        with pytest.raises(SourceUnavailableError, match="proxy") as caught:
            connector.connect_provisionally(ProvisionalHop(HOST, 443), Address(HOST, 443))
    assert caught.value.reason is Reason.SERVER_UNREACHABLE


def test_a_proxy_that_is_not_there() -> None:
    connector = RestconfConnector(None, proxy=Proxy.at("http://nowhere.invalid.:3128"))
    with pytest.raises(SourceUnavailableError) as caught:
        connector.connect_provisionally(ProvisionalHop(HOST, 443), Address(HOST, 443))
    assert caught.value.reason is Reason.DNS_FAILED


def test_urls() -> None:
    assert Proxy.at("http://proxy.example:3128") == Proxy("proxy.example", 3128)
    assert Proxy.at("http://[2001:db8::1]:3128") == Proxy("2001:db8::1", 3128)


@pytest.mark.parametrize("secure", [True, False])
def test_images_through_the_proxy(authorities: Authorities, secure: bool) -> None:
    identity = server_identity(authorities.server) if secure else None
    sink = MemorySink()
    with FileServer({"/image": IMAGE}, identity) as server, proxying(server.port) as proxy:
        fetch = HttpDownloader(
            PatientClock(), None, lambda _done, _total: None, proxy=Proxy.at(proxy.url)
        ).fetch
        scheme, port = ("https", 443) if secure else ("http", 80)
        if secure:
            result = fetch(f"https://{HOST}/image", sink, max_bytes=ROOM, medium=None)
            assert result.sha256.hex() == IMAGE.sha256
        else:
            # The file server knows no absolute request targets, which is all that counts here.
            with pytest.raises(ExecutionError):
                fetch(f"http://{HOST}/image", sink, max_bytes=ROOM, medium=None)
    asked = f"CONNECT {HOST}:{port}" if secure else f"GET {scheme}://{HOST}/image"
    assert proxy.asked[0] == f"{asked} HTTP/1.1"


def test_images_from_a_proxy_that_is_not_there() -> None:
    clock = PatientClock()
    for scheme in ("http", "https"):
        fetch = HttpDownloader(
            clock,
            None,
            lambda _done, _total: None,
            proxy=Proxy.at("http://nowhere.invalid.:3128"),
        ).fetch
        with pytest.raises(ExecutionError) as caught:
            fetch(f"{scheme}://{HOST}/image", MemorySink(), max_bytes=ROOM, medium=None)
        assert caught.value.reason is Reason.IMAGE_UNREACHABLE
