# SPDX-License-Identifier: Apache-2.0
"""HTTP requests and responses as values, and their media types (RFC 8040, 5.2; RFC 9110, 12.5)."""

from dataclasses import dataclass

from xpu_emulator.yang_reader import Encoding

# RFC 8572, 7.2 misprints the registered names; some devices learned them from there.
MISPRINTS = {
    "application/yang.data+json": Encoding.JSON,
    "application/yang.data+xml": Encoding.XML,
}
_ENCODINGS = {encoding.value: encoding for encoding in Encoding}


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request as it arrived; header names keep their spelling."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    client_certificate_der: bytes | None = None
    client_chain: tuple[bytes, ...] = ()  # as presented, leaf first
    sni: str | None = None
    peer: str = ""

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    def header(self, name: str) -> str | None:
        """A header's value; several lines of one name are joined by commas."""
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        return ", ".join(values) if values else None


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP response; `Content-Length` is the transport's business."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class MediaTypes:
    """What a server makes of media types.

    With `exact`, header values are compared octet by octet, as naive servers do; with `misprints`
    the names as RFC 8572 prints them are taken too.
    """

    encodings: frozenset[Encoding] = frozenset(Encoding)
    exact: bool = False
    misprints: bool = True

    def encoding_of(self, media_type: str) -> Encoding | None:
        """The encoding that a Content-Type value names, if this server knows it."""
        name = media_type if self.exact else bare(media_type)
        found: Encoding | None = _ENCODINGS.get(name)
        if found is None and self.misprints:
            found = MISPRINTS.get(name)
        return found if found in self.encodings else None

    def best(self, accept: str | None, content_type: str | None) -> Encoding | None:
        """The encoding to answer in; None is a 406.

        The body's own encoding goes first where the client has no preference.
        """
        sent = self.encoding_of(content_type or "")
        ours: list[Encoding] = [
            e for e in (sent, *Encoding) if e is not None and e in self.encodings
        ]
        if not accept or (self.exact and accept == "*/*"):
            return ours[0]
        if self.exact:
            return self.encoding_of(accept)
        chosen: Encoding | None = None
        quality = 0.0
        for encoding in ours:
            its = self._quality(accept, encoding)
            if its > quality:
                chosen, quality = encoding, its
        return chosen

    def _quality(self, accept: str, encoding: Encoding) -> float:
        """The quality of an encoding in an Accept header; the most specific range decides."""
        ranges = {encoding.value: 3, "application/*": 2, "*/*": 1}
        if self.misprints:
            ranges.update({name: 3 for name, e in MISPRINTS.items() if e is encoding})
        specificity, found = 0, 0.0
        for part in accept.split(","):
            media_range, *parameters = (piece.strip().lower() for piece in part.split(";"))
            if ranges.get(media_range, 0) > specificity:
                specificity, found = ranges[media_range], _q(parameters)
        return found


def bare(media_type: str) -> str:
    """A media type without parameters, in lower case."""
    return media_type.partition(";")[0].strip().lower()


def is_registered(media_type: str) -> bool:
    """Whether this is one of RESTCONF's two media types, rightly spelled."""
    return bare(media_type) in _ENCODINGS


def _q(parameters: list[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return float(parameter[2:])
            except ValueError:
                return 0.0
    return 1.0
