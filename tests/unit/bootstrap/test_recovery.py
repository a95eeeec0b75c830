# SPDX-License-Identifier: Apache-2.0
"""What a start settles before anything else, and the resets."""

from dataclasses import replace

import pytest
from tests.fakes import FACTORY_CONFIGURATION, NOW, Slot, Start, World

from xpu_agent.bootstrap.recovery import mark_reached, recover, reset, trial_runs
from xpu_agent.bootstrap.sequence import run_once
from xpu_agent.errors import Reason, UndoError
from xpu_agent.lifecycle import AgentState, ResetLevel, State, TrialImage
from xpu_agent.onboarding.journal import Journal
from xpu_agent.ports import Note, Outcome, OutcomeKind, PlatformFacts, WorkflowSettings

NEW = Slot(b"new image", "xpu-os", "2.0")
TRIAL = TrialImage(NEW.sha256.hex(), "xpu-os", "2.0")


def left_behind(state: AgentState) -> World:
    world = World()
    world.disk.state = state
    return world


def recovered(world: World) -> tuple[Outcome | None, Start]:
    start = world.start()
    start.platform.power_on()
    journal = Journal(start.store.load(), start.store, world.clock, start.events)
    return recover(start.ports, journal), start


@pytest.mark.parametrize("state", [State.APPLYING, State.UNDOING])
@pytest.mark.requirement("SZTP-5.6-15")
def test_an_unfinished_attempt_is_undone(state: State) -> None:
    world = left_behind(AgentState(state=state, checkpoint="checkpoint-1"))
    world.disk.checkpoint, world.disk.configuration = b"before", b"half"
    outcome, start = recovered(world)
    assert outcome is None
    assert world.disk.configuration == b"before"
    assert [s.state for s in start.store.saved] == [State.UNDOING, State.DISCOVERING]
    assert start.store.load().checkpoint is None


def test_an_unfinished_attempt_is_undone_even_where_it_turned_the_switch_off() -> None:
    world = left_behind(
        AgentState(state=State.APPLYING, checkpoint="checkpoint-1", switch_cleared=True)
    )
    world.disk.checkpoint, world.disk.configuration = b"before", b"half"
    world.disk.disabled = True
    run_once(world.start().ports, world.start().facts)
    assert world.disk.configuration == b"before"
    assert not world.disk.disabled


def test_undoing_that_fails_is_broken_and_touches_nothing_any_more() -> None:
    world = left_behind(AgentState(state=State.APPLYING, checkpoint="checkpoint-1"))
    with pytest.raises(UndoError):
        recovered(world)
    assert world.disk.state is not None
    assert world.disk.state.state is State.BROKEN
    start = world.start()
    outcome = run_once(start.ports, start.facts)
    assert (outcome.kind, outcome.reason) == (OutcomeKind.FAILED, Reason.UNDO_FAILED)
    assert start.power.moments == []


def test_a_provisioned_device_has_nothing_to_do_but_what_a_cut_left() -> None:
    world = left_behind(AgentState(state=State.PROVISIONED))
    outcome, _ = recovered(world)
    assert outcome is not None
    assert outcome.kind is OutcomeKind.NOTHING_TO_DO
    assert world.disk.provisioned
    _, start = recovered(world)
    assert start.power.moments == []


def test_confirming_is_left_as_it_is_for_the_same_content() -> None:
    world = left_behind(AgentState(state=State.CONFIRMING, checkpoint="checkpoint-1"))
    world.disk.configuration = b"new"
    outcome, start = recovered(world)
    assert outcome is None
    assert start.power.moments == []
    assert world.disk.configuration == b"new"


def test_content_that_turned_the_switch_off_is_done_where_only_its_report_was_lost() -> None:
    world = left_behind(AgentState(state=State.CONFIRMING, switch_cleared=True))
    world.disk.disabled = True
    outcome, start = recovered(world)
    assert outcome is not None
    assert outcome.kind is OutcomeKind.COMPLETED
    assert world.disk.provisioned
    assert start.connector.contacts == []


def test_a_switch_somebody_else_turned_off_leaves_the_confirmation_open() -> None:
    world = left_behind(AgentState(state=State.CONFIRMING))
    world.disk.disabled = True
    start = world.start()
    assert run_once(start.ports, start.facts).kind is OutcomeKind.NOTHING_TO_DO
    assert start.power.moments == []
    assert not world.disk.provisioned


def test_a_switch_turned_off_in_a_step_that_was_cut_goes_on_again() -> None:
    world = left_behind(AgentState(state=State.APPLYING, step="post-script"))
    world.disk.disabled = True
    recovered(world)
    assert not world.disk.disabled


# --- images ----------------------------------------------------------------------------------


def test_the_image_on_trial_runs() -> None:
    world = left_behind(AgentState(state=State.TRIAL_BOOT, trial=TRIAL))
    world.disk.pending, world.disk.attempts_left = NEW, 3
    outcome, start = recovered(world)
    assert outcome is None
    assert start.power.moments == []


def test_an_image_that_did_not_come_up_is_remembered() -> None:
    world = left_behind(AgentState(state=State.TRIAL_BOOT, trial=TRIAL))
    outcome, start = recovered(world)
    assert outcome is None
    state = start.store.load()
    assert state.state is State.ROLLED_BACK
    assert state.refused_images == (TRIAL.sha256,)
    assert state.last_reason is Reason.ROLLED_BACK
    assert [note.event for note in start.events.of(Note)] == ["image-rolled-back"]


