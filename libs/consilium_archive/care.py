"""The long task that cares for the object store of a running archive: second copies of originals and held objects are made, doomed bytes are
removed, held objects are counted for the metrics.

Owned by ingest's composition root. Every process may run it: work is claimed by rows. Nothing is lost while none runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import structlog

from consilium_archive.copies import Copier
from consilium_archive.held_measure import HeldMeasure
from consilium_archive.quarantine_copies import HELD
from consilium_archive.removal import remove_doomed
from consilium_core.clock import Clock
from consilium_core.errors import ConsiliumError
from consilium_platform.blobs import Stores
from consilium_platform.sql import Database
from consilium_platform.tasks import end_task

log = structlog.get_logger()


class StorageCare:
    """Copies and removals, in turns of ``poll_s`` seconds."""

    def __init__(self, database: Database, stores: Stores, folder: Path, clock: Clock, *, in_flight: int = 2) -> None:
        self._database = database
        self._stores = stores
        self._clock = clock
        self._copier: Copier | None = None
        self._held: Copier | None = None
        self._measure = HeldMeasure(database, clock)
        if stores.copy is not None:
            self._copier = Copier(database, stores.first, stores.copy, folder, clock, in_flight)
            self._held = Copier(database, stores.first, stores.copy, folder, clock, in_flight, HELD)

    async def turn(self) -> None:
        """Do once what there is to do."""
        if self._copier is not None:
            await self._copier.feed()
            await self._copier.work()
        if self._held is not None:
            await self._held.work()
        await remove_doomed(self._database, self._stores, self._clock)
        await self._measure.turn()

    async def run(self, poll_s: float) -> None:
        """Take turns until cancelled; an outage is waited out."""
        while True:
            try:
                await self.turn()
            except ConsiliumError as problem:
                log.warning("storage_care_waits", code=problem.code)
            except Exception as problem:
                log.exception("storage_care_failed", error=type(problem).__name__)
            await asyncio.sleep(poll_s)


@asynccontextmanager
async def running_care(care: StorageCare, poll_s: float) -> AsyncIterator[None]:
    """Run the task for the length of the block."""
    task = asyncio.create_task(care.run(poll_s), name="storage-care")
    try:
        yield
    finally:
        await end_task(task)
