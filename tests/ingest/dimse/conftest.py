"""Ingest with its DIMSE door open, on either world, and dcmtk's senders."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from consilium_ingest.dimse.server import DimseServer
from consilium_ingest.dimse.settings import DimseSettings
from consilium_platform.platform import Platform
from consilium_testkit.archive_rooms import Door, archive_door
from consilium_testkit.servers import need

Sender = Callable[..., Awaitable[tuple[int, str]]]


@pytest_asyncio.fixture
async def door(any_platform: Platform) -> AsyncIterator[Door]:
    """Yield both rooms, the DIMSE door on a free port with its default allow list."""
    async with archive_door(any_platform, dimse=DimseSettings.load(port=0)) as opened:
        yield opened


@pytest.fixture
def server(door: Door) -> DimseServer:
    """Return the DIMSE door."""
    return server_of(door)


def server_of(door: Door) -> DimseServer:
    """Return the DIMSE door of opened rooms."""
    found = door.ingest.state.dimse  # type: ignore[attr-defined]
    assert isinstance(found, DimseServer)
    return found


@pytest.fixture
def dcmtk() -> Sender:
    """Return a function that runs one of dcmtk's programs to its end: (exit status, what it said)."""

    async def run(program: str, *arguments: str | Path) -> tuple[int, str]:
        path = need(program, "dcmtk")
        process = await asyncio.create_subprocess_exec(path, *map(str, arguments), stdout=PIPE, stderr=STDOUT)
        async with asyncio.timeout(90):
            said, _ = await process.communicate()
        return process.returncode or 0, said.decode(errors="replace")

    return run
