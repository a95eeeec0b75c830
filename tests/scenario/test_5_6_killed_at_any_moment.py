# SPDX-License-Identifier: Apache-2.0
"""The real agent, killed at its durable writes, goes on where it may and ends where it should.

`tests/property/test_power_cut.py` cuts at every moment in memory; here a process is killed
(SIGKILL, so nothing cleans up) just before one of its calls of `fsync`, with real files, real
scripts and real TLS around it.
"""

import hashlib
import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.harness import (
    CONFIGURATION,
    IMAGE,
    OS_NAME,
    OS_VERSION,
    Device,
    Lab,
    file_uri,
)

# Kills itself before the n-th fsync; n = 0 never. What is killed is the whole agent.
_KILLED = """
import os, signal, sys
from xpu_agent.cli import main
left, fsync = int(sys.argv[1]), os.fsync
def counting(descriptor):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    fsync(descriptor)
os.fsync = counting
status = main(sys.argv[2:])
print(int(sys.argv[1]) - left)
sys.exit(status)
"""
_AGENT = Path(__file__).parents[2] / "agent"
_STARTS = 8
_STEP = int(os.environ.get("XPU_AGENT_KILL_STEP", "4"))  # 1: at every fsync; takes minutes


def start(device: Device, kill_at: int) -> tuple[int, int]:
    """One start of the agent in a process of its own: exit status, and fsyncs it called."""
    ended = subprocess.run(  # noqa: PLW1510  # the status is what is looked at
        [sys.executable, "-c", _KILLED, str(kill_at), "--config", str(device.config), "run"],
        env={"PYTHONPATH": str(_AGENT), "PATH": os.environ["PATH"]},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        timeout=60,
    )
    lines = ended.stdout.split()
    return ended.returncode, int(lines[-1]) if lines else 0


def kill_and_go_on(device: Device, kill_at: int) -> tuple[int, bool]:
    """Kill at that fsync, counted over reboots; then start again until the agent is through."""
    passed, killed = 0, False
    for _ in range(_STARTS):
        status, calls = start(device, 0 if killed else kill_at - passed)
        passed += calls
        if status == -signal.SIGKILL:
            killed = True
        elif status != 20:
            return status, killed
    pytest.fail("the device reboots for ever")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.requirement("SZTP-5.6-15", "SZTP-5.6-16")
def test_5_6_killed_before_an_fsync_it_ends_provisioned(lab: Lab) -> None:
    owner, files = lab.server("owner"), lab.files()
    document = lab.onboarding(
        os_name=OS_NAME,
        os_version=OS_VERSION,
        download_uris=[file_uri(files)],
        image_sha256=hashlib.sha256(IMAGE).digest(),
    )
    data = lab.unsigned(document, level="verbose")
    for kill_at in itertools.count(1, _STEP):
        serial = f"SN-{kill_at}"
        owner.server.set_answer(serial, data)
        device = lab.device(servers=[owner], serial=serial)
        status, killed = kill_and_go_on(device, kill_at)
        assert status == 0, kill_at
        assert device.running_config == CONFIGURATION, kill_at
        assert device.slot(device.boot["active"]) == IMAGE, kill_at
        assert device.boot["pending"] is None, kill_at
        assert device.provisioned, kill_at
        if not killed:
            break
    assert kill_at > 20
    assert owner.server.violations == ()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.refuses("SZTP-5.6-15")
def test_5_6_killed_in_an_attempt_that_fails_it_leaves_nothing_active(lab: Lab) -> None:
    owner = lab.server("owner")
    data = lab.unsigned(lab.onboarding(post_script=b"#!/bin/sh\nexit 1\n"))
    for kill_at in itertools.count(2, _STEP):
        serial = f"SN-{kill_at}"
        owner.server.set_answer(serial, data)
        device = lab.device(servers=[owner], serial=serial)
        status, killed = kill_and_go_on(device, kill_at)
        assert status == 12, kill_at
        assert not device.running_config, kill_at
        assert not device.provisioned, kill_at
        if not killed:
            break
    assert kill_at > 12
