# SPDX-License-Identifier: Apache-2.0
"""The file tree of removable storage with bootstrapping data (RFC 8572, 4.1), or an image of it.

RFC 8572 leaves names and folders open. For a device with serial number SN the tree has
conveyed-information.cms, owner-certificate.cms and ownership-voucher.vcj in one of

    /MANUFACTURER/SN/bootstrapping-data/    layout `manufacturer`
    /sztp/SN/                               layout `serial`
    /sztp/                                  layout `single`, a medium for one device

Octets outside `[A-Za-z0-9._-]` in names are percent-encoded. A boot image goes to /images/ and
is named by a `file:///images/NAME` URI.
"""

import argparse
import hashlib
import shutil
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from xpu_emulator.artifacts import (
    CONVEYED_DEFECTS,
    ENCODING_DEFECTS,
    ENVELOPE_DEFECTS,
    SIGNATURE_DEFECTS,
    VOUCHER_DEFECTS,
    ContentType,
    Document,
    Wrong,
    bootstrap_server,
    certificates_only,
    conveyed_json,
    conveyed_xml,
    enveloped,
    onboarding_document,
    owner_certificate,
    plain,
    redirect_document,
    signed,
    wrong_document,
)
from xpu_emulator.errors import EmulatorError
from xpu_emulator.folders import make_folder, path_component, read_file, write_file
from xpu_emulator.media_image import make_image, make_iso, make_vfat
from xpu_emulator.pki import Identity, Pki
from xpu_emulator.voucher import issue_voucher, parse_defect, print_defects

_CONVEYED_FILE: Final = "conveyed-information"
_OWNER_FILE: Final = "owner-certificate.cms"
_VOUCHER_FILE: Final = "ownership-voucher.vcj"
_PAYLOAD_LIMIT: Final = 1 << 20  # octets
_CONVEYED_WRONG = (*ENCODING_DEFECTS, *SIGNATURE_DEFECTS, *ENVELOPE_DEFECTS, *CONVEYED_DEFECTS)
_VOUCHER_WRONG = (*ENCODING_DEFECTS, *SIGNATURE_DEFECTS, *VOUCHER_DEFECTS)


class Layout(StrEnum):
    """Where on the medium a device looks."""

    MANUFACTURER = "manufacturer"
    SERIAL = "serial"
    SINGLE = "single"


@dataclass(frozen=True, slots=True)
class BootstrappingData:
    """The files of one device. `form` of unsigned data: `cms`, or the bare document."""

    conveyed_information: bytes
    owner_certificate: bytes | None = None
    ownership_voucher: bytes | None = None
    form: str = "cms"  # cms | json | xml: the file's suffix


def device_folder(serial: str, layout: Layout, manufacturer: str) -> Path:
    """Where the files of a device lie, relative to the medium's root.

    Raises:
        EmulatorError: serial number or manufacturer can't be a file name.
    """
    match layout:
        case Layout.MANUFACTURER:
            return Path(path_component(manufacturer), path_component(serial), "bootstrapping-data")
        case Layout.SERIAL:
            return Path("sztp", path_component(serial))
        case Layout.SINGLE:
            return Path("sztp")


def write_bootstrapping_data(folder: Path, data: BootstrappingData, *, replace: bool) -> None:
    """Write the files of one device; none is there yet unless `replace`.

    Raises:
        EmulatorError: a file exists, or can't be written.
    """
    files = {f"{_CONVEYED_FILE}.{data.form}": data.conveyed_information}
    if data.owner_certificate is not None:
        files[_OWNER_FILE] = data.owner_certificate
    if data.ownership_voucher is not None:
        files[_VOUCHER_FILE] = data.ownership_voucher
    for name in files:
        if not replace and (folder / name).exists():
            raise EmulatorError(f"{folder / name} exists already")
    for name, octets in files.items():
        write_file(folder / name, octets, replace=replace)


