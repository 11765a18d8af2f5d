"""Ingest's one composition root: opens the writer and the spool, wires the addresses, closes in reverse."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

from fastapi import FastAPI

from consilium_archive.care import StorageCare, running_care
from consilium_archive.writer import WriterLimits, open_writer
from consilium_dicom.policy import parse_policy
from consilium_ingest.api_stow import StowDesk, stow_router
from consilium_ingest.api_uploads import uploads_router
from consilium_ingest.commitment.api import commitment_router, receipt_router
from consilium_ingest.commitment.desk import CommitmentDesk
from consilium_ingest.commitment.keeper import Keeper, running_keeper
from consilium_ingest.commitment.rows import CommitmentRows
from consilium_ingest.commitment.settings import CommitmentSettings
from consilium_ingest.dimse.delivery import Delivery
from consilium_ingest.dimse.server import open_dimse
from consilium_ingest.dimse.settings import DimseSettings
from consilium_ingest.quarantine.api import quarantine_router
from consilium_ingest.quarantine.desk import QuarantineDesk
from consilium_ingest.quarantine.rows import QuarantineRows
from consilium_ingest.routing.opening import open_routing
from consilium_ingest.routing.settings import RoutingSettings
from consilium_ingest.settings import IngestSettings
from consilium_ingest.spool import Budget, Spool, sweep
from consilium_ingest.storage.api import StorageDesk, storage_router
from consilium_ingest.storage.settings import StorageSettings
from consilium_ingest.upload_ingest import UploadIngest
from consilium_ingest.upload_rows import UploadRows
from consilium_ingest.uploads import Uploads
from consilium_platform.http.app import create_app
from consilium_platform.http.plain_route import serve
from consilium_platform.platform import Platform
from consilium_platform.tasks import end_task


@asynccontextmanager
async def open_service(
    platform: Platform,
    settings: IngestSettings | None = None,
    dimse: DimseSettings | None = None,
    storage: StorageSettings | None = None,
    commitment: CommitmentSettings | None = None,
    routing: RoutingSettings | None = None,
) -> AsyncIterator[FastAPI]:
    """Yield ingest's app; the writer runs for the length of the block, and the DIMSE door if it has a port."""
    settings, dimse = settings or IngestSettings.load(), dimse or DimseSettings.load()
    storage, commitment = storage or StorageSettings.load(), commitment or CommitmentSettings.load()
    routing = routing or RoutingSettings.load()
    folder = settings.spool_dir or platform.settings.data_dir / "spool"
    await asyncio.to_thread(sweep, folder)
    spool = Spool(folder, Budget(settings.memory_bytes), settings.spool_above_bytes, settings.max_object_bytes)
    policy = parse_policy(settings.quarantine_findings)
    limits = WriterLimits(
        threads=settings.worker_threads, decode=settings.decode_frames, policy=policy, resend=storage.resend
    )
    async with AsyncExitStack() as stack:
        writer = await stack.enter_async_context(
            open_writer(platform.database, platform.blobs, platform.outbox, limits)
        )
        app = create_app("ingest", platform)
        uploads = Uploads(
            UploadRows(platform.database),
            platform.blobs,
            max_bytes=settings.max_object_bytes,
            chunk_bytes=settings.upload_chunk_bytes,
        )
        if platform.database.is_sqlite:
            await uploads.rows.release_all()
        keep = timedelta(hours=settings.upload_keep_hours)
        ingest = UploadIngest(uploads, writer, spool, platform.audit, keep=keep)
        await stack.enter_async_context(_running(ingest))
        app.include_router(uploads_router(uploads))
        serve(app, stow_router(StowDesk(writer, spool, platform.audit, settings)))
        held = QuarantineDesk(QuarantineRows(platform.database, platform.outbox), writer, platform.blobs, spool)
        app.include_router(quarantine_router(held, platform.audit))
        care = StorageCare(
            platform.database, platform.stores, folder, platform.clock, in_flight=storage.copies_in_flight
        )
        await stack.enter_async_context(running_care(care, storage.poll_s))
        app.include_router(storage_router(StorageDesk(platform.database, platform.audit, platform.settings.copy_store)))
        app.include_router(await stack.enter_async_context(open_routing(platform, routing, folder)))
        rows = CommitmentRows(platform.database, platform.audit, platform.clock)
        if platform.database.is_sqlite:
            await rows.release_all()
        give_up_s, retention_s = commitment.give_up_h * 3600, commitment.retention_d * 86400
        keeper = Keeper(rows, platform.stores, Delivery.of(dimse), give_up_s, retention_s)
        await stack.enter_async_context(running_keeper(keeper, commitment.poll_s))
        signer = platform.receipt_signer
        commitments = CommitmentDesk(rows, keeper, platform.stores, platform.audit, signer, commitment.answer_s)
        app.include_router(commitment_router(commitments))
        app.include_router(receipt_router(commitments))
        if dimse.port is not None:
            app.state.dimse = await stack.enter_async_context(open_dimse(platform, dimse, writer, spool, keeper))
        yield app


@asynccontextmanager
async def _running(ingest: UploadIngest) -> AsyncIterator[None]:
    task = asyncio.create_task(ingest.run(), name="upload-ingest")
    try:
        yield
    finally:
        await end_task(task)
