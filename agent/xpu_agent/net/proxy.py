# SPDX-License-Identifier: Apache-2.0
"""The way out through an HTTP proxy (RFC 9110, 9.3.6), where the configuration names one.

The environment is never asked. With a proxy, names of servers are resolved by it and not here: a
network that has one often resolves nothing else. TLS is made through the tunnel, end to end.
"""

import errno
import re
import socket
from dataclasses import dataclass
from typing import Self

from xpu_agent import limits
from xpu_agent.net import resolve
from xpu_agent.net.line import Deadline, open_tcp
from xpu_agent.ports import Address

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3})(?: [^\r\n]*)?\r?\n")


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy that takes CONNECT."""

    host: str
    port: int

    @classmethod
    def at(cls, url: str) -> Self:
        """The proxy of `http://HOST:PORT`, as the configuration has it."""
        host, _, port = url.removeprefix("http://").rpartition(":")
        return cls(host.removeprefix("[").removesuffix("]"), int(port))

    def dial(self, address: Address, deadline: Deadline) -> socket.socket:
        """A connection to `address` through a tunnel; its `ip` may be a name here.

        Raises OSError, also where the proxy refuses.
        """
        connection = self.connect(deadline)
        try:
            connection.settimeout(deadline.remaining())
            target = resolve.display(address.ip, address.port)
            connection.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
            status = _read_status(connection, deadline)
            if not 200 <= status < 300:
                raise ConnectionRefusedError(  # noqa: TRY301  # closed below like any other
                    errno.ECONNREFUSED, f"the proxy answered HTTP status {status}"
                )
        except BaseException:
            connection.close()
            raise
        return connection

    def connect(self, deadline: Deadline) -> socket.socket:
        """A connection to the proxy itself, at the first of its addresses that takes one.

        Raises:
            OSError: none does.
            SourceUnavailableError: `dns-failed`.
        """
        failure: OSError | None = None
        for address in resolve.resolve(self.host, self.port):
            try:
                return open_tcp(address, deadline)
            except OSError as error:
                failure = error
        raise failure or ConnectionRefusedError(errno.ECONNREFUSED, "the proxy has no address")


def _read_status(connection: socket.socket, deadline: Deadline) -> int:
    """The status of the proxy's answer; nothing behind its header is read."""
    header = bytearray()
    while not header.endswith((b"\r\n\r\n", b"\n\n")):
        connection.settimeout(deadline.remaining())
        octet = connection.recv(1)
        header += octet
        if not octet or len(header) > limits.HTTP_HEADER_BYTES:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "the proxy does not answer in HTTP")
    found = _STATUS_LINE.match(header)
    return int(found[1]) if found else 0
