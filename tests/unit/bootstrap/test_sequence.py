# SPDX-License-Identifier: Apache-2.0
"""The boot sequence: switch, sources, back-off, and the ends of a run."""

from typing import Any

import pytest
from tests.fakes import BOOT_ATTEMPTS, ListSource, MemoryServer, Slot, World, answer
from tests.owners import onboarding_document as document
from tests.owners import owner

from xpu_agent.bootstrap.sequence import SztpMethod, preview, run_daemon, run_once
from xpu_agent.device import DeviceFacts
from xpu_agent.errors import (
    IdentityError,
    Reason,
    SourceUnavailableError,
    UndoError,
    XpuAgentError,
)
from xpu_agent.lifecycle import AgentState, State, TrialImage
from xpu_agent.onboarding.journal import Journal
from xpu_agent.onboarding.plan import ApplyConfiguration
from xpu_agent.ports import (
    FoundArtifacts,
    FoundServers,
    Note,
    Offer,
    OutcomeKind,
    RunEnded,
    Waiting,
    WorkflowSettings,
)
from xpu_agent.progress import ProgressType
from xpu_agent.trust.state import preconfigured_hop, provisional_hop

GOOD = document(configuration=b"good", handling="replace")
NEW = Slot(b"new image", "xpu-os", "2.0")
NOTHING = SourceUnavailableError(Reason.NO_SOURCE, "no medium")


def world(*sources: ListSource) -> World:
    made = owner().equip(World())
    made.sources.extend(sources)
    return made


def medium(name: str = "removable-storage") -> ListSource:
    return ListSource(name, [FoundArtifacts("directory /media", owner().signed(GOOD))])


def empty(name: str = "dhcp") -> ListSource:
    return ListSource(name, [NOTHING])


@pytest.mark.requirement("SZTP-5.1-02", "SZTP-5.2-01")
def test_a_fresh_device_bootstraps_unasked() -> None:
    device = world(medium())
    start = device.start()
    assert run_once(start.ports, start.facts).kind is OutcomeKind.COMPLETED
    assert device.disk.configuration == b"good"
    assert [s.state for s in start.store.saved] == [
        State.DISCOVERING,
        State.JUDGED,
        State.APPLYING,
        State.APPLYING,
        State.CONFIRMING,
        State.PROVISIONED,
    ]
    assert len(start.events.of(RunEnded)) == 1


@pytest.mark.requirement("SZTP-5.1-01")
@pytest.mark.refuses("SZTP-5.2-01", "SZTP-5.1-01")
def test_a_device_switched_off_asks_nobody() -> None:
    source = medium()
    device = world(source)
    device.disk.disabled = True
    start = device.start()
    assert run_once(start.ports, start.facts).kind is OutcomeKind.NOTHING_TO_DO
    assert source.loads == 0
    assert start.power.moments == []


def test_a_provisioned_device_asks_nobody() -> None:
    source = medium()
    device = world(source)
    device.disk.provisioned = True
    start = device.start()
    assert run_once(start.ports, start.facts).kind is OutcomeKind.NOTHING_TO_DO
    assert source.loads == 0


@pytest.mark.requirement("SZTP-5.2-02", "SZTP-9.7-01")
def test_sources_are_tried_in_their_order_until_one_works() -> None:
    bad = ListSource("usb", [FoundArtifacts("directory /usb", owner().unsigned(GOOD))])
    sources = [bad, empty(), medium("dns")]
    device = world(*sources)
    start = device.start()
    assert run_once(start.ports, start.facts).kind is OutcomeKind.COMPLETED
    assert [source.loads for source in sources] == [1, 1, 1]
    judged = next(s for s in start.store.saved if s.state is State.JUDGED)
    assert judged.source == "dns"


@pytest.mark.requirement("SZTP-5.2-04")
@pytest.mark.refuses("SZTP-5.2-04")
def test_after_success_no_further_source_is_consulted() -> None:
    second = medium("second")
    start = world(medium(), second).start()
    run_once(start.ports, start.facts)
    assert second.loads == 0


