"""Decide whether an instance may be stored, and say what is odd about it.

Flows in: the bytes of one file; flows out: a ``ValidationRun`` with a verdict, findings in both languages and the failure
reason that STOW-RS and C-STORE report. Never raises for bad input, never runs unbounded: every fence becomes a finding.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pydicom.datadict import dictionary_description

from consilium_dicom import frames, sop_classes
from consilium_dicom.codecs import decode_frame
from consilium_dicom.errors import DicomInvalid, DicomUnreadable, TooLarge
from consilium_dicom.findings import Finding, failure_reason, finding
from consilium_dicom.header import Header, header_of
from consilium_dicom.scan import Buffer, Fence, Scan, scan
from consilium_dicom.structure import check_items
from consilium_dicom.uids import transfer_syntax

__all__ = ["Finding", "ValidationRun", "Verdict", "validate"]

Verdict = Literal["accept", "accept_with_warnings", "reject"]
DecodeFrames = Literal["none", "sample", "all"]

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_DATE = re.compile(r"\d{4}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])")
_OLD_DATE = re.compile(r"\d{4}\.\d\d\.\d\d")


@dataclass(frozen=True, slots=True)
class ValidationRun:
    """The outcome; ``failure_reason`` is 0 unless rejected. ``header`` is None when the bytes cannot be parsed."""

    verdict: Verdict
    findings: tuple[Finding, ...]
    failure_reason: int
    header: Header | None

    @property
    def fatal(self) -> tuple[Finding, ...]:
        """Return the findings that reject."""
        return tuple(found for found in self.findings if found.fatal)


def validate(
    data: Buffer, header: Header | None = None, *, decode: DecodeFrames = "sample", accept_private: bool = True
) -> ValidationRun:
    """Return the verdict on one file.

    ``decode`` says which compressed frames are decoded: none, the first, middle and last, or all; native ones never need it.
    ``accept_private`` lets vendors' SOP classes pass with a warning. ``header`` is not read again when given.
    """
    try:
        source = scan(data)
        found = list(_structure(source))
        known = header or header_of(source)
    except TooLarge as error:
        return _run([finding("too-large", why=error.detail)], None)
    except DicomUnreadable as error:
        return _run([finding("unreadable", why=error.detail)], None)
    found += _identity(known, accept_private=accept_private)
    found += _plausibility(known, source)
    found += _pixels(source, known, decode)
    return _run(found, known)


def _run(found: list[Finding], header: Header | None) -> ValidationRun:
    fatal = [item for item in found if item.fatal]
    verdict: Verdict = "reject" if fatal else "accept_with_warnings" if found else "accept"
    return ValidationRun(verdict, tuple(found), failure_reason(fatal[0].code) if fatal else 0, header)


def _structure(source: Scan) -> Iterator[Finding]:
    """V1: yield what is wrong with the container; raises for sequences that are broken."""
    if not source.has_preamble:
        yield finding("no-preamble")
    if 0x00020010 not in source.meta:
        yield finding("no-transfer-syntax", "(0002,0010)")
    if source.vr_mismatch:
        yield finding("vr-mismatch", "(0002,0010)")
    if source.truncated and not _ends_in_pixels(source):
        yield finding("truncated")
    tail = bytes(source.buffer[source.end :])
    if not source.truncated and tail.strip(b"\0"):
        yield finding("trailing-bytes", count=len(tail))
    if not source.truncated:
        check_items(source.buffer, source.elements, source.encoding, Fence())


def _ends_in_pixels(source: Scan) -> bool:
    return bool(source.elements) and next(reversed(source.elements)) >> 16 == 0x7FE0


def _uid_findings(name: str, tag_path: str, uid: str) -> Iterator[Finding]:
    if not uid:
        yield finding("uid-missing", tag_path, name=name)
    elif len(uid) > 64 or not _UID.fullmatch(uid):
        yield finding("uid-invalid", tag_path, name=name)
    elif any(len(part) > 1 and part[0] == "0" for part in uid.split(".")):
        yield finding("uid-leading-zero", tag_path, name=name)


def _identity(header: Header, *, accept_private: bool) -> Iterator[Finding]:
    """V2: yield what is wrong with the SOP class, the transfer syntax (the reasons to name first) and the UIDs."""
    if header.sop_class_uid and not sop_classes.is_storage(header.sop_class_uid):
        private = accept_private and sop_classes.is_private(header.sop_class_uid)
        code = "sop-class-private" if private else "sop-class-not-storage"
        yield finding(code, "(0008,0016)", uid=header.sop_class_uid)
    if header.transfer_syntax_uid and transfer_syntax(header.transfer_syntax_uid) is None:
        yield finding("transfer-syntax-unknown", "(0002,0010)", uid=header.transfer_syntax_uid)
    for name, tag_path, uid in (
        ("SOP Class UID", "(0008,0016)", header.sop_class_uid),
        ("SOP Instance UID", "(0008,0018)", header.sop_instance_uid),
        ("Study Instance UID", "(0020,000D)", header.study_uid),
        ("Series Instance UID", "(0020,000E)", header.series_uid),
    ):
        yield from _uid_findings(name, tag_path, uid)
    for name, tag_path, meta, inside in (
        ("SOP Class UID", "(0002,0002)", header.media_sop_class_uid, header.sop_class_uid),
        ("SOP Instance UID", "(0002,0003)", header.media_sop_instance_uid, header.sop_instance_uid),
    ):
        if not meta:
            yield finding("meta-uid-missing", tag_path, name=name)
        elif inside and meta != inside:
            yield finding("meta-mismatch", tag_path, name=name)
    if not header.modality:
        yield finding("attribute-absent", "(0008,0060)", name="Modality")


def _plausibility(header: Header, source: Scan) -> Iterator[Finding]:
    """V4: yield what a person should look at, though it can be stored."""
    if not header.patient_id:
        yield finding("patient-id-empty", "(0010,0020)")
    for name, tag_path, date in (
        ("Study Date", "(0008,0020)", header.study_date),
        ("Series Date", "(0008,0021)", header.series_date),
        ("Patient's Birth Date", "(0010,0030)", header.birth_date),
    ):
        if date and not (_DATE.fullmatch(date) or _OLD_DATE.fullmatch(date)):
            yield finding("date-invalid", tag_path, name=name)
    for name, tag_path, text in (
        ("Patient's Name", "(0010,0010)", str(header.patient_name)),
        ("Patient ID", "(0010,0020)", header.patient_id),
        ("Study Description", "(0008,1030)", header.study_description),
    ):
        if "\ufffd" in text:
            yield finding("text-undecodable", tag_path, name=name)
    for tag in header.nul_tags:
        yield finding("text-nul", f"({tag >> 16:04X},{tag & 0xFFFF:04X})", name=dictionary_description(tag))
    if any(width <= 0 for width in header.window_width):
        yield finding("window-invalid", "(0028,1051)")
    for name, tag, number in (
        ("Number of Frames", 0x00280008, header.number_of_frames),
        ("Instance Number", 0x00200013, header.instance_number),
        ("Series Number", 0x00200011, header.series_number),
    ):
        if number is None and source.value(tag).strip(b" \0"):
            yield finding("number-unreadable", f"({tag >> 16:04X},{tag & 0xFFFF:04X})", name=name)


def _pixels(source: Scan, header: Header, decode: DecodeFrames) -> Iterator[Finding]:
    """V2 and V3: yield what is wrong with the image pixel module and the pixels themselves (PS3.3 C.7.6.3)."""
    if not header.has_pixels:
        if sop_classes.needs_pixels(header.sop_class_uid):
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
        if not value:
            yield finding("attribute-missing", tag_path, name=name)
    if header.number_of_frames is not None and header.number_of_frames < 1:
        yield finding("attribute-missing", "(0028,0008)", name="Number of Frames")
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
    if syntax is None or syntax.codec == "video":
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
            decode_frame(header, frames.frame_in(buffer, index, number))
        except DicomInvalid as error:
            yield finding("frame-undecodable", "(7FE0,0010)", frame=number + 1, why=error.detail)
            return


def _chosen(count: int, decode: DecodeFrames) -> list[int]:
    if decode == "none":
        return []
    return list(range(count)) if decode == "all" else sorted({0, count // 2, count - 1})
