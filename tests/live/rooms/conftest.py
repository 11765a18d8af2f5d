"""A live service on the embedded world, with a media plane and a gateway of the tests' own."""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import httpx2
import pytest
import pytest_asyncio
from fastapi import FastAPI

from consilium_core.clock import FakeClock
from consilium_core.errors import ConsiliumError, Invalid, NotFound
from consilium_core.frame_ref import FrameStamp
from consilium_core.roles import Role
from consilium_core.site_protocol import CommandArgs, CommandState
from consilium_live.app import open_service
from consilium_live.domain.offer import media_lines
from consilium_live.flow.context import LiveContext
from consilium_live.flow.ports import CommandStatus
from consilium_live.ports import (
    Codec,
    MediaListener,
    PlaneStats,
    Published,
    Subscribed,
    TrackFacts,
    TrackState,
    Unanswerable,
)
from consilium_live.settings import LiveSettings
from consilium_platform.platform import Platform, open_platform
from consilium_platform.settings import PlatformSettings
from consilium_testkit.platforms import bearer, token

PROTOCOL = "consilium.room.v1"
SITE = "01SITE"
_CODECS = {"h264": Codec("H264", 90000, 1, "42e01f"), "vp8": Codec("VP8", 90000), "opus": Codec("opus", 48000, 2)}
_numbers = itertools.count(1)


def offer(*lines: str, number: int | None = None) -> str:
    """Return a small offer; each line is `direction:codec[+codec]`, e.g. `sendonly:h264`."""
    sdp = ["v=0", f"o=- {number or next(_numbers)} 1 IN IP4 127.0.0.1", "s=-", "t=0 0"]
    for mid, line in enumerate(lines):
        direction, _, codecs = line.partition(":")
        names = codecs.split("+")
        kind = "audio" if names[0] == "opus" else "video"
        payload = {name: 96 + index for index, name in enumerate(names)}
        sdp.append(f"m={kind} 9 UDP/TLS/RTP/SAVPF {' '.join(map(str, payload.values()))}")
        sdp += [f"a=mid:{mid}", f"a={direction}", "a=ice-ufrag:abcd"]
        for name, number_ in payload.items():
            rate = "48000/2" if name == "opus" else "90000"
            sdp.append(f"a=rtpmap:{number_} {name.upper() if kind == 'video' else name}/{rate}")
            if name == "h264":
                sdp.append(f"a=fmtp:{number_} packetization-mode=1;profile-level-id=42e01f")
    return "\r\n".join(sdp) + "\r\n"


