"""The hot tier over a real bucket: reads are served from this disk, only with what was stored, only while it is in the archive."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
import pytest_asyncio
from prometheus_client import REGISTRY
from sqlalchemy import delete, insert

from consilium_archive import hot_tier
from consilium_archive.errors import OriginalArchived, OriginalDamaged
from consilium_archive.hot_tier import HotRule, HotTier, open_hot_tier
from consilium_archive.proof import Proof
from consilium_archive.reader import ArchiveReader, Place, Scope
from consilium_archive.stages import original_key
from consilium_archive.storage_tables import tombstone
from consilium_archive.tables import instance
from consilium_core.clock import FakeClock
from consilium_core.roles import Role
from consilium_imaging.settings import ImagingSettings
from consilium_platform.blobs import BlobArchived, BlobStore
from consilium_platform.blobs_fallback import FallbackBlobs
from consilium_platform.blobs_folder import FolderBlobs
from consilium_platform.blobs_hot import Filling, HotFolder
from consilium_platform.platform import Platform
from consilium_platform.settings import SettingsInvalid
from consilium_testkit.archive_rooms import archive_door, door_client
from consilium_testkit.instances import ct_instance, uids_of
from consilium_testkit.platforms import TENANT, bearer

from .test_retrieve import store


@dataclass
class Hot:
    """A reader with a hot tier beside the rooms' own, and a client of the rooms, which have none."""

    platform: Platform
    tier: HotTier
    reader: ArchiveReader
    client: httpx2.AsyncClient
    folder: Path

    async def place(self, file: bytes) -> Place:
        [found] = await self.reader.places(TENANT, Scope(*uids_of(file)))
        return found

    async def keys(self) -> set[str]:
        root = self.folder / "objects"
        return {path.relative_to(root).as_posix() for path in root.rglob("*.dcm")}


@pytest_asyncio.fixture
async def hot(any_platform: Platform, tmp_path: Path, client: httpx2.AsyncClient) -> AsyncIterator[Hot]:
    """Yield a hot tier; in the embedded world of a store that is local already, which it does not know."""
    async with open_hot_tier(any_platform.database, HotRule(tmp_path / "hot", 200 << 20)) as tier:
        reader = ArchiveReader(any_platform.database, any_platform.blobs, tier)
        yield Hot(any_platform, tier, reader, client, tmp_path / "hot")


