# SPDX-License-Identifier: Apache-2.0
"""One child process under bounds: own session, time limit, bounded output, nothing left behind.

Scripts and hooks both run through here. The rules:

- argument list, given environment, standard input that ends; never a shell line;
- the child leads a session of its own, so one signal reaches all it started;
- output is read while it comes and kept bounded, head and tail; a child that writes for ever
  costs no memory;
- the end of the *process* ends the wait, not the end of its output: a daemon it left behind
  holds that open;
- a signal goes to the group only while its leader is not reaped, so the number can't have been
  given to somebody else.

`os.posix_spawn` rather than `subprocess`: payloads are due on descriptor 3 exactly, and a
`preexec_fn` may hang in a process with threads. The working directory is therefore
the agent's, which is `/` while it works (`wiring.in_root_folder`).
"""

import contextlib
import errno
import fcntl
import os
import selectors
import signal
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from xpu_agent.platforms.orphans import Orphanage

_GRACE_SECONDS = 2.0  # between SIGTERM and SIGKILL
_KILL_SECONDS = 5.0  # for the kernel to end a killed process
_TICK_SECONDS = 0.5  # how often a stop request is looked for
_POLL_SECONDS = 0.05  # where the kernel has no pidfd (before 5.3)
_READ_BYTES = 64 * 1024
_TEXT_BUSY_TRIES = 40  # times 50 ms
_FIRST_FREE_DESCRIPTOR = 10  # child ends stay clear of 0..3, so that dup2 never meets itself

# All children of this module, so that one never takes another for an orphan.
_running: set[int] = set()


class Capture:
    """Bounded memory of an output: the first and the last half of `limit` octets."""

    def __init__(self, limit: int) -> None:
        self._half = limit // 2
        self._head = bytearray()
        self._tail = bytearray()
        self.total = 0

    def feed(self, data: bytes) -> None:
        """Take the next octets; keeps no more than the limit."""
        self.total += len(data)
        room = self._half - len(self._head)
        self._head += data[:room]
        rest = data[room:]
        if rest:
            self._tail += rest
            del self._tail[: -self._half]

    @property
    def dropped(self) -> int:
        """Octets between head and tail that were thrown away."""
        return self.total - len(self._head) - len(self._tail)

    def octets(self) -> bytes:
        """What was kept; without a mark where something is missing."""
        return bytes(self._head + self._tail)

    def text(self) -> str:
        """What was kept, for people: control characters escaped, a mark where octets are gone."""
        if not self.dropped:
            return printable(self.octets())
        gap = f"\n[{self.dropped} octets left out]\n"
        return printable(bytes(self._head)) + gap + printable(bytes(self._tail))


def printable(data: bytes) -> str:
    r"""Text of foreign octets: line ends and tabs stay, other control characters become \xNN."""
    text = data.decode("utf-8", "backslashreplace")
    return "".join(
        c if c in "\n\t" or c.isprintable() else ascii(c)[1:-1].replace("\r", "\\r") for c in text
    )


@dataclass(frozen=True, slots=True)
class Ending:
    """How a child ended: exit status, or minus the signal; `timed_out` if we ended it."""

    status: int
    timed_out: bool = False

    @property
    def detail(self) -> str:
        """One plain phrase, without the time limit's length."""
        if self.status >= 0:
            return f"exit status {self.status}"
        try:
            name = signal.Signals(-self.status).name
        except ValueError:
            name = f"signal {-self.status}"
        return f"killed by {name}"


