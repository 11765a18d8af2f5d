"""STOW-RS of metadata and bulk data: what WADO-RS gave is taken back equal; every instance gets its own answer (PS3.18 10.5)."""

from __future__ import annotations

import base64
import email.policy
import json
from collections.abc import Iterator
from email import message_from_bytes
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.encaps import generate_frames

from consilium_core.roles import Role
from consilium_dicom.json_read import bulk_uris
from consilium_ingest.settings import IngestSettings
from consilium_platform.platform import Platform
from consilium_testkit.archive_rooms import Door, archive_door, door_client
from consilium_testkit.instances import ct_instance, uids_of
from consilium_testkit.platforms import bearer

Part = tuple[dict[str, str], bytes]
OCTETS = "application/octet-stream"
KEPT_BYTES = frozenset({"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"})


def body_of(metadata: Any, parts: list[Part], boundary: str = "consilium-test") -> tuple[bytes, str]:
    """Return (body, content type) of a request."""
    text = metadata if isinstance(metadata, bytes) else json.dumps(metadata).encode()
    whole: list[Part] = [({"Content-Type": "application/dicom+json"}, text), *parts]
    pieces = []
    for fields, content in whole:
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        pieces.append(f"--{boundary}\r\n{head}\r\n".encode() + content + b"\r\n")
    body = b"".join(pieces) + f"--{boundary}--\r\n".encode()
    return body, f'multipart/related; type="application/dicom+json"; boundary={boundary}'


async def stow(client: httpx2.AsyncClient, metadata: Any, parts: list[Part]) -> httpx2.Response:
    body, media = body_of(metadata, parts)
    return await client.post("/dicomweb/studies", content=body, headers={"Content-Type": media})


def split(response: httpx2.Response) -> Iterator[tuple[str, bytes]]:
    """Yield (content type, bytes) of each part that WADO-RS sent, read by Python's own e-mail parser."""
    head = f"Content-Type: {response.headers['content-type']}\r\n\r\n".encode()
    for part in message_from_bytes(head + response.content, policy=email.policy.HTTP).walk():
        if not part.is_multipart():
            payload = part.get_payload(decode=True)
            assert isinstance(payload, bytes)
            yield str(part["content-type"]), payload


async def as_metadata(client: httpx2.AsyncClient, file: bytes) -> tuple[str, dict[str, Any], list[Part]]:
    """Store a file; return its address, its metadata and its bulk data as WADO-RS gives them."""
    sent = await client.post("/dicomweb/studies", content=file, headers={"Content-Type": "application/dicom"})
    assert sent.status_code in (200, 202), sent.text
    path = httpx2.URL(sent.json()["00081199"]["Value"][0]["00081190"]["Value"][0]).path
    [instance] = (await client.get(f"{path}/metadata")).json()
    parts: list[Part] = []
    for _, _, uri in bulk_uris(instance):
        accept = {"Accept": 'multipart/related; type="*/*"; transfer-syntax=*'}
        response = await client.get(uri, headers=accept)
        assert response.status_code == 200, response.text
        parts += [({"Content-Type": media, "Content-Location": uri}, content) for media, content in split(response)]
    return path, instance, parts


async def refused(client: httpx2.AsyncClient, file: bytes) -> bool:
    """Tell whether the archive takes the file at all: some samples have no study, or a patient another has."""
    sent = await client.post("/dicomweb/studies", content=file, headers={"Content-Type": "application/dicom"})
    return sent.status_code not in (200, 202)  # 202: stored with a warning


def failed(response: httpx2.Response) -> list[tuple[int, str]]:
    items = response.json()["00081198"]["Value"]
    return [(item["00081197"]["Value"][0], item["00091002"]["Value"][0]) for item in items]


def frames_of(file: bytes) -> list[bytes]:
    """Return the code streams, or the samples' bytes, as pydicom finds them."""
    ds = dcmread(BytesIO(file))
    if str(ds.file_meta.TransferSyntaxUID) in KEPT_BYTES:
        return [np.asarray(ds.pixel_array).astype("<i4").tobytes()]
    count = int(ds.get("NumberOfFrames", 1))
    return [frame.rstrip(b"\0") for frame in generate_frames(ds.PixelData, number_of_frames=count)]


