"""How the originals of a tenant stand in both places: per study and instance, and in sum; held objects in sum."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session

from consilium_archive.errors import NotArchived
from consilium_archive.quarantine_table import quarantine
from consilium_archive.storage_tables import copy, damage, hold, removal, scrub_run, tombstone
from consilium_archive.tables import instance, study
from consilium_core.clock import iso
from consilium_platform.sql import Database

_PAGE = 1000


@dataclass(frozen=True, slots=True)
class StudyStorage:
    """One study: whose it is, how many of its originals stand how in each place, and a page of them."""

    patient_id: str
    first: dict[str, int]
    copy: dict[str, int]
    instances: list[dict[str, Any]]
    next_cursor: str | None


async def study_storage(database: Database, tenant: str, study_uid: str, *, copies: bool, cursor: int) -> StudyStorage:
    """Return how the study's originals stand; raise NotArchived. ``copies``: whether a second place is set."""
    asked = partial(_study, tenant=tenant, study_uid=study_uid, copies=copies, cursor=cursor)
    found = await database.query(asked)
    if found is None:
        raise NotArchived("There is no such study.")
    return found


def _study(session: Session, tenant: str, study_uid: str, *, copies: bool, cursor: int) -> StudyStorage | None:
    mine = (instance.c.tenant_id == tenant, instance.c.study_uid == study_uid)
    whose = select(study.c.patient_id).where(study.c.tenant_id == tenant, study.c.study_uid == study_uid)
    known = session.execute(whose).first()
    if known is None:
        return None
    at_first, at_copy = damage.alias("at_first"), damage.alias("at_copy")
    rows = session.execute(
        select(
            instance.c.id, instance.c.series_uid, instance.c.sop_instance_uid, instance.c.sha256, instance.c.size_bytes,
            instance.c.received_at, copy.c.state, copy.c.copied_at, copy.c.attempts, copy.c.problem,
            at_first.c.kind.label("first_damage"), at_copy.c.kind.label("copy_damage"),
        )
        .select_from(
            instance.outerjoin(copy, _same(copy))
            .outerjoin(at_first, _open(at_first, "first"))
            .outerjoin(at_copy, _open(at_copy, "copy"))
        )
        .where(*mine)
        .order_by(instance.c.id)
    ).all()  # fmt: skip
    states = [(row.first_damage or "stored", _copy_state(row, copies)) for row in rows]
    page = [(row, state) for row, state in zip(rows, states, strict=True) if row.id > cursor]
    return StudyStorage(
        known.patient_id,
        _counted([first for first, _ in states]),
        _counted([second for _, second in states]),
        [_instance(row, state) for row, state in page[:_PAGE]],
        str(page[_PAGE - 1][0].id) if len(page) > _PAGE else None,
    )


def _same(table: Any) -> Any:
    return and_(table.c.tenant_id == instance.c.tenant_id, table.c.sha256 == instance.c.sha256)


def _open(table: Any, place: str) -> Any:
    return and_(_same(table), table.c.place == place, table.c.repaired_at.is_(None))


def _copy_state(row: Any, copies: bool) -> str:
    if row.copy_damage:
        return str(row.copy_damage)
    if row.state == "copied":
        return "copied"
    return "waiting" if copies else "none"


def _counted(states: list[str]) -> dict[str, int]:
    return {state: states.count(state) for state in sorted(set(states))}


def _instance(row: Any, state: tuple[str, str]) -> dict[str, Any]:
    return {
        "series_uid": row.series_uid,
        "sop_instance_uid": row.sop_instance_uid,
        "sha256": row.sha256,
        "size_bytes": row.size_bytes,
        "stored_at": iso_of(row.received_at),
        "first": state[0],
        "copy": state[1],
        "copied_at": iso_of(row.copied_at),
        "attempts": row.attempts or 0,
        "problem": row.problem or "",
    }


def iso_of(at: datetime | None) -> str | None:
    """Return a column's moment as the wire has it; SQLite's are without a zone."""
    if at is None:
        return None
    return iso(at if at.tzinfo else at.replace(tzinfo=UTC))


async def storage_summary(database: Database, tenant: str, *, copies: bool = True) -> dict[str, Any]:
    """Return the tenant's sums; the last scrub is the whole store's, it knows no tenant. ``copies``: whether a second place is set."""
    return await database.query(partial(_summary, tenant=tenant, second=copies))


