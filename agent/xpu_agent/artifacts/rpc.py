# SPDX-License-Identifier: Apache-2.0
"""Bodies of the two RPCs (RFC 8572, 7; RFC 8040, 3.6.1, 5.2 and 7; RFC 7951): octets <-> values.

The wire half of RESTCONF is pure and stands here; `net.restconf` moves the octets.
"""

import base64
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import Final, assert_never

from xpu_agent import limits
from xpu_agent.artifacts.bundle import ArtifactName, Artifacts
from xpu_agent.artifacts.strict_json import JsonValue, parse_json
from xpu_agent.artifacts.strict_xml import XmlElement, parse_xml
from xpu_agent.artifacts.yang_data import Encoding, read_document
from xpu_agent.errors import MalformedError, Reason
from xpu_agent.progress import ProgressReport, ReportingLevel

_MODULE: Final = "ietf-sztp-bootstrap-server"
_NAMESPACE: Final = f"urn:ietf:params:xml:ns:yang:{_MODULE}"
_XRD: Final = "http://docs.oasis-open.org/ns/xri/xrd-1.0"

# Characters XML 1.0 has no way to write; YANG strings don't have them either.
_UNWRITABLE: Final = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ROOT_PATH: Final = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@%-]+)+/?|/")
_ERROR_TAG_CHARS: Final = 64
_ERROR_MESSAGE_CHARS: Final = 256
_ROOT_PATH_CHARS: Final = 256

MEDIA_TYPES: dict[Encoding, str] = {
    Encoding.JSON: "application/yang-data+json",
    Encoding.XML: "application/yang-data+xml",
}


@dataclass(frozen=True, slots=True)
class BootstrappingRequest:
    """Input of `get-bootstrapping-data` (RFC 8572, 7.3); `trust.state` decides what is in it."""

    signed_data_preferred: bool
    hw_model: str | None
    os_name: str | None
    os_version: str | None
    nonce: bytes | None  # 16 to 32 octets


@dataclass(frozen=True, slots=True)
class BootstrappingResponse:
    """Output of `get-bootstrapping-data`."""

    artifacts: Artifacts
    reporting_level: ReportingLevel


@dataclass(frozen=True, slots=True)
class RestconfError:
    """What could be read of an error body; each field bounded and printable, or None."""

    error_tag: str | None
    error_message: str | None


# The members of an input document, in order: a string, None for a leaf of type empty, an array of
# strings for a leaf-list, or containers and list entries of the same.
_Tree = dict[str, "_Value"]
_Value = str | None | list[str] | list[_Tree] | _Tree


def encode_bootstrapping_request(request: BootstrappingRequest, encoding: Encoding) -> bytes:
    """The `input` document."""
    tree: _Tree = {}
    if request.signed_data_preferred:
        tree["signed-data-preferred"] = None
    for name, value in (
        ("hw-model", request.hw_model),
        ("os-name", request.os_name),
        ("os-version", request.os_version),
    ):
        if value is not None:
            tree[name] = _writable(value)
    if request.nonce is not None:
        if not 16 <= len(request.nonce) <= 32:
            raise ValueError("a nonce has 16 to 32 octets")
        tree["nonce"] = _base64(request.nonce)
    return _encode_input(tree, encoding)


def decode_bootstrapping_response(body: bytes, encoding: Encoding) -> BootstrappingResponse:
    """Read the `output` document; members of other modules are passed over.

    Raises:
        MalformedError: not a valid output.
    """
    if len(body) > limits.RPC_RESPONSE_BYTES:
        raise MalformedError(
            f"the response has more than {limits.RPC_RESPONSE_BYTES} octets",
            reason=Reason.TOO_LARGE,
        )
    _, node = read_document(body, encoding, _MODULE, ("output",), "the response")
    level = node.enumeration("reporting-level", ReportingLevel)
    conveyed, owner_certificate, voucher = (
        node.binary(name, most=limits.ARTIFACT_BYTES) for name in ArtifactName
    )
    node.finish(pass_over_foreign=True)
    if conveyed is None:
        raise MalformedError("the response has no conveyed-information")
    if (owner_certificate is None) != (voucher is None):
        raise MalformedError("owner-certificate and ownership-voucher belong together")
    return BootstrappingResponse(
        Artifacts(conveyed, owner_certificate, voucher), level or ReportingLevel.MINIMAL
    )


def encode_progress_report(report: ProgressReport, encoding: Encoding) -> bytes:
    """The `input` document of `report-progress`."""
    tree: _Tree = {"progress-type": report.progress_type.value}
    if report.message is not None:
        tree["message"] = _writable(report.message)
    if report.ssh_host_keys:
        keys: list[_Tree] = [
            {"algorithm": _writable(key.algorithm), "key-data": _base64(key.key_data)}
            for key in report.ssh_host_keys
        ]
        tree["ssh-host-keys"] = {"ssh-host-key": keys}
    if report.trust_anchor_certs:
        anchors = [_base64(anchor) for anchor in report.trust_anchor_certs]
        tree["trust-anchor-certs"] = {"trust-anchor-cert": anchors}
    return _encode_input(tree, encoding)


