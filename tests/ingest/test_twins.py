"""One instance by two doors: the same data set in another file is a success at each, one entry in the index, one event (on both worlds)."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx2
import pytest
import pytest_asyncio
from sqlalchemy import func, select

from consilium_archive.scrub import Scrubber
from consilium_archive.stages import original_key
from consilium_archive.writer import open_writer
from consilium_core.roles import Role
from consilium_ingest.dimse.settings import DimseSettings
from consilium_ingest.importing.here import StoreHere
from consilium_ingest.importing.outcomes import Tally
from consilium_ingest.importing.run import run_import
from consilium_ingest.importing.sources import Walker
from consilium_platform.outbox import outbox
from consilium_platform.platform import Platform
from consilium_testkit.archive_rooms import Door, archive_door, door_client
from consilium_testkit.instances import CT, ct_instance, multipart, uids_of, with_meta
from consilium_testkit.light_scu import LightScu, associated, data_set_of
from consilium_testkit.platforms import bearer

from .test_uploads import TUS, create, outcome, patch

EXPLICIT = "1.2.840.10008.1.2.1"
Send = Callable[[bytes], Awaitable[str]]
"""Brings a file's data set in by one door; answers ``stored`` (or for an import ``already``), else the refusal."""


@pytest_asyncio.fixture
async def door(any_platform: Platform) -> AsyncIterator[Door]:
    """Yield both rooms with the DIMSE door open."""
    async with archive_door(any_platform, dimse=DimseSettings.load(port=0)) as opened:
        yield opened


@pytest.fixture
def port(door: Door) -> int:
    """Return the DIMSE door's port."""
    return int(door.ingest.state.dimse.port)  # type: ignore[attr-defined]


async def c_store(scu: LightScu, file: bytes) -> str:
    sop_class, sop, _, data_set = data_set_of(file)
    status = await scu.store(1, sop_class, sop, data_set)
    return {0: "stored", 0x0111: "instance-conflict"}.get(status, f"{status:04X}")


@pytest.fixture
def doors(any_platform: Platform, door: Door, client: httpx2.AsyncClient, port: int, tmp_path: Path) -> dict[str, Send]:
    """Return every door by name; each but C-STORE with meta information of its own."""

    async def by_dimse(file: bytes) -> str:
        async with associated(port, [(CT, [EXPLICIT])]) as scu:
            return await c_store(scu, file)

    async def by_stow(file: bytes) -> str:
        body, media = multipart([with_meta(file, SourceApplicationEntityTitle="STOW")])
        answer = await client.post("/dicomweb/studies", content=body, headers={"Content-Type": media})
        if answer.status_code == 200:
            return "stored"
        code, *_ = answer.json()["00081198"]["Value"][0]["00091002"]["Value"]
        return str(code)

    async def by_upload(file: bytes) -> str:
        sent = with_meta(file, SourceApplicationEntityTitle="TUS")
        async with door_client(door, bearer(any_platform, Role.SITE, subject="site-a") | TUS) as site:
            url = await create(site, sent)
            await patch(site, url, 0, sent)
            ended = await outcome(site, url)
        if ended.receipt is None:
            return str((ended.problem or {})["code"])
        assert (ended.receipt.sha256, ended.receipt.size_bytes) == (hashlib.sha256(sent).hexdigest(), len(sent)), (
            "a site lets go of its object only for a receipt of its own bytes"
        )
        return "stored"

    async def by_import(file: bytes) -> str:
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / "file").write_bytes(with_meta(file, SourceApplicationEntityTitle="CD"))
        tally, walker = Tally(), Walker(tmp_path)
        async with open_writer(any_platform.database, any_platform.blobs, any_platform.outbox) as writer:
            sink = StoreHere(writer, any_platform.audit, "demo", "command line of test", 2, 4 << 30)
            await run_import(walker, walker.walk([tmp_path / "in"]), sink, None, tally, lambda: None)
        return tally.missing[0].code if tally.missing else "stored"

    return {"dimse": by_dimse, "stow": by_stow, "upload": by_upload, "import": by_import}


async def events(platform: Platform, uid: str) -> int:
    async with platform.database.read() as session:
        return await session.scalar(select(func.count()).where(outbox.c.subject == uid)) or 0


@pytest.mark.parametrize(
    "pair", list(itertools.permutations(["dimse", "stow", "upload", "import"], 2)), ids="-then-".join
)
async def test_what_came_by_one_door_is_known_at_the_other_and_other_content_is_a_conflict(
    any_platform: Platform, client: httpx2.AsyncClient, doors: dict[str, Send], pair: tuple[str, str]
) -> None:
    first, then = (doors[name] for name in pair)
    file = ct_instance(side=16)
    study, series, sop = uids_of(file)
    path = f"/dicomweb/studies/{study}/series/{series}/instances/{sop}"
    assert await first(file) == "stored"
    before = (await client.get(path, headers={"Accept": "application/dicom"})).content
    assert [await then(file), await first(file), await then(file)] == ["stored"] * 3
    assert await then(file[:-1] + bytes([file[-1] ^ 1])) == "instance-conflict"
    assert (await client.get(path, headers={"Accept": "application/dicom"})).content == before
    assert await any_platform.blobs.list("originals/") == [original_key("demo", hashlib.sha256(before).hexdigest())], (
        "a file that is known again leaves nothing in the store"
    )
    assert await events(any_platform, sop) == 1


