# SPDX-License-Identifier: Apache-2.0
"""Bodies of the RPCs in both encodings; errors and host-meta of any kind."""

import base64
import json
from xml.etree import ElementTree as ET

import pytest
from tests.unit.artifacts import vectors

from xpu_agent import limits
from xpu_agent.artifacts.conveyed_info import Encoding
from xpu_agent.artifacts.rpc import (
    BootstrappingRequest,
    RestconfError,
    decode_bootstrapping_response,
    decode_error,
    decode_host_meta,
    encode_bootstrapping_request,
    encode_progress_report,
)
from xpu_agent.errors import MalformedError, Reason
from xpu_agent.progress import ProgressReport, ProgressType, ReportingLevel, SshHostKey

NAMESPACE = "urn:ietf:params:xml:ns:yang:ietf-sztp-bootstrap-server"


def canonical(octets: bytes, encoding: Encoding) -> object:
    """What a body says, whatever its white space and prefixes."""
    if encoding is Encoding.JSON:
        return json.loads(octets)
    text = octets.decode("utf-8")
    return ET.canonicalize(text, strip_text=True, rewrite_prefixes=True)


TRUSTED = BootstrappingRequest(False, "example-xpu", "ExampleXPU", "2.0.3", bytes(range(32)))


@pytest.mark.parametrize("encoding", Encoding)
@pytest.mark.parametrize(
    ("request_", "name"),
    [
        (TRUSTED, "trusted"),
        (BootstrappingRequest(True, None, None, None, None), "untrusted"),
    ],
)
@pytest.mark.requirement("SZTP-7.3-06", "SZTP-7.3-10", "RC-5.2-03", "RC-5.2-04")
def test_requests(request_: BootstrappingRequest, name: str, encoding: Encoding) -> None:
    wanted = vectors.example(f"get-bootstrapping-data-input-{name}.{encoding}")
    found = encode_bootstrapping_request(request_, encoding)
    assert canonical(found, encoding) == canonical(wanted, encoding)


@pytest.mark.requirement("SZTP-7.3-10", "RC-5.2-04")
def test_an_untrusted_request_with_nonce() -> None:
    request = BootstrappingRequest(True, None, None, None, bytes(range(32)))
    found = json.loads(encode_bootstrapping_request(request, Encoding.JSON))
    assert found == vectors.document("get-bootstrapping-data-input-untrusted-nonce.json")


@pytest.mark.parametrize("octets", [16, 32])
@pytest.mark.requirement("SZTP-7.3-06")
def test_nonces(octets: int) -> None:
    request = BootstrappingRequest(False, None, None, None, bytes(octets))
    found = json.loads(encode_bootstrapping_request(request, Encoding.JSON))
    (members,) = found.values()
    assert base64.b64decode(members["nonce"]) == bytes(octets)


@pytest.mark.parametrize("octets", [0, 15, 33])
@pytest.mark.refuses("SZTP-7.3-06")
def test_other_nonces_are_not_sent(octets: int) -> None:
    request = BootstrappingRequest(False, None, None, None, bytes(octets))
    with pytest.raises(ValueError, match="16 to 32"):
        encode_bootstrapping_request(request, Encoding.JSON)


HOSTILE = "<&>\"'\r\n\té\U0001f600]]>"


@pytest.mark.parametrize("encoding", Encoding)
@pytest.mark.requirement("RC-5.2-04")
def test_text_survives(encoding: Encoding) -> None:
    body = encode_progress_report(
        ProgressReport(ProgressType.INFORMATIONAL, HOSTILE + "\x00\x1b\ud800"), encoding
    )
    if encoding is Encoding.JSON:
        message = json.loads(body)["ietf-sztp-bootstrap-server:input"]["message"]
    else:
        message = ET.fromstring(body).findtext(f"{{{NAMESPACE}}}message")  # noqa: S314  # our own
    assert message == HOSTILE + "\ufffd\ufffd\ufffd"


