"""What the WADO endpoints share: scopes, cache headers, the parameters of pictures (PS3.18 10.4, 8.3.5)."""

from __future__ import annotations

import hashlib
import math
import re

from fastapi import Request, Response

from consilium_archive.reader import Scope
from consilium_dicom.render import Format, VoiFunction
from consilium_imaging.errors import RequestInvalid
from consilium_imaging.negotiate import ranges, refuse
from consilium_imaging.pictures import Wish

_IMMUTABLE = "private, max-age=31536000, immutable"
MOST_SIDE = 16384  # pixels of a picture
_UID = re.compile(r"^[0-9.]{1,64}$")


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
    if len(parts) != 2 or not all(
        part.strip().isdecimal() and len(part) < 9 and 1 <= int(part) <= MOST_SIDE for part in parts
    ):
        raise RequestInvalid(
            f"viewport is WIDTH,HEIGHT in pixels, each from 1 to {MOST_SIDE}; regions are not supported.",
            parameter="viewport",
        )
    return int(parts[0]), int(parts[1])
