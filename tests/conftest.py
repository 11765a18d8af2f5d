"""Fixtures of the whole suite."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest_plugins = ["consilium_testkit.platforms"]


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
