"""V2 and V3 of the pixels: the image pixel module, lengths and fragments, frames that decode and that show something."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from consilium_dicom import frames, sop_classes
from consilium_dicom.check_video import video_findings
from consilium_dicom.codecs import decode_frame
from consilium_dicom.errors import DicomInvalid
from consilium_dicom.findings import Finding, finding
from consilium_dicom.header import Header
from consilium_dicom.scan import Scan
from consilium_dicom.uids import transfer_syntax

_SAMPLES = {
    "MONOCHROME1": 1, "MONOCHROME2": 1, "PALETTE COLOR": 1, "RGB": 3, "HSV": 3, "YBR_FULL": 3, "YBR_FULL_422": 3,
    "YBR_PARTIAL_422": 3, "YBR_PARTIAL_420": 3, "YBR_ICT": 3, "YBR_RCT": 3, "ARGB": 4, "CMYK": 4,
}  # fmt: skip
DecodeFrames = Literal["none", "sample", "all"]
_PROVIDER_URL = 0x00287FE0  # the pixels lie elsewhere (PS3.3 C.7.6.3: without it alone pixel data is demanded)


def pixel_findings(source: Scan, header: Header, decode: DecodeFrames) -> Iterator[Finding]:
    """V2 and V3: yield what is wrong with the image pixel module and the pixels themselves (PS3.3 C.7.6.3)."""
    if not header.has_pixels:
        if sop_classes.needs_pixels(header.sop_class_uid) and _PROVIDER_URL not in source.elements:
            yield finding("pixel-data-missing", "(7FE0,0010)")
        return
    missing = list(_pixel_module(header))
    yield from missing
    if any(item.fatal for item in missing):
        return
    syntax = transfer_syntax(header.transfer_syntax_uid)
    if syntax is not None and syntax.encapsulated != header.encapsulated:
        yield finding("encapsulation-mismatch", "(7FE0,0010)")
    elif header.encapsulated:
        yield from _encapsulated(source, header, decode)
    else:
        yield from _native(source, header)


def _pixel_module(header: Header) -> Iterator[Finding]:
    for name, tag_path, value in (
        ("Rows", "(0028,0010)", header.rows),
        ("Columns", "(0028,0011)", header.columns),
        ("Bits Allocated", "(0028,0100)", header.bits_allocated),
        ("Samples per Pixel", "(0028,0002)", header.samples_per_pixel),
        ("Photometric Interpretation", "(0028,0004)", header.photometric),
    ):
        if value == 0:
            yield finding("attribute-invalid", tag_path, name=name, value=value)
        elif not value:
            yield finding("attribute-missing", tag_path, name=name)
    if header.bits_allocated and header.bits_allocated != 1 and header.bits_allocated % 8:
        yield finding("bits-allocated-odd", "(0028,0100)", allocated=header.bits_allocated)
    if header.number_of_frames is not None and header.number_of_frames < 1:
        yield finding("attribute-invalid", "(0028,0008)", name="Number of Frames", value=header.number_of_frames)
    yield from _samples(header)
    if header.pixel_tag != 0x7FE00010:
        return
    stored, allocated = header.bits_stored, header.bits_allocated
    if stored is None:
        yield finding("attribute-absent", "(0028,0101)", name="Bits Stored")
    elif allocated and not 0 < stored <= allocated:
        yield finding("bits-inconsistent", "(0028,0101)", stored=stored, allocated=allocated)
    elif header.high_bit is not None and header.high_bit != stored - 1:
        yield finding("high-bit-odd", "(0028,0102)")
    if header.pixel_representation is None:
        yield finding("attribute-absent", "(0028,0103)", name="Pixel Representation")


def _samples(header: Header) -> Iterator[Finding]:
    """Yield a number of samples that the photometric interpretation does not have (PS3.3 C.7.6.3.1.2)."""
    expected = _SAMPLES.get(header.photometric)
    if expected and header.samples_per_pixel and header.samples_per_pixel != expected:
        facts = {"photometric": header.photometric, "expected": expected, "actual": header.samples_per_pixel}
        yield finding("samples-mismatch", "(0028,0002)", **facts)


def _native(source: Scan, header: Header) -> Iterator[Finding]:
    """V3 for native pixels: the length is what rows, columns, samples, bits and frames say, padded to even."""
    expected = (frames.frame_bits(header) * header.frames + 7) // 8
    stated = header.pixel_length or 0
    present = len(source.buffer) - header.pixel_offset
    where = f"({header.pixel_tag >> 16:04X},{header.pixel_tag & 0xFFFF:04X})"
    if stated > present:
        yield finding("pixel-data-truncated", where, actual=present, expected=max(stated, expected))
    elif stated < expected:
        yield finding("pixel-data-short", where, actual=stated, expected=expected)
    elif stated > expected + (expected & 1):
        yield finding("pixel-data-long", where, actual=stated, expected=expected)
    if stated >= expected and present >= expected and _shows_something(header):
        yield from _native_flatness(source, header)


def _encapsulated(source: Scan, header: Header, decode: DecodeFrames) -> Iterator[Finding]:
    """V3 for code streams: whole fragments, a frame for each, and frames that decode."""
    buffer = source.buffer
    try:
        fragments = frames.walk_fragments(buffer, header.pixel_offset, little=header.little_endian)
    except DicomInvalid as error:
        yield finding("fragments-broken", "(7FE0,0010)", why=error.detail)
        return
    if not fragments.terminated:
        yield finding("fragments-broken", "(7FE0,0010)", why="the sequence delimiter is missing")
        return
    if any(length % 2 for _, length in fragments.segments):
        yield finding("fragment-odd", "(7FE0,0010)")
    syntax = transfer_syntax(header.transfer_syntax_uid)
    if syntax is None:
        return
    if syntax.codec == "video":
        yield from video_findings(source, header, fragments.segments)
        return
    try:
        index = frames.index_in(buffer, header, fragments)
    except DicomInvalid as error:
        yield finding("frames-mismatch", "(7FE0,0010)", why=error.detail)
        return
    if not index.segments or not all(index.segments):
        yield finding("frames-mismatch", "(7FE0,0010)", why="there are no fragments")
        return
    if fragments.basic_offsets and not frames.table_fits(fragments, index.count):
        yield finding("offset-table-wrong", "(7FE0,0010)")
    for number in _chosen(index.count, decode):
        try:
            decoded = decode_frame(header, frames.frame_in(buffer, index, number))
        except DicomInvalid as error:
            yield finding("frame-undecodable", "(7FE0,0010)", frame=number + 1, why=error.detail)
            return
        if _shows_something(header):
            yield from _flatness(decoded.reshape(-1), number)


def _shows_something(header: Header) -> bool:
    """Tell whether a frame of one value is odd: in images, but not in segments, doses and maps, whose frames may be empty."""
    return (
        "Image Storage" in sop_classes.name_of(header.sop_class_uid) and (header.rows or 0) * (header.columns or 0) > 64
    )


def _native_flatness(source: Scan, header: Header) -> Iterator[Finding]:
    sample = np.dtype({8: "u1", 16: "u2", 32: "u4"}.get(header.bits_allocated or 0, "V1"))
    if header.pixel_tag != 0x7FE00010 or sample.kind == "V":
        return
    bits = frames.frame_bits(header)
    for number in _chosen(header.frames, "sample"):
        at = header.pixel_offset + number * bits // 8
        yield from _flatness(np.frombuffer(source.buffer, sample, bits // sample.itemsize // 8, at), number)


def _flatness(samples: NDArray[Any], number: int) -> Iterator[Finding]:
    """Yield a frame whose samples are all equal; a few are looked at first, for most frames differ at once."""
    few = samples[:: max(1, len(samples) // 61)]
    if few.min() != few.max() or samples.min() != samples.max():
        return
    value = samples[0].item()
    if value == 0:
        yield finding("frame-black", "(7FE0,0010)", frame=number + 1)
    else:
        yield finding("frame-constant", "(7FE0,0010)", frame=number + 1, value=value)


def _chosen(count: int, decode: DecodeFrames) -> list[int]:
    if decode == "none":
        return []
    return list(range(count)) if decode == "all" else sorted({0, count // 2, count - 1})
