"""Find the elements of a DICOM file by their positions, without building objects (PS3.5 7.1, PS3.10 7.1).

Flows in: the bytes of one file; flows out: ``Scan``: the meta group's and the data set's top-level elements as
(VR, offset, length) into a plain (inflated) buffer. Every loop is fenced, for the bytes come from strangers.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from consilium_dicom.errors import DicomUnreadable, TooLarge

Buffer = bytes | memoryview
Element = tuple[bytes, int, int]
"""VR (two letters, empty in implicit VR), offset of the value, its length in bytes or ``UNDEFINED``."""

UNDEFINED = 0xFFFFFFFF
DEFLATED = "1.2.840.10008.1.2.1.99"
IMPLICIT_LE = "1.2.840.10008.1.2"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
EXPLICIT_BE = "1.2.840.10008.1.2.2"

PIXEL_TAGS = (0x7FE00010, 0x7FE00009, 0x7FE00008)
MAX_DEPTH = 32
MAX_ELEMENTS = 600_000  # visited, 1 µs each: those in nested undefined lengths count once per level
MAX_KEPT_ELEMENTS = 250_000  # held in memory at once, as positions or as JSON; some 300 bytes and 2 µs each
_MAX_DATA_SET_ELEMENTS = 100_000
MAX_INFLATED_BYTES = 192 << 20
MAX_VALUE_BYTES = 1 << 20  # of one value that is read whole; no identity, date or number is longer
_FREE_INFLATED_BYTES, _MAX_INFLATE_RATIO = 32 << 20, 100
_INFLATE_STEP = 1 << 20
_MAX_META_ELEMENTS = 256

ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())
KNOWN_VRS = LONG_VRS | SHORT_VRS
_META_LE = struct.Struct("<HH2sH")


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a data set's elements are written."""

    implicit: bool
    little: bool


@dataclass(slots=True)
class Scan:
    """Where everything lies.

    ``buffer`` is the file itself, or for a deflated one its meta part followed by the inflated data set. ``truncated``
    says that an element's value runs past the end; ``end`` is where scanning stopped.
    """

    buffer: Buffer
    meta: dict[int, Element]
    elements: dict[int, Element]
    encoding: Encoding
    transfer_syntax_uid: str
    dataset_offset: int
    has_preamble: bool
    inflated: bool
    end: int
    truncated: bool
    vr_mismatch: bool

    def value(self, tag: int) -> bytes:
        """Return the raw value of a top-level element (of a very long one its beginning), empty when absent."""
        found = self.elements.get(tag)
        if found is None or found[2] == UNDEFINED:
            return b""
        return bytes(self.buffer[found[1] : found[1] + min(found[2], MAX_VALUE_BYTES)])


class Fence:
    """Counts elements over a whole file, so that no nesting of small things runs for ever."""

    __slots__ = ("left",)

    def __init__(self, limit: int = MAX_ELEMENTS) -> None:
        self.left = limit

    def spend(self, count: int = 1) -> None:
        self.left -= count
        if self.left < 0:
            raise TooLarge("more elements than any object needs")


def scan(data: Buffer, *, to_pixels: bool = False) -> Scan:
    """Return the positions of the top-level elements; with ``to_pixels`` stop at the pixel data element (inclusive).

    Raises ``DicomUnreadable`` for bytes that are not DICOM and ``TooLarge`` when a fence is hit.
    """
    size = len(data)
    has_preamble = size >= 132 and bytes(data[128:132]) == b"DICM"
    at = 132 if has_preamble else 0
    meta, at = _scan_meta(data, at, size)
    found = meta.get(0x00020010)
    syntax = bytes(data[found[1] : found[1] + found[2]]).rstrip(b"\0 ").decode("ascii", "replace") if found else ""
    if not has_preamble and not meta and not _looks_like_dataset(data):
        raise DicomUnreadable("neither a DICM prefix nor a data set")
    buffer, inflated = data, False
    if syntax == DEFLATED:
        buffer, inflated = inflate(data, at), True
    encoding, mismatch = _sniff(buffer, at, syntax)
    if not syntax:
        syntax = _assumed(encoding)
    elements, end, truncated = scan_elements(buffer, at, len(buffer), encoding, to_pixels=to_pixels)
    return Scan(buffer, meta, elements, encoding, syntax, at, has_preamble, inflated, end, truncated, mismatch)


