# SPDX-License-Identifier: Apache-2.0
"""The status file for people; it may come from another version, or from nobody."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.console.events import EVERY, EXPIRED, Ticks

from xpu_agent.console import render_status
from xpu_agent.device import RunningImage
from xpu_agent.errors import Reason
from xpu_agent.lifecycle import AgentState, State
from xpu_agent.ports import (
    ImageProgress,
    Judged,
    Outcome,
    OutcomeKind,
    RunEnded,
    ServerContacted,
    SourceTried,
    StageFinished,
    StageStarted,
    StateChanged,
    Waiting,
)
from xpu_agent.progress import Stage, StageResult
from xpu_agent.store.status import InterfaceStatus, StatusListener, read_status

NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)


def listener(run: Path) -> StatusListener:
    return StatusListener(
        run,
        version="1.0",
        serial_number="SN1",
        pid=1,
        now=lambda: NOW,
        monotonic=Ticks(),
        running=RunningImage("os", "1", b"\x0a" * 32),
    )


def render(status: Any, width: int = 100, *, color: bool = False, unicode: bool = True) -> str:
    return render_status(status, color=color, width=width, unicode=unicode)


def test_a_status_is_drawn_whole(tmp_path: Path) -> None:
    listens = listener(tmp_path)
    listens.network([InterfaceStatus("eth0", "up", ("192.0.2.2/24",))])
    for event in (
        StateChanged(AgentState(state=State.DISCOVERING, since=NOW, attempt=2)),
        SourceTried("bootstrap-servers", "x"),
        StageStarted(Stage.CONTACT, "a.example:443"),
        ServerContacted("a.example", 443, "192.0.2.1", trusted=True, depth=1),
        StageFinished(Stage.CONTACT, StageResult.COMPLETE, 0.5),
        Judged(EXPIRED, "refused", Reason.VOUCHER_EXPIRED, "too old"),
        StageStarted(Stage.PARSING),
        StageFinished(Stage.PARSING, StageResult.ERROR, 0.1, Reason.VOUCHER_EXPIRED, "too old"),
        StageStarted(Stage.BOOT_IMAGE),
        ImageProgress(2**20, 2**22),
        Waiting(60.0, Reason.VOUCHER_EXPIRED, "too old"),
    ):
        listens.emit(event)
    text = render(read_status(tmp_path))
    assert text == (
        "xpu-agent 1.0 · SN1 · updated 2026-11-27 12:00:00\n"
        "\n"
        "state       discovering since 2026-11-27 12:00:00 · attempt 2\n"
        "next        attempt at 2026-11-27 12:01:00\n"
        "last fault  voucher-expired: too old\n"
        "            → have the voucher renewed\n"
        "source      bootstrap-servers · a.example:443 (192.0.2.1) · after 1 redirect(s)\n"
        "trust       server trusted · voucher failed\n"
        "running     os 1 sha256 0a0a0a0a0a0a\n"
        "written     ██████░░░░░░░░░░░░░░░░░░  25%  1.0 MiB of 4.0 MiB\n"
        "link        eth0 up 192.0.2.2/24\n"
        "\n"
        "checks\n"
        "   voucher  ✓ signature  ✗ dates\n"
        "\n"
        "steps\n"
        "   ✓  contact server        0.5 s  a.example:443\n"
        "   ✗  read data             0.1 s  voucher-expired\n"
        "   ▸  boot image                 \n"
    )


def test_the_outcome_is_told(tmp_path: Path) -> None:
    listens = listener(tmp_path)
    listens.emit(StateChanged(AgentState(state=State.PROVISIONED, since=NOW, attempt=1)))
    listens.emit(RunEnded(Outcome(OutcomeKind.COMPLETED, message="bootstrapped")))
    text = render(read_status(tmp_path))
    assert "state       provisioned since" in text
    assert "last run    ✓ completed: bootstrapped" in text


def test_a_long_message_is_folded_not_cut(tmp_path: Path) -> None:
    listens = listener(tmp_path)
    message = "the voucher is for serial number 'XPU-9', this device is 'XPU-1' " * 3
    listens.emit(RunEnded(Outcome(OutcomeKind.REFUSED, Reason.VOUCHER_SERIAL_MISMATCH, message)))
    listens.emit(StageFinished(Stage.PARSING, StageResult.ERROR, 1, Reason.TIMEOUT, "m" * 150))
    text = render(read_status(tmp_path), 60)
    shown = " ".join(line.strip() for line in text.splitlines())
    assert message.strip() in shown
    assert "m" * 150 in text.replace("\n            ", "")
    assert max(map(len, text.splitlines())) <= 60


def test_no_file_is_told_with_what_to_do() -> None:
    assert "xpu-agent run" in render(None)


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_no_line_is_wider_than_asked(tmp_path: Path, width: int) -> None:
    listens = listener(tmp_path)
    for event in EVERY:
        listens.emit(event)
    text = render(read_status(tmp_path), width)
    assert max(map(len, text.splitlines())) <= width


def test_colour_and_marks_are_as_asked(tmp_path: Path) -> None:
    listens = listener(tmp_path)
    for event in EVERY:
        listens.emit(event)
    status = read_status(tmp_path)
    assert "\x1b[" not in render(status)
    assert "\x1b[" in render(status, color=True)
    assert render(status, unicode=False).isascii()
    assert not render(status).isascii()
    plain = re.sub(r"\x1b\[[0-9;]*m", "", render(status, color=True))
    assert plain == render(status)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
_MEMBERS = st.sampled_from(
    [
        "version",
        "state",
        "since",
        "attempt",
        "source",
        "server",
        "trust",
        "image",
        "network",
        "checks",
        "steps",
        "outcome",
        "last-reason",
        "last-message",
        "next-retry",
        "updated",
    ]
)
_NAMES = st.sampled_from(
    [
        "host",
        "port",
        "redirects",
        "server",
        "voucher",
        "running",
        "wanted",
        "written",
        "size",
        "interfaces",
        "dhcp",
        "name",
        "addresses",
        "step",
        "result",
        "stage",
        "seconds",
        "kind",
        "reason",
        "message",
        "detail",
        "sha256",
        "os-name",
    ]
)
_INNER = st.dictionaries(_NAMES, _JSON, max_size=5)


@settings(max_examples=80, deadline=None)
@given(status=st.dictionaries(_MEMBERS, _JSON | _INNER | st.lists(_INNER, max_size=3), max_size=8))
def test_any_document_is_drawn_harmlessly(status: dict[str, Any]) -> None:
    text = render(status, 80, unicode=False)
    assert text.isascii()
    for line in text.split("\n"):
        assert line.isprintable()
        assert len(line) <= 80
