# SPDX-License-Identifier: Apache-2.0
"""The status file for people: `xpu-agent status`.

The document may come from another version, so every member may be missing or of another kind;
what it holds is shown as text, made harmless, never trusted to fit.
"""

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from xpu_agent.console.advice import NEXT_ACTIONS
from xpu_agent.console.words import (
    STAGE_WIDTH,
    STAGES,
    Look,
    Pieces,
    Tone,
    amount,
    can_encode,
    check_lines,
    clean,
    duration,
)

_LABEL_WIDTH = 10
_STATE_TONES = {"provisioned": Tone.GOOD, "broken": Tone.BAD, "disabled": Tone.WARN}
_WORD_TONES = {
    "trusted": Tone.GOOD,
    "ok": Tone.GOOD,
    "provisional": Tone.WARN,
    "failed": Tone.BAD,
}


def render_status(
    status: Mapping[str, Any] | None, *, color: bool, width: int, unicode: bool | None = None
) -> str:
    """The document as lines of at most `width` columns, each ended by a newline.

    None, where there is no status file, is told as such. Characters beyond ASCII are used where
    `unicode` says so; left out, where standard output can encode them.
    """
    look = Look(color=color, unicode=can_encode(sys.stdout) if unicode is None else unicode)
    width = max(width, 20)
    lines = [_NO_STATUS] if status is None else list(_lines(status, look, width))
    return "".join(look.line(pieces, width) + "\n" for pieces in lines)


_NO_STATUS: Pieces = [
    ("no agent has run since the last boot", Tone.BOLD),
    ("; start one with `xpu-agent run`", Tone.DIM),
]


def _lines(status: Mapping[str, Any], look: Look, width: int) -> Iterator[Pieces]:
    dot = f" {look.dot} "
    if status.get("version") is not None:
        yield [
            (f"xpu-agent {_text(status.get('version'))}", Tone.BOLD),
            (f"{dot}{_text(status.get('serial-number'))}", Tone.PLAIN),
            (f"{dot}updated {_moment(status.get('updated'))}", Tone.DIM),
        ]
        yield []
    state = _text(status.get("state"))
    yield _entry(
        "state",
        (state, _STATE_TONES.get(state, Tone.BOLD)),
        (f" since {_moment(status.get('since'))}", Tone.DIM),
        (f"{dot}attempt {_text(status.get('attempt'))}", Tone.DIM),
    )
    said = status.get("last-message")
    yield from _outcome(_mapping(status.get("outcome")), said, look, width)
    if status.get("next-retry") is not None:
        yield _entry("next", (f"attempt at {_moment(status.get('next-retry'))}", Tone.PLAIN))
    if status.get("last-reason") is not None:
        reason = _text(status.get("last-reason"))
        action = NEXT_ACTIONS.get(reason)  # type: ignore[call-overload]  # a str equals its Reason
        yield from _message("last fault", (reason, Tone.WARN), said, width)
        if action and state != "provisioned":
            yield _entry("", (f"{look.arrow} {action}", Tone.BOLD))
    yield from _source(status, dot)
    yield from _trust(_mapping(status.get("trust")), dot)
    yield from _image(_mapping(status.get("image")), look)
    yield from _network(_mapping(status.get("network")))
    yield from _checks(_items(status.get("checks")), look, width)
    yield from _steps(_items(status.get("steps")), said, look)


def _outcome(outcome: Mapping[str, Any], said: object, look: Look, width: int) -> Iterator[Pieces]:
    if not outcome:
        return
    kind = _text(outcome.get("kind"))
    good = kind in {"completed", "rebooting", "nothing-to-do"}
    mark, tone = look.mark("complete" if good else "error")
    message = outcome.get("message")
    yield from _message(
        "last run", (f"{mark} {kind}", tone), None if message == said else message, width
    )


def _message(label: str, head: tuple[str, Tone], message: object, width: int) -> Iterator[Pieces]:
    """An entry with a sentence, folded and never cut: it is what the reader needs."""
    import textwrap

    if message is None:
        yield _entry(label, head)
        return
    room = max(width - _LABEL_WIDTH - 2, 8)
    lead = f"{head[0]}: "
    first, *more = textwrap.wrap(lead + _text(message), room) or [lead]
    if first.startswith(lead):
        yield _entry(label, head, (first.removeprefix(head[0]), Tone.PLAIN))
    else:
        yield _entry(label, (first, head[1]))
    for line in more:
        yield _entry("", (line, Tone.PLAIN))


