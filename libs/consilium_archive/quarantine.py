"""Held objects: durable under a key of their own, listed for the quarantine desk, invisible to every search and retrieval.

Flows in: an object that validation doubts or whose study is another patient's; flows out: ``InstanceHeld`` for its sender, a row and
an event for the desk. The same bytes give the same entry, whoever sends them and however often; once the desk has decided,
they are answered by its decision. Order of steps: bytes, then row and event in one transaction, then the answer.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import structlog
from sqlalchemy import Row, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from consilium_archive.errors import (
    IdentityDiffers,
    InstanceDoubtful,
    InstanceHeld,
    PatientMismatch,
    QuarantineRefused,
)
from consilium_archive.index import Outcome
from consilium_archive.prepare import circumstances, finding_json, opened
from consilium_archive.quarantine_copies import mark_held, want_held_again, wanted_of
from consilium_archive.quarantine_table import quarantine
from consilium_archive.stages import Indexed, Received, Stored, Warned, quarantine_key
from consilium_archive.tables import instance
from consilium_core.events import EventType
from consilium_core.ids import new_ulid
from consilium_dicom.findings import finding
from consilium_dicom.header import Header, read_header
from consilium_dicom.policy import STORE_ALL
from consilium_dicom.transport import NOTHING_STATED
from consilium_dicom.validate import validate
from consilium_platform.blobs import BlobStore, first_place, is_whole
from consilium_platform.outbox import OutboxRelay, add_rows, event_row
from consilium_platform.sql import Database

log = structlog.get_logger()
Put = Callable[[], Awaitable[object]]
HELD, RELEASED, REJECTED = "held", "released", "rejected"
_CORRECTED = Warned(
    "identity-corrected",
    "stored with the identity that the quarantine desk has corrected",
    "已按隔离台更正后的身份存储",
    "operator",
)


class Quarantine:
    """Takes objects in and answers for those it knows; the desk decides (``consilium_ingest.quarantine_desk``)."""

    def __init__(self, database: Database, blobs: BlobStore, outbox: OutboxRelay) -> None:
        self._database = database
        self._blobs = blobs
        self._outbox = outbox

    async def take(self, received: Received, doubt: InstanceDoubtful) -> Indexed:
        """Hold the object and raise InstanceHeld, or answer by the decision on the same bytes: Indexed or QuarantineRefused."""
        sha256, size_bytes, header = await asyncio.to_thread(_look, received)
        put = partial(self._put, received, quarantine_key(received.tenant, sha256))
        known = await self.decided(received.tenant, sha256, put)
        if known is not None:
            return known
        await put()
        return await self._enter(_row(received, header, sha256, size_bytes, doubt))

    async def take_stored(self, stored: Stored, refusal: PatientMismatch) -> Outcome:
        """Hold an object whose study is stored for another patient or person; return the answer.

        Its bytes lie among the originals already; they are copied, so that sweeping up there never touches what is held.
        """
        valid, tenant = stored.validated, stored.validated.received.tenant
        try:
            known = await self.decided(tenant, valid.sha256, partial(self._copy_here, stored))
            if known is not None:
                return known
            data = await self._copy_here(stored)
            doubt = await asyncio.to_thread(_mismatch, valid.received, data, refusal)
            return await self._enter(_row(valid.received, valid.header, valid.sha256, valid.size_bytes, doubt))
        except (InstanceHeld, QuarantineRefused) as answer:
            return answer

    async def released(self, tenant: str, sha256: str) -> Indexed | None:
        """Return the archived instance if these bytes were released under a corrected identity."""
        try:
            return await self.decided(tenant, sha256)
        except (InstanceHeld, QuarantineRefused):
            return None

    async def _copy_here(self, stored: Stored) -> bytes:
        """Copy an object from the originals to the held ones; return it."""
        valid, data = stored.validated, await self._blobs.get(stored.key)
        await self._blobs.put(quarantine_key(valid.received.tenant, valid.sha256), data, "application/dicom")
        return data

    async def _put(self, received: Received, key: str) -> None:
        if received.data is not None:
            await self._blobs.put(key, received.data, "application/dicom")
        elif received.path is not None:
            await self._blobs.put_file(key, received.path, "application/dicom")

    async def _keep(self, row: Row[Any], put: Put) -> None:
        """Put a held object again if the first place has not got it whole, or it is marked as damaged there."""
        if not row.first_damage and await is_whole(first_place(self._blobs), row.blob_key, row.size_bytes):
            return
        await put()

        def settle(session: Session) -> None:
            want_held_again(session, wanted_of(row), datetime.now(UTC))
            mark_held(session, wanted_of(row), "first", None)

        await self._database.transact(settle)
        log.warning("held_object_stored_again", key=row.blob_key)

    async def decided(self, tenant: str, sha256: str, put: Put | None = None) -> Indexed | None:
        """Return how known bytes are answered, None for new ones; raise InstanceHeld or QuarantineRefused.

        With ``put`` (from who has the bytes) a held object that the store has lost is stored again before its sender is told that it is kept.
        """
        found = await self._database.query(partial(_entry, tenant=tenant, sha256=sha256))
        if found is None:
            return None
        row, archived = found
        if row.state == HELD:
            if put is not None:
                await self._keep(row, put)
            raise held(row)
        if row.state == REJECTED:
            raise QuarantineRefused(
                f"The quarantine desk has refused this object: {row.reason}.",
                quarantine_id=row.id,
                sop_class_uid=row.sop_class_uid,
                sop_instance_uid=row.sop_instance_uid,
            )
        if archived is None or archived.sha256 != row.released_sha256:
            return None
        at = archived.received_at if archived.received_at.tzinfo else archived.received_at.replace(tzinfo=UTC)
        changed = row.proposal is not None and archived.sha256 != row.sha256
        return Indexed(
            archived.study_uid, archived.series_uid, archived.sop_instance_uid, archived.sop_class_uid,
            json.loads(row.identity)["patient_id"], archived.sha256, archived.size_bytes, at, fresh=False,
            warnings=(_CORRECTED,) if changed else (),
        )  # fmt: skip

    async def _enter(self, row: dict[str, Any]) -> Indexed:
        await self._database.transact(partial(_insert, row=row))
        self._outbox.wake()
        known = await self.decided(row["tenant_id"], row["sha256"])
        if known is None:
            raise RuntimeError("a quarantine entry vanished after its commit")
        return known


def held(row: Row[Any]) -> InstanceHeld:
    """Return what the sender of a held object is told."""
    findings: list[dict[str, str]] = json.loads(row.findings)
    reasons = set(json.loads(row.reasons))
    words = "; ".join(one["text_en"] for one in findings if one["code"] in reasons)
    return InstanceHeld(
        f"The object is kept in quarantine (entry {row.id}) until a person has decided: {words}.",
        row.id,
        findings,
        sop_class_uid=row.sop_class_uid,
        sop_instance_uid=row.sop_instance_uid,
        reasons=json.loads(row.reasons),
    )


def changed_event(row: dict[str, Any]) -> dict[str, Any]:
    """Return the outbox row of ``quarantine.changed``: ids and codes only."""
    data = {
        "state": row["state"],
        "study_uid": row["study_uid"],
        "sop_instance_uid": row["sop_instance_uid"],
        "reasons": json.loads(row["reasons"]),
    }
    return event_row(EventType.QUARANTINE_CHANGED, tenant=row["tenant_id"], subject=row["id"], data=data)


def _insert(session: Session, row: dict[str, Any]) -> None:
    dialect: Any = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
    new = dialect.insert(quarantine).on_conflict_do_nothing(index_elements=["tenant_id", "sha256"])
    if session.execute(new.returning(quarantine.c.id), [row]).first() is not None:
        add_rows(session, [changed_event(row)])


def _entry(session: Session, tenant: str, sha256: str) -> tuple[Row[Any], Row[Any] | None] | None:
    """Return the entry of these bytes and the archived instance of its UID."""
    asked = select(quarantine).where(quarantine.c.tenant_id == tenant, quarantine.c.sha256 == sha256)
    row = session.execute(asked).first()
    if row is None:
        return None
    columns = ("study_uid", "series_uid", "sop_instance_uid", "sop_class_uid", "sha256", "size_bytes", "received_at")
    archived = select(*(instance.c[name] for name in columns)).where(
        instance.c.tenant_id == tenant, instance.c.sop_instance_uid == row.sop_instance_uid
    )
    return row, session.execute(archived).first()


def identity_of(header: Header) -> dict[str, str]:
    """Return what identifies the patient and the study, as the desk compares it."""
    return {
        "patient_id": header.patient_id,
        "issuer": header.issuer_of_patient_id,
        "patient_name": str(header.patient_name),
        "birth_date": header.birth_date,
        "sex": header.sex,
        "study_date": header.study_date,
        "accession_number": header.accession_number,
        "study_description": header.study_description,
        "character_set": header.character_set,
    }


def _mismatch(received: Received, data: bytes, refusal: PatientMismatch) -> InstanceDoubtful:
    """Return the doubt of another patient's or person's study, with everything else that validation says."""
    run = validate(data, known=circumstances(replace(received, stated=NOTHING_STATED), len(data), "", STORE_ALL))
    why = refusal.found if isinstance(refusal, IdentityDiffers) else (finding("patient-mismatch", "(0010,0020)"),)
    return InstanceDoubtful(refusal.detail, [refusal.code], [finding_json(one) for one in (*why, *run.findings)])


def _row(received: Received, header: Header, sha256: str, size_bytes: int, doubt: InstanceDoubtful) -> dict[str, Any]:
    return {
        "id": new_ulid(),
        "tenant_id": received.tenant,
        "state": HELD,
        "sha256": sha256,
        "size_bytes": size_bytes,
        "blob_key": quarantine_key(received.tenant, sha256),
        "study_uid": header.study_uid[:64],
        "series_uid": header.series_uid[:64],
        "sop_instance_uid": header.sop_instance_uid[:64],
        "sop_class_uid": header.sop_class_uid[:64],
        "modality": header.modality[:16],
        "reasons": json.dumps(doubt.reasons),
        "findings": json.dumps(doubt.findings, ensure_ascii=False),
        "identity": json.dumps(identity_of(header), ensure_ascii=False),
        "origin": json.dumps(asdict(received.origin)),
        "held_at": datetime.now(UTC),
        "version": 1,
    }


def _look(received: Received) -> tuple[str, int, Header]:
    with opened(received) as data:
        return hashlib.sha256(data).hexdigest(), len(data), read_header(data)
