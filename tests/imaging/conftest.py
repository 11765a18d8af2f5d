"""Ingest and imaging behind one door on either world."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2
import pytest_asyncio

from consilium_core.roles import Role
from consilium_platform.platform import Platform
from consilium_testkit.archive_rooms import Door, archive_door, door_client
from consilium_testkit.platforms import bearer


@pytest_asyncio.fixture
async def door(any_platform: Platform) -> AsyncIterator[Door]:
    """Yield both rooms."""
    async with archive_door(any_platform) as opened:
        yield opened


@pytest_asyncio.fixture
async def client(any_platform: Platform, door: Door) -> AsyncIterator[httpx2.AsyncClient]:
    """Yield an administrator's client."""
    async with door_client(door, bearer(any_platform, Role.ADMIN)) as opened:
        yield opened


@pytest_asyncio.fixture
async def embedded(platform: Platform) -> AsyncIterator[httpx2.AsyncClient]:
    """Yield a specialist-and-storer's client of an embedded archive."""
    async with archive_door(platform) as door, door_client(door, bearer(platform, Role.ADMIN)) as opened:
        yield opened


@pytest_asyncio.fixture
async def door_of(platform: Platform) -> AsyncIterator[Door]:
    """Yield both rooms of the embedded platform."""
    async with archive_door(platform) as opened:
        yield opened
