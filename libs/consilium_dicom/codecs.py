"""Decode one frame's stored bytes into samples, for every transfer syntax that the archive keeps (PS3.5 annex A).

Native samples are viewed, code streams go to imagecodecs. Colour comes out as interleaved RGB; grey and palette
indices as stored values with their sign.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any

import cv2
import imagecodecs
import numpy as np
from numpy.typing import NDArray

from consilium_dicom.errors import DicomInvalid, Undecodable
from consilium_dicom.header import Header
from consilium_dicom.jpeg_stream import jpeg_shape
from consilium_dicom.uids import transfer_syntax

_MAX_SAMPLES = 1 << 30
_HTJ2K_LOSSLESS = frozenset({"1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202"})


def decode_frame(header: Header, frame: bytes) -> NDArray[Any]:
    """Return (rows, columns) stored values or (rows, columns, 3) RGB of one frame as ``frames.frame_bytes`` gives it.

    Raises ``Undecodable`` for a broken code stream, a codec that is not here, or a size that contradicts the header.
    """
    samples, ybr = decode_stored(header, frame)
    return to_rgb(samples) if ybr else samples


def decode_stored(header: Header, frame: bytes) -> tuple[NDArray[Any], bool]:
    """Return what ``decode_frame`` gives, but colour that was stored as YBR_FULL still in it, and whether that is so.

    A transform that belongs to the code stream (JPEG's, JPEG 2000's) is undone; one that the object made is not.
    """
    rows, columns = header.rows or 0, header.columns or 0
    samples = header.samples_per_pixel or 1
    if not rows or not columns or rows * columns * samples > _MAX_SAMPLES:
        raise Undecodable(f"{columns}x{rows}x{samples} is not a picture that can be decoded")
    syntax = transfer_syntax(header.transfer_syntax_uid)
    codec = "native" if not header.encapsulated else syntax.codec if syntax else "unknown"
    try:
        _check_stated_size(codec, frame, rows, columns)
        decoded, converted = _decode(codec, header, frame)
    except DicomInvalid:
        raise
    except Exception as error:  # every codec has its own exception type; all mean the same here
        raise Undecodable(f"the {codec} frame cannot be decoded: {error}") from error
    if decoded.shape[:2] != (rows, columns):
        raise Undecodable(f"a frame of {decoded.shape[1]}x{decoded.shape[0]} in an object of {columns}x{rows}")
    held = decoded.shape[2] if decoded.ndim == 3 else 1
    if header.samples_per_pixel and held != samples:
        raise Undecodable(f"a frame of {held} samples per pixel in an object of {samples}")
    ybr = not converted and _is_ybr(decoded, header)
    if ybr and decoded.dtype != np.uint8:
        raise Undecodable("YBR samples that are not unsigned 8 bit")
    return decoded, ybr


def _check_stated_size(codec: str, frame: bytes, rows: int, columns: int) -> None:
    """Refuse a code stream that states another size than the object, before a decoder allocates for it."""
    stated: tuple[int, int] | None = None
    if codec in {"jpeg", "jpeg-lossless", "jpeg-ls"}:
        shape = jpeg_shape(frame)
        stated = (shape.rows or rows, shape.columns or columns)
    elif codec in {"jpeg2000", "htj2k"}:
        at = frame.find(b"\xff\x4f\xff\x51", 0, 4096)  # SOC, SIZ (ITU-T T.800 A.5.1); boxes of a JP2 file may precede
        if at < 0 or at + 24 > len(frame):
            raise Undecodable("not a JPEG 2000 code stream")
        width, height, left, top = struct.unpack_from(">IIII", frame, at + 8)
        stated = (height - top, width - left)
    if stated is not None and stated != (rows, columns):
        raise Undecodable(f"a frame of {stated[1]}x{stated[0]} in an object of {columns}x{rows}")


def _decode(codec: str, header: Header, frame: bytes) -> tuple[NDArray[Any], bool]:
    """Return the samples, and whether the code stream's own colour transform has been undone."""
    if codec == "native":
        return _native(header, frame), False
    if codec == "deflate":
        return _native(header, zlib.decompressobj(-zlib.MAX_WBITS).decompress(frame, _native_bytes(header))), False
    if codec == "rle":
        return _rle(header, frame), False
    if codec == "jpeg":
        return _jpeg(header, frame), True
    if codec == "jpeg-lossless":
        return _sign(_planes(imagecodecs.ljpeg_decode(_trim(frame))), header), False
    if codec == "jpeg-ls":
        return _sign(imagecodecs.jpegls_decode(frame), header), False
    if codec in {"jpeg2000", "htj2k"}:
        return _sign(_j2k(header, frame), header), _j2k_transforms(frame)
    if codec == "jpeg-xl":
        return _sign(np.asarray(imagecodecs.jpegxl_decode(frame)), header), True
    raise Undecodable(f"no codec here for transfer syntax {header.transfer_syntax_uid}")


