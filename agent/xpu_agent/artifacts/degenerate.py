# SPDX-License-Identifier: Apache-2.0
"""Writes the degenerate SignedData: certificates alone (RFC 5652, 5.2; RFC 8572, 7.3)."""

from collections.abc import Sequence

from asn1crypto import cms, x509


def certificates_only(certificates: Sequence[bytes]) -> bytes:
    """A DER ContentInfo with these DER certificates and no signer."""
    choices = [
        cms.CertificateChoices("certificate", x509.Certificate.load(der)) for der in certificates
    ]
    signed = cms.SignedData(
        {
            "version": "v1",
            "digest_algorithms": [],
            "encap_content_info": {"content_type": "data"},
            "certificates": choices,
            "signer_infos": [],
        }
    )
    info = cms.ContentInfo({"content_type": "signed_data", "content": signed})
    octets: bytes = info.dump()
    return octets
