# SPDX-License-Identifier: Apache-2.0
"""Scenario files: read strictly, and brought to life over real TLS."""

import base64
import hashlib
import json
import ssl
from pathlib import Path
from typing import Any

import pytest
from asn1crypto import cms
from tests.unit.emulator_server.test_https import Client
from tests.unit.emulator_server.test_server import GET, REPORT, SERVER

from xpu_emulator.der_checks import problem_with_anchor_chain
from xpu_emulator.errors import EmulatorError
from xpu_emulator.faults import Delay, FaultRule, StatusCode, WrongCertificate, WrongCertificateKind
from xpu_emulator.https import GeneratedFile
from xpu_emulator.listener import Demand
from xpu_emulator.pki_folder import Pki
from xpu_emulator.rpc import Encoding
from xpu_emulator.scenario import Scenario, ScenarioError, example_scenario, load_scenario
from xpu_emulator.scenario_run import RunningScenario

HEAD = "format: xpu-emulator-scenario/1\ndevices: [XPU-1]\n"
ONBOARD = "{onboarding: {configuration: x}}"


def write(folder: Path, text: str) -> Path:
    path = folder / "scenario.yaml"
    path.write_text(text)
    return path


def load(folder: Path, text: str) -> Scenario:
    return load_scenario(write(folder, text))


def refused(folder: Path, text: str) -> str:
    with pytest.raises(ScenarioError) as caught:
        load(folder, text)
    return str(caught.value)


def device_context(running: RunningScenario, serial_number: str = "XPU-1") -> ssl.SSLContext:
    ready = running.ready()
    device = ready["devices"][serial_number]
    context = ssl.create_default_context(cafile=ready["anchors"]["servers"])
    context.load_cert_chain(device["certificate"], device["private-key"])
    return context


def ask(running: RunningScenario, name: str, serial: str = "XPU-1", **leaves: object) -> Any:
    body = {f"{SERVER}:input": {key.replace("_", "-"): value for key, value in leaves.items()}}
    with Client(
        "localhost", running.servers[name].port, context=device_context(running, serial), timeout=5
    ) as client:
        status, answer = client.ask(GET, json.dumps(body).encode())
    return json.loads(answer)[f"{SERVER}:output"] if status == 200 else status


def content_type(artifact: str) -> str:
    return str(cms.ContentInfo.load(base64.b64decode(artifact))["content_type"].dotted)


def plain_document(artifact: str) -> Any:
    info = cms.ContentInfo.load(base64.b64decode(artifact))
    octets = info["content"].contents  # of an OCTET STRING that has no registered type
    return json.loads(octets[octets.index(b"{") :])


def voucher_document(artifact: str) -> Any:
    signed = cms.ContentInfo.load(base64.b64decode(artifact))["content"]
    octets = signed["encap_content_info"]["content"].contents
    return json.loads(octets[octets.index(b"{") :])["ietf-voucher:voucher"]


# Reading


