# SPDX-License-Identifier: Apache-2.0
"""The authorities around a device, and the command that keeps them in a folder.

The pieces live in `keys`, `identity`, `revocation` and `pki_folder`; this is their front.
"""

from xpu_emulator.identity import (
    NO_EXPIRY,
    CertificateExtension,
    Identity,
    distinguished_name,
    identity_from_pem,
    make_root,
)
from xpu_emulator.keys import KeyKind, PrivateKey, PublicKey, new_key
from xpu_emulator.revocation import crl_pem, make_crl, make_ocsp

__all__ = [
    "NO_EXPIRY",
    "CertificateExtension",
    "Identity",
    "KeyKind",
    "PrivateKey",
    "PublicKey",
    "crl_pem",
    "distinguished_name",
    "identity_from_pem",
    "make_crl",
    "make_ocsp",
    "make_root",
    "new_key",
]
