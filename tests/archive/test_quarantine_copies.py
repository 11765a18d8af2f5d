"""Held objects have second copies that are made, read, checked, repaired and counted as the originals' are (on both worlds)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import select

from consilium_archive import copies
from consilium_archive.care import StorageCare
from consilium_archive.copies import Copier
from consilium_archive.errors import InstanceHeld
from consilium_archive.quarantine_copies import HELD
from consilium_archive.quarantine_table import quarantine
from consilium_archive.reconcile import Reconciler, ReconcileReport
from consilium_archive.scrub import Scrubber
from consilium_archive.stages import Received, quarantine_key
from consilium_archive.storage_status import storage_summary
from consilium_archive.writer import ArchiveWriter
from consilium_core.clock import FakeClock
from consilium_platform.blobs import BlobNotFound, BlobsUnavailable, Stores
from consilium_platform.blobs_fallback import FallbackBlobs
from consilium_platform.blobs_folder import FolderBlobs
from consilium_platform.platform import Platform
from consilium_testkit.instances import ct_instance


class Killed(BaseException):
    """Stands for the end of the process."""


class Second(FolderBlobs):
    """A place for copies that can be told not to answer, and to expire held objects."""

    out = False
    quarantine_days = 0

    async def put(self, key: str, data: bytes | bytearray | memoryview, content_type: str = "") -> None:
        """Put, unless out."""
        if self.out:
            raise BlobsUnavailable("The object store does not answer.")
        await super().put(key, data)


@dataclass(frozen=True, slots=True)
class Archive:
    """One archive with two places, and a clock two days ahead: what is stored now is no longer young."""

    platform: Platform
    writer: ArchiveWriter
    stores: Stores
    second: Second
    folder: Path
    clock: FakeClock

    async def hold(self, **attributes: Any) -> str:
        """Have one object held; return its key."""
        with pytest.raises(InstanceHeld):
            await self.writer.store(Received("demo", ct_instance(side=8, PatientBirthDate="20250101", **attributes)))
        async with self.platform.database.read() as session:
            newest = select(quarantine.c.sha256).order_by(quarantine.c.id.desc()).limit(1)
            return quarantine_key("demo", str(await session.scalar(newest)))

    def copier(self) -> Copier:
        return Copier(self.platform.database, self.stores.first, self.second, self.folder, self.clock, 2, HELD)

    async def reconcile(self, *, apply: bool = False) -> ReconcileReport:
        return await Reconciler(self.platform.database, self.stores, self.clock).run(apply=apply)

    def scrubber(self) -> Scrubber:
        return Scrubber(self.platform.database, self.stores, self.folder, self.clock)

    async def sums(self) -> dict[str, Any]:
        found: dict[str, Any] = (await storage_summary(self.platform.database, "demo"))["held"]
        return found


@pytest_asyncio.fixture
async def archive(any_platform: Platform, writer: ArchiveWriter, tmp_path: Path) -> AsyncIterator[Archive]:
    """Yield the platform's archive with a second place."""
    second = Second(tmp_path / "second")
    clock = FakeClock(datetime.now(UTC) + timedelta(days=2))
    stores = Stores(any_platform.stores.first, second)
    yield Archive(any_platform, writer, stores, second, tmp_path, clock)
    second.close()


# -- copying -------------------------------------------------------------------------------------------------------


async def test_every_held_object_is_copied_by_the_task_that_cares_for_the_store(archive: Archive) -> None:
    keys = [await archive.hold() for _ in range(3)]
    original = await archive.writer.store(Received("demo", ct_instance(side=8)))
    assert (await archive.sums())["copies"] == {"copied": 0, "copied_bytes": 0, "waiting": 3, "failing": 0}
    care = StorageCare(archive.platform.database, archive.stores, archive.folder, archive.clock)
    for _ in range(2):
        await care.turn()
    for key in keys:
        assert await archive.second.get(key) == await archive.stores.first.get(key)
    assert len(await archive.second.list("originals/")) == 1
    sums = await archive.sums()
    assert (sums["objects"], sums["copies"]["copied"], sums["copies"]["waiting"]) == (3, 3, 0)
    assert sums["copies"]["copied_bytes"] > 3 * 100
    assert (await storage_summary(archive.platform.database, "other"))["held"]["objects"] == 0
    without = await storage_summary(archive.platform.database, "demo", copies=False)
    assert (without["held"]["copies"]["waiting"], without["instances"], original.fresh) == (0, 1, True)


async def test_a_lost_held_object_is_read_from_its_copy(archive: Archive) -> None:
    key = await archive.hold()
    data = await archive.stores.first.get(key)
    await archive.copier().work()
    await archive.stores.first.delete(key)
    assert await FallbackBlobs(archive.stores.first, archive.second, archive.clock).get(key) == data


