# SPDX-License-Identifier: Apache-2.0
"""The connector against the emulator's bootstrap server, behind real TLS."""

import base64
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.unit.net.conftest import HOST, Authorities, server_identity, write_identity

from xpu_agent import limits
from xpu_agent.artifacts.certificate import parse_certificate
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
)
from xpu_agent.net.restconf import Credentials, RestconfConnector
from xpu_agent.net.tls import ClientIdentity
from xpu_agent.ports import Address, ProvisionalServer, TrustedServer
from xpu_agent.progress import ProgressReport, ProgressType, ReportingLevel
from xpu_agent.trust.state import ProvisionalHop, TrustedHop
from xpu_emulator import rpc
from xpu_emulator.faults import (
    BodyKind,
    CloseBeforeAnswer,
    Delay,
    FaultPlan,
    FaultRule,
    HttpRedirect,
    HugeBody,
    StatusCode,
    TruncatedBody,
    WrongCertificate,
    WrongCertificateKind,
)
from xpu_emulator.https import ClientCertificates, Demand, HttpsServer
from xpu_emulator.messages import MediaTypes, Response
from xpu_emulator.pki import Identity
from xpu_emulator.rpc import BootstrappingData
from xpu_emulator.server import BootstrapServer, Exchange, Operation, ServerPolicy

GET = "*:get-bootstrapping-data"
REPORT = "*:report-progress"
HOST_META = "/.well-known/host-meta"
REQUEST = BootstrappingRequest(
    signed_data_preferred=True, hw_model=None, os_name=None, os_version=None, nonce=bytes(32)
)
ACCURATE = ClockReading(datetime.now(UTC), accurate=True)
CREDENTIALS = Credentials("SN-1", "pass:wörd")
# ContentInfo of id-ct-sztpConveyedInfoJSON with one octet in it.
CONVEYED = bytes.fromhex("3012060b2a864886f70d010910012ba00304017b")


@dataclass
class Site:
    """One bootstrap server, and connections to it of both kinds."""

    authorities: Authorities
    client: ClientIdentity | None
    stack: ExitStack
    server: BootstrapServer = field(default_factory=BootstrapServer)
    faults: FaultPlan = field(default_factory=FaultPlan)
    identity: Identity | None = None
    demand: Demand = Demand.OPTIONAL
    credentials: Credentials | None = None

    def __post_init__(self) -> None:
        self.server.set_answer("SN-1", BootstrappingData(CONVEYED, None, None, "verbose"))

    def start(self) -> Address:
        clients = ClientCertificates(self.demand, (self.authorities.manufacturer.der,))
        impostor = self.authorities.foreign.issue("Impostor", dns_names=[HOST])
        https = HttpsServer(
            self.server,
            server_identity(self.identity or self.authorities.server),
            client_certificates=clients,
            wrong_identities={WrongCertificateKind.OTHER_CA: server_identity(impostor)},
            faults=self.faults,
        )
        return Address("127.0.0.1", self.stack.enter_context(https).port)

    @property
    def connector(self) -> RestconfConnector:
        return RestconfConnector(self.client, self.credentials)

    def trusted(self, address: Address | None = None) -> TrustedServer:
        address = address or self.start()
        anchors = (parse_certificate(self.authorities.root.der),)
        hop = TrustedHop(HOST, address.port, anchors, None)
        server = self.connector.connect(hop, address, ACCURATE)
        self.stack.callback(server.close)
        return server

    def provisional(self, address: Address | None = None) -> ProvisionalServer:
        address = address or self.start()
        hop = ProvisionalHop(HOST, address.port)
        server = self.connector.connect_provisionally(hop, address)
        self.stack.callback(server.close)
        return server

    def posts(self) -> list[Exchange]:
        return [each for each in self.server.exchanges if each.request.method == "POST"]


@pytest.fixture
def site(authorities: Authorities, client: ClientIdentity) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(authorities, client, stack)


