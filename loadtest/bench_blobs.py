"""Measure the data path to S3: boto3 in a thread pool against obstore (in threads, and on the event loop); one JSON line per figure.

The store is a real Ceph radosgw on loopback, started here; only this process's CPU counts (all its threads). Each figure is the
median of the rounds, clients in turn within a round, so that the machine's moods meet all of them alike.
``python loadtest/bench_blobs.py [--rounds 5] [--in-flight 8]``
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import obstore
import uvloop
from pydantic import SecretStr

from consilium_platform.blobs_s3 import data_store, s3_client
from consilium_platform.settings import S3Place
from consilium_testkit import servers

BUCKET = "bench"
SIZES = {"4KiB": (4 << 10, 200), "512KiB": (512 << 10, 120), "16MiB": (16 << 20, 8)}
RANGE_BYTES = 64 << 10


@dataclass(frozen=True)
class Client:
    """One way of talking to the store."""

    name: str
    put: Callable[[str, bytes], Awaitable[Any]]
    get: Callable[[str], Awaitable[int]]
    get_range: Callable[[str, int, int], Awaitable[int]]


def boto3_client(place: S3Place, pool: ThreadPoolExecutor) -> Client:
    """boto3, as it stood behind the port: one call, one thread of a bounded pool."""
    client, loop = s3_client(place), asyncio.get_running_loop()

    async def put(key: str, data: bytes) -> None:
        await loop.run_in_executor(pool, lambda: client.put_object(Bucket=BUCKET, Key=key, Body=data))

    async def get(key: str) -> int:
        return await loop.run_in_executor(pool, lambda: len(client.get_object(Bucket=BUCKET, Key=key)["Body"].read()))

    async def get_range(key: str, start: int, length: int) -> int:
        span = f"bytes={start}-{start + length - 1}"
        return await loop.run_in_executor(
            pool, lambda: len(client.get_object(Bucket=BUCKET, Key=key, Range=span)["Body"].read())
        )

    return Client("boto3", put, get, get_range)


def obstore_threads(store: Any, pool: ThreadPoolExecutor) -> Client:
    """obstore's blocking calls in the same pool."""
    loop = asyncio.get_running_loop()

    async def put(key: str, data: bytes) -> None:
        await loop.run_in_executor(pool, lambda: obstore.put(store, key, data, use_multipart=False))

    async def get(key: str) -> int:
        return await loop.run_in_executor(pool, lambda: len(bytes(obstore.get(store, key).bytes())))

    async def get_range(key: str, start: int, length: int) -> int:
        return await loop.run_in_executor(
            pool, lambda: len(bytes(obstore.get_range(store, key, start=start, length=length)))
        )

    return Client("obstore-threads", put, get, get_range)


def obstore_loop(store: Any) -> Client:
    """obstore on the event loop, as ``S3Blobs`` uses it."""

    async def put(key: str, data: bytes) -> None:
        await obstore.put_async(store, key, data, use_multipart=False)

    async def get(key: str) -> int:
        return len(bytes(await (await obstore.get_async(store, key)).bytes_async()))

    async def get_range(key: str, start: int, length: int) -> int:
        return len(bytes(await obstore.get_range_async(store, key, start=start, length=length)))

    return Client("obstore", put, get, get_range)


async def timed(work: Callable[[int], Awaitable[Any]], count: int, in_flight: int) -> tuple[float, float]:
    """Do ``work`` ``count`` times, ``in_flight`` at once; return (CPU-ms of this process, wall ms), each per call."""
    room = asyncio.Semaphore(in_flight)

    async def one(number: int) -> None:
        async with room:
            await work(number)

    cpu, wall = time.process_time(), time.perf_counter()
    await asyncio.gather(*(one(number) for number in range(count)))
    return (time.process_time() - cpu) * 1000 / count, (time.perf_counter() - wall) * 1000 / count


def verbs_of(client: Client, label: str, data: bytes) -> dict[str, Callable[[int], Awaitable[Any]]]:
    """Return what is measured of one client at one size, by name."""
    verbs: dict[str, Callable[[int], Awaitable[Any]]] = {
        "put": lambda number: client.put(f"{client.name}/{label}/{number}", data),
        "get": lambda number: client.get(f"{client.name}/{label}/{number}"),
    }
    if len(data) > RANGE_BYTES:
        verbs["range 64KiB"] = lambda number: client.get_range(f"{client.name}/{label}/{number}", 1000, RANGE_BYTES)
    return verbs


async def measure(place: S3Place, rounds: int, in_flight: int) -> None:
    """Print one line per verb, size and client."""
    store = data_store(place)
    with ThreadPoolExecutor(max(16, in_flight)) as pool:
        clients = [boto3_client(place, pool), obstore_threads(store, pool), obstore_loop(store)]
        for label, (size, count) in SIZES.items():
            data = os.urandom(size)
            got: dict[tuple[str, str], list[tuple[float, float]]] = {}
            for turn in range(rounds + 1):  # the first warms connections up
                for client in clients:
                    for verb, work in verbs_of(client, label, data).items():
                        figures = await timed(work, count, in_flight)
                        if turn:
                            got.setdefault((verb, client.name), []).append(figures)
            for (verb, name), runs in sorted(got.items()):
                line = {
                    "figure": "blobs", "verb": verb, "size": label, "client": name, "in_flight": in_flight,
                    "cpu_ms": round(statistics.median(cpu for cpu, _ in runs), 3),
                    "wall_ms": round(statistics.median(wall for _, wall in runs), 3),
                }  # fmt: skip
                print(json.dumps(line), flush=True)


def main() -> None:
    """Start radosgw, make the bucket, measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--in-flight", type=int, default=8)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, servers.s3(Path(folder) / "s3") as real:
        keys = SecretStr(real.access_key), SecretStr(real.secret_key)
        place = S3Place(real.endpoint, BUCKET, "us-east-1", *keys)
        s3_client(place).create_bucket(Bucket=BUCKET)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(measure(place, chosen.rounds, chosen.in_flight))


if __name__ == "__main__":
    main()
