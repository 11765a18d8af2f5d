"""Transactions in the database. Every request is kept, with its audit entry, in one transaction before it is answered.

Work on a row is claimed by counting its attempts up and moving ``try_at`` into the future: a process that dies leaves it to the next.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Literal

from sqlalchemy import CursorResult, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from consilium_archive.commitment import Reference, Verdict, refused
from consilium_archive.commitment_table import commitment
from consilium_core.clock import Clock
from consilium_core.ids import new_ulid
from consilium_ingest.commitment.errors import TransactionInUse, TransactionNotFound
from consilium_ingest.commitment.transactions import Ask, Requester, State, Summary, Transaction
from consilium_platform.audit import AuditLog, AuditRecord
from consilium_platform.sql import Database

OPEN = (State.RECEIVED.value, State.WAITING.value)


@dataclass(frozen=True, slots=True)
class CommitmentRows:
    """The table of transactions."""

    database: Database
    audit: AuditLog
    clock: Clock

    async def keep(self, requester: Requester, ask: Ask, lease_s: float) -> Transaction:
        """Return the durable transaction of a request; the same request again is the same one, its report goes out again.

        For ``lease_s`` seconds it is the caller's to decide and report. A Transaction UID that stands for another request raises
        TransactionInUse by DICOMweb and is kept as a duplicate, every instance failed, by DIMSE (PS3.3 C.14.1.1, 0131H).
        """
        work = partial(self._keep, requester=requester, ask=ask, lease_s=lease_s)
        try:
            return await self.database.transact(work)
        except IntegrityError:  # another process has kept the same Transaction UID meanwhile: now it is seen
            return await self.database.transact(work)

    def _keep(self, session: Session, requester: Requester, ask: Ask, lease_s: float) -> Transaction:
        now = self.clock.now()
        mine = (commitment.c.tenant_id == requester.tenant, commitment.c.transaction_uid == ask.transaction_uid)
        digest = ask.digest(requester)
        known = session.execute(select(commitment).where(*mine, commitment.c.digest == digest)).first()
        try_at = now + timedelta(seconds=lease_s)
        if known is not None:
            again: dict[str, Any] = {"try_at": try_at}
            if requester.origin == "dimse" and known.verdicts is not None:
                again |= {"state": State.WAITING.value, "attempts": 0, "problem": "", "reported_at": None}
            session.execute(update(commitment).where(commitment.c.id == known.id).values(**again))
            row_id, words = known.id, "asked again"
        else:
            in_use = session.execute(select(commitment.c.id).where(*mine).limit(1)).first() is not None
            if in_use and requester.origin != "dimse":
                raise TransactionInUse("This Transaction UID stands for another request. Take another.")
            row_id = new_ulid()
            session.execute(insert(commitment).values(_new(row_id, requester, ask, digest, in_use, now, try_at)))
            words = "transaction uid in use" if in_use else "asked"
        row = session.execute(select(commitment).where(commitment.c.id == row_id)).one()
        detail = f"{words}: {len(ask.references)} instances by {requester.origin}{_from(requester)}"
        who = requester.tenant, requester.name, requester.role
        self.audit.append(
            session, [AuditRecord(*who, "commitment.request", "success", ask.transaction_uid, detail=detail)]
        )
        return transaction_of(row)

    async def get(self, tenant: str, transaction_uid: str, requested_by: str = "") -> Transaction:
        """Return the transaction of a UID, only if ``requested_by`` asked for it where that is given; raise TransactionNotFound."""
        asked = select(commitment).where(
            commitment.c.tenant_id == tenant, commitment.c.transaction_uid == transaction_uid, ~commitment.c.duplicate
        )
        row = await self.database.query(lambda session: session.execute(asked).first())
        if row is None or requested_by not in ("", row.requested_by):
            raise TransactionNotFound("There is no such storage commitment request.")
        return transaction_of(row)

    async def page(self, tenant: str, state: str, cursor: str, limit: int) -> tuple[list[Summary], str | None]:
        """Return transactions newest first, of one state or (empty) of all, and the cursor of the next page; their lists are not read."""
        asked = select(*(commitment.c[name] for name in _LISTED)).where(commitment.c.tenant_id == tenant)
        if state:
            asked = asked.where(commitment.c.state == state)
        if cursor:
            asked = asked.where(commitment.c.id < cursor)
        asked = asked.order_by(commitment.c.id.desc()).limit(limit + 1)
        rows = await self.database.query(lambda session: session.execute(asked).all())
        return [_summary(row) for row in rows[:limit]], rows[limit - 1].id if len(rows) > limit else None

    async def claim(self, lease_s: float, limit: int) -> list[Transaction]:
        """Take up to ``limit`` transactions whose time has come; nobody else has them for ``lease_s`` seconds."""
        return await self.database.transact(partial(_claim, now=self.clock.now(), lease_s=lease_s, limit=limit))

    async def release_all(self) -> None:
        """Make every open transaction due: for a start on SQLite, where no other process works on them."""
        due = update(commitment).where(commitment.c.state.in_(OPEN)).values(try_at=self.clock.now())
        await self.database.transact(lambda session: session.execute(due) and None)

    async def decide(self, known: Transaction, verdicts: Sequence[Verdict]) -> Transaction:
        """Write what was decided, once: who comes second gets the first one's verdicts."""
        return await self.database.transact(partial(self._decide, known=known, verdicts=verdicts))

    def _decide(self, session: Session, known: Transaction, verdicts: Sequence[Verdict]) -> Transaction:
        after = State.WAITING if known.requester.origin == "dimse" else State.DONE
        values = {
            "verdicts": json.dumps([verdict.wire() for verdict in verdicts]), "decided_at": self.clock.now(),
            "committed": sum(verdict.committed for verdict in verdicts), "state": after.value, "problem": "",
        }  # fmt: skip
        undecided = (commitment.c.id == known.id, commitment.c.verdicts.is_(None))
        changed = session.execute(update(commitment).where(*undecided).values(**values))
        row = session.execute(select(commitment).where(commitment.c.id == known.id)).one()
        if isinstance(changed, CursorResult) and changed.rowcount:
            kept = sum(verdict.committed for verdict in verdicts)
            self._trace(session, known, "commitment.decide", "success", f"{kept} of {len(verdicts)} committed")
        return transaction_of(row)

    async def reported(self, known: Transaction, how: str) -> None:
        """Write that the requester has confirmed the report."""
        values = {"state": State.DONE.value, "reported_at": self.clock.now(), "problem": ""}
        await self.database.transact(partial(self._ended, known=known, values=values, outcome="success", detail=how))

    async def give_up(self, known: Transaction, problem: str) -> None:
        """Write that the report will not be tried again: it stands in the list of transactions and in the trail."""
        values = {"state": State.GIVEN_UP.value, "problem": problem}
        detail = f"given up after {known.attempts} attempts: {problem}"
        await self.database.transact(partial(self._ended, known=known, values=values, outcome="failure", detail=detail))

    def _ended(
        self, session: Session, known: Transaction, values: dict[str, Any],
        outcome: Literal["success", "failure"], detail: str,
    ) -> None:  # fmt: skip
        waiting = (commitment.c.id == known.id, commitment.c.state == State.WAITING.value)
        changed = session.execute(update(commitment).where(*waiting).values(**values))
        if isinstance(changed, CursorResult) and changed.rowcount:
            self._trace(session, known, "commitment.report", outcome, detail)

    async def postpone(self, known: Transaction, wait_s: float, problem: str) -> None:
        """Leave the transaction for ``wait_s`` seconds; any process takes it up then."""
        values = {"try_at": self.clock.now() + timedelta(seconds=wait_s), "problem": problem}
        change = update(commitment).where(commitment.c.id == known.id, commitment.c.state.in_(OPEN)).values(**values)
        await self.database.transact(lambda session: session.execute(change) and None)

    def _trace(
        self, session: Session, known: Transaction, action: str, outcome: Literal["success", "failure"], detail: str
    ) -> None:
        who = known.requester.tenant, known.requester.name, known.requester.role
        entry = AuditRecord(*who, action, outcome, known.ask.transaction_uid, detail=detail)
        self.audit.append(session, [entry])


