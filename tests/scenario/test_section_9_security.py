# SPDX-License-Identifier: Apache-2.0
"""RFC 8572, 9: what the security considerations ask for, from the wire."""

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from tests.harness import CONFIGURATION, SERIAL, Device, Lab, Served
from tests.scenario.test_section_5_3_trust import authorizations, expired, with_credentials

from xpu_emulator.artifacts import owner_certificate
from xpu_emulator.https import Demand
from xpu_emulator.pki import make_crl
from xpu_emulator.rpc import BootstrappingData
from xpu_emulator.server import ServerPolicy

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
CLOCKS = ("inaccurate", "accurate")


def run_with_clock(lab: Lab, clock: str, server: Served, *, anchors: bool) -> Device:
    """A device with this clock; what happened is asserted by the caller."""
    device = lab.device(servers=[server], server_anchors=anchors)
    device.configure(trust={"clock": clock})
    assert device.run() == (0 if clock == "inaccurate" else 11)
    assert device.running_config == (CONFIGURATION if clock == "inaccurate" else None)
    return device


# --- 9.1 Clocks ------------------------------------------------------------------------------


@pytest.mark.requirement("SZTP-9.1-02")
@pytest.mark.refuses("SZTP-9.1-02")
@pytest.mark.parametrize("clock", CLOCKS)
def test_9_1_an_expired_server_certificate(lab: Lab, clock: str) -> None:
    server = lab.server(
        "owner",
        identity=expired(lab.pki.bootstrap_server_ca),
        policy=ServerPolicy(obeys_signed_data_preferred=False),
    )
    server.server.set_answer(SERIAL, lab.unsigned(lab.onboarding()))
    device = run_with_clock(lab, clock, server, anchors=True)
    if clock == "inaccurate":
        assert server.progress()[-1] == "bootstrap-complete"
    else:
        assert device.last_reason == "server-cert-expired"
        assert server.server.reports == ()


def old_owner(lab: Lab) -> BootstrappingData:
    """Signed by an owner whose certificate ended."""
    assert lab.pki.owner.issuer is not None
    owner = lab.pki.owner.issuer.issue("Owner", not_before=NOW - 9 * DAY, not_after=NOW - DAY)
    return lab.signed(lab.onboarding(), owner=owner)


def old_voucher(lab: Lab) -> BootstrappingData:
    """With a voucher that ended."""
    return lab.signed(lab.onboarding(), created_on=NOW - 9 * DAY, expires_on=NOW - DAY)


def young_voucher(lab: Lab) -> BootstrappingData:
    """With a voucher that is yet to begin."""
    return lab.signed(lab.onboarding(), created_on=NOW + DAY, expires_on=NOW + 9 * DAY)


def old_status(lab: Lab) -> BootstrappingData:
    """With checks asked for and a list that ran out."""
    owner = lab.pki.owner
    assert owner.issuer is not None
    crl = make_crl(owner.issuer, this_update=NOW - 9 * DAY, next_update=NOW - DAY)
    data = lab.signed(lab.onboarding(), revocation_checks=True)
    return replace(data, owner_certificate=owner_certificate(owner, crls=[crl]))


OLD: dict[str, tuple[Callable[[Lab], BootstrappingData], str]] = {
    "owner-certificate": (old_owner, "owner-cert-expired"),
    "voucher": (old_voucher, "voucher-expired"),
    "voucher-of-tomorrow": (young_voucher, "voucher-not-yet-valid"),
    "revocation-list": (old_status, "revocation-unknown"),
}


@pytest.mark.requirement("SZTP-9.1-02", "VCH-5.3-08")
@pytest.mark.refuses("SZTP-9.1-02", "VCH-5.3-08")
@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize("what", OLD)
def test_9_1_dates_of_signed_data(lab: Lab, what: str, clock: str) -> None:
    make, reason = OLD[what]
    server = lab.server("anybody")
    server.server.set_answer(SERIAL, make(lab))
    device = run_with_clock(lab, clock, server, anchors=False)
    assert device.last_reason == (None if clock == "inaccurate" else reason)
    assert server.server.reports == ()


