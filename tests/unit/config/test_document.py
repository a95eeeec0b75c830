# SPDX-License-Identifier: Apache-2.0
"""Strict reading of YAML and JSON: lines, duplicates, and nothing that means more than it says."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.config.trees import problems_of, write

from xpu_agent.config import load_config
from xpu_agent.config.document import Mapping, Scalar, read_document
from xpu_agent.config.problems import Problems

AGENT = Path(__file__).parents[3] / "agent"


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("24.10", "24.10"),
        ("022", "022"),
        ("no", "no"),
        ("0x1f", "0x1f"),
        ("2026-11-27", "2026-11-27"),
        ("1_000", "1_000"),
        ("null", "null"),
        ("~", "~"),
        ("'24.10'", "24.10"),
        ('"a: b"', "a: b"),
        ("=", "="),
    ],
)
def test_scalars_are_text_as_written(tmp_path: Path, written: str, read: str) -> None:
    write(tmp_path, {"a.yaml": f"device: {{os-version: {written}}}\n"})
    assert load_config(tmp_path / "a.yaml").config.device.os_version == read


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hooks: a\nhooks: b\n", "2 hooks: is there twice (first in line 1)"),
        ("dns:\n  unicast: true\n  unicast: false\n", "3 unicast: is there twice"),
        ("device: &a {os-name: x}\n", "1 : an anchor (a) is not allowed"),
        ("hooks: &a x\nplatform:\n  path: *a\n", "3 : an alias (a) is not allowed"),
        ("hooks: !!str x\n", "1 : a tag (tag:yaml.org,2002:str) is not allowed"),
        ("hooks: !python/object:os.system x\n", "1 : a tag (!python/object:os.system)"),
        ("device:\n  <<: {os-name: x}\n", "2 device.<<: is not a known key"),
        ("? [a, b]\n: c\n", "1 : a key has to be text"),
        ("hooks: a\n---\nhooks: b\n", "3 : is a second document"),
        ("%TAG ! tag:x,2000:\n---\nhooks: a\n", ": directives (%) are not allowed"),
        ("- a\n- b\n", "1 : is no mapping"),
        ("just text\n", "1 : is no mapping"),
        ("hooks: [a\n", ": is no YAML: "),
        ("hooks: \x07\n", "0 : is no YAML: it holds characters"),
        ("a: " + "[" * 50 + "]" * 50, "1 : is nested too deep"),
    ],
)
def test_what_yaml_could_mean_besides_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    found = problems_of(tmp_path, text)
    assert any(expected in p for p in found), found


JSON = """{
  "format": "xpu-agent-config/1",
  "device": {"serial-number": "SN1", "os-version": 24.10},
  "dns": {"multicast": false},
  "media": {"settle-seconds": 3, "devices": "auto"},
  "bootstrap-servers": ["https://a.example"]
}
"""


def test_json_is_accepted_and_then_yaml_is_not_imported(tmp_path: Path) -> None:
    path = write(tmp_path, {"a.yaml": JSON}) / "a.yaml"
    program = (
        "import sys; from pathlib import Path; from xpu_agent.config import load_config\n"
        "config = load_config(Path(sys.argv[1])).config\n"
        "assert config.device.os_version == '24.10', config\n"
        "assert config.dns.multicast is False and config.media.settle_seconds == 3\n"
        "heavy = {'yaml', 'ssl', 'cryptography', 'asn1crypto', 'httpx', 'pyroute2'}\n"
        "sys.exit(' '.join(heavy & set(sys.modules)) or 0)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, str(path)],
        env={"PYTHONPATH": str(AGENT)},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (ran.returncode, ran.stderr.strip()) == (0, "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"hooks": "a",\n "hooks": "b"}', "2 hooks: is there twice (first in line 1)"),
        (
            '{"dns": {"unicast": "true"}}',
            'must be true or false, not the text "true"',
        ),
        ('{"dns":\n{"unicast":\n 1}}', "2 dns.unicast: must be true or false, not 1"),
        ('{"media": {"settle-seconds": "3"}}', "must be a whole number, not the text"),
        ('{"media": {"settle-seconds": 3.5}}', "must be a whole number, not 3.5"),
        ('{"media": {"settle-seconds": 3e1}}', "must be a whole number, not 3e1"),
        ('{"hooks": null}', "1 hooks: has no value"),
        ('{"a":\n' + "[" * 50 + "]" * 50 + "}", "2 : is nested too deep"),
    ],
)
def test_json_is_read_as_strictly(tmp_path: Path, text: str, expected: str) -> None:
    found = problems_of(tmp_path, text)
    assert any(expected in p for p in found), found


@pytest.mark.parametrize("text", ['{"a": 01}', '{"a": tru}', "{", '{"a" 1}', '{"a": 1,}', "{,}"])
def test_what_is_no_json_is_yamls_to_judge(tmp_path: Path, text: str) -> None:
    assert problems_of(tmp_path, text)


def test_half_a_surrogate_pair_is_no_text(tmp_path: Path) -> None:
    assert problems_of(tmp_path, '{"hooks": "\\ud800"}')


def test_flow_style_yaml_begins_like_json(tmp_path: Path) -> None:
    write(tmp_path, {"a.yaml": "{device: {serial-number: A}}\n"})
    assert load_config(tmp_path / "a.yaml").config.device.serial_number == "A"


@pytest.mark.parametrize("text", ["", "\n", "# only a comment\n", "---\n...\n"])
def test_an_empty_file_says_nothing(tmp_path: Path, text: str) -> None:
    assert problems_of(tmp_path, text) == []


_TREE = st.recursive(
    st.text(max_size=8) | st.integers() | st.booleans(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(tree=st.dictionaries(st.text(max_size=6), _TREE, max_size=4))
def test_our_json_reader_agrees_with_pythons(tree: dict[str, object]) -> None:
    found = Problems()
    node = read_document(json.dumps(tree), Path("x"), found)
    if any("deep" in p.text for p in found.found):
        return
    assert _plain(node) == json.loads(json.dumps(tree), parse_int=str, parse_constant=str)


def _plain(node: object) -> object:
    match node:
        case Mapping():
            return {e.key: _plain(e.value) for e in node.entries}
        case Scalar(text="true" | "false", quoted=False):
            return node.text == "true"
        case Scalar():
            return node.text
        case _:
            return [_plain(i) for i in getattr(node, "items", ())]


@settings(max_examples=150, deadline=None)
@given(text=st.text(alphabet=st.sampled_from(list("a{}[]:,\"'-&*!%#|>? \n\t0~é\x00")), max_size=60))
def test_any_text_is_a_document_or_a_problem(text: str) -> None:
    found = Problems()
    node = read_document(text, Path("x"), found)
    assert node is None or node.place.file == Path("x")