def _from(requester: Requester) -> str:
    return f" from {requester.address} to {requester.called}" if requester.address else ""


def _new(
    row_id: str, requester: Requester, ask: Ask, digest: str, duplicate: bool, now: datetime, try_at: datetime
) -> dict[str, Any]:
    verdicts = [one.wire() for one in refused(ask.references, "transaction-in-use")] if duplicate else None
    return {
        "id": row_id, "tenant_id": requester.tenant, "transaction_uid": ask.transaction_uid, "digest": digest,
        "duplicate": duplicate, "origin": requester.origin, "requested_by": requester.name, "role": requester.role,
        "address": requester.address, "called": requester.called, "requested_at": now,
        "instances": len(ask.references), "committed": 0 if duplicate else None,
        "asked": json.dumps([[one.sop_class_uid, one.sop_instance_uid] for one in ask.references]),
        "verdicts": json.dumps(verdicts) if verdicts is not None else None, "decided_at": now if duplicate else None,
        "state": (State.WAITING if duplicate else State.RECEIVED).value, "attempts": 0, "try_at": try_at, "problem": "",
        "reported_at": None,
    }  # fmt: skip


def _claim(session: Session, now: datetime, lease_s: float, limit: int) -> list[Transaction]:
    due = (
        select(commitment)
        .where(commitment.c.state.in_(OPEN), commitment.c.try_at <= now)
        .order_by(commitment.c.try_at)
        .limit(limit)
    )
    claimed = []
    for row in session.execute(due).all():
        mine = (commitment.c.id == row.id, commitment.c.attempts == row.attempts, commitment.c.state == row.state)
        values = {"attempts": row.attempts + 1, "try_at": now + timedelta(seconds=lease_s)}
        changed = session.execute(update(commitment).where(*mine).values(**values))
        if isinstance(changed, CursorResult) and changed.rowcount:
            claimed.append(transaction_of(session.execute(select(commitment).where(commitment.c.id == row.id)).one()))
    return claimed


_LISTED = (
    "id", "transaction_uid", "origin", "requested_by", "address", "requested_at", "decided_at", "state", "duplicate",
    "instances", "committed", "attempts", "problem", "reported_at",
)  # fmt: skip


def _summary(row: Any) -> Summary:
    facts = {name: getattr(row, name) for name in _LISTED}
    times = ("requested_at", "decided_at", "reported_at")
    return Summary(**facts | {name: _utc(facts[name]) if facts[name] else None for name in times})


def transaction_of(row: Any) -> Transaction:
    """Return the transaction of a row."""
    references = tuple(Reference(*pair) for pair in json.loads(row.asked))
    verdicts = None if row.verdicts is None else tuple(Verdict(**facts) for facts in json.loads(row.verdicts))
    requester = Requester(row.tenant_id, row.requested_by, row.role, row.origin, row.address, row.called)
    return Transaction(
        row.id, Ask(row.transaction_uid, references), requester, bool(row.duplicate), _utc(row.requested_at), verdicts,
        _utc(row.decided_at) if row.decided_at else None, State(row.state), row.attempts, row.problem,
        _utc(row.reported_at) if row.reported_at else None,
    )  # fmt: skip


def _utc(at: datetime) -> datetime:
    return at if at.tzinfo else at.replace(tzinfo=UTC)
