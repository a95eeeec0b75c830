# SPDX-License-Identifier: Apache-2.0
"""Which artifacts go together, and what an envelope may hold (RFC 8572, 3.4 and 3.5; AMB-27)."""

from itertools import product

import pytest
from tests.unit.artifacts import vectors
from tests.unit.artifacts.der_writer import (
    AUTH_ENVELOPED,
    DATA,
    ENVELOPED,
    JSON,
    SIGNED,
    VOUCHER,
    XML,
    attributes,
    content_info,
    ctx,
    degenerate,
    enveloped,
    enveloped_data,
    octets,
    set_of,
    signed,
    signed_data,
    signer,
)

from xpu_agent.artifacts.bundle import (
    ArtifactName,
    Artifacts,
    OpenedArtifacts,
    SignedConveyedInformation,
    UnsignedConveyedInformation,
    UnverifiedBundle,
    assemble_bundle,
    open_artifacts,
)
from xpu_agent.artifacts.cms import CertificateBag, SignedData
from xpu_agent.device import Leniency
from xpu_agent.errors import MalformedError

CI, OC, OV = ArtifactName
PLAIN = {
    CI: vectors.artifact("conveyed-information-signed-json"),
    OC: vectors.artifact("owner-certificate"),
    OV: vectors.artifact("ownership-voucher"),
}
UNSIGNED = vectors.artifact("conveyed-information-unsigned-json")
DOCUMENT = b'{"ietf-sztp-conveyed-info:x": 1}'


def assemble(
    artifacts: dict[ArtifactName, bytes], plaintexts: dict[ArtifactName, bytes] | None = None
) -> UnverifiedBundle:
    opened = open_artifacts(Artifacts(artifacts[CI], artifacts.get(OC), artifacts.get(OV)))
    return assemble_bundle(opened, plaintexts or {})


def bare(content_info_: bytes) -> bytes:
    """The SignedData of a ContentInfo with lengths of two octets."""
    return content_info_[4 + 11 + 4 :]


@pytest.mark.requirement("SZTP-3.1-04", "SZTP-3.2-01", "SZTP-3.3-01", "SZTP-3.5-01")
def test_signed_examples() -> None:
    found = assemble(PLAIN)
    assert isinstance(found.conveyed_information, SignedConveyedInformation)
    assert found.owner_certificate is not None
    assert len(found.owner_certificate.certificates) == 2
    assert found.ownership_voucher is not None
    assert found.ownership_voucher.serial_number == "XPU-0001-EXAMPLE"


@pytest.mark.parametrize(
    ("name", "content_type"), [("json", JSON), ("xml", XML), ("id-data", DATA)]
)
@pytest.mark.requirement("SZTP-3.1-01")
def test_unsigned_examples(name: str, content_type: str) -> None:
    found = assemble({CI: vectors.artifact(f"conveyed-information-unsigned-{name}")})
    assert isinstance(found.conveyed_information, UnsignedConveyedInformation)
    assert found.conveyed_information.content_type == content_type
    assert (found.owner_certificate, found.ownership_voucher) == (None, None)


@pytest.mark.parametrize("beside", [PLAIN[OV], b"anything", enveloped()])
@pytest.mark.parametrize("name", [OC, OV])
def test_beside_unsigned_information_the_others_are_ignored(
    name: ArtifactName, beside: bytes
) -> None:
    found = assemble({CI: UNSIGNED, name: beside})
    assert (found.owner_certificate, found.ownership_voucher) == (None, None)


def test_beside_encrypted_unsigned_information_too() -> None:
    wanted = UnverifiedBundle(UnsignedConveyedInformation(JSON, DOCUMENT), None, None)
    beside = {OC: b"anything", OV: enveloped()}
    assert assemble({CI: enveloped(content_type=JSON), **beside}, {CI: DOCUMENT}) == wanted
    # Here the envelope does not tell, so the others are opened, and then ignored.
    found = assemble({**PLAIN, CI: enveloped(content_type=DATA)}, {CI: DOCUMENT})
    assert found == UnverifiedBundle(UnsignedConveyedInformation(DATA, DOCUMENT), None, None)


@pytest.mark.parametrize("missing", [{OC}, {OV}, {OC, OV}])
@pytest.mark.refuses("SZTP-3.5-01")
def test_signed_information_needs_its_companions(missing: set[ArtifactName]) -> None:
    with pytest.raises(MalformedError, match="is signed, but there is no"):
        assemble({name: octets_ for name, octets_ in PLAIN.items() if name not in missing})


@pytest.mark.parametrize("names", list(product([False, True], repeat=3)))
@pytest.mark.parametrize("content_type", [SIGNED, DATA])
@pytest.mark.requirement("SZTP-3.4-01", "SZTP-3.1-05", "SZTP-3.2-06", "SZTP-3.3-02")
def test_each_may_be_encrypted(names: tuple[bool, ...], content_type: str) -> None:
    encrypted = {name for name, is_it in zip(ArtifactName, names, strict=True) if is_it}
    artifacts = {
        name: enveloped(content_type=content_type) if name in encrypted else octets_
        for name, octets_ in PLAIN.items()
    }
    opened = open_artifacts(Artifacts(artifacts[CI], artifacts[OC], artifacts[OV]))
    assert set(opened.enveloped) == encrypted
    assert assemble(artifacts, {name: PLAIN[name] for name in encrypted}) == assemble(PLAIN)


@pytest.mark.requirement("SZTP-3.4-01", "SZTP-3.1-05")
def test_an_envelope_may_hold_a_bare_signed_data() -> None:
    artifacts = {**PLAIN, CI: enveloped(content_type=SIGNED)}
    assert assemble(artifacts, {CI: bare(PLAIN[CI])}) == assemble(PLAIN)


