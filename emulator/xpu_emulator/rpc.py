# SPDX-License-Identifier: Apache-2.0
"""The two RPCs of a bootstrap server, as octets and as values (RFC 8572, 7.3; RFC 9646, 3).

Requests are read strictly and judged by the YANG modules and the sentences around them; whatever
is wrong is said exactly, as `Violation`s with the requirements they break. Answers are encoded
from values. Nothing here knows HTTP or the agent: the emulator reads the RFCs on its own.
"""

import base64
import json
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias
from xml.sax.saxutils import escape

from xpu_emulator import der_checks
from xpu_emulator.rpc_schema import (
    CSR_LEAF_IDS,
    CSR_LEAVES,
    CSR_MODULE,
    GET_INPUT,
    REPORT_INPUT,
    SERVER_MODULE,
)
from xpu_emulator.yang_reader import (
    NAMESPACE_PREFIX,
    Container,
    Encoding,
    ErrorTag,
    Findings,
    InputError,
    Value,
    Violation,
    read_input,
)

__all__ = [
    "BootstrappingData",
    "CertificateRequest",
    "CsrRequest",
    "CsrSupport",
    "Encoding",
    "ErrorTag",
    "GetBootstrappingData",
    "InputError",
    "ProgressType",
    "ReportProgress",
    "RestconfError",
    "SshHostKey",
    "Violation",
    "decode_get_bootstrapping_data",
    "decode_report_progress",
    "encode_errors",
    "encode_output",
    "is_terminal",
]

FORMATS = tuple(f"ietf-ztp-types:{name}" for name in ("p10-csr", "cmc-csr", "cmp-csr"))
NONCE_OCTETS = range(16, 33)


class ProgressType(StrEnum):
    """The 27 values of `progress-type`."""

    BOOTSTRAP_INITIATED = "bootstrap-initiated"
    PARSING_INITIATED = "parsing-initiated"
    PARSING_WARNING = "parsing-warning"
    PARSING_ERROR = "parsing-error"
    PARSING_COMPLETE = "parsing-complete"
    BOOT_IMAGE_INITIATED = "boot-image-initiated"
    BOOT_IMAGE_WARNING = "boot-image-warning"
    BOOT_IMAGE_ERROR = "boot-image-error"
    BOOT_IMAGE_MISMATCH = "boot-image-mismatch"
    BOOT_IMAGE_INSTALLED_REBOOTING = "boot-image-installed-rebooting"
    BOOT_IMAGE_COMPLETE = "boot-image-complete"
    PRE_SCRIPT_INITIATED = "pre-script-initiated"
    PRE_SCRIPT_WARNING = "pre-script-warning"
    PRE_SCRIPT_ERROR = "pre-script-error"
    PRE_SCRIPT_COMPLETE = "pre-script-complete"
    CONFIG_INITIATED = "config-initiated"
    CONFIG_WARNING = "config-warning"
    CONFIG_ERROR = "config-error"
    CONFIG_COMPLETE = "config-complete"
    POST_SCRIPT_INITIATED = "post-script-initiated"
    POST_SCRIPT_WARNING = "post-script-warning"
    POST_SCRIPT_ERROR = "post-script-error"
    POST_SCRIPT_COMPLETE = "post-script-complete"
    BOOTSTRAP_WARNING = "bootstrap-warning"
    BOOTSTRAP_ERROR = "bootstrap-error"
    BOOTSTRAP_COMPLETE = "bootstrap-complete"
    INFORMATIONAL = "informational"


def is_terminal(progress_type: ProgressType) -> bool:
    """Whether the device leaves this server after such a report."""
    return progress_type.value.endswith(("-error", "-rebooting")) or (
        progress_type is ProgressType.BOOTSTRAP_COMPLETE
    )


@dataclass(frozen=True, slots=True)
class CsrSupport:
    """`csr-support`: formats, and algorithms when the device can make a new key."""

    formats: tuple[str, ...]
    algorithms: tuple[bytes, ...] | None


@dataclass(frozen=True, slots=True)
class CertificateRequest:
    """One CSR the device sent: `p10-csr`, `cmc-csr` or `cmp-csr`, and its DER."""

    form: str
    der: bytes


@dataclass(frozen=True, slots=True)
class GetBootstrappingData:
    """Input of `get-bootstrapping-data`."""

    signed_data_preferred: bool = False
    hw_model: str | None = None
    os_name: str | None = None
    os_version: str | None = None
    nonce: bytes | None = None
    csr: CsrSupport | CertificateRequest | None = None


@dataclass(frozen=True, slots=True)
class SshHostKey:
    """An SSH host key of the device: algorithm name and key blob (RFC 4253, 6.6)."""

    algorithm: str
    key_data: bytes


