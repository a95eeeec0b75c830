# SPDX-License-Identifier: Apache-2.0
"""An owner and a manufacturer who make artifacts for the device of `fakes.World`."""

import functools
from datetime import timedelta
from typing import Any

from tests.fakes import NOW, World

from xpu_agent.artifacts.bundle import Artifacts
from xpu_agent.artifacts.certificate import Certificate, parse_certificate
from xpu_emulator import artifacts as made
from xpu_emulator.pki import Identity, make_root

_BEFORE = NOW - timedelta(days=30)
_AFTER = NOW + timedelta(days=3650)


class Owner:
    """Keys and certificates around one device: who made it, who owns it, who serves it."""

    def __init__(self) -> None:
        self.manufacturer = _root("Manufacturer")
        self.voucher_signer = _leaf(self.manufacturer, "Voucher Signer")
        self.idevid = _leaf(self.manufacturer, "Device", subject_serial="SN1")
        self.owner_root = _root("Owner")
        self.owner = _leaf(self.owner_root, "Owner Certificate")
        self.servers = _root("Bootstrap Servers")
        self.learned = _root("The Owner's Own Servers")

    def equip(self, world: World) -> World:
        """Give the device its identity and its anchors."""
        world.voucher_anchors = (self.manufacturer.der,)
        world.server_anchors = (self.servers.der,)
        world.idevid_chain = (self.idevid.der,)
        return world

    def server_anchor(self) -> Certificate:
        """The anchor of the pre-configured servers."""
        return parse_certificate(self.servers.der)

    def unsigned(self, document: dict[str, Any]) -> Artifacts:
        """Conveyed information nobody signed."""
        octets = made.conveyed_json(document)
        return Artifacts(made.plain(octets, made.ContentType.CONVEYED_JSON))

    def signed(
        self,
        document: dict[str, Any],
        *,
        serial: str = "SN1",
        nonce: bytes | None = None,
        expired: bool = False,
        signer: Identity | None = None,
    ) -> Artifacts:
        """Signed data: conveyed information, owner certificate and voucher."""
        ends = NOW + timedelta(days=-1 if expired else 30)
        voucher = made.voucher_document(
            serial,
            self.owner_root,
            NOW - timedelta(days=2),
            None if nonce is not None else ends,
            nonce=nonce,
        )
        return Artifacts(
            made.signed(
                made.conveyed_json(document),
                made.ContentType.CONVEYED_JSON,
                signer or self.owner,
            ),
            made.owner_certificate(self.owner),
            made.voucher(voucher, self.voucher_signer),
        )

    def redirect(self, *servers: dict[str, Any]) -> dict[str, Any]:
        """A redirect document."""
        return made.redirect_document(servers)

    def entry(
        self, address: str, port: int = 443, anchor: Identity | None = None
    ) -> dict[str, Any]:
        """One server of a redirect document."""
        chain = None if anchor is None else made.certificates_only([anchor])
        return made.bootstrap_server(address, port, chain)


def encrypted(artifacts: Artifacts, recipient: Identity) -> Artifacts:
    """The same artifacts, the conveyed information in an envelope."""
    return Artifacts(
        made.enveloped(artifacts.conveyed_information, recipients=[recipient]),
        artifacts.owner_certificate,
        artifacts.ownership_voucher,
    )


def onboarding_document(**parts: Any) -> dict[str, Any]:
    """See `xpu_emulator.artifacts.onboarding_document`."""
    return made.onboarding_document(**parts)


@functools.cache
def owner() -> Owner:
    """One for all tests: keys take time."""
    return Owner()


def _root(name: str) -> Identity:
    return make_root(name, not_before=_BEFORE, not_after=_AFTER)


def _leaf(issuer: Identity, name: str, **options: Any) -> Identity:
    return issuer.issue(name, not_before=_BEFORE, not_after=_AFTER, **options)
