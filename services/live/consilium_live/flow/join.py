"""Come into a room and leave it (RS-01 to RS-05)."""

from __future__ import annotations

from collections.abc import Iterable

from consilium_core.clock import iso
from consilium_core.errors import Denied, Unauthenticated
from consilium_core.ids import new_ulid
from consilium_core.roles import Permission, Principal
from consilium_live.domain.ice import IceServerFacts
from consilium_live.domain.participant import Participant, pick_color
from consilium_live.domain.room import Room
from consilium_live.errors import RoomEnded, RoomFull, RoomNotFound, TooManySessions
from consilium_live.flow.context import LiveContext
from consilium_live.flow.hall import Audience, Hall, Seat
from consilium_live.flow.media_events import drop_tracks
from consilium_live.flow.media_talk import track_ids
from consilium_live.flow.render import participant_wire, room_detail, stroke_wire, tracks_wire
from consilium_live.flow.stream import look_at_second_encode
from consilium_live.wire.client import Hello
from consilium_live.wire.server import IceServer, ParticipantJoined, ParticipantLeft, Welcome, frame
from consilium_platform.audit import AuditRecord
from consilium_platform.http.auth import DEFAULT_TENANT
from consilium_platform.tokens import TokenVerifier

# Which close code tells a refusal (RS-02).
CLOSE_CODES: dict[type[Exception], int] = {
    Unauthenticated: 4401, Denied: 4403, RoomNotFound: 4404, RoomEnded: 4410, RoomFull: 4429,
}  # fmt: skip


async def verify(context: LiveContext, verifier: TokenVerifier, token: str, room_id: str, address: str) -> Principal:
    """Return whom the token speaks for; a token that does not is audited (RS-02)."""
    try:
        return verifier.verify(token)
    except Unauthenticated as refusal:
        await context.refusals.record(
            address,
            AuditRecord(
                str(refusal.facts.get("tenant", DEFAULT_TENANT)), str(refusal.facts.get("subject", "unknown")), "", "room.join", "denied", room_id[:64],
                detail=str(refusal.facts.get("reason", "")),
            ),
        )  # fmt: skip
        raise


async def admit(context: LiveContext, principal: Principal, room_id: str) -> Room:
    """Return the room when the principal may come in; each refusal is audited (RS-02)."""
    try:
        principal.require(Permission.ROOM_VIEW)
        room = await context.store.room(room_id, principal.tenant)
        room.require_open()
        _check_space(context, principal, room_id)
    except (Denied, RoomNotFound, RoomEnded, RoomFull) as refusal:
        await context.audit.act(principal, "room.join", "denied", subject=room_id[:64], detail=refusal.code)
        raise
    return room


def _check_space(context: LiveContext, principal: Principal, room_id: str) -> None:
    most = context.settings.max_seats_per_person
    if context.halls.seats_of(principal.tenant, principal.subject) >= most:
        raise TooManySessions(f"You are connected {most} times already. Leave a room first.", retry_after_s=30)
    hall = context.halls.get(room_id)
    if hall is not None and hall.participants >= context.settings.max_participants:
        raise RoomFull("The room is full.", retry_after_s=30)


async def join(context: LiveContext, principal: Principal, room_id: str, hello: Hello) -> tuple[Hall, Seat]:
    """Seat the participant: audited, welcomed, and told to the others (RS-03, RS-04)."""
    room = await admit(context, principal, room_id)
    await context.audit.act(principal, "room.join", subject=room.id, patient_id=room.patient.patient_id)
    now = context.clock.now()
    captures = await context.store.captures(room_id)
    room = await context.store.change(room_id, lambda r: r.entered(now), context.facts)
    room.require_open()  # it may have ended while we waited; from here to the seat nothing waits
    _check_space(context, principal, room_id)  # others may have come while we waited
    hall = context.halls.open(room.id, room.tenant)
    person = Participant(
        id=new_ulid().lower(), user_id=principal.subject, name=principal.name, role=principal.role,
        color=pick_color(seat.participant.color for seat in hall.seats.values()), joined_at=now,
    )  # fmt: skip
    seat = Seat(person, principal, frozenset(hello.client.codecs), heard_at=context.clock.monotonic())
    audience = Audience.of(principal)
    others = list(hall.seats.values())
    hall.seats[person.id] = seat
    seat.send(
        frame(
            Welcome(
                self=participant_wire(person), room=room_detail(room, hall, captures, audience),
                participants=[participant_wire(s.participant) for s in hall.seats.values()],
                tracks=tracks_wire(hall), strokes=[stroke_wire(s, s.points) for s in hall.board.alive(now)],
                chat=list(hall.chat), frame_maps=list(hall.frame_maps.values()),
                ice_servers=ice_wire(context.ice.servers(person.id, now.timestamp())),
                server_time=now, session_id=person.id,
            )
        )
    )  # fmt: skip
    joined = frame(ParticipantJoined(participant=participant_wire(person)))
    for other in others:
        other.send(joined)
    if seat.codecs and "H264" not in seat.codecs and "VP8" in seat.codecs:
        hall.second.need(person.id)
        look_at_second_encode(context, hall)
    context.halls.touch(room.id)
    return hall, seat


def ice_wire(servers: Iterable[IceServerFacts]) -> list[IceServer]:
    """Return RTCIceServers."""
    return [IceServer(urls=list(s.urls), username=s.username or None, credential=s.credential or None) for s in servers]


async def leave(context: LiveContext, hall: Hall, seat: Seat) -> None:
    """Take the participant out: media closed, the others told (RS-04)."""
    person = seat.participant
    if hall.seats.pop(person.id, None) is None:
        return
    hall.note_change()
    hall.second.drop(person.id, context.clock.monotonic())
    for link in (seat.speaking, seat.viewing):
        if link is not None:
            drop_tracks(context, hall, link.session_id)
            await context.plane.close_session(link.session_id)
    context.plane.forget_tracks(list(track_ids(person.id).values()))
    hall.broadcast(ParticipantLeft(participant_id=person.id))
    context.halls.touch(hall.room_id)
    since = iso(person.joined_at)
    await context.audit.act(seat.principal, "room.leave", subject=hall.room_id, detail=f"joined {since}")


async def note_denied(context: LiveContext, hall: Hall, seat: Seat, refusal: Denied) -> None:
    """Audit that a participant tried what the role may not do."""
    asked = str(refusal.facts.get("permission", refusal.code))
    await context.audit.act(seat.principal, "permission.denied", "denied", subject=hall.room_id, detail=asked)


async def refresh_token(context: LiveContext, verifier: TokenVerifier, hall: Hall, seat: Seat, token: str) -> None:
    """Take a fresh token of the same subject; anybody else's closes the connection (RS-05)."""
    principal = await verify(context, verifier, token, hall.room_id, seat.principal.subject)
    old = seat.principal
    if (principal.subject, principal.tenant, principal.role) != (old.subject, old.tenant, old.role):
        await context.audit.act(old, "room.join", "denied", subject=hall.room_id, detail="token-of-another")
        seat.close(4403)
        return
    seat.principal = principal
