# SPDX-License-Identifier: Apache-2.0
"""Ports in memory: a device, its store, its clock, and servers that do what a test tells them.

These are implementations of `ports`, not stand-ins for code of ours: images are hashed, slots
boot on trial and fall back, scripts run (in a language of five words), configurations merge.
Whatever survives a power cut stands in `Disk`; everything else is made anew for each start, by
`World.start`. `Power` cuts before or after any one effect.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from xpu_agent.artifacts.bundle import Artifacts
from xpu_agent.artifacts.cms import EnvelopedData
from xpu_agent.artifacts.conveyed_info import (
    BootImage,
    ConfigurationHandling,
    Encoding,
    HashAlgorithm,
    ImageVerification,
    OnboardingInformation,
)
from xpu_agent.artifacts.rpc import BootstrappingRequest, BootstrappingResponse
from xpu_agent.device import ClockReading, DeviceFacts, RunningImage
from xpu_agent.errors import (
    DecryptionError,
    ExecutionError,
    MalformedError,
    ProtocolError,
    Reason,
    ServerCertificateError,
    SourceUnavailableError,
    StateError,
    StoppedError,
    UndoError,
    XpuAgentError,
)
from xpu_agent.lifecycle import AgentState, ResetLevel
from xpu_agent.ports import (
    Address,
    DeviceKeys,
    Downloaded,
    Event,
    ExpectedImage,
    ImageSink,
    Need,
    Offer,
    PlatformFacts,
    Ports,
    ScriptResult,
    ScriptStage,
    ScriptVerdict,
    Source,
    VerifiedImage,
    WorkflowSettings,
)
from xpu_agent.progress import ProgressReport, ProgressType, ReportingLevel, SshHostKey
from xpu_agent.trust.signed_data import ConveyedEvidence, TrustedBy, TrustedOnboarding
from xpu_agent.trust.state import Hop, ProvisionalHop, TrustedHop

NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
FACTORY_IMAGE = b"factory image"
FACTORY_CONFIGURATION = b"factory"
BOOT_ATTEMPTS = 3

_T = TypeVar("_T")


# --- power -----------------------------------------------------------------------------------


class PowerCutError(BaseException):
    """The power is gone. Not an `Exception`: nothing of the agent may get to handle it."""


@dataclass
class Power:
    """Counts moments at which the power could fail, and fails at the one asked for.

    With `signal` it stays on, and a signal arrives at that moment instead.
    """

    cut_at: int | None = None
    signal: bool = False
    moments: list[str] = field(default_factory=list)
    dead: bool = False

    def moment(self, what: str) -> None:
        """One moment; after the cut nothing has an effect any more."""
        if self.dead:
            raise PowerCutError(what)
        self.moments.append(what)
        if self.cut_at == len(self.moments):
            if self.signal:
                raise StoppedError
            self.dead = True
            raise PowerCutError(what)

    @contextmanager
    def effect(self, what: str) -> Iterator[None]:
        """The moments before and after an effect that is atomic by itself."""
        self.moment(f"before {what}")
        yield
        self.moment(f"after {what}")


# --- what survives ---------------------------------------------------------------------------


@dataclass
class Slot:
    """An image in a slot; `healthy` says whether it comes up when booted."""

    octets: bytes
    os_name: str | None
    os_version: str | None
    healthy: bool = True

    @property
    def sha256(self) -> bytes:
        return hashlib.sha256(self.octets).digest()


@dataclass
class Disk:
    """Everything of a device that a power cut leaves alone."""

    state: AgentState | None = None
    corrupt: bool = False
    disabled: bool = False
    provisioned: bool = False
    refused: list[tuple[Reason, str]] = field(default_factory=list)
    forgotten: list[ResetLevel] = field(default_factory=list)
    configuration: bytes = FACTORY_CONFIGURATION
    checkpoint: bytes | None = None
    active: Slot = field(default_factory=lambda: Slot(FACTORY_IMAGE, "xpu-os", "1.0"))
    pending: Slot | None = None
    attempts_left: int = 0
    knows_digest: bool = True
    scripts_run: list[str] = field(default_factory=list)
    wiped: list[ResetLevel] = field(default_factory=list)
    installs: int = 0


class MemoryStore:
    """`ports.StateStore`."""

    def __init__(self, disk: Disk, power: Power) -> None:
        self._disk = disk
        self._power = power
        self.unwritable = False
        self.saved: list[AgentState] = []

    def load(self) -> AgentState:
        if self._disk.corrupt:
            raise StateError(Reason.STATE_CORRUPT, "state.json can't be read")
        return self._disk.state or AgentState()

    def save(self, state: AgentState) -> None:
        if self.unwritable:
            raise StateError(Reason.STATE_UNWRITABLE, "state.json can't be written")
        with self._power.effect(f"save {state.state}"):
            self._disk.state = state
            self._disk.corrupt = False
            self.saved.append(state)

    def switched_on(self) -> bool:
        return not self._disk.disabled

    def provisioned(self) -> bool:
        return self._disk.provisioned

    def mark_provisioned(self) -> None:
        with self._power.effect("mark provisioned"):
            self._disk.provisioned = True

    def clear_provisioned(self) -> None:
        with self._power.effect("clear provisioned"):
            self._disk.provisioned = False

    def enable(self) -> None:
        with self._power.effect("enable"):
            self._disk.disabled = False

    def disable(self) -> None:
        with self._power.effect("disable"):
            self._disk.disabled = True

    def forget(self, level: ResetLevel) -> None:
        with self._power.effect("forget"):
            self._disk.forgotten.append(level)
            if level is ResetLevel.DEEP:
                self._disk.refused.clear()

    def keep_refused(self, artifacts: Artifacts, reason: Reason, origin: str) -> None:
        assert artifacts.conveyed_information
        self._disk.refused.append((reason, origin))


# --- the device ------------------------------------------------------------------------------


class MemorySink:
    """`ports.ImageSink` into the spare slot; nothing boots before `commit`."""

    def __init__(
        self, disk: Disk, power: Power, expected: ExpectedImage, *, healthy: bool, capacity: int
    ) -> None:
        self._disk = disk
        self._power = power
        self._expected = expected
        self._healthy = healthy
        self._capacity = capacity
        self._written = bytearray()
        self.fail_commit = False
        self.aborted = False

    def write(self, data: memoryview) -> None:
        if len(self._written) + len(data) > self._capacity:
            raise ExecutionError(Reason.DISK_FULL, "the spare slot is full")
        self._power.moment("image octets")
        self._written += data

    def restart(self) -> None:
        self._written.clear()

    def commit(self, image: VerifiedImage) -> None:
        if self.fail_commit:
            raise ExecutionError(Reason.INSTALL_FAILED, "the boot selector refused")
        slot = Slot(
            bytes(self._written),
            self._expected.os_name or self._disk.active.os_name,
            self._expected.os_version or self._disk.active.os_version,
            healthy=self._healthy,
        )
        assert slot.sha256 == image.expected.sha256, "an unverified image would become bootable"
        assert image.size == len(self._written)
        with self._power.effect("commit image"):
            self._disk.pending = slot
            self._disk.attempts_left = BOOT_ATTEMPTS
            self._disk.installs += 1

    def abort(self) -> None:
        self._written.clear()
        self.aborted = True


class MemoryPlatform:
    """`ports.Platform`: two slots, a configuration, scripts of these words, one a line:

    `print TEXT`, `exit N`, `timeout`, `disable` (the SZTP switch), `configure TEXT`.
    """

    name = "memory"

    def __init__(self, disk: Disk, power: Power) -> None:
        self._disk = disk
        self._power = power
        self._running = disk.active
        self._on_trial = False
        self.boots_at_power_on = True
        self.boot_id: str | None = None
        self.healthy_images = True
        self.capacity = 1_000_000
        self.fail_commit = False
        self.undo_fails: XpuAgentError | None = None
        self.reboot_fails = False
        self.mark_good_fails = False
        self.reboots = 0
        self.rearmed = 0
        self.sinks: list[MemorySink] = []
        self.undone: list[str] = []
        # What else happens on the device just after these.
        self.after_configuration: Callable[[], None] = lambda: None
        self.after_script: Callable[[], None] = lambda: None

    def power_on(self) -> None:
        if self.boots_at_power_on:
            self.boot()

    def boot(self) -> None:
        """What a boot selector does: the pending slot while it has attempts, else the active."""
        disk = self._disk
        self._running, self._on_trial = disk.active, False
        if disk.pending is None:
            return
        if disk.attempts_left > 0 and disk.pending.healthy:
            disk.attempts_left -= 1
            self._running, self._on_trial = disk.pending, True
        else:
            disk.pending = None

    def facts(self) -> PlatformFacts:
        return PlatformFacts(
            serial_number="SN1",
            hw_model="model-x",
            os_name=self._running.os_name,
            os_version=self._running.os_version,
            image_sha256=self._running.sha256 if self._disk.knows_digest else None,
            on_trial=self._on_trial,
            boot_id=self.boot_id,
        )

    def image_sink(self, expected: ExpectedImage) -> ImageSink:
        sink = MemorySink(
            self._disk,
            self._power,
            expected,
            healthy=self.healthy_images,
            capacity=self.capacity,
        )
        sink.fail_commit = self.fail_commit
        self.sinks.append(sink)
        return sink

    def checkpoint(self) -> str:
        with self._power.effect("checkpoint"):
            self._disk.checkpoint = self._disk.configuration
        return "checkpoint-1"

    def apply_configuration(self, content: bytes, handling: str, checkpoint: str) -> Sequence[str]:
        assert checkpoint == "checkpoint-1"
        assert self._disk.checkpoint == self._disk.configuration
        if content.startswith(b"invalid"):
            raise ExecutionError(Reason.CONFIG_INVALID, "line 1: no such statement")
        merged = self._disk.configuration + b"+" + content if handling == "merge" else content
        with self._power.effect("apply configuration"):
            self._disk.configuration = merged
            if b"disable" in content:
                self._disk.disabled = True
        self.after_configuration()
        return ["deprecated statement"] if b"deprecated" in content else []

    def undo(self, checkpoint: str) -> None:
        assert checkpoint == "checkpoint-1"
        if self.undo_fails is not None:
            raise self.undo_fails
        if self._disk.checkpoint is None:
            raise UndoError("no checkpoint")
        with self._power.effect("undo"):
            self._disk.configuration = self._disk.checkpoint
            self.undone.append(checkpoint)

    def run_script(
        self, content: bytes, stage: ScriptStage, *, serial_number: str, seconds: int
    ) -> ScriptResult:
        assert serial_number
        self._power.moment(f"before script {stage}")
        self._disk.scripts_run.append(stage.value)
        status, output = 0, ""
        for line in content.decode().splitlines():
            word, _, rest = line.partition(" ")
            match word:
                case "print":
                    output += rest + "\n"
                case "exit":
                    status = int(rest)
                case "disable":
                    self._disk.disabled = True
                case "configure":
                    self._disk.configuration += b"+" + rest.encode()
                case "timeout":
                    return ScriptResult(
                        ScriptVerdict.ERROR, output, f"time limit of {seconds} s", timed_out=True
                    )
        self._power.moment(f"after script {stage}")
        self.after_script()
        verdicts = {0: ScriptVerdict.OK, 75: ScriptVerdict.WARNING}
        verdict = verdicts.get(status, ScriptVerdict.ERROR)
        return ScriptResult(verdict, output, f"exit status {status}")

    def reboot(self, reason: str) -> None:
        assert reason
        self._power.moment("reboot")
        if self.reboot_fails:
            raise ExecutionError(Reason.INSTALL_FAILED, "no way to reboot")
        self.reboots += 1

    def rearm(self) -> None:
        with self._power.effect("rearm"):
            self.rearmed += 1
            self._disk.attempts_left = BOOT_ATTEMPTS

    def mark_good(self) -> None:
        if self.mark_good_fails:
            raise ExecutionError(Reason.INSTALL_FAILED, "the boot selector refused")
        with self._power.effect("mark good"):
            if self._on_trial:
                self._disk.active, self._disk.pending = self._running, None
                self._on_trial = False

    def ssh_host_keys(self) -> Sequence[SshHostKey]:
        return [SshHostKey("ssh-ed25519", b"\0\0\0\x0bssh-ed25519")]

    def wipe(self, level: ResetLevel) -> None:
        with self._power.effect("wipe"):
            self._disk.wiped.append(level)
            self._disk.configuration = FACTORY_CONFIGURATION
            self._disk.checkpoint = None


class NoKeys:
    """`ports.DeviceKeys` of a device nothing was encrypted to."""

    def sign(self, data: bytes) -> bytes:
        raise NotImplementedError

    def decrypt(self, enveloped: EnvelopedData) -> bytes:
        raise DecryptionError(f"none of {len(enveloped.recipients)} recipients is this device")


# --- time and events -------------------------------------------------------------------------


class ManualClock:
    """`ports.Clock`: time passes when somebody waits, and by `tick` at each look."""

    def __init__(self, *, accurate: bool = True, tick: float = 0.0) -> None:
        self._seconds = 0.0
        self._tick = tick
        self.accurate = accurate
        self.waits: list[float] = []
        self.stop_at: float | None = None
        self.stopped = False
        self.on_wait: Callable[[], None] = lambda: None

    def read(self) -> ClockReading:
        return ClockReading(NOW + timedelta(seconds=self._seconds), accurate=self.accurate)

    def monotonic(self) -> float:
        self._seconds += self._tick
        return self._seconds

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._seconds += seconds

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self._seconds += seconds
        self.on_wait()
        if self.stop_at is not None and self._seconds >= self.stop_at:
            self.stopped = True
        self.check_stopped()

    def check_stopped(self) -> None:
        if self.stopped:
            raise StoppedError


class EventLog:
    """`ports.Events`: remembers all of them."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def of(self, kind: type[_T]) -> list[_T]:
        """Those of one kind."""
        return [event for event in self.events if isinstance(event, kind)]


