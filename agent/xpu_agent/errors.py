# SPDX-License-Identifier: Apache-2.0
"""Every way onboarding can fail: stable reasons, what the caller may do, exit codes.

One root, `XpuAgentError`. The class says what the *caller* may do (try the next source, refuse,
undo); the `Reason` says what happened and is stable: it stands in the status file, in progress
reports and in tests. `RuntimeError` and `AssertionError` are our own bugs and are never caught
below `main`.
"""

from enum import IntEnum, StrEnum, unique


@unique
class Reason(StrEnum):
    """Why something failed or was noticed; stable, part of the operator's contract."""

    # Nothing was received.
    NO_LINK = "no-link"
    NO_ADDRESS = "no-address"
    NO_SOURCE = "no-source"
    SERVER_UNREACHABLE = "server-unreachable"
    DNS_FAILED = "dns-failed"
    HTTP_ERROR = "http-error"
    TIMEOUT = "timeout"
    # The server's certificate.
    SERVER_CERT_EXPIRED = "server-cert-expired"
    SERVER_CERT_NOT_YET_VALID = "server-cert-not-yet-valid"
    SERVER_CERT_UNKNOWN_ISSUER = "server-cert-unknown-issuer"
    SERVER_CERT_NAME_MISMATCH = "server-cert-name-mismatch"
    SERVER_CERT_REVOKED = "server-cert-revoked"
    # Our own identity.
    CLIENT_CERT_REFUSED = "client-cert-refused"
    IDEVID_MISSING = "idevid-missing"
    IDEVID_EXPIRED = "idevid-expired"
    # The artifacts.
    MALFORMED = "malformed"
    UNSIGNED_NOT_ALLOWED = "unsigned-not-allowed"
    TOO_LARGE = "too-large"
    DECRYPTION_FAILED = "decryption-failed"
    VOUCHER_UNTRUSTED = "voucher-untrusted"
    VOUCHER_EXPIRED = "voucher-expired"
    VOUCHER_NOT_YET_VALID = "voucher-not-yet-valid"
    VOUCHER_SERIAL_MISMATCH = "voucher-serial-mismatch"
    VOUCHER_ISSUER_MISMATCH = "voucher-issuer-mismatch"
    VOUCHER_ASSERTION = "voucher-assertion"
    VOUCHER_NONCE_MISMATCH = "voucher-nonce-mismatch"
    OWNER_CERT_UNTRUSTED = "owner-cert-untrusted"
    OWNER_CERT_EXPIRED = "owner-cert-expired"
    OWNER_CERT_REVOKED = "owner-cert-revoked"
    REVOCATION_UNKNOWN = "revocation-unknown"
    SIGNATURE_INVALID = "signature-invalid"
    CLOCK_UNTRUSTED = "clock-untrusted"
    # Redirects.
    REDIRECT_DEPTH = "redirect-depth"
    TOO_MANY_SERVERS = "too-many-servers"
    # The boot image.
    IMAGE_MISMATCH = "image-mismatch"
    IMAGE_UNREACHABLE = "image-unreachable"
    IMAGE_HASH_MISMATCH = "image-hash-mismatch"
    IMAGE_SIGNATURE = "image-signature"
    DISK_FULL = "disk-full"
    INSTALL_FAILED = "install-failed"
    SLOT_UNAVAILABLE = "slot-unavailable"
    ROLLED_BACK = "rolled-back"
    # Scripts and configuration.
    PRE_SCRIPT_FAILED = "pre-script-failed"
    POST_SCRIPT_FAILED = "post-script-failed"
    SCRIPT_TIMEOUT = "script-timeout"
    CONFIG_INVALID = "config-invalid"
    CONFIG_REJECTED = "config-rejected"
    CONFIG_DISK_FULL = "config-disk-full"
    FLAG_STILL_ON = "flag-still-on"
    INITIAL_REPORT_FAILED = "initial-report-failed"
    FINAL_REPORT_FAILED = "final-report-failed"
    PLATFORM_FAILED = "platform-failed"
    # The agent itself.
    UNDO_FAILED = "undo-failed"
    STATE_CORRUPT = "state-corrupt"
    STATE_UNWRITABLE = "state-unwritable"
    INTERNAL = "internal"
    USAGE = "usage"
    AGENT_CONFIG = "agent-config"
    LOCKED = "locked"
    STOPPED = "stopped"


