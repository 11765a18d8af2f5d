"""``consilium serve SERVICE``: one service of a cluster as a process of its own, settings from the environment."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path

from starlette.types import ASGIApp

from consilium.compose import SERVICES, Dicom, open_backend, open_front
from consilium.http_server import HttpServer
from consilium_core.errors import Invalid
from consilium_platform.http.forwarded import BehindGateway
from consilium_platform.platform import open_platform
from consilium_platform.process import settle_garbage
from consilium_platform.settings import PlatformSettings
from consilium_platform.telemetry import set_up_logging


def run_service(service: str, *, host: str, port: int, dicom_port: int | None = None) -> int:
    """Run until SIGTERM; return the exit status."""
    if service not in SERVICES:
        raise Invalid(f"There is no service {service}: choose one of {', '.join(SERVICES)}.")
    if dicom_port is not None and service != "ingest":
        raise Invalid("Only ingest speaks DICOM: give --dicom-port to consilium serve ingest.")
    settings = PlatformSettings.load()
    set_up_logging(settings.log_format, settings.log_level)
    import uvloop

    sock = socket.create_server((host, port), backlog=2048)
    sock.setblocking(False)
    try:
        with (
            suppress(KeyboardInterrupt, asyncio.CancelledError),
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            runner.run(_serve(service, settings, sock, Dicom(host, dicom_port) if dicom_port is not None else None))
    finally:
        sock.close()
    return 0


async def _serve(service: str, settings: PlatformSettings, sock: socket.socket, dicom: Dicom | None) -> None:
    ending: Callable[[], None] | None = None
    app: ASGIApp
    loop, me = asyncio.get_running_loop(), asyncio.current_task()
    if me is not None:  # process 1 of a container has no default handler; uvicorn's own begins with serving
        loop.add_signal_handler(signal.SIGTERM, me.cancel)
    async with AsyncExitStack() as stack:
        platform = await stack.enter_async_context(open_platform(settings, migrate=False))
        if service == "gateway":
            web = Path(os.environ.get("CONSILIUM_WEB_DIST", "/usr/share/consilium/web"))
            door = await stack.enter_async_context(open_front(platform, {}, web))
            app, ending = door.app, door.begin_shutdown
        else:
            app = BehindGateway(await stack.enter_async_context(open_backend(platform, service, dicom=dicom)))

        async def drain() -> None:
            if ending is not None:
                ending()

        settle_garbage()
        server = HttpServer(app, drain)
        loop.remove_signal_handler(signal.SIGTERM)
        await server.serve(sockets=[sock])
