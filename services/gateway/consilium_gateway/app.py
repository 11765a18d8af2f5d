"""The gateway's composition root: lays out the desk, the endpoints and the door, and runs the clockwork.

``open_service`` yields the FastAPI app, which answers ``/internal`` too and is what other services call. ``door_of(app)`` is what
the outside gets: serve that one on the public port. On a cluster ``internal_port`` opens the app to the other pods.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import httpx2
from fastapi import FastAPI, Request, Response
from starlette.types import ASGIApp, Scope

from consilium_core.errors import Unavailable
from consilium_gateway.adapters.inner import inner_server
from consilium_gateway.adapters.passwords import open_passwords
from consilium_gateway.adapters.proxy import ProxyUpstream
from consilium_gateway.adapters.web import WebFiles
from consilium_gateway.api import about, agent, audit, events, session, sites
from consilium_gateway.api.parts import address_of, note_revoked
from consilium_gateway.api.poll import Poll
from consilium_gateway.domain.limits import TryLimit
from consilium_gateway.door import Door
from consilium_gateway.errors import SiteRevoked
from consilium_gateway.flow.desk import Desk
from consilium_gateway.flow.presence import Presence
from consilium_gateway.flow.ticker import ticking
from consilium_gateway.flow.wakeups import WakeHub
from consilium_gateway.settings import GatewaySettings
from consilium_platform.http.app import create_app
from consilium_platform.http.problems import answer_of
from consilium_platform.http.refusals import Refusals
from consilium_platform.platform import Ping, Platform

_ROUTERS = (session.router, sites.router, agent.router, events.router, audit.router, about.router)
_WINDOW_S = 900.0


@asynccontextmanager
async def open_service(
    platform: Platform,
    settings: GatewaySettings | None = None,
    upstreams: Mapping[str, ASGIApp] | None = None,
    web_dist: Path | None = None,
) -> AsyncIterator[FastAPI]:
    """Open the gateway.

    ``upstreams`` are the other services' apps by name when they live in this process; those that are missing are forwarded to
    the URL that ``platform.services`` knows, if any. ``web_dist`` is the folder of the built web client.
    """
    settings = settings or GatewaySettings.load()
    async with AsyncExitStack() as stack:
        passwords = await stack.enter_async_context(open_passwords())
        clock = platform.clock
        desk = Desk(
            platform, settings, passwords, WakeHub(), Presence(platform, settings.offline_after_s),
            sign_in_tries=TryLimit(clock, 5, _WINDOW_S), address_tries=TryLimit(clock, 60, _WINDOW_S),
            enrol_tries=TryLimit(clock, 5, _WINDOW_S), token_tries=TryLimit(clock, 60, _WINDOW_S),
            refusals=Refusals(platform.audit, clock),
        )  # fmt: skip
        inside = dict(upstreams or {})
        app = create_app("gateway", platform, {name: _ready(name, other) for name, other in inside.items()})
        app.state.desk, app.state.upstreams, app.state.openapi = desk, inside, None
        app.state.revoked = None  # every call of an agent asks the table of sites itself
        app.add_exception_handler(SiteRevoked, _revoked)
        app.state.event_streams, app.state.poll = Counter(), Poll(desk, app)
        for router in _ROUTERS:
            app.include_router(router)
        outside = await _proxies(stack, platform, settings, inside)
        app.state.door = Door(
            app, app.state.poll, WebFiles(web_dist), {**outside, **inside}, client_address=_client_address(settings),
            max_json_bytes=settings.max_json_bytes, max_upload_bytes=settings.max_upload_bytes,
        )  # fmt: skip
        await stack.enter_async_context(ticking(desk))
        if settings.internal_port is not None:
            await stack.enter_async_context(inner_server(app, settings.internal_host, settings.internal_port))
        stack.callback(desk.wakeups.close)
        yield app


def door_of(app: FastAPI) -> ASGIApp:
    """Return the app for the public port: everything behind one address, nothing under ``/internal``."""
    door: ASGIApp = app.state.door
    return door


def begin_shutdown(app: FastAPI) -> None:
    """Let long polls and event streams end now; call it before the server waits for its connections."""
    desk: Desk = app.state.desk
    desk.wakeups.close()


async def _revoked(request: Request, error: Exception) -> Response:
    assert isinstance(error, SiteRevoked)  # noqa: S101 - the handler of this class alone
    await note_revoked(request)
    return answer_of(request, error)


def _client_address(settings: GatewaySettings) -> Callable[[Scope], str]:
    return partial(address_of, trusted_hops=settings.trusted_proxy_hops)


def _peer_address(scope: Scope) -> str:
    """Return the client's address as the door has written it into the scope."""
    return address_of(scope, 0)


async def _proxies(
    stack: AsyncExitStack, platform: Platform, settings: GatewaySettings, inside: Mapping[str, ASGIApp]
) -> dict[str, ASGIApp]:
    proxies: dict[str, ASGIApp] = {}
    for name in ("ingest", "imaging", "live", "consult"):
        url = platform.services.url(name)
        if name not in inside and url is not None:
            proxy = ProxyUpstream(url, client_address=_peer_address)
            stack.push_async_callback(proxy.aclose)
            proxies[name] = proxy
    return proxies


def _ready(name: str, app: ASGIApp) -> Ping:
    """Return a ping that asks a service of this process for its own readiness."""

    async def ping() -> None:
        transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url=f"http://{name}.internal", timeout=3) as client:
            response = await client.get("/readyz")
        if response.status_code != 200:
            try:
                answers = response.json()["dependencies"]
            except (ValueError, KeyError):
                answers = {}
            broken = ", ".join(f"{key}: {value}" for key, value in answers.items() if value != "ok")
            raise Unavailable(f"not ready ({broken or response.status_code})")

    return ping