class ExitCode(IntEnum):
    """What a command's exit status means; the operator's contract."""

    OK = 0
    INTERNAL = 1
    USAGE = 2
    NOTHING_REACHABLE = 10
    NOTHING_TRUSTED = 11
    EXECUTION_FAILED = 12
    UNDO_FAILED = 13
    IDENTITY = 14
    STOPPED = 15
    LOCKED = 16
    REBOOT = 20


# Several sources that fail differently: the first of these that any of them earned.
EXIT_PRECEDENCE = (
    ExitCode.UNDO_FAILED,
    ExitCode.INTERNAL,
    ExitCode.IDENTITY,
    ExitCode.EXECUTION_FAILED,
    ExitCode.NOTHING_TRUSTED,
    ExitCode.NOTHING_REACHABLE,
)

_EXIT_CODES: dict[Reason, ExitCode] = {
    **dict.fromkeys(
        (
            Reason.NO_LINK,
            Reason.NO_ADDRESS,
            Reason.NO_SOURCE,
            Reason.SERVER_UNREACHABLE,
            Reason.DNS_FAILED,
            Reason.HTTP_ERROR,
            Reason.TIMEOUT,
        ),
        ExitCode.NOTHING_REACHABLE,
    ),
    **dict.fromkeys(
        (
            Reason.SERVER_CERT_EXPIRED,
            Reason.SERVER_CERT_NOT_YET_VALID,
            Reason.SERVER_CERT_UNKNOWN_ISSUER,
            Reason.SERVER_CERT_NAME_MISMATCH,
            Reason.SERVER_CERT_REVOKED,
            Reason.MALFORMED,
            Reason.UNSIGNED_NOT_ALLOWED,
            Reason.TOO_LARGE,
            Reason.DECRYPTION_FAILED,
            Reason.VOUCHER_UNTRUSTED,
            Reason.VOUCHER_EXPIRED,
            Reason.VOUCHER_NOT_YET_VALID,
            Reason.VOUCHER_SERIAL_MISMATCH,
            Reason.VOUCHER_ISSUER_MISMATCH,
            Reason.VOUCHER_ASSERTION,
            Reason.VOUCHER_NONCE_MISMATCH,
            Reason.OWNER_CERT_UNTRUSTED,
            Reason.OWNER_CERT_EXPIRED,
            Reason.OWNER_CERT_REVOKED,
            Reason.REVOCATION_UNKNOWN,
            Reason.SIGNATURE_INVALID,
            Reason.CLOCK_UNTRUSTED,
            Reason.REDIRECT_DEPTH,
            Reason.TOO_MANY_SERVERS,
        ),
        ExitCode.NOTHING_TRUSTED,
    ),
    **dict.fromkeys(
        (
            Reason.IMAGE_MISMATCH,
            Reason.IMAGE_UNREACHABLE,
            Reason.IMAGE_HASH_MISMATCH,
            Reason.IMAGE_SIGNATURE,
            Reason.DISK_FULL,
            Reason.INSTALL_FAILED,
            Reason.SLOT_UNAVAILABLE,
            Reason.ROLLED_BACK,
            Reason.PRE_SCRIPT_FAILED,
            Reason.POST_SCRIPT_FAILED,
            Reason.SCRIPT_TIMEOUT,
            Reason.CONFIG_INVALID,
            Reason.CONFIG_REJECTED,
            Reason.CONFIG_DISK_FULL,
            Reason.INITIAL_REPORT_FAILED,
            Reason.FINAL_REPORT_FAILED,
            Reason.PLATFORM_FAILED,
        ),
        ExitCode.EXECUTION_FAILED,
    ),
    **dict.fromkeys(
        (Reason.CLIENT_CERT_REFUSED, Reason.IDEVID_MISSING, Reason.IDEVID_EXPIRED),
        ExitCode.IDENTITY,
    ),
    Reason.FLAG_STILL_ON: ExitCode.OK,
    Reason.UNDO_FAILED: ExitCode.UNDO_FAILED,
    Reason.STATE_CORRUPT: ExitCode.INTERNAL,
    Reason.STATE_UNWRITABLE: ExitCode.INTERNAL,
    Reason.INTERNAL: ExitCode.INTERNAL,
    Reason.USAGE: ExitCode.USAGE,
    Reason.AGENT_CONFIG: ExitCode.USAGE,
    Reason.LOCKED: ExitCode.LOCKED,
    Reason.STOPPED: ExitCode.STOPPED,
}


