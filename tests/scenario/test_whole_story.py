# SPDX-License-Identifier: Apache-2.0
"""From a factory-fresh device to a provisioned one, over real TLS."""

import hashlib

import pytest
from tests.harness import (
    CONFIGURATION,
    IMAGE,
    OS_NAME,
    OS_VERSION,
    SERIAL,
    Lab,
    file_uri,
)


@pytest.mark.requirement("SZTP-B-01", "SZTP-5.3-08", "SZTP-5.6-08", "SZTP-5.6-09", "SZTP-7.3-03")
def test_signed_redirect_then_trusted_server_then_image_then_configuration(lab: Lab) -> None:
    first, owner, files = lab.server("first"), lab.server("owner"), lab.files()
    first.server.set_answer(SERIAL, lab.signed(lab.redirect(owner)))
    document = lab.onboarding(
        os_name=OS_NAME,
        os_version=OS_VERSION,
        download_uris=[file_uri(files)],
        image_sha256=hashlib.sha256(IMAGE).digest(),
        pre_script=b"#!/bin/sh\nexit 0\n",
    )
    owner.server.set_answer(SERIAL, lab.signed(document, level="verbose"))
    device = lab.device(servers=[first], server_anchors=False)

    assert device.run() == 20
    assert device.slot("b") == IMAGE
    assert device.boot["pending"] == "b"
    assert not device.running_config
    assert owner.progress() == [
        "bootstrap-initiated",
        "parsing-initiated",
        "parsing-complete",
        "boot-image-initiated",
        "boot-image-mismatch",
        "boot-image-installed-rebooting",
    ]

    assert device.run() == 0
    assert device.running_config == CONFIGURATION
    assert device.boot["active"] == "b"
    assert device.provisioned
    assert device.disabled
    assert owner.progress()[6:] == [
        "bootstrap-initiated",
        "parsing-initiated",
        "parsing-complete",
        "boot-image-initiated",
        "boot-image-complete",
        "pre-script-initiated",
        "pre-script-complete",
        "config-initiated",
        "config-complete",
        "post-script-initiated",
        "post-script-complete",
        "bootstrap-complete",
    ]
    assert first.progress() == []
    assert first.server.violations == ()
    assert owner.server.violations == ()

    asked = len(first.server.exchanges) + len(owner.server.exchanges) + len(files.requests)
    assert device.run() == 0
    assert len(first.server.exchanges) + len(owner.server.exchanges) + len(files.requests) == asked
