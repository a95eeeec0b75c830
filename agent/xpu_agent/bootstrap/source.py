# SPDX-License-Identifier: Apache-2.0
"""One top-level source to its end (RFC 8572, 5.3 and 5.5).

- Offers, servers and addresses are tried in the order they come. Each address of a name gets its
  turn until one of them yields data; then that data is processed and the other addresses are
  left alone, whatever comes of it. What follows is the next *server*.
- A hop knows how it may be connected to; each server has a trust state of its own, from its
  connection. A pre-configured server whose certificate does not validate is asked provisionally,
  after all its addresses had the chance to validate.
- Unusable or failed data sends us to the enclosing loop: one bad server never shuts out the rest
  (AMB-28). Bounds on depth, servers and time make sure that a hostile source can't either.
- A nonce is fresh for each request and remembered for this source alone.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, assert_never

from xpu_agent import limits
from xpu_agent.artifacts.bundle import Artifacts
from xpu_agent.artifacts.rpc import BootstrappingRequest
from xpu_agent.bootstrap.failures import Failures
from xpu_agent.bootstrap.judging import judge_artifacts, judged_event
from xpu_agent.device import DeviceFacts
from xpu_agent.errors import (
    ExitCode,
    MalformedError,
    Reason,
    ServerCertificateError,
    StateError,
    StoppedError,
    UndoError,
    XpuAgentError,
    exit_code,
)
from xpu_agent.onboarding.settle import port_stage
from xpu_agent.onboarding.stage import Reporter, RunningStage
from xpu_agent.ports import (
    Address,
    FoundArtifacts,
    FoundServers,
    Offer,
    Outcome,
    Ports,
    ProvisionalServer,
    RedirectFollowed,
    ServerContacted,
    Source,
    SourceTried,
    TrustedServer,
)
from xpu_agent.progress import ReportingLevel, Stage
from xpu_agent.trust.signed_data import (
    Refusal,
    TrustedOnboarding,
    TrustedRedirect,
    UntrustedRedirect,
)
from xpu_agent.trust.state import (
    Hop,
    ProvisionalHop,
    TrustedHop,
    TrustState,
    bootstrapping_request,
    redirect_hops,
)

# What ends the attempt as a whole; everything else only ends the server it came from.
_FATAL = (UndoError, StateError, StoppedError)


class Handler(Protocol):
    """What is done with what a source brings: carried out by a run, shown by `plan`."""

    def onboard(
        self,
        onboarding: TrustedOnboarding,
        *,
        reporter: Reporter,
        medium: Path | None,
        source: str,
    ) -> Outcome:
        """Act on trusted information. Raises XpuAgentError where that fails."""
        ...

    def refuse(
        self, refusal: Refusal, artifacts: Artifacts | None, *, reporter: Reporter, origin: str
    ) -> None:
        """Data was received and isn't to be used; `artifacts` None where it was no output."""
        ...

    def count(self, reason: Reason) -> None:
        """Something was not to be believed, or did not believe us."""
        ...


@dataclass(frozen=True, slots=True)
class _Follow:
    """Redirect information to follow once the connection it came by is closed."""

    hops: tuple[Hop, ...]
    trusted: bool


@dataclass(frozen=True, slots=True)
class _Visit:
    """What came of asking one address: whether it yielded data, and the end if it was one."""

    obtained: bool
    outcome: Outcome | None = None


_UNHEARD = _Visit(obtained=False)


