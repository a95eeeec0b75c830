# SPDX-License-Identifier: Apache-2.0
"""What whoever serves the boot may choose, and that it is never whom to believe."""

import pytest

from xpu_agent.config import (
    AgentConfig,
    LoadedConfig,
    LogLevel,
    ServerAddress,
    SourceName,
    apply_kernel_command_line,
    boot_switch,
)

FILES = LoadedConfig(AgentConfig(bootstrap_servers=(ServerAddress("known.example", 443),)))


def test_a_server_named_there_is_provisional() -> None:
    loaded = apply_kernel_command_line(FILES, "xpu_agent.bootstrap-servers=https://evil.example")
    assert loaded.config.bootstrap_servers == (
        ServerAddress("evil.example", 443, provisional=True),
    )


def test_a_server_of_the_files_keeps_its_anchors() -> None:
    text = "xpu_agent.bootstrap-servers=https://known.example,https://known.example:444"
    servers = apply_kernel_command_line(FILES, text).config.bootstrap_servers
    assert [(s.port, s.provisional) for s in servers] == [(443, False), (444, True)]


def test_the_four_keys() -> None:
    text = (
        'root=/dev/sda "xpu_agent.sources=dns,dhcp" xpu_agent.network.interfaces="eth0,en*"'
        " xpu_agent.log_level=debug quiet"
    )
    loaded = apply_kernel_command_line(FILES, text)
    assert loaded.notices == ()
    assert loaded.config.sources == (SourceName.DNS, SourceName.DHCP)
    assert loaded.config.network.interfaces == ("eth0", "en*")
    assert loaded.config.log_level is LogLevel.DEBUG
    origins = {s.key: s.origin for s in loaded.settings()}
    assert origins["sources"] == origins["network.interfaces"] == "kernel command line"
    auto = apply_kernel_command_line(loaded, "xpu_agent.network.interfaces=auto")
    assert auto.config.network.interfaces is None


@pytest.mark.parametrize(
    "parameter",
    [
        "xpu_agent.trust.clock=accurate",
        "xpu_agent.trust.voucher-anchors=/tmp/evil.pem",
        "xpu_agent.trust.server-anchors=/tmp/evil.pem",
        "xpu_agent.accept=dhcp-plain-text",
        "xpu_agent.paths.state=/tmp",
        "xpu_agent.hooks=/tmp",
        "xpu_agent.sources=everything",
        "xpu_agent.sources=",
        "xpu_agent.bootstrap-servers=http://a.example",
        "xpu_agent.bootstrap-servers=https://a.example/x",
        "xpu_agent.log-level=loud",
        "xpu_agent.=x",
    ],
)
def test_nothing_else_can_be_set_and_nothing_fails(parameter: str) -> None:
    loaded = apply_kernel_command_line(FILES, parameter)
    assert loaded.config == FILES.config
    (notice,) = loaded.notices
    assert notice.startswith("kernel command line: xpu_agent.")
    assert notice.endswith("left out")


def test_the_last_one_counts_and_what_is_behind_the_dashes_does_not() -> None:
    text = "xpu_agent.sources=dns xpu_agent.sources=dhcp -- xpu_agent.sources=dns"
    assert apply_kernel_command_line(FILES, text).config.sources == (SourceName.DHCP,)


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("quiet", None),
        ("xpu_agent=1", True),
        ("xpu-agent=0 quiet", False),
        ("xpu_agent=0 xpu_agent=1", True),
        ("xpu_agent=yes", None),
        ("xpu_agent", None),
        ("-- xpu_agent=1", None),
    ],
)
def test_whether_this_boot_starts_the_agent(text: str, *, asked: bool | None) -> None:
    assert boot_switch(text) is asked