async def test_a_copy_that_fails_waits_and_is_made_when_the_place_is_back(archive: Archive) -> None:
    key = await archive.hold()
    archive.second.out = True
    copier = archive.copier()
    assert await copier.work() == 0
    assert (await archive.sums())["copies"] == {"copied": 0, "copied_bytes": 0, "waiting": 1, "failing": 1}
    archive.second.out = False
    assert await copier.work() == 0, "not yet"
    archive.clock.advance(3600)
    assert await copier.work() == 1
    assert await archive.second.size(key) > 0
    assert (await archive.sums())["copies"]["failing"] == 0


async def test_a_kill_between_the_copy_and_its_mark_is_made_good_by_copying_again(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    await archive.hold()
    made = copies.copy_checked

    async def killed(*given: Any) -> None:
        await made(*given)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(copies, "copy_checked", killed)
        with pytest.raises(Killed):
            await archive.copier().work()
    report = await archive.reconcile()
    assert (report.clean, report.held["copy"].young) == (True, 1), "a copy that is not marked yet is no orphan"
    archive.clock.advance(3600)
    assert await archive.copier().work() == 1


async def test_two_processes_do_not_copy_the_same_object_at_once(archive: Archive) -> None:
    for _ in range(6):
        await archive.hold()
    made = await asyncio.gather(archive.copier().work(), archive.copier().work())
    assert sum(made) == 6


async def test_bytes_that_are_not_what_was_held_are_not_copied_but_marked(archive: Archive) -> None:
    for kind in ("corrupt", "missing"):
        key = await archive.hold()
        await archive.stores.first.delete(key)
        if kind == "corrupt":
            await archive.stores.first.put(key, b"rotten")
        assert await archive.copier().work() == 0
        with pytest.raises(BlobNotFound):
            await archive.second.get(key)
        assert {"place": "first", "kind": kind, "objects": 1} in (await archive.sums())["damage"]


# -- scrubbing and reconciliation ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["missing", "corrupt"])
@pytest.mark.parametrize("place", ["first", "copy"])
async def test_what_is_lost_or_changed_in_either_place_is_found_and_repaired_from_the_other(
    archive: Archive, place: str, kind: str
) -> None:
    key = await archive.hold()
    await archive.copier().work()
    store = archive.stores.first if place == "first" else archive.second
    data = await store.get(key)
    await store.delete(key)
    if kind == "corrupt":
        await store.put(key, b"rotten")
    report = await archive.reconcile(apply=True)
    assert (report.damaged, report.held[place].missing_count, report.held[place].wrong_size_count) == (
        True, int(kind == "missing"), int(kind == "corrupt"),
    )  # fmt: skip
    assert (await archive.sums())["damage"] == [{"place": place, "kind": kind, "objects": 1}]
    scrubbed = await archive.scrubber().run_damaged()
    assert (scrubbed.objects, scrubbed.repaired, scrubbed.open) == (1, 1, [])
    assert await store.get(key) == data
    assert (await archive.sums())["damage"] == []
    assert (await archive.reconcile()).clean


async def test_what_can_not_be_repaired_is_named_and_its_copy_is_wanted_again(archive: Archive) -> None:
    key = await archive.hold()
    await archive.copier().work()
    for store in (archive.stores.first, archive.second):
        await store.put(key, b"rotten")
    report = await archive.scrubber().run(shares=1)
    assert (report.corrupt, report.repaired, report.sound) == (2, 0, False)
    assert [(one["key"], one["place"], one["kind"]) for one in report.open] == [
        (key, "first", "corrupt"), (key, "copy", "corrupt"),
    ]  # fmt: skip
    assert (await archive.sums())["copies"]["waiting"] == 1


async def test_so_many_runs_as_there_are_shares_look_at_every_held_object_once(archive: Archive) -> None:
    for _ in range(7):
        await archive.hold()
    looked = [(await archive.scrubber().run(shares=3)).objects for _ in range(3)]
    assert sum(looked) == 7


async def test_an_object_without_an_entry_is_named_and_left_alone(archive: Archive) -> None:
    key = await archive.hold()
    stray = quarantine_key("demo", "ab" * 32)
    await archive.stores.first.put(stray, b"a kill before its entry")
    report = await archive.reconcile(apply=True)
    assert (report.held["first"].orphans, report.held["first"].doomed, report.clean) == ([stray], 0, True)
    assert await archive.stores.first.list("quarantine/") == sorted([key, stray])


async def test_a_place_that_was_told_to_expire_held_objects_is_not_asked_for_old_ones(archive: Archive) -> None:
    key = await archive.hold()
    await archive.copier().work()
    await archive.second.delete(key)
    archive.second.quarantine_days = 1
    assert (await archive.reconcile()).clean
    assert (await archive.scrubber().run(shares=1)).sound
    archive.second.quarantine_days = 3
    assert (await archive.reconcile()).damaged