@contextmanager
def refused(reason: Reason, kind: type[Exception] = SourceUnavailableError) -> Iterator[list[str]]:
    said: list[str] = []
    with pytest.raises(kind) as caught:
        yield said
    assert getattr(caught.value, "reason", None) is reason
    said.append(str(caught.value))


def report(progress_type: ProgressType, message: str | None = None) -> ProgressReport:
    return ProgressReport(progress_type, message)


# What works


@pytest.mark.requirement("RC-3.6-01", "RC-5.2-01", "RC-5.2-02", "SZTP-5.3-03")
@pytest.mark.parametrize("kind", ["trusted", "provisional"])
def test_bootstrapping_data_is_fetched(site: Site, kind: str) -> None:
    server = site.trusted() if kind == "trusted" else site.provisional()
    response = server.get_bootstrapping_data(REQUEST)
    assert isinstance(response, BootstrappingResponse)
    assert response.artifacts.conveyed_information == CONVEYED
    assert response.reporting_level is ReportingLevel.VERBOSE
    (exchange,) = site.posts()
    assert exchange.operation is Operation.GET_BOOTSTRAPPING_DATA
    assert exchange.serial_number == "SN-1"
    assert exchange.violations == ()
    assert exchange.request.header("Accept") == "application/yang-data+json"
    assert exchange.request.header("Content-Type") == "application/yang-data+json"


@pytest.mark.requirement("SZTP-7.3-01", "SZTP-7.3-07")
def test_reports_go_to_a_trusted_server(site: Site) -> None:
    server = site.trusted()
    server.report_acknowledged(report(ProgressType.BOOTSTRAP_INITIATED, "häl\x1blo"))
    assert server.report_best_effort(report(ProgressType.PARSING_COMPLETE))
    assert [str(each) for each in site.server.progress("SN-1")] == [
        "bootstrap-initiated",
        "parsing-complete",
    ]
    assert site.server.violations == ()


@pytest.mark.refuses("SZTP-7.3-01", "SZTP-9.6-03")
def test_a_provisional_server_cannot_be_reported_to(site: Site) -> None:
    server = site.provisional()
    assert not [name for name in dir(server) if "report" in name]


# The root


@pytest.mark.requirement("RC-3.1-01")
def test_an_announced_root_is_used(site: Site) -> None:
    site.server.policy = ServerPolicy(restconf_root="/top/restconf", announces_root=True)
    server = site.trusted()
    server.get_bootstrapping_data(REQUEST)
    server.report_acknowledged(report(ProgressType.BOOTSTRAP_INITIATED))
    paths = [exchange.request.path for exchange in site.server.exchanges]
    assert paths[0] == HOST_META
    assert [path.partition("/operations/")[0] for path in paths[1:]] == ["/top/restconf"] * 2


def test_a_server_that_is_silent_about_its_root_gets_the_usual_request(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "HOST_META_SECONDS", 0.2)
    site.faults.add(FaultRule((Delay(2),), path=HOST_META))
    server = site.trusted()
    server.get_bootstrapping_data(REQUEST)
    server.report_acknowledged(report(ProgressType.BOOTSTRAP_INITIATED))
    assert len(site.posts()) == 2


@pytest.mark.requirement("RC-3.1-01")
@pytest.mark.parametrize(
    "fault",
    [
        StatusCode(404),
        StatusCode(401),
        StatusCode(500, BodyKind.HTML),
        HttpRedirect("https://elsewhere.example/"),
        CloseBeforeAnswer(),
        HugeBody(10 * limits.ERROR_BODY_BYTES),
    ],
)
def test_without_an_announcement_the_root_is_restconf(
    site: Site,
    fault: StatusCode | HttpRedirect | CloseBeforeAnswer | HugeBody,
) -> None:
    site.faults.add(FaultRule((fault,), path=HOST_META))
    site.trusted().get_bootstrapping_data(REQUEST)
    assert site.posts()[0].request.path.startswith("/restconf/operations/")


# Encodings


