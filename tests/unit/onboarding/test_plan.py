# SPDX-License-Identifier: Apache-2.0
"""The plan: order of the steps, and the image rule in every branch."""

import hashlib

import pytest
from tests.fakes import boot_image, onboarding, trusted

from xpu_agent.artifacts.conveyed_info import BootImage, ConfigurationHandling
from xpu_agent.device import RunningImage
from xpu_agent.errors import Reason
from xpu_agent.lifecycle import TrialImage
from xpu_agent.onboarding.plan import (
    ApplyConfiguration,
    InstallImage,
    KeepImage,
    PlanStep,
    RefuseImage,
    RunScript,
    describe,
    make_plan,
)
from xpu_agent.ports import ScriptStage

NEW = b"new image"
DIGEST = hashlib.sha256(NEW).digest()
RUNNING = RunningImage("xpu-os", "1.0", hashlib.sha256(b"old image").digest())
UNKNOWN = RunningImage("xpu-os", "1.0", None)
TRIED = TrialImage(DIGEST.hex(), "xpu-os", "2.0", reached=True)


def image_step(
    image: BootImage,
    running: RunningImage = RUNNING,
    refused: tuple[str, ...] = (),
    trial: TrialImage | None = None,
) -> PlanStep | None:
    plan = make_plan(trusted(onboarding(image=image)), running, refused, trial)
    assert len(plan.steps) <= 1
    return plan.steps[0] if plan.steps else None


@pytest.mark.requirement("SZTP-5.6-01")
def test_steps_stand_in_the_order_of_the_rfc() -> None:
    information = onboarding(
        image=boot_image(NEW, os_version="2.0"),
        pre=b"pre",
        configuration=b"configuration",
        handling=ConfigurationHandling.REPLACE,
        post=b"post",
    )
    plan = make_plan(trusted(information), RUNNING)
    image, pre, configuration, post = plan.steps
    assert isinstance(image, InstallImage)
    assert pre == RunScript(ScriptStage.PRE, b"pre")
    assert configuration == ApplyConfiguration(b"configuration", ConfigurationHandling.REPLACE)
    assert post == RunScript(ScriptStage.POST, b"post")
    assert not plan.image_settled


@pytest.mark.requirement("SZTP-5.6-01")
def test_absent_parts_have_no_step() -> None:
    plan = make_plan(trusted(onboarding(post=b"post")), RUNNING)
    assert plan.steps == (RunScript(ScriptStage.POST, b"post"),)
    assert plan.image_settled


@pytest.mark.requirement("SZTP-5.6-04")
@pytest.mark.parametrize(("name", "version"), [("xpu-os", "1.0"), ("xpu-os", None), (None, "1.0")])
def test_named_image_that_runs_is_kept(name: str | None, version: str | None) -> None:
    step = image_step(boot_image(NEW, os_name=name, os_version=version))
    assert isinstance(step, KeepImage)


@pytest.mark.refuses("SZTP-5.6-04")
@pytest.mark.parametrize(
    ("name", "version"),
    [("other-os", "1.0"), ("xpu-os", "2.0"), ("other-os", None), (None, "2.0"), (None, "1.0 ")],
)
def test_each_name_that_differs_leads_to_an_install(name: str | None, version: str | None) -> None:
    step = image_step(boot_image(NEW, os_name=name, os_version=version))
    assert isinstance(step, InstallImage)
    assert step.expected.sha256 == DIGEST


def test_where_a_name_is_given_the_digest_does_not_decide() -> None:
    running = RunningImage("xpu-os", "2.0", hashlib.sha256(b"another build").digest())
    assert isinstance(image_step(boot_image(NEW, os_version="2.0"), running), KeepImage)


def test_a_device_that_does_not_know_its_version_installs() -> None:
    running = RunningImage(None, None, None)
    assert isinstance(image_step(boot_image(NEW, os_version="2.0"), running), InstallImage)


