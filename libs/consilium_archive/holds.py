"""Legal holds: while one is open on a study, or on its patient, no retention rule removes anything of it.

Placing a hold locks the studies that it covers, as a removal does: whichever comes second sees the other. The audit entry is
written in the same transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, or_, select, update
from sqlalchemy.orm import Session

from consilium_archive.errors import NotArchived
from consilium_archive.storage_tables import hold
from consilium_archive.tables import study
from consilium_core.clock import iso
from consilium_core.errors import Conflict, Invalid, NotFound
from consilium_core.ids import new_ulid
from consilium_core.roles import Principal
from consilium_platform.audit import AuditLog, AuditRecord
from consilium_platform.sql import Database


class HoldNotFound(NotFound):
    """No such hold in the caller's tenant."""

    code = "hold-not-found"


class HoldReleased(Conflict):
    """The hold is released already."""

    code = "hold-released"


@dataclass(frozen=True, slots=True)
class HoldAsk:
    """What to hold: one study, or everything of one patient id; and why."""

    reason: str
    study_uid: str = ""
    patient_id: str = ""


@dataclass(frozen=True, slots=True)
class Hold:
    """One hold; ``studies``: how many stored studies it covers now."""

    id: str
    study_uid: str
    patient_id: str
    reason: str
    placed_by: str
    placed_at: datetime
    released_by: str | None
    released_at: datetime | None
    studies: int

    def wire(self) -> dict[str, Any]:
        """Return the hold as JSON."""
        return {
            "id": self.id, "study_uid": self.study_uid or None, "patient_id": self.patient_id or None,
            "reason": self.reason, "placed_by": self.placed_by, "placed_at": iso(self.placed_at),
            "released_by": self.released_by, "released_at": iso(self.released_at) if self.released_at else None,
            "studies": self.studies,
        }  # fmt: skip


async def place_hold(database: Database, audit: AuditLog, principal: Principal, ask: HoldAsk) -> Hold:
    """Hold a study (which must be there) or a patient (whose studies may still be to come)."""
    if bool(ask.study_uid) == bool(ask.patient_id):
        raise Invalid("A hold names a study or a patient id: one of them.")
    return await database.transact(partial(_place, audit=audit, principal=principal, ask=ask))


def _place(session: Session, audit: AuditLog, principal: Principal, ask: HoldAsk) -> Hold:
    covered = _covered(session, principal.tenant, ask.study_uid, ask.patient_id, lock=True)
    if ask.study_uid and not covered:
        raise NotArchived("There is no such study.")
    at = datetime.now(UTC)
    row: dict[str, Any] = {
        "id": new_ulid(), "study_uid": ask.study_uid, "patient_id": ask.patient_id[:128], "reason": ask.reason,
        "placed_by": principal.subject, "placed_at": at,
    }  # fmt: skip
    session.execute(hold.insert().values(tenant_id=principal.tenant, **row))
    _record(session, audit, principal, "hold.place", row, covered)
    return Hold(**row, released_by=None, released_at=None, studies=len(covered))


async def release_hold(database: Database, audit: AuditLog, principal: Principal, hold_id: str) -> Hold:
    """End a hold; raise HoldNotFound or HoldReleased."""
    return await database.transact(partial(_release, audit=audit, principal=principal, hold_id=hold_id))


def _release(session: Session, audit: AuditLog, principal: Principal, hold_id: str) -> Hold:
    asked = select(hold).where(hold.c.id == hold_id, hold.c.tenant_id == principal.tenant).with_for_update()
    row = session.execute(asked).mappings().first()
    if row is None:
        raise HoldNotFound("There is no such hold.")
    if row["released_at"] is not None:
        raise HoldReleased("The hold is released already.")
    ended = {"released_by": principal.subject, "released_at": datetime.now(UTC)}
    session.execute(update(hold).where(hold.c.id == hold_id).values(**ended))
    covered = _covered(session, principal.tenant, row["study_uid"], row["patient_id"])
    _record(session, audit, principal, "hold.release", row, covered)
    return _hold({**row, **ended}, len(covered))


def _record(session: Session, audit: AuditLog, principal: Principal, action: str, row: Any, covered: list[Any]) -> None:
    whose = row["patient_id"] or (covered[0].patient_id if covered else "")
    entry = AuditRecord(
        principal.tenant, principal.subject, principal.role.value, action, "success", row["study_uid"] or row["id"],
        whose, f"hold {row['id']}, {len(covered)} studies",
    )  # fmt: skip
    audit.append(session, [entry])


def _covered(session: Session, tenant: str, study_uid: str, patient_id: str, *, lock: bool = False) -> list[Any]:
    asked = select(study.c.study_uid, study.c.patient_id).where(study.c.tenant_id == tenant).order_by(study.c.study_uid)
    asked = asked.where(study.c.study_uid == study_uid if study_uid else study.c.patient_id == patient_id)
    return list(session.execute(asked.with_for_update() if lock else asked).all())


async def list_holds(database: Database, tenant: str, *, released: bool = False, limit: int = 1000) -> list[Hold]:
    """Return the tenant's open holds, newest first; ``released``: those that ended too."""

    def work(session: Session) -> list[Hold]:
        asked = select(hold).where(hold.c.tenant_id == tenant)
        if not released:
            asked = asked.where(hold.c.released_at.is_(None))
        rows = session.execute(asked.order_by(hold.c.id.desc()).limit(limit)).mappings().all()
        return [_hold(row, len(_covered(session, tenant, row["study_uid"], row["patient_id"]))) for row in rows]

    return await database.query(work)


def _hold(row: Any, studies: int) -> Hold:
    released: datetime | None = row["released_at"]
    return Hold(
        row["id"], row["study_uid"], row["patient_id"], row["reason"], row["placed_by"], _utc(row["placed_at"]),
        row["released_by"], _utc(released) if released else None, studies,
    )  # fmt: skip


def _utc(at: datetime) -> datetime:
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def held() -> ColumnElement[bool]:
    """Return the condition that a row of the study table is under an open hold."""
    of_patient = (hold.c.patient_id != "") & (hold.c.patient_id == study.c.patient_id)
    covers = or_(hold.c.study_uid == study.c.study_uid, of_patient)
    return select(hold.c.id).where(hold.c.tenant_id == study.c.tenant_id, hold.c.released_at.is_(None), covers).exists()
