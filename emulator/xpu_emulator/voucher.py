# SPDX-License-Identifier: Apache-2.0
"""Ownership vouchers for the a PKI folder's devices (RFC 8366; RFC 8572, 3.3).

A renewal is a new voucher with the old one's facts and new dates (RFC 8366, 6.1). One with a
nonce answers one request and can't be renewed.
"""

import argparse
import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from asn1crypto import cms as asn1_cms
from asn1crypto import x509 as asn1_x509

from xpu_emulator.artifacts import (
    ENCODING_DEFECTS,
    SIGNATURE_DEFECTS,
    VOUCHER,
    VOUCHER_DEFECTS,
    ContentType,
    Wrong,
    date_and_time,
    voucher,
    voucher_document,
)
from xpu_emulator.errors import EmulatorError
from xpu_emulator.folders import path_component, read_file, write_file
from xpu_emulator.pki import Pki
from xpu_emulator.pki_folder import read_certificate

DEFAULT_VALIDITY: Final = timedelta(days=365)
VOUCHER_FILE_LIMIT: Final = 1 << 20  # octets

_DEFECTS = (*ENCODING_DEFECTS, *SIGNATURE_DEFECTS, *VOUCHER_DEFECTS)


@dataclass(frozen=True, slots=True)
class VoucherContents:
    """What a voucher file says; nothing of it was verified."""

    content_type: str
    leaves: Mapping[str, Any]
    certificates: tuple[str, ...]  # subjects
    signers: tuple[str, ...]


def issue_voucher(
    pki: Pki,
    serial: str,
    *,
    created_on: datetime | None = None,
    expires_on: datetime | None = None,
    nonce: bytes | None = None,
    assertion: str = "verified",
    revocation_checks: bool | None = None,
    last_renewal: datetime | None = None,
    with_idevid_issuer: bool = True,
    pinned_cert: bytes | None = None,
    content_type: str = ContentType.VOUCHER_JSON,
    wrong: Wrong | None = None,
) -> bytes:
    """A voucher in DER for a device of the folder, pinning its owner's domain CA.

    Without nonce it expires, after 365 days unless given; with one it doesn't
    (RFC 8366, 5.3: never both).

    Raises:
        EmulatorError: no such device, or a nonce and an expiry date.
    """
    device = pki.device(serial)
    created = created_on or datetime.now(UTC)
    if nonce is not None and expires_on is not None:
        raise EmulatorError("a voucher with a nonce has no expiry date; choose one")
    if nonce is None and expires_on is None:
        expires_on = created + DEFAULT_VALIDITY
    issuer = device.issuer or device
    document = voucher_document(
        serial,
        pki.owner_root.der if pinned_cert is None else pinned_cert,
        created,
        expires_on,
        assertion=assertion,
        nonce=nonce,
        idevid_issuer=issuer.ski if with_idevid_issuer else None,
        revocation_checks=revocation_checks,
        last_renewal=last_renewal,
    )
    try:
        return voucher(document, pki.voucher_signer, content_type=content_type, wrong=wrong)
    except ValueError as error:
        raise EmulatorError(f"this voucher can't be wrong that way: {error}") from error


def renew_voucher(
    pki: Pki,
    old: bytes,
    *,
    created_on: datetime | None = None,
    expires_on: datetime | None = None,
) -> bytes:
    """The same voucher with new dates, signed by the folder's voucher signer.

    It lives as long as the old one did unless `expires_on` is given.

    Raises:
        EmulatorError: not a voucher, for a device that isn't in the folder, with a nonce, or
            the day of its last renewal is over.
    """
    contents = read_voucher(old)
    leaves = dict(contents.leaves)
    serial = leaves.get("serial-number")
    if not isinstance(serial, str):
        raise EmulatorError("the voucher names no device")
    pki.device(serial)
    created = created_on or datetime.now(UTC)
    if "nonce" in leaves or "expires-on" not in leaves:
        raise EmulatorError(
            f"the voucher for {serial} has a nonce or never expires: nothing to renew"
        )
    if "last-renewal-date" in leaves and created > parse_time(leaves["last-renewal-date"]):
        raise EmulatorError(
            f"the voucher for {serial} was to be renewed until {leaves['last-renewal-date']} only"
        )
    if expires_on is None:
        lifetime = parse_time(leaves["expires-on"]) - parse_time(leaves.get("created-on"))
        expires_on = created + lifetime
    leaves["created-on"] = date_and_time(created)
    leaves["expires-on"] = date_and_time(expires_on)
    return voucher({VOUCHER: leaves}, pki.voucher_signer, content_type=contents.content_type)


