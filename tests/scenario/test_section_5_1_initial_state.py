# SPDX-License-Identifier: Apache-2.0
"""RFC 8572, 5.1: what the device has from the factory, and what follows where it hasn't."""

from dataclasses import replace

import pytest
from tests.harness import CONFIGURATION, SERIAL, Device, Lab
from tests.scenario.test_section_3_artifacts import ARTIFACTS, encrypted

from xpu_emulator.https import Demand
from xpu_emulator.pki import Identity, KeyKind, make_root


def give(device: Device, *, chain: bytes | None = None, key: bytes | None = None) -> None:
    """Another chain or key from the factory."""
    for name, octets in (("chain.pem", chain), ("key.pem", key)):
        if octets is not None:
            (device.folder / "idevid" / name).write_bytes(octets)


def deep_identity(lab: Lab, kind: KeyKind = KeyKind.P256) -> Identity:
    """An IDevID below four intermediates, of which a server knows the root alone."""
    issuer = lab.pki.manufacturer_root
    for number in range(4):
        issuer = issuer.issue(f"Manufacturer CA {number}", ca=True)
    return issuer.issue("device", key=kind, subject_serial=SERIAL)


@pytest.mark.requirement("SZTP-5.1-04", "SZTP-5.1-10", "SZTP-5.3-03", "SZTP-5.3-04")
@pytest.mark.parametrize("kind", [KeyKind.P256, KeyKind.RSA2048])
@pytest.mark.parametrize("trusted", [True, False])
def test_5_1_mutual_tls_with_every_intermediate(lab: Lab, kind: KeyKind, trusted: bool) -> None:
    owner = lab.server("owner", demand=Demand.REQUIRED)
    owner.server.set_answer(SERIAL, lab.signed(lab.onboarding()))
    device = lab.device(servers=[owner], server_anchors=trusted)
    identity = deep_identity(lab, kind)
    give(device, chain=identity.chain_pem, key=identity.key_pem)
    assert device.run() == 0
    assert device.running_config == CONFIGURATION
    sent = [e.request.client_chain for e in owner.server.exchanges]
    intermediates = tuple(each.der for each in identity.chain[:-1])
    assert len(intermediates) == 5
    assert all(chain[:5] == intermediates for chain in sent)
    assert owner.server.violations == ()


@pytest.mark.refuses("SZTP-5.1-04", "SZTP-5.3-04")
@pytest.mark.parametrize("missing", [1, 2, 4])
def test_5_1_with_an_intermediate_missing_no_server_takes_it(lab: Lab, missing: int) -> None:
    owner = lab.server("owner", demand=Demand.REQUIRED)
    owner.server.set_answer(SERIAL, lab.signed(lab.onboarding()))
    device = lab.device(servers=[owner])
    identity = deep_identity(lab)
    kept = [each.pem for n, each in enumerate(identity.chain[:-1]) if n != missing]
    give(device, chain=b"".join(kept), key=identity.key_pem)
    assert device.run() == 14
    assert owner.server.exchanges == ()
    assert not device.running_config


@pytest.mark.refuses("SZTP-5.1-10")
@pytest.mark.parametrize("key", ["missing", "another", "none"])
def test_5_1_without_the_certificates_key_nothing_is_asked(lab: Lab, key: str) -> None:
    owner = lab.server("owner", demand=Demand.OPTIONAL)
    owner.server.set_answer(SERIAL, lab.unsigned(lab.onboarding()))
    device = lab.device(servers=[owner])
    path = device.folder / "idevid" / "key.pem"
    match key:
        case "missing":
            path.unlink()
        case "another":
            give(device, key=make_root("another").key_pem)
        case _:
            give(device, key=b"")
    assert device.run() == 14
    assert device.status["outcome"]["reason"] == "idevid-missing"
    assert owner.server.exchanges == ()
    assert not device.running_config


def with_own_key(lab: Lab, device: Device, identity: Identity) -> None:
    """A key for encrypted artifacts beside that for TLS."""
    path = device.folder / "idevid" / "decryption.pem"
    path.touch(mode=0o600)
    path.write_bytes(identity.key_pem + identity.pem)
    device.configure(identity={"decryption-key": "idevid/decryption.pem"})


