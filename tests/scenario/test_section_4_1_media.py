# SPDX-License-Identifier: Apache-2.0
"""RFC 8572, 4.1: a mounted medium, from the folder to the device's files, with a silent network."""

import hashlib
from pathlib import Path

import pytest
from tests.harness import CONFIGURATION, IMAGE, OS_NAME, OS_VERSION, SERIAL, Device, Lab

from xpu_emulator.artifacts import Document, conveyed_json, conveyed_xml
from xpu_emulator.media import BootstrappingData as Files
from xpu_emulator.media import Layout, device_folder, write_bootstrapping_data
from xpu_emulator.rpc import BootstrappingData


def put(root: Path, folder: Path, data: BootstrappingData) -> None:
    """These artifacts as the emulator's `media` writes them."""
    files = Files(data.conveyed_information, data.owner_certificate, data.ownership_voucher)
    write_bootstrapping_data(root / folder, files, replace=False)


def with_media(lab: Lab, *roots: Path, serial: str = SERIAL) -> Device:
    """A device with these media and nothing else to ask."""
    return lab.device(
        serial=serial,
        sources=["removable-storage"],
        media={"devices": [str(root) for root in roots]},
    )


def with_image(lab: Lab, *, digest: bytes | None, uri: str = "file:images/os.img") -> Document:
    """Onboarding information with an image on the medium."""
    return lab.onboarding(
        os_name=OS_NAME, os_version=OS_VERSION, download_uris=[uri], image_sha256=digest
    )


@pytest.mark.requirement("SZTP-4.1-01")
@pytest.mark.parametrize("named", ["by-hand", "configured"])
def test_4_1_signed_data_on_a_medium(lab: Lab, named: str) -> None:
    root = lab.medium("stick", lab.signed(lab.onboarding()))
    if named == "by-hand":
        device = lab.device()
        assert device.run("run", "--media", str(root)) == 0
    else:
        device = with_media(lab, root)
        assert device.run() == 0
    assert device.running_config == CONFIGURATION
    assert device.provisioned


@pytest.mark.requirement("SZTP-4.1-01", "SZTP-4.1-04", "SZTP-4.1-05")
@pytest.mark.parametrize("layout", list(Layout))
def test_4_1_each_layout_is_found(lab: Lab, layout: Layout) -> None:
    root = lab.folder / "stick"
    data = lab.signed(lab.onboarding())
    put(root, device_folder(SERIAL, layout, "Example Manufacturer"), data)
    device = with_media(lab, root)
    device.configure(media={"manufacturer": "Example Manufacturer"})
    assert device.run() == 0
    assert device.running_config == CONFIGURATION


@pytest.mark.requirement("SZTP-4.1-04")
@pytest.mark.refuses("SZTP-4.1-04")
def test_4_1_several_devices_share_a_medium(lab: Lab) -> None:
    root, serials = lab.folder / "stick", (SERIAL, "SN-0002")
    for serial in serials:
        document = lab.onboarding(configuration=serial.encode())
        folder = device_folder(serial, Layout.SERIAL, "unused")
        put(root, folder, lab.signed(document, serial=serial))
    for serial in serials:
        device = with_media(lab, root, serial=serial)
        assert device.run() == 0
        assert device.running_config == serial.encode()
    device = with_media(lab, root, serial="SN-0004")
    assert device.run() == 10
    assert device.last_reason == "no-source"


@pytest.mark.requirement("SZTP-4.1-01")
@pytest.mark.refuses("SZTP-4.1-01")
def test_4_1_a_spoiled_medium_does_not_hide_the_next(lab: Lab) -> None:
    wrong = lab.medium("wrong", BootstrappingData(b"no CMS"))
    link = lab.medium("link", lab.signed(lab.onboarding(configuration=b"linked")))
    file = link / "sztp" / SERIAL / "conveyed-information.cms"
    file.rename(link / "elsewhere")
    file.symlink_to(link / "elsewhere")
    good = lab.medium("good", lab.signed(lab.onboarding()))
    device = with_media(lab, wrong, link, good, lab.folder / "missing")
    assert device.run() == 0
    assert device.running_config == CONFIGURATION


@pytest.mark.requirement("SZTP-4.1-02")
@pytest.mark.refuses("SZTP-4.1-02")
def test_4_1_unsigned_onboarding_is_refused(lab: Lab) -> None:
    device = with_media(lab, lab.medium("stick", lab.unsigned(lab.onboarding())))
    assert device.run() == 11
    assert device.last_reason == "unsigned-not-allowed"
    assert not device.running_config
    assert not device.provisioned


