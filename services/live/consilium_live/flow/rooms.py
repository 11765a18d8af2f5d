"""Open, list, show and end rooms."""

from __future__ import annotations

from collections.abc import Sequence

from consilium_core.errors import NotFound, Unavailable
from consilium_core.ids import new_uid, new_ulid
from consilium_core.roles import Principal
from consilium_core.site_protocol import CaptureContext, PatientContext, StreamStop
from consilium_live.domain.capture import Capture
from consilium_live.domain.room import Room, RoomState
from consilium_live.errors import RoomConflict, RoomNotFound, SiteUnknown
from consilium_live.flow.context import LiveContext
from consilium_live.flow.hall import Audience
from consilium_live.flow.render import room_detail, room_summary
from consilium_live.wire.rest import InternalRoomCreation, RoomCreation, RoomDetail, RoomPage
from consilium_live.wire.server import Ended, RoomChanged

PAGE = 50


async def open_room(context: LiveContext, principal: Principal, wish: RoomCreation) -> Room:
    """Create a room; idempotent on a fixed id and on the consultation."""
    fixed = wish.id if isinstance(wish, InternalRoomCreation) else None
    consultation_id = wish.consultation_id if isinstance(wish, InternalRoomCreation) else None
    opened_by = wish.opened_by if isinstance(wish, InternalRoomCreation) else ""
    purpose = _purpose(wish)
    room = Room(
        id=fixed or new_ulid().lower(), tenant=principal.tenant, title=wish.title, site_id=wish.site_id,
        site_name=wish.site_name or await _site_name(context, principal.tenant, wish.site_id),
        modality=purpose.modality, study_uid=purpose.study_uid or new_uid(),
        accession_number=purpose.accession_number, patient=purpose.patient, state=RoomState.PLANNED,
        wanted=False, created_at=context.clock.now(), created_by=opened_by or principal.subject,
        study_description=purpose.study_description, referring_physician=purpose.referring_physician,
        consultation_id=consultation_id,
    )  # fmt: skip
    known = await context.store.create(room, context.facts)
    _check_same(known, room, purpose)
    if known.id == room.id and known.created_at == room.created_at:
        await context.audit.act(
            principal, "room.create", subject=room.id, patient_id=room.patient.patient_id, detail=room.site_id
        )
    return known


def _check_same(known: Room, room: Room, purpose: CaptureContext) -> None:
    """Raise RoomConflict when the room that is there already is another patient's or study's than the one asked for."""
    theirs, ours = known.patient, room.patient
    same = (theirs.patient_id, theirs.issuer) == (ours.patient_id, ours.issuer)
    if not ours.patient_id:
        same = theirs == ours
    if not same or (purpose.study_uid and purpose.study_uid != known.study_uid):
        raise RoomConflict("This room exists already, for another patient or study.", room_id=known.id)


def _purpose(wish: RoomCreation) -> CaptureContext:
    """Return what the room is for; ``context`` goes before the single fields."""
    if isinstance(wish, InternalRoomCreation) and wish.context is not None:
        return wish.context
    return CaptureContext(
        patient=wish.patient or PatientContext(), study_uid=wish.study_uid or "",
        accession_number=wish.accession_number, modality=wish.modality, study_description=wish.study_description,
    )  # fmt: skip


async def _site_name(context: LiveContext, tenant: str, site_id: str) -> str:
    """Return the site's name; its id while the gateway is away; raise SiteUnknown when there is no such site."""
    if not site_id:
        return ""
    try:
        return await context.commands.site_name(tenant, site_id) or site_id
    except NotFound as problem:
        raise SiteUnknown("There is no such site.", site_id=site_id) from problem
    except Unavailable:
        return site_id


async def list_rooms(context: LiveContext, principal: Principal, cursor: str | None, limit: int) -> RoomPage:
    """Return the tenant's rooms without patients: ended ones last, each newest first."""
    rooms = await context.store.rooms(principal.tenant, before=cursor, limit=limit + 1)
    more = rooms[limit - 1].id if len(rooms) > limit else None
    items = [room_summary(room, context.halls.get(room.id)) for room in rooms[:limit]]
    return RoomPage(items=items, next_cursor=more)


async def show_room(context: LiveContext, principal: Principal, room_id: str) -> RoomDetail:
    """Return one room; the view is audited, with the patient where the patient is shown."""
    room = await context.store.room(room_id, principal.tenant)
    audience = Audience.of(principal)
    shown = room.patient.patient_id if audience.patient else ""
    await context.audit.act(principal, "room.view", subject=room.id, patient_id=shown)
    return await detail(context, room, audience)


async def detail(context: LiveContext, room: Room, audience: Audience) -> RoomDetail:
    """Return the wire form of a room for an audience."""
    return room_detail(room, context.halls.get(room.id), await context.store.captures(room.id), audience)


async def end_room(context: LiveContext, principal: Principal, room_id: str) -> Room:
    """End for good: everybody out, media closed, the site told to stop (RS-25)."""
    before = await context.store.room(room_id, principal.tenant)
    now = context.clock.now()
    room = await context.store.change(room_id, lambda r: r.ended(now), context.facts)
    if before.state is RoomState.ENDED:
        return room
    await context.audit.act(principal, "room.end", subject=room.id, patient_id=room.patient.patient_id)
    await close_hall(context, room)
    context.errands.run(stop_site(context, room, principal.subject), f"stop-site:{room.id}")
    return room


async def close_hall(context: LiveContext, room: Room) -> None:
    """Send everybody away and close every media session of the room."""
    hall = context.halls.get(room.id)
    for resource in context.resources.of_room(room.id):
        context.resources.drop(resource.id)
        await context.plane.close_session(resource.id)
    context.plane.forget_room(room.id)
    if hall is None:
        return
    hall.broadcast(Ended())
    for seat in list(hall.seats.values()):
        seat.close(4410)
    hall.tracks.clear()
    hall.over = True


async def stop_site(context: LiveContext, room: Room, actor: str) -> None:
    """Tell the site to stop every encode of the room."""
    if not room.site_id:
        return
    await context.commands.send(
        room.tenant, room.site_id, StreamStop(room_id=room.id),
        deadline_s=context.settings.stream_deadline_s, actor=actor,
    )  # fmt: skip


async def tell_room(context: LiveContext, room_id: str) -> None:
    """Send everybody the room as it is now (RS-25); nothing when nobody is there."""
    hall = context.halls.get(room_id)
    if hall is None or not hall.seats:
        return
    try:
        room = await context.store.room(room_id)
    except RoomNotFound:
        return
    captures: Sequence[Capture] = await context.store.captures(room_id)
    hall.broadcast_by_audience(lambda audience: RoomChanged(room=room_detail(room, hall, captures, audience)))
