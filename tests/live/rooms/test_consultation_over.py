"""The room of a consultation ends when the consultation is over (RS-25), whether the bus told of it or not."""

from __future__ import annotations

import asyncio

import pytest

from consilium_core.clock import FakeClock
from consilium_core.events import EventType
from consilium_core.roles import Role
from consilium_live.flow.consultations import ConsultationFollower
from consilium_platform.outbox import add_event
from consilium_platform.platform import Platform

from .conftest import LiveService, running


async def announce(platform: Platform, state: str, *, tenant: str = "demo", wake: bool = True) -> None:
    async with platform.database.write() as session:
        await add_event(session, EventType.CONSULTATION_CHANGED, tenant=tenant, subject="case-1", data={"state": state})
    if wake:
        platform.outbox.wake()


async def state_of(live: LiveService, room_id: str = "demo") -> str:
    reply = await live.http.get(f"/api/v1/rooms/{room_id}", headers=live.bearer(Role.SPECIALIST))
    return str(reply.json()["state"])


@pytest.mark.parametrize("state", ["completed", "cancelled"])
async def test_everybody_is_sent_away_when_the_consultation_is_over(live: LiveService, state: str) -> None:
    await live.open_room(consultation_id="case-1")
    async with live.socket() as viewer:
        await viewer.hello(live.token(Role.SPECIALIST))
        await announce(live.platform, state)
        assert await viewer.closed() == 4410
    assert await state_of(live) == "ended"
    ended = await live.audited(action="room.end")
    assert [(entry["actor"], entry["patient_id"]) for entry in ended] == [("live", "P-77")]


async def test_a_report_that_is_being_written_ends_no_room_and_another_tenants_word_does_not_count(
    live: LiveService,
) -> None:
    await live.open_room(consultation_id="case-1")
    await announce(live.platform, "reporting")
    await announce(live.platform, "completed", tenant="other")
    await ConsultationFollower(live.context).step()
    assert await state_of(live) == "planned"


async def test_what_was_missed_while_the_service_was_down_is_caught_up(
    still_platform: Platform, clock: FakeClock
) -> None:
    async with running(still_platform, clock) as before:
        await before.open_room(consultation_id="case-1")
    await announce(still_platform, "completed")
    async with running(still_platform, clock) as live:
        async with asyncio.timeout(20):
            while await state_of(live) != "ended":
                await asyncio.sleep(0.01)


async def test_the_scan_goes_on_where_nothing_can_come_any_more(live: LiveService) -> None:
    await announce(live.platform, "reporting", wake=False)
    follower = ConsultationFollower(live.context)
    await follower.step()
    live.clock.advance(119)
    await follower.step()
    assert follower._floor == 0, "a transaction that began earlier may still commit a lower number"
    live.clock.advance(2)
    await follower.step()
    assert follower._floor == await live.context.store.newest_event() > 0
