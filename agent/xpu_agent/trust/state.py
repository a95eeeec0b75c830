# SPDX-License-Identifier: Apache-2.0
"""Trust-state and what each source, signature and redirect does to it (RFC 8572, 5.3 and 5.5).

The RFC's global variable is an immutable value here, passed down the recursion: each hop has its
own, so none can forget to reset it. Only this module makes hops.
"""

from dataclasses import dataclass
from enum import Enum

from xpu_agent.artifacts.certificate import Certificate
from xpu_agent.artifacts.conveyed_info import RedirectInformation
from xpu_agent.artifacts.rpc import BootstrappingRequest
from xpu_agent.device import DeviceFacts


class TrustState(Enum):
    """RFC 8572, 5.3. A source starts FALSE; only TLS to a known anchor makes a server TRUE."""

    FALSE = False
    TRUE = True


@dataclass(frozen=True, slots=True)
class ProvisionalHop:
    """A server whose certificate is accepted unverified; it gets no reports and no secrets."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class TrustedHop:
    """A server to be authenticated by one of `anchors`, and by its name.

    `fallback` is the provisional hop to take when it doesn't validate: only pre-configured
    servers have one; a server named by trusted redirect information is unusable then (5.5).
    """

    host: str
    port: int
    anchors: tuple[Certificate, ...]
    fallback: ProvisionalHop | None


Hop = TrustedHop | ProvisionalHop


def preconfigured_hop(host: str, port: int, anchors: tuple[Certificate, ...]) -> Hop:
    """A server of the pre-configured list (5.1); without anchors it is provisional."""
    raise NotImplementedError


def provisional_hop(host: str, port: int) -> ProvisionalHop:
    """A server named by an untrusted source: DHCP, DNS, untrusted redirect (5.5)."""
    raise NotImplementedError


def redirect_hops(information: RedirectInformation, *, trusted: bool) -> tuple[Hop, ...]:
    """The servers of redirect information, in order (5.5).

    Trusted with an anchor: a `TrustedHop` to that anchor alone, which is the last CA of the
    chain (AMB-25). Trusted without an anchor, and everything untrusted: provisional; anchors in
    untrusted redirect information are dropped here.

    An entry whose `trust-anchor` holds no usable single chain makes that entry unusable; it is
    left out, never weakened.
    """
    raise NotImplementedError


def bootstrapping_request(
    trust: TrustState, facts: DeviceFacts, nonce: bytes
) -> BootstrappingRequest:
    """What to tell a server (decision table: 5.3, 9.6): a provisional one learns the nonce only."""
    raise NotImplementedError
