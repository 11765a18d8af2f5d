"""Which of the representations on offer a client takes: Accept header and ``accept`` parameter (PS3.18 8.7, RFC 9110 12.5.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from email.message import Message
from functools import lru_cache

from fastapi import Request

from consilium_imaging.errors import NotAcceptable

DICOM_JSON = "application/dicom+json"


@dataclass(frozen=True, slots=True)
class Range:
    """One media range: type, parameters (lower-case names, ``q`` taken out), and its weight."""

    media: str
    parameters: dict[str, str] = field(default_factory=dict)
    weight: float = 1.0

    @property
    def multipart_type(self) -> str:
        """Return the ``type`` parameter of multipart/related, ``*/*`` when it names none, empty for other media."""
        return self.parameters.get("type", "*/*").lower() if self.media == "multipart/related" else ""

    @property
    def transfer_syntax(self) -> str:
        """Return the transfer-syntax parameter, empty when absent."""
        return self.parameters.get("transfer-syntax", "")

    def covers(self, media: str) -> bool:
        """Tell whether this range takes ``media``."""
        return covers(self.media, media)


def covers(wanted: str, media: str) -> bool:
    """Tell whether the range ``wanted`` (``a/b``, ``a/*``, ``*/*``) takes ``media``."""
    return wanted in ("*/*", media) or (wanted.endswith("/*") and media.startswith(wanted[:-1]))


def ranges(request: Request) -> tuple[Range, ...]:
    """Return what the client takes, best first; the query parameter ``accept`` is above the header (PS3.18 8.3.3.1)."""
    given = request.query_params.getlist("accept") or request.headers.getlist("accept") or ["*/*"]
    return _ranges(tuple(given))


@lru_cache(maxsize=512)
def _ranges(given: tuple[str, ...]) -> tuple[Range, ...]:
    """Return the same for the same words: a viewer says them a thousand times."""
    found = [_range(part) for value in given for part in _commas(value) if part.strip()]
    wanted = sorted((one for one in found if one.weight > 0), key=lambda one: -one.weight)
    return tuple(wanted) or (Range("*/*"),)


def _commas(value: str) -> list[str]:
    """Split at commas outside quotes."""
    parts, quoted, start = [], False, 0
    for at, character in enumerate(value):
        if character == '"':
            quoted = not quoted
        elif character == "," and not quoted:
            parts.append(value[start:at])
            start = at + 1
    return [*parts, value[start:]]


def _range(text: str) -> Range:
    message = Message()
    message["content-type"] = text.strip()
    found = message.get_params(failobj=[("*/*", "")], header="content-type")
    parameters = {name.lower(): value for name, value in found[1:]}
    try:
        weight = float(parameters.pop("q", "1"))
    except ValueError:
        weight = 1.0
    return Range(found[0][0].lower() or "*/*", parameters, weight)


def refuse(request: Request, offered: Sequence[str], why: str = "") -> NotAcceptable:
    """Return the 406 that names what is on offer, and why what was asked for is not."""
    wanted = request.query_params.get("accept") or request.headers.get("accept", "")
    words = f" {why[:1].upper()}{why[1:]}." if why else ""
    return NotAcceptable(
        f"Accept names {wanted[:120]!r}; on offer: {', '.join(offered)}.{words}", offered=list(offered)
    )


def json_type(request: Request) -> str:
    """Return the JSON media type to answer with."""
    for one in ranges(request):
        if one.covers(DICOM_JSON):
            return DICOM_JSON
        if one.covers("application/json"):
            return "application/json"
    raise refuse(request, [DICOM_JSON, "application/json"])
