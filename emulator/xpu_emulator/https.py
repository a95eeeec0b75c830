# SPDX-License-Identifier: Apache-2.0
"""A `BootstrapServer` behind real TLS, and a file server with ranges (RFC 9110, 14).

Both are context managers that leave neither thread nor socket behind.
"""

import hashlib
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import cached_property
from pathlib import Path
from typing import Protocol

from xpu_emulator import rpc
from xpu_emulator.faults import (
    AnswerFault,
    BodyKind,
    CloseBeforeAnswer,
    FaultPlan,
    HttpRedirect,
    HugeBody,
    StatusCode,
    WrongCertificateKind,
)
from xpu_emulator.http_wire import PIECE_OCTETS, Body, Channel, Fill, OctetsBody, WireAnswer
from xpu_emulator.listener import (
    ClientCertificates,
    Connection,
    Demand,
    HttpListener,
    ServerIdentity,
)
from xpu_emulator.messages import Request, Response
from xpu_emulator.server import BootstrapServer

__all__ = [
    "BytesFile",
    "ClientCertificates",
    "Connection",
    "Demand",
    "FileRequest",
    "FileServer",
    "GeneratedFile",
    "HttpsServer",
    "PathFile",
    "ServerIdentity",
]


def _instead(faults: tuple[AnswerFault, ...]) -> WireAnswer | None:
    """The answer a fault puts in place of the real one."""
    for fault in faults:
        match fault:
            case StatusCode():
                return _status_answer(fault)
            case HttpRedirect(location, code):
                return WireAnswer(code, (("Location", location),))
            case HugeBody(octets):
                return WireAnswer(200, (("Content-Type", rpc.Encoding.JSON.value),), Fill(octets))
            case _:
                pass
    return None


def _status_answer(fault: StatusCode) -> WireAnswer:
    error = f'{{"error-type": "application", "error-tag": "{fault.error_tag}"}}'
    restconf = rpc.Encoding.JSON.value
    media_type, text = {
        BodyKind.EMPTY: (None, ""),
        BodyKind.TEXT: ("text/plain", f"status {fault.code}\n"),
        BodyKind.HTML: (
            "text/html",
            f"<!DOCTYPE html><html><body><h1>{fault.code}</h1><hr></body></html>\n",
        ),
        BodyKind.RESTCONF: (restconf, f'{{"ietf-restconf:errors": {{"error": [{error}]}}}}'),
        BodyKind.RESTCONF_UNQUALIFIED: (restconf, f'{{"errors": {{"error": [{error}]}}}}'),
        BodyKind.RESTCONF_BARE: (restconf, f'{{"error": [{error}]}}'),
    }[fault.body]
    headers: list[tuple[str, str]] = []
    if media_type is not None:
        headers.append(("Content-Type", media_type))
    if fault.retry_after is not None:
        headers.append(("Retry-After", str(fault.retry_after)))
    return WireAnswer(fault.code, tuple(headers), OctetsBody(text.encode()))


class HttpsServer(HttpListener):
    """Serves a `BootstrapServer` on 127.0.0.1 or a given address, on a free or a given port."""

    def __init__(
        self,
        server: BootstrapServer,
        identity: ServerIdentity,
        *,
        client_certificates: ClientCertificates | None = None,
        wrong_identities: Mapping[WrongCertificateKind, ServerIdentity] | None = None,
        faults: FaultPlan | None = None,
        address: str = "127.0.0.1",
        port: int = 0,
        host_name: str | None = None,
        on_connection: Callable[[Connection], None] | None = None,
    ) -> None:
        self.server = server
        super().__init__(
            self._handle,
            identity=identity,
            client_certificates=client_certificates,
            wrong_identities=wrong_identities,
            faults=faults,
            address=address,
            port=port,
            host_name=host_name,
            on_connection=on_connection,
        )

    def _handle(self, request: Request, faults: tuple[AnswerFault, ...]) -> WireAnswer:
        instead = _instead(faults)
        if any(isinstance(fault, CloseBeforeAnswer) for fault in faults):
            self.server.handle(request, Response(0))
            return WireAnswer(500)  # is not sent
        if instead is not None:
            self.server.handle(request, Response(instead.status, instead.headers))
            return instead
        response = self.server.handle(request)
        return WireAnswer(response.status, response.headers, OctetsBody(response.body))


