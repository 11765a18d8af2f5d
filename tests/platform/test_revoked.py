"""Revoked sites: known to every room at the start and within a moment, forgotten when the site enrols anew."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
from fastapi import Depends, FastAPI
from sqlalchemy import insert, update

from consilium_core.events import EventType
from consilium_core.roles import Permission, Principal, Role
from consilium_gateway.adapters.tables import site
from consilium_platform.http.app import create_app
from consilium_platform.http.auth import require
from consilium_platform.outbox import add_event
from consilium_platform.platform import Platform
from consilium_platform.revoked import open_revoked
from consilium_testkit.platforms import bearer


async def put_site(platform: Platform, site_id: str, state: str) -> None:
    row: dict[str, Any] = {
        "id": site_id, "tenant": "demo", "name": "x", "state": state, "created_at": platform.clock.now(),
        "refresh_hashes": [], "public_key": "", "boot_id": "", "version": "", "online": False, "devices": [], "streams": {},
        "spool_unacknowledged": 0, "spool_bytes": 0, "command_seq": 0, "event_seq": 0,
    }  # fmt: skip
    async with platform.database.write() as session:
        await session.execute(insert(site).values(row))


async def turn(platform: Platform, site_id: str, state: str, *, told: bool = True) -> None:
    async with platform.database.write() as session:
        await session.execute(update(site).where(site.c.id == site_id).values(state=state))
        if told:
            data = {"online": False, "state": state}
            await add_event(session, EventType.SITE_CHANGED, tenant="demo", subject=site_id, data=data)
    platform.outbox.wake()


async def until_held(platform: Platform, site_id: str, *, held: bool) -> None:
    async with asyncio.timeout(20):
        while platform.revoked.holds(site_id) is not held:
            await asyncio.sleep(0.01)


def service(platform: Platform) -> FastAPI:
    app = create_app("other", platform)

    @app.get("/work")
    async def work(who: Principal = Depends(require(Permission.SITE_WORK))) -> str:
        return who.subject

    return app


async def test_a_token_of_a_revoked_site_is_refused_by_every_room_and_works_again_once_it_has_enrolled(
    any_platform: Platform,
) -> None:
    await put_site(any_platform, "S1", "enrolled")
    await put_site(any_platform, "S2", "enrolled")
    headers = [bearer(any_platform, Role.SITE, subject=name) for name in ("S1", "S2")]
    transport = httpx2.ASGITransport(service(any_platform))
    async with httpx2.AsyncClient(transport=transport, base_url="http://other") as http:

        async def answers() -> list[int]:
            return [(await http.get("/work", headers=one)).status_code for one in headers]

        assert await answers() == [200, 200]
        await turn(any_platform, "S1", "revoked")
        await until_held(any_platform, "S1", held=True)
        assert await answers() == [401, 200]
        await turn(any_platform, "S1", "enrolled", told=False)  # its own event has not come yet
        assert await answers() == [200, 200]
    (entry,) = await any_platform.audit.search("demo", action="token.refused")
    assert (entry["actor"], entry["detail"]) == ("S1", "site-revoked")


async def test_what_was_revoked_before_the_start_is_known_from_the_first_moment(platform: Platform) -> None:
    await put_site(platform, "S1", "revoked")
    assert not platform.revoked.holds("S1")
    async with open_revoked(platform.database, platform.bus) as fresh:
        assert fresh.holds("S1")
        assert await fresh.confirmed("S1")
        assert not fresh.holds("S2")
