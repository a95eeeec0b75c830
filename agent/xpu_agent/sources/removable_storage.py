# SPDX-License-Identifier: Apache-2.0
"""Bootstrapping data on removable storage (RFC 8572, 4.1): a mounted directory as medium.

Searched on each medium, the first folder with conveyed information wins:

    /<manufacturer>/<serial number>/bootstrapping-data/     where a manufacturer is configured
    /sztp/<serial number>/
    /sztp/                                                  a medium for one device

with `conveyed-information.cms` (or `.json`, `.xml` for unsigned redirect information, put into
CMS here), `owner-certificate.cms`, `ownership-voucher.vcj` or `.cms`. Octets of names outside
`[A-Za-z0-9._-]` are percent-encoded.

Whoever made the medium may be an attacker: everything is opened below one descriptor of its
root, no symlink is followed, only regular files are read, each bounded. What is found is
untrusted whatever it says.
"""

import os
import stat
import string
from collections.abc import Iterator, Sequence
from pathlib import Path

from xpu_agent import limits
from xpu_agent.artifacts.bundle import Artifacts
from xpu_agent.artifacts.cms import OID_CONVEYED_JSON, OID_CONVEYED_XML
from xpu_agent.device import DeviceFacts
from xpu_agent.errors import MalformedError, Reason, SourceUnavailableError
from xpu_agent.ports import FoundArtifacts, Need
from xpu_agent.sources.plain_content import plain_content_info

_PLAIN = frozenset(f"{string.ascii_letters}{string.digits}._-".encode())
_CONVEYED = "conveyed-information.cms"
_DOCUMENTS = (
    ("conveyed-information.json", OID_CONVEYED_JSON),
    ("conveyed-information.xml", OID_CONVEYED_XML),
)
_OWNER_CERTIFICATE = "owner-certificate.cms"
_VOUCHERS = ("ownership-voucher.vcj", "ownership-voucher.cms")


class DirectoryMedium:
    """Removable storage that is mounted already: each directory is one medium, in order."""

    name = "removable-storage"
    needs: frozenset[Need] = frozenset({Need.STORAGE})

    def __init__(
        self,
        directories: Sequence[Path],
        *,
        manufacturer: str | None = None,
        name: str = "removable-storage",
    ) -> None:
        self._directories = tuple(directories)
        self._manufacturer = manufacturer
        self.name = name

    def load(self, facts: DeviceFacts) -> Iterator[FoundArtifacts]:
        """One offer for each medium with data for this device.

        A medium that can't be read doesn't hide those after it: its error comes last.
        """
        malformed: MalformedError | None = None
        unavailable: SourceUnavailableError | None = None
        found = False
        for directory in self._directories:
            try:
                artifacts = self._read(directory, facts.serial_number)
            except MalformedError as error:
                malformed = malformed or error
            except SourceUnavailableError as error:
                unavailable = unavailable or error
            else:
                found = True
                yield FoundArtifacts(_origin(directory), artifacts, medium=directory)
        if malformed is not None:
            raise malformed
        if not found:
            raise unavailable or SourceUnavailableError(
                Reason.NO_SOURCE, "there is no removable storage"
            )

    def _read(self, directory: Path, serial_number: str) -> Artifacts:
        try:
            root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise SourceUnavailableError(
                Reason.NO_SOURCE, f"{_origin(directory)} can't be opened: {error.strerror}"
            ) from error
        try:
            for components in self._candidates(serial_number):
                folder = _open_folder(root, components)
                if folder is None:
                    continue
                try:
                    artifacts = _read_folder(folder, f"{_origin(directory)}, {components[0]}")
                finally:
                    os.close(folder)
                if artifacts is not None:
                    return artifacts
        except OSError as error:
            raise SourceUnavailableError(
                Reason.NO_SOURCE, f"{_origin(directory)} can't be read: {error.strerror}"
            ) from error
        finally:
            os.close(root)
        raise SourceUnavailableError(
            Reason.NO_SOURCE, f"{_origin(directory)} has no data for this device"
        )

    def _candidates(self, serial_number: str) -> Iterator[tuple[str, ...]]:
        own = file_name(serial_number)
        vendor = file_name(self._manufacturer) if self._manufacturer is not None else None
        if vendor is not None and own is not None:
            yield (vendor, own, "bootstrapping-data")
        if own is not None:
            yield ("sztp", own)
        yield ("sztp",)


def file_name(text: str) -> str | None:
    """A serial number or manufacturer as the name of one folder; None if it can't be one."""
    name = "".join(
        chr(octet) if octet in _PLAIN else f"%{octet:02X}"
        for octet in text.encode("utf-8", "replace")
    )
    return None if name in {"", ".", ".."} else name


def _origin(directory: Path) -> str:
    return ascii(f"directory {directory}")[1:-1][:256]


def _open_folder(root: int, components: Sequence[str]) -> int | None:
    """A descriptor of the folder, None where it is missing or a symlink is in the way."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    current = root
    for component in components:
        try:
            below = os.open(component, flags, dir_fd=current)
        except (FileNotFoundError, NotADirectoryError):
            return None
        finally:
            if current != root:
                os.close(current)
        current = below
    return current


def _read_folder(folder: int, where: str) -> Artifacts | None:
    """The artifacts in one folder; None if there is no conveyed information."""
    conveyed = _read_file(folder, _CONVEYED, where)
    if conveyed is None:
        for name, content_type in _DOCUMENTS:
            document = _read_file(folder, name, where)
            if document is not None:
                conveyed = plain_content_info(content_type, document)
                break
        else:
            return None
    voucher = next(
        (v for v in (_read_file(folder, name, where) for name in _VOUCHERS) if v is not None), None
    )
    return Artifacts(
        conveyed_information=conveyed,
        owner_certificate=_read_file(folder, _OWNER_CERTIFICATE, where),
        ownership_voucher=voucher,
    )


def _read_file(folder: int, name: str, where: str) -> bytes | None:
    """A regular file, whole; None where there is none.

    Raises:
        MalformedError: a symlink, a device, a pipe; or larger than an artifact may be.
    """
    # Non-blocking: opening a named pipe would wait for its writer.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        is_file = stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
        if not is_file:
            raise MalformedError(f"{name} in {where} is not a regular file")
        descriptor = os.open(name, flags, dir_fd=folder)
    except FileNotFoundError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise MalformedError(f"{name} in {where} is not a regular file")
        return _read_bounded(descriptor, f"{name} in {where}")
    finally:
        os.close(descriptor)


def _read_bounded(descriptor: int, what: str) -> bytes:
    content = bytearray()
    while len(content) <= limits.MEDIA_ARTIFACT_BYTES:
        piece = os.read(descriptor, limits.MEDIA_ARTIFACT_BYTES + 1 - len(content))
        if not piece:
            return bytes(content)
        content += piece
    raise MalformedError(
        f"{what} is larger than {limits.MEDIA_ARTIFACT_BYTES} octets", reason=Reason.TOO_LARGE
    )
