# SPDX-License-Identifier: Apache-2.0
"""From trusted onboarding information to the steps it means on this device (RFC 8572, 5.6). Pure.

The order is the RFC's: boot image, pre-configuration script, configuration, post-configuration
script; absent parts have no step. The image rule, in the order it is applied:

1. `os-name` and `os-version`, where given, alone decide whether the running image is the one.
2. Else, with `download-uri` and `image-verification`, the digest recorded at installation
   decides: the platform's record, else this agent's own of a trial that got as far as here.
   Unknown counts as different.
3. Else there is nothing to compare and no step.
4. A wanted image is refused here, before anything is touched, when there is nowhere to get it
   from, nothing to verify it by, or when it was tried: rolled back, or installed last and the
   device still does not run what is asked for. Nothing else would end a reinstall loop.

A plan has no effects and is made from `TrustedOnboarding` and from nothing else.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import assert_never

from xpu_agent.artifacts.conveyed_info import (
    BootImage,
    ConfigurationHandling,
    HashAlgorithm,
    OnboardingInformation,
)
from xpu_agent.device import RunningImage
from xpu_agent.errors import Reason
from xpu_agent.lifecycle import TrialImage
from xpu_agent.ports import ExpectedImage, ScriptStage
from xpu_agent.trust.signed_data import TrustedBy, TrustedOnboarding


@dataclass(frozen=True, slots=True)
class KeepImage:
    """The device runs the image asked for; nothing to do but to say so."""

    why: str


@dataclass(frozen=True, slots=True)
class InstallImage:
    """Download from the first of `uris` that works, verify, install, reboot."""

    expected: ExpectedImage
    uris: tuple[str, ...]
    mismatch: str  # what differs, for people


@dataclass(frozen=True, slots=True)
class RefuseImage:
    """Another image is asked for and can't, or must not, be installed: `boot-image-error`."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class RunScript:
    """Run a script to its end."""

    stage: ScriptStage
    content: bytes


@dataclass(frozen=True, slots=True)
class ApplyConfiguration:
    """Merge or replace the running configuration, all of it or nothing."""

    content: bytes
    handling: ConfigurationHandling


PlanStep = KeepImage | InstallImage | RefuseImage | RunScript | ApplyConfiguration


@dataclass(frozen=True, slots=True)
class OnboardingPlan:
    """The steps in order, and the digest of the document they come from.

    After an `InstallImage` the device reboots and everything is discovered again: the steps
    behind it show what is to come, they are not carried out in the same boot.
    """

    steps: tuple[PlanStep, ...]
    content_sha256: bytes
    trusted_by: TrustedBy

    @property
    def image_settled(self) -> bool:
        """Whether the running image is the one asked for, or none is."""
        return not any(isinstance(step, InstallImage | RefuseImage) for step in self.steps)


def make_plan(
    onboarding: TrustedOnboarding,
    running: RunningImage,
    refused_images: Collection[str] = (),
    last_trial: TrialImage | None = None,
) -> OnboardingPlan:
    """What the information means on this device.

    `refused_images`: digests (hex) of images that were rolled back. `last_trial`: the image this
    agent installed last. An image that must not be installed is a step of the plan, not an
    exception: the failure belongs to the image stage and is reported there.
    """
    information = onboarding.information
    steps: list[PlanStep] = []
    if information.boot_image is not None:
        image = _image_step(information.boot_image, running, refused_images, last_trial)
        if image is not None:
            steps.append(image)
    steps.extend(_later_steps(information))
    return OnboardingPlan(tuple(steps), onboarding.evidence.sha256, onboarding.trusted_by)


def describe(step: PlanStep) -> str:
    """One line for people; payloads by their size alone, they may hold secrets."""
    match step:
        case KeepImage():
            return f"boot image: keep the running one ({step.why})"
        case InstallImage():
            return (
                f"boot image: install sha-256 {step.expected.sha256.hex()} and reboot"
                f" ({step.mismatch}; {len(step.uris)} URIs)"
            )
        case RefuseImage():
            return f"boot image: refuse, {step.reason}: {step.message}"
        case RunScript():
            return f"{step.stage} script: run ({len(step.content)} bytes)"
        case ApplyConfiguration():
            return f"configuration: {step.handling} ({len(step.content)} bytes)"
        case _:
            assert_never(step)


