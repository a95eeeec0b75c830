# SPDX-License-Identifier: Apache-2.0
"""Carrying out onboarding information: order, reports, failures and what is left after them."""

import hashlib
from pathlib import Path

import pytest
from tests.fakes import (
    FACTORY_CONFIGURATION,
    MemoryConnection,
    MemoryServer,
    Start,
    World,
    boot_image,
    onboarding,
    trusted,
)

from xpu_agent.artifacts.conveyed_info import ConfigurationHandling
from xpu_agent.errors import (
    ExecutionError,
    MalformedError,
    Reason,
    StateError,
    StoppedError,
    UndoError,
    XpuAgentError,
)
from xpu_agent.lifecycle import State
from xpu_agent.onboarding.execute import Bench, execute, verify_image
from xpu_agent.onboarding.journal import Journal
from xpu_agent.onboarding.stage import Reporter
from xpu_agent.ports import Downloaded, ExpectedImage, Note, Outcome, OutcomeKind, WorkflowSettings
from xpu_agent.progress import ProgressType, ReportingLevel
from xpu_agent.trust.signed_data import TrustedOnboarding

P = ProgressType
NEW = b"new image" * 100
COMPLETED = Outcome(OutcomeKind.COMPLETED)


class Run:
    """One execution on a device, up to JUDGED as the boot sequence would have it."""

    def __init__(
        self,
        world: World | None = None,
        *,
        level: ReportingLevel | None = ReportingLevel.VERBOSE,
        start: Start | None = None,
    ) -> None:
        self.start = start or (world or World()).start()
        self.world = self.start.world
        self.disk = self.world.disk
        self.server = MemoryServer([])
        self.journal = Journal(
            self.start.store.load(), self.start.store, self.world.clock, self.start.events
        )
        self.journal.advance(State.DISCOVERING)
        self.level = level

    def execute(self, information: TrustedOnboarding, medium: Path | None = None) -> Outcome:
        self.journal.advance(State.JUDGED)
        reporter = Reporter.silent(self.start.events)
        if self.level is not None:
            connection = MemoryConnection(self.server, self.start.power, trusted=True)
            reporter = Reporter(self.start.events, connection, self.level)
        bench = Bench(self.start.ports, self.journal, self.start.facts(), reporter, medium=medium)
        return execute(information, bench)

    def refused(self, information: TrustedOnboarding) -> ExecutionError:
        with pytest.raises(ExecutionError) as raised:
            self.execute(information)
        return raised.value


FULL = onboarding(pre=b"print hello", configuration=b"hostname x", post=b"print done")


@pytest.mark.requirement("SZTP-5.6-01", "SZTP-5.6-02", "SZTP-5.6-18", "SZTP-5.6-19", "SZTP-7.3-03")
def test_a_full_run_reports_every_step_in_order() -> None:
    run = Run()
    assert run.execute(trusted(FULL)) == COMPLETED
    assert run.server.report_types == [
        P.BOOTSTRAP_INITIATED,
        P.PARSING_INITIATED,
        P.PARSING_COMPLETE,
        P.PRE_SCRIPT_INITIATED,
        P.PRE_SCRIPT_COMPLETE,
        P.CONFIG_INITIATED,
        P.CONFIG_COMPLETE,
        P.POST_SCRIPT_INITIATED,
        P.POST_SCRIPT_COMPLETE,
        P.BOOTSTRAP_WARNING,
        P.BOOTSTRAP_COMPLETE,
    ]
    assert run.disk.configuration == FACTORY_CONFIGURATION + b"+hostname x"
    assert run.disk.scripts_run == ["pre-configuration", "post-configuration"]
    assert run.disk.state is not None
    assert run.disk.state.state is State.PROVISIONED
    assert run.disk.provisioned


@pytest.mark.requirement("SZTP-7.3-02")
def test_minimal_hears_the_beginning_the_warning_and_the_end() -> None:
    run = Run(level=ReportingLevel.MINIMAL)
    run.execute(trusted(FULL))
    assert run.server.report_types == [
        P.BOOTSTRAP_INITIATED,
        P.BOOTSTRAP_WARNING,
        P.BOOTSTRAP_COMPLETE,
    ]


