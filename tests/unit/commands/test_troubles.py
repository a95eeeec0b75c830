# SPDX-License-Identifier: Apache-2.0
"""Disks that are full, folders that can't be written, servers that refuse us: one line each."""

import contextlib
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.harness import Device, Lab

AGENT = Path(__file__).parents[3] / "agent"


def _agent(
    device: Device, *arguments: str, before: Callable[[], None] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "xpu_agent", "--config", str(device.config), *arguments],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(AGENT), "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        preexec_fn=before,
        timeout=60,
        check=False,
    )


def _medium(lab: Lab) -> str:
    return str(lab.medium("usb", lab.signed(lab.onboarding())))


def _one_line(done: subprocess.CompletedProcess[str], status: int, words: str) -> None:
    assert done.returncode == status, done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("xpu-agent: ")]
    assert len(said) == 1, done.stderr
    assert words in said[0]
    assert "Traceback" not in done.stderr
    assert "internal" not in said[0]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small file system")
def test_a_full_disk(lab: Lab) -> None:
    device, medium = lab.device(), _medium(lab)
    device.state_dir.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "none", str(device.state_dir)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine lets nobody mount a tmpfs")
    try:
        filler = device.state_dir / "filler"
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"x" * 4096)
        done = _agent(device, "run", "--media", medium)
        assert done.returncode == 1
        assert "state-unwritable" in done.stderr
        assert "Traceback" not in done.stderr
        assert device.running_config is None
        filler.unlink()
        assert _agent(device, "run", "--media", medium).returncode == 0
    finally:
        subprocess.run(["umount", str(device.state_dir)], check=True)


def test_files_may_not_grow(lab: Lab) -> None:
    device = lab.device()

    def no_growth() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    done = _agent(device, "run", "--media", _medium(lab), before=no_growth)
    _one_line(done, 1, "state")
    assert device.running_config is None


def test_a_folder_of_state_that_is_a_file(lab: Lab) -> None:
    device = lab.device()
    device.state_dir.write_text("in the way")
    _one_line(_agent(device, "run", "--media", _medium(lab)), 1, "state")
    _one_line(_agent(device, "disable"), 1, "state")


def test_a_folder_below_proc(lab: Lab) -> None:
    device = lab.device()
    device.configure(paths={"state": "/proc/xpu-agent"})
    _one_line(_agent(device, "run", "--media", _medium(lab)), 1, "/proc/xpu-agent")


def test_a_server_that_refuses_our_certificate(lab: Lab) -> None:
    from xpu_agent.errors import Reason

    owner = lab.server()
    owner.server.set_answer("SN-0001", lab.unsigned(lab.onboarding()))
    device, stranger = lab.device(servers=[owner]), lab.pki.server()
    folder = device.folder / "idevid"
    (folder / "chain.pem").write_bytes(stranger.pem)
    (folder / "key.pem").write_bytes(stranger.key_pem)
    device.configure(device={"serial-number": device.serial})
    done = _agent(device, "run")
    assert done.returncode == 14, done.stderr
    assert "Traceback" not in done.stderr
    assert device.last_reason == Reason.CLIENT_CERT_REFUSED
