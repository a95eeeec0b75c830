# SPDX-License-Identifier: Apache-2.0
import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from asn1crypto import cms as asn1_cms
from tests.unit.emulator.second_opinion import SERIAL, OpenSsl

from xpu_emulator.artifacts import ONBOARDING, REDIRECT, ContentType, Wrong, conveyed_json
from xpu_emulator.cli import main
from xpu_emulator.errors import EmulatorError
from xpu_emulator.media import BootstrappingData, Layout, device_folder, signed_data_for
from xpu_emulator.media import write_bootstrapping_data as write_data
from xpu_emulator.pki import KeyKind, Pki
from xpu_emulator.voucher import read_voucher

FILES = {"conveyed-information.cms", "owner-certificate.cms", "ownership-voucher.vcj"}


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    path = tmp_path / "startup.conf"
    path.write_bytes(b"hostname xpu\n")
    return path


def media(pki: Pki, out: Path, *arguments: object) -> int:
    command = ["media", "--pki", str(pki.folder), "--out", str(out), *map(str, arguments)]
    return main(command)


def document_of(path: Path) -> Any:
    info = asn1_cms.ContentInfo.load(path.read_bytes(), strict=True)["content"]
    if isinstance(info, asn1_cms.SignedData):
        return json.loads(info["encap_content_info"]["content"].contents)
    return json.loads(info.contents)


@pytest.mark.parametrize(
    ("layout", "folder"),
    [
        ("manufacturer", f"Example%20Manufacturer/{SERIAL}/bootstrapping-data"),
        ("serial", f"sztp/{SERIAL}"),
        ("single", "sztp"),
    ],
)
def test_layouts(layout: str, folder: str, pki: Pki, tmp_path: Path, configuration: Path) -> None:
    out = tmp_path / "usb"

    assert media(pki, out, "--layout", layout, "--configuration", configuration, SERIAL) == 0

    assert {each.name for each in (out / folder).iterdir()} == FILES


def test_signed_data_verifies_with_the_owner_certificate(
    pki: Pki, tmp_path: Path, configuration: Path, openssl: OpenSsl
) -> None:
    out = tmp_path / "usb"
    scripts = ["--pre-script", configuration, "--post-script", configuration]
    assert (
        media(pki, out, "--configuration", configuration, "--handling", "replace", *scripts, SERIAL)
        == 0
    )
    folder = out / "sztp" / SERIAL

    pem = openssl.run(
        "pkcs7", "-inform", "DER", "-print_certs", "-in", folder / "owner-certificate.cms"
    )
    done = openssl.verify_cms(
        (folder / "conveyed-information.cms").read_bytes(),
        pki.owner_root,
        "-certfile",
        openssl.file("owner.pem", pem.stdout),
    )
    assert done.returncode == 0, done.stderr
    body = json.loads(done.stdout)[ONBOARDING]
    assert body["configuration-handling"] == "replace"
    assert "pre-configuration-script" in body
    voucher = read_voucher((folder / "ownership-voucher.vcj").read_bytes())
    assert voucher.leaves["serial-number"] == SERIAL


def test_several_devices_share_a_medium(pki: Pki, tmp_path: Path, configuration: Path) -> None:
    pki.add_device("a/b")
    out = tmp_path / "usb"

    assert media(pki, out, "--configuration", configuration, SERIAL, "a/b") == 0
    assert {each.name for each in (out / "sztp").iterdir()} == {SERIAL, "a%2Fb"}


def test_image_goes_along_with_its_digest(pki: Pki, tmp_path: Path) -> None:
    out, image = tmp_path / "usb", tmp_path / "my os.img"
    image.write_bytes(b"image")

    assert media(pki, out, "--image", image, "--os-name", "X", "--os-version", "1", SERIAL) == 0

    document = document_of(out / "sztp" / SERIAL / "conveyed-information.cms")
    boot_image = document[ONBOARDING]["boot-image"]
    assert boot_image["download-uri"] == ["file:///images/my%2520os.img"]
    assert (out / "images" / "my%20os.img").read_bytes() == b"image"
    digest = boot_image["image-verification"][0]["hash-value"].replace(":", "")
    assert digest == hashlib.sha256(b"image").hexdigest()


