"""The archive's one writer: received -> validated -> stored -> indexed, and only then acknowledged.

CPU work runs in a bounded thread pool, bytes go to the object store (durable on return), and index rows are committed in groups,
so that many concurrent requests share a commit (``commits``). Where thread, store and database allow it, one visit to a thread does all of
that (``at_once``). What a sender wants written with it (its audit entry) goes into the same transaction,
or into one after it where an object met other bytes under its UID on the way and is compared first (``twins``).
A known instance is acknowledged only while the store has it (``mending``): else what came is stored in its place.
Whatever raises before the commit leaves at most an object that nobody refers to; sending again is always safe. Queues: at most
``queue_bound`` batches wait for a commit, further senders are told to come back.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import structlog
from sqlalchemy.orm import Session

from consilium_archive.commits import Also, Commits
from consilium_archive.damage import is_marked
from consilium_archive.errors import InstanceConflict, InstanceDoubtful, PatientMismatch
from consilium_archive.index import Outcome, decide, of_another_patient, stored_already
from consilium_archive.mending import Mender
from consilium_archive.prepare import prepare
from consilium_archive.quarantine import Quarantine
from consilium_archive.removal import RemovalUnderWay, Resend, doom
from consilium_archive.stages import Indexed, Received, Stored, Validated, original_key
from consilium_archive.twins import Contested, Twins, contested, is_contested, unreadable
from consilium_core.errors import ConsiliumError, Exhausted, Unavailable
from consilium_dicom.policy import DEFAULT_POLICY, Policy
from consilium_dicom.validate import DecodeFrames
from consilium_platform.blobs import BlobStore, PutsHere, is_whole
from consilium_platform.outbox import OutboxRelay
from consilium_platform.sql import Database
from consilium_platform.tasks import end_task
from consilium_platform.workers import Workers

log = structlog.get_logger()
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class WriterLimits:
    """How much the writer does at once."""

    threads: int = 4
    group: int = 128
    queue_bound: int = 1024
    decode: DecodeFrames = "sample"
    policy: Policy = DEFAULT_POLICY
    resend: Resend = "refuse"  # of an instance that retention removed


@dataclass(frozen=True, slots=True)
class Known:
    """How an object is answered by the index alone, and whether what is stored of it is known to be damaged."""

    valid: Validated
    outcome: Outcome
    marked: bool = False


Held = Validated | Stored | Known | Exception
"""How far an object came in a thread."""


@dataclass(frozen=True, slots=True)
class AtOnce:
    """What one visit to a thread came to: how far the object is, and how it ended if it was indexed there."""

    held: Held | None
    outcome: Outcome | None = None


class ArchiveWriter:
    """Stores instances; open with ``open_writer``."""

    def __init__(self, database: Database, blobs: BlobStore, outbox: OutboxRelay, limits: WriterLimits) -> None:
        self.limits = limits
        self._database = database
        self._blobs = blobs
        self._quarantine = Quarantine(database, blobs, outbox)
        self._twins = Twins(database, blobs)
        self._mender = Mender(database, blobs)
        self._pool = Workers(limits.threads, "ingest")
        self.commits = Commits(database, outbox, limits.resend, limits.group, limits.queue_bound)
        self._puts_here = blobs if isinstance(blobs, PutsHere) else None

    async def store(self, received: Received) -> Indexed:
        """Take one object through all stages; return when it is durable, readable and its event is written.

        Raises InstanceRejected, InstanceHeld (durable, but in quarantine), StudyMismatch, InstanceConflict, PatientMismatch,
        or Exhausted/Unavailable (send again).
        """
        stored = await self.hold(received)
        if isinstance(stored, Indexed):
            return stored
        return await self.index(stored)

    async def hold(self, received: Received) -> Stored | Indexed:
        """Judge one object and make its bytes durable; ``index`` or ``index_all`` is the next step.

        What the policy doubts goes to quarantine: raises InstanceHeld.
        """
        if self._database.answers_here:
            return await self.resume(received, await self._work(self._tried_here, received))
        return await self.resume(received, None)

    async def resume(self, received: Received, held: Held | None) -> Stored | Indexed:
        """Go on with an object from where a visit to a thread left it (None: there was none); raise what ``hold`` raises."""
        try:
            if held is None:
                return await self.keep(await self.validate(received))
            if isinstance(held, Exception):
                raise held
            if isinstance(held, Known):
                return await self._repeated(held)
            return await self._put(held) if isinstance(held, Validated) else held
        except InstanceDoubtful as doubt:
            return await self._released(received, await self._quarantine.take(received, doubt))
        except Contested as clash:
            known = await self._quarantine.released(received.tenant, clash.valid.sha256)
            return await self._twins.known(clash) if known is None else await self._released(received, known)

    async def at_once(self, received: Received, also: Callable[[Stored], Also]) -> AtOnce:
        """Take one object through all stages in one visit to a thread, and write what ``also`` writes in the same transaction.

        Without an outcome it is to be resumed: it needs more (it is here already, doubtful, refused, its bytes lie in a file, the commit
        failed), or this database or store can't.
        """
        if not self._database.answers_here or self._puts_here is None:
            return AtOnce(None)
        done = await self._work(self._at_once_here, received, also)
        if done.outcome is None or not isinstance(done.held, Stored):
            return done
        self.commits.committed_here()
        [outcome] = await self._ended([done.held], [done.outcome], also(done.held))
        return AtOnce(done.held, outcome)

    def _at_once_here(self, received: Received, also: Callable[[Stored], Also]) -> AtOnce:
        held = self._tried_here(received)
        return AtOnce(held, self.commits.here(held, also(held)) if isinstance(held, Stored) else None)

    def _tried_here(self, received: Received) -> Held:
        try:
            return self._hold_here(received)
        except Exception as problem:
            return problem

    def _hold_here(self, received: Received) -> Validated | Stored | Known:
        """Validate, look whether the instance is here already, and store it if that can be done here: one visit to a worker thread."""
        valid = prepare(received, self.limits.decode, self.limits.policy)
        known = self._database.glance_here(partial(_known, valid=valid, policy=self.limits.policy))
        if known is not None:
            return known
        if received.data is None or self._puts_here is None:
            return valid
        key = original_key(received.tenant, valid.sha256)
        self._puts_here.put_here(key, received.data)
        return Stored(_without_data(valid), key)

    async def validate(self, received: Received) -> Validated:
        """Judge the object in a worker thread."""
        return await self._work(prepare, received, self.limits.decode, self.limits.policy)

    async def _work(self, work: Callable[..., T], *given: Any) -> T:
        return await self._pool.run(work, *given)

    async def keep(self, valid: Validated) -> Stored | Indexed:
        """Put the object's bytes into the store; an instance that is here already or can't be taken is answered at once."""
        known = await self._database.query(partial(_known, valid=valid, policy=self.limits.policy))
        return await self._put(valid) if known is None else await self._repeated(known)

    async def _repeated(self, known: Known) -> Stored | Indexed:
        """Return the instance that is here already, put again if the store has lost it; raise what keeps the object from being stored."""
        indexed, valid = _known_answer(known.outcome, known.valid), known.valid
        if await self._mender.lost(valid.received.tenant, indexed, marked=known.marked):
            return await self._put(valid, again=True)
        return indexed

    async def _released(self, received: Received, known: Indexed) -> Stored | Indexed:
        """Return the instance that the quarantine desk released these bytes as; where the store has lost it, put them again if they are it."""
        if not await self._mender.lost(received.tenant, known):
            return known
        valid = await self.validate(replace(received, cleared=True))
        if valid.sha256 == known.sha256:
            return await self._put(valid, again=True)
        if await is_whole(self._blobs, original_key(received.tenant, known.sha256), known.size_bytes):
            return known  # the second copy
        raise unreadable("missing or damaged", known.sop_instance_uid)

    async def _put(self, valid: Validated, *, again: bool = False) -> Stored:
        received = valid.received
        key = original_key(received.tenant, valid.sha256)
        if received.data is not None:
            await self._blobs.put(key, received.data, "application/dicom")
            valid = _without_data(valid)
        elif received.path is not None:
            await self._blobs.put_file(key, received.path, "application/dicom")
        return Stored(valid, key, again=again)

    async def index(self, stored: Stored) -> Indexed:
        """Wait for the group commit that holds this object."""
        [outcome] = await self.index_all([stored])
        return _settled(outcome)

    async def index_all(self, stored: Sequence[Stored], also: Also | None = None) -> list[Outcome]:
        """Wait for the group commit that holds these objects (there may be none) and what ``also`` writes; return each one's outcome.

        Raises when nothing of it is known to be committed.
        """
        outcomes = await self.commits.queued(stored, also)
        return await self._ended(stored, outcomes, also)

    async def _ended(self, stored: Sequence[Stored], outcomes: Sequence[Outcome], also: Also | None) -> list[Outcome]:
        """Return what becomes of committed objects: contested ones are compared, doubtful ones held, left-over bytes doomed."""
        answers = [await self._doubted(one, outcome) for one, outcome in zip(stored, outcomes, strict=True)]
        ended = zip(stored, outcomes, answers, strict=True)
        await self._doom([one for one, was, now in ended if _left_over(was, now)])
        if also is not None and contested(outcomes):
            async with asyncio.timeout(30):
                await self._database.transact(lambda session: also(session, answers))
        return answers

    async def _doom(self, refused: Sequence[Stored]) -> None:
        """Have the bytes removed that were stored and that no row will name: sent again, all of them are answered before that."""
        if not refused:
            return

        def work(session: Session) -> None:
            for one in refused:
                valid = one.validated
                doom(session, valid.received.tenant, valid.sha256, valid.header.sop_instance_uid, "refused")

        try:
            await self._database.transact(work)
        except (Unavailable, Exhausted, TimeoutError) as problem:  # reconciliation finds what nothing refers to
            log.warning("refused_bytes_left", error=type(problem).__name__)

    async def _doubted(self, stored: Stored, outcome: Outcome) -> Outcome:
        """Send an object to quarantine whose study turned out to be another patient's, if the policy says so; compare contested ones."""
        if is_contested(outcome):
            return await self._twins.settle(stored, outcome)
        if not isinstance(outcome, PatientMismatch) or stored.validated.received.cleared:
            return outcome
        if outcome.code not in self.limits.policy.hold:
            return outcome
        return await self._quarantine.take_stored(stored, outcome)

    async def run(self) -> None:
        """Commit groups until cancelled."""
        await self.commits.run()

    def close(self) -> None:
        """Refuse what still waits and end the threads."""
        self.commits.close()
        self._pool.close()


