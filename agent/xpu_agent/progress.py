# SPDX-License-Identifier: Apache-2.0
"""Stages of onboarding and the progress reports due for them (RFC 8572, 5.6 and 7.3).

One total table maps a stage and its result to a progress type; where the RFC names none, the
entry is None. The same stages drive log events and the status file.
"""

from dataclasses import dataclass
from enum import Enum, StrEnum


class ProgressType(StrEnum):
    """The 27 values of `progress-type` (RFC 8572, 7.3)."""

    BOOTSTRAP_INITIATED = "bootstrap-initiated"
    PARSING_INITIATED = "parsing-initiated"
    PARSING_WARNING = "parsing-warning"
    PARSING_ERROR = "parsing-error"
    PARSING_COMPLETE = "parsing-complete"
    BOOT_IMAGE_INITIATED = "boot-image-initiated"
    BOOT_IMAGE_WARNING = "boot-image-warning"
    BOOT_IMAGE_ERROR = "boot-image-error"
    BOOT_IMAGE_MISMATCH = "boot-image-mismatch"
    BOOT_IMAGE_INSTALLED_REBOOTING = "boot-image-installed-rebooting"
    BOOT_IMAGE_COMPLETE = "boot-image-complete"
    PRE_SCRIPT_INITIATED = "pre-script-initiated"
    PRE_SCRIPT_WARNING = "pre-script-warning"
    PRE_SCRIPT_ERROR = "pre-script-error"
    PRE_SCRIPT_COMPLETE = "pre-script-complete"
    CONFIG_INITIATED = "config-initiated"
    CONFIG_WARNING = "config-warning"
    CONFIG_ERROR = "config-error"
    CONFIG_COMPLETE = "config-complete"
    POST_SCRIPT_INITIATED = "post-script-initiated"
    POST_SCRIPT_WARNING = "post-script-warning"
    POST_SCRIPT_ERROR = "post-script-error"
    POST_SCRIPT_COMPLETE = "post-script-complete"
    BOOTSTRAP_WARNING = "bootstrap-warning"
    BOOTSTRAP_ERROR = "bootstrap-error"
    BOOTSTRAP_COMPLETE = "bootstrap-complete"
    INFORMATIONAL = "informational"


class ReportingLevel(StrEnum):
    """How much a bootstrap server wants to hear (RFC 8572, 7.3); absent means minimal."""

    MINIMAL = "minimal"
    VERBOSE = "verbose"


class Stage(StrEnum):
    """A step of an attempt; each is one pair of log events and one entry in the status file."""

    FACTS = "facts"
    DISCOVER = "discover"
    CONTACT = "contact"
    BOOTSTRAP = "bootstrap"
    PARSING = "parsing"
    REDIRECT = "redirect"
    BOOT_IMAGE = "boot-image"
    PRE_SCRIPT = "pre-script"
    CONFIGURATION = "configuration"
    POST_SCRIPT = "post-script"
    COMPLETE = "complete"
    UNDO = "undo"


class StageResult(Enum):
    """What happened in a stage."""

    INITIATED = "initiated"
    WARNING = "warning"
    ERROR = "error"
    COMPLETE = "complete"


_P = ProgressType
_I, _W, _E, _C = StageResult.INITIATED, StageResult.WARNING, StageResult.ERROR, StageResult.COMPLETE

