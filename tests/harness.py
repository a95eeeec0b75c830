# SPDX-License-Identifier: Apache-2.0
"""Agent against emulator in one process: real TLS, real files, the real command line.

A `Lab` makes servers and devices in a temporary folder and lets nothing outlive the test. What a
test changes is a keyword; everything else is a world in which onboarding succeeds.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from xpu_agent.cli import main
from xpu_emulator.artifacts import (
    ContentType,
    Document,
    bootstrap_server,
    certificates_only,
    conveyed_json,
    onboarding_document,
    owner_certificate,
    plain,
    redirect_document,
    signed,
    voucher,
    voucher_document,
)
from xpu_emulator.faults import FaultPlan
from xpu_emulator.https import (
    BytesFile,
    ClientCertificates,
    Demand,
    FileServer,
    HttpsServer,
    ServerIdentity,
)
from xpu_emulator.pki import Identity, Pki
from xpu_emulator.rpc import BootstrappingData
from xpu_emulator.server import BootstrapServer, ServerPolicy

SERIAL = "SN-0001"
ADDRESSES = tuple(f"127.0.0.{n}" for n in range(1, 7))  # of servers; a list names each once
CONFIGURATION = b'{"hostname": "xpu-1"}'
IMAGE = b"the image the owner wants" * 1000
OS_NAME, OS_VERSION = "ExampleXPU", "2.0"  # what the owner wants
FACTORY_VERSION = "1.0"
_AGENT = Path(__file__).parents[1] / "agent"
CLEAR_SWITCH = b'#!/bin/sh\n: > "$XPU_AGENT_STATE_DIR/disabled"\n'


@dataclass(slots=True)
class Served:
    """A bootstrap server behind TLS."""

    server: BootstrapServer
    https: HttpsServer
    address: str = "127.0.0.1"

    @property
    def port(self) -> int:
        return self.https.port

    @property
    def url(self) -> str:
        return f"https://{self.address}:{self.https.port}"

    def progress(self, serial: str = SERIAL) -> list[str]:
        """The progress types reported, in order."""
        return [t.value for t in self.server.progress(serial)]

    def inputs(self) -> list[Any]:
        """The decoded inputs of get-bootstrapping-data."""
        from xpu_emulator.server import Operation

        return [e.input for e in self.server.requests(Operation.GET_BOOTSTRAPPING_DATA)]


@dataclass(slots=True)
class Device:
    """A pretend device (platform `directory`) and its agent."""

    folder: Path
    serial: str = SERIAL

    @property
    def config(self) -> Path:
        return self.folder / "agent.yaml"

    @property
    def home(self) -> Path:
        """The platform's folder."""
        return self.folder / "device"

    @property
    def state_dir(self) -> Path:
        return self.folder / "state"

    def run(self, *arguments: str) -> int:
        """Run one command of the agent, in this process; `run` by default."""
        handlers = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
        try:
            return main(["--config", str(self.config), *(arguments or ("run",))])
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def process(self, *arguments: str, **bounds: float) -> Iterator["subprocess.Popen[bytes]"]:
        """The agent as a process of its own, killed at the end if it still runs.

        `bounds` are constants of `xpu_agent.limits`: what takes minutes on a device may be short.
        """
        preset = "".join(f"limits.{name} = {value!r}\n" for name, value in bounds.items())
        program = f"import sys\nfrom xpu_agent import limits\n{preset}"
        program += "from xpu_agent.cli import main\nsys.exit(main(sys.argv[1:]))\n"
        with subprocess.Popen(
            [sys.executable, "-c", program, "--config", str(self.config), *arguments],
            env={"PYTHONPATH": str(_AGENT), "PATH": os.environ["PATH"]},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def bootstrap(self) -> int:
        """Run and reboot until the agent is through; at most five boots."""
        for _ in range(5):
            status = self.run()
            if status != 20:
                return status
        return status

    def add_file(self, name: str, content: bytes) -> None:
        """A file of the device's maker, such as anchors."""
        _write(self.folder / name, content)

    def configure(self, **sections: Any) -> None:
        """Change keys of the configuration; mappings merge."""
        config = yaml.safe_load(self.config.read_text())
        for name, value in sections.items():
            key = name.replace("_", "-")
            if isinstance(value, Mapping) and isinstance(config.get(key), dict):
                config[key].update(value)
            else:
                config[key] = value
        self.config.write_text(yaml.safe_dump(config))

    @property
    def running_config(self) -> bytes | None:
        path = self.home / "running-config"
        return path.read_bytes() if path.exists() else None

    @property
    def boot(self) -> dict[str, Any]:
        path = self.home / "boot.json"
        return dict(json.loads(path.read_text())) if path.exists() else {"active": "a"}

    def slot(self, name: str) -> bytes | None:
        path = self.home / "slots" / name
        return path.read_bytes() if path.exists() else None

    @property
    def status(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / "run" / "status.json").read_text()))

    @property
    def state(self) -> dict[str, Any]:
        return dict(json.loads((self.state_dir / "state.json").read_text()))

    @property
    def last_reason(self) -> str | None:
        reason = self.status["last-reason"]
        return None if reason is None else str(reason)

    @property
    def provisioned(self) -> bool:
        return (self.state_dir / "provisioned").exists()

    @property
    def disabled(self) -> bool:
        return (self.state_dir / "disabled").exists()


