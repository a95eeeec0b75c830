# SPDX-License-Identifier: Apache-2.0
"""A signal ends whatever the network is waiting for, and nothing swallows it."""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from tests.unit.net.conftest import Authorities
from tests.unit.net.test_download import IMAGE, ROOM, MemorySink, PatientClock
from tests.unit.net.test_restconf import GET, REPORT, REQUEST, Site, report

from xpu_agent.errors import StoppedError
from xpu_agent.net.download import HttpDownloader
from xpu_agent.net.tls import ClientIdentity
from xpu_agent.progress import ProgressType
from xpu_emulator.faults import Delay, FaultPlan, FaultRule, Slow
from xpu_emulator.https import FileServer


@pytest.fixture
def stop_soon() -> Iterator[None]:
    def stop(_number: int, _frame: object) -> None:
        raise StoppedError

    before = signal.signal(signal.SIGUSR1, stop)
    timer = threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGUSR1))
    timer.start()
    yield
    timer.join()
    signal.signal(signal.SIGUSR1, before)


@pytest.fixture
def site(authorities: Authorities, client: ClientIdentity) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(authorities, client, stack)


@pytest.mark.usefixtures("stop_soon")
def test_a_request_is_ended(site: Site) -> None:
    site.faults.add(FaultRule((Delay(30),), path=GET))
    server = site.trusted()
    with pytest.raises(StoppedError):
        server.get_bootstrapping_data(REQUEST)


@pytest.mark.usefixtures("stop_soon")
def test_a_report_nobody_needs_is_ended_too(site: Site) -> None:
    site.faults.add(FaultRule((Delay(30),), path=REPORT))
    server = site.trusted()
    with pytest.raises(StoppedError):
        server.report_best_effort(report(ProgressType.CONFIG_COMPLETE))


@pytest.mark.usefixtures("stop_soon")
def test_a_handshake_is_ended(site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = site.start()
        silent = type(address)(address.ip, listening.getsockname()[1])
        with pytest.raises(StoppedError):
            site.provisional(silent)


@pytest.mark.usefixtures("stop_soon")
def test_a_transfer_is_ended() -> None:
    faults = FaultPlan([FaultRule((Slow(100_000),))])
    fetch = HttpDownloader(PatientClock(), None, lambda _done, _total: None).fetch
    with FileServer({"/image": IMAGE}, faults=faults) as server, pytest.raises(StoppedError):
        fetch(f"{server.url}/image", MemorySink(), max_bytes=ROOM, medium=None)
    assert not [each for each in threading.enumerate() if each.name.startswith("image-")]
