"""WADO-URI for old viewers: one object by query parameters, as a picture, a video or a DICOM file (PS3.18 9)."""

from __future__ import annotations

import math

from fastapi import APIRouter, Depends, Request, Response

from consilium_archive.errors import NotArchived
from consilium_archive.reader import Place, Scope
from consilium_core.roles import Permission, Principal
from consilium_dicom.frames import FrameIndex
from consilium_dicom.render import Format
from consilium_imaging.api_frames import PDF, PDF_CLASS, PDF_PATH, picture_answer, video_answer
from consilium_imaging.bulkdata import bulk_answer
from consilium_imaging.desk import ViewDesk
from consilium_imaging.errors import NotAcceptable, NotAPicture, RequestInvalid
from consilium_imaging.instances import DICOM, stored_answer, target_of, transcoded_answer
from consilium_imaging.pictures import Wish
from consilium_imaging.transcoding import VERSION, Source
from consilium_imaging.wado import MOST_SIDE, etag, not_modified, scope, unchanged
from consilium_platform.http.auth import require
from consilium_platform.http.plain_route import PlainRoute

_PICTURES: dict[str, Format] = {"image/jpeg": "jpeg", "image/png": "png"}
_VIDEOS = ("video/mp4", "video/mpeg")
_OF_PICTURES = ("frameNumber", "windowCenter", "windowWidth", "rows", "columns", "imageQuality")
_REFUSED = ("region", "presentationUID", "presentationSeriesUID")


def uri_router(desk: ViewDesk) -> APIRouter:
    """Return the one address."""
    router = APIRouter(route_class=PlainRoute)
    reader = require(Permission.STUDY_READ)

    @router.get("/wado")
    async def wado_uri(request: Request, principal: Principal = Depends(reader)) -> Response:
        asked = _scope(request)
        await desk.views.once(principal, "study.view", asked.study_uid)
        place, index = await desk.reader.frame_index(principal.tenant, asked)
        media = _media(request, place)
        if media == DICOM:
            await desk.views.once(principal, "study.retrieve", asked.study_uid)
            return await _file(desk, request, principal, place)
        if media == PDF:
            return await bulk_answer(desk, request, place, None, PDF_PATH, PDF)
        if index is None:
            raise NotAPicture("The object has no picture: ask for application/dicom.")
        if media in _VIDEOS:
            return await video_answer(desk, request, place, index)
        return await _drawn(desk, request, place, index, _PICTURES[media])

    return router


def _scope(request: Request) -> Scope:
    """Return the object that the query names; raise RequestInvalid for what is missing or not done here."""
    query = request.query_params
    if query.get("requestType") != "WADO":
        raise RequestInvalid("requestType must be WADO.", parameter="requestType")
    for name in ("studyUID", "seriesUID", "objectUID"):
        if not query.get(name):
            raise RequestInvalid(f"{name} is missing.", parameter=name)
    if query.get("anonymize"):
        raise RequestInvalid(
            "Objects are not anonymised here: export them through de-identification.", parameter="anonymize"
        )
    for name in _REFUSED:
        if query.get(name):
            raise RequestInvalid(f"{name} is not supported.", parameter=name)
    return scope(query["studyUID"], query["seriesUID"], query["objectUID"])


def _media(request: Request, place: Place) -> str:
    """Return the first media type of contentType that the object has; unsaid: a picture of a still or of the frame that is named, else
    the file (9.1.2.2).
    """
    still = place.frames == 1 or (place.frames and request.query_params.get("frameNumber"))
    usual = "image/jpeg" if still and not place.is_video else DICOM
    offered: tuple[str, ...] = (
        (*_VIDEOS, DICOM) if place.is_video else (*_PICTURES, DICOM) if place.frames else (DICOM,)
    )
    if place.sop_class_uid == PDF_CLASS:
        offered = (PDF, DICOM)
    given = [one.split(";")[0].strip().lower() for one in request.query_params.get("contentType", "").split(",")]
    wanted = [one for one in given if one] or [usual]
    for one in wanted:
        if one in ("*/*", "application/*"):
            return usual
        if one in offered:
            return one
        if one == "image/*" and "image/jpeg" in offered:
            return "image/jpeg"
    raise NotAcceptable(
        f"contentType names {', '.join(wanted)[:120]!r}; on offer: {', '.join(offered)}.", offered=list(offered)
    )


async def _file(desk: ViewDesk, request: Request, principal: Principal, place: Place) -> Response:
    for name in _OF_PICTURES:
        if request.query_params.get(name):
            raise RequestInvalid(f"{name} is for pictures, not for {DICOM}.", parameter=name)
    wanted = request.query_params.get("transferSyntax", "")
    target = target_of(place, wanted, lossy=desk.settings.lossy) or target_of(place, "") or place.transfer_syntax_uid
    stored = target == place.transfer_syntax_uid
    tag = etag("dicom", True, *([] if stored else [VERSION, target]), place.sha256)
    if unchanged(request, tag):
        return not_modified(tag)
    if stored:
        return await stored_answer(desk, request, place, tag)
    return await transcoded_answer(desk, request, Source(principal.tenant, place, target), tag)


async def _drawn(desk: ViewDesk, request: Request, place: Place, index: FrameIndex, fmt: Format) -> Response:
    frame = _integer(request, "frameNumber", 1, index.count) or 1
    quality = _integer(request, "imageQuality", 1, 100) or 90
    columns, rows = _integer(request, "columns", 1, MOST_SIDE), _integer(request, "rows", 1, MOST_SIDE)
    viewport = (columns or MOST_SIDE, rows or MOST_SIDE) if columns or rows else None
    wish = Wish(_window(request), None, viewport, fmt, quality)
    return await picture_answer(desk, request, place, index, frame - 1, wish)


def _integer(request: Request, name: str, least: int, most: int) -> int | None:
    text = request.query_params.get(name, "")
    if not text:
        return None
    if not text.isdecimal() or len(text) > 7 or int(text) < least:
        raise RequestInvalid(f"{name} is a number from {least} on.", parameter=name)
    if int(text) > most:
        if name == "frameNumber":
            raise NotArchived(f"There is no frame {text}: the instance has {most}.", frames=most)
        raise RequestInvalid(f"{name} is at most {most}.", parameter=name)
    return int(text)


def _window(request: Request) -> tuple[float, float] | None:
    center, width = (request.query_params.get(name, "") for name in ("windowCenter", "windowWidth"))
    if not center and not width:
        return None
    try:
        window = float(center), float(width)
    except ValueError:
        window = math.nan, math.nan
    if not all(map(math.isfinite, window)) or window[1] < 1:
        raise RequestInvalid(
            "windowCenter and windowWidth are two numbers, the width at least 1.", parameter="windowCenter"
        )
    return window
