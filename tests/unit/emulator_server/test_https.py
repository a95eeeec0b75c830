# SPDX-License-Identifier: Apache-2.0
"""The server behind real TLS; every fault does what it says."""

import contextlib
import http.client
import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest
from tests.unit.emulator_server.certificates import issue, pki
from tests.unit.emulator_server.test_server import GET, JSON, REDIRECT, REPORT, SERVER

from xpu_emulator.faults import (
    BodyKind,
    CloseBeforeAnswer,
    CloseOnConnect,
    Delay,
    Fault,
    FaultPlan,
    FaultRule,
    HttpRedirect,
    HugeBody,
    HugeHeaders,
    PlainHttp,
    ResetAfter,
    Slow,
    StatusCode,
    TruncatedBody,
    WrongCertificate,
    WrongCertificateKind,
    WrongContentLength,
)
from xpu_emulator.https import ClientCertificates, Demand, HttpsServer
from xpu_emulator.listener import HttpListener
from xpu_emulator.rpc import ProgressType
from xpu_emulator.server import BootstrapServer

BODY = json.dumps({f"{SERVER}:input": {}}).encode()
HEADERS = {"Content-Type": JSON, "Accept": JSON}
CLIENTS = ClientCertificates(Demand.REQUIRED, (pki().device_root.der,))


def device_files(folder: Path) -> tuple[str, str]:
    chain, key = folder / "chain.pem", folder / "key.pem"
    identity = pki().device.identity
    chain.write_bytes(identity.chain_pem)
    key.write_bytes(identity.key_pem)
    return str(chain), str(key)


def client_context(folder: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=pki().server_root.pem.decode())
    if folder is not None:
        context.load_cert_chain(*device_files(folder))
    return context


class Client(http.client.HTTPSConnection):
    def ask(self, target: str = GET, body: bytes = BODY) -> tuple[int, bytes]:
        self.request("POST", target, body, HEADERS)
        response = self.getresponse()
        return response.status, response.read()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@pytest.fixture
def server() -> BootstrapServer:
    server = BootstrapServer()
    server.set_answer("XPU-1", REDIRECT)
    return server


@pytest.fixture
def https(server: BootstrapServer) -> Iterator[HttpsServer]:
    wrong = {
        WrongCertificateKind.OTHER_CA: issue("s", dns_names=("localhost",)).identity,
        WrongCertificateKind.OTHER_NAME: issue(
            "s", pki().server_root, dns_names=("elsewhere",)
        ).identity,
        WrongCertificateKind.EXPIRED: issue(
            "s", pki().server_root, dns_names=("localhost",), expired=True
        ).identity,
    }
    with HttpsServer(
        server, pki().server.identity, client_certificates=CLIENTS, wrong_identities=wrong
    ) as running:
        yield running


@pytest.fixture
def client(https: HttpsServer, tmp_path: Path) -> Iterator[Client]:
    with Client("localhost", https.port, context=client_context(tmp_path), timeout=5) as client:
        yield client


def threads_of(listener: HttpListener) -> list[str]:
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if f"-{listener.port}" in name]


@pytest.mark.requirement("SRV-05")
def test_both_operations_on_one_connection(
    client: Client, https: HttpsServer, server: BootstrapServer
) -> None:
    assert client.ask()[0] == 200
    report = json.dumps({f"{SERVER}:input": {"progress-type": "informational"}}).encode()
    assert client.ask(REPORT, report) == (204, b"")
    assert client.ask()[0] == 200
    assert server.progress("XPU-1") == (ProgressType.INFORMATIONAL,)
    assert len(https.connections) == 1


def test_sni_and_the_chain_as_presented_are_recorded(
    client: Client, https: HttpsServer, server: BootstrapServer
) -> None:
    client.ask()
    request = server.exchanges[0].request
    assert request.sni == "localhost"
    assert request.client_certificate_der == pki().device.der
    assert request.client_chain == (pki().device.der, pki().device_ca.der)
    assert https.connections[0].tls_version == "TLSv1.3"
    assert https.connections[0].problem is None


