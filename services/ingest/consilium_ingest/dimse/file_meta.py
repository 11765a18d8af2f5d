"""The preamble and file meta information that a data set from the network gets (PS3.10 7.1).

Only what follows from the data set and its transfer syntax stands in it, never who sent it or when: the same instance from two
senders, or sent twice, is the same file, and the archive knows it again by its hash.
"""

from __future__ import annotations

import struct
from functools import lru_cache

from consilium_dicom.build import IMPLEMENTATION_CLASS_UID
from consilium_ingest.dimse.pdu import IMPLEMENTATION_VERSION


@lru_cache(maxsize=256)
def _fixed_end(syntax: str) -> bytes:
    return (
        _short(0x0010, b"UI", syntax, b"\0")
        + _short(0x0012, b"UI", IMPLEMENTATION_CLASS_UID, b"\0")
        + _short(0x0013, b"SH", IMPLEMENTATION_VERSION, b" ")
    )


def file_meta(sop_class_uid: str, sop_instance_uid: str, syntax: str) -> bytes:
    """Return everything that stands before the data set in a Part 10 file."""
    group = (
        b"\x02\x00\x01\x00OB\0\0\x02\0\0\0\x00\x01"
        + _short(0x0002, b"UI", sop_class_uid, b"\0")
        + _short(0x0003, b"UI", sop_instance_uid, b"\0")
        + _fixed_end(syntax)
    )
    return bytes(128) + b"DICM\x02\x00\x00\x00UL\x04\x00" + struct.pack("<I", len(group)) + group


def _short(element: int, vr: bytes, text: str, pad: bytes) -> bytes:
    value = text.encode("ascii", "replace")
    value += pad * (len(value) & 1)
    return struct.pack("<HH2sH", 2, element, vr, len(value)) + value
