"""Derivatives: objects that can be made again from an original at any time, kept beside it for slow links (HTJ2K, PS3.5 10.18).

A derivative is a Part 10 file in HTJ2K Lossless RPCL whose Extended Offset Table says where each frame lies, so that a frame is one
range read. Its key names its original's tenant and SHA-256: it is found without a row, and made twice it is the same. Who removes
an original removes what ``derivative_keys`` names first.
"""

from __future__ import annotations

import struct

from consilium_core.errors import Invalid
from consilium_dicom.encode import HTJ2K_RPCL
from consilium_dicom.frames import FrameIndex
from consilium_dicom.header import header_of
from consilium_dicom.scan import Buffer, scan

VERSION = 1
"""Part of the key: to be raised when the encoder's output changes. Older ones are never read again."""

_ORIGINALS, _SUFFIX = "originals/", ".dcm"


def derivative_key(original_key: str) -> str:
    """Return where the derivative of an original lies: below its tenant, by its original's SHA-256."""
    return derivative_keys(original_key)[-1]


def derivative_keys(original_key: str) -> list[str]:
    """Return every key that a derivative of an original has ever had, today's last: all of them go with it."""
    if not original_key.startswith(_ORIGINALS) or not original_key.endswith(_SUFFIX):
        raise Invalid("Only originals have derivatives.", key=original_key[:80])
    stem = original_key.removeprefix(_ORIGINALS).removesuffix(_SUFFIX)
    return [f"derivatives/{stem}.htj2k-{version}.dcm" for version in range(1, VERSION + 1)]


def index_of_derivative(head: Buffer) -> FrameIndex | None:
    """Return where the frames lie by the file's beginning, None when ``head`` does not reach to its pixel data."""
    source = scan(head, to_pixels=True)
    header = header_of(source)
    offsets, lengths = source.value(0x7FE00001), source.value(0x7FE00002)
    if not header.encapsulated or len(offsets) != 8 * header.frames or len(lengths) != len(offsets):
        return None
    first = header.pixel_offset + 8  # behind the empty basic table's item
    count = header.frames
    places = zip(struct.unpack(f"<{count}Q", offsets), struct.unpack(f"<{count}Q", lengths), strict=True)
    return FrameIndex(HTJ2K_RPCL, count, 0, 0, tuple(((first + at + 8, length),) for at, length in places))
