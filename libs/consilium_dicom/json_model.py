"""Write one instance as the DICOM JSON model, straight from its bytes (PS3.18 annex F).

Flows in: the bytes of a Part 10 file; flows out: a JSON-ready dict keyed by eight hex digits. Pixel data and other large
values become ``BulkDataURI``; text is UTF-8 whatever the object's character set was, so (0008,0005) says ISO_IR 192.
"""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from consilium_dicom.charset import Encodings, decode, encodings_of
from consilium_dicom.charset_repair import CharsetReading, read_charset
from consilium_dicom.errors import DicomInvalid, DicomUnreadable, TooLarge
from consilium_dicom.header import Header
from consilium_dicom.person_name import PersonName
from consilium_dicom.scan import MAX_DEPTH, MAX_KEPT_ELEMENTS, UNDEFINED, Buffer, Element, Encoding, Fence, Scan, scan
from consilium_dicom.structure import items_of
from consilium_dicom.vr import known_vr

JsonObject = dict[str, Any]
BulkUri = str | Callable[[str], str]
"""The address under which a value's path is appended, or a function from path (``00081140/1/00091010``) to address."""

INLINE_LIMIT_BYTES = 1024
_PIXEL_TAGS = frozenset({0x7FE00010, 0x7FE00009, 0x7FE00008})
_BINARY = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"UN"})
_WORD_BYTES = {b"OW": 2, b"OL": 4, b"OF": 4, b"OD": 8, b"OV": 8}
_NUMBERS = {b"US": "H", b"SS": "h", b"UL": "I", b"SL": "i", b"FL": "f", b"FD": "d", b"UV": "Q", b"SV": "q"}
_WHOLE_TEXT = frozenset({b"LT", b"ST", b"UT"})
_SPLIT_TEXT = frozenset({b"LO", b"SH", b"UC"})
_CHARACTER_SET = 0x00080005


@lru_cache(maxsize=16384)
def _key(tag: int) -> str:
    return f"{tag:08X}"


def to_json_model(data: Buffer, header: Header | None, bulk_uri: BulkUri, *, source: Scan | None = None) -> JsonObject:
    """Return the instance in the DICOM JSON model, without group lengths and file meta information.

    ``bulk_uri`` names the large values; ``bulk_value`` reads them back. ``header`` may be None. Text whose stated character
    set is wrong is written as ``charset_repair`` reads it. Raises ``DicomUnreadable``.
    """
    found = source or scan(data)
    uri = bulk_uri if callable(bulk_uri) else _joiner(bulk_uri)
    charset = header.charset if header is not None else read_charset(found)
    return _Writer(found.buffer, uri, charset).data_set(found.elements, found.encoding, charset.encodings, "", 1)


def _joiner(base: str) -> Callable[[str], str]:
    root = base.rstrip("/")
    return lambda path: f"{root}/{path}"


class _Writer:
    """Writes one file; the fence counts elements over all nesting."""

    __slots__ = ("buffer", "charset", "fence", "kept", "uri")

    def __init__(self, buffer: Buffer, uri: Callable[[str], str], charset: CharsetReading) -> None:
        self.buffer = buffer
        self.charset = charset
        self.uri = uri
        self.fence = Fence()
        self.kept = Fence(MAX_KEPT_ELEMENTS)

    def data_set(
        self,
        elements: dict[int, Element],
        encoding: Encoding,
        parent: Encodings,
        path: str,
        depth: int,
    ) -> JsonObject:
        """Return one data set or item; text follows its own character set, else its parent's (PS3.5 7.5.3)."""
        if depth > MAX_DEPTH:
            raise TooLarge(f"sequences nest deeper than {MAX_DEPTH}")
        encodings = parent
        stated = elements.get(_CHARACTER_SET)
        if stated is not None and 0 < stated[2] < UNDEFINED:
            raw = self._raw(stated)
            encodings = self.charset.encodings if raw == self.charset.stated else encodings_of(raw)
        self.kept.spend(len(elements))
        out: JsonObject = {}
        order = "<" if encoding.little else ">"
        tags = elements if _ascending(elements) else sorted(elements)
        for tag in tags:
            if not tag & 0xFFFF or tag >> 16 == 0xFFFE:
                continue
            element = elements[tag]
            vr = element[0]
            if not vr or vr == b"UN" or len(vr) != 2:
                vr = known_vr(self.buffer, tag, element, elements)
            out[_key(tag)] = self._element(tag, vr, element, encoding, encodings, path, depth, order)
        return out

    def _raw(self, element: Element) -> bytes:
        return bytes(self.buffer[element[1] : element[1] + element[2]])

    def _element(
        self,
        tag: int,
        vr: bytes,
        element: Element,
        encoding: Encoding,
        encodings: Encodings,
        path: str,
        depth: int,
        order: str,
    ) -> JsonObject:
        """Return one element's JSON object (PS3.18 F.2.2)."""
        length = element[2]
        here: JsonObject = {"vr": vr.decode("ascii", "replace")}
        if length == 0:
            return here
        if tag in _PIXEL_TAGS or (length == UNDEFINED and tag >> 16 == 0x7FE0):
            here["BulkDataURI"] = self.uri(path + _key(tag))
        elif vr == b"SQ" and (items := self._items(tag, element, encoding, encodings, path, depth)) is not None:
            if items:
                here["Value"] = items
        elif vr in _BINARY or vr == b"SQ":
            here["vr"] = "UN" if vr == b"SQ" else here["vr"]
            if length > INLINE_LIMIT_BYTES:
                here["BulkDataURI"] = self.uri(path + _key(tag))
            else:
                raw = _little(self._raw(element), vr, order)
                here["InlineBinary"] = base64.b64encode(raw).decode("ascii")
        elif tag == _CHARACTER_SET:
            here["Value"] = ["ISO_IR 192"]
        else:
            values = value_of(self._raw(element), vr, order, encodings)
            if values:
                here["Value"] = values
        return here

    def _items(
        self, tag: int, element: Element, encoding: Encoding, encodings: Encodings, path: str, depth: int
    ) -> list[JsonObject] | None:
        """Return a sequence's items; None if it was only thought to be one (by a dictionary) and holds none."""
        try:
            return [
                self.data_set(inner, inside, encodings, f"{path}{_key(tag)}/{i}/", depth + 1)
                for i, (inner, inside) in enumerate(items_of(self.buffer, element, encoding, self.fence))
            ]
        except DicomUnreadable:
            if element[0] == b"SQ" or element[1] + element[2] > len(self.buffer):
                raise
            return None


