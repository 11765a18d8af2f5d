"""What goes on beside requests: the timer, and the look at rooms that changed."""

from __future__ import annotations

import asyncio
import contextlib

import structlog

from consilium_live.errors import RoomNotFound
from consilium_live.flow.context import LiveContext
from consilium_live.flow.measures import measure
from consilium_live.flow.publish import unpublish
from consilium_live.flow.rooms import tell_room
from consilium_live.flow.stream import look_at_second_encode
from consilium_live.flow.view import unview

log = structlog.get_logger()
TICK_S = 0.5


def tick(context: LiveContext) -> None:
    """Let go what is over: strokes, tokens (RS-05), media sessions of ended tokens and revoked sites, silent people (RS-04), a VP8 encode nobody sees (RS-15)."""
    now, mono = context.clock.now(), context.clock.monotonic()
    for hall in context.halls:
        hall.board.expire(now)
        for seat in list(hall.seats.values()):
            if now.timestamp() >= seat.principal.expires_at:
                seat.close(4401)
            elif seat.pings and mono - seat.heard_at > context.settings.silence_limit_s:
                seat.close(1001)
        look_at_second_encode(context, hall)
        waited_for = context.halls.is_dirty(hall.room_id) or context.resources.of_room(hall.room_id)
        if hall.empty and not waited_for:
            context.halls.forget(hall.room_id)
    for resource in context.resources.overdue(now.timestamp(), context.revoked.holds):
        close = unpublish if resource.kind == "whip" else unview
        context.errands.run(close(context, resource), f"session-over:{resource.id}")


async def run_timer(context: LiveContext) -> None:
    """Tick until cancelled."""
    while True:
        await asyncio.sleep(TICK_S)
        try:
            tick(context)
            measure(context)
        except Exception as problem:
            log.exception("live_tick_failed", error=type(problem).__name__)


async def run_reconciler(context: LiveContext) -> None:
    """Look at each room that changed until stopped; one bad look does not end it."""
    while (room_id := await context.halls.next_dirty()) is not None:
        try:
            await reconcile(context, room_id)
        except RoomNotFound:
            log.warning("room_vanished", room=room_id)
        except Exception as problem:
            log.warning("room_look_failed", room=room_id, error=type(problem).__name__)
            await asyncio.sleep(0.2)
            context.halls.touch(room_id)


async def reconcile(context: LiveContext, room_id: str) -> None:
    """Bring the row up with what flows, announce what differs, tell the people in the room (RS-25)."""
    hall = context.halls.get(room_id)
    if hall is None:
        return
    now = context.clock.now()
    before = await context.store.room(room_id)
    room = before
    if hall.live:
        room = await context.store.change(room_id, lambda r: r.seen_live(now), context.facts)
    state = (room.state.value, hall.live, hall.participants)
    if hall.announced == state:
        return
    if room == before:
        await context.store.announce(room_id, context.facts)
    hall.announced = state
    await tell_room(context, room_id)


async def everybody_out(context: LiveContext) -> None:
    """Close every connection because this process goes (1012: come back at once); wait 3 s at most for their end."""
    for hall in context.halls:
        for seat in list(hall.seats.values()):
            seat.close(1012)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(3):
            for hall in context.halls:
                while hall.seats:
                    await hall.changed()
