# SPDX-License-Identifier: Apache-2.0
"""Documents with one defect by name, encoded in JSON: what a signature can still be put on."""

import copy
import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from xpu_emulator.documents import (
    CONVEYED_MODULE,
    ONBOARDING,
    REDIRECT,
    VOUCHER,
    Document,
    conveyed_json,
    encode_binary,
    hex_string,
)
from xpu_emulator.identity import make_root
from xpu_emulator.wrong import Wrong

_BINARIES = (
    "configuration",
    "pre-configuration-script",
    "post-configuration-script",
    "pinned-domain-cert",
    "trust-anchor",
)


def wrong_document(document: Mapping[str, Any] | bytes, wrong: Wrong) -> bytes:
    """A document in JSON with this one defect; the document given is left as it is.

    Raises:
        ValueError: the defect is none of documents, or this document has no place for it.
    """
    right: Document = json.loads(document) if isinstance(document, bytes) else dict(document)
    bent = copy.deepcopy(right)
    if wrong in _MEMBER_DEFECTS:
        _MEMBER_DEFECTS[wrong](bent)
        changed = conveyed_json(bent)
    elif wrong in _TEXT_DEFECTS:
        changed = _TEXT_DEFECTS[wrong](conveyed_json(bent))
    else:
        raise ValueError(f"the defect {wrong} is one of {wrong.scope}, not of a document")
    if changed == conveyed_json(right):
        raise ValueError(f"this document has no place for the defect {wrong}")
    return changed


def _body(document: Document, name: str) -> Document:
    if name not in document:
        raise ValueError(f"this defect is one of {name.partition(':')[2]}")
    body: Document = document[name]
    return body


def _image(document: Document) -> Document:
    image: Document = _body(document, ONBOARDING).setdefault("boot-image", {})
    image.setdefault("download-uri", ["https://images.example/image"])
    image.setdefault(
        "image-verification",
        [{"hash-algorithm": f"{CONVEYED_MODULE}:sha-256", "hash-value": hex_string(bytes(32))}],
    )
    return image


def _set_in_hash(name: str, change: Callable[[str], str]) -> Callable[[Document], None]:
    def apply(document: Document) -> None:
        for entry in _image(document)["image-verification"]:
            entry[name] = change(entry[name])

    return apply


def _set_in_onboarding(name: str, value: Any) -> Callable[[Document], None]:
    def apply(document: Document) -> None:
        body = _body(document, ONBOARDING)
        if value is None:
            body.pop(name, None)
        else:
            body[name] = value

    return apply


def _set_in_voucher(name: str, value: Any) -> Callable[[Document], None]:
    def apply(document: Document) -> None:
        body = _body(document, VOUCHER)
        if value is None:
            body.pop(name, None)
        else:
            body[name] = value() if callable(value) else value

    return apply


def _set_in_servers(name: str, value: Any) -> Callable[[Document], None]:
    def apply(document: Document) -> None:
        for entry in _body(document, REDIRECT)["bootstrap-server"]:
            entry[name] = value

    return apply


def _both_kinds(document: Document) -> None:
    document.setdefault(REDIRECT, {"bootstrap-server": [{"address": "192.0.2.1"}]})
    document.setdefault(ONBOARDING, {"configuration-handling": "merge", "configuration": ""})


def _unqualified(document: Document) -> None:
    for name in list(document):
        document[name.partition(":")[2]] = document.pop(name)


def _without_configuration(document: Document) -> None:
    body = _body(document, ONBOARDING)
    body.pop("configuration", None)
    body.setdefault("configuration-handling", "merge")


def _with_unhandled_configuration(document: Document) -> None:
    body = _body(document, ONBOARDING)
    body.setdefault("configuration", encode_binary(b"configuration"))
    body.pop("configuration-handling", None)


def _server_twice(document: Document) -> None:
    servers = _body(document, REDIRECT)["bootstrap-server"]
    servers.append(dict(servers[0]))


def _nonce_and_expiry(document: Document) -> None:
    body = _body(document, VOUCHER)
    body.setdefault("expires-on", "2999-01-01T00:00:00Z")
    body.setdefault("nonce", encode_binary(bytes(range(16))))


def _expired(document: Document) -> None:
    body = _body(document, VOUCHER)
    body.update({"created-on": "2000-01-01T00:00:00Z", "expires-on": "2001-01-01T00:00:00Z"})
    body.pop("nonce", None)


def _other_nonce(document: Document) -> None:
    body = _body(document, VOUCHER)
    body["nonce"] = encode_binary(bytes(range(32)))
    body.pop("expires-on", None)


