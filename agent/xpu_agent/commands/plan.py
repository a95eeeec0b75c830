# SPDX-License-Identifier: Apache-2.0
"""`xpu-agent plan`: discover and judge, show what would be done, touch nothing."""

import hashlib
import json
import sys
from typing import assert_never

from xpu_agent.bootstrap.failures import outcome_exit_code
from xpu_agent.bootstrap.sequence import preview
from xpu_agent.errors import ExitCode, exit_code
from xpu_agent.onboarding.plan import (
    ApplyConfiguration,
    InstallImage,
    KeepImage,
    OnboardingPlan,
    PlanStep,
    RefuseImage,
    RunScript,
)
from xpu_agent.ports import Outcome
from xpu_agent.wiring import (
    Options,
    in_root_folder,
    listening,
    load_settings,
    make_device,
    make_ports,
    make_store,
)


def run(options: Options, *, json_output: bool) -> int:
    """Print the steps; 0 where the device would act or need not, else the failure's status."""
    loaded = load_settings(options)
    config = loaded.config
    with in_root_folder(), listening(options, config) as events:
        store = make_store(config)
        if store.provisioned() or not store.switched_on():
            why = "this device is provisioned" if store.provisioned() else "the SZTP switch is off"
            _print([], None, note=f"{why}: nothing would be done", json_output=json_output)
            return ExitCode.OK
        device = make_device(options, loaded, events=events)
        device.clock.stop_on_signals()
        plan, outcome = preview(make_ports(device), device.facts())
    steps = [_describe(step) for step in plan.steps] if plan else []
    refused = [s for s in plan.steps if isinstance(s, RefuseImage)] if plan else []
    _print(steps, plan, note=_note(plan, outcome), json_output=json_output)
    if refused:
        return int(exit_code(refused[0].reason))
    return ExitCode.OK if plan else int(outcome_exit_code(outcome))


def _note(plan: OnboardingPlan | None, outcome: Outcome) -> str | None:
    if plan is None:
        return f"{outcome.reason}: {outcome.message}" if outcome.reason else outcome.message
    if not plan.image_settled:
        return "after the image the device reboots and discovers again; the rest is done then"
    return None


def _describe(step: PlanStep) -> dict[str, object]:
    """A step for people and machines; bodies as size and digest, never as they are."""
    match step:
        case KeepImage():
            return {"step": "keep-image", "why": step.why}
        case InstallImage():
            return {
                "step": "install-image",
                "why": step.mismatch,
                "os-name": step.expected.os_name,
                "os-version": step.expected.os_version,
                "sha256": step.expected.sha256.hex(),
                "uris": list(step.uris),
            }
        case RefuseImage():
            return {"step": "refuse-image", "reason": step.reason.value, "why": step.message}
        case RunScript():
            return {"step": f"{step.stage.value}-script", **_body(step.content)}
        case ApplyConfiguration():
            return {
                "step": "configuration",
                "handling": step.handling.value,
                **_body(step.content),
            }
        case _:
            assert_never(step)


def _body(octets: bytes) -> dict[str, object]:
    return {"bytes": len(octets), "sha256": hashlib.sha256(octets).hexdigest()}


def _print(
    steps: list[dict[str, object]],
    plan: OnboardingPlan | None,
    *,
    note: str | None,
    json_output: bool,
) -> None:
    if json_output:
        answer = {
            "format": "xpu-agent-plan/1",
            "trusted-by": plan.trusted_by.value if plan else None,
            "content-sha256": plan.content_sha256.hex() if plan else None,
            "steps": steps,
            "note": note,
        }
        sys.stdout.write(json.dumps(answer, indent=2) + "\n")
        return
    for number, step in enumerate(steps, 1):
        rest = ", ".join(f"{k} {_words(v)}" for k, v in step.items() if k != "step" and v)
        sys.stdout.write(f"{number}. {step['step']}: {rest}\n")
    if plan and not steps:
        sys.stdout.write("nothing to do\n")
    if note:
        sys.stdout.write(f"{note}\n")


def _words(value: object) -> str:
    return " or ".join(map(str, value)) if isinstance(value, list) else str(value)
