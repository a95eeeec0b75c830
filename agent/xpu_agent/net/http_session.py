# SPDX-License-Identifier: Apache-2.0
"""HTTP/1.1 exchanges with one bootstrap server at one address, by httpx, everything bounded.

httpx gets a transport of our own: it connects to the address the caller chose while the URL, and
with it the Host field and the name in the certificate, stay the server's; it ends every exchange
at a deadline; and it keeps the header fields from httpx that would make it act on its own.

This module imports httpx and is itself imported only when a server is contacted.
"""

import ssl
from collections.abc import Iterator
from dataclasses import dataclass

import httpcore
import httpx

from xpu_agent import limits
from xpu_agent.errors import MalformedError, Reason, SourceUnavailableError
from xpu_agent.net import resolve
from xpu_agent.net.line import Deadline, Dial, Line, open_tcp
from xpu_agent.ports import Address

# A redirect is never followed (5.6) and a session has no cookies: httpx sees neither, so that it
# doesn't parse what a server nobody has authenticated put there.
_WITHHELD = frozenset({b"location", b"set-cookie"})

# httpx renames these only where it made the transport.
_HTTPCORE_ERRORS = (
    httpcore.ProtocolError,
    httpcore.UnsupportedProtocol,
    httpcore.NetworkError,
    httpcore.TimeoutException,
)


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer. `content_type` is in lower case, without parameters; empty if absent."""

    status: int
    content_type: str
    body: bytes


class _Dialer:
    """Opens lines to the one address; what httpcore calls a network backend."""

    def __init__(self, host: str, address: Address, context: ssl.SSLContext, dial: Dial) -> None:
        self._host = host
        self._dial = dial
        self._address = address
        self._context = context
        self._prepared: Line | None = None
        self._deadline = Deadline(limits.CONNECT_SECONDS)
        self.line: Line | None = None

    def prepare(self) -> None:
        """Open the line that the first exchange will use."""
        self._prepared = self._open(limits.CONNECT_SECONDS)

    def begin(self, deadline: Deadline) -> None:
        """An exchange starts, on the line there is or on one that httpcore asks for."""
        self._deadline = deadline
        if self.line is not None:
            self.line.begin(deadline)

    @property
    def gone(self) -> bool:
        """Whether the exchange failed on a kept line before a first octet of its answer."""
        return self.line is not None and self.line.exchanges > 1 and not self.line.answered

    def connect_tcp(self, *_: object, **__: object) -> Line:
        """Hand over the prepared line, or open a new one with the same checks."""
        line, self._prepared = self._prepared, None
        if line is None:
            line = self._open(min(limits.CONNECT_SECONDS, self._deadline.remaining()))
        line.begin(self._deadline)
        self.line = line
        return line

    def _open(self, seconds: float) -> Line:
        return Line.open(self._host, self._address, self._context, Deadline(seconds), self._dial)

    def close(self) -> None:
        """Close a line that was prepared and never used."""
        if self._prepared is not None:
            self._prepared.close()
            self._prepared = None


class _Body(httpx.SyncByteStream):
    def __init__(self, response: httpcore.Response) -> None:
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        yield from self._response.iter_stream()

    def close(self) -> None:
        self._response.close()


class _Transport(httpx.BaseTransport):
    """httpcore's connection pool with one line in it."""

    def __init__(self, dialer: _Dialer, context: ssl.SSLContext) -> None:
        self._dialer = dialer
        self._pool = httpcore.ConnectionPool(
            ssl_context=context,
            max_connections=1,
            # Between two reports an image may have come in, and whatever lies between us and the
            # server may have forgotten the connection without a word.
            keepalive_expiry=limits.KEEP_SECONDS,
            http2=False,
            network_backend=dialer,  # type: ignore[arg-type]  # the base class moved between releases; only its methods count
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = self._pool.handle_request(
            httpcore.Request(
                method=request.method,
                url=httpcore.URL(
                    scheme=request.url.raw_scheme,
                    host=request.url.raw_host,
                    port=request.url.port,
                    target=request.url.raw_path,
                ),
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
        )
        if self._dialer.line is not None:
            self._dialer.line.header_read()
        return httpx.Response(
            status_code=response.status,
            headers=[
                (name, value) for name, value in response.headers if name.lower() not in _WITHHELD
            ],
            stream=_Body(response),
        )

    def close(self) -> None:
        self._pool.close()
        self._dialer.close()


class HttpSession:
    """Exchanges with one server, on one connection as long as it lasts.

    `authorization` is the value of the field sent with every request, None where there is none;
    `dial` makes the TCP connections.
    """

    def __init__(
        self,
        host: str,
        address: Address,
        context: ssl.SSLContext,
        *,
        authorization: str | None = None,
        dial: Dial = open_tcp,
    ) -> None:
        self.where = resolve.display(host, address.port)
        name = resolve.server_name(host)
        self._origin = f"https://[{name}]" if ":" in name else f"https://{name}"
        self._origin += f":{address.port}"
        self._dialer = _Dialer(host, address, context, dial)
        headers = {"User-Agent": "xpu-agent", "Accept-Encoding": "identity"}
        if authorization is not None:
            headers["Authorization"] = authorization
        self._client = httpx.Client(
            transport=_Transport(self._dialer, context),
            headers=headers,
            trust_env=False,
            follow_redirects=False,
            timeout=None,  # noqa: S113  # the deadline of each exchange rules
        )

    def open(self) -> None:
        """Connect and shake hands; the first exchange uses this connection. Raises as `Line`."""
        self._dialer.prepare()

    def exchange(
        self,
        method: str,
        path: str,
        headers: dict[str, str],
        content: bytes | None,
        *,
        deadline: Deadline,
        body_bytes: int,
    ) -> Answer:
        """One request and its whole answer; once more if the kept connection was gone.

        A body of a 2xx answer is at most `body_bytes` long; of another, cut at
        `limits.ERROR_BODY_BYTES`.

        Raises:
            SourceUnavailableError: no answer, not in time, or not HTTP.
            IdentityError: our certificate was refused.
            MalformedError: `too-large`.
        """
        for _ in range(2):
            self._dialer.begin(deadline)
            try:
                request = self._client.build_request(
                    method, self._origin + path, headers=headers, content=content
                )
                return self._answer(self._client.send(request, stream=True), body_bytes)
            except SourceUnavailableError as error:
                if error.reason is not Reason.SERVER_UNREACHABLE or not self._dialer.gone:
                    raise
            except (httpx.HTTPError, httpx.InvalidURL, *_HTTPCORE_ERRORS) as error:
                if not self._dialer.gone:
                    raise SourceUnavailableError(
                        Reason.HTTP_ERROR, f"{self.where} did not answer in HTTP/1.1"
                    ) from error
        raise SourceUnavailableError(
            Reason.SERVER_UNREACHABLE, f"{self.where} closes connections without an answer"
        )

    def _answer(self, response: httpx.Response, body_bytes: int) -> Answer:
        try:
            if response.headers.get("content-encoding", "identity").strip().lower() != "identity":
                raise SourceUnavailableError(
                    Reason.HTTP_ERROR, f"{self.where} answered with a compressed body"
                )
            body = bytearray()
            bound = body_bytes if response.is_success else limits.ERROR_BODY_BYTES
            for part in response.iter_raw():
                body += part
                if len(body) > bound:
                    if response.is_success:
                        raise MalformedError(
                            f"{self.where} answered with more than {bound} octets",
                            reason=Reason.TOO_LARGE,
                        )
                    break  # What an error says at its beginning is enough.
            return Answer(
                response.status_code,
                response.headers.get("content-type", "").partition(";")[0].strip().lower(),
                bytes(body[:bound]),
            )
        finally:
            response.close()

    def close(self) -> None:
        """Let go of the connection; safe to call twice."""
        self._client.close()
