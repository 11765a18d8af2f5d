"""Agents' reports and the presence of sites (SP-23, SP-30, SP-31)."""

from __future__ import annotations

import json
from typing import Any

import httpx2
from sqlalchemy import select

from consilium_core.clock import iso
from consilium_core.events import EventType
from consilium_core.roles import Role
from consilium_gateway.adapters.tables import site_event
from consilium_gateway.flow.ticker import Ticker
from consilium_platform.outbox import outbox

from .conftest import Agent, Clocked, Opened


def report(seq: int, type_: str, data: dict[str, Any]) -> dict[str, Any]:
    """Return one event as the agent sends it."""
    return {"seq": seq, "type": type_, "time": "2030-01-01T00:00:00Z", "data": data}


async def send(gateway: Opened, agent: Agent, *events: dict[str, Any]) -> httpx2.Response:
    """Deliver a batch."""
    return await gateway.http.post("/site/v1/events", json={"events": list(events)}, headers=agent.headers)


async def shown(gateway: Opened) -> dict[str, Any]:
    """Return the only site as administrators see it."""
    (site,) = (await gateway.http.get("/api/v1/sites", headers=gateway.as_(Role.ADMIN))).json()["items"]
    return dict(site)


async def stored(gateway: Opened) -> list[tuple[int, str]]:
    """Return the stored events' numbers and types."""
    async with gateway.platform.database.read() as session:
        rows = await session.execute(select(site_event.c.seq, site_event.c.type).order_by(site_event.c.seq))
        return [(row.seq, row.type) for row in rows]


DEVICES = {
    "devices": [{"id": "d1", "name": "SDI 1", "state": "no_signal", "detail": "no signal on SDI 1"}],
    "spool": {"unacknowledged": 3, "bytes": 12345},
}


async def test_sp_30_events_are_stored_once_and_acknowledged_through_the_newest(any_gateway: Opened) -> None:
    agent = await any_gateway.agent()
    first = [report(n, "diagnostics", {"n": n}) for n in (1, 2, 3)]
    assert (await send(any_gateway, agent, *first)).json() == {"acked_through": 3}
    again = await send(any_gateway, agent, *first, report(4, "diagnostics", {}))
    assert again.json() == {"acked_through": 4}
    assert (await send(any_gateway, agent, first[0])).json() == {"acked_through": 4}
    assert [seq for seq, _ in await stored(any_gateway)] == [1, 2, 3, 4]


async def test_events_out_of_order_are_refused_and_nothing_is_stored(gateway: Opened) -> None:
    agent = await gateway.agent()
    reply = await send(gateway, agent, report(2, "diagnostics", {}), report(1, "diagnostics", {}))
    assert (reply.status_code, reply.json()["code"]) == (400, "events-disordered")
    assert await stored(gateway) == []


async def test_a_server_that_lost_its_newest_data_accepts_the_agents_next_number(gateway: Opened) -> None:
    agent = await gateway.agent()
    assert (await send(gateway, agent, report(121, "diagnostics", {}))).json() == {"acked_through": 121}


async def test_sp_31_devices_and_spool_are_shown(any_gateway: Opened) -> None:
    agent = await any_gateway.agent()
    await send(any_gateway, agent, report(1, "devices", DEVICES))
    site = await shown(any_gateway)
    assert site["devices"][0]["detail"] == "no signal on SDI 1"
    assert site["spool"] == {"unacknowledged": 3, "bytes": 12345}


async def test_sp_31_rooms_follow_started_and_stopped_streams_and_a_new_boot(gateway: Opened) -> None:
    agent = await gateway.agent()
    h264 = {"room_id": "demo", "codec": "h264", "width": 800, "height": 600, "fps": 30, "media_epoch": 1}
    await send(gateway, agent, report(1, "stream.started", h264), report(2, "stream.started", {**h264, "codec": "vp8"}))
    assert (await shown(gateway))["rooms"] == ["demo"]
    await send(gateway, agent, report(3, "stream.stopped", {"room_id": "demo", "codec": "h264", "reason": "gone"}))
    assert (await shown(gateway))["rooms"] == ["demo"], "vp8 still flows"
    await send(gateway, agent, report(4, "stream.stopped", {"room_id": "demo", "codec": "vp8", "reason": "command"}))
    assert (await shown(gateway))["rooms"] == []
    await send(gateway, agent, report(5, "stream.started", h264))
    await gateway.hello(agent, agent={"name": "consilium-site", "version": "0.1.0", "boot_id": "boot-2"})
    assert (await shown(gateway))["rooms"] == [], "what flowed before the restart does not flow now"


