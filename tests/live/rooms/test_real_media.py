"""The whole service with the real media plane on a real HTTP server: plain aiortc peers by WHIP, WHEP and the room's WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
import uvicorn
import websockets

from consilium_core.roles import Role
from consilium_gateway.adapters.proxy import ProxyUpstream
from consilium_gateway.door import Door
from consilium_live.app import UVICORN_OPTIONS, open_service
from consilium_live.settings import LiveSettings
from consilium_platform.platform import Platform
from consilium_testkit.media import EncodedVideo, Publisher, Tone, Viewer, until
from consilium_testkit.platforms import bearer, token


class SilentGateway:
    """A gateway whose sites never answer; it remembers what they were told."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    async def send(self, tenant: str, site_id: str, args: Any, *, deadline_s: float, actor: str) -> str:
        self.sent.append(args)
        return f"command-{len(self.sent)}"

    async def site_name(self, tenant: str, site_id: str) -> str:
        return "County hospital"

    async def status(self, tenant: str, command_id: str) -> Any:
        raise AssertionError("nothing was captured")


@dataclass
class Served:
    """A live service on a real port."""

    platform: Platform
    gateway: SilentGateway
    app: Any
    base: str
    http: httpx2.AsyncClient

    async def post_offer(self, kind: str, sdp: str, headers: dict[str, str]) -> tuple[str, str]:
        reply = await self.http.post(
            f"/{kind}/demo", content=sdp, headers={**headers, "Content-Type": "application/sdp"}
        )
        assert reply.status_code == 201, reply.text
        return reply.text, reply.headers["location"]

    async def room(self) -> dict[str, Any]:
        reply = await self.http.get("/api/v1/rooms/demo", headers=bearer(self.platform, Role.ADMIN))
        found: dict[str, Any] = reply.json()
        return found


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[str]:
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, lifespan="off", **UVICORN_OPTIONS)
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    task = asyncio.create_task(server._serve(None), name="uvicorn")
    try:
        await until(lambda: server.started, "uvicorn starts")
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await task


@pytest.fixture
async def served(platform: Platform) -> AsyncIterator[Served]:
    gateway = SilentGateway()
    async with (
        open_service(platform, LiveSettings.load(), commands=gateway) as app,
        serving(app) as address,
        httpx2.AsyncClient(base_url=f"http://{address}", trust_env=False) as http,
    ):
        body = {"id": "demo", "title": "Echo", "site_id": "01SITE", "site_name": "County hospital"}
        opened = await http.post("/internal/v1/rooms", json=body, headers=bearer(platform, Role.SERVICE))
        assert opened.status_code == 200, opened.text
        yield Served(platform, gateway, app, address, http)


class Person:
    """Somebody in the room with a real WebSocket and a real peer connection."""

    def __init__(self, served: Served, socket: Any) -> None:
        self.served = served
        self.socket = socket
        self.messages: list[dict[str, Any]] = []
        self._reader = asyncio.create_task(self._read(), name="person")

    async def _read(self) -> None:
        with contextlib.suppress(websockets.ConnectionClosed):
            async for text in self.socket:
                self.messages.append(json.loads(text))

    async def send(self, **message: Any) -> None:
        await self.socket.send(json.dumps(message))

    async def get(self, type_: str, **facts: Any) -> dict[str, Any]:
        def find() -> dict[str, Any] | None:
            fits = (m for m in self.messages if m["type"] == type_ and all(m.get(k) == v for k, v in facts.items()))
            return next(fits, None)

        await until(lambda: find() is not None, f"{type_} {facts}")
        found = find()
        assert found is not None
        return found

    async def close(self) -> None:
        await self.socket.close()
        await self._reader


@asynccontextmanager
async def person(
    served: Served, role: Role, codecs: tuple[str, ...] = ("H264", "VP8", "opus")
) -> AsyncIterator[Person]:
    url = f"ws://{served.base}/api/v1/rooms/demo/ws"
    async with websockets.connect(url, subprotocols=["consilium.room.v1"], proxy=None) as socket:  # type: ignore[list-item]
        someone = Person(served, socket)
        access = token(served.platform, role)
        await someone.send(type="hello", token=access, client={"kind": "desktop", "codecs": list(codecs)})
        await someone.get("welcome")
        try:
            yield someone
        finally:
            await someone.close()


