"""Removing an original's bytes so that no acknowledged instance is ever without them, and keeping removed instances out.

Bytes go in three steps, each a commit of its own, and a kill between any two of them only delays the next:
1. doomed: a row of ``archive_removal``, written in the transaction that removes the instance's index row (retention), refuses it (a
   tombstone), or by reconciliation for an object that nothing refers to. From now on the index takes no object with these bytes.
2. GRACE_S later every transaction that had not seen the doom has ended. If an index row names the bytes all the same, the doom is
   lifted; else they are purged from every place.
3. FORGET_S later the row goes. Until then an object that was put before the purge is sent back to be stored again.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, ClassVar, Literal

import structlog
from sqlalchemy import and_, bindparam, delete, literal_column, null, or_, select, update
from sqlalchemy.orm import Session

from consilium_archive.derivatives import derivative_keys
from consilium_archive.index import Outcome, index_group
from consilium_archive.mending import settle_again
from consilium_archive.stages import Stored, original_key
from consilium_archive.storage_tables import copy, damage, removal, tombstone
from consilium_archive.tables import instance
from consilium_core.clock import Clock
from consilium_core.errors import Conflict, ConsiliumError, Exhausted, Unavailable
from consilium_platform.blobs import Stores
from consilium_platform.hot import DRIVER, Hot
from consilium_platform.sql import Database, upsert

log = structlog.get_logger()
Resend = Literal["refuse", "accept"]
GRACE_S = 120.0  # an index transaction ends within 30 s
FORGET_S = 86_400.0  # from an object's put to its index row: the longest request
_SKEW = timedelta(seconds=30)  # of the clocks of two processes
_BATCH = 100


class InstanceTombstoned(Conflict):
    """The instance was removed under a retention rule and does not come back."""

    code = "instance-tombstoned"
    mend = "admin"
    failure_reason: ClassVar[int] = 0x0124  # refused: not authorized (PS3.7 annex C)


class RemovalUnderWay(Exhausted):
    """The same bytes are being removed just now; sent again in some minutes they are stored anew."""

    code = "removal-under-way"


# -- at the index's door -------------------------------------------------------------------------------------------


def index_admitted(session: Session, group: Sequence[Stored], resend: Resend) -> list[Outcome]:
    """Index what may be indexed (``index.index_group``); refuse what has a tombstone or is being removed.

    What was put again because the store had lost it is indexed already: it is answered as that (``mending.settle_again``).
    """
    known = settle_again(session, group)
    answered = known | _refusals(session, group, resend, known)
    if not answered:
        return index_group(session, group)
    admitted = [stored for number, stored in enumerate(group) if number not in answered]
    outcomes = iter(index_group(session, admitted) if admitted else [])
    return [answered[number] if number in answered else next(outcomes) for number in range(len(group))]


_KIND: Any = literal_column("'tombstone'").label("kind")
_OF_TOMBSTONE: tuple[Any, ...] = (
    _KIND,
    tombstone.c.tenant_id,
    tombstone.c.sop_instance_uid.label("name"),
    null().label("removed_at"),
)
_OF_REMOVAL: tuple[Any, ...] = (
    literal_column("'removal'").label("kind"), removal.c.tenant_id, removal.c.sha256.label("name"), removal.c.removed_at,
)  # fmt: skip
_TOMBSTONE = Hot(
    select(tombstone.c.id)
    .where(tombstone.c.tenant_id == bindparam("tenant"), tombstone.c.sop_instance_uid == bindparam("uid"))
    .limit(1)
)
_REMOVAL = Hot(
    select(removal.c.removed_at).where(
        removal.c.tenant_id == bindparam("tenant"), removal.c.sha256 == bindparam("sha256")
    )
)


def _refusals(
    session: Session, group: Sequence[Stored], resend: Resend, known: Container[int]
) -> dict[int, ConsiliumError]:
    buried, leaving = _known(session, group)
    refused: dict[int, ConsiliumError] = {}
    for number, stored in enumerate(group):
        if number in known:
            continue
        valid, tenant = stored.validated, stored.validated.received.tenant
        uid, bytes_ = (tenant, valid.header.sop_instance_uid), (tenant, valid.sha256)
        if uid in buried and resend == "refuse":
            refused[number] = InstanceTombstoned(
                "This instance was removed when its retention ended, and this archive does not take it back. "
                "An administrator may allow it.",
                sop_instance_uid=uid[1],
            )
            doom(session, tenant, valid.sha256, uid[1], "tombstone")
        elif bytes_ in leaving:
            removed_at = leaving[bytes_]
            if removed_at is None or stored.kept_at <= removed_at + _SKEW:
                refused[number] = RemovalUnderWay(
                    "The same object is being removed. Send it again in some minutes.", retry_after_s=GRACE_S
                )
            else:
                session.execute(delete(removal).where(removal.c.tenant_id == tenant, removal.c.sha256 == bytes_[1]))
    return refused


Named = dict[tuple[str, str], datetime | None]


def _known(session: Session, group: Sequence[Stored]) -> tuple[set[tuple[str, str]], Named]:
    """Return which of the group's instances have a tombstone, and which of its bytes are being removed, since when they are gone."""
    names = [(one.validated.received.tenant, one.validated.header.sop_instance_uid) for one in group]
    bytes_ = [(one.validated.received.tenant, one.validated.sha256) for one in group]
    if session.info.get(DRIVER) is not None:
        buried = {name for name in names if _TOMBSTONE.first(session, {"tenant": name[0], "uid": name[1]})}
        found = {one: _REMOVAL.first(session, {"tenant": one[0], "sha256": one[1]}) for one in bytes_}
        return buried, {one: _utc(row.removed_at) for one, row in found.items() if row is not None}
    tenants = {tenant for tenant, _ in names}
    both = (
        select(*_OF_TOMBSTONE)
        .where(tombstone.c.tenant_id.in_(tenants), tombstone.c.sop_instance_uid.in_({uid for _, uid in names}))
        .union_all(
            select(*_OF_REMOVAL).where(
                removal.c.tenant_id.in_(tenants), removal.c.sha256.in_({sha256 for _, sha256 in bytes_})
            )
        )
    )
    rows = session.execute(both).all()
    return (
        {(row.tenant_id, row.name) for row in rows if row.kind == "tombstone"},
        {(row.tenant_id, row.name): _utc(row.removed_at) for row in rows if row.kind == "removal"},
    )


