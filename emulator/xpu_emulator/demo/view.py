# SPDX-License-Identifier: Apache-2.0
"""What the demo shows: the device's timeline on the left, what the servers saw on the right.

Two columns where the terminal is wide enough, else one with the servers' lines marked.
"""

import os
import shutil
import sys
import textwrap
import time
from collections.abc import Mapping
from typing import Any, TextIO

from xpu_emulator.https import FileRequest
from xpu_emulator.rpc import GetBootstrappingData, ReportProgress
from xpu_emulator.server import Exchange

_TWO_COLUMNS = 96
_PLAIN_WIDTH = 120
_MIB = 1024 * 1024

_STAGES = {
    "boot-image": "boot image",
    "pre-script": "pre-configuration script",
    "configuration": "configuration",
    "post-script": "post-configuration script",
    "complete": "final report",
}
_CHECKS = {
    "voucher-signature": "by the manufacturer",
    "voucher-dates": "created, not expired",
    "voucher-assertion": "the owner was verified",
    "voucher-serial-number": "names this device",
    "voucher-idevid-issuer": "the one of our IDevID",
    "voucher-nonce": "answers this attempt",
    "owner-certificate-path": "leads to the owner",
    "owner-certificate-revocation": "not revoked",
    "conveyed-information-signature": "by that owner",
    "conveyed-information-content": "well-formed",
}


