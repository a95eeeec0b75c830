# SPDX-License-Identifier: Apache-2.0
"""X.509 paths to given anchors at a given time (RFC 5280, 6.1), without I/O and without a clock.

The search goes from the certificate upwards. It takes an issuer for one only if the names chain
*and* its key made the signature; two issuers of one name are told apart by that and by nothing
else. What was found of an edge is remembered, steps and public key operations have a budget, so a
bag of certificates made to be searched for ever is refused early.

1. Every certificate below the anchor: signature, dates (accurate clock only), no critical
   extension that is not understood.
2. Every issuer: cA, keyCertSign where keyUsage is there, path length, name constraints.
3. The anchor is trusted because it was given, not because of a signature or of its dates, unless
   it is the very certificate in question. Its constraints bind all the same.

An anchor may be a root, an intermediate, or the end entity itself.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from xpu_agent import limits
from xpu_agent.artifacts.certificate import Certificate
from xpu_agent.device import ClockReading
from xpu_agent.errors import TrustError
from xpu_agent.trust import names
from xpu_agent.trust.signature import Budget, BudgetSpentError, verify_signature

# Processed here, or without effect where no policy is asked for (6.1.1: any-policy, and neither
# an explicit policy nor a mapping is demanded from outside). A critical policyConstraints can
# demand one, so it is not among them.
_UNDERSTOOD: Final = frozenset(
    {
        "2.5.29.14",  # subjectKeyIdentifier
        "2.5.29.15",  # keyUsage
        "2.5.29.17",  # subjectAltName
        "2.5.29.19",  # basicConstraints
        "2.5.29.30",  # nameConstraints
        "2.5.29.32",  # certificatePolicies
        "2.5.29.33",  # policyMappings
        "2.5.29.35",  # authorityKeyIdentifier
        "2.5.29.37",  # extKeyUsage: no purpose is asked for (AMB-22)
        "2.5.29.54",  # inhibitAnyPolicy
    }
)


class PathFault(Enum):
    """Why there is no path; the first listed says most."""

    EXPIRED = "expired"
    NOT_YET_VALID = "not yet valid"
    UNTRUSTED = "untrusted"


class PathError(Exception):
    """No path; `fault` says why, the text says it for people. Never leaves `trust`."""

    def __init__(self, fault: PathFault, message: str) -> None:
        super().__init__(message)
        self.fault = fault
        self.message = message


@dataclass(frozen=True, slots=True)
class ValidatedPath:
    """Certificates from the one in question up to the anchor; only `find_path` makes one."""

    certificates: tuple[Certificate, ...]

    @property
    def anchor(self) -> Certificate:
        """The anchor it leads to."""
        return self.certificates[-1]

    @property
    def issuers(self) -> tuple[Certificate, ...]:
        """Those above the certificate in question, the anchor last; empty if it is the anchor."""
        return self.certificates[1:]


def find_path(
    certificate: Certificate,
    *,
    anchors: Sequence[Certificate],
    intermediates: Sequence[Certificate],
    clock: ClockReading,
    budget: Budget,
    barred: Certificate | None = None,
    judge_anchor_dates: bool = False,
) -> ValidatedPath:
    """The first valid path found.

    `barred`: a certificate whose issuer must not be on the path, unless as its anchor (AMB-29).
    `judge_anchor_dates`: the anchor was conveyed, so its dates count like the others'.

    Raises:
        PathError: there is none.
        BudgetSpentError: the search was given up.
    """
    search = _Search(anchors, intermediates, clock, budget, barred, judge_anchor_dates)
    for chain in search.chains((certificate,)):
        fault = search.fault(chain)
        if fault is None:
            return ValidatedPath(chain)
        search.remember(fault)
    raise search.error()


def issued_by(certificate: Certificate, issuer: Certificate, budget: Budget) -> bool:
    """Whether the names chain and `issuer`'s key signed `certificate`; remembered in the budget."""
    if not names.same_name(certificate.issuer, issuer.subject):
        return False
    return _signed_by(certificate, issuer, budget)


def dates_fault(certificate: Certificate, clock: ClockReading) -> PathError | None:
    """What is wrong with the dates by an accurate clock; nothing is by another (RFC 8572, 9.1)."""
    if not clock.accurate:
        return None
    who = certificate.subject_text or "a certificate without subject"
    if clock.utc > certificate.not_after:
        return PathError(PathFault.EXPIRED, f"{who} expired at {certificate.not_after:%F %TZ}")
    if clock.utc < certificate.not_before:
        return PathError(
            PathFault.NOT_YET_VALID, f"{who} is not valid before {certificate.not_before:%F %TZ}"
        )
    return None


def may_issue(certificate: Certificate) -> str | None:
    """Why a certificate can't be an issuer (6.1.4 k-n), None if it can."""
    who = certificate.subject_text or "a certificate without subject"
    constraints = certificate.basic_constraints
    if constraints is None or not constraints.is_ca:
        return f"{who} is no CA"
    if certificate.key_usage is not None and "key_cert_sign" not in certificate.key_usage:
        return f"{who} may not sign certificates"
    return None


