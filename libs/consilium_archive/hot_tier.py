"""The hot tier: originals of a remote store kept on a local disk, filled when they are read and when somebody will want them.

Flows in: places of the index; flows out: bytes that were hashed when they came, or None for who must ask the store. A small original that is
not here is read whole and kept, a part of a large one goes by at once and the whole is wished for. At most ``queue`` wishes wait and at most
64 MiB of what was read; further ones are dropped: the next reader wishes again. What is damaged may not be wished for again for ten minutes.
What was removed from the archive leaves by its tombstone, or at once where it went while it was fetched.
"""

from __future__ import annotations

import asyncio
import weakref
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import structlog
from prometheus_client import Counter, Gauge
from sqlalchemy import select
from sqlalchemy.orm import Session

from consilium_archive.errors import OriginalDamaged
from consilium_archive.stages import original_key
from consilium_archive.storage_tables import tombstone
from consilium_core.errors import ConsiliumError
from consilium_platform.blobs import BlobDamaged, BlobStore
from consilium_platform.blobs_hot import Filling, HotFolder
from consilium_platform.settings import SettingsInvalid
from consilium_platform.sql import Database
from consilium_platform.tasks import end_task
from consilium_platform.workers import Workers, WorkersClosed

if TYPE_CHECKING:
    from consilium_archive.proof import Proof
    from consilium_archive.reader import Place

log = structlog.get_logger()
READS = Counter("consilium_hot_reads_total", "Reads of originals where there is a hot tier.", ["result"])
READ_BYTES = Counter("consilium_hot_read_bytes_total", "Bytes of originals that readers got.", ["result"])
FILLED = Counter("consilium_hot_filled_bytes_total", "Bytes put into the hot tier.", ["why"])
REFUSED = Counter("consilium_hot_refused_total", "Originals that were not kept.", ["reason"])
REMOVED = Counter("consilium_hot_removed_total", "Originals that left by age or with the archive's own.", ["reason"])
HELD = Gauge("consilium_hot_held_bytes", "Bytes in the hot tier at the last sweep.")
HELD_OBJECTS = Gauge("consilium_hot_held_objects", "Originals in the hot tier at the last sweep.")
Why = Literal["read", "prefetch"]
WHOLE_BELOW_BYTES = 4 << 20  # read whole where a part is asked for
_OFFERED_BYTES = 64 << 20
_REFUSED_S, _MOST_REFUSED = 600.0, 4096
_THREADS, _FILLERS = 4, 2
_SWEEP_S = 600.0
_PAGE = 1000


@dataclass(frozen=True, slots=True)
class HotRule:
    """Where the hot tier is, how large it may get (bytes), how long what nobody uses stays (s), how many wishes may wait."""

    folder: Path
    bound_bytes: int = 16 << 30
    age_s: float = 30 * 86400.0
    queue: int = 256