# Files


class ServedFile(Body, Protocol):
    """A file that can be served: a body with validators."""

    @property
    def etag(self) -> str:
        """A strong entity tag, with its quotes."""
        ...

    @property
    def last_modified(self) -> float:
        """Seconds since the epoch."""
        ...


@dataclass(frozen=True, slots=True)
class BytesFile:
    """A file in memory."""

    octets: bytes
    last_modified: float = 1_700_000_000.0

    @property
    def size(self) -> int:
        """Octets in all."""
        return len(self.octets)

    @property
    def etag(self) -> str:
        """By content."""
        return f'"{hashlib.sha256(self.octets).hexdigest()[:32]}"'

    def send(self, channel: Channel, start: int, stop: int) -> None:
        """Write a part of it."""
        channel.write(memoryview(self.octets)[start:stop])


@dataclass(frozen=True, slots=True)
class PathFile:
    """A file on disk, as it is when it is asked for."""

    path: Path

    @property
    def size(self) -> int:
        """Octets in all."""
        return self.path.stat().st_size

    @property
    def last_modified(self) -> float:
        """Its modification time."""
        return self.path.stat().st_mtime

    @property
    def etag(self) -> str:
        """By size and modification time, as web servers do."""
        status = self.path.stat()
        return f'"{status.st_mtime_ns:x}-{status.st_size:x}"'

    def send(self, channel: Channel, start: int, stop: int) -> None:
        """Write a part of it."""
        with self.path.open("rb") as file:
            channel.send_file(file, start, stop)


@dataclass(frozen=True)
class GeneratedFile:
    """A file of any size that is nowhere: one pseudo-random block, repeated.

    The block's length is a prime, so that no piece of the file equals its neighbour and a mistake
    in putting ranges together changes the digest.
    """

    size: int
    seed: str = "image"
    last_modified: float = 1_700_000_000.0
    _BLOCK = 1_048_573

    @cached_property
    def _blocks(self) -> memoryview:
        # Twice, so that any window of one block's length is one slice.
        return memoryview(hashlib.shake_256(self.seed.encode()).digest(self._BLOCK) * 2)

    @property
    def etag(self) -> str:
        """By seed and size."""
        return f'"{hashlib.sha256(f"{self.seed} {self.size}".encode()).hexdigest()[:32]}"'

    def read(self, start: int, count: int) -> memoryview:
        """Some octets from `start` on: at most `count`, at least one before the end."""
        count = min(count, self._BLOCK, self.size - start)
        within = start % self._BLOCK
        return self._blocks[within : within + count]

    def send(self, channel: Channel, start: int, stop: int) -> None:
        """Write a part of it."""
        while start < stop:
            piece = self.read(start, min(PIECE_OCTETS, stop - start))
            channel.write(piece)
            start += len(piece)

    @cached_property
    def sha256(self) -> str:
        """The digest of the whole file, in hexadecimal."""
        digest = hashlib.sha256()
        start = 0
        while start < self.size:
            piece = self.read(start, self._BLOCK)
            digest.update(piece)
            start += len(piece)
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class FileRequest:
    """A request to the file server, and the status it got (0: none)."""

    request: Request
    status: int
    first_octet: int = 0


@dataclass(frozen=True, slots=True)
class _Part:
    """A range of a body."""

    body: Body
    start: int
    stop: int

    @property
    def size(self) -> int:
        return self.stop - self.start

    def send(self, channel: Channel, start: int, stop: int) -> None:
        self.body.send(channel, self.start + start, self.start + stop)


_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


@dataclass(slots=True)
class _Log:
    changed: threading.Condition = field(default_factory=threading.Condition)
    entries: list[FileRequest] = field(default_factory=list)
    listeners: list[Callable[[FileRequest], None]] = field(default_factory=list)


