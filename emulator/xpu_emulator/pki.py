# SPDX-License-Identifier: Apache-2.0
"""The authorities around a device, and the command that keeps them in a folder.

The pieces live in `keys`, `identity`, `revocation` and `pki_folder`; this is their front.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from asn1crypto import x509 as asn1_x509

from xpu_emulator.identity import (
    NO_EXPIRY,
    CertificateExtension,
    Identity,
    distinguished_name,
    identity_from_pem,
    make_root,
)
from xpu_emulator.keys import KeyKind, PrivateKey, PublicKey, digest, new_key
from xpu_emulator.pki_folder import DEFAULT_SERVER_NAMES, Pki
from xpu_emulator.pki_folder import __doc__ as _layout
from xpu_emulator.revocation import crl_pem, make_crl, make_ocsp

__all__ = [
    "NO_EXPIRY",
    "CertificateExtension",
    "Identity",
    "KeyKind",
    "Pki",
    "PrivateKey",
    "PublicKey",
    "add_parser",
    "crl_pem",
    "distinguished_name",
    "identity_from_pem",
    "make_crl",
    "make_ocsp",
    "make_root",
    "new_key",
]


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """`xpu-emulator pki`."""
    raw = argparse.RawDescriptionHelpFormatter
    pki = subparsers.add_parser(
        "pki",
        help="make or extend a folder of authorities and device identities",
        description=_layout,
        epilog="example:\n"
        "  xpu-emulator pki create build/pki --serial SN123 --name bootstrap.example\n"
        "  xpu-emulator pki add-device build/pki SN125 --key rsa2048\n",
        formatter_class=raw,
    )
    actions = pki.add_subparsers(dest="action", metavar="ACTION", required=True)
    kinds = [str(kind) for kind in KeyKind]

    create = actions.add_parser(
        "create",
        help="make a new folder",
        description="Make all authorities, one bootstrap server and a file server.",
        epilog="example:\n  xpu-emulator pki create build/pki --serial SN123 --key p384\n",
        formatter_class=raw,
    )
    create.add_argument("folder", type=Path, metavar="FOLDER", help="missing or empty")
    create.add_argument("--manufacturer", default="Example Manufacturer", metavar="NAME")
    create.add_argument("--owner", default="Example Owner", metavar="NAME")
    create.add_argument("--key", choices=kinds, default="p256", help="kind of keys (default p256)")
    create.add_argument(
        "--device-key", choices=kinds, help="kind of the devices' keys (default: as --key)"
    )
    create.add_argument(
        "--serial", action="append", default=[], metavar="SN", help="a device; may be repeated"
    )
    create.add_argument(
        "--name",
        action="append",
        metavar="NAME",
        help="DNS name or IP address of the servers; may be repeated "
        f"(default: {', '.join(DEFAULT_SERVER_NAMES)})",
    )
    create.set_defaults(handler=_create)

    device = actions.add_parser(
        "add-device",
        help="issue IDevIDs",
        description="Issue an IDevID for each serial number.",
        epilog="example:\n  xpu-emulator pki add-device build/pki SN125 SN126 --key rsa2048\n",
        formatter_class=raw,
    )
    device.add_argument("folder", type=Path, metavar="FOLDER")
    device.add_argument("serial", nargs="+", metavar="SN")
    device.add_argument("--key", choices=kinds, help="kind of key (default: as the folder's)")
    device.set_defaults(handler=_add_device)

    server = actions.add_parser(
        "add-server",
        help="issue a server certificate",
        description="Issue a certificate for a bootstrap server with these names and addresses.",
        epilog="example:\n  xpu-emulator pki add-server build/pki second b.example 192.0.2.7\n",
        formatter_class=raw,
    )
    server.add_argument("folder", type=Path, metavar="FOLDER")
    server.add_argument("server", metavar="NAME", help="what to call it in the folder")
    server.add_argument("name", nargs="+", metavar="ADDRESS", help="DNS name or IP address")
    server.add_argument("--key", choices=kinds, help="kind of key (default: as the folder's)")
    server.set_defaults(handler=_add_server)

    show = actions.add_parser(
        "show",
        help="list what a folder holds",
        description="List every certificate of a folder with subject, expiry and fingerprint.",
        epilog="example:\n  xpu-emulator pki show build/pki --json\n",
        formatter_class=raw,
    )
    show.add_argument("folder", type=Path, metavar="FOLDER")
    show.add_argument("--json", action="store_true", help="for machines")
    show.set_defaults(handler=_show)


def _create(arguments: argparse.Namespace) -> int:
    pki = Pki.create(
        arguments.folder,
        manufacturer=arguments.manufacturer,
        owner=arguments.owner,
        key=KeyKind(arguments.key),
        serials=arguments.serial,
        device_key=KeyKind(arguments.device_key) if arguments.device_key else None,
        server_names=arguments.name or DEFAULT_SERVER_NAMES,
    )
    print(f"made {pki.folder} with {len(pki.serials)} devices")
    return 0


def _add_device(arguments: argparse.Namespace) -> int:
    pki = Pki.load(arguments.folder)
    for serial in arguments.serial:
        pki.add_device(serial, key=KeyKind(arguments.key) if arguments.key else None)
        print(f"added device {serial}")
    return 0


def _add_server(arguments: argparse.Namespace) -> int:
    key = KeyKind(arguments.key) if arguments.key else None
    Pki.load(arguments.folder).add_server(arguments.server, arguments.name, key=key)
    print(f"added server {arguments.server}")
    return 0


def _show(arguments: argparse.Namespace) -> int:
    entries = [_entry(path, each) for path, each in Pki.load(arguments.folder).identities()]
    if arguments.json:
        print(json.dumps({"format": "xpu-emulator-pki-list/1", "identities": entries}, indent=2))
        return 0
    for entry in entries:
        print(f"{entry['file']}\n  subject   {entry['subject']}")
        print(f"  valid to  {entry['not-after']}\n  SHA-256   {entry['sha256']}")
    return 0


def _entry(path: str, identity: Identity) -> dict[str, Any]:
    certificate = asn1_x509.Certificate.load(identity.der)
    not_after = certificate["tbs_certificate"]["validity"]["not_after"].native
    return {
        "file": f"{path}.pem",
        "subject": str(certificate.subject.human_friendly),
        "serial-number": str(identity.serial_number),
        "not-after": not_after.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "sha256": digest("sha256", identity.der).hex(),
    }
