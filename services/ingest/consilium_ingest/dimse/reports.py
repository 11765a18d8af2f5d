"""Storage commitment on an association that a peer opened: its N-ACTION, and the N-EVENT-REPORT while it stays open (PS3.4 J.3).

A request is durable before it is answered. Then it is decided, and the report goes out on the same association, one at a time (no
asynchronous operations are negotiated), while the peer's next messages are read. What is not confirmed when the association ends, or takes too long
to decide, is left to the keeper, which opens an association of its own.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from consilium_core.errors import ConsiliumError, Exhausted, Invalid
from consilium_dicom.errors import DicomInvalid
from consilium_dicom.json_model import to_json_model
from consilium_ingest.commitment.errors import CommitmentTooLarge
from consilium_ingest.commitment.keeper import LEASE_S, Keeper
from consilium_ingest.commitment.pauses import pause_s
from consilium_ingest.commitment.transactions import Ask, Requester, State, Transaction, ask_of, result_of
from consilium_ingest.dimse.commands import Answer, Command, encode_event_report
from consilium_ingest.dimse.errors import ActionRefused, ProtocolViolation
from consilium_ingest.dimse.incoming import STORAGE_COMMITMENT, Context, Message
from consilium_ingest.dimse.result_sets import encode_result
from consilium_ingest.spool import Part

if TYPE_CHECKING:
    from consilium_ingest.dimse.trail import Peer

log = structlog.get_logger()
WELL_KNOWN_INSTANCE = "1.2.840.10008.1.20.1.1"
ALL_KEPT, FAILURES = 1, 2  # event types (PS3.4 table J.3.3-1)
_REQUEST = 1  # action type (PS3.4 table J.3.2-1)
_DECIDE_S = 10.0  # the peer's next messages wait meanwhile
_WAITING = 8
_INVALID_ARGUMENT, _PROCESSING_FAILURE, _RESOURCE_LIMITATION = 0x0115, 0x0110, 0x0213
_NO_SUCH_INSTANCE, _NO_SUCH_ACTION, _NO_SUCH_CLASS = 0x0112, 0x0123, 0x0118
Send = Callable[[int, bytes, bytes], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class _Due:
    context_id: int
    syntax: str
    transaction: Transaction


def report_of(transaction: Transaction, syntax: str, message_id: int) -> tuple[bytes, bytes]:
    """Return the command set and the data set of a decided transaction's N-EVENT-REPORT (PS3.4 J.3.3)."""
    verdicts, _ = transaction.decided()
    event_type = ALL_KEPT if all(verdict.committed for verdict in verdicts) else FAILURES
    command = encode_event_report(STORAGE_COMMITMENT, WELL_KNOWN_INSTANCE, event_type, message_id)
    return command, encode_result(result_of(verdicts, transaction.ask.transaction_uid), syntax)


class Reports:
    """The transactions that one association has asked for and not been told of."""

    def __init__(self, keeper: Keeper, send: Send) -> None:
        self._keeper = keeper
        self._send = send
        self._due: deque[_Due] = deque()
        self._out: tuple[int, Transaction] | None = None
        self._sent = 0

    async def ask(self, message: Message, peer: Peer, abstract: str) -> tuple[Answer, Transaction | None]:
        """Keep the request of an N-ACTION; return its answer. Only a cancellation raises."""
        requester = Requester(peer.tenant, peer.calling, "dicom-peer", "dimse", peer.address, peer.called)
        try:
            ask = await _ask(message, abstract)
            return Answer(0), await self._keeper.rows.keep(requester, ask, LEASE_S)
        except ActionRefused as refusal:
            return Answer(refusal.status, refusal.detail), None
        except (CommitmentTooLarge, Exhausted) as refusal:
            return Answer(_RESOURCE_LIMITATION, refusal.detail), None
        except (Invalid, DicomInvalid) as refusal:
            return Answer(_INVALID_ARGUMENT, refusal.detail), None
        except ConsiliumError as problem:
            log.warning("dimse_commitment_not_kept", code=problem.code)
            return Answer(_PROCESSING_FAILURE, problem.detail), None
        except Exception as problem:
            log.exception("dimse_commitment_failed", error=type(problem).__name__)
            return Answer(_PROCESSING_FAILURE, "an error of ours"), None

    async def follow(self, context_id: int, context: Context, asked: Transaction) -> None:
        """Decide of a request that was answered, and report; what fails here is the keeper's."""
        try:
            async with asyncio.timeout(_DECIDE_S):
                settled = await self._keeper.settle(asked)
        except (ConsiliumError, TimeoutError):
            await self._keeper.rows.postpone(asked, 0, "undecided")
            return
        if settled.state is not State.WAITING:
            return
        if len(self._due) >= _WAITING:
            await self._keeper.rows.postpone(settled, 0, "too-many-reports")
            return
        self._due.append(_Due(context_id, context.syntax, settled))
        await self._next()

    async def _next(self) -> None:
        if self._out is not None or not self._due:
            return
        due = self._due.popleft()
        self._sent = self._sent % 0xFFFF + 1
        self._out = self._sent, due.transaction
        report = await asyncio.to_thread(report_of, due.transaction, due.syntax, self._sent)
        await self._send(due.context_id, *report)

    async def answered(self, command: Command) -> None:
        """Take the peer's answer to a report; raise ProtocolViolation when there was none."""
        out = self._out
        if out is None or out[0] != command.message_id:
            raise ProtocolViolation("The peer answers a report that was not sent.")
        self._out = None
        if command.status == 0:
            await self._keeper.delivered(out[1], "on the association of the request")
        else:
            await self._keeper.rows.postpone(out[1], pause_s(1), f"status-{command.status:04X}")
        await self._next()

    async def end(self) -> None:
        """Leave what is not confirmed to the keeper, at once."""
        left = [due.transaction for due in self._due] + ([self._out[1]] if self._out else [])
        self._due.clear()
        self._out = None
        for transaction in left:
            await self._keeper.rows.postpone(transaction, 0, "association-ended")


async def _ask(message: Message, abstract: str) -> Ask:
    """Return what an N-ACTION asks (PS3.4 J.3.2.1); raise ActionRefused, DicomInvalid or what kept its argument away."""
    command = message.command
    if abstract != STORAGE_COMMITMENT or command.sop_class_uid != STORAGE_COMMITMENT:
        raise ActionRefused("N-ACTION is served for storage commitment alone.", _NO_SUCH_CLASS)
    if command.sop_instance_uid != WELL_KNOWN_INSTANCE:
        raise ActionRefused("Not the well-known storage commitment instance.", _NO_SUCH_INSTANCE)
    if command.type_id != _REQUEST:
        raise ActionRefused("There is no such action.", _NO_SUCH_ACTION)
    if message.refusal is not None:
        raise message.refusal
    if message.part is None:
        raise ActionRefused("The request has no data set.", _INVALID_ARGUMENT)
    await message.part.finish()
    return await asyncio.to_thread(_read, message.part)


def _read(part: Part) -> Ask:
    data = part.path.read_bytes() if part.path is not None else bytes(part.memory)
    return ask_of(to_json_model(data, None, "urn:none"))
