"""Measure what forwarding costs: CPU-ms per viewer-second of the media plane in a process of its own.

    .venv/bin/python loadtest/bench_forward.py [--viewers 1 5 20] [--seconds 8] [--nack-every 100] [--no-gso] [--janus]

One 720p30 H.264 stream (about 2.5 Mbit/s, encoded beforehand) is published by a light peer; light viewers check, shake
hands, report each second and, with --nack-every, ask for every n-th packet again. Prints one JSON line per figure.
"""

from __future__ import annotations

import argparse
import asyncio
import fractions
import json
import random
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "libs"), str(ROOT / "services" / "live"), str(ROOT / "loadtest")]

import av  # noqa: E402
import numpy as np  # noqa: E402
import uvloop  # noqa: E402
from aiortc.codecs.h264 import H264Encoder  # noqa: E402

from consilium_live.media import MediaPlane  # noqa: E402
from consilium_live.media.dtls import DtlsIdentity  # noqa: E402
from consilium_live.ports import MediaSettings  # noqa: E402
from consilium_testkit.light_peer import LightPeer  # noqa: E402
from janus_peer import JanusServer  # noqa: E402

FPS = 30


def encode(seconds: int, bit_rate: int) -> list[list[bytes]]:
    """Return the RTP payloads of each frame of a noisy 720p picture, one keyframe per two seconds."""
    encoder: Any = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = 1280, 720, "yuv420p"
    encoder.framerate, encoder.time_base = fractions.Fraction(FPS, 1), fractions.Fraction(1, FPS)
    encoder.bit_rate, encoder.gop_size, encoder.profile = bit_rate, 2 * FPS, "Baseline"
    vbv = f"keyint={2 * FPS}:scenecut=0:vbv-maxrate={bit_rate // 1000}:vbv-bufsize={bit_rate // 2000}"
    encoder.options = {"preset": "ultrafast", "tune": "zerolatency", "x264-params": vbv}
    chance = np.random.default_rng(1)
    background = chance.integers(0, 80, (720, 1280, 3), dtype=np.uint8)
    packer = H264Encoder()
    frames: list[list[bytes]] = []
    for number in range(seconds * FPS):
        image = np.roll(background, number * 3, axis=1)
        image[200:520, 300:900] = chance.integers(0, 60, (320, 600, 1), dtype=np.uint8)
        frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")
        frame.pts, frame.time_base = number, encoder.time_base
        for packet in encoder.encode(frame):
            frames.append(packer.pack(packet)[0])
    return frames


async def serve(gso: bool) -> None:
    """Run the plane and obey JSON lines on standard input: publish, subscribe, facts."""
    plane = await MediaPlane.open(MediaSettings(gso=gso))
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        ask = json.loads(line)
        reply: dict[str, Any] = {}
        if ask["do"] == "publish":
            done = await plane.publish(ask["id"], ask["sdp"], room_id="bench", track_ids=("cine",))
            reply = {"sdp": done.answer_sdp}
        elif ask["do"] == "subscribe":
            seen = await plane.subscribe(ask["id"], ask["sdp"], ("cine",), room_id="bench")
            reply = {"sdp": seen.answer_sdp}
        elif ask["do"] == "close":
            await plane.close_session(ask["id"])
        stats = plane.stats()
        status = Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0]
        reply |= {
            "cpu_s": time.process_time(),
            "forwarded": stats.forwarded_packets,
            "rtx": stats.rtx,
            "dropped": stats.dropped_packets,
            "gso": stats.gso,
            "rss_kb": int(status),
        }
        print(json.dumps(reply), flush=True)
    await plane.close()


class PlaneServer:
    """The media plane's process."""

    host = "127.0.0.1"

    def __init__(self, gso: bool) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--serve", *([] if gso else ["--no-gso"])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def _ask(self, do: str, **more: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": do, **more}) + "\n")
        self._process.stdin.flush()
        while True:
            line = self._process.stdout.readline()
            if line.startswith("{"):
                reply: dict[str, Any] = json.loads(line)
                return reply

    async def open(self) -> None:
        """Wait until it answers."""
        self._ask("facts")

    async def publish(self, peer: LightPeer) -> None:
        """Connect the publisher."""
        peer.start(self._ask("publish", id="publisher", sdp=peer.offer)["sdp"])

    async def subscribe(self, peer: LightPeer, name: str) -> None:
        """Connect a viewer."""
        peer.start(self._ask("subscribe", id=name, sdp=peer.offer)["sdp"])

    def facts(self) -> dict[str, Any]:
        """Return CPU seconds, memory and counters of the process."""
        return self._ask("facts")

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)


