"""Put a bare H.264 stream into an MP4 as it is, nothing encoded anew (ISO/IEC 14496-12 8, 14496-15 5).

PS3.5 8.2.7 asks for a container. Flows in: a byte stream and its rate; flows out: an MP4 file with one video track whose
index stands before the samples, so that a player can begin with the first bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction

from consilium_dicom.video import h264
from consilium_dicom.video.annexb import PPS, AccessUnit, access_units
from consilium_dicom.video.bits import Bits, VideoUnreadable, payload
from consilium_dicom.video.stream import Picture

_MATRIX = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
_MOST_BYTES = 0xF0000000
_WITH_CHROMA_RECORD = frozenset({100, 110, 122, 144})


def mp4_of(stream: bytes, fps: float) -> bytes:
    """Return the MP4; raises ``VideoUnreadable`` for a stream that has no place in one (``annexb.access_units``)."""
    pictures = access_units(stream)
    units = [unit for one in pictures for unit in one.units]
    sps = [unit for unit in units if unit[0] & 31 == h264.SPS]
    pps = [unit for unit in units if unit[0] & 31 == PPS]
    if not sps or not pps:
        raise VideoUnreadable("the H.264 stream holds no parameter sets")
    picture = h264.sequence(sps[0])
    if picture.interlaced:
        raise VideoUnreadable("a bare stream that may hold fields does not say when to show them: give it in an MP4")
    sets = [*dict.fromkeys(sps), *dict.fromkeys(pps)]
    steady = len(set(sps)) == 1 and len({_pps_id(one) for one in pps}) == len(set(pps))
    samples = [_sample(one, sets if steady else []) for one in pictures]
    entry = _entry(picture, [unit for unit in sets if unit[0] & 31 == h264.SPS], [*dict.fromkeys(pps)], steady=steady)
    return _file(picture, entry, samples, pictures, fps)


def _pps_id(unit: bytes) -> int:
    return Bits(payload(unit[:64])[1:]).ue()


def _sample(one: AccessUnit, said: Sequence[bytes]) -> bytes:
    """Return a picture's units, each with its length; parameter sets that the sample entry holds are not said again."""
    return b"".join(struct.pack(">I", len(unit)) + unit for unit in one.units if unit not in said)


def _box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I4s", len(body) + 8, kind) + body


def _full(kind: bytes, version_flags: int, *parts: bytes) -> bytes:
    return _box(kind, struct.pack(">I", version_flags), *parts)


def _entry(picture: Picture, sps: Sequence[bytes], pps: Sequence[bytes], *, steady: bool) -> bytes:
    """Return the sample entry with its decoder configuration (14496-15 5.3.3.1)."""
    record = bytes((1, sps[0][1], sps[0][2], sps[0][3], 0xFF, 0xE0 | len(sps[:31])))
    record += b"".join(struct.pack(">H", len(unit)) + unit for unit in sps[:31])
    record += bytes((len(pps[:255]),)) + b"".join(struct.pack(">H", len(unit)) + unit for unit in pps[:255])
    if picture.profile in _WITH_CHROMA_RECORD:
        record += bytes((0xFC | picture.chroma, 0xF8 | (picture.bit_depth - 8), 0xF8 | (picture.bit_depth - 8), 0))
    fixed = struct.pack(">6xH16xHHIII H32xHh", 1, picture.width, picture.height, 0x480000, 0x480000, 0, 1, 24, -1)
    return _box(b"avc1" if steady else b"avc3", fixed, _box(b"avcC", record))


def _file(
    picture: Picture, entry: bytes, samples: Sequence[bytes], pictures: Sequence[AccessUnit], fps: float
) -> bytes:
    count, total = len(samples), sum(map(len, samples))
    if total > _MOST_BYTES:
        raise VideoUnreadable("the stream is too long for one object: make shorter clips")
    rate = Fraction(fps).limit_denominator(1001)
    scale, step = rate.numerator, rate.denominator
    duration, milliseconds = count * step, round(count * step / scale * 1000)
    ftyp = _box(b"ftyp", b"isom", struct.pack(">I", 0x200), b"isomiso2avc1mp41")
    entries = [number for number, one in enumerate(pictures, start=1) if one.is_idr]

    def moov(offset: int) -> bytes:
        table = _box(
            b"stbl",
            _full(b"stsd", 0, struct.pack(">I", 1), entry),
            _full(b"stts", 0, struct.pack(">III", 1, count, step)),
            _full(b"stss", 0, struct.pack(f">I{len(entries)}I", len(entries), *entries)),
            _full(b"stsc", 0, struct.pack(">IIII", 1, 1, count, 1)),
            _full(b"stsz", 0, struct.pack(f">II{count}I", 0, count, *map(len, samples))),
            _full(b"stco", 0, struct.pack(">II", 1, offset)),
        )
        handler = _full(b"hdlr", 0, struct.pack(">I4s12x", 0, b"vide"), b"video\0")
        dinf = _box(b"dinf", _full(b"dref", 0, struct.pack(">I", 1), _full(b"url ", 1)))
        minf = _box(b"minf", _full(b"vmhd", 1, bytes(8)), dinf, table)
        mdhd = _full(b"mdhd", 0, struct.pack(">IIIIHH", 0, 0, scale, duration, 0x55C4, 0))
        size = struct.pack(">II", picture.width << 16, picture.height << 16)
        tkhd = _full(b"tkhd", 3, struct.pack(">IIIII8xhhhH", 0, 0, 1, 0, milliseconds, 0, 0, 0, 0), _MATRIX, size)
        head = struct.pack(">IIIIIH10x", 0, 0, 1000, milliseconds, 0x10000, 0x100)
        mvhd = _full(b"mvhd", 0, head, _MATRIX, bytes(24), struct.pack(">I", 2))
        return _box(b"moov", mvhd, _box(b"trak", tkhd, _box(b"mdia", mdhd, handler, minf)))

    offset = len(ftyp) + len(moov(0)) + 8
    return b"".join((ftyp, moov(offset), struct.pack(">I4s", total + 8, b"mdat"), *samples))