def test_a_failed_attempt_is_written_as_waiting() -> None:
    device = world(empty())
    for attempt in (1, 2):
        start = device.start()
        outcome = run_once(start.ports, start.facts)
        assert (outcome.kind, outcome.reason) == (OutcomeKind.NOTHING_FOUND, Reason.NO_SOURCE)
        state = start.store.load()
        assert state.state is State.WAITING
        assert (state.attempt, state.failures) == (attempt, attempt)
        assert state.last_reason is Reason.NO_SOURCE


def test_facts_that_cannot_be_read_are_a_failed_attempt() -> None:
    def facts() -> DeviceFacts:
        raise IdentityError(Reason.IDEVID_MISSING, "no certificate")

    start = world(medium()).start()
    outcome = run_once(start.ports, facts)
    assert outcome.reason is Reason.IDEVID_MISSING
    assert start.store.load().state is State.WAITING


def test_the_time_for_an_attempt_is_bounded() -> None:
    device = world(empty(), empty())
    device.settings = WorkflowSettings(attempt_seconds=0)
    start = device.start()
    assert run_once(start.ports, start.facts).reason is Reason.TIMEOUT


def test_earlier_refusals_reach_a_trusted_server_that_comes_later() -> None:
    device = world(
        ListSource("usb", [FoundArtifacts("directory /usb", owner().unsigned(GOOD))]),
        ListSource(
            "bootstrap-servers",
            [FoundServers("list", (preconfigured_hop("a", 443, (owner().server_anchor(),)),))],
        ),
    )
    server = MemoryServer([SourceUnavailableError(Reason.HTTP_ERROR, "503")])
    server.issuer = owner().servers.der
    device.servers["a", 443] = server
    first = device.start()
    run_once(first.ports, first.facts)
    server.answers = [answer(owner().unsigned(GOOD))]
    second = device.start()
    run_once(second.ports, second.facts)
    assert [r.message for r in server.reports if r.message and "earlier" in r.message] == [
        "earlier refusals: unsigned-not-allowed 2"
    ]


# --- the loop --------------------------------------------------------------------------------


@pytest.mark.requirement("SZTP-5.2-03")
def test_the_loop_goes_on_until_a_source_comes_alive() -> None:
    offers: list[Offer | XpuAgentError] = [NOTHING]
    source = ListSource("usb", offers)
    device = world(source)
    attempts: list[int] = []

    def plug_in() -> None:
        attempts.append(source.loads)
        if source.loads == 3:
            offers[:] = medium()._offers

    device.clock.on_wait = plug_in
    start = device.start()
    assert run_daemon(start.ports, start.facts).kind is OutcomeKind.COMPLETED
    assert source.loads == 4
    assert device.clock.waits == [5.0, 10.0, 20.0]
    assert [w.seconds for w in start.events.of(Waiting)] == [5.0, 10.0, 20.0]


@pytest.mark.requirement("SZTP-5.2-03", "SZTP-5.1-01")
@pytest.mark.refuses("SZTP-5.2-03")
def test_the_loop_stops_when_the_switch_goes_off() -> None:
    source = empty()
    device = world(source)

    def turn_off() -> None:
        device.disk.disabled = source.loads == 3

    device.clock.on_wait = turn_off
    start = device.start()
    assert run_daemon(start.ports, start.facts).kind is OutcomeKind.NOTHING_TO_DO
    assert source.loads == 3


def test_the_switch_is_looked_at_during_a_long_pause() -> None:
    device = world(empty())
    device.disk.state = AgentState(state=State.WAITING, failures=9)
    device.clock.on_wait = lambda: setattr(device.disk, "disabled", True)
    start = device.start()
    assert run_daemon(start.ports, start.facts).kind is OutcomeKind.NOTHING_TO_DO
    assert device.clock.waits == [30.0]


