# SPDX-License-Identifier: Apache-2.0
"""Requests are read strictly, and each finding names its requirement."""

import base64
import json
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding as Form
from cryptography.x509.oid import NameOID
from tests.unit.emulator_server.certificates import degenerate, issue, pki

from xpu_emulator import rpc
from xpu_emulator.artifacts import ContentType, signed
from xpu_emulator.identity import make_root
from xpu_emulator.rpc import Encoding, ErrorTag, InputError, ProgressType

SERVER = "ietf-sztp-bootstrap-server"
NAMESPACE = f"urn:ietf:params:xml:ns:yang:{SERVER}"
CSR_NAMESPACE = "urn:ietf:params:xml:ns:yang:ietf-sztp-csr"
NONCE = bytes(range(32))
P256 = base64.b64decode("MBMGByqGSM49AgEGCCqGSM49AwEH")


def b64(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


def json_input(**leaves: object) -> bytes:
    return json.dumps(
        {f"{SERVER}:input": {name.replace("_", "-"): value for name, value in leaves.items()}}
    ).encode()


def xml_input(inner: str) -> bytes:
    return f'<input xmlns="{NAMESPACE}">{inner}</input>'.encode()


def refused(body: bytes, encoding: Encoding = Encoding.JSON, *, report: bool = False) -> InputError:
    decode = rpc.decode_report_progress if report else rpc.decode_get_bootstrapping_data
    with pytest.raises(InputError) as caught:
        decode(body, encoding)
    return caught.value


def requirement_ids(error: InputError) -> set[str]:
    return {name for violation in error.violations for name in violation.requirement_ids}


def p10() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "xpu")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, SHA256())
    return request.public_bytes(Form.DER)


def csr_support(*formats: str) -> dict[str, object]:
    return {"csr-generation": {"supported-formats": {"format-identifier": list(formats)}}}


def test_full_input_is_read_the_same_in_both_encodings() -> None:
    body = json_input(
        signed_data_preferred=[None],
        hw_model="model",
        os_name="os",
        os_version="1 < 2",
        nonce=b64(NONCE),
        **{"ietf-sztp-csr:csr-support": csr_support("ietf-ztp-types:p10-csr")},
    )
    xml = xml_input(
        "<signed-data-preferred/><hw-model>model</hw-model><os-name>os</os-name>"
        f"<os-version>1 &lt; 2</os-version><nonce>\n {b64(NONCE)}\n </nonce>"
        f'<csr-support xmlns="{CSR_NAMESPACE}" '
        'xmlns:q="urn:ietf:params:xml:ns:yang:ietf-ztp-types"><csr-generation><supported-formats>'
        "<format-identifier>q:p10-csr</format-identifier></supported-formats></csr-generation>"
        "</csr-support>"
    )
    expected = rpc.GetBootstrappingData(
        signed_data_preferred=True,
        hw_model="model",
        os_name="os",
        os_version="1 < 2",
        nonce=NONCE,
        csr=rpc.CsrSupport(("ietf-ztp-types:p10-csr",), None),
    )
    assert rpc.decode_get_bootstrapping_data(body, Encoding.JSON) == expected
    assert rpc.decode_get_bootstrapping_data(xml, Encoding.XML) == expected


def test_no_body_is_an_input_without_leaves() -> None:
    empty = rpc.GetBootstrappingData()
    assert rpc.decode_get_bootstrapping_data(b"", Encoding.JSON) == empty
    assert rpc.decode_get_bootstrapping_data(json_input(), Encoding.JSON) == empty
    assert rpc.decode_get_bootstrapping_data(xml_input(""), Encoding.XML) == empty


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"a": NaN}',
        b'{"a": 1} trailing',
        b"\xff\xfe",
        b'{"x": {"a": 1, "a": 2}}',
        b'{"a":' * 100_000,
    ],
    ids=["empty", "cut", "array", "nan", "trailing", "not-utf8", "twice", "deep"],
)
def test_what_is_not_json_is_malformed_or_unknown(body: bytes) -> None:
    error = refused(body, report=True)
    assert error.tag in {ErrorTag.MALFORMED_MESSAGE, ErrorTag.UNKNOWN_ELEMENT}


