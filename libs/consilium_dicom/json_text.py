"""Write one instance as DICOM JSON text (PS3.18 annex F) at a third of the cost of building the model and dumping it.

Flows in: a scanned file; flows out: the text that ``json_model.to_json_model`` would give, dumped. Instances of a series share
nearly all their short elements, so an element's text is remembered by its bytes; sequences, large, private-by-dictionary and
implicit ones go through the model, which stays the oracle of the tests.
"""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from functools import lru_cache

from consilium_dicom.charset import Encodings
from consilium_dicom.charset_repair import CharsetReading, read_charset
from consilium_dicom.header import Header
from consilium_dicom.json_model import JsonObject, to_json_model, value_of
from consilium_dicom.scan import MAX_KEPT_ELEMENTS, SHORT_VRS, Element, Scan

_SHORT_BYTES = 128
_LEAN_VRS = SHORT_VRS | frozenset({b"UC", b"UR", b"OB", b"OW"})
_BINARY = frozenset({b"OB", b"OW"})
_CHARACTER_SET = 0x00080005
CONTEXT = frozenset({_CHARACTER_SET, 0x00280103, 0x00283002})
"""What the model looks at for other elements' sake."""
_dumps = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def to_json_text(source: Scan, header: Header | None, bulk_uri: str) -> str:
    """Return the instance's JSON object as text; raise ``DicomUnreadable`` or ``TooLarge`` as the model does."""
    elements, encoding = source.elements, source.encoding
    if encoding.implicit or not encoding.little or len(elements) > MAX_KEPT_ELEMENTS:
        return _dumps(to_json_model(source.buffer, header, bulk_uri, source=source))
    texts = element_texts(source, header, bulk_uri)
    return "{" + ",".join([texts[tag] for tag in sorted(texts)]) + "}"


def element_texts(source: Scan, header: Header | None, bulk_uri: str) -> dict[int, str]:
    """Return ``"GGGGEEEE":{...}`` of each element of a file in explicit VR little endian."""
    charset: CharsetReading = header.charset if header is not None else read_charset(source)
    buffer, encodings = source.buffer, charset.encodings
    texts: dict[int, str] = {}
    rest: dict[int, Element] = {}
    for tag, element in source.elements.items():
        vr, at, length = element
        if is_short(tag, vr, length):
            texts[tag] = short_text(tag, vr, bytes(buffer[at : at + length]), encodings)
        else:
            rest[tag] = element
    if rest:
        for name, value in _by_the_model(source, header, bulk_uri, rest).items():
            texts.setdefault(int(name, 16), f'"{name}":{_dumps(value)}')
    return texts


def is_short(tag: int, vr: bytes, length: int) -> bool:
    """Tell whether ``short_text`` knows such an element."""
    return length <= _SHORT_BYTES and vr in _LEAN_VRS and bool(tag & 0xFFFF) and tag >> 16 not in (0x7FE0, 0xFFFE)


def _by_the_model(source: Scan, header: Header | None, bulk_uri: str, rest: dict[int, Element]) -> JsonObject:
    """Return the model of some elements; what it needs to understand them is given along."""
    around = {
        tag: element
        for tag, element in source.elements.items()
        if tag in CONTEXT or (tag >> 16 & 1 and 0x10 <= tag & 0xFFFF <= 0xFF)
    }
    return to_json_model(source.buffer, header, bulk_uri, source=replace(source, elements=rest | around))


@lru_cache(maxsize=16384)
def short_text(tag: int, vr: bytes, raw: bytes, encodings: Encodings) -> str:
    """Return ``"GGGGEEEE":{...}`` of a short element in little endian."""
    here: JsonObject = {"vr": vr.decode("ascii")}
    if raw and vr in _BINARY:
        here["InlineBinary"] = base64.b64encode(raw).decode("ascii")
    elif raw:
        values = ["ISO_IR 192"] if tag == _CHARACTER_SET else value_of(raw, vr, "<", encodings)
        if values:
            here["Value"] = values
    return f'"{tag:08X}":{_dumps(here)}'
