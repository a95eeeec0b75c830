# SPDX-License-Identifier: Apache-2.0
"""Which view fits the place it is shown in, and what that place can show."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TextIO

from xpu_agent.console.live import LiveView
from xpu_agent.console.plain import PlainView
from xpu_agent.console.words import Look, can_encode

_CONSOLE = Path("/dev/console")


def make_console(
    *,
    stdin: TextIO,
    stream: TextIO,
    stdout: TextIO,
    environment: Mapping[str, str],
    monotonic: Callable[[], float],
) -> LiveView | PlainView:
    """The live view where `is_live` says so, else plain lines; on `stream` (standard error)."""
    if not is_live(stdin, stream, stdout, environment):
        return PlainView(stream, monotonic=monotonic)
    look = Look(color=wants_color(stream, environment), unicode=can_encode(stream))
    return LiveView(stream, columns=lambda: columns(stream), monotonic=monotonic, look=look)


def is_live(stdin: TextIO, stream: TextIO, stdout: TextIO, environment: Mapping[str, str]) -> bool:
    """Whether a line may be redrawn.

    Standard input and error are on a terminal whose size is known, TERM is one that can, and
    standard output isn't the system console, which other programs write to as well.
    """
    if environment.get("TERM", "dumb") in {"", "dumb"}:
        return False
    return (
        _is_terminal(stdin)
        and _is_terminal(stream)
        and columns(stream) > 0
        and not _is_system_console(stdout)
    )


def wants_color(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Colour on a terminal that has it, unless NO_COLOR is set to anything."""
    return (
        not environment.get("NO_COLOR")
        and environment.get("TERM", "dumb") not in {"", "dumb"}
        and _is_terminal(stream)
    )


def columns(stream: TextIO) -> int:
    """Columns of the terminal behind `stream`; 0 where it has no size."""
    try:
        return os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):
        return 0


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False


def _is_system_console(stream: TextIO) -> bool:
    try:
        status = os.fstat(stream.fileno())
        return os.path.samestat(status, _CONSOLE.stat()) or (
            stream.isatty() and os.ttyname(stream.fileno()) == str(_CONSOLE)
        )
    except (OSError, ValueError):
        return False
