"""Start and stop the site's stream (host), and the VP8 encode on demand (RS-15)."""

from __future__ import annotations

from typing import Literal

import structlog

from consilium_core.errors import Conflict
from consilium_core.roles import Principal
from consilium_core.site_protocol import StreamPublish, StreamStop
from consilium_live.domain.room import Room
from consilium_live.domain.track import bitrate_ceiling
from consilium_live.flow.context import LiveContext
from consilium_live.flow.hall import Hall
from consilium_live.flow.media_events import drop_tracks
from consilium_live.flow.rooms import stop_site
from consilium_live.ports import TrackState

FIRST_HEIGHT, SECOND_HEIGHT = 1080, 720  # rows: VP8 is encoded beside H.264, by software as a rule
log = structlog.get_logger()
_THERE = (TrackState.WAITING, TrackState.LIVE)


async def start_stream(context: LiveContext, principal: Principal, room_id: str) -> Room:
    """Order the site to publish; starting twice is the same (SP-40). The room is live when packets come."""
    room = await context.store.room(room_id, principal.tenant)
    room.require_open()
    if not room.site_id:
        raise Conflict("This room has no site that could publish.", room_id=room_id)
    now = context.clock.now()  # wanted first: a quick site must not be refused as paused
    room = await context.store.change(room_id, lambda r: r.started(now), context.facts)
    await context.audit.act(principal, "room.stream.start", subject=room.id, patient_id=room.patient.patient_id)
    await context.commands.send(
        room.tenant, room.site_id, _order(room, "h264", FIRST_HEIGHT),
        deadline_s=context.settings.stream_deadline_s, actor=principal.subject,
    )  # fmt: skip
    context.halls.touch(room_id)
    return room


def _order(room: Room, codec: Literal["h264", "vp8"], max_height: int) -> StreamPublish:
    return StreamPublish(
        room_id=room.id, codec=codec, max_height=max_height, max_bitrate_bps=bitrate_ceiling(max_height)
    )


async def stop_stream(context: LiveContext, principal: Principal, room_id: str) -> Room:
    """Stop at once: media sessions of the site are closed here, then the site is told."""
    room = await context.store.room(room_id, principal.tenant)
    room = await context.store.change(room_id, lambda r: r.stopped(), context.facts)
    await context.audit.act(principal, "room.stream.stop", subject=room.id, patient_id=room.patient.patient_id)
    for resource in context.resources.of_room(room_id, "whip"):
        context.resources.drop(resource.id)
        hall = context.halls.get(room_id)
        if hall is not None:
            drop_tracks(context, hall, resource.id)
        await context.plane.close_session(resource.id)
    await stop_site(context, room, principal.subject)
    context.halls.touch(room_id)
    return room


def second_encode_running(hall: Hall) -> bool:
    """Say whether the site's VP8 encode is there."""
    return any(t.codec == "VP8" and t.site_id is not None and t.state in _THERE for t in hall.tracks.values())


def first_encode_there(hall: Hall) -> bool:
    """Say whether the site publishes H.264, which somebody may be unable to decode."""
    return any(t.codec == "H264" and t.site_id is not None and t.state in _THERE for t in hall.tracks.values())


def look_at_second_encode(context: LiveContext, hall: Hall) -> None:
    """Ask the site for VP8 when somebody needs it, stop it when nobody has for 30 s (RS-15)."""
    now = context.clock.monotonic()
    running = second_encode_running(hall)
    if not running and not first_encode_there(hall):
        return
    if hall.second.must_ask(now, running=running):
        context.errands.run(_order_second(context, hall, wanted=True), f"vp8-start:{hall.room_id}")
    elif hall.second.must_stop(now):
        context.errands.run(_order_second(context, hall, wanted=False), f"vp8-stop:{hall.room_id}")


async def _order_second(context: LiveContext, hall: Hall, *, wanted: bool) -> None:
    room = await context.store.room(hall.room_id)
    if not room.site_id:
        return
    args = _order(room, "vp8", SECOND_HEIGHT) if wanted else StreamStop(room_id=room.id, codec="vp8")
    deadline_s = context.settings.stream_deadline_s
    await context.commands.send(room.tenant, room.site_id, args, deadline_s=deadline_s, actor="service:live")
    log.info("second_encode_ordered", room=room.id, wanted=wanted)
