# SPDX-License-Identifier: Apache-2.0
"""What a start owes before anything else, and the two resets (see `lifecycle.RECOVERY`).

Everything here is local: no network is used before it is done, and it is done even where the
SZTP switch is off, since half a configuration must not stay active.
"""

from dataclasses import replace
from typing import assert_never

from xpu_agent.errors import Reason, StateError
from xpu_agent.lifecycle import RECOVERY, AgentState, Recovery, ResetLevel, State, TrialImage
from xpu_agent.onboarding.journal import Journal
from xpu_agent.onboarding.settle import finish, keep_provisioned, reboot, undo
from xpu_agent.onboarding.stage import Reporter
from xpu_agent.ports import (
    Clock,
    Events,
    Note,
    Outcome,
    OutcomeKind,
    Platform,
    PlatformFacts,
    Ports,
    StateStore,
)

_REFUSED_IMAGES = 16  # remembered; an older one may be tried again


def recover(ports: Ports, journal: Journal) -> Outcome | None:
    """Bring the device where a new attempt may begin; an outcome where none may.

    Raises:
        UndoError: what a cut left behind can't be undone; the state is BROKEN.
        ExecutionError: a wipe can't be finished; the state stays WIPING.
        StateError: the document can't be written.
    """
    recovery = RECOVERY[journal.state.state]
    match recovery:
        case Recovery.NONE:
            return None
        case Recovery.CONFIRM:
            return _after_lost_confirmation(ports, journal)
        case Recovery.DONE:
            if not ports.store.provisioned():
                keep_provisioned(ports)
            return Outcome(OutcomeKind.NOTHING_TO_DO, message="this device is provisioned")
        case Recovery.STOP:
            return Outcome(
                OutcomeKind.FAILED,
                Reason.UNDO_FAILED,
                "an earlier attempt could not be undone; nothing is touched before a reset",
            )
        case Recovery.WIPE:
            _finish_wipe(ports.platform, ports.store, journal)
            return None
        case Recovery.UNDO:
            if journal.state.step is not None and not ports.store.switched_on():
                # The attempt began with the switch on; the step that was cut turned it off.
                journal.progress(switch_cleared=True)
            trial = journal.state.trial
            if trial is not None and not trial.reached:
                # Cut around the moment the image became bootable. If it does not run now, it
                # either never did or was rolled back: it gets another chance, since only a
                # second cut in that same moment could hide a rollback again.
                trial = trial if trial_runs(trial, ports.platform.facts()) else None
            undo(ports, journal, Reporter.silent(ports.events), then=State.DISCOVERING, trial=trial)
            return None
        case Recovery.TRIAL:
            return _after_trial_boot(ports, journal)
        case _:
            assert_never(recovery)


def trial_runs(trial: TrialImage, facts: PlatformFacts) -> bool:
    """Whether the image we installed is the one that runs.

    Its digest decides where the platform knows it, else whether the platform is on trial, else
    the names it was installed for. A platform that knows none of these can't prove it: no.
    """
    if facts.image_sha256 is not None:
        return facts.image_sha256.hex() == trial.sha256
    if facts.on_trial:
        return True
    if trial.os_name is None and trial.os_version is None:
        return False
    return trial.os_name in (None, facts.os_name) and trial.os_version in (None, facts.os_version)


def mark_reached(trial: TrialImage | None, facts: PlatformFacts) -> TrialImage | None:
    """The trial with `reached` set, if its image is the one that brought us here."""
    if trial is None or trial.reached or not trial_runs(trial, facts):
        return trial
    return replace(trial, reached=True)


def reset(
    platform: Platform, store: StateStore, clock: Clock, events: Events, level: ResetLevel
) -> None:
    """The weak or the deep reset, to FACTORY; repeatable, and finished by the next start if cut.

    Leads out of every state, an unreadable document included. A deep reset under way is not
    made a weak one.

    Raises:
        ExecutionError: the platform can't remove something; the state stays WIPING.
        StateError: the document can't be written.
    """
    try:
        state = store.load()
    except StateError as error:
        events.emit(Note("state-discarded", error.message, warning=True))
        state = AgentState()
    if state.state is State.WIPING and state.wipe_level is ResetLevel.DEEP:
        level = ResetLevel.DEEP
    journal = Journal(state, store, clock, events)
    # The markers go before the arrow: with one of them in place no boot starts the agent, and a
    # wipe that was cut would not be finished. Without the arrow nothing has been reset yet.
    store.clear_provisioned()
    store.enable()
    journal.advance(State.WIPING, wipe_level=level)
    _finish_wipe(platform, store, journal)


def _finish_wipe(platform: Platform, store: StateStore, journal: Journal) -> None:
    """The wipe the document names, from its beginning, then FACTORY."""
    level = journal.state.wipe_level or ResetLevel.DEEP
    platform.wipe(level)
    store.forget(level)
    store.clear_provisioned()
    store.enable()
    journal.forget_refusals()
    fresh = AgentState()
    journal.advance(
        State.FACTORY,
        attempt=fresh.attempt,
        failures=fresh.failures,
        source=None,
        checkpoint=None,
        step=None,
        content_sha256=None,
        trial=None,
        wipe_level=None,
        refused_images=(),
        last_reason=None,
        switch_cleared=False,
    )


def _after_lost_confirmation(ports: Ports, journal: Journal) -> Outcome | None:
    """Everything was applied, the final report was not acknowledged.

    With the switch on, the next discovery brings the same content and only its report is due.
    Where the content itself turned the switch off, this is a normal boot with no SZTP traffic
    (5.2): no report can be due any more, and the image must not be rolled back for the lack of
    one.
    """
    if journal.state.switch_cleared and not ports.store.switched_on():
        ports.events.emit(
            Note(
                "final-report-lost",
                "everything is applied and the SZTP switch is off, so no report follows",
                warning=True,
            )
        )
        return finish(ports, journal)
    return None


def _after_trial_boot(ports: Ports, journal: Journal) -> Outcome | None:
    """The image we installed runs, was rolled back, or was not booted yet."""
    trial = journal.state.trial
    facts = ports.platform.facts()
    if trial is None:
        # Can't be: TRIAL_BOOT is written with one. Go on; the plan sees what runs.
        return None
    if trial_runs(trial, facts):
        return None
    if trial.boot_id is not None and trial.boot_id == facts.boot_id:
        return reboot(ports)
    refused = tuple(digest for digest in journal.state.refused_images if digest != trial.sha256)
    journal.advance(
        State.ROLLED_BACK,
        refused_images=(*refused, trial.sha256)[-_REFUSED_IMAGES:],
        last_reason=Reason.ROLLED_BACK,
    )
    ports.events.emit(
        Note("image-rolled-back", f"the image sha-256 {trial.sha256} did not come up", warning=True)
    )
    return None
