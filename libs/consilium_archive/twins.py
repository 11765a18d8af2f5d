"""The same data set under other file meta information: an instance that came by another door before (PS3.10 7.1).

Preamble and group 0002 are of who wrote the file, not of the instance: what came by C-STORE has ours, what came by STOW-RS, upload or import
its writer's. Only where a known SOP Instance UID comes with another SHA-256 the data sets are compared, byte for byte in one transfer
syntax. Length and syntax are known without reading. The stored file is then read once, in stretches, and hashed on the way: neither
"the same" nor "another" rests on bytes that have rotted. Nothing here runs inside a transaction; at most ``_AT_ONCE`` are compared at once.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from consilium_archive.errors import InstanceConflict
from consilium_archive.index import Outcome
from consilium_archive.removal import RemovalUnderWay
from consilium_archive.stages import Indexed, Stored, Validated, original_key
from consilium_archive.tables import instance
from consilium_core.errors import ConsiliumError, Mend, Unavailable
from consilium_dicom.errors import DicomUnreadable
from consilium_dicom.scan import dataset_offset
from consilium_platform.blobs import BlobDamaged, BlobNotFound, BlobStore, check_whole, read_checked
from consilium_platform.sql import Database

log = structlog.get_logger()
_AT_ONCE = 2
_MOST_META_BYTES = 1 << 20  # preamble and group 0002 of real files have some hundred bytes
_PROVED_BYTES = (
    64 << 20
)  # once a byte differs, so large a stored file is still read to its end to prove that it is whole
_LEAST_S, _BYTES_PER_S = 30.0, 8 << 20


class Contested(InstanceConflict):
    """The UID is known with another SHA-256; carries the object to the comparison inside the writer."""

    def __init__(self, valid: Validated, refusal: InstanceConflict) -> None:
        super().__init__(refusal.detail, **refusal.facts)
        self.valid = valid
        self.refusal = refusal


class OriginalUnreadable(Unavailable):
    """The stored file that an object is to be compared with is missing or damaged: nobody can say whether both are the same."""

    code = "original-unreadable"
    mend: ClassVar[Mend] = "operator"


class ComparisonUnfinished(Unavailable):
    """The comparison took too long, or what it compares was removed meanwhile; sent again it begins anew."""

    code = "comparison-unfinished"


Refusal = InstanceConflict | RemovalUnderWay
"""What an object is told on its way into the index that may be the same as another: that one was first, or (the same file was sent twice
at once, and its sister was answered already) that its bytes are superfluous and leave the store."""


def is_contested(outcome: Outcome) -> bool:
    """Tell whether an object met others of its UID while it was indexed: the data sets are still to be compared."""
    return isinstance(outcome, InstanceConflict | RemovalUnderWay)


def contested(outcomes: Sequence[Outcome]) -> bool:
    """Tell whether one of them is."""
    return any(map(is_contested, outcomes))


@dataclass(frozen=True, slots=True)
class _DataSet:
    """An object's data set, wherever it lies: in memory, in the receiver's file, or (``key``) in the store."""

    blobs: BlobStore
    valid: Validated
    key: str

    @property
    def size_bytes(self) -> int:
        """Return its length as it is stored, deflated if it is."""
        return self.valid.size_bytes - self.valid.header.dataset_offset

    async def read(self, start: int, length: int) -> bytes | bytearray:
        """Return a stretch of it."""
        at, received = self.valid.header.dataset_offset + start, self.valid.received
        if self.key:
            try:
                return await self.blobs.get_range(self.key, at, length)
            except BlobNotFound as problem:  # removed by whoever answered the same bytes to another sender
                raise ComparisonUnfinished("The object was removed while it was compared. Send it again.") from problem
        if received.data is not None:
            return received.data[at : at + length]
        if received.path is None:
            raise ValueError("an object has bytes or a path")
        return await asyncio.to_thread(_read, received.path, at, length)


class Twins:
    """Compares data sets; holds no resources of its own."""

    def __init__(self, database: Database, blobs: BlobStore) -> None:
        self._database = database
        self._blobs = blobs
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def known(self, clash: Contested) -> Indexed:
        """Return the stored instance that a received object is, in other words of its file's meta information.

        Raises InstanceConflict for another data set, OriginalUnreadable or ComparisonUnfinished if that can't be told.
        """
        return await self._answer(_DataSet(self._blobs, clash.valid, ""), clash.refusal)

    async def settle(self, stored: Stored, refusal: Outcome) -> Outcome:
        """Return the same, as an outcome, for an object that another one has overtaken on the way into the index."""
        if not isinstance(refusal, InstanceConflict | RemovalUnderWay):
            return refusal
        try:
            return await self._answer(_DataSet(self._blobs, stored.validated, stored.key), refusal)
        except ConsiliumError as answer:
            return answer

    async def _answer(self, mine: _DataSet, refusal: Refusal) -> Indexed:
        try:
            async with asyncio.timeout(_LEAST_S + mine.valid.size_bytes / _BYTES_PER_S), self._room:
                row = await self._database.query(partial(_row, valid=mine.valid))
                if row is not None and await self._same(mine, row):
                    return _indexed(mine.valid, row)
        except TimeoutError as problem:
            raise ComparisonUnfinished(
                "The object could not be compared with the stored one in time. Send it again."
            ) from problem
        if row is None and isinstance(refusal, InstanceConflict):
            raise ComparisonUnfinished("The stored object of this UID was removed just now. Send yours again.")
        raise _encoded_otherwise(mine.valid, row, refusal)

    async def _same(self, mine: _DataSet, row: Any) -> bool:
        if row.sha256 == mine.valid.sha256:
            return True
        begins = row.size_bytes - mine.size_bytes  # where the other's data set begins if both are of one length
        if row.transfer_syntax_uid != mine.valid.header.transfer_syntax_uid or not 0 <= begins <= _MOST_META_BYTES:
            return False
        key = original_key(mine.valid.received.tenant, row.sha256)

        async def whole(store: BlobStore) -> BlobStore:
            await check_whole(store, key, row.size_bytes)
            return store

        try:
            store = await read_checked(self._blobs, key, whole)
            head = await store.get_range(key, 0, begins + 144)  # 132 for the prefix, 12 for an element's head
        except BlobNotFound as problem:
            kind = "corrupt" if isinstance(problem, BlobDamaged) else "missing"
            raise await self._lost(mine.valid, row, kind) from problem
        digest, at, same = hashlib.sha256(), 0, _begins_at(head, begins)
        try:
            async with aclosing(store.get_stream(key)) as chunks:
                async for chunk in chunks:
                    start, at = max(at, begins), at + len(chunk)
                    wanted = at - start if same else 0
                    ours = await mine.read(start - begins, wanted) if wanted > 0 else b""
                    same = await asyncio.to_thread(_step, digest, chunk, ours, wanted) and same
                    if not same and row.size_bytes > _PROVED_BYTES:
                        return False
        except BlobNotFound as problem:
            raise await self._lost(mine.valid, row, "missing") from problem
        if at != row.size_bytes or digest.hexdigest() != row.sha256:
            raise await self._lost(mine.valid, row, "corrupt")
        return same

    async def _lost(self, valid: Validated, row: Any, kind: str) -> Unavailable:
        """Return what to say of a stored file that can't be read: damage, unless its row has gone too (removed on purpose)."""
        now = await self._database.query(partial(_row, valid=valid))
        if now is None or now.sha256 != row.sha256:
            return ComparisonUnfinished("The stored object of this UID was removed just now. Send yours again.")
        log.error("original_unreadable", kind=kind, key=original_key(valid.received.tenant, row.sha256))
        return unreadable(kind, valid.header.sop_instance_uid)


