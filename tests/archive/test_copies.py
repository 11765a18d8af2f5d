"""Second copies: derived from the index, made at least once, checked on their way (on both worlds)."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from sqlalchemy import delete, select, update

from consilium_archive.copies import ORIGINALS, Copier, pause_s
from consilium_archive.stages import Indexed, Received, original_key
from consilium_archive.storage_status import storage_summary, study_storage
from consilium_archive.storage_tables import copy, mark
from consilium_archive.tables import instance
from consilium_archive.writer import ArchiveWriter
from consilium_core.clock import FakeClock
from consilium_core.ids import new_uid
from consilium_platform.blobs import BlobNotFound, BlobsUnavailable
from consilium_platform.blobs_folder import FolderBlobs
from consilium_platform.platform import Platform
from consilium_testkit.instances import ct_instance

Put = Callable[..., Awaitable[Indexed]]


class Killed(BaseException):
    """Stands for the end of the process."""


class Second(FolderBlobs):
    """A place for copies that can be told not to answer."""

    out = False
    puts = 0

    async def put(self, key: str, data: bytes | bytearray | memoryview, content_type: str = "") -> None:
        """Put, unless out."""
        self.puts += 1
        if self.out:
            raise BlobsUnavailable("The object store does not answer.")
        await super().put(key, data)


@pytest_asyncio.fixture
async def second(tmp_path: Path) -> AsyncIterator[Second]:
    """Yield the second place."""
    store = Second(tmp_path / "second")
    yield store
    store.close()


@pytest.fixture
def clock() -> FakeClock:
    """Return a clock that stands still, later than anything stored now."""
    return FakeClock()


@pytest.fixture
def copier(any_platform: Platform, second: Second, tmp_path: Path, clock: FakeClock) -> Copier:
    """Return a copier from the platform's store to the second place."""
    return Copier(any_platform.database, any_platform.stores.first, second, tmp_path, clock)


def key(stored: Indexed) -> str:
    return original_key("demo", stored.sha256)


async def test_every_original_is_copied_byte_for_byte_those_of_before_the_copy_was_asked_for_too(
    any_platform: Platform, put: Put, copier: Copier, second: Second
) -> None:
    study = new_uid()
    stored = [await put(StudyInstanceUID=study, InstanceNumber=n) for n in range(3)]
    assert (await copier.feed(), await copier.work()) == (3, 3)
    for one in stored:
        assert hashlib.sha256(await second.get(key(one))).hexdigest() == one.sha256
    later = await put(StudyInstanceUID=study)
    status = await study_storage(any_platform.database, "demo", study, copies=True, cursor=0)
    assert (status.first, status.copy) == ({"stored": 4}, {"copied": 3, "waiting": 1})
    assert (await copier.feed(), await copier.work()) == (1, 1)
    assert await second.size(key(later)) == later.size_bytes
    assert (await copier.feed(), await copier.work(), second.puts) == (0, 0, 4)
    assert (await storage_summary(any_platform.database, "demo"))["copies"]["copied"] == 4
    assert (await storage_summary(any_platform.database, "other"))["copies"]["copied"] == 0


async def test_a_copy_that_fails_waits_longer_each_time_and_is_made_when_the_place_is_back(
    any_platform: Platform, put: Put, copier: Copier, second: Second, clock: FakeClock
) -> None:
    stored = await put()
    second.out = True
    await copier.feed()
    assert (await copier.work(), await copier.work(), second.puts) == (0, 0, 1)
    clock.advance(pause_s(0) + 1)
    assert (await copier.work(), second.puts) == (0, 2)
    clock.advance(pause_s(0) + 1)
    assert (await copier.work(), second.puts) == (0, 2)
    status = await study_storage(any_platform.database, "demo", stored.study_uid, copies=True, cursor=0)
    assert (status.instances[0]["problem"], status.instances[0]["attempts"]) == ("blobs-unavailable", 2)
    second.out = False
    clock.advance(pause_s(1))
    assert await copier.work() == 1
    assert await second.size(key(stored)) == stored.size_bytes
    assert pause_s(1000) == 3600