@pytest.mark.requirement("RC-5.2-03")
@pytest.mark.parametrize("exact", [True, False])
def test_a_server_that_knows_only_xml(site: Site, exact: bool) -> None:
    only_xml = MediaTypes(frozenset({rpc.Encoding.XML}), exact=exact)
    site.server.policy = ServerPolicy(media_types=only_xml)
    server = site.trusted()
    assert server.get_bootstrapping_data(REQUEST).artifacts.conveyed_information == CONVEYED
    server.report_acknowledged(report(ProgressType.BOOTSTRAP_INITIATED))
    sent = [each.request.header("Content-Type") for each in site.posts()]
    xml = "application/yang-data+xml"
    assert sent == ["application/yang-data+json", xml, xml]
    assert site.posts()[-1].request.header("Accept") == xml


@pytest.mark.requirement("RC-5.2-03")
def test_the_encoding_that_worked_is_not_for_ever(site: Site) -> None:
    site.server.policy = ServerPolicy(media_types=MediaTypes(frozenset({rpc.Encoding.XML})))
    server = site.trusted()
    server.get_bootstrapping_data(REQUEST)
    site.server.policy = ServerPolicy(media_types=MediaTypes(frozenset({rpc.Encoding.JSON})))
    server.get_bootstrapping_data(REQUEST)
    assert str(site.posts()[-1].request.header("Content-Type")).endswith("json")


@pytest.mark.parametrize("code", [406, 415])
def test_a_server_that_takes_no_encoding_is_asked_twice(site: Site, code: int) -> None:
    site.faults.add(FaultRule((StatusCode(code),), path=GET))
    with refused(Reason.HTTP_ERROR):
        site.trusted().get_bootstrapping_data(REQUEST)
    assert len(site.posts()) == 2


def test_a_body_of_another_type_is_malformed(site: Site) -> None:
    for content_type in ("text/html", "application/octet-stream", "application/\x7fjson"):
        headers = (("Content-Type", content_type),)
        site.server.set_answer("SN-1", Response(200, headers, b"{}"))
        with refused(Reason.MALFORMED, MalformedError):
            site.trusted().get_bootstrapping_data(REQUEST)


def test_a_body_without_a_type_is_what_was_asked_for(site: Site) -> None:
    conveyed = base64.b64encode(CONVEYED).decode()
    body = (
        '{"ietf-sztp-bootstrap-server:output": {"conveyed-information": "' + conveyed + '"}}'
    ).encode()
    site.server.set_answer("SN-1", Response(200, (), body))
    response = site.trusted().get_bootstrapping_data(REQUEST)
    assert response.artifacts.conveyed_information == CONVEYED
    site.server.set_answer("SN-1", Response(200, (), b'{"x": 1}'))
    with refused(Reason.MALFORMED, MalformedError):
        site.trusted().get_bootstrapping_data(REQUEST)


# Refusals


@pytest.mark.requirement("RC-7-01")
@pytest.mark.parametrize("code", [400, 404, 405, 409, 429, 500, 503])
@pytest.mark.parametrize("kind", list(BodyKind))
def test_errors_are_told_with_what_the_server_says(site: Site, code: int, kind: BodyKind) -> None:
    site.faults.add(FaultRule((StatusCode(code, kind, error_tag="resource-denied"),), path=GET))
    with refused(Reason.HTTP_ERROR) as said:
        site.trusted().get_bootstrapping_data(REQUEST)
    assert str(code) in said[0]
    assert ("resource-denied" in said[0]) == kind.value.endswith(("errors", "error"))


@pytest.mark.requirement("RC-7-01")
@pytest.mark.parametrize("code", [401, 403])
def test_a_server_that_does_not_know_us_is_an_identity_problem(site: Site, code: int) -> None:
    denied = StatusCode(code, BodyKind.RESTCONF, error_tag="access-denied")
    site.faults.add(FaultRule((denied,), path=GET))
    with refused(Reason.CLIENT_CERT_REFUSED, IdentityError):
        site.provisional().get_bootstrapping_data(REQUEST)


