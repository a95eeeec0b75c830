# SPDX-License-Identifier: Apache-2.0
"""`xpu-agent inspect`: judge artifacts offline, with the code a boot uses.

No network, no state read or written. The answer is one object with the stable step names, for
malformed input too.
"""

import base64
import binascii
import hashlib
import json
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from xpu_agent import limits
from xpu_agent.artifacts.bundle import ArtifactName, Artifacts, open_artifacts
from xpu_agent.artifacts.conveyed_info import OnboardingInformation, RedirectInformation
from xpu_agent.bootstrap.judging import judge_artifacts, stopped
from xpu_agent.clock import ClockMode, SystemClock
from xpu_agent.config import AgentConfig
from xpu_agent.device import ClockReading, DeviceFacts
from xpu_agent.errors import ExitCode, MalformedError, Reason, UsageError, XpuAgentError
from xpu_agent.facts import Identity, gather, read_anchors, read_identity, read_keys
from xpu_agent.ports import DeviceKeys
from xpu_agent.trust.signed_data import (
    Judgement,
    Refusal,
    Step,
    TrustedOnboarding,
    TrustedRedirect,
    UntrustedRedirect,
)
from xpu_agent.trust.state import TrustState
from xpu_agent.wiring import NoKeys, Options, load_settings

_PEM = re.compile(
    rb"\s*-----BEGIN (CMS|PKCS7)-----\r?\n([A-Za-z0-9+/=\s]+)-----END \1-----\s*", re.ASCII
)
_BASE64 = re.compile(rb"[A-Za-z0-9+/\s]+=?\s*=?\s*", re.ASCII)


def read_artifact(path: Path) -> bytes:
    """The DER octets of one layer: DER, PEM labelled CMS or PKCS7, or the leaf's base64.

    Raises:
        UsageError: the file can't be read.
        MalformedError: too large, or base64 that is none.
    """
    try:
        with path.open("rb") as file:
            octets = file.read(2 * limits.ARTIFACT_BYTES + 1)
    except OSError as error:
        raise UsageError(
            f"{path} can't be read: {error.strerror}", next_action="check the path"
        ) from error
    if len(octets) > 2 * limits.ARTIFACT_BYTES:
        raise MalformedError(
            f"{path.name} is larger than {limits.ARTIFACT_BYTES} octets", reason=Reason.TOO_LARGE
        )
    if octets[:1] == b"\x30":
        return octets
    if (pem := _PEM.fullmatch(octets)) is not None:
        return _decode_base64(pem.group(2), path)
    if octets.strip() and _BASE64.fullmatch(octets):
        return _decode_base64(octets, path)
    return octets  # whatever it is, the parser says what is wrong with it


def _decode_base64(text: bytes, path: Path) -> bytes:
    try:
        return base64.b64decode(b"".join(text.split()), validate=True)
    except binascii.Error as error:
        raise MalformedError(f"{path.name} holds base64 that does not decode") from error


def inspect_artifacts(
    artifacts: Artifacts,
    *,
    facts: DeviceFacts,
    keys: DeviceKeys | None,
    clock: ClockReading,
    from_trusted_server: bool,
    nonces: tuple[bytes, ...],
) -> Judgement:
    """Judge as a boot would; without keys an encrypted artifact ends it, by name."""
    if keys is None:
        for name in _enveloped(artifacts):
            return stopped(
                Step.DECRYPT,
                Refusal(
                    Reason.DECRYPTION_FAILED,
                    f"the {name} is encrypted and no private key is configured",
                ),
            )
    return judge_artifacts(
        artifacts,
        trust=TrustState.TRUE if from_trusted_server else TrustState.FALSE,
        facts=facts,
        clock=clock,
        nonces=nonces,
        keys=NoKeys() if keys is None else keys,
    )


def _enveloped(artifacts: Artifacts) -> tuple[ArtifactName, ...]:
    """Those that have to be decrypted; none where they can't be read at all."""
    try:
        return tuple(open_artifacts(artifacts).enveloped)
    except XpuAgentError:
        return ()


def as_json(judgement: Judgement) -> dict[str, object]:
    """The object of `inspect --json` (`schemas/inspect.schema.json`)."""
    verdict, refusal = judgement.verdict, judgement.refusal
    answer: dict[str, object] = {
        "format": "xpu-agent-inspect/1",
        "verdict": "rejected",
        "trusted-by": None,
        "reason": refusal.reason.value if refusal else None,
        "message": refusal.message if refusal else None,
        "steps": [
            {
                "step": s.step.value,
                "result": s.result.value,
                "reason": s.reason.value if s.reason else None,
                "note": s.note,
            }
            for s in judgement.steps
        ],
        "content-type": None,
        "content-sha256": None,
        "warnings": [],
        "conveyed": None,
    }
    if verdict is None:
        return answer
    answer["content-type"] = verdict.evidence.encoding.value
    answer["content-sha256"] = verdict.evidence.sha256.hex()
    answer["warnings"] = list(verdict.evidence.warnings)
    answer["conveyed"] = _conveyed(verdict.information)
    match verdict:
        case TrustedOnboarding() | TrustedRedirect():
            answer["verdict"] = "trusted"
            answer["trusted-by"] = verdict.trusted_by.value
        case UntrustedRedirect():
            answer["verdict"] = "untrusted-redirect"
    return answer


