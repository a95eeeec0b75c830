# SPDX-License-Identifier: Apache-2.0
"""Receive, hash and write at the same time, with a fixed number of buffers.

The caller fills buffers; one thread hashes them and hands them on to another, which writes them
and gives them back. All three mostly wait in calls that release the interpreter's lock. Memory
is `BUFFERS` times `limits.READ_BUFFER_BYTES`, however large the image.
"""

import hashlib
import queue
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from xpu_agent import limits

BUFFERS = 4  # one being filled, one hashed, one written, one to spare

_Filled = tuple[memoryview, int] | None


class Pipeline:
    """A context manager; on exit its threads have ended.

    `write` is called from one thread of the pipeline only. What it raises is raised again from
    the next call of the caller, as it is.
    """

    def __init__(self, write: Callable[[memoryview], None]) -> None:
        self._write = write
        self._free: queue.SimpleQueue[memoryview] = queue.SimpleQueue()
        self._to_hash: queue.SimpleQueue[_Filled] = queue.SimpleQueue()
        self._to_write: queue.SimpleQueue[_Filled] = queue.SimpleQueue()
        self._digest = hashlib.sha256()
        self._failure: BaseException | None = None
        self._lent: memoryview | None = None
        for _ in range(BUFFERS):
            self._free.put(memoryview(bytearray(limits.READ_BUFFER_BYTES)))
        self._threads = [
            threading.Thread(target=self._hash, name="image-hash", daemon=True),
            threading.Thread(target=self._drain, name="image-write", daemon=True),
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._to_hash.put(None)
        for thread in self._threads:
            thread.join()

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
        self._to_hash.put((buffer, size))

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

    def _hash(self) -> None:
        while (filled := self._to_hash.get()) is not None:
            buffer, size = filled
            self._digest.update(buffer[:size])
            self._to_write.put(filled)
        self._to_write.put(None)

    def _drain(self) -> None:
        while (filled := self._to_write.get()) is not None:
            buffer, size = filled
            if self._failure is None:
                try:
                    self._write(buffer[:size].toreadonly())
                except BaseException as failure:  # noqa: BLE001  # raised again in the caller's thread
                    self._failure = failure
            self._free.put(buffer)
