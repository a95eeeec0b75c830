# SPDX-License-Identifier: Apache-2.0
"""The life of a device under this agent: states, arrows, and the one document that records them.

All transitions live here. An arrow is one durable write of the whole document, made *before* its
effect, so that after a power cut the next boot reads either side of it and knows what to do:

- APPLYING, UNDOING: undo what the journal names, then discover again. No plan, script or
  configuration is kept, so nothing is replayed from disk.
- WIPING: finish the reset that was asked for, weak or deep, before any network use.
- CONFIRMING: undo nothing, discover again; the same content needs only its final report.
- TRIAL_BOOT: if the image we installed runs, discover; else it was rolled back.
- BROKEN: touch nothing; only a reset leads out.

The SZTP switch (RFC 8572, 5.1) is a marker file of its own, not a state: a script or the
configuration may turn it while an attempt is under way.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from xpu_agent.errors import Reason


class State(StrEnum):
    """Where a device stands between factory and provisioned."""

    FACTORY = "factory"
    DISCOVERING = "discovering"
    JUDGED = "judged"
    APPLYING = "applying"
    CONFIRMING = "confirming"
    PROVISIONED = "provisioned"
    TRIAL_BOOT = "trial-boot"
    ROLLED_BACK = "rolled-back"
    WAITING = "waiting"
    UNDOING = "undoing"
    BROKEN = "broken"
    WIPING = "wiping"


_S = State

# Each state with the states an arrow leads to. A state may also be written again unchanged
# (progress inside it). Both resets pass through WIPING, which is repeatable, to FACTORY.
TRANSITIONS: dict[State, frozenset[State]] = {
    _S.FACTORY: frozenset({_S.DISCOVERING, _S.WIPING}),
    _S.DISCOVERING: frozenset({_S.JUDGED, _S.WAITING, _S.WIPING}),
    _S.JUDGED: frozenset(
        {
            _S.APPLYING,
            _S.CONFIRMING,  # nothing to apply, or applied before a cut and only to be confirmed
            _S.UNDOING,  # other content than what a cut left unconfirmed
            _S.DISCOVERING,  # the next server or source, or a new start
            _S.WAITING,
            _S.WIPING,
        }
    ),
    _S.APPLYING: frozenset({_S.CONFIRMING, _S.TRIAL_BOOT, _S.UNDOING, _S.WIPING}),
    _S.CONFIRMING: frozenset(
        {
            _S.PROVISIONED,
            _S.DISCOVERING,  # cut before the final report was acknowledged
            _S.UNDOING,
            _S.WIPING,
        }
    ),
    _S.PROVISIONED: frozenset({_S.WIPING}),
    _S.TRIAL_BOOT: frozenset({_S.DISCOVERING, _S.ROLLED_BACK, _S.WIPING}),
    _S.ROLLED_BACK: frozenset({_S.WAITING, _S.DISCOVERING, _S.WIPING}),
    _S.WAITING: frozenset({_S.DISCOVERING, _S.WIPING}),
    _S.UNDOING: frozenset(
        {
            _S.DISCOVERING,  # the enclosing loop goes on; WAITING comes after its last source
            _S.JUDGED,  # the way is clear for the other content
            _S.BROKEN,
            _S.WIPING,
        }
    ),
    _S.BROKEN: frozenset({_S.WIPING}),
    _S.WIPING: frozenset({_S.FACTORY}),
}


class ResetLevel(StrEnum):
    """How much a reset forgets: weak keeps the owner's trust, deep is for resale."""

    WEAK = "weak"
    DEEP = "deep"


@dataclass(frozen=True, slots=True)
class TrialImage:
    """An image we installed: its digest (hex) and what its onboarding information called it.

    `reached` becomes true once the agent got to DISCOVERING while it ran; an image that never
    got that far is not installed again (AMB-21, `rolled-back`). `boot_id` is that of the boot
    that installed it.
    """

    sha256: str
    os_name: str | None
    os_version: str | None
    reached: bool = False
    boot_id: str | None = None


@dataclass(frozen=True, slots=True)
class AgentState:
    """The durable document. No secrets, no plan, no payload.

    `checkpoint`: the platform's token that leads back to the earlier configuration, while one
    may have to be undone. `content_sha256`: digest (hex) of the onboarding information applied,
    for CONFIRMING. `attempt` counts from 1. `clock_floor`: the last reading taken while the
    clock was accurate. `switch_cleared`: a step of this attempt turned the SZTP switch off, so
    undoing the attempt turns it on again (RFC 8572, 5.6: what is left must not hinder the next).
    """

    state: State = State.FACTORY
    since: datetime | None = None
    attempt: int = 0
    failures: int = 0  # attempts failed in a row; drives the back-off
    method: str = "sztp"
    source: str | None = None
    checkpoint: str | None = None
    step: str | None = None
    content_sha256: str | None = None
    trial: TrialImage | None = None
    wipe_level: ResetLevel | None = None
    refused_images: tuple[str, ...] = ()  # digests (hex) that were rolled back
    clock_floor: datetime | None = None
    last_reason: Reason | None = None
    earlier_refusals: dict[str, int] = field(default_factory=dict)
    switch_cleared: bool = False


def advance(current: AgentState, state: State, *, now: datetime, **changes: object) -> AgentState:
    """The document after one arrow.

    Raises `RuntimeError` for an arrow the table does not have: that is our bug, not the world's.
    """
    if state is not current.state and state not in TRANSITIONS[current.state]:
        raise RuntimeError(f"no arrow from {current.state} to {state}")
    since = current.since if state is current.state else now
    return replace(current, state=state, since=since, **changes)  # type: ignore[arg-type]  # fields by name


class Recovery(StrEnum):
    """What a start owes before anything else, by the state the last run left behind."""

    NONE = "none"
    UNDO = "undo"  # lead the configuration back, then discover
    CONFIRM = "confirm"  # discover; the same content only needs its final report
    TRIAL = "trial"  # see which image runs
    WIPE = "wipe"  # finish the wipe before any network use
    DONE = "done"  # nothing to do
    STOP = "stop"  # touch nothing


RECOVERY: dict[State, Recovery] = {
    _S.FACTORY: Recovery.NONE,
    _S.DISCOVERING: Recovery.NONE,
    _S.JUDGED: Recovery.NONE,
    _S.APPLYING: Recovery.UNDO,
    _S.CONFIRMING: Recovery.CONFIRM,
    _S.PROVISIONED: Recovery.DONE,
    _S.TRIAL_BOOT: Recovery.TRIAL,
    _S.ROLLED_BACK: Recovery.NONE,
    _S.WAITING: Recovery.NONE,
    _S.UNDOING: Recovery.UNDO,
    _S.BROKEN: Recovery.STOP,
    _S.WIPING: Recovery.WIPE,
}