def decode_error(body: bytes) -> RestconfError:
    """Read a 4xx/5xx body of any kind, bare or wrapped, or none; never raises.

    What counts is the first object or element with an `error-tag` or `error-message`.
    """
    found = RestconfError(None, None)
    if len(body) > limits.ERROR_BODY_BYTES:
        return found
    try:
        if body.lstrip()[:1] == b"<":
            for element in _elements(parse_xml(body, "the error")):
                leaves = {child.name: child.text for child in element.children}
                if _ERROR_LEAVES & leaves.keys():
                    return _error(leaves.get("error-tag"), leaves.get("error-message"))
        else:
            for members in _objects(parse_json(body, "the error")):
                # Member names may be qualified, wherever the server puts the module's name.
                plain = {name.rpartition(":")[2]: value for name, value in members.items()}
                if _ERROR_LEAVES & plain.keys():
                    return _error(plain.get("error-tag"), plain.get("error-message"))
    except MalformedError:
        pass  # A proxy's page, or nothing: there is no error to read in it.
    return found


def decode_host_meta(body: bytes) -> str | None:
    """The path of the `restconf` link of an XRD (or JRD) document; None if there is none usable.

    Only a path on the same server counts: an absolute URI of another host is None. Never raises.
    The path has no slash at its end, so that of the root is empty. Two different ones are none.
    """
    if len(body) > limits.ERROR_BODY_BYTES:
        return None
    try:
        links = _xrd_links(body) if body.lstrip()[:1] == b"<" else _jrd_links(body)
    except MalformedError:
        return None
    if len(links) != 1:
        return None
    (href,) = links
    segments = href.split("/")
    if (
        len(href) > _ROOT_PATH_CHARS
        or not _ROOT_PATH.fullmatch(href)
        or ".." in segments
        or "." in segments
    ):
        return None
    return href.rstrip("/")


# --- writing ----------------------------------------------------------------------------------


def _encode_input(tree: _Tree, encoding: Encoding) -> bytes:
    match encoding:
        case Encoding.JSON:
            document = json.dumps({f"{_MODULE}:input": _json(tree)}, separators=(",", ":"))
            return document.encode("ascii")
        case Encoding.XML:
            content = "".join(_xml(tree))
            return f'<input xmlns="{_NAMESPACE}">{content}</input>'.encode()
        case _:
            assert_never(encoding)


def _json(value: _Value) -> object:
    if value is None:
        return [None]  # RFC 7951, 6.9
    if isinstance(value, dict):
        return {name: _json(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_json(inner) for inner in value]
    return value


def _xml(tree: _Tree) -> Iterator[str]:
    for name, value in tree.items():
        for inner in value if isinstance(value, list) else [value]:
            if inner is None:
                yield f"<{name}/>"
                continue
            content = "".join(_xml(inner)) if isinstance(inner, dict) else _escaped(inner)
            yield f"<{name}>{content}</{name}>"


def _escaped(text: str) -> str:
    # A bare CR would be read back as LF (XML 1.0, 2.11).
    return escape(text, quote=False).replace("\r", "&#13;")


def _writable(text: str) -> str:
    return _UNWRITABLE.sub("\ufffd", text)


def _base64(octets: bytes) -> str:
    return base64.b64encode(octets).decode("ascii")


# --- reading what may be anything -------------------------------------------------------------

_ERROR_LEAVES: Final = frozenset({"error-tag", "error-message"})


def _objects(value: JsonValue) -> Iterator[dict[str, JsonValue]]:
    """All objects in a value, outer ones first."""
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from _objects(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _objects(inner)


def _elements(element: XmlElement) -> Iterator[XmlElement]:
    """An element and all below it, outer ones first."""
    yield element
    for child in element.children:
        yield from _elements(child)


def _error(tag: JsonValue, message: JsonValue) -> RestconfError:
    return RestconfError(
        _printable(tag, _ERROR_TAG_CHARS), _printable(message, _ERROR_MESSAGE_CHARS)
    )


def _printable(value: JsonValue, most: int) -> str | None:
    """A peer's text in ASCII, its control characters escaped, cut to `most` characters."""
    if not isinstance(value, str) or not value.strip():
        return None
    return ascii(value.strip()[:most])[1:-1][:most]


def _xrd_links(body: bytes) -> set[str]:
    root = parse_xml(body, "host-meta")
    return {
        link.attributes.get("href", "")
        for link in root.children
        if root.namespace == _XRD
        and (link.namespace, link.name) == (_XRD, "Link")
        and link.attributes.get("rel") == "restconf"
    }


def _jrd_links(body: bytes) -> set[str]:
    document = parse_json(body, "host-meta")
    links = document.get("links") if isinstance(document, dict) else None
    hrefs = [
        link.get("href")
        for link in (links if isinstance(links, list) else [])
        if isinstance(link, dict) and link.get("rel") == "restconf"
    ]
    return {href for href in hrefs if isinstance(href, str)}
