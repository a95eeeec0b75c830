# SPDX-License-Identifier: Apache-2.0
"""The bootstrap server in memory: identity, encodings, answers, records."""

import base64
import json
import threading
from dataclasses import replace
from typing import ClassVar
from xml.etree import ElementTree as ET

import pytest
from asn1crypto import cms, core
from tests.unit.emulator_server.certificates import degenerate, issue, pki

from xpu_emulator import rpc
from xpu_emulator.messages import MediaTypes, Request, Response
from xpu_emulator.rpc import BootstrappingData, CsrRequest, Encoding, ErrorTag, ProgressType
from xpu_emulator.server import BootstrapRequest, BootstrapServer, Operation, ServerPolicy

SERVER = "ietf-sztp-bootstrap-server"
GET = f"/restconf/operations/{SERVER}:get-bootstrapping-data"
REPORT = f"/restconf/operations/{SERVER}:report-progress"
JSON, XML = Encoding.JSON.value, Encoding.XML.value
RPC_NAMESPACE = f"{{urn:ietf:params:xml:ns:yang:{SERVER}}}"
RESTCONF_NAMESPACE = "{urn:ietf:params:xml:ns:yang:ietf-restconf}"


class ContentInfo(core.Sequence):  # type: ignore[misc]  # asn1crypto is untyped
    _fields: ClassVar = [
        ("type", core.ObjectIdentifier),
        ("content", core.OctetString, {"explicit": 0}),
    ]


def unsigned(text: bytes) -> bytes:
    return bytes(ContentInfo({"type": "1.2.840.113549.1.9.16.1.43", "content": text}).dump())


ONBOARDING = BootstrappingData(
    unsigned(b'{"ietf-sztp-conveyed-info:onboarding-information": {}}'), None, None, "verbose"
)
REDIRECT = BootstrappingData(unsigned(b'{"ietf-sztp-conveyed-info:redirect-information": {}}'))
SIGNED = BootstrappingData(degenerate(pki().device_root), b"oc", b"ov")


def post(
    target: str,
    body: object = None,
    *,
    headers: dict[str, str] | None = None,
    certificate: bytes | None = b"default",
    method: str = "POST",
) -> Request:
    octets = body if isinstance(body, bytes) else json.dumps({f"{SERVER}:input": body}).encode()
    defaults = {"Content-Type": JSON, "Accept": JSON} if headers is None else headers
    if certificate == b"default":
        certificate = pki().device.der
    return Request(
        method, target, tuple(defaults.items()), octets if body is not None else b"", certificate
    )


def make(policy: ServerPolicy | None = None) -> BootstrapServer:
    server = BootstrapServer(policy=policy)
    server.set_answer("XPU-1", ONBOARDING)
    return server


def parsed(octets: bytes) -> ET.Element:
    return ET.fromstring(octets)  # noqa: S314  # the emulator's own output


def tag(response: Response) -> str:
    document = json.loads(response.body)
    return str(document["ietf-restconf:errors"]["error"][0]["error-tag"])


def findings(server: BootstrapServer) -> list[tuple[str, ...]]:
    return [violation.requirement_ids for violation in server.violations]


def content_type(response: Response) -> str:
    return dict(response.headers)["Content-Type"]


@pytest.mark.requirement("SRV-05")
def test_200_with_output_and_204_for_reports() -> None:
    server = make()
    response = server.handle(post(GET, {}))
    assert response.status == 200
    output = json.loads(response.body)[f"{SERVER}:output"]
    assert output["reporting-level"] == "verbose"
    assert base64.b64decode(output["conveyed-information"]) == ONBOARDING.conveyed_information
    response = server.handle(post(REPORT, {"progress-type": "bootstrap-initiated"}))
    assert (response.status, response.body) == (204, b"")
    assert server.progress("XPU-1") == (ProgressType.BOOTSTRAP_INITIATED,)
    assert findings(server) == []


