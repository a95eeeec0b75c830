# SPDX-License-Identifier: Apache-2.0
"""The few settings the kernel command line may make: `xpu_agent.KEY=VALUE`.

Whoever serves the boot can write it, so it can choose where to look, never whom to believe: a
server named here gets a provisional connection, unless the files name the same host and port.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from xpu_agent.config import values
from xpu_agent.config.document import Node, Scalar, Sequence
from xpu_agent.config.load import LoadedConfig
from xpu_agent.config.model import AgentConfig, LogLevel, ServerAddress, SourceName
from xpu_agent.config.problems import Place, shown
from xpu_agent.config.values import WrongValueError

_NAME = "xpu_agent"
_PLACE = Place(Path("/proc/cmdline"), 0)


def boot_switch(text: str) -> bool | None:
    """`xpu_agent=1|0`: whether this boot is asked to start or skip the agent; None if neither.

    It never turns a device on that is switched off or provisioned.
    """
    found: bool | None = None
    for name, value in _parameters(text):
        if name == _NAME and value in {"0", "1"}:
            found = value == "1"
    return found


def apply_kernel_command_line(loaded: LoadedConfig, text: str) -> LoadedConfig:
    """The configuration with what the kernel command line sets; the last of a key counts.

    What it gets wrong is left out and stands in `notices`: a typing error there must not keep a
    device from onboarding.
    """
    config, overrides = loaded.config, set(loaded.overrides)
    notices = list(loaded.notices)
    for name, value in _parameters(text):
        if not name.startswith(f"{_NAME}."):
            continue
        key = name.removeprefix(f"{_NAME}.").replace("_", "-")
        try:
            config = _apply(config, loaded.config, key, value)
            overrides.add(key)
        except WrongValueError as wrong:
            notices.append(f"kernel command line: {shown(name)} {wrong.text}; left out")
    return replace(loaded, config=config, overrides=frozenset(overrides), notices=tuple(notices))


def _apply(config: AgentConfig, files: AgentConfig, key: str, value: str) -> AgentConfig:
    match key:
        case "bootstrap-servers":
            named = tuple(_server(item, files) for item in _items(value))
            return replace(config, bootstrap_servers=named)
        case "sources":
            sources = tuple(s for s in _checked(values.choices(SourceName, least=1), _list(value)))
            return replace(config, sources=sources)
        case "network.interfaces":
            node = Scalar(_PLACE, value, quoted=False) if value == "auto" else _list(value)
            interfaces = values.auto_or_texts(node, _no_path)
            return replace(config, network=replace(config.network, interfaces=interfaces))
        case "log-level":
            try:
                return replace(config, log_level=LogLevel(value))
            except ValueError:
                words = ", ".join(LogLevel)
                raise WrongValueError(f"must be one of {words}, not {shown(value)}") from None
        case _:
            raise WrongValueError("can't be set there")


def _server(url: str, files: AgentConfig) -> ServerAddress:
    (server,) = values.servers(_list(url), _no_path)
    known = {(s.host, s.port) for s in files.bootstrap_servers}
    return replace(server, provisional=(server.host, server.port) not in known)


def _checked(kind: values.Kind, node: Node) -> tuple[SourceName, ...]:
    value = kind(node, _no_path)
    assert isinstance(value, tuple)  # noqa: S101  # what `choices` returns
    return value


def _items(value: str) -> list[str]:
    return [item for item in value.split(",") if item]


def _list(value: str) -> Sequence:
    return Sequence(_PLACE, tuple(Scalar(_PLACE, i, quoted=False) for i in _items(value)))


def _no_path(written: str) -> Path:
    raise AssertionError(written)


def _parameters(text: str) -> Iterator[tuple[str, str]]:
    """Name and value of each parameter before `--`, quoted as the kernel reads it."""
    word, quoted = "", False
    for char in f"{text} ":
        if char == '"':
            quoted = not quoted
        elif char.isspace() and not quoted:
            if word == "--":
                return
            if word:
                name, _, value = word.partition("=")
                # To the kernel, too, - and _ are the same in a name.
                yield name.replace("-", "_"), value
            word = ""
        else:
            word += char
