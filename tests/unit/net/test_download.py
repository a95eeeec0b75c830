# SPDX-License-Identifier: Apache-2.0
"""Images from real servers and media, with everything that goes wrong on the way."""

import hashlib
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain, repeat
from pathlib import Path

import pytest
from tests.unit.net.conftest import Authorities, server_identity

from xpu_agent import limits
from xpu_agent.clock import ClockMode, SystemClock
from xpu_agent.errors import ExecutionError, Reason, StoppedError
from xpu_agent.net.download import HttpDownloader
from xpu_agent.net.tls import ClientIdentity
from xpu_agent.ports import Downloaded, VerifiedImage
from xpu_emulator.faults import (
    CloseOnConnect,
    FaultPlan,
    FaultRule,
    HttpRedirect,
    HugeHeaders,
    ResetAfter,
    StatusCode,
    TruncatedBody,
    WrongContentLength,
)
from xpu_emulator.https import BytesFile, FileServer, GeneratedFile, ServedFile
from xpu_emulator.listener import ClientCertificates, Demand

IMAGE = GeneratedFile(3 * limits.MIB + 12345)
ROOM = limits.GIB


class PatientClock(SystemClock):
    """A real clock that counts waits instead of sitting them out."""

    def __init__(self) -> None:
        super().__init__(ClockMode.ACCURATE)
        self.waits: list[float] = []

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.check_stopped()


class MemorySink:
    """Keeps what it is given."""

    def __init__(self, *, room: int = ROOM) -> None:
        self.octets = bytearray()
        self.restarts = 0
        self._room = room

    def write(self, data: memoryview) -> None:
        if len(self.octets) + len(data) > self._room:
            raise ExecutionError(Reason.DISK_FULL, "the slot is full")
        self.octets += data

    def restart(self) -> None:
        self.restarts += 1
        self.octets.clear()

    def commit(self, image: VerifiedImage) -> None:
        raise AssertionError(image)

    def abort(self) -> None:
        raise AssertionError


class Fetching:
    """A downloader and what it told."""

    def __init__(self, identity: ClientIdentity | None = None) -> None:
        self.clock = PatientClock()
        self.sink = MemorySink()
        self.told: list[tuple[int, int | None]] = []
        self._identity = identity

    def __call__(
        self, uri: str, *, max_bytes: int = ROOM, medium: Path | None = None
    ) -> Downloaded:
        downloader = HttpDownloader(
            self.clock, self._identity, lambda done, total: self.told.append((done, total))
        )
        return downloader.fetch(uri, self.sink, max_bytes=max_bytes, medium=medium)


@pytest.fixture
def fetch() -> Fetching:
    return Fetching()


@contextmanager
def serving(
    *rules: FaultRule, file: ServedFile = IMAGE, ranges: bool = True
) -> Iterator[FileServer]:
    with FileServer({"/image": file}, faults=FaultPlan(rules), ranges=ranges) as server:
        yield server


def statuses(server: FileServer) -> list[int]:
    return [each.status for each in server.requests]


def assert_whole(fetch: Fetching, result: Downloaded, file: GeneratedFile = IMAGE) -> None:
    assert result == Downloaded(bytes.fromhex(file.sha256), file.size)
    assert hashlib.sha256(fetch.sink.octets).hexdigest() == file.sha256


def refused(call: Callable[[], object], reason: Reason = Reason.IMAGE_UNREACHABLE) -> str:
    with pytest.raises(ExecutionError) as caught:
        call()
    assert caught.value.reason is reason
    return caught.value.message


# What works


@pytest.mark.requirement("SZTP-5.6-06")
def test_image_over_plain_http(fetch: Fetching) -> None:
    with serving() as server:
        assert_whole(fetch, fetch(f"{server.url}/image?key=1#part"))
        assert [each.request.target for each in server.requests] == ["/image?key=1"]
    assert fetch.told[-1] == (IMAGE.size, IMAGE.size)
    assert fetch.sink.restarts == 0


@pytest.mark.requirement("SZTP-6.3-05")
def test_file_server_with_an_unknown_certificate(fetch: Fetching, authorities: Authorities) -> None:
    identity = server_identity(authorities.foreign.issue("Files", dns_names=["x.example"]))
    with FileServer({"/image": IMAGE}, identity) as server:
        assert_whole(fetch, fetch(f"{server.url}/image"))


