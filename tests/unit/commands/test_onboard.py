# SPDX-License-Identifier: Apache-2.0
"""`run` and `daemon` around the workflow: where they work, who asks for a reset, who is told."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.harness import CLEAR_SWITCH, SERIAL, Device, Lab

AGENT = Path(__file__).parents[3] / "agent"


def _medium(lab: Lab, name: str = "usb", script: bytes = CLEAR_SWITCH) -> str:
    return str(lab.medium(name, lab.signed(lab.onboarding(post_script=script))))


def _hook(device: Device, verb: str, script: str) -> Path:
    hooks = device.folder / "hooks"
    hooks.mkdir(exist_ok=True)
    path = hooks / verb
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_scripts_and_hooks_begin_in_the_root_folder_whatever_the_callers(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = lab.device()
    here = lab.folder / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    _hook(
        device, "reset-requested", 'pwd >>"$XPU_AGENT_STATE_DIR/where"; echo \'{"level":"none"}\''
    )
    script = b'#!/bin/sh\npwd >>"$XPU_AGENT_STATE_DIR/where"\n' + CLEAR_SWITCH
    _medium(lab, script=script)
    # Paths of the command line are the caller's all the same.
    assert device.run("run", "--media", "../media/usb") == 0
    assert (device.state_dir / "where").read_text().splitlines() == ["/", "/"]
    assert Path.cwd() == here


def test_a_relative_configuration_is_the_callers(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    from xpu_agent.cli import main

    device, medium = lab.device(), _medium(lab)
    monkeypatch.chdir(device.folder)
    assert main(["plan", "--config", "agent.yaml", "--media", medium]) == 0


@pytest.mark.parametrize("level", ["weak", "deep"])
def test_a_reset_that_is_asked_for_is_done_and_the_run_goes_on(lab: Lab, level: str) -> None:
    device, medium = lab.device(), _medium(lab)
    assert device.run("run", "--media", medium) == 0
    assert device.provisioned
    assert device.run("run", "--media", medium) == 0
    before = device.state["since"]
    hook = f'[ -e "{device.folder}/asked" ] && level=none || level={level}'
    _hook(
        device,
        "reset-requested",
        f'{hook}; : >"{device.folder}/asked"; echo "{{\\"level\\": \\"$level\\"}}"',
    )
    (device.home / "running-config").write_bytes(b"to be forgotten")
    assert device.run("run", "--media", medium) == 0
    assert (device.folder / "asked").exists()
    assert device.provisioned
    assert device.running_config != b"to be forgotten"
    assert device.state["since"] != before
    # Asked once a start, and `none` leaves everything as it is.
    (device.home / "running-config").write_bytes(b"kept")
    assert device.run("run", "--media", medium) == 0
    assert device.running_config == b"kept"


def test_a_reset_leads_out_of_a_document_that_cannot_be_read(lab: Lab) -> None:
    device, medium = lab.device(), _medium(lab)
    device.state_dir.mkdir()
    (device.state_dir / "state.json").write_text("{")
    assert device.run("run", "--media", medium) == 1
    assert (device.state_dir / "state.json").read_text() == "{"
    _hook(device, "reset-requested", 'echo \'{"level": "weak"}\'')
    assert device.run("run", "--media", medium) == 0


def test_a_reset_hook_that_fails_stops_the_start(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    device, medium = lab.device(), _medium(lab)
    _hook(device, "reset-requested", "exit 1")
    assert device.run("run", "--media", medium) == 12
    assert "reset-requested" in capsys.readouterr().err
    assert device.running_config is None


def test_a_hook_others_may_write_is_refused(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    device, medium = lab.device(), _medium(lab)
    _hook(device, "reset-requested", 'echo \'{"level": "none"}\'').chmod(0o777)
    assert device.run("run", "--media", medium) == 2
    assert "reset-requested" in capsys.readouterr().err


def _sent(device: Device, address: str, bound: str | bytes) -> tuple[int, list[str]]:
    """What a daemon that ends by itself tells systemd."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(bound)
        channel.setblocking(False)
        done = subprocess.run(
            [sys.executable, "-m", "xpu_agent", "--config", str(device.config), "daemon"],
            env={**os.environ, "PYTHONPATH": str(AGENT), "NOTIFY_SOCKET": address},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=False,
        )
        told: list[str] = []
        with contextlib.suppress(BlockingIOError):
            while True:
                told.append(channel.recv(4096).decode())
    return done.returncode, told


@pytest.mark.parametrize("marker", ["provisioned", "disabled"])
def test_a_daemon_with_nothing_to_do_has_not_failed(lab: Lab, tmp_path: Path, marker: str) -> None:
    device = lab.device(servers=["https://127.0.0.1:9"])
    device.state_dir.mkdir()
    (device.state_dir / marker).touch()
    status, told = _sent(device, f"{tmp_path}/a@b", f"{tmp_path}/a@b")
    assert (status, told[0]) == (0, "READY=1")


def test_systemd_may_listen_outside_the_file_system(lab: Lab) -> None:
    device = lab.device()
    device.state_dir.mkdir()
    (device.state_dir / "disabled").touch()
    name = f"xpu-agent-test-{os.getpid()}@1"
    assert _sent(device, f"@{name}", f"\0{name}".encode())[1][0] == "READY=1"


