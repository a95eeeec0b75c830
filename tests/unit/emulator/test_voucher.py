# SPDX-License-Identifier: Apache-2.0
import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.unit.emulator.second_opinion import SERIAL, OpenSsl

from xpu_emulator.artifacts import VOUCHER, ContentType, Wrong, conveyed_json, plain, signed
from xpu_emulator.cli import main
from xpu_emulator.errors import EmulatorError
from xpu_emulator.pki import Pki
from xpu_emulator.voucher import issue_voucher, parse_time, read_voucher, renew_voucher

CREATED = datetime(2026, 1, 2, tzinfo=UTC)


def test_voucher_verifies_to_the_manufacturers_root(pki: Pki, openssl: OpenSsl) -> None:
    done = openssl.verify_cms(issue_voucher(pki, SERIAL), pki.manufacturer_root)

    assert done.returncode == 0, done.stderr
    leaves = json.loads(done.stdout)[VOUCHER]
    assert leaves["serial-number"] == SERIAL
    assert base64.b64decode(leaves["pinned-domain-cert"]) == pki.owner_root.der
    assert base64.b64decode(leaves["idevid-issuer"]) == pki.idevid_ca.ski


def test_voucher_expires_unless_it_has_a_nonce(pki: Pki) -> None:
    expiring = read_voucher(issue_voucher(pki, SERIAL, created_on=CREATED)).leaves
    with_nonce = read_voucher(issue_voucher(pki, SERIAL, nonce=b"12345678")).leaves

    assert expiring["expires-on"] == "2027-01-02T00:00:00Z"
    assert "expires-on" not in with_nonce
    assert with_nonce["nonce"] == "MTIzNDU2Nzg="
    with pytest.raises(EmulatorError, match="choose one"):
        issue_voucher(pki, SERIAL, nonce=b"12345678", expires_on=CREATED)


def test_renewal_keeps_the_facts_and_the_lifetime(pki: Pki) -> None:
    old = issue_voucher(
        pki,
        SERIAL,
        created_on=CREATED,
        expires_on=CREATED + timedelta(days=30),
        revocation_checks=True,
        content_type=ContentType.DATA,
    )
    new = renew_voucher(pki, old, created_on=CREATED + timedelta(days=20))

    before, after = read_voucher(old), read_voucher(new)
    assert after.content_type == ContentType.DATA
    assert after.leaves["created-on"] == "2026-01-22T00:00:00Z"
    assert after.leaves["expires-on"] == "2026-02-21T00:00:00Z"
    dates = {"created-on", "expires-on"}
    assert {k: v for k, v in before.leaves.items() if k not in dates} == {
        k: v for k, v in after.leaves.items() if k not in dates
    }


def test_renewal_ends_with_the_last_renewal_date(pki: Pki) -> None:
    old = issue_voucher(pki, SERIAL, created_on=CREATED, last_renewal=CREATED + timedelta(days=1))

    renew_voucher(pki, old, created_on=CREATED + timedelta(hours=1))
    with pytest.raises(EmulatorError, match="until"):
        renew_voucher(pki, old, created_on=CREATED + timedelta(days=2))


def test_renewal_of_what_can_not_be_renewed(pki: Pki) -> None:
    with pytest.raises(EmulatorError, match="nothing to renew"):
        renew_voucher(pki, issue_voucher(pki, SERIAL, nonce=b"12345678"))
    with pytest.raises(EmulatorError, match="no device"):
        renew_voucher(pki, issue_voucher(pki, SERIAL, wrong=Wrong.OTHER_SERIAL_NUMBER))
    with pytest.raises(EmulatorError, match="names no device"):
        renew_voucher(pki, issue_voucher(pki, SERIAL, wrong=Wrong.MISSING_SERIAL_NUMBER))
    with pytest.raises(EmulatorError, match="no time"):
        renew_voucher(pki, issue_voucher(pki, SERIAL, wrong=Wrong.MISSING_CREATED_ON))


def test_reading_what_is_no_voucher(pki: Pki) -> None:
    good = issue_voucher(pki, SERIAL)
    for bad in (
        b"",
        b"nonsense",
        good[:-10],
        good + b"\0",
        plain(b"{}", ContentType.VOUCHER_JSON),
        signed(b"[]", ContentType.VOUCHER_JSON, pki.owner),
        signed(b"{", ContentType.VOUCHER_JSON, pki.owner),
        signed(b"[" * 100_000, ContentType.VOUCHER_JSON, pki.owner),
        signed(b"{}", ContentType.VOUCHER_JSON, pki.owner, wrong=Wrong.DETACHED),
        signed(conveyed_json({VOUCHER: []}), ContentType.VOUCHER_JSON, pki.owner),
    ):
        with pytest.raises(EmulatorError):
            read_voucher(bad)