def signed_data_for(
    pki: Pki,
    serial: str,
    content: bytes,
    content_type: str = ContentType.CONVEYED_JSON,
    *,
    encrypt: bool = False,
    wrong: Wrong | None = None,
    wrong_voucher: Wrong | None = None,
) -> BootstrappingData:
    """Conveyed information signed by the folder's owner, with owner certificate and voucher.

    With `encrypt` each of the three is enveloped for the device's IDevID (RFC 8572, 3.4).

    Raises:
        EmulatorError: no such device, one that can't decrypt, or a defect that doesn't apply.
    """
    device = pki.device(serial)
    try:
        outer = wrong if encrypt and wrong in (*ENCODING_DEFECTS, *ENVELOPE_DEFECTS) else None
        conveyed = signed(
            content,
            content_type,
            pki.owner,
            certificates=pki.owner.chain if wrong is Wrong.CERTIFICATES_OUT_OF_ORDER else (),
            wrong=None if outer else wrong,
        )
        owner = owner_certificate(pki.owner)
        voucher = issue_voucher(pki, serial, wrong=wrong_voucher)
        if encrypt:
            conveyed = _envelope(conveyed, device, outer)
            owner, voucher = (_envelope(each, device, None) for each in (owner, voucher))
    except ValueError as error:
        raise EmulatorError(f"no such data for {serial}: {error}") from error
    return BootstrappingData(conveyed, owner, voucher)


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """`xpu-emulator media`."""
    parser = subparsers.add_parser(
        "media",
        help="make the file tree of removable storage",
        description=__doc__,
        epilog="examples:\n"
        "  xpu-emulator media --pki build/pki --out build/usb --configuration startup.conf SN123\n"
        "  xpu-emulator media --pki build/pki --out build/usb --image os.img --os-name XOS \\\n"
        "      --os-version 2.1 --layout manufacturer --iso build/usb.iso SN123 SN124\n"
        "  xpu-emulator media --pki build/pki --out build/usb --redirect b.example:8443 \\\n"
        "      --unsigned json SN123\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--pki", type=Path, metavar="FOLDER", help="see: xpu-emulator pki --help")
    parser.add_argument("--out", type=Path, metavar="DIR", help="root of the tree; may exist")
    parser.add_argument("--force", action="store_true", help="replace files that exist")
    parser.add_argument("--layout", choices=[str(each) for each in Layout], default="serial")
    parser.add_argument(
        "--manufacturer", metavar="NAME", help="folder of that layout (default: the PKI folder's)"
    )
    onboarding = parser.add_argument_group("onboarding information")
    onboarding.add_argument("--configuration", type=Path, metavar="FILE")
    onboarding.add_argument("--handling", choices=("merge", "replace"), help="default: merge")
    onboarding.add_argument("--pre-script", type=Path, metavar="FILE")
    onboarding.add_argument("--post-script", type=Path, metavar="FILE")
    onboarding.add_argument("--image", type=Path, metavar="FILE", help="copied to the medium")
    onboarding.add_argument("--os-name", metavar="NAME")
    onboarding.add_argument("--os-version", metavar="VERSION")
    other = parser.add_argument_group("or instead")
    other.add_argument(
        "--redirect", action="append", metavar="HOST[:PORT]", help="redirect; may be repeated"
    )
    other.add_argument("--document", type=Path, metavar="FILE", help="a document in JSON or XML")
    parser.add_argument(
        "--unsigned",
        choices=("cms", "json", "xml"),
        help="no signature and no voucher, in CMS or as the bare document; fit for redirects only",
    )
    parser.add_argument("--encrypt", action="store_true", help="for the device's eyes only")
    parser.add_argument("--iso", type=Path, metavar="FILE", help="an ISO image of the tree too")
    parser.add_argument("--vfat", type=Path, metavar="FILE", help="a FAT image of the tree too")
    parser.add_argument("--wrong", metavar="DEFECT", help="of the conveyed information")
    parser.add_argument("--wrong-voucher", metavar="DEFECT", help="of the ownership voucher")
    parser.add_argument("--list-wrong", action="store_true", help="list all defects and exit")
    parser.add_argument("serial", nargs="*", metavar="SN")
    parser.set_defaults(handler=_media)


def _media(arguments: argparse.Namespace) -> int:
    if arguments.list_wrong:
        print_defects(tuple(Wrong))
        return 0
    if arguments.pki is None or arguments.out is None or not arguments.serial:
        raise EmulatorError("say for which serial numbers, with --pki and --out")
    layout = Layout(arguments.layout)
    if layout is Layout.SINGLE and len(arguments.serial) > 1:
        raise EmulatorError("the layout `single` has room for one device")
    wrong = parse_defect(arguments.wrong, _CONVEYED_WRONG)
    wrong_voucher = parse_defect(arguments.wrong_voucher, _VOUCHER_WRONG)
    pki = Pki.load(arguments.pki)
    content, content_type = _content(arguments, pki)
    if arguments.unsigned and (arguments.encrypt or wrong_voucher):
        raise EmulatorError("--unsigned leaves nothing to encrypt and has no voucher")
    if wrong in CONVEYED_DEFECTS:
        content, wrong = _spoil(content, content_type, wrong), None
    made = {}
    for serial in arguments.serial:
        folder = arguments.out / device_folder(
            serial, layout, arguments.manufacturer or pki.manufacturer
        )
        if arguments.unsigned:
            pki.device(serial)
            made[folder] = _unsigned(content, content_type, arguments.unsigned, wrong)
        else:
            made[folder] = signed_data_for(
                pki,
                serial,
                content,
                content_type,
                encrypt=arguments.encrypt,
                wrong=wrong,
                wrong_voucher=wrong_voucher,
            )
    for folder, data in made.items():
        write_bootstrapping_data(folder, data, replace=arguments.force)
        print(folder)
    if arguments.image:
        _copy_image(arguments.image, arguments.out, replace=arguments.force)
    for path, maker in ((arguments.iso, make_iso), (arguments.vfat, make_vfat)):
        if path is not None:
            make_image(maker, arguments.out, path, replace=arguments.force)
            print(path)
    return 0