PROGRESS_TYPES: dict[tuple[Stage, StageResult], ProgressType | None] = {
    (Stage.FACTS, _I): None,
    (Stage.FACTS, _W): None,
    (Stage.FACTS, _E): None,
    (Stage.FACTS, _C): None,
    (Stage.DISCOVER, _I): None,
    (Stage.DISCOVER, _W): None,
    (Stage.DISCOVER, _E): None,
    (Stage.DISCOVER, _C): None,
    (Stage.CONTACT, _I): None,
    (Stage.CONTACT, _W): None,
    (Stage.CONTACT, _E): None,
    (Stage.CONTACT, _C): None,
    (Stage.REDIRECT, _I): None,
    (Stage.REDIRECT, _W): None,
    (Stage.REDIRECT, _E): None,
    (Stage.REDIRECT, _C): None,
    (Stage.BOOTSTRAP, _I): _P.BOOTSTRAP_INITIATED,
    (Stage.BOOTSTRAP, _W): _P.BOOTSTRAP_WARNING,
    (Stage.BOOTSTRAP, _E): _P.BOOTSTRAP_ERROR,
    (Stage.BOOTSTRAP, _C): _P.BOOTSTRAP_COMPLETE,
    (Stage.PARSING, _I): _P.PARSING_INITIATED,
    (Stage.PARSING, _W): _P.PARSING_WARNING,
    (Stage.PARSING, _E): _P.PARSING_ERROR,
    (Stage.PARSING, _C): _P.PARSING_COMPLETE,
    (Stage.BOOT_IMAGE, _I): _P.BOOT_IMAGE_INITIATED,
    (Stage.BOOT_IMAGE, _W): _P.BOOT_IMAGE_WARNING,
    (Stage.BOOT_IMAGE, _E): _P.BOOT_IMAGE_ERROR,
    (Stage.BOOT_IMAGE, _C): _P.BOOT_IMAGE_COMPLETE,
    (Stage.PRE_SCRIPT, _I): _P.PRE_SCRIPT_INITIATED,
    (Stage.PRE_SCRIPT, _W): _P.PRE_SCRIPT_WARNING,
    (Stage.PRE_SCRIPT, _E): _P.PRE_SCRIPT_ERROR,
    (Stage.PRE_SCRIPT, _C): _P.PRE_SCRIPT_COMPLETE,
    (Stage.CONFIGURATION, _I): _P.CONFIG_INITIATED,
    (Stage.CONFIGURATION, _W): _P.CONFIG_WARNING,
    (Stage.CONFIGURATION, _E): _P.CONFIG_ERROR,
    (Stage.CONFIGURATION, _C): _P.CONFIG_COMPLETE,
    (Stage.POST_SCRIPT, _I): _P.POST_SCRIPT_INITIATED,
    (Stage.POST_SCRIPT, _W): _P.POST_SCRIPT_WARNING,
    (Stage.POST_SCRIPT, _E): _P.POST_SCRIPT_ERROR,
    (Stage.POST_SCRIPT, _C): _P.POST_SCRIPT_COMPLETE,
    (Stage.COMPLETE, _I): None,
    (Stage.COMPLETE, _W): _P.BOOTSTRAP_WARNING,
    (Stage.COMPLETE, _E): _P.BOOTSTRAP_ERROR,
    (Stage.COMPLETE, _C): _P.BOOTSTRAP_COMPLETE,
    (Stage.UNDO, _I): None,
    (Stage.UNDO, _W): None,
    (Stage.UNDO, _E): _P.BOOTSTRAP_ERROR,
    (Stage.UNDO, _C): None,
}

# Sent whatever the reporting level (RFC 8572, 5.6); the rest only when it is verbose.
SENT_AT_MINIMAL: frozenset[ProgressType] = frozenset(
    {
        _P.BOOTSTRAP_INITIATED,
        _P.PARSING_ERROR,
        _P.BOOT_IMAGE_ERROR,
        _P.BOOT_IMAGE_INSTALLED_REBOOTING,
        _P.PRE_SCRIPT_ERROR,
        _P.POST_SCRIPT_ERROR,
        _P.CONFIG_ERROR,
        _P.BOOTSTRAP_WARNING,
        _P.BOOTSTRAP_ERROR,
        _P.BOOTSTRAP_COMPLETE,
    }
)


@dataclass(frozen=True, slots=True)
class SshHostKey:
    """One of the device's SSH host keys: IANA algorithm name and RFC 4253, 6.6 blob."""

    algorithm: str
    key_data: bytes


@dataclass(frozen=True, slots=True)
class ProgressReport:
    """One `report-progress` input (RFC 8572, 7.3).

    `message` is at most `limits.REPORT_MESSAGE_BYTES` long when encoded, without secrets.
    Keys and anchors go with `bootstrap-complete` alone.
    """

    progress_type: ProgressType
    message: str | None = None
    ssh_host_keys: tuple[SshHostKey, ...] = ()
    trust_anchor_certs: tuple[bytes, ...] = ()  # each a degenerate SignedData in DER

    def __post_init__(self) -> None:
        if self.progress_type is not ProgressType.BOOTSTRAP_COMPLETE and (
            self.ssh_host_keys or self.trust_anchor_certs
        ):
            # The YANG module's `when`: a report that breaks it can't be built.
            raise ValueError("ssh-host-keys and trust-anchor-certs only with bootstrap-complete")


def is_due(progress_type: ProgressType, level: ReportingLevel) -> bool:
    """Whether a report of this type is sent to a trusted server that asked for `level`."""
    return level is ReportingLevel.VERBOSE or progress_type in SENT_AT_MINIMAL
