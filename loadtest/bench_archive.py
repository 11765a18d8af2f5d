"""Measure the archive: STOW-RS, QIDO-RS pages, WADO-RS frames, rendered pictures and metadata; one JSON line per figure.

The server (ingest and imaging by uvicorn, embedded world) is a process of its own; its CPU time is read from the kernel, so that the
client's work is not counted. ``python loadtest/bench_archive.py [--studies N] [--instances N] [--url URL --token TOKEN]``
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

from consilium_core.clock import SystemClock
from consilium_core.ids import new_uid
from consilium_core.roles import Role
from consilium_platform.tokens import Claims, ensure_embedded_keys, load_signer
from consilium_testkit.instances import ct_instance, multipart, uids_of


@dataclass(frozen=True)
class Target:
    """The measured server: a client with a token, and the process whose CPU counts (None: a remote one)."""

    client: httpx2.AsyncClient
    pid: int | None

    def cpu_s(self) -> float:
        """Return the user and system time of the server so far, seconds."""
        if self.pid is None:
            return 0.0
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def figure(name: str, **values: float | int | str) -> None:
    """Print one JSON line."""
    rounded = {key: round(value, 3) if isinstance(value, float) else value for key, value in values.items()}
    print(json.dumps({"figure": name, **rounded}), flush=True)


@asynccontextmanager
async def embedded(folder: Path) -> AsyncIterator[Target]:
    """Serve a fresh archive in ``folder``."""
    ensure_embedded_keys(folder / "keys")
    signer = load_signer(folder / "keys" / "users.json", SystemClock())
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "consilium_testkit.archive_rooms", str(folder), stdout=PIPE,
        env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
    )  # fmt: skip
    assert process.stdout is not None
    url = (await process.stdout.readline()).decode().strip()
    token = signer.sign(Claims("user", "bench", "demo", Role.ADMIN, "bench"))
    try:
        async with client_of(url, token) as client:
            yield Target(client, process.pid)
    finally:
        process.terminate()
        await process.wait()


def client_of(url: str, token: str) -> httpx2.AsyncClient:
    """Return a client of one server."""
    return httpx2.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=120, trust_env=False)


async def timed(target: Target, name: str, calls: int, call: Callable[[int], Awaitable[int]], **more: int) -> None:
    """Run ``call`` one after the other; print p50 and p95 in ms and the server's CPU-ms per call."""
    for n in range(3):
        await call(n)
    times: list[float] = []
    size, cpu = 0, target.cpu_s()
    for n in range(calls):
        started = time.perf_counter()
        size = await call(n)
        times.append((time.perf_counter() - started) * 1000)
    cpu = (target.cpu_s() - cpu) * 1000 / calls
    times.sort()
    figure(
        name,
        p50_ms=statistics.median(times),
        p95_ms=times[int(calls * 0.95)],
        cpu_ms=cpu,
        calls=calls,
        bytes=size,
        **more,
    )


