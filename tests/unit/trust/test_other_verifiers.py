# SPDX-License-Identifier: Apache-2.0
"""The same artifacts and chains shown to OpenSSL and to `cryptography`: do they agree?

Where another verifier is known to look less closely, the case says so by name; there this agent
has to be the stricter one.
"""

import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from tests.unit.trust import bundles
from tests.unit.trust.bundles import (
    CLOCK,
    DAY,
    NO_CLOCK,
    NOW,
    authorities,
    certificates,
    issue,
    judged,
    make_voucher,
    root,
)

from xpu_agent.artifacts.certificate import parse_certificate
from xpu_agent.artifacts.cms import CertificateBag, parse_content_info
from xpu_agent.errors import MalformedError, TrustError
from xpu_agent.trust.path import PathError, find_path
from xpu_agent.trust.revocation import check_revocation
from xpu_agent.trust.signature import Budget
from xpu_emulator.artifacts import (
    CONVEYED_DEFECTS,
    VOUCHER_DEFECTS,
    ContentType,
    Wrong,
    certificates_only,
    conveyed_json,
    signed,
)
from xpu_emulator.pki import Identity, KeyKind, crl_pem, make_crl

AT = str(int(NOW.timestamp()))


def openssl(*arguments: str | Path) -> bool:
    done = subprocess.run(
        ["openssl", *map(str, arguments)], capture_output=True, timeout=20, check=False
    )
    return done.returncode == 0


def pem(path: Path, identities: Iterable[Identity]) -> Path:
    path.write_bytes(b"".join(each.pem for each in identities))
    return path


# --- signatures -------------------------------------------------------------------------------

# What `openssl cms -verify` takes and this agent doesn't, and why that is no fault of ours.
LOOSER = {
    Wrong.TRAILING_BYTES: "it reads one element and stops",
    Wrong.BER_INDEFINITE_LENGTH: "it reads BER",
    Wrong.BER_LONG_LENGTH: "it reads BER",
    Wrong.CONSTRUCTED_CONTENT: "it reads BER",
    Wrong.WRONG_CONTENT_TYPE_ATTRIBUTE: "it compares the digest alone",
    Wrong.MISSING_CONTENT_TYPE_ATTRIBUTE: "it compares the digest alone",
    Wrong.TWO_CONTENT_TYPE_ATTRIBUTES: "it compares the digest alone",
    Wrong.TWO_MESSAGE_DIGESTS: "it takes the first",
    Wrong.UNKNOWN_SIGNATURE_ALGORITHM: "it goes by the key and the digest algorithm",
    Wrong.DIGEST_MISMATCH: "it may go by the signature algorithm",
    Wrong.SHA1_DIGEST: "weak digests pass at its default level",
    Wrong.MD5_DIGEST: "weak digests pass at its default level",
    Wrong.UNKNOWN_VERSION: "it does not look at versions",
    Wrong.ATTRIBUTES_AS_CONTENT: "it can't know what the content is meant to be",
}
# What it refuses and this agent takes.
STRICTER = {
    Wrong.UNSORTED_SIGNED_ATTRIBUTES: "it sorts them anew before it checks the signature",
    Wrong.CERTIFICATES_OUT_OF_ORDER: "either way; a SET OF has no order",
    Wrong.UNLISTED_DIGEST_ALGORITHM: "it digests only with what is listed in front",
}
DEFECTS = [None, *(w for w in Wrong if w not in {*CONVEYED_DEFECTS, *VOUCHER_DEFECTS})]


def _verifies(folder: Path, artifact: bytes, top: Identity, others: Iterable[Identity]) -> bool:
    (folder / "artifact").write_bytes(artifact)
    return openssl(
        *("cms", "-verify", "-purpose", "any", "-binary", "-inform", "DER"),
        *("-in", folder / "artifact", "-out", folder / "content", "-attime", AT),
        *("-CAfile", pem(folder / "anchor", [top]), "-certfile", pem(folder / "more", others)),
    )


def _voucher_accepted(voucher: bytes, anchor: Identity) -> bool:
    try:
        what = bundles.bundle(ownership_voucher=voucher)
    except MalformedError:
        return False
    return judged(what, device=bundles.facts(voucher_anchors=(anchor.der,))).verdict is not None


