"""One set of opened resources that a process's rooms share; who opens it closes it.

``open_platform`` is used by every composition root: ``async with open_platform(settings) as platform``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from consilium_core.clock import Clock, SystemClock
from consilium_platform.audit import AuditLog, open_audit
from consilium_platform.blobs import BlobStore, Stores, open_stores
from consilium_platform.blobs_fallback import FallbackBlobs
from consilium_platform.bus import EventBus, open_bus
from consilium_platform.http.client import ServiceDirectory
from consilium_platform.migrate import upgrade
from consilium_platform.outbox import OutboxRelay, running_relay
from consilium_platform.revoked import RevokedSites, open_revoked
from consilium_platform.settings import PlatformSettings
from consilium_platform.sql import Database, open_database
from consilium_platform.statements import StatementSigner
from consilium_platform.tokens import (
    TokenSigner,
    TokenVerifier,
    ensure_embedded_keys,
    load_signer,
    load_statement_signer,
    load_verifier,
)

Ping = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class Platform:
    """Everything a server room may lean on. ``blobs`` reads from either of ``stores``, where there are two."""

    settings: PlatformSettings
    clock: Clock
    database: Database
    blobs: BlobStore
    stores: Stores
    bus: EventBus
    outbox: OutboxRelay
    audit: AuditLog
    verifier: TokenVerifier
    user_signer: TokenSigner | None
    receipt_signer: StatementSigner | None
    services: ServiceDirectory
    revoked: RevokedSites
    dependencies: dict[str, Ping] = field(default_factory=dict)


@asynccontextmanager
async def open_platform(
    settings: PlatformSettings, *, clock: Clock | None = None, migrate: bool | None = None
) -> AsyncIterator[Platform]:
    """Open database, objects, bus, keys, audit and outbox.

    ``migrate`` None: the embedded SQLite database is upgraded here; a PostgreSQL database is upgraded by its own job.
    """
    clock = clock or SystemClock()
    embedded = settings.database_url is None
    if embedded:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
    if migrate if migrate is not None else embedded:
        await upgrade(settings.sql_url)
    keys = settings.data_dir / "keys"
    if settings.verify_keys_file is None:
        ensure_embedded_keys(keys)
    verifier = load_verifier(settings.verify_keys_file or keys / "verify.json", clock)
    user_key = settings.user_key_file or (None if settings.verify_keys_file else keys / "users.json")
    service_key = settings.service_key_file or (None if settings.verify_keys_file else keys / "services.json")
    receipt_key = settings.receipt_key_file or (None if settings.verify_keys_file else keys / "receipts.json")
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(
            open_database(settings.sql_url, pool_size=settings.database_pool_size)
        )
        stores = await stack.enter_async_context(open_stores(settings))
        blobs: BlobStore = stores.first
        if stores.copy is not None:
            blobs = FallbackBlobs(stores.first, stores.copy, clock)
        redis_url = settings.redis_url.get_secret_value() if settings.redis_url else None
        bus = await stack.enter_async_context(open_bus(redis_url))
        audit = await stack.enter_async_context(open_audit(database))
        outbox = await stack.enter_async_context(running_relay(database, bus))
        revoked = await stack.enter_async_context(open_revoked(database, bus))
        services = await stack.enter_async_context(
            ServiceDirectory.open(settings.services, load_signer(service_key, clock) if service_key else None)
        )
        yield Platform(
            settings=settings,
            clock=clock,
            database=database,
            blobs=blobs,
            stores=stores,
            bus=bus,
            outbox=outbox,
            audit=audit,
            verifier=verifier,
            user_signer=load_signer(user_key, clock) if user_key else None,
            receipt_signer=load_statement_signer(receipt_key) if receipt_key else None,
            services=services,
            revoked=revoked,
            dependencies={"database": database.ping, "objects": blobs.ping, "events": bus.ping},
        )
