"""Gather the identities that an object holds, at every depth, before they are removed: what ``words`` then looks for in its text."""

from __future__ import annotations

from pydicom.datadict import keyword_for_tag

from consilium_dicom.charset import Encodings, decode
from consilium_dicom.deid.options import Option, Options
from consilium_dicom.deid.rules import Action, action_for
from consilium_dicom.deid.words import Identities
from consilium_dicom.scan import MAX_DEPTH, UNDEFINED, Element, Encoding, Fence, Scan
from consilium_dicom.structure import is_sequence, items_of
from consilium_dicom.vr import known_vr

_SHORT_TEXTS = frozenset({b"SH", b"LO", b"UC"})
_MOST_BYTES = 256
_GONE = frozenset({Action.REMOVE, Action.EMPTY, Action.DUMMY})
_NO_IDENTITY = frozenset({0x00080201, 0x00181020, 0x00081090})  # time zone, software, model


def identities_of(source: Scan, encodings: Encodings, options: Options) -> Identities:
    """Return the names, ids, places and dates that the rules take away from this object."""
    found = Identities()
    _gather(source, source.elements, source.encoding, encodings, options, found, Fence(), 1)
    return found


def _gather(
    source: Scan, elements: dict[int, Element], encoding: Encoding, encodings: Encodings, options: Options,
    found: Identities, fence: Fence, depth: int,
) -> None:  # fmt: skip
    for tag, one in elements.items():
        if tag >> 16 == 0x7FE0 or depth > MAX_DEPTH:
            continue
        vr = one[0] if one[0] not in {b"", b"UN"} else known_vr(source.buffer, tag, one, elements)
        if is_sequence(tag, one) or vr == b"SQ":
            for inner, inside in items_of(source.buffer, one, encoding, fence):
                _gather(source, inner, inside, encodings, options, found, fence, depth + 1)
        elif one[2] not in {0, UNDEFINED} and one[2] <= _MOST_BYTES and not tag >> 16 & 1:
            _take(tag, vr, bytes(source.buffer[one[1] : one[1] + one[2]]), encodings, options, found)


def _take(tag: int, vr: bytes, raw: bytes, encodings: Encodings, options: Options, found: Identities) -> None:
    if vr == b"PN":
        found.add_name(decode(raw.rstrip(b"\0 "), encodings))
    elif vr in {b"DA", b"DT"}:
        if action_for(tag, vr, options) is not Action.KEEP and not options.has(Option.FULL_DATES):
            found.add_date(raw.decode("latin_1"))
    elif vr in _SHORT_TEXTS and tag not in _NO_IDENTITY and action_for(tag, vr, options) in _GONE:
        text = decode(raw.rstrip(b"\0 "), encodings)
        if not _is_description(tag):
            found.add_text(text)


def _is_description(tag: int) -> bool:
    return any(
        word in keyword_for_tag(tag) for word in ("Description", "Comment", "ProtocolName", "Reason", "ContrastBolus")
    )
