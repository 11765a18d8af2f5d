"""Objects: immutable bytes under a key, in a folder (embedded) or an S3 bucket (cluster).

``put`` returns when the object is durable: folder objects are written beside, synced, renamed, and the directory synced; S3 objects
are there when the store has confirmed the PUT. Keys are relative paths of ``[A-Za-z0-9._-]`` segments. With a second place set
(``CONSILIUM_PLATFORM_COPY_*``) reads of originals and held objects fall back to it (``blobs_fallback``); writing to it is the archive's copier's work.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import ClassVar, Protocol, TypeVar, runtime_checkable

import structlog

from consilium_core.errors import Exhausted, Invalid, Mend, NotFound, Unavailable
from consilium_platform.settings import PlatformSettings, S3Place

log = structlog.get_logger()
T = TypeVar("T")
_KEY = re.compile(r"^(?:[A-Za-z0-9_-][A-Za-z0-9._-]*/)*[A-Za-z0-9_-][A-Za-z0-9._-]*$")
Bytes = bytes | bytearray | memoryview
STREAM_BYTES = 4 << 20  # one chunk of a streamed object


class BlobNotFound(NotFound):
    """No object under this key: our loss and not a mistake of the caller, who names no keys."""

    code = "blob-not-found"
    mend: ClassVar[Mend] = "operator"
    http_status: ClassVar[int] = 503


class BlobDamaged(BlobNotFound):
    """The object has not got the bytes that it should have: as good as missing, another place may have it whole.

    ``hashed``: all of it was read and is as long as it should be, only its digest is another.
    """

    code = "blob-damaged"

    def __init__(self, detail: str, /, *, hashed: bool = False) -> None:
        super().__init__(detail)
        self.hashed = hashed


class BlobsUnavailable(Unavailable):
    """The object store does not answer or refuses; nothing was acknowledged."""

    code = "blobs-unavailable"


class BlobArchived(BlobsUnavailable):
    """The object lies in an archive class of the store (S3 InvalidObjectState): it must be restored before it can be read."""

    code = "blob-archived"


class BlobsFull(Exhausted):
    """The object store has no room left; the operator makes some."""

    code = "blobs-full"
    mend = "operator"


@dataclass(frozen=True, slots=True)
class Entry:
    """One object of a listing; ``modified`` is the store's own clock, timezone-aware."""

    key: str
    size_bytes: int
    modified: datetime


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

    def get_stream(self, key: str) -> AsyncGenerator[bytes]:
        """Yield the object in chunks of STREAM_BYTES, two of them in memory at most; raise BlobNotFound."""
        ...

    async def size(self, key: str) -> int:
        """Return the object's size in bytes or raise BlobNotFound."""
        ...

    async def delete(self, key: str) -> None:
        """Remove the object; a missing one is no error."""
        ...

    async def purge(self, key: str) -> None:
        """Remove the object and every version that the store keeps of it; raise BlobsUnavailable where a lock forbids it."""
        ...

    async def list(self, prefix: str) -> list[str]:
        """Return the keys that begin with ``prefix``, sorted."""
        ...

    def entries(self, prefix: str) -> AsyncGenerator[Entry]:
        """Yield the objects whose keys begin with ``prefix``, in the order of their keys."""
        ...

    async def sweep(self, age_s: float) -> int:
        """Remove what killed writers left unfinished and is older than ``age_s``; return how many pieces."""
        ...

    async def ping(self) -> None:
        """Raise BlobsUnavailable unless the store can be used."""
        ...


@dataclass(frozen=True, slots=True)
class Stores:
    """The places that hold originals and held objects: the first, which every write goes to, and the copy's, where one is set."""

    first: BlobStore
    copy: BlobStore | None = None


@runtime_checkable
class TwoPlaces(Protocol):
    """A store that reads from two places: whoever must know what the first one holds asks that one."""

    @property
    def first(self) -> BlobStore:
        """Return the place that every write goes to."""
        ...

    async def read(self, key: str, work: Callable[[BlobStore], Awaitable[T]]) -> T:
        """Do ``work`` with the first place that has the object; what it calls damaged (BlobDamaged) is not there."""
        ...


async def read_checked(store: BlobStore, key: str, work: Callable[[BlobStore], Awaitable[T]]) -> T:
    """Do ``work``, which raises BlobDamaged for what is not whole, with each place of the store until one has the object."""
    return await (store.read(key, work) if isinstance(store, TwoPlaces) else work(store))