class View:
    """Draws lines on a stream; knows nothing of the story."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._out = sys.stdout if stream is None else stream
        self._terminal = self._out.isatty()
        size = shutil.get_terminal_size((_PLAIN_WIDTH, 24)).columns if self._terminal else 0
        self._width = size or _PLAIN_WIDTH
        self._middle = self._width * 11 // 20
        self._began = time.monotonic()
        self.explains = True  # each check by name; afterwards only those of refused data
        self._drawn = False  # a progress line stands at the cursor
        self._percent = -1
        color = (
            self._terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        )
        self._bold, self._dim, self._green, self._red, self._plain = (
            ("\x1b[1m", "\x1b[2m", "\x1b[32m", "\x1b[31m", "\x1b[0m") if color else ("",) * 5
        )
        try:
            "✓✗─│▏→".encode(self._out.encoding or "ascii")
        except (UnicodeEncodeError, LookupError):
            self._ok, self._bad, self._bar, self._rule, self._to = "ok", "NO", "|", "-", "->"
        else:
            self._ok, self._bad, self._bar, self._rule, self._to = "✓", "✗", "│", "─", "→"

    # --- lines -------------------------------------------------------------------------------

    def chapter(self, title: str, *explained: str) -> None:
        """A new part of the story; the clock starts again."""
        self._write("")
        rule = self._rule * max(3, self._width - len(title) - 4)
        self._write(f"{self._bold}{self._rule} {title} {rule}{self._plain}")
        for text in explained:
            for line in textwrap.wrap(text, self._width - 2):
                self._write(f"  {line}")
        if explained:
            self._write("")
        self._began = time.monotonic()
        self._percent = -1

    def device(self, text: str, *, mark: str = " ", color: str = "") -> None:
        """A line of the device."""
        left = self._width if self._width < _TWO_COLUMNS else self._middle - 1
        for number, line in enumerate(textwrap.wrap(text, left - 11) or [""]):
            at = f"{time.monotonic() - self._began:5.1f} s" if number == 0 else " " * 7
            sign = f"{color}{mark:>2}{self._plain if color else ''}" if number == 0 else "  "
            self._write(f"{self._dim}{at}{self._plain} {sign} {line}")

    def server(self, text: str) -> None:
        """A line of what a server saw."""
        if self._width < _TWO_COLUMNS:
            for line in textwrap.wrap(f"server: {text}", self._width - 11):
                self._write(" " * 11 + self._dim + line + self._plain)
            return
        start = self._middle
        for line in textwrap.wrap(text, self._width - start - 3):
            self._write(f"{' ' * start}{self._dim}{self._bar}{self._plain} {line}")

    def good(self, text: str) -> None:
        """Something that is as it should be."""
        self.device(text, mark=self._ok, color=self._green)

    def bad(self, text: str) -> None:
        """Something refused or failed."""
        self.device(text, mark=self._bad, color=self._red)

    def say(self, text: str = "") -> None:
        """A line of the narrator."""
        for line in textwrap.wrap(text, self._width - 2) or [""]:
            self._write(f"  {line}" if line else "")

    def verdict(self, text: str, *, good: bool) -> None:
        """The narrator's judgement on a chapter."""
        color, mark = (self._green, self._ok) if good else (self._red, self._bad)
        for number, line in enumerate(textwrap.wrap(text, self._width - 6)):
            self._write(f"  {color}{mark if number == 0 else ' ' * len(mark)}{self._plain} {line}")

    def _progress(self, done: int, total: int | None) -> None:
        if not total:
            return
        percent = done * 100 // total
        if not self._terminal:
            if percent // 25 > self._percent // 25 and percent < 100:
                self.device(f"{done // _MIB} of {total // _MIB} MiB")
            self._percent = percent
            return
        cells = max(10, (self._middle if self._width >= _TWO_COLUMNS else self._width) - 32)
        full = cells * percent // 100
        bar = ("█" if self._bar == "│" else "#") * full + " " * (cells - full)
        self._out.write(f"\r{' ' * 11}[{bar}] {percent:3d} %  {done // _MIB} MiB")
        self._out.flush()
        self._drawn = True

    def _write(self, line: str) -> None:
        if self._drawn:
            self._out.write("\r\x1b[K")
            self._drawn = False
        encoding = self._out.encoding or "ascii"
        self._out.write(line.rstrip().encode(encoding, "replace").decode(encoding) + "\n")
        self._out.flush()

    # --- events ------------------------------------------------------------------------------

    def heard(self, item: object) -> None:
        """An event of the agent, a line of it that is none, or what a server saw."""
        match item:
            case dict():
                self._event(item)
            case Exchange():
                self._exchange(item)
            case FileRequest():
                first = f" from octet {item.first_octet}" if item.first_octet else ""
                self.server(
                    f"file server: {item.request.method} {item.request.path}{first} "
                    f"{self._to} {item.status}"
                )
            case str():
                self.device(item)
            case _:
                pass

    def _event(self, event: Mapping[str, Any]) -> None:
        match event.get("event"):
            case "server-contacted":
                how = "authenticated" if event.get("trusted") else "provisional, not authenticated"
                self.device(f"connected to {event.get('host')}:{event.get('port')}: {how}")
            case "bundle-checks":
                self._checks(event)
            case "bundle-judged":
                if event.get("reason"):
                    self.bad(f"refused: {event['reason']}: {event.get('message', '')}")
                else:
                    self.good(str(event.get("verdict", "")).replace("-", " "))
            case "redirect-followed":
                count = event.get("servers")
                self.device(f"following the redirect to {count} server{'' if count == 1 else 's'}")
            case "stage-started" if event.get("stage") in _STAGES:
                self.device(f"{_STAGES[event['stage']]} ...")
            case "stage-finished" if event.get("stage") in _STAGES:
                self._finished(event)
            case "image-progress":
                self._progress(int(event.get("done", 0)), event.get("total"))
            case _:
                pass

    def _checks(self, event: Mapping[str, Any]) -> None:
        passed = [name for name in _CHECKS if event.get(name) == "ok"]
        if not self.explains and not any(event.get(name) == "failed" for name in _CHECKS):
            self.good(f"all {len(passed)} checks of voucher, owner certificate and signature")
            return
        for name, what in _CHECKS.items():
            match event.get(name):
                case "ok":
                    self.good(f"{name}: {what}")
                case "failed":
                    self.bad(f"{name}: {what}")
                case _:
                    pass

    def _finished(self, event: Mapping[str, Any]) -> None:
        name = _STAGES[event["stage"]]
        seconds = float(event.get("seconds", 0.0))
        if event.get("result") == "error":
            self.bad(f"{name}: {event.get('reason')}: {event.get('message', '')}")
        else:
            self.good(f"{name} done in {seconds:.1f} s")

    def _exchange(self, exchange: Exchange) -> None:
        status = exchange.response.status
        match exchange.input:
            case GetBootstrappingData() as wanted:
                told = [wanted.hw_model, wanted.os_name, wanted.os_version]
                known = " ".join(part for part in told if part)
                prefers = " (wants signed data)" if wanted.signed_data_preferred else ""
                more = f"; told: {known}" if known else "; told nothing else"
                self.server(
                    f"{exchange.server}: get-bootstrapping-data from {exchange.serial_number}"
                    f"{prefers}{more} {self._to} {status}"
                )
            case ReportProgress() as report:
                text = f": {report.message}" if report.message else ""
                self.server(
                    f"{exchange.server}: {report.progress_type.value}{text} {self._to} {status}"
                )
            case _:
                if status != 404:
                    self.server(
                        f"{exchange.server}: {exchange.request.method} "
                        f"{exchange.request.path} {self._to} {status}"
                    )
        for violation in exchange.violations:
            self.server(f"{exchange.server}: the agent is wrong here: {violation.text}")
