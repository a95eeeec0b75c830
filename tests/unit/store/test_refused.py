# SPDX-License-Identifier: Apache-2.0
"""Refused bundles: the last few, as received, bounded, for root alone."""

import json
import logging
from datetime import UTC, datetime
from pathlib import Path

import pytest

from xpu_agent import limits
from xpu_agent.artifacts.bundle import Artifacts
from xpu_agent.device import DeviceFacts, RunningImage
from xpu_agent.errors import Reason
from xpu_agent.sources.removable_storage import DirectoryMedium
from xpu_agent.store.refused import RefusedBundles

NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)


@pytest.fixture
def refused(tmp_path: Path) -> RefusedBundles:
    return RefusedBundles(tmp_path / "refused", now=lambda: NOW)


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_bundle_stands_in_the_layout_of_a_medium(refused: RefusedBundles, tmp_path: Path) -> None:
    refused.keep(Artifacts(b"info", b"owner", b"voucher"), Reason.VOUCHER_EXPIRED, "usb \x1b\u20ac")
    folder = tmp_path / "refused/1"
    assert (folder / "sztp/conveyed-information.cms").read_bytes() == b"info"
    assert (folder / "sztp/owner-certificate.cms").read_bytes() == b"owner"
    assert (folder / "sztp/ownership-voucher.vcj").read_bytes() == b"voucher"
    about = json.loads((folder / "reason.json").read_text("ascii"))
    assert about["format"] == "xpu-agent-refused/1"
    assert (about["reason"], about["origin"]) == ("voucher-expired", "usb \x1b\u20ac")
    assert about["time"] == "2026-11-27T12:00:00+00:00"
    for path in (tmp_path / "refused").rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600)


def test_the_reader_of_media_reads_it(refused: RefusedBundles, tmp_path: Path) -> None:
    artifacts = Artifacts(b"info", b"owner", b"voucher")
    refused.keep(artifacts, Reason.VOUCHER_EXPIRED, "usb")
    facts = DeviceFacts("SN1", None, RunningImage(None, None), (), (), ())
    (offer,) = DirectoryMedium([tmp_path / "refused/1"]).load(facts)
    assert offer.artifacts == artifacts


def test_only_what_was_received_is_there(refused: RefusedBundles, tmp_path: Path) -> None:
    refused.keep(Artifacts(b"info"), Reason.UNSIGNED_NOT_ALLOWED, "dns")
    assert names(tmp_path / "refused/1/sztp") == ["conveyed-information.cms"]


def test_the_last_three_are_kept(refused: RefusedBundles, tmp_path: Path) -> None:
    for number in range(12):
        refused.keep(Artifacts(b"%d" % number), Reason.MALFORMED, "x")
    assert names(tmp_path / "refused") == ["10", "11", "12"]


def test_the_same_bundle_is_kept_once(refused: RefusedBundles, tmp_path: Path) -> None:
    for _ in range(5):
        refused.keep(Artifacts(b"a", b"b"), Reason.MALFORMED, "x")
    refused.keep(Artifacts(b"ab", b""), Reason.MALFORMED, "x")
    assert names(tmp_path / "refused") == ["1", "2"]


def test_all_together_stay_within_their_bound(refused: RefusedBundles, tmp_path: Path) -> None:
    for number in range(4):
        refused.keep(Artifacts(bytes([number]) * (3 * limits.MIB)), Reason.MALFORMED, "x")
        size = sum(p.stat().st_size for p in (tmp_path / "refused").rglob("*") if p.is_file())
        assert size <= limits.REFUSED_BYTES
    assert names(tmp_path / "refused") == ["3", "4"]


def test_a_bundle_too_large_is_not_kept(refused: RefusedBundles, tmp_path: Path) -> None:
    refused.keep(Artifacts(b"small"), Reason.MALFORMED, "x")
    part = b"x" * (4 * limits.MIB)
    refused.keep(Artifacts(part, part, b"x"), Reason.MALFORMED, "x")
    assert names(tmp_path / "refused") == ["1"]


def test_what_a_cut_left_behind_is_removed(refused: RefusedBundles, tmp_path: Path) -> None:
    (tmp_path / "refused/.1.tmp/sztp").mkdir(parents=True)
    (tmp_path / "refused/.1.tmp/sztp/owner-certificate.cms").write_bytes(b"half")
    (tmp_path / "refused/notes").mkdir()
    refused.keep(Artifacts(b"a"), Reason.MALFORMED, "x")
    assert names(tmp_path / "refused") == ["1", "notes"]
    assert names(tmp_path / "refused/1/sztp") == ["conveyed-information.cms"]


def test_it_never_fails_the_caller(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.WARNING):
        RefusedBundles(tmp_path / "file/refused", now=lambda: NOW).keep(
            Artifacts(b"a"), Reason.MALFORMED, "x"
        )
    assert "could not be kept" in caplog.text
