# SPDX-License-Identifier: Apache-2.0
"""The only place where things are put together: configuration and options in, ports out."""

import contextlib
import logging
import os
import secrets
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from xpu_agent import __version__, limits
from xpu_agent.clock import ClockMode, SystemClock
from xpu_agent.config import (
    AgentConfig,
    LoadedConfig,
    LogLevel,
    SourceName,
    SshHostKeys,
    apply_kernel_command_line,
    below_root,
    load_config,
    parse_bootstrap_server,
)
from xpu_agent.device import DeviceFacts
from xpu_agent.errors import ConfigurationError, StateError, UsageError, XpuAgentError
from xpu_agent.facts import (
    Identity,
    gather,
    read_anchors,
    read_identity,
    read_keys,
)
from xpu_agent.log import LogFormat, LogListener, set_up_logging
from xpu_agent.store.file_store import HISTORY, FileStore
from xpu_agent.store.lock import AgentLock

if TYPE_CHECKING:
    from xpu_agent.artifacts.cms import EnvelopedData
    from xpu_agent.platforms.context import PlatformContext
    from xpu_agent.ports import DeviceKeys, Event, Events, Platform, Ports, Source
    from xpu_agent.store.status import StatusListener

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says, the same for every command.

    `start` is the folder relative paths begin at: the working directory changes before some are
    read. `root` is absolute; `config` is read before that.
    """

    config: Path | None = None
    root: Path | None = None
    log_format: str | None = None
    verbosity: int = 0
    bootstrap_server: str | None = None
    trust_anchor: str | None = None
    media: str | None = None
    start: Path = Path()

    def path(self, written: str) -> Path:
        """A path of the command line; an absolute one is below the root folder."""
        path = Path(written)
        if self.root and path.is_absolute():
            return below_root(self.root.absolute(), path)
        return self.start / path


def load_settings(options: Options) -> LoadedConfig:
    """The configuration; the kernel command line adds to it where the system's files count.

    Raises:
        ConfigurationProblemsError: with every problem.
    """
    loaded = load_config(options.config, options.root)
    if options.config is None:
        try:
            text = below_root(options.root, Path("/proc/cmdline")).read_text("utf-8", "replace")
        except OSError:
            text = ""
        loaded = apply_kernel_command_line(loaded, text)
    return loaded


def make_store(config: AgentConfig) -> FileStore:
    """The durable memory below `paths.state`."""
    return FileStore(config.paths.state)


def make_lock(config: AgentConfig) -> AgentLock:
    """One agent at a time, below `paths.run`."""
    return AgentLock(config.paths.run)


def make_clock(config: AgentConfig, root: Path | None) -> SystemClock:
    """The clock, with the last accurate reading as its bound."""
    store = make_store(config)

    def floor() -> datetime | None:
        try:
            return store.load().clock_floor
        except StateError:
            return None

    return SystemClock(ClockMode(config.trust.clock.value), floor=floor, root=root or Path("/"))


def _tell_failed(listener: object, error: Exception) -> None:
    """The kinds alone: a message of an error nobody foresaw may hold anything."""
    names = (("listener", type(listener).__name__), ("error", type(error).__name__))
    _log.error("listener-failed", extra={"event": "listener-failed", "fields": names})


class FanOut:
    """`ports.Events` for several listeners; one that fails costs the others nothing."""

    def __init__(self, listeners: "Sequence[Events]") -> None:
        self._listeners = list(listeners)

    def add(self, listener: "Events") -> None:
        """One more."""
        self._listeners.append(listener)

    def emit(self, event: "Event") -> None:
        """See `ports.Events`; an error of ours (a signal, say) goes on once all were told."""
        meant: XpuAgentError | None = None
        for listener in self._listeners:
            try:
                listener.emit(event)
            except XpuAgentError as error:
                meant = meant or error
            except Exception as error:  # noqa: BLE001  # a view of the run must never cost the run
                _tell_failed(listener, error)
        if meant is not None:
            raise meant


class NoKeys:
    """`ports.DeviceKeys` of a device that has none."""

    def sign(self, data: bytes) -> bytes:  # noqa: ARG002  # the port's
        """A bug of ours where it is called."""
        raise RuntimeError("a device without a key signs nothing")

    def decrypt(self, enveloped: "EnvelopedData") -> bytes:  # noqa: ARG002  # the port's
        """See `ports.DeviceKeys`."""
        from xpu_agent.errors import DecryptionError

        raise DecryptionError("the artifact is encrypted and this device has no private key")


@dataclass(slots=True)
class Device:
    """A device wired up: what `run`, `daemon`, `plan` and the resets work with."""

    loaded: LoadedConfig
    options: Options
    identity: Identity | None
    platform: "Platform"
    platform_context: "PlatformContext"
    store: FileStore
    clock: SystemClock
    events: FanOut
    voucher_anchors: tuple[bytes, ...] = ()
    server_anchors: tuple[bytes, ...] = ()

    @property
    def config(self) -> AgentConfig:
        """The configuration as it counts."""
        return self.loaded.config

    def facts(self) -> DeviceFacts:
        """What the device knows of itself now; the running image may change with a boot."""
        return gather(
            self.config,
            self.identity,
            self.platform.facts(),
            voucher_anchors=self.voucher_anchors,
            server_anchors=self.server_anchors,
            root=self.options.root,
        )


def make_device(options: Options, loaded: LoadedConfig, *, events: FanOut) -> Device:
    """Read identity and anchors and make the platform; contacts nothing.

    Raises:
        ConfigurationError: anchors or hooks.
        IdentityError: the identity's files.
    """
    config = loaded.config
    identity = read_identity(config)
    clock = make_clock(config, options.root)
    store = make_store(config)
    context = _platform_context(loaded, store, clock, events, identity)
    return Device(
        loaded=loaded,
        options=options,
        identity=identity,
        platform=_make_platform(config, context),
        platform_context=context,
        store=store,
        clock=clock,
        events=events,
        voucher_anchors=read_anchors(config.trust.voucher_anchors),
        server_anchors=read_anchors(config.trust.server_anchors),
    )


def _make_platform(config: AgentConfig, context: "PlatformContext") -> "Platform":
    from xpu_agent.platforms.registry import make_platform

    if config.platform.name is None:
        raise ConfigurationError(
            "no platform is configured", next_action="set platform.name (directory or hooks)"
        )
    options = {} if config.platform.path is None else {"path": config.platform.path}
    return make_platform(config.platform.name.value, options, context)


def _platform_context(
    loaded: LoadedConfig,
    store: FileStore,
    clock: SystemClock,
    events: FanOut,
    identity: Identity | None,
) -> "PlatformContext":
    from xpu_agent.platforms.context import PlatformContext

    config = loaded.config
    subject = identity.subject_serial_number if identity else None

    def attempt() -> int:
        try:
            return store.load().attempt
        except StateError:
            return 0

    return PlatformContext(
        state_dir=config.paths.state,
        hooks_dir=config.hooks,
        ssh_dir=below_root(loaded.root, Path("/etc/ssh")),
        serial_number=lambda: config.device.serial_number or subject,
        attempt=attempt,
        emit=events.emit,
        wait=clock.wait,
        check_stopped=clock.check_stopped,
    )


def make_ports(device: Device) -> "Ports":
    """Everything the workflow may touch.

    Raises:
        IdentityError: the key is missing or not the certificate's.
        ConfigurationError, UsageError: sources or the files named by hand.
    """
    from xpu_agent.net.download import HttpDownloader
    from xpu_agent.net.proxy import Proxy
    from xpu_agent.net.restconf import Credentials, RestconfConnector
    from xpu_agent.net.tls import ClientIdentity
    from xpu_agent.ports import ImageProgress, Ports, WorkflowSettings

    config, identity = device.config, device.identity
    keys: DeviceKeys = read_keys(config, identity) or NoKeys()
    client = None
    if identity is not None and identity.key_path is not None:
        client = ClientIdentity(identity.chain_path, identity.key_path)
    credentials = None
    if config.identity.username is not None and config.identity.password_file is not None:
        _check_username(config.identity.username, device)
        password = read_password(config.identity.password_file)
        credentials = Credentials(config.identity.username, password)
    rng = secrets.SystemRandom()
    # Only what is configured; the environment's proxies are never read.
    proxy = Proxy.at(config.network.proxy) if config.network.proxy else None
    settings = WorkflowSettings(
        script_seconds=config.limits.script_seconds,
        attempt_seconds=config.limits.attempt_seconds,
        source_seconds=config.limits.source_seconds,
        image_bytes=config.limits.image_bytes,
        report_ssh_host_keys=config.report.ssh_host_keys is SshHostKeys.AUTO,
        trust_anchor_certs=trust_anchor_certs(config.report.trust_anchor_certs),
    )
    return Ports(
        sources=make_sources(device),
        connector=RestconfConnector(client, credentials, proxy=proxy),
        keys=keys,
        downloader=HttpDownloader(
            device.clock,
            client,
            lambda done, total: device.events.emit(ImageProgress(done, total)),
            proxy=proxy,
        ),
        platform=device.platform,
        clock=device.clock,
        store=device.store,
        events=device.events,
        nonce=lambda: secrets.token_bytes(limits.NONCE_BYTES),
        jitter=rng.random,
        settings=settings,
    )


def make_sources(device: Device) -> "tuple[Source, ...]":
    """The sources in the order of the configuration, or the one named by hand.

    Raises:
        ConfigurationError: a server's URL or its anchor file.
    """
    from xpu_agent.ports import Note
    from xpu_agent.sources.bootstrap_servers import BootstrapServers
    from xpu_agent.sources.removable_storage import DirectoryMedium

    options, config = device.options, device.config
    if options.bootstrap_server is not None:
        named = parse_bootstrap_server(options.bootstrap_server)
        anchors = (
            ()
            if options.trust_anchor is None
            else read_anchors([options.path(options.trust_anchor)])
        )
        return (BootstrapServers([(named.host, named.port)], anchors=anchors),)
    if options.media is not None:
        folder = options.path(options.media)
        if not folder.is_dir():
            raise UsageError(f"--media {folder} is no folder", next_action="name a medium's root")
        return (DirectoryMedium([folder], manufacturer=config.media.manufacturer),)
    sources: list[Source] = []
    for name in config.sources:
        match name:
            case SourceName.REMOVABLE_STORAGE:
                folders = _media_folders(config, device.options.root)
                if folders:
                    sources.append(DirectoryMedium(folders, manufacturer=config.media.manufacturer))
            case SourceName.BOOTSTRAP_SERVERS:
                sources += _configured_servers(config)
            case SourceName.DHCP | SourceName.DNS:
                device.events.emit(
                    Note("source-not-available", f"this version has no source {name.value}")
                )
    return tuple(sources)


def _configured_servers(config: AgentConfig) -> "Iterator[Source]":
    """The pre-configured list; servers the kernel command line named stay provisional."""
    from xpu_agent.sources.bootstrap_servers import BootstrapServers

    trusted = [(s.host, s.port) for s in config.bootstrap_servers if not s.provisional]
    others = [(s.host, s.port) for s in config.bootstrap_servers if s.provisional]
    if others:
        yield BootstrapServers(others, anchors=())
    if trusted or not others:
        yield BootstrapServers(trusted)


def _media_folders(config: AgentConfig, root: Path | None) -> list[Path]:
    """Mounted media: the folders among `media.devices`. Devices themselves aren't mounted here."""
    import glob

    folders: list[Path] = []
    for pattern in config.media.devices or ():
        below = str(below_root(root, Path("/", pattern)))
        folders += [Path(p) for p in sorted(glob.glob(below)) if Path(p).is_dir()]  # noqa: PTH207  # absolute patterns
    return folders


