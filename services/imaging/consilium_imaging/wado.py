"""What the WADO-RS endpoints share: their desk, retrieval of originals, cache headers, parameters (PS3.18 10.4, 8.3.5)."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial

from fastapi import Request, Response
from starlette.responses import StreamingResponse

from consilium_archive.reader import ArchiveReader, Place, Scope
from consilium_dicom.render import Format, VoiFunction
from consilium_imaging.errors import RequestInvalid
from consilium_imaging.multipart import Piece, body_of, length_of, new_boundary
from consilium_imaging.negotiate import ranges, refuse
from consilium_imaging.pictures import Pictures, Wish
from consilium_imaging.settings import ImagingSettings
from consilium_imaging.views import ViewAudit

DICOM = "application/dicom"
_CHUNK_BYTES = 4 << 20
_IMMUTABLE = "private, max-age=31536000, immutable"
_UID = re.compile(r"^[0-9.]{1,64}$")


@dataclass(frozen=True)
class ViewDesk:
    """What retrievals need of their room."""

    reader: ArchiveReader
    pictures: Pictures
    views: ViewAudit
    settings: ImagingSettings


def scope(study: str, series: str = "", instance: str = "") -> Scope:
    """Return the scope that a path names; raise RequestInvalid for what is no UID."""
    for uid in (study, series, instance):
        if uid and not _UID.match(uid):
            raise RequestInvalid("The path does not name a UID.")
    return Scope(study, series, instance)


def etag(*facts: object) -> str:
    """Return a strong entity tag of what the answer is made from."""
    return f'"{hashlib.sha256("|".join(map(str, facts)).encode()).hexdigest()[:32]}"'


def unchanged(request: Request, tag: str) -> bool:
    """Tell whether the client's copy is the one it would get (RFC 9110 13.1.2)."""
    given = request.headers.get("if-none-match", "")
    return any(one.strip().removeprefix("W/") in (tag, "*") for one in given.split(",")) if given else False


def cache_headers(tag: str) -> dict[str, str]:
    """Return the headers of what never changes: kept by the client itself, never by a shared cache."""
    return {"ETag": tag, "Cache-Control": _IMMUTABLE, "Vary": "Accept, Authorization"}


def not_modified(tag: str) -> Response:
    """Return 304."""
    return Response(status_code=304, headers=cache_headers(tag))


def originals_answer(desk: ViewDesk, request: Request, places: list[Place], base_url: str) -> Response:
    """Return the stored objects as they are, streamed; raise NotAcceptable if the client wants something else."""
    alone = _check_dicom(request, places)
    tag = etag("dicom", alone, *(place.sha256 for place in places))
    if unchanged(request, tag):
        return not_modified(tag)
    pieces = [_piece(desk.reader, place, base_url) for place in places]
    headers = cache_headers(tag) if len(places) == 1 else {"ETag": tag, "Cache-Control": "private, no-cache"}
    if alone:
        place = places[0]
        headers["Content-Length"] = str(place.size_bytes)
        return StreamingResponse(
            _alone(pieces[0]), 200, headers, f"{DICOM}; transfer-syntax={place.transfer_syntax_uid}"
        )
    boundary = new_boundary()
    headers["Content-Length"] = str(length_of(pieces, boundary))
    media = f'multipart/related; type="{DICOM}"; boundary={boundary}'
    return StreamingResponse(body_of(pieces, boundary, desk.settings.retrieve_ahead), 200, headers, media)


def _check_dicom(request: Request, places: list[Place]) -> bool:
    """Return whether one object goes alone; raise NotAcceptable."""
    stored = {place.transfer_syntax_uid for place in places}
    for one in ranges(request):
        fits = one.transfer_syntax in ("", "*") or stored == {one.transfer_syntax}
        if fits and (one.media == "*/*" or one.multipart_type in (DICOM, "*/*", "application/*")):
            return False
        if fits and len(places) == 1 and one.covers(DICOM):
            return True
    raise refuse(request, [f'multipart/related; type="{DICOM}"; transfer-syntax={uid}' for uid in sorted(stored)])


def _piece(reader: ArchiveReader, place: Place, base_url: str) -> Piece:
    reads = (
        partial(reader.original_range, place, at, min(_CHUNK_BYTES, place.size_bytes - at))
        for at in range(0, place.size_bytes, _CHUNK_BYTES)
    )
    where = f"{base_url}/studies/{place.study_uid}/series/{place.series_uid}/instances/{place.sop_instance_uid}"
    return Piece(f"{DICOM}; transfer-syntax={place.transfer_syntax_uid}", where, place.size_bytes, reads)


async def _alone(piece: Piece) -> AsyncIterator[bytes]:
    for read in piece.reads:
        yield await read()


def wish_of(request: Request, *, viewport: tuple[int, int] | None = None) -> Wish:
    """Return what the query asks of a picture (PS3.18 8.3.5.1); raise RequestInvalid or NotAcceptable."""
    query = request.query_params
    fmt: Format | None = None
    for one in ranges(request):
        if one.covers("image/jpeg") or one.media == "image/png":
            fmt = "png" if one.media == "image/png" else "jpeg"
            break
    if fmt is None:
        raise refuse(request, ["image/jpeg", "image/png"])
    quality = query.get("quality", "90")
    if not quality.isdecimal() or not 1 <= int(quality) <= 100:
        raise RequestInvalid("quality is a number from 1 to 100.", parameter="quality")
    window, voi = _window(query.get("window", ""))
    return Wish(window, voi, _viewport(query.get("viewport", "")) or viewport, fmt, int(quality))


def _window(text: str) -> tuple[tuple[float, float] | None, VoiFunction | None]:
    if not text:
        return None, None
    parts = [part.strip() for part in text.split(",")]
    names: dict[str, VoiFunction] = {"LINEAR": "linear", "LINEAR_EXACT": "linear-exact", "SIGMOID": "sigmoid"}
    try:
        center, width = float(parts[0]), float(parts[1])
        voi = names[parts[2].upper().replace("-", "_")] if len(parts) > 2 else None
    except (ValueError, IndexError, KeyError) as problem:
        raise RequestInvalid("window is CENTER,WIDTH[,linear|linear-exact|sigmoid].", parameter="window") from problem
    if not (math.isfinite(center) and math.isfinite(width)) or width <= 0:
        raise RequestInvalid("window needs a width above 0.", parameter="window")
    return (center, width), voi


def _viewport(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    parts = text.split(",")
    if len(parts) != 2 or not all(part.strip().isdecimal() and 1 <= int(part) <= 16384 for part in parts):
        raise RequestInvalid("viewport is WIDTH,HEIGHT in pixels; regions are not supported.", parameter="viewport")
    return int(parts[0]), int(parts[1])