@pytest.mark.parametrize(
    ("content_type", "plaintext"),
    [(JSON, DOCUMENT), (XML, b"<x/>"), (DATA, DOCUMENT), (DATA, b" <x/>")],
)
@pytest.mark.requirement("SZTP-3.1-03")
def test_encrypted_unsigned_information(content_type: str, plaintext: bytes) -> None:
    found = assemble({CI: enveloped(content_type=content_type)}, {CI: plaintext})
    assert found.conveyed_information == UnsignedConveyedInformation(content_type, plaintext)


@pytest.mark.parametrize(
    ("name", "content_type", "plaintext", "message"),
    [
        (CI, SIGNED, enveloped(), "second envelope"),
        (CI, DATA, enveloped(), "second envelope"),
        (CI, DATA, UNSIGNED, "no SignedData inside"),
        (CI, SIGNED, UNSIGNED, "no SignedData inside"),
        (CI, SIGNED, DOCUMENT, "decrypted: SignedData is"),
        (CI, SIGNED, b"", "decrypted: SignedData is cut short"),
        (CI, DATA, b"\x30", "decrypted: CMS ContentInfo is cut short"),
        (CI, DATA, b"\x31", "does not fit"),
        (CI, DATA, b"", "does not fit"),
        (CI, VOUCHER, DOCUMENT, "does not fit"),
        (CI, ENVELOPED, enveloped_data(), "does not fit"),
        (CI, AUTH_ENVELOPED, enveloped_data(), "does not fit"),
        (CI, SIGNED, degenerate(), "without signer"),
        (CI, SIGNED, signed_data(enveloped_data(), ENVELOPED), "around EnvelopedData"),
        (OC, JSON, DOCUMENT, "does not fit"),
        (OC, DATA, DOCUMENT, "does not fit"),
        (OC, SIGNED, PLAIN[OV], "not a SignedData of certificates alone"),
        (OV, DATA, DOCUMENT, "does not fit"),
        (OV, VOUCHER, DOCUMENT, "does not fit"),
        (OV, SIGNED, degenerate(), "not signed"),
    ],
)
@pytest.mark.refuses("SZTP-3.1-03", "SZTP-3.1-05", "SZTP-3.2-06", "SZTP-3.3-02", "SZTP-3.4-01")
def test_what_does_not_belong_in_an_envelope(
    name: ArtifactName, content_type: str, plaintext: bytes, message: str
) -> None:
    with pytest.raises(MalformedError, match=message):
        assemble({**PLAIN, name: enveloped(content_type=content_type)}, {name: plaintext})


@pytest.mark.parametrize(
    ("name", "octets_", "message"),
    [
        (CI, degenerate(), "conveyed information is a SignedData without signer"),
        (CI, signed(DOCUMENT, VOUCHER), "content type of a voucher"),
        (CI, signed(DOCUMENT, JSON, signers=set_of()), "conveyed-information: SignedData has"),
        (OC, PLAIN[OV], "owner certificate is not a SignedData of certificates alone"),
        (OC, content_info(JSON, octets(DOCUMENT)), "owner certificate is not"),
        (OC, vectors.certificate("owner-signer"), "owner-certificate: CMS ContentInfo has no"),
        (OV, PLAIN[OC], "ownership voucher is not signed"),
        (OV, content_info(DATA, octets(DOCUMENT)), "ownership voucher is not signed"),
        (OV, signed(DOCUMENT, JSON), "of another kind"),
        (OV, PLAIN[OV] + b"\x00", "ownership-voucher: .* after its end"),
        (OV, signed(enveloped_data(), ENVELOPED), "around EnvelopedData"),
    ],
)
@pytest.mark.refuses("SZTP-3.1-08", "SZTP-3.2-01", "SZTP-3.3-01", "VCH-5.4-01", "CMS-05")
def test_artifacts_of_the_wrong_kind(name: ArtifactName, octets_: bytes, message: str) -> None:
    with pytest.raises(MalformedError, match=message):
        assemble({**PLAIN, name: octets_})


@pytest.mark.requirement("VCH-5.4-03")
def test_a_voucher_with_unknown_revocation_objects() -> None:
    content = vectors.example("voucher-expiring.json")
    unknown = ctx(1, ctx(1, b"\x06\x02\x2a\x03", b"\x05\x00"))
    octets_ = signed(
        content, VOUCHER, crls=unknown, signers=set_of(signer(attributes=attributes(VOUCHER)))
    )
    found = assemble({**PLAIN, OV: octets_}).ownership_voucher
    assert found is not None
    assert isinstance(found.signed_data, SignedData)
    assert found.signed_data.bag == CertificateBag(found.signed_data.bag.certificates, (), ())


def test_leniencies_reach_the_voucher() -> None:
    content = vectors.example("invalid/voucher--boolean-as-string.json")
    artifacts = Artifacts(PLAIN[CI], PLAIN[OC], signed(content, VOUCHER))
    opened = open_artifacts(artifacts)
    with pytest.raises(MalformedError, match="not a boolean"):
        assemble_bundle(opened, {})
    found = assemble_bundle(opened, {}, {Leniency.BOOLEAN_AS_STRING})
    assert found.ownership_voucher is not None
    assert found.ownership_voucher.warnings


def test_plaintexts_are_due_for_envelopes_only() -> None:
    opened = open_artifacts(Artifacts(enveloped(content_type=JSON)))
    with pytest.raises(RuntimeError):
        assemble_bundle(opened, {})
    with pytest.raises(RuntimeError):
        assemble_bundle(opened, {CI: DOCUMENT, OC: b""})
    with pytest.raises(RuntimeError):
        assemble_bundle(OpenedArtifacts(opened.artifacts, {}), {})
