# SPDX-License-Identifier: Apache-2.0
"""`plan`: what would be done, with nothing touched."""

import hashlib
import json
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from tests.harness import CONFIGURATION, IMAGE, OS_NAME, OS_VERSION, Device, Lab, file_uri

SCHEMA = json.loads((resources.files("xpu_agent") / "schemas/plan.schema.json").read_text())


def _listing(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def _plan(
    device: Device, capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[int, dict[str, Any]]:
    status = device.run("plan", "--json", *arguments)
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    jsonschema.validate(answer, SCHEMA)
    return status, answer


def test_nothing_is_touched(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    owner = lab.server()
    owner.server.set_answer("SN-0001", lab.signed(lab.onboarding(pre_script=b"#!/bin/sh\n")))
    device = lab.device(servers=[owner])
    before = _listing(device.folder)
    status, answer = _plan(device, capsys)
    assert status == 0
    assert [s["step"] for s in answer["steps"]] == [
        "pre-configuration-script",
        "configuration",
        "post-configuration-script",
    ]
    configuration = answer["steps"][1]
    assert configuration["sha256"] == hashlib.sha256(CONFIGURATION).hexdigest()
    assert _listing(device.folder) == before
    assert owner.progress() == []


def test_an_image_to_install(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    document = lab.onboarding(
        os_name=OS_NAME,
        os_version=OS_VERSION,
        download_uris=[file_uri(lab.files())],
        image_sha256=hashlib.sha256(IMAGE).digest(),
    )
    medium = lab.medium("usb", lab.signed(document))
    status, answer = _plan(lab.device(), capsys, "--media", str(medium))
    assert status == 0
    assert answer["steps"][0]["step"] == "install-image"
    assert "discovers again" in answer["note"]


@pytest.mark.parametrize("command", ["provisioned", "disabled"])
def test_a_device_with_nothing_to_do(
    lab: Lab, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    device = lab.device(servers=["https://127.0.0.1:9"])
    device.state_dir.mkdir()
    (device.state_dir / command).touch()
    (device.folder / "idevid" / "chain.pem").unlink()  # nothing else is read then
    status, answer = _plan(device, capsys)
    assert (status, answer["steps"]) == (0, [])
    assert "nothing would be done" in answer["note"]


def test_nothing_trusted_and_nothing_found(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    device = lab.device(servers=["https://127.0.0.1:9"])
    assert _plan(device, capsys)[0] == 10
    medium = lab.medium("usb", lab.unsigned(lab.onboarding()))
    status, answer = _plan(device, capsys, "--media", str(medium))
    assert (status, answer["trusted-by"], answer["steps"]) == (11, None, [])
    assert "unsigned-not-allowed" in answer["note"]
    assert not device.state_dir.exists()
