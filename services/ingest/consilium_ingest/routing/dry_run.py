"""What a rule would have sent of the last days: studies, instances, bytes, how long at the bandwidth that was measured, and what it costs.

Looked at are the instances that were received since then, in pages and on threads of their own; above a bound the answer says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial

from consilium_archive.tables import instance, series
from consilium_core.clock import Clock
from consilium_ingest.routing.evaluate import goes
from consilium_ingest.routing.facts import Seen, first_since, page
from consilium_ingest.routing.places import known
from consilium_ingest.routing.rows import Rule, Wish
from consilium_ingest.routing.rules import FROM_THERE, Conditions
from consilium_ingest.routing.settings import DimseDestination, StowDestination
from consilium_platform.sql import Database

MOST_INSTANCES, MOST_WITH_METADATA = 300_000, 100_000  # 0.1 to 0.4 ms for the metadata of each
_PAGE = 1000
_SKEW = timedelta(minutes=1)  # numbers are given out in the order of time but for a transaction's length


@dataclass(slots=True)
class Volume:
    """How much goes out."""

    studies: set[str] = field(default_factory=set)
    instances: int = 0
    size_bytes: int = 0

    def add(self, study_uid: str, size_bytes: int) -> None:
        """Count one instance."""
        self.studies.add(study_uid)
        self.instances += 1
        self.size_bytes += size_bytes


@dataclass(slots=True)
class Forecast:
    """The sums, by day (UTC) too; ``kept_back``: came from the destination; ``complete``: everything was looked at."""

    all: Volume = field(default_factory=Volume)
    days: dict[str, Volume] = field(default_factory=dict)
    looked: int = 0
    kept_back: int = 0
    complete: bool = True
    measured_bytes_per_s: float | None = None


async def forecast(
    database: Database, clock: Clock, wish: Wish, to: StowDestination | DimseDestination, days: int
) -> Forecast:
    """Return what the rule would have sent of the last ``days``, whether it is switched on or not."""
    since = clock.now() - timedelta(days=days)
    rule = Rule("", to.tenant, wish, 0, since, "", since)
    found = Forecast()
    for day in range(days + 1):
        found.days[_day(since + timedelta(days=day))] = Volume()
    after = await database.query(partial(first_since, since=since - _SKEW))
    narrowed = (instance.c.tenant_id == to.tenant, instance.c.received_at >= since, *_narrowed(wish.conditions))
    metadata = wish.conditions.asks_metadata
    most = MOST_WITH_METADATA if metadata else MOST_INSTANCES
    while True:
        mine = (instance.c.id > after, *narrowed)
        seen = await database.query(partial(page, conditions=mine, limit=_PAGE, metadata=metadata))
        await asyncio.to_thread(_count, found, seen, rule, to)
        if len(seen) < _PAGE:
            break
        after = seen[-1].number
        if found.looked >= most:
            found.complete = False
            break
    at = await database.query(lambda session: known(session, to.tenant, to.name))
    found.measured_bytes_per_s = at.bytes_per_s
    return found


def _narrowed(conditions: Conditions) -> Iterable[object]:
    """Return what the database can leave out by itself."""
    if conditions.modalities:
        yield series.c.modality.in_(conditions.modalities)
    if conditions.sop_class_uids:
        yield instance.c.sop_class_uid.in_(conditions.sop_class_uids)
    if conditions.origins:
        yield instance.c.origin.in_(conditions.origins)


def _count(found: Forecast, seen: list[Seen], rule: Rule, to: StowDestination | DimseDestination) -> None:
    found.looked += len(seen)
    for one in seen:
        why = goes(rule, one.facts(), to)
        found.kept_back += why == FROM_THERE
        if not why:
            found.all.add(one.row.study_uid, one.row.size_bytes)
            day = found.days.setdefault(_day(one.received_at), Volume())
            day.add(one.row.study_uid, one.row.size_bytes)


def _day(at: datetime) -> str:
    return at.astimezone(UTC).date().isoformat()