@pytest.mark.refuses("SRV-03")
def test_required_client_certificate(https: HttpsServer, server: BootstrapServer) -> None:
    with (
        Client("localhost", https.port, context=client_context(None), timeout=5) as client,
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        client.ask()
    assert server.exchanges == ()
    assert https.wait_for_connections(1, 5)
    assert https.connections[0].problem is not None
    assert "PEER_DID_NOT_RETURN_A_CERTIFICATE" in https.connections[0].problem


def test_client_certificate_of_a_stranger(https: HttpsServer, tmp_path: Path) -> None:
    stranger = issue("device", serial_number="XPU-1").identity
    (tmp_path / "s.pem").write_bytes(stranger.chain_pem + stranger.key_pem)
    context = client_context(None)
    context.load_cert_chain(tmp_path / "s.pem")
    with (
        Client("localhost", https.port, context=context, timeout=5) as client,
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        client.ask()


@pytest.mark.parametrize("demand", [Demand.OPTIONAL, Demand.NONE])
def test_without_client_certificate_the_answer_is_401(
    server: BootstrapServer, demand: Demand
) -> None:
    clients = ClientCertificates(demand, (pki().device_root.der,))
    with (
        HttpsServer(server, pki().server.identity, client_certificates=clients) as https,
        Client("localhost", https.port, context=client_context(None), timeout=5) as client,
    ):
        assert client.ask()[0] == 401


def test_optional_client_certificate_is_used(server: BootstrapServer, tmp_path: Path) -> None:
    clients = ClientCertificates(Demand.OPTIONAL, (pki().device_root.der,))
    with (
        HttpsServer(server, pki().server.identity, client_certificates=clients) as https,
        Client("localhost", https.port, context=client_context(tmp_path), timeout=5) as client,
    ):
        assert client.ask()[0] == 200


def test_closing_ends_idle_and_half_open_connections(server: BootstrapServer) -> None:
    https = HttpsServer(server, pki().server.identity)
    idle = Client("localhost", https.port, context=client_context(None), timeout=5)
    idle.ask()
    with socket.create_connection(("127.0.0.1", https.port), timeout=5) as half_open:
        assert threads_of(https)
        began = time.monotonic()
        https.close()
        assert time.monotonic() - began < 2
        assert threads_of(https) == []
        with contextlib.suppress(ConnectionResetError):  # so if it wasn't accepted yet
            assert half_open.recv(1) == b""
    idle.close()
    https.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", https.port), timeout=5)


def close_after_the_request(server: BootstrapServer, https: HttpsServer) -> None:
    seen = len(server.exchanges)
    server.wait_for(lambda s: len(s.exchanges) > seen, 5)
    https.close()


def test_closing_lets_an_answer_under_way_arrive(tmp_path: Path) -> None:
    server = BootstrapServer()
    server.set_answer("XPU-1", REDIRECT)
    context = client_context(tmp_path)
    for _ in range(10):
        https = HttpsServer(server, pki().server.identity, client_certificates=CLIENTS)
        closing = threading.Thread(target=close_after_the_request, args=(server, https))
        closing.start()
        with Client("localhost", https.port, context=context, timeout=5) as client:
            assert client.ask()[0] == 200
        closing.join()


def test_what_a_callback_raises_is_raised_on_leaving(tmp_path: Path) -> None:
    server = BootstrapServer()

    def broken(_: object) -> None:
        raise LookupError("our mistake")

    server.set_answer("XPU-1", broken)  # type: ignore[arg-type]  # on purpose
    with (
        pytest.raises(LookupError, match="our mistake"),
        HttpsServer(server, pki().server.identity, client_certificates=CLIENTS) as https,
        Client("localhost", https.port, context=client_context(tmp_path), timeout=5) as client,
    ):
        assert client.ask() == (500, b"")


@pytest.mark.parametrize(
    ("octets", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/2.0\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", b"413"),
        (b"GET / HTTP/1.1\r\nA: " + b"x" * 70_000 + b"\r\n\r\n", b"431"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", b"501"),
    ],
)
def test_what_is_not_http(server: BootstrapServer, octets: bytes, status: bytes) -> None:
    with HttpsServer(server, pki().server.identity) as https:
        https.faults.add(PlainHttp())
        with socket.create_connection(("127.0.0.1", https.port), timeout=5) as sock:
            sock.sendall(octets)
            assert sock.recv(100).split()[1] == status
    assert server.exchanges == ()


def test_chunked_request_and_expect_continue(client: Client, server: BootstrapServer) -> None:
    client.request("POST", GET, iter([BODY[:5], BODY[5:]]), HEADERS, encode_chunked=True)
    response = client.getresponse()
    assert (response.status, bool(response.read())) == (200, True)
    assert server.exchanges[0].request.body == BODY


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl(https: HttpsServer, tmp_path: Path) -> None:
    chain, key = device_files(tmp_path)
    (tmp_path / "root.pem").write_bytes(pki().server_root.pem)
    result = subprocess.run(
        ["curl", "-sS", "--noproxy", "*", "--cacert", tmp_path / "root.pem", "--cert", chain,
         "--key", key, "--resolve", f"localhost:{https.port}:127.0.0.1",
         "-H", f"Content-Type: {JSON}", "-H", f"Accept: {JSON}", "-H", "Expect: 100-continue",
         "--data-binary", BODY.decode(), "-w", "%{http_code}",
         f"https://localhost:{https.port}{GET}"],
        capture_output=True, timeout=20, check=True,
    )  # fmt: skip
    assert result.stdout.endswith(b"}200")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
@pytest.mark.requirement("SRV-03")
def test_openssl_sees_the_chain_and_the_demand(https: HttpsServer) -> None:
    result = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{https.port}", "-showcerts", "-tls1_2"],
        input=b"", capture_output=True, timeout=20, check=False,
    )  # fmt: skip
    assert result.stdout.count(b"BEGIN CERTIFICATE") == 2
    assert b"Client Certificate Types" in result.stdout
    assert b"alert handshake failure" in result.stderr


# Faults


def test_delay(client: Client, https: HttpsServer, server: BootstrapServer) -> None:
    https.faults.add(Delay(0.2))
    began = time.monotonic()
    assert client.ask()[0] == 200
    assert time.monotonic() - began >= 0.2
    assert len(server.exchanges) == 1


def test_closing_interrupts_a_delay(server: BootstrapServer) -> None:
    https = HttpsServer(server, pki().server.identity, faults=FaultPlan([FaultRule((Delay(60),))]))
    with Client("localhost", https.port, context=client_context(None), timeout=5) as client:
        client.request("POST", GET, BODY, HEADERS)
        assert server.wait_for(lambda s: len(s.exchanges) == 1, 5)
        began = time.monotonic()
        https.close()
        assert time.monotonic() - began < 2
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            client.getresponse()


def test_close_before_answer(client: Client, https: HttpsServer, server: BootstrapServer) -> None:
    https.faults.add(CloseBeforeAnswer())
    with pytest.raises(http.client.RemoteDisconnected):
        client.ask()
    assert [e.response.status for e in server.exchanges] == [0]


def test_reset_after_octets_of_the_body(https: HttpsServer) -> None:
    https.faults.add(PlainHttp())  # the ssl module hides a reset behind an end of file
    https.faults.add(ResetAfter(10))
    plain = http.client.HTTPConnection("127.0.0.1", https.port, timeout=5)
    plain.request("POST", GET, BODY, HEADERS)
    response = plain.getresponse()
    assert len(response.read(10)) == 10
    with pytest.raises(ConnectionResetError):
        response.read()
    plain.close()


def test_reset_and_truncation_differ_in_the_farewell_of_tls(https: HttpsServer) -> None:
    context = client_context(None)
    clean: list[bool] = []
    with HttpsServer(https.server, pki().server.identity) as open_to_all:
        for fault in (ResetAfter(10), TruncatedBody(10)):
            open_to_all.faults.clear()
            open_to_all.faults.add(fault)
            with (
                socket.create_connection(("127.0.0.1", open_to_all.port), timeout=5) as raw,
                context.wrap_socket(
                    raw, server_hostname="localhost", suppress_ragged_eofs=False
                ) as tls,
            ):
                tls.sendall(b"POST / HTTP/1.1\r\n\r\n")
                try:
                    while tls.recv(1000):
                        pass
                    clean.append(True)
                except (ssl.SSLEOFError, ConnectionResetError):
                    clean.append(False)
    assert clean == [False, True]


def test_truncated_body(client: Client, https: HttpsServer) -> None:
    https.faults.add(TruncatedBody(10))
    client.request("POST", GET, BODY, HEADERS)
    response = client.getresponse()
    with pytest.raises(http.client.IncompleteRead) as caught:
        response.read()
    assert len(caught.value.partial) == 10


def test_too_long_content_length(client: Client, https: HttpsServer) -> None:
    _, body = client.ask()
    https.faults.add(WrongContentLength(+7))
    client.request("POST", GET, BODY, HEADERS)
    with pytest.raises(http.client.IncompleteRead) as caught:
        client.getresponse().read()
    assert caught.value.partial == body
    assert caught.value.expected == 7


def test_too_short_content_length(client: Client, https: HttpsServer) -> None:
    _, body = client.ask()
    https.faults.add(WrongContentLength(-7))
    status, short = client.ask()
    assert (status, short) == (200, body[:-7])


@pytest.mark.parametrize("kind", list(BodyKind))
@pytest.mark.parametrize("code", [401, 503])
def test_status_codes_and_bodies(
    client: Client, https: HttpsServer, server: BootstrapServer, kind: BodyKind, code: int
) -> None:
    https.faults.add(StatusCode(code, kind, "lock-denied", retry_after=3))
    client.request("POST", GET, BODY, HEADERS)
    response = client.getresponse()
    text = response.read().decode()
    assert response.status == code
    assert response.headers["Retry-After"] == "3"
    match kind:
        case BodyKind.EMPTY:
            assert (text, response.headers["Content-Type"]) == ("", None)
        case BodyKind.TEXT:
            assert response.headers["Content-Type"] == "text/plain"
        case BodyKind.HTML:
            assert text.startswith("<!DOCTYPE html>")
        case BodyKind.RESTCONF:
            errors = json.loads(text)["ietf-restconf:errors"]["error"]
            assert errors[0]["error-tag"] == "lock-denied"
        case BodyKind.RESTCONF_UNQUALIFIED:
            assert json.loads(text)["errors"]["error"][0]["error-tag"] == "lock-denied"
        case BodyKind.RESTCONF_BARE:
            assert json.loads(text)["error"][0]["error-tag"] == "lock-denied"
    assert server.exchanges[0].response.status == code


def test_http_redirect(client: Client, https: HttpsServer) -> None:
    https.faults.add(HttpRedirect("https://elsewhere.example/x", 302))
    client.request("POST", GET, BODY, HEADERS)
    response = client.getresponse()
    response.read()
    assert (response.status, response.headers["Location"]) == (302, "https://elsewhere.example/x")


def test_slow(client: Client, https: HttpsServer) -> None:
    _, body = client.ask()
    https.faults.add(Slow(2000))
    began = time.monotonic()
    assert client.ask() == (200, body)
    least = len(body) / 2000
    assert time.monotonic() - began > least


def test_closing_interrupts_a_slow_answer(server: BootstrapServer) -> None:
    https = HttpsServer(server, pki().server.identity, faults=FaultPlan([FaultRule((Slow(1),))]))
    with Client("localhost", https.port, context=client_context(None), timeout=5) as client:
        client.request("POST", GET, BODY, HEADERS)
        assert server.wait_for(lambda s: len(s.exchanges) == 1, 5)
        began = time.monotonic()
        https.close()
        assert time.monotonic() - began < 2


def test_huge_headers(client: Client, https: HttpsServer) -> None:
    https.faults.add(HugeHeaders(50_000))
    client.request("POST", GET, BODY, HEADERS)
    response = client.getresponse()
    response.read()
    filler = [value for name, value in response.getheaders() if name.startswith("X-Filler-")]
    assert sum(map(len, filler)) == 50_000


def test_huge_body(client: Client, https: HttpsServer) -> None:
    https.faults.add(HugeBody(3_000_001))
    status, body = client.ask()
    assert (status, len(body), body.strip()) == (200, 3_000_001, b"")


def test_close_on_connect(client: Client, https: HttpsServer, server: BootstrapServer) -> None:
    https.faults.add(CloseOnConnect())
    with pytest.raises((ssl.SSLError, ConnectionError)):
        client.ask()
    assert server.exchanges == ()
    assert https.connections[0].problem == "closed on connect"


def test_plain_http_on_the_tls_port(client: Client, https: HttpsServer) -> None:
    https.faults.add(PlainHttp())
    with pytest.raises((ssl.SSLError, ConnectionError)):
        client.ask()
    plain = http.client.HTTPConnection("127.0.0.1", https.port, timeout=5)
    plain.request("GET", "/")
    assert plain.getresponse().status == 404
    plain.close()


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (WrongCertificateKind.OTHER_NAME, "Hostname mismatch"),
        (WrongCertificateKind.OTHER_CA, "self-signed certificate"),
        (WrongCertificateKind.EXPIRED, "certificate has expired"),
    ],
)
def test_wrong_certificate(
    client: Client,
    https: HttpsServer,
    server: BootstrapServer,
    kind: WrongCertificateKind,
    text: str,
) -> None:
    https.faults.add(WrongCertificate(kind))
    with pytest.raises(ssl.SSLCertVerificationError, match=text):
        client.ask()
    assert server.exchanges == ()
    https.faults.clear()
    client.close()
    assert client.ask()[0] == 200


