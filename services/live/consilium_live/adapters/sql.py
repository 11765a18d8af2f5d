"""Rooms and captures in SQL: one change and its event in one transaction, then the outbox is woken."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime

from sqlalchemy import ColumnElement, and_, case, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from consilium_core.events import EventType
from consilium_live.adapters.tables import as_utc, capture_of, capture_row, live_capture, live_room, room_of, room_row
from consilium_live.domain.capture import Capture, CaptureState
from consilium_live.domain.room import Room, RoomState
from consilium_live.errors import RoomNotFound
from consilium_live.flow.consultations import OVER
from consilium_live.flow.follow import ending_of
from consilium_live.flow.ports import GivenUp, Over, RoomFacts, Stored
from consilium_platform.outbox import OutboxRelay, add_event, outbox
from consilium_platform.sql import Database

_REQUESTED = live_capture.c.state == CaptureState.REQUESTED.value


class SqlRoomStore:
    """``flow.ports.RoomStore`` on SQLite or PostgreSQL."""

    def __init__(self, database: Database, relay: OutboxRelay) -> None:
        self._database = database
        self._relay = relay

    async def create(self, room: Room, facts: RoomFacts) -> Room:
        """Insert, or return the room that holds the id or the consultation already."""
        try:
            return await self._create(room, facts)
        except IntegrityError:  # somebody was quicker between our look and our insert: theirs is found now
            return await self._create(room, facts)

    async def _create(self, room: Room, facts: RoomFacts) -> Room:
        async with self._database.write() as session:
            same = live_room.c.id == room.id
            if room.consultation_id is not None:
                same = or_(
                    same,
                    and_(live_room.c.tenant == room.tenant, live_room.c.consultation_id == room.consultation_id),
                )
            found = (await session.execute(select(live_room).where(same).limit(1))).mappings().first()
            if found is not None:
                known = room_of(found)
                if known.tenant != room.tenant:
                    raise RoomNotFound("There is no such room.")
                return known
            await session.execute(insert(live_room).values(room_row(room)))
            await _tell(session, room, facts)
        self._relay.wake()
        return room

    async def room(self, room_id: str, tenant: str | None = None) -> Room:
        """Return a room, or raise RoomNotFound; another tenant's room is not found."""
        async with self._database.read() as session:
            return await _load(session, room_id, tenant)

    async def rooms(self, tenant: str, *, before: str | None, limit: int) -> list[Room]:
        """Return the tenant's rooms: those that can still be entered first, then newest first."""
        ended = case((live_room.c.state == RoomState.ENDED.value, 1), else_=0)
        query = select(live_room).where(live_room.c.tenant == tenant)
        async with self._database.read() as session:
            if before is not None:
                edge = await _load(session, before, tenant)
                over = int(edge.state is RoomState.ENDED)
                older = or_(
                    live_room.c.created_at < edge.created_at,
                    and_(live_room.c.created_at == edge.created_at, live_room.c.id < edge.id),
                )
                query = query.where(or_(ended > over, and_(ended == over, older)))
            ordered = query.order_by(ended, live_room.c.created_at.desc(), live_room.c.id.desc()).limit(limit)
            return [room_of(row) for row in (await session.execute(ordered)).mappings()]

    async def change(self, room_id: str, change: Callable[[Room], Room], facts: RoomFacts) -> Room:
        """Apply ``change`` to the newest row; write and announce only what differs."""
        async with self._database.write() as session:
            before = await _load(session, room_id, None, lock=not self._database.is_sqlite)
            after = change(before)
            if after == before:
                return before
            await session.execute(update(live_room).where(live_room.c.id == room_id).values(room_row(after)))
            await _tell(session, after, facts)
        self._relay.wake()
        return after

    async def announce(self, room_id: str, facts: RoomFacts) -> None:
        """Announce room.changed as it is now."""
        async with self._database.write() as session:
            await _tell(session, await _load(session, room_id, None), facts)
        self._relay.wake()

    async def add_capture(self, capture: Capture) -> None:
        """Insert a capture and announce it."""
        async with self._database.write() as session:
            await session.execute(insert(live_capture).values(capture_row(capture)))
            await _tell_capture(session, capture)
        self._relay.wake()

    async def change_capture(self, capture_id: str, change: Callable[[Capture], Capture]) -> Capture | None:
        """Apply ``change``; announce when the state differs."""
        async with self._database.write() as session:
            query = select(live_capture).where(live_capture.c.id == capture_id)
            if not self._database.is_sqlite:
                query = query.with_for_update()
            row = (await session.execute(query)).mappings().first()
            if row is None:
                return None
            before = capture_of(row)
            after = change(before)
            if after == before:
                return after
            await session.execute(
                update(live_capture).where(live_capture.c.id == capture_id).values(capture_row(after))
            )
            if after.state is not before.state:
                await _tell_capture(session, after)
        self._relay.wake()
        return after

    async def captures(self, room_id: str) -> list[Capture]:
        """Return a room's captures, oldest first (the newest 500)."""
        query = select(live_capture).where(live_capture.c.room_id == room_id)
        newest = query.order_by(live_capture.c.requested_at.desc(), live_capture.c.id.desc()).limit(500)
        async with self._database.read() as session:
            return [capture_of(row) for row in (await session.execute(newest)).mappings()][::-1]

    async def capture(self, capture_id: str) -> Capture | None:
        """Return a capture, or None."""
        async with self._database.read() as session:
            query = select(live_capture).where(live_capture.c.id == capture_id)
            row = (await session.execute(query)).mappings().first()
        return None if row is None else capture_of(row)

    async def ordered_captures(self) -> list[Capture]:
        """Return captures whose command has not ended; each ends at its deadline, so that none keeps its place for ever."""
        return await self._captures(1000, live_capture.c.settled.is_(False))

    async def overdue_captures(self, before: datetime) -> list[Capture]:
        """Return captures that the site made but that have not arrived, asked for before ``before``."""
        return await self._captures(500, live_capture.c.settled.is_(True), live_capture.c.requested_at < before)

    async def _captures(self, limit: int, *where: ColumnElement[bool]) -> list[Capture]:
        query = select(live_capture).where(_REQUESTED, *where).order_by(live_capture.c.requested_at).limit(limit)
        async with self._database.read() as session:
            return [capture_of(row) for row in (await session.execute(query)).mappings()]

    async def oldest_request(self) -> datetime | None:
        """Return when the oldest capture was asked for whose end may still come."""
        async with self._database.read() as session:
            return as_utc(await session.scalar(select(func.min(live_capture.c.requested_at)).where(_REQUESTED)))

    async def awaited_instance(self, tenant: str, sop_instance_uid: str) -> str:
        """Return the id of the capture that waits for this instance."""
        mine = (_REQUESTED, live_capture.c.tenant == tenant, live_capture.c.sop_instance_uid == sop_instance_uid)
        async with self._database.read() as session:
            return await session.scalar(select(live_capture.c.id).where(*mine).limit(1)) or ""

    async def endings_since(self, after_seq: int, since: datetime) -> list[Stored | GivenUp]:
        """Return how captures ended from the outbox, oldest first, at most 500."""
        kinds = (EventType.INSTANCE_STORED.value, EventType.CAPTURE_FAILED.value)
        query = select(outbox.c.seq, outbox.c.type, outbox.c.tenant, outbox.c.subject, outbox.c.data).where(
            outbox.c.type.in_(kinds), outbox.c.seq > after_seq, outbox.c.time >= since
        )
        async with self._database.read() as session:
            rows = (await session.execute(query.order_by(outbox.c.seq).limit(500))).all()
        return [ending_of(EventType(r.type), r.seq, r.tenant, r.subject, json.loads(r.data)) for r in rows]

    async def room_of_consultation(self, tenant: str, consultation_id: str) -> Room | None:
        """Return the consultation's room unless it has ended."""
        query = select(live_room).where(
            live_room.c.tenant == tenant, live_room.c.consultation_id == consultation_id,
            live_room.c.state != RoomState.ENDED.value,
        )  # fmt: skip
        async with self._database.read() as session:
            row = (await session.execute(query)).mappings().first()
        return None if row is None else room_of(row)

    async def consultations_over(self, after_seq: int) -> list[Over]:
        """Return consultations that are over from the outbox, oldest first, at most 500."""
        query = select(outbox.c.seq, outbox.c.tenant, outbox.c.subject).where(
            outbox.c.seq > after_seq, outbox.c.type == EventType.CONSULTATION_CHANGED.value,
            or_(*(outbox.c.data.like(f'%"state": "{state}"%') for state in sorted(OVER)),
                *(outbox.c.data.like(f'%"state":"{state}"%') for state in sorted(OVER))),
        )  # fmt: skip
        async with self._database.read() as session:
            rows = (await session.execute(query.order_by(outbox.c.seq).limit(500))).all()
        return [Over(row.seq, row.tenant, row.subject) for row in rows]

    async def newest_event(self) -> int:
        """Return the newest number in the outbox."""
        async with self._database.read() as session:
            return await session.scalar(select(func.max(outbox.c.seq))) or 0


async def _load(session: AsyncSession, room_id: str, tenant: str | None, *, lock: bool = False) -> Room:
    query = select(live_room).where(live_room.c.id == room_id)
    if tenant is not None:
        query = query.where(live_room.c.tenant == tenant)
    row = (await session.execute(query.with_for_update() if lock else query)).mappings().first()
    if row is None:
        raise RoomNotFound("There is no such room.")
    return room_of(row)


async def _tell(session: AsyncSession, room: Room, facts: RoomFacts) -> None:
    await add_event(session, EventType.ROOM_CHANGED, tenant=room.tenant, subject=room.id, data=facts(room))


async def _tell_capture(session: AsyncSession, capture: Capture) -> None:
    data = {"capture_id": capture.id, "kind": capture.kind, "state": capture.state.value}
    if capture.sop_instance_uid:
        data |= {"study_uid": capture.study_uid, "sop_instance_uid": capture.sop_instance_uid}
    await add_event(session, EventType.ROOM_CAPTURED, tenant=capture.tenant, subject=capture.room_id, data=data)
