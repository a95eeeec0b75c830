# SPDX-License-Identifier: Apache-2.0
import ipaddress
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.x509.oid import ExtensionOID
from tests.unit.emulator.second_opinion import Authority, OpenSsl

from xpu_emulator.pki import NO_EXPIRY, KeyKind, identity_from_pem, make_root, new_key


@pytest.mark.parametrize("kind", list(KeyKind))
def test_chain_of_each_key_kind_verifies(
    kind: KeyKind, openssl: OpenSsl, authority: Callable[[KeyKind], Authority]
) -> None:
    done = openssl.verify_chain(authority(kind).leaf)

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("hash_name", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize(("kind", "pss"), [(KeyKind.RSA2048, True), (KeyKind.P384, False)])
def test_chain_of_each_hash_verifies(
    kind: KeyKind, hash_name: str, openssl: OpenSsl, *, pss: bool
) -> None:
    key = new_key(kind)
    root = make_root("Root", key=key, hash_name=hash_name, pss=pss)
    leaf = root.issue("Leaf", hash_name=hash_name, pss=pss)

    assert openssl.verify_chain(leaf).returncode == 0
    algorithm = asn1_x509.Certificate.load(leaf.der)["signature_algorithm"]
    assert algorithm.hash_algo == hash_name
    assert algorithm.signature_algo == ("rsassa_pss" if pss else "ecdsa")


def test_idevid_has_subject_serial_number_and_no_expiry(p256: Authority) -> None:
    device = p256.ca.issue("Device", subject_serial="SN 1", not_after=NO_EXPIRY)

    parsed = asn1_x509.Certificate.load(device.der)
    assert parsed.subject.native["serial_number"] == "SN 1"
    assert b"99991231235959Z" in device.der
    assert b"\x13\x04SN 1" in device.der  # a PrintableString


def test_serial_number_with_other_characters_is_utf8(p256: Authority) -> None:
    device = p256.ca.issue("Device", subject_serial="SN_é")

    assert b"\x0c\x05SN_\xc3\xa9" in device.der


def test_times_change_their_form_in_2050(p256: Authority) -> None:
    before = datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)
    leaf = p256.ca.issue("Leaf", not_before=before, not_after=before + timedelta(seconds=1))

    assert b"\x17\x0d491231235959Z" in leaf.der
    assert b"\x18\x0f20500101000000Z" in leaf.der


def test_names_of_a_server(p256: Authority) -> None:
    server = p256.ca.issue(
        "Server",
        dns_names=["a.example"],
        ip_addresses=["192.0.2.1", "2001:db8::1"],
        extended_key_usage=["server_auth"],
    )

    names = server.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["a.example"]
    assert names.get_values_for_type(x509.IPAddress) == [
        ipaddress.ip_address("192.0.2.1"),
        ipaddress.ip_address("2001:db8::1"),
    ]


def test_key_identifiers_link_up_by_default(p256: Authority) -> None:
    parsed = asn1_x509.Certificate.load(p256.leaf.der)

    assert parsed.authority_key_identifier == p256.ca.ski
    assert asn1_x509.Certificate.load(p256.root.der).key_identifier == p256.root.ski


def test_what_may_be_left_out_is_left_out(p256: Authority) -> None:
    leaf = p256.ca.issue("Leaf", without_ski=True, without_aki=True, key_usage=None)

    assert len(leaf.certificate.extensions) == 0
    assert len(leaf.ski) == 20  # still calculated, to be named by it


def test_empty_subject(p256: Authority, openssl: OpenSsl) -> None:
    leaf = p256.ca.issue("unused", empty_subject=True, dns_names=["a.example"])

    assert len(leaf.certificate.subject) == 0
    assert openssl.verify_chain(leaf).returncode == 0


def test_extensions_are_added_as_they_are_even_twice(p256: Authority) -> None:
    extra = x509.Extension(
        x509.ObjectIdentifier("2.999.7"),
        True,
        x509.UnrecognizedExtension(x509.ObjectIdentifier("2.999.7"), b"\x05\x00"),
    )

    der = p256.ca.certify(new_key(KeyKind.P256).public_key(), "Leaf", extensions=[extra, extra])

    found = asn1_x509.Certificate.load(der)["tbs_certificate"]["extensions"]
    assert [each["extn_id"].dotted for each in found].count("2.999.7") == 2
    assert [each["critical"].native for each in found][-2:] == [True, True]


def test_name_constraints_bind(p256: Authority, openssl: OpenSsl) -> None:
    constraints = x509.NameConstraints([x509.DNSName("good.example")], None)
    ca = p256.root.issue("Constrained", ca=True, name_constraints=constraints)

    assert openssl.verify_chain(ca.issue("a", dns_names=["x.good.example"])).returncode == 0
    assert openssl.verify_chain(ca.issue("b", dns_names=["x.bad.example"])).returncode != 0


def test_path_length_binds(p256: Authority, openssl: OpenSsl) -> None:
    deeper = p256.ca.issue("Too deep", ca=True)

    assert openssl.verify_chain(deeper.issue("Leaf")).returncode != 0


def test_serial_numbers_are_positive_and_given_ones_are_taken(p256: Authority) -> None:
    assert p256.leaf.serial_number > 0
    assert p256.ca.issue("Leaf", serial=77).serial_number == 77


def test_existing_key_is_kept(p256: Authority) -> None:
    again = p256.root.issue("Again", key=p256.leaf.key)

    assert again.key is p256.leaf.key
    assert again.chain == (again, p256.root)


def test_chain_pem_leaves_the_root_out_unless_it_is_alone(p256: Authority) -> None:
    assert p256.leaf.chain_pem == p256.leaf.pem + p256.ca.pem
    assert p256.root.chain_pem == p256.root.pem


def test_pem_round_trip_refuses_a_strange_key(p256: Authority) -> None:
    same = identity_from_pem(p256.leaf.chain_pem, p256.leaf.key_pem, p256.ca)
    assert same.der == p256.leaf.der

    with pytest.raises(ValueError, match="belong together"):
        identity_from_pem(p256.leaf.pem, p256.ca.key_pem, p256.ca)


def test_an_expiry_in_the_past_moves_the_beginning(p256: Authority) -> None:
    end = datetime(2001, 1, 1, tzinfo=UTC)
    leaf = p256.ca.issue("Expired", not_after=end)

    validity = asn1_x509.Certificate.load(leaf.der)["tbs_certificate"]["validity"]
    assert validity["not_before"].native < validity["not_after"].native == end


def test_basic_constraints_only_in_authorities(p256: Authority) -> None:
    oids = [each.oid for each in p256.leaf.certificate.extensions]

    assert ExtensionOID.BASIC_CONSTRAINTS not in oids
