"""Decides of transactions and delivers their reports: at once where the caller waits, else in the long task that any process may run.

Nothing depends on a process: a row that nobody finishes is due again when its lease ends. A store that does not answer decides nothing;
the question is asked again with growing pauses, and only after ``give_up_s`` of them it fails (0110H). So does a report that nobody takes.
Deciding waits for no report, and no peer for another: each has one report under way at a time, and what keeps it away puts off all of its reports.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from consilium_archive.commitment import judge, refused
from consilium_core.errors import ConsiliumError
from consilium_ingest.commitment import measures
from consilium_ingest.commitment.errors import ReportFailed
from consilium_ingest.commitment.pauses import most_attempts, pause_s
from consilium_ingest.commitment.queue import Peer
from consilium_ingest.commitment.rows import CommitmentRows
from consilium_ingest.commitment.transactions import Transaction
from consilium_platform.blobs import Stores
from consilium_platform.tasks import end_task

log = structlog.get_logger()
LEASE_S = 150.0  # of a request in its caller's hands, and of a report: an attempt to deliver takes at most DELIVERY_S
DELIVERY_S = 120.0
DECIDE_LEASE_S, DECIDE_S = 330.0, 300.0  # 20,000 instances at 200 ms, 16 at once, are 250 s
_DECIDED_AT_ONCE, _PEERS_AT_ONCE = 4, 32
_PRUNE_EVERY_S = 3600.0
_PRUNED_AT_ONCE = 500


class Deliver(Protocol):
    """How a report goes to its requester on an association of its own."""

    async def __call__(self, transaction: Transaction) -> str:
        """Return how it was delivered, once the requester has confirmed it; raise ReportFailed."""
        ...


@dataclass(frozen=True, slots=True)
class Keeper:
    """What deciding and delivering need."""

    rows: CommitmentRows
    stores: Stores
    deliver: Deliver
    give_up_s: float
    retention_s: float = 400 * 86400.0
    _busy: set[Peer] = field(default_factory=set)
    _look: asyncio.Event = field(default_factory=asyncio.Event)

    async def settle(self, known: Transaction, *, release: bool = False) -> Transaction:
        """Decide of a transaction unless that is done; raise Unavailable when index or store do not answer.

        ``release``: its report is the keeper's to deliver at once, not the caller's.
        """
        if known.verdicts is not None:
            return known
        verdicts = await judge(self.rows.database, self.stores, known.requester.tenant, known.ask.references)
        for verdict in verdicts:
            measures.INSTANCES.labels(verdict.why or "committed").inc()
        return await self.rows.decide(known, verdicts, release=release)

    async def delivered(self, known: Transaction, how: str) -> None:
        """Write that the requester has confirmed the report."""
        measures.REPORTS.labels("delivered").inc()
        await self.rows.reported(known, how)

    async def turn(self) -> int:
        """Decide of what is due, then deliver what is due, one after the other; return how many pieces of work that were."""
        worked = await self.decide_due()
        while (known := await self._next_report()) is not None:
            worked += 1
            await self._report(known)
        return worked

    async def decide_due(self) -> int:
        """Decide of some of the transactions that are due; return of how many."""
        claimed = await self.rows.claim_undecided(DECIDE_LEASE_S, _DECIDED_AT_ONCE)
        for ended in await asyncio.gather(*(self._decide(one) for one in claimed), return_exceptions=True):
            if isinstance(ended, BaseException):  # most likely the database is away: the lease ends by itself
                _failed_turn(ended)
        if claimed:
            self._look.set()
        return len(claimed)

    async def _decide(self, known: Transaction) -> None:
        try:
            async with asyncio.timeout(DECIDE_S):
                await self.settle(known, release=True)
            return
        except TimeoutError:
            problem = "timeout"
        except ConsiliumError as refusal:
            problem = refusal.code
        except Exception as error:
            log.exception("commitment_decide_failed", transaction=known.id, error=type(error).__name__)
            problem = "error"
        log.warning("commitment_undecided", transaction=known.id, code=problem)
        if known.attempts >= most_attempts(self.give_up_s):
            await self.rows.decide(known, refused(known.ask.references, "undecided"), release=True)
        else:
            await self.rows.postpone(known, pause_s(known.attempts), problem)

    async def _next_report(self) -> Transaction | None:
        """Claim a report whose peer has none under way; ``_report`` gives the peer back."""
        known = await self.rows.claim_report(LEASE_S, frozenset(self._busy))
        if known is not None:
            self._busy.add(known.requester.peer)
        return known

    async def _report(self, known: Transaction) -> None:
        try:
            async with asyncio.timeout(DELIVERY_S):
                how = await self.deliver(known)
            await self.delivered(known, how)
        except TimeoutError:
            await self._failed(known, ReportFailed("The peer takes too long.", "timeout", whole_peer=True))
        except ReportFailed as problem:
            await self._failed(known, problem)
        except ConsiliumError as problem:
            _failed_turn(problem)
        except Exception as error:
            log.exception("commitment_report_error", transaction=known.id, error=type(error).__name__)
            await self._failed(known, ReportFailed("An error of ours.", "error"))
        finally:
            self._busy.discard(known.requester.peer)
            self._look.set()

    async def _failed(self, known: Transaction, why: ReportFailed) -> None:
        try:
            if known.attempts >= most_attempts(self.give_up_s, why.problem):
                measures.REPORTS.labels("given-up").inc()
                log.error(
                    "commitment_report_given_up", transaction=known.id, attempts=known.attempts, problem=why.problem
                )
                await self.rows.give_up(known, why.problem)
                return
            measures.REPORTS.labels("failed").inc()
            log.warning("commitment_report_failed", transaction=known.id, attempts=known.attempts, problem=why.problem)
            await self.rows.postpone(known, pause_s(known.attempts, why.problem), why.problem)
            if why.whole_peer:
                await self.rows.put_off(known.requester.peer, why.problem)
        except Exception as outage:  # most likely the database is away: the lease ends by itself
            _failed_turn(outage)

    async def prune(self) -> int:
        """Forget what was decided and reported longer ago than ``retention_s``; return how many transactions."""
        pruned = 0
        while True:
            some = await self.rows.prune(self.retention_s, _PRUNED_AT_ONCE)
            pruned += some
            if some < _PRUNED_AT_ONCE:
                return pruned

    async def run(self, poll_s: float) -> None:
        """Decide, deliver and prune until cancelled; an outage is waited out."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._deciding(poll_s), name="commitment-decide")
            group.create_task(self._pruning(), name="commitment-prune")
            slots = asyncio.Semaphore(_PEERS_AT_ONCE)
            while True:
                await slots.acquire()
                self._look.clear()
                try:
                    known = await self._next_report()
                except Exception as problem:
                    _failed_turn(problem)
                    known = None
                if known is not None:
                    report = group.create_task(self._report(known), name=f"commitment-report-{known.id}")
                    report.add_done_callback(lambda _: slots.release())
                    continue
                slots.release()
                with suppress(TimeoutError):
                    async with asyncio.timeout(poll_s):
                        await self._look.wait()

    async def _deciding(self, poll_s: float) -> None:
        while True:
            worked = 0
            try:
                worked = await self.decide_due()
            except Exception as problem:
                _failed_turn(problem)
            if worked < _DECIDED_AT_ONCE:
                await asyncio.sleep(poll_s)

    async def _pruning(self) -> None:
        while True:
            try:
                if pruned := await self.prune():
                    log.info("commitment_pruned", transactions=pruned)
            except Exception as problem:
                _failed_turn(problem)
            await asyncio.sleep(_PRUNE_EVERY_S)


def _failed_turn(problem: BaseException) -> None:
    """Log why something is left to the end of its lease."""
    if isinstance(problem, ConsiliumError):
        log.warning("commitment_keeper_waits", code=problem.code)
    else:
        log.error("commitment_keeper_failed", error=type(problem).__name__, exc_info=problem)


@asynccontextmanager
async def running_keeper(keeper: Keeper, poll_s: float) -> AsyncIterator[None]:
    """Run the task for the length of the block."""
    task = asyncio.create_task(keeper.run(poll_s), name="commitment-keeper")
    try:
        yield
    finally:
        await end_task(task)
