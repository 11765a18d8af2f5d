"""Real media peers for tests: encoded sources, plain aiortc publishers and viewers, a listener that remembers.

The sources are encoded once per process; peers are aiortc as it comes from PyPI, so that a forwarder is proved against
somebody else's WebRTC.
"""

from __future__ import annotations

import asyncio
import fractions
import functools
import time
from collections.abc import Awaitable, Callable
from typing import Any

import av
import numpy as np
from aiortc import RTCPeerConnection, RTCRtpTransceiver, RTCSessionDescription
from aiortc.mediastreams import MediaStreamTrack
from aiortc.rtcrtpsender import RTCRtpSender

from consilium_core.frame_ref import FrameStamp, sei_nal
from consilium_live.media.udp import Address, Receiver, UdpEndpoint
from consilium_live.ports import TrackFacts

CLOCK = fractions.Fraction(1, 90000)


async def until(condition: Callable[[], bool], what: str, timeout_s: float = 30.0) -> None:
    """Wait until `condition` holds; the test fails with `what` after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"timed out waiting for: {what}")
        await asyncio.sleep(0.01)


def moving_picture(number: int, width: int, height: int) -> av.VideoFrame:
    """Return a picture whose brightness and bar position tell its number."""
    image = np.full((height, width, 3), (number * 4) % 200, np.uint8)
    left = (number * 8) % (width - 16)
    image[:, left : left + 16] = (255, 64, 16)
    return av.VideoFrame.from_ndarray(image, format="rgb24")


@functools.lru_cache(maxsize=8)
def encoded(
    codec: str = "h264", seconds: float = 2.0, fps: int = 30, size: tuple[int, int] = (320, 240), gop: int = 30
) -> tuple[bytes, ...]:
    """Return one access unit per frame (Annex B for H.264)."""
    name = {"h264": "libx264", "vp8": "libvpx"}[codec]
    encoder: Any = av.CodecContext.create(name, "w")
    encoder.width, encoder.height, encoder.pix_fmt = size[0], size[1], "yuv420p"
    encoder.framerate = fractions.Fraction(fps, 1)
    encoder.time_base = fractions.Fraction(1, fps)
    encoder.bit_rate = 800_000
    encoder.gop_size = gop
    if codec == "h264":
        encoder.profile = "Baseline"
        encoder.options = {"preset": "ultrafast", "tune": "zerolatency", "x264-params": f"keyint={gop}:scenecut=0"}
    else:
        encoder.options = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"}
    units: list[bytes] = []
    for number in range(int(seconds * fps)):
        frame = moving_picture(number, *size)
        frame.pts, frame.time_base = number, encoder.time_base
        units += [bytes(p) for p in encoder.encode(frame.reformat(format="yuv420p"))]
    units += [bytes(p) for p in encoder.encode(None)]
    return tuple(units)


class EncodedVideo(MediaStreamTrack):
    """Plays encoded frames in a loop at their rate; starts again at a keyframe when `restart` is called."""

    kind = "video"

    def __init__(self, codec: str = "h264", *, stamped: bool = False, fps: int = 30, gop: int = 30) -> None:
        super().__init__()
        self.units = encoded(codec, fps=fps, gop=gop)
        self.sent: list[int] = []  # pts in 90 kHz of every frame given out
        self._h264 = codec == "h264"
        self._stamped = stamped
        self._ticks = 90000 // fps
        self._number = 0
        self._started: float | None = None

    async def recv(self) -> Any:
        """Return the next packet when its time has come."""
        now = asyncio.get_running_loop().time()
        if self._started is None:
            self._started = now
        number, self._number = self._number, self._number + 1
        await asyncio.sleep(max(0.0, self._started + number * self._ticks / 90000 - now))
        unit = self.units[number % len(self.units)]
        if self._stamped and self._h264 and any(unit.find(b"\0\0\1" + bytes([k])) >= 0 for k in (0x65, 0x25)):
            unit = b"\0\0\0\1" + sei_nal(FrameStamp(7, number, 1_700_000_000_000_000 + number)) + unit
        packet = av.Packet(unit)
        packet.pts = number * self._ticks
        packet.time_base = CLOCK
        self.sent.append(packet.pts)
        return packet


class Tone(MediaStreamTrack):
    """A 440 Hz tone in 20 ms frames."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._number = 0
        self._started: float | None = None

    async def recv(self) -> Any:
        """Return the next frame when its time has come."""
        now = asyncio.get_running_loop().time()
        if self._started is None:
            self._started = now
        number, self._number = self._number, self._number + 1
        await asyncio.sleep(max(0.0, self._started + number * 0.02 - now))
        t = (np.arange(960) + number * 960) / 48000
        samples = (np.sin(2 * np.pi * 440 * t) * 8000).astype(np.int16).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48000, number * 960, fractions.Fraction(1, 48000)
        return frame


def prefer(transceiver: RTCRtpTransceiver, *names: str) -> None:
    """Offer only the named codecs (and RTX)."""
    kind = transceiver.kind
    codecs = RTCRtpSender.getCapabilities(kind).codecs
    wanted = [c for c in codecs if c.name.lower() in {n.lower() for n in names} | {"rtx"}]
    transceiver.setCodecPreferences(wanted)


Answerer = Callable[[str], Awaitable[str]]


class Publisher:
    """A plain aiortc peer that sends tracks."""

    def __init__(self, *tracks: MediaStreamTrack, codec: str = "H264") -> None:
        self.pc = RTCPeerConnection()
        for track in tracks:
            transceiver = self.pc.addTransceiver(track, direction="sendonly")
            if track.kind == "video":
                prefer(transceiver, codec)

    async def start(self, answer: Answerer) -> None:
        """Offer, and take the answer that `answer` returns for the offer."""
        await self.pc.setLocalDescription(await self.pc.createOffer())
        await self.pc.setRemoteDescription(RTCSessionDescription(await answer(self.pc.localDescription.sdp), "answer"))

    async def close(self) -> None:
        """Close the peer connection."""
        await self.pc.close()


