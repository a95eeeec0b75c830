# SPDX-License-Identifier: Apache-2.0
"""Certificates packed for `trust-anchor-certs` read back as they were."""

import pytest
from tests.unit.artifacts import vectors

from xpu_agent.artifacts.cms import CertificateBag, parse_content_info
from xpu_agent.artifacts.degenerate import certificates_only


@pytest.mark.requirement("SZTP-7.3-09")
def test_certificates_read_back() -> None:
    chain = [vectors.certificate(name) for name in ("idevid-ca", "manufacturer-root")]
    found = parse_content_info(certificates_only(chain))
    assert isinstance(found, CertificateBag)
    assert {one.der for one in found.certificates} == set(chain)
    assert (found.crls, found.ocsp_responses) == ((), ())
