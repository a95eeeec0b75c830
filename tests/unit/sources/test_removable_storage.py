# SPDX-License-Identifier: Apache-2.0
import os
import subprocess
from pathlib import Path

import pytest

from xpu_agent import limits
from xpu_agent.artifacts.cms import (
    OID_CONVEYED_JSON,
    OID_CONVEYED_XML,
    PlainContent,
    parse_content_info,
)
from xpu_agent.device import DeviceFacts, RunningImage
from xpu_agent.errors import MalformedError, Reason, SourceUnavailableError
from xpu_agent.ports import FoundArtifacts, Need
from xpu_agent.sources.plain_content import plain_content_info
from xpu_agent.sources.removable_storage import DirectoryMedium, file_name


def facts(serial_number: str = "SN-1") -> DeviceFacts:
    return DeviceFacts(
        serial_number=serial_number,
        hw_model=None,
        running=RunningImage(None, None),
        idevid_chain=(),
        voucher_anchors=(),
        server_anchors=(),
    )


def _put(folder: Path, prefix: bytes = b"") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("conveyed-information.cms", "owner-certificate.cms", "ownership-voucher.vcj"):
        (folder / name).write_bytes(prefix + name.encode())


def _load(*media: Path, manufacturer: str | None = None, serial: str = "SN-1") -> list[bytes]:
    source = DirectoryMedium(media, manufacturer=manufacturer)
    return [offer.artifacts.conveyed_information for offer in source.load(facts(serial))]


@pytest.mark.requirement("SZTP-4.1-01")
def test_three_files_are_read_as_they_are_with_no_network(tmp_path: Path) -> None:
    _put(tmp_path / "sztp" / "SN-1")
    source = DirectoryMedium([tmp_path])
    assert source.name == "removable-storage"
    assert source.needs == {Need.STORAGE}
    (offer,) = source.load(facts())
    assert isinstance(offer, FoundArtifacts)
    assert offer.artifacts.conveyed_information == b"conveyed-information.cms"
    assert offer.artifacts.owner_certificate == b"owner-certificate.cms"
    assert offer.artifacts.ownership_voucher == b"ownership-voucher.vcj"
    assert offer.medium == tmp_path


@pytest.mark.requirement("SZTP-4.1-04", "SZTP-4.1-05")
def test_the_most_particular_folder_wins(tmp_path: Path) -> None:
    _put(tmp_path / "sztp", b"anybody's ")
    _put(tmp_path / "sztp" / "SN-2", b"another's ")
    assert _load(tmp_path) == [b"anybody's conveyed-information.cms"]
    _put(tmp_path / "sztp" / "SN-1", b"ours ")
    assert _load(tmp_path) == [b"ours conveyed-information.cms"]
    _put(tmp_path / "EN9" / "SN-1" / "bootstrapping-data", b"vendor's ")
    assert _load(tmp_path) == [b"ours conveyed-information.cms"]
    assert _load(tmp_path, manufacturer="EN8") == [b"ours conveyed-information.cms"]
    assert _load(tmp_path, manufacturer="EN9") == [b"vendor's conveyed-information.cms"]
    assert _load(tmp_path, serial="SN-2") == [b"another's conveyed-information.cms"]


@pytest.mark.refuses("SZTP-4.1-04")
def test_another_devices_data_is_not_taken(tmp_path: Path) -> None:
    _put(tmp_path / "sztp" / "SN-2")
    _put(tmp_path / "sztp" / "SN-11")
    with pytest.raises(SourceUnavailableError) as error:
        _load(tmp_path)
    assert error.value.reason is Reason.NO_SOURCE


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("SN-1.a_B", "SN-1.a_B"),
        ("a/b", "a%2Fb"),
        ("../x", "..%2Fx"),
        ("a b~", "a%20b%7E"),
        ("100%", "100%25"),
        ("\u00e9\0", "%C3%A9%00"),
        ("...", "..."),
        ("", None),
        (".", None),
        ("..", None),
    ],
)
def test_serial_numbers_as_names(text: str, name: str | None) -> None:
    assert file_name(text) == name


@pytest.mark.parametrize("serial", ["..", ".", "", "../sztp", "a/../../x", "SN\0-1"])
def test_odd_serial_numbers_lead_nowhere_else(tmp_path: Path, serial: str) -> None:
    medium = tmp_path / "outer" / "medium"
    _put(medium / "sztp", b"inside ")
    _put(tmp_path / "outer", b"outside ")
    _put(medium, b"above ")
    assert _load(medium, manufacturer="..", serial=serial) == [b"inside conveyed-information.cms"]


@pytest.mark.refuses("SZTP-4.1-01")
@pytest.mark.parametrize("kind", ["sztp", "serial"])
def test_a_symlinked_folder_is_not_entered(tmp_path: Path, kind: str) -> None:
    medium, elsewhere = tmp_path / "medium", tmp_path / "elsewhere"
    _put(elsewhere)
    _put(elsewhere / "SN-1")
    medium.mkdir()
    if kind == "sztp":
        (medium / "sztp").symlink_to(elsewhere)
    else:
        (medium / "sztp").mkdir()
        (medium / "sztp" / "SN-1").symlink_to(elsewhere)
    with pytest.raises(SourceUnavailableError):
        _load(medium)


