"""Loss, silence, forged and stalled peers: what goes wrong for one stays with that one."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Any

from consilium_core.clock import FakeClock
from consilium_live.media import stun
from consilium_live.media.sink import Sink
from consilium_live.ports import MediaSettings, TrackState
from consilium_testkit.media import EncodedVideo, Listener, Publisher, Tone, Viewer, unkind_endpoint, until

OpenRoom = Callable[..., Any]


async def test_loss_toward_a_viewer_is_repaired_by_rtx(open_room: OpenRoom) -> None:
    endpoint = unkind_endpoint()
    room = await open_room(endpoint=endpoint)
    await room.publish(Publisher(EncodedVideo()), "cine")
    viewer = Viewer("video")
    done = await room.view(viewer, "viewer", "cine")
    assert "ssrc-group:FID" in done.answer_sdp
    await viewer.moving(5)
    endpoint.lose_sent = lambda number: number % 10 == 0
    before, asked = len(viewer.frames["video"]), room.plane.stats().plis
    await until(lambda: endpoint.lost > 5, "lost packets")
    await until(lambda: len(viewer.frames["video"]) > before + 40, "frames in spite of the loss")
    stats = room.plane.stats()
    assert stats.nacks > 0
    assert stats.rtx > 0
    assert stats.plis <= asked + 1


async def test_loss_is_repaired_without_rtx_by_the_very_same_packets(open_room: OpenRoom) -> None:
    endpoint = unkind_endpoint()
    room = await open_room(endpoint=endpoint)
    await room.publish(Publisher(EncodedVideo()), "cine")
    viewer = room.keep(Viewer("video"))

    async def without_rtx(offer: str) -> str:
        plain = "\r\n".join(line for line in offer.splitlines() if "apt=" not in line) + "\r\n"
        answer: str = (await room.plane.subscribe("viewer", plain, ("cine",), room_id="room")).answer_sdp
        assert "rtx" not in answer
        return answer

    await viewer.start(without_rtx)
    await viewer.moving(5)
    endpoint.lose_sent = lambda number: number % 10 == 0
    before = len(viewer.frames["video"])
    await until(lambda: len(viewer.frames["video"]) > before + 40, "frames in spite of the loss")
    assert room.plane.stats().rtx > 0


async def test_loss_from_the_publisher_is_asked_for_again(open_room: OpenRoom) -> None:
    endpoint = unkind_endpoint()
    room = await open_room(endpoint=endpoint)
    await room.publish(Publisher(EncodedVideo()), "cine")
    viewer = Viewer("video")
    await room.view(viewer, "viewer", "cine")
    await viewer.moving(5)
    endpoint.lose_received = lambda number: number % 10 == 0
    before = len(viewer.frames["video"])
    await until(lambda: len(viewer.frames["video"]) > before + 40, "frames in spite of the loss")
    assert room.plane.stats().nacks_sent > 0


async def test_a_viewer_whose_path_is_full_costs_no_memory_and_nobody_else(open_room: OpenRoom) -> None:
    endpoint = unkind_endpoint()
    room = await open_room(MediaSettings(history_packets=64), endpoint=endpoint)
    await room.publish(Publisher(EncodedVideo(gop=10)), "cine")
    stalled, other = Viewer("video"), Viewer("video")
    await room.view(stalled, "stalled", "cine")
    await stalled.moving(5)
    address = room.plane._sessions["stalled"].selected
    endpoint.full = lambda to: to == address
    await room.view(other, "other", "cine")
    await other.moving(60)
    await until(lambda: room.plane.stats().dropped_packets > 60, "packets that were not queued")
    track = room.plane._tracks.by_id["cine"]
    assert len(track._history) == 64
    assert len(track._batch) <= 40


async def test_one_viewers_exception_is_contained(room: Any, monkeypatch: Any) -> None:
    await room.publish(Publisher(EncodedVideo(gop=10)), "cine")
    bad, good = Viewer("video"), Viewer("video")
    await room.view(bad, "bad", "cine")
    await room.view(good, "good", "cine")
    await bad.moving(5)
    send = Sink.send_block

    def broken(self: Sink, *args: Any) -> None:
        if self.session_id == "bad":
            raise RuntimeError("broken on purpose")
        send(self, *args)

    monkeypatch.setattr(Sink, "send_block", broken)
    before = len(good.frames.get("video", []))
    await until(lambda: len(good.frames.get("video", [])) > before + 20, "frames of the good viewer")
    assert room.plane.stats().sink_failures > 5


async def test_nack_floods_are_answered_within_a_budget(room: Any) -> None:
    await room.publish(Publisher(EncodedVideo()), "cine")
    viewer = Viewer("video")
    await room.view(viewer, "viewer", "cine")
    await viewer.moving(5)
    track = room.plane._tracks.by_id["cine"]
    sink = room.plane._sessions["viewer"].sinks["0"]
    before = room.plane.stats().rtx
    now = room.plane._now()
    for _ in range(5000):
        track.repair(sink, [track._highest & 0xFFFF], now)
    assert 0 < room.plane.stats().rtx - before <= 600


async def test_silent_peers_are_dropped_within_five_seconds(open_room: OpenRoom, listener: Listener) -> None:
    clock = FakeClock()
    room = await open_room(clock=clock, ticking=False)
    await room.publish(Publisher(EncodedVideo(), Tone()), "cine", "voice")
    viewer = Viewer("video", "audio")
    await room.view(viewer, "viewer", "cine", "voice")
    await viewer.moving(5)
    sessions = room.plane._sessions
    await until(lambda: sessions["viewer"].media_heard, "a report of the viewer")
    clock.advance(4.9)
    await until(lambda: sessions["pub"].heard_at == clock.mono_s, "the publisher, who goes on")
    heard = sessions["viewer"].heard_at
    room.plane.tick()
    assert set(sessions) == {"pub", "viewer"}
    await viewer.close()  # aiortc says goodbye; as if that had been lost, time alone must do
    clock.advance(5.1)
    for session in list(sessions.values()):
        session.heard_at = heard if session.session_id == "viewer" else clock.mono_s
    room.plane.tick()
    assert set(sessions) <= {"pub"}
    assert any(name.startswith("session_disconnected") for name in listener.names())
    clock.advance(5.1)
    room.plane.tick()
    assert not sessions
    assert ("session_disconnected:timeout", "pub") in listener.events
    assert ("track_ended", "cine") in listener.events
    assert not room.plane._by_address
    assert not room.plane._by_ufrag


async def test_a_held_up_event_loop_drops_nobody(open_room: OpenRoom) -> None:
    clock = FakeClock()
    endpoint = unkind_endpoint()
    room = await open_room(clock=clock, ticking=False, endpoint=endpoint)
    await room.publish(Publisher(EncodedVideo()), "cine")
    session = room.plane._sessions["pub"]
    await until(lambda: session.media_heard, "media")
    clock.advance(20.0)
    room.plane._timed()
    assert room.plane.stats().sessions == 1
    room.plane._datagram = lambda datagram, source: None
    endpoint.start(room.plane._datagram)
    for _ in range(60):
        clock.advance(0.1)
        room.plane._timed()
    assert room.plane.stats().sessions == 0, "but a peer that is silent in running time is dropped"


async def test_a_peer_that_never_connects_is_forgotten(open_room: OpenRoom, listener: Listener) -> None:
    clock = FakeClock()
    room = await open_room(clock=clock, ticking=False)
    viewer = room.keep(Viewer("video"))
    await viewer.pc.setLocalDescription(await viewer.pc.createOffer())
    await room.plane.subscribe("viewer", viewer.pc.localDescription.sdp, (), room_id="room")
    clock.advance(14.0)
    room.plane.tick()
    assert room.plane.stats().sessions == 1
    clock.advance(2.0)
    room.plane.tick()
    assert room.plane.stats().sessions == 0
    assert listener.events == [("session_disconnected:never-connected", "viewer")]


async def test_a_stalled_picture_is_told_and_so_is_its_return(open_room: OpenRoom, listener: Listener) -> None:
    clock = FakeClock()
    endpoint = unkind_endpoint()
    room = await open_room(clock=clock, ticking=False, endpoint=endpoint)
    await room.publish(Publisher(EncodedVideo()), "cine")
    await until(lambda: ("track_started", "cine") in listener.events, "the first packet")
    endpoint.lose_received = lambda _: True
    clock.advance(0.9)
    room.plane.tick()
    assert ("track_stalled", "cine") not in listener.events
    clock.advance(0.2)
    room.plane.tick()
    assert ("track_stalled", "cine") in listener.events
    assert room.plane.tracks()[0].state is TrackState.STALLED
    endpoint.lose_received = lambda _: False
    await until(lambda: ("track_resumed", "cine") in listener.events, "packets again")
    assert room.plane.tracks()[0].state is TrackState.LIVE


def ask(sock: socket.socket, datagram: bytes, to: tuple[str, int]) -> None:
    sock.sendto(datagram, to)


async def test_checks_with_wrong_integrity_are_refused_and_open_nothing(room: Any) -> None:
    viewer = room.keep(Viewer("video"))
    await viewer.pc.setLocalDescription(await viewer.pc.createOffer())
    done = await room.plane.subscribe("viewer", viewer.pc.localDescription.sdp, (), room_id="room")
    lines = dict(
        line[2:].split(":", 1) for line in done.answer_sdp.splitlines() if line.startswith("a=ice-") if ":" in line
    )
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.bind(("127.0.0.1", 0))
        for username, password in (
            (lines["ice-ufrag"] + ":x", b"wrong"),
            ("nobody:x", lines["ice-pwd"].encode()),
        ):
            ask(sock, stun.binding_request(bytes(12), username, password), room.plane.address)
            reply = await asyncio.wait_for(loop.sock_recv(sock, 2048), 5)
            assert struct.unpack_from("!H", reply)[0] == stun.BINDING_ERROR
        assert not room.plane._by_address
        ask(sock, b"\x80" + bytes(40), room.plane.address)  # media from a stranger
        ask(sock, b"\x16" + bytes(40), room.plane.address)  # DTLS from a stranger
        right = stun.binding_request(bytes(12), lines["ice-ufrag"] + ":x", lines["ice-pwd"].encode())
        ask(sock, right, room.plane.address)
        reply = await asyncio.wait_for(loop.sock_recv(sock, 2048), 5)
        assert struct.unpack_from("!H", reply)[0] == stun.BINDING_SUCCESS
        assert room.plane.stats().refused_datagrams == 4
        ask(sock, b"\x16" + bytes(40), room.plane.address)  # broken DTLS from a checked address
        ask(sock, b"\x80" + bytes(40), room.plane.address)  # media before keys
        await until(lambda: room.plane.stats().refused_datagrams == 5, "the early media")


async def test_many_addresses_of_one_peer_are_bounded(room: Any) -> None:
    viewer = room.keep(Viewer("video"))
    await viewer.pc.setLocalDescription(await viewer.pc.createOffer())
    await room.plane.subscribe("viewer", viewer.pc.localDescription.sdp, (), room_id="room")
    session = room.plane._sessions["viewer"]
    request = stun.binding_request(bytes(12), session.ufrag + ":x", session.password.encode(), use_candidate=False)
    for port in range(20000, 20100):
        room.plane._check(request, ("127.0.0.1", port))
    assert len(session.addresses) <= 8
    assert len(room.plane._by_address) <= 8


async def test_a_certificate_other_than_the_signalled_one_is_refused(room: Any, listener: Listener) -> None:
    viewer = room.keep(Viewer("video"))

    async def with_another_fingerprint(offer: str) -> str:
        lines = [
            "a=fingerprint:sha-256 " + ":".join(["AB"] * 32) if line.startswith("a=fingerprint") else line
            for line in offer.splitlines()
        ]
        changed = "\r\n".join(lines) + "\r\n"
        answer: str = (await room.plane.subscribe("viewer", changed, (), room_id="room")).answer_sdp
        return answer

    await viewer.start(with_another_fingerprint)
    await until(lambda: ("session_disconnected:dtls", "viewer") in listener.events, "the refusal")
    assert room.plane.stats().sessions == 0


async def test_an_ice_restart_keeps_the_session(room: Any) -> None:
    await room.publish(Publisher(EncodedVideo()), "cine")
    viewer = Viewer("video")
    first = await room.view(viewer, "viewer", "cine")
    await viewer.moving(5)
    offer = viewer.pc.localDescription.sdp
    old = room.plane._sessions["viewer"].offer.ufrag
    again = await room.plane.subscribe(
        "viewer", offer.replace(f"a=ice-ufrag:{old}", "a=ice-ufrag:another"), ("cine",), room_id="room"
    )
    ufrags = [
        next(line for line in sdp.splitlines() if line.startswith("a=ice-ufrag"))
        for sdp in (first.answer_sdp, again.answer_sdp)
    ]
    assert ufrags[0] != ufrags[1]
    before = len(viewer.frames["video"])
    await until(lambda: len(viewer.frames["video"]) > before + 10, "frames on the old path meanwhile")
    assert ("127.0.0.1", 1) not in room.plane._by_address
    assert len(room.plane._by_ufrag) == 3
