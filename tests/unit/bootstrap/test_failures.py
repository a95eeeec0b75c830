# SPDX-License-Identifier: Apache-2.0
"""Several sources that fail differently add up to one exit status."""

import pytest

from xpu_agent.bootstrap.failures import Failures, failed, outcome_exit_code
from xpu_agent.errors import ExitCode, Reason
from xpu_agent.ports import Outcome, OutcomeKind

R = Reason


def outcome(*reasons: Reason, identity_taken: bool = False) -> Outcome:
    failures = Failures()
    for number, reason in enumerate(reasons):
        failures.record(reason, f"failure {number}")
    if identity_taken:
        failures.identity_taken()
    return failures.outcome()


@pytest.mark.parametrize(
    ("reasons", "code"),
    [
        ((), ExitCode.NOTHING_REACHABLE),
        ((R.NO_SOURCE, R.SERVER_UNREACHABLE), ExitCode.NOTHING_REACHABLE),
        ((R.SERVER_UNREACHABLE, R.VOUCHER_EXPIRED, R.TIMEOUT), ExitCode.NOTHING_TRUSTED),
        ((R.VOUCHER_EXPIRED, R.POST_SCRIPT_FAILED, R.NO_SOURCE), ExitCode.EXECUTION_FAILED),
        ((R.POST_SCRIPT_FAILED, R.CLIENT_CERT_REFUSED), ExitCode.IDENTITY),
        ((R.INITIAL_REPORT_FAILED, R.HTTP_ERROR), ExitCode.EXECUTION_FAILED),
    ],
)
def test_the_first_class_of_the_precedence_decides(
    reasons: tuple[Reason, ...], code: ExitCode
) -> None:
    assert outcome_exit_code(outcome(*reasons)) is code


def test_an_identity_some_server_took_is_no_identity_problem() -> None:
    assert outcome(R.CLIENT_CERT_REFUSED).reason is R.CLIENT_CERT_REFUSED
    taken = outcome(R.CLIENT_CERT_REFUSED, R.VOUCHER_EXPIRED, identity_taken=True)
    assert taken.reason is R.VOUCHER_EXPIRED


def test_within_a_class_the_last_decides_unless_it_says_nothing() -> None:
    assert outcome(R.VOUCHER_EXPIRED, R.SIGNATURE_INVALID).message == "failure 1"
    assert outcome(R.SERVER_UNREACHABLE, R.NO_SOURCE).reason is R.SERVER_UNREACHABLE


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        (R.NO_SOURCE, OutcomeKind.NOTHING_FOUND),
        (R.VOUCHER_EXPIRED, OutcomeKind.REFUSED),
        (R.IDEVID_MISSING, OutcomeKind.REFUSED),
        (R.CONFIG_INVALID, OutcomeKind.FAILED),
        (R.UNDO_FAILED, OutcomeKind.FAILED),
        (R.STATE_CORRUPT, OutcomeKind.FAILED),
        (R.STOPPED, OutcomeKind.STOPPED),
    ],
)
def test_kinds_of_failure(reason: Reason, kind: OutcomeKind) -> None:
    assert failed(reason, "why") == Outcome(kind, reason, "why")


def test_good_ends_have_their_exit_status() -> None:
    assert outcome_exit_code(Outcome(OutcomeKind.COMPLETED)) is ExitCode.OK
    assert outcome_exit_code(Outcome(OutcomeKind.NOTHING_TO_DO)) is ExitCode.OK
    assert outcome_exit_code(Outcome(OutcomeKind.REBOOTING)) is ExitCode.REBOOT
    assert outcome_exit_code(Outcome(OutcomeKind.GAVE_UP, R.NO_SOURCE)) == 10
    assert outcome_exit_code(Outcome(OutcomeKind.FAILED)) is ExitCode.INTERNAL
