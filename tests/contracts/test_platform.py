# SPDX-License-Identifier: Apache-2.0
"""The contract of a platform; it runs against ours, and against a vendor's hooks:

    XPU_AGENT_HOOKS=/usr/lib/xpu-agent/hooks python -m pytest tests/contracts

It writes images, reboots and changes the configuration: run it on a device, or a stand-in, that
you can spare. With XPU_AGENT_HOOKS_CONFIGURATION naming the file of the running configuration,
the bytes in it are compared too; XPU_AGENT_HOOKS_IMAGE names an image the device takes, if it
doesn't take any octets.
"""

import dataclasses
import hashlib
import os
from pathlib import Path

import pytest
from tests.contracts.conftest import Subject

from xpu_agent.errors import ExecutionError, UndoError
from xpu_agent.lifecycle import ResetLevel
from xpu_agent.ports import (
    ExpectedImage,
    Platform,
    PlatformFacts,
    ScriptStage,
    ScriptVerdict,
    VerifiedImage,
)


def _image(fill: bytes = b"image ") -> bytes:
    named = os.environ.get("XPU_AGENT_HOOKS_IMAGE")
    return Path(named).read_bytes() if named else fill * 40_000  # more than a pipe holds


def _facts(platform: Platform) -> PlatformFacts:
    """All but the name of the boot."""
    return dataclasses.replace(platform.facts(), boot_id=None)


def _expected(content: bytes, version: str = "2.0") -> ExpectedImage:
    return ExpectedImage("os", version, hashlib.sha256(content).digest())


def _install(platform: Platform, content: bytes, version: str = "2.0") -> None:
    expected = _expected(content, version)
    sink = platform.image_sink(expected)
    for start in range(0, len(content), 50_000):
        sink.write(memoryview(content)[start : start + 50_000])
    sink.commit(VerifiedImage(expected, len(content)))


# --- facts and images ---


def test_facts_can_be_asked_again(subject: Subject) -> None:
    subject.platform().power_on()
    assert subject.platform().facts() == subject.platform().facts()


@pytest.mark.requirement("SZTP-5.6-05")
def test_a_committed_image_runs_after_the_reboot_and_not_before(subject: Subject) -> None:
    platform = subject.platform()
    platform.power_on()
    before, content = _facts(platform), _image()
    _install(platform, content)
    assert _facts(platform) == before
    facts = subject.reboot().facts()
    assert facts.image_sha256 == hashlib.sha256(content).digest()
    assert (facts.os_name, facts.os_version, facts.on_trial) == ("os", "2.0", True)


@pytest.mark.refuses("SZTP-5.6-05", "SZTP-5.6-15")
@pytest.mark.parametrize("octets", [0, 7, 70_000])
def test_power_lost_before_commit_leaves_what_ran(subject: Subject, octets: int) -> None:
    platform = subject.platform()
    platform.power_on()
    before = _facts(platform)
    sink = platform.image_sink(_expected(_image()))
    sink.write(memoryview(_image())[:octets])
    after_the_cut = subject.reboot()
    assert _facts(after_the_cut) == before
    _install(after_the_cut, _image())  # and what is left of it hinders nobody
    assert subject.reboot().facts().image_sha256 == hashlib.sha256(_image()).digest()
    sink.abort()


@pytest.mark.refuses("SZTP-5.6-05", "SZTP-5.6-15")
def test_an_aborted_image_never_boots(subject: Subject) -> None:
    platform = subject.platform()
    platform.power_on()
    before = _facts(platform)
    sink = platform.image_sink(_expected(_image()))
    sink.write(memoryview(_image()))
    sink.abort()
    sink.abort()
    assert _facts(subject.reboot()) == before


def test_a_sink_starts_again_at_the_first_octet(subject: Subject) -> None:
    platform = subject.platform()
    platform.power_on()
    content = _image()
    sink = platform.image_sink(_expected(content))
    sink.write(memoryview(b"rubbish" * 20_000))
    sink.restart()
    sink.write(memoryview(content))
    sink.commit(VerifiedImage(_expected(content), len(content)))
    sink.abort()  # comes too late to change anything
    assert subject.reboot().facts().image_sha256 == hashlib.sha256(content).digest()


def test_a_second_image_replaces_the_first(subject: Subject) -> None:
    platform = subject.platform()
    platform.power_on()
    _install(platform, _image(b"first "), "1.1")
    _install(platform, _image(b"second"), "1.2")
    platform = subject.reboot()
    assert platform.facts().os_version == "1.2"
    platform.mark_good()
    _install(platform, _image(b"third "), "1.3")
    assert subject.reboot().facts().os_version == "1.3"


def test_mark_good_ends_the_trial_and_may_be_repeated(subject: Subject) -> None:
    platform = subject.platform()
    platform.power_on()
    platform.mark_good()
    _install(platform, _image())
    platform = subject.reboot()
    platform.rearm()
    assert platform.facts().on_trial
    platform.mark_good()
    platform.mark_good()
    assert not platform.facts().on_trial
    assert not subject.reboot().facts().on_trial
    assert subject.platform().facts().image_sha256 == hashlib.sha256(_image()).digest()