# --- servers ---------------------------------------------------------------------------------

Answer = BootstrappingResponse | XpuAgentError


@dataclass
class MemoryServer:
    """A bootstrap server: what it answers, who can reach and authenticate it, what it was told.

    `answers` are given one by one, the last for ever. `issuer` is the DER of the certificate its
    own is issued by; None is one nobody knows. `report_failures` says how many reports of a type
    are not acknowledged, -1 for all.
    """

    answers: list[Answer]
    issuer: bytes | None = None
    ips: tuple[str, ...] = ("192.0.2.1",)
    dead_ips: frozenset[str] = frozenset()
    refuses_identity: XpuAgentError | None = None
    report_failures: dict[ProgressType, int] = field(default_factory=dict)
    report_error: XpuAgentError = field(
        default_factory=lambda: ProtocolError(Reason.HTTP_ERROR, "answered 500 instead of 204")
    )
    unreachable_for_reports: bool = False
    requests: list[tuple[str, BootstrappingRequest]] = field(default_factory=list)
    connections: list[tuple[str, str]] = field(default_factory=list)
    reports: list[ProgressReport] = field(default_factory=list)
    open_connections: int = 0

    @property
    def report_types(self) -> list[ProgressType]:
        return [report.progress_type for report in self.reports]


class MemoryConnection:
    """`ports.TrustedServer`; the agent holds it as the type its connector gave it."""

    def __init__(self, server: MemoryServer, power: Power, *, trusted: bool) -> None:
        self._server = server
        self._power = power
        self._trusted = trusted
        self._closed = False
        server.open_connections += 1

    def get_bootstrapping_data(self, request: BootstrappingRequest) -> BootstrappingResponse:
        self._power.moment("get-bootstrapping-data")
        server = self._server
        server.requests.append(("trusted" if self._trusted else "provisional", request))
        answer = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
        if isinstance(answer, XpuAgentError):
            raise answer
        return answer

    def report_acknowledged(self, report: ProgressReport) -> None:
        assert self._trusted, "a report to a server that proved nothing"
        assert not self._closed
        self._power.moment(f"before report {report.progress_type}")
        if self._server.unreachable_for_reports:
            raise SourceUnavailableError(Reason.SERVER_UNREACHABLE, "no answer")
        self._server.reports.append(report)
        self._power.moment(f"after report {report.progress_type}")
        left = self._server.report_failures.get(report.progress_type, 0)
        if left:
            self._server.report_failures[report.progress_type] = left - 1 if left > 0 else left
            raise self._server.report_error

    def report_best_effort(self, report: ProgressReport) -> bool:
        try:
            self.report_acknowledged(report)
        except (ProtocolError, SourceUnavailableError, MalformedError):
            return False
        return True

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._server.open_connections -= 1


