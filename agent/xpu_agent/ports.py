# SPDX-License-Identifier: Apache-2.0
"""The outside world as the workflow sees it: small protocols and the values that cross them.

Implementations stand in `net`, `sources`, `keys`, `platforms`, `store`, `log`, `console`; they are
put together in `wiring` alone. Nothing here does anything.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from pathlib import Path
from typing import Protocol

from xpu_agent import limits
from xpu_agent.artifacts.bundle import Artifacts
from xpu_agent.artifacts.cms import EnvelopedData
from xpu_agent.artifacts.rpc import BootstrappingRequest, BootstrappingResponse
from xpu_agent.device import ClockReading, DeviceFacts
from xpu_agent.errors import Reason
from xpu_agent.lifecycle import AgentState, ResetLevel
from xpu_agent.progress import ProgressReport, ProgressType, SshHostKey, Stage, StageResult
from xpu_agent.trust.signed_data import CheckedStep
from xpu_agent.trust.state import Hop, ProvisionalHop, TrustedHop

# --- sources ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FoundArtifacts:
    """An offer of artifacts: from a medium, or TXT records. Always untrusted.

    `medium` is the root a `file:` URI in the data is relative to, None where there is none.
    """

    origin: str  # for people: "directory /media/usb", bounded and printable
    artifacts: Artifacts
    medium: Path | None = None


@dataclass(frozen=True, slots=True)
class FoundServers:
    """An offer of servers, in the order to try them."""

    origin: str
    hops: tuple[Hop, ...]


Offer = FoundArtifacts | FoundServers


class Need(StrEnum):
    """What has to be up before a source can be asked."""

    NETWORK = "network"
    STORAGE = "storage"


class Source(Protocol):
    """One place of RFC 8572, 4 where bootstrapping data may be found."""

    @property
    def name(self) -> str:
        """The configuration's word for it: `removable-storage`, `bootstrap-servers`, ..."""
        ...

    @property
    def needs(self) -> frozenset[Need]:
        """What must be up first."""
        ...

    def load(self, facts: DeviceFacts) -> Iterator[Offer]:
        """Offers in the order to try them; each is consumed before the next is asked for.

        Raises:
            SourceUnavailableError: nothing here.
            MalformedError: data was found and can't be read.
        """
        ...


# --- servers ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Address:
    """One resolved address of a host: IP literal (with %scope for link-local) and port."""

    ip: str
    port: int


class ProvisionalServer(Protocol):
    """A connection whose server is not authenticated: it may be asked, never told."""

    def get_bootstrapping_data(self, request: BootstrappingRequest) -> BootstrappingResponse:
        """The RPC of RFC 8572, 7.1.

        Raises:
            SourceUnavailableError: connection, time or HTTP failed.
            IdentityError: the server refused our certificate.
            MalformedError: an answer that is no valid output.
        """
        ...

    def close(self) -> None:
        """Let go of the connection; safe to call twice."""
        ...


class TrustedServer(Protocol):
    """A connection to a server authenticated by its certificate; it may be told."""

    def get_bootstrapping_data(self, request: BootstrappingRequest) -> BootstrappingResponse:
        """See `ProvisionalServer`."""
        ...

    def report_acknowledged(self, report: ProgressReport) -> None:
        """Send a report that counts only when answered with 204 (5.6).

        One try, on a new connection if the old one is gone.

        Raises:
            ProtocolError: any other answer.
            SourceUnavailableError: no answer.
        """
        ...

    def report_best_effort(self, report: ProgressReport) -> bool:
        """Send a report whose loss changes nothing; False if it was not acknowledged."""
        ...

    def close(self) -> None:
        """Let go of the connection; safe to call twice."""
        ...


class Connector(Protocol):
    """Makes connections to bootstrap servers; only HTTPS, only with our client certificate."""

    def addresses(self, hop: Hop) -> Sequence[Address]:
        """Resolve a hop; an IP literal resolves to itself. At most `ADDRESSES_PER_SERVER`.

        Raises:
            SourceUnavailableError: `dns-failed`.
        """
        ...

    def connect(self, hop: TrustedHop, address: Address, clock: ClockReading) -> TrustedServer:
        """TLS with full validation to the hop's anchors, name check included (5.3).

        Where the clock is inaccurate no date is judged. The handshake is complete on return.

        Raises:
            ServerCertificateError: it does not validate.
            SourceUnavailableError: no TCP or TLS connection.
            IdentityError: our certificate was refused.
        """
        ...

    def connect_provisionally(self, hop: ProvisionalHop, address: Address) -> ProvisionalServer:
        """TLS with the server's certificate accepted unverified (5.5).

        Raises:
            SourceUnavailableError: no TCP or TLS connection.
            IdentityError: our certificate was refused.
        """
        ...


