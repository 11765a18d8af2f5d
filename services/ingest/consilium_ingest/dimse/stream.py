"""A peer's bytes as PDUs and fragments, however the network cuts them (PS3.8 9.3.1, 9.3.5), without input or output.

Small PDUs are collected whole; the fragments of P-DATA-TF are handed on in the pieces they arrive in, without being copied here.
Nothing is allocated by a length in the stream: at most ``max_other_bytes`` are ever kept.
"""

from __future__ import annotations

import struct
from typing import Protocol

from consilium_ingest.dimse.errors import AbortReason, ProtocolViolation
from consilium_ingest.dimse.pdu import Pdu

_PDU_HEAD = struct.Struct(">BxI").unpack
_FRAGMENT_HEAD = struct.Struct(">IBB").unpack
_BOTH_HEADS = struct.Struct(">BxIIBB")  # of a P-DATA-TF and its first fragment: nearly always they arrive together
_HEAD_BYTES = 6  # of a PDU, and of a fragment with its control byte
_LAST, _COMMAND = 2, 1


class Sink(Protocol):
    """Who takes what is found."""

    def pdu(self, kind: Pdu, body: bytes) -> None:
        """Take a whole PDU other than P-DATA-TF."""
        ...

    def begin(self, context_id: int, size_bytes: int, *, command: bool, last: bool) -> None:
        """Take the head of a fragment."""
        ...

    def piece(self, data: memoryview) -> None:
        """Take the next bytes of the fragment; the buffer is used again afterwards."""
        ...

    def end(self) -> None:
        """Take the end of the fragment."""
        ...


class PduStream:
    """Where the peer's bytes stand. Set ``held`` from within the sink to stop before the next PDU or fragment."""

    __slots__ = ("_carry", "_fragment_left", "_kind", "_max_data", "_max_other", "_need", "_pdu_left", "_sink", "held")

    def __init__(self, sink: Sink, max_data_bytes: int, max_other_bytes: int) -> None:
        self.held = False
        self._sink = sink
        self._max_data = max_data_bytes
        self._max_other = max_other_bytes
        self._carry = bytearray()
        self._need = _HEAD_BYTES
        self._kind: Pdu | None = None  # None: the next bytes are a PDU's head
        self._pdu_left = 0  # of a P-DATA-TF, after the present fragment
        self._fragment_left = 0

    def feed(self, data: memoryview) -> int:
        """Take bytes; return how many were taken: all, unless ``held``. Raise ProtocolViolation."""
        at, size = 0, len(data)
        while at < size and not self.held:
            if self._fragment_left:
                stop = min(at + self._fragment_left, size)
                self._sink.piece(data[at:stop])
                self._fragment_left -= stop - at
                if not self._fragment_left:
                    self._end_fragment()
            elif self._kind is None and not self._carry and data[at] == Pdu.DATA and size - at >= _BOTH_HEADS.size:
                _, length, *fragment = _BOTH_HEADS.unpack_from(data, at)
                self._begin_data(length)
                self._begin_fragment(*fragment)
                stop = at + _BOTH_HEADS.size
            else:
                stop = min(at + self._need - len(self._carry), size)
                self._carry += data[at:stop]
                if len(self._carry) == self._need:
                    self._head_is_whole()
            at = stop
        return at

    def _head_is_whole(self) -> None:
        head = bytes(self._carry)
        self._carry.clear()
        if self._kind is None:
            self._begin_pdu(head)
        elif self._kind is Pdu.DATA:
            self._begin_fragment(*_FRAGMENT_HEAD(head))
        else:
            self._end_pdu(head)

    def _begin_pdu(self, head: bytes) -> None:
        number, length = _PDU_HEAD(head)
        try:
            self._kind = Pdu(number)
        except ValueError:
            raise ProtocolViolation("A PDU of unknown type.", AbortReason.UNRECOGNIZED_PDU) from None
        if self._kind is Pdu.DATA:
            self._begin_data(length)
            return
        if not 4 <= length <= self._max_other:
            raise ProtocolViolation(f"A PDU of type {number} with {length} bytes.")
        self._need = length

    def _begin_data(self, length: int) -> None:
        if not _HEAD_BYTES <= length <= self._max_data:
            raise ProtocolViolation(f"A P-DATA-TF of {length} bytes: at most {self._max_data} were agreed.")
        self._kind, self._pdu_left = Pdu.DATA, length

    def _end_pdu(self, body: bytes) -> None:
        kind, self._kind, self._need = self._kind, None, _HEAD_BYTES
        if kind is not None:
            self._sink.pdu(kind, body)

    def _begin_fragment(self, length: int, context_id: int, control: int) -> None:
        if length < 2 or length + 4 > self._pdu_left:
            raise ProtocolViolation("A fragment does not fit into its P-DATA-TF.")
        self._pdu_left -= length + 4
        if 0 < self._pdu_left < _HEAD_BYTES:
            raise ProtocolViolation("A P-DATA-TF ends with a cut fragment.")
        self._fragment_left = length - 2
        self._sink.begin(context_id, length - 2, command=bool(control & _COMMAND), last=bool(control & _LAST))
        if not self._fragment_left:
            self._end_fragment()

    def _end_fragment(self) -> None:
        if not self._pdu_left:
            self._kind = None
        self._sink.end()
