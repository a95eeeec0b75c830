# SPDX-License-Identifier: Apache-2.0
"""Shared by the views: names, amounts, marks, and text of others made harmless."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import TextIO

from xpu_agent.progress import Stage

STAGES: dict[Stage, str] = {
    Stage.FACTS: "device facts",
    Stage.DISCOVER: "discover",
    Stage.CONTACT: "contact server",
    Stage.BOOTSTRAP: "bootstrap",
    Stage.PARSING: "read data",
    Stage.REDIRECT: "redirect",
    Stage.BOOT_IMAGE: "boot image",
    Stage.PRE_SCRIPT: "pre-script",
    Stage.CONFIGURATION: "configuration",
    Stage.POST_SCRIPT: "post-script",
    Stage.COMPLETE: "complete",
    Stage.UNDO: "undo",
}
STAGE_WIDTH = max(map(len, STAGES.values()))

# The checks of a bundle, by artifact: the name's beginning and what it is called.
CHECK_GROUPS = (
    ("voucher-", "voucher"),
    ("owner-certificate-", "owner certificate"),
    ("conveyed-information-", "conveyed information"),
)
OTHER_CHECKS = "bundle"

SKIP = "xpu-agent disable"  # how a person ends the waiting

_FANCY = "✓✗▸█░…·→–"  # noqa: RUF001  # what the views draw with where they can


class Tone(Enum):
    """How a piece of text is meant; the number is its SGR code."""

    PLAIN = 0
    BOLD = 1
    DIM = 2
    BAD = 31
    GOOD = 32
    WARN = 33
    BUSY = 36


@dataclass(frozen=True, slots=True)
class Look:
    """What the reader can show: colour, and characters beyond ASCII."""

    color: bool
    unicode: bool

    def mark(self, result: str) -> tuple[str, Tone]:
        """The tick, cross or other mark of a result."""
        plain, fancy, tone = _MARKS.get(result, _MARKS["initiated"])
        return (fancy if self.unicode else plain), tone

    @property
    def dot(self) -> str:
        """Between two items on one line."""
        return "·" if self.unicode else "-"

    @property
    def arrow(self) -> str:
        """Before what to do next."""
        return "→" if self.unicode else "->"

    def paint(self, text: str, tone: Tone) -> str:
        """`text` in its tone, if there is colour."""
        if not self.color or tone is Tone.PLAIN:
            return text
        return f"\x1b[{tone.value}m{text}\x1b[0m"

    def line(self, pieces: "Pieces", width: int) -> str:
        """The pieces as one line of at most `width` columns."""
        room, out = width, []
        for text, tone in pieces:
            if len(text) > room:
                cut = text[: max(room - 1, 0)] + ("…" if self.unicode else "~")
                out.append(self.paint(cut[:room], tone))
                break
            out.append(self.paint(text, tone))
            room -= len(text)
        return "".join(out)

    def bar(self, share: float, width: int) -> str:
        """A bar of `width` columns, filled to `share` (0 to 1)."""
        full = round(max(0.0, min(share, 1.0)) * width)
        if self.unicode:
            return "█" * full + "░" * (width - full)
        return "#" * full + "." * (width - full)


def can_encode(stream: TextIO) -> bool:
    """Whether the stream's encoding has the characters the views draw with."""
    try:
        _FANCY.encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


Pieces = list[tuple[str, Tone]]

_MARKS: dict[str, tuple[str, str, Tone]] = {
    "complete": ("ok", "✓", Tone.GOOD),
    "ok": ("ok", "✓", Tone.GOOD),
    "warning": ("!", "!", Tone.WARN),
    "error": ("x", "✗", Tone.BAD),
    "failed": ("x", "✗", Tone.BAD),
    "skipped": ("-", "–", Tone.DIM),  # noqa: RUF001  # a dash
    "initiated": (">", "▸", Tone.BUSY),
    "running": (">", "▸", Tone.BUSY),
}


def check_lines(checks: Iterable[tuple[str, str]], look: Look, width: int) -> list[Pieces]:
    """Checks (name, result) as lines: one for each artifact, folded where it gets too wide."""
    groups: dict[str, list[Pieces]] = {}
    for name, result in checks:
        prefix, group = next(
            ((p, g) for p, g in CHECK_GROUPS if name.startswith(p)), ("", OTHER_CHECKS)
        )
        mark, tone = look.mark(result)
        item: Pieces = [(f"  {mark} ", tone), (name.removeprefix(prefix), Tone.PLAIN)]
        groups.setdefault(group, []).append(item)
    lines: list[Pieces] = []
    label_width = max(map(len, groups), default=0)
    for group, items in groups.items():
        lines.append([(f"   {group:<{label_width}}", Tone.DIM)])
        for item in items:
            if _columns(lines[-1]) + _columns(item) > width and len(lines[-1]) > 1:
                lines.append([(" " * (3 + label_width), Tone.PLAIN)])
            lines[-1].extend(item)
    return lines


def _columns(pieces: Pieces) -> int:
    return sum(len(text) for text, _ in pieces)


def clean(text: str, limit: int = 400) -> str:
    """Text of others as printable ASCII, bounded: no control sequence reaches a terminal."""
    cut = text if len(text) <= limit else text[: limit - 3] + "..."
    if cut.isascii() and cut.isprintable():
        return cut
    return "".join(
        c if c.isascii() and c.isprintable() else c.encode("unicode_escape").decode("ascii")
        for c in cut
    )[: limit * 2]


def amount(octets: int) -> str:
    """Octets in MiB, as images are measured; smaller ones in KiB."""
    if octets < 1024 * 1024:
        return f"{octets / 1024:.0f} KiB"
    return f"{octets / (1024 * 1024):.1f} MiB"


def duration(seconds: float) -> str:
    """A duration, as exact as a person cares."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


class Speed:
    """Octets per second over the last seconds, and when the rest will be there."""

    _WINDOW = 5.0  # seconds

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque(maxlen=512)

    def take(self, now: float, done: int) -> None:
        """Take note that `done` octets are there."""
        if self._samples and done < self._samples[-1][1]:
            self._samples.clear()  # begun again
        self._samples.append((now, done))
        while len(self._samples) > 2 and now - self._samples[0][0] > self._WINDOW:
            self._samples.popleft()

    def rate(self) -> float | None:
        """Octets per second; None as long as there is nothing to tell."""
        if len(self._samples) < 2:
            return None
        (begin, first), (end, last) = self._samples[0], self._samples[-1]
        return (last - first) / (end - begin) if end > begin and last > first else None

    def in_words(self, done: int, total: int | None) -> str:
        """`98.0 MiB/s, 3 s left`, as far as it can be told."""
        rate = self.rate()
        if rate is None:
            return ""
        words = f"{rate / (1024 * 1024):.1f} MiB/s"
        if total is not None and total > done:
            words += f", {duration((total - done) / rate)} left"
        return words