def _conveyed_accepted(conveyed: bytes, who: bundles.Authorities) -> bool:
    try:
        what = bundles.bundle(
            conveyed,
            bundles.owner_bag(who.owner, who.owner_ca),
            make_voucher(pinned=who.owner_root),
        )
    except MalformedError:
        return False
    return judged(what).verdict is not None


def _makes(wrong: Wrong | None) -> bool:
    return wrong is None or wrong.scope in {"encoding", "signature"}


@pytest.mark.requirement("SZTP-5.4-02", "CMS-01", "CMS-02")
@pytest.mark.refuses("SZTP-5.4-02", "CMS-01")
@pytest.mark.parametrize("wrong", [w for w in DEFECTS if _makes(w)])
@pytest.mark.parametrize("kind", [KeyKind.P256, KeyKind.RSA2048])
def test_openssl_on_vouchers(wrong: Wrong | None, kind: KeyKind, tmp_path: Path) -> None:
    who = authorities(kind)
    voucher = make_voucher(signer=who.voucher_signer, wrong=wrong)
    ours = _voucher_accepted(voucher, who.manufacturer)
    theirs = _verifies(tmp_path, voucher, who.manufacturer, [who.voucher_signer])
    if wrong in LOOSER:
        assert not ours, LOOSER[wrong]
    elif wrong not in STRICTER:
        assert ours == theirs == (wrong is None)


@pytest.mark.requirement("SZTP-5.4-10", "CMS-04")
@pytest.mark.parametrize("attributes", [True, False])
@pytest.mark.parametrize("sid", ["issuer-serial", "ski"])
@pytest.mark.parametrize(
    ("kind", "hash_name", "pss"),
    [
        (KeyKind.RSA2048, "sha256", False),
        (KeyKind.RSA2048, "sha384", True),
        (KeyKind.P256, "sha256", False),
        (KeyKind.P384, "sha512", False),
        (KeyKind.P521, "sha384", False),
    ],  # OpenSSL 3.0 has no Ed25519 in CMS
)
def test_openssl_on_conveyed_information(
    kind: KeyKind, hash_name: str, pss: bool, sid: Any, attributes: bool, tmp_path: Path
) -> None:
    who = authorities(kind)
    conveyed = signed(
        conveyed_json(bundles.ONBOARDING),
        ContentType.CONVEYED_JSON if attributes else ContentType.DATA,
        who.owner,
        sid=sid,
        hash_name=hash_name,
        pss=pss,
        signed_attributes=attributes,
        certificates=[who.owner_ca],  # there OpenSSL looks for intermediates, nowhere else
    )
    assert _conveyed_accepted(conveyed, who)
    assert _verifies(tmp_path, conveyed, who.owner_root, [who.owner])


@pytest.mark.requirement("SZTP-5.4-10", "CMS-04")
@pytest.mark.parametrize("options", [(), ("-keyid",), ("-noattr",), ("-nocerts",)])
@pytest.mark.parametrize("digest", ["sha256", "sha512"])
@pytest.mark.parametrize(
    ("kind", "pss"),
    [(KeyKind.RSA2048, False), (KeyKind.RSA2048, True), (KeyKind.P384, False)],
)
def test_what_openssl_signs_is_taken(
    kind: KeyKind, digest: str, options: tuple[str, ...], pss: bool, tmp_path: Path
) -> None:
    who = authorities(kind)
    (tmp_path / "document").write_bytes(conveyed_json(bundles.ONBOARDING))
    (tmp_path / "key").write_bytes(who.owner.key_pem)
    type_options = () if "-noattr" in options else ("-econtent_type", ContentType.CONVEYED_JSON)
    assert openssl(
        *("cms", "-sign", "-binary", "-nodetach", "-outform", "DER", "-md", digest),
        *("-in", tmp_path / "document", "-out", tmp_path / "conveyed"),
        *("-signer", pem(tmp_path / "signer", [who.owner]), "-inkey", tmp_path / "key"),
        *(("-keyopt", "rsa_padding_mode:pss") if pss else ()),
        *options,
        *type_options,
    )
    assert _conveyed_accepted((tmp_path / "conveyed").read_bytes(), who)


# --- chains -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Chain:
    """One chain, and what is right; `cryptography` judges only what web profiles know."""

    leaf: Identity
    anchors: Sequence[Identity]
    between: Sequence[Identity] = ()
    valid: bool = True
    clock: bool = True


