# SPDX-License-Identifier: Apache-2.0
"""Markers, modes, resets, and a folder that can't be written or read."""

import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from xpu_agent.artifacts.bundle import Artifacts
from xpu_agent.errors import ExitCode, Reason, StateError, exit_code
from xpu_agent.lifecycle import AgentState, ResetLevel, State
from xpu_agent.store.file_store import FileStore, make_run_folder

if TYPE_CHECKING:
    from xpu_agent.ports import StateStore

USER = 54321
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "var/lib/xpu-agent")


@contextmanager
def acting_as(user: int) -> Iterator[None]:
    os.seteuid(user)
    try:
        yield
    finally:
        os.seteuid(0)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_it_is_the_port(store: FileStore) -> None:
    port: StateStore = store
    assert port.load() == AgentState()


def test_nothing_there_is_the_factory_state(store: FileStore) -> None:
    assert store.load() == AgentState()
    assert store.load().state is State.FACTORY
    assert not store.provisioned()
    assert not store.folder.exists()  # looking changes nothing


def test_what_is_saved_is_loaded(store: FileStore) -> None:
    state = AgentState(state=State.WAITING, since=datetime.now(UTC), attempt=3)
    store.save(AgentState())
    store.save(state)
    assert FileStore(store.folder).load() == state
    assert [p.name for p in store.folder.iterdir()] == ["state.json"]


