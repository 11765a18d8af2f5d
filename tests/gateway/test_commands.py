"""Commands to sites: life, leases, deadlines, replays, foreign sites, and the long poll that carries them (SP-20 to SP-28)."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import pytest
from prometheus_client import REGISTRY

from consilium_core.errors import Conflict, ConsiliumError, Invalid, NotFound
from consilium_core.roles import Role
from consilium_core.site_protocol import CommandState
from consilium_gateway.domain.commands import FINAL, TRANSITIONS, can_step, check_step
from consilium_gateway.errors import CommandClosed, CommandExpired
from consilium_gateway.flow.commands import end_overdue
from consilium_gateway.flow.ticker import Ticker

from .conftest import STOP, Agent, Clocked, Opened, opened

MARK = {
    "type": "capture.mark", "room_id": "demo", "capture_id": "c1",
    "context": {"study_uid": "2.25.1", "patient": {"patient_id": "CANARY-7", "name": "Canary^Patient"}},
}  # fmt: skip


async def answer(gateway: Opened, agent: Agent, command_id: str, verb: str, body: dict[str, Any]) -> httpx2.Response:
    """Send an ack or a result."""
    return await gateway.http.post(f"/site/v1/commands/{command_id}/{verb}", json=body, headers=agent.headers)


async def accept(gateway: Opened, agent: Agent, command_id: str) -> httpx2.Response:
    """Accept a command."""
    return await answer(gateway, agent, command_id, "ack", {"verdict": "accepted"})


async def running(gateway: Opened, agent: Agent, args: dict[str, Any] = STOP) -> str:
    """Return the id of a command that the agent has accepted."""
    command = await gateway.order(agent.site_id, args)
    (await gateway.poll(agent, command["seq"] - 1)).raise_for_status()
    (await accept(gateway, agent, command["id"])).raise_for_status()
    return str(command["id"])


async def waiting() -> None:
    """Return when a poll waits, its look into the database done."""
    while not REGISTRY.get_sample_value("consilium_gateway_polls_waiting"):
        await asyncio.sleep(0)


def test_every_state_is_in_the_table_and_an_illegal_step_is_refused() -> None:
    assert set(TRANSITIONS) == set(CommandState)
    assert {"succeeded", "failed", "refused", "expired", "cancelled"} == {state.value for state in FINAL}
    for now in CommandState:
        for then in CommandState:
            if can_step(now, then):
                check_step(now, then)
            else:
                with pytest.raises((CommandClosed, CommandExpired)):
                    check_step(now, then)


async def test_a_command_goes_queued_offered_running_succeeded(any_gateway: Opened) -> None:
    agent = await any_gateway.agent()
    command = await any_gateway.order(agent.site_id, MARK)
    assert (command["state"], command["seq"]) == ("queued", 1)
    polled = (await any_gateway.poll(agent)).json()
    assert polled["cursor"] == 1
    assert polled["commands"][0]["args"]["context"]["patient"]["name"] == "Canary^Patient"
    assert polled["commands"][0]["actor"] == "specialist"
    assert (await any_gateway.command(command["id"]))["state"] == "offered"
    assert (await accept(any_gateway, agent, command["id"])).json() == {"state": "running"}
    result = {"outcome": "succeeded", "data": {"capture_id": "c1", "frames": 1}}
    assert (await answer(any_gateway, agent, command["id"], "result", result)).json() == {"state": "succeeded"}
    ended = await any_gateway.command(command["id"])
    assert (ended["state"], ended["data"]["frames"]) == ("succeeded", 1)
    assert ended["args"] == {"type": "capture.mark", "room_id": "demo", "capture_id": "c1", "frame": None}, "no patient"
    assert (await any_gateway.poll(agent, 1)).status_code == 204


async def test_replayed_acks_and_results_answer_the_same(any_gateway: Opened) -> None:
    agent = await any_gateway.agent()
    command_id = await running(any_gateway, agent)
    assert (await accept(any_gateway, agent, command_id)).json() == {"state": "running"}
    failed = {"outcome": "failed", "detail": "no frame", "data": {"code": "frame-not-kept"}}
    for _ in range(2):
        assert (await answer(any_gateway, agent, command_id, "result", failed)).json() == {"state": "failed"}
    assert (await any_gateway.command(command_id))["reason"] == "frame-not-kept"
    other = await answer(any_gateway, agent, command_id, "result", {"outcome": "succeeded"})
    assert (other.status_code, other.json()["code"]) == (409, "command-closed")
    assert (await accept(any_gateway, agent, command_id)).status_code == 409


async def test_sp_24_a_refusal_carries_its_reason(gateway: Opened) -> None:
    agent = await gateway.agent()
    command = await gateway.order(agent.site_id, STOP)
    await gateway.poll(agent)
    for _ in range(2):
        reply = await answer(gateway, agent, command["id"], "ack", {"verdict": "refused", "reason": "policy"})
        assert reply.json() == {"state": "refused"}
    ended = await gateway.command(command["id"])
    assert (ended["state"], ended["reason"]) == ("refused", "policy")


async def test_sp_20_the_poll_gives_at_most_sixteen_oldest_first_and_goes_on_from_the_cursor(gateway: Opened) -> None:
    agent = await gateway.agent()
    for _ in range(20):
        await gateway.order(agent.site_id, STOP)
    first = (await gateway.poll(agent)).json()
    assert [c["seq"] for c in first["commands"]] == list(range(1, 17))
    rest = (await gateway.poll(agent, first["cursor"])).json()
    assert [c["seq"] for c in rest["commands"]] == [17, 18, 19, 20]


async def test_sp_13_offered_but_unacknowledged_commands_come_again_after_a_hello(any_gateway: Opened) -> None:
    agent = await any_gateway.agent()
    done = await running(any_gateway, agent)
    lost = (await any_gateway.order(agent.site_id, STOP))["id"]
    assert (await any_gateway.poll(agent, 1)).json()["cursor"] == 2
    cursor = (await any_gateway.hello(agent)).json()["cursor"]
    assert cursor == 1
    assert [c["id"] for c in (await any_gateway.poll(agent, cursor)).json()["commands"]] == [lost]
    assert done != lost


async def test_sp_13_a_poll_before_hello_or_from_the_future_asks_for_a_session(gateway: Opened) -> None:
    agent = await gateway.agent(hello=False)
    early = await gateway.poll(agent)
    assert (early.status_code, early.json()["code"]) == (409, "session-required")
    await gateway.hello(agent)
    assert (await gateway.poll(agent, 5)).status_code == 409


async def test_sp_20_a_waiting_poll_wakes_at_once_when_a_command_arrives(any_gateway: Opened) -> None:
    agent = await any_gateway.agent()
    poll = asyncio.create_task(any_gateway.poll(agent, wait=50))
    await waiting()
    command = await any_gateway.order(agent.site_id, STOP)
    assert (await poll).json()["commands"][0]["id"] == command["id"]


@pytest.mark.parametrize("world", [pytest.param("servers", marks=pytest.mark.servers)])
async def test_a_poll_wakes_for_a_command_that_another_gateway_process_queued(any_gateway: Opened) -> None:
    agent = await any_gateway.agent()
    poll = asyncio.create_task(any_gateway.poll(agent, wait=50))
    await waiting()
    async with opened(any_gateway.platform) as other:  # a second gateway on the same database
        command = await other.order(agent.site_id, STOP)
        assert (await poll).json()["commands"][0]["id"] == command["id"]


async def test_a_waiting_poll_asks_the_database_nothing(gateway: Opened) -> None:
    agent = await gateway.agent()
    poll = asyncio.create_task(gateway.poll(agent, wait=50))
    await waiting()
    asked: list[str] = []
    from sqlalchemy import event

    event.listen(gateway.platform.database.engine.sync_engine, "before_cursor_execute", lambda *a: asked.append(a[2]))
    for _ in range(50):
        await asyncio.sleep(0)
    assert [statement for statement in asked if "site_command" in statement and "seq" in statement] == []
    await gateway.order(agent.site_id, STOP)
    assert (await poll).status_code == 200
    assert asked, "the listener does see statements"


async def test_an_idle_poll_answers_204_when_its_time_is_over_and_at_shutdown(gateway: Opened) -> None:
    agent = await gateway.agent()
    assert (await gateway.poll(agent, wait=0.05)).status_code == 204
    poll = asyncio.create_task(gateway.poll(agent, wait=50))
    await waiting()
    from consilium_gateway.app import begin_shutdown

    begin_shutdown(gateway.app)
    assert (await poll).status_code == 204


@pytest.mark.parametrize("query", ["wait=x", "cursor=x", "wait=-1", "cursor=-1", "wait=nan"])
async def test_a_poll_with_bad_numbers_is_refused(gateway: Opened, query: str) -> None:
    agent = await gateway.agent()
    reply = await gateway.http.get(f"/site/v1/commands?{query}", headers=agent.headers)
    assert (reply.status_code, reply.headers["content-type"]) == (400, "application/problem+json")


async def test_a_poll_without_a_sites_token_is_refused(gateway: Opened) -> None:
    assert (await gateway.http.get("/site/v1/commands")).status_code == 401
    for role in (Role.ADMIN, Role.SERVICE):
        assert (await gateway.http.get("/site/v1/commands", headers=gateway.as_(role))).status_code == 403


async def test_another_sites_command_is_unknown_and_the_try_is_audited(any_gateway: Opened) -> None:
    mine, other = await any_gateway.agent("Mine"), await any_gateway.agent("Other")
    command_id = await running(any_gateway, mine)
    foreign = await answer(any_gateway, other, command_id, "result", {"outcome": "succeeded"})
    unknown = await answer(any_gateway, other, "01ARZ3NDEKTSV4RRFFQ69G5FAV", "result", {"outcome": "succeeded"})
    assert foreign.status_code == unknown.status_code == 404
    assert {k: v for k, v in foreign.json().items() if k != "instance"} == {
        k: v for k, v in unknown.json().items() if k != "instance"
    }
    assert (await accept(any_gateway, other, command_id)).status_code == 404
    assert [e["actor"] for e in await any_gateway.audited("site.foreign")] == [other.site_id] * 2
    assert (await any_gateway.command(command_id))["state"] == "running"
    lease = {"leases": [command_id]}
    renewed = await any_gateway.http.post("/site/v1/leases/renew", json=lease, headers=other.headers)
    assert renewed.json() == {"renewed": [], "cancel_requested": []}


async def test_what_nobody_began_before_its_deadline_expires(clocked: Clocked) -> None:
    agent = await clocked.agent()
    queued = await clocked.order(agent.site_id, STOP, deadline_s=10)
    offered = await clocked.order(agent.site_id, STOP, deadline_s=10)
    await clocked.poll(agent)
    clocked.clock.advance(11)
    late = await accept(clocked, agent, offered["id"])
    assert (late.status_code, late.json()["code"]) == (410, "command-expired")
    assert await end_overdue(clocked.desk) == 1
    assert [(await clocked.command(c["id"]))["state"] for c in (queued, offered)] == ["expired", "expired"]
    assert (await clocked.poll(agent)).status_code == 204
    assert (await accept(clocked, agent, queued["id"])).status_code == 410


async def test_a_running_command_whose_lease_is_lost_fails(clocked: Clocked) -> None:
    agent = await clocked.agent()
    command_id = await running(clocked, agent)
    clocked.clock.advance(50)
    lease = {"leases": [command_id, "unknown"]}
    reply = await clocked.http.post("/site/v1/leases/renew", json=lease, headers=agent.headers)
    assert reply.json() == {"renewed": [command_id], "cancel_requested": []}
    clocked.clock.advance(59)
    await Ticker(clocked.desk).tick()
    assert (await clocked.command(command_id))["state"] == "running", "renewed 59 s ago"
    clocked.clock.advance(2)
    await Ticker(clocked.desk).tick()
    ended = await clocked.command(command_id)
    assert (ended["state"], ended["reason"]) == ("failed", "lease-lost")
    reply = await clocked.http.post("/site/v1/leases/renew", json=lease, headers=agent.headers)
    assert reply.json() == {"renewed": [], "cancel_requested": []}
    assert (await answer(clocked, agent, command_id, "result", {"outcome": "succeeded"})).status_code == 409


async def test_sp_27_a_running_command_is_cancelled_through_its_lease_and_a_queued_one_at_once(
    any_gateway: Opened,
) -> None:
    agent = await any_gateway.agent()
    command_id = await running(any_gateway, agent)
    queued = (await any_gateway.order(agent.site_id, STOP))["id"]
    call = any_gateway.platform.services.call
    for wanted in (command_id, queued):
        await call("gateway", "POST", f"/internal/v1/sites/commands/{wanted}/cancel", tenant="demo", caller="live")
    assert (await any_gateway.command(queued))["state"] == "cancelled"
    assert (await any_gateway.poll(agent, 1)).status_code == 204
    lease = {"leases": [command_id]}
    reply = await any_gateway.http.post("/site/v1/leases/renew", json=lease, headers=agent.headers)
    assert reply.json() == {"renewed": [], "cancel_requested": [command_id]}
    assert (await answer(any_gateway, agent, command_id, "result", {"outcome": "cancelled"})).status_code == 200
    assert (await any_gateway.command(command_id))["state"] == "cancelled"


async def test_commands_issued_at_once_get_numbers_without_gap_or_double(any_gateway: Opened) -> None:
    agent = await any_gateway.agent()
    issued = await asyncio.gather(*(any_gateway.order(agent.site_id, STOP) for _ in range(12)))
    assert sorted(c["seq"] for c in issued) == list(range(1, 13))


async def test_a_service_may_wait_for_the_end_of_a_command(any_gateway: Opened) -> None:
    agent = await any_gateway.agent()
    command_id = await running(any_gateway, agent)
    path = f"/internal/v1/sites/commands/{command_id}?wait=30"
    call = any_gateway.platform.services.call("gateway", "GET", path, tenant="demo", caller="live", timeout_s=40)
    ended = asyncio.create_task(call)
    while f"command:{command_id}" not in any_gateway.desk.wakeups.waited_for():
        await asyncio.sleep(0)
    await answer(any_gateway, agent, command_id, "result", {"outcome": "succeeded"})
    assert (await ended)["state"] == "succeeded"


async def test_commands_only_go_to_enrolled_sites_of_the_callers_tenant(gateway: Opened) -> None:
    agent = await gateway.agent()
    pending, _ = await gateway.code("Pending")
    with pytest.raises(NotFound):
        await gateway.order("nowhere", STOP)
    with pytest.raises(NotFound):
        await gateway.order(agent.site_id, STOP, tenant="elsewhere")
    with pytest.raises(ConsiliumError) as nobody:
        await gateway.order(pending, STOP)
    assert "site-not-enrolled" in (nobody.value.facts.get("code"), nobody.value.code)
    with pytest.raises(Invalid):
        await gateway.order(agent.site_id, {"type": "shell.run", "line": "reboot"})
    command = await gateway.order(agent.site_id, STOP)
    path = f"/internal/v1/sites/commands/{command['id']}"
    with pytest.raises(NotFound):
        await gateway.platform.services.call("gateway", "GET", path, tenant="elsewhere", caller="live")


async def test_a_finished_command_can_not_be_cancelled(gateway: Opened) -> None:
    agent = await gateway.agent()
    command_id = await running(gateway, agent)
    await answer(gateway, agent, command_id, "result", {"outcome": "succeeded"})
    path = f"/internal/v1/sites/commands/{command_id}/cancel"
    with pytest.raises(Conflict):
        await gateway.platform.services.call("gateway", "POST", path, tenant="demo", caller="live")


async def test_administrators_may_order_a_self_report_only_and_see_no_patient_in_the_list(gateway: Opened) -> None:
    agent = await gateway.agent()
    path, headers = f"/api/v1/sites/{agent.site_id}/commands", gateway.as_(Role.ITSEC)
    ordered = await gateway.http.post(path, json={"type": "agent.diagnose", "args": {}}, headers=headers)
    assert (ordered.status_code, ordered.json()["type"]) == (202, "agent.diagnose")
    assert (await gateway.http.post(path, json=STOP, headers=headers)).status_code == 422
    await gateway.order(agent.site_id, MARK)
    listed = await gateway.http.get(path, headers=headers)
    assert [c["type"] for c in listed.json()["items"]] == ["capture.mark", "agent.diagnose"]
    assert "canary" not in listed.text.lower()


async def test_behind_the_door_the_poll_answers_too(gateway: Opened) -> None:
    agent = await gateway.agent()
    command = await gateway.order(agent.site_id, STOP)
    transport = httpx2.ASGITransport(gateway.app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://inner.test") as inner:
        reply = await inner.get("/site/v1/commands", headers=agent.headers)
    assert reply.json()["commands"][0]["id"] == command["id"]
