# SPDX-License-Identifier: Apache-2.0
"""The durable document as JSON: `state.json`, format `xpu-agent-state/1`.

Strict where it decides what a device does next: a member of the wrong kind, a duplicate, an
unknown state make the whole document unreadable, and then nothing is contacted. Members this
version doesn't know are ignored; a newer format is not guessed at. It holds no secret, no plan
and no payload.
"""

import json
from collections.abc import Callable
from dataclasses import fields
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar

from xpu_agent import limits
from xpu_agent.errors import Reason, StateError
from xpu_agent.lifecycle import AgentState, ResetLevel, State, TrialImage

NAME = "xpu-agent-state"
VERSION = 1
FORMAT = f"{NAME}/{VERSION}"

_TEXT_CHARS = 4096
_COUNT = 10**9
_LEADS_OUT = (
    "the file is kept as it is; `xpu-agent reprovision` leads out, by undoing and starting over"
)

_Choice = TypeVar("_Choice", bound=StrEnum)


class _UnreadableError(Exception):
    """What is wrong with the document, in half a sentence."""


def encode_state(state: AgentState) -> bytes:
    """The document as JSON text, members in the order of `AgentState`."""
    members: dict[str, Any] = {"format": FORMAT}
    for part in fields(state):
        members[_member(part.name)] = _to_json(getattr(state, part.name))
    return json.dumps(members, indent=2, ensure_ascii=True).encode("ascii") + b"\n"


def decode_state(content: bytes, origin: str) -> AgentState:
    """The document in `content`; `origin` names the file in the message.

    Raises:
        StateError: `state-corrupt`: it is no valid document, or of a newer version.
    """
    try:
        return _decode(content)
    except _UnreadableError as error:
        raise StateError(
            Reason.STATE_CORRUPT, f"{origin} {error}", next_action=_LEADS_OUT
        ) from error


def _member(name: str) -> str:
    return name.replace("_", "-")


def _to_json(value: object) -> object:
    match value:
        case datetime():
            return value.isoformat()
        case TrialImage():
            return {_member(p.name): _to_json(getattr(value, p.name)) for p in fields(value)}
        case tuple():
            return list(value)
        case _:
            return value


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _UnreadableError("has a member twice")
    return members


def _no_constant(text: str) -> float:
    raise _UnreadableError(f"holds {text}, which is no JSON")


def _decode(content: bytes) -> AgentState:
    if len(content) > limits.STATE_BYTES:
        raise _UnreadableError(f"is larger than {limits.STATE_BYTES} bytes")
    try:
        document = json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_no_duplicates,
            parse_constant=_no_constant,
        )
    except (ValueError, RecursionError) as error:
        raise _UnreadableError("is no JSON document") from error
    if not isinstance(document, dict):
        raise _UnreadableError("is no JSON object")
    _check_format(document.get("format"))
    read = _Members(document)
    state = AgentState(
        state=read.choice("state", State),
        since=read.optional("since", _moment),
        attempt=read.count("attempt"),
        failures=read.count("failures"),
        method=read.text("method"),
        source=read.optional("source", _text),
        checkpoint=read.optional("checkpoint", _text),
        step=read.optional("step", _text),
        content_sha256=read.optional("content-sha256", _digest),
        trial=read.optional("trial", _trial),
        wipe_level=read.optional("wipe-level", lambda v: _choice(ResetLevel, v)),
        refused_images=read.digests("refused-images"),
        clock_floor=read.optional("clock-floor", _moment),
        last_reason=read.optional("last-reason", _reason),
        earlier_refusals=read.counts("earlier-refusals"),
        switch_cleared=read.flag("switch-cleared"),
    )
    if state.state is State.WIPING and state.wipe_level is None:
        raise _UnreadableError("says wiping and not how much (wipe-level)")
    if state.state is State.TRIAL_BOOT and state.trial is None:
        raise _UnreadableError("says trial-boot and names no image (trial)")
    return state


