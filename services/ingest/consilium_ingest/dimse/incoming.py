"""One message at a time from its fragments: the command set, then the data set into a part of the spool (PS3.7 6.3, PS3.8 annex E).

Small objects stay in memory within the process's budget; what does not fit waits for ``drain``, which moves it to the spool file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from consilium_core.errors import ConsiliumError
from consilium_dicom.uids import is_valid_uid
from consilium_ingest.commitment.errors import CommitmentTooLarge
from consilium_ingest.commitment.transactions import MAX_REQUEST_BYTES
from consilium_ingest.dimse.commands import Command, Operation, decode_command
from consilium_ingest.dimse.errors import (
    AbortReason,
    MessageInvalid,
    ProtocolViolation,
    SopClassRefused,
    SpoolFailed,
)
from consilium_ingest.dimse.file_meta import file_meta
from consilium_ingest.errors import ObjectTooLarge
from consilium_ingest.spool import Part, Spool

VERIFICATION = "1.2.840.10008.1.1"
STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"
NOT_FOR_STORAGE = frozenset({VERIFICATION, STORAGE_COMMITMENT})
_MAX_COMMAND_BYTES = 16 << 10
_MAX_UID_CHARS = 64
_TINY_BYTES, _MAX_TINY = 32, 1000  # fragments of one message that carry next to nothing


@dataclass(frozen=True, slots=True)
class Context:
    """An accepted presentation context: its abstract syntax, and how data sets come in it."""

    abstract: str
    syntax: str


@dataclass(slots=True)
class Message:
    """A whole request. ``part`` holds the object of a C-STORE, or the argument of an N-ACTION, as a Part 10 file; ``refusal`` says why
    there is none.
    """

    context_id: int
    command: Command
    part: Part | None = None
    refusal: ConsiliumError | None = None

    def discard(self) -> None:
        """Give memory and file back."""
        if self.part is not None:
            self.part.discard()
            self.part = None

    def refuse(self, refusal: ConsiliumError) -> None:
        """Drop the object; what is still to come of it is not kept."""
        self.discard()
        self.refusal = refusal


class Incoming:
    """Puts messages together; ``complete`` is the one that has arrived whole."""

    def __init__(self, spool: Spool) -> None:
        self.contexts: Mapping[int, Context] = {}
        self.complete: Message | None = None
        self._spool = spool
        self._message: Message | None = None
        self._command = bytearray()
        self._context_id = 0  # of the message that is arriving; 0: none is
        self._fragment: tuple[bool, bool] = (False, False)  # command, last
        self._tiny = 0

    @property
    def busy(self) -> bool:
        """Tell whether a message has begun and is not whole."""
        return self._context_id != 0

    @property
    def fits(self) -> bool:
        """Tell whether more may be taken; if not, ``drain`` first."""
        return self._message is None or self._message.part is None or self._message.part.hold()

    def begin(self, context_id: int, size_bytes: int, *, command: bool, last: bool) -> None:
        """Check a fragment's head: an accepted context, the same through the message, command before data set."""
        if context_id not in self.contexts:
            raise ProtocolViolation("A fragment names no accepted context.", AbortReason.INVALID_PARAMETER)
        if context_id != (self._context_id or context_id):
            raise ProtocolViolation("Messages of two contexts are mixed.", AbortReason.UNEXPECTED_PARAMETER)
        if command == (self._message is not None):
            raise ProtocolViolation("Command and data set are mixed up.", AbortReason.UNEXPECTED_PARAMETER)
        self._tiny += size_bytes < _TINY_BYTES
        if self._tiny > _MAX_TINY:
            raise ProtocolViolation("A message of a thousand fragments that carry nothing.")
        self._context_id = context_id
        self._fragment = (command, last)

    def piece(self, data: memoryview) -> None:
        """Take the next bytes of the fragment."""
        if self._fragment[0]:
            if len(self._command) + len(data) > _MAX_COMMAND_BYTES:
                raise ProtocolViolation(f"A command set of more than {_MAX_COMMAND_BYTES} bytes.")
            self._command += data
            return
        message = self._message
        if message is not None and message.part is not None:
            try:
                message.part.write(data)
            except ObjectTooLarge as refusal:
                message.refuse(refusal)
                return
            if message.command.operation == Operation.ACTION and message.part.size > MAX_REQUEST_BYTES:
                message.refuse(CommitmentTooLarge(f"A request has at most {MAX_REQUEST_BYTES} bytes."))

    def end(self) -> bool:
        """End the fragment; tell whether a message is whole now."""
        command, last = self._fragment
        if not last:
            return False
        if command:
            self._message = self._opened(self._context_id, decode_command(bytes(self._command)))
            self._command.clear()
            if self._message.command.has_data_set:
                return False
        self.complete, self._message = self._message, None
        self._context_id = self._tiny = 0
        return True

    def _opened(self, context_id: int, command: Command) -> Message:
        message, context = Message(context_id, command), self.contexts[context_id]
        if command.operation == Operation.ACTION and command.has_data_set:
            message.part = self._spool.part("application/dicom")
            message.part.write(file_meta(context.abstract, command.sop_instance_uid[:_MAX_UID_CHARS], context.syntax))
        if command.operation != Operation.STORE:
            return message
        if not is_valid_uid(command.sop_class_uid) or not command.sop_instance_uid or not command.has_data_set:
            message.refusal = MessageInvalid("A C-STORE request without SOP class, SOP instance or data set.")
        elif len(command.sop_instance_uid) > _MAX_UID_CHARS:
            message.refusal = MessageInvalid("The SOP Instance UID of a C-STORE request is too long.")
        elif command.sop_class_uid != context.abstract or context.abstract in NOT_FOR_STORAGE:
            message.refusal = SopClassRefused("The SOP class is not the one of the presentation context.")
        else:
            message.part = self._spool.part("application/dicom")
            message.part.write(file_meta(command.sop_class_uid, command.sop_instance_uid, context.syntax))
        return message

    async def drain(self) -> None:
        """Move what does not fit in memory to the spool file."""
        message = self._message
        if message is None or message.part is None:
            return
        try:
            await message.part.drain()
        except OSError as problem:
            message.refuse(SpoolFailed(f"The spool folder can't be written: {problem.strerror}.", retry_after_s=60))

    def discard(self) -> None:
        """Forget whatever has arrived."""
        for message in (self._message, self.complete):
            if message is not None:
                message.discard()
        self._message = self.complete = None
