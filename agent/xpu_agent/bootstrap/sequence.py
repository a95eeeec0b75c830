# SPDX-License-Identifier: Apache-2.0
"""The boot sequence (RFC 8572, 5.2): the switch, the sources in order, again with back-off.

- What an earlier start left behind is settled first (`recovery`).
- The SZTP switch is read anew before each attempt; off means no SZTP traffic of any kind.
- An attempt goes over every source until one bootstraps the device; then no other is consulted.
- There is no end to attempts but success, a reboot, a signal, the switch, a state only a reset
  leads out of, or the time an operator set.
"""

from collections.abc import Callable
from pathlib import Path

from xpu_agent.artifacts.bundle import Artifacts
from xpu_agent.bootstrap.failures import Failures, failed
from xpu_agent.bootstrap.recovery import mark_reached, recover
from xpu_agent.bootstrap.source import Handler, SourceWalk
from xpu_agent.device import DeviceFacts
from xpu_agent.errors import ExecutionError, ExitCode, Reason, TrustError, XpuAgentError, exit_code
from xpu_agent.lifecycle import State
from xpu_agent.onboarding.execute import Bench, execute, initiate
from xpu_agent.onboarding.journal import Journal
from xpu_agent.onboarding.plan import OnboardingPlan, make_plan
from xpu_agent.onboarding.settle import port_stage
from xpu_agent.onboarding.stage import Reporter
from xpu_agent.ports import Note, Outcome, OutcomeKind, Ports, RunEnded, Waiting
from xpu_agent.progress import Stage
from xpu_agent.trust.signed_data import Refusal, TrustedOnboarding

FactsProvider = Callable[[], DeviceFacts]

_ENDS = frozenset(
    {
        OutcomeKind.COMPLETED,
        OutcomeKind.REBOOTING,
        OutcomeKind.NOTHING_TO_DO,
        OutcomeKind.STOPPED,
        OutcomeKind.GAVE_UP,
    }
)
# Another attempt would not change these.
_DEAD_ENDS = frozenset({ExitCode.UNDO_FAILED, ExitCode.INTERNAL})
_WAIT_SLICE_SECONDS = 30.0  # the switch is looked at, and a line shown, this often
_MAX_DOUBLINGS = 16


class SztpMethod:
    """`ports.Method` for RFC 8572: one attempt over all sources."""

    def __init__(self, ports: Ports, journal: Journal) -> None:
        self._ports = ports
        self._journal = journal

    @property
    def name(self) -> str:
        """Stands in state and status."""
        return "sztp"

    def applicable(self, facts: DeviceFacts) -> bool:
        """Every device with a serial number can use it: media need no TLS identity."""
        return bool(facts.serial_number)

    def run(self, facts: DeviceFacts) -> Outcome:
        """One attempt; COMPLETED and REBOOTING end it at once (5.2).

        Raises:
            UndoError, StateError, StoppedError: see `execute`.
        """
        failures = Failures()
        handler = _Onboarder(self._ports, self._journal, facts)
        outcome = _over_all_sources(self._ports, facts, handler, failures)
        return failures.outcome() if outcome is None else outcome


class _Onboarder:
    """`source.Handler` of a run: acts, reports, keeps what was refused."""

    def __init__(self, ports: Ports, journal: Journal, facts: DeviceFacts) -> None:
        self._ports = ports
        self._journal = journal
        self._facts = facts

    def onboard(
        self,
        onboarding: TrustedOnboarding,
        *,
        reporter: Reporter,
        medium: Path | None,
        source: str,
    ) -> Outcome:
        self._journal.advance(State.JUDGED, source=source)
        bench = Bench(self._ports, self._journal, self._facts, reporter, medium)
        try:
            return execute(onboarding, bench)
        except XpuAgentError:
            if self._journal.state.state is State.JUDGED:
                self._journal.advance(State.DISCOVERING)
            raise

    def refuse(
        self, refusal: Refusal, artifacts: Artifacts | None, *, reporter: Reporter, origin: str
    ) -> None:
        """Keep the bundle; tell the server if it is a trusted one (AMB-09)."""
        if artifacts is not None:
            self._ports.store.keep_refused(artifacts, refusal.reason, origin)
        try:
            initiate(self._ports, reporter)
            with port_stage(self._ports, reporter, Stage.PARSING):
                raise TrustError(refusal.reason, refusal.message)  # noqa: TRY301  # the stage reports it
        except (TrustError, ExecutionError):
            pass  # the refusal is on record; a lost report never hides it

    def count(self, reason: Reason) -> None:
        self._journal.count_refusal(reason)


