# SPDX-License-Identifier: Apache-2.0
"""NIST PKITS (2011) as an outside opinion on paths and CRLs: files say by name what is right.

Judged with stapled CRLs required. What this agent does otherwise on purpose is listed with the
reason, and held to being stricter than PKITS unless it is about policies, which SZTP has none of.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import pytest

from xpu_agent.artifacts import der
from xpu_agent.artifacts.certificate import Certificate, parse_certificate
from xpu_agent.artifacts.cms import CertificateBag
from xpu_agent.artifacts.revocation import CertificateList, read_crl
from xpu_agent.device import ClockReading
from xpu_agent.errors import MalformedError, TrustError
from xpu_agent.trust.names import same_name
from xpu_agent.trust.path import PathError, find_path
from xpu_agent.trust.revocation import check_revocation
from xpu_agent.trust.signature import Budget

vectors = pytest.importorskip("cryptography_vectors", reason="cryptography-vectors not installed")
PKITS = Path(vectors.__file__).parent / "x509" / "PKITS_data"
CLOCK = ClockReading(datetime(2020, 1, 1, tzinfo=UTC), accurate=True)

# Valid by PKITS, refused here: name pattern, why.
STRICTER = (
    (r"ValidDSA", "DSA is not taken"),
    (
        r"Valid(distributionPoint|onlySomeReasons|onlyContains|IDPwithindirect|cRLIssuer|deltaCRL)",
        "a CRL of part of what there is never says good, and none is pieced together",
    ),
    (r"ValidBasicSelfIssuedCRLSigningKey", "a CRL is signed by the certificate's own issuer"),
    (r"ValidSeparateCertificateandCRLKeys", "a CRL is signed by the certificate's own issuer"),
    (r"Valid\w*SelfIssued|ValidDNnameConstraintsTest19", "the same, in a key roll-over"),
    (r"ValidNegativeSerialNumber", "a negative serial number is malformed (RFC 5280, 4.1.2.2)"),
    (r"Valid\w*requireExplicitPolicy", "a critical policyConstraints is not understood"),
    (r"Valid\w*inhibitPolicyMapping", "a critical policyConstraints is not understood"),
    (r"ValidPolicyMapping", "a critical policyConstraints is not understood"),
)
# Invalid by PKITS for its policies alone, which nobody asks for here.
POLICIES = re.compile(r"Policy|inhibitAnyPolicy|Policies")


def _load(path: Path) -> Certificate | None:
    try:
        return parse_certificate(path.read_bytes())
    except MalformedError:
        return None


@cache
def _certificates() -> dict[str, Certificate | None]:
    return {path.stem: _load(path) for path in sorted((PKITS / "certs").glob("*.crt"))}


@cache
def _issuers(subject: bytes) -> list[Certificate]:
    """CA certificates whose subject may be this name: the search tries them all otherwise."""
    named = [(n, c) for n, c in _certificates().items() if c is not None and not n.endswith("EE")]
    return [c for _, c in named if same_name(c.subject, subject)]


def _above(leaf: Certificate) -> list[Certificate]:
    """All that could stand above a certificate, whoever signed what."""
    found: dict[bytes, Certificate] = {}
    waiting = [leaf]
    while waiting:
        for issuer in _issuers(waiting.pop().issuer):
            if issuer.der not in found:
                found[issuer.der] = issuer
                waiting.append(issuer)
    return list(found.values())


@cache
def _crls() -> list[CertificateList]:
    crls: list[CertificateList] = []
    for path in sorted((PKITS / "crls").glob("*.crl")):
        try:
            crls.append(read_crl(der.parse_der(path.read_bytes(), "crl")))
        except MalformedError:
            continue
    return crls


@cache
def _crls_of(issuer: bytes) -> list[CertificateList]:
    return [crl for crl in _crls() if same_name(crl.issuer, issuer)]


def _bag(certificates: Sequence[Certificate]) -> CertificateBag:
    names = {certificate.issuer for certificate in certificates}
    return CertificateBag((), tuple(crl for name in names for crl in _crls_of(name)), ())


def _accepted(name: str, *, revocation: bool = True) -> bool:
    certificates = _certificates()
    leaf, anchor = certificates[name], certificates["TrustAnchorRootCertificate"]
    assert anchor is not None
    if leaf is None:
        return False
    others = _above(leaf)
    budget = Budget()
    try:
        path = find_path(leaf, anchors=[anchor], intermediates=others, clock=CLOCK, budget=budget)
        if revocation:
            bag = _bag(path.certificates)
            check_revocation(path, [bag], required=True, clock=CLOCK, budget=budget)
    except (PathError, TrustError):
        return False
    return True


CASES = sorted(path.stem for path in (PKITS / "certs").glob("*EE.crt"))


@pytest.mark.requirement("CMS-06", "SZTP-5.4-08")
@pytest.mark.refuses("CMS-06", "SZTP-5.4-09")
@pytest.mark.parametrize("name", [n for n in CASES if n.startswith(("Valid", "Invalid"))])
def test_pkits(name: str) -> None:
    accepted = _accepted(name)
    if name.startswith("Valid"):
        stricter = [why for pattern, why in STRICTER if re.match(pattern, name)]
        assert accepted or stricter, "valid, and refused without an argument"
    elif not POLICIES.search(name):
        assert not accepted


ROLL_OVER = re.compile(r"Valid\w*SelfIssued(?!\w*Policy)|ValidDNnameConstraintsTest19")


@pytest.mark.requirement("CMS-06")
@pytest.mark.parametrize("name", [n for n in CASES if ROLL_OVER.match(n)])
def test_pkits_paths_through_a_key_roll_over_are_found(name: str) -> None:
    assert _accepted(name, revocation=False)
