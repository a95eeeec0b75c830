# SPDX-License-Identifier: Apache-2.0
"""A folder with every authority of an SZTP world, one file per certificate and per key.

    FOLDER/
      pki.json                           who is who, and the kind of new keys
      manufacturer/root.pem .key         trust anchor of vouchers
      manufacturer/voucher-signer.pem    issued by the root, signs ownership vouchers (RFC 8366)
      manufacturer/idevid-ca.pem         issued by the root, issues IDevIDs (IEEE 802.1AR)
      devices/SERIAL/idevid.pem          the device's certificate, then its issuer's
      owner/root.pem                     the domain CA that vouchers pin
      owner/certificate.pem              issued by it, signs conveyed information
      servers/ca.pem                     trust anchor of bootstrap servers
      servers/NAME/certificate.pem       a server's certificate, then its issuers below the root
      file-server/certificate.pem        where boot images come from; same issuer
      anchors/vouchers.pem, servers.pem  what a device is given in the factory

Beside each NAME.pem lies NAME.key, unencrypted PKCS#8 with mode 0600: test keys, for tests only.
"""

import ipaddress
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from xpu_emulator.errors import EmulatorError
from xpu_emulator.folders import make_new_folder, path_component, read_file, write_file
from xpu_emulator.identity import NO_EXPIRY, Identity, identity_from_pem, make_root
from xpu_emulator.keys import KeyKind

FORMAT: Final = "xpu-emulator-pki/1"
DEFAULT_SERVER_NAMES: Final = ("localhost", "127.0.0.1", "::1")

_DESCRIPTION = "pki.json"
_DEVICES = "devices"
_SERVERS = "servers"
_BACKDATED = timedelta(days=1)
_VALIDITY = timedelta(days=3650)


