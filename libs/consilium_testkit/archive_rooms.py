"""Ingest and imaging behind one door, in this process or as a server on a free port of its own."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import uvicorn
import uvloop
from starlette.types import ASGIApp, Receive, Scope, Send

from consilium_imaging.app import open_service as open_imaging
from consilium_ingest.app import open_service as open_ingest
from consilium_platform.http.straight import StraightProtocol
from consilium_platform.platform import Platform, open_platform
from consilium_platform.process import settle_garbage
from consilium_platform.settings import PlatformSettings


@dataclass(frozen=True, slots=True)
class Door:
    """Sends each path where the gateway would (docs/architecture.md section 1)."""

    ingest: ASGIApp
    imaging: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, method = scope.get("path", ""), scope.get("method", "GET")
        stow = path.startswith("/dicomweb") and method == "POST"
        to_ingest = stow or path.startswith(("/site/v1/uploads", "/api/v1/ingest", "/dicomweb/commitment-requests"))
        await (self.ingest if to_ingest else self.imaging)(scope, receive, send)


@asynccontextmanager
async def archive_door(platform: Platform, **settings: Any) -> AsyncIterator[Door]:
    """Open both rooms on ``platform``; ``settings``: ``ingest=IngestSettings(...)``, likewise ``dimse``, ``storage``, ``commitment``, ``routing``, ``imaging``."""
    of_ingest = [settings.get(name) for name in ("ingest", "dimse", "storage", "commitment", "routing")]
    async with (
        open_ingest(platform, *of_ingest) as ingest,
        open_imaging(platform, settings.get("imaging")) as imaging,
    ):
        yield Door(ingest, imaging)


@asynccontextmanager
async def door_client(door: Door, headers: dict[str, str]) -> AsyncIterator[httpx2.AsyncClient]:
    """Yield a client that calls the rooms directly."""
    transport = httpx2.ASGITransport(door, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://archive.test", headers=headers) as client:
        yield client


@asynccontextmanager
async def door_server(door: Door, port: int = 0) -> AsyncIterator[str]:
    """Serve the rooms by uvicorn on a port of loopback (0: a free one); yield the base URL."""
    config = uvicorn.Config(
        door,
        host="127.0.0.1",
        port=port,
        http=StraightProtocol,
        lifespan="off",
        log_level="warning",
        access_log=False,
        proxy_headers=False,
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(), name="archive-server")
    try:
        while not server.started:
            if task.done():
                await task
            await asyncio.sleep(0.005)
        bound = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{bound}"
    finally:
        server.should_exit = True
        await task


async def serve_folder(folder: Path, port: int = 0) -> None:
    """Serve a platform (embedded in ``folder`` unless the environment says more) until killed; print the base URL first."""
    async with (
        open_platform(PlatformSettings.load(data_dir=folder), migrate=True) as platform,
        archive_door(platform) as door,
        door_server(door, port) as url,
    ):
        settle_garbage()
        print(url, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve_folder(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0))
