"""Measure the delay from capture to decoded picture, end to end through the running product, and how fast it starts.

    .venv/bin/python loadtest/bench_latency.py [--seconds 20] [--chromium] [--ingest]

The product runs as its user starts it (services in one process, the site agent in another), its capture source a 720p30 file that
the agent opens with ``cv2.VideoCapture`` and paces at its own rate. The agent stamps each frame when it was captured; a light
receiver decodes each frame when its RTP marker bit has come and compares the clocks (both ends are on this machine, so they are
one clock). ``--chromium`` reads the room page's own delay chip too; ``--ingest`` stores 600 instances meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "libs"), str(ROOT / "services" / "live")]

import av  # noqa: E402
import cv2  # noqa: E402
import httpx2  # noqa: E402
import numpy as np  # noqa: E402
from aiortc.codecs import depayload  # noqa: E402
from aiortc.rtcrtpparameters import RTCRtpCodecParameters  # noqa: E402

from consilium_core.frame_ref import parse_sei_nal  # noqa: E402
from consilium_live.media.dtls import DtlsIdentity  # noqa: E402
from consilium_testkit.browser import DESKTOP, chromium, signed_in  # noqa: E402
from consilium_testkit.instances import ct_instance, multipart  # noqa: E402
from consilium_testkit.light_peer import LightPeer  # noqa: E402
from consilium_testkit.system import System, running_system  # noqa: E402

H264 = RTCRtpCodecParameters(mimeType="video/H264", clockRate=90000, payloadType=102)


def figure(name: str, value: float, unit: str, **facts: Any) -> None:
    """Print one JSON line."""
    print(json.dumps({"figure": name, "value": round(value, 3), "unit": unit, **facts}), flush=True)


def percentiles(values: list[float]) -> dict[str, float]:
    """Return p50, p95 and p99."""
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return {"p50": round(cuts[49], 2), "p95": round(cuts[94], 2), "p99": round(cuts[98], 2)}


def write_source(path: Path, seconds: int = 10) -> None:
    """Write a 720p30 MJPEG file whose every frame differs."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30, (1280, 720))
    chance = np.random.default_rng(1)
    background = cv2.resize(chance.integers(0, 90, (90, 160, 3), dtype=np.uint8), (1280, 720))
    for number in range(seconds * 30):
        picture = np.roll(background, number * 4, axis=1)
        cv2.circle(picture, (200 + (number * 9) % 900, 360), 120, (200, 220, 240), 18)
        writer.write(picture)
    writer.release()


