"""uvicorn as both worlds run it: one loop, our signals told to the door first, a bounded graceful end."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from consilium_platform.http.straight import StraightProtocol


class HttpServer(uvicorn.Server):
    """A server that says when it is ready, and lets long polls and event streams end before it waits for connections."""

    def __init__(self, app: ASGIApp, before_shutdown: Callable[[], Awaitable[None]]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=StraightProtocol,
                ws="websockets-sansio",
                lifespan="off",
                access_log=False,
                log_level="warning",
                server_header=False,
                proxy_headers=False,  # the gateway decides itself which X-Forwarded-For it believes
                timeout_keep_alive=75,
                timeout_graceful_shutdown=3,
                ws_max_size=1 << 18,
                ws_ping_interval=10,  # a dead socket is noticed within 30 s (RS-04)
                ws_ping_timeout=15,
            )
        )
        self.ready = asyncio.Event()
        self._before_shutdown = before_shutdown

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Take SIGTERM as the wish to end: raised again, as uvicorn does, it would kill the process before its resources are closed."""
        with super().capture_signals():
            try:
                yield
            finally:
                self._captured_signals = [sig for sig in self._captured_signals if sig != signal.SIGTERM]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening, then say so."""
        await super().startup(sockets=sockets)
        self.ready.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End what would wait for ever, then end as uvicorn does."""
        await self._before_shutdown()
        await super().shutdown(sockets=sockets)
