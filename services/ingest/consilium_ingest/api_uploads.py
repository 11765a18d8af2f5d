"""tus 1.0 under ``/site/v1/uploads`` (served to sites), and ``/api/v1/ingest/uploads/{id}`` (to people)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse

from consilium_core.roles import Permission, Principal
from consilium_ingest.errors import MediaTypeUnsupported, TusVersion, UploadInvalid
from consilium_ingest.uploads import ALGORITHMS, Uploads, parse_checksum, parse_metadata
from consilium_platform.http.auth import require

VERSION = "1.0.0"
_HERE = {"Tus-Resumable": VERSION, "Cache-Control": "no-store"}
_OFFSET_MEDIA = "application/offset+octet-stream"


def _speaks_tus(request: Request) -> None:
    if request.headers.get("tus-resumable") != VERSION:
        raise TusVersion(f"Speak tus {VERSION}: send Tus-Resumable.", version=VERSION)


def _number(request: Request, header: str) -> int:
    value = request.headers.get(header, "")
    if not value.isdecimal() or len(value) > 15:
        raise UploadInvalid(f"{header} is missing or not a number.")
    return int(value)


def uploads_router(uploads: Uploads) -> APIRouter:
    """Return the tus addresses; a site sees only its own uploads."""
    router = APIRouter()
    site: Callable[[Request], Awaitable[Principal]] = require(Permission.SITE_WORK)

    @router.options("/site/v1/uploads")
    async def capabilities() -> Response:
        headers = {
            "Tus-Version": VERSION,
            "Tus-Extension": "creation,checksum,termination",
            "Tus-Checksum-Algorithm": ",".join(ALGORITHMS),
            "Tus-Max-Size": str(uploads.max_bytes),
        }
        return Response(status_code=204, headers=_HERE | headers)

    @router.post("/site/v1/uploads")
    async def create(request: Request, principal: Principal = Depends(site)) -> Response:
        _speaks_tus(request)
        length = _number(request, "Upload-Length")
        if length == 0:
            raise UploadInvalid("An upload of no bytes holds no object.")
        facts = parse_metadata(request.headers.get("upload-metadata"))
        new = await uploads.create(principal.tenant, principal.subject, length, facts)
        headers = {"Location": f"/site/v1/uploads/{new.id}", "Upload-Offset": "0"}
        return Response(status_code=201, headers=_HERE | headers)

    @router.head("/site/v1/uploads/{upload_id}")
    async def offset(upload_id: str, request: Request, principal: Principal = Depends(site)) -> Response:
        _speaks_tus(request)
        known = await uploads.rows.get(principal.tenant, upload_id, principal.subject)
        headers = {"Upload-Offset": str(known.offset), "Upload-Length": str(known.length)}
        return Response(status_code=200, headers=_HERE | headers)

    @router.patch("/site/v1/uploads/{upload_id}")
    async def append(upload_id: str, request: Request, principal: Principal = Depends(site)) -> Response:
        _speaks_tus(request)
        media = request.headers.get("content-type", "").split(";")[0].strip().lower()
        if media != _OFFSET_MEDIA:
            raise MediaTypeUnsupported(f"A chunk is {_OFFSET_MEDIA}.")
        at = _number(request, "Upload-Offset")
        checksum = parse_checksum(request.headers.get("upload-checksum"))
        known = await uploads.rows.get(principal.tenant, upload_id, principal.subject)
        moved = await uploads.append(known, at, request.stream(), checksum)
        return Response(status_code=204, headers=_HERE | {"Upload-Offset": str(moved.offset)})

    @router.delete("/site/v1/uploads/{upload_id}")
    async def terminate(upload_id: str, request: Request, principal: Principal = Depends(site)) -> Response:
        _speaks_tus(request)
        await uploads.terminate(await uploads.rows.get(principal.tenant, upload_id, principal.subject))
        return Response(status_code=204, headers=_HERE)

    @router.get("/site/v1/uploads/{upload_id}/status")
    async def status(upload_id: str, principal: Principal = Depends(site)) -> JSONResponse:
        known = await uploads.rows.get(principal.tenant, upload_id, principal.subject)
        return JSONResponse(known.status().model_dump(mode="json"), headers={"Cache-Control": "no-store"})

    @router.get("/api/v1/ingest/uploads/{upload_id}")
    async def seen_by_people(
        upload_id: str, principal: Principal = Depends(require(Permission.SITE_READ))
    ) -> JSONResponse:
        known = await uploads.rows.get(principal.tenant, upload_id)
        return JSONResponse(known.status().model_dump(mode="json"), headers={"Cache-Control": "no-store"})

    return router
