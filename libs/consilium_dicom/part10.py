"""Write a data set that we made as a Part 10 file: preamble, file meta information, data set, pixel data (PS3.10 7.1)."""

from __future__ import annotations

import io
from collections.abc import Sequence

from pydicom import uid as uids
from pydicom.dataset import Dataset, FileMetaDataset

IMPLEMENTATION_CLASS_UID = "2.25.118409310632906466291466146903018466871"
IMPLEMENTATION_VERSION_NAME = "CONSILIUM_0_1"


def part10_file(ds: Dataset, transfer_syntax: str, pixel_data: Sequence[bytes] = ()) -> bytes:
    """Return the file; ``pixel_data`` are the pieces of a pixel data element that stands behind the data set's others."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = uids.UID(ds.SOPClassUID)
    meta.MediaStorageSOPInstanceUID = uids.UID(ds.SOPInstanceUID)
    meta.TransferSyntaxUID = uids.UID(transfer_syntax)
    meta.ImplementationClassUID = uids.UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    ds.file_meta = meta
    out = io.BytesIO()
    ds.save_as(out, enforce_file_format=True)
    return b"".join([out.getvalue(), *pixel_data])
