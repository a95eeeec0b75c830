# SPDX-License-Identifier: Apache-2.0
"""Scenario files: which servers there are, what each device gets from them, what goes wrong.

The format is described by the example, `scenario_files/redirect-then-onboard.yaml`. Reading is
strict (see `strict_yaml`) and pure apart from reading the one file; `scenario_run` brings a
scenario to life. Paths are relative to the scenario file.
"""

import dataclasses
import enum
import re
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from xpu_emulator.faults import FAULTS, Fault, FaultRule
from xpu_emulator.keys import KeyKind
from xpu_emulator.listener import Demand
from xpu_emulator.messages import MediaTypes
from xpu_emulator.rpc import Encoding, ProgressType
from xpu_emulator.server import ServerPolicy
from xpu_emulator.strict_yaml import Item, ScenarioError, Section, read_yaml
from xpu_emulator.wrong import Wrong

__all__ = ["Scenario", "ScenarioError", "example_scenario", "load_scenario"]

FORMAT = "xpu-emulator-scenario/1"
FILE_SERVER = "file-server"  # its name in the PKI folder
ARTIFACTS = ("conveyed-information", "owner-certificate", "ownership-voucher")
_ENCODINGS = {"json": Encoding.JSON, "xml": Encoding.XML}
_SHA256 = re.compile("[0-9a-f]{64}")
_NAME = re.compile("[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class DeviceSpec:
    """A device whose IDevID is in the PKI folder, or is made."""

    serial_number: str
    key: KeyKind | None = None


@dataclass(frozen=True, slots=True)
class RedirectEntry:
    """An entry of redirect information: a server of this scenario, or any address."""

    server: str | None
    address: str | None
    port: int | None
    trust_anchor: bool


@dataclass(frozen=True, slots=True)
class BootImageSpec:
    """Boot image criteria; a URI that is a path stands for a file of this scenario's file server.

    `sha256` is that file's unless it is given.
    """

    os_name: str | None
    os_version: str | None
    download_uris: tuple[str, ...]
    sha256: str | None


@dataclass(frozen=True, slots=True)
class OnboardingSpec:
    """Onboarding information."""

    boot_image: BootImageSpec | None
    pre_script: bytes | None
    configuration: bytes | None
    handling: str | None
    post_script: bytes | None


@dataclass(frozen=True, slots=True)
class VoucherSpec:
    """How vouchers are made; with `nonce` they carry the one of the request, signed on demand."""

    nonce: bool = False
    days: int = 365  # until it expires; with a nonce it doesn't
    assertion: str = "verified"
    idevid_issuer: bool = True
    revocation_checks: bool | None = None


@dataclass(frozen=True, slots=True)
class AnswerSpec:
    """What some devices get."""

    devices: tuple[str, ...]  # empty: every device
    if_signed_preferred: bool  # only when the request has signed-data-preferred
    content: tuple[RedirectEntry, ...] | OnboardingSpec
    signed: bool
    encoding: Encoding
    encrypted: tuple[str, ...]
    reporting_level: str | None
    voucher: VoucherSpec
    wrong: tuple[tuple[str, Wrong], ...]  # artifact and its defect


@dataclass(frozen=True, slots=True)
class ServerSpec:
    """One bootstrap server."""

    name: str
    port: int
    names: tuple[str, ...]  # in its certificate
    client_certificates: Demand
    policy: ServerPolicy
    answers: tuple[AnswerSpec, ...]
    report_statuses: tuple[tuple[ProgressType, int], ...]
    faults: tuple[FaultRule, ...]


@dataclass(frozen=True, slots=True)
class GeneratedSpec:
    """A pseudo-random file."""

    mebibytes: int
    seed: str


FileSpec: TypeAlias = GeneratedSpec | Path | bytes


@dataclass(frozen=True, slots=True)
class FileServerSpec:
    """The server boot images come from."""

    port: int
    names: tuple[str, ...]
    tls: bool
    ranges: bool
    client_certificates: Demand
    files: tuple[tuple[str, FileSpec], ...]
    faults: tuple[FaultRule, ...]


@dataclass(frozen=True, slots=True)
class Scenario:
    """A whole scenario file."""

    path: Path
    description: str
    pki: Path | None  # None: made for this run
    listen: str
    host_name: str
    devices: tuple[DeviceSpec, ...]
    servers: tuple[ServerSpec, ...]
    file_server: FileServerSpec | None


def example_scenario() -> Path:
    """The documented example that comes with the package."""
    return Path(__file__).with_name("scenario_files") / "redirect-then-onboard.yaml"


def load_scenario(path: Path) -> Scenario:
    """Read a scenario file.

    Raises:
        ScenarioError: it can't be used; file, line and key are in the message.
    """
    top = read_yaml(path).section(
        "format", "description", "pki", "listen", "host-name", "devices", "servers", "file-server"
    )
    version = top.require("format")
    if version.text() != FORMAT:
        version.fail(f"unknown format {version.text()!r}; this is {FORMAT}")
    folder = path.parent
    host_name = top.get("host-name", Item.text, "localhost")
    listen = top.get("listen", Item.text, "127.0.0.1")
    names = tuple(dict.fromkeys((host_name, listen)))
    devices = tuple(_device(item) for item in top.require("devices").items())
    known = {device.serial_number for device in devices}
    server_items = top.require("servers").items()
    servers = tuple(_server(item, names, known, folder) for item in server_items)
    _unique(top.require("devices"), [device.serial_number for device in devices])
    _unique(top.require("servers"), [server.name for server in servers])
    files_item = top.optional("file-server")
    files = None if files_item is None else _file_server(files_item, names, folder)
    scenario = Scenario(
        path=path,
        description=top.get("description", Item.text, "").strip(),
        pki=top.get("pki", lambda item: folder / item.text(), None),
        listen=listen,
        host_name=host_name,
        devices=devices,
        servers=servers,
        file_server=files,
    )
    _check_references(scenario, top)
    return scenario


def _unique(item: Item, names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            item.fail(f"{name!r} stands twice")


def _check_references(scenario: Scenario, top: Section) -> None:
    """Servers and files that are named must be there."""
    servers = {server.name for server in scenario.servers}
    files = {name for name, _ in scenario.file_server.files} if scenario.file_server else set()
    for server, item in zip(scenario.servers, top.require("servers").items(), strict=True):
        for answer in server.answers:
            if isinstance(answer.content, OnboardingSpec):
                image = answer.content.boot_image
                local = [u for u in image.download_uris if u.startswith("/")] if image else []
                for uri in local:
                    if uri not in files:
                        item.fail(f"download-uri {uri!r} is no file of the file server")
                continue
            for entry in answer.content:
                if entry.server is not None and entry.server not in servers:
                    item.fail(f"there is no server {entry.server!r} to redirect to")


def _device(item: Item) -> DeviceSpec:
    if not item.is_mapping:
        return DeviceSpec(item.text())
    section = item.section("serial-number", "key")
    return DeviceSpec(
        section.require("serial-number").text(),
        section.get("key", lambda each: each.choice(KeyKind), None),
    )


def _texts(item: Item) -> tuple[str, ...]:
    return tuple(entry.text() for entry in item.items())


def _port(item: Item) -> int:
    return item.integer(0, 65535)


def _demand(item: Item) -> Demand:
    return item.choice(Demand)


def _server(item: Item, names: tuple[str, ...], devices: set[str], folder: Path) -> ServerSpec:
    section = item.section(
        "name",
        "port",
        "names",
        "client-certificates",
        "restconf-root",
        "announces-root",
        "encodings",
        "exact-media-types",
        "misprinted-media-types",
        "passwords",
        "demands-client-certificate",
        "obeys-signed-data-preferred",
        "answers",
        "reports",
        "faults",
    )
    name = section.require("name")
    if not _NAME.fullmatch(name.text()):
        name.fail("a name has letters, digits, dots, dashes and underscores, at most 64")
    if name.text() == FILE_SERVER:
        name.fail(f"{FILE_SERVER!r} is the name of the file server")
    demand = section.get("client-certificates", _demand, Demand.REQUIRED)
    default = ServerPolicy()
    passwords = section.get("passwords", _passwords, None) or {}
    policy = ServerPolicy(
        restconf_root=section.get("restconf-root", Item.text, default.restconf_root),
        announces_root=section.get("announces-root", Item.switch, default.announces_root),
        media_types=MediaTypes(
            section.get("encodings", _encodings, frozenset(Encoding)),
            section.get("exact-media-types", Item.switch, default.media_types.exact),
            section.get("misprinted-media-types", Item.switch, default.media_types.misprints),
        ),
        demands_client_certificate=section.get(
            "demands-client-certificate", Item.switch, demand is Demand.REQUIRED or not passwords
        ),
        basic_passwords=passwords,
        obeys_signed_data_preferred=section.get(
            "obeys-signed-data-preferred", Item.switch, default.obeys_signed_data_preferred
        ),
    )
    return ServerSpec(
        name=name.text(),
        port=section.get("port", _port, 0),
        names=section.get("names", _texts, names),
        client_certificates=demand,
        policy=policy,
        answers=section.get(
            "answers", lambda each: tuple(_answer(i, devices, folder) for i in each.items()), ()
        ),
        report_statuses=section.get("reports", _report_statuses, ()),
        faults=section.get("faults", _faults, ()),
    )


def _passwords(item: Item) -> dict[str, str]:
    return {user: password.text() for user, password in item.pairs()}


def _encodings(item: Item) -> frozenset[Encoding]:
    found = frozenset(_encoding(entry) for entry in item.items())
    if not found:
        item.fail("a server knows at least one encoding")
    return found


def _encoding(item: Item) -> Encoding:
    return _ENCODINGS[item.one_of(_ENCODINGS)]


def _report_statuses(item: Item) -> tuple[tuple[ProgressType, int], ...]:
    types_ = {member.value: member for member in ProgressType}
    section = item.section(*types_)
    return tuple((types_[name], value.integer(100, 599)) for name, value in section.values.items())


def _answer(item: Item, devices: set[str], folder: Path) -> AnswerSpec:
    section = item.section(
        "devices",
        "if-signed-preferred",
        "redirect",
        "onboarding",
        "signed",
        "encoding",
        "encrypted",
        "reporting-level",
        "voucher",
        "wrong",
    )
    for_devices = section.get("devices", _texts, ())
    for serial_number in for_devices:
        if serial_number not in devices:
            section.require("devices").fail(f"{serial_number!r} is not among the devices")
    redirect, onboarding = section.optional("redirect"), section.optional("onboarding")
    content: tuple[RedirectEntry, ...] | OnboardingSpec
    if redirect is not None and onboarding is None:
        content = tuple(_redirect_entry(entry) for entry in redirect.items())
    elif onboarding is not None and redirect is None:
        content = _onboarding(onboarding, folder)
    else:
        item.fail("an answer has either 'redirect' or 'onboarding'")
    return AnswerSpec(
        devices=for_devices,
        if_signed_preferred=section.get("if-signed-preferred", Item.switch, default=False),
        content=content,
        signed=section.get("signed", Item.switch, default=True),
        encoding=section.get("encoding", _encoding, Encoding.JSON),
        encrypted=section.get(
            "encrypted", lambda each: tuple(e.one_of(ARTIFACTS) for e in each.items()), ()
        ),
        reporting_level=section.get(
            "reporting-level", lambda each: each.one_of(("minimal", "verbose")), None
        ),
        voucher=section.get("voucher", _voucher, VoucherSpec()),
        wrong=section.get("wrong", _wrong, ()),
    )


def _wrong(item: Item) -> tuple[tuple[str, Wrong], ...]:
    section = item.section(*ARTIFACTS)
    return tuple((name, value.choice(Wrong)) for name, value in section.values.items())


def _redirect_entry(item: Item) -> RedirectEntry:
    section = item.section("server", "address", "port", "trust-anchor")
    server, address = (
        section.get("server", Item.text, None),
        section.get("address", Item.text, None),
    )
    if (server is None) == (address is None):
        item.fail("a redirect names either a 'server' of this scenario or an 'address'")
    return RedirectEntry(
        server,
        address,
        section.get("port", lambda each: each.integer(1, 65535), None),
        section.get("trust-anchor", Item.switch, default=False),
    )


def _onboarding(item: Item, folder: Path) -> OnboardingSpec:
    section = item.section(
        "boot-image",
        "pre-configuration-script",
        "configuration",
        "configuration-handling",
        "post-configuration-script",
    )

    def octets(key: str) -> bytes | None:
        return section.get(key, lambda each: _octets(each, folder), None)

    return OnboardingSpec(
        boot_image=section.get("boot-image", _boot_image, None),
        pre_script=octets("pre-configuration-script"),
        configuration=octets("configuration"),
        handling=section.get(
            "configuration-handling", lambda each: each.one_of(("merge", "replace")), None
        ),
        post_script=octets("post-configuration-script"),
    )


def _octets(item: Item, folder: Path) -> bytes:
    """Text as it stands, or `{path: FILE}`."""
    if not item.is_mapping:
        return item.text().encode()
    path = item.section("path").require("path")
    try:
        return (folder / path.text()).read_bytes()
    except OSError as error:
        path.fail(f"cannot be read: {error.strerror}")


def _boot_image(item: Item) -> BootImageSpec:
    section = item.section("os-name", "os-version", "download-uris", "sha256")
    sha256 = section.optional("sha256")
    if sha256 is not None and not _SHA256.fullmatch(sha256.text()):
        sha256.fail("a SHA-256 digest has 64 hexadecimal digits in lower case")
    return BootImageSpec(
        section.get("os-name", Item.text, None),
        section.get("os-version", Item.text, None),
        section.get("download-uris", _texts, ()),
        None if sha256 is None else sha256.text(),
    )


def _voucher(item: Item) -> VoucherSpec:
    section = item.section("nonce", "days", "assertion", "idevid-issuer", "revocation-checks")
    default = VoucherSpec()
    return VoucherSpec(
        section.get("nonce", Item.switch, default.nonce),
        section.get("days", lambda each: each.integer(-36500, 36500), default.days),
        section.get(
            "assertion",
            lambda each: each.one_of(("verified", "logged", "proximity")),
            default.assertion,
        ),
        section.get("idevid-issuer", Item.switch, default.idevid_issuer),
        section.get("revocation-checks", Item.switch, None),
    )


def _file_server(item: Item, names: tuple[str, ...], folder: Path) -> FileServerSpec:
    section = item.section(
        "port", "names", "tls", "ranges", "client-certificates", "files", "faults"
    )
    files: list[tuple[str, FileSpec]] = []
    for name, value in section.require("files").pairs():
        if not name.startswith("/"):
            value.fail("a file's name is the path in its URL and begins with a slash")
        files.append((name, _file(value, folder)))
    return FileServerSpec(
        port=section.get("port", _port, 0),
        names=section.get("names", _texts, names),
        tls=section.get("tls", Item.switch, default=True),
        ranges=section.get("ranges", Item.switch, default=True),
        client_certificates=section.get("client-certificates", _demand, Demand.NONE),
        files=tuple(files),
        faults=section.get("faults", _faults, ()),
    )


def _file(item: Item, folder: Path) -> FileSpec:
    if not item.is_mapping:
        return item.text().encode()
    section = item.section("generated-mib", "seed", "path")
    size, path = section.optional("generated-mib"), section.optional("path")
    if size is not None and path is None:
        return GeneratedSpec(size.integer(0, 1 << 20), section.get("seed", Item.text, "image"))
    if path is not None and len(section.values) == 1:
        found = folder / path.text()
        if not found.is_file():
            path.fail(f"there is no file {path.text()!r}")
        return found
    return item.fail("a file is a text, or has either 'generated-mib' (and 'seed') or 'path'")


# Faults


def _faults(item: Item) -> tuple[FaultRule, ...]:
    return tuple(_fault_rule(entry) for entry in item.items())


def _fault_rule(item: Item) -> FaultRule:
    """One fault with its occasion: the fault's own keys stand beside `first`, `skip`, `path`."""
    occasion = ("first", "skip", "path")
    pairs = dict(item.pairs())
    if "fault" not in pairs:
        item.fail("'fault' is missing")
    kind = FAULTS[pairs["fault"].one_of(FAULTS)]
    fields = {field.name.replace("_", "-"): field for field in dataclasses.fields(kind)}
    section = item.section("fault", *occasion, *fields)
    hints = typing.get_type_hints(kind)
    values: dict[str, Any] = {}
    for key, field in fields.items():
        value = section.optional(key)
        if value is not None:
            values[field.name] = _fault_value(value, hints[field.name])
        elif field.default is dataclasses.MISSING:
            item.fail(f"{key!r} is missing")
    fault: Fault = kind(**values)
    try:
        return FaultRule(
            (fault,),
            first=section.get("first", lambda each: each.integer(1), None),
            skip=section.get("skip", Item.integer, 0),
            path=section.get("path", Item.text, None),
        )
    except ValueError as error:
        return item.fail(str(error))


def _fault_value(item: Item, hint: Any) -> Any:
    if isinstance(hint, types.UnionType):
        (hint,) = (each for each in typing.get_args(hint) if each is not types.NoneType)
    if issubclass(hint, enum.Enum):
        return item.choice(hint)
    if hint is float:
        return item.seconds()
    if hint is int:
        # Only a Content-Length may be off downwards; a rate of nothing would never end.
        bounds = {"difference": -(2**40), "octets-per-second": 1}
        return item.integer(bounds.get(item.name.rpartition(".")[2], 0))
    return item.text()
