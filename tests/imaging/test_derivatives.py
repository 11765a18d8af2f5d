"""HTJ2K derivatives (D4): made once, from the original alone, read by range, cut for slow links, and never half there."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import imagecodecs
import numpy as np
import pydicom
import pytest
from sqlalchemy import delete

from consilium_archive.derivatives import derivative_key
from consilium_archive.errors import NotArchived
from consilium_archive.reader import ArchiveReader, Place, Scope
from consilium_archive.removal import GRACE_S, doom, remove_doomed
from consilium_archive.stages import original_key
from consilium_archive.tables import instance
from consilium_core.clock import FakeClock
from consilium_core.errors import Invalid
from consilium_core.roles import Role
from consilium_dicom.encode import HTJ2K_RPCL
from consilium_imaging.derivatives import Derivatives, Rule, open_derivatives
from consilium_imaging.pictures import Pictures
from consilium_imaging.settings import ImagingSettings
from consilium_imaging.workers import Workers
from consilium_platform.platform import Platform
from consilium_testkit.archive_rooms import Door, archive_door, door_client
from consilium_testkit.instances import ct_instance, multipart, uids_of
from consilium_testkit.platforms import TENANT, bearer

JPHC = {"Accept": f"image/jphc; transfer-syntax={HTJ2K_RPCL}"}


async def store(client: httpx2.AsyncClient, file: bytes) -> Scope:
    body, media = multipart([file])
    sent = await client.post("/dicomweb/studies", content=body, headers={"Content-Type": media})
    assert sent.status_code == 200, sent.text
    return Scope(*uids_of(file))


def address(scope: Scope) -> str:
    return f"/dicomweb/studies/{scope.study_uid}/series/{scope.series_uid}/instances/{scope.sop_instance_uid}"


@dataclass
class Maker:
    """A maker of derivatives on a platform, beside the room's own."""

    derivatives: Derivatives
    reader: ArchiveReader

    async def place(self, scope: Scope) -> Place:
        [place] = await self.reader.places(TENANT, scope)
        return place


@asynccontextmanager
async def maker(platform: Platform, rule: Rule | None = None) -> AsyncIterator[Maker]:
    workers = Workers(2, 8)
    reader = ArchiveReader(platform.database, platform.blobs)
    pictures = Pictures(reader, workers, 0)
    try:
        async with open_derivatives(pictures, platform.blobs, platform.bus, rule or Rule()) as derivatives:
            yield Maker(derivatives, reader)
    finally:
        workers.close()


async def test_a_derivative_is_a_file_of_the_same_pixels_with_every_frame_in_its_table(
    any_platform: Platform, client: httpx2.AsyncClient, shared_data: Path
) -> None:
    data = (shared_data / "cine" / "dcm4che_US-PAL-8-10x-echo.dcm").read_bytes()
    scope = await store(client, data)
    async with maker(any_platform) as room:
        place = await room.place(scope)
        assert await room.derivatives.find(place) is None
        await room.derivatives.make(TENANT, place)
        found = await room.derivatives.find(place)
        assert found is not None
        file = await any_platform.blobs.get(derivative_key(place.key))
        told, own = pydicom.dcmread(io.BytesIO(file)), pydicom.dcmread(io.BytesIO(data))
        assert (told.file_meta.TransferSyntaxUID, told.SOPInstanceUID) == (HTJ2K_RPCL, own.SOPInstanceUID)
        assert np.array_equal(told.pixel_array, own.pixel_array)
        for number, frame in enumerate(pydicom.encaps.generate_frames(
            told.PixelData, number_of_frames=10, extended_offsets=(told.ExtendedOffsetTable, told.ExtendedOffsetTableLengths)
        )):  # fmt: skip
            [(offset, length)] = found[1].ranges(number)
            assert file[offset : offset + length] == frame[:length]
            assert len(frame) - length in (0, 1)