def test_by_digest_alone_the_recorded_digest_decides() -> None:
    running = RunningImage("xpu-os", "1.0", DIGEST)
    assert isinstance(image_step(boot_image(NEW), running), KeepImage)
    assert isinstance(image_step(boot_image(NEW)), InstallImage)


def test_by_digest_alone_an_unknown_digest_installs_once() -> None:
    assert isinstance(image_step(boot_image(NEW), UNKNOWN), InstallImage)


def test_by_digest_alone_our_own_record_of_a_trial_that_came_up_counts() -> None:
    assert isinstance(image_step(boot_image(NEW), UNKNOWN, trial=TRIED), KeepImage)


def test_by_digest_alone_never_twice_in_a_row() -> None:
    step = image_step(boot_image(NEW), RUNNING, trial=TRIED)
    assert isinstance(step, RefuseImage)
    assert step.reason is Reason.IMAGE_MISMATCH


def test_nothing_to_compare_is_no_step() -> None:
    assert image_step(boot_image(None)) is None
    assert image_step(boot_image(None, uris=())) is None


@pytest.mark.requirement("SZTP-5.6-06")
def test_another_image_without_uri_is_an_error_of_the_plan() -> None:
    step = image_step(boot_image(NEW, os_version="2.0", uris=()))
    assert isinstance(step, RefuseImage)
    assert step.reason is Reason.IMAGE_UNREACHABLE


@pytest.mark.refuses("SZTP-5.6-07")
def test_another_image_without_usable_verification_is_an_error_of_the_plan() -> None:
    step = image_step(boot_image(None, os_version="2.0"))
    assert isinstance(step, RefuseImage)
    assert step.reason is Reason.IMAGE_SIGNATURE


def test_a_digest_that_was_rolled_back_is_not_installed_again() -> None:
    step = image_step(boot_image(NEW, os_version="2.0"), refused=("00" * 32, DIGEST.hex()))
    assert isinstance(step, RefuseImage)
    assert step.reason is Reason.ROLLED_BACK


def test_another_digest_may_follow_one_that_was_rolled_back() -> None:
    step = image_step(boot_image(NEW, os_version="2.0"), refused=("00" * 32,))
    assert isinstance(step, InstallImage)


def test_an_image_that_runs_under_another_name_is_not_installed_for_ever() -> None:
    running = RunningImage("xpu-os", "1.9", DIGEST)
    step = image_step(boot_image(NEW, os_version="2.0"), running, trial=TRIED)
    assert isinstance(step, RefuseImage)
    assert step.reason is Reason.IMAGE_MISMATCH


def test_a_named_image_that_came_up_and_runs_no_longer_may_be_installed_again() -> None:
    step = image_step(boot_image(NEW, os_version="2.0"), RUNNING, trial=TRIED)
    assert isinstance(step, InstallImage)


def test_a_named_image_is_not_installed_twice_where_nobody_knows_what_runs() -> None:
    step = image_step(boot_image(NEW, os_version="2.0"), UNKNOWN, trial=TRIED)
    assert isinstance(step, RefuseImage)


def test_steps_are_described_without_their_payload() -> None:
    information = onboarding(
        image=boot_image(NEW, os_version="2.0"),
        pre=b"secret-1",
        configuration=b"secret-2",
        post=b"secret-3",
    )
    plan = make_plan(trusted(information), RUNNING)
    text = "\n".join(describe(step) for step in plan.steps)
    assert "secret" not in text
    assert "running xpu-os 1.0, asked for 2.0" in text
    assert "merge (8 bytes)" in text
    keep = make_plan(trusted(onboarding(image=boot_image(NEW, os_version="1.0"))), RUNNING)
    assert describe(keep.steps[0]) == "boot image: keep the running one (running xpu-os 1.0)"
    none = make_plan(trusted(onboarding(image=boot_image(None, os_version="2.0"))), RUNNING)
    assert "refuse, image-signature" in describe(none.steps[0])
