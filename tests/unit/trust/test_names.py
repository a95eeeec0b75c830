# SPDX-License-Identifier: Apache-2.0
"""Name constraints of each kind, through whole paths (RFC 5280, 4.2.1.10)."""

import ipaddress
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from tests.unit.trust.bundles import CLOCK, certificates, issue, root

from xpu_agent.artifacts import der
from xpu_agent.artifacts.certificate import (
    Certificate,
    GeneralName,
    NameConstraints,
    parse_certificate,
)
from xpu_agent.trust.names import same_name, violation
from xpu_agent.trust.path import PathError, find_path
from xpu_agent.trust.signature import Budget
from xpu_emulator.pki import Identity, distinguished_name

DNS, MAIL, URI = x509.DNSName, x509.RFC822Name, x509.UniformResourceIdentifier


def _ip(text: str) -> x509.IPAddress:
    return x509.IPAddress(ipaddress.ip_network(text) if "/" in text else ipaddress.ip_address(text))


def _directory(*names: str) -> x509.DirectoryName:
    return x509.DirectoryName(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names])
    )


def _alternative(*names: x509.GeneralName) -> list[x509.Extension[x509.ExtensionType]]:
    value = x509.SubjectAlternativeName(list(names))
    return [x509.Extension(x509.SubjectAlternativeName.oid, False, value)]


def _accepts(
    constraints: x509.NameConstraints, *names: x509.GeneralName, subject: str | None = None
) -> bool:
    top = root("Root")
    middle = issue(top, "Middle", ca=True, name_constraints=constraints)
    leaf = issue(
        middle,
        subject or "",
        empty_subject=subject is None,
        extensions=_alternative(*names) if names else (),
    )
    return _leads(leaf, top, middle)


def _leads(leaf: Identity, top: Identity, *between: Identity) -> bool:
    try:
        find_path(
            parse_certificate(leaf.der),
            anchors=certificates([top]),
            intermediates=certificates(between),
            clock=CLOCK,
            budget=Budget(),
        )
    except PathError as error:
        if "name constraints of" not in error.message:
            raise
        return False
    return True


WITHIN = [
    (DNS("example.com"), DNS("example.com")),
    (DNS("example.com"), DNS("a.b.EXAMPLE.com")),
    (DNS("Example.Com"), DNS("a.example.com.")),
    (DNS("example.com"), DNS("*.example.com")),
    (DNS(".example.com"), DNS("a.example.com")),
    (DNS(""), DNS("anything.example")),
    (MAIL("user@example.com"), MAIL("user@EXAMPLE.com")),
    (MAIL("example.com"), MAIL("anyone@Example.com")),
    (MAIL(".example.com"), MAIL("anyone@mail.example.com")),
    (URI("example.com"), URI("https://example.com/path?query#part")),
    (URI("example.com"), URI("https://user@example.com:8443?query")),
    (URI("example.com"), URI("https://EXAMPLE.com.#part")),
    (URI(".example.com"), URI("https://a.example.com")),
    (_ip("192.0.2.0/24"), _ip("192.0.2.255")),
    (_ip("0.0.0.0/0"), _ip("203.0.113.1")),
    (_ip("2001:db8::/32"), _ip("2001:db8:ffff::1")),
    (_directory("A"), _directory("A", "B")),
    (_directory("A"), _directory("A")),
    (_directory("A  b "), _directory("a B")),
    (_directory(), _directory("A")),
]
OUTSIDE = [
    (DNS("example.com"), DNS("example.org")),
    (DNS("example.com"), DNS("badexample.com")),
    (DNS("a.example.com"), DNS("example.com")),
    (DNS(".example.com"), DNS("example.com")),
    (MAIL("user@example.com"), MAIL("User@example.com")),
    (MAIL("user@example.com"), MAIL("user@a.example.com")),
    (MAIL("example.com"), MAIL("user@a.example.com")),
    (MAIL(".example.com"), MAIL("user@example.com")),
    (URI("example.com"), URI("https://a.example.com/")),
    (URI(".example.com"), URI("https://example.com/")),
    (URI("example.com"), URI("https://example.org/example.com")),
    (URI("example.com"), URI("https://example.com@example.org/")),
    (_ip("192.0.2.0/24"), _ip("192.0.3.0")),
    (_ip("192.0.2.0/24"), _ip("2001:db8::1")),
    (_ip("2001:db8::/32"), _ip("2001:db9::1")),
    (_ip("::/0"), _ip("192.0.2.1")),
    (_directory("A", "B"), _directory("A")),
    (_directory("A"), _directory("B", "A")),
]
# Of the form that is constrained, but can't be compared: neither permitted nor not excluded.
UNCLEAR = [
    (MAIL("example.com"), "rfc822_name", b"nobody"),
    (URI("example.com"), "uniform_resource_identifier", b"urn:example.com"),
    (URI("example.com"), "uniform_resource_identifier", b"https:///path"),
    (URI("example.com"), "uniform_resource_identifier", b"https://:443/"),
    (URI("example.com"), "uniform_resource_identifier", b"https://[2001:db8::1]/"),
    (URI("example.com"), "uniform_resource_identifier", b"https://192.0.2.1/"),
]


