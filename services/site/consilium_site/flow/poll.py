"""The agent's heartbeat: hello, then one long poll after another, each command handed to the desk (SP-13, SP-20 to SP-23)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from consilium_core.clock import Clock
from consilium_core.errors import ConsiliumError
from consilium_core.site_protocol import SessionReply, SessionRequest
from consilium_site.domain.backoff import Backoff, PollWait
from consilium_site.errors import IdentityRefused, SessionRequired
from consilium_site.flow.obey import CommandDesk
from consilium_site.ports import Server

log = structlog.get_logger(__name__)


class Poller:
    """Owns the session and the poll loop."""

    def __init__(
        self,
        server: Server,
        desk: CommandDesk,
        clock: Clock,
        hello: Callable[[], Awaitable[SessionRequest]],
        backoff: Backoff,
        on_session: Callable[[], None],
    ) -> None:
        self._on_session = on_session
        self._server = server
        self._desk = desk
        self._clock = clock
        self._hello = hello
        self._backoff = backoff
        self._wait = PollWait()
        self._cursor = 0
        self._away = False
        self.in_session = asyncio.Event()

    async def run(self) -> None:
        """Keep a session and poll for ever."""
        while True:
            try:
                if not self.in_session.is_set():
                    await self._begin()
                await self._poll()
                self._backoff.reset()
            except SessionRequired:
                self.in_session.clear()
            except ConsiliumError as error:
                await self._recover(error)

    async def _begin(self) -> None:
        reply: SessionReply = await self._server.session(await self._hello())
        self._desk.note_server_time(reply.server_time)
        self._desk.lease_renew_s = reply.intervals.lease_renew_s
        self._wait = PollWait(max_s=min(50.0, max(1.0, reply.intervals.poll_wait_s)))
        self._backoff.max_s = reply.intervals.backoff_max_s
        self._cursor = reply.cursor
        self.in_session.set()
        self._on_session()
        log.info("session_started", clock_offset_s=round(self._desk.clock_offset_s, 3))

    async def _poll(self) -> None:
        began_s = self._clock.monotonic()
        try:
            answer = await self._server.poll(self._wait.wait_s, self._cursor)
        except ConsiliumError as error:
            if getattr(error, "cut", False):
                self._wait.was_cut()
            self._away = True
            raise
        if self._away:
            self._away = False
            self._on_session()
        self._desk.note_server_time(answer.server_time)
        for raw in answer.commands:
            await self._desk.receive(raw)
            seq = raw.get("seq")
            self._cursor = max(self._cursor, seq if isinstance(seq, int) else 0)
        self._cursor = max(self._cursor, answer.cursor)
        if answer.commands:
            self._wait.answered()
        elif self._clock.monotonic() - began_s >= self._wait.wait_s * 0.9:
            self._wait.lasted()
        else:
            await asyncio.sleep(self._backoff.next_delay_s())

    async def _recover(self, error: ConsiliumError) -> None:
        cut_once = getattr(error, "cut", False) and self._wait.cuts == 1
        least_s = getattr(error, "retry_after_s", 0.0)
        if isinstance(error, IdentityRefused):
            self.in_session.clear()
            least_s = self._backoff.max_s
        delay_s = 0.0 if cut_once and not least_s else self._backoff.next_delay_s(least_s)
        log.warning("poll_interrupted", code=error.code, delay_s=round(delay_s, 2))
        await asyncio.sleep(delay_s)
