# SPDX-License-Identifier: Apache-2.0
"""Hosts, URIs and names of files are anybody's text: nothing but our own errors comes of them."""

import os
import string
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xpu_agent.clock import ClockMode, SystemClock
from xpu_agent.errors import ExecutionError, Reason, SourceUnavailableError
from xpu_agent.net.download import HttpDownloader
from xpu_agent.net.medium import open_file
from xpu_agent.net.resolve import display, server_name
from xpu_agent.ports import VerifiedImage

hosts = st.one_of(
    st.text(),
    st.text(alphabet=string.hexdigits + ".:%[]x-_", max_size=300),
    st.ip_addresses().map(str),
)


@given(hosts)
def test_a_server_name_is_fit_for_tls_and_http(host: str) -> None:
    try:
        name = server_name(host)
    except SourceUnavailableError:
        return
    assert name.isascii()
    assert len(name) <= 253
    assert not set(name) - set(string.ascii_letters + string.digits + "-_.:")
    if ":" not in name:
        assert urlsplit(f"https://{name}:443/").hostname == name.lower()


@given(hosts, st.integers(0, 65535))
def test_what_is_shown_of_a_host_is_one_bounded_line(host: str, port: int) -> None:
    shown = display(host, port)
    assert shown.isascii()
    assert shown.isprintable()
    assert len(shown) < 3000


class _NoSink:
    def write(self, data: memoryview) -> None:
        raise AssertionError(data)

    def restart(self) -> None:
        raise AssertionError

    def commit(self, image: VerifiedImage) -> None:
        raise AssertionError(image)

    def abort(self) -> None:
        raise AssertionError


@given(
    st.one_of(
        st.text(),
        st.builds("{}:{}".format, st.sampled_from(["ftp", "file", "FILE", "", "a"]), st.text()),
        st.builds("http://{}\x00/".format, st.text()),
    ).filter(lambda uri: not uri.lower().startswith(("http:", "https:")) or "\0" in uri)
)
def test_other_uris_are_unreachable_images(uri: str) -> None:
    fetch = HttpDownloader(SystemClock(ClockMode.ACCURATE), None, lambda *_: None).fetch
    with pytest.raises(ExecutionError) as caught:
        fetch(uri, _NoSink(), max_bytes=1, medium=None)
    assert caught.value.reason is Reason.IMAGE_UNREACHABLE
    assert caught.value.message.isprintable()


@pytest.fixture(scope="module")
def medium(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media")
    root = folder / "medium"
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "file").write_bytes(b"inside")
    (folder / "secret").write_bytes(b"outside")
    (root / "a" / "up").symlink_to("../..")
    (root / "a" / "link").symlink_to("../../secret")
    (root / "b").symlink_to("a")
    return root


_part = st.sampled_from(
    ["a", "b", "up", "link", "file", "secret", "..", ".", "", "%2e%2e", "%2F", "%00", "medium"]
)


@given(st.one_of(st.lists(_part, max_size=7).map("/".join), st.text(alphabet="ab./%2eF0")))
@settings(deadline=None)
def test_only_the_file_below_the_root_is_ever_opened(medium: Path, path: str) -> None:
    try:
        descriptor, size = open_file(medium, path)
    except ExecutionError:
        return
    try:
        assert os.path.samestat(os.fstat(descriptor), (medium / "a" / "file").stat())
        assert size == len(b"inside")
    finally:
        os.close(descriptor)
