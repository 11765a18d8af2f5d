"""The room's WebSocket, rule by rule (docs/protocols/room-signalling.md)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from consilium_core.clock import FakeClock
from consilium_core.errors import Unavailable
from consilium_core.frame_ref import FrameStamp
from consilium_core.roles import Role
from consilium_live.domain.participant import COLORS
from consilium_live.flow.keeper import tick
from consilium_platform.platform import Platform

from .conftest import LiveService, offer, running, until

FRAME = {"track_id": "demo-h264", "rtp_timestamp": 90_000, "media_epoch": 1}


def pen(stroke_id: str = "s1", **more: Any) -> dict[str, Any]:
    return {
        "id": stroke_id, "tool": "pen", "track_id": "demo-h264", "points": [[1.5, 2], [3, 4]], "frame": FRAME,
        "pinned": False, **more,
    }  # fmt: skip


@pytest.fixture
async def room(live: LiveService) -> LiveService:
    """A service whose room `demo` has the site's picture."""
    await live.open_room()
    await live.go_live()
    return live


# --- joining


async def test_rs_01_the_subprotocol_is_spoken_and_the_token_comes_in_hello(room: LiveService) -> None:
    async with room.socket() as socket:
        await socket.hello(room.token(Role.OPERATOR))
        assert socket.accepted == "consilium.room.v1"
    async with room.socket(subprotocols=["other.v9"]) as stranger:
        assert await stranger.closed() == 4400


async def test_rs_01_a_socket_that_does_not_say_hello_in_time_is_closed(
    still_platform: Platform, clock: FakeClock
) -> None:
    async with running(still_platform, clock, hello_timeout_s=0.05) as live, live.socket() as silent:
        assert await silent.closed() == 4408


async def test_rs_01_a_first_frame_that_is_no_hello_closes(room: LiveService) -> None:
    async with room.socket() as rude, room.socket() as wrong:
        await rude.send_text("not json")
        await wrong.send(type="chat", text="hi")
        assert await rude.closed() == 4400
        assert await wrong.closed() == 4400


@pytest.mark.parametrize("role", [Role.REFERRER, Role.ITSEC, Role.SITE, Role.SERVICE])
async def test_rs_02_a_role_without_room_view_is_refused_and_audited(room: LiveService, role: Role) -> None:
    async with room.socket() as socket:
        await socket.send(type="hello", token=room.token(role), client={"kind": "phone", "codecs": []})
        assert await socket.closed() == 4403
        assert socket.received == []
    entries = await room.audited(action="room.join", outcome="denied")
    assert [(e["role"], e["detail"]) for e in entries] == [(role.value, "denied")]


@pytest.mark.parametrize("role", [Role.OPERATOR, Role.SPECIALIST, Role.REVIEWER, Role.TRAINEE, Role.QC, Role.ADMIN])
async def test_rs_02_every_role_with_room_view_comes_in_and_is_audited_with_the_patient(
    room: LiveService, role: Role
) -> None:
    async with room.socket() as socket:
        welcome = await socket.hello(room.token(role))
        assert welcome["self"]["role"] == role.value
    entries = await room.audited(action="room.join", outcome="success")
    assert [(e["actor"], e["patient_id"]) for e in entries] == [(role.value, "P-77")]


async def test_rs_02_bad_tokens_close_with_4401_and_are_audited(room: LiveService) -> None:
    expired = room.token(Role.OPERATOR, ttl_s=5)
    room.clock.advance(6)
    for bad in ("", "abc", expired):
        async with room.socket() as socket:
            await socket.send(type="hello", token=bad)
            assert await socket.closed() == 4401
    assert [e["detail"] for e in await room.audited(action="room.join", outcome="denied")] == [
        "expired", "invalid", "missing",
    ]  # fmt: skip
    abroad = room.token(Role.OPERATOR, tenant="abroad", ttl_s=5)
    room.clock.advance(6)
    async with room.socket() as socket:
        await socket.send(type="hello", token=abroad)
        await socket.closed()
    (entry,) = await room.platform.audit.search("abroad", action="room.join")
    assert (entry["outcome"], entry["detail"]) == ("denied", "expired")


