"""Two places behind one store: originals are read from either, everything is written to the first."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from consilium_core.clock import FakeClock
from consilium_platform import blobs_bucket
from consilium_platform.blobs import (
    BlobDamaged,
    BlobNotFound,
    BlobStore,
    BlobsUnavailable,
    open_stores,
    read_checked,
)
from consilium_platform.blobs_fallback import FALLBACKS, FallbackBlobs
from consilium_platform.blobs_folder import FolderBlobs
from consilium_platform.blobs_s3 import S3Blobs
from consilium_platform.settings import PlatformSettings
from consilium_testkit.platforms import RealServers
from consilium_testkit.servers import free_port

KEY = "originals/demo/ab/abc.dcm"


class Silent(FolderBlobs):
    """A place that can be told not to answer, and counts who asked."""

    out = False
    asked = 0

    async def get(self, key: str) -> bytes:
        """Answer, unless out."""
        self.asked += 1
        if self.out:
            raise BlobsUnavailable("The object store does not answer.")
        return await super().get(key)


@asynccontextmanager
async def two(tmp_path: Path) -> AsyncIterator[tuple[Silent, FolderBlobs, FallbackBlobs, FakeClock]]:
    first, copy, clock = Silent(tmp_path / "first"), FolderBlobs(tmp_path / "copy"), FakeClock()
    try:
        yield first, copy, FallbackBlobs(first, copy, clock), clock
    finally:
        first.close()
        copy.close()


def served(reason: str) -> float:
    return FALLBACKS.labels(reason)._value.get()


async def test_an_original_that_the_first_place_lost_is_read_from_the_copy_and_counted(tmp_path: Path) -> None:
    async with two(tmp_path) as (_, copy, blobs, _clock):
        await copy.put(KEY, b"0123456789")
        before = served("missing")
        assert await blobs.get(KEY) == b"0123456789"
        assert await blobs.get_range(KEY, 2, 3) == b"234"
        assert await blobs.size(KEY) == 10
        assert b"".join([chunk async for chunk in blobs.get_stream(KEY)]) == b"0123456789"
        assert served("missing") - before == 4


async def test_what_a_reader_calls_damaged_is_as_good_as_missing(tmp_path: Path) -> None:
    async with two(tmp_path) as (first, copy, blobs, _clock):
        await first.put(KEY, b"0123")
        await copy.put(KEY, b"0123456789")

        async def whole(store: BlobStore) -> bytes:
            data = await store.get(KEY)
            if len(data) != 10:
                raise BlobDamaged("short")
            return data

        before = served("damaged")
        assert await read_checked(blobs, KEY, whole) == b"0123456789"
        assert served("damaged") - before == 1
        await copy.put(KEY, b"01")
        with pytest.raises(BlobDamaged):
            await read_checked(blobs, KEY, whole)
        with pytest.raises(BlobDamaged):
            await read_checked(first, KEY, whole)


async def test_while_the_first_place_is_out_it_is_asked_once_in_a_while_only(tmp_path: Path) -> None:
    async with two(tmp_path) as (first, copy, blobs, clock):
        await copy.put(KEY, b"x")
        first.out = True
        before = served("unavailable")
        for _ in range(5):
            assert await blobs.get(KEY) == b"x"
        assert (first.asked, served("unavailable") - before) == (1, 5)
        clock.advance(6)
        first.out = False
        await first.put(KEY, b"y")
        assert await blobs.get(KEY) == b"y"


async def test_what_the_copy_has_not_got_yet_is_asked_of_the_first_place_even_while_it_is_avoided(
    tmp_path: Path,
) -> None:
    async with two(tmp_path) as (first, _, blobs, _clock):
        await first.put(KEY, b"new")
        first.out = True
        with pytest.raises(BlobsUnavailable):
            await blobs.get(KEY)
        first.out = False
        assert await blobs.get(KEY) == b"new"


async def test_what_neither_place_has_is_not_found(tmp_path: Path) -> None:
    async with two(tmp_path) as (_, _copy, blobs, _clock):
        with pytest.raises(BlobNotFound):
            await blobs.get(KEY)
        with pytest.raises(BlobNotFound):
            [chunk async for chunk in blobs.get_stream(KEY)]


async def test_held_objects_fall_back_too(tmp_path: Path) -> None:
    key = "quarantine/demo/ab/abc.dcm"
    async with two(tmp_path) as (first, copy, blobs, _clock):
        await copy.put(key, b"held")
        assert (await blobs.get(key), await blobs.size(key), await first.list("")) == (b"held", 4, [])


async def test_only_what_has_copies_falls_back_and_only_the_first_place_is_written(tmp_path: Path) -> None:
    async with two(tmp_path) as (first, copy, blobs, _clock):
        await copy.put("uploads/1", b"x")
        with pytest.raises(BlobNotFound):
            await blobs.get("uploads/1")
        await blobs.put(KEY, b"x")
        await blobs.delete("uploads/1")
        assert (await first.list(""), await copy.list("")) == ([KEY], ["uploads/1"])


async def test_a_purge_reaches_both_places(tmp_path: Path) -> None:
    async with two(tmp_path) as (first, copy, blobs, _clock):
        await first.put(KEY, b"x")
        await copy.put(KEY, b"x")
        await blobs.purge(KEY)
        assert (await first.list(""), await copy.list("")) == ([], [])


async def test_either_place_makes_the_store_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with two(tmp_path) as (first, copy, blobs, _clock):

        async def out() -> None:
            raise BlobsUnavailable("The object store does not answer.")

        monkeypatch.setattr(first, "ping", out)
        await blobs.ping()
        monkeypatch.setattr(copy, "ping", out)
        with pytest.raises(BlobsUnavailable):
            await blobs.ping()


@pytest.mark.servers
async def test_the_settings_name_a_bucket_as_the_second_place(real_servers: RealServers, tmp_path: Path) -> None:
    settings = PlatformSettings.load(
        data_dir=tmp_path, copy_store="s3", copy_s3_endpoint=real_servers.s3.endpoint, copy_s3_bucket="second-place",
        copy_s3_access_key=real_servers.s3.access_key, copy_s3_secret_key=real_servers.s3.secret_key,
    )  # fmt: skip
    async with open_stores(settings) as stores:
        assert isinstance(stores.copy, S3Blobs)
        await stores.copy.put(KEY, b"the copy")
        assert await FallbackBlobs(stores.first, stores.copy, FakeClock()).get(KEY) == b"the copy"
        assert await stores.copy.administer(blobs_bucket.drift) == []


async def test_a_second_place_that_does_not_answer_does_not_stop_the_start(tmp_path: Path) -> None:
    settings = PlatformSettings.load(
        data_dir=tmp_path, copy_store="s3", copy_s3_endpoint=f"http://127.0.0.1:{free_port()}",
        copy_s3_access_key="nobody", copy_s3_secret_key="nothing",
    )  # fmt: skip
    async with open_stores(settings) as stores:
        assert stores.copy is not None
        blobs = FallbackBlobs(stores.first, stores.copy, FakeClock())
        await blobs.put(KEY, b"x")
        assert await blobs.get(KEY) == b"x"
        with pytest.raises(BlobNotFound):  # what is wrong with the first place is told, not the second's trouble
            await blobs.get("originals/demo/ab/none.dcm")
