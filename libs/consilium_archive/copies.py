"""The second copy of every original: a queue that can't forget, worked off at least once, each copy checked on its way.

The queue is derived from the index, so nothing is written for it while an instance is stored: rows of ``archive_copy`` are made for
instances that have none (those stored before a copy was asked for included). A copy is put under the same key, so doing it again after
a kill is harmless. Failures wait longer and longer, an hour at most. Originals whose bytes do not have their SHA-256 are not copied
but marked as damaged. Large originals pass through a file; at most ``in_flight`` are worked on at once.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from prometheus_client import Counter
from sqlalchemy import CursorResult, func, literal, select, update
from sqlalchemy.orm import Session

from consilium_archive.damage import Kind, mark_damage, mark_sound
from consilium_archive.stages import original_key, quarantine_key
from consilium_archive.storage_tables import copy, mark
from consilium_archive.tables import instance
from consilium_core.clock import Clock
from consilium_core.errors import ConsiliumError, Corrupt, Exhausted, Unavailable
from consilium_platform.blobs import BlobNotFound, BlobStore
from consilium_platform.sql import Database, upsert

log = structlog.get_logger()
COPIED = Counter("consilium_copies_total", "Originals copied to the second place.", ["outcome"])
_MARK = "copy-feed"
_PAGE = 5000
_SETTLED = timedelta(
    minutes=10
)  # an index transaction ends within 30 s: no instance older than this is still to appear
_WHOLE_BYTES = 16 << 20  # copied in memory; larger originals pass through a file
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 5.0, 3600.0


class OriginalCorrupt(Corrupt):
    """The stored bytes do not have the SHA-256 that they were accepted with."""

    code = "original-corrupt"
    mend = "operator"


@dataclass(frozen=True, slots=True)
class Wanted:
    """One original, or one held object, that is to be copied, claimed until its lease ends."""

    tenant: str
    sha256: str
    size_bytes: int
    attempts: int
    held: bool = False

    @property
    def key(self) -> str:
        """Return where it lies in both places."""
        return (quarantine_key if self.held else original_key)(self.tenant, self.sha256)


@dataclass(frozen=True, slots=True)
class Queue:
    """Rows that wait for a copy: how they are claimed, and how an attempt's end is written (``done``: False if nobody wants it any more).

    ``due`` looks without writing whether any waits: asked first, so that an empty queue never waits for the database's one writer.
    """

    claim: Callable[[Session, datetime, int], list[Wanted]]
    done: Callable[[Session, Wanted, datetime], bool]
    failed: Callable[[Session, Wanted, str, datetime], None]
    due: Callable[[Session, datetime], bool]


class Copier:
    """Brings originals (by another ``queue``: held objects) from the first place to the copy's; holds no resources of its own."""

    def __init__(
        self,
        database: Database,
        first: BlobStore,
        second: BlobStore,
        folder: Path,
        clock: Clock,
        in_flight: int = 2,
        queue: Queue | None = None,
    ) -> None:
        self._database = database
        self._first = first
        self._second = second
        self._folder = folder
        self._clock = clock
        self._in_flight = in_flight
        self._queue = queue or ORIGINALS
        self._seen = -1

    async def feed(self) -> int:
        """Make a row for every instance that has none; return how many."""
        newest = await self._database.query(lambda session: session.scalar(select(func.max(instance.c.id)))) or 0
        if newest == self._seen:
            return 0
        at, made = await self._database.query(_fed), 0
        while at < newest:
            upto = min(at + _PAGE, newest)
            made += await self._database.transact(partial(_feed, after=at, upto=upto, now=self._clock.now()))
            at = upto
        await self._database.transact(partial(_remember, before=datetime.now(UTC) - _SETTLED))
        self._seen = newest
        return made

    async def work(self) -> int:
        """Copy what is due, until nothing is; return how many copies were made."""
        made, queue = 0, self._queue
        while await self._database.query(lambda session: queue.due(session, self._clock.now())):
            claimed = await self._database.transact(
                lambda session: queue.claim(session, self._clock.now(), self._in_flight)
            )
            if not claimed:  # another process was quicker
                break
            made += sum(await asyncio.gather(*(self.copy(wanted) for wanted in claimed)))
        return made

    async def copy(self, wanted: Wanted) -> bool:
        """Copy one original and write the outcome; return whether it is there now."""
        try:
            async with asyncio.timeout(lease_s(wanted.size_bytes)):
                await copy_checked(self._first, self._second, wanted, self._folder)
        except (Unavailable, Exhausted, BlobNotFound, OriginalCorrupt, TimeoutError) as problem:
            code = problem.code if isinstance(problem, ConsiliumError) else "timeout"
            log.warning("copy_waits", key=wanted.key, code=code, attempts=wanted.attempts)
            COPIED.labels("failed").inc()
            again = self._clock.now() + timedelta(seconds=pause_s(wanted.attempts))
            await self._database.transact(lambda session: self._queue.failed(session, wanted, code, again))
            return False
        if not await self._database.transact(lambda session: self._queue.done(session, wanted, self._clock.now())):
            await self._second.purge(wanted.key)  # removed under a retention rule while it was copied
            return False
        COPIED.labels("copied").inc()
        return True


def pause_s(attempts: int) -> float:
    """Return how long to wait after so many attempts, seconds."""
    return float(min(_FIRST_PAUSE_S * 2 ** min(attempts, 20), _LONGEST_PAUSE_S))


