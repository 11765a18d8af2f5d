"""Values of stored objects that are read in parts: where they lie together, and where they were cut into fragments (PS3.5 A.4)."""

from __future__ import annotations

from dataclasses import dataclass

from consilium_archive.reader import ArchiveReader, Place
from consilium_imaging.byte_ranges import ReadRange


@dataclass(frozen=True, slots=True)
class Value:
    """A value's length and how parts of it are read."""

    size_bytes: int
    read: ReadRange


def joined(reader: ArchiveReader, place: Place, segments: list[tuple[int, int]]) -> Value:
    """Return fragments as one value: a code stream or a video as it was before it was cut (A.4)."""

    async def read(start: int, length: int) -> bytes:
        out, skipped = [], 0
        for offset, size in segments:
            first, last = max(start - skipped, 0), min(start + length - skipped, size)
            if first < last:
                out.append(await reader.original_range(place, offset + first, last - first))
            skipped += size
            if skipped >= start + length:
                break
        return out[0] if len(out) == 1 else b"".join(out)

    return Value(sum(size for _, size in segments), read)
