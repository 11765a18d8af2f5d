"""Taking instances out of the index for good: tombstones, doomed bytes, fewer rows and an audit entry, in one transaction.

The study's row is locked first, as the index does it: an instance that arrives at the same time, or a hold that is placed, comes before or
after, never between. Everything is looked at again under the lock.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, func, insert, select, update
from sqlalchemy.orm import Session

from consilium_archive.dicom_json import set_of
from consilium_archive.holds import held
from consilium_archive.removal import doom
from consilium_archive.storage_tables import copy, tombstone
from consilium_archive.tables import instance, item, series, study
from consilium_platform.audit import AuditLog, AuditRecord


@dataclass(frozen=True, slots=True)
class Burial:
    """Which instances of one study go (a condition over study, series and instance), under which rule, by whom."""

    tenant: str
    study_uid: str
    rule: str
    actor: str
    which: ColumnElement[bool]


@dataclass(frozen=True, slots=True)
class Buried:
    """What was removed; nothing when a hold keeps the study."""

    instances: int
    size_bytes: int
    held: bool


def bury(session: Session, burial: Burial, audit: AuditLog) -> Buried:
    """Remove the instances inside the caller's transaction; their bytes are doomed and follow later."""
    mine = (study.c.tenant_id == burial.tenant, study.c.study_uid == burial.study_uid)
    locked = select(study.c.id, study.c.patient_id).where(*mine).with_for_update()
    known = session.execute(locked).first()
    if known is None:
        return Buried(0, 0, held=False)
    if session.scalar(select(held()).where(*mine)):
        return Buried(0, 0, held=True)
    rows = _leaving(session, burial)
    if not rows:
        return Buried(0, 0, held=False)
    at = datetime.now(UTC)
    session.execute(insert(tombstone), [_stone(row, burial, at) for row in rows])
    for row in sorted(rows, key=lambda one: str(one.sha256)):
        doom(session, burial.tenant, row.sha256, row.sop_instance_uid, burial.rule)
    for first in range(0, len(rows), 500):
        part = rows[first : first + 500]
        session.execute(delete(instance).where(instance.c.id.in_([row.id for row in part])))
        bytes_ = [row.sha256 for row in part]  # a copier that is at work on one sees that nobody wants it any more
        session.execute(delete(copy).where(copy.c.tenant_id == burial.tenant, copy.c.sha256.in_(bytes_)))
    recount_study(session, burial.tenant, burial.study_uid)
    size = sum(row.size_bytes for row in rows)
    detail = f"rule {burial.rule}: {len(rows)} instances, {size} bytes removed"
    audit.append(
        session,
        [
            AuditRecord(
                burial.tenant, burial.actor, "retention", "study.remove", "success", burial.study_uid, known.patient_id,
                detail,
            )
        ],
    )  # fmt: skip
    return Buried(len(rows), size, held=False)


def _leaving(session: Session, burial: Burial) -> list[Any]:
    asked = (
        select(
            instance.c.id, instance.c.series_uid, instance.c.sop_instance_uid, instance.c.sop_class_uid,
            instance.c.sha256, instance.c.size_bytes,
        )
        .select_from(joined())
        .where(study.c.tenant_id == burial.tenant, study.c.study_uid == burial.study_uid, burial.which)
        .order_by(instance.c.id)
    )  # fmt: skip
    return list(session.execute(asked).all())


def joined() -> Any:
    """Return studies with their series and instances."""
    in_study = and_(series.c.tenant_id == study.c.tenant_id, series.c.study_uid == study.c.study_uid)
    in_series = and_(
        instance.c.tenant_id == series.c.tenant_id,
        instance.c.study_uid == series.c.study_uid,
        instance.c.series_uid == series.c.series_uid,
    )
    return study.join(series, in_study).join(instance, in_series)


def _stone(row: Any, burial: Burial, at: datetime) -> dict[str, Any]:
    return {
        "tenant_id": burial.tenant,
        "study_uid": burial.study_uid,
        "series_uid": row.series_uid,
        "sop_instance_uid": row.sop_instance_uid,
        "sop_class_uid": row.sop_class_uid,
        "sha256": row.sha256,
        "size_bytes": row.size_bytes,
        "rule": burial.rule,
        "actor": burial.actor[:128],
        "deleted_at": at,
    }


def recount_study(session: Session, tenant: str, study_uid: str) -> None:
    """Make the counts and sets of a study and its series what its instances say; remove what stayed empty."""
    of_series = (series.c.tenant_id == tenant, series.c.study_uid == study_uid)
    mine = (instance.c.tenant_id == tenant, instance.c.study_uid == study_uid)
    counted = select(instance.c.series_uid, func.count()).where(*mine).group_by(instance.c.series_uid)
    counts: dict[str, int] = {row[0]: row[1] for row in session.execute(counted)}
    rows = session.execute(select(series.c.id, series.c.series_uid, series.c.modality).where(*of_series)).all()
    for row in rows:
        if row.series_uid in counts:
            session.execute(update(series).where(series.c.id == row.id).values(instance_count=counts[row.series_uid]))
        else:
            inside = (item.c.tenant_id == tenant, item.c.study_uid == study_uid, item.c.series_uid == row.series_uid)
            session.execute(delete(item).where(*inside))
            session.execute(delete(series).where(series.c.id == row.id))
    left = [row for row in rows if row.series_uid in counts]
    this = (study.c.tenant_id == tenant, study.c.study_uid == study_uid)
    if not left:
        session.execute(delete(study).where(*this))
        return
    classes = session.scalars(select(instance.c.sop_class_uid).where(*mine).distinct())
    session.execute(
        update(study)
        .where(*this)
        .values(
            series_count=len(left), instance_count=sum(counts.values()),
            modalities=set_of([row.modality for row in left]), sop_classes=set_of(list(classes)),
        )
    )  # fmt: skip
