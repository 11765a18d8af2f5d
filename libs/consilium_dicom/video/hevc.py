"""HEVC parameter sets and entry points (ITU-T H.265 7.3.2.2, 7.3.3, 7.4.2.2)."""

from __future__ import annotations

from collections.abc import Iterable

from consilium_dicom.video.bits import Bits, VideoUnreadable, payload
from consilium_dicom.video.stream import Picture

SPS, AUD = 33, 35
_IDR, _CRA = frozenset({19, 20}), 21
_LARGEST = 16_384


def kind(unit: bytes) -> int:
    """Return a NAL unit's type."""
    return unit[0] >> 1 & 63


def sequence(unit: bytes) -> Picture:
    """Return what a sequence parameter set (with its NAL header) says; the rate is left to the container."""
    bits = Bits(payload(unit[:1024])[2:])
    bits.u(4)
    layers = bits.u(3)
    bits.flag()
    bits.u(2)
    tier, profile = bits.u(1), bits.u(5)
    bits.u(32)
    progressive = bits.flag()
    interlaced = bits.flag()
    bits.u(46)
    level = bits.u(8)
    present = [(bits.flag(), bits.flag()) for _ in range(layers)]
    if layers:
        bits.u(2 * (8 - layers))
    for with_profile, with_level in present:
        bits.u(88 * with_profile + 8 * with_level)
    bits.ue()
    chroma = bits.ue()
    if chroma == 3:
        bits.flag()
    width, height = bits.ue(), bits.ue()
    if bits.flag():
        across, down = (2 if chroma in {1, 2} else 1), (2 if chroma == 1 else 1)
        left, right, top, bottom = bits.ue(), bits.ue(), bits.ue(), bits.ue()
        width, height = width - across * (left + right), height - down * (top + bottom)
    if not (0 < width <= _LARGEST and 0 < height <= _LARGEST):
        raise VideoUnreadable(f"a stream of {width}x{height}")
    return Picture(
        "HEVC", profile, level // 3, width, height, None, 0, tier, chroma, 8 + bits.ue(), interlaced and not progressive
    )


def begins_picture(unit: bytes) -> bool:
    """Tell whether a NAL unit is the first slice segment of a picture."""
    return len(unit) > 2 and kind(unit) < 32 and bool(unit[2] & 0x80)


def first_picture(units: Iterable[bytes]) -> int:
    """Return 5 when the first coded slice is an IDR picture, 1 when it is a CRA (an open entry), 0 for any other."""
    for unit in units:
        if unit and kind(unit) < 32:
            return 5 if kind(unit) in _IDR else 1 if kind(unit) == _CRA else 0
    return 0
