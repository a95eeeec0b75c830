# SPDX-License-Identifier: Apache-2.0
import hashlib
import json
from importlib import resources
from pathlib import Path

import jsonschema
import pytest

from xpu_agent.errors import Reason
from xpu_agent.lifecycle import ResetLevel
from xpu_agent.platforms.context import PlatformContext
from xpu_agent.platforms.hook_runner import HookRunner
from xpu_agent.platforms.hook_verbs import HookNotifier, fill_medium, reset_requested
from xpu_agent.platforms.registry import make_platform
from xpu_agent.ports import ExpectedImage, ScriptStage, VerifiedImage

ROOT = Path(__file__).parents[3]
SCHEMA = json.loads((resources.files("xpu_agent") / "schemas/hooks.schema.json").read_text("utf-8"))
VERBS = SCHEMA["$defs"]["request"]["properties"]["verb"]["enum"]
RECORD = """#!/bin/sh
cd "$XPU_AGENT_STATE_DIR"
tee -a requests | "{example}" >answer; status=$?
{{ printf '%s ' "${{0##*/}}"; cat answer; echo; }} >>answers
cat answer; exit $status
"""


@pytest.fixture
def context(tmp_path: Path) -> PlatformContext:
    """Hooks that record what goes in and out of the example."""
    hooks, examples, state = tmp_path / "hooks", tmp_path / "examples", tmp_path / "state"
    for folder in (hooks, examples, state):
        folder.mkdir(mode=0o755)
    for verb in VERBS:
        (examples / verb).symlink_to(ROOT / "packaging/hooks/example-hook.sh")
        (hooks / verb).write_text(RECORD.format(example=examples / verb))
        (hooks / verb).chmod(0o755)
    return PlatformContext(state_dir=state, hooks_dir=hooks, wait=lambda _seconds: None)


def test_all_that_goes_in_and_out_is_as_the_schema_says(context: PlatformContext) -> None:
    platform = make_platform("hooks", {}, context)
    runner = HookRunner(context)
    reset_requested(runner)
    fill_medium(runner, context.state_dir)
    platform.facts()
    content = b"image"
    for name in ("os", None):
        expected = ExpectedImage(name, name, hashlib.sha256(content).digest())
        sink = platform.image_sink(expected)
        sink.write(memoryview(content))
        sink.abort()
        sink = platform.image_sink(expected)
        sink.write(memoryview(content))
        sink.commit(VerifiedImage(expected, len(content)))
    platform.reboot("a test")
    platform.facts()
    platform.mark_good()
    for handling in ("merge", "replace"):
        token = platform.checkpoint()
        platform.apply_configuration(b"octets", handling, token)
        platform.undo(token)
    for stage in ScriptStage:
        platform.run_script(b"#!/bin/sh\n", stage, serial_number="SN-1", seconds=5)
    for level in ResetLevel:
        platform.wipe(level)
    notifier = HookNotifier(runner)
    notifier.notify("image-writing", percent=10)
    notifier.notify("failed", reason=Reason.TIMEOUT)

    requests = (context.state_dir / "requests").read_text().splitlines()
    seen = set()
    for line in requests:
        request = json.loads(line)
        jsonschema.validate(request, SCHEMA)
        seen.add(request["verb"])
    assert seen == set(VERBS)
    answers = SCHEMA["$defs"]["answers"]["properties"]
    assert set(answers) == set(VERBS)
    for line in (context.state_dir / "answers").read_text().splitlines():
        verb, _, answer = line.partition(" ")
        if answer.strip():
            schema = {"$defs": SCHEMA["$defs"], **answers[verb]}
            jsonschema.validate(json.loads(answer), schema)


@pytest.mark.parametrize(
    "request_",
    [
        {"api": 2, "verb": "facts", "serial-number": None, "attempt": 0},
        {"api": 1, "verb": "other", "serial-number": None, "attempt": 0},
        {"api": 1, "verb": "wipe", "serial-number": None, "attempt": 0},
        {"api": 1, "verb": "wipe", "serial-number": None, "attempt": 0, "level": "all"},
    ],
)
def test_the_schema_refuses(request_: dict[str, object]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(request_, SCHEMA)
