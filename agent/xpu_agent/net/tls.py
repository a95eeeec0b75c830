# SPDX-License-Identifier: Apache-2.0
"""TLS towards bootstrap and file servers (RFC 8572, 5.3, 5.5, 6.3 and 9.16).

Two kinds of connection, two constructors, no switch between them:

- trusted: the server's certificate must chain to the anchors given, and to no others, and name
  the host that was asked for. Anchors are loaded alone, as they are: an intermediate CA is an
  anchor of its own (partial chains), so that a sibling below the same root does not pass.
- provisional: whatever certificate the server has is taken, and nothing is concluded from it.

Both send our certificate with all intermediates when asked (5.3), both need TLS 1.2 or newer.
Contexts are made by hand and not by `ssl.create_default_context`: no system roots, no key log
file, nothing from the environment.
"""

import re
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from xpu_agent.errors import (
    IdentityError,
    Reason,
    ServerCertificateError,
    SourceUnavailableError,
    XpuAgentError,
)

# X509_V_FLAG_NO_CHECK_TIME of OpenSSL, which the ssl module has no name for.
_NO_CHECK_TIME = 0x200000

# X509_V_ERR_* of OpenSSL that have a reason of their own; all others mean "no path to an anchor".
_VERIFY_REASONS = {
    9: Reason.SERVER_CERT_NOT_YET_VALID,
    10: Reason.SERVER_CERT_EXPIRED,
    23: Reason.SERVER_CERT_REVOKED,
    62: Reason.SERVER_CERT_NAME_MISMATCH,
    64: Reason.SERVER_CERT_NAME_MISMATCH,
}

# Alerts by which a server says that it does not take our certificate (RFC 8446, 6.2). OpenSSL
# prefixes their names with the protocol version that introduced them.
_IDENTITY_ALERT = re.compile(
    r"ALERT_(BAD_CERTIFICATE|UNSUPPORTED_CERTIFICATE|CERTIFICATE_REVOKED|CERTIFICATE_EXPIRED"
    r"|CERTIFICATE_UNKNOWN|UNKNOWN_CA|ACCESS_DENIED|DECRYPT_ERROR|NO_CERTIFICATE"
    r"|CERTIFICATE_REQUIRED)$"
)


@dataclass(frozen=True, slots=True)
class ClientIdentity:
    """Where the TLS client certificate and its key are: PEM files.

    `chain` has the IDevID first, then the intermediates up to the manufacturer's anchor.
    """

    chain: Path
    key: Path


def trusted_context(
    anchors: Sequence[bytes], identity: ClientIdentity | None, *, accurate: bool
) -> ssl.SSLContext:
    """A context that takes servers below one of `anchors` (DER) alone, by name.

    Where the clock is not `accurate`, no date is judged (RFC 8572, 9.1); all else still is.

    Raises:
        ServerCertificateError: there are no anchors, or OpenSSL can't use one.
        IdentityError: our certificate or key can't be used.
    """
    context = _context(identity)
    context.verify_mode = ssl.CERT_REQUIRED
    context.check_hostname = True
    # A common name is no name of a server (RFC 6125, 6.4.4).
    context.hostname_checks_common_name = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if not accurate:
        context.verify_flags |= ssl.VerifyFlags(_NO_CHECK_TIME)
    if not anchors:
        raise ServerCertificateError(
            Reason.SERVER_CERT_UNKNOWN_ISSUER, "there is no trust anchor for this server"
        )
    try:
        context.load_verify_locations(cadata=b"".join(anchors))
    except (ssl.SSLError, ValueError) as error:
        raise ServerCertificateError(
            Reason.SERVER_CERT_UNKNOWN_ISSUER, "a trust anchor for this server can't be read"
        ) from error
    return context


def provisional_context(identity: ClientIdentity | None) -> ssl.SSLContext:
    """A context that takes any server certificate (RFC 8572, 5.5), or a file server's (6.3).

    Raises:
        IdentityError: our certificate or key can't be used.
    """
    context = _context(identity)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _context(identity: ClientIdentity | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if identity is not None:
        _load_identity(context, identity)
    return context


def _load_identity(context: ssl.SSLContext, identity: ClientIdentity) -> None:
    def no_passphrase() -> str:
        # Without this OpenSSL asks on the terminal, and a boot waits for a person (5.1).
        raise IdentityError(
            Reason.IDEVID_MISSING,
            f"the private key {identity.key} is encrypted",
            next_action="store the key without a passphrase, readable by the agent alone",
        )

    try:
        context.load_cert_chain(identity.chain, identity.key, password=no_passphrase)
    except (OSError, ValueError) as error:
        detail = error.reason if isinstance(error, ssl.SSLError) else None
        raise IdentityError(
            Reason.IDEVID_MISSING,
            f"the certificate chain {identity.chain} with the key {identity.key} can't be used:"
            f" {_words(detail) or describe(error)}",
            next_action="check that both files are there, in PEM, and belong together",
        ) from error


def connection_error(error: OSError, where: str) -> XpuAgentError:
    """What a failed connection, handshake, read or write means for the caller.

    `where` is host and port as they are shown to people.
    """
    match error:
        case ssl.SSLCertVerificationError():
            reason = _VERIFY_REASONS.get(error.verify_code, Reason.SERVER_CERT_UNKNOWN_ISSUER)
            return ServerCertificateError(
                reason, f"the certificate of {where} does not validate: {_verdict(error, reason)}"
            )
        case ssl.SSLError() if _IDENTITY_ALERT.search(error.reason or ""):
            return IdentityError(
                Reason.CLIENT_CERT_REFUSED,
                f"{where} refused our certificate: {_words(error.reason)}",
                next_action="ask its operator whether this device's manufacturer is known there",
            )
        case ssl.SSLError() if not isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
            return SourceUnavailableError(
                Reason.SERVER_UNREACHABLE,
                f"no TLS connection with {where}: {_words(error.reason) or 'TLS failed'}",
            )
        case TimeoutError():
            return SourceUnavailableError(Reason.TIMEOUT, f"{where} did not answer in time")
        case socket.gaierror():
            return SourceUnavailableError(
                Reason.DNS_FAILED, f"the name of {where} was not resolved: {describe(error)}"
            )
        case _:
            return SourceUnavailableError(
                Reason.SERVER_UNREACHABLE, f"no connection with {where}: {describe(error)}"
            )


def _verdict(error: ssl.SSLCertVerificationError, reason: Reason) -> str:
    if reason is Reason.SERVER_CERT_NAME_MISMATCH:
        return "it names another host"
    return str(error.verify_message)


def _words(openssl_name: str | None) -> str:
    """OpenSSL's `TLSV1_ALERT_UNKNOWN_CA` for people."""
    name = re.sub(r"^(SSLV3|TLSV1|TLSV13)_ALERT_", "", openssl_name or "")
    return name.replace("_", " ").lower()


def describe(error: Exception) -> str:
    """The system's words for an error, without numbers, paths or anything of a peer's."""
    text = error.strerror if isinstance(error, OSError) else None
    return (text or type(error).__name__).lower()
