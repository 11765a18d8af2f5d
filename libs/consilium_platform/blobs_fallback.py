"""Two places behind one store: everything is written to the first, originals and held objects are read from the copy when it fails or misses.

Every read that the copy had to serve is counted (``consilium_blobs_fallback_total``) and logged. After the first place did not answer
it is left alone for some seconds, so that readers do not each wait for its time limit. Both places belong to who opened them.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import TypeVar

import structlog
from prometheus_client import Counter

from consilium_core.clock import Clock
from consilium_platform.blobs import BlobArchived, BlobDamaged, BlobNotFound, BlobStore, BlobsUnavailable, Bytes, Entry

log = structlog.get_logger()
T = TypeVar("T")
FALLBACKS = Counter("consilium_blobs_fallback_total", "Reads that the second copy served.", ["reason"])
COPIED = ("originals/", "quarantine/")  # both have second copies
_REASON: dict[type[Exception], str] = {BlobDamaged: "damaged", BlobNotFound: "missing", BlobArchived: "archived"}
_AVOID_S = 5.0
_LOG_EVERY_S = 10.0


class FallbackBlobs:
    """The store that rooms see when a copy's place is set."""

    def __init__(self, first: BlobStore, copy: BlobStore, clock: Clock) -> None:
        self._first = first
        self._copy = copy
        self._clock = clock
        self._avoid_until = 0.0
        self._logged_at = -_LOG_EVERY_S

    @property
    def first(self) -> BlobStore:
        """Return the place that every write goes to."""
        return self._first

    async def read(self, key: str, work: Callable[[BlobStore], Awaitable[T]]) -> T:
        """Do ``work`` with the first place that has the object; what it calls damaged (BlobDamaged) is not there."""
        if not key.startswith(COPIED):
            return await work(self._first)
        avoided = self._clock.monotonic() < self._avoid_until
        problem: BlobNotFound | BlobsUnavailable | TimeoutError = BlobsUnavailable("The object store does not answer.")
        if not avoided:
            try:
                return await work(self._first)
            except (BlobNotFound, BlobArchived) as missing:
                problem = missing
            except (BlobsUnavailable, TimeoutError) as silent:
                problem = silent
                self._avoid_until = self._clock.monotonic() + _AVOID_S
        try:
            result = await work(self._copy)
        except (BlobNotFound, BlobsUnavailable, TimeoutError) as second:
            if avoided:  # the copy has not got it (yet): the first place after all
                return await work(self._first)
            if isinstance(second, BlobArchived) and isinstance(problem, BlobNotFound):
                raise  # it can be had of the copy, though not now
            raise problem from None
        self._tell(_REASON.get(type(problem), "unavailable"), key)
        return result

    def _tell(self, reason: str, key: str) -> None:
        FALLBACKS.labels(reason).inc()
        now = self._clock.monotonic()
        if now - self._logged_at >= _LOG_EVERY_S:
            self._logged_at = now
            log.warning("blob_read_from_copy", reason=reason, key=key)

    async def put(self, key: str, data: Bytes, content_type: str = "application/octet-stream") -> None:
        """Store the object in the first place."""
        await self._first.put(key, data, content_type)

    async def put_file(self, key: str, path: Path, content_type: str = "application/octet-stream") -> None:
        """Move the file into the first place."""
        await self._first.put_file(key, path, content_type)

    async def get(self, key: str) -> bytes:
        """Return the object from either place."""
        return await self.read(key, lambda store: store.get(key))

    async def get_range(self, key: str, start: int, length: int) -> bytes:
        """Return a part of the object from either place."""
        return await self.read(key, lambda store: store.get_range(key, start, length))

    async def get_stream(self, key: str) -> AsyncGenerator[bytes]:
        """Yield the object from the first place that yields its first chunk."""

        async def begin(store: BlobStore) -> tuple[bytes | None, AsyncGenerator[bytes]]:
            stream = store.get_stream(key)
            return await anext(stream, None), stream

        chunk, stream = await self.read(key, begin)
        async with aclosing(stream):
            while chunk is not None:
                yield chunk
                chunk = await anext(stream, None)

    async def size(self, key: str) -> int:
        """Return the object's size in either place."""
        return await self.read(key, lambda store: store.size(key))

    async def delete(self, key: str) -> None:
        """Remove the object from the first place."""
        await self._first.delete(key)

    async def purge(self, key: str) -> None:
        """Remove the object and its versions from both places, the copy first: a failure between leaves what is known of."""
        await self._copy.purge(key)
        await self._first.purge(key)

    async def list(self, prefix: str) -> list[str]:
        """List the first place."""
        return await self._first.list(prefix)

    def entries(self, prefix: str) -> AsyncGenerator[Entry]:
        """List the first place."""
        return self._first.entries(prefix)

    async def sweep(self, age_s: float) -> int:
        """Sweep both places."""
        return await self._first.sweep(age_s) + await self._copy.sweep(age_s)

    async def ping(self) -> None:
        """Raise unless one of the places answers: either can serve."""
        try:
            await self._first.ping()
        except (BlobsUnavailable, TimeoutError):
            await self._copy.ping()
