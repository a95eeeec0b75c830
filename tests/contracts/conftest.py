# SPDX-License-Identifier: Apache-2.0
"""What a platform under test has to let the contract suite do to it."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from xpu_agent.platforms.context import PlatformContext
from xpu_agent.platforms.hooks import REQUIRED_VERBS
from xpu_agent.platforms.registry import make_platform
from xpu_agent.ports import Event, Platform

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "packaging/hooks/example-hook.sh"
ALL_VERBS = (*REQUIRED_VERBS, "mark-good", "run-script", "wipe", "reset-requested", "notify")


@dataclass
class Subject:
    """A device. `platform()` is a new agent on it, as after a power cut."""

    name: str
    options: dict[str, object]
    state_dir: Path
    hooks_dir: Path | None
    configuration: Path | None  # where its running configuration can be looked at
    events: list[Event] = field(default_factory=list)

    def platform(self) -> Platform:
        return make_platform(self.name, self.options, self.context())

    def context(self) -> PlatformContext:
        return PlatformContext(
            state_dir=self.state_dir,
            hooks_dir=self.hooks_dir,
            serial_number=lambda: "SN-1",
            attempt=lambda: 1,
            emit=self.events.append,
            wait=lambda _seconds: None,
        )

    def reboot(self) -> Platform:
        """Ask for a reboot and come back: what is pending runs now, on trial."""
        self.platform().reboot("a test")
        platform = self.platform()
        platform.power_on()
        return platform

    def running(self) -> bytes | None:
        """The running configuration, None where there is none."""
        if self.configuration is None:
            pytest.skip("XPU_AGENT_HOOKS_CONFIGURATION does not say where to look")
        return self.configuration.read_bytes() if self.configuration.exists() else None


def link(folder: Path, verbs: tuple[str, ...]) -> Path:
    folder.mkdir(mode=0o755)
    for verb in verbs:
        (folder / verb).symlink_to(EXAMPLE)
    return folder


def _subjects() -> list[str]:
    if os.environ.get("XPU_AGENT_HOOKS"):
        return ["vendor"]
    return ["directory", "hooks", "overlay", "overlay-of-configuration", "overlay-of-image"]


@pytest.fixture(params=_subjects())
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    state, device = tmp_path / "state", tmp_path / "device"
    state.mkdir(mode=0o700)
    example = state / "example" / "config"
    ours = device / "running-config"
    directory: dict[str, object] = {"path": str(device)}
    pair = ("configuration-apply", "configuration-undo")
    match request.param:
        case "directory":
            yield Subject("directory", directory, state, None, ours)
        case "hooks":
            yield Subject("hooks", {}, state, link(tmp_path / "hooks", ALL_VERBS), example)
        case "overlay":
            # Every verb is the hook's, also those that come in sets.
            folder = link(tmp_path / "hooks", ALL_VERBS)
            yield Subject("directory", directory, state, folder, example)
        case "overlay-of-configuration":
            yield Subject("directory", directory, state, link(tmp_path / "hooks", pair), example)
        case "overlay-of-image":
            verbs = ("facts", "image-write", "image-commit", "image-abort", "reboot", "mark-good")
            yield Subject("directory", directory, state, link(tmp_path / "hooks", verbs), ours)
        case _:
            look = os.environ.get("XPU_AGENT_HOOKS_CONFIGURATION")
            yield Subject(
                "hooks",
                {},
                state,
                Path(os.environ["XPU_AGENT_HOOKS"]),
                Path(look) if look else None,
            )
