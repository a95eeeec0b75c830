# SPDX-License-Identifier: Apache-2.0
"""Files into one `AgentConfig`, with the place of every value; or every problem at once."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from xpu_agent.config import model
from xpu_agent.config.document import read_document
from xpu_agent.config.files import (
    FileLocation,
    below_root,
    configuration_files,
    exposure,
    read_protected,
)
from xpu_agent.config.model import AgentConfig, FileKey, PlatformName, TpmKey
from xpu_agent.config.problems import ConfigurationProblem, Place, Problems
from xpu_agent.config.schema import KINDS, PLATFORM_KEYS, SECTIONS, Value, read_values
from xpu_agent.errors import ConfigurationError


class ConfigurationProblemsError(ConfigurationError):
    """The configuration is wrong; `problems` has all that was found."""

    def __init__(self, problems: tuple[ConfigurationProblem, ...]) -> None:
        first, more = str(problems[0]), len(problems) - 1
        super().__init__(
            f"{first} (and {more} more)" if more else first,
            next_action="`xpu-agent check-config` names every problem",
        )
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Setting:
    """One key as it counts: its value in words and who set it, for `check-config --show`."""

    key: str
    text: str
    origin: str  # "FILE:LINE", "default" or "kernel command line"


# What no value means, where there is a word for it.
_NOTHING = {"media.devices": "auto", "network.interfaces": "auto", "network.proxy": "none"}


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """The configuration, the files it was read from and who set what.

    `notices` are things an operator should see that stop nothing.
    """

    config: AgentConfig
    files: tuple[Path, ...] = ()
    places: tuple[tuple[str, Place], ...] = ()
    overrides: frozenset[str] = frozenset()  # keys the kernel command line set
    notices: tuple[str, ...] = ()
    root: Path | None = None

    def settings(self) -> tuple[Setting, ...]:
        """Every key with its value and origin, in the order of the documentation."""
        places = dict(self.places)
        return tuple(
            Setting(key, self._text(key), self._origin(key, places))
            for key in KINDS
            if key != "format"
        )

    def _text(self, key: str) -> str:
        value = _value_of(self.config, key)
        return _NOTHING.get(key, "-") if value is None else in_words(value)

    def _origin(self, key: str, places: Mapping[str, Place]) -> str:
        if key in self.overrides:
            return "kernel command line"
        place = places.get(key)
        return "default" if place is None else f"{place.file}:{place.line}"


def load_config(path: Path | None = None, root: Path | None = None) -> LoadedConfig:
    """Read the configuration: the files of the system, or `path` and the folder beside it alone.

    `root` is the folder every absolute path lies below. Relative paths in a file are relative to
    the folder it stands in.

    Raises:
        ConfigurationProblemsError: anything is wrong anywhere; it has every problem.
    """
    problems = Problems()
    root = None if root is None else root.absolute()
    merged: dict[str, Value] = {}
    read: list[Path] = []
    try:
        for location in configuration_files(path, root):
            found = _read_file(location, root, problems, required=path is not None and not read)
            if found is not None:
                read.append(location.real)
                merged.update(found)
            elif path is not None and not read:
                read.append(location.real)
    except ConfigurationError as error:
        problems.found.append(ConfigurationProblem(path or Path("/etc"), 0, "", error.message))
    _check_together(merged, problems)
    config = build(merged, root)
    _check_anchors(config, merged, problems)
    if problems.found:
        raise ConfigurationProblemsError(tuple(problems.found))
    places = tuple((key, value.place) for key, value in merged.items() if key != "format")
    return LoadedConfig(config, tuple(read), places, root=root)


def _read_file(
    location: FileLocation, root: Path | None, problems: Problems, *, required: bool
) -> dict[str, Value] | None:
    """The values of one file; None where there is none."""
    whole = Place(location.real, 0)
    if location.masked:
        return {}
    try:
        content = read_protected(location.real)
    except FileNotFoundError:
        if required:
            problems.add(whole, "", "does not exist")
        return None
    except ConfigurationError as error:
        text = error.message.removeprefix(f"{location.real} ")
        problems.add(whole, "", f"{text}; {error.next_action}" if error.next_action else text)
        return {}
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        problems.add(whole, "", "is no UTF-8 text")
        return {}
    document = read_document(text, location.real, problems)
    if document is None:
        return {}

    return read_values(document, partial(location.resolve, root), problems)


def _check_together(merged: Mapping[str, Value], problems: Problems) -> None:
    """What no value alone can be wrong about."""

    def wrong(key: str, text: str) -> None:
        problems.add(merged[key].place, key, text)

    name = merged.get("platform.name")
    if name is not None and isinstance(name.value, PlatformName):
        allowed = PLATFORM_KEYS[name.value]
        if name.value is PlatformName.DIRECTORY and "platform.path" not in merged:
            wrong("platform.name", "directory needs platform.path")
    else:
        allowed = frozenset[str]()
    for keys in PLATFORM_KEYS.values():
        for key in sorted(keys - allowed):
            if key in merged and not any(p.key == "platform.name" for p in problems.found):
                at = f"platform {name.value}" if name else "no platform (platform.name)"
                wrong(key, f"is not a key of {at}")
    for one, other in (("username", "password-file"), ("password-file", "username")):
        if f"identity.{one}" in merged and f"identity.{other}" not in merged:
            wrong(f"identity.{one}", f"needs identity.{other} too")
    username, serial = merged.get("identity.username"), merged.get("device.serial-number")
    if username is not None and serial is not None and username.value != serial.value:
        wrong("identity.username", "must equal the serial number (RFC 8572, 5.3)")


def _check_anchors(config: AgentConfig, merged: Mapping[str, Value], problems: Problems) -> None:
    """Anchors that others can write are refused here, where their file and line are known."""
    for key in ("trust.voucher-anchors", "trust.server-anchors"):
        paths = _value_of(config, key)
        for path in paths if isinstance(paths, tuple) else ():
            problem = exposure(path)
            if problem is not None:
                problems.add(merged[key].place, key, f"{path} {problem[0]}; {problem[1]}")


def missing_files(loaded: LoadedConfig) -> tuple[ConfigurationProblem, ...]:
    """Files the configuration names that are not there: what `check-config` adds to it."""
    places = dict(loaded.places)
    problems = Problems()
    for key in (
        "identity.certificate",
        "identity.private-key",
        "identity.decryption-key",
        "identity.password-file",
        "trust.voucher-anchors",
        "trust.server-anchors",
        "report.trust-anchor-certs",
    ):
        value = _value_of(loaded.config, key)
        for path in _paths_in(value):
            if key in places and not path.exists():
                problems.add(places[key], key, f"{path} does not exist")
    return tuple(problems.found)


def _paths_in(value: object) -> tuple[Path, ...]:
    match value:
        case Path():
            return (value,)
        case FileKey(path=path):
            return (path,)
        case TpmKey(path=Path() as path):
            return (path,)
        case tuple():
            return tuple(p for p in value if isinstance(p, Path))
        case _:
            return ()


_Section = TypeVar("_Section")


def build(values: Mapping[str, Value], root: Path | None = None) -> AgentConfig:
    """The configuration of these values by dotted key; defaults for the rest, below `root`."""

    def section(kind: type[_Section], name: str, defaults: _Section) -> _Section:
        given: dict[str, Any] = {}
        for part in fields(kind):  # type: ignore[arg-type]  # only the sections come here
            found = values.get(f"{name}.{_key(part.name)}")
            if found is not None:
                given[part.name] = found.value
        changed: Any = defaults
        made: _Section = replace(changed, **given)
        return made

    defaults = AgentConfig()
    given: dict[str, Any] = {}
    for part in fields(AgentConfig):
        key = _key(part.name)
        if key in SECTIONS:
            default = _below(getattr(defaults, part.name), root)
            given[part.name] = section(type(default), key, default)
        elif key in values:
            given[part.name] = values[key].value
    given.setdefault("hooks", below_root(root, defaults.hooks))
    return AgentConfig(**given)


def _below(section: Any, root: Path | None) -> Any:
    """A section's defaults with their paths below the root folder."""
    if isinstance(section, model.PathsConfig):
        return model.PathsConfig(below_root(root, section.state), below_root(root, section.run))
    return section


def _key(name: str) -> str:
    return name.replace("_", "-")


def _value_of(config: AgentConfig, key: str) -> object:
    value: object = config
    for part in key.split("."):
        value = getattr(value, part.replace("-", "_"))
    return value


def in_words(value: object) -> str:
    """A value for people: lists by comma, `-` for empty ones."""
    match value:
        case bool():
            return "true" if value else "false"
        case Enum():
            return str(value.value)
        case frozenset():
            return ", ".join(sorted(in_words(v) for v in value)) or "-"
        case tuple():
            return ", ".join(in_words(v) for v in value) or "-"
        case _:
            return str(value)
