"""C-STORE's answers: what is durable and found is a success, everything else has its status word (PS3.4 B.2.3)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx2
import pytest
from pydicom.uid import ExplicitVRLittleEndian

from consilium_core.ids import new_uid
from consilium_core.roles import Role
from consilium_ingest.dimse.server import DimseServer
from consilium_ingest.dimse.settings import LOOPBACK, DimseSettings, PeerRule
from consilium_ingest.settings import IngestSettings
from consilium_platform.platform import Platform
from consilium_testkit.archive_rooms import archive_door, door_client
from consilium_testkit.instances import CT, ct_instance, multipart, uids_of
from consilium_testkit.light_scu import (
    VERIFICATION,
    LightScu,
    associated,
    command_set,
    data_set_of,
    even,
    fragments,
    status,
    store_rq,
)
from consilium_testkit.platforms import bearer

EXPLICIT = str(ExplicitVRLittleEndian)
CONTEXTS = [(CT, [EXPLICIT]), (VERIFICATION, ["1.2.840.10008.1.2"])]


async def store(scu: LightScu, file: bytes) -> int:
    """Send a file's data set in context 1."""
    sop_class, sop, _, data_set = data_set_of(file)
    return await scu.store(1, sop_class, sop, data_set)


async def listed(client: httpx2.AsyncClient) -> list[str]:
    """Return the SOP Instance UIDs that a search finds."""
    answer = await client.get("/dicomweb/instances")
    return sorted(one["00080018"]["Value"][0] for one in answer.json()) if answer.status_code == 200 else []


async def test_many_instances_of_one_association_are_found_at_once(
    server: DimseServer, client: httpx2.AsyncClient
) -> None:
    files = [ct_instance(side=16, InstanceNumber=n) for n in range(5)]
    async with associated(server.port, CONTEXTS) as scu:
        for number, file in enumerate(files, 1):
            assert await store(scu, file) == 0
            assert len(await listed(client)) == number  # what is acknowledged can be read, without waiting
        assert await scu.echo(3) == 0
        await scu.release()
    assert await listed(client) == sorted(uids_of(file)[2] for file in files)


async def test_truncated_pixel_data_is_refused_as_not_matching_and_not_listed(
    server: DimseServer, client: httpx2.AsyncClient, tmp_path: Path, dcmtk: Any
) -> None:
    file = ct_instance(side=64)
    sop_class, sop, _, data_set = data_set_of(file)
    async with associated(server.port, CONTEXTS) as scu:
        scu.send(fragments(1, store_rq(sop_class, sop), command=True))
        scu.send(fragments(1, data_set[:-500], command=False))
        answer = await scu.answer()
        assert status(answer) == 0xA900
        assert answer[0x0901] == b"\xe0\x7f\x10\x00"
        assert answer[0x0902].rstrip() == b"pixel-data-truncated: 7692 of 8192 bytes"
        assert await store(scu, file) == 0  # the association goes on
    assert await listed(client) == [sop]


async def test_what_is_no_dicom_is_not_understood(server: DimseServer, client: httpx2.AsyncClient) -> None:
    async with associated(server.port, CONTEXTS) as scu:
        assert await scu.store(1, CT, "1.2.3", b"garbage " * 100) == 0xC000
    assert await listed(client) == []


async def test_the_same_again_is_a_success_and_other_content_a_duplicate(
    server: DimseServer, client: httpx2.AsyncClient
) -> None:
    uid = new_uid()
    file, other = ct_instance(side=16, SOPInstanceUID=uid), ct_instance(side=16, SOPInstanceUID=uid, seed=9)
    async with associated(server.port, CONTEXTS) as scu:
        assert [await store(scu, one) for one in (file, file, other, file)] == [0, 0, 0x0111, 0]
    assert await listed(client) == [uid]


async def test_what_came_by_stow_is_known_again_by_its_data_set(
    server: DimseServer, client: httpx2.AsyncClient
) -> None:
    file = ct_instance(side=16)
    body, media = multipart([file])
    assert (await client.post("/dicomweb/studies", content=body, headers={"Content-Type": media})).status_code == 200
    async with associated(server.port, CONTEXTS) as scu:
        assert await store(scu, file) == 0
    study, series, sop = uids_of(file)
    path = f"/dicomweb/studies/{study}/series/{series}/instances/{sop}"
    assert (await client.get(path, headers={"Accept": "application/dicom"})).content == file


