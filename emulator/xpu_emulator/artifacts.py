# SPDX-License-Identifier: Apache-2.0
"""The artifacts of RFC 8572 and RFC 8366, right ones and wrong ones by name.

The pieces live in `documents`, `cms`, `envelope` and `wrong`; this is their front.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from xpu_emulator.cms import (
    ContentType,
    Signer,
    SignerIdentifier,
    certificates_only,
    content_info,
    plain,
    signed,
    signed_by,
)
from xpu_emulator.documents import (
    ONBOARDING,
    REDIRECT,
    VOUCHER,
    Document,
    bootstrap_server,
    conveyed_json,
    conveyed_xml,
    date_and_time,
    encode_binary,
    hex_string,
    onboarding_document,
    onboarding_xml,
    redirect_document,
    redirect_xml,
    voucher_document,
)
from xpu_emulator.envelope import CIPHERS, enveloped
from xpu_emulator.identity import Identity
from xpu_emulator.wrong import (
    CONVEYED_DEFECTS,
    ENCODING_DEFECTS,
    ENVELOPE_DEFECTS,
    SIGNATURE_DEFECTS,
    VOUCHER_DEFECTS,
    Wrong,
)
from xpu_emulator.wrong_documents import wrong_document

__all__ = [
    "CIPHERS",
    "CONVEYED_DEFECTS",
    "ENCODING_DEFECTS",
    "ENVELOPE_DEFECTS",
    "ONBOARDING",
    "REDIRECT",
    "SIGNATURE_DEFECTS",
    "VOUCHER",
    "VOUCHER_DEFECTS",
    "ContentType",
    "Document",
    "Signer",
    "SignerIdentifier",
    "Wrong",
    "bootstrap_server",
    "certificates_only",
    "content_info",
    "conveyed_json",
    "conveyed_xml",
    "date_and_time",
    "encode_binary",
    "enveloped",
    "hex_string",
    "onboarding_document",
    "onboarding_xml",
    "owner_certificate",
    "plain",
    "redirect_document",
    "redirect_xml",
    "signed",
    "signed_by",
    "voucher",
    "voucher_document",
    "wrong_document",
]


def voucher(
    document: Mapping[str, Any] | bytes,
    signer: Identity,
    *,
    content_type: str = ContentType.VOUCHER_JSON,
    certificates: Iterable[Identity] | None = None,
    crls: Iterable[bytes] = (),
    ocsps: Iterable[bytes] = (),
    sid: SignerIdentifier = "issuer-serial",
    hash_name: str = "sha256",
    pss: bool = False,
    signed_attributes: bool = True,
    wrong: Wrong | None = None,
) -> bytes:
    """An ownership voucher (RFC 8366, 5.4): the document in a SignedData.

    `wrong` may be a defect of the voucher's document too; that one is signed as if it were right.

    The signer's chain without its root rides along unless `certificates` says otherwise.
    """
    if wrong in VOUCHER_DEFECTS:
        document, wrong = wrong_document(document, wrong), None
    content = document if isinstance(document, bytes) else conveyed_json(document)
    return signed(
        content,
        content_type,
        signer,
        certificates=_without_root(signer) if certificates is None else certificates,
        crls=crls,
        ocsps=ocsps,
        sid=sid,
        hash_name=hash_name,
        pss=pss,
        signed_attributes=signed_attributes,
        wrong=wrong,
    )


def owner_certificate(
    owner: Identity, *, crls: Iterable[bytes] = (), ocsps: Iterable[bytes] = ()
) -> bytes:
    """The owner certificate artifact (RFC 8572, 3.2): the owner's chain without its root."""
    return certificates_only(_without_root(owner), crls, ocsps)


def _without_root(identity: Identity) -> tuple[Identity, ...]:
    return tuple(each for each in identity.chain if each.issuer or each is identity)
