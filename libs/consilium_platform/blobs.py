"""Objects: immutable bytes under a key, in a folder (embedded) or an S3 bucket (cluster).

``put`` returns when the object is durable: folder objects are written beside, synced, renamed, and the directory synced; S3 objects
are there when the store has confirmed the PUT. Keys are relative paths of ``[A-Za-z0-9._-]`` segments. boto3 sets the bucket up
and checks it; the data path runs in a bounded thread pool.
"""

from __future__ import annotations

import asyncio
import os
import re
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Protocol, TypeVar

from consilium_core.errors import Exhausted, Invalid, NotFound, Unavailable
from consilium_platform.settings import PlatformSettings

_KEY = re.compile(r"^(?:[A-Za-z0-9_-][A-Za-z0-9._-]*/)*[A-Za-z0-9_-][A-Za-z0-9._-]*$")
T = TypeVar("T")
Bytes = bytes | bytearray | memoryview
_LEFTOVER_S = 3600.0  # no write takes so long between two of its bytes


class BlobNotFound(NotFound):
    """No object under this key."""

    code = "blob-not-found"


class BlobsUnavailable(Unavailable):
    """The object store does not answer or refuses; nothing was acknowledged."""

    code = "blobs-unavailable"


class BlobsFull(Exhausted):
    """The object store has no room left; the operator makes some."""

    code = "blobs-full"
    mend = "operator"


class BlobStore(Protocol):
    """What the rooms may ask of an object store."""

    async def put(self, key: str, data: Bytes, content_type: str = "application/octet-stream") -> None:
        """Store the object; durable on return. Putting the same key again replaces it in one step."""
        ...

    async def put_file(self, key: str, path: Path, content_type: str = "application/octet-stream") -> None:
        """Move the file at ``path`` into the store; durable on return; the file may be gone afterwards."""
        ...

    async def get(self, key: str) -> bytes:
        """Return the whole object or raise BlobNotFound."""
        ...

    async def get_range(self, key: str, start: int, length: int) -> bytes:
        """Return ``length`` bytes from ``start`` (fewer only at the end of the object)."""
        ...

    async def size(self, key: str) -> int:
        """Return the object's size in bytes or raise BlobNotFound."""
        ...

    async def delete(self, key: str) -> None:
        """Remove the object; a missing one is no error."""
        ...

    async def list(self, prefix: str) -> list[str]:
        """Return the keys that begin with ``prefix``, sorted."""
        ...

    async def ping(self) -> None:
        """Raise BlobsUnavailable unless the store can be used."""
        ...


def check_key(key: str) -> str:
    """Return the key or raise Invalid: no absolute path, no dot segments, no surprise."""
    if len(key) > 512 or not _KEY.match(key):
        raise Invalid("The object key is not allowed.", key=key[:80])
    return key


