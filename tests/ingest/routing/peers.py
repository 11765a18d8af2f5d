"""Destinations of routing: real peers on ports of this machine, and what waits for a condition."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from pynetdicom import AE, AllStoragePresentationContexts, evt

from consilium_core.roles import Role
from consilium_ingest.dimse.settings import DimseSettings
from consilium_ingest.routing.settings import RoutingSettings
from consilium_platform.platform import Platform
from consilium_testkit.archive_rooms import archive_door, door_client
from consilium_testkit.platforms import bearer
from consilium_testkit.servers import free_port

BASE = "/api/v1/ingest/routing"
DICOM = {"Content-Type": "application/dicom"}


@dataclass
class Scp:
    """A C-STORE SCP: what it was given (SOP Instance UID: data set), by whom, and the status it answers."""

    port: int
    got: list[tuple[str, bytes]] = field(default_factory=list)
    callers: set[str] = field(default_factory=set)
    status: int = 0

    @property
    def uids(self) -> list[str]:
        """Return which instances came, in order."""
        return [uid for uid, _ in self.got]


@contextmanager
def scp(title: str = "UPPER", port: int = 0, status: int = 0) -> Iterator[Scp]:
    """Run a pynetdicom SCP that takes every storage class in explicit little endian."""
    peer = Scp(port or free_port(), status=status)

    def store(event: Any) -> int:
        peer.callers.add(event.assoc.requestor.ae_title)
        if peer.status == 0:
            peer.got.append((str(event.request.AffectedSOPInstanceUID), event.request.DataSet.getvalue()))
        return peer.status

    ae = AE(ae_title=title)
    ae.require_called_aet = True
    for context in AllStoragePresentationContexts:
        ae.add_supported_context(str(context.abstract_syntax), "1.2.840.10008.1.2.1")
    server = ae.start_server(("127.0.0.1", peer.port), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    try:
        yield peer
    finally:
        assert server is not None
        server.shutdown()


def to_scp(port: int, name: str = "upper", **more: Any) -> dict[str, Any]:
    """Return the setting of such a destination."""
    found = {"kind": "dimse", "tenant": "demo", "name": name, "host": "127.0.0.1", "port": port, "called": "UPPER"}
    return found | more


def to_stow(url: str, name: str = "cloud", **more: Any) -> dict[str, Any]:
    """Return the setting of a DICOMweb destination."""
    return {"kind": "stow", "tenant": "demo", "name": name, "url": f"{url}/dicomweb", **more}


def settings(*destinations: dict[str, Any], **more: Any) -> RoutingSettings:
    """Return settings that don't let a test wait."""
    quick = {"poll_s": 0.05, "breaker_first_s": 300.0, "breaker_failures": 2, "connect_s": 5.0, "answer_s": 20.0}
    return RoutingSettings.load(destinations=destinations, **quick | more)


@asynccontextmanager
async def opened(
    platform: Platform, routing: RoutingSettings, *, dimse: bool = False, role: Role = Role.ADMIN
) -> AsyncIterator[tuple[httpx2.AsyncClient, Any]]:
    """Open both rooms with these destinations; yield an administrator's client and ingest's app."""
    door_settings = DimseSettings.load(port=0 if dimse else None)
    async with (
        archive_door(platform, routing=routing, dimse=door_settings) as door,
        door_client(door, bearer(platform, role)) as client,
    ):
        yield client, door.ingest


async def rule(client: httpx2.AsyncClient, destination: str, **more: Any) -> dict[str, Any]:
    """Make a rule."""
    made = await client.post(f"{BASE}/rules", json={"name": f"to {destination}", "destination": destination, **more})
    assert made.status_code == 201, made.text
    found: dict[str, Any] = made.json()
    return found


async def stored(client: httpx2.AsyncClient, *files: bytes) -> None:
    """Store files by STOW-RS, one by one."""
    for file in files:
        assert (await client.post("/dicomweb/studies", content=file, headers=DICOM)).status_code == 200


async def until(condition: Callable[[], Awaitable[bool]] | Callable[[], bool], what: str) -> None:
    """Wait until a condition holds."""
    try:
        async with asyncio.timeout(60):
            while True:
                found = condition()
                if found if isinstance(found, bool) else await found:
                    return
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"never: {what}") from None


async def standing(client: httpx2.AsyncClient, study: str) -> dict[tuple[str, str], int]:
    """Return how many instances of a study stand in which state at which destination."""
    found = (await client.get(f"{BASE}/studies/{study}")).json()["destinations"]
    return {(one["destination"], one["state"]): one["instances"] for one in found}


def token_file(folder: Path, headers: dict[str, str]) -> str:
    """Write the token of an Authorization header into a file; return its path."""
    path = folder / "token"
    path.write_text(headers["Authorization"].removeprefix("Bearer ") + "\n")
    return str(path)
