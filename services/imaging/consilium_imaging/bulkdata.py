"""Bulk data: one value of an object, or a part of it, read by its place and not with the rest of the file (PS3.18 10.4.1.1.5).

The place is found in the file's beginning: a value's head says where it lies long before the value itself has been read.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from fastapi import Request, Response
from starlette.responses import StreamingResponse

from consilium_archive.errors import NotArchived
from consilium_archive.reader import Place
from consilium_dicom.errors import DicomInvalid
from consilium_dicom.frames import FrameIndex
from consilium_dicom.json_model import bulk_place
from consilium_dicom.scan import DEFLATED, EXPLICIT_BE, EXPLICIT_LE, UNDEFINED
from consilium_dicom.transcode import transcode
from consilium_imaging.byte_ranges import CHUNK_BYTES, Whole, part_answer
from consilium_imaging.desk import ViewDesk
from consilium_imaging.frame_media import OCTETS
from consilium_imaging.multipart import Piece, Read, begun, body_of, length_of, new_boundary
from consilium_imaging.negotiate import ranges, refuse
from consilium_imaging.values import Value, joined
from consilium_imaging.wado import cache_headers, etag, not_modified, unchanged

_STEPS_BYTES = (64 << 10, 1 << 20, 16 << 20, 256 << 20)


async def bulk_answer(
    desk: ViewDesk, request: Request, place: Place, index: FrameIndex | None, path: str, media: str = OCTETS
) -> Response:
    """Return the value, alone or as the one part of a multipart; raise NotAcceptable or DicomInvalid."""
    wanted = next(
        (one for one in ranges(request) if one.covers(media) or one.multipart_type in (media, "*/*", "application/*")),
        None,
    )
    if wanted is None:
        raise refuse(request, [media, f'multipart/related; type="{media}"'])
    tag = etag("bulk", place.sha256, path, bool(wanted.multipart_type))
    if unchanged(request, tag):
        return not_modified(tag)
    value = await find_value(desk, place, index, path)
    if value.size_bytes > CHUNK_BYTES:  # else the first read tells
        await desk.reader.sure(place)
    if not wanted.multipart_type:
        whole = Whole(value.size_bytes, tag, media, value.read)
        return await part_answer(request, whole, cache_headers(tag), desk.settings.retrieve_ahead)
    boundary = new_boundary()
    pieces = [Piece(media, str(request.url.path), value.size_bytes, _reads(value))]
    headers = cache_headers(tag) | {"Content-Length": str(length_of(pieces, boundary))}
    body = await begun(body_of(pieces, boundary, desk.settings.retrieve_ahead))
    return StreamingResponse(body or (), 200, headers, f'multipart/related; type="{media}"; boundary={boundary}')


def _reads(value: Value) -> Iterator[Read]:
    for at in range(0, value.size_bytes, CHUNK_BYTES):
        yield partial(value.read, at, min(CHUNK_BYTES, value.size_bytes - at))


async def find_value(desk: ViewDesk, place: Place, index: FrameIndex | None, path: str) -> Value:
    """Return the value at ``path``; raise NotArchived when it has no plain form, DicomInvalid when there is none."""
    if path.upper() == "7FE00010" and index is not None and index.encapsulated:
        return joined(desk.reader, place, [segment for frame in index.segments for segment in frame])
    if place.transfer_syntax_uid in (DEFLATED, EXPLICIT_BE):
        data = await desk.reader.original(place)
        return await desk.pictures.workers.run(partial(_in_plain_form, data, path))
    steps = [step for step in _STEPS_BYTES if step < place.size_bytes]
    for step in [*steps, min(place.size_bytes, _STEPS_BYTES[-1])]:
        data = await desk.reader.original_range(place, 0, step)
        try:
            _, offset, length = await desk.pictures.workers.run(partial(bulk_place, data, path))
        except DicomInvalid:
            if step == min(place.size_bytes, _STEPS_BYTES[-1]):
                raise
            continue
        return Value(_plain_length(length), partial(_shifted, desk, place, offset))
    raise NotArchived("There is no such value.")


async def _shifted(desk: ViewDesk, place: Place, offset: int, start: int, length: int) -> bytes:
    return await desk.reader.original_range(place, offset + start, length)


def _in_plain_form(data: bytes, path: str) -> Value:
    """Return a value of a deflated or big-endian file as it is in Explicit VR Little Endian."""
    buffer, offset, length = bulk_place(transcode(data, EXPLICIT_LE), path)
    body = bytes(buffer[offset : offset + _plain_length(length)])

    async def read(start: int, wanted: int) -> bytes:
        return body[start : start + wanted]

    return Value(len(body), read)


def _plain_length(length: int) -> int:
    if length == UNDEFINED:
        raise NotArchived("This value has no plain form: retrieve the frames.")
    return length