async def test_rs_02_unknown_foreign_and_ended_rooms_close_with_their_codes(room: LiveService) -> None:
    admin = room.token(Role.ADMIN)
    stranger = room.token(Role.ADMIN, tenant="other")
    await room.open_room(id="over")
    await room.http.post("/api/v1/rooms/over/end", headers=room.bearer(Role.ADMIN))
    for room_id, access, code in (("nowhere", admin, 4404), ("demo", stranger, 4404), ("over", admin, 4410)):
        async with room.socket(room_id) as socket:
            await socket.send(type="hello", token=access)
            assert await socket.closed() == code
    refused = await room.audited(action="room.join", outcome="denied")
    assert [e["detail"] for e in refused] == ["room-ended", "room-not-found"]


async def test_rs_02_a_full_room_closes_with_4429(still_platform: Platform, clock: FakeClock) -> None:
    async with running(still_platform, clock, max_participants=1) as live:
        await live.open_room()
        async with live.socket() as first, live.socket() as second:
            await first.hello(live.token(Role.OPERATOR))
            await second.send(type="hello", token=live.token(Role.SPECIALIST))
            assert await second.closed() == 4429


async def test_rs_02_one_person_takes_only_so_many_seats(still_platform: Platform, clock: FakeClock) -> None:
    async with running(still_platform, clock, max_seats_per_person=1) as live:
        await live.open_room()
        await live.open_room(id="second")
        async with live.socket() as first, live.socket("second") as again, live.socket("second") as other:
            await first.hello(live.token(Role.OPERATOR))
            await again.send(type="hello", token=live.token(Role.OPERATOR))
            assert await again.closed() == 4429
            await other.hello(live.token(Role.SPECIALIST))
        (entry,) = await live.audited(action="room.join", outcome="denied")
        assert (entry["actor"], entry["detail"]) == ("operator", "too-many-sessions")


async def test_rs_02_nobody_is_seated_in_a_room_that_ends_meanwhile(
    room: LiveService, monkeypatch: pytest.MonkeyPatch
) -> None:
    captures = room.context.store.captures

    async def ending(room_id: str) -> Any:
        monkeypatch.undo()
        await room.http.post("/api/v1/rooms/demo/end", headers=room.bearer(Role.ADMIN))
        return await captures(room_id)

    async with room.socket() as late:
        monkeypatch.setattr(room.context.store, "captures", ending)
        await late.send(type="hello", token=room.token(Role.SPECIALIST))
        assert await late.closed() == 4410
        assert late.received == []


async def test_rs_03_the_welcome_holds_everything_that_is_there(room: LiveService) -> None:
    room.plane.map_frame("demo-h264", 90_000, FrameStamp(1, 30, 1_700_000_000_000_000))
    async with room.socket() as first, room.socket() as second:
        mine = await first.hello(room.token(Role.OPERATOR))
        await first.send(type="chat", text="hello")
        await first.send(type="stroke", stroke=pen())
        await first.next("stroke")
        welcome = await second.hello(room.token(Role.SPECIALIST))
    assert [p["user_id"] for p in welcome["participants"]] == ["operator", "specialist"]
    assert welcome["self"]["id"] == welcome["participants"][1]["id"] != mine["self"]["id"]
    assert welcome["self"]["color"] in COLORS
    assert welcome["self"]["color"] != mine["self"]["color"]
    assert [t["id"] for t in welcome["tracks"]] == ["demo-h264"]
    assert welcome["tracks"][0]["group"]
    assert [s["id"] for s in welcome["strokes"]] == ["s1"]
    assert [c["text"] for c in welcome["chat"]] == ["hello"]
    assert welcome["frame_maps"] == [
        {"track_id": "demo-h264", "rtp_timestamp": 90_000, "media_epoch": 1, "frame_no": 30,
         "captured_at_us": 1_700_000_000_000_000}
    ]  # fmt: skip
    assert welcome["server_time"] == "2030-01-01T00:00:00.000Z"
    assert welcome["room"]["patient_id"] == "P-77"
    assert welcome["session_id"]


