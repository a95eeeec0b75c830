# SPDX-License-Identifier: Apache-2.0
"""May this data be used? Every kind of conveyed information from every source (RFC 8572, 5.3)."""

import hashlib
from collections.abc import Mapping
from typing import Any

import pytest
from tests.unit.trust import bundles
from tests.unit.trust.bundles import accepted, authorities, judged, refused

from xpu_agent.artifacts.bundle import Artifacts
from xpu_agent.artifacts.conveyed_info import Encoding
from xpu_agent.device import Leniency
from xpu_agent.errors import Reason, TrustError
from xpu_agent.trust.signed_data import (
    Judgement,
    Step,
    StepResult,
    TrustedBy,
    TrustedOnboarding,
    TrustedRedirect,
    UntrustedRedirect,
    judge,
)
from xpu_agent.trust.state import TrustState
from xpu_emulator.artifacts import ContentType, conveyed_json, plain

BOTH = list(TrustState)
UNTRUSTED, TRUSTED = TrustState.FALSE, TrustState.TRUE


def _steps(judgement: Judgement) -> dict[Step, StepResult]:
    return {each.step: each.result for each in judgement.steps}


@pytest.mark.requirement("SZTP-9.5-01")
def test_unsigned_redirect_of_an_untrusted_source_is_followed_untrusted() -> None:
    verdict = accepted(judged(bundles.unsigned(bundles.REDIRECT), trust=UNTRUSTED)).require()
    assert isinstance(verdict, UntrustedRedirect)


@pytest.mark.requirement("SZTP-5.5-04")
def test_unsigned_redirect_of_a_trusted_server_is_trusted() -> None:
    verdict = accepted(judged(bundles.unsigned(bundles.REDIRECT), trust=TRUSTED)).require()
    assert isinstance(verdict, TrustedRedirect)
    assert verdict.trusted_by is TrustedBy.SERVER


@pytest.mark.refuses("SZTP-9.5-01", "SZTP-5.3-10")
def test_unsigned_onboarding_of_an_untrusted_source_is_refused() -> None:
    judgement = judged(bundles.unsigned(), trust=UNTRUSTED)
    assert judgement.verdict is None
    assert judgement.refusal is not None
    assert judgement.refusal.reason is Reason.UNSIGNED_NOT_ALLOWED
    assert _steps(judgement)[Step.CONVEYED_INFORMATION_SIGNATURE] is StepResult.FAILED
    with pytest.raises(TrustError) as caught:
        judgement.require()
    assert caught.value.reason is Reason.UNSIGNED_NOT_ALLOWED


def test_unsigned_onboarding_of_a_trusted_server_is_trusted() -> None:
    judgement = accepted(judged(bundles.unsigned(), trust=TRUSTED))
    verdict = judgement.require()
    assert isinstance(verdict, TrustedOnboarding)
    assert verdict.trusted_by is TrustedBy.SERVER
    assert judgement.owner is None
    steps = _steps(judgement)
    assert steps.pop(Step.PARSE) is StepResult.OK
    assert steps.pop(Step.CONVEYED_INFORMATION_CONTENT) is StepResult.OK
    assert set(steps.values()) == {StepResult.SKIPPED}


@pytest.mark.requirement("SZTP-5.3-07", "SZTP-5.4-01")
@pytest.mark.parametrize("trust", BOTH)
@pytest.mark.parametrize(
    ("document", "kind"),
    [(bundles.ONBOARDING, TrustedOnboarding), (bundles.REDIRECT, TrustedRedirect)],
)
def test_signed_data_that_validates_is_trusted_by_its_signature(
    trust: TrustState, document: Mapping[str, Any], kind: type[TrustedOnboarding | TrustedRedirect]
) -> None:
    judgement = accepted(
        judged(bundles.bundle(bundles.make_conveyed(document=document)), trust=trust)
    )
    verdict = judgement.require()
    assert isinstance(verdict, kind)
    assert isinstance(verdict, TrustedOnboarding | TrustedRedirect)
    assert verdict.trusted_by is TrustedBy.SIGNATURE
    assert verdict.evidence.encoding is Encoding.JSON
    assert verdict.evidence.sha256 == hashlib.sha256(conveyed_json(document)).digest()
    assert judgement.owner is not None
    assert judgement.owner.der == authorities().owner.der


@pytest.mark.refuses("SZTP-5.3-07", "SZTP-5.4-01")
@pytest.mark.parametrize("trust", BOTH)
@pytest.mark.parametrize("document", [bundles.ONBOARDING, bundles.REDIRECT])
def test_signed_data_that_does_not_validate_is_refused_even_from_a_trusted_server(
    trust: TrustState, document: Mapping[str, Any]
) -> None:
    stranger = bundles.root("Stranger")
    conveyed = bundles.make_conveyed(stranger, document=document, certificates=[stranger])
    refused(
        judged(bundles.bundle(conveyed), trust=trust),
        Step.CONVEYED_INFORMATION_SIGNATURE,
        Reason.SIGNATURE_INVALID,
    )


@pytest.mark.parametrize("trust", BOTH)
@pytest.mark.parametrize("document", [bundles.ONBOARDING, bundles.REDIRECT])
def test_companions_make_unsigned_information_no_more_trusted(
    trust: TrustState, document: Mapping[str, Any]
) -> None:
    octets = plain(conveyed_json(document), ContentType.CONVEYED_JSON)
    artifacts = Artifacts(octets, bundles.owner_bag(), bundles.make_voucher())
    with_them = judged(bundles.parsed(artifacts), trust=trust)
    assert with_them == judged(bundles.unsigned(document), trust=trust)


@pytest.mark.parametrize("trust", BOTH)
def test_what_is_no_document_is_refused_as_malformed(trust: TrustState) -> None:
    octets = plain(b'{"no": "document"}', ContentType.CONVEYED_JSON)
    judgement = judged(bundles.parsed(Artifacts(octets)), trust=trust)
    assert judgement.refusal is not None
    assert judgement.refusal.reason is Reason.MALFORMED
    assert _steps(judgement)[Step.CONVEYED_INFORMATION_CONTENT] is StepResult.FAILED


def test_a_signed_document_is_parsed_last() -> None:
    conveyed = bundles.make_conveyed(document=b'{"no": "document"}')
    refused(judged(bundles.bundle(conveyed)), Step.CONVEYED_INFORMATION_CONTENT, Reason.MALFORMED)


@pytest.mark.parametrize("decrypted", [False, True])
def test_the_steps_tell_whether_an_envelope_was_opened(decrypted: bool) -> None:
    judgement = judge(
        bundles.bundle(),
        trust=UNTRUSTED,
        facts=bundles.facts(),
        clock=bundles.CLOCK,
        nonces=(),
        decrypted=decrypted,
    )
    wanted = StepResult.OK if decrypted else StepResult.SKIPPED
    assert _steps(judgement)[Step.DECRYPT] is wanted


def test_leniencies_and_warnings_pass_through() -> None:
    content = conveyed_json(bundles.ONBOARDING)
    octets = plain(content, ContentType.CONVEYED_XML)
    lenient = bundles.facts(leniencies=frozenset({Leniency.MISLABELLED_ENCODING}))
    what = bundles.parsed(Artifacts(octets))
    verdict = accepted(judged(what, trust=TRUSTED, device=lenient)).require()
    assert verdict.evidence.warnings
    strict = judged(what, trust=TRUSTED)
    assert strict.refusal is not None
    assert strict.refusal.reason is Reason.MALFORMED
