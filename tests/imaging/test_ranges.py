"""Parts of single-part answers: Range, If-Range, 206, 416 (RFC 9110 14); bulk data is read by its place alone."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pydicom
import pytest
import pytest_asyncio

from consilium_core.ids import new_uid
from consilium_core.roles import Role
from consilium_platform.platform import Platform
from consilium_testkit.archive_rooms import archive_door, door_client
from consilium_testkit.instances import ct_instance, multipart, uids_of
from consilium_testkit.platforms import bearer

ORIGINAL = {"Accept": "application/dicom"}
OCTETS = {"Accept": "application/octet-stream"}


async def store(client: httpx2.AsyncClient, file: bytes) -> str:
    body, media = multipart([file])
    sent = await client.post("/dicomweb/studies", content=body, headers={"Content-Type": media})
    assert sent.status_code == 200, sent.text
    return "/dicomweb/studies/{}/series/{}/instances/{}".format(*uids_of(file))


async def test_parts_of_an_original_a_frame_and_a_value(client: httpx2.AsyncClient) -> None:
    file = ct_instance(side=64)
    path = await store(client, file)
    pixels = file[-64 * 64 * 2 :]
    for suffix, accept, whole in (
        ("", ORIGINAL, file),
        ("/frames/1", OCTETS, pixels),
        ("/bulkdata/7FE00010", OCTETS, pixels),
    ):
        size = len(whole)
        full = await client.get(path + suffix, headers=accept)
        assert (full.status_code, full.content, full.headers["accept-ranges"]) == (200, whole, "bytes")
        tag = full.headers["etag"]
        for asked, start, stop in (
            ("bytes=0-0", 0, 1),
            ("bytes=10-99", 10, 100),
            ("bytes=-5", size - 5, size),
            (f"bytes={size - 3}-", size - 3, size),
            ("bytes=7-99999999", 7, size),
            ("bytes=-99999999", 0, size),
        ):
            part = await client.get(path + suffix, headers={**accept, "Range": asked})
            assert (part.status_code, part.content) == (206, whole[start:stop]), (suffix, asked)
            assert part.headers["content-range"] == f"bytes {start}-{stop - 1}/{size}"
            assert part.headers["content-length"] == str(stop - start)
            assert part.headers["etag"] == tag
        for asked in ("bytes=9-3", "lines=1-2", "bytes=0-1,4-5", "bytes=-", "bytes=x-1"):
            ignored = await client.get(path + suffix, headers={**accept, "Range": asked})
            assert (ignored.status_code, ignored.content) == (200, whole), asked
        for asked in (f"bytes={size}-", "bytes=-0"):
            behind = await client.get(path + suffix, headers={**accept, "Range": asked})
            assert (behind.status_code, behind.headers["content-range"]) == (416, f"bytes */{size}")
            assert behind.json()["code"] == "range-not-satisfiable"


async def test_if_range_gives_a_part_of_the_same_and_the_whole_of_another(embedded: httpx2.AsyncClient) -> None:
    file = ct_instance(side=16)
    path = await store(embedded, file)
    tag = (await embedded.get(path, headers=ORIGINAL)).headers["etag"]
    wanted = {**ORIGINAL, "Range": "bytes=0-3"}
    assert (await embedded.get(path, headers={**wanted, "If-Range": tag})).status_code == 206
    for other in ('"other"', f"W/{tag}", "Wed, 21 Oct 2026 07:28:00 GMT"):
        whole = await embedded.get(path, headers={**wanted, "If-Range": other})
        assert (whole.status_code, whole.content) == (200, file)
    same = await embedded.get(path, headers={**wanted, "If-None-Match": tag})
    assert same.status_code == 304


@pytest_asyncio.fixture
async def counted(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[httpx2.AsyncClient, list[int]]]:
    """Yield a client, and the lengths of what is read from the store for it."""
    read: list[int] = []
    get, get_range = platform.blobs.get, platform.blobs.get_range

    async def counted_get(key: str) -> bytes:
        data = await get(key)
        read.append(len(data))
        return data

    async def counted_range(key: str, start: int, length: int) -> bytes:
        data = await get_range(key, start, length)
        read.append(len(data))
        return data

    async with archive_door(platform) as door, door_client(door, bearer(platform, Role.ADMIN)) as client:
        monkeypatch.setattr(platform.blobs, "get", counted_get)
        monkeypatch.setattr(platform.blobs, "get_range", counted_range)
        yield client, read


async def test_a_part_of_a_large_value_is_all_that_is_read(counted: tuple[httpx2.AsyncClient, list[int]]) -> None:
    client, read = counted
    file = ct_instance(side=1024)
    path = await store(client, file)
    read.clear()
    for suffix, accept in (("", ORIGINAL), ("/bulkdata/7FE00010", OCTETS)):
        part = await client.get(path + suffix, headers={**accept, "Range": "bytes=1000-1999"})
        assert len(part.content) == 1000
    assert sum(read) <= 70_000


@pytest.mark.parametrize(
    "syntax",
    [
        "BigEndianExplicitTransferSyntax_1.2.840.10008.1.2.2",
        "DeflatedExplicitVRLittleEndianTransferSyntax_1.2.840.10008.1.2.1.99",
    ],
)
async def test_pixels_of_odd_encodings_are_little_endian_bulk_data(
    embedded: httpx2.AsyncClient, shared_data: Path, syntax: str
) -> None:
    file = (shared_data / "transfer_syntaxes" / f"CTImage.dcm_{syntax}.dcm").read_bytes()
    path = await store(embedded, file)
    value = await embedded.get(f"{path}/bulkdata/7FE00010", headers=OCTETS)
    pixels = pydicom.dcmread(io.BytesIO(file)).pixel_array
    assert value.content == pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()


async def test_a_value_inside_a_sequence_and_a_document(embedded: httpx2.AsyncClient) -> None:
    item = pydicom.Dataset()
    item.add_new(0x00420011, "OB", b"%PDF" + b"x" * 300_000)
    file = ct_instance(side=8, StudyInstanceUID=new_uid(), ReferencedImageSequence=[pydicom.Dataset(), item])
    path = await store(embedded, file)
    value = await embedded.get(f"{path}/bulkdata/00081140/1/00420011", headers={**OCTETS, "Range": "bytes=0-3"})
    assert value.content == b"%PDF"
    missing = await embedded.get(f"{path}/bulkdata/00081140/1/00420012", headers=OCTETS)
    assert missing.status_code == 400