async def test_rs_03_a_trainee_is_told_nothing_of_the_patient_in_any_frame(room: LiveService) -> None:
    async with room.socket() as trainee, room.socket() as operator:
        await trainee.hello(room.token(Role.TRAINEE))
        await operator.hello(room.token(Role.OPERATOR))
        await room.http.post("/api/v1/rooms/demo/captures", json={"kind": "still"}, headers=room.bearer(Role.OPERATOR))
        await trainee.next("capture")
        assert {"welcome", "room", "capture"} <= {m["type"] for m in trainee.received}
        told = str(trainee.received)
    for secret in ("P-77", "Wang", "A-1", "study_uid", "accession"):
        assert secret not in told
    assert "P-77" in str(operator.received)


async def test_rs_04_others_see_who_comes_and_goes(room: LiveService) -> None:
    async with room.socket() as first:
        await first.hello(room.token(Role.OPERATOR))
        async with room.socket() as second:
            who = (await second.hello(room.token(Role.SPECIALIST)))["self"]["id"]
            assert (await first.next("participant_joined"))["participant"]["id"] == who
            await second.send(type="leave")
            assert await second.closed() == 1000
        assert (await first.next("participant_left"))["participant_id"] == who


async def test_rs_04_a_pinging_client_that_falls_silent_is_let_go(room: LiveService) -> None:
    async with room.socket() as socket:
        await socket.hello(room.token(Role.OPERATOR))
        await socket.send(type="ping", t=1)
        await socket.next("pong")
        room.clock.advance(29)
        tick(room.context)
        assert socket.close_code is None
        room.clock.advance(2)
        tick(room.context)
        assert await socket.closed() == 1001


async def test_rs_05_a_fresh_token_keeps_the_connection_and_expiry_closes_it(room: LiveService) -> None:
    async with room.socket() as kept, room.socket() as lost:
        await kept.hello(room.token(Role.OPERATOR, ttl_s=60))
        await lost.hello(room.token(Role.SPECIALIST, ttl_s=60))
        room.clock.advance(50)
        await kept.send(type="token", token=room.token(Role.OPERATOR, ttl_s=60))
        await kept.send(type="ping", t=1)
        await kept.next("pong")
        room.clock.advance(15)
        tick(room.context)
        assert await lost.closed() == 4401
        assert kept.close_code is None


async def test_rs_05_a_token_of_somebody_else_closes_with_4403_and_a_bad_one_with_4401(room: LiveService) -> None:
    async with room.socket() as first, room.socket() as second:
        await first.hello(room.token(Role.OPERATOR))
        await second.hello(room.token(Role.OPERATOR))
        await first.send(type="token", token=room.token(Role.ADMIN))
        await second.send(type="token", token="abc")
        assert await first.closed() == 4403
        assert await second.closed() == 4401


# --- tracks and media


async def test_rs_11_stall_and_return_are_told_and_the_whole_list_at_each_change(room: LiveService) -> None:
    async with room.socket() as socket:
        await socket.hello(room.token(Role.SPECIALIST))
        room.plane.silence("demo-h264")
        assert await socket.next("track_state") == {
            "type": "track_state", "track_id": "demo-h264", "state": "stalled", "since": "2030-01-01T00:00:00.000Z",
        }  # fmt: skip
        room.plane.packets("demo-h264")
        assert (await socket.next("track_state"))["state"] == "live"
        await room.whip(offer("sendonly:vp8"))
        assert [t["codec"] for t in (await socket.next("tracks"))["tracks"]] == ["H264", "VP8"]


async def test_rs_11_a_site_that_is_gone_stalls_and_is_live_again_under_the_same_track(room: LiveService) -> None:
    async with room.socket() as socket:
        await socket.hello(room.token(Role.SPECIALIST))
        room.plane.lose(next(iter(room.plane.sessions)))
        assert (await socket.next("track_state"))["state"] == "stalled"
        assert (await socket.next("room"))["room"]["tracks"][0]["id"] == "demo-h264"
        await room.go_live()
        assert (await socket.next("tracks"))["tracks"][0]["state"] in ("waiting", "live")
        assert (await socket.next("track_state"))["state"] == "live"


