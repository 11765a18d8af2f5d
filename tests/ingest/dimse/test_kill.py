"""kill -9 in the middle of a run: what storescu was told is stored is there, whole and announced (a real process, real files)."""

from __future__ import annotations

import asyncio
import random
import re
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from consilium_core.clock import SystemClock
from consilium_core.ids import new_uid
from consilium_core.roles import Role
from consilium_platform.tokens import Claims, ensure_embedded_keys, load_signer
from consilium_testkit.instances import ct_instance
from consilium_testkit.servers import free_port, need

pytestmark = pytest.mark.system
ROUNDS, OF_A_ROUND = 6, 40


@asynccontextmanager
async def running(
    folder: Path, dicom_port: int, more: dict[str, str] | None = None
) -> AsyncIterator[tuple[Process, str]]:
    """Start the rooms on ``folder`` with the DIMSE door open and ``more`` settings; kill them with SIGKILL at the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "consilium_testkit.archive_rooms", str(folder), stdout=PIPE,
        env={
            "PYTHONPATH": ":".join(sys.path), "PATH": "/usr/bin:/bin", "CONSILIUM_INGEST_DICOM_PORT": str(dicom_port),
            **(more or {}),
        },
    )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            line = ""
            while not line.startswith("http"):
                line = (await process.stdout.readline()).decode().strip()
        yield process, line
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def written(folder: Path, number: int) -> dict[str, bytes]:
    """Write a study of its own into ``folder``; return its instances by file name."""
    folder.mkdir()
    study = new_uid()
    files = {f"{n:03d}.dcm": ct_instance(side=96, StudyInstanceUID=study, InstanceNumber=n) for n in range(OF_A_ROUND)}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return files


async def send_and_kill(folder: Path, port: int, process: Process, after: int) -> list[str]:
    """Send the folder; kill the server after ``after`` acknowledgements; return the names of the acknowledged files."""
    scu = await asyncio.create_subprocess_exec(
        need("storescu", "dcmtk"), "-v", "+sd", "-xe", "127.0.0.1", str(port), str(folder), stdout=PIPE, stderr=STDOUT
    )
    assert scu.stdout is not None
    acknowledged, name = [], ""
    async with asyncio.timeout(60):
        async for line in scu.stdout:
            said = line.decode(errors="replace")
            if sent := re.search(r"Sending file: .*/(\d+\.dcm)", said):
                name = sent.group(1)
            if "Received Store Response (Success)" in said:
                acknowledged.append(name)
                if len(acknowledged) == after and process.returncode is None:
                    process.kill()
        await scu.wait()
    return acknowledged


async def test_nothing_that_storescu_was_told_is_lost(tmp_path: Path) -> None:
    data, port = tmp_path / "data", free_port()
    ensure_embedded_keys(data / "keys")
    signer = load_signer(data / "keys" / "users.json", SystemClock())
    headers = {"Authorization": f"Bearer {signer.sign(Claims('user', 'admin', 'demo', Role.ADMIN, 'admin'))}"}
    chance = random.Random(20261125)
    owed: dict[str, bytes] = {}
    for number in range(ROUNDS):
        folder = tmp_path / f"study-{number}"
        files = written(folder, number)
        async with running(data, port) as (process, _):
            acknowledged = await send_and_kill(folder, port, process, chance.randrange(1, OF_A_ROUND))
        assert acknowledged
        owed |= {f"{number}/{name}": files[name] for name in acknowledged}
    async with running(data, port) as (_, url), httpx2.AsyncClient(base_url=url, timeout=60, headers=headers) as client:
        listed = (await client.get("/dicomweb/instances?limit=1000")).json()
        places = {one["00080018"]["Value"][0]: one for one in listed}
        for name, file in owed.items():
            uid = next(uid for uid in places if uid.encode() in file[:1024])
            one = places[uid]
            study, series = one["0020000D"]["Value"][0], one["0020000E"]["Value"][0]
            path = f"/dicomweb/studies/{study}/series/{series}/instances/{uid}"
            kept = await client.get(path, headers={"Accept": "application/dicom"})
            assert kept.status_code == 200, name
            assert kept.content[-96 * 96 * 2 :] == file[-96 * 96 * 2 :], name
        again = await asyncio.create_subprocess_exec(
            need("storescu", "dcmtk"), "+sd", "-xe", "127.0.0.1", str(port), str(tmp_path / "study-0"),
            stdout=PIPE, stderr=STDOUT,
        )  # fmt: skip
        said, _ = await again.communicate()
        assert again.returncode == 0, said  # what was left out is sent again, what is there is known
    print(f"{len(owed)} acknowledged of {ROUNDS * OF_A_ROUND} sent in {ROUNDS} kills, all there")
