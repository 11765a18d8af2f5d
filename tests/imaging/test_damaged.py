"""What the store has lost or cut short is never shown: the second copy is read instead, or the operator is told (on both worlds)."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import httpx2
import numpy as np
import pydicom
import pytest
import pytest_asyncio
from sqlalchemy import delete, select

from consilium_archive.copies import Copier
from consilium_archive.reader import ArchiveReader, Place
from consilium_archive.scrub import Scrubber
from consilium_archive.stages import original_key
from consilium_archive.storage_tables import damage
from consilium_archive.tables import instance
from consilium_core.ids import new_uid
from consilium_core.roles import Role
from consilium_platform.blobs import BlobStore
from consilium_platform.blobs_fallback import FallbackBlobs
from consilium_platform.blobs_folder import FolderBlobs
from consilium_platform.platform import Platform
from consilium_testkit.archive_rooms import archive_door, door_client
from consilium_testkit.instances import ct_instance, multipart, uids_of
from consilium_testkit.platforms import bearer

from .test_retrieve import parts, store

JPEG_LS = "1.2.840.10008.1.2.4.80"
STORED = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
VIEWS = {
    "frame": ("/frames/1", "application/octet-stream"),
    "frame in parts": ("/frames/1", 'multipart/related; type="application/octet-stream"'),
    "frames": ("/frames/1,2", 'multipart/related; type="application/octet-stream"'),
    "recoded frame": ("/frames/2", "image/jphc"),
    "rendered": ("/rendered", "image/jpeg"),
    "rendered frame": ("/frames/2/rendered", "image/png"),
    "thumbnail": ("/thumbnail", "image/jpeg"),
    "bulk data": ("/bulkdata/7FE00010", "application/octet-stream"),
    "bulk data in parts": ("/bulkdata/7FE00010", 'multipart/related; type="application/octet-stream"'),
    "file": ("", "application/dicom; transfer-syntax=*"),
    "file in parts": ("", STORED["Accept"]),
    "another syntax": ("", f"application/dicom; transfer-syntax={JPEG_LS}"),
    "another syntax in parts": ("", f'multipart/related; type="application/dicom"; transfer-syntax={JPEG_LS}'),
}


@dataclass(frozen=True, slots=True)
class Archive:
    """Both rooms on two places, and an administrator's client of them."""

    platform: Platform
    first: BlobStore
    copy: BlobStore
    client: httpx2.AsyncClient
    folder: Path

    async def copied(self) -> None:
        copier = Copier(self.platform.database, self.first, self.copy, self.folder, self.platform.clock)
        await copier.feed()
        await copier.work()

    def scrubber(self) -> Scrubber:
        return Scrubber(self.platform.database, self.platform.stores, self.folder, self.platform.clock)

    async def marks(self) -> set[tuple[str, str]]:
        async with self.platform.database.read() as session:
            rows = await session.execute(select(damage).where(damage.c.repaired_at.is_(None)))
            return {(row.place, row.kind) for row in rows}


@pytest_asyncio.fixture
async def archive(any_platform: Platform, tmp_path: Path) -> AsyncIterator[Archive]:
    """Yield an archive with a second place."""
    first, copy = any_platform.stores.first, FolderBlobs(tmp_path / "second")
    both = replace(any_platform, blobs=FallbackBlobs(first, copy, any_platform.clock))
    async with archive_door(both) as door, door_client(door, bearer(both, Role.ADMIN)) as client:
        yield Archive(both, first, copy, client, tmp_path)
    copy.close()


def cine(frames: int = 2, **attributes: object) -> bytes:
    """Return an image of two different frames of noise: no encoder makes much less of it."""
    dataset = pydicom.dcmread(BytesIO(ct_instance(side=64)))
    for name, value in attributes.items():
        setattr(dataset, name, value)
    dataset.NumberOfFrames = frames
    dataset.PixelData = np.random.default_rng(7).integers(0, 2000, 64 * 64 * frames, "<u2").tobytes()
    out = BytesIO()
    dataset.save_as(out)
    return out.getvalue()


def is_told(answer: httpx2.Response) -> bool:
    told = answer.json()
    assert (answer.status_code, told["code"], told["mend"]) == (503, "original-damaged", "operator"), answer.text
    return answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("lost", [0, 1000, -2000, None], ids=["empty", "the head", "the end", "all"])
