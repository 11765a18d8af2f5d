"""Command sets: implicit VR little endian, group 0000 only (PS3.7 6.3 and annex E), pure."""

from __future__ import annotations

import struct
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
    CANCEL = 0x0FFF


@dataclass(frozen=True, slots=True)
class Command:
    """A request: what it asks, its number, and whether a data set follows."""

    operation: int
    message_id: int
    has_data_set: bool
    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class Answer:
    """How a request ended: the status word, a sentence of at most 64 characters, and the element that was wrong."""

    status: int
    comment: str = ""
    offending_tag: int = 0


def decode_command(data: bytes) -> Command:
    """Return the request of a whole command set; raise ProtocolViolation when it can't be one."""
    found = dict(_elements(data))
    operation, message_id = _number(found, 0x0100), _number(found, 0x0110)
    if operation is None or (message_id is None and operation != Operation.CANCEL):
        raise ProtocolViolation("A command set without Command Field or Message ID.")
    if operation & _ANSWER:
        raise ProtocolViolation("The peer answers a request that nobody made.")
    kind = _number(found, 0x0800)
    if kind is None:
        raise ProtocolViolation("A command set without Command Data Set Type.")
    return Command(operation, message_id or 0, kind != NO_DATA_SET, _uid(found, 0x0002), _uid(found, 0x1000))


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
    """Return the response's command set (PS3.7 9.3.1.2 and 9.3.5.2)."""
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
    if command.operation == Operation.STORE:
        elements.append((0x1000, _padded(command.sop_instance_uid, b"\0")))
    body = b"".join(_HEAD.pack(0, element, len(value)) + value for element, value in elements if value)
    return _HEAD.pack(0, 0, 4) + struct.pack("<I", len(body)) + body


def _padded(text: str, pad: bytes) -> bytes:
    value = text.encode("ascii", "replace")
    return value + pad * (len(value) & 1)
