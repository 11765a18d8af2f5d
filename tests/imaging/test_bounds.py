"""What is in memory and in threads at once is bounded: a cine is transcoded as its reader takes it, streams wait, pictures are refused."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pydicom
import pytest

from consilium_archive.reader import ArchiveReader, Place, Scope
from consilium_dicom.frames import FrameIndex, index_frames
from consilium_dicom.header import read_header
from consilium_dicom.transcode import EXPLICIT_LE
from consilium_imaging.caches import ByteCache
from consilium_imaging.errors import RenderBusy
from consilium_imaging.multipart import in_order
from consilium_imaging.pictures import Pictures, Wish
from consilium_imaging.transcoding import Source, Transcoding
from consilium_imaging.workers import Workers
from consilium_testkit.instances import ct_instance

FRAMES, AHEAD = 40, 3


@dataclass
class _OneFile(ArchiveReader):
    """A reader of one file in memory that counts what is asked of it."""

    data: bytes
    asked: list[tuple[int, int]] = field(default_factory=list)

    async def frame_index(self, tenant: str, scope: Scope) -> tuple[Place, FrameIndex | None]:
        return self.place(), index_frames(self.data, read_header(self.data))

    def here(self, place: Place) -> Callable[[], bytes] | None:
        return None

    async def original(self, place: Place) -> bytes:
        self.asked.append((0, len(self.data)))
        return self.data

    async def original_range(self, place: Place, start: int, length: int) -> bytes:
        self.asked.append((start, length))
        return self.data[start : start + length]

    async def sure(self, place: Place) -> None:
        assert place.size_bytes == len(self.data)

    def place(self) -> Place:
        header = read_header(self.data)
        return Place(
            "1", "2", "3", header.sop_class_uid, header.transfer_syntax_uid, 1, header.frames, "0" * 64, len(self.data), "k"
        )  # fmt: skip


@pytest.mark.parametrize("target", [EXPLICIT_LE, "1.2.840.10008.1.2.4.80"])
async def test_a_cine_is_read_and_made_only_as_far_as_its_reader_has_come(target: str) -> None:
    pixels = np.arange(FRAMES * 32 * 32, dtype=np.uint16) % 4096
    reader = _OneFile(ct_instance(side=32, NumberOfFrames=FRAMES, PixelData=pixels.tobytes()))
    workers = Workers(2, 8)
    try:
        job = Transcoding(Pictures(reader, workers, 0), Source("demo", reader.place(), target))
        out, taken = b"", 0
        async for chunk in in_order([(b"", job.reads())], AHEAD):
            out, taken = out + chunk, taken + 1
            assert len(reader.asked) <= taken + AHEAD + 2  # and the head and the first frame, which tell how
    finally:
        workers.close()
    told = pydicom.dcmread(io.BytesIO(out))
    assert told.file_meta.TransferSyntaxUID == target
    assert np.array_equal(told.pixel_array.ravel(), pixels)


async def test_pictures_are_refused_when_too_many_wait_and_streams_take_turns() -> None:
    workers, gate, running = Workers(2, 1), threading.Event(), []

    def slow() -> int:
        running.append(1)
        gate.wait(20)
        return len(running)

    try:
        waiting = [asyncio.create_task(workers.run(slow)) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(RenderBusy):
            await workers.run(slow)
        turns = [asyncio.create_task(workers.turn(slow)) for _ in range(6)]
        await asyncio.sleep(0)
        assert not any(task.done() for task in turns)
        gate.set()
        async with asyncio.timeout(20):
            await asyncio.gather(*waiting, *turns)
        assert len(running) == 9
    finally:
        gate.set()
        workers.close()


async def test_another_window_of_a_compressed_frame_is_drawn_without_reading_or_decoding_it_again(
    shared_data: Path,
) -> None:
    [file] = (shared_data / "transfer_syntaxes").glob("CTImage*4.90.dcm")
    reader, workers = _OneFile(file.read_bytes()), Workers(2, 8)
    pictures = Pictures(reader, workers, 1 << 20, 16 << 20)
    place, index = await reader.frame_index("demo", Scope())
    assert index is not None
    try:
        drawn = [await pictures.picture(place, index, 0, Wish(window=(40, width))) for width in (400, 800, 400)]
        assert len(reader.asked) == 1
        assert drawn[0] == drawn[2] != drawn[1]
        forgetful = Pictures(reader, workers, 0, 0)
        assert await forgetful.picture(place, index, 0, Wish(window=(40, 800))) == drawn[1]
    finally:
        workers.close()


def test_a_cache_holds_no_more_bytes_than_it_may() -> None:
    cache: ByteCache[int, bytes] = ByteCache(80, len)
    for number in range(20):
        cache.put(number, bytes(10))
        assert cache.get(0) is not None or number > 0
        assert cache.held_bytes <= 80
    assert [number for number in range(20) if cache.get(number) is not None] == [0, *range(13, 20)]
    cache.put(30, bytes(11))  # more than an eighth
    cache.put(19, bytes(5))
    assert cache.get(30) is None
    assert cache.held_bytes == 75
