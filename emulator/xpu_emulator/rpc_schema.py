# SPDX-License-Identifier: Apache-2.0
"""The schema of the two RPCs' input, with the requirement behind each node.

After the modules `ietf-sztp-bootstrap-server` (RFC 8572, 7.3) and `ietf-sztp-csr` (RFC 9646, 3);
what the modules say beyond structure (lengths, `when`, choices) is judged in `rpc`.
"""

from xpu_emulator.yang_reader import Kind, SchemaNode

SERVER_MODULE = "ietf-sztp-bootstrap-server"
CSR_MODULE = "ietf-sztp-csr"


def _leaf(name: str, kind: Kind, *ids: str, module: str = SERVER_MODULE) -> SchemaNode:
    return SchemaNode(name, module, kind, requirement_ids=ids or ("RC-3.6-01",))


def _csr_node(
    name: str,
    *children: SchemaNode,
    kind: Kind = Kind.CONTAINER,
    leaf_list: bool = False,
    mandatory: bool = False,
) -> SchemaNode:
    return SchemaNode(name, CSR_MODULE, kind, children, leaf_list, mandatory, ("CSR-3.2-01",))


CSR_LEAVES = ("p10-csr", "cmc-csr", "cmp-csr")
CSR_LEAF_IDS = {"p10-csr": "CSR-3.2-08", "cmc-csr": "CSR-3.2-09", "cmp-csr": "CSR-3.2-10"}

GET_INPUT = SchemaNode(
    "input",
    SERVER_MODULE,
    Kind.CONTAINER,
    (
        _leaf("signed-data-preferred", Kind.EMPTY, "SZTP-7.3-10"),
        _leaf("hw-model", Kind.STRING),
        _leaf("os-name", Kind.STRING),
        _leaf("os-version", Kind.STRING),
        _leaf("nonce", Kind.BINARY, "SZTP-7.3-06"),
        _csr_node(
            "csr-support",
            _csr_node(
                "key-generation",
                _csr_node(
                    "supported-algorithms",
                    _csr_node(
                        "algorithm-identifier", kind=Kind.BINARY, leaf_list=True, mandatory=True
                    ),
                    mandatory=True,
                ),
            ),
            _csr_node(
                "csr-generation",
                _csr_node(
                    "supported-formats",
                    _csr_node(
                        "format-identifier", kind=Kind.IDENTITY, leaf_list=True, mandatory=True
                    ),
                    mandatory=True,
                ),
                mandatory=True,
            ),
        ),
        *(_leaf(n, Kind.BINARY, CSR_LEAF_IDS[n], module=CSR_MODULE) for n in CSR_LEAVES),
    ),
)

REPORT_INPUT = SchemaNode(
    "input",
    SERVER_MODULE,
    Kind.CONTAINER,
    (
        SchemaNode("progress-type", SERVER_MODULE, Kind.STRING, mandatory=True),
        _leaf("message", Kind.STRING),
        SchemaNode(
            "ssh-host-keys",
            SERVER_MODULE,
            Kind.CONTAINER,
            (
                SchemaNode(
                    "ssh-host-key",
                    SERVER_MODULE,
                    Kind.CONTAINER,
                    (
                        SchemaNode("algorithm", SERVER_MODULE, Kind.STRING, mandatory=True),
                        SchemaNode("key-data", SERVER_MODULE, Kind.BINARY, mandatory=True),
                    ),
                    many=True,
                    requirement_ids=("SZTP-7.3-08",),
                ),
            ),
            requirement_ids=("SZTP-7.3-08",),
        ),
        SchemaNode(
            "trust-anchor-certs",
            SERVER_MODULE,
            Kind.CONTAINER,
            (
                SchemaNode(
                    "trust-anchor-cert",
                    SERVER_MODULE,
                    Kind.BINARY,
                    many=True,
                    requirement_ids=("SZTP-7.3-09",),
                ),
            ),
            requirement_ids=("SZTP-7.3-09",),
        ),
    ),
)
