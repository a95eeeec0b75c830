# SPDX-License-Identifier: Apache-2.0
"""The demo's world: a manufacturer, an owner, their servers, and devices in a folder each."""

import os
import shutil
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from xpu_emulator.artifacts import (
    ContentType,
    bootstrap_server,
    certificates_only,
    conveyed_json,
    onboarding_document,
    owner_certificate,
    redirect_document,
    signed,
    voucher,
    voucher_document,
)
from xpu_emulator.errors import EmulatorError
from xpu_emulator.https import (
    ClientCertificates,
    Demand,
    FileServer,
    GeneratedFile,
    HttpsServer,
    ServerIdentity,
)
from xpu_emulator.pki import Identity, Pki, make_root
from xpu_emulator.rpc import BootstrappingData
from xpu_emulator.server import BootstrapRequest, BootstrapServer

MIB = 1024 * 1024
FACTORY_OS = ("ExampleXPU", "1.0.0")
WANTED_OS = ("ExampleXPU", "2.1.0")
IMAGE_PATH = "/ExampleXPU-2.1.0.img"
TAMPERED_PATH = "/tampered.img"
OTHER_SERIAL = "XPU-DEMO-9999"

_MARKER = ".xpu-emulator-demo"
_SPARE = 64 * MIB

_CONFIGURATION = b'{"hostname": "xpu-1", "ntp": ["ntp.owner.example"], "ssh": {"enabled": true}}\n'
_PRE_SCRIPT = b"""#!/bin/sh
echo "checking $XPU_AGENT_SERIAL_NUMBER before it is configured"
"""
# The last script turns SZTP off, as RFC 8572, 5.2 expects of whatever configures the device.
_POST_SCRIPT = b"""#!/bin/sh
echo "services started"
: > "$XPU_AGENT_STATE_DIR/disabled"
"""


@dataclass(frozen=True, slots=True)
class Device:
    """A pretend device: its serial number and the folder with all it has."""

    serial: str
    folder: Path

    @property
    def config(self) -> Path:
        """The agent's configuration."""
        return self.folder / "agent.yaml"

    @property
    def slots(self) -> Path:
        """Where the pretend device keeps its images."""
        return self.folder / "device" / "slots"

    @property
    def running_config(self) -> Path:
        """What the pretend device is configured with."""
        return self.folder / "device" / "running-config"