def dataset_offset(data: Buffer) -> int:
    """Return where the data set of a file begins, of which ``data`` is the beginning; it is not looked at itself.

    Raises ``DicomUnreadable`` if an element of the meta group goes on behind ``data``.
    """
    has_preamble = len(data) >= 132 and bytes(data[128:132]) == b"DICM"
    return _scan_meta(data, 132 if has_preamble else 0, len(data))[1]


def inflate(data: Buffer, at: int) -> Buffer:
    """Return the file's first ``at`` bytes and then its data set, which begins there, inflated (PS3.5 A.5, raw deflate).

    Never more than ``MAX_INFLATED_BYTES``, and above 32 MiB never more than 100 times the stored bytes: real images stay far
    below, a bomb does not. Grows piece by piece, so that memory holds the result once.
    """
    limit = min(MAX_INFLATED_BYTES, max(_FREE_INFLATED_BYTES, _MAX_INFLATE_RATIO * (len(data) - at)))
    engine, out = zlib.decompressobj(-zlib.MAX_WBITS), bytearray(data[:at])
    try:
        for start in range(at, len(data), _INFLATE_STEP):
            left = bytes(data[start : start + _INFLATE_STEP])
            while left and not engine.eof:
                out += engine.decompress(left, _INFLATE_STEP)
                left = engine.unconsumed_tail
                if len(out) - at > limit:
                    raise TooLarge(f"the deflated data set is larger than {limit} bytes")
            if engine.eof:
                break
        out += engine.flush()
    except zlib.error as error:
        raise DicomUnreadable(f"the deflated data set is broken: {error}") from error
    return memoryview(out).toreadonly()


def _scan_meta(data: Buffer, at: int, size: int) -> tuple[dict[int, Element], int]:
    """Return the group 0002 elements (explicit little endian, PS3.10 7.1) and where the data set begins."""
    meta: dict[int, Element] = {}
    for _ in range(_MAX_META_ELEMENTS):
        if at + 8 > size:
            break
        group, number, vr, length = _META_LE.unpack_from(data, at)
        if group != 2:
            break
        head = 8
        if vr in LONG_VRS:
            if at + 12 > size:
                break
            (length,) = struct.unpack_from("<I", data, at + 8)
            head = 12
        elif vr not in SHORT_VRS:
            (length,) = struct.unpack_from("<I", data, at + 4)
            vr = b""
        if length == UNDEFINED or at + head + length > size:
            raise DicomUnreadable(f"the file meta element (0002,{number:04X}) runs past the end of the file")
        meta[0x00020000 | number] = (vr, at + head, length)
        at += head + length
    return meta, at


def _looks_like_dataset(data: Buffer) -> bool:
    """Tell whether a file without preamble or meta group begins with an element of group 0008 (or below 0010)."""
    if len(data) < 8:
        return False
    group_le, group_be = struct.unpack_from("<H", data)[0], struct.unpack_from(">H", data)[0]
    return bool(0 < group_le <= 0x0010 or 0 < group_be <= 0x0010)


def _sniff(buffer: Buffer, at: int, syntax: str) -> tuple[Encoding, bool]:
    """Return how the data set is really written, and whether that contradicts its transfer syntax."""
    little = syntax != EXPLICIT_BE
    if at + 8 > len(buffer):
        return Encoding(syntax == IMPLICIT_LE, little), False
    if not syntax:
        group_le, group_be = struct.unpack_from("<H", buffer, at)[0], struct.unpack_from(">H", buffer, at)[0]
        little = group_le <= group_be
    vr = bytes(buffer[at + 4 : at + 6])
    implicit = not (0x40 < vr[0] < 0x5B and 0x40 < vr[1] < 0x5B)
    return Encoding(implicit, little), bool(syntax) and implicit != (syntax == IMPLICIT_LE)


def _assumed(encoding: Encoding) -> str:
    if encoding.implicit:
        return IMPLICIT_LE
    return EXPLICIT_LE if encoding.little else EXPLICIT_BE