class MemoryConnector:
    """`ports.Connector` to the servers of a test, by host and port."""

    def __init__(self, world: "World", power: Power) -> None:
        self._servers = world.servers
        self._world = world
        self._power = power
        self.contacts: list[tuple[str, str, str]] = []  # kind, host, ip: in order

    def addresses(self, hop: Hop) -> Sequence[Address]:
        server = self._servers.get((hop.host, hop.port))
        if server is None:
            raise SourceUnavailableError(Reason.DNS_FAILED, f"{hop.host} has no address")
        return [Address(ip, hop.port) for ip in server.ips]

    def connect(self, hop: TrustedHop, address: Address, clock: ClockReading) -> MemoryConnection:
        assert clock.utc
        server = self._reach("trusted", hop, address)
        if server.issuer is None or server.issuer not in {a.der for a in hop.anchors}:
            raise ServerCertificateError(
                Reason.SERVER_CERT_UNKNOWN_ISSUER, f"{hop.host}: unknown issuer"
            )
        return self._admit(server, trusted=True)

    def connect_provisionally(self, hop: ProvisionalHop, address: Address) -> MemoryConnection:
        return self._admit(self._reach("provisional", hop, address), trusted=False)

    def _reach(self, kind: str, hop: Hop, address: Address) -> MemoryServer:
        self._power.moment(f"connect {hop.host}")
        self._world.clock.advance(self._world.connect_seconds)
        self.contacts.append((kind, hop.host, address.ip))
        server = self._servers[hop.host, hop.port]
        server.connections.append((kind, address.ip))
        if address.ip in server.dead_ips:
            raise SourceUnavailableError(Reason.SERVER_UNREACHABLE, f"{hop.host}: refused")
        return server

    def _admit(self, server: MemoryServer, *, trusted: bool) -> MemoryConnection:
        if server.refuses_identity is not None:
            raise server.refuses_identity
        return MemoryConnection(server, self._power, trusted=trusted)


