"""From the index to jobs: every instance is looked at once by the rules that are on, whatever event was lost and whoever was killed.

``instance.stored`` on the bus is only the wake-up call. The truth is the index: instances above a mark (``archive_mark``) that has come
as far as nothing can appear any more are looked at, those that this process has looked at already left out. Jobs are unique per
destination and instance, so a kill at any moment, a repeat, or several processes at once make none too few and none twice.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import structlog
from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from consilium_archive.storage_tables import mark
from consilium_archive.tables import instance
from consilium_core.clock import Clock
from consilium_core.errors import ConsiliumError
from consilium_core.events import EventType
from consilium_ingest.routing.facts import Seen, page
from consilium_ingest.routing.rows import Rule, rules_of
from consilium_ingest.routing.rules import FROM_THERE, Facts, missed
from consilium_ingest.routing.settings import DimseDestination, RoutingSettings, StowDestination
from consilium_ingest.routing.tables import job
from consilium_platform.bus import EventBus, Subscription
from consilium_platform.sql import Database, upsert

log = structlog.get_logger()
MARK = "routing-feed"
_PAGE = 500
_CATCH_UP_PAGES = 20
_SETTLED = timedelta(
    minutes=10
)  # an index transaction ends within 30 s: no instance older than this is still to appear
_LATE_S = 30.0
Key = tuple[str, str]  # tenant and destination
Destinations = dict[Key, StowDestination | DimseDestination]


@dataclass(frozen=True, slots=True)
class Match:
    """An instance that a rule sends somewhere."""

    seen: Seen
    rule: Rule


class Evaluator:
    """Makes the jobs; ``run`` is one task of ingest's composition root."""

    def __init__(self, database: Database, clock: Clock, destinations: Destinations, settings: RoutingSettings) -> None:
        self._database = database
        self._clock = clock
        self._destinations = destinations
        self._keep = timedelta(days=settings.keep_days)
        self._longest = timedelta(hours=settings.give_up_h)
        self._mark = 0
        self._high = 0
        self._seen: set[int] = set()  # above the mark: what arrives in the ten minutes until it settles, and some pages
        self._since: dict[str, datetime] = {}  # of the rules, as they stood at the last look for late ones
        self._late_at = self._prune_at = 0.0

    async def begin(self) -> None:
        """Take up the mark; the first time ever it stands at the end of the index, for there is no rule yet."""
        self._mark = self._high = await self._database.transact(_begin)
        self._since = {one.id: one.since for one in await self._database.query(rules_of)}

    async def turn(self) -> int:
        """Look at everything that has not been looked at; return how many instances were."""
        looked = pages = 0
        await self._lower()
        while seen := await self._database.query(partial(_above, after=self._high)):
            looked += await self._look(seen)
            self._high = seen[-1]
            pages += 1
            if pages % _CATCH_UP_PAGES == 0:  # the mark follows, so that months are caught up in little memory
                looked += await self._rise(look=True)
        if self._clock.monotonic() >= self._late_at:
            looked += await self._late()
            self._late_at = self._clock.monotonic() + _LATE_S
        if self._clock.monotonic() >= self._prune_at:
            await self._database.transact(partial(_forget, before=self._clock.now() - self._keep))
            self._prune_at = self._clock.monotonic() + 3600
        return looked

    async def _lower(self) -> None:
        """Come down with the index: SQLite gives the numbers of the newest instances again when those were removed."""
        newest = await self._database.query(_newest)
        if newest >= self._high:
            return
        if newest < self._mark:
            self._mark = await self._database.transact(_begin)
        self._high = max(newest, self._mark)
        self._seen = {number for number in self._seen if number <= newest}

    async def _late(self) -> int:
        """Look at what has appeared below the highest number (PostgreSQL commits out of order), and raise the mark.

        A rule's ``since`` is taken before its commit: what was looked at between the two is brought before the new rule again.
        """
        since = {one.id: one.since for one in await self._database.query(rules_of)}
        fresh = {one for one in since if self._since.get(one) != since[one]}
        looked = await self._look_again(self._high, fresh)
        self._since = since
        await self._rise()
        return looked

    async def _look_again(self, upto: int, fresh: Collection[str] = ()) -> int:
        """Look at what lies above the mark and was not looked at yet, at the rest with ``fresh`` rules alone."""
        looked, after = 0, self._mark
        while numbers := await self._database.query(partial(_above, after=after, upto=upto)):
            left = [number for number in numbers if number not in self._seen]
            again = [number for number in numbers if number in self._seen] if fresh else []
            if left:
                looked += await self._look(left)
            if again:
                await self._look(again, fresh)
            after = numbers[-1]
        return looked

    async def _rise(self, *, look: bool = False) -> int:
        """Raise the mark to where no instance can appear any more, and forget what lies below."""
        before = self._clock.now() - _SETTLED
        settled = await self._database.query(partial(_settled, after=self._mark, upto=self._high, before=before))
        looked = await self._look_again(settled) if look else 0
        if settled > self._mark:
            await self._database.transact(partial(_raise, settled=settled))
            self._mark = settled
        self._seen = {number for number in self._seen if number > self._mark}
        return looked

    async def _look(self, numbers: Sequence[int], only: Collection[str] | None = None) -> int:
        """Bring one page of instances before the rules (``only`` those); it is done when the jobs are committed."""
        seen, rules = await self._database.query(partial(_with_rules, numbers=numbers))
        rules = rules if only is None else [one for one in rules if one.id in only]
        if rules:
            matches = await asyncio.to_thread(lambda: list(decide(seen, rules, self._destinations)))
            if matches:
                now = self._clock.now()
                late = now - self._longest
                await self._database.transact(partial(add_jobs, matches=matches, now=now, late=late))
                if count := sum(one.seen.received_at < late for one in matches):
                    log.warning("routing_looked_at_late", instances=count)
        self._seen.update(numbers)
        return len(numbers)

    async def run(self, bus: EventBus, poll_s: float, wake: asyncio.Condition) -> None:
        """Take turns until cancelled, woken by what is stored; an outage is waited out."""
        while True:
            try:
                async with bus.subscribe() as events:
                    while True:
                        if await self.turn():
                            async with wake:
                                wake.notify_all()
                        await _something_stored(events, poll_s)
            except ConsiliumError as problem:
                log.warning("routing_waits", code=problem.code)
            except Exception as problem:
                log.exception("routing_failed", error=type(problem).__name__)
            await asyncio.sleep(poll_s)


