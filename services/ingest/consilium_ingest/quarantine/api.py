"""``/api/v1/ingest/quarantine``: list, look, propose and withdraw an identity, release, reject. Everything is audited before it is answered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from sqlalchemy.orm import Session

from consilium_archive.index import Outcome
from consilium_archive.stages import Indexed
from consilium_core.errors import ConsiliumError
from consilium_core.roles import Permission, Principal
from consilium_ingest.quarantine.desk import QuarantineDesk, expect
from consilium_ingest.quarantine.rows import Entry
from consilium_ingest.quarantine.wire import (
    DecisionIn,
    EntryOut,
    EntryPage,
    EntryWhole,
    IdentityIn,
    ReleasedOut,
    State,
    entry_out,
    entry_whole,
    released_out,
)
from consilium_ingest.store_audit import Who, store_entries
from consilium_platform.audit import AuditLog
from consilium_platform.http.auth import require

Limit = Annotated[int, Query(ge=1, le=200)]
Cursor = Annotated[str, Query(max_length=26, pattern="^[0-9A-Z]*$")]
StudyUid = Annotated[str, Query(max_length=64, pattern=r"^[0-9.]*$")]
Version = Annotated[int, Query(ge=1)]


def quarantine_router(desk: QuarantineDesk, audit: AuditLog) -> APIRouter:
    """Return the desk's addresses."""
    router = APIRouter(prefix="/api/v1/ingest/quarantine", tags=["ingest"])
    reader, decider = require(Permission.QUARANTINE_READ), require(Permission.QUARANTINE_DECIDE)

    async def write(principal: Principal, action: str, entry: Entry, detail: str = "") -> None:
        patient = entry.identity.get("patient_id", "")[:128]
        await audit.act(principal, f"quarantine.{action}", subject=entry.id, patient_id=patient, detail=detail)

    async def refused(principal: Principal, action: str, entry: Entry, refusal: ConsiliumError) -> None:
        patient = entry.identity.get("patient_id", "")[:128]
        await audit.act(
            principal, f"quarantine.{action}", "failure", subject=entry.id, patient_id=patient, detail=refusal.code
        )

    async def whole(entry: Entry) -> EntryWhole:
        return entry_whole(entry, *await desk.compare(entry))

    @router.get("")
    async def entries(
        response: Response,
        state: State = "held",
        cursor: Cursor = "",
        limit: Limit = 50,
        study_uid: StudyUid = "",
        who: Principal = Depends(reader),
    ) -> EntryPage:
        found, following = await desk.rows.page(who.tenant, state, cursor, limit, study_uid)
        await audit.act(who, "quarantine.list", detail=f"{len(found)} {state}")
        response.headers["Cache-Control"] = "no-store"
        return EntryPage(items=[entry_out(entry) for entry in found], next_cursor=following)

    @router.get("/{entry_id}")
    async def entry(entry_id: str, response: Response, who: Principal = Depends(reader)) -> EntryWhole:
        known = await desk.rows.get(who.tenant, entry_id)
        await write(who, "view", known)
        response.headers["Cache-Control"] = "no-store"
        return await whole(known)

    @router.post("/{entry_id}/identity")
    async def propose(entry_id: str, body: IdentityIn, who: Principal = Depends(decider)) -> EntryWhole:
        known = expect(await desk.rows.get(who.tenant, entry_id), body.version)
        changed = await desk.propose(who, known, body.correction(), body.reason)
        named = ", ".join(sorted((changed.proposal or {})["changes"]))
        await write(who, "propose", changed, f"{named}: {body.reason}")
        return await whole(changed)

    @router.delete("/{entry_id}/identity")
    async def withdraw(entry_id: str, version: Version, who: Principal = Depends(decider)) -> EntryWhole:
        known = expect(await desk.rows.get(who.tenant, entry_id), version)
        changed = await desk.withdraw(known)
        await write(who, "withdraw", changed)
        return await whole(changed)

    @router.post("/{entry_id}/release")
    async def release(entry_id: str, body: DecisionIn, who: Principal = Depends(decider)) -> ReleasedOut:
        known = expect(await desk.rows.get(who.tenant, entry_id), body.version)
        act = Who(who.tenant, who.subject, who.role.value, f"released from quarantine (entry {known.id})")

        def stored(session: Session, outcomes: Sequence[Outcome]) -> None:
            audit.append(session, store_entries(act, [one for one in outcomes if isinstance(one, Indexed)]))

        try:
            released = await desk.release(who, known, body.reason, stored)
        except ConsiliumError as refusal:
            await refused(who, "release", known, refusal)
            raise
        proposed = f"; identity proposed by {known.proposal['by']}" if known.proposal is not None else ""
        await write(who, "release", released.entry, f"{body.reason}{proposed}")
        now = released.indexed.patient_id[:128]
        if now != known.identity.get("patient_id", "")[:128]:  # the study that has grown is somebody else's
            detail = f"{body.reason}{proposed}"
            await audit.act(who, "quarantine.release", subject=known.id, patient_id=now, detail=detail)
        return released_out(released.indexed, released.entry)

    @router.post("/{entry_id}/reject")
    async def reject(entry_id: str, body: DecisionIn, who: Principal = Depends(decider)) -> EntryOut:
        known = expect(await desk.rows.get(who.tenant, entry_id), body.version)
        rejected = await desk.reject(who, known, body.reason)
        await write(who, "reject", rejected, body.reason)
        return entry_out(rejected)

    return router
