# SPDX-License-Identifier: Apache-2.0
"""Brings a scenario to life: the PKI, the servers on their ports, and the devices' answers.

Servers listen first; answers are made when they are asked for, because only then are ports and
nonces known. An answer without nonce is made once.
"""

import contextlib
import hashlib
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from cryptography import x509

from xpu_emulator import artifacts
from xpu_emulator.artifacts import ContentType
from xpu_emulator.faults import FaultPlan, FaultRule, WrongCertificate, WrongCertificateKind
from xpu_emulator.https import (
    BytesFile,
    ClientCertificates,
    Connection,
    Demand,
    FileRequest,
    FileServer,
    GeneratedFile,
    HttpsServer,
    PathFile,
    ServerIdentity,
)
from xpu_emulator.identity import Identity, make_root
from xpu_emulator.messages import Response
from xpu_emulator.pki_folder import Pki
from xpu_emulator.rpc import BootstrappingData, Encoding
from xpu_emulator.scenario import (
    FILE_SERVER,
    AnswerSpec,
    BootImageSpec,
    FileServerSpec,
    FileSpec,
    GeneratedSpec,
    OnboardingSpec,
    RedirectEntry,
    Scenario,
    ServerSpec,
)
from xpu_emulator.server import BootstrapRequest, BootstrapServer, Exchange
from xpu_emulator.strict_yaml import ScenarioError
from xpu_emulator.wrong import Wrong

READY_FORMAT = "xpu-emulator-ready/1"


def server_identity(identity: Identity) -> ServerIdentity:
    """What a TLS server presents for this identity: its chain without the root."""
    return ServerIdentity(identity.chain_pem, identity.key_pem)


def wrong_identities(
    authority: Identity, dns_names: Sequence[str], ip_addresses: Sequence[str] = ()
) -> dict[WrongCertificateKind, ServerIdentity]:
    """The certificates of the `wrong-certificate` faults, for a server of these names."""
    names: dict[str, Any] = {"dns_names": dns_names, "ip_addresses": ip_addresses}
    made = {
        WrongCertificateKind.OTHER_NAME: authority.issue("server", dns_names=["wrong.invalid"]),
        WrongCertificateKind.OTHER_CA: make_root("Another CA").issue("server", **names),
        WrongCertificateKind.EXPIRED: authority.issue(
            "server", not_after=datetime.now(UTC) - timedelta(hours=1), **names
        ),
    }
    return {kind: server_identity(identity) for kind, identity in made.items()}


