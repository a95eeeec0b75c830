# SPDX-License-Identifier: Apache-2.0
"""RFC 8572, 5.6: the boot image; compared, downloaded, verified, installed, booted."""

import hashlib
from collections.abc import Sequence
from typing import Any

import pytest
from tests.harness import (
    CONFIGURATION,
    FACTORY_VERSION,
    IMAGE,
    OS_NAME,
    OS_VERSION,
    SERIAL,
    Lab,
    Served,
    file_uri,
)

from xpu_emulator.artifacts import Document
from xpu_emulator.faults import FaultPlan, FaultRule, HttpRedirect
from xpu_emulator.https import FileServer
from xpu_emulator.pki import make_root

DIGEST = hashlib.sha256(IMAGE).digest()


def wanting(
    lab: Lab, uris: Sequence[str] = (), *, level: str | None = "verbose", **parts: Any
) -> Served:
    """A trusted server whose onboarding information asks for `IMAGE`, unless changed."""
    owner = lab.server("owner")
    owner.server.set_answer(SERIAL, lab.unsigned(document(lab, uris, **parts), level=level))
    return owner


def document(lab: Lab, uris: Sequence[str] = (), **parts: Any) -> Document:
    """Such onboarding information."""
    image: dict[str, Any] = {
        "os_name": OS_NAME,
        "os_version": OS_VERSION,
        "download_uris": uris,
        "image_sha256": DIGEST,
    }
    return lab.onboarding(**{**image, **parts})


def asked(files: FileServer) -> list[tuple[str, int]]:
    """Paths asked for, with the status each got."""
    return [(r.request.path, r.status) for r in files.requests]


@pytest.mark.requirement("SZTP-5.6-04")
@pytest.mark.refuses("SZTP-5.6-04")
def test_5_6_an_equal_image_is_not_downloaded(lab: Lab) -> None:
    files = lab.files()
    owner = wanting(lab, [file_uri(files)], os_version=FACTORY_VERSION)
    device = lab.device(servers=[owner])
    assert device.run() == 0
    assert files.requests == ()
    assert device.slot("b") is None
    assert "boot-image-complete" in owner.progress()
    assert "boot-image-mismatch" not in owner.progress()
    assert device.running_config == CONFIGURATION


@pytest.mark.requirement("SZTP-5.6-04")
@pytest.mark.parametrize(
    "names",
    [
        {"os_name": "OtherOS", "os_version": FACTORY_VERSION},
        {"os_name": OS_NAME, "os_version": "2.0"},
        {"os_name": "OtherOS", "os_version": None},
        {"os_name": None, "os_version": "2.0"},
    ],
    ids=["name", "version", "name-alone", "version-alone"],
)
def test_5_6_one_difference_is_enough(lab: Lab, names: dict[str, str | None]) -> None:
    files = lab.files()
    device = lab.device(servers=[wanting(lab, [file_uri(files)], **names)])
    assert device.run() == 20
    assert asked(files) == [("/image", 200)]
    assert device.slot("b") == IMAGE


@pytest.mark.requirement("SZTP-5.6-05", "SZTP-5.6-08", "SZTP-5.6-09")
def test_5_6_installed_rebooted_and_begun_again(lab: Lab) -> None:
    files, log = lab.files(), lab.folder / "log"
    script = f"#!/bin/sh\necho pre >> {log}\n".encode()
    owner = wanting(lab, [file_uri(files)], pre_script=script)
    device = lab.device(servers=[owner])
    assert device.run() == 20
    assert not log.exists()  # nothing behind the image in the first boot
    assert owner.progress()[-1] == "boot-image-installed-rebooting"
    assert owner.server.exchanges[-1] == owner.server.reports[-1].exchange

    assert device.run() == 0
    assert log.read_text() == "pre\n"
    assert [i.os_version for i in owner.inputs()] == [FACTORY_VERSION, OS_VERSION]
    assert device.boot["active"] == "b"
    assert asked(files) == [("/image", 200)]
    assert owner.server.violations == ()


@pytest.mark.refuses("SZTP-5.6-05", "SZTP-5.6-09", "SZTP-5.6-10")
def test_5_6_a_corrupted_image_is_never_installed(lab: Lab) -> None:
    files = lab.files({"/image": IMAGE[:-1] + b"?"})
    owner = wanting(lab, [file_uri(files)])
    device = lab.device(servers=[owner])
    assert device.run() == 12
    assert device.last_reason == "image-hash-mismatch"
    assert device.boot["active"] == "a"
    assert device.boot["pending"] is None
    assert device.slot("b") is None
    assert not device.running_config
    assert owner.progress()[-1] == "boot-image-error"
    assert "boot-image-installed-rebooting" not in owner.progress()


