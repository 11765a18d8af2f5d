"""Workers that carry jobs to one destination, and the tasks of all of them: each destination has its own, so none waits for another.

A worker claims a batch, sends it within its time, and writes what came of it. What can't be written down (the database is out) is
tried until the lease ends; then, as after a kill, the batch is sent again: the receiver knows the instances by their UIDs.
While our own store does not answer, the work rests: a batch now and then finds out whether it is back.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

import structlog
from prometheus_client import Counter

from consilium_core.clock import Clock
from consilium_core.errors import ConsiliumError
from consilium_ingest.routing.batch import Batch, Outcomes
from consilium_ingest.routing.errors import SendingFailed
from consilium_ingest.routing.evaluate import Key
from consilium_ingest.routing.jobs import RENEW_S, JobQueue
from consilium_ingest.routing.originals import STORE_OUT
from consilium_platform.tasks import end_task

log = structlog.get_logger()
_REST_FIRST_S, _REST_LONGEST_S = 5.0, 300.0
SENT = Counter("consilium_routing_instances_total", "Instances sent on, or not.", ["tenant", "destination", "outcome"])


class Sender(Protocol):
    """One way to send."""

    async def send(self, batch: Batch, outcomes: Outcomes) -> None:
        """Send the batch and note what came of each instance; raise SendingFailed for what the destination itself fails at."""
        ...


class Courier:
    """One destination's work."""

    def __init__(self, queue: JobQueue, sender: Sender, to: Key, wake: asyncio.Condition, clock: Clock) -> None:
        self._queue = queue
        self._sender = sender
        self._labels, self._name = to, to[1]
        self._wake = wake
        self._clock = clock
        self._store_failures = 0  # in a row: all workers of the destination rest together
        self._rest_until = 0.0

    async def turn(self) -> bool:
        """Send one batch, if one is due and our store answers; return whether there was one."""
        if self._clock.monotonic() < self._rest_until:
            return False
        batch = await self._queue.claim()
        if batch is None:
            return False
        outcomes = Outcomes()
        renewing = asyncio.create_task(self._renewing(batch), name=f"routing-lease-{self._name}")
        try:
            async with asyncio.timeout(batch.seconds) as outcomes.limit:
                await self._sender.send(batch, outcomes)
        except asyncio.CancelledError:
            outcomes.stopped = True
            await self._at_the_end(batch, outcomes)
            raise
        except SendingFailed as problem:
            outcomes.down, outcomes.retry_after_s = problem.problem, problem.retry_after_s
        except TimeoutError:
            outcomes.down = "timeout"
        except ConsiliumError as problem:  # ours: the database or the store
            log.warning("routing_store_waits", destination=self._name, code=problem.code)
            outcomes.unread(batch, STORE_OUT)
        except Exception as problem:
            log.exception("routing_send_failed", destination=self._name, error=type(problem).__name__)
            outcomes.unread(batch, "error-of-ours")
        finally:
            await end_task(renewing)
        self._rest(outcomes)
        await self._settle(batch, outcomes)
        if outcomes.down:
            log.warning("routing_destination_failed", destination=self._name, problem=outcomes.down)
        SENT.labels(*self._labels, "sent").inc(len(outcomes.sent))
        SENT.labels(*self._labels, "failed").inc(len(batch.wanted) - len(outcomes.sent))
        return True

    def _rest(self, outcomes: Outcomes) -> None:
        """Rest while our store is out, longer and longer; what could be read ends that."""
        if STORE_OUT not in outcomes.problems.values():
            self._store_failures, self._rest_until = 0, 0.0
            return
        pause = min(_REST_FIRST_S * 2 ** min(self._store_failures, 20), _REST_LONGEST_S)
        self._store_failures += 1
        self._rest_until = self._clock.monotonic() + pause
        log.warning("routing_store_rests", destination=self._name, seconds=pause)

    async def _renewing(self, batch: Batch) -> None:
        """Keep the claim until cancelled; while the database is out, it may end: then, as after a kill, the batch may be sent again."""
        while True:
            await asyncio.sleep(RENEW_S)
            try:
                await self._queue.renew(batch)
            except ConsiliumError as problem:
                log.warning("routing_lease_not_renewed", destination=self._name, code=problem.code)

    async def _settle(self, batch: Batch, outcomes: Outcomes) -> None:
        """Write what came of the batch; while the database is out, again and again for as long as the claim holds anyway."""
        async with asyncio.timeout(20):
            while True:
                try:
                    await self._queue.settle(batch, outcomes)
                except ConsiliumError as problem:
                    log.warning("routing_outcome_waits", destination=self._name, code=problem.code)
                    await asyncio.sleep(1)
                else:
                    return

    async def _at_the_end(self, batch: Batch, outcomes: Outcomes) -> None:
        """Write what is confirmed, and free the rest, although the task is being ended; a failure leaves that to the lease's end."""
        settling = asyncio.ensure_future(self._settle(batch, outcomes))
        while not settling.done():
            try:
                await asyncio.wait({settling})
            except asyncio.CancelledError:
                continue
        if settling.exception() is not None:
            log.warning("routing_outcome_lost", destination=self._name, error=type(settling.exception()).__name__)

    async def run(self, poll_s: float) -> None:
        """Work until cancelled; an outage of our own is waited out."""
        while True:
            try:
                while await self.turn():
                    pass
            except ConsiliumError as problem:
                log.warning("routing_courier_waits", destination=self._name, code=problem.code)
            except Exception as problem:
                log.exception("routing_courier_failed", destination=self._name, error=type(problem).__name__)
            try:
                async with asyncio.timeout(poll_s), self._wake:
                    await self._wake.wait()
            except TimeoutError:
                continue
