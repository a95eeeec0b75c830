# SPDX-License-Identifier: Apache-2.0
"""`xpu-agent run` and `xpu-agent daemon`."""

from typing import TYPE_CHECKING

from xpu_agent.errors import XpuAgentError
from xpu_agent.ports import Note, Outcome, OutcomeKind, RunEnded
from xpu_agent.wiring import (
    Device,
    Options,
    attach_records,
    in_root_folder,
    listening,
    load_settings,
    make_device,
    make_lock,
    make_ports,
    notify_systemd,
    reset_if_requested,
)

if TYPE_CHECKING:
    from xpu_agent.ports import Event


def run(options: Options) -> int:
    """One attempt over all sources; the exit status is the outcome's."""
    return _onboard(options, daemon=False)


def daemon(options: Options) -> int:
    """Attempts until bootstrapped; systemd is told if it asks (sd_notify)."""
    return _onboard(options, daemon=True)


def _onboard(options: Options, *, daemon: bool) -> int:
    from xpu_agent.bootstrap.failures import outcome_exit_code

    loaded = load_settings(options)
    config = loaded.config
    with make_lock(config), in_root_folder(), listening(options, config) as events:
        device = make_device(options, loaded, events=events)
        device.clock.stop_on_signals()
        attach_records(device)
        if daemon:
            events.add(_SystemdListener())
            notify_systemd("READY=1")
        for notice in device.loaded.notices:
            events.emit(Note("configuration-notice", notice, warning=True))
        reset_if_requested(device)
        outcome = _outcome(device, daemon=daemon)
    return int(outcome_exit_code(outcome))


def _outcome(device: Device, *, daemon: bool) -> Outcome:
    if device.store.provisioned():
        # A provisioned device boots every day: no identity, network or platform is touched.
        outcome = Outcome(OutcomeKind.NOTHING_TO_DO, message="this device is provisioned")
        device.events.emit(RunEnded(outcome))
        return outcome
    from xpu_agent.bootstrap.failures import failed
    from xpu_agent.bootstrap.sequence import run_daemon, run_once

    try:
        ports = make_ports(device)
    except XpuAgentError as error:
        # No attempt can begin; whoever asks for the status later is told why.
        device.events.emit(RunEnded(failed(error.reason, error.message)))
        raise
    if not daemon:
        return run_once(ports, device.facts)
    after = device.config.give_up.after_seconds
    return run_daemon(ports, device.facts, give_up_seconds=float(after) if after else None)


class _SystemdListener:
    """`ports.Events`: one status line for `systemctl status`."""

    def emit(self, event: "Event") -> None:
        from xpu_agent.ports import StateChanged, Waiting

        match event:
            case StateChanged(state=state):
                notify_systemd(f"STATUS={state.state} (attempt {state.attempt})")
            case Waiting():
                notify_systemd(f"STATUS=waiting {event.seconds:.0f} s: {event.reason}")
            case _:
                pass