@pytest.mark.requirement("SZTP-7.3-05")
def test_keys_go_with_bootstrap_complete_alone() -> None:
    run = Run(World(settings=WorkflowSettings(trust_anchor_certs=(b"anchor",))))
    run.execute(trusted(FULL))
    *others, last = run.server.reports
    assert last.ssh_host_keys == tuple(run.start.platform.ssh_host_keys())
    assert last.trust_anchor_certs == (b"anchor",)
    assert not any(report.ssh_host_keys for report in others)


def test_host_keys_can_be_kept_back() -> None:
    run = Run(World(settings=WorkflowSettings(report_ssh_host_keys=False)))
    run.execute(trusted(FULL))
    assert run.server.reports[-1].ssh_host_keys == ()


@pytest.mark.requirement("SZTP-7.3-01")
@pytest.mark.refuses("SZTP-7.3-01")
def test_without_a_trusted_server_nothing_is_reported_and_the_end_is_provisioned() -> None:
    run = Run(level=None)
    assert run.execute(trusted(FULL)) == COMPLETED
    assert run.server.reports == []
    assert run.disk.provisioned


# --- the reports that need their 204 ---------------------------------------------------------


@pytest.mark.refuses("SZTP-5.6-02")
@pytest.mark.parametrize("level", list(ReportingLevel))
def test_without_a_204_to_bootstrap_initiated_nothing_is_done(level: ReportingLevel) -> None:
    run = Run(level=level)
    run.server.report_failures[P.BOOTSTRAP_INITIATED] = -1
    error = run.refused(trusted(FULL))
    assert error.reason is Reason.INITIAL_REPORT_FAILED
    assert run.server.report_types == [P.BOOTSTRAP_INITIATED, P.BOOTSTRAP_ERROR]
    assert run.disk.configuration == FACTORY_CONFIGURATION
    assert run.disk.scripts_run == []


@pytest.mark.requirement("SZTP-5.6-18")
def test_a_lost_answer_to_the_final_report_is_asked_for_again() -> None:
    run = Run()
    run.server.report_failures[P.BOOTSTRAP_COMPLETE] = 3
    assert run.execute(trusted(FULL)) == COMPLETED
    assert run.server.report_types.count(P.BOOTSTRAP_COMPLETE) == 4
    assert run.world.clock.waits == [1.0, 2.0, 4.0]


@pytest.mark.refuses("SZTP-5.6-18", "SZTP-5.6-15")
@pytest.mark.requirement("SZTP-5.6-15", "SZTP-5.6-16")
def test_a_final_report_that_is_never_acknowledged_undoes_everything() -> None:
    run = Run()
    run.server.report_failures[P.BOOTSTRAP_COMPLETE] = -1
    error = run.refused(trusted(FULL))
    assert error.reason is Reason.FINAL_REPORT_FAILED
    assert run.server.report_types[-1] is P.BOOTSTRAP_ERROR
    assert sum(run.world.clock.waits) == pytest.approx(60.0)
    assert run.disk.configuration == FACTORY_CONFIGURATION
    assert not run.disk.provisioned
    assert run.journal.state.state is State.DISCOVERING
    assert run.journal.state.checkpoint is None
    assert run.journal.state.content_sha256 is None


@pytest.mark.parametrize("progress_type", [P.BOOTSTRAP_INITIATED, P.BOOTSTRAP_COMPLETE])
def test_an_answer_that_is_no_http_is_not_a_204_either(progress_type: ProgressType) -> None:
    run = Run()
    run.server.report_failures[progress_type] = -1
    run.server.report_error = MalformedError("not an HTTP answer")
    run.refused(trusted(FULL))
    assert run.server.report_types[-1] is P.BOOTSTRAP_ERROR
    assert run.disk.configuration == FACTORY_CONFIGURATION


def test_a_failure_of_any_other_kind_is_undone_too() -> None:
    run = Run()

    def fail() -> None:
        raise MalformedError("a platform that raises what it should not")

    run.start.platform.after_configuration = fail
    with pytest.raises(MalformedError):
        run.execute(trusted(FULL))
    assert run.disk.configuration == FACTORY_CONFIGURATION


# --- the switch ------------------------------------------------------------------------------


@pytest.mark.requirement("SZTP-5.6-17")
def test_a_switch_that_is_still_on_is_a_warning() -> None:
    run = Run()
    run.execute(trusted(FULL))
    warning = run.server.reports[-2]
    assert warning.progress_type is P.BOOTSTRAP_WARNING
    assert warning.message == "flag-still-on: the SZTP switch is still on"


