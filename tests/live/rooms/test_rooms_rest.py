"""REST of the rooms: opening, listing, showing, starting, stopping, ending."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from consilium_core.errors import Unavailable
from consilium_core.roles import PERMISSIONS, Permission, Role
from consilium_live.api import media, rooms

NEW_ROOM = {"title": "Echo", "site_id": "01SITE"}
ENDPOINTS: list[tuple[str, str, Permission, dict[str, Any] | None]] = [
    ("GET", "/api/v1/rooms", Permission.ROOM_LIST, None),
    ("POST", "/api/v1/rooms", Permission.ROOM_HOST, NEW_ROOM),
    ("GET", "/api/v1/rooms/demo", Permission.ROOM_VIEW, None),
    ("POST", "/api/v1/rooms/demo/stream", Permission.ROOM_HOST, {"action": "start"}),
    ("POST", "/api/v1/rooms/demo/end", Permission.ROOM_HOST, None),
    ("POST", "/api/v1/rooms/demo/captures", Permission.ROOM_CAPTURE, {"kind": "still"}),
    ("GET", "/api/v1/rooms/demo/captures", Permission.ROOM_VIEW, None),
    ("POST", "/internal/v1/rooms", Permission.INTERNAL, NEW_ROOM),
    ("POST", "/whip/demo", Permission.ROOM_PUBLISH, None),
    ("POST", "/whep/demo", Permission.ROOM_VIEW, None),
    ("DELETE", "/whip/demo/s", Permission.ROOM_PUBLISH, None),
    ("PATCH", "/whep/demo/s", Permission.ROOM_VIEW, None),
]


@pytest.mark.parametrize("role", Role)
async def test_every_endpoint_lets_in_only_the_roles_of_its_permission(live: Any, role: Role) -> None:
    await live.open_room()
    for method, path, permission, body in ENDPOINTS:
        subject = "01SITE" if role is Role.SITE else None
        reply = await live.http.request(method, path, json=body, headers=live.bearer(role, subject=subject))
        allowed = role in PERMISSIONS[permission]
        assert (reply.status_code != 403) == allowed, f"{role} {method} {path}: {reply.status_code} {reply.text}"
    denied = await live.audited(action="permission.denied", outcome="denied")
    assert len(denied) == sum(role not in PERMISSIONS[p] for _, _, p, _ in ENDPOINTS)


@pytest.mark.parametrize(("method", "path"), [(m, p) for m, p, _, _ in ENDPOINTS])
async def test_nobody_comes_in_without_a_token(live: Any, method: str, path: str) -> None:
    reply = await live.http.request(method, path, json={})
    assert reply.status_code == 401
    assert reply.json()["code"] == "token-refused"


def test_every_route_of_the_service_is_in_the_table_above() -> None:
    declared = {route.path for router in (rooms.router, media.router) for route in router.routes}  # type: ignore[attr-defined]
    tabled = {path.replace("/demo/s", "/demo/{session_id}") for _, path, _, _ in ENDPOINTS if path.count("/") < 4}
    tabled |= {path for _, path, _, _ in ENDPOINTS if path.count("/") >= 4}
    assert declared == {path.replace("/demo", "/{room_id}") for path in tabled}


async def test_an_internal_room_with_a_fixed_id_is_opened_once(live: Any) -> None:
    first = await live.open_room()
    again = await live.open_room(title="Another title")
    assert again["study_uid"] == first["study_uid"]
    assert again["title"] == "Echocardiography"
    assert first["state"] == "planned"
    assert first["live"] is False


async def test_an_internal_room_is_idempotent_on_its_consultation(live: Any) -> None:
    first = await live.open_room(id=None, consultation_id="C1")
    again = await live.open_room(id=None, consultation_id="C1")
    other = await live.open_room(id=None, consultation_id="C2")
    assert first["id"] == again["id"] != other["id"]


@pytest.mark.parametrize(
    "other", [{"patient": {"patient_id": "P-78", "name": "Wang^Xiaodong"}}, {"study_uid": "1.2.3"}]
)
async def test_a_consultations_room_is_not_given_out_for_another_patient_or_study(live: Any, other: Any) -> None:
    body = {"title": "Echo", "site_id": "01SITE", "consultation_id": "C1", "patient": {"patient_id": "P-77"}}
    headers = live.bearer(Role.SERVICE)
    assert (await live.http.post("/internal/v1/rooms", json=body, headers=headers)).status_code == 200
    assert (await live.http.post("/internal/v1/rooms", json=body, headers=headers)).status_code == 200
    reply = await live.http.post("/internal/v1/rooms", json={**body, **other}, headers=headers)
    assert (reply.status_code, reply.json()["code"]) == (409, "room-conflict")


async def test_the_public_address_takes_no_consultation(live: Any) -> None:
    await live.open_room(consultation_id="C1")
    body = {**NEW_ROOM, "consultation_id": "C1"}
    made = (await live.http.post("/api/v1/rooms", json=body, headers=live.bearer(Role.OPERATOR))).json()
    assert made["id"] != "demo"
    assert made["consultation_id"] is None


async def test_two_services_opening_one_consultation_at_once_get_one_room(live: Any) -> None:
    opened = await asyncio.gather(*(live.open_room(id=None, consultation_id="C1") for _ in range(5)))
    assert len({room["id"] for room in opened}) == 1


async def test_a_room_takes_the_whole_context_and_the_sites_own_name(live: Any) -> None:
    context = {
        "patient": {"patient_id": "P-9", "name": "Li^Na"}, "study_uid": "2.25.9", "accession_number": "A-9",
        "modality": "ES", "study_description": "Endoscopy", "referring_physician": "Zhao^Yi",
    }  # fmt: skip
    body = {"title": "Consultation A-9", "site_id": "01SITE", "consultation_id": "C9", "context": context}
    room = (await live.http.post("/internal/v1/rooms", json=body, headers=live.bearer(Role.SERVICE))).json()
    assert (room["site_name"], room["modality"], room["study_uid"]) == ("County hospital", "ES", "2.25.9")
    url = f"/api/v1/rooms/{room['id']}/captures"
    await live.go_live(room["id"])
    await live.http.post(url, json={"kind": "still"}, headers=live.bearer(Role.OPERATOR))
    sent = live.gateway.of_type("capture.mark")[0].model_dump()["context"]
    assert {key: sent[key] for key in context if key != "patient"} == {
        k: v for k, v in context.items() if k != "patient"
    }
    assert sent["patient"]["name"] == "Li^Na"
    assert sent["operator_name"] == "Operator"


async def test_a_room_for_a_site_that_is_not_there_is_refused(live: Any) -> None:
    reply = await live.http.post("/api/v1/rooms", json={"title": "x", "site_id": "no"}, headers=live.bearer(Role.ADMIN))
    assert (reply.status_code, reply.json()["code"]) == (400, "site-unknown")


async def test_a_room_of_another_tenant_is_not_found(live: Any) -> None:
    await live.open_room()
    headers = live.bearer(Role.ADMIN, tenant="other")
    assert (await live.http.get("/api/v1/rooms/demo", headers=headers)).status_code == 404
    assert (await live.http.get("/api/v1/rooms", headers=headers)).json()["items"] == []
    taken = await live.http.post(
        "/internal/v1/rooms", json={**NEW_ROOM, "id": "demo"}, headers=live.bearer(Role.SERVICE, tenant="other")
    )
    assert taken.status_code == 404


async def test_lists_name_no_patient_and_page_newest_first(live: Any) -> None:
    for number in range(5):
        await live.open_room(id=f"room-{number}", title=f"Room {number}")
        live.clock.advance(1)
    headers = live.bearer(Role.ITSEC)
    first = (await live.http.get("/api/v1/rooms?limit=3", headers=headers)).json()
    rest = (await live.http.get(f"/api/v1/rooms?limit=3&cursor={first['next_cursor']}", headers=headers)).json()
    assert [room["id"] for room in first["items"] + rest["items"]] == [f"room-{n}" for n in (4, 3, 2, 1, 0)]
    assert rest["next_cursor"] is None
    assert "P-77" not in str(first)
    assert "Wang" not in str(first)


@pytest.mark.parametrize("role", [Role.SPECIALIST, Role.ADMIN])
async def test_a_view_shows_the_patient_and_is_audited_with_it(live: Any, role: Role) -> None:
    await live.open_room()
    room = (await live.http.get("/api/v1/rooms/demo", headers=live.bearer(role))).json()
    assert room["patient_id"] == "P-77"
    assert room["patient"]["name"] == "Wang^Xiaodong"
    assert room["accession_number"] == "A-1"
    views = await live.audited(action="room.view", patient_id="P-77")
    assert [view["actor"] for view in views] == [role.value]


@pytest.mark.parametrize("role", [Role.TRAINEE, Role.QC])
async def test_whoever_may_not_read_patients_sees_the_room_without(live: Any, role: Role) -> None:
    await live.open_room()
    text = (await live.http.get("/api/v1/rooms/demo", headers=live.bearer(role))).text
    assert "P-77" not in text
    assert "Wang" not in text
    assert "A-1" not in text


async def test_starting_orders_the_site_and_is_live_when_packets_come(live: Any) -> None:
    await live.open_room()
    headers = live.bearer(Role.OPERATOR)
    reply = await live.http.post("/api/v1/rooms/demo/stream", json={"action": "start"}, headers=headers)
    assert reply.status_code == 202
    assert reply.json()["state"] == "lobby"
    assert [site for site, _ in live.gateway.sent] == ["01SITE"]
    order = live.gateway.of_type("stream.publish")[0]
    assert (order.codec, order.max_height, order.max_bitrate_bps) == ("h264", 1080, 8_000_000)
    await live.whip()
    assert (await live.http.get("/api/v1/rooms/demo", headers=headers)).json()["live"] is False
    live.plane.packets("demo-h264")
    room = await room_in_state(live, "live")
    assert room["live"] is True
    assert room["started_at"] is not None
    assert [(t["id"], t["source"], t["state"]) for t in room["tracks"]] == [("demo-h264", "modality", "live")]


async def room_in_state(live: Any, state: str) -> dict[str, Any]:
    async with asyncio.timeout(10):
        while True:
            room = (await live.http.get("/api/v1/rooms/demo", headers=live.bearer(Role.ADMIN))).json()
            if room["state"] == state:
                return dict(room)


async def test_starting_twice_is_the_same(live: Any) -> None:
    await live.open_room()
    for _ in range(2):
        reply = await live.http.post(
            "/api/v1/rooms/demo/stream", json={"action": "start"}, headers=live.bearer(Role.SERVICE)
        )
        assert reply.status_code == 202


async def test_a_site_that_cannot_be_told_is_an_error_to_the_host(live: Any) -> None:
    await live.open_room()
    live.gateway.refuse = Unavailable("The site is off line.")
    reply = await live.http.post(
        "/api/v1/rooms/demo/stream", json={"action": "start"}, headers=live.bearer(Role.OPERATOR)
    )
    assert reply.status_code == 503
    assert reply.json()["detail"] == "The site is off line."


async def test_stopping_pauses_closes_the_media_and_refuses_to_publish_until_started(live: Any) -> None:
    await live.open_room()
    await live.go_live()
    await room_in_state(live, "live")
    headers = live.bearer(Role.SPECIALIST)
    stopped = await live.http.post("/api/v1/rooms/demo/stream", json={"action": "stop"}, headers=headers)
    assert stopped.json()["state"] == "paused"
    assert stopped.json()["tracks"] == []
    assert live.plane.sessions == {}
    assert len(live.gateway.of_type("stream.stop")) == 1
    assert (await live.whip()).json()["code"] == "room-paused"
    await live.http.post("/api/v1/rooms/demo/stream", json={"action": "start"}, headers=headers)
    await live.go_live()
    await room_in_state(live, "live")


async def test_an_ended_room_takes_nothing_any_more(live: Any) -> None:
    await live.open_room()
    await live.go_live()
    headers = live.bearer(Role.OPERATOR)
    ended = await live.http.post("/api/v1/rooms/demo/end", headers=headers)
    assert ended.json()["state"] == "ended"
    assert ended.json()["live"] is False
    assert live.plane.sessions == {}
    assert (await live.http.post("/api/v1/rooms/demo/end", headers=headers)).status_code == 200
    start = await live.http.post("/api/v1/rooms/demo/stream", json={"action": "start"}, headers=headers)
    mark = await live.http.post("/api/v1/rooms/demo/captures", json={"kind": "still"}, headers=headers)
    assert [start.status_code, mark.status_code, (await live.whip()).status_code] == [410, 410, 410]


@pytest.mark.parametrize(
    "body",
    [{}, {"title": ""}, {"title": "x", "study_uid": "abc"}, {"title": "x", "modality": "us'"}, {"title": "x" * 201}],
)
async def test_a_room_that_does_not_fit_is_refused_with_the_field(live: Any, body: dict[str, Any]) -> None:
    reply = await live.http.post("/api/v1/rooms", json=body, headers=live.bearer(Role.OPERATOR))
    assert reply.status_code == 422
    assert reply.json()["fields"]