@pytest.mark.requirement("SZTP-5.6-06")
def test_5_6_uris_in_their_order_the_first_is_gone(lab: Lab) -> None:
    files = lab.files({"/second": IMAGE, "/third": IMAGE})
    uris = [file_uri(files, f"/{name}") for name in ("first", "second", "third")]
    device = lab.device(servers=[wanting(lab, uris)])
    assert device.run() == 20
    assert asked(files) == [("/first", 404), ("/second", 200)]
    assert device.slot("b") == IMAGE


@pytest.mark.requirement("SZTP-5.6-06", "SZTP-5.6-05")
def test_5_6_a_wrong_image_does_not_keep_the_next_uri_from_its_turn(lab: Lab) -> None:
    files = lab.files({"/first": IMAGE * 2, "/second": IMAGE})
    uris = [file_uri(files, "/first"), file_uri(files, "/second")]
    device = lab.device(servers=[wanting(lab, uris)])
    assert device.run() == 20
    assert device.slot("b") == IMAGE


@pytest.mark.refuses("SZTP-5.6-06", "RC-X-01")
def test_5_6_a_redirect_of_the_file_server_is_not_followed(lab: Lab) -> None:
    elsewhere = lab.files({"/image": IMAGE})
    plan = FaultPlan([FaultRule((HttpRedirect(file_uri(elsewhere), 302),), path="/first")])
    files = lab.files({"/first": IMAGE, "/second": IMAGE}, faults=plan)
    device = lab.device(
        servers=[wanting(lab, [file_uri(files, "/first"), file_uri(files, "/second")])]
    )
    assert device.run() == 20
    assert asked(files) == [("/first", 302), ("/second", 200)]
    assert elsewhere.requests == ()


@pytest.mark.requirement("SZTP-5.6-10")
@pytest.mark.refuses("SZTP-5.6-06")
def test_5_6_all_uris_dead_is_an_error_of_the_image(lab: Lab) -> None:
    files = lab.files({})
    owner = wanting(lab, [file_uri(files, "/first"), file_uri(files, "/second")], level=None)
    device = lab.device(servers=[owner])
    assert device.run() == 12
    assert device.last_reason == "image-unreachable"
    assert asked(files) == [("/first", 404), ("/second", 404)]
    assert owner.progress() == ["bootstrap-initiated", "boot-image-error"]
    assert "image-unreachable" in (owner.server.reports[-1].report.message or "")
    assert not device.running_config


@pytest.mark.refuses("SZTP-5.6-06")
def test_5_6_no_uri_and_another_image_is_an_error_of_the_image(lab: Lab) -> None:
    owner = wanting(lab, [], image_sha256=None)
    device = lab.device(servers=[owner])
    assert device.run() == 12
    assert device.last_reason == "image-unreachable"
    assert owner.progress()[-1] == "boot-image-error"


@pytest.mark.requirement("SZTP-5.6-07")
@pytest.mark.refuses("SZTP-5.6-07")
def test_5_6_an_image_nothing_verifies_is_refused(lab: Lab) -> None:
    files = lab.files()
    owner = wanting(lab, [file_uri(files)], image_sha256=None)
    device = lab.device(servers=[owner])
    assert device.run() == 12
    assert device.last_reason == "image-signature"
    assert files.requests == ()
    assert device.slot("b") is None
    assert owner.progress()[-1] == "boot-image-error"


@pytest.mark.requirement("SZTP-6.3-04")
@pytest.mark.parametrize("algorithm", ["sha-256", "ietf-sztp-conveyed-info:sha-256"])
def test_6_3_fingerprints_in_either_case_and_spelling(lab: Lab, algorithm: str) -> None:
    files = lab.files()
    entry = {"hash-algorithm": algorithm, "hash-value": DIGEST.hex(":").upper()}
    device = lab.device(servers=[wanting(lab, [file_uri(files)], image_verification=[entry])])
    assert device.run() == 20
    assert device.slot("b") == IMAGE


@pytest.mark.refuses("SZTP-6.3-04")
def test_6_3_an_algorithm_that_does_not_exist_is_a_parsing_error(lab: Lab) -> None:
    files = lab.files()
    entry = {"hash-algorithm": "ietf-sztp-conveyed-info:md5", "hash-value": "00:11"}
    owner = wanting(lab, [file_uri(files)], image_verification=[entry])
    device = lab.device(servers=[owner])
    assert device.run() == 11
    assert owner.progress()[-1] == "parsing-error"
    assert files.requests == ()


