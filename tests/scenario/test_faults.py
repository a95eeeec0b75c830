# SPDX-License-Identifier: Apache-2.0
"""Servers and paths that break: the right reason, bounded in time and octets, then the next one."""

import hashlib
import time

import pytest
from tests.harness import (
    CONFIGURATION,
    IMAGE,
    OS_NAME,
    OS_VERSION,
    SERIAL,
    Device,
    Lab,
    Served,
    file_uri,
)

from xpu_emulator.faults import (
    CloseBeforeAnswer,
    CloseOnConnect,
    Delay,
    Fault,
    FaultPlan,
    FaultRule,
    HugeBody,
    HugeHeaders,
    PlainHttp,
    ResetAfter,
    Slow,
    TruncatedBody,
    WrongContentLength,
)
from xpu_emulator.messages import Response

ASKING, REPORTING = "*get-bootstrapping-data", "*report-progress"
MIB = 1024 * 1024


def faulty_and_good(lab: Lab, plan: FaultPlan) -> tuple[Served, Served, Device]:
    """A server with faults, a good one after it, and a device that knows both."""
    faulty, good = lab.server("faulty", faults=plan), lab.server("good")
    for server in (faulty, good):
        server.server.set_answer(SERIAL, lab.unsigned(lab.onboarding()))
    return faulty, good, lab.device(servers=[faulty, good])


def reasons(device: Device) -> list[str]:
    """Why stages failed in the last attempt."""
    return [s["reason"] for s in device.status["steps"] if s["reason"]]


CONNECTION_FAULTS: list[tuple[Fault, str]] = [
    (CloseOnConnect(), "server-unreachable"),
    (PlainHttp(), "server-unreachable"),
]
ANSWER_FAULTS: list[tuple[Fault, str]] = [
    (CloseBeforeAnswer(), "http-error"),
    (ResetAfter(0), "http-error"),
    (ResetAfter(100), "http-error"),
    (TruncatedBody(0), "http-error"),
    (TruncatedBody(100), "http-error"),
    (WrongContentLength(10), "http-error"),
    (WrongContentLength(-10), "malformed"),
    (HugeHeaders(256 * 1024), "http-error"),
    (HugeBody(17 * MIB), "too-large"),
]


@pytest.mark.requirement("SZTP-5.2-02", "SZTP-5.5-01")
@pytest.mark.parametrize(("fault", "reason"), CONNECTION_FAULTS, ids=repr)
def test_faults_of_a_connection_lead_to_the_next_server(
    lab: Lab, fault: Fault, reason: str
) -> None:
    faulty, good, device = faulty_and_good(lab, FaultPlan([FaultRule((fault,))]))
    assert device.run() == 0
    assert reasons(device) == [reason]
    assert faulty.server.exchanges == ()
    assert good.progress() == ["bootstrap-initiated", "bootstrap-complete"]


@pytest.mark.requirement("SZTP-5.2-02", "SZTP-5.5-01")
@pytest.mark.parametrize(("fault", "reason"), ANSWER_FAULTS, ids=repr)
def test_faults_of_an_answer_lead_to_the_next_server(lab: Lab, fault: Fault, reason: str) -> None:
    plan = FaultPlan([FaultRule((fault,), path=ASKING)])
    faulty, good, device = faulty_and_good(lab, plan)
    assert device.run() == 0
    assert reasons(device)[0] == reason
    assert "bootstrap-complete" not in faulty.progress()
    warnings = [r.report.message for r in good.server.reports[1:-1]]
    assert all(m and reason in m for m in warnings)  # the next server hears what was refused
    assert good.progress()[-1] == "bootstrap-complete"
    assert device.running_config == CONFIGURATION
    assert good.server.violations == ()


@pytest.mark.requirement("SZTP-7.3-01")
@pytest.mark.refuses("SZTP-7.3-01")
@pytest.mark.parametrize("trusted", [True, False], ids=["trusted", "provisional"])
@pytest.mark.parametrize(
    ("status", "media_type", "body", "reported"),
    [
        (200, "application/yang-data+json", b"{", True),
        (200, "application/yang-data+json", b'{"ietf-sztp-bootstrap-server:output": {}}', True),
        (200, "application/yang-data+xml", b"<output/>", True),
        (200, "text/html", b"<html></html>", True),
        (204, "", b"", False),
    ],
    ids=["cut", "empty", "other-namespace", "html", "no-content"],
)
def test_faults_an_answer_that_cannot_be_read_is_told_to_trusted_servers_alone(
    lab: Lab, trusted: bool, status: int, media_type: str, body: bytes, reported: bool
) -> None:
    broken = lab.server("broken")
    headers = (("Content-Type", media_type),) if media_type else ()
    broken.server.set_answer(SERIAL, Response(status, headers, body))
    device = lab.device(servers=[broken], server_anchors=trusted)
    assert device.run() == (11 if reported else 10)
    told = ["bootstrap-initiated", "parsing-error"] if trusted and reported else []
    assert broken.progress() == told
    assert device.state["state"] == "waiting"
    assert broken.server.violations == ()