def scan_elements(
    data: Buffer, at: int, end: int, encoding: Encoding, *, to_pixels: bool = False, fence: Fence | None = None
) -> tuple[dict[int, Element], int, bool]:
    """Return ({tag: element}, where the scan stopped, whether the last value runs past ``end``) of one data set."""
    order = "<" if encoding.little else ">"
    explicit = struct.Struct(order + "HH2sH").unpack_from
    pair, long = struct.Struct(order + "HHI").unpack_from, struct.Struct(order + "I").unpack_from
    elements: dict[int, Element] = {}
    implicit, fence, limit = encoding.implicit, fence or Fence(), end - 8
    while at <= limit:
        if implicit:
            group, number, length = pair(data, at)
            vr, at = b"", at + 8
        else:
            group, number, vr, length = explicit(data, at)
            if vr in SHORT_VRS:
                at += 8
            elif vr in LONG_VRS:
                if at + 12 > end:
                    return elements, at, True
                length, at = long(data, at + 8)[0], at + 12
            elif b"AA" <= vr <= b"ZZ":
                at += 8
            else:
                length, vr, at = pair(data, at)[2], b"", at + 8
        tag = group << 16 | number
        if tag in {ITEM, ITEM_END, SEQUENCE_END}:
            if tag != ITEM:  # a stray sequence delimiter at the end occurs in real files: it ends the data set
                return elements, at if tag == ITEM_END else at - 8, False
            raise DicomUnreadable(f"an item ({group:04X},{number:04X}) stands among elements at byte {at}")
        elements[tag] = (vr, at, length)
        if to_pixels and tag in PIXEL_TAGS:
            return elements, at, False
        if length == UNDEFINED:
            done = skip_undefined(data, at, end, implicit=_implicit_inside(vr, implicit), order=order, fence=fence)
            if done < 0:
                return elements, end, True
            at = done
        else:
            at += length
            if at > end:
                return elements, end, True
        fence.spend()
        if len(elements) > _MAX_DATA_SET_ELEMENTS:
            raise TooLarge(f"more than {_MAX_DATA_SET_ELEMENTS} elements in one data set")
    return elements, at, at < end and at + 8 > end and any(bytes(data[at:end]))


def _implicit_inside(vr: bytes, implicit: bool) -> bool:
    """UN of undefined length holds items in implicit VR little endian (PS3.5 6.2.2 note 2)."""
    return implicit or vr == b"UN"


def skip_undefined(
    data: Buffer, at: int, end: int, *, implicit: bool, order: str, fence: Fence | None = None, depth: int = 1
) -> int:
    """Return the byte after a value of undefined length (a sequence or pixel fragments), or -1 if it never ends."""
    if depth > MAX_DEPTH:
        raise TooLarge(f"sequences nest deeper than {MAX_DEPTH}")
    fence = fence or Fence()
    item = struct.Struct(order + "HHI").unpack_from
    while at + 8 <= end:
        group, number, length = item(data, at)
        tag, at = group << 16 | number, at + 8
        fence.spend()
        if tag == SEQUENCE_END:
            return at
        if tag != ITEM:
            raise DicomUnreadable(f"({group:04X},{number:04X}) stands where an item should begin at byte {at - 8}")
        if length == UNDEFINED:
            at = _skip_item(data, at, end, implicit=implicit, order=order, fence=fence, depth=depth)
            if at < 0:
                return -1
        else:
            at += length
            if at > end:
                return -1
    return -1


def _skip_item(data: Buffer, at: int, end: int, *, implicit: bool, order: str, fence: Fence, depth: int) -> int:
    """Return the byte after an item of undefined length, or -1 if it never ends."""
    while at + 8 <= end:
        tag, vr, value_at, length = read_element_head(data, at, implicit=implicit, order=order)
        fence.spend()
        if tag == ITEM_END:
            return at + 8
        if tag in {ITEM, SEQUENCE_END}:
            raise DicomUnreadable(f"an item is not closed at byte {at}")
        if length == UNDEFINED:
            inside = _implicit_inside(vr, implicit)
            at = skip_undefined(data, value_at, end, implicit=inside, order=order, fence=fence, depth=depth + 1)
            if at < 0:
                return -1
        else:
            at = value_at + length
    return -1


def read_element_head(data: Buffer, at: int, *, implicit: bool, order: str) -> tuple[int, bytes, int, int]:
    """Return (tag, VR, offset of the value, length) of the element at ``at``; at least 8 bytes must be there."""
    group, number, vr, short = struct.unpack_from(order + "HH2sH", data, at)
    tag = group << 16 | number
    if not implicit and group != 0xFFFE:
        if vr in LONG_VRS:
            if at + 12 > len(data):
                raise DicomUnreadable(f"an element is cut off at byte {at}")
            return tag, vr, at + 12, struct.unpack_from(order + "I", data, at + 8)[0]
        if b"AA" <= vr <= b"ZZ":
            return tag, vr, at + 8, short
    return tag, b"", at + 8, struct.unpack_from(order + "I", data, at + 4)[0]
