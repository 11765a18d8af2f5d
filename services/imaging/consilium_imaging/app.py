"""Imaging's one composition root: opens the drawing threads, the videos' scratch folder and the maker of derivatives, wires the addresses, closes in reverse."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI

from consilium_archive.reader import ArchiveReader
from consilium_imaging.api_frames import frames_router
from consilium_imaging.api_qido import SearchDesk, qido_router
from consilium_imaging.api_retrieve import retrieve_router
from consilium_imaging.api_uri import uri_router
from consilium_imaging.api_worklist import worklist_router
from consilium_imaging.derivatives import Rule, open_derivatives
from consilium_imaging.desk import ViewDesk
from consilium_imaging.pictures import Pictures
from consilium_imaging.settings import ImagingSettings
from consilium_imaging.videos import open_videos
from consilium_imaging.views import ViewAudit
from consilium_imaging.workers import Workers
from consilium_platform.http.app import create_app
from consilium_platform.http.plain_route import serve
from consilium_platform.platform import Platform


@asynccontextmanager
async def open_service(platform: Platform, settings: ImagingSettings | None = None) -> AsyncIterator[FastAPI]:
    """Yield imaging's app; its drawing threads live for the length of the block."""
    settings = settings or ImagingSettings.load()
    reader = ArchiveReader(platform.database, platform.blobs)
    views = ViewAudit(platform.audit, reader, platform.clock, settings.view_audit_window_s)
    workers = Workers(settings.render_threads, settings.render_queue)
    pictures = Pictures(reader, workers, settings.picture_cache_bytes, settings.decoded_cache_bytes)
    async with AsyncExitStack() as stack:
        stack.callback(workers.close)
        videos = stack.enter_context(open_videos(reader, workers, settings.scratch_dir, settings.video_cache_bytes))
        rule = Rule(settings.derivatives, settings.derivative_threads, settings.derivative_queue, settings.scratch_dir)
        derivatives = await stack.enter_async_context(open_derivatives(pictures, platform.blobs, platform.bus, rule))
        app = create_app("imaging", platform)
        desk = ViewDesk(reader, pictures, videos, derivatives, views, settings)
        serve(app, frames_router(desk))  # first: routes are tried in order, and these are asked for most
        serve(app, qido_router(SearchDesk(reader, views, settings)))
        serve(app, retrieve_router(desk))
        serve(app, uri_router(desk))
        app.include_router(worklist_router(platform.database, views))
        yield app
