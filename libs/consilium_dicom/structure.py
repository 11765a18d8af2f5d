"""Walk into sequences by position (PS3.5 7.5): each item's elements, fenced in depth and in number."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import lru_cache

from pydicom.datadict import dictionary_VR

from consilium_dicom.errors import DicomUnreadable, TooLarge
from consilium_dicom.scan import (
    ITEM,
    ITEM_END,
    MAX_DEPTH,
    MAX_KEPT_ELEMENTS,
    SEQUENCE_END,
    UNDEFINED,
    Buffer,
    Element,
    Encoding,
    Fence,
    scan_elements,
)

PIXEL_GROUP = 0x7FE0


def items_of(
    buffer: Buffer, element: Element, encoding: Encoding, fence: Fence, *, end: int | None = None
) -> Iterator[tuple[dict[int, Element], Encoding]]:
    """Yield (elements, their encoding) of each item of a sequence; raise ``DicomUnreadable`` when it is broken."""
    vr, at, length = element
    inside = Encoding(True, True) if vr == b"UN" else encoding
    order = "<" if inside.little else ">"
    limit = len(buffer) if end is None else end
    stop = limit if length == UNDEFINED else at + length
    if stop > limit:
        raise DicomUnreadable("a sequence runs past the end")
    while at + 8 <= stop:
        group, number, item_length = struct.unpack_from(order + "HHI", buffer, at)
        tag, at = group << 16 | number, at + 8
        fence.spend()
        if tag == SEQUENCE_END:
            return
        if tag != ITEM:
            raise DicomUnreadable(f"({group:04X},{number:04X}) stands where an item should begin at byte {at - 8}")
        item_end = stop if item_length == UNDEFINED else at + item_length
        if item_end > stop:
            raise DicomUnreadable("an item runs past its sequence")
        here = _item_encoding(buffer, at, item_end, inside)
        elements, done, truncated = scan_elements(buffer, at, item_end, here, fence=fence)
        if truncated:
            raise DicomUnreadable(f"an item is cut off at byte {done}")
        yield elements, here
        at = item_end if item_length != UNDEFINED else done


def _item_encoding(buffer: Buffer, at: int, end: int, encoding: Encoding) -> Encoding:
    """Some writers switch to implicit VR inside sequences of an explicit file; follow them."""
    if encoding.implicit or at + 8 > end:
        return encoding
    group, number, vr = struct.unpack_from("<HH2s" if encoding.little else ">HH2s", buffer, at)
    if group << 16 | number in {ITEM_END, SEQUENCE_END}:
        return encoding
    implicit = not (0x40 < vr[0] < 0x5B and 0x40 < vr[1] < 0x5B)
    return Encoding(implicit, encoding.little)


@lru_cache(maxsize=8192)
def dictionary_vr(tag: int) -> bytes:
    """Return the dictionary's VR of a public tag (repeating groups too), ``UN`` for an unknown or private one."""
    if tag & 0xFFFF == 0:
        return b"UL"
    try:
        return dictionary_VR(tag).encode("ascii")
    except KeyError:
        return b"UN"


def is_sequence(tag: int, element: Element) -> bool:
    """Tell whether an element holds items: said so, known so where VRs are implicit, or of undefined length."""
    if (element[0] or dictionary_vr(tag)) == b"SQ":
        return True
    return element[2] == UNDEFINED and tag >> 16 != PIXEL_GROUP


def check_items(
    buffer: Buffer,
    elements: dict[int, Element],
    encoding: Encoding,
    fence: Fence,
    *,
    depth: int = 1,
    kept: Fence | None = None,
) -> None:
    """Visit every item of every sequence; raise ``DicomUnreadable`` or ``TooLarge`` at the first that is broken.

    ``kept`` counts each element once: what passes here fits into memory as JSON.
    """
    if depth > MAX_DEPTH:
        raise TooLarge(f"sequences nest deeper than {MAX_DEPTH}")
    kept = kept or Fence(MAX_KEPT_ELEMENTS)
    kept.spend(len(elements) + 1)
    for tag, element in elements.items():
        if is_sequence(tag, element) and element[1] <= len(buffer):
            for inner, inside in items_of(buffer, element, encoding, fence):
                check_items(buffer, inner, inside, fence, depth=depth + 1, kept=kept)