class HotTier:
    """Keeps originals; open with ``open_hot_tier``. ``proof`` reads what is not here."""

    def __init__(self, database: Database, rule: HotRule) -> None:
        self._database = database
        self._rule = rule
        self._folder = HotFolder(rule.folder, rule.bound_bytes)
        self._workers = Workers(_THREADS, "hot-fill")
        self._readers = Workers(_THREADS, "hot-read")  # of their own: who reads does not wait for what is synced
        self._queue: asyncio.Queue[tuple[Place, Proof]] = asyncio.Queue(rule.queue)
        self._wished: set[str] = set()
        self._offered: dict[str, bytes] = {}
        self._offered_bytes = 0
        self._turns: weakref.WeakValueDictionary[str, _Turn] = weakref.WeakValueDictionary()
        self._damaged: OrderedDict[str, float] = OrderedDict()  # until when it is not fetched for a wish

    async def read(self, place: Place, start: int, length: int, *, again: bool = False) -> bytes | None:
        """Return a part of the original, None unless it is here; ``again``: the same reader has been counted already."""
        if not place.is_original:
            return None
        offered = self._offered.get(place.key)
        if offered is not None:
            found: bytes | None = offered[start : start + length]
        else:
            found = await self._readers.run(self._folder.read, place.key, place.size_bytes, start, length)
        if not again:
            result = "miss" if found is None else "hit"
            READS.labels(result).inc()
            READ_BYTES.labels(result).inc(length)
        return found

    async def whole(self, place: Place, proof: Proof) -> bytes:
        """Return a small original from here, or read it whole and keep it; others who want it meanwhile wait for the same read."""
        turn = self._turns.setdefault(place.key, _Turn())
        async with turn.lock:
            if turn.data is None:  # else it was read for those who wait, kept or not
                turn.data = await self.read(place, 0, place.size_bytes, again=True)
            if turn.data is None:
                turn.data = await proof.read(place, lambda store: store.get(place.key), place.size_bytes)
                self.offer(place, turn.data, proof)
            return turn.data

    def offer(self, place: Place, data: bytes, proof: Proof) -> None:
        """Have an original kept that was just read; never waits."""
        if self._queue.full() or self._offered_bytes + len(data) > _OFFERED_BYTES or place.key in self._wished:
            REFUSED.labels("busy").inc()
            return
        self._offered[place.key] = data
        self._offered_bytes += len(data)
        self._put(place, proof)

    def wish(self, place: Place, proof: Proof) -> None:
        """Ask for an original to be fetched and kept; never waits."""
        if place.key in self._wished or place.size_bytes > self._folder.largest_bytes or not place.is_original:
            return
        if self._damaged.get(place.key, 0.0) > asyncio.get_running_loop().time():
            return
        if self._queue.full():
            REFUSED.labels("busy").inc()
            return
        self._put(place, proof)

    def _put(self, place: Place, proof: Proof) -> None:
        self._wished.add(place.key)
        self._queue.put_nowait((place, proof))

    async def run(self) -> None:
        """Keep what is wished for until cancelled; what fails is logged and may be wished for again."""
        while True:
            place, proof = await self._queue.get()
            data = self._offered.get(place.key)
            try:
                if data is None or not await self._keep(place, data, proof):
                    self._withdraw(place)
                    await self.fill(place, proof, "read")  # wrong bytes: of which place, and is there a better one?
            except OriginalDamaged:  # logged by who found it
                self._damaged[place.key] = asyncio.get_running_loop().time() + _REFUSED_S
                self._damaged.move_to_end(place.key)
                while len(self._damaged) > _MOST_REFUSED:
                    self._damaged.popitem(last=False)
            except (ConsiliumError, OSError, TimeoutError) as problem:
                log.warning("hot_fill_failed", error=type(problem).__name__, sha256=place.sha256)
            finally:
                self._wished.discard(place.key)
                self._withdraw(place)
                self._queue.task_done()

    def _withdraw(self, place: Place) -> None:
        self._offered_bytes -= len(self._offered.pop(place.key, b""))

    async def settled(self) -> None:
        """Return when nothing waits to be kept."""
        await self._queue.join()

    async def fill(self, place: Place, proof: Proof, why: Why) -> bool:
        """Fetch an original unless it is here; tell whether it is here now. Raise what reading it raises."""
        if await self._workers.run(self._folder.holds, place.key, place.size_bytes):
            return True
        if place.size_bytes > self._folder.largest_bytes:
            REFUSED.labels("large").inc()
            return False

        async def work(store: BlobStore) -> bool:
            filling = await self._begun(place)
            if filling is None:
                REFUSED.labels("room").inc()
                return False
            if not await self._streamed(store, place, filling):
                REFUSED.labels("damaged").inc()
                raise BlobDamaged("The object in the store is not what was stored.", hashed=filling.is_long_enough)
            return True

        kept = await proof.checked(place, work)
        if kept:
            FILLED.labels(why).inc(place.size_bytes)
            await self._unless_removed(place, proof)
        return kept

    async def _begun(self, place: Place) -> Filling | None:
        """Reserve room; whoever is cancelled meanwhile leaves nobody's filling behind."""
        begun = self._workers.run(self._folder.begin, place.key, place.size_bytes, place.sha256)
        try:
            return await asyncio.shield(begun)
        except asyncio.CancelledError:
            begun.add_done_callback(self._abandon)
            raise

    def _abandon(self, begun: asyncio.Future[Filling | None]) -> None:
        filling = None if begun.cancelled() or begun.exception() is not None else begun.result()
        if filling is None:
            return
        try:
            self._workers.run(filling.abandon)
        except WorkersClosed:
            filling.abandon()

    async def _unless_removed(self, place: Place, proof: Proof) -> None:
        """Let go what lost its row before it had its name here; its tombstone may have been passed. Later ones are still to come."""
        try:
            stays = await proof.indexed(place)
        except BaseException:  # nobody can tell any more
            await asyncio.shield(self._workers.run(self._folder.drop, place.key))
            raise
        if not stays and await self._workers.run(self._folder.drop, place.key):
            REMOVED.labels("archive").inc()

    async def _streamed(self, store: BlobStore, place: Place, filling: Filling) -> bool:
        ended = False
        try:
            async with aclosing(store.get_stream(place.key)) as chunks:
                async for chunk in chunks:
                    await self._workers.run(filling.write, chunk)
            ended = True
            return await self._workers.run(filling.finish)
        finally:
            if not ended:
                await asyncio.shield(self._workers.run(filling.abandon))

    async def _keep(self, place: Place, data: bytes, proof: Proof) -> bool:
        """Keep what was read if there is room; tell whether it was what was stored."""

        def work() -> bool | None:
            if self._folder.holds(place.key, place.size_bytes):
                return None
            filling = self._folder.begin(place.key, place.size_bytes, place.sha256)
            if filling is None:
                REFUSED.labels("room").inc()
                return None
            try:
                filling.write(data)
            except OSError:
                filling.abandon()
                raise
            return filling.finish()

        kept = await self._workers.run(work)
        if kept:
            FILLED.labels("read").inc(place.size_bytes)
            await self._unless_removed(place, proof)
        elif kept is False:
            log.error("hot_bytes_wrong", key=place.key)
        return kept is not False

    async def held(self, places: Iterable[Place]) -> set[str]:
        """Return the keys of those originals that are here."""

        def work() -> set[str]:
            return {place.key for place in places if self._folder.holds(place.key, place.size_bytes)}

        return await self._readers.run(work)

    async def sweep(self) -> None:
        """Let go what nobody used for the age, and what was removed from the archive; count what is left."""
        old, objects, held = await self._workers.run(self._folder.sweep, self._rule.age_s)
        REMOVED.labels("age").inc(old)
        HELD.set(held)
        HELD_OBJECTS.set(objects)
        await self._drop_buried()

    async def _drop_buried(self) -> None:
        """Remove what has a tombstone; some are looked at twice, for they are not given their ids in the order of their commits."""
        mark = self._rule.folder / ".buried"
        after = max(0, await self._workers.run(_number_in, mark) - _PAGE)
        while rows := await self._database.query(partial(_buried, after=after)):
            keys = [original_key(tenant, sha256) for _, tenant, sha256 in rows]
            REMOVED.labels("archive").inc(await self._workers.run(self._drop, keys))
            after = rows[-1][0]
            await self._workers.run(mark.write_text, str(after))

    def _drop(self, keys: list[str]) -> int:
        return sum(self._folder.drop(key) for key in keys)

    async def keep_swept(self) -> None:
        """Sweep now and every ten minutes until cancelled; what fails is tried again."""
        while True:
            try:
                await self.sweep()
            except Exception as problem:
                log.warning("hot_sweep_failed", error=type(problem).__name__)
            await asyncio.sleep(_SWEEP_S)

    def close(self) -> None:
        """End the threads."""
        self._workers.close()
        self._readers.close()


