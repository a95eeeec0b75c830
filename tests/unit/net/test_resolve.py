# SPDX-License-Identifier: Apache-2.0
"""Which texts are hosts, and what addresses they have."""

import pytest

from xpu_agent.errors import Reason, SourceUnavailableError
from xpu_agent.net.resolve import display, resolve, server_name
from xpu_agent.ports import Address


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("bootstrap.example", "bootstrap.example"),
        ("bootstrap.example.", "bootstrap.example"),
        ("localhost", "localhost"),
        ("_sztp._tcp.example", "_sztp._tcp.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("192.0.2.1", "192.0.2.1"),
        ("2001:DB8::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
    ],
)
@pytest.mark.requirement("SZTP-6.3-03")
def test_hosts(host: str, name: str) -> None:
    assert server_name(host) == name


@pytest.mark.parametrize(
    "host",
    [
        "",
        ".",
        "a..b",
        "-a.example",
        "a b",
        "bücher.example",
        "a" * 64,
        "a." * 127 + "aa",
        "https://x.example",
        "x.example:443",
        "x.example/path",
        "user@x.example",
        "[::1]",
        "127.1",
        "0x7f000001",
        "2130706433",
        "1.2.3.4.5",
        "0177.0.0.1",
        "::1%eth0",
        "fe80::1%",
        "fe80::1%eth0 x",
        "192.0.2.1%eth0",
        "x\r\nHost: y",
        "x\0y",
    ],
)
@pytest.mark.refuses("SZTP-6.3-03")
def test_what_is_no_host(host: str) -> None:
    for refuse in (server_name, lambda text: resolve(text, 443)):
        with pytest.raises(SourceUnavailableError) as caught:
            refuse(host)
        assert caught.value.reason is Reason.DNS_FAILED
        assert caught.value.message.isprintable()


def test_literals_are_their_own_address() -> None:
    assert resolve("192.0.2.1", 443) == (Address("192.0.2.1", 443),)
    assert resolve("2001:db8::1", 8443) == (Address("2001:db8::1", 8443),)
    assert resolve("fe80::1%eth0", 443) == (Address("fe80::1%eth0", 443),)


@pytest.mark.requirement("SZTP-5.5-02")
def test_a_name_has_each_address_once() -> None:
    addresses = resolve("localhost", 443)
    assert {each.ip for each in addresses} <= {"127.0.0.1", "::1"}
    assert len(set(addresses)) == len(addresses) > 0


def test_unknown_names() -> None:
    with pytest.raises(SourceUnavailableError) as caught:
        resolve("nowhere.invalid.", 443)
    assert caught.value.reason is Reason.DNS_FAILED


def test_a_resolver_that_is_silent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xpu_agent.net.resolve.RESOLVE_SECONDS", 0.0)
    with pytest.raises(SourceUnavailableError) as caught:
        resolve("nowhere.invalid.", 443)
    assert caught.value.reason is Reason.DNS_FAILED


def test_display_is_printable_and_bounded() -> None:
    assert display("::1", 443) == "[::1]:443"
    assert display("x\x1b[0m", 443) == "x\\x1b[0m:443"
    assert len(display("ü" * 100000, 443)) < 2000
