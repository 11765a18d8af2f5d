"""WADO-RS: frames, rendered pictures and thumbnails (PS3.18 10.4.1.1.2 to .4, 10.4.1.1.6)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace
from functools import partial

from fastapi import APIRouter, Depends, Request, Response
from starlette.responses import StreamingResponse

from consilium_archive.errors import NotArchived
from consilium_archive.reader import Place, Scope
from consilium_core.roles import Permission, Principal
from consilium_dicom.encode import HTJ2K, HTJ2K_RPCL, reduced
from consilium_dicom.errors import Unencodable
from consilium_dicom.frames import FrameIndex
from consilium_imaging.api_qido import base_url
from consilium_imaging.bulkdata import bulk_answer
from consilium_imaging.byte_ranges import Whole, bytes_answer, part_answer
from consilium_imaging.desk import ViewDesk
from consilium_imaging.errors import NotAcceptable, NotAPicture, RequestInvalid, VideoHasNoFrames
from consilium_imaging.frame_media import FrameForm, choose_form, offers
from consilium_imaging.multipart import PiecesResponse, Read, in_order, new_boundary, part_head, tail
from consilium_imaging.negotiate import ranges, refuse
from consilium_imaging.pictures import Wish
from consilium_imaging.transcoding import VERSION
from consilium_imaging.wado import cache_headers, etag, not_modified, scope, unchanged, wish_of
from consilium_platform.blobs import BlobNotFound
from consilium_platform.http.auth import require
from consilium_platform.http.plain_route import PlainRoute

PDF, PDF_CLASS, PDF_PATH = "application/pdf", "1.2.840.10008.5.1.4.1.1.104.1", "00420011"
REDUCE = "consilium-reduce"
HTJ2K_LOSSY = "1.2.840.10008.1.2.4.203"
ReadFrame = Callable[[int], Coroutine[None, None, bytes]]
_MAX_FRAMES = 10_000
_MOST_LEVELS = 32
_THUMBNAIL = (256, 256)


def frames_router(desk: ViewDesk) -> APIRouter:
    """Return the addresses of frames, pictures and thumbnails."""
    router = APIRouter(prefix="/dicomweb/studies/{study}", route_class=PlainRoute)
    reader = require(Permission.STUDY_READ)
    of_instance = "/series/{series}/instances/{instance}"

    @router.get(of_instance + "/frames/{frames}")
    async def frames(
        study: str, series: str, instance: str, frames: str, request: Request, principal: Principal = Depends(reader)
    ) -> Response:
        numbers, asked = frame_numbers(frames), scope(study, series, instance)
        if len(numbers) > 1 or "if-none-match" in request.headers:
            found = await _instance(desk, principal, asked)
            _no_video(found[0])
            return await frames_answer(desk, request, principal, found, numbers)
        await desk.views.once(principal, "study.view", study)
        place, index, stored = await desk.reader.frame(principal.tenant, asked, numbers[0])
        found = place, _frames_of(place, index)
        _no_video(place)
        return await frames_answer(desk, request, principal, found, numbers, stored)

    @router.get(of_instance + "/frames/{frame}/rendered")
    async def rendered_frame(
        study: str, series: str, instance: str, frame: str, request: Request, principal: Principal = Depends(reader)
    ) -> Response:
        place, index = await _instance(desk, principal, scope(study, series, instance))
        _no_video(place)
        return await picture_answer(desk, request, place, index, _one_frame(frame), wish_of(request))

    @router.get(of_instance + "/rendered")
    async def rendered(
        study: str, series: str, instance: str, request: Request, principal: Principal = Depends(reader)
    ) -> Response:
        asked, wish = scope(study, series, instance), _plain_wish(request)
        await desk.views.once(principal, "study.view", study)
        if wish is None:
            place, index = await desk.reader.frame_index(principal.tenant, asked)
        else:
            place, index, drawn = await desk.pictures.found(principal.tenant, asked, wish)
            if drawn is not None:
                return _picture(place, 0, wish, drawn)
        if place.sop_class_uid == PDF_CLASS:
            return await bulk_answer(desk, request, place, None, PDF_PATH, PDF)
        frames = _frames_of(place, index)
        if place.is_video:
            return await video_answer(desk, request, place, frames)
        return await picture_answer(desk, request, place, frames, 0, wish_of(request))

    @router.get(of_instance + "/frames/{frame}/thumbnail")
    async def frame_thumbnail(
        study: str, series: str, instance: str, frame: str, request: Request, principal: Principal = Depends(reader)
    ) -> Response:
        place, index = await _instance(desk, principal, scope(study, series, instance))
        _no_video(place)
        wish = wish_of(request, viewport=_THUMBNAIL)
        return await picture_answer(desk, request, place, index, _one_frame(frame), wish)

    @router.get(of_instance + "/thumbnail")
    async def instance_thumbnail(
        study: str, series: str, instance: str, request: Request, principal: Principal = Depends(reader)
    ) -> Response:
        return await _thumbnail(desk, request, principal, scope(study, series, instance))

    @router.get("/series/{series}/thumbnail")
    async def series_thumbnail(
        study: str, series: str, request: Request, principal: Principal = Depends(reader)
    ) -> Response:
        return await _thumbnail(desk, request, principal, scope(study, series))

    @router.get("/thumbnail")
    async def study_thumbnail(study: str, request: Request, principal: Principal = Depends(reader)) -> Response:
        return await _thumbnail(desk, request, principal, scope(study))

    return router


def frame_numbers(text: str) -> list[int]:
    """Return the frames of a list such as ``1,3``, counted from 0; raise RequestInvalid."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and len(part) <= 7 and int(part) >= 1 for part in parts) or len(parts) > _MAX_FRAMES:
        raise RequestInvalid("frames is a list of numbers from 1, separated by commas.", parameter="frames")
    return [int(part) - 1 for part in parts]


