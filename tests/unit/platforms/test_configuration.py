# SPDX-License-Identifier: Apache-2.0
import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpu_agent.errors import ExecutionError, Reason
from xpu_agent.platforms.configuration import merged

# RFC 7396, Appendix A, as far as both sides are objects.
CASES = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.requirement("SZTP-5.6-13")
@pytest.mark.parametrize(("target", "patch", "result"), CASES)
def test_two_objects_merge_by_rfc_7396(target: object, patch: object, result: object) -> None:
    octets = merged(json.dumps(target).encode(), json.dumps(patch).encode(), "merge")
    assert json.loads(octets) == result


@pytest.mark.parametrize("running", [None, b""])
def test_a_merge_into_nothing_keeps_the_octets(running: bytes | None) -> None:
    content = b' {"b":1,  "a":{}}\n'
    assert merged(running, content, "merge") == content
    assert json.loads(merged(running, b'{"a":null,"b":1}', "merge")) == {"b": 1}
    assert merged(running, b"plain", "merge") == b"plain"


@pytest.mark.parametrize(
    ("running", "content"),
    [(b"a\n", b"b\n"), (b'{"a": 1}', b"b"), (b"a", b'{"b": 1}'), (b"[1]", b"[2]"), (b"{", b"b")],
)
def test_anything_else_is_appended(running: bytes, content: bytes) -> None:
    assert merged(running, content, "merge") == running + content


@pytest.mark.refuses("SZTP-5.6-13")
@pytest.mark.parametrize("handling", ["merge", "replace"])
@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b" \n{ not json",
        b'{"a": 1} trailing',
        b'{"a": 1, "a": 2}',
        b'{"a": NaN}',
        b'{"a": 1e999}',
        b'{"a": "\xff"}',
        b'{"a": "\\ud800"}',
        b'{"a":' * 100_000,
        b'{"a": ' + b"9" * 5000 + b"}",
    ],
)
def test_what_begins_like_an_object_and_is_none_is_invalid(content: bytes, handling: str) -> None:
    with pytest.raises(ExecutionError) as error:
        merged(b'{"b": 1}', content, handling)
    assert error.value.reason is Reason.CONFIG_INVALID


def test_deep_objects_fail_as_ours_or_merge() -> None:
    for depth in range(100, 1100, 100):
        content = b'{"a":' * depth + b"1" + b"}" * depth
        with contextlib.suppress(ExecutionError):
            merged(content, content, "merge")


def test_an_unknown_handling_is_refused() -> None:
    with pytest.raises(ExecutionError):
        merged(None, b"x", "overwrite")


@given(
    st.one_of(st.none(), st.binary(max_size=64), st.just(b'{"a": {"b": 1}}')),
    st.one_of(
        st.binary(max_size=64),
        st.text(alphabet='{}[]":,0123456789.eE+-truefalsn\\u ', max_size=64).map(
            lambda text: ("{" + text).encode()
        ),
    ),
    st.sampled_from(["merge", "replace", "other"]),
)
def test_any_octets_merge_or_fail_as_ours(
    running: bytes | None, content: bytes, handling: str
) -> None:
    with contextlib.suppress(ExecutionError):
        assert isinstance(merged(running, content, handling), bytes)