@dataclass(frozen=True, slots=True)
class ReportProgress:
    """Input of `report-progress`."""

    progress_type: ProgressType
    message: str | None = None
    ssh_host_keys: tuple[SshHostKey, ...] = ()
    trust_anchor_certs: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class BootstrappingData:
    """Output of `get-bootstrapping-data`; the artifacts are DER, right or wrong on purpose."""

    conveyed_information: bytes
    owner_certificate: bytes | None = None
    ownership_voucher: bytes | None = None
    reporting_level: str | None = None


@dataclass(frozen=True, slots=True)
class CsrRequest:
    """The server wants a CSR (RFC 9646, 2.2): what `csr-request` in `error-info` says.

    `checked` selections must be among what the device offered; switch that off to send a wrong
    request on purpose.
    """

    form: str = FORMATS[0]
    algorithm: bytes | None = None
    cert_req_info: bytes | None = None
    checked: bool = True


@dataclass(frozen=True, slots=True)
class RestconfError:
    """One entry of `ietf-restconf:errors` (RFC 8040, 7.1)."""

    tag: ErrorTag | str
    message: str | None = None
    error_type: str = "protocol"
    path: str | None = None
    csr_request: CsrRequest | None = None


def decode_get_bootstrapping_data(body: bytes, encoding: Encoding) -> GetBootstrappingData:
    """Read and judge the input of `get-bootstrapping-data`.

    An empty body is an input without leaves: none of them is mandatory (RFC 8040, 3.6.1).

    Raises:
        InputError: the body is wrong; every finding is in it.
    """
    if not body:
        return GetBootstrappingData()
    findings = Findings()
    tree = read_input(body, encoding, GET_INPUT, findings)
    nonce = tree.octets("nonce")
    if nonce is not None and len(nonce) not in NONCE_OCTETS:
        _finding(findings, "SZTP-7.3-06", f"/input/nonce has {len(nonce)} octets, not 16 to 32")
    csr = _csr(tree, findings)
    findings.raise_if_any()
    return GetBootstrappingData(
        signed_data_preferred=tree.has("signed-data-preferred"),
        hw_model=tree.text("hw-model"),
        os_name=tree.text("os-name"),
        os_version=tree.text("os-version"),
        nonce=nonce,
        csr=csr,
    )


def decode_report_progress(body: bytes, encoding: Encoding) -> ReportProgress:
    """Read and judge the input of `report-progress`.

    Raises:
        InputError: the body is wrong; every finding is in it.
    """
    findings = Findings()
    tree = read_input(body, encoding, REPORT_INPUT, findings)
    name = tree.text("progress-type") or ""
    known = {member.value: member for member in ProgressType}
    if tree.has("progress-type") and name not in known:
        _finding(findings, "RC-3.6-01", f"{name[:80]!r} is not a progress-type")
    if name != ProgressType.BOOTSTRAP_COMPLETE:
        for member in ("ssh-host-keys", "trust-anchor-certs"):
            if tree.has(member):
                findings.add(
                    ErrorTag.UNKNOWN_ELEMENT,
                    ("SZTP-7.3-05",),
                    f"/input/{member} goes with bootstrap-complete only, not with {name[:80]!r}",
                )
    keys = _ssh_host_keys(tree.container("ssh-host-keys"), findings)
    anchors = _trust_anchors(tree.container("trust-anchor-certs"), findings)
    findings.raise_if_any()
    return ReportProgress(known[name], tree.text("message"), keys, anchors)


def _finding(findings: Findings, requirement_id: str, text: str) -> None:
    findings.add(ErrorTag.INVALID_VALUE, (requirement_id,), text)


def _csr(tree: Container, findings: Findings) -> CsrSupport | CertificateRequest | None:
    present = [name for name in ("csr-support", *CSR_LEAVES) if tree.has(name)]
    if len(present) > 1:
        findings.add(
            ErrorTag.UNKNOWN_ELEMENT,
            ("CSR-2.3-02",),
            f"{' and '.join(present)} exclude each other in one request",
        )
    support = tree.container("csr-support")
    if support is not None:
        return _csr_support(support, findings)
    for name in CSR_LEAVES:
        der = tree.octets(name)
        if der is not None:
            problem = der_checks.problem_with_csr(name, der)
            if problem is not None:
                _finding(findings, CSR_LEAF_IDS[name], f"/input/{name}: {problem}")
            return CertificateRequest(name, der)
    return None


def _below(container: Container | None, *names: str) -> Container | None:
    for name in names:
        container = container.container(name) if container is not None else None
    return container


def _texts(values: tuple[Value, ...]) -> tuple[str, ...]:
    return tuple(value for value in values if isinstance(value, str))


def _octets(values: tuple[Value, ...]) -> tuple[bytes, ...]:
    return tuple(value for value in values if isinstance(value, bytes))