def _signed_by(certificate: Certificate, issuer: Certificate, budget: Budget) -> bool:
    edge = (certificate.der, issuer.public_key)
    known = budget.edges.get(edge)
    if known is not None:
        return known
    try:
        verify_signature(
            issuer.public_key,
            certificate.signature_algorithm,
            certificate.tbs,
            certificate.signature,
            budget=budget,
        )
    except BudgetSpentError:
        raise
    except TrustError:
        budget.edges[edge] = False
    else:
        budget.edges[edge] = True
    return budget.edges[edge]


@dataclass(slots=True)
class _Search:
    anchors: Sequence[Certificate]
    intermediates: Sequence[Certificate]
    clock: ClockReading
    budget: Budget
    barred: Certificate | None
    judge_anchor_dates: bool
    _faults: list[PathError] | None = None

    def chains(self, below: tuple[Certificate, ...]) -> Iterator[tuple[Certificate, ...]]:
        """Every chain of signatures from `below` to an anchor, shortest way to one first."""
        self.budget.spend_step()
        last = below[-1]
        if any(last.der == anchor.der for anchor in self.anchors):
            yield below
            return
        if len(below) >= limits.PATH_DEPTH:
            return
        for candidate in self._candidates(last, below):
            if _signed_by(last, candidate, self.budget):
                yield from self.chains((*below, candidate))

    def _candidates(
        self, last: Certificate, below: tuple[Certificate, ...]
    ) -> Iterator[Certificate]:
        """Possible issuers: anchors first, then those the key identifier hints at."""
        used = {(each.subject, each.public_key) for each in below}
        seen: set[bytes] = set()
        hint = last.authority_key_identifier
        others = sorted(
            self.intermediates,
            key=lambda c: hint is not None and c.subject_key_identifier != hint,
        )
        for candidate in (*self.anchors, *others):
            if candidate.der in seen or not names.same_name(candidate.subject, last.issuer):
                continue
            # A name and key once in a chain add nothing the second time (no loops).
            if (candidate.subject, candidate.public_key) in used:
                continue
            seen.add(candidate.der)
            yield candidate

    def fault(self, chain: tuple[Certificate, ...]) -> PathError | None:
        """The first thing wrong with a chain whose signatures hold, from the anchor down."""
        dated = chain if self.judge_anchor_dates or len(chain) == 1 else chain[:-1]
        # One after the other: names are compared only below issuers that are CAs, or a device's
        # key could make work of them.
        for problem in self._problems(chain):
            if problem is not None:
                return PathError(PathFault.UNTRUSTED, problem)
        return next((f for f in (dates_fault(c, self.clock) for c in dated) if f), None)

    def _problems(self, chain: tuple[Certificate, ...]) -> Iterator[str | None]:
        """What is wrong with a chain beside its dates, what costs most last."""
        yield from (_critical(c) for c in chain[:-1] or chain)
        yield from (may_issue(c) for c in chain[1:])
        yield self._barred(chain)
        yield from (self._constrained(chain, i) for i in range(1, len(chain)))

    def _barred(self, chain: tuple[Certificate, ...]) -> str | None:
        """AMB-29: device keys of the same CA must not sign vouchers."""
        if self.barred is None:
            return None
        for issuer in chain[1:-1]:
            # By name: no device's certificate leads anywhere else, and the CA's other keys count.
            if names.same_name(self.barred.issuer, issuer.subject):
                who = issuer.subject_text or "an intermediate"
                return f"{who} issues device identities and may not vouch for owners"
        return None

    def _constrained(self, chain: tuple[Certificate, ...], position: int) -> str | None:
        """Path length and name constraints of the issuer at `position`, for all below it."""
        issuer = chain[position]
        who = issuer.subject_text or "an issuer"
        constraints = issuer.basic_constraints
        if constraints is not None and constraints.path_length is not None:
            between = sum(1 for c in chain[1:position] if not _self_issued(c))
            if between > constraints.path_length:
                return f"the path below {who} is longer than it allows"
        if issuer.name_constraints is not None:
            for index, below in enumerate(chain[:position]):
                if index > 0 and _self_issued(below):
                    continue  # 6.1.3: key roll-over certificates are not constrained
                self.budget.spend_step()  # many names times many constraints take their time
                problem = names.violation(below, issuer.name_constraints, self.budget)
                if problem is not None:
                    return f"name constraints of {who}: {problem}"
        return None

    def remember(self, fault: PathError) -> None:
        """Keep a fault for the case that no chain is valid."""
        self._faults = [*(self._faults or []), fault]

    def error(self) -> PathError:
        """The fault that says most of all that were found."""
        for kind in PathFault:
            for fault in self._faults or ():
                if fault.fault is kind:
                    return fault
        return PathError(PathFault.UNTRUSTED, "no path leads to a trust anchor")


def _self_issued(certificate: Certificate) -> bool:
    return names.same_name(certificate.subject, certificate.issuer)


def _critical(certificate: Certificate) -> str | None:
    for extension in certificate.extensions:
        if extension.critical and extension.oid not in _UNDERSTOOD:
            who = certificate.subject_text or "a certificate without subject"
            return f"{who} has the critical extension {extension.oid}, which is not understood"
    return None
