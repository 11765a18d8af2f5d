"""Black out parts of every frame, and write the frames again as they were stored: losslessly, or as baseline JPEG where they were that.

Native pixels stay native. Of a lossy codec other than baseline JPEG a lossless sibling is written, so that nothing more is lost; what
the object says of earlier loss is left as it stands (PS3.3 C.7.6.1.1.5).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consilium_dicom.codecs import decode_stored, to_rgb
from consilium_dicom.deid.profiles import Rectangle
from consilium_dicom.encode import HTJ2K, JPEG_2000, JPEG_BASELINE, JPEG_LOSSLESS, JPEG_LS, LOSSLESS
from consilium_dicom.errors import Undecodable
from consilium_dicom.frames import frame_in, index_frames, index_in, walk_fragments
from consilium_dicom.header import Header
from consilium_dicom.rewrite import element
from consilium_dicom.scan import EXPLICIT_LE, Fence, Scan
from consilium_dicom.structure import items_of
from consilium_dicom.transcode import frame_of, photometric_of
from consilium_dicom.uids import transfer_syntax

_SIBLING = {"jpeg": JPEG_LS, "jpeg-lossless": JPEG_LOSSLESS, "jpeg-ls": JPEG_LS, "jpeg2000": JPEG_2000, "htj2k": HTJ2K}
_REGIONS = 0x00186011
_EDGES = (0x00186018, 0x0018601A, 0x0018601C, 0x0018601E)
Bands = tuple[Rectangle, ...]


@dataclass(frozen=True, slots=True)
class NewPixels:
    """The pixel data element as it is now, its transfer syntax, and the elements that describe it."""

    transfer_syntax_uid: str
    pixel_data: bytes
    changes: dict[int, bytes]
    shown: tuple[NDArray[Any], ...]


def regions_of(source: Scan) -> Bands:
    """Return the object's ultrasound regions (PS3.3 C.8.5.5); empty without any, or when one is no rectangle."""
    found = source.elements.get(_REGIONS)
    if found is None:
        return ()
    out = []
    order = "<" if source.encoding.little else ">"
    for inner, _ in items_of(source.buffer, found, source.encoding, Fence()):
        places = [inner.get(tag) for tag in _EDGES]
        if any(place is None or place[2] != 4 for place in places):
            return ()
        left, top, right, bottom = (
            struct.unpack_from(order + "I", source.buffer, place[1])[0] for place in places if place is not None
        )
        if not (left <= right <= 65535 and top <= bottom <= 65535):
            return ()
        out.append(Rectangle(left=left, top=top, width=right - left + 1, height=bottom - top + 1))
    return tuple(out)


def blackened(shape: Sequence[int], rectangles: Bands, kept: Bands) -> NDArray[np.bool_]:
    """Return (rows, columns) True where a picture becomes black: in ``rectangles``, and outside ``kept`` where any is given."""
    mask = np.full(tuple(shape[:2]), bool(kept))
    for one in kept:
        mask[one.top : one.bottom, one.left : one.right] = False
    for one in rectangles:
        mask[one.top : one.bottom, one.left : one.right] = True
    return mask


def target_of(header: Header) -> str:
    """Return the transfer syntax of masked frames."""
    if not header.encapsulated:
        return EXPLICIT_LE
    if header.transfer_syntax_uid in {*LOSSLESS, JPEG_BASELINE}:
        return header.transfer_syntax_uid
    known = transfer_syntax(header.transfer_syntax_uid)
    if known is None or known.codec == "video":
        raise Undecodable("a video's frames are not masked here: they would have to be encoded anew")
    return _SIBLING.get(known.codec, JPEG_LS)


def decoded_frames(
    source: Scan, header: Header, chosen: Sequence[int] | None = None
) -> Iterator[tuple[NDArray[Any], bool]]:
    """Yield (samples, whether they are YBR) of the chosen frames, or of all; raises ``Undecodable``."""
    index = (
        index_in(source.buffer, header, walk_fragments(source.buffer, header.pixel_offset, little=header.little_endian))
        if header.encapsulated
        else index_frames(source.buffer, header)
    )
    for number in range(index.count) if chosen is None else chosen:
        yield decode_stored(header, frame_in(source.buffer, index, number))


def mask_pixels(source: Scan, header: Header, mask: NDArray[np.bool_]) -> NewPixels:
    """Return the object's pixels with every frame blackened where ``mask`` is True. Raises ``DicomInvalid``."""
    target = target_of(header)
    values, meaning, shown = [], "", []
    last = max(header.frames - 1, 0)
    for number, (stored, ybr) in enumerate(decoded_frames(source, header)):
        samples = stored.copy()
        samples[mask] = _black(header, samples, ybr=ybr)
        meaning = photometric_of(header, samples, ybr, target)
        values.append(frame_of(header, samples, ybr, target))
        if number in {0, last // 2, last}:
            shown.append(to_rgb(samples) if ybr else samples)
    changes = {0x00280004: element(0x00280004, b"CS", meaning.encode())}
    if (header.samples_per_pixel or 1) > 1:
        changes[0x00280006] = element(0x00280006, b"US", b"\0\0")
    return NewPixels(target, _pixel_data(header, values, target), changes, tuple(shown))


def _black(header: Header, samples: NDArray[Any], *, ybr: bool) -> Any:
    """Return the sample value that is black: the smallest, of MONOCHROME1 the largest, of YBR no luma and neutral chroma."""
    if ybr:
        return np.array([0, 128, 128], samples.dtype)
    bits = header.bits_stored or 8
    if samples.dtype.kind == "f":
        return samples.min()
    signed = samples.dtype.kind == "i"
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    return high if header.photometric == "MONOCHROME1" else low


def _pixel_data(header: Header, values: Sequence[bytes], target: str) -> bytes:
    if target == EXPLICIT_LE:
        body = b"".join(values)
        return element(header.pixel_tag, b"OB" if (header.bits_allocated or 8) <= 8 else b"OW", body)
    sizes = [len(value) + (len(value) & 1) for value in values]
    offsets = list(accumulate((size + 8 for size in sizes[:-1]), initial=0))
    table = struct.pack(f"<{len(offsets)}I", *offsets) if offsets[-1] <= 0xFFFFFFFF else b""
    item = struct.Struct("<HHI").pack
    pieces = [b"\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff", item(0xFFFE, 0xE000, len(table)), table]
    for value, size in zip(values, sizes, strict=True):
        pieces += [item(0xFFFE, 0xE000, size), value, b"\0" * (size - len(value))]
    return b"".join([*pieces, item(0xFFFE, 0xE0DD, 0)])
