# SPDX-License-Identifier: Apache-2.0
"""What each key may hold, what a mistake is called, and which key was probably meant."""

from dataclasses import fields
from pathlib import Path

import pytest
from tests.unit.config.trees import problems, problems_of, write

from xpu_agent import limits
from xpu_agent.clock import ClockMode
from xpu_agent.config import (
    AgentConfig,
    ClockChoice,
    ConfigurationProblemsError,
    FileKey,
    Pkcs11Key,
    ServerAddress,
    SourceName,
    StaticAddress,
    TpmKey,
    load_config,
    missing_files,
    parse_bootstrap_server,
)
from xpu_agent.config.schema import KINDS, SECTIONS
from xpu_agent.device import Assertion, Leniency
from xpu_agent.errors import ConfigurationError

EVERYTHING = """
format: xpu-agent-config/1
device: {serial-number: SN1, serial-number-from: platform, hw-model: M, os-name: N,
  os-version: 1.10}
identity:
  certificate: c.pem
  private-key: tpm2:0x81000001
  decryption-key: pkcs11:token=x;object=y
  username: SN1
  password-file: pw
trust:
  voucher-anchors: [a.pem]
  server-anchors: [b.pem]
  clock: accurate
  assertions: [verified, logged]
accept: [dhcp-uri-path, boolean-as-string]
bootstrap-servers: ["https://A.example", "https://192.0.2.1:8443", "https://[2001:db8::1]:444"]
sources: [dns, dhcp]
dns: {multicast: false, unicast: true}
media: {devices: [sd*], filesystems: [ext4], manufacturer: Acme, settle-seconds: 3}
network:
  interfaces: [eth*]
  configure: true
  release: true
  static:
    - {interface: eth0, addresses: [192.0.2.2/24], gateway: 192.0.2.1, resolvers: [192.0.2.53]}
  proxy: http://proxy.example:3128
report: {ssh-host-keys: none, trust-anchor-certs: [d.pem], inventory: true}
platform: {name: directory, path: dev}
hooks: h
give-up: {after-seconds: 60, then: reboot}
limits: {script-seconds: 5, image-bytes: 100, attempt-seconds: 6, source-seconds: 7}
paths: {state: /s, run: /r}
log-level: debug
"""


def test_every_key_is_read(tmp_path: Path) -> None:
    write(tmp_path, {"a.yaml": EVERYTHING})
    loaded = load_config(tmp_path / "a.yaml")
    config = loaded.config
    assert config.device.os_version == "1.10"
    assert config.identity.private_key == TpmKey(handle=0x81000001)
    assert config.identity.decryption_key == Pkcs11Key("pkcs11:token=x;object=y")
    assert config.identity.password_file == tmp_path / "pw"
    assert config.trust.voucher_anchors == (tmp_path / "a.pem",)
    assert config.trust.server_anchors == (tmp_path / "b.pem",)
    assert config.trust.assertions == {Assertion.VERIFIED, Assertion.LOGGED}
    assert config.accept == {Leniency.DHCP_URI_PATH, Leniency.BOOLEAN_AS_STRING}
    assert config.bootstrap_servers == (
        ServerAddress("a.example", 443),
        ServerAddress("192.0.2.1", 8443),
        ServerAddress("2001:db8::1", 444),
    )
    assert config.sources == (SourceName.DNS, SourceName.DHCP)
    assert config.media.devices == ("sd*",)
    assert config.network.static == (
        StaticAddress("eth0", ("192.0.2.2/24",), "192.0.2.1", ("192.0.2.53",)),
    )
    assert config.network.proxy == "http://proxy.example:3128"
    assert config.platform.path == tmp_path / "dev"
    assert config.limits.image_bytes == 100
    assert config.paths.state == Path("/s")
    # Every key of the schema was set, so every origin is the file.
    assert {s.key for s in loaded.settings() if s.origin == "default"} == set()


@pytest.mark.requirement("SZTP-5.1-09", "SZTP-5.1-07")
def test_the_two_lists_of_anchors_stay_apart(tmp_path: Path) -> None:
    write(tmp_path, {"a.yaml": "trust: {voucher-anchors: [v.pem]}\n"})
    trust = load_config(tmp_path / "a.yaml").config.trust
    assert (trust.voucher_anchors, trust.server_anchors) == ((tmp_path / "v.pem",), ())
    write(tmp_path, {"b.yaml": "trust: {server-anchors: [s.pem]}\n"})
    trust = load_config(tmp_path / "b.yaml").config.trust
    assert (trust.voucher_anchors, trust.server_anchors) == ((), (tmp_path / "s.pem",))


