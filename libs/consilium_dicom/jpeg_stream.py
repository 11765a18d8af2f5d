"""Read what a JPEG code stream says of itself without decoding it (ITU-T T.81 annex B), and make such streams.

Used before a capture card's or an encoder's JPEGs become a multi-frame object: the transfer syntax promises baseline,
the photometric interpretation promises a chroma subsampling, and both must be true of every frame.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from consilium_dicom.errors import UnsuitableJpeg

_STANDALONE = {0x01, *range(0xD0, 0xD8)}  # TEM and RSTn carry no length
_SUBSAMPLINGS: dict[tuple[float, float], str] = {
    (1, 1): "444",
    (2, 1): "422",
    (2, 2): "420",
    (1, 2): "440",
    (4, 1): "411",
}
_SOF_JPEG_LS = 0xF7  # ITU-T T.87 annex C
_NOT_SOF = {0xC4, 0xC8, 0xCC}  # DHT, JPG, DAC lie in the range of the SOF markers


@dataclass(frozen=True, slots=True)
class JpegShape:
    """The frame header: ``process`` is the SOF number (0 baseline, 1 extended, 2 progressive, 3 lossless, 55 JPEG-LS)."""

    process: int
    precision: int
    rows: int
    columns: int
    components: int
    subsampling: str
    has_huffman_tables: bool


def _subsampling(factors: list[tuple[int, int]]) -> str:
    if len(factors) == 1:
        return "400"
    luma, *chroma = factors
    if len(chroma) != 2 or chroma[0] != chroma[1]:
        return "other"
    if 0 in chroma[0]:
        return "other"
    ratio = (luma[0] / chroma[0][0], luma[1] / chroma[0][1])
    return _SUBSAMPLINGS.get(ratio, "other")


def jpeg_shape(stream: bytes | memoryview) -> JpegShape:
    """Return what the markers before the first scan say; raise ``UnsuitableJpeg`` if they are not a JPEG's."""
    data = memoryview(stream)
    if len(data) < 4 or bytes(data[:2]) != b"\xff\xd8":
        raise UnsuitableJpeg("not a JPEG: it does not begin with SOI")
    at, huffman, frame = 2, False, None
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            raise UnsuitableJpeg(f"broken JPEG: no marker at byte {at}")
        marker = data[at + 1]
        if marker == 0xFF or marker in _STANDALONE:
            at += 1 if marker == 0xFF else 2
            continue
        (length,) = struct.unpack_from(">H", data, at + 2)
        if length < 2 or at + 2 + length > len(data):
            break
        if (0xC0 <= marker <= 0xCF and marker not in _NOT_SOF) or marker == _SOF_JPEG_LS:
            frame = marker - 0xC0, bytes(data[at + 4 : at + 2 + length])
        huffman |= marker == 0xC4
        if marker == 0xDA:
            break
        at += 2 + length
    if frame is None or len(frame[1]) < 6 or len(frame[1]) < 6 + 3 * frame[1][5]:
        raise UnsuitableJpeg("broken JPEG: no frame header before the first scan")
    process, body = frame
    precision, rows, columns, count = struct.unpack_from(">BHHB", body)
    factors = [(body[7 + 3 * i] >> 4, body[7 + 3 * i] & 15) for i in range(count)]
    return JpegShape(process, precision, rows, columns, count, _subsampling(factors), huffman)


def check_baseline(stream: bytes | memoryview, rows: int, columns: int) -> JpegShape:
    """Return the shape of a JPEG that may stand in a JPEG Baseline object (PS3.5 A.4.1), else say why it may not.

    Baseline process, 8 bit, the stated size, its own Huffman tables, ended by EOI, and either grey or 4:2:2:
    these are what MONOCHROME2 and YBR_FULL_422 name (PS3.3 C.7.6.3.1.2), and ultrasound and multi-frame secondary
    capture have no name for other subsamplings (C.8.5.6.1.2, C.8.6.3).
    """
    shape = jpeg_shape(stream)
    if shape.process != 0 or shape.precision != 8:
        raise UnsuitableJpeg(f"JPEG process SOF{shape.process}, {shape.precision} bit: only 8 bit baseline (SOF0) fits")
    if (shape.rows, shape.columns) != (rows, columns):
        raise UnsuitableJpeg(f"JPEG of {shape.columns}x{shape.rows} in an object of {columns}x{rows}")
    if not shape.has_huffman_tables:
        raise UnsuitableJpeg("abbreviated JPEG (motion JPEG without Huffman tables): add the tables or encode again")
    if shape.subsampling not in {"400", "422"}:
        raise UnsuitableJpeg(
            f"chroma subsampling 4:{shape.subsampling[1:]} has no photometric interpretation here: encode as 4:2:2"
        )
    if b"\xff\xd9" not in bytes(stream[-64:]):
        raise UnsuitableJpeg("truncated JPEG: no EOI at its end")
    return shape


def encode_jpeg_422(picture: NDArray[np.uint8], *, quality: int = 90) -> bytes:
    """Return a baseline JPEG, 4:2:2 for (rows, columns, 3) RGB and grey for (rows, columns); uint8 both."""
    source = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR) if picture.ndim == 3 else picture
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    if picture.ndim == 3:
        options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422]
    done, encoded = cv2.imencode(".jpg", source, options)
    if not done:
        raise UnsuitableJpeg("the JPEG encoder refused the picture")
    return encoded.tobytes()
