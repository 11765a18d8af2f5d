"""Who gets which m-line: pure decisions between an offer, what is wanted and what exists (RFC 9429 5.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from consilium_live.media.codecs import choose_egress, choose_ingress
from consilium_live.media.sdp import Offer, OfferedCodec, OfferedMedia
from consilium_live.media.track import Track
from consilium_live.ports import Unanswerable

Wanted = Mapping[str, str] | Sequence[str]


def assign(offer: Offer, wanted: Wanted, carried: Mapping[str, str], tracks: Mapping[str, Track]) -> dict[str, str]:
    """Return mid -> track id. Track ids without mids keep the m-line they have, else take the first free of their kind."""
    if isinstance(wanted, Mapping):
        return dict(wanted)
    free = [m for m in offer.media if m.receives and not m.rejected]
    placed: dict[str, str] = {}
    for mid, track_id in carried.items():
        if track_id in wanted and any(m.mid == mid for m in free):
            placed[mid] = track_id
    for track_id in wanted:
        if track_id in placed.values():
            continue
        track = tracks.get(track_id)
        line = next(
            (m for m in free if m.mid not in placed and (track is None or m.kind == track.kind)),
            None,
        )
        if line is not None:
            placed[line.mid] = track_id
    return placed


def name_tracks(media: Sequence[OfferedMedia], names: Mapping[str, str] | Sequence[str]) -> dict[str, str]:
    """Return mid -> track id for the m-lines that are published, as far as the caller named them."""
    if isinstance(names, Mapping):
        return dict(names)
    return {m.mid: name for m, name in zip(media, names, strict=False)}


def publishable(media: OfferedMedia) -> OfferedCodec | None:
    """Return the codec under which this m-line may publish, None if it sends nothing that we forward."""
    return choose_ingress(media) if media.sends and not media.rejected else None


def viewable(media: OfferedMedia, track_id: str, track: Track | None) -> OfferedCodec | Unanswerable:
    """Return the payload type for a track on an m-line, or why it cannot be carried there."""
    if track is None:
        return Unanswerable(media.mid, track_id, "", "no-such-track")
    if not media.receives or media.rejected or media.kind != track.kind:
        return Unanswerable(media.mid, track_id, track.codec.label, "kind")
    codec = choose_egress(media, track.codec)
    return codec if codec is not None else Unanswerable(media.mid, track_id, track.codec.label, "codec")
