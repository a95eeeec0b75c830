# SPDX-License-Identifier: Apache-2.0
"""The document inside conveyed information (RFC 8572, 6; RFC 7951; RFC 7950)."""

import base64
import json
from typing import Any

import pytest
from tests.unit.artifacts import vectors
from tests.unit.artifacts.der_writer import DATA, JSON, VOUCHER, XML, content_info, octets

from xpu_agent import limits
from xpu_agent.artifacts.cms import CertificateBag
from xpu_agent.artifacts.conveyed_info import (
    BootImage,
    BootstrapServer,
    ConfigurationHandling,
    ConveyedDocument,
    Encoding,
    HashAlgorithm,
    ImageVerification,
    OnboardingInformation,
    RedirectInformation,
    parse_conveyed_document,
)
from xpu_agent.device import Leniency
from xpu_agent.errors import MalformedError, Reason

NAMESPACE = "urn:ietf:params:xml:ns:yang:ietf-sztp-conveyed-info"
DIGEST = bytes.fromhex("ce1436f48f59d0df2436dc911369a517866e4a12590f1d467bc5088024a70d67")
HEX = DIGEST.hex(":")


def parse(octets_: bytes, content_type: str = DATA) -> ConveyedDocument:
    return parse_conveyed_document(octets_, content_type)


def redirect(*servers: object) -> bytes:
    inner = {"bootstrap-server": list(servers)}
    return json.dumps({"ietf-sztp-conveyed-info:redirect-information": inner}).encode()


def onboarding(**members: object) -> bytes:
    inner = {name.replace("_", "-"): value for name, value in members.items()}
    return json.dumps({"ietf-sztp-conveyed-info:onboarding-information": inner}).encode()


def image(**members: object) -> bytes:
    inner = {name.replace("_", "-"): value for name, value in members.items()}
    return onboarding(boot_image=inner)


def xml(inner: str, root: str = "onboarding-information", more: str = "") -> bytes:
    return f'<{root} xmlns="{NAMESPACE}"{more}>{inner}</{root}>'.encode()


def servers(octets_: bytes) -> tuple[BootstrapServer, ...]:
    found = parse(octets_).information
    assert isinstance(found, RedirectInformation)
    return found.servers


def boot_image(octets_: bytes) -> BootImage:
    found = parse(octets_).information
    assert isinstance(found, OnboardingInformation)
    assert found.boot_image is not None
    return found.boot_image


EXPECTED = OnboardingInformation(
    boot_image=BootImage(
        os_name="ExampleXPU",
        os_version="2.1.0",
        download_uris=(
            "https://files.owner.example/ExampleXPU-2.1.0.img",
            "http://192.0.2.30/ExampleXPU-2.1.0.img",
        ),
        verifications=(ImageVerification(HashAlgorithm.SHA_256, DIGEST),),
    ),
    pre_configuration_script=b"#!/bin/sh\necho pre\nexit 0\n",
    configuration=b"<configuration><hostname>xpu-1</hostname></configuration>\n",
    configuration_handling=ConfigurationHandling.MERGE,
    post_configuration_script=b"#!/bin/sh\necho post\nexit 0\n",
)


@pytest.mark.parametrize(
    ("name", "encoding", "content_type"),
    [
        ("onboarding-information.json", Encoding.JSON, JSON),
        ("onboarding-information.json", Encoding.JSON, DATA),
        ("onboarding-information-short-identity-upper-hex.json", Encoding.JSON, JSON),
        ("onboarding-information.xml", Encoding.XML, XML),
        ("onboarding-information.xml", Encoding.XML, DATA),
    ],
)
@pytest.mark.requirement("SZTP-3.1-02", "SZTP-3.1-06", "SZTP-6.3-04", "SZTP-6.3-07", "RC-5.2-03")
def test_onboarding_examples(name: str, encoding: Encoding, content_type: str) -> None:
    found = parse(vectors.example(name), content_type)
    assert found == ConveyedDocument(EXPECTED, encoding, vectors.example(name))


@pytest.mark.parametrize("suffix", ["json", "xml"])
@pytest.mark.requirement("SZTP-3.1-06", "SZTP-6.3-01", "SZTP-6.3-02", "SZTP-6.3-03", "RC-5.2-03")
def test_redirect_examples(suffix: str) -> None:
    first, second, *more = servers(vectors.example(f"redirect-information.{suffix}"))
    assert (first.address, first.port) == ("bootstrap-a.owner.example", 8443)
    assert isinstance(first.trust_anchor, CertificateBag)
    anchor = vectors.certificate("bootstrap-server-ca")
    assert [one.der for one in first.trust_anchor.certificates] == [anchor]
    assert second == BootstrapServer("192.0.2.20", 443, None)
    if suffix == "json":
        assert [(one.address, one.port) for one in more] == [("2001:db8::20", 9443)]


