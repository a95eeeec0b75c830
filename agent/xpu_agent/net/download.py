# SPDX-License-Identifier: Apache-2.0
"""Boot images: one pass from a URI into a sink (RFC 8572, 5.6 and 6.3).

The digest carries the trust, so plain HTTP is as good as HTTPS, whose server certificate is not
verified (6.3). Only the URI given is used: an HTTP redirect is another one and not followed.

A transfer that breaks goes on where it was, if the server can tell by a validator that the file is
still the same; else it starts again. Refusals (4xx) are final, faults are tried again within
bounds. How fast it goes doesn't matter, that it goes on does (`paced`).

Sockets are read by `http.client` straight into the buffers that are hashed and written
(decision record 0006).
"""

import contextlib
import http.client
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from xpu_agent import limits
from xpu_agent.errors import ExecutionError, IdentityError, Reason, SourceUnavailableError
from xpu_agent.net import medium as media
from xpu_agent.net import resolve, tls
from xpu_agent.net.line import Deadline, open_tcp, open_tls
from xpu_agent.net.paced import PacedSocket
from xpu_agent.net.pipeline import Pipeline
from xpu_agent.net.proxy import Proxy
from xpu_agent.ports import Address, Clock, Downloaded, ImageSink

_PROGRESS_SECONDS = 0.1
_STEP_BYTES = 256 * limits.KIB  # what a broken connection can lose of a transfer
_RETRY_SECONDS = 1.0  # doubled with each retry
_RETRY_MAX_SECONDS = 8.0
_UNANSWERED_RETRIES = 1  # for a server nothing was ever received from; the next URI waits
_SHOWN_CHARS = 120
_PORTS = {"http": 80, "https": 443}
_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)")

Progress = Callable[[int, int | None], None]


class HttpDownloader:
    """`ports.Downloader` for `http:`, `https:` and `file:`.

    `progress` is told octets received and their total (None where unknown), at most ten times a
    second, in the caller's thread. `identity` is our client certificate for servers that ask.
    The sink's `write` is called from another thread, one call at a time.
    """

    def __init__(
        self,
        clock: Clock,
        identity: tls.ClientIdentity | None,
        progress: Progress,
        *,
        proxy: Proxy | None = None,
    ) -> None:
        self._proxy = proxy
        self._clock = clock
        self._identity = identity
        self._progress = progress

    def fetch(
        self, uri: str, sink: ImageSink, *, max_bytes: int, medium: Path | None
    ) -> Downloaded:
        """See `ports.Downloader`; `slot-unavailable` where there are more than `max_bytes`."""
        parts = _split(uri)
        with Pipeline(sink.write) as pipeline:
            transfer = _Transfer(pipeline, sink, max_bytes, self._progress)
            if parts.scheme == "file":
                _read_file(parts, medium, transfer)
            else:
                _HttpFile(parts, self._identity, self._clock, self._proxy).read(transfer)
            pipeline.settle()
            transfer.tell(last=True)
            return Downloaded(pipeline.sha256(), transfer.done)


class _BrokenError(Exception):
    """A transfer ended before its time; worth another try."""


class _Transfer:
    """What has been received so far, and where it goes."""

    def __init__(
        self, pipeline: Pipeline, sink: ImageSink, max_bytes: int, progress: Progress
    ) -> None:
        self._pipeline = pipeline
        self._sink = sink
        self._max_bytes = max_bytes
        self._progress = progress
        self._told = 0.0
        self.done = 0
        self.total: int | None = None

    def expect(self, total: int | None) -> None:
        """The size of the whole file, as far as the server says."""
        self.total = total
        if total is not None and total > self._max_bytes:
            raise self._too_large()

    def restart(self) -> None:
        """Begin at the first octet again."""
        if self.done:
            self._pipeline.settle()
            self._pipeline.restart()
            self._sink.restart()
            self.done = 0

    def fill(self, read: Callable[[memoryview], int]) -> None:
        """Take octets until `read` gives none; what it brought before it failed is kept."""
        while True:
            buffer = self._pipeline.buffer()
            size = 0
            try:
                while size < len(buffer):
                    step = read(buffer[size : size + _STEP_BYTES])
                    if not step:
                        break
                    size += step
            except (OSError, http.client.HTTPException):
                self._take(size)
                raise
            self._take(size)
            if size < len(buffer):
                return

    def _take(self, size: int) -> None:
        if self.done + size > self._max_bytes:
            raise self._too_large()
        if size:
            self._pipeline.submit(size)
            self.done += size
            self.tell()

    def tell(self, *, last: bool = False) -> None:
        """Report progress, not too often."""
        now = time.monotonic()
        if last or now - self._told >= _PROGRESS_SECONDS:
            self._told = now
            self._progress(self.done, self.total)

    def _too_large(self) -> ExecutionError:
        return ExecutionError(
            Reason.SLOT_UNAVAILABLE,
            f"the boot image is larger than the {self._max_bytes} octets there is room for",
        )


