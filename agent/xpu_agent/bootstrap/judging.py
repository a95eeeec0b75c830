# SPDX-License-Identifier: Apache-2.0
"""From artifacts as received to a judgement: parse, decrypt, parse, judge (RFC 8572, 5.3, 5.4).

Decryption stands between two pure steps because private keys live behind a port. A bundle that
gets no farther than parsing or decryption has its judgement too, so that every refusal is told
in the same words.
"""

from collections.abc import Collection
from typing import assert_never

from xpu_agent.artifacts.bundle import ArtifactName, Artifacts, assemble_bundle, open_artifacts
from xpu_agent.device import ClockReading, DeviceFacts
from xpu_agent.errors import MalformedError, TrustError
from xpu_agent.ports import DeviceKeys, Judged
from xpu_agent.trust.signed_data import (
    CheckedStep,
    Judgement,
    Refusal,
    Step,
    StepResult,
    TrustedOnboarding,
    TrustedRedirect,
    UntrustedRedirect,
    judge,
)
from xpu_agent.trust.state import TrustState


def judge_artifacts(
    artifacts: Artifacts,
    *,
    trust: TrustState,
    facts: DeviceFacts,
    clock: ClockReading,
    nonces: Collection[bytes],
    keys: DeviceKeys,
) -> Judgement:
    """What the artifacts are worth; never raises for anything in them.

    `trust` is that of the source they came from. `nonces` are those sent in this attempt.

    Raises:
        IdentityError: the device has no key to open an envelope with.
    """
    plaintexts: dict[ArtifactName, bytes] = {}
    stopped_at = Step.PARSE
    try:
        opened = open_artifacts(artifacts)
        stopped_at = Step.DECRYPT
        for name, enveloped in opened.enveloped.items():
            plaintexts[name] = keys.decrypt(enveloped)
        stopped_at = Step.PARSE
        bundle = assemble_bundle(opened, plaintexts, facts.leniencies)
    except (MalformedError, TrustError) as error:
        refusal = Refusal(error.reason, error.message)
        return stopped(stopped_at, refusal)
    return judge(
        bundle,
        trust=trust,
        facts=facts,
        clock=clock,
        nonces=nonces,
        decrypted=bool(plaintexts),
    )


def judged_event(judgement: Judgement) -> Judged:
    """The judgement as the listeners are told of it."""
    match judgement.verdict:
        case TrustedOnboarding():
            return Judged(judgement.steps, "trusted-onboarding")
        case TrustedRedirect():
            return Judged(judgement.steps, "trusted-redirect")
        case UntrustedRedirect():
            return Judged(judgement.steps, "untrusted-redirect")
        case None:
            refusal = judgement.refusal
            if refusal is None:
                raise RuntimeError("a judgement without verdict has a refusal")
            return Judged(judgement.steps, "refused", refusal.reason, refusal.message)
        case _:
            assert_never(judgement.verdict)


def stopped(failed: Step, refusal: Refusal) -> Judgement:
    """The judgement of a bundle that failed at this step, before it could be judged."""
    order = list(Step)
    place = order.index(failed)
    steps = (
        *(CheckedStep(step, StepResult.OK) for step in order[:place]),
        CheckedStep(failed, StepResult.FAILED, refusal.reason, refusal.message),
        *(CheckedStep(step, StepResult.SKIPPED) for step in order[place + 1 :]),
    )
    return Judgement(steps, None, refusal)