def test_example_is_read_as_it_says() -> None:
    scenario = load_scenario(example_scenario())
    assert [device.serial_number for device in scenario.devices] == ["XPU-0001", "XPU-0002"]
    redirect, onboarding = scenario.servers
    assert redirect.client_certificates is Demand.REQUIRED
    assert onboarding.policy.announces_root
    assert onboarding.faults == (
        FaultRule((Delay(0.2),), first=1, path="*:get-bootstrapping-data"),
    )
    assert onboarding.answers[0].reporting_level == "verbose"
    assert scenario.file_server is not None
    assert scenario.pki is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "scenario.yaml: the file is empty"),
        ("a: [", "scenario.yaml:1: not YAML"),
        ("a: &x 1\nb: *x\n", "scenario.yaml:1: anchors and aliases are not used here"),
        ("a: !!int 1\n", "scenario.yaml:1: tags are not used here"),
        ("- a\n", "scenario.yaml:1: a mapping was expected"),
        ("format: other/1\n", "unknown format 'other/1'"),
        (HEAD, "'servers' is missing"),
        (HEAD + "devices: []\n", "scenario.yaml:3: key 'devices' stands twice"),
        (HEAD + "servrs: []\n", "unknown key 'servrs'; did you mean 'servers'?"),
        (HEAD + "servers: x\n", "scenario.yaml:3: servers: a list was expected"),
        (HEAD + "servers:\n - prot: 1\n", "scenario.yaml:4: servers[1].prot: unknown key 'prot'"),
        (HEAD + "servers:\n - port: 1\n", "'name' is missing"),
        (HEAD + "servers: [{name: a, port: 70000}]\n", "70000 is not between 0 and 65535"),
        (HEAD + "servers: [{name: a, port: x}]\n", "'x' is no whole number"),
        (HEAD + "servers: [{name: a/b}]\n", "a name has letters"),
        (HEAD + "servers: [{name: file-server}]\n", "is the name of the file server"),
        (HEAD + "servers: [{name: a}, {name: a}]\n", "'a' stands twice"),
        (HEAD + "servers: [{name: a, client-certificates: require}]\n", "did you mean 'required'?"),
        (HEAD + "servers: [{name: a, announces-root: yes}]\n", "neither true nor false"),
        (HEAD + "servers: [{name: a, encodings: []}]\n", "at least one encoding"),
        (HEAD + "servers: [{name: a, encodings: [cbor]}]\n", "unknown value 'cbor'"),
        (HEAD + "servers: [{name: a, reports: {bootstrap-complet: 500}}]\n",
         "did you mean 'bootstrap-complete'?"),
        (HEAD + "servers: [{name: a, answers: [{}]}]\n", "either 'redirect' or 'onboarding'"),
        (HEAD + "servers: [{name: a, answers: [{redirect: [{}]}]}]\n", "either a 'server'"),
        (HEAD + "servers: [{name: a, answers: [{redirect: [{server: b}]}]}]\n",
         "there is no server 'b'"),
        (HEAD + "servers: [{name: a, answers: [{devices: [XPU-2], onboarding: {}}]}]\n",
         "'XPU-2' is not among the devices"),
        (HEAD + "servers: [{name: a, answers: [{onboarding: {boot-image: "
                "{download-uris: [/x]}}}]}]\n", "'/x' is no file of the file server"),
        (HEAD + "servers: [{name: a, answers: [{onboarding: {boot-image: {sha256: AB}}}]}]\n",
         "64 hexadecimal digits"),
        (HEAD + "servers: [{name: a, answers: [{onboarding: {configuration: {path: no}}}]}]\n",
         "cannot be read"),
        (HEAD + "servers: [{name: a, faults: [{seconds: 1}]}]\n", "'fault' is missing"),
        (HEAD + "servers: [{name: a, faults: [{fault: dealy}]}]\n", "did you mean 'delay'?"),
        (HEAD + "servers: [{name: a, faults: [{fault: delay}]}]\n", "'seconds' is missing"),
        (HEAD + "servers: [{name: a, faults: [{fault: delay, seconds: -1}]}]\n", "no time"),
        (HEAD + "servers: [{name: a, faults: [{fault: slow, octets-per-second: 0}]}]\n",
         "0 is not between 1"),
        (HEAD + "servers: [{name: a, faults: [{fault: plain-http, path: /x}]}]\n",
         "acts before there is a path"),
        (HEAD + "servers: []\nfile-server: {files: {x: y}}\n", "begins with a slash"),
        (HEAD + "servers: []\nfile-server: {files: {/x: {path: no}}}\n", "there is no file 'no'"),
        (HEAD + "servers: []\nfile-server: {files: {/x: {seed: s}}}\n", "'generated-mib'"),
    ],
)  # fmt: skip
def test_wrong_files_are_refused_with_their_place(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in refused(tmp_path, text)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="cannot be read"):
        load_scenario(tmp_path / "none.yaml")


