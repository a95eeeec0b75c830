# SPDX-License-Identifier: Apache-2.0
"""`xpu-agent status`: show the status file; needs neither the agent running nor root."""

import json
import os
import shutil
import sys
import time
from collections.abc import Mapping
from typing import Any

from xpu_agent.errors import ExitCode, StateError
from xpu_agent.store.status import FORMAT, read_status
from xpu_agent.wiring import Options, load_settings, make_store

_LOOK_SECONDS = 0.5  # a file that is replaced as a whole has no event an ordinary user may wait for


def run(options: Options, *, json_output: bool, watch: bool) -> int:
    """Print it once, or again at every change until interrupted."""
    try:
        return _run(options, json_output=json_output, watch=watch)
    except KeyboardInterrupt:
        if watch:
            return ExitCode.OK
        raise


def _run(options: Options, *, json_output: bool, watch: bool) -> int:
    config = load_settings(options).config
    store = make_store(config)
    shown: Mapping[str, Any] | None = None
    while True:
        status = read_status(config.paths.run)
        if status is None:
            # The file goes with a boot; what is durable still answers.
            try:
                state = store.load()
                status = {
                    "format": FORMAT,
                    "state": state.state.value,
                    "attempt": state.attempt,
                    "since": state.since.isoformat() if state.since else None,
                    "source": state.source,
                    "last-reason": state.last_reason.value if state.last_reason else None,
                }
            except StateError as error:
                status = {"format": FORMAT, "state": "unknown", "last-message": error.message}
        if status != shown:
            _show(status, json_output=json_output, clear=watch and shown is not None)
            shown = status
        if not watch:
            return ExitCode.OK
        time.sleep(_LOOK_SECONDS)


def _show(status: Mapping[str, Any], *, json_output: bool, clear: bool) -> None:
    if json_output:
        sys.stdout.write(json.dumps(status, indent=None if clear else 1) + "\n")
    else:
        from xpu_agent.console import render_status

        terminal = sys.stdout.isatty()
        if clear:
            sys.stdout.write("\x1b[H\x1b[J" if terminal else "\n")
        text = render_status(
            status,
            color=terminal and not os.environ.get("NO_COLOR"),
            width=shutil.get_terminal_size((100, 24)).columns if terminal else 100,
        )
        sys.stdout.write(text.rstrip("\n") + "\n")
    sys.stdout.flush()