@pytest.mark.refuses("SZTP-5.6-17")
def test_a_switch_turned_off_by_a_script_is_no_warning() -> None:
    run = Run()
    run.execute(trusted(onboarding(post=b"disable")))
    assert P.BOOTSTRAP_WARNING not in run.server.report_types
    assert run.disk.disabled


@pytest.mark.requirement("SZTP-5.6-15")
def test_a_switch_turned_off_by_what_is_undone_goes_on_again() -> None:
    run = Run()
    run.refused(trusted(onboarding(configuration=b"disable", post=b"exit 1")))
    assert not run.disk.disabled


def test_a_switch_turned_off_by_somebody_else_stays_off() -> None:
    run = Run()
    run.disk.disabled = True
    run.journal.advance(State.DISCOVERING)
    run.refused(trusted(onboarding(configuration=b"invalid")))
    assert run.disk.disabled


# --- scripts and configuration ---------------------------------------------------------------


@pytest.mark.requirement("SZTP-5.6-11", "SZTP-6.3-06")
def test_a_script_that_warns_is_reported_with_its_output_and_goes_on() -> None:
    run = Run()
    information = onboarding(pre=b"print careful\nexit 75", configuration=b"x")
    assert run.execute(trusted(information)) == COMPLETED
    index = run.server.report_types.index(P.PRE_SCRIPT_WARNING)
    assert run.server.reports[index].message == "exit status 75: careful"
    assert P.CONFIG_COMPLETE in run.server.report_types


@pytest.mark.requirement("SZTP-5.6-12")
@pytest.mark.refuses("SZTP-6.3-06", "SZTP-5.6-11", "SZTP-5.6-01", "SZTP-7.3-02")
def test_a_pre_script_that_fails_stops_everything_after_it() -> None:
    run = Run(level=ReportingLevel.MINIMAL)
    information = onboarding(pre=b"print why\nexit 3", configuration=b"x", post=b"print never")
    error = run.refused(trusted(information))
    assert error.reason is Reason.PRE_SCRIPT_FAILED
    assert run.server.report_types == [P.BOOTSTRAP_INITIATED, P.PRE_SCRIPT_ERROR]
    assert run.server.reports[-1].message == "pre-script-failed: exit status 3: why"
    assert run.disk.scripts_run == ["pre-configuration"]
    assert run.disk.configuration == FACTORY_CONFIGURATION


@pytest.mark.requirement("SZTP-5.6-12", "SZTP-5.6-15", "SZTP-5.6-16")
@pytest.mark.refuses("SZTP-5.6-16", "SZTP-5.6-19", "SZTP-5.6-12")
def test_a_post_script_that_fails_leads_the_configuration_back() -> None:
    run = Run(level=ReportingLevel.MINIMAL)
    error = run.refused(trusted(onboarding(configuration=b"x", post=b"exit 1")))
    assert error.reason is Reason.POST_SCRIPT_FAILED
    assert run.server.report_types[-1] is P.POST_SCRIPT_ERROR
    assert run.disk.configuration == FACTORY_CONFIGURATION
    assert run.journal.state.state is State.DISCOVERING


def test_a_script_out_of_time_has_its_own_reason() -> None:
    error = Run().refused(trusted(onboarding(post=b"timeout")))
    assert error.reason is Reason.SCRIPT_TIMEOUT


@pytest.mark.requirement("SZTP-5.6-13")
def test_replace_puts_the_configuration_in_place_of_the_old() -> None:
    run = Run()
    information = onboarding(configuration=b"x", handling=ConfigurationHandling.REPLACE)
    run.execute(trusted(information))
    assert run.disk.configuration == b"x"


@pytest.mark.refuses("SZTP-5.6-13")
def test_a_configuration_that_is_refused_changes_nothing() -> None:
    run = Run(level=ReportingLevel.MINIMAL)
    error = run.refused(trusted(onboarding(configuration=b"invalid", post=b"print never")))
    assert error.reason is Reason.CONFIG_INVALID
    assert run.server.report_types == [P.BOOTSTRAP_INITIATED, P.CONFIG_ERROR]
    assert run.disk.configuration == FACTORY_CONFIGURATION
    assert run.disk.scripts_run == []


