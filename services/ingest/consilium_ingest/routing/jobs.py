"""Jobs in the database: claimed in batches of one study, settled with what came of them, and what is known of their destination.

A claim writes what is about to be disclosed into the audit trail in its own transaction, before a byte leaves. A job that was claimed is
free again when its lease has ended, so a killed process loses none. A confirmed success is final: no later failure undoes it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from consilium_archive.tables import study
from consilium_core.clock import Clock, utc
from consilium_core.ids import new_ulid
from consilium_ingest.routing.batch import Batch, Outcomes, Wanted
from consilium_ingest.routing.places import Known, known
from consilium_ingest.routing.rules import Priority
from consilium_ingest.routing.settings import DimseDestination, RoutingSettings, StowDestination
from consilium_ingest.routing.tables import IS_UNFINISHED, job, place
from consilium_ingest.routing.words import OF_DESTINATION, OF_OURS, words_of
from consilium_platform.audit import AuditLog, AuditRecord, Outcome
from consilium_platform.sql import Database

_WEIGHT = 0.25  # of the newest measurement in the moving average
LEASE_S, RENEW_S = 90.0, 20.0  # a killed process's claim is free again after that; a working one's is renewed
_FIRST_S, _LONGEST_S, _LONGEST_OURS_S = 5.0, 3600.0, 300.0


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
        return self._first(session, now) is None

    def _due(self, now: datetime) -> Any:
        return select(job).where(*self._mine, IS_UNFINISHED, job.c.try_at <= now)

    def _first(self, session: Session, now: datetime) -> Any:
        """Return the job that is to go first, if one is due: of the highest priority what has been due longest."""
        for priority in Priority:  # one by one the index leads to it, past however many wait for their time
            due = self._due(now).where(job.c.priority == int(priority)).order_by(job.c.try_at, job.c.id)
            if found := session.execute(due.limit(1)).first():
                return found
        return None

    def _claim(self, session: Session) -> Batch | None:
        now = self._clock.now()
        at = known(session, self._to.tenant, self._to.name, lock=True)
        first = self._first(session, now)
        if first is None:
            return None
        same = self._due(now).where(job.c.study_uid == first.study_uid, job.c.priority == first.priority)
        same = same.order_by(job.c.try_at, job.c.id)
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
            after = self._after(one, problem, now, outcomes)
            mine = update(job).where(job.c.id == one.number, job.c.lease == batch.lease, job.c.state == "sending")
            session.execute(mine.values(**after))
        self._write(session, self._learned(at, outcomes, len(sent), now))
        if outcomes.answered and at.breaker.failures >= self._settings.breaker_failures:  # it is back
            again = update(job).where(*self._mine, job.c.state == "failed", job.c.problem.in_(OF_DESTINATION))
            session.execute(again.values(try_at=now, attempts=0))
        if sent:
            self._record(session, batch, "success", f"sent {len(sent)} to {self._words}")
        if failed:
            words = ", ".join(f"{count} {code}" for code, count in sorted(codes.items()))
            self._record(session, batch, "failure", f"not sent {len(failed)} to {self._words}: {words}")

    def _after(self, one: Wanted, problem: str, now: datetime, outcomes: Outcomes) -> dict[str, Any]:
        """Return how a job stands after a failure; what the destination or our own store fails at is given up by age alone."""
        own = problem not in OF_DESTINATION | OF_OURS
        failures = one.failures + own
        longest = _LONGEST_OURS_S if problem in OF_OURS else _LONGEST_S
        tries = failures if own else one.attempts
        pause = min(_FIRST_S * 2 ** min(tries - 1, 20), longest)
        again = now + timedelta(seconds=max(pause, outcomes.again_s.get(one.sop_instance_uid, 0.0)))
        waited = now - one.made_at > timedelta(hours=self._settings.give_up_h)
        over = words_of(problem).lasting or waited or failures >= self._settings.attempts
        state = "given-up" if over else "failed"
        return {"state": state, "problem": problem[:64], "try_at": again, "lease": "", "failures": failures}

    def _learned(self, at: Known, outcomes: Outcomes, sent: int, now: datetime) -> dict[str, Any]:
        """Return what is known of the destination after a batch."""
        if outcomes.down:
            breaker = at.breaker.failed(self._settings.breaker, now, outcomes.retry_after_s)
            found: dict[str, Any] = {"problem": outcomes.down[:64], "problem_at": now}
        elif outcomes.answered:
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


async def release_all(database: Database) -> None:
    """Free every claim at the start of the only process."""
    free = update(job).where(job.c.state == "sending").values(state="waiting", lease="", try_at=job.c.made_at)
    await database.transact(lambda session: session.execute(free))


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
        row.id, row.study_uid, row.series_uid, row.sop_instance_uid, row.size_bytes, row.attempts + 1, row.failures,
        utc(row.made_at),
    )  # fmt: skip


def _patient(session: Session, row: Any) -> str:
    asked = select(study.c.patient_id).where(study.c.tenant_id == row.tenant_id, study.c.study_uid == row.study_uid)
    return str(session.scalar(asked) or "")[:128]
