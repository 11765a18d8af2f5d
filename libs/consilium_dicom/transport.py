"""V0: the bytes are those that were sent, and what they are when they are not DICOM."""

from __future__ import annotations

from dataclasses import dataclass

from consilium_dicom.findings import Finding, finding
from consilium_dicom.scan import Buffer

_MAGIC = (
    (b"%PDF-", "a PDF"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"\x89PNG\r\n", "a PNG picture"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip file"),
    (b"BM", "a BMP picture"),
    (b"\x1a\x45\xdf\xa3", "a Matroska video"),
    (b"<?xml", "XML"),
    (b"<!DOCTYPE", "HTML"),
    (b"<html", "HTML"),
    (b"{", "JSON"),
    (b"[", "JSON"),
)


@dataclass(frozen=True, slots=True)
class Stated:
    """What the sender says of the bytes; None and "" where it says nothing."""

    size_bytes: int | None = None
    sha256: str = ""


NOTHING_STATED = Stated()


def arrived(stated: Stated, size_bytes: int, sha256: str) -> tuple[Finding, ...]:
    """Return what contradicts the sender's length and SHA-256 (hex, any case)."""
    found = []
    if stated.size_bytes is not None and stated.size_bytes != size_bytes:
        found.append(finding("length-mismatch", actual=size_bytes, stated=stated.size_bytes))
    if stated.sha256 and stated.sha256.lower() != sha256:
        found.append(finding("checksum-mismatch"))
    return tuple(found)


def sniff(data: Buffer) -> str:
    """Return what bytes that are no DICOM look like, in words; "" when unknown."""
    if not len(data):
        return "nothing: the file is empty"
    head = bytes(data[:16])
    if head[4:8] == b"ftyp":
        return "an MP4 video"
    return next((words for magic, words in _MAGIC if head.startswith(magic)), "")
