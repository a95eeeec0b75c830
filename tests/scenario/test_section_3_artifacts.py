# SPDX-License-Identifier: Apache-2.0
"""RFC 8572, 3: the three artifacts in each of their forms, end to end."""

import itertools
from dataclasses import replace
from typing import Any

import pytest
from tests.harness import CONFIGURATION, SERIAL, Device, Lab, Served

from xpu_emulator.artifacts import (
    ContentType,
    Document,
    Wrong,
    conveyed_json,
    conveyed_xml,
    enveloped,
    owner_certificate,
    plain,
    signed,
)
from xpu_emulator.envelope import WrapAs
from xpu_emulator.pki import Identity, KeyKind, make_root
from xpu_emulator.rpc import BootstrappingData
from xpu_emulator.server import ServerPolicy

ARTIFACTS = ("conveyed_information", "owner_certificate", "ownership_voucher")
FORMS = {
    "xml": (ContentType.CONVEYED_XML, conveyed_xml),
    "json": (ContentType.CONVEYED_JSON, conveyed_json),
    "data-json": (ContentType.DATA, conveyed_json),
    "data-xml": (ContentType.DATA, conveyed_xml),
}


def encrypted(
    data: BootstrappingData, names: tuple[str, ...], *recipients: Identity
) -> BootstrappingData:
    """The same with these artifacts encrypted."""
    sealed: dict[str, Any] = {
        name: enveloped(getattr(data, name), recipients=recipients) for name in names
    }
    return replace(data, **sealed)


def untrusted(lab: Lab) -> tuple[Served, Device]:
    """A server and a device that has no reason to trust it."""
    owner = lab.server("owner")
    return owner, lab.device(servers=[owner], server_anchors=False)


def onboarded(device: Device, *servers: Served) -> None:
    """It worked, and no request was wrong."""
    assert device.run() == 0
    assert device.running_config == CONFIGURATION
    assert all(served.server.violations == () for served in servers)


def refused(device: Device, reason: str, *servers: Served) -> None:
    """It was refused for this reason; nothing was done, no request was wrong."""
    assert device.run() == 11
    assert device.last_reason == reason
    assert not device.running_config
    assert not device.provisioned
    assert all(served.server.violations == () for served in servers)


@pytest.mark.requirement("SZTP-3.1-01", "SZTP-3.1-02", "SZTP-4.4-01")
@pytest.mark.parametrize("form", FORMS)
def test_3_1_unsigned_in_each_form(lab: Lab, form: str) -> None:
    content_type, encode = FORMS[form]
    owner = lab.server("owner")
    octets = plain(encode(lab.onboarding()), content_type)
    owner.server.set_answer(SERIAL, BootstrappingData(octets))
    onboarded(lab.device(servers=[owner]), owner)
    assert owner.progress()[-1] == "bootstrap-complete"


@pytest.mark.requirement("SZTP-3.1-04", "SZTP-4.4-01")
@pytest.mark.parametrize("form", FORMS)
def test_3_1_signed_in_each_form(lab: Lab, form: str) -> None:
    content_type, encode = FORMS[form]
    owner, device = untrusted(lab)
    octets = signed(encode(lab.onboarding()), content_type, lab.pki.owner)
    owner.server.set_answer(
        SERIAL, replace(lab.signed(lab.onboarding()), conveyed_information=octets)
    )
    onboarded(device, owner)


@pytest.mark.requirement("SZTP-3.1-03", "SZTP-5.3-06")
@pytest.mark.parametrize("form", FORMS)
def test_3_1_unsigned_and_encrypted_in_each_form(lab: Lab, form: str) -> None:
    content_type, encode = FORMS[form]
    owner = lab.server("owner")
    device = lab.device(servers=[owner])
    octets = plain(encode(lab.onboarding()), content_type)
    data = encrypted(BootstrappingData(octets), ARTIFACTS[:1], lab.pki.device(SERIAL))
    owner.server.set_answer(SERIAL, data)
    onboarded(device, owner)


@pytest.mark.refuses("SZTP-3.1-02")
@pytest.mark.parametrize("form", ["xml", "json"])
def test_3_1_the_other_encoding_than_the_content_type_says_is_refused(lab: Lab, form: str) -> None:
    owner = lab.server("owner")
    content_type = FORMS[form][0]
    encode = {"xml": conveyed_json, "json": conveyed_xml}[form]
    owner.server.set_answer(
        SERIAL, BootstrappingData(plain(encode(lab.onboarding()), content_type))
    )
    refused(lab.device(servers=[owner]), "malformed", owner)
    assert owner.progress() == ["bootstrap-initiated", "parsing-error"]