async def test_what_wado_gives_of_real_files_is_taken_back_equal(platform: Platform, shared_data: Path) -> None:
    names = [
        *sorted((shared_data / "transfer_syntaxes").glob("*.dcm")), *sorted((shared_data / "other").glob("*.dcm")),
        shared_data / "cine" / "examples_ybr_color.dcm", shared_data / "cine" / "OBXXXX1A_rle_2frame.dcm",
        shared_data / "enhanced" / "emri_small.dcm", shared_data / "charsets" / "chrH31.dcm",
    ]  # fmt: skip
    taken = 0
    async with archive_door(platform) as door:
        there = door_client(door, bearer(platform, Role.ADMIN))
        again = door_client(door, bearer(platform, Role.ADMIN, tenant="other"))
        async with there as client, again as other:
            seen: set[str] = set()
            for name in names:
                file = name.read_bytes()
                uid = str(dcmread(BytesIO(file), stop_before_pixels=True, force=True).get("SOPInstanceUID", ""))
                if not uid or uid in seen:
                    continue
                seen.add(uid)
                if await refused(client, file):
                    continue
                path, instance, parts = await as_metadata(client, file)
                answer = await stow(other, [instance], parts)
                assert answer.status_code == 200, (name.name, answer.text)
                made = (await other.get(path, headers={"Accept": "application/dicom; transfer-syntax=*"})).content
                [mine] = (await other.get(f"{path}/metadata")).json()
                anew = {"00080005", "7FE00001", "7FE00002", "7FE00010"}
                assert {k: v for k, v in mine.items() if k not in anew} == {
                    k: v for k, v in instance.items() if k not in anew
                }, name.name
                if "PixelData" in dcmread(BytesIO(file), force=True):
                    assert frames_of(made) == frames_of(file), name.name
                taken += 1
    assert taken > 20


async def test_good_and_bad_instances_get_their_own_answers(
    client: httpx2.AsyncClient, door: Door, any_platform: Platform
) -> None:
    async with door_client(door, bearer(any_platform, Role.ADMIN, tenant="other")) as other:
        files = [ct_instance(side=16, InstanceNumber=n) for n in range(4)]
        made = [await as_metadata(client, file) for file in files]
        parts = [part for _, _, mine in made for part in mine]
        instances = [instance for _, instance, _ in made]
        del parts[1]  # its bulk data is not there
        parts[1] = (parts[1][0], parts[1][1][:-2])  # its pixel data is short
        instances[3]["00280010"] = {"vr": "US", "Value": ["many"]}
        answer = await stow(other, instances, parts)
        assert answer.status_code == 202
        assert answer.json()["00081199"]["Value"][0]["00081155"]["Value"] == [uids_of(files[0])[2]]
        assert failed(answer) == [
            (0xA900, "bulk-data-missing"), (0xA900, "pixel-data-short"), (0xC000, "metadata-invalid")
        ]  # fmt: skip
        uids = [item["00081155"]["Value"][0] for item in answer.json()["00081198"]["Value"]]
        assert uids == [uids_of(file)[2] for file in files[1:]]
        assert (await other.get("/dicomweb/instances")).headers["X-Total-Count"] == "1"
        again = await stow(other, instances[:1], parts[:1])
        assert again.status_code == 200  # the same metadata makes the same bytes
    entries = await any_platform.audit.search("other", action="instance.store")
    assert "stored 1, refused 3: bulk-data-missing, instance-rejected, metadata-invalid" in {
        one["detail"] for one in entries
    }
    failures = " ".join(str(one["detail"]) for one in entries if one["outcome"] == "failure")
    for file, code in zip(files[1:], ("bulk-data-missing", "pixel-data-short", "metadata-invalid"), strict=True):
        assert f"{uids_of(file)[2]} {code}" in failures


async def test_values_may_stand_inside_and_be_named_by_content_id(client: httpx2.AsyncClient) -> None:
    file = dcmread(BytesIO(ct_instance(side=16)))
    pixels = bytes(file.PixelData)
    del file.PixelData
    for value in ({"InlineBinary": base64.b64encode(pixels).decode()}, {"BulkDataURI": "cid:pixels@here"}):
        file.SOPInstanceUID = f"{file.StudyInstanceUID}.{len(value)}{len(str(value))}"
        instance = {**file.to_json_dict(), "7FE00010": {"vr": "OW", **value}}
        parts = [({"Content-Type": OCTETS, "Content-ID": "<pixels@here>"}, pixels)] if "BulkDataURI" in value else []
        answer = await stow(client, [instance], parts)
        assert answer.status_code == 200, answer.text
        path = httpx2.URL(answer.json()["00081199"]["Value"][0]["00081190"]["Value"][0]).path
        made = dcmread(BytesIO((await client.get(path, headers={"Accept": "application/dicom"})).content))
        assert made.PixelData == pixels
        assert made.PatientName == file.PatientName