def _read_file(parts: SplitResult, medium: Path | None, transfer: _Transfer) -> None:
    if medium is None:
        raise _unreachable("a file: URI counts only in data that came on a medium")
    if parts.netloc not in {"", "localhost"} or parts.query or parts.fragment:
        raise _unreachable("a file: URI names a path on the medium and nothing else")
    descriptor, size = media.open_file(medium, parts.path)
    with open(descriptor, "rb", buffering=0) as file:  # noqa: PTH123  # an open descriptor
        transfer.expect(size)
        try:
            transfer.fill(lambda buffer: file.readinto(buffer) or 0)
        except OSError as error:
            raise _unreachable(f"the medium can't be read: {tls.describe(error)}") from error


class _HttpFile:
    """One file on a server, over as many connections as it takes."""

    def __init__(
        self,
        parts: SplitResult,
        identity: tls.ClientIdentity | None,
        clock: Clock,
        proxy: Proxy | None,
    ) -> None:
        self._proxy = proxy
        self._secure = parts.scheme == "https"
        self._host = (parts.hostname or "").replace("%25", "%")  # RFC 6874
        try:
            resolve.server_name(self._host)
        except SourceUnavailableError as error:
            raise _unreachable(error.message) from error
        self._port = parts.port or _PORTS[parts.scheme]
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if proxy is not None and not self._secure:
            # A proxy takes plain requests by their whole URI; tunnels are often for TLS alone.
            self._target = f"http://{self._authority()}{self._target}"
        self._identity = identity
        self._clock = clock
        # Without the query, which may hold somebody's key to the file.
        self._where = (
            f"{parts.scheme}://{resolve.display(self._host, self._port)}{parts.path[:_SHOWN_CHARS]}"
        )
        self._validator: str | None = None
        self._served = False  # whether the file was ever found here

    def read(self, transfer: _Transfer) -> None:
        """Bring the whole file. Raises ExecutionError, or what the sink raises."""
        for retry in range(limits.IMAGE_RETRIES + 1):
            try:
                self._attempt(transfer)
            except (_BrokenError, http.client.HTTPException, OSError) as error:
                if retry >= (limits.IMAGE_RETRIES if self._served else _UNANSWERED_RETRIES):
                    raise _unreachable(self._why(error)) from error
                self._clock.wait(min(_RETRY_SECONDS * 2**retry, _RETRY_MAX_SECONDS))
            else:
                return

    def _attempt(self, transfer: _Transfer) -> None:
        with self._connected() as connection:
            paced = PacedSocket(connection)
            client = http.client.HTTPConnection(self._host, self._port)
            client.sock = paced
            offset = transfer.done if self._validator else 0
            client.request("GET", self._target, headers=self._headers(offset))
            with client.getresponse() as response:
                paced.header_read()
                self._accept(response, transfer, offset)
                self._served = True
                transfer.fill(response.readinto)
            paced.raise_failure()
            if transfer.total is not None and transfer.done != transfer.total:
                raise _BrokenError(f"{transfer.done} octets of {transfer.total} arrived")

    def _headers(self, offset: int) -> dict[str, str]:
        headers = {"Host": self._authority(), "User-Agent": "xpu-agent", "Connection": "close"}
        if offset and self._validator:
            headers |= {"Range": f"bytes={offset}-", "If-Range": self._validator}
        return headers

    def _authority(self) -> str:
        name = resolve.server_name(self._host)
        name = f"[{name}]" if ":" in name else name
        default = _PORTS["https" if self._secure else "http"]
        return name if self._port == default else f"{name}:{self._port}"

    @contextlib.contextmanager
    def _connected(self) -> Iterator[socket.socket]:
        """A connection to the first of the host's addresses that takes one."""
        try:
            addresses = self._addresses()
            context = tls.provisional_context(self._identity) if self._secure else None
        except IdentityError as error:
            raise _unreachable(error.message) from error
        failure: Exception | None = None
        for address in addresses:
            try:
                connection = self._connect(address, context)
            except (OSError, _BrokenError) as error:
                failure = error
            else:
                with connection:
                    yield connection
                return
        raise failure or _BrokenError("the host has no address")

    def _addresses(self) -> tuple[Address, ...]:
        name = resolve.server_name(self._host)
        if self._proxy is not None:
            return (Address(name, self._port),)
        try:
            return resolve.resolve(self._host, self._port)
        except SourceUnavailableError as error:
            raise _BrokenError(error.message) from error

    def _connect(self, address: Address, context: ssl.SSLContext | None) -> socket.socket:
        deadline = Deadline(limits.CONNECT_SECONDS)
        try:
            if context is not None:
                dial = open_tcp if self._proxy is None else self._proxy.dial
                name = resolve.server_name(self._host)
                return open_tls(address, context, name, deadline, dial)
            if self._proxy is not None:
                return self._proxy.connect(deadline)
            return open_tcp(address, deadline)
        except SourceUnavailableError as error:  # the proxy's name
            raise _BrokenError(error.message) from error

    def _accept(self, response: http.client.HTTPResponse, transfer: _Transfer, offset: int) -> None:
        """Judge the header; on return the body is what comes next in `transfer`."""
        match response.status:
            case 200:
                # The whole file, whether asked for or because it is another one by now.
                transfer.restart()
                self._validator = _validator(response)
                transfer.expect(response.length)
            case 206 if offset:
                self._accept_range(response, transfer, offset)
            case 416 if offset:
                self._validator = None
                raise _BrokenError("the file is shorter than what came of it before")
            case status if status >= 500:
                raise _BrokenError(f"HTTP status {status}")
            case status if 300 <= status < 400:
                raise _unreachable(
                    f"{self._where} redirects elsewhere (HTTP status {status});"
                    " only the URIs given are used"
                )
            case status:
                raise _unreachable(f"{self._where} answered HTTP status {status}")
        if response.getheader("Content-Encoding", "identity").strip().lower() != "identity":
            raise _unreachable(f"{self._where} sends the file in another encoding")

    def _accept_range(
        self, response: http.client.HTTPResponse, transfer: _Transfer, offset: int
    ) -> None:
        found = _CONTENT_RANGE.fullmatch(response.getheader("Content-Range", "").strip())
        fits = found is not None and int(found[1]) == offset
        if fits and found is not None and found[3] != "*" and transfer.total is not None:
            fits = int(found[3]) == transfer.total
        if not fits:
            # Not the part that was asked for: the next try takes the whole file.
            self._validator = None
            raise _BrokenError("the server sent another part of the file")

    def _why(self, error: Exception) -> str:
        match error:
            case _BrokenError():
                return f"{self._where}: {error}"
            case OSError():
                return tls.connection_error(error, self._where).message
            case http.client.IncompleteRead():
                return f"{self._where}: the file ended early"
            case _:
                return f"{self._where} does not answer in HTTP"


