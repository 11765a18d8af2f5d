"""The room of a consultation that is over ends by itself: the bus tells at once, the outbox behind it what the bus did not bring."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque

import structlog

from consilium_core.events import Event, EventType
from consilium_core.roles import Principal, Role
from consilium_live.flow.context import LiveContext
from consilium_live.flow.rooms import end_room

log = structlog.get_logger()
OVER = frozenset({"completed", "cancelled", "rejected"})
SCAN_S = 5.0
_COMMIT_LAG_S = 120.0  # no transaction takes so long: a number that was given before then is committed or never will be


class ConsultationFollower:
    """Looks into the outbox for consultations that are over; the first look covers all that the outbox still holds."""

    def __init__(self, context: LiveContext) -> None:
        self._context = context
        self._floor = 0
        self._newest: deque[tuple[float, int]] = deque()  # (monotonic seconds, newest number in the outbox then)

    async def run(self) -> None:
        """Follow until stopped."""
        while not self._context.stopping.is_set():
            try:
                await self.step()
            except Exception as problem:
                log.warning("consultation_follow_failed", error=type(problem).__name__)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SCAN_S):
                    await self._context.stopping.wait()

    async def step(self) -> None:
        """End the rooms of everything that is new in the outbox, in pages."""
        now, seq = self._context.clock.monotonic(), self._floor
        newest = await self._context.store.newest_event()
        while found := await self._context.store.consultations_over(seq):
            for over in found:
                await end_room_of(self._context, over.tenant, over.consultation_id)
            seq = found[-1].seq
        self._newest.append((now, newest))
        while self._newest and now - self._newest[0][0] >= _COMMIT_LAG_S:
            self._floor = self._newest.popleft()[1]


async def end_room_of(context: LiveContext, tenant: str, consultation_id: str) -> None:
    """End the consultation's room if it has one that is still open."""
    room = await context.store.room_of_consultation(tenant, consultation_id)
    if room is not None:
        await end_room(context, Principal("service", "live", tenant, Role.SERVICE, "live"), room.id)


def is_over(event: Event) -> bool:
    """Tell whether the event says that a consultation is over."""
    return event.type is EventType.CONSULTATION_CHANGED and event.data.get("state") in OVER
