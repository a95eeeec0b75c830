# SPDX-License-Identifier: Apache-2.0
import base64
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from tests.unit.emulator.second_opinion import Authority

from xpu_emulator.artifacts import (
    CONVEYED_DEFECTS,
    ONBOARDING,
    REDIRECT,
    VOUCHER,
    VOUCHER_DEFECTS,
    ContentType,
    Wrong,
    bootstrap_server,
    conveyed_json,
    conveyed_xml,
    date_and_time,
    onboarding_document,
    onboarding_xml,
    redirect_document,
    redirect_xml,
    signed,
    voucher,
    voucher_document,
    wrong_document,
)
from xpu_emulator.voucher import read_voucher

NAMESPACE = "{urn:ietf:params:xml:ns:yang:ietf-sztp-conveyed-info}"
CREATED = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=timezone(timedelta(hours=2)))
BOOT_IMAGE_DEFECTS = {
    Wrong.HASH_WITHOUT_COLONS,
    Wrong.HASH_WITHOUT_URI,
    Wrong.OTHER_IMAGE_HASH,
    Wrong.UNKNOWN_HASH_ALGORITHM,
}


def full_onboarding() -> dict[str, Any]:
    return onboarding_document(
        os_name="XOS",
        os_version="2.1",
        download_uris=["https://a.example/i", "https://b.example/i"],
        image_sha256=bytes(range(32)),
        pre_script=b"#!/bin/sh\n",
        configuration=b"<c/>",
        handling="replace",
        post_script=b"#!/bin/sh\n",
    )


def redirect() -> dict[str, Any]:
    return redirect_document(
        [bootstrap_server("b.example", 8443, b"\x30\x00"), bootstrap_server("192.0.2.1")]
    )


def test_onboarding_information_in_json() -> None:
    body = json.loads(conveyed_json(full_onboarding()))[ONBOARDING]

    assert body["boot-image"]["download-uri"] == ["https://a.example/i", "https://b.example/i"]
    assert body["boot-image"]["image-verification"] == [
        {
            "hash-algorithm": "ietf-sztp-conveyed-info:sha-256",
            "hash-value": ":".join(f"{octet:02x}" for octet in range(32)),
        }
    ]
    assert body["configuration-handling"] == "replace"
    assert base64.b64decode(body["configuration"]) == b"<c/>"


def test_absent_parts_are_absent() -> None:
    assert onboarding_document() == {ONBOARDING: {}}
    assert onboarding_document(configuration=b"c")[ONBOARDING]["configuration-handling"] == "merge"
    unhandled = onboarding_document(configuration=b"c", handling="")
    assert "configuration-handling" not in unhandled[ONBOARDING]
    given = onboarding_document(image_verification=[{"hash-algorithm": "x", "hash-value": "y"}])
    assert given[ONBOARDING]["boot-image"]["image-verification"][0]["hash-algorithm"] == "x"


def test_onboarding_information_in_xml() -> None:
    text = conveyed_xml(full_onboarding())
    root = ET.fromstring(text)  # noqa: S314  # our own text

    assert root.tag == f"{NAMESPACE}onboarding-information"
    uris = [each.text for each in root.iter(f"{NAMESPACE}download-uri")]
    assert uris == ["https://a.example/i", "https://b.example/i"]
    # The identity's prefix must be one the document declares (RFC 7950, 9.10.3).
    assert root.findtext(f".//{NAMESPACE}hash-algorithm") == "ci:sha-256"
    assert b'xmlns:ci="urn:ietf:params:xml:ns:yang:ietf-sztp-conveyed-info"' in text


def test_redirect_information_in_both_encodings() -> None:
    servers = json.loads(conveyed_json(redirect()))[REDIRECT]["bootstrap-server"]
    root = ET.fromstring(conveyed_xml(redirect()))  # noqa: S314  # our own text

    assert servers == [
        {"address": "b.example", "port": 8443, "trust-anchor": "MAA="},
        {"address": "192.0.2.1"},
    ]
    assert [each.text for each in root.iter(f"{NAMESPACE}port")] == ["8443"]
    assert len(root) == 2


def test_xml_escapes() -> None:
    root = ET.fromstring(onboarding_xml(os_name="<&>"))  # noqa: S314  # our own text
    assert root.findtext(f".//{NAMESPACE}os-name") == "<&>"
    assert redirect_xml([{"address": "a"}]).endswith(b"</redirect-information>")