def _content(arguments: argparse.Namespace, pki: Pki) -> tuple[bytes, str]:
    onboarding = (
        arguments.configuration,
        arguments.pre_script,
        arguments.post_script,
        arguments.image,
        arguments.os_name,
        arguments.os_version,
    )
    given = [arguments.redirect, arguments.document, any(each is not None for each in onboarding)]
    if sum(map(bool, given)) != 1:
        raise EmulatorError(
            "say what to convey: onboarding information (--configuration, --image, ...), "
            "--redirect, or --document, and one of them only"
        )
    if arguments.document:
        text = read_file(arguments.document, limit=_PAYLOAD_LIMIT)
        xml = text.lstrip()[:1] == b"<"
        return text, ContentType.CONVEYED_XML if xml else ContentType.CONVEYED_JSON
    if arguments.redirect:
        # An anchor that nobody signed would be ignored (RFC 8572, 5.5).
        anchor = None if arguments.unsigned else certificates_only([pki.bootstrap_server_ca])
        servers = [bootstrap_server(*_host_port(each), anchor) for each in arguments.redirect]
        document = redirect_document(servers)
    else:
        document = _onboarding(arguments)
    if arguments.unsigned == "xml":
        return conveyed_xml(document), ContentType.CONVEYED_XML
    return conveyed_json(document), ContentType.CONVEYED_JSON


def _onboarding(arguments: argparse.Namespace) -> Document:
    image: dict[str, Any] = {}
    if arguments.image:
        image = {
            "download_uris": [f"file:///images/{quote(_image_name(arguments.image))}"],
            "image_sha256": _sha256(arguments.image),
        }
    if arguments.handling and not arguments.configuration:
        raise EmulatorError("--handling goes with --configuration")
    return onboarding_document(
        os_name=arguments.os_name,
        os_version=arguments.os_version,
        configuration=_payload(arguments.configuration),
        handling=arguments.handling,
        pre_script=_payload(arguments.pre_script),
        post_script=_payload(arguments.post_script),
        **image,
    )


def _unsigned(
    content: bytes, content_type: str, form: str, wrong: Wrong | None
) -> BootstrappingData:
    if form != "cms":
        if wrong is not None:
            raise EmulatorError(f"the defect {wrong} needs CMS")
        if (content_type == ContentType.CONVEYED_XML) != (form == "xml"):
            raise EmulatorError(f"the document isn't {form}")
        return BootstrappingData(content, form=form)
    try:
        return BootstrappingData(plain(content, content_type, wrong=wrong))
    except ValueError as error:
        raise EmulatorError(str(error)) from error


def _spoil(content: bytes, content_type: str, wrong: Wrong | None) -> bytes:
    if content_type == ContentType.CONVEYED_XML or wrong is None:
        raise EmulatorError(f"the defect {wrong} is one of documents in JSON")
    try:
        return wrong_document(content, wrong)
    except (ValueError, TypeError, AttributeError) as error:
        raise EmulatorError(f"the document can't be wrong that way: {error}") from error


def _envelope(artifact: bytes, device: Identity, wrong: Wrong | None) -> bytes:
    cipher = "aes-256-gcm" if wrong in {Wrong.TAMPERED_MAC, Wrong.SHORT_MAC} else "aes-256-cbc"
    return enveloped(artifact, recipients=[device], cipher=cipher, wrong=wrong)


def _host_port(text: str) -> tuple[str, int | None]:
    host, separator, port = text.rpartition(":")
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        separator, port = rest[:1], rest[1:]
    elif text.count(":") != 1:
        host, separator, port = text, "", ""
    if not host or (separator and not (port.isascii() and port.isdigit() and int(port) <= 65535)):
        raise EmulatorError(f"{text!r} is no HOST, HOST:PORT or [ADDRESS]:PORT")
    return host, int(port) if separator else None


def _payload(path: Path | None) -> bytes | None:
    return None if path is None else read_file(path, limit=_PAYLOAD_LIMIT)


def _image_name(path: Path) -> str:
    return path_component(path.name)


def _sha256(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise EmulatorError(f"can't read {path}: {error.strerror}") from error


def _copy_image(image: Path, out: Path, *, replace: bool) -> None:
    target = out / "images" / _image_name(image)
    if target.exists() and not replace:
        raise EmulatorError(f"{target} exists already")
    make_folder(target.parent)
    try:
        shutil.copyfile(image, target)
    except OSError as error:
        raise EmulatorError(f"can't copy {image} to {target}: {error}") from error
