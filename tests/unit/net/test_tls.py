# SPDX-License-Identifier: Apache-2.0
"""TLS contexts against real servers with right and wrong certificates."""

import socket
import ssl
import threading
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from tests.unit.net.conftest import HOST, NOW, Authorities, Servers, write_identity

from xpu_agent.errors import (
    IdentityError,
    Reason,
    ServerCertificateError,
    SourceUnavailableError,
    XpuAgentError,
)
from xpu_agent.net.http_session import Answer, HttpSession
from xpu_agent.net.line import Deadline
from xpu_agent.net.tls import ClientIdentity, provisional_context, trusted_context
from xpu_agent.ports import Address
from xpu_emulator.listener import Demand, HttpListener
from xpu_emulator.pki import Identity, KeyKind


def contact(
    server: HttpListener,
    context: ssl.SSLContext,
    *,
    host: str = HOST,
    ip: str = "127.0.0.1",
) -> Answer:
    session = HttpSession(host, Address(ip, server.port), context)
    try:
        session.open()
        return session.exchange("GET", "/", {}, None, deadline=Deadline(10), body_bytes=1000)
    finally:
        session.close()


def contact_trusted(
    server: HttpListener,
    anchors: Sequence[Identity],
    *,
    accurate: bool = True,
    host: str = HOST,
    ip: str = "127.0.0.1",
    client: ClientIdentity | None = None,
) -> Answer:
    context = trusted_context([anchor.der for anchor in anchors], client, accurate=accurate)
    return contact(server, context, host=host, ip=ip)


@pytest.mark.requirement("SZTP-5.3-02", "SZTP-5.1-07", "RC-2.3-01", "SZTP-5.5-04")
def test_server_below_the_anchor_with_its_name_is_trusted(
    authorities: Authorities, servers: Servers
) -> None:
    server = servers.start(authorities.server)
    assert contact_trusted(server, [authorities.root]).status == 404
    assert server.connections[-1].sni == HOST
    assert dict(servers.requests[-1].headers)["Host"] == f"{HOST}:{server.port}"


@pytest.mark.refuses("SZTP-5.1-07", "SZTP-5.3-02", "SZTP-5.5-04", "RC-2.3-01")
def test_server_of_a_foreign_authority_gets_no_request(
    authorities: Authorities, servers: Servers
) -> None:
    server = servers.start(authorities.server)
    with pytest.raises(ServerCertificateError) as caught:
        contact_trusted(server, [authorities.foreign])
    assert caught.value.reason is Reason.SERVER_CERT_UNKNOWN_ISSUER
    assert servers.requests == []


@pytest.mark.refuses("SZTP-5.3-02")
@pytest.mark.parametrize("accurate", [True, False])
def test_right_authority_wrong_name_is_refused(
    authorities: Authorities, servers: Servers, accurate: bool
) -> None:
    server = servers.start(authorities.server)
    with pytest.raises(ServerCertificateError) as caught:
        contact_trusted(server, [authorities.root], host="other.example", accurate=accurate)
    assert caught.value.reason is Reason.SERVER_CERT_NAME_MISMATCH
    assert servers.requests == []


@pytest.mark.refuses("SZTP-5.3-02")
def test_common_name_is_no_server_name(authorities: Authorities, servers: Servers) -> None:
    server = servers.start(authorities.ours.issue(HOST))
    with pytest.raises(ServerCertificateError) as caught:
        contact_trusted(server, [authorities.root])
    assert caught.value.reason is Reason.SERVER_CERT_NAME_MISMATCH


@pytest.mark.requirement("SZTP-6.3-03")
@pytest.mark.parametrize("ip", ["127.0.0.1", "::1"])
def test_address_is_checked_against_address_names(
    authorities: Authorities, servers: Servers, ip: str
) -> None:
    server = servers.start(authorities.ours.issue("By address", ip_addresses=[ip]), address=ip)
    assert contact_trusted(server, [authorities.root], host=ip, ip=ip).status == 404
    authority = dict(servers.requests[-1].headers)["Host"]
    assert authority == (f"[{ip}]:{server.port}" if ":" in ip else f"{ip}:{server.port}")


@pytest.mark.refuses("SZTP-6.3-03")
def test_address_as_a_dns_name_or_another_address_is_refused(
    authorities: Authorities, servers: Servers
) -> None:
    for wrong in (
        authorities.ours.issue("By name", dns_names=["127.0.0.1"]),
        authorities.ours.issue("Elsewhere", ip_addresses=["127.0.0.2"]),
    ):
        server = servers.start(wrong)
        with pytest.raises(ServerCertificateError) as caught:
            contact_trusted(server, [authorities.root], host="127.0.0.1")
        assert caught.value.reason is Reason.SERVER_CERT_NAME_MISMATCH


