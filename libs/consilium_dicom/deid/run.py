"""De-identify one object: header, pixels, record of what was done, and what is left to a person (PS3.15 E.1 to E.3).

Flows in: the bytes of a file and ``Options``; flows out: ``Deidentified``. The order: fences, pixels (masks, then a look for text),
then every element by its rule, then the record. The same bytes, key and options give the same result.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consilium_dicom.charset import decode
from consilium_dicom.codecs import to_rgb
from consilium_dicom.deid import masks
from consilium_dicom.deid.identities import identities_of
from consilium_dicom.deid.options import CODES, Option, Options
from consilium_dicom.deid.profiles import DeviceProfile, Match, find_mask
from consilium_dicom.deid.pseudonyms import days_of_shift, stand_in_patient, stand_in_uid
from consilium_dicom.deid.text_finder import TextFound, find_text, grey_of
from consilium_dicom.deid.walk import Done, Walk
from consilium_dicom.deid.words import Cleaner
from consilium_dicom.errors import DicomInvalid, DicomUnreadable
from consilium_dicom.frames import walk_fragments
from consilium_dicom.header import Header, header_of
from consilium_dicom.luts import PixelTables, apply_palette, read_tables
from consilium_dicom.rewrite import WORD_BYTES, element, meta_group, turned
from consilium_dicom.scan import EXPLICIT_LE, UNDEFINED, Fence, Scan, scan
from consilium_dicom.structure import check_items
from consilium_dicom.uids import transfer_syntax

RISKS = {
    "burnt-in-text": "Text is burnt into the pixels.",
    "burnt-in-unsure": "There may be text burnt into the pixels.",
    "pixels-not-looked-at": "The pixels could not be looked at here (a video, or frames that do not decode).",
    "recognizable-face": "A face may be recognizable, in the picture or by rendering the volume.",
    "identities-in-text": "Identities stood in free text; what was written in other words may be left.",
    "prose-kept": "Free text was kept after cleaning it by words.",
    "graphics-removed-unseen": "Graphics that might hold text were removed rather than cleaned.",
    "private-kept": "Private elements of the allowed list were kept.",
    "dates-kept": "Full dates were kept.",
    "uids-kept": "UIDs were kept: the object can be linked to its original.",
    "device-kept": "The device's identity was kept.",
    "institution-kept": "The institution was kept.",
    "rare-patient": "Age, size and weight were kept: a rare patient may be recognized.",
}
"""What may be left, by code. None of it is exhaustive: no method guarantees anonymity."""

_FOR_PERSON = frozenset(
    {
        "burnt-in-text",
        "burnt-in-unsure",
        "pixels-not-looked-at",
        "recognizable-face",
        "identities-in-text",
        "prose-kept",
    }
)
_BY_OPTION = {
    Option.FULL_DATES: "dates-kept", Option.UIDS: "uids-kept", Option.DEVICE: "device-kept",
    Option.INSTITUTION: "institution-kept", Option.PATIENT: "rare-patient",
}  # fmt: skip
_FACE_MODALITIES = frozenset({"CT", "MR", "PT", "NM"})
_FACE_PARTS = ("HEAD", "BRAIN", "SKULL", "FACE", "NECK", "ORBIT", "SINUS", "JAW", "EAR", "WHOLEBODY", "BODY")
_PHOTOGRAPHS = frozenset({"XC", "OP", "DMS"})
_SOFTWARE = 0x00181020
_EXTENDED_TABLES = (0x7FE00001, 0x7FE00002)
_METHOD = b"consilium PS3.15 E.1"


@dataclass(frozen=True, slots=True)
class Deidentified:
    """The result. ``risks`` are codes of ``RISKS``; ``text`` is what was found in the pixels after masking, None without a look."""

    data: bytes
    sop_instance_uid: str
    done: tuple[Done, ...]
    risks: tuple[str, ...]
    codes: tuple[str, ...]
    text: TextFound | None
    mask: str

    @property
    def needs_person(self) -> bool:
        """Tell whether somebody must look before this leaves the house."""
        return bool(_FOR_PERSON & set(self.risks))


@dataclass(frozen=True, slots=True)
class _Pixels:
    """The pixel data element to write, its syntax, and what was seen."""

    syntax: str
    data: bytes
    changes: dict[int, bytes]
    text: TextFound | None
    unseen: bool
    mask: str


def deidentify(data: bytes, options: Options, profiles: Sequence[DeviceProfile] = ()) -> Deidentified:
    """Return the de-identified object. Raises ``DicomInvalid`` for bytes that cannot be read to their end."""
    source = scan(data)
    if source.truncated:
        raise DicomUnreadable("the object is cut off: it is not de-identified in part")
    check_items(source.buffer, source.elements, source.encoding, Fence())
    header = header_of(source)
    pixels = _pixels(source, header, options, profiles)
    encodings = header.charset.encodings
    person = (header.issuer_of_patient_id, header.patient_id, str(header.patient_name))
    days = options.shift_days or days_of_shift(options.key, *person)
    cleaner = Cleaner(
        identities_of(source, encodings, options),
        keep_dates=options.has(Option.FULL_DATES),
        keep_uids=options.has(Option.UIDS),
    )
    walk = Walk(source, options, encodings, stand_in_patient(options.key, *person), days, cleaner)
    kept = walk.elements()
    risks = _risks(header, source, options, pixels, walk)
    codes = _codes(options, pixels, risks)
    kept |= pixels.changes
    kept |= _record(codes, options, header, risks, pixels)
    kept[0x00080005] = element(0x00080005, b"CS", b"ISO_IR 192")
    for tag in _EXTENDED_TABLES:
        kept.pop(tag, None)
    uid = header.sop_instance_uid
    uid = uid if options.has(Option.UIDS) else stand_in_uid(options.key, uid)
    head = meta_group(replace(source, meta={}), pixels.syntax, uid)
    behind = header.pixel_tag if pixels.data else 0xFFFFFFFF
    body = b"".join(
        (
            *(kept[tag] for tag in sorted(kept) if tag < behind),
            pixels.data,
            *(kept[tag] for tag in sorted(kept) if tag > behind),
        )
    )
    return Deidentified(head + body, uid, tuple(walk.done), risks, codes, pixels.text, pixels.mask)


def _software(source: Scan) -> str:
    return decode(source.value(_SOFTWARE), ("latin_1",)).strip(" \0")


def _pixels(source: Scan, header: Header, options: Options, profiles: Sequence[DeviceProfile]) -> _Pixels:
    known = transfer_syntax(header.transfer_syntax_uid)
    syntax = header.transfer_syntax_uid if known is not None and known.encapsulated else EXPLICIT_LE
    if not header.has_pixels:
        return _Pixels(EXPLICIT_LE, b"", {}, None, False, "")
    try:
        tables = read_tables(source.buffer, source) if header.photometric == "PALETTE COLOR" else None
        screen = (header.bits_allocated or 8) <= 8
        match = find_mask(profiles, header, _software(source)) if options.has(Option.CLEAN_PIXELS) else None
        regions = masks.regions_of(source)
        keeps = regions if options.has(Option.CLEAN_PIXELS) and (match is None or match.mask.keep_regions) else ()
        if match is not None or keeps:
            rectangles = match.mask.rectangles if match is not None else ()
            black = masks.blackened((header.rows or 0, header.columns or 0), rectangles, keeps)
            new = masks.mask_pixels(source, header, black)
            found = find_text([_shown(one, header, tables) for one in new.shown], screen=screen)
            return _Pixels(new.transfer_syntax_uid, new.pixel_data, new.changes, found, False, _named(match))
        last = max(header.frames - 1, 0)
        shown = masks.decoded_frames(source, header, sorted({0, last // 2, last}))
        found = find_text([_shown(to_rgb(one) if ybr else one, header, tables) for one, ybr in shown], screen=screen)
        return _Pixels(syntax, _as_stored(source, header), {}, found, False, "")
    except DicomInvalid:
        return _Pixels(syntax, _as_stored(source, header), {}, None, True, "")


def _shown(samples: NDArray[Any], header: Header, tables: PixelTables | None) -> NDArray[np.uint8]:
    """Return a frame as a person sees it, in grey."""
    seen = apply_palette(samples, tables) if tables is not None and samples.ndim == 2 else samples
    return grey_of(seen, header.photometric)


def _named(match: Match | None) -> str:
    return f"{match.profile} {match.version}" if match is not None else "ultrasound regions"


def _as_stored(source: Scan, header: Header) -> bytes:
    """Return the pixel data element as it lies, native words in little endian."""
    at, tag = header.pixel_offset, header.pixel_tag
    if header.encapsulated:
        end = walk_fragments(source.buffer, at, little=header.little_endian).end
        return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, b"OB", 0, UNDEFINED) + bytes(source.buffer[at:end])
    vr = (header.pixel_vr or "OW").encode()
    vr = vr if vr in {b"OB", b"OW", b"OF", b"OD"} else b"OW"
    raw = bytes(source.buffer[at : at + (header.pixel_length or 0)])
    return element(tag, vr, raw if header.little_endian else turned(raw, WORD_BYTES.get(vr, 1)))


def _risks(header: Header, source: Scan, options: Options, pixels: _Pixels, walk: Walk) -> tuple[str, ...]:
    found = [code for option, code in _BY_OPTION.items() if options.has(option)]
    if pixels.unseen:
        found.append("pixels-not-looked-at")
    if pixels.text is not None and pixels.text.verdict != "none":
        found.append("burnt-in-text" if pixels.text.verdict == "text" else "burnt-in-unsure")
    elif header.burned_in == "YES" and not pixels.mask:
        found.append("burnt-in-unsure")
    if header.has_pixels and _may_show_a_face(header):
        found.append("recognizable-face")
    if walk.cleaner.found:
        found.append("identities-in-text")
    if walk.cleaner.kept_prose:
        found.append("prose-kept")
    if walk.graphics_removed:
        found.append("graphics-removed-unseen")
    if walk.retained_private:
        found.append("private-kept")
    return tuple(sorted(set(found)))


def _may_show_a_face(header: Header) -> bool:
    if header.modality in _PHOTOGRAPHS:
        return True
    said = "".join(
        (header.body_part, header.series_description, header.study_description, header.protocol_name)
    ).upper()
    said = said.replace(" ", "").replace("_", "")
    return header.modality in _FACE_MODALITIES and (not header.body_part or any(part in said for part in _FACE_PARTS))


def _codes(options: Options, pixels: _Pixels, risks: Sequence[str]) -> tuple[str, ...]:
    """Return the codes of what was really done: cleaned pixels only when no text is left, features never without a person."""
    left = {"burnt-in-text", "burnt-in-unsure", "pixels-not-looked-at"} & set(risks)
    out = [CODES[None][0]]
    for option, (code, _) in CODES.items():
        if option is None or not options.has(option) or option is Option.CLEAN_FEATURES:
            continue
        if option is Option.CLEAN_PIXELS and (left or not pixels.data):
            continue
        out.append(code)
    return tuple(out)


def _record(
    codes: Sequence[str], options: Options, header: Header, risks: Sequence[str], pixels: _Pixels
) -> dict[int, bytes]:
    """Return what PS3.15 E.1.1 wants written, and what is known of burnt-in text and of faces (PS3.3 C.12.1.1.7, C.7.6.1)."""
    meanings = dict(CODES.values())
    items = []
    for code in codes:
        body = element(0x00080100, b"SH", code.encode()) + element(0x00080102, b"SH", b"DCM")
        body += element(0x00080104, b"LO", meanings[code].encode())
        items.append(struct.pack("<HHI", 0xFFFE, 0xE000, len(body)) + body)
    times = "UNMODIFIED" if options.has(Option.FULL_DATES) else "MODIFIED"
    times = times if {Option.FULL_DATES, Option.MODIFIED_DATES} & options.chosen else "REMOVED"
    out = {
        0x00120062: element(0x00120062, b"CS", b"YES"),
        0x00120063: element(0x00120063, b"LO", _METHOD),
        0x00120064: element(0x00120064, b"SQ", b"".join(items)),
        0x00280303: element(0x00280303, b"CS", times.encode()),
    }
    if pixels.data and "recognizable-face" in risks:
        out[0x00280302] = element(0x00280302, b"CS", b"YES")
    if pixels.data and CODES[Option.CLEAN_PIXELS][0] in codes:
        out[0x00280301] = element(0x00280301, b"CS", b"NO")
    elif pixels.data and "burnt-in-text" in risks:
        out[0x00280301] = element(0x00280301, b"CS", b"YES")
    return out
