# SPDX-License-Identifier: Apache-2.0
"""`enable`, `disable`, `mark-good` and `reprovision`."""

import sys

from xpu_agent.errors import ExitCode
from xpu_agent.wiring import (
    Options,
    in_root_folder,
    listening,
    load_settings,
    make_device,
    make_lock,
    make_store,
)


def enable(options: Options) -> int:
    """Turn the SZTP switch on (RFC 8572, 5.1), also while an agent runs."""
    store = make_store(load_settings(options).config)
    store.enable()
    more = "; this device is provisioned, `xpu-agent reprovision` onboards it again"
    sys.stdout.write(f"SZTP is on{more if store.provisioned() else ''}\n")
    return ExitCode.OK


def disable(options: Options) -> int:
    """Turn it off; an agent that waits stops at its next look."""
    make_store(load_settings(options).config).disable()
    sys.stdout.write("SZTP is off\n")
    return ExitCode.OK


def mark_good(options: Options) -> int:
    """Say that the image on trial is healthy, where the platform leaves that to the OS."""
    loaded = load_settings(options)
    config = loaded.config
    with make_lock(config), in_root_folder(), listening(options, config) as events:
        make_device(options, loaded, events=events).platform.mark_good()
    sys.stdout.write("the running image boots from now on\n")
    return ExitCode.OK


def reprovision(options: Options) -> int:
    """The weak reset: forget progress and configuration; the owner stays."""
    from xpu_agent.bootstrap.recovery import reset
    from xpu_agent.lifecycle import ResetLevel

    loaded = load_settings(options)
    config = loaded.config
    with make_lock(config), in_root_folder(), listening(options, config) as events:
        device = make_device(options, loaded, events=events)
        reset(device.platform, device.store, device.clock, events, ResetLevel.WEAK)
    sys.stdout.write("progress and configuration are forgotten; the next run onboards again\n")
    return ExitCode.OK
