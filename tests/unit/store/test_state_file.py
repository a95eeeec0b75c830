# SPDX-License-Identifier: Apache-2.0
"""The durable document: what goes in comes out, and nothing else is taken for it."""

import json
from dataclasses import fields, replace
from datetime import UTC, datetime
from importlib import resources
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xpu_agent.errors import ExitCode, Reason, StateError, exit_code
from xpu_agent.lifecycle import AgentState, ResetLevel, State, TrialImage
from xpu_agent.store.state_file import decode_state, encode_state

NOW = datetime(2026, 11, 27, 12, 0, 0, 123456, UTC)
FULL = AgentState(
    state=State.APPLYING,
    since=NOW,
    attempt=7,
    failures=3,
    method="sztp",
    source="dhcp",
    checkpoint="token",
    step="configuration",
    content_sha256="a" * 64,
    trial=TrialImage("b" * 64, "os", "1.10", reached=True, boot_id="boot"),
    wipe_level=ResetLevel.DEEP,
    refused_images=("c" * 64,),
    clock_floor=NOW,
    last_reason=Reason.CONFIG_INVALID,
    earlier_refusals={"voucher-expired": 2},
    switch_cleared=True,
)


def _schema() -> Any:
    path = resources.files("xpu_agent").joinpath("schemas/state.schema.json")
    return json.loads(path.read_text("utf-8"))


def test_every_member_survives() -> None:
    for part in fields(AgentState):  # a member added later has to be stored too
        assert getattr(FULL, part.name) != getattr(AgentState(), part.name) or part.name == "method"
    assert decode_state(encode_state(FULL), "f") == FULL
    assert decode_state(encode_state(AgentState()), "f") == AgentState()


@pytest.mark.parametrize("state", list(State))
def test_every_state_survives_and_fits_the_schema(state: State) -> None:
    document = replace(FULL, state=state)
    content = encode_state(document)
    assert decode_state(content, "f") == document
    schema = json.loads(
        resources.files("xpu_agent").joinpath("schemas/state.schema.json").read_text()
    )
    jsonschema.validate(json.loads(content), schema)


def test_the_schema_names_every_member_and_state() -> None:
    schema = json.loads(
        resources.files("xpu_agent").joinpath("schemas/state.schema.json").read_text()
    )
    assert set(schema["properties"]) == set(json.loads(encode_state(FULL)))
    assert schema["properties"]["state"]["enum"] == [str(s) for s in State]
    trial = schema["properties"]["trial"]["oneOf"][1]["properties"]
    assert set(trial) == {f.name.replace("_", "-") for f in fields(TrialImage)}


def test_unknown_members_are_ignored() -> None:
    members = json.loads(encode_state(FULL)) | {"new-in-1.5": {"a": [1]}}
    assert decode_state(json.dumps(members).encode(), "f") == FULL


def test_a_reason_of_another_version_is_no_reason_to_stop() -> None:
    members = json.loads(encode_state(FULL)) | {"last-reason": "struck-by-lightning"}
    assert decode_state(json.dumps(members).encode(), "f").last_reason is None


def test_members_for_people_may_be_missing() -> None:
    content = b'{"format": "xpu-agent-state/1", "state": "factory", "method": "sztp"}'
    assert decode_state(content, "f") == AgentState()


WRONG: list[dict[str, Any]] = [
    {"format": None},
    {"format": "xpu-agent-state/2"},
    {"format": "xpu-agent-state/0"},
    {"format": "xpu-agent-status/1"},
    {"format": "xpu-agent-state/1.5"},
    {"state": "dreaming"},
    {"state": None},
    {"state": 1},
    {"method": None},
    {"since": "yesterday"},
    {"since": "2026-11-27T12:00:00"},
    {"since": 5},
    {"attempt": -1},
    {"attempt": True},
    {"attempt": 1.0},
    {"attempt": "1"},
    {"attempt": None},
    {"failures": 10**12},
    {"source": 5},
    {"checkpoint": "x" * 5000},
    {"content-sha256": "abc"},
    {"content-sha256": "A" * 64},
    {"trial": []},
    {"trial": {}},
    {"trial": {"sha256": "b" * 64, "reached": "yes"}},
    {"wipe-level": "total"},
    {"refused-images": "x"},
    {"refused-images": ["x"]},
    {"refused-images": None},
    {"earlier-refusals": []},
    {"earlier-refusals": {"a": -1}},
    {"switch-cleared": 1},
    {"state": "wiping", "wipe-level": None},
    {"state": "trial-boot", "trial": None},
]


@pytest.mark.parametrize("change", WRONG, ids=str)
def test_a_wrong_member_makes_it_unreadable(change: dict[str, Any]) -> None:
    members = json.loads(encode_state(FULL)) | change
    with pytest.raises(StateError) as caught:
        decode_state(json.dumps(members).encode(), "/var/lib/x/state.json")
    assert caught.value.reason is Reason.STATE_CORRUPT
    assert exit_code(caught.value.reason) is ExitCode.INTERNAL
    assert caught.value.message.startswith("/var/lib/x/state.json ")
    assert "reprovision" in (caught.value.next_action or "")


def test_a_newer_document_says_so() -> None:
    content = encode_state(FULL).replace(b"state/1", b"state/2")
    with pytest.raises(StateError, match="newer version"):
        decode_state(content, "f")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 600,
        b"null",
        b"[]",
        b"\xff",
        b"{",
        encode_state(FULL)[:-20],
        b'{"format": "xpu-agent-state/1", "state": "factory", "state": "broken", "method": "s"}',
        b'{"format": "xpu-agent-state/1", "state": "factory", "method": "s", "attempt": NaN}',
        b"[" * 100_000,
        b" " * (256 * 1024 + 1),
    ],
)
def test_what_is_no_document_is_unreadable(content: bytes) -> None:
    with pytest.raises(StateError):
        decode_state(content, "f")


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_document_cut_or_changed_anywhere_is_read_or_refused(data: st.DataObject) -> None:
    content = bytearray(encode_state(FULL))
    at = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        del content[at:]
    else:
        content[at] = data.draw(st.integers(0, 255))
    try:
        decode_state(bytes(content), "f")
    except StateError as error:
        assert error.reason is Reason.STATE_CORRUPT  # noqa: PT017  # either is fine