def test_values_of_all_kinds(tmp_path: Path) -> None:
    (tmp_path / "conf").write_bytes(b"\x00\xff")
    scenario = load(
        tmp_path,
        HEAD
        + """
servers:
  - name: a
    encodings: [xml]
    exact-media-types: true
    passwords: {XPU-1: 0123}
    client-certificates: none
    reports: {bootstrap-complete: 500}
    faults:
      - {fault: status, code: 503, body: html, retry-after: 5, skip: 1, first: 2}
      - {fault: wrong-certificate, kind: expired}
    answers:
      - onboarding:
          boot-image: {os-version: 24.10}
          configuration: {path: conf}
""",
    )
    server = scenario.servers[0]
    assert server.policy.media_types.encodings == frozenset({Encoding.XML})
    assert server.policy.basic_passwords == {"XPU-1": "0123"}
    assert not server.policy.demands_client_certificate
    status = StatusCode(503, server.faults[0].faults[0].body, retry_after=5)  # type: ignore[union-attr]  # it is one
    assert server.faults == (
        FaultRule((status,), first=2, skip=1),
        FaultRule((WrongCertificate(WrongCertificateKind.EXPIRED),)),
    )
    content: Any = server.answers[0].content
    assert (content.configuration, content.boot_image.os_version) == (b"\x00\xff", "24.10")


# Running


@pytest.mark.requirement("SRV-04", "SRV-14")
def test_example_redirects_and_onboards() -> None:
    with RunningScenario(load_scenario(example_scenario())) as running:
        folder = running.pki.folder
        output = ask(running, "redirect", "XPU-0001")
        assert set(output) == {"conveyed-information"}
        redirect = plain_document(output["conveyed-information"])
        (entry,) = redirect["ietf-sztp-conveyed-info:redirect-information"]["bootstrap-server"]
        assert (entry["address"], entry["port"]) == (
            "localhost",
            running.servers["onboarding"].port,
        )
        assert problem_with_anchor_chain(base64.b64decode(entry["trust-anchor"])) is None
        output = ask(running, "onboarding", "XPU-0002", signed_data_preferred=[None])
        assert output["reporting-level"] == "verbose"
        assert content_type(output["owner-certificate"]) == "1.2.840.113549.1.7.2"
        voucher = voucher_document(output["ownership-voucher"])
        assert voucher["serial-number"] == "XPU-0002"
        conveyed = voucher_like(output["conveyed-information"])
        image = conveyed["ietf-sztp-conveyed-info:onboarding-information"]["boot-image"]
        digest = GeneratedFile(4 * 1024 * 1024, "example").sha256
        assert image["image-verification"][0]["hash-value"].replace(":", "") == digest
        assert running.files is not None
        assert image["download-uri"] == [f"{running.files.url}/ExampleXPU-2.1.0.img"]
        with Client(
            "localhost", running.files.port, context=device_context(running, "XPU-0001"), timeout=5
        ) as client:
            client.request("GET", "/ExampleXPU-2.1.0.img")
            assert hashlib.sha256(client.getresponse().read()).hexdigest() == digest
    assert not folder.exists()


def voucher_like(artifact: str) -> Any:
    signed = cms.ContentInfo.load(base64.b64decode(artifact))["content"]
    octets = signed["encap_content_info"]["content"].contents
    return json.loads(octets[octets.index(b"{") :])


def test_nonce_of_the_request_goes_into_the_voucher(tmp_path: Path) -> None:
    answer = "{onboarding: {configuration: x}, voucher: {nonce: true}}"
    scenario = load(tmp_path, HEAD + f"servers: [{{name: a, answers: [{answer}]}}]\n")
    with RunningScenario(scenario) as running:
        for number in range(2):
            nonce = base64.b64encode(bytes([number]) * 16).decode()
            voucher = voucher_document(ask(running, "a", nonce=nonce)["ownership-voucher"])
            assert voucher["nonce"] == nonce
            assert "expires-on" not in voucher
        voucher = voucher_document(ask(running, "a")["ownership-voucher"])
        assert "nonce" not in voucher
        assert "expires-on" in voucher