def _unknown_member(document: Document) -> None:
    for body in document.values():
        body["unheard-of"] = "value"


def _broken_base64(document: Document) -> None:
    for body in document.values():
        for entry in [body, *body.get("bootstrap-server", [])]:
            for name in _BINARIES:
                if name in entry:
                    entry[name] = "%" + entry[name]


def _member_twice(text: bytes) -> bytes:
    return text[:-1] + b"," + text[1:]


_MEMBER_DEFECTS: Final[dict[Wrong, Callable[[Document], None]]] = {
    Wrong.BOTH_KINDS: _both_kinds,
    Wrong.NEITHER_KIND: lambda document: document.clear(),
    Wrong.UNQUALIFIED_NAME: _unqualified,
    Wrong.CONFIGURATION_WITHOUT_HANDLING: _with_unhandled_configuration,
    Wrong.HANDLING_WITHOUT_CONFIGURATION: _without_configuration,
    Wrong.UNKNOWN_HANDLING: _set_in_onboarding("configuration-handling", "overwrite"),
    Wrong.HASH_WITHOUT_COLONS: _set_in_hash("hash-value", lambda text: text.replace(":", "")),
    Wrong.HASH_WITHOUT_URI: lambda document: _image(document).pop("download-uri"),
    Wrong.OTHER_IMAGE_HASH: _set_in_hash(
        "hash-value", lambda text: hex_string(hashlib.sha256(text.encode()).digest())
    ),
    Wrong.UNKNOWN_HASH_ALGORITHM: _set_in_hash(
        "hash-algorithm", lambda _text: f"{CONVEYED_MODULE}:sha-0"
    ),
    Wrong.EMPTY_SERVER_LIST: lambda document: _body(document, REDIRECT)["bootstrap-server"].clear(),
    Wrong.SERVER_TWICE: _server_twice,
    Wrong.PORT_ZERO: _set_in_servers("port", 0),
    Wrong.PORT_AS_TEXT: _set_in_servers("port", "443"),
    Wrong.URL_AS_ADDRESS: _set_in_servers("address", "https://bootstrap.example/"),
    Wrong.OTHER_SERIAL_NUMBER: _set_in_voucher("serial-number", "ANOTHER-DEVICE"),
    Wrong.MISSING_SERIAL_NUMBER: _set_in_voucher("serial-number", None),
    Wrong.OTHER_PINNED_CERT: _set_in_voucher(
        "pinned-domain-cert", lambda: encode_binary(make_root("Somebody Else").der)
    ),
    Wrong.BROKEN_PINNED_CERT: _set_in_voucher(
        "pinned-domain-cert", encode_binary(b"not a certificate")
    ),
    Wrong.MISSING_PINNED_CERT: _set_in_voucher("pinned-domain-cert", None),
    Wrong.OTHER_IDEVID_ISSUER: _set_in_voucher("idevid-issuer", encode_binary(bytes(20))),
    Wrong.MISSING_CREATED_ON: _set_in_voucher("created-on", None),
    Wrong.CREATED_IN_FUTURE: _set_in_voucher("created-on", "2999-01-01T00:00:00Z"),
    Wrong.EXPIRED: _expired,
    Wrong.NONCE_AND_EXPIRY: _nonce_and_expiry,
    Wrong.OTHER_NONCE: _other_nonce,
    Wrong.MISSING_ASSERTION: _set_in_voucher("assertion", None),
    Wrong.UNKNOWN_ASSERTION: _set_in_voucher("assertion", "guessed"),
    Wrong.BOOLEAN_AS_TEXT: _set_in_voucher("domain-cert-revocation-checks", "true"),
    Wrong.UNKNOWN_MEMBER: _unknown_member,
    Wrong.BROKEN_BASE64: _broken_base64,
}

_TEXT_DEFECTS: Final[dict[Wrong, Callable[[bytes], bytes]]] = {
    Wrong.MEMBER_TWICE: _member_twice,
    Wrong.NOT_UTF8: lambda text: text[:-1] + b',"\xff":""}',
    Wrong.BYTE_ORDER_MARK: lambda text: b"\xef\xbb\xbf" + text,
    Wrong.CUT_SHORT: lambda text: text.rstrip(b"}]"),
    Wrong.NESTED_TOO_DEEP: lambda text: text[:-1] + b',"deep":' + b"[" * 1000 + b"]" * 1000 + b"}",
    Wrong.TEXT_BEHIND: lambda text: text + b"{}",
}
