"""Tell whether a data set is one that is stored already, though its file differs in preamble or file meta information.

What came by STOW-RS or from a CD keeps the meta information of whoever wrote it; the same instance by C-STORE gets ours. Only the data set
and its transfer syntax make the instance (PS3.10 7.1), so such a one is a success, not a conflict.
"""

from __future__ import annotations

import asyncio
from datetime import UTC
from functools import partial

from consilium_archive.index import stored_already
from consilium_archive.stages import Indexed, original_key
from consilium_dicom.header import read_header
from consilium_ingest.spool import Part
from consilium_platform.blobs import BlobStore
from consilium_platform.sql import Database

_HEAD_BYTES = 64 << 10
_STRETCH_BYTES = 4 << 20


async def stored_data_set(database: Database, blobs: BlobStore, tenant: str, uid: str, part: Part) -> Indexed | None:
    """Return the stored instance ``uid`` if ``part``'s data set is byte for byte its own in the same transfer syntax, else None."""
    there = await database.query(partial(stored_already, tenant=tenant, uids=[uid]))
    row = there.get((tenant, uid))
    if row is None:
        return None
    key = original_key(tenant, row.sha256)
    mine, theirs = (
        read_header(await _read(part, 0, _HEAD_BYTES)),
        read_header(await blobs.get_range(key, 0, _HEAD_BYTES)),
    )
    if mine.transfer_syntax_uid != theirs.transfer_syntax_uid:
        return None
    left, size = part.size - mine.dataset_offset, await blobs.size(key)
    if left != size - theirs.dataset_offset:
        return None
    for start in range(0, left, _STRETCH_BYTES):
        ours = await _read(part, mine.dataset_offset + start, _STRETCH_BYTES)
        if ours != await blobs.get_range(key, theirs.dataset_offset + start, _STRETCH_BYTES):
            return None
    at = row.received_at if row.received_at.tzinfo else row.received_at.replace(tzinfo=UTC)
    return Indexed(
        row.study_uid, row.series_uid, uid, mine.sop_class_uid, mine.patient_id, row.sha256, size, at, fresh=False
    )


async def _read(part: Part, start: int, length: int) -> bytes:
    if part.path is None:
        return bytes(part.memory[start : start + length])
    path = part.path

    def work() -> bytes:
        with path.open("rb") as file:
            file.seek(start)
            return file.read(length)

    return await asyncio.to_thread(work)