def _csr_support(support: Container, findings: Findings) -> CsrSupport:
    formats_node = _below(support, "csr-generation", "supported-formats")
    formats = _texts(formats_node.entries("format-identifier")) if formats_node else ()
    for name in formats:
        if name not in FORMATS:
            _finding(findings, "CSR-3.2-01", f"{name[:80]!r} is no certificate-request-format")
    algorithms_node = _below(support, "key-generation", "supported-algorithms")
    if algorithms_node is None:
        return CsrSupport(formats, None)
    algorithms = _octets(algorithms_node.entries("algorithm-identifier"))
    for algorithm in algorithms:
        if not der_checks.is_algorithm_identifier(algorithm):
            _finding(
                findings, "CSR-3.2-01", "an algorithm-identifier is not a DER AlgorithmIdentifier"
            )
    return CsrSupport(formats, algorithms)


def _ssh_host_keys(node: Container | None, findings: Findings) -> tuple[SshHostKey, ...]:
    keys: list[SshHostKey] = []
    for entry in node.entries("ssh-host-key") if node is not None else ():
        if not isinstance(entry, Container):
            continue
        algorithm, blob = entry.text("algorithm"), entry.octets("key-data")
        if algorithm is None or blob is None:
            continue  # said already: both are mandatory
        inner = int.from_bytes(blob[:4], "big")
        name, rest = blob[4 : 4 + inner], blob[4 + inner :]
        if len(name) != inner or not rest or name != algorithm.encode():
            _finding(
                findings,
                "SZTP-7.3-08",
                f"key-data of {algorithm[:80]!r} is no RFC 4253 key blob of that name",
            )
        keys.append(SshHostKey(algorithm, blob))
    return tuple(keys)


def _trust_anchors(node: Container | None, findings: Findings) -> tuple[bytes, ...]:
    anchors = _octets(node.entries("trust-anchor-cert")) if node is not None else ()
    for anchor in anchors:
        problem = der_checks.problem_with_anchor_chain(anchor)
        if problem is not None:
            _finding(findings, "SZTP-7.3-09", f"a trust-anchor-cert {problem}")
    return anchors


# Encoding

_Tree: TypeAlias = "dict[str, _Tree] | list[_Tree] | str"


def _base64(octets: bytes) -> str:
    return base64.b64encode(octets).decode("ascii")


def encode_output(data: BootstrappingData, encoding: Encoding) -> bytes:
    """The `output` document; nothing is checked, wrong combinations included."""
    leaves: dict[str, _Tree] = {}
    if data.reporting_level is not None:
        leaves["reporting-level"] = data.reporting_level
    leaves["conveyed-information"] = _base64(data.conveyed_information)
    if data.owner_certificate is not None:
        leaves["owner-certificate"] = _base64(data.owner_certificate)
    if data.ownership_voucher is not None:
        leaves["ownership-voucher"] = _base64(data.ownership_voucher)
    return _encode({f"{SERVER_MODULE}:output": leaves}, encoding)


def encode_errors(errors: tuple[RestconfError, ...], encoding: Encoding) -> bytes:
    """An `ietf-restconf:errors` document."""
    entries: list[_Tree] = [_error(error) for error in errors]
    return _encode({"ietf-restconf:errors": {"error": entries}}, encoding)


def _error(error: RestconfError) -> _Tree:
    leaves: dict[str, _Tree] = {"error-type": error.error_type, "error-tag": str(error.tag)}
    if error.path is not None:
        leaves["error-path"] = error.path
    if error.message is not None:
        leaves["error-message"] = error.message
    if error.csr_request is not None:
        wanted = error.csr_request
        request: dict[str, _Tree] = {}
        if wanted.algorithm is not None:
            algorithm: _Tree = {"algorithm-identifier": _base64(wanted.algorithm)}
            request["key-generation"] = {"selected-algorithm": algorithm}
        request["csr-generation"] = {"selected-format": {"format-identifier": wanted.form}}
        if wanted.cert_req_info is not None:
            request["cert-req-info"] = _base64(wanted.cert_req_info)
        leaves["error-info"] = {f"{CSR_MODULE}:csr-request": request}
    return leaves


def _encode(document: dict[str, _Tree], encoding: Encoding) -> bytes:
    match encoding:
        case Encoding.JSON:
            return json.dumps(document, indent=2, ensure_ascii=False).encode()
        case Encoding.XML:
            return "".join(_xml(name, tree) for name, tree in document.items()).encode()


def _xml(name: str, tree: _Tree) -> str:
    """An element; `module:name` becomes a default namespace, an identity gets a prefix."""
    module, _, local = name.rpartition(":")
    namespace = f' xmlns="{NAMESPACE_PREFIX}{module}"' if module else ""
    match tree:
        case str():
            if local == "format-identifier":
                # Identities are qualified names in XML: the prefix is declared where it is used.
                module, _, tree = tree.rpartition(":")
                namespace = f' xmlns:id="{NAMESPACE_PREFIX}{module}"'
                tree = f"id:{tree}"
            return f"<{local}{namespace}>{escape(tree)}</{local}>"
        case list():
            return "".join(_xml(name, entry) for entry in tree)
        case dict():
            inner = "".join(_xml(child, value) for child, value in tree.items())
            return f"<{local}{namespace}>{inner}</{local}>"
