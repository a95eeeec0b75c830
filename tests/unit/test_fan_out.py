# SPDX-License-Identifier: Apache-2.0
"""`wiring.FanOut`: one listener that fails costs the others nothing."""

import logging

import pytest

from xpu_agent.errors import StoppedError
from xpu_agent.ports import Event, Note
from xpu_agent.wiring import FanOut

EVENT = Note("x", "y")


class Listener:
    """Notes what it hears, and then fails if it is to."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.heard: list[Event] = []
        self._error = error

    def emit(self, event: Event) -> None:
        self.heard.append(event)
        if self._error is not None:
            raise self._error


def test_all_listeners_hear_in_their_order() -> None:
    listeners = [Listener(), Listener()]
    events = FanOut(listeners[:1])
    events.add(listeners[1])
    events.emit(EVENT)
    assert [each.heard for each in listeners] == [[EVENT], [EVENT]]


@pytest.mark.parametrize("error", [RuntimeError("secret"), OSError(28, "full"), KeyError("x")])
def test_a_listener_that_fails_is_told_of_and_passed(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    before, broken, after = Listener(), Listener(error), Listener()
    events = FanOut([before, broken, after])
    with caplog.at_level(logging.ERROR, "xpu_agent"):
        events.emit(EVENT)
        events.emit(EVENT)
    assert before.heard == after.heard == [EVENT, EVENT]
    assert [record.getMessage() for record in caplog.records] == ["listener-failed"] * 2
    assert "secret" not in caplog.text


def test_a_signal_goes_on_once_all_have_heard() -> None:
    stopped, after = Listener(StoppedError()), Listener()
    with pytest.raises(StoppedError):
        FanOut([stopped, after]).emit(EVENT)
    assert after.heard == [EVENT]


def test_an_interrupt_is_not_held_back() -> None:
    after = Listener()
    with pytest.raises(KeyboardInterrupt):
        FanOut([Listener(KeyboardInterrupt()), after]).emit(EVENT)
    assert after.heard == []
