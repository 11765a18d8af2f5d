"""PDUs of the upper layer as bytes and back (PS3.8 9.3), pure. Lengths are big endian; every one is checked before it is believed."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

from consilium_dicom.build import IMPLEMENTATION_CLASS_UID
from consilium_ingest.dimse.errors import AbortReason, ProtocolViolation

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
IMPLEMENTATION_VERSION = "CONSILIUM"
IMPLICIT_LE = "1.2.840.10008.1.2"


class Pdu(IntEnum):
    """The PDU types (PS3.8 9.3.1)."""

    ASSOCIATE_RQ = 1
    ASSOCIATE_AC = 2
    ASSOCIATE_RJ = 3
    DATA = 4
    RELEASE_RQ = 5
    RELEASE_RP = 6
    ABORT = 7


class Result(IntEnum):
    """What became of a presentation context (PS3.8 9.3.3.2)."""

    ACCEPTED = 0
    ABSTRACT_SYNTAX_NOT_SUPPORTED = 3
    TRANSFER_SYNTAXES_NOT_SUPPORTED = 4


@dataclass(frozen=True, slots=True)
class Proposed:
    """One presentation context as the requestor proposes it; transfer syntaxes in the order sent."""

    id: int
    abstract: str
    syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Answered:
    """The acceptor's answer to one presentation context; ``syntax`` counts only when accepted."""

    id: int
    result: Result
    syntax: str


@dataclass(frozen=True, slots=True)
class Request:
    """An A-ASSOCIATE-RQ: AE titles without padding; ``echoed`` are the bytes that the answer repeats (PS3.8 table 9-17)."""

    version: int
    called: str
    calling: str
    application: str
    contexts: tuple[Proposed, ...]
    max_pdu_bytes: int
    implementation: str
    echoed: bytes


def decode_request(body: bytes) -> Request:
    """Return the request of an A-ASSOCIATE-RQ's body; raise ProtocolViolation (PS3.8 9.3.2)."""
    if len(body) < 68:
        raise ProtocolViolation("The A-ASSOCIATE-RQ is too short.")
    application, contexts, most, implementation = "", [], 0, ""
    for kind, value in _items(body, 68):
        if kind == 0x10:
            application = _text(value)
        elif kind == 0x20:
            contexts.append(_proposed(value))
        elif kind == 0x50:
            most, implementation = _user_information(value)
    ids = [context.id for context in contexts]
    if len(set(ids)) != len(ids) or any(number % 2 == 0 for number in ids):
        raise ProtocolViolation("Presentation context ids are not odd and unique.")
    version = struct.unpack_from(">H", body)[0]
    called, calling = _title(body[4:20]), _title(body[20:36])
    return Request(version, called, calling, application, tuple(contexts), most, implementation, body[4:68])


def _items(data: bytes, at: int = 0) -> Iterator[tuple[int, bytes]]:
    """Yield (type, value) of a run of items that must fill ``data`` exactly."""
    while at < len(data):
        if at + 4 > len(data):
            raise ProtocolViolation("An item of an A-ASSOCIATE PDU is cut off.")
        kind, length = struct.unpack_from(">BxH", data, at)
        at += 4
        if at + length > len(data):
            raise ProtocolViolation("An item of an A-ASSOCIATE PDU runs past its end.")
        yield kind, data[at : at + length]
        at += length


def _proposed(value: bytes) -> Proposed:
    if len(value) < 4:
        raise ProtocolViolation("A presentation context is too short.")
    abstract, syntaxes = "", []
    for kind, inner in _items(value, 4):
        if kind == 0x30:
            abstract = _text(inner)
        elif kind == 0x40:
            syntaxes.append(_text(inner))
    return Proposed(value[0], abstract, tuple(syntaxes))


def _user_information(value: bytes) -> tuple[int, str]:
    """Return (maximum length received, implementation version name); what else is proposed there is not taken up."""
    most, implementation = 0, ""
    for kind, inner in _items(value):
        if kind == 0x51 and len(inner) == 4:
            most = struct.unpack(">I", inner)[0]
        elif kind == 0x55:
            implementation = _text(inner)[:16]
    return most, implementation


def _text(value: bytes) -> str:
    return value.decode("latin-1").strip(" \0")


def _title(value: bytes) -> str:
    """Return an AE title: leading and trailing spaces do not count (PS3.8 table 9-11); what no AE title may hold becomes ``?``."""
    text = value.decode("latin-1").strip(" \0")
    return "".join(letter if " " <= letter <= "~" and letter != "\\" else "?" for letter in text)


def _item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(value)) + value