def _j2k(header: Header, frame: bytes) -> NDArray[Any]:
    """Return the samples of a JPEG 2000 stream; lossless HTJ2K by OpenJPH, in half of OpenJPEG's time with the same result."""
    if header.transfer_syntax_uid in _HTJ2K_LOSSLESS and frame.startswith(b"\xff\x4f"):
        return np.asarray(imagecodecs.htj2k_decode(frame, planar=False))
    return np.asarray(imagecodecs.jpeg2k_decode(frame))


def _j2k_transforms(frame: bytes) -> bool:
    """Tell whether the code stream's own colour transform is on, which the decoder undoes (ITU-T T.800 A.6.1)."""
    at = frame.find(b"\xff\x4f\xff\x51") + 2
    while 2 <= at <= len(frame) - 9:
        marker, length = struct.unpack_from(">HH", frame, at)
        if marker == 0xFF52:
            return frame[at + 8] == 1
        if marker == 0xFF90 or length < 2:
            break
        at += 2 + length
    return False


def _trim(frame: bytes) -> bytes:
    """Return a JPEG without the padding after EOI."""
    return frame.rstrip(b"\0") if frame.endswith(b"\0") else frame


def _planes(decoded: NDArray[Any]) -> NDArray[Any]:
    return decoded[..., 0] if decoded.ndim == 3 and decoded.shape[2] == 1 else decoded


def _native_bytes(header: Header) -> int:
    from consilium_dicom.frames import frame_bits

    return (frame_bits(header) + 7) // 8


def _dtype(header: Header) -> np.dtype[Any]:
    """Return the type of native samples: by bits allocated, sign, byte order, and float pixel data (C.7.6.24)."""
    order = "<" if header.little_endian else ">"
    if header.pixel_tag == 0x7FE00008:
        return np.dtype(order + "f4")
    if header.pixel_tag == 0x7FE00009:
        return np.dtype(order + "f8")
    size = (header.bits_allocated or 8) // 8
    if size not in {1, 2, 4, 8}:
        raise Undecodable(f"{header.bits_allocated} bits allocated")
    return np.dtype(f"{order}{'i' if header.pixel_representation else 'u'}{size}")


