"""Storage Commitment Push Model as SCP (PS3.4 J, PS3.7 10.1.1, 10.1.4), judged by pynetdicom, Orthanc and bytes by hand."""

from __future__ import annotations

import asyncio
import json
import queue
import struct
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel  # type: ignore[attr-defined]

from consilium_core.ids import new_uid
from consilium_core.roles import Role
from consilium_ingest.commitment.settings import CommitmentSettings
from consilium_ingest.dimse.result_sets import encode_result
from consilium_ingest.dimse.settings import DimseSettings, Remote
from consilium_platform.platform import Platform
from consilium_platform.settings import SettingsInvalid
from consilium_testkit.archive_rooms import Door, archive_door, door_client
from consilium_testkit.instances import CT, ct_instance, uids_of
from consilium_testkit.light_scu import associated, command_set, even, fragments, status
from consilium_testkit.platforms import bearer
from consilium_testkit.servers import free_port, need, process, wait_for

from .conftest import server_of
from .test_kill import running

COMMITMENT, WELL_KNOWN = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"
SYNTAXES = {"implicit": ImplicitVRLittleEndian, "explicit": ExplicitVRLittleEndian}
TRANSACTIONS = "/api/v1/ingest/storage/transactions"


@dataclass
class Listener:
    """A peer's event reports, as pynetdicom reads them."""

    answer: int = 0
    events: queue.Queue[tuple[int, Dataset, str]] = field(default_factory=queue.Queue)

    def handle(self, event: Any) -> tuple[int, None]:
        self.events.put((event.event_type, event.event_information, event.assoc.requestor.ae_title))
        return self.answer, None

    async def next(self) -> tuple[int, Dataset, str]:
        return await asyncio.to_thread(self.events.get, True, 30)


