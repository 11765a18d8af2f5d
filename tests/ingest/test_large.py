"""A large object passes through the archive without passing through its memory: stored, copied, read back (a real process)."""

from __future__ import annotations

import asyncio
import hashlib
import struct
import sys
from asyncio.subprocess import PIPE
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
from consilium_testkit.platforms import RealServers

pytestmark = pytest.mark.system

SIDE, FRAMES = 512, 600
FRAME_BYTES = SIDE * SIDE * 2
OBJECT_BYTES = FRAME_BYTES * FRAMES  # 300 MiB
BOUND_BYTES = 96 << 20
GRAYSCALE_WORD_SC = "1.2.840.10008.5.1.4.1.1.7.3"


def head() -> bytes:
    """Return the file up to its pixel data's value: a multi-frame image of 300 MiB."""
    whole = ct_instance(
        side=SIDE, SOPClassUID=GRAYSCALE_WORD_SC, Modality="OT", NumberOfFrames=FRAMES, ConversionType="WSD",
        PixelData=b"\0\0", BurnedInAnnotation="NO", PresentationLUTShape="IDENTITY", RescaleType="US",
        RescaleIntercept="0", FrameTimeVector=None, FrameTime="40", FrameIncrementPointer=0x00181063,
        ImagePositionPatient=None, ImageOrientationPatient=None, SliceThickness=None, KVP=None,
        SeriesInstanceUID=new_uid(),
    )  # fmt: skip
    at = whole.rindex(struct.pack("<HH", 0x7FE0, 0x0010))
    return whole[:at] + struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, OBJECT_BYTES)


async def pieces(first: bytes) -> AsyncIterator[bytes]:
    """Yield the file frame by frame; no two frames are alike."""
    yield first
    row = bytes(range(256)) * (FRAME_BYTES // 256)
    for number in range(FRAMES):
        yield struct.pack("<I", number) + row[4:]


@asynccontextmanager
async def running(folder: Path, store: dict[str, str]) -> AsyncIterator[tuple[int, str]]:
    """Serve both rooms, with a folder of second copies, in a process of their own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "consilium_testkit.archive_rooms", str(folder), stdout=PIPE,
        env={
            "PYTHONPATH": ":".join(sys.path), "PATH": "/usr/bin:/bin", "CONSILIUM_PLATFORM_COPY_STORE": "folder",
            "CONSILIUM_PLATFORM_COPY_DIR": str(folder / "copies"), "MALLOC_ARENA_MAX": "2", **store,
        },
    )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            yield process.pid, (await process.stdout.readline()).decode().strip()
    finally:
        process.kill()
        await process.wait()


class Watch:
    """The most anonymous memory that the process held while the block ran (what it maps of files is the kernel's to drop)."""

    def __init__(self, pid: int) -> None:
        self._status = Path(f"/proc/{pid}/status")
        self.before = self.most = self.now()
        self.looks = 0

    def now(self) -> int:
        """Return RssAnon in bytes."""
        line = next(line for line in self._status.read_text().splitlines() if line.startswith("RssAnon"))
        return int(line.split()[1]) << 10

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            self.most = max(self.most, self.now())
            self.looks += 1
            await asyncio.sleep(0.005)


@asynccontextmanager
async def watched(pid: int) -> AsyncIterator[Watch]:
    watch = Watch(pid)
    task = asyncio.create_task(watch.run())
    try:
        yield watch
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def through(client: httpx2.AsyncClient, first: bytes) -> tuple[int, str]:
    """Store the large object, wait for its copy, read it back; return the size and SHA-256 of what was read."""
    sent = await client.post("/dicomweb/studies", content=pieces(first), headers={"Content-Type": "application/dicom"})
    assert sent.status_code == 200, sent.text[:2000]
    path = sent.json()["00081199"]["Value"][0]["00081190"]["Value"][0]
    study = sent.json()["00081190"]["Value"][0].rsplit("/", 1)[1]
    async with asyncio.timeout(120):
        while (await client.get(f"/api/v1/ingest/storage/studies/{study}")).json()["copy"] != {"copied": 1}:
            await asyncio.sleep(0.05)
    back, size = hashlib.sha256(), 0
    async with client.stream("GET", path, headers={"Accept": "application/dicom"}) as read:
        assert read.status_code == 200
        async for chunk in read.aiter_bytes():
            back.update(chunk)
            size += len(chunk)
    return size, back.hexdigest()


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.servers)])
def store(request: pytest.FixtureRequest) -> dict[str, str]:
    """Return the settings of the first place."""
    if request.param == "folder":
        return {}
    real: RealServers = request.getfixturevalue("real_servers")
    given = {"ENDPOINT": real.s3.endpoint, "ACCESS_KEY": real.s3.access_key, "SECRET_KEY": real.s3.secret_key}
    named = {f"CONSILIUM_PLATFORM_S3_{name}": value for name, value in given.items()}
    return {"CONSILIUM_PLATFORM_BLOB_STORE": "s3", "CONSILIUM_PLATFORM_S3_BUCKET": "large", **named}


async def test_300_mib_are_stored_copied_and_read_within_96_mib(tmp_path: Path, store: dict[str, str]) -> None:
    ensure_embedded_keys(tmp_path / "keys")
    claims = Claims("user", "admin", "demo", Role.ADMIN, "admin")
    token = load_signer(tmp_path / "keys" / "users.json", SystemClock()).sign(claims)
    first, digest = head(), hashlib.sha256()
    async for piece in pieces(first):
        digest.update(piece)
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        running(tmp_path, store) as (pid, url),
        httpx2.AsyncClient(base_url=url, timeout=120, headers=headers) as client,
    ):
        small = ct_instance(side=64)  # what is loaded once is not the large object's
        media = {"Content-Type": "application/dicom"}
        assert (await client.post("/dicomweb/studies", content=small, headers=media)).status_code == 200
        async with watched(pid) as watch:
            size, back = await through(client, first)
    assert (size, back) == (len(first) + OBJECT_BYTES, digest.hexdigest())
    assert size in [one.stat().st_size for one in (tmp_path / "copies").rglob("*.dcm")]
    assert watch.looks > 50
    assert watch.most - watch.before < BOUND_BYTES, f"{(watch.most - watch.before) >> 20} MiB"
