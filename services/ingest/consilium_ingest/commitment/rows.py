"""Transactions in the database. Every request is kept, with its audit entry, in one transaction before it is answered.

JSON of long lists is read and written in threads: on PostgreSQL a transaction's work runs in the loop. What is due: ``queue``.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Literal

from sqlalchemy import CursorResult, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from consilium_archive.commitment import Reference, Verdict, refused
from consilium_archive.commitment_table import commitment
from consilium_core.clock import Clock, utc
from consilium_core.ids import new_ulid
from consilium_ingest.commitment import queue
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
        """Return the durable transaction of a request; the same request again is the same one, decided and reported anew.

        A verdict is never repeated: what was committed then may be damaged or removed since, and the sender deletes its copies by it.
        For ``lease_s`` seconds it is the caller's to decide and report. A Transaction UID that stands for another request raises
        TransactionInUse by DICOMweb and is kept as a duplicate, every instance failed, by DIMSE (PS3.3 C.14.1.1, 0131H).
        """
        fixed = await asyncio.to_thread(_fixed, requester, ask)
        work = partial(self._keep, requester=requester, ask=ask, fixed=fixed, lease_s=lease_s)
        try:
            row = await self.database.transact(work)
        except IntegrityError:  # another process has kept the same Transaction UID meanwhile: now it is seen
            row = await self.database.transact(work)
        return await asyncio.to_thread(transaction_of, row)

    def _keep(self, session: Session, requester: Requester, ask: Ask, fixed: dict[str, Any], lease_s: float) -> Any:
        now = self.clock.now()
        mine = (commitment.c.tenant_id == requester.tenant, commitment.c.transaction_uid == ask.transaction_uid)
        asked = select(commitment.c.id, commitment.c.duplicate, commitment.c.decided_at)
        known = session.execute(asked.where(*mine, commitment.c.digest == fixed["digest"])).first()
        try_at = now + timedelta(seconds=lease_s)
        if known is not None:
            again: dict[str, Any] = {"try_at": try_at}
            if known.decided_at is not None:
                again |= {"attempts": 0, "problem": "", "reported_at": None}
                again |= {"state": State.WAITING.value} if known.duplicate else _UNDECIDED
            session.execute(update(commitment).where(commitment.c.id == known.id).values(**again))
            row_id, words = known.id, "asked again"
        else:
            in_use = session.execute(select(commitment.c.id).where(*mine).limit(1)).first() is not None
            if in_use and requester.origin != "dimse":
                raise TransactionInUse("This Transaction UID stands for another request. Take another.")
            row_id = new_ulid()
            told = _in_use(ask, now) if in_use else _UNDECIDED | {"duplicate": False}
            since = {
                "id": row_id,
                "requested_at": now,
                "attempts": 0,
                "try_at": try_at,
                "problem": "",
                "reported_at": None,
            }
            session.execute(insert(commitment).values(**fixed, **told, **since))
            words = "transaction uid in use" if in_use else "asked"
        row = session.execute(select(commitment).where(commitment.c.id == row_id)).one()
        detail = f"{words}: {len(ask.references)} instances by {requester.origin}{_from(requester)}"
        who = requester.tenant, requester.name, requester.role
        self.audit.append(
            session, [AuditRecord(*who, "commitment.request", "success", ask.transaction_uid, detail=detail)]
        )
        return row

    async def get(self, tenant: str, transaction_uid: str, requested_by: str = "") -> Transaction:
        """Return the transaction of a UID, only if ``requested_by`` asked for it where that is given; raise TransactionNotFound."""
        asked = select(commitment).where(
            commitment.c.tenant_id == tenant, commitment.c.transaction_uid == transaction_uid, ~commitment.c.duplicate
        )
        row = await self.database.query(lambda session: session.execute(asked).first())
        if row is None or requested_by not in ("", row.requested_by):
            raise TransactionNotFound("There is no such storage commitment request.")
        return await asyncio.to_thread(transaction_of, row)

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

    async def claim_undecided(self, lease_s: float, limit: int) -> list[Transaction]:
        """Take up to ``limit`` transactions that are to be decided of; nobody else has them for ``lease_s`` seconds."""
        now = self.clock.now()
        rows = await self.database.transact(partial(queue.claim_undecided, now=now, lease_s=lease_s, limit=limit))
        return await asyncio.to_thread(lambda: [transaction_of(row) for row in rows])

    async def claim_report(self, lease_s: float, busy: Collection[queue.Peer]) -> Transaction | None:
        """Take a transaction whose report is due, of no peer that is ``busy``; nobody else has it for ``lease_s`` seconds."""
        now = self.clock.now()
        row = await self.database.transact(partial(queue.claim_report, now=now, lease_s=lease_s, busy=busy))
        return None if row is None else await asyncio.to_thread(transaction_of, row)

    async def put_off(self, peer: queue.Peer, problem: str) -> None:
        """Count a failed attempt for all reports that are due to a peer."""
        await self.database.transact(partial(queue.put_off, now=self.clock.now(), peer=peer, problem=problem))

    async def prune(self, retention_s: float, limit: int) -> int:
        """Forget up to ``limit`` transactions that ended and were decided longer ago; return how many."""
        before = self.clock.now() - timedelta(seconds=retention_s)
        return await self.database.transact(partial(queue.prune, before=before, limit=limit))

    async def release_all(self) -> None:
        """Make every open transaction due: for a start on SQLite, where no other process works on them."""
        due = update(commitment).where(commitment.c.state.in_(OPEN)).values(try_at=self.clock.now())
        await self.database.transact(lambda session: session.execute(due) and None)

    async def decide(self, known: Transaction, verdicts: Sequence[Verdict], *, release: bool = False) -> Transaction:
        """Write what was decided, once: who comes second gets the first one's verdicts. ``release``: its report is due at once."""
        now = self.clock.now()
        after = State.WAITING if known.requester.origin == "dimse" else State.DONE
        values = {
            "verdicts": await asyncio.to_thread(_json, verdicts), "decided_at": now,
            "committed": sum(verdict.committed for verdict in verdicts), "state": after.value, "problem": "",
        }  # fmt: skip
        if release:
            values |= {"try_at": now, "attempts": 0}
        row = await self.database.transact(partial(self._decide, known=known, values=values, of=len(verdicts)))
        return await asyncio.to_thread(transaction_of, row)

    def _decide(self, session: Session, known: Transaction, values: dict[str, Any], of: int) -> Any:
        undecided = (commitment.c.id == known.id, commitment.c.verdicts.is_(None))
        changed = session.execute(update(commitment).where(*undecided).values(**values))
        row = session.execute(select(commitment).where(commitment.c.id == known.id)).one()
        if isinstance(changed, CursorResult) and changed.rowcount:
            self._trace(session, known, "commitment.decide", "success", f"{values['committed']} of {of} committed")
        return row

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
        waiting = (
            commitment.c.id == known.id, commitment.c.state == State.WAITING.value,
            commitment.c.decided_at == known.decided_at,  # not what was asked again and decided anew meanwhile
        )  # fmt: skip
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


