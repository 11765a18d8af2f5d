"""One association as acceptor: the state machine of PS3.8 9.2 for a peer that requests, and the answers to its messages.

The protocol half runs in the loop's callbacks and only takes bytes; one task of its own decides, stores and answers, one message at
a time (no asynchronous operations are negotiated). While it works, nothing more is read: the peer waits, and so does its memory.
"""

from __future__ import annotations

import asyncio
import time
from enum import StrEnum
from typing import TYPE_CHECKING

import structlog

from consilium_core.errors import Exhausted
from consilium_ingest.dimse import measures
from consilium_ingest.dimse.commands import EVENT_REPORT_ANSWER, Answer, Operation, encode_answer
from consilium_ingest.dimse.errors import AbortReason, AssociationLimit, AssociationRefused, ProtocolViolation
from consilium_ingest.dimse.incoming import Context, Incoming, Message
from consilium_ingest.dimse.negotiation import answer_contexts, tenant_of
from consilium_ingest.dimse.pdu import (
    RELEASE_REPLY,
    Pdu,
    Request,
    Result,
    decode_request,
    encode_abort,
    encode_accept,
    encode_command,
    encode_data_set,
    encode_reject,
)
from consilium_ingest.dimse.reports import Reports
from consilium_ingest.dimse.store import SUCCESS, store
from consilium_ingest.dimse.stream import PduStream
from consilium_ingest.dimse.trail import Peer, Trail, record_refusal
from consilium_ingest.dimse.wire import Wire

if TYPE_CHECKING:
    from consilium_ingest.dimse.server import DimseServer

log = structlog.get_logger()
_MAX_REQUEST_BYTES = 256 << 10
_UNRECOGNIZED_OPERATION = 0x0211


class State(StrEnum):
    """Where an association stands; in brackets the standard's names (PS3.8 table 9-9)."""

    AWAITING = "awaiting"  # a request (Sta2)
    DECIDING = "deciding"  # whether to accept it (Sta3)
    ESTABLISHED = "established"  # (Sta6)
    CLOSING = "closing"  # the peer is to close the connection (Sta13)
    ENDED = "ended"  # (Sta1)


