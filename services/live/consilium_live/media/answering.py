"""From an offer to an answer: applies the decisions of `negotiation` to one session's tracks and sinks."""

from __future__ import annotations

from collections.abc import Mapping

from consilium_core.errors import Conflict
from consilium_core.ids import new_ulid
from consilium_live.media.codecs import known_codec
from consilium_live.media.ingress import Ingress
from consilium_live.media.negotiation import Wanted, assign, name_tracks, publishable, viewable
from consilium_live.media.registry import TrackRegistry
from consilium_live.media.sdp import MID_EXTENSION, AnsweredMedia, Offer, OfferedCodec, OfferedMedia
from consilium_live.media.session import Session
from consilium_live.media.sink import Sink
from consilium_live.media.track import Track
from consilium_live.media.wires import Wires
from consilium_live.ports import Codec, Unanswerable


class Answering:
    """One round of offer and answer for one session."""

    def __init__(self, session: Session, offer: Offer, registry: TrackRegistry, wires: Wires) -> None:
        self._session = session
        self._offer = offer
        self._tracks = registry.by_id
        self._make = registry.make
        self._wires = wires
        self.lines = {m.mid: AnsweredMedia(m) for m in offer.media if not m.rejected}
        self.unanswerable: list[Unanswerable] = []
        self.ended: list[Track] = []

    def media(self) -> list[AnsweredMedia]:
        """Return the answer's m-lines in the offer's order; a line without a codec names the offer's first one."""
        answered = [self.lines[m.mid] if not m.rejected else AnsweredMedia(m) for m in self._offer.media]
        for line in answered:
            if not line.codecs and line.offered.codecs:
                line.codecs = [line.offered.codecs[0]]
        return answered

    # --- what the peer publishes ---

    def publish(self, names: Mapping[str, str] | list[str], *, allowed: bool) -> list[Track]:
        """Bind the sending m-lines to tracks; lines that stopped sending end theirs. Returns what is published."""
        session, published = self._session, []
        sending = {m.mid: codec for m in self._offer.media if (codec := publishable(m)) is not None}
        for mid in [mid for mid in session.tracks if mid not in sending]:
            self.ended.append(session.tracks.pop(mid))
        lines = [m for m in self._offer.media if m.mid in sending]
        named = name_tracks(lines, names)
        for media in lines:
            if media.mid not in session.tracks and not allowed:
                continue
            track = self._ingress(media, sending[media.mid], named.get(media.mid))
            published.append(track)
            line = self.lines[media.mid]
            line.receives = True
            line.codecs.append(sending[media.mid])
            if MID_EXTENSION in media.extensions:
                session.mid_extension = media.extensions[MID_EXTENSION]
                line.extensions[MID_EXTENSION] = session.mid_extension
        session.reroute()
        return published

    def _ingress(self, media: OfferedMedia, offered: OfferedCodec, name: str | None) -> Track:
        codec = known_codec(media.kind, offered)
        if codec is None:
            raise Conflict("The m-line has no codec that is forwarded.", mid=media.mid)
        current = self._session.tracks.get(media.mid)
        if current is not None and current.publisher is self._session and name in (None, current.track_id):
            if current.codec.name == codec.name:
                self._rename(current, media, offered)
                return current
            self.ended.append(self._session.tracks.pop(media.mid))
        track = self._track(name or new_ulid(), codec)
        ssrc = media.ssrcs[0] if media.ssrcs else 0
        track.bind(
            self._session,
            self._session.session_id,
            media.mid,
            Ingress(ssrc, offered.payload_type, codec.clock_rate, offered.feedback),
        )
        track.stream_id = media.stream_id if media.stream_id not in ("", "-") else self._session.session_id
        track.cname = self._session.cname
        self._session.tracks[media.mid] = track
        return track

    @staticmethod
    def _rename(track: Track, media: OfferedMedia, offered: OfferedCodec) -> None:
        """A later offer of the same peer may move its payload type, or name an SSRC that was learnt."""
        if track.ingress is None:
            return
        track.ingress.payload_type = offered.payload_type
        if media.ssrcs and track.ingress.ssrc == 0:
            track.ingress.ssrc = media.ssrcs[0]

    def _track(self, track_id: str, codec: Codec) -> Track:
        """Return the track of this id: a new one, or an old one of this room that gets a new publisher."""
        old = self._tracks.get(track_id)
        if old is not None and old.room_id != self._session.room_id:
            raise Conflict("The track id is in use in another room.", track_id=track_id)
        if old is not None and old.publisher is not None and old.publisher is not self._session:
            old.publisher.tracks = {m: t for m, t in old.publisher.tracks.items() if t is not old}
            old.publisher.reroute()
        if old is not None and old.codec.name == codec.name:
            old.codec = codec
            return old
        return self._make(track_id, codec, self._session.room_id)

    # --- what the peer views ---

    def view(self, wanted: Wanted | None) -> dict[str, str]:
        """Put wanted tracks on receiving m-lines; None keeps what is there. Returns mid -> track id."""
        session = self._session
        carried = {mid: sink.track.track_id for mid, sink in session.sinks.items()}
        placed = assign(self._offer, carried if wanted is None else wanted, carried, self._tracks)
        for mid, sink in list(session.sinks.items()):
            track = self._tracks.get(placed.get(mid, ""))
            if track is not sink.track:
                sink.track.detach(sink)
                del session.sinks[mid]
        done: dict[str, str] = {}
        for mid, track_id in placed.items():
            line = self.lines.get(mid)
            if line is None:
                self.unanswerable.append(Unanswerable(mid, track_id, "", "kind"))
            elif self._view(line, track_id):
                done[mid] = track_id
        session.reroute()
        return done

    def _view(self, line: AnsweredMedia, track_id: str) -> bool:
        mid = line.offered.mid
        track = self._tracks.get(track_id)
        choice = viewable(line.offered, track_id, track)
        sink = self._session.sinks.get(mid)
        if isinstance(choice, Unanswerable) or track is None:
            if sink is not None:
                sink.track.detach(sink)
                del self._session.sinks[mid]
            if isinstance(choice, Unanswerable):
                self.unanswerable.append(choice)
            return False
        if sink is None or (sink.payload_type, sink.rtx_type) != (choice.payload_type, choice.rtx):
            if sink is not None:
                sink.track.detach(sink)
            sent = self._session.send_state(track)
            sink = Sink(track, self._session.session_id, mid, choice.payload_type, choice.rtx, self._wires.stats, sent)
            self._session.sinks[mid] = sink
            self._session.start_sink(sink, self._wires.now())
        line.sends = True
        if all(c.payload_type != choice.payload_type for c in line.codecs):
            line.codecs.insert(0, choice)
        line.with_rtx = choice.rtx is not None and not line.receives
        line.ssrc, line.rtx_ssrc, line.cname = sink.ssrc, sink.rtx_ssrc, track.cname
        line.stream_id, line.track_id = track.stream_id or track.publisher_id, track.track_id
        return True
