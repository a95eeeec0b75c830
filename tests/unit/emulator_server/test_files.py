# SPDX-License-Identifier: Apache-2.0
"""The file server: ranges and validators, generated files, speed."""

import hashlib
import http.client
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.emulator_server.certificates import pki
from tests.unit.emulator_server.test_https import CLIENTS, client_context

from xpu_emulator.faults import CloseBeforeAnswer, FaultRule, ResetAfter, StatusCode
from xpu_emulator.https import BytesFile, FileServer, GeneratedFile, PathFile

OCTETS = bytes(range(256)) * 40
SIZE = len(OCTETS)


@pytest.fixture
def files(tmp_path: Path) -> Iterator[FileServer]:
    (tmp_path / "on-disk").write_bytes(OCTETS)
    with FileServer(
        {
            "/memory": BytesFile(OCTETS),
            "/disk": PathFile(tmp_path / "on-disk"),
            "/generated": GeneratedFile(3_000_000),
            "/empty": BytesFile(b""),
        }
    ) as server:
        yield server


@pytest.fixture
def client(files: FileServer) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", files.port, timeout=5)
    yield connection
    connection.close()


def get(
    client: http.client.HTTPConnection, path: str, method: str = "GET", **headers: str
) -> tuple[int, bytes, http.client.HTTPMessage]:
    client.request(method, path, headers={k.replace("_", "-"): v for k, v in headers.items()})
    response = client.getresponse()
    return response.status, response.read(), response.headers


@pytest.mark.parametrize("path", ["/memory", "/disk"])
def test_whole_file(client: http.client.HTTPConnection, path: str) -> None:
    status, body, headers = get(client, path)
    assert (status, body) == (200, OCTETS)
    assert headers["Accept-Ranges"] == "bytes"
    assert headers["ETag"].startswith('"')
    assert headers["Last-Modified"].endswith("GMT")


def test_head_has_the_length_and_no_body(client: http.client.HTTPConnection) -> None:
    status, body, headers = get(client, "/memory", "HEAD")
    assert (status, body, headers["Content-Length"]) == (200, b"", str(SIZE))
    assert get(client, "/memory")[0] == 200  # the connection is still in step


@pytest.mark.parametrize("path", ["/memory", "/disk"])
@pytest.mark.parametrize(
    ("text", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=100-199", 100, 200),
        ("bytes=100-", 100, SIZE),
        ("bytes=-7", SIZE - 7, SIZE),
        ("bytes=-999999", 0, SIZE),
        ("bytes=5-999999", 5, SIZE),
    ],
)
def test_ranges(
    client: http.client.HTTPConnection, path: str, text: str, start: int, stop: int
) -> None:
    status, body, headers = get(client, path, Range=text)
    assert (status, body) == (206, OCTETS[start:stop])
    assert headers["Content-Range"] == f"bytes {start}-{stop - 1}/{SIZE}"


@pytest.mark.parametrize("text", [f"bytes={SIZE}-", "bytes=-0", "bytes=9-3"])
def test_unsatisfiable_ranges(client: http.client.HTTPConnection, text: str) -> None:
    status, _, headers = get(client, "/memory", Range=text)
    assert (status, headers["Content-Range"]) == (416, f"bytes */{SIZE}")


@pytest.mark.parametrize("text", ["bytes=0-1,5-6", "lines=0-1", "bytes=-", "bytes=a-b"])
def test_other_ranges_get_the_whole_file(client: http.client.HTTPConnection, text: str) -> None:
    assert get(client, "/memory", Range=text)[:2] == (200, OCTETS)


@pytest.mark.parametrize("validator", ["ETag", "Last-Modified"])
def test_if_range(client: http.client.HTTPConnection, files: FileServer, validator: str) -> None:
    value = get(client, "/memory")[2][validator]
    wanted = {"Range": "bytes=10-", "If_Range": value}
    assert get(client, "/memory", **wanted)[0] == 206
    files.files["/memory"] = BytesFile(OCTETS[::-1], last_modified=1_800_000_000.0)
    assert get(client, "/memory", **wanted)[:2] == (200, OCTETS[::-1])


def test_disk_file_that_changes_has_another_tag(
    client: http.client.HTTPConnection, tmp_path: Path
) -> None:
    before = get(client, "/disk")[2]["ETag"]
    (tmp_path / "on-disk").write_bytes(OCTETS + b"x")
    assert get(client, "/disk")[2]["ETag"] != before