@dataclass(slots=True)
class Pki:
    """The authorities of a folder; devices and servers are read when asked for.

    Made by `create` or `load`; changes go to the folder at once.
    """

    folder: Path
    manufacturer: str
    owner_name: str
    key_kind: KeyKind
    manufacturer_root: Identity
    voucher_signer: Identity
    idevid_ca: Identity
    owner_root: Identity
    owner: Identity
    bootstrap_server_ca: Identity
    file_server: Identity
    _devices: dict[str, Identity] = field(default_factory=dict, repr=False)
    _servers: dict[str, Identity] = field(default_factory=dict, repr=False)

    @classmethod
    def create(
        cls,
        folder: Path,
        *,
        manufacturer: str = "Example Manufacturer",
        owner: str = "Example Owner",
        key: KeyKind = KeyKind.P256,
        serials: Sequence[str] = (),
        device_key: KeyKind | None = None,
        server_names: Sequence[str] = DEFAULT_SERVER_NAMES,
        not_before: datetime | None = None,
    ) -> "Pki":
        """Make all authorities, the devices, and one bootstrap server, in an empty folder.

        `not_before` of all certificates is a day ago unless given. Signers and servers are
        valid for ten years; the manufacturer's CAs and IDevIDs don't expire.

        Raises:
            EmulatorError: the folder isn't empty or can't be written, or a name is unusable.
        """
        if len({path_component(serial) for serial in serials}) != len(serials):
            raise EmulatorError("a serial number is given twice")
        for name in (manufacturer, owner):
            if not name or not name.isprintable():
                raise EmulatorError(f"{name!r} is no name for a manufacturer or owner")
        start = not_before or datetime.now(UTC).replace(microsecond=0) - _BACKDATED
        end = start + _VALIDITY
        maker_root = make_root(
            f"{manufacturer} Root", key=key, not_before=start, not_after=NO_EXPIRY
        )
        owner_root = make_root(f"{owner} Domain CA", key=key, not_before=start, not_after=end)
        server_ca = make_root(
            f"{owner} Bootstrap Server CA", key=key, not_before=start, not_after=end
        )
        pki = cls(
            folder=folder,
            manufacturer=manufacturer,
            owner_name=owner,
            key_kind=key,
            manufacturer_root=maker_root,
            voucher_signer=maker_root.issue(
                f"{manufacturer} Voucher Signer",
                key=key,
                key_usage={"digital_signature"},
                not_before=start,
                not_after=end,
            ),
            idevid_ca=maker_root.issue(
                f"{manufacturer} IDevID CA",
                key=key,
                ca=True,
                path_length=0,
                not_before=start,
                not_after=NO_EXPIRY,
            ),
            owner_root=owner_root,
            owner=owner_root.issue(
                f"{owner} Owner Certificate",
                key=key,
                key_usage={"digital_signature"},
                not_before=start,
                not_after=end,
            ),
            bootstrap_server_ca=server_ca,
            file_server=_server(server_ca, "file-server", server_names, key, start),
        )
        make_new_folder(folder)
        for name, identity in pki._authorities().items():
            _write(folder / name, identity)
        write_file(folder / "anchors" / "vouchers.pem", maker_root.pem)
        write_file(folder / "anchors" / "servers.pem", server_ca.pem)
        pki.add_server("bootstrap", server_names, not_before=start)
        for serial in serials:
            pki.add_device(serial, key=device_key, not_before=start)
        description = {
            "format": FORMAT,
            "manufacturer": manufacturer,
            "owner": owner,
            "key": str(key),
        }
        write_file(folder / _DESCRIPTION, json.dumps(description, indent=2).encode() + b"\n")
        return pki

    @classmethod
    def load(cls, folder: Path) -> "Pki":
        """Read a folder made by `create`.

        Raises:
            EmulatorError: there is none, or a file in it is missing or broken.
        """
        if not (folder / _DESCRIPTION).is_file():
            raise EmulatorError(
                f"{folder} is no PKI folder; make one with: xpu-emulator pki create {folder}"
            )
        try:
            description = json.loads(read_file(folder / _DESCRIPTION))
            if description["format"] != FORMAT:
                raise EmulatorError(f"{folder / _DESCRIPTION} has an unknown format")
            manufacturer, owner = str(description["manufacturer"]), str(description["owner"])
            key = KeyKind(description["key"])
        except (ValueError, KeyError, TypeError) as error:
            raise EmulatorError(f"{folder / _DESCRIPTION} is damaged: {error!r}") from error
        maker_root = _read(folder / "manufacturer" / "root", None)
        owner_root = _read(folder / "owner" / "root", None)
        server_ca = _read(folder / _SERVERS / "ca", None)
        return cls(
            folder=folder,
            manufacturer=manufacturer,
            owner_name=owner,
            key_kind=key,
            manufacturer_root=maker_root,
            voucher_signer=_read(folder / "manufacturer" / "voucher-signer", maker_root),
            idevid_ca=_read(folder / "manufacturer" / "idevid-ca", maker_root),
            owner_root=owner_root,
            owner=_read(folder / "owner" / "certificate", owner_root),
            bootstrap_server_ca=server_ca,
            file_server=_read(folder / "file-server" / "certificate", server_ca),
        )

    @property
    def serials(self) -> tuple[str, ...]:
        """The serial numbers of all devices, sorted."""
        return tuple(unquote(name) for name in _folders(self.folder / _DEVICES))

    @property
    def server_names(self) -> tuple[str, ...]:
        """The names under which servers were added, sorted."""
        return tuple(unquote(name) for name in _folders(self.folder / _SERVERS))

    def device(self, serial: str) -> Identity:
        """The IDevID of a device.

        Raises:
            EmulatorError: no such device here.
        """
        if serial not in self._devices:
            path = self._device_path(serial)
            if not _with_suffix(path, ".pem").is_file():
                raise EmulatorError(
                    f"no device {serial!r} in {self.folder}; "
                    f"add it with: xpu-emulator pki add-device {self.folder} {serial}"
                )
            self._devices[serial] = _read(path, self.idevid_ca)
        return self._devices[serial]

    def server(self, name: str = "bootstrap") -> Identity:
        """The certificate of a server.

        Raises:
            EmulatorError: no such server here.
        """
        if name not in self._servers:
            path = self._server_path(name)
            if not _with_suffix(path, ".pem").is_file():
                raise EmulatorError(
                    f"no server {name!r} in {self.folder}; "
                    f"add it with: xpu-emulator pki add-server {self.folder} {name} ADDRESS"
                )
            self._servers[name] = _read(path, self.bootstrap_server_ca)
        return self._servers[name]

    def add_device(
        self, serial: str, *, key: KeyKind | None = None, not_before: datetime | None = None
    ) -> Identity:
        """Issue an IDevID with this subject serialNumber; it doesn't expire.

        Raises:
            EmulatorError: the device is there already, or its folder can't be written.
        """
        path = self._device_path(serial)
        if path.parent.exists():
            raise EmulatorError(f"device {serial!r} exists already in {self.folder}")
        if (key or self.key_kind) is KeyKind.ED25519:
            # RFC 8572 devices decrypt too, and an Ed25519 key can't; signing is all it does.
            usages = {"digital_signature"}
        elif (key or self.key_kind).startswith("rsa"):
            usages = {"digital_signature", "key_encipherment"}
        else:
            usages = {"digital_signature", "key_agreement"}
        identity = self.idevid_ca.issue(
            f"{self.manufacturer} Device",
            key=key or self.key_kind,
            subject_serial=serial,
            key_usage=usages,
            not_before=not_before,
            not_after=NO_EXPIRY,
        )
        _write(path, identity)
        self._devices[serial] = identity
        return identity

    def add_server(
        self,
        name: str,
        names: Sequence[str],
        *,
        key: KeyKind | None = None,
        not_before: datetime | None = None,
    ) -> Identity:
        """Issue a server certificate for these DNS names and IP addresses.

        Raises:
            EmulatorError: the server is there already, has no name, or can't be written.
        """
        path = self._server_path(name)
        if path.parent.exists():
            raise EmulatorError(f"server {name!r} exists already in {self.folder}")
        start = not_before or datetime.now(UTC).replace(microsecond=0) - _BACKDATED
        identity = _server(self.bootstrap_server_ca, name, names, key or self.key_kind, start)
        _write(path, identity)
        self._servers[name] = identity
        return identity

    def identities(self) -> Iterator[tuple[str, Identity]]:
        """Every identity of the folder with its path inside, without suffix."""
        yield from self._authorities().items()
        for name in self.server_names:
            yield f"{_SERVERS}/{path_component(name)}/certificate", self.server(name)
        for serial in self.serials:
            yield f"{_DEVICES}/{path_component(serial)}/idevid", self.device(serial)

    def _authorities(self) -> dict[str, Identity]:
        return {
            "manufacturer/root": self.manufacturer_root,
            "manufacturer/voucher-signer": self.voucher_signer,
            "manufacturer/idevid-ca": self.idevid_ca,
            "owner/root": self.owner_root,
            "owner/certificate": self.owner,
            "servers/ca": self.bootstrap_server_ca,
            "file-server/certificate": self.file_server,
        }

    def _device_path(self, serial: str) -> Path:
        return self.folder / _DEVICES / path_component(serial) / "idevid"

    def _server_path(self, name: str) -> Path:
        return self.folder / _SERVERS / path_component(name) / "certificate"


