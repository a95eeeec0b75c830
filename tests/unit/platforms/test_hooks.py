# SPDX-License-Identifier: Apache-2.0
import dataclasses
import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from xpu_agent import limits
from xpu_agent.config.schema import PLATFORM_KEYS
from xpu_agent.errors import (
    ConfigurationError,
    ExecutionError,
    Reason,
    SourceUnavailableError,
    StoppedError,
    UndoError,
)
from xpu_agent.lifecycle import AgentState, ResetLevel, State
from xpu_agent.platforms.context import PlatformContext
from xpu_agent.platforms.hook_runner import HookRunner, HookVerdict
from xpu_agent.platforms.hook_verbs import HookNotifier, fill_medium, reset_requested
from xpu_agent.platforms.hooks import REQUIRED_VERBS
from xpu_agent.platforms.registry import (
    make_platform,
    platform_names,
    platform_options,
    platform_path_options,
)
from xpu_agent.ports import (
    Event,
    ExpectedImage,
    ImageProgress,
    Note,
    Platform,
    ScriptStage,
    ScriptVerdict,
    ServerContacted,
    StateChanged,
    VerifiedImage,
)

IMAGE = os.urandom(200_000)
EXPECTED = ExpectedImage("os", "2.0", hashlib.sha256(IMAGE).digest())
VERIFIED = VerifiedImage(EXPECTED, len(IMAGE))
SAVE = 'cat >"$XPU_AGENT_STATE_DIR/request.${0##*/}"\n'
SET = ("image-write", "image-commit", "image-abort")
PAIR = ("configuration-apply", "configuration-undo")


@dataclass
class Device:
    """A pretend device with a hooks folder to put shell lines in."""

    root: Path
    events: list[Event] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)

    @property
    def hooks(self) -> Path:
        return self.root / "hooks"

    @property
    def state(self) -> Path:
        return self.root / "state"

    @property
    def device(self) -> Path:
        return self.root / "device"

    def hook(self, verb: str, body: str = "", *, mode: int = 0o755) -> None:
        path = self.hooks / verb
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(mode)

    def context(self) -> PlatformContext:
        return PlatformContext(
            state_dir=self.state,
            hooks_dir=self.hooks,
            serial_number=lambda: "SN-1",
            attempt=lambda: 7,
            emit=self.events.append,
            wait=self.waits.append,
        )

    def runner(self) -> HookRunner:
        return HookRunner(self.context())

    def platform(self, name: str = "directory") -> Platform:
        options = {"path": str(self.device)} if name == "directory" else {}
        return make_platform(name, options, self.context())

    def request(self, verb: str) -> dict[str, object]:
        members = json.loads((self.state / f"request.{verb}").read_text())
        assert isinstance(members, dict)
        return members

    def log(self) -> list[str]:
        return [event.message for event in self.events if isinstance(event, Note)]


@pytest.fixture
def device(tmp_path: Path) -> Device:
    made = Device(tmp_path)
    made.hooks.mkdir(mode=0o755)
    made.state.mkdir(mode=0o700)
    return made


# --- one run ---


def test_request_is_one_object_with_the_agreed_members(device: Device) -> None:
    device.hook("notify", SAVE)
    assert device.runner().ask("notify", {"state": "failed"}).verdict is HookVerdict.DONE
    assert device.request("notify") == {
        "api": 1,
        "verb": "notify",
        "serial-number": "SN-1",
        "attempt": 7,
        "state": "failed",
    }


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (0, HookVerdict.DONE),
        (64, HookVerdict.NOT_SUPPORTED),
        (75, HookVerdict.TRY_LATER),
        (1, HookVerdict.FAILED),
        (63, HookVerdict.FAILED),
        (65, HookVerdict.FAILED),
        (127, HookVerdict.FAILED),
    ],
)
def test_exit_status_is_the_verdict(device: Device, status: int, verdict: HookVerdict) -> None:
    device.hook("notify", f"""echo '{{"message": "because"}}'; exit {status}""")
    answer = device.runner().ask("notify", tries=1)
    assert answer.verdict is verdict
    if verdict in {HookVerdict.FAILED, HookVerdict.TRY_LATER}:
        assert answer.message == f"because (exit status {status})"