class Child:
    """A running program. Make one, then `wait`; `close` in any case.

    `feeds`: octets for a descriptor of the child, which then reads end of file. `streams`:
    descriptors `write` feeds until `end_stream`. `captures`: descriptors that share a capture.
    `check_stopped` is called twice a second and may raise; the child is gone then.

    Raises:
        OSError: it can't be started.
    """

    def __init__(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        *,
        captures: Sequence[tuple[Collection[int], Capture]],
        feeds: Mapping[int, bytes] | None = None,
        streams: Collection[int] = (),
        leave_nothing: bool = False,
        check_stopped: Callable[[], None] = lambda: None,
    ) -> None:
        self._selector = selectors.DefaultSelector()
        self._captures: dict[int, Capture] = {}  # by our descriptor
        self._pending: dict[int, memoryview] = {}  # by our descriptor
        self._streams: dict[int, int] = {}  # the child's descriptor -> ours
        self._check_stopped = check_stopped
        self._orphanage = Orphanage(_running) if leave_nothing else None
        self._leave_nothing = leave_nothing
        self._pidfd: int | None = None
        self._ending: Ending | None = None
        child_ends: dict[int, int] = {}
        try:
            self._open(child_ends, captures, dict(feeds or {}), streams)
            if self._orphanage:
                self._orphanage.open()
            self.pid = _spawn(argv, environment, child_ends)
        except BaseException:
            self._release()
            raise
        finally:
            for descriptor in set(child_ends.values()):
                os.close(descriptor)
        _running.add(self.pid)
        with contextlib.suppress(OSError):
            self._pidfd = os.pidfd_open(self.pid)
            self._selector.register(self._pidfd, selectors.EVENT_READ)

    def _open(
        self,
        child_ends: dict[int, int],
        captures: Sequence[tuple[Collection[int], Capture]],
        feeds: dict[int, bytes],
        streams: Collection[int],
    ) -> None:
        if 0 not in feeds and 0 not in streams:
            child_ends[0] = _high(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        for number, content in feeds.items():
            ours = self._feeder(child_ends, number)
            self._pending[ours] = memoryview(content)
            self._selector.register(ours, selectors.EVENT_WRITE)
        for number in streams:
            self._streams[number] = self._feeder(child_ends, number)
        for numbers, capture in captures:
            ours, theirs = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(ours, False)
            theirs = _high(theirs)
            child_ends.update(dict.fromkeys(numbers, theirs))
            self._captures[ours] = capture
            self._selector.register(ours, selectors.EVENT_READ)

    def _feeder(self, child_ends: dict[int, int], number: int) -> int:
        theirs, ours = os.pipe2(os.O_CLOEXEC)
        child_ends[number] = _high(theirs)
        os.set_blocking(ours, False)
        self._pending[ours] = memoryview(b"")
        return ours

    # --- what the owner does ---

    def write(self, number: int, data: memoryview, *, stall_seconds: float) -> bool:
        """Feed a stream; False if the child ended or closed it before all was taken.

        Raises:
            TimeoutError: nothing was taken for `stall_seconds`.
        """
        ours = self._streams.get(number)
        if ours is None:
            return False
        view = data.cast("B")
        self._pending[ours] = view
        self._selector.register(ours, selectors.EVENT_WRITE)
        left, deadline = len(view), time.monotonic() + stall_seconds
        while left:
            ended = self._turn(deadline - time.monotonic())
            if ours not in self._pending:
                return False  # the child closed its end
            now_left = len(self._pending[ours])
            if now_left == 0:
                self._pending[ours] = memoryview(b"")  # let go of the caller's buffer
                break
            if ended:
                self.end_stream(number)
                return False
            if now_left < left:
                left, deadline = now_left, time.monotonic() + stall_seconds
            elif time.monotonic() >= deadline:
                raise TimeoutError(f"nothing was read for {stall_seconds:g} s")
        return True

    def end_stream(self, number: int) -> None:
        """Let the child read end of file; harmless twice."""
        ours = self._streams.get(number)
        if ours is not None:
            self._drop(ours)

    def wait(self, seconds: float) -> Ending:
        """Wait for the process to end; at the limit SIGTERM, then SIGKILL, to all of it."""
        if self._ending is not None:
            return self._ending
        deadline = time.monotonic() + seconds
        try:
            while not self._turn(deadline - time.monotonic()):
                if time.monotonic() >= deadline:
                    return self._stop(timed_out=True)
        except BaseException:
            self.close()
            raise
        return self._reap(timed_out=False)

    def close(self) -> None:
        """End it if it still runs, let go of everything; safe to call twice."""
        if self._ending is None:
            self._check_stopped = lambda: None
            self._stop(timed_out=True)
        self._release()

    # --- the loop ---

    def _turn(self, timeout: float) -> bool:
        """Move octets for a while; True once the process has ended."""
        self._check_stopped()
        if self._ended():
            return True
        tick = _TICK_SECONDS if self._pidfd is not None else _POLL_SECONDS
        for key, _ in self._selector.select(max(0.0, min(timeout, tick))):
            descriptor = key.fd
            if descriptor in self._captures:
                self._read(descriptor)
            elif descriptor in self._pending:
                self._feed(descriptor)
        return self._ended()

    def _read(self, descriptor: int) -> bool:
        """One read; False at end of file or when nothing is there."""
        try:
            data = os.read(descriptor, _READ_BYTES)
        except BlockingIOError:
            return False
        if not data:
            self._drop(descriptor)
            return False
        self._captures[descriptor].feed(data)
        return True

    def _feed(self, descriptor: int) -> None:
        view = self._pending[descriptor]
        try:
            view = view[os.write(descriptor, view) :] if view else view
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._drop(descriptor)  # the child doesn't want it; its exit status tells the rest
            return
        self._pending[descriptor] = view
        if not view:
            if descriptor in self._streams.values():
                self._selector.unregister(descriptor)
            else:
                self._drop(descriptor)

    def _drop(self, descriptor: int) -> None:
        self._captures.pop(descriptor, None)
        self._pending.pop(descriptor, None)
        self._streams = {n: ours for n, ours in self._streams.items() if ours != descriptor}
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(descriptor)
        os.close(descriptor)

    def _ended(self) -> bool:
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self.pid, flags) is not None

    # --- the end ---

    def _stop(self, *, timed_out: bool) -> Ending:
        for number, seconds in ((signal.SIGTERM, _GRACE_SECONDS), (signal.SIGKILL, _KILL_SECONDS)):
            _signal_group(self.pid, number)
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                if self._turn(deadline - time.monotonic()):
                    return self._reap(timed_out=timed_out)
        # Stuck in the kernel: it can't be waited for, and nobody may wait for ever.
        self._ending = Ending(-signal.SIGKILL, timed_out)
        self._release()
        return self._ending

    def _reap(self, *, timed_out: bool) -> Ending:
        if self._leave_nothing or timed_out:
            _signal_group(self.pid, signal.SIGKILL)
        for descriptor in list(self._captures):
            # Not until end of file: what it left behind may write for ever.
            for _ in range(64):
                if not self._read(descriptor):
                    break
        _, status = os.waitpid(self.pid, 0)
        self._ending = Ending(os.waitstatus_to_exitcode(status), timed_out)
        self._release()
        return self._ending

    def _release(self) -> None:
        for descriptor in (*self._captures, *self._pending):
            self._drop(descriptor)
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None
        self._selector.close()
        if self._orphanage:
            self._orphanage.close()
            self._orphanage = None
        _running.discard(getattr(self, "pid", -1))


