"""Jobs in the database: claimed in batches of one study, settled with what came of them, and what is known of their destination.

A claim writes what is about to be disclosed into the audit trail in its own transaction, before a byte leaves. A job that was claimed is
free again when its lease has ended, so a killed process loses none. A confirmed success is final: no later failure undoes it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from consilium_archive.tables import study
from consilium_core.clock import Clock
from consilium_core.ids import new_ulid
from consilium_ingest.routing.breaker import Breaker
from consilium_ingest.routing.evaluate import upsert
from consilium_ingest.routing.rows import utc
from consilium_ingest.routing.rules import Priority
from consilium_ingest.routing.settings import DimseDestination, RoutingSettings, StowDestination
from consilium_ingest.routing.tables import UNFINISHED, job, place
from consilium_ingest.routing.words import OF_DESTINATION, words_of
from consilium_platform.audit import AuditLog, AuditRecord, Outcome
from consilium_platform.sql import Database

_WEIGHT = 0.25  # of the newest measurement in the moving average
LEASE_S, RENEW_S = 90.0, 20.0  # a killed process's claim is free again after that; a working one's is renewed
_FIRST_S, _LONGEST_S = 5.0, 3600.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """One instance that is to be sent."""

    number: int
    study_uid: str
    series_uid: str
    sop_instance_uid: str
    size_bytes: int
    attempts: int
    made_at: datetime


@dataclass(frozen=True, slots=True)
class Batch:
    """Instances of one study that are sent together, this process's until the lease ends; ``probe``: it decides whether a shut destination opens."""

    lease: str
    probe: bool
    seconds: float
    study_uid: str
    patient_id: str
    priority: Priority
    wanted: tuple[Wanted, ...]

    @property
    def size_bytes(self) -> int:
        """Return how many bytes are to be sent."""
        return sum(one.size_bytes for one in self.wanted)


@dataclass(slots=True)
class Outcomes:
    """What came of a batch: a word per instance that was not sent; ``down``: of the destination itself; bytes and seconds measured."""

    problems: dict[str, str] = field(default_factory=dict)
    sent: set[str] = field(default_factory=set)
    down: str = ""
    retry_after_s: float = 0.0
    stopped: bool = False  # the process ends: what has no outcome waits on, with nobody to blame
    sent_bytes: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Known:
    """What all processes know of a destination."""

    breaker: Breaker = field(default_factory=Breaker)
    problem: str = ""
    problem_at: datetime | None = None
    bytes_per_s: float | None = None
    measured_at: datetime | None = None
    sent_instances: int = 0
    sent_bytes: int = 0