def _check_username(username: str, device: Device) -> None:
    serial = device.facts().serial_number
    if username != serial:
        raise ConfigurationError(
            "identity.username is not the device's serial number",
            next_action=f"set it to {serial}, or leave it out (RFC 8572, 5.3)",
        )


def read_password(path: Path) -> str:
    """The password in a file, without its line end.

    Raises:
        ConfigurationError: the file is missing, unreadable, writable by others, or no text.
    """
    from xpu_agent.config import read_protected

    try:
        return read_protected(path).decode("utf-8").rstrip("\r\n")
    except FileNotFoundError as error:
        raise ConfigurationError(f"identity.password-file {path} does not exist") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"identity.password-file {path} is no UTF-8 text") from error


def trust_anchor_certs(paths: Sequence[Path]) -> tuple[bytes, ...]:
    """Each file's chain as a degenerate SignedData (RFC 8572, 7.3).

    Raises:
        ConfigurationError: see `facts.read_anchors`; or no self-signed root in a chain.
    """
    if not paths:
        return ()
    from xpu_agent.artifacts.certificate import parse_certificate
    from xpu_agent.artifacts.degenerate import certificates_only

    bags = []
    for path in paths:
        chain = read_anchors([path])
        if not any(parse_certificate(der).self_issued for der in chain):
            raise ConfigurationError(
                f"report.trust-anchor-certs: {path} holds no self-signed root",
                next_action="put the whole chain into it, root included (RFC 8572, 7.3)",
            )
        bags.append(certificates_only(chain))
    return tuple(bags)


