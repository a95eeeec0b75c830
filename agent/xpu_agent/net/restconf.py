# SPDX-License-Identifier: Apache-2.0
"""Bootstrap servers over RESTCONF (RFC 8572, 7; RFC 8040): `ports.Connector` and its servers.

What a server may be told follows from its type: `ProvisionalRestconfServer` has no method to
report with and never sees our credentials; `TrustedRestconfServer` has both. The bodies are read
and written by `artifacts.rpc`; here are discovery of the root, media types, status codes.
"""

import base64
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from xpu_agent import limits
from xpu_agent.artifacts import rpc
from xpu_agent.artifacts.conveyed_info import Encoding
from xpu_agent.artifacts.rpc import BootstrappingRequest, BootstrappingResponse
from xpu_agent.device import ClockReading
from xpu_agent.errors import (
    IdentityError,
    MalformedError,
    ProtocolError,
    Reason,
    ServerCertificateError,
    SourceUnavailableError,
    StoppedError,
    XpuAgentError,
)
from xpu_agent.net import resolve, tls
from xpu_agent.net.line import Deadline, Dial, open_tcp
from xpu_agent.net.proxy import Proxy
from xpu_agent.ports import Address, ProvisionalServer, TrustedServer
from xpu_agent.progress import ProgressReport
from xpu_agent.trust.state import Hop, ProvisionalHop, TrustedHop

if TYPE_CHECKING:
    from xpu_agent.net.http_session import Answer, HttpSession

_MODULE = "ietf-sztp-bootstrap-server"
_HOST_META = "/.well-known/host-meta"
_DEFAULT_ROOT = "/restconf"  # RFC 8572's examples; real servers have no host-meta (AMB-03)
_ROOT = re.compile(r"(/[A-Za-z0-9._~!$&'()*+,;=:@%-]+)+")
_ERROR_CHARS = 200

_OTHER = {Encoding.JSON: Encoding.XML, Encoding.XML: Encoding.JSON}


@dataclass(frozen=True, slots=True)
class Credentials:
    """HTTP Basic authentication (RFC 7617).

    It reveals the password, so it goes to trusted servers alone (RFC 8572, 9.6).
    """

    username: str
    password: str = field(repr=False)

    def authorization(self) -> str:
        """The value of the header field."""
        pair = f"{self.username}:{self.password}".encode()
        return "Basic " + base64.b64encode(pair).decode("ascii")


class RestconfConnector:
    """`ports.Connector`: HTTPS alone, with our client certificate where there is one."""

    def __init__(
        self,
        identity: tls.ClientIdentity | None,
        credentials: Credentials | None = None,
        *,
        proxy: Proxy | None = None,
    ) -> None:
        self._identity = identity
        self._credentials = credentials
        self._proxy = proxy
        self._dial: Dial = open_tcp if proxy is None else proxy.dial

    def addresses(self, hop: Hop) -> Sequence[Address]:
        """See `ports.Connector`; behind a proxy, the host itself, for the proxy to resolve."""
        if self._proxy is not None:
            return (Address(resolve.server_name(hop.host), hop.port),)
        return resolve.resolve(hop.host, hop.port)

    def connect(self, hop: TrustedHop, address: Address, clock: ClockReading) -> TrustedServer:
        """See `ports.Connector`."""
        from xpu_agent.net.http_session import HttpSession

        context = tls.trusted_context(
            [anchor.der for anchor in hop.anchors], self._identity, accurate=clock.accurate
        )
        authorization = self._credentials.authorization() if self._credentials else None
        session = HttpSession(
            hop.host, address, context, authorization=authorization, dial=self._dial
        )
        return TrustedRestconfServer(_opened(session))

    def connect_provisionally(self, hop: ProvisionalHop, address: Address) -> ProvisionalServer:
        """See `ports.Connector`."""
        from xpu_agent.net.http_session import HttpSession

        context = tls.provisional_context(self._identity)
        session = HttpSession(hop.host, address, context, dial=self._dial)
        return ProvisionalRestconfServer(_opened(session))


def _opened(session: "HttpSession") -> "HttpSession":
    try:
        session.open()
    except BaseException:
        session.close()
        raise
    return session