def lease_s(size_bytes: int) -> float:
    """Return how long the copy of an object may take, seconds."""
    return 120 + size_bytes / (1 << 20)


async def copy_checked(source: BlobStore, target: BlobStore, wanted: Wanted, folder: Path) -> None:
    """Copy one original; raise OriginalCorrupt before anything is visible at the target if the bytes are not what they should be."""
    if wanted.size_bytes <= _WHOLE_BYTES:
        data = await source.get(wanted.key)
        digest = await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest())
        _check(wanted, digest)
        await target.put(wanted.key, data, "application/dicom")
        return
    descriptor, name = tempfile.mkstemp(suffix=".part", dir=folder)  # a killed process's are swept at the next start
    path, running = Path(name), hashlib.sha256()
    try:
        with os.fdopen(descriptor, "wb") as file:
            async with aclosing(source.get_stream(wanted.key)) as chunks:
                async for chunk in chunks:
                    await asyncio.to_thread(running.update, chunk)
                    await asyncio.to_thread(file.write, chunk)
        _check(wanted, running.hexdigest())
        await target.put_file(wanted.key, path, "application/dicom")
    finally:
        await asyncio.to_thread(path.unlink, missing_ok=True)


def _check(wanted: Wanted, digest: str) -> None:
    if digest != wanted.sha256:
        raise OriginalCorrupt("The stored object does not have its SHA-256: it is not copied.")


# -- rows ----------------------------------------------------------------------------------------------------------


def _fed(session: Session) -> int:
    return session.scalar(select(mark.c.value).where(mark.c.name == _MARK)) or 0


def _feed(session: Session, after: int, upto: int, now: datetime) -> int:
    """Make the missing rows of one stretch of the index."""
    known = select(copy.c.sha256).where(copy.c.tenant_id == instance.c.tenant_id, copy.c.sha256 == instance.c.sha256)
    missing = select(
        instance.c.tenant_id, instance.c.sha256, instance.c.size_bytes, literal("wanted"), literal(0), literal(now),
        literal(""),
    ).where(instance.c.id > after, instance.c.id <= upto, ~known.exists())  # fmt: skip
    columns = ["tenant_id", "sha256", "size_bytes", "state", "attempts", "try_at", "problem"]
    made = session.execute(upsert(session)(copy).from_select(columns, missing).on_conflict_do_nothing())
    return _rows(made)


def _remember(session: Session, before: datetime) -> None:
    """Raise the mark to where no instance can appear any more."""
    fed = _fed(session)
    asked = select(func.max(instance.c.id)).where(instance.c.id > fed, instance.c.received_at < before)
    settled = session.scalar(asked)
    if settled:
        new = upsert(session)(mark).values(name=_MARK, value=settled)
        session.execute(new.on_conflict_do_update(index_elements=["name"], set_={"value": settled}))


def _any_due(session: Session, now: datetime) -> bool:
    due = select(copy.c.sha256).where(copy.c.state == "wanted", copy.c.try_at <= now)
    return session.execute(due.limit(1)).first() is not None


def _claim(session: Session, now: datetime, limit: int) -> list[Wanted]:
    """Return originals that are due and now are this process's until their lease ends."""
    due = select(copy).where(copy.c.state == "wanted", copy.c.try_at <= now).order_by(copy.c.try_at).limit(limit)
    rows = session.execute(due.with_for_update(skip_locked=True)).all()
    for row in rows:
        lease = now + timedelta(seconds=lease_s(row.size_bytes) + 30)
        session.execute(
            update(copy).where(*_row(row.tenant_id, row.sha256)).values(try_at=lease, attempts=row.attempts + 1)
        )
    return [Wanted(row.tenant_id, row.sha256, row.size_bytes, row.attempts) for row in rows]


def _row(tenant: str, sha256: str) -> tuple[Any, Any]:
    return copy.c.tenant_id == tenant, copy.c.sha256 == sha256


def _done(session: Session, wanted: Wanted, now: datetime) -> bool:
    """Write that the copy is there; return False if nobody wants it any more."""
    done = update(copy).where(*_row(wanted.tenant, wanted.sha256)).values(state="copied", copied_at=now, problem="")
    if _rows(session.execute(done)) != 1:
        return False
    mark_sound(session, wanted.tenant, wanted.sha256, "copy")
    return True


def _failed(session: Session, wanted: Wanted, code: str, again: datetime) -> None:
    session.execute(update(copy).where(*_row(wanted.tenant, wanted.sha256)).values(try_at=again, problem=code[:64]))
    kinds: dict[str, Kind] = {OriginalCorrupt.code: "corrupt", BlobNotFound.code: "missing"}
    if code in kinds:
        mark_damage(session, wanted.tenant, wanted.sha256, "first", kinds[code])


ORIGINALS = Queue(_claim, _done, _failed, _any_due)


def want_again(session: Session, objects: Sequence[tuple[str, str]], now: datetime) -> None:
    """Put objects (tenant, SHA-256) whose copy was found missing or corrupt back into the queue."""
    for tenant, sha256 in objects:
        session.execute(
            update(copy).where(*_row(tenant, sha256)).values(state="wanted", try_at=now, copied_at=None, attempts=0)
        )


def _rows(result: Any) -> int:
    assert isinstance(result, CursorResult)  # noqa: S101 - tells the type checker what a write gives
    return max(result.rowcount, 0)