def test_other_examples() -> None:
    (one,) = servers(vectors.example("redirect-information-unsigned-no-anchor.json"))
    assert one.trust_anchor is None
    found = parse(vectors.example("onboarding-information-config-only.json"), JSON).information
    assert isinstance(found, OnboardingInformation)
    assert found.boot_image is None
    assert found.configuration_handling is ConfigurationHandling.REPLACE


WHY = {
    "both-kinds": "one member",
    "configuration-without-handling": "belong together",
    "handling-unknown-value": "configuration-handling has a value that is not defined",
    "handling-without-configuration": "belong together",
    "hash-unknown-algorithm": "hash-algorithm is not defined",
    "hash-without-colons": "hexadecimal with colons",
    "hash-without-download-uri": "needs a download-uri",
    "redirect-duplicate-address": "two servers of one address",
    "redirect-empty-list": "no bootstrap-server",
    "redirect-port-as-text": "port is not a number",
    "redirect-url-as-address": "neither a host name nor an IP address",
    "script-not-base64": "not base64",
    "unknown-leaf": "a member that is not defined: 'color'",
}


@pytest.mark.parametrize("name", vectors.invalid("conveyed-information"))
@pytest.mark.refuses("SZTP-3.1-06", "SZTP-6.3-04", "SZTP-6.3-07")
def test_invalid_examples(name: str) -> None:
    why = WHY[name.removesuffix(".json").partition("--")[2]]
    with pytest.raises(MalformedError, match=why):
        parse(vectors.example(name), JSON)


# --- encoding (AMB-05) ---


@pytest.mark.refuses("SZTP-3.1-02", "CMS-05")
@pytest.mark.parametrize(
    ("octets_", "content_type", "message"),
    [
        (vectors.example("onboarding-information.json"), XML, "is called xml, but is json"),
        (vectors.example("onboarding-information.xml"), JSON, "is called json, but is xml"),
        (vectors.example("onboarding-information.json"), VOUCHER, "has the content type"),
        (b"[]", DATA, "neither a JSON object nor XML"),
        (b"", DATA, "neither a JSON object nor XML"),
    ],
)
def test_encoding_and_content_type_have_to_agree(
    octets_: bytes, content_type: str, message: str
) -> None:
    with pytest.raises(MalformedError, match=message):
        parse(octets_, content_type)


def test_a_wrong_label_may_be_allowed() -> None:
    octets_ = vectors.example("onboarding-information.json")
    found = parse_conveyed_document(octets_, XML, {Leniency.MISLABELLED_ENCODING})
    assert found.information == EXPECTED
    assert found.warnings == ("conveyed information is called xml, but is json",)


def test_space_and_byte_order_mark_before_the_document() -> None:
    assert parse(b" \r\n" + redirect({"address": "a"})).encoding is Encoding.JSON
    assert parse(b"\xef\xbb\xbf" + xml("<os-name/>", "x")[:0] + vectors.example(
        "onboarding-information.xml")).encoding is Encoding.XML  # fmt: skip


def test_size_is_bounded() -> None:
    with pytest.raises(MalformedError) as caught:
        parse(b"{" + b" " * limits.ARTIFACT_BYTES)
    assert caught.value.reason is Reason.TOO_LARGE


# --- redirect information ---