async def test_what_was_cut_short_or_lost_comes_from_the_copy_else_the_operator_is_told(
    archive: Archive, lost: int | None
) -> None:
    file = cine()
    [path] = await store(archive.client, file)
    [key] = await archive.first.list("originals/")
    await archive.copied()

    async def damage_in(place: BlobStore) -> None:
        await (place.delete(key) if lost is None else place.put(key, file[:lost]))

    await damage_in(archive.first)
    asked = {name: (path + suffix, {"Accept": accept}) for name, (suffix, accept) in VIEWS.items()}
    for name, (url, headers) in asked.items():
        answer = await archive.client.get(url, headers=headers)
        assert answer.status_code == 200, (name, answer.text)
    assert (await archive.client.get(asked["file"][0], headers=asked["file"][1])).content == file
    assert await archive.marks() == {("first", "missing" if lost is None else "corrupt")}
    await damage_in(archive.copy)
    for name, (url, headers) in asked.items():
        if name == "recoded frame" or (name in ("rendered", "rendered frame", "thumbnail")):
            continue  # made of whole bytes above, and kept
        answer = await archive.client.get(url, headers=headers)
        if lost == -2000 and "frame" in name and "frames" not in name:
            assert answer.status_code == 200, "what is asked for lies before the cut"
        else:
            assert is_told(answer), name


@pytest.mark.parametrize("lost", [1000, -2000, None], ids=["the head", "the end", "all"])
async def test_nothing_is_drawn_or_recoded_from_what_is_left(archive: Archive, lost: int | None) -> None:
    file = cine()
    [path] = await store(archive.client, file)
    [key] = await archive.first.list("originals/")
    await (archive.first.delete(key) if lost is None else archive.first.put(key, file[:lost]))
    for suffix, accept in (
        ("/frames/2", "image/jphc"), ("/frames/2/rendered", "image/jpeg"), ("/frames/2/thumbnail", "image/jpeg"),
        ("/frames/2", "image/jls"),
    ):  # fmt: skip
        assert is_told(await archive.client.get(path + suffix, headers={"Accept": accept})), suffix
    await archive.first.put(key, file)  # from a backup
    assert (await archive.scrubber().run_damaged()).sound
    assert (await archive.client.get(f"{path}/frames/2/rendered")).status_code == 200


@pytest.mark.parametrize("lost", [0, 1000, -2000, None], ids=["empty", "the head", "the end", "all"])
async def test_a_small_still_of_a_single_place_is_not_drawn_from_what_is_left(
    any_platform: Platform, client: httpx2.AsyncClient, lost: int | None
) -> None:
    """Where the store can be read in the drawing thread itself, nothing is taken on trust either."""
    file, blobs = ct_instance(side=64), any_platform.blobs
    [path] = await store(client, file)
    [key] = await blobs.list("originals/")
    await (blobs.delete(key) if lost is None else blobs.put(key, file[:lost]))
    for suffix, accept in (("/rendered", "image/jpeg"), ("/thumbnail", "image/jpeg"), ("/frames/1", "image/jls")):
        assert is_told(await client.get(path + suffix, headers={"Accept": accept})), suffix
    async with any_platform.database.read() as session:
        rows = (await session.execute(select(damage))).all()
    assert [(row.place, row.kind) for row in rows] == [("first", "missing" if lost is None else "corrupt")]


async def test_bytes_that_are_known_to_be_wrong_are_not_read_first_nor_at_all(archive: Archive) -> None:
    file = cine()
    [path] = await store(archive.client, file)
    [key] = await archive.first.list("originals/")
    await archive.copied()
    wrong = file[:-1] + bytes([file[-1] ^ 1])
    await archive.first.put(key, wrong)
    async with archive.platform.database.write() as session:
        sha256 = await session.scalar(select(instance.c.sha256))
        facts = {"tenant_id": "demo", "sha256": sha256, "kind": "corrupt", "found_at": archive.platform.clock.now()}
        await session.execute(damage.insert().values(place="first", **facts))
    assert (await archive.client.get(path, headers={"Accept": "application/dicom"})).content == file
    async with archive.platform.database.write() as session:
        await session.execute(damage.insert().values(place="copy", **facts))
    assert is_told(await archive.client.get(path, headers={"Accept": "application/dicom"}))


async def test_no_derivative_is_made_of_bytes_that_are_cut_short(archive: Archive) -> None:
    file = cine()
    [path] = await store(archive.client, file)
    [key] = await archive.first.list("originals/")
    await archive.first.put(key, file[:-2000])
    for _ in range(3):
        await archive.client.get(f"{path}/frames/1", headers={"Accept": "image/jphc"})
    assert is_told(await archive.client.get(f"{path}/frames/2", headers={"Accept": "image/jphc"}))
    assert await archive.first.list("derivatives/") == []


async def test_what_was_removed_on_purpose_is_no_damage(archive: Archive) -> None:
    [path] = await store(archive.client, cine())
    [key] = await archive.first.list("originals/")
    await archive.first.delete(key)
    async with archive.platform.database.write() as session:
        await session.execute(delete(instance))
    assert (await archive.client.get(f"{path}/frames/1")).status_code == 404
    assert await archive.marks() == set()