@pytest.mark.refuses("SZTP-7.3-03")
def test_verbose_hears_of_what_happened_and_of_nothing_that_did_not() -> None:
    run = Run()
    run.refused(trusted(onboarding(pre=b"exit 75", configuration=b"invalid", post=b"print x")))
    assert run.server.report_types == [
        P.BOOTSTRAP_INITIATED,
        P.PARSING_INITIATED,
        P.PARSING_COMPLETE,
        P.PRE_SCRIPT_INITIATED,
        P.PRE_SCRIPT_WARNING,
        P.PRE_SCRIPT_COMPLETE,
        P.CONFIG_INITIATED,
        P.CONFIG_ERROR,
    ]


def test_warnings_of_a_commit_are_reported() -> None:
    run = Run()
    run.execute(trusted(onboarding(configuration=b"deprecated x")))
    assert P.CONFIG_WARNING in run.server.report_types


def test_warnings_of_the_document_are_reported() -> None:
    run = Run()
    run.execute(trusted(FULL, warnings=("one fingerprint skipped",)))
    index = run.server.report_types.index(P.PARSING_WARNING)
    assert run.server.reports[index].message == "one fingerprint skipped"


def test_a_clock_that_is_not_accurate_is_a_warning_of_parsing() -> None:
    world = World()
    world.clock.accurate = False
    run = Run(world)
    assert run.execute(trusted(FULL)) == COMPLETED
    index = run.server.report_types.index(P.PARSING_WARNING)
    assert (run.server.reports[index].message or "").startswith("clock-untrusted: ")
    assert run.journal.state.clock_floor is None


# --- undoing that fails, state that can't be written, signals --------------------------------


@pytest.mark.parametrize(
    "error", [UndoError("gone"), ExecutionError(Reason.CONFIG_REJECTED, "not taken back")]
)
def test_undoing_that_fails_is_broken_and_told(error: XpuAgentError) -> None:
    run = Run()
    run.start.platform.undo_fails = error
    with pytest.raises(UndoError):
        run.execute(trusted(onboarding(configuration=b"x", post=b"exit 1")))
    assert run.server.report_types[-2:] == [P.POST_SCRIPT_ERROR, P.BOOTSTRAP_ERROR]
    assert run.journal.state.state is State.BROKEN
    assert run.journal.state.last_reason is Reason.UNDO_FAILED


def test_a_document_that_cannot_be_written_leaves_no_configuration_behind() -> None:
    run = Run()
    store = run.start.store
    run.start.platform.after_configuration = lambda: setattr(store, "unwritable", True)
    with pytest.raises(StateError):
        run.execute(trusted(onboarding(configuration=b"x", post=b"print never")))
    assert run.disk.configuration == FACTORY_CONFIGURATION
    assert run.disk.scripts_run == []


def test_a_signal_between_steps_keeps_the_document_for_the_next_start() -> None:
    run = Run()
    clock = run.world.clock
    run.start.platform.after_script = lambda: setattr(clock, "stopped", True)
    with pytest.raises(StoppedError):
        run.execute(trusted(FULL))
    assert run.journal.state.state is State.APPLYING
    assert run.disk.scripts_run == ["pre-configuration"]
    assert P.BOOTSTRAP_ERROR not in run.server.report_types


# --- the summary of what was refused before --------------------------------------------------


@pytest.mark.parametrize("level", list(ReportingLevel))
def test_a_trusted_server_gets_the_counts_of_earlier_refusals_once(level: ReportingLevel) -> None:
    run = Run(level=level)
    for reason in (Reason.VOUCHER_EXPIRED, Reason.SERVER_CERT_EXPIRED, Reason.VOUCHER_EXPIRED):
        run.journal.count_refusal(reason)
    run.execute(trusted(FULL))
    summaries = [r.message for r in run.server.reports if "earlier" in (r.message or "")]
    assert summaries == ["earlier refusals: server-cert-expired 1, voucher-expired 2"]
    assert run.journal.state.earlier_refusals == {}


def test_counts_that_got_through_are_not_told_again_after_a_failure() -> None:
    run = Run()
    run.journal.count_refusal(Reason.VOUCHER_EXPIRED)
    run.refused(trusted(onboarding(post=b"exit 1")))
    assert run.journal.state.earlier_refusals == {}


def test_counts_that_did_not_get_through_are_kept() -> None:
    run = Run()
    run.journal.count_refusal(Reason.VOUCHER_EXPIRED)
    run.server.report_failures[P.BOOTSTRAP_WARNING] = -1
    run.refused(trusted(onboarding(post=b"exit 1")))
    assert run.journal.state.earlier_refusals == {"voucher-expired": 1}