@pytest.mark.requirement("CMS-06")
@pytest.mark.refuses("CMS-06")
@pytest.mark.parametrize(("base", "name"), WITHIN)
def test_names_inside_a_subtree(base: x509.GeneralName, name: x509.GeneralName) -> None:
    assert _accepts(x509.NameConstraints([base], None), name)
    assert not _accepts(x509.NameConstraints(None, [base]), name)
    assert not _accepts(x509.NameConstraints([base], [base]), name)


@pytest.mark.requirement("CMS-06")
@pytest.mark.refuses("CMS-06")
@pytest.mark.parametrize(("base", "name"), OUTSIDE)
def test_names_outside_a_subtree(base: x509.GeneralName, name: x509.GeneralName) -> None:
    assert not _accepts(x509.NameConstraints([base], None), name)
    assert _accepts(x509.NameConstraints(None, [base]), name)


@pytest.mark.refuses("CMS-06")
@pytest.mark.parametrize(("base", "kind", "value"), UNCLEAR)
def test_names_that_cannot_be_compared(base: x509.GeneralName, kind: str, value: bytes) -> None:
    leaf = _with_names(GeneralName(kind, value))
    constraint = GeneralName(kind, str(base.value).encode())
    assert violation(leaf, NameConstraints((constraint,), ()), Budget()) is not None
    assert violation(leaf, NameConstraints((), (constraint,)), Budget()) is not None
    other = GeneralName("dns_name", b"example.com")
    assert violation(leaf, NameConstraints((other,), (other,)), Budget()) is None


def _with_names(*names: GeneralName) -> Certificate:
    leaf = parse_certificate(issue(root("Root"), "", empty_subject=True, dns_names=["a"]).der)
    return replace(leaf, subject_alternative_names=names)


@pytest.mark.refuses("CMS-06")
@pytest.mark.parametrize("kind", ["other_name", "x400_address", "edi_party_name", "registered_id"])
def test_kinds_that_are_not_compared_at_all(kind: str) -> None:
    name = GeneralName(kind, b"\x2a\x03")
    leaf = _with_names(name)
    assert violation(leaf, NameConstraints((name,), ()), Budget()) is not None
    assert violation(leaf, NameConstraints((), (name,)), Budget()) is not None


@pytest.mark.requirement("CMS-06")
def test_only_names_of_a_constrained_kind_are_constrained() -> None:
    constraints = x509.NameConstraints([DNS("example.com")], [_ip("192.0.2.0/24")])
    assert _accepts(constraints, MAIL("a@example.org"), _directory("X"), subject="Any")
    assert _accepts(constraints, subject="Any")
    assert not _accepts(constraints, DNS("a.example.com"), DNS("b.example.org"))
    assert _accepts(constraints, DNS("a.example.com"), DNS("b.example.com"))
    either = x509.NameConstraints([DNS("example.com"), DNS("example.org")], None)
    assert _accepts(either, DNS("a.example.com"), DNS("b.example.org"))


@pytest.mark.refuses("CMS-06")
def test_the_subject_is_a_directory_name() -> None:
    permitted = x509.NameConstraints([_directory("Wanted")], None)
    assert not _accepts(permitted, subject="Other")
    assert _accepts(permitted, subject="WANTED")
    assert _accepts(permitted, DNS("a.example"))  # no subject, nothing to compare
    assert not _accepts(x509.NameConstraints(None, [_directory("Other")]), subject="Other")


def _mail_subject(value: bytes, tag: int = der.IA5_STRING) -> bytes:
    """A Name of one e-mail address."""
    oid = bytes.fromhex("06092a864886f70d010901")
    text = bytes([tag, len(value)]) + value
    attribute = b"\x30" + bytes([len(oid) + len(text)]) + oid + text
    rdn = b"\x31" + bytes([len(attribute)]) + attribute
    return b"\x30" + bytes([len(rdn)]) + rdn


