"""The object store's contract: the same tests on a folder and on an S3 bucket."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from botocore.awsrequest import AWSResponse
from pydantic import SecretStr

from consilium_core.errors import Invalid
from consilium_platform.blobs import BlobNotFound, BlobsFull, BlobsUnavailable, FolderBlobs, check_key, open_blobs
from consilium_platform.blobs_s3 import S3Blobs, s3_client
from consilium_platform.platform import Platform
from consilium_platform.settings import PlatformSettings

DATA = bytes(range(256)) * 40


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
async def test_a_folder_that_fails_says_so_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, error: type[Exception]
) -> None:
    def broken(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    blobs = FolderBlobs(tmp_path)
    monkeypatch.setattr(os, "fdatasync", broken)
    with pytest.raises(error):
        await blobs.put("a/b", DATA)
    blobs.close()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


async def test_a_folder_object_is_synced_before_it_gets_its_name_and_its_folders_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    acts: list[str] = []
    sync, sync_folder, replace = os.fdatasync, os.fsync, Path.replace

    def synced(descriptor: int) -> None:
        acts.append("data")
        sync(descriptor)

    def folder_synced(descriptor: int) -> None:
        acts.append(f"folder {Path(f'/proc/self/fd/{descriptor}').readlink().relative_to(tmp_path)}")
        sync_folder(descriptor)

    def replaced(path: Path, target: Path) -> Path:
        acts.append("name")
        return replace(path, target)

    monkeypatch.setattr(os, "fdatasync", synced)
    monkeypatch.setattr(os, "fsync", folder_synced)
    monkeypatch.setattr(Path, "replace", replaced)
    blobs = FolderBlobs(tmp_path)
    await blobs.put("a/b/c", b"x")
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
    async with open_blobs(PlatformSettings.load(data_dir=tmp_path)):
        assert [path.name for path in incoming.iterdir()] == ["being-written"]


async def test_a_copy_across_file_systems_that_fails_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def across(path: Path, target: Path) -> Path:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    blobs, path = FolderBlobs(tmp_path / "store"), tmp_path / "upload"
    path.write_bytes(DATA)
    monkeypatch.setattr(Path, "replace", across)
    with pytest.raises(BlobsUnavailable):
        await blobs.put_file("a/b", path)
    blobs.close()
    assert path.read_bytes() == DATA
    assert [left for left in (tmp_path / "store").rglob("*") if left.is_file()] == []


def refusing(status: int, code: str) -> Callable[..., AWSResponse]:
    """Return what answers every request of a client in the store's place."""

    class Body:
        def stream(self) -> list[bytes]:
            return [f"<Error><Code>{code}</Code></Error>".encode()]

    return lambda request, **_: AWSResponse(request.url, status, {}, Body())


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
    secret = SecretStr("x" * 8)
    settings = PlatformSettings.load(
        data_dir=tmp_path, blob_store="s3", s3_endpoint="http://127.0.0.1:1", s3_access_key=secret, s3_secret_key=secret
    )
    client = s3_client(settings)
    client.meta.events.register("before-send.s3", refusing(status, code))
    blobs, path = S3Blobs(client, "bucket"), tmp_path / "upload"
    path.write_bytes(DATA)
    for work in (blobs.put("a/b", DATA), blobs.put_file("a/b", path)):
        with pytest.raises(error, match=code if error is BlobsUnavailable else "full"):
            await work
    assert path.read_bytes() == DATA
    blobs.close()
