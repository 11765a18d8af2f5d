"""What every flow of the live service works with; made once by the composition root."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

import structlog

from consilium_core.clock import Clock
from consilium_live.domain.ice import IceDirectory
from consilium_live.domain.room import Room
from consilium_live.flow.hall import Halls
from consilium_live.flow.ports import RoomStore, SiteCommands
from consilium_live.flow.resources import Resources
from consilium_live.ports import MediaPlanePort
from consilium_live.settings import LiveSettings
from consilium_platform.audit import AuditLog
from consilium_platform.http.refusals import Refusals
from consilium_platform.revoked import RevokedSites
from consilium_platform.tasks import end_task

log = structlog.get_logger()
_ERRANDS_BOUND = 256


class Errands:
    """Short tasks that nobody waits for: kept, named, their failures logged, all cancelled at the end."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def run(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Start ``work``; when too many are under way it is dropped and logged (all are tried again by the timer)."""
        if len(self._tasks) >= _ERRANDS_BOUND:
            work.close()
            log.warning("errand_dropped", errand=name)
            return
        self._start(work, name)

    async def finish(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Start ``work`` and wait for it; it goes on to its end even when the waiter is cancelled."""
        await asyncio.shield(self._start(work, name))

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(self._guard(work, name), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _guard(self, work: Coroutine[Any, Any, None], name: str) -> None:
        try:
            await work
        except Exception as problem:
            log.warning("errand_failed", errand=name, error=type(problem).__name__, code=getattr(problem, "code", ""))

    async def settle(self) -> None:
        """Wait until nothing is under way."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def close(self) -> None:
        """Give what is under way 3 s to finish, then cancel it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(3):
                await asyncio.shield(asyncio.gather(*self._tasks, return_exceptions=True))
        for task in list(self._tasks):
            await end_task(task)


@dataclass(frozen=True)
class LiveContext:
    """Ports, clocks and the process's own state."""

    settings: LiveSettings
    clock: Clock
    store: RoomStore
    commands: SiteCommands
    plane: MediaPlanePort
    audit: AuditLog
    ice: IceDirectory
    halls: Halls
    resources: Resources
    revoked: RevokedSites
    refusals: Refusals
    errands: Errands = field(default_factory=Errands)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    def stop(self) -> None:
        """Ask the background tasks to end after what they are at: a transaction is not cut off half-way."""
        self.stopping.set()
        self.halls.stop()

    def facts(self, room: Room) -> dict[str, Any]:
        """Return the data of room.changed."""
        hall = self.halls.get(room.id)
        return {
            "state": room.state.value,
            "live": bool(hall and hall.live),
            "participants": hall.participants if hall else 0,
        }