@pytest.mark.parametrize(
    ("body", "tag"),
    [
        (b"", ErrorTag.MALFORMED_MESSAGE),
        (b"<input>", ErrorTag.MALFORMED_MESSAGE),
        (b"<!DOCTYPE input><input/>", ErrorTag.MALFORMED_MESSAGE),
        (b'<!DOCTYPE i [<!ENTITY x "y">]><input>&x;</input>', ErrorTag.MALFORMED_MESSAGE),
        (b"<input/>", ErrorTag.UNKNOWN_ELEMENT),
        (xml_input("<progress-type>informational</progress-type>").replace(b"</input>", b"</a>"),
         ErrorTag.MALFORMED_MESSAGE),
        (xml_input("text<progress-type>informational</progress-type>"), ErrorTag.INVALID_VALUE),
        (xml_input("<progress-type a='b'>informational</progress-type>"),
         ErrorTag.UNKNOWN_ATTRIBUTE),
        (xml_input("<progress-type>informational</progress-type>" * 2), ErrorTag.INVALID_VALUE),
        (b"<a>" * 40 + b"</a>" * 40, ErrorTag.MALFORMED_MESSAGE),
    ],
)  # fmt: skip
def test_wrong_xml_is_refused(body: bytes, tag: ErrorTag) -> None:
    assert refused(body, Encoding.XML, report=True).tag is tag


@pytest.mark.parametrize("length", [0, 15, 33])
def test_nonce_of_wrong_length(length: int) -> None:
    error = refused(json_input(nonce=b64(bytes(length))))
    assert error.tag is ErrorTag.INVALID_VALUE
    assert requirement_ids(error) == {"SZTP-7.3-06"}
    assert f"{length} octets" in str(error)


@pytest.mark.parametrize("nonce", ["AAAA\nAAAA", "AAA", "A" * 21 + "!", 7, None])
def test_nonce_that_is_not_base64(nonce: object) -> None:
    error = refused(json_input(nonce=nonce))
    assert error.tag is ErrorTag.INVALID_VALUE


@pytest.mark.parametrize("value", [True, None, [], [True], "", {}])
def test_empty_leaf_must_be_null_in_an_array(value: object) -> None:
    error = refused(json_input(signed_data_preferred=value))
    assert {"SZTP-7.3-10", "RC-5.2-04"} <= requirement_ids(error)


def test_empty_element_with_content() -> None:
    body = xml_input("<signed-data-preferred>true</signed-data-preferred>")
    assert "SZTP-7.3-10" in requirement_ids(refused(body, Encoding.XML))


def test_member_names_are_qualified_exactly_where_the_module_changes() -> None:
    own = refused(json_input(**{f"{SERVER}:hw-model": "x"}))
    assert own.tag is ErrorTag.UNKNOWN_ELEMENT
    assert "'hw-model'" in str(own)
    foreign = refused(json_input(csr_support=csr_support("ietf-ztp-types:p10-csr")))
    assert "'ietf-sztp-csr:csr-support'" in str(foreign)
    unqualified = refused(json.dumps({"input": {}}).encode())
    assert unqualified.tag is ErrorTag.UNKNOWN_ELEMENT


def test_every_finding_is_told_at_once() -> None:
    error = refused(json_input(nonce="AAAA", hw_model=1, colour="red"))
    assert len(error.violations) == 3


def test_control_characters_are_no_yang_string() -> None:
    assert refused(json_input(hw_model="a\x00b")).tag is ErrorTag.INVALID_VALUE
    assert refused(json_input(hw_model="\ud800")).tag is ErrorTag.INVALID_VALUE


def test_csr_is_read() -> None:
    der = p10()
    decoded = rpc.decode_get_bootstrapping_data(
        json_input(**{"ietf-sztp-csr:p10-csr": b64(der)}), Encoding.JSON
    )
    assert decoded.csr == rpc.CertificateRequest("p10-csr", der)


def test_csr_that_does_not_verify() -> None:
    der = bytearray(p10())
    der[-1] ^= 1
    error = refused(json_input(**{"ietf-sztp-csr:p10-csr": b64(bytes(der))}))
    assert requirement_ids(error) == {"CSR-3.2-08"}


@pytest.mark.parametrize(
    ("name", "requirement_id"),
    [("p10-csr", "CSR-3.2-08"), ("cmc-csr", "CSR-3.2-09"), ("cmp-csr", "CSR-3.2-10")],
)
def test_csr_that_is_no_der(name: str, requirement_id: str) -> None:
    error = refused(json_input(**{f"ietf-sztp-csr:{name}": b64(b"junk")}))
    assert requirement_ids(error) == {requirement_id}


