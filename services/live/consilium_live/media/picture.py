"""The size of an encoded picture, read from its headers without decoding (ITU-T H.264 7.3.2.1.1, RFC 6386 9.1). Pure.

Coordinates of strokes are pixels of a picture (RS-20), and two encodes of one picture differ in size: each must say its own.
"""

from __future__ import annotations

from consilium_core.frame_ref import unescape
from consilium_live.media.rtp import vp8_frame_at

Size = tuple[int, int]  # width and height in pixels

MAX_SIDE = 16384
_HIGH = frozenset(
    {100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135}
)  # profiles that tell their chroma format
_MAX_GOLOMB_BITS = 32
_MAX_POC_CYCLE = 255  # 7.4.2.1.1


class _Bits:
    """Reads an RBSP bit by bit; raises IndexError past its end and ValueError for codes that cannot be."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int) -> int:
        value = 0
        for _ in range(count):
            value = value << 1 | self._data[self._at >> 3] >> (7 - (self._at & 7)) & 1
            self._at += 1
        return value

    def ue(self) -> int:
        """Return an unsigned Exp-Golomb code (9.1)."""
        zeros = 0
        while not self.take(1):
            zeros += 1
            if zeros > _MAX_GOLOMB_BITS:
                raise ValueError("no Exp-Golomb code is so long")
        return (1 << zeros) - 1 + self.take(zeros)

    def se(self) -> int:
        """Return a signed Exp-Golomb code (9.1.1)."""
        code = self.ue()
        return (code + 1) // 2 if code & 1 else -(code // 2)


def h264_size(sps: bytes) -> Size | None:
    """Return the cropped picture size of a sequence parameter set (a NAL unit without start code), None if it has none."""
    if len(sps) < 4 or sps[0] & 31 != 7:
        return None
    try:
        return _checked(*_sps_size(_Bits(unescape(sps[1:]))))
    except (IndexError, ValueError):
        return None


def _sps_size(bits: _Bits) -> Size:
    profile = bits.take(8)
    bits.take(16)
    bits.ue()
    chroma = _chroma_format(bits) if profile in _HIGH else 1
    bits.ue()
    _skip_picture_order(bits)
    bits.ue()
    bits.take(1)
    columns, rows = bits.ue() + 1, bits.ue() + 1
    fields = 1 if bits.take(1) else 2  # frame_mbs_only_flag: else map units are field rows
    if fields == 2:
        bits.take(1)
    bits.take(1)
    left = right = top = bottom = 0
    if bits.take(1):
        left, right, top, bottom = (bits.ue() for _ in range(4))
    across, down = {1: (2, 2), 2: (2, 1)}.get(chroma, (1, 1))  # table 6-1
    return columns * 16 - (left + right) * across, rows * 16 * fields - (top + bottom) * down * fields


def _chroma_format(bits: _Bits) -> int:
    """Return chroma_format_idc (0 for planes that are coded apart) and skip to log2_max_frame_num."""
    chroma = bits.ue()
    apart = chroma == 3 and bits.take(1) == 1
    bits.ue()
    bits.ue()
    bits.take(1)
    if bits.take(1):
        for number in range(12 if chroma == 3 else 8):
            if bits.take(1):
                _skip_scaling_list(bits, 16 if number < 6 else 64)
    return 0 if apart else chroma


def _skip_scaling_list(bits: _Bits, length: int) -> None:
    last = following = 8
    for _ in range(length):
        if following:
            following = (last + bits.se()) % 256
        last = following or last


def _skip_picture_order(bits: _Bits) -> None:
    kind = bits.ue()
    if kind == 0:
        bits.ue()
    elif kind == 1:
        bits.take(1)
        bits.se()
        bits.se()
        cycle = bits.ue()
        if cycle > _MAX_POC_CYCLE:
            raise ValueError("the picture order cycle is too long")
        for _ in range(cycle):
            bits.se()


def vp8_size(payload: bytes) -> Size | None:
    """Return the size that the first packet of a VP8 key frame tells (an RTP payload, RFC 7741 4.3), None for others."""
    at = vp8_frame_at(payload)
    if at is None or payload[at] & 1 or payload[at + 3 : at + 6] != b"\x9d\x01\x2a" or len(payload) < at + 10:
        return None
    width, height = (int.from_bytes(payload[n : n + 2], "little") & 0x3FFF for n in (at + 6, at + 8))
    return _checked(width, height)


def _checked(width: int, height: int) -> Size | None:
    return (width, height) if 0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE else None
