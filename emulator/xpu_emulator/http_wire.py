# SPDX-License-Identifier: Apache-2.0
"""HTTP/1.1 on one connection (RFC 9112): reading requests, and writing answers right or wrong.

Written by hand, because the faults of a server live exactly where a library would be helpful.
"""

import array
import fcntl
import os
import socket
import ssl
import struct
import termios
import threading
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import BinaryIO, Protocol, TypeAlias

from xpu_emulator.faults import (
    AnswerFault,
    CloseBeforeAnswer,
    Delay,
    HugeHeaders,
    ResetAfter,
    Slow,
    TruncatedBody,
    WrongContentLength,
)

Buffer: TypeAlias = bytes | memoryview
HEAD_OCTETS = 64 * 1024
BODY_OCTETS = 16 * 1024 * 1024
PIECE_OCTETS = 512 * 1024
_DRAIN_SECONDS = 10.0


class BadRequestError(Exception):
    """The client doesn't speak HTTP/1.1, or too much of it; `status` says which."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class RawRequest:
    """A request as read from the connection."""

    method: str
    target: str
    version: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def keeps_alive(self) -> bool:
        """Whether the client wants to send more requests on this connection."""
        tokens = ",".join(v for k, v in self.headers if k.lower() == "connection").lower()
        return self.version == "HTTP/1.1" and "close" not in tokens


class Body(Protocol):
    """The body of an answer, produced while it is sent."""

    @property
    def size(self) -> int:
        """Octets in all."""
        ...

    def send(self, channel: "Channel", start: int, stop: int) -> None:
        """Write the octets from `start` to `stop` to the channel."""
        ...


@dataclass(frozen=True, slots=True)
class OctetsBody:
    """A body in memory."""

    octets: bytes

    @property
    def size(self) -> int:
        """Octets in all."""
        return len(self.octets)

    def send(self, channel: "Channel", start: int, stop: int) -> None:
        """Write a part of it."""
        channel.write(memoryview(self.octets)[start:stop])


@dataclass(frozen=True, slots=True)
class Fill:
    """A body of so many spaces, never in memory as a whole."""

    size: int

    def send(self, channel: "Channel", start: int, stop: int) -> None:
        """Write a part of it."""
        piece = memoryview(b" " * min(PIECE_OCTETS, stop - start))
        while start < stop:
            channel.write(piece[: stop - start])
            start += len(piece)


@dataclass(frozen=True, slots=True)
class WireAnswer:
    """A status, header lines and a body, to be sent with or without faults."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: Body = field(default_factory=lambda: OctetsBody(b""))
    head_only: bool = False  # the answer to HEAD: the length of a body that doesn't follow


class Channel:
    """A connection that is written to, at full speed or throttled; interruptible."""

    def __init__(self, sock: socket.socket, stop: threading.Event) -> None:
        self._sock = sock
        self._stop = stop
        self._rate: int | None = None
        self.sent = 0

    def throttle(self, octets_per_second: int | None) -> None:
        """Write this slowly from now on."""
        self._rate = octets_per_second

    def pause(self, seconds: float) -> None:
        """Wait, or give up when the server is closed.

        Raises:
            ConnectionAbortedError: the server is being closed.
        """
        if self._stop.wait(seconds):
            raise ConnectionAbortedError("the server is being closed")

    def write(self, data: Buffer) -> None:
        """Send all of it."""
        if self._rate is None:
            self._sock.sendall(data)
            self.sent += len(data)
            return
        view = memoryview(data)
        # Ten pieces a second, or one octet in each interval when it is to be slower than that.
        size = max(1, self._rate // 10)
        for start in range(0, len(view), size):
            piece = view[start : start + size]
            self.pause(len(piece) / self._rate)
            self._sock.sendall(piece)
            self.sent += len(piece)

    def send_file(self, file: BinaryIO, start: int, stop: int) -> None:
        """Send a part of a file, by the kernel alone where there is neither TLS nor throttle."""
        if self._rate is None and not isinstance(self._sock, ssl.SSLSocket):
            self.sent += self._sock.sendfile(file, start, stop - start) or 0
            return
        file.seek(start)
        buffer = memoryview(bytearray(PIECE_OCTETS))
        while start < stop:
            count = os.readv(file.fileno(), [buffer[: min(len(buffer), stop - start)]])
            if count == 0:
                raise ConnectionAbortedError("the file became shorter while it was sent")
            self.write(buffer[:count])
            start += count

    def reset(self) -> None:
        """Reset the connection once the peer's host has everything that was written."""
        waited = 0.0
        while _unsent(self._sock) and waited < _DRAIN_SECONDS:
            self.pause(0.002)
            waited += 0.002
        # A close with a lingering time of zero sends RST instead of FIN.
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # Past the ssl module, which has a farewell to say, and past the buffers that share it.
        os.close(self._sock.detach())


def _unsent(sock: socket.socket) -> int:
    count = array.array("i", [0])
    fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, count)
    return count[0]


