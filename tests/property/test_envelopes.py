# SPDX-License-Identifier: Apache-2.0
"""Whatever stands in an envelope, it is opened or refused as one that can't be decrypted."""

from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xpu_agent.artifacts.certificate import AlgorithmIdentifier
from xpu_agent.artifacts.cms import (
    EnvelopedData,
    KeyAgreeRecipient,
    KeyTransRecipient,
    parse_content_info,
)
from xpu_agent.errors import DecryptionError
from xpu_agent.keys.file import FileKeys, load_keys
from xpu_emulator.envelope import enveloped
from xpu_emulator.pki import KeyKind, make_root

CONTENT = b"conveyed information"

octets = st.binary(max_size=80)
parameters = st.one_of(
    st.none(),
    octets,
    st.builds(lambda value: b"\x04\x10" + value, st.binary(min_size=16, max_size=16)),
    st.builds(lambda value: b"\x30" + bytes([len(value)]) + value, octets),
)
algorithms = st.builds(
    AlgorithmIdentifier,
    st.sampled_from(
        [
            "1.2.840.113549.1.1.1",
            "1.2.840.113549.1.1.7",
            "1.3.133.16.840.63.0.2",
            "1.3.132.1.11.1",
            "2.16.840.1.101.3.4.1.2",
            "2.16.840.1.101.3.4.1.42",
            "2.16.840.1.101.3.4.1.46",
            "1.2.3",
        ]
    ),
    parameters,
)


@cache
def device(kind: KeyKind, cipher: str) -> tuple[FileKeys, EnvelopedData]:
    identity = make_root("M").issue("Device", key=kind)
    der = enveloped(CONTENT, "1.2.840.113549.1.7.1", recipients=[identity], cipher=cipher)
    envelope = parse_content_info(der)
    assert isinstance(envelope, EnvelopedData)
    return load_keys([identity.der], identity.key_pem), envelope


@pytest.mark.parametrize("kind", [KeyKind.RSA2048, KeyKind.P256])
@pytest.mark.parametrize("cipher", ["aes-256-cbc", "aes-256-gcm"])
@settings(deadline=None)  # key operations under load
@given(data=st.data())
def test_a_changed_envelope_is_refused_or_not_worse(
    kind: KeyKind, cipher: str, data: st.DataObject
) -> None:
    keys, envelope = device(kind, cipher)
    recipient = envelope.recipients[0]
    if data.draw(st.booleans()):
        recipient = replace(recipient, key_encryption_algorithm=data.draw(algorithms))
    if data.draw(st.booleans()):
        recipient = replace(recipient, encrypted_key=data.draw(octets))
    match recipient:
        case KeyAgreeRecipient() if data.draw(st.booleans()):
            recipient = replace(
                recipient,
                originator_key=data.draw(octets),
                user_keying_material=data.draw(st.one_of(st.none(), octets)),
            )
        case KeyAgreeRecipient() | KeyTransRecipient():
            pass
    changed = replace(envelope, recipients=(recipient,))
    if data.draw(st.booleans()):
        changed = replace(changed, content_encryption_algorithm=data.draw(algorithms))
    if data.draw(st.booleans()):
        changed = replace(changed, encrypted_content=data.draw(octets))
    if data.draw(st.booleans()):
        changed = replace(changed, mac=data.draw(st.one_of(st.none(), octets)))
    try:
        found = keys.decrypt(changed)
    except DecryptionError:
        return
    if changed.mac is not None:
        assert found == CONTENT


@settings(deadline=None)  # key operations under load
@given(st.lists(st.integers(0, 255), min_size=1, max_size=3), st.data())
def test_no_change_of_an_authenticated_envelope_changes_its_content(
    positions: list[int], data: st.DataObject
) -> None:
    keys, envelope = device(KeyKind.P256, "aes-256-gcm")
    in_tag = data.draw(st.booleans())
    value = bytearray((envelope.mac or b"") if in_tag else envelope.encrypted_content)
    for position in positions:
        value[position % len(value)] ^= 1 + position % 255
    changed = (
        replace(envelope, mac=bytes(value))
        if in_tag
        else replace(envelope, encrypted_content=bytes(value))
    )
    if changed == envelope:
        return
    with pytest.raises(DecryptionError):
        keys.decrypt(changed)
