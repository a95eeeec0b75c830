# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from xpu_agent.device import DeviceFacts, RunningImage
from xpu_agent.errors import SourceUnavailableError
from xpu_agent.sources.vendor_channel import VendorChannel

FACTS = DeviceFacts(
    serial_number="SN-1",
    hw_model=None,
    running=RunningImage(None, None),
    idevid_chain=(),
    voucher_anchors=(),
    server_anchors=(),
)


def _fill(folder: Path) -> bool:
    (folder / "sztp").mkdir()
    (folder / "sztp" / "conveyed-information.cms").write_bytes(b"ci")
    return True


@pytest.mark.requirement("SZTP-4.1-02")
def test_what_the_hook_brings_is_a_medium_while_it_is_used(tmp_path: Path) -> None:
    folder = tmp_path / "state" / "channel"
    folder.mkdir(parents=True)
    (folder / "left-over").write_text("by a power cut")
    offers = VendorChannel(_fill, folder).load(FACTS)
    offer = next(offers)
    assert offer.artifacts.conveyed_information == b"ci"
    assert offer.medium == folder
    assert [path.name for path in folder.iterdir()] == ["sztp"]
    with pytest.raises(StopIteration):
        next(offers)
    assert not folder.exists()


def test_a_channel_without_data_is_unavailable(tmp_path: Path) -> None:
    for fill in (lambda _folder: False, lambda _folder: True):
        with pytest.raises(SourceUnavailableError):
            next(VendorChannel(fill, tmp_path / "channel").load(FACTS))
        assert not (tmp_path / "channel").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(SourceUnavailableError):
        next(VendorChannel(_fill, tmp_path / "file" / "channel").load(FACTS))
