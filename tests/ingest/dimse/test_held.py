"""C-STORE of an object that is held: a failure that says so, one entry however often, and success once it is released (B2)."""

from __future__ import annotations

import httpx2

from consilium_ingest.dimse.server import DimseServer
from consilium_testkit.instances import CT, ct_instance
from consilium_testkit.light_scu import associated

from .test_store import CONTEXTS, listed, store


async def test_a_held_object_fails_until_it_is_released(server: DimseServer, client: httpx2.AsyncClient) -> None:
    doubtful, sound = ct_instance(side=16, PatientBirthDate="20250101"), ct_instance(side=16)
    base = "/api/v1/ingest/quarantine"
    async with associated(server.port, CONTEXTS) as scu:
        assert [await store(scu, doubtful) for _ in range(2)] == [0x0110, 0x0110]
        assert await store(scu, sound) == 0, "the association goes on"
        [entry] = (await client.get(base)).json()["items"]
        assert (entry["sop_class_uid"], entry["origin"]["origin"]) == (CT, "dimse")
        assert len(await listed(client)) == 1
        released = await client.post(f"{base}/{entry['id']}/release", json={"version": 1, "reason": "a typo"})
        assert released.status_code == 200
        assert await store(scu, doubtful) == 0
        await scu.release()
    assert len(await listed(client)) == 2
