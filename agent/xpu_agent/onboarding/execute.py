# SPDX-License-Identifier: Apache-2.0
"""Carry out trusted onboarding information (RFC 8572, 5.6).

The order of effects, each durable arrow (see `lifecycle`) before what it announces:

1. `bootstrap-initiated`, which needs its 204, to a trusted server.
2. `parsing-...`; the document was parsed and judged as a whole before anything is done.
3. What a power cut left unconfirmed: the same content needs its final report only; other content
   is undone first.
4. The steps of the plan in APPLYING. An image ends the attempt with TRIAL_BOOT and a reboot.
5. CONFIRMING: `bootstrap-warning` if the SZTP switch is still on, `bootstrap-complete`, which
   needs its 204. PROVISIONED is written at once, then the running image is marked good.

Any failure: the error report of its stage, UNDOING, and the failure goes on to the caller, which
continues its enclosing loop. Scripts are not undone. Undoing fails: BROKEN.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

from xpu_agent.device import DeviceFacts
from xpu_agent.errors import (
    ExecutionError,
    Reason,
    StateError,
    StoppedError,
    UndoError,
    XpuAgentError,
)
from xpu_agent.lifecycle import State, TrialImage
from xpu_agent.onboarding.journal import Journal
from xpu_agent.onboarding.plan import (
    ApplyConfiguration,
    InstallImage,
    KeepImage,
    PlanStep,
    RefuseImage,
    RunScript,
    make_plan,
    usable_digest,
)
from xpu_agent.onboarding.settle import finish, lead_back, port_stage, reboot, undo
from xpu_agent.onboarding.stage import NOT_ACKNOWLEDGED, Reporter, RunningStage, failure_message
from xpu_agent.ports import (
    Downloaded,
    ExpectedImage,
    ImageSink,
    Note,
    Outcome,
    Ports,
    ScriptResult,
    ScriptStage,
    ScriptVerdict,
    StageFinished,
    StageStarted,
    VerifiedImage,
)
from xpu_agent.progress import ProgressReport, ProgressType, Stage, StageResult
from xpu_agent.trust.signed_data import TrustedOnboarding

_RETRY_FIRST_SECONDS = 1.0
_RETRY_MAX_SECONDS = 10.0

# Of several URIs that fail differently the worst is told: a wrong image outranks a missing one.
_DOWNLOAD_SEVERITY = (
    Reason.IMAGE_HASH_MISMATCH,
    Reason.SLOT_UNAVAILABLE,
    Reason.DISK_FULL,
    Reason.IMAGE_UNREACHABLE,
)

_STAGES: dict[ScriptStage, tuple[Stage, Reason]] = {
    ScriptStage.PRE: (Stage.PRE_SCRIPT, Reason.PRE_SCRIPT_FAILED),
    ScriptStage.POST: (Stage.POST_SCRIPT, Reason.POST_SCRIPT_FAILED),
}


@dataclass(frozen=True, slots=True)
class Bench:
    """Everything one execution works with.

    `medium` is the root `file:` URIs are relative to, None where the data came from elsewhere.
    """

    ports: Ports
    journal: Journal
    facts: DeviceFacts
    reporter: Reporter
    medium: Path | None = None


def verify_image(downloaded: Downloaded, expected: ExpectedImage) -> VerifiedImage:
    """Compare digests; the only maker of `VerifiedImage` (5.6: download, *verify*, install).

    Raises:
        ExecutionError: `image-hash-mismatch`.
    """
    if downloaded.sha256 != expected.sha256:
        raise ExecutionError(
            Reason.IMAGE_HASH_MISMATCH,
            f"the image has sha-256 {downloaded.sha256.hex()}, asked for is"
            f" {expected.sha256.hex()}",
        )
    return VerifiedImage(expected, downloaded.size)


def initiate(ports: Ports, reporter: Reporter) -> None:
    """Send `bootstrap-initiated`, before parsing; without a 204 nothing is done (5.6).

    Raises:
        ExecutionError: `initial-report-failed`, after trying `bootstrap-error`.
    """
    if not reporter.due:
        return
    ports.events.emit(StageStarted(Stage.BOOTSTRAP))
    begin = ports.clock.monotonic()
    try:
        reporter.send_acknowledged(ProgressReport(ProgressType.BOOTSTRAP_INITIATED))
    except NOT_ACKNOWLEDGED as error:
        failure = ExecutionError(
            Reason.INITIAL_REPORT_FAILED,
            f"bootstrap-initiated was not acknowledged: {error.message}",
        )
        reporter.send(ProgressType.BOOTSTRAP_ERROR, failure_message(failure))
        ports.events.emit(
            StageFinished(
                Stage.BOOTSTRAP,
                StageResult.ERROR,
                ports.clock.monotonic() - begin,
                failure.reason,
                failure.message,
            )
        )
        raise failure from error
    ports.events.emit(
        StageFinished(Stage.BOOTSTRAP, StageResult.COMPLETE, ports.clock.monotonic() - begin)
    )


def execute(onboarding: TrustedOnboarding, bench: Bench) -> Outcome:
    """Act on the information: COMPLETED, or REBOOTING for an image. The document says JUDGED.

    Raises:
        ExecutionError: a step failed; it is undone and the enclosing loop may go on.
        UndoError: undoing failed; the state is BROKEN.
        StateError: the document can't be written; what was applied is led back all the same.
        StoppedError: by a signal; the next start recovers from the document.
    """
    return _Execution(onboarding, bench).run()


class _Execution:
    """One run of `execute`."""

    def __init__(self, onboarding: TrustedOnboarding, bench: Bench) -> None:
        self._onboarding = onboarding
        self._bench = bench
        self._ports = bench.ports
        self._journal = bench.journal
        self._reporter = bench.reporter
        self._digest = onboarding.evidence.sha256.hex()

    def run(self) -> Outcome:
        """See `execute`."""
        journal = self._journal
        initiate(self._ports, self._reporter)
        with self._stage(Stage.PARSING) as parsing:
            for warning in self._onboarding.evidence.warnings:
                parsing.warn(warning)
            if not self._ports.clock.read().accurate:
                parsing.warn(
                    "the clock is not accurate, no date was judged", Reason.CLOCK_UNTRUSTED
                )
        self._summarize_refusals()
        plan = make_plan(
            self._onboarding,
            self._bench.facts.running,
            journal.state.refused_images,
            journal.state.trial,
        )
        if journal.state.content_sha256 is not None:
            if journal.state.content_sha256 == self._digest and plan.image_settled:
                self._note("confirming-resumed", "this content is applied, its report is missing")
                return self._confirm_or_undo()
            self._note("content-changed", "undoing other content that was never confirmed")
            undo(self._ports, journal, self._reporter, then=State.JUDGED)
        try:
            for step in plan.steps:
                self._ports.clock.check_stopped()
                outcome = self._carry_out(step)
                if outcome is not None:
                    return outcome
        except XpuAgentError as error:
            self._undo_after(error)
            raise
        return self._confirm_or_undo()

    # --- steps -------------------------------------------------------------------------------

    def _carry_out(self, step: PlanStep) -> Outcome | None:
        """One step in APPLYING; an outcome where the attempt ends with it."""
        match step:
            case KeepImage():
                self._tell_wanted_image()
                self._applying(Stage.BOOT_IMAGE)
                with self._stage(Stage.BOOT_IMAGE, step.why):
                    return None
            case RefuseImage():
                self._tell_wanted_image()
                self._applying(Stage.BOOT_IMAGE)
                with self._stage(Stage.BOOT_IMAGE):
                    raise ExecutionError(step.reason, step.message)
            case InstallImage():
                self._tell_wanted_image()
                return self._install(step)
            case RunScript():
                self._run_script(step)
                return None
            case ApplyConfiguration():
                self._configure(step)
                return None
            case _:
                assert_never(step)

    def _install(self, step: InstallImage) -> Outcome:
        """Download, verify, install, reboot, in that order (5.6)."""
        self._applying(Stage.BOOT_IMAGE)
        expected = step.expected
        with self._stage(Stage.BOOT_IMAGE, step.mismatch) as running:
            self._reporter.send(
                ProgressType.BOOT_IMAGE_MISMATCH, f"{Reason.IMAGE_MISMATCH}: {step.mismatch}"
            )
            sink = self._ports.platform.image_sink(expected)
            try:
                image = self._download(step, sink)
                # Written before the image becomes bootable: a cut right after `commit` then
                # finds out what it is that boots.
                before = self._journal.state.trial
                trial = TrialImage(
                    expected.sha256.hex(),
                    expected.os_name,
                    expected.os_version,
                    boot_id=self._ports.platform.facts().boot_id,
                )
                self._journal.progress(trial=trial)
                try:
                    sink.commit(image)
                except ExecutionError:
                    self._journal.progress(trial=before)
                    raise
            except XpuAgentError:
                sink.abort()
                raise
            self._journal.advance(State.TRIAL_BOOT, step=None, refused_images=())
            running.end_with(ProgressType.BOOT_IMAGE_INSTALLED_REBOOTING)
        return reboot(self._ports)

    def _download(self, step: InstallImage, sink: ImageSink) -> VerifiedImage:
        """The first of the URIs whose octets are the image asked for, already in the sink.

        Only the URIs given, in their order (5.6). One that serves something else, or too much,
        must not keep the next from its turn.
        """
        failures: list[ExecutionError] = []
        for uri in step.uris:
            self._ports.clock.check_stopped()
            if failures:
                sink.restart()
            try:
                downloaded = self._ports.downloader.fetch(
                    uri,
                    sink,
                    max_bytes=self._ports.settings.image_bytes,
                    medium=self._bench.medium,
                )
                return verify_image(downloaded, step.expected)
            except ExecutionError as error:
                if error.reason not in _DOWNLOAD_SEVERITY:
                    raise
                self._note("image-uri-failed", error.message, warning=True, uri=uri)
                failures.append(error)
        raise min(failures, key=lambda error: _DOWNLOAD_SEVERITY.index(error.reason))

    def _run_script(self, step: RunScript) -> None:
        """Run it, take its output and verdict (5.6, 6.3 `script`)."""
        name, reason = _STAGES[step.stage]
        self._applying(name)
        with self._stage(name) as running:
            result = self._ports.platform.run_script(
                step.content,
                step.stage,
                serial_number=self._bench.facts.serial_number,
                seconds=self._ports.settings.script_seconds,
            )
            self._watch_switch()
            match result.verdict:
                case ScriptVerdict.OK:
                    pass
                case ScriptVerdict.WARNING:
                    running.warn(_script_message(result))
                case ScriptVerdict.ERROR:
                    if result.timed_out:
                        reason = Reason.SCRIPT_TIMEOUT
                    raise ExecutionError(reason, _script_message(result))
                case _:
                    assert_never(result.verdict)

    def _configure(self, step: ApplyConfiguration) -> None:
        """Commit the configuration atomically, with a way back (5.6)."""
        self._applying(Stage.CONFIGURATION)
        with self._stage(Stage.CONFIGURATION, step.handling) as running:
            platform = self._ports.platform
            checkpoint = platform.checkpoint()
            self._journal.progress(checkpoint=checkpoint)
            for warning in platform.apply_configuration(step.content, step.handling, checkpoint):
                running.warn(warning)
            self._watch_switch()

    def _tell_wanted_image(self) -> None:
        """Say which image is asked for, whatever comes of it: the names and the digest given."""
        image = self._onboarding.information.boot_image
        if image is None:
            raise RuntimeError("an image step comes from a boot image")
        digest = usable_digest(image)
        named = (
            ("os-name", image.os_name),
            ("os-version", image.os_version),
            ("sha256", None if digest is None else digest.hex()),
        )
        fields = tuple((name, value) for name, value in named if value is not None)
        self._ports.events.emit(
            Note("image-wanted", "the boot image that is asked for", fields=fields)
        )

    def _applying(self, name: Stage) -> None:
        """Write APPLYING with the step that is about to begin."""
        self._journal.advance(State.APPLYING, step=name.value)

    def _watch_switch(self) -> None:
        """Remember it durably if a step turned the SZTP switch off; the attempt began with on."""
        if not self._journal.state.switch_cleared and not self._ports.store.switched_on():
            self._journal.progress(switch_cleared=True)

    # --- the end -----------------------------------------------------------------------------

    def _confirm_or_undo(self) -> Outcome:
        """CONFIRMING, the final report, PROVISIONED."""
        try:
            self._journal.advance(State.CONFIRMING, step=None, content_sha256=self._digest)
            with self._stage(Stage.COMPLETE) as running:
                if self._ports.store.switched_on():
                    running.warn("the SZTP switch is still on", Reason.FLAG_STILL_ON)
                self._final_report()
                running.end_with(None)
        except XpuAgentError as error:
            self._undo_after(error)
            raise
        return finish(self._ports, self._journal)

    def _final_report(self) -> None:
        """`bootstrap-complete` until it is answered with 204 or the time for it is over.

        A lost answer would make a finished bootstrap an error (AMB-11), hence the retries, each
        on a connection that works. The new configuration may be what broke the path: then the
        failure leads to undoing it.
        """
        if not self._reporter.due:
            return
        settings = self._ports.settings
        keys = self._ports.platform.ssh_host_keys() if settings.report_ssh_host_keys else ()
        report = ProgressReport(
            ProgressType.BOOTSTRAP_COMPLETE,
            ssh_host_keys=tuple(keys),
            trust_anchor_certs=settings.trust_anchor_certs,
        )
        clock = self._ports.clock
        deadline = clock.monotonic() + settings.final_report_seconds
        pause = _RETRY_FIRST_SECONDS
        while True:
            try:
                self._reporter.send_acknowledged(report)
            except NOT_ACKNOWLEDGED as error:
                left = deadline - clock.monotonic()
                if left <= 0:
                    raise ExecutionError(
                        Reason.FINAL_REPORT_FAILED,
                        f"bootstrap-complete was not acknowledged: {error.message}",
                    ) from error
                clock.wait(min(pause, left))
                pause = min(pause * 2, _RETRY_MAX_SECONDS)
            else:
                return

    def _undo_after(self, error: XpuAgentError) -> None:
        """Undo this step and all before it (5.6, implementation notes)."""
        match error:
            case StoppedError() | UndoError():
                pass  # the next start recovers; or nothing can
            case StateError():
                # The document can't say UNDOING. It still says what the next start has to undo;
                # until then nothing of this attempt may stay active.
                lead_back(self._ports, self._journal)
            case _:
                undo(self._ports, self._journal, self._reporter, then=State.DISCOVERING)

    # --- helpers -----------------------------------------------------------------------------

    def _summarize_refusals(self) -> None:
        """Tell a trusted server what was refused before it was reached; counts alone."""
        refusals = self._journal.refusals()
        if not refusals or not self._reporter.due:
            return
        counts = ", ".join(f"{reason} {count}" for reason, count in sorted(refusals.items()))
        if self._reporter.send(ProgressType.BOOTSTRAP_WARNING, f"earlier refusals: {counts}"):
            self._journal.forget_refusals()

    def _stage(self, name: Stage, detail: str = "") -> AbstractContextManager[RunningStage]:
        return port_stage(self._ports, self._reporter, name, detail)

    def _note(self, event: str, message: str, *, warning: bool = False, **fields: str) -> None:
        self._ports.events.emit(Note(event, message, warning, tuple(fields.items())))


def _script_message(result: ScriptResult) -> str:
    """How it ended and what it printed."""
    output = result.output.strip()
    return f"{result.detail}: {output}" if output else result.detail
