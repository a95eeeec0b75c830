# SPDX-License-Identifier: Apache-2.0
"""RESTCONF as bootstrap servers speak it (RFC 8040; RFC 8572, 7), and as they should not."""

import pytest
from tests.harness import CONFIGURATION, SERIAL, Device, Lab, Served

from xpu_emulator.faults import BodyKind, FaultPlan, FaultRule, HttpRedirect, PlainHttp, StatusCode
from xpu_emulator.messages import MediaTypes
from xpu_emulator.rpc import Encoding
from xpu_emulator.server import ServerPolicy

JSON, XML = "application/yang-data+json", "application/yang-data+xml"
RPC = "ietf-sztp-bootstrap-server:"
ASKING = "*get-bootstrapping-data"


def owner_with(lab: Lab, policy: ServerPolicy | None = None) -> Served:
    """A trusted server that works, with a policy."""
    owner = lab.server("owner", policy=policy)
    owner.server.set_answer(SERIAL, lab.unsigned(lab.onboarding(), level="verbose"))
    return owner


def first_and_good(lab: Lab, plan: FaultPlan) -> tuple[Served, Served, Device]:
    """A server with faults, a good one after it, and a device that knows both."""
    first = lab.server("first", faults=plan)
    first.server.set_answer(SERIAL, lab.unsigned(lab.onboarding(configuration=b"no")))
    good = owner_with(lab)
    return first, good, lab.device(servers=[first, good])


def targets(served: Served) -> set[tuple[str, str]]:
    """Method and target of every request."""
    return {(e.request.method, e.request.target) for e in served.server.exchanges}


@pytest.mark.requirement("RC-3.6-01", "SZTP-4.4-02")
@pytest.mark.refuses("RC-3.1-01")
def test_rc_without_host_meta_the_usual_root_and_two_rpcs_alone(lab: Lab) -> None:
    owner = owner_with(lab)
    assert lab.device(servers=[owner]).run() == 0
    assert targets(owner) == {
        ("GET", "/.well-known/host-meta"),
        ("POST", f"/restconf/operations/{RPC}get-bootstrapping-data"),
        ("POST", f"/restconf/operations/{RPC}report-progress"),
    }
    assert owner.server.violations == ()


@pytest.mark.requirement("RC-3.1-01")
@pytest.mark.parametrize("root", ["/top/restconf", "/top/restconf/", "/"])
def test_rc_a_root_that_moved_is_found(lab: Lab, root: str) -> None:
    owner = owner_with(lab, ServerPolicy(restconf_root=root, announces_root=True))
    device = lab.device(servers=[owner])
    assert device.run() == 0
    operations = f"{root.rstrip('/')}/operations/{RPC}"
    assert targets(owner) == {
        ("GET", "/.well-known/host-meta"),
        ("POST", f"{operations}get-bootstrapping-data"),
        ("POST", f"{operations}report-progress"),
    }
    assert device.running_config == CONFIGURATION


@pytest.mark.refuses("RC-3.1-01", "RC-X-01")
@pytest.mark.parametrize(
    "root",
    ["https://127.0.0.9/x", "//127.0.0.9/x", "/x/../y", "x", "/x?y", "/x#y", "/x y"],
)
def test_rc_a_root_that_is_no_plain_path_of_this_server_is_not_taken(lab: Lab, root: str) -> None:
    owner = owner_with(lab, ServerPolicy(announces_root=True, announced_root=root))
    device = lab.device(servers=[owner])
    assert device.run() == 0
    assert all(t.startswith(("/.well-known/", "/restconf/")) for _, t in targets(owner))
    assert owner.server.violations == ()


@pytest.mark.requirement("RC-5.2-03", "SZTP-4.4-01")
@pytest.mark.parametrize("encoding", list(Encoding))
def test_rc_servers_of_one_encoding_are_understood(lab: Lab, encoding: Encoding) -> None:
    media_types = MediaTypes(encodings=frozenset({encoding}), exact=True, misprints=False)
    owner = owner_with(lab, ServerPolicy(media_types=media_types))
    device = lab.device(servers=[owner])
    assert device.run() == 0
    assert device.running_config == CONFIGURATION
    assert owner.progress()[-1] == "bootstrap-complete"
    answered = [e for e in owner.server.exchanges if e.response.status in {200, 204}]
    assert {e.request.header("Content-Type") for e in answered} == {encoding.value}
    # It is asked in the other encoding once, not with every report.
    assert sum(e.response.status in {406, 415} for e in owner.server.exchanges) <= 1
    assert owner.server.violations == ()


@pytest.mark.requirement("RC-5.2-03", "SZTP-4.4-01")
def test_rc_signed_data_comes_the_same_by_xml(lab: Lab) -> None:
    media_types = MediaTypes(encodings=frozenset({Encoding.XML}))
    owner = lab.server("owner", policy=ServerPolicy(media_types=media_types))
    owner.server.set_answer(SERIAL, lab.signed(lab.onboarding()))
    device = lab.device(servers=[owner], server_anchors=False)
    assert device.run() == 0
    assert device.running_config == CONFIGURATION