# --- configuration ---


@pytest.mark.requirement("SZTP-5.6-13")
def test_replace_puts_the_octets_in_place(subject: Subject) -> None:
    platform = subject.platform()
    _apply(platform, b"hostname one\n", "replace")
    _apply(platform, b"hostname two\n", "replace")
    assert subject.running() == b"hostname two\n"


@pytest.mark.requirement("SZTP-5.6-13")
def test_merge_keeps_what_was_there(subject: Subject) -> None:
    platform = subject.platform()
    _apply(platform, b"hostname one\n", "replace")
    _apply(platform, b"ntp two\n", "merge")
    assert subject.running() == b"hostname one\nntp two\n"


def test_the_same_merge_again_changes_nothing(subject: Subject) -> None:
    platform = subject.platform()
    _apply(platform, b"hostname one\n", "replace")
    checkpoint = platform.checkpoint()
    platform.apply_configuration(b"ntp two\n", "merge", checkpoint)
    subject.platform().apply_configuration(b"ntp two\n", "merge", checkpoint)
    assert subject.running() == b"hostname one\nntp two\n"


@pytest.mark.requirement("SZTP-5.6-15", "SZTP-5.6-16")
@pytest.mark.parametrize("earlier", [None, b"", b"hostname one\n"])
@pytest.mark.parametrize("handling", ["merge", "replace"])
def test_undo_brings_back_octets_or_absence(
    subject: Subject, earlier: bytes | None, handling: str
) -> None:
    platform = subject.platform()
    if earlier is not None:
        _apply(platform, earlier, "replace")
    checkpoint = platform.checkpoint()
    platform.apply_configuration(b"ntp two\n", handling, checkpoint)
    assert subject.running() != earlier
    for _ in range(2):
        subject.platform().undo(checkpoint)  # by an agent that knows the token alone
        assert subject.running() == earlier


@pytest.mark.requirement("SZTP-5.6-16")
def test_undo_without_any_change_changes_nothing(subject: Subject) -> None:
    platform = subject.platform()
    _apply(platform, b"hostname one\n", "replace")
    checkpoint = platform.checkpoint()
    subject.platform().undo(checkpoint)
    assert subject.running() == b"hostname one\n"


@pytest.mark.refuses("SZTP-5.6-16")
def test_undo_to_a_checkpoint_that_was_replaced_is_refused(subject: Subject) -> None:
    platform = subject.platform()
    first = platform.checkpoint()
    platform.apply_configuration(b"hostname one\n", "replace", first)
    second = platform.checkpoint()
    platform.apply_configuration(b"hostname two\n", "replace", second)
    with pytest.raises(UndoError):
        platform.undo(first)
    assert subject.running() == b"hostname two\n"


def test_a_configuration_applies_again_after_an_undo(subject: Subject) -> None:
    platform = subject.platform()
    checkpoint = platform.checkpoint()
    platform.apply_configuration(b"hostname one\n", "merge", checkpoint)
    platform.undo(checkpoint)
    _apply(platform, b"hostname one\n", "merge")
    assert subject.running() == b"hostname one\n"


# --- scripts and resets ---


@pytest.mark.requirement("SZTP-5.6-11", "SZTP-6.3-06")
@pytest.mark.parametrize(
    ("status", "verdict"),
    [(0, ScriptVerdict.OK), (75, ScriptVerdict.WARNING), (1, ScriptVerdict.ERROR)],
)
def test_a_script_says_how_it_went_by_its_exit_status(
    subject: Subject, status: int, verdict: ScriptVerdict
) -> None:
    result = subject.platform().run_script(
        b"#!/bin/sh\nexit %d\n" % status, ScriptStage.PRE, serial_number="SN-1", seconds=10
    )
    assert result.verdict is verdict
    assert str(status) in result.detail


@pytest.mark.parametrize("level", list(ResetLevel))
def test_a_reset_removes_the_configuration_and_may_be_repeated(
    subject: Subject, level: ResetLevel
) -> None:
    platform = subject.platform()
    checkpoint = platform.checkpoint()
    platform.apply_configuration(b"hostname one\n", "replace", checkpoint)
    if subject.hooks_dir and not (subject.hooks_dir / "wipe").exists() and subject.configuration:
        pytest.skip("the configuration is the hook's, the reset is not")
    for _ in range(2):
        subject.platform().wipe(level)
        assert subject.running() is None


def test_a_deep_reset_keeps_what_runs(subject: Subject) -> None:
    platform = subject.platform()
    platform.power_on()
    _install(platform, _image())
    platform = subject.reboot()
    platform.mark_good()
    platform.wipe(ResetLevel.DEEP)
    assert subject.reboot().facts().image_sha256 == hashlib.sha256(_image()).digest()


def test_errors_are_ours(subject: Subject) -> None:
    with pytest.raises((ExecutionError, UndoError)):
        subject.platform().undo("no such checkpoint")


def _apply(platform: Platform, content: bytes, handling: str) -> None:
    platform.apply_configuration(content, handling, platform.checkpoint())
