"""The other end of the site protocol: a small cloud on loopback with a real WHIP receiver, and the real agent as a process."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import secrets
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import uvicorn
from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpReceiver, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from consilium_core.clock import iso
from consilium_core.frame_ref import FrameStamp, parse_sei_nal
from consilium_core.ids import new_ulid

CODE = "ABCDE12345"
CONTEXT = {
    "patient": {"patient_id": "P-17", "name": "Wang^Xiaodong=王^小东", "birth_date": "19700102", "sex": "F"},
    "study_uid": "2.25.300000000000000000000000000000000001",
    "accession_number": "A-17",
    "modality": "US",
    "study_description": "Echo",
}


async def eventually(condition: Callable[[], Any], what: str, within_s: float = 60.0) -> Any:
    """Return the condition's first true value; fail naming ``what`` when there is none."""
    until = asyncio.get_running_loop().time() + within_s
    while True:
        value = condition()
        if value:
            return value
        assert asyncio.get_running_loop().time() < until, f"never happened: {what}"
        await asyncio.sleep(0.02)


@dataclass
class Received:
    """One WHIP session at the receiver."""

    peer: RTCPeerConnection
    room_id: str
    offer: str
    frames: int = 0
    checksums: set[int] = field(default_factory=set)
    last_rtp: int = 0
    keyframes: int = 0
    stamps: list[FrameStamp] = field(default_factory=list)
    size: tuple[int, int] = (0, 0)
    receiver: Any = None
    deleted: bool = False
    renewals: int = 0
    reading: asyncio.Task[None] | None = None


@dataclass
class Upload:
    """One tus upload at the server."""

    id: str
    length: int
    metadata: dict[str, str]
    body: bytearray = field(default_factory=bytearray)
    creations: int = 1