def read_voucher(octets: bytes) -> VoucherContents:
    """Take a voucher apart without verifying anything.

    Raises:
        EmulatorError: it isn't one.
    """
    try:
        info = asn1_cms.ContentInfo.load(octets, strict=True)
        if info["content_type"].native != "signed_data":
            raise EmulatorError("the file is a CMS structure, but nothing signed")
        signed_data = info["content"]
        encapsulated = signed_data["encap_content_info"]
        document = json.loads(bytes(encapsulated["content"].contents or b""))
        content_type = str(encapsulated["content_type"].dotted)
        certificates = tuple(
            str(each.chosen.subject.human_friendly) for each in signed_data["certificates"]
        )
        signers = tuple(_signer_text(each) for each in signed_data["signer_infos"])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise EmulatorError("the file is no ownership voucher in CMS and JSON") from error
    leaves = document.get(VOUCHER) if isinstance(document, dict) else None
    if not isinstance(leaves, dict):
        raise EmulatorError(f"the signed document has no member {VOUCHER}")
    return VoucherContents(content_type, leaves, certificates, signers)


def parse_time(text: Any) -> datetime:
    """A yang:date-and-time, or a date alone.

    Raises:
        EmulatorError: neither.
    """
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError as error:
        raise EmulatorError(f"{text!r} is no time such as 2027-01-31T00:00:00Z") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """`xpu-emulator voucher`."""
    raw = argparse.RawDescriptionHelpFormatter
    top = subparsers.add_parser(
        "voucher",
        help="issue, renew and show ownership vouchers",
        description="Ownership vouchers (RFC 8366) for the devices of a PKI folder.",
        epilog="example:\n  xpu-emulator voucher issue --pki build/pki SN123\n"
        "  xpu-emulator voucher show build/pki/vouchers/SN123.vcj\n",
        formatter_class=raw,
    )
    actions = top.add_subparsers(dest="action", metavar="ACTION", required=True)

    issue = actions.add_parser(
        "issue",
        help="a voucher for each serial number",
        description="Write SERIAL.vcj for each serial number, signed by the voucher signer, "
        "pinning the owner's domain CA.",
        epilog="example:\n"
        "  xpu-emulator voucher issue --pki build/pki --out build/vouchers --valid-days 30 SN123\n",
        formatter_class=raw,
    )
    issue.add_argument("--pki", type=Path, metavar="FOLDER", help="see: xpu-emulator pki --help")
    issue.add_argument(
        "--out", type=Path, metavar="DIR", help="default: vouchers in the PKI folder"
    )
    issue.add_argument("--force", action="store_true", help="replace files that exist")
    dates = issue.add_mutually_exclusive_group()
    dates.add_argument("--valid-days", type=float, metavar="N", help="default 365")
    dates.add_argument("--expires-on", metavar="TIME", help="such as 2027-01-31T00:00:00Z")
    dates.add_argument("--nonce", metavar="BASE64", help="for one request; doesn't expire")
    issue.add_argument("--created-on", metavar="TIME", help="default: now")
    issue.add_argument("--last-renewal-date", metavar="TIME", help="renewals end then")
    issue.add_argument(
        "--assertion", choices=("verified", "logged", "proximity"), default="verified"
    )
    issue.add_argument(
        "--revocation-checks",
        choices=("true", "false"),
        help="whether the device must see that the owner certificate isn't revoked",
    )
    issue.add_argument(
        "--pinned-cert", type=Path, metavar="FILE", help="another owner's certificate, PEM or DER"
    )
    issue.add_argument(
        "--no-idevid-issuer", action="store_true", help="leave the IDevID's issuer out"
    )
    issue.add_argument(
        "--id-data", action="store_true", help="content type id-data, as older signers use"
    )
    issue.add_argument(
        "--wrong", metavar="DEFECT", help="make it wrong; --list-wrong lists the ways"
    )
    issue.add_argument("--list-wrong", action="store_true", help="list all defects and exit")
    issue.add_argument("serial", nargs="*", metavar="SN")
    issue.set_defaults(handler=_issue)

    renew = actions.add_parser(
        "renew",
        help="the same vouchers with new dates",
        description="Replace each voucher by one that says the same with new dates.",
        epilog="example:\n  xpu-emulator voucher renew --pki build/pki build/vouchers/SN123.vcj\n",
        formatter_class=raw,
    )
    renew.add_argument("--pki", type=Path, metavar="FOLDER", required=True)
    dates = renew.add_mutually_exclusive_group()
    dates.add_argument("--valid-days", type=float, metavar="N", help="default: as long as before")
    dates.add_argument("--expires-on", metavar="TIME")
    renew.add_argument("file", nargs="+", type=Path, metavar="FILE")
    renew.set_defaults(handler=_renew)

    show = actions.add_parser(
        "show",
        help="print what a voucher says",
        description="Print what a voucher says. Nothing is verified.",
        epilog="example:\n  xpu-emulator voucher show --json build/vouchers/SN123.vcj\n",
        formatter_class=raw,
    )
    show.add_argument("--json", action="store_true", help="one object, for machines")
    show.add_argument("file", type=Path, metavar="FILE")
    show.set_defaults(handler=_show)


def parse_defect(name: str | None, allowed: tuple[Wrong, ...]) -> Wrong | None:
    """A defect by its name.

    Raises:
        EmulatorError: unknown, or not one of these artifacts.
    """
    if name is None:
        return None
    for each in allowed:
        if each == name:
            return each
    raise EmulatorError(f"no defect {name!r} here; --list-wrong lists them")


