# SPDX-License-Identifier: Apache-2.0
"""Receive, hash and write at the same time, with a fixed number of buffers.

The caller fills buffers; a thread hashes and writes them and gives them back. Both mostly wait in
calls that release the interpreter's lock. A third thread, or larger buffers, cost more than they
bring where there are two cores (decision record 0006). Memory is `BUFFERS` times
`limits.READ_BUFFER_BYTES`, however large the image.
"""

import hashlib
import queue
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from xpu_agent import limits

BUFFERS = 4  # one being filled, one hashed and written, two to spare

_Filled = tuple[memoryview, int] | None


class Pipeline:
    """A context manager; on exit its thread has ended.

    `write` is called from the pipeline's thread only. What it raises is raised again from
    the next call of the caller, as it is.
    """

    def __init__(self, write: Callable[[memoryview], None]) -> None:
        self._write = write
        self._free: queue.SimpleQueue[memoryview] = queue.SimpleQueue()
        self._filled: queue.SimpleQueue[_Filled] = queue.SimpleQueue()
        self._digest = hashlib.sha256()
        self._failure: BaseException | None = None
        self._lent: memoryview | None = None
        for _ in range(BUFFERS):
            self._free.put(memoryview(bytearray(limits.READ_BUFFER_BYTES)))
        self._thread = threading.Thread(target=self._drain, name="image-write", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._filled.put(None)
        self._thread.join()

    def buffer(self) -> memoryview:
        """A buffer to fill; the same one again until it is passed on. Waits for the writer."""
        if self._lent is None:
            self._lent = self._free.get()
        self._raise_failure()
        return self._lent

    def submit(self, size: int) -> None:
        """Pass on the first `size` octets of the buffer lent last."""
        if self._lent is None:
            raise RuntimeError("no buffer was lent")
        buffer, self._lent = self._lent, None
        self._filled.put((buffer, size))

    def settle(self) -> None:
        """Wait until all that was passed on is hashed and written."""
        buffers = [self._free.get() for _ in range(BUFFERS - (self._lent is not None))]
        for buffer in buffers:
            self._free.put(buffer)
        self._raise_failure()

    def restart(self) -> None:
        """Begin a new digest; only after `settle`."""
        self._digest = hashlib.sha256()

    def sha256(self) -> bytes:
        """The digest of all that was passed on since the start; only after `settle`."""
        return self._digest.digest()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _drain(self) -> None:
        while (filled := self._filled.get()) is not None:
            buffer, size = filled
            if self._failure is None:
                try:
                    self._digest.update(buffer[:size])
                    self._write(buffer[:size].toreadonly())
                except BaseException as failure:  # noqa: BLE001  # raised again in the caller's thread
                    self._failure = failure
            self._free.put(buffer)