def _summary(session: Session, tenant: str, *, second: bool) -> dict[str, Any]:
    counts = select(func.count(), func.coalesce(func.sum(study.c.instance_count), 0)).where(study.c.tenant_id == tenant)
    studies, instances = session.execute(counts).one()
    by_state = select(
        copy.c.state, func.count(), func.min(copy.c.try_at), func.coalesce(func.sum(copy.c.size_bytes), 0)
    )
    copies = {row[0]: row for row in session.execute(by_state.where(copy.c.tenant_id == tenant).group_by(copy.c.state))}
    failing = select(func.count()).where(copy.c.tenant_id == tenant, copy.c.state == "wanted", copy.c.problem != "")
    open_damage = (
        select(damage.c.place, damage.c.kind, func.count())
        .where(damage.c.tenant_id == tenant, damage.c.repaired_at.is_(None))
        .group_by(damage.c.place, damage.c.kind)
    )
    leaving = select(func.count()).where(removal.c.tenant_id == tenant, removal.c.removed_at.is_(None))
    holds = select(func.count()).where(hold.c.tenant_id == tenant, hold.c.released_at.is_(None))
    last = session.execute(select(scrub_run).order_by(scrub_run.c.id.desc()).limit(1)).mappings().first()
    return {
        "studies": studies,
        "instances": int(instances),
        "copies": {
            "copied": copies["copied"][1] if "copied" in copies else 0,
            "copied_bytes": int(copies["copied"][3]) if "copied" in copies else 0,
            "waiting": copies["wanted"][1] if "wanted" in copies else 0,
            "failing": session.scalar(failing) or 0,
        },
        "damage": [{"place": row[0], "kind": row[1], "objects": row[2]} for row in session.execute(open_damage)],
        "held": _held(session, tenant, second=second),
        "removals_under_way": session.scalar(leaving) or 0,
        "holds": session.scalar(holds) or 0,
        "last_scrub": _scrub(last) if last is not None else None,
    }


def _held(session: Session, tenant: str, *, second: bool) -> dict[str, Any]:
    """Return the sums of the quarantine's objects, decided ones included: their bytes are kept."""
    mine = quarantine.c.tenant_id == tenant
    copied = quarantine.c.copy_state == "copied"
    bytes_ = func.coalesce(func.sum(quarantine.c.size_bytes), 0)
    counted = session.execute(select(copied, func.count(), bytes_).where(mine).group_by(copied)).all()
    there, waiting = ([row for row in counted if bool(row[0]) is state] for state in (True, False))
    failing = select(func.count()).where(mine, ~copied, quarantine.c.copy_problem != "")
    bad = [
        {"place": place, "kind": row[0], "objects": row[1]}
        for place, column in (("first", quarantine.c.first_damage), ("copy", quarantine.c.copy_damage))
        for row in session.execute(select(column, func.count()).where(mine, column != "").group_by(column))
    ]
    return {
        "objects": sum(row[1] for row in counted),
        "copies": {
            "copied": sum(row[1] for row in there),
            "copied_bytes": int(sum(row[2] for row in there)),
            "waiting": sum(row[1] for row in waiting) if second else 0,
            "failing": session.scalar(failing) or 0,
        },
        "damage": bad,
    }


def _scrub(row: Any) -> dict[str, Any]:
    counts = {name: row[name] for name in ("objects", "bytes", "missing", "corrupt", "repaired")}
    return {"started_at": iso_of(row["started_at"]), "finished_at": iso_of(row["finished_at"]), **counts}


async def tombstones(
    database: Database, tenant: str, study_uid: str, *, before: int, limit: int
) -> tuple[list[dict[str, Any]], str | None]:
    """Return tombstones newest first, of one study or (empty) of all, and where the next page begins."""
    asked = select(tombstone).where(tombstone.c.tenant_id == tenant)
    if study_uid:
        asked = asked.where(tombstone.c.study_uid == study_uid)
    if before:
        asked = asked.where(tombstone.c.id < before)
    ordered = asked.order_by(tombstone.c.id.desc()).limit(limit + 1)
    rows = await database.query(lambda session: session.execute(ordered).mappings().all())
    items = [{**row, "deleted_at": iso_of(row["deleted_at"])} for row in rows[:limit]]
    return items, str(rows[limit - 1]["id"]) if len(rows) > limit else None