def count(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def noise(frames: int, side: int = 512) -> bytes:
    pixels = np.random.default_rng(5).integers(0, 4000, side * side * frames, "<u2")
    return ct_instance(side=side, NumberOfFrames=frames, PixelData=pixels.tobytes())


@pytest.mark.parametrize("frames", [1, 12], ids=["small: read whole", "large: fetched behind the reader"])
async def test_what_was_read_once_needs_no_store_any_more(hot: Hot, frames: int) -> None:
    file = noise(frames)
    assert (len(file) > hot_tier.WHOLE_BELOW_BYTES) is (frames > 1)
    await store(hot.client, file)
    place = await hot.place(file)
    misses, hits = (count("consilium_hot_reads_total", result=result) for result in ("miss", "hit"))
    assert await hot.reader.original_range(place, 1000, 50) == file[1000:1050]
    await hot.tier.settled()
    assert await hot.keys() == {place.key}
    await hot.platform.blobs.delete(place.key)
    assert await hot.reader.original_range(place, 500, 2000) == file[500:2500]
    assert await hot.reader.original(place) == file
    await hot.reader.sure(place)
    assert await hot.reader.hot([place]) == {place.key}
    assert count("consilium_hot_reads_total", result="miss") - misses == 1
    assert count("consilium_hot_reads_total", result="hit") - hits == 2
    (hot.folder / "objects" / place.key).write_bytes(file[:-1])  # somebody has cut it
    with pytest.raises(Exception, match="missing or damaged"):
        await hot.reader.original_range(place, 0, 10)


async def test_wrong_bytes_of_the_store_are_not_kept_and_the_copy_fills_in(hot: Hot, tmp_path: Path) -> None:
    file = noise(2, 64)
    await store(hot.client, file)
    place = await hot.place(file)
    first = hot.platform.stores.first
    await first.put(place.key, file[:-1] + bytes([file[-1] ^ 1]))
    reads = count("consilium_hot_refused_total", reason="damaged")
    await hot.reader.original(place)
    await hot.tier.settled()
    assert await hot.keys() == set()
    assert (await hot.place(file)).first_damage == "corrupt", "its length is right: that is no reason to forget it"
    for again in (place, await hot.place(file)):  # by who has not heard of it yet, too
        hot.tier.wish(again, hot.reader._proof)
        await hot.tier.settled()
    assert count("consilium_hot_refused_total", reason="damaged") == reads + 1, (
        "it is not fetched again to be thrown away"
    )
    copy = FolderBlobs(tmp_path / "copies")
    await copy.put(place.key, file)
    both = ArchiveReader(hot.platform.database, FallbackBlobs(first, copy, hot.platform.clock), hot.tier)
    assert await both.warm(place)
    assert await hot.reader.original(place) == file
    copy.close()


async def test_wrong_bytes_of_the_copy_are_marked_as_the_copys(hot: Hot, tmp_path: Path) -> None:
    file = noise(1, 64)
    await store(hot.client, file)
    place = await hot.place(file)
    await hot.platform.stores.first.delete(place.key)
    copy = FolderBlobs(tmp_path / "copies")
    await copy.put(place.key, file[:-1] + bytes([file[-1] ^ 1]))
    both = ArchiveReader(
        hot.platform.database, FallbackBlobs(hot.platform.stores.first, copy, hot.platform.clock), hot.tier
    )
    with pytest.raises(OriginalDamaged):
        await both.warm(place)
    found = await hot.place(file)
    assert (found.first_damage, found.copy_damage) == ("missing", "corrupt")
    copy.close()


async def test_who_is_cancelled_while_room_is_made_leaves_nothing_behind(
    hot: Hot, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    begun, abandoned, go_on = asyncio.Event(), asyncio.Event(), threading.Event()
    begin, abandon = HotFolder.begin, Filling.abandon

    def slow(folder: HotFolder, key: str, size_bytes: int, sha256: str) -> Filling | None:
        loop.call_soon_threadsafe(begun.set)
        assert go_on.wait(20)
        return begin(folder, key, size_bytes, sha256)

    def told(filling: Filling) -> None:
        abandon(filling)
        loop.call_soon_threadsafe(abandoned.set)

    file = noise(1, 64)
    await store(hot.client, file)
    monkeypatch.setattr(HotFolder, "begin", slow)
    monkeypatch.setattr(Filling, "abandon", told)
    task = asyncio.create_task(hot.reader.warm(await hot.place(file)))
    async with asyncio.timeout(20):
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go_on.set()
        await abandoned.wait()
    assert list((hot.folder / ".incoming").iterdir()) == []
    assert int.from_bytes((hot.folder / ".used").read_bytes(), "big") == 0


async def test_what_is_removed_while_it_is_fetched_does_not_stay(hot: Hot, monkeypatch: pytest.MonkeyPatch) -> None:
    file = noise(1, 64)
    await store(hot.client, file)
    place = await hot.place(file)
    begin = HotTier._begun

    async def meanwhile(tier: HotTier, which: Place) -> Filling | None:
        async with hot.platform.database.write() as session:
            await session.execute(delete(instance).where(instance.c.sha256 == which.sha256))
        return await begin(tier, which)

    monkeypatch.setattr(HotTier, "_begun", meanwhile)
    await hot.reader.warm(place)  # long after its tombstone was looked at
    assert await hot.keys() == set()


async def test_who_waits_for_a_read_gets_it_though_it_is_not_kept(hot: Hot, monkeypatch: pytest.MonkeyPatch) -> None:
    file = noise(1, 64)
    await store(hot.client, file)
    place = await hot.place(file)
    read, asked = Proof.read, []

    async def counted(proof: Proof, *given: Any) -> bytes:
        asked.append(given)
        return await read(proof, *given)

    monkeypatch.setattr(Proof, "read", counted)
    monkeypatch.setattr(hot_tier, "_OFFERED_BYTES", 0)  # no room for what waits to be kept
    assert await asyncio.gather(*(hot.reader.original(place) for _ in range(5))) == [file] * 5
    assert len(asked) == 1
    assert not hot.tier._turns


async def test_without_a_hot_tier_only_what_is_local_is_hot(
    any_platform: Platform, world: str, client: httpx2.AsyncClient
) -> None:
    file = noise(1, 64)
    await store(client, file)
    copied = FallbackBlobs(any_platform.stores.first, any_platform.stores.first, any_platform.clock)
    for blobs in (any_platform.stores.first, copied):
        reader = ArchiveReader(any_platform.database, blobs)
        [place] = await reader.places(TENANT, Scope(*uids_of(file)))
        assert await reader.hot([place]) == ({place.key} if world == "embedded" else set())
        assert await reader.warm(place) is (world == "embedded")


async def test_what_was_removed_from_the_archive_leaves_the_disk(hot: Hot) -> None:
    files = [noise(1, 64), noise(1, 32)]
    await store(hot.client, *files)
    gone, stays = [await hot.place(file) for file in files]
    for place in (gone, stays):
        assert await hot.reader.warm(place)
    facts = {"study_uid": gone.study_uid, "series_uid": gone.series_uid, "sop_instance_uid": gone.sop_instance_uid}
    async with hot.platform.database.write() as session:
        await session.execute(
            insert(tombstone).values(
                tenant_id=TENANT, sha256=gone.sha256, size_bytes=gone.size_bytes, sop_class_uid=gone.sop_class_uid,
                rule="exam", actor="retain", deleted_at=datetime.now(UTC), **facts,
            )
        )  # fmt: skip
    for _ in range(2):
        await hot.tier.sweep()
        assert await hot.keys() == {stays.key}


async def test_frames_of_a_bucket_come_from_the_hot_folder_and_a_folder_store_has_none(
    any_platform: Platform, world: str, tmp_path: Path
) -> None:
    settings = ImagingSettings.load(hot_dir=tmp_path / "hot")
    file = noise(1)
    async with (
        archive_door(any_platform, imaging=settings) as door,
        door_client(door, bearer(any_platform, Role.ADMIN)) as client,
    ):
        [path] = await store(client, file)
        assert (await client.get(f"{path}/frames/1")).status_code == 200
    kept = [entry.stem for entry in (tmp_path / "hot").rglob("*.dcm")]
    assert (tmp_path / "hot").exists() is (world == "servers")
    if world == "servers":  # what waited when the room closed may be kept or not; never another thing
        assert set(kept) <= {hashlib.sha256(file).hexdigest()}


async def test_a_folder_that_cannot_be_used_is_said_at_the_start(platform: Platform, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsInvalid, match="hot tier"):
        async with open_hot_tier(platform.database, HotRule(tmp_path / "file")):
            pass


class Glacier:
    """A store whose archived objects can't be read until somebody has thawed them."""

    def __init__(self, store: BlobStore) -> None:
        self.store = store
        self.cold: set[str] = set()
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> object:
        if name.endswith("_here"):  # a bucket is read from afar
            raise AttributeError(name)
        return getattr(self.store, name)

    async def get_range(self, key: str, start: int, length: int) -> bytes:
        self._check(key)
        return await self.store.get_range(key, start, length)

    async def get(self, key: str) -> bytes:
        self._check(key)
        return await self.store.get(key)

    async def readable_size(self, key: str) -> int:
        self._check(key)
        return await self.store.size(key)

    async def restore(self, key: str) -> float:
        self.asked.append(key)
        return 18_000.0

    def _check(self, key: str) -> None:
        if key in self.cold:
            raise BlobArchived("cold")


async def test_an_archived_original_is_asked_back_once_and_its_reader_told_when_to_come(platform: Platform) -> None:
    glacier = Glacier(FolderBlobs(platform.settings.data_dir / "objects"))
    cold = replace(platform, blobs=glacier)
    file = noise(2, 64)
    async with archive_door(cold) as door, door_client(door, bearer(platform, Role.ADMIN)) as client:
        [path] = await store(client, file)
        key = original_key(TENANT, hashlib.sha256(file).hexdigest())
        glacier.cold.add(key)
        study = path.split("/series/")[0]
        for url in (f"{path}/frames/1", f"{path}/rendered", path, study):
            told = await client.get(url, headers={"Accept": "*/*"})
            body = told.json()
            assert (told.status_code, body["code"], body["mend"]) == (503, "original-archived", "retry"), url
            assert 17_000 < int(told.headers["retry-after"]) <= 18_000
            assert (body["restoring"], told.headers["cache-control"]) == (True, "no-store")
        assert glacier.asked == [key]
        glacier.cold.clear()
        assert (await client.get(f"{path}/frames/1")).status_code == 200


async def test_a_restore_is_asked_for_again_when_it_should_have_been_there(platform: Platform) -> None:
    glacier, clock = Glacier(FolderBlobs(platform.settings.data_dir / "objects")), FakeClock()
    proof = Proof(platform.database, glacier, clock.monotonic)
    key = original_key(TENANT, "0" * 64)
    glacier.cold.add(key)
    place = Place("1", "1.1", "1.1.1", "", "", 1, 1, "0" * 64, 9, key, TENANT)
    told = []
    for later in (0.0, 3600.0, 14_399.0, 1.0, 600.0, 700_000.0):
        clock.advance(later)
        with pytest.raises(OriginalArchived) as refused:
            await proof.read(place, lambda store: store.get(key), 9)
        told.append((refused.value.retry_after_s, len(glacier.asked)))
    assert told == [(18_000, 1), (14_400, 1), (60, 1), (600, 2), (600, 3), (18_000, 4)], (
        "late is not lost; thawed and cold again is"
    )
