"""Fixtures of the whole suite."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

pytest_plugins = ["consilium_testkit.platforms"]


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """Put back how logs are written: a command that a test runs in its own process sets that up for itself."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.fixture(scope="session")
def repo() -> Path:
    """Return the root of the checkout."""
    return Path(__file__).parent.parent


@pytest.fixture(scope="session")
def shared_data(repo: Path) -> Path:
    """Return the folder of real DICOM files, or skip where it is absent (they are never committed)."""
    folder = Path(os.environ.get("CONSILIUM_TEST_DATA", repo.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real DICOM files at {folder}: set CONSILIUM_TEST_DATA")
    return folder
