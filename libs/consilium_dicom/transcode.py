"""Make another transfer syntax of a stored object, frame by frame, with a data set that tells the truth about its new pixels.

Flows in: the file's beginning up to its pixel data, then one stored frame after the other; flows out: the pieces of a Part 10 file
(PS3.10 7) whose joined bytes nobody needs to hold. ``transcode`` does it in memory. Clauses: PS3.5 8.2, A.2, A.4; PS3.3 C.7.6.1.1.5.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from consilium_dicom.codecs import decode_stored, to_rgb
from consilium_dicom.encode import (
    HTJ2K_RPCL,
    JPEG_BASELINE,
    LOSSLESS,
    Samples,
    coded_photometric,
    encode_frame,
)
from consilium_dicom.errors import Undecodable, Unencodable
from consilium_dicom.frames import FrameIndex, frame_in, index_frames
from consilium_dicom.header import Header, header_of
from consilium_dicom.rewrite import data_set, element, meta_group, turned
from consilium_dicom.scan import EXPLICIT_LE, PIXEL_TAGS, UNDEFINED, Buffer, Scan, scan, scan_elements
from consilium_dicom.uids import transfer_syntax

__all__ = ["EXPLICIT_LE", "HTJ2K_RPCL", "JPEG_BASELINE", "LOSSLESS", "Conversion", "conversion", "transcode"]

Way = Literal["none", "copy", "decode", "encode"]
_ALWAYS_LOSSY = frozenset(
    f"1.2.840.10008.1.2.4.{suffix}" for suffix in ("50", "51", "53", "55", "81", "111")
)  # the others may be either: what the object says of itself is kept
_METHODS = {"jpeg": "ISO_10918_1", "jpeg-ls": "ISO_14495_1", "jpeg2000": "ISO_15444_1", "htj2k": "ISO_15444_15"}
_EXTENDED_TABLE = frozenset({0x7FE00001, 0x7FE00002})
_MAX_TABLE_OFFSET = 0xFFFFFFFF
_QUALITY = 90


@dataclass(frozen=True, slots=True)
class Conversion:
    """How one object's frames become those of ``target``; made by ``conversion`` from its head and first frame.

    ``way``: "none" (no pixels), "copy" (native stays native), "decode" (to native), "encode" (to code streams).
    ``photometric`` is what the new data set says, ``decoded`` what the samples are in between; ``first`` is the first new frame
    (ways "decode" and "encode"), ``ratio`` by how much code streams shrink it.
    """

    target: str
    way: Way
    source: Scan
    header: Header
    photometric: str = ""
    decoded: str = ""
    sop_instance_uid: str = ""
    first: bytes = b""
    ratio: float = 1.0

    @property
    def native(self) -> bool:
        """Tell whether the new frames lie side by side without item heads."""
        return self.way in ("copy", "decode")

    def head(self, sizes: Sequence[int] = (), *, extended: bool = False) -> bytes:
        """Return everything before the first frame; ``sizes`` of all encoded frames give an offset table, else it is empty.

        An offset beyond 32 bits leaves the table empty too, which is always allowed (A.4); ``extended`` writes the Extended Offset
        Table instead (PS3.3 C.7.6.3.1.8), whose length does not depend on what it says.
        """
        offsets = list(accumulate((size + (size & 1) + 8 for size in sizes[:-1]), initial=0)) if sizes else []
        put = self._changes()
        if extended:
            for tag, numbers in ((0x7FE00001, offsets), (0x7FE00002, sizes)):
                put[tag] = element(tag, b"OV", struct.pack(f"<{len(offsets)}Q", *numbers))
            offsets = []
        meta = meta_group(self.source, self.target, self.sop_instance_uid)
        body = data_set(self.source, put, {*PIXEL_TAGS, *_EXTENDED_TABLE})
        if self.way == "none":
            return meta + body
        if self.native:
            vr, length = self._native_vr(), self.native_bytes()
            if length + (length & 1) >= UNDEFINED:
                raise Unencodable("the pixels are too large for a transfer syntax without compression")
            tag = self.header.pixel_tag
            place = struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, vr, 0, length + (length & 1))
            return meta + body + place
        table = struct.pack(f"<{len(offsets)}I", *offsets) if not offsets or offsets[-1] <= _MAX_TABLE_OFFSET else b""
        opening = b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff" + struct.pack("<HHI", 0xFFFE, 0xE000, len(table)) + table
        return meta + body + opening

    def native_bytes(self) -> int:
        """Return the length of all native frames, without the pad byte."""
        if self.way == "copy":
            return self.header.pixel_length or 0
        samples = self.header.samples_per_pixel or 1
        rows, columns = self.header.rows or 0, self.header.columns or 0
        if self.header.bits_allocated == 1:
            return (rows * columns + 7) // 8
        return rows * columns * samples * _sample_bytes(self.header) * self.header.frames

    def frame(self, stored: bytes) -> bytes:
        """Return one frame's new value from its stored one (ways "decode" and "encode")."""
        return self._value(*decode_stored(self.header, stored))

    def _value(self, samples: NDArray[Any], ybr: bool) -> bytes:
        return _coded(
            self.header, to_rgb(samples) if ybr and self.decoded == "RGB" else samples, self.decoded, self.target
        )

    def item(self, value: bytes) -> bytes:
        """Return an encoded frame as a fragment of even length; a native one as it is."""
        if self.native:
            return value
        return struct.pack("<HHI", 0xFFFE, 0xE000, len(value) + (len(value) & 1)) + value + b"\0" * (len(value) & 1)

    def copied(self, stored: bytes) -> bytes:
        """Return a part of native pixel data in little endian (way "copy"); parts begin and end between words."""
        if self.header.little_endian:
            return stored
        size = {"OW": max(2, (self.header.bits_allocated or 16) // 8), "OF": 4, "OD": 8}.get(self.header.pixel_vr, 1)
        return turned(stored, size)

    def tail(self, rest: Buffer = b"") -> bytes:
        """Return what follows the last frame: padding or delimiter, and the elements that stood behind the pixels.

        ``rest`` is the source's data set behind its pixel data element's value, delimiter and all.
        """
        close = b"" if self.way == "none" else b"\0" * (self.native_bytes() & 1) if self.native else _DELIMITER
        return close + self._behind(rest)

    def _behind(self, rest: Buffer) -> bytes:
        at = 0
        while self.header.encapsulated and at + 8 <= len(rest):
            group, number, length = struct.unpack_from("<HHI", rest, at)
            at += 8
            if (group, number) == (0xFFFE, 0xE0DD):
                break
            at += length  # a fragment that belongs to no frame
        if at >= len(rest):
            return b""
        after = _behind_scan(self.source, bytes(rest[at:]))
        return data_set(after, {}, {*PIXEL_TAGS, *_EXTENDED_TABLE})

    def _native_vr(self) -> bytes:
        if self.header.pixel_tag != 0x7FE00010:
            return b"OF" if self.header.pixel_tag == 0x7FE00008 else b"OD"
        if self.way == "copy" and self.header.pixel_vr in ("OB", "OW"):
            return self.header.pixel_vr.encode()
        return b"OW" if (self.header.bits_allocated or 8) > 8 or self.way == "copy" else b"OB"

    def _changes(self) -> dict[int, bytes]:
        put: dict[int, bytes] = {}
        if self.way in ("decode", "encode"):
            put[0x00280004] = element(0x00280004, b"CS", self.photometric.encode())
            if (self.header.samples_per_pixel or 1) > 1:
                put[0x00280006] = element(0x00280006, b"US", b"\0\0")
            if self.header.transfer_syntax_uid in _ALWAYS_LOSSY and self.header.lossy != "01":
                put |= _lossy(self.source, _method(self.header.transfer_syntax_uid), self.ratio)
        if self.way == "encode" and self.target == JPEG_BASELINE:
            put |= _lossy(self.source, "ISO_10918_1", self.ratio) | self._derived()
        return put

    def _derived(self) -> dict[int, bytes]:
        """Return what makes a lossy copy another instance, derived from this one (C.7.6.1.1.5, C.12.4.1)."""
        kind = self.source.value(0x00080008).strip(b" \0").split(b"\\")
        image_type = b"\\".join([b"DERIVED", *(kind[1:] or [b"PRIMARY"])])
        code = _item(
            element(0x00080100, b"SH", b"121320")
            + element(0x00080102, b"SH", b"DCM")
            + element(0x00080104, b"LO", b"Uncompressed predecessor")
        )
        image = _item(
            element(0x00081150, b"UI", self.header.sop_class_uid.encode())
            + element(0x00081155, b"UI", self.header.sop_instance_uid.encode())
            + element(0x0040A170, b"SQ", code)
        )
        return {
            0x00080008: element(0x00080008, b"CS", image_type),
            0x00080018: element(0x00080018, b"UI", self.sop_instance_uid.encode()),
            0x00082111: element(0x00082111, b"ST", b"JPEG baseline, quality %d" % _QUALITY),
            0x00082112: element(0x00082112, b"SQ", image),
        }


_DELIMITER = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def _item(body: bytes) -> bytes:
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(body)) + body


def _method(transfer_syntax_uid: str) -> str:
    known = transfer_syntax(transfer_syntax_uid)
    return _METHODS.get(known.codec, "") if known else ""


def _lossy(source: Scan, method: str, ratio: float) -> dict[int, bytes]:
    """Return the elements that say that pixels have lost something; earlier ratios and methods are kept (C.7.6.1.1.5)."""
    put = {0x00282110: element(0x00282110, b"CS", b"01")}
    for tag, vr, value in ((0x00282112, b"DS", f"{ratio:.1f}"), (0x00282114, b"CS", method)):
        earlier = [part for part in source.value(tag).strip(b" \0").split(b"\\") if part]
        put[tag] = element(tag, vr, b"\\".join([*earlier, value.encode()]))
    return put


def _behind_scan(source: Scan, rest: bytes) -> Scan:
    elements, end, truncated = scan_elements(rest, 0, len(rest), source.encoding)
    if truncated:
        elements = {tag: found for tag, found in elements.items() if found[1] + found[2] <= len(rest)}
    return Scan(
        rest, {}, elements, source.encoding, source.transfer_syntax_uid, 0, source.has_preamble, False, end, truncated,
        source.vr_mismatch,
    )  # fmt: skip


def conversion(head: Buffer, first: bytes | None, target: str) -> Conversion:
    """Return how an object becomes ``target``; ``head`` reaches to its pixel data's value, ``first`` is its first stored frame.

    ``first`` may be None for native pixels that stay so, and without pixels. Raises ``Unencodable`` or ``Undecodable``.
    """
    source = scan(head, to_pixels=True)
    header = header_of(source)
    known = transfer_syntax(header.transfer_syntax_uid)
    if not header.has_pixels:
        if target != EXPLICIT_LE:
            raise Unencodable("an object without pixels has no compressed form")
        return Conversion(target, "none", source, header)
    if known is not None and known.codec == "video":
        raise Undecodable("a video stays as it is stored")
    if target == EXPLICIT_LE and not header.encapsulated:
        return Conversion(target, "copy", source, header)
    if header.bits_allocated == 1 and header.frames > 1:
        raise Undecodable("compressed frames of single bits stay as they are stored")
    if first is None:
        raise ValueError("the first frame tells what the others are")
    samples, ybr = decode_stored(header, first)
    decoded = _meaning(header, samples, ybr, target)
    if target == EXPLICIT_LE:
        return _with_first(Conversion(target, "decode", source, header, decoded, decoded), samples, ybr, len(first))
    uid = derived_uid(header.sop_instance_uid, target) if target == JPEG_BASELINE else ""
    made = Conversion(target, "encode", source, header, coded_photometric(decoded, target), decoded, uid)
    return _with_first(made, samples, ybr, len(first))


def _with_first(made: Conversion, samples: NDArray[Any], ybr: bool, stored_bytes: int) -> Conversion:
    first = made._value(samples, ybr)
    coded = len(first) if made.way == "encode" else stored_bytes
    return replace(made, first=first, ratio=samples.nbytes / max(coded, 1))


def frame_as(header: Header, stored: bytes, target: str) -> bytes:
    """Return one stored frame as samples (``EXPLICIT_LE``) or as a code stream, like ``Conversion.frame``."""
    return frame_of(header, *decode_stored(header, stored), target)


def frame_of(header: Header, samples: NDArray[Any], ybr: bool, target: str) -> bytes:
    """Return samples as ``codecs.decode_stored`` gave them, perhaps changed since, as a frame of ``target``."""
    decoded = _meaning(header, samples, ybr, target)
    return _coded(header, to_rgb(samples) if ybr and decoded == "RGB" else samples, decoded, target)


def photometric_of(header: Header, samples: NDArray[Any], ybr: bool, target: str) -> str:
    """Return the Photometric Interpretation that an object of such frames states."""
    decoded = _meaning(header, samples, ybr, target)
    return decoded if target == EXPLICIT_LE else coded_photometric(decoded, target)


def _meaning(header: Header, samples: NDArray[Any], ybr: bool, target: str) -> str:
    """Return the Photometric Interpretation of decoded samples; YBR_FULL stays so where nothing may be lost."""
    if ybr:
        return "RGB" if target == JPEG_BASELINE else "YBR_FULL"
    return "RGB" if samples.ndim == 3 else header.photometric


def _coded(header: Header, samples: NDArray[Any], meaning: str, target: str) -> bytes:
    if target == EXPLICIT_LE and header.bits_allocated == 1:
        return np.packbits(samples.ravel(), bitorder="little").tobytes()
    plain = _plain(header, samples)
    if target == EXPLICIT_LE:
        return plain.tobytes()
    if header.bits_allocated not in (8, 16):
        raise Unencodable(f"pixels of {header.bits_allocated} bits are not compressed")
    return encode_frame(plain, Samples(header.bits_stored or 8 * plain.dtype.itemsize, meaning), target)


def _sample_bytes(header: Header) -> int:
    if header.pixel_tag != 0x7FE00010:
        return 4 if header.pixel_tag == 0x7FE00008 else 8
    return max((header.bits_allocated or 8) // 8, 1)


def _plain(header: Header, samples: NDArray[Any]) -> NDArray[Any]:
    """Return the samples as Bits Allocated says, little endian."""
    size = _sample_bytes(header)
    kind = "f" if header.pixel_tag != 0x7FE00010 else "i" if header.pixel_representation else "u"
    if size not in {1, 2, 4, 8}:
        raise Undecodable(f"{header.bits_allocated} bits allocated")
    if samples.dtype.itemsize > size:
        raise Undecodable(f"samples of {samples.dtype.itemsize} bytes in an object of {size}")
    return np.ascontiguousarray(samples.astype(np.dtype(f"<{kind}{size}"), copy=False))


def derived_uid(sop_instance_uid: str, target: str) -> str:
    """Return the UID of the lossy copy of an instance, always the same one (PS3.5 B.2)."""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, f'{sop_instance_uid}/{target}').int}"