def unreadable(kind: str, sop_instance_uid: str) -> OriginalUnreadable:
    """Return what the sender is told of an object that is not byte for byte the one that the archive has lost."""
    return OriginalUnreadable(
        f"This SOP Instance UID is stored, but its file is {kind}: whether yours is the same can't be told. The operator repairs it "
        "(consilium scrub), or the file that was stored is sent again byte for byte; then send yours again.",
        sop_instance_uid=sop_instance_uid,
    )


def _encoded_otherwise(valid: Validated, row: Any, refusal: Refusal) -> Refusal:
    """Return the refusal of what may be the stored image in another transfer syntax: under a new UID it would be a clinical duplicate."""
    header = valid.header
    mine, theirs = header.transfer_syntax_uid, row.transfer_syntax_uid if row is not None else ""
    if not isinstance(refusal, InstanceConflict) or not theirs or mine == theirs:
        return refusal
    alike = (header.study_uid, header.series_uid, header.rows, header.columns, header.frames)
    if alike == (row.study_uid, row.series_uid, row.rows, row.columns, row.frames):
        words = "its study, series and size are the same: if it is the same image, there is nothing to do"
    else:
        words = "study, series or size differ too: the device has used one UID for two objects"
    return InstanceConflict(
        f"This SOP Instance UID is here already, in transfer syntax {theirs}, yours is in {mine}; {words}. What is stored never changes; "
        "whoever wants it encoded otherwise retrieves it so.",
        **refusal.facts,
    )


def _begins_at(head: bytes, begins: int) -> bool:
    """Tell whether the data set of a file with this beginning begins there."""
    try:
        return dataset_offset(head) == begins
    except DicomUnreadable:  # the meta group goes on behind ``head``
        return False


def _step(digest: Any, chunk: bytes, ours: bytes | bytearray, wanted: int) -> bool:
    """Hash a stretch of the stored file; tell whether its last ``wanted`` bytes are ours."""
    digest.update(chunk)
    return wanted <= 0 or (len(ours) == wanted and chunk.endswith(ours))


def _read(path: Path, start: int, length: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(length)


def _row(session: Session, valid: Validated) -> Any:
    columns = (
        "study_uid", "series_uid", "sha256", "size_bytes", "transfer_syntax_uid", "received_at", "rows", "columns", "frames",
    )  # fmt: skip
    asked = select(*(instance.c[name] for name in columns)).where(
        instance.c.tenant_id == valid.received.tenant, instance.c.sop_instance_uid == valid.header.sop_instance_uid
    )
    return session.execute(asked).first()


def _indexed(valid: Validated, row: Any) -> Indexed:
    header, at = valid.header, row.received_at
    return Indexed(
        row.study_uid, row.series_uid, header.sop_instance_uid, header.sop_class_uid, header.patient_id, row.sha256,
        row.size_bytes, at if at.tzinfo else at.replace(tzinfo=UTC), fresh=False, warnings=valid.warnings,
    )  # fmt: skip
