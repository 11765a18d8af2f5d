"""Whether an overlay's bitmap shows text (PS3.3 C.9.2): one bit a pixel, the first pixel in the lowest bit."""

from __future__ import annotations

import struct

import numpy as np

from consilium_dicom.deid.text_finder import find_text
from consilium_dicom.scan import Scan


def shows_no_text(source: Scan, tag: int, raw: bytes) -> bool:
    """Tell whether every plane of the overlay is sure to hold none; of big-endian words, nobody can be sure."""
    group = tag & 0xFFFF0000
    rows, columns = (_number(source, group | number) for number in (0x0010, 0x0011))
    planes = max(_frames(source, group | 0x0015), 1)
    if not source.encoding.little or not rows or not columns or planes > 64 or len(raw) * 8 < rows * columns * planes:
        return False
    bits = np.unpackbits(np.frombuffer(raw, np.uint8), bitorder="little")[: rows * columns * planes]
    pictures = bits.reshape(planes, rows, columns) * np.uint8(255)
    return find_text([np.ascontiguousarray(one) for one in pictures]).verdict == "none"


def _number(source: Scan, tag: int) -> int:
    raw = source.value(tag)
    return int(struct.unpack_from("<H", raw)[0]) if len(raw) >= 2 else 0


def _frames(source: Scan, tag: int) -> int:
    text = source.value(tag).strip(b" \0")
    return int(text) if text.isdigit() else 1
