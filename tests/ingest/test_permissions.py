"""Every endpoint of ingest and imaging against every role and a foreign tenant; one that stands in no table fails."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx2
import pytest
import pytest_asyncio
from fastapi import FastAPI

from consilium_core.roles import PERMISSIONS, Permission, Role
from consilium_ingest.routing.settings import RoutingSettings
from consilium_platform.platform import Platform
from consilium_testkit.archive_rooms import Door, archive_door, door_client
from consilium_testkit.instances import CT, ct_instance, uids_of
from consilium_testkit.platforms import bearer
from consilium_testkit.routes import endpoints
from consilium_testkit.servers import free_port

from .test_uploads import TUS, create

OPEN = {
    ("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/metrics"),
    ("OPTIONS", "/site/v1/uploads"),  # tus: what the server can do
}  # fmt: skip


@dataclass(frozen=True)
class Endpoint:
    """One endpoint: who may call it, with what, and what it has for somebody of another tenant.

    ``foreign``: "nothing" - 404 or an empty list; "own" - it names nothing of ours and works in the caller's tenant.
    """

    permission: Permission
    query: str = ""
    body: dict[str, Any] | None = None
    foreign: Literal["nothing", "own"] = "nothing"
    headers: dict[str, str] = field(default_factory=dict)


_READ, _STORE = Permission.STUDY_READ, Permission.STUDY_STORE
_SITE, _LOOK, _DECIDE = Permission.SITE_WORK, Permission.QUARANTINE_READ, Permission.QUARANTINE_DECIDE
_DECISION = {"version": 1, "reason": "curious"}
_SERIES = "/dicomweb/studies/{study}/series/{series}"
_INSTANCE = f"{_SERIES}/instances/{{instance}}"
IMAGING: dict[tuple[str, str], Endpoint] = {
    ("GET", path): Endpoint(_READ)
    for path in (
        "/dicomweb/studies", "/dicomweb/series", "/dicomweb/instances", "/dicomweb/studies/{study}/series",
        "/dicomweb/studies/{study}/instances", f"{_SERIES}/instances", "/dicomweb/studies/{study}", _SERIES, _INSTANCE,
        "/dicomweb/studies/{study}/metadata", f"{_SERIES}/metadata", f"{_INSTANCE}/metadata",
        f"{_INSTANCE}/bulkdata/{{path:path}}", f"{_INSTANCE}/frames/{{frames}}", f"{_INSTANCE}/frames/{{frame}}/rendered",
        f"{_INSTANCE}/rendered", f"{_INSTANCE}/frames/{{frame}}/thumbnail", f"{_INSTANCE}/thumbnail", f"{_SERIES}/thumbnail",
        "/dicomweb/studies/{study}/thumbnail", "/api/v1/imaging/worklist",
    )
} | {
    ("GET", "/wado"): Endpoint(_READ, "?requestType=WADO&studyUID={study}&seriesUID={series}&objectUID={instance}"),
    ("GET", "/api/v1/imaging/studies/{uid}/priors"): Endpoint(_READ, foreign="own"),
}  # fmt: skip
_RULES, _ROUTED = "/api/v1/ingest/routing/rules", "/api/v1/ingest/routing/studies/{study_uid}"
_RULE = {"name": "curious", "destination": "upper"}
_COMMITMENT, _RECEIPTS = "/dicomweb/commitment-requests/{transaction_uid}", "/api/v1/ingest/storage"
_UPLOAD, _HELD = "/site/v1/uploads/{upload_id}", "/api/v1/ingest/quarantine"
INGEST: dict[tuple[str, str], Endpoint] = {
    ("POST", "/dicomweb/studies"): Endpoint(_STORE, foreign="own"),
    ("POST", "/dicomweb/studies/{study_uid}"): Endpoint(_STORE, foreign="own"),
    ("POST", "/site/v1/uploads"): Endpoint(_SITE, foreign="own", headers={"Upload-Length": "9"}),
    ("HEAD", _UPLOAD): Endpoint(_SITE),
    ("PATCH", _UPLOAD): Endpoint(
        _SITE, headers={"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    ),
    ("GET", f"{_UPLOAD}/status"): Endpoint(_SITE),
    ("GET", "/api/v1/ingest/uploads/{upload_id}"): Endpoint(Permission.SITE_READ),
    ("DELETE", _UPLOAD): Endpoint(_SITE),
    ("GET", _HELD): Endpoint(_LOOK),
    ("GET", f"{_HELD}/{{entry_id}}"): Endpoint(_LOOK),
    ("POST", f"{_HELD}/{{entry_id}}/identity"): Endpoint(_DECIDE, body=_DECISION | {"sex": "F"}),
    ("DELETE", f"{_HELD}/{{entry_id}}/identity"): Endpoint(_DECIDE, "?version=1"),
    ("POST", f"{_HELD}/{{entry_id}}/release"): Endpoint(_DECIDE, body=_DECISION),
    ("POST", f"{_HELD}/{{entry_id}}/reject"): Endpoint(_DECIDE, body=_DECISION),
    ("GET", "/api/v1/ingest/storage"): Endpoint(Permission.STORAGE_READ),
    ("GET", "/api/v1/ingest/storage/studies/{study_uid}"): Endpoint(Permission.STORAGE_READ),
    ("GET", "/api/v1/ingest/storage/tombstones"): Endpoint(Permission.STORAGE_READ),
    ("GET", "/api/v1/ingest/holds"): Endpoint(Permission.STORAGE_READ),
    ("POST", "/api/v1/ingest/holds"): Endpoint(
        Permission.HOLD_DECIDE, body={"study_uid": "{study}", "reason": "curious"}
    ),
    ("DELETE", "/api/v1/ingest/holds/{hold_id}"): Endpoint(Permission.HOLD_DECIDE),
    ("GET", "/api/v1/ingest/routing/destinations"): Endpoint(Permission.ROUTING_READ),
    ("GET", _RULES): Endpoint(Permission.ROUTING_READ),
    ("GET", f"{_RULES}/{{rule_id}}"): Endpoint(Permission.ROUTING_READ),
    ("GET", _ROUTED): Endpoint(Permission.ROUTING_READ),
    ("POST", f"{_RULES}/dry-run"): Endpoint(Permission.ROUTING_READ, body={"rule": _RULE}, foreign="own"),
    ("POST", _RULES): Endpoint(Permission.ROUTING_EDIT, body=_RULE, foreign="own"),
    ("PUT", f"{_RULES}/{{rule_id}}"): Endpoint(Permission.ROUTING_EDIT, body=_RULE | {"version": 1}),
    ("POST", f"{_ROUTED}/retry"): Endpoint(Permission.ROUTING_EDIT, body={"destination": ""}),
    ("DELETE", f"{_RULES}/{{rule_id}}"): Endpoint(Permission.ROUTING_EDIT, "?version=1"),
    ("POST", _COMMITMENT): Endpoint(
        _STORE, foreign="own", headers={"Content-Type": "application/dicom+json"}, body={"00081199": {}}
    ),
    ("GET", _COMMITMENT): Endpoint(_STORE),
    ("GET", "/api/v1/ingest/storage/transactions"): Endpoint(Permission.RECEIPT_READ),
    ("GET", f"{_RECEIPTS}/transactions/{{transaction_uid}}/receipt"): Endpoint(Permission.RECEIPT_READ),
    ("GET", f"{_RECEIPTS}/transactions/{{transaction_uid}}/receipt/page"): Endpoint(Permission.RECEIPT_READ),
    ("GET", f"{_RECEIPTS}/studies/{{study_uid}}/receipt"): Endpoint(Permission.RECEIPT_READ),
    ("GET", f"{_RECEIPTS}/studies/{{study_uid}}/receipt/page"): Endpoint(Permission.RECEIPT_READ),
}
ROOMS = {"imaging": IMAGING, "ingest": INGEST}


@pytest_asyncio.fixture
async def door(any_platform: Platform) -> AsyncIterator[Door]:
    """Yield both rooms, with a destination of routing that is not there."""
    upper = {
        "kind": "dimse",
        "tenant": "demo",
        "name": "upper",
        "host": "127.0.0.1",
        "port": free_port(),
        "called": "U",
    }
    async with archive_door(any_platform, routing=RoutingSettings.load(destinations=[upper])) as opened:
        yield opened


def app_of(door: Door, room: str) -> FastAPI:
    app = getattr(door, room)
    assert isinstance(app, FastAPI)
    return app


async def ask(
    client: httpx2.AsyncClient, of: tuple[str, str], endpoint: Endpoint, names: dict[str, str]
) -> httpx2.Response:
    """Call an endpoint with its path and body filled in."""
    method, path = of
    url = path + endpoint.query
    for name, value in names.items():
        url = url.replace(f"{{{name}}}", value)
    body = endpoint.body and {k: v.format(**names) if isinstance(v, str) else v for k, v in endpoint.body.items()}
    return await client.request(method, url, json=body, headers=TUS | endpoint.headers)


@pytest.mark.parametrize("room", list(ROOMS))
async def test_every_endpoint_stands_in_the_table_with_its_one_permission_or_is_meant_to_be_open(
    door: Door, room: str
) -> None:
    named = {
        (method, path): asked for method, path, asked in endpoints(app_of(door, room)) if (method, path) not in OPEN
    }
    assert named == {of: {endpoint.permission} for of, endpoint in ROOMS[room].items()}
    opened = {(method, path) for method, path, asked in endpoints(app_of(door, room)) if not asked}
    assert opened <= OPEN


@pytest.mark.parametrize("room", list(ROOMS))
async def test_every_role_gets_exactly_what_the_table_says_and_refusals_are_audited(
    any_platform: Platform, door: Door, room: str
) -> None:
    names = dict.fromkeys(("study", "series", "instance", "uid", "study_uid", "transaction_uid"), "1.2.3")
    names |= {"path:path": "7FE00010", "frames": "1", "frame": "1"}
    names |= dict.fromkeys(("upload_id", "entry_id", "hold_id", "rule_id"), "x")
    refused = 0
    for of, endpoint in ROOMS[room].items():
        async with door_client(door, {}) as nobody:
            assert (await ask(nobody, of, endpoint, names)).status_code == 401, of
        for role in Role:
            async with door_client(door, bearer(any_platform, role)) as caller:
                reply = await ask(caller, of, endpoint, names)
            denied = reply.status_code == 403
            assert denied is (role not in PERMISSIONS[endpoint.permission]), (of, role, reply.status_code)
            refused += denied
    trail = await any_platform.audit.search("demo", action="permission.denied", limit=1000)
    assert len(trail) == refused > 0


async def test_another_tenant_gets_nothing_of_ours_from_any_endpoint(
    any_platform: Platform, door: Door, client: httpx2.AsyncClient
) -> None:
    names = await filled(any_platform, door, client)
    for room in ROOMS.values():
        for of, endpoint in room.items():
            role = Role.SITE if endpoint.permission is _SITE else Role.ADMIN
            mine = bearer(any_platform, role, subject="one")
            async with door_client(door, bearer(any_platform, role, subject="one", tenant="elsewhere")) as stranger:
                reply = await ask(stranger, of, endpoint, names)
            if endpoint.foreign == "own":
                assert reply.status_code != 404, of
                continue
            assert reply.status_code == 404 or empty(reply), (of, reply.status_code, reply.text)
            async with door_client(door, mine) as owner:
                theirs = await ask(owner, of, endpoint, names)
            assert theirs.status_code != 404, (of, "the table names what is not there")
            assert theirs.status_code != 200 or of[1].endswith("tombstones") or not empty(theirs), of
    assert await any_platform.audit.search("elsewhere", action="study.retrieve", patient_id="P1") == []


async def filled(platform: Platform, door: Door, client: httpx2.AsyncClient) -> dict[str, str]:
    """Store, hold and begin one of each; return what names them."""
    file = ct_instance(side=16)
    study, series, instance = uids_of(file)
    media = {"Content-Type": "application/dicom"}
    assert (await client.post("/dicomweb/studies", content=file, headers=media)).status_code == 200
    held = ct_instance(side=16, PatientBirthDate="20250101")
    assert (await client.post("/dicomweb/studies", content=held, headers=media)).status_code == 409
    [entry] = (await client.get(_HELD)).json()["items"]
    rule = await client.post(_RULES, json=_RULE)
    hold = await client.post("/api/v1/ingest/holds", json={"study_uid": study, "reason": "a lawsuit"})
    references = {
        "00081199": {
            "vr": "SQ",
            "Value": [{"00081150": {"vr": "UI", "Value": [CT]}, "00081155": {"vr": "UI", "Value": [instance]}}],
        }
    }
    asked = await client.post(
        "/dicomweb/commitment-requests/1.2.4", json=references, headers={"Content-Type": "application/dicom+json"}
    )
    assert asked.status_code == 200
    async with door_client(door, bearer(platform, Role.SITE, subject="one") | TUS) as site:
        upload = (await create(site, file)).rsplit("/", 1)[1]
    return {
        "study": study, "uid": study, "study_uid": study, "series": series, "instance": instance, "path:path": "7FE00010", "frames": "1",
        "frame": "1", "transaction_uid": "1.2.4", "rule_id": rule.json()["id"], "entry_id": entry["id"],
        "hold_id": hold.json()["id"], "upload_id": upload,
    }  # fmt: skip


def empty(reply: httpx2.Response) -> bool:
    """Tell whether an answer of 200 lists nothing."""
    if reply.status_code != 200 or "json" not in reply.headers.get("content-type", ""):
        return False
    said = reply.json()
    return said == [] or (isinstance(said, dict) and (said.get("items") == [] or said.get("instances") == 0))