async def test_a_large_object_is_known_again_too_and_one_other_byte_is_another_content(platform: Platform) -> None:
    small = IngestSettings.load(spool_above_bytes=1 << 16)
    file = ct_instance(side=512)
    sop_class, sop, _, data_set = data_set_of(file)
    body, media = multipart([file])
    dimse = DimseSettings.load(port=0)
    async with (
        archive_door(platform, ingest=small, dimse=dimse) as door,
        door_client(door, bearer(platform, Role.ADMIN)) as client,
    ):
        sent = await client.post("/dicomweb/studies", content=body, headers={"Content-Type": media})
        assert sent.status_code == 200
        async with associated(door.ingest.state.dimse.port, CONTEXTS) as scu:  # type: ignore[attr-defined]
            assert await scu.store(1, sop_class, sop, data_set) == 0
            assert await scu.store(1, sop_class, sop, data_set[:-1] + b"\1") == 0x0111
            assert await scu.store(1, sop_class, sop, data_set[:-2]) == 0xA900


async def test_two_senders_of_one_instance_at_once_give_one(
    any_platform: Platform, server: DimseServer, client: httpx2.AsyncClient
) -> None:
    file = ct_instance(side=128)
    senders = 6

    async def send(number: int) -> int:
        async with associated(server.port, CONTEXTS, calling=f"CT{number}") as scu:
            return await store(scu, file)

    assert await asyncio.gather(*(send(number) for number in range(senders))) == [0] * senders
    assert await listed(client) == [uids_of(file)[2]]


async def test_a_data_set_of_another_instance_than_the_message_names_is_refused(
    server: DimseServer, client: httpx2.AsyncClient
) -> None:
    file = ct_instance(side=16)
    async with associated(server.port, CONTEXTS) as scu:
        assert await scu.store(1, CT, new_uid(), data_set_of(file)[3]) == 0xA900
    assert await listed(client) == []


async def test_a_data_set_of_another_class_is_stored_with_a_warning(
    server: DimseServer, client: httpx2.AsyncClient
) -> None:
    mr = "1.2.840.10008.5.1.4.1.1.4"
    file = ct_instance(side=16)
    async with associated(server.port, [(mr, [EXPLICIT])]) as scu:
        assert await scu.store(1, mr, uids_of(file)[2], data_set_of(file)[3]) == 0xB007
    assert await listed(client) == [uids_of(file)[2]]


async def test_a_class_that_was_not_negotiated_is_not_supported(server: DimseServer) -> None:
    file = ct_instance(side=16)
    async with associated(server.port, CONTEXTS) as scu:
        sop = uids_of(file)[2]
        assert await scu.store(1, "1.2.840.10008.5.1.4.1.1.4", sop, data_set_of(file)[3]) == 0x0122
        assert await scu.store(3, VERIFICATION, sop, data_set_of(file)[3]) == 0x0122


async def test_a_message_without_what_it_must_say_is_not_understood(server: DimseServer) -> None:
    file = data_set_of(ct_instance(side=16))[3]
    async with associated(server.port, CONTEXTS) as scu:
        assert await scu.store(1, CT, "", file) == 0xC000
        scu.send(fragments(1, store_rq(CT, "1.2.3", data_set=0x101), command=True))
        assert status(await scu.answer()) == 0xC000


async def test_other_operations_are_not_recognized_and_a_cancel_is_ignored(server: DimseServer) -> None:
    find = {0x0002: even(CT), 0x0100: b"\x20\0", 0x0110: b"\x01\0", 0x0800: b"\x01\0"}
    cancel = {0x0100: b"\xff\x0f", 0x0120: b"\x01\0", 0x0800: b"\x01\x01"}
    async with associated(server.port, CONTEXTS) as scu:
        scu.send(fragments(1, command_set(find), command=True))
        scu.send(fragments(1, b"\x08\0\x52\0\x04\0\0\0STUD", command=False))
        answer = await scu.answer()
        assert status(answer) == 0x0211
        assert answer[0x0100] == b"\x20\x80"
        scu.send(fragments(1, command_set(cancel), command=True))
        assert await scu.echo(3) == 0