def test_final_dot_is_not_part_of_the_name(authorities: Authorities, servers: Servers) -> None:
    server = servers.start(authorities.server)
    assert contact_trusted(server, [authorities.root], host=HOST + ".").status == 404


@pytest.mark.refuses("SZTP-5.3-02", "SZTP-9.1-02")
def test_expired_certificate_with_an_accurate_clock_is_refused(
    authorities: Authorities, servers: Servers
) -> None:
    server = servers.start(authorities.expired)
    with pytest.raises(ServerCertificateError) as caught:
        contact_trusted(server, [authorities.root])
    assert caught.value.reason is Reason.SERVER_CERT_EXPIRED


@pytest.mark.refuses("SZTP-5.3-02")
def test_certificate_of_tomorrow_is_refused(authorities: Authorities, servers: Servers) -> None:
    early = authorities.ours.issue("Early", dns_names=[HOST], not_before=NOW + timedelta(days=1))
    with pytest.raises(ServerCertificateError) as caught:
        contact_trusted(servers.start(early), [authorities.root])
    assert caught.value.reason is Reason.SERVER_CERT_NOT_YET_VALID


@pytest.mark.requirement("SZTP-9.1-02")
def test_without_an_accurate_clock_no_date_is_judged(
    authorities: Authorities, servers: Servers
) -> None:
    server = servers.start(authorities.expired)
    assert contact_trusted(server, [authorities.root], accurate=False).status == 404


def test_without_an_accurate_clock_the_issuer_still_is(
    authorities: Authorities, servers: Servers
) -> None:
    server = servers.start(authorities.expired)
    with pytest.raises(ServerCertificateError) as caught:
        contact_trusted(server, [authorities.foreign], accurate=False)
    assert caught.value.reason is Reason.SERVER_CERT_UNKNOWN_ISSUER


@pytest.mark.requirement("SZTP-5.5-04")
def test_an_intermediate_authority_is_an_anchor_of_its_own(
    authorities: Authorities, servers: Servers
) -> None:
    server = servers.start(authorities.server)
    assert contact_trusted(server, [authorities.ours]).status == 404


@pytest.mark.refuses("SZTP-5.5-04")
def test_a_sibling_of_the_anchor_below_the_same_root_is_refused(
    authorities: Authorities, servers: Servers
) -> None:
    server = servers.start(authorities.sibling.issue("Sibling", dns_names=[HOST]))
    with pytest.raises(ServerCertificateError) as caught:
        contact_trusted(server, [authorities.ours])
    assert caught.value.reason is Reason.SERVER_CERT_UNKNOWN_ISSUER


def test_a_client_certificate_does_not_make_a_server(
    authorities: Authorities, servers: Servers
) -> None:
    client_only = authorities.ours.issue(
        "Client", dns_names=[HOST], extended_key_usage=["client_auth"]
    )
    with pytest.raises(ServerCertificateError):
        contact_trusted(servers.start(client_only), [authorities.root])


def test_no_anchor_means_nobody_is_trusted() -> None:
    with pytest.raises(ServerCertificateError):
        trusted_context([], None, accurate=True)
    with pytest.raises(ServerCertificateError):
        trusted_context([b"\x30\x03abc"], None, accurate=True)


