# SPDX-License-Identifier: Apache-2.0
"""Merging a configuration into the running one (RFC 8572, 5.6; RFC 7396 for JSON objects)."""

import json
import math

from xpu_agent.errors import ExecutionError, Reason

_WHITESPACE = b" \t\r\n"


def merged(running: bytes | None, content: bytes, handling: str) -> bytes:
    """The new running configuration; `running` is None where there is none.

    `replace` gives `content`. `merge` merges two JSON objects by RFC 7396; anything else is
    appended, octet for octet.

    Raises:
        ExecutionError: `config-invalid`: it begins with `{` and is no JSON object.
    """
    patch = _json_object(content)
    if handling == "replace":
        return content
    if handling != "merge":
        raise ExecutionError(Reason.CONFIG_INVALID, f"unknown handling {handling!r}")
    if not running:
        target: dict[str, object] | None = {}
    else:
        try:
            target = _json_object(running)
        except ExecutionError:
            target = None  # what runs is not ours to judge
    if patch is None or target is None:
        return (running or b"") + content
    try:
        result = _merge_patch(target, patch)
        if result == patch and not running:
            return content  # nothing to merge with and no null in it: the octets as they came
        return (json.dumps(result, ensure_ascii=False, indent=2) + "\n").encode()
    except RecursionError as error:
        raise ExecutionError(
            Reason.CONFIG_INVALID, "the configuration is nested too deeply to be merged"
        ) from error


def _merge_patch(target: object, patch: object) -> object:
    """RFC 7396, 2."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = _merge_patch(result.get(name), value)
    return result


def _json_object(content: bytes) -> dict[str, object] | None:
    """The object `content` is; None if it doesn't look like one."""
    if not content.lstrip(_WHITESPACE).startswith(b"{"):
        return None
    try:
        value = json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_float=_finite,
        )
        # A lone surrogate parses, but can't be written down again.
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise ExecutionError(
            Reason.CONFIG_INVALID,
            "the configuration begins like a JSON object and is none"
            + (f" (line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""),
        ) from error
    return value if isinstance(value, dict) else None


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member stands twice")
    return members


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is out of range")
    return number
