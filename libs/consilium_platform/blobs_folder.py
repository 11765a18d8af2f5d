"""Objects as files under one folder: written beside, synced, renamed, the directory synced.

obstore's folder store is not used here: it does not sync and can't be told to. All work runs in a bounded number of threads.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import count, islice
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

from consilium_platform.blobs import (
    STREAM_BYTES,
    BlobNotFound,
    BlobsFull,
    BlobsUnavailable,
    Bytes,
    Entry,
    check_key,
)
from consilium_platform.workers import Workers

T = TypeVar("T")
_PAGE = 1000
_AT_ONCE = 4 << 20  # written and synced by one call
LEFTOVER_S = 3600.0  # no write takes so long between two of its bytes


class FolderBlobs:
    """Objects as files under one folder."""

    def __init__(self, root: Path, threads: int = 8) -> None:
        self._root = root
        self._temporary = root / ".incoming"
        self._temporary.mkdir(parents=True, exist_ok=True)
        self._durable = {str(root)}  # folders whose names are on the disk, all the way up
        self._fresh, self._number = f"{self._temporary}/{uuid4().hex}-", count()  # names that nobody else takes
        self._workers = Workers(threads, "blobs")

    async def _run(self, work: Callable[[], T]) -> T:
        with _translated():
            return await self._workers.run(work)

    def _publish(self, temporary: Path | str, key: str) -> None:
        target = f"{self._root}/{key}"
        folder = target.rpartition("/")[0]
        try:
            os.replace(temporary, target)  # noqa: PTH105 - a Path costs more than the rename
        except FileNotFoundError:  # the folder's first object
            Path(folder).mkdir(parents=True, exist_ok=True)
            os.replace(temporary, target)  # noqa: PTH105
        _sync_folder(folder)
        if folder not in self._durable:
            self._sync_up(folder)

    def _sync_up(self, folder: str) -> None:
        """Make the names of ``folder`` and its parents durable, once each, whoever made them: their maker may not be there yet."""
        fresh: list[str] = []
        while folder not in self._durable:
            fresh.append(folder)
            folder = folder.rpartition("/")[0]
        for one in fresh:
            _sync_folder(one.rpartition("/")[0])
        self._durable.update(fresh)

    async def put(self, key: str, data: Bytes, content_type: str = "application/octet-stream") -> None:
        """Write beside, sync, rename, sync the folder."""
        await self._workers.run(self.put_here, key, data)

    def put_here(self, key: str, data: Bytes) -> None:
        """Do what ``put`` does in the calling thread, which must not be the loop's."""
        check_key(key)
        with _translated():
            name = f"{self._fresh}{next(self._number)}"
            view = memoryview(data).cast("B")
            at_once = os.O_DSYNC if 0 < len(view) <= _AT_ONCE else 0  # one call, and one less fight for the interpreter
            descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | at_once, 0o600)
            try:
                try:
                    while view:
                        view = view[os.write(descriptor, view) :]
                    if not at_once:
                        os.fdatasync(descriptor)
                finally:
                    os.close(descriptor)
                self._publish(name, key)
            except BaseException:
                with suppress(FileNotFoundError):
                    Path(name).unlink()
                raise

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
        return await self._workers.run(self.get_here, key)

    def get_here(self, key: str) -> bytes:
        """Read the file in the calling thread, which must not be the loop's."""
        with _translated(), open(f"{self._root}/{check_key(key)}", "rb", buffering=0) as file:  # noqa: PTH123 - like above
            return file.read()

    async def get_range(self, key: str, start: int, length: int) -> bytes:
        """Read a part of the file."""
        return await self._workers.run(self.get_range_here, key, start, length)

    def get_range_here(self, key: str, start: int, length: int) -> bytes:
        """Read a part of the file in the calling thread, which must not be the loop's."""
        with _translated():
            descriptor = os.open(f"{self._root}/{check_key(key)}", os.O_RDONLY)
            try:
                return os.pread(descriptor, length, start)
            finally:
                os.close(descriptor)

    async def get_stream(self, key: str) -> AsyncGenerator[bytes]:
        """Read the file chunk by chunk; it is opened once, so a removal on the way does not tear it."""
        path = self._root / check_key(key)
        file = await self._run(lambda: path.open("rb", buffering=0))
        try:
            while chunk := await self._run(lambda: file.read(STREAM_BYTES)):
                yield chunk
        finally:
            file.close()

    async def size(self, key: str) -> int:
        """Return the file's size."""
        return await self._workers.run(self._size_here, key)

    def _size_here(self, key: str) -> int:
        with _translated():
            return os.stat(f"{self._root}/{check_key(key)}").st_size  # noqa: PTH116 - like above

    async def delete(self, key: str) -> None:
        """Unlink the file."""
        path = self._root / check_key(key)
        with suppress(BlobNotFound):
            await self._run(path.unlink)

    async def purge(self, key: str) -> None:
        """Unlink the file and make that durable: a folder keeps no versions."""
        path = self._root / check_key(key)

        def work() -> None:
            path.unlink()
            _sync_folder(path.parent)

        with suppress(BlobNotFound):
            await self._run(work)

    async def list(self, prefix: str) -> list[str]:
        """Walk the folder."""
        return [entry.key async for entry in self.entries(prefix)]

    async def entries(self, prefix: str) -> AsyncGenerator[Entry]:
        """Walk the folder in the order of the keys, a page at a time."""
        walk = _walk(self._root / prefix.rpartition("/")[0], self._root, prefix)
        while page := await self._run(lambda: list(islice(walk, _PAGE))):
            for entry in page:
                yield entry

    async def sweep(self, age_s: float = LEFTOVER_S) -> int:
        """Remove temporary files that no living writer can still be writing."""

        def work() -> int:
            removed = 0
            for path in self._temporary.iterdir():
                with suppress(FileNotFoundError):
                    if time.time() - path.stat().st_mtime > age_s:
                        path.unlink()
                        removed += 1
            return removed

        return await self._run(work)

    async def ping(self) -> None:
        """Raise unless the folder can be written."""
        if not os.access(self._root, os.W_OK):
            raise BlobsUnavailable("The object store's folder can't be written.")

    def close(self) -> None:
        """End the threads."""
        self._workers.close()