def test_faults_go_together(client: Client, https: HttpsServer) -> None:
    rule = FaultRule((Delay(0.1), StatusCode(503, BodyKind.TEXT), TruncatedBody(3)))
    https.faults.add(rule)
    began = time.monotonic()
    client.request("POST", GET, BODY, HEADERS)
    response = client.getresponse()
    assert response.status == 503
    with pytest.raises(http.client.IncompleteRead) as caught:
        response.read()
    assert caught.value.partial == b"sta"
    assert time.monotonic() - began >= 0.1


def test_faults_for_some_requests_on_one_path(client: Client, https: HttpsServer) -> None:
    rule = FaultRule((StatusCode(500),), first=2, skip=1, path="*:get-bootstrapping-data")
    https.faults.add(rule)
    report = json.dumps({f"{SERVER}:input": {"progress-type": "informational"}}).encode()
    statuses = []
    for _ in range(4):
        statuses.append(client.ask()[0])
        assert client.ask(REPORT, report)[0] == 204
    assert statuses == [200, 500, 500, 200]


def test_connection_fault_for_the_first_connection_only(client: Client, https: HttpsServer) -> None:
    https.faults.add(FaultRule((CloseOnConnect(),), first=1))
    with pytest.raises((ssl.SSLError, ConnectionError)):
        client.ask()
    client.close()
    assert client.ask()[0] == 200


@pytest.mark.parametrize(
    ("faults", "path"),
    [((), None), ((PlainHttp(), Delay(1)), None), ((PlainHttp(),), "/x")],
)
def test_rules_that_cannot_be(faults: tuple[Fault, ...], path: str | None) -> None:
    with pytest.raises(ValueError, match="connection fault"):
        FaultRule(faults, path=path)


def test_ipv6_and_urls(server: BootstrapServer) -> None:
    try:
        https = HttpsServer(server, pki().server.identity, address="::1")
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    with https:
        assert https.url == f"https://[::1]:{https.port}"
    with HttpsServer(server, pki().server.identity, host_name="localhost") as named:
        assert named.url == f"https://localhost:{named.port}"
