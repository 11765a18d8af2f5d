"""Quarantine entries in the database: pages, one entry, a proposal, a decision. Every question names its tenant.

A decision is one transaction: the entry, the uploads that wait for it, and the event. ``version`` guards against two people at once.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from sqlalchemy import CursorResult, select, update
from sqlalchemy.orm import Session

from consilium_archive.quarantine import HELD, RELEASED, changed_event
from consilium_archive.quarantine_table import quarantine
from consilium_archive.stages import Origin
from consilium_archive.tables import study, upload
from consilium_ingest.quarantine.errors import QuarantineMoved, QuarantineNotFound
from consilium_platform.outbox import OutboxRelay, add_rows
from consilium_platform.sql import Database

Facts = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """One held object and what was decided about it."""

    id: str
    tenant: str
    state: str
    version: int
    sha256: str
    size_bytes: int
    blob_key: str
    study_uid: str
    series_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    modality: str
    reasons: list[str]
    findings: list[dict[str, str]]
    identity: dict[str, str]
    origin: Origin
    held_at: datetime
    proposal: Facts | None
    decided_by: str | None
    decided_at: datetime | None
    reason: str | None
    released_sha256: str | None


@dataclass(frozen=True, slots=True)
class Decision:
    """How an entry ends; ``receipt`` (JSON) or ``problem`` is what the uploads that wait for it are told."""

    state: str
    by: str
    reason: str
    released_sha256: str | None = None
    verdict: str = ""
    problem: Facts | None = None


@dataclass(frozen=True, slots=True)
class Archived:
    """Whom the archive knows: the same study, or else the newest study of the same patient id."""

    study_uid: str
    same_study: bool
    identity: dict[str, str]


class QuarantineRows:
    """The table of held objects."""

    def __init__(self, database: Database, outbox: OutboxRelay) -> None:
        self._database = database
        self._outbox = outbox

    async def page(
        self, tenant: str, state: str, cursor: str, limit: int, study_uid: str = ""
    ) -> tuple[list[Entry], str | None]:
        """Return entries of ``state`` (of one study, when named), newest first, and the cursor of the next page."""
        asked = select(quarantine).where(quarantine.c.tenant_id == tenant, quarantine.c.state == state)
        if study_uid:
            asked = asked.where(quarantine.c.study_uid == study_uid)
        if cursor:
            asked = asked.where(quarantine.c.id < cursor)
        asked = asked.order_by(quarantine.c.id.desc()).limit(limit + 1)
        rows = await self._database.query(lambda session: session.execute(asked).all())
        entries = [_entry(row) for row in rows[:limit]]
        return entries, entries[-1].id if len(rows) > limit else None

    async def get(self, tenant: str, entry_id: str) -> Entry:
        """Return one entry; raise QuarantineNotFound."""
        asked = select(quarantine).where(quarantine.c.tenant_id == tenant, quarantine.c.id == entry_id)
        row = await self._database.query(lambda session: session.execute(asked).first())
        if row is None:
            raise QuarantineNotFound("There is no such quarantine entry.")
        return _entry(row)

    async def archived(self, entry: Entry, patient_id: str) -> Archived | None:
        """Return whom the archive knows under the entry's study, or under ``patient_id``."""
        return await self._database.query(partial(_archived, entry=entry, patient_id=patient_id))

    async def propose(self, entry: Entry, proposal: Facts | None) -> Entry:
        """Write or (None) withdraw a proposal; raise QuarantineMoved."""
        values = {"proposal": json.dumps(proposal, ensure_ascii=False) if proposal else None}
        await self._database.transact(partial(_change, entry=entry, values=values))
        return await self.get(entry.tenant, entry.id)

    async def decide(self, entry: Entry, decision: Decision) -> Entry:
        """Write the decision, settle the uploads that wait for it, announce it; raise QuarantineMoved."""
        await self._database.transact(partial(_decide, entry=entry, decision=decision))
        self._outbox.wake()
        return await self.get(entry.tenant, entry.id)