@dataclass(slots=True)
class World:
    """Everything around the devices; a context manager that leaves no socket behind."""

    folder: Path
    image_mib: int
    pki: Pki = field(init=False)
    first: BootstrapServer = field(init=False)
    owner: BootstrapServer = field(init=False)
    files: FileServer = field(init=False)
    _first: HttpsServer = field(init=False)
    _owner: HttpsServer = field(init=False)
    _tmp: str | None = field(init=False, default=None)
    _umask: int = field(init=False, default=0o022)

    def __enter__(self) -> Self:
        # The agent refuses configuration that others may write, whatever this user's umask allows.
        self._umask = os.umask(0o022)
        _check_space(self.folder, self.image_mib)
        _clear(self.folder)
        self.folder.mkdir(parents=True)
        (self.folder / _MARKER).touch()
        # What must be a file for a moment, such as a key for the ssl module, stays in here too.
        (self.folder / "tmp").mkdir(mode=0o700)
        self._tmp, tempfile.tempdir = tempfile.tempdir, str(self.folder / "tmp")
        self.pki = Pki.create(
            self.folder / "pki", manufacturer="Example Manufacturer", owner="Example Owner"
        )
        # Nobody told the devices about the authority of the first server.
        stranger = make_root("A Network Nobody Told the Device About")
        first = stranger.issue("first server", ip_addresses=["127.0.0.1"])
        demanded = ClientCertificates(Demand.REQUIRED, (self.pki.manufacturer_root.der,))
        self.first = BootstrapServer("first")
        self.owner = BootstrapServer("owner")
        self._first = HttpsServer(self.first, _serving(first), client_certificates=demanded)
        self._owner = HttpsServer(
            self.owner, _serving(self.pki.server()), client_certificates=demanded
        )
        self.files = FileServer(
            {
                IMAGE_PATH: GeneratedFile(self.image_mib * MIB, "ExampleXPU 2.1.0"),
                TAMPERED_PATH: GeneratedFile(MIB, "somebody else's image"),
            },
            _serving(self.pki.file_server),
            client_certificates=demanded,
        )
        return self

    def __exit__(self, *_: object) -> None:
        for listener in (self._first, self._owner, self.files):
            listener.close()
        tempfile.tempdir = self._tmp
        os.umask(self._umask)
        shutil.rmtree(self.folder / "tmp", ignore_errors=True)

    @property
    def first_url(self) -> str:
        """The server the devices know of from the factory."""
        return f"https://127.0.0.1:{self._first.port}"

    # --- devices -----------------------------------------------------------------------------

    def make_device(self, serial: str) -> Device:
        """A factory-fresh device: IDevID, the manufacturer's anchor, the first server's address."""
        identity = self.pki.add_device(serial)
        device = Device(serial, self.folder / "devices" / serial)
        (device.folder / "idevid").mkdir(parents=True, mode=0o700)
        (device.folder / "idevid" / "chain.pem").write_bytes(_chain(identity))
        key = device.folder / "idevid" / "key.pem"
        key.touch(mode=0o600)
        key.write_bytes(identity.key_pem)
        (device.folder / "anchors").mkdir(mode=0o755)
        anchor = device.folder / "anchors" / "manufacturer.pem"
        anchor.write_bytes(self.pki.manufacturer_root.pem)
        anchor.chmod(0o644)
        device.config.write_text(
            f"""\
format: xpu-agent-config/1
device: {{hw-model: example-xpu, os-name: {FACTORY_OS[0]}, os-version: {FACTORY_OS[1]}}}
identity: {{certificate: idevid/chain.pem, private-key: idevid/key.pem}}
trust: {{voucher-anchors: [anchors/manufacturer.pem], clock: accurate}}
bootstrap-servers: ["{self.first_url}"]
sources: [bootstrap-servers]
platform: {{name: directory, path: device}}
hooks: hooks
paths: {{state: state, run: run}}
"""
        )
        device.config.chmod(0o644)
        return device

    # --- what the servers answer ------------------------------------------------------------

    def serve(
        self,
        device: Device,
        *,
        voucher_for: str | None = None,
        voucher_signer: Identity | None = None,
        image_path: str = IMAGE_PATH,
    ) -> None:
        """Answer this device: a signed redirect first, signed onboarding information then.

        `voucher_for` another serial number, a `voucher_signer` the device's manufacturer does not
        know, or an `image_path` with other octets than announced are the demo's attacks.
        """
        serial = voucher_for or device.serial
        signer = voucher_signer or self.pki.voucher_signer
        anchor = certificates_only([self.pki.bootstrap_server_ca])
        redirect = redirect_document([bootstrap_server("127.0.0.1", self._owner.port, anchor)])
        image = self.files.files[IMAGE_PATH]
        assert isinstance(image, GeneratedFile)  # noqa: S101  # made so above
        digest = bytes.fromhex(image.sha256)
        onboarding = onboarding_document(
            os_name=WANTED_OS[0],
            os_version=WANTED_OS[1],
            download_uris=[f"https://127.0.0.1:{self.files.port}{image_path}"],
            image_sha256=digest,
            pre_script=_PRE_SCRIPT,
            configuration=_CONFIGURATION,
            post_script=_POST_SCRIPT,
        )

        def answer(document: dict[str, object], level: str | None) -> BootstrappingData:
            return BootstrappingData(
                conveyed_information=signed(
                    conveyed_json(document), ContentType.CONVEYED_JSON, self.pki.owner
                ),
                owner_certificate=owner_certificate(self.pki.owner),
                ownership_voucher=self._voucher(serial, signer),
                reporting_level=level,
            )

        def from_first(_request: BootstrapRequest) -> BootstrappingData:
            return answer(redirect, None)

        def from_owner(_request: BootstrapRequest) -> BootstrappingData:
            return answer(onboarding, "verbose")

        self.first.set_answer(device.serial, from_first)
        self.owner.set_answer(device.serial, from_owner)

    def _voucher(self, serial: str, signer: Identity) -> bytes:
        now = datetime.now(UTC)
        document = voucher_document(
            serial,
            self.pki.owner_root,
            now - timedelta(minutes=1),
            now + timedelta(days=1),
            idevid_issuer=self.pki.idevid_ca.ski,
            revocation_checks=False,
        )
        return voucher(document, signer)


def forged_voucher_signer() -> Identity:
    """Somebody who calls himself like the manufacturer's signer, under a root of his own."""
    root = make_root("Example Manufacturer Root")
    return root.issue("Example Manufacturer Voucher Signer")


def _serving(identity: Identity) -> ServerIdentity:
    return ServerIdentity(identity.chain_pem, identity.key_pem)


def _chain(identity: Identity) -> bytes:
    """Leaf and intermediates; the root is the verifier's own."""
    return b"".join(each.pem for each in identity.chain if each.issuer is not None)


def _check_space(folder: Path, image_mib: int) -> None:
    """The image is written once, to the device's spare slot."""
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    needed = image_mib * MIB + _SPARE
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise EmulatorError(
            f"{existing} has {free // MIB} MiB free and the demo needs {needed // MIB} MiB; "
            f"use a smaller image: make demo DEMO_IMAGE=16 (or --image-size 16)"
        )


def _clear(folder: Path) -> None:
    """Remove what an earlier demo left, and nothing else."""
    if not folder.exists():
        return
    if not (folder / _MARKER).exists():
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
            return
        raise EmulatorError(f"{folder} exists and is no demo's folder; name another one")
    shutil.rmtree(folder)


def clean_up(folder: Path) -> None:
    """Remove the demo's folder after an interruption."""
    if (folder / _MARKER).exists():
        shutil.rmtree(folder, ignore_errors=True)
