"""Turn instances in the DICOM JSON model back into data sets in Explicit VR Little Endian (PS3.18 annex F, PS3.5 7.1.2).

Flows in: JSON of strangers; flows out: pieces of a data set, the large values named and not yet read. Every walk is fenced, and
numbers become decimal strings of at most 16 characters: pydicom's ``from_json`` does neither. Text is written as UTF-8.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from consilium_dicom.errors import DicomInvalid, TooLarge
from consilium_dicom.findings import tag_path
from consilium_dicom.scan import KNOWN_VRS, LONG_VRS, MAX_DEPTH, UNDEFINED

JsonObject = dict[str, Any]
MAX_METADATA_BYTES = 32 << 20
_MAX_STRUCTURE = 2_000_000  # commas, colons and brackets: each costs some 100 bytes once it is parsed
_PIXEL_DATA = 0x7FE00010
_OFFSET_TABLES = frozenset({0x7FE00001, 0x7FE00002})  # they describe fragments that are made anew here
_CHARACTER_SET = 0x00080005
_NUMBERS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d", "UV": "Q", "SV": "q"}
_BINARY = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
_SINGLE = frozenset({"LT", "ST", "UT", "UR"})
_BY_CHARACTER_SET = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
_ITEM = b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
_ITEM_END = b"\xfe\xff\x0d\xe0\0\0\0\0"
_SEQUENCE_END = b"\xfe\xff\xdd\xe0\0\0\0\0"


class MetadataInvalid(DicomInvalid):
    """The metadata is not the DICOM JSON model; ``detail`` names the element."""

    code = "metadata-invalid"
    failure_reason: ClassVar[int] = 0xC000


class BulkDataMissing(DicomInvalid):
    """A BulkDataURI names no part of the request: the instance is not whole."""

    code = "bulk-data-missing"


@dataclass(frozen=True, slots=True)
class BulkValue:
    """What a BulkDataURI stands for: the sizes of its parts; several parts, or ``encapsulated`` ones, are frames in order."""

    sizes: tuple[int, ...]
    encapsulated: bool = False


@dataclass(frozen=True, slots=True)
class BulkPiece:
    """Part ``number`` of the value named ``uri`` belongs here."""

    uri: str
    number: int
    size_bytes: int


Piece = bytes | BulkPiece
Resolve = Callable[[str], BulkValue | None]


def parse_metadata(text: bytes | bytearray) -> list[JsonObject]:
    """Return the instances of a metadata part (an array, or one object); raise MetadataInvalid or TooLarge."""
    if len(text) > MAX_METADATA_BYTES or sum(text.count(mark) for mark in (b",", b":", b"[", b"{")) > _MAX_STRUCTURE:
        raise TooLarge("the metadata is larger than any request needs: send fewer instances at once")
    try:
        found = json.loads(text)
    except RecursionError:
        raise TooLarge(f"sequences nest deeper than {MAX_DEPTH}") from None
    except ValueError as error:  # json's and UTF-8's errors
        raise MetadataInvalid(f"The metadata is not JSON in UTF-8 ({type(error).__name__}).") from error
    instances = found if isinstance(found, list) else [found]
    if not instances or not all(isinstance(one, dict) for one in instances):
        raise MetadataInvalid("The metadata is no array of DICOM JSON objects.")
    return instances


def bulk_uris(instance: JsonObject) -> Iterator[tuple[int, str, str]]:
    """Yield (depth, tag in hex, BulkDataURI) of all values; the depth of top-level elements is 0."""
    waiting: list[tuple[int, Any]] = [(0, instance)]
    while waiting:
        depth, found = waiting.pop()
        for key, element in found.items() if isinstance(found, dict) else ():
            if not isinstance(element, dict):
                continue
            uri = element.get("BulkDataURI")
            if isinstance(uri, str):
                yield depth, key.upper(), uri
            items = element.get("Value")
            if element.get("vr") == "SQ" and isinstance(items, list) and depth < MAX_DEPTH:
                waiting += [(depth + 1, item) for item in items]


def text_of(instance: JsonObject, tag: int) -> str:
    """Return the first value of a top-level element if it is text, else ""."""
    element = instance.get(f"{tag:08X}")
    values = element.get("Value") if isinstance(element, dict) else None
    return values[0] if isinstance(values, list) and values and isinstance(values[0], str) else ""


def data_set_pieces(instance: JsonObject, resolve: Resolve) -> list[Piece]:
    """Return the data set in pieces; raise MetadataInvalid, BulkDataMissing or TooLarge."""
    writer = _Writer(resolve)
    top = writer.elements(instance, 1)
    if writer.needs_character_set and not any(tag == _CHARACTER_SET for tag, _ in top):
        top.append((_CHARACTER_SET, [_element(_CHARACTER_SET, "CS", b"ISO_IR 192")]))
        top.sort(key=lambda one: one[0])
    return [piece for _, pieces in top for piece in pieces]


class _Writer:
    """Writes one instance."""

    __slots__ = ("needs_character_set", "resolve")

    def __init__(self, resolve: Resolve) -> None:
        self.resolve = resolve
        self.needs_character_set = False

    def elements(self, found: JsonObject, depth: int) -> list[tuple[int, list[Piece]]]:
        """Return (tag, pieces) of one data set or item, ascending."""
        if depth > MAX_DEPTH:
            raise TooLarge(f"sequences nest deeper than {MAX_DEPTH}")
        named: dict[int, Any] = {}
        for key, element in found.items():
            tag = _tag(key)
            if tag in named:
                raise MetadataInvalid(f"{tag_path(tag)} stands twice in one data set.")
            named[tag] = element
        written = []
        for tag in sorted(named):
            if tag >> 16 == 2 or not tag & 0xFFFF:
                continue  # file meta information and group lengths are made anew
            written.append((tag, self._one(tag, named[tag], named, depth)))
        return written

    def _one(self, tag: int, element: Any, around: dict[int, Any], depth: int) -> list[Piece]:
        if not isinstance(element, dict):
            raise MetadataInvalid(f"{tag_path(tag)} is no object with a vr.")
        vr = element.get("vr")
        if not isinstance(vr, str) or vr.encode("utf-8", "replace") not in KNOWN_VRS:
            raise MetadataInvalid(f"{tag_path(tag)} has no known vr.")
        said = [name for name in ("Value", "BulkDataURI", "InlineBinary") if name in element]
        if len(said) > 1:
            raise MetadataInvalid(f"{tag_path(tag)} has {' and '.join(said)}: only one may be there.")
        given = element[said[0]] if said else None
        if tag in _OFFSET_TABLES and self._is_encapsulated(around):
            return []
        if said == ["BulkDataURI"]:
            return self._bulk(tag, vr, given)
        if vr == "SQ":
            return self._sequence(tag, given, depth)
        if vr in _BINARY or said == ["InlineBinary"]:
            return [_element(tag, vr, _inline(tag, said, given))]
        if given is not None and not isinstance(given, list):
            raise MetadataInvalid(f"{tag_path(tag)} has a Value that is no array.")
        if tag == _CHARACTER_SET:
            return [_element(tag, "CS", b"ISO_IR 192")]
        return [_element(tag, vr, self._values(tag, vr, given or []))]

    def _is_encapsulated(self, around: dict[int, Any]) -> bool:
        pixels = around.get(_PIXEL_DATA)
        uri = pixels.get("BulkDataURI") if isinstance(pixels, dict) else None
        value = self.resolve(uri) if isinstance(uri, str) else None
        return value is not None and value.encapsulated

    def _sequence(self, tag: int, given: Any, depth: int) -> list[Piece]:
        if given is None or given == []:
            return [_head(tag, "SQ", 0)]
        if not isinstance(given, list) or not all(item is None or isinstance(item, dict) for item in given):
            raise MetadataInvalid(f"{tag_path(tag)} holds something that is no item.")
        pieces: list[Piece] = [_head(tag, "SQ", UNDEFINED)]
        for item in given:
            pieces.append(_ITEM)
            pieces += [piece for _, inner in self.elements(item or {}, depth + 1) for piece in inner]
            pieces.append(_ITEM_END)
        return [*pieces, _SEQUENCE_END]

    def _bulk(self, tag: int, vr: str, uri: Any) -> list[Piece]:
        if not isinstance(uri, str) or vr == "SQ":
            raise MetadataInvalid(f"{tag_path(tag)} has no usable BulkDataURI.")
        value = self.resolve(uri)
        if value is None:
            raise BulkDataMissing(f"No part of the request has the Content-Location or Content-ID of {tag_path(tag)}.")
        if tag & 0xFFFFFFFF == _PIXEL_DATA and value.encapsulated:
            return _encapsulated(uri, value.sizes)
        if value.encapsulated or len(value.sizes) != 1:
            raise MetadataInvalid(f"{tag_path(tag)} must be one part of plain bytes.")
        [size] = value.sizes
        return [_head(tag, vr, size + (size & 1)), BulkPiece(uri, 0, size), b"\0" * (size & 1)]

    def _values(self, tag: int, vr: str, given: list[Any]) -> bytes:
        if vr in _NUMBERS:
            return _packed(tag, vr, given)
        if vr == "AT":
            return b"".join(_attribute(tag, one) for one in given)
        if vr in _SINGLE and len(given) > 1:
            raise MetadataInvalid(f"{tag_path(tag)} may have one value.")
        texts = [_text(tag, vr, one) for one in given]
        if vr not in {"LT", "ST", "UT", "UR"} and any("\\" in text for text in texts):
            raise MetadataInvalid(f"{tag_path(tag)} has a backslash inside a value.")
        whole = "\\".join(texts)
        follows = vr in _BY_CHARACTER_SET
        self.needs_character_set |= follows and not whole.isascii()
        try:
            raw = whole.encode("utf-8" if follows else "latin-1")  # the others are single bytes, as they are read
        except UnicodeEncodeError as error:
            raise MetadataInvalid(f"{tag_path(tag)} holds a character that a {vr} can't.") from error
        return raw + (b"\0" if vr == "UI" else b" ") * (len(raw) & 1)


def _tag(key: str) -> int:
    if len(key) != 8 or not all(c in "0123456789ABCDEFabcdef" for c in key):
        raise MetadataInvalid(f"{key[:20]!r} is no tag: eight hexadecimal digits are.")
    tag = int(key, 16)
    if tag >> 16 in {0, 0xFFFE, 0xFFFF}:
        raise MetadataInvalid(f"{tag_path(tag)} has no place in a data set.")
    return tag


def _head(tag: int, vr: str, length: int) -> bytes:
    """Return tag, VR and length; what is too long for the VR's short length is written as UN (PS3.5 6.2.2 note 2)."""
    if length > UNDEFINED or (length == UNDEFINED and vr not in {"SQ", "OB"}):
        raise TooLarge(f"{tag_path(tag)} is longer than a value can be")
    raw = vr.encode()
    if raw not in LONG_VRS and length > 0xFFFE:
        raw = b"UN"
    if raw in LONG_VRS:
        return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, raw, 0, length)
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, raw, length)


