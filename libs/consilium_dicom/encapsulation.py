"""Pixel data as it stands in a file: one picture kept without loss, or JPEG frames as fragments (PS3.5 annex A.4)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import accumulate
from typing import Literal

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import uid as uids
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders.base import RLELosslessEncoder

Compression = Literal["none", "rle", "jpeg-ls"]


def encode_losslessly(pixels: NDArray[np.uint8], compression: Compression) -> tuple[str, bytes]:
    """Return (transfer syntax UID, pixel data value) of a picture kept without loss."""
    contiguous = np.ascontiguousarray(pixels)
    if compression == "none":
        raw = contiguous.tobytes()
        return str(uids.ExplicitVRLittleEndian), raw + b"\0" * (len(raw) & 1)
    if compression == "rle":
        frame = RLELosslessEncoder.encode(
            contiguous,
            rows=contiguous.shape[0],
            columns=contiguous.shape[1],
            number_of_frames=1,
            samples_per_pixel=3 if contiguous.ndim == 3 else 1,
            bits_allocated=8,
            bits_stored=8,
            pixel_representation=0,
            photometric_interpretation="RGB" if contiguous.ndim == 3 else "MONOCHROME2",
            planar_configuration=0,
        )
        return str(uids.RLELossless), encapsulate([frame])
    frame = bytes(imagecodecs.jpegls_encode(contiguous, out=contiguous.nbytes * 2 + 4096))
    return str(uids.JPEGLSLossless), encapsulate([frame])


def extended_table(jpeg_frames: Sequence[bytes]) -> tuple[bytes, bytes]:
    """Return the Extended Offset Table and its lengths: 64 bit little endian each (PS3.3 C.7.6.3.1.8)."""
    offsets = accumulate((len(frame) + (len(frame) & 1) + 8 for frame in jpeg_frames[:-1]), initial=0)
    count = len(jpeg_frames)
    return struct.pack(f"<{count}Q", *offsets), struct.pack(f"<{count}Q", *map(len, jpeg_frames))


def fragments(jpeg_frames: Sequence[bytes], *, with_table: bool) -> list[bytes]:
    """Return the pixel data element in pieces, one fragment per frame (PS3.5 A.4): joined once, copied once.

    pydicom's own encapsulation would hold three copies of a clip of hundreds of megabytes.
    """
    item = struct.Struct("<HHI").pack
    offsets = accumulate((len(frame) + (len(frame) & 1) + 8 for frame in jpeg_frames[:-1]), initial=0)
    table = struct.pack(f"<{len(jpeg_frames)}I", *offsets) if with_table else b""
    pieces = [b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff", item(0xFFFE, 0xE000, len(table)), table]
    for frame in jpeg_frames:
        pieces += [item(0xFFFE, 0xE000, len(frame) + (len(frame) & 1)), frame, b"\0" * (len(frame) & 1)]
    return [*pieces, item(0xFFFE, 0xE0DD, 0)]
