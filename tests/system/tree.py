# SPDX-License-Identifier: Apache-2.0
"""A copy of the project as from a tarball, with an environment that needs no network."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from tests.suites import TESTS

ROOT = TESTS.parent
PARTS = ("Makefile", "README.md", "pyproject.toml", "agent", "emulator", "packaging")


@dataclass(frozen=True, slots=True)
class Tree:
    """The copy, and the Python its environment is made with."""

    folder: Path
    python: str

    def command(self, *words: str) -> list[str]:
        """A `make` command in this tree."""
        return ["make", f"PYTHON={self.python}", *words]


def make_tree(folder: Path, python: str) -> Tree:
    """Copy the project to `folder` and make `.venv` ready there, from what runs these tests."""
    folder.mkdir(parents=True)
    skip = shutil.ignore_patterns("__pycache__", "*.pyc", "*.egg-info")
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=skip)
        else:
            shutil.copy(source, folder / part)
    venv = folder / ".venv"
    subprocess.run([python, "-m", "venv", "--without-pip", venv], check=True)
    (site,) = (venv / "lib").glob("python3*/site-packages")
    for name in _closure({"xpu-agent", "xpu-emulator"}):
        _copy_distribution(name, site)
    (site / "project.pth").write_text(f"{folder / 'agent'}\n{folder / 'emulator'}\n")
    # packaging/venv.sh wants a pip in a finished environment; a word of it will do here.
    (site / "pip.py").touch()
    (venv / ".ready-run").write_text(_stamp(folder, python))
    return Tree(folder, python)


def _stamp(folder: Path, python: str) -> str:
    version = subprocess.run(
        [python, "-c", "import sys; print('%d.%d.%d' % sys.version_info[:3])"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    files = [folder / "pyproject.toml", folder / "emulator" / "pyproject.toml"]
    octets = b"".join(path.read_bytes() for path in files)
    sum_ = subprocess.run(["cksum"], input=octets, check=True, capture_output=True).stdout
    return f"run {version} {sum_.decode().strip()}"


def _closure(projects: set[str]) -> set[str]:
    """The distributions the projects need at run time, themselves left out."""
    todo = [
        re.split(r"[^A-Za-z0-9._-]", line.strip().strip('",'))[0]
        for path in (ROOT / "pyproject.toml", ROOT / "emulator" / "pyproject.toml")
        for line in _dependencies(path.read_text("utf-8"))
    ]
    found: set[str] = set()
    while todo:
        name = todo.pop().lower().replace("_", "-")
        # One for another system or Python is named too, and not installed.
        if name in found or name in projects or not _is_installed(name):
            continue
        found.add(name)
        needed = [r for r in metadata.requires(name) or () if "extra ==" not in r]
        todo += [re.split(r"[^A-Za-z0-9._-]", requirement)[0] for requirement in needed]
    return found


def _dependencies(text: str) -> list[str]:
    block = text.partition("dependencies = [")[2].partition("]")[0]
    return [line for line in block.splitlines() if line.strip().startswith('"')]


def _is_installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _copy_distribution(name: str, site: Path) -> None:
    for file in metadata.distribution(name).files or ():
        if ".." in file.parts or "__pycache__" in file.parts:
            continue
        target = site / file
        target.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            shutil.copy(str(file.locate()), target)


def public_python() -> str | None:
    """A Python that any user may run, of the version whose packages we have; None if none."""
    version = f"python3.{sys.version_info[1]}"
    for candidate in (os.path.realpath(sys.executable), f"/usr/bin/{version}"):
        path = Path(candidate)
        if not path.exists():
            continue
        if all(parent.stat().st_mode & 0o005 == 0o005 for parent in path.parents):
            return candidate
    return None