@pytest.mark.requirement("SRV-06")
@pytest.mark.parametrize(
    ("sent", "accepted", "answered"),
    [
        (JSON, JSON, JSON),
        (JSON, XML, XML),
        (XML, None, XML),
        (XML, "*/*", XML),
        (JSON, f"{JSON};q=0.2, {XML};q=0.8", XML),
        (JSON, f"{XML};q=0, application/*;q=0.1", JSON),
        (f"{JSON}; charset=utf-8", f"text/html, {JSON}", JSON),
        ("application/yang.data+json", "application/yang.data+xml", XML),
    ],
)
def test_encodings_are_negotiated(sent: str, accepted: str | None, answered: str) -> None:
    server = make()
    body = b"" if "xml" in sent else json.dumps({f"{SERVER}:input": {}}).encode()
    headers = {"content-type": sent} | ({"accept": accepted} if accepted else {})
    response = server.handle(post(GET, body, headers=headers))
    assert (response.status, content_type(response)) == (200, answered)


@pytest.mark.requirement("SRV-06")
def test_415_and_406() -> None:
    server = make()
    server.policy = replace(server.policy, media_types=MediaTypes(frozenset({Encoding.XML})))
    response = server.handle(post(GET, {}))
    assert (response.status, content_type(response)) == (415, JSON)
    xml = post(GET, b"", headers={"Content-Type": XML, "Accept": JSON})
    assert server.handle(xml).status == 406
    assert findings(server) == []  # the device knows nothing of our taste
    xml = post(GET, b"", headers={"Content-Type": XML, "Accept": XML})
    response = server.handle(xml)
    assert response.status == 200
    assert parsed(response.body).tag == f"{RPC_NAMESPACE}output"


@pytest.mark.parametrize(
    ("value", "status"),
    [("application/json", 415), ("text/xml", 415), ("", 415)],
)
def test_other_media_types_are_a_finding(value: str, status: int) -> None:
    server = make()
    headers = {"Accept": JSON} | ({"Content-Type": value} if value else {})
    assert server.handle(post(GET, {}, headers=headers)).status == status
    assert findings(server) == [("RC-5.2-01",)]


def test_misprinted_media_type_is_taken_and_noted() -> None:
    server = make()
    request = post(GET, {}, headers={"Content-Type": "application/yang.data+json", "Accept": JSON})
    assert server.handle(request).status == 200
    assert findings(server) == [("RC-5.2-01",)]
    server.policy = replace(server.policy, media_types=MediaTypes(misprints=False))
    assert server.handle(request).status == 415


def test_exact_comparison_of_media_types() -> None:
    server = make(ServerPolicy(media_types=MediaTypes(exact=True)))
    assert server.handle(post(GET, {})).status == 200
    for wrong in (f"{JSON}; charset=utf-8", JSON.upper()):
        headers = {"Content-Type": wrong, "Accept": JSON}
        assert server.handle(post(GET, {}, headers=headers)).status == 415
        headers = {"Content-Type": JSON, "Accept": wrong}
        assert server.handle(post(GET, {}, headers=headers)).status == 406


def test_missing_accept_is_a_finding_but_no_refusal() -> None:
    server = make()
    assert server.handle(post(GET, {}, headers={"Content-Type": JSON})).status == 200
    assert findings(server) == [("RC-5.2-02",)]


@pytest.mark.requirement("SRV-06")
def test_errors_come_in_the_accepted_encoding() -> None:
    server = make()
    body = {"nonce": "AAAA"}
    response = server.handle(post(GET, body, headers={"Content-Type": JSON, "Accept": XML}))
    assert (response.status, content_type(response)) == (400, XML)
    found = parsed(response.body).findtext(f".//{RESTCONF_NAMESPACE}error-tag")
    assert found == "invalid-value"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"{", "malformed-message"),
        ({"colour": "red"}, "unknown-element"),
        ({"progress-type": "started"}, "invalid-value"),
        ({"message": "x"}, "missing-element"),
    ],
)
def test_bad_reports_get_400_and_are_no_reports(body: object, expected: str) -> None:
    server = make()
    response = server.handle(post(REPORT, body))
    assert (response.status, tag(response)) == (400, expected)
    assert server.reports == ()
    assert len(server.violations) >= 1
    assert server.exchanges[0].violations == server.violations