async def test_rs_12_a_subscription_names_tracks_by_mid_and_keeps_its_connection(room: LiveService) -> None:
    async with room.socket() as socket:
        await socket.hello(room.token(Role.SPECIALIST))
        await socket.send(type="subscribe", id="1", sdp=offer("recvonly:h264", number=7), tracks={"0": "demo-h264"})
        first = await socket.next("subscribed", id="1")
        await socket.send(type="subscribe", id="2", sdp=offer("recvonly:h264", number=7), tracks={})
        assert (await socket.next("subscribed", id="2"))["sdp"] == first["sdp"]
        await socket.send(type="subscribe", id="3", sdp=offer("recvonly:h264", number=8), tracks={"0": "demo-h264"})
        anew = await socket.next("subscribed", id="3")
        assert anew["sdp"] != first["sdp"]
        assert room.plane.closed == [first["sdp"].removeprefix("answer-to-")]
        assert first["unanswerable"] == []


async def test_rs_12_tracks_of_other_rooms_are_out_of_reach(room: LiveService) -> None:
    await room.open_room(id="next-door")
    await room.go_live("next-door")
    async with room.socket() as socket:
        await socket.hello(room.token(Role.SPECIALIST))
        await socket.send(type="subscribe", id="1", sdp=offer("recvonly:h264"), tracks={"0": "next-door-h264"})
        answer = await socket.next("subscribed")
        assert answer["unanswerable"] == [{"track_id": "next-door-h264", "codec": ""}]
        assert list(room.plane.subscriptions.values()) == [{}]


async def test_rs_13_a_microphone_is_listed_muted_and_taken_back(room: LiveService) -> None:
    async with room.socket() as speaker, room.socket() as other:
        me = (await speaker.hello(room.token(Role.TRAINEE)))["self"]["id"]
        await other.hello(room.token(Role.SPECIALIST))
        await speaker.send(type="publish", id="p", sdp=offer("sendonly:opus"), sources={"0": "microphone"})
        assert (await speaker.next("published", id="p"))["track_ids"] == {"0": f"{me}-mic"}
        track = (await other.next("tracks"))["tracks"][-1]
        assert (track["id"], track["source"], track["participant_id"]) == (f"{me}-mic", "microphone", me)
        assert (await other.next("participant_changed"))["participant"]["audio"] is True
        await speaker.send(type="mute", audio=True, video=False)
        assert await other.next("mute") == {"type": "mute", "participant_id": me, "audio": True, "video": False}
        assert (await other.next("participant_changed"))["participant"]["audio"] is False
        await speaker.send(type="unpublish")
        assert [t["id"] for t in (await other.next("tracks"))["tracks"]] == ["demo-h264"]


async def test_rs_13_without_room_speak_nobody_publishes(room: LiveService) -> None:
    async with room.socket() as socket:
        await socket.hello(room.token(Role.QC))
        await socket.send(type="publish", id="p", sdp=offer("sendonly:opus"), sources={"0": "microphone"})
        assert (await socket.next("error", id="p"))["code"] == "denied"


async def test_rs_13_a_source_must_name_a_sending_line_and_each_kind_once(room: LiveService) -> None:
    async with room.socket() as socket:
        await socket.hello(room.token(Role.OPERATOR))
        await socket.send(type="publish", id="a", sdp=offer("recvonly:opus"), sources={"0": "microphone"})
        assert (await socket.next("error", id="a"))["code"] == "invalid"
        two = {"0": "microphone", "1": "microphone"}
        await socket.send(type="publish", id="b", sdp=offer("sendonly:opus", "sendonly:opus"), sources=two)
        assert (await socket.next("error"))["code"] == "malformed"


async def test_rs_13_who_leaves_takes_microphone_and_view_along(room: LiveService) -> None:
    async with room.socket() as other:
        await other.hello(room.token(Role.SPECIALIST))
        async with room.socket() as speaker:
            await speaker.hello(room.token(Role.OPERATOR))
            await speaker.send(type="publish", id="p", sdp=offer("sendonly:opus"), sources={"0": "microphone"})
            await speaker.next("published")
            await speaker.send(type="subscribe", id="s", sdp=offer("recvonly:h264"), tracks={"0": "demo-h264"})
            await speaker.next("subscribed")
            assert len(room.plane.sessions) == 3
        await other.next("participant_left")
        assert len(room.plane.sessions) == 1
        assert set(room.plane.known) == {"demo-h264"}
        assert [t["id"] for t in other.received if t["type"] == "tracks" for t in t["tracks"]][-1] == "demo-h264"


