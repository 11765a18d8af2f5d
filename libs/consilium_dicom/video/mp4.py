"""MP4: the video track's parameter sets, sample count, rate and entry points (ISO/IEC 14496-12 8, 14496-15 5.3, 8.3)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from consilium_dicom.video import h264, hevc
from consilium_dicom.video.bits import VideoUnreadable
from consilium_dicom.video.source import VideoBytes
from consilium_dicom.video.stream import Picture, VideoStream

_MOST_MOOV, _MOST_BOXES, _MOST_SAMPLES, _MOST_ENTRIES = 64 << 20, 1000, 2_000_000, 2_000
_UNIT_HEAD = 64
Ints = NDArray[np.int64]


def read_mp4(source: VideoBytes) -> VideoStream:
    """Return the first video track; raise VideoUnreadable. A fragmented file's samples are not counted."""
    moov = _moov(source)
    for kind, track in _boxes(moov):
        if kind != b"trak":
            continue
        media = dict(_boxes(dict(_boxes(track)).get(b"mdia", b"")))
        if media.get(b"hdlr", b"")[8:12] == b"vide":
            return _track(source, media, fragmented=b"mvex" in dict(_boxes(moov)))
    raise VideoUnreadable("the MP4 file holds no video track")


def _moov(source: VideoBytes) -> bytes:
    at = 0
    for _ in range(_MOST_BOXES):
        head = source.read(at, 16)
        if len(head) < 8:
            break
        size, kind = struct.unpack(">I4s", head[:8])
        skip = 8
        if size == 1 and len(head) == 16:
            size, skip = struct.unpack(">Q", head[8:])[0], 16
        if size == 0:
            size = source.size - at
        if size < skip:
            break
        if kind == b"moov":
            if size > _MOST_MOOV:
                raise VideoUnreadable("the MP4 file's index is larger than any video needs")
            return source.read(at + skip, size - skip)
        at += size
    raise VideoUnreadable("the MP4 file has no index (moov)")


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    for _ in range(_MOST_BOXES):
        if at + 8 > len(data):
            return
        size, kind = struct.unpack_from(">I4s", data, at)
        if size < 8 or at + size > len(data):
            return
        yield kind, data[at + 8 : at + size]
        at += size


def _track(source: VideoBytes, media: dict[bytes, bytes], *, fragmented: bool) -> VideoStream:
    table = dict(_boxes(dict(_boxes(media.get(b"minf", b""))).get(b"stbl", b"")))
    picture, length_bytes = _description(table.get(b"stsd", b""))
    sizes = _sizes(table.get(b"stsz", b""))
    if not len(sizes):
        if fragmented:
            return VideoStream("MP4", picture, None, picture.fps, True, 0)
        raise VideoUnreadable("the MP4 file's video has no samples")
    offsets = _offsets(table, sizes)
    if offsets[-1] + sizes[-1] > source.size:
        raise VideoUnreadable("the MP4 file ends before its last sample")
    kinds = [_entry_kind(source, picture, int(offsets[n]), int(sizes[n]), length_bytes) for n in _entries(table, sizes)]
    fps = _rate(media.get(b"mdhd", b""), table.get(b"stts", b"")) or picture.fps
    return VideoStream("MP4", picture, len(sizes), fps, kinds[0] == h264.IDR, sum(kind == 1 for kind in kinds[1:]))


def _description(stsd: bytes) -> tuple[Picture, int]:
    """Return what the first sample entry's configuration says, and the bytes of a NAL unit's length."""
    for kind, entry in _boxes(stsd[8:]):
        inside = dict(_boxes(entry[78:]))
        if kind in {b"avc1", b"avc3"} and len(inside.get(b"avcC", b"")) > 8:
            record = inside[b"avcC"]
            size = struct.unpack_from(">H", record, 6)[0]
            return h264.sequence(record[8 : 8 + size]), (record[4] & 3) + 1
        if kind in {b"hvc1", b"hev1"} and len(inside.get(b"hvcC", b"")) > 23:
            return _hevc_record(inside[b"hvcC"])
    raise VideoUnreadable("the MP4 file's video is neither H.264 nor HEVC")


