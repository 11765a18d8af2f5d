"""Long tasks with a name: kept, logged when they fail, cancelled and awaited by ``close``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from consilium_site.domain.backoff import Backoff

log = structlog.get_logger(__name__)
_RESTART_MAX_S = 30.0


class Tasks:
    """Owns tasks of one flow; the owner closes it."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run ``work`` under ``name``."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def keep(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
        """Run ``work`` under ``name`` and begin it again when it fails unexpectedly (a full disk, a bug): logged, with back-off."""
        return self.start(name, self._again(name, work))

    async def _again(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        backoff = Backoff(max_s=_RESTART_MAX_S)
        while True:
            try:
                await work()
                return
            except Exception:
                delay_s = 0.5 + backoff.next_delay_s()
                log.exception("task_restarts", task=name, delay_s=round(delay_s, 2))
                await asyncio.sleep(delay_s)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("task_failed", task=task.get_name(), exc_info=task.exception())

    async def close(self) -> None:
        """Cancel what runs and wait for it."""
        running = list(self._tasks)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
