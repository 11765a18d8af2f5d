"""Why a study is not there: its jobs as they stand, and for what has none the first condition of each rule that kept it back.

What a rule says of an instance is worked out anew from the index, not remembered: it names what holds now.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from consilium_archive.errors import NotArchived
from consilium_archive.quarantine import HELD
from consilium_archive.quarantine_table import quarantine
from consilium_archive.storage_tables import mark
from consilium_archive.tables import instance, study
from consilium_core.clock import Clock
from consilium_core.roles import Principal
from consilium_ingest.routing.errors import NothingToRetry
from consilium_ingest.routing.evaluate import MARK, Destinations, verdict
from consilium_ingest.routing.facts import Seen, page
from consilium_ingest.routing.places import open_now
from consilium_ingest.routing.rows import Rule, rules_of
from consilium_ingest.routing.tables import job
from consilium_platform.audit import AuditLog, AuditRecord
from consilium_platform.sql import Database

MOST_INSTANCES = 5000
_JOBS = 200


@dataclass(slots=True)
class RuleTrace:
    """What one rule says of the study's instances: how many it sends, and how many each reason keeps back."""

    rule: Rule
    matched: int = 0
    missed: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Standing:
    """Jobs of one destination in one state with one problem."""

    destination: str
    state: str
    problem: str
    instances: int
    try_at: datetime | None
    sent_at: datetime | None


@dataclass(frozen=True, slots=True)
class Trace:
    """All of it; ``jobs``: a page of them; ``held``: objects of it in quarantine; ``complete``: all were looked at."""

    study_uid: str
    patient_id: str
    held: int
    instances: int
    standings: list[Standing]
    rules: list[RuleTrace]
    jobs: list[Any]
    next_cursor: str | None
    complete: bool


async def trace(database: Database, tenant: str, study_uid: str, destinations: Destinations, cursor: int) -> Trace:
    """Return how the study stands; raise NotArchived."""
    patient_id, held, instances, standings, jobs = await database.query(
        partial(_standing, tenant=tenant, study_uid=study_uid, cursor=cursor)
    )
    material = await database.query(partial(_material, tenant=tenant, study_uid=study_uid))
    traces = await asyncio.to_thread(_judged, material, destinations)
    following = str(jobs[_JOBS - 1].id) if len(jobs) > _JOBS else None
    complete = instances <= MOST_INSTANCES
    return Trace(study_uid, patient_id, held, instances, standings, traces, jobs[:_JOBS], following, complete)


async def retry(
    database: Database, audit: AuditLog, clock: Clock, who: Principal, study_uid: str, destination: str
) -> int:
    """Try again at once what failed, waits or was given up of a study (of one ``destination`` if that is named); return how many jobs.

    Its destinations are tried although they are shut. Raise NotArchived or NothingToRetry.
    """
    now = clock.now()

    def work(session: Session) -> int:
        patient_id = _patient(session, who.tenant, study_uid)
        mine = [job.c.tenant_id == who.tenant, job.c.study_uid == study_uid]
        mine += [job.c.destination == destination] if destination else []
        mine.append(job.c.state.in_(("failed", "waiting", "given-up")))
        for name in sorted(session.scalars(select(job.c.destination).where(*mine).distinct())):
            open_now(session, who.tenant, name, now)  # before the jobs, as a claim does: neither waits for the other
        again = update(job).where(*mine)
        again = again.values(state="waiting", attempts=0, failures=0, try_at=now, made_at=now, problem="", lease="")
        names = session.scalars(again.returning(job.c.destination)).all()
        if not names:
            raise NothingToRetry("No instance of this study waits for a destination or was given up.")
        detail = ", ".join(f"{count} to {name}" for name, count in sorted(Counter(names).items()))
        actor = who.tenant, who.subject, who.role.value
        audit.append(session, [AuditRecord(*actor, "routing.retry", "success", study_uid, patient_id, detail)])
        return len(names)

    return await database.transact(work)


def _patient(session: Session, tenant: str, study_uid: str) -> str:
    asked = select(study.c.patient_id).where(study.c.tenant_id == tenant, study.c.study_uid == study_uid)
    row = session.execute(asked).first()
    if row is None:
        waiting = _held(session, tenant, study_uid)
        also = f"; {waiting} objects of it wait in quarantine" if waiting else ""
        raise NotArchived(f"There is no such study{also}.", held=waiting)
    return str(row.patient_id)[:128]


def _held(session: Session, tenant: str, study_uid: str) -> int:
    mine = (quarantine.c.tenant_id == tenant, quarantine.c.study_uid == study_uid, quarantine.c.state == HELD)
    return session.scalar(select(func.count()).select_from(quarantine).where(*mine)) or 0


def _standing(
    session: Session, tenant: str, study_uid: str, cursor: int
) -> tuple[str, int, int, list[Standing], list[Any]]:
    patient_id = _patient(session, tenant, study_uid)
    stored = select(func.count()).where(instance.c.tenant_id == tenant, instance.c.study_uid == study_uid)
    mine = (job.c.tenant_id == tenant, job.c.study_uid == study_uid)
    named = (job.c.destination, job.c.state, job.c.problem)
    sums = select(*named, func.count(), func.min(job.c.try_at), func.max(job.c.sent_at)).where(*mine)
    rows = session.execute(sums.group_by(*named).order_by(*named)).all()
    listed = select(job).where(*mine, job.c.id > cursor).order_by(job.c.id).limit(_JOBS + 1)
    jobs = list(session.execute(listed).all())
    held = _held(session, tenant, study_uid)
    return patient_id, held, session.scalar(stored) or 0, [Standing(*row) for row in rows], jobs


@dataclass(frozen=True, slots=True)
class _Material:
    """The study's instances, the tenant's rules, which (destination, instance) have a job, and up to where all was looked at."""

    seen: list[Seen]
    rules: list[Rule]
    there: set[tuple[str, str]]
    mark: int


def _material(session: Session, tenant: str, study_uid: str) -> _Material:
    rules = rules_of(session, tenant)
    metadata = any(rule.wish.conditions.asks_metadata for rule in rules)
    mine = (instance.c.tenant_id == tenant, instance.c.study_uid == study_uid)
    seen = page(session, mine, MOST_INSTANCES, metadata=metadata) if rules else []
    asked = select(job.c.destination, job.c.sop_instance_uid).where(
        job.c.tenant_id == tenant, job.c.study_uid == study_uid
    )
    there = {(row.destination, row.sop_instance_uid) for row in session.execute(asked).all()}
    return _Material(seen, rules, there, session.scalar(select(mark.c.value).where(mark.c.name == MARK)) or 0)


def _judged(material: _Material, destinations: Destinations) -> list[RuleTrace]:
    found = [RuleTrace(rule) for rule in material.rules]
    for one in material.seen:
        facts = one.facts()
        for trace_ in found:
            why = verdict(trace_.rule, one, facts, destinations)
            if not why and (trace_.rule.wish.destination, one.row.sop_instance_uid) not in material.there:
                why = "looked-at-otherwise" if one.number <= material.mark else "not-looked-at-yet"
            if why:
                trace_.missed[why] += 1
            else:
                trace_.matched += 1
    return found
