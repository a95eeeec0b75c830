# SPDX-License-Identifier: Apache-2.0
"""What a server does wrong on purpose: a fault is a value, and several go together.

A `FaultRule` says which faults, on which paths, and how often; a `FaultPlan` is the rules of one
server with their counters. Connection faults act before a request is read and therefore know no
path; the others act on the answer. `ResetAfter` and `TruncatedBody` count octets of the body.
"""

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import TypeAlias


class BodyKind(StrEnum):
    """What stands in the body of a `StatusCode` fault."""

    EMPTY = "empty"
    TEXT = "text"
    HTML = "html"
    RESTCONF = "restconf-errors"  # {"ietf-restconf:errors": {"error": [...]}}
    RESTCONF_UNQUALIFIED = "errors"  # the same without the module name, as some servers do
    RESTCONF_BARE = "error"  # {"error": [...]} alone


class WrongCertificateKind(StrEnum):
    """Which wrong certificate is presented."""

    OTHER_NAME = "other-name"
    OTHER_CA = "other-ca"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Delay:
    """Wait before the answer."""

    seconds: float


@dataclass(frozen=True, slots=True)
class CloseBeforeAnswer:
    """Read the request, then close the connection without an octet."""


@dataclass(frozen=True, slots=True)
class ResetAfter:
    """Reset the connection (RST) once so many octets of the body arrived at the peer's host."""

    octets: int


@dataclass(frozen=True, slots=True)
class TruncatedBody:
    """Close the connection in good order after so many octets of a longer announced body."""

    octets: int


@dataclass(frozen=True, slots=True)
class WrongContentLength:
    """Announce so many octets more (or fewer) than are sent, then close."""

    difference: int


@dataclass(frozen=True, slots=True)
class StatusCode:
    """Answer with this status instead of the real answer."""

    code: int
    body: BodyKind = BodyKind.EMPTY
    error_tag: str = "operation-failed"
    retry_after: int | None = None


@dataclass(frozen=True, slots=True)
class HttpRedirect:
    """Answer with a 3xx to a location."""

    location: str
    code: int = 307


@dataclass(frozen=True, slots=True)
class Slow:
    """Send head and body at so many octets a second."""

    octets_per_second: int


@dataclass(frozen=True, slots=True)
class HugeHeaders:
    """Add header lines of so many octets to the answer."""

    octets: int


@dataclass(frozen=True, slots=True)
class HugeBody:
    """Answer 200 with a body of so many octets of white space, rightly announced."""

    octets: int


@dataclass(frozen=True, slots=True)
class CloseOnConnect:
    """Close the connection as soon as it is accepted."""


@dataclass(frozen=True, slots=True)
class PlainHttp:
    """Speak HTTP without TLS on the TLS port."""


@dataclass(frozen=True, slots=True)
class WrongCertificate:
    """Present a certificate that the client must not trust."""

    kind: WrongCertificateKind


AnswerFault: TypeAlias = (
    Delay
    | CloseBeforeAnswer
    | ResetAfter
    | TruncatedBody
    | WrongContentLength
    | StatusCode
    | HttpRedirect
    | Slow
    | HugeHeaders
    | HugeBody
)
ConnectionFault: TypeAlias = CloseOnConnect | PlainHttp | WrongCertificate
Fault: TypeAlias = AnswerFault | ConnectionFault

# The names faults have in scenario files.
FAULTS: dict[str, type[Fault]] = {
    "delay": Delay,
    "close-before-answer": CloseBeforeAnswer,
    "reset": ResetAfter,
    "truncated-body": TruncatedBody,
    "wrong-content-length": WrongContentLength,
    "status": StatusCode,
    "http-redirect": HttpRedirect,
    "slow": Slow,
    "huge-headers": HugeHeaders,
    "huge-body": HugeBody,
    "close-on-connect": CloseOnConnect,
    "plain-http": PlainHttp,
    "wrong-certificate": WrongCertificate,
}


def _is_connection_fault(fault: Fault) -> bool:
    return isinstance(fault, CloseOnConnect | PlainHttp | WrongCertificate)


@dataclass(frozen=True, slots=True)
class FaultRule:
    """Faults with their occasion.

    `first` bounds how many connections or requests are hit (None: all), after `skip` were let
    pass; `path` is a shell pattern on the request's path, without query. A rule has either
    connection faults, then no path, or answer faults.
    """

    faults: tuple[Fault, ...]
    first: int | None = None
    skip: int = 0
    path: str | None = None

    def __post_init__(self) -> None:
        kinds = {_is_connection_fault(fault) for fault in self.faults}
        if len(kinds) != 1:
            raise ValueError("a rule has connection faults or answer faults, at least one")
        if self.at_connection and self.path is not None:
            raise ValueError("a connection fault acts before there is a path")

    @property
    def at_connection(self) -> bool:
        """Whether this acts before a request is read."""
        return _is_connection_fault(self.faults[0])


class FaultPlan:
    """The rules of one server; may be changed while it runs."""

    def __init__(self, rules: Iterable[FaultRule] = ()) -> None:
        self._lock = threading.Lock()
        self._rules: list[FaultRule] = []
        self._seen: list[int] = []
        for rule in rules:
            self.add(rule)

    def add(self, rule: FaultRule | Fault) -> None:
        """Add a rule, or a fault that always acts."""
        with self._lock:
            self._rules.append(rule if isinstance(rule, FaultRule) else FaultRule((rule,)))
            self._seen.append(0)

    def clear(self) -> None:
        """Be well again."""
        with self._lock:
            self._rules.clear()
            self._seen.clear()

    def for_connection(self) -> tuple[ConnectionFault, ...]:
        """The faults of the connection just accepted; counts it."""
        return tuple(
            fault
            for fault in self._take(None)
            if isinstance(fault, CloseOnConnect | PlainHttp | WrongCertificate)
        )

    def for_request(self, path: str) -> tuple[AnswerFault, ...]:
        """The faults of the answer to a request for `path`; counts it."""
        return tuple(
            fault
            for fault in self._take(path)
            if not isinstance(fault, CloseOnConnect | PlainHttp | WrongCertificate)
        )

    def _take(self, path: str | None) -> list[Fault]:
        taken: list[Fault] = []
        with self._lock:
            for index, rule in enumerate(self._rules):
                if rule.at_connection != (path is None):
                    continue
                if path is not None and not fnmatchcase(path, rule.path or "*"):
                    continue
                seen = self._seen[index]
                self._seen[index] += 1
                if seen >= rule.skip and (rule.first is None or seen < rule.skip + rule.first):
                    taken.extend(rule.faults)
        return taken
