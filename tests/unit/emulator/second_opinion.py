# SPDX-License-Identifier: Apache-2.0
"""`openssl` as the second opinion on what the emulator makes, and authorities to make it with."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from xpu_emulator.pki import Identity

SERIAL = "XPU-0001"


@dataclass(frozen=True, slots=True)
class Authority:
    """A root, a CA below it, and a leaf below that, all with one kind of key."""

    root: Identity
    ca: Identity
    leaf: Identity


@dataclass(frozen=True, slots=True)
class OpenSsl:
    """Runs `openssl` in a scratch folder; files are given as octets."""

    folder: Path

    def file(self, name: str, octets: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(octets)
        return path

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            ["openssl", *map(str, arguments)],
            cwd=self.folder,
            capture_output=True,
            check=False,
            timeout=60,
        )

    def verify_chain(self, identity: Identity) -> subprocess.CompletedProcess[bytes]:
        between = b"".join(each.pem for each in identity.chain[1:-1])
        untrusted: list[str | Path] = []
        if between:
            untrusted = ["-untrusted", self.file("between.pem", between)]
        return self.run(
            "verify",
            "-x509_strict",
            "-CAfile",
            self.file("root.pem", identity.root.pem),
            *untrusted,
            self.file("leaf.pem", identity.pem),
        )

    def verify_cms(
        self, der: bytes, root: Identity, *more: str | Path
    ) -> subprocess.CompletedProcess[bytes]:
        return self.run(
            "cms",
            "-verify",
            "-purpose",
            "any",
            "-binary",
            "-inform",
            "DER",
            "-in",
            self.file("signed.cms", der),
            "-CAfile",
            self.file("root.pem", root.pem),
            *more,
        )

    def decrypt(self, der: bytes, recipient: Identity) -> subprocess.CompletedProcess[bytes]:
        return self.run(
            "cms",
            "-decrypt",
            "-binary",
            "-inform",
            "DER",
            "-in",
            self.file("enveloped.cms", der),
            "-recip",
            self.file("recipient.pem", recipient.pem),
            "-inkey",
            self.file("recipient.key", recipient.key_pem),
        )