@pytest.mark.requirement("SZTP-6.3-05")
@pytest.mark.parametrize("tls", ["foreign", "none"])
def test_6_3_the_file_servers_certificate_proves_nothing_and_needs_not(lab: Lab, tls: str) -> None:
    identity = make_root("Nobody").issue("files", dns_names=["other.example"])
    files = lab.files(identity=identity) if tls == "foreign" else lab.files(tls=False)
    device = lab.device(servers=[wanting(lab, [file_uri(files)])])
    assert device.run() == 20
    assert device.slot("b") == IMAGE


@pytest.mark.requirement("SZTP-5.6-08")
@pytest.mark.refuses("SZTP-5.6-08")
def test_5_6_rebooting_is_announced_before_and_the_server_left_alone_after(lab: Lab) -> None:
    """At the minimal level too; and the announcement comes when the image is bootable."""
    files = lab.files()
    owner = wanting(lab, [file_uri(files)], level=None)
    device = lab.device(servers=[owner])
    pending: list[object] = []
    owner.server.subscribe(lambda _: pending.append(device.boot.get("pending")))
    assert device.run() == 20
    assert owner.progress() == ["bootstrap-initiated", "boot-image-installed-rebooting"]
    assert pending[-1] == "b"
    assert owner.server.exchanges[-1] == owner.server.reports[-1].exchange


@pytest.mark.requirement("SZTP-4.1-06")
def test_4_1_the_image_can_lie_on_the_medium(lab: Lab) -> None:
    data = lab.signed(document(lab, ["file:///images/os.img"]))
    root = lab.medium("a", data)
    (root / "images").mkdir()
    (root / "images" / "os.img").write_bytes(IMAGE)
    device = lab.device(sources=["removable-storage"], media={"devices": [str(root)]})
    assert device.run() == 20
    assert device.slot("b") == IMAGE
    assert device.run() == 0
    assert device.boot["active"] == "b"
    assert device.running_config == CONFIGURATION


@pytest.mark.refuses("SZTP-5.6-09")
def test_5_6_an_image_that_is_not_what_was_asked_for_is_not_installed_again(lab: Lab) -> None:
    """It boots, and the version is another one still: an error, not an endless loop."""
    files = lab.files()
    owner = wanting(lab, [file_uri(files)])
    device = lab.device(servers=[owner])
    assert device.run() == 20
    record = device.home / "slots" / "b.json"
    record.write_text(record.read_text().replace(f'"{OS_VERSION}"', '"1.9"'))
    assert device.run() == 12
    assert device.last_reason == "image-mismatch"
    assert len(files.requests) == 1


@pytest.mark.parametrize(
    ("parts", "expected"),
    [({}, 20), ({"os_version": FACTORY_VERSION}, 0), ({"image_sha256": None}, 12)],
    ids=["installed", "kept", "refused"],
)
def test_5_6_the_status_file_names_the_image_wanted(
    lab: Lab, parts: dict[str, Any], expected: int
) -> None:
    files = lab.files()
    owner = wanting(lab, [file_uri(files)], **parts)
    device = lab.device(servers=[owner])
    assert device.run() == expected
    assert device.status["image"]["wanted"] == {
        "os-name": OS_NAME,
        "os-version": parts.get("os_version", OS_VERSION),
        "sha256": DIGEST.hex() if "image_sha256" not in parts else None,
    }


@pytest.mark.refuses("SZTP-5.6-09", "SZTP-5.6-15")
def test_5_6_an_image_that_does_not_come_up_is_not_installed_again(lab: Lab) -> None:
    """The boot loader gave it up: the device says so and stays with what runs."""
    files = lab.files()
    owner = wanting(lab, [file_uri(files)], level=None)
    device = lab.device(servers=[owner])
    assert device.run() == 20
    (device.home / "boot.json").write_text('{"active": "a", "pending": "b", "attempts-left": 0}')
    assert device.run() == 12
    assert device.last_reason == "rolled-back"
    assert device.boot["active"] == "a"
    assert device.boot["pending"] is None
    assert owner.progress()[2:] == ["bootstrap-initiated", "boot-image-error"]
    assert len(files.requests) == 1
    assert device.run() == 12  # nor ever
    assert len(files.requests) == 1