def test_schema_and_values_have_the_same_keys() -> None:
    config = AgentConfig()
    keys: set[str] = {"format"}
    for part in fields(config):
        name = part.name.replace("_", "-")
        if name in SECTIONS:
            inner = fields(getattr(config, part.name))
            keys |= {f"{name}.{f.name.replace('_', '-')}" for f in inner}
        else:
            keys.add(name)
    assert keys == set(KINDS)


def test_the_clock_has_the_same_words_everywhere() -> None:
    assert [str(c) for c in ClockChoice] == [str(m) for m in ClockMode]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("format: xpu-agent-config/2\n", "this version reads xpu-agent-config/1"),
        ("device: {serial-number: ''}\n", "device.serial-number: has no value"),
        ("device:\n  serial-number:\n", "2 device.serial-number: has no value"),
        ("device: {serial-number: [a]}\n", "must be one value, not a list"),
        ('device: {serial-number: "a\\u0007"}\n', "can't be printed"),
        (f"device: {{serial-number: {'x' * 256}}}\n", "is longer than 255"),
        ("device: text\n", "1 device: is a section"),
        ("device: [a]\n", "1 device: is a section"),
        ("dns: {multicast: no}\n", "must be true or false, not no"),
        ("dns: {multicast: True}\n", "must be true or false, not True"),
        ("dns: {multicast: 1}\n", "must be true or false, not 1"),
        ("media: {settle-seconds: -1}\n", "must be a whole number, not -1"),
        ("media: {settle-seconds: 1e3}\n", "must be a whole number"),
        ("media: {settle-seconds: 0x10}\n", "must be a whole number"),
        ("media: {settle-seconds: 601}\n", "must be from 0 to 600, not 601"),
        ("limits: {image-bytes: 0}\n", "must be from 1"),
        ("limits: {image-bytes: 8G}\n", "must be a whole number"),
        ("trust: {clock: sometimes}\n", "must be one of auto, accurate, inaccurate, not sometimes"),
        ("trust: {assertions: []}\n", "must not be empty"),
        ("trust: {assertions: verified}\n", "must be a list, not verified"),
        ("trust:\n  assertions:\n  - verified\n  - bribed\n", "4 trust.assertions: has an item"),
        ("trust: {voucher-anchors: }\n", "must be a list, not nothing"),
        (f"trust: {{voucher-anchors: [{'a, ' * 33}]}}\n", "names more than 32 files"),
        ("sources: []\n", "must not be empty"),
        ("sources: [dhcp, dhcp]\n", "names dhcp twice"),
        ("accept: [everything]\n", "must be one of dhcp-uri-path"),
        ("network: {interfaces: eth0}\n", "must be auto or a list, not eth0"),
        ("network: {interfaces: []}\n", "is an empty list"),
        ("network: {proxy: https://p:1}\n", "must be none or http://HOST:PORT"),
        ("network: {proxy: http://p}\n", "needs a port"),
        ("network: {static: [{interface: eth0}]}\n", "needs interface and addresses"),
        ("network: {static: [a]}\n", "must be a mapping of interface"),
        (
            "network: {static: [{interface: e, addresses: [10.0.0.1]}]}\n",
            "must be ADDRESS/PREFIX-LENGTH, not 10.0.0.1",
        ),
        (
            "network: {static: [{interface: e, addresses: [10.0.0.1/8], gatway: 10.0.0.2}]}\n",
            "has an unknown key gatway",
        ),
        ("identity: {private-key: 'tpm2:0x123'}\n", "is no persistent handle"),
        ("identity: {private-key: 'tpm2:'}\n", "must be tpm2:HANDLE or tpm2:FILE"),
        ("identity: {private-key: 'pkcs11:a?pin-value=1'}\n", "holds a PIN"),
        ("identity: {username: a}\n", "identity.username: needs identity.password-file too"),
        ("identity: {password-file: a}\n", "needs identity.username too"),
        (
            "identity: {username: a, password-file: b}\ndevice: {serial-number: c}\n",
            "must equal the serial number",
        ),
        ("paths: {state: LABEL=state}\n", "not available in this version"),
        ("platform: {name: slots}\n", "slots is not available in this version"),
        ("platform: {name: onie}\n", "onie is not available in this version"),
        ("platform: {name: rauc, bundle: x}\n", "rauc is not available in this version"),
        ("platform: {name: ios}\n", "must be one of directory, hooks, not ios"),
        ("platform: {name: directory}\n", "directory needs platform.path"),
        ("platform: {name: hooks, path: x}\n", "platform.path: is not a key of platform hooks"),
        ("platform: {path: x}\n", "is not a key of no platform"),
        (
            "platform: {name: directory, path: x, configuration: {path: y}}\n",
            "belongs to the platforms slots, rauc and onie",
        ),
        ("give-up: {then: sleep}\n", "must be one of boot, shell, reboot, next"),
    ],
)
def test_a_wrong_value_is_named(tmp_path: Path, text: str, expected: str) -> None:
    found = problems_of(tmp_path, text)
    assert any(expected in p for p in found), found


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("devise: {}\n", "device"),
        ("device: {serial-nmber: x}\n", "device.serial-number"),
        ("device: {serial_number: x}\n", "device.serial-number"),
        ("serial-number: x\n", "device.serial-number"),
        ("trust: {bootstrap-servers: []}\n", "bootstrap-servers"),
        ("bootstrap-server: []\n", "bootstrap-servers"),
        ("trust: {voucher-anchor: []}\n", "trust.voucher-anchors"),
        ("trust: {zzz: 1}\n", "known here are assertions, clock, server-anchors, voucher-anchors"),
        ("limits: {script_seconds: 1}\n", "limits.script-seconds"),
    ],
)
def test_an_unknown_key_names_the_nearest_one(tmp_path: Path, text: str, meant: str) -> None:
    (found,) = problems_of(tmp_path, text)
    assert "is not a known key" in found
    assert meant in found


