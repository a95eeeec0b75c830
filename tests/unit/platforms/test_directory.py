# SPDX-License-Identifier: Apache-2.0
import base64
import hashlib
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from xpu_agent.errors import ExecutionError, Reason, UndoError
from xpu_agent.lifecycle import ResetLevel
from xpu_agent.platforms.directory import BOOT_ATTEMPTS, DirectoryPlatform
from xpu_agent.ports import ExpectedImage, ImageSink, VerifiedImage

IMAGE = os.urandom(100_000)
EXPECTED = ExpectedImage("os", "2.0", hashlib.sha256(IMAGE).digest())
VERIFIED = VerifiedImage(EXPECTED, len(IMAGE))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "device"


def _platform(folder: Path) -> DirectoryPlatform:
    return DirectoryPlatform(folder, state_dir=folder.parent / "state")


def _boot(folder: Path) -> dict[str, object]:
    members = json.loads((folder / "boot.json").read_text())
    assert isinstance(members, dict)
    return members


def _written(platform: DirectoryPlatform) -> ImageSink:
    sink = platform.image_sink(EXPECTED)
    sink.write(memoryview(IMAGE))
    return sink


@contextmanager
def _file_size_limit(octets: int) -> Iterator[None]:
    """A file system that is full, for the process: writes beyond it fail with EFBIG."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (octets, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_absent_is_factory_fresh_and_asking_writes_nothing(folder: Path) -> None:
    facts = _platform(folder).facts()
    assert (facts.os_name, facts.os_version, facts.image_sha256, facts.on_trial) == (
        None,
        None,
        None,
        False,
    )
    assert _platform(folder).ssh_host_keys() == ()
    _platform(folder).wipe(ResetLevel.DEEP)
    assert not folder.exists()


def test_boot_json_has_exactly_the_agreed_members(folder: Path) -> None:
    platform = _platform(folder)
    platform.power_on()
    assert _boot(folder) == {"active": "a", "pending": None, "attempts-left": 0}
    _written(platform).commit(VERIFIED)
    assert _boot(folder) == {"active": "a", "pending": "b", "attempts-left": BOOT_ATTEMPTS}
    assert (folder / "slots" / "b").read_bytes() == IMAGE
    _platform(folder).power_on()
    assert _boot(folder) == {"active": "a", "pending": "b", "attempts-left": BOOT_ATTEMPTS - 1}
    platform.mark_good()
    assert _boot(folder) == {"active": "b", "pending": None, "attempts-left": 0}


@pytest.mark.requirement("SZTP-5.6-15")
def test_an_image_that_is_never_marked_good_is_given_up(folder: Path) -> None:
    _written(_platform(folder)).commit(VERIFIED)
    for _ in range(BOOT_ATTEMPTS):
        platform = _platform(folder)
        platform.power_on()
        assert platform.facts().on_trial
    platform = _platform(folder)
    platform.power_on()
    assert _boot(folder) == {"active": "a", "pending": None, "attempts-left": 0}
    assert platform.facts().image_sha256 is None


def test_each_boot_has_a_name_of_its_own(folder: Path) -> None:
    assert _platform(folder).facts().boot_id is None
    names = set()
    for _ in range(3):
        _platform(folder).power_on()
        names.add(_platform(folder).facts().boot_id)
    assert len(names) == 3
    assert None not in names


def test_rearm_gives_only_the_trial_its_attempts_again(folder: Path) -> None:
    platform = _platform(folder)
    platform.rearm()
    assert not folder.exists()
    _written(platform).commit(VERIFIED)
    platform.power_on()
    platform.power_on()
    platform.rearm()
    assert _boot(folder)["attempts-left"] == BOOT_ATTEMPTS


def test_mark_good_before_the_reboot_does_not_promote_what_never_ran(folder: Path) -> None:
    platform = _platform(folder)
    platform.power_on()
    _written(platform).commit(VERIFIED)
    platform.mark_good()
    assert _boot(folder)["active"] == "a"
    assert _boot(folder)["pending"] == "b"


@pytest.mark.refuses("SZTP-5.6-05")
def test_the_running_slot_is_never_written_and_boot_json_never_names_a_torn_one(
    folder: Path,
) -> None:
    platform = _platform(folder)
    _written(platform).commit(VERIFIED)
    platform.power_on()  # b runs on trial, a is the fall-back
    sink = platform.image_sink(EXPECTED)
    sink.write(memoryview(b"torn"))
    assert (folder / "slots" / "b").read_bytes() == IMAGE
    assert _boot(folder) == {"active": "b", "pending": None, "attempts-left": 0}
    after = _platform(folder)
    after.power_on()
    assert after.facts().image_sha256 == EXPECTED.sha256
    sink.abort()


@pytest.mark.refuses("SZTP-5.6-05")
def test_a_pending_slot_is_disarmed_before_it_is_overwritten(folder: Path) -> None:
    platform = _platform(folder)
    platform.power_on()
    _written(platform).commit(VERIFIED)
    sink = platform.image_sink(EXPECTED)
    assert _boot(folder)["pending"] is None
    assert not (folder / "slots" / "b.json").exists()
    sink.abort()


@pytest.mark.refuses("SZTP-5.6-05")
def test_commit_refuses_another_size_than_was_verified(folder: Path) -> None:
    sink = _platform(folder).image_sink(EXPECTED)
    sink.write(memoryview(IMAGE)[:-1])
    with pytest.raises(ExecutionError) as error:
        sink.commit(VERIFIED)
    assert error.value.reason is Reason.INSTALL_FAILED
    sink.abort()
    assert not (folder / "slots" / "b").exists()


def test_a_full_disk_is_named_and_leaves_nothing(folder: Path) -> None:
    platform = _platform(folder)
    platform.power_on()
    sink = platform.image_sink(EXPECTED)
    with _file_size_limit(50_000), pytest.raises(ExecutionError) as error:
        sink.write(memoryview(IMAGE))
    assert error.value.reason is Reason.DISK_FULL
    sink.abort()
    assert list((folder / "slots").iterdir()) == []


def test_a_slot_that_is_a_symlink_is_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "slots").mkdir(parents=True)
    (tmp_path / "victim").write_text("precious")
    (folder / "slots" / "b").symlink_to(tmp_path / "victim")
    with pytest.raises(ExecutionError) as error:
        _platform(folder).image_sink(EXPECTED)
    assert error.value.reason is Reason.SLOT_UNAVAILABLE
    assert (tmp_path / "victim").read_text() == "precious"


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"active": "c"}', '{"active": "a", "pending": "b"}']
)
def test_a_boot_selector_that_cannot_be_read_is_an_error(folder: Path, content: str) -> None:
    folder.mkdir()
    (folder / "boot.json").write_text(content)
    for ask in (_platform(folder).power_on, _platform(folder).facts):
        with pytest.raises(ExecutionError):
            ask()
    assert (folder / "boot.json").read_text() == content


@pytest.mark.refuses("SZTP-5.6-13")
def test_an_invalid_configuration_changes_nothing(folder: Path) -> None:
    platform = _platform(folder)
    checkpoint = platform.checkpoint()
    platform.apply_configuration(b'{"a": 1}', "replace", checkpoint)
    with pytest.raises(ExecutionError) as error:
        platform.apply_configuration(b'{"b": 1', "merge", platform.checkpoint())
    assert error.value.reason is Reason.CONFIG_INVALID
    assert (folder / "running-config").read_bytes() == b'{"a": 1}'


@pytest.mark.refuses("SZTP-5.6-13")
def test_a_configuration_that_does_not_fit_is_not_half_there(folder: Path) -> None:
    platform = _platform(folder)
    platform.apply_configuration(b"small", "replace", platform.checkpoint())
    checkpoint = platform.checkpoint()
    with _file_size_limit(1000), pytest.raises(ExecutionError) as error:
        platform.apply_configuration(b"x" * 5000, "replace", checkpoint)
    assert error.value.reason is Reason.CONFIG_DISK_FULL
    assert (folder / "running-config").read_bytes() == b"small"
    names = {path.name for path in folder.iterdir()}
    assert names <= {"running-config", "checkpoint", "applied", "boot.json", "booted"}


@pytest.mark.refuses("SZTP-5.6-16")
@pytest.mark.parametrize("damage", [b"", b"{}\n", b"[]\nold", b"not json\nold", None])
def test_a_damaged_checkpoint_is_never_brought_back(folder: Path, damage: bytes | None) -> None:
    platform = _platform(folder)
    platform.apply_configuration(b"old", "replace", platform.checkpoint())
    checkpoint = platform.checkpoint()
    platform.apply_configuration(b"new", "replace", checkpoint)
    file = folder / "checkpoint"
    file.write_bytes(file.read_bytes()[:-1] if damage is None else damage)
    with pytest.raises(UndoError):
        platform.undo(checkpoint)
    assert (folder / "running-config").read_bytes() == b"new"


def test_the_configuration_is_private(folder: Path) -> None:
    platform = _platform(folder)
    platform.apply_configuration(b"password", "replace", platform.checkpoint())
    platform.apply_configuration(b"password2", "replace", platform.checkpoint())
    for name in ("running-config", "checkpoint"):
        assert (folder / name).stat().st_mode & 0o777 == 0o600


def test_resets_remove_what_they_say(folder: Path) -> None:
    platform = _platform(folder)
    platform.power_on()
    _written(platform).commit(VERIFIED)
    platform.power_on()
    (folder / "ssh").mkdir()
    (folder / "ssh" / "host.pub").write_text("key")
    platform.apply_configuration(b"secret", "replace", platform.checkpoint())
    (folder / "slots" / "a").write_bytes(b"the factory's")
    platform.wipe(ResetLevel.WEAK)
    assert not (folder / "running-config").exists()
    assert not (folder / "checkpoint").exists()
    assert (folder / "slots" / "a").exists()
    assert (folder / "ssh" / "host.pub").exists()
    platform.wipe(ResetLevel.DEEP)
    assert not (folder / "slots" / "a").exists()
    assert not (folder / "ssh" / "host.pub").exists()
    assert (folder / "slots" / "b").read_bytes() == IMAGE
    assert _boot(folder) == {"active": "b", "pending": None, "attempts-left": 0}


@pytest.mark.requirement("SZTP-7.3-08")
@pytest.mark.parametrize("kind", ["ed25519", "rsa", "ecdsa"])
def test_host_keys_are_name_and_blob_of_the_public_key(folder: Path, kind: str) -> None:
    (folder / "ssh").mkdir(parents=True)
    file = folder / "ssh" / f"ssh_host_{kind}_key"
    command = ["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "a comment", "-f", str(file)]
    try:
        subprocess.run(command, check=True)
    except FileNotFoundError:
        pytest.skip("needs ssh-keygen")
    name, text, _ = file.with_suffix(".pub").read_text().split(maxsplit=2)
    (key,) = _platform(folder).ssh_host_keys()
    assert (key.algorithm, key.key_data) == (name, base64.b64decode(text))


def _blob(name: bytes) -> str:
    return base64.b64encode(len(name).to_bytes(4, "big") + name + b"rest").decode()


@pytest.mark.refuses("SZTP-7.3-08")
@pytest.mark.parametrize(
    "line",
    [
        "",
        "ssh-ed25519",
        "ssh-ed25519 not*base64",
        f"ssh-ed25519 {_blob(b'ssh-rsa')}",
        f"ssh-rsa-cert-v01@openssh.com {_blob(b'ssh-rsa-cert-v01@openssh.com')}",
        f"ssh-\u00e9 {_blob(b'ssh')}",
    ],
)
def test_what_is_no_host_key_is_left_out(folder: Path, line: str) -> None:
    (folder / "ssh").mkdir(parents=True)
    (folder / "ssh" / "a.pub").write_text(line)
    (folder / "ssh" / "b.pub").write_text(f"ssh-ed25519 {_blob(b'ssh-ed25519')} x")
    (folder / "ssh" / "c.pub").mkdir()
    os.mkfifo(folder / "ssh" / "d.pub")
    (key,) = _platform(folder).ssh_host_keys()
    assert key.algorithm == "ssh-ed25519"


# --- a cut at every system call that changes the disk ---

_CHILD = """
import hashlib, json, os, sys
from pathlib import Path
sys.path[:0] = {path!r}
from xpu_agent.platforms.directory import DirectoryPlatform
from xpu_agent.ports import ExpectedImage, VerifiedImage