def _utc(at: datetime | None) -> datetime | None:
    return at if at is None or at.tzinfo else at.replace(tzinfo=UTC)


def doom(session: Session, tenant: str, sha256: str, sop_instance_uid: str, cause: str) -> None:
    """Decide inside the caller's transaction that these bytes go; doing it again begins the grace anew."""
    facts = {
        "sop_instance_uid": sop_instance_uid, "cause": cause[:64], "doomed_at": datetime.now(UTC), "removed_at": None,
        "problem": "",
    }  # fmt: skip
    new = upsert(session)(removal).values(tenant_id=tenant, sha256=sha256, **facts)
    session.execute(new.on_conflict_do_update(index_elements=["tenant_id", "sha256"], set_=facts))


# -- the removal itself --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Removed:
    """What one pass did: bytes purged, dooms lifted because an index row names the bytes, and failures that are tried again."""

    purged: int = 0
    lifted: int = 0
    failed: int = 0


async def remove_doomed(database: Database, stores: Stores, clock: Clock, *, grace_s: float = GRACE_S) -> Removed:
    """Take every doomed object a step further; safe to run anywhere, at any time, by several processes."""
    now = clock.now()
    if await database.query(lambda session: session.execute(select(removal.c.sha256).limit(1)).first()) is None:
        return Removed()  # the usual case must not wait for the database's one writer
    await database.transact(partial(_forget, before=now - timedelta(seconds=FORGET_S)))
    purged = lifted = failed = 0
    after = ("", "")
    while rows := await database.query(partial(_ripe, before=now - timedelta(seconds=grace_s), after=after)):
        for row in rows:
            after = (row.tenant_id, row.sha256)
            if row.named:
                await database.transact(partial(_lift, row=row))
                lifted += 1
                continue
            problem = await _purge(stores, original_key(row.tenant_id, row.sha256))
            await database.transact(partial(_settle, row=row, at=None if problem else clock.now(), problem=problem))
            purged, failed = purged + (not problem), failed + bool(problem)
    return Removed(purged, lifted, failed)


def _ripe(session: Session, before: datetime, after: tuple[str, str]) -> Sequence[Any]:
    """Return doomed objects whose grace is over, and whether an index row names their bytes all the same."""
    bytes_ = (instance.c.tenant_id == removal.c.tenant_id) & (instance.c.sha256 == removal.c.sha256)
    by_name = select(instance.c.id).where(bytes_, instance.c.sop_instance_uid == removal.c.sop_instance_uid).exists()
    unnamed = and_(removal.c.sop_instance_uid == "", select(instance.c.id).where(bytes_).exists())
    named = or_(by_name, unnamed).label("named")
    later = (removal.c.tenant_id > after[0]) | ((removal.c.tenant_id == after[0]) & (removal.c.sha256 > after[1]))
    asked = select(removal.c.tenant_id, removal.c.sha256, removal.c.doomed_at, named).where(
        removal.c.removed_at.is_(None), removal.c.doomed_at <= before, later
    )
    return session.execute(asked.order_by(removal.c.tenant_id, removal.c.sha256).limit(_BATCH)).all()


async def _purge(stores: Stores, key: str) -> str:
    """Remove the bytes everywhere, the copy and derivatives first; return the code of what stood in the way."""
    try:
        if stores.copy is not None:
            await stores.copy.purge(key)
        for name in (*derivative_keys(key), key):
            await stores.first.purge(name)
    except (Unavailable, Exhausted, TimeoutError) as problem:
        code = problem.code if isinstance(problem, ConsiliumError) else "timeout"
        log.warning("object_removal_waits", key=key, code=code)
        return code
    return ""


def _same(row: Any) -> Any:
    return (
        (removal.c.tenant_id == row.tenant_id)
        & (removal.c.sha256 == row.sha256)
        & (removal.c.doomed_at == row.doomed_at)  # doomed anew meanwhile: that doom is not ours to end
    )


def _lift(session: Session, row: Any) -> None:
    session.execute(delete(removal).where(_same(row)))


def _settle(session: Session, row: Any, at: datetime | None, problem: str) -> None:
    session.execute(update(removal).where(_same(row)).values(removed_at=at, problem=problem))
    if at is not None:
        for table in (copy, damage):
            session.execute(delete(table).where(table.c.tenant_id == row.tenant_id, table.c.sha256 == row.sha256))


def _forget(session: Session, before: datetime) -> None:
    session.execute(delete(removal).where(removal.c.removed_at < before))