def _validator(response: http.client.HTTPResponse) -> str | None:
    """What tells one version of the file from another (RFC 9110, 13.1.5), None if nothing does."""
    if response.getheader("Accept-Ranges", "").strip().lower() == "none":
        return None
    tag = response.getheader("ETag", "").strip()
    if re.fullmatch(r'"[\x21\x23-\x7e]{0,256}"', tag):
        return tag
    date = response.getheader("Last-Modified", "").strip()
    # A weak tag says that the octets may differ, whatever the date says.
    return date if not tag and re.fullmatch(r"[A-Za-z0-9 ,:+-]{1,64}", date) else None


def _split(uri: str) -> SplitResult:
    if len(uri) > limits.URI_CHARS or not re.fullmatch(r"[\x21-\x7e]+", uri):
        raise _unreachable("a download URI is not one")
    try:
        parts = urlsplit(uri)
        usable = parts.port != 0
    except ValueError as error:
        raise _unreachable("a download URI is not one") from error
    if parts.scheme not in {*_PORTS, "file"}:
        raise _unreachable(f"images can't be fetched by the scheme {parts.scheme[:16]!a}")
    if parts.username is not None or parts.password is not None:
        raise _unreachable("user names and passwords in download URIs are not supported")
    if not usable or (parts.scheme != "file" and not parts.hostname):
        raise _unreachable("a download URI has no usable host and port")
    return parts


def _unreachable(message: str) -> ExecutionError:
    return ExecutionError(Reason.IMAGE_UNREACHABLE, message)
