"""The storage addresses: both places' status, tombstones and legal holds; every role, every tenant, everything audited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from consilium_archive.retention import Retainer, RetentionRule
from consilium_archive.stages import original_key
from consilium_core.clock import FakeClock
from consilium_core.ids import new_uid
from consilium_core.roles import PERMISSIONS, Permission, Role
from consilium_ingest.storage.settings import StorageSettings
from consilium_platform.platform import Platform, open_platform
from consilium_platform.settings import PlatformSettings
from consilium_testkit.archive_rooms import Door, archive_door, door_client
from consilium_testkit.instances import ct_instance, multipart, uids_of
from consilium_testkit.platforms import bearer, with_copy

HOLDS, STORAGE = "/api/v1/ingest/holds", "/api/v1/ingest/storage"


async def send(client: httpx2.AsyncClient, *files: bytes) -> httpx2.Response:
    body, media = multipart(list(files))
    return await client.post("/dicomweb/studies", content=body, headers={"Content-Type": media})


async def retain(platform: Platform) -> None:
    later = FakeClock(datetime.now(UTC) + timedelta(days=9))
    rules = [RetentionRule(name="exam", days=1)]
    async for _ in Retainer(platform.database, platform.audit, later, rules, "command line of test").apply():
        pass


async def test_a_hold_is_placed_listed_keeps_the_study_and_is_released(
    any_platform: Platform, client: httpx2.AsyncClient
) -> None:
    data = ct_instance(side=8, PatientID="P9")
    study = uids_of(data)[0]
    assert (await send(client, data)).status_code == 200
    placed = await client.post(HOLDS, json={"study_uid": study, "reason": "a lawsuit"})
    assert placed.status_code == 201
    hold = placed.json()
    assert placed.headers["Location"] == f"{HOLDS}/{hold['id']}"
    assert (hold["study_uid"], hold["patient_id"], hold["placed_by"], hold["studies"]) == (study, None, "admin", 1)
    assert [one["id"] for one in (await client.get(HOLDS)).json()["items"]] == [hold["id"]]
    await retain(any_platform)
    assert (await client.get(f"/dicomweb/studies/{study}/metadata")).status_code == 200
    released = await client.delete(f"{HOLDS}/{hold['id']}")
    assert (released.status_code, released.json()["released_by"]) == (200, "admin")
    assert (await client.delete(f"{HOLDS}/{hold['id']}")).json()["code"] == "hold-released"
    assert (await client.get(HOLDS)).json()["items"] == []
    assert len((await client.get(HOLDS, params={"released": True})).json()["items"]) == 1
    trail = await any_platform.audit.search("demo", patient_id="P9")
    assert {"hold.place", "hold.release"} <= {entry["action"] for entry in trail}


@pytest.mark.parametrize(
    "body",
    [
        {}, {"study_uid": "1.2"}, {"reason": "why not"}, {"reason": "x", "study_uid": "1.2"},
        {"reason": "both of them", "study_uid": "1.2", "patient_id": "P"}, {"reason": "no uid", "study_uid": "abc"},
        {"reason": "surplus", "patient_id": "P", "until": "2030"},
    ],
)  # fmt: skip
async def test_a_hold_that_does_not_say_what_and_why_is_refused(
    client: httpx2.AsyncClient, body: dict[str, Any]
) -> None:
    assert (await client.post(HOLDS, json=body)).status_code == 422
    assert (await client.post(HOLDS, json={"study_uid": new_uid(), "reason": "not there"})).status_code == 404
    assert (await client.post(HOLDS, json={"patient_id": "P1", "reason": "诉讼"})).status_code == 201


async def test_a_removed_instance_leaves_a_tombstone_and_is_refused_when_it_is_sent_again(
    any_platform: Platform, client: httpx2.AsyncClient
) -> None:
    data = ct_instance(side=8)
    study, _, sop = uids_of(data)
    await send(client, data)
    await retain(any_platform)
    assert (await client.get(f"/dicomweb/studies/{study}/metadata")).status_code == 404
    page = (await client.get(f"{STORAGE}/tombstones", params={"study_uid": study})).json()
    [stone] = page["items"]
    assert (stone["sop_instance_uid"], stone["rule"], stone["actor"]) == (sop, "exam", "command line of test")
    again = await send(client, data)
    assert again.status_code == 409
    [failed] = again.json()["00081198"]["Value"]
    assert failed["00081197"]["Value"] == [0x0124]
    assert (await client.get(STORAGE)).json()["removals_under_way"] == 1


async def test_tombstones_come_by_pages(any_platform: Platform, client: httpx2.AsyncClient) -> None:
    await send(client, *(ct_instance(side=8) for _ in range(5)))
    await retain(any_platform)
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = (await client.get(f"{STORAGE}/tombstones", params={"limit": 2, "cursor": cursor})).json()
        seen += [one["sop_instance_uid"] for one in page["items"]]
        cursor = page["next_cursor"]
    assert len(set(seen)) == len(seen) == 5


async def test_each_role_gets_what_the_table_says_and_another_tenant_sees_nothing(
    any_platform: Platform, door: Door, client: httpx2.AsyncClient
) -> None:
    data = ct_instance(side=8)
    study = uids_of(data)[0]
    await send(client, data)
    hold = (await client.post(HOLDS, json={"study_uid": study, "reason": "a lawsuit"})).json()["id"]
    asks = [
        ("GET", STORAGE, Permission.STORAGE_READ), ("GET", f"{STORAGE}/studies/{study}", Permission.STORAGE_READ),
        ("GET", f"{STORAGE}/tombstones", Permission.STORAGE_READ), ("GET", HOLDS, Permission.STORAGE_READ),
        ("POST", HOLDS, Permission.HOLD_DECIDE), ("DELETE", f"{HOLDS}/none", Permission.HOLD_DECIDE),
    ]  # fmt: skip
    for method, path, permission in asks:
        async with door_client(door, {}) as nobody:
            assert (await nobody.request(method, path)).status_code == 401
        for role in Role:
            async with door_client(door, bearer(any_platform, role)) as caller:
                answer = await caller.request(method, path, json={} if method == "POST" else None)
            assert (answer.status_code == 403) is (role not in PERMISSIONS[permission]), (method, path, role)
    async with door_client(door, bearer(any_platform, Role.ADMIN, tenant="other")) as foreign:
        assert (await foreign.get(f"{STORAGE}/studies/{study}")).status_code == 404
        assert (await foreign.get(STORAGE)).json()["instances"] == 0
        assert (await foreign.get(HOLDS)).json()["items"] == []
        assert (await foreign.delete(f"{HOLDS}/{hold}")).status_code == 404
        assert (await foreign.post(HOLDS, json={"study_uid": study, "reason": "mine"})).status_code == 404


async def test_seeing_where_a_study_lies_is_audited(any_platform: Platform, client: httpx2.AsyncClient) -> None:
    data = ct_instance(side=8, PatientID="P5")
    study, series, sop = uids_of(data)
    await send(client, data)
    seen = (await client.get(f"{STORAGE}/studies/{study}")).json()
    assert (seen["first"], seen["copy"]) == ({"stored": 1}, {"none": 1})
    [one] = seen["instances"]
    assert (one["series_uid"], one["sop_instance_uid"], one["copy"]) == (series, sop, "none")
    [entry] = await any_platform.audit.search("demo", action="storage.view")
    assert (entry["subject"], entry["patient_id"]) == (study, "P5")
    assert (await client.get(f"{STORAGE}/studies/abc")).json()["code"] == "uid-invalid"


# -- a second place, in the running service ------------------------------------------------------------------------


@pytest_asyncio.fixture
async def two_places(tmp_path: Path, migrated_file: Path) -> AsyncIterator[Platform]:
    """Yield an embedded platform with a folder of second copies."""
    given = PlatformSettings.load(data_dir=tmp_path / "data", copy_store="folder", copy_dir=tmp_path / "copies")
    async with open_platform(with_copy(given, migrated_file), migrate=False) as opened:
        yield opened


async def test_the_service_makes_second_copies_by_itself_and_reads_from_them_when_the_first_is_lost(
    two_places: Platform,
) -> None:
    data = ct_instance(side=64)
    study, series, sop = uids_of(data)
    async with (
        archive_door(two_places, storage=StorageSettings(poll_s=0.02)) as door,
        door_client(door, bearer(two_places, Role.ADMIN)) as client,
    ):
        assert (await send(client, data)).status_code == 200
        async with asyncio.timeout(20):
            while (seen := (await client.get(f"{STORAGE}/studies/{study}")).json())["copy"] != {"copied": 1}:
                await asyncio.sleep(0.02)
        assert (seen["first"], seen["instances"][0]["copied_at"] is not None) == ({"stored": 1}, True)
        summary = (await client.get(STORAGE)).json()
        assert (summary["copy_store"], summary["copies"]["copied"], summary["instances"]) == ("folder", 1, 1)
        assert two_places.stores.copy is not None
        key = original_key("demo", seen["instances"][0]["sha256"])
        await two_places.stores.first.delete(key)
        path = f"/dicomweb/studies/{study}/series/{series}/instances/{sop}"
        read = await client.get(path, headers={"Accept": "application/dicom"})
        assert (read.status_code, read.content) == (200, data)