@pytest.mark.parametrize("umask", [0, 0o077, 0o777])
def test_modes_do_not_depend_on_the_umask(store: FileStore, tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        store.save(AgentState())
        store.disable()
        store.mark_provisioned()
        store.keep_refused(Artifacts(b"x"), Reason.MALFORMED, "test")
        make_run_folder(tmp_path / "run/xpu-agent")
    finally:
        os.umask(before)
    assert mode(store.folder) == 0o700
    assert mode(store.folder / "state.json") == 0o600
    assert mode(store.folder / "refused") == 0o700
    assert mode(store.folder / "refused/1/sztp/conveyed-information.cms") == 0o600
    assert mode(tmp_path / "run/xpu-agent") == 0o755
    assert mode(tmp_path / "run") == 0o755


# --- the switch (5.1) ------------------------------------------------------------------------


@pytest.mark.requirement("SZTP-5.1-01", "SZTP-5.1-02")
def test_the_switch_is_on_from_the_factory_and_turns_both_ways(store: FileStore) -> None:
    assert store.switched_on()
    store.disable()
    assert not store.switched_on()
    assert (store.folder / "disabled").exists()
    store.disable()
    assert not store.switched_on()
    store.enable()
    assert store.switched_on()
    assert not (store.folder / "disabled").exists()
    store.enable()
    assert store.switched_on()


@pytest.mark.refuses("SZTP-5.1-01")
def test_the_switch_is_read_anew_each_time(store: FileStore) -> None:
    store.save(AgentState())
    assert store.switched_on()
    # As a script or the configuration of the onboarding itself would do it.
    subprocess.run(["/bin/sh", "-c", ": > disabled"], cwd=store.folder, check=True)
    assert not store.switched_on()
    subprocess.run(["/bin/sh", "-c", "rm disabled"], cwd=store.folder, check=True)
    assert store.switched_on()


@pytest.mark.requirement("SZTP-5.1-03")
def test_presence_means_off_so_absence_cannot_keep_it_from_being_turned_off(
    store: FileStore,
) -> None:
    # Whatever the marker is or holds: a merge, which can only add, is able to turn the switch off.
    store.save(AgentState())
    marker = store.folder / "disabled"
    for make in (
        lambda: marker.write_bytes(b"false\n"),
        lambda: marker.symlink_to("nowhere"),
        marker.mkdir,
    ):
        make()
        assert not store.switched_on()
        marker.rmdir() if marker.is_dir() else marker.unlink()


@pytest.mark.refuses("SZTP-5.1-02")
def test_losing_everything_does_not_turn_it_off(store: FileStore) -> None:
    # A switch that needed a marker to be on would be off on a fresh or wiped file system.
    store.save(AgentState(state=State.PROVISIONED))
    store.disable()
    shutil.rmtree(store.folder)
    assert store.switched_on()
    assert store.load().state is State.FACTORY


def test_the_provisioned_marker(store: FileStore) -> None:
    store.clear_provisioned()
    store.mark_provisioned()
    store.mark_provisioned()
    assert store.provisioned()
    assert (store.folder / "provisioned").exists()
    store.clear_provisioned()
    assert not store.provisioned()


# --- resets ----------------------------------------------------------------------------------


def test_a_weak_reset_keeps_history_and_a_deep_one_does_not(store: FileStore) -> None:
    store.save(AgentState())
    store.disable()
    store.keep_refused(Artifacts(b"x"), Reason.MALFORMED, "test")
    (store.folder / "history.jsonl").write_text("{}\n")
    (store.folder / ".state.json.0badcafe.tmp").write_text("left over by a cut")
    store.forget(ResetLevel.WEAK)
    names = {p.name for p in store.folder.iterdir()}
    assert names == {"state.json", "disabled", "refused", "history.jsonl"}
    for _ in range(2):  # a cut may make it come again
        store.forget(ResetLevel.DEEP)
    assert {p.name for p in store.folder.iterdir()} == {"state.json", "disabled"}


def test_a_reset_of_nothing_is_done(store: FileStore) -> None:
    store.forget(ResetLevel.DEEP)


# --- what can't be written or read -----------------------------------------------------------


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = FileStore(tmp_path / "file/state")
    with pytest.raises(StateError, match="can't be read"):  # not "missing"
        store.load()
    writes: list[Callable[[], None]] = [
        lambda: store.save(AgentState()),
        store.disable,
        store.check_writable,
        lambda: make_run_folder(tmp_path / "file/run"),
    ]
    for write in writes:
        with pytest.raises(StateError) as caught:
            write()
        assert caught.value.reason is Reason.STATE_UNWRITABLE
        assert str(tmp_path / "file") in caught.value.message
        assert "paths" in (caught.value.next_action or "")
        assert exit_code(caught.value.reason) is ExitCode.INTERNAL
    store.keep_refused(Artifacts(b"x"), Reason.MALFORMED, "test")  # never fails the caller


def test_writable_is_found_out_without_a_trace(store: FileStore) -> None:
    store.check_writable()
    assert list(store.folder.iterdir()) == []


@as_root
def test_a_folder_of_roots_is_unreadable_and_unwritable_to_others() -> None:
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        store = FileStore(Path(name) / "state")
        store.save(AgentState())
        with acting_as(USER):
            for read in (store.load, store.switched_on, store.provisioned):
                with pytest.raises(StateError) as caught:
                    read()
                # Not "missing": then a device would start from the factory state.
                assert caught.value.reason is Reason.STATE_CORRUPT
            with pytest.raises(StateError) as caught:
                store.save(AgentState())
            assert caught.value.reason is Reason.STATE_UNWRITABLE
        assert store.load() == AgentState()


def test_a_document_that_cannot_be_read_stays_as_it_is(store: FileStore) -> None:
    store.save(AgentState())
    path = store.folder / "state.json"
    path.write_bytes(b"\0" * 100)
    with pytest.raises(StateError):
        store.load()
    assert path.read_bytes() == b"\0" * 100


def test_a_folder_in_place_of_the_document_is_unreadable(store: FileStore) -> None:
    (store.folder / "state.json").mkdir(parents=True)
    with pytest.raises(StateError, match="can't be read"):
        store.load()


OWING = {"applying", "undoing", "confirming", "trial-boot", "wiping"}


@pytest.mark.parametrize("state", list(State))
def test_unfinished_is_there_while_a_start_owes_something(tmp_path: Path, state: State) -> None:
    store = FileStore(tmp_path / "state")
    store.save(AgentState(state=state))
    expected = state.value in OWING or state is State.PROVISIONED
    assert (tmp_path / "state" / "unfinished").exists() is expected


def test_unfinished_goes_when_nothing_is_owed_any_more(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "state")
    store.save(AgentState(state=State.APPLYING))
    store.save(AgentState(state=State.UNDOING))
    store.save(AgentState(state=State.DISCOVERING))
    assert not (tmp_path / "state" / "unfinished").exists()


def test_unfinished_stays_until_the_image_is_marked_good_and_the_marker_made(
    tmp_path: Path,
) -> None:
    store = FileStore(tmp_path / "state")
    store.save(AgentState(state=State.CONFIRMING))
    store.save(AgentState(state=State.PROVISIONED))
    assert (tmp_path / "state" / "unfinished").exists()
    store.mark_provisioned()
    assert not (tmp_path / "state" / "unfinished").exists()