class _Rpcs:
    """The RPCs of one server: where its root is and which encoding it understands."""

    def __init__(self, session: "HttpSession") -> None:
        self._session = session
        self._root: str | None = None
        self._encoding = Encoding.JSON

    @property
    def where(self) -> str:
        return self._session.where

    def call(
        self,
        name: str,
        encode: Callable[[Encoding], bytes],
        *,
        seconds: float,
        body_bytes: int,
    ) -> tuple["Answer", Encoding]:
        """POST one RPC, in the other encoding too if the server does not take the first.

        `seconds` are for all of it but finding the root. Raises as `HttpSession.exchange`.
        """
        target = f"{self._find_root()}/operations/{_MODULE}:{name}"
        deadline = Deadline(seconds)
        encoding = self._encoding
        for last in (False, True):
            media_type = rpc.MEDIA_TYPES[encoding]
            answer = self._session.exchange(
                "POST",
                target,
                {"Accept": media_type, "Content-Type": media_type},
                encode(encoding),
                deadline=deadline,
                body_bytes=body_bytes,
            )
            if answer.status not in {406, 415} or last:
                break
            encoding = _OTHER[encoding]
        if answer.status not in {406, 415}:
            self._encoding = encoding
        return answer, encoding

    def _find_root(self) -> str:
        """RFC 8040, 3.1: ask for host-meta once; without an answer of use, `/restconf`."""
        if self._root is None:
            root = self._ask_for_root()
            # Empty is a root too: that of the server itself.
            if root is None or (root and not _ROOT.fullmatch(root)):
                root = _DEFAULT_ROOT
            self._root = root
        return self._root

    def _ask_for_root(self) -> str | None:
        try:
            answer = self._session.exchange(
                "GET",
                _HOST_META,
                {"Accept": "application/xrd+xml"},
                None,
                deadline=Deadline(limits.HOST_META_SECONDS),
                body_bytes=limits.ERROR_BODY_BYTES,
            )
        except ServerCertificateError:
            raise
        except (SourceUnavailableError, MalformedError):
            # A server with two resources may well stumble over a third one.
            return None
        return rpc.decode_host_meta(answer.body) if answer.status == 200 else None

    def close(self) -> None:
        self._session.close()

    def get_bootstrapping_data(self, request: BootstrappingRequest) -> BootstrappingResponse:
        answer, encoding = self.call(
            "get-bootstrapping-data",
            lambda encoding: rpc.encode_bootstrapping_request(request, encoding),
            seconds=limits.REQUEST_SECONDS,
            body_bytes=limits.RPC_RESPONSE_BYTES,
        )
        if answer.status != 200:
            raise self._refusal(answer, "get-bootstrapping-data")
        return rpc.decode_bootstrapping_response(
            answer.body, self._answer_encoding(answer, encoding)
        )

    def report_progress(self, report: ProgressReport, seconds: float) -> None:
        bounded = replace(report, message=_cut(report.message))
        answer, _ = self.call(
            "report-progress",
            lambda encoding: rpc.encode_progress_report(bounded, encoding),
            seconds=seconds,
            body_bytes=limits.ERROR_BODY_BYTES,
        )
        if answer.status != 204:
            raise ProtocolError(
                Reason.HTTP_ERROR,
                f"{self.where} did not acknowledge {report.progress_type}: {_status(answer)}",
            )

    def _answer_encoding(self, answer: "Answer", asked: Encoding) -> Encoding:
        """What the answer says it is; as asked for where it says nothing (RFC 8040, 5.2)."""
        subtype = answer.content_type.partition("/")[2]
        if not answer.content_type:
            return asked
        for encoding in Encoding:
            if subtype == encoding or subtype.endswith("+" + encoding):
                return encoding
        raise MalformedError(
            f"{self.where} answered get-bootstrapping-data with a body of"
            f" type {_plain(answer.content_type)}"
        )

    def _refusal(self, answer: "Answer", name: str) -> XpuAgentError:
        message = f"{self.where} refused {name}: {_status(answer)}"
        denied = rpc.decode_error(answer.body).error_tag == "access-denied"
        if answer.status == 401 or (answer.status == 403 and denied):
            return IdentityError(
                Reason.CLIENT_CERT_REFUSED,
                message,
                next_action="ask its operator whether this device is known there",
            )
        return SourceUnavailableError(Reason.HTTP_ERROR, message)


class ProvisionalRestconfServer:
    """`ports.ProvisionalServer`."""

    def __init__(self, session: "HttpSession") -> None:
        self._rpcs = _Rpcs(session)

    def get_bootstrapping_data(self, request: BootstrappingRequest) -> BootstrappingResponse:
        """See `ports.ProvisionalServer`."""
        return self._rpcs.get_bootstrapping_data(request)

    def close(self) -> None:
        """See `ports.ProvisionalServer`."""
        self._rpcs.close()


class TrustedRestconfServer:
    """`ports.TrustedServer`."""

    def __init__(self, session: "HttpSession") -> None:
        self._rpcs = _Rpcs(session)

    def get_bootstrapping_data(self, request: BootstrappingRequest) -> BootstrappingResponse:
        """See `ports.TrustedServer`."""
        return self._rpcs.get_bootstrapping_data(request)

    def report_acknowledged(self, report: ProgressReport) -> None:
        """See `ports.TrustedServer`."""
        self._rpcs.report_progress(report, limits.REPORT_SECONDS)

    def report_best_effort(self, report: ProgressReport) -> bool:
        """See `ports.TrustedServer`; raises nothing but StoppedError."""
        try:
            self._rpcs.report_progress(report, limits.REPORT_SECONDS)
        except StoppedError:
            raise
        except XpuAgentError:
            return False
        return True

    def close(self) -> None:
        """See `ports.TrustedServer`."""
        self._rpcs.close()


def _status(answer: "Answer") -> str:
    """Status code and what the body says about it, for people."""
    error = rpc.decode_error(answer.body)
    said = [_plain(text) for text in (error.error_tag, error.error_message) if text]
    return ", ".join([f"HTTP status {answer.status}", *said])


def _plain(text: str) -> str:
    """Text of a peer, printable and bounded."""
    return ascii(text[:_ERROR_CHARS])[1:-1][:_ERROR_CHARS]


def _cut(message: str | None) -> str | None:
    """At most `REPORT_MESSAGE_BYTES` octets of UTF-8, whole characters."""
    if message is None:
        return None
    octets = message.encode("utf-8", "backslashreplace")
    if len(octets) <= limits.REPORT_MESSAGE_BYTES:
        return octets.decode()
    mark = "..."
    kept = octets[: limits.REPORT_MESSAGE_BYTES - len(mark)]
    return kept.decode("utf-8", "ignore") + mark