_UNDECIDED: dict[str, Any] = {
    "state": State.RECEIVED.value, "verdicts": None, "committed": None, "decided_at": None,
}  # fmt: skip


def _fixed(requester: Requester, ask: Ask) -> dict[str, Any]:
    """Return what a request says, which never changes."""
    return {
        "tenant_id": requester.tenant, "transaction_uid": ask.transaction_uid, "digest": ask.digest(requester),
        "origin": requester.origin, "requested_by": requester.name, "role": requester.role,
        "address": requester.address, "called": requester.called, "instances": len(ask.references),
        "asked": json.dumps([[one.sop_class_uid, one.sop_instance_uid] for one in ask.references]),
    }  # fmt: skip


def _in_use(ask: Ask, now: datetime) -> dict[str, Any]:
    verdicts = _json(refused(ask.references, "transaction-in-use"))
    return {"duplicate": True, "state": State.WAITING.value, "verdicts": verdicts, "committed": 0, "decided_at": now}


def _json(verdicts: Sequence[Verdict]) -> str:
    return json.dumps([verdict.wire() for verdict in verdicts])


_LISTED = (
    "id", "transaction_uid", "origin", "requested_by", "address", "requested_at", "decided_at", "state", "duplicate",
    "instances", "committed", "attempts", "problem", "reported_at",
)  # fmt: skip


def _summary(row: Any) -> Summary:
    facts = {name: getattr(row, name) for name in _LISTED}
    times = ("requested_at", "decided_at", "reported_at")
    return Summary(**facts | {name: utc(facts[name]) if facts[name] else None for name in times})


def transaction_of(row: Any) -> Transaction:
    """Return the transaction of a row."""
    references = tuple(Reference(*pair) for pair in json.loads(row.asked))
    verdicts = None if row.verdicts is None else tuple(Verdict(**facts) for facts in json.loads(row.verdicts))
    requester = Requester(row.tenant_id, row.requested_by, row.role, row.origin, row.address, row.called)
    return Transaction(
        row.id, Ask(row.transaction_uid, references), requester, bool(row.duplicate), utc(row.requested_at), verdicts,
        utc(row.decided_at) if row.decided_at else None, State(row.state), row.attempts, row.problem,
        utc(row.reported_at) if row.reported_at else None,
    )  # fmt: skip