def read_request(stream: BinaryIO, channel: Channel) -> RawRequest | None:
    """Read one request; None at the end of the connection.

    Raises:
        BadRequestError: not a request, or too long.
    """
    line = stream.readline(HEAD_OCTETS)
    if not line:
        return None
    parts = line.decode("latin-1").rstrip("\r\n").split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        raise BadRequestError(400, "not an HTTP/1.1 request line")
    headers: list[tuple[str, str]] = []
    length = len(line)
    while True:
        line = stream.readline(HEAD_OCTETS)
        length += len(line)
        if length > HEAD_OCTETS:
            raise BadRequestError(431, "the request's head is too long")
        if line in {b"\r\n", b"\n"}:
            break
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon or not name or name != name.strip():
            raise BadRequestError(400, "not a header line")
        headers.append((name, value.strip()))
    fields = {name.lower(): value for name, value in headers}
    if fields.get("expect", "").lower() == "100-continue":
        channel.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = _read_body(stream, fields)
    return RawRequest(parts[0], parts[1], parts[2], tuple(headers), body)


def _read_body(stream: BinaryIO, fields: dict[str, str]) -> bytes:
    if "transfer-encoding" in fields:
        if fields["transfer-encoding"].lower() != "chunked":
            raise BadRequestError(501, "unknown transfer coding")
        return _read_chunks(stream)
    text = fields.get("content-length", "0")
    if not (text.isascii() and text.isdigit()):
        raise BadRequestError(400, "Content-Length is no number")
    return _read_exactly(stream, int(text), 0)


def _read_exactly(stream: BinaryIO, count: int, before: int) -> bytes:
    if before + count > BODY_OCTETS:
        raise BadRequestError(413, "the request's body is too long")
    octets = stream.read(count)
    if len(octets) != count:
        raise BadRequestError(400, "the request ends early")
    return octets


def _read_chunks(stream: BinaryIO) -> bytes:
    body = bytearray()
    while True:
        try:
            count = int(stream.readline(256).partition(b";")[0].strip(), 16)
        except ValueError as error:
            raise BadRequestError(400, "not a chunk") from error
        if count == 0:
            while stream.readline(HEAD_OCTETS) not in {b"\r\n", b"\n", b""}:
                pass
            return bytes(body)
        body += _read_exactly(stream, count, len(body))
        stream.readline(4)


def write_answer(
    channel: Channel, answer: WireAnswer, faults: tuple[AnswerFault, ...], *, keep_alive: bool
) -> bool:
    """Send an answer with its faults; whether the connection may be used again."""
    if any(isinstance(fault, CloseBeforeAnswer) for fault in faults):
        return False
    size = answer.body.size
    announced, stop, reset = size, size, False
    extra: list[tuple[str, str]] = []
    for fault in faults:
        match fault:
            case Delay(seconds):
                channel.pause(seconds)
            case Slow(rate):
                channel.throttle(rate)
            case HugeHeaders(octets):
                extra.extend(_filler_headers(octets))
            case WrongContentLength(difference):
                announced = max(0, size + difference)
                keep_alive = False
            case TruncatedBody(octets):
                stop = min(stop, octets)
                keep_alive = False
            case ResetAfter(octets):
                stop = min(stop, octets)
                reset = True
            case _:
                pass  # the others made another answer before
    has_body = answer.status >= 200 and answer.status not in {204, 304}
    channel.write(_head(answer, extra, announced if has_body else None, keep_alive=keep_alive))
    if has_body and not answer.head_only:
        answer.body.send(channel, 0, stop)
    channel.throttle(None)
    if reset:
        channel.reset()
        return False
    return keep_alive


def _head(
    answer: WireAnswer, extra: list[tuple[str, str]], length: int | None, *, keep_alive: bool
) -> bytes:
    try:
        phrase = HTTPStatus(answer.status).phrase
    except ValueError:
        phrase = "Unknown"
    lines = [f"HTTP/1.1 {answer.status} {phrase}"]
    lines += [f"{name}: {value}" for name, value in (*answer.headers, *extra)]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    if not keep_alive:
        lines.append("Connection: close")
    return "\r\n".join((*lines, "", "")).encode("latin-1")


def _filler_headers(octets: int) -> list[tuple[str, str]]:
    """Header lines of about 1 KiB each."""
    count, rest = divmod(octets, 1024)
    sizes = [1024] * count + ([rest] if rest else [])
    return [(f"X-Filler-{number}", "x" * size) for number, size in enumerate(sizes)]