@pytest.mark.parametrize(
    ("media", "status", "code"),
    [
        ("image/jpeg", 200, ""),  # its own frame header says baseline
        ("image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.50", 200, ""),
        ("image/jls", 409, "frame-undecodable"),
        ("image/jpeg; transfer-syntax=1.2.840.10008.1.2.2", 409, "transfer-syntax-unclear"),
        ("image/jpeg; transfer-syntax=nonsense", 409, "transfer-syntax-unclear"),
        ("image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.66", 409, "transfer-syntax-unknown"),
        (OCTETS, 409, "pixel-data-short"),
    ],
)
async def test_the_parts_media_type_says_how_pixels_are_encoded(
    platform: Platform, shared_data: Path, media: str, status: int, code: str
) -> None:
    async with archive_door(platform) as door:
        there = door_client(door, bearer(platform, Role.ADMIN))
        again = door_client(door, bearer(platform, Role.ADMIN, tenant="other"))
        async with there as client, again as other:
            _, instance, parts = await as_metadata(
                client, (shared_data / "cine" / "examples_ybr_color.dcm").read_bytes()
            )
            assert len(parts) == 30
            given = [({**fields, "Content-Type": media}, content) for fields, content in parts]
            if media == OCTETS:
                given = given[:1]
            answer = await stow(other, [instance], given)
    assert answer.status_code == status, answer.text
    if code:
        assert failed(answer)[0][1] == code


@pytest.mark.parametrize(
    ("metadata", "parts", "status", "code"),
    [
        (b"no json", [], 400, "multipart-invalid"),
        (b"[]", [], 400, "multipart-invalid"),
        (b"[" * 50_000, [], 400, "multipart-invalid"),
        (b'[{"00080018": {"vr": "UI", "Value": ["1.2.3"]}}]', [], 400, "nothing-readable"),
        ([{}], [({"Content-Type": OCTETS, "Content-Location": "x"}, b"nobody's")], 400, "multipart-invalid"),
        ([{}], [({"Content-Type": OCTETS}, b"nameless")], 400, "multipart-invalid"),
        ([{}], [({"Content-Type": "application/dicom"}, b"DICM")], 400, "multipart-invalid"),
        ([{}], [({"Content-Type": OCTETS, "Content-Location": "x", "Content-Length": "7"}, b"12345678")], 400, "multipart-invalid"),
        (b'"' + b"x" * (33 << 20) + b'"', [], 413, "object-too-large"),
    ],
)  # fmt: skip
async def test_a_request_that_is_none_is_refused_with_its_cause(
    platform: Platform, metadata: Any, parts: list[Part], status: int, code: str
) -> None:
    async with archive_door(platform) as door, door_client(door, bearer(platform, Role.OPERATOR)) as client:
        response = await stow(client, metadata, parts)
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert list((platform.settings.data_dir / "spool").iterdir()) == []


async def test_large_bulk_data_goes_through_the_spool_and_leaves_nothing(platform: Platform) -> None:
    small = IngestSettings.load(spool_above_bytes=1 << 16, memory_bytes=1 << 20, max_object_bytes=1 << 20)
    async with archive_door(platform, ingest=small) as door:
        there = door_client(door, bearer(platform, Role.ADMIN))
        again = door_client(door, bearer(platform, Role.ADMIN, tenant="other"))
        async with there as client, again as other:
            made = [await as_metadata(client, ct_instance(side=512)) for _ in range(2)]
            path, instance, parts = made[0]
            assert (await stow(other, [instance], parts)).status_code == 200
            assert (await other.get(path, headers={"Accept": "application/dicom"})).status_code == 200
            both = await stow(other, [made[0][1], made[1][1]], made[0][2] + made[1][2])
            assert both.status_code == 413  # the whole request may be as large as one object
    assert list((platform.settings.data_dir / "spool").iterdir()) == []
