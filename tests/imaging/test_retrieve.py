"""WADO-RS on either world: originals, metadata, frames, caching, negotiation (PS3.18 10.4)."""

from __future__ import annotations

import zlib
from typing import Any

import httpx2
import numpy as np
import pytest

from consilium_core.ids import new_uid
from consilium_core.roles import Role
from consilium_platform.platform import Platform
from consilium_testkit.archive_rooms import Door, door_client
from consilium_testkit.instances import ct_instance, multipart, uids_of
from consilium_testkit.platforms import bearer


async def store(client: httpx2.AsyncClient, *files: bytes) -> list[str]:
    body, media = multipart(list(files))
    sent = await client.post("/dicomweb/studies", content=body, headers={"Content-Type": media})
    assert sent.status_code == 200, sent.text
    found = []
    for file in files:
        study, series, sop = uids_of(file)
        found.append(f"/dicomweb/studies/{study}/series/{series}/instances/{sop}")
    return found


def parts(response: httpx2.Response) -> list[tuple[str, bytes]]:
    """Return (content type, body) of each part, split as a stranger would: by the boundary alone."""
    boundary = response.headers["content-type"].split("boundary=")[1].encode()
    found = []
    for chunk in response.content.split(b"\r\n--" + boundary)[1:-1]:
        head, _, body = chunk.partition(b"\r\n\r\n")
        lines = dict(line.split(": ", 1) for line in head.decode().strip().splitlines())
        found.append((lines["Content-Type"], body))
    assert response.content.endswith(b"\r\n--" + boundary + b"--\r\n")
    return found


async def test_study_series_and_instance_come_back_byte_for_byte(client: httpx2.AsyncClient) -> None:
    study, series = new_uid(), [new_uid(), new_uid()]
    files = [
        ct_instance(side=16, StudyInstanceUID=study, SeriesInstanceUID=series[n % 2], InstanceNumber=n)
        for n in range(4)
    ]
    paths = await store(client, *files)
    everything = await client.get(f"/dicomweb/studies/{study}")
    assert everything.headers["content-type"].startswith('multipart/related; type="application/dicom"')
    assert int(everything.headers["content-length"]) == len(everything.content)
    assert {body for _, body in parts(everything)} == set(files)
    one_series = await client.get(f"/dicomweb/studies/{study}/series/{series[0]}")
    assert [body for _, body in parts(one_series)] == [files[0], files[2]]
    accept = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
    assert parts(await client.get(paths[1], headers=accept)) == [
        ("application/dicom; transfer-syntax=1.2.840.10008.1.2.1", files[1])
    ]
    alone = await client.get(paths[1], headers={"Accept": "application/dicom"})
    assert alone.content == files[1]


async def test_metadata_is_the_same_packed_and_plain(client: httpx2.AsyncClient) -> None:
    study = new_uid()
    files = [ct_instance(side=8, StudyInstanceUID=study, InstanceNumber=n, PatientID="P1") for n in range(3)]
    paths = await store(client, *files)
    plain = await client.get(f"/dicomweb/studies/{study}/metadata", headers={"Accept-Encoding": "identity"})
    packed = await client.get(f"/dicomweb/studies/{study}/metadata", headers={"Accept-Encoding": "gzip, deflate"})
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "deflate"
    assert packed.json() == plain.json()
    assert len(plain.json()) == 3
    [one] = (await client.get(f"{paths[0]}/metadata")).json()
    assert one["00100010"]["Value"] == [{"Alphabetic": "Wang^Xiaodong", "Ideographic": "王^小东"}]
    bulk = one["7FE00010"]["BulkDataURI"]
    pixels = await client.get(bulk, headers={"Accept": "application/octet-stream"})
    assert pixels.content == files[0][-128:]
    again = await client.get(f"{paths[0]}/metadata", headers={"If-None-Match": packed.headers["etag"]})
    assert again.status_code == 200
    same = await client.get(f"/dicomweb/studies/{study}/metadata", headers={"If-None-Match": packed.headers["etag"]})
    assert (same.status_code, same.content) == (304, b"")


