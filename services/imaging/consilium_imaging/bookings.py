"""What imaging remembers of booked consultations: which priors were chosen and why. Rows of ids; the patient stays in consult and the index.

A choice belongs to the event that it was made for (``seq``): a later event makes another one, an earlier one that comes again changes
nothing. Several replicas may choose at once: the same rule over the same index, one of them is written.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    and_,
    delete,
    insert,
    select,
    update,
)
from sqlalchemy.orm import Session

from consilium_archive.prior_rule import Chosen
from consilium_archive.tables import study
from consilium_core.clock import utc
from consilium_core.events import EventType
from consilium_platform.outbox import outbox
from consilium_platform.sql import Database, upsert

metadata = MetaData()
booking = Table(
    "imaging_booking",
    metadata,
    Column("tenant_id", String(64), primary_key=True),
    Column("consultation_id", String(64), primary_key=True),
    Column("study_uid", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("chosen_at", DateTime(timezone=True), nullable=False),
    Index("imaging_booking_study", "tenant_id", "study_uid"),
    Index("imaging_booking_state", "state", "chosen_at"),
)
prior = Table(
    "imaging_prior",
    metadata,
    Column("tenant_id", String(64), primary_key=True),
    Column("consultation_id", String(64), primary_key=True),
    Column("study_uid", String(64), primary_key=True),
    Column("rank", Integer, nullable=False),
    Column("reason", String(32), nullable=False),
    Column("hot_at", DateTime(timezone=True), nullable=True),
)
OPEN = ("requested", "accepted", "in_session", "reporting")
"""States in which an expert may still want the priors."""
DROPPED = ("cancelled", "rejected")
_MOST_OPEN = 100
_EVENTS = 1000
_LOOK_BACK = 200_000  # rows of the outbox that a new process looks through, of any type


@dataclass(frozen=True, slots=True)
class Booking:
    """One consultation, the study it is about, and the event that its priors were chosen for, when (None: not written yet)."""

    tenant: str
    consultation_id: str
    study_uid: str
    state: str
    seq: int
    chosen_at: datetime | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Told:
    """An event ``consultation.changed``; ``state``: the one that it told of, if any."""

    tenant: str
    consultation_id: str
    seq: int
    state: str | None = field(default=None, compare=False)

    @property
    def is_over(self) -> bool:
        """Tell whether nobody will want priors any more, as far as the event says."""
        return self.state is not None and self.state not in OPEN


class Bookings:
    """Reads and writes them; holds no resources of its own."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, tenant: str, consultation_id: str) -> Booking | None:
        """Return what is known of a consultation."""
        asked = select(booking).where(booking.c.tenant_id == tenant, booking.c.consultation_id == consultation_id)
        row = await self._database.query(lambda session: session.execute(asked).first())
        return None if row is None else _booking(row)

    async def of_study(self, tenant: str, study_uid: str) -> Booking | None:
        """Return the newest booking about a study."""
        mine = (booking.c.tenant_id == tenant, booking.c.study_uid == study_uid, booking.c.state.not_in(DROPPED))
        asked = select(booking).where(*mine).order_by(booking.c.seq.desc()).limit(1)
        row = await self._database.query(lambda session: session.execute(asked).first())
        return None if row is None else _booking(row)

    async def open(self, since: datetime) -> list[Booking]:
        """Return the bookings that may still be opened, chosen after ``since``, the newest first; at most 100."""
        asked = select(booking).where(booking.c.state.in_(OPEN), booking.c.chosen_at > since)
        ordered = asked.order_by(booking.c.chosen_at.desc()).limit(_MOST_OPEN)
        return [_booking(row) for row in await self._database.query(lambda session: session.execute(ordered).all())]

    async def chosen(self, booked: Booking) -> list[Any]:
        """Return the priors of a booking in order, each with its row of the index; what was removed since is left out."""
        mine = (prior.c.tenant_id == booked.tenant, prior.c.consultation_id == booked.consultation_id)
        of_index = and_(study.c.tenant_id == prior.c.tenant_id, study.c.study_uid == prior.c.study_uid)
        asked = select(
            prior.c.study_uid, prior.c.reason, prior.c.hot_at, study.c.patient_id, study.c.issuer, study.c.study_date,
            study.c.study_time, study.c.description, study.c.modalities, study.c.instance_count, booking.c.chosen_at,
        ).select_from(
            prior.join(study, of_index).join(
                booking,
                and_(booking.c.tenant_id == prior.c.tenant_id, booking.c.consultation_id == prior.c.consultation_id),
            )
        )  # fmt: skip
        ordered = asked.where(*mine).order_by(prior.c.rank)
        return list(await self._database.query(lambda session: session.execute(ordered).all()))

    async def choose(self, booked: Booking, chosen: Sequence[Chosen] | None, now: datetime) -> bool:
        """Write a choice (None: that of before stays) unless one was written for the same event or a later one; tell whether it was."""
        return await self._database.transact(partial(_choose, booked=booked, chosen=chosen, now=now))

    async def mark_hot(self, booked: Booking, study_uid: str, now: datetime) -> None:
        """Remember when a prior was hot for the first time."""
        mine = (prior.c.tenant_id == booked.tenant, prior.c.consultation_id == booked.consultation_id)
        first = update(prior).where(*mine, prior.c.study_uid == study_uid, prior.c.hot_at.is_(None))
        await self._database.transact(lambda session: session.execute(first.values(hot_at=now)), durable=False)

    async def told(self, after: int, since: datetime) -> list[Told]:
        """Return events of consultations in the outbox behind ``after`` and ``since``, of the newest 200,000 of any type, each the newest."""
        return await self._database.query(partial(_told, after=after, since=since))