@contextmanager
def listening(listener: Listener, port: int, syntax: str = ImplicitVRLittleEndian) -> Iterator[None]:
    """Run a peer that takes reports from whom it knows as provider: the requestor's SCP role alone (PS3.7 D.3.3.4)."""
    entity = AE(ae_title="CT1")
    entity.add_supported_context(StorageCommitmentPushModel, syntax, scu_role=False, scp_role=True)
    server = entity.start_server(
        ("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, listener.handle)]
    )
    try:
        yield
    finally:
        server.shutdown()


def request(uid: str, *pairs: tuple[str, str]) -> Dataset:
    asked = Dataset()
    asked.TransactionUID = uid
    asked.ReferencedSOPSequence = []
    for sop_class, sop_instance in pairs:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_instance
        asked.ReferencedSOPSequence.append(item)
    return asked


def send_action(port: int, asked: Dataset, listener: Listener | None, syntax: str = ImplicitVRLittleEndian) -> int:
    """Ask for commitment as CT1; wait for the report on the same association if there is a listener, else release at once."""
    entity = AE(ae_title="CT1")
    entity.add_requested_context(StorageCommitmentPushModel, syntax)
    handlers = [(evt.EVT_N_EVENT_REPORT, listener.handle)] if listener is not None else []
    association = entity.associate("127.0.0.1", port, ae_title="CONSILIUM", evt_handlers=handlers)
    assert association.is_established
    answer, _ = association.send_n_action(asked, 1, COMMITMENT, WELL_KNOWN)
    if listener is not None:
        wait_for(lambda: not listener.events.empty(), "the report", 30)
    association.release()
    return int(answer.Status)


def named(found: Dataset, name: str) -> list[str]:
    return [str(item.ReferencedSOPInstanceUID) for item in found.get(name, [])]


@asynccontextmanager
async def opened(platform: Platform, *remotes: Remote) -> AsyncIterator[tuple[Door, httpx2.AsyncClient]]:
    """Yield both rooms with the DIMSE door open, and an administrator's client."""
    dimse, quick = DimseSettings.load(port=0, remotes=remotes), CommitmentSettings(poll_s=0.02)
    async with (
        archive_door(platform, dimse=dimse, commitment=quick) as door,
        door_client(door, bearer(platform, Role.ADMIN)) as client,
    ):
        yield door, client


async def stored(client: httpx2.AsyncClient) -> str:
    data = ct_instance(side=8)
    media = {"Content-Type": "application/dicom"}
    assert (await client.post("/dicomweb/studies", content=data, headers=media)).status_code == 200
    return uids_of(data)[2]


async def until(client: httpx2.AsyncClient, uid: str, state: str) -> dict[str, Any]:
    """Return the transaction once it is in a state."""
    async with asyncio.timeout(30):
        while True:
            items = (await client.get(TRANSACTIONS, params={"state": state})).json()["items"]
            if found := [one for one in items if one["transaction_uid"] == uid]:
                return dict(found[0])
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("syntax", list(SYNTAXES))
async def test_the_report_comes_on_the_association_that_asked(any_platform: Platform, syntax: str) -> None:
    async with opened(any_platform) as (door, client):
        sop, uid, listener = await stored(client), new_uid(), Listener()
        asked, port = request(uid, (CT, sop)), server_of(door).port
        assert await asyncio.to_thread(send_action, port, asked, listener, SYNTAXES[syntax]) == 0
        event_type, found, _ = await listener.next()
        assert (event_type, found.TransactionUID, named(found, "ReferencedSOPSequence")) == (1, uid, [sop])
        assert "FailedSOPSequence" not in found
        done = await until(client, uid, "done")
        assert (done["requested_by"], done["instances"], done["committed"], done["attempts"]) == ("CT1", 1, 1, 0)
        assert done["reported_at"] is not None
        looked = await client.get(f"/dicomweb/commitment-requests/{uid}")
        assert [item["00081155"]["Value"][0] for item in looked.json()["00081199"]["Value"]] == [sop]
    trail = await any_platform.audit.search("demo", actor="CT1")
    assert {entry["action"] for entry in trail} == {"commitment.request", "commitment.decide", "commitment.report"}


@pytest.mark.parametrize("syntax", list(SYNTAXES))
async def test_a_peer_that_has_gone_is_told_on_an_association_of_our_own(any_platform: Platform, syntax: str) -> None:
    port, listener, uid, unknown = free_port(), Listener(), new_uid(), new_uid()
    remote = Remote(tenant="demo", title="CT1", host="127.0.0.1", port=port)
    async with opened(any_platform, remote) as (door, client):
        sop = await stored(client)
        pairs = (CT, sop), (CT, unknown), ("1.2.840.10008.5.1.4.1.1.4", sop)
        with listening(listener, port, SYNTAXES[syntax]):
            assert await asyncio.to_thread(send_action, server_of(door).port, request(uid, *pairs), None) == 0
            event_type, found, calling = await listener.next()
            done = await until(client, uid, "done")
        assert (event_type, calling) == (2, "CONSILIUM")
        assert named(found, "ReferencedSOPSequence") == [sop]
        failed = [(str(one.ReferencedSOPInstanceUID), one.FailureReason) for one in found.FailedSOPSequence]
        assert failed == [(unknown, 0x0112), (sop, 0x0119)]
        assert (done["committed"], done["problem"]) == (1, "")


async def test_a_report_that_is_refused_or_has_nowhere_to_go_waits_in_sight(platform: Platform) -> None:
    async with opened(platform) as (door, client):
        port = server_of(door).port
        nowhere, refused, listener = new_uid(), new_uid(), Listener(answer=0x0110)
        assert await asyncio.to_thread(send_action, port, request(nowhere, (CT, "1.2.3")), None) == 0
        assert await asyncio.to_thread(send_action, port, request(refused, (CT, "1.2.3")), listener) == 0
        async with asyncio.timeout(30):
            problems: set[str] = set()
            while problems != {"no-address", "status-0110"}:
                items = (await client.get(TRANSACTIONS, params={"state": "waiting"})).json()["items"]
                problems = {one["problem"] for one in items}
                await asyncio.sleep(0.02)


async def test_a_transaction_uid_in_use_is_reported_as_such(platform: Platform) -> None:
    async with opened(platform) as (door, client):
        sop, uid, port, listener = await stored(client), new_uid(), server_of(door).port, Listener()
        for pairs in ([(CT, sop)], [(CT, sop)], [(CT, sop), (CT, "1.2.3")]):
            assert await asyncio.to_thread(send_action, port, request(uid, *pairs), listener) == 0
            event_type, found, _ = await listener.next()
            if len(pairs) == 1:  # the same request again is the same transaction
                assert (event_type, named(found, "ReferencedSOPSequence")) == (1, [sop])
        assert event_type == 2
        assert [one.FailureReason for one in found.FailedSOPSequence] == [0x0131, 0x0131]


# -- bytes by hand ----------------------------------------------------------------------------------------------------


def action(sop_class: str = COMMITMENT, instance: str = WELL_KNOWN, kind: int = 1, data_set: int = 1) -> bytes:
    """Return the command set of an N-ACTION-RQ (PS3.7 10.3.5.1)."""
    return command_set(
        {
            0x0003: even(sop_class), 0x0100: struct.pack("<H", 0x0130), 0x0110: struct.pack("<H", 7),
            0x0800: struct.pack("<H", data_set), 0x1001: even(instance), 0x1008: struct.pack("<H", kind),
        }
    )  # fmt: skip


def argument(uid: str, *instances: str) -> bytes:
    items = [{"00081150": {"vr": "UI", "Value": [CT]}, "00081155": {"vr": "UI", "Value": [one]}} for one in instances]
    found = {"00081195": {"vr": "UI", "Value": [uid]}, "00081199": {"vr": "SQ", "Value": items}}
    return encode_result(found, ImplicitVRLittleEndian)


BAD: Sequence[tuple[str, bytes, bytes, int]] = (
    ("another class", action(sop_class="1.2.840.10008.5.1.4.33"), argument("1.2", "1.3"), 0x0118),
    ("another instance", action(instance="1.2.840.10008.1.20.1.2"), argument("1.2", "1.3"), 0x0112),
    ("another action", action(kind=2), argument("1.2", "1.3"), 0x0123),
    ("no data set", action(data_set=0x0101), b"", 0x0115),
    ("no transaction", action(), argument("", "1.3"), 0x0115),
    ("no references", action(), argument("1.2"), 0x0115),
    ("no uid", action(), argument("1.2", "x"), 0x0115),
    ("cut off", action(), argument("1.2", "1.3")[:-3], 0x0115),
    ("noise", action(), bytes(range(1, 200)), 0x0115),
    ("too large", action(), argument("1.2", "1.3") + bytes((8 << 20) + 1), 0x0213),
)


@pytest.mark.parametrize(("command", "data_set", "word"), [one[1:] for one in BAD], ids=[one[0] for one in BAD])
async def test_what_is_no_request_is_answered_with_its_status_and_not_kept(
    platform: Platform, command: bytes, data_set: bytes, word: int
) -> None:
    async with opened(platform) as (door, client):
        async with associated(server_of(door).port, [(COMMITMENT, [ImplicitVRLittleEndian])]) as scu:
            scu.send(fragments(1, command, command=True))
            if data_set:
                scu.send(fragments(1, data_set, command=False))
            answer = await scu.answer()
            assert status(answer) == word
            assert answer[0x0100] == struct.pack("<H", 0x8130)
            await scu.release()
        assert (await client.get(TRANSACTIONS)).json()["items"] == []


async def test_an_answer_to_a_report_that_was_not_sent_aborts(platform: Platform) -> None:
    answer = command_set(
        {
            0x0002: even(COMMITMENT), 0x0100: struct.pack("<H", 0x8100), 0x0120: struct.pack("<H", 9),
            0x0800: struct.pack("<H", 0x0101), 0x0900: struct.pack("<H", 0),
        }
    )  # fmt: skip
    contexts = [(COMMITMENT, [ImplicitVRLittleEndian])]
    async with opened(platform) as (door, _), associated(server_of(door).port, contexts) as scu:
        scu.send(fragments(1, answer, command=True))
        kind, _ = await scu.receive()
        assert kind == 7


async def test_reports_of_one_association_go_out_one_after_the_other_and_messages_between(platform: Platform) -> None:
    contexts = [(COMMITMENT, [ImplicitVRLittleEndian])]
    async with opened(platform) as (door, client), associated(server_of(door).port, contexts) as scu:
        for uid in ("1.2.1", "1.2.2"):
            scu.send(fragments(1, action(), command=True) + fragments(1, argument(uid, "1.3"), command=False))
        first, report = await scu.answer(), await scu.answer()
        assert await scu_data_set(scu, "1.2.1")
        second = await scu.answer()
        assert [one[0x0100] for one in (first, report, second)] == [b"\x30\x81", b"\x00\x01", b"\x30\x81"]
        scu.send(fragments(1, confirmed(report), command=True))
        await until(client, "1.2.1", "done")
        report = await scu.answer()  # only now
        assert await scu_data_set(scu, "1.2.2")
        scu.send(fragments(1, confirmed(report), command=True))
        await until(client, "1.2.2", "done")


def confirmed(report: dict[int, bytes]) -> bytes:
    return command_set(
        {
            0x0002: even(COMMITMENT), 0x0100: struct.pack("<H", 0x8100), 0x0120: report[0x0110],
            0x0800: struct.pack("<H", 0x0101), 0x0900: struct.pack("<H", 0), 0x1000: even(WELL_KNOWN),
        }
    )  # fmt: skip


async def scu_data_set(scu: Any, uid: str) -> bool:
    kind, body = await scu.receive()
    return bool(kind == 4 and body[5] == 2 and uid.encode() in body)


def test_an_address_is_given_once() -> None:
    one = {"tenant": "demo", "title": "CT1", "host": "10.1.0.7", "port": 104}
    with pytest.raises(SettingsInvalid, match="one address"):
        DimseSettings.load(remotes=(one, one | {"port": 105}))
    for host in ("ct-1.example.org.", "fe80::1%eth0", "::ffff:10.1.0.7", "under_score"):
        DimseSettings.load(remotes=(one | {"host": host},))
    for bad in (
        {"host": "http://x/"},
        {"host": "a..b"},
        {"host": "x" * 64},
        {"host": "."},
        {"port": 0},
        {"title": " "},
        {"title": "x" * 17},
        {"until": 1},
    ):
        with pytest.raises(SettingsInvalid):
            DimseSettings.load(remotes=(one | bad,))


# -- real peers and a kill ---------------------------------------------------------------------------------------------


@pytest.mark.system
async def test_a_request_that_was_answered_is_reported_after_kill_9(tmp_path: Path) -> None:
    port, remote, uid, listener = free_port(), free_port(), new_uid(), Listener()
    there = [{"tenant": "demo", "title": "CT1", "host": "127.0.0.1", "port": remote}]
    more = {"CONSILIUM_INGEST_DICOM_REMOTES": json.dumps(there), "CONSILIUM_INGEST_COMMITMENT_POLL_S": "0.05"}
    async with running(tmp_path, port, more) as (server, _):
        assert await asyncio.to_thread(send_action, port, request(uid, (CT, "1.2.3")), None) == 0
        server.kill()  # nobody listens at the address yet
    with listening(listener, remote):
        async with running(tmp_path, port, more):
            event_type, found, _ = await listener.next()
    assert (event_type, found.TransactionUID, named(found, "FailedSOPSequence")) == (2, uid, ["1.2.3"])


@pytest.mark.system
async def test_orthanc_asks_and_understands_the_report(platform: Platform, tmp_path: Path) -> None:
    program, http, dicom = need("Orthanc", "orthanc"), free_port(), free_port()
    remote = Remote(tenant="demo", title="ORTHANC", host="127.0.0.1", port=dicom)
    async with opened(platform, remote) as (door, client):
        sop, unknown = await stored(client), new_uid()
        settings = {
            "StorageDirectory": str(tmp_path / "storage"), "IndexDirectory": str(tmp_path / "storage"), "HttpPort": http,
            "DicomPort": dicom, "RemoteAccessAllowed": False, "AuthenticationEnabled": False, "DicomAet": "ORTHANC",
            "DicomModalities": {"here": ["CONSILIUM", "127.0.0.1", server_of(door).port]},
        }  # fmt: skip
        (tmp_path / "orthanc.json").write_text(json.dumps(settings))
        async with (
            _apart(process([program, str(tmp_path / "orthanc.json")], tmp_path / "orthanc.log")),
            httpx2.AsyncClient(base_url=f"http://127.0.0.1:{http}", timeout=30) as orthanc,
        ):
            await until_answers(orthanc)
            asked = await orthanc.post(
                "/modalities/here/storage-commitment", json={"DicomInstances": [[CT, sop], [CT, unknown]]}
            )
            assert asked.status_code == 200, asked.text
            path = asked.json()["Path"]
            async with asyncio.timeout(30):
                while (said := (await orthanc.get(path)).json())["Status"] == "Pending":
                    await asyncio.sleep(0.05)
        assert [one["SOPInstanceUID"] for one in said["Success"]] == [sop]
        assert [(one["SOPInstanceUID"], one["FailureReason"]) for one in said["Failures"]] == [(unknown, 0x0112)]


@asynccontextmanager
async def _apart(server: AbstractContextManager[Any]) -> AsyncIterator[None]:
    """Run a server whose end must not block the loop: it releases its associations with us first."""
    await asyncio.to_thread(server.__enter__)
    try:
        yield
    finally:
        await asyncio.to_thread(server.__exit__, None, None, None)


async def until_answers(client: httpx2.AsyncClient) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                if (await client.get("/system")).status_code == 200:
                    return
            except httpx2.TransportError:
                await asyncio.sleep(0.05)