class SourceWalk:
    """One pass over one top-level source; a new one for each, so that nothing is carried over.

    `deadline` is the attempt's, on the monotonic clock.
    """

    def __init__(
        self,
        ports: Ports,
        facts: DeviceFacts,
        handler: Handler,
        failures: Failures,
        deadline: float,
    ) -> None:
        self._ports = ports
        self._facts = facts
        self._handler = handler
        self._failures = failures
        own = ports.clock.monotonic() + ports.settings.source_seconds
        self._deadline = min(own, deadline)
        self._nonces: list[bytes] = []
        self._contacted = 0
        self._spent = False
        self._silent = Reporter.silent(ports.events)
        self._source = ""
        self._origin = ""

    def run(self, source: Source) -> Outcome | None:
        """Process the source to its end: an outcome where it bootstrapped us, else None.

        Raises:
            UndoError, StateError, StoppedError: nothing else may be tried now.
        """
        self._source = source.name
        self._ports.events.emit(SourceTried(source.name, self._origin))
        try:
            with self._stage(Stage.DISCOVER, source.name):
                offers = iter(source.load(self._facts))
                offer = next(offers, None)
        except _FATAL:
            raise
        except XpuAgentError as error:
            self._fail(error)
            return None
        while offer is not None and not self._over():
            outcome = self._take(offer)
            if outcome is not None:
                return outcome
            try:
                offer = next(offers, None)
            except _FATAL:
                raise
            except XpuAgentError as error:
                self._fail(error)
                return None
        return None

    def _take(self, offer: Offer) -> Outcome | None:
        """One offer. Media, DNS and DHCP are never trusted; what a hop is, its maker knew."""
        self._origin = offer.origin
        self._ports.events.emit(SourceTried(self._source, offer.origin))
        match offer:
            case FoundArtifacts():
                return self._conclude(
                    self._process(
                        offer.artifacts, TrustState.FALSE, self._silent, offer.origin, offer.medium
                    ),
                    depth=0,
                )
            case FoundServers():
                return self._visit_each(offer.hops, depth=0)
            case _:
                assert_never(offer)

    # --- servers -----------------------------------------------------------------------------

    def _visit_each(self, hops: Sequence[Hop], depth: int) -> Outcome | None:
        """The servers in list order until one bootstraps us (5.5)."""
        for hop in hops:
            if self._over():
                return None
            outcome = self._visit(hop, depth)
            if outcome is not None:
                return outcome
        return None

    def _visit(self, hop: Hop, depth: int) -> Outcome | None:
        """One server, by each of its addresses until one yields data (5.5)."""
        if self._contacted >= limits.SERVERS_PER_SOURCE:
            self._exhausted(
                Reason.TOO_MANY_SERVERS,
                f"more than {limits.SERVERS_PER_SOURCE} servers from one source",
            )
            return None
        self._contacted += 1
        try:
            addresses = self._ports.connector.addresses(hop)
        except _FATAL:
            raise
        except XpuAgentError as error:
            self._fail(error)
            return None
        match hop:
            case ProvisionalHop():
                return self._ask_each_provisionally(hop, addresses, depth)
            case TrustedHop():
                return self._ask_each(hop, addresses, depth)
            case _:
                assert_never(hop)

    def _ask_each(
        self, hop: TrustedHop, addresses: Sequence[Address], depth: int
    ) -> Outcome | None:
        """The addresses by validated connections, then by provisional ones where allowed."""
        unproven: list[Address] = []
        unproven_error: ServerCertificateError | None = None
        for address in addresses:
            if self._over():
                return None
            try:
                visit = self._ask_trusted(hop, address, depth)
            except ServerCertificateError as error:
                self._fail(error)
                unproven.append(address)
                unproven_error = error
                continue
            if visit.obtained:
                return visit.outcome
        if hop.fallback is None or unproven_error is None:
            return None
        outcome = self._ask_each_provisionally(hop.fallback, unproven, depth)
        if outcome is None and self._failures.last_reason is Reason.UNSIGNED_NOT_ALLOWED:
            # Unsigned data would have done, had the certificate been good: that is the cause.
            self._failures.record(unproven_error.reason, unproven_error.message)
        return outcome

    def _ask_each_provisionally(
        self, hop: ProvisionalHop, addresses: Sequence[Address], depth: int
    ) -> Outcome | None:
        """The addresses by connections that prove nothing."""
        for address in addresses:
            if self._over():
                return None
            visit = self._ask_provisional(hop, address, depth)
            if visit.obtained:
                return visit.outcome
        return None

    def _ask_trusted(self, hop: TrustedHop, address: Address, depth: int) -> _Visit:
        """Validate, ask, process. Raises ServerCertificateError where validation fails."""
        origin = _authority(hop)
        server: TrustedServer | None = None
        try:
            try:
                with self._stage(Stage.CONTACT, _detail(hop, address)):
                    server = self._ports.connector.connect(hop, address, self._ports.clock.read())
                    self._contact(hop, address, depth, trusted=True)
                    response = server.get_bootstrapping_data(self._request(TrustState.TRUE))
            except (ServerCertificateError, *_FATAL):
                raise
            except MalformedError as error:
                self._failures.identity_taken()
                # No data was obtained, but the server is one that may be told so.
                reporter = Reporter(self._ports.events, server, ReportingLevel.MINIMAL)
                self._refuse(Refusal(error.reason, error.message), None, reporter, origin)
                return _UNHEARD
            except XpuAgentError as error:
                self._fail(error)
                return _UNHEARD
            self._failures.identity_taken()
            reporter = Reporter(self._ports.events, server, response.reporting_level)
            result = self._process(response.artifacts, TrustState.TRUE, reporter, origin, None)
        finally:
            if server is not None:
                server.close()
        return _Visit(obtained=True, outcome=self._conclude(result, depth))

    def _ask_provisional(self, hop: ProvisionalHop, address: Address, depth: int) -> _Visit:
        """Ask a server that proved nothing; nobody there is told anything."""
        origin = _authority(hop)
        server: ProvisionalServer | None = None
        try:
            try:
                with self._stage(Stage.CONTACT, _detail(hop, address)):
                    server = self._ports.connector.connect_provisionally(hop, address)
                    self._contact(hop, address, depth, trusted=False)
                    response = server.get_bootstrapping_data(self._request(TrustState.FALSE))
            except _FATAL:
                raise
            except MalformedError as error:
                self._failures.identity_taken()
                self._refuse(Refusal(error.reason, error.message), None, self._silent, origin)
                return _UNHEARD
            except XpuAgentError as error:
                self._fail(error)
                return _UNHEARD
            self._failures.identity_taken()
            result = self._process(response.artifacts, TrustState.FALSE, self._silent, origin, None)
        finally:
            if server is not None:
                server.close()
        return _Visit(obtained=True, outcome=self._conclude(result, depth))

    # --- data --------------------------------------------------------------------------------

    def _process(
        self,
        artifacts: Artifacts,
        trust: TrustState,
        reporter: Reporter,
        origin: str,
        medium: Path | None,
    ) -> Outcome | _Follow | None:
        """Judge what was received, then act on it, follow it or refuse it (5.3)."""
        try:
            judgement = judge_artifacts(
                artifacts,
                trust=trust,
                facts=self._facts,
                clock=self._ports.clock.read(),
                nonces=self._nonces,
                keys=self._ports.keys,
            )
        except _FATAL:
            raise
        except XpuAgentError as error:
            self._fail(error)
            return None
        self._ports.events.emit(judged_event(judgement))
        if judgement.refusal is not None:
            self._refuse(judgement.refusal, artifacts, reporter, origin)
            return None
        match judgement.verdict:
            case TrustedOnboarding() as onboarding:
                return self._onboard(onboarding, reporter, medium)
            case TrustedRedirect() as redirect:
                return self._redirect(redirect, trusted=True)
            case UntrustedRedirect() as redirect:
                return self._redirect(redirect, trusted=False)
            case None:
                raise RuntimeError("a judgement has a verdict or a refusal")
            case _:
                assert_never(judgement.verdict)

    def _onboard(
        self, onboarding: TrustedOnboarding, reporter: Reporter, medium: Path | None
    ) -> Outcome | None:
        """Act; a failure sends us to the enclosing loop, undone (5.6)."""
        try:
            return self._handler.onboard(
                onboarding, reporter=reporter, medium=medium, source=self._source
            )
        except _FATAL:
            raise
        except XpuAgentError as error:
            self._fail(error)
            return None

    def _redirect(self, redirect: TrustedRedirect | UntrustedRedirect, *, trusted: bool) -> _Follow:
        """Redirect information: hops of the right kind, warnings for the log alone (7.3)."""
        with self._stage(Stage.PARSING) as parsing:
            for warning in redirect.evidence.warnings:
                parsing.warn(warning)
            hops = redirect_hops(redirect.information, trusted=trusted)
            left_out = len(redirect.information.servers) - len(hops)
            if left_out:
                parsing.warn(f"{left_out} servers without a usable trust anchor left out")
        return _Follow(hops, trusted)

    def _conclude(self, result: Outcome | _Follow | None, depth: int) -> Outcome | None:
        """Follow a redirect, now that the connection it came by is closed."""
        if not isinstance(result, _Follow):
            return result
        if depth >= limits.REDIRECT_DEPTH:
            self._record(
                Reason.REDIRECT_DEPTH, f"more than {limits.REDIRECT_DEPTH} redirects in a row"
            )
            return None
        if not result.hops:
            self._record(Reason.MALFORMED, "redirect information without a usable server")
            return None
        self._ports.events.emit(RedirectFollowed(len(result.hops), result.trusted, depth + 1))
        return self._visit_each(result.hops, depth + 1)

    # --- bookkeeping -------------------------------------------------------------------------

    def _request(self, trust: TrustState) -> BootstrappingRequest:
        """A request with a fresh nonce, remembered before it is sent."""
        nonce = self._ports.nonce()
        self._nonces.append(nonce)
        return bootstrapping_request(trust, self._facts, nonce)

    def _refuse(
        self, refusal: Refusal, artifacts: Artifacts | None, reporter: Reporter, origin: str
    ) -> None:
        """Data that is not to be used."""
        self._handler.refuse(refusal, artifacts, reporter=reporter, origin=origin)
        self._record(refusal.reason, refusal.message)

    def _fail(self, error: XpuAgentError) -> None:
        """Something did not work; the enclosing loop goes on."""
        if error.reason is Reason.HTTP_ERROR:
            # HTTP came back, so TLS with our certificate stood.
            self._failures.identity_taken()
        self._record(error.reason, error.message)

    def _record(self, reason: Reason, message: str) -> None:
        if exit_code(reason) in (ExitCode.NOTHING_TRUSTED, ExitCode.IDENTITY):
            self._handler.count(reason)
        self._failures.record(reason, message)
        self._ports.events.emit(SourceTried(self._source, self._origin, reason, message))

    def _over(self) -> bool:
        """Whether the source has had its share; notices a signal too."""
        self._ports.clock.check_stopped()
        if not self._spent and self._ports.clock.monotonic() >= self._deadline:
            self._exhausted(Reason.TIMEOUT, "the time for this source is over")
        return self._spent

    def _exhausted(self, reason: Reason, message: str) -> None:
        self._spent = True
        self._record(reason, message)

    def _contact(self, hop: Hop, address: Address, depth: int, *, trusted: bool) -> None:
        self._ports.events.emit(
            ServerContacted(hop.host, hop.port, address.ip, trusted=trusted, depth=depth)
        )

    def _stage(self, name: Stage, detail: str = "") -> AbstractContextManager[RunningStage]:
        """A stage nobody outside is told of."""
        return port_stage(self._ports, self._silent, name, detail)


def _authority(hop: Hop) -> str:
    """Host and port as in a URI."""
    host = f"[{hop.host}]" if ":" in hop.host else hop.host
    return f"{host}:{hop.port}"


def _detail(hop: Hop, address: Address) -> str:
    """Which server at which address."""
    return _authority(hop) if address.ip == hop.host else f"{_authority(hop)} at {address.ip}"
