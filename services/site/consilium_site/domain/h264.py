"""H.264 as bytes and numbers: level limits (ITU-T H.264 table A-1), NAL units in Annex B, and where our SEI goes. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

NAL_SLICE_IDR = 5
NAL_SEI = 6
_START = b"\x00\x00\x00\x01"


@dataclass(frozen=True, slots=True)
class Level:
    """One row of table A-1: ``idc`` is ten times the level; macroblocks per second and frame; kbit/s for Baseline."""

    idc: int
    macroblocks_per_s: int
    macroblocks: int
    max_kbps: int


LEVELS = (
    Level(21, 19_800, 792, 4_000),
    Level(22, 20_250, 1_620, 4_000),
    Level(30, 40_500, 1_620, 10_000),
    Level(31, 108_000, 3_600, 14_000),
    Level(32, 216_000, 5_120, 20_000),
    Level(40, 245_760, 8_192, 20_000),
    Level(42, 522_240, 8_704, 50_000),
    Level(50, 589_824, 22_080, 135_000),
    Level(51, 983_040, 36_864, 240_000),
    Level(52, 2_073_600, 36_864, 240_000),
)


def level_for(width: int, height: int, fps: float, bitrate_bps: int) -> Level:
    """Return the lowest level that allows ``width`` x ``height`` pixels at ``fps`` and ``bitrate_bps``; the highest if none does."""
    macroblocks = ((width + 15) // 16) * ((height + 15) // 16)
    for level in LEVELS:
        fits = macroblocks <= level.macroblocks and macroblocks * fps <= level.macroblocks_per_s
        if fits and bitrate_bps <= level.max_kbps * 1000:
            return level
    return LEVELS[-1]


def bitrate_for(width: int, height: int, fps: float, ceiling_bps: int) -> int:
    """Return the target in bit/s: 0.2 bit per pixel (5.5 Mbit/s at 720p30; 42 dB on the demo's cine), at least 1, at most 8 Mbit/s and ``ceiling_bps``."""
    wanted = int(width * height * min(fps, 60.0) * 0.2)
    return min(ceiling_bps, max(1_000_000, min(8_000_000, wanted)))


def nal_spans(access_unit: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield ``(start-code offset, NAL offset, NAL type)`` of each NAL unit of an Annex B byte stream (annex B.1)."""
    at = access_unit.find(b"\x00\x00\x01")
    while at != -1 and at + 3 < len(access_unit):
        begins = at - 1 if at > 0 and access_unit[at - 1] == 0 else at
        yield begins, at + 3, access_unit[at + 3] & 0x1F
        at = access_unit.find(b"\x00\x00\x01", at + 3)


def insert_sei(access_unit: bytes, sei: bytes) -> bytes:
    """Return ``access_unit`` with the NAL unit ``sei`` before its first IDR slice (7.4.1.2.3: after AUD, SPS and PPS).

    An access unit without an IDR slice comes back unchanged.
    """
    for begins, _, kind in nal_spans(access_unit):
        if kind == NAL_SLICE_IDR:
            return access_unit[:begins] + _START + sei + access_unit[begins:]
    return access_unit
