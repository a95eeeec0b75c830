# SPDX-License-Identifier: Apache-2.0
"""The example payloads, by name."""

import base64
import json
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).parents[2] / "vectors" / "sztp-examples"


def example(name: str) -> bytes:
    return (EXAMPLES / name).read_bytes()


def artifact(name: str) -> bytes:
    return example(f"artifacts/{name}.cms")


def certificate(name: str) -> bytes:
    return pem(example(f"artifacts/{name}.pem"))


def pem(text: bytes) -> bytes:
    """DER of the first block of a PEM file."""
    lines = text.split(b"-----")[2].split()
    return base64.b64decode(b"".join(lines))


def document(name: str) -> Any:
    return json.loads(example(name))


def invalid(kind: str) -> list[str]:
    """Names of the invalid examples of one kind."""
    return sorted(f"invalid/{path.name}" for path in (EXAMPLES / "invalid").glob(f"{kind}--*"))