@pytest.mark.parametrize("fault", [Delay(60.0), Slow(10)], ids=["silence", "drop by drop"])
def test_faults_a_server_that_takes_for_ever_gets_its_time_and_no_more(
    lab: Lab, fault: Fault
) -> None:
    plan = FaultPlan([FaultRule((fault,), path=ASKING)])
    _, good, device = faulty_and_good(lab, plan)
    begin = time.monotonic()
    with device.process("run", REQUEST_SECONDS=1.0) as agent:
        assert agent.wait(30) == 0
    assert time.monotonic() - begin < 15.0
    assert reasons(device) == ["timeout"]
    assert good.progress()[-1] == "bootstrap-complete"


def test_faults_a_delay_within_bounds_does_no_harm(lab: Lab) -> None:
    faulty, good, device = faulty_and_good(lab, FaultPlan([FaultRule((Delay(0.2),))]))
    assert device.run() == 0
    assert faulty.progress()[-1] == "bootstrap-complete"
    assert good.server.exchanges == ()


def test_faults_without_host_meta_the_usual_root_is_taken(lab: Lab) -> None:
    plan = FaultPlan([FaultRule((CloseBeforeAnswer(),), path="*host-meta")])
    faulty, good, device = faulty_and_good(lab, plan)
    assert device.run() == 0
    assert faulty.progress()[-1] == "bootstrap-complete"
    assert good.server.exchanges == ()


@pytest.mark.requirement("SZTP-5.6-02", "SZTP-5.6-14")
@pytest.mark.parametrize("fault", [CloseBeforeAnswer(), HugeHeaders(256 * 1024)], ids=repr)
def test_faults_of_the_first_report_lead_to_the_next_server(lab: Lab, fault: Fault) -> None:
    plan = FaultPlan([FaultRule((fault,), path=REPORTING)])
    faulty, good, device = faulty_and_good(lab, plan)
    assert device.run() == 0
    assert "initial-report-failed" in reasons(device)
    assert "bootstrap-complete" not in faulty.progress()
    assert good.progress() == ["bootstrap-initiated", "bootstrap-complete"]


@pytest.mark.requirement("SZTP-5.6-18")
def test_faults_of_the_last_report_are_lived_through(lab: Lab) -> None:
    """One lost answer must not undo a finished bootstrap."""
    plan = FaultPlan([FaultRule((CloseBeforeAnswer(),), path=REPORTING, skip=1, first=2)])
    faulty, good, device = faulty_and_good(lab, plan)
    assert device.run() == 0
    assert set(faulty.progress()) == {"bootstrap-initiated", "bootstrap-complete"}
    assert device.provisioned
    assert good.server.exchanges == ()


@pytest.mark.requirement("SZTP-5.6-06")
@pytest.mark.parametrize(
    ("fault", "ranges"),
    [
        (ResetAfter(9_000), True),
        (TruncatedBody(9_000), True),
        (TruncatedBody(9_000), False),
        (CloseBeforeAnswer(), True),
    ],
    ids=repr,
)
def test_faults_of_an_image_transfer_are_lived_through(
    lab: Lab, fault: Fault, ranges: bool
) -> None:
    files = lab.files(faults=FaultPlan([FaultRule((fault,), first=1)]), ranges=ranges)
    owner = lab.server("owner")
    document = lab.onboarding(
        os_name=OS_NAME,
        os_version=OS_VERSION,
        download_uris=[file_uri(files)],
        image_sha256=hashlib.sha256(IMAGE).digest(),
    )
    owner.server.set_answer(SERIAL, lab.unsigned(document))
    device = lab.device(servers=[owner])
    assert device.run() == 20
    assert device.slot("b") == IMAGE
    assert len(files.requests) == 2
    resumed = ranges and not isinstance(fault, CloseBeforeAnswer)
    assert (files.requests[1].first_octet > 0) is resumed
