# SPDX-License-Identifier: Apache-2.0
"""Name constraints (RFC 5280, 4.2.1.10 and 6.1.4): which names an issuer may vouch for.

A name of a form that is constrained but can't be compared here is refused: a constraint that is
not understood must not be one that is not kept.

Each comparison is paid for by the octets compared (CMS-07): a few hundred names, as many
constraints and a cache made to be missed would otherwise take minutes.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from xpu_agent.artifacts import der
from xpu_agent.artifacts.certificate import Certificate, GeneralName, NameConstraints
from xpu_agent.trust.signature import Budget

_EMAIL_ADDRESS: Final = "1.2.840.113549.1.9.1"
_EMPTY_NAME: Final = b"\x30\x00"
_COMPARISON_OCTETS: Final = 32  # what a comparison costs beside the names' own octets
_NAMES_KEPT: Final = 64  # of one bundle there are hardly more; each is compared with many


def violation(certificate: Certificate, constraints: NameConstraints, budget: Budget) -> str | None:
    """What breaks the constraints, in words; None where they are kept.

    Raises:
        BudgetSpentError: there is too much to compare.
    """

    def within(name: GeneralName, base: GeneralName) -> bool | None:
        budget.spend_name_octets(_COMPARISON_OCTETS + len(name.value) + len(base.value))
        return _within(name, base)

    budget.spend_name_octets(len(certificate.subject))  # searched for addresses
    for name in _names(certificate):
        for excluded in constraints.excluded:
            if excluded.kind == name.kind and within(name, excluded) is not False:
                return f"a {_words(name)} is excluded by its issuer"
        permitted = [p for p in constraints.permitted if p.kind == name.kind]
        if permitted and not any(within(name, p) is True for p in permitted):
            return f"a {_words(name)} is not among those its issuer may vouch for"
    return None


def same_name(one: bytes, other: bytes) -> bool:
    """Whether two Names (DER, as parsed) are the same, compared as RFC 5280, 7.1 wants."""
    return one == other or _rdns(one) == _rdns(other)


def _names(certificate: Certificate) -> Iterator[GeneralName]:
    yield from certificate.subject_alternative_names
    if certificate.subject != _EMPTY_NAME:
        yield GeneralName("directory_name", certificate.subject)
    if not any(name.kind == "rfc822_name" for name in certificate.subject_alternative_names):
        # An address that stands in the subject counts like one in the extension (4.2.1.10).
        yield from _addresses(certificate.subject)


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
    host = authority.partition(":")[0].lower().rstrip(".")
    if not separator or not host or host.startswith("[") or host.replace(".", "").isdigit():
        return None  # no host name in it to compare (4.2.1.10)
    wanted = _lower(base)
    if wanted.startswith("."):
        return host.endswith(wanted)
    return host == wanted


def _ip_within(name: bytes, base: bytes) -> bool:
    """`base` is an address and a mask (4.2.1.10)."""
    half = len(base) // 2
    address, mask = base[:half], base[half:]
    return len(name) == half and all(
        a & m == b & m for a, b, m in zip(name, address, mask, strict=True)
    )


def _directory_within(name: bytes, base: bytes) -> bool:
    """Whether the base's RDNs begin the name's, compared as RFC 5280, 7.1 wants for text."""
    outer = _rdns(base)
    return _rdns(name)[: len(outer)] == outer


@lru_cache(maxsize=_NAMES_KEPT)
def _rdns(name: bytes) -> tuple[frozenset[tuple[str, int, str | bytes]], ...]:
    """A Name in a form that can be compared."""
    return tuple(
        frozenset((oid, *_comparable(value)) for oid, value in rdn) for rdn in _attributes(name)
    )


def _attributes(name: bytes) -> Iterator[list[tuple[str, der.Element]]]:
    """The RDNs of a Name that was parsed before, as types and values."""
    for rdn in der.parse_der(name, "name").children():
        pairs = [attribute.children() for attribute in rdn.children()]
        yield [(der.object_identifier(oid), value) for oid, value in pairs]


def _comparable(value: der.Element) -> tuple[int, str | bytes]:
    text = der.text(value)
    if text is None:
        return value.tag, value.content
    # Case, and how much white space, make no difference; the kind of string neither.
    return 0, " ".join(text.split()).casefold()


def _addresses(subject: bytes) -> Iterator[GeneralName]:
    for rdn in _attributes(subject):
        for oid, value in rdn:
            if oid == _EMAIL_ADDRESS:
                # What is no text can't be compared either, and is refused for that.
                text = der.text(value) or ""
                yield GeneralName("rfc822_name", text.encode("ascii", "replace"))


def _words(name: GeneralName) -> str:
    kind = name.kind.replace("_", " ")
    if name.kind in {"dns_name", "rfc822_name", "uniform_resource_identifier"}:
        return f"{kind} ({ascii(name.value.decode('ascii', 'replace'))[:80]})"
    return kind