def exit_code(reason: Reason) -> ExitCode:
    """The exit status a run earns that ended for `reason` alone; total over `Reason`."""
    return _EXIT_CODES[reason]


class XpuAgentError(Exception):
    """Root of all errors this agent raises on purpose.

    `message` is one plain sentence for an operator: what was wrong and where, without secrets.
    `next_action` says what to do about it, or is None where nothing can be said.
    Text of a peer in it is escaped and cut by whoever raises.
    """

    def __init__(self, reason: Reason, message: str, *, next_action: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.next_action = next_action

    def __str__(self) -> str:
        tail = f"; {self.next_action}" if self.next_action else ""
        return f"{self.reason}: {self.message}{tail}"


class SourceUnavailableError(XpuAgentError):
    """Nothing usable was received here; the caller tries the next address, server or source."""


class ServerCertificateError(SourceUnavailableError):
    """The server's certificate did not validate (`server-cert-*`); never used as trusted."""


class IdentityError(XpuAgentError):
    """Our own certificate or key is missing, unusable or was refused."""


class MalformedError(XpuAgentError):
    """Bytes from outside break the format or a bound (`malformed`, `too-large`)."""

    def __init__(
        self, message: str, *, reason: Reason = Reason.MALFORMED, next_action: str | None = None
    ) -> None:
        super().__init__(reason, message, next_action=next_action)


class TrustError(XpuAgentError):
    """Well-formed, but not to be believed; refused."""


class DecryptionError(TrustError):
    """An enveloped artifact could not be opened with this device's key."""

    def __init__(self, message: str) -> None:
        super().__init__(Reason.DECRYPTION_FAILED, message)


class ProtocolError(XpuAgentError):
    """The server answered outside the protocol, or refused a request (`http-error`)."""


class ExecutionError(XpuAgentError):
    """A step on the device failed; what was done is undone, then the enclosing loop goes on."""


class UndoError(XpuAgentError):
    """Undoing failed too: the device is in a state only a person can judge (`undo-failed`)."""

    def __init__(self, message: str, *, next_action: str | None = None) -> None:
        super().__init__(Reason.UNDO_FAILED, message, next_action=next_action)


class StateError(XpuAgentError):
    """The agent's own state can't be read or written."""


class UsageError(XpuAgentError):
    """The command line is wrong, or names a file that can't be read."""

    def __init__(self, message: str, *, next_action: str | None = None) -> None:
        super().__init__(Reason.USAGE, message, next_action=next_action)


class ConfigurationError(XpuAgentError):
    """The agent's configuration is wrong; the message names file and key."""

    def __init__(self, message: str, *, next_action: str | None = None) -> None:
        super().__init__(Reason.AGENT_CONFIG, message, next_action=next_action)


class LockedError(XpuAgentError):
    """Another agent is at work on this device."""

    def __init__(self, message: str) -> None:
        super().__init__(
            Reason.LOCKED, message, next_action="wait for it to end, or stop it, and try again"
        )


class StoppedError(XpuAgentError):
    """A signal asked us to stop; state is kept and the next run goes on."""

    def __init__(self, message: str = "stopped by a signal") -> None:
        super().__init__(Reason.STOPPED, message)
