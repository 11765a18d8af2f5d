"""Bucket set-up and verification on a real S3 server: what is asked for stands, and what differs is named."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from pydantic import SecretStr

from consilium_platform import blobs_bucket
from consilium_platform.blobs import BlobsUnavailable
from consilium_platform.blobs_s3 import S3Blobs
from consilium_platform.settings import S3Place
from consilium_testkit.platforms import RealServers

pytestmark = pytest.mark.servers


def place(real: RealServers, bucket: str, **asked: Any) -> S3Place:
    keys = SecretStr(real.s3.access_key), SecretStr(real.s3.secret_key)
    return S3Place(real.s3.endpoint, bucket, "us-east-1", *keys, **asked)


@asynccontextmanager
async def opened(where: S3Place) -> AsyncIterator[S3Blobs]:
    store = S3Blobs(where)
    try:
        await store.set_up()
        yield store
    finally:
        store.close()


async def test_a_new_bucket_is_made_as_asked_and_stands_so(real_servers: RealServers) -> None:
    asked = place(real_servers, "bucket-asked", versioning=True, object_lock_days=1, quarantine_days=90)
    async with opened(asked) as store:
        assert await store.administer(blobs_bucket.drift) == []
        await store.put("originals/demo/ab/x.dcm", b"x")
        await store.put("originals/demo/ab/x.dcm", b"y")
        with pytest.raises(BlobsUnavailable):  # the lock holds what is younger than a day, every version of it
            await store.purge("originals/demo/ab/x.dcm")
        assert await store.get("originals/demo/ab/x.dcm") == b"y"


async def test_an_existing_bucket_is_left_alone_its_drift_is_named_and_setup_mends_it(
    real_servers: RealServers,
) -> None:
    plain = place(real_servers, "bucket-drift", uploads_days=0)
    async with opened(plain):
        pass
    async with opened(replace(plain, versioning=True, uploads_days=30)) as store:
        found = await store.administer(blobs_bucket.drift)
        assert found == [
            "versioning is Disabled, asked for: Enabled",
            "lifecycle rule consilium-uploads is missing",
        ]
        await store.administer(blobs_bucket.apply)
        assert await store.administer(blobs_bucket.drift) == []
    async with opened(replace(plain, versioning=True, uploads_days=7, object_lock_days=30)) as store:
        first, second = await store.administer(blobs_bucket.drift)
        assert first == "object lock is off, asked for: on (a bucket takes it when it is made)"
        assert second.startswith("lifecycle rule consilium-uploads is ('uploads/', 'Enabled', 30")


async def test_a_rule_that_would_expire_originals_is_drift(real_servers: RealServers) -> None:
    where = place(real_servers, "bucket-foreign")
    async with opened(where) as store:
        rules = [*blobs_bucket.lifecycle_rules(where), {
            "ID": "cleanup", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 365},
        }]  # fmt: skip
        store.client.put_bucket_lifecycle_configuration(Bucket=where.bucket, LifecycleConfiguration={"Rules": rules})
        assert await store.administer(blobs_bucket.drift) == [
            "lifecycle rule cleanup expires originals: nobody here asked for it"
        ]


async def test_a_purge_removes_every_version(real_servers: RealServers) -> None:
    async with opened(place(real_servers, "bucket-versions", versioning=True)) as store:
        for data in (b"1", b"2"):
            await store.put("a/b", data)
        await store.delete("a/b")
        versions = store.client.list_object_versions(Bucket="bucket-versions", Prefix="a/b")
        assert len(versions["Versions"]) == 2
        assert len(versions["DeleteMarkers"]) == 1
        await store.purge("a/b")
        left = store.client.list_object_versions(Bucket="bucket-versions", Prefix="a/b")
        assert not left.get("Versions")
        assert not left.get("DeleteMarkers")
