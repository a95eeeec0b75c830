# SPDX-License-Identifier: Apache-2.0
"""What the device says of itself: configuration, platform, system, in this order."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.harness import lab

from xpu_agent.config import AgentConfig, SerialNumberFrom, load_config
from xpu_agent.device import DeviceFacts
from xpu_agent.errors import ConfigurationError, IdentityError, Reason
from xpu_agent.facts import Identity, gather, read_anchors, read_identity, readable_keys
from xpu_agent.ports import PlatformFacts

OF_PLATFORM = PlatformFacts(
    serial_number="of-platform",
    hw_model="model",
    os_name="PlatformOS",
    os_version="7",
    image_sha256=None,
    on_trial=False,
)


def _config(tmp_path: Path, text: str = "") -> AgentConfig:
    (tmp_path / "agent.yaml").write_text(text or "paths: {state: /s}\n")
    return load_config(Path("/agent.yaml"), tmp_path).config


def _identity(serial: str | None) -> Identity:
    return Identity(Path("/c"), Path("/k"), (b"leaf",), serial)


def _gather(
    config: AgentConfig,
    identity: Identity | None = None,
    platform: PlatformFacts | None = OF_PLATFORM,
    root: Path | None = None,
) -> DeviceFacts:
    return gather(config, identity, platform, voucher_anchors=(), server_anchors=(), root=root)


def test_where_the_serial_number_comes_from(tmp_path: Path) -> None:
    config = _config(tmp_path)
    assert _gather(config, _identity("of-subject"), root=tmp_path).serial_number == "of-subject"
    assert _gather(config, _identity(None), root=tmp_path).serial_number == "of-platform"
    device = replace(config.device, serial_number_from=SerialNumberFrom.PLATFORM)
    by_platform = replace(config, device=device)
    assert _gather(by_platform, _identity("of-subject")).serial_number == "of-platform"
    named = replace(config, device=replace(config.device, serial_number="named"))
    assert _gather(named, _identity("of-subject")).serial_number == "named"


def test_a_serial_number_said_to_be_the_platforms_is_never_the_subjects(tmp_path: Path) -> None:
    config = _config(tmp_path, "device: {serial-number-from: platform}\n")
    silent = replace(OF_PLATFORM, serial_number=None)
    with pytest.raises(IdentityError) as caught:
        _gather(config, _identity("of-subject"), silent)
    assert caught.value.reason is Reason.IDEVID_MISSING


def test_the_system_answers_where_nobody_else_does(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text('NAME="Some OS"\nVERSION_ID=12\n')
    dmi = tmp_path / "sys/class/dmi/id"
    dmi.mkdir(parents=True)
    (dmi / "product_name").write_text("Board 9\n")
    config = _config(tmp_path)
    silent = replace(OF_PLATFORM, hw_model=None, os_name=None, os_version=None)
    facts = _gather(config, None, silent, tmp_path)
    assert (facts.running.os_name, facts.running.os_version) == ("Some OS", "12")
    assert facts.hw_model == "Board 9"
    (dmi / "product_name").write_text("System Product Name\n")
    assert _gather(config, None, silent, tmp_path).hw_model is None
    # Where there is no SMBIOS there is a device tree.
    tree = tmp_path / "proc/device-tree"
    tree.mkdir(parents=True)
    (tree / "model").write_bytes(b"Example XPU rev 2\0")
    assert _gather(config, None, silent, tmp_path).hw_model == "Example XPU rev 2"


def test_an_installed_image_answers_for_itself(tmp_path: Path) -> None:
    config = _config(tmp_path, "device: {os-name: Factory, os-version: '1'}\n")
    assert _gather(config).running.os_name == "Factory"
    installed = replace(OF_PLATFORM, image_sha256=b"d" * 32)
    running = _gather(config, None, installed).running
    assert (running.os_name, running.os_version) == ("PlatformOS", "7")
    nameless = replace(installed, os_name=None, os_version=None)
    running = _gather(config, None, nameless).running
    assert (running.os_name, running.os_version) == (None, None)


def test_identity_files(tmp_path: Path) -> None:
    with lab(tmp_path / "lab") as it:
        device = it.device()
        config = load_config(device.config, None).config
        identity = read_identity(config)
        assert identity is not None
        assert identity.subject_serial_number == device.serial
        assert identity.issued_by_one_of([it.pki.owner_root.der, identity.chain[1]])
        assert not identity.issued_by_one_of([it.pki.owner_root.der, it.pki.manufacturer_root.der])
        (device.folder / "idevid" / "chain.pem").write_bytes(b"x" * (1 << 22))
        with pytest.raises(IdentityError, match="larger than"):
            read_identity(config)
    assert read_identity(_config(tmp_path)) is None


def test_anchors_are_certificates_of_files_nobody_else_writes(tmp_path: Path) -> None:
    with lab(tmp_path / "lab") as it:
        root, other = it.pki.manufacturer_root, it.pki.owner_root
        path = tmp_path / "a.pem"
        path.write_bytes(root.pem + other.pem + root.pem)
        assert read_anchors([path, path]) == (root.der, other.der)
        path.chmod(0o666)
        with pytest.raises(ConfigurationError):
            read_anchors([path])
        path.chmod(0o644)
        path.write_bytes(b"no certificate")
        with pytest.raises(ConfigurationError, match=r"a\.pem"):
            read_anchors([path])
        # One that can't be read is not left out while the others count.
        for damage in (root.pem[: len(root.pem) // 2], root.pem.replace(b"M", b"*", 1)):
            path.write_bytes(damage + other.pem)
            with pytest.raises(ConfigurationError, match="cut or garbled"):
                read_anchors([path])
        path.unlink()
        with pytest.raises(ConfigurationError, match="does not exist"):
            read_anchors([path])


@pytest.mark.requirement("SZTP-5.1-10")
def test_a_key_that_others_can_read_is_named_with_the_remedy(tmp_path: Path) -> None:
    with lab(tmp_path) as it:
        device = it.device()
    config = load_config(device.config).config
    assert readable_keys(config) == ()
    key = device.folder / "idevid" / "key.pem"
    key.chmod(0o640)
    assert readable_keys(config) == (f"{key} can be read by others; run: chmod 600 {key}",)