@pytest.mark.parametrize("kind", ["trusted", "provisional"])
def test_a_certificate_of_another_manufacturer_is_an_identity_problem(
    site: Site, tmp_path: Path, kind: str
) -> None:
    site.client = write_identity(site.authorities.foreign.issue("Device"), tmp_path)
    site.demand = Demand.REQUIRED
    with refused(Reason.CLIENT_CERT_REFUSED, IdentityError):
        server = site.trusted() if kind == "trusted" else site.provisional()
        server.get_bootstrapping_data(REQUEST)
    assert site.server.exchanges == ()


def test_a_forbidden_page_is_no_identity_problem(site: Site) -> None:
    site.faults.add(FaultRule((StatusCode(403, BodyKind.HTML),), path=GET))
    with refused(Reason.HTTP_ERROR):
        site.trusted().get_bootstrapping_data(REQUEST)


@pytest.mark.parametrize("code", [201, 202, 204])
def test_success_without_data_is_nothing_received(site: Site, code: int) -> None:
    site.faults.add(FaultRule((StatusCode(code),), path=GET))
    with refused(Reason.HTTP_ERROR):
        site.trusted().get_bootstrapping_data(REQUEST)


@pytest.mark.refuses("RC-X-01")
@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_http_redirects_are_not_followed(site: Site, code: int) -> None:
    elsewhere = Site(site.authorities, site.client, site.stack)
    address = elsewhere.start()
    location = f"https://127.0.0.1:{address.port}/restconf"
    site.faults.add(FaultRule((HttpRedirect(location, code),), path=GET))
    with refused(Reason.HTTP_ERROR):
        site.trusted().get_bootstrapping_data(REQUEST)
    assert elsewhere.server.exchanges == ()


