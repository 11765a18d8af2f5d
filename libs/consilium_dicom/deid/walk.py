"""Write a data set anew, each element as its rule says, at every depth (PS3.15 E.2, PS3.5 7.5).

Flows in: a ``Scan`` in any encoding; flows out: the elements in Explicit VR Little Endian, text as UTF-8, and what was done. The
input comes from strangers: depth and number are fenced, and nothing is copied that no rule has judged.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from pydicom.datadict import keyword_for_tag

from consilium_dicom.charset import Encodings, decode, encodings_of
from consilium_dicom.deid.options import Options
from consilium_dicom.deid.overlays import shows_no_text
from consilium_dicom.deid.private import kept_private
from consilium_dicom.deid.pseudonyms import shifted, stand_in_uid
from consilium_dicom.deid.rules import Action, action_for, table
from consilium_dicom.deid.words import Cleaner
from consilium_dicom.errors import TooLarge
from consilium_dicom.rewrite import WORD_BYTES, element, turned
from consilium_dicom.scan import MAX_DEPTH, PIXEL_TAGS, UNDEFINED, Element, Encoding, Fence, Scan
from consilium_dicom.structure import is_sequence, items_of
from consilium_dicom.vr import known_vr

TEXT_VRS = frozenset({b"SH", b"LO", b"ST", b"LT", b"UC", b"UT", b"PN"})
_PROSE_VRS = frozenset({b"ST", b"LT", b"UT"})
_STRINGS = TEXT_VRS | {b"CS", b"AE", b"UR"}
_CHARACTER_SET, _CONTENT, _TEXT_VALUE, _DOCUMENT = 0x00080005, 0x0040A730, 0x0040A160, 0x00420011
_MIME, _DOCUMENT_LENGTH = 0x00420012, 0x00420015
_GRAPHICS, _UNFORMATTED_TEXT = 0x00700001, 0x00700006
_NAME, _PATIENT_ID = 0x00100010, 0x00100020
_DESCRIPTORS = "descriptors"
_STRUCTURAL = frozenset(
    {0x00080008, 0x00080060, 0x00089007, 0x0040A010, 0x0040A040, 0x0040A050, 0x0040A491, 0x0040A493}
)
_DUMMY = {
    b"DA": b"19000101", b"DT": b"19000101000000", b"TM": b"000000", b"CS": b"ANON", b"AS": b"000Y", b"DS": b"0", b"IS": b"0",
    b"OB": b"\0\0", b"OW": b"\0\0", b"UN": b"\0\0",
}  # fmt: skip
_EMPTY_PDF = (
    b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj\n%%EOF\n"
)
_STAND_IN = "ANONYMIZED"


@dataclass(frozen=True, slots=True)
class Done:
    """What was done to one element; ``path`` like ``(0040,A730)[2].(0040,A160)``, never a value."""

    path: str
    action: Action


@dataclass(slots=True)
class Walk:
    """One object's de-identification: what it needs to know, and what it finds on its way."""

    source: Scan
    options: Options
    encodings: Encodings
    patient: str
    days: int
    cleaner: Cleaner
    done: list[Done] = field(default_factory=list)
    retained_private: int = 0
    graphics_removed: int = 0
    fence: Fence = field(default_factory=Fence)

    def elements(self) -> dict[int, bytes]:
        """Return the top-level elements that stay, whole, but for the pixel data."""
        out = self._data_set(self.source.elements, self.source.encoding, self.encodings, "", 1)
        if _DOCUMENT_LENGTH in out:
            size = len(self._dummy(_DOCUMENT, b"OB", 0))
            out[_DOCUMENT_LENGTH] = element(_DOCUMENT_LENGTH, b"UL", struct.pack("<I", size))
        return out

    def _data_set(
        self, elements: dict[int, Element], encoding: Encoding, encodings: Encodings, above: str, depth: int
    ) -> dict[int, bytes]:
        if depth > MAX_DEPTH:
            raise TooLarge(f"sequences nest deeper than {MAX_DEPTH}")
        buffer = self.source.buffer
        private = kept_private(buffer, elements, self.options)
        out: dict[int, bytes] = {}
        for tag, found in elements.items():
            if not tag & 0xFFFF or (depth == 1 and tag in PIXEL_TAGS) or tag == _CHARACTER_SET:
                continue
            path = f"{above}({tag >> 16:04X},{tag & 0xFFFF:04X})"
            vr = found[0] if found[0] not in {b"", b"UN"} else known_vr(buffer, tag, found, elements)
            if tag >> 16 & 1:
                action = Action.CLEAN if tag in private and vr != b"UN" else Action.REMOVE
                self.retained_private += action is Action.CLEAN and tag & 0xFFFF >= 0x1000
            else:
                action = action_for(tag, vr, self.options)
            written = self._element(tag, vr, found, action, _Place(encoding, encodings, path, depth))
            if action is not Action.KEEP:
                self.done.append(Done(path, action))
            if written is not None:
                out[tag] = written
        return out

    def _element(self, tag: int, vr: bytes, found: Element, action: Action, place: _Place) -> bytes | None:
        if action is Action.REMOVE:
            return None
        if is_sequence(tag, found) or vr == b"SQ":
            return self._sequence(tag, found, action, place)
        if found[2] == UNDEFINED:
            return None
        raw = bytes(self.source.buffer[found[1] : found[1] + found[2]])
        if not raw and action is not Action.EMPTY:
            return element(tag, vr, b"")
        if action is Action.EMPTY:
            return element(tag, vr, self._patient(tag))
        if action is Action.DUMMY:
            return element(tag, vr, self._dummy(tag, vr, len(raw)))
        if action is Action.UID:
            return element(tag, b"UI", self._uids(raw))
        if action is Action.SHIFT:
            days = self.days
            parts = (shifted(part, days) for part in raw.decode("latin_1").strip(" \0").split("\\"))
            return element(tag, vr, "\\".join(parts).encode())
        if action is Action.GRAPHICS:
            return self._overlay(tag, vr, raw, place)
        if vr in _STRINGS:
            return self._text(tag, vr, raw, action, place)
        return element(tag, vr, raw if place.encoding.little else turned(raw, WORD_BYTES.get(vr, 1)))

    def _overlay(self, tag: int, vr: bytes, raw: bytes, place: _Place) -> bytes | None:
        """Return an overlay's bitmap when it shows no text (PS3.15 E.3.3), else nothing: a drawing without its words is worth little."""
        if place.depth == 1 and shows_no_text(self.source, tag, raw):
            return element(tag, vr, raw if place.encoding.little else turned(raw, WORD_BYTES.get(vr, 1)))
        self.graphics_removed += 1
        return None

    def _patient(self, tag: int) -> bytes:
        return self.patient.encode() if tag in {_NAME, _PATIENT_ID} else b""

    def _dummy(self, tag: int, vr: bytes, size: int) -> bytes:
        if tag == _DOCUMENT:
            return _EMPTY_PDF if self.source.value(_MIME).strip(b" \0") == b"application/pdf" else b"\0\0"
        if vr == b"UI":
            return stand_in_uid(self.options.key, "dummy").encode()
        if vr in WORD_BYTES and vr != b"OW":
            return bytes(min(size, WORD_BYTES[vr]))
        return _DUMMY.get(vr, _STAND_IN.encode())

    def _uids(self, raw: bytes) -> bytes:
        parts = raw.decode("latin_1").strip(" \0").split("\\")
        return "\\".join(stand_in_uid(self.options.key, part.strip(" \0")) for part in parts).encode()

    def _text(self, tag: int, vr: bytes, raw: bytes, action: Action, place: _Place) -> bytes:
        words = decode(raw.rstrip(b"\0 "), place.encodings if vr in TEXT_VRS else ("latin_1",))
        if action is Action.KEEP or tag in _STRUCTURAL or (vr == b"CS" and tag >> 16 == 0x0028):
            return element(tag, vr, words.encode())
        thorough = tag in (_TEXT_VALUE, _UNFORMATTED_TEXT) or vr in _PROSE_VRS or _is_descriptor(tag)
        cleaned = self.cleaner.clean(words, thorough=thorough)
        if vr == b"CS" and cleaned != words:
            return element(tag, vr, b"")
        if vr in _PROSE_VRS and cleaned.strip():
            self.cleaner.kept_prose += 1
        limit = {b"SH": 16, b"LO": 64}.get(vr)
        if limit is not None and cleaned != words:
            cleaned = "\\".join(part[:limit] for part in cleaned.split("\\"))
        return element(tag, vr, cleaned.encode())

    def _sequence(self, tag: int, found: Element, action: Action, place: _Place) -> bytes | None:
        if action is Action.EMPTY:
            return element(tag, b"SQ", b"")
        if action is Action.DUMMY:
            if tag == _CONTENT:
                return element(tag, b"SQ", _item(_NO_CONTENT))
            if tag == _GRAPHICS:
                return None  # its module is optional
            if keyword_for_tag(tag).endswith("CodeSequence"):
                return element(tag, b"SQ", _item(_NO_CODE))
        out = []
        for number, (inner, inside) in enumerate(
            items_of(self.source.buffer, found, place.encoding, self.fence), start=1
        ):
            stated = inner.get(_CHARACTER_SET)
            mine = place.encodings
            if stated is not None and stated[2] not in {0, UNDEFINED}:
                mine = encodings_of(bytes(self.source.buffer[stated[1] : stated[1] + stated[2]]))
            kept = self._data_set(inner, inside, mine, f"{place.path}[{number}].", place.depth + 1)
            out.append(_item(b"".join(kept[one] for one in sorted(kept))))
        return element(tag, b"SQ", b"".join(out))


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an element stands: how it is written, and below what."""

    encoding: Encoding
    encodings: Encodings
    path: str
    depth: int


def _is_descriptor(tag: int) -> bool:
    known = table().get(tag)
    return known is not None and (_DESCRIPTORS in known[1] or "structured" in known[1])


def _item(body: bytes) -> bytes:
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(body)) + body


def _code(value: bytes, scheme: bytes, meaning: bytes) -> bytes:
    return element(0x00080100, b"SH", value) + element(0x00080102, b"SH", scheme) + element(0x00080104, b"LO", meaning)


_NO_CODE = _code(b"ANON", b"99CONSILIUM", b"Anonymized")
_NO_CONTENT = (
    element(0x0040A010, b"CS", b"CONTAINS")
    + element(0x0040A040, b"CS", b"TEXT")
    + element(0x0040A043, b"SQ", _item(_code(b"121106", b"DCM", b"Comment")))
    + element(_TEXT_VALUE, b"UT", _STAND_IN.encode())
)
"""What stands for a report's content: one comment (PS3.16 TID 1001 would want more, a container alone less)."""
