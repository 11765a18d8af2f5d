"""The object store's contract: the same tests on a folder and on an S3 bucket."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from consilium_core.errors import Invalid
from consilium_platform.blobs import STREAM_BYTES, BlobNotFound, BlobsFull, BlobsUnavailable, check_key, open_stores
from consilium_platform.blobs_folder import FolderBlobs
from consilium_platform.blobs_s3 import S3Blobs
from consilium_platform.platform import Platform
from consilium_platform.settings import PlatformSettings

DATA = bytes(range(256)) * 40
LARGE = 5 << 20  # synced after it is written; what is smaller by the call that writes it


@pytest.mark.parametrize("data", [DATA, b"", bytearray(b"mutable"), memoryview(DATA)[3:9]])
async def test_what_is_put_is_got_back_byte_for_byte(
    any_platform: Platform, data: bytes | bytearray | memoryview
) -> None:
    blobs = any_platform.blobs
    await blobs.put("studies/1.2.3/a.dcm", data)
    assert await blobs.get("studies/1.2.3/a.dcm") == bytes(data)
    assert await blobs.size("studies/1.2.3/a.dcm") == len(data)


async def test_putting_a_key_again_replaces_the_object(any_platform: Platform) -> None:
    await any_platform.blobs.put("a/b", b"old, and longer")
    await any_platform.blobs.put("a/b", b"new")
    assert await any_platform.blobs.get("a/b") == b"new"


async def test_ranges_give_the_bytes_asked_for_and_fewer_only_at_the_end(any_platform: Platform) -> None:
    blobs = any_platform.blobs
    await blobs.put("a/b", DATA)
    assert await blobs.get_range("a/b", 0, 1) == DATA[:1]
    assert await blobs.get_range("a/b", 100, 300) == DATA[100:400]
    assert await blobs.get_range("a/b", len(DATA) - 5, 100) == DATA[-5:]
    assert await blobs.get_range("a/b", len(DATA), 10) == b""
    assert await blobs.get_range("a/b", len(DATA) + 100, 10) == b""
    assert await blobs.get_range("a/b", 7, 0) == b""


async def test_a_missing_object_is_not_found_by_every_verb(any_platform: Platform) -> None:
    blobs = any_platform.blobs
    for work in (blobs.get("no/such"), blobs.get_range("no/such", 0, 1), blobs.size("no/such")):
        with pytest.raises(BlobNotFound):
            await work
    await blobs.delete("no/such")


async def test_a_deleted_object_is_gone(any_platform: Platform) -> None:
    await any_platform.blobs.put("a/b", DATA)
    await any_platform.blobs.delete("a/b")
    with pytest.raises(BlobNotFound):
        await any_platform.blobs.get("a/b")
    assert await any_platform.blobs.list("") == []


async def test_listing_gives_the_keys_with_the_prefix_sorted(any_platform: Platform) -> None:
    blobs = any_platform.blobs
    for key in ("b/1", "a/2", "a/10", "ab", "a/x/y"):
        await blobs.put(key, b"x")
    assert await blobs.list("a/") == ["a/10", "a/2", "a/x/y"]
    assert await blobs.list("a") == ["a/10", "a/2", "a/x/y", "ab"]
    assert await blobs.list("c") == []


async def test_a_file_is_moved_into_the_store(any_platform: Platform, tmp_path: Path) -> None:
    path = tmp_path / "upload"
    path.write_bytes(DATA)
    await any_platform.blobs.put_file("uploads/1", path)
    assert await any_platform.blobs.get("uploads/1") == DATA
    assert not path.exists()


async def test_a_stream_gives_the_object_in_bounded_chunks(any_platform: Platform, tmp_path: Path) -> None:
    blobs, path = any_platform.blobs, tmp_path / "large"
    data = bytes(range(256)) * 4096 * 9 + b"end"  # a little more than two chunks
    path.write_bytes(data)
    await blobs.put_file("a/large", path)
    await blobs.put("a/empty", b"")
    chunks = [chunk async for chunk in blobs.get_stream("a/large")]
    assert b"".join(chunks) == data
    assert [len(chunk) for chunk in chunks] == [STREAM_BYTES, STREAM_BYTES, len(data) - 2 * STREAM_BYTES]
    assert [chunk async for chunk in blobs.get_stream("a/empty")] == []
    with pytest.raises(BlobNotFound):
        [chunk async for chunk in blobs.get_stream("a/none")]
    async with aclosing(blobs.get_stream("a/large")) as stream:  # who goes away early leaves nothing running
        assert await anext(stream) == data[:STREAM_BYTES]


async def test_a_large_file_is_sent_in_parts_and_comes_back_whole(any_platform: Platform, tmp_path: Path) -> None:
    path, digest = tmp_path / "upload", hashlib.sha256()
    with path.open("wb") as file:
        for number in range(40):
            piece = bytes([number]) * (1 << 20)
            digest.update(piece)
            file.write(piece)
    await any_platform.blobs.put_file("uploads/1", path)
    back = hashlib.sha256()
    async for chunk in any_platform.blobs.get_stream("uploads/1"):
        back.update(chunk)
    assert back.hexdigest() == digest.hexdigest()


async def test_entries_come_in_the_order_of_keys_with_size_and_time(any_platform: Platform) -> None:
    blobs, before = any_platform.blobs, datetime.now(UTC) - timedelta(minutes=1)
    for key in ("o/t/b1", "o/t/a1", "o/t-2/a1", "o/t/a/x", "p"):
        await blobs.put(key, b"x" * len(key))
    found = [entry async for entry in blobs.entries("o/")]
    assert [entry.key for entry in found] == ["o/t-2/a1", "o/t/a/x", "o/t/a1", "o/t/b1"]
    assert [entry.size_bytes for entry in found] == [len(entry.key) for entry in found]
    assert all(before < entry.modified < datetime.now(UTC) + timedelta(minutes=1) for entry in found)
    assert [entry.key async for entry in blobs.entries("o/t/a")] == ["o/t/a/x", "o/t/a1"]


async def test_a_purged_object_is_gone_and_a_missing_one_is_no_error(any_platform: Platform) -> None:
    await any_platform.blobs.put("a/b", DATA)
    await any_platform.blobs.put("a/bc", DATA)
    await any_platform.blobs.purge("a/b")
    await any_platform.blobs.purge("a/b")
    assert await any_platform.blobs.list("") == ["a/bc"]


async def test_what_a_killed_writer_left_is_swept_once_it_is_old(any_platform: Platform, world: str) -> None:
    if world == "embedded":
        left = any_platform.settings.data_dir / "objects" / ".incoming" / "tmpx"
        left.write_bytes(b"half")
    else:
        store = any_platform.stores.first
        assert isinstance(store, S3Blobs)
        store.client.create_multipart_upload(Bucket=store.place.bucket, Key="a/half")
    assert await any_platform.blobs.sweep(3600) == 0
    assert await any_platform.blobs.sweep(-1) == 1
    assert await any_platform.blobs.sweep(-1) == 0


async def test_many_at_once_do_not_mix(any_platform: Platform) -> None:
    blobs = any_platform.blobs
    await asyncio.gather(*(blobs.put(f"many/{n}", str(n).encode() * 100) for n in range(40)))
    got = await asyncio.gather(*(blobs.get(f"many/{n}") for n in range(40)))
    assert got == [str(n).encode() * 100 for n in range(40)]


@pytest.mark.parametrize(
    "key", ["", "/a", "a/", "a//b", "../a", "a/../b", ".hidden", "a/.b", "a b", "ä", "a\\b", "a" * 513]
)
async def test_a_key_that_could_leave_the_store_is_refused(any_platform: Platform, key: str) -> None:
    with pytest.raises(Invalid):
        check_key(key)
    with pytest.raises(Invalid):
        await any_platform.blobs.put(key, b"x")
    with pytest.raises(Invalid):
        await any_platform.blobs.get(key)


@pytest.mark.parametrize(
    ("number", "error"), [(errno.ENOSPC, BlobsFull), (errno.EDQUOT, BlobsFull), (errno.EIO, BlobsUnavailable)]
)
@pytest.mark.parametrize("size", [100, LARGE])
async def test_a_folder_that_fails_says_so_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, error: type[Exception], size: int
) -> None:
    write = os.write

    def broken(descriptor: int, data: bytes = b"") -> int:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DSYNC or not data:  # where it must be durable
            raise OSError(number, os.strerror(number))
        return write(descriptor, data)

    blobs = FolderBlobs(tmp_path)
    monkeypatch.setattr(os, "write", broken)
    monkeypatch.setattr(os, "fdatasync", broken)
    with pytest.raises(error):
        await blobs.put("a/b", bytes(size))
    blobs.close()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("size", [0, 1, LARGE])
async def test_a_folder_object_is_synced_before_it_gets_its_name_and_its_folders_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    acts: list[str] = []
    sync, sync_folder, replace, write = os.fdatasync, os.fsync, os.replace, os.write

    def written(descriptor: int, data: bytes) -> int:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DSYNC:  # writing is syncing
            assert len(data) == size, "one call"
            acts.append("data")
        return write(descriptor, data)

    def synced(descriptor: int) -> None:
        acts.append("data")
        sync(descriptor)

    def folder_synced(descriptor: int) -> None:
        acts.append(f"folder {Path(f'/proc/self/fd/{descriptor}').readlink().relative_to(tmp_path)}")
        sync_folder(descriptor)

    def replaced(path: str, target: str) -> None:
        replace(path, target)
        acts.append("name")

    monkeypatch.setattr(os, "write", written)
    monkeypatch.setattr(os, "fdatasync", synced)
    monkeypatch.setattr(os, "fsync", folder_synced)
    monkeypatch.setattr(os, "replace", replaced)
    blobs = FolderBlobs(tmp_path)
    await blobs.put("a/b/c", bytes(size))
    blobs.close()
    assert acts[:2] == ["data", "name"]
    assert set(acts[2:]) == {"folder a/b", "folder a", "folder ."}


async def test_a_folder_that_another_writer_just_made_is_durable_before_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    sync_folder = os.fsync

    def folder_synced(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink().relative_to(tmp_path)))
        sync_folder(descriptor)

    monkeypatch.setattr(os, "fsync", folder_synced)
    blobs = FolderBlobs(tmp_path)
    (tmp_path / "a" / "b").mkdir(parents=True)  # made, but not yet synced, by the other writer
    await blobs.put("a/b/c", b"x")
    assert set(synced) == {"a/b", "a", "."}
    synced.clear()
    await blobs.put("a/b/d", b"x")
    assert synced == ["a/b"]
    blobs.close()


async def test_what_a_killed_writer_left_half_written_is_swept_when_the_folder_opens(tmp_path: Path) -> None:
    incoming = tmp_path / "objects" / ".incoming"
    incoming.mkdir(parents=True)
    for name in ("killed", "being-written"):
        (incoming / name).write_bytes(DATA)
    os.utime(incoming / "killed", (1, 1))
    async with open_stores(PlatformSettings.load(data_dir=tmp_path)):
        assert [path.name for path in incoming.iterdir()] == ["being-written"]


async def test_a_copy_across_file_systems_that_fails_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def across(path: str, target: str) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    blobs, path = FolderBlobs(tmp_path / "store"), tmp_path / "upload"
    path.write_bytes(DATA)
    monkeypatch.setattr(os, "replace", across)
    with pytest.raises(BlobsUnavailable):
        await blobs.put_file("a/b", path)
    blobs.close()
    assert path.read_bytes() == DATA
    assert [left for left in (tmp_path / "store").rglob("*") if left.is_file()] == []


@asynccontextmanager
async def refusing(status: int, code: str) -> AsyncIterator[S3Blobs]:
    """Yield a bucket whose store answers every request with this refusal."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = f"<Error><Code>{code}</Code></Error>".encode()
        head = f"HTTP/1.1 {status} No\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    secret = SecretStr("x" * 8)
    settings = PlatformSettings.load(
        blob_store="s3", s3_endpoint=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}",
        s3_access_key=secret, s3_secret_key=secret,
    )  # fmt: skip
    blobs = S3Blobs(settings.s3_place)
    try:
        yield blobs
    finally:
        blobs.close()
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (403, "AccessDenied", BlobsUnavailable),
        (403, "QuotaExceeded", BlobsFull),
        (507, "InsufficientStorage", BlobsFull),
        (507, "XMinioStorageFull", BlobsFull),
    ],
)
async def test_a_bucket_that_refuses_says_so_for_bytes_and_for_files(
    tmp_path: Path, status: int, code: str, error: type[Exception]
) -> None:
    path = tmp_path / "upload"
    path.write_bytes(DATA)
    async with refusing(status, code) as blobs:
        for work in (blobs.put("a/b", DATA), blobs.put_file("a/b", path)):
            with pytest.raises(error):
                await work
    assert path.read_bytes() == DATA