# Targets


@pytest.mark.requirement("SRV-07")
def test_host_meta_has_one_restconf_link() -> None:
    server = make(ServerPolicy(restconf_root="/top/restconf", announces_root=True))
    response = server.handle(Request("GET", "/.well-known/host-meta"))
    assert (response.status, content_type(response)) == (200, "application/xrd+xml")
    links = [e for e in parsed(response.body).iter() if e.tag.endswith("}Link")]
    assert [(link.get("rel"), link.get("href")) for link in links] == [
        ("restconf", "/top/restconf")
    ]
    assert server.handle(post(f"/top{GET}", {})).status == 200
    assert server.handle(post(GET, {})).status == 404
    assert server.handle(Request("POST", "/.well-known/host-meta")).status == 405


def test_host_meta_is_absent_by_default() -> None:
    assert make().handle(Request("GET", "/.well-known/host-meta")).status == 404


@pytest.mark.parametrize("target", ["/", "/restconf", "/restconf/data", f"{GET}/", GET.upper()])
def test_only_two_operations_exist(target: str) -> None:
    assert make().handle(post(target, {})).status == 404


@pytest.mark.parametrize("method", ["GET", "PUT", "OPTIONS"])
def test_operations_are_posted(method: str) -> None:
    server = make()
    response = server.handle(post(GET, {}, method=method))
    assert response.status == 405
    assert ("Allow", "POST") in response.headers
    assert findings(server) == [("RC-3.6-01",)]


# Identity


@pytest.mark.refuses("SRV-03")
def test_no_client_certificate_is_401() -> None:
    server = make()
    for target in (GET, REPORT):
        response = server.handle(post(target, {}, certificate=None))
        assert (response.status, tag(response)) == (401, "access-denied")
    nameless = issue("device without serial number").der
    assert server.handle(post(GET, {}, certificate=nameless)).status == 401
    assert server.handle(post(GET, {}, certificate=b"junk")).status == 401


@pytest.mark.requirement("SRV-02")
def test_each_device_gets_its_own_data_only() -> None:
    server = make()
    server.set_answer("XPU-2", REDIRECT)
    second = issue("device", serial_number="XPU-2").der
    third = issue("device", serial_number="XPU-3").der
    first_output = server.handle(post(GET, {})).body
    second_output = server.handle(post(GET, {}, certificate=second)).body
    assert first_output != second_output
    for target, body in ((GET, {}), (REPORT, {"progress-type": "informational"})):
        response = server.handle(post(target, body, certificate=third))
        assert (response.status, tag(response)) == (403, "access-denied")
    server.handle(post(REPORT, {"progress-type": "informational"}, certificate=second))
    assert [report.serial_number for report in server.reports] == ["XPU-2"]


def test_default_answer_is_for_any_authenticated_device() -> None:
    server = BootstrapServer()
    server.set_answer(None, REDIRECT)
    assert server.handle(post(GET, {})).status == 200
    assert server.handle(post(GET, {}, certificate=None)).status == 401


def basic(user: str, password: str) -> dict[str, str]:
    value = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Content-Type": JSON, "Accept": JSON, "Authorization": f"Basic {value}"}