@asynccontextmanager
async def site_publishing(served: Served, codec: str = "h264") -> AsyncIterator[tuple[Publisher, str]]:
    publisher = Publisher(EncodedVideo(codec, stamped=True), codec=codec.upper())
    location = ""

    async def answer(sdp: str) -> str:
        nonlocal location
        text, location = await served.post_offer("whip", sdp, bearer(served.platform, Role.SITE, subject="01SITE"))
        return text

    await publisher.start(answer)
    try:
        yield publisher, location
    finally:
        await publisher.close()


async def test_a_plain_whep_viewer_decodes_what_a_plain_whip_publisher_sends_until_delete(served: Served) -> None:
    site = bearer(served.platform, Role.SITE, subject="01SITE")
    async with site_publishing(served) as (_, location):
        viewer = Viewer("video")
        try:
            headers = bearer(served.platform, Role.SPECIALIST)
            seat = ""

            async def answer(sdp: str) -> str:
                nonlocal seat
                text, seat = await served.post_offer("whep", sdp, headers)
                return text

            await viewer.start(answer)
            await viewer.moving(10)
            room = await served.room()
            assert (room["live"], room["state"]) == (True, "live")
            assert (await served.http.delete(seat, headers=headers)).status_code == 200
            assert (await served.http.delete(seat, headers=headers)).status_code == 404
        finally:
            await viewer.close()
        assert (await served.http.delete(location, headers=site)).status_code == 200
        room = await served.room()
        assert (room["live"], room["tracks"]) == (False, [])


async def test_rs_12_rs_16_rs_20_two_people_see_the_picture_its_frames_and_each_others_strokes(served: Served) -> None:
    async with (
        site_publishing(served),
        person(served, Role.OPERATOR) as operator,
        person(served, Role.SPECIALIST) as specialist,
    ):
        viewers = []
        for someone in (operator, specialist):
            viewer = Viewer("video")
            viewers.append(viewer)
            track = (await tracks_of(someone))[0]

            async def answer(sdp: str, someone: Person = someone, track: str = track) -> str:
                await someone.send(type="subscribe", id="1", sdp=sdp, tracks={"0": track})
                return str((await someone.get("subscribed", id="1"))["sdp"])

            await viewer.start(answer)
        for viewer in viewers:
            await viewer.moving(10)
        mapped = await specialist.get("frame_map")
        frame = {k: mapped[k] for k in ("track_id", "rtp_timestamp", "media_epoch", "frame_no")}
        for someone, stroke_id in ((operator, "s-operator"), (specialist, "s-specialist")):
            drawn = {"id": stroke_id, "tool": "pen", "track_id": mapped["track_id"], "points": [[1, 2], [3, 4]]}
            await someone.send(type="stroke", stroke={**drawn, "frame": frame, "pinned": False})
        for someone in (operator, specialist):
            await until(
                lambda someone=someone: (
                    {m["stroke"]["id"] for m in someone.messages if m["type"] == "stroke"}
                    == {"s-operator", "s-specialist"}
                ),
                "both strokes at both people",
            )
        for viewer in viewers:
            await viewer.close()


async def tracks_of(someone: Person) -> list[str]:
    def newest() -> list[str]:
        lists = [m["tracks"] for m in someone.messages if m["type"] in ("welcome", "tracks")]
        return [track["id"] for track in lists[-1]]

    await until(lambda: bool(newest()), "the room has tracks")
    return newest()


async def test_rs_13_a_microphone_is_heard_by_the_others(served: Served) -> None:
    async with person(served, Role.OPERATOR) as operator, person(served, Role.TRAINEE) as trainee:
        speaker = Publisher(Tone())
        listener = Viewer("audio")

        async def published(sdp: str) -> str:
            await operator.send(type="publish", id="p", sdp=sdp, sources={"0": "microphone"})
            return str((await operator.get("published", id="p"))["sdp"])

        async def subscribed(sdp: str) -> str:
            track = (await tracks_of(trainee))[0]
            await trainee.send(type="subscribe", id="s", sdp=sdp, tracks={"0": track})
            return str((await trainee.get("subscribed", id="s"))["sdp"])

        try:
            await speaker.start(published)
            await listener.start(subscribed)
            await listener.moving(10, "audio")
            heard = await trainee.get("participant_changed")
            assert heard["participant"]["audio"] is True
            await operator.send(type="unpublish")
            await until(lambda: newest_tracks(trainee) == [], "the microphone leaves the list")
        finally:
            await speaker.close()
            await listener.close()


