"""The archive's one writer: received -> validated -> stored -> indexed, and only then acknowledged.

CPU work runs in a bounded thread pool, bytes go to the object store (durable on return), and one task commits index rows in groups,
so that many concurrent requests share a commit. Whatever raises before the commit leaves at most an object that nobody refers to;
sending again is always safe. Queues: at most ``queue_bound`` objects wait for a commit, further senders are told to come back.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import structlog

from consilium_archive.index import Outcome, index_group, judge
from consilium_archive.prepare import prepare
from consilium_archive.stages import Indexed, Received, Stored, Validated, original_key
from consilium_core.errors import Conflict, ConsiliumError, Corrupt, Exhausted, Unavailable
from consilium_dicom.validate import DecodeFrames
from consilium_platform.blobs import BlobStore
from consilium_platform.outbox import OutboxRelay
from consilium_platform.sql import Database
from consilium_platform.tasks import end_task

log = structlog.get_logger()


class ArchiveBusy(Exhausted):
    """Too many objects wait to be indexed."""

    code = "archive-busy"


class ArchiveClosing(Unavailable):
    """The process ends before the object was indexed; nothing was acknowledged."""

    code = "archive-closing"


@dataclass(frozen=True, slots=True)
class WriterLimits:
    """How much the writer does at once."""

    threads: int = 2
    group: int = 128
    queue_bound: int = 1024
    decode: DecodeFrames = "sample"


Waiting = tuple[Stored, "asyncio.Future[Indexed]"]


class ArchiveWriter:
    """Stores instances; open with ``open_writer``."""

    def __init__(self, database: Database, blobs: BlobStore, outbox: OutboxRelay, limits: WriterLimits) -> None:
        self.limits = limits
        self._database = database
        self._blobs = blobs
        self._outbox = outbox
        self._pool = ThreadPoolExecutor(limits.threads, thread_name_prefix="ingest")
        self._queue: asyncio.Queue[Waiting] = asyncio.Queue(limits.queue_bound)

    async def store(self, received: Received) -> Indexed:
        """Take one object through all stages; return when it is durable, readable and its event is written.

        Raises InstanceRejected, StudyMismatch, InstanceConflict, PatientMismatch, or Exhausted/Unavailable (send again).
        """
        stored = await self.keep(await self.validate(received))
        if isinstance(stored, Indexed):
            return stored
        return await self.index(stored)

    async def validate(self, received: Received) -> Validated:
        """Judge the object in a worker thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, prepare, received, self.limits.decode)

    async def keep(self, valid: Validated) -> Stored | Indexed:
        """Put the object's bytes into the store; an instance that is here already or can't be taken is answered at once."""
        received = valid.received
        stored = Stored(valid, original_key(received.tenant, valid.sha256))
        known = await self._database.query(partial(judge, stored=stored))
        if isinstance(known, ConsiliumError):
            raise known
        if known is not None:
            return known
        if received.data is not None:
            await self._blobs.put(stored.key, received.data, "application/dicom")
        elif received.path is not None:
            await self._blobs.put_file(stored.key, received.path, "application/dicom")
        return stored

    async def index(self, stored: Stored) -> Indexed:
        """Wait for the group commit that holds this object; the bytes of a refused one are removed."""
        done: asyncio.Future[Indexed] = asyncio.get_running_loop().create_future()
        try:
            self._queue.put_nowait((stored, done))
        except asyncio.QueueFull:
            raise ArchiveBusy("The archive is busy. Send the object again in a moment.", retry_after_s=2.0) from None
        try:
            async with asyncio.timeout(60):
                return await done
        except Conflict:
            await self._forget(stored)
            raise

    async def _forget(self, stored: Stored) -> None:
        """Remove refused bytes if they are refused for good: then nobody refers to them, nor is about to, whoever sends them again."""
        try:
            known = await self._database.query(partial(judge, stored=stored))
            if isinstance(known, ConsiliumError):
                await self._blobs.delete(stored.key)
        except (Unavailable, Exhausted) as problem:
            log.warning("refused_bytes_left", error=type(problem).__name__)

    async def run(self) -> None:
        """Commit groups until cancelled."""
        while True:
            group = [await self._queue.get()]
            while len(group) < self.limits.group and not self._queue.empty():
                group.append(self._queue.get_nowait())
            await self._commit(group)

    async def _commit(self, group: list[Waiting]) -> None:
        try:
            outcomes = await self._transaction([stored for stored, _ in group])
        except asyncio.CancelledError:
            _refuse(group)
            raise
        except ConsiliumError as problem:
            outcomes = [problem] * len(group)
        except Exception as problem:
            if len(group) > 1:  # one of them is the cause: find out which, so that the others are not refused with it
                log.warning("index_group_failed", error=type(problem).__name__, size=len(group))
                for single in group:
                    await self._commit([single])
                return
            log.exception("index_failed", error=type(problem).__name__)
            outcomes = [Corrupt("The object can't be indexed: an error of ours. Quote the time to the operator.")]
        for (_, done), outcome in zip(group, outcomes, strict=True):
            if done.done():
                continue
            if isinstance(outcome, ConsiliumError):
                done.set_exception(outcome)
            else:
                done.set_result(outcome)

    async def _transaction(self, group: Sequence[Stored]) -> list[Outcome]:
        async with asyncio.timeout(30):
            outcomes = await self._database.transact(partial(index_group, group=group))
        self._outbox.wake()
        return outcomes

    def close(self) -> None:
        """Refuse what still waits and end the threads."""
        waiting: list[Waiting] = []
        while not self._queue.empty():
            waiting.append(self._queue.get_nowait())
        _refuse(waiting)
        self._pool.shutdown(wait=True, cancel_futures=True)


def _refuse(group: list[Waiting]) -> None:
    for _, done in group:
        if not done.done():
            done.set_exception(ArchiveClosing("The archive is shutting down. Send the object again."))


@asynccontextmanager
async def open_writer(
    database: Database, blobs: BlobStore, outbox: OutboxRelay, limits: WriterLimits | None = None
) -> AsyncIterator[ArchiveWriter]:
    """Run the writer for the length of the block; what waits at the end is refused, not acknowledged."""
    writer = ArchiveWriter(database, blobs, outbox, limits or WriterLimits())
    task = asyncio.create_task(writer.run(), name="archive-writer")
    try:
        yield writer
    finally:
        await end_task(task)
        writer.close()