def test_try_later_is_tried_again_and_not_for_ever(device: Device) -> None:
    count = device.state / "count"
    device.hook("notify", f'echo x >>"{count}"; [ "$(wc -l <"{count}")" -ge 3 ] || exit 75')
    assert device.runner().ask("notify").verdict is HookVerdict.DONE
    assert device.waits == [2.0, 4.0]
    device.hook("notify", f'echo x >"{count}"; exit 75')
    assert device.runner().ask("notify").verdict is HookVerdict.TRY_LATER
    assert len(device.waits) == 2 + limits.HOOK_TRIES - 1


@pytest.mark.parametrize(
    "body",
    [
        "echo not json",
        "echo '[]'",
        "echo '{}{}'",
        "printf '{\"a\": '",
        """printf '{"a": "'; head -c 70000 /dev/zero | tr '\\0' a; echo '"}'""",
        "yes",
    ],
)
def test_an_answer_that_is_not_one_bounded_object_is_a_failure(device: Device, body: str) -> None:
    device.hook("notify", f"timeout 1 {body}" if body == "yes" else body)
    answer = device.runner().ask("notify", seconds=10)
    assert answer.verdict is HookVerdict.FAILED
    assert answer.members == {}


def test_standard_error_goes_to_the_log_bounded(device: Device) -> None:
    device.hook("notify", r"""printf 'one\n\033two\n' >&2; yes | head -n 1000 >&2""")
    device.runner().ask("notify")
    assert device.log()[:2] == ["one", "\\x1btwo"]
    assert len(device.log()) == 64


def test_the_time_limit_ends_a_hook(device: Device) -> None:
    device.hook("notify", "sleep 300")
    started = time.monotonic()
    answer = device.runner().ask("notify", seconds=0.2)
    assert time.monotonic() - started < 5
    assert (answer.verdict, answer.message) == (HookVerdict.FAILED, "time limit of 0.2 s")


