# SPDX-License-Identifier: Apache-2.0
"""Exchanges with servers that are slow, endless, compressed, gone or no HTTP servers at all."""

import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from tests.unit.net.conftest import HOST, Authorities

from xpu_agent import limits
from xpu_agent.errors import MalformedError, Reason, SourceUnavailableError
from xpu_agent.net.http_session import Answer, HttpSession
from xpu_agent.net.line import Deadline
from xpu_agent.net.tls import provisional_context
from xpu_agent.ports import Address

OK = b"HTTP/1.1 200 OK\r\nContent-Type: Text/Plain; charset=x\r\nContent-Length: 2\r\n\r\nok"

Serve = Callable[[ssl.SSLSocket], None]


class RawServer:
    """A TLS server whose connections are served, one after another, by the functions given."""

    def __init__(self, authorities: Authorities, folder: Path, *serve: Serve) -> None:
        self.connections = 0
        pem = folder / "server.pem"
        pem.write_bytes(authorities.server.key_pem + authorities.server.chain_pem)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(pem)
        self._serve = serve
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        for serve in self._serve:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            with suppress(OSError), self._context.wrap_socket(connection, server_side=True) as tls:
                tls.settimeout(10)
                serve(tls)

    def close(self) -> None:
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listening.close()


class Started:
    """What the fixture gives: starts servers and sessions, ends them."""

    def __init__(self, authorities: Authorities, folder: Path, stack: ExitStack) -> None:
        self._authorities = authorities
        self._folder = folder
        self._stack = stack

    def __call__(self, *serve: Serve) -> tuple[RawServer, HttpSession]:
        server = RawServer(self._authorities, self._folder, *serve)
        self._stack.callback(server.close)
        session = HttpSession(HOST, Address("127.0.0.1", server.port), provisional_context(None))
        self._stack.callback(session.close)
        session.open()
        return server, session


@pytest.fixture
def start(authorities: Authorities, tmp_path: Path) -> Iterator[Started]:
    with ExitStack() as stack:
        yield Started(authorities, tmp_path, stack)


def get(session: HttpSession, *, seconds: float = 5, body_bytes: int = 1000) -> Answer:
    return session.exchange(
        "GET", "/x", {"Accept": "a/b"}, None, deadline=Deadline(seconds), body_bytes=body_bytes
    )


def answering(*answers: bytes) -> Serve:
    def serve(tls: ssl.SSLSocket) -> None:
        for answer in answers:
            if not tls.recv(65536):
                return
            tls.sendall(answer)

    return serve


@contextmanager
def refused(reason: Reason = Reason.HTTP_ERROR) -> Iterator[None]:
    with pytest.raises((SourceUnavailableError, MalformedError)) as caught:
        yield
    assert caught.value.reason is reason


def test_a_connection_is_kept(start: Started) -> None:
    server, session = start(answering(OK, OK, OK))
    for _ in range(3):
        assert get(session) == Answer(200, "text/plain", b"ok")
    assert server.connections == 1


def test_a_connection_long_idle_is_not_relied_upon(
    start: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "KEEP_SECONDS", 0.05)
    server, session = start(answering(OK, OK), answering(OK))
    assert get(session).body == b"ok"
    time.sleep(0.1)
    assert get(session).body == b"ok"
    assert server.connections == 2


def test_a_connection_that_is_gone_is_made_again_once(start: Started) -> None:
    server, session = start(answering(OK), answering(OK))
    assert get(session).body == b"ok"
    time.sleep(0.05)
    assert get(session).body == b"ok"
    assert server.connections == 2


def test_a_connection_that_ends_with_the_request_is_made_again_once(start: Started) -> None:
    def serve(tls: ssl.SSLSocket) -> None:
        tls.recv(65536)
        tls.sendall(OK)
        tls.recv(65536)  # the next request, and then nothing

    server, session = start(serve, answering(OK))
    assert get(session).body == b"ok"
    assert get(session).body == b"ok"
    assert server.connections == 2


def test_a_connection_that_is_reset_by_the_request_is_made_again_once(start: Started) -> None:
    def serve(tls: ssl.SSLSocket) -> None:
        tls.recv(65536)
        tls.sendall(OK)
        tls.recv(65536)
        tls.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    server, session = start(serve, answering(OK))
    assert get(session).body == b"ok"
    assert get(session).body == b"ok"
    assert server.connections == 2


def test_a_server_that_never_answers_is_not_asked_for_ever(start: Started) -> None:
    server, session = start(*[lambda tls: tls.recv(65536) and None] * 5)
    with refused():
        get(session)
    assert server.connections == 1


