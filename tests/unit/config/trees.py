# SPDX-License-Identifier: Apache-2.0
"""Small trees of configuration files for these tests."""

from pathlib import Path

from xpu_agent.config import ConfigurationProblem, ConfigurationProblemsError, load_config


def write(folder: Path, files: dict[str, str]) -> Path:
    """Make the files below `folder`, writable by their owner alone."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        path.chmod(0o644)
    return folder


def problems(path: Path | None, root: Path | None = None) -> list[ConfigurationProblem]:
    """What is wrong with a configuration; empty where nothing is."""
    try:
        load_config(path, root)
    except ConfigurationProblemsError as error:
        return list(error.problems)
    return []


def problems_of(folder: Path, text: str) -> list[str]:
    """What is wrong with a file of this text, as `LINE key: sentence`."""
    write(folder, {"agent.yaml": text})
    found = problems(folder / "agent.yaml")
    return [f"{p.line} {p.key}: {p.text}" for p in found]
