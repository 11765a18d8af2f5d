"""Which codec of an offer fits: what a publisher may send, what a viewer needs to see a track."""

from __future__ import annotations

from consilium_live.media.sdp import OfferedCodec, OfferedMedia
from consilium_live.ports import Codec, CodecName

_NAMES: dict[tuple[str, str], CodecName] = {
    ("video", "h264"): "H264",
    ("video", "vp8"): "VP8",
    ("audio", "opus"): "opus",
}


def known_codec(kind: str, offered: OfferedCodec) -> Codec | None:
    """Return the codec we forward that this payload type names, or None."""
    name = _NAMES.get((kind, offered.name.lower()))
    if name is None:
        return None
    profile = ""
    if name == "H264":
        profile = str(offered.parameters.get("profile-level-id", "42e01f")).lower()
    return Codec(name, offered.clock_rate, offered.channels, profile)


def _packetization_mode(offered: OfferedCodec) -> int:
    mode = str(offered.parameters.get("packetization-mode", "0"))
    return int(mode) if mode.isdigit() else 0


def choose_ingress(media: OfferedMedia) -> OfferedCodec | None:
    """Return the publisher's own first choice among the codecs we forward; H.264 only non-interleaved (mode 1).

    Mode 0 is taken when nothing else is offered: single NAL units are a subset of what viewers of mode 1 accept.
    """
    usable = [c for c in media.codecs if known_codec(media.kind, c) is not None]
    preferred = [c for c in usable if c.name.lower() != "h264" or _packetization_mode(c) == 1]
    return next(iter(preferred or usable), None)


def choose_egress(media: OfferedMedia, track: Codec) -> OfferedCodec | None:
    """Return the payload type under which a viewer can decode `track`, or None.

    H.264: the same profile first, else any of mode 1. Levels are not compared (level-asymmetry-allowed=1), and profiles
    only order the choice: every decoder that offers H.264 decodes the constrained baseline to high family.
    """
    same = [c for c in media.codecs if (known := known_codec(media.kind, c)) is not None and known.name == track.name]
    if track.name != "H264":
        return same[0] if same else None
    usable = [c for c in same if _packetization_mode(c) == 1]
    profile = track.profile[:2]
    return min(usable, key=lambda c: str(c.parameters.get("profile-level-id", "")).lower()[:2] != profile, default=None)
