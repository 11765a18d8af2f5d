"""Correct a patient's identity in a copy of an object, and write down what stood there before (PS3.3 C.12.1.1.9).

Flows in: the bytes of one file and the corrections; flows out: a new file with the same SOP Instance UID, whose Original Attributes
Sequence (0400,0561) keeps the replaced values, when and why. The bytes given are not changed. Text that is not ASCII is
written as UTF-8 in all of the object, so that the new values and the old ones have one character set; native pixels come out in
Explicit VR Little Endian, encapsulated ones as they are. The same input gives the same bytes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import datetime

from consilium_dicom.charset import Encodings, decode, encodings_of
from consilium_dicom.charset_repair import TEXT_VRS
from consilium_dicom.errors import TooLarge
from consilium_dicom.frames import walk_fragments
from consilium_dicom.header import header_of
from consilium_dicom.rewrite import WORD_BYTES, data_set, element, meta_group, turned
from consilium_dicom.scan import EXPLICIT_LE, MAX_DEPTH, UNDEFINED, Element, Encoding, Fence, Scan, scan
from consilium_dicom.structure import is_sequence, items_of
from consilium_dicom.uids import transfer_syntax
from consilium_dicom.vr import known_vr

_NAME, _ID, _BIRTH_DATE, _SEX = 0x00100010, 0x00100020, 0x00100030, 0x00100040
_CHARACTER_SET, _ORIGINALS, _MODIFIED = 0x00080005, 0x04000561, 0x04000550
_VRS = {_NAME: b"PN", _ID: b"LO", _BIRTH_DATE: b"DA", _SEX: b"CS"}


@dataclass(frozen=True, slots=True)
class Correction:
    """New values; None leaves one as it is. ``character_set`` is the term by which the object's text is really written."""

    patient_id: str | None = None
    patient_name: str | None = None
    birth_date: str | None = None
    sex: str | None = None
    character_set: str | None = None

    def values(self) -> dict[int, str]:
        """Return the new values by tag."""
        given = {_ID: self.patient_id, _NAME: self.patient_name, _BIRTH_DATE: self.birth_date, _SEX: self.sex}
        return {tag: value for tag, value in given.items() if value is not None}


def amend(data: bytes, correction: Correction, at: datetime, system: str) -> bytes:
    """Return the corrected file; ``at`` and ``system`` go into the Original Attributes Sequence. Raises DicomUnreadable."""
    source = scan(data)
    header = header_of(source)
    term = correction.character_set
    encodings = encodings_of(term.encode()) if term else header.charset.encodings
    writer = _Utf8(source, encodings)
    values = correction.values()
    put: dict[int, bytes] = {}
    if term or not _is_ascii(source, values):
        put = writer.texts() | {_CHARACTER_SET: element(_CHARACTER_SET, b"CS", b"ISO_IR 192")}
    before = {tag: writer.value(tag) for tag in values}
    put |= {tag: element(tag, _VRS[tag], value.encode()) for tag, value in values.items()}
    known = source.elements.get(_ORIGINALS)
    earlier = writer.items(known, source.encoding, encodings, 1) if known is not None else b""
    put[_ORIGINALS] = element(_ORIGINALS, b"SQ", earlier + _item(_original(before, at, system)))
    if header.encapsulated and source.encoding.implicit:  # against PS3.5 A.4, but it occurs
        end = walk_fragments(source.buffer, header.pixel_offset).end
        stream = bytes(source.buffer[header.pixel_offset : end])
        put[header.pixel_tag] = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, UNDEFINED) + stream
    syntax = transfer_syntax(source.transfer_syntax_uid)
    kept = source.transfer_syntax_uid if syntax is not None and syntax.encapsulated else EXPLICIT_LE
    return meta_group(source, kept) + data_set(source, put, ())


def _is_ascii(source: Scan, values: dict[int, str]) -> bool:
    """Tell whether neither the object nor the new values hold more than ASCII."""
    whole = bytes(source.value(_CHARACTER_SET)).strip(b" \0") in {b"", b"ISO_IR 6", b"ISO_IR 100", b"ISO_IR 192"}
    return whole and all(value.isascii() for value in values.values()) and not _has_wide(source)