def test_environment_neither_adds_anchors_nor_takes_keys(
    authorities: Authorities,
    servers: Servers,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    bundle = tmp_path / "roots.pem"
    bundle.write_bytes(authorities.root.pem)
    key_log = tmp_path / "keys.log"
    for name, value in {
        "SSL_CERT_FILE": str(bundle),
        "SSL_CERT_DIR": str(tmp_path),
        "SSLKEYLOGFILE": str(key_log),
        "HTTPS_PROXY": "http://127.0.0.1:1",
        "ALL_PROXY": "http://127.0.0.1:1",
    }.items():
        monkeypatch.setenv(name, value)
    server = servers.start(authorities.server)
    with pytest.raises(ServerCertificateError):
        contact_trusted(server, [authorities.foreign])
    assert contact_trusted(server, [authorities.root]).status == 404
    assert not key_log.exists()


@pytest.mark.requirement("SZTP-5.5-06")
def test_provisionally_any_certificate_is_taken(authorities: Authorities, servers: Servers) -> None:
    for identity in (authorities.expired, authorities.foreign.issue("x", dns_names=["x.test"])):
        assert contact(servers.start(identity), provisional_context(None)).status == 404


@pytest.mark.requirement("SZTP-5.3-03", "SZTP-5.3-04", "SZTP-5.1-04")
@pytest.mark.parametrize("trusted", [True, False])
def test_our_certificate_goes_with_its_intermediates(
    authorities: Authorities, servers: Servers, client: ClientIdentity, trusted: bool
) -> None:
    server = servers.start(authorities.server, demand=Demand.REQUIRED)
    context = (
        trusted_context([authorities.root.der], client, accurate=True)
        if trusted
        else provisional_context(client)
    )
    assert contact(server, context).status == 404
    assert server.connections[-1].client_certificate_der == authorities.idevid.der


@pytest.mark.refuses("SZTP-5.3-03")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_refusal_of_our_certificate_is_an_identity_problem(
    authorities: Authorities, servers: Servers, client: ClientIdentity, version: ssl.TLSVersion
) -> None:
    server = servers.start(
        authorities.server, demand=Demand.REQUIRED, anchors=(authorities.foreign.der,)
    )
    context = provisional_context(client)
    context.maximum_version = version
    for _ in range(5):  # in TLS 1.3 the alert comes after our first octets, or with them
        with pytest.raises(IdentityError) as caught:
            contact(server, context)
        assert caught.value.reason is Reason.CLIENT_CERT_REFUSED
    assert servers.requests == []


def test_a_demanded_certificate_that_is_not_there_is_an_identity_problem(
    authorities: Authorities, servers: Servers
) -> None:
    server = servers.start(authorities.server, demand=Demand.REQUIRED)
    with pytest.raises(IdentityError) as caught:
        contact(server, provisional_context(None))
    assert caught.value.reason is Reason.CLIENT_CERT_REFUSED


def test_unusable_identity_files_are_named(authorities: Authorities, tmp_path: Path) -> None:
    identity = write_identity(authorities.idevid, tmp_path)
    identity.key.write_bytes(authorities.server.key_pem)
    with pytest.raises(IdentityError, match=r"key\.pem") as caught:
        provisional_context(identity)
    assert caught.value.reason is Reason.IDEVID_MISSING
    identity.key.unlink()
    with pytest.raises(IdentityError, match="no such file"):
        provisional_context(identity)


@pytest.mark.refuses("SZTP-5.1-05")
def test_an_encrypted_key_never_asks_for_a_passphrase(
    authorities: Authorities, tmp_path: Path
) -> None:
    identity = write_identity(authorities.idevid, tmp_path)
    identity.key.write_bytes(
        authorities.idevid.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(IdentityError, match=r"key\.pem is encrypted"):
        provisional_context(identity)


@pytest.mark.refuses("SZTP-9.16-01")
def test_a_server_without_tls_is_refused() -> None:
    def serve(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=(listening,))
        thread.start()
        address = Address("127.0.0.1", listening.getsockname()[1])
        session = HttpSession(HOST, address, provisional_context(None))
        with pytest.raises(SourceUnavailableError) as caught:
            session.open()
        session.close()
        thread.join()
    assert caught.value.reason is Reason.SERVER_UNREACHABLE


@pytest.mark.requirement("SZTP-9.16-01")
def test_versions_before_tls_1_2_are_not_offered(authorities: Authorities) -> None:
    for context in (
        provisional_context(None),
        trusted_context([authorities.root.der], None, accurate=True),
    ):
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_closed_port_and_silence_are_told_apart() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    session = HttpSession(HOST, Address("127.0.0.1", port), provisional_context(None))
    with pytest.raises(XpuAgentError) as caught:
        session.open()
    session.close()
    assert caught.value.reason is Reason.SERVER_UNREACHABLE


def test_rsa_server_and_wildcard_name(authorities: Authorities, servers: Servers) -> None:
    server = servers.start(
        authorities.ours.issue("RSA", key=KeyKind.RSA2048, dns_names=["*.boot.example"])
    )
    assert contact_trusted(server, [authorities.root], host="a.boot.example").status == 404
    with pytest.raises(ServerCertificateError):
        contact_trusted(server, [authorities.root], host="a.b.boot.example")


def test_anchor_may_be_the_server_certificate_itself(
    authorities: Authorities, servers: Servers
) -> None:
    alone = authorities.foreign.issue("Alone", dns_names=[HOST])
    assert isinstance(alone.certificate, x509.Certificate)
    assert contact_trusted(servers.start(alone), [alone]).status == 404
