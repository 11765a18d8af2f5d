"""A bounded folder of objects on a local disk, kept beside a slow store: what was used longest ago leaves first.

Objects are named by their keys, which are content-addressed: what is here is what it is called, or it is not here. An object grows in
``.incoming`` with its whole room reserved, is hashed on its way, synced, and gets its name in one step. Several processes may share the
folder: room is given out under a lock of the file ``.used`` that the kernel frees with its holder, and counted anew whenever it runs out and
at every sweep, so that a kill at any moment costs nothing but that count. The time a file was used last is its mtime. All of it blocks.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import structlog

from consilium_platform.blobs import Bytes, check_key

log = structlog.get_logger()
LARGEST_SHARE = 8  # an object that takes more than an eighth of the room is not kept
_KEEP_PERCENT = 90  # what is left when room is made
_TOUCH_S = 60.0
_LEFTOVER_S = 3600.0
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class _File:
    path: str
    size_bytes: int
    used_at: float


class HotFolder:
    """Objects up to ``bound_bytes`` below ``root``; several of these may share it, in one process or many."""

    def __init__(self, root: Path, bound_bytes: int, wall: Callable[[], float] = time.time) -> None:
        self._objects = root / "objects"
        self._incoming = root / ".incoming"
        self._used = root / ".used"
        self._bound = bound_bytes
        self._wall = wall
        self._objects.mkdir(parents=True, exist_ok=True)
        self._incoming.mkdir(exist_ok=True)

    @property
    def largest_bytes(self) -> int:
        """Return how large an object may be to be kept."""
        return self._bound // LARGEST_SHARE

    def holds(self, key: str, size_bytes: int) -> bool:
        """Tell whether the whole object is here; it is not counted as used."""
        try:
            return os.stat(self._path(key)).st_size == size_bytes  # noqa: PTH116 - a Path costs more than the call
        except OSError:
            return False

    def read(self, key: str, size_bytes: int, start: int, length: int) -> bytes | None:
        """Return a part of the object, None unless it is here in its whole length; it was used now."""
        path = self._path(key)
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except OSError:
            return None
        try:
            facts = os.fstat(descriptor)
            if facts.st_size != size_bytes:
                self.drop(key)
                return None
            now = self._wall()
            if abs(now - facts.st_mtime) > _TOUCH_S:
                os.utime(descriptor, (now, now))
            data = os.pread(descriptor, length, start)
        except OSError as problem:  # a disk that fails is no reason not to read the store
            log.warning("hot_read_failed", error=problem.strerror)
            return None
        finally:
            os.close(descriptor)
        return data if len(data) == length else None

    def begin(self, key: str, size_bytes: int, sha256: str) -> Filling | None:
        """Reserve room for an object that is to be filled in; None where there is none."""
        check_key(key)
        if not 0 < size_bytes <= self.largest_bytes:
            return None
        path = self._incoming / uuid4().hex
        with self._count() as count:
            used = count.read()
            if used is None or used + size_bytes > self._bound:
                used = self._make_room(size_bytes)
            if used + size_bytes > self._bound:  # by what is being filled in
                return None
            descriptor = _reserved(path, size_bytes)  # under the lock: who counts next sees it
            if descriptor is None:
                return None
            count.write(used + size_bytes)
        return Filling(self, path, descriptor, key, size_bytes, sha256)

    def drop(self, key: str) -> bool:
        """Remove the object; tell whether it was here."""
        return self._remove(self._path(key))

    def sweep(self, age_s: float) -> tuple[int, int, int]:
        """Remove what was not used for ``age_s`` and what killed fillings left; return objects removed, objects and bytes left."""
        with self._count() as count:
            in_flight = self._in_flight()
            old, kept = 0, []
            for file in self._files():
                if self._wall() - file.used_at > age_s:
                    old += _unlink(file)
                else:
                    kept.append(file)
            bytes_left = sum(file.size_bytes for file in kept)
            count.write(bytes_left + in_flight)
        return old, len(kept), bytes_left

    def _path(self, key: str) -> str:
        return f"{self._objects}/{check_key(key)}"

    def _make_room(self, size_bytes: int) -> int:
        """Count anew and let go what was used longest ago until a tenth is free; return how many bytes are left."""
        used = self._in_flight()  # first: what gets its name meanwhile is counted twice and not never
        files = sorted(self._files(), key=lambda file: file.used_at, reverse=True)
        used += sum(file.size_bytes for file in files)
        target = min(self._bound * _KEEP_PERCENT // 100, self._bound - size_bytes)
        if used + size_bytes <= self._bound:
            return used
        while files and used > target:
            file = files.pop()
            _unlink(file)
            used -= file.size_bytes
        return used

    def _files(self) -> Iterator[_File]:
        for folder, _, names in os.walk(self._objects):
            for name in names:
                path = f"{folder}/{name}"
                with suppress(FileNotFoundError):
                    facts = os.stat(path)  # noqa: PTH116
                    yield _File(path, facts.st_size, facts.st_mtime)

    def _in_flight(self) -> int:
        """Return the room of what is being filled in; remove what nobody fills in any more."""
        found = 0
        for path in self._incoming.iterdir():
            with suppress(FileNotFoundError):
                facts = path.stat()
                if self._wall() - facts.st_mtime > _LEFTOVER_S:
                    path.unlink()
                else:
                    found += facts.st_size
        return found

    def _remove(self, path: str) -> bool:
        """Remove a file and give its room back, in one turn: who counts in between would see only half of that."""
        with self._count() as count:
            try:
                size = os.stat(path).st_size  # noqa: PTH116
                os.unlink(path)  # noqa: PTH108
            except FileNotFoundError:
                return False
            used = count.read()
            if used is not None:
                count.write(max(0, used - size))
            return True

    @contextmanager
    def _count(self) -> Iterator[_Count]:
        """Hold the folder's count under its lock."""
        descriptor = os.open(self._used, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield _Count(descriptor)
        finally:
            os.close(descriptor)

    def published(self, temporary: Path, key: str) -> None:
        """Give a whole object its name, replacing like by like."""
        target = Path(self._path(key))
        target.parent.mkdir(parents=True, exist_ok=True)
        now = self._wall()
        os.utime(temporary, (now, now))
        temporary.replace(target)

    def abandoned(self, temporary: Path) -> None:
        """Remove what is not whole and give its room back."""
        self._remove(str(temporary))


class _Count:
    """Bytes in use, as eight bytes of a locked file; None where they were never counted."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def read(self) -> int | None:
        found = os.pread(self._descriptor, 8, 0)
        return int.from_bytes(found, "big") if len(found) == 8 else None

    def write(self, used: int) -> None:
        os.pwrite(self._descriptor, used.to_bytes(8, "big"), 0)


class Filling:
    """One object on its way in; ``finish`` or ``abandon`` ends it. Whoever is cancelled may abandon what a thread still writes."""

    def __init__(self, folder: HotFolder, path: Path, descriptor: int, key: str, size_bytes: int, sha256: str) -> None:
        self._folder = folder
        self._path = path
        self._descriptor = descriptor
        self._key = key
        self._size = size_bytes
        self._sha256 = sha256
        self._digest = hashlib.sha256()
        self._written = 0
        self._open = True
        self._turn = threading.Lock()

    def write(self, data: Bytes) -> None:
        """Append; what is longer than it was said to be is counted and not written."""
        view = memoryview(data).cast("B")
        with self._turn:
            self._digest.update(view)
            self._written += len(view)
            while self._open and view and self._written <= self._size:
                view = view[os.write(self._descriptor, view) :]

    @property
    def is_long_enough(self) -> bool:
        """Tell whether as much came as the object was said to be long."""
        return self._written == self._size

    def finish(self) -> bool:
        """Sync the object and give it its name; False, and nothing is kept, unless it is what it was said to be."""
        if self._written != self._size or self._digest.hexdigest() != self._sha256:
            self.abandon()
            return False
        try:
            with self._turn:
                os.fdatasync(self._descriptor)
                self._folder.published(self._path, self._key)
        except OSError:
            self.abandon()
            raise
        self._close()
        return True

    def abandon(self) -> None:
        """Remove what there is of it, unless it has ended already."""
        if self._close():
            self._folder.abandoned(self._path)

    def _close(self) -> bool:
        with self._turn:
            if not self._open:
                return False
            self._open = False
            os.close(self._descriptor)
            return True


def _reserved(path: Path, size_bytes: int) -> int | None:
    """Return a new file that has its whole room on the disk already; None where others have filled the disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, size_bytes)
    except OSError as problem:
        os.close(descriptor)
        path.unlink(missing_ok=True)
        if problem.errno not in _FULL:
            raise
        log.warning("hot_disk_full")
        return None
    return descriptor


def _unlink(file: _File) -> int:
    with suppress(FileNotFoundError):
        os.unlink(file.path)  # noqa: PTH108
        return 1
    return 0
