# SPDX-License-Identifier: Apache-2.0
import os
import threading
import time
from pathlib import Path

import pytest

from xpu_agent import limits
from xpu_agent.errors import StoppedError
from xpu_agent.platforms import orphans, processes
from xpu_agent.platforms.script_runner import ScriptRunner
from xpu_agent.ports import ScriptResult, ScriptStage, ScriptVerdict


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def _run(state: Path, content: bytes, seconds: int = 20) -> ScriptResult:
    result = ScriptRunner(state).run(
        content, ScriptStage.POST, serial_number="SN-1", seconds=seconds
    )
    assert not list(state.glob("scripts*"))  # removed, whatever happened
    return result


def _sh(body: str) -> bytes:
    return f"#!/bin/sh\n{body}\n".encode()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.requirement("SZTP-5.6-11", "SZTP-6.3-06")
@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (0, ScriptVerdict.OK),
        (75, ScriptVerdict.WARNING),
        (1, ScriptVerdict.ERROR),
        (74, ScriptVerdict.ERROR),
        (76, ScriptVerdict.ERROR),
        (126, ScriptVerdict.ERROR),
        (255, ScriptVerdict.ERROR),
    ],
)
def test_exit_status_is_the_verdict(state: Path, status: int, verdict: ScriptVerdict) -> None:
    result = _run(state, _sh(f"exit {status}"))
    assert (result.verdict, result.detail) == (verdict, f"exit status {status}")


@pytest.mark.requirement("SZTP-5.6-11", "SZTP-5.6-12")
def test_output_is_captured_in_order_stdout_and_stderr_together(state: Path) -> None:
    result = _run(state, _sh("echo one; echo two >&2; echo three; exit 3"))
    assert result.output == "one\ntwo\nthree\n"
    assert result.verdict is ScriptVerdict.ERROR


@pytest.mark.refuses("SZTP-5.6-12", "SZTP-6.3-06")
def test_a_signal_is_an_error(state: Path) -> None:
    result = _run(state, _sh("kill -SEGV $$"))
    assert (result.verdict, result.detail) == (ScriptVerdict.ERROR, "killed by SIGSEGV")


@pytest.mark.refuses("SZTP-5.6-11", "SZTP-5.6-12", "SZTP-6.3-06")
@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"#!/no/such/interpreter\n", "interpreter is missing"),
        (b"echo no interpreter line\n", "neither a program of this machine nor a #! line"),
        (b"", "neither a program of this machine nor a #! line"),
        (b"\x7fELF rubbish", "neither a program of this machine nor a #! line"),
        (b"#!/etc/passwd\n", "permission denied"),
        (b"#!/bin/sh\r\necho dos\r\n", "interpreter is missing"),
    ],
)
def test_a_script_that_cannot_start_is_an_error(state: Path, content: bytes, why: str) -> None:
    result = _run(state, content)
    assert result.verdict is ScriptVerdict.ERROR
    assert why in result.detail
    assert not result.timed_out


def test_a_state_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.write_text("a file")
    runner = ScriptRunner(state)
    result = runner.run(b"#!/bin/sh\n", ScriptStage.PRE, serial_number="SN-1", seconds=1)
    assert result.verdict is ScriptVerdict.ERROR
    assert "can't be written" in result.detail