# --- the boot image --------------------------------------------------------------------------

WANTED = boot_image(NEW, os_version="2.0", uris=("https://a/i", "https://b/i", "https://c/i"))


def world_with(files: dict[str, bytes | ExecutionError]) -> World:
    world = World()
    world.files.update(files)
    return world


@pytest.mark.requirement("SZTP-5.6-05", "SZTP-5.6-08")
def test_an_image_is_installed_reported_and_booted_before_anything_else() -> None:
    run = Run(world_with({"https://a/i": NEW}))
    outcome = run.execute(trusted(onboarding(image=WANTED, configuration=b"x")))
    assert outcome.kind is OutcomeKind.REBOOTING
    assert run.server.report_types[3:] == [
        P.BOOT_IMAGE_INITIATED,
        P.BOOT_IMAGE_MISMATCH,
        P.BOOT_IMAGE_INSTALLED_REBOOTING,
    ]
    assert run.disk.pending is not None
    assert run.disk.pending.octets == NEW
    assert run.start.platform.reboots == 1
    assert run.journal.state.state is State.TRIAL_BOOT
    assert run.journal.state.trial is not None
    assert run.journal.state.trial.sha256 == hashlib.sha256(NEW).hexdigest()
    assert run.disk.configuration == FACTORY_CONFIGURATION


@pytest.mark.requirement("SZTP-5.6-08")
def test_the_reboot_is_reported_at_the_minimal_level_too() -> None:
    run = Run(world_with({"https://a/i": NEW}), level=ReportingLevel.MINIMAL)
    run.execute(trusted(onboarding(image=WANTED)))
    assert run.server.report_types == [P.BOOTSTRAP_INITIATED, P.BOOT_IMAGE_INSTALLED_REBOOTING]


@pytest.mark.requirement("SZTP-5.6-04", "SZTP-5.6-09")
def test_the_right_image_is_reported_and_not_fetched() -> None:
    run = Run()
    image = boot_image(NEW, os_version="1.0")
    assert run.execute(trusted(onboarding(image=image, post=b"print x"))) == COMPLETED
    assert P.BOOT_IMAGE_COMPLETE in run.server.report_types
    assert run.start.downloader.fetched == []
    assert run.disk.scripts_run == ["post-configuration"]


@pytest.mark.requirement("SZTP-5.6-06")
def test_uris_are_tried_in_their_order_and_no_others() -> None:
    run = Run(world_with({"https://b/i": NEW, "https://c/i": NEW}))
    run.execute(trusted(onboarding(image=WANTED)))
    assert run.start.downloader.fetched == ["https://a/i", "https://b/i"]


@pytest.mark.refuses("SZTP-5.6-05")
@pytest.mark.requirement("SZTP-5.6-07")
def test_octets_with_another_digest_are_never_installed_and_the_next_uri_is_tried() -> None:
    run = Run(world_with({"https://a/i": NEW[:-1] + b"!", "https://b/i": NEW}))
    assert run.execute(trusted(onboarding(image=WANTED))).kind is OutcomeKind.REBOOTING
    assert run.disk.pending is not None
    assert run.disk.pending.octets == NEW
    notes = [n for n in run.start.events.of(Note) if n.event == "image-uri-failed"]
    assert [dict(note.fields) for note in notes] == [{"uri": "https://a/i"}]


@pytest.mark.refuses("SZTP-5.6-07", "SZTP-5.6-06", "SZTP-5.6-10")
@pytest.mark.requirement("SZTP-5.6-10")
def test_of_several_uris_the_worst_failure_is_told() -> None:
    run = Run(world_with({"https://b/i": b"another image"}), level=ReportingLevel.MINIMAL)
    error = run.refused(trusted(onboarding(image=WANTED, configuration=b"x")))
    assert error.reason is Reason.IMAGE_HASH_MISMATCH
    assert run.server.report_types == [P.BOOTSTRAP_INITIATED, P.BOOT_IMAGE_ERROR]
    assert run.start.downloader.fetched == list(WANTED.download_uris)
    assert run.disk.pending is None
    assert run.start.platform.sinks[0].aborted
    assert run.journal.state.trial is None
    assert run.disk.configuration == FACTORY_CONFIGURATION