class JobQueue:
    """The jobs of one destination."""

    def __init__(
        self,
        database: Database,
        audit: AuditLog,
        clock: Clock,
        to: StowDestination | DimseDestination,
        settings: RoutingSettings,
    ) -> None:
        self._database = database
        self._audit = audit
        self._clock = clock
        self._to = to
        self._settings = settings
        self._mine = (job.c.tenant_id == to.tenant, job.c.destination == to.name)

    async def claim(self) -> Batch | None:
        """Return what is to be sent next, audited; None: nothing is due, or the destination is shut."""
        if await self._database.query(self._idle):
            return None
        return await self._database.transact(self._claim)

    async def settle(self, batch: Batch, outcomes: Outcomes) -> None:
        """Write what came of a batch."""
        await self._database.transact(lambda session: self._settle(session, batch, outcomes))

    async def renew(self, batch: Batch) -> None:
        """Keep a batch that is still being sent; nobody else takes it, or tries a destination that it probes."""
        until = self._clock.now() + timedelta(seconds=LEASE_S)

        def work(session: Session) -> None:
            if batch.probe:
                self._write(session, {"shut_until": until})
            mine = update(job).where(job.c.lease == batch.lease, job.c.state == "sending")
            session.execute(mine.where(job.c.id.in_([one.number for one in batch.wanted])).values(try_at=until))

        await self._database.transact(work)

    def _idle(self, session: Session) -> bool:
        now = self._clock.now()
        if known(session, self._to.tenant, self._to.name).breaker.state(self._settings.breaker, now) == "open":
            return True
        return session.execute(self._due(now).limit(1)).first() is None

    def _due(self, now: datetime) -> Any:
        due = select(job).where(*self._mine, job.c.state.in_(UNFINISHED), job.c.try_at <= now)
        return due.order_by(job.c.priority, job.c.id)

    def _claim(self, session: Session) -> Batch | None:
        now = self._clock.now()
        at = known(session, self._to.tenant, self._to.name, lock=True)
        first = session.execute(self._due(now).limit(1)).first()
        if first is None:
            return None
        same = self._due(now).where(job.c.study_uid == first.study_uid, job.c.priority == first.priority)
        together = max(
            1, self._settings.batch_instances >> min(2 * first.attempts, 16)
        )  # what spoils a batch ends up alone
        rows = _within(session.execute(same.limit(together)).all(), self._settings.batch_bytes)
        seconds = self._settings.lease_s(sum(row.size_bytes for row in rows))
        trying = at.breaker.trying(self._settings.breaker, now, LEASE_S)
        if trying is None:
            return None
        probe = trying != at.breaker
        if probe:
            self._write(session, {"shut_until": trying.shut_until})
        lease, until = new_ulid(), now + timedelta(seconds=LEASE_S)
        claimed = {"state": "sending", "lease": lease, "try_at": until, "attempts": job.c.attempts + 1}
        session.execute(update(job).where(job.c.id.in_([row.id for row in rows])).values(**claimed))
        wanted, priority = tuple(_wanted(row) for row in rows), Priority(first.priority)
        batch = Batch(lease, probe, seconds, first.study_uid, _patient(session, first), priority, wanted)
        names = " ".join(one.sop_instance_uid for one in batch.wanted)
        self._record(session, batch, "success", f"sending {len(rows)} to {self._words}: {names}")
        return batch

    def _settle(self, session: Session, batch: Batch, outcomes: Outcomes) -> None:
        now = self._clock.now()
        at = known(session, self._to.tenant, self._to.name, lock=True)
        sent = [one for one in batch.wanted if one.sop_instance_uid in outcomes.sent]
        if sent:
            done = {"state": "sent", "sent_at": now, "problem": ""}
            session.execute(update(job).where(job.c.id.in_([one.number for one in sent])).values(**done))
        failed = [one for one in batch.wanted if one.sop_instance_uid not in outcomes.sent]
        if outcomes.stopped:
            left = [one.number for one in failed if one.sop_instance_uid not in outcomes.problems]
            mine = update(job).where(job.c.id.in_(left), job.c.lease == batch.lease, job.c.state == "sending")
            session.execute(mine.values(state="waiting", try_at=now, lease=""))
            failed = [one for one in failed if one.sop_instance_uid in outcomes.problems]
        codes: Counter[str] = Counter()
        for one in failed:
            problem = outcomes.problems.get(one.sop_instance_uid) or outcomes.down or "unanswered"
            codes[problem] += 1
            after = self._after(one, problem, now, counts=not outcomes.down)
            mine = update(job).where(job.c.id == one.number, job.c.lease == batch.lease, job.c.state == "sending")
            session.execute(mine.values(**after))
        self._write(session, self._learned(at, outcomes, len(sent), now))
        if sent and not outcomes.down and at.breaker.failures >= self._settings.breaker_failures:  # it is back
            again = update(job).where(*self._mine, job.c.state == "failed", job.c.problem.in_(OF_DESTINATION))
            session.execute(again.values(try_at=now, attempts=0))
        if sent:
            self._record(session, batch, "success", f"sent {len(sent)} to {self._words}")
        if failed:
            words = ", ".join(f"{count} {code}" for code, count in sorted(codes.items()))
            self._record(session, batch, "failure", f"not sent {len(failed)} to {self._words}: {words}")

    def _after(self, one: Wanted, problem: str, now: datetime, *, counts: bool) -> dict[str, Any]:
        """Return how a job stands after a failure; what the destination itself fails at (``counts`` False) is given up by age alone."""
        tried = counts and one.attempts >= self._settings.attempts
        waited = now - one.made_at > timedelta(hours=self._settings.give_up_h)
        over = words_of(problem).lasting or tried or waited
        pause = min(_FIRST_S * 2 ** min(one.attempts - 1, 20), _LONGEST_S)
        again = now + timedelta(seconds=pause)
        return {"state": "given-up" if over else "failed", "problem": problem[:64], "try_at": again, "lease": ""}

    def _learned(self, at: Known, outcomes: Outcomes, sent: int, now: datetime) -> dict[str, Any]:
        """Return what is known of the destination after a batch."""
        if outcomes.down:
            breaker = at.breaker.failed(self._settings.breaker, now, outcomes.retry_after_s)
            found: dict[str, Any] = {"problem": outcomes.down[:64], "problem_at": now}
        elif outcomes.seconds > 0 and not outcomes.stopped:
            breaker, found = at.breaker.worked(), {"problem": "", "problem_at": None}
        else:  # nobody knows: nothing of the batch could be read here, or the process ends
            return {"shut_until": None} if at.breaker.shut_until is not None else {}
        found |= {"failures": breaker.failures, "shut_until": breaker.shut_until}
        if sent and outcomes.seconds > 0:
            measured = outcomes.sent_bytes / outcomes.seconds
            was = at.bytes_per_s
            found |= {
                "bytes_per_s": measured if was is None else was + _WEIGHT * (measured - was), "measured_at": now,
                "sent_instances": at.sent_instances + sent, "sent_bytes": at.sent_bytes + outcomes.sent_bytes,
            }  # fmt: skip
        return found

    def _write(self, session: Session, values: dict[str, Any]) -> None:
        if values:
            mine = (place.c.tenant_id == self._to.tenant, place.c.name == self._to.name)
            session.execute(update(place).where(*mine).values(**values))

    @property
    def _words(self) -> str:
        return f"{self._to.name} by {self._to.verb}"

    def _record(self, session: Session, batch: Batch, outcome: Outcome, detail: str) -> None:
        actor = f"routing:{self._to.name}"
        record = AuditRecord(
            self._to.tenant, actor, "service", "instance.send", outcome, batch.study_uid, batch.patient_id, detail
        )
        self._audit.append(session, [record])


