# SPDX-License-Identifier: Apache-2.0
"""What a medium brings, judged: the emulator writes it, the agent reads it."""

import datetime as dt
import json
from pathlib import Path

import pytest

from xpu_agent.artifacts.bundle import assemble_bundle, open_artifacts
from xpu_agent.device import ClockReading, DeviceFacts, RunningImage
from xpu_agent.errors import Reason
from xpu_agent.ports import FoundArtifacts
from xpu_agent.sources.removable_storage import DirectoryMedium
from xpu_agent.trust.signed_data import Judgement, UntrustedRedirect, judge
from xpu_agent.trust.state import TrustState
from xpu_emulator.media import BootstrappingData, Layout, device_folder, write_bootstrapping_data

FACTS = DeviceFacts(
    serial_number="SN 1/\u00e9",
    hw_model=None,
    running=RunningImage(None, None),
    idevid_chain=(),
    voucher_anchors=(),
    server_anchors=(),
)
CLOCK = ClockReading(dt.datetime(2026, 1, 1, tzinfo=dt.UTC), accurate=True)
NAMESPACE = "urn:ietf:params:xml:ns:yang:ietf-sztp-conveyed-info"
REDIRECT_JSON = json.dumps(
    {
        "ietf-sztp-conveyed-info:redirect-information": {
            "bootstrap-server": [{"address": "bootstrap.example", "port": 8443}]
        }
    }
).encode()
REDIRECT_XML = (
    f'<redirect-information xmlns="{NAMESPACE}"><bootstrap-server>'
    "<address>bootstrap.example</address><port>8443</port>"
    "</bootstrap-server></redirect-information>"
).encode()
ONBOARDING_JSON = json.dumps(
    {
        "ietf-sztp-conveyed-info:onboarding-information": {
            "configuration-handling": "merge",
            "configuration": "eA==",
        }
    }
).encode()


def _judged(offer: FoundArtifacts) -> Judgement:
    bundle = assemble_bundle(open_artifacts(offer.artifacts), {})
    return judge(bundle, trust=TrustState.FALSE, facts=FACTS, clock=CLOCK, nonces=())


def _medium(folder: Path, layout: Layout, form: str, document: bytes) -> DirectoryMedium:
    data = BootstrappingData(document, form=form)
    where = folder / device_folder(FACTS.serial_number, layout, "EN9")
    write_bootstrapping_data(where, data, replace=False)
    return DirectoryMedium([folder], manufacturer="EN9")


@pytest.mark.requirement("SZTP-4.1-01", "SZTP-4.1-02", "SZTP-4.1-04")
@pytest.mark.parametrize("layout", list(Layout))
@pytest.mark.parametrize(("form", "document"), [("json", REDIRECT_JSON), ("xml", REDIRECT_XML)])
def test_an_unsigned_redirect_works_and_is_untrusted(
    tmp_path: Path, layout: Layout, form: str, document: bytes
) -> None:
    (offer,) = _medium(tmp_path, layout, form, document).load(FACTS)
    verdict = _judged(offer).require()
    assert isinstance(verdict, UntrustedRedirect)
    (server,) = verdict.information.servers
    assert (server.address, server.port) == ("bootstrap.example", 8443)


@pytest.mark.refuses("SZTP-4.1-02")
def test_unsigned_onboarding_information_is_refused(tmp_path: Path) -> None:
    (offer,) = _medium(tmp_path, Layout.MANUFACTURER, "json", ONBOARDING_JSON).load(FACTS)
    judgement = _judged(offer)
    assert judgement.verdict is None
    assert judgement.refusal is not None
    assert judgement.refusal.reason is Reason.UNSIGNED_NOT_ALLOWED
