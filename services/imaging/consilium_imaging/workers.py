"""The room's threads for CPU work: pictures are refused when too many wait, streams that have begun wait for their turn."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from consilium_imaging.errors import RenderBusy
from consilium_platform import workers

T = TypeVar("T")


class Workers:
    """A bounded pool; ``close`` ends its threads."""

    def __init__(self, threads: int, queue: int, name: str = "render") -> None:
        self._pool = workers.Workers(threads, name)
        self._bound = threads + queue
        self._busy = 0
        self._turns = asyncio.Semaphore(threads)
        self.large = asyncio.Semaphore(threads)  # held by who has a large object whole in memory

    async def run(self, work: Callable[[], T]) -> T:
        """Run ``work`` in a thread; raise RenderBusy when the queue is full."""
        if self._busy >= self._bound:
            raise RenderBusy("Too many pictures wait to be drawn. Try again in a moment.", retry_after_s=1.0)
        return await self._run(work)

    async def turn(self, work: Callable[[], T]) -> T:
        """Run ``work`` in a thread when it is its turn: for streams, which read a bounded distance ahead of their clients."""
        async with self._turns:
            return await self._run(work)

    async def _run(self, work: Callable[[], T]) -> T:
        self._busy += 1
        try:
            return await self._pool.run(work)
        finally:
            self._busy -= 1

    def close(self) -> None:
        """End the threads."""
        self._pool.close()