def _native(header: Header, frame: bytes) -> NDArray[Any]:
    rows, columns = header.rows or 0, header.columns or 0
    samples = header.samples_per_pixel or 1
    if header.bits_allocated == 1:
        bits = np.unpackbits(np.frombuffer(frame, np.uint8), bitorder="little")
        return bits[: rows * columns].reshape(rows, columns)
    wanted = _native_bytes(header)
    if len(frame) < wanted:
        raise Undecodable(f"a frame of {len(frame)} bytes where {wanted} are needed")
    if header.pixel_vr == "OW" and not header.little_endian and header.bits_allocated == 8:
        frame = np.frombuffer(frame[: len(frame) // 2 * 2], np.uint16).byteswap().tobytes()
    flat = np.frombuffer(frame, _dtype(header), count=wanted // _dtype(header).itemsize)
    flat = flat.astype(flat.dtype.newbyteorder("="), copy=False)
    if samples == 1:
        return _sign(flat.reshape(rows, columns), header)
    if header.photometric in {"YBR_FULL_422", "YBR_PARTIAL_422"}:
        return _upsample_422(flat, rows, columns)
    if header.planar_configuration == 1:
        flat = np.ascontiguousarray(flat.reshape(samples, rows, columns).transpose(1, 2, 0))
    return flat.reshape(rows, columns, samples)


def _upsample_422(flat: NDArray[Any], rows: int, columns: int) -> NDArray[Any]:
    """Return (rows, columns, 3) from Y1 Y2 Cb Cr quadruples (PS3.3 C.7.6.3.1.2)."""
    quads = flat.reshape(rows, columns // 2, 4)
    out = np.empty((rows, columns, 3), flat.dtype)
    out[:, 0::2, 0], out[:, 1::2, 0] = quads[..., 0], quads[..., 1]
    for plane in (1, 2):
        out[..., plane] = np.repeat(quads[..., plane + 1], 2, axis=1)
    return out


def to_rgb(ybr: NDArray[Any]) -> NDArray[Any]:
    """Return RGB from full range YBR of 8 bits (PS3.3 C.7.6.3.1.2, inverse)."""
    swapped = np.ascontiguousarray(ybr[..., [0, 2, 1]])
    return np.asarray(cv2.cvtColor(swapped, cv2.COLOR_YCrCb2RGB))


def _is_ybr(decoded: NDArray[Any], header: Header) -> bool:
    if decoded.ndim != 3 or decoded.shape[2] < 3:
        return False
    return header.photometric.startswith("YBR_FULL") or header.photometric == "YBR_PARTIAL_422"


def _sign(decoded: NDArray[Any], header: Header) -> NDArray[Any]:
    """Return grey samples with the sign that pixel representation and bits stored say; high bits may be overlays."""
    stored, allocated = header.bits_stored or 0, decoded.dtype.itemsize * 8
    if decoded.ndim != 2 or decoded.dtype.kind == "f" or not 0 < stored <= allocated:
        return decoded
    signed = bool(header.pixel_representation)
    if stored == allocated:
        kind = np.dtype(f"{'i' if signed else 'u'}{decoded.dtype.itemsize}")
        return decoded if decoded.dtype == kind else decoded.view(kind)
    if not signed:
        return decoded if decoded.dtype.kind == "u" else decoded.view(np.dtype(f"u{decoded.dtype.itemsize}"))
    wide = decoded.view(np.dtype(f"i{decoded.dtype.itemsize}"))
    shift = allocated - stored
    return (wide << shift) >> shift


def _rle(header: Header, frame: bytes) -> NDArray[Any]:
    """Return the samples of an RLE frame (PS3.5 annex G): byte planes, most significant first."""
    rows, columns, samples = header.rows or 0, header.columns or 0, header.samples_per_pixel or 1
    size = max((header.bits_allocated or 8) // 8, 1)
    count = int.from_bytes(frame[:4], "little")
    if count != samples * size or count > 15:
        raise Undecodable(f"{count} RLE segments where {samples * size} are needed")
    offsets = [int.from_bytes(frame[4 + 4 * i : 8 + 4 * i], "little") for i in range(count)] + [len(frame)]
    planes = np.empty((count, rows * columns), np.uint8)
    for i in range(count):
        segment = imagecodecs.packbits_decode(frame[offsets[i] : offsets[i + 1]])
        if len(segment) < rows * columns:
            raise Undecodable(f"RLE segment {i + 1} holds {len(segment)} of {rows * columns} bytes")
        planes[i] = np.frombuffer(segment, np.uint8, count=rows * columns)
    joined = planes.reshape(samples, size, rows * columns)[:, ::-1, :].transpose(0, 2, 1)
    typed = np.ascontiguousarray(joined).reshape(samples, rows, columns, size).view(f"<u{size}")[..., 0]
    if samples == 1:
        return _sign(typed[0], header)
    return np.ascontiguousarray(typed.transpose(1, 2, 0))


def _jpeg(header: Header, frame: bytes) -> NDArray[Any]:
    """Return the samples of a DCT JPEG: baseline, extended or progressive, 8 or 12 bit."""
    shape = jpeg_shape(frame)
    space = "RGB" if shape.components == 3 and header.photometric == "RGB" else None
    decoded = imagecodecs.jpeg8_decode(_trim(frame), colorspace=space, outcolorspace="RGB" if space else None)
    return _sign(_planes(np.asarray(decoded)), header)
