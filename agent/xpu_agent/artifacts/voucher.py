# SPDX-License-Identifier: Apache-2.0
"""Ownership vouchers (RFC 8366, 5; RFC 8572, 3.3): structure only."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from xpu_agent import limits
from xpu_agent.artifacts.certificate import Certificate, parse_certificate
from xpu_agent.artifacts.cms import OID_DATA, OID_VOUCHER_JSON, SignedData
from xpu_agent.artifacts.yang_data import JsonNode, read_json_document
from xpu_agent.device import Assertion, Leniency
from xpu_agent.errors import MalformedError


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
    if signed_data.content_type not in {OID_VOUCHER_JSON, OID_DATA}:
        raise MalformedError(
            f"ownership voucher has the content type {signed_data.content_type}, of another kind"
        )
    # The module's name is part of the member's: a voucher request (RFC 8995) is no voucher.
    _, node = read_json_document(
        signed_data.content, "ietf-voucher", ("voucher",), "ownership voucher"
    )
    warnings: list[str] = []
    created_on = _date_and_time(node, "created-on")
    expires_on = _date_and_time(node, "expires-on")
    assertion = node.enumeration("assertion", Assertion)
    serial_number = node.text("serial-number")
    idevid_issuer = node.binary("idevid-issuer", most=_IDEVID_ISSUER_OCTETS)
    pinned = node.binary("pinned-domain-cert", most=limits.ARTIFACT_BYTES)
    revocation_checks = _revocation_checks(node, leniencies, warnings)
    nonce = node.binary("nonce", most=limits.NONCE_BYTES)
    last_renewal_date = _date_and_time(node, "last-renewal-date")
    node.finish()
    if created_on is None:
        raise _lacks("created-on")
    if assertion is None:
        raise _lacks("assertion")
    if serial_number is None:
        raise _lacks("serial-number")
    if pinned is None:
        raise _lacks("pinned-domain-cert")
    if nonce is not None:
        if expires_on is not None:
            raise MalformedError("ownership voucher has both nonce and expires-on")
        if len(nonce) < _NONCE_OCTETS_LEAST:
            raise MalformedError("ownership voucher has a nonce of less than 8 octets")
    if last_renewal_date is not None and expires_on is None:
        raise MalformedError("ownership voucher has last-renewal-date without expires-on")
    return UnverifiedVoucher(
        signed_data=signed_data,
        created_on=created_on,
        expires_on=expires_on,
        assertion=assertion,
        serial_number=serial_number,
        idevid_issuer=idevid_issuer,
        pinned_domain_cert=parse_certificate(pinned),
        domain_cert_revocation_checks=revocation_checks,
        nonce=nonce,
        last_renewal_date=last_renewal_date,
        warnings=tuple(warnings),
    )


_IDEVID_ISSUER_OCTETS: Final = 4096  # an authorityKeyIdentifier may name an issuer too (AMB-07)
_NONCE_OCTETS_LEAST: Final = 8

# yang:date-and-time (RFC 6991, 3).
_DATE_AND_TIME: Final = re.compile(
    r"(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})(?:\.(\d{1,64}))?(Z|[+-]\d{2}:\d{2})", re.ASCII
)


def _lacks(name: str) -> MalformedError:
    return MalformedError(f"ownership voucher lacks {name}")


def _date_and_time(node: JsonNode, name: str) -> datetime | None:
    """A date-and-time in UTC; fractions beyond microseconds are cut off."""
    text = node.word(name)
    if text is None:
        return None
    match = _DATE_AND_TIME.fullmatch(text)
    if match is None:
        raise MalformedError(f"{node.path(name)} is not a date and time with offset")
    seconds, fraction, offset = match.groups()
    fraction = (fraction or "").ljust(6, "0")[:6]
    try:
        return datetime.fromisoformat(
            f"{seconds}.{fraction}{'+00:00' if offset == 'Z' else offset}"
        ).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise MalformedError(f"{node.path(name)} is a time that does not exist") from error


def _revocation_checks(
    node: JsonNode, leniencies: Collection[Leniency], warnings: list[str]
) -> bool | None:
    """The boolean; a string of that meaning only where the operator allows it (AMB-12)."""
    name = "domain-cert-revocation-checks"
    value = node.boolean(name)
    if not isinstance(value, str):
        return value
    if Leniency.BOOLEAN_AS_STRING not in leniencies or value not in {"true", "false"}:
        raise MalformedError(f"{node.path(name)} is a string, not a boolean")
    warnings.append(f"{node.path(name)} is a string, not a boolean")
    return value == "true"
