# SPDX-License-Identifier: Apache-2.0
"""Decoders on hostile input: they accept it or raise `MalformedError`, and nothing else.

`XPU_AGENT_EXAMPLES=5000` in the environment makes them search longer.
"""

import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.artifacts import vectors
from tests.unit.artifacts.der_writer import (
    certificate,
    content_info,
    enveloped,
    extension,
    key_agree,
    key_trans,
    octets,
    signed,
    tlv,
)
from tests.unit.artifacts.test_certificate import full_certificate
from tests.unit.artifacts.test_revocation import stapled_revocation

from xpu_agent.artifacts import cms, rpc
from xpu_agent.artifacts.bundle import ArtifactName, Artifacts, assemble_bundle, open_artifacts
from xpu_agent.artifacts.certificate import parse_certificate
from xpu_agent.artifacts.conveyed_info import Encoding, parse_conveyed_document
from xpu_agent.artifacts.strict_json import parse_json
from xpu_agent.artifacts.strict_xml import parse_xml
from xpu_agent.artifacts.voucher import parse_voucher
from xpu_agent.device import Leniency
from xpu_agent.errors import MalformedError

SETTINGS = settings(
    max_examples=int(os.environ.get("XPU_AGENT_EXAMPLES", "40")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
CONTENT_TYPES = (cms.OID_DATA, cms.OID_CONVEYED_JSON, cms.OID_CONVEYED_XML, cms.OID_VOUCHER_JSON)


def read_bundle(octets_: bytes) -> None:
    """The same octets as each artifact, and as each plaintext."""
    good = {
        ArtifactName.CONVEYED_INFORMATION: vectors.artifact("conveyed-information-signed-json"),
        ArtifactName.OWNER_CERTIFICATE: vectors.artifact("owner-certificate"),
        ArtifactName.OWNERSHIP_VOUCHER: vectors.artifact("ownership-voucher"),
    }
    for name in ArtifactName:
        for replaced, plaintexts in (
            (octets_, {}),
            (enveloped(content_type=cms.OID_DATA), {name: octets_}),
            (enveloped(content_type=cms.OID_SIGNED_DATA), {name: octets_}),
        ):
            values = {**good, name: replaced}
            try:
                opened = open_artifacts(Artifacts(*(values[key] for key in ArtifactName)))
                if opened.enveloped.keys() == plaintexts.keys():
                    assemble_bundle(opened, plaintexts)
            except MalformedError:
                pass


def read_voucher(content: bytes) -> None:
    data = cms.SignedData(cms.OID_VOUCHER_JSON, content, cms.CertificateBag((), (), ()), ())
    parse_voucher(data, tuple(Leniency))


def read_conveyed(content: bytes) -> None:
    for content_type in CONTENT_TYPES:
        with suppress(MalformedError):
            parse_conveyed_document(content, content_type, tuple(Leniency))


DECODERS: dict[str, Callable[[bytes], object]] = {
    "certificate": parse_certificate,
    "content-info": cms.parse_content_info,
    "signed-data": cms.parse_signed_data,
    "bundle": read_bundle,
    "voucher": read_voucher,
    "conveyed": read_conveyed,
    "json": lambda octets_: parse_json(octets_, "it"),
    "xml": lambda octets_: parse_xml(octets_, "it"),
    "response-json": lambda octets_: rpc.decode_bootstrapping_response(octets_, Encoding.JSON),
    "response-xml": lambda octets_: rpc.decode_bootstrapping_response(octets_, Encoding.XML),
}


def check_message(message: str) -> None:
    """Errors reach logs and reports: one printable line without a peer's bulk."""
    assert message.isprintable()
    assert len(message) < 300


def decode_all(octets_: bytes) -> None:
    for decode in DECODERS.values():
        try:
            decode(octets_)
        except MalformedError as error:
            check_message(error.message)
    for never_raises in (rpc.decode_error, rpc.decode_host_meta):
        never_raises(octets_)


@given(st.binary(max_size=200))
@SETTINGS
def test_arbitrary_octets(octets_: bytes) -> None:
    decode_all(octets_)


SEEDS = [
    *(path.read_bytes() for path in sorted(vectors.EXAMPLES.glob("artifacts/*.cms"))),
    *(path.read_bytes() for path in sorted(vectors.EXAMPLES.glob("*information*.*"))),
    *(path.read_bytes() for path in sorted(vectors.EXAMPLES.glob("voucher*.json"))),
    vectors.certificate("idevid"),
    full_certificate(),
    stapled_revocation(),
    signed(),
    enveloped(key_trans(), key_agree()),
    vectors.example("get-bootstrapping-data-output-unsigned.xml"),
    vectors.example("get-bootstrapping-data-output-unsigned.json"),
    vectors.example("csr-request-error.xml"),
]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A valid input with some octets changed, cut out, repeated or taken from elsewhere."""
    found = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(found)))
        end = min(len(found), start + draw(st.integers(0, 8)))
        found[start:end] = draw(
            st.one_of(
                st.binary(max_size=4),
                st.just(bytes(found[start:end]) * 3),
                st.sampled_from(
                    [b"\x80", b"\xff\xff\xff\xff", b"\x30\x80", b'"', b"<", b"&", b":"]
                ),
            )
        )
    return bytes(found)


@given(mutated())
@SETTINGS
def test_mutated_octets(octets_: bytes) -> None:
    decode_all(octets_)


# --- mutations that keep the lengths right, and so reach the fields inside ---


@dataclass
class Tree:
    """One element of DER to be changed at will."""

    tag: int
    content: bytes = b""
    children: list["Tree"] = field(default_factory=list)

    def encoded(self) -> bytes:
        return tlv(self.tag, self.content, *(child.encoded() for child in self.children))

    def all(self) -> list["Tree"]:
        return [self, *(found for child in self.children for found in child.all())]


def grow(octets_: bytes) -> list[Tree]:
    """Read valid DER of short tags."""
    trees = []
    while octets_:
        size, start = octets_[1], 2
        if size & 0x80:
            start += size & 0x7F
            size = int.from_bytes(octets_[2:start], "big")
        content, octets_tag = octets_[start : start + size], octets_[0]
        octets_ = octets_[start + size :]
        if octets_tag & 0x20:
            trees.append(Tree(octets_tag, children=grow(content)))
        else:
            trees.append(Tree(octets_tag, content))
    return trees


DER_SEEDS = [seed for seed in SEEDS if seed[:1] == b"\x30"]
TAGS = [1, 2, 3, 4, 5, 6, 10, 12, 0x13, 0x17, 0x18, 0x1E, 0x30, 0x31, 0x80, 0x81, 0x82, 0x84]
TAGS += [0x86, 0x87, 0xA0, 0xA1, 0xA2, 0xA3, 0xA4, 0x24, 0xBF]


@st.composite
def mutated_der(draw: st.DrawFn) -> bytes:
    (root,) = grow(draw(st.sampled_from(DER_SEEDS)))
    for _ in range(draw(st.integers(1, 3))):
        tree = draw(st.sampled_from(root.all()))
        match draw(st.sampled_from(["tag", "content", "drop", "repeat", "insert", "shuffle"])):
            case "tag":
                tree.tag = draw(st.sampled_from(TAGS))
            case "content":
                tree.content = draw(st.binary(max_size=40))
                tree.children = []
            case "drop" if tree.children:
                del tree.children[draw(st.integers(0, len(tree.children) - 1))]
            case "repeat" if tree.children:
                tree.children *= 2
            case "insert":
                other = Tree(draw(st.sampled_from(TAGS)), draw(st.binary(max_size=3)))
                tree.children.insert(draw(st.integers(0, len(tree.children))), other)
            case _:
                tree.children = draw(st.permutations(tree.children))
    return root.encoded()


def test_trees_grow_back() -> None:
    for seed in DER_SEEDS:
        (tree,) = grow(seed)
        assert tree.encoded() == seed


@given(mutated_der())
@SETTINGS
def test_mutated_structures(octets_: bytes) -> None:
    decode_all(octets_)


@given(mutated_der())
@SETTINGS
def test_mutated_extensions_of_a_certificate(octets_: bytes) -> None:
    """The octets inside an extension are DER of their own."""
    for oid in ("2.5.29.14", "2.5.29.15", "2.5.29.17", "2.5.29.19", "2.5.29.30", "2.5.29.35"):
        with suppress(MalformedError):
            parse_certificate(certificate(extension(oid, octets_)))


# --- documents of any shape ---

NAMES = """
    bootstrap-server address port trust-anchor boot-image os-name download-uri image-verification
    hash-algorithm hash-value configuration configuration-handling nonce created-on assertion
    serial-number pinned-domain-cert expires-on output conveyed-information reporting-level
    error-tag links Link rel href
""".split()  # noqa: SIM905  # a list of words, not of lines

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(NAMES),
            inner,
            max_size=6,
        )
    ),
    max_leaves=16,
)
TOPS = [
    "ietf-sztp-conveyed-info:redirect-information",
    "ietf-sztp-conveyed-info:onboarding-information",
    "ietf-voucher:voucher",
    "ietf-sztp-bootstrap-server:output",
    "links",
    "ietf-restconf:errors",
]


@given(st.sampled_from(TOPS), JSON)
@SETTINGS
def test_arbitrary_json(top: str, value: object) -> None:
    decode_all(json.dumps({top: value}).encode())


XML_TEXT = st.sampled_from(
    ["", "a", " 443 ", "YQ==", "x:sha-256", "&amp;", "<![CDATA[<]]>", "&#0;"]
)


@st.composite
def xml_elements(draw: st.DrawFn, depth: int = 0) -> str:
    name = draw(st.sampled_from(NAMES))
    more = draw(st.sampled_from(["", " a='1'", " xmlns:x='urn:x'", " xmlns=''"]))
    inner = draw(XML_TEXT)
    if depth < 3:
        inner += "".join(draw(xml_elements(depth + 1)) for _ in range(draw(st.integers(0, 3))))
    return f"<{name}{more}>{inner}</{name}>"


@given(
    st.sampled_from(["redirect-information", "onboarding-information", "output", "XRD"]),
    st.sampled_from(
        [
            "urn:ietf:params:xml:ns:yang:ietf-sztp-conveyed-info",
            "urn:ietf:params:xml:ns:yang:ietf-sztp-bootstrap-server",
            "http://docs.oasis-open.org/ns/xri/xrd-1.0",
        ]
    ),
    st.lists(xml_elements(), max_size=3),
)
@SETTINGS
def test_arbitrary_xml(root: str, namespace: str, inner: list[str]) -> None:
    decode_all(f"<{root} xmlns='{namespace}'>{''.join(inner)}</{root}>".encode())


# --- what is accepted means one thing ---


@given(mutated_der())
@SETTINGS
def test_what_is_accepted_is_made_of_the_octets_given(octets_: bytes) -> None:
    try:
        found = cms.parse_content_info(octets_)
    except MalformedError:
        return
    match found:
        case cms.SignedData():
            assert found.content in octets_
            for signer in found.signers:
                assert signer.signed_attributes is None or signer.signed_attributes[1:] in octets_
            bag = found.bag
        case cms.CertificateBag():
            bag = found
        case _:
            return
    for certificate_ in bag.certificates:
        assert certificate_.der in octets_
        assert certificate_.tbs in certificate_.der
        assert parse_certificate(certificate_.der) == certificate_


@pytest.mark.requirement("SZTP-3.1-01")
@given(st.sampled_from(CONTENT_TYPES[:3]), st.binary(max_size=300))
@SETTINGS
def test_plain_content_comes_back(content_type: str, content: bytes) -> None:
    found = cms.parse_content_info(content_info(content_type, octets(content)))
    assert found == cms.PlainContent(content_type, content)