class ScriptedPlane:
    """Keeps the promises of `MediaPlanePort` without media: tests say when packets come."""

    def __init__(self) -> None:
        self.known: dict[str, TrackFacts] = {}
        self.listeners: dict[str, MediaListener] = {}
        self.sessions: dict[str, str] = {}  # session id -> room id
        self.closed: list[str] = []
        self.candidates: list[tuple[str, str]] = []
        self.subscriptions: dict[str, dict[str, str]] = {}

    async def publish(
        self,
        session_id: str,
        offer_sdp: str,
        *,
        room_id: str,
        track_ids: Mapping[str, str] | Sequence[str] = (),
        listener: MediaListener | None = None,
        reserved: bool = False,
    ) -> Published:
        assert isinstance(track_ids, Mapping)
        assert listener is not None
        lines = [line for line in media_lines(offer_sdp) if line.sends]
        if not lines:
            raise Invalid("The offer has no media.")
        self.sessions[session_id] = room_id
        made: list[TrackFacts] = []
        for line in lines:
            track_id = track_ids[line.mid]
            held = self.known.get(track_id)
            assert held is None or held.session_id not in self.sessions or held.session_id == session_id
            facts = TrackFacts(
                track_id, "audio" if line.kind == "audio" else "video", _CODECS[line.slots[0]], room_id, session_id,
                line.mid, TrackState.WAITING, 0, 0, 0, 0, 0, None, None,
            )  # fmt: skip
            self.known[track_id] = facts
            self.listeners[track_id] = listener
            made.append(facts)
        self.listeners[session_id] = listener
        return Published(f"answer-to-{session_id}", tuple(made))

    async def subscribe(
        self,
        session_id: str,
        offer_sdp: str,
        wanted: Mapping[str, str] | Sequence[str],
        *,
        room_id: str,
        listener: MediaListener | None = None,
    ) -> Subscribed:
        assert isinstance(wanted, Mapping)
        assert listener is not None
        slots = {line.mid: line.slots for line in media_lines(offer_sdp)}
        self.sessions[session_id] = room_id
        self.listeners[session_id] = listener
        carried: dict[str, str] = {}
        refused: list[Unanswerable] = []
        for mid, track_id in wanted.items():
            codec = self.known[track_id].codec
            if codec.name.lower() in slots[mid]:
                carried[mid] = track_id
            else:
                refused.append(Unanswerable(mid, track_id, codec.label))
        self.subscriptions[session_id] = carried
        return Subscribed(f"answer-to-{session_id}", carried, tuple(refused))

    async def add_ice_candidates(self, session_id: str, sdp_fragment: str) -> None:
        if session_id not in self.sessions:
            raise NotFound("no such session")
        self.candidates.append((session_id, sdp_fragment))

    async def close_session(self, session_id: str) -> None:
        self.sessions.pop(session_id, None)
        self.closed.append(session_id)

    def request_keyframe(self, track_id: str) -> bool:
        return track_id in self.known

    def tracks(self, room_id: str | None = None) -> tuple[TrackFacts, ...]:
        return tuple(t for t in self.known.values() if room_id in (None, t.room_id))

    def stats(self) -> PlaneStats:
        return PlaneStats()

    def forget_room(self, room_id: str) -> None:
        self.known = {k: t for k, t in self.known.items() if t.room_id != room_id}

    def forget_tracks(self, track_ids: Sequence[str]) -> None:
        self.known = {k: t for k, t in self.known.items() if k not in track_ids}

    async def close(self) -> None:
        self.sessions.clear()

    async def negotiate(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("rooms publish or subscribe, never both at once")

    def packets(self, track_id: str) -> None:
        """The first packet comes, or packets come again."""
        facts = self.known[track_id]
        again = facts.state is not TrackState.WAITING
        facts = self.known[track_id] = replace(facts, state=TrackState.LIVE)
        listener = self.listeners[track_id]
        (listener.track_resumed if again else listener.track_started)(facts)

    def silence(self, track_id: str) -> None:
        """No packet for a second."""
        facts = self.known[track_id] = replace(self.known[track_id], state=TrackState.STALLED)
        self.listeners[track_id].track_stalled(facts)

    def lose(self, session_id: str) -> None:
        """A peer is gone without a word."""
        del self.sessions[session_id]
        for facts in [t for t in self.known.values() if t.session_id == session_id]:
            self.known[facts.track_id] = replace(facts, state=TrackState.ENDED)
            self.listeners[facts.track_id].track_ended(self.known[facts.track_id])
        self.listeners[session_id].session_disconnected(session_id, "timeout")

    def measure(self, track_id: str, size: tuple[int, int]) -> None:
        """A keyframe tells its size."""
        facts = self.known[track_id] = replace(self.known[track_id], size=size)
        self.listeners[track_id].track_sized(facts)

    def map_frame(self, track_id: str, rtp_timestamp: int, stamp: FrameStamp) -> None:
        self.listeners[track_id].frame_mapped(track_id, rtp_timestamp, stamp)


@dataclass
class ScriptedGateway:
    """Takes commands and answers about them as a test says."""

    sent: list[tuple[str, CommandArgs]] = field(default_factory=list)
    answers: dict[str, CommandStatus] = field(default_factory=dict)
    refuse: ConsiliumError | None = None

    async def send(self, tenant: str, site_id: str, args: CommandArgs, *, deadline_s: float, actor: str) -> str:
        if self.refuse is not None:
            raise self.refuse
        self.sent.append((site_id, args))
        command_id = f"command-{len(self.sent)}"
        self.answers[command_id] = CommandStatus(command_id, CommandState.QUEUED, "", {})
        return command_id

    async def site_name(self, tenant: str, site_id: str) -> str:
        if site_id != SITE:
            raise NotFound("There is no such site.")
        return "County hospital"

    async def status(self, tenant: str, command_id: str) -> CommandStatus:
        return self.answers[command_id]

    def answer(self, state: CommandState, reason: str = "", **data: Any) -> None:
        """Say how the newest command ended."""
        command_id = f"command-{len(self.sent)}"
        self.answers[command_id] = CommandStatus(command_id, state, reason, data)

    def of_type(self, name: str) -> list[CommandArgs]:
        return [args for _, args in self.sent if args.type.value == name]


async def until(condition: Callable[[], Any], what: str, timeout_s: float = 20.0) -> Any:
    """Wait until ``condition`` is true and return it."""
    try:
        async with asyncio.timeout(timeout_s):
            while not (value := condition()):
                await asyncio.sleep(0.005)
            return value
    except TimeoutError:
        raise AssertionError(f"never happened: {what}") from None


class RoomSocket:
    """A client of the room's WebSocket, straight into the ASGI application."""

    def __init__(self, app: FastAPI, room_id: str, subprotocols: Sequence[str] = (PROTOCOL,)) -> None:
        self._scope = {
            "type": "websocket", "asgi": {"version": "3.0"}, "scheme": "ws", "http_version": "1.1",
            "path": f"/api/v1/rooms/{room_id}/ws", "raw_path": f"/api/v1/rooms/{room_id}/ws".encode(),
            "query_string": b"", "root_path": "", "headers": [], "client": ("test", 1), "server": ("test", 80),
            "subprotocols": list(subprotocols), "state": {}, "extensions": {},
        }  # fmt: skip
        self._app = app
        self._in: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.received: list[dict[str, Any]] = []
        self.close_code: int | None = None
        self.accepted: str | None = None
        self.blocked: asyncio.Event | None = None
        self._more = asyncio.Event()
        self._cursor = 0
        self.welcome: dict[str, Any] = {}

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._app(self._scope, self._in.get, self._send), name="room-socket")
        await self._in.put({"type": "websocket.connect"})
        return self

    async def __aexit__(self, *_: object) -> None:
        if not self._task.done():
            await self._in.put({"type": "websocket.disconnect", "code": 1001})
            if self.blocked is not None:
                self.blocked.set()
        async with asyncio.timeout(10):
            await self._task

    async def _send(self, message: Any) -> None:
        if message["type"] == "websocket.accept":
            self.accepted = message.get("subprotocol")
        elif message["type"] == "websocket.close":
            self.close_code = message["code"]
        else:
            if self.blocked is not None:
                await self.blocked.wait()
            self.received.append(json.loads(message["text"]))
        self._more.set()

    async def send(self, **message: Any) -> None:
        await self.send_text(json.dumps(message))

    async def send_text(self, text: str) -> None:
        await self._in.put({"type": "websocket.receive", "text": text})

    async def send_bytes(self, content: bytes) -> None:
        await self._in.put({"type": "websocket.receive", "bytes": content})

    async def next(self, type_: str, **facts: Any) -> dict[str, Any]:
        """Return the next frame of this type (and with these facts) that was not yet looked at."""
        try:
            async with asyncio.timeout(20):
                while True:
                    while self._cursor < len(self.received):
                        message = self.received[self._cursor]
                        self._cursor += 1
                        if message["type"] == type_ and all(message.get(k) == v for k, v in facts.items()):
                            return message
                    assert self.close_code is None, f"closed with {self.close_code} while waiting for {type_}"
                    self._more.clear()
                    await self._more.wait()
        except TimeoutError:
            seen = [m["type"] for m in self.received]
            raise AssertionError(f"no {type_} {facts} came, only {seen}") from None

    async def closed(self) -> int:
        """Wait for the server to close and return its code."""
        await until(lambda: self.close_code, "the server closes the socket")
        assert self.close_code is not None
        return self.close_code

    async def hello(self, access: str, codecs: Sequence[str] = ("H264", "VP8", "opus")) -> dict[str, Any]:
        """Say hello and return the welcome."""
        await self.send(type="hello", token=access, client={"kind": "desktop", "codecs": list(codecs)})
        self.welcome = await self.next("welcome")
        return self.welcome


