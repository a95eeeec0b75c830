# SPDX-License-Identifier: Apache-2.0
"""RFC 8572, 5.4: each way signed data can fail, from the wire to what is left on the device."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.harness import CONFIGURATION, SERIAL, Device, Lab

from xpu_emulator.artifacts import (
    ContentType,
    Wrong,
    conveyed_json,
    owner_certificate,
    signed,
    voucher,
    voucher_document,
)
from xpu_emulator.pki import Identity, make_crl, make_root
from xpu_emulator.rpc import BootstrappingData, ErrorTag, RestconfError
from xpu_emulator.server import BootstrapRequest, ServerPolicy

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
NONCE = b"a nonce of nobody's"


def conveyed(lab: Lab, signer: Identity | None = None, wrong: Wrong | None = None) -> bytes:
    """Signed onboarding information that would leave traces everywhere."""
    document = lab.onboarding(pre_script=b"#!/bin/sh\nexit 0\n")
    octets = conveyed_json(document)
    return signed(octets, ContentType.CONVEYED_JSON, signer or lab.pki.owner, wrong=wrong)


def with_voucher(lab: Lab, **leaves: Any) -> BootstrappingData:
    """Right but for these leaves of the voucher."""
    return lab.signed(lab.onboarding(), **leaves)


def by_owner(lab: Lab, owner: Identity) -> BootstrappingData:
    """Right but for who the owner is."""
    return lab.signed(lab.onboarding(), owner=owner)


def with_conveyed(lab: Lab, octets: bytes) -> BootstrappingData:
    """Right but for the conveyed information."""
    return replace(lab.signed(lab.onboarding()), conveyed_information=octets)


def other_voucher(lab: Lab, wrong: Wrong) -> BootstrappingData:
    """Right but for a defect of the voucher's signature."""
    leaves = voucher_document(SERIAL, lab.pki.owner_root, NOW - DAY, NOW + DAY)
    octets = voucher(leaves, lab.pki.voucher_signer, wrong=wrong)
    return replace(lab.signed(lab.onboarding()), ownership_voucher=octets)


def stapled(lab: Lab, *, revoked: bool, checks: bool | None) -> BootstrappingData:
    """A CRL in the owner certificate artifact."""
    owner = lab.pki.owner
    assert owner.issuer is not None
    crl = make_crl(
        owner.issuer,
        [owner.serial_number] if revoked else [],
        this_update=NOW - DAY,
        next_update=NOW + DAY,
    )
    data = with_voucher(lab, revocation_checks=checks)
    return replace(data, owner_certificate=owner_certificate(owner, crls=[crl]))


def stranger() -> Identity:
    """An owner below an authority that no voucher pins."""
    return make_root("Stranger root").issue("Stranger")


def sibling(lab: Lab) -> Identity:
    """Another certificate of the owner's authority, not the one in the artifact."""
    assert lab.pki.owner.issuer is not None
    return lab.pki.owner.issuer.issue("Sibling")


def expired_owner(lab: Lab) -> Identity:
    """The owner's certificate of last week."""
    assert lab.pki.owner.issuer is not None
    return lab.pki.owner.issuer.issue("Owner", not_before=NOW - 9 * DAY, not_after=NOW - DAY)


def forger(lab: Lab) -> Identity:
    """Somebody with the voucher signer's name and another key."""
    right = lab.pki.voucher_signer
    names = [
        str(each.certificate.subject.rfc4514_string()).partition("=")[2]
        for each in (right.root, right)
    ]
    forged = make_root(names[0]).issue(names[1])
    assert forged.certificate.subject == right.certificate.subject
    return forged


Make = Callable[[Lab], BootstrappingData]
REFUSED: dict[str, tuple[str, Make]] = {
    "forged-voucher": (
        "voucher-untrusted",
        lambda lab: with_voucher(lab, voucher_signer=forger(lab)),
    ),
    "tampered-voucher": (
        "voucher-untrusted",
        lambda lab: other_voucher(lab, Wrong.TAMPERED_CONTENT),
    ),
    "voucher-without-signer": ("malformed", lambda lab: other_voucher(lab, Wrong.NO_SIGNERS)),
    "other-serial": ("voucher-serial-mismatch", lambda lab: with_voucher(lab, serial="SN-0002")),
    "expired": (
        "voucher-expired",
        lambda lab: with_voucher(lab, created_on=NOW - 9 * DAY, expires_on=NOW - DAY),
    ),
    "created-tomorrow": (
        "voucher-not-yet-valid",
        lambda lab: with_voucher(lab, created_on=NOW + DAY, expires_on=NOW + 2 * DAY),
    ),
    "wrong-assertion": ("voucher-assertion", lambda lab: with_voucher(lab, assertion="logged")),
    "wrong-idevid-issuer": (
        "voucher-issuer-mismatch",
        lambda lab: with_voucher(lab, idevid_issuer=bytes(20)),
    ),
    "foreign-nonce": ("voucher-nonce-mismatch", lambda lab: with_voucher(lab, nonce=NONCE)),
    "strangers-owner-certificate": (
        "owner-cert-untrusted",
        lambda lab: by_owner(lab, stranger()),
    ),
    "expired-owner": ("owner-cert-expired", lambda lab: by_owner(lab, expired_owner(lab))),
    "revoked-owner": (
        "owner-cert-revoked",
        lambda lab: stapled(lab, revoked=True, checks=True),
    ),
    "revoked-owner-unasked": (
        "owner-cert-revoked",
        lambda lab: stapled(lab, revoked=True, checks=None),
    ),
    "revocation-unknown": (
        "revocation-unknown",
        lambda lab: with_voucher(lab, revocation_checks=True),
    ),
    "signed-by-sibling": (
        "signature-invalid",
        lambda lab: with_conveyed(lab, conveyed(lab, sibling(lab))),
    ),
    "without-signer": (
        "malformed",
        lambda lab: with_conveyed(lab, conveyed(lab, wrong=Wrong.NO_SIGNERS)),
    ),
    "tampered": (
        "signature-invalid",
        lambda lab: with_conveyed(lab, conveyed(lab, wrong=Wrong.TAMPERED_CONTENT)),
    ),
    "other-key": (
        "signature-invalid",
        lambda lab: with_conveyed(lab, conveyed(lab, wrong=Wrong.OTHER_KEY)),
    ),
}


