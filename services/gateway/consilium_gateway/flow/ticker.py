"""The gateway's clockwork: deadlines, leases, presence, and on PostgreSQL the look for commands that other processes queued."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from consilium_gateway.flow.commands import end_overdue, sites_with_queued
from consilium_gateway.flow.desk import Desk
from consilium_gateway.flow.prune import prune
from consilium_platform.tasks import end_task

log = structlog.get_logger()
_SWEEP_S = 10.0
_FORGET_S = 3600.0


class Ticker:
    """Runs the periodic work; ``tick`` is one round, for tests to call."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._swept = self._forgot = desk.platform.clock.monotonic()
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Let ``run`` return after the round it is in."""
        self._stopping.set()

    async def tick(self) -> None:
        """Do what is due."""
        desk, now = self._desk, self._desk.platform.clock.monotonic()
        await end_overdue(desk)
        if not desk.platform.database.is_sqlite and desk.wakeups.count():
            for site_id in await sites_with_queued(desk):
                desk.wakeups.wake(f"site:{site_id}")
        if now - self._swept >= min(_SWEEP_S, desk.settings.offline_after_s / 4):
            self._swept = now
            await desk.presence.sweep()
        if now - self._forgot >= _FORGET_S:
            self._forgot = now
            await prune(desk)

    async def run(self) -> None:
        """Tick until stopped; an outage is waited out."""
        while not await self._pause():
            try:
                async with asyncio.timeout(30):
                    await self.tick()
            except Exception as problem:
                log.warning("gateway_tick_failed", error=type(problem).__name__)

    async def _pause(self) -> bool:
        try:
            async with asyncio.timeout(self._desk.settings.tick_s):
                return await self._stopping.wait()
        except TimeoutError:
            return False


@asynccontextmanager
async def ticking(desk: Desk) -> AsyncIterator[Ticker]:
    """Run the clockwork for the length of the block."""
    ticker = Ticker(desk)
    task = asyncio.create_task(ticker.run(), name="gateway-ticker")
    try:
        yield ticker
    finally:
        ticker.stop()
        await asyncio.wait([task], timeout=5)  # a round in the middle of a transaction ends by itself
        await end_task(task)
