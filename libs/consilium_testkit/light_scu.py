"""A DIMSE sender that may misbehave: every byte by hand, so that our upper layer is not its own judge (PS3.7, PS3.8)."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from io import BytesIO

from pydicom import dcmread
from pydicom.filereader import read_dataset, read_preamble

APPLICATION = b"1.2.840.10008.3.1.1.1"
VERIFICATION = "1.2.840.10008.1.1"
IMPLICIT_LE = "1.2.840.10008.1.2"
Contexts = Sequence[tuple[str, Sequence[str]]]


class PeerClosed(ConnectionError):
    """The SCP closed the connection."""


@dataclass(frozen=True)
class Refused(Exception):
    """The association was rejected or aborted: the PDU's type and its last three bytes."""

    kind: int
    why: tuple[int, int, int]


def item(kind: int, value: bytes) -> bytes:
    """Return an item of an A-ASSOCIATE-RQ."""
    return struct.pack(">BxH", kind, len(value)) + value


def pdu(kind: int, body: bytes) -> bytes:
    """Return a PDU."""
    return struct.pack(">BxI", kind, len(body)) + body


def associate_rq(contexts: Contexts, calling: str, called: str, max_pdu: int = 16384, version: int = 1) -> bytes:
    """Return an A-ASSOCIATE-RQ; context ids are 1, 3, 5 ..."""
    body = struct.pack(">Hxx", version) + called.ljust(16).encode() + calling.ljust(16).encode() + bytes(32)
    body += item(0x10, APPLICATION)
    for number, (abstract, syntaxes) in enumerate(contexts):
        inner = item(0x30, abstract.encode()) + b"".join(item(0x40, one.encode()) for one in syntaxes)
        body += item(0x20, struct.pack(">Bxxx", 2 * number + 1) + inner)
    body += item(0x50, item(0x51, struct.pack(">I", max_pdu)) + item(0x52, b"1.2.3.4"))
    return pdu(1, body)


def command_set(elements: dict[int, bytes]) -> bytes:
    """Return a command set of group 0000 with its group length."""
    body = b"".join(struct.pack("<HHI", 0, tag, len(value)) + value for tag, value in sorted(elements.items()))
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def even(text: str, pad: bytes = b"\0") -> bytes:
    """Return the text with an even length."""
    value = text.encode()
    return value + pad * (len(value) & 1)


def store_rq(sop_class: str, sop_instance: str, message_id: int = 1, data_set: int = 1) -> bytes:
    """Return the command set of a C-STORE-RQ."""
    return command_set(
        {
            0x0002: even(sop_class), 0x0100: struct.pack("<H", 1), 0x0110: struct.pack("<H", message_id),
            0x0700: struct.pack("<H", 0), 0x0800: struct.pack("<H", data_set), 0x1000: even(sop_instance),
        }
    )  # fmt: skip


def fragments(context_id: int, data: bytes, *, command: bool, size: int = 16000) -> bytes:
    """Return the P-DATA-TF PDUs of a command set or data set."""
    out = []
    for at in range(0, len(data), size) or [0]:
        last = at + size >= len(data)
        control = (1 if command else 0) | (2 if last else 0)
        piece = data[at : at + size]
        out.append(pdu(4, struct.pack(">IBB", len(piece) + 2, context_id, control) + piece))
    return b"".join(out)


def data_set_of(file: bytes) -> tuple[str, str, str, bytes]:
    """Return (SOP class, SOP instance, transfer syntax, data set bytes) of a Part 10 file, read by pydicom."""
    stream = BytesIO(file)
    read_preamble(stream, force=True)
    read_dataset(
        stream, is_implicit_VR=False, is_little_endian=True, stop_when=lambda tag, _vr, _length: tag >> 16 != 2
    )
    found = dcmread(BytesIO(file), stop_before_pixels=True, force=True)
    names = [str(found.get(name, "")) for name in ("SOPClassUID", "SOPInstanceUID")]
    return names[0], names[1], str(found.file_meta.TransferSyntaxUID), file[stream.tell() :]


@dataclass
class LightScu:
    """An association as its requestor sees it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    accepted: dict[int, tuple[int, str]] = field(default_factory=dict)
    max_pdu: int = 0

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.writer.write(data)

    async def receive(self) -> tuple[int, bytes]:
        """Return the next PDU (type, body); raise PeerClosed."""
        async with asyncio.timeout(20):
            try:
                kind, length = struct.unpack(">BxI", await self.reader.readexactly(6))
                return kind, await self.reader.readexactly(length)
            except (asyncio.IncompleteReadError, ConnectionError) as problem:
                raise PeerClosed("the SCP closed the connection") from problem

    async def associate(self, contexts: Contexts, calling: str = "TEST", called: str = "CONSILIUM") -> None:
        """Associate; raise Refused."""
        self.send(associate_rq(contexts, calling, called))
        kind, body = await self.receive()
        if kind != 2:
            raise Refused(kind, (body[1], body[2], body[3]))
        at = 68
        while at < len(body):
            what, length = struct.unpack_from(">BxH", body, at)
            value = body[at + 4 : at + 4 + length]
            if what == 0x21:
                self.accepted[value[0]] = (value[2], value[8:].decode())
            elif what == 0x50:
                self.max_pdu = struct.unpack_from(">I", value, 4)[0]
            at += 4 + length

    async def answer(self) -> dict[int, bytes]:
        """Return the elements of the next response; raise Refused when it is an abort."""
        command = b""
        while True:
            kind, body = await self.receive()
            if kind != 4:
                raise Refused(kind, (body[1], body[2], body[3]))
            control = body[5]
            command += body[6:]
            if control & 2:
                break
        found, at = {}, 0
        while at < len(command):
            _, tag, length = struct.unpack_from("<HHI", command, at)
            found[tag] = command[at + 8 : at + 8 + length]
            at += 8 + length
        return found

    async def store(
        self, context_id: int, sop_class: str, sop_instance: str, data_set: bytes, size: int = 16000
    ) -> int:
        """Send one C-STORE; return the status word."""
        self.send(fragments(context_id, store_rq(sop_class, sop_instance), command=True))
        self.send(fragments(context_id, data_set, command=False, size=size))
        return status(await self.answer())

    async def echo(self, context_id: int = 1) -> int:
        """Send one C-ECHO; return the status word."""
        self.send(fragments(context_id, echo_rq(), command=True))
        return status(await self.answer())

    async def release(self) -> None:
        """Release and wait for the answer."""
        self.send(pdu(5, bytes(4)))
        kind, _ = await self.receive()
        assert kind == 6, kind


def echo_rq(message_id: int = 1) -> bytes:
    """Return the command set of a C-ECHO-RQ."""
    return command_set(
        {
            0x0002: even(VERIFICATION), 0x0100: struct.pack("<H", 0x30), 0x0110: struct.pack("<H", message_id),
            0x0800: struct.pack("<H", 0x101),
        }
    )  # fmt: skip


def status(found: dict[int, bytes]) -> int:
    """Return the status word of a response."""
    return int(struct.unpack("<H", found[0x0900])[0])


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[LightScu]:
    """Yield a connection without an association; it is dropped at the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield LightScu(reader, writer)
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


@asynccontextmanager
async def associated(
    port: int, contexts: Contexts, calling: str = "TEST", called: str = "CONSILIUM"
) -> AsyncIterator[LightScu]:
    """Yield an association; the connection is dropped at the end."""
    async with connected(port) as scu:
        await scu.associate(contexts, calling, called)
        yield scu
