"""The outbox: an event is written in the transaction of the change it tells of, then relayed to the bus, in order, at least once.

A crash between commit and relay loses nothing: the relay starts with what is not yet published. ``seq`` is the row's number.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

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
    insert,
    select,
    text,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from consilium_core.events import Event, EventType
from consilium_core.ids import new_ulid
from consilium_platform.bus import EventBus
from consilium_platform.hot import Hot
from consilium_platform.sql import Database
from consilium_platform.tasks import end_task

log = structlog.get_logger()
metadata = MetaData()
outbox = Table(
    "outbox",
    metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("id", String(26), nullable=False, unique=True),
    Column("type", String(64), nullable=False),
    Column("tenant", String(64), nullable=False),
    Column("subject", String(128), nullable=False),
    Column("time", DateTime(timezone=True), nullable=False),
    Column("data", Text, nullable=False),
    Column("published_at", DateTime(timezone=True), nullable=True),
    Index(
        "outbox_unpublished",
        "seq",
        sqlite_where=text("published_at IS NULL"),
        postgresql_where=text("published_at IS NULL"),
    ),
)
_BATCH = 200
_MARK_AT = 1000
_ADVISORY_LOCK = 0x636F6E73  # one relay at a time per PostgreSQL database


async def add_event(
    session: AsyncSession, type_: EventType, *, tenant: str, subject: str, data: dict[str, Any]
) -> None:
    """Write one event into the caller's transaction; call ``OutboxRelay.wake`` after the commit."""
    await session.execute(insert(outbox), event_row(type_, tenant=tenant, subject=subject, data=data))


def event_row(type_: EventType, *, tenant: str, subject: str, data: dict[str, Any]) -> dict[str, Any]:
    """Return the outbox row of one event, for hot paths that insert several at once."""
    return {
        "id": new_ulid(), "type": type_.value, "tenant": tenant, "subject": subject, "time": datetime.now(UTC),
        "data": json.dumps(data),
    }  # fmt: skip


def add_rows(session: Session, rows: Sequence[dict[str, Any]]) -> None:
    """Write several rows of ``event_row`` into the caller's transaction; call ``OutboxRelay.wake`` after the commit."""
    _ADD.each(session, rows)


_ADD = Hot(insert(outbox), ["id", "type", "tenant", "subject", "time", "data"])
_WAITING = Hot(
    select(outbox)
    .where(outbox.c.published_at.is_(None), outbox.c.seq > bindparam("after"))
    .order_by(outbox.c.seq)
    .limit(bindparam("batch", type_=Integer))
)
_MARK = Hot(
    update(outbox)
    .where(outbox.c.seq == bindparam("of_seq"))
    .values(published_at=bindparam("at", type_=outbox.c.published_at.type))
)


class OutboxRelay:
    """Moves unpublished events to the bus; one task per process, woken by writers and every ``poll_s`` seconds.

    Between two rounds it rests ``rest_s``: events that come close together share a round, the first one after a pause goes at once.
    On SQLite, where it is the only relay, what was published is marked in groups when there is nothing more to publish.
    """

    def __init__(self, database: Database, bus: EventBus, *, poll_s: float = 1.0, rest_s: float = 0.03) -> None:
        self._database = database
        self._bus = bus
        self._poll_s = poll_s
        self._rest_s = rest_s
        self._wake = asyncio.Event()
        self._turn = asyncio.Lock()
        self._unmarked: list[int] = []  # published here, not yet marked: published again if the process dies now

    def wake(self) -> None:
        """Say that something may be waiting."""
        self._wake.set()

    async def run(self) -> None:
        """Relay until cancelled; an outage of bus or database is waited out."""
        while True:
            try:
                while await self._round(_BATCH) == _BATCH:
                    pass
                await asyncio.sleep(self._rest_s)
                if not self._wake.is_set():
                    await self._mark_published()
            except Exception as problem:
                log.warning("outbox_relay_failed", error=type(problem).__name__)
            try:
                async with asyncio.timeout(self._poll_s):
                    await self._wake.wait()
            except TimeoutError:
                continue
            finally:
                self._wake.clear()

    async def relay_once(self, batch: int = _BATCH) -> int:
        """Publish up to ``batch`` waiting events in order of seq and mark them; return how many."""
        count = await self._round(batch)
        await self._mark_published()
        return count

    async def _round(self, batch: int) -> int:
        if self._database.is_sqlite:
            return await self._round_alone(batch)
        return await self._round_among_others(batch)

    async def _round_alone(self, batch: int) -> int:
        """Publish what waits behind the last event that was published here: seqs are given out in the order of commits."""
        async with self._turn:
            after = self._unmarked[-1] if self._unmarked else 0
            rows = await self._database.query(partial(_waiting, batch=batch, after=after))
            for row in rows:
                await self._bus.publish(_event(row))
                self._unmarked.append(row.seq)
        if len(self._unmarked) >= _MARK_AT:
            await self._mark_published()
        return len(rows)

    async def _mark_published(self) -> None:
        """Mark what was published; a mark that is lost with the power only means that the event goes out once more."""
        async with self._turn:
            if self._unmarked:
                await self._database.transact(partial(_mark, seqs=self._unmarked), durable=False)
                self._unmarked = []

    async def _round_among_others(self, batch: int) -> int:
        """Publish and mark in one transaction, under the lock that all relays of this database share."""
        async with self._database.read() as session:
            waiting = (
                await session.execute(select(outbox.c.seq).where(outbox.c.published_at.is_(None)).limit(1))
            ).first()
        if waiting is None:
            return 0
        async with self._database.write() as session:
            got = await session.scalar(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
            if not got:
                return 0
            rows = await session.run_sync(partial(_waiting, batch=batch, after=0))
            for row in rows:
                await self._bus.publish(_event(row))
            if rows:
                await session.run_sync(partial(_mark, seqs=[row.seq for row in rows]))
            return len(rows)


def _waiting(session: Session, batch: int, after: int) -> list[Any]:
    return _WAITING.run(session, {"batch": batch, "after": after})


def _mark(session: Session, seqs: list[int]) -> None:
    at = datetime.now(UTC)
    _MARK.each(session, [{"of_seq": seq, "at": at} for seq in seqs])


def _event(row: Any) -> Event:
    at: datetime = row.time
    return Event(
        id=row.id,
        type=EventType(row.type),
        tenant=row.tenant,
        subject=row.subject,
        time=at if at.tzinfo else at.replace(tzinfo=UTC),
        data=json.loads(row.data),
        seq=row.seq,
    )


@asynccontextmanager
async def running_relay(database: Database, bus: EventBus) -> AsyncIterator[OutboxRelay]:
    """Run a relay for the length of the block."""
    relay = OutboxRelay(database, bus)
    task = asyncio.create_task(relay.run(), name="outbox-relay")
    try:
        yield relay
    finally:
        await end_task(task)
