# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Literal

import pytest
from asn1crypto import crl as asn1_crl
from asn1crypto import ocsp as asn1_ocsp
from tests.unit.emulator.second_opinion import Authority, OpenSsl

from xpu_emulator.pki import KeyKind, crl_pem, make_crl, make_ocsp

NOW = datetime.now(UTC)
TOMORROW = NOW + timedelta(days=1)


@pytest.mark.parametrize("kind", list(KeyKind))
def test_crl_of_each_key_kind_verifies(
    kind: KeyKind, openssl: OpenSsl, authority: Callable[[KeyKind], Authority]
) -> None:
    ca = authority(kind).ca
    der = make_crl(ca, [7], this_update=NOW, next_update=TOMORROW)

    done = openssl.run(
        "crl",
        "-inform",
        "DER",
        "-in",
        openssl.file("ca.crl", der),
        "-CAfile",
        openssl.file("ca.pem", ca.pem),
        "-noout",
        "-text",
    )

    assert done.returncode == 0
    assert b"verify OK" in done.stderr
    assert b"Serial Number: 07" in done.stdout


@pytest.mark.parametrize(("revoked", "accepted"), [(False, True), (True, False)])
def test_crl_decides_about_a_certificate(
    revoked: bool,
    accepted: bool,
    openssl: OpenSsl,
    p256: Authority,
) -> None:
    serials = [p256.leaf.serial_number] if revoked else []
    der = make_crl(p256.ca, serials, this_update=NOW, next_update=TOMORROW)

    done = openssl.run(
        "verify",
        "-crl_check",
        "-CAfile",
        openssl.file("root.pem", p256.root.pem),
        "-CRLfile",
        openssl.file("crl.pem", crl_pem(der)),
        "-untrusted",
        openssl.file("ca.pem", p256.ca.pem),
        openssl.file("leaf.pem", p256.leaf.pem),
    )

    assert (done.returncode == 0) is accepted


def test_crl_of_another_signer_does_not_verify(openssl: OpenSsl, p256: Authority) -> None:
    der = make_crl(p256.ca, this_update=NOW, next_update=None, signer=p256.root)

    done = openssl.run(
        "crl",
        "-inform",
        "DER",
        "-in",
        openssl.file("ca.crl", der),
        "-CAfile",
        openssl.file("ca.pem", p256.ca.pem),
        "-noout",
    )

    assert b"verify OK" not in done.stderr


def test_crl_without_its_optional_parts(p256: Authority) -> None:
    der = make_crl(p256.ca, this_update=NOW, next_update=None, crl_number=None, without_aki=True)

    body = asn1_crl.CertificateList.load(der, strict=True)["tbs_cert_list"]
    assert body["next_update"].native is None
    assert body["revoked_certificates"].native is None
    assert body["crl_extensions"].native is None


def test_crl_reasons(p256: Authority) -> None:
    der = make_crl(p256.ca, {7: "key_compromise", 8: None}, this_update=NOW, next_update=TOMORROW)

    entries = asn1_crl.CertificateList.load(der)["tbs_cert_list"]["revoked_certificates"]
    assert [each.crl_reason_value and each.crl_reason_value.native for each in entries] == [
        "key_compromise",
        None,
    ]


@pytest.mark.parametrize("status", ["good", "revoked", "unknown"])
@pytest.mark.parametrize("delegated", ["issuer", "delegated"])
@pytest.mark.parametrize("by", ["name", "key"])
def test_ocsp_response_verifies(
    status: Literal["good", "revoked", "unknown"],
    delegated: str,
    by: Literal["name", "key"],
    openssl: OpenSsl,
    p256: Authority,
) -> None:
    responder = None
    if delegated == "delegated":
        responder = p256.ca.issue("Responder", extended_key_usage=["ocsp_signing"])
    der = make_ocsp(
        p256.ca,
        p256.leaf,
        status,
        this_update=NOW,
        next_update=TOMORROW,
        responder=responder,
        responder_by=by,
    )

    done = openssl.run(
        "ocsp",
        "-respin",
        openssl.file("response.der", der),
        "-issuer",
        openssl.file("ca.pem", p256.ca.pem),
        "-cert",
        openssl.file("leaf.pem", p256.leaf.pem),
        "-CAfile",
        openssl.file("root.pem", p256.root.pem),
    )

    assert b"Response verify OK" in done.stderr, done.stderr
    assert f"leaf.pem: {status}".encode() in done.stdout


def test_ocsp_response_of_a_stranger_does_not_verify(openssl: OpenSsl, p256: Authority) -> None:
    der = make_ocsp(p256.ca, p256.leaf, this_update=NOW, signer=p256.root, next_update=TOMORROW)

    done = openssl.run(
        "ocsp",
        "-respin",
        openssl.file("response.der", der),
        "-issuer",
        openssl.file("ca.pem", p256.ca.pem),
        "-cert",
        openssl.file("leaf.pem", p256.leaf.pem),
        "-CAfile",
        openssl.file("root.pem", p256.root.pem),
    )

    assert b"Response verify OK" not in done.stderr


def test_ocsp_times_have_no_fractions_and_a_nonce_is_there(p256: Authority) -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    der = make_ocsp(
        p256.ca, 5, this_update=moment, next_update=moment, nonce=b"12345678", cert_id_hash="sha256"
    )

    basic = asn1_ocsp.OCSPResponse.load(der, strict=True).basic_ocsp_response
    assert b"20260102030405Z" in der
    assert b"5.678901" not in der
    assert basic["tbs_response_data"]["response_extensions"][0]["extn_id"].native == "nonce"
    assert (
        len(basic["tbs_response_data"]["responses"][0]["cert_id"]["issuer_key_hash"].native) == 32
    )