@pytest.mark.parametrize("form", ["cms", "json", "xml"])
def test_unsigned_redirect(form: str, pki: Pki, tmp_path: Path) -> None:
    out = tmp_path / "usb"

    assert (
        media(
            pki,
            out,
            "--redirect",
            "b.example:8443",
            "--redirect",
            "::1",
            "--unsigned",
            form,
            SERIAL,
        )
        == 0
    )

    (only,) = (out / "sztp" / SERIAL).iterdir()
    assert only.name == f"conveyed-information.{form}"
    if form == "xml":
        assert b"<port>8443</port>" in only.read_bytes()
    else:
        document = document_of(only) if form == "cms" else json.loads(only.read_bytes())
        assert document[REDIRECT]["bootstrap-server"] == [
            {"address": "b.example", "port": 8443},
            {"address": "::1"},
        ]


def test_signed_redirect_carries_the_trust_anchor(pki: Pki, tmp_path: Path) -> None:
    out = tmp_path / "usb"
    assert media(pki, out, "--redirect", "[2001:db8::1]:443", SERIAL) == 0

    document = document_of(out / "sztp" / SERIAL / "conveyed-information.cms")
    (server,) = document[REDIRECT]["bootstrap-server"]
    assert (server["address"], server["port"]) == ("2001:db8::1", 443)
    assert "trust-anchor" in server


def test_a_document_of_ones_own(pki: Pki, tmp_path: Path) -> None:
    document = tmp_path / "document.xml"
    document.write_text("<onboarding-information/>")

    assert media(pki, tmp_path / "usb", "--document", document, SERIAL) == 0
    der = (tmp_path / "usb" / "sztp" / SERIAL / "conveyed-information.cms").read_bytes()
    info = asn1_cms.ContentInfo.load(der)["content"]["encap_content_info"]
    assert info["content_type"].dotted == ContentType.CONVEYED_XML


def test_encrypted_for_the_device_only(
    pki: Pki, tmp_path: Path, configuration: Path, openssl: OpenSsl
) -> None:
    pki.add_device("OTHER")
    out = tmp_path / "usb"
    assert media(pki, out, "--configuration", configuration, "--encrypt", SERIAL) == 0

    for name in FILES:
        der = (out / "sztp" / SERIAL / name).read_bytes()
        assert openssl.decrypt(der, pki.device(SERIAL)).returncode == 0
        assert openssl.decrypt(der, pki.device("OTHER")).returncode != 0


def test_a_device_that_only_signs_gets_nothing_encrypted(pki: Pki) -> None:
    pki.add_device("SIGNS", key=KeyKind.ED25519)
    with pytest.raises(EmulatorError, match="Ed25519"):
        signed_data_for(pki, "SIGNS", b"{}", encrypt=True)


@pytest.mark.parametrize("wrong", ["tampered-signature", "unknown-member", "trailing-bytes"])
def test_wrong_conveyed_information(
    wrong: str, pki: Pki, tmp_path: Path, configuration: Path
) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    assert media(pki, good, "--configuration", configuration, SERIAL) == 0
    assert media(pki, bad, "--configuration", configuration, "--wrong", wrong, SERIAL) == 0

    name = Path("sztp", SERIAL, "conveyed-information.cms")
    assert (good / name).read_bytes() != (bad / name).read_bytes()


def test_wrong_voucher_and_wrong_envelope(pki: Pki, tmp_path: Path, configuration: Path) -> None:
    out = tmp_path / "usb"
    arguments = ["--wrong-voucher", "other-serial-number", "--configuration", configuration]
    assert media(pki, out, *arguments, SERIAL) == 0
    voucher = read_voucher((out / "sztp" / SERIAL / "ownership-voucher.vcj").read_bytes())
    assert voucher.leaves["serial-number"] != SERIAL

    data = signed_data_for(pki, SERIAL, b"{}", encrypt=True, wrong=Wrong.TAMPERED_MAC)
    info = asn1_cms.ContentInfo.load(data.conveyed_information, strict=True)
    assert info["content_type"].dotted == ContentType.AUTH_ENVELOPED_DATA


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([SERIAL], "what to convey"),
        (["--redirect", "a", "--configuration", "CONF", SERIAL], "one of them only"),
        (["--redirect", "a"], "serial numbers"),
        (["--redirect", "a:b", SERIAL], "HOST"),
        (["--redirect", ":1", SERIAL], "HOST"),
        (["--redirect", "a:65536", SERIAL], "HOST"),
        (["--redirect", "a", "UNKNOWN"], "no device"),
        (["--redirect", "a", "--unsigned", "cms", "UNKNOWN"], "no device"),
        (["--redirect", "a", "--unsigned", "cms", "--encrypt", SERIAL], "--unsigned"),
        (["--redirect", "a", "--layout", "single", SERIAL, "X"], "one device"),
        (["--redirect", "a", "--wrong", "expired", SERIAL], "--list-wrong"),
        (["--redirect", "a", "--wrong", "hash-without-uri", SERIAL], "can't be wrong"),
        (["--redirect", "a", "--wrong", "tampered-mac", SERIAL], "envelope"),
        (["--redirect", "a", "--unsigned", "json", "--wrong", "truncated", SERIAL], "CMS"),
        (["--redirect", "a", "--unsigned", "cms", "--wrong", "other-key", SERIAL], "signature"),
        (["--redirect", "a", "--unsigned", "xml", "--wrong", "port-zero", SERIAL], "JSON"),
        (["--document", "CONF", "--unsigned", "xml", SERIAL], "isn't xml"),
        (["--os-name", "X", "--handling", "merge", SERIAL], "--handling"),
        (["--configuration", "/nowhere", SERIAL], "can't read"),
        (["--image", "/nowhere", SERIAL], "can't read"),
        (["--redirect", "a", "--manufacturer", "..", "--layout", "manufacturer", SERIAL], "name"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    arguments: list[str],
    message: str,
    pki: Pki,
    tmp_path: Path,
    configuration: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    filled = [str(configuration) if each == "CONF" else each for each in arguments]

    assert media(pki, tmp_path / "usb", *filled) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "usb").exists()