@pytest.mark.parametrize(
    "url",
    [
        "http://a.example",
        "a.example",
        "https://",
        "https://a.example/",
        "https://a.example/path",
        "https://a.example?x",
        "https://a.example#x",
        "https://user@a.example",
        "https://user:pw@a.example",
        "https://a.example:0",
        "https://a.example:65536",
        "https://a.example:",
        "https://a.example:0443",
        "https://a.example:x",
        "https://2001:db8::1",
        "https://[2001:db8::1",
        "https://[a.example]",
        "https://[192.0.2.1]",
        "https://1.2.3",
        "https://1.2.3.999",
        "https://-a.example",
        "https://a..example",
        "https://a_b.example",
        "https://ä.example",
        "https://a b",
        "https://a.example:443\n",
        f"https://{'a' * 64}.example",
    ],
)
def test_a_bootstrap_server_is_a_bare_authority(url: str) -> None:
    with pytest.raises(ConfigurationError):
        parse_bootstrap_server(url)


@pytest.mark.requirement("SZTP-5.1-06")
def test_a_bootstrap_server_has_a_port(tmp_path: Path) -> None:
    assert parse_bootstrap_server("https://A.Example") == ServerAddress("a.example", 443)
    assert parse_bootstrap_server("HTTPS://[::1]:8443") == ServerAddress("::1", 8443)
    assert str(ServerAddress("::1", 8443)) == "https://[::1]:8443"
    many = ", ".join('"https://a.example"' for _ in range(limits.SERVERS_PER_LIST + 1))
    assert any("more than 32" in p for p in problems_of(tmp_path, f"bootstrap-servers: [{many}]\n"))


def test_sections_without_a_key_say_nothing(tmp_path: Path) -> None:
    assert problems_of(tmp_path, "device:\ntrust:\n") == []


def test_platform_may_be_told_in_two_files(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "a.yaml": "platform: {name: directory}\n",
            "a.yaml.d/1.yaml": "platform: {path: /dev1}\n",
        },
    )
    config = load_config(tmp_path / "a.yaml").config
    assert config.platform.path == Path("/dev1")


def test_the_error_tells_the_first_problem_and_how_many(tmp_path: Path) -> None:
    write(tmp_path, {"a.yaml": "a: 1\nb: 2\n"})
    with pytest.raises(ConfigurationProblemsError) as caught:
        load_config(tmp_path / "a.yaml")
    assert f"{tmp_path}/a.yaml:1: a: " in caught.value.message
    assert "(and 1 more)" in caught.value.message
    assert len(caught.value.problems) == 2


def test_control_characters_of_a_file_stay_out_of_messages(tmp_path: Path) -> None:
    found = problems(write(tmp_path, {"a.yaml": '"\\e[31mred": 1\n'}) / "a.yaml")
    assert all(str(p).isprintable() and str(p).isascii() for p in found)
    assert found


def test_missing_files_are_told_apart(tmp_path: Path) -> None:
    text = "identity: {certificate: c.pem, private-key: k.pem}\ntrust: {voucher-anchors: [v.pem]}\n"
    write(tmp_path, {"a.yaml": text, "k.pem": ""})
    loaded = load_config(tmp_path / "a.yaml")
    assert loaded.config.identity.private_key == FileKey(tmp_path / "k.pem")
    assert [(p.line, p.key) for p in missing_files(loaded)] == [
        (1, "identity.certificate"),
        (2, "trust.voucher-anchors"),
    ]
