"""WHIP in (RFC 9725): a site, or an operator with a plain client, publishes a picture into a room."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from consilium_core.errors import ConsiliumError, Invalid
from consilium_core.ids import new_ulid
from consilium_core.roles import Principal
from consilium_live.domain.offer import ice_ufrag, media_lines
from consilium_live.domain.room import Room, RoomState
from consilium_live.domain.track import RoomTrack, personal_prefix
from consilium_live.errors import ForeignSite, RoomPaused
from consilium_live.flow.context import LiveContext
from consilium_live.flow.hall import Hall
from consilium_live.flow.media_events import RoomMedia, drop_tracks, put_tracks
from consilium_live.flow.resources import MediaResource
from consilium_live.flow.stream import look_at_second_encode
from consilium_live.ports import TrackFacts


async def admit_publisher(context: LiveContext, principal: Principal, room_id: str) -> Room:
    """Return the room when this caller may publish into it; a foreign site is refused and audited."""
    room = await context.store.room(room_id, principal.tenant)
    if principal.kind == "site" and principal.subject != room.site_id:
        await context.audit.act(principal, "room.publish", "denied", subject=room.id, detail="foreign-site")
        raise ForeignSite("This room is another site's.", room_id=room.id)
    room.require_open()
    if room.state is RoomState.PAUSED and not room.wanted:
        raise RoomPaused("The stream of this room was stopped. Start it first.", room_id=room.id)
    return room


async def publish(context: LiveContext, principal: Principal, room_id: str, sdp: str) -> tuple[MediaResource, str]:
    """Answer a publisher's offer; the same publisher's earlier session of the same codec is replaced."""
    room = await admit_publisher(context, principal, room_id)
    prefix = room.id if principal.kind == "site" else personal_prefix(room.id, principal.subject)
    wanted = {line.mid: f"{prefix}-{line.slots[0]}" for line in media_lines(sdp) if line.sends and line.slots}
    if not wanted:
        raise Invalid("The offer sends nothing that this service forwards (H.264, VP8, opus).")
    hall = context.halls.open(room.id, room.tenant)
    async with _arriving(hall), hall.publishing:
        if principal.kind != "site":
            context.resources.check_owner(room.tenant, principal.subject, context.settings.max_sessions_per_person)
        room = await admit_publisher(context, principal, room_id)  # it may have ended or paused while we waited
        replaced = await _replace(context, hall, set(wanted.values()))
        resource = MediaResource(
            new_ulid(), "whip", room.id, room.tenant, principal.subject, principal.expires_at, ice_ufrag(sdp)
        )
        try:
            done = await context.plane.publish(
                resource.id, sdp, room_id=room.id, track_ids=wanted, listener=RoomMedia(context, hall),
                reserved=principal.kind == "site",
            )  # fmt: skip
        except ConsiliumError:
            for session_id in replaced:
                drop_tracks(context, hall, session_id)
            raise
        context.resources.add(resource)
        put_tracks(context, hall, [_track(context, room, principal, prefix, facts) for facts in done.tracks])
    await context.audit.act(
        principal, "room.publish", subject=room.id, detail=", ".join(t.codec.label for t in done.tracks)
    )
    look_at_second_encode(context, hall)
    return resource, done.answer_sdp


@asynccontextmanager
async def _arriving(hall: Hall) -> AsyncIterator[None]:
    """Keep the hall, empty as it may be, while an offer is answered: forgotten meanwhile, the picture would arrive where nobody looks."""
    hall.arriving += 1
    try:
        yield
    finally:
        hall.arriving -= 1


async def _replace(context: LiveContext, hall: Hall, track_ids: set[str]) -> set[str]:
    old = {track.session_id for track in hall.tracks.values() if track.id in track_ids}
    for session_id in old:
        context.resources.drop(session_id)
        await context.plane.close_session(session_id)
    return old


def _track(context: LiveContext, room: Room, principal: Principal, prefix: str, facts: TrackFacts) -> RoomTrack:
    site = principal.kind == "site"
    return RoomTrack(
        id=facts.track_id, kind=facts.kind, source="modality", codec=facts.codec.name,
        label=room.site_name if site else principal.name, session_id=facts.session_id, state=facts.state,
        since=context.clock.now(), group=f"{prefix}-picture" if facts.kind == "video" else None,
        site_id=principal.subject if site else None, size=facts.size,
    )  # fmt: skip


async def unpublish(context: LiveContext, resource: MediaResource) -> None:
    """End a publisher's session by its own wish: its tracks leave the list."""
    context.resources.drop(resource.id)
    hall = context.halls.get(resource.room_id)
    if hall is not None:
        drop_tracks(context, hall, resource.id)
    await context.plane.close_session(resource.id)