def _hevc_record(record: bytes) -> tuple[Picture, int]:
    at = 23
    for _ in range(record[22]):
        kind, count = record[at] & 63, struct.unpack_from(">H", record, at + 1)[0]
        at += 3
        for _ in range(count):
            size = struct.unpack_from(">H", record, at)[0]
            if kind == hevc.SPS:
                return hevc.sequence(record[at + 2 : at + 2 + size]), (record[21] & 3) + 1
            at += 2 + size
    raise VideoUnreadable("the MP4 file's HEVC configuration holds no parameter set")


def _numbers(data: bytes, at: int, count: int, kind: str) -> Ints:
    width = np.dtype(kind).itemsize
    if count > _MOST_SAMPLES or at + count * width > len(data):
        raise VideoUnreadable("a table of the MP4 file runs past its end")
    return np.frombuffer(data, kind, count, at).astype(np.int64)


def _sizes(stsz: bytes) -> Ints:
    if len(stsz) < 12:
        return np.zeros(0, np.int64)
    same, count = struct.unpack_from(">II", stsz, 4)
    if not same:
        return _numbers(stsz, 12, count, ">u4")
    if count > _MOST_SAMPLES:
        raise VideoUnreadable("a table of the MP4 file runs past its end")
    return np.full(count, same, np.int64)


def _offsets(table: dict[bytes, bytes], sizes: Ints) -> Ints:
    """Return where each sample lies: its chunk's place and the samples before it there."""
    wide = b"co64" in table
    places = table.get(b"co64", table.get(b"stco", b""))
    if len(places) < 8:
        raise VideoUnreadable("the MP4 file does not say where its samples lie")
    chunks = _numbers(places, 8, struct.unpack_from(">I", places, 4)[0], ">u8" if wide else ">u4")
    runs_data = table.get(b"stsc", b"")
    runs = _numbers(runs_data, 8, 3 * struct.unpack_from(">I", runs_data, 4)[0] if len(runs_data) >= 8 else 0, ">u4")
    first, per = runs[0::3] - 1, runs[1::3]
    lengths = np.diff(np.append(first, len(chunks)))
    if not len(first) or (lengths < 0).any() or (per <= 0).any() or int((lengths * per).sum()) > 2 * _MOST_SAMPLES:
        raise VideoUnreadable("the MP4 file's table of chunks is broken")
    of_sample = np.repeat(np.arange(len(chunks)), np.repeat(per, lengths))[: len(sizes)]
    if len(of_sample) != len(sizes):
        raise VideoUnreadable("the MP4 file's table of chunks is broken")
    before = np.cumsum(sizes) - sizes
    begins = np.concatenate([[True], of_sample[1:] != of_sample[:-1]])
    base = np.maximum.accumulate(np.where(begins, before, 0))
    return chunks[of_sample] + before - base


def _entries(table: dict[bytes, bytes], sizes: Ints) -> list[int]:
    """Return the first sample and those that can be entered at, as numbers from 0."""
    stss = table.get(b"stss", b"")
    if len(stss) < 8:
        return [0]
    named = _numbers(stss, 8, struct.unpack_from(">I", stss, 4)[0], ">u4") - 1
    inside = named[(named > 0) & (named < len(sizes))][:_MOST_ENTRIES]
    return [0, *inside.tolist()]


def _entry_kind(source: VideoBytes, picture: Picture, at: int, size: int, length_bytes: int) -> int:
    """Return the type of a sample's first slice: 5 IDR, 1 not (``h264``'s numbers for both codecs)."""
    units, end = [], at + size
    for _ in range(64):
        head = source.read(at, length_bytes + _UNIT_HEAD)
        if at >= end or len(head) <= length_bytes:
            break
        units.append(head[length_bytes:])
        at += length_bytes + int.from_bytes(head[:length_bytes], "big")
    return h264.first_picture(units) if picture.codec == "H.264" else hevc.first_picture(units)


def _rate(mdhd: bytes, stts: bytes) -> float | None:
    """Return frames per second, averaged over the track."""
    if len(mdhd) < 24 or len(stts) < 8:
        return None
    scale = struct.unpack_from(">I", mdhd, 20 if mdhd[0] == 1 else 12)[0]
    pairs = _numbers(stts, 8, 2 * struct.unpack_from(">I", stts, 4)[0], ">u4")
    duration = int((pairs[0::2] * pairs[1::2]).sum())
    return int(pairs[0::2].sum()) * scale / duration if duration else None
