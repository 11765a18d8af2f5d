"""The long poll ``GET /site/v1/commands?wait=W&cursor=N`` as bare ASGI (SP-20): thousands wait, none asks the database meanwhile.

It stands before FastAPI's routing: an idle poll is one coroutine, one future and one task that watches for the hang-up.
"""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import parse_qsl

from prometheus_client import Gauge
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from consilium_core.errors import ConsiliumError, Denied, Invalid
from consilium_core.ids import new_ulid
from consilium_core.roles import Permission, Principal
from consilium_core.site_protocol import PollReply
from consilium_gateway.api.parts import note_revoked
from consilium_gateway.errors import SiteRevoked
from consilium_gateway.flow.commands import offer
from consilium_gateway.flow.desk import Desk
from consilium_platform.http.auth import authorize
from consilium_platform.http.problems import problem_response, status_of

PATH = "/site/v1/commands"
WAITING = Gauge("consilium_gateway_polls_waiting", "Long polls that wait for a command.")


class Poll:
    """The endpoint; ``state`` is the app's, which holds verifier and audit."""

    def __init__(self, desk: Desk, app: Any) -> None:
        self._desk = desk
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = self._app
        try:
            agent = await self._agent(scope)
            wait_s, cursor = self._query(scope)
            await self._desk.presence.touch(agent.subject)
            reply = await self._wait(agent, wait_s, cursor, receive)
        except ConsiliumError as error:
            if isinstance(error, SiteRevoked):
                await note_revoked(Request(scope))
            await _problem(error)(scope, receive, send)
            return
        if reply is None:
            await Response(status_code=204)(scope, receive, send)
            return
        await Response(reply.model_dump_json(), media_type="application/json")(scope, receive, send)

    async def _agent(self, scope: Scope) -> Principal:
        principal = await authorize(Request(scope), Permission.SITE_WORK)
        if principal.kind != "site":
            raise Denied("Only a site's agent may call this.")
        return principal

    def _query(self, scope: Scope) -> tuple[float, int]:
        given = dict(parse_qsl(scope["query_string"].decode("latin-1")))
        try:
            wait_s, cursor = float(given.get("wait", "0")), int(given.get("cursor", "0"))
        except ValueError:
            raise Invalid("wait (seconds) and cursor must be numbers.") from None
        if not 0 <= wait_s <= 3600 or not 0 <= cursor < 2**62:
            raise Invalid("wait is between 0 and 50 seconds, cursor is not negative.")
        return min(wait_s, self._desk.settings.poll_wait_max_s), cursor

    async def _wait(self, agent: Principal, wait_s: float, cursor: int, receive: Receive) -> PollReply | None:
        loop, hub = asyncio.get_running_loop(), self._desk.wakeups
        ends = loop.time() + wait_s
        gone: asyncio.Task[None] | None = None
        try:
            while True:
                with hub.waiting(f"site:{agent.subject}") as waiter:
                    reply = await offer(self._desk, agent, cursor)
                    left = ends - loop.time()
                    if reply is not None or left <= 0 or hub.closed:
                        return reply
                    gone = gone or asyncio.create_task(_hung_up(receive), name="poll-hang-up")
                    with WAITING.track_inprogress():
                        await asyncio.wait((waiter, gone), timeout=left, return_when=asyncio.FIRST_COMPLETED)
                if gone.done() or not waiter.done():
                    await self._desk.presence.touch(agent.subject)
                    return None
        finally:
            if gone is not None:
                gone.cancel()


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _problem(error: ConsiliumError) -> Response:
    return problem_response(
        status_of(error), error.code, error.detail, mend=error.mend, reference=new_ulid(), facts=error.facts
    )