def _check_format(value: object) -> None:
    name, _, version = value.rpartition("/") if isinstance(value, str) else ("", "", "")
    if name != NAME or not version.isdecimal() or not version.isascii() or len(version) > 9:
        raise _UnreadableError(f"is not of the format {FORMAT}")
    if int(version) > VERSION:
        raise _UnreadableError(
            f"was written by a newer version (format {NAME}/{version}, this one reads {FORMAT})"
        )
    if int(version) < VERSION:
        # The first version there was; a later one reads it, and replaces it at its first write.
        raise _UnreadableError(f"has a format that never was ({NAME}/{version})")


_Value = TypeVar("_Value")


class _Members:
    """Takes members out of a JSON object, each of its kind; a missing one is the default."""

    def __init__(self, members: dict[str, Any]) -> None:
        self._members = members

    def _take(self, name: str, kind: Callable[[Any], _Value]) -> _Value:
        try:
            return kind(self._members[name])
        except _UnreadableError as error:
            raise _UnreadableError(f"has a wrong member {name}: {error}") from error

    def optional(self, name: str, kind: Callable[[Any], _Value]) -> _Value | None:
        if self._members.get(name) is None:
            return None
        return self._take(name, kind)

    def choice(self, name: str, kind: type[_Choice]) -> _Choice:
        if name not in self._members:
            raise _UnreadableError(f"has no member {name}")
        return self._take(name, lambda value: _choice(kind, value))

    def text(self, name: str) -> str:
        if name not in self._members:
            raise _UnreadableError(f"has no member {name}")
        return self._take(name, _text)

    def count(self, name: str) -> int:
        return self._take(name, _count) if name in self._members else 0

    def flag(self, name: str) -> bool:
        return self._take(name, _flag) if name in self._members else False

    def digests(self, name: str) -> tuple[str, ...]:
        return self._take(name, _digests) if name in self._members else ()

    def counts(self, name: str) -> dict[str, int]:
        return self._take(name, _counts) if name in self._members else {}


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > _TEXT_CHARS:
        raise _UnreadableError(f"no text of at most {_TEXT_CHARS} characters")
    return value


def _digest(value: Any) -> str:
    text = _text(value)
    if len(text) != 64 or not set(text) <= set("0123456789abcdef"):
        raise _UnreadableError("no SHA-256 digest in hex")
    return text


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _COUNT:
        raise _UnreadableError("no count")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _UnreadableError("neither true nor false")
    return value


def _moment(value: Any) -> datetime:
    try:
        moment = datetime.fromisoformat(_text(value))
    except ValueError as error:
        raise _UnreadableError("no date and time") from error
    if moment.tzinfo is None:
        raise _UnreadableError("no time zone")
    return moment


def _choice(kind: type[_Choice], value: Any) -> _Choice:
    try:
        return kind(_text(value))
    except ValueError as error:
        raise _UnreadableError("none of the known words") from error


def _reason(value: Any) -> Reason | None:
    """For people only, so one that another version knew is no reason to stop."""
    try:
        return Reason(_text(value))
    except ValueError:
        return None


def _trial(value: Any) -> TrialImage:
    if not isinstance(value, dict):
        raise _UnreadableError("no JSON object")
    read = _Members(value)
    sha256 = read.optional("sha256", _digest)
    if sha256 is None:
        raise _UnreadableError("no digest")
    return TrialImage(
        sha256=sha256,
        os_name=read.optional("os-name", _text),
        os_version=read.optional("os-version", _text),
        reached=read.flag("reached"),
        boot_id=read.optional("boot-id", _text),
    )


def _digests(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > _TEXT_CHARS:
        raise _UnreadableError("no list of digests")
    return tuple(_digest(item) for item in value)


def _counts(value: Any) -> dict[str, int]:
    if not isinstance(value, dict) or len(value) > _TEXT_CHARS:
        raise _UnreadableError("no counts by name")
    return {_text(name): _count(count) for name, count in value.items()}
