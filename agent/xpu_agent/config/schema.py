# SPDX-License-Identifier: Apache-2.0
"""Every key there is, what it may hold, and which known key an unknown one probably meant.

Mappings merge and everything else replaces whole, so a file is no more than values by dotted key.
"""

from collections.abc import Iterator
from collections.abc import Mapping as Dict
from dataclasses import dataclass
from enum import StrEnum

from xpu_agent import limits
from xpu_agent.config import values
from xpu_agent.config.document import Entry, Mapping, Node, Scalar
from xpu_agent.config.model import (
    ClockChoice,
    GiveUpAction,
    LogLevel,
    PlatformName,
    SerialNumberFrom,
    SourceName,
    SshHostKeys,
)
from xpu_agent.config.problems import Place, Problems, shown
from xpu_agent.config.values import Kind, Resolve, WrongValueError
from xpu_agent.device import Assertion, Leniency

FORMAT = "xpu-agent-config/1"

_YEAR = 366 * 24 * 3600
_OTHER_PLATFORMS = frozenset({"slots", "onie", "rauc"})


class _Format(StrEnum):
    V1 = FORMAT


def _platform_name(node: Node, resolve: Resolve) -> PlatformName:
    name = values.text(node, resolve)
    if name in _OTHER_PLATFORMS:
        raise WrongValueError(f"{name} is not available in this version")
    value = values.choice(PlatformName)(node, resolve)
    assert isinstance(value, PlatformName)  # noqa: S101  # what the kind returns
    return value


def _format(node: Node, resolve: Resolve) -> str:
    name = values.text(node, resolve)
    if name != FORMAT:
        raise WrongValueError(f"{shown(name)} is not known; this version reads {FORMAT}")
    return name


KINDS: Dict[str, Kind] = {
    "format": _format,
    "device.serial-number": values.text,
    "device.serial-number-from": values.choice(SerialNumberFrom),
    "device.hw-model": values.text,
    "device.os-name": values.text,
    "device.os-version": values.text,
    "identity.certificate": values.path,
    "identity.private-key": values.key_location,
    "identity.decryption-key": values.key_location,
    "identity.username": values.text,
    "identity.password-file": values.path,
    "trust.voucher-anchors": values.anchors,
    "trust.server-anchors": values.anchors,
    "trust.clock": values.choice(ClockChoice),
    "trust.assertions": values.choice_set(Assertion, least=1),
    "accept": values.choice_set(Leniency),
    "bootstrap-servers": values.servers,
    "sources": values.choices(SourceName, least=1),
    "dns.multicast": values.boolean,
    "dns.unicast": values.boolean,
    "media.devices": values.auto_or_texts,
    "media.filesystems": values.texts,
    "media.manufacturer": values.text,
    "media.settle-seconds": values.number(0, 600),
    "network.interfaces": values.auto_or_texts,
    "network.configure": values.boolean,
    "network.release": values.boolean,
    "network.static": values.static_addresses,
    "network.proxy": values.proxy,
    "report.ssh-host-keys": values.choice(SshHostKeys),
    "report.trust-anchor-certs": values.anchors,
    "report.inventory": values.boolean,
    "platform.name": _platform_name,
    "platform.path": values.path,
    "hooks": values.path,
    "give-up.after-seconds": values.number(0, _YEAR),
    "give-up.then": values.choice(GiveUpAction),
    "limits.script-seconds": values.number(1, 24 * 3600),
    "limits.image-bytes": values.number(1, 1024 * limits.GIB),
    "limits.attempt-seconds": values.number(1, _YEAR),
    "limits.source-seconds": values.number(1, _YEAR),
    "paths.state": values.folder,
    "paths.run": values.folder,
    "log-level": values.choice(LogLevel),
}

# Keys that belong to one platform: with any other name they are a mistake.
PLATFORM_KEYS: Dict[PlatformName, frozenset[str]] = {
    PlatformName.DIRECTORY: frozenset({"platform.path"}),
    PlatformName.HOOKS: frozenset(),
}

SECTIONS: frozenset[str] = frozenset(key.partition(".")[0] for key in KINDS if "." in key)


@dataclass(frozen=True, slots=True)
class Value:
    """A value a file sets, and where."""

    value: object
    place: Place


def read_values(document: Node, resolve: Resolve, problems: Problems) -> dict[str, Value]:
    """The values of one file by dotted key; what is wrong with any is added to `problems`."""
    if not isinstance(document, Mapping):
        problems.add(document.place, "", "is no mapping of keys to values")
        return {}
    found: dict[str, Value] = {}
    for key, entry in _flat(document, problems):
        kind = KINDS.get(key)
        if kind is None:
            problems.add(entry.place, key, unknown_key(key))
            continue
        try:
            found[key] = Value(kind(entry.value, resolve), entry.place)
        except WrongValueError as wrong:
            problems.add(wrong.place or entry.place, key, wrong.text)
    return found


def _flat(document: Mapping, problems: Problems) -> Iterator[tuple[str, Entry]]:
    for entry in document.entries:
        if entry.key not in SECTIONS:
            yield entry.key, entry
        elif isinstance(entry.value, Mapping):
            for inner in entry.value.entries:
                yield f"{entry.key}.{inner.key}", inner
        elif not (isinstance(entry.value, Scalar) and entry.value == _empty(entry.value)):
            problems.add(entry.place, entry.key, "is a section: a mapping of keys to values")


def _empty(scalar: Scalar) -> Scalar:
    """What a section without a single key looks like."""
    return Scalar(scalar.place, "", quoted=False)


def unknown_key(key: str) -> str:
    """The sentence for a key that does not exist, with the one probably meant."""
    import difflib

    section, dot, leaf = key.rpartition(".")
    if key == "platform.configuration":
        return "belongs to the platforms slots, rauc and onie, which this version does not have"
    if dot and section not in SECTIONS:
        section, leaf = "", key
    siblings = sorted(
        k[len(section) + len(dot) :] for k in (*KINDS, *SECTIONS) if k.rpartition(".")[0] == section
    )
    elsewhere = sorted(k for k in KINDS if k.rpartition(".")[2] == leaf)
    near = difflib.get_close_matches(leaf, siblings, n=1, cutoff=0.5)
    spelled = difflib.get_close_matches(leaf, siblings, n=1, cutoff=0.8)
    if elsewhere and not spelled:
        return f"is not a known key; did you mean {elsewhere[0]}?"
    if near:
        prefix = f"{section}." if section else ""
        return f"is not a known key; did you mean {prefix}{near[0]}?"
    nearest = difflib.get_close_matches(leaf, siblings, n=1, cutoff=0.0)
    known = ", ".join(siblings)
    return f"is not a known key; the nearest is {nearest[0]}, known here are {known}"
