"""Which value representation an element has when its file does not say: implicit VR, or VR UN (PS3.5 6.2.2, 7.1, 7.8, A.1)."""

from __future__ import annotations

from functools import lru_cache

from pydicom.datadict import private_dictionary_VR

from consilium_dicom.scan import UNDEFINED, Buffer, Element
from consilium_dicom.structure import dictionary_vr


def known_vr(buffer: Buffer, tag: int, element: Element, elements: dict[int, Element]) -> bytes:
    """Return the VR of an element written without one, or as UN; ``elements`` is the data set that it stands in."""
    vr = _private(buffer, tag, elements) if tag >> 16 & 1 else dictionary_vr(tag)
    if element[2] == UNDEFINED and vr == b"UN":
        return b"SQ"
    if vr in {b"US or SS", b"US or SS or OW", b"US or OW", b"OB or OW"}:
        return _ambiguous(buffer, vr, tag, elements)
    return vr


def _raw(buffer: Buffer, element: Element) -> bytes:
    return bytes(buffer[element[1] : element[1] + element[2]])


def _private(buffer: Buffer, tag: int, elements: dict[int, Element]) -> bytes:
    """Return a private element's VR by its creator's entry in the dictionary (PS3.5 7.8)."""
    if 0x10 <= tag & 0xFFFF <= 0xFF:
        return b"LO"
    creator = elements.get(tag & 0xFFFF0000 | (tag & 0xFF00) >> 8)
    if creator is None or creator[2] == UNDEFINED:
        return b"UN"
    return _private_vr(tag, _raw(buffer, creator).decode("latin_1").strip(" \0"))


@lru_cache(maxsize=8192)
def _private_vr(tag: int, creator: str) -> bytes:
    try:
        return private_dictionary_VR(tag, creator).encode("ascii")
    except KeyError:
        return b"UN"


def _ambiguous(buffer: Buffer, vr: bytes, tag: int, elements: dict[int, Element]) -> bytes:
    """Return the VR that the data set's own description decides (PS3.5 annex A.1)."""
    if vr == b"OB or OW":
        return b"OW"
    if vr != b"US or SS" and tag == 0x00283006:
        descriptor = elements.get(0x00283002)
        one = descriptor is not None and _raw(buffer, descriptor)[:2] in {b"\x01\x00", b"\x00\x01"}
        return b"US" if one else b"OW"
    signed = elements.get(0x00280103)
    first = _raw(buffer, signed) if signed is not None else b""
    return b"SS" if first in {b"\x01\x00", b"\x00\x01"} else b"US"
