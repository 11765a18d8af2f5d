"""Encode decoded frames: the lossless codecs for any integer picture, baseline JPEG for 8 bits (PS3.5 8.2, annexes A.4 and G).

Flows in: (rows, columns[, 3]) samples with their sign; flows out: one frame's code stream. CPU work of milliseconds: a thread's.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from rle.utils import encode_pixel_data

from consilium_dicom.errors import DicomInvalid, Unencodable
from consilium_dicom.jpeg_stream import encode_jpeg_422

JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"
JPEG_LS = "1.2.840.10008.1.2.4.80"
JPEG_2000 = "1.2.840.10008.1.2.4.90"
HTJ2K = "1.2.840.10008.1.2.4.201"
HTJ2K_RPCL = "1.2.840.10008.1.2.4.202"
RLE = "1.2.840.10008.1.2.5"

LOSSLESS = (JPEG_LOSSLESS, JPEG_LS, JPEG_2000, HTJ2K, HTJ2K_RPCL, RLE)
"""What any 8 or 16 bit integer picture can be made into."""

_COLOUR_TRANSFORM = frozenset({JPEG_2000, HTJ2K, HTJ2K_RPCL})
_SIZ, _COD, _TLM, _SOT = 0xFF51, 0xFF52, 0xFF55, 0xFF90
_RPCL = 2


@dataclass(frozen=True, slots=True)
class Samples:
    """What the encoder must know of the pixels besides themselves: Bits Stored and Photometric Interpretation."""

    bits_stored: int
    photometric: str


def encode_frame(pixels: NDArray[Any], samples: Samples, target: str) -> bytes:
    """Return one frame's code stream; raise ``Unencodable`` for pixels that the target cannot hold."""
    check_encodable(pixels, target)
    try:
        return _ENCODERS[target](np.ascontiguousarray(pixels), samples)
    except DicomInvalid:
        raise
    except Exception as error:  # every codec has its own exception type; all mean the same here
        raise Unencodable(f"the frame cannot be encoded as {target}: {error}") from error


def check_encodable(pixels: NDArray[Any], target: str) -> None:
    """Raise ``Unencodable`` unless ``encode_frame`` takes such pixels."""
    if target not in _ENCODERS:
        raise Unencodable(f"no encoder here for transfer syntax {target}")
    if pixels.dtype.kind not in "iu" or pixels.dtype.itemsize > 2:
        raise Unencodable("only integer pixels of 8 or 16 bits are compressed")
    if pixels.ndim == 3 and pixels.shape[2] != 3:
        raise Unencodable("only pixels of one or three samples are compressed")
    if target == JPEG_BASELINE and pixels.dtype != np.uint8:
        raise Unencodable("baseline JPEG holds unsigned 8 bit pixels alone")


def coded_photometric(photometric: str, target: str) -> str:
    """Return the Photometric Interpretation of encoded frames (PS3.5 8.2.1, 8.2.4)."""
    if photometric == "RGB" and target in _COLOUR_TRANSFORM:
        return "YBR_RCT"
    return "YBR_FULL_422" if photometric == "RGB" and target == JPEG_BASELINE else photometric


def _unsigned(pixels: NDArray[Any]) -> NDArray[Any]:
    return pixels.view(np.dtype(f"u{pixels.dtype.itemsize}"))


def _fits(pixels: NDArray[Any], bits: int) -> bool:
    """Tell whether no sample uses bits above Bits Stored (an old overlay may lie there, PS3.5 8.1.1)."""
    if pixels.dtype.kind == "u":
        return int(pixels.max(initial=0)) < 1 << bits
    return int(pixels.max(initial=0)) < 1 << (bits - 1) and int(pixels.min(initial=0)) >= -(1 << (bits - 1))


def _precision(pixels: NDArray[Any], samples: Samples) -> int:
    """Return the bits that the code stream shall state: Bits Stored, or all when something lies above them."""
    whole = pixels.dtype.itemsize * 8
    return samples.bits_stored if 1 < samples.bits_stored < whole and _fits(pixels, samples.bits_stored) else whole


def _jpeg_ls(pixels: NDArray[Any], samples: Samples) -> bytes:
    raw = _unsigned(pixels)
    stream = bytes(imagecodecs.jpegls_encode(raw, out=raw.nbytes * 2 + 4096))
    while stream[2:4] == b"\xff\xe8":  # a SPIFF header, which no DICOM reader asks for
        stream = stream[:2] + stream[4 + struct.unpack_from(">H", stream, 4)[0] :]
    return stream


