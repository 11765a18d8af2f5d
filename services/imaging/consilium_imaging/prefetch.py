"""Priors are made hot when a consultation is booked, accepted, or its room opens: before the expert looks for them.

Flows in: ``consultation.changed`` (ids only) and consult's answer to whose it is; flows out: a choice in the database, originals in the hot
tier, their first pictures in memory. The bus only wakes: what it lost is read from the outbox at the start and every ``again_s`` seconds, and
what left the hot tier meanwhile is fetched again; what is being restored from cold is left alone until it should be back. Every replica has a
disk of its own and works for itself; the choice is shared. One consultation at a time; at most 256 wait, further ones are found in the outbox.
One that is cancelled or over is left at once, and not asked about where nothing was chosen for it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import structlog
from prometheus_client import Counter
from pydantic import BaseModel

from consilium_archive.errors import NotArchived, OriginalArchived
from consilium_archive.identity import Person
from consilium_archive.prior_rule import Bounds, Chosen, Likeness, choose
from consilium_archive.priors import prior_of, studies_of
from consilium_archive.reader import ArchiveReader, Place, Scope
from consilium_core.clock import Clock
from consilium_core.errors import ConsiliumError, Exhausted, NotFound, Unavailable
from consilium_core.events import Event, EventType
from consilium_imaging.bookings import DROPPED, OPEN, Booking, Bookings, Told
from consilium_imaging.pictures import Pictures, Wish
from consilium_imaging.retries import FIRST_S, Problem, Problems, Retries, worst
from consilium_platform.bus import EventBus
from consilium_platform.http.client import ServiceDirectory
from consilium_platform.sql import Database
from consilium_platform.tasks import end_task

log = structlog.get_logger()
STUDIES = Counter("consilium_prefetch_studies_total", "Priors that were to be made hot.", ["outcome"])
NO_ROOM = "hot-tier-full"
_QUEUE = 256
_METADATA_BELOW = 2000
_OVERLAP = 1000  # numbers of the outbox are not given in the order of commits
_THUMBNAIL = (256, 256)
_UNKNOWN = "consultation-not-found"  # any other 404 is a consult that does not know the question (yet)
_SILENT = (Unavailable, Exhausted, OSError, TimeoutError)
_FAILED = (ConsiliumError, OSError, TimeoutError)


@dataclass(frozen=True, slots=True)
class PrefetchRule:
    """How much is fetched for one consultation, how many objects at once, how often what is missing is looked for (s), for how long."""

    bounds: Bounds
    at_once: int = 4
    again_s: float = 300.0
    keep: timedelta = timedelta(days=7)


class _Patient(BaseModel):
    patient_id: str
    issuer: str
    name: str
    birth_date: str
    sex: str


class _Consultation(BaseModel):
    """What consult says (``GET /internal/v1/consultations/{id}``)."""

    state: str
    study_uid: str
    patient: _Patient


@dataclass(frozen=True)
class PrefetchDesk:
    """What pre-fetching needs of its room."""

    database: Database
    reader: ArchiveReader
    pictures: Pictures
    bookings: Bookings
    services: ServiceDirectory
    clock: Clock


class Prefetch:
    """Chooses and fetches; open with ``open_prefetch``."""

    def __init__(self, desk: PrefetchDesk, rule: PrefetchRule) -> None:
        self._desk = desk
        self._rule = rule
        self._queue: asyncio.Queue[Told] = asyncio.Queue(_QUEUE)
        self._active: tuple[Told, asyncio.Task[None]] | None = None
        self._problems = Problems()
        self._trouble = asyncio.Event()
        self._failed = Retries(desk.clock.monotonic, rule.keep.total_seconds())
        self._due: deque[Told] = deque()
        self._seen = 0

    def problem_of(self, tenant: str, study_uid: str) -> Problem | None:
        """Return what kept a prior from being hot when it was last tried here."""
        return self._problems.of(tenant, study_uid)

    def keeps(self, booked: Booking) -> bool:
        """Tell whether what is not hot of a booking's priors is fetched."""
        return booked.state in OPEN and booked.chosen_at is not None and booked.chosen_at > self._since()

    def _since(self) -> datetime:
        return self._desk.clock.now() - self._rule.keep

    def hear(self, event: Event) -> None:
        """Take note of an event; never waits."""
        if event.type is not EventType.CONSULTATION_CHANGED:
            return
        state = event.data.get("state")
        if state not in OPEN and self._active is not None:
            told, task = self._active
            if (told.tenant, told.consultation_id) == (event.tenant, event.subject):
                task.cancel()
        if not self._queue.full():
            self._queue.put_nowait(Told(event.tenant, event.subject, event.seq, state))

    async def run(self) -> None:
        """Serve what was heard until cancelled; what fails is logged and tried again by ``catch_up``."""
        while True:
            told = await self._queue.get()
            task = asyncio.create_task(self.serve(told), name="prefetch-consultation")
            self._active = told, task
            try:
                await asyncio.wait({task})
                problem = None if task.cancelled() else task.exception()
                if problem is None:
                    self._failed.done(told)
                else:
                    again_s = self._failed.failed(told, lasting=not isinstance(problem, _SILENT))
                    facts = {"error": type(problem).__name__, "again_s": again_s}
                    log.warning("prefetch_failed", consultation=told.consultation_id, **facts)
                    self._trouble.set()
            finally:
                self._active = None
                await end_task(task)
                self._queue.task_done()

    async def settled(self) -> None:
        """Return when nothing waits to be served."""
        await self._queue.join()

    async def catch_up(self) -> None:
        """Have served what failed, what the bus did not bring, and what may not be hot any more; waits while the queue is full."""
        missed = await self._desk.bookings.told(max(0, self._seen - _OVERLAP), self._since())
        still_open = await self._desk.bookings.open(self._since())
        again = [Told(booked.tenant, booked.consultation_id, booked.seq) for booked in still_open]
        await self._again()
        for told in (*missed, *again):
            if not self._failed.holds(told):
                await self._queue.put(told)
        self._seen = max([self._seen, *(told.seq for told in missed)])

    async def _again(self) -> None:
        """Have served again what failed and is due, a room that was not open yet for one."""
        if not self._failed:
            self._trouble.clear()
        self._due += self._failed.due()
        while self._due:
            await self._queue.put(self._due[0])  # who is cancelled here has forgotten none
            self._due.popleft()

    async def serve(self, told: Told) -> None:
        """Choose priors unless that was done for this event, and make them hot while the consultation is open."""
        booked = await self._desk.bookings.find(told.tenant, told.consultation_id)
        if booked is None and told.is_over:
            return
        if booked is None or booked.seq < told.seq:
            try:
                booked = await self._choose(told)
            except NotFound as problem:
                if problem.code != _UNKNOWN:
                    raise
                log.warning("prefetch_consultation_unknown", consultation=told.consultation_id)
                return
        if booked.state in OPEN:
            await self._warm(booked)

    async def _choose(self, told: Told) -> Booking:
        path = f"/internal/v1/consultations/{quote(told.consultation_id, safe='')}"
        answer = await self._desk.services.call("consult", "GET", path, tenant=told.tenant, caller="imaging")
        asked = _Consultation.model_validate(answer)
        booked = Booking(told.tenant, told.consultation_id, asked.study_uid, asked.state, told.seq)
        chosen: list[Chosen] | None = [] if asked.state in DROPPED else None
        if asked.state in OPEN:
            of = asked.patient
            person = Person(of.patient_id, of.issuer, of.name, of.birth_date, of.sex)
            current = await prior_of(self._desk.database, told.tenant, asked.study_uid)
            about = Likeness(current.modalities, current.body_parts) if current is not None else Likeness()
            known = await studies_of(self._desk.database, told.tenant, person)
            earlier = [one for one in known if one.study_uid != asked.study_uid]
            chosen = choose(about, earlier, self._rule.bounds)
        if not await self._desk.bookings.choose(booked, chosen, self._desk.clock.now()):
            return await self._desk.bookings.find(told.tenant, told.consultation_id) or booked
        return booked

    async def _warm(self, booked: Booking) -> None:
        for row in await self._desk.bookings.chosen(booked):
            outcome = await self._warm_study(booked.tenant, row.study_uid, fresh=row.hot_at is None)
            if outcome == "hot" and row.hot_at is None:
                STUDIES.labels(outcome).inc()
                await self._desk.bookings.mark_hot(booked, row.study_uid, self._desk.clock.now())
            elif outcome == "failed":
                STUDIES.labels(outcome).inc()

    async def _warm_study(self, tenant: str, study_uid: str, *, fresh: bool) -> str:
        """Make one prior hot; return ``hot``, ``failed``, ``gone``, or ``archived`` for what is not to be asked for yet."""
        scope = Scope(study_uid)
        try:
            places = await self._desk.reader.places(tenant, scope)
        except NotArchived:
            return "gone"
        hot = await self._desk.reader.hot(places)
        missing = [place for place in places if place.key not in hot]
        before = self._problems.of(tenant, study_uid)
        if missing and before is not None and before.again_at is not None and before.again_at > self._desk.clock.now():
            return "archived"
        problem = worst(await self._fetch(missing))
        self._problems.remember(tenant, study_uid, problem)
        if problem is not None:
            return "failed"
        if not fresh and not missing:
            return "hot"
        if len(places) <= _METADATA_BELOW:  # so that the database has its pages in memory
            await self._desk.reader.metadata(tenant, scope)
        await self._draw(tenant, scope)
        return "hot"

    async def _fetch(self, places: Sequence[Place]) -> list[Problem]:
        """Fetch originals, so many at once; return what went wrong. One that fails does not keep the others out."""
        problems: list[Problem] = []

        async def some(left: Iterator[Place]) -> None:
            for place in left:
                try:
                    if not await self._desk.reader.warm(place):
                        problems.append(Problem(NO_ROOM))
                except OriginalArchived as problem:
                    back_at = self._desk.clock.now() + timedelta(seconds=problem.retry_after_s)
                    problems.append(Problem(problem.code, back_at))
                except ConsiliumError as problem:
                    problems.append(Problem(problem.code))
                except (OSError, TimeoutError) as problem:
                    log.warning("prefetch_object_failed", error=type(problem).__name__)
                    problems.append(Problem("unavailable"))

        left = iter(places)
        async with asyncio.TaskGroup() as group:
            for _ in range(min(self._rule.at_once, len(places))):
                group.create_task(some(left))
        return problems

    async def _draw(self, tenant: str, scope: Scope) -> None:
        """Draw what a page shows of a study first: the small picture of its middle, and that frame as large as it is."""
        found = await self._desk.reader.middle(tenant, scope)
        place, index = found or (None, None)
        if place is None or index is None or place.is_video:
            return
        try:
            for wish in (Wish(viewport=_THUMBNAIL), Wish()):
                await self._desk.pictures.picture(place, index, index.count // 2, wish)
        except _FAILED as problem:  # drawn when it is asked for
            log.info("prior_not_drawn", error=type(problem).__name__)

    async def follow(self, bus: EventBus) -> None:
        """Hear events until cancelled; an outage of the bus is waited out."""
        while True:
            try:
                async with bus.subscribe() as subscription:
                    while True:
                        event = await subscription.next(60.0)
                        if event is not None:
                            self.hear(event)
            except Exception as problem:
                log.warning("prefetch_not_following", error=type(problem).__name__)
                await asyncio.sleep(1.0)

    async def keep_up(self) -> None:
        """Catch up now and every ``again_s`` seconds until cancelled; what fails is tried again sooner."""
        while True:
            try:
                await self.catch_up()
            except Exception as problem:
                log.warning("prefetch_not_catching_up", error=type(problem).__name__)
            try:
                async with asyncio.timeout(self._rule.again_s):
                    while True:
                        await self._trouble.wait()
                        await asyncio.sleep(FIRST_S)
                        await self._again()
            except TimeoutError:
                continue


@asynccontextmanager
async def open_prefetch(desk: PrefetchDesk, bus: EventBus, rule: PrefetchRule | None) -> AsyncIterator[Prefetch | None]:
    """Pre-fetch for the length of the block (None: never); what is unfinished at its end is found in the outbox at the next start."""
    if rule is None:
        yield None
        return
    prefetch = Prefetch(desk, rule)
    works: dict[str, Any] = {"run": prefetch.run(), "follow": prefetch.follow(bus), "keep-up": prefetch.keep_up()}
    tasks = [asyncio.create_task(work, name=f"prefetch-{name}") for name, work in works.items()]
    try:
        yield prefetch
    finally:
        for task in tasks:
            await end_task(task)
