"""The gateway opened on a platform, and clients that speak to its door or its inner app."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from fastapi import FastAPI
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from consilium_core.clock import FakeClock
from consilium_core.roles import Role
from consilium_gateway.adapters import passwords
from consilium_gateway.app import door_of, open_service
from consilium_gateway.flow.desk import Desk
from consilium_gateway.flow.sites import create_site
from consilium_gateway.flow.users import User, ensure_user
from consilium_gateway.settings import GatewaySettings
from consilium_platform.platform import Platform, open_platform
from consilium_platform.settings import PlatformSettings
from consilium_testkit.platforms import bearer, with_copy

PASSWORD = "correct horse battery staple"


@dataclass(frozen=True)
class Agent:
    """An enrolled site's identity, as its agent holds it."""

    site_id: str
    token: str
    secret: str

    @property
    def headers(self) -> dict[str, str]:
        """Return its Authorization header."""
        return {"Authorization": f"Bearer {self.token}"}


@dataclass(frozen=True)
class Opened:
    """A running gateway and what tests do with it."""

    platform: Platform
    app: FastAPI
    http: httpx2.AsyncClient

    @property
    def desk(self) -> Desk:
        """Return the desk behind the endpoints."""
        return self.app.state.desk

    def as_(self, role: Role, **claims: Any) -> dict[str, str]:
        """Return the Authorization header of somebody with the role."""
        return bearer(self.platform, role, **claims)

    async def user(self, username: str = "specialist", role: Role = Role.SPECIALIST, password: str = PASSWORD) -> User:
        """Return an account with the password."""
        made, _ = await ensure_user(
            self.platform.database, username=username, name=username.title(), role=role, password=password
        )
        return made

    async def sign_in(self, username: str = "specialist", password: str = PASSWORD) -> httpx2.Response:
        """Sign in at the door."""
        return await self.http.post("/api/v1/session", json={"username": username, "password": password})

    async def code(self, name: str = "County hospital") -> tuple[str, str]:
        """Return a new site's id and enrolment code."""
        new = await create_site(self.platform.database, self.platform.clock, name=name)
        return new.site_id, new.code

    async def enrol(self, code: str, nonce: str = "nonce-0001") -> httpx2.Response:
        """Enrol at the door."""
        return await self.http.post("/site/v1/enroll", json={"code": code, "nonce": nonce, "agent": AGENT})

    async def agent(self, name: str = "County hospital", *, hello: bool = True) -> Agent:
        """Return an enrolled agent, its session opened."""
        _, code = await self.code(name)
        reply = (await self.enrol(code)).raise_for_status().json()
        agent = Agent(reply["site_id"], reply["access_token"], reply["refresh_secret"])
        if hello:
            (await self.hello(agent)).raise_for_status()
        return agent

    async def hello(self, who: Agent, **more: Any) -> httpx2.Response:
        """Open the agent's session."""
        body = {"agent": AGENT, "sent_at": self.platform.clock.now().isoformat(), **more}
        return await self.http.post("/site/v1/session", headers=who.headers, json=body)

    async def order(self, site_id: str, args: dict[str, Any], *, tenant: str = "demo", deadline_s: float = 30) -> Any:
        """Issue a command as a service does."""
        body = {"args": args, "deadline_s": deadline_s, "actor": "specialist"}
        path = f"/internal/v1/sites/{site_id}/commands"
        return await self.platform.services.call("gateway", "POST", path, tenant=tenant, caller="live", json=body)

    async def command(self, command_id: str) -> Any:
        """Read a command as a service does."""
        path = f"/internal/v1/sites/commands/{command_id}"
        return await self.platform.services.call("gateway", "GET", path, tenant="demo", caller="live")

    async def poll(self, agent: Agent, cursor: int = 0, wait: float = 0) -> httpx2.Response:
        """Poll at the door."""
        params = {"wait": str(wait), "cursor": str(cursor)}
        return await self.http.get("/site/v1/commands", params=params, headers=agent.headers, timeout=60)

    async def audited(self, action: str) -> list[dict[str, Any]]:
        """Return the trail's entries of an action, newest first."""
        return await self.platform.audit.search("demo", action=action)


CHEAP = PasswordHash((Argon2Hasher(time_cost=1, memory_cost=64, parallelism=1),))


@pytest.fixture(autouse=True)
def _cheap_passwords(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash with little memory, except in tests whose name asks for the real cost."""
    if "real_cost" not in request.node.name:
        monkeypatch.setattr(passwords, "_HASHER", CHEAP)
        monkeypatch.setattr(passwords, "NOBODY", CHEAP.hash("nobody"))


AGENT = {"name": "consilium-site", "version": "0.1.0", "boot_id": "boot-1"}
STOP = {"type": "stream.stop", "room_id": "demo"}
Open = Callable[..., Any]


@asynccontextmanager
async def opened(
    platform: Platform, web: Path | None = None, upstreams: Any = None, **settings: Any
) -> AsyncIterator[Opened]:
    """Open a gateway on the platform; clients talk to its door."""
    loaded = GatewaySettings.load(**settings)
    async with open_service(platform, loaded, upstreams, web) as app:
        platform.services.register("gateway", app)
        transport = httpx2.ASGITransport(door_of(app), client=("10.0.0.1", 1234))
        async with httpx2.AsyncClient(transport=transport, base_url="http://door.test") as http:
            yield Opened(platform, app, http)


@pytest_asyncio.fixture
async def gateway(platform: Platform) -> AsyncIterator[Opened]:
    """Yield a gateway in the embedded world."""
    async with opened(platform) as running:
        yield running


@pytest_asyncio.fixture
async def any_gateway(any_platform: Platform) -> AsyncIterator[Opened]:
    """Yield a gateway in each world."""
    async with opened(any_platform) as running:
        yield running


@dataclass(frozen=True)
class Clocked(Opened):
    """A gateway whose time the test turns."""

    clock: FakeClock


@pytest_asyncio.fixture
async def clocked(tmp_path: Path, migrated_file: Path) -> AsyncIterator[Clocked]:
    """Yield an embedded gateway under a clock that moves only when told to; its ticker waits for ``Ticker.tick``."""
    clock = FakeClock()
    settings = with_copy(PlatformSettings.load(data_dir=tmp_path / "data"), migrated_file)
    async with open_platform(settings, clock=clock, migrate=False) as platform, opened(platform, tick_s=30) as running:
        yield Clocked(running.platform, running.app, running.http, clock)
