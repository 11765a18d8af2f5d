"""What a participant says after the welcome: one function per message of `consilium.room.v1`."""

from __future__ import annotations

from consilium_core.errors import Exhausted, Invalid
from consilium_core.ids import new_ulid
from consilium_core.roles import Permission
from consilium_live.domain.stroke import StrokeDraft
from consilium_live.flow.context import LiveContext
from consilium_live.flow.hall import Hall, Seat
from consilium_live.flow.media_events import show_people
from consilium_live.flow.render import stroke_wire
from consilium_live.wire import client
from consilium_live.wire.server import (
    ChatSaid,
    ChatWire,
    LaserShown,
    Muted,
    Pong,
    StrokeDrawn,
    StrokesRemoved,
    frame,
)


def draw(context: LiveContext, hall: Hall, seat: Seat, ask: client.StrokeAsk) -> None:
    """Put a stroke on the board, or extend one's own, and show it to everybody (RS-20)."""
    seat.principal.require(Permission.ROOM_DRAW)
    if not seat.strokes.take(context.clock.monotonic()):
        raise Exhausted("At most 25 stroke messages a second.")
    if not seat.points.take(context.clock.monotonic(), len(ask.points)):
        raise Exhausted("At most 2000 points a second.")
    track = hall.tracks.get(ask.track_id)
    if track is None or track.kind != "video":
        raise Invalid("There is no such picture to draw on.")
    draft = StrokeDraft(
        id=ask.id, tool=ask.tool, track_id=ask.track_id, points=tuple(ask.points), frame=ask.frame,
        pinned=ask.pinned, text=ask.text or "", picture=ask.picture,
    )  # fmt: skip
    stroke = hall.board.add(draft, seat.participant, context.clock.now(), track.size)
    hall.broadcast(StrokeDrawn(stroke=stroke_wire(stroke, draft.points)))


def undo(hall: Hall, seat: Seat) -> None:
    """Take back one's own last stroke (RS-22)."""
    seat.principal.require(Permission.ROOM_DRAW)
    _removed(hall, hall.board.undo(seat.participant.id))


def clear(hall: Hall, seat: Seat, *, mine: bool) -> None:
    """Clear one's own strokes, or everybody's as host (RS-22)."""
    seat.principal.require(Permission.ROOM_DRAW if mine else Permission.ROOM_HOST)
    _removed(hall, hall.board.clear(seat.participant.id if mine else None))


def _removed(hall: Hall, ids: list[str]) -> None:
    if ids:
        hall.broadcast(StrokesRemoved(ids=ids))


def point(context: LiveContext, hall: Hall, seat: Seat, ask: client.Laser) -> None:
    """Show the laser; more than 25 a second are left out, the end of it never is (RS-21)."""
    seat.principal.require(Permission.ROOM_DRAW)
    if not ask.off and not seat.lasers.take(context.clock.monotonic()):
        return
    track = hall.tracks.get(ask.track_id)
    if track is None:
        return  # it has just ended; the next point names another
    who = seat.participant.id
    hall.broadcast(
        LaserShown(participant_id=who, track_id=ask.track_id, off=True)
        if ask.off
        else LaserShown(participant_id=who, track_id=ask.track_id, x=ask.x, y=ask.y, picture=ask.picture or track.size)
    )


def say(context: LiveContext, hall: Hall, seat: Seat, ask: client.ChatLine) -> None:
    """Say a line to everybody; the last 200 are kept (RS-23)."""
    person = seat.participant
    line = ChatWire(id=new_ulid(), participant_id=person.id, name=person.name, text=ask.text, at=context.clock.now())
    hall.keep_chat(line)
    hall.broadcast(ChatSaid(chat=line))


def mute(hall: Hall, seat: Seat, ask: client.Mute) -> None:
    """Tell the others what is muted (RS-13)."""
    person = seat.participant
    seat.muted_audio, seat.muted_video = ask.audio, ask.video
    hall.broadcast(Muted(participant_id=person.id, audio=ask.audio, video=ask.video))
    show_people(hall, {person.id})


def pong(context: LiveContext, seat: Seat, ask: client.Ping) -> None:
    """Answer with the server's time (RS-30)."""
    seat.pings = True
    micros = int(context.clock.now().timestamp() * 1_000_000)
    seat.send(frame(Pong(t=ask.t, server_time_us=micros)))
