"""The bytes that go out: read through the archive's reader, from the first place or the second copy, never a whole large file in memory."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path

from consilium_archive.errors import NotArchived, OriginalArchived, OriginalDamaged
from consilium_archive.reader import ArchiveReader, Place, Scope
from consilium_core.errors import ConsiliumError
from consilium_dicom.scan import dataset_offset
from consilium_ingest.dimse.file_meta import file_meta
from consilium_ingest.routing.batch import Batch, Outcomes, Wanted

STORE_OUT = "store-unavailable"
_STRETCH_BYTES = 4 << 20
_MOST_META_BYTES = 1 << 20


class Originals:
    """Reads what a batch names; holds no resources of its own."""

    def __init__(self, reader: ArchiveReader, tenant: str, folder: Path) -> None:
        self._reader = reader
        self._tenant = tenant
        self._folder = folder

    async def places(self, batch: Batch, outcomes: Outcomes) -> list[Place]:
        """Return where the batch's instances lie; what can't be read is noted in ``outcomes`` and left out.

        When our store does not answer, the others are not asked for: each would wait as long.
        """
        found: list[Place] = []
        for one in batch.wanted:
            try:
                with outcomes.ours():
                    found.append(await self._sure(one))
            except ConsiliumError as problem:
                if note(outcomes, one.sop_instance_uid, problem) == STORE_OUT:
                    asked = {*outcomes.problems, *(place.sop_instance_uid for place in found)}
                    rest = (left.sop_instance_uid for left in batch.wanted if left.sop_instance_uid not in asked)
                    outcomes.problems |= dict.fromkeys(rest, STORE_OUT)
                    break
        return found

    async def _sure(self, one: Wanted) -> Place:
        scope = Scope(one.study_uid, one.series_uid, one.sop_instance_uid)
        [place] = await self._reader.places(self._tenant, scope, 1)
        await self._reader.sure(place)
        return place

    async def stretches(self, place: Place, outcomes: Outcomes, start: int = 0) -> AsyncGenerator[bytes]:
        """Yield the original from ``start`` on; raise OriginalDamaged."""
        for at in range(start, place.size_bytes, _STRETCH_BYTES):
            with outcomes.ours():
                stretch = await self._reader.original_range(place, at, _STRETCH_BYTES)
            yield stretch

    async def file(self, place: Place, outcomes: Outcomes) -> Path:
        """Return a spool file with the instance's data set behind a meta group that names class, instance and syntax; the caller removes it.

        A killed process's are swept at the next start.
        """
        with outcomes.ours():
            head = await self._reader.original_range(place, 0, _MOST_META_BYTES)
        at = await asyncio.to_thread(dataset_offset, head)
        descriptor, name = await asyncio.to_thread(tempfile.mkstemp, suffix=".part", dir=self._folder)
        path = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(file_meta(place.sop_class_uid, place.sop_instance_uid, place.transfer_syntax_uid))
                async for stretch in self.stretches(place, outcomes, at):
                    await asyncio.to_thread(file.write, stretch)
        except BaseException:
            await asyncio.to_thread(path.unlink, missing_ok=True)
            raise
        return path


def note(outcomes: Outcomes, uid: str, problem: ConsiliumError) -> str:
    """Note in ``outcomes`` why an original could not be read, and when it can be if that is known; return the word."""
    if isinstance(problem, OriginalArchived):
        outcomes.again_s[uid] = problem.retry_after_s
    outcomes.problems[uid] = word = problem_of(problem)
    return word


def problem_of(problem: ConsiliumError) -> str:
    """Return the word for an original that could not be read."""
    if isinstance(problem, NotArchived):
        return "not-archived"
    if isinstance(problem, OriginalArchived):
        return "original-archived"
    return "original-damaged" if isinstance(problem, OriginalDamaged) else STORE_OUT
