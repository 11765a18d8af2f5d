"""Empties the spool: create, send in chunks, wait for the receipt, and only then forget (SP-33 to SP-37).

One upload at a time, stills before clips; a clip yields to a new still after its present chunk and goes on later.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, replace

import structlog

from consilium_core.clock import Clock
from consilium_core.errors import ConsiliumError
from consilium_core.site_protocol import AgentEventType, UploadStatus
from consilium_site.domain.backoff import Backoff
from consilium_site.domain.spool import Manifest, check_receipt, next_chunk_bytes, smaller_chunk_bytes
from consilium_site.errors import (
    ChecksumMismatch,
    IdentityRefused,
    OffsetConflict,
    ReceiptMismatch,
    ServerUnavailable,
    UploadGone,
    UploadHeld,
    UploadRejected,
)
from consilium_site.flow.presence import Presence
from consilium_site.flow.report import Reporter
from consilium_site.ports import Spool, Uploads

log = structlog.get_logger(__name__)
_FIRST_CHUNK_BYTES = 1024 * 1024
_STATUS_EVERY_S = 0.05
_STATUS_EVERY_MAX_S = 2.0
_DAMAGED_CHUNKS_MAX = 5


@dataclass
class _Held:
    """An entry that failed by itself, and when it is tried again (monotonic seconds)."""

    backoff: Backoff
    until_s: float = 0.0


class Uploader:
    """Owns the upload loop."""

    def __init__(
        self, spool: Spool, uploads: Uploads, reporter: Reporter, presence: Presence, clock: Clock, backoff: Backoff
    ) -> None:
        self._spool = spool
        self._uploads = uploads
        self._reporter = reporter
        self._presence = presence
        self._clock = clock
        self._backoff = backoff
        self._wake = asyncio.Event()
        self._chunk_bytes = _FIRST_CHUNK_BYTES
        self._held: dict[str, _Held] = {}

    def more(self) -> None:
        """Something new is in the spool: try at once."""
        self._wake.set()

    def server_back(self) -> None:
        """The server answers again: what was put off is tried at once."""
        for held in self._held.values():
            held.until_s = 0.0
        self._wake.set()

    async def run(self) -> None:
        """Upload for ever; begins with what an earlier run left."""
        while True:
            self._wake.clear()
            entries = await asyncio.to_thread(self._spool.entries)
            self._held = {m.capture_id: self._held[m.capture_id] for m in entries if m.capture_id in self._held}
            now_s = self._clock.monotonic()
            free = [m for m in entries if m.capture_id not in self._held or self._held[m.capture_id].until_s <= now_s]
            if not free:
                await self._rest(min((held.until_s - now_s for held in self._held.values()), default=None))
                continue
            try:
                await self._upload(free[0])
                self._backoff.reset()
                self._held.pop(free[0].capture_id, None)
            except (UploadRejected, ReceiptMismatch) as error:
                await self._set_aside(free[0], error)
            except ConsiliumError as error:
                await self._later(free[0], error)
            self._presence.changed()

    async def _later(self, manifest: Manifest, error: ConsiliumError) -> None:
        """Wait while the server is away; an entry that fails by itself waits alone and lets the others pass."""
        least_s = getattr(error, "retry_after_s", 0.0)
        away = isinstance(error, IdentityRefused) or (
            isinstance(error, ServerUnavailable) and "status" not in error.facts
        )
        if away:
            delay_s = self._backoff.next_delay_s(least_s)
        else:
            held = self._held.setdefault(manifest.capture_id, _Held(replace(self._backoff)))
            delay_s = held.backoff.next_delay_s(least_s)
            held.until_s = self._clock.monotonic() + delay_s
        log.warning("upload_delayed", capture_id=manifest.capture_id, code=error.code, delay_s=round(delay_s, 2))
        if away:
            await self._rest(delay_s)

    async def _rest(self, delay_s: float | None) -> None:
        """Wait for ``more``, ``delay_s`` seconds at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                await self._wake.wait()

    async def _upload(self, manifest: Manifest) -> None:
        try:
            manifest, offset = await self._resume(manifest)
            done = await self._send(manifest, offset)
        except UploadGone:
            await asyncio.to_thread(self._spool.update, manifest.model_copy(update={"upload_url": ""}))
            raise
        if not done:
            return
        status = await self._settled(manifest)
        if status.state == "rejected" or status.receipt is None:
            problem = status.problem or {}
            raise UploadRejected(
                str(problem.get("detail") or problem.get("title") or "The archive refuses this object."),
                problem=str(problem.get("code") or ""),
            )
        check_receipt(manifest, status.receipt)
        await self._reporter.add(
            AgentEventType.CAPTURE_UPLOADED,
            {
                "capture_id": manifest.capture_id,
                "room_id": manifest.room_id,
                "upload_id": status.upload_id,
                "study_uid": manifest.study_uid,
                "series_uid": manifest.series_uid,
                "sop_instance_uid": manifest.sop_instance_uid,
            },
        )
        await asyncio.to_thread(self._spool.remove, manifest)
        log.info("capture_uploaded", capture_id=manifest.capture_id, size_bytes=manifest.size_bytes)

    async def _resume(self, manifest: Manifest) -> tuple[Manifest, int]:
        if manifest.upload_url:
            return manifest, await self._uploads.offset(manifest.upload_url)
        url = await self._uploads.create(manifest, f"{manifest.capture_id}.dcm")
        manifest = manifest.model_copy(update={"upload_url": url})
        await asyncio.to_thread(self._spool.update, manifest)
        return manifest, 0

    async def _send(self, manifest: Manifest, offset: int) -> bool:
        """Send the rest; False when a more urgent entry came in between."""
        damaged = 0
        while offset < manifest.size_bytes:
            chunk = await asyncio.to_thread(self._spool.read, manifest, offset, self._chunk_bytes)
            began_s = self._clock.monotonic()
            try:
                offset = await self._uploads.send(manifest.upload_url, offset, chunk)
            except OffsetConflict:
                offset = await self._uploads.offset(manifest.upload_url)
                continue
            except ServerUnavailable:
                self._chunk_bytes = smaller_chunk_bytes(self._chunk_bytes)
                raise
            except ChecksumMismatch:
                damaged += 1
                if damaged >= _DAMAGED_CHUNKS_MAX:
                    raise
                continue
            self._chunk_bytes = next_chunk_bytes(self._chunk_bytes, self._clock.monotonic() - began_s)
            if offset < manifest.size_bytes and manifest.priority > 0 and self._wake.is_set():
                entries = await asyncio.to_thread(self._spool.entries)
                if entries and entries[0].priority < manifest.priority:
                    return False
        return True

    async def _settled(self, manifest: Manifest) -> UploadStatus:
        pause_s = _STATUS_EVERY_S
        while True:
            status = await self._uploads.status(manifest.upload_url)
            if status.state in ("ingested", "rejected"):
                return status
            if status.state == "held":
                raise UploadHeld(str((status.problem or {}).get("detail") or "The object waits in quarantine."))
            if status.state == "receiving" and status.offset < manifest.size_bytes:
                raise OffsetConflict("The server holds fewer bytes than were sent.")
            await asyncio.sleep(pause_s)
            pause_s = min(_STATUS_EVERY_MAX_S, pause_s * 1.5)

    async def _set_aside(self, manifest: Manifest, error: ConsiliumError) -> None:
        log.error("capture_quarantined", capture_id=manifest.capture_id, code=error.code)
        await self._reporter.add(
            AgentEventType.CAPTURE_FAILED,
            {
                "capture_id": manifest.capture_id,
                "room_id": manifest.room_id,
                "code": error.facts.get("problem") or error.code,
                "detail": error.detail,
            },
        )
        await asyncio.to_thread(self._spool.quarantine, manifest, f"{error.code}: {error.detail}")
