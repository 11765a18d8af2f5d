"""Who may associate, how many at once, how long they may keep silent, and how an association ends (PS3.8 7, 9.2)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from consilium_ingest.dimse.server import DicomPortUnusable, DimseServer
from consilium_ingest.dimse.settings import LOOPBACK, DimseSettings, PeerRule
from consilium_platform.platform import Platform
from consilium_platform.settings import SettingsInvalid
from consilium_testkit.archive_rooms import archive_door
from consilium_testkit.instances import CT, ct_instance
from consilium_testkit.light_scu import (
    VERIFICATION,
    PeerClosed,
    Refused,
    associate_rq,
    associated,
    connected,
    data_set_of,
    echo_rq,
    fragments,
    item,
    pdu,
    status,
    store_rq,
)

EXPLICIT = "1.2.840.10008.1.2.1"
CONTEXTS = [(CT, [EXPLICIT]), (VERIFICATION, ["1.2.840.10008.1.2"])]
HERE = ("127.0.0.0/8",)
PERMANENT_CALLING, PERMANENT_CALLED, LIMIT = (1, 1, 3), (1, 1, 7), (2, 3, 2)


@asynccontextmanager
async def opened(platform: Platform, **settings: Any) -> AsyncIterator[DimseServer]:
    """Yield a DIMSE door with these settings."""
    async with archive_door(platform, dimse=DimseSettings.load(port=0, **settings)) as door:
        yield door.ingest.state.dimse  # type: ignore[attr-defined]


async def until_closed(server: DimseServer) -> None:
    """Return when no connection is left."""
    async with asyncio.timeout(20):
        while server.open:
            await asyncio.sleep(0.005)


@pytest.mark.parametrize(
    ("rule", "calling", "called", "why"),
    [
        (PeerRule(tenant="demo", calling=("*",), addresses=("10.0.0.0/8", "192.0.2.7")), "CT", "X", PERMANENT_CALLING),
        (PeerRule(tenant="demo", calling=("CT",), addresses=HERE), "MR", "X", PERMANENT_CALLING),
        (PeerRule(tenant="demo", calling=("CT",), addresses=HERE), "ct", "X", PERMANENT_CALLING),
        (PeerRule(tenant="demo", called=("PACS",), calling=("*",), addresses=HERE), "CT", "X", PERMANENT_CALLED),
        (PeerRule(tenant="demo", called=("PACS",), calling=("CT",), addresses=HERE), "CT", "PACS", None),
    ],
)
async def test_who_fits_no_rule_is_rejected_and_audited(
    platform: Platform, rule: PeerRule, calling: str, called: str, why: tuple[int, int, int] | None
) -> None:
    async with opened(platform, peers=(rule,)) as server, connected(server.port) as scu:
        if why is None:
            await scu.associate(CONTEXTS, calling, called)
            return
        with pytest.raises(Refused) as refused:
            await scu.associate(CONTEXTS, calling, called)
        assert (refused.value.kind, refused.value.why) == (3, why)
        [entry] = await platform.audit.search("demo", action="association.refused")
        assert (entry["actor"], entry["outcome"]) == (calling, "denied")
        assert "127.0.0.1" in entry["detail"]


async def test_storescu_is_told_why_it_is_rejected(platform: Platform, dcmtk: Any) -> None:
    rule = PeerRule(tenant="demo", called=("PACS",), calling=("CT",), addresses=HERE)
    async with opened(platform, peers=(rule,)) as server:
        address = ("127.0.0.1", str(server.port))
        status, said = await dcmtk("echoscu", "-aet", "CT", "-aec", "OTHER", *address)
        assert status != 0
        assert "Called AE Title Not Recognized" in said
        status, said = await dcmtk("echoscu", "-aet", "MR", "-aec", "PACS", *address)
        assert status != 0
        assert "Calling AE Title Not Recognized" in said
        assert (await dcmtk("echoscu", "-aet", "CT", "-aec", "PACS", *address))[0] == 0


async def test_a_request_that_is_not_dicoms_is_rejected(platform: Platform) -> None:
    async with opened(platform) as server:
        for request, why in (
            (associate_rq(CONTEXTS, "CT", "X", version=2), (1, 2, 2)),
            (associate_rq(CONTEXTS, "CT", "X").replace(b"1.2.840.10008.3.1.1.1", b"1.2.840.10008.3.1.1.9"), (1, 1, 2)),
        ):
            async with connected(server.port) as scu:
                scu.send(request)
                kind, body = await scu.receive()
                assert (kind, tuple(body[1:4])) == (3, why)


async def test_contexts_are_answered_one_by_one_with_the_first_syntax_that_is_stored_here(platform: Platform) -> None:
    private = "1.2.3.4.5"
    contexts = [
        (CT, ["1.2.3", "1.2.840.10008.1.2.4.90", EXPLICIT]), ("1.2.840.10008.5.1.4.1.2.2.1", [EXPLICIT]), (CT, ["1.2.3"]),
        (VERIFICATION, ["1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2"]), (private, [EXPLICIT]), (CT, []),
    ]  # fmt: skip
    async with opened(platform, max_pdu_bytes=1 << 20) as server, associated(server.port, contexts) as scu:
        assert {number: result for number, (result, _) in scu.accepted.items()} == {1: 0, 3: 3, 5: 4, 7: 0, 9: 3, 11: 4}
        assert scu.accepted[1][1] == "1.2.840.10008.1.2.4.90"
        assert scu.accepted[7][1] == "1.2.840.10008.1.2"
        assert scu.max_pdu == 1 << 20


async def test_associations_are_limited_in_all_and_per_peer_and_a_place_is_given_back(platform: Platform) -> None:
    for limits in ({"associations": 2}, {"associations_per_peer": 2}):
        async with opened(platform, **limits) as server:
            async with associated(server.port, CONTEXTS) as first, associated(server.port, CONTEXTS):
                async with connected(server.port) as third:
                    with pytest.raises(Refused) as refused:
                        await third.associate(CONTEXTS)
                assert (refused.value.kind, refused.value.why) == (3, LIMIT)
                await first.release()
                first.writer.close()
                async with asyncio.timeout(20):
                    while server.open > 1:
                        await asyncio.sleep(0.005)
                async with associated(server.port, CONTEXTS) as again:
                    assert await again.echo(3) == 0
            await until_closed(server)


async def test_connections_that_ask_for_nothing_are_bounded(platform: Platform) -> None:
    async with opened(platform, associations=2) as server:
        sockets = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(8)]
        async with asyncio.timeout(20):
            ends = await asyncio.gather(*(reader.read() for reader, _ in sockets[4:]), return_exceptions=True)
        assert all(end == b"" or isinstance(end, ConnectionError) for end in ends)
        assert server.open == 4
        for _, writer in sockets:
            writer.close()
        await until_closed(server)


async def test_a_connection_without_a_request_ends_with_the_artim_timer(platform: Platform) -> None:
    async with opened(platform, artim_s=0.05) as server, connected(server.port) as scu:
        scu.send(associate_rq(CONTEXTS, "CT", "X")[:40])
        with pytest.raises(PeerClosed):
            await scu.receive()


async def test_an_idle_association_and_a_message_that_stops_are_aborted(platform: Platform) -> None:
    file = data_set_of(ct_instance(side=64))
    async with opened(platform, idle_s=0.05) as server, associated(server.port, CONTEXTS) as scu:
        assert (await scu.receive())[0] == 7
    async with opened(platform, network_s=0.05) as server, associated(server.port, CONTEXTS) as scu:
        scu.send(fragments(1, store_rq(file[0], file[1]), command=True) + fragments(1, file[3], command=False)[:-100])
        assert (await scu.receive())[0] == 7
        scu.writer.close()
        await until_closed(server)
        assert server.spool.budget.used_bytes == 0


async def test_a_peer_that_does_not_close_is_cut_off(platform: Platform) -> None:
    async with opened(platform, artim_s=0.05) as server, associated(server.port, CONTEXTS) as scu:
        await scu.release()
        with pytest.raises(PeerClosed):
            await scu.receive()
        await until_closed(server)


@pytest.mark.parametrize("how", ["abort", "drop"])
async def test_an_end_in_the_middle_of_an_object_leaves_nothing(platform: Platform, how: str) -> None:
    file = data_set_of(ct_instance(side=256))
    async with opened(platform) as server:
        async with associated(server.port, CONTEXTS) as scu:
            scu.send(fragments(1, store_rq(file[0], file[1]), command=True))
            scu.send(fragments(1, file[3], command=False)[: len(file[3]) // 2 // 16012 * 16012])
            if how == "abort":
                scu.send(pdu(7, b"\0\0\0\0"))
                with pytest.raises(PeerClosed):
                    await scu.receive()
        await until_closed(server)
        assert server.spool.budget.used_bytes == 0
        assert list(server.spool.folder.iterdir()) == []
        assert await platform.audit.search("demo", action="instance.store") == []
        assert await platform.blobs.list("originals/") == []


async def test_a_message_in_hand_is_answered_before_the_service_ends(platform: Platform) -> None:
    file = ct_instance(side=256)
    sop_class, sop, _, data_set = data_set_of(file)
    async with opened(platform) as server:
        async with associated(server.port, CONTEXTS) as idle, associated(server.port, CONTEXTS) as scu:
            scu.send(fragments(1, store_rq(sop_class, sop), command=True))
            sent = fragments(1, data_set, command=False)
            scu.send(sent[:20000])
            async with asyncio.timeout(20):
                while server.spool.budget.used_bytes == 0:
                    await asyncio.sleep(0.005)
            draining = asyncio.create_task(server.drain())
            assert (await idle.receive())[0] == 7
            idle.writer.close()
            scu.send(sent[20000:])
            assert status(await scu.answer()) == 0
            assert (await scu.receive())[0] == 7
            scu.writer.close()
            await draining
        assert len(await platform.blobs.list("originals/")) == 1


PROTOCOL_ERRORS = [
    ("an unknown PDU", pdu(9, b"1234"), 1),
    ("a second request", associate_rq(CONTEXTS, "A", "B"), 2),
    ("an answer", pdu(2, bytes(68)), 2),
    ("a P-DATA-TF larger than agreed", b"\x04\0" + (2 << 20).to_bytes(4, "big"), 6),
    ("an empty P-DATA-TF", pdu(4, b""), 6),
    ("a fragment larger than its PDU", pdu(4, b"\0\0\xff\xff\x01\x03"), 6),
    ("a fragment of no size", pdu(4, b"\0\0\0\x01\x01\x03"), 6),
    ("a context that was refused", fragments(9, echo_rq(), command=True), 6),
    ("a data set before its command", fragments(1, b"1234", command=False), 5),
    ("a command set that is none", fragments(1, b"\x08\0\0\0\x04\0\0\0abcd", command=True), 6),
    ("an endless command set", fragments(1, bytes(32000), command=True), 6),
    ("a thousand empty fragments", pdu(4, b"\0\0\0\x02\x01\x01" * 1100), 6),
    ("a release in the middle of a message", fragments(1, store_rq(CT, "1.2"), command=True) + pdu(5, bytes(4)), 2),
    ("an answer to nothing", fragments(1, echo_rq().replace(b"\x30\0", b"\x30\x80"), command=True), 6),
]


@pytest.mark.parametrize(("what", "sent", "reason"), PROTOCOL_ERRORS, ids=[name for name, _, _ in PROTOCOL_ERRORS])
async def test_protocol_errors_abort_the_association_and_only_it(
    platform: Platform, what: str, sent: bytes, reason: int
) -> None:
    async with opened(platform) as server, associated(server.port, CONTEXTS) as other:
        async with associated(server.port, CONTEXTS) as scu:
            scu.send(sent)
            kind, body = await scu.receive()
            assert (kind, body[2], body[3]) == (7, 2, reason), what
        assert await other.echo(3) == 0


async def test_a_broken_request_is_aborted(platform: Platform) -> None:
    good = associate_rq(CONTEXTS, "A", "B")
    twice = good[:6] + good[6:].replace(item(0x20, b"\x03\0\0\0")[4:8], b"\x01\0\0\0", 1)
    async with opened(platform) as server:
        for sent in (twice, pdu(1, bytes(20)), pdu(1, good[6:-3]), pdu(4, bytes(20)), pdu(1, b"") + b"\0" * 9):
            async with connected(server.port) as scu:
                scu.send(sent)
                assert (await scu.receive())[0] == 7


async def test_a_taken_port_is_said_in_one_sentence(platform: Platform) -> None:
    async with opened(platform) as server:
        with pytest.raises(DicomPortUnusable, match="--dicom-port"):
            async with archive_door(platform, dimse=DimseSettings.load(port=server.port)):
                pass


def test_rules_that_mean_nothing_fail_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    for peers in (
        '[{"tenant": "demo", "calling": ["CT"], "addresses": ["10.1.0.0/33"]}]',
        '[{"tenant": "demo", "calling": [], "addresses": ["10.1.0.0/16"]}]',
        '[{"tenant": "demo", "calling": ["A TITLE THAT IS TOO LONG"], "addresses": ["::1"]}]',
        '[{"tenant": "demo", "calling": ["CT"], "addresses": ["10.0.0.1"], "port": 1}]',
    ):
        monkeypatch.setenv("CONSILIUM_INGEST_DICOM_PEERS", peers)
        with pytest.raises(SettingsInvalid):
            DimseSettings.load()


def test_without_settings_there_is_no_door_and_only_this_machine_would_be_let_in() -> None:
    settings = DimseSettings.load()
    assert settings.port is None
    assert settings.peers == (LOOPBACK,)
    inside = [one for one in ("127.0.0.1", "::1", "::ffff:127.0.0.1") if LOOPBACK.fits_address(one)]
    assert len(inside) == 3
    assert not LOOPBACK.fits_address("10.0.0.1")
    assert not LOOPBACK.fits_address("fe80::1%eth0")