def test_environment_is_only_what_is_listed(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XPU_SECRET", "leaked")
    monkeypatch.setenv("LD_PRELOAD_X", "leaked")
    output = _run(state, _sh(r"tr '\0' '\n' </proc/$$/environ")).output
    assert {line.partition("=")[0] for line in output.split()} == {
        "PATH",
        "HOME",
        "XPU_AGENT_STAGE",
        "XPU_AGENT_SERIAL_NUMBER",
        "XPU_AGENT_STATE_DIR",
    }
    assert "XPU_AGENT_STAGE=post-configuration\n" in output
    assert "XPU_AGENT_SERIAL_NUMBER=SN-1\n" in output
    assert f"XPU_AGENT_STATE_DIR={state}\n" in output


def test_it_is_private_below_the_state_folder_and_reads_nothing(state: Path) -> None:
    result = _run(state, _sh('stat -c "%a %n" "$0"; cat; echo "$#"'))
    mode, path, arguments = result.output.split()
    assert (mode, arguments) == ("700", "0")
    assert Path(path).parent == state / "scripts"


def test_descriptors_of_the_agent_stay_with_the_agent(state: Path, tmp_path: Path) -> None:
    descriptor = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    try:
        os.set_inheritable(descriptor, True)  # as one the agent's parent left open
        assert "lock" not in _run(state, _sh("ls -l /proc/self/fd")).output
    finally:
        os.close(descriptor)


@pytest.mark.slow
@pytest.mark.refuses("SZTP-5.6-11")
def test_the_time_limit_ends_it_and_all_it_started(state: Path, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    body = f"""trap '' TERM
sleep 300 & echo $! >>{pids}
setsid sleep 300 & echo $! >>{pids}
echo working; wait; wait; sleep 300"""
    started = time.monotonic()
    result = _run(state, _sh(body), seconds=1)
    assert time.monotonic() - started < 8
    assert result.timed_out
    assert (result.verdict, result.detail) == (ScriptVerdict.ERROR, "time limit of 1 s")
    assert result.output == "working\n"
    assert not any(_alive(int(pid)) for pid in pids.read_text().split())


def test_stragglers_of_a_script_that_ended_are_gone_too(state: Path, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    body = f"""sleep 300 & echo $! >>{pids}
setsid sh -c 'sleep 300 & echo $! >>{pids}; echo $$ >>{pids}; sleep 300' &
while [ "$(wc -l <{pids})" -lt 3 ]; do sleep 0.02; done"""
    started = time.monotonic()
    assert _run(state, _sh(body)).verdict is ScriptVerdict.OK
    assert time.monotonic() - started < 5  # the end of the process counts, not of its output
    assert len(pids.read_text().split()) == 3
    assert not any(_alive(int(pid)) for pid in pids.read_text().split())


def test_no_zombie_is_left(state: Path) -> None:
    before = orphans.children()
    _run(state, _sh("sleep 0 & exit 0"))
    assert orphans.children() <= before


def test_endless_output_is_bounded_head_and_tail(state: Path) -> None:
    result = _run(
        state, _sh("echo first; head -c 30000000 /dev/zero | tr '\\0' x; echo; echo last")
    )
    assert result.output.startswith("first\n")
    assert result.output.endswith("last\n")
    assert "octets left out" in result.output
    assert len(result.output) < limits.SCRIPT_OUTPUT_BYTES + 200


def test_foreign_octets_in_the_output_are_escaped(state: Path) -> None:
    result = _run(state, _sh(r"printf '\033[31m\377\000\r\tred\n'"))
    assert result.output == "\\x1b[31m\\xff\\x00\\r\tred\n"


def test_a_script_another_thread_still_holds_open_for_writing_runs(tmp_path: Path) -> None:
    # What a fork in another thread does for a moment between our write and our exec.
    script = tmp_path / "script"
    script.write_bytes(_sh("exit 7"))
    script.chmod(0o700)
    file = script.open("r+b")
    closer = threading.Timer(0.2, file.close)
    closer.start()
    child = processes.Child([str(script)], {}, captures=[])
    assert child.wait(10) == processes.Ending(7)
    child.close()
    closer.join()


def test_a_stop_request_ends_it(state: Path) -> None:
    looks: list[None] = []
    before = orphans.children()

    def check() -> None:
        looks.append(None)
        if len(looks) > 1:
            raise StoppedError

    runner = ScriptRunner(state, check_stopped=check)
    started = time.monotonic()
    with pytest.raises(StoppedError):
        runner.run(_sh("exec sleep 300"), ScriptStage.PRE, serial_number="SN-1", seconds=300)
    assert time.monotonic() - started < 5
    assert not list(state.glob("scripts*"))
    assert orphans.children() <= before


def test_scripts_a_power_cut_left_behind_are_removed(state: Path) -> None:
    (state / "scripts").mkdir(parents=True)
    (state / "scripts" / "pre-configuration.1").write_text("old")
    assert _run(state, _sh('ls "${0%/*}" | wc -l')).output.strip() == "1"
