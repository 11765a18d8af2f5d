"""Index rows of many senders in few transactions, each with what its sender wants written with them.

One task commits what waits in the loop, in groups; threads that commit for themselves (``here``) take along whoever else waits for the
turn. A group that fails is taken apart, so that one sender's object does not fail the others'. The outbox is woken after every commit.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import structlog
from sqlalchemy.orm import Session

from consilium_archive.index import Outcome
from consilium_archive.removal import Resend, index_admitted
from consilium_archive.stages import Stored
from consilium_archive.twins import contested
from consilium_core.errors import ConsiliumError, Corrupt, Exhausted, Unavailable
from consilium_platform.outbox import OutboxRelay
from consilium_platform.sql import Database

log = structlog.get_logger()
Outcomes = list[list[Outcome]]


class ArchiveBusy(Exhausted):
    """Too many objects wait to be indexed."""

    code = "archive-busy"


class ArchiveClosing(Unavailable):
    """The process ends before the object was indexed; nothing was acknowledged."""

    code = "archive-closing"


Also = Callable[[Session, Sequence[Outcome]], None]
"""What a sender wants written in the transaction that indexes its objects, knowing how each of them ended."""


@dataclass(frozen=True, slots=True)
class _Batch:
    """Objects of one sender that are committed together."""

    stored: tuple[Stored, ...]
    also: Also | None

    @property
    def tenant(self) -> str:
        """Return whose objects these are; empty for none."""
        return self.stored[0].validated.received.tenant if self.stored else ""


@dataclass(frozen=True, slots=True)
class _Queued(_Batch):
    """A batch that waits for the loop's next commit."""

    done: asyncio.Future[list[Outcome]]


@dataclass(slots=True)
class _Waiting:
    """A thread's object that waits for the turn; whoever has it commits all that wait, and leaves its outcome here."""

    batch: _Batch
    outcome: Outcome | None = None
    problem: BaseException | None = None


