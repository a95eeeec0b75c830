# SPDX-License-Identifier: Apache-2.0
"""Ownership vouchers (RFC 8366, 5): the module's rules."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.unit.artifacts import vectors
from tests.unit.artifacts.der_writer import DATA, JSON, VOUCHER, XML, signed

from xpu_agent.artifacts import cms
from xpu_agent.artifacts.voucher import UnverifiedVoucher, parse_voucher
from xpu_agent.device import Assertion, Leniency
from xpu_agent.errors import MalformedError


def parse(
    content: bytes, content_type: str = VOUCHER, leniencies: tuple[Leniency, ...] = ()
) -> UnverifiedVoucher:
    signed_data = cms.parse_content_info(signed(content, content_type))
    assert isinstance(signed_data, cms.SignedData)
    return parse_voucher(signed_data, leniencies)


def voucher(**changes: object) -> bytes:
    """The expiring example with members replaced, or left out where None."""
    members: dict[str, Any] = vectors.document("voucher-expiring.json")["ietf-voucher:voucher"]
    members |= {name.replace("_", "-"): value for name, value in changes.items()}
    kept = {name: value for name, value in members.items() if value is not None}
    return json.dumps({"ietf-voucher:voucher": kept}).encode()


@pytest.mark.parametrize("content_type", [VOUCHER, DATA])
@pytest.mark.requirement("VCH-5-01", "VCH-5.3-01", "VCH-5.3-05", "SZTP-3.3-01", "CMS-05")
def test_expiring_example(content_type: str) -> None:
    found = parse(vectors.example("voucher-expiring.json"), content_type)
    assert found.created_on == datetime(2026, 6, 1, tzinfo=UTC)
    assert found.expires_on == datetime(2036, 6, 1, tzinfo=UTC)
    assert found.last_renewal_date == datetime(2040, 6, 1, tzinfo=UTC)
    assert found.assertion is Assertion.VERIFIED
    assert found.serial_number == "XPU-0001-EXAMPLE"
    assert found.idevid_issuer == base64.b64decode("pvvWxIcLfCx808Nc6uPS3uLiJf4=")
    assert found.pinned_domain_cert.der == vectors.certificate("owner-domain-ca")
    assert found.domain_cert_revocation_checks is False
    assert found.nonce is None
    assert found.warnings == ()


@pytest.mark.requirement("VCH-5-01", "VCH-5.3-02", "VCH-5.3-04")
def test_nonce_example() -> None:
    found = parse(vectors.example("voucher-nonce.json"))
    assert found.nonce == bytes(range(32))
    assert found.assertion is Assertion.LOGGED
    assert (found.expires_on, found.last_renewal_date, found.idevid_issuer) == (None, None, None)
    assert found.domain_cert_revocation_checks is None


@pytest.mark.requirement("VCH-5.4-01", "SZTP-3.3-01")
def test_example_artifact() -> None:
    signed_data = cms.parse_content_info(vectors.artifact("ownership-voucher"))
    assert isinstance(signed_data, cms.SignedData)
    found = parse_voucher(signed_data)
    assert found.signed_data is signed_data
    assert found.serial_number == "XPU-0001-EXAMPLE"


WHY = {
    "boolean-as-string": "is a string, not a boolean",
    "last-renewal-without-expires-on": "last-renewal-date without expires-on",
    "no-created-on": "lacks created-on",
    "no-pinned-domain-cert": "lacks pinned-domain-cert",
    "no-serial-number": "lacks serial-number",
    "nonce-and-expires-on": "both nonce and expires-on",
    "nonce-too-short": "nonce of less than 8 octets",
    "unknown-assertion": "assertion has a value that is not defined",
}


@pytest.mark.parametrize("name", vectors.invalid("voucher"))
@pytest.mark.refuses("VCH-5-01", "VCH-5.3-01", "VCH-5.3-02", "VCH-5.3-04", "VCH-5.3-05")
def test_invalid_examples(name: str) -> None:
    why = WHY[name.removesuffix(".json").partition("--")[2]]
    with pytest.raises(MalformedError, match=why):
        parse(vectors.example(name))


@pytest.mark.parametrize("content_type", [JSON, XML])
@pytest.mark.refuses("CMS-05", "SZTP-3.3-01")
def test_conveyed_information_is_no_voucher(content_type: str) -> None:
    with pytest.raises(MalformedError, match="of another kind"):
        parse(vectors.example("voucher-expiring.json"), content_type)


@pytest.mark.refuses("CMS-05", "VCH-5-01")
@pytest.mark.parametrize("top", ["ietf-voucher-request:voucher", "voucher", "ietf-voucher:x"])
def test_a_voucher_request_is_no_voucher(top: str) -> None:
    members = vectors.document("voucher-expiring.json")["ietf-voucher:voucher"]
    with pytest.raises(MalformedError, match="wrong top member"):
        parse(json.dumps({top: members}).encode())


@pytest.mark.parametrize("name", ["created-on", "assertion", "serial-number", "pinned-domain-cert"])
@pytest.mark.refuses("VCH-5.3-01")
def test_mandatory_leaves(name: str) -> None:
    with pytest.raises(MalformedError, match=f"lacks {name}"):
        parse(voucher(**{name: None}))


@pytest.mark.parametrize("octets", [8, 32])
@pytest.mark.requirement("VCH-5.3-04")
def test_nonces(octets: int) -> None:
    nonce = base64.b64encode(bytes(octets)).decode()
    found = parse(voucher(nonce=nonce, expires_on=None, last_renewal_date=None))
    assert found.nonce == bytes(octets)


@pytest.mark.parametrize("octets", [0, 7, 33])
@pytest.mark.refuses("VCH-5.3-04")
def test_nonces_of_other_lengths(octets: int) -> None:
    nonce = base64.b64encode(bytes(octets)).decode()
    with pytest.raises(MalformedError, match="nonce"):
        parse(voucher(nonce=nonce, expires_on=None, last_renewal_date=None))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-01T00:00:00Z", datetime(2026, 1, 1, tzinfo=UTC)),
        ("2026-01-01T01:30:00+01:30", datetime(2026, 1, 1, tzinfo=UTC)),
        ("2025-12-31T20:00:00-04:00", datetime(2026, 1, 1, tzinfo=UTC)),
        ("2026-01-01T00:00:00-00:00", datetime(2026, 1, 1, tzinfo=UTC)),
        ("2026-01-01T00:00:00.5Z", datetime(2026, 1, 1, 0, 0, 0, 500000, tzinfo=UTC)),
        ("2026-01-01T00:00:00.1234567891Z", datetime(2026, 1, 1, 0, 0, 0, 123456, tzinfo=UTC)),
    ],
)
def test_dates(text: str, expected: datetime) -> None:
    assert parse(voucher(created_on=text)).created_on == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "2026-01-01", "2026-01-01T00:00:00", "2026-01-01 00:00:00Z", "2026-1-1T00:00:00Z"),
        *("2026-02-30T00:00:00Z", "2026-01-01T24:00:00Z", "2026-01-01T00:00:00+24:00"),
        *("0000-01-01T00:00:00Z", "0001-01-01T00:00:00+01:00", "2026-01-01T00:00:00.Z"),
        *("2026-01-01t00:00:00z", "٢٠٢٦-01-01T00:00:00Z", " 2026-01-01T00:00:00Z"),
        "2026-01-01T00:00:00Z\n",
    ],
)
@pytest.mark.refuses("VCH-5-01")
def test_what_is_no_date_is_refused(text: str) -> None:
    with pytest.raises(MalformedError, match="created-on is"):
        parse(voucher(created_on=text))


@pytest.mark.parametrize("text", ["true", "false"])
def test_a_boolean_in_quotes_may_be_allowed(text: str) -> None:
    octets = voucher(domain_cert_revocation_checks=text)
    found = parse(octets, leniencies=(Leniency.BOOLEAN_AS_STRING,))
    assert found.domain_cert_revocation_checks is (text == "true")
    assert found.warnings == ("voucher/domain-cert-revocation-checks is a string, not a boolean",)


@pytest.mark.parametrize("value", ["True", "", "1", 1, [], [None]])
@pytest.mark.refuses("VCH-5-01")
def test_other_values_are_no_booleans(value: object) -> None:
    octets = voucher(domain_cert_revocation_checks=value)
    with pytest.raises(MalformedError, match="not a boolean"):
        parse(octets, leniencies=(Leniency.BOOLEAN_AS_STRING,))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (voucher(color="blue"), "not defined: 'color'"),
        (voucher(**{"other:leaf": 1}), "not defined"),
        (voucher(pinned_domain_cert="MAA="), "certificate"),
        (voucher(serial_number=5), "not a JSON string"),
        (voucher(idevid_issuer="?"), "not base64"),
        (voucher()[:-1], "not JSON"),
        (voucher() + b"{}", "not JSON"),
        (b"<voucher/>", "not JSON"),
        (b'{"ietf-voucher:voucher": {}, "x:y": {}}', "one member"),
        (b'{"ietf-voucher:voucher": []}', "not a JSON object"),
    ],
)
@pytest.mark.refuses("VCH-5-01")
def test_what_breaks_the_module_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(MalformedError, match=message):
        parse(content)