async def test_every_answer_is_audited_as_what_it_was(any_platform: Platform, doors: dict[str, Send]) -> None:
    file = ct_instance(side=16)
    for name in ("dimse", "stow", "import"):
        assert await doors[name](file) == "stored"
    entries = await any_platform.audit.search("demo", action="instance.store")
    assert {one["outcome"] for one in entries} == {"success"}
    assert {one["subject"] for one in entries} == {uids_of(file)[0]}
    assert {"stored 1", "imported 1"} <= {one["detail"] for one in entries}


async def test_senders_by_both_doors_at_once_make_one_instance_and_all_succeed(
    any_platform: Platform, client: httpx2.AsyncClient, doors: dict[str, Send]
) -> None:
    files = [ct_instance(side=16, InstanceNumber=n) for n in range(4)]
    sent = [doors[name](file) for file in files for name in ("dimse", "stow", "dimse", "stow")]
    assert await asyncio.gather(*sent) == ["stored"] * 16
    assert len((await client.get("/dicomweb/instances")).json()) == 4
    for file in files:
        assert await events(any_platform, uids_of(file)[2]) == 1
    entries = await any_platform.audit.search("demo", action="instance.store", limit=200)
    assert {one["outcome"] for one in entries} == {"success"}, "no loser of a race was written down as a refusal"


async def test_one_data_set_in_several_files_of_one_request_is_several_successes(
    any_platform: Platform, client: httpx2.AsyncClient
) -> None:
    file = ct_instance(side=16)
    body, media = multipart([with_meta(file, SourceApplicationEntityTitle=f"AE{n}") for n in range(3)])
    answer = await client.post("/dicomweb/studies", content=body, headers={"Content-Type": media})
    assert (answer.status_code, len(answer.json()["00081199"]["Value"])) == (200, 3)
    assert [one["detail"] for one in await any_platform.audit.search("demo", action="instance.store")] == ["stored 3"]


async def test_a_lost_original_is_said_and_not_taken_for_a_conflict_or_a_success(
    any_platform: Platform, client: httpx2.AsyncClient, doors: dict[str, Send]
) -> None:
    file = ct_instance(side=16)
    assert await doors["dimse"](file) == "stored"
    [key] = await any_platform.blobs.list("originals/")
    kept = await any_platform.blobs.get(key)
    await any_platform.blobs.delete(key)
    body, media = multipart([file])
    answer = await client.post("/dicomweb/studies", content=body, headers={"Content-Type": media})
    [failed] = answer.json()["00081198"]["Value"]
    assert (answer.status_code, failed["00081197"]["Value"]) == (503, [0x0110])
    assert failed["00091002"]["Value"] == ["original-unreadable"]
    await any_platform.blobs.put(key, kept)
    assert await doors["stow"](file) == "stored"


async def test_a_held_object_that_came_in_another_file_meanwhile_is_released_as_the_same(
    any_platform: Platform, client: httpx2.AsyncClient, doors: dict[str, Send]
) -> None:
    base = "/api/v1/ingest/quarantine"
    doubtful = ct_instance(side=16, PatientBirthDate="20250101")
    for name in ("stow", "dimse"):
        assert await doors[name](doubtful) != "stored"
    for entry in (await client.get(base)).json()["items"]:
        done = await client.post(f"{base}/{entry['id']}/release", json={"version": 1, "reason": "it is right"})
        assert (done.status_code, done.json()["corrected"]) == (200, False)
    assert len((await client.get("/dicomweb/instances")).json()) == 1
    for name in ("stow", "dimse"):
        assert await doors[name](doubtful) == "stored"


@pytest.mark.parametrize("name", ["dimse", "stow", "upload", "import"])
async def test_what_the_archive_lost_is_whole_again_once_it_came_again_by_any_door(
    any_platform: Platform, client: httpx2.AsyncClient, doors: dict[str, Send], tmp_path: Path, name: str
) -> None:
    file = ct_instance(side=16)
    study, series, sop = uids_of(file)
    path = f"/dicomweb/studies/{study}/series/{series}/instances/{sop}"
    assert await doors[name](file) == "stored"
    before = (await client.get(path, headers={"Accept": "application/dicom"})).content
    [key] = await any_platform.blobs.list("originals/")
    for scrubbed in (False, True):
        await any_platform.blobs.delete(key)
        if scrubbed:
            scrubber = Scrubber(any_platform.database, any_platform.stores, tmp_path, any_platform.clock)
            assert not (await scrubber.run(shares=1)).sound
        assert await doors[name](file) == "stored"
        assert await any_platform.blobs.get(key) == before
        assert (await client.get("/api/v1/ingest/storage")).json()["damage"] == []
    assert await events(any_platform, sop) == 1