# -- several instances ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", ["*", "1.2.840.10008.1.2.1", JPEG_LS], ids=["as stored", "plain", "JPEG-LS"])
@pytest.mark.parametrize("lost", [0, 1000, None], ids=["empty", "short", "missing"])
async def test_a_study_without_one_of_its_instances_is_the_rest_of_it_and_says_so_at_once(
    archive: Archive, lost: int | None, syntax: str
) -> None:
    study, client, first = new_uid(), archive.client, archive.first
    files = [cine(StudyInstanceUID=study, InstanceNumber=n) for n in range(5)]
    await store(client, *files)
    url, headers = f"/dicomweb/studies/{study}", {**STORED, "If-None-Match": '"none"'}
    headers["Accept"] = f'multipart/related; type="application/dicom"; transfer-syntax={syntax}'
    whole = await client.get(url, headers=headers)
    assert (whole.status_code, len(parts(whole))) == (200, 5)
    for number in (4, 0):
        key = original_key("demo", hashlib.sha256(files[number]).hexdigest())
        await (first.delete(key) if lost is None else first.put(key, files[number][:lost]))
        told = await client.get(url, headers=headers | {"If-None-Match": whole.headers["etag"]})
        left = [body for _, body in parts(told)]  # ends as it should
        assert (told.status_code, len(left)) == (206, 4 if number else 3)
        if syntax == "*":
            assert set(left) == set(files[:4] if number else files[1:4])
            assert int(told.headers["content-length"]) == len(told.content)
        assert told.headers["warning"].startswith(f'299 consilium "{5 - len(left)} of 5 instances are left out')
        assert (told.headers["cache-control"], "etag" in told.headers) == ("no-store", False)
    for file in files[2:4]:
        await first.delete(original_key("demo", hashlib.sha256(file).hexdigest()))
    last = await client.get(url, headers=headers | {"Accept": f"{headers['Accept']}, application/dicom; q=0.9"})
    assert (last.status_code, len(parts(last))) == (206, 1), "the last one that is left does not pass for all"
    for file in files[1:2]:
        await first.delete(original_key("demo", hashlib.sha256(file).hexdigest()))
    assert is_told(await client.get(url, headers=headers))
    assert is_told(await client.get(url, headers=headers))
    body, media = multipart(files)
    assert (await client.post("/dicomweb/studies", content=body, headers={"Content-Type": media})).status_code == 200
    again = await client.get(url, headers=headers)
    assert (again.status_code, again.content.count(b"Content-Location"), again.headers["etag"]) == (
        200, 5, whole.headers["etag"],
    )  # fmt: skip


async def test_what_is_lost_while_it_is_sent_breaks_the_answer_off(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Status and headers have gone: nobody may take what came for the whole."""
    study = new_uid()
    files = [cine(StudyInstanceUID=study, InstanceNumber=n) for n in range(12)]
    await store(archive.client, *files)
    sure = ArchiveReader.sure
    last = original_key("demo", hashlib.sha256(files[-1]).hexdigest())

    async def lost_afterwards(reader: ArchiveReader, place: Place) -> None:
        await sure(reader, place)
        if place.key == last:
            await archive.first.delete(last)

    monkeypatch.setattr(ArchiveReader, "sure", lost_afterwards)
    cut = await archive.client.get(f"/dicomweb/studies/{study}", headers=STORED)
    assert (cut.status_code, len(cut.content) < int(cut.headers["content-length"])) == (200, True)
    assert not cut.content.endswith(b"--\r\n")
    assert await archive.marks() == {("first", "missing")}


async def test_a_large_instance_that_is_cut_short_does_not_begin(archive: Archive) -> None:
    study = new_uid()
    large, small = ct_instance(side=1800, StudyInstanceUID=study), ct_instance(side=8, StudyInstanceUID=study)
    large_path, _ = await store(archive.client, large, small)
    await archive.first.put(original_key("demo", hashlib.sha256(large).hexdigest()), large[:-10])
    found = await archive.client.get(f"/dicomweb/studies/{study}", headers=STORED)
    assert (found.status_code, [body for _, body in parts(found)]) == (206, [small])
    for suffix, accept in (("", "application/dicom"), ("", STORED["Accept"]), ("/bulkdata/7FE00010", "*/*")):
        assert is_told(await archive.client.get(large_path + suffix, headers={"Accept": accept}))


async def test_wado_uri_tells_the_operator_too(archive: Archive) -> None:
    file = cine()
    await store(archive.client, file)
    [key] = await archive.first.list("originals/")
    await archive.first.delete(key)
    study, series, sop = uids_of(file)
    url = f"/wado?requestType=WADO&studyUID={study}&seriesUID={series}&objectUID={sop}&contentType="
    for media in ("image/jpeg", "application/dicom"):
        assert is_told(await archive.client.get(url + media))