def _source(status: Mapping[str, Any], dot: str) -> Iterator[Pieces]:
    if status.get("source") is None:
        return
    server = _mapping(status.get("server"))
    pieces: Pieces = [(_text(status.get("source")), Tone.PLAIN)]
    if server:
        host, address = _text(server.get("host")), _text(server.get("address"))
        at = "" if address == host else f" ({address})"
        bracketed = f"[{host}]" if ":" in host else host
        pieces.append((f"{dot}{bracketed}:{_text(server.get('port'))}{at}", Tone.PLAIN))
        if server.get("redirects"):
            pieces.append((f"{dot}after {_text(server.get('redirects'))} redirect(s)", Tone.DIM))
    yield _entry("source", *pieces)


def _trust(trust: Mapping[str, Any], dot: str) -> Iterator[Pieces]:
    pieces: Pieces = []
    for name in ("server", "voucher", "owner"):
        if trust.get(name) is not None:
            word = _text(trust.get(name))
            pieces += [
                (f"{dot if pieces else ''}{name} ", Tone.PLAIN),
                (word, _WORD_TONES.get(word, Tone.PLAIN)),
            ]
    if pieces:
        yield _entry("trust", *pieces)


def _image(image: Mapping[str, Any], look: Look) -> Iterator[Pieces]:
    for label in ("running", "wanted"):
        named = _mapping(image.get(label))
        words = " ".join(
            _text(named.get(k)) for k in ("os-name", "os-version") if named.get(k) is not None
        )
        digest = named.get("sha256")
        if isinstance(digest, str):
            words += f"{' ' if words else ''}sha256 {clean(digest, 64)[:12]}"
        if words:
            yield _entry(label, (words, Tone.PLAIN))
    written, size = image.get("written"), image.get("size")
    if _is_count(written) and written:
        if _is_count(size) and size:
            share = written / size
            yield _entry(
                "written",
                (look.bar(share, 24), Tone.BUSY),
                (f" {min(share, 1.0):4.0%}", Tone.BOLD),
                (f"  {amount(written)} of {amount(size)}", Tone.PLAIN),
            )
        else:
            yield _entry("written", (amount(written), Tone.PLAIN))


def _network(network: Mapping[str, Any]) -> Iterator[Pieces]:
    for link in _items(network.get("interfaces")):
        listed = link.get("addresses")
        addresses = " ".join(map(_text, listed)) if isinstance(listed, list) else ""
        yield _entry(
            "link",
            (f"{_text(link.get('name'))} {_text(link.get('state'))}", Tone.PLAIN),
            (f" {addresses}", Tone.DIM),
        )
    for answer in _items(network.get("dhcp")):
        yield _entry(
            "dhcp",
            (f"{_text(answer.get('interface'))} from {_text(answer.get('server'))}", Tone.PLAIN),
            (f" {_text(answer.get('offered'))}", Tone.DIM),
        )


def _checks(checks: list[Mapping[str, Any]], look: Look, width: int) -> Iterator[Pieces]:
    if checks:
        yield []
        yield [("checks", Tone.BOLD)]
    named = ((_text(check.get("step")), _text(check.get("result"))) for check in checks)
    yield from check_lines(named, look, width)


def _steps(steps: list[Mapping[str, Any]], said: object, look: Look) -> Iterator[Pieces]:
    if steps:
        yield []
        yield [("steps", Tone.BOLD)]
    names = {str(stage): words for stage, words in STAGES.items()}
    for step in steps:
        mark, tone = look.mark(_text(step.get("result")))
        stage, seconds = _text(step.get("stage")), step.get("seconds")
        took = duration(seconds) if isinstance(seconds, int | float) else ""
        pieces: Pieces = [
            (f"   {mark:<2} ", tone),
            (f"{names.get(stage, stage):<{STAGE_WIDTH}}  ", Tone.PLAIN),
            (f"{took:>11}", Tone.DIM),
        ]
        reason, message = step.get("reason"), step.get("message")
        if reason is not None:
            pieces.append((f"  {_text(reason)}", tone))
        if message is not None and not (reason is not None and message == said):
            pieces.append((f"{': ' if reason is not None else '  '}{_text(message)}", Tone.PLAIN))
        elif message is None and step.get("detail"):
            pieces.append((f"  {_text(step.get('detail'))}", Tone.DIM))
        yield pieces


def _entry(label: str, *pieces: tuple[str, Tone]) -> Pieces:
    return [(f"{label:<{_LABEL_WIDTH}}  ", Tone.DIM), *pieces]


def _text(value: object) -> str:
    return "-" if value is None else clean(str(value))


def _moment(value: object) -> str:
    """Date and time to the second; the offset is UTC's, so it is left out."""
    return _text(value).replace("T", " ").removesuffix("+00:00")


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _items(value: object) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