@pytest.mark.requirement("SZTP-3.4-01", "SZTP-3.1-05", "SZTP-3.2-06", "SZTP-3.3-02", "SZTP-5.3-06")
@pytest.mark.parametrize(
    "names",
    [c for n in range(4) for c in itertools.combinations(ARTIFACTS, n)],
    ids=lambda names: "+".join(n[:5] + n[-4:] for n in names) or "none",
)
def test_3_4_each_artifact_is_encrypted_on_its_own(lab: Lab, names: tuple[str, ...]) -> None:
    owner, device = untrusted(lab)
    data = encrypted(lab.signed(lab.onboarding()), names, lab.pki.device(SERIAL))
    owner.server.set_answer(SERIAL, data)
    onboarded(device, owner)
    assert owner.server.reports == ()


@pytest.mark.refuses("SZTP-3.4-01", "SZTP-5.3-06")
@pytest.mark.parametrize("name", ARTIFACTS)
def test_3_4_for_a_stranger_the_next_source_has_its_turn(lab: Lab, name: str) -> None:
    stranger = make_root("Elsewhere").issue("SN-9999", subject_serial="SN-9999")
    first, owner = lab.server("first"), lab.server("owner")
    first.server.set_answer(
        SERIAL, encrypted(lab.signed(lab.onboarding(configuration=b"no")), (name,), stranger)
    )
    owner.server.set_answer(SERIAL, lab.unsigned(lab.onboarding()))
    device = lab.device(servers=[first, owner])
    onboarded(device, first, owner)
    assert first.progress() == ["bootstrap-initiated", "parsing-error"]
    assert "decryption-failed" in (first.server.reports[-1].report.message or "")


@pytest.mark.requirement("SZTP-3.4-02", "SZTP-5.1-11")
def test_3_4_several_recipients_the_device_is_the_last(lab: Lab) -> None:
    owner, device = untrusted(lab)
    others = [make_root(f"other {n}", key=kind) for n, kind in enumerate(KeyKind) if n < 2]
    data = encrypted(lab.signed(lab.onboarding()), ARTIFACTS, *others, lab.pki.device(SERIAL))
    owner.server.set_answer(SERIAL, data)
    onboarded(device, owner)


@pytest.mark.refuses("SZTP-3.1-05", "SZTP-3.2-06", "SZTP-3.3-02")
@pytest.mark.parametrize("name", ARTIFACTS)
def test_3_4_an_envelope_in_an_envelope_is_refused(lab: Lab, name: str) -> None:
    owner, device = untrusted(lab)
    data = lab.signed(lab.onboarding())
    nested: dict[str, Any] = {
        name: enveloped(
            getattr(data, name), recipients=[lab.pki.device(SERIAL)], wrong=Wrong.NESTED_ENVELOPE
        )
    }
    owner.server.set_answer(SERIAL, replace(data, **nested))
    refused(device, "malformed", owner)


@pytest.mark.refuses("SZTP-3.1-05")
def test_3_1_a_signature_around_an_envelope_is_refused(lab: Lab) -> None:
    """Signing comes before encrypting: what is signed must be the document."""
    owner, device = untrusted(lab)
    envelope = enveloped(
        conveyed_json(lab.onboarding()),
        ContentType.CONVEYED_JSON,
        recipients=[lab.pki.device(SERIAL)],
    )
    octets = signed(envelope, ContentType.ENVELOPED_DATA, lab.pki.owner)
    owner.server.set_answer(
        SERIAL, replace(lab.signed(lab.onboarding()), conveyed_information=octets)
    )
    refused(device, "malformed", owner)


@pytest.mark.requirement("SZTP-3.5-01")
@pytest.mark.refuses("SZTP-3.5-01")
@pytest.mark.parametrize("missing", [ARTIFACTS[1:], ARTIFACTS[1:2], ARTIFACTS[2:]])
def test_3_5_signed_information_comes_with_both_others(lab: Lab, missing: tuple[str, ...]) -> None:
    owner, device = untrusted(lab)
    complete = lab.signed(lab.onboarding())
    nothing: dict[str, Any] = dict.fromkeys(missing)
    owner.server.set_answer(SERIAL, replace(complete, **nothing))
    refused(device, "malformed", owner)
    owner.server.set_answer(SERIAL, complete)
    onboarded(device, owner)


def by_owner(lab: Lab, owner: Identity, document: Document | None = None) -> BootstrappingData:
    """Signed data of this owner, which the voucher's pinned certificate vouches for."""
    return lab.signed(document or lab.onboarding(), owner=owner)


