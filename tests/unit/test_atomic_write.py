# SPDX-License-Identifier: Apache-2.0
"""Durable replacement: order of the calls that make it so, and what a killed writer leaves."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from xpu_agent.atomic_write import make_folder, remove_durably, write_atomically

AGENT = Path(__file__).parents[2] / "agent"


def test_content_and_mode_are_as_asked(tmp_path: Path) -> None:
    path = tmp_path / "f"
    for umask in (0, 0o777):
        before = os.umask(umask)
        try:
            write_atomically(path, b"one", mode=0o640)
        finally:
            os.umask(before)
        assert path.read_bytes() == b"one"
        assert path.stat().st_mode & 0o7777 == 0o640
    write_atomically(path, b"", durable=False)
    assert path.read_bytes() == b""
    assert path.stat().st_mode & 0o7777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_replaced_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"theirs")
    (tmp_path / "f").symlink_to("target")
    write_atomically(tmp_path / "f", b"ours")
    assert not (tmp_path / "f").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"theirs"


def test_a_failure_leaves_the_old_content_and_no_temporary_file(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    (folder / "x").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        write_atomically(folder, b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_folders_are_made_with_their_mode_and_kept_with_theirs(tmp_path: Path) -> None:
    before = os.umask(0o777)
    try:
        make_folder(tmp_path / "a/b/c", 0o700)
    finally:
        os.umask(before)
    modes = [(tmp_path / n).stat().st_mode & 0o777 for n in ("a", "a/b", "a/b/c")]
    assert modes == [0o755, 0o755, 0o700]
    make_folder(tmp_path / "a", 0o700)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("name", ["f", "f/x"])
def test_a_folder_can_not_be_where_a_file_is(tmp_path: Path, name: str) -> None:
    (tmp_path / "f").write_text("")
    with pytest.raises(OSError, match=r"exists|directory"):
        make_folder(tmp_path / name, 0o700)


def test_removing_is_safe_to_repeat(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("")
    for _ in range(2):
        remove_durably(tmp_path / "f")
    assert list(tmp_path.iterdir()) == []


WRITER = """
import sys
from pathlib import Path
from xpu_agent.atomic_write import write_atomically
path = Path(sys.argv[1])
print("ready", flush=True)
number = 0
while True:
    number += 1
    write_atomically(path, (b"%08d" % number) * 20000)
"""


def test_a_killed_writer_leaves_old_or_new_content(tmp_path: Path) -> None:
    path = tmp_path / "f"
    for delay in (0.02, 0.05, 0.11):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)],
            env={"PYTHONPATH": str(AGENT)},
            stdout=subprocess.PIPE,
        ) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            try:
                writer.wait(delay)
            except subprocess.TimeoutExpired:
                writer.send_signal(signal.SIGKILL)
        if path.exists():
            content = path.read_bytes()
            assert len(content) == 160_000
            assert content == content[:8] * 20_000


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_data_is_on_disk_before_the_name_is(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    path = tmp_path / "folder/f"
    program = (
        "import sys; from pathlib import Path\n"
        "from xpu_agent.atomic_write import write_atomically\n"
        "write_atomically(Path(sys.argv[1]), b'content')\n"
    )
    path.parent.mkdir()
    ran = subprocess.run(
        [
            *("strace", "-f", "-y", "-e", "trace=fsync,rename,write", "-o", str(trace)),
            *(sys.executable, "-c", program, str(path)),
        ],
        env={"PYTHONPATH": str(AGENT), "PATH": os.environ["PATH"]},
        capture_output=True,
        timeout=30,
        check=False,
    )
    if ran.returncode != 0:
        pytest.skip("strace can't trace here")
    lines = [line for line in trace.read_text().splitlines() if "folder" in line]
    calls = [re.sub(r"^\d+\s+", "", line).partition("(")[0] for line in lines]
    assert calls == ["write", "fsync", "rename", "fsync"]
    assert f"{path.parent}>" in lines[-1]
