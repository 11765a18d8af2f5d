"""The DIMSE door: its listener, its associations and their limits, and how it closes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from consilium_archive.writer import ArchiveWriter
from consilium_core.errors import Conflict
from consilium_ingest.commitment.keeper import Keeper
from consilium_ingest.dimse import measures
from consilium_ingest.dimse.association import Association
from consilium_ingest.dimse.errors import AssociationLimit
from consilium_ingest.dimse.settings import DimseSettings
from consilium_ingest.spool import Spool
from consilium_platform.http.refusals import Refusals
from consilium_platform.platform import Platform
from consilium_platform.tasks import end_task

log = structlog.get_logger()
_READ_BYTES = 256 << 10
_LAST_WORDS_S = 1.0


class DicomPortUnusable(Conflict):
    """The address of the DIMSE door is in use or can't be listened on."""

    code = "dicom-port-unusable"
    mend = "operator"


class DimseServer:
    """All associations of the process; open with ``open_dimse``."""

    def __init__(
        self, platform: Platform, settings: DimseSettings, writer: ArchiveWriter, spool: Spool, keeper: Keeper
    ) -> None:
        self.settings = settings
        self.keeper = keeper
        self.writer = writer
        self.spool = spool
        self.audit = platform.audit
        self.refusals = Refusals(platform.audit, platform.clock)
        self.buffer = memoryview(bytearray(_READ_BYTES))
        self.ending = False
        self.port = 0
        self._tasks: dict[Association, asyncio.Task[None]] = {}
        self._admitted: Counter[str] = Counter()

    @property
    def open(self) -> int:
        """Return how many connections there are, with or without an association."""
        return len(self._tasks)

    def opened(self, association: Association) -> bool:
        """Start the association's task; False when even waiting for its request would be one too many."""
        if self.ending or len(self._tasks) >= 2 * self.settings.associations:
            return False
        self._tasks[association] = asyncio.create_task(association.run(), name="dimse-association")
        return True

    def admit(self, association: Association) -> None:
        """Count the association in; raise AssociationLimit."""
        address = association.wire.address
        if self._admitted.total() >= self.settings.associations:
            raise AssociationLimit("Too many associations are open.", retry_after_s=5)
        if self._admitted[address] >= self.settings.associations_per_peer:
            raise AssociationLimit("Too many associations of this peer are open.", retry_after_s=5)
        self._admitted[address] += 1
        association.admitted = True
        measures.ASSOCIATIONS_OPEN.inc()

    def closed(self, association: Association) -> None:
        """Count the association out."""
        self._tasks.pop(association, None)
        if association.admitted:
            association.admitted = False
            measures.ASSOCIATIONS_OPEN.dec()
            self._admitted[association.wire.address] -= 1
            self._admitted += Counter()  # forgets addresses with none

    async def drain(self) -> None:
        """Let messages in hand be answered, abort what is idle, cut off what is left after ``drain_s``."""
        self.ending = True
        for association in list(self._tasks):
            association.finish()
        if tasks := list(self._tasks.values()):
            await asyncio.wait(tasks, timeout=self.settings.drain_s)
        left = dict(self._tasks)
        for association in left:
            association.wire.kill()
        if left:
            await asyncio.wait(left.values(), timeout=_LAST_WORDS_S)
        for task in left.values():
            await end_task(task)


@asynccontextmanager
async def open_dimse(
    platform: Platform, settings: DimseSettings, writer: ArchiveWriter, spool: Spool, keeper: Keeper
) -> AsyncIterator[DimseServer]:
    """Listen for the length of the block; at its end messages in hand are answered first."""
    server = DimseServer(platform, settings, writer, spool, keeper)
    loop = asyncio.get_running_loop()
    try:
        listener = await loop.create_server(
            lambda: Association(server).wire, settings.host, settings.port or 0, backlog=128
        )
    except OSError as problem:
        raise DicomPortUnusable(
            f"DICOM port {settings.port} of {settings.host} can't be used ({problem.strerror}): choose another with --dicom-port N."
        ) from problem
    server.port = listener.sockets[0].getsockname()[1]
    log.info("dimse_listening", host=settings.host, port=server.port)
    try:
        yield server
    finally:
        listener.close()
        await server.drain()