def test_server_without_ranges() -> None:
    with FileServer({"/f": BytesFile(OCTETS)}, ranges=False) as files:
        client = http.client.HTTPConnection("127.0.0.1", files.port, timeout=5)
        status, body, headers = get(client, "/f", Range="bytes=5-")
        client.close()
    assert (status, body, headers["Accept-Ranges"]) == (200, OCTETS, "none")


def test_no_such_file_and_other_methods(client: http.client.HTTPConnection) -> None:
    assert get(client, "/nothing")[0] == 404
    assert get(client, "/memory", "DELETE")[0] == 405
    assert get(client, "/empty")[:2] == (200, b"")


def test_requests_are_recorded(client: http.client.HTTPConnection, files: FileServer) -> None:
    get(client, "/memory")
    get(client, "/memory", Range="bytes=10-")
    get(client, "/nothing")
    assert [(r.request.path, r.status, r.first_octet) for r in files.requests] == [
        ("/memory", 200, 0),
        ("/memory", 206, 10),
        ("/nothing", 404, 0),
    ]
    assert files.wait_for(lambda f: len(f.requests) == 3, 1)


# Generated files


def test_generated_file_is_the_same_each_time_and_in_each_range(
    client: http.client.HTTPConnection,
) -> None:
    file = GeneratedFile(3_000_000)
    _, whole, _ = get(client, "/generated")
    assert hashlib.sha256(whole).hexdigest() == file.sha256 == GeneratedFile(3_000_000).sha256
    assert file.sha256 != GeneratedFile(3_000_000, "other").sha256
    _, part, _ = get(client, "/generated", Range="bytes=1048570-2097160")
    assert part == whole[1_048_570:2_097_161]
    assert whole[:512] != whole[1_048_576 : 1_048_576 + 512]


# Faults and TLS


def test_download_broken_off_and_resumed(
    client: http.client.HTTPConnection, files: FileServer
) -> None:
    files.faults.add(FaultRule((ResetAfter(2_000_000),), first=1))
    client.request("GET", "/generated")
    response = client.getresponse()
    etag = response.headers["ETag"]
    begun = response.read(2_000_000)
    with pytest.raises(ConnectionResetError):
        response.read(1)
    assert len(begun) == 2_000_000
    client.close()
    status, rest, _ = get(client, "/generated", Range=f"bytes={len(begun)}-", If_Range=etag)
    assert status == 206
    digest = hashlib.sha256(begun + rest).hexdigest()
    assert digest == GeneratedFile(3_000_000).sha256


def test_faults_for_one_path(client: http.client.HTTPConnection, files: FileServer) -> None:
    files.faults.add(FaultRule((StatusCode(404),), path="/memory"))
    files.faults.add(FaultRule((CloseBeforeAnswer(),), path="/disk"))
    assert get(client, "/memory")[0] == 404
    assert get(client, "/generated")[0] == 200
    with pytest.raises(http.client.RemoteDisconnected):
        get(client, "/disk")
    assert [r.status for r in files.requests] == [404, 200, 0]


def test_https_with_client_certificates(tmp_path: Path) -> None:
    with FileServer(
        {"/f": BytesFile(OCTETS)}, pki().server.identity, client_certificates=CLIENTS
    ) as files:
        assert files.url.startswith("https://")
        context = client_context(tmp_path)
        client = http.client.HTTPSConnection("localhost", files.port, context=context, timeout=5)
        assert get(client, "/f")[:2] == (200, OCTETS)
        client.close()
        client = http.client.HTTPSConnection(
            "localhost", files.port, context=client_context(None), timeout=5
        )
        with pytest.raises((ssl.SSLError, ConnectionError)):
            get(client, "/f")
        client.close()


@pytest.mark.slow
def test_256_mib_over_tls_in_a_few_seconds() -> None:
    size = 256 * 1024 * 1024
    with FileServer({"/image": GeneratedFile(size)}, pki().server.identity) as files:
        client = http.client.HTTPSConnection(
            "localhost", files.port, context=client_context(None), timeout=30
        )
        began = time.monotonic()
        client.request("GET", "/image")
        response = client.getresponse()
        buffer = bytearray(1024 * 1024)
        received = 0
        while count := response.readinto(buffer):
            received += count
        taken = time.monotonic() - began
        client.close()
    assert received == size
    assert taken < 15, f"{taken:.1f} s"
