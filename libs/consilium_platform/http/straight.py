"""Large request bodies read straight from the connection, past uvicorn's parser: one copy where there are five.

uvicorn hands a body through libuv's buffer, httptools, its own bytearray and ASGI messages of 64 KiB to 256 KiB, each with a turn of the
loop. ``StraightProtocol`` is its HTTP protocol with a way around that: once the headers are read and the length is stated, a
``BufferedProtocol`` takes the connection over for exactly the bytes of the body and gives it back. What has no length (chunked) or
waits for ``100 Continue`` comes by ASGI as always; so does everything where the server is another one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import httptools
from starlette.requests import ClientDisconnect, Request
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_EXTENSION = "consilium.straight"
_LEAST_BYTES = 256 << 10  # what is smaller has mostly arrived with the headers
CHUNK_BYTES = 1 << 20
Chunk = bytes | bytearray
Body = AsyncGenerator[tuple[Chunk, int]]
"""(buffer, how many bytes of it count); a buffer may be used again when the next one is asked for."""


class StraightProtocol(HttpToolsProtocol):
    """uvicorn's protocol; the scopes of its requests lead ``body_of`` to it. ``present`` stands for the request read last."""

    present: object = None

    def on_headers_complete(self) -> None:
        """Let the request find its connection."""
        self.present = object()
        self.scope["extensions"] = {_EXTENSION: {"protocol": self, "request": self.present}}
        super().on_headers_complete()

    def take(self, length: int) -> _Reader | None:
        """Take the connection over for the rest of the present request's body of ``length`` bytes; None when it is to come by ASGI."""
        cycle = self.cycle
        if cycle.waiting_for_100_continue or cycle.disconnected or not cycle.more_body or self.transport.is_closing():
            return None
        reader = _Reader(self, bytes(cycle.body), length)
        cycle.body.clear()
        self.flow.pause_reading()  # uvloop looks at the protocol's kind when reading begins
        self.transport.set_protocol(reader)
        self.flow.resume_reading()
        return reader

    def give_back(self) -> None:
        """Go on behind the body: the parser that was left inside it is replaced by a fresh one."""
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        if not self.transport.is_closing():
            self.flow.pause_reading()
            self.transport.set_protocol(self)
            self.flow.resume_reading()
        self.cycle.more_body = False
        self.cycle.message_event.set()


class _Reader(asyncio.BufferedProtocol):
    """Reads the rest of one body into one buffer, and nothing while somebody looks at what it holds."""

    def __init__(self, http: StraightProtocol, begun: bytes, length: int) -> None:
        self._http = http
        self._begun = begun
        self._left = length - len(begun)  # on the wire
        self._buffer = bytearray(min(CHUNK_BYTES, self._left))
        self._view = memoryview(self._buffer)
        self._filled = 0
        self._dropping = False
        self._lost = False
        self._full: asyncio.Future[None] | None = None

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where the next bytes go: never more than the body's."""
        return self._view[self._filled : self._filled + min(len(self._view) - self._filled, self._left)]

    def buffer_updated(self, nbytes: int) -> None:
        """Count; wake who waits when the buffer is full or the body whole."""
        self._filled += nbytes
        self._left -= nbytes
        if self._dropping:
            self._filled = 0
            if not self._left:
                self._http.give_back()
        elif self._filled == len(self._view) or not self._left:
            self._http.flow.pause_reading()
            self._wake()

    def _wake(self) -> None:
        if self._full is not None and not self._full.done():
            self._full.set_result(None)

    async def chunks(self) -> Body:
        """Yield what is read; raise ClientDisconnect."""
        try:
            if self._begun:
                yield self._begun, len(self._begun)
            while self._left or self._filled:
                await self._filling()
                if self._filled:
                    yield self._buffer, self._filled
                    self._filled = 0
                elif self._lost:
                    raise ClientDisconnect
        finally:
            self._end()

    async def _filling(self) -> None:
        if self._filled < len(self._view) and self._left and not self._lost:
            self._full = asyncio.get_running_loop().create_future()
            if not self._http.transport.is_closing():  # else the word that it is lost is on its way
                self._http.flow.resume_reading()
            await self._full

    def _end(self) -> None:
        """Give the connection back; what nobody wanted to read goes by first."""
        if self._lost:
            return
        if not self._left:
            self._http.give_back()
            return
        self._dropping, self._filled = True, 0
        if not self._http.transport.is_closing():
            self._http.flow.resume_reading()

    def eof_received(self) -> None:
        """The peer sends no more: inside a body that is the end, as for uvicorn."""
        self._http.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell both sides."""
        self._lost = True
        self._http.connection_lost(exc)
        self._wake()

    def pause_writing(self) -> None:
        """The peer does not read."""
        self._http.pause_writing()

    def resume_writing(self) -> None:
        """It reads again."""
        self._http.resume_writing()


def _straight(request: Request) -> _Reader | None:
    extension: dict[str, Any] = request.scope.get("extensions", {}).get(_EXTENSION, {})
    protocol = extension.get("protocol")
    length = request.headers.get("content-length", "")
    if not isinstance(protocol, StraightProtocol) or protocol.present is not extension["request"]:
        return None
    if not length.isdecimal() or int(length) < _LEAST_BYTES:
        return None
    return protocol.take(int(length))


async def body_of(request: Request) -> Body:
    """Yield the request's body, at most 1 MiB at a time; whoever stops early closes the generator.

    Raises ClientDisconnect when the sender goes away before the end.
    """
    if (reader := _straight(request)) is not None:
        chunks = reader.chunks()
        try:
            async for chunk in chunks:
                yield chunk
        finally:
            await chunks.aclose()
        return
    async for data in request.stream():
        if data:
            yield data, len(data)
