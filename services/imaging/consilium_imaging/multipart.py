"""Write ``multipart/related`` answers (RFC 2387, PS3.18 8.6.1) with their length known beforehand, reading ahead a bounded distance."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import islice

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

Read = Callable[[], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Piece:
    """One part: its headers and the reads that give its body, in order; they are made when their turn comes."""

    content_type: str
    location: str
    size_bytes: int
    reads: Iterable[Read]


class PiecesResponse(Response):
    """Bytes that are in memory in pieces: they are sent one behind the other, not joined first."""

    def __init__(self, pieces: Sequence[bytes], headers: Mapping[str, str], media_type: str) -> None:
        super().__init__(b"", 200, {**headers, "Content-Length": str(sum(map(len, pieces)))}, media_type)
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send them."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        for piece in self._pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def new_boundary() -> str:
    """Return a boundary that no body holds by chance (128 random bits)."""
    return f"consilium-{secrets.token_hex(16)}"


def part_head(content_type: str, location: str, boundary: str, size_bytes: int | None = None) -> bytes:
    """Return what stands before a part; its length is left out where it is not known beforehand."""
    length = "" if size_bytes is None else f"Content-Length: {size_bytes}\r\n"
    return (f"\r\n--{boundary}\r\nContent-Type: {content_type}\r\n{length}Content-Location: {location}\r\n\r\n").encode(
        "latin-1"
    )


def _head(piece: Piece, boundary: str) -> bytes:
    return part_head(piece.content_type, piece.location, boundary, piece.size_bytes)


def tail(boundary: str) -> bytes:
    """Return what stands behind the last part."""
    return f"\r\n--{boundary}--\r\n".encode()


def length_of(pieces: Sequence[Piece], boundary: str) -> int:
    """Return the length in bytes of the whole body."""
    return sum(len(_head(piece, boundary)) + piece.size_bytes for piece in pieces) + len(tail(boundary))


async def body_of(pieces: Sequence[Piece], boundary: str, ahead: int) -> AsyncGenerator[bytes]:
    """Yield the body; at most ``ahead`` reads run before the client has taken what came before."""
    async for chunk in in_order(((_head(piece, boundary), piece.reads) for piece in pieces), ahead):
        yield chunk
    yield tail(boundary)


async def begun(body: AsyncGenerator[bytes]) -> AsyncGenerator[bytes] | None:
    """Return the body once its first bytes are there, None if there are none: what keeps it from beginning is told before the answer."""
    first = await anext(body, None)
    if first is None:
        return None

    async def whole(first: bytes) -> AsyncGenerator[bytes]:
        async with aclosing(body):
            yield first
            async for chunk in body:
                yield chunk

    return whole(first)


async def in_order(parts: Iterable[tuple[bytes, Iterable[Read]]], ahead: int) -> AsyncGenerator[bytes]:
    """Yield each head and what its reads give, in order, with at most ``ahead`` reads running."""
    plan: Iterator[tuple[bytes, Read]] = (
        (head if number == 0 else b"", read) for head, reads in parts for number, read in enumerate(reads)
    )
    running: deque[tuple[bytes, asyncio.Task[bytes]]] = deque()
    try:
        while True:
            for head, read in islice(plan, ahead - len(running)):
                running.append((head, asyncio.create_task(_awaited(read), name="retrieve-ahead")))
            if not running:
                return
            head, task = running[0]
            data = await task
            running.popleft()
            if head:
                yield head
            yield data
    finally:
        for _, task in running:
            task.cancel()
        await asyncio.gather(*(task for _, task in running), return_exceptions=True)


async def _awaited(read: Read) -> bytes:
    async with asyncio.timeout(60):
        return await read()
