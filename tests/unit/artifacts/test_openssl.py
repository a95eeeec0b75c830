# SPDX-License-Identifier: Apache-2.0
"""A second opinion: what `openssl` writes parses here, and what we accept it can read."""

import shutil
import subprocess
from pathlib import Path

import pytest
from tests.unit.artifacts import vectors
from tests.unit.artifacts.der_writer import ctx, degenerate, oid

from xpu_agent.artifacts import cms
from xpu_agent.artifacts.certificate import parse_certificate
from xpu_agent.artifacts.conveyed_info import parse_conveyed_document
from xpu_agent.errors import MalformedError

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")

ROOT = ("-subj", "/CN=Root")
DOCUMENT = vectors.example("onboarding-information.json")


def openssl(folder: Path, *arguments: str) -> bytes:
    done = subprocess.run(
        ["openssl", *arguments], cwd=folder, capture_output=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CA, a certificate under it and a revoked one, as PEM files."""
    folder = tmp_path_factory.mktemp("ca")
    (folder / "document").write_bytes(DOCUMENT)
    (folder / "index.txt").touch()
    (folder / "crlnumber").write_text("01\n")
    (folder / "ca.cnf").write_text(
        "[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\nnew_certs_dir=.\nserial=serial\n"
        "crlnumber=crlnumber\ndefault_md=sha256\ndefault_crl_days=30\ndefault_days=30\n"
        "policy=p\nx509_extensions=leaf\ncrl_extensions=c\nunique_subject=no\n"
        "[p]\ncommonName=supplied\nserialNumber=optional\n"
        "[leaf]\nkeyUsage=critical,digitalSignature\nsubjectAltName=DNS:a.example,IP:192.0.2.1\n"
        "extendedKeyUsage=clientAuth\nauthorityKeyIdentifier=keyid,issuer:always\n"
        "[c]\nauthorityKeyIdentifier=keyid\n"
        "[root]\nbasicConstraints=critical,CA:TRUE,pathlen:1\nkeyUsage=keyCertSign,cRLSign\n"
        "subjectKeyIdentifier=hash\nnameConstraints=permitted;DNS:example,excluded;IP:10.0.0.0/255.0.0.0\n"
        "[req]\ndistinguished_name=n\n[n]\n"
    )
    key = ("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out")
    for name in ("root", "leaf", "gone"):
        openssl(folder, *key, f"{name}.key")
    req = ("req", "-config", "ca.cnf", "-new")
    openssl(
        folder,
        *req,
        "-x509",
        *["-extensions", "root", "-key", "root.key", "-out", "root.pem"],
        *ROOT,
    )
    sign = (
        "ca",
        "-config",
        "ca.cnf",
        *["-batch", "-notext", "-keyfile", "root.key", "-cert", "root.pem"],
    )
    for name in ("leaf", "gone"):
        subject = ("-subj", f"/serialNumber=SN-{name}/CN={name}")
        openssl(folder, *req, "-key", f"{name}.key", *subject, "-out", f"{name}.csr")
        openssl(folder, *sign, "-rand_serial", "-in", f"{name}.csr", "-out", f"{name}.pem")
    openssl(folder, *sign, "-revoke", "gone.pem", "-crl_reason", "keyCompromise")
    openssl(folder, *sign, "-gencrl", "-out", "root.crl")
    return folder


def der(folder: Path, name: str) -> bytes:
    return vectors.pem((folder / f"{name}.pem").read_bytes())


def sign(folder: Path, signer: str, *options: str) -> bytes:
    key = ("-signer", f"{signer}.pem", "-inkey", f"{signer}.key")
    command = ["cms", "-sign", "-binary", "-in", "document", "-outform", "DER"]
    return openssl(folder, *command, *key, *options)


def test_certificates(ca: Path) -> None:
    root, leaf = parse_certificate(der(ca, "root")), parse_certificate(der(ca, "leaf"))
    assert root.basic_constraints is not None
    assert (root.basic_constraints.is_ca, root.basic_constraints.path_length) == (True, 1)
    assert root.name_constraints is not None
    assert root.name_constraints.permitted[0].value == b"example"
    assert len(root.name_constraints.excluded[0].value) == 8
    assert leaf.issuer == root.subject
    assert leaf.authority_key_identifier == root.subject_key_identifier
    assert leaf.subject_serial_number == "SN-leaf"
    assert [name.kind for name in leaf.subject_alternative_names] == ["dns_name", "ip_address"]
    shown = openssl(ca, "x509", "-in", "leaf.pem", "-noout", "-serial").decode().strip()
    assert int(shown.removeprefix("serial="), 16) == leaf.serial_number


@pytest.mark.parametrize("key", ["rsa:2048", "ed25519"])
def test_certificates_of_other_keys(key: str, tmp_path: Path) -> None:
    openssl(tmp_path, "req", "-x509", "-newkey", key, "-nodes", "-keyout", "k", "-subj", "/CN=a",
            "-days", "1", "-out", "a.pem")  # fmt: skip
    assert parse_certificate(der(tmp_path, "a")).self_issued


@pytest.mark.requirement("SZTP-3.2-05", "SZTP-6.3-01")
def test_bag_with_crl(ca: Path) -> None:
    octets = openssl(ca, "crl2pkcs7", "-in", "root.crl", "-certfile", "root.pem", "-certfile",
                     "leaf.pem", "-outform", "DER")  # fmt: skip
    found = cms.parse_content_info(octets)
    assert isinstance(found, cms.CertificateBag)
    assert {one.der for one in found.certificates} == {der(ca, "root"), der(ca, "leaf")}
    (crl,) = found.crls
    (revoked,) = crl.revoked
    assert revoked.serial_number == parse_certificate(der(ca, "gone")).serial_number
    assert revoked.reason == "key_compromise"
    assert crl.issuer == parse_certificate(der(ca, "root")).subject
    assert crl.next_update is not None


def test_ocsp_responses(ca: Path) -> None:
    openssl(ca, "ocsp", "-issuer", "root.pem", "-cert", "leaf.pem", "-cert", "gone.pem",
            "-reqout", "req.der")  # fmt: skip
    openssl(ca, "ocsp", "-index", "index.txt", "-CA", "root.pem", "-rsigner", "root.pem", "-rkey",
            "root.key", "-reqin", "req.der", "-respout", "resp.der", "-ndays", "7")  # fmt: skip
    response = (ca / "resp.der").read_bytes()
    stapled = ctx(1, ctx(1, oid("1.3.6.1.5.5.7.16.2"), response))
    found = cms.parse_content_info(degenerate(crls=stapled))
    assert isinstance(found, cms.CertificateBag)
    (one,) = found.ocsp_responses
    assert one.responder_name == parse_certificate(der(ca, "root")).subject
    assert [single.status for single in one.responses] == ["good", "revoked"]
    assert all(single.next_update is not None for single in one.responses)
    assert [certificate.der for certificate in one.certificates] == [der(ca, "root")]


@pytest.mark.parametrize(
    ("options", "content_type"),
    [
        (["-econtent_type", cms.OID_CONVEYED_JSON], cms.OID_CONVEYED_JSON),
        (["-econtent_type", cms.OID_CONVEYED_JSON, "-keyid"], cms.OID_CONVEYED_JSON),
        ([], cms.OID_DATA),
        (["-noattr"], cms.OID_DATA),
    ],
)
@pytest.mark.requirement("SZTP-3.1-04", "CMS-01")
def test_signed(ca: Path, options: list[str], content_type: str) -> None:
    signer = "root" if "-keyid" in options else "leaf"  # the leaf has no key identifier
    octets = sign(ca, signer, "-nodetach", *options)
    found = cms.parse_content_info(octets)
    assert isinstance(found, cms.SignedData)
    assert (found.content_type, found.content) == (content_type, DOCUMENT)
    (one,) = found.signers
    assert (one.signed_attributes is None) == ("-noattr" in options)
    assert isinstance(one.sid, cms.SubjectKeyIdentifier) == ("-keyid" in options)


@pytest.mark.refuses("CMS-01")
def test_other_content_without_attributes_is_refused(ca: Path) -> None:
    octets = sign(ca, "leaf", "-nodetach", "-noattr", "-econtent_type", cms.OID_CONVEYED_JSON)
    with pytest.raises(MalformedError, match="no signed attributes"):
        cms.parse_content_info(octets)


@pytest.mark.refuses("SZTP-3.1-07")
def test_streamed_output_is_ber(ca: Path) -> None:
    octets = sign(ca, "leaf", "-nodetach", "-stream")
    with pytest.raises(MalformedError, match="BER, not DER"):
        cms.parse_content_info(octets)


def test_detached_signatures_are_refused(ca: Path) -> None:
    octets = sign(ca, "leaf")
    with pytest.raises(MalformedError, match="its content is not in it"):
        cms.parse_content_info(octets)


@pytest.mark.requirement("SZTP-3.4-02")
def test_encrypted_to_ec_and_rsa(ca: Path) -> None:
    openssl(ca, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "rsa.key", "-subj",
            "/CN=rsa", "-days", "1", "-out", "rsa.pem")  # fmt: skip
    octets = openssl(ca, "cms", "-encrypt", "-binary", "-in", "document", "-outform", "DER",
                     "-aes256", "rsa.pem", "leaf.pem")  # fmt: skip
    found = cms.parse_content_info(octets)
    assert isinstance(found, cms.EnvelopedData)
    assert found.content_type == cms.OID_DATA
    kinds = {type(recipient): recipient for recipient in found.recipients}
    assert set(kinds) == {cms.KeyTransRecipient, cms.KeyAgreeRecipient}
    for kind, name in ((cms.KeyTransRecipient, "rsa"), (cms.KeyAgreeRecipient, "leaf")):
        wanted = parse_certificate(der(ca, name))
        assert kinds[kind].rid == cms.IssuerAndSerialNumber(wanted.issuer, wanted.serial_number)


@pytest.mark.requirement("SZTP-3.4-01")
def test_encrypted_with_gcm_by_key_identifier(ca: Path) -> None:
    octets = openssl(ca, "cms", "-encrypt", "-binary", "-in", "document", "-outform", "DER",
                     "-aes-256-gcm", "-recip", "root.pem", "-keyid")  # fmt: skip
    found = cms.parse_content_info(octets)
    assert isinstance(found, cms.EnvelopedData)
    assert found.mac is not None
    (recipient,) = found.recipients
    wanted = parse_certificate(der(ca, "root")).subject_key_identifier
    assert wanted is not None
    assert recipient.rid == cms.SubjectKeyIdentifier(wanted)


@pytest.mark.parametrize(
    "name",
    ["trust-anchor", "owner-certificate", "ownership-voucher", "conveyed-information-signed-json"],
)
def test_openssl_reads_the_examples(name: str, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(vectors.artifact(name))
    openssl(tmp_path, "cms", "-cmsout", "-noout", "-inform", "DER", "-in", "in")


def test_openssl_finds_the_content_we_find(tmp_path: Path) -> None:
    octets = vectors.artifact("conveyed-information-signed-json")
    (tmp_path / "in").write_bytes(octets)
    content = openssl(tmp_path, "cms", "-verify", "-noverify", "-nosigs", "-binary", "-inform",
                      "DER", "-in", "in")  # fmt: skip
    found = cms.parse_content_info(octets)
    assert isinstance(found, cms.SignedData)
    assert found.content == content
    parse_conveyed_document(content, found.content_type)