def print_defects(allowed: tuple[Wrong, ...]) -> None:
    """One line each: name and explanation."""
    width = max(len(each) for each in allowed)
    for each in allowed:
        print(f"{each:<{width}}  {each.explanation}")


def _issue(arguments: argparse.Namespace) -> int:
    if arguments.list_wrong:
        print_defects(_DEFECTS)
        return 0
    if arguments.pki is None or not arguments.serial:
        raise EmulatorError("say for which serial numbers, and with --pki of which folder")
    wrong = parse_defect(arguments.wrong, _DEFECTS)
    pki = Pki.load(arguments.pki)
    created = parse_time(arguments.created_on) if arguments.created_on else datetime.now(UTC)
    nonce = None if arguments.nonce is None else _decode_nonce(arguments.nonce)
    pinned = read_certificate(arguments.pinned_cert) if arguments.pinned_cert else None
    folder = arguments.out or arguments.pki / "vouchers"
    made = {
        folder / f"{path_component(serial)}.vcj": issue_voucher(
            pki,
            serial,
            created_on=created,
            expires_on=_expiry(arguments, created),
            nonce=nonce,
            assertion=arguments.assertion,
            revocation_checks=_boolean(arguments.revocation_checks),
            last_renewal=_optional_time(arguments.last_renewal_date),
            with_idevid_issuer=not arguments.no_idevid_issuer,
            pinned_cert=pinned,
            content_type=ContentType.DATA if arguments.id_data else ContentType.VOUCHER_JSON,
            wrong=wrong,
        )
        for serial in arguments.serial
    }
    for path, octets in made.items():
        write_file(path, octets, replace=arguments.force)
        print(path)
    return 0


def _renew(arguments: argparse.Namespace) -> int:
    pki = Pki.load(arguments.pki)
    created = datetime.now(UTC)
    made = {}
    for path in arguments.file:
        old = read_file(path, limit=VOUCHER_FILE_LIMIT)
        try:
            made[path] = renew_voucher(
                pki, old, created_on=created, expires_on=_expiry(arguments, created)
            )
        except EmulatorError as error:
            raise EmulatorError(f"{path}: {error}") from error
    for path, octets in made.items():
        write_file(path, octets, replace=True)
        print(path)
    return 0


def _show(arguments: argparse.Namespace) -> int:
    try:
        contents = read_voucher(read_file(arguments.file, limit=VOUCHER_FILE_LIMIT))
    except EmulatorError as error:
        raise EmulatorError(f"{arguments.file}: {error}") from error
    if arguments.json:
        shown = {
            "format": "xpu-emulator-voucher/1",
            "content-type": contents.content_type,
            "voucher": dict(contents.leaves),
            "certificates": list(contents.certificates),
            "signers": list(contents.signers),
        }
        print(json.dumps(shown, indent=2))
        return 0
    lines = [("content type", contents.content_type)]
    lines += [(name, _leaf_text(name, value)) for name, value in contents.leaves.items()]
    lines += [("certificate", each) for each in contents.certificates]
    lines += [("signed by", each) for each in contents.signers]
    width = max(len(name) for name, _ in lines)
    for name, text in lines:
        print(f"{name:<{width}}  {text}")
    return 0


def _leaf_text(name: str, value: Any) -> str:
    if name == "pinned-domain-cert":
        try:
            certificate = asn1_x509.Certificate.load(base64.b64decode(value), strict=True)
            subject = str(certificate.subject.human_friendly)
        except (ValueError, TypeError):
            return "no certificate"
        return f"{subject} (SHA-256 {certificate.sha256.hex()})"
    # What a voucher says is somebody else's text: no control characters reach the terminal.
    return json.dumps(value)[:200].strip('"')


def _signer_text(signer: Any) -> str:
    if signer["sid"].name == "subject_key_identifier":
        return f"key {signer['sid'].native.hex()}"
    named = signer["sid"].chosen
    return f"serial number {named['serial_number'].native} of {named['issuer'].human_friendly}"


def _expiry(arguments: argparse.Namespace, created: datetime) -> datetime | None:
    if arguments.valid_days is not None:
        try:
            return created + timedelta(days=arguments.valid_days)
        except (OverflowError, ValueError) as error:
            raise EmulatorError(f"{arguments.valid_days} days reach too far") from error
    return _optional_time(arguments.expires_on)


def _optional_time(text: str | None) -> datetime | None:
    return None if text is None else parse_time(text)


def _boolean(text: str | None) -> bool | None:
    return None if text is None else text == "true"


def _decode_nonce(text: str) -> bytes:
    try:
        nonce = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise EmulatorError("the nonce is no base64") from error
    if not 8 <= len(nonce) <= 32:
        raise EmulatorError(f"a nonce has 8 to 32 octets (RFC 8366), not {len(nonce)}")
    return nonce
