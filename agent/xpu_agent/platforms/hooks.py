# SPDX-License-Identifier: Apache-2.0
"""A platform whose verbs executables take over: the operator's contract, section Hooks.

`HookedPlatform` stands around any platform. A verb whose executable is in the hooks folder goes
there, exit status 64 hands it back; all others go straight through. Platform `hooks` is the bare
one inside it.

Two sets of verbs only make sense together, and half of one is refused when the platform is made:
`image-write`, `image-commit`, `image-abort`; `configuration-apply`, `configuration-undo`.

Configuration and power cuts. The port asks for a checkpoint first, a hook answers one only after
it has applied. So the agent makes a token of its own, and `hook-checkpoint.json` below the state
folder records how far it got, always written before the effect:

    new       nothing was applied: an undo has nothing to do
    builtin   the platform inside applies: its own checkpoint leads back
    applying  the hook was started: `configuration-undo` with the token and checkpoint null
    applied   the hook's checkpoint is known

Both verbs carry the token, so that a hook can tell what it did in this attempt from what an
earlier one left behind.
"""

import contextlib
import errno
import json
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from xpu_agent import limits
from xpu_agent.atomic_write import remove_durably, write_atomically
from xpu_agent.errors import ConfigurationError, ExecutionError, Reason, UndoError
from xpu_agent.lifecycle import ResetLevel
from xpu_agent.platforms.hook_image import HookSink
from xpu_agent.platforms.hook_runner import HookAnswer, HookRunner, HookVerdict
from xpu_agent.platforms.processes import printable
from xpu_agent.platforms.script_runner import ScriptRunner
from xpu_agent.platforms.script_runner import verdict as script_verdict
from xpu_agent.ports import (
    ExpectedImage,
    ImageSink,
    Platform,
    PlatformFacts,
    ScriptResult,
    ScriptStage,
    ScriptVerdict,
)
from xpu_agent.progress import SshHostKey

REQUIRED_VERBS = (
    "facts",
    "image-write",
    "image-commit",
    "image-abort",
    "configuration-apply",
    "configuration-undo",
    "reboot",
)
TOGETHER = (
    frozenset({"image-write", "image-commit", "image-abort"}),
    frozenset({"configuration-apply", "configuration-undo"}),
)
_FACT_CHARS = 256
_REBOOT_QUESTIONS = 3
_RECORD_BYTES = 64 * 1024
_WARNINGS = 16
# What a hook may name as `reason` beside its message; anything else is left aside.
_CONFIG_REASONS = frozenset(
    {Reason.CONFIG_INVALID, Reason.CONFIG_REJECTED, Reason.CONFIG_DISK_FULL}
)


