"""The composition root of the live service: opens the media plane and the background tasks, closes them in reverse."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from fastapi import FastAPI

from consilium_live.adapters.gateway import GatewayCommands
from consilium_live.adapters.sql import SqlRoomStore
from consilium_live.api import media, rooms, socket
from consilium_live.api.cors import MediaCors
from consilium_live.domain.ice import IceDirectory
from consilium_live.flow import follow, keeper
from consilium_live.flow.consultations import ConsultationFollower
from consilium_live.flow.context import LiveContext
from consilium_live.flow.hall import Halls
from consilium_live.flow.ports import SiteCommands
from consilium_live.flow.resources import Resources
from consilium_live.media import MediaPlane
from consilium_live.ports import MediaPlanePort
from consilium_live.settings import LiveSettings
from consilium_platform.http.app import create_app
from consilium_platform.http.refusals import Refusals
from consilium_platform.platform import Platform
from consilium_platform.tasks import end_task

# What the WebSocket server must be told: RS-04 (a dead socket is noticed within 30 s) and RS-32 (256 KiB).
UVICORN_OPTIONS: dict[str, Any] = {"ws_ping_interval": 10.0, "ws_ping_timeout": 15.0, "ws_max_size": socket.FRAME_BOUND}


@asynccontextmanager
async def open_service(
    platform: Platform,
    settings: LiveSettings | None = None,
    *,
    plane: MediaPlanePort | None = None,
    commands: SiteCommands | None = None,
) -> AsyncIterator[FastAPI]:
    """Yield the application; ``plane`` and ``commands`` replace the real ones (who gives a plane closes it)."""
    settings = settings or LiveSettings.load()
    async with AsyncExitStack() as stack:
        if plane is None:
            plane = await MediaPlane.open(settings.media(), clock=platform.clock)
            stack.push_async_callback(plane.close)
        context = LiveContext(
            settings=settings, clock=platform.clock, store=SqlRoomStore(platform.database, platform.outbox),
            commands=commands or GatewayCommands(platform.services), plane=plane, audit=platform.audit,
            ice=_ice(settings), halls=Halls(platform.clock), resources=Resources(),
            revoked=platform.revoked, refusals=Refusals(platform.audit, platform.clock),
        )  # fmt: skip
        app = create_app("live", platform)
        app.state.live = context
        app.add_middleware(MediaCors, origins=settings.cors_origins)
        for router in (rooms.router, media.router, socket.router):
            app.include_router(router)
        stack.push_async_callback(context.errands.close)
        cancelled = [
            asyncio.create_task(keeper.run_timer(context), name="live-timer"),
            asyncio.create_task(follow.run_bus(context, platform.bus), name="live-bus"),
        ]
        stopped = [
            asyncio.create_task(keeper.run_reconciler(context), name="live-reconciler"),
            asyncio.create_task(follow.CaptureFollower(context).run(), name="live-captures"),
            asyncio.create_task(ConsultationFollower(context).run(), name="live-consultations"),
        ]
        stack.push_async_callback(_stop, context, cancelled, stopped)
        try:
            yield app
        finally:
            await keeper.everybody_out(context)


async def _stop(
    context: LiveContext, cancelled: Sequence[asyncio.Task[None]], stopped: Sequence[asyncio.Task[None]]
) -> None:
    """End what only waits at once; let what writes finish its transaction, 5 s at most."""
    context.stop()
    for task in cancelled:
        await end_task(task)
    await asyncio.wait(stopped, timeout=5)
    for task in stopped:
        await end_task(task)


def _ice(settings: LiveSettings) -> IceDirectory:
    secret = settings.turn_secret.get_secret_value() if settings.turn_secret else ""
    return IceDirectory(settings.stun_urls, settings.turn_urls, secret, settings.turn_ttl_s)
