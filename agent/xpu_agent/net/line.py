# SPDX-License-Identifier: Apache-2.0
"""One TCP connection, with TLS or without, whose every step ends in time.

Socket time limits count from the last octet, so that a server which sends one now and then holds
its client for ever. A `Deadline` is a point in time that all steps of one exchange share.
"""

import socket
import ssl
import time
from collections.abc import Callable

from xpu_agent import limits
from xpu_agent.errors import Reason, SourceUnavailableError
from xpu_agent.net import resolve, tls
from xpu_agent.ports import Address


class Deadline:
    """The point in time at which an exchange is given up, `seconds` from now."""

    def __init__(self, seconds: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._end = monotonic() + seconds

    def remaining(self) -> float:
        """Seconds left, more than zero. Raises TimeoutError when there are none."""
        left = self._end - self._monotonic()
        if left <= 0:
            raise TimeoutError
        return left


def open_tcp(address: Address, deadline: Deadline) -> socket.socket:
    """Connect to an IP literal. Raises OSError."""
    family, kind, proto, _, target = socket.getaddrinfo(
        address.ip,
        address.port,
        type=socket.SOCK_STREAM,
        flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
    )[0]
    connection = socket.socket(family, kind, proto)
    try:
        connection.settimeout(deadline.remaining())
        connection.connect(target)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        connection.close()
        raise
    return connection


Dial = Callable[[Address, Deadline], socket.socket]


def open_tls(
    address: Address,
    context: ssl.SSLContext,
    name: str,
    deadline: Deadline,
    dial: Dial = open_tcp,
) -> ssl.SSLSocket:
    """Connect and shake hands; `name` is asked for by SNI and, where names count, checked.

    `dial` makes the TCP connection. Raises OSError, `ssl.SSLError` among them.
    """
    connection = dial(address, deadline)
    try:
        secured = context.wrap_socket(
            connection, server_hostname=name, do_handshake_on_connect=False
        )
    except BaseException:
        connection.close()
        raise
    try:
        secured.settimeout(deadline.remaining())
        secured.do_handshake()
    except BaseException:
        secured.close()
        raise
    return secured


class Line:
    """A TLS connection to a bootstrap server, as an HTTP/1.1 client uses it.

    It has the methods of a network stream of httpcore. Errors leave it as `XpuAgentError`, which
    the HTTP libraries hand through untouched; a failed write is silent, since the answer says
    why: a server that refuses our certificate in TLS 1.3 does so after our first octets.
    """

    def __init__(self, secured: ssl.SSLSocket, where: str, deadline: Deadline) -> None:
        self._socket = secured
        self._where = where
        self._deadline = deadline
        self._header_open = True
        self._received = 0
        self.exchanges = 0

    @classmethod
    def open(
        cls,
        host: str,
        address: Address,
        context: ssl.SSLContext,
        deadline: Deadline,
        dial: Dial = open_tcp,
    ) -> "Line":
        """Connect; the handshake is complete on return.

        Raises:
            ServerCertificateError: the certificate does not validate.
            IdentityError: our certificate was refused.
            SourceUnavailableError: no TCP or TLS connection.
        """
        where = resolve.display(host, address.port)
        name = resolve.server_name(host)
        try:
            return cls(open_tls(address, context, name, deadline, dial), where, deadline)
        except OSError as error:
            raise tls.connection_error(error, where) from error

    def begin(self, deadline: Deadline) -> None:
        """A new exchange starts, to be over by `deadline`."""
        self._deadline = deadline
        self._header_open = True
        self._received = 0
        self.exchanges += 1

    def header_read(self) -> None:
        """The header of the answer is complete; what follows is bounded by its reader."""
        self._header_open = False

    @property
    def answered(self) -> bool:
        """Whether a first octet of the answer has arrived in this exchange."""
        return self._received > 0

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002  # the deadline rules
        """Some octets, none at the end of the connection."""
        if self._header_open and self._received >= limits.HTTP_HEADER_BYTES:
            raise SourceUnavailableError(
                Reason.HTTP_ERROR,
                f"{self._where} sent a header of more than {limits.HTTP_HEADER_BYTES} octets",
            )
        try:
            self._socket.settimeout(self._deadline.remaining())
            data = self._socket.recv(max_bytes)
        except OSError as error:
            raise tls.connection_error(error, self._where) from error
        self._received += len(data)
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002  # the deadline rules
        """Send all octets, or learn at the next `read` why not."""
        try:
            self._socket.settimeout(self._deadline.remaining())
            self._socket.sendall(buffer)
        except TimeoutError as error:
            raise tls.connection_error(error, self._where) from error
        except OSError:
            return

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,  # noqa: ARG002  # the handshake was made in `open`
        server_hostname: str | None = None,  # noqa: ARG002
        timeout: float | None = None,  # noqa: ARG002
    ) -> "Line":
        """TLS is up already."""
        return self

    def get_extra_info(self, info: str) -> bool | None:
        """`is_readable`: an idle connection with something to read has been closed by the server.

        The socket alone can't tell: session tickets of TLS 1.3 make it readable too.
        """
        if info != "is_readable":
            return None
        try:
            self._socket.settimeout(0)
            self._socket.recv(1)
        except (ssl.SSLWantReadError, BlockingIOError):
            return False
        except (OSError, ValueError):
            return True
        return True

    def close(self) -> None:
        """Let go; safe to call twice."""
        self._socket.close()
