# SPDX-License-Identifier: Apache-2.0
"""What every `ports.StateStore` does, in memory and in a folder."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.fakes import NOW, Disk, MemoryStore, Power

from xpu_agent.artifacts.bundle import Artifacts
from xpu_agent.errors import Reason
from xpu_agent.lifecycle import AgentState, ResetLevel, State, TrialImage
from xpu_agent.ports import StateStore
from xpu_agent.store.file_store import FileStore

# Makes a store on the same durable place each time it is called.
Reopen = Callable[[], StateStore]

FULL = AgentState(
    state=State.CONFIRMING,
    since=NOW,
    attempt=7,
    failures=3,
    source="dhcp",
    checkpoint="checkpoint-1",
    step="post-script",
    content_sha256="ab" * 32,
    trial=TrialImage("cd" * 32, "xpu-os", None, reached=True, boot_id="boot-1"),
    wipe_level=ResetLevel.DEEP,
    refused_images=("ef" * 32, "01" * 32),
    clock_floor=NOW,
    last_reason=Reason.VOUCHER_EXPIRED,
    earlier_refusals={"voucher-expired": 2},
    switch_cleared=True,
)


@pytest.fixture(params=["memory", "folder"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Reopen:
    disk = Disk()
    if request.param == "memory":
        return lambda: MemoryStore(disk, Power())
    return lambda: FileStore(tmp_path / "state")


def test_the_factory_state_is_on_and_not_provisioned(reopen: Reopen) -> None:
    store = reopen()
    assert store.load() == AgentState()
    assert store.switched_on()
    assert not store.provisioned()


@pytest.mark.parametrize("state", [AgentState(), FULL, replace(FULL, trial=None, since=None)])
def test_every_field_of_the_document_survives(reopen: Reopen, state: AgentState) -> None:
    reopen().save(FULL)
    reopen().save(state)
    assert reopen().load() == state


def test_the_switch_and_the_marker_are_read_anew_and_may_be_set_twice(reopen: Reopen) -> None:
    store = reopen()
    for _ in range(2):
        reopen().disable()
        reopen().mark_provisioned()
    assert not store.switched_on()
    assert store.provisioned()
    for _ in range(2):
        reopen().enable()
        reopen().clear_provisioned()
    assert store.switched_on()
    assert not store.provisioned()


@pytest.mark.parametrize("level", list(ResetLevel))
def test_forgetting_leaves_document_and_markers_to_the_caller(
    reopen: Reopen, level: ResetLevel
) -> None:
    store = reopen()
    store.forget(level)
    store.save(FULL)
    store.disable()
    store.keep_refused(Artifacts(b"ci", b"oc", b"ov"), Reason.VOUCHER_EXPIRED, "a:443")
    for _ in range(2):
        store.forget(level)
    assert reopen().load() == FULL
    assert not reopen().switched_on()