async def test_rs_13_a_lost_speaker_connection_takes_the_track_off(room: LiveService) -> None:
    async with room.socket() as speaker:
        await speaker.hello(room.token(Role.OPERATOR))
        await speaker.send(type="publish", id="p", sdp=offer("sendonly:opus"), sources={"0": "microphone"})
        await speaker.next("published")
        await speaker.next("tracks")
        room.plane.lose(list(room.plane.sessions)[-1])
        assert [t["id"] for t in (await speaker.next("tracks"))["tracks"]] == ["demo-h264"]


async def test_rs_14_candidates_reach_their_connection(room: LiveService) -> None:
    async with room.socket() as socket:
        await socket.hello(room.token(Role.SPECIALIST))
        early = {"candidate": "candidate:1 1 udp 1 192.0.2.1 9 typ host", "sdpMid": "0", "sdpMLineIndex": 0}
        await socket.send(type="candidate", connection="subscribe", candidate=early)
        await socket.send(type="subscribe", id="1", sdp=offer("recvonly:h264"), tracks={"0": "demo-h264"})
        session = (await socket.next("subscribed"))["sdp"].removeprefix("answer-to-")
        await socket.send(type="candidate", connection="subscribe", candidate=early)
        await socket.send(type="ping", t=1)
        await socket.next("pong")
        fragment = "a=mid:0\r\na=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n"
        assert room.plane.candidates == [(session, fragment)]


async def test_rs_15_an_unanswerable_picture_orders_vp8_and_joins_all_the_same(room: LiveService) -> None:
    async with room.socket() as socket:
        await socket.hello(room.token(Role.SPECIALIST), codecs=())
        await socket.send(type="subscribe", id="1", sdp=offer("recvonly:vp8"), tracks={"0": "demo-h264"})
        assert (await socket.next("subscribed"))["unanswerable"] == [{"track_id": "demo-h264", "codec": "H264"}]
        await until(lambda: room.gateway.sent, "VP8 is ordered")
        (order,) = room.gateway.of_type("stream.publish")
        assert order.model_dump(exclude={"type", "device"}) == {
            "room_id": "demo", "codec": "vp8", "max_height": 720, "max_bitrate_bps": 5_529_600,
        }  # fmt: skip


async def test_rs_15_the_second_encode_is_ordered_again_until_it_comes_and_stopped_30_s_after_its_last_viewer(
    room: LiveService,
) -> None:
    async def ordered(count: int) -> None:
        await until(lambda: len(room.gateway.sent) == count, f"{count} commands")

    async with room.socket() as socket:
        await socket.hello(room.token(Role.SPECIALIST), codecs=("VP8",))
        await ordered(1)
        room.clock.advance(11)
        tick(room.context)
        await ordered(2)
        await room.whip(offer("sendonly:vp8"))
        room.clock.advance(60)
        tick(room.context)
        await room.context.errands.settle()
        await ordered(2)
    tick(room.context)
    room.clock.advance(29)
    tick(room.context)
    await room.context.errands.settle()
    assert room.gateway.of_type("stream.stop") == []
    room.clock.advance(2)
    tick(room.context)
    await ordered(3)
    assert [a.codec for a in room.gateway.of_type("stream.stop")] == ["vp8"]  # type: ignore[union-attr]


async def test_rs_10_each_encode_tells_its_own_size_and_a_camera_none(room: LiveService) -> None:
    async with room.socket() as socket:
        me = (await socket.hello(room.token(Role.SPECIALIST)))["self"]["id"]
        await socket.send(type="publish", id="p", sdp=offer("sendonly:vp8"), sources={"0": "camera"})
        await room.whip(offer("sendonly:vp8"))
        await until(lambda: "demo-vp8" in room.context.halls.open("demo", "demo").tracks, "the second encode")
        room.plane.measure(f"{me}-cam", (640, 480))
        room.plane.measure("demo-h264", (1920, 1080))
        room.plane.measure("demo-vp8", (1280, 720))
        await until(
            lambda: [m for m in socket.received if m["type"] == "tracks"][-1]["tracks"][1].get("width") == 1280, "sizes"
        )
        last = [m for m in socket.received if m["type"] == "tracks"][-1]["tracks"]
        assert [(t.get("width"), t.get("height")) for t in last] == [(1920, 1080), (1280, 720), (None, None)]


