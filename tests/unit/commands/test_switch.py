# SPDX-License-Identifier: Apache-2.0
"""`status`, `enable`, `disable`, `mark-good`, `reprovision` and `check-config`."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tests.harness import CONFIGURATION, Lab

AGENT = Path(__file__).parents[3] / "agent"


def _medium(lab: Lab) -> str:
    return str(lab.medium("usb", lab.signed(lab.onboarding())))


def test_status_without_a_file_and_with_one(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    device = lab.device()
    assert device.run("status", "--json") == 0
    assert json.loads(capsys.readouterr().out)["state"] == "factory"
    assert device.run("status") == 0
    assert capsys.readouterr().out
    assert device.run("run", "--media", _medium(lab)) == 0
    capsys.readouterr()
    assert device.run("status", "--json") == 0
    assert json.loads(capsys.readouterr().out) == device.status
    assert device.run("status") == 0
    assert "provisioned" in capsys.readouterr().out


def test_status_of_a_document_that_cannot_be_read(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    device = lab.device()
    device.state_dir.mkdir()
    (device.state_dir / "state.json").write_text("{")
    assert device.run("status", "--json") == 0
    assert json.loads(capsys.readouterr().out)["state"] == "unknown"


def test_watching_ends_with_ctrl_c(lab: Lab) -> None:
    device = lab.device()
    with subprocess.Popen(
        [sys.executable, "-m", "xpu_agent", "--config", str(device.config), "status", "--watch"],
        env={**os.environ, "PYTHONPATH": str(AGENT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline()
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=20)
        finally:
            process.kill()
    assert (process.returncode, err) == (0, b"")


def test_the_switch(lab: Lab) -> None:
    device, medium = lab.device(), _medium(lab)
    assert device.run("disable") == 0
    assert device.run("run", "--media", medium) == 0
    assert device.running_config is None
    assert device.run("enable") == 0
    assert device.run("run", "--media", medium) == 0
    assert device.running_config == CONFIGURATION


def test_reprovision_forgets_the_configuration(lab: Lab) -> None:
    device, medium = lab.device(), _medium(lab)
    assert device.run("run", "--media", medium) == 0
    assert device.run("reprovision") == 0
    assert not device.provisioned
    assert not device.disabled
    assert device.running_config is None
    assert device.run("run", "--media", medium) == 0
    assert device.provisioned


@pytest.mark.parametrize("document", ["{", '{"format": "xpu-agent-state/9"}', "broken"])
def test_reprovision_leads_out_of_everything(lab: Lab, document: str) -> None:
    device, medium = lab.device(), _medium(lab)
    assert device.run("run", "--media", medium) == 0
    path = device.state_dir / "state.json"
    (device.state_dir / "provisioned").unlink()
    (device.state_dir / "disabled").unlink()
    if document == "broken":
        path.write_text(json.dumps({**device.state, "state": "broken"}))
    else:
        path.write_text(document)
    before = path.read_text()
    assert device.run("run", "--media", medium) == (13 if document == "broken" else 1)
    assert document == "broken" or path.read_text() == before
    assert device.run("reprovision") == 0
    assert device.run("run", "--media", medium) == 0
    assert device.provisioned


def test_a_reset_that_was_cut_is_finished_by_the_next_start(lab: Lab) -> None:
    device, medium = lab.device(), _medium(lab)
    assert device.run("run", "--media", medium) == 0
    path = device.state_dir / "state.json"
    for marker in ("provisioned", "disabled"):
        (device.state_dir / marker).unlink()
    path.write_text(json.dumps({**device.state, "state": "wiping", "wipe-level": "weak"}))
    (device.home / "running-config").write_bytes(b"{}")
    assert device.run("run", "--media", medium) == 0
    assert device.running_config == CONFIGURATION


def test_mark_good(lab: Lab) -> None:
    assert lab.device().run("mark-good") == 0


def test_a_configuration_that_is_sound(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    device = lab.device()
    assert device.run("check-config") == 0
    assert "configuration is valid" in capsys.readouterr().out
    assert device.run("check-config", "--show") == 0
    out = capsys.readouterr().out
    assert "identity.certificate" in out
    assert str(device.config) in out


def test_every_problem_is_named(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    device = lab.device()
    device.configure(identiti={}, limits={"script-seconds": "soon"})
    assert device.run("check-config") == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert any("identiti" in line and "identity" in line for line in lines)
    assert any("script-seconds" in line for line in lines)
    assert device.run("run") == 2


def test_each_file_is_a_problem_of_its_own(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    device = lab.device()
    device.configure(
        identity={"username": device.serial, "password-file": "idevid/password"},
        report={"trust-anchor-certs": ["idevid/chain.pem"]},
    )
    for name in ("idevid/key.pem", "vouchers.pem", "servers.pem"):
        (device.folder / name).write_text("something else")
    (device.folder / "idevid" / "password").touch()
    (device.folder / "idevid" / "password").chmod(0o666)
    assert device.run("check-config") == 2
    lines = capsys.readouterr().err.splitlines()
    for name in ("idevid/password", "key.pem", "vouchers.pem", "servers.pem", "trust-anchor-certs"):
        assert len([line for line in lines if name in line]) == 1, name
    assert len(lines) == 5


@pytest.mark.parametrize("whole", [True, False], ids=["chain", "leaf-alone"])
def test_an_anchor_that_issues_device_identities(
    lab: Lab, capsys: pytest.CaptureFixture[str], whole: bool
) -> None:
    device = lab.device()
    issuer = lab.pki.device(device.serial).issuer
    assert issuer is not None
    if not whole:
        device.add_file("idevid/chain.pem", lab.pki.device(device.serial).pem)
    assert device.run("check-config") == 0
    assert capsys.readouterr().err == ""
    device.add_file("vouchers.pem", issuer.pem)
    assert device.run("check-config") == 0
    assert "any device's key below it could sign vouchers" in capsys.readouterr().err


def test_what_will_not_work_is_a_warning(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    device = lab.device(trust={"voucher-anchors": []})
    config = yaml.safe_load(device.config.read_text())
    del config["platform"]
    device.config.write_text(yaml.safe_dump(config))
    assert device.run("check-config") == 0
    err = capsys.readouterr().err
    assert "warning: trust.voucher-anchors is empty" in err
    assert "warning: platform.name is not set" in err
    assert device.run("run") == 2


def test_files_that_are_missing_are_problems_too(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    device = lab.device()
    (device.folder / "idevid" / "key.pem").unlink()
    (device.folder / "vouchers.pem").unlink()
    assert device.run("check-config") == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    for name, line in (("key.pem", lines[0]), ("vouchers.pem", lines[1])):
        assert line.startswith(str(device.config))
        assert name in line
