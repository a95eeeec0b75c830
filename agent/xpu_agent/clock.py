# SPDX-License-Identifier: Apache-2.0
"""The device's time, whether it may be judged by, and waiting that a signal ends (RFC 8572, 9.1).

`auto` reads the real-time clock, not the system time, which plain NTP may have moved. A reading
below the bound (the later of the build date and the last accurate reading) means the clock lost
its time, and then no date is judged at all. Nothing else raises the bound: no certificate, no
voucher, no HTTP date.
"""

import signal
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from types import FrameType

from xpu_agent import BUILD_DATE
from xpu_agent.device import ClockReading
from xpu_agent.errors import StoppedError

_RTC_FOLDERS = "sys/class/rtc"


class ClockMode(StrEnum):
    """`trust.clock` of the configuration."""

    AUTO = "auto"
    ACCURATE = "accurate"
    INACCURATE = "inaccurate"


def build_bound() -> datetime:
    """The agent's build date: no working clock is earlier."""
    return datetime.fromisoformat(BUILD_DATE).replace(tzinfo=UTC)


class SystemClock:
    """`ports.Clock` over the machine's clocks.

    `floor` gives the last reading taken while accurate, None where there was none. `root` is the
    folder below which `/sys` is looked for.
    """

    def __init__(
        self,
        mode: ClockMode,
        *,
        floor: Callable[[], datetime | None] = lambda: None,
        root: Path = Path("/"),
    ) -> None:
        self._mode = mode
        self._floor = floor
        self._rtc = root / _RTC_FOLDERS
        self._stop = threading.Event()

    def read(self) -> ClockReading:
        """See `ports.Clock`."""
        now = datetime.now(UTC)
        if self._mode is ClockMode.ACCURATE:
            return ClockReading(now, accurate=True)
        if self._mode is ClockMode.INACCURATE:
            return ClockReading(now, accurate=False)
        rtc = self._read_rtc()
        if rtc is None:
            return ClockReading(now, accurate=False)
        floor = self._floor()
        bound = build_bound() if floor is None else max(build_bound(), floor)
        return ClockReading(rtc, accurate=rtc >= bound)

    def _read_rtc(self) -> datetime | None:
        """The real-time clock that set the system time at boot, else the first; None if none."""
        candidates: list[tuple[bool, str, Path]] = []
        try:
            for folder in sorted(self._rtc.iterdir()):
                hctosys = folder / "hctosys"
                first = hctosys.is_file() and hctosys.read_text("ascii").strip() == "1"
                candidates.append((not first, folder.name, folder))
        except (OSError, ValueError):
            return None
        for _, _, folder in sorted(candidates):
            try:
                seconds = int((folder / "since_epoch").read_text("ascii"))
                return datetime.fromtimestamp(seconds, UTC)
            except (OSError, ValueError, OverflowError):
                continue
        return None

    def monotonic(self) -> float:
        """See `ports.Clock`."""
        return time.monotonic()

    def wait(self, seconds: float) -> None:
        """See `ports.Clock`."""
        self._stop.wait(seconds)
        self.check_stopped()

    def check_stopped(self) -> None:
        """See `ports.Clock`."""
        if self._stop.is_set():
            raise StoppedError

    def stop_on_signals(self) -> None:
        """Make SIGTERM, SIGINT and SIGHUP end what is under way with `StoppedError`.

        The exception is raised where the main thread stands, so that a blocking read ends too;
        durable writes are atomic and every step may be cut, so no place is a wrong one. A
        second signal while the first is being handled changes nothing.
        """

        def stop(_signum: int, _frame: FrameType | None) -> None:
            if not self._stop.is_set():
                self._stop.set()
                raise StoppedError

        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, stop)
