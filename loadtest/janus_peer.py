"""Debian's Janus videoroom as the peer of `bench_forward.py`: same publisher, same viewers, same run.

Needs `apt-get install janus`. ICE-lite, on this machine only, AES-GCM because that is what the light peers offer first.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

from consilium_testkit.light_peer import LightPeer

_TICKS = os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    """Return a TCP port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def primary_address() -> str:
    """Return this machine's own address towards others (nothing is sent)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("198.51.100.1", 9))
        return str(probe.getsockname()[0])


class JanusServer:
    """A Janus process of its own with one H.264 room; `host` is the address it offers (it shuns loopback)."""

    def __init__(self, event_loops: int = 0) -> None:
        binary = shutil.which("janus")
        if binary is None:
            raise SystemExit("janus is not installed: apt-get install janus")
        self._folder = tempfile.mkdtemp(prefix="janus-bench-")
        self._port = free_port()
        folder = Path(self._folder)
        loops = f"event_loops = {event_loops}\n" if event_loops else ""
        (folder / "janus.jcfg").write_text(
            f'general: {{ configs_folder = "{folder}" debug_level = 2 {loops} }}\n'
            "nat: { ice_lite = true ice_tcp = false }\n"
            'transports: { disable = "libjanus_websockets.so,libjanus_pfunix.so,libjanus_rabbitmq.so,'
            'libjanus_mqtt.so,libjanus_nanomsg.so" }\n'
        )
        (folder / "janus.transport.http.jcfg").write_text(
            f'general: {{ json = "compact" base_path = "/janus" http = true port = {self._port}'
            ' ip = "127.0.0.1" https = false }\nadmin: { admin_http = false }\n'
        )
        (folder / "janus.plugin.videoroom.jcfg").write_text("general: { }\n")
        self._process = subprocess.Popen(
            [binary, "-F", self._folder], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.host = primary_address()
        self._session = 0
        self._feed = 0

    async def _post(self, path: str, **body: Any) -> dict[str, Any]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._port}/janus{path}",
            data=json.dumps({"transaction": "t", **body}).encode(),
            headers={"Content-Type": "application/json"},
        )

        def send() -> dict[str, Any]:
            with urllib.request.urlopen(request, timeout=10) as reply:
                answer: dict[str, Any] = json.load(reply)
                return answer

        return await asyncio.to_thread(send)

    async def _event(self, wanted: str) -> dict[str, Any]:
        """Poll the session until an event of the plugin comes that has a session description, or names `wanted`."""

        def poll() -> dict[str, Any]:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self._port}/janus/{self._session}?maxev=1", timeout=40
            ) as reply:
                event: dict[str, Any] = json.load(reply)
                return event

        while True:
            event = await asyncio.to_thread(poll)
            data = event.get("plugindata", {}).get("data", {})
            if "error" in data:
                raise RuntimeError(f"Janus refused: {data['error']}")
            if data.get("videoroom") == wanted or data.get(wanted):
                return event

    async def open(self) -> None:
        """Wait for the process and make the room."""
        for _ in range(100):
            try:
                self._session = (await self._post("", janus="create"))["data"]["id"]
                break
            except OSError:
                await asyncio.sleep(0.1)
        else:
            raise RuntimeError("Janus does not answer")
        handle = await self._attach()
        room = {"request": "create", "room": 1, "videocodec": "h264", "publishers": 2, "bitrate": 0}
        await self._post(f"/{self._session}/{handle}", janus="message", body=room)

    async def _attach(self) -> int:
        reply = await self._post(f"/{self._session}", janus="attach", plugin="janus.plugin.videoroom")
        return int(reply["data"]["id"])

    async def publish(self, peer: LightPeer) -> None:
        """Connect the publisher."""
        handle = await self._attach()
        path = f"/{self._session}/{handle}"
        await self._post(path, janus="message", body={"request": "join", "ptype": "publisher", "room": 1})
        self._feed = (await self._event("joined"))["plugindata"]["data"]["id"]
        offer = {"type": "offer", "sdp": peer.offer.replace("actpass", "active")}
        await self._post(path, janus="message", body={"request": "publish"}, jsep=offer)
        peer.start((await self._event("configured"))["jsep"]["sdp"])

    async def subscribe(self, peer: LightPeer, name: str) -> None:
        """Connect a viewer; Janus offers, the peer answers."""
        del name
        handle = await self._attach()
        path = f"/{self._session}/{handle}"
        join = {"request": "join", "ptype": "subscriber", "room": 1, "streams": [{"feed": self._feed}]}
        await self._post(path, janus="message", body=join)
        offer: str = (await self._event("attached"))["jsep"]["sdp"]
        types = dict(re.findall(r"a=rtpmap:(\d+) (\w+)/90000", offer)[::-1])
        h264 = next(t for t, codec in types.items() if codec == "H264")
        rtx = next((t for t, codec in types.items() if codec == "rtx"), "103")
        answer = re.sub(r"\b102\b", h264, re.sub(r"\b103\b", rtx, peer.offer)).replace("actpass", "active")
        await self._post(path, janus="message", body={"request": "start"}, jsep={"type": "answer", "sdp": answer})
        peer.start(offer)

    def facts(self) -> dict[str, Any]:
        """Return CPU seconds and memory of the process."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        resident = int(status.split("VmRSS:")[1].split()[0])
        return {"cpu_s": (int(fields[11]) + int(fields[12])) / _TICKS, "rss_kb": resident}

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.wait(10)
        shutil.rmtree(self._folder, ignore_errors=True)