@contextmanager
def listening(options: Options, config: AgentConfig) -> "Iterator[FanOut]":
    """Log and console for a command that works; the console is drawn only where it can be."""
    events = FanOut([])
    logged = options.log_format is not None or options.verbosity > 0
    if logged or "JOURNAL_STREAM" in os.environ:
        level = LogLevel.DEBUG if options.verbosity else config.log_level
        set_up_logging(LogFormat(options.log_format or "text"), level.value)
        events.add(LogListener(time.monotonic))
        yield events
        return
    from xpu_agent.console import make_console

    console = make_console(
        stdin=sys.stdin,
        stream=sys.stderr,
        stdout=sys.stdout,
        environment=os.environ,
        monotonic=time.monotonic,
    )
    events.add(console)
    try:
        yield events
    finally:
        console.close()


@contextmanager
def in_root_folder() -> "Iterator[None]":
    """Work in `/`, so that no script or hook begins in the folder somebody called us from.

    They inherit the agent's working directory, and one left behind would keep a medium busy.
    """
    before = None
    with contextlib.suppress(OSError):
        before = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    os.chdir("/")
    try:
        yield
    finally:
        if before is not None:
            with contextlib.suppress(OSError):
                os.fchdir(before)
            os.close(before)


def reset_if_requested(device: Device) -> None:
    """Ask the hook `reset-requested`, and do the reset it names before anything else.

    Raises:
        ConfigurationError: the hook is writable by others.
        ExecutionError: the hook failed, or the platform can't remove something.
        StateError: the document can't be written.
    """
    if not device.config.hooks.is_dir():
        return
    from xpu_agent.bootstrap.recovery import reset
    from xpu_agent.platforms.hook_runner import HookRunner
    from xpu_agent.platforms.hook_verbs import reset_requested
    from xpu_agent.ports import Note

    level = reset_requested(HookRunner(device.platform_context))
    if level is not None:
        device.events.emit(Note("reset-requested", f"a {level.value} reset was asked for"))
        reset(device.platform, device.store, device.clock, device.events, level)


