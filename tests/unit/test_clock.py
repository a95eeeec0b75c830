# SPDX-License-Identifier: Apache-2.0
"""When the device's time may be judged by, and waiting that ends."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from xpu_agent.clock import ClockMode, SystemClock, build_bound
from xpu_agent.errors import StoppedError

NOW = datetime.now(UTC).replace(microsecond=0)


def _rtc(root: Path, name: str, epoch: str, hctosys: str | None = None) -> None:
    folder = root / "sys" / "class" / "rtc" / name
    folder.mkdir(parents=True)
    (folder / "since_epoch").write_text(epoch)
    if hctosys is not None:
        (folder / "hctosys").write_text(hctosys)


def _seconds(moment: datetime) -> str:
    return f"{int(moment.timestamp())}\n"


def test_declared_modes_ask_no_hardware(tmp_path: Path) -> None:
    _rtc(tmp_path, "rtc0", "0\n")
    assert SystemClock(ClockMode.ACCURATE, root=tmp_path).read().accurate
    assert not SystemClock(ClockMode.INACCURATE, root=tmp_path).read().accurate


def test_without_a_real_time_clock_no_date_is_judged(tmp_path: Path) -> None:
    assert not SystemClock(ClockMode.AUTO, root=tmp_path).read().accurate


def test_the_real_time_clock_is_read_not_the_systems_time(tmp_path: Path) -> None:
    later = NOW + timedelta(days=400)
    _rtc(tmp_path, "rtc0", _seconds(later))
    reading = SystemClock(ClockMode.AUTO, root=tmp_path).read()
    assert (reading.utc, reading.accurate) == (later, True)


def test_a_clock_below_the_build_date_lost_its_time(tmp_path: Path) -> None:
    _rtc(tmp_path, "rtc0", _seconds(build_bound() - timedelta(seconds=1)))
    assert not SystemClock(ClockMode.AUTO, root=tmp_path).read().accurate


def test_the_last_accurate_reading_is_a_bound_too(tmp_path: Path) -> None:
    _rtc(tmp_path, "rtc0", _seconds(NOW))
    for floor, accurate in ((NOW, True), (NOW + timedelta(seconds=1), False)):
        clock = SystemClock(ClockMode.AUTO, floor=lambda f=floor: f, root=tmp_path)  # type: ignore[misc]  # a lambda's default
        assert clock.read().accurate is accurate
    # An earlier one lowers nothing.
    old = build_bound() - timedelta(days=9)
    other = tmp_path / "other"
    _rtc(other, "rtc0", _seconds(build_bound() - timedelta(days=1)))
    assert not SystemClock(ClockMode.AUTO, floor=lambda: old, root=other).read().accurate


def test_the_clock_that_set_the_time_at_boot_comes_first(tmp_path: Path) -> None:
    _rtc(tmp_path, "rtc0", "5\n", "0\n")
    _rtc(tmp_path, "rtc1", _seconds(NOW), "1\n")
    assert SystemClock(ClockMode.AUTO, root=tmp_path).read().utc == NOW


@pytest.mark.parametrize("epoch", ["", "soon", "9" * 40, "\udcff"])
def test_a_clock_that_answers_nonsense_is_passed_over(tmp_path: Path, epoch: str) -> None:
    _rtc(tmp_path, "rtc0", "")
    path = tmp_path / "sys/class/rtc/rtc0/since_epoch"
    path.write_bytes(epoch.encode("utf-8", "surrogateescape"))
    _rtc(tmp_path, "rtc1", _seconds(NOW))
    assert SystemClock(ClockMode.AUTO, root=tmp_path).read().utc == NOW


def test_waiting_ends_by_itself_and_after_a_stop_at_once() -> None:
    clock = SystemClock(ClockMode.ACCURATE)
    began = clock.monotonic()
    clock.wait(0.05)
    assert clock.monotonic() - began >= 0.05
    clock._stop.set()
    with pytest.raises(StoppedError):
        clock.wait(60)
    with pytest.raises(StoppedError):
        clock.check_stopped()
    assert clock.monotonic() - began < 30
