# SPDX-License-Identifier: Apache-2.0
"""`inspect`: each form of input, one object for any of it, nothing touched."""

import base64
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from tests.harness import Device, Lab
from tests.scenario.test_section_3_artifacts import ARTIFACTS, encrypted

from xpu_agent.cli import main
from xpu_agent.lifecycle import AgentState
from xpu_agent.store.state_file import encode_state
from xpu_emulator.pki import Identity
from xpu_emulator.rpc import BootstrappingData

SCHEMA = json.loads((resources.files("xpu_agent") / "schemas/inspect.schema.json").read_text())
FILES = ("conveyed-information", "owner-certificate", "ownership-voucher")


@dataclass
class Bench:
    """A device and files to show it."""

    device: Device
    folder: Path
    capsys: pytest.CaptureFixture[str]

    def files(self, data: BootstrappingData) -> list[str]:
        arguments = []
        artifacts = (data.conveyed_information, data.owner_certificate, data.ownership_voucher)
        for name, octets in zip(FILES, artifacts, strict=True):
            if octets is not None:
                (self.folder / name).write_bytes(octets)
                arguments += [f"--{name}", str(self.folder / name)]
        return arguments

    def inspect(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        status = self.device.run("inspect", "--json", *arguments)
        answer: dict[str, Any] = json.loads(self.capsys.readouterr().out)
        jsonschema.validate(answer, SCHEMA)
        return status, answer


@pytest.fixture(name="bench")
def _bench(lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Bench:
    device = lab.device()
    # All that is needed; neither the key nor a platform is.
    (device.folder / "idevid" / "key.pem").unlink()
    (tmp_path / "files").mkdir()
    return Bench(device, tmp_path / "files", capsys)


def _result(answer: dict[str, Any], name: str) -> str:
    return next(str(s["result"]) for s in answer["steps"] if s["step"] == name)


def _pem(octets: bytes, label: str) -> bytes:
    body = base64.encodebytes(octets)
    return b"-----BEGIN %s-----\n%b-----END %s-----\n" % (label.encode(), body, label.encode())


@pytest.mark.parametrize("form", ["der", "cms", "pkcs7", "base64", "base64-lines"])
def test_every_form_of_a_file(lab: Lab, bench: Bench, form: str) -> None:
    arguments = bench.files(lab.signed(lab.onboarding()))
    for path in bench.folder.iterdir():
        octets = path.read_bytes()
        match form:
            case "cms" | "pkcs7":
                path.write_bytes(_pem(octets, form.upper()))
            case "base64":
                path.write_bytes(base64.b64encode(octets))
            case "base64-lines":
                path.write_bytes(base64.encodebytes(octets))
            case _:
                pass
    status, answer = bench.inspect(*arguments)
    assert (status, answer["verdict"], answer["trusted-by"]) == (0, "trusted", "signature")
    assert answer["content-type"] == "json"
    assert "configuration" in answer["conveyed"]["onboarding-information"]


def test_neither_state_nor_key(lab: Lab, bench: Bench) -> None:
    arguments = bench.files(lab.signed(lab.onboarding()))
    before = {p: p.stat().st_mtime_ns for p in bench.device.folder.rglob("*")}
    assert bench.inspect(*arguments)[0] == 0
    assert {p: p.stat().st_mtime_ns for p in bench.device.folder.rglob("*")} == before
    assert not bench.device.state_dir.exists()


def test_a_serial_number_is_enough_of_an_identity(lab: Lab, bench: Bench) -> None:
    arguments = bench.files(lab.signed(lab.onboarding()))
    bench.device.configure(device={"serial-number": bench.device.serial}, identity={})
    config = bench.device.config.read_text().replace("  certificate: idevid/chain.pem\n", "")
    config = config.replace("  private-key: idevid/key.pem\n", "").replace("identity:\n", "")
    bench.device.config.write_text(config)
    assert bench.inspect(*arguments)[0] == 0


@pytest.mark.parametrize("key", [None, "tpm2:0x81000001", "pkcs11:token=t;object=o"])
def test_plain_input_needs_no_key_of_any_kind(lab: Lab, bench: Bench, key: str | None) -> None:
    arguments = bench.files(lab.signed(lab.onboarding()))
    config = bench.device.config.read_text()
    line = "  private-key: idevid/key.pem\n"
    assert line in config
    other = "" if key is None else f"  private-key: '{key}'\n"
    bench.device.config.write_text(config.replace(line, other))
    assert bench.inspect(*arguments)[1]["trusted-by"] == "signature"
    # A boot needs one, and says so.
    assert bench.device.run("run") == 14
    assert (key or "identity.private-key") in bench.capsys.readouterr().err


def _encrypted(lab: Lab, bench: Bench, recipient: Identity) -> list[str]:
    return bench.files(encrypted(lab.signed(lab.onboarding()), ARTIFACTS, recipient))


def test_encrypted_input_needs_the_key(lab: Lab, bench: Bench) -> None:
    owner_of_key = lab.pki.device(bench.device.serial)
    arguments = _encrypted(lab, bench, owner_of_key)
    assert bench.device.run("inspect", "--json", *arguments) == 14
    out, err = bench.capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert "key.pem" in err
    bench.device.add_file("idevid/key.pem", owner_of_key.key_pem)
    status, answer = bench.inspect(*arguments)
    assert (status, answer["verdict"], _result(answer, "decrypt")) == (0, "trusted", "ok")


def test_input_encrypted_for_another_device(lab: Lab, bench: Bench) -> None:
    bench.device.add_file("idevid/key.pem", lab.pki.device(bench.device.serial).key_pem)
    status, answer = bench.inspect(*_encrypted(lab, bench, lab.pki.add_device("SN-0009")))
    assert (status, answer["reason"]) == (11, "decryption-failed")
    assert [_result(answer, s) for s in ("parse", "decrypt", "voucher-signature")] == [
        "ok",
        "failed",
        "skipped",
    ]


def test_a_device_without_identity_opens_nothing(lab: Lab, bench: Bench) -> None:
    arguments = _encrypted(lab, bench, lab.pki.device(bench.device.serial))
    config = yaml.safe_load(bench.device.config.read_text())
    del config["identity"]
    bench.device.config.write_text(yaml.safe_dump(config))
    bench.device.configure(device={"serial-number": bench.device.serial})
    status, answer = bench.inspect(*arguments)
    assert (status, answer["reason"]) == (11, "decryption-failed")


def test_the_state_has_no_say_in_the_time(lab: Lab, bench: Bench) -> None:
    """A bound in the far future would make a boot judge no dates; here none is read."""
    arguments = bench.files(
        lab.signed(lab.onboarding(), expires_on=datetime(2001, 1, 1, tzinfo=UTC))
    )
    bench.device.configure(trust={"clock": "auto"})
    root, folder = bench.folder.parent, bench.device.folder
    rtc = root / "sys/class/rtc/rtc0"
    rtc.mkdir(parents=True)
    (rtc / "since_epoch").write_text(f"{int(datetime.now(UTC).timestamp())}\n")
    bench.device.state_dir.mkdir()
    far = AgentState(clock_floor=datetime(2999, 1, 1, tzinfo=UTC))
    (bench.device.state_dir / "state.json").write_bytes(encode_state(far))
    status = main(
        ["inspect", "--json", "--root", str(root), "--config"]
        + [f"/{(folder / 'agent.yaml').relative_to(root)}"]
        + [a.replace(str(root), "") for a in arguments]
    )
    answer = json.loads(bench.capsys.readouterr().out)
    assert (status, answer["reason"]) == (11, "voucher-expired")


@pytest.mark.parametrize("octets", [b"", b"0", b"\x30\x80\x00", b"AAAA", b"A", b"\xff" * 99])
def test_malformed_input_is_one_object_too(bench: Bench, octets: bytes) -> None:
    path = bench.folder / "ci"
    path.write_bytes(octets)
    status, answer = bench.inspect("--conveyed-information", str(path))
    assert (status, answer["verdict"], answer["reason"]) == (11, "rejected", "malformed")
    assert _result(answer, "parse") == "failed"
    assert _result(answer, "voucher-signature") == "skipped"


def test_a_file_without_end_is_refused(bench: Bench) -> None:
    path = bench.folder / "ci"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    status, answer = bench.inspect("--conveyed-information", str(path))
    assert (status, answer["reason"]) == (11, "too-large")


def test_unsigned_data(lab: Lab, bench: Bench) -> None:
    arguments = bench.files(lab.unsigned(lab.onboarding()))
    status, answer = bench.inspect(*arguments)
    assert (status, answer["reason"]) == (11, "unsigned-not-allowed")
    status, answer = bench.inspect("--from-trusted-server", *arguments)
    assert (status, answer["trusted-by"]) == (0, "server")
    arguments = bench.files(lab.unsigned(lab.redirect(lab.server())))
    status, answer = bench.inspect(*arguments)
    assert (status, answer["verdict"], answer["trusted-by"]) == (0, "untrusted-redirect", None)


@pytest.mark.parametrize("server", [(), ("--from-trusted-server",)])
def test_signed_data_that_fails_is_rejected_whoever_sent_it(
    lab: Lab, bench: Bench, server: tuple[str, ...]
) -> None:
    data = lab.signed(lab.onboarding(), voucher_signer=lab.pki.owner)
    status, answer = bench.inspect(*server, *bench.files(data))
    assert (status, answer["reason"]) == (11, "voucher-untrusted")
    assert _result(answer, "voucher-signature") == "failed"


def test_time(lab: Lab, bench: Bench) -> None:
    arguments = bench.files(lab.signed(lab.onboarding()))
    later = (datetime.now(UTC) + timedelta(days=2)).isoformat()
    status, answer = bench.inspect("--at", later, *arguments)
    assert (status, answer["reason"]) == (11, "voucher-expired")
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    assert bench.inspect("--at", now, *arguments)[0] == 0
    # A device whose clock can't be trusted takes no voucher that expires (RFC 8366).
    status, answer = bench.inspect("--clock-inaccurate", *arguments)
    assert _result(answer, "voucher-dates") != "ok" or status != 0


def test_nonce(lab: Lab, bench: Bench) -> None:
    nonce = b"0123456789abcdef"
    arguments = bench.files(lab.signed(lab.onboarding(), nonce=nonce))
    text = base64.b64encode(nonce).decode()
    assert bench.inspect("--nonce", text, *arguments)[0] == 0
    status, answer = bench.inspect("--nonce", base64.b64encode(b"x" * 16).decode(), *arguments)
    assert (status, answer["reason"]) == (11, "voucher-nonce-mismatch")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--nonce", "!"), "--nonce"),
        (("--at", "noon"), "--at"),
        (("--at", "2026-11-27", "--clock-inaccurate"), "--clock-inaccurate"),
        (("--ownership-voucher", "/no/such/file"), "/no/such/file"),
        (("--owner-certificate", "/"), "Is a directory"),
    ],
)
def test_wrong_use(lab: Lab, bench: Bench, arguments: tuple[str, ...], words: str) -> None:
    conveyed = bench.files(lab.unsigned(lab.onboarding()))
    assert bench.device.run("inspect", *conveyed, *arguments) == 2
    out, err = bench.capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert words in err


def test_for_people(lab: Lab, bench: Bench) -> None:
    assert bench.device.run("inspect", *bench.files(lab.signed(lab.onboarding()))) == 0
    assert "verdict: trusted, by signature" in bench.capsys.readouterr().out