async def test_an_event_with_unfit_data_never_blocks_the_queue(gateway: Opened) -> None:
    agent = await gateway.agent()
    unfit = [report(1, "devices", {"devices": "none"}), report(2, "stream.started", {}), report(3, "devices", DEVICES)]
    assert (await send(gateway, agent, *unfit)).json() == {"acked_through": 3}
    assert (await shown(gateway))["spool"]["unacknowledged"] == 3


async def test_a_capture_that_the_site_gave_up_is_announced_with_its_code_and_no_words(gateway: Opened) -> None:
    agent = await gateway.agent()
    facts = {"capture_id": "c1", "room_id": "demo", "code": "patient-mismatch", "detail": "Wang^Xiaodong is another"}
    failed = [report(1, "capture.failed", facts), report(2, "capture.failed", {**facts, "code": "Wang Xiaodong"})]
    await send(gateway, agent, *failed, report(3, "capture.failed", {"code": "no-id"}))
    await send(gateway, agent, *failed)
    query = select(outbox.c.subject, outbox.c.data).where(outbox.c.type == EventType.CAPTURE_FAILED.value)
    async with gateway.platform.database.read() as session:
        rows = [(row.subject, json.loads(row.data)) for row in await session.execute(query.order_by(outbox.c.seq))]
    site_id = (await shown(gateway))["id"]
    assert rows == [
        ("c1", {"site_id": site_id, "code": "patient-mismatch"}),
        ("c1", {"site_id": site_id, "code": "site-error"}),
    ]


async def test_sp_23_a_site_is_offline_ninety_seconds_after_its_last_poll_and_both_turns_are_announced(
    clocked: Clocked,
) -> None:
    ticker, told = Ticker(clocked.desk), 0

    async def announced() -> list[tuple[bool, str]]:
        nonlocal told
        changed = select(outbox.c.data).where(outbox.c.type == EventType.SITE_CHANGED.value).order_by(outbox.c.seq)
        async with clocked.platform.database.read() as session:
            events = [json.loads(data) for data in (await session.scalars(changed)).all()]
        fresh, told = events[told:], len(events)
        return [(event["online"], event["state"]) for event in fresh]

    agent = await clocked.agent()
    assert (await announced())[-1] == (True, "enrolled")
    for _ in range(4):
        clocked.clock.advance(60)
        await clocked.poll(agent)
        await ticker.tick()
    assert (await shown(clocked))["online"] is True
    assert await announced() == []
    last = clocked.clock.now()
    clocked.clock.advance(91)
    await ticker.tick()
    site = await shown(clocked)
    assert (site["online"], site["last_seen"]) == (False, iso(last))
    assert await announced() == [(False, "enrolled")]
    await clocked.poll(agent)
    assert (await shown(clocked))["online"] is True
    assert await announced() == [(True, "enrolled")]


async def test_polls_are_heartbeats_in_memory_and_not_a_write_each(clocked: Clocked) -> None:
    from sqlalchemy import event

    agent = await clocked.agent()
    writes: list[str] = []
    await clocked.platform.outbox.relay_once()

    def note(*call: Any) -> None:
        if call[2].startswith(("UPDATE", "INSERT")) and "outbox" not in call[2]:
            writes.append(call[2])

    event.listen(clocked.platform.database.engine.sync_engine, "before_cursor_execute", note)
    for _ in range(20):
        clocked.clock.advance(1)
        assert (await clocked.poll(agent)).status_code == 204
    assert writes == []
    assert (await shown(clocked))["last_seen"] == iso(clocked.clock.now())


async def test_old_events_are_forgotten_but_their_numbers_stay_acknowledged(clocked: Clocked) -> None:
    agent = await clocked.agent()
    await send(clocked, agent, report(1, "diagnostics", {}))
    ticker = Ticker(clocked.desk)
    clocked.clock.advance(31 * 86400)
    await ticker.tick()
    assert await stored(clocked) == []
    fresh = (
        await clocked.http.post("/site/v1/token", json={"site_id": agent.site_id, "refresh_secret": agent.secret})
    ).json()
    later = Agent(agent.site_id, fresh["access_token"], agent.secret)
    assert (await send(clocked, later, report(1, "diagnostics", {}))).json() == {"acked_through": 1}