class Commits:
    """The archive's index transactions; who opens it runs ``run`` and closes it."""

    def __init__(self, database: Database, outbox: OutboxRelay, resend: Resend, group: int, bound: int) -> None:
        self._database = database
        self._outbox = outbox
        self._resend = resend
        self._group = group
        self._queue: asyncio.Queue[_Queued] = asyncio.Queue(bound)
        self._crowd: deque[_Waiting] = deque()

    async def queued(self, stored: Sequence[Stored], also: Also | None) -> list[Outcome]:
        """Wait for the group commit that holds these objects (there may be none); raise when nothing of it is known to be committed."""
        done: asyncio.Future[list[Outcome]] = asyncio.get_running_loop().create_future()
        try:
            self._queue.put_nowait(_Queued(tuple(stored), also, done))
        except asyncio.QueueFull:
            raise ArchiveBusy("The archive is busy. Send the object again in a moment.", retry_after_s=2.0) from None
        async with asyncio.timeout(60):
            return await done

    def here(self, stored: Stored, also: Also) -> Outcome | None:
        """Commit an object in the calling thread, which must not be the loop's, when it is its turn (SQLite only).

        None: it failed, alone or together with others', and is ``queued``'s to try again. The caller wakes the outbox from the loop.
        """
        mine = _Waiting(_Batch((stored,), also))
        self._crowd.append(mine)
        with self._database.turn_here() as commit:
            if mine.outcome is None and mine.problem is None:  # nobody has taken it along
                self._commit_crowd(commit)
        if mine.problem is not None:
            log.warning("index_at_once_failed", error=type(mine.problem).__name__)
        return mine.outcome

    def committed_here(self) -> None:
        """Say in the loop that ``here`` has committed."""
        self._outbox.wake()

    def _commit_crowd(self, commit: Callable[[Callable[[Session], Outcomes]], Outcomes]) -> None:
        """Commit what waits in any thread; what fails together is tried again by the loop, one by one."""
        group = [self._crowd.popleft() for _ in range(len(self._crowd))]
        work = partial(_index_batches, group=[one.batch for one in group], resend=self._resend)
        try:
            outcomes = commit(work)
        except Exception as problem:
            for one in group:
                one.problem = problem
        else:
            for one, [outcome] in zip(group, outcomes, strict=True):
                one.outcome = outcome

    async def run(self) -> None:
        """Commit groups until cancelled."""
        while True:
            group = [await self._queue.get()]
            size = len(group[0].stored)
            while size < self._group and not self._queue.empty():
                group.append(self._queue.get_nowait())
                size += len(group[-1].stored)
            await self._commit(group)

    async def _commit(self, group: list[_Queued]) -> None:
        try:
            outcomes = await self._transaction(group)
        except asyncio.CancelledError:
            _refuse(group)
            raise
        except ConsiliumError as problem:
            _fail(group, problem)
        except Exception as problem:
            await self._apart(group, problem)
        else:
            for batch, mine in zip(group, outcomes, strict=True):
                if not batch.done.done():
                    batch.done.set_result(mine)

    async def _apart(self, group: list[_Queued], problem: Exception) -> None:
        """Find out which object of a failed group is the cause, so that the others are not refused with it."""
        if len(group) > 1:
            log.warning("index_group_failed", error=type(problem).__name__, size=len(group))
            for batch in group:
                await self._commit([batch])
        elif len(group[0].stored) > 1:
            try:
                outcomes = await self._one_by_one(group[0])
            except ConsiliumError as refusal:
                _fail(group, refusal)
            except asyncio.CancelledError:
                _refuse(group)
                raise
            else:
                if not group[0].done.done():
                    group[0].done.set_result(outcomes)
        else:
            log.error("index_failed", error=type(problem).__name__, exc_info=problem)
            _fail(group, Corrupt("The object can't be indexed: an error of ours. Quote the time to the operator."))

    async def _one_by_one(self, batch: _Queued) -> list[Outcome]:
        """Commit each object of a batch alone, then what was to be written with them."""
        outcomes: list[Outcome] = []
        for stored in batch.stored:
            alone = await self._alone((stored,), None)
            outcomes.append(alone if isinstance(alone, ConsiliumError) else alone[0])
        also = batch.also
        if also is not None and not contested(outcomes):
            last = await self._alone((), lambda session, _: also(session, outcomes))
            if isinstance(last, ConsiliumError):
                raise last
        return outcomes

    async def _alone(self, stored: tuple[Stored, ...], also: Also | None) -> list[Outcome] | ConsiliumError:
        batch = _Queued(stored, also, asyncio.get_running_loop().create_future())
        await self._commit([batch])
        try:
            return batch.done.result()
        except ConsiliumError as refusal:
            return refusal

    async def _transaction(self, group: Sequence[_Queued]) -> list[list[Outcome]]:
        async with asyncio.timeout(30):
            outcomes = await self._database.transact(partial(_index_batches, group=group, resend=self._resend))
        self._outbox.wake()
        return outcomes

    def close(self) -> None:
        """Refuse what still waits."""
        waiting: list[_Queued] = []
        while not self._queue.empty():
            waiting.append(self._queue.get_nowait())
        _refuse(waiting)


def _index_batches(session: Session, group: Sequence[_Batch], resend: Resend) -> list[list[Outcome]]:
    """Index all batches' objects, then write what their senders want written with them, by tenant (not yet of contested ones)."""
    stored = [one for batch in group for one in batch.stored]
    rest = iter(index_admitted(session, stored, resend) if stored else [])
    outcomes = [[next(rest) for _ in batch.stored] for batch in group]
    paired = list(zip(group, outcomes, strict=True))
    for batch, mine in sorted(paired, key=lambda pair: pair[0].tenant):
        if batch.also is not None and not contested(mine):
            batch.also(session, mine)
    return outcomes


def _fail(group: Sequence[_Queued], problem: ConsiliumError) -> None:
    for batch in group:
        if not batch.done.done():
            batch.done.set_exception(problem)


def _refuse(group: Sequence[_Queued]) -> None:
    _fail(group, ArchiveClosing("The archive is shutting down. Send the object again."))
