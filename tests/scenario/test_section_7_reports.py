# SPDX-License-Identifier: Apache-2.0
"""RFC 8572, 7.3: which progress reports arrive, and what is in them."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from asn1crypto import cms
from tests.harness import SERIAL, Device, Lab, Served

from xpu_emulator.pki import make_root
from xpu_emulator.rpc import ProgressType, ReportProgress

MAX_MESSAGE = 1024  # octets


def owner_with(lab: Lab, level: str | None = "verbose", **parts: Any) -> Served:
    """A trusted server with these parts."""
    owner = lab.server("owner")
    owner.server.set_answer(SERIAL, lab.unsigned(lab.onboarding(**parts), level=level))
    return owner


def ssh_key(folder: Path, file: str, algorithm: str, inner: str | None = None) -> bytes:
    """Write a public host key and return its blob; `inner` is the name inside where it differs."""
    name = (inner or algorithm).encode()
    blob = len(name).to_bytes(4, "big") + name + b"\0\0\0\x20" + bytes(range(32))
    folder.mkdir(parents=True, exist_ok=True)
    line = f"{algorithm} {base64.b64encode(blob).decode()} root@xpu\n"
    (folder / file).write_text(line)
    return blob


def last_report(owner: Served) -> ReportProgress:
    """The report the server got last."""
    return owner.server.reports[-1].report


@pytest.mark.requirement("SZTP-7.3-02", "SZTP-7.3-04")
@pytest.mark.parametrize("level", [None, "minimal"])
def test_7_3_minimal_is_the_first_and_a_terminal_report(lab: Lab, level: str | None) -> None:
    owner = owner_with(lab, level, pre_script=b"#!/bin/sh\nexit 0\n")
    device = lab.device(servers=[owner])
    assert device.run() == 0
    assert owner.progress() == ["bootstrap-initiated", "bootstrap-complete"]
    assert owner.server.violations == ()


@pytest.mark.requirement("SZTP-7.3-03")
@pytest.mark.refuses("SZTP-7.3-02", "SZTP-7.3-03")
def test_7_3_verbose_is_each_stage_once(lab: Lab) -> None:
    owner = owner_with(lab, pre_script=b"#!/bin/sh\nexit 0\n")
    device = lab.device(servers=[owner])
    assert device.run() == 0
    assert owner.progress() == [
        "bootstrap-initiated",
        "parsing-initiated",
        "parsing-complete",
        "pre-script-initiated",
        "pre-script-complete",
        "config-initiated",
        "config-complete",
        "post-script-initiated",
        "post-script-complete",
        "bootstrap-complete",
    ]


@pytest.mark.requirement("SZTP-7.3-01", "SZTP-9.6-03")
@pytest.mark.refuses("SZTP-7.3-01", "SZTP-9.6-03")
@pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
def test_7_3_about_redirects_nobody_is_told(lab: Lab, signed: bool) -> None:
    """A trusted server that redirects gets none, an untrusted one with signed data neither."""
    first, owner = lab.server("first"), lab.server("owner")
    redirect = lab.redirect(owner, anchor=False)
    first.server.set_answer(SERIAL, lab.signed(redirect) if signed else lab.unsigned(redirect))
    owner.server.set_answer(SERIAL, lab.signed(lab.onboarding(), level="verbose"))
    device = lab.device(servers=[first])
    assert device.run() == 0
    assert device.provisioned
    assert first.server.reports == ()
    assert owner.server.reports == ()


@pytest.mark.requirement("SZTP-7.3-05", "SZTP-7.3-08")
@pytest.mark.refuses("SZTP-7.3-05")
def test_7_3_ssh_host_keys_go_with_the_last_report_alone(lab: Lab) -> None:
    owner = owner_with(lab)
    device = lab.device(servers=[owner])
    ed25519 = ssh_key(device.home / "ssh", "a.pub", "ssh-ed25519")
    ecdsa = ssh_key(device.home / "ssh", "b.pub", "ecdsa-sha2-nistp256")
    assert device.run() == 0
    keys = {k.algorithm: k.key_data for k in last_report(owner).ssh_host_keys}
    assert keys == {"ssh-ed25519": ed25519, "ecdsa-sha2-nistp256": ecdsa}
    assert last_report(owner).progress_type is ProgressType.BOOTSTRAP_COMPLETE
    others = [e.request.body for e in owner.server.exchanges[:-1]]
    assert not any(b"ssh-host-key" in body for body in others)
    assert owner.server.violations == ()


@pytest.mark.refuses("SZTP-7.3-08")
def test_7_3_a_file_that_is_no_host_key_is_left_out(lab: Lab) -> None:
    """The server refuses such a report; one bad file must not undo a whole bootstrap."""
    owner = owner_with(lab)
    device = lab.device(servers=[owner])
    good = ssh_key(device.home / "ssh", "a.pub", "ssh-ed25519")
    ssh_key(device.home / "ssh", "b.pub", "ssh-rsa", inner="ssh-ed25519")
    (device.home / "ssh" / "c.pub").write_text("ssh-ed25519 not-base64!\n")
    assert device.run() == 0
    assert [k.key_data for k in last_report(owner).ssh_host_keys] == [good]
    assert owner.server.violations == ()


@pytest.mark.requirement("SZTP-7.3-05")
def test_7_3_ssh_host_keys_can_be_kept_back(lab: Lab) -> None:
    owner = owner_with(lab)
    device = lab.device(servers=[owner], report={"ssh-host-keys": "none"})
    ssh_key(device.home / "ssh", "a.pub", "ssh-ed25519")
    assert device.run() == 0
    assert last_report(owner).ssh_host_keys == ()


@pytest.mark.requirement("SZTP-7.3-05", "SZTP-7.3-09")
def test_7_3_trust_anchors_go_with_the_last_report_chain_by_chain(lab: Lab) -> None:
    owner = owner_with(lab)
    root, other = make_root("Device root"), make_root("Other root")
    middle = root.issue("Device CA", ca=True)
    device = lab.device(servers=[owner], report={"trust-anchor-certs": ["chain.pem", "other.pem"]})
    device.add_file("chain.pem", root.pem + middle.pem)
    device.add_file("other.pem", other.pem)
    assert device.run() == 0
    bags = last_report(owner).trust_anchor_certs
    assert [certificates(bag) for bag in bags] == [{root.der, middle.der}, {other.der}]
    body = json.loads(owner.server.exchanges[-1].request.body)
    sent = body["ietf-sztp-bootstrap-server:input"]["trust-anchor-certs"]["trust-anchor-cert"]
    assert isinstance(sent, list)
    assert owner.server.violations == ()


def certificates(bag: bytes) -> set[bytes]:
    """The certificates of a degenerate SignedData, which nobody signed."""
    signed_data = cms.ContentInfo.load(bag, strict=True)["content"]
    assert len(signed_data["signer_infos"]) == 0
    return {bytes(c.chosen.dump()) for c in signed_data["certificates"]}


@pytest.mark.refuses("SZTP-7.3-09")
def test_7_3_a_chain_without_its_root_is_not_reported(lab: Lab) -> None:
    owner = owner_with(lab)
    middle = make_root("Device root").issue("Device CA", ca=True)
    device = lab.device(servers=[owner], report={"trust-anchor-certs": ["chain.pem"]})
    device.add_file("chain.pem", middle.pem)
    assert device.run() == 2
    assert owner.server.exchanges == ()


@pytest.mark.requirement("SZTP-5.6-12")
@pytest.mark.parametrize(
    "output",
    ["x" * 100_000, "ü€" * 40_000, "\x1b[31m\x07" * 4_000],
    ids=["long", "wide", "control"],
)
def test_7_3_messages_are_bounded_and_printable(lab: Lab, output: str) -> None:
    (lab.folder / "output").write_text(output, "utf-8")
    failing = f"#!/bin/sh\ncat {lab.folder / 'output'}\necho the end\nexit 1\n".encode()
    owner = owner_with(lab, pre_script=failing)
    device = lab.device(servers=[owner])
    assert device.run() == 12
    message = last_report(owner).message or ""
    assert len(message.encode()) <= MAX_MESSAGE
    assert message.startswith("pre-script-failed")
    assert "the end" in message
    assert all(c.isprintable() or c == "\n" for c in message)
    assert owner.server.violations == ()


@pytest.mark.requirement("SZTP-7.3-06")
@pytest.mark.refuses("SZTP-7.3-06")
def test_7_3_each_request_has_a_fresh_nonce(lab: Lab) -> None:
    owner = lab.server("owner")  # 403
    device = lab.device(servers=[owner])
    for _ in range(3):
        device.run()
    nonces = [i.nonce for i in owner.inputs()]
    assert len(set(nonces)) == 3
    assert all(16 <= len(n or b"") <= 32 for n in nonces)
    assert owner.server.violations == ()


def facts_of(owner: Served) -> tuple[str | None, ...]:
    """What the server was told of the device."""
    first = owner.inputs()[0]
    return (first.hw_model, first.os_name, first.os_version)


@pytest.mark.requirement("SZTP-7.3-10", "SZTP-9.6-02")
def test_7_3_an_untrusted_server_learns_nothing_of_the_device(lab: Lab) -> None:
    trusted, untrusted = lab.server("trusted"), lab.server("untrusted")
    assert lab.device(servers=[trusted]).run() == 14
    device: Device = lab.device(servers=[untrusted], serial="SN-0002", server_anchors=False)
    assert device.run() == 14
    assert facts_of(trusted) == ("example-xpu", "ExampleXPU", "1.0")
    assert facts_of(untrusted) == (None, None, None)
    assert untrusted.inputs()[0].signed_data_preferred
