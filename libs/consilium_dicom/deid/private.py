"""Private elements that carry no identity: the standard's list (PS3.15 table E.3.10-1) and what the caller allows besides.

An element is known by its creator, group and the low byte of its number; a creator's block may lie anywhere (PS3.5 7.8.1).
"""

from __future__ import annotations

from consilium_dicom.deid.options import Option, Options
from consilium_dicom.scan import UNDEFINED, Buffer, Element

SAFE: frozenset[tuple[str, int, int]] = frozenset(
    {
        ("Philips PET Private Group", 0x7053, 0x00),
        ("Philips PET Private Group", 0x7053, 0x09),
        ("ELSCINT1", 0x00E1, 0x21),
        ("ELSCINT1", 0x01E1, 0x26),
        ("ELSCINT1", 0x01E1, 0x50),
        ("GEMS_ACQU_01", 0x0019, 0x23),
        ("GEMS_ACQU_01", 0x0019, 0x24),
        ("GEMS_ACQU_01", 0x0019, 0x27),
        ("GEMS_ACQU_01", 0x0019, 0x9E),
        ("GEMS_PARM_01", 0x0043, 0x27),
        ("GEMS_PARM_01", 0x0043, 0x39),
        ("GEMS_PARM_01", 0x0043, 0x6F),
        ("GEMS_SERS_01", 0x0025, 0x07),
        ("GEMS_HELIOS_01", 0x0045, 0x01),
        ("GEMS_HELIOS_01", 0x0045, 0x02),
        ("Philips Imaging DD 001", 0x2001, 0x03),
        ("Philips Imaging DD 001", 0x2001, 0x04),
        ("Philips MR Imaging DD 001", 0x2005, 0x0E),
        ("SIEMENS MR HEADER", 0x0019, 0x0C),
        ("SIEMENS MR HEADER", 0x0019, 0x0D),
        ("SIEMENS MR HEADER", 0x0019, 0x0E),
        ("SIEMENS MR HEADER", 0x0019, 0x27),
    }
)
"""Doses, diffusion weightings, table and rotation speeds, scale factors: numbers that viewers need."""


def kept_private(buffer: Buffer, elements: dict[int, Element], options: Options) -> frozenset[int]:
    """Return the private tags of one data set that stay, creators included."""
    if not options.has(Option.SAFE_PRIVATE):
        return frozenset()
    allowed = SAFE | options.safe_private
    kept: set[int] = set()
    for tag in elements:
        number = tag & 0xFFFF
        if not tag >> 16 & 1 or number < 0x1000:
            continue
        place = tag & 0xFFFF0000 | number >> 8
        creator = elements.get(place)
        if creator is None or creator[2] == UNDEFINED or creator[2] > 64:
            continue
        name = bytes(buffer[creator[1] : creator[1] + creator[2]]).decode("latin_1").strip(" \0")
        if (name, tag >> 16, number & 0xFF) in allowed:
            kept |= {tag, place}
    return frozenset(kept)