def test_the_pause_doubles_up_to_its_ceiling() -> None:
    device = world(empty())
    start = device.start()
    outcome = run_daemon(start.ports, start.facts, give_up_seconds=3600)
    assert outcome.kind is OutcomeKind.GAVE_UP
    assert outcome.reason is Reason.NO_SOURCE
    loads = start.store.load().attempt
    assert sum(device.clock.waits) == pytest.approx(3600)
    assert max(device.clock.waits) == 30.0
    # 5, 10, ..., 160, then 300 each: 315 s for six attempts, 300 s for each one after them.
    assert loads == 6 + 1 + (3600 - 315) // 300
    assert not device.disk.disabled


def test_jitter_shortens_the_pause_by_half_at_most() -> None:
    device = world(empty())
    start = device.start()
    object.__setattr__(start.ports, "jitter", lambda: 0.0)
    run_daemon(start.ports, start.facts, give_up_seconds=2)
    assert start.events.of(Waiting)[0].seconds == 2.5


def test_back_off_goes_on_after_a_restart() -> None:
    device = world(empty())
    device.disk.state = AgentState(state=State.WAITING, failures=5)
    start = device.start()
    run_daemon(start.ports, start.facts, give_up_seconds=1)
    assert start.events.of(Waiting)[0].seconds == 160.0


def test_a_signal_ends_the_loop_with_its_state_kept() -> None:
    device = world(empty())
    device.clock.stop_at = 7.0
    start = device.start()
    outcome = run_daemon(start.ports, start.facts)
    assert (outcome.kind, outcome.reason) == (OutcomeKind.STOPPED, Reason.STOPPED)
    assert start.store.load().state is State.WAITING


def test_the_loop_ends_where_another_attempt_changes_nothing() -> None:
    device = world(
        ListSource(
            "usb",
            [
                FoundArtifacts(
                    "directory /usb",
                    owner().signed(
                        document(configuration=b"x", handling="merge", post_script=b"exit 1")
                    ),
                )
            ],
        )
    )
    start = device.start()
    start.platform.undo_fails = UndoError("gone")
    outcome = run_daemon(start.ports, start.facts)
    assert outcome.reason is Reason.UNDO_FAILED
    assert start.store.load().state is State.BROKEN


def test_a_document_that_cannot_be_written_ends_the_run() -> None:
    start = world(medium()).start()
    start.store.unwritable = True
    assert run_daemon(start.ports, start.facts).reason is Reason.STATE_UNWRITABLE


# --- an image on trial -----------------------------------------------------------------------


def on_trial(*sources: ListSource) -> World:
    """A device whose new image was installed and boots for the first time."""
    device = world(*sources)
    device.disk.pending, device.disk.attempts_left = NEW, BOOT_ATTEMPTS
    trial = TrialImage(NEW.sha256.hex(), "xpu-os", "2.0")
    device.disk.state = AgentState(state=State.TRIAL_BOOT, trial=trial)
    return device


def test_an_image_that_reaches_discovery_gets_its_boot_attempts_again() -> None:
    device = on_trial(empty())
    for _ in range(3 * BOOT_ATTEMPTS):
        start = device.start()
        run_once(start.ports, start.facts)
        assert start.facts().running.os_version == "2.0"
    trial = start.store.load().trial
    assert trial is not None
    assert trial.reached


@pytest.mark.requirement("SZTP-5.6-09")
def test_after_the_reboot_everything_is_discovered_again_and_the_image_is_marked_good() -> None:
    source = medium()
    device = on_trial(source)
    start = device.start()
    assert run_once(start.ports, start.facts).kind is OutcomeKind.COMPLETED
    assert source.loads == 1
    assert device.disk.active is NEW
    assert device.disk.pending is None


def served(*documents: dict[str, Any]) -> tuple[World, MemoryServer]:
    """A device, and a trusted server that answers with one document after the other."""
    hop = preconfigured_hop("a", 443, (owner().server_anchor(),))
    device = world(ListSource("bootstrap-servers", [FoundServers("list", (hop,))]))
    server = MemoryServer(
        [answer(owner().unsigned(each)) for each in documents], issuer=owner().servers.der
    )
    device.servers["a", 443] = server
    device.files["https://files/image"] = NEW.octets
    return device, server


