# SPDX-License-Identifier: Apache-2.0
"""One agent at a time, and no lock survives its holder."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from xpu_agent.errors import ExitCode, LockedError, Reason, StateError, exit_code
from xpu_agent.store.lock import AgentLock

AGENT = Path(__file__).parents[3] / "agent"
HOLDER = """
import sys, time
from pathlib import Path
from xpu_agent.store.lock import AgentLock
with AgentLock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_one_is_refused_and_told_who(tmp_path: Path) -> None:
    with AgentLock(tmp_path / "run"):
        with pytest.raises(LockedError) as caught, AgentLock(tmp_path / "run"):
            pass
        assert f"process {os.getpid()}" in caught.value.message
        assert exit_code(caught.value.reason) is ExitCode.LOCKED
    with AgentLock(tmp_path / "run"):
        pass


def test_a_killed_holder_leaves_no_lock(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        env={"PYTHONPATH": str(AGENT)},
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(LockedError, match=f"process {holder.pid}"), AgentLock(tmp_path):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with AgentLock(tmp_path):
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


def test_a_child_does_not_inherit_it(tmp_path: Path) -> None:
    with AgentLock(tmp_path):
        child = subprocess.Popen(["/bin/sleep", "60"], close_fds=False)
    try:
        with AgentLock(tmp_path):
            pass
    finally:
        child.kill()
        child.wait()


def test_an_error_inside_lets_go(tmp_path: Path) -> None:
    with pytest.raises(KeyError), AgentLock(tmp_path):
        raise KeyError
    with AgentLock(tmp_path):
        pass


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError) as caught, AgentLock(tmp_path / "file/run"):
        pass
    assert caught.value.reason is Reason.STATE_UNWRITABLE


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StateError), AgentLock(tmp_path):
        pass
    assert not (tmp_path / "elsewhere").exists()
