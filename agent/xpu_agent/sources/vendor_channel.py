# SPDX-License-Identifier: Apache-2.0
"""Bootstrapping data by a channel of the vendor's (BMC, RShim, PLDM), through the hook `source`.

The hook fills a folder in the layout of removable media; from there on it is a medium like any
other, and as untrusted.
"""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from xpu_agent.device import DeviceFacts
from xpu_agent.errors import Reason, SourceUnavailableError
from xpu_agent.ports import FoundArtifacts, Need
from xpu_agent.sources.removable_storage import DirectoryMedium


class VendorChannel:
    """`fill` puts data into an empty folder, or returns False; `folder` is private to the agent.

    What was filled in is there while an offer is being used, and removed afterwards.
    """

    name = "hook"
    needs: frozenset[Need] = frozenset()

    def __init__(
        self,
        fill: Callable[[Path], bool],
        folder: Path,
        *,
        manufacturer: str | None = None,
    ) -> None:
        self._fill = fill
        self._folder = folder
        self._manufacturer = manufacturer

    def load(self, facts: DeviceFacts) -> Iterator[FoundArtifacts]:
        """The one offer of the channel."""
        shutil.rmtree(self._folder, ignore_errors=True)
        try:
            self._folder.mkdir(mode=0o700, parents=True)
        except OSError as error:
            raise SourceUnavailableError(
                Reason.NO_SOURCE, f"{self._folder} can't be made: {error.strerror}"
            ) from error
        try:
            if not self._fill(self._folder):
                raise SourceUnavailableError(Reason.NO_SOURCE, "the vendor's channel has no data")
            medium = DirectoryMedium([self._folder], manufacturer=self._manufacturer)
            yield from medium.load(facts)
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)