def known(session: Session, tenant: str, name: str, *, lock: bool = False) -> Known:
    """Return what is known of a destination; ``lock``: its row is made if need be, and is the transaction's until its end."""
    if lock:
        new = upsert(session)(place).values(
            tenant_id=tenant, name=name, failures=0, problem="", sent_instances=0, sent_bytes=0
        )
        session.execute(new.on_conflict_do_nothing())
    asked = select(place).where(place.c.tenant_id == tenant, place.c.name == name)
    row = session.execute(asked.with_for_update() if lock else asked).first()
    if row is None:
        return Known()
    return Known(
        Breaker(row.failures, utc(row.shut_until) if row.shut_until else None), row.problem,
        utc(row.problem_at) if row.problem_at else None, row.bytes_per_s,
        utc(row.measured_at) if row.measured_at else None, row.sent_instances, row.sent_bytes,
    )  # fmt: skip


def open_now(session: Session, tenant: str, name: str, now: datetime) -> None:
    """Let the next attempt at a destination happen at once."""
    mine = (place.c.tenant_id == tenant, place.c.name == name, place.c.shut_until.is_not(None))
    session.execute(update(place).where(*mine).values(shut_until=now))


async def release_all(database: Database) -> None:
    """Free every claim at the start of the only process."""
    free = update(job).where(job.c.state == "sending").values(state="waiting", lease="", try_at=job.c.made_at)
    await database.transact(lambda session: session.execute(free))


def backlog(session: Session, tenant: str, name: str) -> dict[str, tuple[int, int]]:
    """Return (instances, bytes) of each state that is not done."""
    sums = (job.c.state, func.count(), func.sum(job.c.size_bytes))
    asked = select(*sums).where(job.c.tenant_id == tenant, job.c.destination == name, job.c.state.in_(UNFINISHED))
    return {state: (count, int(size or 0)) for state, count, size in session.execute(asked.group_by(job.c.state)).all()}


def _within(rows: Sequence[Any], most_bytes: int) -> list[Any]:
    """Return the first rows that fit together, one at least."""
    taken: list[Any] = []
    size = 0
    for row in rows:
        size += row.size_bytes
        if taken and size > most_bytes:
            break
        taken.append(row)
    return taken


def _wanted(row: Any) -> Wanted:
    return Wanted(
        row.id, row.study_uid, row.series_uid, row.sop_instance_uid, row.size_bytes, row.attempts + 1, utc(row.made_at)
    )


def _patient(session: Session, row: Any) -> str:
    asked = select(study.c.patient_id).where(study.c.tenant_id == row.tenant_id, study.c.study_uid == row.study_uid)
    return str(session.scalar(asked) or "")[:128]