def newest_tracks(someone: Person) -> list[Any]:
    return list([m["tracks"] for m in someone.messages if m["type"] in ("welcome", "tracks")][-1])


async def test_rs_15_a_viewer_without_h264_sees_the_vp8_encode_that_the_site_starts_on_demand(served: Served) -> None:
    async with site_publishing(served), person(served, Role.SPECIALIST, ("VP8", "opus")) as specialist:
        await until(lambda: any(getattr(a, "codec", "") == "vp8" for a in served.gateway.sent), "VP8 is ordered")
        async with site_publishing(served, "vp8"):
            await until(lambda: len(newest_tracks(specialist)) == 2, "the second encode is announced")
            first, second = newest_tracks(specialist)
            assert (first["codec"], second["codec"]) == ("H264", "VP8")
            assert first["group"] == second["group"]
            viewer = Viewer("video", codecs=("VP8",))

            async def answer(sdp: str) -> str:
                await specialist.send(type="subscribe", id="1", sdp=sdp, tracks={"0": second["id"]})
                return str((await specialist.get("subscribed", id="1"))["sdp"])

            await viewer.start(answer)
            await viewer.moving(10)
            await viewer.close()


async def test_rs_11_viewers_see_the_picture_again_when_a_lost_site_comes_back(served: Served) -> None:
    async with person(served, Role.SPECIALIST) as specialist:
        viewer = Viewer("video")
        async with site_publishing(served) as (lost, _):

            async def answer(sdp: str) -> str:
                await specialist.send(type="subscribe", id="1", sdp=sdp, tracks={"0": "demo-h264"})
                return str((await specialist.get("subscribed", id="1"))["sdp"])

            await tracks_of(specialist)
            await viewer.start(answer)
            await viewer.moving(10)
            for sender in lost.pc.getSenders():
                await sender.stop()  # the machine dies: no packet, no goodbye
            await specialist.get("track_state", state="stalled")
            assert (await served.room())["live"] is False
            async with site_publishing(served):
                seen = len(viewer.frames["video"])
                await until(lambda: len(viewer.frames["video"]) > seen + 10, "the picture moves again")
                assert (await served.room())["live"] is True
        await viewer.close()


async def test_rs_32_a_frame_above_256_kib_closes_with_1009(served: Served) -> None:
    async with person(served, Role.OPERATOR) as operator:
        await operator.send(type="chat", text="x" * 300_000)
        await operator.socket.wait_closed()
        assert operator.socket.close_code == 1009


@pytest.mark.parametrize("cluster", [False, True])
async def test_cors_headers_pass_the_gateways_door(served: Served, cluster: bool) -> None:
    def client_address(scope: Any) -> str:
        return "192.0.2.1"

    upstream: Any = ProxyUpstream(f"http://{served.base}", client_address=client_address) if cluster else served.app
    door = Door(
        served.app, served.app, served.app, {"live": upstream}, client_address=client_address,
        max_json_bytes=1 << 20, max_upload_bytes=1 << 20,
    )  # fmt: skip
    page = {"Origin": "https://viewer.example"}
    try:
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(door), base_url="http://door") as http:
            preflight = await http.options("/whep/demo", headers={**page, "Access-Control-Request-Method": "POST"})
            refused = await http.post("/whip/demo", content="v=0", headers={**page, "Content-Type": "application/sdp"})
    finally:
        if isinstance(upstream, ProxyUpstream):
            await upstream.aclose()
    assert (preflight.status_code, refused.status_code) == (204, 401)
    assert preflight.headers["accept-post"] == "application/sdp"
    assert "POST" in preflight.headers["access-control-allow-methods"]
    for reply in (preflight, refused):
        assert reply.headers.get_list("access-control-allow-origin") == ["*"]
