"""Finished uploads -> the archive: the same writer as STOW-RS, then a receipt or a problem that the site can read.

One task per process claims waiting uploads from the database, so that what a killed process left is taken up again. A store that does
not answer is waited for; an object that can't be stored is rejected with its cause; a bug of ours rejects after three attempts, and
the bytes are kept.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from datetime import timedelta
from typing import Any

import structlog

from consilium_archive.errors import InstanceHeld
from consilium_archive.stages import Indexed, Origin, Received
from consilium_archive.writer import ArchiveWriter
from consilium_core.errors import ConsiliumError, Corrupt, Exhausted, Unavailable
from consilium_core.site_protocol import Receipt
from consilium_ingest.about import Refused, about
from consilium_ingest.errors import ChecksumMismatch
from consilium_ingest.spool import Part, Spool
from consilium_ingest.store_audit import refusals
from consilium_ingest.upload_rows import Upload
from consilium_ingest.uploads import Uploads
from consilium_platform.audit import AuditLog, AuditRecord
from consilium_platform.http.problems import problem_body, status_of

log = structlog.get_logger()
_LEASE_S = 60.0
_RETRY_S = 5.0
_ATTEMPTS = 3
_SWEEP_EVERY = 720
_KEPT = "The object can't be ingested: an error of ours. Its bytes are kept: quote the upload to the operator."


class UploadIngest:
    """The task that turns finished uploads into instances."""

    def __init__(
        self,
        uploads: Uploads,
        writer: ArchiveWriter,
        spool: Spool,
        audit: AuditLog,
        *,
        keep: timedelta,
        poll_s: float = 5.0,
        unclaimed_s: float = 3600.0,
    ) -> None:
        self.uploads = uploads
        self._writer = writer
        self._spool = spool
        self._audit = audit
        self._keep = keep
        self._poll_s = poll_s
        self._unclaimed_s = unclaimed_s
        self._unclaimed: dict[str, float] = {}  # since when we know of them
        self._attempts: Counter[str] = Counter()

    async def run(self) -> None:
        """Work until cancelled: when woken, and every ``poll_s`` for what others left."""
        turn = 0
        while True:
            self.uploads.finished.clear()
            try:
                if turn % _SWEEP_EVERY == 0:
                    await self.sweep()
                while claimed := await self.uploads.rows.claim(_LEASE_S):
                    for known in claimed:
                        await self.ingest(known)
            except ConsiliumError as problem:
                log.warning("upload_ingest_waits", code=problem.code)
            except Exception as problem:
                log.exception("upload_ingest_failed", error=type(problem).__name__)
            turn += 1
            try:
                async with asyncio.timeout(self._poll_s):
                    await self.uploads.finished.wait()
            except TimeoutError:
                continue

    async def ingest(self, known: Upload) -> None:
        """Store one finished upload and write its outcome, or leave it for later."""
        part = self._spool.part()
        try:
            receipt, problem = await self._store(known, part)
        except InstanceHeld as held:
            await self.uploads.rows.hold(known.id, held.quarantine_id, _problem(known, held))
            self._attempts.pop(known.id, None)
            await self.uploads.drop_segments(known.id)
            return
        finally:
            part.discard()
        if receipt is None and problem is None:
            await self.uploads.rows.release(known.id, _RETRY_S)
            return
        await self.uploads.rows.settle(known.id, receipt, problem)
        self._attempts.pop(known.id, None)
        if problem is not None and problem["mend"] == Corrupt.mend:  # what was acknowledged stays until it is mended
            log.error("upload_kept", upload_id=known.id)
            return
        await self.uploads.drop_segments(known.id)

    async def _store(self, known: Upload, part: Part) -> tuple[Receipt | None, dict[str, Any] | None]:
        """Return (receipt, None), (None, problem), or (None, None): try again later. Raises InstanceHeld."""
        try:
            sha256 = await self._assemble(known, part)
            room_id, capture_id = known.facts.get("room_id", ""), known.facts.get("capture_id", "")
            origin = Origin("capture", room_id, capture_id, known.id, known.site_id, sender=known.site_id)
            data = None if part.path is not None else part.memory
            indexed = await self._writer.store(Received(known.tenant, data, part.path, "", origin))
            await self._record(known, "success", indexed.study_uid, indexed.patient_id, "stored 1 by upload")
        except InstanceHeld as held:
            await self._refused(known, part, held)
            raise
        except (Unavailable, Exhausted, TimeoutError) as problem:
            log.warning("upload_ingest_later", upload_id=known.id, error=type(problem).__name__)
            return None, None
        except ConsiliumError as refusal:
            if isinstance(refusal, Corrupt) and self._again(known):
                return None, None
            await self._refused(known, part, refusal)
            return None, _problem(known, refusal)
        except Exception as problem:
            log.exception("upload_ingest_broke", upload_id=known.id, error=type(problem).__name__)
            if self._again(known):
                return None, None
            return None, _problem(known, Corrupt(_KEPT))
        return _receipt(known, sha256, indexed), None

    def _again(self, known: Upload) -> bool:
        self._attempts[known.id] += 1
        return self._attempts[known.id] < _ATTEMPTS

    async def _assemble(self, known: Upload, part: Part) -> str:
        """Bring the segments together, return their SHA-256; raise ChecksumMismatch when the whole is not what the site announced."""
        digest = hashlib.sha256()
        async for data in self.uploads.read(known.id):
            await asyncio.to_thread(digest.update, data)
            part.write(data)
            await part.drain()
        await part.finish()
        announced = known.facts.get("sha256", "").lower()
        if part.size != known.length or (announced and announced != digest.hexdigest()):
            raise ChecksumMismatch(
                "The upload's bytes do not have the SHA-256 that was announced.", announced=announced
            )
        return digest.hexdigest()

    async def _refused(self, known: Upload, part: Part, refusal: ConsiliumError) -> None:
        """Write what was refused or held, of whom, and where it is."""
        refused = Refused(refusal, await about(None if part.path is not None else part.memory, part.path))
        detail = f"{refusals([refused])} by upload {known.id}"
        await self._record(known, "failure", refused.about.study_uid, refused.about.patient_id, detail)

    async def _record(self, known: Upload, outcome: Any, study_uid: str, patient_id: str, detail: str) -> None:
        await self._audit.record(
            AuditRecord(
                known.tenant, known.site_id, "site", "instance.store", outcome, study_uid, patient_id[:128], detail
            )
        )

    async def sweep(self) -> None:
        """Finish removals that a killed process began; forget uploads that nobody goes on with, and bytes that no upload counts."""
        for upload_id in await self.uploads.rows.settled_with_segments():
            await self.uploads.drop_segments(upload_id)
        for upload_id in await self.uploads.rows.stale(self._keep):
            await self.uploads.drop(upload_id)
        now = asyncio.get_running_loop().time()
        self._unclaimed = {key: self._unclaimed.get(key, now) for key in await self.uploads.unclaimed()}
        for key, since in self._unclaimed.items():
            if now - since >= self._unclaimed_s:  # no sender is so long between its bytes and their row
                await self.uploads.forget(key)


def _receipt(known: Upload, sha256: str, indexed: Indexed) -> Receipt:
    """Return the site's receipt: for the bytes that it sent, though the instance may have come in another file before."""
    return Receipt(
        upload_id=known.id, sha256=sha256, size_bytes=known.length, study_uid=indexed.study_uid,
        series_uid=indexed.series_uid, sop_instance_uid=indexed.sop_instance_uid, sop_class_uid=indexed.sop_class_uid,
        verdict="accept_with_warnings" if indexed.warnings else "accept", stored_at=indexed.received_at,
    )  # fmt: skip


def _problem(known: Upload, refusal: ConsiliumError) -> dict[str, Any]:
    status = status_of(refusal)
    return problem_body(status, refusal.code, refusal.detail, refusal.mend, known.id, refusal.facts)
