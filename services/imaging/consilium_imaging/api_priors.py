"""``GET /api/v1/imaging/studies/{uid}/priors``: which priors were made hot for a study's consultation, why, and how far that is.

The state is read from the disk of the replica that answers: what it calls hot, it gives without asking the object store.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, Field

from consilium_archive.dicom_json import members_of
from consilium_archive.errors import NotArchived, OriginalArchived
from consilium_archive.prior_rule import WORDS, Reason
from consilium_archive.reader import ArchiveReader, Scope
from consilium_archive.shown import shown_by
from consilium_core.clock import utc
from consilium_core.roles import Permission, Principal
from consilium_imaging.bookings import Bookings
from consilium_imaging.prefetch import Prefetch
from consilium_imaging.views import ViewAudit
from consilium_imaging.wado import scope
from consilium_platform.http.auth import require

State = Literal["waiting", "partly", "hot", "failed"]


class PriorReason(BaseModel):
    """Why a prior was chosen."""

    code: Reason
    text_en: str
    text_zh: str


class PriorStudy(BaseModel):
    """One prior. ``problem``: the code of what kept it from being hot when it was last tried; dates as DICOM writes them (DA, TM)."""

    study_uid: str
    study_date: str
    study_time: str
    description: str
    modalities: list[str]
    instances: int
    reason: PriorReason
    state: State
    problem: str | None
    again_at: datetime | None = Field(
        description="Before this it is not fetched: it is being restored from the archive."
    )
    size_bytes: int
    hot_bytes: int
    chosen_at: datetime
    hot_at: datetime | None = Field(description="When the whole of it was hot for the first time.")


class PriorPage(BaseModel):
    """Priors in the order in which they are fetched. Without a consultation (null) nobody here has booked one about the study, if it exists."""

    items: list[PriorStudy]
    next_cursor: str | None = None
    consultation_id: str | None
    fetching: bool = Field(
        description="Whether what is not hot will be fetched. Not once the consultation is over or its last event is too old, nor where nothing is pre-fetched."
    )


def priors_router(reader: ArchiveReader, bookings: Bookings, prefetch: Prefetch | None, views: ViewAudit) -> APIRouter:
    """Return the address of priors."""
    router = APIRouter(prefix="/api/v1/imaging", tags=["imaging"])

    @router.get("/studies/{uid}/priors")
    async def priors(
        uid: str, response: Response, principal: Principal = Depends(require(Permission.STUDY_READ))
    ) -> PriorPage:
        asked = scope(uid)
        await views.search(principal, "priors", asked.study_uid)
        booked = await bookings.of_study(principal.tenant, asked.study_uid)
        if booked is None:
            return PriorPage(items=[], consultation_id=None, fetching=False)
        rows = await bookings.chosen(booked)
        await views.shown(principal, "priors", shown_by(rows))
        response.headers["Cache-Control"] = "no-store"
        found = [await _prior(reader, prefetch, principal.tenant, row) for row in rows]
        items = [one for one in found if one is not None]
        fetching = prefetch is not None and prefetch.keeps(booked)
        return PriorPage(items=items, consultation_id=booked.consultation_id, fetching=fetching)

    return router


async def _prior(reader: ArchiveReader, prefetch: Prefetch | None, tenant: str, row: Any) -> PriorStudy | None:
    try:
        places = await reader.places(tenant, Scope(row.study_uid))
    except NotArchived:  # removed since its row was read
        return None
    hot = await reader.hot(places)
    problem = prefetch.problem_of(tenant, row.study_uid) if prefetch is not None and len(hot) < len(places) else None
    code = None if problem is None else problem.code
    reason = Reason(row.reason)
    text_en, text_zh = WORDS[reason]
    return PriorStudy(
        study_uid=row.study_uid, study_date=row.study_date, study_time=row.study_time, description=row.description,
        modalities=members_of(row.modalities), instances=row.instance_count,
        reason=PriorReason(code=reason, text_en=text_en, text_zh=text_zh), state=_state(len(hot), len(places), code),
        problem=code, again_at=problem and problem.again_at, size_bytes=sum(place.size_bytes for place in places),
        hot_bytes=sum(place.size_bytes for place in places if place.key in hot), chosen_at=utc(row.chosen_at),
        hot_at=None if row.hot_at is None else utc(row.hot_at),
    )  # fmt: skip


def _state(hot: int, all_of: int, problem: str | None) -> State:
    if hot == all_of:
        return "hot"
    if problem is not None and problem != OriginalArchived.code:  # what is being restored is waited for
        return "failed"
    return "partly" if hot else "waiting"