class Receiver(LightPeer):
    """Decodes each frame as soon as its marker bit is here and notes the delay since capture, ms."""

    def __init__(self, identity: DtlsIdentity) -> None:
        super().__init__(identity, "recvonly", decrypt=True)
        self.delays_ms: list[float] = []
        self.completes_ms: list[float] = []
        self._decoder: Any = av.CodecContext.create("h264", "r")
        self._decoder.thread_count = 1
        self._decoder.options = {"flags": "low_delay"}
        self._unit = bytearray()
        self._anchor: tuple[int, int] | None = None

    def _media(self, datagram: bytes) -> None:
        super()._media(datagram)
        if not self.plain:
            return
        packet = self.plain.pop()
        self.plain.clear()
        header = 12 + 4 * (packet[0] & 15)
        if packet[0] & 16:
            header += 4 + 4 * int.from_bytes(packet[header + 2 : header + 4], "big")
        end = len(packet) - (packet[-1] if packet[0] & 32 else 0)
        self._unit += depayload(H264, packet[header:end])
        if packet[1] & 128:
            self._decode(int.from_bytes(packet[4:8], "big"))

    def _decode(self, timestamp: int) -> None:
        complete_us = time.time_ns() // 1000
        unit, self._unit = bytes(self._unit), bytearray()
        for nal in unit.split(b"\0\0\1"):
            if nal and nal[0] & 31 == 6 and (stamp := parse_sei_nal(nal.rstrip(b"\0"))) is not None:
                self._anchor = (timestamp, stamp.captured_at_us)
        if self._anchor is None:
            return
        ticks = (timestamp - self._anchor[0] + (1 << 31)) % (1 << 32) - (1 << 31)
        captured_us = self._anchor[1] + ticks * 1_000_000 // 90_000
        with suppress(av.error.InvalidDataError):
            if self._decoder.decode(av.Packet(unit)):
                self.delays_ms.append((time.time_ns() // 1000 - captured_us) / 1000)
                self.completes_ms.append((complete_us - captured_us) / 1000)


async def own_receiver(system: System, seconds: float) -> Receiver:
    """Watch the demo room by WHEP for ``seconds``."""
    receiver = Receiver(DtlsIdentity())
    headers = {**system.headers("specialist"), "Content-Type": "application/sdp"}
    async with httpx2.AsyncClient(base_url=system.url, trust_env=False, timeout=20) as client:
        answer = await client.post("/whep/demo", content=receiver.offer, headers=headers)
        answer.raise_for_status()
        receiver.start(answer.text)
        await asyncio.sleep(2)
        receiver.delays_ms.clear()
        receiver.completes_ms.clear()
        await asyncio.sleep(seconds)
        await client.delete(answer.headers["location"], headers=headers)
    await receiver.close()
    return receiver


async def store_meanwhile(system: System, count: int = 600) -> None:
    """Store ``count`` instances of 512 KiB, ten per request."""
    headers = system.headers("operator")
    async with httpx2.AsyncClient(base_url=system.url, trust_env=False, timeout=120) as client:
        for _ in range(count // 10):
            body, content_type = multipart([ct_instance() for _ in range(10)])
            answer = await client.post(
                "/dicomweb/studies", content=body, headers={**headers, "Content-Type": content_type}
            )
            answer.raise_for_status()


async def in_chromium(system: System, seconds: float) -> list[float]:
    """Read the room page's delay chip ten times a second."""
    async with chromium() as browser, signed_in(browser, system, "specialist", DESKTOP) as page:
        await page.goto("/rooms/demo")
        await page.wait_for_selector("[data-testid=chip-latency][data-latency-ms]", timeout=60_000)
        await page.wait_for_timeout(3000)
        values = await page.evaluate(
            """async (seconds) => {
                const seen = [];
                const end = performance.now() + seconds * 1000;
                while (performance.now() < end) {
                    const chip = document.querySelector('[data-testid=chip-latency]');
                    if (chip?.dataset.latencyMs) seen.push(Number(chip.dataset.latencyMs));
                    await new Promise((done) => setTimeout(done, 100));
                }
                return seen;
            }""",
            seconds,
        )
    return [float(value) for value in values]


async def measure(system: System, arguments: argparse.Namespace) -> None:
    """Print the delays."""
    receiver = await own_receiver(system, arguments.seconds)
    facts = {"source": "720p30", "frames": len(receiver.delays_ms)}
    figure(
        "capture_to_decoded_ms",
        percentiles(receiver.delays_ms)["p50"],
        "ms",
        **percentiles(receiver.delays_ms),
        **facts,
    )
    figure(
        "capture_to_complete_ms",
        percentiles(receiver.completes_ms)["p50"],
        "ms",
        **percentiles(receiver.completes_ms),
        **facts,
    )
    if arguments.ingest:
        storing = asyncio.create_task(store_meanwhile(system))
        busy = await own_receiver(system, arguments.seconds)
        storing.cancel()
        await asyncio.gather(storing, return_exceptions=True)
        figure(
            "capture_to_decoded_while_storing_ms",
            percentiles(busy.delays_ms)["p50"],
            "ms",
            **percentiles(busy.delays_ms),
        )
    if arguments.chromium:
        values = await in_chromium(system, arguments.seconds)
        figure("capture_to_shown_in_chromium_ms", percentiles(values)["p50"], "ms", **percentiles(values))


def main() -> None:
    """Parse the arguments, start the product twice (cold, then with its data), measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--chromium", action="store_true")
    parser.add_argument("--ingest", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-latency-") as folder:
        source = Path(folder) / "source.avi"
        write_source(source)
        for turn in ("cold", "again"):
            started = time.monotonic()
            with running_system(Path(folder) / "data", "--source", str(source), wait_live=False) as system:
                figure("start_up_s", time.monotonic() - started, "s", start=turn, until="the door answers")
                while not any(line.startswith("Live:") for line in system.lines):
                    time.sleep(0.02)
                figure("start_up_s", time.monotonic() - started, "s", start=turn, until="first live frame")
                if turn == "again":
                    asyncio.run(measure(system, arguments))


if __name__ == "__main__":
    main()
