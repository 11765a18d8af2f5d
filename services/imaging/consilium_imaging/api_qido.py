"""QIDO-RS: searches for studies, series and instances (PS3.18 10.6)."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter, Depends, Request, Response

from consilium_archive.query import Level, PageRule, parse_query
from consilium_archive.reader import ArchiveReader, Found, Scope
from consilium_core.roles import Permission, Principal
from consilium_imaging.negotiate import json_type
from consilium_imaging.settings import ImagingSettings
from consilium_imaging.views import ViewAudit
from consilium_platform.http.auth import require
from consilium_platform.http.plain_route import PlainRoute

_NAMES = {Level.STUDY: "studies", Level.SERIES: "series", Level.INSTANCE: "instances"}
_MORE = '299 consilium "There are more results than X-Total-Count says: it counts no further."'


@dataclass(frozen=True)
class SearchDesk:
    """What searches need of their room."""

    reader: ArchiveReader
    views: ViewAudit
    settings: ImagingSettings


def base_url(request: Request, settings: ImagingSettings) -> str:
    """Return the address under which the caller reaches ``/dicomweb``."""
    if settings.public_url:
        return f"{settings.public_url}/dicomweb"
    host = request.headers.get("host")
    if host and not request.scope.get("root_path"):  # what base_url gives, without the parsing of a URL
        return f"{request.scope['scheme']}://{host}/dicomweb"
    return f"{str(request.base_url).rstrip('/')}/dicomweb"


def qido_router(desk: SearchDesk) -> APIRouter:
    """Return the six search addresses."""
    router = APIRouter(prefix="/dicomweb", route_class=PlainRoute)
    reader = require(Permission.STUDY_READ)

    @router.get("/studies")
    async def studies(request: Request, principal: Principal = Depends(reader)) -> Response:
        return await _search(desk, request, principal, Level.STUDY, Scope())

    @router.get("/series")
    async def all_series(request: Request, principal: Principal = Depends(reader)) -> Response:
        return await _search(desk, request, principal, Level.SERIES, Scope())

    @router.get("/instances")
    async def all_instances(request: Request, principal: Principal = Depends(reader)) -> Response:
        return await _search(desk, request, principal, Level.INSTANCE, Scope())

    @router.get("/studies/{study}/series")
    async def series(study: str, request: Request, principal: Principal = Depends(reader)) -> Response:
        return await _search(desk, request, principal, Level.SERIES, Scope(study))

    @router.get("/studies/{study}/instances")
    async def instances(study: str, request: Request, principal: Principal = Depends(reader)) -> Response:
        return await _search(desk, request, principal, Level.INSTANCE, Scope(study))

    @router.get("/studies/{study}/series/{series}/instances")
    async def instances_of(
        study: str, series: str, request: Request, principal: Principal = Depends(reader)
    ) -> Response:
        return await _search(desk, request, principal, Level.INSTANCE, Scope(study, series))

    return router


async def _search(desk: SearchDesk, request: Request, principal: Principal, level: Level, scope: Scope) -> Response:
    media = json_type(request)
    settings = desk.settings
    page = (
        PageRule(1000, settings.page_most_instances)
        if level is Level.INSTANCE
        else PageRule(settings.page_usual, settings.page_most)
    )
    query = parse_query(level, request.query_params.multi_items(), page)
    if scope.study_uid:
        await desk.views.once(principal, "study.view", scope.study_uid, f"list {_NAMES[level]}")
    else:
        await desk.views.search(principal, _NAMES[level], "&".join(query.asked))
    found = await desk.reader.search(principal.tenant, query, scope, base_url(request, settings))
    await desk.views.shown(principal, _NAMES[level], found.patients)
    return _answer(found, media)


def _answer(found: Found, media: str) -> Response:
    headers = {"X-Total-Count": str(found.total), "Cache-Control": "no-store"}
    if not found.exact:
        headers["Warning"] = _MORE
    return Response(f"[{','.join(found.objects)}]", 200, headers, media)
