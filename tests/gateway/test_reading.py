"""What people read from the gateway: the event stream, the audit trail, the product's description."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
from pydantic import BaseModel

from consilium_core.events import EventType
from consilium_core.roles import Role
from consilium_gateway.app import begin_shutdown
from consilium_gateway.domain.openapi import merge_openapi
from consilium_platform.http.app import create_app
from consilium_platform.outbox import add_event
from consilium_platform.platform import Platform
from consilium_testkit.platforms import token

from .conftest import Clocked, Opened, opened
from .serving import served


class Note(BaseModel):
    """A body of a service behind the door."""

    text: str


class Stream:
    """An event stream as a browser reads it."""

    def __init__(self, lines: AsyncIterator[str]) -> None:
        self._lines = lines

    async def block(self) -> list[str]:
        """Return the next block of lines."""
        block: list[str] = []
        async with asyncio.timeout(10):
            async for line in self._lines:
                if not line:
                    return block
                block.append(line)
        return block

    async def event(self) -> dict[str, Any]:
        """Return the next event's data, comments skipped."""
        while True:
            block = await self.block()
            assert block, "the stream has ended"
            if block[0].startswith("event: "):
                data = json.loads(block[2].removeprefix("data: "))
                assert block[:2] == [f"event: {data['type']}", f"id: {data['seq']}"]
                return dict(data)


@asynccontextmanager
async def listening(gateway: Opened, bearer: str) -> AsyncIterator[Stream]:
    """Open the stream over a real connection."""
    async with served(gateway.app.state.door) as url, httpx2.AsyncClient(base_url=url) as http:
        headers = {"Authorization": f"Bearer {bearer}"}
        async with http.stream("GET", "/api/v1/events", headers=headers, timeout=30) as reply:
            assert reply.headers["content-type"].startswith("text/event-stream")
            stream = Stream(reply.aiter_lines())
            assert await stream.block() == [": open"]
            yield stream


async def tell(platform: Platform, subject: str, tenant: str = "demo") -> None:
    """Announce something."""
    async with platform.database.write() as session:
        await add_event(session, EventType.ROOM_CHANGED, tenant=tenant, subject=subject, data={"state": "live"})
    platform.outbox.wake()


async def test_events_of_ones_own_tenant_arrive_in_order_and_no_others(any_gateway: Opened) -> None:
    platform = any_gateway.platform
    async with listening(any_gateway, token(platform, Role.SPECIALIST)) as stream:
        await tell(platform, "a")
        await tell(platform, "foreign", "elsewhere")
        await tell(platform, "b")
        first, second = await stream.event(), await stream.event()
    assert [first["subject"], second["subject"]] == ["a", "b"]
    assert first["seq"] < second["seq"]


async def test_the_stream_ends_with_the_token(clocked: Clocked) -> None:
    async with listening(clocked, token(clocked.platform, Role.TRAINEE, ttl_s=600)) as stream:
        clocked.clock.advance(601)
        while block := await stream.block():
            assert block == [": here"]
    assert not clocked.app.state.event_streams


async def test_the_stream_ends_when_the_server_begins_to_stop(gateway: Opened) -> None:
    async with listening(gateway, token(gateway.platform, Role.TRAINEE)) as stream:
        begin_shutdown(gateway.app)
        assert await stream.block() == []


async def test_a_user_holds_a_bounded_number_of_streams(platform: Platform) -> None:
    async with opened(platform, max_streams_per_user=1) as gateway:
        bearer = token(platform, Role.TRAINEE)
        async with listening(gateway, bearer):
            reply = await gateway.http.get("/api/v1/events", headers={"Authorization": f"Bearer {bearer}"})
            assert (reply.status_code, reply.headers["retry-after"]) == (429, "15")


async def test_the_audit_trail_is_searched_paged_and_names_its_actors(any_gateway: Opened) -> None:
    user = await any_gateway.user()
    await any_gateway.sign_in(password="nope")
    for _ in range(5):
        await any_gateway.sign_in()
    headers = any_gateway.as_(Role.ITSEC)

    async def read(**query: str) -> Any:
        return (await any_gateway.http.get("/api/v1/audit", params=query, headers=headers)).json()

    denied = (await read(action="session.create", outcome="denied"))["items"]
    assert [(e["actor"], e["actor_name"], e["role"]) for e in denied] == [(user.id, "specialist", "specialist")]
    page = await read(actor="specialist", limit="4")
    rest = await read(actor="specialist", limit="4", cursor=page["next_cursor"])
    numbers = [e["seq"] for e in page["items"] + rest["items"]]
    assert len(numbers) == 6
    assert numbers == sorted(numbers, reverse=True)
    assert rest["next_cursor"] is None
    assert (await read(action="audit.view"))["items"], "reading the trail is itself in the trail"
    foreign = any_gateway.as_(Role.ITSEC, tenant="elsewhere")
    items = (await any_gateway.http.get("/api/v1/audit", headers=foreign)).json()["items"]
    assert {e["action"] for e in items} == {"audit.view"}


