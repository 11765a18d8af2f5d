"""One running product for all journeys, started as its user starts it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from consilium_testkit.browser import chromium
from consilium_testkit.system import System, running_system


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Start ``consilium up`` and wait for the first live frame."""
    if not (Path(__file__).parents[2] / "web" / "dist" / "index.html").exists():
        pytest.fail("the web client is not built: make web")
    with running_system(tmp_path_factory.mktemp("system") / "data") as running:
        yield running


@pytest_asyncio.fixture
async def browser() -> AsyncIterator[Browser]:
    """Yield a Chromium of the test."""
    async with chromium() as opened:
        yield opened
