"""REST of the rooms (docs/architecture.md section 5, live)."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from consilium_core.roles import Permission, Principal
from consilium_live.api.dependencies import Context
from consilium_live.flow import captures, rooms, stream
from consilium_live.flow.hall import Audience
from consilium_live.wire.rest import (
    CaptureOrder,
    CapturePage,
    CaptureWire,
    InternalRoomCreation,
    RoomCreation,
    RoomDetail,
    RoomPage,
    StreamOrder,
)
from consilium_platform.http.auth import require

router = APIRouter(tags=["rooms"])
Lister = Annotated[Principal, Depends(require(Permission.ROOM_LIST))]
Viewer = Annotated[Principal, Depends(require(Permission.ROOM_VIEW))]
Host = Annotated[Principal, Depends(require(Permission.ROOM_HOST))]
Capturer = Annotated[Principal, Depends(require(Permission.ROOM_CAPTURE))]
Internal = Annotated[Principal, Depends(require(Permission.INTERNAL))]


@router.get("/api/v1/rooms")
async def list_rooms(
    principal: Lister,
    context: Context,
    cursor: Annotated[str | None, Query(max_length=64)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = rooms.PAGE,
) -> RoomPage:
    """List the tenant's rooms without patients: ended ones last, each newest first."""
    return await rooms.list_rooms(context, principal, cursor, limit)


@router.post("/api/v1/rooms", status_code=201)
async def create_room(principal: Host, context: Context, wish: RoomCreation) -> RoomDetail:
    """Open a room."""
    room = await rooms.open_room(context, principal, wish)
    return await rooms.detail(context, room, Audience.of(principal))


@router.get("/api/v1/rooms/{room_id}")
async def show_room(principal: Viewer, context: Context, room_id: str) -> RoomDetail:
    """Show one room; audited."""
    return await rooms.show_room(context, principal, room_id)


@router.post("/api/v1/rooms/{room_id}/stream", status_code=202)
async def order_stream(principal: Host, context: Context, room_id: str, order: StreamOrder) -> RoomDetail:
    """Order the site to publish, or stop it."""
    work = stream.start_stream if order.action == "start" else stream.stop_stream
    room = await work(context, principal, room_id)
    return await rooms.detail(context, room, Audience.of(principal))


@router.post("/api/v1/rooms/{room_id}/end")
async def end_room(principal: Host, context: Context, room_id: str) -> RoomDetail:
    """End the room for good."""
    room = await rooms.end_room(context, principal, room_id)
    return await rooms.detail(context, room, Audience.of(principal))


@router.post("/api/v1/rooms/{room_id}/captures", status_code=202)
async def request_capture(principal: Capturer, context: Context, room_id: str, order: CaptureOrder) -> CaptureWire:
    """Ask the site for a still or a clip; its state changes come by WebSocket and events."""
    return await captures.request_capture(context, principal, room_id, order)


@router.get("/api/v1/rooms/{room_id}/captures")
async def list_captures(principal: Viewer, context: Context, room_id: str) -> CapturePage:
    """List a room's captures; audited."""
    return await captures.list_captures(context, principal, room_id)


@router.post("/internal/v1/rooms", include_in_schema=False)
async def create_internal(principal: Internal, context: Context, wish: InternalRoomCreation) -> RoomDetail:
    """Open a room for another service; idempotent on ``id`` and ``consultation_id``."""
    room = await rooms.open_room(context, principal, wish)
    return await rooms.detail(context, room, Audience(patient=True, studies=True))