def _has_wide(source: Scan) -> bool:
    for tag, (vr, at, length) in source.elements.items():
        name = vr or known_vr(source.buffer, tag, (vr, at, length), source.elements)
        if name == b"SQ" or length == UNDEFINED:
            if tag >> 16 != 0x7FE0 and length:
                return True  # items are written anew rather than searched
        elif name in TEXT_VRS and not bytes(source.buffer[at : at + length]).isascii():
            return True
    return False


def _original(before: dict[int, bytes], at: datetime, system: str) -> bytes:
    modified = b"".join(element(tag, _VRS[tag], before[tag]) for tag in sorted(before))
    return b"".join(
        (
            element(_MODIFIED, b"SQ", _item(modified)),
            element(0x04000562, b"DT", at.strftime("%Y%m%d%H%M%S.%f+0000").encode()),
            element(0x04000563, b"LO", system.encode()),
            element(0x04000564, b"LO", b""),
            element(0x04000565, b"CS", b"CORRECT"),
        )
    )


def _item(body: bytes) -> bytes:
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(body)) + body


class _Utf8:
    """Writes texts, at every depth, as UTF-8; other values as they are, in little endian."""

    __slots__ = ("encodings", "fence", "source")

    def __init__(self, source: Scan, encodings: Encodings) -> None:
        self.source = source
        self.encodings = encodings
        self.fence = Fence()

    def texts(self) -> dict[int, bytes]:
        """Return the top-level elements that are text or hold items."""
        out = {}
        for tag, found in self.source.elements.items():
            name = self._vr(tag, found, self.source.elements)
            if tag >> 16 != 0x7FE0 and (name in TEXT_VRS or name == b"SQ" or is_sequence(tag, found)):
                out[tag] = self._written(tag, found, self.source.elements, self.source.encoding, self.encodings, 1)
        return out

    def value(self, tag: int) -> bytes:
        """Return a top-level value, text as UTF-8; empty when absent."""
        raw = self.source.value(tag).rstrip(b"\0 ")
        return _utf8(raw, self.encodings) if _VRS.get(tag) in TEXT_VRS else raw

    def _vr(self, tag: int, found: Element, beside: dict[int, Element]) -> bytes:
        return found[0] or known_vr(self.source.buffer, tag, found, beside)

    def _written(
        self, tag: int, found: Element, beside: dict[int, Element], encoding: Encoding, encodings: Encodings, depth: int
    ) -> bytes:
        name = self._vr(tag, found, beside)
        if is_sequence(tag, found) or name == b"SQ":
            return element(tag, b"SQ", self.items(found, encoding, encodings, depth))
        raw = bytes(self.source.buffer[found[1] : found[1] + found[2]])
        if tag == _CHARACTER_SET:
            return element(tag, b"CS", b"ISO_IR 192")
        if name in TEXT_VRS:
            return element(tag, name, _utf8(raw, encodings))
        return element(tag, name, raw if encoding.little else turned(raw, WORD_BYTES.get(name, 1)))

    def items(self, found: Element, encoding: Encoding, encodings: Encodings, depth: int) -> bytes:
        """Return a sequence's items; text follows an item's own character set, else its parent's (PS3.5 7.5.3)."""
        if depth > MAX_DEPTH:
            raise TooLarge(f"sequences nest deeper than {MAX_DEPTH}")
        out = []
        for inner, inside in items_of(self.source.buffer, found, encoding, self.fence):
            stated = inner.get(_CHARACTER_SET)
            mine = encodings
            if stated is not None and stated[2]:
                raw = bytes(self.source.buffer[stated[1] : stated[1] + stated[2]])
                mine = encodings if raw == self.source.value(_CHARACTER_SET) else encodings_of(raw)
            body = (
                self._written(tag, one, inner, inside, mine, depth + 1) for tag, one in inner.items() if tag & 0xFFFF
            )
            out.append(_item(b"".join(body)))
        return b"".join(out)


def _utf8(raw: bytes, encodings: Encodings) -> bytes:
    return decode(raw.rstrip(b"\0 "), encodings).encode()