@pytest.mark.parametrize(
    ("address", "canonical"),
    [
        ("A.Example", "a.example"),
        ("a.example.", "a.example"),
        ("_sztp.x-1.example", "_sztp.x-1.example"),
        ("x" * 63, "x" * 63),
        ("192.0.2.1", "192.0.2.1"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
    ],
)
@pytest.mark.requirement("SZTP-6.3-03")
def test_addresses(address: str, canonical: str) -> None:
    assert servers(redirect({"address": address})) == (BootstrapServer(canonical, 443, None),)


@pytest.mark.parametrize(
    "address",
    [
        *("", ".", "a..b", "-a", "a-", "a b", "a/b", "a:443", "[2001:db8::1]", "x" * 64),
        *("999.1.1.1", "192.0.2", "0x7f000001", "192.0.2.1.", "a.example:443", "1.2.3.4%eth 0"),
        *("é.example", "fe80::1%", "fe80::1%a/b", "a%eth0", "user@a"),
        *(".".join(["x" * 63] * 4), "a\n"),
    ],
)  # fmt: skip
@pytest.mark.refuses("SZTP-6.3-03")
def test_what_is_no_host_is_refused(address: str) -> None:
    with pytest.raises(MalformedError, match="address"):
        parse(redirect({"address": address}))


@pytest.mark.parametrize("port", [0, 65536, -1, 443.0, "443", True, None, [443], 10**20])
@pytest.mark.refuses("SZTP-6.3-02", "RC-5.2-04")
def test_what_is_no_port_is_refused(port: object) -> None:
    with pytest.raises(MalformedError, match="port is not a"):
        parse(redirect({"address": "a", "port": port}))


@pytest.mark.parametrize(("text", "port"), [("8443", 8443), (" +443\n", 443), ("00443", 443)])
@pytest.mark.requirement("SZTP-6.3-02")
def test_ports_in_xml(text: str, port: int) -> None:
    inner = f"<bootstrap-server><address> a </address><port>{text}</port></bootstrap-server>"
    assert servers(xml(inner, "redirect-information")) == (BootstrapServer("a", port, None),)


@pytest.mark.parametrize("port", ["", "4 43", "0x1bb", "https", "٣", "99999999999"])
@pytest.mark.refuses("SZTP-6.3-02")
def test_what_is_no_port_in_xml_is_refused(port: str) -> None:
    inner = f"<bootstrap-server><address>a</address><port>{port}</port></bootstrap-server>"
    with pytest.raises(MalformedError, match="port is not a number"):
        parse(xml(inner, "redirect-information"))


@pytest.mark.parametrize(
    ("servers_", "message"),
    [
        ([{"port": 443}], "has no address"),
        ([{"address": 5}], "not a JSON string"),
        (["a"], "not a JSON object"),
        ([{"address": "A.example"}, {"address": "a.EXAMPLE."}], "two servers of one address"),
        ([{"address": "::1"}, {"address": "0::1"}], "two servers of one address"),
        ([{"address": "a", "x:y": 1}], "not defined: 'x:y'"),
        ([{"address": "a", "ietf-sztp-conveyed-info:port": 443}], "not defined"),
        ([{"address": f"a{n}"} for n in range(33)], "more than 32"),
        ([{"address": "a", "trust-anchor": "MAA="}], "no contentType"),
        (
            [{"address": "a", "trust-anchor": base64.b64encode(
                content_info(JSON, octets(b"{}"))).decode()}],
            "not a bag of certificates",
        ),
    ],
)  # fmt: skip
@pytest.mark.refuses("SZTP-3.1-06", "SZTP-6.3-01")
def test_invalid_redirect_information(servers_: list[object], message: str) -> None:
    with pytest.raises(MalformedError, match=message):
        parse(redirect(*servers_))


@pytest.mark.parametrize(
    ("octets_", "message"),
    [
        (b'{"ietf-sztp-conveyed-info:redirect-information": {}}', "no bootstrap-server"),
        (b'{"ietf-sztp-conveyed-info:redirect-information": []}', "not a JSON object"),
        (b'{"redirect-information": {}}', "wrong top member: 'redirect-information'"),
        (b'{"ietf-sztp-conveyed-info:conveyed-information": {}}', "wrong top member"),
        (b"{}", "one member"),
        (
            b'{"ietf-sztp-conveyed-info:redirect-information": {"bootstrap-server": {}}}',
            "not a JSON array",
        ),
        (xml("", "redirect-information"), "no bootstrap-server"),
        (xml("", "conveyed-information"), "wrong root element"),
        (b"<redirect-information/>", "wrong root element"),
        (xml("", "redirect-information", ' a="b"'), "has attributes"),
        (xml("text", "redirect-information"), "text between its elements"),
        (xml("<x xmlns='urn:x'/>", "redirect-information"), "not defined: 'x'"),
        (xml("<x/>", "redirect-information"), "not defined: 'x'"),
        (
            xml("<bootstrap-server><address>a</address><address>b</address></bootstrap-server>",
                "redirect-information"),
            "more than once",
        ),
        (
            xml("<bootstrap-server><address><b/></address></bootstrap-server>",
                "redirect-information"),
            "more than text",
        ),
        (
            xml("<bootstrap-server><address x='1'>a</address></bootstrap-server>",
                "redirect-information"),
            "more than text",
        ),
    ],
)  # fmt: skip
@pytest.mark.refuses("SZTP-3.1-06")
def test_invalid_documents(octets_: bytes, message: str) -> None:
    with pytest.raises(MalformedError, match=message):
        parse(octets_)


# --- onboarding information ---


@pytest.mark.parametrize(
    "octets_", [onboarding(), onboarding(boot_image={}), xml(""), xml("<boot-image/>")]
)
@pytest.mark.refuses("SZTP-3.1-06")
def test_empty_onboarding_information_is_refused(octets_: bytes) -> None:
    with pytest.raises(MalformedError, match="is empty"):
        parse(octets_)


def test_an_empty_boot_image_is_none() -> None:
    found = parse(onboarding(boot_image={}, pre_configuration_script="")).information
    assert found == OnboardingInformation(None, b"", None, None, None)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("YQ", "not base64"),
        ("YQ===", "not base64"),
        ("YR==", "canonical"),
        ("YQ==\n", "base64"),
        ("Y Q==", "base64"),
        ("YQ==YQ==", "base64"),
        ("_-8=", "base64"),
        ("é", "base64"),
        (5, "not a JSON string"),
    ],
)
@pytest.mark.refuses("RC-5.2-04")
def test_base64_is_strict(value: object, message: str) -> None:
    with pytest.raises(MalformedError, match=message):
        parse(onboarding(pre_configuration_script=value))


