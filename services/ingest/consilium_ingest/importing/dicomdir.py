"""Which files a DICOMDIR lists (PS3.3 F.3.2.2, PS3.10 8.6); read by the fenced scanner, for media come from strangers."""

from __future__ import annotations

from consilium_dicom.errors import DicomInvalid
from consilium_dicom.scan import Buffer, Fence, scan
from consilium_dicom.structure import items_of
from consilium_ingest.importing.errors import DicomdirBroken

MEDIA_STORAGE_DIRECTORY = b"1.2.840.10008.1.3.10"
_CLASS, _RECORDS, _FILE_ID = 0x00020002, 0x00041220, 0x00041500
_LONGEST_ID_BYTES = 1024


def is_dicomdir(head: Buffer) -> bool:
    """Tell whether a file that begins so is a Media Storage Directory."""
    return bytes(head[128:132]) == b"DICM" and MEDIA_STORAGE_DIRECTORY in bytes(head[132:1024])


def listed_files(data: Buffer) -> list[tuple[str, ...]]:
    """Return the components of each referenced file's name, in order; raise DicomdirBroken."""
    try:
        source = scan(data)
        found = source.elements.get(_RECORDS)
        if source.truncated or found is None:
            raise DicomdirBroken("The DICOMDIR has no whole list of directory records.")
        listed: dict[tuple[str, ...], None] = {}
        for elements, _ in items_of(source.buffer, found, source.encoding, Fence()):
            name = elements.get(_FILE_ID)
            if name is None or not 0 < name[2] <= _LONGEST_ID_BYTES:
                continue
            text = bytes(source.buffer[name[1] : name[1] + name[2]]).decode("latin-1")
            parts = tuple(part.strip(" \0") for part in text.split("\\"))
            if all(part and part not in {".", ".."} and "/" not in part for part in parts):
                listed.setdefault(parts)
        return list(listed)
    except DicomInvalid as problem:
        raise DicomdirBroken(f"The DICOMDIR can't be read: {problem.detail}.") from problem


def plain(parts: tuple[str, ...]) -> str:
    """Return a file's name as it is compared: without case, version number and trailing dot (ISO 9660)."""
    return "/".join(part.split(";")[0].rstrip(".").casefold() for part in parts)