class HookedPlatform:
    """`builtin` with the hooks in front of it; `boot_id` answers where the hook `facts` doesn't."""

    def __init__(
        self,
        builtin: Platform,
        runner: HookRunner,
        *,
        boot_id: Callable[[], str | None],
        required: Sequence[str] = (),
    ) -> None:
        self._builtin = builtin
        self._boot_id = boot_id
        self._runner = runner
        self._context = runner.context
        folder = self._context.hooks_dir
        missing = [verb for verb in required if not runner.provides(verb)]
        if missing:
            raise ConfigurationError(
                f"platform {builtin.name} lacks the hook {', '.join(missing)} in {folder}",
                next_action="put an executable of that name there, or name another platform",
            )
        for verbs in TOGETHER:
            there = {verb for verb in verbs if runner.provides(verb)}
            if there and there != verbs:
                raise ConfigurationError(
                    f"the hook {', '.join(sorted(there))} in {folder} needs "
                    f"{', '.join(sorted(verbs - there))} beside it",
                )

    @property
    def name(self) -> str:
        """The platform inside names it."""
        return self._builtin.name

    # --- what runs ---

    def power_on(self) -> None:
        """No verb of its own."""
        with _recording(Reason.PLATFORM_FAILED):
            self._forget("configuration")  # a power cut may have left it
        self._builtin.power_on()

    def facts(self) -> PlatformFacts:
        """What the hook says, whole: facts of two minds are not mixed."""
        answer = self._ask("facts", seconds=limits.HOOK_QUESTION_SECONDS)
        if answer is None:
            return self._builtin.facts()
        _done("facts", answer, Reason.PLATFORM_FAILED)
        digest = answer.members.get("image-sha256")
        try:
            sha256 = None if digest is None else bytes.fromhex(str(digest))
        except ValueError:
            sha256 = b""
        on_trial = answer.members.get("on-trial", False)
        if (sha256 is not None and len(sha256) != 32) or not isinstance(on_trial, bool):
            raise ExecutionError(
                Reason.PLATFORM_FAILED,
                "the hook facts answered no SHA-256 digest or no boolean where one is due",
            )
        return PlatformFacts(
            serial_number=_fact(answer, "serial-number"),
            hw_model=_fact(answer, "hw-model"),
            os_name=_fact(answer, "os-name"),
            os_version=_fact(answer, "os-version"),
            image_sha256=sha256,
            on_trial=on_trial,
            boot_id=_fact(answer, "boot-id") or self._boot_id(),
        )

    def reboot(self, reason: str) -> None:
        """Ask; a hook may ask for time three times, then the agent goes on."""
        for _ in range(_REBOOT_QUESTIONS):
            answer = self._ask("reboot", {"reason": reason}, seconds=limits.HOOK_QUESTION_SECONDS)
            if answer is None:
                self._builtin.reboot(reason)
                return
            _done("reboot", answer, Reason.PLATFORM_FAILED)
            wait = answer.members.get("wait-seconds")
            if not isinstance(wait, int | float) or isinstance(wait, bool) or wait <= 0:
                return
            self._context.wait(min(float(wait), limits.HOOK_REBOOT_WAIT_SECONDS))

    def rearm(self) -> None:
        """No verb of its own."""
        self._builtin.rearm()

    def mark_good(self) -> None:
        """The running image boots from now on."""
        answer = self._ask("mark-good")
        if answer is None:
            self._builtin.mark_good()
        else:
            _done("mark-good", answer, Reason.PLATFORM_FAILED)

    def ssh_host_keys(self) -> Sequence[SshHostKey]:
        """No verb of its own."""
        return self._builtin.ssh_host_keys()

    # --- image ---

    def image_sink(self, expected: ExpectedImage) -> ImageSink:
        """The hook's, or the built-in one if the hook exits with 64 before it reads."""
        if not self._runner.provides("image-write"):
            return self._builtin.image_sink(expected)
        return HookSink(self._runner, expected, lambda: self._builtin.image_sink(expected))

    # --- configuration ---

    def checkpoint(self) -> str:
        """A token; with hooks for the configuration it stands for both ways back."""
        builtin = self._builtin.checkpoint()
        if not self._runner.provides("configuration-apply"):
            return builtin
        token = secrets.token_hex(8)
        with _recording(Reason.CONFIG_REJECTED):
            self._save(_Record(token, builtin, "new", None))
        return token

    def apply_configuration(self, content: bytes, handling: str, checkpoint: str) -> Sequence[str]:
        """The hook gets the octets on descriptor 3 and, while it runs, as the file `path`."""
        if not self._runner.provides("configuration-apply"):
            return self._builtin.apply_configuration(content, handling, checkpoint)
        record = self._load()
        if record is None or record.token != checkpoint:
            raise ExecutionError(Reason.CONFIG_REJECTED, "the checkpoint is not the one asked for")
        path = self._context.state_dir / "configuration"
        with _recording(Reason.CONFIG_REJECTED):
            self._save(_Record(record.token, record.builtin, "applying", None))
            write_atomically(path, content)
        try:
            answer = self._runner.ask(
                "configuration-apply",
                {"path": str(path), "handling": handling, "token": checkpoint},
                payload=content,
            )
        finally:
            with contextlib.suppress(OSError):
                remove_durably(path)
        if answer.verdict is HookVerdict.NOT_SUPPORTED:
            with _recording(Reason.CONFIG_REJECTED):
                self._save(_Record(record.token, record.builtin, "builtin", None))
            return self._builtin.apply_configuration(content, handling, record.builtin)
        if answer.verdict is not HookVerdict.DONE:
            # It promised to change nothing when it fails; one that was killed could not keep
            # that. The caller undoes too, and hears of it if this doesn't work.
            with contextlib.suppress(UndoError):
                self.undo(checkpoint)
            _done("configuration-apply", answer, Reason.CONFIG_REJECTED, _CONFIG_REASONS)
        with _recording(Reason.CONFIG_REJECTED):
            theirs = answer.text("checkpoint", limits.HOOK_CHECKPOINT_CHARS)
            self._save(_Record(record.token, record.builtin, "applied", theirs))
        warnings = answer.members.get("warnings")
        found = warnings if isinstance(warnings, list) else []
        return tuple(_clean(w)[:_FACT_CHARS] for w in found[:_WARNINGS] if isinstance(w, str))

    def undo(self, checkpoint: str) -> None:
        """Whichever of the two applied leads back."""
        record = self._load()
        if record is None or record.token != checkpoint:
            if not self._runner.provides("configuration-apply"):
                self._builtin.undo(checkpoint)
                return
            raise UndoError("the checkpoint of the earlier configuration is not the one asked for")
        match record.phase:
            case "new":
                return
            case "builtin":
                self._builtin.undo(record.builtin)
            case _:
                answer = self._runner.ask(
                    "configuration-undo",
                    {"checkpoint": record.theirs, "token": checkpoint},
                )
                if answer.verdict is HookVerdict.NOT_SUPPORTED:
                    raise UndoError("the hook configuration-undo does not support what it is for")
                if answer.verdict is not HookVerdict.DONE:
                    raise UndoError(f"the hook configuration-undo failed: {answer.message}")

    # --- scripts and resets ---

    def run_script(
        self, content: bytes, stage: ScriptStage, *, serial_number: str, seconds: int
    ) -> ScriptResult:
        """The hook answers `exit-status` and `output` of the script it got on descriptor 3."""
        if self._runner.provides("run-script"):
            answer = self._runner.ask(
                "run-script",
                {"stage": stage, "seconds": seconds},
                payload=content,
                seconds=seconds + 5.0,
                stage=stage,
                tries=1,  # a script must not run twice because its hook was busy
            )
            if answer.verdict is not HookVerdict.NOT_SUPPORTED:
                return _script_result(answer)
        return self._builtin.run_script(
            content, stage, serial_number=serial_number, seconds=seconds
        )

    def wipe(self, level: ResetLevel) -> None:
        """The hook's reset, or the built-in one; our own record goes with either."""
        answer = self._ask("wipe", {"level": level})
        if answer is None:
            self._builtin.wipe(level)
        else:
            _done("wipe", answer, Reason.PLATFORM_FAILED)
        with _recording(Reason.PLATFORM_FAILED):
            self._forget("configuration")
            self._forget("hook-checkpoint.json")
        ScriptRunner(self._context.state_dir).clean()

    # --- helpers ---

    def _ask(
        self,
        verb: str,
        members: dict[str, object] | None = None,
        *,
        seconds: float = limits.HOOK_SECONDS,
    ) -> HookAnswer | None:
        """The hook's answer; None where there is no hook or it doesn't support the verb."""
        if not self._runner.provides(verb):
            return None
        answer = self._runner.ask(verb, members, seconds=seconds)
        return None if answer.verdict is HookVerdict.NOT_SUPPORTED else answer

    def _forget(self, name: str) -> None:
        if (self._context.state_dir / name).exists():
            remove_durably(self._context.state_dir / name)

    @property
    def _record_path(self) -> Path:
        return self._context.state_dir / "hook-checkpoint.json"

    def _save(self, record: "_Record") -> None:
        members = {
            "token": record.token,
            "builtin": record.builtin,
            "phase": record.phase,
            "checkpoint": record.theirs,
        }
        self._record_path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self._record_path, json.dumps(members).encode())

    def _load(self) -> "_Record | None":
        try:
            with self._record_path.open("rb") as file:
                members = json.loads(file.read(_RECORD_BYTES))
            return _Record(
                members["token"], members["builtin"], members["phase"], members["checkpoint"]
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None


@dataclass(frozen=True, slots=True)
class _Record:
    """How far a configuration got; `theirs` is the hook's own checkpoint."""

    token: str
    builtin: str
    phase: str
    theirs: str | None


def _done(
    verb: str,
    answer: HookAnswer,
    reason: Reason,
    allowed: frozenset[Reason] = frozenset(),
) -> None:
    """Raise ExecutionError unless the hook is done; it may choose among `allowed` reasons."""
    if answer.verdict is not HookVerdict.DONE:
        named = answer.members.get("reason")
        chosen = next((r for r in allowed if r == named), reason)
        raise ExecutionError(chosen, f"the hook {verb} failed: {answer.message}")


def _fact(answer: HookAnswer, name: str) -> str | None:
    value = answer.members.get(name)
    if value is None:
        return None
    text = answer.text(name, _FACT_CHARS)
    if not text or not text.isprintable():
        raise ExecutionError(
            Reason.PLATFORM_FAILED, f"the hook facts answered no plain text as {name}"
        )
    return text


def _clean(text: str) -> str:
    """A hook's text for people; JSON may hold what no encoding can write down."""
    return printable(text.encode("utf-8", "replace"))


def _script_result(answer: HookAnswer) -> ScriptResult:
    output = _clean(answer.text("output", limits.HOOK_ANSWER_BYTES) or "")
    if answer.verdict is not HookVerdict.DONE:
        detail = f"the hook run-script failed: {answer.message}"
        return ScriptResult(ScriptVerdict.ERROR, output, detail, timed_out=answer.timed_out)
    status = answer.members.get("exit-status", 0)
    if not isinstance(status, int) or isinstance(status, bool):
        detail = "the hook run-script answered no number as exit-status"
        return ScriptResult(ScriptVerdict.ERROR, output, detail)
    return ScriptResult(script_verdict(status), output, f"exit status {status}")


@contextlib.contextmanager
def _recording(reason: Reason) -> Iterator[None]:
    """OSError of our own records to ExecutionError."""
    try:
        yield
    except OSError as error:
        if reason is Reason.CONFIG_REJECTED and error.errno in {errno.ENOSPC, errno.EDQUOT}:
            reason = Reason.CONFIG_DISK_FULL
        why = f"the state folder can't be written: {os.strerror(error.errno or 0)}"
        raise ExecutionError(reason, why) from error
