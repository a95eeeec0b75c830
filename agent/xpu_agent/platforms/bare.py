# SPDX-License-Identifier: Apache-2.0
"""Platform `hooks` without its hooks: what is left to answer for a verb no hook takes.

It can run scripts, and read the SSH host keys where a system keeps them. Whatever would change
what boots or how the device is configured is refused: a guess would be worse.
"""

from collections.abc import Sequence
from pathlib import Path

from xpu_agent.errors import ExecutionError, Reason, UndoError
from xpu_agent.lifecycle import ResetLevel
from xpu_agent.platforms.context import PlatformContext
from xpu_agent.platforms.script_runner import ScriptRunner
from xpu_agent.platforms.ssh_host_keys import read_host_keys
from xpu_agent.ports import ExpectedImage, ImageSink, PlatformFacts, ScriptResult, ScriptStage
from xpu_agent.progress import SshHostKey


def kernel_boot_id() -> str | None:
    """The running kernel's name for this boot."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


class BarePlatform:
    """The device nobody told us how to change."""

    name = "hooks"

    def __init__(self, context: PlatformContext) -> None:
        self._ssh_dir = context.ssh_dir
        self._scripts = ScriptRunner(context.state_dir, check_stopped=context.check_stopped)

    def power_on(self) -> None:
        """A real device has booted; only what a power cut left of a script goes."""
        self._scripts.clean()

    def facts(self) -> PlatformFacts:
        """Refused: `facts` is a verb this platform needs."""
        raise ExecutionError(Reason.PLATFORM_FAILED, "no hook says what runs on this device")

    def image_sink(self, expected: ExpectedImage) -> ImageSink:  # noqa: ARG002  # the port's
        """Refused."""
        raise ExecutionError(Reason.SLOT_UNAVAILABLE, "no hook writes boot images on this device")

    def checkpoint(self) -> str:
        """Nothing is changed here, so nothing has to be recorded."""
        return ""

    def apply_configuration(
        self,
        content: bytes,  # noqa: ARG002  # the port's
        handling: str,
        checkpoint: str,  # noqa: ARG002  # the port's
    ) -> Sequence[str]:
        """Refused."""
        raise ExecutionError(
            Reason.CONFIG_REJECTED, f"no hook can {handling} the configuration of this device"
        )

    def undo(self, checkpoint: str) -> None:
        """Nothing was changed."""
        if checkpoint:
            raise UndoError("no hook can bring the earlier configuration back")

    def run_script(
        self, content: bytes, stage: ScriptStage, *, serial_number: str, seconds: int
    ) -> ScriptResult:
        """Run it."""
        return self._scripts.run(content, stage, serial_number=serial_number, seconds=seconds)

    def reboot(self, reason: str) -> None:
        """Left to whoever started the agent: exit code 20."""

    def rearm(self) -> None:
        """Left to the device."""

    def mark_good(self) -> None:
        """Left to the device."""

    def ssh_host_keys(self) -> Sequence[SshHostKey]:
        """The keys of the system's SSH server."""
        return read_host_keys(self._ssh_dir, "ssh_host_*_key.pub")

    def wipe(self, level: ResetLevel) -> None:  # noqa: ARG002  # the port's
        """Only what is ours: scripts a power cut left behind."""
        self._scripts.clean()