def test_times() -> None:
    assert parse_time("2026-01-02") == CREATED
    assert parse_time("2026-01-02T01:00:00+01:00") == CREATED
    with pytest.raises(EmulatorError, match="no time"):
        parse_time("tomorrow")


def test_issue_command_writes_and_show_reads(
    pki: Pki, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    dates = "--created-on 2026-01-02 --valid-days 30 --last-renewal-date 2030-01-01"
    others = "--revocation-checks true --assertion logged --id-data"
    pinned = str(pki.folder / "owner" / "certificate.pem")
    status = main(
        [
            *("voucher", "issue", "--pki", str(pki.folder), "--out", str(out)),
            *dates.split(),
            *others.split(),
            *("--pinned-cert", pinned, SERIAL),
        ]
    )
    assert status == 0
    assert capsys.readouterr().out.split() == [str(out / f"{SERIAL}.vcj")]

    assert main(["voucher", "show", str(out / f"{SERIAL}.vcj"), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["content-type"] == ContentType.DATA
    leaves = shown["voucher"]
    assert leaves["expires-on"] == "2026-02-01T00:00:00Z"
    assert leaves["last-renewal-date"] == "2030-01-01T00:00:00Z"
    assert leaves["domain-cert-revocation-checks"] is True
    assert leaves["assertion"] == "logged"
    assert base64.b64decode(leaves["pinned-domain-cert"]) == pki.owner.der

    assert main(["voucher", "show", str(out / f"{SERIAL}.vcj")]) == 0
    text = capsys.readouterr().out
    assert "Example Owner Owner Certificate" in text
    assert "serial-number" in text


def test_renew_command_replaces_the_file(
    pki: Pki, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "v.vcj"
    path.write_bytes(issue_voucher(pki, SERIAL, created_on=CREATED))

    assert main(["voucher", "renew", "--pki", str(pki.folder), "--valid-days", "1", str(path)]) == 0

    leaves = read_voucher(path.read_bytes()).leaves
    lifetime = parse_time(leaves["expires-on"]) - parse_time(leaves["created-on"])
    assert lifetime == timedelta(days=1)
    assert capsys.readouterr().out.strip() == str(path)


def test_show_lets_no_control_characters_through(
    pki: Pki, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = {VOUCHER: {"serial-number": "\x1b[2J", "pinned-domain-cert": "AAAA"}}
    path = tmp_path / "v.vcj"
    path.write_bytes(signed(conveyed_json(document), ContentType.VOUCHER_JSON, pki.owner))

    assert main(["voucher", "show", str(path)]) == 0
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert "no certificate" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pki", "PKI", "UNKNOWN"], "no device"),
        (["--pki", "PKI"], "serial numbers"),
        ([SERIAL], "--pki"),
        (["--pki", "/nowhere", SERIAL], "no PKI folder"),
        (["--pki", "PKI", "--expires-on", "soon", SERIAL], "no time"),
        (["--pki", "PKI", "--valid-days", "1e9", SERIAL], "too far"),
        (["--pki", "PKI", "--nonce", "%", SERIAL], "base64"),
        (["--pki", "PKI", "--nonce", "MTI=", SERIAL], "8 to 32"),
        (["--pki", "PKI", "--wrong", "nonsense", SERIAL], "--list-wrong"),
        (["--pki", "PKI", "--wrong", "tampered-mac", SERIAL], "--list-wrong"),
        (["--pki", "PKI", "--wrong", "certificates-out-of-order", SERIAL], "two certificates"),
        (["--pki", "PKI", "--pinned-cert", "/nowhere", SERIAL], "can't read"),
        (["--pki", "PKI", "--out", "/proc/nowhere", SERIAL], "can't make"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    arguments: list[str], message: str, pki: Pki, capsys: pytest.CaptureFixture[str]
) -> None:
    filled = [str(pki.folder) if each == "PKI" else each for each in arguments]

    assert main(["voucher", "issue", *filled]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_existing_file_needs_force(pki: Pki, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["voucher", "issue", "--pki", str(pki.folder), SERIAL]
    assert main(command) == 0
    assert main(command) == 2
    assert "exists already" in capsys.readouterr().err
    assert main([*command, "--force"]) == 0


def test_defects_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["voucher", "issue", "--list-wrong"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("tampered-signature ") for line in lines)
    assert all(len(line) <= 120 for line in lines)
