"""Read what an index needs of one instance, in one lean pass up to the pixel data (no objects, no pydicom).

Flows in: the bytes of a Part 10 file (or of its beginning, as far as the pixel data element); flows out: ``Header``.
pydicom is the oracle of the tests. Values are decoded by the object's own character set.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Any

from consilium_dicom.charset import DEFAULT, Encodings, decode
from consilium_dicom.charset_repair import TRUSTED, CharsetReading, read_charset
from consilium_dicom.person_name import PersonName
from consilium_dicom.scan import MAX_VALUE_BYTES, PIXEL_TAGS, UNDEFINED, Buffer, Scan, scan

__all__ = ["TEXTS", "Header", "header_of", "read_header", "reread"]


@dataclass(frozen=True, slots=True)
class Header:
    """What one instance says of itself; absent or unreadable text is "", absent or unreadable numbers are None.

    ``pixel_offset`` is the offset of the pixel data's value in the file (in the inflated file when ``inflated``), -1
    without pixel data; ``pixel_length`` is None when undefined (encapsulated) or when there is none. Dates are DICOM DA,
    times TM. Multi-valued text keeps its backslashes. ``extended_offsets`` is where the Extended Offset Table lies (C.7.6.3.1.8).
    ``character_set`` is what the object states, ``charset`` how its text was really read.
    Text holds no NUL (no database takes it alike): each is a space, and ``nul_tags`` names the elements. UIDs are left as they came.
    """

    transfer_syntax_uid: str
    media_sop_class_uid: str
    media_sop_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    study_uid: str
    series_uid: str
    character_set: str
    timezone_offset: str
    patient_id: str
    issuer_of_patient_id: str
    patient_name: PersonName
    birth_date: str
    sex: str
    study_date: str
    study_time: str
    study_id: str
    study_description: str
    accession_number: str
    referring_physician: PersonName
    modality: str
    series_number: int | None
    series_description: str
    series_date: str
    series_time: str
    step_date: str
    step_time: str
    protocol_name: str
    body_part: str
    laterality: str
    manufacturer: str
    model_name: str
    station_name: str
    institution_name: str
    frame_of_reference_uid: str
    instance_number: int | None
    image_type: str
    content_date: str
    content_time: str
    acquisition_date_time: str
    rows: int | None
    columns: int | None
    samples_per_pixel: int | None
    photometric: str
    planar_configuration: int | None
    bits_allocated: int | None
    bits_stored: int | None
    high_bit: int | None
    pixel_representation: int | None
    number_of_frames: int | None
    frame_time_ms: float | None
    window_center: tuple[float, ...]
    window_width: tuple[float, ...]
    voi_function: str
    rescale_intercept: float | None
    rescale_slope: float | None
    lossy: str
    burned_in: str
    pixel_tag: int
    pixel_vr: str
    pixel_offset: int
    pixel_length: int | None
    extended_offsets: tuple[int, int] | None
    dataset_offset: int
    implicit: bool
    little_endian: bool
    inflated: bool
    has_preamble: bool
    charset: CharsetReading = TRUSTED
    nul_tags: tuple[int, ...] = ()

    @property
    def frames(self) -> int:
        """Return the number of frames, 1 when unsaid, 0 without pixel data."""
        return (self.number_of_frames or 1) if self.pixel_offset >= 0 else 0

    @property
    def has_pixels(self) -> bool:
        """Tell whether there is a pixel data element (integer, float or double float)."""
        return self.pixel_offset >= 0

    @property
    def encapsulated(self) -> bool:
        """Tell whether the pixel data lies in fragments (PS3.5 A.4)."""
        return self.pixel_offset >= 0 and self.pixel_length is None


def read_header(data: Buffer) -> Header:
    """Return the header of one file; ``data`` may end anywhere after the pixel data element's head.

    Raises ``DicomUnreadable`` if the bytes are not DICOM, ``TooLarge`` if they try to exhaust us.
    """
    return header_of(scan(data, to_pixels=True))


class _Reader:
    """Reads typed values of top-level elements by tag."""

    __slots__ = ("buffer", "elements", "encodings", "nul_tags", "short")

    def __init__(self, source: Scan) -> None:
        self.buffer = source.buffer
        self.elements = source.elements
        self.encodings: Encodings = DEFAULT
        self.nul_tags: list[int] = []
        self.short = struct.Struct("<H" if source.encoding.little else ">H").unpack_from

    def raw(self, tag: int) -> bytes:
        found = self.elements.get(tag)
        if found is None or found[2] > MAX_VALUE_BYTES:
            return b""
        return bytes(self.buffer[found[1] : found[1] + found[2]])

    def without_nul(self, tag: int, value: str) -> str:
        if "\0" not in value:
            return value
        self.nul_tags.append(tag)
        return value.replace("\0", " ")  # left out, "P1\\0001" would become somebody else's id

    def ascii(self, tag: int) -> str:
        return self.without_nul(tag, self.exact(tag))

    def exact(self, tag: int) -> str:
        found = self.elements.get(tag)
        if found is None or not 0 < found[2] <= MAX_VALUE_BYTES:
            return ""
        return bytes(self.buffer[found[1] : found[1] + found[2]]).decode("latin_1").strip(" \0")

    def text(self, tag: int) -> str:
        found = self.elements.get(tag)
        if found is None or not 0 < found[2] <= MAX_VALUE_BYTES:
            return ""
        value = decode(bytes(self.buffer[found[1] : found[1] + found[2]]), self.encodings)
        value = "\\".join([part.rstrip("\0 ") for part in value.split("\\")]) if "\\" in value else value.rstrip("\0 ")
        return self.without_nul(tag, value)

    def name(self, tag: int) -> PersonName:
        raw = self.raw(tag).rstrip(b"\0 ")
        if not raw:
            return _NO_NAME
        name = PersonName.parse(decode(raw, self.encodings))
        return PersonName.parse(self.without_nul(tag, str(name))) if b"\0" in raw else name

    def ushort(self, tag: int) -> int | None:
        found = self.elements.get(tag)
        if found is None or found[2] < 2 or found[1] + 2 > len(self.buffer):
            return None
        return int(self.short(self.buffer, found[1])[0])

    def integer(self, tag: int) -> int | None:
        text = self.exact(tag).split("\\", 1)[0]
        try:
            number = float(text) if text else None
        except ValueError:
            return None
        return int(number) if number is not None and number.is_integer() else None

    def numbers(self, tag: int) -> tuple[float, ...]:
        text = self.exact(tag)
        if not text:
            return ()
        try:
            return tuple([float(part) for part in text.split("\\") if part.strip()])
        except ValueError:
            return ()

    def number(self, tag: int) -> float | None:
        values = self.numbers(tag)
        return values[0] if values else None


_NO_NAME = PersonName()


FIELDS: dict[int, tuple[str, Callable[[_Reader, int], Any]]] = {
    0x00080016: ("sop_class_uid", _Reader.exact),
    0x00080018: ("sop_instance_uid", _Reader.exact),
    0x0020000D: ("study_uid", _Reader.exact),
    0x0020000E: ("series_uid", _Reader.exact),
    0x00200052: ("frame_of_reference_uid", _Reader.ascii),
    0x00080005: ("character_set", _Reader.ascii),
    0x00080201: ("timezone_offset", _Reader.ascii),
    0x00100020: ("patient_id", _Reader.text),
    0x00100021: ("issuer_of_patient_id", _Reader.text),
    0x00100010: ("patient_name", _Reader.name),
    0x00100030: ("birth_date", _Reader.ascii),
    0x00100040: ("sex", _Reader.ascii),
    0x00080020: ("study_date", _Reader.ascii),
    0x00080030: ("study_time", _Reader.ascii),
    0x00200010: ("study_id", _Reader.text),
    0x00081030: ("study_description", _Reader.text),
    0x00080050: ("accession_number", _Reader.text),
    0x00080090: ("referring_physician", _Reader.name),
    0x00080060: ("modality", _Reader.ascii),
    0x00200011: ("series_number", _Reader.integer),
    0x0008103E: ("series_description", _Reader.text),
    0x00080021: ("series_date", _Reader.ascii),
    0x00080031: ("series_time", _Reader.ascii),
    0x00400244: ("step_date", _Reader.ascii),
    0x00400245: ("step_time", _Reader.ascii),
    0x00181030: ("protocol_name", _Reader.text),
    0x00180015: ("body_part", _Reader.ascii),
    0x00200060: ("laterality", _Reader.ascii),
    0x00080070: ("manufacturer", _Reader.text),
    0x00081090: ("model_name", _Reader.text),
    0x00081010: ("station_name", _Reader.text),
    0x00080080: ("institution_name", _Reader.text),
    0x00080023: ("content_date", _Reader.ascii),
    0x00080033: ("content_time", _Reader.ascii),
    0x0008002A: ("acquisition_date_time", _Reader.ascii),
    0x00200013: ("instance_number", _Reader.integer),
    0x00080008: ("image_type", _Reader.ascii),
    0x00280010: ("rows", _Reader.ushort),
    0x00280011: ("columns", _Reader.ushort),
    0x00280002: ("samples_per_pixel", _Reader.ushort),
    0x00280004: ("photometric", _Reader.ascii),
    0x00280006: ("planar_configuration", _Reader.ushort),
    0x00280100: ("bits_allocated", _Reader.ushort),
    0x00280101: ("bits_stored", _Reader.ushort),
    0x00280102: ("high_bit", _Reader.ushort),
    0x00280103: ("pixel_representation", _Reader.ushort),
    0x00280008: ("number_of_frames", _Reader.integer),
    0x00181063: ("frame_time_ms", _Reader.number),
    0x00281050: ("window_center", _Reader.numbers),
    0x00281051: ("window_width", _Reader.numbers),
    0x00281056: ("voi_function", _Reader.ascii),
    0x00281052: ("rescale_intercept", _Reader.number),
    0x00281053: ("rescale_slope", _Reader.number),
    0x00282110: ("lossy", _Reader.ascii),
    0x00280301: ("burned_in", _Reader.ascii),
}
"""Which element each field is read from, and how."""
TEXTS = frozenset(tag for tag, (_, how) in FIELDS.items() if how in (_Reader.text, _Reader.name))
"""Those whose reading depends on the character set."""


def header_of(source: Scan) -> Header:
    """Return the header of a file that has been scanned."""
    read = _Reader(source)
    charset = read_charset(source)
    read.encodings = charset.encodings
    said = {name: how(read, tag) for tag, (name, how) in FIELDS.items()}
    return Header(**said, **_meta(source), **_places(source), charset=charset, nul_tags=tuple(read.nul_tags))


def reread(header: Header, source: Scan, tags: Iterable[int]) -> Header | None:
    """Return what a file of the same layout says in which only ``tags`` and the meta group differ (``likeness``).

    None for one that must be read as a whole.
    """
    read = _Reader(source)
    read.encodings = header.charset.encodings
    changed = {FIELDS[tag][0]: FIELDS[tag][1](read, tag) for tag in tags if tag in FIELDS}
    return None if read.nul_tags else _with(header, changed | _meta(source))


def _with(header: Header, changed: dict[str, Any]) -> Header:
    """Return a header with other fields."""
    return Header(*[changed[name] if name in changed else getattr(header, name) for name in _NAMES])


_NAMES = tuple(field.name for field in fields(Header))


def _meta(source: Scan) -> dict[str, Any]:
    def said(tag: int) -> str:
        found = source.meta.get(tag)
        return bytes(source.buffer[found[1] : found[1] + found[2]]).decode("latin_1").strip(" \0") if found else ""

    return {
        "transfer_syntax_uid": source.transfer_syntax_uid,
        "media_sop_class_uid": said(0x00020002),
        "media_sop_instance_uid": said(0x00020003),
    }


def _place(source: Scan, tag: int) -> tuple[int, int] | None:
    found = source.elements.get(tag)
    return None if found is None or found[2] == UNDEFINED else (found[1], found[2])


def _places(source: Scan) -> dict[str, Any]:
    pixel_tag, vr, offset, length = 0, b"", -1, None
    for tag in PIXEL_TAGS:
        found = source.elements.get(tag)
        if found is not None:
            pixel_tag, vr, offset, length = tag, found[0], found[1], None if found[2] == UNDEFINED else found[2]
            break
    return {
        "pixel_tag": pixel_tag,
        "pixel_vr": vr.decode("latin_1"),
        "pixel_offset": offset,
        "pixel_length": length,
        "extended_offsets": _place(source, 0x7FE00001),
        "dataset_offset": source.dataset_offset,
        "implicit": source.encoding.implicit,
        "little_endian": source.encoding.little,
        "inflated": source.inflated,
        "has_preamble": source.has_preamble,
    }