class MemoryDownloader:
    """`ports.Downloader` from a table; a file server keeps count of what was fetched."""

    def __init__(self, files: dict[str, bytes | XpuAgentError]) -> None:
        self._files = files
        self.fetched: list[str] = []

    def fetch(
        self, uri: str, sink: ImageSink, *, max_bytes: int, medium: Path | None
    ) -> Downloaded:
        assert medium is None or isinstance(medium, Path)
        self.fetched.append(uri)
        content = self._files.get(uri)
        if content is None:
            raise ExecutionError(Reason.IMAGE_UNREACHABLE, f"{uri}: 404")
        if isinstance(content, XpuAgentError):
            raise content
        assert len(content) <= max_bytes
        half = len(content) // 2
        sink.write(memoryview(content)[:half])
        sink.write(memoryview(content)[half:])
        return Downloaded(hashlib.sha256(content).digest(), len(content))


class ListSource:
    """`ports.Source` that has what a test gives it; an error among the offers is raised."""

    def __init__(self, name: str, offers: Sequence[Offer | XpuAgentError]) -> None:
        self._name = name
        self._offers = offers
        self.loads = 0
        self.taken = 0

    @property
    def name(self) -> str:
        return self._name

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset()

    def load(self, facts: DeviceFacts) -> Iterator[Offer]:
        assert facts.serial_number
        self.loads += 1
        for offer in self._offers:
            if isinstance(offer, XpuAgentError):
                raise offer
            self.taken += 1
            yield offer


