"""C-STORE of an object that is held: a failure that says so, one entry however often, and success once it is released (B2)."""

from __future__ import annotations

import httpx2

from consilium_ingest.dimse.server import DimseServer
from consilium_platform.platform import Platform
from consilium_testkit.instances import CT, ct_instance, uids_of
from consilium_testkit.light_scu import associated, data_set_of, fragments, store_rq

from .test_store import CONTEXTS, ended, listed, store


async def test_a_held_object_fails_until_it_is_released(server: DimseServer, client: httpx2.AsyncClient) -> None:
    doubtful, sound = ct_instance(side=16, PatientBirthDate="20250101"), ct_instance(side=16)
    base = "/api/v1/ingest/quarantine"
    async with associated(server.port, CONTEXTS) as scu:
        assert [await store(scu, doubtful) for _ in range(2)] == [0x0110, 0x0110]
        assert await store(scu, sound) == 0, "the association goes on"
        [entry] = (await client.get(base)).json()["items"]
        assert entry["sop_class_uid"] == CT
        assert entry["origin"] == {"origin": "dimse", "sender": "TEST", "address": "127.0.0.1"}
        assert len(await listed(client)) == 1
        released = await client.post(f"{base}/{entry['id']}/release", json={"version": 1, "reason": "a typo"})
        assert released.status_code == 200
        assert await store(scu, doubtful) == 0
        await scu.release()
    assert len(await listed(client)) == 2


async def test_the_answer_names_the_entry_and_the_trail_whose_it_is(
    any_platform: Platform, server: DimseServer, client: httpx2.AsyncClient
) -> None:
    file = ct_instance(side=16, PatientBirthDate="20250101", PatientID="P7")
    sop_class, sop, _, data_set = data_set_of(file)
    async with associated(server.port, CONTEXTS, calling="CT-1") as scu:
        scu.send(fragments(1, store_rq(sop_class, sop), command=True))
        scu.send(fragments(1, data_set, command=False))
        comment = (await scu.answer())[0x0902].rstrip().decode()
        assert await scu.store(1, CT, "1.2.3", b"garbage " * 100) == 0xC000
        await scu.release()
    await ended(server)
    [entry] = (await client.get("/api/v1/ingest/quarantine")).json()["items"]
    assert comment == f"held {entry['id']}: birth-after-study"
    assert (entry["origin"]["sender"], entry["origin"]["address"]) == ("CT-1", "127.0.0.1")
    written = await any_platform.audit.search("demo", action="instance.store")
    peer = "by C-STORE from 127.0.0.1 to CONSILIUM"
    assert {(one["patient_id"], one["subject"], one["detail"]) for one in written} == {
        ("P7", uids_of(file)[0], f"refused 1 instance-held {peer}: {sop} held {entry['id']}: birth-after-study"),
        ("", "", f"refused 1 instance-rejected {peer}: 1.2.3 truncated, uid-missing"),
    }


async def test_pixel_data_that_is_too_short_says_how_short(server: DimseServer) -> None:
    sop_class, sop, _, data_set = data_set_of(ct_instance(side=16, PixelData=bytes(510)))
    async with associated(server.port, CONTEXTS) as scu:
        scu.send(fragments(1, store_rq(sop_class, sop), command=True))
        scu.send(fragments(1, data_set, command=False))
        assert (await scu.answer())[0x0902].rstrip() == b"pixel-data-short: 510 of 512 bytes"