def test_voucher_document_has_utc_dates_and_only_given_leaves(p256: Authority) -> None:
    short = voucher_document("SN", p256.root, CREATED)[VOUCHER]
    full = voucher_document(
        "SN",
        p256.root.der,
        CREATED,
        CREATED,
        nonce=b"12345678",
        idevid_issuer=b"i",
        revocation_checks=False,
        last_renewal="as it is",
    )[VOUCHER]

    assert set(short) == {"created-on", "assertion", "serial-number", "pinned-domain-cert"}
    assert short["created-on"] == "2026-01-02T01:04:05Z"
    assert base64.b64decode(short["pinned-domain-cert"]) == p256.root.der
    assert short == voucher_document("SN", p256.root.certificate, CREATED)[VOUCHER]
    assert full["domain-cert-revocation-checks"] is False
    assert full["last-renewal-date"] == "as it is"
    assert (full["nonce"], full["idevid-issuer"]) == ("MTIzNDU2Nzg=", "aQ==")


def test_dates_before_year_thousand_keep_four_digits() -> None:
    assert date_and_time(datetime(999, 1, 1, tzinfo=UTC)) == "0999-01-01T00:00:00Z"


@pytest.mark.parametrize("wrong", VOUCHER_DEFECTS)
def test_voucher_documents_are_wrong_by_name(wrong: Wrong, p256: Authority) -> None:
    document = voucher_document("SN", p256.root, CREATED, CREATED)

    text = wrong_document(document, wrong)

    assert text != conveyed_json(document)
    assert document == voucher_document("SN", p256.root, CREATED, CREATED)
    der = voucher(document, p256.leaf, wrong=wrong)
    if wrong is not Wrong.OTHER_PINNED_CERT:  # a new one each time
        assert text in der


@pytest.mark.parametrize("wrong", CONVEYED_DEFECTS)
def test_conveyed_documents_are_wrong_by_name(wrong: Wrong) -> None:
    changed = []
    for document in (full_onboarding(), redirect()):
        try:
            changed.append(wrong_document(document, wrong))
        except ValueError:
            continue
    assert changed


def test_selected_defects() -> None:
    text = wrong_document(full_onboarding(), Wrong.MEMBER_TWICE)
    pairs = json.loads(text, object_pairs_hook=list)
    assert [name for name, _ in pairs] == [ONBOARDING, ONBOARDING]
    with pytest.raises(UnicodeDecodeError):
        wrong_document(full_onboarding(), Wrong.NOT_UTF8).decode()
    with pytest.raises(json.JSONDecodeError):
        json.loads(wrong_document(full_onboarding(), Wrong.CUT_SHORT))
    servers = json.loads(wrong_document(redirect(), Wrong.SERVER_TWICE))[REDIRECT]
    assert [each["address"] for each in servers["bootstrap-server"]].count("b.example") == 2


@pytest.mark.parametrize("wrong", sorted(BOOT_IMAGE_DEFECTS))
def test_boot_image_defects_make_their_image(wrong: Wrong) -> None:
    body = json.loads(wrong_document(onboarding_document(), wrong))[ONBOARDING]

    assert "image-verification" in body["boot-image"]


def test_defects_without_a_place_are_refused(p256: Authority) -> None:
    with pytest.raises(ValueError, match="redirect-information"):
        wrong_document(full_onboarding(), Wrong.PORT_ZERO)
    with pytest.raises(ValueError, match="no place"):
        wrong_document(onboarding_document(os_name="x"), Wrong.BROKEN_BASE64)
    with pytest.raises(ValueError, match="signature"):
        wrong_document(full_onboarding(), Wrong.OTHER_KEY)
    with pytest.raises(ValueError, match="voucher"):
        signed(b"", ContentType.DATA, p256.leaf, wrong=Wrong.EXPIRED)


def test_voucher_of_octets_is_signed_as_it_is(p256: Authority) -> None:
    document = conveyed_json(voucher_document("SN", p256.root, CREATED))

    contents = read_voucher(voucher(document, p256.leaf))

    assert contents.leaves["serial-number"] == "SN"
    assert contents.content_type == ContentType.VOUCHER_JSON