def _later_steps(information: OnboardingInformation) -> list[PlanStep]:
    """Scripts and configuration, in the RFC's order."""
    steps: list[PlanStep] = []
    if information.pre_configuration_script is not None:
        steps.append(RunScript(ScriptStage.PRE, information.pre_configuration_script))
    if information.configuration is not None and information.configuration_handling is not None:
        steps.append(
            ApplyConfiguration(information.configuration, information.configuration_handling)
        )
    if information.post_configuration_script is not None:
        steps.append(RunScript(ScriptStage.POST, information.post_configuration_script))
    return steps


def _image_step(
    image: BootImage,
    running: RunningImage,
    refused_images: Collection[str],
    last_trial: TrialImage | None,
) -> PlanStep | None:
    """The image rule of the module docstring; None where there is nothing to compare."""
    digest = usable_digest(image)
    if image.os_name is not None or image.os_version is not None:
        mismatch = _named_mismatch(image, running)
        if mismatch is None:
            return KeepImage(f"running {_label(running.os_name, running.os_version)}")
    elif image.download_uris and digest is not None:
        recorded = _recorded_digest(running, last_trial)
        if recorded == digest.hex():
            return KeepImage(f"running sha-256 {recorded}")
        mismatch = f"the running image's digest is {recorded or 'unknown'}"
    else:
        return None

    if not image.download_uris:
        return RefuseImage(
            Reason.IMAGE_UNREACHABLE, f"{mismatch}, and no download-uri is given for another"
        )
    if digest is None:
        return RefuseImage(
            Reason.IMAGE_SIGNATURE,
            f"{mismatch}, and no image-verification this device can use is given",
        )
    if digest.hex() in refused_images:
        return RefuseImage(
            Reason.ROLLED_BACK,
            f"{mismatch}, and the image sha-256 {digest.hex()} was rolled back before",
        )
    if _in_a_row(image, digest, running, last_trial):
        return RefuseImage(
            Reason.IMAGE_MISMATCH,
            f"{mismatch}, although the image sha-256 {digest.hex()} was installed last",
        )
    expected = ExpectedImage(image.os_name, image.os_version, digest)
    return InstallImage(expected, image.download_uris, mismatch)


def usable_digest(image: BootImage) -> bytes | None:
    """The fingerprint to verify by; SHA-256 is the only algorithm there is (6.3)."""
    for verification in image.verifications:
        if verification.algorithm is HashAlgorithm.SHA_256:
            return verification.value
    return None


def _recorded_digest(running: RunningImage, last_trial: TrialImage | None) -> str | None:
    """The digest (hex) of the running image as recorded when it was installed."""
    if running.sha256 is not None:
        return running.sha256.hex()
    if last_trial is not None and last_trial.reached:
        return last_trial.sha256
    return None


def _named_mismatch(image: BootImage, running: RunningImage) -> str | None:
    """How the running image differs from the names asked for; None if it does not.

    Only what is given is compared; a name the device does not know of itself is different.
    """
    same = (image.os_name is None or image.os_name == running.os_name) and (
        image.os_version is None or image.os_version == running.os_version
    )
    if same:
        return None
    wanted = _label(image.os_name, image.os_version)
    return f"running {_label(running.os_name, running.os_version)}, asked for {wanted}"


def _in_a_row(
    image: BootImage, digest: bytes, running: RunningImage, last_trial: TrialImage | None
) -> bool:
    """Whether installing it would be the second time in a row for one digest.

    Allowed once more only for an image asked for by name that ran far enough to bring the agent
    up and of which the platform knows that it runs no longer.
    """
    if running.sha256 == digest:
        return True  # it runs, and calls itself something else than was asked for
    if last_trial is None or last_trial.sha256 != digest.hex():
        return False
    named = image.os_name is not None or image.os_version is not None
    return not (named and last_trial.reached and running.sha256 is not None)


def _label(name: str | None, version: str | None) -> str:
    """Name and version as far as they are known."""
    return " ".join(part for part in (name, version) if part is not None) or "an unnamed image"