@pytest.mark.requirement("RC-5.2-01", "RC-5.2-02")
def test_rc_one_registered_media_type_in_each_field(lab: Lab) -> None:
    owner = owner_with(lab)
    assert lab.device(servers=[owner]).run() == 0
    posts = [e.request for e in owner.server.exchanges if e.request.method == "POST"]
    assert posts
    for request in posts:
        assert request.header("Content-Type") == JSON
        assert request.header("Accept") == JSON
        names = [name.lower() for name, _ in request.headers]
        assert names.count("accept") == names.count("content-type") == 1


@pytest.mark.refuses("RC-5.2-01", "RC-5.2-03")
@pytest.mark.parametrize("status", [406, 415])
def test_rc_who_takes_neither_encoding_is_not_offered_a_third(lab: Lab, status: int) -> None:
    """Neither the misprints of RFC 8572, 7.2 nor plain JSON, whatever a server wants."""
    first, good, device = first_and_good(
        lab, FaultPlan([FaultRule((StatusCode(status),), path=ASKING)])
    )
    assert device.run() == 0
    asked = [e.request.header("Content-Type") for e in first.server.requests()[1:]]
    assert asked == [JSON, XML]
    assert good.progress()[-1] == "bootstrap-complete"


@pytest.mark.refuses("RC-3.6-01", "SZTP-4.4-02")
def test_rc_a_server_that_wants_no_post_gets_no_other_method(lab: Lab) -> None:
    first, _, device = first_and_good(
        lab, FaultPlan([FaultRule((StatusCode(405, BodyKind.RESTCONF),), path=ASKING)])
    )
    assert device.run() == 0
    assert targets(first) == {
        ("GET", "/.well-known/host-meta"),
        ("POST", f"/restconf/operations/{RPC}get-bootstrapping-data"),
    }


@pytest.mark.requirement("SZTP-5.5-01")
@pytest.mark.parametrize(
    ("status", "body"),
    [(status, BodyKind.RESTCONF_BARE) for status in (400, 401, 403, 404, 409, 500, 503)]
    + [(status, body) for body in BodyKind for status in (401, 500)],
)
def test_rc_after_any_error_the_next_server_is_asked(lab: Lab, status: int, body: BodyKind) -> None:
    fault = StatusCode(status, body, error_tag="access-denied", retry_after=3600)
    first, good, device = first_and_good(lab, FaultPlan([FaultRule((fault,), path=ASKING)]))
    assert device.run() == 0
    assert device.running_config == CONFIGURATION
    assert len(first.inputs()) == 1
    assert first.server.reports == ()
    assert good.server.violations == first.server.violations == ()


@pytest.mark.parametrize(
    ("status", "tag", "expected", "reason"),
    [
        (401, "access-denied", 14, "client-cert-refused"),
        (403, "access-denied", 14, "client-cert-refused"),
        (403, "too-big", 10, "http-error"),
        (404, "invalid-value", 10, "http-error"),
        (500, "operation-failed", 10, "http-error"),
    ],
)
def test_rc_an_error_alone_ends_with_its_reason(
    lab: Lab, status: int, tag: str, expected: int, reason: str
) -> None:
    fault = StatusCode(status, BodyKind.RESTCONF, error_tag=tag)
    first = lab.server("first", faults=FaultPlan([FaultRule((fault,), path=ASKING)]))
    device = lab.device(servers=[first])
    assert device.run() == expected
    assert device.last_reason == reason
    assert tag in device.status["last-message"]


@pytest.mark.requirement("RC-X-01")
@pytest.mark.refuses("RC-X-01")
@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_rc_http_redirects_are_not_followed(lab: Lab, code: int) -> None:
    elsewhere = owner_with(lab)
    target = f"{elsewhere.url}/restconf/operations/{RPC}get-bootstrapping-data"
    plan = FaultPlan([FaultRule((HttpRedirect(target, code),), path=ASKING)])
    first = lab.server("first", faults=plan)
    good = lab.server("good")
    good.server.set_answer(SERIAL, lab.unsigned(lab.onboarding()))
    device = lab.device(servers=[first, good])
    assert device.run() == 0
    assert elsewhere.https.connections == ()
    assert len(first.inputs()) == 1
    assert good.progress()[-1] == "bootstrap-complete"


@pytest.mark.refuses("RC-X-01")
def test_rc_a_redirected_host_meta_is_none(lab: Lab) -> None:
    elsewhere = owner_with(lab)
    plan = FaultPlan(
        [FaultRule((HttpRedirect(f"{elsewhere.url}/.well-known/host-meta"),), path="*host-meta")]
    )
    first = lab.server("first", faults=plan)
    first.server.set_answer(SERIAL, lab.unsigned(lab.onboarding()))
    assert lab.device(servers=[first]).run() == 0
    assert elsewhere.https.connections == ()
    assert first.progress()[-1] == "bootstrap-complete"


def test_rc_http_on_the_tls_port_is_no_server(lab: Lab) -> None:
    first, good, device = first_and_good(lab, FaultPlan([FaultRule((PlainHttp(),))]))
    assert device.run() == 0
    assert first.server.exchanges == ()
    assert good.progress()[-1] == "bootstrap-complete"
    alone = lab.device(servers=[first], serial="SN-0002")
    assert alone.run() == 10
    assert alone.last_reason in {"http-error", "server-unreachable"}
