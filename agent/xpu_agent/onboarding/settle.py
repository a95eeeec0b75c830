# SPDX-License-Identifier: Apache-2.0
"""How an attempt is settled: undone, finished, or handed over to a reboot.

Shared by the attempt itself and by the recovery of one that was cut short, so each of these is
safe to repeat, and each durable arrow stands before its effect (see `lifecycle`).
"""

from contextlib import AbstractContextManager

from xpu_agent.errors import ExecutionError, Reason, StoppedError, UndoError, XpuAgentError
from xpu_agent.lifecycle import State
from xpu_agent.onboarding.journal import Journal
from xpu_agent.onboarding.stage import Reporter, RunningStage, stage
from xpu_agent.ports import Note, Outcome, OutcomeKind, Ports
from xpu_agent.progress import Stage


def undo(
    ports: Ports, journal: Journal, reporter: Reporter, *, then: State, **changes: object
) -> None:
    """UNDOING: lead the configuration back to the checkpoint, then write `then`.

    Safe to repeat. `changes` go with the last arrow.

    Raises:
        UndoError: it can't be led back; BROKEN is written.
    """
    journal.advance(State.UNDOING, step=None)
    try:
        with port_stage(ports, reporter, Stage.UNDO):
            lead_back(ports, journal)
    except UndoError:
        journal.advance(State.BROKEN, last_reason=Reason.UNDO_FAILED)
        raise
    journal.advance(then, checkpoint=None, content_sha256=None, switch_cleared=False, **changes)


def lead_back(ports: Ports, journal: Journal) -> None:
    """Undo what the document names. Raises UndoError."""
    checkpoint = journal.state.checkpoint
    if checkpoint is not None:
        try:
            ports.platform.undo(checkpoint)
        except ExecutionError as error:
            raise UndoError(error.message) from error
    if journal.state.switch_cleared:
        ports.store.enable()


def finish(ports: Ports, journal: Journal) -> Outcome:
    """PROVISIONED at once, then what follows from it."""
    journal.forget_refusals()
    journal.advance(
        State.PROVISIONED,
        checkpoint=None,
        content_sha256=None,
        switch_cleared=False,
        failures=0,
        last_reason=None,
    )
    keep_provisioned(ports)
    return Outcome(OutcomeKind.COMPLETED)


def keep_provisioned(ports: Ports) -> None:
    """Mark the running image good, then make the marker; safe to repeat.

    The marker comes last: it keeps the agent from being started at all, so nothing that is still
    owed may stand behind it. An image that can't be marked good gets another chance at the next
    start, where it would be rolled back otherwise.
    """
    try:
        ports.platform.mark_good()
    except ExecutionError as error:
        ports.events.emit(Note("mark-good-failed", error.message, warning=True))
    else:
        ports.store.mark_provisioned()


def reboot(ports: Ports) -> Outcome:
    """Ask for the reboot into the image that was installed; the document says TRIAL_BOOT.

    A platform that can't reboot itself leaves it to whoever reads the exit status.
    """
    try:
        ports.platform.reboot("boot image installed")
    except StoppedError:
        raise
    except XpuAgentError as error:
        ports.events.emit(Note("reboot-failed", error.message, warning=True))
    return Outcome(OutcomeKind.REBOOTING)


def port_stage(
    ports: Ports, reporter: Reporter, name: Stage, detail: str = ""
) -> AbstractContextManager[RunningStage]:
    """A stage with this workflow's listeners, clock and server."""
    return stage(name, events=ports.events, clock=ports.clock, reporter=reporter, detail=detail)
