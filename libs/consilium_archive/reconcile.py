"""Reconciliation: the index against the store, both ways, and the counts of studies against their instances.

- A row without its object, or with one of another size: marked as damage (``scrub`` repairs it from the copy).
- An object without a row: a kill between store and index leaves it. Older than ``safe_age_s`` it is doomed (``removal``), never
  removed at once; younger ones may still be on their way into the index.
- Held objects likewise (``held``), but one without an entry is only named: sent again it gets its entry (``reconcile_held``).
- Segments of uploads that no upload knows, and unfinished writes, older than that: removed.
- A study or series whose counts are not those of its instances: counted again.

``apply=False`` only reports.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from consilium_archive.burial import recount_study
from consilium_archive.damage import Place
from consilium_archive.reconcile_held import HeldCompare
from consilium_archive.reconcile_place import PlaceCompare, PlaceReport
from consilium_archive.tables import instance, series, study, upload_segment
from consilium_core.clock import Clock
from consilium_platform.blobs import BlobStore, Entry, Stores
from consilium_platform.sql import Database

SAFE_AGE_S = 86_400.0
_SHOWN = 1000
_PAGE = 1000


@dataclass(slots=True)
class ReconcileReport:
    """Everything that differs; ``applied``: whether it was also marked, doomed, counted again and swept."""

    applied: bool
    places: dict[str, PlaceReport] = field(default_factory=dict)
    held: dict[str, PlaceReport] = field(default_factory=dict)
    wrong_counts: list[dict[str, str]] = field(default_factory=list)
    lost_segments: int = 0
    unfinished: int = 0

    @property
    def damaged(self) -> bool:
        """Tell whether a row has no whole object: what only a repair mends."""
        return any(one.missing_count or one.wrong_size_count for one in (*self.places.values(), *self.held.values()))

    @property
    def clean(self) -> bool:
        """Tell whether index and store agree."""
        orphans = sum(one.orphan_count for one in self.places.values())
        return not (self.damaged or orphans or self.wrong_counts or self.lost_segments)

    @property
    def words(self) -> str:
        """Return the sums of what was marked, doomed, counted again and swept."""
        found = (*self.places.values(), *self.held.values())
        missing, wrong = sum(one.missing_count for one in found), sum(one.wrong_size_count for one in found)
        orphans = sum(one.orphan_count for one in self.places.values())
        return (
            f"{missing} missing and {wrong} of another size marked, {orphans} orphans doomed, {len(self.wrong_counts)} studies counted "
            f"again, {self.lost_segments} upload segments and {self.unfinished} unfinished writes removed"
        )

    def wire(self) -> dict[str, Any]:
        """Return the report as JSON."""
        return {"clean": self.clean, "damaged": self.damaged, **asdict(self)}


class Reconciler:
    """Compares; holds no resources of its own."""

    def __init__(self, database: Database, stores: Stores, clock: Clock, *, safe_age_s: float = SAFE_AGE_S) -> None:
        self._database = database
        self._stores = stores
        self._clock = clock
        self._safe_age_s = safe_age_s

    async def run(self, *, apply: bool, report: ReconcileReport | None = None) -> ReconcileReport:
        """Compare everything (into ``report``); with ``apply`` mark, doom, recount and sweep."""
        report = ReconcileReport(apply) if report is None else report
        places: list[tuple[Place, BlobStore | None]] = [("first", self._stores.first), ("copy", self._stores.copy)]
        for place, store in places:
            if store is not None:
                compare = PlaceCompare(self._database, place, store, self._clock, self._safe_age_s, apply)
                report.places[place] = await compare.run()
                held = HeldCompare(self._database, place, store, self._clock, self._safe_age_s, apply)
                report.held[place] = await held.run()
        await self._counts(report)
        await self._segments(report)
        for _, store in places:
            if store is not None and apply:
                report.unfinished += await store.sweep(self._safe_age_s)
        return report

    async def _counts(self, report: ReconcileReport) -> None:
        after = 0
        while page := await self._database.query(partial(_wrong_counts, after=after)):
            after = page[-1].id
            for row in page:
                if len(report.wrong_counts) < _SHOWN:
                    report.wrong_counts.append({"tenant": row.tenant_id, "study_uid": row.study_uid})
                if report.applied:
                    await self._database.transact(partial(_recount, tenant=row.tenant_id, study_uid=row.study_uid))

    async def _segments(self, report: ReconcileReport) -> None:
        """Find segments that no upload knows: a kill between storing and recording one leaves it. Their names never come again."""
        before = self._clock.now() - timedelta(seconds=self._safe_age_s)
        async with aclosing(_paged(self._stores.first.entries("uploads/"))) as pages:
            async for page in pages:
                keys = [entry.key for entry in page if entry.modified < before]
                known = await self._database.query(partial(_segments_known, keys=keys)) if keys else set()
                lost = [key for key in keys if key not in known]
                report.lost_segments += len(lost)
                for key in lost if report.applied else ():
                    await self._stores.first.purge(key)


async def _paged(entries: AsyncGenerator[Entry]) -> AsyncGenerator[list[Entry]]:
    page: list[Entry] = []
    async with aclosing(entries):
        async for entry in entries:
            page.append(entry)
            if len(page) == _PAGE:
                yield page
                page = []
    if page:
        yield page


def _segments_known(session: Session, keys: list[str]) -> set[str]:
    return set(session.scalars(select(upload_segment.c.blob_key).where(upload_segment.c.blob_key.in_(keys))))


def _wrong_counts(session: Session, after: int) -> list[Any]:
    """Return studies whose count, or a series' of theirs, is not that of the instances."""
    in_study = (instance.c.tenant_id == study.c.tenant_id) & (instance.c.study_uid == study.c.study_uid)
    of_study = select(func.count()).select_from(instance).where(in_study).correlate(study).scalar_subquery()
    in_series = (
        (instance.c.tenant_id == series.c.tenant_id)
        & (instance.c.study_uid == series.c.study_uid)
        & (instance.c.series_uid == series.c.series_uid)
    )
    of_series = select(func.count()).select_from(instance).where(in_series).correlate(series).scalar_subquery()
    mine = (series.c.tenant_id == study.c.tenant_id) & (series.c.study_uid == study.c.study_uid)
    number = select(func.count()).select_from(series).where(mine).correlate(study).scalar_subquery()
    wrong_series = select(series.c.id).where(mine, series.c.instance_count != of_series).correlate(study).exists()
    wrong = or_(study.c.instance_count != of_study, study.c.series_count != number, wrong_series)
    asked = select(study.c.id, study.c.tenant_id, study.c.study_uid).where(study.c.id > after, wrong)
    return list(session.execute(asked.order_by(study.c.id).limit(100)).all())


def _recount(session: Session, tenant: str, study_uid: str) -> None:
    locked = select(study.c.id).where(study.c.tenant_id == tenant, study.c.study_uid == study_uid).with_for_update()
    if session.execute(locked).first() is not None:
        recount_study(session, tenant, study_uid)
