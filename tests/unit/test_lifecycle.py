# SPDX-License-Identifier: Apache-2.0
"""The table of states: complete, connected, with a recovery for each."""

from datetime import UTC, datetime, timedelta

import pytest

from xpu_agent.lifecycle import (
    RECOVERY,
    TRANSITIONS,
    AgentState,
    Recovery,
    State,
    advance,
)

NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)


def test_every_state_has_arrows_and_a_recovery() -> None:
    assert set(TRANSITIONS) == set(State)
    assert set(RECOVERY) == set(State)


def test_every_state_is_reachable_from_factory() -> None:
    reached = {State.FACTORY}
    frontier = [State.FACTORY]
    while frontier:
        for state in TRANSITIONS[frontier.pop()] - reached:
            reached.add(state)
            frontier.append(state)
    assert reached == set(State)


def test_a_reset_leads_out_of_every_state_and_only_through_wiping() -> None:
    for state in set(State) - {State.WIPING}:
        assert State.WIPING in TRANSITIONS[state]
        assert State.FACTORY not in TRANSITIONS[state]
    assert TRANSITIONS[State.WIPING] == {State.FACTORY}


def test_broken_and_provisioned_have_no_other_way_out() -> None:
    assert TRANSITIONS[State.BROKEN] == {State.WIPING}
    assert TRANSITIONS[State.PROVISIONED] == {State.WIPING}


def test_the_chain_of_a_good_attempt_stands_in_the_table() -> None:
    chain = [
        State.FACTORY,
        State.DISCOVERING,
        State.JUDGED,
        State.APPLYING,
        State.CONFIRMING,
        State.PROVISIONED,
    ]
    document = AgentState()
    for state in chain[1:]:
        document = advance(document, state, now=NOW)
    assert document.state is State.PROVISIONED


def test_provisioned_comes_only_from_confirming() -> None:
    assert [s for s in State if State.PROVISIONED in TRANSITIONS[s]] == [State.CONFIRMING]


def test_only_applying_leads_to_a_trial_boot_and_only_undoing_to_broken() -> None:
    assert [s for s in State if State.TRIAL_BOOT in TRANSITIONS[s]] == [State.APPLYING]
    assert [s for s in State if State.BROKEN in TRANSITIONS[s]] == [State.UNDOING]


def test_whatever_may_leave_something_applied_is_undone_or_confirmed() -> None:
    assert RECOVERY[State.APPLYING] is Recovery.UNDO
    assert RECOVERY[State.UNDOING] is Recovery.UNDO
    assert RECOVERY[State.CONFIRMING] is Recovery.CONFIRM
    assert RECOVERY[State.TRIAL_BOOT] is Recovery.TRIAL
    assert RECOVERY[State.WIPING] is Recovery.WIPE
    assert RECOVERY[State.BROKEN] is Recovery.STOP
    assert RECOVERY[State.PROVISIONED] is Recovery.DONE


def test_after_recovery_a_new_start_can_discover() -> None:
    for state, recovery in RECOVERY.items():
        match recovery:
            case Recovery.NONE | Recovery.CONFIRM | Recovery.TRIAL:
                assert state is State.DISCOVERING or State.DISCOVERING in TRANSITIONS[state]
            case Recovery.UNDO:
                assert state is State.UNDOING or State.UNDOING in TRANSITIONS[state]
                assert State.DISCOVERING in TRANSITIONS[State.UNDOING]
            case Recovery.WIPE | Recovery.DONE | Recovery.STOP:
                pass


def test_an_arrow_the_table_lacks_is_our_bug() -> None:
    with pytest.raises(RuntimeError, match="no arrow from factory to provisioned"):
        advance(AgentState(), State.PROVISIONED, now=NOW)


def test_progress_inside_a_state_keeps_its_beginning() -> None:
    document = advance(AgentState(), State.DISCOVERING, now=NOW)
    later = advance(document, State.DISCOVERING, now=NOW + timedelta(hours=1), source="dhcp")
    assert later.since == NOW
    assert later.source == "dhcp"


def test_a_new_state_begins_now() -> None:
    document = advance(AgentState(), State.DISCOVERING, now=NOW)
    later = advance(document, State.WAITING, now=NOW + timedelta(hours=1))
    assert later.since == NOW + timedelta(hours=1)
