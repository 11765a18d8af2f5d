"""MPEG-2 and MPEG-1 sequence and picture headers (ISO/IEC 13818-2 6.2.2, 6.2.3)."""

from __future__ import annotations

from dataclasses import replace

from consilium_dicom.video.bits import Bits
from consilium_dicom.video.stream import Picture

PICTURE, SEQUENCE, EXTENSION = 0x00, 0xB3, 0xB5
_RATES = (None, 24000 / 1001, 24.0, 25.0, 30000 / 1001, 30.0, 50.0, 60000 / 1001, 60.0)


def sequence(unit: bytes) -> Picture:
    """Return what a sequence header (with its code) says: MPEG-1, until an extension follows."""
    bits = Bits(unit[1:9])
    width, height = bits.u(12), bits.u(12)
    bits.u(4)
    code = bits.u(4)
    return Picture("MPEG-1", 0, 0, width, height, _RATES[code] if code < len(_RATES) else None)


def extended(picture: Picture, unit: bytes) -> Picture:
    """Return the picture with what a sequence extension adds; any other extension changes nothing."""
    bits = Bits(unit[1:8])
    if bits.u(4) != 1:
        return picture
    bits.u(1)
    profile, level = bits.u(3), bits.u(4)
    progressive, chroma = bits.flag(), bits.u(2)
    width, height = bits.u(2) << 12 | picture.width, bits.u(2) << 12 | picture.height
    return replace(
        picture, codec="MPEG-2", profile=profile, level=level, width=width, height=height, chroma=chroma,
        interlaced=not progressive,
    )  # fmt: skip


def is_intra(unit: bytes) -> bool:
    """Tell whether a picture header is that of an I picture."""
    return len(unit) > 2 and unit[2] >> 3 & 7 == 1
