"""What happens to a command: read, judged, acknowledged, remembered, done once, answered (SP-24 to SP-29).

``CommandDesk.receive`` takes polled commands in order; each accepted one runs in a task of its own whose lease ``run_leases`` renews.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import structlog

from consilium_core.clock import Clock
from consilium_core.errors import ConsiliumError
from consilium_core.site_protocol import Ack, AgentEventType, CaptureClip, CaptureMark, Command, Result
from consilium_site.domain.backoff import Backoff
from consilium_site.domain.orders import Policy, Refusal, read_command, verdict
from consilium_site.errors import ServerRefused, ServerUnavailable
from consilium_site.flow.report import Reporter
from consilium_site.flow.tasks import Tasks
from consilium_site.ports import Memory, OpenCommand, Server, Spool

log = structlog.get_logger(__name__)
_ACK_TIMEOUT_S = 5.0
_ACK_RETRY_S, _ACK_RETRY_MAX_S = 0.25, 2.0
Handler = Callable[[Command], Awaitable[dict[str, Any]]]


class CommandDesk:
    """Receives commands and sees to their outcome; the composition root closes it."""

    def __init__(
        self, memory: Memory, server: Server, reporter: Reporter, policy: Policy, clock: Clock, handler: Handler
    ) -> None:
        self._memory = memory
        self._server = server
        self._reporter = reporter
        self._policy = policy
        self._clock = clock
        self._handler = handler
        self._tasks = Tasks()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._cancelled: set[str] = set()
        self.clock_offset_s = 0.0
        self.lease_renew_s = 20.0

    def note_server_time(self, server_time: datetime | None) -> None:
        """Learn how far the server's clock is ahead of ours."""
        if server_time is not None:
            self.clock_offset_s = (server_time - self._clock.now()).total_seconds()

    def _server_now(self) -> datetime:
        return self._clock.now() + timedelta(seconds=self.clock_offset_s)

    async def settle_interrupted(self, spool: Spool) -> None:
        """Answer what an earlier run accepted and did not finish (SP-28)."""
        for command in await asyncio.to_thread(self._memory.interrupted):
            manifest = await asyncio.to_thread(spool.find, command.capture_id) if command.capture_id else None
            if manifest is not None:
                result = Result(outcome="succeeded", data=manifest.outcome())
            else:
                result = _failed("agent-restarted", "The agent was restarted before the command was done.")
                if command.capture_id:
                    await self._capture_failed(command.capture_id, command.room_id, result)
            await self._reporter.finish(command.command_id, result)

    async def receive(self, raw: dict[str, Any]) -> None:
        """Take one polled command: acknowledge it and start it.

        A refusal that can't be told raises, the poll brings the command again. An acceptance that may or may not have arrived is
        repeated until it is answered (SP-24): the server can hold the command for running while its answer was lost.
        """
        command = read_command(raw)
        if isinstance(command, Refusal):
            await self._refuse(command)
            return
        open_command = OpenCommand(
            command.id,
            command.type,
            getattr(command.args, "capture_id", ""),
            getattr(command.args, "room_id", ""),
        )
        if not await asyncio.to_thread(self._memory.note_received, open_command):
            await self._ack(command.id, Ack(verdict="accepted"))
            if await asyncio.to_thread(self._memory.deliver_again, command.id):
                self._reporter.wake()
            return
        refusal = verdict(command, self._policy, self._server_now())
        if refusal is not None:
            await asyncio.to_thread(self._memory.drop_command, command.id)
            await self._refuse(refusal)
            return
        try:
            accepted = await self._ack(command.id, Ack(verdict="accepted"))
        except ConsiliumError as error:
            log.warning("ack_unanswered", command_id=command.id, code=error.code)
            self._tasks.start(f"accept-{command.id}", self._accept_later(command))
            return
        await self._begin(command, accepted)

    async def _accept_later(self, command: Command) -> None:
        """Repeat the acceptance until it is answered; a command whose deadline passes meanwhile has failed."""
        backoff = Backoff(first_s=_ACK_RETRY_S, max_s=_ACK_RETRY_MAX_S)
        while self._server_now() < command.deadline:
            await asyncio.sleep(backoff.next_delay_s())
            try:
                accepted = await self._ack(command.id, Ack(verdict="accepted"))
            except ConsiliumError as error:
                log.info("ack_unanswered", command_id=command.id, code=error.code)
                continue
            await self._begin(command, accepted)
            return
        await self._not_done(command, _failed("deadline", "The server could not be reached before the deadline."))

    async def _begin(self, command: Command, accepted: bool) -> None:
        """Start an accepted command; forget one that the server does not want any more."""
        if not accepted:
            await asyncio.to_thread(self._memory.drop_command, command.id)
            return
        await asyncio.to_thread(self._memory.note_accepted, command.id)
        log.info("command_accepted", command_id=command.id, type=command.type.value)
        self._running[command.id] = self._tasks.start(f"command-{command.id}", self._do(command))

    async def _refuse(self, refusal: Refusal) -> None:
        log.warning("command_refused", command_id=refusal.command_id, reason=refusal.reason)
        await self._ack(refusal.command_id, Ack(verdict="refused", reason=refusal.reason))

    async def _ack(self, command_id: str, ack: Ack) -> bool:
        """Send an ack; False when the server does not want it any more (SP-24). Errors of the link, a late answer too, are raised."""
        try:
            async with asyncio.timeout(_ACK_TIMEOUT_S):
                await self._server.ack(command_id, ack)
        except ServerRefused as error:
            log.info("ack_not_wanted", command_id=command_id, status=error.status)
            return False
        except TimeoutError:
            raise ServerUnavailable("The server did not answer the acknowledgement in time.") from None
        return True

    async def _do(self, command: Command) -> None:
        left_s = max(1.0, (command.deadline - self._server_now()).total_seconds())
        try:
            async with asyncio.timeout(left_s):
                data = await self._handler(command)
            result = Result(outcome="succeeded", data=data)
        except TimeoutError:
            result = _failed("deadline", "The command was not done before its deadline.")
        except ConsiliumError as error:
            result = _failed(error.code, error.detail)
        except asyncio.CancelledError:
            if command.id not in self._cancelled:
                raise
            result = Result(outcome="cancelled")
        except Exception:
            log.exception("command_failed", command_id=command.id, type=command.type.value)
            result = _failed("internal", "The agent failed; its log says why.")
        finally:
            self._running.pop(command.id, None)
        if result.outcome == "failed":
            await self._not_done(command, result)
            return
        await self._reporter.finish(command.id, result)

    async def _not_done(self, command: Command, result: Result) -> None:
        """Report a command that failed; a capture's failure is an event too."""
        log.warning("command_not_done", command_id=command.id, type=command.type.value, code=result.data["code"])
        if isinstance(command.args, CaptureMark | CaptureClip):
            await self._capture_failed(command.args.capture_id, command.args.room_id, result)
        await self._reporter.finish(command.id, result)

    async def _capture_failed(self, capture_id: str, room_id: str, result: Result) -> None:
        facts = {"capture_id": capture_id, "room_id": room_id, "code": result.data["code"], "detail": result.detail}
        await self._reporter.add(AgentEventType.CAPTURE_FAILED, facts)

    async def run_leases(self) -> None:
        """Renew the leases of running commands for ever (SP-27)."""
        while True:
            await asyncio.sleep(self.lease_renew_s)
            mine = list(self._running)
            if not mine:
                continue
            try:
                reply = await self._server.renew(mine)
            except ConsiliumError as error:
                log.warning("lease_renewal_failed", code=error.code)
                continue
            for command_id in mine:
                if command_id in reply.cancel_requested:
                    self._cancelled.add(command_id)
                    self._cancel(command_id)
                elif command_id not in reply.renewed:
                    self._cancel(command_id)

    def _cancel(self, command_id: str) -> None:
        task = self._running.get(command_id)
        if task is not None:
            task.cancel()

    async def close(self) -> None:
        """Stop what runs; it is answered at the next start (SP-28)."""
        await self._tasks.close()


def _failed(code: str, detail: str) -> Result:
    return Result(outcome="failed", detail=detail, data={"code": code})
