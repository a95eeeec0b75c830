# SPDX-License-Identifier: Apache-2.0
"""What the device knows of itself before it trusts anybody (RFC 8572, 5.1).

Certificates stand here as DER octets, so that this module needs no parser; `artifacts` turns
them into values.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Assertion(StrEnum):
    """How a manufacturer verified the owner (RFC 8366, 5.3)."""

    VERIFIED = "verified"
    LOGGED = "logged"
    PROXIMITY = "proximity"


class Leniency(StrEnum):
    """Departures from the standards an operator may switch on (`accept:`); none by default."""

    DHCP_URI_PATH = "dhcp-uri-path"
    DHCP_PLAIN_TEXT = "dhcp-plain-text"
    MISLABELLED_ENCODING = "mislabelled-encoding"
    BOOLEAN_AS_STRING = "boolean-as-string"


@dataclass(frozen=True, slots=True)
class ClockReading:
    """The time, and whether dates may be judged by it (RFC 8572, 9.1).

    `utc` is timezone-aware. Where `accurate` is false, no date of a certificate or voucher is
    judged at all, TLS included.
    """

    utc: datetime
    accurate: bool

    def __post_init__(self) -> None:
        if self.utc.tzinfo is None:
            raise ValueError("a clock reading needs a time zone")


@dataclass(frozen=True, slots=True)
class RunningImage:
    """The image this device runs now.

    `sha256` is the digest of the file as published, recorded when the agent installed it; None
    for the factory image or where unknown.
    """

    os_name: str | None
    os_version: str | None
    sha256: bytes | None = None


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """Initial state of the device (RFC 8572, 5.1): who it is and whom it believes.

    `idevid_chain`: DER certificates, leaf first; empty where the device has none.
    `voucher_anchors`: DER certificates for ownership vouchers, and for nothing else.
    `server_anchors`: DER certificates for the pre-configured servers, and for nothing else.
    """

    serial_number: str
    hw_model: str | None
    running: RunningImage
    idevid_chain: tuple[bytes, ...]
    voucher_anchors: tuple[bytes, ...]
    server_anchors: tuple[bytes, ...]
    assertions: frozenset[Assertion] = frozenset({Assertion.VERIFIED})
    leniencies: frozenset[Leniency] = frozenset()