def test_a_reboot_that_has_not_happened_yet_is_asked_for_again() -> None:
    world = left_behind(AgentState(state=State.TRIAL_BOOT, trial=replace(TRIAL, boot_id="boot-1")))
    start = world.start()
    start.platform.boots_at_power_on = False
    start.platform.boot_id = "boot-1"
    outcome = run_once(start.ports, start.facts)
    assert outcome.kind is OutcomeKind.REBOOTING
    assert start.platform.reboots == 1
    assert start.store.load().refused_images == ()
    start.platform.boot_id = "boot-2"
    run_once(start.ports, start.facts)
    assert start.store.load().refused_images == (TRIAL.sha256,)


def test_a_cut_before_the_image_became_bootable_lets_it_be_tried_again() -> None:
    world = left_behind(AgentState(state=State.APPLYING, trial=TRIAL))
    _, start = recovered(world)
    assert start.store.load().trial is None
    assert start.store.load().refused_images == ()


def test_a_cut_after_the_image_became_bootable_keeps_it() -> None:
    world = left_behind(AgentState(state=State.APPLYING, trial=TRIAL))
    world.disk.pending, world.disk.attempts_left = NEW, 3
    _, start = recovered(world)
    assert start.store.load().trial == TRIAL


FACTS = PlatformFacts("SN1", None, "xpu-os", "1.0", None, on_trial=False)


@pytest.mark.parametrize(
    ("trial", "facts", "runs"),
    [
        (TRIAL, replace(FACTS, image_sha256=NEW.sha256), True),
        (TRIAL, replace(FACTS, image_sha256=bytes(32), on_trial=True, os_version="2.0"), False),
        (TRIAL, replace(FACTS, on_trial=True), True),
        (TRIAL, replace(FACTS, os_version="2.0"), True),
        (TRIAL, FACTS, False),
        (replace(TRIAL, os_name=None, os_version=None), FACTS, False),
        (replace(TRIAL, os_name=None), replace(FACTS, os_version="2.0"), True),
    ],
)
def test_what_runs_is_known_by_digest_then_trial_then_names(
    trial: TrialImage, facts: PlatformFacts, *, runs: bool
) -> None:
    assert trial_runs(trial, facts) is runs
    reached = mark_reached(trial, facts)
    assert reached is not None
    assert reached.reached is runs


# --- resets ----------------------------------------------------------------------------------

USED = AgentState(
    state=State.PROVISIONED,
    attempt=7,
    failures=2,
    checkpoint="checkpoint-1",
    content_sha256="00",
    trial=TRIAL,
    refused_images=("00",),
    last_reason=Reason.TIMEOUT,
    clock_floor=NOW,
    earlier_refusals={"voucher-expired": 3},
)


def test_a_reset_leads_to_factory_and_lets_onboarding_begin_again() -> None:
    world = left_behind(USED)
    world.disk.provisioned, world.disk.disabled = True, True
    world.disk.configuration = b"owner's"
    start = world.start()
    reset(start.platform, start.store, world.clock, start.events, ResetLevel.WEAK)
    assert world.disk.state == AgentState(since=NOW, clock_floor=NOW)
    assert world.disk.configuration == FACTORY_CONFIGURATION
    assert not world.disk.provisioned
    assert not world.disk.disabled
    assert world.disk.wiped == [ResetLevel.WEAK]
    assert world.disk.forgotten == [ResetLevel.WEAK]


@pytest.mark.parametrize("state", list(State))
def test_a_reset_leads_out_of_every_state(state: State) -> None:
    world = left_behind(AgentState(state=state))
    start = world.start()
    reset(start.platform, start.store, world.clock, start.events, ResetLevel.DEEP)
    assert start.store.load().state is State.FACTORY


def test_a_reset_leads_out_of_an_unreadable_document() -> None:
    world = World()
    world.disk.corrupt = True
    start = world.start()
    outcome = run_once(start.ports, start.facts)
    assert (outcome.kind, outcome.reason) == (OutcomeKind.FAILED, Reason.STATE_CORRUPT)
    assert start.power.moments == []
    reset(start.platform, start.store, world.clock, start.events, ResetLevel.WEAK)
    assert start.store.load().state is State.FACTORY


def test_a_wipe_that_was_cut_is_finished_before_anything_else() -> None:
    world = left_behind(replace(USED, state=State.WIPING, wipe_level=ResetLevel.DEEP))
    world.disk.configuration = b"owner's"
    outcome, start = recovered(world)
    assert outcome is None
    assert world.disk.wiped == [ResetLevel.DEEP]
    assert world.disk.configuration == FACTORY_CONFIGURATION
    assert start.store.load().state is State.FACTORY


def test_a_deep_reset_under_way_is_not_made_a_weak_one() -> None:
    world = left_behind(AgentState(state=State.WIPING, wipe_level=ResetLevel.DEEP))
    start = world.start()
    reset(start.platform, start.store, world.clock, start.events, ResetLevel.WEAK)
    assert world.disk.wiped == [ResetLevel.DEEP]


def test_recovery_needs_no_network() -> None:
    world = left_behind(AgentState(state=State.APPLYING, checkpoint="checkpoint-1"))
    world.disk.checkpoint, world.disk.configuration = b"before", b"half"
    world.disk.disabled = True
    world.settings = WorkflowSettings()
    start = world.start()
    outcome = run_once(start.ports, start.facts)
    assert outcome.kind is OutcomeKind.NOTHING_TO_DO
    assert world.disk.configuration == b"before"
    assert start.connector.contacts == []
