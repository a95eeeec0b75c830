# SPDX-License-Identifier: Apache-2.0
"""A bootstrap server in memory: RFC 8572, 7 on RFC 8040; request in, response out.

No socket here. The server is mutable: tests change answers and policy while it runs. It keeps
every request with everything that was wrong in it, and lets others wait for what they expect.

1. Only two RPCs exist; `/.well-known/host-meta` tells where they are, if the policy says so.
2. A device is whom its client certificate or its HTTP credentials name; both must agree. It gets
   its own answer and nobody else's.
3. Media types are negotiated (RFC 8040, 5.2) before the body is read.
4. Who prefers signed data never gets unsigned onboarding information, unless the policy breaks
   that rule on purpose.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

from xpu_emulator import rpc
from xpu_emulator.authentication import Refusal, authenticate
from xpu_emulator.der_checks import ConveyedKind, conveyed_kind
from xpu_emulator.messages import MISPRINTS, MediaTypes, Request, Response, bare, is_registered
from xpu_emulator.rpc import (
    BootstrappingData,
    CsrRequest,
    CsrSupport,
    Encoding,
    ErrorTag,
    GetBootstrappingData,
    ProgressType,
    ReportProgress,
    RestconfError,
    Violation,
)

HOST_META = "/.well-known/host-meta"
XRD_MEDIA_TYPE = "application/xrd+xml"


class Operation(Enum):
    """The two RPCs, by the name in the request target."""

    GET_BOOTSTRAPPING_DATA = "ietf-sztp-bootstrap-server:get-bootstrapping-data"
    REPORT_PROGRESS = "ietf-sztp-bootstrap-server:report-progress"


@dataclass(frozen=True, slots=True)
class BootstrapRequest:
    """What a callable answer is given: who asks, what for, and for which time (from 1)."""

    serial_number: str
    input: GetBootstrappingData
    request: Request
    count: int


FixedAnswer: TypeAlias = BootstrappingData | CsrRequest | RestconfError | Response
Answer: TypeAlias = FixedAnswer | Callable[[BootstrapRequest], FixedAnswer]


@dataclass(frozen=True, slots=True)
class ServerPolicy:
    """How this server behaves; the defaults are a server as the RFCs want it.

    `restconf_root` holds the operations, announced in host-meta if `announces_root`;
    `announced_root` is what stands there instead, wrong on purpose.
    `media_types` says which encodings it knows and how it compares their names.
    `basic_passwords` (user name to password) switches HTTP Basic on.
    `demands_client_certificate` answers 401 to a request without identity by certificate.
    `obeys_signed_data_preferred` off makes a server that ignores the wish (RFC 8572, 5.3).
    """

    restconf_root: str = "/restconf"
    announces_root: bool = False
    announced_root: str | None = None
    media_types: MediaTypes = field(default_factory=MediaTypes)
    demands_client_certificate: bool = True
    basic_passwords: Mapping[str, str] = field(default_factory=dict)
    obeys_signed_data_preferred: bool = True


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request with its answer, and all that was wrong with the request."""

    number: int
    at: float  # seconds since the epoch
    server: str
    request: Request
    response: Response
    operation: Operation | None = None
    serial_number: str | None = None
    input: GetBootstrappingData | ReportProgress | None = None
    violations: tuple[Violation, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """A valid progress report, whether or not it was answered with 204."""

    serial_number: str
    report: ReportProgress
    exchange: Exchange

    @property
    def progress_type(self) -> ProgressType:
        """The type reported."""
        return self.report.progress_type


@dataclass(slots=True)
class _Draft:
    """What is learned of a request while it is answered."""

    operation: Operation | None = None
    serial_number: str | None = None
    input: GetBootstrappingData | ReportProgress | None = None
    violations: list[Violation] = field(default_factory=list)
    encoding: Encoding = Encoding.JSON


class BootstrapServer:
    """The server; every method may be called from any thread."""

    def __init__(self, name: str = "bootstrap-server", policy: ServerPolicy | None = None) -> None:
        self.name = name
        self._policy = policy or ServerPolicy()
        self._changed = threading.Condition(threading.RLock())
        self._answers: dict[str, tuple[Answer, Answer | None]] = {}
        self._default: tuple[Answer, Answer | None] | None = None
        self._report_answers: dict[ProgressType, Response] = {}
        self._exchanges: list[Exchange] = []
        self._reports: list[Report] = []
        self._counts: dict[str, int] = {}
        self._nonces: set[tuple[str, bytes]] = set()
        self._listeners: list[Callable[[Exchange], None]] = []

    # What tests and scenarios set

    @property
    def policy(self) -> ServerPolicy:
        """The policy in force; set it to change it, with `dataclasses.replace`."""
        return self._policy

    @policy.setter
    def policy(self, policy: ServerPolicy) -> None:
        with self._changed:
            self._policy = policy

    def set_answer(
        self,
        serial_number: str | None,
        answer: Answer,
        *,
        if_signed_preferred: Answer | None = None,
    ) -> None:
        """Answer this device so; None as serial number stands for every other authenticated one.

        `if_signed_preferred` is for requests with `signed-data-preferred`.
        """
        with self._changed:
            if serial_number is None:
                self._default = (answer, if_signed_preferred)
            else:
                self._answers[serial_number] = (answer, if_signed_preferred)

    def answer_report(self, progress_type: ProgressType, response: Response | None) -> None:
        """Answer reports of this type so; None goes back to 204."""
        with self._changed:
            self._report_answers.pop(progress_type, None)
            if response is not None:
                self._report_answers[progress_type] = response

    def subscribe(self, listener: Callable[[Exchange], None]) -> None:
        """Call `listener` for each exchange, in order, on the thread that served it."""
        with self._changed:
            self._listeners.append(listener)

    # What they look at

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        """Everything that happened so far."""
        with self._changed:
            return tuple(self._exchanges)

    @property
    def reports(self) -> tuple[Report, ...]:
        """The valid progress reports so far."""
        with self._changed:
            return tuple(self._reports)

    @property
    def violations(self) -> tuple[Violation, ...]:
        """All findings on all requests so far."""
        return tuple(v for exchange in self.exchanges for v in exchange.violations)

    def requests(self, operation: Operation | None = None) -> tuple[Exchange, ...]:
        """The exchanges of one RPC, or all."""
        return tuple(e for e in self.exchanges if operation in {None, e.operation})

    def progress(self, serial_number: str) -> tuple[ProgressType, ...]:
        """The progress types a device reported, in order."""
        return tuple(r.progress_type for r in self.reports if r.serial_number == serial_number)

    def wait_for(self, predicate: Callable[["BootstrapServer"], bool], timeout: float) -> bool:
        """Wait until `predicate` holds, at most `timeout` seconds; whether it did.

        It is looked at again after every exchange.
        """
        with self._changed:
            return self._changed.wait_for(lambda: predicate(self), timeout)

    # The protocol

    def handle(self, request: Request, instead: Response | None = None) -> Response:
        """Answer one request and record it.

        `instead` is what the client gets in place of the real answer (a fault; status 0 if it gets
        none): the request is judged all the same, and the exchange shows what was really sent.
        """
        draft = _Draft()
        try:
            response = self._route(request, draft)
        except Refusal as refusal:
            draft.violations.extend(refusal.violations)
            response = _error_response(
                refusal.status, refusal.error, draft.encoding, refusal.headers
            )
        response = response if instead is None else instead
        with self._changed:
            if isinstance(draft.input, GetBootstrappingData) and response.status == 200:
                # A request that got no data may come again as it was: in the other encoding, or
                # after a connection that broke. Only a nonce that was answered is used up.
                self._nonces.add((draft.serial_number or "", draft.input.nonce or b""))
            exchange = Exchange(
                number=len(self._exchanges) + 1,
                at=time.time(),
                server=self.name,
                request=request,
                response=response,
                operation=draft.operation,
                serial_number=draft.serial_number,
                input=draft.input,
                violations=tuple(draft.violations),
            )
            self._exchanges.append(exchange)
            if isinstance(draft.input, ReportProgress) and draft.serial_number is not None:
                self._reports.append(Report(draft.serial_number, draft.input, exchange))
            for listener in self._listeners:
                listener(exchange)
            self._changed.notify_all()
        return response

    def _route(self, request: Request, draft: _Draft) -> Response:
        policy = self._policy
        if request.path == HOST_META and policy.announces_root:
            if request.method not in {"GET", "HEAD"}:
                raise _not_allowed("GET, HEAD")
            return Response(200, (("Content-Type", XRD_MEDIA_TYPE),), _host_meta(policy))
        prefix = f"{policy.restconf_root.rstrip('/')}/operations/"
        operations = {prefix + operation.value: operation for operation in Operation}
        operation = operations.get(request.path)
        if operation is None:
            raise Refusal(404, ErrorTag.INVALID_VALUE, "no such resource")
        draft.operation = operation
        encoding = _answer_encoding(request, policy)
        draft.encoding = encoding or draft.encoding
        if not request.header("Accept"):
            text = "no Accept header; it should name what can be read"
            draft.violations.append(Violation(("RC-5.2-02",), text))
        if request.method != "POST":
            text = f"{operation.value} was called with {request.method}, not POST"
            raise _not_allowed("POST", Violation(("RC-3.6-01",), text))
        draft.serial_number = authenticate(
            request, policy.basic_passwords, certificate_needed=policy.demands_client_certificate
        )
        request_encoding = _request_encoding(request, policy, draft)
        if encoding is None:
            raise Refusal(406, ErrorTag.INVALID_VALUE, "none of the accepted encodings is known")
        try:
            match operation:
                case Operation.GET_BOOTSTRAPPING_DATA:
                    return self._get_bootstrapping_data(request, request_encoding, draft)
                case Operation.REPORT_PROGRESS:
                    return self._report_progress(request, request_encoding, draft)
        except rpc.InputError as error:
            raise Refusal(400, error.tag, str(error), violations=error.violations) from error

    def _get_bootstrapping_data(
        self, request: Request, encoding: Encoding, draft: _Draft
    ) -> Response:
        wanted = rpc.decode_get_bootstrapping_data(request.body, encoding)
        draft.input = wanted
        serial_number = draft.serial_number or ""
        with self._changed:
            count = self._counts[serial_number] = self._counts.get(serial_number, 0) + 1
            answers = self._answers.get(serial_number, self._default)
            used = (serial_number, wanted.nonce or b"") in self._nonces
        if used and wanted.nonce is not None and not isinstance(wanted.csr, rpc.CertificateRequest):
            draft.violations.append(
                Violation(("SZTP-7.3-06",), "the nonce was sent before; it must be fresh")
            )
        if answers is None:
            raise Refusal(403, ErrorTag.ACCESS_DENIED, "unknown device")
        answer, if_signed_preferred = answers
        if wanted.signed_data_preferred and if_signed_preferred is not None:
            answer = if_signed_preferred
        # Signing on demand takes its time: outside the lock.
        fixed = (
            answer(BootstrapRequest(serial_number, wanted, request, count))
            if callable(answer)
            else answer
        )
        match fixed:
            case Response():
                return fixed
            case RestconfError():
                return _error_response(400, fixed, draft.encoding)
            case CsrRequest():
                _check_csr_request(fixed, wanted)
                error = RestconfError(
                    ErrorTag.MISSING_ATTRIBUTE,
                    "a CSR is needed",
                    error_type="application",
                    csr_request=fixed,
                )
                return _error_response(400, error, draft.encoding)
            case BootstrappingData():
                if (
                    wanted.signed_data_preferred
                    and self._policy.obeys_signed_data_preferred
                    and _is_unsigned_onboarding(fixed)
                ):
                    raise Refusal(
                        404, ErrorTag.INVALID_VALUE, "there is no signed data for this device"
                    )
                body = rpc.encode_output(fixed, draft.encoding)
                return Response(200, (("Content-Type", draft.encoding.value),), body)

    def _report_progress(self, request: Request, encoding: Encoding, draft: _Draft) -> Response:
        report = rpc.decode_report_progress(request.body, encoding)
        serial_number = draft.serial_number or ""
        with self._changed:
            known = self._default is not None or serial_number in self._answers
            response = self._report_answers.get(report.progress_type, Response(204))
        if not known:
            raise Refusal(403, ErrorTag.ACCESS_DENIED, "unknown device")
        draft.input = report
        return response


def _not_allowed(allow: str, *violations: Violation) -> Refusal:
    return Refusal(
        405,
        ErrorTag.OPERATION_NOT_SUPPORTED,
        "this method is not allowed here",
        violations=violations,
        headers=(("Allow", allow),),
    )


def _host_meta(policy: ServerPolicy) -> bytes:
    return (
        "<XRD xmlns='http://docs.oasis-open.org/ns/xri/xrd-1.0'>"
        f"<Link rel='restconf' href='{policy.announced_root or policy.restconf_root}'/></XRD>\n"
    ).encode()


def _error_response(
    status: int,
    error: RestconfError,
    encoding: Encoding,
    headers: tuple[tuple[str, str], ...] = (),
) -> Response:
    body = rpc.encode_errors((error,), encoding)
    return Response(status, (("Content-Type", encoding.value), *headers), body)


def _is_unsigned_onboarding(data: BootstrappingData) -> bool:
    """Whether this is unsigned onboarding information, as far as a server can tell.

    What is encrypted and comes without owner certificate can't be signed data.
    """
    kind = conveyed_kind(data.conveyed_information)
    return kind is ConveyedKind.UNSIGNED_ONBOARDING or (
        kind is ConveyedKind.ENCRYPTED and data.owner_certificate is None
    )


def _check_csr_request(request: CsrRequest, wanted: GetBootstrappingData) -> None:
    if not request.checked:
        return
    # After a CSR the server may ask again; what the device offered came one request earlier.
    if isinstance(wanted.csr, rpc.CertificateRequest):
        return
    offer = wanted.csr if isinstance(wanted.csr, CsrSupport) else None
    if offer is None:
        raise Refusal(500, ErrorTag.OPERATION_FAILED, "a CSR is needed; none was offered")
    if request.form not in offer.formats or (
        request.algorithm is not None and request.algorithm not in (offer.algorithms or ())
    ):
        raise Refusal(
            500, ErrorTag.OPERATION_FAILED, "the needed kind of CSR is not among those offered"
        )


# Media types


def _answer_encoding(request: Request, policy: ServerPolicy) -> Encoding | None:
    return policy.media_types.best(request.header("Accept"), request.header("Content-Type"))


def _request_encoding(request: Request, policy: ServerPolicy, draft: _Draft) -> Encoding:
    content_type = request.header("Content-Type")
    if content_type is None and not request.body:
        return draft.encoding
    if content_type is not None:
        if bare(content_type) in MISPRINTS:
            draft.violations.append(
                Violation(
                    ("RC-5.2-01",),
                    f"Content-Type {bare(content_type)!r} is a misprint of RFC 8572, 7.2",
                )
            )
        encoding = policy.media_types.encoding_of(content_type)
        if encoding is not None:
            return encoding
    text = f"Content-Type {content_type[:80]!r}" if content_type else "a body without Content-Type"
    # A right name that this server doesn't know isn't the device's fault.
    if content_type is None or not is_registered(content_type):
        draft.violations.append(
            Violation(("RC-5.2-01",), f"{text}; it must be one of RESTCONF's two")
        )
    raise Refusal(415, ErrorTag.OPERATION_NOT_SUPPORTED, f"{text} is not supported here")