def _one_frame(text: str) -> int:
    numbers = frame_numbers(text)
    if len(numbers) != 1:
        raise RequestInvalid("A picture is drawn of one frame.", parameter="frames")
    return numbers[0]


async def _instance(desk: ViewDesk, principal: Principal, asked: Scope) -> tuple[Place, FrameIndex]:
    """Return the instance and its frames once the view is in the audit trail."""
    await desk.views.once(principal, "study.view", asked.study_uid)
    place, index = await desk.reader.frame_index(principal.tenant, asked)
    return place, _frames_of(place, index)


def _frames_of(place: Place, index: FrameIndex | None) -> FrameIndex:
    if index is None:
        raise NotAPicture("The instance has no frames.", sop_class_uid=place.sop_class_uid)
    return index


async def frames_answer(
    desk: ViewDesk,
    request: Request,
    principal: Principal,
    found: tuple[Place, FrameIndex],
    frames: list[int],
    stored: bytes | None = None,
) -> Response:
    """Return the frames (counted from 0) in the form that the client takes; ``stored``: the only one, if it has been read already."""
    place, index = found
    missing = [number + 1 for number in frames if number >= index.count]
    if missing:
        raise NotArchived(f"There is no frame {missing[0]}: the instance has {index.count}.", frames=index.count)
    form = choose_form(request, place.transfer_syntax_uid, len(frames), lossy=desk.settings.lossy)
    levels = _levels(request)
    tag = etag("frames", place.sha256, form, levels, *([VERSION] if form.made else []), *frames)
    if unchanged(request, tag):
        return not_modified(tag)
    if stored is not None and not form.made:
        read: ReadFrame = partial(_just, stored)
    else:
        read = await _reader(desk, principal, found, form)
    if levels and form.media == "image/jphc":
        form, read = replace(form, transfer_syntax_uid=HTJ2K_LOSSY), _reducing(read, levels)
    try:
        first = await read(frames[0])
    except Unencodable as problem:
        raise refuse(request, offers(place.transfer_syntax_uid)[:2], str(problem)) from problem
    if not form.parts:
        return bytes_answer(request, first, tag, form.content_type, cache_headers(tag))
    boundary = new_boundary()
    url = f"{base_url(request, desk.settings)}/studies/{place.study_uid}/series/{place.series_uid}"
    heads = [
        part_head(form.content_type, f"{url}/instances/{place.sop_instance_uid}/frames/{number + 1}", boundary)
        for number in frames
    ]
    media = f'multipart/related; type="{form.media}"; boundary={boundary}'
    if len(frames) == 1:
        return PiecesResponse((heads[0], first, tail(boundary)), cache_headers(tag), media)
    await desk.reader.sure(place)  # the first frame says nothing of the last
    reads: list[Read] = [partial(_just, first)]
    reads += [partial(read, number) for number in frames[1:]]
    return StreamingResponse(_stream(desk, heads, reads, tail(boundary)), 200, cache_headers(tag), media)


