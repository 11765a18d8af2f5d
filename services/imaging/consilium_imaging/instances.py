"""Whole instances: which transfer syntax each goes in, and the answer as stored or transcoded, in parts or alone (PS3.18 8.7.3, 10.4).

Without a transfer-syntax parameter the answer is Explicit VR Little Endian, but what is lossy (or a video) goes as it is stored: it
cannot be had any other way (8.7.3). ``*`` means as stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import compress

from fastapi import Request, Response
from starlette.responses import StreamingResponse

from consilium_archive.errors import NotArchived, OriginalDamaged
from consilium_archive.reader import ArchiveReader, Place
from consilium_core.roles import Principal
from consilium_dicom.errors import DicomInvalid
from consilium_dicom.transcode import EXPLICIT_LE, HTJ2K_RPCL, JPEG_BASELINE, LOSSLESS
from consilium_dicom.uids import transfer_syntax
from consilium_imaging.byte_ranges import CHUNK_BYTES, Whole, part_answer
from consilium_imaging.desk import ViewDesk
from consilium_imaging.multipart import Piece, Read, begun, body_of, in_order, length_of, new_boundary, part_head, tail
from consilium_imaging.negotiate import ranges, refuse
from consilium_imaging.transcoding import VERSION, PartHead, Source, Transcoding
from consilium_imaging.wado import cache_headers, etag, not_modified, unchanged

DICOM = "application/dicom"
LOST = (OriginalDamaged, NotArchived)
_LOOKS = 16  # at once, for one answer


async def instances_answer(
    desk: ViewDesk, request: Request, principal: Principal, places: list[Place], base_url: str
) -> Response:
    """Return the objects as the first media range that all of them fit asks; raise NotAcceptable.

    What the archive has lost of several is left out, and the answer says so (206). What is lost only while it is sent breaks it off: no client
    takes a part for the whole.
    """
    asked = len(places)
    alone, targets = _choose(request, places, lossy=desk.settings.lossy)
    tag = _tag(alone, places, targets)
    places, targets = await _readable(desk, places, targets)
    as_stored = all(place.transfer_syntax_uid == target for place, target in zip(places, targets, strict=True))
    left_out = asked - len(places)
    if not left_out and unchanged(request, tag):
        return not_modified(tag)
    if alone and as_stored:
        return await stored_answer(desk, request, places[0], tag)
    sources = [Source(principal.tenant, place, target) for place, target in zip(places, targets, strict=True)]
    if alone:
        return await transcoded_answer(desk, request, sources[0], tag)
    if left_out:  # partial content (PS3.18 table 10.4.3-1), which nobody keeps
        few = f"{left_out} of {asked} instances are left out: their stored files are missing or damaged"
        headers = {"Cache-Control": "no-store", "Warning": f'299 consilium "{few}"'}
    else:
        headers = cache_headers(tag) if asked == 1 else {"ETag": tag, "Cache-Control": "private, no-cache"}
    if as_stored:
        answer = await _stored_parts(desk, places, base_url, headers)
    elif asked == 1:
        answer = await _one_part(desk, request, sources[0], base_url, headers)
    else:
        answer = await _parts(desk, sources, base_url, headers)
    if left_out:
        answer.status_code = 206
    return answer


def _tag(alone: bool, places: list[Place], targets: list[str]) -> str:
    as_stored = all(place.transfer_syntax_uid == target for place, target in zip(places, targets, strict=True))
    return etag("dicom", alone, *([] if as_stored else [VERSION, *targets]), *(place.sha256 for place in places))


async def _readable(desk: ViewDesk, places: list[Place], targets: list[str]) -> tuple[list[Place], list[str]]:
    """Return those of several objects that are there in their whole length: one look at each; raise OriginalDamaged if none is."""
    if len(places) == 1:
        return places, targets  # its own reads tell
    room = asyncio.Semaphore(_LOOKS)

    async def there(place: Place) -> bool:
        async with room:
            try:
                await desk.reader.sure(place)
            except LOST:
                return False
            return True

    looks = await asyncio.gather(*(there(place) for place in places))
    if not any(looks):
        raise OriginalDamaged(
            "The stored files of all these instances are missing or damaged. The operator restores them (consilium scrub, a backup, or "
            "sending them again)."
        )
    return list(compress(places, looks)), list(compress(targets, looks))


async def stored_answer(desk: ViewDesk, request: Request, place: Place, tag: str) -> Response:
    """Return one original byte for byte, or a part of it; raise OriginalDamaged before the answer begins."""
    if place.size_bytes > CHUNK_BYTES:  # else the first read tells
        await desk.reader.sure(place)
    media = f"{DICOM}; transfer-syntax={place.transfer_syntax_uid}"
    whole = Whole(place.size_bytes, tag, media, partial(desk.reader.original_range, place))
    return await part_answer(request, whole, cache_headers(tag), desk.settings.retrieve_ahead)


async def transcoded_answer(desk: ViewDesk, request: Request, source: Source, tag: str) -> Response:
    """Return one object alone in another transfer syntax; raise NotAcceptable when it has no such form."""
    if source.target == HTJ2K_RPCL:
        derived = await desk.derivatives.find(source.place)
        if derived is not None:
            own = etag("derivative", derived[0].key)
            return not_modified(own) if unchanged(request, own) else await stored_answer(desk, request, derived[0], own)
        desk.derivatives.wish(source.tenant, source.place)
    job = Transcoding(desk.pictures, source)
    media, headers = f"{DICOM}; transfer-syntax={source.target}", cache_headers(tag)
    try:
        if job.still:
            return Response(await job.whole(), 200, headers, media)
        await job.start()
    except DicomInvalid as problem:
        raise refuse(request, [_offer(source.place)], str(problem)) from problem
    body = await begun(in_order([(b"", job.reads())], desk.settings.retrieve_ahead))
    return StreamingResponse(body or (), 200, headers, media)


def _choose(request: Request, places: list[Place], *, lossy: bool) -> tuple[bool, list[str]]:
    """Return whether one object goes alone, and the transfer syntax of each; raise NotAcceptable."""
    for one in ranges(request):
        parts = one.media in ("*/*", "multipart/*") or one.multipart_type in (DICOM, "*/*", "application/*")
        if not parts and not (len(places) == 1 and one.covers(DICOM)):
            continue
        targets = [target_of(place, one.transfer_syntax, among=len(places), lossy=lossy) for place in places]
        found = [target for target in targets if target is not None]
        if len(found) == len(places):
            return not parts, found
    raise refuse(request, sorted({_offer(place, syntax) for place in places for syntax in _syntaxes(place)}))


def _offer(place: Place, syntax: str = "") -> str:
    return f'multipart/related; type="{DICOM}"; transfer-syntax={syntax or place.transfer_syntax_uid}'


def _syntaxes(place: Place) -> list[str]:
    """Return the transfer syntaxes that the object may be had in."""
    stored = place.transfer_syntax_uid
    return [stored, *(one for one in (EXPLICIT_LE, *LOSSLESS) if one != stored and target_of(place, one) == one)]


def target_of(place: Place, wanted: str, *, among: int = 1, lossy: bool = False) -> str | None:
    """Return the transfer syntax that ``place`` goes in when ``wanted`` is asked for, None when it can't."""
    stored = place.transfer_syntax_uid
    known = transfer_syntax(stored)
    fixed = known is None or known.codec == "video"
    if wanted in ("*", stored):
        return stored
    if wanted == "":
        return stored if known is None or known.lossy else EXPLICIT_LE
    if fixed:
        return None
    if wanted == EXPLICIT_LE:
        return wanted
    if wanted in LOSSLESS or (wanted == JPEG_BASELINE and lossy):
        return wanted if place.frames else EXPLICIT_LE if among > 1 else None
    return None


