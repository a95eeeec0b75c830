# SPDX-License-Identifier: Apache-2.0
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.unit.emulator.second_opinion import SERIAL

from xpu_emulator.cli import main
from xpu_emulator.pki import Pki

EMULATOR = Path(__file__).parents[3] / "emulator"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "xpu_emulator", *arguments],
        env={**os.environ, "PYTHONPATH": str(EMULATOR)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_help_lists_commands_without_importing_them() -> None:
    code = (
        "import sys; from xpu_emulator.cli import build_parser;"
        "text = build_parser(None).format_help();"
        "assert 'voucher' in text;"
        "assert not {'cryptography', 'asn1crypto', 'yaml'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(EMULATOR)},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["pki"],
        ["pki", "create"],
        ["pki", "add-device"],
        ["pki", "add-server"],
        ["pki", "show"],
        ["voucher"],
        ["voucher", "issue"],
        ["voucher", "renew"],
        ["voucher", "show"],
        ["media"],
    ],
)
def test_every_command_has_help_with_an_example(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main([*command, "--help"])

    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "example" in text
    assert "xpu-emulator" in text.partition("example")[2]


def test_usage_errors_exit_2_without_traceback() -> None:
    for arguments in (
        [],
        ["nonsense"],
        ["pki"],
        ["pki", "create"],
        ["pki", "create", "--key", "x"],
    ):
        done = run(*arguments)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr


def test_a_closed_pipe_is_no_traceback(pki: Pki) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "xpu_emulator", "pki", "show", str(pki.folder)],
        env={**os.environ, "PYTHONPATH": str(EMULATOR)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        error = process.stderr.read()
    assert b"Traceback" not in error


def test_pki_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(tmp_path / "pki")
    assert main(["pki", "create", folder, "--serial", SERIAL, "--name", "a.example"]) == 0
    assert main(["pki", "add-device", folder, "SECOND", "--key", "rsa2048"]) == 0
    assert main(["pki", "add-server", folder, "second", "b.example", "192.0.2.1"]) == 0
    capsys.readouterr()

    assert main(["pki", "show", folder, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)["identities"]
    files = {each["file"]: each for each in shown}
    assert files[f"devices/{SERIAL}/idevid.pem"]["not-after"] == "9999-12-31T23:59:59Z"
    assert "servers/second/certificate.pem" in files
    assert all((tmp_path / "pki" / name).is_file() for name in files)

    assert main(["pki", "show", folder]) == 0
    assert "devices/SECOND/idevid.pem" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["create", "PKI"], "isn't empty"),
        (["create", "/proc/nowhere"], "can't make"),
        (["create", "NEW", "--serial", ".."], "file name"),
        (["create", "NEW", "--serial", "A", "--serial", "A"], "twice"),
        (["create", "NEW", "--serial", "\udc80"], "UTF-8"),
        (["create", "NEW", "--owner", "a\nb"], "no name"),
        (["create", "NEW", "--manufacturer", ""], "no name"),
        (["create", "NEW", "--name", ".."], "no DNS name"),
        (["create", "x" * 300], "File name too long"),
        (["add-device", "NEW", "A"], "no PKI folder"),
        (["add-device", "PKI", SERIAL], "exists already"),
        (["add-server", "PKI", "bootstrap", "a.example"], "exists already"),
        (["show", "NEW"], "no PKI folder"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    arguments: list[str],
    message: str,
    pki: Pki,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folders = {"PKI": str(pki.folder), "NEW": str(tmp_path / "new")}

    assert main(["pki", *(folders.get(each, each) for each in arguments)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "new").exists()
