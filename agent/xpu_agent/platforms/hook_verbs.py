# SPDX-License-Identifier: Apache-2.0
"""Hook verbs that are no platform's: a reset button, a channel of the vendor's, an indicator."""

from pathlib import Path

from xpu_agent import limits
from xpu_agent.errors import ExecutionError, Reason, SourceUnavailableError
from xpu_agent.lifecycle import ResetLevel, State
from xpu_agent.platforms.hook_runner import HookRunner, HookVerdict
from xpu_agent.ports import Event, ImageProgress, ServerContacted, StateChanged

_PERCENT_STEP = 10
_NOTIFIED: dict[State, str] = {
    State.DISCOVERING: "started",
    State.JUDGED: "bootstrapping",
    State.TRIAL_BOOT: "reboot-pending",
    State.PROVISIONED: "onboarded",
    State.WAITING: "failed",
    State.BROKEN: "broken",
}


def reset_requested(runner: HookRunner) -> ResetLevel | None:
    """Whether somebody asks for a reset: a button, the BMC; asked once at start.

    Raises:
        ExecutionError: the hook failed or answered something else. A reset that may have been
            asked for isn't passed over.
    """
    if not runner.provides("reset-requested"):
        return None
    answer = runner.ask("reset-requested", seconds=limits.HOOK_QUESTION_SECONDS)
    if answer.verdict is HookVerdict.NOT_SUPPORTED:
        return None
    level = answer.text("level", 16)
    if answer.verdict is HookVerdict.DONE and level in {"none", "weak", "deep"}:
        return None if level == "none" else ResetLevel(level)
    why = answer.message or "its answer has no level none, weak or deep"
    raise ExecutionError(Reason.PLATFORM_FAILED, f"the hook reset-requested failed: {why}")


def fill_medium(runner: HookRunner, folder: Path) -> bool:
    """Let the hook `source` fill `folder` in the layout of removable media; False if it has none.

    What it brings is as untrusted as a stick somebody found.

    Raises:
        SourceUnavailableError: the hook failed.
    """
    if not runner.provides("source"):
        return False
    answer = runner.ask("source", {"dir": str(folder)})
    if answer.verdict is HookVerdict.NOT_SUPPORTED:
        return False
    if answer.verdict is not HookVerdict.DONE:
        raise SourceUnavailableError(Reason.NO_SOURCE, f"the hook source failed: {answer.message}")
    return True


class HookNotifier:
    """A listener that tells the hook `notify` what changed; it never fails and never lasts.

    The hook is told a state once, and the percentage of an image in steps of ten: it has two
    seconds each time, and the workflow waits for it. One that needed more hears no percentages
    from then on.
    """

    def __init__(self, runner: HookRunner) -> None:
        self._runner = runner
        self._slow = False
        self._last: tuple[str, int | None] | None = None

    def emit(self, event: Event) -> None:
        """Take any event; most mean nothing here."""
        match event:
            case StateChanged(state=document):
                state = _NOTIFIED.get(document.state)
                failed = state in {"failed", "broken"}
                if state is not None:
                    self.notify(state, reason=document.last_reason if failed else None)
            case ServerContacted():
                self.notify("network-up")
            case ImageProgress(done=done, total=total):
                step = None
                if total and not self._slow:
                    step = done * 100 // total // _PERCENT_STEP * _PERCENT_STEP
                self.notify("image-writing", percent=step)
            case _:
                pass

    def notify(self, state: str, *, reason: str | None = None, percent: int | None = None) -> None:
        """Tell one state; nothing if it is the one told last."""
        if (state, percent) == self._last or not self._runner.provides("notify"):
            return
        self._last = (state, percent)
        members: dict[str, object] = {"state": state}
        if reason is not None:
            members["reason"] = str(reason)
        if percent is not None:
            members["percent"] = percent
        answer = self._runner.ask("notify", members, seconds=limits.HOOK_NOTIFY_SECONDS, tries=1)
        self._slow = self._slow or answer.timed_out