async def bench_stow(target: Target, instances: int, per_request: int, senders: int) -> None:
    """Store ``instances`` fresh CT images of 512 KiB, ``per_request`` at a time, by ``senders`` at once."""
    template = ct_instance(side=512)
    study, _, sop = uids_of(template)
    bodies: list[bytes] = []
    media = ""
    for _ in range(instances // per_request):
        files = []
        mine = _uid_like(study)
        for _ in range(per_request):
            files.append(template.replace(sop.encode(), _uid_like(sop)).replace(study.encode(), mine))
        body, media = multipart(files)
        bodies.append(body)
    started, cpu = time.perf_counter(), target.cpu_s()
    queue = list(bodies)

    async def send() -> None:
        while queue:
            answer = await target.client.post("/dicomweb/studies", content=queue.pop(), headers={"Content-Type": media})
            assert answer.status_code == 200, answer.text

    await asyncio.gather(*(send() for _ in range(senders)))
    wall = time.perf_counter() - started
    figure(
        "stow", per_request=per_request, senders=senders, instances=instances, instances_per_s=instances / wall,
        cpu_ms_per_instance=(target.cpu_s() - cpu) * 1000 / instances,
    )  # fmt: skip


def _uid_like(old: str) -> bytes:
    """Return a fresh UID of the same length, so that a template can be patched in place."""
    fresh = new_uid()
    return fresh[: len(old)].ljust(len(old), "1").encode()


async def fill(target: Target, studies: int) -> None:
    """Store ``studies`` small studies so that searches have something to search."""
    for start in range(0, studies, 100):
        files = [
            ct_instance(side=8, PatientID=f"F{n}", PatientName=f"Family{n}^Given", StudyDate=f"20{n % 20:02d}0101")
            for n in range(start, min(start + 100, studies))
        ]
        body, media = multipart(files)
        answer = await target.client.post("/dicomweb/studies", content=body, headers={"Content-Type": media})
        assert answer.status_code == 200, answer.text


async def bench_queries(target: Target, studies: int) -> None:
    """Measure pages of 100 at each level and a search by patient."""

    async def get(path: str) -> int:
        answer = await target.client.get(path)
        assert answer.status_code == 200, answer.text
        return len(answer.content)

    for level in ("studies", "series", "instances"):
        await timed(
            target,
            f"qido_{level}_page_100",
            60,
            lambda _, level=level: get(f"/dicomweb/{level}?limit=100"),
            studies=studies,
        )
    await timed(target, "qido_patient_id", 100, lambda n: get(f"/dicomweb/studies?PatientID=F{n}"), studies=studies)
    await timed(target, "worklist_text", 60, lambda n: get(f"/api/v1/imaging/worklist?q=family{n}"), studies=studies)


async def bench_pixels(target: Target) -> None:
    """Measure metadata, frames and pictures of one series of 100 CT images."""
    study, series = new_uid(), new_uid()
    names = {"StudyInstanceUID": study, "SeriesInstanceUID": series}
    sops = [new_uid() for _ in range(100)]
    for n in range(0, 100, 10):
        files = [
            ct_instance(SOPInstanceUID=sop, InstanceNumber=n + i, **names) for i, sop in enumerate(sops[n : n + 10])
        ]
        body, media = multipart(files)
        answer = await target.client.post("/dicomweb/studies", content=body, headers={"Content-Type": media})
        assert answer.status_code == 200, answer.text
    base = f"/dicomweb/studies/{study}/series/{series}"

    async def get(path: str, accept: str, encoding: str = "identity") -> int:
        headers = {"Accept": accept, "Accept-Encoding": encoding}
        async with target.client.stream("GET", path, headers=headers) as answer:
            body = [chunk async for chunk in answer.aiter_raw()]
            assert answer.status_code == 200, body
        return sum(map(len, body))

    octets = "application/octet-stream; transfer-syntax=*"
    await timed(target, "metadata_100", 50, lambda _: get(f"{base}/metadata", "application/dicom+json"))
    await timed(
        target, "metadata_100_deflate", 50, lambda _: get(f"{base}/metadata", "application/dicom+json", "deflate")
    )
    await timed(target, "frame_512k", 200, lambda n: get(f"{base}/instances/{sops[n % 100]}/frames/1", octets))
    await timed(
        target, "rendered_512", 200,
        lambda n: get(f"{base}/instances/{sops[n % 100]}/rendered?window=40,{400 + n}", "image/jpeg"),
    )  # fmt: skip
    await timed(target, "thumbnail_cached", 100, lambda _: get(f"{base}/thumbnail", "image/jpeg"))
    await timed(target, "series_52m", 3, lambda _: get(base, 'multipart/related; type="application/dicom"'))


async def main() -> None:
    """Run everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=1000, help="studies that searches run over")
    parser.add_argument("--instances", type=int, default=200, help="instances per STOW figure")
    parser.add_argument("--url", help="measure this server instead of one of our own")
    parser.add_argument("--token", default="", help="bearer token for --url")
    parser.add_argument("--only", default="stow,query,pixels", help="which groups")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-archive-") as folder:
        opened = _remote(asked.url, asked.token) if asked.url else embedded(Path(folder))
        async with opened as target:
            if "stow" in asked.only:
                await bench_stow(target, 20, 1, 1)
                for per_request, senders in ((1, 1), (10, 1), (1, 4), (10, 4)):
                    await bench_stow(target, asked.instances, per_request, senders)
            if "query" in asked.only:
                await fill(target, asked.studies)
                await bench_queries(target, asked.studies)
            if "pixels" in asked.only:
                await bench_pixels(target)


@asynccontextmanager
async def _remote(url: str, token: str) -> AsyncIterator[Target]:
    async with client_of(url, token) as client:
        yield Target(client, None)


if __name__ == "__main__":
    asyncio.run(main())
