"""The upload queue: an entry that fails by itself waits alone, a server that is away makes everybody wait."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import httpx2
import pytest

from consilium_core.clock import FakeClock
from consilium_core.errors import ConsiliumError
from consilium_core.site_protocol import AgentDescription, UploadStatus
from consilium_site.adapters.http_client import Http
from consilium_site.adapters.http_gateway import HttpGateway
from consilium_site.adapters.spool_folder import SpoolFolder
from consilium_site.domain.backoff import Backoff
from consilium_site.domain.spool import Manifest
from consilium_site.errors import ServerRefused, ServerUnavailable
from consilium_site.flow.upload import Uploader


def entry(capture_id: str, at: str) -> Manifest:
    return Manifest.model_validate(
        {
            "capture_id": capture_id, "command_id": "k", "room_id": "demo", "kind": "still", "sha256": "ab" * 32,
            "size_bytes": 3, "study_uid": "2.25.1", "series_uid": "2.25.2", "sop_instance_uid": "2.25.3",
            "sop_class_uid": "1.2", "frames": 1, "lossless": True, "media_epoch": 1, "frame_no": 1, "captured_at_us": 1,
            "spooled_at": at,
        }
    )  # fmt: skip


class Server:
    """Fails each attempt to create an upload of ``bad``; ends the others at once by the same way, after counting them."""

    def __init__(self, error: ConsiliumError) -> None:
        self.error = error
        self.asked: list[str] = []

    async def create(self, manifest: Manifest, filename: str) -> str:
        self.asked.append(manifest.capture_id)
        raise self.error


class Quiet:
    """A presence that nobody looks at."""

    def changed(self) -> None: ...


def uploader(folder: Path, server: Server | HoldingServer, clock: FakeClock) -> Uploader:
    spool = SpoolFolder(folder, 10**6)
    for number, name in enumerate(("first", "second", "third")):
        spool.put(entry(name, f"2030-01-01T00:00:0{number}.000Z"), b"abc")
    parts: Any = (spool, server, None, Quiet())
    spool_, uploads, reporter, presence = parts
    backoff = Backoff(first_s=30.0, max_s=30.0, chance=lambda: 1.0)
    return Uploader(spool_, uploads, reporter, presence, clock, backoff)


async def asked(server: Server | HoldingServer, count: int) -> list[str]:
    async with asyncio.timeout(20):
        while len(server.asked) < count:
            await asyncio.sleep(0.005)
    return server.asked


@pytest.mark.parametrize("error", [ServerRefused("no", status=422), ServerUnavailable("no", status=500)])
async def test_an_entry_that_fails_lets_the_others_pass_and_is_tried_again(
    tmp_path: Path, error: ConsiliumError
) -> None:
    clock, server = FakeClock(), Server(error)
    queue = uploader(tmp_path, server, clock)
    task = asyncio.create_task(queue.run())
    try:
        assert await asked(server, 3) == ["first", "second", "third"]
        clock.advance(31)
        queue.more()
        assert (await asked(server, 6))[3:] == ["first", "second", "third"]
        queue.server_back()
        assert (await asked(server, 9))[6:] == ["first", "second", "third"]
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_server_that_is_away_is_not_asked_once_for_every_entry(tmp_path: Path) -> None:
    clock, server = FakeClock(), Server(ServerUnavailable("The server does not answer.", cause="ConnectError"))
    queue = uploader(tmp_path, server, clock)
    task = asyncio.create_task(queue.run())
    try:
        await asked(server, 1)
        queue.server_back()
        assert (await asked(server, 2))[:2] == ["first", "first"]
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_door_that_asks_to_come_back_later_does_not_end_the_enrolment() -> None:
    busy = httpx2.MockTransport(lambda _: httpx2.Response(429, headers={"retry-after": "77"}, json={"detail": "slow"}))
    async with httpx2.AsyncClient(transport=busy, base_url="https://cloud.test") as client:
        gateway = HttpGateway(Http(client, "https://cloud.test"))
        with pytest.raises(ServerUnavailable) as later:
            await gateway.enroll("ABCDE12345", "nonce-0001", AgentDescription(name="a", version="1", boot_id="b"))
    assert later.value.retry_after_s == 77


class HoldingServer:
    """Takes every upload and says that its object waits in quarantine."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def create(self, manifest: Manifest, filename: str) -> str:
        return f"/site/v1/uploads/{manifest.capture_id}"

    async def offset(self, url: str) -> int:
        return 3

    async def send(self, url: str, offset: int, chunk: bytes) -> int:
        return offset + len(chunk)

    async def status(self, url: str) -> UploadStatus:
        self.asked.append(url.rsplit("/", maxsplit=1)[-1])
        problem = {"code": "instance-held", "detail": "kept in quarantine"}
        return UploadStatus(upload_id="u", state="held", offset=3, length=3, problem=problem)


async def test_sp35_a_held_object_stays_in_the_spool_lets_the_others_pass_and_is_asked_for_again(
    tmp_path: Path,
) -> None:
    clock, server = FakeClock(), HoldingServer()
    queue = uploader(tmp_path, server, clock)
    task = asyncio.create_task(queue.run())
    try:
        assert await asked(server, 3) == ["first", "second", "third"]
        clock.advance(61)
        queue.more()
        assert await asked(server, 6) == ["first", "second", "third"] * 2
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert len(SpoolFolder(tmp_path, 10**6).entries()) == 3
