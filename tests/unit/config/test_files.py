# SPDX-License-Identifier: Apache-2.0
"""Which files count, where they are below the root folder, and who may have written them."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.config.trees import problems, write

from xpu_agent.config import (
    ConfigurationProblemsError,
    below_root,
    load_config,
    read_protected,
)
from xpu_agent.errors import ConfigurationError, ExitCode, exit_code

VENDOR = "usr/lib/xpu-agent/agent.yaml.d"
ETC = "etc/xpu-agent"
FOREIGN = 54321

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")


def test_no_file_at_all_is_the_defaults(tmp_path: Path) -> None:
    loaded = load_config(None, tmp_path)
    assert loaded.files == ()
    assert loaded.config.bootstrap_servers == ()
    assert [str(s) for s in loaded.config.sources] == [
        "removable-storage",
        "dhcp",
        "dns",
        "bootstrap-servers",
    ]
    assert loaded.config.paths.state == tmp_path / "var/lib/xpu-agent"
    assert loaded.config.hooks == tmp_path / "usr/lib/xpu-agent/hooks"


def test_later_files_win_key_by_key(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            f"{VENDOR}/10.yaml": "device: {serial-number: A, hw-model: A, os-name: A}\n",
            f"{VENDOR}/20.yaml": "device: {hw-model: B}\naccept: [dhcp-uri-path]\n",
            f"{ETC}/agent.yaml": "device: {os-name: C}\naccept: []\n",
            f"{ETC}/agent.yaml.d/05.yaml": "device: {os-version: 24.10}\n",
        },
    )
    loaded = load_config(None, tmp_path)
    device = loaded.config.device
    assert (device.serial_number, device.hw_model, device.os_name) == ("A", "B", "C")
    assert device.os_version == "24.10"
    assert loaded.config.accept == frozenset()  # a list replaces whole
    assert [f.name for f in loaded.files] == ["10.yaml", "20.yaml", "agent.yaml", "05.yaml"]
    origins = {s.key: s.origin for s in loaded.settings()}
    assert origins["device.hw-model"] == f"{tmp_path}/{VENDOR}/20.yaml:1"
    assert origins["accept"] == f"{tmp_path}/{ETC}/agent.yaml:2"
    assert origins["trust.clock"] == "default"


@pytest.mark.parametrize("mask", ["", "# nothing\n", "device: {hw-model: mine}\n"])
def test_a_file_of_the_same_name_masks_the_vendors(tmp_path: Path, mask: str) -> None:
    write(
        tmp_path,
        {
            f"{VENDOR}/10.yaml": "device: {serial-number: A, hw-model: A}\n",
            f"{ETC}/agent.yaml.d/10.yaml": mask,
        },
    )
    device = load_config(None, tmp_path).config.device
    assert device.serial_number is None
    assert device.hw_model == ("mine" if mask.startswith("device") else None)


def test_a_link_to_dev_null_masks_too(tmp_path: Path) -> None:
    write(tmp_path, {f"{VENDOR}/10.yaml": "device: {serial-number: A}\n"})
    folder = tmp_path / ETC / "agent.yaml.d"
    folder.mkdir(parents=True)
    (folder / "10.yaml").symlink_to("/dev/null")
    assert load_config(None, tmp_path).config.device.serial_number is None


def test_a_named_file_counts_alone_with_its_folder(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            f"{ETC}/agent.yaml": "device: {hw-model: system}\n",
            "mine/x.conf": "device: {serial-number: A}\n",
            "mine/x.conf.d/1.yaml": "device: {serial-number: B}\n",
            "mine/x.conf.d/ignored.txt": "nonsense: 1\n",
            "mine/x.conf.d/.hidden.yaml": "nonsense: 1\n",
        },
    )
    device = load_config(Path("/mine/x.conf"), tmp_path).config.device
    assert (device.serial_number, device.hw_model) == ("B", None)


def test_a_named_file_has_to_exist(tmp_path: Path) -> None:
    (found,) = problems(tmp_path / "no.yaml")
    assert found.file == tmp_path / "no.yaml"
    assert found.text == "does not exist"


def test_a_relative_name_is_relative_to_the_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, {"a.yaml": "identity: {certificate: chain.pem, private-key: /key.pem}\n"})
    monkeypatch.chdir(tmp_path)
    identity = load_config(Path("a.yaml"), tmp_path / "root").config.identity
    assert identity.certificate == tmp_path / "chain.pem"
    assert str(identity.private_key) == str(tmp_path / "root/key.pem")


def test_relative_paths_are_relative_to_their_file(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            f"{ETC}/agent.yaml": "trust: {voucher-anchors: [anchors/a.pem, /b.pem, ../c.pem]}\n",
            f"{VENDOR}/1.yaml": "identity: {certificate: d.pem, private-key: 'tpm2:e.tss'}\n",
        },
    )
    config = load_config(None, tmp_path).config
    etc = tmp_path / ETC
    assert config.trust.voucher_anchors == (
        etc / "anchors/a.pem",
        tmp_path / "b.pem",
        tmp_path / "etc/c.pem",
    )
    assert config.identity.certificate == tmp_path / VENDOR / "d.pem"
    assert str(config.identity.private_key) == f"tpm2:{tmp_path / VENDOR / 'e.tss'}"


# --- below the root folder -------------------------------------------------------------------


def test_links_are_resolved_inside_the_root(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "usr/share").mkdir(parents=True)
    (root / "etc/absolute").symlink_to("/usr/share")
    (root / "etc/relative").symlink_to("../usr/share")
    (root / "etc/outside").symlink_to("../../../../../../usr/share")
    (root / "etc/twice").symlink_to("absolute/x")
    for name in ("absolute", "relative", "outside"):
        assert below_root(root, Path("/etc") / name / "f") == root / "usr/share/f"
    assert below_root(root, Path("/etc/twice/f")) == root / "usr/share/x/f"
    assert below_root(root, Path("/../../etc/./f")) == root / "etc/f"
    assert below_root(root, Path("/")) == root
    assert below_root(None, Path("/etc/../f")) == Path("/etc/../f")


def test_a_link_in_a_circle_ends(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(ConfigurationError, match="too many symbolic links"):
        below_root(tmp_path, Path("/a/x"))


def test_no_file_outside_the_root_is_read(tmp_path: Path) -> None:
    write(tmp_path, {"outside.yaml": "device: {serial-number: WRONG}\n"})
    folder = tmp_path / "root" / ETC
    folder.mkdir(parents=True)
    (folder / "agent.yaml").symlink_to(tmp_path / "outside.yaml")
    assert load_config(None, tmp_path / "root").config.device.serial_number is None
    (folder / "agent.yaml.d").mkdir()
    (folder / "agent.yaml.d/1.yaml").symlink_to(tmp_path / "outside.yaml")
    assert load_config(None, tmp_path / "root").config.device.serial_number is None


# --- who may write (9.3) ---------------------------------------------------------------------


@pytest.fixture
def config(tmp_path: Path) -> Path:
    write(
        tmp_path,
        {
            "c/agent.yaml": "trust:\n  voucher-anchors: [anchors/a.pem]\n",
            "c/anchors/a.pem": "anchor",
        },
    )
    return tmp_path / "c/agent.yaml"


@pytest.mark.requirement("SZTP-9.3-01")
def test_files_of_our_own_are_read(config: Path) -> None:
    assert problems(config) == []
    assert read_protected(config.parent / "anchors/a.pem") == b"anchor"


@pytest.mark.refuses("SZTP-9.3-01")
@pytest.mark.parametrize("mode", [0o666, 0o664, 0o646, 0o620, 0o602])
def test_configuration_others_can_write_is_refused(config: Path, mode: int) -> None:
    config.chmod(mode)
    (found,) = problems(config)
    assert "can be written by" in found.text
    assert f"chmod go-w {config}" in found.text
    with pytest.raises(ConfigurationProblemsError) as caught:
        load_config(config)
    assert exit_code(caught.value.reason) is ExitCode.USAGE


@pytest.mark.refuses("SZTP-9.3-01")
@pytest.mark.parametrize("mode", [0o666, 0o664, 0o646])
def test_an_anchor_others_can_write_is_refused(config: Path, mode: int) -> None:
    anchor = config.parent / "anchors/a.pem"
    anchor.chmod(mode)
    (found,) = problems(config)
    assert (found.line, found.key) == (2, "trust.voucher-anchors")
    assert str(anchor) in found.text
    with pytest.raises(ConfigurationError, match="can be written by"):
        read_protected(anchor)


@pytest.mark.refuses("SZTP-9.3-01")
@pytest.mark.parametrize("folder", [".", "anchors"])
def test_a_folder_where_others_could_replace_the_file_is_refused(config: Path, folder: str) -> None:
    (config.parent / folder).chmod(0o777)
    (found,) = problems(config)
    assert "which can be written by everybody" in found.text


def test_a_sticky_folder_is_fine(config: Path) -> None:
    config.parent.chmod(0o1777)
    assert problems(config) == []
    config.parent.chmod(0o755)


@pytest.mark.refuses("SZTP-9.3-01")
def test_the_folder_a_link_stands_in_counts_too(config: Path, tmp_path: Path) -> None:
    open_folder = tmp_path / "open"
    open_folder.mkdir()
    (open_folder / "link.yaml").symlink_to(config)
    open_folder.chmod(0o777)
    (found,) = problems(open_folder / "link.yaml")
    assert str(open_folder) in found.text


@pytest.mark.refuses("SZTP-9.3-01")
def test_the_folder_a_link_leads_to_counts_too(config: Path, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(0o755)
    (closed / "link.yaml").symlink_to(config)
    assert problems(closed / "link.yaml") == []
    config.parent.chmod(0o777)
    (found,) = problems(closed / "link.yaml")
    assert str(config.parent) in found.text


@as_root
@pytest.mark.refuses("SZTP-9.3-01")
@pytest.mark.parametrize("name", ["agent.yaml", "anchors/a.pem", "anchors", "."])
def test_what_belongs_to_another_user_is_refused(config: Path, name: str) -> None:
    os.chown(config.parent / name, FOREIGN, 0)
    assert any(f"belongs to user {FOREIGN}" in p.text for p in problems(config))


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    # pytest's own folders are closed to other users.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@as_root
@pytest.mark.requirement("SZTP-9.3-01")
@pytest.mark.parametrize("owner", [0, FOREIGN])
def test_without_privileges_roots_files_and_our_own_count(shared_folder: Path, owner: int) -> None:
    assert _check_as(FOREIGN, shared_folder, owner) == "accepted"


@as_root
@pytest.mark.refuses("SZTP-9.3-01")
def test_without_privileges_a_third_users_files_do_not(shared_folder: Path) -> None:
    assert "belongs to user 4242" in _check_as(FOREIGN, shared_folder, 4242)


def _check_as(user: int, folder: Path, owner: int) -> str:
    path = write(folder, {"agent.yaml": "device: {serial-number: A}\n"}) / "agent.yaml"
    assert problems(path) == []  # everything is imported now
    os.chown(path, owner, owner)
    os.seteuid(user)
    try:
        found = problems(path)
    finally:
        os.seteuid(0)
    return str(found[0]) if found else "accepted"


# --- bad files -------------------------------------------------------------------------------


def test_a_folder_a_pipe_and_a_device_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name in ("folder", "pipe"):
        (found,) = problems(tmp_path / name)
        assert "no regular file" in found.text


def test_a_file_too_large_is_not_read(tmp_path: Path) -> None:
    write(tmp_path, {"a.yaml": "#" * (256 * 1024 + 1)})
    (found,) = problems(tmp_path / "a.yaml")
    assert found.text == "is larger than 262144 bytes"


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"device: \xff\n")
    path.chmod(0o644)
    (found,) = problems(path)
    assert found.text == "is no UTF-8 text"


def test_problems_of_all_files_are_found(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            f"{VENDOR}/1.yaml": "divice: {}\n",
            f"{ETC}/agent.yaml": "trust: {clock: maybe}\nhooks: [a]\n",
            f"{ETC}/agent.yaml.d/2.yaml": "a: [\n",
        },
    )
    found = problems(None, tmp_path)
    assert [p.file.name for p in found] == ["1.yaml", "agent.yaml", "agent.yaml", "2.yaml"]
