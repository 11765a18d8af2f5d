"""The audit trail: every view of patient data and every refusal, in a hash chain per tenant (RFC 6962's idea, linear).

``record`` returns when the entry is durable. Entries are written by one task in groups, so that a burst of views costs one
commit. Each entry's hash covers its content and the previous entry's hash; ``verify`` names the first entry that does not fit.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

import structlog
from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    bindparam,
    func,
    insert,
    select,
    text,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from consilium_core.clock import iso
from consilium_core.errors import Exhausted, Unavailable
from consilium_core.roles import Principal
from consilium_platform.hot import Hot
from consilium_platform.sql import Database
from consilium_platform.tasks import end_task

log = structlog.get_logger()
Outcome = Literal["success", "denied", "failure"]
GENESIS = "0" * 64
metadata = MetaData()
audit_entry = Table(
    "audit_entry",
    metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("tenant", String(64), nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("time", DateTime(timezone=True), nullable=False),
    Column("actor", String(128), nullable=False),
    Column("role", String(32), nullable=False),
    Column("action", String(64), nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("subject", String(256), nullable=False),
    Column("patient_id", String(128), nullable=False),
    Column("detail", Text, nullable=False),
    Column("previous", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
    Index("audit_tenant_number", "tenant", "number", unique=True),
    Index("audit_actor", "tenant", "actor", "number"),
    Index("audit_patient", "tenant", "patient_id", "number"),
)


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One act: who did what to which subject, whose data it was, and how it ended. ``detail`` holds no secret."""

    tenant: str
    actor: str
    role: str
    action: str
    outcome: Outcome
    subject: str = ""
    patient_id: str = ""
    detail: str = ""
    time: datetime | None = None


@dataclass(frozen=True, slots=True)
class ChainState:
    """The result of a verification; ``first_bad_number`` is None when the chain is whole."""

    ok: bool
    entries: int
    first_bad_number: int | None


def entry_hash(number: int, at: datetime, record: AuditRecord, previous: str) -> str:
    """Return SHA-256 over the canonical JSON of the entry and the previous hash (hex)."""
    content = [number, iso(at), record.tenant, record.actor, record.role, record.action, record.outcome]
    content += [record.subject, record.patient_id, record.detail, previous]
    return hashlib.sha256(json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()).hexdigest()


Waiting = tuple[Sequence[AuditRecord], "asyncio.Future[None]"]
_DETAIL_CHARS = 8192
_TOGETHER = 256  # entries of a group, unless one caller brings more


def fitting(record: AuditRecord) -> AuditRecord:
    """Return the record as every database can hold it: no NUL, no lone surrogate, no text longer than its column."""
    held: dict[str, Any] = {}
    for name, most in _TEXTS:
        given = getattr(record, name)
        if not isinstance(given, str):
            continue  # the database refuses it: its writer is to hear of it
        if len(given) <= most and given.isascii() and "\0" not in given:
            continue
        kept = given.replace("\0", "").encode("utf-8", "replace").decode("utf-8")[:most]
        if kept != given:
            held[name] = kept
    return replace(record, **held) if held else record


_TEXTS = tuple(
    (name, getattr(audit_entry.c[name].type, "length", None) or _DETAIL_CHARS)
    for name in ("tenant", "actor", "role", "action", "outcome", "subject", "patient_id", "detail")
)
_NEWEST = Hot(
    select(audit_entry.c.number, audit_entry.c.hash)
    .where(audit_entry.c.tenant == bindparam("of_tenant"))
    .order_by(audit_entry.c.number.desc())
    .limit(1)
)
_ADD = Hot(insert(audit_entry), [column.name for column in audit_entry.c if column.name != "seq"])