@pytest.mark.parametrize("encoding", Encoding)
@pytest.mark.requirement("SZTP-7.3-05", "SZTP-7.3-08", "RC-5.2-03")
def test_a_final_report(encoding: Encoding) -> None:
    wanted = vectors.example(f"report-progress/bootstrap-complete.{encoding}")
    example = vectors.document("report-progress/bootstrap-complete.json")
    (members,) = example.values()
    (key,) = members["ssh-host-keys"]["ssh-host-key"]
    (anchor,) = members["trust-anchor-certs"]["trust-anchor-cert"]
    report = ProgressReport(
        ProgressType.BOOTSTRAP_COMPLETE,
        "example",
        (SshHostKey(key["algorithm"], base64.b64decode(key["key-data"])),),
        (base64.b64decode(anchor),),
    )
    found = encode_progress_report(report, encoding)
    assert canonical(found, encoding) == canonical(wanted, encoding)


@pytest.mark.parametrize("progress_type", ProgressType)
@pytest.mark.requirement("SZTP-7.3-05")
def test_all_types_of_report(progress_type: ProgressType) -> None:
    if progress_type is ProgressType.BOOTSTRAP_COMPLETE:
        return
    wanted = vectors.document(f"report-progress/{progress_type}.json")
    message = wanted["ietf-sztp-bootstrap-server:input"].get("message")
    report = ProgressReport(progress_type, message)
    assert json.loads(encode_progress_report(report, Encoding.JSON)) == wanted


@pytest.mark.refuses("SZTP-7.3-05")
def test_keys_go_with_the_final_report_alone() -> None:
    key = SshHostKey("ssh-ed25519", b"key")
    with pytest.raises(ValueError, match="only with bootstrap-complete"):
        ProgressReport(ProgressType.CONFIG_COMPLETE, None, (key,))
    with pytest.raises(ValueError, match="only with bootstrap-complete"):
        ProgressReport(ProgressType.CONFIG_COMPLETE, None, (), (b"anchor",))


# --- the response ---


@pytest.mark.parametrize("encoding", Encoding)
@pytest.mark.requirement("SZTP-7.3-11", "RC-5.2-03", "RC-5.2-04")
def test_responses(encoding: Encoding) -> None:
    octets = vectors.example(f"get-bootstrapping-data-output-signed.{encoding}")
    found = decode_bootstrapping_response(octets, encoding)
    assert found.reporting_level is ReportingLevel.MINIMAL
    assert found.artifacts.conveyed_information == vectors.artifact(
        "conveyed-information-signed-json"
    )
    assert found.artifacts.owner_certificate == vectors.artifact("owner-certificate")
    assert found.artifacts.ownership_voucher == vectors.artifact("ownership-voucher")
    octets = vectors.example(f"get-bootstrapping-data-output-unsigned.{encoding}")
    found = decode_bootstrapping_response(octets, encoding)
    assert found.reporting_level is ReportingLevel.VERBOSE
    assert found.artifacts.owner_certificate is None
    assert found.artifacts.ownership_voucher is None


def output(**members: object) -> bytes:
    inner = {name.replace("_", "-"): value for name, value in members.items()}
    return json.dumps({"ietf-sztp-bootstrap-server:output": inner}).encode()


def xml_output(inner: str) -> bytes:
    return f'<b:output xmlns:b="{NAMESPACE}">{inner}</b:output>'.encode()


@pytest.mark.requirement("SZTP-7.3-11")
def test_members_of_other_modules_are_passed_over() -> None:
    more = {"other:thing": {"a": [1.5, None]}, "other2:x": "y"}
    found = decode_bootstrapping_response(
        output(conveyed_information="YQ==", **more), Encoding.JSON
    )
    assert found.artifacts.conveyed_information == b"a"
    found = decode_bootstrapping_response(
        xml_output(
            "<b:conveyed-information> Y\nQ== </b:conveyed-information>"
            "<x xmlns='urn:x' a='1'>t<y/></x><z/>"
        ),
        Encoding.XML,
    )
    assert found.artifacts.conveyed_information == b"a"