def _server(
    issuer: Identity, name: str, names: Sequence[str], key: KeyKind, not_before: datetime
) -> Identity:
    dns_names, addresses = [], []
    for each in names:
        try:
            addresses.append(str(ipaddress.ip_address(each)))
        except ValueError:
            dns_names.append(each)
    if not names:
        raise EmulatorError(f"server {name!r} needs at least one DNS name or IP address")
    try:
        return issuer.issue(
            name,
            key=key,
            dns_names=dns_names,
            ip_addresses=addresses,
            extended_key_usage=["server_auth"],
            not_before=not_before,
            not_after=not_before + _VALIDITY,
        )
    except ValueError as error:
        raise EmulatorError(
            f"one of the names of server {name!r} is no DNS name: {', '.join(dns_names)}"
        ) from error


def _with_suffix(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _write(path: Path, identity: Identity) -> None:
    write_file(_with_suffix(path, ".key"), identity.key_pem, secret=True)
    write_file(_with_suffix(path, ".pem"), identity.chain_pem)


def _read(path: Path, issuer: Identity | None) -> Identity:
    certificate = read_file(_with_suffix(path, ".pem"))
    key = read_file(_with_suffix(path, ".key"))
    try:
        return identity_from_pem(certificate, key, issuer)
    except (ValueError, TypeError) as error:
        raise EmulatorError(f"{path}.pem or its .key is damaged: {error}") from error


def _folders(parent: Path) -> list[str]:
    if not parent.is_dir():
        return []
    return sorted(each.name for each in parent.iterdir() if each.is_dir())


def read_certificate(path: Path) -> bytes:
    """The first certificate of a PEM file, or the one of a DER file; in DER.

    Raises:
        EmulatorError: unreadable, or neither.
    """
    octets = read_file(path)
    try:
        if b"-----BEGIN" in octets:
            certificate = x509.load_pem_x509_certificate(octets)
        else:
            certificate = x509.load_der_x509_certificate(octets)
    except ValueError as error:
        raise EmulatorError(f"{path} holds no certificate") from error
    return certificate.public_bytes(serialization.Encoding.DER)