@dataclass(slots=True)
class Lab:
    """Authorities, servers and devices below one folder."""

    folder: Path
    pki: Pki = field(init=False)
    servers: list[Served] = field(default_factory=list)  # every one there was
    expected_violations: set[str] = field(default_factory=set)  # requirement IDs, seen as such
    _open: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def __post_init__(self) -> None:
        self.pki = Pki.create(self.folder / "pki", server_names=[*ADDRESSES, "localhost"])

    def close(self) -> None:
        """Stop everything."""
        self._open.close()

    # --- servers -----------------------------------------------------------------------------

    def server(
        self,
        name: str = "owner",
        *,
        identity: Identity | None = None,
        demand: Demand = Demand.REQUIRED,
        policy: ServerPolicy | None = None,
        faults: FaultPlan | None = None,
        address: str = "127.0.0.1",
        port: int = 0,
    ) -> Served:
        """A bootstrap server; its certificate is below `pki.bootstrap_server_ca` by default."""
        server = BootstrapServer(name, policy)
        https = HttpsServer(
            server,
            _serving(identity or self.pki.server()),
            client_certificates=ClientCertificates(demand, (self.pki.manufacturer_root.der,)),
            faults=faults,
            address=address,
            port=port,
        )
        self._open.callback(https.close)
        served = Served(server, https, address)
        self.servers.append(served)
        return served

    def files(
        self,
        files: Mapping[str, bytes] | None = None,
        *,
        tls: bool = True,
        identity: Identity | None = None,
        demand: Demand = Demand.OPTIONAL,
        faults: FaultPlan | None = None,
        ranges: bool = True,
    ) -> FileServer:
        """A file server with `IMAGE` at `/image` by default."""
        contents = {"/image": IMAGE} if files is None else files
        server = FileServer(
            {path: BytesFile(octets) for path, octets in contents.items()},
            _serving(identity or self.pki.file_server) if tls else None,
            client_certificates=(
                ClientCertificates(demand, (self.pki.manufacturer_root.der,)) if tls else None
            ),
            faults=faults,
            ranges=ranges,
        )
        self._open.callback(server.close)
        return server

    def medium(self, name: str, data: BootstrappingData, serial: str = SERIAL) -> Path:
        """The root of a mounted medium with these artifacts for one device."""
        root = self.folder / "media" / name
        folder = root / "sztp" / serial
        make_folder(folder)
        for file, octets in (
            ("conveyed-information.cms", data.conveyed_information),
            ("owner-certificate.cms", data.owner_certificate),
            ("ownership-voucher.vcj", data.ownership_voucher),
        ):
            if octets is not None:
                _write(folder / file, octets)
        return root

    # --- devices -----------------------------------------------------------------------------

    def device(
        self,
        *,
        servers: Sequence[Served | str] = (),
        serial: str = SERIAL,
        server_anchors: bool = True,
        **sections: Any,
    ) -> Device:
        """A factory-fresh device that knows these servers, and their CA if `server_anchors`."""
        device = Device(self.folder / "devices" / serial, serial)
        identity = self.pki.add_device(serial)
        make_folder(device.folder / "idevid", 0o700)
        chain = b"".join(each.pem for each in identity.chain if each.issuer is not None)
        _write(device.folder / "idevid" / "chain.pem", chain)
        _write(device.folder / "idevid" / "key.pem", identity.key_pem, 0o600)
        _write(device.folder / "vouchers.pem", self.pki.manufacturer_root.pem)
        _write(device.folder / "servers.pem", self.pki.bootstrap_server_ca.pem)
        config: dict[str, Any] = {
            "device": {
                "hw-model": "example-xpu",
                "os-name": OS_NAME,
                "os-version": FACTORY_VERSION,
            },
            "identity": {"certificate": "idevid/chain.pem", "private-key": "idevid/key.pem"},
            "trust": {
                "voucher-anchors": ["vouchers.pem"],
                "server-anchors": ["servers.pem"] if server_anchors else [],
                "clock": "accurate",
            },
            "bootstrap-servers": [s if isinstance(s, str) else s.url for s in servers],
            "sources": ["bootstrap-servers"],
            "platform": {"name": "directory", "path": "device"},
            "hooks": "hooks",
            "limits": {"script-seconds": 10},
            "paths": {"state": "state", "run": "run"},
        }
        _write(device.config, yaml.safe_dump(config).encode())
        if sections:
            device.configure(**sections)
        return device

    # --- artifacts ---------------------------------------------------------------------------

    def onboarding(self, **parts: Any) -> Document:
        """Onboarding information: a configuration and a script that clears the switch, unless
        other parts are given; parts are those of `onboarding_document`."""
        defaults: dict[str, Any] = {"configuration": CONFIGURATION, "post_script": CLEAR_SWITCH}
        return onboarding_document(**{**defaults, **parts})

    def redirect(self, *servers: Served, anchor: bool = True) -> Document:
        """Redirect information to these servers, by address, with their CA as trust anchor."""
        bag = certificates_only([self.pki.bootstrap_server_ca]) if anchor else None
        return redirect_document([bootstrap_server(s.address, s.port, bag) for s in servers])

    def unsigned(self, document: Document, level: str | None = None) -> BootstrappingData:
        """Conveyed information nobody signed."""
        octets = plain(conveyed_json(document), ContentType.CONVEYED_JSON)
        return BootstrappingData(octets, reporting_level=level)

    def signed(
        self,
        document: Document,
        *,
        level: str | None = None,
        serial: str = SERIAL,
        owner: Identity | None = None,
        voucher_signer: Identity | None = None,
        **leaves: Any,
    ) -> BootstrappingData:
        """Signed conveyed information with owner certificate and voucher; `leaves` are those of
        `voucher_document`."""
        owner = owner or self.pki.owner
        now = datetime.now(UTC)
        pinned = leaves.pop("pinned_cert", self.pki.owner_root)
        created = leaves.pop("created_on", now - timedelta(hours=1))
        if "nonce" not in leaves:
            leaves.setdefault("expires_on", now + timedelta(days=1))
        leaf = voucher_document(serial, pinned, created, **leaves)
        return BootstrappingData(
            signed(conveyed_json(document), ContentType.CONVEYED_JSON, owner),
            owner_certificate(owner),
            voucher(leaf, voucher_signer or self.pki.voucher_signer),
            level,
        )


def file_uri(files: FileServer, path: str = "/image") -> str:
    """Where a file of the file server is."""
    return f"{files.url}{path}"


def _serving(identity: Identity) -> ServerIdentity:
    return ServerIdentity(identity.chain_pem, identity.key_pem)


def make_folder(path: Path, mode: int = 0o755) -> None:
    """A new folder of this mode, and those above it that are missing, whatever the umask."""
    if not path.parent.exists():
        make_folder(path.parent)
    path.mkdir()
    path.chmod(mode)


def _write(path: Path, content: bytes, mode: int = 0o644) -> None:
    path.touch(mode=mode)
    path.chmod(mode)
    path.write_bytes(content)


@contextlib.contextmanager
def lab(folder: Path) -> Iterator[Lab]:
    """A lab that is closed at the end."""
    it = Lab(folder)
    try:
        yield it
    finally:
        it.close()


Answer = Callable[..., BootstrappingData]
