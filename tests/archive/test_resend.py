"""An instance that the archive has lost is whole again when its sender sends it again, before that is acknowledged (on both worlds)."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import delete, func, select, update

from consilium_archive.copies import Copier
from consilium_archive.errors import InstanceHeld
from consilium_archive.quarantine_copies import held_page
from consilium_archive.quarantine_table import quarantine
from consilium_archive.reconcile import Reconciler
from consilium_archive.removal import GRACE_S, InstanceTombstoned, doom, remove_doomed
from consilium_archive.scrub import Scrubber
from consilium_archive.stages import Indexed, Received, Stored, original_key, quarantine_key
from consilium_archive.storage_tables import copy, damage, removal, tombstone
from consilium_archive.tables import instance
from consilium_archive.twins import OriginalUnreadable
from consilium_archive.writer import ArchiveWriter, WriterLimits, open_writer
from consilium_core.clock import FakeClock
from consilium_dicom.header import read_header
from consilium_platform.blobs import BlobNotFound, BlobStore, BlobsUnavailable, Stores
from consilium_platform.blobs_fallback import FallbackBlobs
from consilium_platform.outbox import outbox
from consilium_platform.platform import Platform
from consilium_testkit.instances import ct_instance, with_meta


@pytest_asyncio.fixture
async def doubled(any_platform: Platform, stores: Stores, clock: FakeClock) -> AsyncIterator[ArchiveWriter]:
    """Yield a writer that reads from both places."""
    assert stores.copy is not None
    blobs = FallbackBlobs(stores.first, stores.copy, clock)
    async with open_writer(any_platform.database, blobs, any_platform.outbox) as opened:
        yield opened


async def open_damage(platform: Platform) -> set[tuple[str, str]]:
    async with platform.database.read() as session:
        rows = await session.execute(select(damage).where(damage.c.repaired_at.is_(None)))
        return {(row.place, row.kind) for row in rows}


async def copied(platform: Platform, stores: Stores, folder: Path, clock: FakeClock) -> int:
    assert stores.copy is not None
    copier = Copier(platform.database, stores.first, stores.copy, folder, clock)
    await copier.feed()
    return await copier.work()


async def lose(store: BlobStore, key: str, how: str) -> None:
    whole = await store.get(key)
    if how == "missing":
        await store.delete(key)
    else:
        await store.put(key, whole[:1000] if how == "short" else whole[:-1] + b"?")


def received(data: bytes, spooled: Path | None) -> Received:
    if spooled is None:
        return Received("demo", bytearray(data))
    spooled.write_bytes(data)
    return Received("demo", None, spooled)


@pytest.mark.parametrize("looked", ["unmarked", "scrubbed", "scrubbed twice", "reconciled"])
@pytest.mark.parametrize("how", ["missing", "short", "other bytes"])
async def test_what_both_places_lost_is_whole_in_both_again_after_it_was_sent_again(
    any_platform: Platform, doubled: ArchiveWriter, stores: Stores, tmp_path: Path, clock: FakeClock, how: str,
    looked: str,
) -> None:  # fmt: skip
    if how == "other bytes" and not looked.startswith("scrubbed"):
        pytest.skip("bytes of the right length are the scrubber's to find")
    assert stores.copy is not None
    data = ct_instance(side=32)
    stored = await doubled.store(Received("demo", data))
    assert await copied(any_platform, stores, tmp_path, clock) == 1
    key = original_key("demo", stored.sha256)
    for store in (stores.first, stores.copy):
        await lose(store, key, how)
    scrubber = Scrubber(any_platform.database, stores, tmp_path, clock)
    if looked.startswith("scrubbed"):
        assert not (await scrubber.run(shares=1)).sound
    if looked == "scrubbed twice":
        assert not (await scrubber.run_damaged()).sound
    if looked == "reconciled":
        await Reconciler(any_platform.database, stores, clock).run(apply=True)
    for spooled in (None, tmp_path / "spooled"):
        again = await doubled.store(received(data, spooled))
        assert (again.fresh, again.sha256, again.received_at) == (False, stored.sha256, stored.received_at)
        assert await stores.first.get(key) == data, "acknowledged means that it is there"
    assert not [place for place, _ in await open_damage(any_platform) if place == "first"]
    assert await copied(any_platform, stores, tmp_path, clock) == 1
    assert await stores.copy.get(key) == data
    assert (await open_damage(any_platform), (await scrubber.run(shares=1)).sound) == (set(), True)
    async with any_platform.database.read() as session:
        assert await session.scalar(select(func.count()).select_from(outbox)) == 1, "nothing new is announced"
        assert await session.scalar(select(func.count()).select_from(instance)) == 1


async def test_a_repeat_of_what_is_there_writes_nothing(
    any_platform: Platform, doubled: ArchiveWriter, stores: Stores, tmp_path: Path, clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    data = ct_instance(side=8)
    await doubled.store(Received("demo", data))
    await copied(any_platform, stores, tmp_path, clock)

    async def put(*_: Any) -> None:
        raise AssertionError("put again")

    monkeypatch.setattr(stores.first, "put", put)
    held = await doubled.hold(Received("demo", data))
    assert isinstance(held, Indexed)
    assert await copied(any_platform, stores, tmp_path, clock) == 0


async def test_what_only_the_first_place_lost_is_put_there_again_too(
    any_platform: Platform, doubled: ArchiveWriter, stores: Stores, tmp_path: Path, clock: FakeClock
) -> None:
    data = ct_instance(side=8)
    key = original_key("demo", (await doubled.store(Received("demo", data))).sha256)
    await copied(any_platform, stores, tmp_path, clock)
    await stores.first.delete(key)
    await doubled.store(Received("demo", data))
    assert await stores.first.get(key) == data


async def test_a_place_that_does_not_say_whether_it_has_the_instance_is_not_acknowledged_for(
    any_platform: Platform, writer: ArchiveWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = ct_instance(side=8)
    await writer.store(Received("demo", data))

    async def out(_key: str) -> int:
        raise BlobsUnavailable("The object store does not answer.")

    monkeypatch.setattr(any_platform.stores.first, "size", out)
    with pytest.raises(BlobsUnavailable):
        await writer.store(Received("demo", data))


async def test_many_that_send_the_lost_instance_at_once_are_all_right(
    any_platform: Platform, writer: ArchiveWriter
) -> None:
    data = ct_instance(side=8)
    stored = await writer.store(Received("demo", data))
    await any_platform.blobs.delete(original_key("demo", stored.sha256))
    answers = await asyncio.gather(*(writer.store(Received("demo", data)) for _ in range(8)))
    assert [answer.fresh for answer in answers] == [False] * 8
    assert await any_platform.blobs.get(original_key("demo", stored.sha256)) == data


async def test_the_same_data_set_in_another_file_restores_nothing_and_is_told_so(
    any_platform: Platform, writer: ArchiveWriter
) -> None:
    data = ct_instance(side=8)
    stored = await writer.store(Received("demo", data))
    key = original_key("demo", stored.sha256)
    await any_platform.blobs.delete(key)
    with pytest.raises(OriginalUnreadable, match="byte for byte"):
        await writer.store(Received("demo", with_meta(data, SourceApplicationEntityTitle="OTHER")))
    assert await any_platform.blobs.list("originals/") == []
    assert not (await writer.store(Received("demo", data))).fresh
    assert not (await writer.store(Received("demo", with_meta(data, SourceApplicationEntityTitle="OTHER")))).fresh
    assert await any_platform.blobs.get(key) == data


@pytest.mark.parametrize("how", ["missing", "short"])
async def test_another_file_is_compared_with_the_copy_where_the_first_place_has_not_got_it_whole(
    any_platform: Platform, doubled: ArchiveWriter, stores: Stores, tmp_path: Path, clock: FakeClock, how: str
) -> None:
    data = ct_instance(side=32)
    stored = await doubled.store(Received("demo", data))
    await copied(any_platform, stores, tmp_path, clock)
    await lose(stores.first, original_key("demo", stored.sha256), how)
    again = await doubled.store(Received("demo", with_meta(data, SourceApplicationEntityTitle="OTHER")))
    assert (again.fresh, again.sha256) == (False, stored.sha256)


# -- retention -----------------------------------------------------------------------------------------------------


async def buried(platform: Platform, one: Indexed) -> None:
    """Remove the instance as retention does, tombstone and doom in one transaction."""
    async with platform.database.write() as session:
        await session.execute(delete(instance).where(instance.c.sop_instance_uid == one.sop_instance_uid))
        await session.execute(
            tombstone.insert().values(
                tenant_id="demo", study_uid=one.study_uid, series_uid=one.series_uid,
                sop_instance_uid=one.sop_instance_uid, sop_class_uid=one.sop_class_uid, sha256=one.sha256,
                size_bytes=one.size_bytes, rule="exam", actor="test", deleted_at=datetime.now(UTC),
            )
        )  # fmt: skip
        await session.run_sync(lambda sync: doom(sync, "demo", one.sha256, one.sop_instance_uid, "exam"))


async def test_an_instance_that_retention_removes_while_it_is_put_again_stays_removed(
    any_platform: Platform, writer: ArchiveWriter, clock: FakeClock
) -> None:
    data = ct_instance(side=8)
    stored = await writer.store(Received("demo", data))
    key = original_key("demo", stored.sha256)
    await any_platform.blobs.delete(key)
    again = await writer.hold(Received("demo", data))
    assert isinstance(again, Stored)
    await buried(any_platform, stored)
    with pytest.raises(InstanceTombstoned):
        await writer.index(again)
    clock.advance(GRACE_S + 1)
    assert (await remove_doomed(any_platform.database, any_platform.stores, clock)).purged == 1
    with pytest.raises(BlobNotFound):
        await any_platform.blobs.get(key)


async def test_an_instance_that_was_taken_back_after_its_retention_is_restored_like_any_other(
    any_platform: Platform, writer: ArchiveWriter, clock: FakeClock
) -> None:
    data = ct_instance(side=8)
    stored = await writer.store(Received("demo", data))
    await buried(any_platform, stored)
    async with any_platform.database.write() as session:
        await session.execute(delete(removal))
    accept = WriterLimits(resend="accept")
    async with open_writer(any_platform.database, any_platform.blobs, any_platform.outbox, accept) as other:
        assert (await other.store(Received("demo", data))).fresh
    key = original_key("demo", stored.sha256)
    await any_platform.blobs.delete(key)
    assert not (await writer.store(Received("demo", data))).fresh  # which would refuse a new one
    async with any_platform.database.read() as session:
        assert (await session.execute(select(removal))).all() == []
    assert await any_platform.blobs.get(key) == data


async def test_a_waiting_copy_of_what_was_put_again_is_due_at_once(
    any_platform: Platform, doubled: ArchiveWriter, stores: Stores, tmp_path: Path, clock: FakeClock
) -> None:
    data = ct_instance(side=8)
    stored = await doubled.store(Received("demo", data))
    await stores.first.delete(original_key("demo", stored.sha256))
    assert await copied(any_platform, stores, tmp_path, clock) == 0  # the copier finds it missing, and waits
    assert await open_damage(any_platform) == {("first", "missing")}
    await doubled.store(Received("demo", data))
    async with any_platform.database.read() as session:
        assert await session.scalar(select(copy.c.attempts)) == 0
    assert await copied(any_platform, stores, tmp_path, clock) == 1


# -- held objects --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["missing", "short", "marked"])
async def test_a_held_object_that_was_lost_is_kept_again_before_its_sender_is_told_so(
    any_platform: Platform, writer: ArchiveWriter, tmp_path: Path, how: str
) -> None:
    data = ct_instance(side=8, PatientBirthDate="20250101")
    with pytest.raises(InstanceHeld):
        await writer.store(Received("demo", data))
    key = quarantine_key("demo", hashlib.sha256(data).hexdigest())
    await lose(any_platform.blobs, key, how)
    if how == "marked":
        scrubber = Scrubber(any_platform.database, any_platform.stores, tmp_path, any_platform.clock)
        assert not (await scrubber.run(shares=1)).sound
    with pytest.raises(InstanceHeld):
        await writer.store(received(data, tmp_path / "spooled"))
    assert await any_platform.blobs.get(key) == data
    [row] = await any_platform.database.query(partial(held_page, after=""))
    assert (row.first_damage, row.copy_state, row.copy_attempts) == ("", "wanted", 0)


async def test_a_released_object_that_was_lost_is_stored_again(any_platform: Platform, writer: ArchiveWriter) -> None:
    data = ct_instance(side=8, PatientBirthDate="20250101")
    with pytest.raises(InstanceHeld):
        await writer.store(Received("demo", data))
    stored = await writer.store(Received("demo", data, cleared=True))
    async with any_platform.database.write() as session:
        await session.execute(update(quarantine).values(state="released", released_sha256=stored.sha256))
    key = original_key("demo", stored.sha256)
    await any_platform.blobs.delete(key)
    again = await writer.store(Received("demo", data))
    assert (again.fresh, again.sha256) == (False, stored.sha256)
    assert await any_platform.blobs.get(key) == data


async def test_an_object_that_was_released_in_other_words_restores_nothing_and_is_told_so(
    any_platform: Platform, writer: ArchiveWriter
) -> None:
    data = ct_instance(side=8, PatientBirthDate="20250101")
    with pytest.raises(InstanceHeld):
        await writer.store(Received("demo", data))
    other = ct_instance(side=8, SOPInstanceUID=read_header(data).sop_instance_uid)
    stored = await writer.store(Received("demo", other, cleared=True))
    async with any_platform.database.write() as session:
        await session.execute(update(quarantine).values(state="released", released_sha256=stored.sha256, proposal="{}"))
    assert (await writer.store(Received("demo", data))).sha256 == stored.sha256
    await any_platform.blobs.delete(original_key("demo", stored.sha256))
    with pytest.raises(OriginalUnreadable):
        await writer.store(Received("demo", data))