def test_answers_by_device_and_by_wish(tmp_path: Path) -> None:
    scenario = load(
        tmp_path,
        """
format: xpu-emulator-scenario/1
devices: [XPU-1, XPU-2]
servers:
  - name: a
    answers:
      - {onboarding: {configuration: x}, signed: false, reporting-level: minimal}
      - {onboarding: {configuration: x}, signed: true, if-signed-preferred: true}
      - {devices: [XPU-2], redirect: [{address: 192.0.2.1}], signed: false}
""",
    )
    with RunningScenario(scenario) as running:
        assert ask(running, "a")["reporting-level"] == "minimal"
        assert "ownership-voucher" in ask(running, "a", signed_data_preferred=[None])
        document = plain_document(ask(running, "a", "XPU-2")["conveyed-information"])
        entry = document["ietf-sztp-conveyed-info:redirect-information"]["bootstrap-server"][0]
        assert entry == {"address": "192.0.2.1"}


def test_encrypted_and_wrong_artifacts(tmp_path: Path) -> None:
    scenario = load(
        tmp_path,
        HEAD
        + """
servers:
  - name: sealed
    answers:
      - onboarding: {configuration: x}
        encrypted: [conveyed-information, owner-certificate, ownership-voucher]
  - name: wrong
    answers:
      - onboarding: {configuration: x}
        wrong: {ownership-voucher: not-asn1}
""",
    )
    with RunningScenario(scenario) as running:
        output = ask(running, "sealed")
        for name in ("conveyed-information", "owner-certificate", "ownership-voucher"):
            assert content_type(output[name]) == "1.2.840.113549.1.7.3"
        wrong = ask(running, "wrong")
        assert base64.b64decode(wrong["ownership-voucher"])[:1] != b"0"
        assert content_type(wrong["owner-certificate"]) == "1.2.840.113549.1.7.2"


@pytest.mark.parametrize("kind", ["other-name", "other-ca", "expired"])
def test_wrong_certificates_are_made_for_their_faults(tmp_path: Path, kind: str) -> None:
    fault = f"{{fault: wrong-certificate, kind: {kind}, first: 1}}"
    server = f"{{name: a, faults: [{fault}], answers: [{ONBOARD}]}}"
    scenario = load(tmp_path, HEAD + f"servers: [{server}]\n")
    with RunningScenario(scenario) as running:
        with pytest.raises(ssl.SSLCertVerificationError):
            ask(running, "a")
        assert "conveyed-information" in ask(running, "a")


def test_status_for_a_type_of_report(tmp_path: Path) -> None:
    server = f"{{name: a, reports: {{bootstrap-complete: 500}}, answers: [{ONBOARD}]}}"
    scenario = load(tmp_path, HEAD + f"servers: [{server}]\n")
    with (
        RunningScenario(scenario) as running,
        Client(
            "localhost", running.servers["a"].port, context=device_context(running), timeout=5
        ) as client,
    ):
        for name, status in (("bootstrap-complete", 500), ("bootstrap-error", 204)):
            body = json.dumps({f"{SERVER}:input": {"progress-type": name}}).encode()
            assert client.ask(REPORT, body)[0] == status


def test_pki_folder_is_made_then_used_and_extended(tmp_path: Path) -> None:
    text = HEAD + f"pki: pki\nservers: [{{name: a, answers: [{ONBOARD}]}}]\n"
    with RunningScenario(load(tmp_path, text)) as running:
        first = running.pki.device("XPU-1").der
    with RunningScenario(load(tmp_path, text.replace("[XPU-1]", "[XPU-1, XPU-2]"))) as running:
        assert running.pki.device("XPU-1").der == first
        assert "conveyed-information" in ask(running, "a", "XPU-2")
    assert Pki.load(tmp_path / "pki").serials == ("XPU-1", "XPU-2")
    other_name = text.replace("name: a", "name: a, names: [elsewhere]")
    with pytest.raises(EmulatorError, match="is not for 'elsewhere'"):
        RunningScenario(load(tmp_path, other_name))


def test_port_that_is_taken(tmp_path: Path) -> None:
    text = HEAD + "servers: [{name: a}]\n"
    with RunningScenario(load(tmp_path, text)) as running:
        port = running.servers["a"].port
        taken = HEAD + f"servers: [{{name: b}}, {{name: a, port: {port}}}]\n"
        with pytest.raises(ScenarioError, match=f"a can't listen on port {port}"):
            RunningScenario(load(tmp_path, taken))
