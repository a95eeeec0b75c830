# SPDX-License-Identifier: Apache-2.0
"""The command line as a shell sees it: help, options, exit status, streams that are gone."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest

from xpu_agent.cli import build_parser, main

AGENT = Path(__file__).parents[2] / "agent"
COMMANDS = next(
    tuple(action.choices)
    for action in build_parser()._actions
    if isinstance(action, argparse._SubParsersAction)
)
HEAVY = ("httpx", "cryptography", "asn1crypto", "yaml", "pyroute2", "ssl")


def _agent(*arguments: str, **more: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "xpu_agent", *arguments],
        env={**os.environ, "PYTHONPATH": str(AGENT), **more},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )


def _python(program: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, "PYTHONPATH": str(AGENT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert end.value.code == 0
    out = capsys.readouterr().out
    assert f"example:\n  xpu-agent {command}" in out


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such-command"],
        ["run", "--no-such-option"],
        ["--no-such-option", "run"],
        ["decommission"],
        ["inspect"],
        ["run", "--media", "a", "--bootstrap-server", "https://b"],
        ["run", "--log-format", "xml"],
        ["--config"],
        ["run", "--med", "a"],  # no abbreviations
        ["run", "--x\ny\x1b[2J"],
        ["a\nb"],
    ],
)
def test_wrong_use_is_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert "--help" in err
    assert err.removesuffix("\n").isprintable()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--config", "", "status"], "--config names nothing"),
        (["--root", "", "status"], "--root names nothing"),
        (["--root", "/no/such", "status"], "--root /no/such is no folder"),
        (["--root", __file__, "disable"], "is no folder"),
        (["run", "--media", ""], "--media names nothing"),
        (["run", "--bootstrap-server", "https://a", "--trust-anchor", ""], "--trust-anchor"),
        (["run", "--trust-anchor", "ca.pem"], "belongs to --bootstrap-server"),
    ],
)
def test_values_that_name_nothing(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert words in err


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "exit status:" in capsys.readouterr().err


@pytest.mark.parametrize("before", [True, False])
def test_common_options_before_and_after(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], before: bool
) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "a.yaml").write_text("paths: {state: /s, run: /r}\n")
    common = ["--root", str(tmp_path), "--config", "/etc/a.yaml", "-v", "--log-format", "json"]
    arguments = [*common, "disable"] if before else ["disable", *common]
    assert main(arguments) == 0
    assert (tmp_path / "s" / "disabled").exists()


def test_links_below_the_root_folder_lead_nowhere_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "etc" / "xpu-agent").mkdir(parents=True)
    outside.mkdir()
    (root / "etc" / "xpu-agent" / "agent.yaml").write_text("paths: {state: /link/s, run: /r}\n")
    (root / "link").symlink_to(outside)
    assert main(["--root", str(root), "disable"]) == 0
    assert list(outside.iterdir()) == []
    assert (root / str(outside).lstrip("/") / "s" / "disabled").exists()


def test_a_missing_configuration_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", "/no/such.yaml", "run"]) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert "/no/such.yaml" in err


@pytest.mark.parametrize("arguments", [["--help"], ["status"], ["--version"], []])
def test_nothing_heavy_is_imported(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "a.json").write_text(f'{{"paths": {{"state": "{tmp_path}/s", "run": "/r"}}}}')
    program = (
        "import sys\nfrom xpu_agent.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        f"sys.stdout.write('|' + ' '.join(m for m in {HEAVY!r} if m in sys.modules))\n"
    )
    out = _python(program, "--config", str(tmp_path / "a.json"), *arguments)
    assert out.rpartition("|")[2] == ""


def test_a_json_configuration_needs_no_yaml(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(f'{{"paths": {{"state": "{tmp_path}/s", "run": "/r"}}}}')
    program = (
        "import sys\nsys.modules['yaml'] = None\n"
        "from xpu_agent.cli import main\nsys.exit(main(sys.argv[1:]))\n"
    )
    _python(program, "--config", str(tmp_path / "a.json"), "disable")
    assert (tmp_path / "s" / "disabled").exists()


@pytest.mark.parametrize("descriptor", [0, 1, 2])
def test_a_closed_stream_is_no_traceback(tmp_path: Path, descriptor: int) -> None:
    (tmp_path / "a.json").write_text(f'{{"paths": {{"state": "{tmp_path}/s", "run": "/r"}}}}')
    words = f'exec "$0" -m xpu_agent --config "$1" status {descriptor}>&-'
    done = subprocess.run(
        ["sh", "-c", words, sys.executable, str(tmp_path / "a.json")],
        env={**os.environ, "PYTHONPATH": str(AGENT)},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr


def test_a_reader_that_left(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(f'{{"paths": {{"state": "{tmp_path}/s", "run": "/r"}}}}')
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as gone:
        done = subprocess.run(
            [sys.executable, "-m", "xpu_agent", "--config", str(tmp_path / "a.json"), "status"],
            env={**os.environ, "PYTHONPATH": str(AGENT)},
            stdout=gone,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("command", [["status"], ["status", "--json"], ["check-config"]])
def test_an_output_that_is_full(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "a.json").write_text(f'{{"paths": {{"state": "{tmp_path}/s", "run": "/r"}}}}')
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "xpu_agent", "--config", str(tmp_path / "a.json"), *command],
            env={**os.environ, "PYTHONPATH": str(AGENT)},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    said = [line for line in done.stderr.splitlines() if not line.startswith("warning: ")]
    assert done.returncode == 1
    assert said == ["xpu-agent: the output is not complete: No space left on device"]


@pytest.mark.parametrize("debug", ["", "1"])
def test_a_bug_of_ours_is_one_line_unless_asked_for_more(tmp_path: Path, debug: str) -> None:
    (tmp_path / "a.json").write_text(f'{{"paths": {{"state": "{tmp_path}/s", "run": "/r"}}}}')
    # A module that is broken, the way a damaged package is.
    program = (
        "import sys, types\nbroken = types.ModuleType('xpu_agent.commands.status')\n"
        "sys.modules[broken.__name__] = broken\n"
        "import xpu_agent.commands\nxpu_agent.commands.status = broken\n"
        "from xpu_agent.cli import main\nsys.exit(main(sys.argv[1:]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "--config", str(tmp_path / "a.json"), "status"],
        env={**os.environ, "PYTHONPATH": str(AGENT), "XPU_AGENT_DEBUG": debug},
        capture_output=True,
        text=True,
        check=False,
    )
    first, _, rest = done.stderr.partition("\n")
    assert done.returncode == 1
    assert first.startswith("xpu-agent: internal: AttributeError: ")
    assert first.endswith("please report this line")
    assert rest.startswith("Traceback") if debug else rest == ""


@pytest.mark.parametrize(
    "more", [{"LC_ALL": "C", "PYTHONUTF8": "0"}, {"PYTHONIOENCODING": "latin-1"}]
)
def test_any_encoding_of_the_terminal(more: dict[str, str]) -> None:
    done = _agent("--config", "/no/sn\u00f6w\u2603.yaml", "run", TERM="nonsense", **more)
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1