@pytest.mark.requirement("RC-5.2-04")
def test_xml_with_prefixes_cdata_and_line_breaks() -> None:
    octets_ = (
        f'<s:onboarding-information xmlns:s="{NAMESPACE}" xmlns:other="urn:x" other:note="1">\n'
        "<s:boot-image><s:os-name><![CDATA[a<b]]>&amp;c </s:os-name></s:boot-image>"
        "<s:pre-configuration-script>\n  aGVs\n  bG8=\n</s:pre-configuration-script>"
        "</s:onboarding-information>"
    ).encode()
    found = parse(octets_).information
    assert isinstance(found, OnboardingInformation)
    assert found.pre_configuration_script == b"hello"
    assert found.boot_image is not None
    assert found.boot_image.os_name == "a<b&c "


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("pre-configuration-script", limits.SCRIPT_BYTES),
        ("post-configuration-script", limits.SCRIPT_BYTES),
    ],
)
def test_scripts_are_bounded(name: str, most: int) -> None:
    value = base64.b64encode(bytes(most)).decode()
    parse(onboarding(**{name: value}))
    for octets_ in (bytes(most + 1), bytes(most + 4)):
        value = base64.b64encode(octets_).decode()
        with pytest.raises(MalformedError) as caught:
            parse(onboarding(**{name: value}))
        assert caught.value.reason is Reason.TOO_LARGE


def verification(algorithm: object = "sha-256", value: object = HEX) -> dict[str, object]:
    return {"hash-algorithm": algorithm, "hash-value": value}


URI = ["https://a.example/i"]


@pytest.mark.requirement("SZTP-6.3-04")
def test_identities_of_other_modules_are_skipped_and_counted() -> None:
    octets_ = image(
        download_uri=URI,
        image_verification=[
            verification("other:sha-256", "00:ff"),
            verification(),
            verification("other:md5", ""),
        ],
    )
    found = boot_image(octets_)
    assert found.verifications == (ImageVerification(HashAlgorithm.SHA_256, DIGEST),)
    assert found.unusable_verifications == 2
    assert len(parse(octets_).warnings) == 2


@pytest.mark.parametrize(
    ("declaration", "algorithm", "usable"),
    [
        (f' xmlns:x="{NAMESPACE}"', "x:sha-256", 1),
        ("", " sha-256\n", 1),
        (' xmlns:x="urn:other"', "x:sha-256", 0),
    ],
)
@pytest.mark.requirement("SZTP-6.3-04", "RC-5.2-04")
def test_prefixes_of_identities_are_resolved(declaration: str, algorithm: str, usable: int) -> None:
    found = boot_image(
        xml(
            "<boot-image><download-uri>https://a.example/i</download-uri><image-verification>"
            f"<hash-algorithm{declaration}>{algorithm}</hash-algorithm>"
            f"<hash-value> {HEX.upper()} </hash-value></image-verification></boot-image>"
        )
    )
    assert len(found.verifications) == usable
    assert found.unusable_verifications == 1 - usable