def test_one_octet_now_and_then_does_not_buy_time(start: Started) -> None:
    def trickle(tls: ssl.SSLSocket) -> None:
        tls.recv(65536)
        tls.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(100):
            tls.sendall(b"x")
            time.sleep(0.02)

    def trickled_header(tls: ssl.SSLSocket) -> None:
        tls.recv(65536)
        for octet in b"HTTP/1.1 200 OK\r\nX: " + b"x" * 80:
            tls.sendall(bytes([octet]))
            time.sleep(0.02)

    for serve in (trickle, trickled_header):
        _, session = start(serve)
        begun = time.monotonic()
        with refused(Reason.TIMEOUT):
            get(session, seconds=0.3)
        assert time.monotonic() - begun < 1


def test_a_silent_handshake_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CONNECT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = Address("127.0.0.1", listening.getsockname()[1])
        session = HttpSession(HOST, address, provisional_context(None))
        with refused(Reason.TIMEOUT):
            session.open()
        session.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n" + b"x" * 1001,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"a0\r\n%s\r\n" % (b"x" * 160) * 9,
        b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 1001,
    ],
)
def test_bodies_are_bounded_while_they_are_read(start: Started, answer: bytes) -> None:
    _, session = start(answering(answer))
    with refused(Reason.TOO_LARGE):
        get(session)


def test_a_body_of_the_exact_bound_is_taken(start: Started) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 1000
    _, session = start(answering(answer))
    assert len(get(session).body) == 1000


@pytest.mark.parametrize(
    "header",
    [
        b"X: " + b"x" * 3 * limits.HTTP_HEADER_BYTES,
        b"X: y\r\n" * limits.HTTP_HEADER_BYTES,
    ],
)
def test_headers_are_bounded(start: Started, header: bytes) -> None:
    _, session = start(answering(b"HTTP/1.1 200 OK\r\n" + header + b"\r\n\r\n"))
    with refused():
        get(session)


def test_interim_answers_are_bounded(start: Started) -> None:
    def endless(tls: ssl.SSLSocket) -> None:
        tls.recv(65536)
        while True:
            tls.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)

    _, session = start(endless)
    with refused():
        get(session)


def test_errors_keep_the_beginning_of_their_body(start: Started) -> None:
    body = b"x" * 10 * limits.ERROR_BODY_BYTES
    answer = b"HTTP/1.1 500 No\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    server, session = start(answering(answer), answering(OK))
    found = get(session)
    assert (found.status, len(found.body)) == (500, limits.ERROR_BODY_BYTES)
    assert get(session).status == 200
    assert server.connections == 2


@pytest.mark.parametrize("encoding", [b"gzip", b"deflate", b"identity, gzip", b"x"])
def test_compressed_bodies_are_refused(start: Started, encoding: bytes) -> None:
    answer = OK.replace(b"\r\n\r\n", b"\r\nContent-Encoding: " + encoding + b"\r\n\r\n")
    _, session = start(answering(answer))
    with refused():
        get(session)


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/1.1 banana OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\0\r\n\r\n",
        b"\xff" * 100,
    ],
)
def test_what_is_no_http_is_an_error_of_ours(start: Started, answer: bytes) -> None:
    _, session = start(answering(answer))
    with refused():
        get(session)


def test_redirects_and_cookies_are_not_acted_upon(start: Started) -> None:
    seen: list[bytes] = []

    def serve(tls: ssl.SSLSocket) -> None:
        for location in (b"https://elsewhere.example/", b"\xff://[", b"http://[::1"):
            seen.append(tls.recv(65536))
            tls.sendall(
                b"HTTP/1.1 307 Go\r\nLocation: " + location + b"\r\nSet-Cookie: a=b\r\n"
                b"Content-Length: 0\r\n\r\n"
            )

    server, session = start(serve)
    for _ in range(3):
        assert get(session).status == 307
    assert server.connections == 1
    assert not any(b"cookie" in request.lower() for request in seen)


def test_what_is_sent(start: Started) -> None:
    seen: list[bytes] = []

    def serve(tls: ssl.SSLSocket) -> None:
        seen.append(tls.recv(65536))
        tls.sendall(OK)

    _, session = start(serve)
    get(session)
    lines = seen[0].decode().lower().split("\r\n")
    assert "accept: a/b" in lines
    assert "accept-encoding: identity" in lines
    assert "user-agent: xpu-agent" in lines
    assert not any(line.startswith("authorization") for line in lines)
