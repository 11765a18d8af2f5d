"""Write an object's head anew in Explicit VR Little Endian: file meta group and data set up to its pixel data (PS3.5 A.2, PS3.10 7.1).

Flows in: a ``Scan`` in any encoding; flows out: bytes. Values are copied as they lie, text in its own character set and all;
only VRs that were implicit are named, and big-endian words turned. Group lengths are left out (PS3.5 7.2), for they would lie.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping

from consilium_dicom.build import IMPLEMENTATION_CLASS_UID
from consilium_dicom.errors import TooLarge
from consilium_dicom.scan import LONG_VRS, MAX_DEPTH, UNDEFINED, Element, Encoding, Fence, Scan, skip_undefined
from consilium_dicom.structure import is_sequence, items_of
from consilium_dicom.vr import known_vr

_VERSION_NAME = b"CONSILIUM_0_1"
WORD_BYTES = {
    **dict.fromkeys((b"US", b"SS", b"AT", b"OW"), 2),
    **dict.fromkeys((b"UL", b"SL", b"FL", b"OL", b"OF"), 4),
    **dict.fromkeys((b"FD", b"OD", b"OV", b"UV", b"SV"), 8),
}
_SHORT_LIMIT = 0xFFFE
_KEPT_META = (0x00020016, 0x00020017, 0x00020018, 0x00020100, 0x00020102)
_PADDING = 0xFFFCFFFC


def element(tag: int, vr: bytes, value: bytes) -> bytes:
    """Return one element in Explicit VR Little Endian; a value too long for its VR's short form goes as UN (6.2.2)."""
    if len(value) & 1:
        value += b"\0" if vr in {b"UI", b"OB", b"UN"} else b" "
    if vr not in LONG_VRS and len(value) > _SHORT_LIMIT:
        vr = b"UN"
    if vr in LONG_VRS:
        return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def meta_group(source: Scan, transfer_syntax_uid: str, sop_instance_uid: str = "") -> bytes:
    """Return preamble and file meta group of a copy that we write; ``sop_instance_uid`` when it is another than the source's."""
    values = {
        0x00020001: (b"OB", b"\0\1"),
        0x00020002: (b"UI", source.value(0x00080016).strip(b" \0")),
        0x00020003: (b"UI", sop_instance_uid.encode() or source.value(0x00080018).strip(b" \0")),
        0x00020010: (b"UI", transfer_syntax_uid.encode()),
        0x00020012: (b"UI", IMPLEMENTATION_CLASS_UID.encode()),
        0x00020013: (b"SH", _VERSION_NAME),
    }
    for tag in _KEPT_META:
        if tag in source.meta:
            vr, at, length = source.meta[tag]
            values[tag] = (vr or b"UN", bytes(source.buffer[at : at + length]))
    body = b"".join(element(tag, *values[tag]) for tag in sorted(values))
    return b"\0" * 128 + b"DICM" + element(0x00020000, b"UL", struct.pack("<I", len(body))) + body


def data_set(source: Scan, put: Mapping[int, bytes], drop: Collection[int]) -> bytes:
    """Return the data set's elements without those to ``drop``, with whole elements to ``put`` in their places."""
    writer = _Writer(source)
    pieces = dict(put)
    for tag, found in source.elements.items():
        if tag not in pieces and tag not in drop and tag & 0xFFFF and tag != _PADDING:
            pieces[tag] = writer.top(tag, found)
    return b"".join(pieces[tag] for tag in sorted(pieces))


class _Writer:
    """Writes the elements of one file; the fence counts over all nesting."""

    __slots__ = ("fence", "source")

    def __init__(self, source: Scan) -> None:
        self.source = source
        self.fence = Fence()

    def top(self, tag: int, found: Element) -> bytes:
        """Return a top-level element: where it is Explicit VR Little Endian already, as it lies."""
        encoding = self.source.encoding
        vr, at, length = found
        if encoding.implicit or not encoding.little or not vr:
            return self.written(tag, found, self.source.elements, encoding, 1)
        buffer = self.source.buffer
        end = at + length
        if length == UNDEFINED:
            end = skip_undefined(buffer, at, len(buffer), implicit=vr == b"UN", order="<", fence=self.fence)
        return bytes(buffer[at - (12 if vr in LONG_VRS else 8) : end])

    def written(self, tag: int, found: Element, beside: dict[int, Element], encoding: Encoding, depth: int) -> bytes:
        """Return an element with its VR and little-endian words; ``beside`` are the elements of the same data set."""
        if depth > MAX_DEPTH:
            raise TooLarge(f"sequences nest deeper than {MAX_DEPTH}")
        vr, at, length = found
        name = vr or known_vr(self.source.buffer, tag, found, beside)
        if is_sequence(tag, found) or (name == b"SQ" and length == UNDEFINED):
            return element(tag, b"SQ", self._items(found, encoding, depth))
        raw = bytes(self.source.buffer[at : at + length])
        return element(
            tag, b"UN" if name == b"SQ" else name, raw if encoding.little else turned(raw, WORD_BYTES.get(name, 1))
        )

    def _items(self, found: Element, encoding: Encoding, depth: int) -> bytes:
        out = []
        for inner, inside in items_of(self.source.buffer, found, encoding, self.fence):
            body = b"".join(
                self.written(tag, one, inner, inside, depth + 1) for tag, one in inner.items() if tag & 0xFFFF
            )
            out.append(struct.pack("<HHI", 0xFFFE, 0xE000, len(body)) + body)
        return b"".join(out)


def turned(raw: bytes, word_bytes: int) -> bytes:
    """Return words of ``word_bytes`` in the other byte order; a rest that is no whole word stays."""
    if word_bytes == 1:
        return raw
    whole = len(raw) // word_bytes * word_bytes
    out = bytearray(raw)
    for place in range(word_bytes):
        out[place:whole:word_bytes] = raw[word_bytes - 1 - place : whole : word_bytes]
    return bytes(out)