def _high(descriptor: int) -> int:
    """The same file under a number clear of those a child expects."""
    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _FIRST_FREE_DESCRIPTOR)
    finally:
        os.close(descriptor)


def _spawn(argv: Sequence[str], environment: Mapping[str, str], ends: Mapping[int, int]) -> int:
    actions: list[tuple[int, ...]] = [
        (os.POSIX_SPAWN_CLOSE, descriptor) for descriptor in _inheritable()
    ]
    actions += [(os.POSIX_SPAWN_DUP2, end, number) for number, end in ends.items()]
    # Python ignores these two, and a child would inherit that.
    default = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for tries_left in range(_TEXT_BUSY_TRIES, -1, -1):
        try:
            return os.posix_spawn(
                argv[0],
                list(argv),
                dict(environment),
                file_actions=actions,
                setsid=True,
                setsigmask=(),
                setsigdef=default,
            )
        except OSError as error:
            # ETXTBSY: another thread forked while the file was open for writing here, and its
            # child has not come to its exec yet.
            if error.errno != errno.ETXTBSY or not tries_left:
                raise
            time.sleep(0.05)
    raise AssertionError  # the loop ends in a return or a raise


def _inheritable() -> list[int]:
    """What the agent's own parent left open for us; Python's own never pass through."""
    found = []
    with contextlib.suppress(FileNotFoundError):  # no /proc: nothing can be said
        for name in os.listdir("/proc/self/fd"):  # noqa: PTH208  # numbers, not paths
            with contextlib.suppress(OSError):
                if int(name) > 2 and os.get_inheritable(int(name)):
                    found.append(int(name))
    return found


def _signal_group(leader: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)