@pytest.mark.requirement("SZTP-5.6-10")
def test_all_uris_dead_is_unreachable() -> None:
    assert Run().refused(trusted(onboarding(image=WANTED))).reason is Reason.IMAGE_UNREACHABLE


def test_a_uri_that_never_ends_does_not_keep_the_next_from_its_turn() -> None:
    run = Run(world_with({"https://a/i": b"x" * 2_000_000, "https://b/i": NEW}))
    assert run.execute(trusted(onboarding(image=WANTED))).kind is OutcomeKind.REBOOTING


def test_a_slot_that_cannot_be_written_is_not_written_again_from_the_next_uri() -> None:
    broken = ExecutionError(Reason.INSTALL_FAILED, "input/output error")
    run = Run(world_with({"https://a/i": broken, "https://b/i": NEW}))
    assert run.refused(trusted(onboarding(image=WANTED))).reason is Reason.INSTALL_FAILED
    assert run.start.downloader.fetched == ["https://a/i"]


@pytest.mark.requirement("SZTP-5.6-10")
def test_an_image_that_cannot_be_committed_leaves_the_slot_unbootable() -> None:
    run = Run(world_with({"https://a/i": NEW}))
    run.start.platform.fail_commit = True
    error = run.refused(trusted(onboarding(image=WANTED)))
    assert error.reason is Reason.INSTALL_FAILED
    assert run.start.platform.sinks[0].aborted
    assert run.journal.state.trial is None
    assert run.disk.pending is None


def test_an_error_of_the_plan_is_an_error_of_the_image_stage() -> None:
    run = Run(level=ReportingLevel.MINIMAL)
    image = boot_image(None, os_version="2.0")
    error = run.refused(trusted(onboarding(image=image, configuration=b"x")))
    assert error.reason is Reason.IMAGE_SIGNATURE
    assert run.server.report_types == [P.BOOTSTRAP_INITIATED, P.BOOT_IMAGE_ERROR]


def test_only_the_digest_makes_an_image_verified() -> None:
    expected = ExpectedImage(None, None, hashlib.sha256(NEW).digest())
    assert verify_image(Downloaded(expected.sha256, 7), expected).size == 7
    with pytest.raises(ExecutionError, match="image-hash-mismatch"):
        verify_image(Downloaded(bytes(32), 7), expected)


# --- what a cut left unconfirmed -------------------------------------------------------------


def unconfirmed(content: bytes) -> Run:
    """A device on which `content` was applied and the final report was cut off."""
    run = Run()
    run.journal.advance(State.JUDGED)
    run.journal.advance(State.APPLYING, checkpoint="checkpoint-1")
    run.disk.checkpoint = FACTORY_CONFIGURATION
    run.disk.configuration = FACTORY_CONFIGURATION + b"+first"
    run.journal.advance(State.CONFIRMING, content_sha256=hashlib.sha256(content).hexdigest())
    run.journal.advance(State.DISCOVERING)
    return run


def test_the_same_content_only_needs_its_final_report() -> None:
    run = unconfirmed(b"first")
    assert run.execute(trusted(FULL, b"first")) == COMPLETED
    assert run.disk.configuration == FACTORY_CONFIGURATION + b"+first"
    assert run.disk.scripts_run == []
    assert run.server.report_types[-1] is P.BOOTSTRAP_COMPLETE


def test_other_content_is_applied_after_undoing_the_first() -> None:
    run = unconfirmed(b"first")
    assert run.execute(trusted(FULL, b"second")) == COMPLETED
    assert run.disk.configuration == FACTORY_CONFIGURATION + b"+hostname x"
    assert run.start.platform.undone == ["checkpoint-1"]


def test_the_same_content_on_an_image_it_does_not_want_is_not_confirmed() -> None:
    run = unconfirmed(b"first")
    run.world.files["https://a/i"] = NEW
    outcome = run.execute(trusted(onboarding(image=WANTED, configuration=b"x"), b"first"))
    assert outcome.kind is OutcomeKind.REBOOTING
    assert run.disk.configuration == FACTORY_CONFIGURATION


def test_an_image_that_cannot_be_marked_good_is_asked_again_at_the_next_start() -> None:
    run = Run()
    run.start.platform.mark_good_fails = True
    assert run.execute(trusted(FULL)) == COMPLETED
    assert run.journal.state.state is State.PROVISIONED
    assert not run.disk.provisioned
