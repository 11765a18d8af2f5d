"""HTJ2K derivatives for slow links: found, made on first use or when an instance is stored, never in a reader's way.

Flows in: places of originals; flows out: files under ``derivative_key``, put in one step when they are whole, so that a crash leaves
nothing and a second maker replaces like by like. One task makes them with threads of its own; at most ``queue`` wait, further wishes
are dropped: the frame is then encoded for its reader alone, and the next reader wishes again.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

import structlog

from consilium_archive.derivatives import derivative_key, index_of_derivative
from consilium_archive.errors import NotArchived
from consilium_archive.reader import Place, Scope
from consilium_core.errors import ConsiliumError
from consilium_core.events import EventType
from consilium_dicom.encode import HTJ2K_RPCL
from consilium_dicom.errors import DicomInvalid
from consilium_dicom.frames import FrameIndex
from consilium_dicom.transcode import conversion, end_of_pixels
from consilium_dicom.uids import transfer_syntax
from consilium_imaging.pictures import Pictures
from consilium_imaging.workers import Workers
from consilium_platform.blobs import BlobNotFound, BlobStore
from consilium_platform.bus import EventBus
from consilium_platform.tasks import end_task

log = structlog.get_logger()
When = Literal["stored", "asked", "never"]
_HEADS_BYTES = (64 << 10, 2 << 20, 32 << 20)
_KNOWN = 4096
_MISSING_S = 30.0
Wish = tuple[str, Place]
"""A tenant and the place of an original."""


@dataclass(frozen=True, slots=True)
class Rule:
    """When derivatives are made, by how many threads, how many may wait, and where files grow before they are stored."""

    when: When = "asked"
    threads: int = 1
    queue: int = 1024
    scratch: Path | None = None


def has_derivative(place: Place) -> bool:
    """Tell whether a derivative is worth having: of frames without loss that are not stored as one already."""
    known = transfer_syntax(place.transfer_syntax_uid)
    if known is None or known.lossy or known.codec in ("video", "jpeg-xl", "deflate"):
        return False
    return place.frames > 0 and place.transfer_syntax_uid != HTJ2K_RPCL


class Derivatives:
    """Finds and makes derivatives; open with ``open_derivatives``."""

    def __init__(self, pictures: Pictures, blobs: BlobStore, workers: Workers, rule: Rule) -> None:
        self._pictures = pictures
        self._blobs = blobs
        self._workers = workers
        self._rule = rule
        self._queue: asyncio.Queue[Wish] = asyncio.Queue(rule.queue)
        self._waiting: set[str] = set()
        self._found: OrderedDict[str, tuple[Place, FrameIndex]] = OrderedDict()
        self._missing: OrderedDict[str, float] = OrderedDict()
        self._never: OrderedDict[str, None] = OrderedDict()

    async def find(self, place: Place) -> tuple[Place, FrameIndex] | None:
        """Return the derivative as a place of its own and its frames, None where there is none (yet)."""
        if self._rule.when == "never" or not has_derivative(place):
            return None
        known = self._found.get(place.sha256)
        if known is not None:
            self._found.move_to_end(place.sha256)
            return replace(
                place, key=known[0].key, size_bytes=known[0].size_bytes, transfer_syntax_uid=HTJ2K_RPCL
            ), known[1]
        now = asyncio.get_running_loop().time()
        if now - self._missing.get(place.sha256, -_MISSING_S) < _MISSING_S:
            return None
        try:
            found = await self._read(place)
        except BlobNotFound:
            _remember(self._missing, place.sha256, now)
            return None
        if found is not None:
            _remember(self._found, place.sha256, found)
        return found

    async def _read(self, place: Place) -> tuple[Place, FrameIndex] | None:
        key = derivative_key(place.key)
        size = await self._blobs.size(key)
        for step in _HEADS_BYTES:
            head = await self._blobs.get_range(key, 0, min(step, size))
            index = await self._workers.turn(partial(index_of_derivative, head))
            if index is not None:
                if max(at + length for frame in index.segments for at, length in frame) > size:
                    return None  # cut short: it is made again in its place
                return replace(place, key=key, size_bytes=size, transfer_syntax_uid=HTJ2K_RPCL), index
        return None

    def forget(self, place: Place) -> None:
        """Take note that a derivative is gone."""
        self._found.pop(place.sha256, None)

    def wish(self, tenant: str, place: Place) -> None:
        """Ask for a derivative to be made; never waits."""
        if self._rule.when == "never" or not has_derivative(place) or place.sha256 in self._never:
            return
        if place.sha256 in self._waiting or place.sha256 in self._found or self._queue.full():
            return
        self._waiting.add(place.sha256)
        self._queue.put_nowait((tenant, place))

    async def run(self) -> None:
        """Make what is wished for until cancelled; what fails is logged and may be wished for again."""
        while True:
            tenant, place = await self._queue.get()
            try:
                await self.make(tenant, place)
            except (ConsiliumError, OSError) as problem:
                log.warning("derivative_failed", error=type(problem).__name__, sha256=place.sha256)
            finally:
                self._waiting.discard(place.sha256)
                self._queue.task_done()

    async def made(self) -> None:
        """Return when nothing waits to be made."""
        await self._queue.join()

    async def make(self, tenant: str, place: Place) -> None:
        """Make and store the derivative of one original unless it is there; an object that has none is remembered."""
        self._missing.pop(place.sha256, None)
        if await self.find(place) is not None:
            return
        scope = Scope(place.study_uid, place.series_uid, place.sop_instance_uid)
        _, index = await self._pictures.reader.frame_index(tenant, scope)
        with tempfile.TemporaryDirectory(prefix="consilium-derivative-", dir=self._rule.scratch) as folder:
            path = Path(folder) / "file"
            try:
                await self._write(place, index, path)
            except DicomInvalid as problem:
                log.info("no_derivative", code=problem.code, sha256=place.sha256)
                _remember(self._never, place.sha256, None)
                return
            await self._blobs.put_file(derivative_key(place.key), path, "application/dicom")
        try:  # its original may have been removed meanwhile, derivatives and all
            await self._pictures.reader.frame_index(tenant, scope)
        except NotArchived:
            await self._blobs.purge(derivative_key(place.key))
            raise
        self._missing.pop(place.sha256, None)
        await self.find(place)

    async def _write(self, place: Place, index: FrameIndex | None, path: Path) -> None:
        if index is None or index.inflated:
            raise DicomInvalid("frames that can't be told apart, or lie deflated, stay as they are stored")
        reader, turn = self._pictures.reader, self._workers.turn
        head = await reader.original_range(place, 0, index.ranges(0)[0][0])
        made = await turn(partial(conversion, head, await self._pictures.stored(place, index, 0), HTJ2K_RPCL))
        opening = await turn(partial(made.head, [0] * index.count, extended=True))
        sizes: list[int] = []
        with path.open("wb") as file:
            file.write(opening)
            for number in range(index.count):
                value = made.first
                if number:
                    value = await turn(partial(made.frame, await self._pictures.stored(place, index, number)))
                sizes.append(len(value))
                await asyncio.to_thread(file.write, made.item(value))
            at = end_of_pixels(index, made.header)
            file.write(made.tail(await reader.original_range(place, at, place.size_bytes - at)))
            file.seek(0)
            file.write(await turn(partial(made.head, sizes, extended=True)))

    async def follow(self, bus: EventBus) -> None:
        """Wish for a derivative of every instance that is stored; events that are lost are made up for on first use."""
        async with bus.subscribe() as subscription:
            while True:
                event = await subscription.next(60.0)
                if event is None or event.type is not EventType.INSTANCE_STORED:
                    continue
                scope = Scope(
                    str(event.data.get("study_uid", "")), str(event.data.get("series_uid", "")), event.subject
                )
                try:
                    [place] = await self._pictures.reader.places(event.tenant, scope, 1)
                except NotArchived:
                    continue
                self.wish(event.tenant, place)


T = TypeVar("T")


def _remember(memory: OrderedDict[str, T], key: str, value: T) -> None:
    memory[key] = value
    while len(memory) > _KNOWN:
        memory.popitem(last=False)


@asynccontextmanager
async def open_derivatives(
    pictures: Pictures, blobs: BlobStore, bus: EventBus, rule: Rule
) -> AsyncIterator[Derivatives]:
    """Run the maker for the length of the block; what waits at the end is made when it is next asked for."""
    workers = Workers(rule.threads, 0, "derivative")
    derivatives = Derivatives(pictures, blobs, workers, rule)
    tasks = [asyncio.create_task(derivatives.run(), name="derivatives")]
    if rule.when == "stored":
        tasks.append(asyncio.create_task(_following(derivatives, bus), name="derivatives-follow"))
    try:
        yield derivatives
    finally:
        for task in tasks:
            await end_task(task)
        workers.close()


async def _following(derivatives: Derivatives, bus: EventBus, again_s: float = 1.0) -> None:
    """Follow the bus until cancelled; an outage of bus or database is waited out."""
    while True:
        try:
            await derivatives.follow(bus)
        except Exception as problem:
            log.warning("derivatives_not_following", error=type(problem).__name__)
            await asyncio.sleep(again_s)