# --- keys ------------------------------------------------------------------------------------


class DeviceKeys(Protocol):
    """The device's private keys; they never cross this line."""

    def sign(self, data: bytes) -> bytes:
        """Sign with the IDevID key: SHA-256 with ECDSA or RSA PKCS#1 v1.5, or Ed25519."""
        ...

    def decrypt(self, enveloped: EnvelopedData) -> bytes:
        """Open an envelope with the key of the certificate it was encrypted to (3.4).

        Raises:
            DecryptionError: no recipient is us, or the key does not fit.
        """
        ...


# --- images ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ExpectedImage:
    """What onboarding information says about the image to install."""

    os_name: str | None
    os_version: str | None
    sha256: bytes


@dataclass(frozen=True, slots=True)
class VerifiedImage:
    """An image whose digest was compared; only `onboarding.execute.verify_image` makes one."""

    expected: ExpectedImage
    size: int


class ImageSink(Protocol):
    """Where image octets go while they are being hashed; nothing in it boots before `commit`.

    `write` is called from a thread of the downloader, one call at a time and never beside another
    verb; the other verbs from the caller's.
    """

    def write(self, data: memoryview) -> None:
        """Append octets.

        Raises:
            ExecutionError: `disk-full`, `too-large` as `slot-unavailable`, `install-failed`.
        """
        ...

    def restart(self) -> None:
        """Throw away what was written and begin at the first octet again."""
        ...

    def commit(self, image: VerifiedImage) -> None:
        """Make the image durable, then the one that boots next, on trial."""
        ...

    def abort(self) -> None:
        """Throw everything away, leave the slot unbootable; safe to call after a failure."""
        ...


@dataclass(frozen=True, slots=True)
class Downloaded:
    """What one transfer brought: digest and size of all octets written to the sink."""

    sha256: bytes
    size: int


class Downloader(Protocol):
    """Fetches one file in one pass: receive, hash and write overlapped, constant memory."""

    def fetch(
        self, uri: str, sink: ImageSink, *, max_bytes: int, medium: Path | None
    ) -> Downloaded:
        """Stream `uri` into `sink` from its first octet.

        HTTP redirects are not followed (5.6: only the URIs given). Broken transfers resume by
        range where validators allow, else restart. `file:` is relative to `medium`, and refused
        without one.

        Raises:
            ExecutionError: `image-unreachable` for this URI; errors of the sink as they are.
        """
        ...


# --- platform --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PlatformFacts:
    """What the platform says of the device as it runs now; None where it does not know.

    `on_trial`: the running image was booted on trial and is not marked good yet. `boot_id`
    differs from boot to boot (Linux: /proc/sys/kernel/random/boot_id): it tells an image that
    was rolled back from one whose reboot has not happened yet.
    """

    serial_number: str | None
    hw_model: str | None
    os_name: str | None
    os_version: str | None
    image_sha256: bytes | None
    on_trial: bool
    boot_id: str | None = None


class ScriptStage(StrEnum):
    """Which script; also the value of XPU_AGENT_STAGE."""

    PRE = "pre-configuration"
    POST = "post-configuration"


