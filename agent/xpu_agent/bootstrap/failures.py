# SPDX-License-Identifier: Apache-2.0
"""What went wrong in one attempt, and the one outcome it adds up to (see `errors`)."""

from xpu_agent.errors import EXIT_PRECEDENCE, ExitCode, Reason, exit_code
from xpu_agent.ports import Outcome, OutcomeKind

# Reasons that only say that a source had nothing; anything else of their class says more.
_NOTHING_SAID = frozenset({Reason.NO_SOURCE, Reason.NO_LINK, Reason.NO_ADDRESS})

_KINDS: dict[ExitCode, OutcomeKind] = {
    ExitCode.NOTHING_REACHABLE: OutcomeKind.NOTHING_FOUND,
    ExitCode.NOTHING_TRUSTED: OutcomeKind.REFUSED,
    ExitCode.IDENTITY: OutcomeKind.REFUSED,
    ExitCode.STOPPED: OutcomeKind.STOPPED,
}


class Failures:
    """Collects the failures of an attempt in the order they happen."""

    def __init__(self) -> None:
        self._records: list[tuple[Reason, str]] = []
        self._identity_taken = False

    def record(self, reason: Reason, message: str) -> None:
        """One more."""
        self._records.append((reason, message))

    def identity_taken(self) -> None:
        """A server let us in: a refusal elsewhere is that server's, not our identity's."""
        self._identity_taken = True

    @property
    def last_reason(self) -> Reason | None:
        """The reason recorded last, None where there is none."""
        return self._records[-1][0] if self._records else None

    def outcome(self) -> Outcome:
        """The failure that decides how the attempt ended.

        Of several, the class that comes first in `EXIT_PRECEDENCE`; in it the last one, which
        got farthest. An identity problem counts only if no server took the identity.
        """
        records = [
            record
            for record in self._records
            if not (self._identity_taken and exit_code(record[0]) is ExitCode.IDENTITY)
        ]
        for code in EXIT_PRECEDENCE:
            earned = [record for record in records if exit_code(record[0]) is code]
            telling = [record for record in earned if record[0] not in _NOTHING_SAID]
            if earned:
                reason, message = (telling or earned)[-1]
                return failed(reason, message)
        return failed(Reason.NO_SOURCE, "no source offered bootstrapping data")


def failed(reason: Reason, message: str) -> Outcome:
    """The outcome a failure for `reason` alone means."""
    return Outcome(_KINDS.get(exit_code(reason), OutcomeKind.FAILED), reason, message)


def outcome_exit_code(outcome: Outcome) -> ExitCode:
    """The exit status of a run that ended so."""
    match outcome.kind:
        case OutcomeKind.COMPLETED | OutcomeKind.NOTHING_TO_DO:
            return ExitCode.OK
        case OutcomeKind.REBOOTING:
            return ExitCode.REBOOT
        case _:
            return exit_code(outcome.reason) if outcome.reason else ExitCode.INTERNAL
