"""Scrubbing: originals are read back and hashed, a share of them each time, in both places; what is bad is repaired from the other.

A run goes on where the last one ended, by the index's order, and round again; a kill costs the last page at most. A place that does not
answer ends the run (nothing is called missing because the network was): what was looked at stays looked at. Held objects are looked at in the
same way, each run at those of another share by their SHA-256.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import func, insert, select, update
from sqlalchemy.orm import Session

from consilium_archive.copies import Wanted, copy_checked, want_again
from consilium_archive.damage import Kind, Place, mark_damage, mark_sound
from consilium_archive.quarantine_copies import held_page, is_expired, mark_held, want_held_again, wanted_of
from consilium_archive.storage_tables import copy, damage, mark, removal, scrub_run
from consilium_archive.tables import instance
from consilium_core.clock import Clock
from consilium_core.errors import Exhausted, Unavailable
from consilium_platform.blobs import BlobArchived, BlobNotFound, BlobStore, Stores
from consilium_platform.sql import Database, upsert

log = structlog.get_logger()
SHARES = 30
_MARK = "scrub"
_PAGE = 100
_IN_FLIGHT = 2
_SHOWN = 1000


@dataclass(slots=True)
class ScrubReport:
    """What one run found. ``open``: objects that are bad and were not repaired, at most 1,000 of them."""

    objects: int = 0
    bytes: int = 0
    missing: int = 0
    corrupt: int = 0
    repaired: int = 0
    archived: int = 0
    open: list[dict[str, str]] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Tell whether nothing bad is left."""
        return self.missing + self.corrupt == self.repaired

    @property
    def words(self) -> str:
        """Return the sums as a sentence's beginning."""
        return (
            f"{self.objects} originals and held objects, {self.bytes} bytes: {self.missing} missing, {self.corrupt} corrupt, "
            f"{self.repaired} repaired" + (f", {self.archived} in the archive not read" if self.archived else "")
        )

    def wire(self) -> dict[str, Any]:
        """Return the report as JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Original:
    """One row of the index (id 0: known by its damage only) or of the quarantine, and whether a copy of it is to be there."""

    id: int
    wanted: Wanted
    copied: bool
    held_at: datetime | None = None


class Scrubber:
    """Reads originals back; holds no resources of its own. Repairs of large objects pass through ``folder``."""

    def __init__(self, database: Database, stores: Stores, folder: Path, clock: Clock) -> None:
        self._database = database
        self._stores = stores
        self._folder = folder
        self._clock = clock

    async def run(self, *, shares: int = SHARES, report: ScrubReport | None = None) -> ScrubReport:
        """Look at one of ``shares`` parts of all originals (1: at all of them); return (in ``report``) what was found and done."""
        after, count = await self._database.query(_standing)
        report = ScrubReport() if report is None else report
        left = math.ceil(count / shares)
        run = await self._database.transact(partial(_begin, first=after, now=self._clock.now()))
        while left > 0:
            page = await self._database.query(partial(_page, after=after, limit=min(_PAGE, left)))
            if not page and after == 0:
                break
            await self._look_at(page, report)
            after, left = (page[-1].id if page else 0), left - len(page)
            await self._database.transact(partial(_advance, run=run, at=after, report=report))
        await self._held(report, run=run, shares=shares)
        await self._database.transact(partial(_advance, run=run, at=after, report=report))
        await self._database.transact(partial(_end, run=run, now=self._clock.now()))
        return report

    async def run_damaged(self, report: ScrubReport | None = None) -> ScrubReport:
        """Look again at everything that is marked as damaged, and repair what can be."""
        report, after = ScrubReport() if report is None else report, ("", "")
        while page := await self._database.query(partial(_damaged, after=after)):
            after = (page[-1].wanted.tenant, page[-1].wanted.sha256)
            await self._look_at(page, report)
        await self._held(report, damaged=True)
        return report

    async def _held(self, report: ScrubReport, *, run: int = 0, shares: int = 1, damaged: bool = False) -> None:
        """Look at one share of the held objects: runs are numbered one after the other, so ``shares`` of them see all."""
        after = ""
        while rows := await self._database.query(partial(held_page, after=after, damaged=damaged)):
            after = rows[-1].id
            mine = [row for row in rows if int(row.sha256[:8], 16) % shares == run % shares]
            page = [_Original(0, wanted_of(row), row.copy_state == "copied", row.held_at) for row in mine]
            await self._look_at(page, report)

    async def _look_at(self, page: Sequence[_Original], report: ScrubReport) -> None:
        for first in range(0, len(page), _IN_FLIGHT):
            some = page[first : first + _IN_FLIGHT]
            ended = await asyncio.gather(*(self._check(one, report) for one in some), return_exceptions=True)
            for problem in ended:
                if problem is not None:
                    raise problem

    async def _check(self, original: _Original, report: ScrubReport) -> None:
        wanted = original.wanted
        places: list[tuple[Place, BlobStore]] = [("first", self._stores.first)]
        if self._stores.copy is not None and original.copied:
            places.append(("copy", self._stores.copy))
        if original.held_at is not None:
            now, at = self._clock.now(), original.held_at
            places = [(place, store) for place, store in places if not is_expired(store, at, now)]
        found: dict[Place, Kind | None] = {}
        for place, store in places:
            try:
                found[place] = await self._state(store, wanted)
            except BlobArchived:  # care does not pay for its restoring; the archive class has checks of its own
                report.archived += 1
        places = [(place, store) for place, store in places if place in found]
        report.objects += 1
        report.bytes += wanted.size_bytes
        for place, store in places:
            kind = found[place]
            if kind is None:
                await self._sound(wanted, place)
            elif await self._still_wanted(original):  # else removed under a retention rule meanwhile
                report.missing += kind == "missing"
                report.corrupt += kind == "corrupt"
                await self._mend(wanted, place, store, found, report)

    async def _state(self, store: BlobStore, wanted: Wanted) -> Kind | None:
        digest = hashlib.sha256()
        try:
            async with aclosing(store.get_stream(wanted.key)) as chunks:
                async for chunk in chunks:
                    await asyncio.to_thread(digest.update, chunk)
        except BlobNotFound:
            return "missing"
        return None if digest.hexdigest() == wanted.sha256 else "corrupt"

    async def _still_wanted(self, original: _Original) -> bool:
        wanted = original.wanted
        if wanted.held:
            return True  # entries are never removed
        there = select(instance.c.id).where(instance.c.id == original.id)
        if not original.id:
            leaves = (removal.c.tenant_id == damage.c.tenant_id) & (removal.c.sha256 == damage.c.sha256)
            mine = (damage.c.tenant_id == wanted.tenant, damage.c.sha256 == wanted.sha256)
            there = select(damage.c.sha256).where(*mine, ~select(removal.c.sha256).where(leaves).exists())
        return await self._database.query(lambda session: session.execute(there).first()) is not None

    async def _sound(self, wanted: Wanted, place: Place) -> None:
        if wanted.held:
            work = partial(mark_held, wanted=wanted, place=place, kind=None)
        else:
            work = partial(mark_sound, tenant=wanted.tenant, sha256=wanted.sha256, place=place)
        await self._database.transact(work)

    async def _damaged(self, wanted: Wanted, place: Place, kind: Kind) -> None:
        if wanted.held:
            work = partial(mark_held, wanted=wanted, place=place, kind=kind)
        else:
            work = partial(mark_damage, tenant=wanted.tenant, sha256=wanted.sha256, place=place, kind=kind)
        await self._database.transact(work)

    async def _want_again(self, wanted: Wanted) -> None:
        now = self._clock.now()
        if wanted.held:
            await self._database.transact(partial(want_held_again, wanted=wanted, now=now))
        else:
            await self._database.transact(partial(want_again, objects=[(wanted.tenant, wanted.sha256)], now=now))

    async def _mend(
        self, wanted: Wanted, place: Place, store: BlobStore, found: dict[Place, Kind | None], report: ScrubReport
    ) -> None:
        """Remember the damage; put the object there again from the other place if that one is whole."""
        kind = found[place] or "missing"
        log.error("original_damaged", place=place, kind=kind, key=wanted.key)
        await self._damaged(wanted, place, kind)
        source = self._stores.copy if place == "first" else self._stores.first
        other: Place = "copy" if place == "first" else "first"
        if source is not None and found.get(other, "missing") is None:
            try:
                await copy_checked(source, store, wanted, self._folder)
            except (Unavailable, Exhausted, TimeoutError) as problem:
                log.warning("repair_failed", place=place, error=type(problem).__name__)
            else:
                await self._sound(wanted, place)
                report.repaired += 1
                return
        if place == "copy":
            await self._want_again(wanted)
        if len(report.open) < _SHOWN:
            told = {"tenant": wanted.tenant, "sha256": wanted.sha256, "place": place, "kind": kind}
            report.open.append(told | ({"key": wanted.key} if wanted.held else {}))


# -- rows ----------------------------------------------------------------------------------------------------------


def _standing(session: Session) -> tuple[int, int]:
    """Return the id after which the next run begins, and how many originals there are."""
    at = session.scalar(select(mark.c.value).where(mark.c.name == _MARK)) or 0
    return at, session.scalar(select(func.count()).select_from(instance)) or 0


def _page(session: Session, after: int, limit: int) -> list[_Original]:
    asked = (
        select(instance.c.id, instance.c.tenant_id, instance.c.sha256, instance.c.size_bytes, copy.c.state)
        .select_from(
            instance.outerjoin(copy, (copy.c.tenant_id == instance.c.tenant_id) & (copy.c.sha256 == instance.c.sha256))
        )
        .where(instance.c.id > after)
        .order_by(instance.c.id)
        .limit(limit)
    )
    return [
        _Original(row.id, Wanted(row.tenant_id, row.sha256, row.size_bytes, 0), row.state == "copied")
        for row in session.execute(asked)
    ]


def _damaged(session: Session, after: tuple[str, str]) -> list[_Original]:
    """Return originals with open damage: to be repaired from their copy if they have one, else to be found whole again."""
    later = (damage.c.tenant_id > after[0]) | ((damage.c.tenant_id == after[0]) & (damage.c.sha256 > after[1]))
    of = (copy.c.tenant_id == damage.c.tenant_id) & (copy.c.sha256 == damage.c.sha256)
    asked = (
        select(damage.c.tenant_id, damage.c.sha256, copy.c.size_bytes)
        .select_from(damage.outerjoin(copy, of))
        .where(later, damage.c.repaired_at.is_(None))
        .distinct()
    )
    ordered = asked.order_by(damage.c.tenant_id, damage.c.sha256).limit(_PAGE)
    return [
        _Original(0, Wanted(row.tenant_id, row.sha256, row.size_bytes or 0, 0), row.size_bytes is not None)
        for row in session.execute(ordered)
    ]


def _begin(session: Session, first: int, now: Any) -> int:
    new = insert(scrub_run).values(
        first_id=first, last_id=first, started_at=now, objects=0, bytes=0, missing=0, corrupt=0, repaired=0
    )
    return int(session.execute(new.returning(scrub_run.c.id)).scalar_one())


def _advance(session: Session, run: int, at: int, report: ScrubReport) -> None:
    new = upsert(session)(mark).values(name=_MARK, value=at)
    session.execute(new.on_conflict_do_update(index_elements=["name"], set_={"value": at}))
    counts = {name: getattr(report, name) for name in ("objects", "bytes", "missing", "corrupt", "repaired")}
    session.execute(update(scrub_run).where(scrub_run.c.id == run).values(last_id=at, **counts))


def _end(session: Session, run: int, now: Any) -> None:
    session.execute(update(scrub_run).where(scrub_run.c.id == run).values(finished_at=now))
