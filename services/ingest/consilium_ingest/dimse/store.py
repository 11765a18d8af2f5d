"""One C-STORE request: its object through the archive's writer, its outcome as a status word (PS3.4 B.2.3, PS3.7 annex C).

Success is answered when the bytes are durable, the index row with its event is committed and the audit trail names the sender.
"""

from __future__ import annotations

import structlog

from consilium_archive.index import Outcome
from consilium_archive.stages import Indexed, Received
from consilium_archive.writer import ArchiveWriter
from consilium_core.errors import ConsiliumError, Corrupt, Exhausted, Unavailable
from consilium_ingest.about import About, about
from consilium_ingest.dimse.commands import Answer
from consilium_ingest.dimse.errors import SpoolFailed
from consilium_ingest.dimse.incoming import Message
from consilium_ingest.dimse.trail import Trail
from consilium_ingest.said import comment, warning_comment, warning_reason
from consilium_ingest.spool import Part
from consilium_ingest.stow import failure_reason

log = structlog.get_logger()

SUCCESS, OUT_OF_RESOURCES = 0x0000, 0xA700


async def store(writer: ArchiveWriter, message: Message, trail: Trail) -> Answer:
    """Store the message's object; return the answer. Only a cancellation raises."""
    outcome: Outcome
    if message.part is None:
        outcome = message.refusal or Corrupt("The object was lost: an error of ours.")
    else:
        try:
            outcome = await _archive(writer, message.part, message.command.sop_instance_uid, trail)
        except Exception as problem:
            outcome = _refusal(problem)
    if isinstance(outcome, Indexed):
        trail.count(outcome)
        return _accepted(outcome)
    trail.refuse(outcome, await _about(message))
    return refused(outcome)


async def _about(message: Message) -> About:
    """Return whom a refused object is about, else what its message names."""
    part, command = message.part, message.command
    if part is not None:
        found = await about(None if part.path is not None else part.memory, part.path)
        if found.sop_instance_uid:
            return found
    return About("", command.sop_class_uid, command.sop_instance_uid)


async def _archive(writer: ArchiveWriter, part: Part, uid: str, trail: Trail) -> Outcome:
    """Take the object through all stages, its study's audit entry with it."""
    tenant = trail.peer.tenant
    await _finish(part)
    await trail.make_room()
    data = None if part.path is not None else part.memory
    received = Received(tenant, data, part.path, origin=trail.peer.origin, sop_instance_uid=uid)
    held = await writer.hold(received)
    if not isinstance(held, Indexed):
        [outcome] = await writer.index_all([held], trail.opening)
        return outcome
    await trail.known(held)
    return held


async def _finish(part: Part) -> None:
    try:
        await part.finish()
    except OSError as problem:
        raise SpoolFailed(f"The spool folder can't be written: {problem.strerror}.", retry_after_s=60) from problem


def _refusal(problem: Exception) -> ConsiliumError:
    """Return what the sender is answered when ``problem`` kept its object from being stored."""
    if isinstance(problem, ConsiliumError):
        return problem
    if isinstance(problem, TimeoutError):
        return Unavailable("The archive did not answer in time. Send the object again.")
    log.error("dimse_store_failed", error=type(problem).__name__, exc_info=problem)
    return Corrupt("The object can't be stored: an error of ours.")


def _accepted(indexed: Indexed) -> Answer:
    reason = warning_reason(indexed.warnings)
    return Answer(reason, warning_comment(indexed.warnings)) if reason else Answer(SUCCESS)


def refused(refusal: ConsiliumError) -> Answer:
    """Return the status word, a comment and the offending element of a refusal."""
    findings = refusal.facts.get("findings") or []
    path = next((str(found["tag_path"]) for found in findings if found.get("tag_path")), "")
    return Answer(status_word(refusal), comment(refusal), _tag(path))


def status_word(refusal: ConsiliumError) -> int:
    """Return the status word of a refusal: STOW-RS's failure reason, but what is worth sending again is out of resources."""
    if isinstance(refusal, Exhausted | Unavailable):
        return OUT_OF_RESOURCES
    return failure_reason(refusal)


def _tag(path: str) -> int:
    """Return the tag of a path's last element, ``(0028,0010)``; 0 when there is none."""
    digits = path[-11:].strip("()").replace(",", "")
    try:
        return int(digits, 16) if len(digits) == 8 else 0
    except ValueError:
        return 0