WITH_IMAGE: dict[str, Any] = {
    "os_version": "2.0",
    "download_uris": ["https://files/image"],
    "image_sha256": NEW.sha256,
}


@pytest.mark.refuses("SZTP-5.6-08")
def test_before_the_reboot_nobody_is_asked_or_told_anything_more() -> None:
    device, server = served(document(**WITH_IMAGE, pre_script=b"print x"))
    second = medium("second")
    device.sources.append(second)
    start = device.start()
    assert run_once(start.ports, start.facts).kind is OutcomeKind.REBOOTING
    assert len(server.requests) == 1
    assert server.report_types[-1] is ProgressType.BOOT_IMAGE_INSTALLED_REBOOTING
    assert second.loads == 0
    assert device.disk.scripts_run == []


def test_a_platform_that_cannot_reboot_leaves_it_to_the_exit_status() -> None:
    device, _ = served(document(**WITH_IMAGE))
    start = device.start()
    start.platform.reboot_fails = True
    assert run_once(start.ports, start.facts).kind is OutcomeKind.REBOOTING
    warnings = [note.event for note in start.events.of(Note) if note.warning]
    assert warnings == ["reboot-failed"]
    assert start.store.load().state is State.TRIAL_BOOT


@pytest.mark.refuses("SZTP-5.6-09")
def test_after_the_reboot_nothing_is_replayed_from_before_it() -> None:
    device, server = served(
        document(**WITH_IMAGE, pre_script=b"print x", configuration=b"old", handling="replace"),
        document(configuration=b"new", handling="replace"),
    )
    for kind in (OutcomeKind.REBOOTING, OutcomeKind.COMPLETED):
        start = device.start()
        assert run_once(start.ports, start.facts).kind is kind
    assert device.disk.configuration == b"new"
    assert device.disk.scripts_run == []
    assert [request.os_version for _, request in server.requests] == ["1.0", "2.0"]


def test_an_image_is_not_marked_good_before_onboarding_is_done() -> None:
    device = on_trial(empty())
    start = device.start()
    run_once(start.ports, start.facts)
    assert device.disk.active is not NEW


# --- plan and method -------------------------------------------------------------------------


def test_a_preview_shows_the_plan_and_touches_nothing() -> None:
    device = world(
        ListSource("usb", [FoundArtifacts("directory /usb", owner().unsigned(GOOD))]),
        ListSource(
            "bootstrap-servers",
            [FoundServers("list", (preconfigured_hop("a", 443, (owner().server_anchor(),)),))],
        ),
    )
    server = MemoryServer([answer(owner().unsigned(GOOD))], issuer=owner().servers.der)
    device.servers["a", 443] = server
    start = device.start()
    plan, outcome = preview(start.ports, start.facts())
    assert outcome.kind is OutcomeKind.NOTHING_TO_DO
    assert plan is not None
    assert [type(step) for step in plan.steps] == [ApplyConfiguration]
    assert server.reports == []
    assert device.disk.state is None
    assert device.disk.refused == []
    assert device.disk.configuration != b"good"


def test_a_preview_of_nothing_says_why() -> None:
    start = world(ListSource("dhcp", [FoundServers("DHCP", (provisional_hop("a", 443),))])).start()
    plan, outcome = preview(start.ports, start.facts())
    assert plan is None
    assert outcome.reason is Reason.DNS_FAILED


def test_a_preview_reads_the_document_of_refused_images_and_fails_plainly() -> None:
    device = world(medium())
    device.disk.corrupt = True
    start = device.start()
    plan, outcome = preview(start.ports, start.facts())
    assert plan is None
    assert outcome.reason is Reason.STATE_CORRUPT


def test_the_method_has_a_name_and_wants_a_serial_number() -> None:
    start = world().start()
    journal = Journal(AgentState(), start.store, start.ports.clock, start.events)
    method = SztpMethod(start.ports, journal)
    assert method.name == "sztp"
    assert method.applicable(start.facts())
    assert method.run(start.facts()).kind is OutcomeKind.NOTHING_FOUND
    assert ProgressType.BOOTSTRAP_COMPLETE.value == "bootstrap-complete"
