"""Strokes, laser, chat, clocks, slow readers and wrong frames (RS-20 to RS-23, RS-30 to RS-32)."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from consilium_core.frame_ref import FrameRef, FrameStamp
from consilium_core.roles import Role
from consilium_gateway.adapters.proxy import MAX_SOCKET_MESSAGE
from consilium_live.domain.mailbox import Mailbox, Message
from consilium_live.domain.participant import Participant
from consilium_live.domain.stroke import StrokeDraft
from consilium_live.flow.hall import CHAT_BOUND
from consilium_live.wire.server import ChatWire

from .conftest import LiveService, RoomSocket

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


async def synced(socket: RoomSocket) -> None:
    """Wait until the server has obeyed everything that was sent before."""
    await socket.send(type="ping", t=424242)
    await socket.next("pong", t=424242)


async def test_rs_20_a_stroke_reaches_everybody_with_its_drawer_colour_and_end(room: LiveService) -> None:
    async with room.socket() as drawer, room.socket() as other:
        me = (await drawer.hello(room.token(Role.OPERATOR)))["self"]
        await other.hello(room.token(Role.TRAINEE))
        await drawer.send(type="stroke", stroke=pen())
        for socket in (drawer, other):
            stroke = (await socket.next("stroke"))["stroke"]
            assert (stroke["participant_id"], stroke["color"]) == (me["id"], me["color"])
            assert stroke["points"] == [[1.5, 2.0], [3.0, 4.0]]
            assert (stroke["at"], stroke["expires_at"]) == ("2030-01-01T00:00:00.000Z", "2030-01-01T00:00:08.000Z")
            assert stroke["frame"]["rtp_timestamp"] == 90_000


async def test_rs_20_more_points_of_a_known_stroke_extend_it_and_its_life(room: LiveService) -> None:
    async with room.socket() as drawer, room.socket() as late:
        await drawer.hello(room.token(Role.OPERATOR))
        await drawer.send(type="stroke", stroke=pen())
        await drawer.next("stroke")
        room.clock.advance(6)
        await drawer.send(type="stroke", stroke=pen(points=[[5, 6]]))
        added = (await drawer.next("stroke"))["stroke"]
        assert added["points"] == [[5.0, 6.0]]
        assert added["expires_at"] == "2030-01-01T00:00:14.000Z"
        room.clock.advance(6)
        welcome = await late.hello(room.token(Role.SPECIALIST))
        assert welcome["strokes"][0]["points"] == [[1.5, 2.0], [3.0, 4.0], [5.0, 6.0]]


async def test_rs_20_a_stroke_and_a_laser_name_the_size_of_their_picture(room: LiveService) -> None:
    async with room.socket() as drawer:
        await drawer.hello(room.token(Role.OPERATOR))
        await drawer.send(type="stroke", stroke=pen("early"))
        assert "picture" not in (await drawer.next("stroke"))["stroke"], "no keyframe has told yet"
        room.plane.measure("demo-h264", (1920, 1080))
        await drawer.send(type="stroke", stroke=pen("full"))
        assert (await drawer.next("stroke"))["stroke"]["picture"] == [1920, 1080]
        room.plane.measure("demo-h264", (1280, 720))
        await drawer.send(type="stroke", stroke=pen("full", points=[[5, 6]]))
        assert (await drawer.next("stroke"))["stroke"]["picture"] == [1920, 1080], "it goes on as it was begun"
        await drawer.send(type="stroke", stroke=pen("full", points=[[5, 6]], picture=[1280, 720]))
        assert (await drawer.next("error"))["code"] == "conflict"
        await drawer.send(type="stroke", stroke=pen("own", picture=[640, 480]))
        assert (await drawer.next("stroke"))["stroke"]["picture"] == [640, 480]
        await drawer.send(type="laser", track_id="demo-h264", x=1, y=2)
        assert (await drawer.next("laser"))["picture"] == [1280, 720]
        await drawer.send(type="laser", track_id="demo-h264", x=1, y=2, picture=[1920, 1080])
        assert (await drawer.next("laser"))["picture"] == [1920, 1080]


async def test_rs_20_unpinned_strokes_end_after_8_s_and_pinned_ones_stay(room: LiveService) -> None:
    async with room.socket() as drawer, room.socket() as late:
        await drawer.hello(room.token(Role.OPERATOR))
        await drawer.send(type="stroke", stroke=pen("fades"))
        await drawer.send(type="stroke", stroke=pen("stays", pinned=True))
        await synced(drawer)
        room.clock.advance(8)
        welcome = await late.hello(room.token(Role.SPECIALIST))
        assert [s["id"] for s in welcome["strokes"]] == ["stays"]
        assert "expires_at" not in welcome["strokes"][0]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"points": []}, "malformed"),
        ({"points": [[0, 0]] * 2001}, "malformed"),
        ({"points": [[0, 1e9]]}, "malformed"),
        ({"points": [[0]]}, "malformed"),
        ({"tool": "spray"}, "malformed"),
        ({"tool": "text", "text": "  "}, "malformed"),
        ({"tool": "text", "text": "x" * 201}, "malformed"),
        ({"frame": {}}, "malformed"),
        ({"id": ""}, "malformed"),
        ({"frame": {**FRAME, "track_id": "x" * 65}}, "malformed"),
        ({"frame": {**FRAME, "rtp_timestamp": -1}}, "malformed"),
        ({"frame": {**FRAME, "rtp_timestamp": 2**32}}, "malformed"),
        ({"frame": {**FRAME, "frame_no": 10**4000}}, "malformed"),
        ({"frame": {**FRAME, "captured_at_us": 2**64}}, "malformed"),
        ({"picture": [0, 720]}, "malformed"),
        ({"picture": [1280]}, "malformed"),
        ({"track_id": "elsewhere-h264"}, "invalid"),
    ],
)
async def test_rs_20_a_stroke_out_of_bounds_is_an_error_and_nobody_sees_it(
    room: LiveService, change: dict[str, Any], code: str
) -> None:
    async with room.socket() as drawer:
        await drawer.hello(room.token(Role.OPERATOR))
        await drawer.send(type="stroke", stroke=pen(**change))
        assert (await drawer.next("error"))["code"] == code
        assert not [m for m in drawer.received if m["type"] == "stroke"]


async def test_rs_20_nan_is_no_coordinate(room: LiveService) -> None:
    async with room.socket() as drawer:
        await drawer.hello(room.token(Role.OPERATOR))
        await drawer.send_text(json.dumps({"type": "stroke", "stroke": pen(points=[[float("nan"), 0]])}))
        assert (await drawer.next("error"))["code"] == "malformed"


async def test_rs_20_a_stroke_grows_to_2000_points_and_no_further(room: LiveService) -> None:
    async with room.socket() as drawer:
        await drawer.hello(room.token(Role.OPERATOR))
        await drawer.send(type="stroke", stroke=pen(points=[[0, 0]] * 2000))
        await drawer.next("stroke")
        await drawer.send(type="stroke", stroke=pen(points=[[0, 0]]))
        assert (await drawer.next("error"))["code"] == "invalid"


async def test_rs_20_more_than_2000_points_a_second_are_refused(room: LiveService) -> None:
    async with room.socket() as drawer:
        await drawer.hello(room.token(Role.OPERATOR))
        for number in range(3):  # 4000 at once are let through
            await drawer.send(type="stroke", stroke=pen(f"s{number}", points=[[0, 0]] * 2000))
            await drawer.send(type="stroke_clear", mine=True)
        assert (await drawer.next("error"))["code"] == "exhausted"
        room.clock.advance(1)
        await drawer.send(type="stroke", stroke=pen("later", points=[[0, 0]] * 2000))
        await drawer.next("stroke")


async def test_rs_20_points_are_relayed_to_a_hundredth_of_a_pixel(room: LiveService) -> None:
    async with room.socket() as drawer:
        await drawer.hello(room.token(Role.OPERATOR))
        await drawer.send(type="stroke", stroke=pen(points=[[1.23456789012345, -0.1 - 0.2]]))
        assert (await drawer.next("stroke"))["stroke"]["points"] == [[1.23, -0.3]]


async def test_the_welcome_of_a_room_that_is_full_of_everything_fits_through_a_gateway(room: LiveService) -> None:
    hall = room.context.halls.open("demo", "demo")
    now = room.clock.now()
    for number in range(300):
        who = Participant(f"p{number % 8}", f"u{number % 8}", "n" * 64, Role.OPERATOR, "#FFFFFF", now)
        ref = FrameRef(track_id="t" * 64, rtp_timestamp=2**32 - 1, frame_no=2**32 - 1, captured_at_us=2**64 - 1)
        draft = StrokeDraft(f"{number:064}", "text", "demo-h264", ((-8191.99, 8191.99),) * 66, ref, True, "字" * 200)
        hall.board.add(draft, who, now)
    for number in range(CHAT_BOUND):
        hall.keep_chat(ChatWire(id=f"{number:026}", participant_id="p", name="n", text="\x01" * 2000, at=now))
    async with room.socket() as late:
        welcome = await late.hello(room.token(Role.SPECIALIST))
    assert len(welcome["strokes"]) == 300
    text = json.dumps(welcome, ensure_ascii=False, separators=(",", ":"))
    assert len(text.encode()) < MAX_SOCKET_MESSAGE * 0.9


@pytest.mark.parametrize("role", [Role.TRAINEE, Role.QC, Role.ADMIN])
async def test_rs_20_without_room_draw_nothing_is_drawn(room: LiveService, role: Role) -> None:
    async with room.socket() as socket:
        await socket.hello(room.token(role))
        await socket.send(type="stroke", stroke=pen())
        assert (await socket.next("error"))["code"] == "denied"
        await socket.send(type="laser", track_id="demo-h264", x=1, y=1)
        assert (await socket.next("error"))["code"] == "denied"
    refused = await room.audited(action="permission.denied", outcome="denied")
    assert [(e["actor"], e["detail"], e["subject"]) for e in refused] == [(role.value, "room.draw", "demo")] * 2


async def test_rs_20_nobody_extends_anothers_stroke(room: LiveService) -> None:
    async with room.socket() as first, room.socket() as second:
        await first.hello(room.token(Role.OPERATOR))
        await second.hello(room.token(Role.SPECIALIST))
        await first.send(type="stroke", stroke=pen())
        await second.next("stroke")
        await second.send(type="stroke", stroke=pen(points=[[9, 9]]))
        assert (await second.next("error"))["code"] == "conflict"


async def test_rs_20_more_than_25_stroke_messages_a_second_are_refused(room: LiveService) -> None:
    async with room.socket() as drawer:
        await drawer.hello(room.token(Role.OPERATOR))
        for number in range(51):  # 50 at once are let through, then 25 a second
            await drawer.send(type="stroke", stroke=pen(f"s{number}"))
        assert (await drawer.next("error"))["code"] == "exhausted"
        room.clock.advance(1)
        for number in range(25):
            await drawer.send(type="stroke", stroke=pen(f"t{number}"))
        await synced(drawer)
        assert [m["type"] for m in drawer.received].count("error") == 1
        assert [m["type"] for m in drawer.received].count("stroke") == 75


async def test_rs_21_the_laser_is_relayed_with_its_holder_and_switched_off(room: LiveService) -> None:
    async with room.socket() as pointer, room.socket() as other:
        me = (await pointer.hello(room.token(Role.SPECIALIST)))["self"]["id"]
        await other.hello(room.token(Role.OPERATOR))
        await pointer.send(type="laser", track_id="demo-h264", x=10.5, y=20)
        await pointer.send(type="laser", track_id="demo-h264", off=True)
        shown = {"type": "laser", "participant_id": me, "track_id": "demo-h264"}
        assert await other.next("laser") == {**shown, "x": 10.5, "y": 20.0}
        assert await other.next("laser") == {**shown, "off": True}


async def test_rs_21_more_than_25_points_a_second_are_left_out_without_an_error(room: LiveService) -> None:
    async with room.socket() as pointer:
        await pointer.hello(room.token(Role.SPECIALIST))
        for _ in range(60):
            await pointer.send(type="laser", track_id="demo-h264", x=1, y=1)
        await synced(pointer)
        kinds = [m["type"] for m in pointer.received]
        assert (kinds.count("laser"), kinds.count("error")) == (25, 0)


async def test_rs_22_undo_takes_ones_own_last_stroke_and_clear_ones_own_or_all(room: LiveService) -> None:
    async with room.socket() as first, room.socket() as second:
        await first.hello(room.token(Role.REVIEWER))
        await second.hello(room.token(Role.SPECIALIST))
        for socket, names in ((first, ("a1", "a2", "a3")), (second, ("b1",))):
            for name in names:
                await socket.send(type="stroke", stroke=pen(name))
            await synced(socket)
        await first.send(type="stroke_undo")
        assert (await second.next("strokes_removed"))["ids"] == ["a3"]
        await first.send(type="stroke_clear", mine=True)
        assert (await second.next("strokes_removed"))["ids"] == ["a1", "a2"]
        await first.send(type="stroke_clear", mine=False)  # a reviewer is no host
        assert (await first.next("error"))["code"] == "denied"
        await second.send(type="stroke_clear", mine=False)
        assert (await first.next("strokes_removed", ids=["b1"]))["ids"] == ["b1"]


async def test_rs_23_chat_reaches_all_and_the_last_200_lines_are_kept(room: LiveService) -> None:
    async with room.socket() as first, room.socket() as late:
        me = (await first.hello(room.token(Role.TRAINEE)))["self"]
        for number in range(203):
            await first.send(type="chat", text=f"line {number}")
            if number % 80 == 79:
                await synced(first)
                room.clock.advance(4)
        await synced(first)
        welcome = await late.hello(room.token(Role.OPERATOR))
        assert [line["text"] for line in welcome["chat"]] == [f"line {n}" for n in range(3, 203)]
        assert welcome["chat"][0]["participant_id"] == me["id"]
        assert welcome["chat"][0]["name"] == "Trainee"


@pytest.mark.parametrize("text", ["", "   ", "x" * 2001, None, 5])
async def test_rs_23_a_chat_line_has_1_to_2000_characters(room: LiveService, text: Any) -> None:
    async with room.socket() as socket:
        await socket.hello(room.token(Role.TRAINEE))
        await socket.send(type="chat", text=text)
        assert (await socket.next("error"))["code"] == "malformed"


async def test_a_flood_of_messages_is_refused_and_ends_in_4400(room: LiveService) -> None:
    async with room.socket() as socket:
        await socket.hello(room.token(Role.TRAINEE))
        for number in range(120):  # 100 at once are let through
            await socket.send(type="chat", text=f"line {number}")
        assert (await socket.next("error"))["code"] == "exhausted"
        assert await socket.closed() == 4400
        assert [m["type"] for m in socket.received].count("chat") == 100


async def test_rs_30_ping_is_answered_with_the_servers_time(room: LiveService) -> None:
    async with room.socket() as socket:
        await socket.hello(room.token(Role.OPERATOR))
        await socket.send(type="ping", t=12.5)
        micros = int(room.clock.now().timestamp() * 1_000_000)
        assert await socket.next("pong") == {"type": "pong", "t": 12.5, "server_time_us": micros}


async def test_rs_31_a_slow_reader_first_loses_lasers_and_frame_maps_then_the_socket(room: LiveService) -> None:
    async with room.socket() as slow, room.socket() as quick:
        await slow.hello(room.token(Role.OPERATOR))
        await quick.hello(room.token(Role.SPECIALIST))
        slow.blocked = asyncio.Event()
        for number in range(300):
            room.plane.map_frame("demo-h264", number, FrameStamp(1, number, number))
            await asyncio.sleep(0)
        await synced(quick)
        assert slow.close_code is None
        for number in range(300):
            await quick.send(type="chat", text=f"line {number}")
            await synced(quick)
            room.clock.advance(0.1)
        assert [m["type"] for m in quick.received].count("chat") == 300
        slow.blocked.set()
        assert await slow.closed() == 4413


def test_rs_31_the_mailbox_drops_the_oldest_droppable_first_and_never_what_matters() -> None:
    box = Mailbox(bound=3)
    for kind, text in (("chat", "1"), ("laser", "2"), ("laser", "3"), ("chat", "4"), ("laser", "5")):
        assert box.put(Message(kind, text))
    assert len(box) == 3
    assert box.put(Message("chat", "6"))
    assert box.put(Message("laser", "7"))  # nothing to drop but itself
    assert not box.overflowed
    assert not box.put(Message("chat", "8"))
    assert box.overflowed
    assert [asyncio.run(box.take()).text for _ in range(len(box))] == ["1", "4", "6"]


def test_rs_31_the_mailbox_is_bounded_in_bytes_and_an_empty_one_takes_any_message() -> None:
    box = Mailbox(bound=99, bound_bytes=10)
    assert box.put(Message("welcome", "x" * 50))
    assert asyncio.run(box.take()).type == "welcome"
    assert box.put(Message("laser", "12345"))
    assert box.put(Message("stroke", "字字"))  # six bytes: the laser goes
    assert len(box) == 1
    assert box.put(Message("stroke", "1234"))
    assert not box.put(Message("stroke", "1"))
    assert box.overflowed


@pytest.mark.parametrize(
    "text",
    ["", "[]", "5", "{}", '{"type":"dance"}', '{"type":"chat"}', '{"type":"laser","track_id":"x"}', '{"type":"subscribe","id":1}'],
)  # fmt: skip
async def test_rs_32_anything_malformed_is_answered_by_an_error_and_life_goes_on(room: LiveService, text: str) -> None:
    async with room.socket() as socket:
        await socket.hello(room.token(Role.OPERATOR))
        await socket.send_text(text)
        assert (await socket.next("error"))["code"] == "malformed"
        await synced(socket)


async def test_rs_32_binary_frames_and_a_second_hello_are_errors(room: LiveService) -> None:
    async with room.socket() as socket:
        await socket.hello(room.token(Role.OPERATOR))
        await socket.send_bytes(b"\x00")
        assert (await socket.next("error"))["code"] == "malformed"
        await socket.send(type="hello", token="x")
        assert (await socket.next("error"))["code"] == "malformed"


async def test_rs_32_twenty_errors_in_a_minute_close_with_4400(room: LiveService) -> None:
    async with room.socket() as clumsy, room.socket() as careful:
        await clumsy.hello(room.token(Role.OPERATOR))
        await careful.hello(room.token(Role.SPECIALIST))
        for _ in range(19):
            await careful.send_text("?")
            await clumsy.send_text("?")
        await synced(careful)
        room.clock.advance(61)
        await clumsy.send_text("?")
        await synced(clumsy)  # the first nineteen are forgotten
        for _ in range(19):
            await clumsy.send_text("?")
        assert await clumsy.closed() == 4400
        await synced(careful)


async def test_rs_32_a_frame_above_256_kib_closes_with_1009(room: LiveService) -> None:
    async with room.socket() as socket:
        await socket.hello(room.token(Role.OPERATOR))
        await socket.send(type="chat", text="x" * 262_144)
        assert await socket.closed() == 1009
