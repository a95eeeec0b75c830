# SPDX-License-Identifier: Apache-2.0
"""What the documents tell a reader to type is typed here, as it stands."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.suites import TESTS

ROOT = TESTS.parent
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
pytestmark = pytest.mark.slow


def _blocks(document: str) -> list[str]:
    return BLOCK.findall((ROOT / document).read_text("utf-8"))


def _run(script: str, folder: Path) -> str:
    """Run it as `sh -e` with the two commands on the path, under their names."""
    programs = folder.parent / "programs"
    programs.mkdir()
    for command, module in (("xpu-agent", "xpu_agent"), ("xpu-emulator", "xpu_emulator")):
        (programs / command).write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {module} "$@"\n')
        (programs / command).chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT / 'agent'}:{ROOT / 'emulator'}",
    }
    done = subprocess.run(
        ["sh", "-e", "-c", script],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


def test_the_emulators_document(tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    output = _run("\n".join(_blocks("docs/emulator.md")), folder)
    assert '{"hostname": "xpu-1"}' in output
    assert "owner: XPU-0001 report bootstrap-complete -> 204" in output
    assert '"hostname": "from a stick"' in output
    assert "verdict: rejected" in output


def test_the_readmes_commands(tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    by_hand = [block for block in _blocks("README.md") if "make demo" not in block]
    output = _run("\n".join(by_hand), folder)
    assert "verdict: trusted, by signature" in output


@pytest.mark.parametrize("document", sorted(p.name for p in (ROOT / "docs").glob("*.md")))
def test_links_lead_somewhere(document: str) -> None:
    text = (ROOT / "docs" / document).read_text("utf-8")
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (ROOT / "docs" / target).exists(), target


def test_links_of_the_readme_lead_somewhere() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (ROOT / target).exists(), target
