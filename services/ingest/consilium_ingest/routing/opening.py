"""Routing's part of the composition root: opens a sender per destination, runs the tasks, ends them before the senders are closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from fastapi import APIRouter

from consilium_archive.reader import ArchiveReader
from consilium_ingest.routing.api import RoutingDesk, routing_router
from consilium_ingest.routing.courier import Courier, Sender
from consilium_ingest.routing.evaluate import Evaluator
from consilium_ingest.routing.jobs import JobQueue, release_all
from consilium_ingest.routing.originals import Originals
from consilium_ingest.routing.settings import RoutingSettings, StowDestination
from consilium_ingest.routing.stow_out import open_stow
from consilium_platform.platform import Platform
from consilium_platform.tasks import end_task


@asynccontextmanager
async def open_routing(platform: Platform, settings: RoutingSettings, folder: Path) -> AsyncIterator[APIRouter]:
    """Yield the addresses; evaluator and workers run for the length of the block. Large objects pass through ``folder``."""
    destinations = await asyncio.to_thread(settings.all_destinations)
    named = {(one.tenant, one.name): one for one in destinations}
    router = routing_router(RoutingDesk(platform.database, platform.audit, platform.clock, settings, named))
    if not destinations:  # no task, no connection, no look at the index
        yield router
        return
    if platform.database.is_sqlite:  # one process: what a killed one had claimed is free
        await release_all(platform.database)
    evaluator = Evaluator(platform.database, platform.clock, named, settings)
    await evaluator.begin()
    wake = asyncio.Condition()
    reader = ArchiveReader(platform.database, platform.blobs)
    async with AsyncExitStack() as stack:
        tasks: list[asyncio.Task[None]] = []
        for to in destinations:
            originals = Originals(reader, to.tenant, folder)
            sender: Sender
            if isinstance(to, StowDestination):
                sender = await stack.enter_async_context(open_stow(to, settings, originals))
            else:
                from consilium_ingest.routing.dimse_out import open_dimse_out  # pynetdicom, only for who needs it

                sender = await stack.enter_async_context(open_dimse_out(to, settings, originals))
            queue = JobQueue(platform.database, platform.audit, platform.clock, to, settings)
            courier = Courier(queue, sender, (to.tenant, to.name), wake, platform.clock)
            tasks += [
                asyncio.create_task(courier.run(settings.poll_s), name=f"routing-{to.name}") for _ in range(to.workers)
            ]
        tasks.append(asyncio.create_task(evaluator.run(platform.bus, settings.poll_s, wake), name="routing-evaluator"))
        try:
            yield router
        finally:
            await asyncio.gather(*(end_task(task) for task in tasks))
