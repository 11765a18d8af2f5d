"""The tracks of the process by id: made, taken over, stalled, ended and at last forgotten."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import structlog

from consilium_core.frame_ref import FrameStamp
from consilium_live.media.track import Track
from consilium_live.media.wires import Wires
from consilium_live.ports import Codec, MediaListener, TrackState

log = structlog.get_logger("consilium.live.media")

_ENDED_KEPT = 256  # ended tracks without viewers that are remembered at most


def tell(listener: MediaListener | None, event: str, *facts: object) -> None:
    """Call a listener; its error is logged and stays its own."""
    if listener is None:
        return
    told: Callable[..., None] = getattr(listener, event)
    try:
        told(*facts)
    except Exception:
        log.exception("media_listener_failed", told=event)


class TrackRegistry:
    """Owns the tracks and their timers; the plane closes it."""

    def __init__(self, wires: Wires, listener: MediaListener | None) -> None:
        self.by_id: dict[str, Track] = {}
        self._wires = wires
        self._listener = listener

    def make(self, track_id: str, codec: Codec, room_id: str) -> Track:
        """Return a new track; one of the same id is dropped with its sinks."""
        old = self.by_id.pop(track_id, None)
        if old is not None:
            self._drop(old)
        idle = [t for t in self.by_id.values() if t.state is TrackState.ENDED and not t.sinks]
        for track in idle[: max(0, len(idle) - _ENDED_KEPT)]:
            self._drop(self.by_id.pop(track.track_id))
        made = Track(track_id, codec, room_id, self._wires, self._framed, self._first, self._sized)
        self.by_id[track_id] = made
        return made

    @staticmethod
    def _drop(track: Track) -> None:
        for sink in list(track.sinks):
            track.detach(sink)
        track.close()

    def forget_room(self, room_id: str) -> None:
        """Drop the tracks of a room that have no publisher."""
        self.forget([t.track_id for t in self.by_id.values() if t.room_id == room_id])

    def forget(self, track_ids: Iterable[str]) -> None:
        """Drop these tracks as far as they have no publisher."""
        for track_id in track_ids:
            track = self.by_id.get(track_id)
            if track is not None and track.publisher is None:
                self._drop(self.by_id.pop(track_id))

    def end(self, track: Track) -> None:
        """Its publisher is gone; idempotent."""
        if track.state is TrackState.ENDED:
            return
        listener = self._listener_of(track)
        track.end()
        tell(listener, "track_ended", track.facts())

    def alive(self) -> int:
        """Return how many tracks have a publisher."""
        return sum(t.state is not TrackState.ENDED for t in self.by_id.values())

    def tick(self, now: float) -> None:
        """Repeat unanswered keyframe requests and tell of stalled pictures."""
        for track in list(self.by_id.values()):
            track.tick(now)
            at = track.last_packet_at
            silent = at is not None and now - at > self._wires.settings.stall_after_s
            if silent and track.kind == "video" and track.state is TrackState.LIVE:
                track.state = TrackState.STALLED
                tell(self._listener_of(track), "track_stalled", track.facts())

    def close(self) -> None:
        """Cancel every track's timers and forget them."""
        for track in self.by_id.values():
            track.close()
        self.by_id.clear()

    def _listener_of(self, track: Track) -> MediaListener | None:
        return track.publisher.listener if track.publisher is not None else self._listener

    def _framed(self, track: Track, rtp_timestamp: int, stamp: FrameStamp) -> None:
        tell(self._listener_of(track), "frame_mapped", track.track_id, rtp_timestamp, stamp)

    def _sized(self, track: Track) -> None:
        tell(self._listener_of(track), "track_sized", track.facts())

    def _first(self, track: Track) -> None:
        """A packet came for a track that was waiting or stalled."""
        fresh = track.state is TrackState.WAITING
        track.state = TrackState.LIVE
        tell(self._listener_of(track), "track_started" if fresh else "track_resumed", track.facts())
        if fresh and track.sinks:
            track.want_keyframe(self._wires.now())
