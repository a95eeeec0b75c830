# SPDX-License-Identifier: Apache-2.0
"""CRLs (RFC 5280, 5) and OCSP responses (RFC 6960, 4.2), right ones and questionable ones."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Literal

from asn1crypto import core
from asn1crypto import crl as asn1_crl
from asn1crypto import keys as asn1_keys
from asn1crypto import ocsp as asn1_ocsp
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from xpu_emulator.identity import CertificateExtension, Identity, asn1_time
from xpu_emulator.keys import digest, key_identifier, sign_octets, signature_algorithm, spki

OcspStatus = Literal["good", "revoked", "unknown"]


def make_crl(
    issuer: Identity,
    revoked: Iterable[int] | Mapping[int, str | None] = (),
    *,
    this_update: datetime,
    next_update: datetime | None,
    crl_number: int | None = 1,
    revocation_date: datetime | None = None,
    signer: Identity | None = None,
    hash_name: str = "sha256",
    pss: bool = False,
    without_aki: bool = False,
    extensions: Iterable[CertificateExtension] = (),
    entry_extensions: Iterable[CertificateExtension] = (),
) -> bytes:
    """A CRL in DER, in the issuer's name.

    `revoked` are serial numbers, or serial numbers with a reason in snake case
    (`key_compromise`). `signer` signs instead of the issuer (a wrong CRL); `next_update` None
    leaves the field out. `extensions` are added as they are: delta and indirect CRLs are made
    with them; `entry_extensions` go into each entry.
    """
    signing = signer or issuer
    reasons = dict(revoked) if isinstance(revoked, Mapping) else dict.fromkeys(revoked)
    algorithm = signature_algorithm(signing.key, hash_name, pss=pss)
    listed = []
    for serial, reason in reasons.items():
        entry: dict[str, Any] = {
            "user_certificate": serial,
            "revocation_date": asn1_time(revocation_date or this_update),
        }
        more = _foreign(asn1_crl.CRLEntryExtension, entry_extensions)
        if reason is not None:
            more.insert(0, {"extn_id": "crl_reason", "critical": False, "extn_value": reason})
        if more:
            entry["crl_entry_extensions"] = more
        listed.append(entry)
    own: list[Any] = []
    if not without_aki:
        identifier = {"key_identifier": signing.ski}
        own.append(
            {"extn_id": "authority_key_identifier", "critical": False, "extn_value": identifier}
        )
    if crl_number is not None:
        own.append({"extn_id": "crl_number", "critical": False, "extn_value": crl_number})
    own += _foreign(asn1_crl.TBSCertListExtension, extensions)
    fields: dict[str, Any] = {
        "version": "v2",
        "signature": algorithm,
        "issuer": asn1_x509.Certificate.load(issuer.der).subject,
        "this_update": asn1_time(this_update),
    }
    if next_update is not None:
        fields["next_update"] = asn1_time(next_update)
    if listed:
        fields["revoked_certificates"] = listed
    if own:
        fields["crl_extensions"] = own
    body = asn1_crl.TbsCertList(fields)
    return bytes(
        asn1_crl.CertificateList(
            {
                "tbs_cert_list": body,
                "signature_algorithm": algorithm,
                "signature": sign_octets(signing.key, body.dump(), hash_name, pss=pss),
            }
        ).dump()
    )


def make_ocsp(
    issuer: Identity,
    certificate: Identity | x509.Certificate | int,
    status: OcspStatus = "good",
    *,
    this_update: datetime,
    next_update: datetime | None = None,
    produced_at: datetime | None = None,
    revocation_time: datetime | None = None,
    responder: Identity | None = None,
    responder_by: Literal["name", "key"] = "name",
    certificates: Iterable[Identity] | None = None,
    signer: Identity | None = None,
    cert_id_hash: str = "sha1",
    hash_name: str = "sha256",
    pss: bool = False,
    nonce: bytes | None = None,
    extensions: Iterable[CertificateExtension] = (),
) -> bytes:
    """A successful OCSP response in DER about one certificate of this issuer.

    `responder` None: the issuer itself answers. A delegated one has `ocsp_signing` among its
    extended key usages and rides along in the response, unless `certificates` says otherwise.
    `signer` signs instead of the responder (a wrong response).
    """
    answering = responder or issuer
    signing = signer or answering
    match certificate:
        case int():
            serial = certificate
        case Identity() | x509.Certificate():
            serial = certificate.serial_number
    subject = asn1_x509.Certificate.load(issuer.der).subject
    public_key = asn1_keys.PublicKeyInfo.load(spki(issuer.key.public_key()))["public_key"]
    single: dict[str, Any] = {
        "cert_id": {
            "hash_algorithm": {"algorithm": cert_id_hash, "parameters": core.Null()},
            "issuer_name_hash": digest(cert_id_hash, subject.dump()),
            # The bits of the key without the count of unused bits (RFC 6960, 4.1.1).
            "issuer_key_hash": digest(cert_id_hash, public_key.contents[1:]),
            "serial_number": serial,
        },
        "cert_status": _status(status, revocation_time or this_update),
        "this_update": _whole(this_update),
    }
    if next_update is not None:
        single["next_update"] = _whole(next_update)
    response: dict[str, Any] = {
        "responder_id": _responder_id(answering, responder_by),
        "produced_at": _whole(produced_at or this_update),
        "responses": [single],
    }
    own = _foreign(asn1_ocsp.ResponseDataExtension, extensions)
    if nonce is not None:
        own.append({"extn_id": "nonce", "critical": False, "extn_value": nonce})
    if own:
        response["response_extensions"] = own
    body = asn1_ocsp.ResponseData(response)
    basic: dict[str, Any] = {
        "tbs_response_data": body,
        "signature_algorithm": signature_algorithm(signing.key, hash_name, pss=pss),
        "signature": sign_octets(signing.key, body.dump(), hash_name, pss=pss),
    }
    riding = ([] if responder is None else [responder]) if certificates is None else certificates
    carried = [asn1_x509.Certificate.load(each.der) for each in riding]
    if carried:
        basic["certs"] = carried
    return bytes(
        asn1_ocsp.OCSPResponse(
            {
                "response_status": "successful",
                "response_bytes": {
                    "response_type": "basic_ocsp_response",
                    "response": asn1_ocsp.BasicOCSPResponse(basic),
                },
            }
        ).dump()
    )


def crl_pem(der: bytes) -> bytes:
    """A CRL in PEM."""
    return x509.load_der_x509_crl(der).public_bytes(serialization.Encoding.PEM)


def _status(status: OcspStatus, revocation_time: datetime) -> asn1_ocsp.CertStatus:
    match status:
        case "good":
            return asn1_ocsp.CertStatus(name="good", value=core.Null())
        case "unknown":
            return asn1_ocsp.CertStatus(name="unknown", value=core.Null())
        case "revoked":
            return asn1_ocsp.CertStatus(
                name="revoked", value={"revocation_time": _whole(revocation_time)}
            )


def _responder_id(responder: Identity, by: Literal["name", "key"]) -> asn1_ocsp.ResponderId:
    if by == "key":
        return asn1_ocsp.ResponderId(
            name="by_key", value=key_identifier(responder.key.public_key())
        )
    subject = asn1_x509.Certificate.load(responder.der).subject
    return asn1_ocsp.ResponderId(name="by_name", value=subject)


def _foreign(kind: Any, extensions: Iterable[CertificateExtension]) -> list[Any]:
    return [
        kind(
            {
                "extn_id": extension.oid.dotted_string,
                "critical": extension.critical,
                "extn_value": core.ParsableOctetString(extension.value.public_bytes()),
            }
        )
        for extension in extensions
    ]


def _whole(moment: datetime) -> datetime:
    # GeneralizedTime has no fractions of seconds here (RFC 5280, 4.1.2.5.2).
    return moment.replace(microsecond=0)