class FakeCloud:
    """Speaks docs/protocols/site-polling.md; remembers everything it saw."""

    def __init__(self) -> None:
        self.port = 0
        self.nonces: dict[str, str] = {}
        self.tokens: set[str] = set()
        self.secret = "s3cret-refresh"
        self.token_requests = 0
        self.sessions: list[dict[str, Any]] = []
        self.commands: list[dict[str, Any]] = []
        self.acks: dict[str, dict[str, Any]] = {}
        self.results: dict[str, dict[str, Any]] = {}
        self.events: list[dict[str, Any]] = []
        self.event_seqs_seen: list[int] = []
        self.polls: list[float] = []
        self.cut_polls = 0
        self.lose_enrol_replies = 0
        self.lose_event_replies = 0
        self.lose_ack_replies = 0
        self.unfit_results = 0
        self.new_command = asyncio.Event()
        self.whips: list[Received] = []
        self.whip_status = 201
        self.uploads: dict[str, Upload] = {}
        self.upload_gate = asyncio.Event()
        self.upload_gate.set()
        self.gate_at = 0
        self.reject_kinds: set[str] = set()
        self.damage_chunks = 0
        self.stored: list[tuple[str, bytes]] = []
        self.ledger: dict[str, dict[str, Any]] = {}

    # -- orders of a test -------------------------------------------------------------------------------------
    def order(self, kind: str, valid_s: float = 60.0, **args: Any) -> str:
        """Queue a command; return its id."""
        now = datetime.now(UTC)
        command_id = new_ulid()
        self.commands.append(
            {
                "id": command_id,
                "seq": len(self.commands) + 1,
                "schema_version": 1,
                "args": {"type": kind, **args},
                "issued_at": iso(now),
                "deadline": iso(now + timedelta(seconds=valid_s)),
                "actor": "test",
            }
        )
        self.new_command.set()
        return command_id

    async def done(self, command_id: str) -> dict[str, Any]:
        """Wait for a command's result."""
        return await eventually(lambda: self.results.get(command_id), f"result of {command_id}")

    async def event(self, kind: str, **facts: Any) -> dict[str, Any]:
        """Wait for an event of a type whose data holds ``facts``."""
        return await eventually(lambda: next(iter(self.seen(kind, **facts)), None), f"event {kind} {facts}")

    def seen(self, kind: str, **facts: Any) -> list[dict[str, Any]]:
        """Return the data of events seen."""
        data = [e["data"] for e in self.events if e["type"] == kind]
        return [d for d in data if facts.items() <= d.items()]

    # -- identity ---------------------------------------------------------------------------------------------
    def _token(self) -> str:
        token = secrets.token_hex(12)
        self.tokens.add(token)
        return token

    def _known(self, request: Request) -> bool:
        return request.headers.get("authorization", "").removeprefix("Bearer ") in self.tokens

    async def enroll(self, request: Request) -> Response:
        body = await request.json()
        if body["code"] != CODE:
            return JSONResponse({"detail": "This code is not known."}, 401)
        if self.nonces.setdefault(CODE, body["nonce"]) != body["nonce"]:
            return JSONResponse({"detail": "This code was used."}, 409)
        if self.lose_enrol_replies:
            self.lose_enrol_replies -= 1
            return Response(status_code=503, headers={"retry-after": "0"})
        return JSONResponse(
            {
                "site_id": "site-1",
                "tenant": "t1",
                "name": "Test hospital",
                "access_token": self._token(),
                "refresh_secret": self.secret,
                "expires_in_s": 900,
                "intervals": {"poll_wait_s": 20, "lease_renew_s": 1, "backoff_max_s": 2},
            }
        )

    async def token(self, request: Request) -> Response:
        self.token_requests += 1
        if (await request.json())["refresh_secret"] != self.secret:
            return JSONResponse({"detail": "revoked"}, 401)
        return JSONResponse({"access_token": self._token(), "expires_in_s": 900})

    async def session(self, request: Request) -> Response:
        self.sessions.append(await request.json())
        acked = [c["seq"] for c in self.commands if c["id"] in self.acks]
        intervals = {"poll_wait_s": 20, "lease_renew_s": 1, "backoff_max_s": 2}
        return JSONResponse(
            {"intervals": intervals, "server_time": iso(datetime.now(UTC)), "cursor": max(acked, default=0)}
        )

    # -- commands ---------------------------------------------------------------------------------------------
    async def poll(self, request: Request) -> Response:
        if self.cut_polls:
            self.cut_polls -= 1
            raise ConnectionAbortedError("cut by the test")
        wait_s, cursor = float(request.query_params["wait"]), int(request.query_params["cursor"])
        self.polls.append(wait_s)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                while not any(c["seq"] > cursor for c in self.commands):
                    self.new_command.clear()
                    await self.new_command.wait()
        fresh = [c for c in self.commands if c["seq"] > cursor][:16]
        if not fresh:
            return Response(status_code=204)
        body = {"commands": fresh, "cursor": fresh[-1]["seq"], "server_time": iso(datetime.now(UTC))}
        return JSONResponse(body)

    async def ack(self, request: Request) -> Response:
        self.acks[request.path_params["id"]] = await request.json()
        if self.lose_ack_replies:
            self.lose_ack_replies -= 1
            return Response(status_code=503)
        return Response(status_code=204)

    async def result(self, request: Request) -> Response:
        if self.unfit_results:
            self.unfit_results -= 1
            return JSONResponse({"detail": "does not fit"}, 422)
        self.results.setdefault(request.path_params["id"], await request.json())
        return Response(status_code=204)

    async def renew(self, request: Request) -> Response:
        return JSONResponse({"renewed": (await request.json())["leases"], "cancel_requested": []})

    async def take_events(self, request: Request) -> Response:
        held = {e["seq"] for e in self.events}
        for event in (await request.json())["events"]:
            self.event_seqs_seen.append(event["seq"])
            if event["seq"] not in held:
                self.events.append(event)
        if self.lose_event_replies:
            self.lose_event_replies -= 1
            return Response(status_code=503)
        return JSONResponse({"acked_through": max((e["seq"] for e in self.events), default=0)})

    # -- media ------------------------------------------------------------------------------------------------
    async def whip(self, request: Request) -> Response:
        if not self._known(request):
            return Response(status_code=401)
        if self.whip_status != 201:
            return JSONResponse({"detail": "no"}, self.whip_status)
        offer = (await request.body()).decode()
        peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        got = Received(peer, request.path_params["room"], offer)

        @peer.on("track")
        def _(track: Any) -> None:
            got.reading = asyncio.ensure_future(self._read(got, track))

        await peer.setRemoteDescription(RTCSessionDescription(sdp=offer, type="offer"))
        got.receiver = peer.getTransceivers()[0].receiver
        handle = got.receiver._handle_rtp_packet

        async def watch(packet: Any, arrival_time_ms: int) -> None:
            got.last_rtp = packet.timestamp
            self._inspect(got, packet.payload)
            await handle(packet, arrival_time_ms)

        got.receiver._handle_rtp_packet = watch
        await peer.setLocalDescription(await peer.createAnswer())
        self.whips.append(got)
        location = f"/whip/sessions/{len(self.whips) - 1}"
        return Response(
            peer.localDescription.sdp, 201, {"content-type": "application/sdp", "location": location, "etag": '"1"'}
        )

    @staticmethod
    def _inspect(got: Received, payload: bytes) -> None:
        """Count IDR slices and collect our SEI stamps (RFC 6184 5.6 to 5.8)."""
        kind = payload[0] & 0x1F if payload else 0
        units = []
        if kind == 24:
            at = 1
            while at + 2 < len(payload):
                size = int.from_bytes(payload[at : at + 2], "big")
                units.append(payload[at + 2 : at + 2 + size])
                at += 2 + size
        elif kind == 28:
            got.keyframes += payload[1] & 0x9F == 0x85
        else:
            units.append(payload)
        for unit in units:
            got.keyframes += unit[0] & 0x1F == 5 if unit else 0
            stamp = parse_sei_nal(unit)
            if stamp is not None:
                got.stamps.append(stamp)

    async def _read(self, got: Received, track: Any) -> None:
        with contextlib.suppress(MediaStreamError):
            while True:
                frame = await track.recv()
                got.frames += 1
                got.size = (frame.width, frame.height)
                got.checksums.add(hash(bytes(frame.planes[0])[::97]))

    async def whip_renew(self, request: Request) -> Response:
        if not self._known(request):
            return Response(status_code=401)
        got = self.whips[int(request.path_params["n"])]
        got.renewals += 1
        return Response(status_code=404 if got.deleted else 204)

    async def whip_delete(self, request: Request) -> Response:
        got = self.whips[int(request.path_params["n"])]
        got.deleted = True
        await got.peer.close()
        return Response(status_code=200)

    async def hang_up(self, got: Received) -> None:
        """Close one peer from the server's side, as a restart would."""
        await got.peer.close()

    def fall_silent(self, got: Received) -> None:
        """Drop one peer's sockets without a word, as a killed server would."""
        for protocol in got.receiver.transport.transport._connection._protocols:
            protocol.transport.abort()

    async def ask_keyframe(self, got: Received) -> None:
        """Send a PLI to the publisher."""
        receiver: RTCRtpReceiver = got.receiver
        ssrc = receiver._RTCRtpReceiver__active_ssrc  # type: ignore[attr-defined]
        for number in list(ssrc):
            await receiver._send_rtcp_pli(number)

    # -- uploads ----------------------------------------------------------------------------------------------
    async def create(self, request: Request) -> Response:
        pairs = (part.split(" ", 1) for part in request.headers["upload-metadata"].split(","))
        metadata = {key: base64.b64decode(value).decode() for key, value in pairs}
        upload = Upload(new_ulid(), int(request.headers["upload-length"]), metadata)
        self.uploads[upload.id] = upload
        return Response(status_code=201, headers={"location": f"/site/v1/uploads/{upload.id}"})

    async def upload(self, request: Request) -> Response:
        upload = self.uploads.get(request.path_params["id"])
        if upload is None:
            return Response(status_code=404)
        if request.method == "HEAD":
            return Response(status_code=200, headers={"upload-offset": str(len(upload.body))})
        if int(request.headers["upload-offset"]) != len(upload.body):
            return Response(status_code=409)
        chunk = await request.body()
        if self.damage_chunks:
            self.damage_chunks -= 1
            return Response(status_code=460)
        algorithm, digest = request.headers["upload-checksum"].split(" ")
        assert (algorithm, base64.b64decode(digest)) == ("sha256", hashlib.sha256(chunk).digest())
        upload.body += chunk
        if len(upload.body) > self.gate_at:
            await self.upload_gate.wait()
        return Response(status_code=204, headers={"upload-offset": str(len(upload.body))})

    async def upload_status(self, request: Request) -> Response:
        upload = self.uploads[request.path_params["id"]]
        body = bytes(upload.body)
        facts: dict[str, Any] = {"upload_id": upload.id, "offset": len(body), "length": upload.length}
        if len(body) < upload.length:
            return JSONResponse({**facts, "state": "receiving"})
        if upload.metadata["kind"] in self.reject_kinds:
            return JSONResponse({**facts, "state": "rejected", "problem": {"detail": "not conformant"}})
        return JSONResponse({**facts, "state": "ingested", "receipt": self._receipt(upload, body)})

    def _receipt(self, upload: Upload, body: bytes) -> dict[str, Any]:
        if upload.id not in self.ledger:
            from io import BytesIO

            import pydicom

            dataset = pydicom.dcmread(BytesIO(body))
            self.stored.append((upload.id, body))
            self.ledger[upload.id] = {
                "upload_id": upload.id,
                "sha256": hashlib.sha256(body).hexdigest(),
                "size_bytes": len(body),
                "study_uid": str(dataset.StudyInstanceUID),
                "series_uid": str(dataset.SeriesInstanceUID),
                "sop_instance_uid": str(dataset.SOPInstanceUID),
                "sop_class_uid": str(dataset.SOPClassUID),
                "verdict": "accept",
                "stored_at": iso(datetime.now(UTC)),
            }
        return self.ledger[upload.id]

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/site/v1/enroll", self.enroll, methods=["POST"]),
                Route("/site/v1/token", self.token, methods=["POST"]),
                Route("/site/v1/session", self._guard(self.session), methods=["POST"]),
                Route("/site/v1/commands", self._guard(self.poll)),
                Route("/site/v1/commands/{id}/ack", self._guard(self.ack), methods=["POST"]),
                Route("/site/v1/commands/{id}/result", self._guard(self.result), methods=["POST"]),
                Route("/site/v1/leases/renew", self._guard(self.renew), methods=["POST"]),
                Route("/site/v1/events", self._guard(self.take_events), methods=["POST"]),
                Route("/site/v1/uploads", self._guard(self.create), methods=["POST"]),
                Route("/site/v1/uploads/{id}", self._guard(self.upload), methods=["PATCH", "HEAD"]),
                Route("/site/v1/uploads/{id}/status", self._guard(self.upload_status)),
                Route("/whip/sessions/{n}", self._guard(self.whip_delete), methods=["DELETE"]),
                Route("/whip/sessions/{n}", self._guard(self.whip_renew), methods=["PATCH"]),
                Route("/whip/{room}", self.whip, methods=["POST"]),
            ]
        )

    def _guard(self, endpoint: Callable[[Request], Any]) -> Callable[[Request], Any]:
        async def guarded(request: Request) -> Response:
            if not self._known(request):
                return JSONResponse({"detail": "sign in"}, 401)
            try:
                return await endpoint(request)
            except (ClientDisconnect, ConnectionAbortedError, asyncio.CancelledError):
                return Response(status_code=504)

        return guarded


