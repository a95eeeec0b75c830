# SPDX-License-Identifier: Apache-2.0
"""A socket for `http.client` that tells a slow transfer from one that stands still.

An image may take hours, so its transfer has no time limit, but it has to get on: each
`limits.STALL_SECONDS` spent waiting for the peer must bring `limits.STALL_BYTES`. Time in which we
did not ask, because the disk is slower than the network, doesn't count.
"""

import io
import socket
import time
from typing import TYPE_CHECKING

from xpu_agent import limits

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

# Small, so that nearly all of a body goes past it, straight into the caller's buffer.
_READ_AHEAD = 8 * limits.KIB


class PacedSocket:
    """The few methods of a socket that `http.client` uses, over a connected one."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._raw = _PacedReader(connection)
        connection.settimeout(limits.STALL_SECONDS)

    def sendall(self, data: bytes) -> None:
        """Send a request. Raises OSError."""
        self._connection.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        """What the answer is read from."""
        return io.BufferedReader(self._raw, _READ_AHEAD)

    def header_read(self) -> None:
        """The header of the answer is complete; from here on the pace rules."""
        self._raw.header_read()

    def raise_failure(self) -> None:
        """After the last octet: raises the OSError that made it the last, if there was one."""
        if self._raw.failure is not None:
            raise self._raw.failure

    def close(self) -> None:
        """Nothing: `http.client` closes while the answer is still to be read, the owner after."""


class _PacedReader(io.RawIOBase):
    def __init__(self, connection: socket.socket) -> None:
        super().__init__()
        self._connection = connection
        self._header_end: float | None = time.monotonic() + limits.STALL_SECONDS
        self._received = 0
        self._waited = 0.0
        self.failure: OSError | None = None

    def readable(self) -> bool:
        return True

    def header_read(self) -> None:
        self._header_end = None
        self._connection.settimeout(limits.STALL_SECONDS)
        self._received, self._waited = 0, 0.0

    def readinto(self, buffer: "WriteableBuffer") -> int:
        started = time.monotonic()
        if self._header_end is not None:
            if self._received >= limits.HTTP_HEADER_BYTES:
                raise OSError("the header of the answer is too long")
            self._connection.settimeout(max(self._header_end - started, 0.001))
            if started >= self._header_end:
                raise TimeoutError
            size = self._connection.recv_into(buffer)
        else:
            size = self._receive_body(buffer, started)
        self._received += size
        return size

    def _receive_body(self, buffer: "WriteableBuffer", started: float) -> int:
        if self.failure is not None:
            return 0
        try:
            size = self._connection.recv_into(buffer)
            self._waited += time.monotonic() - started
            if self._waited >= limits.STALL_SECONDS:
                if self._received < limits.STALL_BYTES:
                    raise TimeoutError  # as the socket itself would
                self._received, self._waited = 0, 0.0
        except OSError as error:
            # Raised here, it would take with it what is already in the caller's buffer.
            self.failure = error
            return 0
        return size
