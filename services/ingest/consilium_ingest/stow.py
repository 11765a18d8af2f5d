"""One STOW-RS request: every part goes through the archive's writer, every part gets its own answer (PS3.18 10.5).

At most ``in_flight`` objects of a request are worked on at once; while they are, the next bytes of the body are not read.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field

import structlog

from consilium_archive.stages import Indexed, Origin, Received
from consilium_archive.writer import ArchiveWriter
from consilium_core.errors import ConsiliumError, Corrupt, Exhausted, Unavailable
from consilium_ingest.errors import MediaTypeUnsupported
from consilium_ingest.multipart import media_type
from consilium_ingest.spool import Part

log = structlog.get_logger()
Answer = Indexed | ConsiliumError


@dataclass(frozen=True, slots=True)
class Sender:
    """For whom and under which study a request stores."""

    tenant: str
    study_uid: str = ""
    origin: Origin = field(default_factory=Origin)


async def store_parts(
    writer: ArchiveWriter, parts: AsyncGenerator[Part], sender: Sender, answers: list[Answer], *, in_flight: int
) -> None:
    """Store every part; write one answer per part into ``answers``, in order, so that the caller has them however this ends.

    Raises what breaks the request itself, after the whole parts before it have their answers.
    """
    broken: ConsiliumError | None = None
    room = asyncio.Semaphore(in_flight)

    async def work(number: int, part: Part) -> None:
        try:
            answers[number] = await store_part(writer, part, sender)
        finally:
            part.discard()
            room.release()

    try:
        async with aclosing(parts), asyncio.TaskGroup() as group:
            try:
                async for part in parts:
                    answers.append(_UNANSWERED)
                    try:
                        await room.acquire()
                    except BaseException:
                        part.discard()
                        raise
                    group.create_task(work(len(answers) - 1, part), name=f"stow-part-{len(answers)}")
            except ConsiliumError as problem:  # what is being stored goes on to its end: it may be committed already
                broken = problem
            except Exception as problem:
                log.exception("stow_body_failed", error=type(problem).__name__)
                broken = Corrupt("The rest of the request can't be taken: an error of ours.")
    except BaseExceptionGroup as group_broke:
        raise group_broke.exceptions[0] from group_broke
    if broken is not None:
        raise broken


_UNANSWERED = Corrupt("The object was not worked on.")


async def store_part(writer: ArchiveWriter, part: Part, sender: Sender) -> Answer:
    """Store one part and return its answer; only a cancellation raises."""
    if part.content_type and media_type(part.content_type)[0] != "application/dicom":
        return MediaTypeUnsupported(f"A part is {part.content_type[:60]}, not application/dicom.")
    data = None if part.path is not None else part.memory
    try:
        return await writer.store(Received(sender.tenant, data, part.path, sender.study_uid, sender.origin))
    except ConsiliumError as refusal:
        return refusal
    except TimeoutError:
        return Unavailable("The archive did not answer in time. Send the object again.")
    except Exception as problem:
        log.exception("store_failed", error=type(problem).__name__)
        return Corrupt("The object can't be stored: an error of ours.")


def failure_reason(refusal: ConsiliumError) -> int:
    """Return the status word of a refusal (PS3.18 annex I.2)."""
    own = getattr(refusal, "failure_reason", None)
    if isinstance(own, int) and own:
        return own
    if isinstance(refusal, Exhausted):
        return 0xA700
    return 0xC000 if isinstance(refusal, MediaTypeUnsupported) else 0x0110
