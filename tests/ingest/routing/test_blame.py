"""Who is to blame for what was not sent: the instance, the destination or our own store; and when each is tried again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from consilium_archive.errors import OriginalArchived, OriginalDamaged
from consilium_archive.reader import Place
from consilium_core.clock import FakeClock
from consilium_ingest.routing.batch import Batch, Outcomes
from consilium_ingest.routing.courier import Courier
from consilium_ingest.routing.jobs import JobQueue
from consilium_ingest.routing.originals import STORE_OUT, note
from consilium_ingest.routing.rows import utc
from consilium_ingest.routing.rules import Priority
from consilium_ingest.routing.stow_out import StowSender
from consilium_ingest.routing.tables import job, place
from consilium_platform.blobs import BlobsUnavailable
from consilium_platform.platform import Platform
from consilium_testkit.servers import free_port

from .peers import settings, to_scp, to_stow

ROUTING = settings(to_scp(free_port()), poll_s=3600.0, batch_instances=1)


class Jobs:
    """Some jobs of one destination, on a clock that is turned."""

    def __init__(self, platform: Platform, routing: Any = ROUTING) -> None:
        self.database = platform.database
        self.clock = FakeClock(platform.clock.now())
        self.queue = JobQueue(platform.database, platform.audit, self.clock, routing.all_destinations()[0], routing)

    async def add(self, *uids: str, study: str = "") -> None:
        rows = [
            {
                "tenant_id": "demo", "destination": "upper", "rule_id": "r", "study_uid": study or f"1.{uid}",
                "series_uid": "1.2", "sop_instance_uid": uid, "size_bytes": 10, "priority": 1, "state": "waiting",
                "attempts": 0, "failures": 0, "try_at": self.clock.now(), "lease": "", "problem": "",
                "made_at": self.clock.now(),
            }
            for uid in uids
        ]  # fmt: skip
        await self.database.transact(lambda session: session.execute(job.insert(), rows))

    async def attempt(self, outcomes: Outcomes, later_s: float = 3600.0) -> Batch:
        """Claim what is due next, settle it, and let time pass."""
        batch = await self.queue.claim()
        assert batch is not None
        await self.queue.settle(batch, outcomes)
        self.clock.advance(later_s)
        return batch

    async def row(self, uid: str) -> Any:
        asked = select(job).where(job.c.sop_instance_uid == uid)
        return (await self.database.query(lambda session: session.execute(asked).all()))[0]

    async def known(self) -> Any:
        return (await self.database.query(lambda session: session.execute(select(place)).all()))[0]


@pytest.mark.parametrize(
    "outcomes",
    [Outcomes(problems={"1": STORE_OUT}), Outcomes(problems={"1": "original-archived"}), Outcomes(down="busy")],
)
async def test_what_no_instance_is_to_blame_for_is_given_up_by_age_alone(
    platform: Platform, outcomes: Outcomes
) -> None:
    jobs = Jobs(platform)
    await jobs.add("1")
    for _ in range(ROUTING.attempts + 3):
        await jobs.attempt(outcomes)
    found = await jobs.row("1")
    assert (found.state, found.failures) == ("failed", 0)
    if not outcomes.down:
        assert (await jobs.known()).failures == 0, "it is not the destination either"
    jobs.clock.advance(ROUTING.give_up_h * 3600)
    await jobs.attempt(outcomes)
    assert (await jobs.row("1")).state == "given-up"


async def test_an_outage_of_the_destination_takes_no_attempt_from_an_instance(any_platform: Platform) -> None:
    jobs = Jobs(any_platform)
    await jobs.add("1")
    for _ in range(ROUTING.attempts + 3):
        await jobs.attempt(Outcomes(down="unreachable"))
    for number in range(1, ROUTING.attempts + 1):
        await jobs.attempt(Outcomes(problems={"1": "unanswered"}, seconds=1.0))
        found = await jobs.row("1")
        assert (found.state, found.failures) == ("given-up" if number == ROUTING.attempts else "failed", number)


async def test_a_refusal_of_the_probe_tells_that_the_destination_is_back(any_platform: Platform) -> None:
    jobs = Jobs(any_platform)
    await jobs.add("1", "2")
    for _ in range(ROUTING.breaker_failures):
        await jobs.attempt(Outcomes(down="unreachable"), later_s=0.0)
    assert await jobs.queue.claim() is None, "it is shut"
    jobs.clock.advance(ROUTING.breaker_first_s)
    probe = await jobs.attempt(Outcomes(problems={"1": "not-conformant", "2": "not-conformant"}, seconds=1.0), 0.0)
    assert probe.probe
    [other] = {"1", "2"} - {one.sop_instance_uid for one in probe.wanted}
    assert utc((await jobs.row(other)).try_at) == jobs.clock.now()
    known = await jobs.known()
    assert (known.failures, known.shut_until, known.problem) == (0, None, "")


async def test_an_original_that_is_being_restored_is_asked_for_when_it_is_back(platform: Platform) -> None:
    jobs = Jobs(platform)
    await jobs.add("1")
    outcomes = Outcomes()
    assert note(outcomes, "1", OriginalArchived("In the archive.", retry_after_s=7200, restoring=True)) == (
        "original-archived"
    )
    at = jobs.clock.now()
    await jobs.attempt(outcomes)
    assert utc((await jobs.row("1")).try_at) == at + timedelta(hours=2)


class _Answering:
    """A sender that says of every instance what it is told to say; empty: sent."""

    def __init__(self) -> None:
        self.word = STORE_OUT
        self.batches = 0

    async def send(self, batch: Batch, outcomes: Outcomes) -> None:
        self.batches += 1
        if self.word:
            outcomes.unread(batch, self.word)
        else:
            outcomes.sent |= {one.sop_instance_uid for one in batch.wanted}


async def test_a_courier_rests_longer_and_longer_while_our_store_is_out_and_works_when_it_is_back(
    platform: Platform,
) -> None:
    jobs, sender = Jobs(platform), _Answering()
    await jobs.add(*map(str, range(9)))
    courier = Courier(jobs.queue, sender, ("demo", "upper"), asyncio.Condition(), jobs.clock)
    for pause in (5, 10, 20):
        assert await courier.turn()
        jobs.clock.advance(pause - 1)
        assert not await courier.turn(), "the backlog is left alone"
        jobs.clock.advance(1)
    assert sender.batches == 3
    sender.word = ""
    while await courier.turn():
        pass
    states = await jobs.database.query(lambda session: set(session.scalars(select(job.c.state))))
    assert states <= {"sent", "failed"}
    assert sender.batches >= 9


async def test_time_in_our_own_store_is_not_taken_from_the_destinations(platform: Platform) -> None:
    outcomes = Outcomes()
    async with asyncio.timeout(3600) as outcomes.limit:
        assert outcomes.limit is not None
        until = outcomes.limit.when()
        with outcomes.ours():
            assert outcomes.limit.when() is None, "its clock stands"
            await asyncio.sleep(0)
        assert until is not None
        assert outcomes.limit.when() == pytest.approx(until + outcomes.ours_s)
        assert outcomes.ours_s > 0


class _Originals:
    """Originals of which one is damaged in the middle, or the store goes out."""

    def __init__(self, problem: Exception) -> None:
        self._problem = problem

    async def places(self, batch: Batch, outcomes: Outcomes) -> list[Place]:
        return [Place("1", "2", one.sop_instance_uid, "3", "4", 1, 1, "", 4, "") for one in batch.wanted]

    async def stretches(self, place: Place, outcomes: Outcomes, start: int = 0) -> AsyncIterator[bytes]:
        if place.sop_instance_uid == "2":
            raise self._problem
        yield b"DICM"


@asynccontextmanager
async def _reading(answered: asyncio.Event) -> AsyncIterator[int]:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        answered.set()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize(
    ("problem", "states"),
    [
        (OriginalDamaged("Cut short."), {"1": ("waiting", ""), "2": ("failed", "original-damaged")}),
        (BlobsUnavailable("Out."), {"1": ("failed", STORE_OUT), "2": ("failed", STORE_OUT)}),
    ],
)
async def test_a_file_of_ours_that_breaks_a_request_leaves_the_others_of_it_without_blame(
    platform: Platform, problem: Exception, states: dict[str, tuple[str, str]]
) -> None:
    from consilium_ingest.routing.stow_out import open_stow

    broken = asyncio.Event()
    async with _reading(broken) as port:
        routing = settings(to_stow(f"http://127.0.0.1:{port}", "upper"), poll_s=3600.0)
        jobs = Jobs(platform, routing)
        await jobs.add("1", "2", study="1.9")
        originals: Any = _Originals(problem)
        to: Any = routing.all_destinations()[0]
        async with open_stow(to, routing, originals) as sender:
            assert isinstance(sender, StowSender)
            courier = Courier(jobs.queue, sender, ("demo", "upper"), asyncio.Condition(), jobs.clock)
            assert await courier.turn()
        await broken.wait()
    found = {uid: await jobs.row(uid) for uid in ("1", "2")}
    assert {uid: (row.state, row.problem) for uid, row in found.items()} == states
    assert (await jobs.known()).failures == 0


async def test_what_waits_for_its_time_is_not_looked_through_for_what_is_due(platform: Platform) -> None:
    jobs = Jobs(platform)
    await jobs.add("1", "2", "3")
    late = update(job).where(job.c.sop_instance_uid == "1").values(try_at=jobs.clock.now() + timedelta(days=1))
    await jobs.database.transact(lambda session: session.execute(late))
    plans: list[str] = []

    def work(session: Any) -> None:
        connection = session.connection()
        due = jobs.queue._due(jobs.clock.now()).where(job.c.priority == int(Priority.ROUTINE)).order_by(job.c.try_at)
        words = due.compile(connection.engine, compile_kwargs={"literal_binds": True})
        plans.extend(row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {words}"))

    await jobs.database.query(work)
    assert ["routing_job_due" in plan and "try_at<" in plan for plan in plans] == [True]
    sent = [(await jobs.attempt(Outcomes(down="busy"), 0.0)).wanted[0].sop_instance_uid for _ in range(2)]
    assert sorted(sent) == ["2", "3"]
