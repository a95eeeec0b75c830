# SPDX-License-Identifier: Apache-2.0
"""What a person sees: a live view on a terminal, plain lines elsewhere, the status rendered.

`live` redraws one line while something goes on and leaves finished ones standing; `plain` writes
ASCII lines for serial consoles and files; `status_view` draws the status file. `words` has what
they share: what stages are called, how long things took, how text of others is made harmless.
"""

from xpu_agent.console.advice import next_action
from xpu_agent.console.live import LiveView
from xpu_agent.console.plain import PlainView
from xpu_agent.console.status_view import render_status
from xpu_agent.console.terminal import is_live, make_console, wants_color
from xpu_agent.console.words import can_encode

__all__ = [
    "LiveView",
    "PlainView",
    "can_encode",
    "is_live",
    "make_console",
    "next_action",
    "render_status",
    "wants_color",
]
