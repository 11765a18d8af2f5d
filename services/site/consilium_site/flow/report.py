"""What the agent tells the server by itself: events and results, durable before they are sent, sent until they are held.

``Reporter`` owns one loop; ``add`` and ``finish`` write to disk and wake it (SP-26, SP-30).
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import structlog

from consilium_core.clock import Clock
from consilium_core.errors import ConsiliumError
from consilium_core.site_protocol import AgentEvent, AgentEventType, Result
from consilium_site.domain.backoff import Backoff
from consilium_site.errors import ServerRefused, ServerUnavailable
from consilium_site.ports import Memory, Server

log = structlog.get_logger(__name__)
_BATCH = 256
_OVER = (404, 409, 410)
_UNFIT = (400, 413, 415, 422)  # our own message does not fit the server: sending it again changes nothing


class Reporter:
    """Delivers events in order and results at least once."""

    def __init__(self, memory: Memory, server: Server, clock: Clock, backoff: Backoff) -> None:
        self._memory = memory
        self._server = server
        self._clock = clock
        self._backoff = backoff
        self._wake = asyncio.Event()
        self._back = asyncio.Event()

    def server_back(self) -> None:
        """The server answers again: deliver at once."""
        self._back.set()

    async def add(self, kind: AgentEventType, data: dict[str, Any]) -> None:
        """Make an event durable."""
        await asyncio.to_thread(self._memory.add_event, kind, self._clock.now(), data)
        self._wake.set()

    def wake(self) -> None:
        """Look for what waits."""
        self._wake.set()

    async def finish(self, command_id: str, result: Result) -> None:
        """Make a command's result durable."""
        await asyncio.to_thread(self._memory.note_result, command_id, result)
        self._wake.set()

    async def run(self) -> None:
        """Deliver for ever."""
        while True:
            self._wake.clear()
            try:
                while await self._deliver():
                    pass
            except ConsiliumError as error:
                delay_s = self._backoff.next_delay_s(getattr(error, "retry_after_s", 0.0))
                log.warning("report_delayed", code=error.code, delay_s=round(delay_s, 2))
                self._back.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(delay_s):
                        await self._back.wait()
                continue
            self._backoff.reset()
            await self._wake.wait()

    async def _deliver(self) -> bool:
        """Send what waits; say whether there may be more."""
        for command_id, result in await asyncio.to_thread(self._memory.waiting_results):
            try:
                await self._server.result(command_id, result)
            except ServerRefused as error:
                if error.status in _UNFIT:  # it would never be taken, and everything behind it would wait
                    log.error("result_unfit", command_id=command_id, status=error.status, detail=error.detail)  # noqa: TRY400
                elif error.status not in _OVER:
                    raise
                else:
                    log.info("result_not_wanted", command_id=command_id, status=error.status)
            await asyncio.to_thread(self._memory.result_delivered, command_id)
        events = await asyncio.to_thread(self._memory.waiting_events, _BATCH)
        if not events:
            return False
        try:
            through = await self._server.events(events)
        except ServerRefused as error:
            if error.status not in _UNFIT:
                raise
            through = await self._one_by_one(events)
        if through < events[0].seq:
            raise ServerUnavailable("The server holds no new events yet.", acked_through=through)
        await asyncio.to_thread(self._memory.forget_events, through)
        return True

    async def _one_by_one(self, events: list[AgentEvent]) -> int:
        """Deliver a batch that the server can't read event by event; set aside the one that it refuses."""
        through = 0
        for event in events:
            try:
                through = max(through, await self._server.events([event]))
            except ServerRefused as error:
                if error.status not in _UNFIT:
                    raise
                log.error("event_unfit", seq=event.seq, type=event.type.value, status=error.status)  # noqa: TRY400
                through = event.seq
            await asyncio.to_thread(self._memory.forget_events, through)
        return through