@pytest.mark.refuses("SZTP-4.1-01")
@pytest.mark.parametrize(
    "name", ["conveyed-information.cms", "owner-certificate.cms", "ownership-voucher.vcj"]
)
@pytest.mark.parametrize("kind", ["symlink", "dangling", "fifo", "folder", "large"])
def test_only_regular_files_of_bounded_size_are_read(tmp_path: Path, name: str, kind: str) -> None:
    folder = tmp_path / "sztp"
    _put(folder)
    path = folder / name
    path.unlink()
    match kind:
        case "symlink":
            path.symlink_to(folder / "other")
            (folder / "other").write_bytes(b"secret")
        case "dangling":
            path.symlink_to("/nowhere")
        case "fifo":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case _:
            path.write_bytes(b"")
            os.truncate(path, limits.MEDIA_ARTIFACT_BYTES + 1)
    with pytest.raises(MalformedError) as error:
        _load(tmp_path)
    assert (error.value.reason is Reason.TOO_LARGE) == (kind == "large")


def test_a_file_of_the_largest_size_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "sztp"
    folder.mkdir()
    (folder / "conveyed-information.cms").write_bytes(b"x" * limits.MEDIA_ARTIFACT_BYTES)
    assert len(_load(tmp_path)[0]) == limits.MEDIA_ARTIFACT_BYTES


def test_other_names_of_the_voucher_and_missing_companions(tmp_path: Path) -> None:
    folder = tmp_path / "sztp"
    _put(folder)
    (folder / "ownership-voucher.vcj").rename(folder / "ownership-voucher.cms")
    (offer,) = DirectoryMedium([tmp_path]).load(facts())
    assert offer.artifacts.ownership_voucher == b"ownership-voucher.vcj"
    (folder / "ownership-voucher.cms").unlink()
    (folder / "owner-certificate.cms").unlink()
    (offer,) = DirectoryMedium([tmp_path]).load(facts())
    assert offer.artifacts.ownership_voucher is None
    assert offer.artifacts.owner_certificate is None


@pytest.mark.requirement("SZTP-4.1-02")
@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("conveyed-information.json", OID_CONVEYED_JSON),
        ("conveyed-information.xml", OID_CONVEYED_XML),
    ],
)
@pytest.mark.parametrize("size", [0, 1, 127, 128, 255, 256, 65536])
def test_a_bare_document_becomes_unsigned_conveyed_information(
    tmp_path: Path, name: str, content_type: str, size: int
) -> None:
    folder = tmp_path / "sztp"
    folder.mkdir()
    (folder / name).write_bytes(b"d" * size)
    assert parse_content_info(_load(tmp_path)[0]) == PlainContent(content_type, b"d" * size)


def test_signed_data_goes_before_a_bare_document(tmp_path: Path) -> None:
    _put(tmp_path / "sztp")
    (tmp_path / "sztp" / "conveyed-information.json").write_bytes(b"{}")
    assert _load(tmp_path) == [b"conveyed-information.cms"]


def test_openssl_reads_our_content_info(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(plain_content_info(OID_CONVEYED_JSON, b"x" * 300))
    command = ["openssl", "asn1parse", "-inform", "DER", "-in", str(file)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert OID_CONVEYED_JSON in output or "id-ct" in output
    assert "l= 300 prim: OCTET STRING" in output


def test_several_media_are_several_offers_and_one_bad_medium_hides_none(tmp_path: Path) -> None:
    for name in ("one", "bad", "two"):
        _put(tmp_path / name / "sztp", name.encode() + b" ")
    (tmp_path / "bad" / "sztp" / "owner-certificate.cms").unlink()
    (tmp_path / "bad" / "sztp" / "owner-certificate.cms").mkdir()
    media = [tmp_path / name for name in ("absent", "one", "bad", "two")]
    offers = DirectoryMedium(media).load(facts())
    assert next(offers).medium == tmp_path / "one"
    assert next(offers).medium == tmp_path / "two"
    with pytest.raises(MalformedError):
        next(offers)


@pytest.mark.parametrize("media", [[], ["absent"], ["file"], ["empty"]])
def test_nothing_there_is_nothing_received(tmp_path: Path, media: list[str]) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceUnavailableError) as error:
        _load(*(tmp_path / name for name in media))
    assert error.value.reason is Reason.NO_SOURCE


def test_the_origin_is_printable(tmp_path: Path) -> None:
    medium = tmp_path / "st\x1b[31mick\n"
    _put(medium / "sztp")
    (offer,) = DirectoryMedium([medium]).load(facts())
    assert offer.origin.isascii()
    assert offer.origin.isprintable()
    assert offer.medium == medium


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    _put(tmp_path / "one" / "sztp" / "SN-1")
    (tmp_path / "two" / "sztp" / "conveyed-information.cms").mkdir(parents=True)
    before = os.listdir("/proc/self/fd")  # noqa: PTH208  # numbers, not paths
    for name in ("one", "two", "three"):
        try:
            _load(tmp_path / name, manufacturer="sztp")
        except (MalformedError, SourceUnavailableError):
            continue
    assert os.listdir("/proc/self/fd") == before  # noqa: PTH208  # as above
