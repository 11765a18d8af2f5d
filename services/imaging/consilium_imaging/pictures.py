"""Frames and pictures of stored objects: range reads, decoding and drawing in a bounded thread pool, a bounded picture cache.

Flows in: a place in the archive and a wish; flows out: bytes. At most ``queue`` pictures wait; more are told to come back.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeVar, cast

from numpy.typing import NDArray

from consilium_archive.errors import NotArchived
from consilium_archive.reader import ArchiveReader, Place, Scope
from consilium_dicom.frames import FrameIndex, frame_bytes
from consilium_dicom.header import Header, header_of, read_header
from consilium_dicom.likeness import Kinds
from consilium_dicom.luts import NO_TABLES, PixelTables, read_tables
from consilium_dicom.render import VoiFunction, decode_frame, passes_through, render_samples
from consilium_dicom.scan import scan
from consilium_dicom.transcode import frame_as
from consilium_imaging.caches import ByteCache
from consilium_imaging.errors import RenderBusy
from consilium_imaging.workers import Workers
from consilium_platform.blobs import BlobNotFound

_WHOLE_BELOW_BYTES = 4 << 20
_CONTEXTS = 256
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Wish:
    """How a picture shall look; ``window`` is (center, width) in modality units, ``viewport`` (width, height) in pixels."""

    window: tuple[float, float] | None = None
    voi: VoiFunction | None = None
    viewport: tuple[int, int] | None = None
    fmt: Literal["jpeg", "png"] = "jpeg"
    quality: int = 90


@dataclass(frozen=True, slots=True)
class _Context:
    header: Header
    tables: PixelTables


@dataclass(frozen=True, slots=True)
class _Drawn:
    context: _Context
    picture: bytes
    samples: NDArray[Any] | None


class Pictures:
    """Serves frames; owns no thread: CPU work runs in ``workers``.

    Kept in memory, each within its bound: drawn pictures, the samples of code streams (another window of the same frame costs no
    decoding), and what pictures need of their instance.
    """

    def __init__(self, reader: ArchiveReader, workers: Workers, cache_bytes: int, decoded_bytes: int = 0) -> None:
        self.reader = reader
        self.workers = workers
        self._contexts: OrderedDict[str, _Context] = OrderedDict()
        self._kinds = Kinds()
        self._drawn: ByteCache[tuple[str, int, Wish], bytes] = ByteCache(cache_bytes, len)
        self._decoded: ByteCache[tuple[str, int], NDArray[Any]] = ByteCache(decoded_bytes, lambda one: int(one.nbytes))

    async def stored(self, place: Place, index: FrameIndex, frame: int) -> bytes:
        """Return frame ``frame`` (from 0) as it is stored."""
        _check(index, frame)
        if index.inflated:
            data = await self.reader.original(place)
            return await self.workers.run(lambda: frame_bytes(data, index, frame, read_header(data)))
        return index.cut(frame, await self.reader.original_range(place, *index.span(frame)))

    async def coded(self, place: Place, index: FrameIndex, frame: int, target: str, *, waits: bool = False) -> bytes:
        """Return frame ``frame`` in another transfer syntax: a code stream, or little-endian samples, colour by pixel.

        ``waits``: one of a stream that has begun is not refused, however many pictures wait.
        """
        return await self._of_frame(
            place, index, frame, lambda context, data: frame_as(context.header, data, target), waits=waits
        )

    async def found(self, tenant: str, scope: Scope, wish: Wish) -> tuple[Place, FrameIndex | None, bytes | None]:
        """Return the instance, where its frames lie, and its picture if one visit to a thread finds, reads and draws it.

        No picture: there are several frames, or it is drawn already, or is a video, or damaged, or lies elsewhere: ``picture`` tells.
        """
        look = self.reader.look_here
        if look is None:
            return *await self.reader.frame_index(tenant, scope), None

        def work() -> tuple[Place, FrameIndex | None, _Drawn | None]:
            place, index = look(tenant, scope)
            read = self.reader.here(place)
            if index is None or read is None or not _at_once(place, index):
                return place, index, None
            if self._drawn.holds((place.sha256, 0, wish)) or self._decoded.holds((place.sha256, 0)):
                return place, index, None
            try:
                whole = read()
            except BlobNotFound:
                return place, index, None
            context = self._contexts.get(place.sha256) or self._context(whole)
            return place, index, _Drawn(context, *_draw(context, frame_bytes(whole, index, 0), 0, wish))

        try:
            place, index, made = await self.workers.run(work)
        except RenderBusy:  # what is drawn already is given all the same
            return *await self.reader.frame_index(tenant, scope), None
        if index is None or made is None:
            return place, index, None
        self._keep(place, made.context)
        self._remember(place, index, 0, wish, made.picture, made.samples)
        return place, index, made.picture

    async def picture(self, place: Place, index: FrameIndex, frame: int, wish: Wish) -> bytes:
        """Return frame ``frame`` drawn as JPEG or PNG."""
        if (known := self._drawn.get((place.sha256, frame, wish))) is not None:
            return known
        context, samples = self._contexts.get(place.sha256), self._decoded.get((place.sha256, frame))
        if context is not None and samples is not None:
            drawn = await self.workers.run(partial(_render, context, samples, frame, wish))
            self._remember(place, index, frame, wish, drawn, None)
            return drawn
        work = partial(_draw, frame=frame, wish=wish)
        drawn, decoded = await self._of_frame(place, index, frame, work, waits=False)
        self._remember(place, index, frame, wish, drawn, decoded)
        return drawn

    def _remember(
        self, place: Place, index: FrameIndex, frame: int, wish: Wish, drawn: bytes, decoded: NDArray[Any] | None
    ) -> None:
        self._drawn.put((place.sha256, frame, wish), drawn)
        if decoded is not None and index.encapsulated:  # native samples are a view of what a read gives as fast
            self._decoded.put((place.sha256, frame), decoded)

    async def _of_frame(
        self, place: Place, index: FrameIndex, frame: int, work: Callable[[_Context, bytes], T], *, waits: bool
    ) -> T:
        """Return what ``work`` makes of a frame: two visits to threads, one that reads and one that computes; one where both can."""
        _check(index, frame)
        run = self.workers.turn if waits else self.workers.run
        known = self._contexts.get(place.sha256)
        here = self.reader.here(place)
        small = index.count == 1 and place.size_bytes <= _WHOLE_BELOW_BYTES
        if index.inflated or (small and (known is None or here is not None)):
            given = await self.reader.original(place) if here is None else None

            def from_whole() -> tuple[_Context, T]:
                whole = here() if here is not None else cast(bytes, given)
                context = known or self._context(whole)
                return context, work(context, frame_bytes(whole, index, frame, context.header))

            try:
                context, made = await run(from_whole)
            except BlobNotFound:
                if here is None:
                    raise
                here, given = None, await self.reader.original(place)
                context, made = await run(from_whole)
            self._keep(place, context)
            return made
        if known is None:  # the first frame lies behind everything that describes it
            head = await self.reader.original_range(place, 0, index.ranges(0)[0][0])
            known = await run(partial(_context_of, head))
        self._keep(place, known)
        return await run(partial(work, known, await self.stored(place, index, frame)))

    def _context(self, whole: bytes) -> _Context:
        """Return what pictures need of an instance; those of a series have nearly the same."""
        like = self._kinds.find(whole)
        if like is None:
            source = scan(whole)
            context = _Context(header_of(source), read_tables(whole, source))
            self._kinds.learn(source, context.header)
            return context
        if "tables" not in like.kind.memo:
            tables = read_tables(whole, like.source)
            if tables != NO_TABLES:  # their values may differ, whether there are any can't
                return _Context(like.header, tables)
            like.kind.memo["tables"] = tables
        return _Context(like.header, like.kind.memo["tables"])

    def _keep(self, place: Place, context: _Context) -> None:
        self._contexts[place.sha256] = context
        self._contexts.move_to_end(place.sha256)
        while len(self._contexts) > _CONTEXTS:
            self._contexts.popitem(last=False)


def _at_once(place: Place, index: FrameIndex) -> bool:
    return index.count == 1 and not index.inflated and place.size_bytes <= _WHOLE_BELOW_BYTES and not place.is_video


def _draw(context: _Context, data: bytes, frame: int, wish: Wish) -> tuple[bytes, NDArray[Any] | None]:
    """Return the picture, and the samples if it took any."""
    if wish.fmt == "jpeg" and wish.viewport is None and passes_through(data, context.header):
        return data, None
    samples = decode_frame(context.header, data)
    return _render(context, samples, frame, wish), samples


def _render(context: _Context, samples: NDArray[Any], frame: int, wish: Wish) -> bytes:
    return render_samples(
        samples, context.header, window=wish.window, voi_function=wish.voi, viewport=wish.viewport, fmt=wish.fmt,
        quality=wish.quality, tables=context.tables, frame_number=frame,
    )  # fmt: skip


def _context_of(head: bytes) -> _Context:
    source = scan(head, to_pixels=True)
    return _Context(header_of(source), read_tables(head, source))


def _check(index: FrameIndex, frame: int) -> None:
    if not 0 <= frame < index.count:
        raise NotArchived(f"There is no frame {frame + 1}: the instance has {index.count}.", frames=index.count)