@dataclass
class LiveService:
    """The service and everything a test turns."""

    platform: Platform
    app: FastAPI
    plane: ScriptedPlane
    gateway: ScriptedGateway
    http: httpx2.AsyncClient
    clock: FakeClock

    @property
    def context(self) -> LiveContext:
        context: LiveContext = self.app.state.live
        return context

    def bearer(self, role: Role, **more: Any) -> dict[str, str]:
        return bearer(self.platform, role, **more)

    def token(self, role: Role, **more: Any) -> str:
        return token(self.platform, role, **more)

    def socket(self, room_id: str = "demo", **more: Any) -> RoomSocket:
        return RoomSocket(self.app, room_id, **more)

    async def open_room(self, **more: Any) -> dict[str, Any]:
        """Open the room `demo` of the demo site, as another service does."""
        body = {
            "id": "demo", "title": "Echocardiography", "site_id": SITE, "site_name": "County hospital",
            "accession_number": "A-1", "modality": "US",
            "patient": {"patient_id": "P-77", "name": "Wang^Xiaodong", "birth_date": "19700101", "sex": "M"}, **more,
        }  # fmt: skip
        reply = await self.http.post("/internal/v1/rooms", json=body, headers=self.bearer(Role.SERVICE))
        assert reply.status_code == 200, reply.text
        room: dict[str, Any] = reply.json()
        return room

    async def whip(self, sdp: str | None = None, room_id: str = "demo", role: Role = Role.SITE) -> httpx2.Response:
        headers = self.bearer(role, subject=SITE if role is Role.SITE else None)
        return await self.http.post(
            f"/whip/{room_id}", content=sdp or offer("sendonly:h264"),
            headers={**headers, "Content-Type": "application/sdp"},
        )  # fmt: skip

    async def go_live(self, room_id: str = "demo") -> str:
        """Publish H.264 as the site, let packets come, return the track's id."""
        reply = await self.whip(room_id=room_id)
        assert reply.status_code == 201, reply.text
        self.plane.packets(f"{room_id}-h264")
        return f"{room_id}-h264"

    async def audited(self, **facts: Any) -> list[dict[str, Any]]:
        return await self.platform.audit.search("demo", **facts)


