# SPDX-License-Identifier: Apache-2.0
"""Strict XML: no document type, bounded, namespaces resolved."""

import pytest

from xpu_agent import limits
from xpu_agent.artifacts.strict_xml import parse_xml
from xpu_agent.errors import MalformedError


@pytest.mark.requirement("RC-5.2-04")
def test_prefixes_cdata_and_entities_are_read_as_what_they_mean() -> None:
    root = parse_xml(
        b'<?xml version="1.0" encoding="UTF-8"?><!-- c -->\n'
        b'<p:a xmlns:p="urn:a" xmlns="urn:b" plain="1" p:other="2">'
        b"<b>x&amp;<![CDATA[<y>]]><!-- c -->&#65;\xc3\xa9</b><p:c xmlns=''/></p:a>",
        "it",
    )
    assert (root.namespace, root.name, root.attributes) == ("urn:a", "a", {"plain": "1"})
    b, c = root.children
    assert (b.namespace, b.name, b.text) == ("urn:b", "b", "x&<y>A\xe9")
    assert (c.namespace, c.name) == ("urn:a", "c")
    assert b.prefixes == {"p": "urn:a", "": "urn:b"}
    assert c.prefixes == {"p": "urn:a", "": ""}


def test_no_namespace_and_a_byte_order_mark() -> None:
    root = parse_xml(b"\xef\xbb\xbf<a><b/></a>", "it")
    assert (root.namespace, root.name, root.children[0].prefixes) == ("", "a", {})


@pytest.mark.parametrize(
    ("octets", "message"),
    [
        (b"", "not well-formed"),
        (b"<a>", "not well-formed"),
        (b"<a/><b/>", "not well-formed"),
        (b"<a/>x", "not well-formed"),
        (b"<a>&nbsp;</a>", "not well-formed"),
        (b"<a>\xff</a>", "not UTF-8 at octet 3"),
        (b"<p:a/>", "not well-formed"),
        ("<a/>".encode("utf-16"), "not UTF-8 at octet 0"),
        ("<a/>".encode("utf-16-le"), "has a NUL"),
        (b'<?xml version="1.0" encoding="ISO-8859-1"?><a/>', "not XML 1.0 in UTF-8"),
        (b'<?xml version="1.1"?><a/>', "not XML 1.0 in UTF-8"),
        (b"<!DOCTYPE a><a/>", "document type"),
        (b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "document type"),
        (b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>', "document type"),
        (b'<!DOCTYPE a SYSTEM "http://a.example/a.dtd"><a/>', "document type"),
        (b"<a><?php x?></a>", "processing instruction"),
        (b"<a>" * (limits.XML_DEPTH + 1), "nested deeper"),
        (b"<a>" + b"<b/>" * limits.DOCUMENT_NODES + b"</a>", "too many elements"),
        (b"<a " + b" ".join(b"a%d='1'" % n for n in range(17)) + b"/>", "too many elements"),
        (b"<a " + b" ".join(b"xmlns:a%d='u'" % n for n in range(17)) + b"/>", "many namespaces"),
    ],
)
@pytest.mark.refuses("RC-5.2-04")
def test_anything_else_is_refused(octets: bytes, message: str) -> None:
    with pytest.raises(MalformedError, match=message):
        parse_xml(octets, "it")


def test_depth_up_to_the_bound() -> None:
    most = limits.XML_DEPTH
    parse_xml(b"<a>" * most + b"</a>" * most, "it")


def test_elements_attributes_and_namespaces_up_to_the_bound() -> None:
    parse_xml(b"<a>" + b"<b/>" * (limits.DOCUMENT_NODES - 1) + b"</a>", "it")
    parse_xml(b"<a " + b" ".join(b"a%d='1'" % n for n in range(16)) + b"/>", "it")
    parse_xml(b"<a " + b" ".join(b"xmlns:a%d='u'" % n for n in range(16)) + b"/>", "it")
