"""Decides of transactions and delivers their reports: at once where the caller waits, else in the long task that any process may run.

Nothing depends on a process: a row that nobody finishes is due again when its lease ends. A store that does not answer decides nothing;
the question is asked again with growing pauses, and only after ``give_up_s`` of them it fails (0110H). So does a report that nobody takes. Only
attempts count, not the time that no process ran.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

import structlog

from consilium_archive.commitment import judge, refused
from consilium_core.errors import ConsiliumError
from consilium_ingest.commitment import measures
from consilium_ingest.commitment.errors import ReportFailed
from consilium_ingest.commitment.rows import CommitmentRows
from consilium_ingest.commitment.transactions import State, Transaction
from consilium_platform.blobs import Stores
from consilium_platform.tasks import end_task

log = structlog.get_logger()
LEASE_S = 150.0  # of a claimed row; an attempt to deliver takes at most DELIVERY_S
DELIVERY_S = 120.0
_AT_ONCE = 4
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 5.0, 900.0


class Deliver(Protocol):
    """How a report goes to its requester on an association of its own."""

    async def __call__(self, transaction: Transaction) -> str:
        """Return how it was delivered, once the requester has confirmed it; raise ReportFailed."""
        ...


def pause_s(attempts: int) -> float:
    """Return how long to wait after so many attempts: 5 s, doubled each time, at most 15 min."""
    return float(min(_FIRST_PAUSE_S * 2 ** min(attempts - 1, 16), _LONGEST_PAUSE_S))


def most_attempts(give_up_s: float) -> int:
    """Return how many attempts there are until their pauses come to ``give_up_s``; at least one."""
    attempts, paused_s = 1, 0.0
    while (paused_s := paused_s + pause_s(attempts)) < give_up_s:
        attempts += 1
    return attempts


@dataclass(frozen=True, slots=True)
class Keeper:
    """What deciding and delivering need."""

    rows: CommitmentRows
    stores: Stores
    deliver: Deliver
    give_up_s: float

    async def settle(self, known: Transaction) -> Transaction:
        """Decide of a transaction unless that is done; raise Unavailable when index or store do not answer."""
        if known.verdicts is not None:
            return known
        verdicts = await judge(self.rows.database, self.stores, known.requester.tenant, known.ask.references)
        for verdict in verdicts:
            measures.INSTANCES.labels(verdict.why or "committed").inc()
        return await self.rows.decide(known, verdicts)

    async def delivered(self, known: Transaction, how: str) -> None:
        """Write that the requester has confirmed the report."""
        measures.REPORTS.labels("delivered").inc()
        await self.rows.reported(known, how)

    async def turn(self) -> int:
        """Work once on what is due; return on how many transactions."""
        claimed = await self.rows.claim(LEASE_S, _AT_ONCE)
        for ended in await asyncio.gather(*(self._work(one) for one in claimed), return_exceptions=True):
            if isinstance(ended, ConsiliumError):  # the database is away: the lease ends by itself
                log.warning("commitment_keeper_waits", code=ended.code)
            elif isinstance(ended, BaseException):
                log.error("commitment_keeper_failed", error=type(ended).__name__, exc_info=ended)
        return len(claimed)

    async def _work(self, known: Transaction) -> None:
        late = known.attempts >= most_attempts(self.give_up_s)
        try:
            known = await self.settle(known)
        except ConsiliumError as problem:
            log.warning("commitment_undecided", transaction=known.id, code=problem.code)
            if late:
                known = await self.rows.decide(known, refused(known.ask.references, "undecided"))
            else:
                await self.rows.postpone(known, pause_s(known.attempts), problem.code)
                return
        if known.state is not State.WAITING:
            return
        try:
            async with asyncio.timeout(DELIVERY_S):
                how = await self.deliver(known)
        except TimeoutError:
            await self._failed(known, "timeout", late=late)
        except ReportFailed as problem:
            await self._failed(known, problem.problem, late=late)
        else:
            await self.delivered(known, how)

    async def _failed(self, known: Transaction, problem: str, *, late: bool) -> None:
        if late:
            measures.REPORTS.labels("given-up").inc()
            log.error("commitment_report_given_up", transaction=known.id, attempts=known.attempts, problem=problem)
            await self.rows.give_up(known, problem)
            return
        measures.REPORTS.labels("failed").inc()
        log.warning("commitment_report_failed", transaction=known.id, attempts=known.attempts, problem=problem)
        await self.rows.postpone(known, pause_s(known.attempts), problem)

    async def run(self, poll_s: float) -> None:
        """Take turns until cancelled; an outage is waited out."""
        while True:
            worked = 0
            try:
                worked = await self.turn()
            except ConsiliumError as problem:
                log.warning("commitment_keeper_waits", code=problem.code)
            except Exception as problem:
                log.exception("commitment_keeper_failed", error=type(problem).__name__)
            if worked < _AT_ONCE:
                await asyncio.sleep(poll_s)


@asynccontextmanager
async def running_keeper(keeper: Keeper, poll_s: float) -> AsyncIterator[None]:
    """Run the task for the length of the block."""
    task = asyncio.create_task(keeper.run(poll_s), name="commitment-keeper")
    try:
        yield
    finally:
        await end_task(task)
