# SPDX-License-Identifier: Apache-2.0
"""`xpu-agent run` and `xpu-agent daemon`."""

from typing import TYPE_CHECKING

from xpu_agent.errors import ExitCode, StateError, XpuAgentError
from xpu_agent.facts import readable_keys
from xpu_agent.ports import Note, Outcome, OutcomeKind, RunEnded
from xpu_agent.wiring import (
    Device,
    FanOut,
    Options,
    attach_records,
    in_root_folder,
    listening,
    load_settings,
    make_device,
    make_lock,
    make_ports,
    make_status,
    make_store,
    notify_systemd,
    reset_if_requested,
)

if TYPE_CHECKING:
    from xpu_agent.config import AgentConfig
    from xpu_agent.ports import Event, Ports
    from xpu_agent.store.file_store import FileStore


def run(options: Options) -> int:
    """One attempt over all sources; the exit status is the outcome's."""
    return _onboard(options, daemon=False)


def daemon(options: Options) -> int:
    """Attempts until bootstrapped; systemd is told if it asks (sd_notify)."""
    return _onboard(options, daemon=True)


def _onboard(options: Options, *, daemon: bool) -> int:
    from xpu_agent.bootstrap.failures import failed, outcome_exit_code

    loaded = load_settings(options)
    config = loaded.config
    with make_lock(config), in_root_folder(), listening(options, config) as events:
        store = make_store(config)
        status = make_status(config, store)
        if _is_settled(config, store):
            if not _has_status(config):
                events.add(status)
            if daemon:
                notify_systemd("READY=1")  # one that ends without it has failed, for systemd
            return _nothing_to_do(events)
        try:
            device = make_device(options, loaded, events=events)
            device.clock.stop_on_signals()
            attach_records(device, status)
            if daemon:
                events.add(_SystemdListener())
                notify_systemd("READY=1")
            for notice in (*loaded.notices, *readable_keys(config)):
                events.emit(Note("configuration-notice", notice, warning=True))
            reset_if_requested(device)
            if store.provisioned():
                return _nothing_to_do(events)
            ports = make_ports(device)
        except XpuAgentError as error:
            # No attempt can begin; whoever asks for the status later is told why.
            status.emit(RunEnded(failed(error.reason, error.message)))
            raise
        outcome = _outcome(device, ports, daemon=daemon)
    return int(outcome_exit_code(outcome))


def _is_settled(config: "AgentConfig", store: "FileStore") -> bool:
    """Provisioned, and no reset button to ask: nothing else of the device has to be read.

    A provisioned device boots every day, also after its identity became unreadable.
    """
    return store.provisioned() and not (config.hooks / "reset-requested").exists()


def _has_status(config: "AgentConfig") -> bool:
    """Whether this boot has a status file already, with more in it than we could say."""
    from xpu_agent.store.status import read_status

    try:
        return read_status(config.paths.run) is not None
    except StateError:
        return False  # damaged, so written anew


def _nothing_to_do(events: FanOut) -> int:
    outcome = Outcome(OutcomeKind.NOTHING_TO_DO, message="this device is provisioned")
    events.emit(RunEnded(outcome))
    return int(ExitCode.OK)


def _outcome(device: Device, ports: "Ports", *, daemon: bool) -> Outcome:
    from xpu_agent.bootstrap.sequence import run_daemon, run_once

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