def transcode(data: Buffer, target: str) -> bytes:
    """Return a whole file in another transfer syntax, with a Basic Offset Table where there are code streams."""
    source = scan(data, to_pixels=True)
    header = header_of(source)
    if not header.has_pixels:
        whole = scan(data)
        return meta_group(whole, target) + data_set(whole, {}, ()) if target == EXPLICIT_LE else _no_pixels()
    buffer, index = source.buffer, index_frames(data, header)
    made = conversion(data, frame_in(buffer, index, 0), target)
    rest = buffer[end_of_pixels(index, header) :]
    if made.way == "copy":
        at = header.pixel_offset
        return b"".join((made.head(), made.copied(bytes(buffer[at : at + made.native_bytes()])), made.tail(rest)))
    values = [made.first, *(made.frame(frame_in(buffer, index, number)) for number in range(1, index.count))]
    head = made.head([len(value) for value in values])
    return b"".join((head, *(made.item(value) for value in values), made.tail(rest)))


def _no_pixels() -> bytes:
    raise Unencodable("an object without pixels has no compressed form")


def end_of_pixels(index: FrameIndex, header: Header) -> int:
    """Return the offset behind the last frame: of native pixel data the end of its value, of fragments that of the last one."""
    if not header.encapsulated:
        return header.pixel_offset + (header.pixel_length or 0)
    return max(offset + length for frame in index.segments for offset, length in frame)
