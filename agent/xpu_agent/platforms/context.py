# SPDX-License-Identifier: Apache-2.0
"""What every platform is given besides its own options; wired once."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from xpu_agent.ports import Event


def _ignore(_event: Event) -> None:
    """Nobody listens."""


@dataclass(frozen=True, slots=True)
class PlatformContext:
    """Where things are, and the ways out.

    `state_dir`: the agent's durable folder (`paths.state`), private to it. `hooks_dir`: folder
    of executable hooks, None or absent for none. `serial_number` and `attempt` are asked when
    needed, since the platform is made before they are known. `emit` takes log events. `wait`
    sleeps and may raise StoppedError; `check_stopped` only looks. `ssh_dir`: where host keys are
    on a platform that doesn't say otherwise.
    """

    state_dir: Path
    hooks_dir: Path | None = None
    ssh_dir: Path = Path("/etc/ssh")
    serial_number: Callable[[], str | None] = lambda: None
    attempt: Callable[[], int] = lambda: 0
    emit: Callable[[Event], None] = _ignore
    wait: Callable[[float], None] = time.sleep
    check_stopped: Callable[[], None] = lambda: None