class AuditLog:
    """Writes and reads the trail; open with ``open_audit``."""

    def __init__(self, database: Database, bound: int = 4096) -> None:
        self._database = database
        self._queue: asyncio.Queue[Waiting] = asyncio.Queue()
        self._queued, self._bound = 0, bound  # entries

    async def record(self, record: AuditRecord) -> None:
        """Return when the entry is durable; raise when the trail can't be written (then nothing may be shown)."""
        await self.record_all((record,))

    async def record_all(self, records: Sequence[AuditRecord]) -> None:
        """Record entries that belong together: queued at once, they share a commit; raise when one of them can't be written.

        At most ``bound`` entries wait, or one caller's: more are refused.
        """
        if not records:
            return
        if self._queued and self._queued + len(records) > self._bound:
            raise Exhausted("The audit trail is overloaded. Try again in a moment.", retry_after_s=1.0)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queued += len(records)
        self._queue.put_nowait((records, done))
        try:
            async with asyncio.timeout(15):
                await done
        except TimeoutError:
            raise Unavailable("The audit trail does not answer. Try again in a moment.") from None

    async def act(
        self,
        principal: Principal,
        action: str,
        outcome: Outcome = "success",
        *,
        subject: str = "",
        patient_id: str = "",
        detail: str = "",
    ) -> None:
        """Record an act of a verified principal."""
        await self.record(
            AuditRecord(
                principal.tenant,
                principal.subject,
                principal.role.value,
                action,
                outcome,
                subject,
                patient_id,
                detail,
            )
        )

    async def within(
        self,
        session: AsyncSession,
        principal: Principal,
        action: str,
        *,
        subject: str = "",
        patient_id: str = "",
        detail: str = "",
    ) -> None:
        """Record an act in the transaction that does it, as its last statement: act and entry are kept or lost together."""
        who = principal.tenant, principal.subject, principal.role.value
        await session.run_sync(self.append, [AuditRecord(*who, action, "success", subject, patient_id, detail)])

    async def run(self) -> None:
        """Write groups until cancelled."""
        while True:
            group = [await self._queue.get()]
            size = len(group[0][0])
            while size < _TOGETHER and not self._queue.empty():
                group.append(self._queue.get_nowait())
                size += len(group[-1][0])
            self._queued -= size
            await self._write(group)

    async def _write(self, group: list[Waiting]) -> None:
        """Write a group in one transaction; when it fails, each entry alone, so that one unfit entry fails nobody else's."""
        entries = [entry for records, _ in group for entry in records]
        failed = await self._written(entries)
        alone = (
            failed is not None and len(entries) > 1 and not isinstance(failed, Unavailable)
        )  # an outage fails all alike
        for records, done in group:
            found = [await self._written([entry]) for entry in records] if alone else [failed]
            problem = next((one for one in found if one is not None), None)
            if done.done():
                continue
            if problem is None:
                done.set_result(None)
            else:
                done.set_exception(problem)

    async def _written(self, entries: list[AuditRecord]) -> Exception | None:
        """Write entries in one transaction; return what went wrong."""
        try:
            await self._database.transact(lambda session: self.append(session, entries))
        except Exception as problem:
            log.error("audit_write_failed", error=type(problem).__name__, size=len(entries))  # noqa: TRY400 - the callers get the trace
            return problem
        return None

    def append(self, session: Session, records: Sequence[AuditRecord]) -> None:
        """Write entries into the caller's transaction, as its last statements: they hold the trail's lock until the commit."""
        fit = [fitting(record) for record in records]
        for tenant in sorted({record.tenant for record in fit}):
            self._append(session, [record for record in fit if record.tenant == tenant])

    def _append(self, session: Session, records: list[AuditRecord]) -> None:
        tenant = records[0].tenant
        if not self._database.is_sqlite:
            session.execute(text("SELECT pg_advisory_xact_lock(hashtext(:key))"), {"key": f"audit:{tenant}"})
        row = _NEWEST.first(session, {"of_tenant": tenant})
        number, previous = (row.number, row.hash) if row else (0, GENESIS)
        values: list[dict[str, Any]] = []
        for record in records:
            number += 1
            at = _milliseconds(record.time or datetime.now(UTC))
            digest = entry_hash(number, at, record, previous)
            values.append(
                {
                    "tenant": tenant,
                    "number": number,
                    "time": at,
                    "actor": record.actor,
                    "role": record.role,
                    "action": record.action,
                    "outcome": record.outcome,
                    "subject": record.subject,
                    "patient_id": record.patient_id,
                    "detail": record.detail,
                    "previous": previous,
                    "hash": digest,
                }
            )
            previous = digest
        _ADD.each(session, values)

    async def search(
        self,
        tenant: str,
        *,
        actor: str = "",
        action: str = "",
        patient_id: str = "",
        outcome: str = "",
        before: int | None = None,
        limit: int = 50,
    ) -> list[dict[str, Any]]:
        """Return entries newest first; ``before`` is the number to continue below."""
        query = select(audit_entry).where(audit_entry.c.tenant == tenant)
        wanted = {"actor": actor, "action": action, "patient_id": patient_id, "outcome": outcome}
        for column, value in wanted.items():
            if value:
                query = query.where(audit_entry.c[column] == value)
        if before is not None:
            query = query.where(audit_entry.c.number < before)
        async with self._database.read() as session:
            rows = (await session.execute(query.order_by(audit_entry.c.number.desc()).limit(limit))).mappings().all()
        return [dict(row) for row in rows]

    async def verify(self, tenant: str, page: int = 5000) -> ChainState:
        """Walk the whole chain of the tenant."""
        previous, expected = GENESIS, 1
        async with self._database.read() as session:
            mine = audit_entry.c.tenant == tenant
            counted = await session.execute(select(func.count(), func.max(audit_entry.c.number)).where(mine))
            total, newest = counted.one()  # what is written from now on is not looked at
            newest = newest or 0
            while True:
                rows = (
                    await session.execute(
                        select(audit_entry)
                        .where(mine, audit_entry.c.number >= expected, audit_entry.c.number <= newest)
                        .order_by(audit_entry.c.number)
                        .limit(page)
                    )
                ).all()
                for row in rows:
                    at = row.time if row.time.tzinfo else row.time.replace(tzinfo=UTC)
                    record = AuditRecord(
                        row.tenant,
                        row.actor,
                        row.role,
                        row.action,
                        row.outcome,
                        row.subject,
                        row.patient_id,
                        row.detail,
                    )
                    if (
                        row.number != expected
                        or row.previous != previous
                        or row.hash != entry_hash(row.number, at, record, previous)
                    ):
                        return ChainState(False, total, expected)
                    previous, expected = row.hash, expected + 1
                if len(rows) < page:
                    return ChainState(expected - 1 == total, total, None if expected - 1 == total else expected)


def _milliseconds(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(microsecond=at.microsecond // 1000 * 1000)


@asynccontextmanager
async def open_audit(database: Database) -> AsyncIterator[AuditLog]:
    """Run the writer for the length of the block."""
    trail = AuditLog(database)
    task = asyncio.create_task(trail.run(), name="audit-writer")
    try:
        yield trail
    finally:
        await end_task(task)
