"""Kill the archive under load at random, and stop each server behind it; count what is lost (nothing) as one JSON line a world.

``python loadtest/kill_archive.py [--kills 200] [--worlds embedded,servers] [--stop-s 20] [--senders 4] [--seed N]``: embedded gets
the kills; PostgreSQL, Redis and S3 a tenth of them, and each of the three is stopped for ``--stop-s`` seconds while senders store.
The exit status is 1 when anything is wrong (``consilium_testkit.kill_archive`` says what is looked at).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from archive_peers import real_world
from consilium_platform.migrate import upgrade
from consilium_platform.settings import PlatformSettings
from consilium_testkit.kill_archive import Account, environment, strained

SERVERS = ("postgres", "redis-server", "radosgw")


async def embedded(folder: Path, asked: argparse.Namespace) -> Account:
    """Kill the embedded archive."""
    settings = PlatformSettings.load(data_dir=folder)
    folder.mkdir(parents=True)
    await upgrade(settings.sql_url)
    async with strained(settings, {}, senders=asked.senders, seed=asked.seed) as strain:
        await strain.kill_often(asked.kills)
    return strain.account


async def servers(folder: Path, asked: argparse.Namespace) -> Account:
    """Kill the archive on PostgreSQL, Redis and S3, and stop each of them."""
    settings = PlatformSettings.load(data_dir=folder)
    await upgrade(settings.sql_url)
    async with strained(settings, environment(settings), senders=asked.senders, seed=asked.seed) as strain:
        await strain.kill_often(asked.kills // 20)
        for program in SERVERS:
            await strain.outage(program, asked.stop_s)
        await strain.kill_often(asked.kills // 20)
    return strain.account


@contextmanager
def _in_environment(variables: dict[str, str]) -> Iterator[None]:
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables:
            del os.environ[name]


def main() -> int:
    """Run the worlds that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--kills", type=int, default=200, help="kills of the embedded archive")
    parser.add_argument("--worlds", default="embedded,servers", help="which, by commas")
    parser.add_argument("--stop-s", type=float, default=20.0, help="how long each server is stopped, seconds")
    parser.add_argument("--senders", type=int, default=4, help="how many store at once")
    parser.add_argument(
        "--seed", type=int, default=random.randrange(1 << 32), help="of the run's chance; it is printed"
    )
    asked = parser.parse_args()
    print(f"seed {asked.seed}", flush=True)
    wrong = False
    with tempfile.TemporaryDirectory(prefix="kill-archive-") as name:
        Path(name).chmod(0o711)  # PostgreSQL runs as its own user below it
        for world in asked.worlds.split(","):
            folder = Path(name) / world
            if world == "embedded":
                account = asyncio.run(embedded(folder, asked))
            else:
                with real_world(Path(name) / "real") as env, _in_environment(env):
                    account = asyncio.run(servers(folder, asked))
            print(account.line(world), flush=True)
            wrong = wrong or bool(account.wrong)
    return int(wrong)


if __name__ == "__main__":
    raise SystemExit(main())
