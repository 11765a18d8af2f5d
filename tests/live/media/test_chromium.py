"""Chromium as viewer and as publisher: frames change, and each names itself by the publisher's RTP timestamp."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from consilium_live.media import MediaPlane
from consilium_testkit.browser_media import chromium, peer_page, seen
from consilium_testkit.media import EncodedVideo, Listener, Publisher, Tone, Viewer, unkind_endpoint

pytestmark = pytest.mark.browser
Closing = Callable[[Any], Any]


async def test_chromium_shows_h264_and_names_its_frames(
    plane: MediaPlane, closing: Closing, listener: Listener
) -> None:
    async def published(offer: str) -> str:
        return (await plane.publish("pub", offer, room_id="room", track_ids=("cine", "voice"))).answer_sdp

    async def viewed(session: str, offer: str) -> str:
        done = await plane.subscribe(session, offer, ("cine", "voice"), room_id="room")
        assert not done.unanswerable
        return done.answer_sdp

    source = EncodedVideo("h264", stamped=True, gop=10)
    await closing(Publisher(source, Tone())).start(published)
    async with chromium() as browser:
        page = await peer_page(browser, viewed)
        await page.evaluate("view('browser', ['video', 'audio'], ['H264', 'rtx'])")
        await page.wait_for_function("seen['0'] && seen['0'].frames.length >= 60 && seen['0'].changes >= 30")
        async with asyncio.timeout(60):  # a busy machine does not show every keyframe
            while True:
                video = await seen(page, "0")
                mapped = {timestamp: stamp.frame_no for _, timestamp, stamp in listener.stamps}
                shown = {f["rtp"] for f in video["frames"]}
                if shown & mapped.keys():
                    break
                await asyncio.sleep(0.1)
        audio = await page.evaluate("inbound('audio')")
        report = await page.evaluate("inbound('video')")
    assert (video["frames"][-1]["w"], video["frames"][-1]["h"]) == (320, 240)
    origin, number = next(iter(mapped.items()))
    for timestamp in shown:  # every frame lies on the publisher's 30 fps grid, counted from a mapped keyframe
        assert (timestamp - origin) % 3000 == 0
    for timestamp, frame_no in mapped.items():
        assert (timestamp - origin) % (1 << 32) == ((frame_no - number) * 3000) % (1 << 32)
    assert audio["packetsReceived"] > 20
    assert report["packetsReceived"] > 60


async def test_a_late_chromium_viewer_sees_a_picture_at_once(plane: MediaPlane, closing: Closing) -> None:
    async def published(offer: str) -> str:
        return (await plane.publish("pub", offer, room_id="room", track_ids=("cine",))).answer_sdp

    async def viewed(session: str, offer: str) -> str:
        return (await plane.subscribe(session, offer, ("cine",), room_id="room")).answer_sdp

    await closing(Publisher(EncodedVideo("h264", gop=60))).start(published)
    async with chromium() as browser:
        for number in range(3):
            page = await peer_page(browser, viewed)
            await page.evaluate(f"view('browser-{number}', ['video'], ['H264', 'rtx'])")
            await page.wait_for_function("seen['0'] && seen['0'].frames.length >= 5")
    assert plane.stats().replayed_packets > 0


async def test_chromium_publishes_camera_and_microphone(plane: MediaPlane, closing: Closing) -> None:
    async def answer(session: str, offer: str) -> str:
        if session == "camera":
            return (await plane.publish(session, offer, room_id="room", track_ids=("mic", "cam"))).answer_sdp
        wanted = {t.kind: t.track_id for t in plane.tracks("room")}
        done = await plane.subscribe(session, offer, (wanted["video"], wanted["audio"]), room_id="room")
        assert not done.unanswerable
        return done.answer_sdp

    async with chromium() as browser:
        camera = await peer_page(browser, answer)
        await camera.evaluate("publish('camera', {audio: true, video: {width: 640, height: 480}})")
        other = await peer_page(browser, answer)
        await other.evaluate("view('other', ['video', 'audio'])")
        await other.wait_for_function("seen['0'] && seen['0'].changes >= 20")
        await other.wait_for_function(
            "inbound('audio').then((r) => r && r.packetsReceived > 50 && r.totalAudioEnergy > 0)"
        )
        viewer = closing(Viewer("video", "audio"))

        async def plain(offer: str) -> str:
            return await answer("plain", offer)

        await viewer.start(plain)
        await viewer.moving(20)
        await viewer.moving(20, "audio")
        # the publisher is not starved: well above the 300 kbit/s it starts with, by REMB
        await camera.wait_for_function(
            """pc.getStats().then((all) => [...all.values()].some(
                 (r) => r.type === 'outbound-rtp' && r.kind === 'video' && r.targetBitrate > 500000))""",
            timeout=60_000,
        )


async def test_chromium_goes_on_when_the_publisher_comes_back_and_when_ice_restarts(
    plane: MediaPlane, closing: Closing
) -> None:
    async def published(offer: str) -> str:
        session = "pub-again" if plane.tracks("room") else "pub"
        return (await plane.publish(session, offer, room_id="room", track_ids=("cine",))).answer_sdp

    async def viewed(session: str, offer: str) -> str:
        return (await plane.subscribe(session, offer, ("cine",), room_id="room")).answer_sdp

    await closing(Publisher(EncodedVideo("h264"))).start(published)
    async with chromium() as browser:
        page = await peer_page(browser, viewed)
        await page.evaluate("view('browser', ['video'], ['H264', 'rtx'])")
        await page.wait_for_function("seen['0'] && seen['0'].frames.length >= 10")
        await plane.close_session("pub")
        await closing(Publisher(EncodedVideo("h264"))).start(published)
        shown = len((await seen(page, "0"))["frames"])
        await page.wait_for_function(f"seen['0'].frames.length >= {shown + 40}")
        ufrag = await page.evaluate("pc.remoteDescription.sdp.match(/ice-ufrag:(.*)/)[1]")
        await page.evaluate("(pc.restartIce(), negotiate('browser'))")
        assert await page.evaluate("pc.remoteDescription.sdp.match(/ice-ufrag:(.*)/)[1]") != ufrag
        shown = len((await seen(page, "0"))["frames"])
        await page.wait_for_function(f"seen['0'].frames.length >= {shown + 60}")
        assert await page.evaluate("pc.connectionState") == "connected"
    assert plane.stats().sink_failures == 0


async def test_chromium_adds_tracks_to_its_connection_and_a_data_channel_is_declined(
    plane: MediaPlane, closing: Closing
) -> None:
    async def published(offer: str) -> str:
        return (await plane.publish("pub", offer, room_id="room", track_ids=("cine", "voice"))).answer_sdp

    async def answer(session: str, offer: str) -> str:
        done = await plane.negotiate(
            session, offer, room_id="room", publish=True, track_ids=("mic", "cam"), wanted=("cine", "voice")
        )
        assert not done.unanswerable
        return done.answer_sdp

    await closing(Publisher(EncodedVideo("h264"), Tone())).start(published)
    async with chromium() as browser:
        page = await peer_page(browser, answer)
        await page.evaluate("(pc.createDataChannel('x'), view('browser', ['video'], ['H264', 'rtx']))")
        await page.wait_for_function("seen['0'] && seen['0'].frames.length >= 10")
        assert "m=application 0 " in await page.evaluate("pc.remoteDescription.sdp")
        await page.evaluate("view('browser', ['audio'])")
        await page.wait_for_function("inbound('audio').then((r) => r && r.packetsReceived > 20)")
        # the same connection begins to publish, too
        await page.evaluate("publish('browser', {audio: true, video: true})")
        viewer = closing(Viewer("video", "audio"))

        async def viewed(offer: str) -> str:
            return (await plane.subscribe("viewer", offer, ("cam", "mic"), room_id="room")).answer_sdp

        await viewer.start(viewed)
        await viewer.moving(10)
        await viewer.moving(10, "audio")
        shown = len((await seen(page, "0"))["frames"])
        await page.wait_for_function(f"seen['0'].frames.length >= {shown + 10}")
    assert plane.stats().sessions <= 3


async def test_chromium_under_loss_asks_again_and_goes_on(open_room: Callable[..., Any]) -> None:
    endpoint = unkind_endpoint()
    room = await open_room(endpoint=endpoint)
    await room.publish(Publisher(EncodedVideo("h264")), "cine")

    async def viewed(session: str, offer: str) -> str:
        answer: str = (await room.plane.subscribe(session, offer, ("cine",), room_id="room")).answer_sdp
        return answer

    async with chromium() as browser:
        page = await peer_page(browser, viewed)
        await page.evaluate("view('browser', ['video'], ['H264', 'rtx'])")
        await page.wait_for_function("seen['0'] && seen['0'].frames.length >= 10")
        endpoint.lose_sent = lambda number: number % 20 == 0
        shown = len((await seen(page, "0"))["frames"])
        await page.wait_for_function(f"seen['0'].frames.length >= {shown + 90}")
        report = await page.evaluate("inbound('video')")
    assert endpoint.lost > 4
    assert report["nackCount"] > 0
    assert report["retransmittedPacketsReceived"] > 0
    assert room.plane.stats().rtx > 0