async def test_a_kill_between_the_copy_and_its_mark_is_made_good_by_copying_again(
    any_platform: Platform, put: Put, copier: Copier, second: Second, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = await put()
    await copier.feed()

    def killed(*_given: object, **_named: object) -> bool:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(copier, "_queue", replace(ORIGINALS, done=killed))
        with pytest.raises(Killed):
            await copier.work()
    assert await second.size(key(stored)) == stored.size_bytes
    assert await copier.work() == 0  # the dead process's lease holds
    clock.advance(3600)
    assert (await copier.work(), second.puts) == (1, 2)
    assert await second.list("") == [key(stored)]


async def test_an_original_that_lost_its_content_is_not_copied_but_marked(
    any_platform: Platform, put: Put, copier: Copier, second: Second
) -> None:
    corrupt, missing = await put(), await put()
    await any_platform.stores.first.put(key(corrupt), b"other bytes")
    await any_platform.stores.first.delete(key(missing))
    await copier.feed()
    assert await copier.work() == 0
    for one, kind in ((corrupt, "corrupt"), (missing, "missing")):
        with pytest.raises(BlobNotFound):
            await second.get(key(one))
        status = await study_storage(any_platform.database, "demo", one.study_uid, copies=True, cursor=0)
        assert (status.first, status.copy) == ({kind: 1}, {"waiting": 1})


async def test_a_large_original_is_copied_through_a_file_that_is_gone_afterwards(
    any_platform: Platform, writer: ArchiveWriter, copier: Copier, second: Second, tmp_path: Path
) -> None:
    stored = await writer.store(Received("demo", ct_instance(side=3000)))
    assert stored.size_bytes > 16 << 20
    await copier.feed()
    assert await copier.work() == 1
    digest = hashlib.sha256()
    async for chunk in second.get_stream(key(stored)):
        digest.update(chunk)
    assert digest.hexdigest() == stored.sha256
    assert not list(tmp_path.glob("*.part"))


async def test_what_retention_removed_while_it_was_copied_does_not_stay_in_the_second_place(
    any_platform: Platform, put: Put, copier: Copier, second: Second, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put()
    await copier.feed()
    put_copy = second.put

    async def removed_meanwhile(name: str, data: bytes, content_type: str = "") -> None:
        await put_copy(name, data)
        async with any_platform.database.write() as session:
            await session.execute(delete(copy))

    monkeypatch.setattr(second, "put", removed_meanwhile)
    assert await copier.work() == 0
    assert await second.list("") == []


async def test_two_processes_do_not_copy_the_same_original_at_once(
    any_platform: Platform, put: Put, copier: Copier, second: Second, tmp_path: Path, clock: FakeClock
) -> None:
    for _ in range(6):
        await put()
    other = Copier(any_platform.database, any_platform.stores.first, second, tmp_path, clock)
    await asyncio.gather(copier.feed(), other.feed())
    made = await asyncio.gather(copier.work(), other.work())
    assert (sum(made), second.puts) == (6, 6)


async def test_the_feed_begins_where_no_instance_can_appear_any_more(
    any_platform: Platform, put: Put, copier: Copier, second: Second, tmp_path: Path, clock: FakeClock
) -> None:
    await put()
    await copier.feed()
    async with any_platform.database.read() as session:
        assert (
            await session.scalar(select(mark.c.value)) is None
        )  # stored just now: a slower one may still come below it
    async with any_platform.database.write() as session:
        await session.execute(update(instance).values(received_at=clock.now().replace(year=2020)))
    await put()
    await copier.feed()
    async with any_platform.database.read() as session:
        first = await session.scalar(select(instance.c.id).order_by(instance.c.id).limit(1))
        assert await session.scalar(select(mark.c.value)) == first
    anew = Copier(any_platform.database, any_platform.stores.first, second, tmp_path, clock)
    assert await anew.feed() == 0