async def _something_stored(events: Subscription, poll_s: float) -> None:
    end = time.monotonic() + poll_s  # whatever else is told meanwhile
    while (left := end - time.monotonic()) > 0:
        event = await events.next(left)
        if event is None or event.type is EventType.INSTANCE_STORED:
            return


def verdict(rule: Rule, seen: Seen, facts: Facts, destinations: Destinations) -> str:
    """Return why the rule sends the instance nowhere (a word of ``words.REASONS``); empty: it does."""
    if not rule.wish.enabled:
        return "rule-disabled"
    destination = destinations.get((rule.tenant, rule.wish.destination))
    if destination is None:
        return "destination-unknown"
    if seen.received_at < rule.since:
        return "before-rule"
    return goes(rule, facts, destination)


def goes(rule: Rule, facts: Facts, destination: StowDestination | DimseDestination) -> str:
    """Return why the instance does not go to the destination by the rule's conditions; empty: it does. It never goes back."""
    if isinstance(destination, DimseDestination) and facts.calling_ae_title == destination.called:
        return FROM_THERE
    return missed(rule.wish.conditions, facts)


def decide(seen: Iterable[Seen], rules: Sequence[Rule], destinations: Destinations) -> Iterable[Match]:
    """Yield one match per instance and destination: the rule of the highest priority, of equals the oldest."""
    by_tenant: dict[str, list[Rule]] = {}
    for rule in sorted(rules, key=lambda one: (one.wish.priority, one.id)):
        by_tenant.setdefault(rule.tenant, []).append(rule)
    for one in seen:
        mine = by_tenant.get(one.tenant, [])
        if not mine:
            continue
        facts, there = one.facts(), set[str]()
        for rule in mine:
            if rule.wish.destination not in there and not verdict(rule, one, facts, destinations):
                there.add(rule.wish.destination)
                yield Match(one, rule)


