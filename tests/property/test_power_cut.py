# SPDX-License-Identifier: Apache-2.0
"""A run cut at any moment, then started again, ends where an uncut one does.

Every durable write, every effect on the device and every message to a server is a moment at
which the power fails, once each; after the cut the device is started again until it rests.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes import (
    FACTORY_CONFIGURATION,
    FACTORY_IMAGE,
    Disk,
    ListSource,
    MemoryServer,
    Power,
    PowerCutError,
    World,
    answer,
)
from tests.owners import onboarding_document as document
from tests.owners import owner

from xpu_agent.bootstrap.recovery import reset
from xpu_agent.bootstrap.sequence import run_once
from xpu_agent.errors import Reason
from xpu_agent.lifecycle import ResetLevel, State
from xpu_agent.ports import FoundServers, Outcome, OutcomeKind
from xpu_agent.progress import ProgressType
from xpu_agent.trust.state import preconfigured_hop

NEW = b"new image" * 50
CONFIGURED = FACTORY_CONFIGURATION + b"+good"
_STARTS = 12


@dataclass(frozen=True)
class Case:
    """What the owner asks for, and how an uncut run ends."""

    parts: dict[str, Any]
    state: State
    configuration: bytes
    image: bytes = FACTORY_IMAGE
    healthy: bool = True
    lost_final_reports: int = 0
    reason: Reason | None = None


PARTS: dict[str, Any] = {
    "pre_script": b"print before",
    "configuration": b"good",
    "handling": "merge",
    "post_script": b"print after",
}
IMAGE: dict[str, Any] = {
    "os_version": "2.0",
    "download_uris": ["https://files/image"],
    "image_sha256": hashlib.sha256(NEW).digest(),
}
BY_DIGEST: dict[str, Any] = {k: v for k, v in IMAGE.items() if k != "os_version"}

CASES = {
    "success": Case(PARTS, State.PROVISIONED, CONFIGURED),
    "post-script fails": Case(
        {**PARTS, "post_script": b"exit 1"},
        State.WAITING,
        FACTORY_CONFIGURATION,
        reason=Reason.POST_SCRIPT_FAILED,
    ),
    "configuration refused": Case(
        {**PARTS, "configuration": b"invalid"},
        State.WAITING,
        FACTORY_CONFIGURATION,
        reason=Reason.CONFIG_INVALID,
    ),
    "switch turned off": Case({**PARTS, "post_script": b"disable"}, State.PROVISIONED, CONFIGURED),
    "switch turned off in vain": Case(
        {**PARTS, "configuration": b"disable", "post_script": b"exit 1"},
        State.WAITING,
        FACTORY_CONFIGURATION,
        reason=Reason.POST_SCRIPT_FAILED,
    ),
    "image and reboot": Case({**PARTS, **IMAGE}, State.PROVISIONED, CONFIGURED, NEW),
    "image by digest alone": Case({**PARTS, **BY_DIGEST}, State.PROVISIONED, CONFIGURED, NEW),
    "image that does not come up": Case(
        {**PARTS, **IMAGE},
        State.WAITING,
        FACTORY_CONFIGURATION,
        healthy=False,
        reason=Reason.ROLLED_BACK,
    ),
    "final report lost twice": Case(PARTS, State.PROVISIONED, CONFIGURED, lost_final_reports=2),
    "final report lost for ever": Case(
        PARTS,
        State.WAITING,
        FACTORY_CONFIGURATION,
        lost_final_reports=-1,
        reason=Reason.FINAL_REPORT_FAILED,
    ),
}


def world_of(case: Case) -> World:
    world = owner().equip(World())
    world.healthy_images = case.healthy
    world.files["https://files/image"] = NEW
    server = MemoryServer(
        [answer(owner().unsigned(document(**case.parts)))], issuer=owner().servers.der
    )
    server.report_failures[ProgressType.BOOTSTRAP_COMPLETE] = case.lost_final_reports
    world.servers["a", 443] = server
    hop = preconfigured_hop("a", 443, (owner().server_anchor(),))
    world.sources.append(ListSource("bootstrap-servers", [FoundServers("list", (hop,))]))
    return world


def one_start(world: World, power: Power) -> Outcome | None:
    """One power-on; None if the power went off again."""
    start = world.start(power)
    try:
        return run_once(start.ports, start.facts)
    except PowerCutError:
        return None


def until_it_rests(world: World) -> Outcome:
    """Power on again after each reboot; a device at rest asks for no further one."""
    for _ in range(_STARTS):
        outcome = one_start(world, Power())
        assert outcome is not None
        if outcome.kind is not OutcomeKind.REBOOTING:
            return outcome
    raise AssertionError("the device reboots for ever")


def check_always(disk: Disk, case: Case) -> None:
    """What holds at any moment, also with the power off."""
    assert disk.active.octets in (FACTORY_IMAGE, NEW)
    assert disk.pending is None or disk.pending.octets == NEW
    assert disk.configuration.removesuffix(b"+good").removesuffix(b"+disable") == (
        FACTORY_CONFIGURATION
    )
    if disk.provisioned:
        assert disk.state is not None
        assert disk.state.state is State.PROVISIONED
    if disk.configuration != FACTORY_CONFIGURATION:
        # Whatever is applied is under the eye of a start that will confirm or undo it.
        assert disk.state is not None
        assert disk.state.state in (
            State.APPLYING,
            State.UNDOING,
            State.CONFIRMING,
            State.DISCOVERING,
            State.JUDGED,
            State.PROVISIONED,
        )
    assert disk.installs <= 3
    assert case.healthy or disk.active.octets == FACTORY_IMAGE


def check_end(world: World, case: Case, outcome: Outcome) -> None:
    """Where the device rests."""
    disk = world.disk
    assert disk.state is not None
    assert disk.state.state is case.state
    assert disk.configuration == case.configuration
    assert disk.active.octets == case.image
    assert disk.provisioned is (case.state is State.PROVISIONED)
    if case.reason is not None:
        assert outcome.reason is case.reason
        assert disk.state.checkpoint is None
        assert disk.state.content_sha256 is None
        assert not disk.disabled


def moments_of(case: Case) -> list[str]:
    """The moments of an uncut run, over its reboots."""
    world = world_of(case)
    moments: list[str] = []
    for _ in range(_STARTS):
        power = Power()
        outcome = one_start(world, power)
        assert outcome is not None
        moments += power.moments
        if outcome.kind is not OutcomeKind.REBOOTING:
            check_end(world, case, outcome)
            return moments
    raise AssertionError("the device reboots for ever")


def run_with_cut(case: Case, cut: int, *, signal: bool = False) -> None:
    """Cut at the `cut`-th moment, counted over reboots; then start until the device rests."""
    world = world_of(case)
    passed = 0
    for _ in range(_STARTS):
        power = Power(cut - passed, signal=signal)
        outcome = one_start(world, power)
        check_always(world.disk, case)
        if outcome is None or outcome.kind is OutcomeKind.STOPPED:
            break
        assert len(power.moments) < cut - passed, "a signal was swallowed"
        passed += len(power.moments)
        if outcome.kind is not OutcomeKind.REBOOTING:
            return
    outcome = until_it_rests(world)
    check_always(world.disk, case)
    check_end(world, case, outcome)


@pytest.mark.requirement("SZTP-5.6-15", "SZTP-5.6-16", "SZTP-5.6-09")
@pytest.mark.refuses("SZTP-5.6-05")
@pytest.mark.parametrize("name", CASES)
def test_cut_at_every_single_moment(name: str) -> None:
    case = CASES[name]
    for cut in range(1, len(moments_of(case)) + 1):
        run_with_cut(case, cut)


@pytest.mark.parametrize("name", CASES)
def test_signal_at_every_single_moment(name: str) -> None:
    case = CASES[name]
    for cut in range(1, len(moments_of(case)) + 1):
        run_with_cut(case, cut, signal=True)


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_cut_again_and_again(data: st.DataObject) -> None:
    case = CASES[data.draw(st.sampled_from(sorted(CASES)))]
    world = world_of(case)
    for cut in data.draw(st.lists(st.integers(1, 60), max_size=4)):
        one_start(world, Power(cut))
        check_always(world.disk, case)
        if world.disk.provisioned:
            break
    outcome = until_it_rests(world)
    check_always(world.disk, case)
    check_end(world, case, outcome)


def test_a_reset_cut_at_every_moment_is_finished_or_has_not_begun() -> None:
    case = CASES["success"]
    for level in ResetLevel:
        cut = 0
        while True:
            cut += 1
            world = world_of(case)
            until_it_rests(world)
            world.disk.disabled = True
            start = world.start(Power(cut))
            try:
                reset(start.platform, start.store, world.clock, start.events, level)
            except PowerCutError:
                assert world.disk.state is not None
                if world.disk.state.state is State.WIPING:
                    # With either marker no boot would start the agent to finish the wipe.
                    assert not world.disk.provisioned
                    assert not world.disk.disabled
                world.sources.clear()  # whatever is finished now is finished without a network
                until_it_rests(world)
                untouched = world.disk.configuration == CONFIGURED and world.disk.provisioned
                reset_done = world.disk.configuration == FACTORY_CONFIGURATION
                assert untouched is not reset_done
                assert reset_done is not world.disk.provisioned
            else:
                assert world.disk.state is not None
                assert world.disk.state.state is State.FACTORY
                break