@pytest.mark.requirement("VCH-5.3-08")
def test_9_1_a_nonce_makes_up_for_the_clock(lab: Lab) -> None:
    """Without a clock freshness comes from the nonce: the wrong one is still refused."""
    server = lab.server("anybody")
    server.server.set_answer(SERIAL, lab.signed(lab.onboarding(), nonce=bytes(16)))
    device = lab.device(servers=[server], server_anchors=False)
    device.configure(trust={"clock": "inaccurate"})
    assert device.run() == 11
    assert device.last_reason == "voucher-nonce-mismatch"
    server.server.set_answer(
        SERIAL, lambda request: lab.signed(lab.onboarding(), nonce=request.input.nonce)
    )
    assert device.run() == 0


def hardware_clock(root: Path, moment: datetime) -> None:
    """A real-time clock below `/sys` of this root."""
    folder = root / "sys" / "class" / "rtc" / "rtc0"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "hctosys").write_text("1\n")
    (folder / "since_epoch").write_text(f"{int(moment.timestamp())}\n")


@pytest.mark.requirement("SZTP-9.1-03")
@pytest.mark.refuses("SZTP-9.1-03")
@pytest.mark.parametrize("days", [0, 30])
def test_9_1_the_hardware_clock_decides_not_the_system_time(lab: Lab, days: int) -> None:
    """The system time is what plain NTP moves. The voucher is good for a day."""
    server = lab.server("anybody")
    server.server.set_answer(SERIAL, lab.signed(lab.onboarding()))
    device = lab.device(servers=[server], server_anchors=False)
    device.configure(trust={"clock": "auto"})
    hardware_clock(lab.folder, NOW + days * DAY)
    config = "/" + str(device.config.relative_to(lab.folder))
    status = device.run("run", "--root", str(lab.folder), "--config", config)
    assert status == (11 if days else 0)
    assert device.last_reason == ("voucher-expired" if days else None)
    assert device.running_config == (None if days else CONFIGURATION)


# --- 9.3 Trust anchors -----------------------------------------------------------------------


def holding(folder: Path, octets: bytes) -> list[Path]:
    """The files with these octets, as they are or in base64."""
    text = base64.b64encode(octets)
    return [
        path
        for path in folder.rglob("*")
        if path.is_file()
        and (octets in path.read_bytes() or text in b"".join(path.read_bytes().split()))
    ]


@pytest.mark.requirement("SZTP-9.3-01")
@pytest.mark.refuses("SZTP-9.3-01")
@pytest.mark.parametrize("succeeds", [False, True])
def test_9_3_the_anchor_of_a_redirect_is_gone_after_the_attempt(lab: Lab, succeeds: bool) -> None:
    first, owner = lab.server("first"), lab.server("owner")
    first.server.set_answer(SERIAL, lab.signed(lab.redirect(owner)))
    script = None if succeeds else b"#!/bin/sh\nexit 1\n"
    document = lab.onboarding() if succeeds else lab.onboarding(post_script=script)
    owner.server.set_answer(SERIAL, lab.unsigned(document))
    device = lab.device(servers=[first], server_anchors=False)
    vouchers = (device.folder / "vouchers.pem").read_bytes()
    (device.folder / "servers.pem").unlink()  # holds what must not be found later
    assert device.run() == (0 if succeeds else 12)
    assert owner.server.reports  # it was trusted
    assert holding(device.folder, lab.pki.bootstrap_server_ca.der) == []
    assert (device.folder / "vouchers.pem").read_bytes() == vouchers

    if not succeeds:
        # The same server, not by redirect: nothing speaks for it now.
        owner.server.policy = replace(owner.server.policy, obeys_signed_data_preferred=False)
        owner.server.set_answer(SERIAL, lab.unsigned(lab.onboarding()))
        device.configure(bootstrap_servers=[owner.url])
        reports = len(owner.server.reports)
        assert device.run() == 11
        assert len(owner.server.reports) == reports
        assert not device.running_config


# --- 9.5, 9.6 Untrusted servers --------------------------------------------------------------