class Viewer:
    """A plain aiortc peer that decodes what it receives: per kind the frames, newest last."""

    def __init__(self, *kinds: str, codecs: tuple[str, ...] = ("H264", "VP8")) -> None:
        self.pc = RTCPeerConnection()
        self.frames: dict[str, list[Any]] = {}
        self.by_mid: dict[str, list[Any]] = {}
        self._codecs = codecs
        self._tasks: list[asyncio.Task[None]] = []
        self.pc.on("track", self._on_track)
        for kind in kinds:
            self.add(kind)

    def add(self, kind: str) -> None:
        """Ask for one more track of a kind (takes effect with the next `start`)."""
        transceiver = self.pc.addTransceiver(kind, direction="recvonly")
        if kind == "video":
            prefer(transceiver, *self._codecs)

    def _on_track(self, track: MediaStreamTrack) -> None:
        mid = next(t.mid or "" for t in self.pc.getTransceivers() if t.receiver.track is track)
        self._tasks.append(asyncio.get_running_loop().create_task(self._read(track, mid), name=f"view-{mid}"))

    async def _read(self, track: MediaStreamTrack, mid: str) -> None:
        frames = self.frames.setdefault(track.kind, [])
        own = self.by_mid.setdefault(mid, [])
        while True:
            try:
                frame = await track.recv()
            except Exception:  # MediaStreamError: the track has ended
                return
            frames.append(frame)
            own.append(frame)

    async def start(self, answer: Answerer) -> str:
        """Offer and take the answer; returns it. May be called again to renegotiate."""
        await self.pc.setLocalDescription(await self.pc.createOffer())
        text = await answer(self.pc.localDescription.sdp)
        await self.pc.setRemoteDescription(RTCSessionDescription(text, "answer"))
        return text

    async def moving(self, count: int = 10, kind: str = "video") -> None:
        """Wait for `count` frames, of which for video at least two differ."""
        await until(lambda: len(self.frames.get(kind, [])) >= count, f"{count} {kind} frames")
        if kind == "video":
            means = {round(float(f.to_ndarray(format="gray").mean())) for f in self.frames[kind]}
            assert len(means) > 1, "the picture stands still"

    async def close(self) -> None:
        """Close the peer connection and stop reading."""
        await self.pc.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class Listener:
    """Remembers what a media plane told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        self.stamps: list[tuple[str, int, FrameStamp]] = []

    def names(self) -> list[str]:
        """Return the events' names in order."""
        return [name for name, _ in self.events]

    def track_started(self, track: TrackFacts) -> None:
        """Remember."""
        self.events.append(("track_started", track.track_id))

    def track_stalled(self, track: TrackFacts) -> None:
        """Remember."""
        self.events.append(("track_stalled", track.track_id))

    def track_resumed(self, track: TrackFacts) -> None:
        """Remember."""
        self.events.append(("track_resumed", track.track_id))

    def track_ended(self, track: TrackFacts) -> None:
        """Remember."""
        self.events.append(("track_ended", track.track_id))

    def track_sized(self, track: TrackFacts) -> None:
        """Remember."""
        self.events.append((f"track_sized:{track.size}", track.track_id))

    def session_connected(self, session_id: str) -> None:
        """Remember."""
        self.events.append(("session_connected", session_id))

    def session_disconnected(self, session_id: str, reason: str) -> None:
        """Remember."""
        self.events.append((f"session_disconnected:{reason}", session_id))

    def frame_mapped(self, track_id: str, rtp_timestamp: int, stamp: FrameStamp) -> None:
        """Remember."""
        self.stamps.append((track_id, rtp_timestamp, stamp))


class UnkindEndpoint(UdpEndpoint):
    """The plane's socket with faults: SRTP that gets lost by rule, addresses the kernel has no room for."""

    lose_sent: Callable[[int], bool] = staticmethod(lambda number: False)
    lose_received: Callable[[int], bool] = staticmethod(lambda number: False)
    full: Callable[[Address], bool] = staticmethod(lambda address: False)

    sent = received = lost = 0

    def start(self, receiver: Receiver) -> None:
        """Put the loss of received media before the receiver."""

        def maybe(datagram: bytes, source: Address) -> None:
            if 128 <= datagram[0] < 192 and not 192 <= datagram[1] <= 223:
                self.received += 1
                if self.lose_received(self.received):
                    self.lost += 1
                    return
            receiver(datagram, source)

        super().start(maybe)

    def send(self, datagram: bytes | memoryview, address: Address) -> bool:
        """Lose media by the rule, refuse it where the address is full."""
        if 128 <= datagram[0] < 192 and not 192 <= datagram[1] <= 223:
            if self.full(address):
                return False
            self.sent += 1
            if self.lose_sent(self.sent):
                self.lost += 1
                return True
        return super().send(datagram, address)

    def send_segments(self, block: memoryview, segment_bytes: int, address: Address) -> int:
        """Send one by one, so that the rule sees every packet."""
        parts = [block[i : i + segment_bytes] for i in range(0, len(block), segment_bytes)]
        return sum(self.send(part, address) for part in parts)


def unkind_endpoint() -> UnkindEndpoint:
    """Return a bound endpoint on a free loopback port."""
    endpoint = UnkindEndpoint.bind("127.0.0.1", 0, buffer_bytes=1 << 20, gso=False)
    assert isinstance(endpoint, UnkindEndpoint)
    return endpoint