async def _stored_parts(desk: ViewDesk, places: list[Place], base_url: str, headers: dict[str, str]) -> Response:
    if (
        len(places) == 1 and places[0].size_bytes > CHUNK_BYTES
    ):  # of several each was looked at; else the first read tells
        await desk.reader.sure(places[0])
    boundary = new_boundary()
    pieces = [_piece(desk.reader, place, base_url) for place in places]
    headers["Content-Length"] = str(length_of(pieces, boundary))
    body = await begun(body_of(pieces, boundary, desk.settings.retrieve_ahead))
    return StreamingResponse(body or (), 200, headers, _media(boundary))


def _media(boundary: str) -> str:
    return f'multipart/related; type="{DICOM}"; boundary={boundary}'


def _piece(reader: ArchiveReader, place: Place, base_url: str) -> Piece:
    return Piece(
        f"{DICOM}; transfer-syntax={place.transfer_syntax_uid}", _location(base_url, place), place.size_bytes,
        _originals(reader, place),
    )  # fmt: skip


def _originals(reader: ArchiveReader, place: Place) -> Iterator[Read]:
    for at in range(0, place.size_bytes, CHUNK_BYTES):
        yield partial(reader.original_range, place, at, min(CHUNK_BYTES, place.size_bytes - at))


def _location(base_url: str, place: Place) -> str:
    return f"{base_url}/studies/{place.study_uid}/series/{place.series_uid}/instances/{place.sop_instance_uid}"


def _before(base_url: str, place: Place, boundary: str) -> PartHead:
    return lambda syntax: part_head(f"{DICOM}; transfer-syntax={syntax}", _location(base_url, place), boundary)


async def _one_part(
    desk: ViewDesk, request: Request, source: Source, base_url: str, headers: dict[str, str]
) -> Response:
    boundary = new_boundary()
    job = Transcoding(desk.pictures, source, _before(base_url, source.place, boundary))
    try:
        if job.still:
            return Response(await job.whole() + tail(boundary), 200, headers, _media(boundary))
        await job.start()
    except DicomInvalid as problem:
        raise refuse(request, [_offer(source.place)], str(problem)) from problem
    body = await begun(in_order([(b"", job.reads()), _end(boundary)], desk.settings.retrieve_ahead))
    return StreamingResponse(body or (), 200, headers, _media(boundary))


async def _parts(desk: ViewDesk, sources: list[Source], base_url: str, headers: dict[str, str]) -> Response:
    boundary = new_boundary()

    def parts() -> Iterator[tuple[bytes, Iterable[Read]]]:
        for source in sources:
            before = _before(base_url, source.place, boundary)
            if source.place.transfer_syntax_uid == source.target:
                yield before(source.target), _originals(desk.reader, source.place)
            else:
                yield b"", Transcoding(desk.pictures, source, before, among=True).reads()
        yield _end(boundary)

    body = await begun(in_order(parts(), desk.settings.retrieve_ahead))
    return StreamingResponse(body or (), 200, headers, _media(boundary))


def _end(boundary: str) -> tuple[bytes, Iterable[Read]]:
    async def nothing() -> bytes:
        return b""

    return tail(boundary), [nothing]
