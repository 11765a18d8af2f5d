"""H.264 parameter sets and pictures (ITU-T H.264 7.3.2.1, 7.3.3, E.1)."""

from __future__ import annotations

from collections.abc import Iterable

from consilium_dicom.video.bits import Bits, VideoUnreadable, payload
from consilium_dicom.video.stream import Picture

IDR, NON_IDR, SEI, SPS = 5, 1, 6, 7
_WITH_CHROMA = frozenset({44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244})
_LARGEST = 16_384


def sequence(unit: bytes) -> Picture:
    """Return what a sequence parameter set (with its NAL header) says."""
    bits = Bits(payload(unit[:1024])[1:])
    profile, constraints, level = bits.u(8), bits.u(8), bits.u(8)
    bits.ue()
    chroma, depth = 1, 8
    if profile in _WITH_CHROMA:
        chroma, depth = _chroma(bits)
    frame_number_bits = bits.ue() + 4
    order = bits.ue()
    if order == 0:
        bits.ue()
    elif order == 1:
        bits.flag()
        bits.se()
        bits.se()
        for _ in range(min(bits.ue(), 255)):
            bits.se()
    bits.ue()
    bits.flag()
    width, units = (bits.ue() + 1) * 16, bits.ue() + 1
    frames_only = bits.flag()
    if not frames_only:
        bits.flag()
    bits.flag()
    height = units * 16 * (1 if frames_only else 2)
    if bits.flag():
        across, down = (2 if chroma in {1, 2} else 1), (2 if chroma == 1 else 1) * (1 if frames_only else 2)
        left, right, top, bottom = bits.ue(), bits.ue(), bits.ue(), bits.ue()
        width, height = width - across * (left + right), height - down * (top + bottom)
    if not (0 < width <= _LARGEST and 0 < height <= _LARGEST):
        raise VideoUnreadable(f"a stream of {width}x{height}")
    square, fps = _usability(bits) if bits.flag() else (True, None)
    return Picture(
        "H.264", profile, level, width, height, fps, constraints, 0, chroma, depth, not frames_only, square,
        frame_number_bits,
    )  # fmt: skip


def _chroma(bits: Bits) -> tuple[int, int]:
    chroma = bits.ue()
    if chroma == 3:
        bits.flag()
    depth = 8 + bits.ue()
    bits.ue()
    bits.flag()
    if bits.flag():
        for number in range(8 if chroma != 3 else 12):
            if bits.flag():
                _scaling(bits, 16 if number < 6 else 64)
    return chroma, depth


def _scaling(bits: Bits, size: int) -> None:
    last = 8
    for _ in range(size):
        step = (last + bits.se() + 256) % 256
        if step == 0:
            return
        last = step


def _usability(bits: Bits) -> tuple[bool, float | None]:
    """Return whether samples are square (or nothing is said), and the frame rate."""
    square = True
    if bits.flag():
        ratio = bits.u(8)
        square = ratio in {0, 1} or (ratio == 255 and bits.u(16) == bits.u(16))
    if bits.flag():
        bits.flag()
    if bits.flag():
        bits.u(4)
        if bits.flag():
            bits.u(24)
    if bits.flag():
        bits.ue()
        bits.ue()
    if not bits.flag():
        return square, None
    ticks, scale = bits.u(32), bits.u(32)
    return square, scale / (2 * ticks) if ticks else None


def begins_picture(unit: bytes, picture: Picture) -> float:
    """Return 1 for a slice that begins a frame, 0.5 for one that begins a field, 0 for any other NAL unit."""
    if unit[0] & 31 not in {IDR, NON_IDR} or len(unit) < 2 or not unit[1] & 0x80:
        return 0
    if not picture.interlaced:
        return 1
    bits = Bits(payload(unit)[1:])
    bits.ue()
    bits.ue()
    bits.ue()
    bits.u(picture.frame_number_bits)
    return 0.5 if bits.flag() else 1


def is_recovery_point(unit: bytes) -> bool:
    """Tell whether an SEI unit begins with a recovery point message: an entry that is no IDR picture (D.1.8)."""
    return len(unit) > 1 and unit[0] & 31 == SEI and unit[1] == 6


def first_picture(units: Iterable[bytes]) -> int:
    """Return the type of the first coded slice, 0 without one."""
    return next((unit[0] & 31 for unit in units if unit and unit[0] & 31 in {IDR, NON_IDR}), 0)