@pytest.mark.parametrize(
    ("body", "encoding", "message"),
    [
        (output(), Encoding.JSON, "no conveyed-information"),
        (output(conveyed_information="YQ==", owner_certificate="YQ=="), Encoding.JSON, "together"),
        (output(conveyed_information="YQ==", ownership_voucher="YQ=="), Encoding.JSON, "together"),
        (output(conveyed_information="YQ==", color=1), Encoding.JSON, "not defined: 'color'"),
        (
            output(**{"ietf-sztp-bootstrap-server:conveyed-information": "YQ=="}),
            Encoding.JSON,
            "not defined",
        ),
        (
            output(conveyed_information="YQ==", reporting_level="loud"),
            Encoding.JSON,
            "reporting-level",
        ),
        (output(conveyed_information="?"), Encoding.JSON, "not base64"),
        (output(conveyed_information=["YQ=="]), Encoding.JSON, "not a JSON string"),
        (b'{"output": {}}', Encoding.JSON, "wrong top member"),
        (b'{"ietf-sztp-bootstrap-server:input": {}}', Encoding.JSON, "wrong top member"),
        (b"", Encoding.JSON, "not JSON"),
        (b"<html/>", Encoding.JSON, "not JSON"),
        (xml_output(""), Encoding.XML, "no conveyed-information"),
        (xml_output("<b:color/>"), Encoding.XML, "not defined: 'color'"),
        (b"<output/>", Encoding.XML, "wrong root element"),
        (b"{}", Encoding.XML, "not well-formed"),
        (
            b'<!DOCTYPE o [<!ENTITY e SYSTEM "file:///etc/hostname">]><o>&e;</o>',
            Encoding.XML,
            "document type",
        ),
    ],
)
@pytest.mark.refuses("SZTP-7.3-11", "RC-5.2-03", "RC-5.2-04")
def test_invalid_responses(body: bytes, encoding: Encoding, message: str) -> None:
    with pytest.raises(MalformedError, match=message):
        decode_bootstrapping_response(body, encoding)


@pytest.mark.parametrize("name", vectors.invalid("get-bootstrapping-data-output"))
@pytest.mark.refuses("SZTP-7.3-11")
def test_invalid_examples(name: str) -> None:
    with pytest.raises(MalformedError, match=r"no conveyed-information|belong together"):
        decode_bootstrapping_response(vectors.example(name), Encoding.JSON)


def test_size_is_bounded() -> None:
    body = output(conveyed_information="YQ==").ljust(limits.RPC_RESPONSE_BYTES)
    decode_bootstrapping_response(body, Encoding.JSON)
    with pytest.raises(MalformedError) as caught:
        decode_bootstrapping_response(bytes(limits.RPC_RESPONSE_BYTES + 1), Encoding.JSON)
    assert caught.value.reason is Reason.TOO_LARGE


# --- errors ---


@pytest.mark.parametrize(
    ("body", "tag", "message"),
    [
        (vectors.example("error-access-denied.json"), "access-denied", "unknown device"),
        (vectors.example("error-invalid-value.json"), "invalid-value", "not a progress type"),
        (vectors.example("csr-request-error.json"), "missing-attribute", "a CSR is needed"),
        (vectors.example("csr-request-error.xml"), "missing-attribute", "a CSR is needed"),
        (b'{"errors": {"error": [{"error-tag": "a"}]}}', "a", None),
        (b'{"error": {"ietf-restconf:error-tag": "a", "error-message": "b"}}', "a", "b"),
        (b'{"error-message": " b "}', None, "b"),
        (b'{"detail": [{}, [{"error-tag": 5, "error-message": "b"}]]}', None, "b"),
        (b"<error><error-tag> a\n</error-tag></error>", "a", None),
        (b"\n<r><x/><e xmlns='urn:x'><error-message>b</error-message></e></r>", None, "b"),
    ],
)
@pytest.mark.requirement("RC-7-01")
def test_errors(body: bytes, tag: str | None, message: str | None) -> None:
    assert decode_error(body) == RestconfError(tag, message)


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"oops", b"<!DOCTYPE html><html><body>Bad gateway</body></html>", b"<html>"),
        *(b"\xff", b"null", b"[1]", b'{"error-tag"', b'{"a": 1}', b"<a/>", b'{"error-tag": ""}'),
        *(b"[" * 100_000, b'{"error-tag": "' + b"a" * limits.ERROR_BODY_BYTES + b'"}'),
    ],
)
@pytest.mark.refuses("RC-7-01")
def test_what_is_no_error_is_none(body: bytes) -> None:
    assert decode_error(body) == RestconfError(None, None)