@pytest.mark.requirement("SZTP-3.2-03")
@pytest.mark.parametrize("kind", ["empty", "odd", "other-host"])
def test_3_2_the_owner_certificates_names_are_its_own_affair(lab: Lab, kind: str) -> None:
    owner, device = untrusted(lab)
    ca = lab.pki.owner.issuer
    assert ca is not None
    issued = {
        "empty": lambda: ca.issue("", empty_subject=True, dns_names=["owner.example"]),
        "odd": lambda: ca.issue("\u202eOwner\n \u2028", subject_serial="SN-9999"),
        "other-host": lambda: ca.issue("owner", dns_names=["*.elsewhere.example"]),
    }[kind]()
    owner.server.set_answer(SERIAL, by_owner(lab, issued))
    onboarded(device, owner)


@pytest.mark.refuses("SZTP-3.2-03")
def test_3_2_a_name_does_not_stand_in_for_a_signature(lab: Lab) -> None:
    """The right names below a stranger's authority count for nothing."""
    owner, device = untrusted(lab)
    right = lab.pki.owner.root
    names = [
        str(each.certificate.subject.rfc4514_string()).partition("=")[2]
        for each in (right, lab.pki.owner)
    ]
    double = make_root(names[0]).issue(names[1])
    assert double.certificate.subject == lab.pki.owner.certificate.subject
    assert double.root.certificate.subject == right.certificate.subject
    owner.server.set_answer(SERIAL, by_owner(lab, double))
    refused(device, "owner-cert-untrusted", owner)


@pytest.mark.refuses("SZTP-3.2-04")
def test_3_2_a_missing_intermediate_is_a_refusal(lab: Lab) -> None:
    owner, device = untrusted(lab)
    leaf = lab.pki.owner_root.issue("middle", ca=True).issue("deep", ca=True).issue("owner")
    data = by_owner(lab, leaf)
    alone = owner_certificate(replace(leaf, issuer=None))
    owner.server.set_answer(SERIAL, replace(data, owner_certificate=alone))
    refused(device, "owner-cert-untrusted", owner)
    owner.server.set_answer(SERIAL, data)
    onboarded(device, owner)


@pytest.mark.requirement("SZTP-4.4-02")
def test_4_4_nothing_but_the_two_operations_is_asked_for(lab: Lab) -> None:
    """A server that knows nothing else suffices."""
    owner = lab.server("owner")
    owner.server.set_answer(SERIAL, lab.unsigned(lab.onboarding()))
    onboarded(lab.device(servers=[owner]), owner)
    asked = {e.request.path.rpartition("/")[2]: e.response.status for e in owner.server.exchanges}
    operations = {
        "ietf-sztp-bootstrap-server:get-bootstrapping-data": 200,
        "ietf-sztp-bootstrap-server:report-progress": 204,
    }
    assert asked.items() >= operations.items()
    assert all(status == 404 for path, status in asked.items() if path not in operations)


@pytest.mark.requirement("SZTP-3.4-01")
@pytest.mark.parametrize("wrap_as", ["content-info", "signed-content-info"])
def test_3_4_the_whole_artifact_in_an_envelope_is_opened_too(lab: Lab, wrap_as: WrapAs) -> None:
    """As `openssl cms -encrypt` makes it."""
    owner, device = untrusted(lab)
    data = lab.signed(lab.onboarding())
    octets = enveloped(
        data.conveyed_information, recipients=[lab.pki.device(SERIAL)], wrap_as=wrap_as
    )
    owner.server.set_answer(SERIAL, replace(data, conveyed_information=octets))
    onboarded(device, owner)


@pytest.mark.refuses("SZTP-4.4-01")
def test_4_4_artifacts_in_each_others_leaves_are_refused(lab: Lab) -> None:
    owner, device = untrusted(lab)
    data = lab.signed(lab.onboarding())
    swapped = replace(
        data, owner_certificate=data.ownership_voucher, ownership_voucher=data.owner_certificate
    )
    owner.server.set_answer(SERIAL, swapped)
    refused(device, "malformed", owner)


@pytest.mark.refuses("SZTP-4.4-02")
def test_4_4_nothing_is_looked_for_at_other_paths(lab: Lab) -> None:
    """Where the operations are missing, no other resource is tried in their place."""
    owner = lab.server("owner", policy=ServerPolicy(restconf_root="/elsewhere"))
    owner.server.set_answer(SERIAL, lab.unsigned(lab.onboarding()))
    device = lab.device(servers=[owner])
    assert device.run() == 10
    assert device.last_reason == "http-error"
    paths = {e.request.path for e in owner.server.exchanges}
    assert paths <= {
        "/.well-known/host-meta",
        "/restconf/operations/ietf-sztp-bootstrap-server:get-bootstrapping-data",
    }
