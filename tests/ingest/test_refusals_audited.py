"""What was refused or held can be followed: whose it was, which instance, which quarantine entry, who sent it, by every door."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2
import pytest_asyncio

from consilium_archive.writer import open_writer
from consilium_core.ids import new_uid
from consilium_core.roles import Role
from consilium_ingest.importing.here import StoreHere
from consilium_ingest.importing.outcomes import Tally
from consilium_ingest.importing.run import run_import
from consilium_ingest.importing.sources import Walker
from consilium_platform.platform import Platform
from consilium_testkit.archive_rooms import Door, door_client
from consilium_testkit.instances import ct_instance, multipart, uids_of
from consilium_testkit.platforms import bearer

from .test_uploads import TUS, create, outcome, patch

BASE = "/api/v1/ingest/quarantine"


async def trail(platform: Platform, **wanted: str) -> list[dict[str, Any]]:
    return await platform.audit.search("demo", **{"action": "instance.store", **wanted})


def unborn(**more: Any) -> bytes:
    """Return an image of somebody who was born after it was taken."""
    return ct_instance(side=16, PatientBirthDate="20250101", **more)


async def stow(client: httpx2.AsyncClient, *files: bytes) -> httpx2.Response:
    body, kind = multipart(list(files))
    return await client.post("/dicomweb/studies", content=body, headers={"Content-Type": kind})


async def held(client: httpx2.AsyncClient) -> dict[str, Any]:
    [entry] = (await client.get(BASE)).json()["items"]
    return dict(entry)


async def test_by_stow_the_entry_names_patient_study_instance_and_where_it_is_held(
    any_platform: Platform, client: httpx2.AsyncClient
) -> None:
    file, cut = unborn(PatientID="P7"), ct_instance(side=64, PatientID="P8")[:-100]
    assert (await stow(client, file, cut, b"garbage" * 50)).status_code == 409
    entry = await held(client)
    assert entry["origin"] == {"origin": "stow", "sender": "admin"}
    assert {(one["outcome"], one["patient_id"], one["subject"], one["detail"]) for one in await trail(any_platform)} == {
        ("failure", "P7", uids_of(file)[0], "stored 0, refused 1: instance-held "
         f"({uids_of(file)[2]} held {entry['id']}: birth-after-study)"),
        ("failure", "P8", uids_of(cut)[0], "stored 0, refused 1: instance-rejected "
         f"({uids_of(cut)[2]} pixel-data-truncated)"),
        ("failure", "", "", "stored 0, refused 1: instance-rejected"),
    }  # fmt: skip


async def test_by_upload_the_entry_names_them_and_the_desk_knows_the_site(
    any_platform: Platform, door: Door, client: httpx2.AsyncClient
) -> None:
    file = unborn(PatientID="P7")
    async with door_client(door, bearer(any_platform, Role.SITE, subject="site-a") | TUS) as site:
        url = await create(site, file)
        await patch(site, url, 0, file)
        assert (await outcome(site, url)).state == "held"
    entry = await held(client)
    assert (entry["origin"]["sender"], entry["origin"]["site_id"]) == ("site-a", "site-a")
    [written] = await trail(any_platform)
    assert (written["actor"], written["patient_id"], written["subject"]) == ("site-a", "P7", uids_of(file)[0])
    assert f"({uids_of(file)[2]} held {entry['id']}: birth-after-study) by upload" in str(written["detail"])


async def test_by_import_each_patient_has_an_entry(
    any_platform: Platform, client: httpx2.AsyncClient, tmp_path: Path
) -> None:
    files = {"a": ct_instance(side=16, PatientID="P1"), "b": ct_instance(side=16, PatientID="P2"),
             "c": unborn(PatientID="P3")}  # fmt: skip
    (tmp_path / "in").mkdir()
    for name, data in files.items():
        (tmp_path / "in" / name).write_bytes(data)
    async with open_writer(any_platform.database, any_platform.blobs, any_platform.outbox) as writer:
        sink = StoreHere(writer, any_platform.audit, "demo", "command line of test", 2, 4 << 30)
        walker = Walker(tmp_path)
        await run_import(walker, walker.walk([tmp_path / "in"]), sink, None, Tally(), lambda: None)
    entry = await held(client)
    assert entry["origin"] == {"origin": "import", "sender": "command line of test"}
    found = {str(one["patient_id"]): one for one in await trail(any_platform)}
    assert {name: one["outcome"] for name, one in found.items()} == {"P1": "success", "P2": "success", "P3": "failure"}
    assert f"held {entry['id']}" in str(found["P3"]["detail"])


@pytest_asyncio.fixture
async def second(any_platform: Platform, door: Door) -> Any:
    """Yield another person at the desk."""
    async with door_client(door, bearer(any_platform, Role.QC, subject="second")) as opened:
        yield opened


async def test_a_release_under_a_corrected_patient_is_in_the_trail_of_both(
    any_platform: Platform, client: httpx2.AsyncClient, second: httpx2.AsyncClient
) -> None:
    study = new_uid()
    await stow(client, ct_instance(side=16, StudyInstanceUID=study, PatientID="P1"))
    await stow(client, ct_instance(side=16, StudyInstanceUID=study, PatientID="P1X"))
    entry = await held(client)
    change = {"version": 1, "reason": "typo at the scanner", "patient_id": "P1"}
    assert (await client.post(f"{BASE}/{entry['id']}/identity", json=change)).status_code == 200
    decision = {"version": 2, "reason": "asked the ward"}
    assert (await second.post(f"{BASE}/{entry['id']}/release", json=decision)).status_code == 200
    released = await any_platform.audit.search("demo", action="quarantine.release")
    assert {(one["patient_id"], one["subject"], one["actor"]) for one in released} == {
        ("P1", entry["id"], "second"), ("P1X", entry["id"], "second"),
    }  # fmt: skip
    newest, *_ = await trail(any_platform, patient_id="P1")
    assert (newest["actor"], newest["outcome"], newest["subject"]) == ("second", "success", study)
    assert newest["detail"] == f"released from quarantine (entry {entry['id']}) 1"
    assert (await any_platform.audit.verify("demo")).ok


async def test_a_release_as_it_is_is_one_entry_and_one_stored(
    any_platform: Platform, client: httpx2.AsyncClient
) -> None:
    await stow(client, unborn(PatientID="P7"))
    entry = await held(client)
    decision = {"version": 1, "reason": "a typo"}
    assert (await client.post(f"{BASE}/{entry['id']}/release", json=decision)).status_code == 200
    [released] = await any_platform.audit.search("demo", action="quarantine.release")
    assert released["patient_id"] == "P7"
    stored, _refused = await trail(any_platform)
    assert (stored["outcome"], stored["patient_id"]) == ("success", "P7")