def test_an_identity_without_namespace_is_refused() -> None:
    octets_ = (
        f'<s:onboarding-information xmlns:s="{NAMESPACE}"><s:boot-image>'
        "<s:download-uri>https://a.example/i</s:download-uri><s:image-verification>"
        f"<s:hash-algorithm%s>sha-256</s:hash-algorithm><s:hash-value>{HEX}</s:hash-value>"
        "</s:image-verification></s:boot-image></s:onboarding-information>"
    )
    for declaration in ("", " xmlns=''"):
        with pytest.raises(MalformedError, match="in scope"):
            parse((octets_ % declaration).encode())


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([verification("md5")], "not defined"),
        ([verification("hash-algorithm")], "not defined"),
        ([verification("SHA-256")], "not defined"),
        ([verification(":sha-256")], "name of an identity"),
        ([verification("a:b:sha-256")], "name of an identity"),
        ([verification("")], "name of an identity"),
        ([verification(5)], "not a JSON string"),
        ([verification(value=HEX[:-3])], "wrong length"),
        ([verification(value="")], "wrong length"),
        ([verification(value=HEX + ":")], "hexadecimal"),
        ([verification(value=HEX.replace(":", "-"))], "hexadecimal"),
        ([verification(value=HEX + "\n")], "hexadecimal"),
        ([verification("other:md5", "x")], "hexadecimal"),
        ([{"hash-algorithm": "sha-256"}], "no hash-value"),
        ([{"hash-value": HEX}], "no hash-algorithm"),
        ([verification(), verification("ietf-sztp-conveyed-info:sha-256")], "twice"),
        ([verification("o:x", ""), verification("o:x", "")], "twice"),
        ([verification(f"o:x{n}", "") for n in range(9)], "more than 8"),
        ([{**verification(), "x": 1}], "not defined"),
    ],
)
@pytest.mark.refuses("SZTP-6.3-04")
def test_invalid_fingerprints(entries: list[Any], message: str) -> None:
    with pytest.raises(MalformedError, match=message):
        parse(image(download_uri=URI, image_verification=entries))


def test_download_uris() -> None:
    uris = ["https://a.example/i?x=1#f", "http://[2001:db8::1]/i", "file:///i", "tftp://a/i"]
    assert boot_image(image(download_uri=uris)).download_uris == tuple(uris)


@pytest.mark.parametrize(
    "uri", ["", "a", "/i", "https:", "https://a b", "1a:b", "https://é", "x:\n", "x:" + "a" * 2048]
)
def test_what_is_no_uri_is_refused(uri: str) -> None:
    with pytest.raises(MalformedError, match="not a URI"):
        parse(image(download_uri=[uri]))


def test_text_and_lists_up_to_the_bound() -> None:
    text = "x" * limits.STRING_CHARS
    uris = ["x:" + "a" * (limits.URI_CHARS - 2)] * limits.DOWNLOAD_URIS
    entries = [verification(f"o:x{n}", "") for n in range(limits.IMAGE_VERIFICATIONS)]
    found = boot_image(image(os_name=text, download_uri=uris, image_verification=entries))
    assert found.os_name == text
    assert len(found.download_uris) == limits.DOWNLOAD_URIS
    assert found.unusable_verifications == limits.IMAGE_VERIFICATIONS
    many = [{"address": f"a{n}"} for n in range(limits.SERVERS_PER_LIST)]
    assert len(servers(redirect(*many))) == limits.SERVERS_PER_LIST


def test_documents_up_to_the_bound() -> None:
    octets_ = onboarding(pre_configuration_script="")
    parse(octets_ + b" " * (limits.ARTIFACT_BYTES - len(octets_)))


@pytest.mark.parametrize("port", [1, 65535])
@pytest.mark.requirement("SZTP-6.3-02")
def test_first_and_last_port(port: int) -> None:
    assert servers(redirect({"address": "a", "port": port})) == (BootstrapServer("a", port, None),)


@pytest.mark.parametrize(
    ("octets_", "message"),
    [
        (image(download_uri=[5]), "not a string"),
        (image(download_uri="https://a"), "not a JSON array"),
        (image(download_uri=["a:b"] * 17), "more than 16"),
        (image(os_name="x" * 4097), "more than 4096 characters"),
        (image(os_name="\x00"), "must not have"),
        (image(os_name="\ufffe"), "must not have"),
        (image(os_name=None), "not a JSON string"),
        (image(os_name="a", other=1), "not defined"),
        (onboarding(boot_image=5), "not a JSON object"),
        (onboarding(configuration_handling=1), "not a JSON string"),
        (xml("<boot-image><download-uri/></boot-image>"), "not a URI"),
        (xml("<boot-image/>" * 2), "more than once"),
        (
            xml("<boot-image><download-uri>a:b</download-uri><image-verification>"
                f"<hash-value>{HEX}</hash-value></image-verification></boot-image>"),
            "no hash-algorithm",
        ),
        (xml("<boot-image>" + "<download-uri>a:b</download-uri>" * 17 + "</boot-image>"),
         "more than 16"),
    ],
)  # fmt: skip
@pytest.mark.refuses("SZTP-3.1-06")
def test_invalid_onboarding_information(octets_: bytes, message: str) -> None:
    with pytest.raises(MalformedError, match=message):
        parse(octets_)