def die_before_change(left):
    def look(event, arguments):
        nonlocal left
        if event in ("os.rename", "os.remove", "os.mkdir") or (
            event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_CREAT
        ):
            if left == 0:
                os._exit(42)
            left -= 1
    sys.addaudithook(look)

statuses = []
for number, (folder, token) in enumerate(json.loads(sys.argv[1])):
    pid = os.fork()
    if pid == 0:
        platform = DirectoryPlatform(Path(folder), state_dir=Path(folder) / "state")
        die_before_change(number)
{body}
        os._exit(0)
    statuses.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
print(json.dumps(statuses))
"""
_INSTALL = """
content = b"new image" * 1000
expected = ExpectedImage("os", "3.0", hashlib.sha256(content).digest())
sink = platform.image_sink(expected)
sink.write(memoryview(content))
sink.commit(VerifiedImage(expected, len(content)))
"""
_CONFIGURE = 'platform.apply_configuration(b"new\\n", "merge", token)'
_UNDO = "platform.undo(token)"


def _cut(body: str, devices: list[tuple[Path, str]]) -> None:
    """Do `body` on each device in a process that dies before its change number 0, 1, 2, ...

    There have to be more devices than changes, and some changes.
    """
    code = _CHILD.format(
        path=[path for path in sys.path if path],
        body="".join(f"        {line}\n" for line in body.strip().splitlines()),
    )
    named = json.dumps([(str(folder), token) for folder, token in devices])
    command = [sys.executable, "-c", code, named]
    output = subprocess.run(command, check=True, capture_output=True).stdout
    statuses = json.loads(output)
    changes = statuses.index(0)
    assert changes > 2
    assert statuses == [42] * changes + [0] * (len(devices) - changes)


@pytest.mark.slow
@pytest.mark.refuses("SZTP-5.6-05", "SZTP-5.6-15")
def test_a_cut_anywhere_in_an_installation_boots_old_or_new(tmp_path: Path) -> None:
    new = hashlib.sha256(b"new image" * 1000).digest()
    folders = [tmp_path / str(number) / "device" for number in range(16)]
    for folder in folders:
        platform = _platform(folder)
        _written(platform).commit(VERIFIED)
        platform.power_on()
        platform.mark_good()
    _cut(_INSTALL, [(folder, "") for folder in folders])
    seen = set()
    for folder in folders:
        platform = _platform(folder)
        platform.power_on()
        facts = platform.facts()
        seen.add(facts.image_sha256)
        runs = (folder / "booted").read_text().split()[0]
        content = (folder / "slots" / runs).read_bytes()
        assert hashlib.sha256(content).digest() == facts.image_sha256
    assert seen == {EXPECTED.sha256, new}


@pytest.mark.refuses("SZTP-5.6-13", "SZTP-5.6-16")
@pytest.mark.parametrize("body", [_CONFIGURE, _UNDO])
def test_a_cut_anywhere_leaves_old_or_new_configuration_and_the_way_back(
    tmp_path: Path, body: str
) -> None:
    devices = []
    for number in range(8):
        folder = tmp_path / str(number) / "device"
        platform = _platform(folder)
        platform.apply_configuration(b"old\n", "replace", platform.checkpoint())
        token = platform.checkpoint()
        if body == _UNDO:
            platform.apply_configuration(b"new\n", "merge", token)
        devices.append((folder, token))
    _cut(body, devices)
    for folder, token in devices:
        platform = _platform(folder)
        assert (folder / "running-config").read_bytes() in {b"old\n", b"old\nnew\n"}
        if body == _CONFIGURE:
            platform.apply_configuration(b"new\n", "merge", token)
            assert (folder / "running-config").read_bytes() == b"old\nnew\n"
        platform.undo(token)
        assert (folder / "running-config").read_bytes() == b"old\n"
