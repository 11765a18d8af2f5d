"""One STOW-RS request: every part goes through the archive's writer, every part gets its own answer (PS3.18 10.5).

At most ``in_flight`` objects of a request are worked on at once; while they are, the next bytes of the body are not read. Objects
whose bytes are durable are indexed in batches; the last batch's transaction holds the request's audit entry.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

import structlog
from sqlalchemy.orm import Session

from consilium_archive.commits import Also
from consilium_archive.index import Outcome
from consilium_archive.stages import Indexed, Origin, Received, Stored
from consilium_archive.writer import ArchiveWriter
from consilium_core.errors import ConsiliumError, Corrupt, Exhausted, Unavailable
from consilium_ingest.about import Refused, about, answer_of, of_facts
from consilium_ingest.errors import MediaTypeUnsupported
from consilium_ingest.multipart import media_type
from consilium_ingest.spool import Part

log = structlog.get_logger()
Answer = Indexed | Refused


@dataclass(frozen=True, slots=True)
class Sender:
    """For whom and under which study a request stores."""

    tenant: str
    study_uid: str = ""
    origin: Origin = field(default_factory=Origin)


Audited = Callable[[Session, Sequence[Answer]], None]
"""Writes the request's audit entry, knowing every answer, into the transaction of the last batch."""
_BATCH = 64


@dataclass(frozen=True, slots=True)
class Stowed:
    """One answer per part, in order; ``broken``: what ended the body too early, after the parts before it got their answers."""

    answers: list[Answer]
    broken: ConsiliumError | None = None


async def store_parts(
    writer: ArchiveWriter, parts: AsyncGenerator[Part], sender: Sender, audited: Audited, *, in_flight: int
) -> Stowed:
    """Store every part. A body that breaks off keeps what was whole before; one more failed answer stands for its rest.

    ``audited`` is called in the transaction of the last batch; a request that stores nothing new is the caller's to audit.
    """
    request = _Request(writer, sender)
    room = asyncio.Semaphore(in_flight)
    broken: ConsiliumError | None = None

    async def work(number: int, part: Part) -> None:
        try:
            await request.hold(number, part, audited)
        finally:
            part.discard()
            room.release()

    try:
        async with aclosing(parts), asyncio.TaskGroup() as group:
            try:
                async for part in parts:
                    request.answers.append(_UNANSWERED)
                    try:
                        await room.acquire()
                    except BaseException:
                        part.discard()
                        raise
                    group.create_task(work(len(request.answers) - 1, part), name=f"stow-part-{len(request.answers)}")
                    await request.index(None, least=_BATCH)
            except ConsiliumError as problem:  # what is being stored goes on to its end
                broken = problem
            except Exception as problem:
                log.exception("stow_body_failed", error=type(problem).__name__)
                broken = Corrupt("The rest of the request can't be taken: an error of ours.")
    except BaseExceptionGroup as group_broke:
        await request.index(audited)
        raise group_broke.exceptions[0] from group_broke
    if broken is not None and request.answers:
        request.answers.append(Refused(broken))
    await request.index(audited)
    return Stowed(request.answers, broken)


class _Request:
    """The answers of one request, and its objects that wait to be indexed."""

    def __init__(self, writer: ArchiveWriter, sender: Sender) -> None:
        self.answers: list[Answer] = []
        self._writer = writer
        self._sender = sender
        self._held: list[tuple[int, Stored]] = []

    async def hold(self, number: int, part: Part, audited: Audited) -> None:
        """Judge one part and make it durable, and index the request's only one with it if that can be; only a cancellation raises."""
        if (refused := _refused(part)) is not None:
            self.answers[number] = refused
            return
        data, sender = None if part.path is not None else part.memory, self._sender
        try:
            received = Received(sender.tenant, data, part.path, sender.study_uid, sender.origin, stated=part.stated)
            held = await self._held_or_done(received, audited) if part.alone else await self._writer.hold(received)
        except Exception as problem:
            self.answers[number] = Refused(_refusal(problem), await about(data, part.path))
            return
        if isinstance(held, Stored):
            self._held.append((number, held))
        else:
            self.answers[number] = held

    async def _held_or_done(self, received: Received, audited: Audited) -> Stored | Answer:
        def also(stored: Stored) -> Also:
            return lambda session, outcomes: audited(session, [answer_of(stored, one) for one in outcomes])

        done = await self._writer.at_once(received, also)
        if isinstance(done.held, Stored) and done.outcome is not None:
            return answer_of(done.held, done.outcome)
        return await self._writer.resume(received, done.held)

    async def index(self, audited: Audited | None, *, least: int = 1) -> None:
        """Index what waits, if it is at least ``least``; only a cancellation raises."""
        if len(self._held) < least:
            return
        batch, self._held = sorted(self._held, key=lambda one: one[0]), []

        def answers(outcomes: Sequence[Outcome]) -> dict[int, Answer]:
            return {number: answer_of(held, one) for (number, held), one in zip(batch, outcomes, strict=True)}

        def also(session: Session, outcomes: Sequence[Outcome]) -> None:
            if audited is not None:
                mine = answers(outcomes)
                audited(session, [mine.get(number, answer) for number, answer in enumerate(self.answers)])

        try:
            outcomes: Sequence[Outcome] = await self._writer.index_all([held for _, held in batch], also)
        except Exception as problem:
            outcomes = [_refusal(problem)] * len(batch)
        for number, answer in answers(outcomes).items():
            self.answers[number] = answer


def _refused(part: Part) -> Refused | None:
    """Return the answer to a part that is no object."""
    if part.refusal is not None:
        return Refused(part.refusal, of_facts(part.refusal))
    if part.content_type and media_type(part.content_type)[0] != "application/dicom":
        return Refused(MediaTypeUnsupported(f"A part is {part.content_type[:60]}, not application/dicom."))
    return None


_UNANSWERED = Refused(Corrupt("The object was not worked on."))


def _refusal(problem: Exception) -> ConsiliumError:
    """Return what a part is answered when ``problem`` kept it from being stored."""
    if isinstance(problem, ConsiliumError):
        return problem
    if isinstance(problem, TimeoutError):
        return Unavailable("The archive did not answer in time. Send the object again.")
    log.error("store_failed", error=type(problem).__name__, exc_info=problem)
    return Corrupt("The object can't be stored: an error of ours.")


def failure_reason(refusal: ConsiliumError) -> int:
    """Return the status word of a refusal (PS3.18 annex I.2)."""
    own = getattr(refusal, "failure_reason", None)
    if isinstance(own, int) and own:
        return own
    if isinstance(refusal, Exhausted):
        return 0xA700
    return 0xC000 if isinstance(refusal, MediaTypeUnsupported) else 0x0110