def test_http_basic() -> None:
    server = make(
        ServerPolicy(basic_passwords={"XPU-1": "pass:word"}, demands_client_certificate=False)
    )
    response = server.handle(post(GET, {}, certificate=None))
    assert response.status == 401
    assert dict(response.headers)["WWW-Authenticate"].startswith("Basic ")
    good = basic("XPU-1", "pass:word")
    assert server.handle(post(GET, {}, headers=good, certificate=None)).status == 200
    for wrong in (basic("XPU-1", "other"), basic("XPU-2", "pass:word"), basic("", "")):
        assert server.handle(post(GET, {}, headers=wrong, certificate=None)).status == 401
    junk = good | {"Authorization": "Bearer abc"}
    assert server.handle(post(GET, {}, headers=junk)).status == 401


def test_certificate_and_credentials_must_agree() -> None:
    server = make(ServerPolicy(basic_passwords={"XPU-1": "a", "XPU-2": "b"}))
    assert server.handle(post(GET, {}, headers=basic("XPU-1", "a"))).status == 200
    assert server.handle(post(GET, {}, headers=basic("XPU-2", "b"))).status == 401
    assert findings(server) == [("SZTP-5.3-05",)]


# Answers

PREFERRED = {"signed-data-preferred": [None]}


@pytest.mark.refuses("SRV-01")
def test_unsigned_onboarding_is_kept_back_from_who_prefers_signed_data() -> None:
    server = make()
    assert server.handle(post(GET, PREFERRED)).status == 404
    enveloped = cms.ContentInfo(
        {"content_type": "enveloped_data", "content": {"version": "v0", "recipient_infos": [],
         "encrypted_content_info": {"content_type": "data", "content_encryption_algorithm": {
             "algorithm": "aes128_cbc", "parameters": bytes(16)}, "encrypted_content": b"x"}}}
    ).dump()  # fmt: skip
    server.set_answer("XPU-1", BootstrappingData(enveloped))
    assert server.handle(post(GET, PREFERRED)).status == 404
    server.set_answer("XPU-1", BootstrappingData(enveloped, b"oc", b"ov"))
    assert server.handle(post(GET, PREFERRED)).status == 200


@pytest.mark.requirement("SRV-01")
def test_who_prefers_signed_data_gets_it_or_unsigned_redirects() -> None:
    server = make()
    for data in (SIGNED, REDIRECT):
        server.set_answer("XPU-1", data)
        assert server.handle(post(GET, PREFERRED)).status == 200
    server.set_answer("XPU-1", ONBOARDING, if_signed_preferred=SIGNED)
    output = json.loads(server.handle(post(GET, PREFERRED)).body)[f"{SERVER}:output"]
    assert "owner-certificate" in output
    output = json.loads(server.handle(post(GET, {})).body)[f"{SERVER}:output"]
    assert "owner-certificate" not in output


def test_hostile_server_ignores_the_wish_for_signed_data() -> None:
    server = make(ServerPolicy(obeys_signed_data_preferred=False))
    assert server.handle(post(GET, PREFERRED)).status == 200


def test_answer_made_for_each_request() -> None:
    server = make()
    seen: list[BootstrapRequest] = []

    def answer(request: BootstrapRequest) -> BootstrappingData:
        seen.append(request)
        return replace(SIGNED, ownership_voucher=request.input.nonce)

    server.set_answer("XPU-1", answer)
    nonce = bytes(range(16))
    body = {"nonce": base64.b64encode(nonce).decode()}
    output = json.loads(server.handle(post(GET, body)).body)[f"{SERVER}:output"]
    assert base64.b64decode(output["ownership-voucher"]) == nonce
    server.handle(post(GET, {}))
    assert [request.count for request in seen] == [1, 2]
    assert seen[0].serial_number == "XPU-1"


def test_nonce_used_again_is_a_finding() -> None:
    server = make()
    body = {"nonce": base64.b64encode(bytes(16)).decode()}
    server.handle(post(GET, body))
    assert findings(server) == []
    server.handle(post(GET, body))
    assert findings(server) == [("SZTP-7.3-06",)]