async def test_rs_16_a_cameras_claims_of_frames_are_not_told(room: LiveService) -> None:
    async with room.socket() as socket:
        me = (await socket.hello(room.token(Role.OPERATOR)))["self"]["id"]
        await socket.send(type="publish", id="p", sdp=offer("sendonly:h264"), sources={"0": "camera"})
        await socket.next("published")
        room.plane.map_frame(f"{me}-cam", 1, FrameStamp(3, 99, 1))
        room.plane.map_frame("demo-h264", 2, FrameStamp(3, 99, 1))
        assert (await socket.next("frame_map"))["track_id"] == "demo-h264"


async def test_rs_16_frame_maps_reach_everybody(room: LiveService) -> None:
    async with room.socket() as socket:
        await socket.hello(room.token(Role.TRAINEE))
        room.plane.map_frame("demo-h264", 4_294_967_295, FrameStamp(3, 99, 1_700_000_000_000_000))
        assert await socket.next("frame_map") == {
            "type": "frame_map", "track_id": "demo-h264", "rtp_timestamp": 4_294_967_295, "media_epoch": 3,
            "frame_no": 99, "captured_at_us": 1_700_000_000_000_000,
        }  # fmt: skip


# --- the room itself


async def test_rs_25_changes_of_the_room_are_told_and_its_end_closes_with_4410(room: LiveService) -> None:
    async with room.socket() as socket:
        await socket.hello(room.token(Role.SPECIALIST))
        await until(
            lambda: any(m["type"] == "room" and m["room"]["state"] == "live" for m in socket.received), "live is told"
        )
        headers = room.bearer(Role.OPERATOR)
        await room.http.post("/api/v1/rooms/demo/stream", json={"action": "stop"}, headers=headers)
        await until(
            lambda: any(m["type"] == "room" and m["room"]["state"] == "paused" for m in socket.received),
            "paused is told",
        )
        await room.http.post("/api/v1/rooms/demo/end", headers=headers)
        await socket.next("ended")
        assert await socket.closed() == 4410


async def test_room_changed_events_tell_state_live_and_participants(live: LiveService) -> None:
    async with live.platform.bus.subscribe() as events:

        async def told(**data: Any) -> None:
            async with asyncio.timeout(10):
                while True:
                    event = await events.next()
                    if event and event.type.value == "room.changed" and event.data == data:
                        return

        await live.open_room()
        await told(state="planned", live=False, participants=0)
        async with live.socket() as socket:
            await socket.hello(live.token(Role.OPERATOR))
            await told(state="lobby", live=False, participants=1)
            await live.go_live()
            await told(state="live", live=True, participants=1)
        await told(state="live", live=True, participants=0)


async def test_a_join_that_the_database_cannot_serve_asks_to_come_again(
    room: LiveService, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise Unavailable("The database does not answer.")

    monkeypatch.setattr(room.context.store, "captures", away)
    async with room.socket() as socket:
        await socket.send(type="hello", token=room.token(Role.OPERATOR))
        assert await socket.closed() == 1013
    hall = room.context.halls.get("demo")
    assert hall is not None
    assert hall.seats == {}


async def test_an_empty_hall_is_forgotten_but_not_before_its_last_change_was_told(live: LiveService) -> None:
    await live.open_room()
    async with live.socket() as socket:
        await socket.hello(live.token(Role.OPERATOR))
        live.context.halls.touch("demo")
    live.context.halls.touch("demo")
    tick(live.context)
    assert live.context.halls.get("demo") is not None
    await until(lambda: not live.context.halls.is_dirty("demo"), "the room was looked at")
    tick(live.context)
    assert live.context.halls.get("demo") is None


async def test_the_service_sends_people_away_when_it_goes(still_platform: Platform, clock: FakeClock) -> None:
    async with running(still_platform, clock) as live:
        await live.open_room()
        socket = live.socket()
        await socket.__aenter__()
        await socket.hello(live.token(Role.OPERATOR))
    assert await socket.closed() == 1012
    await socket.__aexit__()