def _choose(session: Session, booked: Booking, chosen: Sequence[Chosen] | None, now: datetime) -> bool:
    key = {"tenant_id": booked.tenant, "consultation_id": booked.consultation_id}
    facts = {"study_uid": booked.study_uid, "state": booked.state, "seq": booked.seq, "chosen_at": now}
    new = upsert(session)(booking).values(**key, **facts)
    won = session.execute(
        new.on_conflict_do_update(index_elements=list(key), set_=facts, where=booking.c.seq < booked.seq).returning(
            booking.c.seq
        )
    ).first()
    if won is None:
        return False
    if chosen is None:
        return True
    mine = (prior.c.tenant_id == booked.tenant, prior.c.consultation_id == booked.consultation_id)
    known = {
        row.study_uid: row.hot_at for row in session.execute(select(prior.c.study_uid, prior.c.hot_at).where(*mine))
    }
    session.execute(delete(prior).where(*mine))
    rows = [
        {**key, "study_uid": one.prior.study_uid, "rank": rank, "reason": one.reason.value, "hot_at": known.get(one.prior.study_uid)}
        for rank, one in enumerate(chosen)
    ]  # fmt: skip
    if rows:
        session.execute(insert(prior), rows)
    return True


def _told(session: Session, after: int, since: datetime) -> list[Told]:
    newest = session.scalar(select(outbox.c.seq).order_by(outbox.c.seq.desc()).limit(1)) or 0
    asked = select(outbox.c.seq, outbox.c.tenant, outbox.c.subject, outbox.c.data).where(
        outbox.c.seq > max(after, newest - _LOOK_BACK), outbox.c.type == EventType.CONSULTATION_CHANGED.value,
        outbox.c.time > since,
    )  # fmt: skip
    rows = session.execute(asked.order_by(outbox.c.seq.desc()).limit(_EVENTS)).all()
    newest_of: dict[tuple[str, str], Told] = {}
    for row in rows:
        state = json.loads(row.data).get("state")
        newest_of.setdefault((row.tenant, row.subject), Told(row.tenant, row.subject, row.seq, state))
    return list(reversed(newest_of.values()))


def _booking(row: Any) -> Booking:
    at = row.chosen_at
    chosen_at = utc(at)
    return Booking(row.tenant_id, row.consultation_id, row.study_uid, row.state, row.seq, chosen_at)