P256 = base64.b64decode("MBMGByqGSM49AgEGCCqGSM49AwEH")
SUPPORT = {
    "ietf-sztp-csr:csr-support": {
        "key-generation": {
            "supported-algorithms": {"algorithm-identifier": [base64.b64encode(P256).decode()]}
        },
        "csr-generation": {"supported-formats": {"format-identifier": ["ietf-ztp-types:p10-csr"]}},
    }
}


@pytest.mark.requirement("SRV-12")
def test_csr_request_is_400_missing_attribute() -> None:
    server = make()
    server.set_answer("XPU-1", CsrRequest(algorithm=P256))
    response = server.handle(post(GET, SUPPORT))
    assert (response.status, tag(response)) == (400, "missing-attribute")
    error = json.loads(response.body)["ietf-restconf:errors"]["error"][0]
    assert "key-generation" in error["error-info"]["ietf-sztp-csr:csr-request"]


@pytest.mark.refuses("SRV-12")
def test_csr_request_outside_the_offer_is_not_sent() -> None:
    server = make()
    server.set_answer("XPU-1", CsrRequest())
    assert server.handle(post(GET, {})).status == 500
    for wrong in (CsrRequest("ietf-ztp-types:cmc-csr"), CsrRequest(algorithm=b"other")):
        server.set_answer("XPU-1", wrong)
        assert server.handle(post(GET, SUPPORT)).status == 500
        server.set_answer("XPU-1", replace(wrong, checked=False))
        assert tag(server.handle(post(GET, SUPPORT))) == "missing-attribute"


def test_raw_and_error_answers() -> None:
    server = make()
    server.set_answer("XPU-1", Response(418, (), b"teapot"))
    assert server.handle(post(GET, {})) == Response(418, (), b"teapot")
    server.set_answer("XPU-1", rpc.RestconfError(ErrorTag.OPERATION_FAILED))
    assert tag(server.handle(post(GET, {}))) == "operation-failed"


def test_answer_to_one_type_of_report() -> None:
    server = make()
    server.answer_report(ProgressType.BOOTSTRAP_COMPLETE, Response(500))
    complete = post(REPORT, {"progress-type": "bootstrap-complete"})
    assert server.handle(complete).status == 500
    assert server.handle(post(REPORT, {"progress-type": "bootstrap-error"})).status == 204
    server.answer_report(ProgressType.BOOTSTRAP_COMPLETE, None)
    assert server.handle(complete).status == 204
    assert [report.exchange.response.status for report in server.reports] == [500, 204, 204]


def test_answer_of_a_fault_is_what_is_recorded() -> None:
    server = make()
    assert server.handle(post(GET, {}), Response(503)).status == 503
    assert server.exchanges[0].response.status == 503
    assert server.exchanges[0].input == rpc.GetBootstrappingData()


# Records


def test_requests_are_kept_and_told() -> None:
    server = make()
    told: list[int] = []
    server.subscribe(lambda exchange: told.append(exchange.number))
    server.handle(post("/elsewhere", {}))
    server.handle(post(GET, {}))
    server.handle(post(REPORT, {"progress-type": "informational"}))
    assert told == [1, 2, 3]
    assert [e.number for e in server.requests(Operation.GET_BOOTSTRAPPING_DATA)] == [2]
    assert len(server.requests()) == 3
    assert server.exchanges[0].operation is None


def test_waiting_for_a_condition() -> None:
    server = make()
    assert not server.wait_for(lambda s: len(s.reports) == 1, 0.01)
    thread = threading.Thread(
        target=server.handle, args=(post(REPORT, {"progress-type": "informational"}),)
    )
    thread.start()
    assert server.wait_for(lambda s: len(s.reports) == 1, 5)
    thread.join()


def test_many_threads() -> None:
    server = make()

    def ask() -> None:
        for _ in range(20):
            server.handle(post(GET, {}))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [e.number for e in server.exchanges] == list(range(1, 161))
