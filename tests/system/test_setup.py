# SPDX-License-Identifier: Apache-2.0
"""`packaging/venv.sh`: what is missing on a machine is one line with its remedy."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.suites import TESTS

ROOT = TESTS.parent
TOOLS = ("sh", "cat", "cksum", "grep", "rm", "tail", "cut", "mkdir", "env", "dirname", "uname")


@pytest.fixture(name="place")
def _place(tmp_path: Path) -> Path:
    """A tree with what the script reads, and a PATH with nothing but plain tools."""
    place = tmp_path / "a place"
    (place / "emulator").mkdir(parents=True)
    (place / "packaging").mkdir()
    (place / "bin").mkdir()
    shutil.copy(ROOT / "pyproject.toml", place)
    shutil.copy(ROOT / "emulator" / "pyproject.toml", place / "emulator")
    shutil.copy(ROOT / "packaging" / "venv.sh", place / "packaging")
    for tool in TOOLS:
        found = shutil.which(tool)
        if found is not None:
            (place / "bin" / tool).symlink_to(found)
    return place


def _program(place: Path, name: str, script: str) -> None:
    path = place / "bin" / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def _set_up(place: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", "packaging/venv.sh", "run"],
        cwd=place,
        env={"PATH": str(place / "bin"), "HOME": str(place), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


def _one_line(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    return lines[0]


def test_without_python_it_says_what_to_install(place: Path) -> None:
    assert "sudo apt-get install python3 python3-venv" in _one_line(_set_up(place))


def test_an_old_python_is_named_with_the_version_needed(place: Path) -> None:
    script = 'case "$2" in *version_info\\ \\<*) exit 1;; *print*) echo 3.9.2;; esac'
    _program(place, "python3", script)
    line = _one_line(_set_up(place))
    assert "3.11 or later" in line
    assert "3.9.2" in line
    assert "make PYTHON=" in line


def test_without_the_venv_module_it_says_what_to_install(place: Path) -> None:
    # Debian without python3-venv: -m venv fails and leaves a folder that looks done.
    script = f'if [ "$1" = -m ]; then mkdir -p .venv/bin; exit 1; fi\nexec "{sys.executable}" "$@"'
    _program(place, "python3", script)
    assert "sudo apt-get install python3-venv" in _one_line(_set_up(place))
    assert not (place / ".venv").exists()


@pytest.mark.slow
def test_without_a_network_it_says_so_and_leaves_nothing_taken_for_ready(place: Path) -> None:
    done = _set_up(
        place,
        PYTHON=sys.executable,
        PIP_INDEX_URL="http://127.0.0.1:9/simple",
        PIP_CONFIG_FILE=os.devnull,
        XDG_CONFIG_DIRS=str(place),
    )
    assert "check the network" in _one_line(done)
    assert not list((place / ".venv").glob(".ready-*"))


@pytest.mark.slow
def test_a_finished_environment_is_not_made_again_and_an_interrupted_one_is(place: Path) -> None:
    venv = place / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    (venv / ".ready-run").write_text("an earlier state of the project")
    # Neither the stamp nor a folder without pip is taken for a finished environment.
    done = _set_up(place, PYTHON=sys.executable, PIP_NO_INDEX="1", PIP_CONFIG_FILE=os.devnull)
    assert done.returncode == 1
    assert "setting up" in done.stdout

    version = ".".join(map(str, sys.version_info[:3]))
    files = (place / "pyproject.toml").read_bytes()
    files += (place / "emulator" / "pyproject.toml").read_bytes()
    sum_ = subprocess.run(["cksum"], input=files, capture_output=True, check=True).stdout.decode()
    (venv / ".ready-run").write_text(f"run {version} {sum_.strip()}")
    done = _set_up(place, PYTHON=sys.executable, PIP_NO_INDEX="1", PIP_CONFIG_FILE=os.devnull)
    assert (done.returncode, done.stdout) == (0, "")