@pytest.mark.requirement("SZTP-5.1-11", "SZTP-9.2-01")
@pytest.mark.parametrize("own_key", [True, False])
def test_5_1_the_key_of_encrypted_artifacts(lab: Lab, own_key: bool) -> None:
    """The IDevID's, as section 9.2 recommends, or one of its own."""
    owner = lab.server("owner")
    device = lab.device(servers=[owner], server_anchors=False)
    recipient = lab.pki.device(SERIAL)
    if own_key:
        recipient = lab.pki.manufacturer_root.issue("for secrets", key=KeyKind.RSA2048)
        with_own_key(lab, device, recipient)
    owner.server.set_answer(SERIAL, encrypted(lab.signed(lab.onboarding()), ARTIFACTS, recipient))
    assert device.run() == 0
    assert device.running_config == CONFIGURATION
    assert owner.server.exchanges[0].request.client_chain[0] == lab.pki.device(SERIAL).der


@pytest.mark.refuses("SZTP-5.1-11")
@pytest.mark.parametrize("kind", [KeyKind.P256, KeyKind.RSA2048])
def test_5_1_without_the_matching_key_encrypted_artifacts_are_refused(
    lab: Lab, kind: KeyKind
) -> None:
    """Another key under the right name opens nothing."""
    owner = lab.server("owner")
    device = lab.device(servers=[owner], server_anchors=False)
    right = lab.pki.manufacturer_root.issue("for secrets", key=kind)
    wrong = lab.pki.manufacturer_root.issue("for secrets", key=kind, serial=right.serial_number)
    with_own_key(lab, device, wrong)
    data = lab.signed(lab.onboarding())
    owner.server.set_answer(SERIAL, encrypted(data, ARTIFACTS[:1], right))
    assert device.run() == 11
    assert device.last_reason == "decryption-failed"
    assert not device.running_config
    assert owner.server.violations == ()


@pytest.mark.refuses("SZTP-5.1-07", "SZTP-5.1-09")
@pytest.mark.parametrize("swapped", ["server-anchors", "voucher-anchors"])
def test_5_1_the_two_lists_of_anchors_do_not_stand_in_for_each_other(
    lab: Lab, swapped: str
) -> None:
    owner = lab.server("owner")
    owner.server.policy = replace(owner.server.policy, obeys_signed_data_preferred=False)
    device = lab.device(servers=[owner], server_anchors=False)
    if swapped == "server-anchors":
        # The servers' authority stands among those of vouchers: the server isn't trusted.
        reason = "unsigned-not-allowed"
        owner.server.set_answer(SERIAL, lab.unsigned(lab.onboarding()))
        device.configure(trust={"voucher-anchors": ["vouchers.pem", "servers.pem"]})
    else:
        # And the manufacturer's among those of servers: the voucher isn't.
        reason = "voucher-untrusted"
        owner.server.set_answer(SERIAL, lab.signed(lab.onboarding()))
        device.configure(
            trust={
                "voucher-anchors": ["servers.pem"],
                "server-anchors": ["servers.pem", "vouchers.pem"],
            }
        )
    assert device.run() == 11
    assert device.last_reason == reason
    assert not device.running_config


@pytest.mark.requirement("SZTP-5.3-05")
@pytest.mark.refuses("SZTP-5.3-05")
@pytest.mark.parametrize("serial", [SERIAL, "sn-0001", "SN-0001 ", "SN-00010"])
def test_5_1_the_user_name_is_the_serial_number_to_the_octet(lab: Lab, serial: str) -> None:
    owner = lab.server("owner")
    owner.server.policy = replace(owner.server.policy, basic_passwords={serial: "secret"})
    owner.server.set_answer(None, lab.unsigned(lab.onboarding()))
    device = lab.device(
        servers=[owner], identity={"username": serial, "password-file": "idevid/password"}
    )
    password = device.folder / "idevid" / "password"
    password.touch(mode=0o600)
    password.write_text("secret\n")
    assert device.run() == (0 if serial == SERIAL else 2)
    assert bool(owner.server.exchanges) == (serial == SERIAL)
    assert owner.server.violations == ()