async def test_native_frames_alone_in_parts_and_from_the_cache(client: httpx2.AsyncClient) -> None:
    pixels = np.arange(3 * 64, dtype="<u2")
    [path] = await store(client, ct_instance(side=8, NumberOfFrames=3, PixelData=pixels.tobytes()))
    frames = [pixels[n * 64 : (n + 1) * 64].tobytes() for n in range(3)]
    some = await client.get(f"{path}/frames/3,1")
    assert parts(some) == [
        ("application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1", frames[2]),
        ("application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1", frames[0]),
    ]
    alone = await client.get(f"{path}/frames/2", headers={"Accept": "application/octet-stream; transfer-syntax=*"})
    assert alone.content == frames[1]
    assert alone.headers["cache-control"] == "private, max-age=31536000, immutable"
    cached = await client.get(
        f"{path}/frames/2",
        headers={"Accept": "application/octet-stream; transfer-syntax=*", "If-None-Match": alone.headers["etag"]},
    )
    assert (cached.status_code, cached.content) == (304, b"")
    for wrong, status in (("4", 404), ("0", 400), ("x", 400), ("1,9", 404), ("1,,2", 400)):
        assert (await client.get(f"{path}/frames/{wrong}")).status_code == status


@pytest.mark.parametrize(
    ("path", "accept"),
    [
        ("", "text/html"),
        ("", 'multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.4.50'),
        ("/metadata", "application/dicom+xml"),
        ("/frames/1", "image/jxl"),
        ("/frames/1", 'multipart/related; type="video/mp4"'),
        ("/rendered", "image/gif"),
    ],
)
async def test_what_cannot_be_given_is_refused_with_what_can(
    embedded: httpx2.AsyncClient, path: str, accept: str
) -> None:
    [instance] = await store(embedded, ct_instance(side=8))
    refused = await embedded.get(instance + path, headers={"Accept": accept})
    assert refused.status_code == 406
    assert refused.json()["offered"]


async def test_rendered_pictures_follow_window_viewport_and_quality(embedded: httpx2.AsyncClient) -> None:
    import cv2

    [path] = await store(embedded, ct_instance(side=64))

    async def picture(query: str, accept: str = "image/png") -> Any:
        answer = await embedded.get(f"{path}/{query}", headers={"Accept": accept})
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == accept
        return cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_UNCHANGED)

    stored = np.arange(64 * 64).reshape(64, 64) % 4096 - 1024.0
    # PS3.3 C.11.2.1.2.1: the linear function of center 500, width 1000
    expected = np.clip(((stored - 499.5) / 999.0 + 0.5) * 255, 0, 255)
    drawn = await picture("rendered?window=500,1000,linear")
    assert np.abs(drawn.astype(float) - expected).max() <= 1
    assert (await picture("frames/1/rendered?window=500,1000,linear") == drawn).all()
    assert (await picture("rendered?viewport=16,32", "image/jpeg")).shape == (16, 16)
    assert (await picture("thumbnail", "image/jpeg")).shape == (64, 64)
    small = await embedded.get(f"{path}/rendered?quality=10")
    large = await embedded.get(f"{path}/rendered?quality=95")
    assert len(small.content) < len(large.content)
    for wrong in ("window=1", "window=1,0", "window=a,b", "window=1,2,cubic", "viewport=0,5", "quality=0", "quality=x"):
        assert (await embedded.get(f"{path}/rendered?{wrong}")).status_code == 400


async def test_another_tenant_finds_nothing(any_platform: Platform, door: Door, client: httpx2.AsyncClient) -> None:
    [path] = await store(client, ct_instance(side=8))
    study = path.split("/series")[0]
    async with door_client(door, bearer(any_platform, Role.SPECIALIST, tenant="other")) as stranger:
        for suffix in ("", "/metadata", "/frames/1", "/rendered", "/thumbnail", "/bulkdata/7FE00010"):
            assert (await stranger.get(path + suffix)).status_code == 404
        for suffix in ("", "/metadata", "/thumbnail"):
            assert (await stranger.get(study + suffix)).status_code == 404
        assert (await stranger.get("/dicomweb/studies")).json() == []
        assert (await stranger.get("/api/v1/imaging/worklist")).json() == {"items": [], "next_cursor": None}


async def test_a_path_must_name_one_instance_in_its_own_series_and_study(embedded: httpx2.AsyncClient) -> None:
    first, second = await store(embedded, ct_instance(side=8), ct_instance(side=8))
    crossed = first.split("/instances")[0] + "/instances" + second.split("/instances")[1]
    assert (await embedded.get(crossed)).status_code == 404
    assert (await embedded.get(f"{crossed}/frames/1")).status_code == 404


async def test_deflate_is_what_zlib_says_it_is(embedded: httpx2.AsyncClient) -> None:
    [path] = await store(embedded, ct_instance(side=8))
    async with embedded.stream("GET", f"{path}/metadata", headers={"Accept-Encoding": "deflate"}) as answer:
        raw = b"".join([chunk async for chunk in answer.aiter_raw()])
    assert zlib.decompress(raw).startswith(b'[{"')