async def test_frames_come_from_it_by_one_range_read(
    platform: Platform, shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = (shared_data / "enhanced" / "emri_small.dcm").read_bytes()
    async with archive_door(platform) as door, door_client(door, bearer(platform, Role.ADMIN)) as client:
        scope = await store(client, data)
        made_for_me = await client.get(f"{address(scope)}/frames/3", headers=JPHC)
        async with maker(platform) as room:
            await room.derivatives.make(TENANT, await room.place(scope))
            key = derivative_key((await room.place(scope)).key)
    read: list[tuple[str, int]] = []
    get_range = platform.blobs.get_range

    async def counted(key: str, start: int, length: int) -> bytes:
        read.append((key, length))
        return await get_range(key, start, length)

    async with archive_door(platform) as door, door_client(door, bearer(platform, Role.ADMIN)) as client:
        first = await client.get(f"{address(scope)}/frames/3", headers=JPHC)
        monkeypatch.setattr(platform.blobs, "get_range", counted)
        again = await client.get(f"{address(scope)}/frames/4", headers=JPHC)
        assert first.content == made_for_me.content
        assert first.headers["etag"] == made_for_me.headers["etag"]
        assert read == [(key, len(again.content))]
        expected = pydicom.dcmread(io.BytesIO(data)).pixel_array
        assert np.array_equal(imagecodecs.htj2k_decode(again.content), expected[3])
        whole = await client.get(address(scope), headers={"Accept": f"application/dicom; transfer-syntax={HTJ2K_RPCL}"})
        assert np.array_equal(pydicom.dcmread(io.BytesIO(whole.content)).pixel_array, expected)
        part = await client.get(
            address(scope),
            headers={"Accept": f"application/dicom; transfer-syntax={HTJ2K_RPCL}", "Range": "bytes=0-199"},
        )
        assert (part.status_code, part.content) == (206, whole.content[:200])
        await platform.blobs.delete(key)
        gone = await client.get(f"{address(scope)}/frames/5", headers=JPHC)  # it can be made again at any time
        assert np.array_equal(imagecodecs.htj2k_decode(gone.content), expected[4])


async def test_a_slow_link_asks_for_fewer_resolutions(embedded: httpx2.AsyncClient) -> None:
    scope = await store(embedded, ct_instance(side=512))
    whole = await embedded.get(f"{address(scope)}/frames/1", headers=JPHC)
    sizes = []
    for levels in range(4):
        less = await embedded.get(f"{address(scope)}/frames/1?consilium-reduce={levels}", headers=JPHC)
        sizes.append(len(less.content))
        decoded = imagecodecs.htj2k_decode(less.content, skipres=levels)
        assert decoded.shape == (512 >> levels, 512 >> levels)
        assert np.array_equal(decoded, imagecodecs.htj2k_decode(whole.content, skipres=levels))
        named = "1.2.840.10008.1.2.4.203" if levels else HTJ2K_RPCL  # what leaves something out is not lossless
        assert less.headers["content-type"] == f"image/jphc; transfer-syntax={named}"
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[3] < sizes[0] / 8
    start = await embedded.get(f"{address(scope)}/frames/1", headers={**JPHC, "Range": f"bytes=0-{sizes[2]}"})
    assert start.content == whole.content[: sizes[2] + 1]
    for wrong in ("x", "-1", "33"):
        refused = await embedded.get(f"{address(scope)}/frames/1?consilium-reduce={wrong}", headers=JPHC)
        assert refused.status_code == 400


async def wait_for(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not await condition():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(("when", "made"), [("asked", True), ("stored", True), ("never", False)])
async def test_when_it_is_made_is_the_operators_choice(platform: Platform, when: str, made: bool) -> None:
    settings = ImagingSettings(derivatives=when)  # type: ignore[arg-type]
    async with (
        archive_door(platform, imaging=settings) as door,
        door_client(door, bearer(platform, Role.ADMIN)) as client,
    ):
        scope = await store(client, ct_instance(side=64))

        async def there() -> bool:
            return bool(await platform.blobs.list("derivatives/"))

        if when == "asked":
            assert not await there()
        if when != "stored":
            frame = await client.get(f"{address(scope)}/frames/1", headers=JPHC)
            assert frame.status_code == 200
        if made:
            await wait_for(there)
    assert await there() == made


async def test_two_makers_make_one_and_none_of_it_is_seen_before_it_is_whole(platform: Platform, door_of: Door) -> None:
    async with door_client(door_of, bearer(platform, Role.ADMIN)) as client:
        scope = await store(client, ct_instance(side=64))
    async with maker(platform) as first, maker(platform) as second:
        place = await first.place(scope)
        await asyncio.gather(*(room.derivatives.make(TENANT, place) for room in (first, second)))
        one = await platform.blobs.get(derivative_key(place.key))
        await platform.blobs.delete(derivative_key(place.key))
        first.derivatives.forget(place)
        await first.derivatives.make(TENANT, place)
        assert await platform.blobs.get(derivative_key(place.key)) == one
        assert await platform.blobs.list("derivatives/") == [derivative_key(place.key)]


async def test_a_maker_that_is_ended_in_the_middle_leaves_nothing(
    platform: Platform, door_of: Door, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with door_client(door_of, bearer(platform, Role.ADMIN)) as client:
        scope = await store(client, ct_instance(side=64))
    begun = asyncio.Event()

    async def never(*_: object) -> None:
        begun.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(platform.blobs, "put_file", never)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    async with maker(platform, Rule(scratch=scratch)) as room:
        room.derivatives.wish(TENANT, await room.place(scope))
        async with asyncio.timeout(20):
            await begun.wait()
    assert await platform.blobs.list("derivatives/") == []
    assert list(scratch.iterdir()) == []


async def test_no_derivative_outlives_its_original(
    any_platform: Platform, door: Door, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def remove(scope: Scope) -> None:
        gone = delete(instance).where(instance.c.sop_instance_uid == scope.sop_instance_uid)
        await any_platform.database.transact(lambda session: session.execute(gone))

    early, late = await store(client, ct_instance(side=32)), await store(client, ct_instance(side=32, seed=3))
    put_file = any_platform.blobs.put_file

    async def removed_meanwhile(key: str, path: Path, content_type: str = "") -> None:
        await remove(late)
        await put_file(key, path, content_type)

    async with maker(any_platform) as room:
        places = [await room.place(early), await room.place(late)]
        await room.derivatives.make(TENANT, places[0])
        await remove(early)
        doomed = partial(doom, tenant=TENANT, sha256=places[0].sha256, sop_instance_uid="", cause="test")
        await any_platform.database.transact(doomed)
        clock = FakeClock(datetime.now(UTC) + timedelta(seconds=GRACE_S + 1))
        assert (await remove_doomed(any_platform.database, any_platform.stores, clock)).purged == 1
        assert await any_platform.blobs.list("derivatives/") == []
        monkeypatch.setattr(any_platform.blobs, "put_file", removed_meanwhile)
        with pytest.raises(NotArchived):
            await room.derivatives.make(TENANT, places[1])
        assert await any_platform.blobs.list("derivatives/") == []


async def test_wishes_beyond_the_bound_are_dropped_and_made_later(platform: Platform, door_of: Door) -> None:
    async with door_client(door_of, bearer(platform, Role.ADMIN)) as client:
        scopes = [await store(client, ct_instance(side=16)) for _ in range(4)]
    async with maker(platform, Rule(queue=2)) as room:
        places = [await room.place(scope) for scope in scopes]
        for place in places:  # nothing is awaited in between: the maker has not begun
            room.derivatives.wish(TENANT, place)
        await room.derivatives.made()
        assert len(await platform.blobs.list("derivatives/")) == 2
        for place in places:
            room.derivatives.wish(TENANT, place)
        await room.derivatives.made()
        assert len(await platform.blobs.list("derivatives/")) == 4


async def test_what_has_lost_something_or_has_no_such_form_gets_none(
    platform: Platform, door_of: Door, shared_data: Path
) -> None:
    names = ("cine/examples_ybr_color.dcm", "other/liver_1frame.dcm", "other/test-SR.dcm")
    async with door_client(door_of, bearer(platform, Role.ADMIN)) as client:
        scopes = [await store(client, (shared_data / name).read_bytes()) for name in names]
    async with maker(platform) as room:
        for scope in scopes:
            room.derivatives.wish(TENANT, await room.place(scope))
        await room.derivatives.made()
    assert await platform.blobs.list("derivatives/") == []


def test_keys_name_the_tenant_and_the_hash() -> None:
    key = derivative_key(original_key("demo", "ab" * 32))
    assert key == f"derivatives/demo/ab/{'ab' * 32}.htj2k-1.dcm"
    with pytest.raises(Invalid):
        derivative_key("captures/x.dcm")
