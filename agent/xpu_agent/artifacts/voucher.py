# SPDX-License-Identifier: Apache-2.0
"""Ownership vouchers (RFC 8366, 5; RFC 8572, 3.3): structure only."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from xpu_agent.artifacts.certificate import Certificate
from xpu_agent.artifacts.cms import SignedData
from xpu_agent.device import Assertion, Leniency


@dataclass(frozen=True, slots=True)
class UnverifiedVoucher:
    """A voucher as it claims to be; `signed_data` is what its signature will be checked on."""

    signed_data: SignedData
    created_on: datetime
    expires_on: datetime | None
    assertion: Assertion
    serial_number: str
    idevid_issuer: bytes | None
    pinned_domain_cert: Certificate
    domain_cert_revocation_checks: bool | None
    nonce: bytes | None
    last_renewal_date: datetime | None
    warnings: tuple[str, ...] = ()


def parse_voucher(
    signed_data: SignedData, leniencies: Collection[Leniency] = ()
) -> UnverifiedVoucher:
    """Read the content of a voucher's SignedData (content type .40 or id-data only).

    Raises:
        MalformedError: wrong content type, not one `ietf-voucher:voucher` object valid to the
            module (mandatory leaves, nonce and expires-on exclude each other, ...).
    """
    raise NotImplementedError