def test_a_response_that_is_too_large(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RPC_RESPONSE_BYTES", 100_000)
    site.faults.add(FaultRule((HugeBody(100_001),), path=GET))
    with refused(Reason.TOO_LARGE, MalformedError):
        site.trusted().get_bootstrapping_data(REQUEST)


def test_a_response_cut_short(site: Site) -> None:
    site.faults.add(FaultRule((TruncatedBody(20),), path=GET))
    with refused(Reason.HTTP_ERROR):
        site.trusted().get_bootstrapping_data(REQUEST)


def test_the_time_of_a_request_is_bounded(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REQUEST_SECONDS", 0.3)
    site.faults.add(FaultRule((Delay(5),), path=GET))
    with refused(Reason.TIMEOUT):
        site.trusted().get_bootstrapping_data(REQUEST)


# Reports


@pytest.mark.refuses("SZTP-7.3-07")
@pytest.mark.parametrize("code", [200, 202, 400, 401, 404, 500, 503])
def test_only_204_acknowledges(site: Site, code: int) -> None:
    site.faults.add(FaultRule((StatusCode(code, BodyKind.RESTCONF),), path=REPORT))
    server = site.trusted()
    with refused(Reason.HTTP_ERROR, ProtocolError) as said:
        server.report_acknowledged(report(ProgressType.BOOTSTRAP_COMPLETE))
    assert "operation-failed" in said[0]
    assert not server.report_best_effort(report(ProgressType.CONFIG_COMPLETE))


def test_a_report_makes_a_new_connection_if_the_old_one_is_gone(site: Site) -> None:
    server = site.trusted()
    server.get_bootstrapping_data(REQUEST)
    site.faults.add(FaultRule((CloseBeforeAnswer(),), path=REPORT, first=1))
    server.report_acknowledged(report(ProgressType.BOOTSTRAP_COMPLETE))
    assert len(site.server.reports) == 2  # the lost one was received


@pytest.mark.refuses("SZTP-5.3-02")
def test_the_new_connection_is_validated_like_the_first(site: Site) -> None:
    server = site.trusted()
    server.get_bootstrapping_data(REQUEST)
    received = len(site.server.exchanges)
    site.faults.add(FaultRule((CloseBeforeAnswer(),), path=REPORT, first=1))
    site.faults.add(WrongCertificate(WrongCertificateKind.OTHER_CA))
    with pytest.raises(ServerCertificateError):
        server.report_acknowledged(report(ProgressType.BOOTSTRAP_COMPLETE))
    assert len(site.server.exchanges) == received + 1  # on the old connection, then none
    assert not server.report_best_effort(report(ProgressType.CONFIG_COMPLETE))


def test_best_effort_lets_a_stop_through(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    server = site.trusted()

    def stop(*_: object) -> bytes:
        raise StoppedError

    monkeypatch.setattr("xpu_agent.artifacts.rpc.encode_progress_report", stop)
    with pytest.raises(StoppedError):
        server.report_best_effort(report(ProgressType.CONFIG_COMPLETE))


def test_messages_are_cut_between_characters(site: Site) -> None:
    server = site.trusted()
    server.report_acknowledged(report(ProgressType.BOOTSTRAP_INITIATED, "ü" * 2000))
    message = site.server.reports[0].report.message or ""
    assert limits.REPORT_MESSAGE_BYTES - 4 <= len(message.encode()) <= limits.REPORT_MESSAGE_BYTES
    assert set(message) == {"ü", "."}


# Credentials


@pytest.mark.requirement("SZTP-5.1-05", "SZTP-9.6-01")
def test_credentials_go_to_a_trusted_server_at_once(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    site.client = None
    site.demand = Demand.NONE
    site.credentials = CREDENTIALS
    site.server.policy = ServerPolicy(
        demands_client_certificate=False, basic_passwords={"SN-1": "pass:wörd"}
    )
    assert site.trusted().get_bootstrapping_data(REQUEST).artifacts
    assert [each.response.status for each in site.server.exchanges] == [404, 200]
    assert "wörd" not in repr(site.credentials)
    secret = site.credentials.authorization().removeprefix("Basic ")
    assert secret in str(site.server.exchanges[0].request.header("Authorization"))
    assert secret not in caplog.text


@pytest.mark.refuses("SZTP-9.6-01")
def test_credentials_never_go_to_a_provisional_server(site: Site) -> None:
    site.credentials = CREDENTIALS
    basic = (("WWW-Authenticate", 'Basic realm="x"'),)
    site.server.set_answer("SN-1", Response(401, basic))
    with refused(Reason.CLIENT_CERT_REFUSED, IdentityError):
        site.provisional().get_bootstrapping_data(REQUEST)
    assert site.server.exchanges
    for exchange in site.server.exchanges:
        assert exchange.request.header("Authorization") is None


def test_without_credentials_none_are_sent(site: Site) -> None:
    site.trusted().get_bootstrapping_data(REQUEST)
    assert all(e.request.header("Authorization") is None for e in site.server.exchanges)


# Connecting


@pytest.mark.refuses("SZTP-5.3-02", "SZTP-5.5-04")
def test_no_request_reaches_a_server_that_does_not_validate(site: Site) -> None:
    site.identity = site.authorities.foreign.issue("Foreign", dns_names=[HOST])
    with refused(Reason.SERVER_CERT_UNKNOWN_ISSUER, ServerCertificateError):
        site.trusted()
    assert site.server.exchanges == ()


@pytest.mark.requirement("SZTP-9.1-02")
def test_dates_are_judged_by_an_accurate_clock_alone(site: Site) -> None:
    site.identity = site.authorities.expired
    address = site.start()
    hop = TrustedHop(HOST, address.port, (parse_certificate(site.authorities.ours.der),), None)
    with pytest.raises(ServerCertificateError):
        site.connector.connect(hop, address, ACCURATE)
    server = site.connector.connect(hop, address, replace(ACCURATE, accurate=False))
    server.get_bootstrapping_data(REQUEST)
    server.close()
    server.close()


def test_addresses_of_hops(site: Site) -> None:
    hop = ProvisionalHop("192.0.2.7", 8443)
    assert site.connector.addresses(hop) == (Address("192.0.2.7", 8443),)
    with refused(Reason.DNS_FAILED):
        site.connector.addresses(ProvisionalHop("https://x", 443))