def _chains() -> dict[str, Chain]:
    who = authorities()
    top, middle = who.owner_root, who.owner_ca
    permitted = x509.NameConstraints([x509.DNSName("example.com")], None)
    excluded = x509.NameConstraints(None, [x509.DNSName("bad.example.com")])
    short = root("Short", path_length=0)
    below = issue(short, "Below", ca=True)
    rolled = issue(short, "Short", ca=True)
    named = issue(top, "Named", ca=True, name_constraints=permitted)
    barred = issue(named, "Barred", ca=True, name_constraints=excluded)
    fake = issue(top, "No CA", key_usage={"key_cert_sign"})
    mute = issue(top, "Mute", ca=True, key_usage={"crl_sign"})
    late = issue(top, "Late", ca=True, not_before=NOW + DAY)
    old = issue(top, "Old", ca=True, not_after=NOW - DAY)
    twin = root("Owner")
    other = issue(twin, "Owner CA", ca=True)
    unknown = x509.ObjectIdentifier("2.999.1")
    odd = x509.Extension(unknown, True, x509.UnrecognizedExtension(unknown, b"\x05\x00"))
    strange = issue(top, "Strange", ca=True, extensions=[odd])

    def web(issuer: Identity, name: str = "a.example.com", **more: Any) -> Identity:
        return issue(issuer, "Leaf", dns_names=[name], extended_key_usage=["server_auth"], **more)

    return {
        "root": Chain(web(top), [top]),
        "intermediate": Chain(web(middle), [top], [middle]),
        "intermediate as anchor": Chain(web(middle), [middle]),
        "leaf as anchor": Chain(leaf := web(middle), [leaf]),
        "missing intermediate": Chain(web(middle), [top], [], valid=False),
        "another root": Chain(web(middle), [root("Another")], [middle], valid=False),
        "a root of the same name": Chain(web(middle), [twin], [middle], valid=False),
        "an intermediate of the same name": Chain(web(middle), [top], [other], valid=False),
        "both of the same name": Chain(web(middle), [top], [other, middle]),
        "expired": Chain(web(middle, not_after=NOW - DAY), [top], [middle], valid=False),
        "not yet valid": Chain(web(middle, not_before=NOW + DAY), [top], [middle], valid=False),
        # OpenSSL ends a second early; RFC 5280, 4.1.2.5 includes notAfter.
        "last second": Chain(web(middle, not_after=NOW), [top], [middle]),
        "second after": Chain(
            web(middle, not_after=NOW - timedelta(seconds=1)), [top], [middle], valid=False
        ),
        "expired intermediate": Chain(web(old), [top], [old], valid=False),
        "intermediate to come": Chain(web(late), [top], [late], valid=False),
        "expired, no clock": Chain(web(old), [top], [old], clock=False),
        "path length": Chain(web(below), [short], [below], valid=False),
        "path length kept": Chain(web(short), [short]),
        "key roll-over": Chain(web(rolled), [short], [rolled]),
        "no CA": Chain(web(fake), [top], [fake], valid=False),
        "may not sign certificates": Chain(web(mute), [top], [mute], valid=False),
        "permitted name": Chain(web(named), [top], [named]),
        "name not permitted": Chain(web(named, "example.org"), [top], [named], valid=False),
        "excluded name": Chain(
            web(barred, "x.bad.example.com"), [top], [named, barred], valid=False
        ),
        "two constraints kept": Chain(web(barred), [top], [named, barred]),
        "unknown critical extension": Chain(
            web(middle, extensions=[odd]), [top], [middle], valid=False
        ),
        "the same in an intermediate": Chain(web(strange), [top], [strange], valid=False),
        "PSS": Chain(web(rsa := root("RSA", key=KeyKind.RSA2048, pss=True), pss=True), [rsa]),
        "Ed25519": Chain(web(edwards := root("Ed25519", key=KeyKind.ED25519)), [edwards]),
        "P-521": Chain(web(issue(top, "C", ca=True, key=KeyKind.P521)), [top], [], valid=False),
    }


CHAINS = _chains()


def _ours(chain: Chain) -> bool:
    try:
        find_path(
            parse_certificate(chain.leaf.der),
            anchors=certificates(chain.anchors),
            intermediates=certificates(chain.between),
            clock=CLOCK if chain.clock else NO_CLOCK,
            budget=Budget(),
            judge_anchor_dates=True,
        )
    except PathError:
        return False
    return True