def test_the_time_limit_ends_all_of_a_hook(device: Device) -> None:
    device.hook("notify", "(trap '' TERM; exec sleep 300) & echo $! >&2; sleep 300")
    device.runner().ask("notify", seconds=0.5)
    (pid,) = device.log()
    deadline = time.monotonic() + 5
    while _runs(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _runs(pid)


def _runs(pid: str) -> bool:
    """Not gone, nor a zombie whoever adopted it has not reaped yet."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def test_a_hook_may_leave_a_delayed_reboot_behind(device: Device) -> None:
    done = device.state / "rebooted"
    device.hook("reboot", f'{{ sleep 0.3; : >"{done}"; }} &')
    device.platform().reboot("image")
    deadline = time.monotonic() + 5
    while not done.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert done.exists()


def test_a_hook_that_cannot_start_fails_in_words(device: Device) -> None:
    (device.hooks / "notify").write_text("#!/no/such/interpreter\n")
    (device.hooks / "notify").chmod(0o755)
    answer = device.runner().ask("notify")
    assert answer.verdict is HookVerdict.FAILED
    assert "can't be started" in answer.message


def test_a_hook_that_does_not_read_is_no_failure(device: Device) -> None:
    device.hook("notify", "exit 0")
    answer = device.runner().ask("notify", {"pad": "x" * 200_000}, payload=b"x" * 1_000_000)
    assert answer.verdict is HookVerdict.DONE


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o777])
def test_a_hook_others_may_write_is_refused(device: Device, mode: int) -> None:
    device.hook("facts", mode=mode)
    with pytest.raises(ConfigurationError):
        device.runner().provides("facts")


def test_a_hook_in_a_folder_others_may_write_is_refused(device: Device) -> None:
    device.hook("facts")
    device.hooks.chmod(0o777)
    with pytest.raises(ConfigurationError):
        device.runner().provides("facts")


def test_what_is_not_executable_is_no_hook(device: Device) -> None:
    device.hook("facts", mode=0o644)
    (device.hooks / "reboot").mkdir()
    assert not device.runner().provides("facts")
    assert not device.runner().provides("reboot")
    assert not device.runner().provides("mark-good")


# --- which verbs ---


def test_platform_hooks_names_what_is_missing(device: Device) -> None:
    for verb in REQUIRED_VERBS[1:]:
        device.hook(verb)
    with pytest.raises(ConfigurationError, match="facts"):
        device.platform("hooks")
    device.hook("facts")
    assert device.platform("hooks").name == "hooks"


@pytest.mark.parametrize("verb", [*SET, *PAIR])
def test_half_of_a_set_is_refused(device: Device, verb: str) -> None:
    device.hook(verb)
    with pytest.raises(ConfigurationError, match=verb):
        device.platform()


def test_a_hook_takes_one_verb_and_64_hands_it_back(device: Device) -> None:
    device.hook("facts", """echo '{"os-name": "theirs", "on-trial": true, "unknown": 1}'""")
    facts = device.platform().facts()
    assert (facts.os_name, facts.os_version, facts.on_trial) == ("theirs", None, True)
    device.hook("facts", "exit 64")
    assert device.platform().facts().os_name is None
    device.hook("facts", "exit 1")
    with pytest.raises(ExecutionError) as error:
        device.platform().facts()
    assert error.value.reason is Reason.PLATFORM_FAILED


def test_the_boot_has_a_name_also_where_the_hook_gives_none(device: Device) -> None:
    for verb in REQUIRED_VERBS:
        device.hook(verb)
    kernel = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert device.platform("hooks").facts().boot_id == kernel
    device.platform().power_on()
    assert device.platform().facts().boot_id not in {None, kernel}
    device.hook("facts", """echo '{"boot-id": "b7"}'""")
    assert device.platform("hooks").facts().boot_id == "b7"


def test_a_stop_request_ends_a_transfer_and_spares_a_change(device: Device) -> None:
    stopped = False

    def check() -> None:
        if stopped:
            raise StoppedError

    for verb in (*SET, *PAIR):
        device.hook(verb, "sleep 0.7; " + SAVE)
    context = dataclasses.replace(device.context(), check_stopped=check)
    platform = make_platform("directory", {"path": str(device.device)}, context)
    token = platform.checkpoint()
    sink = platform.image_sink(EXPECTED)
    stopped = True
    with pytest.raises(StoppedError):
        sink.write(memoryview(IMAGE))
    sink.abort()
    assert (device.state / "request.image-abort").exists()
    assert not (device.state / "request.image-write").exists()
    platform.apply_configuration(b"octets", "merge", token)
    assert (device.state / "request.configuration-apply").exists()


@pytest.mark.parametrize(
    "answer",
    [
        '{"os-name": 1}',
        '{"os-name": ""}',
        '{"os-version": "a\\nb"}',
        '{"image-sha256": "00"}',
        '{"image-sha256": "zz"}',
        '{"image-sha256": 5}',
        '{"on-trial": "true"}',
    ],
)
def test_facts_of_another_shape_are_refused(device: Device, answer: str) -> None:
    device.hook("facts", f"cat <<'EOF'\n{answer}\nEOF")
    with pytest.raises(ExecutionError) as error:
        device.platform().facts()
    assert error.value.reason is Reason.PLATFORM_FAILED


def test_reboot_waits_when_asked_three_times_at_most(device: Device) -> None:
    count = device.state / "count"
    device.hook("reboot", f"""echo x >>"{count}"; echo '{{"wait-seconds": 5}}'""")
    device.platform().reboot("image")
    assert device.waits == [5.0, 5.0, 5.0]
    device.hook("reboot", """echo '{"wait-seconds": 1e9}'""")
    device.platform().reboot("image")
    assert device.waits[-1] == limits.HOOK_REBOOT_WAIT_SECONDS
    device.waits.clear()
    device.hook("reboot", SAVE)
    device.platform().reboot("image")
    assert device.waits == []
    assert device.request("reboot")["reason"] == "image"


# --- images ---


def _write(platform: Platform, content: bytes = IMAGE) -> None:
    sink = platform.image_sink(EXPECTED)
    for start in range(0, len(content), 30_000):
        sink.write(memoryview(content)[start : start + 30_000])
    sink.commit(VERIFIED)


def test_image_hooks_get_what_they_need(device: Device) -> None:
    device.hook(
        "image-write", SAVE + 'cat <&3 >"$XPU_AGENT_STATE_DIR/got"; echo \'{"target": "t"}\''
    )
    device.hook("image-commit", SAVE)
    device.hook("image-abort", SAVE)
    _write(device.platform())
    assert (device.state / "got").read_bytes() == IMAGE
    digests = {"sha-256": EXPECTED.sha256.hex()}
    assert device.request("image-write")["image"] == {
        "os-name": "os",
        "os-version": "2.0",
        "size": None,
        "digests": digests,
        "format": "as-published",
    }
    commit = device.request("image-commit")
    assert (commit["target"], commit["digests"]) == ("t", digests)
    assert not (device.state / "request.image-abort").exists()


@pytest.mark.refuses("SZTP-5.6-05")
def test_end_of_file_commits_nothing(device: Device) -> None:
    device.hook("image-write", 'cat <&3 >/dev/null; echo \'{"target": "t"}\'')
    device.hook("image-commit", SAVE)
    device.hook("image-abort", SAVE)
    sink = device.platform().image_sink(EXPECTED)
    sink.write(memoryview(IMAGE))
    sink.abort()
    assert not (device.state / "request.image-commit").exists()
    assert device.request("image-abort")["digests"] == {"sha-256": EXPECTED.sha256.hex()}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("exit 1", Reason.INSTALL_FAILED),
        ("head -c 70000 <&3 >/dev/null; exit 1", Reason.INSTALL_FAILED),
        ("head -c 70000 <&3 >/dev/null; exit 0", Reason.INSTALL_FAILED),
        ("head -c 150000 <&3 >/dev/null; exit 64", Reason.INSTALL_FAILED),
        ("cat <&3 >/dev/null; exit 75", Reason.INSTALL_FAILED),
        ("""echo '{"reason": "disk-full"}'; exit 1""", Reason.DISK_FULL),
        ("""echo '{"reason": "voucher-expired"}'; exit 1""", Reason.INSTALL_FAILED),
    ],
)
def test_an_image_write_that_fails_is_an_error(device: Device, body: str, reason: Reason) -> None:
    device.hook("image-write", body)
    device.hook("image-commit", SAVE)
    device.hook("image-abort", SAVE)
    with pytest.raises(ExecutionError) as error:
        _write(device.platform())
    assert error.value.reason is reason
    assert not (device.state / "request.image-commit").exists()


@pytest.mark.parametrize("body", ["exit 64", "sleep 0.2; exit 64", "cat <&3 >/dev/null; exit 64"])
@pytest.mark.parametrize("size", [10, 60_000, 200_000])
def test_an_image_write_that_hands_back_loses_no_octet(
    device: Device, body: str, size: int
) -> None:
    for verb in SET:
        device.hook(verb, body)
    content = IMAGE[:size]
    expected = ExpectedImage("os", "2.0", hashlib.sha256(content).digest())
    sink = device.platform().image_sink(expected)
    handed_back = not (body.startswith("cat") and size > 64 * 1024)
    if not handed_back:
        # It has read more than we keep, so 64 comes too late.
        with pytest.raises(ExecutionError):
            _feed(sink.write, content, lambda: sink.commit(VerifiedImage(expected, size)))
        return
    _feed(sink.write, content, lambda: sink.commit(VerifiedImage(expected, size)))
    assert (device.device / "slots" / "b").read_bytes() == content


def _feed(write: Callable[[memoryview], None], content: bytes, end: Callable[[], None]) -> None:
    for start in range(0, len(content), 5_000):
        write(memoryview(content)[start : start + 5_000])
    end()


# --- configuration ---


def test_configuration_hooks_get_octets_path_and_token(device: Device) -> None:
    device.hook(
        "configuration-apply",
        SAVE + 'cat <&3 >"$XPU_AGENT_STATE_DIR/fd3"; cp "$XPU_AGENT_STATE_DIR/configuration" '
        '"$XPU_AGENT_STATE_DIR/file"; echo \'{"checkpoint": "c1", "warnings": ["careful"]}\'',
    )
    device.hook("configuration-undo", SAVE)
    platform = device.platform()
    token = platform.checkpoint()
    assert platform.apply_configuration(b"octets", "merge", token) == ("careful",)
    request = device.request("configuration-apply")
    assert (request["handling"], request["token"]) == ("merge", token)
    assert request["path"] == str(device.state / "configuration")
    assert (device.state / "fd3").read_bytes() == b"octets"
    assert (device.state / "file").read_bytes() == b"octets"
    assert not (device.state / "configuration").exists()
    device.platform().undo(token)
    undo = device.request("configuration-undo")
    assert (undo["checkpoint"], undo["token"]) == ("c1", token)


@pytest.mark.requirement("SZTP-5.6-16")
def test_a_cut_inside_the_hook_is_undone_without_its_checkpoint(device: Device) -> None:
    device.hook("configuration-apply", "kill -KILL $PPID; sleep 1")
    device.hook("configuration-undo", SAVE)
    token = device.platform().checkpoint()
    pid = os.fork()
    if pid == 0:
        device.platform().apply_configuration(b"octets", "merge", token)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -9
    device.platform().undo(token)
    assert device.request("configuration-undo")["checkpoint"] is None
    assert device.request("configuration-undo")["token"] == token


def test_a_hook_that_fails_to_apply_is_undone_at_once(device: Device) -> None:
    device.hook("configuration-apply", """echo '{"reason": "config-invalid"}'; exit 1""")
    device.hook("configuration-undo", SAVE)
    platform = device.platform()
    with pytest.raises(ExecutionError) as error:
        platform.apply_configuration(b"octets", "merge", platform.checkpoint())
    assert error.value.reason is Reason.CONFIG_INVALID
    assert device.request("configuration-undo")["checkpoint"] is None


def test_undo_before_apply_asks_no_hook(device: Device) -> None:
    for verb in PAIR:
        device.hook(verb, SAVE)
    platform = device.platform()
    platform.undo(platform.checkpoint())
    assert not (device.state / "request.configuration-undo").exists()


@pytest.mark.refuses("SZTP-5.6-16")
@pytest.mark.parametrize("status", [1, 64, 75])
def test_an_undo_that_fails_is_never_silent(device: Device, status: int) -> None:
    device.hook("configuration-apply")
    device.hook("configuration-undo", f"exit {status}")
    platform = device.platform()
    token = platform.checkpoint()
    platform.apply_configuration(b"octets", "merge", token)
    with pytest.raises(UndoError):
        platform.undo(token)


def test_a_configuration_handed_back_is_the_built_in_platforms(device: Device) -> None:
    for verb in PAIR:
        device.hook(verb, SAVE + "exit 64")
    platform = device.platform()
    platform.apply_configuration(b"one", "replace", platform.checkpoint())
    token = platform.checkpoint()
    platform.apply_configuration(b"two", "replace", token)
    assert (device.device / "running-config").read_bytes() == b"two"
    device.platform().undo(token)
    assert (device.device / "running-config").read_bytes() == b"one"


@pytest.mark.refuses("SZTP-5.6-16")
def test_apply_and_undo_refuse_a_foreign_checkpoint(device: Device) -> None:
    for verb in PAIR:
        device.hook(verb, SAVE)
    platform = device.platform()
    first = platform.checkpoint()
    platform.checkpoint()
    with pytest.raises(ExecutionError):
        platform.apply_configuration(b"x", "merge", first)
    with pytest.raises(UndoError):
        platform.undo(first)


# --- scripts, resets, the rest ---


@pytest.mark.parametrize(
    ("body", "verdict"),
    [
        ("""echo '{"exit-status": 0, "output": "said"}'""", ScriptVerdict.OK),
        ("""echo '{"exit-status": 75, "output": "said"}'""", ScriptVerdict.WARNING),
        ("""echo '{"exit-status": 3, "output": "said"}'""", ScriptVerdict.ERROR),
        ("""echo '{"exit-status": true, "output": "said"}'""", ScriptVerdict.ERROR),
        ("""echo '{"output": "said"}'; exit 75""", ScriptVerdict.ERROR),
        ("""echo '{"output": "said"}'; exit 1""", ScriptVerdict.ERROR),
    ],
)
def test_run_script_by_hook(device: Device, body: str, verdict: ScriptVerdict) -> None:
    device.hook("run-script", f'echo x >>"$XPU_AGENT_STATE_DIR/ran"; {body}')
    result = device.platform().run_script(
        b"anything", ScriptStage.PRE, serial_number="SN-1", seconds=5
    )
    assert (result.verdict, result.output) == (verdict, "said")
    assert (device.state / "ran").read_text() == "x\n"  # once, whatever it answered


def test_text_of_a_hook_can_always_be_written_down(device: Device) -> None:
    device.hook("run-script", r"""printf '%s' '{"output": "\ud800\u0000\u001b"}'""")
    result = device.platform().run_script(b"", ScriptStage.PRE, serial_number="SN-1", seconds=5)
    assert result.output == "?\\x00\\x1b"
    device.hook("configuration-undo")
    device.hook("configuration-apply", r"""printf '%s' '{"warnings": ["\udfff", 5, "a"]}'""")
    platform = device.platform()
    assert platform.apply_configuration(b"", "merge", platform.checkpoint()) == ("?", "a")


def test_run_script_handed_back_runs_here(device: Device) -> None:
    device.hook("run-script", "exit 64")
    result = device.platform().run_script(
        b"#!/bin/sh\necho here\n", ScriptStage.PRE, serial_number="SN-1", seconds=5
    )
    assert result.output == "here\n"


def test_wipe_goes_to_the_hook_and_our_record_goes_with_it(device: Device) -> None:
    device.hook("wipe", SAVE)
    for verb in PAIR:
        device.hook(verb)
    platform = device.platform()
    platform.checkpoint()
    platform.wipe(ResetLevel.DEEP)
    assert device.request("wipe")["level"] == "deep"
    assert not (device.state / "hook-checkpoint.json").exists()
    device.hook("wipe", "exit 1")
    with pytest.raises(ExecutionError):
        platform.wipe(ResetLevel.WEAK)


def test_reset_requested(device: Device) -> None:
    assert reset_requested(device.runner()) is None
    for level, result in (("none", None), ("weak", ResetLevel.WEAK), ("deep", ResetLevel.DEEP)):
        device.hook("reset-requested", f"""echo '{{"level": "{level}"}}'""")
        assert reset_requested(device.runner()) is result
    device.hook("reset-requested", "exit 64")
    assert reset_requested(device.runner()) is None
    for body in ("exit 1", 'echo \'{"level": "all"}\'', ":"):
        device.hook("reset-requested", body)
        with pytest.raises(ExecutionError):
            reset_requested(device.runner())


def test_source_fills_a_folder(device: Device, tmp_path: Path) -> None:
    assert not fill_medium(device.runner(), tmp_path)
    device.hook("source", SAVE)
    assert fill_medium(device.runner(), tmp_path)
    assert device.request("source")["dir"] == str(tmp_path)
    device.hook("source", "exit 64")
    assert not fill_medium(device.runner(), tmp_path)
    device.hook("source", "exit 1")
    with pytest.raises(SourceUnavailableError):
        fill_medium(device.runner(), tmp_path)


def test_notifier_tells_changes_once_and_never_fails(device: Device) -> None:
    told = device.state / "told"
    device.hook("notify", f'cat >>"{told}"; exit 1')
    notifier = HookNotifier(device.runner())
    state = AgentState(last_reason=Reason.TIMEOUT)
    events: list[Event] = [
        StateChanged(AgentState(State.DISCOVERING)),
        StateChanged(AgentState(State.DISCOVERING)),
        ServerContacted("host", 443, "192.0.2.1", trusted=False, depth=0),
        StateChanged(AgentState(State.JUDGED)),
        Note("x", "y"),
        *(ImageProgress(done, 1000) for done in range(0, 1001, 5)),
        ImageProgress(5, None),
        StateChanged(AgentState(State.TRIAL_BOOT)),
        StateChanged(AgentState(State.WAITING, last_reason=state.last_reason)),
        StateChanged(AgentState(State.BROKEN, last_reason=Reason.UNDO_FAILED)),
        StateChanged(AgentState(State.PROVISIONED)),
    ]
    for event in events:
        notifier.emit(event)
    lines = [json.loads(line) for line in told.read_text().splitlines()]
    shown = [(m["state"], m.get("percent", m.get("reason"))) for m in lines]
    assert shown == [
        ("started", None),
        ("network-up", None),
        ("bootstrapping", None),
        *(("image-writing", percent) for percent in range(0, 101, 10)),
        ("image-writing", None),
        ("reboot-pending", None),
        ("failed", "timeout"),
        ("broken", "undo-failed"),
        ("onboarded", None),
    ]


@pytest.mark.slow
def test_a_notifier_that_lasts_hears_no_percentages(device: Device) -> None:
    told = device.state / "told"
    device.hook("notify", f'cat >>"{told}"; exec sleep 60')
    notifier = HookNotifier(device.runner())
    for done in range(0, 101, 10):
        notifier.emit(ImageProgress(done, 100))
    assert len(told.read_text().splitlines()) == 2


def test_what_a_power_cut_left_in_the_state_folder_goes(device: Device) -> None:
    for verb in PAIR:
        device.hook(verb)
    for wipes in (False, True):
        (device.state / "configuration").write_text("secret")
        (device.state / "scripts").mkdir()
        (device.state / "scripts" / "pre-configuration.0").write_text("secret")
        if wipes:
            device.platform().wipe(ResetLevel.WEAK)
        else:
            device.platform().power_on()
        assert [path.name for path in device.state.iterdir()] == []


def test_an_abort_handed_back_is_no_failure(device: Device) -> None:
    for verb in SET:
        device.hook(verb, "cat <&3 >/dev/null; exit 64")
    sink = device.platform().image_sink(EXPECTED)
    sink.write(memoryview(b"small"))
    sink.abort()


# --- registry ---


def test_registry_knows_its_platforms_and_refuses_the_rest(device: Device) -> None:
    assert platform_options("directory") == {"path"}
    assert platform_path_options("directory") == {"path"}
    assert platform_options("hooks") == frozenset()
    with pytest.raises(ConfigurationError, match="directory, hooks"):
        platform_options("direktory")
    for options in ({}, {"path": ""}, {"path": 5}, {"path": "/x", "slot": "a"}):
        with pytest.raises(ConfigurationError):
            make_platform("directory", options, device.context())
    assert make_platform("directory", {"path": "/x"}, device.context()).name == "directory"


def test_configuration_knows_the_same_options(device: Device) -> None:
    assert {str(name) for name in PLATFORM_KEYS} == set(platform_names())
    for name, keys in PLATFORM_KEYS.items():
        assert {key.removeprefix("platform.") for key in keys} == platform_options(str(name))
