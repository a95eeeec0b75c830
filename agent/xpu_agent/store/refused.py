# SPDX-License-Identifier: Apache-2.0
"""The last bundles that were refused, as received, so that a person can ask why.

Each stands in a numbered folder in the layout a removable medium has, so `xpu-agent inspect` and
`run --media` read it as it is. What is kept comes from whoever sent it and is bounded in number
and size; it is for root alone to read, and keeping it never fails an attempt.
"""

import contextlib
import json
import logging
import os
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from xpu_agent import limits
from xpu_agent.atomic_write import make_folder, sync_directory, write_atomically
from xpu_agent.errors import Reason

if TYPE_CHECKING:
    from xpu_agent.artifacts.bundle import Artifacts

FORMAT = "xpu-agent-refused/1"
MEDIA_FOLDER = "sztp"
REASON_FILE = "reason.json"

_ORIGIN_CHARS = 255
_log = logging.getLogger(__name__)


class RefusedBundles:
    """The folder `refused/`: at most `REFUSED_BUNDLES` of `REFUSED_BYTES` together."""

    def __init__(self, folder: Path, *, now: Callable[[], datetime]) -> None:
        self._folder = folder
        self._now = now

    def keep(self, artifacts: "Artifacts", reason: Reason, origin: str) -> None:
        """Keep a bundle; the same one again, or one too large, is not kept."""
        try:
            self._keep(_files(artifacts), reason, origin)
        except OSError as error:
            _log.warning("a refused bundle could not be kept: %s", error.strerror)

    def _keep(self, files: dict[str, bytes], reason: Reason, origin: str) -> None:
        if sum(map(len, files.values())) > limits.REFUSED_BYTES:
            _log.warning("a refused bundle is too large to be kept")
            return
        digest = _digest(files)
        make_folder(self._folder, 0o700)
        self._remove_leftovers()
        kept = list(self._kept())
        if any(_digest_of(folder) == digest for _, folder in kept):
            return
        number = kept[-1][0] + 1 if kept else 1
        self._write(number, files, digest, reason, origin)
        self._prune()

    def _write(
        self, number: int, files: dict[str, bytes], digest: str, reason: Reason, origin: str
    ) -> None:
        building = self._folder / f".{number}.tmp"
        make_folder(building / MEDIA_FOLDER, 0o700)
        building.chmod(0o700)
        for name, content in files.items():
            write_atomically(building / MEDIA_FOLDER / name, content)
        about = {
            "format": FORMAT,
            "reason": str(reason),
            "origin": origin[:_ORIGIN_CHARS],
            "time": self._now().isoformat(timespec="seconds"),
            "sha256": digest,
        }
        write_atomically(building / REASON_FILE, json.dumps(about, indent=2).encode("ascii"))
        building.rename(self._folder / str(number))
        sync_directory(self._folder)

    def _prune(self) -> None:
        import shutil

        kept = list(self._kept())
        while len(kept) > limits.REFUSED_BUNDLES or (
            len(kept) > 1 and sum(_size(folder) for _, folder in kept) > limits.REFUSED_BYTES
        ):
            shutil.rmtree(kept.pop(0)[1])

    def _remove_leftovers(self) -> None:
        import shutil

        for leftover in self._folder.glob(".*.tmp"):
            shutil.rmtree(leftover, ignore_errors=True)

    def _kept(self) -> Iterator[tuple[int, Path]]:
        """Numbers and folders, oldest first."""
        numbers = (int(e.name) for e in self._folder.iterdir() if e.name.isdecimal())
        for number in sorted(numbers):
            yield number, self._folder / str(number)


def _files(artifacts: "Artifacts") -> dict[str, bytes]:
    named = {
        "conveyed-information.cms": artifacts.conveyed_information,
        "owner-certificate.cms": artifacts.owner_certificate,
        "ownership-voucher.vcj": artifacts.ownership_voucher,
    }
    return {name: content for name, content in named.items() if content is not None}


def _digest(files: dict[str, bytes]) -> str:
    import hashlib

    digest = hashlib.sha256()
    for name, content in files.items():
        digest.update(f"{name}:{len(content)}:".encode("ascii"))
        digest.update(content)
    return digest.hexdigest()


def _digest_of(folder: Path) -> str | None:
    with contextlib.suppress(OSError, ValueError):
        about = json.loads((folder / REASON_FILE).read_bytes())
        if isinstance(about, dict):
            return str(about.get("sha256"))
    return None


def _size(folder: Path) -> int:
    return sum(
        (Path(parent) / name).lstat().st_size
        for parent, _, names in os.walk(folder)
        for name in names
    )