def test_csr_of_an_unknown_version() -> None:
    der = p10().replace(b"\x02\x01\x00", b"\x02\x01\x17", 1)
    error = refused(json_input(**{"ietf-sztp-csr:p10-csr": b64(der)}))
    assert requirement_ids(error) == {"CSR-3.2-08"}


def test_csr_and_its_support_exclude_each_other() -> None:
    leaves = {
        "ietf-sztp-csr:p10-csr": b64(p10()),
        "ietf-sztp-csr:csr-support": csr_support("ietf-ztp-types:p10-csr"),
    }
    assert "CSR-2.3-02" in requirement_ids(refused(json_input(**leaves)))


@pytest.mark.parametrize(
    "support",
    [
        {},
        {"csr-generation": {}},
        csr_support(),
        csr_support("p10-csr"),
        csr_support("ietf-ztp-types:pkcs7"),
        {
            **csr_support("ietf-ztp-types:p10-csr"),
            "key-generation": {"supported-algorithms": {"algorithm-identifier": []}},
        },
        {
            **csr_support("ietf-ztp-types:p10-csr"),
            "key-generation": {"supported-algorithms": {"algorithm-identifier": ["AAAA"]}},
        },
    ],
)
def test_wrong_csr_support(support: dict[str, object]) -> None:
    error = refused(json_input(**{"ietf-sztp-csr:csr-support": support}))
    assert "CSR-3.2-01" in requirement_ids(error)


# report-progress


@pytest.mark.parametrize("name", [member.value for member in ProgressType])
def test_each_progress_type_in_both_encodings(name: str) -> None:
    expected = rpc.ReportProgress(ProgressType(name), "text")
    body = json_input(progress_type=name, message="text")
    xml = xml_input(f"<progress-type>{name}</progress-type><message>text</message>")
    assert rpc.decode_report_progress(body, Encoding.JSON) == expected
    assert rpc.decode_report_progress(xml, Encoding.XML) == expected


def test_there_are_27_progress_types_and_7_errors_among_them() -> None:
    assert len(ProgressType) == 27
    terminal = {member.value for member in ProgressType if rpc.is_terminal(member)}
    assert terminal == {
        "parsing-error",
        "boot-image-error",
        "boot-image-installed-rebooting",
        "pre-script-error",
        "config-error",
        "post-script-error",
        "bootstrap-error",
        "bootstrap-complete",
    }


def test_unknown_and_missing_progress_type() -> None:
    unknown = refused(json_input(progress_type="bootstrap-started"), report=True)
    assert unknown.tag is ErrorTag.INVALID_VALUE
    assert refused(json_input(message="x"), report=True).tag is ErrorTag.MISSING_ELEMENT


def keys(algorithm: str, blob: bytes) -> dict[str, object]:
    return {"ssh-host-key": [{"algorithm": algorithm, "key-data": b64(blob)}]}


def ssh_blob(name: bytes, rest: bytes = b"\x00\x00\x00\x20" + bytes(32)) -> bytes:
    return len(name).to_bytes(4, "big") + name + rest


def test_keys_and_anchors_with_bootstrap_complete() -> None:
    chain = degenerate(pki().device_ca, pki().device_root)
    blob = ssh_blob(b"ssh-ed25519")
    body = json_input(
        progress_type="bootstrap-complete",
        ssh_host_keys=keys("ssh-ed25519", blob),
        trust_anchor_certs={"trust-anchor-cert": [b64(chain)]},
    )
    report = rpc.decode_report_progress(body, Encoding.JSON)
    assert report.ssh_host_keys == (rpc.SshHostKey("ssh-ed25519", blob),)
    assert report.trust_anchor_certs == (chain,)


@pytest.mark.parametrize("name", sorted(set(ProgressType) - {ProgressType.BOOTSTRAP_COMPLETE}))
def test_keys_with_any_other_type(name: str) -> None:
    body = json_input(
        progress_type=name, ssh_host_keys=keys("ssh-ed25519", ssh_blob(b"ssh-ed25519"))
    )
    assert requirement_ids(refused(body, report=True)) == {"SZTP-7.3-05"}


@pytest.mark.parametrize(
    ("algorithm", "blob"),
    [
        ("ssh-ed25519", ssh_blob(b"ssh-rsa")),
        ("ssh-ed25519", ssh_blob(b"ssh-ed25519", b"")),
        ("ssh-ed25519", b"ssh-ed25519 AAAA"),
        ("ssh-ed25519", b""),
    ],
)
def test_key_blob_of_another_name(algorithm: str, blob: bytes) -> None:
    body = json_input(progress_type="bootstrap-complete", ssh_host_keys=keys(algorithm, blob))
    assert requirement_ids(refused(body, report=True)) == {"SZTP-7.3-08"}


