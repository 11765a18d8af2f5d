"""A bare H.264 byte stream as access units, one a picture (ITU-T H.264 7.4.1.2.3, annex B)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from consilium_dicom.video import h264
from consilium_dicom.video.bits import Bits, VideoUnreadable, payload

PPS, _AUD, _B = 8, 9, 1
_BEFORE_PICTURE = frozenset({h264.SEI, h264.SPS, PPS, _AUD, 14, 15, 16, 17, 18})
_HEAD = 64


@dataclass(frozen=True, slots=True)
class AccessUnit:
    """The NAL units of one picture, start codes left out, and whether decoding may begin here."""

    units: tuple[bytes, ...]
    is_idr: bool


def nal_units(stream: bytes) -> Iterator[bytes]:
    """Yield each NAL unit without its start code and trailing zeros."""
    at = stream.find(b"\0\0\1")
    if at < 0:
        raise VideoUnreadable("no start code: this is no H.264 byte stream")
    while at >= 0:
        following = stream.find(b"\0\0\1", at + 3)
        unit = stream[at + 3 : following if following >= 0 else len(stream)].rstrip(b"\0")
        if unit:
            yield unit
        at = following


def access_units(stream: bytes) -> list[AccessUnit]:
    """Return the pictures in decoding order, which must be their order of display.

    Raises ``VideoUnreadable`` for a stream that begins without an IDR picture, and for field pictures and B slices: without a
    container nothing says when to show them.
    """
    found: list[AccessUnit] = []
    units: list[bytes] = []
    kinds: set[int] = set()
    for unit in nal_units(stream):
        kind = unit[0] & 31
        is_slice = kind in {h264.IDR, h264.NON_IDR}
        has_slice = bool(kinds & {h264.IDR, h264.NON_IDR})
        begins = kind in _BEFORE_PICTURE or (is_slice and len(unit) > 1 and bool(unit[1] & 0x80))
        if has_slice and begins:
            found.append(AccessUnit(tuple(units), h264.IDR in kinds))
            units, kinds = [], set()
        if is_slice and _slice_type(unit) == _B:
            raise VideoUnreadable("a bare stream with B pictures does not say when to show them: give it in an MP4")
        units.append(unit)
        kinds.add(kind)
    if kinds & {h264.IDR, h264.NON_IDR}:
        found.append(AccessUnit(tuple(units), h264.IDR in kinds))
    if not found or not found[0].is_idr:
        raise VideoUnreadable("the stream does not begin with a picture that stands alone (IDR)")
    return found


def _slice_type(unit: bytes) -> int:
    bits = Bits(payload(unit[:_HEAD])[1:])
    bits.ue()
    return bits.ue() % 5
