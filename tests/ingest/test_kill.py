"""What was acknowledged survives kill -9; what was not goes on where it stood (a real process, real files)."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from consilium_core.clock import SystemClock
from consilium_core.roles import Role
from consilium_platform.tokens import Claims, ensure_embedded_keys, load_signer
from consilium_testkit.instances import ct_instance, multipart, uids_of

pytestmark = pytest.mark.system


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[tuple[Process, str]]:
    """Start both rooms as a process of their own on ``folder``; kill it with SIGKILL at the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "consilium_testkit.archive_rooms", str(folder), stdout=PIPE,
        env={"PYTHONPATH": ":".join(sys.path), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            url = (await process.stdout.readline()).decode().strip()
        yield process, url
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def bearer(folder: Path, role: Role) -> dict[str, str]:
    ensure_embedded_keys(folder / "keys")
    kind = "site" if role is Role.SITE else "user"
    claims = Claims(kind, role.value, "demo", role, role.value)
    return {"Authorization": f"Bearer {load_signer(folder / 'keys' / 'users.json', SystemClock()).sign(claims)}"}


def chunk_headers(chunk: bytes, offset: int) -> dict[str, str]:
    digest = base64.b64encode(hashlib.sha256(chunk).digest()).decode()
    return {
        "Tus-Resumable": "1.0.0", "Upload-Offset": str(offset), "Upload-Checksum": f"sha256 {digest}",
        "Content-Type": "application/offset+octet-stream",
    }  # fmt: skip


async def test_an_upload_goes_on_after_kill_9_and_nothing_acknowledged_is_missing(tmp_path: Path) -> None:
    stowed, uploaded = [ct_instance(side=64, InstanceNumber=n) for n in range(3)], ct_instance(side=512)
    tus = {"Tus-Resumable": "1.0.0"}
    site, admin = bearer(tmp_path, Role.SITE), bearer(tmp_path, Role.ADMIN)
    acknowledged = 0
    async with running(tmp_path) as (process, url), httpx2.AsyncClient(base_url=url, timeout=30) as client:
        body, media = multipart(stowed)
        sent = await client.post("/dicomweb/studies", content=body, headers=admin | {"Content-Type": media})
        assert sent.status_code == 200
        made = await client.post("/site/v1/uploads", headers=site | tus | {"Upload-Length": str(len(uploaded))})
        place = made.headers["Location"]
        for offset in (0, 100_000):
            chunk = uploaded[offset : offset + 100_000]
            done = await client.patch(place, content=chunk, headers=site | chunk_headers(chunk, offset))
            acknowledged = int(done.headers["Upload-Offset"])

        async def half_a_chunk() -> AsyncIterator[bytes]:
            yield uploaded[200_000:230_000]
            process.kill()
            await process.wait()
            yield uploaded[230_000:300_000]

        headers = site | chunk_headers(uploaded[200_000:300_000], 200_000)
        with pytest.raises(httpx2.HTTPError):
            await client.patch(place, content=half_a_chunk(), headers=headers)
    async with running(tmp_path) as (_, url), httpx2.AsyncClient(base_url=url, timeout=30) as client:
        head = await client.head(place, headers=site | tus)
        assert int(head.headers["Upload-Offset"]) == acknowledged == 200_000
        rest = uploaded[acknowledged:]
        done = await client.patch(place, content=rest, headers=site | chunk_headers(rest, acknowledged))
        assert done.status_code == 204
        async with asyncio.timeout(20):
            while (await client.get(f"{place}/status", headers=site)).json()["state"] != "ingested":
                await asyncio.sleep(0.02)
        for file in [*stowed, uploaded]:
            study, series, sop = uids_of(file)
            path = f"/dicomweb/studies/{study}/series/{series}/instances/{sop}"
            read = await client.get(path, headers=admin | {"Accept": "application/dicom"})
            assert read.content == file
        assert (await client.get("/dicomweb/instances", headers=admin)).headers["X-Total-Count"] == "4"
