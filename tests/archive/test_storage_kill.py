"""Kill -9 between the steps of storing and copying: what is left is found, removed or done again (a real process, real files)."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from consilium_archive.copies import Copier
from consilium_archive.reconcile import Reconciler
from consilium_archive.removal import GRACE_S, remove_doomed
from consilium_archive.stages import original_key
from consilium_core.clock import FakeClock
from consilium_platform.platform import Platform, open_platform
from consilium_platform.settings import PlatformSettings
from consilium_testkit.platforms import with_copy

pytestmark = pytest.mark.system


@asynccontextmanager
async def after_the_kill(folder: Path, migrated_file: Path, point: str) -> AsyncIterator[tuple[Platform, str]]:
    """Let a process die at ``point``; open what it left and yield it with the key of its one acknowledged original."""
    settings = with_copy(PlatformSettings.load(data_dir=folder, copy_store="folder"), migrated_file)
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(Path(__file__).with_name("killed_part_way.py")), str(folder), point, stdout=PIPE,
        env={"PYTHONPATH": ":".join(sys.path), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert process.stdout is not None
    async with asyncio.timeout(60):
        told = json.loads(await process.stdout.readline())
        assert await process.wait() == -signal.SIGKILL
    async with open_platform(settings, migrate=False) as platform:
        yield platform, original_key("demo", told["sha256"])


async def test_killed_between_store_and_index_the_object_is_an_orphan_that_goes_and_what_was_acknowledged_stays(
    tmp_path: Path, migrated_file: Path
) -> None:
    async with after_the_kill(tmp_path / "data", migrated_file, "stored") as (platform, kept):
        clock, first = FakeClock(datetime.now(UTC)), platform.stores.first
        assert len(await first.list("originals/")) == 2
        reconciler = Reconciler(platform.database, platform.stores, clock)
        assert (await reconciler.run(apply=True)).places["first"].young == 1  # it might still be on its way
        clock.advance(timedelta(days=2).total_seconds())
        assert (await reconciler.run(apply=True)).places["first"].doomed == 1
        clock.advance(GRACE_S + 1)
        assert (await remove_doomed(platform.database, platform.stores, clock)).purged == 1
        assert await first.list("originals/") == [kept]
        assert (await reconciler.run(apply=False)).clean


async def test_killed_between_the_copy_and_its_mark_it_is_copied_again_to_the_same_place(
    tmp_path: Path, migrated_file: Path
) -> None:
    async with after_the_kill(tmp_path / "data", migrated_file, "copied") as (platform, kept):
        assert platform.stores.copy is not None
        assert await platform.stores.copy.list("") == [kept]
        clock = FakeClock(datetime.now(UTC) + timedelta(hours=1))
        first, second = platform.stores.first, platform.stores.copy
        copier = Copier(platform.database, first, second, tmp_path, clock)
        assert (await copier.feed(), await copier.work(), await copier.work()) == (0, 1, 0)
        assert await second.list("") == [kept]
        assert await second.get(kept) == await first.get(kept)
        assert (await Reconciler(platform.database, platform.stores, clock).run(apply=False)).clean