def _walk(folder: Path, root: Path, prefix: str) -> Iterator[Entry]:
    """Yield the files below ``folder`` whose keys begin with ``prefix``, sorted as whole keys."""
    try:
        with os.scandir(folder) as found:
            named = sorted((entry.name + ("/" if entry.is_dir() else ""), entry) for entry in found)
    except (FileNotFoundError, NotADirectoryError):
        return
    for name, entry in named:
        key = Path(entry.path).relative_to(root).as_posix()
        if name.startswith("."):
            continue
        if name.endswith("/"):
            if f"{key}/".startswith(prefix) or prefix.startswith(f"{key}/"):
                yield from _walk(Path(entry.path), root, prefix)
        elif key.startswith(prefix):
            try:
                facts = entry.stat()
            except FileNotFoundError:  # removed since it was listed
                continue
            yield Entry(key, facts.st_size, datetime.fromtimestamp(facts.st_mtime, UTC))


@contextmanager
def _translated() -> Iterator[None]:
    """Turn the file system's errors into ours."""
    try:
        yield
    except FileNotFoundError as problem:
        raise BlobNotFound("The object is not in the store.") from problem
    except OSError as problem:
        if problem.errno in (28, 122):  # ENOSPC, EDQUOT
            raise BlobsFull("The object store is full.", retry_after_s=60) from problem
        raise BlobsUnavailable(f"The object store can't be used: {problem.strerror}.") from problem


def _sync_folder(folder: Path | str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