def _without_data(valid: Validated) -> Validated:
    """Let go of the object's bytes once they are stored: their memory is the sender's again."""
    return replace(valid, received=replace(valid.received, data=None))


def _known(session: Session, valid: Validated, policy: Policy) -> Known | None:
    """Return how an instance is answered that is indexed already, or refused for its patient; None for one to be stored."""
    tenant = valid.received.tenant
    there = stored_already(session, tenant, [valid.header.sop_instance_uid])
    if there:
        return Known(valid, decide(valid, there), is_marked(session, tenant, valid.sha256, "first"))
    if "patient-mismatch" in policy.hold and not valid.received.cleared:
        return None  # whoever else's it may be, it is kept
    refusal = of_another_patient(session, valid)
    return None if refusal is None else Known(valid, refusal)


def _settled(outcome: Outcome) -> Indexed:
    if isinstance(outcome, ConsiliumError):
        raise outcome
    return outcome


def _left_over(was: Outcome, now: Outcome) -> bool:
    """Tell whether an object's bytes lie in the store though no row will name them, by what the index said and what it came to."""
    if isinstance(was, RemovalUnderWay):
        return isinstance(now, Indexed)
    return isinstance(was, InstanceConflict) or isinstance(now, PatientMismatch)


def _known_answer(known: Outcome, valid: Validated) -> Indexed:
    """Return the instance that is here already; raise what keeps the object from being stored."""
    if isinstance(known, InstanceConflict):
        raise Contested(valid, known)
    return _settled(known)


@asynccontextmanager
async def open_writer(
    database: Database, blobs: BlobStore, outbox: OutboxRelay, limits: WriterLimits | None = None
) -> AsyncIterator[ArchiveWriter]:
    """Run the writer for the length of the block; what waits at the end is refused, not acknowledged."""
    writer = ArchiveWriter(database, blobs, outbox, limits or WriterLimits())
    task = asyncio.create_task(writer.run(), name="archive-writer")
    try:
        yield writer
    finally:
        await end_task(task)
        writer.close()