def test_a_peers_text_is_escaped_and_cut() -> None:
    body = json.dumps({"error-tag": "t" * 100, "error-message": "\x1b[2J\né" + "m" * 900}).encode()
    found = decode_error(body)
    assert found.error_tag == "t" * 64
    assert found.error_message is not None
    assert found.error_message.startswith("\\x1b[2J\\n\\xe9mmm")
    assert len(found.error_message) == 256
    assert found.error_message.isascii()


def test_errors_and_host_meta_up_to_the_bound() -> None:
    body = b'{"error-tag": "a"}'.ljust(limits.ERROR_BODY_BYTES)
    assert decode_error(body) == RestconfError("a", None)
    path = "/" + "a" * 255
    assert decode_host_meta(jrd(path).ljust(limits.ERROR_BODY_BYTES)) == path


# --- host-meta ---

XRD = "<XRD xmlns='http://docs.oasis-open.org/ns/xri/xrd-1.0'>{}</XRD>"


def xrd(*hrefs: str) -> bytes:
    links = "".join(f'<Link rel="restconf" href="{href}"/>' for href in hrefs)
    return XRD.format("<Link rel='other' href='/x'/>" + links).encode()


def jrd(*hrefs: object) -> bytes:
    links: list[object] = [{"rel": "restconf", "href": href} for href in hrefs]
    return json.dumps({"links": [5, {"rel": "other", "href": "/x"}, *links]}).encode()


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (xrd("/restconf"), "/restconf"),
        (b"\n" + xrd("/top/restconf/"), "/top/restconf"),
        (xrd("/restconf", "/restconf"), "/restconf"),
        (jrd("/restconf"), "/restconf"),
        (jrd("/"), ""),
    ],
)
@pytest.mark.requirement("RC-3.1-01")
def test_host_meta(body: bytes, path: str) -> None:
    assert decode_host_meta(body) == path


@pytest.mark.parametrize(
    "href",
    [
        *("", "restconf", "https://other.example/restconf", "//other.example/restconf", "/a//b"),
        *("/a/../b", "/./a", "/a?b", "/a#b", "/a b", "/a\\b", "/é", "/" + "a" * 256, "/a\n"),
    ],
)
@pytest.mark.refuses("RC-3.1-01", "RC-X-01")
def test_links_that_are_no_path_on_this_server(href: str) -> None:
    assert decode_host_meta(jrd(href)) is None


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"oops", b"<html>", b"null", b'{"links": 5}', b'{"links": []}', jrd(5), xrd()),
        *(XRD.format("<Link rel='restconf'/>").encode(), xrd("/a", "/b"), jrd("/a", "/b")),
        *(b"<XRD><Link rel='restconf' href='/a'/></XRD>", b" " * (limits.ERROR_BODY_BYTES + 1)),
        XRD.format("<Link xmlns='urn:x' rel='restconf' href='/a'/>").encode(),
    ],
)
@pytest.mark.refuses("RC-3.1-01")
def test_other_host_meta_is_none(body: bytes) -> None:
    assert decode_host_meta(body) is None