async def test_what_is_stored_is_audited_with_the_calling_title_and_announced(
    any_platform: Platform, server: DimseServer
) -> None:
    study = new_uid()
    files = [ct_instance(side=16, StudyInstanceUID=study) for _ in range(3)]
    cut = ct_instance(side=64, PatientID="P2")[:-100]
    async with associated(server.port, CONTEXTS, calling="CT-1") as scu:
        assert await store(scu, files[0]) == 0
        [opening] = await any_platform.audit.search("demo", action="instance.store")
        assert (opening["actor"], opening["subject"], opening["patient_id"]) == ("CT-1", study, "P1")
        for file in files[1:]:
            assert await store(scu, file) == 0
        assert await store(scu, cut) == 0xA900
        await scu.release()
    await ended(server)
    entries = await any_platform.audit.search("demo", action="instance.store")
    assert [(entry["outcome"], entry["detail"]) for entry in entries] == [
        (
            "failure",
            "refused 1 instance-rejected by C-STORE from 127.0.0.1 to CONSILIUM: "
            f"{uids_of(cut)[2]} pixel-data-truncated",
        ),
        ("success", "stored 3 by C-STORE from 127.0.0.1 to CONSILIUM"),
        ("success", "storing by C-STORE from 127.0.0.1 to CONSILIUM"),
    ]
    assert all(entry["role"] == "dicom-peer" for entry in entries)
    assert (entries[0]["subject"], entries[0]["patient_id"]) == (uids_of(cut)[0], "P2")


async def ended(server: DimseServer) -> None:
    """Return when no association is left."""
    async with asyncio.timeout(20):
        while server.open:
            await asyncio.sleep(0.005)


async def test_a_peer_stores_for_the_tenant_that_its_rule_names(platform: Platform) -> None:
    rules = (
        PeerRule(tenant="north", calling=("CT-N",), addresses=("127.0.0.0/8",)),
        PeerRule(tenant="south", calling=("CT-S",), addresses=("127.0.0.0/8",)),
    )
    file = ct_instance(side=16)
    async with archive_door(platform, dimse=DimseSettings.load(port=0, peers=rules)) as door:
        port = door.ingest.state.dimse.port  # type: ignore[attr-defined]
        for calling in ("CT-N", "CT-S"):
            async with associated(port, CONTEXTS, calling=calling) as scu:
                assert await store(scu, file) == 0
                assert await store(scu, file) == 0
                await scu.release()
        await ended(door.ingest.state.dimse)  # type: ignore[attr-defined]
    for tenant, actor in (("north", "CT-N"), ("south", "CT-S")):
        entries = await platform.audit.search(tenant, action="instance.store")
        assert {entry["actor"] for entry in entries} == {actor}


async def test_large_objects_go_through_the_spool_and_too_large_ones_are_out_of_resources(platform: Platform) -> None:
    small = IngestSettings.load(spool_above_bytes=1 << 16, memory_bytes=1 << 20, max_object_bytes=3 << 20)
    large, too_large = ct_instance(side=1200), ct_instance(side=1300)
    async with archive_door(platform, ingest=small, dimse=DimseSettings.load(port=0)) as door:
        server: DimseServer = door.ingest.state.dimse  # type: ignore[attr-defined]
        async with associated(server.port, CONTEXTS) as scu:
            assert await store(scu, large) == 0
            assert await store(scu, too_large) == 0xA700
            assert await store(scu, large) == 0
            assert await store(scu, ct_instance(side=512)[:-100]) == 0xA900
            await scu.release()
        await ended(server)
        assert list(server.spool.folder.iterdir()) == []
        assert server.spool.budget.used_bytes == 0


@pytest.mark.parametrize(("private", "result"), [((), 3), (("1.3.12.2.1107.5.9.1",), 0), (("*",), 0)])
async def test_private_classes_are_taken_where_they_are_allowed(
    platform: Platform, private: tuple[str, ...], result: int
) -> None:
    siemens = "1.3.12.2.1107.5.9.1"
    settings = DimseSettings.load(port=0, private_sop_classes=private, peers=(LOOPBACK,))
    async with archive_door(platform, dimse=settings) as door:
        port = door.ingest.state.dimse.port  # type: ignore[attr-defined]
        async with associated(port, [(siemens, [EXPLICIT])]) as scu:
            assert scu.accepted[1][0] == result
            if result == 0:
                file = ct_instance(side=16, SOPClassUID=siemens)
                assert await scu.store(1, siemens, uids_of(file)[2], data_set_of(file)[3]) == 0
