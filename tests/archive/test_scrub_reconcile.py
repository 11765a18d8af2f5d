"""Scrubbing and reconciliation find what is wrong, mend what can be mended, and harm nothing (on both worlds)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, insert, select, update

from consilium_archive.copies import Copier
from consilium_archive.reader import ArchiveReader, Scope
from consilium_archive.reconcile import Reconciler, ReconcileReport
from consilium_archive.removal import GRACE_S, remove_doomed
from consilium_archive.scrub import Scrubber
from consilium_archive.stages import Indexed, Received, original_key
from consilium_archive.storage_status import storage_summary, study_storage
from consilium_archive.storage_tables import copy, damage, removal, scrub_run
from consilium_archive.tables import instance, series, study, upload_segment
from consilium_archive.writer import ArchiveWriter
from consilium_core.clock import FakeClock
from consilium_core.ids import new_uid
from consilium_platform.blobs import BlobArchived, BlobNotFound, BlobsUnavailable, Stores
from consilium_platform.platform import Platform
from consilium_testkit.instances import ct_instance

Put = Callable[..., Awaitable[Indexed]]


@pytest.fixture
def scrubber(any_platform: Platform, stores: Stores, tmp_path: Path, clock: FakeClock) -> Scrubber:
    """Return a scrubber of both places."""
    return Scrubber(any_platform.database, stores, tmp_path, clock)


async def copied(platform: Platform, stores: Stores, folder: Path, clock: FakeClock) -> None:
    assert stores.copy is not None
    copier = Copier(platform.database, stores.first, stores.copy, folder, clock)
    await copier.feed()
    await copier.work()


def key(one: Indexed, tenant: str = "demo") -> str:
    return original_key(tenant, one.sha256)


async def reconcile(
    platform: Platform, stores: Stores, clock: FakeClock, *, apply: bool = True, **settings: Any
) -> ReconcileReport:
    return await Reconciler(platform.database, stores, clock, **settings).run(apply=apply)


async def damaged(platform: Platform) -> set[tuple[str, str, str]]:
    async with platform.database.read() as session:
        rows = await session.execute(select(damage).where(damage.c.repaired_at.is_(None)))
        return {(row.sha256, row.place, row.kind) for row in rows}


# -- scrub ---------------------------------------------------------------------------------------------------------


async def test_what_is_lost_or_changed_in_either_place_is_found_and_repaired_from_the_other(
    any_platform: Platform, put: Put, stores: Stores, scrubber: Scrubber, tmp_path: Path, clock: FakeClock
) -> None:
    one, two, three, four = [await put() for _ in range(4)]
    await copied(any_platform, stores, tmp_path, clock)
    assert stores.copy is not None
    await stores.first.put(key(one), b"rotten")
    await stores.first.delete(key(two))
    await stores.copy.put(key(three), b"rotten")
    report = await scrubber.run(shares=1)
    assert (report.objects, report.missing, report.corrupt, report.repaired) == (4, 1, 2, 3)
    assert report.sound
    assert report.open == []
    for stored in (one, two, three, four):
        for store in (stores.first, stores.copy):
            assert await store.size(key(stored)) == stored.size_bytes
    assert await damaged(any_platform) == set()
    again = await scrubber.run(shares=1)
    assert (again.objects, again.missing, again.corrupt) == (4, 0, 0)
    last = (await storage_summary(any_platform.database, "demo"))["last_scrub"]
    assert (last["objects"], last["corrupt"], last["finished_at"] is not None) == (4, 0, True)


async def test_what_is_in_the_stores_archive_is_passed_over_and_neither_lost_nor_restored(
    any_platform: Platform, put: Put, stores: Stores, tmp_path: Path, clock: FakeClock
) -> None:
    cold, warm = [await put() for _ in range(2)]
    await copied(any_platform, stores, tmp_path, clock)
    assert stores.copy is not None
    await stores.copy.put(key(cold), b"rotten")
    await stores.first.put(key(warm), b"rotten")

    class Glacier:
        def __getattr__(self, name: str) -> Any:
            assert name != "restore"
            return getattr(stores.first, name)

        async def get_stream(self, of: str) -> AsyncGenerator[bytes]:
            if of == key(cold):
                raise BlobArchived("cold")
            async for chunk in stores.first.get_stream(of):
                yield chunk

    report = await Scrubber(any_platform.database, Stores(Glacier(), stores.copy), tmp_path, clock).run(shares=1)
    assert (report.objects, report.archived, report.missing, report.corrupt, report.repaired) == (2, 1, 0, 2, 1)
    assert "1 in the archive not read" in report.words
    assert await damaged(any_platform) == {(cold.sha256, "copy", "corrupt")}


async def test_what_can_not_be_repaired_is_reported_marked_and_shown_until_it_is_whole_again(
    any_platform: Platform, put: Put, stores: Stores, scrubber: Scrubber, tmp_path: Path, clock: FakeClock
) -> None:
    stored = await put()
    good = await any_platform.stores.first.get(key(stored))
    await stores.first.put(key(stored), b"rotten")
    report = await scrubber.run(shares=1)
    assert not report.sound
    told = {"tenant": "demo", "sha256": stored.sha256, "place": "first", "kind": "corrupt"}
    assert report.open == [told]
    assert await damaged(any_platform) == {(stored.sha256, "first", "corrupt")}
    status = await study_storage(any_platform.database, "demo", stored.study_uid, copies=True, cursor=0)
    assert status.first == {"corrupt": 1}
    await stores.first.put(key(stored), good)
    assert (await scrubber.run(shares=1)).sound
    assert await damaged(any_platform) == set()


async def test_a_copy_that_rotted_while_its_original_is_gone_is_wanted_again(
    any_platform: Platform, put: Put, stores: Stores, scrubber: Scrubber, tmp_path: Path, clock: FakeClock
) -> None:
    stored = await put()
    await copied(any_platform, stores, tmp_path, clock)
    assert stores.copy is not None
    await stores.copy.put(key(stored), b"rotten")
    await stores.first.put(key(stored), b"rotten too")
    report = await scrubber.run(shares=1)
    assert (report.corrupt, report.repaired, len(report.open)) == (2, 0, 2)
    async with any_platform.database.read() as session:
        assert await session.scalar(select(copy.c.state)) == "wanted"


async def test_a_share_goes_on_where_the_last_ended_so_that_all_shares_see_every_original_once(
    any_platform: Platform, put: Put, stores: Stores, scrubber: Scrubber
) -> None:
    for _ in range(7):
        await put()
    seen: list[str] = []
    look = scrubber._state

    async def counting(store: Any, wanted: Any) -> Any:
        seen.append(wanted.sha256)
        return await look(store, wanted)

    scrubber._state = counting  # type: ignore[method-assign]
    for _ in range(3):
        assert (await scrubber.run(shares=3)).objects == 3
    assert len(set(seen[:7])) == 7
    assert set(seen[7:]) == set(seen[:2])  # and round again


async def test_a_place_that_does_not_answer_ends_the_run_and_nothing_is_called_missing(
    any_platform: Platform, put: Put, stores: Stores, scrubber: Scrubber, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put()

    async def out(_store: Any, _wanted: Any) -> None:
        raise BlobsUnavailable("The object store does not answer.")

    with monkeypatch.context() as patched:
        patched.setattr(scrubber, "_state", out)
        with pytest.raises(BlobsUnavailable):
            await scrubber.run(shares=1)
    assert await damaged(any_platform) == set()
    async with any_platform.database.read() as session:
        assert await session.scalar(select(scrub_run.c.finished_at)) is None
    assert (await scrubber.run(shares=1)).objects == 1


# -- reconcile -----------------------------------------------------------------------------------------------------


async def test_an_archive_that_is_in_order_is_clean_in_both_places(
    any_platform: Platform, put: Put, writer: ArchiveWriter, stores: Stores, tmp_path: Path, clock: FakeClock
) -> None:
    for tenant in ("demo", "demo-2", "d"):
        await put(tenant)
    await copied(any_platform, stores, tmp_path, clock)
    await writer.store(Received("demo", ct_instance(side=8)))  # its copy is still to be made
    report = await reconcile(any_platform, stores, clock)
    assert report.clean
    assert [(one.objects, one.rows) for one in report.places.values()] == [(4, 4), (3, 3)]


async def test_rows_without_a_whole_object_are_named_marked_and_repaired_from_the_copy(
    any_platform: Platform, put: Put, stores: Stores, scrubber: Scrubber, tmp_path: Path, clock: FakeClock
) -> None:
    kept, lost, short, alone = [await put() for _ in range(4)]
    only = await put("lone-tenant")
    await copied(any_platform, stores, tmp_path, clock)
    await stores.first.delete(key(lost))
    await stores.first.put(key(short), b"short")
    await stores.first.delete(key(only, "lone-tenant"))
    report = await reconcile(any_platform, stores, clock, apply=False)
    first = report.places["first"]
    assert {one["sha256"] for one in first.missing} == {lost.sha256, only.sha256}
    assert [one["sop_instance_uid"] for one in first.wrong_size] == [short.sop_instance_uid]
    assert (report.damaged, report.clean, first.rows) == (True, False, 5)
    assert await damaged(any_platform) == set()  # only reported
    await reconcile(any_platform, stores, clock)
    assert await damaged(any_platform) == {
        (lost.sha256, "first", "missing"), (only.sha256, "first", "missing"), (short.sha256, "first", "corrupt"),
    }  # fmt: skip
    repaired = await scrubber.run_damaged()
    assert (repaired.objects, repaired.repaired, repaired.sound) == (3, 3, True)
    assert (await reconcile(any_platform, stores, clock)).clean
    assert await stores.first.size(key(kept)) == kept.size_bytes
    assert await stores.first.size(key(alone)) == alone.size_bytes


async def test_a_kill_between_store_and_index_leaves_an_orphan_that_is_found_and_removed_only_once_it_is_old(
    any_platform: Platform, writer: ArchiveWriter, put: Put, stores: Stores, clock: FakeClock
) -> None:
    indexed = await put()
    orphan = await writer.hold(Received("demo", ct_instance(side=8)))  # stored, and then the process is killed
    assert not isinstance(orphan, Indexed)
    young = await reconcile(any_platform, stores, FakeClock(datetime.now(UTC)))
    assert (young.clean, young.places["first"].young) == (True, 1)
    seen = await reconcile(any_platform, stores, clock, apply=False)
    assert seen.places["first"].orphans == [orphan.key]
    assert await stores.first.size(orphan.key) > 0
    done = await reconcile(any_platform, stores, clock)
    assert (done.places["first"].doomed, await stores.first.size(orphan.key) > 0) == (1, True)
    clock.advance(GRACE_S + 1)
    assert (await remove_doomed(any_platform.database, stores, clock)).purged == 1
    with pytest.raises(BlobNotFound):
        await stores.first.get(orphan.key)
    assert await stores.first.size(key(indexed)) == indexed.size_bytes
    assert (await reconcile(any_platform, stores, clock)).clean


async def test_an_orphan_that_is_indexed_after_all_before_it_is_removed_stays(
    any_platform: Platform, writer: ArchiveWriter, reader: ArchiveReader, stores: Stores, clock: FakeClock
) -> None:
    data = ct_instance(side=8)
    stored = await writer.hold(Received("demo", data))
    assert not isinstance(stored, Indexed)
    await reconcile(any_platform, stores, clock)
    async with any_platform.database.write() as session:
        await session.execute(delete(removal))  # as if the doom had not been seen by the writer's transaction
    indexed = await writer.index(stored)
    async with any_platform.database.write() as session:
        await session.execute(
            insert(removal).values(
                tenant_id="demo", sha256=indexed.sha256, sop_instance_uid=indexed.sop_instance_uid, cause="orphan",
                doomed_at=datetime.now(UTC), problem="",
            )
        )  # fmt: skip
    clock.advance(GRACE_S + 1)
    done = await remove_doomed(any_platform.database, stores, clock)
    assert (done.purged, done.lifted) == (0, 1)
    [place] = await reader.places("demo", Scope(indexed.study_uid))
    assert await reader.original(place) == data


async def test_bytes_that_are_no_object_at_all_are_an_orphan_too(
    any_platform: Platform, put: Put, stores: Stores, clock: FakeClock
) -> None:
    await put()
    strange = original_key("demo", "ff" * 32)
    await stores.first.put(strange, b"what is this")
    await stores.first.put("originals/nobody/x", b"or this")
    report = await reconcile(any_platform, stores, clock)
    first = report.places["first"]
    assert (first.orphans, first.doomed) == (sorted([strange, "originals/nobody/x"]), 1)
    assert strange in (left := await stores.first.list("originals/"))
    assert len(left) == 2  # a name that no row can have goes at once
    clock.advance(GRACE_S + 1)
    assert (await remove_doomed(any_platform.database, stores, clock)).purged == 1
    assert (await reconcile(any_platform, stores, clock)).clean


async def test_a_copy_that_is_not_marked_yet_is_no_orphan(
    any_platform: Platform, put: Put, stores: Stores, tmp_path: Path, clock: FakeClock
) -> None:
    stored = await put()
    await copied(any_platform, stores, tmp_path, clock)
    async with any_platform.database.write() as session:
        await session.execute(update(copy).values(state="wanted"))
    report = await reconcile(any_platform, stores, clock)
    assert (report.clean, report.places["copy"].young) == (True, 1)
    assert stores.copy is not None
    assert await stores.copy.size(key(stored)) == stored.size_bytes


async def test_wrong_counts_are_named_and_counted_again(
    any_platform: Platform, put: Put, stores: Stores, clock: FakeClock
) -> None:
    study_uid, emptied = new_uid(), await put()
    series_uid = new_uid()
    for _ in range(2):
        await put(StudyInstanceUID=study_uid, SeriesInstanceUID=series_uid)
    right = await put()
    async with any_platform.database.write() as session:
        await session.execute(update(series).where(series.c.series_uid == series_uid).values(instance_count=5))
        await session.execute(delete(instance).where(instance.c.sop_instance_uid == emptied.sop_instance_uid))
    report = await reconcile(any_platform, stores, clock, apply=False)
    assert {one["study_uid"] for one in report.wrong_counts} == {study_uid, emptied.study_uid}
    await reconcile(any_platform, stores, clock)
    async with any_platform.database.read() as session:
        rows = {row.study_uid: row.instance_count for row in await session.execute(select(study))}
        of_series = await session.scalar(select(series.c.instance_count).where(series.c.series_uid == series_uid))
    assert rows == {study_uid: 2, right.study_uid: 1}
    assert of_series == 2


async def test_segments_that_no_upload_knows_and_unfinished_writes_are_removed_once_they_are_old(
    any_platform: Platform, stores: Stores, clock: FakeClock, tmp_path: Path
) -> None:
    for name in ("uploads/known", "uploads/lost"):
        await stores.first.put(name, b"x")
    async with any_platform.database.write() as session:
        await session.execute(insert(upload_segment).values(upload_id="u", start=0, length=1, blob_key="uploads/known"))
    left = tmp_path / "second" / ".incoming" / "tmpx"
    left.write_bytes(b"half")
    assert (await reconcile(any_platform, stores, FakeClock(datetime.now(UTC)))).clean
    report = await reconcile(any_platform, stores, clock, safe_age_s=-1.0)
    assert (report.lost_segments, report.unfinished, left.exists()) == (1, 1, False)
    assert await stores.first.list("uploads/") == ["uploads/known"]