@pytest.mark.refuses("CMS-06")
def test_an_address_in_the_subject_counts_where_the_extension_has_none() -> None:
    leaf = replace(_with_names(), subject=_mail_subject(b"User@example.com"))
    mailbox = GeneralName("rfc822_name", b"User@example.com")
    assert violation(leaf, NameConstraints((), (mailbox,)), Budget()) is not None
    assert violation(leaf, NameConstraints((mailbox,), ()), Budget()) is None
    host = GeneralName("rfc822_name", b"example.org")
    assert violation(leaf, NameConstraints((host,), ()), Budget()) is not None
    elsewhere = replace(
        leaf, subject_alternative_names=(GeneralName("rfc822_name", b"a@example.org"),)
    )
    assert violation(elsewhere, NameConstraints((host,), ()), Budget()) is None
    # An address that is no text can't be compared.
    odd = replace(leaf, subject=_mail_subject(b"User@example.com", der.OCTET_STRING))
    assert violation(odd, NameConstraints((), (mailbox,)), Budget()) is not None
    common = replace(leaf, subject=bytes(distinguished_name("a@example.com").dump()))
    assert violation(common, NameConstraints((), (mailbox,)), Budget()) is None


@pytest.mark.refuses("CMS-06")
def test_constraints_bind_everything_below_whoever_made_them() -> None:
    permitted = x509.NameConstraints([DNS("example.com")], None)
    top = root("Root", extensions=[x509.Extension(x509.NameConstraints.oid, True, permitted)])
    one = issue(top, "One", ca=True)
    two = issue(one, "Two", ca=True)
    good = issue(two, "Leaf", dns_names=["a.example.com"])
    bad = issue(two, "Leaf", dns_names=["a.example.org"])
    assert _leads(good, top, one, two)
    assert not _leads(bad, top, one, two)
    middle = issue(top, "Middle", ca=True, dns_names=["ca.example.org"])
    assert not _leads(issue(middle, "Leaf"), top, middle)
    # They don't reach up: who makes them isn't bound by them.
    inner = issue(root("R"), "Inner", ca=True, name_constraints=permitted, dns_names=["x.org"])
    assert _leads(issue(inner, "Leaf"), inner.root, inner)


@pytest.mark.requirement("CMS-06")
@pytest.mark.refuses("CMS-06")
def test_key_roll_over_is_not_constrained_but_a_leaf_always_is() -> None:
    excluded = x509.NameConstraints(None, [_directory("Middle")])
    top = root("Root")
    middle = issue(top, "Middle", ca=True, name_constraints=excluded)
    rolled = issue(middle, "Middle", ca=True)
    assert _leads(issue(rolled, "Leaf"), top, middle, rolled)
    assert not _leads(rolled, top, middle)


def test_a_refusal_shows_the_name_escaped() -> None:
    constraints = NameConstraints((GeneralName("dns_name", b"example.com"),), ())
    words = violation(
        _with_names(GeneralName("dns_name", b"\x1b[1m" + b"a" * 200)), constraints, Budget()
    )
    assert words is not None
    assert words.isprintable()
    assert len(words) < 200
    directory = GeneralName("directory_name", bytes(distinguished_name("A").dump()))
    words = violation(_with_names(directory), NameConstraints((), (directory,)), Budget())
    assert words == "a directory name is excluded by its issuer"


def _text(tag: int, value: bytes, oid: str = "550403") -> bytes:
    kind = bytes.fromhex(oid)
    inner = bytes([6, len(kind)]) + kind + bytes([tag, len(value)]) + value
    pair = b"\x30" + bytes([len(inner)]) + inner
    rdn = b"\x31" + bytes([len(pair)]) + pair
    return b"\x30" + bytes([len(rdn)]) + rdn


@pytest.mark.requirement("CMS-06")
def test_names_are_compared_as_text() -> None:
    utf8 = _text(der.UTF8_STRING, b"Example  Owner")
    assert same_name(utf8, utf8)
    assert same_name(utf8, _text(der.PRINTABLE_STRING, b" example owner "))
    assert same_name(utf8, _text(der.BMP_STRING, "Example Owner".encode("utf-16-be")))
    assert not same_name(utf8, _text(der.UTF8_STRING, b"ExampleOwner"))
    assert not same_name(utf8, _text(der.UTF8_STRING, b"Example Owner", "55040a"))
    assert not same_name(utf8, b"\x30\x00")
    # What is no text is compared octet by octet.
    octets = _text(der.OCTET_STRING, b"Example Owner")
    assert not same_name(octets, utf8)
    assert not same_name(octets, _text(der.OCTET_STRING, b"example owner"))
    assert not same_name(octets, _text(der.IA5_STRING, b"\xff"))
    assert not same_name(_text(der.OCTET_STRING, b"\x05"), _text(der.INTEGER, b"\x05"))