def test_file_server_that_asks_gets_our_certificate(
    authorities: Authorities, client: ClientIdentity
) -> None:
    clients = ClientCertificates(Demand.REQUIRED, (authorities.manufacturer.der,))
    identity = server_identity(authorities.server)
    with FileServer({"/image": IMAGE}, identity, client_certificates=clients) as server:
        fetch = Fetching(client)
        assert_whole(fetch, fetch(f"{server.url}/image"))
        assert server.connections[-1].client_certificate_der == authorities.idevid.der


def test_empty_file(fetch: Fetching) -> None:
    with serving(file=BytesFile(b"")) as server:
        assert fetch(f"{server.url}/image") == Downloaded(hashlib.sha256().digest(), 0)
    assert fetch.told == [(0, 0)]


def test_proxies_of_the_environment_are_ignored(
    fetch: Fetching, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("all_proxy", "http://127.0.0.1:1")
    with serving() as server:
        assert_whole(fetch, fetch(f"{server.url}/image"))


# What breaks


@pytest.mark.parametrize(
    "fault", [ResetAfter(1_500_000), TruncatedBody(1_500_000), WrongContentLength(5000)]
)
def test_broken_transfer_goes_on_where_it_was(
    fetch: Fetching, fault: ResetAfter | TruncatedBody | WrongContentLength
) -> None:
    with serving(FaultRule((fault,), first=1)) as server:
        assert_whole(fetch, fetch(f"{server.url}/image"))
        if not isinstance(fault, WrongContentLength):
            assert statuses(server) == [200, 206]
            assert server.requests[1].first_octet > 1_000_000
            assert server.requests[1].request.header("If-Range") == IMAGE.etag
            assert fetch.sink.restarts == 0


def test_server_without_ranges_starts_again(fetch: Fetching) -> None:
    with serving(FaultRule((ResetAfter(1_500_000),), first=1), ranges=False) as server:
        assert_whole(fetch, fetch(f"{server.url}/image"))
        assert statuses(server) == [200, 200]
        assert server.requests[1].request.header("Range") is None
    assert fetch.sink.restarts == 1


def test_file_that_changed_meanwhile_starts_again(fetch: Fetching) -> None:
    other = GeneratedFile(2 * limits.MIB, seed="other")
    with serving(FaultRule((ResetAfter(1_500_000),), first=1)) as server:

        class Swapping(PatientClock):
            def wait(self, seconds: float) -> None:
                super().wait(seconds)
                server.files["/image"] = other

        fetch.clock = Swapping()
        assert_whole(fetch, fetch(f"{server.url}/image"), other)
    assert fetch.sink.restarts == 1


def test_faults_are_tried_again_within_bounds(fetch: Fetching) -> None:
    with serving(FaultRule((ResetAfter(100_000),))) as server:
        message = refused(lambda: fetch(f"{server.url}/image"))
        assert len(server.requests) == limits.IMAGE_RETRIES + 1
    assert f"127.0.0.1:{server.port}" in message
    assert len(fetch.clock.waits) == limits.IMAGE_RETRIES
    assert max(fetch.clock.waits) <= 8


def test_server_errors_and_lost_connections_are_tried_again(fetch: Fetching) -> None:
    with serving(FaultRule((StatusCode(503),), first=1)) as server:
        assert_whole(fetch, fetch(f"{server.url}/image"))
    fetch = Fetching()
    with serving(FaultRule((CloseOnConnect(),), first=1)) as server:
        assert_whole(fetch, fetch(f"{server.url}/image"))


@pytest.mark.refuses("SZTP-5.6-06")
@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(fetch: Fetching, code: int) -> None:
    with serving() as elsewhere:
        location = f"{elsewhere.url}/image"
        with serving(FaultRule((HttpRedirect(location, code),))) as server:
            assert "redirect" in refused(lambda: fetch(f"{server.url}/image"))
            assert len(server.requests) == 1
        assert elsewhere.requests == ()


@pytest.mark.parametrize("code", [400, 401, 403, 404, 410, 416, 429])
def test_refusals_are_final(fetch: Fetching, code: int) -> None:
    with serving(FaultRule((StatusCode(code),))) as server:
        assert str(code) in refused(lambda: fetch(f"{server.url}/image"))
        assert len(server.requests) == 1


def test_dead_server_is_given_up_soon(fetch: Fetching) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    refused(lambda: fetch(f"http://127.0.0.1:{port}/image"))
    assert len(fetch.clock.waits) == 1


def test_endless_header_ends(fetch: Fetching) -> None:
    with serving(FaultRule((HugeHeaders(10 * limits.MIB),))) as server:
        refused(lambda: fetch(f"{server.url}/image"))


# Bounds


def test_image_larger_than_the_slot_is_refused_before_an_octet(fetch: Fetching) -> None:
    with serving() as server:
        refused(
            lambda: fetch(f"{server.url}/image", max_bytes=IMAGE.size - 1),
            Reason.SLOT_UNAVAILABLE,
        )
        assert fetch.sink.octets == b""
        assert_whole(fetch, fetch(f"{server.url}/image", max_bytes=IMAGE.size))


@contextmanager
def raw_server(*answers: bytes, seen: list[bytes] | None = None) -> Iterator[str]:
    """Gives each connection the next answer, the last one again and again, then closes it."""

    def serve() -> None:
        for answer in chain(answers, repeat(answers[-1])):
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                request = connection.recv(65536)
                if seen is not None:
                    seen.append(request)
                connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/image"
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_image_of_unknown_length_is_bounded_while_it_comes(fetch: Fetching) -> None:
    chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + 40 * chunk + b"0\r\n\r\n"
    with raw_server(answer) as uri:
        assert fetch(uri).size == 40 * 0x10000
        assert fetch.told[-1] == (40 * 0x10000, None)
        refused(lambda: fetch(uri, max_bytes=limits.MIB), Reason.SLOT_UNAVAILABLE)
    assert len(fetch.sink.octets) <= 40 * 0x10000 + limits.MIB


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-nothing\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 10000 + b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_nonsense_is_an_unreachable_image(fetch: Fetching, answer: bytes) -> None:
    with raw_server(answer) as uri:
        refused(lambda: fetch(uri))


def test_other_encodings_of_the_file_are_refused(fetch: Fetching) -> None:
    with raw_server(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 0\r\n\r\n") as u:
        refused(lambda: fetch(u))


def test_another_range_than_asked_for_starts_again(fetch: Fetching) -> None:
    head = b'HTTP/1.1 %s\r\nETag: "a"\r\nContent-Length: %d\r\n'
    with raw_server(
        head % (b"200 OK", 10) + b"\r\n01234",
        head % (b"206 Partial Content", 5) + b"Content-Range: bytes 3-7/10\r\n\r\n34567",
        head % (b"200 OK", 10) + b"\r\n0123456789",
    ) as uri:
        fetch(uri)
    assert fetch.sink.octets == b"0123456789"


def test_range_of_a_file_of_another_size_starts_again(fetch: Fetching) -> None:
    head = b'HTTP/1.1 %s\r\nETag: "a"\r\nContent-Length: %d\r\n'
    with raw_server(
        head % (b"200 OK", 10) + b"\r\n01234",
        head % (b"206 Partial Content", 5) + b"Content-Range: bytes 5-9/11\r\n\r\n56789",
        head % (b"200 OK", 10) + b"\r\n0123456789",
    ) as uri:
        fetch(uri)
    assert fetch.sink.octets == b"0123456789"
    assert fetch.sink.restarts == 1


def test_reset_of_a_file_of_unknown_length_is_not_its_end(fetch: Fetching) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            for last in (False, True):
                connection, _ = listening.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n0123456789")
                    if not last:
                        time.sleep(0.1)  # so that the reset doesn't overtake the octets
                        linger = struct.pack("ii", 1, 0)
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

        thread = threading.Thread(target=serve)
        thread.start()
        fetch(f"http://127.0.0.1:{listening.getsockname()[1]}/image")
        thread.join()
    assert fetch.sink.octets == b"0123456789"
    assert len(fetch.clock.waits) == 1


def test_weak_validators_do_not_resume(fetch: Fetching) -> None:
    head = b'HTTP/1.1 200 OK\r\nETag: W/"a"\r\nLast-Modified: x\r\nContent-Length: 10\r\n\r\n'
    seen: list[bytes] = []
    with raw_server(head + b"01234", head + b"0123456789", seen=seen) as uri:
        fetch(uri)
    assert fetch.sink.restarts == 1
    assert not [request for request in seen if b"Range" in request]


def test_trickle_is_a_stall(fetch: Fetching, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STALL_SECONDS", 0.3)
    stop = threading.Event()

    def serve() -> None:
        for _ in range(2):
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
                while not stop.wait(0.05):
                    try:
                        connection.sendall(b"x")
                    except OSError:
                        break

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        monkeypatch.setattr(limits, "IMAGE_RETRIES", 1)
        message = refused(lambda: fetch(f"http://127.0.0.1:{listening.getsockname()[1]}/image"))
        stop.set()
        thread.join()
    assert "in time" in message


def test_errors_of_the_sink_come_through_as_they_are(fetch: Fetching) -> None:
    fetch.sink = MemorySink(room=limits.MIB)
    with serving() as server:
        refused(lambda: fetch(f"{server.url}/image"), Reason.DISK_FULL)
    assert not [each for each in threading.enumerate() if each.name.startswith("image-")]


def test_a_stop_ends_the_transfer(fetch: Fetching) -> None:
    class Stopped(PatientClock):
        def wait(self, seconds: float) -> None:
            super().wait(seconds)
            raise StoppedError

    fetch.clock = Stopped()
    with serving(FaultRule((ResetAfter(1000),))) as server, pytest.raises(StoppedError):
        fetch(f"{server.url}/image")


@pytest.mark.parametrize(
    "uri",
    [
        "tftp://127.0.0.1/image",
        "ftp://127.0.0.1/image",
        "http:///image",
        "http://127.0.0.1:99999/image",
        "http://127.0.0.1:0/image",
        "http://0x7f000001/image",
        "http://127.1/image",
        "http://[::1/image",
        "http://127.0.0.1/a b",
        "http://127.0.0.1/\r\nX: y",
        "image",
        "",
        "http://127.0.0.1/" + "a" * 3000,
    ],
)
def test_uris_that_cannot_be_used(fetch: Fetching, uri: str) -> None:
    refused(lambda: fetch(uri))


def test_passwords_in_uris_are_neither_sent_nor_shown(fetch: Fetching) -> None:
    with serving() as server:
        uri = server.url.replace("http://", "http://user:secret@") + "/image?token=secret"
        assert "secret" not in refused(lambda: fetch(uri))
        assert server.connections == ()
        assert "secret" not in refused(lambda: fetch(f"{server.url}/absent?token=secret"))


# Media


@pytest.fixture
def medium(tmp_path: Path) -> Path:
    root = tmp_path / "medium"
    (root / "images").mkdir(parents=True)
    (root / "images" / "os 1.img").write_bytes(b"image octets")
    (tmp_path / "outside").write_bytes(b"not yours")
    return root


@pytest.mark.parametrize(
    "uri",
    [
        "file:///images/os%201.img",
        "file:images/os%201.img",
        "file://localhost/images//./os%201.img",
    ],
)
def test_file_on_the_medium(fetch: Fetching, medium: Path, uri: str) -> None:
    assert fetch(uri, medium=medium).size == 12
    assert fetch.sink.octets == b"image octets"


@pytest.mark.parametrize(
    "uri",
    [
        "file:///../outside",
        "file:///images/../../outside",
        "file:///images/%2e%2e/%2E%2E/outside",
        "file:///link",
        "file:///linked/outside",
        "file:///fifo",
        "file:///images",
        "file:///",
        "file:///absent",
        "file:///images/os%201.img%00",
        "file://elsewhere/images/os%201.img",
        "file:///images/os%201.img?x",
    ],
)
def test_nothing_but_regular_files_below_the_root(fetch: Fetching, medium: Path, uri: str) -> None:
    (medium / "link").symlink_to(medium.parent / "outside")
    (medium / "linked").symlink_to(medium.parent)
    os.mkfifo(medium / "fifo")
    before = len(list(Path("/proc/self/fd").iterdir()))
    refused(lambda: fetch(uri, medium=medium))
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert fetch.sink.octets == b""


def test_file_without_a_medium_and_too_large_a_file(fetch: Fetching, medium: Path) -> None:
    refused(lambda: fetch("file:///images/os%201.img"))
    refused(
        lambda: fetch("file:///images/os%201.img", medium=medium, max_bytes=11),
        Reason.SLOT_UNAVAILABLE,
    )
