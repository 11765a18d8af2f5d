"""Store a batch of found files through the archive's one writer, as every other door does, with one audit entry per patient of a batch."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy.orm import Session

from consilium_archive.stages import Indexed, Origin, Received, Stored
from consilium_archive.writer import ArchiveWriter
from consilium_core.errors import ConsiliumError, Corrupt, Unavailable
from consilium_ingest.about import Refused, about, answer_of
from consilium_ingest.errors import ObjectTooLarge
from consilium_ingest.importing.outcomes import Answer
from consilium_ingest.importing.sources import IN_MEMORY_BYTES, Found, unreadable
from consilium_ingest.store_audit import Who, store_entries
from consilium_platform.audit import AuditLog

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class StoreHere:
    """Stores into the archive that this process has opened."""

    writer: ArchiveWriter
    audit: AuditLog
    tenant: str
    actor: str
    jobs: int
    max_bytes: int

    async def store(self, batch: Sequence[Found]) -> list[Answer]:
        """Return one answer per file, in order."""
        room = asyncio.Semaphore(self.jobs)

        async def one(found: Found) -> Stored | Indexed | Refused:
            async with room:
                return await self._hold(found)

        held = await asyncio.gather(*(one(found) for found in batch))
        stored = [one for one in held if isinstance(one, Stored)]

        def told(outcomes: Sequence[Answer]) -> list[Indexed | Refused]:
            rest = iter(outcomes)
            return [answer_of(one, next(rest)) if isinstance(one, Stored) else one for one in held]

        def answers(outcomes: Sequence[Answer]) -> list[Answer]:
            return [one.problem if isinstance(one, Refused) else one for one in told(outcomes)]

        def also(session: Session, outcomes: Sequence[Answer]) -> None:
            who = Who(self.tenant, self.actor, "command-line", "imported")
            self.audit.append(session, store_entries(who, told(outcomes)))

        try:
            return answers(await self.writer.index_all(stored, also))
        except Exception as problem:
            return answers([_refusal(problem)] * len(stored))

    async def _hold(self, found: Found) -> Stored | Indexed | Refused:
        if found.size_bytes > self.max_bytes:
            return Refused(ObjectTooLarge(f"An object may have at most {self.max_bytes} bytes."))
        try:
            data = await asyncio.to_thread(found.path.read_bytes) if found.size_bytes <= IN_MEMORY_BYTES else None
            path = found.path if data is None else None
            return await self.writer.hold(Received(self.tenant, data, path, origin=Origin("import", sender=self.actor)))
        except Exception as problem:
            return Refused(_refusal(problem), await about(None, found.path))


def _refusal(problem: Exception) -> ConsiliumError:
    """Return what a file is answered when ``problem`` kept it from being stored."""
    if isinstance(problem, ConsiliumError):
        return problem
    if isinstance(problem, TimeoutError):
        return Unavailable("The archive did not answer in time. Import again: it goes on where it stood.")
    if isinstance(problem, OSError):
        return unreadable(problem)
    log.error("import_failed", error=type(problem).__name__, exc_info=problem)
    return Corrupt("The object can't be stored: an error of ours.")
