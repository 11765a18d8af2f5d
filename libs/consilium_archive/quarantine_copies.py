"""The second copy of every held object: the quarantine's rows are the queue, so that nothing is held without waiting for its copy.

``copies.Copier`` works it off as it does the originals' queue: claimed by a lease, copied under the same key, the SHA-256 checked on the way,
tried again later and later. Entries are kept when the desk has decided, and so are both their copies; a bucket that expires ``quarantine/``
(``S3_QUARANTINE_DAYS``) is asked for nothing older than that.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, CursorResult, collate, or_, select, update
from sqlalchemy.orm import Session

from consilium_archive.copies import OriginalCorrupt, Queue, Wanted, lease_s
from consilium_archive.damage import Kind, Place
from consilium_archive.quarantine_table import quarantine
from consilium_platform.blobs import BlobNotFound, BlobStore, Expires
from consilium_platform.sql import Database

_PAGE = 1000


def wanted_of(row: Any) -> Wanted:
    """Return the held object of a row."""
    return Wanted(row.tenant_id, row.sha256, row.size_bytes, row.copy_attempts, held=True)


def is_expired(store: BlobStore, held_at: datetime, now: datetime) -> bool:
    """Tell whether the place has been told to expire what has been held so long."""
    days = store.quarantine_days if isinstance(store, Expires) else 0
    at = held_at if held_at.tzinfo else held_at.replace(tzinfo=UTC)
    return days > 0 and at + timedelta(days=days) <= now


# -- the queue -----------------------------------------------------------------------------------------------------


def _due(now: datetime) -> ColumnElement[bool]:
    at = quarantine.c.copy_try_at
    return (quarantine.c.copy_state == "wanted") & or_(at.is_(None), at <= now)


def _any_due(session: Session, now: datetime) -> bool:
    return session.execute(select(quarantine.c.id).where(_due(now)).limit(1)).first() is not None


def _claim(session: Session, now: datetime, limit: int) -> list[Wanted]:
    asked = select(quarantine).where(_due(now)).order_by(quarantine.c.copy_try_at, quarantine.c.id).limit(limit)
    rows = session.execute(asked.with_for_update(skip_locked=True)).all()
    for row in rows:
        lease = now + timedelta(seconds=lease_s(row.size_bytes) + 30)
        claimed = {"copy_try_at": lease, "copy_attempts": row.copy_attempts + 1}
        session.execute(update(quarantine).where(quarantine.c.id == row.id).values(**claimed))
    return [wanted_of(row) for row in rows]


def _done(session: Session, wanted: Wanted, now: datetime) -> bool:
    return _set(session, wanted, copy_state="copied", copied_at=now, copy_problem="", copy_damage="")


def _failed(session: Session, wanted: Wanted, code: str, again: datetime) -> None:
    _set(session, wanted, copy_try_at=again, copy_problem=code[:64])
    kinds: dict[str, Kind] = {OriginalCorrupt.code: "corrupt", BlobNotFound.code: "missing"}
    if code in kinds:
        mark_held(session, wanted, "first", kinds[code])


def _set(session: Session, wanted: Wanted, **values: Any) -> bool:
    """Change the object's row; return False if there is none."""
    mine = quarantine.c.tenant_id == wanted.tenant, quarantine.c.sha256 == wanted.sha256
    done = session.execute(update(quarantine).where(*mine).values(**values))
    return isinstance(done, CursorResult) and done.rowcount == 1


HELD = Queue(_claim, _done, _failed, _any_due)


# -- damage --------------------------------------------------------------------------------------------------------


def mark_held(session: Session, wanted: Wanted, place: Place, kind: Kind | None) -> None:
    """Remember that a held object is missing or corrupt in one place, or (None) whole again."""
    _set(session, wanted, **{f"{place}_damage": kind or ""})


def want_held_again(session: Session, wanted: Wanted, now: datetime) -> None:
    """Put an object whose copy was found missing or corrupt back into the queue."""
    _set(session, wanted, copy_state="wanted", copy_try_at=now, copied_at=None, copy_attempts=0)


def held_page(session: Session, after: str, *, damaged: bool = False) -> list[Any]:
    """Return entries in the order of their ids: all, or those that are marked as damaged."""
    asked = select(quarantine).where(quarantine.c.id > after)
    if damaged:
        asked = asked.where(or_(quarantine.c.first_damage != "", quarantine.c.copy_damage != ""))
    return list(session.execute(asked.order_by(quarantine.c.id).limit(_PAGE)).all())


async def held_rows(database: Database, tenant: str, place: Place) -> AsyncGenerator[Any]:
    """Yield the tenant's entries whose object is to be in the place, in the order of their keys; the database sorts."""
    name = quarantine.c.sha256 if database.is_sqlite else collate(quarantine.c.sha256, "C")
    asked = select(quarantine).where(quarantine.c.tenant_id == tenant)
    if place == "copy":
        asked = asked.where(quarantine.c.copy_state == "copied")
    async with database.read() as session:
        result = await session.stream(asked.order_by(name), execution_options={"yield_per": _PAGE})
        async for one in result:
            yield one


def held_tenants(session: Session) -> list[str]:
    """Return whose objects are held."""
    return list(session.scalars(select(quarantine.c.tenant_id).distinct().order_by(quarantine.c.tenant_id)))