# -- rows ----------------------------------------------------------------------------------------------------------


def add_jobs(session: Session, matches: Sequence[Match], now: datetime, late: datetime) -> None:
    """Write the jobs that are not there yet; what was received before ``late`` goes out only when somebody asks for it."""
    rows = [
        {
            "tenant_id": one.seen.tenant, "destination": one.rule.wish.destination, "rule_id": one.rule.id,
            "study_uid": one.seen.row.study_uid, "series_uid": one.seen.row.series_uid,
            "sop_instance_uid": one.seen.row.sop_instance_uid, "size_bytes": one.seen.row.size_bytes,
            "priority": int(one.rule.wish.priority), "state": "given-up" if one.seen.received_at < late else "waiting",
            "attempts": 0, "failures": 0, "try_at": now, "lease": "",
            "problem": "looked-at-late" if one.seen.received_at < late else "", "made_at": now,
        }
        for one in sorted(matches, key=lambda one: (one.seen.tenant, one.rule.wish.destination, one.seen.number))
    ]  # fmt: skip
    session.execute(upsert(session)(job).on_conflict_do_nothing(), rows)


def _newest(session: Session) -> int:
    return session.scalar(select(func.max(instance.c.id))) or 0


def _begin(session: Session) -> int:
    """Return the mark; it is never above the newest instance, whose number may be given again."""
    newest = _newest(session)
    session.execute(upsert(session)(mark).values(name=MARK, value=newest).on_conflict_do_nothing())
    session.execute(update(mark).where(mark.c.name == MARK, mark.c.value > newest).values(value=newest))
    return session.scalar(select(mark.c.value).where(mark.c.name == MARK)) or 0


def _above(session: Session, after: int, upto: int | None = None) -> list[int]:
    """Return a page of numbers above ``after``, none above ``upto``."""
    within = (instance.c.id > after,) if upto is None else (instance.c.id > after, instance.c.id <= upto)
    return list(session.scalars(select(instance.c.id).where(*within).order_by(instance.c.id).limit(_PAGE)))


def _with_rules(session: Session, numbers: Sequence[int]) -> tuple[list[Seen], list[Rule]]:
    """Return the instances and, read behind them, the rules: a rule that was made before an instance came is always among them."""
    metadata = any(one.wish.conditions.asks_metadata for one in rules_of(session))
    seen = page(session, [instance.c.id.in_(numbers)], _PAGE, metadata=metadata)
    rules = rules_of(session)
    if not metadata and any(one.wish.conditions.asks_metadata for one in rules):  # made between the two questions
        seen = page(session, [instance.c.id.in_(numbers)], _PAGE, metadata=True)
    return seen, rules


def _settled(session: Session, after: int, upto: int, before: datetime) -> int:
    """Return up to where no instance can appear any more."""
    old = (instance.c.id > after, instance.c.id <= upto, instance.c.received_at < before)
    return session.scalar(select(func.max(instance.c.id)).where(*old)) or after


def _raise(session: Session, settled: int) -> None:
    """Raise the mark, never lower it."""
    new = upsert(session)(mark).values(name=MARK, value=settled)
    higher = mark.c.value < new.excluded.value
    session.execute(new.on_conflict_do_update(index_elements=["name"], set_={"value": settled}, where=higher))


def _forget(session: Session, before: datetime) -> None:
    """Remove jobs that were done long ago; what was given up stays."""
    session.execute(delete(job).where(job.c.state == "sent", job.c.sent_at < before))
