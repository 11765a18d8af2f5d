"""The little that a room must know of an offer before the media plane answers it; the plane reads the rest (RFC 8866)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Slot = Literal["h264", "vp8", "opus"]
_CODECS: dict[tuple[str, str], Slot] = {("video", "h264"): "h264", ("video", "vp8"): "vp8", ("audio", "opus"): "opus"}
_UFRAG = re.compile(r"^a=ice-ufrag:(\S+)", re.MULTILINE)
_ORIGIN = re.compile(r"^o=\S+ (\S+) ", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class MediaLine:
    """One m-line: what it would carry, in the offer's own order of preference."""

    kind: str
    mid: str
    slots: tuple[Slot, ...]
    sends: bool
    receives: bool


def connection_id(sdp: str) -> str:
    """Return the session id of the origin line: the same for every offer of one peer connection (RFC 8866 5.2)."""
    found = _ORIGIN.search(sdp)
    return found.group(1) if found else ""


def ice_ufrag(sdp: str) -> str:
    """Return the ICE user name fragment of an offer or of a trickle fragment (RFC 8839 5.4)."""
    found = _UFRAG.search(sdp)
    return found.group(1) if found else ""


def media_lines(sdp: str) -> list[MediaLine]:
    """Return the m-lines of an offer; unreadable parts are left out."""
    sections = re.split(r"^m=", sdp.replace("\r\n", "\n"), flags=re.MULTILINE)[1:]
    return [line for index, section in enumerate(sections) if (line := _line(index, section)) is not None]


def _line(index: int, section: str) -> MediaLine | None:
    head, *attributes = section.split("\n")
    words = head.split()
    if len(words) < 4:
        return None
    kind, formats = words[0], words[3:]
    names: dict[str, str] = {}
    parameters: dict[str, str] = {}
    mid, direction = str(index), "sendrecv"
    for attribute in attributes:
        key, _, value = attribute.strip().removeprefix("a=").partition(":")
        first, _, rest = value.partition(" ")
        if key == "rtpmap":
            names[first] = rest.partition("/")[0].lower()
        elif key == "fmtp":
            parameters[first] = rest
        elif key == "mid":
            mid = value
        elif key in ("sendonly", "recvonly", "sendrecv", "inactive"):
            direction = key
    known = [(f, _CODECS[(kind, names[f])]) for f in formats if (kind, names.get(f, "")) in _CODECS]
    # single NAL unit mode (RFC 6184 6.2) comes last: only mode 1 carries our pictures well
    known.sort(key=lambda pair: pair[1] == "h264" and "packetization-mode=1" not in parameters.get(pair[0], ""))
    return MediaLine(
        kind, mid, tuple(dict.fromkeys(slot for _, slot in known)),
        sends=direction in ("sendonly", "sendrecv"), receives=direction in ("recvonly", "sendrecv"),
    )  # fmt: skip
