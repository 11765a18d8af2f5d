"""``/api/v1/ingest/storage`` and ``/api/v1/ingest/holds``: where originals stand, tombstones, legal holds.

What names a study or a patient is audited before it is answered; a hold is audited in its own transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Response

from consilium_archive.holds import HoldAsk, list_holds, place_hold, release_hold
from consilium_archive.storage_status import storage_summary, study_storage, tombstones
from consilium_core.roles import Permission, Principal
from consilium_dicom.uids import is_valid_uid
from consilium_ingest.errors import UidInvalid
from consilium_ingest.storage.wire import (
    HoldIn,
    HoldOut,
    HoldPage,
    StorageSummary,
    StudyStorageOut,
    TombstonePage,
)
from consilium_platform.audit import AuditLog
from consilium_platform.http.auth import require
from consilium_platform.sql import Database

Cursor = Annotated[str, Query(max_length=20, pattern="^[0-9]*$")]


@dataclass(frozen=True)
class StorageDesk:
    """What the addresses need of their room."""

    database: Database
    audit: AuditLog
    copy_store: Literal["none", "folder", "s3"]


def storage_router(desk: StorageDesk) -> APIRouter:
    """Return the addresses."""
    router = APIRouter(prefix="/api/v1/ingest", tags=["ingest"])
    reader, holder = require(Permission.STORAGE_READ), require(Permission.HOLD_DECIDE)

    @router.get("/storage")
    async def summary(response: Response, who: Principal = Depends(reader)) -> StorageSummary:
        response.headers["Cache-Control"] = "no-store"
        sums = await storage_summary(desk.database, who.tenant, copies=desk.copy_store != "none")
        return StorageSummary.model_validate({"copy_store": desk.copy_store, **sums})

    @router.get("/storage/studies/{study_uid}")
    async def study(
        study_uid: str, response: Response, cursor: Cursor = "", who: Principal = Depends(reader)
    ) -> StudyStorageOut:
        if not is_valid_uid(study_uid):
            raise UidInvalid("The path does not name a Study Instance UID.")
        copies = desk.copy_store != "none"
        found = await study_storage(desk.database, who.tenant, study_uid, copies=copies, cursor=int(cursor or 0))
        await desk.audit.act(who, "storage.view", subject=study_uid, patient_id=found.patient_id)
        response.headers["Cache-Control"] = "no-store"
        facts: dict[str, Any] = {"first": found.first, "copy": found.copy, "instances": found.instances}
        return StudyStorageOut.model_validate({"study_uid": study_uid, **facts, "next_cursor": found.next_cursor})

    @router.get("/storage/tombstones")
    async def stones(
        response: Response,
        study_uid: Annotated[str, Query(pattern=r"^[0-9.]{0,64}$")] = "",
        cursor: Cursor = "",
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        who: Principal = Depends(reader),
    ) -> TombstonePage:
        items, following = await tombstones(desk.database, who.tenant, study_uid, before=int(cursor or 0), limit=limit)
        await desk.audit.act(who, "tombstone.view", subject=study_uid, detail=f"{len(items)} tombstones")
        response.headers["Cache-Control"] = "no-store"
        return TombstonePage.model_validate({"items": items, "next_cursor": following})

    @router.get("/holds")
    async def holds(response: Response, released: bool = False, who: Principal = Depends(reader)) -> HoldPage:
        found = await list_holds(desk.database, who.tenant, released=released)
        await desk.audit.act(who, "hold.view", detail=f"{len(found)} holds")
        response.headers["Cache-Control"] = "no-store"
        return HoldPage(items=[HoldOut.model_validate(hold.wire()) for hold in found])

    @router.post("/holds", status_code=201)
    async def place(body: HoldIn, response: Response, who: Principal = Depends(holder)) -> HoldOut:
        ask = HoldAsk(body.reason, body.study_uid, body.patient_id)
        placed = await place_hold(desk.database, desk.audit, who, ask)
        response.headers["Location"] = f"/api/v1/ingest/holds/{placed.id}"
        return HoldOut.model_validate(placed.wire())

    @router.delete("/holds/{hold_id}")
    async def release(hold_id: str, who: Principal = Depends(holder)) -> HoldOut:
        return HoldOut.model_validate((await release_hold(desk.database, desk.audit, who, hold_id)).wire())

    return router
