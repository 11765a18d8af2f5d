"""``GET /api/v1/imaging/worklist`` (docs/architecture.md section 5)."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Query
from fastapi.responses import JSONResponse

from consilium_archive.worklist import WorklistAsk, worklist
from consilium_core.roles import Permission, Principal
from consilium_imaging.views import ViewAudit
from consilium_platform.http.auth import require
from consilium_platform.sql import Database


def worklist_router(database: Database, views: ViewAudit) -> APIRouter:
    """Return the worklist's address."""
    router = APIRouter(prefix="/api/v1/imaging")

    @router.get("/worklist")
    async def studies(
        q: str = Query("", max_length=200),
        modality: str = Query("", max_length=16),
        date_from: str = Query("", max_length=10),
        date_to: str = Query("", max_length=10),
        patient_of_study: str = Query("", max_length=64),
        cursor: str = Query("", max_length=400),
        limit: int = Query(50, ge=1, le=200),
        principal: Principal = Depends(require(Permission.STUDY_READ)),
    ) -> JSONResponse:
        ask = WorklistAsk(q, modality, date_from, date_to, patient_of_study, cursor, limit)
        if patient_of_study:
            await views.once(principal, "study.view", patient_of_study, "patient's studies")
        named = {"q": q, "modality": modality, "date_from": date_from, "date_to": date_to}
        await views.search(principal, "worklist", "&".join(name for name, value in named.items() if value))
        page = await worklist(database, principal.tenant, ask)
        await views.shown(principal, "worklist", page.patients)
        body: dict[str, Any] = {"items": list(page.items), "next_cursor": page.next_cursor}
        return JSONResponse(body, headers={"Cache-Control": "no-store"})

    return router
