# SPDX-License-Identifier: Apache-2.0
"""How fast an image comes in, hashed and written, and what that costs (decision record 0006).

Three ways over the same loopback server, plain and with TLS: the agent's downloader, httpx
streaming into the same hash and file, and the tools an operator would use (curl, tee, sha256sum).
The server runs in a process of its own; seconds of the processor are those of the client alone.
"""

import hashlib
import multiprocessing
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from xpu_agent import limits
from xpu_agent.clock import ClockMode, SystemClock
from xpu_agent.net.download import HttpDownloader
from xpu_agent.ports import VerifiedImage
from xpu_emulator.https import FileServer, GeneratedFile
from xpu_emulator.listener import ServerIdentity
from xpu_emulator.pki import make_root

MEBIBYTES = int(os.environ.get("BENCH_MIB", "1024"))


class FileSink:
    """Writes to a file, as a slot does."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=0)

    def write(self, data: memoryview) -> None:
        """All of it."""
        while data:
            data = data[self._file.write(data) :]

    def restart(self) -> None:
        """From the first octet."""
        self._file.seek(0)
        self._file.truncate()

    def commit(self, image: VerifiedImage) -> None:
        """Not measured."""

    def abort(self) -> None:
        """Let go."""
        self._file.close()


def _serve(pipe: Connection, *, secure: bool, size: int) -> None:
    identity = None
    if secure:
        leaf = make_root("Bench").issue("files", dns_names=["localhost"])
        identity = ServerIdentity(leaf.chain_pem, leaf.key_pem)
    with FileServer({"/image": GeneratedFile(size)}, identity) as server:
        pipe.send(server.url)
        pipe.recv()


@dataclass(frozen=True, slots=True)
class Measured:
    """Wall time and processor time in seconds, the largest resident size in MiB."""

    wall: float
    cpu: float
    memory: int


def by_agent(url: str, target: Path) -> str:
    """The agent's downloader."""
    sink = FileSink(target)
    downloader = HttpDownloader(SystemClock(ClockMode.ACCURATE), None, lambda _done, _total: None)
    result = downloader.fetch(url, sink, max_bytes=limits.DEFAULT_IMAGE_BYTES, medium=None)
    sink.abort()
    return result.sha256.hex()


def by_httpx(url: str, target: Path) -> str:
    """httpx, hashing and writing each part as it comes."""
    import httpx

    digest = hashlib.sha256()
    with (
        target.open("wb", buffering=0) as file,
        httpx.Client(verify=False, trust_env=False) as client,  # noqa: S501  # a bench
        client.stream("GET", url) as response,
    ):
        for part in response.iter_raw():
            digest.update(part)
            file.write(part)
    return digest.hexdigest()


def by_tools(url: str, target: Path) -> str:
    """What one would type."""
    command = 'curl -skf "$1" | tee "$2" | sha256sum'
    done = subprocess.run(
        ["sh", "-c", command, "sh", url, str(target)], check=True, capture_output=True, text=True
    )
    return done.stdout.split()[0]


def _measure(
    pipe: Connection, way: Callable[[str, Path], str], url: str, target: Path, digest: str
) -> None:
    def cpu() -> float:
        usages = [
            resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        ]
        return sum(usage.ru_utime + usage.ru_stime for usage in usages)

    before, begun = cpu(), time.monotonic()
    found = way(url, target)
    wall, used = time.monotonic() - begun, cpu() - before
    if found != digest:
        sys.exit(f"{way.__name__} got another file")
    who = resource.RUSAGE_CHILDREN if way is by_tools else resource.RUSAGE_SELF
    pipe.send(Measured(wall, used, resource.getrusage(who).ru_maxrss // 1024))


def main() -> None:
    """Print one line for each way and protocol."""
    size = MEBIBYTES * limits.MIB
    digest = GeneratedFile(size).sha256
    spawn = multiprocessing.get_context("spawn")
    ways = [by_agent, by_httpx] + ([by_tools] if shutil.which("curl") else [])
    print(f"image of {MEBIBYTES} MiB over loopback, hashed and written")  # noqa: T201  # its purpose
    for secure in (False, True):
        ours, theirs = spawn.Pipe()
        server = spawn.Process(
            target=_serve, args=(theirs,), kwargs={"secure": secure, "size": size}
        )
        server.start()
        url = ours.recv() + "/image"
        for way in ways:
            with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as folder:
                near, far = spawn.Pipe()
                client = spawn.Process(
                    target=_measure, args=(far, way, url, Path(folder) / "image", digest)
                )
                client.start()
                far.close()
                found: Measured = near.recv()
                client.join()
            print(  # noqa: T201  # its purpose
                f"  {'https' if secure else 'http ':5} {way.__name__[3:]:6}"
                f" {MEBIBYTES / found.wall:7.0f} MiB/s"
                f" {found.cpu / (MEBIBYTES / 1024):6.2f} s of processor per GiB"
                f" {found.memory:5} MiB resident"
            )
        ours.send(None)
        server.join()


if __name__ == "__main__":
    main()
