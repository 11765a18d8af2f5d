"""What the media plane tells of a room's tracks and sessions, turned into the room's words (RS-11, RS-16).

Called on the event loop; returns at once.
"""

from __future__ import annotations

from consilium_core.frame_ref import FrameStamp
from consilium_live.domain.track import RoomTrack
from consilium_live.flow.context import LiveContext
from consilium_live.flow.hall import Hall
from consilium_live.flow.render import participant_wire, tracks_wire
from consilium_live.ports import TrackFacts, TrackState
from consilium_live.wire.server import FrameMapped, FrameMapWire, ParticipantChanged, Tracks, TrackStateChanged


class RoomMedia:
    """Implements ``consilium_live.ports.MediaListener`` for one room."""

    def __init__(self, context: LiveContext, hall: Hall) -> None:
        self._context = context
        self._hall = hall

    def track_started(self, track: TrackFacts) -> None:
        """A track's first packet has come."""
        self._set(track.track_id, TrackState.LIVE)

    def track_stalled(self, track: TrackFacts) -> None:
        """What is on the screens is not live."""
        self._set(track.track_id, TrackState.STALLED)

    def track_resumed(self, track: TrackFacts) -> None:
        """Packets come again."""
        self._set(track.track_id, TrackState.LIVE)

    def track_ended(self, track: TrackFacts) -> None:
        """Its publisher is gone without a word: the site's picture stays as stalled, a person's track goes."""
        known = self._hall.tracks.get(track.track_id)
        if known is None or known.session_id != track.session_id:
            return
        if known.source == "modality":
            self._set(track.track_id, TrackState.STALLED)
            return
        drop_tracks(self._context, self._hall, track.session_id)

    def track_sized(self, track: TrackFacts) -> None:
        """The site's picture has its size; cameras change theirs as they like and nobody draws on them."""
        known = self._hall.tracks.get(track.track_id)
        if known is not None and known.source == "modality" and known.size != track.size:
            known.size = track.size
            self._hall.broadcast(Tracks(tracks=tracks_wire(self._hall)))

    def session_connected(self, session_id: str) -> None:
        """Media can flow; tracks say so themselves."""

    def session_disconnected(self, session_id: str, reason: str) -> None:
        """The plane dropped a session: a viewer's seat may subscribe anew, a publisher's tracks stall or go."""
        resource = self._context.resources.drop(session_id)
        if resource is not None and resource.kind == "whep":
            self._hall.second.drop(session_id, self._context.clock.monotonic())
        for seat in self._hall.seats.values():
            if seat.viewing is not None and seat.viewing.session_id == session_id:
                seat.viewing = None
            if seat.speaking is not None and seat.speaking.session_id == session_id:
                seat.speaking = None
        for track in self._hall.tracks_of(session_id):
            if track.source == "modality":
                self._set(track.id, TrackState.STALLED)
            else:
                drop_tracks(self._context, self._hall, session_id)

    def frame_mapped(self, track_id: str, rtp_timestamp: int, stamp: FrameStamp) -> None:
        """The site said which frame an RTP timestamp is; what people's cameras claim is not listened to."""
        known = self._hall.tracks.get(track_id)
        if known is None or known.source != "modality":
            return
        mapped = FrameMapped(
            track_id=track_id, rtp_timestamp=rtp_timestamp, media_epoch=stamp.media_epoch,
            frame_no=stamp.frame_no, captured_at_us=stamp.captured_at_us,
        )  # fmt: skip
        self._hall.frame_maps[track_id] = FrameMapWire(**mapped.model_dump(exclude={"type"}))
        self._hall.broadcast(mapped)

    def _set(self, track_id: str, state: TrackState) -> None:
        track = self._hall.tracks.get(track_id)
        if track is None or track.state is state:
            return
        track.state, track.since = state, self._context.clock.now()
        self._hall.broadcast(TrackStateChanged(track_id=track_id, state=state.value, since=track.since))
        self._hall.note_change()
        self._context.halls.touch(self._hall.room_id)


def put_tracks(context: LiveContext, hall: Hall, tracks: list[RoomTrack]) -> None:
    """Put tracks on the room's list (same ids replace) and tell everybody the whole list (RS-11)."""
    for track in tracks:
        hall.tracks[track.id] = track
    hall.broadcast(Tracks(tracks=tracks_wire(hall)))
    show_people(hall, {track.participant_id for track in tracks})
    hall.note_change()
    context.halls.touch(hall.room_id)


def drop_tracks(context: LiveContext, hall: Hall, session_id: str) -> None:
    """Take what a session published off the list and tell everybody; nothing happens when it published nothing."""
    gone = hall.tracks_of(session_id)
    if not gone:
        return
    for track in gone:
        hall.forget_track(track.id)
    hall.broadcast(Tracks(tracks=tracks_wire(hall)))
    show_people(hall, {track.participant_id for track in gone})
    hall.note_change()
    context.halls.touch(hall.room_id)


def show_people(hall: Hall, ids: set[str | None]) -> None:
    """Recompute what can be heard and seen of these people and tell everybody (RS-13)."""
    for participant_id in ids:
        seat = hall.seats.get(participant_id or "")
        if seat is None:
            continue
        sources = {track.source for track in hall.tracks.values() if track.participant_id == participant_id}
        person = seat.participant
        shown = ("microphone" in sources and not seat.muted_audio, "camera" in sources and not seat.muted_video)
        if shown != (person.audio, person.video):
            person.audio, person.video = shown
            hall.broadcast(ParticipantChanged(participant=participant_wire(person)))