@pytest.mark.requirement("CMS-06", "SZTP-5.4-08")
@pytest.mark.refuses("CMS-06", "SZTP-5.4-08")
@pytest.mark.parametrize("name", [name for name in CHAINS if name != "last second"])
def test_openssl_on_chains(name: str, tmp_path: Path) -> None:
    chain = CHAINS[name]
    theirs = openssl(
        *("verify", "-partial_chain", "-CAfile", pem(tmp_path / "anchors", chain.anchors)),
        *(("-untrusted", pem(tmp_path / "between", chain.between)) if chain.between else ()),
        *(("-attime", AT) if chain.clock else ("-no_check_time",)),
        pem(tmp_path / "leaf", [chain.leaf]),
    )
    assert (_ours(chain), theirs) == (chain.valid, chain.valid)


# Valid or not, its own rules come first there.
PROFILE = {
    "leaf as anchor": "it looks for an issuer of every leaf",
    "expired, no clock": "dates can't be left out",
    "PSS": "PSS is not in its profile",
    "Ed25519": "Ed25519 is not in its profile",
    "key roll-over": "it counts self-issued certificates",
}


@pytest.mark.requirement("CMS-06")
@pytest.mark.refuses("CMS-06")
@pytest.mark.parametrize("name", [name for name in CHAINS if name not in PROFILE])
def test_cryptography_on_chains(name: str) -> None:
    verification = pytest.importorskip(
        "cryptography.x509.verification", reason="cryptography before 42 has no verifier"
    )
    chain = CHAINS[name]
    builder = verification.PolicyBuilder().time(NOW)
    store = verification.Store([each.certificate for each in chain.anchors])
    host = chain.leaf.certificate.extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    ).value.get_values_for_type(x509.DNSName)[0]
    verifier = builder.store(store).build_server_verifier(x509.DNSName(host))
    try:
        verifier.verify(chain.leaf.certificate, [each.certificate for each in chain.between])
        theirs = True
    except verification.VerificationError:
        theirs = False
    assert (_ours(chain), theirs) == (chain.valid, chain.valid)


# --- revocation -------------------------------------------------------------------------------


@pytest.mark.requirement("SZTP-5.4-09")
@pytest.mark.refuses("SZTP-5.4-09")
@pytest.mark.parametrize(
    ("leaf", "ca", "days", "valid"),
    [
        ("good", "good", 1, True),
        ("revoked", "good", 1, False),
        ("good", "revoked", 1, False),
        ("none", "good", 1, False),
        ("good", "none", 1, False),
        ("good", "good", -1, False),
        ("forged", "good", 1, False),
        ("good", "forged", 1, False),
    ],
)
def test_openssl_on_crls(leaf: str, ca: str, days: int, valid: bool, tmp_path: Path) -> None:
    who = authorities()

    def crl(certificate: Identity, state: str) -> list[bytes]:
        issuer = certificate.issuer
        assert issuer is not None
        listed = [certificate.serial_number] if state == "revoked" else [1]
        signer = root("Stranger") if state == "forged" else None
        if state == "none":
            return []
        start, end = NOW - 2 * DAY, NOW + days * DAY
        return [make_crl(issuer, listed, signer=signer, this_update=start, next_update=end)]

    crls = [*crl(who.owner, leaf), *crl(who.owner_ca, ca)]
    (tmp_path / "crls").write_bytes(b"".join(map(crl_pem, crls)))
    theirs = openssl(
        *("verify", "-crl_check_all", "-attime", AT, "-CRLfile", tmp_path / "crls"),
        *("-CAfile", pem(tmp_path / "anchor", [who.owner_root])),
        *("-untrusted", pem(tmp_path / "between", [who.owner_ca])),
        pem(tmp_path / "leaf", [who.owner]),
    )
    bag = parse_content_info(certificates_only([], crls))
    assert isinstance(bag, CertificateBag)
    budget = Budget()
    path = find_path(
        parse_certificate(who.owner.der),
        anchors=certificates([who.owner_root]),
        intermediates=certificates([who.owner_ca]),
        clock=CLOCK,
        budget=budget,
    )
    try:
        check_revocation(path, [bag], required=True, clock=CLOCK, budget=budget)
        ours = True
    except TrustError:
        ours = False
    assert (ours, theirs) == (valid, valid)
