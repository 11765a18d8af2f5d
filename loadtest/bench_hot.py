"""Measure what the hot tier does to frames whose originals lie in a bucket; one JSON line per figure.

The store is a real Ceph radosgw on loopback, started here; the rooms run in this process behind ASGI, so only its CPU counts (all threads, the
client's small share with it). In each round the same frames are read in turn with no hot tier, with an empty one (every read a miss), and with
a full one; each figure is the median of the rounds. ``python loadtest/bench_hot.py [--rounds 5] [--stills 150] [--in-flight 1]``
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import numpy as np
import uvloop
from pydantic import SecretStr

from consilium_core.ids import new_uid
from consilium_core.roles import Role
from consilium_imaging.settings import ImagingSettings
from consilium_platform.platform import Platform, open_platform
from consilium_platform.settings import PlatformSettings
from consilium_testkit import servers
from consilium_testkit.archive_rooms import archive_door, door_client
from consilium_testkit.instances import ct_instance, multipart, uids_of
from consilium_testkit.platforms import bearer

CINE_FRAMES = 60


@dataclass(frozen=True)
class Work:
    """What is read, by name: addresses of frames."""

    name: str
    paths: list[str]
    objects: int


def platform_settings(s3: servers.S3Server, folder: Path) -> PlatformSettings:
    """Return an archive with its index in SQLite and its objects in the bucket."""
    return PlatformSettings.load(
        data_dir=folder / "data", blob_store="s3", s3_endpoint=s3.endpoint, s3_bucket="bench-hot",
        s3_access_key=SecretStr(s3.access_key), s3_secret_key=SecretStr(s3.secret_key),
    )  # fmt: skip


@asynccontextmanager
async def client_of(platform: Platform, hot_dir: Path | None) -> AsyncIterator[httpx2.AsyncClient]:
    """Yield a client of rooms with or without a hot tier; nothing is pre-fetched."""
    settings = ImagingSettings.load(hot_dir=hot_dir, prefetch_studies=0, derivatives="never", hot_queue=4096)
    async with (
        archive_door(platform, imaging=settings) as door,
        door_client(door, bearer(platform, Role.ADMIN)) as client,
    ):
        yield client


async def fill(client: httpx2.AsyncClient, stills: int) -> list[Work]:
    """Store stills of 512 KiB and one cine of 60 frames of 512 KiB; return what is read of them."""
    rng, study = np.random.default_rng(3), new_uid()
    files = [
        ct_instance(
            StudyInstanceUID=study, InstanceNumber=n, PixelData=rng.integers(0, 4000, 512 * 512, "<u2").tobytes()
        )
        for n in range(stills)
    ]
    pixels = rng.integers(0, 4000, 512 * 512 * CINE_FRAMES, "<u2").tobytes()
    cine = ct_instance(NumberOfFrames=CINE_FRAMES, PixelData=pixels)
    for some in (*(files[at : at + 25] for at in range(0, stills, 25)), [cine]):
        body, media = multipart(some)
        (await client.post("/dicomweb/studies", content=body, headers={"Content-Type": media})).raise_for_status()
    *of_stills, of_cine = [
        f"/dicomweb/studies/{study}/series/{series}/instances/{sop}/frames/"
        for study, series, sop in map(uids_of, [*files, cine])
    ]
    return [
        Work("still, 512 KiB", [f"{path}1" for path in of_stills], stills),
        Work("cine, frame of 512 KiB in 30 MiB", [f"{of_cine}{n + 1}" for n in range(CINE_FRAMES)], 1),
    ]


async def measure(client: httpx2.AsyncClient, work: Work, in_flight: int) -> dict[str, float]:
    """Read every frame once; return times of one request (ms) and this process's CPU for it (ms)."""
    took: list[float] = []
    left = iter(work.paths)

    async def some() -> None:
        for path in left:
            began = time.perf_counter()
            answer = await client.get(path, headers={"Accept": "application/octet-stream"})
            took.append(1000 * (time.perf_counter() - began))
            assert answer.status_code == 200, answer.text
            assert len(answer.content) == 512 << 10

    cpu = time.process_time()
    await asyncio.gather(*(some() for _ in range(in_flight)))
    cpu_ms = 1000 * (time.process_time() - cpu) / len(work.paths)
    took.sort()
    return {"p50_ms": statistics.median(took), "p95_ms": took[len(took) * 95 // 100], "cpu_ms": cpu_ms}


async def until_kept(hot: Path, objects: int) -> None:
    """Return when so many originals are hot."""
    async with asyncio.timeout(60):
        while len(list((hot / "objects").rglob("*.dcm"))) < objects:
            await asyncio.sleep(0.05)


async def run(rounds: int, stills: int, in_flight: int, folder: Path, s3: servers.S3Server) -> None:
    """Measure in turn, print medians."""
    found: dict[tuple[str, str], list[dict[str, float]]] = {}
    hot = folder / "hot"
    async with AsyncExitStack() as stack:
        platform = await stack.enter_async_context(open_platform(platform_settings(s3, folder)))
        async with client_of(platform, None) as client:
            works = await fill(client, stills)
        for _ in range(rounds + 1):  # the first warms up
            shutil.rmtree(hot, ignore_errors=True)
            for name, where in (("bucket", None), ("hot tier, miss", hot), ("hot tier, hit", hot)):
                done = 0
                async with client_of(platform, where) as client:
                    for work in works:
                        found.setdefault((work.name, name), []).append(await measure(client, work, in_flight))
                        if where is not None:
                            await until_kept(where, done := done + work.objects)
    for (work_name, name), figures in found.items():
        middle = {key: round(statistics.median(one[key] for one in figures[1:]), 2) for key in figures[0]}
        print(json.dumps({"what": work_name, "from": name, "in_flight": in_flight, **middle}), flush=True)


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--stills", type=int, default=150)
    parser.add_argument("--in-flight", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-hot-") as name:
        folder = Path(name)
        with servers.s3(folder / "s3") as s3, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(given.rounds, given.stills, given.in_flight, folder, s3))


if __name__ == "__main__":
    main()
