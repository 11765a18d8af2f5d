"""``GET /api/v1/events``: what the rooms announce, as Server-Sent Events over fetch with the bearer header (HTML 9.2).

A stream carries the tenant's events (ids only), a comment every 15 s, and ends with the token that opened it. A reader that is
too slow loses the oldest (the bus's bounded queue) and sees the gap in ``seq``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import StreamingResponse

from consilium_core.errors import Exhausted
from consilium_core.roles import Permission, Principal
from consilium_gateway.api.parts import DeskDep
from consilium_gateway.flow.desk import Desk
from consilium_platform.http.auth import require

router = APIRouter(tags=["events"])
COMMENT_S = 15.0
_STEP_S = 1.0


@router.get("/api/v1/events", response_class=StreamingResponse, responses={200: {"content": {"text/event-stream": {}}}})
async def events(
    request: Request, desk: DeskDep, principal: Annotated[Principal, Depends(require(Permission.EVENTS_READ))]
) -> StreamingResponse:
    """Stream the tenant's events until the token ends."""
    open_streams: Counter[str] = request.app.state.event_streams
    if open_streams[principal.subject] >= desk.settings.max_streams_per_user:
        raise Exhausted("This user holds too many event streams open. Close a window.", retry_after_s=15)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_stream(desk, principal, open_streams), media_type="text/event-stream", headers=headers)


async def _stream(desk: Desk, principal: Principal, open_streams: Counter[str]) -> AsyncIterator[str]:
    clock = desk.platform.clock
    open_streams[principal.subject] += 1
    try:
        async with desk.platform.bus.subscribe() as subscription:
            yield ": open\n\n"
            quiet_since = clock.monotonic()
            while not desk.wakeups.closed and clock.now().timestamp() < principal.expires_at:
                event = await subscription.next(_STEP_S)  # short steps: token end and shutdown are seen within a second
                if event is not None and event.tenant == principal.tenant:
                    yield f"event: {event.type.value}\nid: {event.seq}\ndata: {event.model_dump_json()}\n\n"
                    quiet_since = clock.monotonic()
                elif clock.monotonic() - quiet_since >= COMMENT_S:
                    yield ": here\n\n"
                    quiet_since = clock.monotonic()
    finally:
        open_streams[principal.subject] -= 1
        if open_streams[principal.subject] <= 0:
            del open_streams[principal.subject]
