"""Imaging's one composition root: opens the drawing threads, wires the addresses, closes in reverse."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from consilium_archive.reader import ArchiveReader
from consilium_imaging.api_frames import frames_router
from consilium_imaging.api_qido import SearchDesk, qido_router
from consilium_imaging.api_retrieve import retrieve_router
from consilium_imaging.api_worklist import worklist_router
from consilium_imaging.pictures import Pictures
from consilium_imaging.settings import ImagingSettings
from consilium_imaging.views import ViewAudit
from consilium_imaging.wado import ViewDesk
from consilium_imaging.workers import Workers
from consilium_platform.http.app import create_app
from consilium_platform.platform import Platform


@asynccontextmanager
async def open_service(platform: Platform, settings: ImagingSettings | None = None) -> AsyncIterator[FastAPI]:
    """Yield imaging's app; its drawing threads live for the length of the block."""
    settings = settings or ImagingSettings.load()
    reader = ArchiveReader(platform.database, platform.blobs)
    views = ViewAudit(platform.audit, reader, platform.clock, settings.view_audit_window_s)
    workers = Workers(settings.render_threads, settings.render_queue)
    pictures = Pictures(reader, workers, settings.picture_cache_bytes)
    try:
        app = create_app("imaging", platform)
        app.include_router(qido_router(SearchDesk(reader, views, settings)))
        desk = ViewDesk(reader, pictures, views, settings)
        app.include_router(frames_router(desk))
        app.include_router(retrieve_router(desk))
        app.include_router(worklist_router(platform.database, views))
        yield app
    finally:
        workers.close()
