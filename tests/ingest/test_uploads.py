"""tus 1.0 and the way from a finished upload to a receipt (site protocol SP-33 to SP-37)."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from sqlalchemy import select

from consilium_archive import commits as archive_commits
from consilium_archive.writer import open_writer
from consilium_core.roles import Role
from consilium_core.site_protocol import UploadStatus
from consilium_ingest import upload_ingest
from consilium_ingest.spool import Budget, Spool
from consilium_ingest.upload_ingest import UploadIngest
from consilium_ingest.upload_rows import UploadRows
from consilium_ingest.uploads import Uploads
from consilium_platform.blobs import BlobsFull
from consilium_platform.outbox import outbox
from consilium_platform.platform import Platform
from consilium_testkit.archive_rooms import Door, archive_door, door_client
from consilium_testkit.instances import ct_instance, uids_of
from consilium_testkit.platforms import bearer

TUS = {"Tus-Resumable": "1.0.0"}


def metadata(**facts: str) -> str:
    return ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in facts.items())


@pytest.fixture
async def site(any_platform: Platform, door: Door) -> Any:
    async with door_client(door, bearer(any_platform, Role.SITE, subject="site-a") | TUS) as client:
        yield client


async def create(site: httpx2.AsyncClient, data: bytes, **facts: str) -> str:
    digest = facts.pop("sha256", hashlib.sha256(data).hexdigest())
    headers = {"Upload-Length": str(len(data)), "Upload-Metadata": metadata(sha256=digest, **facts)}
    made = await site.post("/site/v1/uploads", headers=headers)
    assert made.status_code == 201
    return str(made.headers["Location"])


async def patch(
    site: httpx2.AsyncClient, url: str, offset: int, chunk: bytes, *, checksum: bytes | None = None
) -> httpx2.Response:
    digest = base64.b64encode(hashlib.sha256(chunk if checksum is None else checksum).digest()).decode()
    headers = {
        "Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream",
        "Upload-Checksum": f"sha256 {digest}",
    }  # fmt: skip
    return await site.patch(url, content=chunk, headers=headers)


async def outcome(site: httpx2.AsyncClient, url: str) -> UploadStatus:
    async with asyncio.timeout(20):
        while True:
            status = UploadStatus.model_validate((await site.get(f"{url}/status")).json())
            if status.state in ("held", "ingested", "rejected"):
                return status
            await asyncio.sleep(0.01)


async def one(data: bytes) -> AsyncIterator[bytes]:
    """Give a body of one chunk."""
    yield data


async def empty(platform: Platform) -> None:
    """Wait until the pieces of settled uploads are gone; they are removed after the outcome is written."""
    async with asyncio.timeout(20):
        while await platform.blobs.list("uploads/"):
            await asyncio.sleep(0.01)


@asynccontextmanager
async def ingesting(
    platform: Platform, keep: timedelta = timedelta(hours=1), **limits: float
) -> AsyncIterator[UploadIngest]:
    """Yield an ingest task that a test drives by hand."""
    uploads = Uploads(UploadRows(platform.database), platform.blobs, max_bytes=1 << 30, chunk_bytes=1 << 24)
    spool = Spool(platform.settings.data_dir, Budget(1 << 20), 1 << 20, 1 << 30)
    async with open_writer(platform.database, platform.blobs, platform.outbox) as writer:
        yield UploadIngest(uploads, writer, spool, platform.audit, keep=keep, **limits)


async def test_chunks_become_an_instance_with_a_receipt_and_a_capture_event(
    any_platform: Platform, site: httpx2.AsyncClient, client: httpx2.AsyncClient
) -> None:
    data = ct_instance(side=64)
    url = await create(site, data, kind="still", room_id="room1", capture_id="cap1")
    assert (await patch(site, url, 0, data[:3000])).headers["Upload-Offset"] == "3000"
    head = await site.head(url)
    assert (head.headers["Upload-Offset"], head.headers["Upload-Length"]) == ("3000", str(len(data)))
    assert (await patch(site, url, 3000, data[3000:])).status_code == 204
    status = await outcome(site, url)
    study, series, sop = uids_of(data)
    assert status.receipt is not None
    assert status.receipt.sha256 == hashlib.sha256(data).hexdigest()
    assert (status.receipt.study_uid, status.receipt.series_uid, status.receipt.sop_instance_uid) == (
        study,
        series,
        sop,
    )
    assert status.receipt.size_bytes == len(data)
    read = await client.get(
        f"/dicomweb/studies/{study}/series/{series}/instances/{sop}", headers={"Accept": "application/dicom"}
    )
    assert read.content == data
    async with any_platform.database.read() as session:
        event = json.loads(await session.scalar(select(outbox.c.data).where(outbox.c.subject == sop)) or "{}")
    assert (event["origin"], event["room_id"], event["capture_id"]) == ("capture", "room1", "cap1")
    assert event["site_id"] == "site-a"
    assert event["upload_id"] == status.upload_id
    await empty(any_platform)


async def test_an_offset_that_is_not_ours_is_a_conflict_and_changes_nothing(site: httpx2.AsyncClient) -> None:
    data = ct_instance(side=16)
    url = await create(site, data)
    assert (await patch(site, url, 5, data[5:10])).status_code == 409
    assert (await patch(site, url, 0, data[:10])).status_code == 204
    assert (await patch(site, url, 0, data[:10])).status_code == 409
    assert (await site.head(url)).headers["Upload-Offset"] == "10"


async def test_a_chunk_with_a_wrong_checksum_is_not_kept(site: httpx2.AsyncClient) -> None:
    data = ct_instance(side=16)
    url = await create(site, data)
    assert (await patch(site, url, 0, data[:100], checksum=b"other")).status_code == 460
    assert (await site.head(url)).headers["Upload-Offset"] == "0"


async def test_more_bytes_than_announced_are_refused(site: httpx2.AsyncClient) -> None:
    url = await create(site, b"x" * 10)
    assert (await patch(site, url, 0, b"x" * 11)).status_code == 413


async def test_a_bad_object_is_rejected_with_its_cause(any_platform: Platform, site: httpx2.AsyncClient) -> None:
    data = ct_instance(side=64)[:-100]
    url = await create(site, data)
    await patch(site, url, 0, data)
    status = await outcome(site, url)
    assert (status.state, status.receipt) == ("rejected", None)
    assert status.problem is not None
    assert status.problem["code"] == "instance-rejected"
    assert [found["code"] for found in status.problem["findings"]] == ["pixel-data-truncated"]
    await empty(any_platform)
    assert await any_platform.blobs.list("originals/") == []
    [entry] = await any_platform.audit.search("demo", action="instance.store", outcome="failure")
    assert entry["actor"] == "site-a"


async def test_bytes_that_are_not_the_announced_ones_are_rejected(site: httpx2.AsyncClient) -> None:
    data = ct_instance(side=16)
    url = await create(site, data, sha256="0" * 64)
    await patch(site, url, 0, data)
    status = await outcome(site, url)
    assert status.problem is not None
    assert status.problem["code"] == "checksum-mismatch"


async def test_an_object_uploaded_twice_gives_two_receipts_of_one_instance(
    site: httpx2.AsyncClient, client: httpx2.AsyncClient
) -> None:
    data = ct_instance(side=16)
    for _ in range(2):
        url = await create(site, data)
        await patch(site, url, 0, data)
        assert (await outcome(site, url)).state == "ingested"
    assert (await client.get("/dicomweb/instances")).headers["X-Total-Count"] == "1"


async def test_a_site_sees_only_its_own_uploads(any_platform: Platform, door: Door, site: httpx2.AsyncClient) -> None:
    url = await create(site, b"x" * 10)
    for who in (
        bearer(any_platform, Role.SITE, subject="site-b"),
        bearer(any_platform, Role.SITE, subject="site-a", tenant="other"),
    ):
        async with door_client(door, who | TUS) as stranger:
            assert (await stranger.head(url)).status_code == 404
            assert (await patch(stranger, url, 0, b"x")).status_code == 404
            assert (await stranger.get(f"{url}/status")).status_code == 404
            assert (await stranger.delete(url)).status_code == 404
    async with door_client(door, bearer(any_platform, Role.ADMIN) | TUS) as person:
        assert (await person.head(url)).status_code == 403
        seen = await person.get(f"/api/v1/ingest/uploads/{url.rsplit('/', 1)[1]}")
        assert seen.json()["state"] == "receiving"


async def test_a_terminated_upload_is_gone_with_its_bytes(any_platform: Platform, site: httpx2.AsyncClient) -> None:
    url = await create(site, b"x" * 10)
    await patch(site, url, 0, b"x" * 5)
    assert (await site.delete(url)).status_code == 204
    assert (await site.head(url)).status_code == 404
    assert await any_platform.blobs.list("uploads/") == []


async def test_requests_that_do_not_speak_tus_are_refused(any_platform: Platform, door: Door) -> None:
    async with door_client(door, bearer(any_platform, Role.SITE)) as client:
        assert (await client.post("/site/v1/uploads", headers={"Upload-Length": "3"})).status_code == 412
        for headers in (
            {},
            {"Upload-Length": "x"},
            {"Upload-Length": "0"},
            {"Upload-Length": "3", "Upload-Metadata": "a !"},
        ):
            assert (await client.post("/site/v1/uploads", headers=TUS | headers)).status_code == 400
        too_long = await client.post("/site/v1/uploads", headers=TUS | {"Upload-Length": str(1 << 40)})
        assert too_long.status_code == 413
        asked = await client.options("/site/v1/uploads")
        assert asked.headers["Tus-Extension"] == "creation,checksum,termination"


async def test_an_upload_that_was_complete_before_a_restart_is_ingested_after_it(any_platform: Platform) -> None:
    data = ct_instance(side=16)
    uploads = Uploads(UploadRows(any_platform.database), any_platform.blobs, max_bytes=1 << 30, chunk_bytes=1 << 24)
    made = await uploads.create("demo", "site-a", len(data), {"sha256": hashlib.sha256(data).hexdigest()})

    assert (
        await uploads.append(made, 0, one(data), None)
    ).state == "ingesting"  # and nobody ingests it: the process ends
    async with (
        archive_door(any_platform) as door,
        door_client(door, bearer(any_platform, Role.SITE, subject="site-a")) as site,
    ):
        assert (await outcome(site, f"/site/v1/uploads/{made.id}")).state == "ingested"


async def test_a_doubtful_object_is_held_and_the_desks_decision_gives_the_site_its_receipt(
    any_platform: Platform, door: Door, site: httpx2.AsyncClient
) -> None:
    data = ct_instance(side=16, PatientBirthDate="20250101")
    url = await create(site, data)
    await patch(site, url, 0, data)
    held = await outcome(site, url)
    assert (held.state, held.receipt) == ("held", None)
    assert held.problem is not None
    assert held.problem["code"] == "instance-held"
    assert (await site.delete(url)).status_code == 409, "what waits for a person cannot be withdrawn"
    base = f"/api/v1/ingest/quarantine/{held.problem['quarantine_id']}"
    async with door_client(door, bearer(any_platform, Role.QC, subject="one")) as one:
        change = {"version": 1, "reason": "ward", "birth_date": "19500101"}
        assert (await one.post(f"{base}/identity", json=change)).status_code == 200
    async with door_client(door, bearer(any_platform, Role.QC, subject="two")) as two:
        assert (await two.post(f"{base}/release", json={"version": 2, "reason": "yes"})).status_code == 200
    done = await outcome(site, url)
    assert done.state == "ingested"
    assert done.receipt is not None
    assert done.receipt.sha256 == hashlib.sha256(data).hexdigest(), "the receipt is for the bytes that the site has"
    assert done.receipt.sop_instance_uid == uids_of(data)[2]


async def test_a_rejected_held_upload_tells_the_site_why(
    any_platform: Platform, door: Door, site: httpx2.AsyncClient
) -> None:
    data = ct_instance(side=16, PatientBirthDate="20250101")
    url = await create(site, data)
    await patch(site, url, 0, data)
    held = await outcome(site, url)
    assert held.problem is not None
    base = f"/api/v1/ingest/quarantine/{held.problem['quarantine_id']}"
    async with door_client(door, bearer(any_platform, Role.QC)) as desk:
        assert (await desk.post(f"{base}/reject", json={"version": 1, "reason": "phantom"})).status_code == 200
    done = await outcome(site, url)
    assert done.state == "rejected"
    assert done.problem is not None
    assert "phantom" in done.problem["detail"]


async def test_an_upload_that_fails_by_an_error_of_ours_keeps_its_bytes(
    any_platform: Platform, site: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("our bug")

    monkeypatch.setattr(archive_commits, "index_admitted", broken)
    monkeypatch.setattr(upload_ingest, "_ATTEMPTS", 1)
    data = ct_instance(side=16)
    url = await create(site, data)
    await patch(site, url, 0, data[:300])
    await patch(site, url, 300, data[300:])
    status = await outcome(site, url)
    assert status.problem is not None
    assert (status.state, status.problem["code"], status.problem["mend"]) == ("rejected", "corrupt", "vendor")
    async with ingesting(any_platform, keep=timedelta(0)) as ingest:
        await ingest.sweep()
    kept = await any_platform.blobs.list("uploads/")
    assert b"".join([await any_platform.blobs.get(key) for key in kept]) == data
    assert (await site.get(f"{url}/status")).json()["state"] == "rejected"


async def test_an_upload_waits_for_a_store_that_is_full(
    any_platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise BlobsFull("The object store is full.")

    data = ct_instance(side=16)
    async with ingesting(any_platform) as ingest:
        made = await ingest.uploads.create("demo", "site-a", len(data), {})
        await ingest.uploads.append(made, 0, one(data), None)
        [claimed] = await ingest.uploads.rows.claim(60)
        with monkeypatch.context() as store:
            for name in ("put", "put_here"):
                if hasattr(any_platform.blobs, name):
                    store.setattr(any_platform.blobs, name, full)
            await ingest.ingest(claimed)
        assert (await ingest.uploads.rows.get("demo", made.id)).state == "ingesting"
        await ingest.ingest(claimed)
        assert (await ingest.uploads.rows.get("demo", made.id)).state == "ingested"


async def test_bytes_that_no_upload_counts_are_swept_after_a_while_and_counted_ones_are_not(
    any_platform: Platform, site: httpx2.AsyncClient
) -> None:
    url = await create(site, b"x" * 10)
    await patch(site, url, 0, b"x" * 5)
    [counted] = await any_platform.blobs.list("uploads/")
    await any_platform.blobs.put("uploads/left-by-a-kill", b"x")
    async with ingesting(any_platform) as ingest:
        for _ in range(2):
            await ingest.sweep()
        assert await any_platform.blobs.list("uploads/") == [counted, "uploads/left-by-a-kill"]
    async with ingesting(any_platform, unclaimed_s=0) as ingest:
        await ingest.sweep()
    assert await any_platform.blobs.list("uploads/") == [counted]
