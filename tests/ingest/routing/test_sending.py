"""Routing to real peers: a pynetdicom SCP and our own STOW-RS server; one dead destination beside good ones."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import select

from consilium_archive.stages import original_key
from consilium_archive.storage_tables import mark
from consilium_core.clock import FakeClock
from consilium_core.roles import Role
from consilium_ingest.dimse.server import DimseServer
from consilium_ingest.routing.batch import Outcomes
from consilium_ingest.routing.evaluate import MARK, Evaluator
from consilium_ingest.routing.jobs import JobQueue
from consilium_ingest.routing.tables import job
from consilium_platform.platform import Platform, open_platform
from consilium_platform.settings import PlatformSettings
from consilium_platform.sql import Database
from consilium_testkit.archive_rooms import archive_door, door_client, door_server
from consilium_testkit.instances import CT, ct_instance, uids_of, with_meta
from consilium_testkit.light_scu import associated, data_set_of
from consilium_testkit.platforms import bearer, with_copy
from consilium_testkit.servers import free_port

from .peers import BASE, opened, rule, scp, settings, standing, stored, to_scp, to_stow, token_file, until

# pynetdicom leaves the socket of a refused connection to the garbage collector
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket.socket:ResourceWarning")


def chest(**attributes: object) -> bytes:
    return ct_instance(side=16, StationName="CT-1", **attributes)


async def test_what_is_stored_goes_to_every_destination_whose_rule_takes_it_as_it_is_stored_and_is_audited(
    any_platform: Platform, tmp_path: Path, migrated_file: Path
) -> None:
    there = with_copy(PlatformSettings.load(data_dir=tmp_path / "cloud"), migrated_file)
    async with open_platform(there, migrate=False) as cloud, archive_door(cloud) as far, door_server(far) as url:
        token = token_file(tmp_path, bearer(cloud, Role.OPERATOR, subject="small-hospital"))
        study = str(uids_of(ct_instance(side=16))[0])
        thin = [
            chest(StudyInstanceUID=study, SliceThickness="0.6"),
            chest(StudyInstanceUID=study, SliceThickness="1.0"),
        ]
        thin.append(with_meta(chest(StudyInstanceUID=study, SliceThickness="1.0"), preamble=None))
        thick = chest(StudyInstanceUID=study, SliceThickness="5.0")
        names = [uids_of(file)[2] for file in [*thin[:2], thick]]
        with scp() as upper:
            routing = settings(to_scp(upper.port), to_stow(url, token_file=token))
            async with (
                opened(any_platform, routing) as (client, _),
                door_client(far, bearer(cloud, Role.ADMIN)) as admin,
            ):
                asked = {"slice_thickness_at_most_mm": 1.0, "station_names": ["ct-?"], "modalities": ["CT"]}
                await rule(client, "upper", priority="stat", conditions=asked)
                await rule(client, "upper", name="the same again", conditions=asked)
                await rule(client, "cloud", conditions={"study_descriptions": ["chest*"]})
                await stored(client, *thin, thick)

                async def all_there() -> bool:
                    return await standing(client, study) == {("upper", "sent"): 3, ("cloud", "sent"): 4}

                await until(all_there, "all instances at both")
                assert sorted(upper.got) == sorted(data_set_of(file)[1::2] for file in thin)
                assert upper.callers == {"CONSILIUM"}
                listed = (await admin.get(f"/dicomweb/studies/{study}/instances")).json()
                assert set(names) < {one["00080018"]["Value"][0] for one in listed}
                assert len(listed) == 4
                whole = await admin.get(f"/dicomweb/studies/{study}", headers={"Accept": "multipart/related; type=*/*"})
                assert thick in whole.content, "byte for byte"
                trace = (await client.get(f"{BASE}/studies/{study}")).json()
                assert [one["matched"] for one in trace["rules"]] == [3, 3, 4]
                [missed] = trace["rules"][0]["missed"]
                assert (missed["code"], missed["instances"]) == ("slice_thickness_at_most_mm", 1)
                assert {(one["destination"], one["priority"]) for one in trace["jobs"]} == {
                    ("upper", "stat"),
                    ("cloud", "routine"),
                }
                health = {one["name"]: one for one in (await client.get(f"{BASE}/destinations")).json()["items"]}
    for name, count in (("upper", 3), ("cloud", 4)):
        assert health[name]["sent_instances"] == count
        assert health[name]["bytes_per_s"] > 0
        assert health[name]["backlog"] == {"instances": 0, "bytes": 0, "sending": 0}
        assert (health[name]["breaker"], health[name]["problem"]) == ("closed", None)
    trail = await any_platform.audit.search("demo", action="instance.send", limit=1000)
    opening = [one for one in trail if one["detail"].startswith("sending")]
    disclosed = Counter((one["actor"], uid) for one in opening for uid in one["detail"].split(": ")[1].split())
    uids = {uids_of(file)[2] for file in [*thin[:2], thick]} | set(upper.uids)
    assert {uid for actor, uid in disclosed if actor == "routing:cloud"} == uids
    assert {(one["subject"], one["patient_id"], one["outcome"]) for one in trail} == {(study, "P1", "success")}
    assert (await any_platform.audit.verify("demo")).ok


async def test_a_dead_destination_holds_up_nobody_is_shut_and_gets_everything_when_it_is_back(
    any_platform: Platform,
) -> None:
    files = [chest() for _ in range(4)]
    uids = sorted(uids_of(file)[2] for file in files)
    dead = free_port()
    with scp() as good:
        routing = settings(to_scp(dead, "dead"), to_scp(good.port, "good"), batch_instances=1)
        async with opened(any_platform, routing) as (client, _):
            for name in ("dead", "good"):
                await rule(client, name)
            await stored(client, *files)
            await until(lambda: sorted(good.uids) == uids, "all at the good one")

            async def shut() -> bool:
                items = (await client.get(f"{BASE}/destinations")).json()["items"]
                return items[0]["name"] == "dead" and items[0]["breaker"] == "open"

            await until(shut, "the dead one is shut")
            [health] = [o for o in (await client.get(f"{BASE}/destinations")).json()["items"] if o["name"] == "dead"]
            assert (health["failures"], health["problem"]["code"], health["backlog"]["instances"]) == (
                2,
                "unreachable",
                4,
            )
            study = uids_of(files[0])[0]
            [why] = [
                o
                for o in (await client.get(f"{BASE}/studies/{study}")).json()["destinations"]
                if o["destination"] == "dead"
            ]
            assert why["state"] == "failed"
            assert why["problem"]["mend"] == "operator"
            assert "防火墙" in why["problem"]["text_zh"]
            with scp(port=dead) as back:
                again = await client.post(f"{BASE}/studies/{study}/retry", json={"destination": "dead"})
                assert again.json() == {"instances": 1}
                await until(lambda: sorted(back.uids) == uids, "all at the one that is back")
            assert (await client.get(f"{BASE}/destinations")).json()["items"][0]["breaker"] == "closed"
    assert sorted(good.uids) == uids, "nothing is sent twice after it was confirmed"
    failures = await any_platform.audit.search("demo", action="instance.send", outcome="failure")
    assert failures[0]["detail"] == "not sent 1 to dead by C-STORE: 1 unreachable"


async def test_a_refused_instance_is_given_up_with_who_mends_it_and_the_rest_goes_on(platform: Platform) -> None:
    refused, taken = chest(), chest()
    with scp(status=0xA900) as peer:
        async with opened(platform, settings(to_scp(peer.port))) as (client, _):
            await rule(client, "upper")
            await stored(client, refused)
            study = uids_of(refused)[0]

            async def given_up() -> bool:
                return await standing(client, study) == {("upper", "given-up"): 1}

            await until(given_up, "it is given up")
            peer.status = 0
            await stored(client, taken)
            await until(lambda: peer.uids == [uids_of(taken)[2]], "the next one")
            [found] = (await client.get(f"{BASE}/studies/{study}")).json()["jobs"]
            assert (found["problem"]["code"], found["attempts"]) == ("not-conformant", 1)
            assert (await client.post(f"{BASE}/studies/{study}/retry", json={})).status_code == 200
            await until(lambda: len(peer.got) == 2, "the one that was tried again")
            reply = await client.post(f"{BASE}/studies/{study}/retry", json={"destination": "elsewhere"})
            assert (reply.status_code, reply.json()["code"]) == (409, "routing-nothing-to-retry")


async def test_an_instance_never_goes_back_to_the_ae_title_that_it_came_from(any_platform: Platform) -> None:
    mine, other = chest(), chest()
    with scp() as upper:
        async with opened(any_platform, settings(to_scp(upper.port)), dimse=True) as (client, ingest):
            await rule(client, "upper", conditions={"origins": ["dimse"], "calling_ae_titles": ["UP*", "CT-?"]})
            server = ingest.state.dimse
            assert isinstance(server, DimseServer)
            for title, file in (("UPPER", mine), ("CT-7", other)):
                async with associated(server.port, [(CT, ["1.2.840.10008.1.2.1"])], calling=title) as scu:
                    sop_class, sop, _, data_set = data_set_of(file)
                    assert await scu.store(1, sop_class, sop, data_set) == 0
                    await scu.release()
            await until(lambda: upper.uids == [uids_of(other)[2]], "the other one's")
            trace = (await client.get(f"{BASE}/studies/{uids_of(mine)[0]}")).json()
            assert [one["code"] for one in trace["rules"][0]["missed"]] == ["came-from-there"]
            assert trace["jobs"] == []


async def test_what_was_stored_while_nobody_listened_is_looked_at_and_a_rule_does_not_reach_back(
    any_platform: Platform,
) -> None:
    before, unheard = chest(), chest()
    with scp() as upper:
        routing = settings(to_scp(upper.port))
        async with opened(any_platform, routing) as (client, _):
            await stored(client, before)
            await rule(client, "upper")
        async with archive_door(any_platform) as door, door_client(door, bearer(any_platform, Role.ADMIN)) as client:
            await stored(client, unheard)
        async with opened(any_platform, routing) as (client, _):
            await until(lambda: upper.uids == [uids_of(unheard)[2]], "what was stored meanwhile")
            trace = (await client.get(f"{BASE}/studies/{uids_of(before)[0]}")).json()
            assert [one["code"] for one in trace["rules"][0]["missed"]] == ["before-rule"]


async def test_two_processes_make_each_job_once_and_claim_none_twice(any_platform: Platform) -> None:
    files = [chest() for _ in range(6)]
    routing = settings(to_scp(free_port()), poll_s=3600.0)
    async with opened(any_platform, routing) as (client, _):
        await rule(client, "upper")
        await stored(client, *files)
    [to] = routing.all_destinations()
    named = {(to.tenant, to.name): to}
    database, clock = any_platform.database, any_platform.clock
    await database.transact(lambda session: session.execute(mark.update().where(mark.c.name == MARK).values(value=0)))
    await database.transact(lambda session: session.execute(job.delete()))
    both = [Evaluator(database, clock, named, routing) for _ in range(2)]
    for one in both:
        await one.begin()
    assert [await looked for looked in asyncio.as_completed([one.turn() for one in both])] == [6, 6]
    assert [await one.turn() for one in both] == [0, 0]
    rows = await database.query(lambda session: session.scalars(select(job.c.sop_instance_uid)).all())
    assert sorted(rows) == sorted(uids_of(file)[2] for file in files)
    queue = JobQueue(database, any_platform.audit, clock, to, routing)
    claimed = [one for one in await asyncio.gather(*(queue.claim() for _ in range(8))) if one is not None]
    taken = [one.sop_instance_uid for batch in claimed for one in batch.wanted]
    assert len(taken) == len(set(taken))


async def test_a_claim_of_a_killed_process_is_free_after_its_lease_and_what_spoils_a_batch_ends_up_alone(
    any_platform: Platform,
) -> None:
    study = uids_of(ct_instance(side=16))[0]
    routing = settings(to_scp(free_port()), poll_s=3600.0, breaker_failures=99, batch_instances=8)
    async with opened(any_platform, routing) as (client, _):
        made = await rule(client, "upper")
    database, now = any_platform.database, any_platform.clock.now()
    rows = [
        {
            "tenant_id": "demo", "destination": "upper", "rule_id": made["id"], "study_uid": study, "series_uid": "1.2",
            "sop_instance_uid": f"1.2.{number}", "size_bytes": 10, "priority": 1 if number else 2, "state": "waiting",
            "attempts": 0, "failures": 0, "try_at": now, "lease": "", "problem": "", "made_at": now,
        }
        for number in range(9)
    ]  # fmt: skip
    await database.transact(lambda session: session.execute(job.insert(), rows))
    clock = FakeClock(now)
    queue = JobQueue(database, any_platform.audit, clock, routing.all_destinations()[0], routing)
    killed = await queue.claim()
    assert killed is not None
    assert [one.sop_instance_uid for one in killed.wanted] == [f"1.2.{number}" for number in range(1, 9)], (
        "priority first"
    )
    last = await queue.claim()
    assert last is not None
    assert await queue.claim() is None
    clock.advance(80)
    await queue.renew(last)
    clock.advance(20)
    again = await queue.claim()
    assert again is not None, "the lease has ended, and that of the batch that is still being sent has not"
    assert [one.attempts for one in again.wanted] == [2, 2]
    await queue.settle(killed, Outcomes(problems={"1.2.1": "other-content"}, sent={"1.2.2"}, seconds=1, sent_bytes=10))
    assert await _states(database) == {"sending": 2, "failed": 6, "sent": 1}, (
        "a success is believed late, a failure only from who has the claim"
    )
    await queue.settle(again, Outcomes(down="timeout"))
    assert await _states(database) == {"sending": 1, "failed": 7, "sent": 1}
    sizes = []
    for _ in range(8):
        clock.advance(4000)
        batch = await queue.claim()
        assert batch is not None
        sizes.append(len(batch.wanted))
        await queue.settle(batch, Outcomes(down="timeout"))
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-2:] == [1, 1]
    clock.advance(8 * 86400)
    batch = await queue.claim()
    assert batch is not None
    await queue.settle(batch, Outcomes(down="timeout"))
    assert (await _states(database))["given-up"] == len(batch.wanted), "for a week nobody answered"


async def _states(database: Database) -> Counter[str]:
    rows = await database.query(lambda session: session.scalars(select(job.c.state)).all())
    return Counter(rows)


async def test_a_damaged_original_is_named_and_holds_up_nobody(platform: Platform) -> None:
    study = uids_of(ct_instance(side=16))[0]
    lost, whole = chest(StudyInstanceUID=study, InstanceNumber=1), chest(StudyInstanceUID=study, InstanceNumber=2)
    port = free_port()
    async with opened(platform, settings(to_scp(port))) as (client, _):
        await rule(client, "upper")
        await stored(client, lost, whole)
        await platform.blobs.purge(original_key("demo", hashlib.sha256(lost).hexdigest()))
        with scp(port=port) as back:
            await client.post(f"{BASE}/studies/{study}/retry", json={})
            await until(lambda: back.uids == [uids_of(whole)[2]], "the other one")

            async def named() -> bool:
                jobs = (await client.get(f"{BASE}/studies/{study}")).json()["jobs"]
                return [job["problem"] and job["problem"]["code"] for job in jobs] == ["original-damaged", None]

            await until(named, "the damaged one is named")
