# SPDX-License-Identifier: Apache-2.0
"""Who asks: the serial number in the client certificate, or HTTP Basic (RFC 8572, 5.3; RFC 7617).

TLS has verified the certificate before; here it is only read. Both together must name one device.
"""

import base64
import binascii
from collections.abc import Mapping

from cryptography import x509
from cryptography.x509.oid import NameOID

from xpu_emulator.messages import Request
from xpu_emulator.rpc import ErrorTag, RestconfError, Violation

_CREDENTIALS = ("SZTP-5.3-05",)


class Refusal(Exception):  # noqa: N818  # not an error: an answer found early
    """The request is answered with this status and error, and goes no further."""

    def __init__(
        self,
        status: int,
        tag: ErrorTag,
        message: str,
        *,
        violations: tuple[Violation, ...] = (),
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.error = RestconfError(tag, message)
        self.violations = violations
        self.headers = headers


def certificate_serial_number(der: bytes) -> str | None:
    """The X.520 serialNumber in a certificate's subject; None if there isn't exactly one."""
    try:
        attributes = x509.load_der_x509_certificate(der).subject.get_attributes_for_oid(
            NameOID.SERIAL_NUMBER
        )
    except ValueError:
        return None
    return str(attributes[0].value) if len(attributes) == 1 else None


def authenticate(
    request: Request, passwords: Mapping[str, str], *, certificate_needed: bool
) -> str:
    """The serial number of the device that asks.

    `passwords` (user name to password) switch HTTP Basic on.

    Raises:
        Refusal: 401; no identity, a wrong one, or two that differ.
    """
    challenge = (("WWW-Authenticate", 'Basic realm="bootstrap-server"'),) if passwords else ()
    by_certificate = (
        certificate_serial_number(request.client_certificate_der)
        if request.client_certificate_der is not None
        else None
    )
    by_password = _basic_user(request, passwords, challenge)
    if by_certificate is not None and by_password not in {None, by_certificate}:
        raise Refusal(
            401,
            ErrorTag.ACCESS_DENIED,
            "certificate and credentials name different devices",
            violations=(
                Violation(
                    _CREDENTIALS,
                    f"certificate of {by_certificate!r} with credentials of {by_password!r}",
                ),
            ),
            headers=challenge,
        )
    identity = by_certificate or by_password
    if identity is None or (by_certificate is None and certificate_needed):
        raise Refusal(
            401,
            ErrorTag.ACCESS_DENIED,
            "a client certificate with a serial number is needed",
            headers=challenge,
        )
    return identity


def _basic_user(
    request: Request, passwords: Mapping[str, str], challenge: tuple[tuple[str, str], ...]
) -> str | None:
    """The user of valid HTTP Basic credentials (RFC 7617); wrong ones are refused at once."""
    value = request.header("Authorization")
    if value is None or not passwords:
        return None
    scheme, _, credentials = value.partition(" ")
    user = ""
    if scheme.lower() == "basic":
        try:
            decoded = base64.b64decode(credentials.strip(), validate=True).decode("utf-8")
        except (binascii.Error, UnicodeDecodeError):
            decoded = ""
        user, _, password = decoded.partition(":")
        if user and passwords.get(user) == password:
            return user
    raise Refusal(401, ErrorTag.ACCESS_DENIED, "wrong credentials", headers=challenge)
