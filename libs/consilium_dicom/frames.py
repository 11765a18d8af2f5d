"""Where each frame lies in a file, so that a reader can fetch one frame without the rest (PS3.5 8.2, A.4).

Flows in: bytes and ``Header``; flows out: ``FrameIndex``, small enough to store beside the object as JSON. Encapsulated
frames are found by Extended Offset Table, Basic Offset Table, one fragment per frame, or code stream starts, in that order.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from consilium_dicom.errors import DicomInvalid, DicomUnreadable, TooLarge
from consilium_dicom.header import Header
from consilium_dicom.scan import UNDEFINED, Buffer, inflate
from consilium_dicom.uids import transfer_syntax

MAX_FRAGMENTS = 300_000  # some 1.5 µs each
MAX_FRAMES = 1_000_000
Segment = tuple[int, int]
"""Offset in the file and length in bytes."""

_ITEM = struct.Struct("<HHI")
_STARTS = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\xff\x0a", b"\x00\x00\x00\x0cJXL ", b"\x00\x00\x00\x0cjP  ")


@dataclass(frozen=True, slots=True)
class FrameIndex:
    """Every frame's place.

    Native: frame n (from 0) is ``frame_bits`` long and begins ``n * frame_bits`` after ``first``; 1 bit frames need not
    begin at a byte. Encapsulated: ``segments[n]`` are the fragments' values to join. ``inflated``: offsets count in
    the file with its data set inflated (``plain_buffer``), so ranges of the stored file cannot be used.
    """

    transfer_syntax_uid: str
    count: int
    first: int = 0
    frame_bits: int = 0
    segments: tuple[tuple[Segment, ...], ...] = ()
    inflated: bool = False

    @property
    def encapsulated(self) -> bool:
        """Tell whether the frames are code streams."""
        return bool(self.segments)

    def ranges(self, frame: int) -> tuple[Segment, ...]:
        """Return which (offset, length) of the file hold frame ``frame``, counted from 0."""
        if not 0 <= frame < self.count:
            raise DicomInvalid(f"frame {frame + 1} of {self.count}", frame=frame + 1, frames=self.count)
        if self.segments:
            return self.segments[frame]
        start, stop = frame * self.frame_bits, (frame + 1) * self.frame_bits
        return ((self.first + start // 8, (stop + 7) // 8 - start // 8),)

    def span(self, frame: int) -> Segment:
        """Return the (offset, length) of the one stretch of the file that holds all of frame ``frame``."""
        wanted = self.ranges(frame)
        start = wanted[0][0]
        return start, max(offset + length for offset, length in wanted) - start

    def cut(self, frame: int, span: bytes) -> bytes:
        """Return the frame's bytes from its ``span``."""
        wanted = self.ranges(frame)
        if len(wanted) == 1 and self.segments:
            return span
        start = wanted[0][0]
        return self.join(frame, [span[at - start : at - start + length] for at, length in wanted])

    def join(self, frame: int, parts: Sequence[Buffer]) -> bytes:
        """Return the frame's bytes from what ``ranges`` named; re-aligns 1 bit frames that begin inside a byte."""
        whole = bytes(parts[0]) if len(parts) == 1 else b"".join(parts)
        shift = 0 if self.segments else frame * self.frame_bits % 8
        if not shift and self.frame_bits % 8 == 0:
            return whole
        bits = int.from_bytes(whole, "little") >> shift & ((1 << self.frame_bits) - 1)
        return bits.to_bytes((self.frame_bits + 7) // 8, "little")

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object; encapsulated frames of one fragment are written flat."""
        body: dict[str, Any] = {"ts": self.transfer_syntax_uid, "n": self.count}
        if self.segments:
            body["seg"] = [[number for pair in frame for number in pair] for frame in self.segments]
        else:
            body |= {"first": self.first, "bits": self.frame_bits}
        return body | ({"inflated": True} if self.inflated else {})

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> FrameIndex:
        """Return the index that ``to_json`` wrote."""
        segments = tuple(tuple(zip(flat[::2], flat[1::2], strict=True)) for flat in body.get("seg", ()))
        return cls(
            transfer_syntax_uid=body["ts"],
            count=body["n"],
            first=body.get("first", 0),
            frame_bits=body.get("bits", 0),
            segments=segments,
            inflated=body.get("inflated", False),
        )


@dataclass(frozen=True, slots=True)
class Fragments:
    """The encapsulated pixel data as it lies in the file: the table's offsets and every fragment's value."""

    basic_offsets: tuple[int, ...]
    first_item: int
    segments: tuple[Segment, ...]
    terminated: bool
    end: int


def frame_bits(header: Header) -> int:
    """Return the length in bits of one native frame (PS3.5 8.1.1; YBR_FULL_422 holds two samples per pixel)."""
    rows, columns, allocated = header.rows, header.columns, header.bits_allocated
    samples = header.samples_per_pixel or 1
    if not rows or not columns or not allocated:
        raise DicomInvalid("rows, columns or bits allocated are missing")
    if header.photometric in {"YBR_FULL_422", "YBR_PARTIAL_422"} and samples == 3 and not header.encapsulated:
        samples = 2
    return rows * columns * samples * allocated


def plain_buffer(data: Buffer, header: Header) -> Buffer:
    """Return the buffer that offsets refer to: the file, or for a deflated file its meta part and inflated data set."""
    if not header.inflated:
        return data
    return inflate(data, header.dataset_offset)


def walk_fragments(buffer: Buffer, offset: int, *, little: bool = True) -> Fragments:
    """Return the fragments that begin at the pixel data's value ``offset`` (PS3.5 table A.4-1)."""
    item = _ITEM if little else struct.Struct(">HHI")
    size, at = len(buffer), offset
    segments: list[Segment] = []
    terminated = False
    while at + 8 <= size:
        group, number, length = item.unpack_from(buffer, at)
        at += 8
        if (group, number) == (0xFFFE, 0xE0DD):
            terminated = True
            break
        if (group, number) != (0xFFFE, 0xE000) or length == UNDEFINED:
            raise DicomUnreadable(f"the pixel data's fragments are broken at byte {at - 8}")
        segments.append((at, length))
        if len(segments) > MAX_FRAGMENTS:
            raise TooLarge(f"more than {MAX_FRAGMENTS} fragments")
        at += length
        if at > size:
            break
    if not segments:
        raise DicomUnreadable("encapsulated pixel data has not even an offset table")
    table_at, table_length = segments[0]
    count = min(table_length, max(size - table_at, 0)) // 4
    if count > MAX_FRAGMENTS:
        raise TooLarge(f"an offset table of {count} entries")
    offsets = struct.unpack_from(f"<{count}I", buffer, table_at) if count else ()
    first_item = table_at + table_length
    return Fragments(offsets, first_item, tuple(segments[1:]), terminated, at)


def index_frames(data: Buffer, header: Header) -> FrameIndex:
    """Return where every frame lies; raise ``DicomInvalid`` when that cannot be told.

    A video is one stream and counts as one frame. Looks at item heads only: a clip of 600 frames costs under a millisecond.
    """
    if not header.has_pixels:
        raise DicomInvalid("the instance has no pixel data")
    if not header.encapsulated:
        count, bits = _count(header), frame_bits(header)
        if count == 1 and bits % 16 == 8 and header.pixel_vr == "OW" and not header.little_endian:
            bits += 8  # bytes lie swapped in 16 bit words: the padding is part of the last word
        return FrameIndex(header.transfer_syntax_uid, count, header.pixel_offset, bits, (), header.inflated)
    buffer = plain_buffer(data, header)
    return index_in(buffer, header, walk_fragments(buffer, header.pixel_offset, little=header.little_endian))


def _count(header: Header) -> int:
    if not 1 <= header.frames <= MAX_FRAMES:
        raise TooLarge(f"{header.frames} frames")
    return header.frames


def index_in(buffer: Buffer, header: Header, fragments: Fragments) -> FrameIndex:
    """Return the index of encapsulated frames whose fragments are known already."""
    known = transfer_syntax(header.transfer_syntax_uid)
    if known is not None and known.codec == "video":
        return FrameIndex(header.transfer_syntax_uid, 1, 0, 0, (fragments.segments,), header.inflated)
    grouped = group_fragments(buffer, fragments, _count(header), _extended_offsets(buffer, header))
    return FrameIndex(header.transfer_syntax_uid, len(grouped), 0, 0, grouped, header.inflated)


def table_fits(fragments: Fragments, count: int) -> bool:
    """Tell whether the Basic Offset Table names the beginnings of ``count`` frames."""
    return _by_offsets(fragments, fragments.basic_offsets, count) is not None


def _extended_offsets(buffer: Buffer, header: Header) -> tuple[int, ...]:
    """Return the Extended Offset Table's offsets (PS3.3 C.7.6.3.1.8), empty when there is none."""
    place = header.extended_offsets
    if place is None or place[0] + place[1] > len(buffer):
        return ()
    if place[1] // 8 > MAX_FRAGMENTS:
        raise TooLarge(f"an offset table of {place[1] // 8} entries")
    return struct.unpack_from(f"<{place[1] // 8}Q", buffer, place[0])


def group_fragments(
    buffer: Buffer, fragments: Fragments, count: int, extended: tuple[int, ...] = ()
) -> tuple[tuple[Segment, ...], ...]:
    """Return each frame's fragments; raise ``DicomInvalid`` when fragments and frames cannot be matched."""
    segments = fragments.segments
    for offsets in (extended, fragments.basic_offsets):
        grouped = _by_offsets(fragments, offsets, count)
        if grouped is not None:
            return grouped
    if not segments:
        raise DicomInvalid("encapsulated pixel data without a fragment", frames=count)
    if count == 1:
        return (segments,)
    if len(segments) == count:
        return tuple((segment,) for segment in segments)
    starts = [i for i, (at, _) in enumerate(segments) if bytes(buffer[at : at + 12]).startswith(_STARTS)]
    if len(starts) == count and starts[0] == 0:
        return tuple(segments[a:b] for a, b in zip(starts, [*starts[1:], len(segments)], strict=True))
    raise DicomInvalid(
        f"{len(segments)} fragments for {count} frames and no usable offset table",
        fragments=len(segments),
        frames=count,
    )


def _by_offsets(fragments: Fragments, offsets: tuple[int, ...], count: int) -> tuple[tuple[Segment, ...], ...] | None:
    """Return the frames that an offset table describes, None when it does not fit the fragments."""
    if len(offsets) != count or not fragments.segments:
        return None
    by_offset = {at - 8 - fragments.first_item: i for i, (at, _) in enumerate(fragments.segments)}
    starts = [by_offset.get(offset, -1) for offset in offsets]
    if starts[0] != 0 or any(b <= a for a, b in itertools.pairwise(starts)):
        return None
    stops = [*starts[1:], len(fragments.segments)]
    return tuple(fragments.segments[a:b] for a, b in zip(starts, stops, strict=True))


def frame_bytes(data: Buffer, index: FrameIndex, frame: int, header: Header | None = None) -> bytes:
    """Return frame ``frame`` (from 0) as it is stored: a code stream, or native samples in the file's byte order.

    ``header`` is needed only for a deflated file. Raises ``DicomInvalid`` if the frame lies outside the file.
    """
    if index.inflated:
        if header is None:
            raise DicomInvalid("a deflated file's frames need its header")
        data = plain_buffer(data, header)
    return frame_in(data, index, frame)


def frame_in(buffer: Buffer, index: FrameIndex, frame: int) -> bytes:
    """Return frame ``frame`` from the buffer that the index's offsets count in (``plain_buffer``)."""
    parts: list[Buffer] = []
    for offset, length in index.ranges(frame):
        if offset + length > len(buffer):
            raise DicomInvalid(f"frame {frame + 1} runs past the end of the file", frame=frame + 1)
        parts.append(memoryview(buffer)[offset : offset + length])
    return index.join(frame, parts)