@pytest.mark.refuses("SZTP-4.1-02")
def test_4_1_an_authority_named_by_hand_vouches_for_no_medium(lab: Lab) -> None:
    root = lab.medium("stick", lab.unsigned(lab.onboarding()))
    device = lab.device()
    anchor = str(device.folder / "servers.pem")
    assert device.run("run", "--media", str(root), "--trust-anchor", anchor) == 2
    assert not device.running_config


@pytest.mark.requirement("SZTP-4.1-02", "SZTP-2.1-01")
@pytest.mark.parametrize("form", ["cms", "json", "xml"])
def test_4_1_an_unsigned_redirect_works_provisionally(lab: Lab, form: str) -> None:
    owner = lab.server("owner")
    owner.server.set_answer(SERIAL, lab.signed(lab.onboarding(), level="verbose"))
    document, root = lab.redirect(owner), lab.folder / "stick"
    octets = {
        "cms": lab.unsigned(document).conveyed_information,
        "json": conveyed_json(document),
        "xml": conveyed_xml(document),
    }[form]
    folder = device_folder(SERIAL, Layout.SERIAL, "unused")
    write_bootstrapping_data(root / folder, Files(octets, form=form), replace=False)
    device = with_media(lab, root)
    assert device.run() == 0
    assert device.running_config == CONFIGURATION
    assert [i.signed_data_preferred for i in owner.inputs()] == [True]
    assert owner.server.reports == ()
    assert owner.server.violations == ()


@pytest.mark.requirement("SZTP-4.1-06", "SZTP-6.3-05")
def test_4_1_the_image_lies_on_the_medium_too(lab: Lab) -> None:
    digest = hashlib.sha256(IMAGE).digest()
    root = lab.medium("stick", lab.signed(with_image(lab, digest=digest)))
    (root / "images").mkdir()
    (root / "images" / "os.img").write_bytes(IMAGE)
    device = with_media(lab, root)
    assert device.run() == 20
    assert device.boot["pending"] == "b"
    assert device.slot("b") == IMAGE
    assert not device.running_config
    assert device.bootstrap() == 0
    assert device.boot["active"] == "b"
    assert device.running_config == CONFIGURATION


BAD_IMAGES = {
    "other-octets": (IMAGE[:-1] + b"?", "file:images/os.img", "image-hash-mismatch"),
    "missing": (None, "file:images/os.img", "image-unreachable"),
    "outside": (IMAGE, "file:../os.img", "image-unreachable"),
}


@pytest.mark.refuses("SZTP-4.1-06")
@pytest.mark.parametrize("case", BAD_IMAGES)
def test_4_1_another_image_than_that_is_refused(lab: Lab, case: str) -> None:
    content, uri, reason = BAD_IMAGES[case]
    digest = hashlib.sha256(IMAGE).digest()
    root = lab.medium("stick", lab.signed(with_image(lab, digest=digest, uri=uri)))
    if content is not None:
        (root / "images").mkdir()
        (root / "images" / "os.img").write_bytes(content)
        (root.parent / "os.img").write_bytes(content)
    device = with_media(lab, root)
    assert device.run() == 12
    assert device.last_reason == reason
    assert device.slot("b") in {None, b""}
    assert device.boot["active"] == "a"
    assert not device.boot.get("pending")
    assert not device.running_config


@pytest.mark.refuses("SZTP-4.1-06")
def test_4_1_an_image_without_digest_is_refused(lab: Lab) -> None:
    root = lab.medium("stick", lab.signed(with_image(lab, digest=None)))
    (root / "images").mkdir()
    (root / "images" / "os.img").write_bytes(IMAGE)
    device = with_media(lab, root)
    assert device.run() == 12
    assert device.last_reason == "image-signature"
    assert not device.boot.get("pending")
    assert not device.running_config


@pytest.mark.refuses("SZTP-4.1-06")
def test_4_1_a_server_cannot_point_at_a_medium(lab: Lab) -> None:
    """`file:` counts in data that came on the medium."""
    owner = lab.server("owner")
    digest = hashlib.sha256(IMAGE).digest()
    owner.server.set_answer(SERIAL, lab.unsigned(with_image(lab, digest=digest)))
    root = lab.folder / "stick"
    (root / "images").mkdir(parents=True)
    (root / "images" / "os.img").write_bytes(IMAGE)
    device = lab.device(
        servers=[owner],
        sources=["removable-storage", "bootstrap-servers"],
        media={"devices": [str(root)]},
    )
    assert device.run() == 12
    assert device.last_reason == "image-unreachable"
    assert not device.boot.get("pending")
