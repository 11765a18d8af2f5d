"""A plain aiortc publisher's packets reach plain aiortc viewers through the plane, decoded and moving."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import Any

import pytest
from aiortc.rtcdtlstransport import SRTP_AES128_CM_SHA1_80

from consilium_core.clock import FakeClock
from consilium_core.errors import Conflict, Exhausted, Invalid, NotFound, Unavailable
from consilium_core.frame_ref import FrameStamp, sei_nal
from consilium_live.media import MediaPlane
from consilium_live.media.dtls import DtlsIdentity
from consilium_live.ports import MediaSettings, TrackState
from consilium_testkit.light_peer import LightPeer
from consilium_testkit.media import EncodedVideo, Listener, Publisher, Tone, Viewer, until

from .test_pictures import sps_of

OpenRoom = Callable[..., Any]


@pytest.mark.parametrize("codec", ["H264", "VP8"])
async def test_video_and_audio_reach_two_viewers(room: Any, listener: Listener, codec: str) -> None:
    published = await room.publish(Publisher(EncodedVideo(codec.lower()), Tone(), codec=codec), "cine", "voice")
    assert [(t.track_id, t.state) for t in published.tracks] == [
        ("cine", TrackState.WAITING),
        ("voice", TrackState.WAITING),
    ]
    viewers = [Viewer("video", "audio") for _ in range(2)]
    for number, viewer in enumerate(viewers):
        done = await room.view(viewer, f"viewer-{number}", "voice", "cine")
        assert done.carried == {"0": "cine", "1": "voice"}
    for viewer in viewers:
        await viewer.moving(20)
        await viewer.moving(20, "audio")
    facts = {t.track_id: t for t in room.plane.tracks("room")}
    assert {i: t.codec.name for i, t in facts.items()} == {"cine": codec, "voice": "opus"}
    assert facts["cine"].state is TrackState.LIVE
    assert facts["cine"].keyframes >= 1
    assert facts["cine"].viewers == 2
    assert ("track_started", "cine") in listener.events
    assert facts["cine"].size == (320, 240)
    assert listener.events.count(("track_sized:(320, 240)", "cine")) == 1
    stats = room.plane.stats()
    assert (stats.sessions, stats.tracks, stats.sink_failures, stats.dropped_packets) == (3, 2, 0, 0)
    assert room.plane.tracks("another room") == ()


async def test_without_segmentation_offload_it_is_the_same(open_room: OpenRoom) -> None:
    room = await open_room(MediaSettings(gso=False))
    await room.publish(Publisher(EncodedVideo()), "cine")
    viewer = Viewer("video")
    await room.view(viewer, "viewer", "cine")
    await viewer.moving(10)
    assert not room.plane.stats().gso


async def test_a_late_viewer_gets_the_last_keyframe_and_what_followed(room: Any) -> None:
    await room.publish(Publisher(EncodedVideo(gop=60)), "cine")
    await until(lambda: bool(room.plane.tracks()) and room.plane.tracks()[0].packets > 40, "packets")
    keyframes = room.plane.tracks()[0].keyframes
    viewer = Viewer("video")
    await room.view(viewer, "late", "cine")
    await viewer.moving(3)
    assert room.plane.tracks()[0].keyframes == keyframes, "no new keyframe was needed"
    assert room.plane.stats().replayed_packets > 0


async def test_an_old_group_of_pictures_is_not_replayed_but_a_keyframe_asked_for(open_room: OpenRoom) -> None:
    room = await open_room(MediaSettings(replay_max_s=0.0))
    await room.publish(Publisher(EncodedVideo(gop=60)), "cine")
    await until(lambda: bool(room.plane.tracks()) and room.plane.tracks()[0].packets > 40, "packets")
    asked = room.plane.stats().plis_sent
    viewer = Viewer("video")
    await room.view(viewer, "late", "cine")
    await viewer.moving(3)
    assert room.plane.stats().plis_sent > asked


async def test_keyframe_requests_are_merged(room: Any) -> None:
    await room.publish(Publisher(EncodedVideo()), "cine")
    await until(lambda: bool(room.plane.tracks()) and room.plane.tracks()[0].packets > 5, "packets")
    before = room.plane.stats().plis_sent
    assert all(room.plane.request_keyframe("cine") for _ in range(50))
    assert room.plane.stats().plis_sent <= before + 1
    assert not room.plane.request_keyframe("another")


async def test_the_frame_map_names_keyframes_by_the_publishers_timestamps(room: Any, listener: Listener) -> None:
    await room.publish(Publisher(EncodedVideo(stamped=True, gop=10)), "cine")
    await until(lambda: len(listener.stamps) >= 3, "three stamps")
    (_, first_at, first), (_, _, _), (track_id, at, stamp) = listener.stamps[:3]
    assert (track_id, stamp.media_epoch) == ("cine", 7)
    assert (at - first_at) % (1 << 32) == (stamp.frame_no - first.frame_no) * 3000
    assert stamp.captured_at_us == 1_700_000_000_000_000 + stamp.frame_no


async def test_rs_16_a_stamp_is_told_once_per_timestamp_and_only_of_a_keyframe(room: Any, listener: Listener) -> None:
    publisher = await light_publisher(room, DtlsIdentity())
    sei = sei_nal(FrameStamp(7, 1, 1))
    sps = sps_of((640, 480), "Baseline")
    aggregate = b"\x78" + b"".join(struct.pack("!H", len(nal)) + nal for nal in (sps, sei))
    pictures = [
        (sei, b"\x41" + bytes(50)),  # a stamp without a keyframe says nothing
        (sei, b"\x65" + bytes(50), b"\x65" + bytes(50)),
        (b"\x65" + bytes(50), sei, sei),
        (aggregate, aggregate, sei),
    ]
    numbers = iter(range(100, 200))
    for number, payloads in enumerate(pictures):
        for payload in payloads:
            head = struct.pack("!BBHII", 0x80, 102, next(numbers), number * 3000, publisher.ssrc)
            publisher.send_rtp(head + payload)
    track = room.plane._tracks.by_id
    await until(lambda: "cine" in track and track["cine"].packets == 11, "all packets")
    assert [at for _, at, _ in listener.stamps] == [3000, 6000, 9000]
    assert track["cine"].size == (640, 480)


async def test_renegotiation_adds_a_track_on_the_same_transport(room: Any) -> None:
    await room.publish(Publisher(EncodedVideo(), Tone()), "cine", "voice")
    await room.publish(Publisher(EncodedVideo("vp8"), codec="VP8"), "camera", session="pub-2")
    viewer = Viewer("video")
    first = await room.view(viewer, "viewer", "cine")
    await viewer.moving(5)
    viewer.add("audio")
    viewer.add("video")
    second = await room.view(viewer, "viewer", "cine", "voice", "camera")
    assert second.carried == {"0": "cine", "1": "voice", "2": "camera"}
    for line in first.answer_sdp.splitlines():
        if line.startswith(("a=ice-ufrag", "a=fingerprint", "a=ssrc")):
            assert line in second.answer_sdp
    await until(lambda: len(viewer.by_mid.get("2", [])) > 5, "the camera's frames")
    await viewer.moving(5, "audio")
    before = len(viewer.by_mid["0"])
    await until(lambda: len(viewer.by_mid["0"]) > before + 5, "the first track going on")
    third = await room.view(viewer, "viewer", "voice")
    assert third.carried == {"1": "voice"}
    assert room.plane.stats().sessions == 3
    assert {t.track_id: t.viewers for t in room.plane.tracks()} == {"cine": 0, "voice": 1, "camera": 0}


async def test_a_viewer_without_the_codec_is_told_and_joins_all_the_same(room: Any) -> None:
    await room.publish(Publisher(EncodedVideo(), Tone()), "cine", "voice")
    viewer = Viewer("video", "audio", codecs=("VP8",))
    done = await room.view(viewer, "viewer", "cine", "voice", "nobody's")
    assert [(u.mid, u.track_id, u.codec.split("/")[0]) for u in done.unanswerable] == [("0", "cine", "H264")]
    assert done.carried == {"1": "voice"}
    await viewer.moving(5, "audio")
    await room.publish(Publisher(EncodedVideo("vp8"), codec="VP8"), "cine-vp8", session="pub-vp8")
    again = await room.view(viewer, "viewer", "cine-vp8", "voice")
    assert not again.unanswerable
    await viewer.moving(5)


async def test_a_publisher_who_comes_back_with_the_same_track_id_is_seen_without_a_new_offer(
    room: Any, listener: Listener
) -> None:
    first = Publisher(EncodedVideo())
    await room.publish(first, "cine")
    viewer = Viewer("video")
    await room.view(viewer, "viewer", "cine")
    await viewer.moving(5)
    await room.plane.close_session("pub")
    assert room.plane.tracks()[0].state is TrackState.ENDED
    assert ("track_ended", "cine") in listener.events
    await room.publish(Publisher(EncodedVideo()), "cine", session="pub-again")
    before = len(viewer.frames["video"])
    await until(lambda: len(viewer.frames["video"]) > before + 10, "frames of the new publisher")
    assert room.plane.tracks()[0].session_id == "pub-again"
    await room.plane.close_session("pub-again")
    room.plane.forget_room("room")
    assert room.plane.tracks() == ()


async def test_a_second_publisher_takes_a_track_over_in_its_room_only(room: Any, plane: MediaPlane) -> None:
    await room.publish(Publisher(EncodedVideo()), "cine")
    await until(lambda: plane.tracks()[0].packets > 0, "packets")
    second = Publisher(EncodedVideo())
    await room.publish(second, "cine", session="pub-2")
    assert [t.session_id for t in plane.tracks()] == ["pub-2"]
    await second.pc.setLocalDescription(await second.pc.createOffer())
    with pytest.raises(Conflict):
        await plane.publish("x", second.pc.localDescription.sdp, room_id="elsewhere", track_ids=["cine"])


async def test_offers_that_cannot_be_answered_are_refused_in_words(room: Any, plane: MediaPlane) -> None:
    viewer = room.keep(Viewer("video", "audio"))
    await viewer.pc.setLocalDescription(await viewer.pc.createOffer())
    offer: str = viewer.pc.localDescription.sdp
    for bad in (
        "",
        "v=0",
        offer.replace("a=group:BUNDLE", "a=group:LS"),
        offer.replace("a=fingerprint", "a=finger"),
        "\n".join(line for line in offer.splitlines() if not line.startswith("a=ice-ufrag")),
        offer.replace("m=video", "m=video x"),
        offer * 40,
    ):
        with pytest.raises(Invalid):
            await plane.subscribe("viewer", bad, (), room_id="room")
    assert plane.stats().sessions == 0
    done = await plane.subscribe("viewer", offer, ("no-such-track",), room_id="room")
    assert [(u.track_id, u.reason) for u in done.unanswerable] == [("no-such-track", "no-such-track")]
    with pytest.raises(Conflict):
        await plane.subscribe("viewer", offer, (), room_id="another room")
    await plane.add_ice_candidates("viewer", "a=mid:0\r\na=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n")
    with pytest.raises(NotFound):
        await plane.add_ice_candidates("nobody", "")
    with pytest.raises(Conflict):
        await plane.add_ice_candidates("viewer", "a=ice-ufrag:other\r\n")


async def test_limits_are_refused_and_a_closed_plane_says_so(open_room: OpenRoom) -> None:
    room = await open_room(MediaSettings(max_sessions=1, max_tracks_per_session=1))
    viewer = room.keep(Viewer("video"))
    await viewer.pc.setLocalDescription(await viewer.pc.createOffer())
    offer = viewer.pc.localDescription.sdp
    await room.plane.subscribe("a", offer, (), room_id="room")
    with pytest.raises(Exhausted):
        await room.plane.subscribe("b", offer, (), room_id="room")
    with pytest.raises(Unavailable):
        await MediaPlane.open(MediaSettings(port=room.plane.address[1]))
    await room.plane.close()
    await room.plane.close()
    with pytest.raises(Unavailable):
        await room.plane.subscribe("c", offer, (), room_id="room")


async def test_viewers_leave_places_for_the_sites_publishers(open_room: OpenRoom) -> None:
    room = await open_room(MediaSettings(max_sessions=16, reserved_sessions=2))
    viewer = room.keep(LightPeer(DtlsIdentity(), "recvonly"))
    publisher = room.keep(LightPeer(DtlsIdentity(), "sendonly"))
    for number in range(14):
        await room.plane.subscribe(f"v{number}", viewer.offer, (), room_id="room")
    with pytest.raises(Exhausted):
        await room.plane.subscribe("one more", viewer.offer, (), room_id="room")
    with pytest.raises(Exhausted):
        await room.plane.publish("a person", publisher.offer, room_id="room")
    await room.plane.subscribe("v3", viewer.offer, (), room_id="room")  # who is in goes on
    for number in range(2):
        await room.plane.publish(f"site-{number}", publisher.offer, room_id="room", reserved=True)
    with pytest.raises(Exhausted):
        await room.plane.publish("a third site", publisher.offer, room_id="room", reserved=True)


async def test_a_viewer_that_knows_only_aes_cm_sees_the_same(room: Any) -> None:
    await room.publish(Publisher(EncodedVideo(), Tone()), "cine", "voice")
    viewer = Viewer("video", "audio")
    transports = {id(t.receiver.transport): t.receiver.transport for t in viewer.pc.getTransceivers()}
    for transport in transports.values():
        transport._srtp_profiles = [SRTP_AES128_CM_SHA1_80]
    await room.view(viewer, "viewer", "cine", "voice")
    await viewer.moving(20)
    await viewer.moving(20, "audio")
    srtp = room.plane._sessions["viewer"].srtp
    assert (srtp.profile.name, srtp.gcm) == ("SRTP_AES128_CM_SHA1_80", None)


async def light_publisher(room: Any, identity: DtlsIdentity, host: str = "127.0.0.1") -> LightPeer:
    publisher: LightPeer = room.keep(LightPeer(identity, "sendonly", host=host))
    done = await room.plane.publish("pub", publisher.offer, room_id="room", track_ids=("cine",))
    publisher.start(done.answer_sdp)
    await asyncio.wait_for(publisher.connected.wait(), 30)
    return publisher


async def light_viewer(room: Any, identity: DtlsIdentity, name: str, host: str = "127.0.0.1") -> LightPeer:
    viewer: LightPeer = room.keep(LightPeer(identity, "recvonly", decrypt=True, host=host))
    done = await room.plane.subscribe(name, viewer.offer, ("cine",), room_id="room")
    viewer.start(done.answer_sdp)
    await asyncio.wait_for(viewer.connected.wait(), 30)
    return viewer


def send(publisher: LightPeer, first: int, last: int) -> None:
    """Send one-packet pictures with these sequence numbers, every tenth a keyframe."""
    for number in range(first, last):
        head = struct.pack("!BBHII", 0x80, 0x80 | 102, number & 0xFFFF, number * 3000, publisher.ssrc)
        publisher.send_rtp(head + (b"\x65" if number % 10 == 0 else b"\x41") + bytes(200))


async def test_sequence_numbers_roll_over_for_old_and_new_viewers(room: Any) -> None:
    identity = DtlsIdentity()
    publisher = await light_publisher(room, identity)
    old = await light_viewer(room, identity, "old")
    send(publisher, 65500, 65530)
    await until(lambda: len(old.plain) == 30, "packets before the wrap")
    send(publisher, 65530, 65550)
    await until(lambda: len(old.plain) == 50, "packets across the wrap")
    new = await light_viewer(room, identity, "new")
    send(publisher, 65550, 65560)
    await until(lambda: len(old.plain) == 60 and len(new.plain) >= 10, "packets after the wrap")
    assert [int.from_bytes(p[2:4], "big") for p in old.plain] == [n & 0xFFFF for n in range(65500, 65560)]
    assert [int.from_bytes(p[4:8], "big") for p in old.plain] == [n * 3000 for n in range(65500, 65560)]
    assert (old.refused, new.refused) == (0, 0)


async def test_after_a_publishers_restart_nothing_is_seen_before_its_keyframe(open_room: OpenRoom) -> None:
    clock = FakeClock()
    room = await open_room(clock=clock, ticking=False)
    identity = DtlsIdentity()
    viewer_of = await light_publisher(room, identity)
    viewer = await light_viewer(room, identity, "viewer")
    send(viewer_of, 100, 120)
    await until(lambda: len(viewer.plain) == 20, "the first publisher")
    track = room.plane._tracks.by_id["cine"]
    await room.plane.close_session("pub")
    assert not any(track._history), "an ended track keeps no pictures"
    clock.advance(60)
    again = await light_publisher(room, identity)
    send(again, 501, 510)
    await until(lambda: track.packets == 29, "packets of the new one")
    for _ in range(20):
        clock.advance(1)
        track.tick(clock.mono_s)
    send(again, 511, 520)
    await until(lambda: track.packets == 38, "more of them")
    send(again, 520, 525)
    await until(lambda: len(viewer.plain) == 25, "its keyframe and what follows")
    assert [int.from_bytes(p[4:8], "big") for p in viewer.plain[20:]] == [n * 3000 for n in range(520, 525)]


async def test_a_first_publisher_without_keyframes_is_sent_as_it_is_but_only_after_its_own_patience(
    open_room: OpenRoom,
) -> None:
    clock = FakeClock()
    room = await open_room(clock=clock, ticking=False)
    identity = DtlsIdentity()
    publisher = await light_publisher(room, identity)
    viewer = await light_viewer(room, identity, "viewer")
    clock.advance(60)  # the viewer was long before the first packet
    track = room.plane._tracks.by_id["cine"]
    send(publisher, 101, 105)
    await until(lambda: track.packets == 4, "packets")
    track.tick(clock.mono_s)
    send(publisher, 105, 107)
    await until(lambda: track.packets == 6, "more packets")
    clock.advance(4.1)
    track.tick(clock.mono_s)
    send(publisher, 107, 110)
    await until(lambda: len(viewer.plain) == 3, "what came after the patience")
    assert viewer.plain[0][2:4] == (107).to_bytes(2, "big")


async def test_tracks_of_who_has_left_are_forgotten(room: Any) -> None:
    await light_publisher(room, DtlsIdentity())
    room.plane.forget_tracks(["cine", "never there"])
    assert [t.track_id for t in room.plane.tracks()] == ["cine"], "somebody publishes it"
    await room.plane.close_session("pub")
    room.plane.forget_tracks(["cine"])
    assert room.plane.tracks() == ()


async def test_it_works_over_ipv6(open_room: OpenRoom) -> None:
    try:
        room = await open_room(MediaSettings(host="::1"))
    except Unavailable:
        pytest.skip("this machine has no IPv6 loopback")
    identity = DtlsIdentity()
    publisher = await light_publisher(room, identity, "::1")
    viewer = await light_viewer(room, identity, "viewer", "::1")
    send(publisher, 100, 130)
    await until(lambda: len(viewer.plain) == 30, "packets")
    assert viewer.refused == 0


async def test_a_wildcard_socket_advertises_an_address_that_can_be_reached(open_room: OpenRoom) -> None:
    room = await open_room(MediaSettings(host="0.0.0.0"))
    viewer = room.keep(LightPeer(DtlsIdentity(), "recvonly"))
    answer = (await room.plane.subscribe("viewer", viewer.offer, (), room_id="room")).answer_sdp
    assert "0.0.0.0" not in next(line for line in answer.splitlines() if line.startswith("a=candidate"))


async def test_a_track_taken_again_after_a_roll_over_is_still_readable(room: Any) -> None:
    """Indices and RTX numbers go on per session: a new count would be refused by the peer, and would reuse nonces."""
    identity = DtlsIdentity()
    publisher = await light_publisher(room, identity)
    viewer = await light_viewer(room, identity, "viewer")
    send(publisher, 65500, 65530)
    await until(lambda: len(viewer.plain) == 30, "packets before the wrap")
    session = room.plane._sessions["viewer"]
    track = room.plane._tracks.by_id["cine"]
    track.repair(session.sinks["0"], [65529], room.plane._now())
    await until(lambda: len(viewer.plain) == 31, "the first repair")
    await room.plane.subscribe("viewer", viewer.offer, (), room_id="room")
    send(publisher, 65530, 65560)
    await until(lambda: track.packets == 60, "packets while nobody looks")
    await room.plane.subscribe("viewer", viewer.offer, ("cine",), room_id="room")
    send(publisher, 65560, 65580)
    await until(lambda: viewer.plain[-1][2:4] == (65579 & 0xFFFF).to_bytes(2, "big"), "packets after it")
    track.repair(session.sinks["0"], [65579 & 0xFFFF], room.plane._now())
    await until(lambda: viewer.plain[-1][1] & 127 == 103, "the second repair")
    assert viewer.refused == 0
    numbers = [int.from_bytes(p[2:4], "big") for p in viewer.plain if p[1] & 127 == 102]
    assert len(set(numbers)) == len(numbers), "no packet was sent twice"


@pytest.mark.parametrize("by_library", [False, True])
@pytest.mark.parametrize("away", [40_000, 60_000, 140_000])
async def test_a_track_taken_again_after_half_a_roll_over_or_more_is_still_readable(
    room: Any, away: int, by_library: bool
) -> None:
    """A viewer guesses the roll-over count from what it has seen (RFC 3711 3.3.1): past 2^15 packets it guesses wrong."""
    identity = DtlsIdentity()
    publisher = await light_publisher(room, identity)
    viewer = await light_viewer(room, identity, "viewer")
    session = room.plane._sessions["viewer"]
    if by_library:
        session.srtp.gcm = None
    send(publisher, 1000, 1020)
    await until(lambda: len(viewer.plain) == 20, "packets before")
    track = room.plane._tracks.by_id["cine"]
    await room.plane.subscribe("viewer", viewer.offer, (), room_id="room")
    steps = range(1020, 1020 + away, 10_000)  # the publisher loses the rest: only the numbers count
    for number in steps:
        send(publisher, number, number + 1)
    await until(lambda: track.packets == 20 + len(steps), "what passes meanwhile")
    done = await room.plane.subscribe("viewer", viewer.offer, ("cine",), room_id="room")
    ssrc = session.sinks["0"].ssrc
    assert f"a=ssrc-group:FID {ssrc} " in done.answer_sdp
    before, first = len(viewer.plain), 1020 + away
    send(publisher, first, first + 20)
    last = ((first + 19) & 0xFFFF).to_bytes(2, "big")
    await until(lambda: len(viewer.plain) > before and viewer.plain[-1][2:4] == last, "packets after it")
    assert viewer.refused == 0
    assert {p[8:12] for p in viewer.plain[before:]} == {ssrc.to_bytes(4, "big")}
    track.repair(session.sinks["0"], [(first + 19) & 0xFFFF], room.plane._now())
    await until(lambda: viewer.plain[-1][1] & 127 == 103, "a repair")
    assert viewer.refused == 0
