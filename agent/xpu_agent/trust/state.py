# SPDX-License-Identifier: Apache-2.0
"""Trust-state and what each source, signature and redirect does to it (RFC 8572, 5.3 and 5.5).

The RFC's global variable is an immutable value here, passed down the recursion: each hop has its
own, so none can forget to reset it. Only this module makes hops.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final, assert_never

from xpu_agent.artifacts.certificate import Certificate
from xpu_agent.artifacts.cms import CertificateBag
from xpu_agent.artifacts.conveyed_info import RedirectInformation
from xpu_agent.artifacts.rpc import BootstrappingRequest
from xpu_agent.device import DeviceFacts
from xpu_agent.errors import TrustError
from xpu_agent.trust.path import issued_by, may_issue
from xpu_agent.trust.signature import Budget

_SHA1_SIGNATURES: Final = frozenset({"1.2.840.113549.1.1.5", "1.2.840.10045.4.1"})  # RSA, ECDSA


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
    if not anchors:
        return provisional_hop(host, port)
    return TrustedHop(host, port, anchors, fallback=provisional_hop(host, port))


def provisional_hop(host: str, port: int) -> ProvisionalHop:
    """A server named by an untrusted source: DHCP, DNS, untrusted redirect (5.5)."""
    return ProvisionalHop(host, port)


def redirect_hops(information: RedirectInformation, *, trusted: bool) -> tuple[Hop, ...]:
    """The servers of redirect information, in order (5.5).

    Trusted with an anchor: a `TrustedHop` to that anchor alone, which is the last CA of the
    chain (AMB-25). Trusted without an anchor, and everything untrusted: provisional; anchors in
    untrusted redirect information are dropped here.

    An entry whose `trust-anchor` holds no usable single chain makes that entry unusable; it is
    left out, never weakened.
    """
    hops: list[Hop] = []
    for server in information.servers:
        if not trusted or server.trust_anchor is None:
            hops.append(provisional_hop(server.address, server.port))
            continue
        anchor = chain_end(server.trust_anchor)
        if anchor is not None:
            hops.append(TrustedHop(server.address, server.port, (anchor,), fallback=None))
    return tuple(hops)


def chain_end(bag: CertificateBag) -> Certificate | None:
    """The last CA of the one chain in a `trust-anchor`: the root if it is alone (6.3, AMB-25).

    A SET OF has no order, so the chain is found by signatures: one self-signed root, then each
    the issuer of the next, all certificates used. None where there is no such chain.
    """
    budget = Budget()
    unique = tuple({certificate.der: certificate for certificate in bag.certificates}.values())
    try:
        roots = [c for c in unique if _is_root(c, budget)]
        if len(roots) != 1:
            return None
        end, rest = roots[0], [c for c in unique if c is not roots[0]]
        while rest:
            below = [c for c in rest if issued_by(c, end, budget)]
            if len(below) != 1:
                return None
            end = below[0]
            rest.remove(end)
    except TrustError:
        return None  # the budget: no honest chain is that long
    return end if may_issue(end) is None else None


def _is_root(certificate: Certificate, budget: Budget) -> bool:
    # An anchor's own signature proves nothing, so SHA-1 may stand in it (CMS-04).
    if certificate.signature_algorithm.oid in _SHA1_SIGNATURES:
        return certificate.self_issued
    return issued_by(certificate, certificate, budget)


def bootstrapping_request(
    trust: TrustState, facts: DeviceFacts, nonce: bytes
) -> BootstrappingRequest:
    """What to tell a server (decision table: 5.3, 9.6): a provisional one learns the nonce only."""
    match trust:
        case TrustState.TRUE:
            return BootstrappingRequest(
                signed_data_preferred=False,
                hw_model=facts.hw_model,
                os_name=facts.running.os_name,
                os_version=facts.running.os_version,
                nonce=nonce,
            )
        case TrustState.FALSE:
            return BootstrappingRequest(
                signed_data_preferred=True,
                hw_model=None,
                os_name=None,
                os_version=None,
                nonce=nonce,
            )
        case _:
            assert_never(trust)
