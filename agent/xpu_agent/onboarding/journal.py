# SPDX-License-Identifier: Apache-2.0
"""The one writer of the durable document (see `lifecycle`).

Every arrow is on disk before its effect, and told to the listeners once it is.
"""

from collections import Counter

from xpu_agent.errors import Reason
from xpu_agent.lifecycle import AgentState, State, advance
from xpu_agent.ports import Clock, Events, StateChanged, StateStore


class Journal:
    """Holds the document as it stands on disk, and replaces it.

    Refusals are counted here and written with the next arrow: a hostile source must not be able
    to wear the storage out.
    """

    def __init__(self, state: AgentState, store: StateStore, clock: Clock, events: Events) -> None:
        self._state = state
        self._store = store
        self._clock = clock
        self._events = events
        self._refusals = Counter(state.earlier_refusals)

    @property
    def state(self) -> AgentState:
        """The document as it was written last."""
        return self._state

    def advance(self, state: State, **changes: object) -> AgentState:
        """Write one arrow, or progress inside a state. Raises StateError."""
        reading = self._clock.read()
        if reading.accurate:
            floor = self._state.clock_floor
            changes["clock_floor"] = reading.utc if floor is None else max(floor, reading.utc)
        changes.setdefault("earlier_refusals", dict(self._refusals))
        document = advance(self._state, state, now=reading.utc, **changes)
        self._store.save(document)
        self._state = document
        self._events.emit(StateChanged(document))
        return document

    def progress(self, **changes: object) -> AgentState:
        """Write the document without an arrow."""
        return self.advance(self._state.state, **changes)

    def count_refusal(self, reason: Reason) -> None:
        """Remember that something was refused, for the summary a trusted server gets later."""
        self._refusals[reason.value] += 1

    def refusals(self) -> dict[str, int]:
        """Refusals by reason since the last summary, those not written yet too."""
        return dict(self._refusals)

    def forget_refusals(self) -> None:
        """The summary was taken; written with the next arrow."""
        self._refusals.clear()
