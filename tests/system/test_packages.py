# SPDX-License-Identifier: Apache-2.0
"""What the two distributions hold: the device's wheel nothing but the agent."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from tests.suites import TESTS

ROOT = TESTS.parent
pytestmark = pytest.mark.slow


def _wheel(project: Path, folder: Path) -> zipfile.ZipFile:
    pytest.importorskip("hatchling", reason="hatchling is not installed")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    subprocess.run(
        [*command, "--no-build-isolation", "--disable-pip-version-check", "-w", folder, project],
        check=True,
        stdin=subprocess.DEVNULL,
    )
    (wheel,) = folder.glob("*.whl")
    return zipfile.ZipFile(wheel)


def _metadata(wheel: zipfile.ZipFile) -> str:
    (name,) = (n for n in wheel.namelist() if n.endswith("/METADATA"))
    return wheel.read(name).decode()


def test_the_agents_wheel_holds_the_agent_alone(tmp_path: Path) -> None:
    with _wheel(ROOT, tmp_path) as wheel:
        names = wheel.namelist()
        tops = {name.split("/")[0] for name in names}
        assert tops == {"xpu_agent", "xpu_agent-0.1.0.dist-info"}
        held = {name for name in names if name.startswith("xpu_agent/")}
        here = {
            str(path.relative_to(ROOT / "agent"))
            for path in (ROOT / "agent" / "xpu_agent").rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        assert held == here
        assert any(name.endswith("schemas/status.schema.json") for name in held)
        metadata = _metadata(wheel)
        assert "Requires-Python: >=3.11" in metadata
        assert "Requires-Dist: cryptography>=38" in metadata


def test_the_emulators_wheel_holds_the_emulator_with_its_data(tmp_path: Path) -> None:
    with _wheel(ROOT / "emulator", tmp_path) as wheel:
        names = wheel.namelist()
        assert {n.split("/")[0] for n in names} == {"xpu_emulator", "xpu_emulator-0.1.0.dist-info"}
        assert any(n.endswith(".yaml") for n in names)
        assert "Requires-Dist: xpu-agent" not in _metadata(wheel)
