"""A participant's media connections: view (RS-12), speak (RS-13), candidates (RS-14)."""

from __future__ import annotations

from consilium_core.errors import Invalid
from consilium_core.ids import new_ulid
from consilium_core.roles import Permission
from consilium_live.domain.offer import connection_id, media_lines
from consilium_live.domain.track import RoomTrack
from consilium_live.flow.context import LiveContext
from consilium_live.flow.hall import Hall, MediaLink, Seat
from consilium_live.flow.media_events import RoomMedia, drop_tracks, put_tracks
from consilium_live.flow.stream import look_at_second_encode
from consilium_live.ports import TrackFacts, Unanswerable
from consilium_live.wire import client
from consilium_live.wire.server import Published, Subscribed, UnanswerableWire, frame

_SHORT = {"microphone": "mic", "camera": "cam"}


def track_ids(participant_id: str) -> dict[str, str]:
    """Return the track id of each source of a participant."""
    return {source: f"{participant_id}-{short}" for source, short in _SHORT.items()}


async def subscribe(context: LiveContext, hall: Hall, seat: Seat, ask: client.Subscribe) -> None:
    """Answer a viewer's offer; tracks of other rooms or that just ended are unanswerable (RS-12, RS-15)."""
    link = await _link(context, hall, seat.viewing, ask.sdp)
    seat.viewing = link
    wanted = {mid: track for mid, track in ask.tracks.items() if track in hall.tracks}
    gone = [track for track in ask.tracks.values() if track not in hall.tracks]
    done = await context.plane.subscribe(
        link.session_id, ask.sdp, wanted, room_id=hall.room_id, listener=RoomMedia(context, hall)
    )
    if not await _still_here(context, hall, seat, link):
        return
    refused = [UnanswerableWire(track_id=u.track_id, codec=u.codec.partition("/")[0]) for u in done.unanswerable]
    refused += [UnanswerableWire(track_id=track, codec="") for track in gone]
    seat.send(frame(Subscribed(id=ask.id, sdp=done.answer_sdp, unanswerable=refused)))
    if any(_needs_second(hall, u) for u in done.unanswerable):
        hall.second.need(seat.participant.id)
        look_at_second_encode(context, hall)


def _needs_second(hall: Hall, refused: Unanswerable) -> bool:
    track = hall.tracks.get(refused.track_id)
    return track is not None and refused.reason == "codec" and track.codec == "H264" and track.site_id is not None


async def publish(context: LiveContext, hall: Hall, seat: Seat, ask: client.Publish) -> None:
    """Answer a speaker's offer and put microphone and camera on the list (RS-13)."""
    seat.principal.require(Permission.ROOM_SPEAK)
    sending = {line.mid for line in media_lines(ask.sdp) if line.sends}
    if not set(ask.sources) <= sending:
        raise Invalid("Each source must name the mid of an m-line that sends.")
    link = await _link(context, hall, seat.speaking, ask.sdp)
    seat.speaking = link
    person = seat.participant
    own = track_ids(person.id)
    ids = {mid: own[source] for mid, source in ask.sources.items()}
    done = await context.plane.publish(
        link.session_id, ask.sdp, room_id=hall.room_id, track_ids=ids, listener=RoomMedia(context, hall)
    )
    if not await _still_here(context, hall, seat, link):
        return
    seat.send(frame(Published(id=ask.id, sdp=done.answer_sdp, track_ids={t.mid: t.track_id for t in done.tracks})))
    put_tracks(context, hall, [_track(context, seat, ask, facts) for facts in done.tracks if facts.mid in ask.sources])


def _track(context: LiveContext, seat: Seat, ask: client.Publish, facts: TrackFacts) -> RoomTrack:
    return RoomTrack(
        id=facts.track_id, kind=facts.kind, source=ask.sources[facts.mid], codec=facts.codec.name,
        label=seat.participant.name, session_id=facts.session_id, state=facts.state, since=context.clock.now(),
        participant_id=seat.participant.id,
    )  # fmt: skip


async def unpublish(context: LiveContext, hall: Hall, seat: Seat) -> None:
    """Stop speaking (RS-13); twice is the same."""
    link, seat.speaking = seat.speaking, None
    if link is not None:
        drop_tracks(context, hall, link.session_id)
        await context.plane.close_session(link.session_id)


async def candidate(context: LiveContext, seat: Seat, ask: client.Candidate) -> None:
    """Hand a trickled candidate to the plane (RFC 8840); one that comes before its offer is of no use and dropped."""
    link = seat.viewing if ask.connection == "subscribe" else seat.speaking
    if link is None:
        return
    line = ask.candidate.candidate.removeprefix("a=")
    body = f"a=mid:{ask.candidate.sdpMid or '0'}\r\n"
    body += f"a={line}\r\n" if line else "a=end-of-candidates\r\n"
    await context.plane.add_ice_candidates(link.session_id, body)


async def _link(context: LiveContext, hall: Hall, link: MediaLink | None, sdp: str) -> MediaLink:
    """Return the session of this peer connection; a new connection of the same client replaces the old one."""
    connection = connection_id(sdp)
    if link is not None and link.connection == connection:
        return link
    if link is not None:
        drop_tracks(context, hall, link.session_id)
        await context.plane.close_session(link.session_id)
    return MediaLink(new_ulid(), connection)


async def _still_here(context: LiveContext, hall: Hall, seat: Seat, link: MediaLink) -> bool:
    """Close what was opened for somebody who left meanwhile."""
    if seat.participant.id in hall.seats:
        return True
    await context.plane.close_session(link.session_id)
    return False
