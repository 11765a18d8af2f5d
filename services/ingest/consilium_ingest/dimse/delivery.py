"""Reports of storage commitment on an association that ingest opens to the peer, as SCP (PS3.4 J.3.3, PS3.7 D.3.3.4, PS3.8 9.2).

One association a report: request, N-EVENT-REPORT, its answer, release. Every wait is bounded, lengths are checked before they are believed. A peer that
accepts the context without saying a word about roles is sent the report all the same: many devices do, and one that minds refuses.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from consilium_ingest.commitment.errors import ReportFailed
from consilium_ingest.commitment.pauses import NO_ADDRESS
from consilium_ingest.commitment.transactions import Transaction
from consilium_ingest.dimse.commands import EVENT_REPORT_ANSWER, Command, decode_command
from consilium_ingest.dimse.errors import AbortReason, ProtocolViolation
from consilium_ingest.dimse.incoming import STORAGE_COMMITMENT
from consilium_ingest.dimse.pdu import (
    IMPLICIT_LE,
    RELEASE_REPLY,
    Pdu,
    Proposed,
    decode_accept,
    encode,
    encode_abort,
    encode_command,
    encode_data_set,
    encode_request,
)
from consilium_ingest.dimse.reports import report_of
from consilium_ingest.dimse.settings import DimseSettings, Remote

_CONTEXT = Proposed(1, STORAGE_COMMITMENT, ("1.2.840.10008.1.2.1", IMPLICIT_LE))
_MAX_PDU_BYTES = 16 << 10
_MAX_COMMAND_BYTES = 16 << 10
_CONNECT_S, _RELEASE_S = 10.0, 5.0
_MESSAGE_ID = 1


@dataclass(frozen=True, slots=True)
class Delivery:
    """Delivers reports to the addresses of the settings."""

    remotes: Sequence[Remote]
    answer_s: float

    @classmethod
    def of(cls, settings: DimseSettings) -> Delivery:
        """Return the delivery of the door's settings."""
        return cls(settings.remotes, settings.network_s)

    async def __call__(self, transaction: Transaction) -> str:
        """Return where the report was confirmed; raise ReportFailed."""
        who = transaction.requester
        remote = next((one for one in self.remotes if (one.tenant, one.title) == (who.tenant, who.name)), None)
        if remote is None:
            raise ReportFailed(
                "The peer has no address in CONSILIUM_INGEST_DICOM_REMOTES.", NO_ADDRESS, whole_peer=True
            )
        try:
            async with _connected(remote) as peer:
                accepted, largest = await peer.associate(who.called, remote.title, self.answer_s)
                status = await peer.report(transaction, accepted, largest, self.answer_s)
                await peer.release(min(_RELEASE_S, self.answer_s))
        except TimeoutError as problem:
            raise ReportFailed("The peer does not answer.", "timeout", whole_peer=True) from problem
        except (OSError, asyncio.IncompleteReadError) as problem:
            raise ReportFailed("The peer can't be reached, or went away.", "unreachable", whole_peer=True) from problem
        except ProtocolViolation as problem:
            raise ReportFailed(problem.detail, "protocol") from problem
        if status:
            raise ReportFailed("The peer refuses the report.", f"status-{status:04X}")
        return f"on an association to {remote.host}:{remote.port}"


@asynccontextmanager
async def _connected(remote: Remote) -> AsyncIterator[_Peer]:
    async with asyncio.timeout(_CONNECT_S):
        reader, writer = await asyncio.open_connection(remote.host, remote.port)
    peer = _Peer(reader, writer)
    try:
        yield peer
    finally:
        if not peer.released:
            writer.write(encode_abort(AbortReason.NOT_SPECIFIED))
        writer.close()
        with suppress(OSError):  # a time limit is one
            async with asyncio.timeout(1):
                await writer.wait_closed()


def _message(transaction: Transaction, syntax: str, largest: int) -> bytes:
    command, data_set = report_of(transaction, syntax, _MESSAGE_ID)
    return encode_command(_CONTEXT.id, command, largest) + encode_data_set(_CONTEXT.id, data_set, largest)


