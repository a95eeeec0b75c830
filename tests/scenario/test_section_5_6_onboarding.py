# SPDX-License-Identifier: Apache-2.0
"""RFC 8572, 5.6: scripts and configuration in order, their failures, the reports that count."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from tests.harness import CLEAR_SWITCH, CONFIGURATION, SERIAL, Device, Lab, Served

from xpu_emulator.messages import Response
from xpu_emulator.rpc import ProgressType

BEFORE = b'{"kept": 1, "changed": 1}'


def script(log: Path, name: str, status: int = 0, output: str = "") -> bytes:
    """A script that appends its name to a log, prints and ends with a status."""
    say = f"echo '{output}'\n" if output else ""
    return f"#!/bin/sh\necho {name} >> {log}\n{say}exit {status}\n".encode()


def owner_with(lab: Lab, level: str | None = "verbose", **parts: Any) -> Served:
    """A trusted server with these parts."""
    owner = lab.server("owner")
    owner.server.set_answer(SERIAL, lab.unsigned(lab.onboarding(**parts), level=level))
    return owner


def configured(device: Device, content: bytes = BEFORE) -> Device:
    """The device, with a configuration already active."""
    device.home.mkdir(exist_ok=True)
    (device.home / "running-config").write_bytes(content)
    return device


@pytest.mark.requirement("SZTP-5.6-01")
@pytest.mark.refuses("SZTP-5.6-01")
def test_5_6_the_parts_come_in_their_order(lab: Lab) -> None:
    log = lab.folder / "log"
    config = lab.folder / "devices" / SERIAL / "device" / "running-config"

    def noting(name: str) -> bytes:
        return f"#!/bin/sh\necho {name} $([ -e {config} ] && echo configured) >> {log}\n".encode()

    owner = owner_with(lab, pre_script=noting("pre"), post_script=noting("post"))
    device = lab.device(servers=[owner])
    assert device.run() == 0
    assert log.read_text().split() == ["pre", "post", "configured"]
    stages = [p.rsplit("-", 1)[0] for p in owner.progress() if p.endswith("-complete")]
    assert stages == ["parsing", "pre-script", "config", "post-script", "bootstrap"]


@pytest.mark.requirement("SZTP-5.6-01")
@pytest.mark.parametrize(
    "parts",
    [s for n in (1, 2, 3) for s in itertools.combinations(("pre", "config", "post"), n)],
    ids="+".join,
)
def test_5_6_absent_parts_are_skipped(lab: Lab, parts: tuple[str, ...]) -> None:
    log = lab.folder / "log"
    owner = owner_with(
        lab,
        pre_script=script(log, "pre") if "pre" in parts else None,
        configuration=CONFIGURATION if "config" in parts else None,
        post_script=script(log, "post") if "post" in parts else None,
    )
    device = lab.device(servers=[owner])
    assert device.run() == 0
    ran = log.read_text().split() if log.exists() else []
    assert ran == [p for p in parts if p != "config"]
    assert device.running_config == (CONFIGURATION if "config" in parts else None)
    assert owner.server.violations == ()


@pytest.mark.requirement("SZTP-5.6-02")
@pytest.mark.refuses("SZTP-5.6-02")
@pytest.mark.parametrize("status", [200, 201, 400, 404, 500])
def test_5_6_without_a_204_to_the_first_report_nothing_is_run(lab: Lab, status: int) -> None:
    log = lab.folder / "log"
    owner = owner_with(lab, pre_script=script(log, "pre"))
    owner.server.answer_report(ProgressType.BOOTSTRAP_INITIATED, Response(status))
    device = lab.device(servers=[owner])
    assert device.run() == 12
    assert device.last_reason == "initial-report-failed"
    assert owner.progress() == ["bootstrap-initiated", "bootstrap-error"]
    assert not log.exists()
    assert not device.running_config


@pytest.mark.refuses("SZTP-5.6-03")
def test_5_6_an_invalid_last_leaf_and_the_pre_script_never_runs(lab: Lab) -> None:
    log = lab.folder / "log"
    document = lab.onboarding(pre_script=script(log, "pre"))
    document["ietf-sztp-conveyed-info:onboarding-information"]["post-configuration-script"] = "?"
    owner = lab.server("owner")
    owner.server.set_answer(SERIAL, lab.unsigned(document))
    device = lab.device(servers=[owner])
    assert device.run() == 11
    assert device.last_reason == "malformed"
    assert owner.progress() == ["bootstrap-initiated", "parsing-error"]
    assert not log.exists()
    assert not device.running_config


@pytest.mark.requirement("SZTP-6.3-07")
@pytest.mark.refuses("SZTP-6.3-07")
@pytest.mark.parametrize("missing", ["configuration", "configuration-handling"])
def test_6_3_configuration_and_handling_only_together(lab: Lab, missing: str) -> None:
    document = lab.onboarding()
    del document["ietf-sztp-conveyed-info:onboarding-information"][missing]
    owner = lab.server("owner")
    owner.server.set_answer(SERIAL, lab.unsigned(document))
    device = lab.device(servers=[owner])
    assert device.run() == 11
    assert owner.progress() == ["bootstrap-initiated", "parsing-error"]
    assert not device.running_config
    assert not device.disabled


@pytest.mark.requirement("SZTP-5.6-11", "SZTP-6.3-06")
def test_5_6_a_script_that_warns_is_reported_with_its_output_and_passed(lab: Lab) -> None:
    log = lab.folder / "log"
    owner = owner_with(lab, pre_script=script(log, "pre", 75, "the fan is slow"))
    device = lab.device(servers=[owner])
    assert device.run() == 0
    messages = {r.progress_type: r.report.message for r in owner.server.reports}
    assert "the fan is slow" in (messages[ProgressType.PRE_SCRIPT_WARNING] or "")
    assert device.running_config == CONFIGURATION
    assert owner.progress()[-1] == "bootstrap-complete"
    assert owner.server.violations == ()


@pytest.mark.requirement("SZTP-5.6-12", "SZTP-5.6-11")
@pytest.mark.refuses("SZTP-5.6-12", "SZTP-6.3-06", "SZTP-5.6-11")
@pytest.mark.parametrize("status", [1, 2, 74, 76, 255])
def test_5_6_a_pre_script_that_fails_stops_everything(lab: Lab, status: int) -> None:
    log = lab.folder / "log"
    owner = owner_with(
        lab,
        level=None,
        pre_script=script(log, "pre", status, "no fan at all"),
        post_script=script(log, "post"),
    )
    device = lab.device(servers=[owner])
    assert device.run() == 12
    assert device.last_reason == "pre-script-failed"
    assert owner.progress() == ["bootstrap-initiated", "pre-script-error"]
    assert "no fan at all" in (owner.server.reports[-1].report.message or "")
    assert log.read_text() == "pre\n"
    assert not device.running_config
    assert not device.provisioned


@pytest.mark.refuses("SZTP-5.6-11")
def test_5_6_a_script_that_does_not_end_is_a_failed_one(lab: Lab) -> None:
    owner = owner_with(lab, pre_script=b"#!/bin/sh\necho waiting\nsleep 60\n")
    device = lab.device(servers=[owner], limits={"script-seconds": 1})
    assert device.run() == 12
    assert device.last_reason == "script-timeout"
    assert owner.progress()[-1] == "pre-script-error"
    assert "waiting" in (owner.server.reports[-1].report.message or "")


@pytest.mark.requirement("SZTP-5.6-14", "SZTP-5.5-03")
@pytest.mark.refuses("SZTP-5.6-14")
def test_5_6_after_a_failure_the_next_server_of_the_list_is_asked(lab: Lab) -> None:
    """The enclosing loop, not the beginning: the server that redirected is asked once."""
    first = lab.server("first")
    failing, good = lab.server("failing"), lab.server("good", address="127.0.0.2")
    first.server.set_answer(SERIAL, lab.signed(lab.redirect(failing, good)))
    failing.server.set_answer(
        SERIAL, lab.unsigned(lab.onboarding(post_script=b"#!/bin/sh\nexit 1\n"))
    )
    good.server.set_answer(SERIAL, lab.unsigned(lab.onboarding(configuration=b'{"good": 1}')))
    device = lab.device(servers=[first], server_anchors=False)
    assert device.run() == 0
    assert [len(s.inputs()) for s in (first, failing, good)] == [1, 1, 1]
    assert failing.progress()[-1] == "post-script-error"
    assert good.progress()[-1] == "bootstrap-complete"
    assert device.running_config == b'{"good": 1}'  # and nothing of the failed one


@pytest.mark.requirement("SZTP-5.6-13")
@pytest.mark.parametrize(
    ("handling", "expected"),
    [
        ("merge", {"kept": 1, "changed": 2, "new": 3}),
        ("replace", {"changed": 2, "new": 3}),
    ],
)
def test_5_6_configuration_is_merged_or_replaces(
    lab: Lab, handling: str, expected: dict[str, int]
) -> None:
    owner = owner_with(lab, configuration=b'{"changed": 2, "new": 3}', handling=handling)
    device = configured(lab.device(servers=[owner]))
    assert device.run() == 0
    assert json.loads(device.running_config or b"") == expected


@pytest.mark.refuses("SZTP-5.6-13")
@pytest.mark.parametrize("handling", ["merge", "replace"])
def test_5_6_of_an_invalid_configuration_nothing_is_active(lab: Lab, handling: str) -> None:
    log = lab.folder / "log"
    owner = owner_with(
        lab,
        level=None,
        configuration=b'{"changed": 2, "new": ',
        handling=handling,
        post_script=script(log, "post"),
    )
    device = configured(lab.device(servers=[owner]))
    assert device.run() == 12
    assert device.last_reason == "config-invalid"
    assert owner.progress() == ["bootstrap-initiated", "config-error"]
    assert device.running_config == BEFORE
    assert not log.exists()


@pytest.mark.requirement("SZTP-5.6-15", "SZTP-5.6-16")
@pytest.mark.refuses("SZTP-5.6-15", "SZTP-5.6-16")
def test_5_6_a_failed_post_script_leads_the_configuration_back(lab: Lab) -> None:
    failing = CLEAR_SWITCH + b"exit 3\n"
    owner = owner_with(lab, configuration=b'{"changed": 2}', post_script=failing)
    device = configured(lab.device(servers=[owner]))
    assert device.run() == 12
    assert device.last_reason == "post-script-failed"
    assert device.running_config == BEFORE
    assert not device.disabled  # the switch too is what it was
    assert owner.progress()[-1] == "post-script-error"

    owner.server.set_answer(SERIAL, lab.unsigned(lab.onboarding(configuration=b'{"changed": 3}')))
    assert device.run() == 0
    assert json.loads(device.running_config or b"") == {"kept": 1, "changed": 3}


@pytest.mark.requirement("SZTP-5.6-17")
def test_5_6_a_switch_that_is_still_on_is_a_warning(lab: Lab) -> None:
    owner = owner_with(lab, level=None, post_script=None)
    device = lab.device(servers=[owner])
    assert device.run() == 0
    assert owner.progress() == ["bootstrap-initiated", "bootstrap-warning", "bootstrap-complete"]
    assert device.provisioned


@pytest.mark.requirement("SZTP-5.6-18")
@pytest.mark.refuses("SZTP-5.6-18", "SZTP-5.6-15", "SZTP-7.3-07")
@pytest.mark.parametrize("status", [200, 500])
def test_5_6_without_a_204_to_the_last_report_everything_is_undone(lab: Lab, status: int) -> None:
    owner = owner_with(lab, level=None)
    owner.server.answer_report(ProgressType.BOOTSTRAP_COMPLETE, Response(status))
    device = configured(lab.device(servers=[owner]))
    with device.process("run", FINAL_REPORT_SECONDS=0.5) as agent:
        assert agent.wait(20) == 12
    progress = owner.progress()
    assert progress[0] == "bootstrap-initiated"
    assert set(progress[1:-1]) == {"bootstrap-complete"}
    assert progress[-1] == "bootstrap-error"
    assert device.last_reason == "final-report-failed"
    assert device.running_config == BEFORE
    assert not device.disabled
    assert device.state["state"] == "waiting"

    owner.server.answer_report(ProgressType.BOOTSTRAP_COMPLETE, None)
    assert device.run() == 0
    assert device.provisioned
    assert owner.server.violations == ()


@pytest.mark.requirement("SZTP-5.6-18", "SZTP-5.6-19")
def test_5_6_a_last_report_that_is_acknowledged_late_is_enough(lab: Lab) -> None:
    owner = owner_with(lab, level=None)
    owner.server.answer_report(ProgressType.BOOTSTRAP_COMPLETE, Response(503))

    def recover(_: object) -> None:
        if owner.progress().count("bootstrap-complete") == 1:
            owner.server.answer_report(ProgressType.BOOTSTRAP_COMPLETE, None)

    owner.server.subscribe(recover)
    device = lab.device(servers=[owner])
    assert device.run() == 0
    assert owner.progress() == ["bootstrap-initiated", "bootstrap-complete", "bootstrap-complete"]
    assert device.running_config == CONFIGURATION
    assert device.provisioned


@pytest.mark.requirement("SZTP-7.3-07")
def test_5_6_other_reports_that_fail_stop_nothing(lab: Lab) -> None:
    owner = owner_with(lab)
    for progress_type in ProgressType:
        if progress_type.value not in {"bootstrap-initiated", "bootstrap-complete"}:
            owner.server.answer_report(progress_type, Response(500))
    device = lab.device(servers=[owner])
    assert device.run() == 0
    assert device.running_config == CONFIGURATION
    assert "config-complete" in owner.progress()
