# SPDX-License-Identifier: Apache-2.0
"""Whatever a device is given: one clear line, the right exit status, nothing half-done."""

import contextlib
import ctypes
import hashlib
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.harness import (
    CONFIGURATION,
    IMAGE,
    OS_NAME,
    OS_VERSION,
    SERIAL,
    Device,
    Lab,
    file_uri,
    make_folder,
)

AGENT = Path(__file__).parents[2] / "agent"
LIBC = ctypes.CDLL(None)
PR_CAPBSET_DROP = 24
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount")


def agent(
    *arguments: str, before: Callable[[], None] | None = None
) -> subprocess.CompletedProcess[str]:
    """The agent as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "xpu_agent", *arguments],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(AGENT), "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        preexec_fn=before,
        timeout=60,
        check=False,
    )


def one_line(
    device: Device, capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[int, str]:
    """Exit status and the one line said, of a command that leaves the device as it was."""
    capsys.readouterr()
    status = device.run(*arguments)
    out, err = capsys.readouterr()
    said = [line for line in err.splitlines() if line.startswith("xpu-agent: ")]
    assert (out, len(said)) == ("", 1), err
    assert "internal" not in said[0]
    assert device.running_config is None
    assert not device.provisioned
    return status, said[0]


def good_medium(lab: Lab) -> str:
    return str(lab.medium("good", lab.signed(lab.onboarding())))


# --- configuration --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"trusst: {}\n", "trust"),
        (b"trust: {voucher-anchor: [a]}\n", "voucher-anchors"),
        (b"trust: [\n", "agent.yaml:"),
        (b"{\n", "agent.yaml:"),
        (b"a: &x 1\nb: *x\n", "anchor"),
        (b"trust: {clock: auto}\ntrust: {clock: auto}\n", "trust"),
        (b"\xff\xfe\x00", "UTF-8"),
        (b"- 1\n", "agent.yaml"),
        (b"[" * 5000, "agent.yaml"),
        (b"format: xpu-agent-config/2\n", "xpu-agent-config/2"),
        ("sources: [\u2603]\n".encode(), "sources"),
        (b"platform: {name: floppy}\n", "platform.name"),
        (b"bootstrap-servers: ['http://a']\n", "bootstrap-servers"),
    ],
)
@pytest.mark.parametrize("command", ["run", "status"])
def test_a_configuration_that_is_wrong(
    lab: Lab, capsys: pytest.CaptureFixture[str], content: bytes, words: str, command: str
) -> None:
    device = lab.device()
    device.config.write_bytes(content)
    status, line = one_line(device, capsys, command)
    assert status == 2
    assert words in line
    assert not device.state_dir.exists()
    assert not (device.folder / "run").exists()


def test_a_configuration_others_may_write(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    device = lab.device()
    device.config.chmod(0o666)
    status, line = one_line(device, capsys, "run")
    assert status == 2
    assert "agent.yaml" in line
    assert "chmod" in line


def without_roots_rights() -> None:
    """Root may read anything; without these two capabilities file modes count for it too."""
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        LIBC.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)


@pytest.mark.parametrize(
    ("file", "status"),
    [("agent.yaml", 2), ("idevid/chain.pem", 14), ("idevid/key.pem", 14), ("vouchers.pem", 2)],
)
def test_a_file_that_may_not_be_read(lab: Lab, file: str, status: int) -> None:
    device, medium = lab.device(), good_medium(lab)
    (device.folder / file).chmod(0)
    arguments = ("--config", str(device.config), "run", "--media", medium)
    done = agent(*arguments, before=without_roots_rights)
    said = [line for line in done.stderr.splitlines() if line.startswith("xpu-agent: ")]
    assert (done.returncode, len(said)) == (status, 1), done.stderr
    assert file in said[0]
    assert "Permission denied" in said[0]
    assert device.running_config is None


# --- below another root ---------------------------------------------------------------------


def test_every_absolute_path_is_below_the_root(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    """A device whose files name `/...` throughout, with links that are absolute too."""
    from xpu_agent.cli import main

    device, owner = lab.device(), lab.server()
    owner.server.set_answer(SERIAL, lab.signed(lab.onboarding()))
    root = lab.folder / "root"
    make_folder(root)
    device.folder.rename(root / "device")
    device = Device(root / "device")
    lab.medium("usb", lab.signed(lab.onboarding())).rename(root / "medium")
    (root / "link").symlink_to("/device")
    text = device.config.read_text()
    for name in ("idevid/", "vouchers.pem", "servers.pem"):
        text = text.replace(name, f"/link/{name}")
    for old, new in (
        ("state: state", "state: /state"),
        ("run: run", "run: /run"),
        ("path: device", "path: /home"),
        ("hooks: hooks", "hooks: /hooks"),
    ):
        assert old in text
        text = text.replace(old, new)
    device.config.write_text(text)
    common = ["--root", str(root), "--config", "/link/agent.yaml"]
    assert main([*common, "check-config"]) == 0, capsys.readouterr().err

    def files() -> list[str]:
        names = ("conveyed-information.cms", "owner-certificate.cms", "ownership-voucher.vcj")
        options = ("--conveyed-information", "--owner-certificate", "--ownership-voucher")
        return [
            w
            for o, n in zip(options, names, strict=True)
            for w in (o, f"/medium/sztp/{SERIAL}/{n}")
        ]

    assert main([*common, "inspect", *files()]) == 0
    assert main([*common, "plan", "--media", "/medium"]) == 0
    assert not (root / "state").exists()
    server = ["--bootstrap-server", owner.url, "--trust-anchor", "/link/servers.pem"]
    assert main([*common, "plan", *server]) == 0
    assert main([*common, "run", "--media", "/medium"]) == 0
    assert (root / "home" / "running-config").read_bytes() == CONFIGURATION
    assert (root / "state" / "provisioned").exists()
    assert (root / "run" / "status.json").exists()
    assert main([*common, "status"]) == 0
    assert "provisioned" in capsys.readouterr().out
    for outside in ("/medium", "/link", "/home/running-config", "/hooks"):
        assert not Path(outside).exists()


# --- media ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["conveyed-information.cms", "owner-certificate.cms", "ownership-voucher.vcj"]
)
@pytest.mark.parametrize("octets", [b"", b"\0" * 64, b"0\x80", b"-----BEGIN CMS-----\n"])
def test_artifacts_on_a_medium_that_are_none(lab: Lab, name: str, octets: bytes) -> None:
    device, medium = lab.device(), Path(good_medium(lab))
    (medium / "sztp" / SERIAL / name).write_bytes(octets)
    assert device.run("run", "--media", str(medium)) == 11
    assert device.last_reason == "malformed"
    assert device.running_config is None
    assert not device.provisioned


def test_a_medium_that_is_no_folder(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    device = lab.device()
    for medium in ("/no/such", str(device.config)):
        status, line = one_line(device, capsys, "run", "--media", medium)
        assert status == 2
        assert medium in line


def test_a_server_that_is_no_url(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    device = lab.device()
    for url in ("", "a", "http://a", "https://", "https://a:0", "https://a:b", "https://u:p@a"):
        status, _ = one_line(device, capsys, "run", "--bootstrap-server", url)
        assert status == 2, url


# --- disks ----------------------------------------------------------------------------------


def image_of(lab: Lab) -> str:
    document = lab.onboarding(
        os_name=OS_NAME,
        os_version=OS_VERSION,
        download_uris=[file_uri(lab.files())],
        image_sha256=hashlib.sha256(IMAGE).digest(),
    )
    return str(lab.medium("image", lab.signed(document)))


def test_an_image_that_may_not_grow(lab: Lab) -> None:
    device, medium = lab.device(), image_of(lab)

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (16_000, 16_000))

    done = agent("--config", str(device.config), "run", "--media", medium, before=small_files)
    assert done.returncode == 12, done.stderr
    assert "disk-full" in done.stderr
    assert "Traceback" not in done.stderr
    assert device.last_reason == "disk-full"
    assert device.boot["active"] == "a"
    assert not device.boot.get("pending")
    # With room it goes on.
    assert device.run("run", "--media", medium) == 20
    assert device.slot("b") == IMAGE


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    folder.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=20k,mode=755", "none", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine lets nobody mount a tmpfs")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@needs_root
def test_a_slot_that_is_full(lab: Lab) -> None:
    device, medium = lab.device(), image_of(lab)
    with small_disk(device.home):
        assert device.run("run", "--media", medium) == 12
        assert device.last_reason == "disk-full"
        assert device.boot["active"] == "a"
        assert not device.boot.get("pending")


@needs_root
def test_no_room_for_the_configuration(lab: Lab) -> None:
    device = lab.device()
    large = b'{"a": "' + b"x" * 60_000 + b'"}'
    medium = str(lab.medium("large", lab.signed(lab.onboarding(configuration=large))))
    with small_disk(device.home):
        assert device.run("run", "--media", medium) == 12
        assert device.last_reason == "config-disk-full"
        assert not device.running_config
        assert not device.provisioned
