"""Stored videos for players: as MP4 with its index in front, remuxed once and kept in a bounded folder (PS3.18 8.7.4, 10.4.1.1.3).

A stored MP4 is served from the object store by range. Anything else is spooled to the folder, remuxed by a worker, and served from
there; memory holds one chunk at a time. The folder is scratch: it is emptied at start and end, and what was used longest ago goes first.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import weakref
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

from consilium_archive.reader import ArchiveReader, Place
from consilium_dicom.frames import FrameIndex
from consilium_dicom.render import encode_picture, fit
from consilium_dicom.scan import Scan, scan
from consilium_dicom.uids import transfer_syntax
from consilium_imaging.byte_ranges import CHUNK_BYTES, ReadRange
from consilium_imaging.errors import VideosFull, VideoUnplayable
from consilium_imaging.pictures import Wish
from consilium_imaging.remux import picture_at, remux
from consilium_imaging.values import Value, joined
from consilium_imaging.workers import Workers

_PREFIX_BYTES = 16 << 20
_USUAL_RATE = Fraction(30)
_RATES = (0x00180040, 0x00082144)  # Cine Rate, Recommended Display Frame Rate
_FRAME_TIME = 0x00181063


@dataclass(frozen=True)
class Film:
    """A video that can be played: its media type and size, and how parts of it are read."""

    media: str
    size_bytes: int
    read: ReadRange


class _File:
    """An open file that outlives its name; closed with its last reader."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._descriptor)
        self.size_bytes = os.fstat(self._descriptor).st_size

    async def read(self, start: int, length: int) -> bytes:
        return await asyncio.to_thread(os.pread, self._descriptor, length, start)


class Videos:
    """Makes and keeps films; open with ``open_videos``."""

    def __init__(self, reader: ArchiveReader, workers: Workers, folder: Path, bound_bytes: int) -> None:
        self._reader = reader
        self._workers = workers
        self._folder = folder
        self._bound = bound_bytes
        self._kept: OrderedDict[str, int] = OrderedDict()
        self._reserved = 0
        self._locks: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()

    async def film(self, place: Place, index: FrameIndex) -> Film:
        """Return the video as browsers play it, MPEG-2 as it is stored; raise VideoUnplayable or VideosFull."""
        stream = joined(self._reader, place, _segments(index))
        known = transfer_syntax(place.transfer_syntax_uid)
        if known is not None and known.media_type == "video/mpeg2":
            return Film("video/mpeg", stream.size_bytes, stream.read)
        if (await stream.read(0, 12))[4:8] == b"ftyp":
            return Film("video/mp4", stream.size_bytes, stream.read)
        lock = self._locks.setdefault(place.sha256, asyncio.Lock())
        async with lock:
            if place.sha256 not in self._kept:
                await self._make(place, index, stream)
            self._kept.move_to_end(place.sha256)
            file = _File(self._path(place))
        return Film("video/mp4", file.size_bytes, file.read)

    async def picture(self, place: Place, index: FrameIndex, wish: Wish) -> bytes:
        """Return a picture of the video's beginning, drawn as wished; raise VideoUnplayable."""
        stream = joined(self._reader, place, _segments(index))
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            path = Path(folder) / "stream"
            for bound in (_PREFIX_BYTES, stream.size_bytes):
                with self._room(min(bound, stream.size_bytes)):
                    await _spool(stream, path, bound)
                    try:
                        pixels = await self._workers.run(partial(picture_at, path, 0.0))
                    except VideoUnplayable:
                        if bound >= stream.size_bytes:
                            raise
                        continue
                    drawn = partial(encode_picture, fit(pixels, wish.viewport), fmt=wish.fmt, quality=wish.quality)
                    return await self._workers.run(drawn)
        raise VideoUnplayable("The stored video has no picture that can be drawn.")

    async def _make(self, place: Place, index: FrameIndex, stream: Value) -> None:
        head = await self._reader.original_range(place, 0, index.ranges(0)[0][0])
        with self._room(2 * stream.size_bytes), tempfile.TemporaryDirectory(dir=self._folder) as folder:
            source, made = Path(folder) / "stream", Path(folder) / "film"
            await _spool(stream, source, stream.size_bytes)
            await self._workers.turn(lambda: remux(source, made, frame_rate(scan(head, to_pixels=True))))
            made.replace(self._path(place))
            self._kept[place.sha256] = self._path(place).stat().st_size

    def _path(self, place: Place) -> Path:
        return self._folder / f"{place.sha256}.mp4"

    @contextmanager
    def _room(self, size_bytes: int) -> Iterator[None]:
        """Hold room in the folder for the length of the block; what was used longest ago makes way."""
        if size_bytes > self._bound:
            raise VideoUnplayable("The video is larger than the room for playing: retrieve its bulk data instead.")
        while self._kept and self._reserved + sum(self._kept.values()) + size_bytes > self._bound:
            old, _ = self._kept.popitem(last=False)
            (self._folder / f"{old}.mp4").unlink(missing_ok=True)
        if self._reserved + size_bytes > self._bound:
            raise VideosFull("Too many videos are being prepared. Try again in a moment.", retry_after_s=5.0)
        self._reserved += size_bytes
        try:
            yield
        finally:
            self._reserved -= size_bytes


def _segments(index: FrameIndex) -> list[tuple[int, int]]:
    return [segment for frame in index.segments for segment in frame]


async def _spool(stream: Value, path: Path, most_bytes: int) -> None:
    size = min(stream.size_bytes, most_bytes)
    with path.open("wb", buffering=0) as file:
        for at in range(0, size, CHUNK_BYTES):
            data = await stream.read(at, min(CHUNK_BYTES, size - at))
            await asyncio.to_thread(file.write, data)


def frame_rate(source: Scan) -> Fraction:
    """Return frames per second by Frame Time, Cine Rate or Recommended Display Frame Rate; 30 when unsaid."""
    time_ms = _number(source.value(_FRAME_TIME))
    if time_ms is not None and 1 <= time_ms <= 10_000:
        return (1000 / Fraction(time_ms)).limit_denominator(1001)
    rate = next((found for tag in _RATES if (found := _number(source.value(tag))) is not None), None)
    return Fraction(rate).limit_denominator(1001) if rate is not None and 0.1 <= rate <= 1000 else _USUAL_RATE


def _number(value: bytes) -> float | None:
    try:
        return float(value.split(b"\\")[0].strip(b" \0"))
    except ValueError:
        return None


@contextmanager
def open_videos(reader: ArchiveReader, workers: Workers, parent: Path | None, bound_bytes: int) -> Iterator[Videos]:
    """Keep a scratch folder under ``parent`` (None: the system's) for the length of the block."""
    folder = Path(tempfile.mkdtemp(prefix="consilium-video-", dir=parent))
    try:
        yield Videos(reader, workers, folder, bound_bytes)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
