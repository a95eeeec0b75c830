# SPDX-License-Identifier: Apache-2.0
"""The pre-configured list of bootstrap servers (RFC 8572, 4.4 and 5.1).

The only source whose servers can be trusted from the start: they are authenticated by the
anchors configured for them. One that doesn't validate is still asked, provisionally (5.3).
"""

from collections.abc import Iterator, Sequence

from xpu_agent.artifacts.certificate import parse_certificate
from xpu_agent.device import DeviceFacts
from xpu_agent.errors import Reason, SourceUnavailableError
from xpu_agent.ports import FoundServers, Need
from xpu_agent.trust.state import preconfigured_hop

DEFAULT_PORT = 443


class BootstrapServers:
    """Servers as (host, port) in the order to try them; port None is 443.

    `anchors` (DER) stand in for the device's server anchors where one server is named by hand;
    an empty tuple makes the connection provisional, None takes the device's own.
    """

    name = "bootstrap-servers"
    needs: frozenset[Need] = frozenset({Need.NETWORK})

    def __init__(
        self,
        servers: Sequence[tuple[str, int | None]],
        *,
        anchors: Sequence[bytes] | None = None,
    ) -> None:
        self._servers = tuple(servers)
        self._anchors = None if anchors is None else tuple(anchors)

    def load(self, facts: DeviceFacts) -> Iterator[FoundServers]:
        """One offer with the whole list."""
        if not self._servers:
            raise SourceUnavailableError(
                Reason.NO_SOURCE,
                "no bootstrap server is configured",
                next_action="set bootstrap-servers in the configuration",
            )
        octets = facts.server_anchors if self._anchors is None else self._anchors
        anchors = tuple(parse_certificate(anchor) for anchor in octets)
        yield FoundServers(
            "the pre-configured list",
            tuple(
                preconfigured_hop(host, DEFAULT_PORT if port is None else port, anchors)
                for host, port in self._servers
            ),
        )
