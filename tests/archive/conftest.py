"""A writer and a reader on either world."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from consilium_archive.reader import ArchiveReader
from consilium_archive.stages import Indexed, Received
from consilium_archive.writer import ArchiveWriter, open_writer
from consilium_core.clock import FakeClock
from consilium_platform.blobs import Stores
from consilium_platform.blobs_folder import FolderBlobs
from consilium_platform.platform import Platform
from consilium_testkit.instances import ct_instance

Put = Callable[..., Awaitable[Indexed]]


@pytest_asyncio.fixture
async def writer(any_platform: Platform) -> AsyncIterator[ArchiveWriter]:
    """Yield a running writer."""
    async with open_writer(any_platform.database, any_platform.blobs, any_platform.outbox) as opened:
        yield opened


@pytest.fixture
def reader(any_platform: Platform) -> ArchiveReader:
    """Return a reader of the same archive."""
    return ArchiveReader(any_platform.database, any_platform.blobs)


@pytest.fixture
def put(writer: ArchiveWriter) -> Put:
    """Return a function that stores one small CT image with the given attributes."""

    async def store(tenant: str = "demo", **attributes: Any) -> Indexed:
        return await writer.store(Received(tenant, ct_instance(side=8, **attributes)))

    return store


@pytest.fixture
def clock() -> FakeClock:
    """Return a clock two days ahead: what is stored now is no longer young."""
    return FakeClock(datetime.now(UTC) + timedelta(days=2))


@pytest_asyncio.fixture
async def stores(any_platform: Platform, tmp_path: Path) -> AsyncIterator[Stores]:
    """Yield the platform's store with a second place."""
    second = FolderBlobs(tmp_path / "second")
    yield Stores(any_platform.stores.first, second)
    second.close()