class RunningScenario:
    """A scenario whose servers listen; a context manager."""

    def __init__(
        self,
        scenario: Scenario,
        *,
        pki_folder: Path | None = None,
        on_exchange: Callable[[Exchange], None] | None = None,
        on_connection: Callable[[str, Connection], None] | None = None,
        on_file_request: Callable[[FileRequest], None] | None = None,
    ) -> None:
        """Start everything.

        `pki_folder` overrides the scenario's; with neither, a PKI is made that goes at the end.

        Raises:
            EmulatorError: the PKI folder is unusable, or a port is taken.
        """
        self.scenario = scenario
        self.servers: dict[str, HttpsServer] = {}
        self.files: FileServer | None = None
        self._on_connection = on_connection
        self._owned = contextlib.ExitStack()
        try:
            self.pki = self._open_pki(pki_folder or scenario.pki)
            if scenario.file_server is not None:
                self.files = self._owned.enter_context(self._start_files(scenario.file_server))
                if on_file_request is not None:
                    self.files.subscribe(on_file_request)
            for spec in scenario.servers:
                server = BootstrapServer(spec.name, spec.policy)
                if on_exchange is not None:
                    server.subscribe(on_exchange)
                self._set_answers(server, spec)
                listener = self._start_server(server, spec)
                self.servers[spec.name] = self._owned.enter_context(listener)
        except BaseException:
            self._owned.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._owned.__exit__(kind, error, traceback)

    def ready(self) -> dict[str, Any]:
        """What a test harness needs to know: URLs, anchors and identities, as JSON members."""
        folder = self.pki.folder.resolve()
        return {
            "format": READY_FORMAT,
            "servers": {name: server.url for name, server in self.servers.items()},
            "file-server": None if self.files is None else self.files.url,
            "files": {}
            if self.files is None
            else {name: self.files.url + quote(name) for name in self.files.files},
            "anchors": {
                "vouchers": str(folder / "anchors" / "vouchers.pem"),
                "servers": str(folder / "anchors" / "servers.pem"),
            },
            "devices": {
                device.serial_number: self._device_files(device.serial_number)
                for device in self.scenario.devices
            },
        }

    def _device_files(self, serial_number: str) -> dict[str, str]:
        wanted = self.pki.device(serial_number)
        for name, identity in self.pki.identities():
            if identity is wanted:
                base = self.pki.folder.resolve() / name
                return {"certificate": f"{base}.pem", "private-key": f"{base}.key"}
        raise AssertionError("the PKI lists every device it has")

    # PKI and listeners

    def _open_pki(self, folder: Path | None) -> Pki:
        if folder is None:
            made = self._owned.enter_context(tempfile.TemporaryDirectory(prefix="xpu-emulator-"))
            folder = Path(made) / "pki"
        pki = Pki.load(folder) if (folder / "pki.json").is_file() else Pki.create(folder)
        for device in self.scenario.devices:
            if device.serial_number not in pki.serials:
                pki.add_device(device.serial_number, key=device.key)
        return pki

    def _server_certificate(self, name: str, names: tuple[str, ...]) -> Identity:
        if name not in self.pki.server_names:
            return self.pki.add_server(name, names)
        identity = self.pki.server(name)
        missing = sorted(set(names) - _names_of(identity))
        if missing:
            raise ScenarioError(
                f"the certificate of server {name!r} in {self.pki.folder} is not for {missing[0]!r}"
            )
        return identity

    def _clients(self, demand: Demand) -> ClientCertificates:
        return ClientCertificates(demand, (self.pki.manufacturer_root.der,))

    def _wrong(
        self, faults: tuple[FaultRule, ...], names: tuple[str, ...]
    ) -> Mapping[WrongCertificateKind, ServerIdentity]:
        wanted = any(isinstance(f, WrongCertificate) for rule in faults for f in rule.faults)
        if not wanted:
            return {}
        addresses = [name for name in names if _is_address(name)]
        dns_names = [name for name in names if name not in addresses]
        return wrong_identities(self.pki.bootstrap_server_ca, dns_names, addresses)

    def _start_server(self, server: BootstrapServer, spec: ServerSpec) -> HttpsServer:
        identity = self._server_certificate(spec.name, spec.names)
        report = self._on_connection
        with _port_errors(spec.name, spec.port):
            return HttpsServer(
                server,
                server_identity(identity),
                client_certificates=self._clients(spec.client_certificates),
                wrong_identities=self._wrong(spec.faults, spec.names),
                faults=FaultPlan(spec.faults),
                address=self.scenario.listen,
                port=spec.port,
                host_name=self.scenario.host_name,
                on_connection=None if report is None else lambda made: report(spec.name, made),
            )

    def _start_files(self, spec: FileServerSpec) -> FileServer:
        identity = self._server_certificate(FILE_SERVER, spec.names) if spec.tls else None
        with _port_errors("the file server", spec.port):
            return FileServer(
                {name: _served(file) for name, file in spec.files},
                None if identity is None else server_identity(identity),
                client_certificates=self._clients(spec.client_certificates),
                wrong_identities=self._wrong(spec.faults, spec.names),
                faults=FaultPlan(spec.faults),
                ranges=spec.ranges,
                address=self.scenario.listen,
                port=spec.port,
                host_name=self.scenario.host_name,
            )

    # Answers

    def _set_answers(self, server: BootstrapServer, spec: ServerSpec) -> None:
        for progress_type, status in spec.report_statuses:
            server.answer_report(progress_type, Response(status))
        for device in self.scenario.devices:
            serial_number = device.serial_number
            mine = [a for a in spec.answers if not a.devices or serial_number in a.devices]
            # What names the device goes before what is for every device.
            mine.sort(key=lambda answer: not answer.devices)
            usual = next((a for a in mine if not a.if_signed_preferred), None)
            preferred = next((a for a in mine if a.if_signed_preferred), None)
            if usual is None:
                continue
            server.set_answer(
                serial_number,
                self._maker(usual),
                if_signed_preferred=None if preferred is None else self._maker(preferred),
            )

    def _maker(self, spec: AnswerSpec) -> Callable[[BootstrapRequest], BootstrappingData]:
        made: dict[bytes | None, BootstrappingData] = {}
        lock = threading.Lock()

        def answer(request: BootstrapRequest) -> BootstrappingData:
            nonce = request.input.nonce if spec.voucher.nonce else None
            with lock:
                if nonce not in made:
                    made.clear()
                    made[nonce] = self.make_data(spec, request.serial_number, nonce)
                return made[nonce]

        return answer

    def make_data(
        self, spec: AnswerSpec, serial_number: str, nonce: bytes | None = None
    ) -> BootstrappingData:
        """Make and sign the artifacts of an answer for one device."""
        document = (
            self._onboarding(spec.content)
            if isinstance(spec.content, OnboardingSpec)
            else artifacts.redirect_document([self._entry(entry) for entry in spec.content])
        )
        json_ = spec.encoding is Encoding.JSON
        content = artifacts.conveyed_json(document) if json_ else artifacts.conveyed_xml(document)
        content_type = ContentType.CONVEYED_JSON if json_ else ContentType.CONVEYED_XML
        conveyed = "conveyed-information"
        sealed_wrong = {name: wrong for name, wrong in spec.wrong if wrong.scope == "envelope"}
        wrong = {name: wrong for name, wrong in spec.wrong if wrong.scope != "envelope"}
        device = self.pki.device(serial_number)

        def seal(name: str, artifact: bytes, inner_type: str | None = None) -> bytes:
            if name not in spec.encrypted:
                return artifact
            return artifacts.enveloped(
                artifact, inner_type, recipients=[device], wrong=sealed_wrong.get(name)
            )

        if not spec.signed:
            if conveyed in spec.encrypted:
                octets = seal(conveyed, content, content_type)
            else:
                octets = artifacts.plain(content, content_type, wrong=wrong.get(conveyed))
            return BootstrappingData(octets, None, None, spec.reporting_level)
        owner = self.pki.owner
        signed = artifacts.signed(content, content_type, owner, wrong=wrong.get(conveyed))
        chain = [each for each in owner.chain if each.issuer is not None]
        certificates = artifacts.certificates_only(chain, wrong=wrong.get("owner-certificate"))
        voucher = self._voucher(spec, serial_number, nonce, wrong.get("ownership-voucher"))
        return BootstrappingData(
            seal(conveyed, signed),
            seal("owner-certificate", certificates),
            seal("ownership-voucher", voucher),
            spec.reporting_level,
        )

    def _voucher(
        self, spec: AnswerSpec, serial_number: str, nonce: bytes | None, wrong: Wrong | None
    ) -> bytes:
        now = datetime.now(UTC).replace(microsecond=0)
        created = now - timedelta(minutes=1)
        # A voucher has a nonce or an end, never both (RFC 8366, 5.3).
        expires = None if nonce is not None else now + timedelta(days=spec.voucher.days)
        document = artifacts.voucher_document(
            serial_number,
            self.pki.owner_root,
            created,
            expires,
            assertion=spec.voucher.assertion,
            nonce=nonce,
            idevid_issuer=self.pki.idevid_ca.ski if spec.voucher.idevid_issuer else None,
            revocation_checks=spec.voucher.revocation_checks,
        )
        return artifacts.voucher(document, self.pki.voucher_signer, wrong=wrong)

    def _entry(self, entry: RedirectEntry) -> dict[str, Any]:
        authority = self.pki.bootstrap_server_ca
        anchor = artifacts.certificates_only(authority.chain) if entry.trust_anchor else None
        if entry.server is not None:
            port = self.servers[entry.server].port
            return artifacts.bootstrap_server(self.scenario.host_name, port, anchor)
        return artifacts.bootstrap_server(entry.address or "", entry.port, anchor)

    def _onboarding(self, spec: OnboardingSpec) -> dict[str, Any]:
        image = spec.boot_image or BootImageSpec(None, None, (), None)
        local = [uri for uri in image.download_uris if uri.startswith("/")]
        sha256 = image.sha256
        uris = list(image.download_uris)
        if self.files is not None and local:
            base = self.files.url
            uris = [base + quote(uri) if uri.startswith("/") else uri for uri in uris]
            if sha256 is None:
                sha256 = _sha256(self.files.files[local[0]])
        return artifacts.onboarding_document(
            os_name=image.os_name,
            os_version=image.os_version,
            download_uris=uris,
            image_sha256=None if sha256 is None else bytes.fromhex(sha256),
            pre_script=spec.pre_script,
            configuration=spec.configuration,
            handling=spec.handling,
            post_script=spec.post_script,
        )


def _names_of(identity: Identity) -> set[str]:
    try:
        names = identity.certificate.extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        ).value
    except x509.ExtensionNotFound:
        return set()
    dns_names = names.get_values_for_type(x509.DNSName)
    addresses = names.get_values_for_type(x509.IPAddress)
    return {*dns_names, *map(str, addresses)}


def _is_address(name: str) -> bool:
    return ":" in name or name.replace(".", "").isdigit()


@contextlib.contextmanager
def _port_errors(name: str, port: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ScenarioError(f"{name} can't listen on port {port}: {error.strerror}") from error


def _served(file: FileSpec) -> BytesFile | PathFile | GeneratedFile:
    match file:
        case GeneratedSpec(mebibytes, seed):
            return GeneratedFile(mebibytes * 1024 * 1024, seed)
        case Path():
            return PathFile(file)
        case bytes():
            return BytesFile(file)


def _sha256(file: object) -> str:
    match file:
        case GeneratedFile():
            return file.sha256
        case PathFile(path):
            with path.open("rb") as opened:
                return hashlib.file_digest(opened, "sha256").hexdigest()
        case BytesFile(octets):
            return hashlib.sha256(octets).hexdigest()
        case _:
            raise AssertionError("a scenario has no other files")