class FolderBlobs:
    """Objects as files under one folder."""

    def __init__(self, root: Path, threads: int = 8) -> None:
        self._root = root
        self._temporary = root / ".incoming"
        self._temporary.mkdir(parents=True, exist_ok=True)
        self._durable = {root}  # folders whose names are on the disk, all the way up
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="blobs")

    async def _run(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        except FileNotFoundError as problem:
            raise BlobNotFound("The object is not in the store.") from problem
        except OSError as problem:
            if problem.errno in (28, 122):  # ENOSPC, EDQUOT
                raise BlobsFull("The object store is full.", retry_after_s=60) from problem
            raise BlobsUnavailable(f"The object store can't be used: {problem.strerror}.") from problem

    def _publish(self, temporary: Path, key: str) -> None:
        target = self._root / key
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.replace(target)
        _sync_folder(target.parent)
        self._sync_up(target.parent)

    def _sync_up(self, folder: Path) -> None:
        """Make the names of ``folder`` and its parents durable, once each, whoever made them: their maker may not be there yet."""
        fresh: list[Path] = []
        while folder not in self._durable:
            fresh.append(folder)
            folder = folder.parent
        for one in fresh:
            _sync_folder(one.parent)
        self._durable.update(fresh)

    async def put(self, key: str, data: Bytes, content_type: str = "application/octet-stream") -> None:
        """Write beside, sync, rename, sync the folder."""
        check_key(key)

        def work() -> None:
            descriptor, name = tempfile.mkstemp(dir=self._temporary)
            try:
                with os.fdopen(descriptor, "wb", buffering=0) as file:
                    view = memoryview(data).cast("B")
                    while view:
                        view = view[file.write(view) :]
                    os.fdatasync(file.fileno())
                self._publish(Path(name), key)
            except BaseException:
                with suppress(FileNotFoundError):
                    Path(name).unlink()
                raise

        await self._run(work)

    async def put_file(self, key: str, path: Path, content_type: str = "application/octet-stream") -> None:
        """Sync the file and move it; across file systems it is copied first."""
        check_key(key)

        def work() -> None:
            with path.open("rb") as file:
                os.fdatasync(file.fileno())
            try:
                self._publish(path, key)
            except OSError as problem:
                if problem.errno != 18:  # EXDEV
                    raise
                descriptor, name = tempfile.mkstemp(dir=self._temporary)
                try:
                    with os.fdopen(descriptor, "wb") as copy, path.open("rb") as source:
                        while chunk := source.read(1 << 20):
                            copy.write(chunk)
                        copy.flush()
                        os.fdatasync(copy.fileno())
                    self._publish(Path(name), key)
                except BaseException:
                    with suppress(FileNotFoundError):
                        Path(name).unlink()
                    raise
                path.unlink()

        await self._run(work)

    async def get(self, key: str) -> bytes:
        """Read the file."""
        path = self._root / check_key(key)
        return await self._run(path.read_bytes)

    async def get_range(self, key: str, start: int, length: int) -> bytes:
        """Read a part of the file."""
        path = self._root / check_key(key)

        def work() -> bytes:
            descriptor = os.open(path, os.O_RDONLY)
            try:
                return os.pread(descriptor, length, start)
            finally:
                os.close(descriptor)

        return await self._run(work)

    async def size(self, key: str) -> int:
        """Return the file's size."""
        path = self._root / check_key(key)
        return await self._run(lambda: path.stat().st_size)

    async def delete(self, key: str) -> None:
        """Unlink the file."""
        path = self._root / check_key(key)
        with suppress(BlobNotFound):
            await self._run(path.unlink)

    async def list(self, prefix: str) -> list[str]:
        """Walk the folder."""

        def work() -> list[str]:
            below = self._root / prefix.rpartition("/")[0]
            keys = (p.relative_to(self._root).as_posix() for p in below.rglob("*") if p.is_file())
            return sorted(k for k in keys if k.startswith(prefix) and not k.startswith(".incoming/"))

        return await self._run(work)

    async def sweep(self, age_s: float = _LEFTOVER_S) -> None:
        """Remove half-written files that killed writers left; a younger one may be another process's."""

        def work() -> None:
            for left in self._temporary.iterdir():
                with suppress(FileNotFoundError):
                    if time.time() - left.stat().st_mtime >= age_s:
                        left.unlink()

        await self._run(work)

    async def ping(self) -> None:
        """Raise unless the folder can be written."""
        if not os.access(self._root, os.W_OK):
            raise BlobsUnavailable("The object store's folder can't be written.")

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(wait=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@asynccontextmanager
async def open_blobs(settings: PlatformSettings) -> AsyncIterator[BlobStore]:
    """Open the store that the settings ask for; an S3 bucket is set up and checked."""
    if settings.blob_store == "folder":
        folder = FolderBlobs(settings.data_dir / "objects")
        try:
            await folder.sweep()
            yield folder
        finally:
            folder.close()
        return
    from consilium_platform.blobs_s3 import (  # boto3 costs half a second that the embedded world need not pay
        S3Blobs,
        s3_client,
    )

    store = S3Blobs(s3_client(settings), settings.s3_bucket)
    try:
        await store.set_up()
        yield store
    finally:
        store.close()