def _element(tag: int, vr: str, value: bytes) -> bytes:
    padded = value + b"\0" * (len(value) & 1)
    return _head(tag, vr, len(padded)) + padded


def _encapsulated(uri: str, sizes: tuple[int, ...]) -> list[Piece]:
    """Return pixel data as fragments, one per frame, with a Basic Offset Table where its 32 bits reach (PS3.5 A.4)."""
    offsets, at = [], 0
    for size in sizes:
        if size >= UNDEFINED - 1:
            raise TooLarge("a frame is longer than a fragment can be")
        offsets.append(at)
        at += size + (size & 1) + 8
    table = struct.pack(f"<{len(sizes)}I", *offsets) if len(sizes) > 1 and offsets[-1] < UNDEFINED else b""
    pieces: list[Piece] = [_head(_PIXEL_DATA, "OB", UNDEFINED), struct.pack("<HHI", 0xFFFE, 0xE000, len(table)), table]
    for number, size in enumerate(sizes):
        pieces += [struct.pack("<HHI", 0xFFFE, 0xE000, size + (size & 1)), BulkPiece(uri, number, size)]
        pieces.append(b"\0" * (size & 1))
    return [*pieces, _SEQUENCE_END]


def _inline(tag: int, said: list[str], given: Any) -> bytes:
    if not said or given is None:
        return b""
    if said != ["InlineBinary"] or not isinstance(given, str):
        raise MetadataInvalid(f"{tag_path(tag)} must be InlineBinary or a BulkDataURI.")
    try:
        return base64.b64decode(given, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MetadataInvalid(f"{tag_path(tag)} is not base64.") from error


def _packed(tag: int, vr: str, given: list[Any]) -> bytes:
    """Return numbers in little endian; SV and UV may be text (F.2.3.1 note), null is NaN where there is one."""
    kind = _NUMBERS[vr]
    numbers: list[float] = []
    for one in given:
        try:
            if vr in {"FL", "FD"}:
                numbers.append(math.nan if one is None else float(_no_truth(one)))
            else:
                numbers.append(_integer(one))
        except (TypeError, ValueError, OverflowError) as error:
            raise MetadataInvalid(f"{tag_path(tag)} holds something that is no {vr}.") from error
    try:
        return struct.pack(f"<{len(numbers)}{kind}", *numbers)
    except (struct.error, OverflowError) as error:
        raise MetadataInvalid(f"{tag_path(tag)} holds a number that {vr} can't.") from error


def _no_truth(one: Any) -> Any:
    if isinstance(one, bool):
        raise TypeError("true is no number")
    return one


def _integer(one: Any) -> int:
    if isinstance(one, float) and not one.is_integer():
        raise ValueError("no whole number")
    return int(_no_truth(one))


def _attribute(tag: int, one: Any) -> bytes:
    if not isinstance(one, str) or len(one) != 8:
        raise MetadataInvalid(f"{tag_path(tag)} holds something that is no tag.")
    try:
        return struct.pack("<HH", int(one[:4], 16), int(one[4:], 16))
    except ValueError as error:
        raise MetadataInvalid(f"{tag_path(tag)} holds something that is no tag.") from error


def _text(tag: int, vr: str, one: Any) -> str:
    """Return one value as text."""
    if one is None:
        return ""
    if vr == "PN":
        return _name(tag, one)
    if isinstance(one, str):
        return one
    try:
        if vr == "IS":
            return str(_integer(one))
        if vr == "DS" and isinstance(one, int | float):
            return decimal(_no_truth(one))
    except (TypeError, ValueError, OverflowError):
        pass  # the refusal below says it
    raise MetadataInvalid(f"{tag_path(tag)} holds something that is no {vr}.")


def _name(tag: int, one: Any) -> str:
    if not isinstance(one, dict) or not all(
        name in _GROUPS and isinstance(group, str) and "=" not in group for name, group in one.items()
    ):
        raise MetadataInvalid(f"{tag_path(tag)} holds something that is no person name.")
    return "=".join(one.get(name, "") for name in _GROUPS).rstrip("=")


def decimal(number: int | float) -> str:
    """Return a number as decimal string of at most 16 characters (PS3.5 6.2), as exact as they allow."""
    if isinstance(number, float):
        if not math.isfinite(number):
            return str(number)
        if number.is_integer() and abs(number) < 1e15:
            number = int(number)
    text = repr(number)
    if len(text) <= 16:
        return text
    shorter = (f"{number:.{digits}G}" for digits in range(16, 0, -1))
    return next(one for one in shorter if len(one) <= 16)