async def play(peer: LightPeer, frames: list[list[bytes]]) -> None:
    """Send the frames in a loop at their rate for ever."""
    sequence, number, started = random.randrange(1 << 15), 0, time.monotonic()
    while True:
        payloads = frames[number % len(frames)]
        for place, payload in enumerate(payloads):
            marker = 0x80 if place == len(payloads) - 1 else 0
            timestamp = (number * 90000 // FPS) & 0xFFFFFFFF
            head = struct.pack("!BBHII", 0x80, marker | 102, sequence & 0xFFFF, timestamp, peer.ssrc)
            peer.send_rtp(head + payload)
            sequence += 1
        number += 1
        await asyncio.sleep(max(0.0, started + number / FPS - time.monotonic()))


def figure(name: str, value: float, unit: str, **facts: Any) -> None:
    """Print one figure as a JSON line."""
    print(json.dumps({"figure": name, "value": round(value, 3), "unit": unit, **facts}), flush=True)


async def measure(arguments: argparse.Namespace, name: str, server: PlaneServer | JanusServer) -> None:
    """Measure every number of viewers on one server, growing."""
    frames = encode(6, arguments.bit_rate)
    identity = DtlsIdentity()
    await server.open()
    publisher = LightPeer(identity, "sendonly", host=server.host)
    await server.publish(publisher)
    await asyncio.wait_for(publisher.connected.wait(), 30)
    player = asyncio.get_running_loop().create_task(play(publisher, frames), name="player")
    viewers: list[LightPeer] = []
    try:
        for count in sorted(arguments.viewers):
            before, at = server.facts(), time.monotonic()
            joined = count - len(viewers)
            for number in range(len(viewers), count):
                viewer = LightPeer(identity, "recvonly", nack_every=arguments.nack_every, host=server.host)
                await server.subscribe(viewer, f"viewer-{number}")
                await asyncio.wait_for(viewer.connected.wait(), 30)
                viewers.append(viewer)
            joining, took = server.facts()["cpu_s"] - before["cpu_s"], time.monotonic() - at
            await asyncio.sleep(2.5)  # replays and keyframe requests have settled
            start, at = server.facts(), time.monotonic()
            seen = [(v.packets, v.repairs) for v in viewers]
            await asyncio.sleep(arguments.seconds)
            end, passed = server.facts(), time.monotonic() - at
            cpu = end["cpu_s"] - start["cpu_s"]
            packets = sum(v.packets - p for v, (p, _) in zip(viewers, seen, strict=True))
            repairs = sum(v.repairs - r for v, (_, r) in zip(viewers, seen, strict=True))
            figure(
                "forward_cpu_ms_per_viewer_s",
                cpu * 1000 / passed / count,
                "ms",
                server=name,
                viewers=count,
                us_per_packet=round(cpu * 1e6 / max(packets, 1), 2),
                packets_per_viewer_s=round(packets / passed / count, 1),
                repairs_per_s=round(repairs / passed, 1),
                dropped=end.get("dropped", 0) - start.get("dropped", 0),
                gso=end.get("gso"),
                rss_mb=round(end["rss_kb"] / 1024, 1),
            )
            if joined > 4:  # while viewers came, about the mean of before and after was forwarded
                meanwhile = cpu / passed * took * (2 * count - joined) / (2 * count)
                value = max(joining - meanwhile, 0.0) * 1000 / joined
                figure("join_cpu_ms", value, "ms", server=name, viewers=count, note="forwarding meanwhile deducted")
    finally:
        player.cancel()
        await asyncio.gather(player, return_exceptions=True)
        for peer in (*viewers, publisher):
            await peer.close()
        server.close()


def main() -> None:
    """Parse the arguments and run one of the two roles."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--viewers", type=int, nargs="+", default=[1, 5, 20])
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--bit-rate", type=int, default=2_500_000)
    parser.add_argument("--nack-every", type=int, default=100, help="0: no feedback beyond reports")
    parser.add_argument("--no-gso", action="store_true")
    parser.add_argument("--janus", action="store_true", help="measure Debian's Janus videoroom in the same run")
    arguments = parser.parse_args()
    if arguments.serve:
        uvloop.run(serve(not arguments.no_gso))  # as the product's servers do
    else:
        asyncio.run(measure(arguments, "consilium", PlaneServer(not arguments.no_gso)))
        for loops in (0, 2) if arguments.janus else ():
            name = f"janus, {f'event_loops={loops}' if loops else 'default'}"
            asyncio.run(measure(arguments, name, JanusServer(loops)))


if __name__ == "__main__":
    main()
