"""Load on an archive that is killed again and again, and the account afterwards: what was acknowledged is there, whole and announced.

Senders store by STOW-RS and send again what was not acknowledged, as a modality does; some send the same instances twice at once.
A looker reads what searches list meanwhile. ``Strain.kill_often`` kills the server with SIGKILL at random, ``Strain.outage`` stops a
server behind it (PostgreSQL, Redis, S3) with SIGSTOP for a while. At the end everything is counted (``kill_account``).
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import httpx2
import psutil

from consilium_core.clock import SystemClock
from consilium_core.ids import new_uid
from consilium_core.roles import Role
from consilium_platform.settings import PlatformSettings
from consilium_platform.tokens import Claims, TokenSigner, ensure_embedded_keys, load_signer
from consilium_testkit.instances import ct_instance, multipart, uids_of
from consilium_testkit.kill_account import RETRY, Account, Evidence
from consilium_testkit.servers import free_port


class Strain:
    """One archive under load. Made by ``strained``, which owns the process that forks its servers."""

    def __init__(self, folder: Path, forker: Process, url: str, signer: TokenSigner, chance: random.Random) -> None:
        self.known = Evidence(self.client, folder / "heard.txt")
        self.over = asyncio.Event()
        self._forker = forker
        self._url = url
        self._signer = signer
        self._chance = chance
        self._pid = 0
        self._progress = asyncio.Condition()

    @property
    def account(self) -> Account:
        """Return what was counted."""
        return self.known.account

    async def start(self) -> None:
        """Fork a server and wait until it answers."""
        assert self._forker.stdin is not None
        assert self._forker.stdout is not None
        self._forker.stdin.write(b".")
        await self._forker.stdin.drain()
        async with asyncio.timeout(120):
            line = ""
            while self._url not in line:  # a warning of a library may come first
                line = (await self._forker.stdout.readline()).decode()
                if not line:
                    raise RuntimeError("the process that forks the servers has ended")
        self._pid = int(line.split()[0])

    async def kill(self) -> None:
        """Kill the server and its workers, and wait until the kernel has forgotten it."""
        os.killpg(self._pid, signal.SIGKILL)
        self.account.kills += 1
        async with asyncio.timeout(30):
            while psutil.pid_exists(self._pid):  # noqa: ASYNC110 - a condition of another process
                await asyncio.sleep(0.002)

    async def until_acknowledged(self, more: int, timeout_s: float) -> None:
        """Wait until ``more`` instances were acknowledged since now."""
        goal = len(self.known.owed) + more
        async with asyncio.timeout(timeout_s), self._progress:
            await self._progress.wait_for(lambda: len(self.known.owed) >= goal)

    async def kill_often(self, kills: int) -> None:
        """Kill and start ``kills`` times, each after some acknowledgements (or none) and a moment."""
        for _ in range(kills):
            await self.until_acknowledged(self._chance.choice((0, 1, 1, 4, 12)), 120)
            await asyncio.sleep(self._chance.random() * 0.15)
            await self.kill()
            await self.start()

    async def outage(self, program: str, seconds: float) -> None:
        """Stop every process of a server behind the archive for ``seconds``; return when storing goes on."""
        await self.until_acknowledged(1, 120)
        with stopped(program):
            await asyncio.sleep(seconds)
        self.account.stops.append(program)
        await self.until_acknowledged(10, 120)

    def client(self) -> httpx2.AsyncClient:
        """Return a client with a token of its own."""
        token = self._signer.sign(Claims("user", "sender", "demo", Role.ADMIN, "sender"))
        headers = {"Authorization": f"Bearer {token}"}
        return httpx2.AsyncClient(base_url=self._url, headers=headers, timeout=httpx2.Timeout(60, connect=5))

    async def send(self) -> None:
        """Store new instances until it is over, each until it is acknowledged."""
        while not self.over.is_set():
            study, series = new_uid(), new_uid()
            files: dict[str, bytes] = {}
            for number in range(self._chance.randrange(1, 5)):
                file = ct_instance(
                    side=32, seed=self._chance.randrange(1, 999), StudyInstanceUID=study, SeriesInstanceUID=series,
                    InstanceNumber=number + 1,
                )  # fmt: skip
                files[uids_of(file)[2]] = file
            self.known.sent |= {sop: hashlib.sha256(file).hexdigest() for sop, file in files.items()}
            self.account.sent += len(files)
            async with asyncio.TaskGroup() as group:
                for _ in range(2 if self._chance.random() < 0.15 else 1):
                    group.create_task(self._until_stored(dict(files)), name="stow-request")

    async def _until_stored(self, files: dict[str, bytes]) -> None:
        wait_s = 0.02
        while files:
            self.account.requests += 1
            for sop in await self._store(files):
                del files[sop]
                wait_s = 0.02
            if files:
                self.account.sent_again += len(files)
                await asyncio.sleep(wait_s * (0.5 + self._chance.random()))
                wait_s = min(wait_s * 2, 1.0)

    async def _store(self, files: dict[str, bytes]) -> list[str]:
        """Make one request; return which instances it acknowledged."""
        body, media = multipart(list(files.values()))
        try:
            async with self.client() as client:
                answer = await client.post("/dicomweb/studies", content=body, headers={"Content-Type": media})
        except httpx2.HTTPError:
            return []
        if answer.status_code not in (200, 202):
            if answer.status_code not in RETRY:
                self.account.wrong.append(f"refused with {answer.status_code}: {answer.text[:300]}")
            return []
        stored = [item["00081155"]["Value"][0] for item in answer.json()["00081199"]["Value"]]
        async with self._progress:
            self.known.owed.update(stored)
            self._progress.notify_all()
        return [sop for sop in stored if sop in files]

    async def look(self) -> None:
        """Read what searches list, while it dies and comes back: what is listed is whole."""
        while not self.over.is_set():
            with suppress(httpx2.HTTPError):
                async with self.client() as client:
                    await self._look_once(client)
            await asyncio.sleep(0.01)

    async def _look_once(self, client: httpx2.AsyncClient) -> None:
        offset = self._chance.randrange(max(len(self.known.owed), 1))
        answer = await client.get(f"/dicomweb/instances?limit=3&offset={offset}")
        for one in answer.json() if answer.status_code == 200 else ():
            if await self.known.whole(client, one):
                self.account.looked_at += 1


@asynccontextmanager
async def strained(
    settings: PlatformSettings, env: dict[str, str], *, senders: int, seed: int
) -> AsyncIterator[Strain]:
    """Yield a started archive that senders store into; what they are still sending at the end is finished first."""
    folder, chance = settings.data_dir, random.Random(seed)
    ensure_embedded_keys(folder / "keys")
    port, began = free_port(), time.monotonic()
    command = (sys.executable, "-m", "consilium_testkit.kill_rooms", str(folder), str(port), str(folder / "heard.txt"))
    forker = await asyncio.create_subprocess_exec(
        *command, stdin=PIPE, stdout=PIPE, env={"PYTHONPATH": ":".join(sys.path), "PATH": "/usr/bin:/bin", **env}
    )
    strain = Strain(
        folder, forker, f"http://127.0.0.1:{port}", load_signer(folder / "keys" / "users.json", SystemClock()), chance
    )
    try:
        await strain.start()
        async with asyncio.TaskGroup() as group:
            for number in range(senders):
                group.create_task(strain.send(), name=f"sender-{number}")
            group.create_task(strain.look(), name="looker")
            yield strain
            strain.over.set()
        await strain.known.settle(settings)
        strain.account.seconds = round(time.monotonic() - began, 1)
    finally:
        with suppress(ProcessLookupError):
            if strain._pid:
                os.killpg(strain._pid, signal.SIGKILL)
        forker.kill()
        await forker.wait()


@contextmanager
def stopped(program: str, parent: int | None = None) -> Iterator[None]:
    """Stop every process of ``program`` below this one (or ``parent``) for the length of the block: it neither answers nor refuses."""
    found = [one for one in psutil.Process(parent).children(recursive=True) if one.name().startswith(program)]
    if not found:
        raise LookupError(f"no process of {program}")
    for one in found:
        with suppress(psutil.NoSuchProcess):
            one.suspend()
    try:
        yield
    finally:
        for one in found:
            with suppress(psutil.NoSuchProcess):
                one.resume()


def environment(settings: PlatformSettings) -> dict[str, str]:
    """Return the variables that lead another process into the world of ``settings``."""
    if settings.database_url is None or settings.redis_url is None:
        return {}
    assert settings.s3_access_key is not None
    assert settings.s3_secret_key is not None
    return {
        "CONSILIUM_PLATFORM_DATABASE_URL": settings.database_url.get_secret_value(),
        "CONSILIUM_PLATFORM_REDIS_URL": settings.redis_url.get_secret_value(),
        "CONSILIUM_PLATFORM_BLOB_STORE": "s3",
        "CONSILIUM_PLATFORM_S3_ENDPOINT": settings.s3_endpoint or "",
        "CONSILIUM_PLATFORM_S3_BUCKET": settings.s3_bucket,
        "CONSILIUM_PLATFORM_S3_ACCESS_KEY": settings.s3_access_key.get_secret_value(),
        "CONSILIUM_PLATFORM_S3_SECRET_KEY": settings.s3_secret_key.get_secret_value(),
    }
