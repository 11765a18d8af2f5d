"""Which instances are looked at: after months without destinations, after numbers were given again, beside a rule's commit."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from sqlalchemy import delete, func, select, update

from consilium_archive.storage_tables import mark
from consilium_archive.tables import instance
from consilium_core.clock import FakeClock
from consilium_core.roles import Role
from consilium_ingest.routing import evaluate
from consilium_ingest.routing.evaluate import MARK, Evaluator
from consilium_ingest.routing.tables import job
from consilium_ingest.routing.tables import rule as rules
from consilium_platform.platform import Platform
from consilium_testkit.archive_rooms import archive_door, door_client
from consilium_testkit.instances import ct_instance, uids_of
from consilium_testkit.platforms import bearer
from consilium_testkit.servers import free_port

from .peers import BASE, opened, rule, settings, stored, to_scp

ROUTING = settings(to_scp(free_port()), poll_s=3600.0)
NAMED = {(to.tenant, to.name): to for to in ROUTING.all_destinations()}


@asynccontextmanager
async def without_destinations(platform: Platform) -> AsyncIterator[httpx2.AsyncClient]:
    """Open both rooms, routing off."""
    async with archive_door(platform) as door, door_client(door, bearer(platform, Role.ADMIN)) as client:
        yield client


async def ruled(platform: Platform) -> None:
    """Make a rule that is older than anything that comes."""
    async with opened(platform, ROUTING) as (client, _):
        await rule(client, "upper")
    since = platform.clock.now() - timedelta(days=365)
    await platform.database.transact(lambda session: session.execute(update(rules).values(since=since)))


async def received(platform: Platform, ago: timedelta) -> None:
    at = platform.clock.now() - ago
    await platform.database.transact(lambda session: session.execute(update(instance).values(received_at=at)))


async def jobs_of(platform: Platform) -> dict[str, tuple[str, str]]:
    rows = await platform.database.query(lambda session: session.execute(select(job)).all())
    return {row.sop_instance_uid: (row.state, row.problem) for row in rows}


async def the_mark(platform: Platform) -> int:
    asked = select(mark.c.value).where(mark.c.name == MARK)
    return int((await platform.database.query(lambda session: session.scalar(asked))) or 0)


class Watched(Evaluator):
    """Remembers how much it remembered."""

    most = 0

    async def _look(self, numbers: Sequence[int], only: Any = None) -> int:
        found = await super()._look(numbers, only)
        self.most = max(self.most, len(self._seen))
        return found


async def test_a_long_gap_is_caught_up_in_little_memory_and_the_mark_follows(
    any_platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "_PAGE", 2)
    monkeypatch.setattr(evaluate, "_CATCH_UP_PAGES", 2)
    await ruled(any_platform)
    files = [ct_instance(side=16) for _ in range(11)]
    async with without_destinations(any_platform) as client:
        await stored(client, *files)
    await received(any_platform, timedelta(hours=1))
    evaluator = Watched(any_platform.database, FakeClock(any_platform.clock.now()), NAMED, ROUTING)
    await evaluator.begin()
    assert await evaluator.turn() == 11
    assert evaluator.most <= 4
    assert set((await jobs_of(any_platform)).values()) == {("waiting", "")}
    assert len(await jobs_of(any_platform)) == 11
    assert await the_mark(any_platform) == await any_platform.database.query(
        lambda session: session.scalar(select(func.max(instance.c.id)))
    )


async def test_what_came_too_long_ago_does_not_go_out_unasked_and_goes_when_somebody_asks(
    any_platform: Platform,
) -> None:
    await ruled(any_platform)
    file = ct_instance(side=16)
    study, _, uid = uids_of(file)
    async with without_destinations(any_platform) as client:
        await stored(client, file)
    await received(any_platform, timedelta(hours=ROUTING.give_up_h + 1))
    evaluator = Evaluator(any_platform.database, any_platform.clock, NAMED, ROUTING)
    await evaluator.begin()
    assert await evaluator.turn() == 1
    assert await jobs_of(any_platform) == {uid: ("given-up", "looked-at-late")}
    async with without_destinations(any_platform) as client:
        [told] = (await client.get(f"{BASE}/studies/{study}")).json()["destinations"]
        assert (told["problem"]["code"], told["problem"]["mend"]) == ("looked-at-late", "admin")
        assert (await client.post(f"{BASE}/studies/{study}/retry", json={})).json() == {"instances": 1}
    assert await jobs_of(any_platform) == {uid: ("waiting", "")}


@pytest.mark.parametrize("restarted", [False, True])
async def test_numbers_that_are_given_again_are_looked_at_again(platform: Platform, restarted: bool) -> None:
    await ruled(platform)
    clock = FakeClock(platform.clock.now())
    evaluator = Evaluator(platform.database, clock, NAMED, ROUTING)
    await evaluator.begin()
    later = [ct_instance(side=16) for _ in range(2)]
    async with without_destinations(platform) as client:
        await stored(client, *(ct_instance(side=16) for _ in range(3)))
        await received(platform, timedelta(hours=1))
        assert await evaluator.turn() == 3
        high = await the_mark(platform)
        await platform.database.transact(lambda s: s.execute(delete(instance).where(instance.c.id > high - 2)))
        if restarted:
            evaluator = Evaluator(platform.database, clock, NAMED, ROUTING)
            await evaluator.begin()
        else:
            assert await evaluator.turn() == 0
        assert await the_mark(platform) == high - 2
        await stored(client, *later)
        assert await evaluator.turn() == 2
    assert {uids_of(file)[2] for file in later} <= set(await jobs_of(platform))


async def test_what_comes_between_a_rules_since_and_its_commit_is_that_rules_business(any_platform: Platform) -> None:
    clock = FakeClock(any_platform.clock.now())
    file = ct_instance(side=16)
    async with opened(any_platform, ROUTING) as (client, _):
        evaluator = Evaluator(any_platform.database, clock, NAMED, ROUTING)
        await evaluator.begin()
        await stored(client, file)
        assert await evaluator.turn() == 1, "when there is no rule yet"
        await rule(client, "upper")
    since = any_platform.clock.now() - timedelta(minutes=1)
    await any_platform.database.transact(lambda session: session.execute(update(rules).values(since=since)))
    assert await jobs_of(any_platform) == {}
    clock.advance(31)
    await evaluator.turn()
    assert list(await jobs_of(any_platform)) == [uids_of(file)[2]]