# --- all of it -------------------------------------------------------------------------------


@dataclass
class World:
    """A device and its surroundings; `start` makes the ports of one start of the agent."""

    disk: Disk = field(default_factory=Disk)
    servers: dict[tuple[str, int], MemoryServer] = field(default_factory=dict)
    sources: list[Source] = field(default_factory=list)
    files: dict[str, bytes | XpuAgentError] = field(default_factory=dict)
    settings: WorkflowSettings = field(default_factory=WorkflowSettings)
    keys: DeviceKeys = field(default_factory=NoKeys)
    clock: ManualClock = field(default_factory=ManualClock)
    voucher_anchors: tuple[bytes, ...] = ()
    server_anchors: tuple[bytes, ...] = ()
    idevid_chain: tuple[bytes, ...] = ()
    serial_number: str = "SN1"
    healthy_images: bool = True
    connect_seconds: float = 0.0
    nonces: int = 0

    def start(self, power: Power | None = None) -> "Start":
        """The ports of one start, from power-on."""
        return Start(self, power or Power())

    def fresh_nonce(self) -> bytes:
        self.nonces += 1
        return self.nonces.to_bytes(32, "big")


class Start:
    """One start of the agent: its ports, and the facts as its wiring would give them."""

    def __init__(self, world: World, power: Power) -> None:
        self.world = world
        self.power = power
        self.events = EventLog()
        self.platform = MemoryPlatform(world.disk, power)
        self.platform.healthy_images = world.healthy_images
        self.store = MemoryStore(world.disk, power)
        self.connector = MemoryConnector(world, power)
        self.downloader = MemoryDownloader(world.files)
        self.ports = Ports(
            sources=world.sources,
            connector=self.connector,
            keys=world.keys,
            downloader=self.downloader,
            platform=self.platform,
            clock=world.clock,
            store=self.store,
            events=self.events,
            nonce=world.fresh_nonce,
            jitter=lambda: 1.0,
            settings=world.settings,
        )

    def facts(self) -> DeviceFacts:
        """See `sequence.FactsProvider`."""
        running = self.platform.facts()
        return DeviceFacts(
            serial_number=self.world.serial_number,
            hw_model=running.hw_model,
            running=RunningImage(running.os_name, running.os_version, running.image_sha256),
            idevid_chain=self.world.idevid_chain,
            voucher_anchors=self.world.voucher_anchors,
            server_anchors=self.world.server_anchors,
        )


