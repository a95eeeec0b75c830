# SPDX-License-Identifier: Apache-2.0
"""A threaded HTTP/1.1 server on one address, with TLS and with faults.

One thread accepts, one serves each connection. Closing it ends every thread and socket, whatever
they were waiting for; what a handler raised is raised again then, so that no fault of ours hides
behind a dead thread. Each connection is recorded, also one whose handshake fails.
"""

import contextlib
import os
import selectors
import socket
import ssl
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from types import TracebackType
from typing import Any, BinaryIO, Self, cast

from xpu_emulator.faults import (
    AnswerFault,
    CloseOnConnect,
    FaultPlan,
    PlainHttp,
    WrongCertificate,
    WrongCertificateKind,
)
from xpu_emulator.http_wire import (
    BadRequestError,
    Channel,
    OctetsBody,
    RawRequest,
    WireAnswer,
    read_request,
    write_answer,
)
from xpu_emulator.messages import Request

_IDLE_SECONDS = 120.0
_JOIN_SECONDS = 10.0
_GRACE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class ServerIdentity:
    """A certificate chain (leaf first) and its key, in PEM."""

    chain_pem: bytes
    key_pem: bytes


class Demand(Enum):
    """Whether TLS asks the client for a certificate."""

    REQUIRED = "required"
    OPTIONAL = "optional"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class ClientCertificates:
    """Which client certificates are taken: verified to these anchors (DER)."""

    demand: Demand = Demand.NONE
    anchors: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection that was made; `problem` says why it came to nothing."""

    peer: str
    sni: str | None = None
    tls_version: str | None = None
    client_certificate_der: bytes | None = None
    client_chain: tuple[bytes, ...] = ()  # as presented, leaf first
    problem: str | None = None


Handler = Callable[[Request, tuple[AnswerFault, ...]], WireAnswer]


def _context(identity: ServerIdentity, clients: ClientCertificates) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    # The ssl module takes chain and key from files only; they live for a moment.
    with tempfile.TemporaryDirectory(prefix="xpu-emulator-") as folder:
        path = os.path.join(folder, "identity.pem")  # noqa: PTH118  # one name, used at once
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(identity.key_pem + b"\n" + identity.chain_pem)
        context.load_cert_chain(path)
    if clients.demand is not Demand.NONE:
        required = clients.demand is Demand.REQUIRED
        context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
        context.load_verify_locations(cadata=b"".join(clients.anchors))
    return context


def _client_chain(sock: ssl.SSLSocket) -> tuple[bytes, ...]:
    """The chain as the client presented it; the public way came with Python 3.13."""
    public = getattr(sock, "get_unverified_chain", None)
    if public is not None:
        return tuple(public() or ())
    inner: Any = getattr(sock, "_sslobj", None)
    chain = inner.get_unverified_chain() if hasattr(inner, "get_unverified_chain") else None
    return tuple(ssl.PEM_cert_to_DER_cert(cert.public_bytes()) for cert in chain or ())


class HttpListener:
    """The listening half; a context manager. Started as soon as it is made."""

    def __init__(
        self,
        handler: Handler,
        *,
        identity: ServerIdentity | None = None,
        client_certificates: ClientCertificates | None = None,
        wrong_identities: Mapping[WrongCertificateKind, ServerIdentity] | None = None,
        faults: FaultPlan | None = None,
        address: str = "127.0.0.1",
        port: int = 0,
        host_name: str | None = None,
        on_connection: Callable[[Connection], None] | None = None,
    ) -> None:
        self.faults = faults or FaultPlan()
        self._handler = handler
        self._on_connection = on_connection
        clients = client_certificates or ClientCertificates()
        self._context = _context(identity, clients) if identity is not None else None
        self._wrong_contexts = {
            kind: _context(wrong, clients) for kind, wrong in (wrong_identities or {}).items()
        }
        self._host = host_name or address
        self._stop = threading.Event()
        self._lock = threading.Condition(threading.Lock())
        self._connections: list[Connection] = []
        self._failures: list[BaseException] = []
        self._live: dict[threading.Thread, socket.socket] = {}
        self._busy: set[threading.Thread] = set()  # between a request and the end of its answer
        self._handshake = threading.local()
        for context in (self._context, *self._wrong_contexts.values()):
            if context is not None:
                context.sni_callback = self._note_sni
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._listening = socket.create_server((address, port), family=family, backlog=64)
        self.port: int = self._listening.getsockname()[1]
        self._wake_read, self._wake_write = socket.socketpair()
        self._acceptor = threading.Thread(
            target=self._accept, name=f"accept-{self.port}", daemon=True
        )
        self._acceptor.start()

    # Outside

    @property
    def url(self) -> str:
        """Scheme, host and port."""
        scheme = "http" if self._context is None else "https"
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{scheme}://{host}:{self.port}"

    @property
    def connections(self) -> tuple[Connection, ...]:
        """Every connection so far, failed handshakes included."""
        with self._lock:
            return tuple(self._connections)

    def wait_for_connections(self, count: int, timeout: float) -> bool:
        """Wait until so many connections were made or failed; whether they were in time."""
        with self._lock:
            return self._lock.wait_for(lambda: len(self._connections) >= count, timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
        if kind is None and self._failures:
            raise self._failures[0]

    def close(self) -> None:
        """End every thread and socket; may be called twice.

        Answers under way are still sent, unless a fault or the client holds them up.
        """
        if self._stop.is_set():
            return
        self._stop.set()
        self._wake_write.send(b"x")
        self._acceptor.join(_JOIN_SECONDS)
        with self._lock:
            self._lock.wait_for(lambda: not self._busy, _GRACE_SECONDS)
            live = dict(self._live)
            for sock in live.values():
                # Not SSLSocket.shutdown: that one takes the TLS object from a thread in use of it.
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)
        for thread in live:
            thread.join(_JOIN_SECONDS)
        for sock in (self._listening, self._wake_read, self._wake_write):
            sock.close()

    # Threads

    def _accept(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listening, selectors.EVENT_READ)
            selector.register(self._wake_read, selectors.EVENT_READ)
            while not self._stop.is_set():
                selector.select()
                if self._stop.is_set():
                    return
                try:
                    sock, peer = self._listening.accept()
                except OSError:
                    continue  # the client went away in between
                thread = threading.Thread(
                    target=self._serve,
                    args=(sock, f"{peer[0]}:{peer[1]}"),
                    name=f"serve-{self.port}-{peer[1]}",
                    daemon=True,
                )
                with self._lock:
                    self._live[thread] = sock
                thread.start()

    def _serve(self, raw: socket.socket, peer: str) -> None:
        try:
            raw.settimeout(_IDLE_SECONDS)
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connected = self._connect(raw, peer)
            if connected is not None:
                self._converse(*connected)
        except (OSError, BadRequestError):
            pass  # the client's end or ours; what was said before is recorded
        except Exception as error:  # noqa: BLE001  # a handler's fault is raised on close
            with self._lock:
                self._failures.append(error)
        finally:
            with self._lock:
                sock = self._live.pop(threading.current_thread())
            _close(sock)

    def _record(self, connection: Connection) -> None:
        with self._lock:
            self._connections.append(connection)
            self._lock.notify_all()
        if self._on_connection is not None:
            self._on_connection(connection)

    def _note_sni(self, _sock: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        self._handshake.sni = name

    def _connect(self, raw: socket.socket, peer: str) -> tuple[socket.socket, Connection] | None:
        """Do what comes before HTTP; None if the connection ends here."""
        context = self._context
        for fault in self.faults.for_connection():
            match fault:
                case CloseOnConnect():
                    self._record(Connection(peer, problem="closed on connect"))
                    return None
                case PlainHttp():
                    context = None
                case WrongCertificate(kind):
                    context = self._wrong_contexts[kind]
        if context is None:
            connection = Connection(peer)
            self._record(connection)
            return raw, connection
        self._handshake.sni = None
        # `wrap_socket` takes the descriptor from `raw`: from here on `tls` is the connection.
        tls = context.wrap_socket(raw, server_side=True, do_handshake_on_connect=False)
        with self._lock:
            self._live[threading.current_thread()] = tls
            if self._stop.is_set():
                # `close` may have shut down the old object, whose descriptor was already gone.
                socket.socket.shutdown(tls, socket.SHUT_RDWR)
        try:
            tls.do_handshake()
        except (OSError, ValueError) as error:
            self._record(Connection(peer, self._handshake.sni, problem=str(error)))
            return None
        certificate = tls.getpeercert(binary_form=True)
        connection = Connection(
            peer,
            self._handshake.sni,
            tls.version(),
            certificate,
            _client_chain(tls) if certificate is not None else (),
        )
        self._record(connection)
        return tls, connection

    def _converse(self, sock: socket.socket, connection: Connection) -> None:
        channel = Channel(sock, self._stop)
        with cast("BinaryIO", sock.makefile("rb")) as stream:
            open_ = True
            while open_:
                try:
                    raw = read_request(stream, channel)
                except BadRequestError as error:
                    answer = WireAnswer(error.status, body=OctetsBody(f"{error}\n".encode()))
                    write_answer(channel, answer, (), keep_alive=False)
                    raise
                if raw is None:
                    return
                me = threading.current_thread()
                with self._lock:
                    self._busy.add(me)
                try:
                    open_ = self._answer(channel, raw, connection)
                finally:
                    with self._lock:
                        self._busy.discard(me)
                        self._lock.notify_all()

    def _answer(self, channel: Channel, raw: RawRequest, connection: Connection) -> bool:
        request = Request(
            raw.method,
            raw.target,
            raw.headers,
            raw.body,
            connection.client_certificate_der,
            connection.client_chain,
            connection.sni,
            connection.peer,
        )
        faults = self.faults.for_request(request.path)
        try:
            answer = self._handler(request, faults)
        except Exception:
            write_answer(channel, WireAnswer(500), (), keep_alive=False)
            raise
        if raw.method == "HEAD":
            answer = replace(answer, head_only=True)
        return write_answer(channel, answer, faults, keep_alive=raw.keeps_alive)


def _close(sock: socket.socket) -> None:
    """Close in good order: with TLS, say so first, without waiting for the answer."""
    if isinstance(sock, ssl.SSLSocket):
        with contextlib.suppress(OSError, ValueError):
            sock.setblocking(False)  # noqa: FBT003  # the socket module takes no keyword
            sock.unwrap()
    sock.close()
