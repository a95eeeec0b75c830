# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

import pytest
from asn1crypto import x509 as asn1_x509
from tests.unit.emulator.second_opinion import SERIAL, OpenSsl

from xpu_emulator.errors import EmulatorError
from xpu_emulator.folders import path_component, read_file, write_file
from xpu_emulator.pki import KeyKind, Pki
from xpu_emulator.pki_folder import read_certificate


def test_every_identity_verifies(pki: Pki, openssl: OpenSsl) -> None:
    for path, identity in pki.identities():
        done = openssl.verify_chain(identity)
        assert done.returncode == 0, (path, done.stderr)


def test_what_is_loaded_is_what_was_made(pki: Pki) -> None:
    loaded = Pki.load(pki.folder)

    assert {path: each.der for path, each in loaded.identities()} == {
        path: each.der for path, each in pki.identities()
    }
    assert loaded.serials == (SERIAL,)
    assert loaded.server_names == ("bootstrap",)
    assert loaded.device(SERIAL).root.der == pki.manufacturer_root.der
    assert loaded.key_kind is KeyKind.P256


def test_keys_are_for_their_owner_only(pki: Pki) -> None:
    keys = list(pki.folder.rglob("*.key"))

    assert len(keys) == len(list(pki.identities()))
    assert {key.stat().st_mode & 0o777 for key in keys} == {0o600}
    assert not list(pki.folder.rglob("*.new"))


def test_device_chain_lies_in_its_folder(pki: Pki) -> None:
    chain = (pki.folder / "devices" / SERIAL / "idevid.pem").read_bytes()

    assert chain == pki.device(SERIAL).pem + pki.idevid_ca.pem
    subject = asn1_x509.Certificate.load(pki.device(SERIAL).der).subject.native
    assert subject["serial_number"] == SERIAL


@pytest.mark.parametrize(
    "serial", ["a/b", "../../etc", "SN é 1", "~tilde", "per%cent", "x" * 200, "-n"]
)
def test_odd_serial_numbers_stay_in_their_folder(serial: str, pki: Pki) -> None:
    pki.add_device(serial)

    assert serial in Pki.load(pki.folder).serials
    assert len(list((pki.folder / "devices").iterdir())) == 2
    assert Pki.load(pki.folder).device(serial).chain[1].der == pki.idevid_ca.der


def test_names_that_can_be_no_file() -> None:
    for name in ("", ".", "..", "é" * 100, "\udc80"):
        with pytest.raises(EmulatorError):
            path_component(name)
    assert path_component("A-1_b.c~d/é") == "A-1_b.c%7Ed%2F%C3%A9"


@pytest.mark.parametrize("kind", [KeyKind.RSA2048, KeyKind.ED25519, KeyKind.P384])
def test_device_keys_of_other_kinds(kind: KeyKind, pki: Pki, openssl: OpenSsl) -> None:
    device = pki.add_device("OTHER", key=kind)

    assert openssl.verify_chain(device).returncode == 0


def test_same_device_or_server_twice_is_refused(pki: Pki) -> None:
    with pytest.raises(EmulatorError, match=r"(device|server) .* exists already in"):
        pki.add_device(SERIAL)
    with pytest.raises(EmulatorError, match=r"(device|server) .* exists already in"):
        pki.add_server("bootstrap", ["a.example"])


def test_unknown_device_and_server_say_how_to_add_them(pki: Pki) -> None:
    with pytest.raises(EmulatorError, match="pki add-device"):
        pki.device("UNKNOWN")
    with pytest.raises(EmulatorError, match="pki add-server"):
        pki.server("unknown")


def test_second_server(pki: Pki, openssl: OpenSsl) -> None:
    pki.add_server("second", ["b.example", "192.0.2.2"])

    assert openssl.verify_chain(Pki.load(pki.folder).server("second")).returncode == 0
    with pytest.raises(EmulatorError, match="at least one"):
        pki.add_server("third", [])


def test_server_name_that_is_no_dns_name(pki: Pki) -> None:
    with pytest.raises(EmulatorError, match="no DNS name"):
        pki.add_server("odd", ["a" * 70 + ".example"])


def test_occupied_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmulatorError, match="isn't empty"):
        Pki.create(tmp_path)
    with pytest.raises(EmulatorError, match="folder"):
        Pki.create(tmp_path / "file")
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_unusable_serial_number_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(EmulatorError):
        Pki.create(tmp_path / "pki", serials=["good", ".."])
    assert not (tmp_path / "pki").exists()


def test_missing_and_damaged_folders_are_told(pki: Pki, tmp_path: Path) -> None:
    with pytest.raises(EmulatorError, match="no PKI folder"):
        Pki.load(tmp_path / "nowhere")
    description = pki.folder / "pki.json"
    good = description.read_text()
    for bad in ("{", "[]", json.dumps({"format": "other/1"}), '{"format":1}'):
        description.write_text(bad)
        with pytest.raises(EmulatorError):
            Pki.load(pki.folder)
    description.write_text(good)
    (pki.folder / "owner" / "root.key").write_text("nonsense")
    with pytest.raises(EmulatorError, match="damaged"):
        Pki.load(pki.folder)
    (pki.folder / "owner" / "root.key").unlink()
    with pytest.raises(EmulatorError, match="can't read"):
        Pki.load(pki.folder)


def test_files_are_not_replaced_unless_asked(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    write_file(path, b"one")
    with pytest.raises(EmulatorError, match="exists already"):
        write_file(path, b"two")
    write_file(path, b"two", replace=True)
    assert read_file(path) == b"two"
    with pytest.raises(EmulatorError, match="larger"):
        read_file(path, limit=2)
    with pytest.raises(EmulatorError, match="can't write"):
        write_file(tmp_path / "new", b"", replace=True)


def test_read_certificate_takes_pem_and_der(pki: Pki, tmp_path: Path) -> None:
    (tmp_path / "der").write_bytes(pki.owner.der)
    (tmp_path / "bad").write_bytes(b"bad")

    assert read_certificate(tmp_path / "der") == pki.owner.der
    assert read_certificate(pki.folder / "owner" / "certificate.pem") == pki.owner.der
    with pytest.raises(EmulatorError, match="no certificate"):
        read_certificate(tmp_path / "bad")