def encode(kind: Pdu, body: bytes) -> bytes:
    """Return a whole PDU."""
    return struct.pack(">BxI", kind, len(body)) + body


def encode_accept(request: Request, contexts: Sequence[Answered], max_pdu_bytes: int) -> bytes:
    """Return the A-ASSOCIATE-AC (PS3.8 9.3.3): no window of asynchronous operations, no roles, no user identity."""
    items = [_item(0x10, APPLICATION_CONTEXT.encode())]
    for context in contexts:
        head = struct.pack(">BxBx", context.id, context.result)
        items.append(_item(0x21, head + _item(0x40, (context.syntax or IMPLICIT_LE).encode())))
    user = _item(0x51, struct.pack(">I", max_pdu_bytes)) + _item(0x52, IMPLEMENTATION_CLASS_UID.encode())
    items.append(_item(0x50, user + _item(0x55, IMPLEMENTATION_VERSION.encode())))
    return encode(Pdu.ASSOCIATE_AC, struct.pack(">Hxx", 1) + request.echoed + b"".join(items))


def encode_reject(rejection: tuple[int, int, int]) -> bytes:
    """Return the A-ASSOCIATE-RJ of (result, source, reason) (PS3.8 9.3.4)."""
    return encode(Pdu.ASSOCIATE_RJ, struct.pack(">xBBB", *rejection))


def encode_abort(reason: AbortReason) -> bytes:
    """Return the provider's A-ABORT (PS3.8 9.3.8)."""
    return encode(Pdu.ABORT, struct.pack(">xxBB", 2, reason))


RELEASE_REPLY = encode(Pdu.RELEASE_RP, bytes(4))
_SMALLEST_FRAGMENT = 128


def encode_command(context_id: int, command: bytes, max_pdu_bytes: int) -> bytes:
    """Return the P-DATA-TF PDUs of a command set, none larger than the peer takes; 0: any size (PS3.8 9.3.5, D.1)."""
    return _fragments(context_id, command, max_pdu_bytes, 1)


def encode_data_set(context_id: int, data_set: bytes, max_pdu_bytes: int) -> bytes:
    """Return the P-DATA-TF PDUs of a data set, likewise."""
    return _fragments(context_id, data_set, max_pdu_bytes, 0)


def _fragments(context_id: int, data: bytes, max_pdu_bytes: int, kind: int) -> bytes:
    room = max(_SMALLEST_FRAGMENT, max_pdu_bytes - 6) if max_pdu_bytes else len(data)
    pieces = [data[at : at + room] for at in range(0, len(data), room)]
    out = []
    for number, piece in enumerate(pieces, 1):
        control = kind | (2 if number == len(pieces) else 0)
        out.append(encode(Pdu.DATA, struct.pack(">IBB", len(piece) + 2, context_id, control) + piece))
    return b"".join(out)


def encode_request(called: str, calling: str, context: Proposed, max_pdu_bytes: int) -> bytes:
    """Return an A-ASSOCIATE-RQ of one context whose provider (SCP) the requestor is (PS3.8 9.3.2, PS3.7 D.3.3.4)."""
    titles = b"".join(one.encode("ascii", "replace")[:16].ljust(16) for one in (called, calling))
    syntaxes = b"".join(_item(0x40, one.encode()) for one in context.syntaxes)
    proposed = struct.pack(">Bxxx", context.id) + _item(0x30, context.abstract.encode()) + syntaxes
    abstract = context.abstract.encode()
    roles = struct.pack(">H", len(abstract)) + abstract + b"\x00\x01"  # user: no, provider: yes
    user = _item(0x51, struct.pack(">I", max_pdu_bytes)) + _item(0x52, IMPLEMENTATION_CLASS_UID.encode())
    user += _item(0x54, roles) + _item(0x55, IMPLEMENTATION_VERSION.encode())
    items = _item(0x10, APPLICATION_CONTEXT.encode()) + _item(0x20, proposed) + _item(0x50, user)
    return encode(Pdu.ASSOCIATE_RQ, struct.pack(">Hxx", 1) + titles + bytes(32) + items)


def decode_accept(body: bytes) -> tuple[dict[int, str], int]:
    """Return the accepted contexts (id: transfer syntax) and the largest PDU of an A-ASSOCIATE-AC; raise ProtocolViolation."""
    accepted, most = {}, 0
    for kind, value in _items(body, 68):
        if kind == 0x21 and len(value) >= 4 and value[2] == Result.ACCEPTED:
            syntax = [_text(inner) for what, inner in _items(value, 4) if what == 0x40]
            accepted[value[0]] = syntax[0] if syntax else ""
        elif kind == 0x50:
            most, _ = _user_information(value)
    return accepted, most
