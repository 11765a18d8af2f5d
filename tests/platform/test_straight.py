"""A large body comes straight from the connection, and the connection goes on behind it as if it had not."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from consilium_platform.http.straight import CHUNK_BYTES, StraightProtocol, body_of

LARGE = os.urandom((2 << 20) + 12345)
Wires = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Seen:
    sizes: list[int] = field(default_factory=list)
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def straight(self) -> bool:
        return max(self.sizes, default=0) == CHUNK_BYTES


@asynccontextmanager
async def server(seen: Seen) -> AsyncIterator[int]:
    async def digest(request: Request) -> PlainTextResponse:
        found = hashlib.sha256()
        try:
            async for chunk, size in body_of(request):
                seen.sizes.append(size)
                found.update(memoryview(chunk)[:size])
                await asyncio.sleep(0)
        except ClientDisconnect:
            seen.gone.set()
            raise
        return PlainTextResponse(found.hexdigest())

    async def first(request: Request) -> PlainTextResponse:
        body = body_of(request)
        async for chunk, size in body:
            seen.sizes.append(size)
            await body.aclose()
            return PlainTextResponse(bytes(chunk[:4]).hex())
        return PlainTextResponse("")

    app = Starlette(routes=[Route("/digest", digest, methods=["POST"]), Route("/first", first, methods=["POST"])])
    config = uvicorn.Config(app, host="127.0.0.1", port=0, http=StraightProtocol, lifespan="off", log_level="error")
    running = uvicorn.Server(config)
    task = asyncio.create_task(running.serve())
    while not running.started:
        await asyncio.sleep(0.005)
    try:
        yield running.servers[0].sockets[0].getsockname()[1]
    finally:
        running.should_exit = True
        await task


def post(path: str, length: int, *more: str) -> bytes:
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {length}", *more, "", ""]).encode()


async def answer(reader: asyncio.StreamReader) -> str:
    async with asyncio.timeout(10):
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        [length] = [
            int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")
        ]
        return (await reader.readexactly(length)).decode()


async def test_requests_follow_each_other_on_one_connection() -> None:
    seen = Seen()
    async with server(seen) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for body in (LARGE, b"small", LARGE[:-7], LARGE[: 300 << 10]):
            writer.write(post("/digest", len(body)) + body)
            assert await answer(reader) == hashlib.sha256(body).hexdigest()
        writer.close()
    assert seen.straight


@pytest.mark.parametrize("cut", [0, 1, 100_000, len(LARGE) - 1])
async def test_a_body_that_comes_late_and_in_pieces(cut: int) -> None:
    async with server(Seen()) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(post("/digest", len(LARGE)) + LARGE[:cut])
        await asyncio.sleep(0.05)
        writer.write(LARGE[cut:])
        assert await answer(reader) == hashlib.sha256(LARGE).hexdigest()
        writer.close()


async def test_the_next_request_may_stand_right_behind_the_body() -> None:
    async with server(Seen()) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            post("/digest", len(LARGE)) + LARGE + post("/digest", 3) + b"abc" + post("/digest", len(LARGE)) + LARGE
        )
        for body in (LARGE, b"abc", LARGE):
            assert await answer(reader) == hashlib.sha256(body).hexdigest()
        writer.close()


async def test_what_nobody_reads_goes_by_and_the_connection_stays() -> None:
    seen = Seen()
    async with server(seen) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(post("/first", len(LARGE)) + LARGE + post("/digest", len(LARGE)) + LARGE)
        assert await answer(reader) == LARGE[:4].hex()
        assert await answer(reader) == hashlib.sha256(LARGE).hexdigest()
        writer.close()


async def test_a_sender_that_goes_away_is_noticed() -> None:
    seen = Seen()
    async with server(seen) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(post("/digest", len(LARGE)) + LARGE[:-5000])
        await writer.drain()
        await asyncio.sleep(0.1)
        writer.transport.abort()
        async with asyncio.timeout(5):
            await seen.gone.wait()
    assert sum(seen.sizes) <= len(LARGE) - 5000


@pytest.mark.parametrize("kind", ["chunked", "continue"])
async def test_without_a_length_or_before_100_continue_it_comes_by_asgi(kind: str) -> None:
    seen = Seen()
    async with server(seen) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        if kind == "chunked":
            writer.write(b"POST /digest HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            for at in range(0, len(LARGE), 1 << 20):
                piece = LARGE[at : at + (1 << 20)]
                writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            writer.write(b"0\r\n\r\n")
        else:
            writer.write(post("/digest", len(LARGE), "Expect: 100-continue"))
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
            writer.write(LARGE)
        assert await answer(reader) == hashlib.sha256(LARGE).hexdigest()
        writer.close()
    assert not seen.straight


@pytest.mark.skipif(sys.platform != "linux", reason="uvloop is used on Linux alone")
def test_the_same_on_uvloop() -> None:
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test_requests_follow_each_other_on_one_connection())
        runner.run(test_the_next_request_may_stand_right_behind_the_body())
        runner.run(test_what_nobody_reads_goes_by_and_the_connection_stays())
        runner.run(test_a_sender_that_goes_away_is_noticed())