def test_existing_files_need_force(
    pki: Pki, tmp_path: Path, configuration: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--configuration", configuration, "--image", configuration, SERIAL]
    assert media(pki, tmp_path / "usb", *arguments) == 0
    assert media(pki, tmp_path / "usb", *arguments) == 2
    assert "exists already" in capsys.readouterr().err
    assert media(pki, tmp_path / "usb", "--force", *arguments) == 0


def test_writing_conveyed_information_alone(tmp_path: Path) -> None:
    folder = tmp_path / device_folder("SN", Layout.SERIAL, "unused")
    write_data(folder, BootstrappingData(conveyed_json({}), form="json"), replace=False)

    assert [each.name for each in folder.iterdir()] == ["conveyed-information.json"]


@pytest.mark.skipif(shutil.which("xorriso") is None, reason="xorriso is not installed")
def test_iso_image_holds_the_tree(pki: Pki, tmp_path: Path, configuration: Path) -> None:
    iso = tmp_path / "images" / "usb.iso"
    arguments = ["--configuration", configuration, "--iso", iso, SERIAL]
    assert media(pki, tmp_path / "usb", *arguments) == 0

    listed = subprocess.run(
        ["xorriso", "-indev", iso, "-find", "/", "-type", "f"],
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    assert all(f"'/sztp/{SERIAL}/{name}'" in listed for name in FILES)
    assert media(pki, tmp_path / "usb", "--force", *arguments) == 0


@pytest.mark.skipif(shutil.which("mcopy") is None, reason="mtools is not installed")
def test_vfat_image_holds_the_tree(pki: Pki, tmp_path: Path, configuration: Path) -> None:
    image = tmp_path / "usb.img"
    arguments = ["--configuration", configuration, "--vfat", image, SERIAL]
    assert media(pki, tmp_path / "usb", *arguments) == 0

    copied = subprocess.run(
        ["mtype", "-i", image, f"::/sztp/{SERIAL}/ownership-voucher.vcj"],
        capture_output=True,
        check=True,
    ).stdout
    assert copied == (tmp_path / "usb" / "sztp" / SERIAL / "ownership-voucher.vcj").read_bytes()


def test_images_say_which_tool_they_need(
    pki: Pki,
    tmp_path: Path,
    configuration: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for option, tool in (("--iso", "xorriso"), ("--vfat", "mtools")):
        arguments = ["--force", "--configuration", configuration, option, tmp_path / "x", SERIAL]
        assert media(pki, tmp_path / "usb", *arguments) == 2
        assert tool in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_image_inside_its_tree_and_failing_tool(
    pki: Pki,
    tmp_path: Path,
    configuration: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "usb"
    assert media(pki, out, "--configuration", configuration, "--iso", out / "x.iso", SERIAL) == 2
    assert "lies in the tree" in capsys.readouterr().err

    tool = tmp_path / "bin" / "genisoimage"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho no space >&2\nexit 5\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tool.parent))
    arguments = ["--force", "--configuration", configuration, "--iso", tmp_path / "x.iso", SERIAL]
    assert media(pki, out, *arguments) == 2
    assert "genisoimage failed: no space" in capsys.readouterr().err


def test_defects_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["media", "--list-wrong"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(Wrong)
