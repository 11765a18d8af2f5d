"""WADO-RS: originals, metadata and bulk data (PS3.18 10.4)."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request, Response

from consilium_archive.packing import json_array, plain, zlib_stream
from consilium_archive.reader import Scope
from consilium_core.roles import Permission, Principal
from consilium_dicom.uids import transfer_syntax
from consilium_imaging.api_frames import frames_answer
from consilium_imaging.api_qido import base_url
from consilium_imaging.bulkdata import bulk_answer
from consilium_imaging.desk import ViewDesk
from consilium_imaging.instances import instances_answer
from consilium_imaging.negotiate import json_type
from consilium_imaging.wado import etag, scope, unchanged
from consilium_platform.http.auth import require
from consilium_platform.http.plain_route import PlainRoute

_INFLATE_HERE_BYTES = 256 << 10  # about 1 ms; more is done in a thread


def retrieve_router(desk: ViewDesk) -> APIRouter:
    """Return the addresses of originals, metadata and bulk data."""
    router = APIRouter(prefix="/dicomweb/studies/{study}", route_class=PlainRoute)
    reader = require(Permission.STUDY_READ)

    @router.get("/metadata")
    async def study_metadata(study: str, request: Request, principal: Principal = Depends(reader)) -> Response:
        return await _metadata(desk, request, principal, scope(study))

    @router.get("/series/{series}/metadata")
    async def series_metadata(
        study: str, series: str, request: Request, principal: Principal = Depends(reader)
    ) -> Response:
        return await _metadata(desk, request, principal, scope(study, series))

    @router.get("/series/{series}/instances/{instance}/metadata")
    async def instance_metadata(
        study: str, series: str, instance: str, request: Request, principal: Principal = Depends(reader)
    ) -> Response:
        return await _metadata(desk, request, principal, scope(study, series, instance))

    @router.get("/series/{series}/instances/{instance}/bulkdata/{path:path}")
    async def bulk(
        study: str, series: str, instance: str, path: str, request: Request, principal: Principal = Depends(reader)
    ) -> Response:
        return await _bulk(desk, request, principal, scope(study, series, instance), path)

    @router.get("")
    async def study_originals(study: str, request: Request, principal: Principal = Depends(reader)) -> Response:
        return await _originals(desk, request, principal, scope(study))

    @router.get("/series/{series}")
    async def series_originals(
        study: str, series: str, request: Request, principal: Principal = Depends(reader)
    ) -> Response:
        return await _originals(desk, request, principal, scope(study, series))

    @router.get("/series/{series}/instances/{instance}")
    async def original(
        study: str, series: str, instance: str, request: Request, principal: Principal = Depends(reader)
    ) -> Response:
        return await _originals(desk, request, principal, scope(study, series, instance))

    return router


async def _originals(desk: ViewDesk, request: Request, principal: Principal, asked: Scope) -> Response:
    if asked.series_uid:
        await desk.views.once(principal, "study.retrieve", asked.study_uid)
    else:
        await desk.views.study(principal, "study.retrieve", asked.study_uid)
    places = await desk.reader.places(principal.tenant, asked)
    return await instances_answer(desk, request, principal, places, base_url(request, desk.settings))


async def _metadata(desk: ViewDesk, request: Request, principal: Principal, asked: Scope) -> Response:
    media = json_type(request)
    if asked.series_uid:
        await desk.views.once(principal, "study.view", asked.study_uid)
    else:
        await desk.views.study(principal, "study.view", asked.study_uid, "metadata")
    pieces = await desk.reader.metadata(principal.tenant, asked)
    tag = etag("metadata", media, *((piece.adler, piece.plain_bytes) for piece in pieces))
    headers = {"ETag": tag, "Cache-Control": "private, no-cache", "Vary": "Accept, Accept-Encoding, Authorization"}
    if unchanged(request, tag):
        return Response(status_code=304, headers=headers)
    if _takes_deflate(request):
        return Response(zlib_stream(json_array(pieces)), 200, headers | {"Content-Encoding": "deflate"}, media)
    large = sum(piece.plain_bytes for piece in pieces) > _INFLATE_HERE_BYTES
    body = await desk.pictures.workers.run(lambda: plain(json_array(pieces))) if large else plain(json_array(pieces))
    return Response(body, 200, headers, media)


def _takes_deflate(request: Request) -> bool:
    """Tell whether the client takes the stored pieces as they are, joined into one zlib stream."""
    codings = [one.strip().lower() for one in request.headers.get("accept-encoding", "").split(",")]
    return any(one.split(";")[0] == "deflate" and not one.replace(" ", "").endswith(";q=0") for one in codings)


async def _bulk(desk: ViewDesk, request: Request, principal: Principal, asked: Scope, path: str) -> Response:
    await desk.views.once(principal, "study.view", asked.study_uid)
    place, index = await desk.reader.frame_index(principal.tenant, asked)
    known = transfer_syntax(place.transfer_syntax_uid)
    if path.upper() == "7FE00010" and index is not None and index.encapsulated and known is not None:
        if known.codec == "video":
            return await bulk_answer(desk, request, place, index, path, known.media_type)
        return await frames_answer(desk, request, principal, (place, index), list(range(index.count)))
    return await bulk_answer(desk, request, place, index, path)