class ScriptVerdict(Enum):
    """Exit status 0, 75 (EX_TEMPFAIL), anything else."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class ScriptResult:
    """How a script ended; `output` bounded, stdout and stderr together, decoded with escapes."""

    verdict: ScriptVerdict
    output: str
    detail: str  # "exit status 3", "killed by SIGKILL", "time limit of 600 s"
    timed_out: bool = False


class Platform(Protocol):
    """The device under our hands. Verbs take plain values; each may be repeated after a cut."""

    @property
    def name(self) -> str:
        """The configuration's word for it."""
        ...

    def power_on(self) -> None:
        """Called once when `run` or `daemon` starts; a pretend device boots its pending slot."""
        ...

    def facts(self) -> PlatformFacts:
        """What runs now."""
        ...

    def image_sink(self, expected: ExpectedImage) -> ImageSink:
        """Open the spare slot. Raises ExecutionError (`slot-unavailable`, `disk-full`)."""
        ...

    def checkpoint(self) -> str:
        """Record the running configuration durably; the token leads back to it.

        At most one checkpoint is kept: a new one replaces the old.
        """
        ...

    def apply_configuration(self, content: bytes, handling: str, checkpoint: str) -> Sequence[str]:
        """Merge or replace the running configuration, atomically; returns warnings.

        Raises:
            ExecutionError: `config-invalid`, `config-rejected`, `config-disk-full`; the earlier
                configuration is still, or again, the running one.
        """
        ...

    def undo(self, checkpoint: str) -> None:
        """Bring the configuration of `checkpoint` back; safe to repeat, also if nothing changed.

        Raises:
            UndoError: it can't be brought back.
        """
        ...

    def run_script(
        self, content: bytes, stage: ScriptStage, *, serial_number: str, seconds: int
    ) -> ScriptResult:
        """Run a script to its end, or its time limit; everything it started is gone after."""
        ...

    def reboot(self, reason: str) -> None:
        """Ask for a reboot; may return before it happens."""
        ...

    def rearm(self) -> None:
        """The agent reached DISCOVERING in a trial image: give it its boot attempts again."""
        ...

    def mark_good(self) -> None:
        """The running image is healthy: it boots from now on. Harmless if it already does."""
        ...

    def ssh_host_keys(self) -> Sequence[SshHostKey]:
        """The keys the device presents, for `bootstrap-complete`; empty where it has none."""
        ...

    def wipe(self, level: ResetLevel) -> None:
        """Remove what a reset of this level removes; safe to repeat. Raises ExecutionError."""
        ...


# --- time, state, events ---------------------------------------------------------------------


class Clock(Protocol):
    """Time as a port, so that tests need no patching."""

    def read(self) -> ClockReading:
        """The time of day and whether dates may be judged by it."""
        ...

    def monotonic(self) -> float:
        """Seconds since some point; for durations."""
        ...

    def wait(self, seconds: float) -> None:
        """Sleep. Raises StoppedError as soon as a signal asks us to stop."""
        ...

    def check_stopped(self) -> None:
        """Raises StoppedError if a signal asked us to stop."""
        ...


class StateStore(Protocol):
    """Durable memory; every write is atomic and on disk when the call returns."""

    def load(self) -> AgentState:
        """The document; factory state where there is none.

        Raises:
            StateError: `state-corrupt`: unreadable, or of a newer version; the file is kept.
        """
        ...

    def save(self, state: AgentState) -> None:
        """Replace the document. Raises StateError (`state-unwritable`)."""
        ...

    def switched_on(self) -> bool:
        """The SZTP switch (5.1), read anew at each call."""
        ...

    def provisioned(self) -> bool:
        """The marker that onboarding is finished."""
        ...

    def mark_provisioned(self) -> None:
        """Make the marker; harmless if it is there."""
        ...

    def clear_provisioned(self) -> None:
        """Remove the marker; harmless if it is not there. Only the resets do this."""
        ...

    def enable(self) -> None:
        """Turn the SZTP switch on (5.1), durably; harmless if it is on."""
        ...

    def disable(self) -> None:
        """Turn the SZTP switch off (5.1), durably; harmless if it is off."""
        ...

    def forget(self, level: ResetLevel) -> None:
        """Remove what a reset removes beside the document; safe to repeat.

        Weak: nothing but leftovers. Deep: history and refused bundles too. The document itself
        and the two markers are the caller's business.
        """
        ...

    def keep_refused(self, artifacts: Artifacts, reason: Reason, origin: str) -> None:
        """Keep a refused bundle for `inspect`, within bounds; never fails the caller."""
        ...