class _Turn:
    """Readers of one small original that wait for the same read, and what it gave; gone with the last of them."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.data: bytes | None = None


def _number_in(path: Path) -> int:
    with suppress(FileNotFoundError, ValueError):
        return int(path.read_text())
    return 0


def _buried(session: Session, after: int) -> list[tuple[int, str, str]]:
    asked = select(tombstone.c.id, tombstone.c.tenant_id, tombstone.c.sha256).where(tombstone.c.id > after)
    return [tuple(row) for row in session.execute(asked.order_by(tombstone.c.id).limit(_PAGE))]


@asynccontextmanager
async def open_hot_tier(database: Database, rule: HotRule) -> AsyncIterator[HotTier]:
    """Run the hot tier for the length of the block; what waits at its end is fetched when it is next asked for. Raise SettingsInvalid."""
    try:
        tier = await asyncio.to_thread(HotTier, database, rule)
    except OSError as problem:
        raise SettingsInvalid(f"The hot tier's folder {rule.folder} can't be used: {problem.strerror}.") from problem
    tasks = [asyncio.create_task(tier.run(), name=f"hot-fill-{n}") for n in range(_FILLERS)]
    tasks.append(asyncio.create_task(tier.keep_swept(), name="hot-sweep"))
    try:
        yield tier
    finally:
        for task in tasks:
            await end_task(task)
        tier.close()
