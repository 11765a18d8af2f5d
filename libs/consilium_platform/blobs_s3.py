"""Objects in an S3 bucket: obstore carries the data, boto3 lists and administers (docs/decisions/0005-obstore-for-the-data-path.md).

obstore's client (Rust) works on the event loop without a thread per request; every call has a limit that grows with the bytes asked
for. Needs s3:GetObject, PutObject, DeleteObject, ListBucket, AbortMultipartUpload (CreateBucket unless the bucket exists; what
``blobs_bucket`` needs for set-up stands there).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import boto3
import obstore
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from obstore.exceptions import BaseError
from obstore.store import S3Store

from consilium_core.ids import new_ulid
from consilium_platform.blobs import (
    STREAM_BYTES,
    BlobArchived,
    BlobNotFound,
    BlobsFull,
    BlobsUnavailable,
    Bytes,
    Entry,
    check_key,
)
from consilium_platform.blobs_bucket import create_bucket, error_code
from consilium_platform.settings import S3Place

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

T = TypeVar("T")
_MISSING = ("NoSuchKey", "404", "NotFound")
_FULL = (  # S3, Ceph and Swift, MinIO
    "QuotaExceeded", "InsufficientStorage", "InsufficientCapacity", "507", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded",
)  # fmt: skip
_ARCHIVED = "InvalidObjectState"  # of a read: the class must be restored from; of a restore: it need not be
_RESTORING = (_ARCHIVED, "RestoreAlreadyInProgress", "ObjectAlreadyInActiveTierError")
_RESTORED_AFTER_S = {"Expedited": 300.0, "Standard": 5 * 3600.0, "Bulk": 12 * 3600.0}  # S3 Glacier Flexible Retrieval
_NO_SUCH_RANGE = "status code: 416"  # in obstore's words; it has no class for it
_PART_BYTES = 8 << 20  # of a multipart upload; S3 takes 10,000 parts
_LEAST_S, _BYTES_PER_S = 30.0, 1 << 20  # a call's limit: the slowest store that is still called one


class _NoSuchRange(BlobsUnavailable):
    """The range begins at the end of the object or behind it."""


class S3Blobs:
    """Objects in one S3 bucket."""

    def __init__(self, place: S3Place, threads: int = 4) -> None:
        self.place = place
        self.client = s3_client(place)
        self._store = data_store(place)
        self._bucket = place.bucket
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="s3")

    @property
    def quarantine_days(self) -> int:
        """Return after how many days the bucket's lifecycle expires held objects; 0: never."""
        return self.place.quarantine_days

    async def put(self, key: str, data: Bytes, content_type: str = "application/octet-stream") -> None:
        """PUT the object; S3 answers when it is durable."""
        check_key(key)
        attributes = {"Content-Type": content_type}
        view = memoryview(data).cast("B")
        whole = obstore.put_async(self._store, key, view, attributes=attributes, use_multipart=False)
        await _within(len(view), whole)

    async def put_file(self, key: str, path: Path, content_type: str = "application/octet-stream") -> None:
        """Upload the file, in parts when it is large, then remove it; at most four parts are in memory."""
        check_key(key)
        size = (await asyncio.to_thread(path.stat)).st_size
        sent = obstore.put_async(
            self._store, key, path, attributes={"Content-Type": content_type}, use_multipart=size > 2 * _PART_BYTES,
            chunk_size=_PART_BYTES, max_concurrency=3,
        )  # fmt: skip
        await _within(size, sent)
        await asyncio.to_thread(path.unlink, missing_ok=True)

    async def get(self, key: str) -> bytes:
        """GET the object."""
        check_key(key)
        answer = await _within(0, obstore.get_async(self._store, key))
        return bytes(await _within(int(answer.meta["size"]), answer.bytes_async()))

    async def get_range(self, key: str, start: int, length: int) -> bytes:
        """GET a byte range; S3 can't ask for nothing, and refuses a range that begins at or behind the end (416)."""
        check_key(key)
        if length <= 0:
            await self.size(key)
            return b""
        try:
            return bytes(await _within(length, obstore.get_range_async(self._store, key, start=start, length=length)))
        except BlobsUnavailable:
            if start >= await self.size(key):
                return b""
            raise

    async def get_stream(self, key: str) -> AsyncGenerator[bytes]:
        """GET range after range, the next one while the last is being used: no request lives longer than one chunk."""
        size = await self.size(key)
        ahead: asyncio.Task[bytes] | None = None
        try:
            for at in range(0, size, STREAM_BYTES):
                chunk = await (ahead or self.get_range(key, at, STREAM_BYTES))
                following = at + STREAM_BYTES
                ahead = None
                if following < size:
                    ahead = asyncio.create_task(self.get_range(key, following, STREAM_BYTES), name="s3-read-ahead")
                yield chunk
        finally:
            if ahead is not None:
                ahead.cancel()
                await asyncio.gather(ahead, return_exceptions=True)

    async def size(self, key: str) -> int:
        """HEAD the object."""
        check_key(key)
        return int((await _within(0, obstore.head_async(self._store, key)))["size"])

    async def readable_size(self, key: str) -> int:
        """GET the first byte: a HEAD of an archived object answers as if it could be read."""
        check_key(key)
        try:
            answer = await _within(0, obstore.get_async(self._store, key, options={"range": (0, 1)}))
        except _NoSuchRange:  # an empty object has no first byte
            return await self.size(key)
        return int(answer.meta["size"])

    async def restore(self, key: str) -> float:
        """POST ?restore (needs s3:RestoreObject); what is being restored already, or can be read, is no error."""
        check_key(key)
        wish = {"Days": self.place.restore_days, "GlacierJobParameters": {"Tier": self.place.restore_tier}}

        def work() -> None:
            try:
                self.client.restore_object(Bucket=self._bucket, Key=key, RestoreRequest=wish)
            except ClientError as problem:
                if error_code(problem) not in _RESTORING:
                    raise

        await self._run(work)
        return _RESTORED_AFTER_S[self.place.restore_tier]

    async def delete(self, key: str) -> None:
        """DELETE the object; where the bucket keeps versions the old one stays (``purge`` removes it)."""
        check_key(key)
        await self._run(lambda: self.client.delete_object(Bucket=self._bucket, Key=key))

    async def purge(self, key: str) -> None:
        """DELETE every version and delete marker of the object (needs s3:ListBucketVersions, DeleteObjectVersion)."""
        check_key(key)

        def work() -> None:
            pages = self.client.get_paginator("list_object_versions").paginate(Bucket=self._bucket, Prefix=key)
            doomed = [
                {"Key": key, "VersionId": one["VersionId"]}
                for page in pages
                for one in (*page.get("Versions", []), *page.get("DeleteMarkers", []))
                if one["Key"] == key
            ]
            for one in doomed:
                self.client.delete_object(Bucket=self._bucket, **one)

        await self._run(work)

    async def list(self, prefix: str) -> list[str]:
        """List by pages of 1,000."""
        return [entry.key async for entry in self.entries(prefix)]

    async def entries(self, prefix: str) -> AsyncGenerator[Entry]:
        """List by pages of 1,000, in the order of the keys (S3 sorts by UTF-8 bytes)."""
        pages = iter(self.client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix))
        while (page := await self._run(lambda: next(pages, None))) is not None:
            for one in page.get("Contents", []):
                yield Entry(one["Key"], int(one["Size"]), one["LastModified"])

    async def sweep(self, age_s: float) -> int:
        """Abort multipart uploads that were begun ``age_s`` ago or earlier (a lifecycle rule does the same after days)."""

        def work() -> int:
            before, aborted = datetime.now(UTC) - timedelta(seconds=age_s), 0
            for page in self.client.get_paginator("list_multipart_uploads").paginate(Bucket=self._bucket):
                for one in page.get("Uploads", []):
                    if one["Initiated"] <= before:
                        self.client.abort_multipart_upload(
                            Bucket=self._bucket, Key=one["Key"], UploadId=one["UploadId"]
                        )
                        aborted += 1
            return aborted

        return await self._run(work)

    async def set_up(self) -> None:
        """Create the bucket if it is missing and check that an object can be written, read and removed, on both paths."""

        def bucket() -> None:
            try:
                self.client.head_bucket(Bucket=self._bucket)
            except ClientError as problem:
                if error_code(problem) not in ("404", "NoSuchBucket", "NotFound"):
                    raise
                create_bucket(self.client, self.place)

        await self._run(bucket)
        probe = f".consilium-probe-{new_ulid()}"  # every pod of a release probes at the same time
        await _within(0, obstore.put_async(self._store, probe, b"consilium", use_multipart=False))
        found = await _within(0, obstore.get_range_async(self._store, probe, start=0, length=64))
        await self._run(lambda: self.client.delete_object(Bucket=self._bucket, Key=probe))
        if bytes(found) != b"consilium":
            raise BlobsUnavailable("The bucket does not give back what was put into it.")

    async def ping(self) -> None:
        """Raise unless the bucket answers."""
        await self._run(lambda: self.client.head_bucket(Bucket=self._bucket))

    async def administer(self, work: Callable[[Any, S3Place], T]) -> T:
        """Run a piece of ``blobs_bucket`` with this bucket's client, in a thread."""
        return await self._run(lambda: work(self.client, self.place))

    async def _run(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        except ClientError as problem:
            code = error_code(problem)
            if code in _MISSING:
                raise BlobNotFound("The object is not in the store.") from problem
            if code in _FULL:
                raise BlobsFull("The object store is full. The operator makes room.", retry_after_s=60) from problem
            raise BlobsUnavailable(f"The object store refused: {code or 'it gave no reason'}.") from problem
        except (BotoCoreError, OSError) as problem:
            raise BlobsUnavailable("The object store does not answer.") from problem

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(wait=True)
        self.client.close()


def _limit_s(size: int) -> float:
    return _LEAST_S + size / _BYTES_PER_S


async def _within(size: int, work: Awaitable[T]) -> T:
    """Wait for a call of obstore as long as ``size`` bytes may take; translate what it raises."""
    try:
        async with asyncio.timeout(_limit_s(size)):
            return await work
    except FileNotFoundError as problem:
        raise BlobNotFound("The object is not in the store.") from problem
    except (BaseError, OSError, ValueError) as problem:
        if any(f"<Code>{code}</Code>" in str(problem) for code in _FULL):
            raise BlobsFull("The object store is full. The operator makes room.", retry_after_s=60) from problem
        if f"<Code>{_ARCHIVED}</Code>" in str(problem):
            raise BlobArchived("The object is in the store's archive and must be restored first.") from problem
        refusal = _NoSuchRange if _NO_SUCH_RANGE in str(problem) else BlobsUnavailable
        raise refusal(f"The object store refused or does not answer: {type(problem).__name__}.") from problem


def s3_client(place: S3Place) -> Any:
    """Return boto3's client of the place: listing and administration."""
    config = Config(
        connect_timeout=3,
        read_timeout=30,
        retries={"max_attempts": 3, "mode": "standard"},
        max_pool_connections=32,
        s3={"addressing_style": "path" if place.endpoint else "auto"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    return boto3.client(
        "s3",
        endpoint_url=place.endpoint,
        region_name=place.region,
        aws_access_key_id=place.access_key.get_secret_value() if place.access_key else None,
        aws_secret_access_key=place.secret_key.get_secret_value() if place.secret_key else None,
        config=config,
    )


def data_store(place: S3Place) -> S3Store:
    """Return obstore's store of the place; without keys in the settings it takes boto3's chain of identities, as the client does."""
    options: ClientConfig = {
        "connect_timeout": "3s",
        "read_timeout": "30s",
        "timeout": "2h",  # of a whole request; each call's own limit is tighter
        "allow_http": (place.endpoint or "").startswith("http://"),
    }
    if ca := os.environ.get("AWS_CA_BUNDLE"):  # as botocore reads it
        options["root_certificate"] = Path(ca).read_bytes()
    retry: RetryConfig = {
        "max_retries": 3,
        "retry_timeout": timedelta(seconds=20),
        "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=2), "base": 2},
    }
    given: dict[str, Any] = {"region": place.region, "virtual_hosted_style_request": place.endpoint is None}
    if place.endpoint is not None:
        given["endpoint"] = place.endpoint
    if place.object_lock_days:  # S3 takes no object under a default retention without a checksum
        given["checksum_algorithm"] = "SHA256"
    if place.access_key and place.secret_key:
        given["access_key_id"] = place.access_key.get_secret_value()
        given["secret_access_key"] = place.secret_key.get_secret_value()
    else:
        from obstore.auth.boto3 import Boto3CredentialProvider

        given["credential_provider"] = Boto3CredentialProvider(boto3.Session(region_name=place.region))
    return S3Store(place.bucket, client_options=options, retry_config=retry, **given)
