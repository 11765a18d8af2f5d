"""Reports are tried until they arrive or are given up where people see it; a process that dies loses nothing (any world)."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field, replace

import pytest

from consilium_archive.commitment import Reference, Verdict
from consilium_archive.stages import original_key
from consilium_core.clock import FakeClock
from consilium_core.ids import new_uid
from consilium_core.roles import Role
from consilium_ingest.commitment.errors import ReportFailed, TransactionInUse, TransactionNotFound
from consilium_ingest.commitment.keeper import DECIDE_LEASE_S, LEASE_S, Keeper, running_keeper
from consilium_ingest.commitment.pauses import most_attempts, pause_s
from consilium_ingest.commitment.rows import CommitmentRows
from consilium_ingest.commitment.transactions import Ask, Requester, State, Transaction
from consilium_ingest.dimse.reports import report_of
from consilium_platform.blobs import BlobsUnavailable
from consilium_platform.platform import Platform
from consilium_testkit.archive_rooms import archive_door, door_client
from consilium_testkit.instances import CT, ct_instance, uids_of
from consilium_testkit.platforms import bearer

CT1 = Requester("demo", "CT1", "dicom-peer", "dimse", "10.1.0.7", "CONSILIUM")
GIVE_UP_S = 60.0


@dataclass
class Remote:
    """A peer that takes reports, or does not."""

    problem: str = ""
    got: list[Transaction] = field(default_factory=list)

    async def __call__(self, transaction: Transaction) -> str:
        self.got.append(transaction)
        if self.problem:
            raise ReportFailed("The peer does not want it.", self.problem, whole_peer=self.problem == "unreachable")
        return "to the test"


@dataclass
class Bench:
    """A keeper with its clock and its peer."""

    keeper: Keeper
    rows: CommitmentRows
    clock: FakeClock
    remote: Remote


@pytest.fixture
def bench(any_platform: Platform) -> Bench:
    clock, remote = FakeClock(), Remote()
    rows = CommitmentRows(any_platform.database, any_platform.audit, clock)
    return Bench(Keeper(rows, any_platform.stores, remote, GIVE_UP_S), rows, clock, remote)


def ask(*instances: str, uid: str = "") -> Ask:
    return Ask(uid or new_uid(), tuple(Reference(CT, one) for one in instances or ("1.2.3",)))


def test_pauses_grow_to_a_quarter_of_an_hour_and_attempts_come_to_an_end() -> None:
    assert [pause_s(n) for n in (1, 2, 3, 9, 99)] == [5.0, 10.0, 20.0, 900.0, 900.0]
    assert [most_attempts(s) for s in (0.0, 5.0, 5.1, 35.0, 36.0)] == [1, 1, 2, 3, 4]
    assert [pause_s(n, "no-address") for n in (1, 99)] == [3600.0, 3600.0]  # settings are read at the start
    assert most_attempts(72 * 3600, "no-address") == 72


async def test_what_a_killed_process_left_is_decided_and_reported_by_the_next_one(bench: Bench) -> None:
    kept = await bench.rows.keep(CT1, ask(), LEASE_S)  # and its process dies here
    assert await bench.keeper.turn() == 0  # it may live still
    bench.clock.advance(LEASE_S)
    assert await bench.rows.claim_undecided(DECIDE_LEASE_S, 4) != []  # another one takes it up and dies too
    assert await bench.keeper.turn() == 0
    bench.clock.advance(DECIDE_LEASE_S)
    assert await bench.keeper.decide_due() == 1
    assert await bench.rows.claim_report(LEASE_S, ()) is not None  # and so does who would report
    assert await bench.keeper.turn() == 0
    bench.clock.advance(LEASE_S)
    assert await bench.keeper.turn() == 1
    known = await bench.rows.get("demo", kept.ask.transaction_uid)
    assert (known.state, known.problem, known.reported_at) == (State.DONE, "", bench.clock.now())
    assert [one.ask for one in bench.remote.got] == [kept.ask]
    assert await bench.keeper.turn() == 0


async def test_a_report_that_nobody_takes_is_tried_with_growing_pauses_and_then_given_up_in_sight_of_all(
    any_platform: Platform, bench: Bench
) -> None:
    kept = await bench.rows.keep(CT1, ask(), 0)
    uid, tries = kept.ask.transaction_uid, most_attempts(GIVE_UP_S)
    bench.remote.problem = "unreachable"
    assert await bench.keeper.decide_due() == 1
    for number in range(1, tries + 1):
        assert await bench.keeper.turn() == 1
        assert await bench.keeper.turn() == 0  # not before its time
        known = await bench.rows.get("demo", uid)
        last = number == tries
        assert (known.state, known.problem) == (State.GIVEN_UP if last else State.WAITING, "unreachable")
        bench.clock.advance(pause_s(number))
    bench.clock.advance(1e6)
    assert await bench.keeper.turn() == 0
    [entry] = await any_platform.audit.search("demo", action="commitment.report")
    assert (entry["outcome"], entry["subject"]) == ("failure", uid)
    page, _ = await bench.rows.page("demo", State.GIVEN_UP.value, "", 10)
    assert [one.transaction_uid for one in page] == [uid]
    bench.remote.problem = ""
    again = await bench.rows.keep(CT1, kept.ask, 0)  # the peer asks again: it is decided and reported anew
    assert (again.id, again.state, again.attempts, again.verdicts) == (kept.id, State.RECEIVED, 0, None)
    assert await bench.keeper.turn() == 2
    assert (await bench.rows.get("demo", uid)).state is State.DONE


async def test_what_is_asked_again_is_looked_at_again_and_a_success_is_not_repeated(
    any_platform: Platform, bench: Bench
) -> None:
    data = ct_instance(side=8)
    async with archive_door(any_platform) as door, door_client(door, bearer(any_platform, Role.ADMIN)) as client:
        sent = await client.post("/dicomweb/studies", content=data, headers={"Content-Type": "application/dicom"})
        assert sent.status_code == 200
    kept = await bench.rows.keep(CT1, ask(uids_of(data)[2]), 0)
    assert await bench.keeper.turn() == 2
    await any_platform.stores.first.delete(original_key("demo", hashlib.sha256(data).hexdigest()))
    bench.clock.advance(1)
    second = await bench.keeper.settle(await bench.rows.keep(CT1, kept.ask, LEASE_S))
    [first] = bench.remote.got
    assert [[one.why for one in known.verdicts or ()] for known in (first, second)] == [[""], ["damaged"]]
    assert second.decided_at == bench.clock.now()
    assert [event_type_of(known) for known in (first, second)] == [1, 2]
    await bench.keeper.delivered(first, "late")  # the answer to the older report confirms nothing of the newer one
    assert (await bench.rows.get("demo", kept.ask.transaction_uid)).state is State.WAITING


def event_type_of(known: Transaction) -> int:
    """Return the Event Type ID (0000,1002) of a transaction's report."""
    command, _ = report_of(known, "1.2.840.10008.1.2", 1)
    at = command.index(b"\0\0\x02\x10\x02\0\0\0") + 8
    return int.from_bytes(command[at : at + 2], "little")


