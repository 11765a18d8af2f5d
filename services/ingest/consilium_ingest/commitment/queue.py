"""What is due: questions to decide, and reports of which each peer has one at a time. Statements on small columns, within a transaction.

Work on a row is claimed by counting its attempts up and moving ``try_at`` into the future: a process that dies leaves it to the next.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import CursorResult, and_, bindparam, delete, not_, select, update
from sqlalchemy.orm import Session

from consilium_archive.commitment_table import commitment
from consilium_ingest.commitment.pauses import pause_s
from consilium_ingest.commitment.transactions import State

Peer = tuple[str, str]  # tenant and AE title
ENDED = (State.DONE.value, State.GIVEN_UP.value)
_AGAIN = 8  # rows that another process took meanwhile are passed over that often


def claim_undecided(session: Session, now: datetime, lease_s: float, limit: int) -> list[Any]:
    """Take up to ``limit`` rows that are to be decided of."""
    return _claimed(session, _due(State.RECEIVED, now).limit(limit), now, lease_s)


def claim_report(session: Session, now: datetime, lease_s: float, busy: Collection[Peer]) -> Any | None:
    """Take the report that is due for the longest time and whose peer is not ``busy``; return its row, or None."""
    due = _due(State.WAITING, now).limit(1)
    for tenant, title in busy:
        due = due.where(not_(_peer(tenant, title)))
    for _ in range(_AGAIN):
        if session.execute(due).first() is None:
            return None
        if claimed := _claimed(session, due, now, lease_s):
            return claimed[0]
    return None


def _due(state: State, now: datetime) -> Any:
    asked = select(commitment.c.id, commitment.c.attempts, commitment.c.state)
    mine = commitment.c.state == state.value, commitment.c.try_at <= now
    return asked.where(*mine).order_by(commitment.c.try_at, commitment.c.id)


def _peer(tenant: str, title: str) -> Any:
    return and_(commitment.c.tenant_id == tenant, commitment.c.requested_by == title)


def _claimed(session: Session, due: Any, now: datetime, lease_s: float) -> list[Any]:
    taken = []
    for row in session.execute(due).all():
        mine = (commitment.c.id == row.id, commitment.c.attempts == row.attempts, commitment.c.state == row.state)
        values = {"attempts": row.attempts + 1, "try_at": now + timedelta(seconds=lease_s)}
        changed = session.execute(update(commitment).where(*mine).values(**values))
        if isinstance(changed, CursorResult) and changed.rowcount:
            taken.append(row.id)
    return [session.execute(select(commitment).where(commitment.c.id == row_id)).one() for row_id in taken]


def put_off(session: Session, now: datetime, peer: Peer, problem: str) -> None:
    """Count a failed attempt for every report that is due to a peer: what kept one away keeps them all away, each waits its own pause."""
    asked = select(commitment.c.id, commitment.c.attempts).where(
        _peer(*peer), commitment.c.state == State.WAITING.value, commitment.c.try_at <= now
    )
    waits = [
        {
            "row_id": row.id,
            "before": row.attempts,
            "tries": row.attempts + 1,
            "at": now + timedelta(seconds=pause_s(row.attempts + 1, problem)),
        }
        for row in session.execute(asked)
    ]
    if not waits:
        return
    mine = commitment.c.id == bindparam("row_id"), commitment.c.attempts == bindparam("before")
    change = update(commitment).where(*mine, commitment.c.state == State.WAITING.value)
    values = {"attempts": bindparam("tries"), "try_at": bindparam("at"), "problem": problem}
    session.connection().execute(change.values(**values), waits)


def prune(session: Session, before: datetime, limit: int) -> int:
    """Forget up to ``limit`` transactions that were decided of before that time and reported, or given up; return how many."""
    old = select(commitment.c.id).where(commitment.c.decided_at < before, commitment.c.state.in_(ENDED))
    ids: Sequence[str] = session.scalars(old.order_by(commitment.c.decided_at).limit(limit)).all()
    session.execute(delete(commitment).where(commitment.c.id.in_(ids), commitment.c.state.in_(ENDED)))
    return len(ids)
