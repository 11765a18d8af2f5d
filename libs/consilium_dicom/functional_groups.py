"""How each frame of an enhanced multi-frame object wants to be shown (PS3.3 C.7.6.16): its rescale and its window.

Flows in: a scanned file; flows out: one ``FrameLook`` per frame, or a single one when all frames share it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from consilium_dicom.scan import Buffer, Element, Encoding, Fence, Scan
from consilium_dicom.structure import items_of

_SHARED, _PER_FRAME = 0x52009229, 0x52009230
_PIXEL_VALUE_TRANSFORMATION, _FRAME_VOI_LUT = 0x00289145, 0x00289132
_MAX_LOOKS = 100_000


@dataclass(frozen=True, slots=True)
class FrameLook:
    """Rescale (None: not stated) and window as (center, width)."""

    slope: float | None = None
    intercept: float | None = None
    window: tuple[float, float] | None = None


def frame_looks(source: Scan) -> tuple[FrameLook, ...]:
    """Return one look per frame, one for all, or none when the object has no functional groups."""
    fence = Fence()
    shared = FrameLook()
    for elements, encoding in _items(source.buffer, source.elements, source.encoding, _SHARED, fence):
        shared = _look(source.buffer, elements, encoding, shared, fence)
        break
    looks: list[FrameLook] = []
    for elements, encoding in _items(source.buffer, source.elements, source.encoding, _PER_FRAME, fence):
        looks.append(_look(source.buffer, elements, encoding, shared, fence))
        if len(looks) >= _MAX_LOOKS:
            break
    if len(set(looks)) <= 1:
        only = looks[0] if looks else shared
        return () if only == FrameLook() else (only,)
    return tuple(looks)


def _items(
    buffer: Buffer, elements: dict[int, Element], encoding: Encoding, tag: int, fence: Fence
) -> list[tuple[dict[int, Element], Encoding]]:
    found = elements.get(tag)
    return list(items_of(buffer, found, encoding, fence)) if found is not None and found[2] else []


def _look(buffer: Buffer, elements: dict[int, Element], encoding: Encoding, base: FrameLook, fence: Fence) -> FrameLook:
    """Return what one functional group item says, ``base`` where it is silent."""

    def number(inner: dict[int, Element], tag: int) -> float | None:
        if tag not in inner:
            return None
        raw = bytes(buffer[inner[tag][1] : inner[tag][1] + inner[tag][2]])
        try:
            return float(raw.decode("latin_1").split("\\")[0].strip(" \0"))
        except ValueError:
            return None

    look = base
    for inner, _ in _items(buffer, elements, encoding, _PIXEL_VALUE_TRANSFORMATION, fence)[:1]:
        look = replace(look, slope=number(inner, 0x00281053), intercept=number(inner, 0x00281052))
    for inner, _ in _items(buffer, elements, encoding, _FRAME_VOI_LUT, fence)[:1]:
        center, width = number(inner, 0x00281050), number(inner, 0x00281051)
        if center is not None and width is not None and width > 0:
            look = replace(look, window=(center, width))
    return look