def wrong_chains() -> dict[str, bytes]:
    other = issue("Other root", ca=True)
    second_leaf = issue("second", pki().device_root)
    root = make_root("root")
    return {
        "certificate itself": pki().device_root.der,
        "no certificate": degenerate(),
        "no root": degenerate(pki().device_ca),
        "two roots": degenerate(pki().device_root, other),
        "a stranger": degenerate(pki().device_root, issue("x", other)),
        "a fork": degenerate(pki().device_root, pki().device_ca, second_leaf),
        "signed": signed(b"x", ContentType.DATA, root, certificates=[root]),
        "trailing octets": degenerate(pki().device_root) + b"\0",
        "junk": b"junk",
    }


@pytest.mark.parametrize("name", wrong_chains())
def test_wrong_trust_anchor_cert(name: str) -> None:
    body = json_input(
        progress_type="bootstrap-complete",
        trust_anchor_certs={"trust-anchor-cert": [b64(wrong_chains()[name])]},
    )
    assert requirement_ids(refused(body, report=True)) == {"SZTP-7.3-09"}


def test_trust_anchor_cert_is_always_an_array() -> None:
    text = b64(degenerate(pki().device_root))
    body = json_input(
        progress_type="bootstrap-complete", trust_anchor_certs={"trust-anchor-cert": text}
    )
    assert "SZTP-7.3-09" in requirement_ids(refused(body, report=True))


# Answers


def test_output_in_both_encodings() -> None:
    data = rpc.BootstrappingData(b"ci", b"oc", b"ov", "verbose")
    document = json.loads(rpc.encode_output(data, Encoding.JSON))
    assert document == {
        f"{SERVER}:output": {
            "reporting-level": "verbose",
            "conveyed-information": b64(b"ci"),
            "owner-certificate": b64(b"oc"),
            "ownership-voucher": b64(b"ov"),
        }
    }
    xml = rpc.encode_output(rpc.BootstrappingData(b"ci"), Encoding.XML).decode()
    assert xml == (
        f'<output xmlns="{NAMESPACE}"><conveyed-information>{b64(b"ci")}</conveyed-information>'
        "</output>"
    )


def test_csr_request_in_both_encodings() -> None:
    wanted = rpc.CsrRequest(algorithm=P256, cert_req_info=b"info")
    errors = (rpc.RestconfError(ErrorTag.MISSING_ATTRIBUTE, "a < b", csr_request=wanted),)
    document = json.loads(rpc.encode_errors(errors, Encoding.JSON))
    request = document["ietf-restconf:errors"]["error"][0]["error-info"][
        "ietf-sztp-csr:csr-request"
    ]
    assert request == {
        "key-generation": {"selected-algorithm": {"algorithm-identifier": b64(P256)}},
        "csr-generation": {"selected-format": {"format-identifier": "ietf-ztp-types:p10-csr"}},
        "cert-req-info": b64(b"info"),
    }
    xml = rpc.encode_errors(errors, Encoding.XML).decode()
    assert "<error-message>a &lt; b</error-message>" in xml
    assert f'<csr-request xmlns="{CSR_NAMESPACE}"><key-generation>' in xml
    assert (
        '<format-identifier xmlns:id="urn:ietf:params:xml:ns:yang:ietf-ztp-types">id:p10-csr<'
        in xml
    )


VECTORS = Path(__file__).parents[2] / "vectors" / "requests"


def test_example_payloads() -> None:
    for path in sorted(VECTORS.glob("get-bootstrapping-data-input-*.*")):
        encoding = Encoding.XML if path.suffix == ".xml" else Encoding.JSON
        rpc.decode_get_bootstrapping_data(path.read_bytes(), encoding)
    for path in sorted((VECTORS / "report-progress").iterdir()):
        encoding = Encoding.XML if path.suffix == ".xml" else Encoding.JSON
        rpc.decode_report_progress(path.read_bytes(), encoding)
    for path in sorted((VECTORS / "invalid").glob("get-bootstrapping-data-input--*.json")):
        refused(path.read_bytes())
    for path in sorted((VECTORS / "invalid").glob("report-progress--*.json")):
        refused(path.read_bytes(), report=True)
