"""Uploads in the database: an offset is raised in the transaction that records the segment's object, so it is never ahead of the bytes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import CursorResult, delete, insert, or_, select, update

from consilium_archive.tables import upload, upload_segment
from consilium_core.errors import Corrupt
from consilium_core.site_protocol import Receipt, UploadStatus
from consilium_ingest.errors import UploadConflict, UploadNotFound
from consilium_platform.sql import Database


@dataclass(frozen=True, slots=True)
class Upload:
    """One upload as it stands; ``facts`` are the sender's metadata (filename, sha256, kind, room_id, capture_id, ...)."""

    id: str
    tenant: str
    site_id: str
    state: str
    length: int
    offset: int
    facts: dict[str, str]
    receipt: Receipt | None
    problem: dict[str, Any] | None

    def status(self) -> UploadStatus:
        """Return what its site may know."""
        return UploadStatus.model_validate(
            {
                "upload_id": self.id, "state": self.state, "offset": self.offset, "length": self.length,
                "receipt": self.receipt, "problem": self.problem,
            }
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Segment:
    """One durable piece of an upload."""

    start: int
    length: int
    blob_key: str


class UploadRows:
    """The table of uploads; every question of a site names its tenant and the site."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, new: Upload) -> None:
        """Insert a fresh upload."""
        now = datetime.now(UTC)
        async with self._database.write() as session:
            await session.execute(
                insert(upload).values(
                    id=new.id, tenant_id=new.tenant, site_id=new.site_id, state="receiving", length=new.length, offset=0,
                    facts=json.dumps(new.facts), created_at=now, updated_at=now,
                )
            )  # fmt: skip

    async def get(self, tenant: str, upload_id: str, site_id: str | None = None) -> Upload:
        """Return the upload; ``site_id`` None: any site's of the tenant. Raise UploadNotFound."""
        query = select(upload).where(upload.c.id == upload_id, upload.c.tenant_id == tenant)
        if site_id is not None:
            query = query.where(upload.c.site_id == site_id)
        async with self._database.read() as session:
            row = (await session.execute(query)).first()
        if row is None:
            raise UploadNotFound("There is no such upload.")
        return _upload(row)

    async def advance(self, known: Upload, segment: Segment) -> Upload:
        """Record a durable segment at ``known.offset``; the last one makes the upload wait for ingest. Raise UploadConflict."""
        offset = known.offset + segment.length
        state = "ingesting" if offset == known.length else "receiving"
        async with self._database.write() as session:
            moved = await session.execute(
                update(upload)
                .where(upload.c.id == known.id, upload.c.offset == known.offset, upload.c.state == "receiving")
                .values(offset=offset, state=state, updated_at=datetime.now(UTC))
            )
            if _rows(moved) != 1:
                raise UploadConflict("The upload has moved on.", offset=known.offset)
            await session.execute(
                insert(upload_segment).values(
                    upload_id=known.id, start=segment.start, length=segment.length, blob_key=segment.blob_key
                )
            )
        return Upload(
            known.id,
            known.tenant,
            known.site_id,
            state,
            known.length,
            offset,
            known.facts,
            known.receipt,
            known.problem,
        )

    async def segments(self, upload_id: str) -> list[Segment]:
        """Return the upload's segments in order."""
        query = select(upload_segment).where(upload_segment.c.upload_id == upload_id).order_by(upload_segment.c.start)
        async with self._database.read() as session:
            return [Segment(row.start, row.length, row.blob_key) for row in await session.execute(query)]

    async def settle(self, upload_id: str, receipt: Receipt | None, problem: dict[str, Any] | None) -> None:
        """Write the outcome: ingested with a receipt, or rejected with a problem."""
        async with self._database.write() as session:
            await session.execute(
                update(upload)
                .where(upload.c.id == upload_id, upload.c.state == "ingesting")
                .values(
                    state="ingested" if receipt else "rejected",
                    receipt=receipt.model_dump_json() if receipt else None,
                    problem=json.dumps(problem) if problem else None,
                    updated_at=datetime.now(UTC),
                )
            )

    async def hold(self, upload_id: str, quarantine_id: str, problem: dict[str, Any]) -> None:
        """Write that the object waits in quarantine; the desk's decision settles the upload."""
        async with self._database.write() as session:
            await session.execute(
                update(upload)
                .where(upload.c.id == upload_id, upload.c.state == "ingesting")
                .values(
                    state="held",
                    quarantine_id=quarantine_id,
                    problem=json.dumps(problem),
                    updated_at=datetime.now(UTC),
                )
            )

    async def claim(self, lease_s: float, limit: int = 8) -> list[Upload]:
        """Return uploads that wait for ingest and now are this process's for ``lease_s`` seconds."""
        now = datetime.now(UTC)
        free = or_(upload.c.claimed_until.is_(None), upload.c.claimed_until < now)
        waiting = select(upload).where(upload.c.state == "ingesting", free).order_by(upload.c.updated_at).limit(limit)
        async with self._database.read() as session:
            rows = (await session.execute(waiting)).all()
        mine = []
        for row in rows:
            async with self._database.write() as session:
                taken = await session.execute(
                    update(upload)
                    .where(upload.c.id == row.id, upload.c.state == "ingesting", free)
                    .values(claimed_until=now + timedelta(seconds=lease_s))
                )
                if _rows(taken) == 1:
                    mine.append(_upload(row))
        return mine

    async def release(self, upload_id: str, after_s: float) -> None:
        """Let the upload be claimed again in ``after_s`` seconds."""
        async with self._database.write() as session:
            until = datetime.now(UTC) + timedelta(seconds=after_s)
            await session.execute(update(upload).where(upload.c.id == upload_id).values(claimed_until=until))

    async def release_all(self) -> None:
        """Forget claims of an earlier life of this process (embedded: there is only one)."""
        async with self._database.write() as session:
            await session.execute(update(upload).where(upload.c.claimed_until.is_not(None)).values(claimed_until=None))

    async def remove(self, upload_id: str) -> None:
        """Forget the upload; its objects are removed before."""
        async with self._database.write() as session:
            await session.execute(delete(upload_segment).where(upload_segment.c.upload_id == upload_id))
            await session.execute(delete(upload).where(upload.c.id == upload_id))

    async def forget_segments(self, upload_id: str) -> None:
        """Forget the segments of a settled upload."""
        async with self._database.write() as session:
            await session.execute(delete(upload_segment).where(upload_segment.c.upload_id == upload_id))

    async def settled_with_segments(self) -> list[str]:
        """Return uploads whose outcome is known but whose segments are still there (never one that failed by an error of ours)."""
        query = (
            select(upload.c.id, upload.c.problem)
            .join(upload_segment, upload_segment.c.upload_id == upload.c.id)
            .where(upload.c.state.in_(("ingested", "rejected", "held")))
            .distinct()
        )
        async with self._database.read() as session:
            return [row.id for row in await session.execute(query) if not _ours(row.problem)]

    async def stale(self, keep: timedelta) -> list[str]:
        """Return uploads that nobody has touched for ``keep`` (never one that waits for ingest or for the quarantine desk, or failed by an error of ours)."""
        settled = upload.c.state.not_in(("ingesting", "held"))
        query = select(upload.c.id, upload.c.problem).where(settled, upload.c.updated_at < datetime.now(UTC) - keep)
        async with self._database.read() as session:
            return [row.id for row in await session.execute(query) if not _ours(row.problem)]

    async def blob_keys(self) -> set[str]:
        """Return the keys of all segments."""
        async with self._database.read() as session:
            return set(await session.scalars(select(upload_segment.c.blob_key)))


def _rows(result: Any) -> int:
    assert isinstance(result, CursorResult)  # noqa: S101 - tells the type checker what an UPDATE gives
    return result.rowcount


def _ours(problem: str | None) -> bool:
    """Tell whether an upload was rejected by an error of ours: its bytes are kept for the mend."""
    return problem is not None and json.loads(problem).get("mend") == Corrupt.mend


def _upload(row: Any) -> Upload:
    return Upload(
        row.id, row.tenant_id, row.site_id, row.state, row.length, row.offset, json.loads(row.facts),
        Receipt.model_validate_json(row.receipt) if row.receipt else None,
        json.loads(row.problem) if row.problem else None,
    )  # fmt: skip
