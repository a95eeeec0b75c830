# SPDX-License-Identifier: Apache-2.0
"""Name constraints (RFC 5280, 4.2.1.10 and 6.1.4): which names an issuer may vouch for.

A name of a form that is constrained but can't be compared here is refused: a constraint that is
not understood must not be one that is not kept.
"""

import ipaddress
from collections.abc import Sequence
from typing import Final

from xpu_agent.artifacts import der
from xpu_agent.artifacts.certificate import Certificate, GeneralName, NameConstraints
from xpu_agent.errors import MalformedError

_EMAIL_ADDRESS: Final = "1.2.840.113549.1.9.1"
_RDN_LIMIT: Final = 32


def violation(certificate: Certificate, constraints: NameConstraints) -> str | None:
    """What breaks the constraints, in words; None where they are kept."""
    for name in _names(certificate):
        for excluded in constraints.excluded:
            if excluded.kind == name.kind and _within(name, excluded) is not False:
                return f"a {_words(name)} is excluded by its issuer"
        permitted = [p for p in constraints.permitted if p.kind == name.kind]
        if permitted and not any(_within(name, p) is True for p in permitted):
            return f"a {_words(name)} is not among those its issuer may vouch for"
    return None


def same_name(one: bytes, other: bytes) -> bool:
    """Whether two Names (DER) are the same, compared as RFC 5280, 7.1 wants."""
    if one == other:
        return True
    left, right = _rdns(one), _rdns(other)
    return left is not None and left == right


def _names(certificate: Certificate) -> Sequence[GeneralName]:
    names = list(certificate.subject_alternative_names)
    if certificate.subject != b"\x30\x00":
        names.append(GeneralName("directory_name", certificate.subject))
    if not any(name.kind == "rfc822_name" for name in names):
        # An address that stands in the subject counts like one in the extension (4.2.1.10).
        names += [GeneralName("rfc822_name", value) for value in _addresses(certificate.subject)]
    return names


def _within(name: GeneralName, base: GeneralName) -> bool | None:
    """Whether the name is inside the subtree; None where that can't be told."""
    match name.kind:
        case "dns_name":
            return _dns_within(_lower(name.value), _lower(base.value))
        case "rfc822_name":
            return _mail_within(name.value, base.value)
        case "uniform_resource_identifier":
            return _uri_within(name.value, base.value)
        case "ip_address":
            return _ip_within(name.value, base.value)
        case "directory_name":
            return _directory_within(name.value, base.value)
        case _:
            return None


def _lower(value: bytes) -> str:
    return value.decode("ascii", "replace").lower().rstrip(".")


def _dns_within(name: str, base: str) -> bool:
    return base in {"", name} or name.endswith("." + base.lstrip("."))


def _mail_within(name: bytes, base: bytes) -> bool | None:
    local, at, host = name.decode("ascii", "replace").rpartition("@")
    if not at:
        return None
    wanted = base.decode("ascii", "replace")
    if "@" in wanted:
        wanted_local, _, wanted_host = wanted.rpartition("@")
        return local == wanted_local and host.lower() == wanted_host.lower()
    if wanted.startswith("."):
        return host.lower().endswith(wanted.lower())
    return host.lower() == wanted.lower()


def _uri_within(name: bytes, base: bytes) -> bool | None:
    text = name.decode("ascii", "replace")
    _, separator, rest = text.partition("://")
    authority = rest.partition("/")[0].partition("?")[0].partition("#")[0].rpartition("@")[2]
    if not separator or not authority or authority.startswith("["):
        return None  # no host name in it to compare (4.2.1.10)
    host = authority.partition(":")[0].lower().rstrip(".")
    if host.replace(".", "").isdigit():
        return None
    wanted = _lower(base)
    if wanted.startswith("."):
        return host.endswith(wanted)
    return host == wanted


def _ip_within(name: bytes, base: bytes) -> bool | None:
    half = len(base) // 2
    if len(base) not in {8, 32}:
        return None
    if len(name) != half:
        return False  # the other family
    mask = int.from_bytes(base[half:], "big")
    width = 8 * half
    prefix = mask.bit_count()
    if mask != ((1 << prefix) - 1) << (width - prefix):
        return None  # no mask of leading ones
    network = ipaddress.ip_network((base[:half], prefix), strict=False)
    return ipaddress.ip_address(name) in network


def _directory_within(name: bytes, base: bytes) -> bool | None:
    """Whether the base's RDNs begin the name's, compared as RFC 5280, 7.1 wants for text."""
    inner, outer = _rdns(name), _rdns(base)
    if inner is None or outer is None:
        return None
    return inner[: len(outer)] == outer


def _rdns(name: bytes) -> list[frozenset[tuple[str, int, str | bytes]]] | None:
    try:
        whole = der.parse_der(name, "name")
        if whole.tag != der.SEQUENCE:
            return None
        rdns = whole.children()
        if len(rdns) > _RDN_LIMIT:
            return None
        return [frozenset(_attribute(a) for a in rdn.children()) for rdn in rdns]
    except MalformedError:
        return None


def _attribute(element: der.Element) -> tuple[str, int, str | bytes]:
    fields = der.Fields(element, der.SEQUENCE, "name attribute")
    oid = der.object_identifier(fields.take(der.OBJECT_IDENTIFIER, "type"))
    value = fields.take_any("value")
    text = der.text(value)
    if text is None:
        return oid, value.tag, value.content
    # Case, and how much white space, make no difference; the kind of string neither.
    return oid, 0, " ".join(text.split()).casefold()


def _addresses(subject: bytes) -> list[bytes]:
    rdns = _rdns(subject) or []
    return [
        value.encode("ascii", "replace")
        for rdn in rdns
        for oid, _, value in rdn
        if oid == _EMAIL_ADDRESS and isinstance(value, str)
    ]


def _words(name: GeneralName) -> str:
    kind = name.kind.replace("_", " ")
    if name.kind in {"dns_name", "rfc822_name", "uniform_resource_identifier"}:
        return f"{kind} ({ascii(name.value.decode('ascii', 'replace'))[:80]})"
    return kind
