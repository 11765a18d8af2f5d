"""Ending long tasks for certain."""

from __future__ import annotations

import asyncio
from typing import Any


async def end_task(task: asyncio.Task[Any], again_s: float = 0.5) -> None:
    """Cancel ``task`` until it is over; its result or failure is not raised.

    One ``cancel`` is not enough: where a driver waits with ``asyncio.wait_for`` (asyncpg, redis), Python 3.11 loses a
    cancellation that arrives together with the awaited result, and a loop that goes on would be waited for without end.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=again_s)
    await asyncio.gather(task, return_exceptions=True)
