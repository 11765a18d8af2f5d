"""A DICOM JSON object of UIDs, numbers and sequences as a data set, in Implicit or Explicit VR Little Endian (PS3.5 7.1, 7.5), pure.

For results of storage commitment: a peer's context has either syntax, and everything in them is ours. Sequences have defined lengths.
"""

from __future__ import annotations

import struct
from typing import Any

from consilium_dicom.json_read import JsonObject
from consilium_ingest.dimse.pdu import IMPLICIT_LE

_ITEM = struct.Struct("<HHI")


def encode_result(found: JsonObject, syntax: str) -> bytes:
    """Return the data set of ``found``, whose elements stand in order; raise ValueError for a VR other than SQ, UI and US."""
    implicit = syntax == IMPLICIT_LE
    return b"".join(_element(int(key, 16), element["vr"], element["Value"], implicit) for key, element in found.items())


def _element(tag: int, vr: str, values: list[Any], implicit: bool) -> bytes:
    value = _value(vr, values, implicit)
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    if implicit:
        return head + struct.pack("<I", len(value)) + value
    if vr == "SQ":
        return head + b"SQ\0\0" + struct.pack("<I", len(value)) + value
    return head + vr.encode() + struct.pack("<H", len(value)) + value


def _value(vr: str, values: list[Any], implicit: bool) -> bytes:
    if vr == "SQ":
        items = [encode_result(item, IMPLICIT_LE if implicit else "") for item in values]
        return b"".join(_ITEM.pack(0xFFFE, 0xE000, len(item)) + item for item in items)
    if vr == "US":
        return struct.pack(f"<{len(values)}H", *values)
    if vr != "UI":
        raise ValueError(f"no result has elements of {vr}")
    text = "\\".join(values).encode("ascii")
    return text + b"\0" * (len(text) & 1)
