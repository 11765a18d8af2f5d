"""STOW-RS: every object gets its own answer, nothing is acknowledged before it is durable (PS3.18 10.5)."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import httpx2
import pytest

from consilium_core.ids import new_uid
from consilium_core.roles import Role
from consilium_ingest.settings import IngestSettings
from consilium_platform.platform import Platform
from consilium_testkit.archive_rooms import Door, archive_door, door_client
from consilium_testkit.instances import ct_instance, multipart, uids_of
from consilium_testkit.platforms import bearer


async def stow(client: httpx2.AsyncClient, files: list[bytes], study: str = "") -> httpx2.Response:
    body, media = multipart(files)
    path = f"/dicomweb/studies/{study}" if study else "/dicomweb/studies"
    return await client.post(path, content=body, headers={"Content-Type": media})


def items(response: httpx2.Response, tag: str) -> list[dict[str, Any]]:
    return list(response.json().get(tag, {}).get("Value", []))


def value(item: dict[str, Any], tag: str) -> Any:
    return item[tag]["Value"][0]


async def test_several_objects_are_stored_and_can_be_read_back(client: httpx2.AsyncClient) -> None:
    files = [ct_instance(side=16, InstanceNumber=n) for n in range(3)]
    response = await stow(client, files)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/dicom+json"
    assert [value(item, "00081155") for item in items(response, "00081199")] == [uids_of(file)[2] for file in files]
    for item, file in zip(items(response, "00081199"), files, strict=True):
        url = httpx2.URL(value(item, "00081190")).path
        read = await client.get(url, headers={"Accept": "application/dicom"})
        assert read.content == file


async def test_good_and_bad_in_one_request_answer_202_and_name_the_cause(client: httpx2.AsyncClient) -> None:
    good, cut = ct_instance(side=16), ct_instance(side=64)[:-500]
    response = await stow(client, [b"garbage" * 50, good, cut])
    assert response.status_code == 202
    assert [value(item, "00081155") for item in items(response, "00081199")] == [uids_of(good)[2]]
    [garbage], [truncated] = items(response, "0008119A"), items(response, "00081198")
    assert value(garbage, "00081197") == 0xC000
    assert value(truncated, "00081197") == 0xA900
    assert value(truncated, "00091002") == "pixel-data-truncated"
    assert "pixel data ends after" in value(truncated, "00091001")
    assert value(truncated, "00081155") != ""


async def test_truncated_pixel_data_alone_is_refused_and_not_listed(client: httpx2.AsyncClient) -> None:
    response = await stow(client, [ct_instance(side=64)[:-2]])
    assert response.status_code == 409
    assert len(items(response, "00081198")) == 1
    assert (await client.get("/dicomweb/instances")).json() == []


async def test_an_object_sent_twice_is_stored_once_and_acknowledged_twice(client: httpx2.AsyncClient) -> None:
    file = ct_instance(side=16)
    for _ in range(2):
        assert (await stow(client, [file])).status_code == 200
    assert (await stow(client, [file, file])).status_code == 200
    assert (await client.get("/dicomweb/instances")).headers["X-Total-Count"] == "1"


async def test_other_content_under_a_known_uid_is_a_conflict(client: httpx2.AsyncClient) -> None:
    uid = new_uid()
    assert (await stow(client, [ct_instance(side=16, SOPInstanceUID=uid)])).status_code == 200
    response = await stow(client, [ct_instance(side=16, SOPInstanceUID=uid, seed=9)])
    assert response.status_code == 409
    [failed] = items(response, "00081198")
    assert value(failed, "00081197") == 0x0111
    assert value(failed, "00091002") == "instance-conflict"
    assert value(failed, "00081155") == uid


async def test_an_object_of_another_study_than_the_path_names_is_refused(client: httpx2.AsyncClient) -> None:
    file = ct_instance(side=16)
    assert (await stow(client, [file], new_uid())).status_code == 409
    assert (await stow(client, [file], uids_of(file)[0])).status_code == 200


async def test_a_single_object_may_be_the_whole_body(client: httpx2.AsyncClient) -> None:
    file = ct_instance(side=16)
    sent = await client.post("/dicomweb/studies", content=file, headers={"Content-Type": "application/dicom"})
    assert sent.status_code == 200


@pytest.mark.parametrize(
    ("body", "media", "status", "code"),
    [
        (b"x", "text/plain", 415, "unsupported-media-type"),
        (b"x", 'multipart/related; type="application/dicom+xml"; boundary=b', 415, "unsupported-media-type"),
        (b"x", 'multipart/related; type="application/dicom"', 400, "multipart-invalid"),
        (b"--b--\r\n", 'multipart/related; type="application/dicom"; boundary=b', 400, "multipart-invalid"),
        (b"nonsense", 'multipart/related; type="application/dicom"; boundary=b', 400, "multipart-invalid"),
        (
            b"--b\r\nContent-Type: application/dicom\r\n\r\nabc",
            "multipart/related; boundary=b",
            400,
            "multipart-invalid",
        ),
        (b"garbage" * 99, "application/dicom", 400, "nothing-readable"),
        (b"", "application/dicom", 400, "nothing-readable"),
    ],
)
async def test_a_request_that_is_no_store_request_is_refused_with_its_cause(
    platform: Platform, body: bytes, media: str, status: int, code: str
) -> None:
    async with archive_door(platform) as door, door_client(door, bearer(platform, Role.OPERATOR)) as client:
        response = await client.post("/dicomweb/studies", content=body, headers={"Content-Type": media})
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["code"] == code


async def test_an_unfinished_body_acknowledges_and_audits_what_was_whole_and_nothing_else(
    any_platform: Platform, client: httpx2.AsyncClient
) -> None:
    files = [ct_instance(side=16, PatientID=patient) for patient in ("P1", "P2", "P1", "P3")]
    body, media = multipart(files)
    cut = body[: len(body) - len(files[-1]) // 2]
    response = await client.post("/dicomweb/studies", content=cut, headers={"Content-Type": media})
    assert response.status_code == 202
    whole = [uids_of(file) for file in files[:3]]
    assert [value(item, "00081155") for item in items(response, "00081199")] == [sop for _, _, sop in whole]
    [rest] = items(response, "0008119A")
    assert value(rest, "00091002") == "multipart-invalid"
    listed = (await client.get("/dicomweb/instances")).json()
    assert {value(item, "00080018") for item in listed} == {sop for _, _, sop in whole}
    entries = await any_platform.audit.search("demo", action="instance.store")
    assert {(entry["outcome"], entry["patient_id"], entry["subject"], entry["detail"]) for entry in entries} == {
        ("success", "P1", " ".join(sorted((whole[0][0], whole[2][0]))), "stored 2, refused 1: multipart-invalid"),
        ("success", "P2", whole[1][0], "stored 1, refused 1: multipart-invalid"),
    }


async def test_an_oversized_later_part_does_not_hide_what_was_stored_before_it(platform: Platform) -> None:
    small = IngestSettings.load(max_object_bytes=1 << 20)
    async with archive_door(platform, ingest=small) as door, door_client(door, bearer(platform, Role.ADMIN)) as client:
        first = ct_instance(side=16)
        response = await stow(client, [first, ct_instance(side=1024)])
    assert response.status_code == 202
    assert [value(item, "00081155") for item in items(response, "00081199")] == [uids_of(first)[2]]
    [rest] = items(response, "0008119A")
    assert (value(rest, "00091002"), value(rest, "00081197")) == ("object-too-large", 0xA700)
    [entry] = await platform.audit.search("demo", action="instance.store")
    assert (entry["patient_id"], entry["subject"]) == ("P1", uids_of(first)[0])


async def test_who_may_store_and_what_is_audited(any_platform: Platform, door: Door) -> None:
    file = ct_instance(side=16)
    for role, status in ((Role.SPECIALIST, 403), (Role.TRAINEE, 403), (Role.SITE, 200), (Role.OPERATOR, 200)):
        async with door_client(door, bearer(any_platform, role)) as client:
            assert (await stow(client, [file])).status_code == status
    async with door_client(door, {}) as client:
        assert (await stow(client, [file])).status_code == 401
    entries = await any_platform.audit.search("demo", action="instance.store")
    assert [(entry["actor"], entry["subject"], entry["patient_id"]) for entry in entries] == [
        ("operator", uids_of(file)[0], "P1"), ("site", uids_of(file)[0], "P1"),
    ]  # fmt: skip
    assert len(await any_platform.audit.search("demo", action="permission.denied")) == 2


async def test_objects_above_the_memory_limit_go_through_the_spool_and_leave_nothing(platform: Platform) -> None:
    small = IngestSettings.load(spool_above_bytes=1 << 16, memory_bytes=1 << 20)
    async with archive_door(platform, ingest=small) as door, door_client(door, bearer(platform, Role.ADMIN)) as client:
        files = [ct_instance(side=512), ct_instance(side=16), ct_instance(side=512)[:-100]]
        response = await stow(client, files)
        assert response.status_code == 202
        assert len(items(response, "00081199")) == 2
        found = httpx2.URL(value(items(response, "00081199")[0], "00081190")).path
        assert (await client.get(found, headers={"Accept": "application/dicom"})).content == files[0]
    assert list((platform.settings.data_dir / "spool").iterdir()) == []


async def test_an_object_above_the_limit_is_refused(platform: Platform) -> None:
    small = IngestSettings.load(max_object_bytes=1 << 20)
    async with archive_door(platform, ingest=small) as door, door_client(door, bearer(platform, Role.ADMIN)) as client:
        response = await stow(client, [ct_instance(side=1024)])
    assert response.status_code == 413
    assert response.json()["code"] == "object-too-large"


def part(file: bytes, **fields: str) -> tuple[bytes, str]:
    """Return a request of one part with more header fields."""
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    body = f"--b\r\nContent-Type: application/dicom\r\n{head}\r\n".encode() + file + b"\r\n--b--\r\n"
    return body, 'multipart/related; type="application/dicom"; boundary=b'


def digest_of(data: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"


async def test_v0_length_and_digest_that_a_sender_states_are_compared(client: httpx2.AsyncClient) -> None:
    file = ct_instance(side=16)
    right = {"Content_Length": str(len(file)), "Content_Digest": digest_of(file)}
    for fields, status, code in (
        ({**right, "Content_Length": str(len(file) + 2)}, 400, "length-mismatch"),
        ({**right, "Content_Digest": digest_of(b"other")}, 400, "checksum-mismatch"),
        (right, 200, ""),
    ):
        body, kind = part(file, **fields)
        reply = await client.post("/dicomweb/studies", content=body, headers={"Content-Type": kind})
        assert reply.status_code == status
        assert code in reply.text
    alone = {"Content-Type": "application/dicom", "Content-Digest": digest_of(b"other")}
    assert (await client.post("/dicomweb/studies", content=file, headers=alone)).status_code == 400
    nonsense = {"Content-Type": "application/dicom", "Content-Digest": "sha-256=:AAAA:"}
    assert (await client.post("/dicomweb/studies", content=file, headers=nonsense)).status_code == 400
