"""WHEP out: a plain client views the room's picture (draft-ietf-wish-whep; the mirror of RFC 9725)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from consilium_core.ids import new_ulid
from consilium_core.roles import Principal
from consilium_live.domain.offer import MediaLine, ice_ufrag, media_lines
from consilium_live.domain.track import RoomTrack
from consilium_live.errors import RoomFull, RoomNotLive
from consilium_live.flow.context import LiveContext
from consilium_live.flow.hall import Hall
from consilium_live.flow.media_events import RoomMedia
from consilium_live.flow.resources import MediaResource
from consilium_live.flow.stream import look_at_second_encode, second_encode_running
from consilium_live.ports import TrackState


async def view(context: LiveContext, principal: Principal, room_id: str, sdp: str) -> tuple[MediaResource, str]:
    """Answer a viewer's offer with the first modality picture it can decode; the view is audited before it is shown."""
    room = await context.store.room(room_id, principal.tenant)
    room.require_open()
    hall = context.halls.open(room.id, room.tenant)
    if len(context.resources.of_room(room.id, "whep")) >= context.settings.max_viewers:
        raise RoomFull("The room has as many viewers as it takes.", retry_after_s=10)
    context.resources.check_owner(room.tenant, principal.subject, context.settings.max_sessions_per_person)
    lines = [line for line in media_lines(sdp) if line.receives]
    resource = MediaResource(
        new_ulid(), "whep", room.id, room.tenant, principal.subject, principal.expires_at, ice_ufrag(sdp)
    )
    if not _pictures(hall):
        raise RoomNotLive("Nothing is published in this room yet.", retry_after_s=2.0, room_id=room.id)
    try:
        if _blind(hall, lines):
            await _second_encode(context, hall, resource.id, lines)
        wanted = choose(hall.sorted_tracks(), lines)
        await context.audit.act(
            principal, "room.view", subject=room.id, patient_id=room.patient.patient_id, detail="whep"
        )
        (await context.store.room(room_id, principal.tenant)).require_open()  # it may have ended while we waited
        context.resources.check_owner(room.tenant, principal.subject, context.settings.max_sessions_per_person)
        context.resources.add(resource)
        done = await context.plane.subscribe(
            resource.id, sdp, wanted, room_id=room.id, listener=RoomMedia(context, hall)
        )
    except BaseException:
        context.resources.drop(resource.id)
        hall.second.drop(resource.id, context.clock.monotonic())
        raise
    if any(hall.tracks[t].codec == "VP8" for t in done.carried.values() if t in hall.tracks):
        hall.second.need(resource.id)
    return resource, done.answer_sdp


async def unview(context: LiveContext, resource: MediaResource) -> None:
    """End a viewer's session."""
    context.resources.drop(resource.id)
    hall = context.halls.get(resource.room_id)
    if hall is not None:
        hall.second.drop(resource.id, context.clock.monotonic())
    await context.plane.close_session(resource.id)


def choose(tracks: Sequence[RoomTrack], lines: Sequence[MediaLine]) -> dict[str, str]:
    """Map each receiving m-line to a track: video takes the first decodable picture of each group, audio what is there."""
    wanted: dict[str, str] = {}
    shown: set[str] = set()
    for line in lines:
        for track in tracks:
            if track.kind != line.kind or track.source == "camera" or track.id in wanted.values():
                continue
            if (track.group or track.id) in shown or track.codec.lower() not in line.slots:
                continue
            wanted[line.mid] = track.id
            shown.add(track.group or track.id)
            break
    return wanted


def _pictures(hall: Hall) -> list[RoomTrack]:
    return [t for t in hall.tracks.values() if t.source == "modality" and t.kind == "video"]


def _blind(hall: Hall, lines: Sequence[MediaLine]) -> bool:
    """Say whether the offer has video lines and none of them decodes any picture there is."""
    video = [line for line in lines if line.kind == "video"]
    codecs = {t.codec.lower() for t in _pictures(hall) if t.state is not TrackState.STALLED}
    return bool(video) and not any(codecs & set(line.slots) for line in video)


async def _second_encode(context: LiveContext, hall: Hall, viewer: str, lines: Sequence[MediaLine]) -> None:
    if not any("vp8" in line.slots for line in lines):
        return
    hall.second.need(viewer)
    look_at_second_encode(context, hall)
    try:
        async with asyncio.timeout(context.settings.second_encode_wait_s):
            while not second_encode_running(hall):
                await hall.changed()
    except TimeoutError:
        raise RoomNotLive(
            "The site has not started a VP8 encode yet. Try again in a moment.", retry_after_s=2.0, room_id=hall.room_id
        ) from None
