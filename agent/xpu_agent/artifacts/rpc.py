# SPDX-License-Identifier: Apache-2.0
"""Bodies of the two RPCs (RFC 8572, 7; RFC 8040, 3.6.1, 5.2 and 7; RFC 7951): octets <-> values.

The wire half of RESTCONF is pure and stands here; `net.restconf` moves the octets.
"""

from dataclasses import dataclass

from xpu_agent.artifacts.bundle import Artifacts
from xpu_agent.artifacts.conveyed_info import Encoding
from xpu_agent.progress import ProgressReport, ReportingLevel

MEDIA_TYPES: dict[Encoding, str] = {
    Encoding.JSON: "application/yang-data+json",
    Encoding.XML: "application/yang-data+xml",
}


@dataclass(frozen=True, slots=True)
class BootstrappingRequest:
    """Input of `get-bootstrapping-data` (RFC 8572, 7.3); `trust.state` decides what is in it."""

    signed_data_preferred: bool
    hw_model: str | None
    os_name: str | None
    os_version: str | None
    nonce: bytes | None  # 16 to 32 octets


@dataclass(frozen=True, slots=True)
class BootstrappingResponse:
    """Output of `get-bootstrapping-data`."""

    artifacts: Artifacts
    reporting_level: ReportingLevel


@dataclass(frozen=True, slots=True)
class RestconfError:
    """What could be read of an error body; each field bounded and printable, or None."""

    error_tag: str | None
    error_message: str | None


def encode_bootstrapping_request(request: BootstrappingRequest, encoding: Encoding) -> bytes:
    """The `input` document."""
    raise NotImplementedError


def decode_bootstrapping_response(body: bytes, encoding: Encoding) -> BootstrappingResponse:
    """Read the `output` document; members of other modules are passed over.

    Raises:
        MalformedError: not a valid output.
    """
    raise NotImplementedError


def encode_progress_report(report: ProgressReport, encoding: Encoding) -> bytes:
    """The `input` document of `report-progress`."""
    raise NotImplementedError


def decode_error(body: bytes) -> RestconfError:
    """Read a 4xx/5xx body of any kind, bare or wrapped, or none; never raises."""
    raise NotImplementedError


def decode_host_meta(body: bytes) -> str | None:
    """The path of the `restconf` link of an XRD (or JRD) document; None if there is none usable.

    Only a path on the same server counts: an absolute URI of another host is None. Never raises.
    """
    raise NotImplementedError
