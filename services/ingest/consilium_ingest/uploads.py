"""Resumable uploads: create, take chunks, terminate (tus 1.0 core, creation, checksum, termination; site protocol SP-33 to SP-37).

Each accepted stretch of bytes is an object of its own, durable before the offset that counts it; any process of the service can take
the next one. A stretch with a checksum is taken whole or not at all; one without is kept as far as it came.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass

from starlette.requests import ClientDisconnect

from consilium_core.ids import new_ulid
from consilium_ingest.errors import BodyInvalid, ChecksumMismatch, ObjectTooLarge, UploadConflict, UploadInvalid
from consilium_ingest.upload_rows import Segment, Upload, UploadRows
from consilium_platform.blobs import BlobStore

ALGORITHMS = ("sha256", "sha1", "md5")
_SEGMENT_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Checksum:
    """What the sender says of one chunk."""

    algorithm: str
    digest: bytes


class Uploads:
    """The uploads of all sites; ``finished`` is set when one has all its bytes."""

    def __init__(self, rows: UploadRows, blobs: BlobStore, *, max_bytes: int, chunk_bytes: int) -> None:
        self.rows = rows
        self.finished = asyncio.Event()
        self.max_bytes = max_bytes
        self._blobs = blobs
        self._chunk_bytes = chunk_bytes
        self._busy: set[str] = set()

    async def create(self, tenant: str, site_id: str, length: int, facts: dict[str, str]) -> Upload:
        """Begin an upload of ``length`` bytes; raise ObjectTooLarge."""
        if length > self.max_bytes:
            raise ObjectTooLarge(f"An object may have at most {self.max_bytes} bytes.", limit=self.max_bytes)
        new = Upload(new_ulid(), tenant, site_id, "receiving", length, 0, facts, None, None)
        await self.rows.create(new)
        return new

    async def append(self, known: Upload, offset: int, body: AsyncIterator[bytes], checksum: Checksum | None) -> Upload:
        """Take one chunk at ``offset``; return the upload with its new offset.

        Raises UploadConflict (another offset, another sender at the same time), ChecksumMismatch (nothing was kept),
        ObjectTooLarge (more bytes than announced or than one chunk may have).
        """
        if known.state != "receiving" or offset != known.offset:
            raise UploadConflict(f"The upload stands at {known.offset}.", offset=known.offset)
        if known.id in self._busy:
            raise UploadConflict("Another chunk of this upload is being received.", offset=known.offset)
        self._busy.add(known.id)
        try:
            if checksum is not None:
                return await self._append_whole(known, body, checksum)
            return await self._append_streaming(known, body)
        finally:
            self._busy.discard(known.id)

    async def _append_whole(self, known: Upload, body: AsyncIterator[bytes], checksum: Checksum) -> Upload:
        chunk = bytearray()
        async for data in _until_gone(body):
            chunk += data
            self._check_room(known, len(chunk))
        digest = await asyncio.to_thread(lambda: hashlib.new(checksum.algorithm, chunk, usedforsecurity=False).digest())
        if digest != checksum.digest:
            raise ChecksumMismatch(
                "The chunk arrived with other bytes than were sent. Send it again.", offset=known.offset
            )
        return await self._keep(known, chunk) if chunk else known

    async def _append_streaming(self, known: Upload, body: AsyncIterator[bytes]) -> Upload:
        chunk = bytearray()
        try:
            async for data in body:
                chunk += data
                self._check_room(known, len(chunk))
                if len(chunk) >= _SEGMENT_BYTES:
                    known, chunk = await self._keep(known, chunk), bytearray()
        except ClientDisconnect:
            if chunk:
                await self._keep(known, chunk)
            raise BodyInvalid("The sender went away before the end of the chunk.") from None
        return await self._keep(known, chunk) if chunk else known

    def _check_room(self, known: Upload, size: int) -> None:
        if size > self._chunk_bytes:
            raise ObjectTooLarge(f"A chunk may have at most {self._chunk_bytes} bytes.", limit=self._chunk_bytes)
        if known.offset + size > known.length:
            raise ObjectTooLarge("The chunk goes past the length that was announced.", length=known.length)

    async def _keep(self, known: Upload, chunk: bytearray) -> Upload:
        key = f"uploads/{known.id}-{known.offset:012d}-{secrets.token_hex(4)}"
        await self._blobs.put(key, chunk)
        try:
            moved = await self.rows.advance(known, Segment(known.offset, len(chunk), key))
        except UploadConflict:
            await self._blobs.delete(key)
            raise
        if moved.state == "ingesting":
            self.finished.set()
        return moved

    async def terminate(self, known: Upload) -> None:
        """Remove an upload and its bytes; raise UploadConflict while it is being ingested."""
        if known.state in {"ingesting", "held"}:
            raise UploadConflict("The upload is being ingested, or waits in quarantine.", offset=known.offset)
        await self.drop(known.id)

    async def drop(self, upload_id: str) -> None:
        """Remove the upload's objects, then its rows."""
        await self.drop_segments(upload_id)
        await self.rows.remove(upload_id)

    async def drop_segments(self, upload_id: str) -> None:
        """Remove the upload's objects, then the memory of them."""
        for segment in await self.rows.segments(upload_id):
            await self._blobs.delete(segment.blob_key)
        await self.rows.forget_segments(upload_id)

    async def unclaimed(self) -> set[str]:
        """Return the objects of segments that no upload counts: a process was killed between the two steps, or is between them now."""
        there = set(await self._blobs.list("uploads/"))
        return there - await self.rows.blob_keys()

    async def forget(self, blob_key: str) -> None:
        """Remove the object of a segment that no upload counts."""
        await self._blobs.delete(blob_key)

    async def read(self, upload_id: str) -> AsyncIterator[bytes]:
        """Yield the upload's bytes in order."""
        for segment in await self.rows.segments(upload_id):
            yield await self._blobs.get(segment.blob_key)


async def _until_gone(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    try:
        async for data in body:
            yield data
    except ClientDisconnect as gone:
        raise BodyInvalid("The sender went away before the end of the chunk; nothing of it was kept.") from gone


def parse_checksum(header: str | None) -> Checksum | None:
    """Return the checksum of ``Upload-Checksum: sha256 BASE64``; raise UploadInvalid."""
    if not header:
        return None
    algorithm, _, encoded = header.strip().partition(" ")
    if algorithm not in ALGORITHMS:
        raise UploadInvalid(f"Upload-Checksum takes {', '.join(ALGORITHMS)}, not {algorithm[:20]}.")
    try:
        return Checksum(algorithm, base64.b64decode(encoded, validate=True))
    except ValueError as problem:
        raise UploadInvalid("Upload-Checksum is not base64.") from problem


def parse_metadata(header: str | None) -> dict[str, str]:
    """Return the pairs of ``Upload-Metadata: key BASE64, ...`` (at most 32 pairs, 4 KiB); raise UploadInvalid."""
    if not header:
        return {}
    facts: dict[str, str] = {}
    if len(header) > 4096:
        raise UploadInvalid("Upload-Metadata is longer than 4096 characters.")
    for pair in header.split(","):
        key, _, encoded = pair.strip().partition(" ")
        if not key or not key.isascii() or key in facts or len(facts) >= 32:
            raise UploadInvalid("Upload-Metadata holds an empty, repeated or surplus key.")
        try:
            facts[key] = base64.b64decode(encoded.strip(), validate=True).decode()
        except ValueError as problem:
            raise UploadInvalid(f"Upload-Metadata: the value of {key[:40]} is not base64 of UTF-8.") from problem
    return facts
