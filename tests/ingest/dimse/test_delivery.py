"""Reports on associations of our own to peers that refuse, break off, keep silent or send what is no DICOM: each has its word, none harms us."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime

import pytest

from consilium_archive.commitment import Reference, refused
from consilium_ingest.commitment.errors import ReportFailed
from consilium_ingest.commitment.transactions import Ask, Requester, State, Transaction
from consilium_ingest.dimse.delivery import Delivery
from consilium_ingest.dimse.settings import Remote
from consilium_testkit.instances import CT
from consilium_testkit.light_scu import command_set, even, fragments, item, pdu
from consilium_testkit.servers import free_port

COMMITMENT, IMPLICIT = "1.2.840.10008.1.20.1", "1.2.840.10008.1.2"
REFERENCES = (Reference(CT, "1.2.3"),)
AT = datetime(2030, 1, 1, tzinfo=UTC)
REPORT = Transaction(
    "01J", Ask("1.2", REFERENCES), Requester("demo", "CT1", "dicom-peer", "dimse", "127.0.0.1", "CONSILIUM"), False, AT,
    tuple(refused(REFERENCES, "unknown")), AT, State.WAITING, 1, "", None,
)  # fmt: skip


def accept(result: int = 0, syntax: str = IMPLICIT) -> bytes:
    """Return an A-ASSOCIATE-AC that says nothing of roles (PS3.8 9.3.3)."""
    context = item(0x21, bytes((1, 0, result, 0)) + item(0x40, syntax.encode()))
    user = item(0x50, item(0x51, struct.pack(">I", 4096)) + item(0x52, b"1.2.3"))
    return pdu(2, struct.pack(">Hxx", 1) + bytes(64) + item(0x10, b"1.2.840.10008.3.1.1.1") + context + user)


def answer(status: int = 0, message_id: int = 1, operation: int = 0x8100) -> bytes:
    return fragments(
        1,
        command_set(
            {
                0x0002: even(COMMITMENT), 0x0100: struct.pack("<H", operation), 0x0120: struct.pack("<H", message_id),
                0x0800: struct.pack("<H", 0x0101), 0x0900: struct.pack("<H", status),
            }
        ),
        command=True,
    )  # fmt: skip


@asynccontextmanager
async def peer(*says: bytes, hangs_up: bool = False) -> AsyncIterator[Remote]:
    """Run a peer that says one thing to each message of ours, then keeps silent or hangs up."""
    port = free_port()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            for words in says:
                await reader.read(65536)
                writer.write(words)
            while not hangs_up and await reader.read(65536):
                pass
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", port):
        yield Remote(tenant="demo", title="CT1", host="127.0.0.1", port=port)


@pytest.mark.parametrize(
    ("says", "problem"),
    [
        ((pdu(3, b"\0\x01\x01\x03"),), "rejected-1-1-3"),
        ((pdu(7, bytes(4)),), "aborted"),
        ((accept(result=3),), "context-refused"),
        ((accept(syntax="1.2.840.10008.1.2.2"),), "protocol"),
        ((b"HTTP/1.1 400 Bad Request\r\n\r\n",), "protocol"),
        ((struct.pack(">BxI", 2, 1 << 31),), "protocol"),
        ((struct.pack(">BxI", 2, 80) + bytes(68) + b"\x21\0\xff\xff" + bytes(8),), "protocol"),
        ((accept(), pdu(7, bytes(4))), "aborted"),
        ((accept(), answer(status=0x0110)), "status-0110"),
        ((accept(), answer(message_id=2)), "protocol"),
        ((accept(), answer(operation=0x8001)), "protocol"),
        ((accept(), pdu(4, struct.pack(">IBB", 999, 1, 3) + b"x")), "protocol"),
        ((accept(), fragments(1, bytes(20_000), command=True)), "protocol"),
        ((accept(),), "timeout"),
        ((), "timeout"),
    ],
)
async def test_a_peer_that_does_not_take_the_report_is_named_by_what_it_did(
    says: tuple[bytes, ...], problem: str
) -> None:
    async with peer(*says) as remote:
        with pytest.raises(ReportFailed) as failed:
            await Delivery((remote,), answer_s=0.5)(REPORT)
    assert failed.value.problem == problem


@pytest.mark.parametrize("says", [(), (accept(),)])
async def test_a_peer_that_hangs_up_is_unreachable(says: tuple[bytes, ...]) -> None:
    async with peer(*says, hangs_up=True) as remote:
        with pytest.raises(ReportFailed) as failed:
            await Delivery((remote,), answer_s=5)(REPORT)
    assert failed.value.problem == "unreachable"
    nobody = remote.model_copy(update={"port": free_port()})
    with pytest.raises(ReportFailed, match="can't be reached"):
        await Delivery((nobody,), answer_s=5)(REPORT)


async def test_a_confirmed_report_counts_however_the_peer_leaves() -> None:
    async with peer(accept(), answer(), hangs_up=True) as remote:
        assert await Delivery((remote,), answer_s=5)(REPORT) == f"on an association to 127.0.0.1:{remote.port}"
    async with peer(accept(), answer(), pdu(6, bytes(4))) as remote:
        assert "127.0.0.1" in await Delivery((remote,), answer_s=5)(REPORT)


async def test_an_address_of_another_tenant_or_title_is_not_used() -> None:
    async with peer(accept(), answer()) as remote:
        for other in ({"tenant": "elsewhere"}, {"title": "CT2"}):
            with pytest.raises(ReportFailed) as failed:
                await Delivery((remote.model_copy(update=other),), answer_s=5)(REPORT)
            assert failed.value.problem == "no-address"
