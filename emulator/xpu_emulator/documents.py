# SPDX-License-Identifier: Apache-2.0
"""The documents inside artifacts: conveyed information (RFC 8572, 6.3), vouchers (RFC 8366, 5.3).

Documents are plain mappings until they are encoded, so that a test can bend them first. JSON
follows RFC 7951: 64-bit numbers and binaries are strings, identities carry their module's name.
"""

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias
from xml.sax.saxutils import escape

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from xpu_emulator.identity import Identity

Document: TypeAlias = dict[str, Any]

CONVEYED_MODULE = "ietf-sztp-conveyed-info"
CONVEYED_NAMESPACE = "urn:ietf:params:xml:ns:yang:ietf-sztp-conveyed-info"
REDIRECT = f"{CONVEYED_MODULE}:redirect-information"
ONBOARDING = f"{CONVEYED_MODULE}:onboarding-information"
VOUCHER = "ietf-voucher:voucher"


def bootstrap_server(
    address: str, port: int | None = None, trust_anchor: bytes | None = None
) -> Document:
    """One entry of redirect information; `trust_anchor` is a degenerate SignedData in DER."""
    entry: Document = {"address": address}
    if port is not None:
        entry["port"] = port
    if trust_anchor is not None:
        entry["trust-anchor"] = encode_binary(trust_anchor)
    return entry


def redirect_document(servers: Sequence[Mapping[str, Any]]) -> Document:
    """Redirect information with these entries, see `bootstrap_server`."""
    return {REDIRECT: {"bootstrap-server": [dict(server) for server in servers]}}


def onboarding_document(
    *,
    os_name: str | None = None,
    os_version: str | None = None,
    download_uris: Sequence[str] = (),
    image_sha256: bytes | str | None = None,
    image_verification: Sequence[Mapping[str, str]] | None = None,
    pre_script: bytes | None = None,
    configuration: bytes | None = None,
    handling: str | None = None,
    post_script: bytes | None = None,
) -> Document:
    """Onboarding information; parts that are None or empty are absent.

    `image_sha256` is the digest's octets, or its hexadecimal text which is used as it is.
    `image_verification` overrides it with whole list entries. `handling` is `merge` with a
    configuration unless given; the empty string leaves it out.
    """
    image: Document = {}
    if os_name is not None:
        image["os-name"] = os_name
    if os_version is not None:
        image["os-version"] = os_version
    if download_uris:
        image["download-uri"] = list(download_uris)
    if image_verification is not None:
        image["image-verification"] = [dict(each) for each in image_verification]
    elif image_sha256 is not None:
        image["image-verification"] = [
            {
                "hash-algorithm": f"{CONVEYED_MODULE}:sha-256",
                "hash-value": hex_string(image_sha256),
            }
        ]
    body: Document = {}
    if image:
        body["boot-image"] = image
    if handling is None and configuration is not None:
        handling = "merge"
    if handling:
        body["configuration-handling"] = handling
    for name, octets in (
        ("pre-configuration-script", pre_script),
        ("configuration", configuration),
        ("post-configuration-script", post_script),
    ):
        if octets is not None:
            body[name] = encode_binary(octets)
    return {ONBOARDING: body}


def conveyed_json(document: Mapping[str, Any]) -> bytes:
    """A document in JSON (RFC 7951), UTF-8, without white space."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def conveyed_xml(document: Mapping[str, Any]) -> bytes:
    """The same document in XML (RFC 7950): one root element in the module's namespace."""
    ((qualified, body),) = document.items()
    name = qualified.partition(":")[2]
    prefix = f' xmlns:ci="{CONVEYED_NAMESPACE}"' if "hash-algorithm" in json.dumps(body) else ""
    inner = "".join(_elements(body))
    return f'<{name} xmlns="{CONVEYED_NAMESPACE}"{prefix}>{inner}</{name}>'.encode()


def redirect_xml(servers: Sequence[Mapping[str, Any]]) -> bytes:
    """Redirect information in XML."""
    return conveyed_xml(redirect_document(servers))


def onboarding_xml(**parts: Any) -> bytes:
    """Onboarding information in XML; arguments as of `onboarding_document`."""
    return conveyed_xml(onboarding_document(**parts))


def voucher_document(
    serial: str,
    pinned_cert: Identity | x509.Certificate | bytes,
    created_on: datetime | str,
    expires_on: datetime | str | None = None,
    *,
    assertion: str | None = "verified",
    nonce: bytes | None = None,
    idevid_issuer: bytes | None = None,
    revocation_checks: bool | None = None,
    last_renewal: datetime | str | None = None,
) -> Document:
    """A voucher's document; leaves that are None are absent. Text dates are used as they are.

    `idevid_issuer` is the bare key identifier of the IDevID's issuer.
    """
    match pinned_cert:
        case bytes():
            pinned = pinned_cert
        case Identity():
            pinned = pinned_cert.der
        case _:
            pinned = pinned_cert.public_bytes(serialization.Encoding.DER)
    leaves = {
        "created-on": date_and_time(created_on),
        "expires-on": None if expires_on is None else date_and_time(expires_on),
        "assertion": assertion,
        "serial-number": serial,
        "idevid-issuer": None if idevid_issuer is None else encode_binary(idevid_issuer),
        "pinned-domain-cert": encode_binary(pinned),
        "domain-cert-revocation-checks": revocation_checks,
        "nonce": None if nonce is None else encode_binary(nonce),
        "last-renewal-date": None if last_renewal is None else date_and_time(last_renewal),
    }
    return {VOUCHER: {name: value for name, value in leaves.items() if value is not None}}


def encode_binary(octets: bytes) -> str:
    """A YANG binary (RFC 7950, 9.8.2): base64 in one line, padded."""
    return base64.b64encode(octets).decode()


def hex_string(digest: bytes | str) -> str:
    """A yang:hex-string: octets in lower-case hexadecimal, separated by colons."""
    return digest if isinstance(digest, str) else digest.hex(":")


def date_and_time(moment: datetime | str) -> str:
    """A yang:date-and-time in UTC with `Z`, without fractions of a second."""
    if isinstance(moment, str):
        return moment
    # Not strftime: it writes years before 1000 with fewer than four digits.
    return f"{moment.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat()}Z"


def _elements(body: Mapping[str, Any]) -> Iterable[str]:
    for name, value in body.items():
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, Mapping):
                yield f"<{name}>{''.join(_elements(each))}</{name}>"
            else:
                text = str(each)
                if name == "hash-algorithm":
                    text = text.replace(f"{CONVEYED_MODULE}:", "ci:")
                yield f"<{name}>{escape(text)}</{name}>"