def _change(session: Session, entry: Entry, values: Facts, *, done: bool = False) -> None:
    """Change a held entry that nobody has changed since; ``done``: what is written has happened, whatever was changed since."""
    mine = update(quarantine).where(
        quarantine.c.tenant_id == entry.tenant, quarantine.c.id == entry.id, quarantine.c.state == HELD
    )
    if not done:
        mine = mine.where(quarantine.c.version == entry.version)
    moved = session.execute(mine.values(version=quarantine.c.version + 1, **values))
    if not isinstance(moved, CursorResult) or moved.rowcount != 1:
        raise QuarantineMoved("Somebody has changed this entry meanwhile. Look at it again.", quarantine_id=entry.id)


def _decide(session: Session, entry: Entry, decision: Decision) -> None:
    now = datetime.now(UTC)
    values: Facts = {"state": decision.state, "decided_by": decision.by, "decided_at": now, "reason": decision.reason}
    values |= {"released_sha256": decision.released_sha256}
    _change(session, entry, values, done=decision.state == RELEASED)
    waiting = select(upload.c.id).where(
        upload.c.tenant_id == entry.tenant, upload.c.quarantine_id == entry.id, upload.c.state == HELD
    )
    for upload_id in session.scalars(waiting).all():
        receipt = None if decision.problem else json.dumps(_receipt(entry, upload_id, decision.verdict, now))
        session.execute(
            update(upload)
            .where(upload.c.id == upload_id)
            .values(
                state="rejected" if decision.problem else "ingested",
                receipt=receipt,
                problem=json.dumps(decision.problem) if decision.problem else None,
                updated_at=now,
            )
        )
    reasons = json.dumps(entry.reasons)
    row = {"id": entry.id, "tenant_id": entry.tenant, "state": decision.state, "study_uid": entry.study_uid}
    add_rows(session, [changed_event({**row, "sop_instance_uid": entry.sop_instance_uid, "reasons": reasons})])


def _receipt(entry: Entry, upload_id: str, verdict: str, now: datetime) -> Facts:
    """Return the site's receipt: for the bytes that it sent, which are kept whatever was corrected."""
    return {
        "upload_id": upload_id, "sha256": entry.sha256, "size_bytes": entry.size_bytes, "study_uid": entry.study_uid,
        "series_uid": entry.series_uid, "sop_instance_uid": entry.sop_instance_uid, "sop_class_uid": entry.sop_class_uid,
        "verdict": verdict, "stored_at": now.isoformat(),
    }  # fmt: skip


def _archived(session: Session, entry: Entry, patient_id: str) -> Archived | None:
    mine = select(study).where(study.c.tenant_id == entry.tenant)
    row = session.execute(mine.where(study.c.study_uid == entry.study_uid)).first()
    if row is None and patient_id:
        same = mine.where(study.c.patient_id == patient_id[:128]).order_by(study.c.study_date.desc(), study.c.id.desc())
        row = session.execute(same.limit(1)).first()
    if row is None:
        return None
    identity = {
        "patient_id": row.patient_id, "issuer": row.issuer, "patient_name": row.patient_name, "birth_date": row.birth_date,
        "sex": row.sex, "study_date": row.study_date, "accession_number": row.accession_number,
        "study_description": row.description,
    }  # fmt: skip
    return Archived(row.study_uid, row.study_uid == entry.study_uid, identity)


def _at(value: datetime | None) -> datetime | None:
    return value if value is None or value.tzinfo else value.replace(tzinfo=UTC)


def _entry(row: Any) -> Entry:
    held_at = _at(row.held_at)
    assert held_at is not None  # noqa: S101 - the column is not nullable
    return Entry(
        row.id, row.tenant_id, row.state, row.version, row.sha256, row.size_bytes, row.blob_key, row.study_uid,
        row.series_uid, row.sop_instance_uid, row.sop_class_uid, row.modality, json.loads(row.reasons),
        json.loads(row.findings), json.loads(row.identity), Origin(**json.loads(row.origin)), held_at,
        json.loads(row.proposal) if row.proposal else None, row.decided_by, _at(row.decided_at), row.reason,
        row.released_sha256,
    )  # fmt: skip