def _jpeg_lossless(pixels: NDArray[Any], samples: Samples) -> bytes:
    raw = _unsigned(pixels)
    bits = 8 if raw.dtype.itemsize == 1 else max(_precision(pixels, samples), 9) if pixels.dtype.kind == "u" else 16
    space = "RGB" if pixels.ndim == 3 else None  # nothing is converted, whatever the samples mean
    return bytes(
        imagecodecs.jpeg8_encode(
            raw, lossless=True, predictor=1, bitspersample=bits, colorspace=space, outcolorspace=space
        )
    )


def _jpeg_2000(pixels: NDArray[Any], samples: Samples) -> bytes:
    return bytes(
        imagecodecs.jpeg2k_encode(
            pixels, codecformat="J2K", reversible=True, level=0, mct=samples.photometric == "RGB",
            bitspersample=_precision(pixels, samples),
        )
    )  # fmt: skip


def _htj2k(pixels: NDArray[Any], samples: Samples) -> bytes:
    """Return RPCL with a tile-part for each resolution and their lengths in TLM, the smallest at most 64 high and wide (10.18).

    The codec states the container's precision. Pixels of fewer bits go in shifted to signed, which has no level shift of its own,
    and the right precision is written over it (ITU-T T.800 A.5.1, G.1.2).
    """
    bits, signed = _precision(pixels, samples), pixels.dtype.kind == "i"
    whole = pixels.dtype.itemsize * 8
    given = pixels
    if bits != whole and not signed:
        given = (_unsigned(pixels) - (1 << (bits - 1))).view(np.dtype(f"i{pixels.dtype.itemsize}"))
    levels = max(5, int(np.ceil(np.log2(max(max(pixels.shape[:2]) / 64, 1)))))
    transformed = samples.photometric == "RGB" if pixels.ndim == 3 else None
    stream = bytes(
        imagecodecs.htj2k_encode(given, reversible=True, tlm=True, tilepart=1, resolutions=levels, rgb=transformed)
    )
    return stream if bits == whole else _restated(stream, bits, signed=signed)


def reduced(stream: bytes, levels: int) -> bytes:
    """Return the beginning of an RPCL stream that holds all but its ``levels`` finest resolutions (ITU-T T.800 A.4.2, A.7.1).

    What is left out is never read by a decoder that is told to skip as many. A stream whose tile-parts are not one for each
    resolution is returned whole.
    """
    lengths, at, decompositions = [], 2, 0
    while at + 4 <= len(stream):
        marker, size = struct.unpack_from(">HH", stream, at)
        if marker == _SOT:
            break
        if marker == _COD:
            decompositions = stream[at + 9] if stream[at + 5] == _RPCL else 0
        elif marker == _TLM:
            lengths += _tile_parts(stream[at + 4 : at + 2 + size])
        at += 2 + size
    if levels <= 0 or not decompositions or len(lengths) != decompositions + 1:
        return stream
    kept = max(len(lengths) - levels, 1)
    return stream[: at + sum(lengths[:kept])] + b"\xff\xd9"


def _tile_parts(body: bytes) -> list[int]:
    """Return the tile-parts' lengths that a TLM segment names (A.7.1), none for a layout that is not read here."""
    tile_bytes, wide = body[1] >> 4 & 3, body[1] >> 6 & 1
    step = tile_bytes + (4 if wide else 2)
    if tile_bytes == 3 or (len(body) - 2) % step:
        return []
    return [int.from_bytes(body[at + tile_bytes : at + step], "big") for at in range(2, len(body), step)]


def _restated(stream: bytes, bits: int, *, signed: bool) -> bytes:
    out = bytearray(stream)
    marker, _length = struct.unpack_from(">HH", out, 2)
    if marker != _SIZ:
        raise Unencodable("the encoder's stream does not begin with its size")
    for component in range(struct.unpack_from(">H", out, 40)[0]):
        out[42 + 3 * component] = (bits - 1) | (0x80 if signed else 0)
    return bytes(out)


def _rle(pixels: NDArray[Any], samples: Samples) -> bytes:
    return bytes(
        encode_pixel_data(
            pixels.tobytes(), byteorder="<", rows=pixels.shape[0], columns=pixels.shape[1],
            samples_per_pixel=pixels.shape[2] if pixels.ndim == 3 else 1, bits_allocated=pixels.dtype.itemsize * 8,
        )
    )  # fmt: skip


def _baseline(pixels: NDArray[Any], samples: Samples) -> bytes:
    if samples.photometric == "PALETTE COLOR":
        raise Unencodable("the indices of a palette cannot be compressed with loss")
    return encode_jpeg_422(pixels)


_ENCODERS: dict[str, Callable[[NDArray[Any], Samples], bytes]] = {
    JPEG_BASELINE: _baseline,
    JPEG_LOSSLESS: _jpeg_lossless,
    JPEG_LS: _jpeg_ls,
    JPEG_2000: _jpeg_2000,
    HTJ2K: _htj2k,
    HTJ2K_RPCL: _htj2k,
    RLE: _rle,
}