def files_below(folder: Path) -> dict[str, bytes]:
    """Every file by its path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def untouched(device: Device) -> None:
    """Neither configuration, image, script nor mark of success."""
    assert files_below(device.home).keys() == {"boot.json", "booted"}
    assert device.boot == {"active": "a", "pending": None, "attempts-left": 0}
    assert not device.provisioned
    assert not device.disabled


def kept(device: Device) -> Path:
    """The folder of the only bundle that was refused."""
    (folder,) = (device.state_dir / "refused").iterdir()
    return folder


def inspected(
    device: Device, folder: Path, capsys: pytest.CaptureFixture[str], *more: str
) -> dict[str, Any]:
    """What `inspect` says of a refused bundle, from its files alone."""
    files = folder / "sztp"
    arguments = ["--conveyed-information", str(files / "conveyed-information.cms")]
    for option, name in (
        ("--owner-certificate", "owner-certificate.cms"),
        ("--ownership-voucher", "ownership-voucher.vcj"),
    ):
        if (files / name).exists():
            arguments += [option, str(files / name)]
    capsys.readouterr()
    assert device.run("inspect", "--json", *arguments, *more) == 11
    return dict(json.loads(capsys.readouterr().out))


def refused_and_kept(
    device: Device, reason: str, capsys: pytest.CaptureFixture[str], *more: str
) -> set[str]:
    """Refused, nothing done, and a person can ask why; the results of later steps."""
    assert device.run() == 11
    assert device.last_reason == reason
    untouched(device)
    about = json.loads((kept(device) / "reason.json").read_text())
    assert about["reason"] == reason
    answer = inspected(device, kept(device), capsys, *more)
    assert (answer["verdict"], answer["reason"]) == ("rejected", reason)
    results = [step["result"] for step in answer["steps"]]
    failed = results.index("failed")
    assert answer["steps"][failed]["reason"] == reason
    return set(results[failed + 1 :])


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.refuses(
    "SZTP-3.1-08",
    "SZTP-5.4-01",
    "SZTP-5.4-02",
    "SZTP-5.4-03",
    "SZTP-5.4-04",
    "SZTP-5.4-05",
    "SZTP-5.4-06",
    "SZTP-5.4-07",
    "SZTP-5.4-08",
    "SZTP-5.4-09",
    "SZTP-5.4-10",
    "SZTP-5.4-11",
    "SZTP-7.3-01",
    "SZTP-9.6-03",
    "VCH-5.3-03",
    "VCH-5.3-07",
    "VCH-5.4-01",
)
def test_5_4_from_a_provisional_server(
    lab: Lab, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    reason, make = REFUSED[case]
    server = lab.server("anybody")
    server.server.set_answer(SERIAL, make(lab))
    device = lab.device(servers=[server], server_anchors=False)
    assert refused_and_kept(device, reason, capsys) <= {"skipped"}
    assert len(server.inputs()) == 1
    assert server.server.reports == ()
    assert server.server.violations == ()


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.refuses("SZTP-5.4-01", "SZTP-5.3-07")
def test_5_4_from_a_trusted_server_all_the_same(
    lab: Lab, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    reason, make = REFUSED[case]
    server = lab.server("owner")
    server.server.set_answer(SERIAL, make(lab))
    device = lab.device(servers=[server])
    refused_and_kept(device, reason, capsys, "--from-trusted-server")
    assert server.progress() == ["bootstrap-initiated", "parsing-error"]
    assert reason in (server.server.reports[-1].report.message or "")
    assert server.server.violations == ()


@pytest.mark.requirement("SZTP-5.4-01")
def test_5_4_the_same_data_without_fault_is_used(lab: Lab) -> None:
    """What the refusals above are compared with."""
    server = lab.server("anybody")
    server.server.set_answer(SERIAL, with_conveyed(lab, conveyed(lab)))
    device = lab.device(servers=[server], server_anchors=False)
    assert device.run() == 0
    assert device.running_config == CONFIGURATION
    assert not (device.state_dir / "refused").exists()
    assert server.server.reports == ()


@pytest.mark.refuses("SZTP-5.3-10", "SZTP-9.5-01", "SZTP-9.6-03")
def test_5_4_unsigned_onboarding_from_a_provisional_server(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    server = lab.server("anybody", policy=ServerPolicy(obeys_signed_data_preferred=False))
    server.server.set_answer(SERIAL, lab.unsigned(lab.onboarding()))
    device = lab.device(servers=[server], server_anchors=False)
    refused_and_kept(device, "unsigned-not-allowed", capsys)
    assert server.server.reports == ()


@pytest.mark.requirement("VCH-5.3-06")
@pytest.mark.refuses("VCH-5.3-06")
def test_5_4_a_voucher_may_switch_revocation_checks_off(lab: Lab) -> None:
    server = lab.server("anybody")
    server.server.set_answer(SERIAL, stapled(lab, revoked=True, checks=False))
    device = lab.device(servers=[server], server_anchors=False)
    assert device.run() == 0
    assert device.running_config == CONFIGURATION


@pytest.mark.requirement("VCH-5.3-07")
@pytest.mark.parametrize("checks", [True, None])
def test_5_4_a_stapled_list_without_the_owner_satisfies(lab: Lab, checks: bool | None) -> None:
    server = lab.server("anybody")
    server.server.set_answer(SERIAL, stapled(lab, revoked=False, checks=checks))
    device = lab.device(servers=[server], server_anchors=False)
    assert device.run() == 0
    assert device.running_config == CONFIGURATION


# --- nonces ----------------------------------------------------------------------------------


def answering_nonce(lab: Lab, nonces: list[bytes]) -> Callable[[BootstrapRequest], Any]:
    """A voucher for the nonce of the request, which is noted."""

    def answer(request: BootstrapRequest) -> BootstrappingData:
        assert request.input.nonce is not None
        nonces.append(request.input.nonce)
        return with_voucher(lab, nonce=request.input.nonce)

    return answer


@pytest.mark.requirement("VCH-5.3-03")
@pytest.mark.parametrize("trusted", [True, False])
def test_5_4_a_voucher_made_for_the_nonce_sent(lab: Lab, trusted: bool) -> None:
    server, nonces = lab.server("owner"), list[bytes]()
    server.server.set_answer(SERIAL, answering_nonce(lab, nonces))
    device = lab.device(servers=[server], server_anchors=trusted)
    assert device.run() == 0
    assert device.running_config == CONFIGURATION
    assert len(nonces) == 1
    assert server.server.violations == ()


@pytest.mark.refuses("VCH-5.3-03")
def test_5_4_a_nonce_of_an_earlier_attempt_is_refused(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    server, nonces = lab.server("anybody"), list[bytes]()
    answer = answering_nonce(lab, nonces)

    def noting(request: BootstrapRequest) -> RestconfError:
        answer(request)
        return RestconfError(ErrorTag.OPERATION_FAILED, "come again")

    server.server.set_answer(SERIAL, noting)
    device = lab.device(servers=[server], server_anchors=False)
    assert device.run() == 10
    server.server.set_answer(SERIAL, with_voucher(lab, nonce=nonces[0]))
    refused_and_kept(device, "voucher-nonce-mismatch", capsys)
    assert server.inputs()[1].nonce != nonces[0]
    assert server.server.reports == ()


@pytest.mark.refuses("VCH-5.3-03")
def test_5_4_a_medium_answers_no_nonce(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """Not even one that the device sent to a server a moment before: that was another source."""
    server, nonces = lab.server("anybody"), list[bytes]()
    root = lab.folder / "media" / "stick"
    root.mkdir(parents=True)
    answer = answering_nonce(lab, nonces)

    def noting(request: BootstrapRequest) -> RestconfError:
        answer(request)
        lab.medium("stick", with_voucher(lab, nonce=nonces[-1]))
        return RestconfError(ErrorTag.OPERATION_FAILED, "look at the medium")

    server.server.set_answer(SERIAL, noting)
    device = lab.device(
        servers=[server],
        server_anchors=False,
        sources=["bootstrap-servers", "removable-storage"],
        media={"devices": [str(root)]},
    )
    refused_and_kept(device, "voucher-nonce-mismatch", capsys)
    assert nonces


@pytest.mark.requirement("VCH-5.3-03")
def test_5_4_a_nonce_of_the_same_attempt_serves_along_a_redirect(lab: Lab) -> None:
    first, owner, nonces = lab.server("first"), lab.server("owner"), list[bytes]()

    def redirecting(request: BootstrapRequest) -> BootstrappingData:
        assert request.input.nonce is not None
        nonces.append(request.input.nonce)
        owner.server.set_answer(SERIAL, with_voucher(lab, nonce=request.input.nonce))
        return lab.unsigned(lab.redirect(owner))

    first.server.set_answer(SERIAL, redirecting)
    device = lab.device(servers=[first], server_anchors=False)
    assert device.run() == 0
    assert owner.inputs()[0].nonce not in nonces
    assert device.running_config == CONFIGURATION