@asynccontextmanager
async def running(platform: Platform, clock: FakeClock, **settings: Any) -> AsyncIterator[LiveService]:
    """Open the service over a platform; several in turn are restarts."""
    plane, gateway = ScriptedPlane(), ScriptedGateway()
    async with open_service(platform, LiveSettings.load(**settings), plane=plane, commands=gateway) as app:
        transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://live") as http:
            yield LiveService(platform, app, plane, gateway, http, clock)


@pytest_asyncio.fixture
async def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data folder with keys and an empty, migrated database, made once and copied by each test."""
    folder = tmp_path_factory.mktemp("migrated") / "data"

    async def make() -> None:
        async with open_platform(PlatformSettings.load(data_dir=folder), migrate=True):
            pass

    asyncio.run(make())
    return folder


@pytest_asyncio.fixture
async def still_platform(migrated: Path, tmp_path: Path, clock: FakeClock) -> AsyncIterator[Platform]:
    """An embedded platform whose clock only tests move."""
    shutil.copytree(migrated, tmp_path / "data")
    async with open_platform(PlatformSettings.load(data_dir=tmp_path / "data"), clock=clock, migrate=False) as opened:
        yield opened


@pytest_asyncio.fixture
async def live(still_platform: Platform, clock: FakeClock) -> AsyncIterator[LiveService]:
    async with running(still_platform, clock) as service:
        yield service