def make_status(config: AgentConfig, store: FileStore) -> "StatusListener":
    """The status file, before anything of the device is read: it has to show why that failed."""
    from xpu_agent.store.status import StatusListener

    return StatusListener(
        config.paths.run,
        version=__version__,
        serial_number=config.device.serial_number,
        pid=os.getpid(),
        now=_now,
        monotonic=time.monotonic,
        switched_on=store.switched_on,
        load_state=store.load,
    )


def attach_records(device: Device, status: "StatusListener") -> None:
    """Status file, history and the hook `notify` listen from now on.

    Raises:
        StateError: `paths.run` or `paths.state` can't be written; nothing is begun then.
    """
    from xpu_agent.links.interfaces import interfaces
    from xpu_agent.platforms.hook_runner import HookRunner
    from xpu_agent.platforms.hook_verbs import HookNotifier
    from xpu_agent.store.history import HistoryFile, HistoryListener
    from xpu_agent.store.status import InterfaceStatus

    config = device.config
    device.store.check_writable()
    facts = device.facts()
    status.identify(facts.serial_number, facts.running)
    device.events.add(status)
    device.events.add(
        HistoryListener(
            HistoryFile(config.paths.state / HISTORY),
            version=__version__,
            now=_now,
            monotonic=device.clock.monotonic,
        )
    )
    if config.hooks.is_dir():
        device.events.add(HookNotifier(HookRunner(device.platform_context)))
    status.network(
        [
            InterfaceStatus(i.name, "up" if i.addresses else "unknown", i.addresses)
            for i in interfaces()
        ]
    )


def notify_systemd(message: str) -> None:
    """One sd_notify datagram, where systemd asked for them; never fails (sd_notify(3))."""
    import socket

    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if address.startswith("@"):  # a name that is in no file system
        address = f"\0{address[1:]}"
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel,
    ):
        channel.sendto(message.encode(), address)


def _now() -> datetime:
    """The system's time, for records that people read."""
    return datetime.now(UTC)