def first_place(store: BlobStore) -> BlobStore:
    """Return the place that the store writes to."""
    return store.first if isinstance(store, TwoPlaces) else store


async def is_whole(store: BlobStore, key: str, size_bytes: int) -> bool:
    """Tell whether the object is there with its whole length: one look that reads nothing of it."""
    try:
        return await store.size(key) == size_bytes
    except BlobNotFound:
        return False


async def check_whole(store: BlobStore, key: str, size_bytes: int) -> None:
    """Raise BlobDamaged, BlobNotFound or BlobArchived unless the object can be read in its whole length."""
    if await (store.readable_size(key) if isinstance(store, Restores) else store.size(key)) != size_bytes:
        raise _short()


def checked(data: bytes, size_bytes: int) -> bytes:
    """Return what was read; raise BlobDamaged unless it is as long as it should be."""
    if len(data) != size_bytes:
        raise _short()
    return data


def _short() -> BlobDamaged:
    return BlobDamaged("The object in the store is not as long as it was stored.")


@runtime_checkable
class PutsHere(Protocol):
    """A store that can also put in the calling thread: whoever is in a worker thread already saves a hand-over."""

    def put_here(self, key: str, data: Bytes) -> None:
        """Store the object; durable on return. Blocks."""
        ...


@runtime_checkable
class Expires(Protocol):
    """A store that may have been told to expire held objects by itself."""

    @property
    def quarantine_days(self) -> int:
        """Return after how many days; 0: never."""
        ...


@runtime_checkable
class Restores(Protocol):
    """A store that may keep objects where they can't be read at once (S3's archive classes)."""

    async def readable_size(self, key: str) -> int:
        """Return the object's size after it was tried to read; raise BlobArchived or BlobNotFound."""
        ...

    async def restore(self, key: str) -> float:
        """Ask for an archived object to be made readable, again if need be; return after how many seconds it may be."""
        ...


async def start_restore(store: BlobStore, key: str) -> float:
    """Ask the first place that has the object to restore it; return when to come back, seconds. Raise BlobNotFound where none can."""

    async def work(place: BlobStore) -> float:
        if not isinstance(place, Restores):
            raise BlobNotFound("This store archives nothing.")
        return await place.restore(key)

    return await read_checked(store, key, work)


@runtime_checkable
class GetsHere(Protocol):
    """A store that can also read in the calling thread, likewise."""

    def get_here(self, key: str) -> bytes:
        """Return the whole object; raise BlobNotFound. Blocks."""
        ...

    def get_range_here(self, key: str, start: int, length: int) -> bytes:
        """Return what ``get_range`` would; raise BlobNotFound. Blocks."""
        ...


def check_key(key: str) -> str:
    """Return the key or raise Invalid: no absolute path, no dot segments, no surprise."""
    if len(key) > 512 or not _KEY.match(key):
        raise Invalid("The object key is not allowed.", key=key[:80])
    return key


@asynccontextmanager
async def open_stores(settings: PlatformSettings) -> AsyncIterator[Stores]:
    """Open the places that the settings ask for. A copy's place that does not answer now does not stop the start."""
    async with AsyncExitStack() as stack:
        if settings.blob_store == "folder":
            first = await stack.enter_async_context(_open_folder(settings.data_dir / "objects"))
        else:
            first = await stack.enter_async_context(_open_bucket(settings.s3_place))
        copy: BlobStore | None = None
        if settings.copy_store == "folder":
            copy = await stack.enter_async_context(_open_folder(settings.copy_folder))
        elif settings.copy_store == "s3":
            copy = await stack.enter_async_context(_open_bucket(settings.copy_place, must_answer=False))
        yield Stores(first, copy)


@asynccontextmanager
async def _open_folder(root: Path) -> AsyncIterator[BlobStore]:
    from consilium_platform.blobs_folder import FolderBlobs

    folder = FolderBlobs(root)
    try:
        await folder.sweep()
        yield folder
    finally:
        folder.close()


@asynccontextmanager
async def _open_bucket(place: S3Place, *, must_answer: bool = True) -> AsyncIterator[BlobStore]:
    from consilium_platform.blobs_s3 import S3Blobs  # costs half a second that the embedded world need not pay

    store = S3Blobs(place)
    try:
        try:
            await store.set_up()
        except BlobsUnavailable as problem:
            if must_answer:
                raise
            log.warning("copy_store_unavailable", error=problem.detail)
        yield store
    finally:
        store.close()
