"""Command sets: implicit VR little endian, group 0000 only (PS3.7 6.3 and annex E), pure."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from consilium_ingest.dimse.errors import ProtocolViolation

NO_DATA_SET = 0x0101
_ANSWER = 0x8000
_HEAD = struct.Struct("<HHI")


class Operation(IntEnum):
    """The command fields that are served here (PS3.7 E.1)."""

    STORE = 0x0001
    ECHO = 0x0030
    EVENT_REPORT = 0x0100  # sent here, its answer is taken
    ACTION = 0x0130
    CANCEL = 0x0FFF


EVENT_REPORT_ANSWER = Operation.EVENT_REPORT | _ANSWER


@dataclass(frozen=True, slots=True)
class Command:
    """A request: what it asks, its number, and whether a data set follows; or the answer to an N-EVENT-REPORT, with its status."""

    operation: int
    message_id: int
    has_data_set: bool
    sop_class_uid: str
    sop_instance_uid: str
    type_id: int = 0  # of an N-ACTION
    status: int = 0  # of an answer


@dataclass(frozen=True, slots=True)
class Answer:
    """How a request ended: the status word, a sentence of at most 64 characters, and the element that was wrong."""

    status: int
    comment: str = ""
    offending_tag: int = 0


def decode_command(data: bytes) -> Command:
    """Return the request (or the answer to an N-EVENT-REPORT) of a whole command set; raise ProtocolViolation when it can't be one."""
    found = dict(_elements(data))
    operation = _number(found, 0x0100)
    answers = operation == EVENT_REPORT_ANSWER
    message_id = _number(found, 0x0120 if answers else 0x0110)
    if operation is None or (message_id is None and operation != Operation.CANCEL):
        raise ProtocolViolation("A command set without Command Field or Message ID.")
    if operation & _ANSWER and not answers:
        raise ProtocolViolation("The peer answers a request that nobody made.")
    kind = _number(found, 0x0800)
    if kind is None:
        raise ProtocolViolation("A command set without Command Data Set Type.")
    named = (0x0003, 0x1001) if operation == Operation.ACTION else (0x0002, 0x1000)  # requested or affected
    status = _number(found, 0x0900)
    if answers and status is None:
        raise ProtocolViolation("An answer without Status.")
    return Command(
        operation, message_id or 0, kind != NO_DATA_SET, _uid(found, named[0]), _uid(found, named[1]),
        _number(found, 0x1008) or 0, status or 0,
    )  # fmt: skip


def _elements(data: bytes) -> list[tuple[int, bytes]]:
    at, out = 0, []
    while at < len(data):
        if at + 8 > len(data):
            raise ProtocolViolation("A command set is cut off.")
        group, element, length = _HEAD.unpack_from(data, at)
        at += 8
        if group != 0 or at + length > len(data):
            raise ProtocolViolation("A command set holds what is no command element.")
        out.append((element, data[at : at + length]))
        at += length
    return out


def _number(found: dict[int, bytes], element: int) -> int | None:
    value = found.get(element, b"")
    return int.from_bytes(value, "little") if len(value) == 2 else None


def _uid(found: dict[int, bytes], element: int) -> str:
    return found.get(element, b"").decode("latin-1").strip(" \0")


def encode_answer(command: Command, answer: Answer) -> bytes:
    """Return the response's command set (PS3.7 9.3.1.2, 9.3.5.2 and 10.3.5.2)."""
    elements = [
        (0x0002, _padded(command.sop_class_uid, b"\0")),
        (0x0100, struct.pack("<H", command.operation | _ANSWER)),
        (0x0120, struct.pack("<H", command.message_id)),
        (0x0800, struct.pack("<H", NO_DATA_SET)),
        (0x0900, struct.pack("<H", answer.status)),
    ]
    if answer.offending_tag:
        elements.append((0x0901, struct.pack("<HH", answer.offending_tag >> 16, answer.offending_tag & 0xFFFF)))
    if answer.comment:
        elements.append((0x0902, _padded(answer.comment.replace("\\", "/")[:64], b" ")))
    if command.operation in (Operation.STORE, Operation.ACTION):
        elements.append((0x1000, _padded(command.sop_instance_uid, b"\0")))
    if command.operation == Operation.ACTION:
        elements.append((0x1008, struct.pack("<H", command.type_id)))
    return _command_set(elements)


def encode_event_report(sop_class_uid: str, sop_instance_uid: str, event_type: int, message_id: int) -> bytes:
    """Return the command set of an N-EVENT-REPORT-RQ with a data set (PS3.7 10.3.1.1)."""
    return _command_set(
        [
            (0x0002, _padded(sop_class_uid, b"\0")),
            (0x0100, struct.pack("<H", Operation.EVENT_REPORT)),
            (0x0110, struct.pack("<H", message_id)),
            (0x0800, struct.pack("<H", 1)),
            (0x1000, _padded(sop_instance_uid, b"\0")),
            (0x1002, struct.pack("<H", event_type)),
        ]
    )


def _command_set(elements: Sequence[tuple[int, bytes]]) -> bytes:
    body = b"".join(_HEAD.pack(0, element, len(value)) + value for element, value in elements if value)
    return _HEAD.pack(0, 0, 4) + struct.pack("<I", len(body)) + body


def _padded(text: str, pad: bytes) -> bytes:
    value = text.encode("ascii", "replace")
    return value + pad * (len(value) & 1)
