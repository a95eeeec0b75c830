# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the tests of what the emulator makes."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.emulator.second_opinion import SERIAL, Authority, OpenSsl

from xpu_emulator.pki import KeyKind, Pki, make_root


@pytest.fixture
def openssl(tmp_path: Path) -> OpenSsl:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path / "openssl"
    folder.mkdir()
    return OpenSsl(folder)


@pytest.fixture(scope="session")
def authority() -> Callable[[KeyKind], Authority]:
    made: dict[KeyKind, Authority] = {}

    def make(kind: KeyKind) -> Authority:
        if kind not in made:
            root = make_root("Root", key=kind)
            ca = root.issue("CA", ca=True, path_length=0, key=kind)
            made[kind] = Authority(root, ca, ca.issue("Leaf", key=kind))
        return made[kind]

    return make


@pytest.fixture(scope="session")
def p256(authority: Callable[[KeyKind], Authority]) -> Authority:
    return authority(KeyKind.P256)


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    return Pki.create(tmp_path / "pki", serials=[SERIAL])