class Association:
    """One peer, from its connection to its end; ``run`` is its task."""

    def __init__(self, server: DimseServer) -> None:
        settings = server.settings
        self.wire = Wire(server.buffer, self)
        self.admitted = False
        self._server = server
        self._settings = settings
        self._state = State.AWAITING
        self._stream = PduStream(self, settings.max_pdu_bytes, _MAX_REQUEST_BYTES)
        self._incoming = Incoming(server.spool)
        self._reports = Reports(server.keeper, self._send)
        self._request: Request | None = None
        self._trail: Trail | None = None
        self._peer_max = 0
        self._wake = asyncio.Event()
        self._working = False
        self._end = ""

    def _over(self) -> bool:
        return self._state in (State.CLOSING, State.ENDED)

    def opened(self) -> None:
        """Wait for the request (AE-5)."""
        if self._server.opened(self):
            self.wire.expect(self._settings.artim_s)
        else:
            self._end = "refused"
            self.wire.kill()

    def received(self, data: memoryview) -> int:
        """Take bytes from the wire; stop at a whole request or message, which the task then works on."""
        if self._over():
            return len(data)
        try:
            taken = self._stream.feed(data)
        except ProtocolViolation as violation:
            self._violated(violation)
            return len(data)
        if self._over():
            return len(data)
        if self._state is State.ESTABLISHED:
            self.wire.expect(self._settings.network_s if self._incoming.busy else self._settings.idle_s)
        if self._stream.held or not self._incoming.fits:
            self._working = True
            self.wire.expect(None if self._state is State.ESTABLISHED else self._settings.artim_s)
            self.wire.hold()
            self._wake.set()
        return taken

    def pdu(self, kind: Pdu, body: bytes) -> None:
        """Act on a PDU other than P-DATA-TF (PS3.8 table 9-10)."""
        if kind is Pdu.ABORT:
            self._close("aborted")
            self.wire.kill()
        elif kind is Pdu.ASSOCIATE_RQ and self._state is State.AWAITING:
            self._request = decode_request(body)
            self._state = State.DECIDING
            self._stream.held = True
        elif kind is Pdu.RELEASE_RQ and self._state is State.ESTABLISHED and not self._incoming.busy:
            self._close("released", RELEASE_REPLY)
        else:
            raise ProtocolViolation(f"A PDU of type {kind} is not expected here.", AbortReason.UNEXPECTED_PDU)

    def begin(self, context_id: int, size_bytes: int, *, command: bool, last: bool) -> None:
        """Take the head of a fragment."""
        if self._state is not State.ESTABLISHED:
            raise ProtocolViolation("Data without an association.", AbortReason.UNEXPECTED_PDU)
        self._incoming.begin(context_id, size_bytes, command=command, last=last)

    def piece(self, data: memoryview) -> None:
        """Take the next bytes of a fragment."""
        self._incoming.piece(data)

    def end(self) -> None:
        """Take the end of a fragment; a whole message stops the stream."""
        if self._incoming.end():
            self._stream.held = True

    def expired(self) -> None:
        """Give up: a silent peer is aborted, one that does not close is cut off (AA-2)."""
        if self._state is State.ESTABLISHED:
            self._close("expired", encode_abort(AbortReason.NOT_SPECIFIED))
        else:
            self._end = self._end or "expired"
            self.wire.kill()

    def lost(self) -> None:
        """The connection is gone (AA-4): end the task."""
        self._end = self._end or "lost"
        self._state = State.ENDED
        self._wake.set()

    def finish(self) -> None:
        """Begin the end of the service: a message in hand is still answered, then the association is aborted."""
        if self._state is State.AWAITING:
            self._close("drained")
            self.wire.kill()
        elif self._state is State.ESTABLISHED and not self._working and not self._incoming.busy:
            self._close("drained", encode_abort(AbortReason.NOT_SPECIFIED))

    def _violated(self, violation: ProtocolViolation) -> None:
        log.warning("dimse_protocol_violation", address=self.wire.address, detail=violation.detail)
        self._close("violated", encode_abort(violation.reason))

    def _close(self, end: str, last_words: bytes = b"") -> None:
        """Say the last words, then only wait for the peer to close the connection."""
        if self._over():
            return
        self._end = end
        self._state = State.CLOSING
        self._stream.held = True
        self.wire.write(last_words)
        self.wire.expect(self._settings.artim_s)
        self.wire.go_on()
        self._wake.set()

    async def run(self) -> None:
        """Decide, then answer message after message, until the connection is gone; give back whatever had arrived."""
        try:
            while self._state is not State.ENDED:
                await self._wake.wait()
                self._wake.clear()
                await self._act()
        except Exception as problem:
            log.exception("dimse_association_failed", error=type(problem).__name__)
            self._close("failed", encode_abort(AbortReason.NOT_SPECIFIED))
        finally:
            self._incoming.discard()
            await self._closed()

    async def _act(self) -> None:
        if self._over():
            self._incoming.discard()
            return
        request, self._request = self._request, None
        message, self._incoming.complete = self._incoming.complete, None
        if request is not None:
            await self._decide(request)
        elif message is not None:
            try:
                await self._answer(message)
            finally:
                message.discard()
        elif not self._incoming.fits:
            await self._incoming.drain()
        self._working = False
        if self._state is State.ESTABLISHED:
            self._next()

    def _next(self) -> None:
        """Read on, unless the service ends and no message is half here."""
        if self._server.ending and not self._incoming.busy:
            self._close("drained", encode_abort(AbortReason.NOT_SPECIFIED))
            return
        self.wire.expect(self._settings.network_s if self._incoming.busy else self._settings.idle_s)
        self._stream.held = False
        self.wire.go_on()

    async def _decide(self, request: Request) -> None:
        """Accept or reject (AE-6, AE-7, AE-8)."""
        address = self.wire.address
        try:
            tenant = tenant_of(self._settings.peers, address, request)
            self._server.admit(self)
        except (AssociationRefused, Exhausted) as refusal:
            await self._reject(request, refusal)
            return
        answers = answer_contexts(request.contexts, self._settings.private_sop_classes)
        proposed = {context.id: context.abstract for context in request.contexts}
        self._incoming.contexts = {
            answer.id: Context(proposed[answer.id], answer.syntax)
            for answer in answers
            if answer.result is Result.ACCEPTED
        }
        self._trail = Trail(self._server.audit, Peer(address, request.calling, request.called, tenant))
        self._peer_max = request.max_pdu_bytes
        if self._state is State.DECIDING:
            self._state = State.ESTABLISHED
            self.wire.write(encode_accept(request, answers, self._settings.max_pdu_bytes))
            log.info(
                "dimse_association_opened", address=address, calling=request.calling, called=request.called,
                contexts=len(self._incoming.contexts), proposed=len(answers), implementation=request.implementation,
            )  # fmt: skip

    async def _reject(self, request: Request, refusal: AssociationRefused | Exhausted) -> None:
        peer = Peer(self.wire.address, request.calling, request.called, "")
        log.warning("dimse_association_refused", address=peer.address, calling=peer.calling, code=refusal.code)
        try:
            await record_refusal(self._server.refusals, peer, refusal)
        finally:
            rejection = refusal.rejection if isinstance(refusal, AssociationRefused) else AssociationLimit.rejection
            self._close("refused", encode_reject(rejection))

    async def _answer(self, message: Message) -> None:
        """Work on one message and answer it; C-CANCEL has nothing to cancel here and no answer."""
        operation, started = message.command.operation, time.perf_counter()
        if operation == Operation.CANCEL or self._trail is None:
            return
        if operation == EVENT_REPORT_ANSWER:
            try:
                await self._reports.answered(message.command)
            except ProtocolViolation as violation:
                self._violated(violation)
            return
        context, asked = self._incoming.contexts[message.context_id], None
        if operation == Operation.STORE:
            size = message.part.size if message.part is not None else 0
            answer = await store(self._server.writer, message, self._trail)
            measures.STORES.labels(f"{answer.status:04X}").inc()
            measures.STORE_SECONDS.observe(time.perf_counter() - started)
            if answer.status == SUCCESS:
                measures.BYTES.inc(size)
        elif operation == Operation.ECHO:
            measures.ECHOES.inc()
            answer = Answer(SUCCESS)
        elif operation == Operation.ACTION:
            answer, asked = await self._reports.ask(message, self._trail.peer, context.abstract)
        else:
            answer = Answer(_UNRECOGNIZED_OPERATION)
        await self._send(message.context_id, encode_answer(message.command, answer))
        if asked is not None:
            message.discard()
            await self._reports.follow(message.context_id, context, asked)

    async def _send(self, context_id: int, command: bytes, data_set: bytes = b"") -> None:
        self.wire.write(encode_command(context_id, command, self._peer_max))
        if data_set:
            self.wire.write(encode_data_set(context_id, data_set, self._peer_max))
        await self.wire.drained(self._settings.network_s)

    async def _closed(self) -> None:
        """Write the end into the trail and the log."""
        measures.ASSOCIATIONS.labels(self._end or "failed").inc()
        trail = self._trail
        if trail is None:
            self._server.closed(self)
            return
        log.info(
            "dimse_association_ended", address=self.wire.address, calling=trail.peer.calling, end=self._end,
            stored=trail.stored, refused=sum(trail.refused.values()),
        )  # fmt: skip
        try:
            await self._reports.end()
            await trail.close()
        except Exception as problem:
            log.exception("dimse_audit_failed", error=type(problem).__name__)
        finally:
            self._server.closed(self)
