"""Imaging's one composition root: opens the hot tier, the drawing threads, the videos' scratch folder, the maker of derivatives
and the pre-fetching of priors, wires the addresses, closes in reverse."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

from fastapi import FastAPI

from consilium_archive.hot_tier import HotRule, HotTier, open_hot_tier
from consilium_archive.prior_rule import Bounds
from consilium_archive.reader import ArchiveReader
from consilium_imaging.api_frames import frames_router
from consilium_imaging.api_priors import priors_router
from consilium_imaging.api_qido import SearchDesk, qido_router
from consilium_imaging.api_retrieve import retrieve_router
from consilium_imaging.api_uri import uri_router
from consilium_imaging.api_worklist import worklist_router
from consilium_imaging.bookings import Bookings
from consilium_imaging.derivatives import Rule, open_derivatives
from consilium_imaging.desk import ViewDesk
from consilium_imaging.pictures import Pictures
from consilium_imaging.prefetch import PrefetchDesk, PrefetchRule, open_prefetch
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
    async with AsyncExitStack() as stack:
        hot = await _hot_tier(platform, settings, stack)
        reader = ArchiveReader(platform.database, platform.blobs, hot)
        views = ViewAudit(platform.audit, reader, platform.clock, settings.view_audit_window_s)
        workers = Workers(settings.render_threads, settings.render_queue)
        pictures = Pictures(reader, workers, settings.picture_cache_bytes, settings.decoded_cache_bytes)
        stack.callback(workers.close)
        videos = stack.enter_context(open_videos(reader, workers, settings.scratch_dir, settings.video_cache_bytes))
        rule = Rule(settings.derivatives, settings.derivative_threads, settings.derivative_queue, settings.scratch_dir)
        derivatives = await stack.enter_async_context(open_derivatives(pictures, platform.blobs, platform.bus, rule))
        bookings = Bookings(platform.database)
        hands = PrefetchDesk(platform.database, reader, pictures, bookings, platform.services, platform.clock)
        local = platform.settings.blob_store == "folder"
        rule_of_priors = _prefetch_rule(settings) if local or hot is not None else None
        prefetch = await stack.enter_async_context(open_prefetch(hands, platform.bus, rule_of_priors))
        app = create_app("imaging", platform)
        desk = ViewDesk(reader, pictures, videos, derivatives, views, settings)
        serve(app, frames_router(desk))  # first: routes are tried in order, and these are asked for most
        serve(app, qido_router(SearchDesk(reader, views, settings)))
        serve(app, retrieve_router(desk))
        serve(app, uri_router(desk))
        app.include_router(worklist_router(platform.database, views))
        app.include_router(priors_router(reader, bookings, prefetch, views))
        yield app


async def _hot_tier(platform: Platform, settings: ImagingSettings, stack: AsyncExitStack) -> HotTier | None:
    """Open the hot tier where originals are remote and it has a folder."""
    if settings.hot_dir is None or platform.settings.blob_store == "folder":
        return None
    rule = HotRule(settings.hot_dir, settings.hot_bytes, settings.hot_days * 86400, settings.hot_queue)
    return await stack.enter_async_context(open_hot_tier(platform.database, rule))


def _prefetch_rule(settings: ImagingSettings) -> PrefetchRule | None:
    if not settings.prefetch_studies:
        return None
    bounds = Bounds(settings.prefetch_studies, settings.prefetch_bytes)
    keep = timedelta(days=settings.prefetch_days)
    return PrefetchRule(bounds, settings.prefetch_at_once, settings.prefetch_again_s, keep)