def run_once(ports: Ports, facts: FactsProvider) -> Outcome:
    """One start with at most one attempt. Everything but our own bugs is in the outcome."""
    outcome = _guarded(lambda: _Sequence(ports, facts).once())
    ports.events.emit(RunEnded(outcome))
    return outcome


def run_daemon(
    ports: Ports, facts: FactsProvider, *, give_up_seconds: float | None = None
) -> Outcome:
    """Attempts with back-off until there is an end (5.2 has none by itself).

    After `give_up_seconds` (None: never) the outcome is GAVE_UP with the last failure; neither
    the switch nor any demand on trust changes by that.
    """
    outcome = _guarded(lambda: _Sequence(ports, facts).loop(give_up_seconds))
    ports.events.emit(RunEnded(outcome))
    return outcome


def backoff_seconds(ports: Ports, failures: int) -> float:
    """How long to wait after so many failed attempts in a row: doubling, bounded, with jitter.

    Between half and all of the nominal time, so that a fleet does not come back in step.
    """
    settings = ports.settings
    nominal = settings.backoff_first_seconds * 2.0 ** min(max(failures - 1, 0), _MAX_DOUBLINGS)
    return min(nominal, settings.backoff_max_seconds) * (0.5 + 0.5 * ports.jitter())


def preview(ports: Ports, facts: DeviceFacts) -> tuple[OnboardingPlan | None, Outcome]:
    """Discover and judge like an attempt, and touch nothing: what `plan` shows.

    No report is sent, nothing written; the plan is None where no source led to one.
    """
    previewer = _Previewer(ports, facts)
    failures = Failures()
    try:
        outcome = _over_all_sources(ports, facts, previewer, failures)
    except XpuAgentError as error:
        outcome = failed(error.reason, error.message)
    return previewer.plan, failures.outcome() if outcome is None else outcome


class _Previewer:
    """`source.Handler` of `plan`."""

    def __init__(self, ports: Ports, facts: DeviceFacts) -> None:
        self._ports = ports
        self._facts = facts
        self.plan: OnboardingPlan | None = None

    def onboard(
        self,
        onboarding: TrustedOnboarding,
        *,
        reporter: Reporter,  # noqa: ARG002  # nobody is told
        medium: Path | None,  # noqa: ARG002
        source: str,  # noqa: ARG002
    ) -> Outcome:
        state = self._ports.store.load()
        trial = mark_reached(state.trial, self._ports.platform.facts())
        self.plan = make_plan(onboarding, self._facts.running, state.refused_images, trial)
        return Outcome(OutcomeKind.NOTHING_TO_DO, message="shown, not done")

    def refuse(
        self, refusal: Refusal, artifacts: Artifacts | None, *, reporter: Reporter, origin: str
    ) -> None:
        pass

    def count(self, reason: Reason) -> None:
        pass


