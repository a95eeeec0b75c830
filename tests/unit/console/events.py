# SPDX-License-Identifier: Apache-2.0
"""Courses of events for the views, and a clock that a test moves."""

from xpu_agent.errors import Reason
from xpu_agent.lifecycle import AgentState, State
from xpu_agent.ports import (
    Event,
    ImageProgress,
    Judged,
    Note,
    Outcome,
    OutcomeKind,
    RedirectFollowed,
    ReportSent,
    RunEnded,
    ServerContacted,
    SourceTried,
    StageFinished,
    StageStarted,
    StateChanged,
    Waiting,
)
from xpu_agent.progress import ProgressType, Stage, StageResult
from xpu_agent.trust.signed_data import CheckedStep, Step, StepResult

MIB = 1024 * 1024
SKIPPED = {Step.DECRYPT, Step.VOUCHER_NONCE}
CHECKS = tuple(
    CheckedStep(step, StepResult.SKIPPED if step in SKIPPED else StepResult.OK) for step in Step
)
EXPIRED = (
    CheckedStep(Step.VOUCHER_SIGNATURE, StepResult.OK),
    CheckedStep(Step.VOUCHER_DATES, StepResult.FAILED, Reason.VOUCHER_EXPIRED),
)

# Two of each kind: every event a view can meet.
EVERY: tuple[Event, ...] = (
    StateChanged(AgentState(state=State.DISCOVERING, attempt=2)),
    SourceTried("dhcp", "eth0"),
    SourceTried("dhcp", "eth0", Reason.NO_SOURCE, "nobody answered"),
    ServerContacted("a.example", 443, "192.0.2.1", trusted=True, depth=0),
    ServerContacted("2001:db8::1", 443, "2001:db8::1", trusted=False, depth=1),
    RedirectFollowed(1, trusted=True, depth=1),
    RedirectFollowed(3, trusted=False, depth=2),
    Judged(CHECKS, "trusted-onboarding"),
    Judged(EXPIRED, "refused", Reason.VOUCHER_EXPIRED, "expired on 2020-01-01"),
    ImageProgress(0, None),
    ImageProgress(5 * MIB, 10 * MIB),
    ImageProgress(5 * MIB, 0),
    ReportSent(ProgressType.BOOTSTRAP_INITIATED, acknowledged=True),
    ReportSent(ProgressType.BOOTSTRAP_COMPLETE, acknowledged=False),
    Waiting(4.0, Reason.TIMEOUT, "late"),
    Waiting(4.0, None, ""),
    Note("quiet", "nothing"),
    Note("image-uri-failed", "gone", warning=True),
    *(StageStarted(stage, "detail") for stage in Stage),
    *(StageFinished(stage, StageResult.COMPLETE, 1.0) for stage in Stage),
    StageFinished(Stage.UNDO, StageResult.WARNING, 1.0, None, "odd"),
    StageFinished(Stage.UNDO, StageResult.ERROR, 1.0, Reason.UNDO_FAILED, "broken"),
    *(RunEnded(Outcome(kind, None, "done")) for kind in OutcomeKind),
    *(RunEnded(Outcome(kind, Reason.TIMEOUT, "late")) for kind in OutcomeKind),
)


class Ticks:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now