async def _reader(desk: ViewDesk, principal: Principal, found: tuple[Place, FrameIndex], form: FrameForm) -> ReadFrame:
    """Return how frames of the form are read: from the original, from its derivative, or made for this reader."""
    place, index = found
    if form.made and form.transfer_syntax_uid in (HTJ2K, HTJ2K_RPCL):
        derived = await desk.derivatives.find(place)
        if derived is not None:
            return partial(_derived, desk, found, derived)
        desk.derivatives.wish(principal.tenant, place)
    if form.made:
        return partial(desk.pictures.coded, place, index, target=form.transfer_syntax_uid, waits=True)
    return partial(desk.pictures.stored, place, index)


async def _derived(
    desk: ViewDesk, found: tuple[Place, FrameIndex], derived: tuple[Place, FrameIndex], number: int
) -> bytes:
    try:
        return await desk.pictures.stored(*derived, number)
    except BlobNotFound:  # somebody has removed it: it can be made again
        desk.derivatives.forget(found[0])
        return await desk.pictures.coded(*found, number, HTJ2K_RPCL, waits=True)


def _levels(request: Request) -> int:
    """Return how many of the finest resolutions shall be left out of HTJ2K frames."""
    text = request.query_params.get(REDUCE, "0")
    if not text.isdecimal() or int(text) > _MOST_LEVELS:
        raise RequestInvalid(f"{REDUCE} is a number of resolutions from 0 to {_MOST_LEVELS}.", parameter=REDUCE)
    return int(text)


def _reducing(read: ReadFrame, levels: int) -> ReadFrame:
    async def reduced_frame(number: int) -> bytes:
        return reduced(await read(number), levels)

    return reduced_frame


async def _just(data: bytes, _number: int = 0) -> bytes:
    return data


async def _stream(desk: ViewDesk, heads: list[bytes], reads: list[Read], end: bytes) -> AsyncIterator[bytes]:
    async for chunk in in_order(
        ((head, [read]) for head, read in zip(heads, reads, strict=True)), desk.settings.retrieve_ahead
    ):
        yield chunk
    yield end


async def picture_answer(
    desk: ViewDesk, request: Request, place: Place, index: FrameIndex, frame: int, wish: Wish
) -> Response:
    """Return one frame drawn; of a video a picture of its beginning."""
    tag = _picture_tag(place, frame, wish)
    if unchanged(request, tag):
        return not_modified(tag)
    if place.is_video:
        drawn = await desk.videos.picture(place, index, wish)
    else:
        drawn = await desk.pictures.picture(place, index, frame, wish)
    return _picture(place, frame, wish, drawn)


def _picture_tag(place: Place, frame: int, wish: Wish) -> str:
    return etag("picture", place.sha256, frame, wish)


def _picture(place: Place, frame: int, wish: Wish, drawn: bytes) -> Response:
    return Response(drawn, 200, cache_headers(_picture_tag(place, frame, wish)), f"image/{wish.fmt}")


def _plain_wish(request: Request) -> Wish | None:
    """Return how a picture is asked for; None where a copy is to be looked after first, or the wish fits no picture."""
    if "if-none-match" in request.headers:
        return None
    try:
        return wish_of(request)
    except (NotAcceptable, RequestInvalid):  # what is no picture may fit it; for one it is raised again
        return None


async def video_answer(desk: ViewDesk, request: Request, place: Place, index: FrameIndex) -> Response:
    """Return a video for a player, or a part of it."""
    film = await desk.videos.film(place, index)
    if not any(one.covers(film.media) for one in ranges(request)):
        raise refuse(request, [film.media])
    tag = etag("video", VERSION, place.sha256)
    if unchanged(request, tag):
        return not_modified(tag)
    whole = Whole(film.size_bytes, tag, film.media, film.read)
    return await part_answer(request, whole, cache_headers(tag), desk.settings.retrieve_ahead)


def _no_video(place: Place) -> None:
    if place.is_video:
        raise VideoHasNoFrames(
            "A video is stored as one stream: ask for the instance's /rendered (video/mp4), its bulk data, or the instance."
        )


async def _thumbnail(desk: ViewDesk, request: Request, principal: Principal, asked: Scope) -> Response:
    """Draw the middle frame of the middle instance that has any."""
    await desk.views.once(principal, "study.view", asked.study_uid)
    place, index = await desk.reader.middle(principal.tenant, asked) or (None, None)
    if place is None or index is None:
        raise NotAPicture("There is nothing to draw here.")
    wish = wish_of(request, viewport=_THUMBNAIL)
    return await picture_answer(desk, request, place, index, index.count // 2, wish)
