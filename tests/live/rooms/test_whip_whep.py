"""WHIP (RFC 9725) and WHEP as HTTP: who may publish, what is answered, how a session lives and ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import insert

from consilium_core.clock import FakeClock
from consilium_core.events import EventType
from consilium_core.roles import Role
from consilium_gateway.adapters.tables import site
from consilium_live.domain.ice import turn_credential
from consilium_live.flow.keeper import tick
from consilium_platform.outbox import add_event
from consilium_platform.platform import Platform

from .conftest import SITE, LiveService, offer, running, until

SDP = {"Content-Type": "application/sdp"}
FRAGMENT = {"Content-Type": "application/trickle-ice-sdpfrag"}
TRICKLE = "a=ice-ufrag:abcd\r\na=ice-pwd:x\r\nm=video 9 RTP/AVP 0\r\na=mid:0\r\na=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n"


async def view(live: LiveService, sdp: str, role: Role = Role.SPECIALIST) -> Any:
    return await live.http.post("/whep/demo", content=sdp, headers={**live.bearer(role), **SDP})


async def test_publishing_answers_201_with_location_etag_and_the_answer(live: LiveService) -> None:
    await live.open_room()
    reply = await live.whip()
    session = reply.headers["location"].removeprefix("/whip/demo/")
    assert reply.status_code == 201
    assert reply.headers["content-type"] == "application/sdp"
    assert reply.text == f"answer-to-{session}"
    assert reply.headers["etag"].startswith('"')
    assert "link" not in reply.headers


async def test_ice_servers_are_told_by_link_with_turn_credentials_that_end(
    still_platform: Platform, clock: FakeClock
) -> None:
    urls = {"stun_urls": ["stun:s:3478"], "turn_urls": ["turn:t:3478?transport=udp"], "turn_secret": "hush"}
    async with running(still_platform, clock, **urls) as live:
        await live.open_room()
        reply = await live.whip()
        session = reply.headers["location"].rpartition("/")[2]
        name, password = turn_credential("hush", session, int(clock.now().timestamp()) + 3600)
        assert reply.headers.get_list("link") == [
            '<stun:s:3478>; rel="ice-server"',
            f'<turn:t:3478?transport=udp>; rel="ice-server"; username="{name}"; credential="{password}"; '
            'credential-type="password"',
        ]


def test_turn_credentials_are_those_of_coturn() -> None:
    # printf 1433895918:sid | openssl dgst -sha1 -hmac my_secret -binary | base64
    assert turn_credential("my_secret", "sid", 1433895918) == ("1433895918:sid", "X62lrlguAg6VQJ/0dfDo9APEEz0=")


async def test_a_foreign_site_is_refused_and_audited(live: LiveService) -> None:
    await live.open_room()
    headers = {**live.bearer(Role.SITE, subject="01OTHER"), **SDP}
    reply = await live.http.post("/whip/demo", content=offer("sendonly:h264"), headers=headers)
    assert (reply.status_code, reply.json()["code"]) == (403, "foreign-site")
    assert live.plane.sessions == {}
    entries = await live.audited(action="room.publish", outcome="denied")
    assert [(e["actor"], e["subject"], e["detail"]) for e in entries] == [("01OTHER", "demo", "foreign-site")]


async def test_an_operator_may_publish_beside_the_site(live: LiveService) -> None:
    await live.open_room()
    await live.go_live()
    assert (await live.whip(role=Role.OPERATOR)).status_code == 201
    tracks = (await live.http.get("/api/v1/rooms/demo", headers=live.bearer(Role.ADMIN))).json()["tracks"]
    assert [t["id"] for t in tracks] == ["demo-h264", "demo-operator-h264"]
    assert tracks[0]["group"] != tracks[1]["group"]


async def test_publishing_again_replaces_the_same_codec_and_keeps_the_other(live: LiveService) -> None:
    await live.open_room()
    first = (await live.whip()).headers["location"].rpartition("/")[2]
    other = (await live.whip(offer("sendonly:vp8"))).headers["location"].rpartition("/")[2]
    second = (await live.whip()).headers["location"].rpartition("/")[2]
    assert set(live.plane.sessions) == {other, second}
    assert live.plane.closed == [first]
    headers = live.bearer(Role.SITE, subject="01SITE")
    assert (await live.http.delete(f"/whip/demo/{first}", headers=headers)).status_code == 404


async def test_two_publications_at_once_leave_one(live: LiveService) -> None:
    await live.open_room()
    replies = await asyncio.gather(*(live.whip() for _ in range(4)))
    assert [r.status_code for r in replies] == [201] * 4
    assert len(live.plane.sessions) == 1


async def test_a_room_that_nobody_is_in_is_not_forgotten_while_a_publisher_is_answered(
    live: LiveService, monkeypatch: pytest.MonkeyPatch
) -> None:
    await live.open_room()
    publish = live.plane.publish

    async def slow(*args: Any, **facts: Any) -> Any:
        await until(lambda: not live.context.halls.is_dirty("demo"), "nothing to look at")
        tick(live.context)
        return await publish(*args, **facts)

    monkeypatch.setattr(live.plane, "publish", slow)
    assert (await live.whip()).status_code == 201
    hall = live.context.halls.get("demo")
    assert hall is not None
    assert list(hall.tracks) == ["demo-h264"]
    assert hall.arriving == 0


async def test_nothing_is_published_into_or_seen_in_a_room_that_ends_meanwhile(
    live: LiveService, monkeypatch: pytest.MonkeyPatch
) -> None:
    await live.open_room()
    await live.go_live()
    hall = live.context.halls.open("demo", "demo")
    async with hall.publishing:
        publishing = asyncio.create_task(live.whip())
        await until(lambda: hall.publishing._waiters, "the publisher waits for its turn")
        act = live.context.audit.act

        async def ending(principal: Any, action: str, *args: Any, **facts: Any) -> None:
            await act(principal, action, *args, **facts)
            if action == "room.view" and facts.get("detail") == "whep":
                await live.http.post("/api/v1/rooms/demo/end", headers=live.bearer(Role.ADMIN))

        monkeypatch.setattr(live.context.audit, "act", ending)
        assert (await view(live, offer("recvonly:h264"))).status_code == 410
    assert (await publishing).status_code == 410
    assert live.plane.sessions == {}


async def test_publishers_whose_ids_end_alike_do_not_share_a_track(live: LiveService) -> None:
    await live.open_room()
    for subject in ("01AAAAAA-12345678", "01BBBBBB-12345678"):
        headers = {**live.bearer(Role.OPERATOR, subject=subject), **SDP}
        reply = await live.http.post("/whip/demo", content=offer("sendonly:h264"), headers=headers)
        assert reply.status_code == 201
    assert set(live.plane.known) == {"demo-01AAAAAA-12345678-h264", "demo-01BBBBBB-12345678-h264"}


async def test_a_refused_offer_leaves_no_track_behind(live: LiveService) -> None:
    await live.open_room()
    reply = await live.whip(offer("recvonly:h264"))
    assert (reply.status_code, reply.json()["code"]) == (400, "invalid")
    assert live.context.halls.get("demo") is None


@pytest.mark.parametrize("kind", ["whip", "whep"])
async def test_the_body_is_checked_for_type_size_and_content(live: LiveService, kind: str) -> None:
    await live.open_room()
    url, headers = f"/{kind}/demo", live.bearer(Role.ADMIN)
    wrong = await live.http.post(url, content="v=0", headers={**headers, "Content-Type": "text/plain"})
    large = await live.http.post(url, content="v=0\r\n" * 30_000, headers={**headers, **SDP})
    empty = await live.http.post(url, content=" ", headers={**headers, **SDP})
    binary = await live.http.post(url, content=b"\xff\xfe", headers={**headers, **SDP})
    assert [r.status_code for r in (wrong, large, empty, binary)] == [415, 413, 400, 400]


@pytest.mark.parametrize("kind", ["whip", "whep"])
async def test_methods_without_meaning_are_405_and_options_tells_what_is_taken(live: LiveService, kind: str) -> None:
    for url, methods in (
        (f"/{kind}/demo", ("GET", "PUT", "PATCH", "DELETE")),
        (f"/{kind}/demo/s", ("GET", "PUT", "POST")),
    ):
        for method in methods:
            assert (await live.http.request(method, url)).status_code == 405
    assert (await live.http.options(f"/{kind}/demo")).headers["accept-post"] == "application/sdp"
    assert (await live.http.options(f"/{kind}/demo/s")).headers["accept-patch"] == "application/trickle-ice-sdpfrag"


@pytest.mark.parametrize("kind", ["whip", "whep"])
async def test_pages_of_other_origins_may_ask_and_may_read_answers_and_errors(live: LiveService, kind: str) -> None:
    """RFC 9725 4.2: a preflight has no token; errors carry the headers too, or a page learns nothing of them."""
    await live.open_room()
    await live.go_live()
    page = {"Origin": "https://viewer.example", "Access-Control-Request-Method": "POST"}
    for url in (f"/{kind}/demo", f"/{kind}/demo/s"):
        reply = await live.http.options(url, headers=page)
        assert reply.status_code == 204
        assert reply.headers["access-control-allow-origin"] == "*"
        assert {"POST", "PATCH", "DELETE"} <= set(reply.headers["access-control-allow-methods"].split(", "))
        assert {"Authorization", "Content-Type", "If-Match"} <= set(
            reply.headers["access-control-allow-headers"].split(", ")
        )
    sdp = offer("sendonly:h264" if kind == "whip" else "recvonly:h264")
    made = await live.http.post(f"/{kind}/demo", content=sdp, headers={**live.bearer(Role.OPERATOR), **SDP, **page})
    refused = await live.http.post(f"/{kind}/demo", content=sdp, headers={**SDP, **page})
    unknown = await live.http.post(f"/{kind}/nowhere", content=sdp, headers={**live.bearer(Role.OPERATOR), **SDP})
    assert [r.status_code for r in (made, refused, unknown)] == [201, 401, 404]
    for reply in (made, refused, unknown):
        assert reply.headers["access-control-allow-origin"] == "*"
        assert {"Location", "ETag", "Link"} <= set(reply.headers["access-control-expose-headers"].split(", "))
    assert "access-control-allow-origin" not in (await live.http.get("/api/v1/rooms", headers=page)).headers


async def test_only_the_named_origins_may_use_media_where_some_are_named(
    still_platform: Platform, clock: FakeClock
) -> None:
    async with running(still_platform, clock, cors_origins=["https://viewer.example"]) as live:
        for origin, told in (("https://viewer.example", "https://viewer.example"), ("https://other.example", None)):
            reply = await live.http.options("/whep/demo", headers={"Origin": origin})
            assert reply.headers.get("access-control-allow-origin") == told
            assert reply.headers["vary"] == "Origin"


async def test_candidates_trickle_with_if_match_and_an_ice_restart_is_refused(live: LiveService) -> None:
    await live.open_room()
    reply = await live.whip()
    url, etag = reply.headers["location"], reply.headers["etag"]
    headers = {**live.bearer(Role.SITE, subject="01SITE"), **FRAGMENT}

    async def patch(condition: str | None, fragment: str = TRICKLE) -> int:
        more = {"If-Match": condition} if condition else {}
        return int((await live.http.patch(url, content=fragment, headers={**headers, **more})).status_code)

    assert await patch(etag) == 204
    assert live.plane.candidates == [(url.rpartition("/")[2], TRICKLE)]
    assert await patch(None) == 428
    assert await patch('"another"') == 412
    assert await patch("*") == 422
    assert await patch(etag, TRICKLE.replace("abcd", "efgh")) == 422
    assert len(live.plane.candidates) == 1
    assert live.plane.sessions  # a refused restart ends nothing


async def test_a_session_is_its_owners_alone(live: LiveService) -> None:
    await live.open_room()
    url = (await live.whip()).headers["location"]
    assert (await live.http.delete(url, headers=live.bearer(Role.OPERATOR))).status_code == 404
    assert (await live.http.delete(url, headers=live.bearer(Role.SITE, subject="01SITE"))).status_code == 200
    assert live.plane.sessions == {}


async def test_viewing_before_anything_is_published_says_when_to_come_back(live: LiveService) -> None:
    await live.open_room()
    reply = await view(live, offer("recvonly:h264"))
    assert (reply.status_code, reply.json()["code"]) == (409, "room-not-live")
    assert reply.headers["retry-after"] == "2"


async def test_a_view_is_audited_with_the_patient_and_carries_the_picture(live: LiveService) -> None:
    await live.open_room()
    await live.go_live()
    reply = await view(live, offer("recvonly:vp8+h264", "recvonly:opus"))
    session = reply.headers["location"].rpartition("/")[2]
    assert live.plane.subscriptions[session] == {"0": "demo-h264"}
    entries = await live.audited(action="room.view", patient_id="P-77")
    assert [e["detail"] for e in entries] == ["whep"]


async def test_rs_15_a_whep_viewer_without_h264_waits_for_the_second_encode(live: LiveService) -> None:
    await live.open_room()
    await live.go_live()
    viewing = asyncio.create_task(view(live, offer("recvonly:vp8")))
    async with asyncio.timeout(10):
        while not live.gateway.sent:
            await asyncio.sleep(0.005)
    assert live.gateway.of_type("stream.publish")[0].codec == "vp8"  # type: ignore[union-attr]
    await live.whip(offer("sendonly:vp8"))
    reply = await viewing
    assert reply.status_code == 201, reply.text
    session = reply.headers["location"].rpartition("/")[2]
    assert live.plane.subscriptions[session] == {"0": "demo-vp8"}


async def test_a_second_encode_that_does_not_come_is_told_and_nothing_stays(
    still_platform: Platform, clock: FakeClock
) -> None:
    async with running(still_platform, clock, second_encode_wait_s=0.05) as live:
        await live.open_room()
        await live.go_live()
        reply = await view(live, offer("recvonly:vp8"))
        assert reply.json()["code"] == "room-not-live"
        hall = live.context.halls.get("demo")
        assert hall is not None
        assert hall.second.viewers == frozenset()
        assert live.context.resources.of_room("demo", "whep") == []


async def test_a_room_takes_only_so_many_viewers(still_platform: Platform, clock: FakeClock) -> None:
    async with running(still_platform, clock, max_viewers=1) as live:
        await live.open_room()
        await live.go_live()
        assert (await view(live, offer("recvonly:h264"))).status_code == 201
        assert (await view(live, offer("recvonly:h264"))).status_code == 429


async def test_one_person_has_only_so_many_sessions_and_a_site_is_no_person(
    still_platform: Platform, clock: FakeClock
) -> None:
    async with running(still_platform, clock, max_sessions_per_person=2) as live:
        for room_id in ("demo", "second", "third"):
            await live.open_room(id=room_id)
            await live.go_live(room_id)
        first = await view(live, offer("recvonly:h264"))
        replies = await asyncio.gather(*(view(live, offer("recvonly:h264")) for _ in range(3)))
        assert sorted(r.status_code for r in replies) == [201, 429, 429]
        assert {r.json()["code"] for r in replies if r.is_error} == {"too-many-sessions"}
        assert (await view(live, offer("recvonly:h264"), Role.REVIEWER)).status_code == 201
        await live.http.delete(first.headers["location"], headers=live.bearer(Role.SPECIALIST))
        assert (await view(live, offer("recvonly:h264"))).status_code == 201


@pytest.mark.parametrize("kind", ["whip", "whep"])
async def test_a_session_ends_with_its_token(live: LiveService, kind: str) -> None:
    await live.open_room()
    await live.go_live()
    reply = await (live.whip(role=Role.OPERATOR) if kind == "whip" else view(live, offer("recvonly:h264")))
    session_id = reply.headers["location"].rpartition("/")[2]
    live.clock.advance(599)
    tick(live.context)
    await live.context.errands.settle()
    assert session_id in live.plane.sessions
    live.clock.advance(2)
    tick(live.context)
    await live.context.errands.settle()
    assert session_id in live.plane.closed
    again = await live.http.patch(reply.headers["location"], headers=live.bearer(Role.OPERATOR))
    assert again.status_code == 404


async def test_an_empty_patch_with_a_new_token_keeps_the_session_for_hours_and_the_last_one_ends_it(
    live: LiveService,
) -> None:
    await live.open_room()
    reply = await live.whip()
    url, session_id = reply.headers["location"], reply.headers["location"].rpartition("/")[2]
    for _ in range(40):
        live.clock.advance(500)
        headers = live.bearer(Role.SITE, subject=SITE)
        assert (await live.http.patch(url, headers=headers)).status_code == 204
        tick(live.context)
        await live.context.errands.settle()
        assert session_id in live.plane.sessions
    live.clock.advance(601)
    tick(live.context)
    await live.context.errands.settle()
    assert session_id in live.plane.closed
    assert live.context.halls.get("demo") is None or not live.context.halls.open("demo", "demo").tracks


async def test_a_revoked_sites_picture_ends_and_its_token_publishes_nothing_more(live: LiveService) -> None:
    await live.open_room()
    reply = await live.whip()
    session_id = reply.headers["location"].rpartition("/")[2]
    row = {
        "id": SITE, "tenant": "demo", "name": "x", "state": "revoked", "created_at": live.clock.now(), "refresh_hashes": [],
        "public_key": "", "boot_id": "", "version": "", "online": False, "devices": [], "streams": {},
        "spool_unacknowledged": 0, "spool_bytes": 0, "command_seq": 0, "event_seq": 0,
    }  # fmt: skip
    async with live.platform.database.write() as session:
        await session.execute(insert(site).values(row))
        data = {"online": False, "state": "revoked"}
        await add_event(session, EventType.SITE_CHANGED, tenant="demo", subject=SITE, data=data)
    live.platform.outbox.wake()
    await until(lambda: session_id in live.plane.closed, "the revoked site's session is closed")
    refused = await live.whip()
    assert (refused.status_code, refused.json()["code"]) == (401, "token-refused")
    assert (await live.http.patch(reply.headers["location"], headers=live.bearer(Role.SITE, subject=SITE))).is_error
    assert [e["actor"] for e in await live.audited(action="token.refused")] == [SITE, SITE]
    assert (await live.whip(role=Role.OPERATOR)).status_code == 201