def _conveyed(information: RedirectInformation | OnboardingInformation) -> dict[str, object]:
    """The document for people and machines: bodies as size and digest, never as they are."""
    if isinstance(information, RedirectInformation):
        servers = [
            {
                "address": s.address,
                "port": s.port,
                "trust-anchor-certificates": (
                    None
                    if s.trust_anchor is None
                    else [c.subject_text for c in s.trust_anchor.certificates]
                ),
            }
            for s in information.servers
        ]
        return {"redirect-information": {"bootstrap-server": servers}}
    document: dict[str, object] = {}
    if (image := information.boot_image) is not None:
        document["boot-image"] = {
            "os-name": image.os_name,
            "os-version": image.os_version,
            "download-uri": list(image.download_uris),
            "image-verification": [
                {"hash-algorithm": v.algorithm.value, "hash-value": v.value.hex(":")}
                for v in image.verifications
            ],
        }
    if information.pre_configuration_script is not None:
        document["pre-configuration-script"] = _body(information.pre_configuration_script)
    if information.configuration is not None and information.configuration_handling is not None:
        document["configuration-handling"] = information.configuration_handling.value
        document["configuration"] = _body(information.configuration)
    if information.post_configuration_script is not None:
        document["post-configuration-script"] = _body(information.post_configuration_script)
    return {"onboarding-information": document}


def _body(octets: bytes) -> dict[str, object]:
    return {"bytes": len(octets), "sha256": hashlib.sha256(octets).hexdigest()}


def as_text(answer: Mapping[str, object]) -> str:
    """The same for people: a line a step, then the verdict."""
    marks = {"ok": "ok     ", "failed": "FAILED ", "skipped": "-      "}
    lines = []
    steps = answer["steps"]
    assert isinstance(steps, list)  # noqa: S101  # our own object, a few lines above
    for step in steps:
        tail = f"  {step['reason']}" if step["reason"] else ""
        tail += f"  ({step['note']})" if step["note"] else ""
        lines.append(f"  {marks[step['result']]}{step['step']}{tail}")
    by = f", by {answer['trusted-by']}" if answer["trusted-by"] else ""
    lines.append(f"verdict: {answer['verdict']}{by}")
    if answer["reason"]:
        lines.append(f"reason: {answer['reason']}: {answer['message']}")
    if answer["conveyed"]:
        lines.append(json.dumps(answer["conveyed"], indent=2, ensure_ascii=True))
    return "\n".join(lines)


def run(
    options: Options,
    *,
    conveyed_information: str,
    owner_certificate: str | None,
    ownership_voucher: str | None,
    from_trusted_server: bool,
    nonce: str | None,
    at: str | None,
    clock_inaccurate: bool,
    json_output: bool,
) -> int:
    """The command: read, judge, print; 0 for `trusted` and `untrusted-redirect`, else 11.

    Raises:
        UsageError: a file can't be read, a nonce or time that is none.
        ConfigurationError, IdentityError: the configuration, its anchors or identity.
    """
    loaded = load_settings(options)
    config = loaded.config
    identity = read_identity(config)
    facts = gather(
        config,
        identity,
        None,
        voucher_anchors=read_anchors(config.trust.voucher_anchors),
        server_anchors=(),
        root=options.root,
    )
    clock = _clock(options, config, at, inaccurate=clock_inaccurate)
    nonces = () if nonce is None else (_nonce(nonce),)
    try:
        octets = [
            None if written is None else read_artifact(options.path(written))
            for written in (conveyed_information, owner_certificate, ownership_voucher)
        ]
    except MalformedError as error:
        judgement = stopped(Step.PARSE, Refusal(error.reason, error.message))
    else:
        artifacts = Artifacts(octets[0] or b"", octets[1], octets[2])
        judgement = inspect_artifacts(
            artifacts,
            facts=facts,
            keys=_keys_if_needed(config, identity, artifacts),
            clock=clock,
            from_trusted_server=from_trusted_server,
            nonces=nonces,
        )
    answer = as_json(judgement)
    text = json.dumps(answer, indent=2) if json_output else as_text(answer)
    sys.stdout.write(text + "\n")
    return ExitCode.NOTHING_TRUSTED if answer["verdict"] == "rejected" else ExitCode.OK


def _keys_if_needed(
    config: AgentConfig, identity: Identity | None, artifacts: Artifacts
) -> DeviceKeys | None:
    """The private key is read for encrypted input alone."""
    return read_keys(config, identity) if _enveloped(artifacts) else None


def _clock(
    options: Options, config: AgentConfig, at: str | None, *, inaccurate: bool
) -> ClockReading:
    if at is not None:
        try:
            moment = datetime.fromisoformat(at)
        except ValueError as error:
            raise UsageError(
                f"--at {at!r} is no time", next_action="write it as 2026-11-27T12:00:00Z"
            ) from error
        return ClockReading(moment.replace(tzinfo=moment.tzinfo or UTC), accurate=True)
    if inaccurate:
        return ClockReading(datetime.now(UTC), accurate=False)
    # As a boot would, but without the bound: that is state.
    return SystemClock(ClockMode(config.trust.clock.value), root=options.root or Path("/")).read()


def _nonce(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise UsageError("--nonce is no base64") from error