def test_systemd_is_told(lab: Lab, tmp_path: Path) -> None:
    device = lab.device(servers=["https://127.0.0.1:9"])
    address = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(address))
        channel.settimeout(20)
        command = [sys.executable, "-m", "xpu_agent", "--config", str(device.config), "daemon"]
        with subprocess.Popen(
            command,
            env={**os.environ, "PYTHONPATH": str(AGENT), "NOTIFY_SOCKET": str(address)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                told: list[str] = []
                while not any(line.startswith("STATUS=waiting ") for line in told):
                    told.append(channel.recv(4096).decode())
                process.send_signal(signal.SIGTERM)
                assert process.wait(20) == 15
            finally:
                process.kill()
    assert told[0] == "READY=1"
    assert any(line.startswith("STATUS=discovering (attempt ") for line in told)
    # The next run goes on from there.
    assert device.state["state"] in {"waiting", "discovering"}
    assert device.run("run", "--media", _medium(lab)) == 0


def test_a_stopped_run_is_taken_up_again(lab: Lab) -> None:
    device = lab.device()
    script = f'#!/bin/sh\n[ -e "{lab.folder}/seen" ] || {{ : >"{lab.folder}/seen"; sleep 60; }}\n'
    medium = _medium(lab, script=script.encode() + CLEAR_SWITCH)
    with device.process("run", "--media", medium) as process:
        deadline = time.monotonic() + 20
        while not (lab.folder / "seen").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        # One at a time: another start says so and touches nothing.
        assert device.run("run", "--media", medium) == 16
        assert device.run("reprovision") == 16
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 15
    assert not device.provisioned
    assert device.run("run", "--media", medium) == 0
    assert device.provisioned


@pytest.mark.parametrize(("files", "status"), [(("chain.pem",), 14), (("key.pem",), 14)])
def test_identity_that_is_not_there(
    lab: Lab, capsys: pytest.CaptureFixture[str], files: tuple[str, ...], status: int
) -> None:
    device, medium = lab.device(), _medium(lab)
    for name in files:
        (device.folder / "idevid" / name).unlink()
    assert device.run("run", "--media", medium) == status
    err = capsys.readouterr().err
    assert files[0] in err
    assert "Traceback" not in err
    assert device.running_config is None


def test_identity_of_another_device(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    device, other, medium = lab.device(), lab.device(serial="SN-0002"), _medium(lab)
    key = (other.folder / "idevid" / "key.pem").read_bytes()
    (device.folder / "idevid" / "key.pem").write_bytes(key)
    assert device.run("run", "--media", medium) == 14
    assert "Traceback" not in capsys.readouterr().err
    assert device.serial == SERIAL


@pytest.mark.parametrize(
    "content", [b"", b"garbage", b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"]
)
@pytest.mark.parametrize(
    ("file", "status"), [("idevid/chain.pem", 14), ("idevid/key.pem", 14), ("vouchers.pem", 2)]
)
def test_files_that_hold_something_else(
    lab: Lab, capsys: pytest.CaptureFixture[str], content: bytes, file: str, status: int
) -> None:
    device, medium = lab.device(), _medium(lab)
    (device.folder / file).write_bytes(content)
    assert device.run("run", "--media", medium) == status
    err = capsys.readouterr().err.strip()
    assert file.rsplit("/", maxsplit=1)[-1] in err
    assert len([line for line in err.splitlines() if line.startswith("xpu-agent: ")]) == 1


def test_anchors(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    device, medium = lab.device(), _medium(lab)
    (device.folder / "vouchers.pem").chmod(0o666)
    assert device.run("run", "--media", medium) == 2
    assert "vouchers.pem" in capsys.readouterr().err
    (device.folder / "vouchers.pem").unlink()
    assert device.run("run", "--media", medium) == 2
    assert "vouchers.pem" in capsys.readouterr().err


def test_nothing_answers(lab: Lab) -> None:
    assert lab.device(servers=["https://127.0.0.1:9"]).run() == 10


def test_no_platform(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    device, medium = lab.device(), _medium(lab)
    text = "".join(
        line
        for line in device.config.read_text().splitlines(keepends=True)
        if not line.startswith(("platform:", "  name: directory", "  path: device"))
    )
    device.config.write_text(text)
    assert device.run("run", "--media", medium) == 2
    assert "platform.name" in capsys.readouterr().err


def test_a_provisioned_device_boots_though_its_identity_is_gone(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    owner = lab.server()
    owner.server.set_answer(SERIAL, lab.signed(lab.onboarding()))
    device = lab.device(servers=[owner])
    assert device.run() == 0
    rich = device.status
    (device.folder / "idevid" / "key.pem").unlink()
    (device.folder / "idevid" / "chain.pem").write_text("nothing")
    assert device.run() == 0
    assert device.status == rich
    for damage in ("", "x", "[]"):
        (device.folder / "run" / "status.json").write_text(damage)
        assert device.run() == 0
        assert device.status["state"] == "provisioned"
    (device.folder / "run" / "status.json").unlink()
    assert device.run() == 0
    assert device.status["state"] == "provisioned"
    capsys.readouterr()


def test_the_status_says_why_the_identity_could_not_be_read(lab: Lab) -> None:
    device = lab.device(servers=[lab.server()])
    (device.folder / "idevid" / "chain.pem").write_text("nothing")
    assert device.run() == 14
    assert device.last_reason == "idevid-missing"
