# SPDX-License-Identifier: Apache-2.0
"""RFC 8572, 5.2: the switch, the sources in order, again until something bootstraps the device."""

import hashlib
import signal
import socket
import time
from collections.abc import Callable

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

from xpu_emulator.faults import Delay, Fault, FaultRule, Slow
from xpu_emulator.https import FileServer
from xpu_emulator.rpc import BootstrappingData

SECONDS = 20.0  # for what happens at once on an idle machine


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition of another process."""
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def in_state(device: Device, state: str, attempt: int = 1) -> bool:
    """Whether the durable document says so."""
    if not (device.state_dir / "state.json").exists():
        return False
    document = device.state
    return bool(document["state"] == state and document["attempt"] >= attempt)


def good(lab: Lab, name: str = "owner") -> Served:
    """A server with onboarding information."""
    served = lab.server(name)
    served.server.set_answer(SERIAL, lab.unsigned(lab.onboarding()))
    return served


def wanting_image(lab: Lab, files: FileServer) -> Served:
    """A server with onboarding information that wants the image of the file server."""
    owner = lab.server("owner")
    document = lab.onboarding(
        os_name=OS_NAME,
        os_version=OS_VERSION,
        download_uris=[file_uri(files)],
        image_sha256=hashlib.sha256(IMAGE).digest(),
    )
    owner.server.set_answer(SERIAL, lab.unsigned(document))
    return owner


@pytest.mark.requirement("SZTP-5.2-01")
@pytest.mark.refuses("SZTP-5.2-01")
def test_5_2_switched_off_there_is_no_traffic(lab: Lab) -> None:
    owner = good(lab)
    device = lab.device(servers=[owner])
    assert device.run("disable") == 0
    assert device.run() == 0
    assert owner.server.exchanges == ()
    assert not device.running_config
    assert not device.provisioned
    assert device.status["state"] == "disabled"

    assert device.run("enable") == 0
    assert device.run() == 0
    assert device.running_config == CONFIGURATION


@pytest.mark.requirement("SZTP-5.2-04")
def test_5_2_provisioned_there_is_no_traffic(lab: Lab) -> None:
    owner = lab.server("owner")
    document = lab.onboarding(post_script=b"#!/bin/sh\nexit 0\n")  # leaves the switch on
    owner.server.set_answer(SERIAL, lab.unsigned(document))
    device = lab.device(servers=[owner])
    assert device.run() == 0
    assert device.provisioned
    assert not device.disabled
    asked = len(owner.server.exchanges)
    assert device.run() == 0
    assert len(owner.server.exchanges) == asked


@pytest.mark.requirement("SZTP-5.2-01", "SZTP-5.2-04")
def test_5_2_provisioned_a_boot_needs_neither_key_nor_platform(lab: Lab) -> None:
    owner = good(lab)
    device = lab.device(servers=[owner])
    assert device.run() == 0
    booted = (device.home / "booted").read_bytes()
    (device.folder / "idevid" / "key.pem").unlink()
    assert device.run() == 0
    assert (device.home / "booted").read_bytes() == booted


@pytest.mark.requirement("SZTP-5.2-02")
def test_5_2_sources_are_tried_in_their_order_until_one_works(lab: Lab) -> None:
    owner = good(lab)
    empty = lab.folder / "empty"
    empty.mkdir()
    wrong = lab.medium("wrong", BootstrappingData(b"no CMS"))
    device = lab.device(
        servers=[owner],
        sources=["removable-storage", "bootstrap-servers"],
        media={"devices": [str(empty), str(wrong)]},
    )
    assert device.run() == 0
    assert device.running_config == CONFIGURATION
    assert owner.server.violations == ()
    tried = [s["detail"] for s in device.status["steps"] if s["stage"] == "discover"]
    assert tried == ["removable-storage", "bootstrap-servers"]
    assert [s["reason"] for s in device.status["steps"] if s["reason"]] == ["malformed"]


@pytest.mark.requirement("SZTP-5.2-04")
@pytest.mark.refuses("SZTP-5.2-04")
def test_5_2_nothing_is_consulted_after_success(lab: Lab) -> None:
    first, second = good(lab, "first"), good(lab, "second")
    device = lab.device(servers=[first, second])
    assert device.run() == 0
    assert first.progress()[-1] == "bootstrap-complete"
    assert second.server.exchanges == ()


@pytest.mark.requirement("SZTP-5.2-02", "SZTP-5.2-03")
def test_5_2_all_dead_waits_for_the_next_start(lab: Lab) -> None:
    dead = [f"https://127.0.0.1:{free_port()}" for _ in range(2)]
    device = lab.device(servers=dead)
    assert device.run() == 10
    assert device.state["state"] == "waiting"
    assert device.state["failures"] == 1
    assert device.last_reason == "server-unreachable"
    assert not device.running_config


@pytest.mark.requirement("SZTP-5.2-03")
def test_5_2_dead_for_some_rounds_then_alive_bootstraps(lab: Lab) -> None:
    port = free_port()
    device = lab.device(servers=[f"https://127.0.0.1:{port}"])
    with device.process("daemon", BACKOFF_FIRST_SECONDS=0.1, BACKOFF_MAX_SECONDS=0.2) as agent:
        until(lambda: in_state(device, "waiting", attempt=3))
        owner = lab.server("owner", port=port)
        owner.server.set_answer(SERIAL, lab.unsigned(lab.onboarding()))
        assert agent.wait(SECONDS) == 0
    assert device.running_config == CONFIGURATION
    assert device.provisioned
    assert owner.server.violations == ()


@pytest.mark.requirement("SZTP-5.2-03")
@pytest.mark.refuses("SZTP-5.2-03")
def test_5_2_switched_off_between_rounds_it_stops(lab: Lab) -> None:
    refusing = lab.server("refusing")  # knows no device: 403
    device = lab.device(servers=[refusing])
    with device.process("daemon", BACKOFF_FIRST_SECONDS=0.1, BACKOFF_MAX_SECONDS=0.2) as agent:
        until(lambda: in_state(device, "waiting", attempt=2))
        (device.state_dir / "disabled").touch()
        assert agent.wait(SECONDS) == 0
    assert len(refusing.inputs()) >= 2
    assert not device.provisioned
    assert device.status["state"] == "disabled"


@pytest.mark.requirement("SZTP-5.2-03")
def test_5_2_giving_up_is_the_operators_and_changes_nothing_else(lab: Lab) -> None:
    device = lab.device(servers=[f"https://127.0.0.1:{free_port()}"], give_up={"after-seconds": 1})
    with device.process("daemon", BACKOFF_FIRST_SECONDS=0.2, BACKOFF_MAX_SECONDS=0.2) as agent:
        assert agent.wait(SECONDS) == 10
    assert device.status["outcome"]["kind"] == "gave-up"
    assert device.state["state"] == "waiting"
    assert not device.disabled
    assert not device.provisioned


@pytest.mark.requirement("SZTP-5.2-03", "SZTP-5.6-05")
def test_5_2_the_daemon_too_ends_with_a_reboot_for_an_image(lab: Lab) -> None:
    owner = wanting_image(lab, lab.files())
    device = lab.device(servers=[owner])
    with device.process("daemon") as agent:
        assert agent.wait(SECONDS) == 20
    with device.process("daemon") as agent:
        assert agent.wait(SECONDS) == 0
    assert device.boot["active"] == "b"
    assert device.running_config == CONFIGURATION


def test_5_2_only_one_agent_at_a_time(lab: Lab) -> None:
    owner = lab.server("owner")
    device = lab.device(servers=[owner])
    with device.process("daemon", BACKOFF_FIRST_SECONDS=300.0):
        until(lambda: in_state(device, "waiting"))
        requests = len(owner.server.exchanges)
        assert device.run() == 16
    assert len(owner.server.exchanges) == requests


@pytest.mark.requirement("SZTP-5.2-03")
def test_5_2_a_signal_stops_it_and_the_next_run_goes_on(lab: Lab) -> None:
    owner = lab.server("owner")
    device = lab.device(servers=[owner])
    with device.process("daemon", BACKOFF_FIRST_SECONDS=300.0) as agent:
        until(lambda: in_state(device, "waiting"))
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(SECONDS) == 15
    assert device.state["state"] == "waiting"
    assert device.state["failures"] == 1
    owner.server.set_answer(SERIAL, lab.unsigned(lab.onboarding()))
    assert device.run() == 0
    assert device.state["attempt"] == 2
    assert device.running_config == CONFIGURATION


@pytest.mark.requirement("SZTP-5.2-03", "SZTP-5.6-15")
def test_5_2_a_signal_during_a_script_leaves_nothing_half_done(lab: Lab) -> None:
    owner = lab.server("owner")
    marker = lab.folder / "script-runs"
    script = f"#!/bin/sh\n: > {marker}\nsleep 60\n".encode()
    owner.server.set_answer(SERIAL, lab.unsigned(lab.onboarding(post_script=script)))
    device = lab.device(servers=[owner])
    with device.process("run") as agent:
        until(marker.exists)
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(SECONDS) == 15
    owner.server.set_answer(SERIAL, lab.unsigned(lab.onboarding(configuration=b'{"b": 2}')))
    assert device.run() == 0
    assert device.running_config == b'{"b": 2}'
    assert owner.server.violations == ()


@pytest.mark.requirement("SZTP-5.2-05")
def test_5_2_whatever_else_configures_the_device_clears_the_switch(lab: Lab) -> None:
    """Another way of provisioning while the agent waits: clearing the switch ends SZTP."""
    refusing = lab.server("refusing")
    device = lab.device(servers=[refusing])
    assert device.run() == 14  # known to nobody yet
    device.home.mkdir(exist_ok=True)
    (device.home / "running-config").write_bytes(b"by hand")
    assert device.run("disable") == 0
    refusing.server.set_answer(SERIAL, lab.unsigned(lab.onboarding()))
    asked = len(refusing.server.exchanges)
    assert device.run() == 0
    assert len(refusing.server.exchanges) == asked
    assert device.running_config == b"by hand"


def stopped(lab: Lab, fault: Fault, path: str) -> tuple[Served, Device]:
    """A device that was stopped by a signal while it waited for an answer."""
    files = lab.files()
    owner = wanting_image(lab, files)
    for listener in (owner.https, files):
        listener.faults.add(FaultRule((fault,), path=path))
    device = lab.device(servers=[owner])
    with device.process("run") as agent:
        until(lambda: bool(files.requests) if path == "/image" else asked(owner))
        time.sleep(0.3)
        begin = time.monotonic()
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(SECONDS) == 15
        assert time.monotonic() - begin < 10.0
    for listener in (owner.https, files):
        listener.faults.clear()
    return owner, device


def asked(owner: Served) -> bool:
    """Whether the device is connected; its request is there soon."""
    return any(c.client_certificate_der for c in owner.https.connections)


@pytest.mark.requirement("SZTP-5.2-03", "SZTP-5.6-15")
@pytest.mark.parametrize(
    ("fault", "path"),
    [(Delay(60.0), "*get-bootstrapping-data"), (Delay(60.0), "/image"), (Slow(1_000), "/image")],
    ids=["data", "image", "half-an-image"],
)
def test_5_2_a_signal_while_it_waits_for_an_answer(lab: Lab, fault: Fault, path: str) -> None:
    owner, device = stopped(lab, fault, path)
    assert device.boot.get("pending") is None
    assert not device.running_config
    assert device.bootstrap() == 0
    assert device.boot["active"] == "b"
    assert device.slot("b") == IMAGE
    assert device.running_config == CONFIGURATION
    assert owner.server.violations == ()