class _Peer:
    """One association as its requestor sees it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.released = False
        self._reader = reader
        self._writer = writer

    async def associate(self, calling: str, called: str, limit_s: float) -> tuple[str, int]:
        """Associate; return the accepted transfer syntax and the largest PDU that the peer takes."""
        kind, body = await self._ask(encode_request(called, calling, _CONTEXT, _MAX_PDU_BYTES), limit_s)
        if kind is Pdu.ASSOCIATE_RJ:
            self.released = True
            raise ReportFailed(
                "The peer rejects the association.", f"rejected-{body[1]}-{body[2]}-{body[3]}", whole_peer=True
            )
        if kind is not Pdu.ASSOCIATE_AC:
            raise ReportFailed("The peer aborts.", "aborted")
        contexts, largest = decode_accept(body)
        if _CONTEXT.id not in contexts:
            raise ReportFailed(
                "The peer does not take reports of storage commitment.", "context-refused", whole_peer=True
            )
        if contexts[_CONTEXT.id] not in _CONTEXT.syntaxes:
            raise ProtocolViolation("The peer accepts a transfer syntax that was not proposed.")
        return contexts[_CONTEXT.id], largest

    async def report(self, transaction: Transaction, syntax: str, largest: int, limit_s: float) -> int:
        """Send the report; return the status word of its answer."""
        sent = await asyncio.to_thread(_message, transaction, syntax, largest)
        async with asyncio.timeout(limit_s):
            self._writer.write(sent)
            await self._writer.drain()
            answer = await self._command()
        if answer.operation != EVENT_REPORT_ANSWER or answer.message_id != _MESSAGE_ID:
            raise ProtocolViolation("The peer answers another message than the report.")
        return answer.status

    async def _command(self) -> Command:
        """Read one message; return its command, a data set of it is passed over."""
        command, found = bytearray(), None
        while True:
            kind, body = await self._pdu()
            if kind is not Pdu.DATA:
                raise ReportFailed("The peer ends the association before it answers.", "aborted")
            at = 0
            while at < len(body):
                if at + 6 > len(body):
                    raise ProtocolViolation("A P-DATA-TF ends with a cut fragment.")
                length, _, control = struct.unpack_from(">IBB", body, at)
                if length < 2 or at + 4 + length > len(body):
                    raise ProtocolViolation("A fragment does not fit into its P-DATA-TF.")
                piece, at = body[at + 6 : at + 4 + length], at + 4 + length
                if control & 1:
                    command += piece
                if len(command) > _MAX_COMMAND_BYTES:
                    raise ProtocolViolation("A command set is too long.")
                if control & 2:
                    found = decode_command(bytes(command)) if control & 1 else found
                    if found is not None and (not control & 1 or not found.has_data_set):
                        return found

    async def _ask(self, data: bytes, limit_s: float) -> tuple[Pdu, bytes]:
        async with asyncio.timeout(limit_s):
            self._writer.write(data)
            await self._writer.drain()
            return await self._pdu()

    async def _pdu(self) -> tuple[Pdu, bytes]:
        number, length = struct.unpack(">BxI", await self._reader.readexactly(6))
        if not 4 <= length <= 4 * _MAX_PDU_BYTES:
            raise ProtocolViolation(f"A PDU of type {number} with {length} bytes.")
        try:
            kind = Pdu(number)
        except ValueError:
            raise ProtocolViolation("A PDU of unknown type.") from None
        return kind, await self._reader.readexactly(length)

    async def release(self, limit_s: float) -> None:
        """Release; the report is confirmed already, so a peer that just goes away is fine."""
        self.released = True
        try:
            kind, _ = await self._ask(encode(Pdu.RELEASE_RQ, bytes(4)), limit_s)
            if kind is Pdu.RELEASE_RQ:  # both at once: the requestor answers first (PS3.8 9.2, AR-8, AR-9)
                await self._ask(RELEASE_REPLY, limit_s)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, ProtocolViolation):
            return