@pytest.mark.requirement("SZTP-9.5-01", "SZTP-9.6-02", "SZTP-9.6-03")
@pytest.mark.refuses("SZTP-9.6-02", "SZTP-9.6-03")
@pytest.mark.parametrize("signed", [True, False])
def test_9_6_an_untrusted_server_learns_the_nonce_and_the_wish(lab: Lab, signed: bool) -> None:
    server = lab.server("anybody")
    document = lab.onboarding()
    answer = lab.signed(document, level="verbose") if signed else lab.unsigned(document)
    server.server.set_answer(SERIAL, answer)
    device = lab.device(servers=[server], server_anchors=False)
    assert device.run() == (0 if signed else 10)
    (sent,) = server.inputs()
    assert sent.signed_data_preferred
    assert 16 <= len(sent.nonce) <= 32
    assert (sent.hw_model, sent.os_name, sent.os_version, sent.csr) == (None,) * 4
    assert server.server.reports == ()
    assert not any("report-progress" in e.request.path for e in server.server.exchanges)
    assert authorizations(server) == {None}
    assert server.server.violations == ()


@pytest.mark.requirement("SZTP-9.6-02")
def test_9_6_a_trusted_server_learns_more(lab: Lab) -> None:
    server = lab.server("owner")
    server.server.set_answer(SERIAL, lab.unsigned(lab.onboarding()))
    device = lab.device(servers=[server])
    assert device.run() == 0
    (sent,) = server.inputs()
    assert (sent.hw_model, sent.os_name, sent.os_version) == ("example-xpu", "ExampleXPU", "1.0")


@pytest.mark.requirement("SZTP-9.6-01", "SZTP-5.1-05")
@pytest.mark.refuses("SZTP-9.6-01")
@pytest.mark.parametrize("trusted", [True, False])
def test_9_6_basic_credentials_when_a_server_asks_for_them(lab: Lab, trusted: bool) -> None:
    """A server without client certificates, answering 401."""
    policy = ServerPolicy(demands_client_certificate=False, basic_passwords={SERIAL: "secret"})
    server = lab.server("owner", demand=Demand.NONE, policy=policy)
    server.server.set_answer(SERIAL, lab.signed(lab.onboarding()))
    device = with_credentials(lab, server)
    if not trusted:
        device.configure(trust={"server-anchors": []})
    assert device.run() == (0 if trusted else 14)
    sent = {"Basic " + base64.b64encode(f"{SERIAL}:secret".encode()).decode()}
    assert authorizations(server) == (sent if trusted else {None})
    statuses = {e.response.status for e in server.server.exchanges if e.operation}
    assert statuses == ({200, 204} if trusted else {401})


# --- 9.7 Local sources first -----------------------------------------------------------------


def with_default_sources(device: Device) -> None:
    """Without a word on sources in the configuration."""
    config = yaml.safe_load(device.config.read_text())
    del config["sources"]
    device.config.write_text(yaml.safe_dump(config))


@pytest.mark.requirement("SZTP-9.7-01")
def test_9_7_a_medium_comes_before_the_servers(lab: Lab) -> None:
    owner = lab.server("owner")
    owner.server.set_answer(SERIAL, lab.unsigned(lab.onboarding(configuration=b"far")))
    root = lab.medium("near", lab.signed(lab.onboarding(configuration=b"near")))
    device = lab.device(servers=[owner], media={"devices": [str(root)]})
    with_default_sources(device)
    assert device.run() == 0
    assert device.running_config == b"near"
    assert owner.server.exchanges == ()


@pytest.mark.refuses("SZTP-9.7-01")
def test_9_7_servers_have_their_turn_when_the_medium_is_refused(lab: Lab) -> None:
    owner = lab.server("owner")
    owner.server.set_answer(SERIAL, lab.unsigned(lab.onboarding()))
    root = lab.medium("near", lab.unsigned(lab.onboarding(configuration=b"near")))
    device = lab.device(servers=[owner], media={"devices": [str(root)]})
    with_default_sources(device)
    assert device.run() == 0
    assert device.running_config == CONFIGURATION
    about = json.loads((device.state_dir / "refused" / "1" / "reason.json").read_text())
    assert about["reason"] == "unsigned-not-allowed"
    assert datetime.fromisoformat(about["time"]).timestamp() <= owner.server.exchanges[0].at
