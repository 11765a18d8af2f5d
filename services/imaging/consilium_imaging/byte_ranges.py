"""Parts of one representation: Range, If-Range, 206 and 416 (RFC 9110 13.1.5, 14), streamed with a bounded read-ahead.

One range is served; a request for several gets the whole, which a server may always answer (14.2).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from fastapi import Request, Response
from starlette.responses import StreamingResponse

from consilium_imaging.multipart import begun, in_order
from consilium_platform.http.problems import problem_response, reference_of

ReadRange = Callable[[int, int], Awaitable[bytes]]
"""Reads (start, length) of the representation."""

CHUNK_BYTES = 4 << 20
_RANGE = re.compile(r"^bytes=(\d{0,19})-(\d{0,19})$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Whole:
    """A representation that parts are taken from: size, strong entity tag, media type, and how it is read."""

    size_bytes: int
    tag: str
    media: str
    read: ReadRange


class Unsatisfiable(Exception):
    """The range begins behind the end."""


def span_of(request: Request, tag: str, size_bytes: int) -> tuple[int, int] | None:
    """Return (start, length) of what is asked for, None for the whole; raise Unsatisfiable."""
    given = request.headers.get("range", "")
    found = _RANGE.match(given.replace(" ", "")) if given else None
    if found is None or request.headers.get("if-range", tag) != tag:
        return None
    first, last = found.groups()
    if not first and not last:
        return None
    if not first:
        length = min(int(last), size_bytes)
        if length == 0:
            raise Unsatisfiable
        return size_bytes - length, length
    start, stop = int(first), min(int(last) + 1 if last else size_bytes, size_bytes)
    if last and int(last) < start:
        return None  # not a valid range: it is ignored (14.1.1)
    if start >= size_bytes:
        raise Unsatisfiable
    return start, stop - start


async def part_answer(request: Request, whole: Whole, headers: dict[str, str], ahead: int) -> Response:
    """Return the part that the request asks for, or the whole, streamed once its first stretch has been read."""
    headers = {**headers, "Accept-Ranges": "bytes"}
    try:
        span = span_of(request, whole.tag, whole.size_bytes)
    except Unsatisfiable:
        return unsatisfiable(request, whole.size_bytes)
    start, length = span or (0, whole.size_bytes)
    headers["Content-Length"] = str(length)
    if span is not None:
        headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{whole.size_bytes}"
    reads = (
        partial(whole.read, at, min(CHUNK_BYTES, start + length - at))
        for at in range(start, start + length, CHUNK_BYTES)
    )
    body = await begun(in_order([(b"", reads)], ahead))
    if body is None:
        return Response(b"", 200, headers, whole.media)
    return StreamingResponse(body, 206 if span else 200, headers, whole.media)


def bytes_answer(request: Request, body: bytes, tag: str, media: str, headers: dict[str, str]) -> Response:
    """Return the part of bytes that are in memory."""
    headers = {**headers, "Accept-Ranges": "bytes"}
    if "range" not in request.headers:
        return Response(body, 200, headers, media)
    try:
        span = span_of(request, tag, len(body))
    except Unsatisfiable:
        return unsatisfiable(request, len(body))
    if span is None:
        return Response(body, 200, headers, media)
    start, length = span
    headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{len(body)}"
    return Response(body[start : start + length], 206, headers, media)


def unsatisfiable(request: Request, size_bytes: int) -> Response:
    """Return 416 with the size that there is (15.5.17)."""
    answer = problem_response(
        416, "range-not-satisfiable", f"The range begins behind the end: there are {size_bytes} bytes.", mend="caller",
        reference=reference_of(request), facts={"size_bytes": size_bytes},
    )  # fmt: skip
    answer.headers["Content-Range"] = f"bytes */{size_bytes}"
    return answer
