"""A real Chromium and a study in memory for the viewer's tests."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright

from consilium_testkit.servers import need

ROOT = Path(__file__).resolve().parents[2]
FLAGS = [
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def _load(name: str) -> ModuleType:
    """Load a module that lies beside this file (tests are no packages)."""
    spec = importlib.util.spec_from_file_location(f"consilium_tests_web_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def study() -> Iterator[Any]:
    """Return a running StudyServer over the built web client."""
    dist = ROOT / "web/dist"
    if not (dist / "index.html").is_file():
        pytest.fail("the web client is not built: make web")
    server = _load("study_server").StudyServer(dist)
    yield server
    server.close()


@pytest.fixture
def mock() -> Iterator[str]:
    """Yield the address of the client's own mock backend (`web/tests/mock`)."""
    command = ["./node.sh", "tests/mock/server.mjs"]
    with subprocess.Popen(command, cwd=ROOT / "web", stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.terminate()


@pytest_asyncio.fixture
async def browser() -> AsyncIterator[Browser]:
    """Yield a Chromium."""
    async with async_playwright() as playwright:
        opened = await playwright.chromium.launch(executable_path=need("chromium", "chromium"), args=FLAGS)
        yield opened
        await opened.close()


@pytest_asyncio.fixture(params=["webgl2", "canvas2d"])
async def engine(request: pytest.FixtureRequest) -> AsyncIterator[tuple[str, Browser]]:
    """Return the engine's name and a Chromium that has it."""
    chromium = need("chromium", "chromium")
    without = ["--disable-webgl", "--disable-webgl2"] if request.param == "canvas2d" else ["--use-angle=swiftshader"]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=[*FLAGS, *without])
        yield request.param, browser
        await browser.close()
