"""The port behind the door: on a cluster the other services reach ``/internal`` here, and nothing routes to it from outside."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from starlette.types import ASGIApp

from consilium_core.errors import Unavailable


class _Inner(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the process's own server."""
        yield


@asynccontextmanager
async def inner_server(app: ASGIApp, host: str, port: int) -> AsyncIterator[None]:
    """Serve the app on ``host:port`` for the length of the block; raise Unavailable when it can't listen."""
    config = uvicorn.Config(
        app, host=host, port=port, http="httptools", ws="none", lifespan="off", access_log=False, log_level="warning",
        server_header=False, proxy_headers=False, timeout_graceful_shutdown=3,
    )  # fmt: skip
    server = _Inner(config)
    task = asyncio.create_task(_serve(server), name="gateway-inner-server")
    try:
        while not server.started:
            if task.done():
                raise Unavailable(f"The inner port {port} of {host} can't be opened.")
            await asyncio.sleep(0.01)
        yield
    finally:
        server.should_exit = True
        await asyncio.gather(task, return_exceptions=True)


async def _serve(server: uvicorn.Server) -> None:
    try:
        await server.serve()
    except SystemExit as problem:  # uvicorn's way of saying that it could not listen
        raise Unavailable("The inner port can't be opened.") from problem