async def test_the_chain_is_verified_and_a_forged_entry_is_named(any_gateway: Opened) -> None:
    await any_gateway.user()
    for _ in range(3):
        await any_gateway.sign_in()
    headers = any_gateway.as_(Role.ADMIN)
    whole = (await any_gateway.http.get("/api/v1/audit/verify", headers=headers)).json()
    assert whole == {"ok": True, "entries": 3, "first_bad_seq": None}
    from sqlalchemy import text

    database = any_gateway.platform.database
    async with database.write() as session:  # an intruder who owns the database removes its own guard first
        if database.is_sqlite:
            await session.execute(text("DROP TRIGGER audit_entry_no_update"))
        else:
            await session.execute(text("ALTER TABLE audit_entry DISABLE TRIGGER ALL"))
        await session.execute(text("UPDATE audit_entry SET actor = 'somebody else' WHERE number = 2"))
    forged = (await any_gateway.http.get("/api/v1/audit/verify", headers=headers)).json()
    assert (forged["ok"], forged["first_bad_seq"]) == (False, 2)


async def test_info_needs_no_sign_in_and_gives_the_ice_servers(platform: Platform) -> None:
    servers = [{"urls": "stun:192.0.2.1:3478"}]
    async with opened(platform, ice_servers=servers) as gateway:
        told = (await gateway.http.get("/api/v1/info")).json()
    assert (told["name"], told["languages"], told["ice_servers"]) == ("consilium", ["zh-CN", "en"], servers)


async def test_the_openapi_document_covers_the_services_of_this_process_but_nothing_inside(platform: Platform) -> None:
    live = create_app("live", platform)

    @live.post("/api/v1/rooms/{room_id}/notes")
    async def write(room_id: str, note: Note) -> Note:
        return note

    @live.post("/internal/v1/rooms")
    async def inner(note: Note) -> Note:
        return note

    async with opened(platform, upstreams={"live": live}) as gateway:
        document = (await gateway.http.get("/api/openapi.json")).json()
    paths = document["paths"]
    assert {"/api/v1/session", "/site/v1/enroll", "/whip/{room_id}", "/whep/{room_id}/{session_id}"} <= set(paths)
    assert {"/site/v1/commands", "/api/v1/rooms/{room_id}/notes"} <= set(paths)
    assert not [path for path in paths if path.startswith("/internal")]
    assert "Note" in document["components"]["schemas"]
    assert document["openapi"].startswith("3.1")


async def test_on_a_cluster_the_openapi_document_comes_from_its_file(platform: Platform, tmp_path: Path) -> None:
    path = tmp_path / "consilium.json"
    path.write_text(json.dumps({"openapi": "3.1.0", "paths": {"/x": {}}}))
    async with opened(platform, openapi_file=path) as gateway:
        assert (await gateway.http.get("/api/openapi.json")).json()["paths"] == {"/x": {}}


def _part(schema: dict[str, Any], path: str) -> dict[str, Any]:
    ref = {"$ref": "#/components/schemas/Thing"}
    content = {"application/json": {"schema": {"oneOf": [ref], "discriminator": {"mapping": {"t": ref["$ref"]}}}}}
    operation = {"operationId": "read", "responses": {"200": {"content": content}}}
    return {"paths": {path: {"get": operation}}, "components": {"schemas": {"Thing": schema, "Unused": {}}}}


def test_merging_renames_what_collides_keeps_what_is_equal_and_drops_what_nobody_uses() -> None:
    parts = {
        "b": _part({"type": "string"}, "/b"),
        "a": _part({"type": "object"}, "/a"),
        "c": _part({"type": "object"}, "/c"),
    }
    before = json.dumps(parts, sort_keys=True)
    merged = merge_openapi(parts, version="1")
    assert set(merged["components"]["schemas"]) == {"Thing", "BThing"}
    schema = merged["paths"]["/b"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert schema["oneOf"] == [{"$ref": "#/components/schemas/BThing"}]
    assert schema["discriminator"]["mapping"] == {"t": "#/components/schemas/BThing"}
    assert merged["paths"]["/c"]["get"]["operationId"] == "c_read"
    assert json.dumps(parts, sort_keys=True) == before, "the parts are not changed"
    assert merge_openapi(dict(reversed(parts.items())), version="1") == merged


def test_one_path_of_two_services_keeps_both_methods() -> None:
    get = {"paths": {"/dicomweb/studies": {"get": {"operationId": "q"}}}}
    post = {"paths": {"/dicomweb/studies": {"post": {"operationId": "s"}}}}
    merged = merge_openapi({"imaging": get, "ingest": post}, version="1")
    assert set(merged["paths"]["/dicomweb/studies"]) == {"get", "post"}