def _ascending(elements: dict[int, Element]) -> bool:
    last = -1
    for tag in elements:
        if tag <= last:
            return False
        last = tag
    return True


def _little(raw: bytes, vr: bytes, order: str) -> bytes:
    """Return binary words in little endian, as JSON wants them."""
    size = _WORD_BYTES.get(vr, 1)
    if order == "<" or size == 1 or len(raw) % size:
        return raw
    return b"".join(raw[i : i + size][::-1] for i in range(0, len(raw), size))


def value_of(raw: bytes, vr: bytes, order: str, encodings: Encodings) -> list[Any]:
    """Return an element's values as JSON has them (PS3.18 table F.2.3-1); empty ones among several are None."""
    if vr in _NUMBERS:
        kind = _NUMBERS[vr]
        count = len(raw) // struct.calcsize(kind)
        numbers = struct.unpack_from(f"{order}{count}{kind}", raw)
        return [n if math.isfinite(n) else None for n in numbers] if kind in "fd" else list(numbers)
    if vr == b"AT":
        pairs = struct.unpack_from(f"{order}{len(raw) // 4 * 2}H", raw)
        return [f"{a:04X}{b:04X}" for a, b in zip(pairs[::2], pairs[1::2], strict=True)]
    if vr == b"PN":
        parsed = decode(raw.rstrip(b"\0 "), encodings)
        names = [PersonName.parse(part).json() for part in parsed.split("\\")] if parsed else []
        return [name or None for name in names] if any(names) else []
    if vr in _WHOLE_TEXT:
        text = decode(raw, encodings).rstrip("\0 ")
        return [text] if text else []
    if vr in _SPLIT_TEXT:
        return _split(decode(raw, encodings))
    ascii_ = raw.decode("latin_1")
    if vr == b"UR":
        return [ascii_.rstrip("\0 ")] if ascii_.rstrip("\0 ") else []
    values = _split(ascii_)
    if vr == b"DS":
        return [_number(value) for value in values]
    if vr == b"IS":
        return [_integer(value) for value in values]
    return values


def _split(text: str) -> list[str | None]:
    if "\\" not in text:
        value = text.rstrip("\0 ")
        return [value] if value else []
    values = [part.rstrip("\0 ") or None for part in text.split("\\")]
    return values if any(values) else []


def _number(value: str | None) -> float | str | None:
    """Return a decimal string as a number, or as it is when it is none (F.2.3.1 allows both)."""
    if value is None or not value.strip():
        return None
    try:
        number = float(value)
    except ValueError:
        return value.strip()
    return number if math.isfinite(number) else value.strip()


def _integer(value: str | None) -> int | str | None:
    if value is None or not value.strip():
        return None
    try:
        return int(value)
    except ValueError:
        number = _number(value)
        return int(number) if isinstance(number, float) and number.is_integer() else value.strip()


def bulk_place(data: Buffer, path: str, *, source: Scan | None = None) -> tuple[Buffer, int, int]:
    """Return (buffer, offset, length) of a bulk value by the path that ``bulk_uri`` was given.

    ``length`` is ``UNDEFINED`` for encapsulated pixel data. Raises ``DicomInvalid`` when the path leads nowhere.
    """
    found = source or scan(data)
    elements, encoding = found.elements, found.encoding
    parts = path.strip("/").split("/")
    try:
        steps = [(int(parts[i], 16), int(parts[i + 1])) for i in range(0, len(parts) - 1, 2)]
        last = int(parts[-1], 16)
    except (ValueError, IndexError) as error:
        raise DicomInvalid(f"{path} is not a path to a value") from error
    if len(steps) > MAX_DEPTH or len(parts) % 2 == 0:
        raise DicomInvalid(f"{path} is not a path to a value")
    fence = Fence()
    for tag, number in steps:
        item = None
        if tag in elements:
            items = items_of(found.buffer, elements[tag], encoding, fence)
            item = next((one for i, one in enumerate(items) if i == number), None)
        if item is None:
            raise DicomInvalid(f"{path} leads to nothing in this instance")
        elements, encoding = item
    if last not in elements:
        raise DicomInvalid(f"{path} leads to nothing in this instance")
    _, offset, length = elements[last]
    return found.buffer, offset, length