class FileServer(HttpListener):
    """Serves files by path, over TLS if it has an identity; `files` may be changed at any time.

    With `ranges` off it ignores ranges and says so, as simple servers do.
    """

    def __init__(
        self,
        files: Mapping[str, ServedFile],
        identity: ServerIdentity | None = None,
        *,
        client_certificates: ClientCertificates | None = None,
        wrong_identities: Mapping[WrongCertificateKind, ServerIdentity] | None = None,
        faults: FaultPlan | None = None,
        ranges: bool = True,
        address: str = "127.0.0.1",
        port: int = 0,
        host_name: str | None = None,
    ) -> None:
        self.files: dict[str, ServedFile] = dict(files)
        self._ranges = ranges
        self._log = _Log()
        super().__init__(
            self._handle,
            identity=identity,
            client_certificates=client_certificates,
            wrong_identities=wrong_identities,
            faults=faults,
            address=address,
            port=port,
            host_name=host_name,
        )

    @property
    def requests(self) -> tuple[FileRequest, ...]:
        """Every request so far, in the order of arrival."""
        with self._log.changed:
            return tuple(self._log.entries)

    def subscribe(self, listener: Callable[[FileRequest], None]) -> None:
        """Call `listener` for each request, in order, before it is answered."""
        with self._log.changed:
            self._log.listeners.append(listener)

    def wait_for(self, predicate: Callable[["FileServer"], bool], timeout: float) -> bool:
        """Wait until `predicate` holds, at most `timeout` seconds; whether it did."""
        with self._log.changed:
            return self._log.changed.wait_for(lambda: predicate(self), timeout)

    def _handle(self, request: Request, faults: tuple[AnswerFault, ...]) -> WireAnswer:
        answer = _instead(faults) or self._find(request)
        closed = any(isinstance(fault, CloseBeforeAnswer) for fault in faults)
        first = answer.body.start if isinstance(answer.body, _Part) else 0
        with self._log.changed:
            entry = FileRequest(request, 0 if closed else answer.status, first)
            self._log.entries.append(entry)
            for listener in self._log.listeners:
                listener(entry)
            self._log.changed.notify_all()
        return answer

    def _find(self, request: Request) -> WireAnswer:
        file = self.files.get(request.path)
        if request.method not in {"GET", "HEAD"}:
            return WireAnswer(405, (("Allow", "GET, HEAD"),))
        if file is None:
            return WireAnswer(404, (("Content-Type", "text/plain"),), OctetsBody(b"no such file\n"))
        date = formatdate(file.last_modified, usegmt=True)
        headers = (
            ("Content-Type", "application/octet-stream"),
            ("ETag", file.etag),
            ("Last-Modified", date),
            ("Accept-Ranges", "bytes" if self._ranges else "none"),
        )
        wanted = request.header("Range")
        condition = request.header("If-Range")
        # A range counts only if the client's copy is of this very file (RFC 9110, 13.1.5).
        if wanted is None or not self._ranges or condition not in {None, file.etag, date}:
            return WireAnswer(200, headers, file)
        match = _RANGE.fullmatch(wanted.replace(" ", ""))
        if match is None or match.group(0) == "bytes=-":
            return WireAnswer(200, headers, file)  # several ranges, or none that we understand
        span = _span(match.group(1), match.group(2), file.size)
        if span is None:
            return WireAnswer(416, (*headers, ("Content-Range", f"bytes */{file.size}")))
        start, stop = span
        content_range = ("Content-Range", f"bytes {start}-{stop - 1}/{file.size}")
        return WireAnswer(206, (*headers, content_range), _Part(file, start, stop))


def _span(first: str, last: str, size: int) -> tuple[int, int] | None:
    """Start and stop of a range; None if no octet of the file is in it."""
    if not first:
        return (max(0, size - int(last)), size) if int(last) and size else None
    start = int(first)
    stop = min(int(last) + 1, size) if last else size
    return (start, stop) if start < stop else None