async def test_a_store_that_never_answers_fails_the_request_in_the_end_and_never_commits(
    bench: Bench, any_platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(key: str) -> int:
        raise BlobsUnavailable("The store does not answer.")

    data = ct_instance(side=8)
    async with archive_door(any_platform) as door, door_client(door, bearer(any_platform, Role.ADMIN)) as client:
        sent = await client.post("/dicomweb/studies", content=data, headers={"Content-Type": "application/dicom"})
        assert sent.status_code == 200
    monkeypatch.setattr(any_platform.stores.first, "size", silent)
    kept = await bench.rows.keep(CT1, ask(uids_of(data)[2]), 0)
    for number in range(1, most_attempts(GIVE_UP_S)):
        assert await bench.keeper.turn() == 1
        known = await bench.rows.get("demo", kept.ask.transaction_uid)
        assert (known.verdicts, known.problem, bench.remote.got) == (None, "blobs-unavailable", [])
        bench.clock.advance(pause_s(number))
    assert await bench.keeper.turn() == 2
    [reported] = bench.remote.got
    assert reported.verdicts is not None
    assert [(one.why, one.failure_reason) for one in reported.verdicts] == [("undecided", 0x0110)]


async def test_a_transaction_uid_that_is_in_use_fails_whole_and_the_first_request_is_untouched(bench: Bench) -> None:
    first = await bench.rows.keep(CT1, ask(), 0)
    uid = first.ask.transaction_uid
    second = await bench.rows.keep(CT1, ask("1.2.3", "1.2.4", uid=uid), 0)
    assert second.duplicate
    assert second.verdicts is not None
    assert [one.failure_reason for one in second.verdicts] == [0x0131, 0x0131]
    with pytest.raises(TransactionInUse):
        await bench.rows.keep(Requester("demo", "admin", "admin", "dicomweb"), ask("1.2.5", uid=uid), 0)
    assert await bench.keeper.turn() == 3  # one is to be decided, two are to be reported
    known = await bench.rows.get("demo", uid)
    assert (known.id, known.verdicts and known.verdicts[0].why) == (first.id, "unknown")
    elsewhere = await bench.rows.keep(Requester("elsewhere", "CT1", "dicom-peer", "dimse"), ask("9.9", uid=uid), 0)
    assert not elsewhere.duplicate


async def test_two_processes_never_have_the_same_transaction(any_platform: Platform, bench: Bench) -> None:
    other = CommitmentRows(any_platform.database, any_platform.audit, bench.clock)
    for _ in range(6):
        await bench.rows.keep(CT1, ask(), 0)
    pair = (bench.rows, other, bench.rows)
    claimed = [one.id for rows in pair for one in await rows.claim_undecided(LEASE_S, 3)]
    assert len(claimed) == len(set(claimed)) == 6


async def test_a_peer_that_swallows_its_report_keeps_neither_others_nor_questions_waiting(bench: Bench) -> None:
    begun: list[str] = []
    told, never = asyncio.Event(), asyncio.Event()

    async def deliver(known: Transaction) -> str:
        begun.append(known.requester.name)
        if known.requester.name == "CT1":
            await never.wait()
        told.set()
        return "to the test"

    for _ in range(6):
        await bench.rows.keep(CT1, ask(), 0)
    assert await bench.keeper.decide_due() + await bench.keeper.decide_due() == 6
    web = await bench.rows.keep(Requester("demo", "admin", "admin", "dicomweb"), ask(), 0)
    await bench.rows.keep(replace(CT1, name="CT2"), ask(), 0)
    async with asyncio.timeout(30), running_keeper(replace(bench.keeper, deliver=deliver), 0.01):
        await told.wait()
        while (await bench.rows.get("demo", web.ask.transaction_uid)).state is not State.DONE:
            await asyncio.sleep(0)
    assert sorted(begun) == ["CT1", "CT2"]  # one slot for each


async def test_a_failure_of_a_peer_counts_for_all_reports_that_are_due_to_it(bench: Bench) -> None:
    for name in ("CT1", "CT1", "CT1", "CT2"):
        await bench.rows.keep(replace(CT1, name=name), ask(), 0)
    assert await bench.keeper.decide_due() == 4
    bench.remote.problem = "unreachable"
    assert await bench.keeper.turn() == 2
    assert sorted(one.requester.name for one in bench.remote.got) == ["CT1", "CT2"]
    page, _ = await bench.rows.page("demo", State.WAITING.value, "", 10)
    assert {(one.attempts, one.problem) for one in page} == {(1, "unreachable")}
    bench.clock.advance(pause_s(1))
    bench.remote.problem = "status-0110"  # of one report: the others are tried
    assert await bench.keeper.turn() == 4


async def test_an_error_of_ours_is_an_attempt_like_another(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(known: Transaction) -> str:
        raise UnicodeError("label empty or too long")

    kept = await bench.rows.keep(CT1, ask(), 0)
    keeper = replace(bench.keeper, deliver=broken, give_up_s=5.0)
    assert await keeper.turn() == 2
    known = await bench.rows.get("demo", kept.ask.transaction_uid)
    assert (known.state, known.problem) == (State.GIVEN_UP, "error")

    async def wrong(*_: object) -> list[Verdict]:
        raise ZeroDivisionError

    monkeypatch.setattr("consilium_ingest.commitment.keeper.judge", wrong)
    asked = await bench.rows.keep(Requester("demo", "admin", "admin", "dicomweb"), ask(), 0)
    assert await keeper.turn() == 1
    known = await bench.rows.get("demo", asked.ask.transaction_uid)
    assert [one.why for one in known.verdicts or ()] == ["undecided"]


async def test_what_was_reported_long_ago_is_forgotten_and_what_waits_is_not(bench: Bench) -> None:
    web = Requester("demo", "admin", "admin", "dicomweb")
    old, waits = await bench.rows.keep(web, ask(), 0), await bench.rows.keep(CT1, ask(), 0)
    assert await bench.keeper.decide_due() == 2
    bench.clock.advance(401 * 86400)
    young = await bench.rows.keep(web, ask(), 0)
    assert await bench.keeper.decide_due() == 1
    assert await bench.keeper.prune() == 1
    with pytest.raises(TransactionNotFound):
        await bench.rows.get("demo", old.ask.transaction_uid)
    for kept in (waits, young):
        await bench.rows.get("demo", kept.ask.transaction_uid)