class OutcomeKind(StrEnum):
    """How an attempt or a run ended."""

    COMPLETED = "completed"
    REBOOTING = "rebooting"
    NOTHING_FOUND = "nothing-found"
    REFUSED = "refused"
    FAILED = "failed"
    NOTHING_TO_DO = "nothing-to-do"
    STOPPED = "stopped"  # by a signal, state kept
    GAVE_UP = "gave-up"  # the time of `give-up` is over


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it ended and, for all but success, why; `reason` and `message` are for people too."""

    kind: OutcomeKind
    reason: Reason | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class StageStarted:
    """A stage began."""

    stage: Stage
    detail: str = ""


@dataclass(frozen=True, slots=True)
class StageFinished:
    """A stage ended; pairs with `StageStarted` by nesting. `seconds` is its duration."""

    stage: Stage
    result: StageResult
    seconds: float
    reason: Reason | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class StateChanged:
    """An arrow was written."""

    state: AgentState


@dataclass(frozen=True, slots=True)
class SourceTried:
    """A source, or one offer of it, is being tried (`refusal` None) or was given up."""

    source: str
    origin: str
    reason: Reason | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class ServerContacted:
    """A bootstrap server answered our handshake; `trusted` says how we connected."""

    host: str
    port: int
    ip: str
    trusted: bool
    depth: int  # redirects followed to get here


@dataclass(frozen=True, slots=True)
class RedirectFollowed:
    """Redirect information is being followed to `count` servers."""

    count: int
    trusted: bool
    depth: int


@dataclass(frozen=True, slots=True)
class Judged:
    """The checks made on a bundle, by name, and what they led to."""

    steps: tuple[CheckedStep, ...]
    verdict: str  # trusted-onboarding | trusted-redirect | untrusted-redirect | refused
    reason: Reason | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class ImageProgress:
    """Octets of the boot image written so far; `total` None where the server did not say."""

    done: int
    total: int | None


@dataclass(frozen=True, slots=True)
class ReportSent:
    """A progress report went out."""

    progress_type: ProgressType
    acknowledged: bool


@dataclass(frozen=True, slots=True)
class Waiting:
    """Nothing worked; the next attempt is in `seconds`."""

    seconds: float
    reason: Reason | None
    message: str


@dataclass(frozen=True, slots=True)
class RunEnded:
    """The run is over."""

    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Note:
    """Anything else worth a line: stable `event` name, warning or not, plain fields."""

    event: str
    message: str
    warning: bool = False
    fields: tuple[tuple[str, str], ...] = ()


Event = (
    StageStarted
    | StageFinished
    | StateChanged
    | SourceTried
    | ServerContacted
    | RedirectFollowed
    | Judged
    | ImageProgress
    | ReportSent
    | Waiting
    | RunEnded
    | Note
)


class Events(Protocol):
    """Told what happens: log, console, status file and history are listeners."""

    def emit(self, event: Event) -> None:
        """Take one event; never raises."""
        ...


# --- the workflow's settings -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WorkflowSettings:
    """Bounds and choices an operator may change; the rest stands in `limits`."""

    script_seconds: int = limits.DEFAULT_SCRIPT_SECONDS
    attempt_seconds: int = limits.DEFAULT_ATTEMPT_SECONDS
    source_seconds: int = limits.DEFAULT_SOURCE_SECONDS
    image_bytes: int = limits.DEFAULT_IMAGE_BYTES
    final_report_seconds: float = limits.FINAL_REPORT_SECONDS
    backoff_first_seconds: float = limits.BACKOFF_FIRST_SECONDS
    backoff_max_seconds: float = limits.BACKOFF_MAX_SECONDS
    report_ssh_host_keys: bool = True
    trust_anchor_certs: tuple[bytes, ...] = ()  # DER degenerate SignedData each


@dataclass(frozen=True, slots=True)
class Ports:
    """Everything the workflow may touch, wired once."""

    sources: Sequence[Source]
    connector: Connector
    keys: DeviceKeys
    downloader: Downloader
    platform: Platform
    clock: Clock
    store: StateStore
    events: Events
    nonce: "NonceSource"
    jitter: "JitterSource"
    settings: WorkflowSettings = field(default_factory=WorkflowSettings)


class NonceSource(Protocol):
    """Fresh random octets for one request."""

    def __call__(self) -> bytes:
        """`limits.NONCE_BYTES` octets from the system's generator."""
        ...


class JitterSource(Protocol):
    """Randomness for back-off, so that a fleet does not come back in step."""

    def __call__(self) -> float:
        """A number in [0, 1)."""
        ...


class Method(Protocol):
    """A way to onboard: `sztp` today. The list of methods has length one."""

    @property
    def name(self) -> str:
        """Stands in state and status."""
        ...

    def applicable(self, facts: DeviceFacts) -> bool:
        """Whether this device can use it."""
        ...

    def run(self, facts: DeviceFacts) -> Outcome:
        """One attempt over all sources."""
        ...
