"""What all processes know of a destination: one row each, with its breaker, last problem and measured bandwidth; and what waits for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from consilium_core.clock import utc
from consilium_ingest.routing.breaker import Breaker
from consilium_ingest.routing.tables import IS_UNFINISHED, job, place
from consilium_platform.sql import upsert


@dataclass(frozen=True, slots=True)
class Known:
    """One destination as it stands."""

    breaker: Breaker = field(default_factory=Breaker)
    problem: str = ""
    problem_at: datetime | None = None
    bytes_per_s: float | None = None
    measured_at: datetime | None = None
    sent_instances: int = 0
    sent_bytes: int = 0


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


def backlog(session: Session, tenant: str, name: str) -> dict[str, tuple[int, int]]:
    """Return (instances, bytes) of each state that is not done."""
    sums = (job.c.state, func.count(), func.sum(job.c.size_bytes))
    asked = select(*sums).where(job.c.tenant_id == tenant, job.c.destination == name, IS_UNFINISHED)
    return {state: (count, int(size or 0)) for state, count, size in session.execute(asked.group_by(job.c.state)).all()}
