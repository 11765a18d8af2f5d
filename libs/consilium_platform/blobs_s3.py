"""Objects in an S3 bucket: boto3 sets the bucket up and checks it; the data path runs in a bounded thread pool."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import boto3
from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from consilium_core.ids import new_ulid
from consilium_platform.blobs import BlobNotFound, BlobsFull, BlobsUnavailable, Bytes, check_key
from consilium_platform.settings import PlatformSettings

T = TypeVar("T")
_MISSING = ("NoSuchKey", "404", "NotFound")
_FULL = (  # S3, Ceph and Swift, MinIO
    "QuotaExceeded", "InsufficientStorage", "InsufficientCapacity", "507", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded",
)  # fmt: skip


class S3Blobs:
    """Objects in one S3 bucket. Needs s3:GetObject, PutObject, DeleteObject, ListBucket (and CreateBucket for set-up)."""

    def __init__(self, client: Any, bucket: str, threads: int = 16) -> None:
        self._client = client
        self._bucket = bucket
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="s3")
        self._transfer = TransferConfig(multipart_threshold=32 << 20, multipart_chunksize=16 << 20, max_concurrency=4)

    async def _run(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        except (ClientError, Boto3Error) as problem:
            code = _refusal_code(problem)
            if code in _MISSING:
                raise BlobNotFound("The object is not in the store.") from problem
            if code in _FULL:
                raise BlobsFull("The object store is full. The operator makes room.", retry_after_s=60) from problem
            raise BlobsUnavailable(f"The object store refused: {code or 'it gave no reason'}.") from problem
        except (BotoCoreError, OSError) as problem:
            raise BlobsUnavailable("The object store does not answer.") from problem

    async def put(self, key: str, data: Bytes, content_type: str = "application/octet-stream") -> None:
        """PUT the object; S3 answers when it is durable."""
        check_key(key)
        body = bytes(data)
        await self._run(
            lambda: self._client.put_object(Bucket=self._bucket, Key=key, Body=body, ContentType=content_type)
        )

    async def put_file(self, key: str, path: Path, content_type: str = "application/octet-stream") -> None:
        """Upload the file, in parts when it is large, then remove it."""
        check_key(key)
        extra = {"ContentType": content_type}

        def work() -> None:
            self._client.upload_file(str(path), self._bucket, key, ExtraArgs=extra, Config=self._transfer)
            path.unlink(missing_ok=True)

        await self._run(work)

    async def get(self, key: str) -> bytes:
        """GET the object."""
        check_key(key)
        return await self._run(lambda: bytes(self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read()))

    async def get_range(self, key: str, start: int, length: int) -> bytes:
        """GET a byte range; S3 can't ask for nothing, and refuses a range that begins at or behind the end (416)."""
        check_key(key)
        span = f"bytes={start}-{start + length - 1}"

        def work() -> bytes:
            if length <= 0:
                self._client.head_object(Bucket=self._bucket, Key=key)
                return b""
            try:
                return bytes(self._client.get_object(Bucket=self._bucket, Key=key, Range=span)["Body"].read())
            except ClientError as problem:
                if str(problem.response.get("Error", {}).get("Code", "")) in ("InvalidRange", "416"):
                    return b""
                raise

        return await self._run(work)

    async def size(self, key: str) -> int:
        """HEAD the object."""
        check_key(key)
        return await self._run(lambda: int(self._client.head_object(Bucket=self._bucket, Key=key)["ContentLength"]))

    async def delete(self, key: str) -> None:
        """DELETE the object."""
        check_key(key)
        await self._run(lambda: self._client.delete_object(Bucket=self._bucket, Key=key))

    async def list(self, prefix: str) -> list[str]:
        """List by pages of 1,000."""

        def work() -> list[str]:
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix)
            return sorted(entry["Key"] for page in pages for entry in page.get("Contents", []))

        return await self._run(work)

    async def set_up(self) -> None:
        """Create the bucket if it is missing and check that an object can be written, read and removed."""

        def work() -> None:
            try:
                self._client.head_bucket(Bucket=self._bucket)
            except ClientError as problem:
                if str(problem.response.get("Error", {}).get("Code")) not in (
                    "404",
                    "NoSuchBucket",
                    "NotFound",
                ):
                    raise
                self._create_bucket()
            probe = f".consilium-probe-{new_ulid()}"  # every pod of a release probes at the same time
            self._client.put_object(Bucket=self._bucket, Key=probe, Body=b"consilium")
            if self._client.get_object(Bucket=self._bucket, Key=probe)["Body"].read() != b"consilium":
                raise BlobsUnavailable("The bucket does not give back what was put into it.")
            self._client.delete_object(Bucket=self._bucket, Key=probe)

        await self._run(work)

    def _create_bucket(self) -> None:
        try:
            self._client.create_bucket(Bucket=self._bucket)
        except ClientError as problem:  # another process was faster
            if str(problem.response.get("Error", {}).get("Code")) != "BucketAlreadyOwnedByYou":
                raise

    async def ping(self) -> None:
        """Raise unless the bucket answers."""
        await self._run(lambda: self._client.head_bucket(Bucket=self._bucket))

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(wait=True)
        self._client.close()


def _refusal_code(problem: ClientError | Boto3Error) -> str:
    """Return the store's own word; a transfer wraps the refusal that ended it (S3UploadFailedError)."""
    cause = problem if isinstance(problem, ClientError) else problem.__context__
    return str(cause.response.get("Error", {}).get("Code", "")) if isinstance(cause, ClientError) else ""


def s3_client(settings: PlatformSettings) -> Any:
    secret = settings.s3_secret_key.get_secret_value() if settings.s3_secret_key else None
    access = settings.s3_access_key.get_secret_value() if settings.s3_access_key else None
    config = Config(
        connect_timeout=3,
        read_timeout=30,
        retries={"max_attempts": 3, "mode": "standard"},
        max_pool_connections=32,
        s3={"addressing_style": "path" if settings.s3_endpoint else "auto"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    return boto3.client(
        "s3",
        endpoint_url=settings.s3_endpoint,
        region_name=settings.s3_region,
        aws_access_key_id=access,
        aws_secret_access_key=secret,
        config=config,
    )