class _Sequence:
    """One start of `run` or `daemon`."""

    def __init__(self, ports: Ports, facts: FactsProvider) -> None:
        self._ports = ports
        self._facts = facts
        # An unreadable document: contact nothing, keep it, say so. A pretend device boots first.
        ports.platform.power_on()
        self._journal = Journal(ports.store.load(), ports.store, ports.clock, ports.events)
        self._method = SztpMethod(ports, self._journal)

    def once(self) -> Outcome:
        """Recovery, then one attempt."""
        outcome = recover(self._ports, self._journal)
        return self._attempt() if outcome is None else outcome

    def loop(self, give_up_seconds: float | None) -> Outcome:
        """Recovery, then attempts; the first at once."""
        begin = self._ports.clock.monotonic()
        outcome = recover(self._ports, self._journal)
        while outcome is None or not _is_end(outcome):
            if outcome is not None:
                outcome = self._wait(outcome, begin, give_up_seconds)
                if outcome is not None:
                    break
            outcome = self._attempt()
        return outcome

    def _attempt(self) -> Outcome:
        """The switch, facts, then the method; a failure is written as WAITING."""
        store = self._ports.store
        if store.provisioned():
            return Outcome(OutcomeKind.NOTHING_TO_DO, message="this device is provisioned")
        if not store.switched_on():
            return Outcome(OutcomeKind.NOTHING_TO_DO, message="the SZTP switch is off")
        running = self._ports.platform.facts()
        journal = self._journal
        journal.advance(
            State.DISCOVERING,
            method=self._method.name,
            attempt=journal.state.attempt + 1,
            source=None,
            step=None,
            trial=mark_reached(journal.state.trial, running),
        )
        if running.on_trial:
            self._ports.platform.rearm()
        outcome = self._run_method()
        if outcome.kind not in _ENDS:
            journal.advance(
                State.WAITING, failures=journal.state.failures + 1, last_reason=outcome.reason
            )
        return outcome

    def _run_method(self) -> Outcome:
        """Facts, then one attempt of the method."""
        silent = Reporter.silent(self._ports.events)
        try:
            with port_stage(self._ports, silent, Stage.FACTS):
                facts = self._facts()
        except XpuAgentError as error:
            if exit_code(error.reason) in {ExitCode.STOPPED, *_DEAD_ENDS}:
                raise
            return failed(error.reason, error.message)
        return self._method.run(facts)

    def _wait(
        self, outcome: Outcome, begin: float, give_up_seconds: float | None
    ) -> Outcome | None:
        """Let the back-off pass; an outcome where it is the end."""
        clock = self._ports.clock
        until = clock.monotonic() + backoff_seconds(self._ports, self._journal.state.failures)
        last = None if give_up_seconds is None else begin + give_up_seconds
        while True:
            now = clock.monotonic()
            if last is not None and now >= last:
                self._ports.events.emit(
                    Note("gave-up", "the time for bootstrapping is over", warning=True)
                )
                return Outcome(OutcomeKind.GAVE_UP, outcome.reason, outcome.message)
            if not self._ports.store.switched_on():
                return Outcome(OutcomeKind.NOTHING_TO_DO, message="the SZTP switch is off")
            left = until - now
            if left <= 0:
                return None
            self._ports.events.emit(Waiting(left, outcome.reason, outcome.message or ""))
            share = min(left, _WAIT_SLICE_SECONDS)
            clock.wait(share if last is None else min(share, last - now))


def _over_all_sources(
    ports: Ports, facts: DeviceFacts, handler: Handler, failures: Failures
) -> Outcome | None:
    """Each source in its order, until one leads to an outcome (5.2)."""
    deadline = ports.clock.monotonic() + ports.settings.attempt_seconds
    for source in ports.sources:
        ports.clock.check_stopped()
        if ports.clock.monotonic() >= deadline:
            failures.record(Reason.TIMEOUT, "the time for one attempt is over")
            return None
        outcome = SourceWalk(ports, facts, handler, failures, deadline).run(source)
        if outcome is not None:
            return outcome
    return None


def _is_end(outcome: Outcome) -> bool:
    """Whether no further attempt follows."""
    if outcome.kind in _ENDS:
        return True
    return outcome.reason is not None and exit_code(outcome.reason) in _DEAD_ENDS


def _guarded(run: Callable[[], Outcome]) -> Outcome:
    """What ends a run as a whole, as an outcome: signal, state, undo, an unfinished wipe."""
    try:
        return run()
    except XpuAgentError as error:
        return failed(error.reason, error.message)
