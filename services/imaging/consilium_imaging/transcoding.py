"""Stored objects as another transfer syntax, piece by piece: never more of a long cine in memory than the read-ahead holds.

A still is made whole in one worker's turn. A multi-frame object goes out as head, frames and tail, each from a range read. Among
others an object that can't be had as asked goes plain, else as stored: each part may have its own syntax (PS3.18 8.7.8.2).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial

from consilium_archive.reader import Place, Scope
from consilium_dicom.errors import DicomInvalid, Undecodable
from consilium_dicom.frames import FrameIndex
from consilium_dicom.transcode import EXPLICIT_LE, Conversion, conversion, end_of_pixels, transcode
from consilium_imaging.pictures import Pictures

Read = Callable[[], Awaitable[bytes]]
PartHead = Callable[[str], bytes]
"""What goes before a part, by its transfer syntax."""

VERSION = 1
"""Part of the entity tags: to be raised when an encoder's output changes."""

_WORD = 8
_LARGE_BYTES = 16 << 20
_MOST_TAIL_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Source:
    """One stored object of a tenant, and the transfer syntax asked for."""

    tenant: str
    place: Place
    target: str


@dataclass(frozen=True, slots=True)
class _Plan:
    """How the object goes: converted, or (None) as stored."""

    made: Conversion | None
    index: FrameIndex | None


class Transcoding:
    """The reads that give one object; what they share is found out once, by the first of them.

    ``part_head`` is for an object in parts; ``among`` others it goes as something else rather than not at all.
    """

    def __init__(
        self, pictures: Pictures, source: Source, part_head: PartHead | None = None, *, among: bool = False
    ) -> None:
        self._pictures = pictures
        self._reader = pictures.reader
        self._source = source
        self._part_head = part_head
        self._among = among
        self._lock = asyncio.Lock()
        self._plan: _Plan | None = None

    @property
    def still(self) -> bool:
        """Tell whether the object is made whole."""
        return self._source.place.frames <= 1

    def reads(self) -> Iterator[Read]:
        """Yield the reads in order."""
        if self.still:
            yield self.whole
            return
        yield self._head
        for number in range(self._source.place.frames):
            yield partial(self._frame, number)
        yield self._tail

    async def whole(self) -> bytes:
        """Return a still at once; of large ones there are never more in memory than there are workers."""
        if self._source.place.size_bytes < _LARGE_BYTES:
            return await self._whole()
        async with self._pictures.workers.large:
            return await self._whole()

    async def _whole(self) -> bytes:
        data = await self._reader.original(self._source.place)
        for target in self._targets():
            try:
                made = await self._pictures.workers.turn(partial(transcode, data, target))
            except DicomInvalid:
                if not self._among:
                    raise
            else:
                return self._before(target) + made
        return self._before(self._source.place.transfer_syntax_uid) + data

    def _targets(self) -> tuple[str, ...]:
        only = (self._source.target,)
        return only if not self._among or EXPLICIT_LE in only else (*only, EXPLICIT_LE)

    def _before(self, syntax: str) -> bytes:
        return self._part_head(syntax) if self._part_head else b""

    async def start(self) -> None:
        """Find out how the object goes, so that a refusal comes before the answer; raise DicomInvalid or OriginalDamaged."""
        await self._planned()

    async def _planned(self) -> _Plan:
        async with self._lock:
            if self._plan is None:
                self._plan = await self._try()
            return self._plan

    async def _try(self) -> _Plan:
        place = self._source.place
        await self._reader.sure(place)  # the first frame says nothing of the last
        scope = Scope(place.study_uid, place.series_uid, place.sop_instance_uid)
        _, index = await self._reader.frame_index(self._source.tenant, scope)
        for target in self._targets():
            try:
                return _Plan(await self._converted(index, target), index)
            except DicomInvalid:
                if not self._among:
                    raise
        return _Plan(None, index)

    async def _converted(self, index: FrameIndex | None, target: str) -> Conversion:
        if index is None or index.inflated:
            raise Undecodable("frames that can't be told apart, or lie deflated, stay as they are stored")
        place = self._source.place
        head = await self._reader.original_range(place, 0, index.ranges(0)[0][0])
        needed = index.encapsulated or target != EXPLICIT_LE
        first = await self._pictures.stored(place, index, 0) if needed else None
        return await self._pictures.workers.turn(partial(conversion, head, first, target))

    async def _head(self) -> bytes:
        plan = await self._planned()
        if plan.made is None:
            return self._before(self._source.place.transfer_syntax_uid)
        return self._before(plan.made.target) + plan.made.head()

    async def _frame(self, number: int) -> bytes:
        plan = await self._planned()
        place, made = self._source.place, plan.made
        if made is None or plan.index is None:
            return await self._slice(0, place.size_bytes, number)
        if made.way == "copy":
            return made.copied(await self._slice(made.header.pixel_offset, made.native_bytes(), number))
        if number == 0:
            return made.item(made.first)
        stored = await self._pictures.stored(place, plan.index, number)
        return await self._pictures.workers.turn(lambda: made.item(made.frame(stored)))

    async def _slice(self, at: int, length: int, number: int) -> bytes:
        """Return one of as many equal slices as there are frames; they begin and end between words."""
        frames = self._source.place.frames
        start = length * number // frames // _WORD * _WORD
        stop = length if number + 1 == frames else length * (number + 1) // frames // _WORD * _WORD
        return await self._reader.original_range(self._source.place, at + start, stop - start)

    async def _tail(self) -> bytes:
        plan = await self._planned()
        if plan.made is None or plan.index is None:
            return b""
        at, size = end_of_pixels(plan.index, plan.made.header), self._source.place.size_bytes
        rest = await self._reader.original_range(self._source.place, at, min(size - at, _MOST_TAIL_BYTES))
        return plan.made.tail(rest)