class Agent:
    """The real agent in a process of its own."""

    def __init__(self, state_dir: Path, server_url: str, log_file: Path, **settings: str) -> None:
        self.state_dir = state_dir
        self.log_file = log_file
        self._env = {
            **{k: v for k, v in os.environ.items() if not k.startswith("CONSILIUM_")},
            "CONSILIUM_SITE_SERVER_URL": server_url,
            "CONSILIUM_SITE_STATE_DIR": str(state_dir),
            "CONSILIUM_SITE_ENROLMENT_CODE": CODE,
            "CONSILIUM_SITE_USE_PROXY_ENV": "false",
            **{f"CONSILIUM_SITE_{name.upper()}": value for name, value in settings.items()},
        }
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        program = (
            "from consilium_site.app import main; from consilium_site.settings import SiteSettings;"
            "raise SystemExit(main(SiteSettings.load()))"
        )
        with self.log_file.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", program, env=self._env, stderr=log, stdout=log
            )

    async def ask(self, what: str) -> tuple[int, str]:
        """Run ``enroll``, ``status`` or ``main`` to its end; return the exit status and what it wrote."""
        program = (
            f"from consilium_site.app import {what} as do; from consilium_site.settings import SiteSettings;"
            "raise SystemExit(do(SiteSettings.load()))"
        )
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, env=self._env, stdout=pipe, stderr=asyncio.subprocess.STDOUT
        )
        async with asyncio.timeout(60):
            said, _ = await process.communicate()
        return process.returncode or 0, said.decode()

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def log(self) -> list[dict[str, Any]]:
        """Return the log's JSON lines."""
        lines = self.log_file.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    async def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit status."""
        if self.process is None or self.process.returncode is not None:
            return self.process.returncode or 0 if self.process else 0
        self.process.send_signal(number)
        async with asyncio.timeout(20):
            return await self.process.wait()


@pytest.fixture(name="eventually")
def eventually_fixture() -> Callable[..., Any]:
    """Return ``eventually`` for tests."""
    return eventually


@pytest.fixture
async def cloud() -> AsyncIterator[FakeCloud]:
    """A running fake cloud."""
    fake = FakeCloud()
    async with served(fake.app()) as port:
        fake.port = port
        yield fake
        fake.upload_gate.set()
        for got in fake.whips:
            await got.peer.close()
            if got.reading is not None:
                got.reading.cancel()


@pytest.fixture
async def make_agent(cloud: FakeCloud, tmp_path: Path) -> AsyncIterator[Callable[..., Agent]]:
    """Return a maker of agents; whatever still runs is killed at the end."""
    made: list[Agent] = []

    def make(**settings: str) -> Agent:
        agent = Agent(
            tmp_path / "state",
            f"http://127.0.0.1:{cloud.port}",
            tmp_path / "agent.log",
            **settings,
        )
        made.append(agent)
        return agent

    yield make
    for agent in made:
        await agent.stop(signal.SIGKILL)


class MjpegCamera:
    """A network camera: JPEG pictures over HTTP (multipart/x-mixed-replace); ``cut`` ends the present stream."""

    def __init__(self) -> None:
        self.url = ""
        self.streams = 0
        self.again = threading.Event()
        self._cut = asyncio.Event()

    def cut(self) -> None:
        """End the stream that runs."""
        self._cut.set()

    async def _pictures(self) -> AsyncIterator[bytes]:
        self.streams += 1
        if self.streams > 1:
            self.again.set()
        self._cut.clear()
        number = 0
        while not self._cut.is_set():
            pixels = np.full((120, 160, 3), number * 20 % 255, dtype=np.uint8)
            jpeg = cv2.imencode(".jpg", pixels)[1].tobytes()
            yield b"--f\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%b\r\n" % (len(jpeg), jpeg)
            number += 1
            await asyncio.sleep(0.02)

    async def answer(self, _request: Request) -> Response:
        """Stream pictures."""
        return StreamingResponse(self._pictures(), media_type="multipart/x-mixed-replace;boundary=f")


@asynccontextmanager
async def served(app: Starlette) -> AsyncIterator[int]:
    """Serve ``app`` on a free loopback port inside the block; yield the port."""
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical", lifespan="off", ws="none")
    )
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
    serving = asyncio.ensure_future(server.serve())
    await eventually(lambda: server.started, "the server listens")
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = server.force_exit = True
    await serving


@pytest.fixture
async def mjpeg_camera() -> AsyncIterator[MjpegCamera]:
    """A running network camera."""
    camera = MjpegCamera()
    async with served(Starlette(routes=[Route("/stream", camera.answer)])) as port:
        camera.url = f"http://127.0.0.1:{port}/stream"
        yield camera
        camera.cut()