def answer(
    artifacts: Artifacts, level: ReportingLevel = ReportingLevel.VERBOSE
) -> BootstrappingResponse:
    """The output of `get-bootstrapping-data`."""
    return BootstrappingResponse(artifacts, level)


def trusted(
    information: OnboardingInformation,
    content: bytes = b"content",
    *,
    by: TrustedBy = TrustedBy.SERVER,
    warnings: tuple[str, ...] = (),
) -> TrustedOnboarding:
    """Onboarding information as `judge` gives it; `content` stands for the document's octets."""
    evidence = ConveyedEvidence(Encoding.JSON, hashlib.sha256(content).digest(), warnings)
    return TrustedOnboarding(information, by, evidence)


def onboarding(
    *,
    image: BootImage | None = None,
    pre: bytes | None = None,
    configuration: bytes | None = None,
    handling: ConfigurationHandling = ConfigurationHandling.MERGE,
    post: bytes | None = None,
) -> OnboardingInformation:
    """Onboarding information of the parts given."""
    return OnboardingInformation(
        boot_image=image,
        pre_configuration_script=pre,
        configuration=configuration,
        configuration_handling=None if configuration is None else handling,
        post_configuration_script=post,
    )


def boot_image(
    octets: bytes | None = None,
    *,
    os_name: str | None = None,
    os_version: str | None = None,
    uris: tuple[str, ...] = ("https://files/image",),
) -> BootImage:
    """Criteria for an image; `octets` are those it must have."""
    verifications = (
        ()
        if octets is None
        else (ImageVerification(HashAlgorithm.SHA_256, hashlib.sha256(octets).digest()),)
    )
    return BootImage(os_name, os_version, uris, verifications)
